//! Nodes end, with a goodbye or without, and come again, as themselves or as someone new.

use crate::sim::spec::{NodeSpec, member, public};
use crate::sim::{Id, World};
use crate::{minutes, ms, secs};

/// Traffic flows again so soon after the start of a node that knows where to go, in milliseconds.
const AGAIN: u64 = 1000;
/// And so soon after the crash and return of one that knows nobody, in seconds: its peers notice first.
const NOTICED: u64 = 15;

fn pair(world: &mut World) -> (Id, Id) {
    let a = world.add(member().at(public(1)));
    let b = world.add(member().at(public(2)).knows(public(1)));
    assert!(world.talks_within(b, a, ms(300)).is_some());
    world.run_for(secs(60));
    (a, b)
}

#[test]
fn a_node_that_said_goodbye_is_gone_at_once_and_back_at_once() {
    for keep_identity in [true, false] {
        let mut world = World::new(1);
        let (a, b) = pair(&mut world);
        world.stop(b);
        assert!(world.run_until(ms(100), |world| world.way(a, b).is_none() && world.peers(a) == 0));
        world.run_for(secs(2));
        world.start(b, keep_identity);
        assert!(world.talks_within(b, a, ms(AGAIN)).is_some(), "identity kept: {keep_identity}");
        assert!(world.ping(a, b, ms(100)).is_some());
    }
}

#[test]
fn a_node_that_crashed_is_back_at_once_too() {
    for keep_identity in [true, false] {
        let mut world = World::new(2);
        let (a, b) = pair(&mut world);
        world.restart(b, keep_identity);
        assert!(world.talks_within(b, a, ms(AGAIN)).is_some(), "identity kept: {keep_identity}");
        assert!(world.ping(a, b, ms(100)).is_some());
        // And nobody is left of the life before.
        world.run_for(minutes(3));
        assert_eq!(world.peers(a), 1);
    }
}

#[test]
fn a_waiting_node_that_crashed_is_found_by_its_peers() {
    for keep_identity in [true, false] {
        let mut world = World::new(3);
        let (a, b) = pair(&mut world);
        world.restart(a, keep_identity);
        assert!(world.talks_within(b, a, secs(NOTICED)).is_some(), "identity kept: {keep_identity}");
    }
}

#[test]
fn a_waiting_node_that_said_goodbye_is_found_by_its_peers() {
    let mut world = World::new(4);
    let (a, b) = pair(&mut world);
    world.stop(a);
    world.run_for(secs(2));
    world.start(a, true);
    assert!(world.talks_within(b, a, secs(NOTICED)).is_some());
}

#[test]
fn an_initial_peer_may_be_away_for_hours() {
    let mut world = World::new(5);
    let (a, b) = pair(&mut world);
    world.crash(a);
    world.run_for(minutes(180));
    assert_eq!(world.peers(b), 0);
    world.start(a, true);
    assert!(world.talks_within(b, a, minutes(6)).is_some());
}

#[test]
fn a_node_that_restarts_over_and_over_is_one_peer() {
    let mut world = World::new(6);
    let (a, b) = pair(&mut world);
    for round in 0..300 {
        world.restart(b, true);
        assert!(world.talks_within(b, a, secs(5)).is_some(), "round {round}");
        assert_eq!(world.peers(a), 1);
    }
}

#[test]
fn many_lives_without_an_identity_do_not_fill_the_table() {
    let mut world = World::new(7);
    let (a, b) = pair(&mut world);
    for round in 0..400 {
        world.restart(b, false);
        assert!(world.talks_within(b, a, secs(10)).is_some(), "round {round}");
    }
    world.run_for(minutes(5));
    assert_eq!(world.peers(a), 1);
}

#[test]
fn two_with_one_identity_do_not_break_the_third() {
    // A disk image was copied: the two take the session from each other, and nothing worse.
    let mut world = World::new(8);
    let (a, b) = pair(&mut world);
    let twin = world.add_twin(member().at(public(3)).knows(public(1)), b);
    let other = world.add(member().at(public(4)).knows(public(1)));
    world.run_for(minutes(5));
    assert!(world.ping(a, other, ms(100)).is_some());
    world.crash(twin);
    assert!(world.talks_within(b, a, minutes(1)).is_some());
}

/// Two nodes, at home on the Internet, that met by way of a third, which is no more.
fn without_the_one_all_start_from(world: &mut World, first: NodeSpec) -> (Id, Id) {
    let hub = world.add(member().at(public(1)));
    let a = world.add(first.at(public(2)).knows(public(1)));
    let b = world.add(member().at(public(3)).knows(public(1)));
    assert!(world.talks_within(a, b, secs(10)).is_some());
    world.run_for(minutes(2));
    world.crash(hub);
    (a, b)
}

#[test]
fn who_remembers_finds_the_mesh_when_no_initial_peer_is_there() {
    for keep_identity in [true, false] {
        let mut world = World::new(21);
        let (a, b) = without_the_one_all_start_from(&mut world, member().remembering());
        world.stop(a);
        world.run_for(minutes(15));
        world.start(a, keep_identity);
        assert!(world.talks_within(a, b, secs(5)).is_some(), "identity kept: {keep_identity}");
    }
}

#[test]
fn who_remembers_does_not_need_to_have_the_others_as_they_were() {
    // Whoever is there is a member, or no handshake succeeds.
    let mut world = World::new(22);
    let (a, b) = without_the_one_all_start_from(&mut world, member().remembering());
    world.stop(a);
    world.restart(b, false);
    world.run_for(minutes(15));
    world.start(a, true);
    assert!(world.talks_within(a, b, secs(10)).is_some());
}

#[test]
fn who_does_not_remember_waits_for_an_initial_peer() {
    let mut world = World::new(23);
    let (a, b) = without_the_one_all_start_from(&mut world, member());
    world.stop(a);
    // As long as the other does not look for it.
    world.run_for(minutes(15));
    world.start(a, true);
    assert!(world.talks_within(a, b, minutes(10)).is_none());
}

#[test]
fn who_remembers_tries_again_when_the_others_come_later_than_it() {
    let mut world = World::new(24);
    let (a, b) = without_the_one_all_start_from(&mut world, member().remembering());
    world.stop(a);
    world.crash(b);
    world.run_for(minutes(15));
    world.start(a, true);
    world.run_for(minutes(60));
    world.start(b, true);
    assert!(world.talks_within(a, b, secs(40)).is_some());
}
