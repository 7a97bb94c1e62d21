//! The maximum segment size that the two ends of a TCP connection tell each other in their first segments (RFC 9293,
//! 3.7.1), lowered to what goes through the tunnel in one packet: so no segment has to be cut, and the ends
//! need no ICMP to learn of it.
//!
//! The size counts what follows headers without options (RFC 6691). It is only ever lowered; the checksum is
//! brought up to date without summing anew (RFC 1624, equation 3), so one that was wrong stays wrong.

use crate::wire::ether::{Frame, IPV4};
use crate::wire::ip::{IPV4_HEADER, IPV6_HEADER, TCP, Upper, upper};

/// The header without options, in bytes.
const TCP_HEADER: usize = 20;
/// Where the header has its length and its flags, and its checksum.
const OFFSET: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
const SYN: u8 = 2;
/// The options looked for (RFC 9293, 3.2).
const END: u8 = 0;
const NOTHING: u8 = 1;
const SEGMENT_SIZE: u8 = 2;
/// An end that is told less would be hurt rather than helped (RFC 9293, 3.7.1: the default).
const LEAST: usize = 536;

/// Where in a frame a connection's first segment stands that tells a size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct First {
    /// Bytes in front of a segment's data when no header has options.
    headers: usize,
    /// Where the checksum is.
    checksum: usize,
    /// Where the size is.
    size: usize,
    /// Whether the size begins at an odd byte of the segment, so that the checksum sees it turned round.
    odd: bool,
}

/// Finds the size in a frame that begins a TCP connection; none in any other.
pub fn first_segment(frame: &Frame, bytes: &[u8]) -> Option<First> {
    let Some(Upper::At(TCP, start)) = upper(frame, bytes) else { return None };
    let headers = if frame.ethertype == IPV4 { IPV4_HEADER } else { IPV6_HEADER };
    let segment = bytes.get(start..)?;
    if segment.get(FLAGS)? & SYN == 0 {
        return None;
    }
    let end = usize::from(segment[OFFSET] >> 4) * 4;
    let options = segment.get(TCP_HEADER..end)?;
    let at = TCP_HEADER + size_option(options)?;
    Some(First {
        headers: frame.payload + headers + TCP_HEADER,
        checksum: start + CHECKSUM,
        size: start + at,
        odd: at % 2 == 1,
    })
}

/// Where in the options the value of the size is.
fn size_option(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *options.get(at)? {
            END => return None,
            NOTHING => at += 1,
            kind => {
                let length = usize::from(*options.get(at + 1)?);
                if kind == SEGMENT_SIZE {
                    return (length == 4 && at + 4 <= options.len()).then_some(at + 2);
                }
                // A length that does not lead on would lead round for ever.
                at += if length >= 2 { length } else { return None };
            }
        }
    }
}

impl First {
    /// Lowers the size so that frames of at most `room` bytes come of it.
    pub fn clamp(self, bytes: &mut [u8], room: usize) {
        let most = room.saturating_sub(self.headers).max(LEAST);
        let Ok(most) = u16::try_from(most) else { return };
        let told = word(bytes, self.size);
        if told <= most {
            return;
        }
        bytes[self.size..self.size + 2].copy_from_slice(&most.to_be_bytes());
        let turned = |word: u16| if self.odd { word.swap_bytes() } else { word };
        let sum = update(word(bytes, self.checksum), turned(told), turned(most));
        bytes[self.checksum..self.checksum + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// A checksum after one of the words that it covers has changed (RFC 1624, equation 3).
fn update(sum: u16, old: u16, new: u16) -> u16 {
    let total = u32::from(!sum) + u32::from(!old) + u32::from(new);
    let folded = (total & 0xffff) + (total >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    // Two folds leave 16 bits.
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a segment, summed (RFC 9293, 3.1), with an odd last byte padded; of the pseudo-header only the sum.
    fn sum(segment: &[u8], pseudo: u32) -> u16 {
        let words =
            segment.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0)));
        let mut total = words.sum::<u32>() + pseudo;
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        !u16::try_from(total).unwrap()
    }

    struct Syn {
        bytes: Vec<u8>,
        start: usize,
    }

    impl Syn {
        /// A frame that begins a connection; `tags` VLAN tags, these TCP options, a right checksum.
        fn new(six: bool, tags: usize, flags: u8, options: &[u8]) -> Syn {
            let mut bytes = vec![2; 12];
            for tag in 0..tags {
                bytes.extend([if tag == 0 { 0x88 } else { 0x81 }, if tag == 0 { 0xa8 } else { 0 }, 0, 7]);
            }
            let length = 20 + options.len();
            if six {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, u8::try_from(length + 16).unwrap(), 0, 64]);
                bytes.extend([0xfd; 32]);
                // Two headers of options before the segment.
                bytes.extend([60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]);
            } else {
                bytes.extend([8, 0, 0x46, 0, 0, 24, 0, 0, 0x40, 0, 64, 6, 0, 0]);
                bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 0]);
            }
            let start = bytes.len();
            bytes.extend([1, 2, 3, 4, 0, 0, 0, 9, 0, 0, 0, 0]);
            bytes.extend([u8::try_from(length / 4).unwrap() << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
            bytes.extend(options);
            let right = sum(&bytes[start..], 0x1234);
            bytes[start + CHECKSUM..start + CHECKSUM + 2].copy_from_slice(&right.to_be_bytes());
            Syn { bytes, start }
        }

        fn first(&self) -> Option<First> {
            first_segment(&Frame::read(&self.bytes).unwrap(), &self.bytes)
        }

        fn is_right(&self) -> bool {
            sum(&self.bytes[self.start..], 0x1234) == 0
        }
    }

    #[test]
    fn sizes_are_lowered_to_what_fits_and_checksums_stay_right() {
        for six in [false, true] {
            for tags in 0..3 {
                // In front, behind others, and at an odd place.
                for (options, at) in [
                    (&[2, 4, 5, 0xb4][..], 2),
                    (&[4, 2, 1, 1, 2, 4, 5, 0xb4], 6),
                    (&[1, 2, 4, 5, 0xb4, 1, 1, 1], 3),
                ] {
                    let mut syn = Syn::new(six, tags, SYN, options);
                    assert!(syn.is_right());
                    let first = syn.first().unwrap();
                    let room = 1400;
                    first.clamp(&mut syn.bytes, room);
                    let headers = 14 + 4 * tags + if six { 40 } else { 20 } + 20;
                    let told = word(&syn.bytes, syn.start + TCP_HEADER + at);
                    assert_eq!(usize::from(told), room - headers, "{six} {tags} {options:?}");
                    assert!(syn.is_right(), "{six} {tags} {options:?}");
                }
            }
        }
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let syn = Syn::new(false, 0, SYN | 0x10, &[2, 4, 5, 0xb4]);
        for room in [1514, 1515, 70_000] {
            let mut bytes = syn.bytes.clone();
            syn.first().unwrap().clamp(&mut bytes, room);
            assert_eq!(bytes, syn.bytes);
        }
        // No path is so narrow that less would help.
        let mut bytes = syn.bytes.clone();
        syn.first().unwrap().clamp(&mut bytes, 0);
        assert_eq!(usize::from(word(&bytes, syn.start + 22)), LEAST);
    }

    #[test]
    fn nothing_else_is_a_first_segment() {
        let frame = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut syn = Syn::new(false, 0, SYN, &[2, 4, 5, 0xb4]);
            change(&mut syn.bytes);
            syn.first()
        };
        assert!(frame(&|_| ()).is_some());
        for (what, found) in [
            ("a later segment", frame(&|bytes| bytes[38 + FLAGS] = 0x10)),
            ("UDP", frame(&|bytes| bytes[14 + 9] = 17)),
            ("a fragment", frame(&|bytes| bytes[14 + 7] = 1)),
            ("another protocol", frame(&|bytes| bytes[13] = 6)),
            ("another version", frame(&|bytes| bytes[14] = 0x66)),
            ("a short header", frame(&|bytes| bytes[14] = 0x44)),
            ("cut short", frame(&|bytes| bytes.truncate(60))),
        ] {
            assert_eq!(found, None, "{what}");
        }
        for options in [&[][..], &[0, 2, 4, 5], &[2, 3, 5, 0], &[3, 0, 0, 0], &[1, 1, 1, 2], &[1, 1, 2, 4]] {
            assert_eq!(Syn::new(false, 0, SYN, options).first(), None, "{options:?}");
        }
    }

    #[test]
    fn whatever_stations_send_nothing_breaks() {
        // Knuth's multiplier, the upper half of the state.
        let mut state = 3_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize
        };
        for round in 0..50_000 {
            let mut syn = Syn::new(round % 2 == 0, round % 3, SYN, &[2, 4, 0xff, 0xff, 3, 3, 7, 1]);
            for _ in 0..1 + random() % 4 {
                let at = 12 + random() % (syn.bytes.len() - 12);
                syn.bytes[at] = random().to_le_bytes()[0];
            }
            syn.bytes.truncate(syn.bytes.len() - random() % 30);
            let Ok(frame) = Frame::read(&syn.bytes) else { continue };
            if let Some(first) = first_segment(&frame, &syn.bytes) {
                let mut bytes = syn.bytes.clone();
                first.clamp(&mut bytes, 1000);
                let changed = (0..bytes.len()).filter(|&at| bytes[at] != syn.bytes[at]);
                assert!(changed.count() <= 4);
            }
        }
    }
}
