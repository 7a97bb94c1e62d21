#!/usr/bin/env bash
#
#      a ──────────────── b        the cable carries 1500 bytes, as everywhere
#   192.0.2.1          192.0.2.2
#   10.99.0.1          10.99.0.2   inside, 1500 bytes too
#
. "$(dirname "$0")/lib.sh"
story "full frames of 1500 bytes over an underlay of 1500 bytes" tcpdump

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
frames a wan
frames b wan
conf a <<<"ifconfig4 10.99.0.1/24"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000"
run_node a b
soon 10 "b reaches a" answers b 10.99.0.1
check "the interface has an MTU of 1500" on a sh -c '[ "$(cat /sys/class/net/peervpn0/mtu)" = 1500 ]'

# Around the sizes where one datagram is no longer enough.
for size in 1372 1401 1402 1414 1415 1430 1443 1444 1471 1472; do
    check "a packet of $((size + 28)) bytes passes whole" answers b 10.99.0.1 -s "$size" -M 'do'
done
record a wan full
check "20 pings of 1500 bytes, none lost" on b ping -q -n -c 20 -i 0.05 -w 10 -s 1472 -M 'do' 10.99.0.1
stop_recording full
note "on the cable: $(tcpdump -n -r "$LAB/full.pcap" 2>/dev/null | wc -l) packets for them"
check "and don't fragment is set on all of them" no_fragments full
check "none is longer than the cable's 1500 bytes" sh -c \
    "[ -z \"\$(tcpdump -n -r '$LAB/full.pcap' 'greater 1515' 2>/dev/null)\" ]"

# A stream of full frames, checked at its end. Its ends agree on segments that fit, so no frame of it is cut.
record a wan stream
stream b a 10.99.0.1
stop_recording stream
check "no IP fragment is on the cable, and don't fragment is set" no_fragments stream
# The capture may miss some, but none of one kind.
whole=$(payloads stream | awk '$1 > 1400' | wc -l) cut=$(payloads stream | awk '$1 > 400 && $1 <= 1400' | wc -l)
check "its segments go in one packet each ($whole whole, $cut shorter)" test "$whole" -gt $((20 * cut))
