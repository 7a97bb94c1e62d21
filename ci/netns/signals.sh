#!/usr/bin/env bash
#
#      a ──────────────── b        b is told things by signals
#   192.0.2.1          192.0.2.2
#   10.99.0.1          10.99.0.2   inside
#
. "$(dirname "$0")/lib.sh"
story "signals: HUP, USR1, TERM, INT"

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
conf a <<<"ifconfig4 10.99.0.1/24"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000
upcmd echo up \$INTERFACE >>$LAB/hooks
downcmd echo down \$INTERFACE >>$LAB/hooks"

no_peer() { ! status_says a 192.0.2.2; }

for signal in TERM INT; do
    : >"$LAB/hooks"
    [[ $signal == INT ]] || run_node a
    run_node b
    soon 10 "b reaches a" answers b 10.99.0.1
    check "upcmd ran once, with the interface's name" test "$(cat "$LAB/hooks")" = 'up peervpn0'

    kill -HUP "$(pid_of b.daemon)"
    sleep 0.5
    check "HUP: it goes on" is_running b
    soon 5 "and still reaches a" answers b 10.99.0.1

    : >"$LAB/b.log"
    kill -USR1 "$(pid_of b.daemon)"
    soon 5 "USR1: its status stands in the log" grep -q 192.0.2.1 "$LAB/b.log"

    soon 5 "a lists b" status_says a 192.0.2.2
    code=0
    halt b "$signal" || code=$?
    check "$signal: it stops with exit code 0" test "$code" = 0
    soon 3 "it said goodbye: a no longer lists it, long before silence would have told" no_peer
    check "downcmd ran" test "$(tail -n 1 "$LAB/hooks")" = 'down peervpn0'
    refuse "its interface is gone" on b ip link show dev peervpn0
    refuse "status says that nobody is there" status b
    check "nothing of it is left running" test -z "$(ip netns pids "${LAB_PREFIX}b" | grep -vx "$(pid_of b.holder)")"
done
