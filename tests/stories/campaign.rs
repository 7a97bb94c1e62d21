//! What takes hours: the worlds of `nats.rs`, the cases of `recovery.rs` and the growth of a mesh, in numbers. Run by
//! `ci/campaign`, which shares them out among processes; not part of the ordinary tests.
#![allow(clippy::print_stdout, reason = "what comes of it is the point")]
#![allow(clippy::disallowed_methods, reason = "a test takes no other arguments")]

use peervpn::base::time::Duration;

use crate::nats::verdict;
use crate::recovery::CASES;
use crate::sim::link::Link;
use crate::sim::spec::{member, public};
use crate::sim::traffic::Flow;
use crate::sim::{Id, World};
use crate::{minutes, ms, secs};

/// The seeds that this process is to try: `CAMPAIGN=FROM-TO`, without the last.
fn seeds() -> std::ops::Range<u64> {
    let text = std::env::var("CAMPAIGN").expect("CAMPAIGN=FROM-TO in the environment");
    let (from, to) = text.split_once('-').expect("FROM-TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
#[ignore = "a part of ci/campaign"]
fn worlds() {
    let wrong: Vec<String> = seeds().filter_map(|seed| verdict(seed).err()).collect();
    wrong.iter().for_each(|what| println!("world {what}"));
    assert!(wrong.is_empty(), "{} worlds", wrong.len());
}

#[test]
#[ignore = "a part of ci/campaign"]
fn recoveries() {
    let mut late = Vec::new();
    println!("| what happens | median | 99th percentile | longest | bound |");
    println!("|---|---:|---:|---:|---:|");
    for case in CASES {
        let mut took: Vec<Duration> =
            seeds().map(|seed| case.take(seed).unwrap_or_else(|| minutes(5))).collect();
        took.sort_unstable();
        let of = |part: usize| seconds(took[(took.len() - 1) * part / 100]);
        late.extend((took[(took.len() - 1) * 99 / 100] > case.within).then_some(case.name));
        println!("| {} | {} | {} | {} | {} |", case.name, of(50), of(99), of(100), seconds(case.within));
    }
    assert!(late.is_empty(), "more than one in a hundred is late: {late:?}");
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Nodes that all know three of them, and what each of them sent.
struct Mesh {
    world: World,
    nodes: Vec<Id>,
}

impl Mesh {
    fn new(size: u8) -> Mesh {
        let mut world = World::new(size.into());
        world.net = Link { jitter: ms(20), ..Link::default() };
        let hosts = [1, 2, 3].map(public);
        let spec = |n| hosts.iter().fold(member().at(public(n)), |spec, &host| spec.knows(host));
        let nodes = (1..=size).map(|n| world.add(spec(n))).collect();
        Mesh { world, nodes }
    }

    /// What a node sends in the mean until the mesh is whole and for a minute after that, and how long that took.
    fn gather(&mut self) -> (Flow, Duration) {
        let (before, start) = (self.sent(), self.world.now());
        let others = self.nodes.len() - 1;
        let whole = |world: &World| self.nodes.iter().all(|&node| world.peers(node) == others);
        assert!(self.world.run_until(minutes(5), whole), "it never was whole");
        let took = self.world.now() - start;
        self.world.run_for(minutes(1));
        (self.mean(before), took)
    }

    fn idle(&mut self, time: Duration) -> Flow {
        let before = self.sent();
        self.world.run_for(time);
        self.mean(before)
    }

    fn sent(&self) -> Flow {
        let mut all = Flow::default();
        for &node in &self.nodes {
            let sent = self.world.sent(node);
            (all.datagrams, all.bytes) = (all.datagrams + sent.datagrams, all.bytes + sent.bytes);
        }
        all
    }

    fn mean(&self, before: Flow) -> Flow {
        let (now, nodes) = (self.sent(), self.nodes.len() as u64);
        Flow {
            datagrams: (now.datagrams - before.datagrams) / nodes,
            bytes: (now.bytes - before.bytes) / nodes,
        }
    }
}

#[test]
#[ignore = "a part of ci/campaign"]
fn growth() {
    println!(
        "| nodes | joining: messages | kB | whole after | idle hour: messages | kB | restart of all: messages | kB | whole after |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for size in [10, 20, 50, 100, 200] {
        let mut mesh = Mesh::new(size);
        let (joining, joined) = mesh.gather();
        let idle = mesh.idle(minutes(20));
        for node in mesh.nodes.clone() {
            mesh.world.restart(node, true);
        }
        mesh.world.run_for(secs(0));
        let (restart, back) = mesh.gather();
        println!(
            "| {size} | {} | {} | {} | {} | {} | {} | {} | {} |",
            joining.datagrams,
            joining.bytes / 1000,
            seconds(joined),
            3 * idle.datagrams,
            3 * idle.bytes / 1000,
            restart.datagrams,
            restart.bytes / 1000,
            seconds(back),
        );
    }
}
