#!/usr/bin/env bash
#
#      a ──────────────── b
#   192.0.2.1          192.0.2.2
#   10.99.0.1          10.99.0.2      inside
#
. "$(dirname "$0")/lib.sh"
story "two nodes over IPv4"

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
conf a <<<"ifconfig4 10.99.0.1/24"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000"
run_node a b

soon 10 "b reaches a" answers b 10.99.0.1
check "a reaches b" answers a 10.99.0.2
check "no packet is lost among 500" on b ping -q -n -c 500 -i 0.002 -w 20 10.99.0.1
check "the interface has its own name and address" on a sh -c \
    'ip -o -4 address show dev peervpn0 | grep -q "10.99.0.1/24"'
check "status names one peer and its address" status_says a 192.0.2.2
check "nobody but root may ask for it" on a sh -c '[ "$(stat -c %U /run/peervpn/peervpn0.sock)" = root ] &&
    case $(stat -c %a /run/peervpn/peervpn0.sock) in *00) ;; *) exit 1 ;; esac'
