#!/usr/bin/env bash
#
#      a ──────────────── b        b has another key; then the key, but another network's name
#   192.0.2.1          192.0.2.2
#   10.99.0.1          10.99.0.2   inside
#
. "$(dirname "$0")/lib.sh"
story "a wrong key and a wrong network name" tcpdump

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
conf a <<<"ifconfig4 10.99.0.1/24
mac 02:00:00:00:00:01"

# Nothing may be on the cable but b's first messages (type 1, 160 bytes): no answer, nothing sealed. Static
# neighbours make pings into frames that ask to be sent.
stranger() {
    record a wan "$1" udp
    run_node b
    on b ip neighbour replace 10.99.0.1 lladdr 02:00:00:00:00:01 dev peervpn0
    refuse "$1: b does not reach a" answers b 10.99.0.1 -c 15 -i 0.3
    refuse "$1: a does not reach b" answers a 10.99.0.2 -c 3 -i 0.3
    stop_recording "$1"
    check "$1: b tries ($(payloads "$1" | wc -l) datagrams)" test "$(payloads "$1" | wc -l)" -gt 0
    check "$1: there is nothing on the cable but first messages of handshakes" \
        test "$(payloads "$1" | sort -u)" = '160 1'
    check "$1: a, at 192.0.2.1, sends nothing at all" \
        test -z "$(tcpdump -n -r "$LAB/$1.pcap" src host 192.0.2.1 2>/dev/null)"
    halt b || true
}

run_node a
conf b <<<"psk $("$PEERVPN" genpsk)
ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000"
stranger wrong-key
conf b <<<"networkname another
ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000"
stranger wrong-network-name

# And the difference was only that.
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000"
run_node b
soon 10 "with the right ones it reaches a" answers b 10.99.0.1
