#!/usr/bin/env python3
"""nat64.py INTERFACE PREFIX ADDRESS: stands in for a NAT64 (RFC 7915) between one IPv6 host and IPv4, where tayga is
not to be had. UDP alone, without errors: what is too long is lost. The host becomes ADDRESS, and is the first to send."""

import fcntl
import ipaddress
import os
import struct
import sys

TUNSETIFF, IFF_TUN, IFF_NO_PI, UDP = 0x400454CA, 1, 0x1000, 17


def total(data):
    data += b"\0" * (len(data) % 2)
    value = sum(struct.unpack(f">{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return ~value & 0xFFFF


def with_checksum(udp, pseudo):
    udp = udp[:6] + b"\0\0" + udp[8:]
    value = total(pseudo + udp) or 0xFFFF
    return udp[:6] + struct.pack(">H", value) + udp[8:]


def main():
    prefix = ipaddress.ip_network(sys.argv[2])
    # RFC 6052, 2.2: where the bytes of an IPv4 address stand.
    places = [at for at in range(prefix.prefixlen // 8, 16) if at != 8][:4]
    own = ipaddress.ip_address(sys.argv[3]).packed
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", sys.argv[1].encode(), IFF_TUN | IFF_NO_PI))
    host = None
    while True:
        packet = os.read(tun, 65536)
        if packet[0] >> 4 == 6 and packet[6] == UDP and ipaddress.ip_address(packet[24:40]) in prefix:
            host, far, udp = packet[8:24], bytes(packet[24 + at] for at in places), packet[40:]
            ends = own + far
            udp = with_checksum(udp, ends + struct.pack(">2H", UDP, len(udp)))
            header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0x4000, packet[7] - 1, UDP, 0) + ends
            os.write(tun, header[:10] + struct.pack(">H", total(header)) + header[12:] + udp)
        elif packet[0] >> 4 == 4 and packet[9] == UDP and packet[16:20] == own and host:
            udp = packet[(packet[0] & 15) * 4 :]
            far = bytearray(prefix.network_address.packed)
            for at, octet in zip(places, packet[12:16]):
                far[at] = octet
            ends = bytes(far) + host
            udp = with_checksum(udp, ends + struct.pack(">IHH", len(udp), 0, UDP))
            os.write(tun, struct.pack(">IHBB", 6 << 28, len(udp), UDP, packet[8] - 1) + ends + udp)


main()
