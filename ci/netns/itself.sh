#!/usr/bin/env bash
#
#              a ─────────────────── b
#          192.0.2.1             192.0.2.2
#          10.99.0.1             10.99.0.2       in the tunnel; b has a's tunnel address for an initial peer, too
#
. "$(dirname "$0")/lib.sh"
story "a tunnel is not led through itself"

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
conf a <<<"ifconfig4 10.99.0.1/24"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000 10.99.0.1 7000"
run_node a b

soon 10 "b reaches a" answers b 10.99.0.1
sent() { on b cat /sys/class/net/wan/statistics/tx_packets; }
before=$(sent)
for second in {1..30}; do
    sleep 1
    note "after $second s: $(($(sent) - before)) packets, $(status b | grep -o 'direct .*')"
done
check "S20: b's way to a is outside" status_says b 192.0.2.1
check "30 s without traffic are no flood" test $(($(sent) - before)) -lt 1000
check "b still reaches a" answers b 10.99.0.1
