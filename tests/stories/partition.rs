//! The network breaks in two and heals; nodes change their addresses.

use crate::sim::spec::{member, public};
use crate::sim::{Id, Site, World};
use crate::{minutes, ms, secs};

fn mesh(world: &mut World, n: u8) -> Vec<Id> {
    let nodes: Vec<Id> =
        (1..=n).map(|n| world.add(member().at(public(n)).knows(public(1)).knows(public(2)))).collect();
    assert!(world.run_until(secs(20), |world| world.every_two(&nodes, World::direct)));
    nodes
}

#[test]
fn both_halves_live_on_and_become_one_again() {
    let mut world = World::new(1);
    let nodes = mesh(&mut world, 6);
    let (west, east) = nodes.split_at(3);
    world.part(west, east);
    world.run_for(minutes(2));
    for half in [west, east] {
        assert!(world.every_two(half, World::direct));
        assert!(world.ping(half[0], half[2], ms(100)).is_some());
        assert!(half.iter().all(|&node| world.peers(node) == 2), "the others are gone");
    }
    world.heal();
    assert!(world.run_until(minutes(2), |world| world.every_two(&nodes, World::direct)));
    assert!(world.ping(west[2], east[2], ms(100)).is_some());
}

#[test]
fn a_long_partition_heals_too() {
    let mut world = World::new(2);
    let nodes = mesh(&mut world, 6);
    let (west, east) = nodes.split_at(3);
    world.part(west, east);
    world.run_for(minutes(120));
    world.heal();
    assert!(world.run_until(minutes(6), |world| world.every_two(&nodes, World::direct)));
}

#[test]
fn a_short_break_breaks_nothing() {
    let mut world = World::new(3);
    let nodes = mesh(&mut world, 4);
    for seconds in [1, 2, 5, 8] {
        world.part(&nodes[..2], &nodes[2..]);
        world.run_for(secs(seconds));
        world.heal();
        assert!(world.talks_within(nodes[0], nodes[3], secs(1)).is_some(), "after {seconds} s");
    }
}

#[test]
fn any_random_world_heals_once_its_faults_stop() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        let mut chance = crate::sim::chance::Chance::new(seed);
        let nodes = mesh(&mut world, 5);
        for _ in 0..40 {
            let (a, b) = (nodes[chance.below(5)], nodes[chance.below(5)]);
            match chance.below(6) {
                0 => world.both(a, b, |link| link.loss = 0.7),
                1 => world.link(a, b).up = false,
                2 => world.part(&[a], &nodes),
                3 => world.restart(a, chance.below(2) == 0),
                4 => world.heal(),
                _ => {
                    world.send(a, b, 500, true);
                }
            }
            world.run_for(chance.up_to(secs(30)));
        }
        world.heal();
        let whole = world.run_until(minutes(6), |world| world.every_two(&nodes, World::direct));
        assert!(whole, "seed {seed}");
    }
}

// ---- roaming ----

#[test]
fn who_moves_and_knows_it_is_followed_within_two_seconds() {
    let mut world = World::new(4);
    let nodes = mesh(&mut world, 3);
    world.run_for(secs(30));
    world.move_to(nodes[2], Site::INTERNET, &[public(77)], true);
    for &other in &nodes[..2] {
        assert!(world.talks_within(other, nodes[2], secs(2)).is_some());
    }
}

#[test]
fn who_moves_without_knowing_is_followed_within_ten_seconds() {
    let mut world = World::new(5);
    let nodes = mesh(&mut world, 3);
    world.run_for(secs(30));
    world.move_to(nodes[2], Site::INTERNET, &[public(77)], false);
    for &other in &nodes[..2] {
        assert!(world.talks_within(nodes[2], other, secs(10)).is_some());
        assert!(world.ping(other, nodes[2], ms(100)).is_some());
    }
}

#[test]
fn a_stolen_packet_moves_nobody() {
    // S19: someone on the way sends every packet on under an address of his own, before its receiver knew it. All are
    // authentic; but he cannot answer a challenge. S2: and what is sent to him is no more than he brought.
    let mut world = World::new(7);
    let nodes = mesh(&mut world, 2);
    let (a, b) = (nodes[0], nodes[1]);
    let way = world.way(b, a);
    world.watch(public(66));
    for seconds in [1, 5] {
        world.meddle(|mut datagram| {
            if datagram.from == public(1) {
                datagram.from = public(66);
            }
            vec![datagram]
        });
        for _ in 0..seconds * 10 {
            world.send(a, b, 1000, false);
            world.run_for(ms(100));
        }
        world.leave_alone();
        assert_eq!(world.way(b, a), way);
        assert!(world.talks_within(a, b, secs(1)).is_some());
    }
}

#[test]
fn a_peer_behind_a_changing_name_is_found_where_the_name_points() {
    let mut world = World::new(6);
    world.name("home.example", &[public(1).ip()]);
    let home = world.add(member().at(public(1)));
    let b = world.add(member().at(public(2)).knows_name("home.example"));
    assert!(world.talks_within(b, home, ms(300)).is_some());
    world.run_for(minutes(10));
    // The provider gave a new address overnight, and the node there does not even know where anyone is.
    world.crash(home);
    world.move_to(home, Site::INTERNET, &[public(99)], false);
    world.name("home.example", &[public(99).ip()]);
    world.start(home, true);
    assert!(world.talks_within(b, home, minutes(2)).is_some());
}
