# Completes reactord(1). Made from its --help; CONTRIBUTING.md says how.
_reactord() {
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
    ' -a' | ' --listen-address') compopt +o default +o bashdefault; return ;;
    ' -p' | ' --listen-port') compopt +o default +o bashdefault; return ;;
    ' -b' | ' --listen-backlog') compopt +o default +o bashdefault; return ;;
    ' -t' | ' --takeover-path') return ;;
    ' -T' | ' --takeover') return ;;
    ' --follow') return ;;
    ' --standby-timeout') compopt +o default +o bashdefault; return ;;
    ' -c' | ' --wait') return ;;
    ' --service') compopt +o default +o bashdefault; return ;;
    ' --log-format') COMPREPLY=($(compgen -W 'text json' -- "$current")); return ;;
    ' --after-handover') COMPREPLY=($(compgen -W 'exit wait' -- "$current")); return ;;
    ' --freeze-timeout') compopt +o default +o bashdefault; return ;;
    ' --drain-timeout') compopt +o default +o bashdefault; return ;;
    ' --close-timeout') compopt +o default +o bashdefault; return ;;
    ' --max-peers') compopt +o default +o bashdefault; return ;;
    ' --metrics') compopt +o default +o bashdefault; return ;;
    ' --tls-cert') return ;;
    ' --tls-key') return ;;
    ' --tls-client-ca') return ;;
    'supervise -a' | 'supervise --listen-address') compopt +o default +o bashdefault; return ;;
    'supervise -p' | 'supervise --listen-port') compopt +o default +o bashdefault; return ;;
    'supervise -t' | 'supervise --path') return ;;
    'supervise -b' | 'supervise --listen-backlog') compopt +o default +o bashdefault; return ;;
    'supervise --workers') compopt +o default +o bashdefault; return ;;
    'supervise --hand-over') COMPREPLY=($(compgen -W 'queue listen' -- "$current")); return ;;
    'supervise --finish-signal') compopt +o default +o bashdefault; return ;;
    'supervise --ready') COMPREPLY=($(compgen -W 'notify after=S tcp' -- "$current")); return ;;
    'supervise --replace') COMPREPLY=($(compgen -W 'drain takeover' -- "$current")); return ;;
    'supervise --queue-max') compopt +o default +o bashdefault; return ;;
    'supervise --state-max') compopt +o default +o bashdefault; return ;;
    'supervise --ready-timeout') compopt +o default +o bashdefault; return ;;
    'supervise --drain-timeout') compopt +o default +o bashdefault; return ;;
    'supervise --pid-file') return ;;
    'supervise --log-file') return ;;
    'supervise --log-format') COMPREPLY=($(compgen -W 'text json' -- "$current")); return ;;
    'move --count') compopt +o default +o bashdefault; return ;;
    'move --share') compopt +o default +o bashdefault; return ;;
    'move --peer') compopt +o default +o bashdefault; return ;;
    'upgrade --binary') return ;;
    'upgrade --timeout') compopt +o default +o bashdefault; return ;;
    'check --binary') return ;;
    esac
    case "$command:$current" in
    supervise:-*) word='-a --listen-address -p --listen-port -t --path -b --listen-backlog --workers --hand-over --finish-signal --ready --replace --rebalance --queue-max --state-max --ready-timeout --drain-timeout --pid-file --detach --log-file -v --verbose --log-format -h --help' ;;
    move:-*) word='--count --share --peer -h --help' ;;
    reload:-*) word='-h --help' ;;
    status:-*) word='--json --watch --owner -h --help' ;;
    peers:-*) word='--json -h --help' ;;
    log:-*) word='-h --help' ;;
    upgrade:-*) word='--binary --timeout -h --help' ;;
    check:-*) word='--binary -h --help' ;;
    :-*) word='-a --listen-address -p --listen-port -b --listen-backlog -t --takeover-path -T --takeover --follow --standby --standby-timeout --or-take-over -c --wait --worker --service --steal -v --verbose --log-format --after-handover --freeze-timeout --drain-timeout --close-timeout --max-peers --metrics --tls-cert --tls-key --tls-client-ca --version -h --help' ;;
    :*) ((COMP_CWORD == 1)) && word='supervise move reload status peers log upgrade check' || word= ;;
    *) return ;;
    esac
    COMPREPLY=($(compgen -W "$word" -- "$current"))
}
complete -o bashdefault -o default -F _reactord reactord
