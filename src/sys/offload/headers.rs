//! Where the headers of a TCP or UDP frame are. What is no plain TCP or UDP over IP is not described.
#![forbid(unsafe_code)]

use super::checksum;

/// What is carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
}

impl Protocol {
    /// Its number in an IP header.
    pub(crate) fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// Where in its header the checksum is.
    pub(crate) fn checksum(self) -> usize {
        match self {
            Protocol::Tcp => 16,
            Protocol::Udp => 6,
        }
    }

    /// The shortest header.
    fn shortest(self) -> usize {
        match self {
            Protocol::Tcp => 20,
            Protocol::Udp => 8,
        }
    }
}

/// Where the parts of a frame begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Headers {
    /// Whether it is IPv6.
    pub(crate) v6: bool,
    /// TCP or UDP.
    pub(crate) protocol: Protocol,
    /// The IP header.
    pub(crate) network: usize,
    /// The TCP or UDP header.
    pub(crate) transport: usize,
    /// The payload.
    pub(crate) payload: usize,
}

impl Headers {
    /// Those of a super-frame whose transport header is said to be at `transport`: IPv4 may have options, IPv6 more
    /// headers. None when that cannot be.
    pub(crate) fn of_super(frame: &[u8], protocol: Protocol, transport: usize) -> Option<Headers> {
        let (network, v6) = network(frame)?;
        let fits = if v6 {
            transport >= network + 40
        } else {
            let first = frame.get(network..network + 20)?;
            let length = usize::from(first[0] & 15) * 4;
            first[0] >> 4 == 4
                && length >= 20
                && transport == network + length
                && first[9] == protocol.number()
        };
        if fits { Headers::ending(frame, v6, protocol, network, transport) } else { None }
    }

    /// Those of an ordinary frame: one IP header without options, whole, nothing behind the payload.
    pub(crate) fn of_plain(frame: &[u8]) -> Option<Headers> {
        let (network, v6) = network(frame)?;
        let first = frame.get(network..network + 20)?;
        let long = frame.len() - network;
        let (transport, length, number) = if v6 {
            (network + 40, usize::from(u16::from_be_bytes([first[4], first[5]])) + 40, first[6])
        } else {
            // Neither a fragment nor the bit that must be zero (RFC 791, RFC 3514).
            if first[0] != 0x45 || first[6] & 0xbf != 0 || first[7] != 0 {
                return None;
            }
            (network + 20, usize::from(u16::from_be_bytes([first[2], first[3]])), first[9])
        };
        let protocol = match number {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return None,
        };
        if length != long {
            return None;
        }
        Headers::ending(frame, v6, protocol, network, transport)
    }

    fn ending(
        frame: &[u8],
        v6: bool,
        protocol: Protocol,
        network: usize,
        transport: usize,
    ) -> Option<Headers> {
        let header = frame.get(transport..)?.get(..protocol.shortest())?;
        let length = match protocol {
            Protocol::Tcp => usize::from(header[12] >> 4) * 4,
            Protocol::Udp => 8,
        };
        let payload = transport + length;
        let fits = length >= protocol.shortest() && payload <= frame.len();
        fits.then_some(Headers { v6, protocol, network, transport, payload })
    }

    /// The sum of the pseudo-header of so many bytes of segment (RFC 9293, section 3.1; RFC 8200, section 8.1).
    pub(crate) fn pseudo(&self, frame: &[u8], length: u16) -> u64 {
        let addresses = if self.v6 { 8..40 } else { 12..20 };
        let addresses = &frame[self.network + addresses.start..self.network + addresses.end];
        let rest = checksum::word(self.protocol.number().into()) + checksum::word(length);
        checksum::sum(rest, addresses)
    }

    /// Writes the IP header's length and checksum that belong to a frame of `length` bytes.
    pub(crate) fn write_length(&self, frame: &mut [u8], length: usize) {
        let length = short(length - self.network);
        if self.v6 {
            let payload = length.wrapping_sub(40);
            frame[self.network + 4..self.network + 6].copy_from_slice(&payload.to_be_bytes());
        } else {
            let header = &mut frame[self.network..self.transport];
            header[2..4].copy_from_slice(&length.to_be_bytes());
            header[10..12].fill(0);
            let sum = checksum::of(checksum::sum(0, header));
            header[10..12].copy_from_slice(&sum);
        }
    }
}

/// A length in a header. None in an IP packet is longer.
pub(crate) fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Where the IP header is, behind up to two VLAN tags (IEEE 802.1Q, 802.1ad), and whether it is IPv6's.
fn network(frame: &[u8]) -> Option<(usize, bool)> {
    for at in [12, 16, 20] {
        match *frame.get(at..at + 3)? {
            [0x08, 0x00, first] if first >> 4 == 4 => return Some((at + 2, false)),
            [0x86, 0xdd, first] if first >> 4 == 6 => return Some((at + 2, true)),
            [0x81, 0x00, _] | [0x88, 0xa8, _] => (),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "numbers of tests")]
mod tests {
    use super::super::testing::Spec;
    use super::*;

    #[test]
    fn headers_are_found_behind_any_tags() {
        for (tags, v6) in [(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)] {
            let network = 14 + 4 * tags;
            let transport = network + if v6 { 40 } else { 20 };
            for spec in [Spec::tcp(9), Spec::udp(9)] {
                let length = if spec.protocol == Protocol::Tcp { 32 } else { 8 };
                let frame = Spec { tags, v6, ..spec }.frame();
                let found = Headers::of_plain(&frame).unwrap();
                assert_eq!((found.v6, found.network, found.transport), (v6, network, transport));
                assert_eq!(found.payload, transport + length);
                assert_eq!(Headers::of_super(&frame, found.protocol, transport), Some(found));
                assert_eq!(Headers::of_super(&frame, found.protocol, transport - 1), None);
            }
        }
    }

    #[test]
    fn what_is_cut_short_or_odd_is_not_described() {
        for v6 in [false, true] {
            for spec in [Spec::tcp(0), Spec::udp(0)] {
                let frame = Spec { v6, tags: 1, ..spec }.frame();
                for length in 0..frame.len() {
                    assert_eq!(Headers::of_plain(&frame[..length]), None, "{length}");
                    let _ = Headers::of_super(&frame[..length], Protocol::Tcp, 58);
                }
                let padded = [frame.as_slice(), &[0; 4]].concat();
                assert_eq!(Headers::of_plain(&padded), None, "padding");
            }
        }
        let ip = 14;
        for (at, byte) in
            [(ip, 0x46), (ip, 0x65), (ip + 6, 0x20), (ip + 6, 0x80), (ip + 7, 1), (ip + 9, 1), (12, 9)]
        {
            let mut frame = Spec::tcp(30).frame();
            frame[at] = byte;
            assert_eq!(Headers::of_plain(&frame), None, "byte {at} is {byte}");
        }
        for offset in [0x40, 0xf0] {
            let mut frame = Spec { options: vec![], ..Spec::tcp(3) }.frame();
            frame[14 + 20 + 12] = offset;
            assert_eq!(Headers::of_plain(&frame), None, "data offset {offset:#x}");
        }
    }
}
