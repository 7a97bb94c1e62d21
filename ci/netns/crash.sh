#!/usr/bin/env bash
#
#      a ──────────────── b        b is killed with SIGKILL and started again
#   192.0.2.1          192.0.2.2
#   10.99.0.1          10.99.0.2   inside
#
. "$(dirname "$0")/lib.sh"
story "kill -9 and return"

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
conf a <<<"ifconfig4 10.99.0.1/24"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000
keyfile /run/node.key"
run_node a b
soon 10 "b reaches a" answers b 10.99.0.1
check "the key file is for root alone" on b sh -c '[ "$(stat -c "%U %a" /run/node.key)" = "root 600" ]'

for round in 1 2 3; do
    halt b KILL || true
    refuse "round $round: killed, its interface is gone" on b ip link show dev peervpn0
    check "its children end with it" sh -c "sleep 0.5; [ -z \"\$(ip netns pids ${LAB_PREFIX}b | grep -vx $(pid_of b.holder))\" ]"
    begun=$(date +%s%N)
    run_node b
    soon 15 "started again, it reaches a" answers b 10.99.0.1
    note "$((($(date +%s%N) - begun) / 1000000)) ms after its start"
    check "a reaches it" answers a 10.99.0.2
done
for _ in {4..20}; do
    halt b KILL || true
    run_node b
done
soon 15 "killed twenty times, it reaches a" answers b 10.99.0.1
peers=$(status a | grep -c 192.0.2.2 || true)
check "a knows one peer, not its ghosts" test "$peers" = 1
