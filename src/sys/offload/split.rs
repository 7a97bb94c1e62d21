//! Cutting a super-frame into the frames that a cable would have carried.
//!
//! Each frame has the headers of the super-frame, with its own lengths, IPv4 identification (RFC 6864: one more each),
//! sequence number and checksums. Of TCP's flags FIN and PSH stay with the last, CWR with the first; all
//! others, and the options, are everyone's.
//!
//! The number of frames is the sender's choice, from one to tens of thousands, so they are made one at a time, as there
//! is room for them.
#![forbid(unsafe_code)]

use super::headers::{Headers, Protocol, short};
use super::{Vnet, checksum};
use crate::base::discard::Discard;
use crate::base::limits::FRAME_MAX;
use crate::base::packet::Packet;

/// Length of the longest headers: two tags, IPv6 with some of its extensions or IPv4 with all options, TCP with all.
const HEADERS_MAX: usize = 256;
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// A super-frame that is being cut.
#[derive(Debug)]
pub(crate) struct Split {
    headers: Headers,
    /// Payload bytes in each frame but the last.
    size: usize,
    /// Where the payload of the next frame begins.
    at: usize,
    /// Frames made so far.
    count: u16,
    /// The sum of the pseudo-header, but for the length.
    pseudo: u64,
}

impl Split {
    /// Begins with `frame`, which came behind `vnet`.
    ///
    /// # Errors
    /// The frame does not hold what is said of it, or its parts are longer than any frame of ours.
    pub(crate) fn new(vnet: &Vnet, frame: &[u8]) -> Result<Split, Discard> {
        let size = usize::from(vnet.size);
        let protocol = vnet.protocol().ok_or(Discard::Malformed)?;
        let headers = Headers::of_super(frame, protocol, vnet.sum_from.into()).ok_or(Discard::Malformed)?;
        let v6 = vnet.kind & !Vnet::ECN == Vnet::TCP6;
        let open = vnet.flags & Vnet::NEEDS_CHECKSUM != 0 && usize::from(vnet.sum_at) == protocol.checksum();
        if size == 0
            || !open
            || protocol == Protocol::Tcp && v6 != headers.v6
            || headers.payload > HEADERS_MAX
        {
            return Err(Discard::Malformed);
        }
        // A single part may be shorter than it was allowed to be.
        if headers.payload + size.min(frame.len() - headers.payload) > FRAME_MAX {
            return Err(Discard::TooLong);
        }
        // The sender has summed the pseudo-header of the whole, which also holds where IPv6's routing header says
        // something else of the destination; its length is taken off again.
        let at = headers.transport + protocol.checksum();
        let whole = short(frame.len() - headers.transport);
        let pseudo = checksum::sum(checksum::word(!whole), &frame[at..at + 2]);
        Ok(Split { headers, size, at: headers.payload, count: 0, pseudo })
    }

    /// Makes the next frame of the same `frame` behind what `into` holds, which is nothing. False when there is none.
    pub(crate) fn next(&mut self, frame: &[u8], into: &mut Packet) -> bool {
        let Headers { network, transport, payload, v6, protocol } = self.headers;
        let first = self.count == 0;
        if self.at >= frame.len() && !first {
            return false;
        }
        let end = frame.len().min(self.at + self.size);
        let part = frame.get(self.at..end).unwrap_or_default();
        if into.append(&frame[..payload]).and_then(|()| into.append(part)).is_err() {
            return false;
        }
        let made = into.bytes_mut();
        if !v6 {
            let id = u16::from_be_bytes([made[network + 4], made[network + 5]]).wrapping_add(self.count);
            made[network + 4..network + 6].copy_from_slice(&id.to_be_bytes());
        }
        let long = made.len();
        self.headers.write_length(made, long);
        let segment = &mut made[transport..];
        let length = short(segment.len());
        match protocol {
            Protocol::Tcp => {
                let seq = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
                #[expect(clippy::cast_possible_truncation, reason = "a super-frame has some 64 KiB")]
                let seq = seq.wrapping_add((self.at - payload) as u32);
                segment[4..8].copy_from_slice(&seq.to_be_bytes());
                if end < frame.len() {
                    segment[13] &= !FIN_PSH;
                }
                if !first {
                    segment[13] &= !CWR;
                }
            }
            Protocol::Udp => segment[4..6].copy_from_slice(&length.to_be_bytes()),
        }
        let at = protocol.checksum();
        segment[at..at + 2].fill(0);
        let sum = checksum::sum(self.pseudo + checksum::word(length), segment);
        let sum = if protocol == Protocol::Udp { checksum::of_datagram(sum) } else { checksum::of(sum) };
        segment[at..at + 2].copy_from_slice(&sum);
        self.at = end;
        self.count = self.count.wrapping_add(1);
        true
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "numbers of tests")]
mod tests {
    use super::super::testing::{ACK, CWR, ECE, FIN, PSH, Spec, dice};
    use super::*;

    /// `spec` as the kernel hands a super-frame over: the checksum is that of the pseudo-header.
    fn super_frame(spec: &Spec, size: u16) -> (Vnet, Vec<u8>) {
        let mut frame = spec.frame();
        let headers = Headers::of_plain(&frame).unwrap();
        let pseudo = headers.pseudo(&frame, short(frame.len() - headers.transport));
        let at = headers.transport + headers.protocol.checksum();
        frame[at..at + 2].copy_from_slice(&checksum::fold(pseudo));
        let kind = match (spec.protocol, spec.v6) {
            (Protocol::Udp, _) => Vnet::UDP,
            (Protocol::Tcp, false) => Vnet::TCP4,
            (Protocol::Tcp, true) => Vnet::TCP6,
        };
        let vnet = Vnet {
            flags: Vnet::NEEDS_CHECKSUM,
            kind,
            headers: 0,
            size,
            sum_from: short(headers.transport),
            sum_at: short(headers.protocol.checksum()),
        };
        (vnet, frame)
    }

    fn all(vnet: &Vnet, frame: &[u8]) -> Vec<Vec<u8>> {
        let mut split = Split::new(vnet, frame).unwrap();
        let mut made = Vec::new();
        loop {
            let mut packet = Packet::new();
            if !split.next(frame, &mut packet) {
                return made;
            }
            made.push(packet.bytes().to_vec());
        }
    }

    /// What a sender without offloads would have sent.
    fn expected(spec: &Spec, size: usize) -> Vec<Vec<u8>> {
        let parts: Vec<&[u8]> = spec.payload.chunks(size).collect();
        let last = parts.len() - 1;
        let part = |(n, part): (usize, &&[u8])| {
            let mut flags = spec.flags;
            if n < last {
                flags &= !(FIN | PSH);
            }
            if n > 0 {
                flags &= !CWR;
            }
            let id = spec.id.wrapping_add(n as u16);
            let seq = spec.seq.wrapping_add((n * size) as u32);
            Spec { flags, id, seq, payload: part.to_vec(), ..spec.clone() }.frame()
        };
        parts.iter().enumerate().map(part).collect()
    }

    #[test]
    fn the_frames_are_those_that_a_cable_would_have_carried() {
        for (tags, v6) in [(0, false), (1, true), (2, false), (0, true)] {
            for spec in [Spec::tcp(4000), Spec::udp(4000)] {
                for flags in [ACK, ACK | PSH, ACK | FIN | PSH | CWR | ECE] {
                    let spec = Spec { tags, v6, flags, ..spec.clone() };
                    for size in [1, 7, 1000, 1400, 3000] {
                        let (vnet, frame) = super_frame(&spec, size);
                        if size == 3000 {
                            assert_eq!(Split::new(&vnet, &frame).unwrap_err(), Discard::TooLong);
                            continue;
                        }
                        assert_eq!(all(&vnet, &frame), expected(&spec, size.into()), "{spec:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_fits_one_frame_is_one_frame() {
        for length in [1, 999, 1000, 1400] {
            let spec = Spec { flags: ACK | PSH | CWR, ..Spec::tcp(length) };
            let (vnet, frame) = super_frame(&spec, 1400);
            assert_eq!(all(&vnet, &frame), [spec.frame()]);
        }
        let (vnet, frame) = super_frame(&Spec::tcp(0), 1400);
        assert_eq!(all(&vnet, &frame), [Spec::tcp(0).frame()], "without payload");
        let (vnet, frame) = super_frame(&Spec::tcp(1000), 60_000);
        assert_eq!(all(&vnet, &frame), [Spec::tcp(1000).frame()], "allowed more than it has");
    }

    #[test]
    fn ip_options_and_extension_headers_stay() {
        let (vnet, frame) = super_frame(&Spec::tcp(2500), 1000);
        let mut optional = frame.clone();
        optional[14] = 0x46;
        optional.splice(34..34, [1, 1, 1, 0]);
        let vnet = Vnet { sum_from: vnet.sum_from + 4, ..vnet };
        let made = all(&vnet, &optional);
        assert_eq!(made.len(), 3);
        for (made, mut plain) in made.into_iter().zip(expected(&Spec::tcp(2500), 1000)) {
            assert_eq!(
                checksum::of(checksum::sum(0, &made[14..38])),
                [0, 0],
                "the header's checksum is right"
            );
            assert_eq!(u16::from_be_bytes([made[16], made[17]]), short(made.len() - 14));
            plain.splice(..34, made[..38].iter().copied());
            assert_eq!(made, plain, "the segment is the same");
        }

        let spec = Spec { v6: true, ..Spec::tcp(2500) };
        let (vnet, mut frame) = super_frame(&spec, 1000);
        frame[20] = 60;
        frame.splice(54..54, [6, 0, 1, 4, 0, 0, 0, 0]);
        let vnet = Vnet { sum_from: vnet.sum_from + 8, ..vnet };
        for (made, plain) in all(&vnet, &frame).into_iter().zip(expected(&spec, 1000)) {
            assert_eq!(made[62..], plain[54..], "the segment is the same");
            assert_eq!(u16::from_be_bytes([made[18], made[19]]), short(made.len() - 54));
        }
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let (vnet, frame) = super_frame(&Spec::tcp(3000), 1000);
        for wrong in [
            Vnet { flags: 0, ..vnet },
            Vnet { size: 0, ..vnet },
            Vnet { kind: Vnet::TCP6, ..vnet },
            Vnet { kind: Vnet::UDP, ..vnet },
            Vnet { kind: 3, ..vnet },
            Vnet { kind: Vnet::UDP | Vnet::ECN, ..vnet },
            Vnet { sum_at: 6, ..vnet },
            Vnet { sum_from: 0, ..vnet },
            Vnet { sum_from: 33, ..vnet },
            Vnet { sum_from: 65_535, ..vnet },
        ] {
            assert_eq!(Split::new(&wrong, &frame).unwrap_err(), Discard::Malformed, "{wrong:?}");
        }
        let (vnet, frame) = super_frame(&Spec { v6: true, ..Spec::tcp(3000) }, 1000);
        let far = Vnet { sum_from: 300, ..vnet };
        assert!(Split::new(&far, &frame).is_err(), "headers without end");
        for length in 0..90 {
            let _ = Split::new(&vnet, &frame[..length]);
        }
    }

    // The guest of a bridge may send anything.
    #[test]
    fn no_bytes_whatever_make_it_panic() {
        let mut state = 7;
        for _ in 0..20_000 {
            let spec = if dice(&mut state, 2) == 0 { Spec::tcp(300) } else { Spec::udp(300) };
            let spec = Spec { v6: dice(&mut state, 2) == 0, tags: dice(&mut state, 3), ..spec };
            let (vnet, mut frame) = super_frame(&spec, dice(&mut state, 400) as u16);
            let mut header = vnet.bytes();
            for _ in 0..dice(&mut state, 4) {
                header[dice(&mut state, Vnet::LENGTH)] = dice(&mut state, 256) as u8;
                let at = dice(&mut state, 90);
                frame[at] = dice(&mut state, 256) as u8;
            }
            frame.truncate(dice(&mut state, 2 * frame.len()));
            let Ok(mut split) = Split::new(&Vnet::read(&header), &frame) else { continue };
            let mut packet = Packet::new();
            let mut payload = 0;
            while split.next(&frame, &mut packet) {
                assert!(packet.len() <= FRAME_MAX);
                payload += packet.len() - split.headers.payload;
                packet.clear(0);
            }
            assert_eq!(payload, frame.len() - split.headers.payload, "every byte once");
        }
    }
}
