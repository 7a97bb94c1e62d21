#!/usr/bin/env bash
#
#                  net (routes)
#          ┌──────────┼──────────┐
#     198.51.100.10   .20        .30
#          hub      nat-b      nat-c       masquerade fully-random: a new port for every destination
#       (relays)      │          │
#                     b          c         192.168.2.2, 192.168.3.2
#     10.99.0.1   10.99.0.2  10.99.0.3     inside
#
. "$(dirname "$0")/lib.sh"
story "three nodes, two of them behind symmetric NATs, and a relay" tcpdump

host net router
host hub
host nat-b router
host nat-c router
host b
host c
public hub 10
public nat-b 20
public nat-c 30
inside b nat-b 192.168.2
inside c nat-c 192.168.3
box nat-b wan fully-random
box nat-c wan fully-random
# Packets are counted on the wire below: each has to be a datagram of its own there, also when two are sent at once.
conf hub <<<"ifconfig4 10.99.0.1/24
enablerelay yes
offload no"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 198.51.100.10 7000
offload no"
conf c <<<"ifconfig4 10.99.0.3/24
initpeers 198.51.100.10 7000
offload no"
run_node hub b c

soon 10 "b reaches the hub through its NAT" answers b 10.99.0.1
soon 10 "c reaches the hub through its NAT" answers c 10.99.0.1
soon 20 "b reaches c" answers b 10.99.0.3
check "c reaches b" answers c 10.99.0.2
record hub wan relayed udp
check "no packet is lost among 200" on b ping -q -n -c 200 -i 0.005 -w 20 10.99.0.3
stop_recording relayed
# 5 is a packet on its way through a relay; each ping is two of them into the hub and two out of it.
relayed=$(payloads relayed | awk '$2 == 5' | wc -l)
check "they go through the hub, wrapped ($relayed relayed packets for 200 pings)" test "$relayed" -ge 800
check "a large frame passes too" answers b 10.99.0.3 -s 1472 -M 'do'
check "b's status says so" status_says b relay

# A hub that does not want to relay does not.
halt hub || true
conf hub <<<"ifconfig4 10.99.0.1/24
enablerelay no"
run_node hub
soon 40 "b finds the hub again after its restart" answers b 10.99.0.1
soon 40 "c finds the hub again after its restart" answers c 10.99.0.1
refuse "with enablerelay no, b and c do not reach each other" answers b 10.99.0.3 -c 5 -i 0.3
