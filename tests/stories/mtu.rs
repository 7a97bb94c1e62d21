//! Paths that carry less than a frame needs: nothing is lost while that is found out, nor when it changes.

use std::net::SocketAddr;

use peervpn::base::discard::Discard;

use crate::sim::link::Link;
use crate::sim::nat::NatSpec;
use crate::sim::spec::{member, public};
use crate::sim::{Id, Site, World};
use crate::{minutes, ms, secs};

/// A full Ethernet frame.
const FULL: usize = 1514;

fn pair(world: &mut World) -> (Id, Id) {
    let a = world.add(member().at(public(1)));
    let b = world.add(member().at(public(2)).knows(public(1)));
    assert!(world.talks_within(b, a, secs(2)).is_some());
    (a, b)
}

/// Frames of all lengths each way, ten a second; how many were lost.
fn lost(world: &mut World, a: Id, b: Id, seconds: usize) -> usize {
    let mut sent = Vec::new();
    for n in 0..10 * seconds {
        let length = [FULL, 1200 + n % 300, FULL, 60 + n % 1900][n % 4];
        sent.push((b, world.send(a, b, length, false)));
        sent.push((a, world.send(b, a, length, false)));
        world.run_for(ms(100));
    }
    world.run_for(ms(100));
    sent.iter().filter(|(to, frame)| !world.got(*to, *frame)).count()
}

/// Frames of many lengths go from `a` to `b`, and none is lost: the longest datagram for them, in bytes of an IP packet.
fn longest(world: &mut World, a: Id, b: Id, to: SocketAddr) -> usize {
    world.capture();
    let sent: Vec<_> = (1000..1520).step_by(4).map(|length| world.send(a, b, length, false)).collect();
    world.run_for(ms(100));
    assert!(sent.iter().all(|&frame| world.got(b, frame)));
    longest_to(world, to)
}

fn longest_to(world: &mut World, to: SocketAddr) -> usize {
    let sent = world.captured();
    sent.iter()
        .filter(|datagram| datagram.to == to)
        .map(|datagram| datagram.bytes.len() + 28)
        .max()
        .unwrap_or(0)
}

#[test]
fn on_every_path_every_frame_passes_from_the_first_moment() {
    for mtu in [1228, 1260, 1280, 1300, 1380, 1400, 1420, 1460, 1480, 1492, 1499, 1500, 1600, 9000] {
        for refuses in [false, true] {
            let mut world = World::new(mtu as u64);
            world.net = Link { mtu, refuses, ..Link::default() };
            let (a, b) = pair(&mut world);
            assert_eq!(lost(&mut world, a, b, 12), 0, "{mtu}");
            // And what is found is made use of.
            let longest = longest(&mut world, a, b, public(2));
            assert!(longest <= mtu && longest + 80 >= mtu.min(1500), "{longest} {mtu}");
        }
    }
}

#[test]
fn where_all_fits_nothing_is_cut() {
    let mut world = World::new(1);
    world.net.mtu = 9000;
    let (a, b) = pair(&mut world);
    world.send(a, b, FULL, false);
    world.run_for(secs(3));
    let frame = world.send(a, b, FULL, false);
    world.run_for(secs(1));
    assert!(world.got(b, frame));
    assert_eq!(world.frame(frame).carriers, 1);
}

#[test]
fn a_path_that_shrinks_without_a_word_heals_within_seconds_and_grows_again() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let (a, b) = pair(&mut world);
        assert_eq!(lost(&mut world, a, b, 5), 0);
        for mtu in [1492, 1280] {
            world.net.mtu = mtu;
            // Small packets pass and are answered all the time: only the proofs can tell.
            lost(&mut world, a, b, 8);
            assert_eq!(lost(&mut world, a, b, 10), 0, "seed {seed}, {mtu}");
        }
        world.net.mtu = 1500;
        world.run_for(minutes(11));
        assert_eq!(lost(&mut world, a, b, 10), 0, "seed {seed}");
        let longest = longest(&mut world, a, b, public(2));
        assert!((1497..=1500).contains(&longest), "{longest}, seed {seed}");
    }
}

#[test]
fn where_nothing_comes_back_it_heals_sooner() {
    let mut world = World::new(1);
    let (a, b) = pair(&mut world);
    assert_eq!(lost(&mut world, a, b, 5), 0);
    world.net.mtu = 1400;
    let mut tries = 0;
    // As a TCP connection does: the same segment, again and again.
    loop {
        let frame = world.send(a, b, 1400, true);
        world.run_for(ms(200));
        tries += 1;
        if world.got(b, frame) {
            break;
        }
        assert!(tries < 16, "not after {tries} tries");
    }
}

#[test]
fn through_a_relay_frames_pass_whole_whatever_either_leg_carries() {
    for (near, far) in [(1500, 1500), (1492, 1500), (1500, 1280), (1280, 1420)] {
        let mut world = World::new(near as u64);
        let relay = world.add(member().at(public(1)).relay());
        let ends = [3, 4].map(|n| {
            let site = world.site(Site::INTERNET, NatSpec::symmetric(public(n).ip()));
            world.add(member().behind(site, SocketAddr::from(([10, 0, 0, 2], 7000))).knows(public(1)))
        });
        assert!(world.run_until(secs(20), |world| world.relayed(ends[0], ends[1])));
        world.both(relay, ends[0], |link| link.mtu = near);
        world.both(relay, ends[1], |link| link.mtu = far);
        assert_eq!(lost(&mut world, ends[0], ends[1], 10), 0, "{near} {far}");
        let longest = longest(&mut world, ends[0], ends[1], public(1));
        assert!(longest <= near.min(far) && longest + 80 > near.min(far), "{longest} {near} {far}");
    }
}

#[test]
fn an_idle_path_is_not_probed() {
    let mut world = World::new(1);
    let (a, b) = pair(&mut world);
    assert_eq!(lost(&mut world, a, b, 5), 0);
    world.run_for(secs(20));
    world.capture();
    world.run_for(minutes(60));
    let longest = longest_to(&mut world, public(2));
    assert!(longest < 300, "{longest}");
    assert_eq!(world.tally(a).get(Discard::Incomplete), 0);
}

#[test]
fn frames_in_parts_survive_disorder_and_count_what_is_lost() {
    let mut world = World::new(3);
    world.net = Link { mtu: 1300, jitter: ms(5), reorder: 0.05, duplicate: 0.05, ..Link::default() };
    let (a, b) = pair(&mut world);
    assert_eq!(lost(&mut world, a, b, 20), 0);
    world.net.loss = 0.02;
    let missing = lost(&mut world, a, b, 30);
    assert!((1..60).contains(&missing), "{missing} of 600");
    assert!(world.tally(b).get(Discard::Incomplete) > 0);
}
