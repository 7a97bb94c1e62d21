#!/usr/bin/env bash
#
#     vps ──────── net ──────── nat ──────── laptop
#   198.51.100.10   │      198.51.100.20   192.168.7.2
#                  home 198.51.100.30
#
# The NAT's line comes back with another address while data flow, and forgets idle mappings after 12 s.
. "$(dirname "$0")/lib.sh"
story "a TCP transfer outlives another address in the world, and idle mappings that are forgotten"

host net router
host nat router
for name in vps home laptop; do host "$name"; done
public vps 10
public nat 20
public home 30
inside laptop nat 192.168.7
box nat wan
conf vps <<<"ifconfig4 10.99.0.1/24
enablerelay yes"
conf home <<<"ifconfig4 10.99.0.2/24
initpeers 198.51.100.10 7000"
conf laptop <<<"ifconfig4 10.99.0.3/24
initpeers 198.51.100.10 7000"
run_node vps home laptop
soon 20 "laptop reaches home" answers laptop 10.99.0.2
soon 20 "directly" status_says home "direct 198.51.100.20"

# moves HOST FROM TO: the line of HOST, and with it what a NAT has mapped, is gone, and back with another address.
moves() {
    on net ip address del 203.0.113.1 peer "198.51.100.$2" dev "to-$1"
    on net ip address add 203.0.113.1 peer "198.51.100.$3" dev "to-$1"
    on "$1" ip link set wan down
    on "$1" ip address del "198.51.100.$2" peer 203.0.113.1 dev wan
    on "$1" ip link set wan up
    on "$1" ip address add "198.51.100.$3" peer 203.0.113.1 dev wan
    on "$1" ip route replace default via 203.0.113.1 dev wan
}

# One transfer of some 15 s at 400 kB/s, home to laptop: the one behind the NAT is the one that waits.
on laptop sh -c 'exec python3 -c "
import socket
s = socket.create_server((\"10.99.0.3\", 9000))
open(\"/run/listens\", \"w\").close()
c, _ = s.accept()
c.settimeout(60)
got = 0
while d := c.recv(65536): got += len(d)
open(\"/run/got\", \"w\").write(str(got))"' </dev/null >"$LAB/sink.log" 2>&1 &
soon 5 "the laptop listens" on laptop test -e /run/listens
on home python3 -c '
import socket, time
s = socket.create_connection(("10.99.0.3", 9000), 10)
for _ in range(150):
    s.sendall(bytes(40000))
    time.sleep(0.1)
s.close()' </dev/null >"$LAB/source.log" 2>&1 &
sleep 3
moves nat 20 21
sleep 5
moves home 30 31
soon 60 "6 MB arrive though first the one and then the other had another address" on laptop test -s /run/got
check "all of them" test "$(on laptop cat /run/got)" = 6000000
soon 20 "directly, from the new address" status_says home "direct 198.51.100.21"
soon 20 "and to the new address" status_says laptop "direct 198.51.100.31"

set_kernel nat netfilter/nf_conntrack_udp_timeout 12
set_kernel nat netfilter/nf_conntrack_udp_timeout_stream 12
moves nat 21 22
soon 20 "with a NAT that forgets after 12 s, home reaches laptop" answers home 10.99.0.3
sleep 20
begun=$(date +%s%N)
soon 30 "after 20 s of silence it does again" answers home 10.99.0.3
note "$((($(date +%s%N) - begun) / 1000000)) ms after it was asked to"
