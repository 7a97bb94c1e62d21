//! Two nodes that cannot reach each other talk through a third, and without it as soon as they can.
//!
//! ```text
//!   a --- NAT --- Internet --- NAT --- b
//!                  |    |
//!               relay  second
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use peervpn::base::discard::Discard;
use peervpn::base::event::{Event, Parting};
use peervpn::base::ids::Mac;

use crate::sim::nat::{Dependence, NatSpec, Ports};
use crate::sim::spec::{NodeSpec, member, public};
use crate::sim::{Id, Site, World};
use crate::{minutes, ms, secs};

/// Traffic through a relay flows so soon after both ends are up, in seconds.
const THROUGH: u64 = 2;
/// The loss of a relay costs at most this, in seconds.
const RELAY_LOST: u64 = 15;
/// A way that opens is found within this time, in minutes: the longest pause between two tries.
const FOUND: u64 = 6;

fn external(n: u8) -> IpAddr {
    Ipv4Addr::new(198, 18, 1, n).into()
}

fn inside() -> SocketAddr {
    (Ipv4Addr::new(192, 168, 1, 2), 7000).into()
}

/// A node behind a NAT of its own.
fn behind(world: &mut World, nat: NatSpec, spec: NodeSpec) -> (Id, Site) {
    let site = world.site(Site::INTERNET, nat);
    (world.add(spec.behind(site, inside())), site)
}

/// Two behind NATs that know the address of the relay.
fn apart(world: &mut World) -> (Id, Id, [Site; 2]) {
    let spec = member().knows(public(1));
    let (a, site_a) = behind(world, NatSpec::symmetric(external(1)), spec.clone());
    let (b, site_b) = behind(world, NatSpec::symmetric(external(2)), spec);
    (a, b, [site_a, site_b])
}

#[test]
fn two_behind_symmetric_nats_talk_through_a_relay_from_the_first_moment() {
    let mut world = World::new(1);
    let relay = world.add(member().at(public(1)).relay());
    let (a, b, _) = apart(&mut world);
    assert!(world.talks_within(a, b, secs(THROUGH)).is_some());
    assert!(world.relayed(a, b) && world.direct(a, relay) && world.direct(b, relay));
    assert_eq!(world.ping(a, b, secs(1)), Some(ms(80)));
    // And it stays so: across rekeys of all three sessions, with frames of every length.
    for n in 0..600 {
        world.run_for(secs(1));
        let frame = world.send(a, b, 60 + n * 2, false);
        world.run_for(ms(100));
        assert!(world.got(b, frame), "after {n} seconds");
    }
    assert!(world.rekeys(a, b) >= 3);
}

#[test]
fn a_relay_without_a_tap_is_as_good() {
    let mut world = World::new(2);
    world.add(member().at(public(1)).relay().without_tap());
    let (a, b, _) = apart(&mut world);
    assert!(world.talks_within(a, b, secs(THROUGH)).is_some());
}

#[test]
fn a_broadcast_reaches_those_behind_a_relay_once() {
    let mut world = World::new(3);
    let relay = world.add(member().at(public(1)).relay());
    let (a, b, _) = apart(&mut world);
    assert!(world.talks_within(a, b, secs(THROUGH)).is_some());
    let frame = world.send_frame(a, Mac::BROADCAST, world.mac(a), 100);
    world.run_for(ms(100));
    assert_eq!(world.frame(frame).delivered.keys().collect::<Vec<_>>(), [&relay, &b]);
}

#[test]
fn when_a_relay_dies_another_takes_its_place() {
    let mut world = World::new(4);
    let relay = world.add(member().at(public(1)).relay());
    let second = world.add(member().at(public(2)).relay().knows(public(1)));
    let (a, b, _) = apart(&mut world);
    assert!(world.talks_within(a, b, secs(THROUGH)).is_some());
    world.run_for(secs(30));
    world.crash(relay);
    assert!(world.talks_within(a, b, secs(RELAY_LOST)).is_some());
    world.run_for(minutes(2));
    assert!(world.ping(a, b, ms(200)).is_some());
    assert!(world.direct(a, second) && world.direct(b, second));
}

#[test]
fn when_the_only_relay_restarts_they_talk_again() {
    let mut world = World::new(5);
    let relay = world.add(member().at(public(1)).relay());
    let (a, b, _) = apart(&mut world);
    assert!(world.talks_within(a, b, secs(THROUGH)).is_some());
    world.restart(relay, true);
    assert!(world.talks_within(a, b, secs(RELAY_LOST)).is_some());
}

#[test]
fn when_a_nat_opens_the_way_becomes_direct_and_nothing_is_lost() {
    let mut world = World::new(6);
    world.add(member().at(public(1)).relay());
    let (a, b, sites) = apart(&mut world);
    assert!(world.talks_within(a, b, secs(THROUGH)).is_some());
    world.run_for(minutes(1));
    assert!(world.relayed(a, b));
    world.nat(sites[1]).spec = NatSpec::open(external(2));
    world.nat(sites[1]).forget();
    // The new mapping cost them at most a moment; from there on every frame arrives.
    world.run_for(secs(RELAY_LOST));
    let mut frames = Vec::new();
    for _ in 0..FOUND * 60 * 2 {
        frames.push(world.send(a, b, 200, false));
        world.run_for(ms(500));
    }
    assert!(world.direct(a, b));
    world.run_for(secs(1));
    let missing = frames.iter().filter(|&&frame| !world.got(b, frame)).count();
    assert_eq!(missing, 0, "of {}", frames.len());
}

#[test]
fn when_the_direct_way_breaks_a_relay_takes_over() {
    let mut world = World::new(7);
    world.add(member().at(public(1)).relay());
    let [a, b] = [2, 3].map(|n| world.add(member().at(public(n)).knows(public(1))));
    assert!(world.run_until(secs(15), |world| world.direct(a, b)));
    world.part(&[a], &[b]);
    assert!(world.talks_within(a, b, secs(RELAY_LOST)).is_some());
    world.run_for(minutes(1));
    assert!(world.relayed(a, b) && world.ping(a, b, ms(200)).is_some());
    world.heal();
    assert!(world.run_until(minutes(FOUND), |world| world.direct(a, b)));
    assert!(world.ping(a, b, ms(100)).is_some());
}

#[test]
fn who_wants_no_relay_gets_none() {
    let mut world = World::new(8);
    let relay = world.add(member().at(public(1)).relay());
    let spec = member().knows(public(1));
    let (a, _) = behind(&mut world, NatSpec::symmetric(external(1)), spec.clone().without_relays());
    let (b, _) = behind(&mut world, NatSpec::symmetric(external(2)), spec);
    assert_eq!(world.talks_within(a, b, minutes(1)), None);
    assert!(!world.meet(a, b) && world.direct(a, relay) && world.direct(b, relay));
}

#[test]
fn who_offers_no_relay_is_none() {
    let mut world = World::new(9);
    let vps = world.add(member().at(public(1)));
    let (a, b, _) = apart(&mut world);
    assert_eq!(world.talks_within(a, b, minutes(1)), None);
    assert!(world.direct(a, vps) && world.direct(b, vps));
}

#[test]
fn every_kind_of_nat_meets_every_other() {
    // Direct where punching helps, relayed where nothing does, talking in any case.
    use Dependence::{Address, AddressAndPort, Endpoint};
    let mut kinds = Vec::new();
    for mapping in [Endpoint, AddressAndPort] {
        for filtering in [Endpoint, Address, AddressAndPort] {
            kinds.push((mapping, filtering));
        }
    }
    for (n, &first) in kinds.iter().enumerate() {
        for &second in &kinds[n..] {
            let mut world = World::new(n as u64);
            world.add(member().at(public(1)).relay());
            let nat = |(mapping, filtering), n| NatSpec {
                mapping,
                filtering,
                ports: if mapping == Endpoint { Ports::Preserved } else { Ports::Random },
                ..NatSpec::home(external(n))
            };
            let spec = member().knows(public(1));
            let (a, _) = behind(&mut world, nat(first, 1), spec.clone());
            let (b, _) = behind(&mut world, nat(second, 2), spec);
            let case = format!("{first:?} and {second:?}");
            assert!(world.talks_within(a, b, secs(THROUGH)).is_some(), "{case}");
            world.run_for(minutes(1));
            assert_eq!(world.direct(a, b), world.direct_path_possible(a, b), "{case}");
            assert!(world.meet(a, b), "{case}");
            assert!(world.ping(a, b, ms(200)).is_some(), "{case}");
        }
    }
}

#[test]
fn two_nats_in_a_row_are_as_good_as_one() {
    let mut world = World::new(10);
    let vps = world.add(member().at(public(1)));
    let provider = world.site(Site::INTERNET, NatSpec::symmetric(external(1)));
    let home = world.site(provider, NatSpec::home(Ipv4Addr::new(100, 64, 0, 2).into()));
    let a = world.add(member().behind(home, inside()).knows(public(1)));
    assert!(world.talks_within(a, vps, ms(300)).is_some());
    // The mappings last as long as the session, without a frame.
    world.run_for(minutes(10));
    assert!(world.ping(vps, a, ms(100)).is_some());
}

#[test]
fn a_mapping_that_changes_in_mid_session_is_followed() {
    let mut world = World::new(11);
    let vps = world.add(member().at(public(1)));
    let (a, site) = behind(&mut world, NatSpec::symmetric(external(1)), member().knows(public(1)));
    assert!(world.talks_within(a, vps, secs(1)).is_some());
    world.nat(site).forget();
    assert!(world.talks_within(a, vps, secs(10)).is_some());
    assert!(world.ping(vps, a, ms(100)).is_some());
}

#[test]
fn a_goodbye_passes_the_relay_before_the_relay_gets_its_own() {
    let mut world = World::new(12);
    let relay = world.add(member().at(public(1)).relay());
    let (a, b, _) = apart(&mut world);
    assert!(world.talks_within(a, b, secs(THROUGH)).is_some());
    world.stop(b);
    world.run_for(ms(200));
    let goodbye = |(_, event): &(_, Event)| matches!(event, Event::PeerDown { why: Parting::Goodbye, .. });
    for node in [a, relay] {
        assert!(world.events(node).iter().any(goodbye), "{node}: {:?}", world.events(node));
    }
}

#[test]
fn a_relay_that_refuses_is_not_asked_at_the_speed_of_the_network() {
    // S12: news are rationed, so after some comings and goings of b its last going takes a while to get about.
    let mut world = World::new(13);
    let relay = world.add(member().at(public(1)).relay());
    let (a, b, _) = apart(&mut world);
    for _ in 0..6 {
        assert!(world.talks_within(a, b, secs(15)).is_some());
        world.stop(b);
        world.run_for(ms(700));
        world.start(b, true);
    }
    world.stop(b);
    world.run_for(secs(20));
    let refused = world.tally(relay).get(Discard::Refused);
    assert!((1..40).contains(&refused), "{refused} requests");
}

#[test]
fn whoever_calls_through_the_relay_first_the_way_becomes_direct() {
    // Only a can reach b directly, and b may be the one that hears of the other first.
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.add(member().at(public(1)).relay());
        let spec = member().knows(public(1));
        let (a, _) = behind(&mut world, NatSpec::symmetric(external(1)), spec.clone());
        let b = world.add(spec.at(public(2)));
        assert!(world.run_until(secs(15), |world| world.direct(a, b)), "seed {seed}");
    }
}

#[test]
fn two_behind_symmetric_nats_stay_in_touch_whatever_chance_does() {
    // Each hears the other from an address where it cannot answer: the relayed way must outlast every try at a direct one.
    use Dependence::{AddressAndPort, Endpoint};
    for seed in 0..100 {
        let mut world = World::new(seed);
        world.add(member().at(public(1)).relay());
        let nat = |n| NatSpec {
            mapping: AddressAndPort,
            filtering: Endpoint,
            ports: Ports::Random,
            ..NatSpec::home(external(n))
        };
        let spec = member().knows(public(1));
        let (a, _) = behind(&mut world, nat(1), spec.clone());
        let (b, _) = behind(&mut world, nat(2), spec);
        assert!(world.talks_within(a, b, secs(THROUGH)).is_some(), "seed {seed}");
        world.run_for(minutes(1));
        assert!(world.ping(a, b, ms(200)).is_some(), "seed {seed}");
    }
}
