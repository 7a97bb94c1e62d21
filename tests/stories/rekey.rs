//! A new key every two minutes, and nobody notices.

use crate::sim::frames::FrameId;
use crate::sim::link::Link;
use crate::sim::spec::{member, public};
use crate::sim::{Id, World};
use crate::{minutes, ms, secs};

fn pair(world: &mut World) -> (Id, Id) {
    let a = world.add(member().at(public(1)));
    let b = world.add(member().at(public(2)).knows(public(1)));
    assert!(world.talks_within(b, a, secs(30)).is_some());
    (a, b)
}

/// Ten minutes with a frame each way every 50 ms.
fn ten_minutes(world: &mut World, a: Id, b: Id) -> Vec<(Id, FrameId)> {
    let mut frames = Vec::new();
    for _ in 0..10 * 60 * 20 {
        frames.push((b, world.send(a, b, 200, false)));
        frames.push((a, world.send(b, a, 200, false)));
        world.run_for(ms(50));
    }
    world.run_for(secs(1));
    frames
}

#[test]
fn no_frame_is_lost_by_a_new_key() {
    let mut world = World::new(1);
    let (a, b) = pair(&mut world);
    let frames = ten_minutes(&mut world, a, b);
    let missing = frames.iter().filter(|&&(to, frame)| !world.got(to, frame)).count();
    assert_eq!(missing, 0, "of {}", frames.len());
    assert!(world.rekeys(a, b) >= 4 && world.rekeys(b, a) >= 4, "{}", world.rekeys(a, b));
}

#[test]
fn what_the_link_carried_arrives_however_bad_the_link() {
    for (seed, net) in [
        Link { loss: 0.1, ..Link::default() },
        Link { loss: 0.1, jitter: ms(40), duplicate: 0.1, reorder: 0.1, ..Link::default() },
        Link { corrupt: 0.1, truncate: 0.02, ..Link::default() },
    ]
    .into_iter()
    .enumerate()
    {
        let mut world = World::new(seed as u64);
        world.net = net;
        let (a, b) = pair(&mut world);
        let frames = ten_minutes(&mut world, a, b);
        for &(to, id) in &frames {
            let frame = world.frame(id);
            assert_eq!(frame.carriers, 1, "every frame is sent, once");
            assert!(frame.lost == 1 || world.got(to, id), "{id:?} arrived sealed and did not come out");
        }
        assert!(world.rekeys(a, b) >= 4, "{}", world.rekeys(a, b));
    }
}

#[test]
fn a_session_without_frames_carries_the_first_one_at_once() {
    let mut world = World::new(2);
    let (a, b) = pair(&mut world);
    for (seed, idle) in
        [minutes(4), minutes(30), minutes(59), minutes(61), minutes(180)].into_iter().enumerate()
    {
        world.run_for(idle);
        assert!(world.meet(a, b), "case {seed}");
        let (one, other) = if seed % 2 == 0 { (a, b) } else { (b, a) };
        assert!(world.ping(one, other, ms(100)).is_some(), "after {idle:?}");
        world.run_for(minutes(1));
        assert!(world.ping(one, other, ms(100)).is_some(), "a minute later");
    }
}

#[test]
fn a_key_is_renewed_in_one_direction_of_traffic_too() {
    let mut world = World::new(3);
    let (a, b) = pair(&mut world);
    for (from, to) in [(a, b), (b, a)] {
        let before = world.rekeys(a, b);
        for _ in 0..600 {
            let frame = world.send(from, to, 100, false);
            world.run_for(secs(1));
            assert!(world.got(to, frame));
        }
        assert!(world.rekeys(a, b) - before >= 4);
    }
}
