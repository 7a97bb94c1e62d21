//! How long a mesh takes to get over what happens to a network. Each case is played with many seeds, in which delays,
//! jitter and the moment differ; here with a few of them and against a bound, by `ci/campaign` with many and as a table.

use peervpn::base::time::Duration;

use crate::sim::chance::Chance;
use crate::sim::link::Link;
use crate::sim::nat::NatSpec;
use crate::sim::spec::{NodeSpec, member, public};
use crate::sim::{Id, Site, World};
use crate::{minutes, ms, secs};

/// What happens, and how long it may take until the two talk again at the latest.
pub(crate) struct Case {
    /// What happens.
    pub(crate) name: &'static str,
    /// The bound.
    pub(crate) within: Duration,
    play: fn(u64) -> (World, [Id; 2]),
}

/// All cases. The bounds are the protocol's, but for what depends on another's patience: an initial peer that is
/// back is tried every 30 s and a quarter, and its name asked for when the last answer is 30 s old.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "one side has a new address, and its host says so",
        within: secs(2),
        play: one_moves_and_is_told,
    },
    Case {
        name: "one side has a new address, and nothing says so",
        within: secs(10),
        play: one_moves_untold,
    },
    Case { name: "both sides have new addresses, and their hosts say so", within: secs(10), play: both_move },
    Case { name: "the NAT in front of one side gets a new address", within: secs(10), play: nat_moves },
    Case { name: "the relay in use dies, there is another", within: secs(10), play: relay_dies },
    Case { name: "the direct path dies, there is a relay", within: secs(10), play: path_dies },
    Case { name: "one side is restarted in order", within: secs(1), play: restart },
    Case { name: "one side is killed and started again", within: secs(3), play: crash },
    Case { name: "a partition of five minutes is healed", within: secs(38), play: partition },
    Case { name: "an initial peer is elsewhere, and its name says so", within: secs(68), play: name_moves },
];

impl Case {
    /// How long it took with that seed; none if it did not end.
    pub(crate) fn take(&self, seed: u64) -> Option<Duration> {
        let (mut world, [a, b]) = (self.play)(seed);
        world.talks_within(a, b, minutes(5))
    }
}

fn seeded(seed: u64) -> (World, Chance) {
    let mut world = World::new(seed);
    let mut chance = Chance::new(seed ^ 0x7265_636f);
    world.net = Link {
        delay: ms(5 + chance.below(60) as u64),
        jitter: ms(chance.below(10) as u64),
        ..Link::default()
    };
    (world, chance)
}

/// Lets two nodes talk for a while, and on to some moment.
fn settle(world: &mut World, chance: &mut Chance, a: Id, b: Id) {
    assert!(world.talks_within(a, b, secs(60)).is_some());
    world.run_for(secs(20) + ms(chance.below(30_000) as u64));
    // Traffic up to that moment, as where somebody notices.
    assert!(world.talks_within(a, b, secs(5)).is_some());
    world.run_for(ms(chance.below(1000) as u64));
}

/// A relay and two nodes on the Internet.
fn three(seed: u64) -> (World, Chance, [Id; 3]) {
    let (mut world, mut chance) = seeded(seed);
    let vps = world.add(member().at(public(1)).relay());
    let [a, b] = [2, 3].map(|n| world.add(member().at(public(n)).knows(public(1))));
    assert!(world.run_until(secs(30), |world| world.direct(a, b)));
    settle(&mut world, &mut chance, a, b);
    (world, chance, [vps, a, b])
}

fn one_moves_and_is_told(seed: u64) -> (World, [Id; 2]) {
    let (mut world, _, [_, a, b]) = three(seed);
    world.move_to(b, Site::INTERNET, &[public(33)], true);
    (world, [a, b])
}

fn one_moves_untold(seed: u64) -> (World, [Id; 2]) {
    let (mut world, _, [_, a, b]) = three(seed);
    world.move_to(b, Site::INTERNET, &[public(33)], false);
    (world, [b, a])
}

fn both_move(seed: u64) -> (World, [Id; 2]) {
    let (mut world, _, [_, a, b]) = three(seed);
    world.move_to(a, Site::INTERNET, &[public(32)], true);
    world.move_to(b, Site::INTERNET, &[public(33)], true);
    (world, [a, b])
}

fn behind(world: &mut World, spec: NatSpec, n: u8) -> NodeSpec {
    let site = world.site(Site::INTERNET, NatSpec { external: Some(public(n).ip()), ..spec });
    member().behind(site, ([192, 168, n, 2], 7000).into())
}

fn nat_moves(seed: u64) -> (World, [Id; 2]) {
    let (mut world, mut chance) = seeded(seed);
    let a = world.add(member().at(public(1)));
    let home = behind(&mut world, NatSpec::home(public(9).ip()), 9).knows(public(1));
    let site = home.site;
    let b = world.add(home);
    settle(&mut world, &mut chance, a, b);
    world.readdress(site, public(19).ip());
    (world, [b, a])
}

fn relay_dies(seed: u64) -> (World, [Id; 2]) {
    let (mut world, mut chance) = seeded(seed);
    let relays = [1, 2].map(|n| world.add(member().at(public(n)).relay().knows(public(1))));
    let [a, b] = [8, 9].map(|n| {
        let spec = behind(&mut world, NatSpec::symmetric(public(n).ip()), n);
        world.add(spec.knows(public(1)).knows(public(2)))
    });
    assert!(world.run_until(secs(30), |world| world.relayed(a, b)));
    settle(&mut world, &mut chance, a, b);
    let used = relays.into_iter().find(|&relay| world.relays_for(a, b, relay));
    world.crash(used.expect("one of the two relays"));
    (world, [a, b])
}

fn path_dies(seed: u64) -> (World, [Id; 2]) {
    let (mut world, _, [_, a, b]) = three(seed);
    world.part(&[a], &[b]);
    (world, [a, b])
}

fn restart(seed: u64) -> (World, [Id; 2]) {
    let (mut world, _, [_, a, b]) = three(seed);
    world.stop(b);
    world.run_for(ms(500));
    world.start(b, true);
    (world, [b, a])
}

fn crash(seed: u64) -> (World, [Id; 2]) {
    let (mut world, mut chance, [_, a, b]) = three(seed);
    world.crash(b);
    world.run_for(ms(chance.below(3000) as u64));
    world.start(b, true);
    (world, [b, a])
}

fn partition(seed: u64) -> (World, [Id; 2]) {
    let (mut world, _, [vps, a, b]) = three(seed);
    world.part(&[vps, a], &[b]);
    world.run_for(minutes(5));
    world.heal();
    (world, [a, b])
}

fn name_moves(seed: u64) -> (World, [Id; 2]) {
    let (mut world, mut chance) = seeded(seed);
    world.name("home.example", &[public(1).ip()]);
    let home = world.add(member().at(public(1)));
    let site = behind(&mut world, NatSpec::home(public(9).ip()), 9).knows_name("home.example");
    let away = world.add(site);
    settle(&mut world, &mut chance, away, home);
    // Its provider gives it another address while it is off, as at night.
    world.crash(home);
    world.run_for(secs(40));
    world.move_to(home, Site::INTERNET, &[public(2)], false);
    world.start(home, true);
    world.name("home.example", &[public(2).ip()]);
    (world, [away, home])
}

#[test]
fn a_mesh_recovers_within_its_bounds() {
    let mut late = Vec::new();
    for case in CASES {
        for seed in 0..12 {
            let took = case.take(seed);
            if took.is_none_or(|took| took > case.within) {
                late.push(format!("{}, seed {seed}: {took:?}", case.name));
            }
        }
    }
    assert!(late.is_empty(), "{late:#?}");
}
