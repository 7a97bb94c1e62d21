//! What must hold after every step, whatever the story. A breach panics; the world then tells its seed.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

use peervpn::base::event::Event;
use peervpn::base::ids::ShortId;
use peervpn::base::limits::RELAY_FRONT;
use peervpn::base::outbox::Outbox;
use peervpn::base::time::Instant;

use super::Id;
use super::frames;

/// A node may ask to be called again at once, but not for ever.
const TIMEOUTS_AT_ONCE: u32 = 1000;

/// A node from one start to the next: keys do not outlive it.
pub type Life = (Id, u32);

/// What has been seen so far, as far as a later sight could contradict it.
#[derive(Default, Debug)]
pub struct Invariants {
    hellos: BTreeMap<(u8, [u8; 32]), u64>,
    thirds: BTreeMap<(Life, SocketAddr, [u8; 4]), u64>,
    counters: BTreeMap<(Life, u8, [u8; 10]), u64>,
    /// Who put a packet into a relay's envelope first. The packet goes by the bytes that the hop MAC protects.
    wrapped_by: BTreeMap<[u8; 32], Id>,
    /// Endpoints that no node has, with the bytes that each node got from there less those it sent there.
    strangers: BTreeSet<SocketAddr>,
    credit: BTreeMap<(Id, SocketAddr), usize>,
    peers: BTreeSet<(Id, ShortId)>,
    timeouts: BTreeMap<Id, (Instant, u32)>,
}

impl Invariants {
    /// After every input, with the outbox drained. S1: no packet leaks.
    pub fn after_input(&mut self, node: Id, out: &Outbox) {
        assert!(out.is_whole(), "{node}: {} of {} packets are at home", out.spare(), out.packets());
        assert_eq!(out.spare(), out.packets(), "{node} was not drained");
        assert_eq!(out.events_lost(), 0, "{node} told more than fits");
    }

    /// After every timeout: time must go on.
    pub fn after_timeout(&mut self, node: Id, now: Instant, next: Option<Instant>) {
        if let Some(next) = next {
            assert!(next >= now, "{node} wants to be called {} µs ago", (now - next).as_micros());
        }
        let (at, times) = self.timeouts.entry(node).or_default();
        *times = if *at == now { *times + 1 } else { 0 };
        *at = now;
        assert!(*times <= TIMEOUTS_AT_ONCE, "{node} has timeouts without end at {now:?}");
    }

    /// A datagram leaves a node.
    pub fn datagram(&mut self, life: Life, to: SocketAddr, bytes: &[u8]) {
        let (node, _) = life;
        assert!(!bytes.is_empty(), "{node} sends nothing to {to}");
        assert!(!frames::leaks(bytes), "{node} sends plaintext to {to}");
        self.never_sealed_twice(life, to, bytes);
        self.never_more_than_heard(node, to, bytes);
    }

    /// S5, S5a: what is sealed under one key and number is sealed once; a repetition is the same bytes.
    fn never_sealed_twice(&mut self, life: Life, to: SocketAddr, bytes: &[u8]) {
        let (node, _) = life;
        // The token of a first message stands outside the seal, and may be another the next time.
        let seen = digest(if bytes[0] == 1 { bytes.get(..144).unwrap_or(bytes) } else { bytes });
        match *bytes {
            [kind @ (1 | 2), _, ..] => {
                let start = if kind == 1 { 6 } else { 10 };
                let e = bytes[start..start + 32].try_into().expect("32 bytes");
                let first = *self.hellos.entry((kind, e)).or_insert(seen);
                assert_eq!(first, seen, "{node}: two messages {kind} with one ephemeral key");
            }
            [3, _, ..] => {
                let index = bytes[2..6].try_into().expect("4 bytes");
                let first = *self.thirds.entry((life, to, index)).or_insert(seen);
                assert_eq!(first, seen, "{node}: two third messages of one handshake");
            }
            [kind @ (4 | 5), _, ..] => {
                let name = bytes[2..12].try_into().expect("10 bytes");
                let first = *self.counters.entry((life, kind, name)).or_insert(seen);
                assert_eq!(first, seen, "{node}: index and counter used twice in type {kind}: {name:?}");
                // Whoever carries it for others has not sealed it, and cannot tell that the network changed it.
                let inner = if kind == 5 { &bytes[RELAY_FRONT..] } else { return };
                if *self.wrapped_by.entry(front(inner)).or_insert(node) == node {
                    self.never_sealed_twice(life, to, inner);
                }
            }
            // Its token is made anew for each copy, and its tag is a MAC: no nonce is used up.
            [6, _, ..] => assert_eq!(bytes.len(), 38, "{node}: a RETRY of another length"),
            _ => panic!("{node} sends a datagram of no known type: {:?}", bytes.first()),
        }
    }

    // ---- S2: no amplification ----

    /// Someone who is no node sends to a node.
    pub fn stranger_speaks(&mut self, from: SocketAddr) {
        self.strangers.insert(from);
    }

    /// That arrives.
    pub fn stranger_is_heard(&mut self, node: Id, from: SocketAddr, length: usize) {
        if self.strangers.contains(&from) {
            *self.credit.entry((node, from)).or_default() += length;
        }
    }

    fn never_more_than_heard(&mut self, node: Id, to: SocketAddr, bytes: &[u8]) {
        if self.strangers.contains(&to) {
            let credit = self.credit.entry((node, to)).or_default();
            let left = credit.checked_sub(bytes.len());
            *credit = left.unwrap_or_else(|| {
                panic!("S2: {node} sends {} bytes to {to}, from where {credit} remain", bytes.len())
            });
        }
    }

    // ---- events ----

    /// A node tells something: peers come before they go.
    pub fn event(&mut self, node: Id, event: &Event) {
        match *event {
            Event::PeerUp { peer, .. } => {
                assert!(self.peers.insert((node, peer)), "{node}: {peer} came up twice");
            }
            Event::PeerDown { peer, .. } => {
                assert!(self.peers.remove(&(node, peer)), "{node}: {peer} went without having come");
            }
            Event::WayChanged { peer, .. } | Event::Rekeyed { peer } => {
                assert!(self.peers.contains(&(node, peer)), "{node}: {event:?} of a peer that is not up");
            }
            _ => {}
        }
    }

    /// A node ends without a word.
    pub fn gone(&mut self, node: Id) {
        self.peers.retain(|&(who, _)| who != node);
    }
}

/// A short name for some bytes.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn front(packet: &[u8]) -> [u8; 32] {
    std::array::from_fn(|at| packet.get(at).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Life = (Id(0), 0);

    fn to() -> SocketAddr {
        "198.18.0.1:7000".parse().unwrap()
    }

    #[test]
    fn a_repeated_message_may_be_sent_again() {
        let mut invariants = Invariants::default();
        for kind in 1..=5 {
            let mut bytes = [kind; 160];
            bytes[RELAY_FRONT] = 4;
            invariants.datagram(LIFE, to(), &bytes);
            invariants.datagram(LIFE, to(), &bytes);
        }
    }

    #[test]
    fn a_second_content_under_one_key_is_a_breach() {
        for kind in 1..=5 {
            let breach = std::panic::catch_unwind(|| {
                let mut invariants = Invariants::default();
                let mut bytes = [kind; 160];
                bytes[RELAY_FRONT] = 4;
                invariants.datagram(LIFE, to(), &bytes);
                bytes[143] ^= 1;
                invariants.datagram(LIFE, to(), &bytes);
            });
            assert!(breach.is_err(), "type {kind}");
        }
    }

    #[test]
    #[should_panic(expected = "plaintext")]
    fn plaintext_is_seen() {
        let mut bytes = [4; 100];
        bytes[40..48].copy_from_slice(&frames::MARK);
        Invariants::default().datagram(LIFE, to(), &bytes);
    }

    #[test]
    #[should_panic(expected = "S2")]
    fn more_than_was_heard_is_a_breach() {
        let mut invariants = Invariants::default();
        invariants.stranger_speaks(to());
        invariants.stranger_is_heard(Id(0), to(), 100);
        invariants.datagram(LIFE, to(), &[4; 100]);
        invariants.datagram(LIFE, to(), &[4; 100]);
    }

    #[test]
    #[should_panic(expected = "packets are at home")]
    fn a_leaked_packet_is_seen() {
        let mut out = Outbox::new(2);
        let leaked = out.blank();
        Invariants::default().after_input(Id(0), &out);
        drop(leaked);
    }

    #[test]
    #[should_panic(expected = "without end")]
    fn a_timer_that_never_stops_is_seen() {
        let mut invariants = Invariants::default();
        for _ in 0..2000 {
            invariants.after_timeout(Id(0), Instant::ZERO, Some(Instant::ZERO));
        }
    }
}
