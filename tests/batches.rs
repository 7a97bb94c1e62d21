//! Frames and datagrams that a node takes several at a time come to the same, byte for byte, as if each had come alone.
//! Two worlds with the same seed live through the same traffic: in one every node takes its inputs singly, in the other
//! in batches. On the way things are forged, cut short, and doubled, within a batch too, and half of all goes through a
//! relay.

#![allow(clippy::unwrap_used, reason = "what cannot be had here is a mistake in the test")]

#[path = "sim/mod.rs"]
#[allow(dead_code, reason = "this test needs less of the simulator than the stories do")]
pub mod sim;

use std::net::SocketAddr;

use peervpn::base::discard::Discard;
use peervpn::base::event::{Event, Heard};
use peervpn::base::ids::Suite;
use peervpn::base::limits::{BATCH, PACKETS};
use peervpn::base::outbox::Outbox;
use peervpn::base::packet::Packet;
use peervpn::base::time::{Duration, Instant};
use peervpn::node::Node;

use sim::chance::Chance;
use sim::spec::{member, public};

/// All that a node shows of what it did.
#[derive(Clone, PartialEq, Debug)]
enum Shown {
    Sent(usize, SocketAddr, Vec<u8>),
    Delivered(usize, Vec<u8>),
    Told(usize, Event),
    Heard(usize, SocketAddr, Heard),
    Due(usize, Option<Instant>),
}

struct Side {
    node: Node,
    out: Outbox,
    /// Datagrams on their way here.
    coming: Vec<(SocketAddr, Vec<u8>)>,
}

struct World {
    batches: bool,
    sides: Vec<Side>,
    now: Instant,
    shown: Vec<Shown>,
    chance: Chance,
}

fn address(n: usize) -> SocketAddr {
    public(u8::try_from(n + 1).unwrap())
}

impl World {
    /// A relay, and three others of which the last two do not reach each other.
    fn new(seed: u64, batches: bool, ciphers: bool) -> World {
        let side = |n: u8| {
            let spec = if n == 0 { member().relay() } else { member().knows(address(0)) };
            // The last two seal by a suite that owes no tags, also through the relay, where the hops' MACs are owed.
            let spec = if ciphers && n >= 2 { spec.likes(&[Suite::ChaCha20Poly1305]) } else { spec };
            let node =
                Node::new(&spec.settings(), &spec.network_key(), &[n + 1; 32], &[n; 32], Instant::ZERO);
            Side { node, out: Outbox::new(PACKETS), coming: Vec::new() }
        };
        let sides = (0..4).map(side).collect();
        World { batches, sides, now: Instant::ZERO, shown: Vec::new(), chance: Chance::new(seed) }
    }

    /// Lets a node take so many frames.
    fn send(&mut self, at: usize, frames: &[Vec<u8>]) {
        let Side { node, out, .. } = &mut self.sides[at];
        for bytes in frames {
            let mut frame = out.blank().unwrap();
            frame.append(bytes).unwrap();
            if self.batches {
                node.take_frame(self.now, frame, out);
            } else {
                node.handle_frame(self.now, frame, out);
            }
        }
        node.finish(out);
        self.collect(at);
    }

    /// Lets a node take all that has come for it, with what the network did to it.
    fn receive(&mut self, at: usize, forge: bool) {
        let mut coming = std::mem::take(&mut self.sides[at].coming);
        if forge {
            for n in (0..coming.len()).rev() {
                let (from, mut bytes) = coming[n].clone();
                match self.chance.below(8) {
                    0 => {
                        let bit = self.chance.below(8 * bytes.len());
                        bytes[bit / 8] ^= 1 << (bit % 8);
                    }
                    1 => bytes.truncate(self.chance.below(bytes.len())),
                    2 => coming[n].0 = public(77),
                    3 => (),
                    _ => continue,
                }
                coming.insert(n + self.chance.below(2), (from, bytes));
            }
        }
        for lot in coming.chunks(BATCH) {
            self.take(at, lot);
        }
    }

    fn take(&mut self, at: usize, lot: &[(SocketAddr, Vec<u8>)]) {
        let Side { node, out, .. } = &mut self.sides[at];
        let (now, shown) = (self.now, &mut self.shown);
        let mut packets: Vec<(SocketAddr, Packet)> = Vec::new();
        for (from, bytes) in lot {
            let mut packet = out.blank().unwrap();
            packet.append(bytes).unwrap();
            packets.push((*from, packet));
        }
        let mut note = |place: usize, heard| shown.push(Shown::Heard(at, lot[place].0, heard));
        if self.batches {
            node.handle_datagrams(now, &mut packets, out, &mut note);
            assert!(packets.is_empty());
        } else {
            for (place, (from, packet)) in packets.drain(..).enumerate() {
                note(place, node.handle_datagram(now, from, packet, out));
            }
        }
        self.collect(at);
    }

    /// Notes what a node did, and puts what it sent on its way.
    fn collect(&mut self, at: usize) {
        let mut sent = Vec::new();
        let Side { node, out, .. } = &mut self.sides[at];
        while let Some(event) = out.next_event() {
            self.shown.push(Shown::Told(at, event));
            if let Event::Resolve(host) = event {
                node.handle_addresses(self.now, host, &[address(0)], out);
            }
        }
        while let Some((to, packet)) = out.next_datagram() {
            sent.push((to, packet.bytes().to_vec()));
            out.recycle(packet);
        }
        while let Some(packet) = out.next_frame() {
            self.shown.push(Shown::Delivered(at, packet.bytes().to_vec()));
            out.recycle(packet);
        }
        self.shown.push(Shown::Due(at, node.next_timeout()));
        assert!(out.is_whole() && out.spare() == PACKETS);
        for (to, bytes) in sent {
            self.shown.push(Shown::Sent(at, to, bytes.clone()));
            let apart = at >= 2 && (to == address(2) || to == address(3));
            if let Some(target) = (0..4).find(|&n| address(n) == to)
                && !apart
            {
                self.sides[target].coming.push((address(at), bytes));
            }
        }
    }

    /// What is under way arrives, and what that brings about.
    fn settle(&mut self, forge: bool) {
        for _ in 0..20 {
            for at in 0..4 {
                self.receive(at, forge);
            }
        }
        assert!(forge || self.sides.iter().all(|side| side.coming.is_empty()));
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for at in 0..4 {
            let Side { node, out, .. } = &mut self.sides[at];
            node.handle_timeout(self.now, out);
            self.collect(at);
        }
    }

    /// Frames of any lengths from one node, to the others' stations and to all.
    fn traffic(&mut self) {
        let at = self.chance.below(4);
        let count = 1 + self.chance.below(50);
        let frames: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let length = [20, 64, 1400, 1514][self.chance.below(4)] + self.chance.below(40);
                let mut bytes = vec![0; length];
                self.chance.fill(&mut bytes);
                let to = u8::try_from(self.chance.below(4)).unwrap();
                let group = self.chance.below(16) == 0;
                bytes[..6].copy_from_slice(&if group { [0xff; 6] } else { [2, 0, 0, 0, 0, to] });
                bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, u8::try_from(at).unwrap()]);
                bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
                bytes
            })
            .collect();
        self.send(at, &frames);
    }
}

#[test]
fn batches_come_to_the_same_as_one_at_a_time() {
    for seed in 0..6 {
        let mut worlds = [false, true].map(|batches| World::new(seed, batches, seed >= 3));
        let mut circuits = 0;
        for round in 0..250 {
            for world in &mut worlds {
                let forge = round > 40;
                world.pass(Duration::from_millis(if round % 50 == 49 { 40_000 } else { 100 }));
                world.settle(false);
                if round > 30 {
                    world.traffic();
                    world.settle(forge);
                }
            }
            let [one, many] = &mut worlds;
            circuits = circuits.max(one.sides[0].node.relayed().1);
            assert_eq!(one.shown.len(), many.shown.len(), "seed {seed}, round {round}");
            for (one, many) in one.shown.drain(..).zip(many.shown.drain(..)) {
                assert_eq!(one, many, "seed {seed}, round {round}");
            }
        }
        let [one, many] = &worlds;
        for (at, (one, many)) in one.sides.iter().zip(&many.sides).enumerate() {
            assert_eq!(
                one.out.tally().iter().collect::<Vec<_>>(),
                many.out.tally().iter().collect::<Vec<_>>(),
                "seed {seed}, node {at}"
            );
            let tally = one.out.tally();
            for why in [Discard::Forged, Discard::Replayed, Discard::Truncated] {
                assert!(tally.get(why) > 10, "{why:?} happened to node {at}: {}", tally.get(why));
            }
        }
        let (relayed, _) = one.sides[0].node.relayed();
        assert!(relayed.packets > 500 && circuits > 0, "much went through the relay: {relayed:?}");
        assert_eq!(many.sides[0].node.relayed().0, relayed);
    }
}
