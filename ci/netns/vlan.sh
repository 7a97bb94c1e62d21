#!/usr/bin/env bash
#
#              a ─────────────────── b
#          192.0.2.1             192.0.2.2
#           peervpn0              peervpn0      frames with tags are put in by hand: not every kernel has VLANs
#
. "$(dirname "$0")/lib.sh"
story "frames with VLAN tags cross as they are" tcpdump

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
conf a <<<"ifconfig4 10.99.0.1/24"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000"
run_node a b
soon 10 "b reaches a" answers b 10.99.0.1

# raw HOST FRAME…: frames in hexadecimal digits go out at its interface.
raw() {
    local name=$1
    shift
    on "$name" python3 -c '
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("peervpn0", 0))
for frame in sys.argv[1:]:
    s.send(bytes.fromhex(frame))' "$@"
}

# Ethertype 88b5 is for experiments; the payload names the frame. The last is as large as the kernel lets us.
station=020000000001
full=$(printf '%02x' $(seq 0 255) $(seq 0 255) $(seq 0 255) $(seq 0 255) $(seq 0 255) $(seq 0 211))
frames=(
    "ffffffffffff$station""81000007""88b5""a1a1a1a1a1a1a1a1"
    "ffffffffffff$station""8100e00c""88b5""a2a2a2a2a2a2a2a2"
    "ffffffffffff$station""88a80064""81000007""88b5""$full"
)
record b peervpn0 tags -e
raw a "${frames[@]}"
sleep 1
stop_recording tags

# arrived FRAME: it is among those recorded, byte for byte.
arrived() {
    python3 - "$LAB/tags.pcap" "$1" <<'PYTHON'
import struct, sys
data, wanted = open(sys.argv[1], "rb").read(), bytes.fromhex(sys.argv[2])
order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
at, lengths = 24, []
while at + 16 <= len(data):
    kept = struct.unpack(order + "4I", data[at:at + 16])[2]
    frame, at = data[at + 16:at + 16 + kept], at + 16 + kept
    lengths.append(len(frame))
    if frame == wanted:
        sys.exit(0)
sys.exit(f"not among frames of {lengths} bytes")
PYTHON
}
check "with a tag" arrived "${frames[0]}"
check "with a tag that has a priority" arrived "${frames[1]}"
check "with two tags around 1492 bytes" arrived "${frames[2]}"

# One station in two networks: what is learned in one says nothing of the other.
raw b "ffffffffffff020000000002""81000007""88b5""b1b1b1b1"
record b peervpn0 tags -e
soon 5 "b has the station" on a sh -c "'$PEERVPN' explain 02:00:00:00:00:02 | grep -q behind"
raw a "020000000002$station""81000007""88b5""c1c1c1c1" "020000000002$station""81000008""88b5""c2c2c2c2"
sleep 1
stop_recording tags
check "a frame to a station known in its VLAN arrives" arrived "020000000002$station""81000007""88b5""c1c1c1c1"
check "as does one to a station not known there" arrived "020000000002$station""81000008""88b5""c2c2c2c2"
