#!/usr/bin/env bash
#
#      a ──────── r ════════ s ──────── b      the middle carries 1492 bytes, then 1280, then 1500, and no router
#   192.0.2.1    .254       .254  198.51.100.1  ever says that something was too long
#   10.99.0.1                       10.99.0.2   inside, 1500 bytes
#
. "$(dirname "$0")/lib.sh"
story "a path that is narrower than both ends know, with ICMP dropped" tcpdump

for name in a r s b; do
    host "$name"
done
cable a wan r left
cable r middle s middle
cable s right b wan
on a ip address add 192.0.2.1/24 dev wan
on r ip address add 192.0.2.254/24 dev left
on r ip address add 203.0.113.1/24 dev middle
on s ip address add 203.0.113.2/24 dev middle
on s ip address add 198.51.100.254/24 dev right
on b ip address add 198.51.100.1/24 dev wan
on a ip route add default via 192.0.2.254
on b ip route add default via 198.51.100.254
on r ip route add 198.51.100.0/24 via 203.0.113.2
on s ip route add 192.0.2.0/24 via 203.0.113.1
for name in r s; do
    on "$name" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
    on "$name" nft -f - <<<'table ip silent { chain out { type filter hook output priority 0; meta l4proto icmp drop; }; }'
done

widen() {
    on r ip link set dev middle mtu "$1"
    on s ip link set dev middle mtu "$1"
}

conf a <<<"ifconfig4 10.99.0.1/24"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000"
widen 1492
run_node a b
soon 10 "b reaches a" answers b 10.99.0.1

# everything_passes WIDTH: everything passes that passes anywhere.
everything_passes() {
    soon 10 "a packet of 1500 bytes passes whole" answers b 10.99.0.1 -s 1472 -M 'do'
    check "20 of them, none lost" on b ping -q -n -c 20 -i 0.05 -w 10 -s 1472 -M 'do' 10.99.0.1
    record r middle "width$1"
    stream b a 10.99.0.1
    stop_recording "width$1"
    check "no IP fragment is on the cable, and don't fragment is set" no_fragments "width$1"
}

everything_passes 1492
widen 1280
note "the path narrows to 1280"
everything_passes 1280
