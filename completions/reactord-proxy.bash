# Completes reactord-proxy(1). Made from its --help; CONTRIBUTING.md says how.
_reactord_proxy() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command= word
    # bash takes --option=value apart.
    [[ $current == = ]] && current=
    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD - 2]}
    [[ -z $current && ${COMP_WORDS[COMP_CWORD]} == = ]] && before=${COMP_WORDS[COMP_CWORD - 1]}
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        # What follows belongs to another program.
        [[ $word == -- ]] && return
    done
    ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} != -* ]] && command=${COMP_WORDS[1]}
    case "$command $before" in
    ' -c' | ' --config') return ;;
    ' --check') return ;;
    ' -t' | ' --takeover-path') return ;;
    ' -T' | ' --takeover') return ;;
    ' --metrics') compopt +o default +o bashdefault; return ;;
    ' --log-format') COMPREPLY=($(compgen -W 'text json' -- "$current")); return ;;
    ' --after-handover') COMPREPLY=($(compgen -W 'exit wait' -- "$current")); return ;;
    ' --freeze-timeout') compopt +o default +o bashdefault; return ;;
    ' --drain-timeout') compopt +o default +o bashdefault; return ;;
    esac
    case "$command:$current" in
    :-*) word='-c --config --check -t --takeover-path -T --takeover --or-take-over --metrics -v --verbose --log-format --after-handover --freeze-timeout --drain-timeout --version -h --help' ;;
    :*) ((COMP_CWORD == 1)) && word='' || word= ;;
    *) return ;;
    esac
    COMPREPLY=($(compgen -W "$word" -- "$current"))
}
complete -o bashdefault -o default -F _reactord_proxy reactord-proxy
