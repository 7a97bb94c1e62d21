//! Two members on one local network. Each carries broadcasts between that network and the mesh, so one that either
//! takes in would come out at the other, which takes it in again, and so on for ever. Only one of them may.
//!
//! While there are peers, a probe goes out at our TAP every [`LOOP_EVERY`]. A member that hears it at its own TAP asks the
//! sender inside their session whether it is its own; that it knows the nonce shows the sender that it heard it, the
//! answer shows the asker who sent it. From then on both know, and the one with the smaller id floods for both; the other
//! stands by until it hears of no such neighbour for [`LOOP_HOLD`]. So the way around is cut where it would close,
//! whatever it leads through: one switch, or a second tunnel between the same bridges.
//!
//! Who lacks the network's key sees random bytes and can at most play back a probe, which makes its hearer ask one
//! question; no more than [`LOOP_ASKS`] at once, one a second. A member can have another stand by only by hearing or
//! being heard on its network, where it could do anything else as well.

use subtle::ConstantTimeEq;

use crate::base::discard::Discard;
use crate::base::event::Event;
use crate::base::ids::{Mac, NodeId, PeerKey, ShortId};
use crate::base::limits::{
    LOOP_ASKS, LOOP_EVERY, LOOP_FIRST, LOOP_FRESH, LOOP_HOLD, LOOP_NEIGHBOURS, NEWS_DELAY,
};
use crate::base::outbox::Outbox;
use crate::base::time::{Bucket, Duration, Instant, earliest};
use crate::crypto::random::Random;
use crate::crypto::schedule::{expand, hmac_sha256};
use crate::mesh::Mesh;
use crate::wire::control::Control;
use crate::wire::looping::{PROBE, Probe};

/// What a node does about loops.
pub(super) struct Loops {
    key: [u8; 32],
    /// Probes under this one are known, too.
    next_key: Option<[u8; 32]>,
    /// Under which address our probes go out; the TAP has its own.
    source: Mac,
    /// None while there is nobody to make a loop with.
    next: Option<Instant>,
    /// Our latest probes, the newest first.
    sent: [Option<Sent>; 2],
    /// What we asked others.
    asked: [Option<Asked>; LOOP_ASKS as usize],
    budget: Bucket,
    neighbours: Vec<Neighbour>,
    /// Somebody else floods for us.
    standing_by: bool,
    /// A neighbour came or went: stations that were heard on one side may be on the other.
    rewired: bool,
}

#[derive(Clone, Copy)]
struct Sent {
    nonce: [u8; 8],
    at: Instant,
    /// It came back to ourselves, which was told.
    returned: bool,
}

#[derive(Clone, Copy)]
struct Asked {
    whom: PeerKey,
    nonce: [u8; 8],
    at: Instant,
}

/// A member on the same network.
#[derive(Clone, Copy)]
struct Neighbour {
    peer: PeerKey,
    floods: bool,
    until: Instant,
}

impl Loops {
    pub(super) fn new(key: [u8; 32], random: &mut Random, now: Instant) -> Loops {
        let [a, b, c, d, e] = random.bytes();
        Loops {
            key,
            next_key: None,
            source: Mac([2, a, b, c, d, e]),
            next: None,
            sent: [None; 2],
            asked: [None; LOOP_ASKS as usize],
            budget: Bucket::new(LOOP_ASKS, Duration::from_secs(1), now),
            neighbours: Vec::with_capacity(LOOP_NEIGHBOURS),
            standing_by: false,
            rewired: false,
        }
    }

    /// Knows probes under another key as well.
    pub(super) fn accept_next(&mut self, key: [u8; 32]) {
        self.next_key = Some(key);
    }

    /// When the next probe is due, or a neighbour is to be forgotten.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.neighbours.iter().map(|neighbour| Some(neighbour.until)).fold(self.next, earliest)
    }

    fn make(&self, nonce: [u8; 8], short: ShortId) -> Probe {
        let hidden = mask(&self.key, &nonce, short.0);
        Probe { nonce, hidden, tag: tag(&self.key, &nonce, &hidden) }
    }

    /// Whose probe it is.
    fn open(&self, probe: &Probe) -> Result<ShortId, Discard> {
        let is_its = |key: &&[u8; 32]| bool::from(tag(key, &probe.nonce, &probe.hidden).ct_eq(&probe.tag));
        let key = [Some(&self.key), self.next_key.as_ref()].into_iter().flatten().find(is_its);
        let key = key.ok_or(Discard::Forged)?;
        Ok(ShortId(mask(key, &probe.nonce, probe.hidden)))
    }

    /// One of our latest probes.
    fn own(&mut self, now: Instant, nonce: &[u8; 8]) -> Option<&mut Sent> {
        let fresh = |sent: &&mut Sent| sent.nonce == *nonce && now.since(sent.at) <= LOOP_FRESH;
        self.sent.iter_mut().flatten().find(fresh)
    }

    /// Notes that a question to `whom` is under way, in place of the oldest one.
    fn ask(&mut self, now: Instant, whom: PeerKey, nonce: [u8; 8]) {
        if let Some(place) = self.asked.iter_mut().min_by_key(|place| place.map(|asked| asked.at)) {
            *place = Some(Asked { whom, nonce, at: now });
        }
    }

    /// Whether that is what we asked lately, which is no question any more.
    fn was_asked(&mut self, now: Instant, whom: PeerKey, nonce: &[u8; 8]) -> bool {
        let ours =
            |asked: &Asked| asked.whom == whom && asked.nonce == *nonce && now.since(asked.at) <= LOOP_FRESH;
        let place = self.asked.iter_mut().find(|place| place.as_ref().is_some_and(ours));
        place.is_some_and(|place| place.take().is_some())
    }

    fn decide(&mut self) {
        self.standing_by = self.neighbours.iter().any(|neighbour| neighbour.floods);
    }
}

/// Hides what is plain, or the reverse.
fn mask(key: &[u8; 32], nonce: &[u8; 8], mut text: [u8; 8]) -> [u8; 8] {
    let mask: [u8; 8] = expand(key, &[b"peervpn loop mask\0", nonce]);
    text.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    text
}

fn tag(key: &[u8; 32], nonce: &[u8; 8], hidden: &[u8; 8]) -> [u8; 16] {
    let mac = hmac_sha256(key, &[b"peervpn loop tag\0", nonce, hidden]);
    let mut tag = [0; 16];
    tag.copy_from_slice(&mac[..16]);
    tag
}

impl Mesh {
    /// Whether another member floods for this one's network.
    pub fn stands_by(&self) -> bool {
        self.loops.as_ref().is_some_and(|loops| loops.standing_by)
    }

    /// Whether a loop was found, or one was over, since this was last asked.
    pub fn take_rewiring(&mut self) -> bool {
        self.loops.as_mut().is_some_and(|loops| core::mem::take(&mut loops.rewired))
    }

    /// Members on our own network, and whether they flood for us.
    pub fn beside(&self) -> impl Iterator<Item = (ShortId, bool)> + '_ {
        let neighbours = self.loops.iter().flat_map(|loops| &loops.neighbours);
        neighbours.filter_map(|neighbour| Some((self.short_of(neighbour.peer)?, neighbour.floods)))
    }

    /// There is a new peer: is it on our network?
    pub(super) fn hurry_probe(&mut self, now: Instant) {
        let soon = now + LOOP_FIRST + self.random.jitter(NEWS_DELAY);
        let Some(loops) = &mut self.loops else { return };
        loops.next = earliest(loops.next, Some(soon));
        self.wake(soon);
    }

    /// The probe that is due to go out at the TAP, if one is.
    pub fn loop_probe(&mut self, now: Instant) -> Option<[u8; PROBE]> {
        let reaches_somebody = self.peers.iter().any(|(_, member)| member.peer.is_reachable());
        let loops = self.loops.as_mut().filter(|loops| loops.next.is_some_and(|at| at <= now))?;
        loops.next = reaches_somebody.then_some(now + LOOP_EVERY);
        loops.next?;
        let nonce = self.random.bytes();
        loops.sent = [Some(Sent { nonce, at: now, returned: false }), loops.sent[0]];
        Some(loops.make(nonce, self.short).write(loops.source))
    }

    /// A probe was heard at our TAP.
    pub fn handle_loop_probe(&mut self, now: Instant, bytes: &[u8], out: &mut Outbox) -> Result<(), Discard> {
        let loops = self.loops.as_mut().ok_or(Discard::NotForwarded)?;
        let probe = Probe::read(bytes)?;
        let short = loops.open(&probe)?;
        if let Some(own) = loops.own(now, &probe.nonce) {
            if !core::mem::replace(&mut own.returned, true) {
                out.tell(Event::NetworkLoops);
            }
            return Err(Discard::Ourselves);
        }
        let whom = self.peers.find_short(short).ok_or(Discard::UnknownPeer)?;
        if !loops.budget.take(now) {
            return Err(Discard::Throttled);
        }
        loops.ask(now, whom, probe.nonce);
        self.post_control(now, whom, &Control::LoopQuestion(probe.nonce), out)
    }

    /// A peer asks whether a probe that it heard is ours.
    pub(super) fn handle_loop_question(
        &mut self,
        now: Instant,
        from: PeerKey,
        nonce: [u8; 8],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let loops = self.loops.as_mut().ok_or(Discard::Unexpected)?;
        loops.own(now, &nonce).ok_or(Discard::Unexpected)?;
        self.is_beside(now, from, out);
        self.post_control(now, from, &Control::LoopAnswer(nonce), out)
    }

    /// A peer says that the probe is its own.
    pub(super) fn handle_loop_answer(
        &mut self,
        now: Instant,
        from: PeerKey,
        nonce: [u8; 8],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let loops = self.loops.as_mut().ok_or(Discard::Unexpected)?;
        if !loops.was_asked(now, from, &nonce) {
            return Err(Discard::Unexpected);
        }
        self.is_beside(now, from, out);
        Ok(())
    }

    /// That peer is on our network.
    fn is_beside(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        let own = self.id();
        let Some(id) = self.peers.get(key).map(|member| member.peer.id()) else { return };
        let Some(loops) = &mut self.loops else { return };
        let until = now + LOOP_HOLD;
        if let Some(known) = loops.neighbours.iter_mut().find(|neighbour| neighbour.peer == key) {
            known.until = until;
            return;
        }
        if loops.neighbours.len() == LOOP_NEIGHBOURS {
            return;
        }
        let floods = leads(id, own);
        loops.neighbours.push(Neighbour { peer: key, floods, until });
        loops.decide();
        loops.rewired = true;
        if let Some(peer) = self.short_of(key) {
            out.tell(Event::LoopFound { peer, floods });
        }
        self.wake(until);
    }

    /// Forgets neighbours that were not heard for long, and `gone`, whose session ended.
    pub(super) fn expire_neighbours(&mut self, now: Instant, gone: Option<PeerKey>, out: &mut Outbox) {
        let Some(loops) = &mut self.loops else { return };
        let over = |neighbour: &Neighbour| neighbour.until <= now || Some(neighbour.peer) == gone;
        while let Some(at) = loops.neighbours.iter().position(over) {
            let Neighbour { peer, .. } = loops.neighbours.swap_remove(at);
            loops.rewired = true;
            if let Some(peer) = self.peers.get(peer).map(|member| member.peer.short()) {
                out.tell(Event::LoopOver { peer });
            }
        }
        loops.decide();
    }
}

/// Which of two on one network floods for both.
fn leads(one: NodeId, other: NodeId) -> bool {
    one < other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loops(key: u8) -> Loops {
        Loops::new([key; 32], &mut Random::new([9; 32]), Instant::ZERO)
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    const ALICE: PeerKey = PeerKey { slot: 1, generation: 0 };
    const BOB: PeerKey = PeerKey { slot: 2, generation: 0 };

    #[test]
    fn a_probe_is_for_members_only() {
        let probe = loops(1).make([7; 8], ShortId([5; 8]));
        assert_eq!(loops(1).open(&probe), Ok(ShortId([5; 8])));
        assert_eq!(loops(2).open(&probe), Err(Discard::Forged));
        assert_ne!(probe.hidden, [5; 8]);
        let other = loops(1).make([8; 8], ShortId([5; 8]));
        assert!(probe.hidden.iter().zip(other.hidden).filter(|(a, b)| **a == *b).count() < 4);
        for bit in 0..8 * 24 {
            let mut changed = probe;
            let byte = if bit < 64 { &mut changed.nonce[bit / 8] } else { &mut changed.tag[bit / 8 - 8] };
            *byte ^= 1 << (bit % 8);
            assert_eq!(loops(1).open(&changed), Err(Discard::Forged));
        }
    }

    #[test]
    fn while_the_key_changes_a_probe_counts_under_either() {
        let mut changing = loops(1);
        changing.accept_next([2; 32]);
        for key in [1, 2] {
            let probe = loops(key).make([7; 8], ShortId([5; 8]));
            assert_eq!(changing.open(&probe), Ok(ShortId([5; 8])));
        }
        let probe = changing.make([7; 8], ShortId([5; 8]));
        assert_eq!(loops(2).open(&probe), Err(Discard::Forged), "its own are under the first one");
    }

    #[test]
    fn its_bytes_are_those_of_the_protocol() {
        let page = include_str!("../../PROTOCOL.md");
        let vector = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")).unwrap();
            let byte = |at| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
            (0..line.len()).step_by(2).map(byte).collect::<Vec<u8>>()
        };
        let mut loops = loops(0);
        loops.key.copy_from_slice(&vector("loop.key"));
        loops.source = Mac(vector("loop.source").try_into().unwrap());
        let [nonce, short] = ["loop.nonce", "loop.short"].map(|name| vector(name).try_into().unwrap());
        assert_eq!(loops.make(nonce, ShortId(short)).write(loops.source)[..], vector("loop_probe"));
    }

    #[test]
    fn an_answer_counts_once_from_whom_it_was_asked_and_in_time() {
        let mut loops = loops(1);
        loops.ask(at(0), ALICE, [1; 8]);
        assert!(!loops.was_asked(at(1), BOB, &[1; 8]) && !loops.was_asked(at(1), ALICE, &[2; 8]));
        assert!(loops.was_asked(at(1), ALICE, &[1; 8]) && !loops.was_asked(at(1), ALICE, &[1; 8]));
        loops.ask(at(1), ALICE, [1; 8]);
        assert!(!loops.was_asked(at(12), ALICE, &[1; 8]));
        for nonce in 2..10 {
            loops.ask(at(20), BOB, [nonce; 8]);
        }
        assert!(!loops.was_asked(at(20), ALICE, &[1; 8]), "the oldest made room");
        assert!(loops.was_asked(at(20), BOB, &[9; 8]));
    }
}
