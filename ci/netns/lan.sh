#!/usr/bin/env bash
#
#      a ──────────────── b        nobody is anybody's initial peer
#   192.168.7.1       192.168.7.2
#   10.99.0.1          10.99.0.2   inside
#
. "$(dirname "$0")/lib.sh"
story "two on one local network find each other by themselves"

host a
host b
cable a lan b lan
on a ip address add 192.168.7.1/24 dev lan
on b ip address add 192.168.7.2/24 dev lan
conf a <<<"ifconfig4 10.99.0.1/24
enablelandiscovery yes"
conf b <<<"ifconfig4 10.99.0.2/24
enablelandiscovery yes"
run_node a b

soon 10 "b reaches a" answers b 10.99.0.1
check "and directly" status_says a direct

halt b
conf b <<<"ifconfig4 10.99.0.2/24
enablelandiscovery yes
enableipv4 no"
run_node b
soon 10 "over IPv6 alone as well" answers b 10.99.0.1

# Both anew: who has met the other would look where it was.
halt a
halt b
conf b <<<"ifconfig4 10.99.0.2/24"
run_node a b
refuse "who does not want it is left alone" timeout 4 sh -c \
    "until nsenter --target $(pid_of b.daemon) --net ping -q -c 1 -W 1 10.99.0.1; do :; done"
