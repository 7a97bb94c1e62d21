//! Members on one local network find each other by their beacons, with or without a way to the world.

use std::net::{IpAddr, SocketAddr};

use peervpn::base::discard::Discard;
use peervpn::base::event::{Event, Way};
use peervpn::base::settings::LanDiscovery;

use crate::sim::nat::NatSpec;
use crate::sim::spec::{NodeSpec, member, public};
use crate::sim::{Id, Site, World};
use crate::{minutes, ms, secs};

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A home behind a NAT that does not reflect.
fn home(world: &mut World) -> Site {
    let outside: IpAddr = public(9).ip();
    world.site(Site::INTERNET, NatSpec::home(outside))
}

fn neighbour(n: u8, home: Site) -> NodeSpec {
    member().behind(home, SocketAddr::from(([192, 168, 1, n], 7000)))
}

#[test]
fn two_behind_one_nat_without_hairpin_find_each_other() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let home = home(&mut world);
        let [a, b] = [1, 2].map(|n| world.add(neighbour(n, home)));
        assert!(world.talks_within(a, b, secs(2)).is_some(), "seed {seed}");
        assert_eq!(world.way(a, b), Some(Way::Direct(at("192.168.1.2:7000"))));
        world.run_for(minutes(10));
        let ups =
            |node: Id| world.events(node).iter().filter(|(_, e)| matches!(e, Event::PeerUp { .. })).count();
        assert_eq!((ups(a), ups(b)), (1, 1), "who is known is left in peace");
        assert_eq!(world.way(b, a), Some(Way::Direct(at("192.168.1.1:7000"))));
    }
}

#[test]
fn one_who_comes_later_over_ipv6_alone_is_found() {
    let mut world = World::new(1);
    let home = home(&mut world);
    let [a, b] = [1, 2].map(|n| at(&format!("[fe80::{n}]:700{n}"))).map(|own| member().behind(home, own));
    let a = world.add(a);
    world.run_for(secs(90));
    let b = world.add(b);
    assert!(world.talks_within(b, a, secs(2)).is_some());
    assert_eq!(world.way(a, b), Some(Way::Direct(at("[fe80::2]:7002"))));
}

#[test]
fn link_local_addresses_are_told_to_nobody() {
    let mut world = World::new(1);
    let home = home(&mut world);
    let vps = world.add(member().at(public(1)));
    let spec = |n: u8| neighbour(n, home).at(at(&format!("[fe80::{n}]:7000"))).knows(public(1));
    let [a, b] = [1, 2].map(|n| world.add(spec(n)));
    assert!(world.run_until(minutes(2), |world| world.every_two(&[vps, a, b], World::meet)));
    world.run_for(minutes(3));
    for to in world.written_to(vps) {
        assert!(to.is_ipv4(), "it was told {to}");
    }
    assert!(world.way(a, b).is_some_and(|way| matches!(way, Way::Direct(_))));
}

#[test]
fn other_networks_and_who_does_not_want_it_stay_apart() {
    let mut world = World::new(1);
    let home = home(&mut world);
    let a = world.add(neighbour(1, home));
    let stranger = world.add(neighbour(2, home).psk("another psk altogether"));
    let mut quiet = neighbour(3, home);
    quiet.lan_discovery = LanDiscovery::No;
    let quiet = world.add(quiet);
    world.run_for(minutes(5));
    assert_eq!([a, stranger, quiet].map(|node| world.peers(node)), [0; 3]);
    assert!(world.tally(a).get(Discard::Forged) >= 4);
    assert_eq!(world.flow(a, at("192.168.1.2:7000")).datagrams, 0, "it is not even knocked at");
    assert_eq!(world.flow(a, at("192.168.1.3:7000")).datagrams, 0);
}

#[test]
fn who_sends_a_recorded_beacon_again_gains_one_first_message_a_minute() {
    // S2: an attacker on the link plays back, as fast as he likes, what a member sent that is not there any more.
    let mut world = World::new(1);
    let home = home(&mut world);
    let away = world.add(neighbour(2, home));
    let beacon = world.beacon(away, at("192.168.1.2:7000").ip()).expect("it sends some");
    world.crash(away);
    let a = world.add(neighbour(1, home));
    for _ in 0..10 * 60 {
        world.hear_beacon(home, at("192.168.1.2:17000"), &beacon);
        world.hear_beacon(home, at("192.168.1.3:17000"), &beacon);
        world.run_for(ms(500));
    }
    let sent = world.flow(a, at("192.168.1.2:7000")).datagrams;
    assert!((1..=6).contains(&sent), "{sent} in five minutes");
    assert_eq!(world.flow(a, at("192.168.1.3:7000")).datagrams, 0, "S11: it points at nobody else");
}

#[test]
fn a_neighbour_that_moved_within_the_network_is_found_at_once() {
    let mut world = World::new(1);
    let home = home(&mut world);
    let [a, b] = [1, 2].map(|n| world.add(neighbour(n, home)));
    assert!(world.talks_within(a, b, secs(2)).is_some());
    world.move_to(b, home, &[at("192.168.1.77:7000")], true);
    assert!(world.talks_within(a, b, secs(3)).is_some());
}

#[test]
fn two_ways_on_a_busy_wireless_network_do_not_change_places_all_the_time() {
    // Round trips of 2 to 32 ms by either of two addresses: what one of them took once says little.
    let mut changes = 0;
    for seed in 0..10 {
        let mut world = World::new(seed);
        let home = home(&mut world);
        let spec = |n: u8| neighbour(n, home).at(at(&format!("[fe80::{n}]:7000")));
        let [a, b] = [1, 2].map(|n| world.add(spec(n)));
        world.both(a, b, |link| (link.delay, link.jitter) = (ms(1), ms(15)));
        assert!(world.talks_within(a, b, secs(5)).is_some(), "seed {seed}");
        let mut way = world.way(a, b);
        for _ in 0..30 * 60 {
            world.ping(a, b, ms(100));
            world.run_for(ms(900));
            let now = world.way(a, b);
            changes += usize::from(now != way);
            way = now;
        }
    }
    assert!(changes <= 25, "{changes} changes in five hours");
}
