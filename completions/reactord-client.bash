# Completes reactord-client(1). Made from its --help; CONTRIBUTING.md says how.
_reactord_client() {
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
    ' -a' | ' --connect-address') compopt +o default +o bashdefault; return ;;
    ' -p' | ' --connect-port') compopt +o default +o bashdefault; return ;;
    ' -n' | ' --connections') compopt +o default +o bashdefault; return ;;
    ' --rate') compopt +o default +o bashdefault; return ;;
    ' --depth') compopt +o default +o bashdefault; return ;;
    ' --duration') compopt +o default +o bashdefault; return ;;
    ' --idle') compopt +o default +o bashdefault; return ;;
    ' --slow-readers') compopt +o default +o bashdefault; return ;;
    ' --drain') compopt +o default +o bashdefault; return ;;
    ' --tls-version') compopt +o default +o bashdefault; return ;;
    ' --ca') return ;;
    ' --server-name') compopt +o default +o bashdefault; return ;;
    'soak --server') return ;;
    'soak --attach') compopt +o default +o bashdefault; return ;;
    'soak -n' | 'soak --connections') compopt +o default +o bashdefault; return ;;
    'soak --active') compopt +o default +o bashdefault; return ;;
    'soak --rate') compopt +o default +o bashdefault; return ;;
    'soak --fragmenting') compopt +o default +o bashdefault; return ;;
    'soak --slow-readers') compopt +o default +o bashdefault; return ;;
    'soak --churn') compopt +o default +o bashdefault; return ;;
    'soak --takeovers') compopt +o default +o bashdefault; return ;;
    'soak --interval') compopt +o default +o bashdefault; return ;;
    'soak --unfit') compopt +o default +o bashdefault; return ;;
    'soak --kill-successors') compopt +o default +o bashdefault; return ;;
    'soak --moves') compopt +o default +o bashdefault; return ;;
    'soak --servers') compopt +o default +o bashdefault; return ;;
    'soak --kill-movers') compopt +o default +o bashdefault; return ;;
    'soak --kill-active') compopt +o default +o bashdefault; return ;;
    'soak --tls-version') compopt +o default +o bashdefault; return ;;
    'soak --ca') return ;;
    'soak --server-name') compopt +o default +o bashdefault; return ;;
    'soak --duration') compopt +o default +o bashdefault; return ;;
    'soak --drain') compopt +o default +o bashdefault; return ;;
    'soak --seed') compopt +o default +o bashdefault; return ;;
    'soak --json') return ;;
    'soak --report') compopt +o default +o bashdefault; return ;;
    'soak --picture') compopt +o default +o bashdefault; return ;;
    esac
    case "$command:$current" in
    soak:-*) word='--server --attach -n --connections --active --rate --fragmenting --slow-readers --churn --takeovers --interval --upgrade --unfit --kill-successors --moves --servers --kill-movers --kill-active --tls --tls-version --ca --server-name --duration --drain --seed --json --report --picture -v --verbose -h --help' ;;
    :-*) word='-a --connect-address -p --connect-port -n --connections --rate --depth --duration --idle --slow-readers --fragment --drain --tls --tls-version --ca --server-name -v --verbose --version -h --help' ;;
    :*) ((COMP_CWORD == 1)) && word='soak' || word= ;;
    *) return ;;
    esac
    COMPREPLY=($(compgen -W "$word" -- "$current"))
}
complete -o bashdefault -o default -F _reactord_client reactord-client
