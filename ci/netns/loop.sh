#!/usr/bin/env bash
#
#      far ──── net ──── a            both bridges hold a TAP and a port of one switch, in which a host is
#                │       │br-lan
#                b       switch ── host
#                │br-lan │          10.99.0.9
#                └───────┘
#
. "$(dirname "$0")/lib.sh"
story "two members whose bridges meet in one network do not make a loop" tcpdump

for name in net far a b switch host; do host "$name"; done
on net sysctl -q -w net.ipv4.ip_forward=1
public far 1
public a 2
public b 3
on switch ip link add name br0 up type bridge
for name in a b; do
    cable switch "to-$name" "$name" lan
    on switch ip link set dev "to-$name" master br0
    on "$name" ip link add name br-lan up type bridge
    on "$name" ip link set dev lan master br-lan
done
cable switch to-host host lan
on switch ip link set dev to-host master br0
on host ip address add 10.99.0.9/24 dev lan

conf far <<<"ifconfig4 10.99.0.1/24"
for name in a b; do
    conf "$name" <<<"initpeers 198.51.100.1 7000
upcmd ip link set dev \"\$INTERFACE\" master br-lan"
done
run_node far a b

# The second round is the one that counts: whoever the first questions found has settled by then.
soon 20 "one of them forwards for both" status_says a "same network"
soon 20 "and the other says so too" status_says b "same network"
forwards=$(on a "$PEERVPN" status peervpn0 --json | python3 -c '
import json, sys
print(json.load(sys.stdin)["same_network"][0]["forwards"])')
other=$(on b "$PEERVPN" status peervpn0 --json | python3 -c '
import json, sys
print(json.load(sys.stdin)["same_network"][0]["forwards"])')
check "they agree on which" test "$forwards $other" = "node peer" -o "$forwards $other" = "peer node"
soon 10 "the host in the network is reached" answers far 10.99.0.9

check "and answers" answers far 10.99.0.9 -c 3 -i 0.2 -W 2
calm host 10.99.0.255 far peervpn0

# The one that forwards goes: the other takes its place.
gone=a
[[ $forwards == node ]] || gone=b
left=$([[ $gone == a ]] && echo b || echo a)
halt "$gone"
on far ip neighbour flush dev peervpn0
soon 10 "when it goes, the other takes over" answers far 10.99.0.9
refuse "and is alone" status_says "$left" "same network"
