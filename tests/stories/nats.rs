//! Any two nodes talk, whatever NATs they are behind: directly wherever those allow it, else through a relay, and they
//! say why.

use std::net::{IpAddr, SocketAddr};

use peervpn::base::event::{NatKind, Obstacle};
use peervpn::base::time::Duration;

use crate::sim::chance::Chance;
use crate::sim::nat::Dependence::{Address, AddressAndPort, Endpoint};
use crate::sim::nat::{NatSpec, Ports};
use crate::sim::spec::{NodeSpec, member, public};
use crate::sim::{Id, Site, World};
use crate::{minutes, ms, secs};

/// So many worlds are tried here; `ci/campaign` tries more.
const WORLDS: u64 = 2000;
/// Within this time two nodes are as near to each other as their NATs allow.
const SETTLED: Duration = secs(60);

fn outside(n: u8) -> IpAddr {
    public(n).ip()
}

/// A NAT of any kind.
fn any_nat(chance: &mut Chance, n: u8) -> NatSpec {
    let mapping = [Endpoint, Endpoint, Address, AddressAndPort][chance.below(4)];
    let ports = match mapping {
        AddressAndPort => [Ports::Random, Ports::Sequential, Ports::Overloaded][chance.below(3)],
        _ => [Ports::Preserved, Ports::Random, Ports::Sequential][chance.below(3)],
    };
    NatSpec {
        mapping,
        ports,
        filtering: [Endpoint, Address, AddressAndPort][chance.below(3)],
        expiry: secs(30 + 30 * chance.below(4) as u64),
        hairpin: chance.hit(0.5),
        external: Some(outside(n)),
    }
}

/// A node somewhere: on the Internet, behind a firewall, a NAT, or one NAT behind another.
fn anywhere(world: &mut World, chance: &mut Chance, n: u8, home: &mut Option<Site>) -> NodeSpec {
    let inner: SocketAddr = ([192, 168, n, 2], 7000).into();
    let spec = member().knows(public(1));
    match chance.below(8) {
        0 => spec.at(public(n)),
        1 => {
            let site = world.site(Site::INTERNET, NatSpec::firewall());
            spec.behind(site, public(n))
        }
        // Where the other one lives, if it lives behind a NAT.
        2 if home.is_some() => spec.behind(home.unwrap_or(Site::INTERNET), inner),
        3 => {
            let outer = world.site(Site::INTERNET, any_nat(chance, n));
            let carrier: SocketAddr = ([100, 64, n, 2], 7000).into();
            let mut nat = any_nat(chance, n);
            nat.external = Some(carrier.ip());
            let site = world.site(outer, nat);
            spec.behind(site, inner)
        }
        _ => {
            let site = world.site(Site::INTERNET, any_nat(chance, n));
            *home = Some(site);
            spec.behind(site, inner)
        }
    }
}

/// Two nodes in a world of that seed, and one on the Internet that both know and that relays.
fn a_world(seed: u64) -> (World, [Id; 3]) {
    let mut world = World::new(seed);
    let mut chance = Chance::new(seed ^ 0x6e61_7473);
    world.net.delay = ms(5 + chance.below(80) as u64);
    world.net.jitter = ms(chance.below(20) as u64);
    let vps = world.add(member().at(public(1)).relay());
    let mut home = None;
    let a = anywhere(&mut world, &mut chance, 11, &mut home);
    let b = anywhere(&mut world, &mut chance, 12, &mut home);
    let a = world.add(a);
    world.run_for(ms(chance.below(4000) as u64));
    let b = world.add(b);
    (world, [vps, a, b])
}

/// What is wrong with the world of that seed once it has settled, if anything.
pub(crate) fn verdict(seed: u64) -> Result<(), String> {
    let (mut world, [vps, a, b]) = a_world(seed);
    let possible = world.direct_path_possible(a, b);
    world.run_until(SETTLED, |world| world.direct(a, b));
    let kind = if possible { "possible" } else { "impossible" };
    if possible && !world.direct(a, b) {
        return Err(format!("{seed}: a direct path is {kind}, and it is {:?}", world.way(a, b)));
    }
    if !world.direct(a, b) && !world.relayed(a, b) {
        return Err(format!("{seed}: a direct path is {kind}, and there is none at all"));
    }
    for (from, to) in [(a, b), (b, a), (a, vps), (b, vps)] {
        if world.talks_within(from, to, secs(2)).is_none() {
            return Err(format!("{seed}: {from} does not hear of {to}"));
        }
    }
    Ok(())
}

#[test]
fn whoever_can_talk_directly_does_and_all_others_talk_by_a_relay() {
    let wrong: Vec<String> = (0..WORLDS).filter_map(|seed| verdict(seed).err()).collect();
    assert!(wrong.is_empty(), "{} of {WORLDS} worlds:\n{}", wrong.len(), wrong.join("\n"));
}

fn behind(world: &mut World, spec: NatSpec, n: u8) -> NodeSpec {
    let site = world.site(Site::INTERNET, NatSpec { external: Some(outside(n)), ..spec });
    member().behind(site, ([192, 168, n, 2], 7000).into()).knows(public(1))
}

#[test]
fn two_homes_meet_within_seconds() {
    // Without anybody who tells them when, both NATs would refuse the other's first datagram.
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.net.delay = ms(30);
        world.add(member().at(public(1)).relay());
        let [a, b] = [11, 12].map(|n| {
            let spec = behind(&mut world, NatSpec::home(outside(n)), n);
            world.add(spec)
        });
        assert!(world.run_until(secs(5), |world| world.direct(a, b)), "seed {seed}: {:?}", world.way(a, b));
    }
}

#[test]
fn why_there_is_no_direct_path_is_told() {
    let mut world = World::new(1);
    let vps = world.add(member().at(public(1)).relay());
    // A third is needed to tell a symmetric NAT from another.
    world.add(member().at(public(2)).knows(public(1)));
    let [a, b] = [11, 12].map(|n| {
        let spec = behind(&mut world, NatSpec::symmetric(outside(n)), n);
        world.add(spec)
    });
    assert!(world.run_until(secs(10), |world| world.relayed(a, b)));
    world.run_for(minutes(1));
    assert_eq!(world.nat_of(a), NatKind::Symmetric);
    assert_eq!(world.why(a, b), Some(Obstacle::BothSymmetric));
    assert_eq!(world.why(a, vps), None, "there is one");
}

#[test]
fn a_nat_that_becomes_a_better_one_is_noticed() {
    let mut world = World::new(2);
    world.add(member().at(public(1)).relay());
    world.add(member().at(public(2)).knows(public(1)));
    let [a, b] = [11, 12].map(|n| {
        let spec = behind(&mut world, NatSpec::symmetric(outside(n)), n);
        world.add(spec)
    });
    assert!(world.run_until(secs(10), |world| world.relayed(a, b)));
    for site in world.sites() {
        world.nat(site).spec = NatSpec::home(world.nat(site).spec.external.unwrap_or(outside(1)));
        world.nat(site).forget();
    }
    world.network_changed(a);
    assert!(world.run_until(secs(20), |world| world.direct(a, b)), "{:?}", world.way(a, b));
}

#[test]
fn a_member_cannot_have_others_knock_at_a_third_party() {
    // S2, S11: whoever lies about his address gains a few challenges to it, not a stream.
    let mut world = World::new(3);
    world.add(member().at(public(1)).relay());
    let victim = public(99);
    let site = world.site(Site::INTERNET, NatSpec::symmetric(outside(11)));
    let liar = member().behind(site, victim).knows(public(1));
    let liar = world.add(liar);
    let others: Vec<Id> = (20..25)
        .map(|n| {
            let spec = behind(&mut world, NatSpec::home(outside(n)), n);
            world.add(spec)
        })
        .collect();
    world.run_for(minutes(10));
    assert!(others.iter().all(|&other| world.meet(other, liar)));
    for &other in &others {
        let knocks = world.flow(other, victim).datagrams;
        assert!(knocks <= 66, "{other}: {knocks} in ten minutes");
    }
}
