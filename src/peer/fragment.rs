//! Frames that do not fit the path in one packet: cut into parts here, joined again at the peer.
//!
//! The parts of a frame are equally long, but for the last, which may be shorter, and are sealed one after
//! another, so their counters follow one another. One byte in front says which part it is and how many there are:
//!
//! ```text
//!    7     4 3     0
//!   +-------+-------+----------------
//!   | which | last  | a part of the frame
//!   +-------+-------+----------------
//! ```
//!
//! A part's counter less its place is the counter of the first part: with the session it names the frame, without a
//! byte more. Parts are joined only after each has passed for itself, tag and replay window and all (S13). The
//! window lets a counter pass once, so no part comes twice and none can overlap another. Memory is fixed: a number of
//! places for all peers, of which one has a few, each for [`FRAGMENT_LIFE`]. When there is none left a
//! peer loses its own oldest unfinished frame, so that none can starve the others.

use crate::base::discard::Discard;
use crate::base::ids::{PeerKey, SessionIndex};
use crate::base::limits::{FRAGMENT_LIFE, FRAGMENTS, FRAGMENTS_PER_PEER, FRAME_MAX, HEADROOM};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::time::Instant;

/// The most parts of a frame: what half a byte can count.
const PARTS_MAX: usize = 16;

/// How a frame is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    last: usize,
    length: usize,
}

impl Cut {
    /// Cuts `frame` bytes so that each part, its byte included, has at most `room` bytes.
    /// [`Discard::TooLong`] when that takes too many.
    pub fn new(frame: usize, room: usize) -> Result<Cut, Discard> {
        let most = room.saturating_sub(1);
        if most == 0 || frame.div_ceil(most) > PARTS_MAX {
            return Err(Discard::TooLong);
        }
        let length = frame.div_ceil(frame.div_ceil(most).max(1)).max(1);
        Ok(Cut { last: frame.div_ceil(length).max(1) - 1, length })
    }

    /// How many parts there are before the last one.
    pub fn last(&self) -> usize {
        self.last
    }

    /// Makes `part`, which is empty, the part of `frame` at that place, which is not the last.
    pub fn copy(&self, place: usize, frame: &Packet, part: &mut Packet) -> Result<(), Discard> {
        let start = place * self.length;
        let bytes = frame.bytes().get(start..start + self.length).ok_or(Discard::Truncated)?;
        part.append(&[self.byte(place)])?;
        part.append(bytes)
    }

    /// Leaves the last part of the frame in `packet`.
    pub fn keep_last(&self, packet: &mut Packet) -> Result<(), Discard> {
        packet.pull_front(self.last * self.length)?;
        packet.push_front(1)?[0] = self.byte(self.last);
        Ok(())
    }

    fn byte(&self, place: usize) -> u8 {
        // Both fit half a byte: `new` saw to it.
        u8::try_from(place << 4 | self.last).unwrap_or(u8::MAX)
    }
}

/// Frames of which a part is missing.
pub struct Reassembly {
    places: Box<[Place]>,
    /// [`FRAME_MAX`] bytes for each place.
    rooms: Box<[u8]>,
}

/// One unfinished frame: in its room the last part waits at the end until the length of the others is known.
#[derive(Clone)]
struct Place {
    peer: PeerKey,
    session: SessionIndex,
    /// The counter of the first part.
    first: u64,
    begun: Instant,
    /// A bit for each part that came; none when the place is free.
    have: u16,
    last: u8,
    /// The length of each part but the last; 0 while none of them came.
    length: usize,
    /// The length of the last part; 0 until it came.
    tail: usize,
}

impl Reassembly {
    /// Nothing unfinished. All memory there will be is taken here.
    pub fn new() -> Reassembly {
        let free = Place {
            peer: PeerKey { slot: 0, generation: 0 },
            session: SessionIndex(0),
            first: 0,
            begun: Instant::ZERO,
            have: 0,
            last: 0,
            length: 0,
            tail: 0,
        };
        Reassembly { places: vec![free; FRAGMENTS].into(), rooms: vec![0; FRAGMENTS * FRAME_MAX].into() }
    }

    /// Takes in a part that came from `peer` under that session and counter. True when it was the last one missing:
    /// `packet` holds the frame then. Unfinished frames that are given up are counted in `out`.
    ///
    /// [`Discard::Malformed`] for what no cut can have made, alone or with the parts that came before.
    pub fn handle(
        &mut self,
        now: Instant,
        peer: PeerKey,
        session: SessionIndex,
        counter: u64,
        packet: &mut Packet,
        out: &mut Outbox,
    ) -> Result<bool, Discard> {
        let &[byte, ..] = packet.pull_front(1)? else { return Err(Discard::Truncated) };
        let (which, last) = (byte >> 4, byte & 15);
        let first = counter.checked_sub(u64::from(which)).ok_or(Discard::Malformed)?;
        if last == 0 || which > last || packet.is_empty() {
            return Err(Discard::Malformed);
        }
        let same = |place: &Place| {
            place.is_taken(now) && place.first == first && place.session == session && place.peer == peer
        };
        let at = match self.places.iter().position(same) {
            Some(at) => at,
            None => {
                let at = self.free(now, peer).ok_or(Discard::NoRoom)?;
                if self.places[at].have != 0 {
                    out.count(Discard::Incomplete);
                }
                self.places[at].begin(now, peer, session, first, last);
                at
            }
        };
        let place = &mut self.places[at];
        let room = &mut self.rooms[at * FRAME_MAX..(at + 1) * FRAME_MAX];
        place.put(which, last, packet.bytes(), room)?;
        if !place.is_whole() {
            return Ok(false);
        }
        place.have = 0;
        packet.clear(HEADROOM);
        packet.append(place.join(room))?;
        Ok(true)
    }

    /// A place for another frame of `peer`: a free one, or that of its own oldest, or of the oldest of all.
    fn free(&self, now: Instant, peer: PeerKey) -> Option<usize> {
        let own = |place: &Place| place.is_taken(now) && place.peer == peer;
        let held = self.places.iter().filter(|place| own(place)).count();
        let crowded = held >= FRAGMENTS_PER_PEER;
        // Free ones first, those that were given up before those that are empty; then its own, then the oldest.
        let worth = |place: &Place| (place.is_taken(now), !own(place), place.have == 0, place.begun);
        let eligible = self.places.iter().enumerate().filter(|(_, place)| !crowded || own(place));
        eligible.min_by_key(|(_, place)| worth(place)).map(|(at, _)| at)
    }
}

impl Default for Reassembly {
    fn default() -> Self {
        Reassembly::new()
    }
}

impl Place {
    fn is_taken(&self, now: Instant) -> bool {
        self.have != 0 && now.since(self.begun) < FRAGMENT_LIFE
    }

    fn begin(&mut self, now: Instant, peer: PeerKey, session: SessionIndex, first: u64, last: u8) {
        (self.peer, self.session, self.first, self.begun) = (peer, session, first, now);
        (self.have, self.last, self.length, self.tail) = (0, last, 0, 0);
    }

    fn put(&mut self, which: u8, last: u8, bytes: &[u8], room: &mut [u8]) -> Result<(), Discard> {
        let is_last = which == last;
        let (length, tail) = if is_last { (self.length, bytes.len()) } else { (bytes.len(), self.tail) };
        let before_last = usize::from(last) * length;
        let fits = before_last + tail <= FRAME_MAX
            && (self.length == 0 || self.length == length)
            && (length == 0 || tail <= length);
        if last != self.last || self.have & 1 << which != 0 || !fits {
            return Err(Discard::Malformed);
        }
        let start = if is_last { FRAME_MAX - tail } else { usize::from(which) * length };
        room.get_mut(start..start + bytes.len()).ok_or(Discard::TooLong)?.copy_from_slice(bytes);
        (self.length, self.tail) = (length, tail);
        self.have |= 1 << which;
        Ok(())
    }

    fn is_whole(&self) -> bool {
        u32::from(self.last) + 1 == self.have.count_ones()
    }

    /// Moves the last part to the others. Returns the frame.
    fn join<'a>(&self, room: &'a mut [u8]) -> &'a [u8] {
        let start = usize::from(self.last) * self.length;
        room.copy_within(FRAME_MAX - self.tail.., start);
        &room[..start + self.tail]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Random;

    const ALICE: PeerKey = PeerKey { slot: 1, generation: 0 };
    const BOB: PeerKey = PeerKey { slot: 2, generation: 0 };
    const SESSION: SessionIndex = SessionIndex(7);

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn packet(bytes: &[u8]) -> Packet {
        let mut packet = Packet::new();
        packet.append(bytes).unwrap();
        packet
    }

    fn frame(length: usize, seed: u8) -> Vec<u8> {
        (0..length).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1] ^ seed).collect()
    }

    /// All parts of a frame, in their order.
    fn parts(frame: &[u8], room: usize) -> Vec<Vec<u8>> {
        let mut whole = packet(frame);
        let cut = Cut::new(frame.len(), room).unwrap();
        let mut parts = Vec::new();
        for place in 0..cut.last() {
            let mut part = Packet::new();
            cut.copy(place, &whole, &mut part).unwrap();
            parts.push(part.bytes().to_vec());
        }
        cut.keep_last(&mut whole).unwrap();
        parts.push(whole.bytes().to_vec());
        parts
    }

    struct Receiver {
        reassembly: Reassembly,
        out: Outbox,
    }

    impl Receiver {
        fn new() -> Receiver {
            Receiver { reassembly: Reassembly::new(), out: Outbox::new(0) }
        }

        /// What comes of a part: the frame, if it is whole.
        fn take(
            &mut self,
            now: Instant,
            peer: PeerKey,
            counter: u64,
            part: &[u8],
        ) -> Result<Option<Vec<u8>>, Discard> {
            let mut packet = packet(part);
            let whole = self.reassembly.handle(now, peer, SESSION, counter, &mut packet, &mut self.out)?;
            Ok(whole.then(|| packet.bytes().to_vec()))
        }

        fn unfinished(&self) -> u64 {
            self.out.tally().get(Discard::Incomplete)
        }
    }

    #[test]
    fn parts_are_equal_fit_and_join_to_the_frame_in_any_order() {
        let mut random = Random::new([1; 32]);
        let mut receiver = Receiver::new();
        let mut counter = 0;
        for round in 0..1000 {
            let room = 1 + usize::from(random.u32().to_le_bytes()[0]) * 8;
            let length = 1 + random.u32() as usize % FRAME_MAX;
            let frame = frame(length, random.u32().to_le_bytes()[0]);
            let Ok(cut) = Cut::new(length, room) else {
                assert!(length > (room - 1) * PARTS_MAX, "{length} {room}");
                continue;
            };
            if cut.last() == 0 {
                assert!(length < room);
                continue;
            }
            let parts = parts(&frame, room);
            assert!(parts.iter().all(|part| (2..=room).contains(&part.len())), "{length} {room}");
            assert!(parts.windows(2).all(|two| two[0].len() >= two[1].len()));
            let mut order: Vec<usize> = (0..parts.len()).collect();
            (1..order.len()).rev().for_each(|n| order.swap(n, random.u32() as usize % (n + 1)));
            for (n, &which) in order.iter().enumerate() {
                let joined = receiver.take(at(round), ALICE, counter + which as u64, &parts[which]).unwrap();
                // The model: what the parts are, one behind the other.
                let expected = (n + 1 == order.len()).then(|| frame.clone());
                assert_eq!(joined, expected, "{length} {room} {order:?}");
            }
            counter += parts.len() as u64;
        }
        assert_eq!(receiver.unfinished(), 0);
    }

    #[test]
    fn frames_whose_parts_are_mixed_up_join_all() {
        let mut receiver = Receiver::new();
        let frames: Vec<_> = (0..8).map(|n| frame(1000 + usize::from(n), n)).collect();
        let all: Vec<_> = frames.iter().map(|frame| parts(frame, 600)).collect();
        for which in [1, 0] {
            for (n, parts) in all.iter().enumerate() {
                let counter = (2 * n + which) as u64;
                let joined = receiver.take(at(0), ALICE, counter, &parts[which]).unwrap();
                assert_eq!(joined, (which == 0).then(|| frames[n].clone()));
            }
        }
    }

    // S13: one second, and a bound for each.
    #[test]
    fn what_is_unfinished_for_a_second_is_given_up() {
        let mut receiver = Receiver::new();
        let frame = frame(1000, 1);
        let parts = parts(&frame, 600);
        let life = u64::try_from(FRAGMENT_LIFE.as_millis()).unwrap();
        assert_eq!(receiver.take(at(0), ALICE, 0, &parts[0]), Ok(None));
        assert_eq!(receiver.take(at(life - 1), ALICE, 1, &parts[1]), Ok(Some(frame)));
        assert_eq!(receiver.take(at(2000), ALICE, 10, &parts[0]), Ok(None));
        assert_eq!(receiver.take(at(2000 + life), ALICE, 11, &parts[1]), Ok(None));
        assert_eq!(receiver.unfinished(), 1);
    }

    #[test]
    fn a_peer_that_finishes_nothing_loses_its_own_frames_and_nobody_elses() {
        let mut receiver = Receiver::new();
        let frame = frame(1000, 1);
        let parts = parts(&frame, 600);
        assert_eq!(receiver.take(at(0), BOB, 0, &parts[0]), Ok(None));
        for n in 0..1000 {
            assert_eq!(receiver.take(at(n / 2), ALICE, 2 * n, &parts[0]), Ok(None));
        }
        assert_eq!(receiver.unfinished(), 1000 - FRAGMENTS_PER_PEER as u64);
        for (n, whole) in [(999, true), (1000 - FRAGMENTS_PER_PEER as u64, true), (991, false)] {
            let joined = receiver.take(at(500), ALICE, 2 * n + 1, &parts[1]).unwrap();
            assert_eq!(joined.is_some(), whole, "{n}");
        }
        assert_eq!(receiver.take(at(500), BOB, 1, &parts[1]), Ok(Some(frame)));
    }

    #[test]
    fn many_peers_that_finish_nothing_leave_room_for_one_more() {
        let mut receiver = Receiver::new();
        let frame = frame(1000, 1);
        let parts = parts(&frame, 600);
        for slot in 10..30 {
            for n in 0..FRAGMENTS_PER_PEER as u64 {
                let peer = PeerKey { slot, generation: 0 };
                assert_eq!(receiver.take(at(u64::from(slot)), peer, 2 * n, &parts[0]), Ok(None));
            }
        }
        assert_eq!(receiver.take(at(40), BOB, 0, &parts[0]), Ok(None));
        assert_eq!(receiver.take(at(40), BOB, 1, &parts[1]), Ok(Some(frame)));
    }

    #[test]
    fn parts_of_two_sessions_or_peers_do_not_mix() {
        let mut receiver = Receiver::new();
        let parts = parts(&frame(1000, 1), 600);
        assert_eq!(receiver.take(at(0), ALICE, 0, &parts[0]), Ok(None));
        assert_eq!(receiver.take(at(0), BOB, 1, &parts[1]), Ok(None));
        let mut last = packet(&parts[1]);
        let other = SessionIndex(8);
        let Receiver { reassembly, out } = &mut receiver;
        assert_eq!(reassembly.handle(at(0), ALICE, other, 1, &mut last, out), Ok(false));
    }

    // S13: no overlap, whatever a member invents.
    #[test]
    fn what_no_cut_can_have_made_is_refused() {
        for (counter, part) in [
            (5, &[][..]),
            (5, &[0x01]),
            (5, &[0x00, 1]),
            (5, &[0x21, 1]),
            (0, &[0x11, 1]),
            (2, &[0x3f, 1]),
            (5, &[&[0x0f][..], &[0; 200]].concat()),
        ] {
            let refused = Receiver::new().take(at(0), ALICE, counter, part);
            assert!(matches!(refused, Err(Discard::Malformed | Discard::Truncated)), "{counter} {part:?}");
        }
        let second = |part: &[u8], counter| {
            let mut receiver = Receiver::new();
            assert_eq!(receiver.take(at(0), ALICE, 0, &[&[0x02][..], &[1; 100]].concat()), Ok(None));
            receiver.take(at(0), ALICE, counter, part)
        };
        assert_eq!(second(&[&[0x12][..], &[2; 100]].concat(), 1), Ok(None));
        for (which, length) in [(0x12, 99), (0x12, 101), (0x22, 101), (0x13, 100), (0x02, 100)] {
            let part = [&[which][..], &vec![2; length]].concat();
            assert_eq!(second(&part, u64::from(which >> 4)), Err(Discard::Malformed), "{which:x} {length}");
        }
    }

    #[test]
    fn whatever_members_send_nothing_breaks() {
        let mut random = Random::new([2; 32]);
        let mut receiver = Receiver::new();
        for round in 0..20_000u64 {
            let length = random.u32() as usize % [4, 40, 400, FRAME_MAX][random.u32() as usize % 4];
            let mut part = frame(length, random.u32().to_le_bytes()[0]);
            if let Some(byte) = part.first_mut() {
                *byte = random.u32().to_le_bytes()[0] & if round % 3 == 0 { 0xff } else { 0x33 };
            }
            let peer = PeerKey { slot: (random.u32() % 3) as u16, generation: 0 };
            if let Ok(Some(frame)) = receiver.take(at(round / 8), peer, u64::from(random.u32() % 8), &part) {
                assert!((2..=FRAME_MAX).contains(&frame.len()));
            }
        }
    }
}
