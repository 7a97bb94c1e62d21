//! Super-frames: what one system call carries of a TCP or UDP flow, up to 64 KiB behind one set of headers.
//!
//! The kernel puts a short header in front of each frame of a TAP (`virtio_net_hdr`, Virtual I/O Device 1.2, 5.1.6). It
//! says that the checksum is still to be completed, and how a super-frame is to be cut. [`split`] cuts what the
//! host sends into the frames that a cable would have carried; [`join`] does the opposite with what comes out
//! of the tunnel. Both leave exactly the bytes that stations exchange: splitting what was joined gives the same
//! frames again.
//!
//! All of it is arithmetic on bytes. Who sits behind a bridge may send anything, so nothing is taken on trust: what does
//! not add up is no super-frame.
#![forbid(unsafe_code)]

pub(crate) mod checksum;
pub(crate) mod headers;
pub(crate) mod join;
pub(crate) mod split;

use headers::Protocol;

/// The longest IP packet, and the longest super-frame, in bytes.
const LONGEST_IP: usize = 65_535;
pub(crate) const LONGEST: usize = LONGEST_IP + 22;

/// The header in front of each frame. Its numbers are in the machine's own order.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Vnet {
    flags: u8,
    kind: u8,
    /// Length of the headers up to the payload; a hint only.
    headers: u16,
    /// Payload of each frame but the last.
    size: u16,
    /// Where the sum of the checksum begins.
    sum_from: u16,
    /// Where, from there on, the checksum is.
    sum_at: u16,
}

impl Vnet {
    /// Its length in bytes.
    pub(crate) const LENGTH: usize = 10;

    const NEEDS_CHECKSUM: u8 = 1;
    const TCP4: u8 = 1;
    const TCP6: u8 = 4;
    const UDP: u8 = 5;
    /// Beside the kind: the first frame has TCP's CWR flag (RFC 3168), which the others must not have.
    const ECN: u8 = 0x80;

    /// As the kernel wrote it.
    pub(crate) fn read(bytes: &[u8; Vnet::LENGTH]) -> Vnet {
        let [flags, kind, a, b, c, d, e, f, g, h] = *bytes;
        Vnet {
            flags,
            kind,
            headers: u16::from_ne_bytes([a, b]),
            size: u16::from_ne_bytes([c, d]),
            sum_from: u16::from_ne_bytes([e, f]),
            sum_at: u16::from_ne_bytes([g, h]),
        }
    }

    /// As the kernel reads it.
    pub(crate) fn bytes(&self) -> [u8; Vnet::LENGTH] {
        let ([a, b], [c, d]) = (self.headers.to_ne_bytes(), self.size.to_ne_bytes());
        let ([e, f], [g, h]) = (self.sum_from.to_ne_bytes(), self.sum_at.to_ne_bytes());
        [self.flags, self.kind, a, b, c, d, e, f, g, h]
    }

    /// Whether it stands before a super-frame.
    pub(crate) fn is_super(&self) -> bool {
        self.kind != 0
    }

    fn protocol(&self) -> Option<Protocol> {
        match self.kind & !Vnet::ECN {
            Vnet::TCP4 | Vnet::TCP6 => Some(Protocol::Tcp),
            Vnet::UDP if self.kind == Vnet::UDP => Some(Protocol::Udp),
            _ => None,
        }
    }

    /// Completes the checksum of an ordinary frame where the kernel left that to the network card. False when it is to
    /// stand outside the frame.
    pub(crate) fn complete(&self, frame: &mut [u8]) -> bool {
        if self.flags & Vnet::NEEDS_CHECKSUM == 0 {
            return true;
        }
        let from = usize::from(self.sum_from);
        let Some(summed) = frame.get_mut(from..) else { return false };
        // The field holds the sum of the pseudo-header.
        let sum = checksum::sum(0, summed);
        let at = usize::from(self.sum_at);
        let Some(field) = summed.get_mut(at..at + 2) else { return false };
        field.copy_from_slice(&checksum::of_datagram(sum));
        true
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "numbers of tests")]
pub(crate) mod testing {
    //! Frames for the tests of this folder, and a judge of them that shares no code with it.

    use super::headers::Protocol;

    /// What a frame is made of; the checksums are right unless a test breaks them.
    #[derive(Clone, Debug)]
    pub(crate) struct Spec {
        pub(crate) tags: usize,
        pub(crate) v6: bool,
        pub(crate) protocol: Protocol,
        pub(crate) id: u16,
        pub(crate) seq: u32,
        pub(crate) ack: u32,
        pub(crate) flags: u8,
        pub(crate) window: u16,
        /// A multiple of 4, at most 40.
        pub(crate) options: Vec<u8>,
        pub(crate) port: u16,
        pub(crate) payload: Vec<u8>,
    }

    pub(crate) const FIN: u8 = 1;
    pub(crate) const SYN: u8 = 2;
    pub(crate) const PSH: u8 = 8;
    pub(crate) const ACK: u8 = 16;
    pub(crate) const URG: u8 = 32;
    pub(crate) const ECE: u8 = 64;
    pub(crate) const CWR: u8 = 128;

    impl Spec {
        pub(crate) fn tcp(payload: usize) -> Spec {
            Spec {
                tags: 0,
                v6: false,
                protocol: Protocol::Tcp,
                id: 0xfffe,
                seq: 0xffff_f000,
                ack: 77,
                flags: ACK,
                window: 500,
                options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
                port: 5000,
                payload: (0..payload).map(|n| (n % 251) as u8).collect(),
            }
        }

        pub(crate) fn udp(payload: usize) -> Spec {
            Spec { protocol: Protocol::Udp, ..Spec::tcp(payload) }
        }

        /// The next segment of the same flow.
        pub(crate) fn next(&self, payload: usize) -> Spec {
            Spec {
                id: self.id.wrapping_add(1),
                seq: self.seq.wrapping_add(self.payload.len() as u32),
                payload: (0..payload).map(|n| (n * 7 % 253) as u8).collect(),
                ..self.clone()
            }
        }

        pub(crate) fn frame(&self) -> Vec<u8> {
            let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
            for tag in [[0x88, 0xa8, 0, 7], [0x81, 0, 0x20, 9]].iter().skip(2 - self.tags) {
                frame.extend(tag);
            }
            let mut segment = match self.protocol {
                Protocol::Tcp => self.tcp_segment(),
                Protocol::Udp => self.udp_segment(),
            };
            let number = if self.protocol == Protocol::Tcp { 6 } else { 17 };
            let addresses: Vec<u8> =
                if self.v6 { (0..32).map(|n| 0xa0 + n).collect() } else { vec![10, 0, 0, 1, 10, 0, 0, 2] };
            let mut pseudo = addresses.clone();
            pseudo.extend([0, number]);
            pseudo.extend((segment.len() as u16).to_be_bytes());
            pseudo.extend(&segment);
            let mut sum = slow_checksum(&pseudo);
            if sum == 0 && self.protocol == Protocol::Udp {
                sum = 0xffff;
            }
            let at = if self.protocol == Protocol::Tcp { 16 } else { 6 };
            segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            if self.v6 {
                frame.extend([0x86, 0xdd, 0x60, 0x12, 0x34, 0x56]);
                frame.extend((segment.len() as u16).to_be_bytes());
                frame.extend([number, 64]);
                frame.extend(&addresses);
            } else {
                frame.extend([8, 0]);
                let mut header = vec![0x45, 2];
                header.extend((20 + segment.len() as u16).to_be_bytes());
                header.extend(self.id.to_be_bytes());
                header.extend([0x40, 0, 63, number, 0, 0]);
                header.extend(&addresses);
                let sum = slow_checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend(&header);
            }
            frame.extend(&segment);
            frame
        }

        fn tcp_segment(&self) -> Vec<u8> {
            let mut segment = [self.port.to_be_bytes(), 80_u16.to_be_bytes()].concat();
            segment.extend(self.seq.to_be_bytes());
            segment.extend(self.ack.to_be_bytes());
            segment.extend([(5 + self.options.len() as u8 / 4) << 4, self.flags]);
            segment.extend(self.window.to_be_bytes());
            segment.extend([0; 4]);
            segment.extend(&self.options);
            segment.extend(&self.payload);
            segment
        }

        fn udp_segment(&self) -> Vec<u8> {
            let mut segment = [self.port.to_be_bytes(), 80_u16.to_be_bytes()].concat();
            segment.extend((8 + self.payload.len() as u16).to_be_bytes());
            segment.extend([0; 2]);
            segment.extend(&self.payload);
            segment
        }
    }

    /// RFC 1071, word by word.
    pub(crate) fn slow_checksum(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    /// A number below `limit`, from a generator that any seed will do for (xorshift).
    pub(crate) fn dice(state: &mut u64, limit: usize) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 16) as usize % limit
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "numbers of tests")]
mod tests {
    use super::testing::{Spec, slow_checksum};
    use super::*;

    #[test]
    fn a_header_reads_as_it_was_written() {
        let header = Vnet { flags: 1, kind: 4, headers: 86, size: 1428, sum_from: 54, sum_at: 16 };
        assert_eq!(Vnet::read(&header.bytes()), header);
        assert_eq!(Vnet::default().bytes(), [0; Vnet::LENGTH]);
    }

    #[test]
    fn a_checksum_that_was_left_open_is_completed() {
        for spec in [Spec::tcp(101), Spec { v6: true, tags: 1, ..Spec::udp(64) }] {
            let whole = spec.frame();
            let from = whole.len() - spec.payload.len() - if spec.protocol == Protocol::Tcp { 32 } else { 8 };
            let at = if spec.protocol == Protocol::Tcp { 16 } else { 6 };
            // Open: the sum of the pseudo-header stands in the field, which is the checksum of all less that of the rest.
            let mut open = whole.clone();
            open[from + at..from + at + 2].fill(0);
            let rest = !slow_checksum(&open[from..]);
            let all = !u16::from_be_bytes([whole[from + at], whole[from + at + 1]]);
            let pseudo = (u32::from(all) + u32::from(!rest)) as u16;
            let pseudo = pseudo.wrapping_add(u16::from(u32::from(all) + u32::from(!rest) > 0xffff));
            open[from + at..from + at + 2].copy_from_slice(&pseudo.to_be_bytes());
            let header = Vnet { flags: 1, sum_from: from as u16, sum_at: at as u16, ..Vnet::default() };
            assert!(header.complete(&mut open));
            assert_eq!(open, whole);
            for (sum_from, sum_at) in
                [(whole.len() + 1, 0), (whole.len() - 1, 0), (from, whole.len()), (0, 65535)]
            {
                let wrong = Vnet { sum_from: sum_from as u16, sum_at: sum_at as u16, ..header };
                assert!(!wrong.complete(&mut open), "{sum_from} {sum_at}");
            }
            assert!(Vnet::default().complete(&mut open));
            assert_eq!(open, whole);
        }
    }
}
