//! What an IP packet in a frame carries, and where that begins.

use crate::wire::ether::{Frame, IPV4, IPV6};

/// IP's number for TCP.
pub const TCP: u8 = 6;
/// IP's number for UDP.
pub const UDP: u8 = 17;
/// IP's number for ICMPv6.
pub const ICMPV6: u8 = 58;
/// An IPv4 header without options, in bytes.
pub const IPV4_HEADER: usize = 20;
/// An IPv6 header without extensions, in bytes.
pub const IPV6_HEADER: usize = 40;

/// No more extension headers than this are looked behind.
const EXTENSIONS: usize = 4;

/// What an IP packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upper {
    /// A protocol, by IP's number for it, and where in the frame its header begins.
    At(u8, usize),
    /// The later part of something.
    Fragment,
    /// It hides behind more extension headers than anybody needs, or is cut short.
    Hidden,
}

/// What the IP packet in a frame carries; none if that is no IP packet.
pub fn upper(frame: &Frame, bytes: &[u8]) -> Option<Upper> {
    let found = match frame.ethertype {
        IPV4 => behind_ipv4(bytes, frame.payload),
        IPV6 => behind_ipv6(bytes, frame.payload),
        _ => return None,
    };
    Some(found.unwrap_or(Upper::Hidden))
}

/// RFC 791, 3.1.
fn behind_ipv4(bytes: &[u8], at: usize) -> Option<Upper> {
    let header = bytes.get(at..at + IPV4_HEADER)?;
    let length = usize::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || length < IPV4_HEADER {
        return None;
    }
    Some(match u16::from_be_bytes([header[6], header[7]]) & 0x1fff {
        0 => Upper::At(header[9], at + length),
        _ => Upper::Fragment,
    })
}

/// RFC 8200, section 4.
fn behind_ipv6(bytes: &[u8], at: usize) -> Option<Upper> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let header = bytes.get(at..at + IPV6_HEADER)?;
    let (mut next, mut at) = (header[6], at + IPV6_HEADER);
    let mut fragment = false;
    for _ in 0..=EXTENSIONS {
        let mut words = 0;
        match next {
            // The first fragment may end in one of these, and what is behind it is only seen by who has all.
            HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT if fragment => return None,
            HOP_BY_HOP | ROUTING | DESTINATION => words = usize::from(*bytes.get(at + 1)?),
            FRAGMENT if u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]) >= 8 => {
                return Some(Upper::Fragment);
            }
            FRAGMENT => fragment = true,
            _ => return Some(Upper::At(next, at)),
        }
        next = *bytes.get(at)?;
        at += 8 * (words + 1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ethertype: u16, packet: &[u8]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ethertype.to_be_bytes(), packet].concat()
    }

    fn seen(bytes: &[u8]) -> Option<Upper> {
        upper(&Frame::read(bytes).unwrap(), bytes)
    }

    fn ipv4(first: u8, fragment: u16, protocol: u8) -> Vec<u8> {
        let mut packet = vec![0; 60];
        (packet[0], packet[9]) = (first, protocol);
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        frame(IPV4, &packet)
    }

    /// An IPv6 packet with these extension headers, each with its length in words of 8 bytes less one.
    fn ipv6(extensions: &[(u8, u8)], protocol: u8) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[6] = extensions.first().map_or(protocol, |extension| extension.0);
        for (n, &(_, words)) in extensions.iter().enumerate() {
            let at = packet.len();
            packet.resize(at + 8 * (usize::from(words) + 1), 0);
            packet[at] = extensions.get(n + 1).map_or(protocol, |next| next.0);
            packet[at + 1] = words;
        }
        packet.resize(packet.len() + 8, 0);
        frame(IPV6, &packet)
    }

    #[test]
    fn headers_are_looked_behind() {
        assert_eq!(seen(&frame(0x0806, &[0; 40])), None);
        assert_eq!(seen(&ipv4(0x45, 0, TCP)), Some(Upper::At(TCP, 34)));
        assert_eq!(seen(&ipv4(0x4f, 0x4000, UDP)), Some(Upper::At(UDP, 74)), "options, not to be cut");
        assert_eq!(seen(&ipv4(0x45, 0x2000, UDP)), Some(Upper::At(UDP, 34)), "the first fragment");
        assert_eq!(seen(&ipv4(0x45, 0x2001, UDP)), Some(Upper::Fragment));
        assert_eq!(seen(&ipv6(&[], ICMPV6)), Some(Upper::At(ICMPV6, 54)));
        assert_eq!(seen(&ipv6(&[(0, 0), (43, 2), (60, 0), (44, 0)], UDP)), Some(Upper::At(UDP, 102)));
        let mut later = ipv6(&[(44, 0)], UDP);
        later[57] = 8;
        assert_eq!(seen(&later), Some(Upper::Fragment));
    }

    #[test]
    fn what_is_cut_short_or_piled_up_is_hidden() {
        for bytes in [ipv4(0x44, 0, TCP), ipv4(0x65, 0, TCP), ipv6(&[(60, 0); 5], TCP)] {
            assert_eq!(seen(&bytes), Some(Upper::Hidden));
        }
        assert_eq!(seen(&ipv6(&[(44, 0), (60, 0)], UDP)), Some(Upper::Hidden), "behind a fragment's header");
        let whole = ipv6(&[(0, 1), (44, 0)], UDP);
        for cut in 14..14 + 40 + 16 + 4 {
            assert_eq!(seen(&whole[..cut]), Some(Upper::Hidden), "{cut}");
        }
        assert_eq!(seen(&ipv4(0x45, 0, TCP)[..33]), Some(Upper::Hidden));
    }
}
