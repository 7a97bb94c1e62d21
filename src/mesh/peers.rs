//! The peer table: a fixed number of slots, each with a generation, so that a key that outlived its peer finds
//! nobody. A slot holds all that the mesh knows of one node, with or without a session.

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::ids::{CircuitId, NodeId, PeerKey, ShortId};
use crate::base::limits::{BACKOFF_MAX, CIRCUIT_AGAIN, CIRCUIT_TRIES, PEERS, REKEY_BURST, REKEY_EVERY};
use crate::base::time::{Bucket, Instant};
use crate::mesh::dial::Dial;
use crate::mesh::news::News;
use crate::mesh::punch::Punch;
use crate::peer::Peer;

/// A node and what the mesh does about it.
pub struct Member {
    /// The node.
    pub peer: Peer,
    /// Our handshakes with it.
    pub dial: Dial,
    /// What it is to be told and what it told.
    pub news: News,
    /// Our number of the circuit by which it may be reached.
    pub circuit: Option<CircuitId>,
    /// The slot of the relay that was asked last, so that the next one differs.
    pub relay_tried: u16,
    /// Whether the daemon was told that it is up.
    pub told_up: bool,
    /// Where the others were told that we reach it directly.
    pub told_direct: Option<SocketAddr>,
    /// The last such address, should it be elsewhere next time.
    pub told_before: Option<SocketAddr>,
    /// Where it sees us.
    pub seen_us: Option<SocketAddr>,
    /// Where it was told that we see it.
    pub told_seen: Option<SocketAddr>,
    /// Hole punching.
    pub punch: Punch,
    /// Since when there is no direct path to it.
    pub indirect_since: Instant,
    /// Whether others told of addresses that there is no socket for: IPv4, IPv6.
    pub unreachable: [bool; 2],
    /// Handshakes that it may begin inside its session.
    pub handshakes: Bucket,
    /// How often relays may be asked for a way to it.
    pub relay_asks: Bucket,
    /// When it was last said to be there, or was connected.
    pub known_since: Instant,
    /// When it was last connected.
    pub met: Option<Instant>,
}

struct Slot {
    generation: u16,
    member: Option<Member>,
}

/// All remote nodes.
pub struct Peers {
    slots: Vec<Slot>,
}

impl Peers {
    /// None known; room for [`PEERS`] without allocating again.
    pub fn new() -> Peers {
        Peers { slots: Vec::with_capacity(PEERS) }
    }

    /// The member of that key, unless it has gone.
    pub fn get(&self, key: PeerKey) -> Option<&Member> {
        let slot = self.slots.get(usize::from(key.slot))?;
        slot.member.as_ref().filter(|_| slot.generation == key.generation)
    }

    /// The member of that key, unless it has gone.
    pub fn get_mut(&mut self, key: PeerKey) -> Option<&mut Member> {
        let slot = self.slots.get_mut(usize::from(key.slot))?;
        slot.member.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// The key of the member in that slot.
    pub fn key(&self, slot: usize) -> Option<PeerKey> {
        let place = self.slots.get(slot)?;
        place.member.as_ref()?;
        Some(PeerKey { slot: u16::try_from(slot).ok()?, generation: place.generation })
    }

    /// How many slots were ever used; keys lie below.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = (PeerKey, &Member)> + '_ {
        (0u16..).zip(&self.slots).filter_map(|(slot, place)| {
            Some((PeerKey { slot, generation: place.generation }, place.member.as_ref()?))
        })
    }

    /// All members.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (PeerKey, &mut Member)> + '_ {
        (0u16..).zip(&mut self.slots).filter_map(|(slot, place)| {
            Some((PeerKey { slot, generation: place.generation }, place.member.as_mut()?))
        })
    }

    /// The member with that identity.
    pub fn find(&self, id: &NodeId) -> Option<PeerKey> {
        self.iter().find(|(_, member)| member.peer.id() == *id).map(|(key, _)| key)
    }

    /// The member with that short identity.
    pub fn find_short(&self, short: ShortId) -> Option<PeerKey> {
        self.iter().find(|(_, member)| member.peer.short() == short).map(|(key, _)| key)
    }

    /// Who has to make room for another when all slots are in use: a node that was never met before one that was, and of these
    /// the one for longest; a node with a session never.
    pub fn dispensable(&self) -> Option<PeerKey> {
        let free = self.slots.len() < PEERS || self.slots.iter().any(|slot| slot.member.is_none());
        let idle = self.iter().filter(|(_, member)| !free && !member.peer.is_up());
        idle.min_by_key(|(_, member)| (member.met, member.known_since)).map(|(key, _)| key)
    }

    /// Takes in a node.
    pub fn insert(&mut self, now: Instant, peer: Peer) -> Result<PeerKey, Discard> {
        let member = Some(Member {
            peer,
            dial: Dial::new(BACKOFF_MAX),
            news: News::new(now),
            circuit: None,
            relay_tried: 0,
            handshakes: Bucket::new(REKEY_BURST, REKEY_EVERY, now),
            relay_asks: Bucket::new(u32::from(CIRCUIT_TRIES), CIRCUIT_AGAIN, now),
            seen_us: None,
            told_seen: None,
            punch: Punch::new(now),
            indirect_since: now,
            unreachable: [false; 2],
            told_up: false,
            told_direct: None,
            told_before: None,
            known_since: now,
            met: None,
        });
        let slot = match self.slots.iter().position(|slot| slot.member.is_none()) {
            Some(slot) => {
                self.slots[slot].member = member;
                slot
            }
            None if self.slots.len() < PEERS => {
                self.slots.push(Slot { generation: 0, member });
                self.slots.len() - 1
            }
            None => return Err(Discard::NoRoom),
        };
        self.key(slot).ok_or(Discard::NoRoom)
    }

    /// Forgets a node; its key finds nobody from now on.
    pub fn remove(&mut self, key: PeerKey) {
        if self.get(key).is_some() {
            let slot = &mut self.slots[usize::from(key.slot)];
            slot.member = None;
            slot.generation = slot.generation.wrapping_add(1);
            for (_, member) in self.iter_mut() {
                member.news.forget(key);
            }
        }
    }
}

impl Default for Peers {
    fn default() -> Self {
        Peers::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(now: Instant, n: u16) -> Peer {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        Peer::new(now, NodeId(id), ShortId([id[0], id[1], 0, 0, 0, 0, 0, 0]), true)
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn a_stale_key_finds_nobody() {
        let mut peers = Peers::new();
        let first = peers.insert(at(0), peer(at(0), 1)).unwrap();
        assert_eq!(peers.find(&peer(at(0), 1).id()), Some(first));
        peers.remove(first);
        assert!(peers.get(first).is_none());
        let second = peers.insert(at(0), peer(at(0), 2)).unwrap();
        assert_eq!(second.slot, first.slot);
        assert!(peers.get(first).is_none() && peers.get(second).is_some());
    }

    #[test]
    fn who_was_never_met_makes_room_before_who_was() {
        // S11: hearsay does not push out what was known at first hand.
        let mut peers = Peers::new();
        for n in 0..PEERS {
            let n = u16::try_from(n).unwrap();
            assert_eq!(peers.dispensable(), None);
            peers.insert(at(u64::from(n)), peer(at(0), n)).unwrap();
        }
        for (key, member) in peers.iter_mut() {
            member.met = (key.slot != 7).then_some(at(u64::from(key.slot) + 1));
        }
        assert_eq!(peers.insert(at(999), peer(at(999), 9999)).err(), Some(Discard::NoRoom));
        assert_eq!(peers.dispensable(), Some(PeerKey { slot: 7, generation: 0 }));
        peers.remove(PeerKey { slot: 7, generation: 0 });
        let key = peers.insert(at(999), peer(at(999), 9999)).unwrap();
        assert_eq!(key, PeerKey { slot: 7, generation: 1 });
        assert_eq!(peers.dispensable(), Some(key));
    }
}
