#!/usr/bin/env bash
#
#        a ──────────────── b
#   2001:db8::1        2001:db8::2      no IPv4 at all outside
#   fd99::1            fd99::2          inside, and 10.99.0.1, 10.99.0.2
#
. "$(dirname "$0")/lib.sh"
story "two nodes over IPv6"
[[ -e /proc/sys/net/ipv6 ]] || skip "this kernel has no IPv6"

host a
host b
cable a wan b wan
on a ip address add 2001:db8::1/64 dev wan nodad
on b ip address add 2001:db8::2/64 dev wan nodad
conf a <<<"ifconfig6 fd99::1/64
ifconfig4 10.99.0.1/24"
conf b <<<"ifconfig6 fd99::2/64
ifconfig4 10.99.0.2/24
initpeers [2001:db8::1]:7000"
run_node a b

soon 10 "b reaches a over IPv4 inside" answers b 10.99.0.1
soon 10 "b reaches a over IPv6 inside" answers b fd99::1
check "a reaches b over IPv6 inside" answers a fd99::2
check "a full frame of 1500 bytes passes" answers b fd99::1 -s 1452 -M 'do'
check "status names the peer's IPv6 address" status_says a 2001:db8::2
