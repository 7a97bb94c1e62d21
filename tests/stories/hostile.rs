//! S1: whatever comes in, no panic and no packet lost for ever. (That tables stay bounded shows in
//! `tests/allocation.rs`: under such floods nothing is allocated.)

use std::net::SocketAddr;

use crate::sim::chance::Chance;
use crate::sim::nat::NatSpec;
use crate::sim::spec::{member, public};
use crate::sim::traffic::Datagram;
use crate::sim::{Id, Site, World};
use crate::{minutes, ms, secs};

const ROUNDS: usize = 1_000_000;

/// A relay, one node beside it and two behind NATs, all talking; and every datagram on their way there.
fn lively(seed: u64) -> (World, [Id; 4], Vec<Datagram>) {
    let mut world = World::new(seed);
    world.capture();
    let relay = world.add(member().at(public(1)).relay());
    let beside = world.add(member().at(public(2)).knows(public(1)));
    let behind = [3, 4].map(|n| {
        let site = world.site(Site::INTERNET, NatSpec::symmetric(public(n).ip()));
        world.add(member().behind(site, SocketAddr::from(([10, 0, 0, 2], 7000))).knows(public(1)))
    });
    let nodes = [relay, beside, behind[0], behind[1]];
    for _ in 0..150 {
        for (&a, &b) in nodes.iter().zip(nodes.iter().cycle().skip(1)) {
            world.send(a, b, 300, true);
        }
        world.run_for(secs(1));
    }
    let record = world.captured();
    (world, nodes, record)
}

/// Still there, and still talking.
fn unshaken(world: &mut World, nodes: [Id; 4]) {
    world.run_for(minutes(1));
    for (&a, &b) in nodes.iter().zip(nodes.iter().cycle().skip(1)) {
        assert!(world.talks_within(a, b, secs(20)).is_some(), "{a} to {b}");
    }
}

/// A sender: sometimes a member, sometimes anybody.
fn somebody(chance: &mut Chance) -> SocketAddr {
    match chance.below(4) {
        0 => public(1),
        1 => public(2),
        2 => public(77),
        _ => (chance.bytes::<4>(), 7000).into(),
    }
}

#[test]
fn a_million_random_datagrams() {
    let (mut world, nodes, _) = lively(1);
    let mut chance = Chance::new(1);
    let mut bytes = [0; 2048];
    for round in 0..ROUNDS {
        let length = chance.below(if round % 4 == 0 { 2048 } else { 256 });
        chance.fill(&mut bytes[..length]);
        // Three of four get past the first two bytes.
        if let ([kind, flags, ..], true) = (&mut bytes[..length], round % 4 != 0) {
            (*kind, *flags) = (*kind % 6, 0);
        }
        world.strike(nodes[chance.below(4)], public(66), &bytes[..length]);
        if round % 64 == 0 {
            world.run_for(ms(1));
        }
    }
    unshaken(&mut world, nodes);
}

#[test]
fn a_million_damaged_datagrams() {
    let (mut world, nodes, record) = lively(2);
    let mut chance = Chance::new(2);
    for round in 0..ROUNDS {
        let original = &record[chance.below(record.len())];
        let mut bytes = original.bytes.clone();
        match chance.below(4) {
            0 => bytes.truncate(chance.below(bytes.len())),
            1 => bytes.resize(chance.below(1900), 0),
            2 => {
                let at = chance.below(bytes.len().min(24));
                bytes[at] ^= 1 << chance.below(8);
            }
            _ => {
                let at = chance.below(bytes.len());
                bytes[at] ^= 1 << chance.below(8);
            }
        }
        let from = if round % 2 == 0 { original.from } else { somebody(&mut chance) };
        world.strike(nodes[chance.below(4)], from, &bytes);
        if round % 64 == 0 {
            world.run_for(ms(1));
        }
    }
    unshaken(&mut world, nodes);
}

#[test]
fn a_million_hostile_frames() {
    let (mut world, nodes, _) = lively(3);
    let mut chance = Chance::new(3);
    for round in 0..ROUNDS {
        let frame = frame(&mut chance);
        world.strike_tap(nodes[chance.below(4)], &frame);
        if round % 8 == 0 {
            world.run_for(ms(1));
        }
    }
    unshaken(&mut world, nodes);
}

/// A random frame, or one that begins like those a node reads: ARP, neighbour discovery, VLAN tags, TCP.
fn frame(chance: &mut Chance) -> Vec<u8> {
    let most = if chance.hit(0.05) { 2048 } else { 128 };
    let mut bytes = vec![0; chance.below(most)];
    chance.fill(&mut bytes);
    let protocol: &[&[u8]] = match chance.below(8) {
        0 => &[&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]],
        1 => &[&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255], &[0; 32], &[135, 0, 0, 0, 0, 0, 0, 0]],
        2 => &[&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255], &[0; 32], &[136, 0, 0, 0, 0x60, 0, 0, 0]],
        3 => &[&[0x81, 0x00, 0, 5, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2]],
        4 => &[&[0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 6, 0x86, 0xdd]],
        5 => &[&[0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]],
        6 => &[&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]],
        _ => &[],
    };
    for (at, byte) in protocol.concat().into_iter().enumerate() {
        if let (Some(place), false) = (bytes.get_mut(12 + at), chance.hit(0.01)) {
            *place = byte;
        }
    }
    // Few enough MAC addresses that some are known.
    if let Some(macs) = bytes.get_mut(..12) {
        match chance.below(4) {
            0 => macs[..6].fill(0xff),
            1 => macs[..6].copy_from_slice(&[0x33, 0x33, 0xff, 0, 0, 1]),
            2 => macs[..6].copy_from_slice(&[2, 0, 0, 0, 0, u8::try_from(chance.below(4)).expect("small")]),
            _ => {}
        }
    }
    bytes
}
