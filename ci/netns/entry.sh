#!/usr/bin/env bash
#
#                net (routes)
#          ┌──────────┼──────────┐
#     198.51.100.10   .20        .30
#         entry       b          c       b and c know the entry point only
#     10.99.0.1   10.99.0.2  10.99.0.3   inside
#
. "$(dirname "$0")/lib.sh"
story "the initial peer vanishes, and returns"

host net router
host entry
host b
host c
public entry 10
public b 20
public c 30
conf entry <<<"ifconfig4 10.99.0.1/24"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 198.51.100.10 7000"
conf c <<<"ifconfig4 10.99.0.3/24
initpeers 198.51.100.10 7000"
run_node entry b c
soon 10 "b reaches the entry point" answers b 10.99.0.1
soon 20 "b reaches c, whom it was told of" answers b 10.99.0.3
check "b's status names c's own address: the way is direct" status_says b 198.51.100.30

halt entry KILL || true
check "without the entry point b and c lose nothing: 100 pings" on b ping -q -n -c 100 -i 0.02 -w 10 10.99.0.3
sleep 12 # longer than any path lives without an answer
check "nor later" on b ping -q -n -c 20 -i 0.02 -w 10 10.99.0.3
check "c reaches b too" answers c 10.99.0.2

run_node entry
soon 40 "the entry point is back, and b finds it" answers b 10.99.0.1
soon 40 "and c does" answers c 10.99.0.1
