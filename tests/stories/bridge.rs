//! What bridges do: two members on one local network, storms, and what shall not cross.

use peervpn::base::discard::Discard;
use peervpn::base::event::Event;
use peervpn::base::ids::{Mac, NodeRef, ShortId};
use peervpn::base::limits::{FLOOD_BURST, FLOODS_PER_SECOND, LOOP_HOLD};

use crate::sim::spec::{NodeSpec, member, public};
use crate::sim::{Id, World};
use crate::{ms, secs};

const FAR: Mac = Mac([2, 0xff, 0, 0, 0, 1]);

/// A node elsewhere, and two whose TAPs are bridged to one network, first the one that is to flood.
fn two_on_one_network(seed: u64) -> (World, Id, [Id; 2]) {
    bridged(seed, [member(), member(), member()])
}

fn bridged(seed: u64, [far, a, b]: [NodeSpec; 3]) -> (World, Id, [Id; 2]) {
    let mut world = World::new(seed);
    let far = world.add(far.at(public(1)));
    let [a, b] = [a, b].map(|spec| world.add(spec.knows(public(1))));
    assert!(world.run_until(secs(5), |world| world.every_two(&[far, a, b], World::direct)));
    let order = if world.leads(a, b) { [a, b] } else { [b, a] };
    world.bridge(&order);
    (world, far, order)
}

fn told(world: &World, node: Id, floods: bool) -> usize {
    let is = |event: &Event| matches!(event, Event::LoopFound { floods: f, .. } if *f == floods);
    world.events(node).iter().filter(|(_, event)| is(event)).count()
}

/// How often a broadcast from `from` is seen elsewhere: at the TAPs, and on the bridge.
fn copies(world: &mut World, from: Id) -> u32 {
    let frame = world.send_frame(from, Mac::BROADCAST, world.mac(from), 100);
    world.run_for(secs(1));
    world.frame(frame).copies
}

#[test]
fn only_one_of_two_on_one_network_floods() {
    for seed in 0..10 {
        let (mut world, far, [first, second]) = two_on_one_network(seed);
        world.run_for(secs(6));
        assert_eq!((told(&world, first, false), told(&world, second, true)), (1, 1), "both say so");
        // It comes out at one TAP and is heard at the other, and nothing comes back to where it began.
        assert_eq!(copies(&mut world, far), 2);
        // From the bridge it goes out at one of the two: heard at the other TAP, and out at the far one.
        assert_eq!(copies(&mut world, first), 2);
        assert_eq!(copies(&mut world, second), 2);
        assert!(world.tally(second).get(Discard::Looping) >= 3);
        assert_eq!(world.tally(first).get(Discard::Looping), 0);
        assert!(world.ping(far, first, secs(1)).is_some(), "and one station hears the other");
        assert_eq!((told(&world, first, true), told(&world, second, false)), (0, 0));
    }
}

#[test]
fn neighbours_find_each_other_while_the_key_changes() {
    for seed in 0..4 {
        let before = || member().psk("old").psk_next("new");
        let after = member().psk("new").psk_next("old");
        let (mut world, far, [first, second]) = bridged(seed, [before(), before(), after]);
        world.run_for(secs(6));
        assert_eq!((told(&world, first, false), told(&world, second, true)), (1, 1));
        assert_eq!(copies(&mut world, far), 2);
    }
}

#[test]
fn a_loop_is_found_and_its_storm_ends_by_itself() {
    let (mut world, far, [first, second]) = two_on_one_network(3);
    // Round it goes while nobody knows.
    let frame = world.send_frame(far, Mac::BROADCAST, world.mac(far), 100);
    world.run_for(secs(6));
    assert!(world.frame(frame).copies > 10, "there was a loop");
    let before = world.frame(frame).copies;
    world.run_for(secs(10));
    assert_eq!(world.frame(frame).copies, before, "it went on");
    assert!(told(&world, first, false) == 1 && told(&world, second, true) == 1);
}

#[test]
fn who_stands_by_takes_over() {
    let (mut world, far, [first, second]) = two_on_one_network(4);
    world.run_for(secs(6));
    world.crash(first);
    world.run_for(LOOP_HOLD + secs(1));
    assert_eq!(copies(&mut world, second), 2, "it comes out at the far TAP");
    assert!(world.events(second).iter().any(|(_, event)| matches!(event, Event::LoopOver { .. })));
    world.start(first, true);
    world.run_for(secs(8));
    assert_eq!(copies(&mut world, far), 2, "and it gives way again");
    // A goodbye is quicker than silence.
    world.stop(first);
    world.run_for(ms(100));
    assert_eq!(copies(&mut world, second), 2);
}

#[test]
fn networks_that_part_are_both_served_again() {
    let (mut world, far, [first, second]) = two_on_one_network(5);
    world.run_for(secs(6));
    world.bridge(&[]);
    world.run_for(LOOP_HOLD + secs(1));
    assert_eq!(copies(&mut world, far), 2);
    for node in [first, second] {
        assert_eq!(world.events(node).iter().filter(|(_, e)| matches!(e, Event::LoopOver { .. })).count(), 1);
    }
}

#[test]
fn stations_beyond_a_way_that_is_gone_are_looked_for_through_the_tunnel() {
    let (mut world, _, [first, second]) = two_on_one_network(7);
    world.run_for(secs(6));
    // Each hears the other's station on its own network.
    for (from, to) in [(first, second), (second, first)] {
        world.send_frame(from, world.mac(to), world.mac(from), 100);
    }
    world.run_for(secs(1));
    world.bridge(&[]);
    world.run_for(LOOP_HOLD + secs(1));
    for (from, to) in [(first, second), (second, first)] {
        assert!(world.ping(from, to, secs(1)).is_some(), "nobody has spoken to all since");
    }
}

#[test]
fn a_probe_that_is_played_back_gains_a_question_a_second() {
    // S2, S11: whoever is on the network may send again what a member sent there, or invent something.
    let (mut world, _, [first, second]) = two_on_one_network(6);
    world.bridge(&[first, second]);
    world.run_for(secs(6));
    let probe = world.probes().last().expect("they send some").clone();
    world.bridge(&[]);
    world.run_for(LOOP_HOLD + secs(15));
    let found = |world: &World| [first, second].map(|node| world.events(node).len());
    let before = (found(&world), world.sent(first).datagrams + world.sent(second).datagrams);
    for _ in 0..1000 {
        world.strike_tap(first, &probe);
        world.strike_tap(second, &probe);
        let mut forged = probe.clone();
        forged[20] ^= 1;
        world.strike_tap(first, &forged);
        world.run_for(ms(10));
    }
    assert_eq!(found(&world), before.0, "nobody believes it");
    assert!(world.tally(first).get(Discard::Forged) >= 1000);
    let sent = world.sent(first).datagrams + world.sent(second).datagrams - before.1;
    assert!(sent <= 40, "{sent} datagrams in ten seconds");
}

#[test]
fn more_broadcasts_than_are_sound_are_dropped() {
    let mut world = World::new(7);
    let a = world.add(member().at(public(1)));
    let b = world.add(member().knows(public(1)));
    assert!(world.talks_within(a, b, secs(2)).is_some());
    let frames: Vec<_> = (0..10_000)
        .map(|_| {
            world.run_for(ms(1) / 10);
            world.send_frame(a, Mac::BROADCAST, world.mac(a), 100)
        })
        .collect();
    world.run_for(secs(1));
    let came = frames.iter().filter(|&&frame| world.got(b, frame)).count();
    let most = (FLOOD_BURST + FLOODS_PER_SECOND) as usize;
    assert!((most - 10..=most + 10).contains(&came), "{came}");
    let storms = world.events(a).iter().filter(|(_, event)| *event == Event::Storm { from: None }).count();
    assert_eq!(storms, 1);
    assert!(world.ping(a, b, secs(1)).is_some(), "single stations are not concerned");
}

#[test]
fn what_configures_hosts_does_not_cross() {
    // S21.
    let mut offer = vec![0; 60];
    offer[..14].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 0]);
    (offer[14], offer[23]) = (0x45, 17);
    offer[36..38].copy_from_slice(&68u16.to_be_bytes());
    for (here, there) in [(false, false), (true, false), (false, true)] {
        let mut world = World::new(8);
        let spec = |filter| {
            let mut spec = member();
            spec.filter_dhcp = filter;
            spec
        };
        let a = world.add(spec(here).at(public(3)));
        let b = world.add(spec(there).at(public(4)).knows(public(3)));
        assert!(world.run_until(secs(5), |world| world.meet(a, b)));
        world.strike_tap(a, &offer);
        world.run_for(secs(1));
        assert_eq!(world.tally(a).get(Discard::Filtered), u64::from(here));
        assert_eq!(world.tally(b).get(Discard::Filtered), u64::from(there));
        assert_eq!(world.came_out(b, &offer), !here && !there);
        assert!(world.ping(a, b, secs(1)).is_some());
    }
}

#[test]
fn a_pinned_station_speaks_at_its_node_only() {
    // S11.
    let mut world = World::new(9);
    let owner = world.add(member().at(public(1)));
    let name = world.short(owner);
    let pinned = |name: ShortId| {
        let mut spec = member().knows(public(1));
        spec.pins = vec![(NodeRef::Short(name), FAR)];
        spec
    };
    let careful = world.add(pinned(name));
    let thief = world.add(member().knows(public(1)));
    assert!(world.run_until(secs(5), |world| world.every_two(&[owner, careful, thief], World::direct)));
    let stolen = world.send_frame(thief, Mac::BROADCAST, FAR, 100);
    let own = world.send_frame(careful, Mac::BROADCAST, FAR, 100);
    let genuine = world.send_frame(owner, Mac::BROADCAST, FAR, 100);
    world.run_for(secs(1));
    assert!(!world.got(careful, stolen) && world.got(owner, stolen), "who pinned nothing believes all");
    assert!(!world.got(owner, own) && world.got(careful, genuine));
    assert_eq!(world.tally(careful).get(Discard::Pinned), 2);
}
