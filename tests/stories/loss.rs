//! Bad links: they meet, they stay, and nothing comes out twice or changed.

use peervpn::base::event::Event;

use crate::sim::link::{Burst, Link};
use crate::sim::spec::{member, public};
use crate::sim::{Id, World};
use crate::{minutes, ms, secs};

/// Nodes that know each other meet within this time over a link that loses half of all, in seconds.
const HALF: u64 = 60;

fn pair(world: &mut World) -> (Id, Id) {
    let a = world.add(member().at(public(1)).knows(public(2)));
    let b = world.add(member().at(public(2)).knows(public(1)));
    (a, b)
}

fn downs(world: &World, node: Id) -> usize {
    world.events(node).iter().filter(|(_, event)| matches!(event, Event::PeerDown { .. })).count()
}

#[test]
fn with_half_of_all_packets_lost_a_pair_meets_and_stays() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        world.net.loss = 0.5;
        let (a, b) = pair(&mut world);
        assert!(world.run_until(secs(HALF), |world| world.meet(a, b)), "seed {seed}");
        let mut arrived = 0;
        for _ in 0..600 {
            let frame = world.send(a, b, 100, true);
            world.run_for(secs(1));
            arrived += u32::from(world.got(b, frame));
        }
        assert!((240..360).contains(&arrived), "{arrived} of 600, seed {seed}");
        assert_eq!((downs(&world, a), downs(&world, b)), (0, 0), "seed {seed}");
    }
}

#[test]
fn an_idle_pair_stays_over_a_bad_link() {
    let mut world = World::new(1);
    let (a, b) = pair(&mut world);
    assert!(world.run_until(secs(1), |world| world.meet(a, b)));
    world.net.burst = Some(Burst { enter: 0.05, leave: 0.2, loss: 0.9 });
    world.net.loss = 0.05;
    world.run_for(minutes(180));
    assert!(world.talks_within(a, b, secs(15)).is_some());
}

#[test]
fn disorder_changes_nothing() {
    let mut world = World::new(2);
    world.net = Link { jitter: ms(200), reorder: 0.3, duplicate: 0.3, ..Link::default() };
    let (a, b) = pair(&mut world);
    assert!(world.talks_within(a, b, secs(3)).is_some());
    // S6: no duplicate passes (the invariants look), nothing is taken for one.
    let frames: Vec<_> = (0..3000)
        .map(|_| {
            world.run_for(ms(1));
            world.send(a, b, 300, false)
        })
        .collect();
    world.run_for(secs(2));
    assert!(frames.iter().all(|&frame| world.got(b, frame)));
}

#[test]
fn damage_is_never_delivered() {
    for seed in 0..5 {
        let mut world = World::new(seed);
        world.net = Link { corrupt: 0.3, truncate: 0.1, ..Link::default() };
        let (a, b) = pair(&mut world);
        assert!(world.talks_within(a, b, secs(HALF)).is_some(), "seed {seed}");
        for _ in 0..2000 {
            world.send(a, b, 1400, true);
            world.run_for(ms(10));
        }
        assert!(world.frames().filter(|sent| sent.delivered.contains_key(&b)).count() > 1000);
    }
}

#[test]
fn a_link_that_became_one_way_is_no_link_and_heals() {
    let mut world = World::new(3);
    let (a, b) = pair(&mut world);
    assert!(world.talks_within(a, b, secs(1)).is_some());
    world.link(a, b).up = false;
    assert_eq!(world.talks_within(a, b, minutes(2)), None);
    world.heal();
    assert!(world.talks_within(a, b, minutes(2)).is_some(), "pauses grow no longer than the fault lasted");
}

#[test]
fn a_slow_link_is_a_link() {
    // A satellite and a modem: 800 ms each way, no packet over 600 bytes.
    let mut world = World::new(4);
    world.net = Link { delay: ms(800), mtu: 600, ..Link::default() };
    let (a, b) = pair(&mut world);
    assert!(world.talks_within(a, b, secs(10)).is_some());
    for _ in 0..300 {
        assert!(world.ping(a, b, ms(1700)).is_some());
    }
}

#[test]
fn a_node_that_slept_for_a_day_comes_back() {
    // S7: all clocks of this world jump; nobody was called meanwhile because nobody could be.
    let mut world = World::new(5);
    let (a, b) = pair(&mut world);
    assert!(world.talks_within(a, b, secs(1)).is_some());
    world.both(a, b, |link| link.up = false);
    world.run_for(minutes(24 * 60));
    world.heal();
    assert!(world.talks_within(a, b, minutes(6)).is_some());
}
