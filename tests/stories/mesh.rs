//! Many nodes become a full mesh, whoever they started from.

use peervpn::base::ids::Mac;

use crate::sim::spec::{member, public};
use crate::sim::{Id, World};
use crate::{minutes, ms, secs};

/// Ten nodes that start at once from one of them are a full mesh within this time.
const FULL: u64 = 15;

/// A hub and nine that know only the hub.
fn ten(world: &mut World) -> Vec<Id> {
    let hub = world.add(member().at(public(1)));
    std::iter::once(hub).chain((0..9).map(|_| world.add(member().knows(public(1))))).collect()
}

#[test]
fn ten_from_one_initial_peer_are_a_full_mesh() {
    let mut world = World::new(1);
    let nodes = ten(&mut world);
    assert!(world.run_until(secs(FULL), |world| world.every_two(&nodes, World::direct)));
    for &a in &nodes {
        for &b in nodes.iter().filter(|&&b| b != a) {
            assert!(world.ping(a, b, ms(100)).is_some(), "{a} to {b}");
        }
    }
}

#[test]
fn one_who_comes_later_finds_all_through_any_of_them() {
    let mut world = World::new(2);
    let mut nodes = vec![world.add(member().at(public(1)))];
    for n in 2..8 {
        // A chain: each knows only the one that came before.
        nodes.push(world.add(member().at(public(n)).knows(public(n - 1))));
        world.run_for(secs(5));
    }
    assert!(world.run_until(secs(FULL), |world| world.every_two(&nodes, World::direct)));
}

#[test]
fn a_broadcast_comes_to_everyone_once() {
    let mut world = World::new(3);
    let nodes = ten(&mut world);
    assert!(world.run_until(secs(FULL), |world| world.every_two(&nodes, World::direct)));
    for &node in &nodes {
        let frame = world.send_frame(node, Mac::BROADCAST, world.mac(node), 100);
        world.run_for(ms(50));
        let receivers: Vec<Id> = world.frame(frame).delivered.keys().copied().collect();
        let others: Vec<Id> = nodes.iter().copied().filter(|&other| other != node).collect();
        assert_eq!(receivers, others);
    }
}

#[test]
fn a_frame_for_one_is_sent_to_one() {
    let mut world = World::new(4);
    let nodes = ten(&mut world);
    assert!(world.run_until(secs(FULL), |world| world.every_two(&nodes, World::direct)));
    assert!(world.ping(nodes[2], nodes[7], ms(100)).is_some());
    // The answer told where that MAC address is.
    let frame = world.send(nodes[2], nodes[7], 100, false);
    world.run_for(ms(50));
    assert_eq!(world.frame(frame).delivered.keys().collect::<Vec<_>>(), [&nodes[7]]);
    assert_eq!(world.frame(frame).carriers, 1);
}

#[test]
fn a_node_without_a_tap_introduces_and_gets_no_frames() {
    let mut world = World::new(5);
    let hub = world.add(member().at(public(1)).without_tap());
    let [a, b] = [0, 1].map(|_| world.add(member().knows(public(1))));
    assert!(world.run_until(secs(FULL), |world| world.direct(a, b) && world.direct(a, hub)));
    assert!(world.ping(a, b, ms(100)).is_some());
    let frame = world.send_frame(a, Mac::BROADCAST, world.mac(a), 100);
    world.run_for(secs(1));
    assert!(world.got(b, frame) && !world.got(hub, frame));
}

#[test]
fn the_mesh_outlives_its_initial_peer_and_takes_it_back() {
    let mut world = World::new(6);
    let nodes = ten(&mut world);
    let (hub, others) = (nodes[0], &nodes[1..]);
    assert!(world.run_until(secs(FULL), |world| world.every_two(&nodes, World::direct)));
    world.crash(hub);
    for round in 0..6 {
        world.run_for(minutes(10));
        assert!(world.every_two(others, World::direct), "after {round} times ten minutes");
        assert!(world.ping(others[round], others[round + 1], ms(100)).is_some());
    }
    assert!(others.iter().all(|&node| world.way(node, hub).is_none()));
    // It is retried for ever, at most five minutes apart, and a round of tries takes seven seconds.
    world.start(hub, true);
    assert!(world.run_until(minutes(6), |world| world.every_two(&nodes, World::direct)));
}

#[test]
fn a_host_that_moves_to_another_node_is_found_there() {
    let mut world = World::new(7);
    let nodes = ten(&mut world);
    let (a, old, new) = (nodes[1], nodes[2], nodes[3]);
    assert!(world.run_until(secs(FULL), |world| world.every_two(&nodes, World::direct)));
    let host = Mac([2, 0, 0, 0, 0xaa, 1]);
    world.send_frame(old, Mac::BROADCAST, host, 100);
    world.run_for(ms(100));
    let first = world.send_frame(a, host, world.mac(a), 100);
    // It roams and says so, as a bridge's new port does.
    world.send_frame(new, Mac::BROADCAST, host, 100);
    world.run_for(ms(100));
    let second = world.send_frame(a, host, world.mac(a), 100);
    world.run_for(ms(100));
    assert_eq!(world.frame(first).delivered.keys().collect::<Vec<_>>(), [&old]);
    assert_eq!(world.frame(second).delivered.keys().collect::<Vec<_>>(), [&new]);
}
