#!/usr/bin/env bash
#
#      a ──────────────── b        each is restarted, as procd does it for a change of its settings
#   192.0.2.1          192.0.2.2
#   10.99.0.1          10.99.0.2   inside
#
. "$(dirname "$0")/lib.sh"
story "a restart interrupts traffic for less than a second"

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
conf a <<<"ifconfig4 10.99.0.1/24
keyfile /run/node.key"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000
keyfile /run/node.key"
run_node a b
soon 10 "b reaches a" answers b 10.99.0.1

# restarted HOST: how many of 600 pings, a hundred a second, are lost while it is restarted.
restarted() {
    local name=$1 from to answered pinging
    case $name in
    a) from=b to=10.99.0.1 ;;
    b) from=a to=10.99.0.2 ;;
    esac
    on "$from" ping -q -n -c 600 -i 0.01 -W 1 "$to" >"$LAB/pings" 2>&1 &
    pinging=$!
    sleep 1
    halt "$name" || fail "$name does not end well"
    run_node "$name"
    wait "$pinging" || true
    answered=$(sed -n 's/.* \([0-9]*\) received.*/\1/p' "$LAB/pings")
    lost=$((600 - ${answered:-0}))
}

# One that is called, and one that calls.
for name in a b; do
    restarted "$name"
    note "$name was restarted: $lost of 600 pings were lost, one each 10 ms"
    check "less than a second" test "$lost" -lt 100
done
