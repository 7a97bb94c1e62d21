//! Two nodes meet, or had better not.

use peervpn::base::event::Event;
use peervpn::base::ids::HostId;
use peervpn::base::limits::FAILURES;

use crate::sim::link::Link;
use crate::sim::spec::{NodeSpec, member, public};
use crate::sim::traffic::Datagram;
use crate::sim::{Id, World};
use crate::{minutes, ms, secs};

/// The first ping of two nodes that know each other comes back within this time.
const FIRST_PING: u64 = 300;

/// A node that waits, and one that knows it.
fn pair(world: &mut World) -> (Id, Id) {
    let a = world.add(member().at(public(1)));
    let b = world.add(member().at(public(2)).knows(public(1)));
    (a, b)
}

#[test]
fn a_pair_meets_and_pings_at_once() {
    let mut world = World::new(1);
    let (a, b) = pair(&mut world);
    assert!(world.talks_within(b, a, ms(FIRST_PING)).is_some());
    assert!(world.direct(a, b));
    assert_eq!(world.ping(a, b, secs(1)), Some(ms(40)));
}

#[test]
fn a_pair_meets_when_both_start_at_once_and_know_each_other() {
    let mut world = World::new(1);
    let a = world.add(member().at(public(1)).knows(public(2)));
    let b = world.add(member().at(public(2)).knows(public(1)));
    assert!(world.talks_within(a, b, ms(FIRST_PING)).is_some());
    assert!(world.ping(b, a, ms(100)).is_some());
}

#[test]
fn whoever_started_first_both_hold_one_session_in_the_end() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        let mut chance = crate::sim::chance::Chance::new(seed);
        world.net = Link { delay: ms(1), jitter: ms(60), ..Link::default() };
        let a = world.add(member().at(public(1)).knows(public(2)));
        world.run_for(chance.up_to(ms(100)));
        let b = world.add(member().at(public(2)).knows(public(1)));
        assert!(world.talks_within(b, a, ms(500)).is_some(), "seed {seed}");
        world.run_for(secs(10));
        assert!(world.meet(a, b), "seed {seed}");
        assert!(world.ping(a, b, ms(300)).is_some(), "seed {seed}");
        assert!(world.ping(b, a, ms(300)).is_some(), "seed {seed}");
        let downs =
            |node| world.events(node).iter().filter(|(_, e)| matches!(e, Event::PeerDown { .. })).count();
        assert_eq!((downs(a), downs(b)), (0, 0), "seed {seed}");
    }
}

#[test]
fn a_pair_meets_over_ipv6() {
    let mut world = World::new(1);
    let at = "[2001:db8::1]:7000".parse().unwrap();
    let a = world.add(member().at(at));
    let b = world.add(member().at("[2001:db8::2]:7000".parse().unwrap()).knows(at));
    assert!(world.talks_within(b, a, ms(FIRST_PING)).is_some());
}

#[test]
fn an_initial_peer_is_found_by_its_name_whenever_that_appears() {
    let mut world = World::new(1);
    let a = world.add(member().at(public(1)));
    let b = world.add(member().knows_name("vps.example"));
    assert_eq!(world.talks_within(b, a, secs(30)), None);
    world.name("vps.example", &[public(1).ip()]);
    assert!(world.talks_within(b, a, secs(60)).is_some());
}

#[test]
fn a_node_that_is_its_own_initial_peer_finds_out() {
    let mut world = World::new(1);
    let a = world.add(member().at(public(1)).knows(public(1)));
    world.run_for(secs(30));
    let told = world.events(a).iter().filter(|(_, event)| *event == Event::HostIsUs(HostId(0))).count();
    assert!(told >= 1);
    assert_eq!(world.peers(a), 0);
}

/// `wrong` knows the address of a sound node: it gets not one byte from it.
fn meets_silence(wrong: NodeSpec) {
    let mut world = World::new(1);
    let right = world.add(member().at(public(1)));
    let wrong = world.add(wrong.at(public(2)).knows(public(1)));
    assert!(!world.run_until(minutes(2), |world| world.peers(right) + world.peers(wrong) > 0));
    assert!(world.flow(wrong, public(1)).datagrams >= 4, "it tries");
    assert_eq!(world.flow(right, public(2)).datagrams, 0, "and hears nothing");
}

#[test]
fn a_wrong_psk_meets_silence() {
    meets_silence(member().psk("another psk altogether"));
}

#[test]
fn another_network_meets_silence() {
    meets_silence(member().network("elsewhere"));
}

#[test]
fn networks_on_one_internet_do_not_touch() {
    let mut world = World::new(1);
    let home = [member().at(public(1)), member().knows(public(1))].map(|spec| world.add(spec));
    let work = [member().at(public(2)), member().knows(public(2)).knows(public(1))]
        .map(|spec| world.add(spec.network("work")));
    assert!(world.talks_within(home[1], home[0], secs(1)).is_some());
    assert!(world.talks_within(work[1], work[0], secs(1)).is_some());
    world.run_for(minutes(2));
    assert_eq!([home[0], home[1], work[0], work[1]].map(|node| world.peers(node)), [1; 4]);
}

#[test]
fn one_injected_packet_never_kills_a_handshake() {
    // S5a: before every handshake message comes a copy of it with one bit flipped, each byte in turn.
    for at in 0..160 {
        let mut world = World::new(at as u64);
        let (a, b) = pair(&mut world);
        world.meddle(move |datagram| {
            let mut flipped = datagram.clone();
            match flipped.bytes.get_mut(at) {
                Some(byte) if datagram.bytes[0] <= 3 => *byte ^= 1,
                _ => return vec![datagram],
            }
            vec![flipped, datagram]
        });
        assert!(world.talks_within(b, a, ms(FIRST_PING)).is_some(), "byte {at}");
    }
}

#[test]
fn any_number_of_injected_packets_kills_no_handshake() {
    // S5a: before every handshake message come twice as many copies as we would bear from one who has the network's
    // key, each with another bit flipped.
    let mut world = World::new(160);
    let (a, b) = pair(&mut world);
    world.meddle(|datagram| {
        if datagram.bytes[0] > 3 {
            return vec![datagram];
        }
        let flipped = |n: usize| {
            let mut copy = datagram.clone();
            let bit = n * 9 % (8 * copy.bytes.len());
            copy.bytes[bit / 8] ^= 1 << (bit % 8);
            copy
        };
        let copies = 2 * usize::from(FAILURES);
        (0..copies).map(flipped).chain([datagram.clone()]).collect()
    });
    assert!(world.talks_within(b, a, ms(FIRST_PING)).is_some());
}

#[test]
fn a_handshake_survives_that_everything_comes_twice_and_late() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let (a, b) = pair(&mut world);
        // Every packet again, by way of the next one.
        let mut last: Option<Datagram> = None;
        world.meddle(move |datagram| {
            let again = last.replace(datagram.clone());
            [Some(datagram), again].into_iter().flatten().collect()
        });
        assert!(world.talks_within(b, a, ms(FIRST_PING)).is_some(), "seed {seed}");
        assert!(world.ping(a, b, ms(100)).is_some());
    }
}

#[test]
fn what_was_recorded_and_played_again_changes_nothing() {
    // S6: a duplicate is refused however late it comes. S2: and nothing is gained by it.
    let mut world = World::new(1);
    world.capture();
    let (a, b) = pair(&mut world);
    assert!(world.talks_within(b, a, secs(1)).is_some());
    for _ in 0..50 {
        assert!(world.ping(a, b, ms(100)).is_some());
    }
    let record = world.captured();
    let (way_a, way_b) = (world.way(a, b), world.way(b, a));
    for pause in [ms(0), secs(10), minutes(5)] {
        world.run_for(pause);
        for datagram in &record {
            world.inject(public(66), datagram.to, &datagram.bytes);
            world.inject(datagram.from, datagram.to, &datagram.bytes);
        }
        world.run_for(secs(1));
        assert_eq!((world.way(a, b), world.way(b, a)), (way_a, way_b));
        assert!(world.ping(a, b, ms(100)).is_some(), "{pause:?} later");
    }
}
