//! What the mesh costs: when it is idle, and when everybody starts at once.

use crate::sim::link::Link;
use crate::sim::nat::NatSpec;
use crate::sim::spec::{member, public};
use crate::sim::{Id, Site, World};
use crate::{minutes, ms, secs};

/// A hundred nodes that restart at once are a full mesh within this time, in seconds.
const UP: u64 = 60;
/// And none of them sent more than so many bytes until then, headers included: a handshake with each of the
/// others in both directions, twice, and what all tell each other of all others.
const BYTES: u64 = 1_500_000;

#[test]
fn a_hundred_nodes_restarting_at_once_stay_within_bounds() {
    // S12.
    let mut world = World::new(1);
    world.net = Link { jitter: ms(20), ..Link::default() };
    let hosts = [public(1), public(2), public(3)];
    let nodes: Vec<Id> = (1..=100)
        .map(|n| world.add(hosts.iter().fold(member().at(public(n)), |spec, &host| spec.knows(host))))
        .collect();
    for round in ["first start", "restart"] {
        let before: Vec<u64> = nodes.iter().map(|&node| world.sent(node).bytes).collect();
        let up = |world: &World| nodes.iter().all(|&node| world.peers(node) >= 99);
        assert!(world.run_until(secs(UP), up), "{round}");
        assert!(world.every_two(&nodes, World::direct));
        world.run_for(secs(UP));
        for (&node, before) in nodes.iter().zip(before) {
            let bytes = world.sent(node).bytes - before;
            assert!(bytes <= BYTES, "{node} sent {bytes} bytes, {round}");
        }
        for &node in &nodes {
            world.restart(node, true);
        }
    }
}

/// Bytes a day that one pair sends in both directions, from an hour of idleness.
fn idle_bytes_a_day(world: &mut World, a: Id, b: Id) -> u64 {
    world.run_for(minutes(5));
    let sent = |world: &World| world.sent(a).bytes + world.sent(b).bytes;
    let before = sent(world);
    world.run_for(minutes(60));
    let bytes = sent(world) - before;
    assert!(world.ping(a, b, ms(100)).is_some(), "and the way is still open");
    bytes * 24
}

#[test]
fn idleness_is_cheap() {
    let mut world = World::new(2);
    let vps = world.add(member().at(public(1)));
    let site = world.site(Site::INTERNET, NatSpec::home(public(200).ip()));
    let home = member().behind(site, "192.168.1.2:7000".parse().unwrap()).knows(public(1));
    let home = world.add(home);
    let bytes = idle_bytes_a_day(&mut world, vps, home);
    assert!(bytes <= 450_000, "{bytes} bytes a day");
}

/// A node behind a NAT that forgets after so long, and one without; what their idle day costs once they know the NAT.
fn learned_bytes_a_day(seed: u64, forgets: Option<u64>) -> u64 {
    let mut world = World::new(seed);
    let vps = world.add(member().at(public(1)));
    let (site, own) = match forgets {
        None => (Site::INTERNET, public(2)),
        Some(seconds) => {
            let nat = NatSpec { expiry: secs(seconds), ..NatSpec::home(public(200).ip()) };
            (world.site(Site::INTERNET, nat), ([192, 168, 1, 2], 7000).into())
        }
    };
    let home = world.add(member().behind(site, own).knows(public(1)));
    world.run_for(minutes(120));
    let bytes = idle_bytes_a_day(&mut world, vps, home);
    for idle in (10..600).step_by(59) {
        world.run_for(secs(idle));
        assert!(
            world.ping(vps, home, ms(100)).is_some(),
            "its NAT has forgotten it after {idle} s: {forgets:?}"
        );
    }
    bytes
}

#[test]
fn an_idle_path_gets_as_few_keepalives_as_its_nat_allows() {
    for (forgets, most) in [(Some(30), 450_000), (Some(60), 250_000), (Some(180), 110_000), (None, 45_000)] {
        let bytes = learned_bytes_a_day(20, forgets);
        assert!(bytes <= most, "{bytes} bytes a day where a NAT forgets after {forgets:?} s");
    }
}

#[test]
fn keepalives_come_often_again_in_another_network() {
    let mut world = World::new(21);
    let vps = world.add(member().at(public(1)));
    let laptop = world.add(member().at(public(2)).knows(public(1)));
    world.run_for(minutes(120));
    let site = world.site(Site::INTERNET, NatSpec::home(public(200).ip()));
    world.move_to(laptop, site, &["192.168.1.2:7000".parse().unwrap()], true);
    world.run_for(secs(10));
    for _ in 0..3 {
        world.run_for(secs(26));
        assert!(world.ping(vps, laptop, ms(100)).is_some(), "this NAT forgets after 30 s");
    }
}

#[test]
fn idleness_is_cheap_in_a_mesh() {
    let mut world = World::new(3);
    let nodes: Vec<Id> = (1..=10).map(|n| world.add(member().at(public(n)).knows(public(1)))).collect();
    world.run_for(minutes(120));
    assert!(world.every_two(&nodes, World::direct));
    let sent = |world: &World| nodes.iter().map(|&node| world.sent(node).bytes).sum::<u64>();
    let before = sent(&world);
    world.run_for(minutes(60));
    let pairs = 45;
    let bytes = (sent(&world) - before) * 24 / pairs;
    assert!(world.ping(nodes[8], nodes[9], ms(100)).is_some());
    // A third of it are beacons, of which a node sends as many whether it has one peer or nine.
    assert!(bytes <= 50_000, "{bytes} bytes a day and pair");
}

#[test]
fn an_initial_peer_that_never_answers_costs_little() {
    let mut world = World::new(4);
    let node = world.add(member().at(public(1)).knows(public(99)));
    world.run_for(minutes(60));
    // One try every 30 to 37 seconds at the end.
    let datagrams = world.sent(node).datagrams;
    assert!((90..130).contains(&datagrams), "{datagrams} in an hour");
}

#[test]
fn replayed_first_messages_do_not_multiply() {
    // S2: whoever recorded a first message gets at most as much as he sends, from wherever he sends it.
    let mut world = World::new(5);
    world.capture();
    let a = world.add(member().at(public(1)));
    let b = world.add(member().at(public(2)).knows(public(1)));
    assert!(world.talks_within(b, a, ms(300)).is_some());
    let firsts: Vec<_> = world.captured().into_iter().filter(|datagram| datagram.bytes[0] == 1).collect();
    assert!(!firsts.is_empty());
    for round in 0..1000u16 {
        let [high, low] = round.to_be_bytes();
        let from = std::net::SocketAddr::from(([203, 0, 113 + high, low], 7000));
        for datagram in &firsts {
            world.inject(from, datagram.to, &datagram.bytes);
        }
        world.run_for(ms(10));
    }
    assert!(world.ping(a, b, ms(100)).is_some());
}
