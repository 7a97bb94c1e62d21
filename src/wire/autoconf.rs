//! What configures hosts: DHCP (RFC 2131), DHCPv6 (RFC 8415) and router advertisements (RFC 4861, 4.2). With
//! `filterdhcp yes` none of it crosses the tunnel, so that each side keeps its own servers and routers (S21).
//!
//! A packet that hides what it carries is taken for one of these, or hiding would be the way past (RFC 7113): behind
//! headers that a first fragment need not hold to their end, behind more tags than are looked behind, which Linux takes off
//! one by one if they name no VLAN, or in the form of IEEE 802.2, which some take for the same (RFC 1042).

use crate::wire::ether::{CUSTOMER_TAG, Frame, IPV4, SERVICE_TAG};
use crate::wire::ip::{ICMPV6, UDP, Upper, upper};

/// Ports of server and client, one below the other in both families.
const DHCP: [u16; 2] = [67, 68];
const DHCPV6: [u16; 2] = [546, 547];
/// ICMPv6's number for a router advertisement.
const ROUTER_ADVERTISEMENT: u8 = 134;

/// An Ethertype below this is the length of an LLC frame.
const LLC: u16 = 0x600;
/// What stands in an LLC frame before an Ethertype: IEEE 802, and 802.1H.
const SNAP: [[u8; 6]; 2] = [[0xaa, 0xaa, 3, 0, 0, 0], [0xaa, 0xaa, 3, 0, 0, 0xf8]];

/// Whether a frame may configure a host.
pub fn configures(frame: &Frame, bytes: &[u8]) -> bool {
    match upper(frame, bytes) {
        None => {
            let payload = bytes.get(frame.payload..).unwrap_or_default();
            matches!(frame.ethertype, CUSTOMER_TAG | SERVICE_TAG)
                || frame.ethertype < LLC && SNAP.iter().any(|snap| payload.starts_with(snap))
        }
        // It goes to the port that its receiver listens to, wherever it comes from.
        Some(Upper::At(UDP, at)) => {
            let ports = if frame.ethertype == IPV4 { DHCP } else { DHCPV6 };
            bytes
                .get(at + 2..at + 4)
                .is_some_and(|port| ports.contains(&u16::from_be_bytes([port[0], port[1]])))
        }
        Some(Upper::At(ICMPV6, at)) => bytes.get(at) == Some(&ROUTER_ADVERTISEMENT),
        Some(Upper::Hidden) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ethertype: u16, packet: &[u8]) -> bool {
        let head = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 2], &ethertype.to_be_bytes()];
        let bytes = [&head.concat()[..], packet].concat();
        let tagged = [&bytes[..12], &[0x81, 0, 0, 5], &bytes[12..]].concat();
        let [plain, tagged] = [bytes, tagged].map(|bytes| configures(&Frame::read(&bytes).unwrap(), &bytes));
        assert_eq!(plain, tagged, "a VLAN makes no difference");
        plain
    }

    fn udp4(to: u16) -> bool {
        let mut packet = vec![0; 28];
        (packet[0], packet[9]) = (0x45, UDP);
        packet[22..24].copy_from_slice(&to.to_be_bytes());
        check(IPV4, &packet)
    }

    fn packet6(protocol: u8, extensions: usize, inside: &[u8]) -> bool {
        const DESTINATION: u8 = 60;
        let mut packet = vec![0; 40];
        packet[6] = if extensions == 0 { protocol } else { DESTINATION };
        for left in (0..extensions).rev() {
            packet.extend([if left == 0 { protocol } else { DESTINATION }, 0, 0, 0, 0, 0, 0, 0]);
        }
        packet.extend(inside);
        check(0x86dd, &packet)
    }

    // S21
    #[test]
    fn servers_and_routers_are_known_by_what_they_send() {
        let table = [(67, true), (68, true), (53, false), (546, false), (66, false), (69, false)];
        for (port, expected) in table {
            assert_eq!(udp4(port), expected, "{port}");
        }
        for (port, expected) in [(546u16, true), (547, true), (67, false), (545, false), (548, false)] {
            let [high, low] = port.to_be_bytes();
            for extensions in 0..4 {
                assert_eq!(packet6(UDP, extensions, &[0, 9, high, low, 0, 8, 0, 0]), expected, "{port}");
            }
        }
        for (kind, expected) in [(134, true), (133, false), (135, false), (136, false), (128, false)] {
            assert_eq!(packet6(ICMPV6, 0, &[kind, 0, 0, 0]), expected, "{kind}");
        }
        assert!(!check(0x0806, &[0; 28]), "ARP configures nobody");
        assert!(!packet6(6, 0, &[0, 0, 2, 34]), "TCP has ports too");
    }

    #[test]
    fn hiding_is_no_way_past() {
        assert!(packet6(ICMPV6, 9, &[128, 0, 0, 0]));
        assert!(check(0x86dd, &[0x60; 20]));
        // The first fragment ends before what it says that it carries; what looks like that is the cable's padding.
        let first = [&[UDP, 0, 0, 1, 0, 0, 0, 1][..], &[UDP, 0, 0, 0, 0, 0, 0, 0], &[0; 16]].concat();
        let mut behind = first.clone();
        behind[0] = 60;
        assert!(!packet6(44, 0, &first) && packet6(44, 0, &behind));
        // Tags behind tags, and LLC.
        for (tags, expected) in [(0, true), (1, true), (2, true), (3, true), (9, true)] {
            let mut rest = [0x81, 0, 0, 0].repeat(tags);
            rest.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, UDP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            rest.extend([0, 67, 0, 68, 0, 8, 0, 0]);
            let bytes = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 2], &rest].concat();
            assert_eq!(configures(&Frame::read(&bytes).unwrap(), &bytes), expected, "{tags} tags");
        }
        for (llc, expected) in [([0u8, 0, 0], true), ([0, 0, 0xf8], true), ([0, 0, 0x0c], false)] {
            assert_eq!(check(40, &[&[0xaa, 0xaa, 3][..], &llc, &[8, 0, 0x45]].concat()), expected, "{llc:?}");
        }
        assert!(!check(38, &[0x42, 0x42, 3, 0, 0]), "spanning tree is none of this");
    }
}
