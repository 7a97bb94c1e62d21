#!/usr/bin/env bash
#
#              a ─────────────────── b
#          192.0.2.1             192.0.2.2
#           peervpn0              peervpn0
#             br0                 10.99.0.2
#          ┌───┴────┐
#       10.99.0.1   │
#                 guest 10.99.0.9       a second host, without the VPN, in a's bridge
#
. "$(dirname "$0")/lib.sh"
story "a bridge with a second host behind one of the nodes"

host a
host b
host guest
cable a wan b wan
cable a port guest eth0
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
on a ip link add br0 type bridge
on a ip link set port master br0
on a ip link set br0 up
on a ip address add 10.99.0.1/24 dev br0
on guest ip address add 10.99.0.9/24 dev eth0
conf a <<<"upcmd ip link set peervpn0 master br0"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000"
run_node a b

soon 10 "b reaches the node with the bridge" answers b 10.99.0.1
soon 10 "b reaches the host behind it" answers b 10.99.0.9
check "and the host reaches b" answers guest 10.99.0.2
check "with full frames" answers guest 10.99.0.2 -s 1472 -M 'do'
guest_mac=$(on guest cat /sys/class/net/eth0/address)
check "b sees the host's own MAC address" on b sh -c "ip neighbour show 10.99.0.9 | grep -q $guest_mac"
refuse "no packet comes twice" grep DUP <<<"$(on guest ping -n -c 20 -i 0.02 10.99.0.2)"

# The host moves to b's side; its frames tell everyone.
on b ip link add br0 type bridge
on b ip link set br0 up
on b ip address flush dev peervpn0
on b ip link set peervpn0 master br0
on b ip address add 10.99.0.2/24 dev br0
on a ip link del port
cable b port guest eth0
on b ip link set port master br0
on guest ip link set eth0 address "$guest_mac"
on guest ip address add 10.99.0.9/24 dev eth0
soon 10 "after moving to the other bridge it reaches a" answers guest 10.99.0.1
check "and a reaches it" answers a 10.99.0.9
