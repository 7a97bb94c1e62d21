//! What a large mesh costs: packets among many peers and many stations, a flood to all of them, and new sessions while
//! others carry data.

use peervpn::base::ids::Suite;
use peervpn::base::limits::{BATCH, FLOODS_PER_SECOND, MACS, MACS_PER_PEER, PEERS};
use peervpn::base::packet::Packet;
use peervpn::base::time::Duration;
use peervpn::wire::hello::HELLO1;

use crate::nodes::{Side, World, frame, mac, send_frame};
use crate::{Table, timed};

const LENGTH: usize = 1400;

/// Frames to each of many peers in turn, datagrams from each of them in turn, and one flooded to all.
pub(crate) fn peers(table: &Table) {
    for count in [1, 32, u16::try_from(PEERS).unwrap()] {
        let rows =
            ["frames among", "datagrams among", "flood to"].map(|what| format!("{what} {count} peers"));
        if !rows.iter().any(|row| table.wants(row)) {
            continue;
        }
        let mut world = World::new(count, true, Suite::default());
        world.announce(0);
        let others = 1..=usize::from(count);
        others.clone().for_each(|n| greet(&mut world, n, mac(n)));
        let mut turn = others.clone().cycle();
        table.row(&rows[0], LENGTH, || {
            let stations: Vec<usize> = turn.by_ref().take(BATCH).collect();
            send(&mut world, &stations)
        });
        table.row(&rows[1], LENGTH, || {
            let mut datagrams = Vec::with_capacity(BATCH);
            for from in turn.by_ref().take(BATCH) {
                let Side { node, out, .. } = &mut world.sides[from];
                let frame = frame(out, mac(0), from, LENGTH);
                node.handle_frame(world.now, frame, out);
                let (_, sealed) = out.next_datagram().unwrap();
                let address = world.sides[from].address();
                datagrams.push((address, world.sides[0].copy(&sealed)));
                world.sides[from].out.recycle(sealed);
            }
            let Side { node, out, .. } = &mut world.sides[0];
            let took = timed(|| node.handle_datagrams(world.now, &mut datagrams, out, &mut |_, _| {}));
            world.sides[0].drain();
            took
        });
        table.row(&rows[2], LENGTH, || {
            let later = |world: &mut World| {
                world.now = world.now + Duration::from_secs(1) / FLOODS_PER_SECOND;
                world.now
            };
            (0..BATCH)
                .map(|_| {
                    let now = later(&mut world);
                    send_frame(now, &mut world.sides[0], [0xff; 6], 0, LENGTH, usize::from(count))
                })
                .sum()
        });
    }
}

/// Frames to as many stations as the switch remembers, behind a few peers.
pub(crate) fn stations(table: &Table) {
    let count = MACS / MACS_PER_PEER;
    let each = MACS_PER_PEER - 1;
    let mut world = World::new(u16::try_from(count).unwrap(), true, Suite::default());
    world.announce(0);
    (0..count * each).for_each(|n| greet(&mut world, 1 + n % count, mac(n + 1)));
    let mut turn = (1..=count * each).cycle();
    table.row(&format!("frames among {} stations", count * each), LENGTH, || {
        let stations: Vec<usize> = turn.by_ref().take(BATCH).collect();
        send(&mut world, &stations)
    });
}

/// What a node spends on the sessions that others begin: one message after the other, and so many first messages in one batch
/// that most are put off or asked to come again. So long a batch of them holds up the data behind it.
pub(crate) fn handshakes(table: &Table) {
    let others = u16::try_from(BATCH).unwrap();
    table.row("first messages at once", HELLO1, || {
        let mut world = World::unconnected(others, true, Suite::default());
        (1..=BATCH).for_each(|side| world.begin(side));
        answer(&mut world, BATCH)
    });
    for (name, wanted) in [("first messages apart", 0), ("third messages", 1)] {
        table.row(name, HELLO1, || {
            let mut world = World::unconnected(others, true, Suite::default());
            let mut took = [Duration::ZERO; 2];
            for side in 1..=BATCH {
                world.now = world.now + Duration::from_secs(1);
                world.begin(side);
                for took in &mut took {
                    *took += answer(&mut world, 1);
                    world.deliver_from_hub();
                }
                world.settle(side);
            }
            took[wanted]
        });
    }
}

/// How long the hub takes for what the others have sent it, which is so many messages.
fn answer(world: &mut World, expected: usize) -> Duration {
    let mut messages = world.collect_for_hub();
    assert_eq!(messages.len(), expected, "one from each");
    let Side { node, out, .. } = &mut world.sides[0];
    timed(|| node.handle_datagrams(world.now, &mut messages, out, &mut |_, _| {}))
}

/// A station behind node `from` is heard at the hub.
fn greet(world: &mut World, from: usize, station: [u8; 6]) {
    let Side { node, out, .. } = &mut world.sides[from];
    let mut frame = frame(out, mac(0), from, 60);
    frame.bytes_mut()[6..12].copy_from_slice(&station);
    node.handle_frame(world.now, frame, out);
    world.settle(from);
}

/// How long the hub takes for a batch of frames, one to each of these stations.
fn send(world: &mut World, stations: &[usize]) -> Duration {
    let Side { node, out, .. } = &mut world.sides[0];
    let frames: Vec<Packet> = stations.iter().map(|&to| frame(out, mac(to), 0, LENGTH)).collect();
    let took = timed(|| {
        frames.into_iter().for_each(|frame| node.take_frame(world.now, frame, out));
        node.finish(out);
    });
    assert_eq!(world.sides[0].drain(), stations.len(), "one datagram each");
    took
}
