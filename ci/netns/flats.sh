#!/usr/bin/env bash
#
#     flat-a ─────── net ─────── flat-b            what docs/bridging.md says to do, and nothing else
#   198.51.100.10             198.51.100.20
#     br-lan 192.168.1.1        br-lan 192.168.1.2
#     │                         │
#     pc-a 192.168.1.100        pc-b               has its address from flat-b's DHCP server, not from flat-a's
#
. "$(dirname "$0")/lib.sh"
story "two flats as one network, by docs/bridging.md" dnsmasq udhcpc

host net router
for name in flat-a flat-b; do
    host "$name"
    own_etc "$name"
    echo "198.51.100.10 flat-a.example.org" >>"$LAB/$name.hosts"
    on "$name" ip link add br-lan up type bridge
done
public flat-a 10
public flat-b 20
on flat-a ip address add 192.168.1.1/24 dev br-lan
on flat-b ip address add 192.168.1.2/24 dev br-lan
for flat in a b; do
    host "pc-$flat"
    cable "flat-$flat" lan "pc-$flat" eth0
    on "flat-$flat" ip link set lan master br-lan
    # The file, as the guide prints it.
    awk -v fence="\`\`\`conf flat-$flat" '$0 == fence { inside = 1; next } /^```/ { inside = 0 } inside' \
        "$ROOT/docs/bridging.md" >"$LAB/flat-$flat.conf"
    # shellcheck disable=SC2016 # expanded in the host
    on "flat-$flat" sh -c 'mkdir /etc/peervpn && cat >/etc/peervpn/peervpn.conf' <"$LAB/flat-$flat.conf"
done
on pc-a ip address add 192.168.1.100/24 dev eth0

started() { soon 10 "$1: its interface is in the bridge" in_bridge "$1"; }
in_bridge() { on "$1" bridge link show | grep -q 'peervpn0.*master br-lan'; }

serve flat-a br-lan 192.168.1.101 192.168.1.149
serve flat-b br-lan 192.168.1.150 192.168.1.199

follow docs/bridging.md flat-a
# flat-b's last commands ask for what takes a moment after the start.
started() {
    soon 10 "$1: its interface is in the bridge" in_bridge "$1"
    soon 20 "$1: it finds flat-a" answers "$1" 192.168.1.1
}
follow docs/bridging.md flat-b
check "explain names the peer that the address is behind" grep -q 'behind peer' "$LAB/flat-b.said"

for round in 1 2 3; do
    check "pc-b gets a lease ($round)" lease pc-b eth0
    check "from its own flat" on pc-b sh -c "ip -o -4 address show dev eth0 | grep -qE ' 192\.168\.1\.1[5-9][0-9]/24'"
done
refuse "flat-a's server has not heard it" grep -q DHCPDISCOVER "$LAB/flat-a.dnsmasq.log"
soon 10 "pc-b reaches pc-a" answers pc-b 192.168.1.100
check "with full frames" answers pc-b 192.168.1.100 -s 1472 -M 'do'
