# bash completion for trilith; installed as /usr/share/bash-completion/completions/trilith

_trilith_sites() { # the sites that have a state folder
    local state=${1:-}
    if [ -z "$state" ]; then
        state=/var/lib/trilith
        [ "$(id -u)" = 0 ] || state=${XDG_STATE_HOME:-$HOME/.local/state}/trilith
    fi
    local folder
    for folder in "$state"/*/; do
        [ -d "$folder/log" ] && basename "$folder"
    done
}

_trilith_options() {
    case $1 in
        check) echo --json --quiet ;;
        init) echo --key --state --quiet ;;
        up) echo --background --state --quiet --json ;;
        run) echo --server --background --state --quiet --json ;;
        status) echo --all --state --json ;;
        top | dashboard) echo --state --json ;;
        explain) echo --method --header --from --site --server --state ;;
        alerts | backend) echo --site --state --quiet --json ;;
        reload) echo --state --quiet --json ;;
        stop) echo --state --quiet ;;
        logs) echo --follow --lines --access --status --id --all --server --state --json ;;
        serve) echo --listen --quiet --json ;;
        app) echo --listen --workers --root --quiet --json ;;
        proxy) echo --to --listen --quiet --json ;;
        lab) echo --lab --state --port --quiet --json ;;
        audit) echo --order --fail --json ;;
        draw) echo --svg --mermaid --dot --json --state ;;
        sql) echo --listen --primary --replica --hold ;;
        database) echo --force --site --state --quiet ;;
        firewall) echo --for --because --json --site --state ;;
        schema) echo --markdown ;;
        version) echo --json ;;
    esac
    echo --help
}

_trilith() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command= state= i
    local commands="check init up run status top explain dashboard alerts backend reload stop logs serve app proxy lab audit draw database sql firewall schema help version"
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        [ "${COMP_WORDS[i]}" = --state ] && state=${COMP_WORDS[i + 1]}
        [ -n "$command" ] || case ${COMP_WORDS[i]} in -*) ;; *) command=${COMP_WORDS[i]} ;; esac
    done
    if [ -z "$command" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$word")
        return
    fi
    case $before in
        --state | --root)
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
            compopt -o filenames 2>/dev/null
            return ;;
        --listen | --to | --workers | --lines | -n | --server) return ;;
    esac
    case $word in
        -*) mapfile -t COMPREPLY < <(compgen -W "$(_trilith_options "$command")" -- "$word")
            return ;;
    esac
    case $command in
        help) mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word") ;;
        check | init | up | run)
            mapfile -t COMPREPLY < <(compgen -f -X '!*.y?(a)ml' -- "$word"; compgen -d -- "$word")
            compopt -o filenames 2>/dev/null ;;
        status | top | dashboard | reload | stop | logs)
            mapfile -t COMPREPLY < <(compgen -W "$(_trilith_sites "$state")" -- "$word"
                                     compgen -f -X '!*.y?(a)ml' -- "$word") ;;
        alerts)
            [ "$before" = alerts ] && mapfile -t COMPREPLY < <(
                compgen -W "list silence unsilence test events" -- "$word") ;;
        backend)
            [ "$before" = backend ] && mapfile -t COMPREPLY < <(
                compgen -W "list weight drain undrain add remove reset" -- "$word") ;;
        firewall)
            [ "$before" = firewall ] && mapfile -t COMPREPLY < <(
                compgen -W "show list verify ban unban clear" -- "$word") ;;
        database)
            [ "$before" = database ] && mapfile -t COMPREPLY < <(
                compgen -W "switchover rebuild" -- "$word") ;;
        serve)
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
            compopt -o filenames 2>/dev/null ;;
    esac
}

complete -F _trilith trilith
