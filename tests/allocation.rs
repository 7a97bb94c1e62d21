//! Once a node has its peers, nothing that happens on its data path allocates: frames, floods, relayed packets, new
//! keys, whole handshakes, and whatever strangers throw at it. So no table grows either.
//!
//! Texts of a configuration may allocate; the same meter shows that they do in proportion to their length, whatever they
//! say.
#![allow(unsafe_code, reason = "an allocator that counts cannot be written without it")]

#[path = "sim/mod.rs"]
#[allow(dead_code, reason = "this test needs less of the simulator than the stories do")]
pub mod sim;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;

use peervpn::base::ids::Mac;
use peervpn::base::time::Duration;
use peervpn::config::{self, convert, section};

use sim::chance::Chance;
use sim::nat::NatSpec;
use sim::spec::{member, public};
use sim::{Id, Site, World};

/// The system's allocator, and two counters a thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// How often this thread allocated so far.
fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

fn count(size: usize) {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
    BYTES.with(|bytes| bytes.set(bytes.get() + size));
}

// SAFETY: every call goes to the system's allocator as it came; the counters need no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SECOND: Duration = Duration::from_secs(1);

/// A relay, one node beside it, and two that reach each other only through it.
fn four(world: &mut World) -> [Id; 4] {
    let relay = world.add(member().at(public(1)).relay());
    let beside = world.add(member().at(public(2)).knows(public(1)));
    let behind = [3, 4].map(|n| {
        let site = world.site(Site::INTERNET, NatSpec::symmetric(public(n).ip()));
        world.add(member().behind(site, SocketAddr::from(([10, 0, 0, 2], 7000))).knows(public(1)))
    });
    let nodes = [relay, beside, behind[0], behind[1]];
    assert!(world.run_until(20 * SECOND, |world| world.every_two(&nodes, World::meet)));
    assert!(world.relayed(behind[0], behind[1]));
    nodes
}

fn expect_none(world: &World, nodes: &[Id]) {
    for &node in nodes {
        assert_eq!(world.allocations(node), 0, "{node} allocated");
    }
}

#[test]
fn the_meter_counts() {
    let before = allocations();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(allocations() - before, 1);
}

#[test]
fn ten_minutes_of_traffic_allocate_nothing() {
    let mut world = World::new(1);
    let nodes = four(&mut world);
    world.meter(allocations);
    for n in 0..1200 {
        for (&a, &b) in nodes.iter().zip(nodes.iter().cycle().skip(1)) {
            world.send(a, b, 60 + n, true);
        }
        world.send_frame(nodes[n % 4], Mac::BROADCAST, world.mac(nodes[n % 4]), 200);
        world.run_for(SECOND / 2);
    }
    assert!(world.rekeys(nodes[2], nodes[3]) >= 3, "a relayed session had new keys");
    assert!(world.rekeys(nodes[0], nodes[1]) >= 3, "a direct session had new keys");
    expect_none(&world, &nodes);
}

#[test]
fn peers_that_come_and_go_allocate_nothing() {
    let mut world = World::new(2);
    let nodes = four(&mut world);
    world.meter(allocations);
    for round in 0..20 {
        let others = [nodes[0], nodes[1], nodes[3]];
        world.restart(nodes[2], round % 2 == 0);
        world.run_for(15 * SECOND);
        expect_none(&world, &others);
    }
}

#[test]
fn whatever_strangers_send_allocates_nothing() {
    let mut world = World::new(3);
    world.capture();
    let nodes = four(&mut world);
    for _ in 0..20 {
        world.ping(nodes[2], nodes[3], SECOND);
    }
    let record = world.captured();
    world.meter(allocations);
    let mut chance = Chance::new(3);
    for round in 0..200_000 {
        let original = &record[chance.below(record.len())];
        let mut bytes = original.bytes.clone();
        if round % 4 != 0 {
            let at = chance.below(bytes.len());
            bytes[at] ^= 1 << chance.below(8);
        }
        world.strike(nodes[chance.below(4)], (chance.bytes::<4>(), 7000).into(), &bytes);
        let mut frame = [0; 64];
        chance.fill(&mut frame);
        world.strike_tap(nodes[chance.below(4)], &frame);
        if round % 16 == 0 {
            world.run_for(Duration::from_millis(1));
        }
    }
    expect_none(&world, &nodes);
}

#[test]
fn batches_of_datagrams_allocate_nothing() {
    use peervpn::base::outbox::Outbox;
    use peervpn::sys::udp::{Family, Listen, Udp};
    let local = Some("127.0.0.1".parse().unwrap());
    let listen = Listen { local, port: 0, ipv4: true, ipv6: false, mark: 0, device: None, offload: true };
    let mut ends = [(); 2].map(|()| Udp::open(&listen).unwrap());
    let to = ends[1].port();
    let mut out = Outbox::new(200);
    let mut datagrams = Vec::with_capacity(peervpn::base::limits::BATCH);
    let before = allocations();
    let mut carried = 0;
    for round in 0..100 {
        for n in 0..100 {
            let mut packet = out.blank().unwrap();
            packet.grow(if n % 30 == round % 30 { 70 } else { 1400 }).unwrap();
            out.send(SocketAddr::from(([127, 0, 0, 1], to)), packet);
        }
        ends[0].send_batch(&mut out, &mut |_, error| panic!("{error}"));
        let mut more = true;
        while more {
            more = ends[1].receive_batch(Family::V4, &mut out, &mut datagrams).unwrap();
            carried += datagrams.len();
            datagrams.drain(..).for_each(|(_, packet)| out.recycle(packet));
        }
    }
    assert_eq!((carried, allocations() - before), (10_000, 0));
}

/// Texts that make their readers work, of about `length` bytes each: what they are, and the text.
fn laborious(length: usize) -> Vec<(&'static str, String)> {
    let key = "psk 'a key of 12, or more'";
    let uci =
        |line: &str| format!("config network 'a'\n\toption {key}\n{}", line.repeat(length / line.len()));
    let conf = |line: &str| format!("{}\n{}", key.replace('\'', "\""), line.repeat(length / line.len()));
    vec![
        ("commands in one line", uci("option port 7000 ;")),
        ("one list", uci("list initpeers a\n")),
        ("names nobody knows", uci("list enableipvx b\n")),
        ("values nobody knows", uci("list deny b\n")),
        ("a quote over many lines", uci("x\n").replacen('x', "option upcmd '", 1) + "'\n"),
        ("comments", uci("# x\n")),
        ("sections", "config network a\n".repeat(length / 17)),
        ("options", conf("port 7000\n")),
        ("peers", conf("initpeers a b c\n")),
        ("unknown options", conf("enablecipherxyz no\n")),
        ("echoes and quotes", conf("echo \"a # b\" # c\n")),
    ]
}

/// Reads a text in both grammars and converts it in both directions; what it took: allocations, and their bytes.
fn labour(text: &str) -> [usize; 2] {
    let before = (allocations(), BYTES.get());
    let mut none = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    let _ = config::load(text.as_bytes(), "x.conf", &mut none);
    let _ = convert::to_uci(text.as_bytes(), "x.conf", "x");
    for network in section::read(text.as_bytes(), "x").map(|networks| networks.all).unwrap_or_default() {
        let _ = network.load(&mut none);
        let _ = convert::to_conf(&network);
    }
    [usize::try_from(allocations() - before.0).expect("few"), BYTES.get() - before.1]
}

#[test]
fn a_configuration_costs_no_more_than_its_length_deserves() {
    let (short, long) = (laborious(20_000), laborious(80_000));
    for ((what, short), (_, long)) in short.iter().zip(&long) {
        let (few, many) = (labour(short), labour(long));
        for (few, many) in few.into_iter().zip(many) {
            assert!(
                many <= 5 * few + 10_000,
                "{what}: {few} for {} bytes, {many} for {}",
                short.len(),
                long.len()
            );
        }
        assert!(many[0] <= 2 * long.len() && many[1] <= 200 * long.len(), "{what}: {many:?}");
    }
}
