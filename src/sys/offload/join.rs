//! Joining neighbouring segments of one flow to a super-frame.
//!
//! What may be joined is what splitting gives back byte by byte. So all headers are the same but for what a splitter
//! writes anew: lengths, checksums, the IPv4 identification and TCP's sequence number, which count on; FIN and
//! PSH, which end a run; and no CWR, SYN, RST or URG. Every payload is as long as the first, but for the
//! last, which may be shorter. Checksums are what they must be, since the kernel will calculate them anew:
//! damage is never mended.
//!
//! Only neighbours are joined, so nothing overtakes anything.
#![forbid(unsafe_code)]

use super::headers::{Headers, Protocol, short};
use super::{LONGEST_IP, Vnet, checksum};

/// The longest headers of a frame in a run: two tags, IPv6, TCP with all options.
pub(crate) const HEADERS_MAX: usize = 14 + 8 + 40 + 60;
const FIN_PSH: u8 = 0x09;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

/// A run of segments that began with some frame. It remembers the headers; the frames are the caller's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    headers: Headers,
    /// Payload of each frame but the last.
    size: usize,
    /// Length of all frames together, without the headers of all but the first.
    length: usize,
    /// What the next frame's number must be.
    seq: u32,
    id: u16,
    /// Frames in it.
    count: usize,
    /// The flags of the last one.
    flags: u8,
    ended: bool,
}

impl Run {
    /// Begins a run with `frame`; none when nothing can follow it.
    pub(crate) fn new(frame: &[u8]) -> Option<Run> {
        let headers = Headers::of_plain(frame)?;
        let size = frame.len() - headers.payload;
        let segment = &frame[headers.transport..];
        let mut run =
            Run { headers, size, length: frame.len(), seq: 0, id: 0, count: 1, flags: 0, ended: false };
        match headers.protocol {
            // What says more than "some bytes of the stream" stays alone. An acknowledgment always stands in them.
            Protocol::Tcp if segment[13] & !ECE != ACK || segment[12] & 15 != 0 => return None,
            Protocol::Tcp => run.seq = seq(segment).wrapping_add(u32::from(short(size))),
            Protocol::Udp if !is_datagram(segment) => return None,
            Protocol::Udp => (),
        }
        if !headers.v6 {
            run.id = id(&frame[headers.network..]).wrapping_add(1);
        }
        (size > 0).then_some(run)
    }

    /// Whether `frame` continues the run that began with `first`; if so, it is part of it from now on.
    pub(crate) fn take(&mut self, first: &[u8], frame: &[u8]) -> bool {
        let payload = frame.len().saturating_sub(self.headers.payload);
        let fits = !self.ended
            && (1..=self.size).contains(&payload)
            && self.length + payload - self.headers.network <= LONGEST_IP;
        if !fits || Headers::of_plain(frame) != Some(self.headers) || !self.is_next(first, frame) {
            return false;
        }
        // Only now, so that a frame that stays alone is not summed for nothing.
        let sound = (self.count > 1 || self.is_sound(first)) && self.is_sound(frame);
        if !sound {
            return false;
        }
        if self.headers.protocol == Protocol::Tcp {
            self.flags = frame[self.headers.transport + 13];
            self.seq = self.seq.wrapping_add(u32::from(short(payload)));
        }
        self.id = self.id.wrapping_add(1);
        self.length += payload;
        self.count += 1;
        self.ended = payload < self.size || self.flags & FIN_PSH != 0;
        true
    }

    /// What it carries.
    pub(crate) fn protocol(&self) -> Protocol {
        self.headers.protocol
    }

    /// Where the payload of a frame of the run begins.
    pub(crate) fn payload(&self) -> usize {
        self.headers.payload
    }

    /// Turns the headers of `first` into those of the super-frame. Returns what the kernel is to be told of it.
    pub(crate) fn finish(&self, first: &mut [u8]) -> Vnet {
        let Headers { v6, protocol, network, transport, payload } = self.headers;
        let length = short(self.length - transport);
        self.headers.write_length(first, self.length);
        let pseudo = checksum::fold(self.headers.pseudo(first, length));
        let segment = &mut first[transport..];
        match protocol {
            Protocol::Tcp => segment[13] |= self.flags,
            Protocol::Udp => segment[4..6].copy_from_slice(&length.to_be_bytes()),
        }
        let at = protocol.checksum();
        segment[at..at + 2].copy_from_slice(&pseudo);
        debug_assert!(self.length - network <= LONGEST_IP);
        Vnet {
            flags: Vnet::NEEDS_CHECKSUM,
            kind: match (protocol, v6) {
                (Protocol::Tcp, false) => Vnet::TCP4,
                (Protocol::Tcp, true) => Vnet::TCP6,
                (Protocol::Udp, _) => Vnet::UDP,
            },
            headers: short(payload),
            size: short(self.size),
            sum_from: short(transport),
            sum_at: short(at),
        }
    }

    /// Whether the headers are those of the first frame, with numbers that count on.
    fn is_next(&self, first: &[u8], frame: &[u8]) -> bool {
        let Headers { v6, protocol, network, transport, payload } = self.headers;
        let same = |from: usize, to: usize| first[from..to] == frame[from..to];
        // MAC addresses, tags, version and class; the flow label; hop limit, protocol, addresses; ports.
        let ip = if v6 {
            same(0, network + 4) && same(network + 6, transport + 4)
        } else {
            same(0, network + 2)
                && id(&frame[network..]) == self.id
                && same(network + 6, network + 10)
                && same(network + 12, transport + 4)
        };
        ip && match protocol {
            Protocol::Tcp => {
                let (flags, now) = (first[transport + 13], frame[transport + 13]);
                // Acknowledgment and data offset; flags; window; urgent pointer and options.
                seq(&frame[transport..]) == self.seq
                    && same(transport + 8, transport + 13)
                    && (flags ^ now) & !FIN_PSH == 0
                    && same(transport + 14, transport + 16)
                    && same(transport + 18, payload)
            }
            Protocol::Udp => is_datagram(&frame[transport..]),
        }
    }

    /// Whether its checksums are exactly those that a splitter would write.
    pub(crate) fn is_sound(&self, frame: &[u8]) -> bool {
        let Headers { v6, protocol, network, transport, .. } = self.headers;
        let at = protocol.checksum();
        let segment = &frame[transport..];
        // Less what the fields themselves hold.
        let without = |sum: u64, field: &[u8]| sum + checksum::sum(0, &[!field[0], !field[1]]);
        let header = &frame[network..transport];
        if !v6 && checksum::of(without(checksum::sum(0, header), &header[10..12])) != header[10..12] {
            return false;
        }
        let sum = checksum::sum(self.headers.pseudo(frame, short(segment.len())), segment);
        let sum = without(sum, &segment[at..at + 2]);
        let sum = if protocol == Protocol::Udp { checksum::of_datagram(sum) } else { checksum::of(sum) };
        sum == segment[at..at + 2]
    }
}

fn seq(segment: &[u8]) -> u32 {
    u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]])
}

fn id(header: &[u8]) -> u16 {
    u16::from_be_bytes([header[4], header[5]])
}

/// Whether a UDP header has a checksum and says the length that the packet has.
fn is_datagram(segment: &[u8]) -> bool {
    segment[6..8] != [0, 0] && usize::from(u16::from_be_bytes([segment[4], segment[5]])) == segment.len()
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "numbers of tests")]
mod tests {
    use super::super::split::Split;
    use super::super::testing::{CWR, FIN, PSH, SYN, Spec, URG, dice};
    use super::*;
    use crate::base::packet::Packet;

    /// Joins neighbours as the TAP does. Each super-frame comes with how many frames it was.
    fn join(frames: &[Vec<u8>]) -> Vec<(usize, Vnet, Vec<u8>)> {
        let mut joined = Vec::new();
        let mut rest = frames;
        while let [first, more @ ..] = rest {
            let run = Run::new(first).map(|mut run| {
                let count = more.iter().take_while(|frame| run.take(first, frame)).count();
                (run, count)
            });
            let (vnet, bytes, count) = match run {
                Some((run, count)) if count > 0 => {
                    let mut bytes = first.clone();
                    let vnet = run.finish(&mut bytes);
                    more[..count].iter().for_each(|frame| bytes.extend(&frame[run.payload()..]));
                    (vnet, bytes, count)
                }
                _ => (Vnet::default(), first.clone(), 0),
            };
            joined.push((count + 1, vnet, bytes));
            rest = &more[count..];
        }
        joined
    }

    fn split(vnet: &Vnet, frame: &[u8]) -> Vec<Vec<u8>> {
        if !vnet.is_super() {
            return vec![frame.to_vec()];
        }
        let mut split = Split::new(vnet, frame).unwrap();
        let mut made = Vec::new();
        let mut packet = Packet::new();
        while split.next(frame, &mut packet) {
            made.push(packet.bytes().to_vec());
            packet.clear(0);
        }
        made
    }

    /// How long the runs are that the frames make; each splits to what it was made of.
    fn runs(frames: &[Vec<u8>]) -> Vec<usize> {
        let mut at = 0;
        let joined = join(frames);
        for (count, vnet, frame) in &joined {
            assert_eq!(split(vnet, frame), frames[at..at + count]);
            at += count;
        }
        assert_eq!(at, frames.len());
        joined.iter().map(|(count, ..)| *count).collect()
    }

    fn frames(specs: &[Spec]) -> Vec<Vec<u8>> {
        specs.iter().map(Spec::frame).collect()
    }

    #[test]
    fn a_stream_becomes_one_frame() {
        for (tags, v6) in [(0, false), (1, false), (2, true), (0, true)] {
            for first in [Spec::tcp(1400), Spec::udp(1400)] {
                let first = Spec { tags, v6, ..first };
                let second = first.next(1400);
                let third = second.next(600);
                let all = frames(&[first.clone(), second, third.clone()]);
                assert_eq!(runs(&all), [3]);
                let (_, vnet, joined) = &join(&all)[0];
                let headers = all[0].len() - 1400;
                assert_eq!(joined.len(), headers + 3400);
                assert_eq!((vnet.size, usize::from(vnet.headers)), (1400, headers));
                let more = frames(&[first.clone(), first.next(1400), third.clone(), third.next(600)]);
                assert_eq!(runs(&more), [3, 1], "a short one is the last");
            }
        }
    }

    #[test]
    fn what_cannot_be_given_back_stays_apart() {
        let first = Spec::tcp(1000);
        let next = first.next(1000);
        let apart = |what: &str, second: Spec| {
            assert_eq!(runs(&frames(&[first.clone(), second])), [1, 1], "{what}");
        };
        apart("longer than the first", first.next(1001));
        apart("no payload", first.next(0));
        apart("a gap", Spec { seq: next.seq + 1, ..next.clone() });
        apart("again", Spec { seq: first.seq, ..next.clone() });
        apart("another identification", Spec { id: next.id.wrapping_add(1), ..next.clone() });
        apart("acknowledges more", Spec { ack: 78, ..next.clone() });
        apart("another window", Spec { window: 501, ..next.clone() });
        apart("other options", Spec { options: vec![1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 2], ..next.clone() });
        apart("fewer options", Spec { options: vec![], ..next.clone() });
        apart("another flow", Spec { port: 5001, ..next.clone() });
        apart("another network", Spec { tags: 1, ..next.clone() });
        apart("a datagram", Spec { protocol: Protocol::Udp, ..next.clone() });
        for flag in [SYN, URG, CWR, 4] {
            apart("a flag", Spec { flags: first.flags | flag, ..next.clone() });
        }
        for flag in [FIN, PSH, SYN, URG, CWR, 4] {
            let all = frames(&[Spec { flags: first.flags | flag, ..first.clone() }, next.clone()]);
            assert_eq!(runs(&all), [1, 1], "the first has flag {flag}");
        }
        assert_eq!(runs(&frames(&[first.clone(), next])), [2], "and else together");
    }

    #[test]
    fn push_and_fin_and_a_short_one_are_the_last() {
        for flag in [FIN, PSH] {
            let first = Spec::tcp(1000);
            let last = Spec { flags: first.flags | flag, ..first.next(1000) };
            let after = Spec { flags: first.flags, ..last.next(1000) };
            assert_eq!(runs(&frames(&[first, last, after.clone(), after.next(1000)])), [2, 2]);
        }
        for first in [Spec::tcp(1000), Spec::udp(1000)] {
            let short = first.next(999);
            let after = short.next(999);
            assert_eq!(runs(&frames(&[first, short, after.clone(), after.next(999)])), [2, 2]);
        }
    }

    #[test]
    fn damage_is_not_mended() {
        for first in [Spec::tcp(1000), Spec::udp(1000), Spec { v6: true, ..Spec::tcp(1000) }] {
            let good = frames(&[first.clone(), first.next(1000), first.next(1000).next(1000)]);
            assert_eq!(runs(&good), [3]);
            let network = 14;
            let transport = if first.v6 { 54 } else { 34 };
            let sum = transport + first.protocol.checksum();
            for (at, damaged) in
                [(999, 0), (999, 1), (999, 2), (sum, 1), (network + 10, 1), (network + 11, 0)]
            {
                let mut bad = good.clone();
                bad[damaged][at] ^= 1;
                let runs = runs(&bad);
                assert!(runs.len() > 1, "byte {at} of frame {damaged}");
            }
        }
        // Both mean 0 to whoever adds them up; a splitter writes only one of them.
        let mut spec = Spec::udp(2);
        spec.payload = vec![0, 0];
        let sum = u16::from_be_bytes([spec.frame()[40], spec.frame()[41]]);
        spec.payload = sum.to_be_bytes().to_vec();
        assert_eq!(spec.frame()[40..42], [0xff, 0xff]);
        let mut without = spec.next(2).frame();
        without[40..42].fill(0);
        assert_eq!(runs(&[spec.frame(), without]), [1, 1], "a datagram without a checksum");
    }

    #[test]
    fn a_super_frame_ends_where_an_ip_packet_must() {
        let mut specs = vec![Spec::tcp(1448)];
        for _ in 0..60 {
            specs.push(specs[specs.len() - 1].next(1448));
        }
        let most = (LONGEST_IP - 52) / 1448;
        assert_eq!(runs(&frames(&specs)), [most, 61 - most]);
    }

    // Streams of several flows with everything that happens to streams.
    #[test]
    fn whatever_comes_is_given_back() {
        for seed in 1..60_u64 {
            let mut state = seed;
            let kinds = [Spec::tcp(1), Spec::udp(1)];
            let mut flows: Vec<Spec> = (0..3)
                .map(|port| Spec {
                    port,
                    v6: dice(&mut state, 2) == 0,
                    tags: dice(&mut state, 3),
                    ..kinds[dice(&mut state, 2)].clone()
                })
                .collect();
            let mut all = Vec::new();
            let mut flow = 0;
            for _ in 0..300 {
                if dice(&mut state, 6) == 0 {
                    flow = dice(&mut state, 3);
                }
                let length = match dice(&mut state, 12) {
                    0 => dice(&mut state, 1400),
                    _ => 1200,
                };
                let mut spec = flows[flow].next(length);
                match dice(&mut state, 24) {
                    0 => spec.ack += 1,
                    1 => spec.id = spec.id.wrapping_add(2),
                    2 => spec.seq = spec.seq.wrapping_sub(100),
                    3 => spec.window += 1,
                    _ => (),
                }
                let flags = spec.flags;
                if dice(&mut state, 10) == 0 {
                    spec.flags = dice(&mut state, 256) as u8;
                }
                let mut frame = spec.frame();
                match dice(&mut state, 40) {
                    0 => frame.extend([0; 3]),
                    1 => {
                        let at = dice(&mut state, frame.len());
                        frame[at] ^= 1 << dice(&mut state, 8);
                    }
                    2 => frame.truncate(dice(&mut state, 80)),
                    _ => (),
                }
                all.push(frame);
                flows[flow] = Spec { flags, ..spec };
            }
            let runs = runs(&all);
            assert!(runs.len() < all.len(), "seed {seed}");
        }
    }
}
