//! Answers to ARP and neighbour solicitations (`enablendpcache yes`), so that not every question of our LAN
//! floods the mesh.
//!
//! Bindings of IP to MAC address are learned from what stations behind peers say of themselves, and an
//! asker on our side gets the owner's answer from here. The cache would rather be silent than wrong; then the
//! question takes its way to all, as it would without a cache. It is silent
//!
//! * unless the switch still has the station at the peer that told the binding;
//! * for [`NEIGHBOUR_LIFE`] after two stations claimed one address, or one of our own side used it: who is
//!   right is for the askers to find out (S11: a node's word counts about itself only);
//! * about an IPv6 station that was not heard to say whether it is a router (RFC 4861, 7.2.5).
//!
//! An answer does not renew its binding. Only the owner does, so one that is dead is soon asked for in vain.

use std::net::IpAddr;

use crate::base::ids::{Mac, PeerKey};
use crate::base::limits::{NEIGHBOUR_LIFE, NEIGHBOURS, NEIGHBOURS_PER_PEER};
use crate::base::packet::Packet;
use crate::base::table::Table;
use crate::base::time::Instant;
use crate::lan::switch::Shares;
use crate::wire::ether::Frame;
use crate::wire::neighbour::{self, Binding, Claim};

/// The cache.
pub struct Neighbours {
    table: Table<(u16, IpAddr), Entry>,
    shares: Shares,
}

struct Entry {
    mac: Mac,
    peer: PeerKey,
    /// None until it says so.
    router: Option<bool>,
    seen: Instant,
    /// Someone else used the address too; nothing is answered before this.
    silent_until: Option<Instant>,
}

impl Neighbours {
    /// An empty cache. The seed keeps strangers from choosing addresses that collide.
    pub fn new(seed: u64) -> Neighbours {
        Neighbours { table: Table::new(NEIGHBOURS, seed), shares: Shares::new(NEIGHBOURS_PER_PEER) }
    }

    /// Learns from a frame that came from a peer, if it is ARP or NDP. Only for a frame whose source the switch
    /// has at that peer.
    pub fn learn(&mut self, now: Instant, from: PeerKey, frame: &Frame, bytes: &[u8]) {
        let Some(told) = neighbour::read(frame, bytes).and_then(|message| message.tells) else { return };
        let key = (frame.vlan, told.ip);
        match self.table.touch(&key) {
            Some(entry) if !entry.is_over(now) => {
                let before = entry.peer;
                entry.hear(now, from, &told);
                self.shares.give_back(before);
                self.shares.take(from);
            }
            _ => self.admit(now, from, key, &told),
        }
    }

    /// Makes a frame from our TAP the answer to what it asks, if that is known: true, and it goes back to the
    /// TAP. `peer_of` is the switch's word on which peer has a station.
    pub fn answer(
        &mut self,
        now: Instant,
        frame: &Frame,
        packet: &mut Packet,
        peer_of: impl Fn(u16, Mac) -> Option<PeerKey>,
    ) -> bool {
        let Some(message) = neighbour::read(frame, packet.bytes()) else { return false };
        if let Some(contested) = message.tells.and_then(|told| self.table.get_mut(&(frame.vlan, told.ip))) {
            contested.silent_until = Some(now + NEIGHBOUR_LIFE);
        }
        let Some(target) = message.asks else { return false };
        let Some(entry) = self.table.get(&(frame.vlan, target)) else { return false };
        let Some(router) = entry.router else { return false };
        if !entry.is_trusted(now) || peer_of(frame.vlan, entry.mac) != Some(entry.peer) {
            return false;
        }
        neighbour::answer(frame, packet.bytes_mut(), target, entry.mac, router).is_ok()
    }

    /// Forgets what was learned from a peer whose session ended.
    pub fn forget_peer(&mut self, peer: PeerKey) {
        let Neighbours { table, shares } = self;
        table.retain(|_, entry| {
            let goes = entry.peer == peer;
            if goes {
                shares.give_back(peer);
            }
            !goes
        });
    }

    /// Forgets what was not told again for [`NEIGHBOUR_LIFE`].
    pub fn expire(&mut self, now: Instant) {
        while let Some((&key, entry)) = self.table.oldest() {
            if !entry.is_over(now) {
                break;
            }
            self.forget(key);
        }
    }

    /// When [`Neighbours::expire`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.table.oldest().map(|(_, entry)| entry.seen + NEIGHBOUR_LIFE)
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn admit(&mut self, now: Instant, from: PeerKey, key: (u16, IpAddr), told: &Binding) {
        self.forget(key);
        let Claim::Full { router } = told.claim else { return };
        if !self.shares.has_room(from) {
            return;
        }
        let entry = Entry { mac: told.mac, peer: from, router: Some(router), seen: now, silent_until: None };
        if let Some((_, evicted)) = self.table.insert(key, entry) {
            self.shares.give_back(evicted.peer);
        }
        self.shares.take(from);
    }

    fn forget(&mut self, key: (u16, IpAddr)) {
        if let Some(entry) = self.table.remove(&key) {
            self.shares.give_back(entry.peer);
        }
    }
}

impl Entry {
    fn hear(&mut self, now: Instant, from: PeerKey, told: &Binding) {
        if told.mac != self.mac {
            self.mac = told.mac;
            self.router = None;
            self.silent_until = Some(now + NEIGHBOUR_LIFE);
        }
        if let Claim::Full { router } = told.claim {
            self.router = Some(router);
        }
        self.peer = from;
        self.seen = now;
    }

    fn is_over(&self, now: Instant) -> bool {
        now - self.seen >= NEIGHBOUR_LIFE
    }

    fn is_trusted(&self, now: Instant) -> bool {
        !self.is_over(now) && self.silent_until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::base::time::Duration;

    const ALICE: PeerKey = PeerKey { slot: 1, generation: 0 };
    const BOB: PeerKey = PeerKey { slot: 2, generation: 0 };
    const ASKER: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OWNER: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 3]);
    const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const THERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    const HERE6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const THERE6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn arp(operation: u8, to: Mac, from: Mac, ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        let head = [8, 6, 0, 1, 8, 0, 6, 4, 0, operation];
        [&to.0, &from.0, &head[..], &from.0, &ip.octets(), &[0; 6], &target.octets()].concat()
    }

    /// What a station says when its address is new to it, or asked for.
    fn announcement(mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
        arp(2, Mac::BROADCAST, mac, ip, ip)
    }

    fn ndp(to: Mac, from: Mac, ends: [Ipv6Addr; 2], kind: u8, flags: u8, target: Ipv6Addr) -> Vec<u8> {
        let option = if kind == 135 { 1 } else { 2 };
        let mut message =
            [&[kind, 0, 0, 0, flags, 0, 0, 0], &target.octets()[..], &[option, 1], &from.0].concat();
        let all = [&ends[0].octets()[..], &ends[1].octets(), &[0, 32, 0, 58], &message].concat();
        let sum = all.chunks(2).fold(0u32, |sum, word| sum + u32::from(word[0]) * 256 + u32::from(word[1]));
        let sum = !u16::try_from(sum % 0xffff).unwrap();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let head = [0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255];
        [&to.0, &from.0, &head[..], &ends[0].octets(), &ends[1].octets(), &message].concat()
    }

    fn advertisement(flags: u8) -> Vec<u8> {
        ndp(ASKER, OWNER, [THERE6, HERE6], 136, flags, THERE6)
    }

    /// The group that [`THERE6`] listens to.
    const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2);

    fn solicitation() -> Vec<u8> {
        ndp(Mac([0x33, 0x33, 0xff, 0, 0, 2]), ASKER, [HERE6, GROUP6], 135, 0, THERE6)
    }

    fn tell(cache: &mut Neighbours, now: Instant, from: PeerKey, bytes: &[u8]) {
        cache.learn(now, from, &Frame::read(bytes).unwrap(), bytes);
    }

    /// What comes back to a frame from our side, while every station is at Alice.
    fn ask(cache: &mut Neighbours, now: Instant, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut packet = Packet::new();
        packet.append(bytes).unwrap();
        let frame = Frame::read(bytes).unwrap();
        let answered = cache.answer(now, &frame, &mut packet, |_, _| Some(ALICE));
        assert!(answered || packet.bytes() == bytes);
        answered.then(|| packet.bytes().to_vec())
    }

    fn question() -> Vec<u8> {
        arp(1, Mac::BROADCAST, ASKER, HERE, THERE)
    }

    #[test]
    fn a_question_is_answered_as_the_owner_would() {
        let mut cache = Neighbours::new(1);
        assert_eq!(ask(&mut cache, at(0), &question()), None);
        tell(&mut cache, at(0), ALICE, &announcement(OWNER, THERE));
        let mut reply = arp(2, ASKER, OWNER, THERE, HERE);
        reply[32..38].copy_from_slice(&ASKER.0);
        assert_eq!(ask(&mut cache, at(1), &question()), Some(reply));
        // Not in another VLAN.
        let mut tagged = question();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        assert_eq!(ask(&mut cache, at(1), &tagged), None);
    }

    #[test]
    fn a_solicitation_is_answered_once_the_owner_said_what_it_is() {
        let mut cache = Neighbours::new(1);
        // What it asks itself, or a proxy says, is not enough.
        tell(&mut cache, at(0), ALICE, &ndp(ASKER, OWNER, [THERE6, HERE6], 135, 0, HERE6));
        tell(&mut cache, at(0), ALICE, &advertisement(0x40));
        assert_eq!(ask(&mut cache, at(0), &solicitation()), None);
        for (said, answered) in [(0x60, 0x40), (0xe0, 0xc0)] {
            tell(&mut cache, at(0), ALICE, &advertisement(said));
            assert_eq!(ask(&mut cache, at(1), &solicitation()), Some(advertisement(answered)));
        }
        // Its questions show that it lives.
        tell(&mut cache, at(50), ALICE, &ndp(ASKER, OWNER, [THERE6, HERE6], 135, 0, HERE6));
        assert_eq!(ask(&mut cache, at(100), &solicitation()), Some(advertisement(0xc0)));
    }

    #[test]
    fn only_the_owner_renews() {
        let mut cache = Neighbours::new(1);
        tell(&mut cache, at(0), ALICE, &announcement(OWNER, THERE));
        assert!(ask(&mut cache, at(59), &question()).is_some());
        assert_eq!(cache.next_timeout(), Some(at(60)));
        assert_eq!(ask(&mut cache, at(60), &question()), None);
        cache.expire(at(60));
        assert!(cache.is_empty());
    }

    #[test]
    fn a_station_that_is_not_where_it_was_is_not_answered_for() {
        let mut cache = Neighbours::new(1);
        tell(&mut cache, at(0), ALICE, &announcement(OWNER, THERE));
        let mut packet = Packet::new();
        packet.append(&question()).unwrap();
        let frame = Frame::read(&question()).unwrap();
        assert!(!cache.answer(at(1), &frame, &mut packet, |_, _| None));
        assert!(!cache.answer(at(1), &frame, &mut packet, |_, _| Some(BOB)));
        assert!(cache.answer(at(1), &frame, &mut packet, |vlan, mac| {
            assert_eq!((vlan, mac), (0, OWNER));
            Some(ALICE)
        }));
    }

    #[test]
    fn a_peer_that_went_takes_its_neighbours_along() {
        let mut cache = Neighbours::new(1);
        tell(&mut cache, at(0), ALICE, &announcement(OWNER, THERE));
        tell(&mut cache, at(0), BOB, &announcement(OTHER, HERE));
        cache.forget_peer(ALICE);
        assert_eq!(cache.len(), 1);
        assert_eq!(ask(&mut cache, at(1), &question()), None);
    }

    // S11: a node's word counts about itself only.
    #[test]
    fn about_a_contested_address_nothing_is_said() {
        let mut cache = Neighbours::new(1);
        tell(&mut cache, at(0), ALICE, &announcement(OWNER, THERE));
        tell(&mut cache, at(1), ALICE, &announcement(OTHER, THERE));
        assert_eq!(ask(&mut cache, at(2), &question()), None);
        for second in 2..61 {
            tell(&mut cache, at(second), ALICE, &announcement(OTHER, THERE));
            assert_eq!(ask(&mut cache, at(second), &question()), None);
        }
        // Nobody else claimed it for as long as a binding lives.
        assert_eq!(ask(&mut cache, at(61), &question()).unwrap()[6..12], OTHER.0);
    }

    #[test]
    fn another_station_in_the_same_place_is_no_router_by_inheritance() {
        let mut cache = Neighbours::new(1);
        tell(&mut cache, at(0), ALICE, &advertisement(0xe0));
        for second in [1, 30, 61] {
            tell(&mut cache, at(second), ALICE, &ndp(ASKER, OTHER, [THERE6, HERE6], 135, 0, HERE6));
        }
        assert_eq!(ask(&mut cache, at(62), &solicitation()), None);
    }

    #[test]
    fn about_an_address_of_our_own_side_nothing_is_said() {
        let mut cache = Neighbours::new(1);
        tell(&mut cache, at(0), ALICE, &announcement(OTHER, THERE));
        assert_eq!(ask(&mut cache, at(1), &announcement(OWNER, THERE)), None);
        tell(&mut cache, at(2), ALICE, &announcement(OTHER, THERE));
        assert_eq!(ask(&mut cache, at(2), &question()), None);
    }

    #[test]
    fn a_peer_fills_its_own_share_only() {
        let mut cache = Neighbours::new(1);
        tell(&mut cache, at(0), BOB, &announcement(OWNER, THERE));
        for number in 0..2000u16 {
            let [high, low] = number.to_be_bytes();
            tell(&mut cache, at(0), ALICE, &announcement(OTHER, Ipv4Addr::new(10, 0, high, low)));
        }
        assert_eq!(cache.len(), NEIGHBOURS_PER_PEER + 1);
        cache.forget_peer(ALICE);
        tell(&mut cache, at(0), ALICE, &announcement(OTHER, HERE));
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn what_moves_or_is_crowded_out_gives_its_share_back() {
        let mut cache = Neighbours::new(1);
        for _ in 0..300 {
            tell(&mut cache, at(0), ALICE, &announcement(OTHER, THERE));
            tell(&mut cache, at(0), BOB, &announcement(OTHER, THERE));
        }
        let mut fill = |slot: u8| {
            let peer = PeerKey { slot: slot.into(), generation: 0 };
            for last in 0..=255 {
                tell(&mut cache, at(1), peer, &announcement(OTHER, Ipv4Addr::new(10, 0, slot, last)));
            }
            cache.table.iter().filter(|(_, entry)| entry.peer == peer).count()
        };
        // Alice is the first of five, of whom four have room.
        for slot in [1, 3, 4, 5, 6, 1] {
            assert_eq!(fill(slot), NEIGHBOURS_PER_PEER, "{slot}");
        }
    }
}
