#!/usr/bin/env bash
#
#     vps ──────── net ──────── nat ──────── laptop        what docs/linux.md says to do, and nothing else
#   198.51.100.10   │      198.51.100.20   192.168.7.2
#   10.99.0.1       │                      10.99.0.4, and 10.88.0.7 in a second network
#                  home 198.51.100.30
#                   10.99.0.2, a LAN behind it
#
. "$(dirname "$0")/lib.sh"
story "a VPS and a laptop, by docs/linux.md" systemd-analyze

host net router
host nat router
for name in vps home laptop; do
    host "$name"
    own_etc "$name"
    echo "198.51.100.10 vps.example.org" >>"$LAB/$name.hosts"
done
public vps 10
public nat 20
public home 30
inside laptop nat 192.168.7
box nat wan
on home ip link add lan up type bridge
on home ip address add 192.168.1.1/24 dev lan

started() {
    soon 10 "$1: an interface comes up" on "$1" ip address show up scope global type tun
    [[ $1 == vps ]] || soon 10 "$1: it finds vps" answers "$1" 10.99.0.1
    [[ $1 != laptop ]] || soon 10 "$1: upcmd has run, if there is one" upcmd_ran
}

upcmd_ran() {
    on laptop sh -c '! grep -q ^upcmd /etc/peervpn/peervpn.conf || ip route show 192.168.1.0/24 | grep -q peervpn0'
}

follow docs/linux.md vps
line=$(invitation vps)
check "home takes the line that was printed" say_it home "${line/--address */--address 10.99.0.2/24}"
start home
started home
check "the laptop takes it, too" say_it laptop "${line/--address */--address 10.99.0.4/24}"
check "which is the line that the guide shows" \
    grep -q -- " | sudo peervpn setup --join --address 10.99.0.4/24\$" "$ROOT/docs/linux.md"
follow docs/linux.md laptop
soon 10 "the LAN behind home answers the laptop" answers laptop 192.168.1.1
check "two networks, two identities" test "$(on laptop sh -c 'ls /etc/peervpn/*key')" = "/etc/peervpn/club.key
/etc/peervpn/key"
check "each with its own status" status_says laptop EXAMPLE_NET
cp "$ROOT/files/lib/systemd/system/peervpn@.service" "$LAB/peervpn@.service"
sed -i "s|^ExecStart=/usr/sbin/peervpn|ExecStart=$PEERVPN|; /^Documentation=/d" "$LAB/peervpn@.service"
check "systemd understands the unit" systemd-analyze verify --man=no "$LAB/peervpn@.service"
