#!/usr/bin/env bash
#
#      vps ─────── net ─────── home            what docs/migration.md says to do, and nothing else
#   203.0.113.10           198.51.100.20
#   br-lan 192.168.1.1     br-lan 192.168.1.2
#        └── the old tunnel, here a cable ──┘      it knows no probes; nor does PeerVPN 0.044
#
. "$(dirname "$0")/lib.sh"
story "from PeerVPN 0.044, by docs/migration.md" tcpdump

host net router
for name in vps home; do
    host "$name"
    own_etc "$name"
    on "$name" ip link add br-lan up type bridge
done
# As netifd does: else a bridge takes the address of a port, and another one when ports come and go.
on vps ip link set br-lan address 02:00:00:00:00:01
on home ip link set br-lan address 02:00:00:00:00:02
public vps 10
public home 20
# The address that stands in the old file.
on vps ip address add 203.0.113.10/32 dev wan
on net ip route add 203.0.113.10 dev to-vps

# printed MARK: a file as the guide prints it; as vps has it, the address differs and there is no initial peer.
printed() { awk -v fence="\`\`\`conf $1" '$0 == fence { inside = 1; next } /^```/ { inside = 0 } inside' "$ROOT/docs/migration.md"; }
of_vps() { sed -e 's/^\(ifconfig4 .*\)\.2/\1.1/' -e '/^initpeers/d'; }

# has HOST FILE: what is on standard input.
has() { on "$1" sh -c "umask 077; mkdir -p /etc/peervpn; cat >'$2'"; }

printed home | has home /etc/peervpn.conf
printed home | of_vps | has vps /etc/peervpn.conf
printed home-new | has home /etc/peervpn/peervpn.conf
printed home-new | of_vps | has vps /etc/peervpn/peervpn.conf

# All at once: both take the old files.
for name in vps home; do start "$name" /etc/peervpn.conf; done
soon 20 "the old files work as they are" answers home 10.99.0.1
halt vps
halt home

# Side by side.
started() {
    soon 10 "$1: its interface comes up" on "$1" ip address show dev peervpn1 up
    [[ $1 == vps ]] || soon 20 "$1: it finds vps" answers "$1" 10.98.0.1
}
start vps /etc/peervpn/peervpn.conf
started vps
follow docs/migration.md home
sentence="/etc/peervpn.conf:10: option 'engine': hardware acceleration is detected by itself"
check "check says of engine" grep -qF "$sentence" "$LAB/home.said"
check "what stands in the guide" grep -qF "$sentence" "$ROOT/docs/migration.md"
check "the section is made" grep -q "list initpeers '203.0.113.10 7000'" "$LAB/home.said"

# beside HOST: it says that the other one is on its own network.
beside() { on "$1" "$PEERVPN" status peervpn1 | grep -q "^! peer .* is bridged to the same network"; }

# In a bridge: the old tunnel is in it at both ends, and the new one is put beside it.
on vps ip address add 192.168.1.1/24 dev br-lan
on home ip address add 192.168.1.2/24 dev br-lan
cable vps old home old
for name in vps home; do on "$name" ip link set old master br-lan; done
soon 10 "the old tunnel carries the bridge" answers home 192.168.1.1
for name in vps home; do on "$name" ip link set peervpn1 master br-lan; done
soon 30 "with the new one beside it, the nodes see that" beside vps
soon 30 "both of them" beside home
# What went round taught the bridges wrong ways; the stations' own ARP puts that right.
soon 60 "and the bridge still works" answers home 192.168.1.1
calm home 192.168.1.255 home old
on vps ip link del old
soon 30 "when the old tunnel goes, the new one carries everything" answers home 192.168.1.1
