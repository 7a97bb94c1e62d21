//! Members that like different ciphers: each link takes one that both ends have, and nobody is left out.

use peervpn::base::ids::Suite;

use crate::sim::link::Link;
use crate::sim::spec::{member, public};
use crate::sim::{Id, World};
use crate::{minutes, ms, secs};

const AES: Suite = Suite::Aes256Sha256;
const CHACHA: Suite = Suite::ChaCha20Poly1305;
const GCM: Suite = Suite::Aes256Gcm;

/// The suite under which `at` seals for `other`.
fn suite(world: &World, at: Id, other: Id) -> Option<Suite> {
    let peer = format!("peer\tid={}\t", world.short(other));
    let status = world.status(at);
    let fields = status.lines().find(|line| line.starts_with(&peer))?.split('\t');
    let name = fields.filter_map(|field| field.strip_prefix("cipher=")).next()?;
    Suite::ALL.iter().copied().find(|suite| suite.name() == name)
}

#[test]
fn every_link_has_a_cipher_that_both_ends_like_or_the_one_that_all_have() {
    let mut world = World::new(1);
    let hub = world.add(member().at(public(1)).likes(&[GCM, CHACHA]).relay());
    let ours: Vec<(Id, &[Suite])> = [&[][..], &[GCM], &[CHACHA], &[CHACHA, AES]]
        .into_iter()
        .map(|likes| (world.add(member().knows(public(1)).likes(likes)), likes))
        .collect();
    for &(one, _) in &ours {
        assert!(world.talks_within(one, hub, secs(30)).is_some());
    }
    for &(one, likes) in &ours {
        let wanted = likes.first().copied().unwrap_or(AES);
        assert_eq!(suite(&world, one, hub), Some(wanted), "{likes:?}");
        for &(other, theirs) in ours.iter().filter(|(other, _)| *other != one) {
            assert!(world.talks_within(one, other, secs(30)).is_some(), "{likes:?} {theirs:?}");
            let common = likes.iter().find(|suite| theirs.contains(suite)).copied();
            assert_eq!(suite(&world, one, other), Some(common.unwrap_or(AES)), "{likes:?} {theirs:?}");
        }
    }
}

#[test]
fn keys_change_and_no_frame_is_lost_whatever_the_cipher() {
    // S5: the invariants see to it that no nonce comes twice under a key.
    for cipher in [CHACHA, GCM] {
        let mut world = World::new(2);
        world.net = Link { jitter: ms(20), duplicate: 0.1, corrupt: 0.05, ..Link::default() };
        let a = world.add(member().at(public(1)).likes(&[cipher]));
        let b = world.add(member().at(public(2)).knows(public(1)).likes(&[cipher]));
        assert!(world.talks_within(b, a, secs(30)).is_some());
        let mut frames = Vec::new();
        for n in 0..5 * 60 * 5 {
            let length = 60 + 7 * (n % 200);
            frames.push((b, world.send(a, b, length, false)));
            frames.push((a, world.send(b, a, length, false)));
            world.run_for(ms(200));
        }
        world.run_for(secs(1));
        for &(to, id) in &frames {
            let frame = world.frame(id);
            assert!(frame.lost == frame.carriers || world.got(to, id), "{id:?} arrived and did not come out");
        }
        assert!(world.rekeys(a, b) >= 2, "{}", world.rekeys(a, b));
        assert_eq!((suite(&world, a, b), suite(&world, b, a)), (Some(cipher), Some(cipher)));
        world.run_for(minutes(1));
    }
}
