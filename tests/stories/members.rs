//! Who is a member: the network's key changes while all stay in touch, and some are not wanted as peers.

use peervpn::base::ids::NodeRef;

use crate::sim::spec::{NodeSpec, member, public};
use crate::sim::{Id, World};
use crate::{minutes, ms, secs};

const OLD: &str = "the key that some stranger has learned";
const NEW: &str = "the key that nobody else knows";

/// Traffic flows again so soon after the start of a node that knows where to go.
const AGAIN: u64 = 1000;

fn three(world: &mut World, spec: impl Fn() -> NodeSpec) -> [Id; 3] {
    let others = |n: u8| (1..4).filter(move |other| *other != n);
    let [a, b, c] = [1, 2, 3]
        .map(|n| world.add(others(n).fold(spec().at(public(n)), |spec, other| spec.knows(public(other)))));
    assert!(world.talks_within(b, c, secs(5)).is_some() && world.talks_within(a, c, secs(5)).is_some());
    [a, b, c]
}

#[test]
fn the_key_changes_without_an_outage() {
    let mut world = World::new(1);
    let nodes = three(&mut world, || member().psk(OLD));
    let thief = world.add(member().psk(OLD).at(public(4)).knows(public(1)));
    assert!(world.talks_within(thief, nodes[0], secs(5)).is_some());
    // All learn the new one; all put it first; all forget the old one. One after the other, minutes apart.
    for (psk, next) in [(OLD, Some(NEW)), (NEW, Some(OLD)), (NEW, None)] {
        for node in nodes {
            world.reconfigure(node, |spec| {
                spec.psk = psk.into();
                spec.psk_next = next.map(Into::into);
            });
            for other in nodes.into_iter().filter(|other| *other != node) {
                assert!(world.talks_within(node, other, ms(AGAIN)).is_some(), "{psk}: {node} to {other}");
                assert!(world.ping(other, node, ms(AGAIN)).is_some(), "{psk}: {other} to {node}");
            }
            // Keys of sessions change in between.
            world.run_for(minutes(4));
            let [a, b, c] = nodes;
            for (from, to) in [(a, b), (b, c), (c, a)] {
                assert!(world.ping(from, to, ms(500)).is_some(), "{psk}: {from} to {to}");
            }
        }
    }
    // Who was not told is out, and its sessions with it.
    assert_eq!(world.peers(thief), 0);
    world.run_for(minutes(10));
    assert_eq!(world.peers(thief), 0);
    assert!(nodes.iter().all(|node| world.peers(*node) == 2));
}

#[test]
fn who_is_denied_is_no_peer_in_whatever_way_and_others_are() {
    // S10: the lists act on live sessions: a changed configuration is a restart.
    let mut world = World::new(2);
    let [a, b, c] = three(&mut world, || member().relay());
    let unwanted = NodeRef::Short(world.short(c));
    world.reconfigure(b, |spec| spec.deny = vec![unwanted]);
    assert!(world.talks_within(b, a, ms(AGAIN)).is_some());
    // Neither by what others tell, nor by a relay, nor when it comes by itself.
    for _ in 0..20 {
        world.run_for(secs(30));
        assert_eq!((world.peers(a), world.peers(b)), (2, 1));
        assert!(world.ping(c, b, ms(500)).is_none() && world.ping(c, a, ms(500)).is_some());
    }
    world.reconfigure(b, |spec| spec.deny.clear());
    assert!(world.talks_within(b, c, secs(5)).is_some());
}

#[test]
fn with_a_list_of_members_nobody_else_gets_in() {
    // S10
    let mut world = World::new(3);
    let [a, b, c] = three(&mut world, member);
    let wanted = NodeRef::Short(world.short(b));
    world.reconfigure(a, |spec| spec.allow = vec![wanted]);
    assert!(world.talks_within(b, a, secs(15)).is_some());
    world.run_for(minutes(5));
    assert_eq!((world.peers(a), world.peers(b)), (1, 2));
    // A new identity does not help.
    world.restart(c, false);
    world.run_for(minutes(5));
    assert_eq!((world.peers(a), world.peers(b)), (1, 2));
}

#[test]
fn who_is_not_wanted_does_not_learn_who_we_are() {
    // The initiator finds out whom it has met before the third message, which holds its own identity, leaves.
    let mut world = World::new(4);
    let b = world.add(member().at(public(2)));
    let unwanted = NodeRef::Short(world.short(b));
    world.capture();
    let a = world.add(member().at(public(1)).knows(public(2)).deny(&[unwanted]));
    world.run_for(minutes(2));
    assert_eq!((world.peers(a), world.peers(b)), (0, 0));
    let sent = world.captured();
    let count = |kind: u8| sent.iter().filter(|d| d.from == public(1) && d.bytes[0] == kind).count();
    assert!(count(1) > 3 && count(3) == 0, "{} {}", count(1), count(3));
}
