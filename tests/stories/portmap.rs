//! A NAT that is asked lets everybody in: nodes that could not meet otherwise are direct, whatever the gateway forgets or
//! changes meanwhile.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use peervpn::base::event::{Event, MapState, Refusal, Way};

use crate::sim::gateway::Gateway;
use crate::sim::nat::NatSpec;
use crate::sim::spec::{NodeSpec, member, public};
use crate::sim::{Id, Site, World};
use crate::{minutes, ms, secs};

fn outside(n: u8) -> IpAddr {
    public(n).ip()
}

fn inner_gateway(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, n, 1)
}

/// A site behind a NAT that cannot be punched, and who lives there.
fn home(world: &mut World, n: u8) -> (Site, NodeSpec) {
    let site = world.site(Site::INTERNET, NatSpec::symmetric(outside(n)));
    (site, member().behind(site, ([192, 168, n, 2], 7000).into()).knows(public(1)))
}

/// Two nodes behind such NATs, of which the first maps ports as `like`; the site, and the nodes.
fn two_homes(seed: u64, like: impl FnOnce(&mut Gateway)) -> (World, Site, [Id; 2]) {
    let mut world = World::new(seed);
    world.add(member().at(public(1)).relay());
    let (site, spec) = home(&mut world, 11);
    let mut gateway = Gateway::new(inner_gateway(11), world.now());
    like(&mut gateway);
    world.nat(site).gateway = Some(gateway);
    let a = world.add(spec);
    let (_, spec) = home(&mut world, 12);
    let b = world.add(spec);
    (world, site, [a, b])
}

fn granted(world: &World, node: Id) -> Option<SocketAddr> {
    match world.mapping_of(node)?.state {
        MapState::Granted { at, .. } => Some(at),
        _ => None,
    }
}

fn by_nat_pmp(gateway: &mut Gateway) {
    (gateway.pcp, gateway.nat_pmp) = (false, true);
}

#[test]
fn nodes_that_cannot_be_punched_are_direct_by_one_gateway() {
    for seed in 0..20 {
        let like: fn(&mut Gateway) = if seed % 2 == 0 { |_| () } else { by_nat_pmp };
        let (mut world, _, [a, b]) = two_homes(seed, like);
        assert!(!world.direct_path_possible(a, b), "their NATs alone do not let them");
        assert!(world.run_until(secs(20), |world| world.direct(a, b)), "{seed}: {:?}", world.way(a, b));
        assert_eq!(granted(&world, a), Some(public(11)));
        assert_eq!(world.mapping_of(b), None, "there is nobody to ask");
        assert!(world.talks_within(a, b, secs(1)).is_some());
    }
}

#[test]
fn a_gateway_that_is_switched_on_later_helps_when_the_network_is_looked_at_again() {
    let (mut world, site, [a, b]) = two_homes(1, |gateway| gateway.pcp = false);
    assert!(world.run_until(secs(10), |world| world.relayed(a, b)));
    world.run_for(minutes(10));
    assert_eq!(world.mapping_of(a).map(|mapping| mapping.state), Some(MapState::Silent));
    let asked = world.gateway(site).asked;
    assert!(asked <= 12, "{asked} questions to nobody");
    world.gateway(site).pcp = true;
    world.network_changed(a);
    assert!(world.run_until(secs(10), |world| world.direct(a, b)), "{:?}", world.way(a, b));
}

#[test]
fn a_gateway_that_lost_its_mappings_is_asked_again() {
    let likes: [fn(&mut Gateway); 2] = [|_| (), by_nat_pmp];
    for like in likes {
        let (mut world, site, [a, b]) = two_homes(2, like);
        assert!(world.run_until(secs(20), |world| world.direct(a, b)));
        world.run_for(minutes(7));
        let now = world.now();
        world.gateway(site).restart(now);
        world.nat(site).forget();
        assert_eq!(world.gateway(site).open(now), 0);
        assert!(world.run_until(minutes(14), |world| world.direct(a, b) && granted(world, a).is_some()));
        world.run_for(minutes(14));
        let now = world.now();
        assert_eq!(world.gateway(site).open(now), 1);
        assert!(world.run_until(minutes(5), |world| world.direct(a, b)), "{:?}", world.way(a, b));
    }
}

#[test]
fn a_new_outer_address_is_told_on_after_the_renewal() {
    let (mut world, site, [a, b]) = two_homes(3, |_| ());
    assert!(world.run_until(secs(20), |world| world.direct(a, b)));
    world.readdress(site, outside(77));
    assert!(world.run_until(minutes(15), |world| granted(world, a) == Some(public(77))));
    assert!(world.run_until(minutes(5), |world| world.direct(a, b)), "{:?}", world.way(a, b));
}

#[test]
fn what_is_granted_is_renewed_in_time_and_given_back_at_the_end() {
    let (mut world, site, [a, _]) = two_homes(4, |gateway| gateway.most = 300);
    world.run_for(secs(1));
    for _ in 0..120 {
        world.run_for(secs(60));
        let now = world.now();
        assert_eq!(world.gateway(site).open(now), 1);
    }
    let asked = world.gateway(site).asked;
    assert!((38..=49).contains(&asked), "{asked} questions in two hours, with 300 s each");
    let told = world.events(a).iter().filter(|(_, event)| matches!(event, Event::Mapped(_))).count();
    assert_eq!(told, 1, "that it goes on is no news");
    world.stop(a);
    let now = world.now();
    assert_eq!(world.gateway(site).open(now), 0);
}

#[test]
fn who_died_without_a_word_gets_its_own_mapping_back() {
    let (mut world, site, [a, b]) = two_homes(5, |_| ());
    assert!(world.run_until(secs(20), |world| world.direct(a, b)));
    world.restart(a, true);
    assert!(world.run_until(secs(20), |world| world.direct(a, b) && granted(world, a).is_some()));
    let now = world.now();
    assert_eq!(world.gateway(site).open(now), 1);
    // As somebody else, it is not given what PCP's nonce says is another's.
    world.restart(a, false);
    world.run_for(minutes(5));
    assert_eq!(world.mapping_of(a).map(|mapping| mapping.state), Some(MapState::Refused(Refusal::Forbidden)));
}

#[test]
fn a_gateway_that_refuses_is_left_alone() {
    let (mut world, site, [a, b]) = two_homes(6, |gateway| {
        (gateway.nat_pmp, gateway.refusal) = (true, 2);
    });
    world.run_for(minutes(50));
    assert_eq!(world.mapping_of(a).map(|mapping| mapping.state), Some(MapState::Refused(Refusal::Forbidden)));
    assert_eq!(world.gateway(site).asked, 2, "once by each protocol");
    assert!(world.relayed(a, b));
}

#[test]
fn a_lossy_network_delays_the_question_and_no_more() {
    for seed in 0..10 {
        let (mut world, _, [a, b]) = two_homes(seed, |_| ());
        world.net.loss = 0.3;
        world.net.jitter = ms(20);
        assert!(world.run_until(minutes(2), |world| granted(world, a).is_some()), "{seed}");
        assert!(world.run_until(minutes(5), |world| world.direct(a, b)), "{seed}: {:?}", world.way(a, b));
    }
}

#[test]
fn whose_own_address_is_public_asks_nobody() {
    let mut world = World::new(7);
    let site = world.site(Site::INTERNET, NatSpec::firewall());
    world.nat(site).gateway = Some(Gateway::new(Ipv4Addr::new(198, 18, 0, 254), world.now()));
    let a = world.add(member().behind(site, public(11)));
    let (home, spec) = home(&mut world, 12);
    world.nat(home).gateway = Some(Gateway::new(inner_gateway(12), world.now()));
    let b = world.add(spec.unmapped());
    world.run_for(minutes(5));
    assert_eq!((world.mapping_of(a), world.mapping_of(b)), (None, None));
    assert_eq!((world.gateway(site).asked, world.gateway(home).asked), (0, 0));
}

#[test]
fn a_port_that_is_given_later_is_tried_before_those_that_were_tried() {
    // What may be sent to one host is used up by then, by trying the port that only the hub is let in at.
    let mut soon = 0;
    for seed in 0..20 {
        let (mut world, site, [a, b]) =
            two_homes(seed, |gateway| (gateway.pcp, gateway.nat_pmp) = (false, false));
        world.run_for(secs(15 + seed));
        assert!(matches!(world.way(b, a), Some(Way::Relayed(_))), "seed {seed}");
        world.nat(site).gateway.as_mut().expect("it has one").pcp = true;
        world.network_changed(a);
        let direct = |world: &World| matches!(world.way(b, a), Some(Way::Direct(_)));
        let begun = world.now();
        assert!(world.run_until(minutes(2), |world| direct(world)), "seed {seed}");
        let took = world.now().since(begun);
        soon += u32::from(took < secs(20));
    }
    assert!(soon >= 17, "{soon} of 20 within 20 s");
}
