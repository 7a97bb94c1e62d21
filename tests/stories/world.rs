//! The simulator keeps its own promises.

use crate::sim::World;
use crate::sim::chance::Chance;
use crate::sim::link::{Burst, Link};
use crate::sim::spec::{member, public};
use crate::{ms, secs};

#[test]
fn the_same_seed_gives_the_same_world() {
    let story = |seed| {
        let mut world = World::new(seed);
        let burst = Some(Burst { enter: 0.01, leave: 0.2, loss: 0.8 });
        world.net =
            Link { loss: 0.1, burst, jitter: ms(30), duplicate: 0.1, corrupt: 0.05, ..Link::default() };
        let hub = world.add(member().at(public(1)).relay());
        let nodes: Vec<_> = (0..4).map(|_| world.add(member().knows(public(1)))).collect();
        for &node in &nodes {
            world.send(node, hub, 200, true);
            world.run_for(secs(3));
        }
        world.restart(hub, true);
        world.run_for(secs(30));
        world.trace()
    };
    assert_eq!(story(1), story(1));
    assert_ne!(story(1), story(2));
}

#[test]
fn time_passes_as_told() {
    let mut world = World::new(1);
    world.run_for(secs(5));
    assert!(!world.run_until(secs(5), |_| false));
    assert_eq!(world.now().as_micros(), 10_000_000);
    assert!(world.run_until(secs(5), |world| world.now().as_micros() == 10_000_000));
}

#[test]
fn what_is_injected_arrives_after_the_link_s_delay() {
    let mut world = World::new(1);
    world.watch(public(9));
    world.inject(public(8), public(9), b"knock");
    world.run_for(ms(19));
    assert!(world.overheard().is_empty());
    world.run_for(ms(1));
    let (at, datagram) = &world.overheard()[0];
    assert_eq!((at.as_micros(), &datagram.bytes[..]), (20_000, &b"knock"[..]));
}

#[test]
fn whoever_throws_random_bytes_at_a_node_hears_nothing() {
    // S2: what is not understood is not answered.
    let mut world = World::new(1);
    let mut chance = Chance::new(2);
    let node = world.add(member().at(public(1)));
    world.watch(public(9));
    for _ in 0..1000 {
        let mut bytes = vec![0; chance.below(2000)];
        chance.fill(&mut bytes);
        world.inject(public(9), public(1), &bytes);
        world.run_for(ms(10));
    }
    assert_eq!(world.flow(node, public(9)).datagrams, 0);
    assert!(world.overheard().is_empty());
}
