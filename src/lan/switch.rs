//! Behind which peer a station is: MAC addresses, learned from the frames they send.
//!
//! A frame from our TAP goes to the peer that has its destination, or to all. A frame from a peer goes to the
//! TAP and never to another peer (split horizon: every node reaches every other by itself, so passing it on
//! would double or circle it). The stations of our own side are known too, so that a frame between two of
//! them stays here and a peer that claims one of them is noticed.
//!
//! A station may move: a laptop between two sites, a virtual router's address (RFC 9568) to the stand-by. The
//! latest place wins, but a peer's word counts only so much (S11):
//!
//! * Peers may take an address from where it stands [`MOVES`] times; after that it stays until it has not
//!   moved for [`MOVES_REST`].
//! * The way back to where it stood before this unrest is always open. Who steals an address has it until its
//!   owner next speaks.
//! * What our own side says of itself always counts: nobody holds one of our stations against its own frames.
//!
//! So an address moves at most `2 * MOVES + 1` times before it rests, and every move that a peer causes is
//! told. A frame whose source is held back is worth delivering when it stands at another peer; when it stands
//! on our side it is refused, since the host's bridge would believe it.
//!
//! Each frame costs a constant time. Age is looked at when an address is asked for; what nobody asks for goes
//! by [`Switch::expire`].

use crate::base::discard::Discard;
use crate::base::ids::{Mac, PeerKey};
use crate::base::limits::{MAC_LIFE, MAC_RENEWAL, MACS, MACS_LOCAL, MACS_PER_PEER, MOVES, MOVES_REST, PEERS};
use crate::base::table::Table;
use crate::base::time::Instant;
use crate::wire::ether::Frame;

/// Where a frame from our TAP goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// To the peer that has its destination.
    One(PeerKey),
    /// To every peer: a group, or a station not known.
    Everyone,
    /// Nowhere: its destination is on our side, or it is for the next bridge only.
    Nobody,
}

/// Where a station is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// On our side of the TAP.
    Local,
    /// Behind this peer.
    Peer(PeerKey),
}

/// What a frame from a peer taught.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learned {
    /// Its source was not known.
    New,
    /// Its source is where it was.
    Known,
    /// Its source is at this peer now: worth telling.
    Moved {
        /// Where it was.
        from: Place,
    },
    /// Nothing: its source moved too often lately and stays at another peer.
    Held,
    /// Nothing: the peer has as many addresses as it may.
    Full,
}

/// One address, for the status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Station {
    /// The VLAN it was heard in; 0 for none.
    pub vlan: u16,
    /// Its address.
    pub mac: Mac,
    /// Where it is.
    pub place: Place,
    /// When it was last heard, as exactly as [`MAC_RENEWAL`].
    pub seen: Instant,
}

/// The table of MAC addresses.
pub struct Switch {
    table: Table<(u16, Mac), Entry>,
    shares: Shares,
    local: usize,
}

struct Entry {
    place: Place,
    seen: Instant,
    /// Where it stood before it began to move.
    home: Place,
    /// When it last moved.
    moved: Instant,
    /// How often peers took it since it last rested.
    moves: u8,
}

impl Switch {
    /// An empty table. The seed keeps strangers from choosing addresses that collide.
    pub fn new(seed: u64) -> Switch {
        Switch { table: Table::new(MACS, seed), shares: Shares::new(MACS_PER_PEER), local: 0 }
    }

    /// Where a frame from our TAP goes. Its source is on our side from now on.
    pub fn destination(&mut self, now: Instant, frame: &Frame) -> Destination {
        if frame.is_link_local() {
            return Destination::Nobody;
        }
        // What our own side says of itself is never held back.
        let _ = self.see(now, Place::Local, frame);
        if frame.destination.is_group() {
            return Destination::Everyone;
        }
        match self.table.get(&(frame.vlan, frame.destination)) {
            Some(entry) if !entry.is_over(now) => match entry.place {
                Place::Local => Destination::Nobody,
                Place::Peer(peer) => Destination::One(peer),
            },
            _ => Destination::Everyone,
        }
    }

    /// Learns the source of a frame that came from a peer, before it is delivered to the TAP. It is not to be
    /// delivered when this is [`Discard::NotForwarded`] (for the next bridge only) or [`Discard::Throttled`]
    /// (in the name of a station of our own side, once too often).
    pub fn learn(&mut self, now: Instant, from: PeerKey, frame: &Frame) -> Result<Learned, Discard> {
        if frame.is_link_local() {
            return Err(Discard::NotForwarded);
        }
        self.see(now, Place::Peer(from), frame)
    }

    /// Whether a frame from a peer is for one station that is known to be on our side; any other was flooded.
    pub fn is_ours(&self, now: Instant, frame: &Frame) -> bool {
        let entry = self.table.get(&(frame.vlan, frame.destination));
        entry.is_some_and(|entry| entry.place == Place::Local && !entry.is_over(now))
    }

    /// The peer that has that station, if one has.
    pub fn peer_of(&self, now: Instant, vlan: u16, mac: Mac) -> Option<PeerKey> {
        match self.table.get(&(vlan, mac)).filter(|entry| !entry.is_over(now))?.place {
            Place::Local => None,
            Place::Peer(peer) => Some(peer),
        }
    }

    /// Forgets the addresses of a peer whose session ended: frames for them are for everyone again.
    pub fn forget_peer(&mut self, peer: PeerKey) {
        let Switch { table, shares, .. } = self;
        table.retain(|_, entry| {
            let goes = entry.place == Place::Peer(peer);
            if goes {
                shares.give_back(peer);
            }
            !goes
        });
    }

    /// Forgets all addresses: while a frame went round, it was learned on both sides of the tunnel; and what was heard on
    /// our side by a way that is gone would be looked for there only.
    pub fn forget_all(&mut self) {
        let Switch { table, shares, local } = self;
        table.retain(|_, entry| {
            match entry.place {
                Place::Local => *local -= 1,
                Place::Peer(peer) => shares.give_back(peer),
            }
            false
        });
    }

    /// Forgets what was not seen for [`MAC_LIFE`].
    pub fn expire(&mut self, now: Instant) {
        while let Some((&key, entry)) = self.table.oldest() {
            if !entry.is_over(now) {
                break;
            }
            self.forget(key);
        }
    }

    /// When [`Switch::expire`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.table.oldest().map(|(_, entry)| entry.seen + MAC_LIFE)
    }

    /// All addresses, from the one not seen longest to the newest.
    pub fn entries(&self) -> impl Iterator<Item = Station> + '_ {
        let station = |(&(vlan, mac), entry): (&(u16, Mac), &Entry)| Station {
            vlan,
            mac,
            place: entry.place,
            seen: entry.seen,
        };
        self.table.iter().map(station)
    }

    fn see(&mut self, now: Instant, place: Place, frame: &Frame) -> Result<Learned, Discard> {
        let key = (frame.vlan, frame.source);
        let Some(entry) = self.table.get_mut(&key) else { return Ok(self.admit(now, place, key)) };
        if entry.is_over(now) {
            self.forget(key);
            return Ok(self.admit(now, place, key));
        }
        if entry.place != place {
            return self.relocate(now, place, key);
        }
        if now - entry.seen >= MAC_RENEWAL {
            entry.seen = now;
            self.table.touch(&key);
        }
        Ok(Learned::Known)
    }

    fn admit(&mut self, now: Instant, place: Place, key: (u16, Mac)) -> Learned {
        if !self.has_room(place) {
            return Learned::Full;
        }
        let entry = Entry { place, seen: now, home: place, moved: now, moves: 0 };
        if let Some((_, evicted)) = self.table.insert(key, entry) {
            self.give_back(evicted.place);
        }
        self.take(place);
        Learned::New
    }

    fn relocate(&mut self, now: Instant, place: Place, key: (u16, Mac)) -> Result<Learned, Discard> {
        let has_room = self.has_room(place);
        let Some(entry) = self.table.get_mut(&key) else { return Ok(Learned::Full) };
        let from = entry.place;
        if place == Place::Local && !has_room {
            // It is no longer where it was, and there is no room to remember where it is.
            self.forget(key);
            return Ok(Learned::Full);
        }
        if !has_room || !entry.yields(now, place) {
            return match from {
                Place::Local => Err(Discard::Throttled),
                Place::Peer(_) => Ok(Learned::Held),
            };
        }
        entry.place = place;
        entry.seen = now;
        entry.moved = now;
        self.table.touch(&key);
        self.give_back(from);
        self.take(place);
        Ok(Learned::Moved { from })
    }

    fn forget(&mut self, key: (u16, Mac)) {
        if let Some(entry) = self.table.remove(&key) {
            self.give_back(entry.place);
        }
    }

    fn has_room(&self, place: Place) -> bool {
        match place {
            Place::Local => self.local < MACS_LOCAL,
            Place::Peer(peer) => self.shares.has_room(peer),
        }
    }

    fn take(&mut self, place: Place) {
        match place {
            Place::Local => self.local += 1,
            Place::Peer(peer) => self.shares.take(peer),
        }
    }

    fn give_back(&mut self, place: Place) {
        match place {
            Place::Local => self.local -= 1,
            Place::Peer(peer) => self.shares.give_back(peer),
        }
    }
}

impl Entry {
    fn is_over(&self, now: Instant) -> bool {
        now - self.seen >= MAC_LIFE
    }

    /// Whether a claim from `place` moves the address, by the rules at the head of this file.
    fn yields(&mut self, now: Instant, place: Place) -> bool {
        if now - self.moved >= MOVES_REST {
            self.home = self.place;
            self.moves = 0;
        }
        if place == Place::Local {
            self.home = Place::Local;
        }
        if place == self.home {
            return true;
        }
        let may = self.moves < MOVES;
        self.moves += u8::from(may);
        may
    }
}

/// How many entries of a table each peer has, so that none crowds out the others.
pub(super) struct Shares {
    held: Box<[usize]>,
    most: usize,
}

impl Shares {
    pub(super) fn new(most: usize) -> Shares {
        Shares { held: vec![0; PEERS].into_boxed_slice(), most }
    }

    pub(super) fn has_room(&self, peer: PeerKey) -> bool {
        self.held.get(usize::from(peer.slot)).is_some_and(|&held| held < self.most)
    }

    pub(super) fn take(&mut self, peer: PeerKey) {
        if let Some(held) = self.held.get_mut(usize::from(peer.slot)) {
            *held += 1;
        }
    }

    pub(super) fn give_back(&mut self, peer: PeerKey) {
        if let Some(held) = self.held.get_mut(usize::from(peer.slot)) {
            *held -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::time::Duration;

    const ALICE: PeerKey = PeerKey { slot: 1, generation: 0 };
    const BOB: PeerKey = PeerKey { slot: 2, generation: 0 };
    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Instant {
        Instant::ZERO + SECOND * seconds
    }

    fn station(number: u32) -> Mac {
        let [a, b, c, d] = number.to_be_bytes();
        Mac([2, 0, a, b, c, d])
    }

    fn frame(source: u32, destination: Mac, vlan: u16) -> Frame {
        Frame { destination, source: station(source), vlan, ethertype: 0x0800, payload: 14 }
    }

    fn hears(switch: &mut Switch, now: Instant, from: PeerKey, source: u32) -> Result<Learned, Discard> {
        switch.learn(now, from, &frame(source, Mac::BROADCAST, 0))
    }

    fn way(switch: &mut Switch, now: Instant, destination: u32) -> Destination {
        switch.destination(now, &frame(99, station(destination), 0))
    }

    #[test]
    fn a_frame_goes_where_its_destination_was_heard() {
        let mut switch = Switch::new(1);
        assert_eq!(way(&mut switch, at(0), 1), Destination::Everyone);
        assert_eq!(hears(&mut switch, at(0), ALICE, 1), Ok(Learned::New));
        assert_eq!(hears(&mut switch, at(0), ALICE, 1), Ok(Learned::Known));
        assert_eq!(way(&mut switch, at(1), 1), Destination::One(ALICE));
        assert_eq!(switch.peer_of(at(1), 0, station(1)), Some(ALICE));
        // The same address in another VLAN is another station.
        let elsewhere = frame(99, station(1), 7);
        assert_eq!(switch.destination(at(1), &elsewhere), Destination::Everyone);
        assert_eq!(switch.destination(at(1), &frame(99, Mac::BROADCAST, 0)), Destination::Everyone);
    }

    #[test]
    fn what_is_for_our_own_side_stays_here() {
        let mut switch = Switch::new(1);
        switch.destination(at(0), &frame(5, Mac::BROADCAST, 0));
        assert_eq!(way(&mut switch, at(0), 5), Destination::Nobody);
        assert_eq!(switch.peer_of(at(0), 0, station(5)), None);
    }

    #[test]
    fn what_is_for_the_next_bridge_goes_neither_way_and_teaches_nothing() {
        let mut switch = Switch::new(1);
        let spanning_tree = frame(5, Mac([1, 0x80, 0xc2, 0, 0, 0]), 0);
        assert_eq!(switch.destination(at(0), &spanning_tree), Destination::Nobody);
        assert_eq!(switch.learn(at(0), ALICE, &spanning_tree), Err(Discard::NotForwarded));
        assert_eq!(switch.entries().count(), 0);
    }

    #[test]
    fn silence_makes_forgotten() {
        let mut switch = Switch::new(1);
        hears(&mut switch, at(0), ALICE, 1).unwrap();
        hears(&mut switch, at(10), ALICE, 2).unwrap();
        hears(&mut switch, at(20), ALICE, 1).unwrap();
        assert_eq!(switch.next_timeout(), Some(at(310)));
        // An old entry is not used even before the timer took it out.
        assert_eq!(way(&mut switch, at(310), 2), Destination::Everyone);
        assert_eq!(switch.peer_of(at(310), 0, station(2)), None);
        assert_eq!(switch.peer_of(at(310), 0, station(1)), Some(ALICE));
        switch.expire(at(310));
        assert_eq!(switch.entries().map(|entry| entry.mac).collect::<Vec<_>>(), [station(1), station(99)]);
        assert_eq!(switch.next_timeout(), Some(at(320)));
        assert_eq!(hears(&mut switch, at(400), BOB, 1), Ok(Learned::New));
    }

    #[test]
    fn a_peer_that_went_takes_its_stations_along() {
        let mut switch = Switch::new(1);
        hears(&mut switch, at(0), ALICE, 1).unwrap();
        hears(&mut switch, at(0), BOB, 2).unwrap();
        switch.forget_peer(ALICE);
        assert_eq!(way(&mut switch, at(0), 1), Destination::Everyone);
        assert_eq!(way(&mut switch, at(0), 2), Destination::One(BOB));
        switch.forget_peer(PeerKey { generation: 1, ..BOB });
        assert_eq!(way(&mut switch, at(0), 2), Destination::One(BOB));
    }

    #[test]
    fn a_peer_fills_its_own_share_only() {
        let mut switch = Switch::new(1);
        hears(&mut switch, at(0), BOB, 9999).unwrap();
        for number in 0..256 {
            assert_eq!(hears(&mut switch, at(1), ALICE, number), Ok(Learned::New));
        }
        assert_eq!(hears(&mut switch, at(1), ALICE, 256), Ok(Learned::Full));
        assert_eq!(hears(&mut switch, at(1), ALICE, 9999), Ok(Learned::Held));
        assert_eq!(hears(&mut switch, at(1), ALICE, 0), Ok(Learned::Known));
        assert_eq!(way(&mut switch, at(1), 9999), Destination::One(BOB));
        switch.forget_peer(ALICE);
        assert_eq!(hears(&mut switch, at(1), ALICE, 256), Ok(Learned::New));
    }

    #[test]
    fn our_own_side_leaves_room_for_the_peers() {
        let mut switch = Switch::new(1);
        hears(&mut switch, at(0), BOB, 9999).unwrap();
        for number in 0..6000 {
            switch.destination(at(1), &frame(number, Mac::BROADCAST, 0));
        }
        assert_eq!(switch.entries().count(), MACS_LOCAL + 1);
        // A station of Bob's that came over is at least no longer sought at Bob.
        switch.destination(at(1), &frame(9999, Mac::BROADCAST, 0));
        assert_eq!(switch.peer_of(at(1), 0, station(9999)), None);
        assert_eq!(switch.entries().count(), MACS_LOCAL);
    }

    #[test]
    fn a_laptop_moves_and_comes_back() {
        let mut switch = Switch::new(1);
        hears(&mut switch, at(0), ALICE, 1).unwrap();
        let from = Place::Peer(ALICE);
        assert_eq!(hears(&mut switch, at(1), BOB, 1), Ok(Learned::Moved { from }));
        assert_eq!(way(&mut switch, at(1), 1), Destination::One(BOB));
        let from = Place::Peer(BOB);
        assert_eq!(hears(&mut switch, at(2), ALICE, 1), Ok(Learned::Moved { from }));
        // It comes to our own site, and leaves again.
        switch.destination(at(3), &frame(1, Mac::BROADCAST, 0));
        assert_eq!(way(&mut switch, at(3), 1), Destination::Nobody);
        assert_eq!(hears(&mut switch, at(4), BOB, 1), Ok(Learned::Moved { from: Place::Local }));
        assert_eq!(way(&mut switch, at(4), 1), Destination::One(BOB));
    }

    // S11: a MAC that moves between peers is damped and told.
    #[test]
    fn a_thief_keeps_an_address_only_until_its_owner_speaks() {
        let mut switch = Switch::new(1);
        hears(&mut switch, at(0), ALICE, 1).unwrap();
        let mut stolen = 0;
        for tenth in 0..600 {
            let now = at(20) + SECOND / 10 * tenth;
            stolen += u32::from(matches!(hears(&mut switch, now, BOB, 1), Ok(Learned::Moved { .. })));
            hears(&mut switch, now, ALICE, 1).unwrap();
            assert_eq!(switch.peer_of(now, 0, station(1)), Some(ALICE));
        }
        // A minute of trying at every tenth of a second: three times in each rest.
        assert!((3..=18).contains(&stolen), "{stolen}");
    }

    #[test]
    fn who_moved_and_stayed_is_at_home_there() {
        let mut switch = Switch::new(1);
        hears(&mut switch, at(0), ALICE, 1).unwrap();
        hears(&mut switch, at(1), BOB, 1).unwrap();
        for tenth in 0..90 {
            let now = at(20) + SECOND / 10 * tenth;
            hears(&mut switch, now, ALICE, 1).unwrap();
            hears(&mut switch, now, BOB, 1).unwrap();
            assert_eq!(switch.peer_of(now, 0, station(1)), Some(BOB));
        }
    }

    #[test]
    fn three_peers_cannot_pass_an_address_around_either() {
        let mut switch = Switch::new(1);
        let peers = [ALICE, BOB, PeerKey { slot: 3, generation: 0 }];
        hears(&mut switch, at(0), ALICE, 1).unwrap();
        let moves = (0..900)
            .filter(|&turn| {
                let now = at(20) + SECOND / 100 * turn;
                matches!(hears(&mut switch, now, peers[turn as usize % 3], 1), Ok(Learned::Moved { .. }))
            })
            .count();
        assert!(moves <= 2 * usize::from(MOVES) + 1, "{moves}");
    }

    #[test]
    fn nobody_holds_our_own_station_against_its_own_frames() {
        let mut switch = Switch::new(1);
        let mut refused = 0;
        for tenth in 0..90 {
            let now = at(20) + SECOND / 10 * tenth;
            switch.destination(now, &frame(1, Mac::BROADCAST, 0));
            assert_eq!(way(&mut switch, now, 1), Destination::Nobody);
            match hears(&mut switch, now, BOB, 1) {
                Ok(learned) => assert_eq!(learned, Learned::Moved { from: Place::Local }),
                Err(why) => {
                    assert_eq!(why, Discard::Throttled);
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 90 - u32::from(MOVES));
    }

    #[test]
    fn after_a_rest_the_latest_place_wins_again() {
        let mut switch = Switch::new(1);
        hears(&mut switch, at(0), ALICE, 1).unwrap();
        for second in 20..26 {
            hears(&mut switch, at(second), BOB, 1).unwrap();
            hears(&mut switch, at(second), ALICE, 1).unwrap();
        }
        assert_eq!(hears(&mut switch, at(26), BOB, 1), Ok(Learned::Held));
        let from = Place::Peer(ALICE);
        assert_eq!(hears(&mut switch, at(33), BOB, 1), Ok(Learned::Moved { from }));
        assert_eq!(way(&mut switch, at(33), 1), Destination::One(BOB));
    }

    /// What a plain map remembers of an address.
    #[derive(Clone, Copy)]
    struct Memory {
        place: Place,
        seen: Instant,
        /// When it was last renewed, in steps: the order in which a full table forgets.
        order: u32,
    }

    #[test]
    fn does_what_a_plain_map_does() {
        let mut crowded = 0;
        for seed in 1..3 {
            let mut state = seed;
            let mut roll = |sides: u64| -> u64 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % sides
            };
            let mut switch = Switch::new(seed);
            let mut map: BTreeMap<(u16, Mac), Memory> = BTreeMap::new();
            let mut now = at(0);
            for order in 0..30_000 {
                now = now + Duration::from_millis(roll(30));
                if roll(8000) == 0 {
                    now = now + SECOND * 200;
                }
                let slot = u16::try_from(roll(24)).unwrap();
                let place = match slot {
                    0 => Place::Local,
                    _ => Place::Peer(PeerKey { slot, generation: 0 }),
                };
                // Mostly stations of its own, some that several places claim.
                let number = match roll(10) {
                    0 => roll(50),
                    _ => u64::from(slot) * 10_000 + roll(400),
                };
                let vlan = u16::try_from(roll(2)).unwrap();
                let source = frame(u32::try_from(number).unwrap(), Mac::BROADCAST, vlan);
                let key = (vlan, source.source);
                let learned = match place {
                    Place::Local => {
                        assert_eq!(switch.destination(now, &source), Destination::Everyone);
                        None
                    }
                    Place::Peer(peer) => Some(switch.learn(now, peer, &source)),
                };
                learn_by_map(&mut map, now, order, place, key, learned);
                let sought = frame(0, station(u32::try_from(number).unwrap()), vlan);
                let live = map.get(&key).filter(|memory| now - memory.seen < MAC_LIFE);
                let peer = live.and_then(|memory| match memory.place {
                    Place::Local => None,
                    Place::Peer(peer) => Some(peer),
                });
                assert_eq!(switch.peer_of(now, vlan, sought.destination), peer, "step {order}");
                crowded += u32::from(map.len() == MACS);
                match roll(3000) {
                    0 => {
                        switch.expire(now);
                        map.retain(|_, memory| now - memory.seen < MAC_LIFE);
                        assert!(switch.next_timeout().is_none_or(|at| at > now));
                    }
                    1 => {
                        let gone = PeerKey { slot: 1 + slot % 23, generation: 0 };
                        switch.forget_peer(gone);
                        map.retain(|_, memory| memory.place != Place::Peer(gone));
                    }
                    _ => {}
                }
                if order % 1000 == 0 {
                    let mut entries: Vec<_> = switch
                        .entries()
                        .map(|entry| ((entry.vlan, entry.mac), entry.place, entry.seen))
                        .collect();
                    entries.sort_by_key(|&(key, ..)| key);
                    let plain: Vec<_> =
                        map.iter().map(|(&key, memory)| (key, memory.place, memory.seen)).collect();
                    assert_eq!(entries, plain, "step {order}");
                }
            }
        }
        assert!(crowded > 0);
    }

    /// Does in a plain map what the switch said it did, and checks that it had to say so.
    fn learn_by_map(
        map: &mut BTreeMap<(u16, Mac), Memory>,
        now: Instant,
        order: u32,
        place: Place,
        key: (u16, Mac),
        learned: Option<Result<Learned, Discard>>,
    ) {
        if map.get(&key).is_some_and(|memory| now - memory.seen >= MAC_LIFE) {
            map.remove(&key);
        }
        let before = map.get(&key).copied();
        let held = map.values().filter(|memory| memory.place == place).count();
        let most = if place == Place::Local { MACS_LOCAL } else { MACS_PER_PEER };
        let moves = match before {
            None => {
                let full = held == most;
                assert!(learned.is_none_or(|l| l == Ok(if full { Learned::Full } else { Learned::New })));
                !full
            }
            Some(memory) if memory.place == place => {
                assert!(learned.is_none_or(|learned| learned == Ok(Learned::Known)));
                now - memory.seen >= MAC_RENEWAL
            }
            Some(Memory { place: from, .. }) => match learned {
                None | Some(Ok(Learned::Moved { .. })) => held < most,
                Some(Ok(Learned::Held)) => {
                    assert_ne!(from, Place::Local);
                    false
                }
                Some(Err(Discard::Throttled)) => {
                    assert_eq!(from, Place::Local);
                    false
                }
                Some(other) => panic!("{other:?}"),
            },
        };
        if !moves {
            return;
        }
        if before.is_none() && map.len() == MACS {
            let (&oldest, _) = map.iter().min_by_key(|(_, memory)| memory.order).unwrap();
            map.remove(&oldest);
        }
        map.insert(key, Memory { place, seen: now, order });
    }
}
