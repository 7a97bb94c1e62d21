//! What the handshake and the paths promise, one story for each point of the security review, seen on the wire.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use peervpn::base::event::Event;
use peervpn::base::limits::{ANSWER_COPIES, ANSWER_LIFE, CONFIRM_EVERY, CONFIRM_LIFE, SEAL_BACK, SEAL_FRONT};
use peervpn::base::time::Duration;

use crate::sim::chance::Chance;
use crate::sim::spec::{member, public};
use crate::sim::traffic::Datagram;
use crate::sim::{Id, World};
use crate::{minutes, ms, secs};

/// Types of datagrams.
const M1: u8 = 1;
const M2: u8 = 2;
const M3: u8 = 3;
const SEALED: u8 = 4;

/// Where nobody is.
fn stranger() -> SocketAddr {
    public(66)
}

/// A node that waits, and one that knows it. Its first message leaves at once.
fn pair(world: &mut World) -> (Id, Id) {
    let a = world.add(member().at(public(1)));
    let b = world.add(member().at(public(2)).knows(public(1)));
    (a, b)
}

/// Those of one type.
fn of(kind: u8, record: &[Datagram]) -> Vec<&Datagram> {
    record.iter().filter(|datagram| datagram.bytes[0] == kind).collect()
}

/// The index that a datagram begins with: the sender's in a first message, else the receiver's.
fn index(datagram: &Datagram) -> &[u8] {
    &datagram.bytes[2..6]
}

/// The index that the sender of a second message goes by.
fn responders_index(m2: &Datagram) -> &[u8] {
    &m2.bytes[6..10]
}

fn are_one(datagrams: &[&Datagram]) -> bool {
    datagrams.windows(2).all(|two| two[0].bytes == two[1].bytes)
}

fn downs(world: &World, node: Id) -> usize {
    world.events(node).iter().filter(|(_, event)| matches!(event, Event::PeerDown { .. })).count()
}

// ---- fresh `e` ----

#[test]
fn fresh_e_for_every_try() {
    let mut world = World::new(1);
    world.name("vps.example", &[1, 2, 3].map(|n| public(n).ip()));
    for n in 1..=3 {
        let away = world.add(member().at(public(n)));
        world.crash(away);
    }
    world.capture();
    let node = world.add(member().knows_name("vps.example"));
    let (mut keys, mut indexes) = (BTreeSet::new(), BTreeSet::new());
    let mut tries = 0;
    for round in 0..1200 {
        if round == 600 {
            world.restart(node, true);
        }
        world.run_for(ms(100));
        let volley = world.captured();
        if let Some(first) = volley.first() {
            tries += 1;
            let places: BTreeSet<_> = volley.iter().map(|datagram| datagram.to).collect();
            assert_eq!((volley.len(), places.len()), (3, 3), "one volley, each address once");
            assert!(are_one(&of(M1, &volley)), "one volley is one message");
            keys.insert(first.bytes[6..38].to_vec());
            indexes.insert(index(first).to_vec());
        }
    }
    assert!(tries >= 12, "{tries}");
    assert_eq!((keys.len(), indexes.len()), (tries, tries), "every try is a handshake of its own");
}

#[test]
fn fresh_e_in_every_answer() {
    let mut world = World::new(2);
    world.capture();
    let (_, b) = pair(&mut world);
    for _ in 0..20 {
        world.run_for(secs(1));
        world.restart(b, true);
    }
    let record = world.captured();
    let keys: BTreeSet<_> = of(M2, &record).iter().map(|m2| m2.bytes[10..42].to_vec()).collect();
    assert!(keys.len() >= 20);
    assert_eq!(keys.len(), of(M2, &record).len());
}

// ---- stored bytes resent ----

#[test]
fn stored_bytes_are_resent_never_sealed_anew() {
    let mut world = World::new(3);
    world.capture();
    world.watch(stranger());
    world.meddle(|datagram| if datagram.bytes[0] == M3 { vec![] } else { vec![datagram] });
    pair(&mut world);
    world.run_for(ms(60));
    let mut record = world.captured();
    let m1 = of(M1, &record)[0].clone();
    for _ in 0..10 {
        world.inject(m1.from, m1.to, &m1.bytes);
        world.inject(stranger(), m1.to, &m1.bytes);
        world.run_for(ms(100));
    }
    record.extend(world.captured());
    let answers: Vec<_> = of(M2, &record).into_iter().filter(|m2| index(m2) == index(&m1)).collect();
    assert_eq!(answers.len(), usize::from(ANSWER_COPIES), "one for each copy, up to a bound");
    assert!(are_one(&answers), "whatever way it goes");
    let overheard: Vec<_> = world.overheard().iter().map(|(_, datagram)| datagram).collect();
    assert_eq!(overheard.len(), 7);
    assert!(overheard.iter().all(|m2| m2.bytes == answers[0].bytes));

    let thirds: Vec<_> =
        of(M3, &record).into_iter().filter(|m3| index(m3) == responders_index(answers[0])).collect();
    assert!(thirds.len() >= 4 && are_one(&thirds), "{}", thirds.len());

    // The answer is over: silence, for good.
    for pause in [ANSWER_LIFE, secs(60)] {
        world.run_for(pause);
        world.inject(stranger(), m1.to, &m1.bytes);
        world.run_for(ms(100));
        assert_eq!(world.overheard().len(), 7);
    }
}

// ---- commit after all tags ----

/// What is left of a message in flight: for every byte that a tag covers, and of the tags themselves, a copy with that one wrong.
fn damaged(datagram: &Datagram) -> Vec<Datagram> {
    let token = if datagram.bytes[0] == M1 { 16 } else { 0 };
    let copy = |at| {
        let mut copy: Datagram = datagram.clone();
        copy.bytes[at] ^= 0x10;
        copy
    };
    (2..datagram.bytes.len() - token).map(copy).collect()
}

#[test]
fn commit_only_after_all_tags() {
    for kind in [M1, M2, M3] {
        let mut world = World::new(u64::from(kind));
        world.capture();
        world.meddle(
            move |datagram| {
                if datagram.bytes[0] == kind { damaged(&datagram) } else { vec![datagram] }
            },
        );
        let (a, b) = pair(&mut world);
        world.run_for(ms(150));
        // The initiator may send as soon as it has the second message: nobody opens that yet.
        let early = world.send(b, a, 100, false);
        world.run_for(ms(50));
        let record = world.captured();
        let genuine = of(kind, &record)[0].clone();
        let follows: Vec<_> = record.iter().filter(|datagram| datagram.from != genuine.from).collect();
        let after = follows.iter().filter(|datagram| datagram.bytes[0] > kind).count();
        assert_eq!(after, 0, "nothing follows a damaged message {kind}");
        assert!(!world.got(a, early) && world.peers(a) == 0, "message {kind}");

        // The true one finds everything as it was.
        world.leave_alone();
        world.inject(genuine.from, genuine.to, &genuine.bytes);
        world.run_for(ms(100));
        assert!(world.meet(a, b), "message {kind}");
        let last = world.captured();
        let firsts: BTreeSet<_> =
            record.iter().chain(&last).filter(|d| d.bytes[0] == M1).map(|m1| m1.bytes.clone()).collect();
        assert_eq!(firsts.len(), 1, "message {kind}: it is the same handshake still");
    }
}

// ---- the third message ----

#[test]
fn hello3_is_repeated_until_answered() {
    let windows = u32::try_from(CONFIRM_LIFE.as_millis() / CONFIRM_EVERY.as_millis()).unwrap();
    for answered_after in [0, 1, 3, 10] {
        let mut world = World::new(4);
        world.capture();
        // What would answer it does not come through.
        world.meddle(|datagram| {
            let answer = datagram.bytes[0] == SEALED && datagram.from == public(1);
            if answer { vec![] } else { vec![datagram] }
        });
        let (a, b) = pair(&mut world);
        assert!(world.run_until(secs(1), |world| world.way(b, a).is_some()));
        let mut record = world.captured();
        assert_eq!(of(M3, &record).len(), 1, "at once");
        for _ in 0..answered_after {
            world.run_for(CONFIRM_EVERY);
            let window = world.captured();
            assert_eq!(of(M3, &window).len(), 1, "again after every {CONFIRM_EVERY:?}");
            record.extend(window);
        }
        assert!(are_one(&of(M3, &record)), "always the same bytes");
        world.leave_alone();
        world.run_for(CONFIRM_EVERY + ms(45));
        world.captured();
        world.run_for(CONFIRM_EVERY * windows);
        assert_eq!(of(M3, &world.captured()).len(), 0, "answered after {answered_after}");
        assert!(world.meet(a, b));
        assert_eq!((downs(&world, a), downs(&world, b)), (0, 0));
    }
}

#[test]
fn hello3_is_repeated_so_long_and_no_longer() {
    let mut world = World::new(5);
    world.capture();
    world.meddle(|datagram| {
        if datagram.from == public(1) && datagram.bytes[0] == SEALED { vec![] } else { vec![datagram] }
    });
    let (a, b) = pair(&mut world);
    assert!(world.run_until(secs(1), |world| world.way(b, a).is_some()));
    world.run_for(CONFIRM_LIFE);
    let mut record = world.captured();
    let handshake = responders_index(of(M2, &record)[0]).to_vec();
    assert_eq!(downs(&world, b), 1, "what nobody confirms is no session");
    world.run_for(secs(30));
    record.extend(world.captured());
    let repeated = of(M3, &record).into_iter().filter(|m3| index(m3) == handshake).count() as u128;
    assert_eq!(repeated, CONFIRM_LIFE.as_millis() / CONFIRM_EVERY.as_millis());
    assert_eq!(downs(&world, a), 0, "the other has it, and waits");
}

#[test]
fn hello3_that_was_lost_is_made_good_by_its_repetition() {
    for lost in 1..=15 {
        let mut world = World::new(6);
        world.capture();
        let mut left = lost;
        world.meddle(move |datagram| {
            let drop = datagram.bytes[0] == M3 && left > 0;
            left -= u32::from(drop);
            if drop { vec![] } else { vec![datagram] }
        });
        let (a, b) = pair(&mut world);
        assert!(world.run_until(CONFIRM_EVERY * (lost + 1), |world| world.meet(a, b)), "{lost} lost");
        world.run_for(secs(1));
        assert!(world.ping(a, b, ms(100)).is_some());
        let record = world.captured();
        assert_eq!(of(M1, &record).len(), 1, "with the first handshake");
        assert_eq!(downs(&world, b), 0);
    }
}

// ---- handshakes that crossed ----

/// What each of the two is sent under once they have met: the index that it chose itself.
fn indexes_in_use(world: &mut World, a: Id, b: Id) -> (Vec<u8>, Vec<u8>) {
    world.captured();
    assert!(world.ping(a, b, ms(500)).is_some() && world.ping(b, a, ms(500)).is_some());
    let record = world.captured();
    let to = |place| {
        let sealed: BTreeSet<_> =
            of(SEALED, &record).iter().filter(|d| d.to == place).map(|d| index(d).to_vec()).collect();
        assert_eq!(sealed.len(), 1, "one session is in use");
        sealed.into_iter().next().expect("there is one")
    };
    (to(public(1)), to(public(2)))
}

#[test]
fn of_two_handshakes_that_crossed_the_smaller_keys_stays() {
    let mut led = [0, 0];
    for seed in 0..40 {
        let mut world = World::new(seed);
        let mut chance = Chance::new(seed);
        world.capture();
        let a = world.add(member().at(public(1)).knows(public(2)));
        // Less than the way takes, so that each first message meets the other's.
        world.run_for(chance.up_to(ms(15)));
        let b = world.add(member().at(public(2)).knows(public(1)));
        world.link(a, b).delay = ms(20) + chance.up_to(ms(60));
        world.link(b, a).delay = ms(20) + chance.up_to(ms(60));
        world.run_for(ms(600));
        let record = world.captured();
        let (firsts, seconds) = (of(M1, &record), of(M2, &record));
        assert_eq!((firsts.len(), seconds.len()), (2, 2), "seed {seed}: both were begun and answered");
        let leader = if world.leads(a, b) { public(1) } else { public(2) };
        led[usize::from(leader == public(2))] += 1;
        let its_first = firsts.iter().find(|m1| m1.from == leader).unwrap();
        let its_answer = seconds.iter().find(|m2| m2.to == leader).unwrap();
        let kept = (index(its_first).to_vec(), responders_index(its_answer).to_vec());
        let kept = if leader == public(1) { kept } else { (kept.1, kept.0) };
        for idle in [ms(0), secs(20), secs(60)] {
            world.run_for(idle);
            assert_eq!(indexes_in_use(&mut world, a, b), kept, "seed {seed} after {idle:?}");
        }
        assert_eq!((downs(&world, a), downs(&world, b)), (0, 0), "seed {seed}");
    }
    assert!(led.iter().all(|&times| times >= 10), "{led:?}");
}

#[test]
fn of_two_handshakes_in_turn_the_later_stays_though_the_earlier_ends_last() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        world.capture();
        // The first third message is lost: its repetition comes when the later handshake is complete.
        let mut lost = false;
        world.meddle(move |datagram| {
            let lose = !lost && datagram.bytes[0] == M3 && datagram.from == public(1);
            lost |= lose;
            if lose { vec![] } else { vec![datagram] }
        });
        let a = world.add(member().at(public(1)).knows(public(2)));
        // It begins its own when it has just answered the other's.
        world.run_for(ms(25));
        let b = world.add(member().at(public(2)).knows(public(1)));
        world.run_for(secs(2));
        let record = world.captured();
        let (firsts, seconds) = (of(M1, &record), of(M2, &record));
        assert!(firsts.len() == 2 && firsts[1].from == public(2), "seed {seed}");
        let later = seconds.iter().find(|m2| m2.to == public(2)).unwrap();
        let kept = (responders_index(later).to_vec(), index(firsts[1]).to_vec());
        for idle in [ms(0), secs(60)] {
            world.run_for(idle);
            assert_eq!(indexes_in_use(&mut world, a, b), kept, "seed {seed} after {idle:?}");
        }
        assert_eq!((downs(&world, a), downs(&world, b)), (0, 0), "seed {seed}");
    }
}

#[test]
fn of_two_handshakes_one_session_is_used_by_both_whatever_is_lost() {
    // The two begin at about the same time over a link that loses and overtakes. Whatever each of them saw of it, they
    // use one session afterwards: frames arrive after a silence that is longer than an old session is listened to.
    for seed in 0..300 {
        let mut world = World::new(seed);
        let mut chance = Chance::new(seed);
        world.net.delay = ms(5);
        world.net.jitter = chance.up_to(ms(40));
        world.net.loss = 0.2;
        let a = world.add(member().at(public(1)).knows(public(2)));
        world.run_for(chance.up_to(ms(60)));
        let b = world.add(member().at(public(2)).knows(public(1)));
        world.run_for(secs(2));
        world.net.loss = 0.0;
        assert!(world.run_until(secs(60), |world| world.meet(a, b)), "seed {seed}");
        world.run_for(secs(6));
        let before = (downs(&world, a), downs(&world, b));
        world.run_for(secs(80));
        assert_eq!((downs(&world, a), downs(&world, b)), before, "seed {seed}");
        for (from, to) in [(a, b), (b, a)] {
            let frame = world.send(from, to, 100, false);
            world.run_for(ms(100));
            assert!(world.got(to, frame), "seed {seed}");
        }
    }
}

// ---- rekey ----

#[test]
fn rekey_goes_inside_the_session() {
    let mut world = World::new(7);
    let (a, b) = pair(&mut world);
    assert!(world.talks_within(b, a, secs(1)).is_some());
    world.run_for(ms(100));
    world.capture();
    // Whoever can hold up handshakes from outside holds up no rekey.
    world.meddle(|datagram| if datagram.bytes[0] <= M3 { vec![] } else { vec![datagram] });
    let before = indexes_in_use(&mut world, a, b);
    let mut record = Vec::new();
    let mut frames = Vec::new();
    while world.rekeys(a, b) == 0 || world.rekeys(b, a) == 0 {
        frames.push((a, world.send(b, a, 500, false)));
        frames.push((b, world.send(a, b, 500, false)));
        world.run_for(ms(250));
        record.extend(world.captured());
        assert!(world.now().as_micros() < 130_000_000, "a new key every two minutes");
    }
    assert!(record.iter().all(|datagram| datagram.bytes[0] == SEALED), "nothing is seen of it outside");
    // The three are there, as long as a message in a control packet is, in their order and under the old key.
    let lengths = [160, 154, 86].map(|message| SEAL_FRONT + 1 + message + SEAL_BACK);
    let messages: Vec<_> = record.iter().filter(|d| lengths.contains(&d.bytes.len())).collect();
    assert_eq!(messages.iter().map(|d| d.bytes.len()).collect::<Vec<_>>(), lengths);
    for message in messages {
        let old = if message.to == public(1) { &before.0 } else { &before.1 };
        assert_eq!(index(message), old);
    }
    let after = indexes_in_use(&mut world, a, b);
    assert!(before.0 != after.0 && before.1 != after.1, "there is another session");
    assert!(frames.iter().all(|&(to, frame)| world.got(to, frame)));
    // And so for ever.
    for _ in 0..600 {
        world.send(b, a, 500, true);
        world.run_for(secs(1));
    }
    assert!(world.rekeys(a, b) >= 5);
    assert!(world.captured().iter().all(|datagram| datagram.bytes[0] == SEALED));
}

// ---- unproven addresses ----

/// How many bytes came to the watched stranger.
fn came(world: &World) -> usize {
    world.overheard().iter().map(|(_, datagram)| datagram.bytes.len()).sum()
}

/// A pair that has told each other all there is to tell. From now on everything that `b` sends seems to come from a
/// stranger; what the stranger gets stays unread.
fn behind_a_strange_address(world: &mut World) -> (Id, Id) {
    world.watch(stranger());
    let (a, b) = pair(world);
    assert!(world.talks_within(b, a, secs(1)).is_some());
    world.run_for(secs(20));
    world.capture();
    world.meddle(|datagram| {
        let from = if datagram.from == public(2) { stranger() } else { datagram.from };
        vec![Datagram { from, ..datagram }]
    });
    (a, b)
}

/// Runs on, and holds what went to the stranger against what came from there, at every moment.
fn watched(world: &mut World, heard: &mut usize, time: Duration) {
    let end = world.now() + time;
    while world.now() < end {
        world.run_for(ms(10));
        *heard +=
            world.captured().iter().filter(|d| d.from == public(2)).map(|d| d.bytes.len()).sum::<usize>();
        assert!(came(world) <= *heard, "S2: {} bytes went to where {heard} came from", came(world));
    }
}

#[test]
fn no_byte_more_to_an_unproven_address_than_came_from_it() {
    let mut world = World::new(8);
    let (a, b) = behind_a_strange_address(&mut world);
    let mut heard = 0;
    // One keepalive is shorter than a challenge and earns none; the second does.
    let keepalive = SEAL_FRONT + 2 + SEAL_BACK;
    for keepalives in [1, 2] {
        while heard < keepalives * keepalive {
            watched(&mut world, &mut heard, ms(100));
        }
        watched(&mut world, &mut heard, ms(100));
        assert_eq!((heard, world.overheard().len()), (keepalives * keepalive, keepalives - 1));
    }
    world.run_for(secs(2));
    // Many frames earn a challenge a second, and nothing else: data stays on the proved path.
    for _ in 0..100 {
        world.send(b, a, 1000, true);
        watched(&mut world, &mut heard, ms(50));
    }
    let challenges = world.overheard().len() - 1;
    assert!((3..=7).contains(&challenges), "{challenges} in five seconds");
    assert!(world.overheard().iter().all(|(_, datagram)| datagram.bytes.len() == SEAL_FRONT + 8 + SEAL_BACK));
    // However long that goes on, small packets or none.
    for _ in 0..120 {
        world.send(b, a, 30, false);
        watched(&mut world, &mut heard, secs(1));
    }
}

#[test]
fn no_byte_more_to_an_unproven_address_that_repeats_a_handshake() {
    let mut world = World::new(9);
    world.capture();
    world.watch(stranger());
    // The third message comes from elsewhere than the first.
    world.meddle(|datagram| {
        let from = if datagram.bytes[0] == M3 { stranger() } else { datagram.from };
        vec![Datagram { from, ..datagram }]
    });
    let (a, b) = pair(&mut world);
    world.run_for(secs(10));
    let record = world.captured();
    let heard: usize = of(M3, &record).iter().map(|m3| m3.bytes.len()).sum();
    assert!(came(&world) > 0 && came(&world) <= heard, "{} of {heard}", came(&world));
    assert!(world.meet(a, b) || downs(&world, b) > 0);

    // A recorded first message: an answer for each copy while it lives, each shorter than what it answers.
    let mut world = World::new(10);
    world.capture();
    world.watch(stranger());
    world.meddle(|datagram| if datagram.bytes[0] == M3 { vec![] } else { vec![datagram] });
    pair(&mut world);
    world.run_for(ms(60));
    let m1 = of(M1, &world.captured())[0].clone();
    let mut sent = 0;
    for _ in 0..100 {
        world.inject(stranger(), m1.to, &m1.bytes);
        sent += m1.bytes.len();
        world.run_for(ms(100));
        assert!(came(&world) <= sent);
    }
    assert!(came(&world) > 0);
    let answered = world.overheard().len();
    world.run_for(minutes(2));
    assert_eq!(world.overheard().len(), answered, "nothing on a timer");
}

// ---- what is sealed ----

#[test]
fn what_a_frame_says_changes_nothing_about_its_length_on_the_wire() {
    // S14: nothing is compressed, so that whoever can have something sent beside a secret, and sees lengths, learns
    // nothing of it. Every byte of a frame takes a byte, whatever it is.
    let mut world = World::new(14);
    let (a, b) = pair(&mut world);
    assert!(world.run_until(secs(5), |world| world.meet(a, b)));
    world.run_for(secs(5));
    let mut chance = Chance::new(14);
    for length in [14, 60, 61, 300, 1000, 1400, 1514] {
        let mut frames = [vec![0; length], vec![b'A'; length], vec![0; length]];
        chance.fill(&mut frames[2]);
        let lengths = frames.map(|mut frame| {
            frame[..6].copy_from_slice(&world.mac(b).0);
            frame[6..12].copy_from_slice(&world.mac(a).0);
            // A local experiment of IEEE 802, which nobody looks into.
            frame[12..14].copy_from_slice(&[0x88, 0xb5]);
            world.capture();
            world.strike_tap(a, &frame);
            let sent = world.captured();
            of(SEALED, &sent).iter().map(|datagram| datagram.bytes.len()).collect::<Vec<_>>()
        });
        assert!(lengths.iter().all(|these| *these == lengths[0]), "{length}: {lengths:?}");
        let (sum, parts) = (lengths[0].iter().sum::<usize>(), lengths[0].len());
        let most = length + parts * (SEAL_FRONT + SEAL_BACK + 1);
        assert!(parts > 0 && (length..=most).contains(&sum), "{length}: {lengths:?}");
    }
}
