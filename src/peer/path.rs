//! The way to one peer: the path in use, an address the peer was heard from that has yet to be proved,
//! and the signs of life that tell whether the path still works.
//!
//! Data stays on the path in use until another is proved by a challenge that only the peer can answer and
//! that only reaches it there (S19). Until then that address gets no more bytes than came from it (S2).

use std::net::SocketAddr;

use crate::base::ids::{CircuitId, PeerKey};
use crate::base::limits::{DEAD_AFTER, PROBE_AFTER, PROBE_EVERY, SEAL_BACK, SEAL_FRONT};
use crate::base::time::{Duration, Instant, earliest};
use crate::peer::pace::Pace;
use crate::wire::control::Endpoints;

/// A way that packets take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// Straight to an address.
    Direct(SocketAddr),
    /// Through another peer.
    Via {
        /// Who relays.
        relay: PeerKey,
        /// Our own number of the circuit.
        circuit: CircuitId,
    },
}

/// Addresses where a peer might be reached directly. What others say does not push out what was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    /// Where it was reached.
    pub proved: Endpoints,
    /// Where it says itself that it is, and who let us meet.
    pub named: Endpoints,
    /// Where others say that it is.
    pub told: Endpoints,
}

impl Places {
    /// All of them, once each, where it was reached first.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let named = self.named.iter().filter(|address| !self.proved.has(*address));
        let is_new = |address: &SocketAddr| !self.proved.has(*address) && !self.named.has(*address);
        self.proved.iter().chain(named).chain(self.told.iter().filter(is_new))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Whether it is one of them.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.proved.has(address) || self.named.has(address) || self.told.has(address)
    }
}

/// The random number in a challenge and in its answer.
pub type Nonce = [u8; 8];

/// Length of a sealed challenge or response, in bytes.
pub const CHALLENGE_LEN: usize = SEAL_FRONT + 8 + SEAL_BACK;

/// A proved address is taken into use after this pause by the node that leads, so that the other moves first
/// and two nodes that hear each other on different paths end up on one.
const LEADERS_PAUSE: Duration = Duration::from_secs(1);
/// Two challenges to the same address are so far apart.
const CHALLENGE_EVERY: Duration = Duration::from_secs(1);

/// An address that authenticated packets came from and that is not the path in use.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    address: SocketAddr,
    heard_first: Instant,
    heard_last: Instant,
    /// Bytes authenticated from there less bytes sent there.
    credit: u64,
    nonce: Option<(Nonce, Instant)>,
    move_at: Option<Instant>,
}

impl Candidate {
    /// A candidate that a packet has just come from.
    pub fn new(now: Instant, address: SocketAddr) -> Candidate {
        Candidate { address, heard_first: now, heard_last: now, credit: 0, nonce: None, move_at: None }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When it was first heard.
    pub fn heard_first(&self) -> Instant {
        self.heard_first
    }

    /// Whether another may take its place: nothing came from it for so long, or it was not worth a challenge yet.
    pub fn is_stale(&self, now: Instant) -> bool {
        let unworthy = self.nonce.is_none() && self.credit < CHALLENGE_LEN as u64;
        unworthy || now.since(self.heard_last) > 2 * CHALLENGE_EVERY
    }

    /// Notes an authenticated packet of `length` bytes from there.
    pub fn heard(&mut self, now: Instant, length: usize) {
        self.heard_last = now;
        self.credit += length as u64;
    }

    /// Whether a challenge may and should go there now.
    pub fn wants_challenge(&self, now: Instant) -> bool {
        let rested = self.nonce.is_none_or(|(_, at)| now.since(at) >= CHALLENGE_EVERY);
        self.move_at.is_none() && rested && self.credit >= CHALLENGE_LEN as u64
    }

    /// Notes that a challenge of the peer was answered there.
    pub fn answered(&mut self) {
        self.credit = self.credit.saturating_sub(CHALLENGE_LEN as u64);
    }

    /// Notes that a challenge with that nonce went there.
    pub fn challenged(&mut self, now: Instant, nonce: Nonce) {
        self.credit = self.credit.saturating_sub(CHALLENGE_LEN as u64);
        self.nonce = Some((nonce, now));
    }

    /// Whether `nonce`, come back from `from`, proves the address.
    pub fn proves(&self, from: Path, nonce: &Nonce) -> bool {
        from == Path::Direct(self.address) && self.nonce.is_some_and(|(expected, _)| expected == *nonce)
    }

    /// Whether the challenge was answered from elsewhere.
    pub fn strayed(&self, from: Path, nonce: &Nonce) -> bool {
        from != Path::Direct(self.address) && self.nonce.is_some_and(|(expected, _)| expected == *nonce)
    }

    /// Decides to take it into use after the leader's pause.
    pub fn move_later(&mut self, now: Instant) {
        self.move_at.get_or_insert(now + LEADERS_PAUSE);
    }

    /// When it is to be taken into use, once proved.
    pub fn move_at(&self) -> Option<Instant> {
        self.move_at
    }
}

/// What a path's signs of life ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// Send something, so that the NAT in between keeps its mapping and the peer hears of us.
    Keepalive,
    /// Ask the peer to answer.
    Ask,
    /// The path is dead.
    Dead,
}

/// When something was last sent to and heard from a peer.
#[derive(Clone, Copy, Debug)]
pub struct Liveness {
    sent: Instant,
    heard: Instant,
    /// Since when something is out that nothing has followed back.
    awaiting: Option<Instant>,
    asked: Option<Instant>,
    pace: Pace,
}

impl Liveness {
    /// A peer that has just been heard, and that we or it keeps in touch with.
    pub fn new(now: Instant, pace: Pace) -> Liveness {
        Liveness { sent: now, heard: now, awaiting: None, asked: None, pace }
    }

    /// How long its path may lie idle.
    pub fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }

    /// Takes in a keepalive. Returns whether one is to go back.
    pub fn kept(&mut self, now: Instant, payload: &[u8], leads: bool) -> bool {
        self.pace.take(now, self.sent, payload, leads)
    }

    /// Notes that something went out; `expects` tells whether it should bring something back sooner or later.
    pub fn sent(&mut self, now: Instant, expects: bool) {
        self.sent = now;
        if expects && self.awaiting.is_none() {
            self.awaiting = Some(now);
        }
    }

    /// Notes that something authenticated came in; `by_path` tells whether it did by the path in use. Returns whether that
    /// makes a keepalive due sooner.
    pub fn heard(&mut self, now: Instant, by_path: bool) -> bool {
        let waited = self.pace.waits(self.sent, self.heard);
        if by_path {
            self.pace.heard_at(now, self.sent.max(self.heard));
        }
        self.heard = now;
        self.awaiting = None;
        self.asked = None;
        waited && !self.pace.waits(self.sent, now)
    }

    /// Another path is in use: what is out went by the old one.
    pub fn renewed(&mut self, now: Instant, path: Path) {
        self.pace.renew(now, matches!(path, Path::Direct(_)));
        self.awaiting = None;
        self.asked = None;
    }

    /// Whether nothing but its silence is a reason to ask it.
    pub fn is_late(&self) -> bool {
        self.asked.is_none() && self.awaiting.is_none()
    }

    /// Whether it was asked and has not answered.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Notes that the peer was asked to answer.
    pub fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// When the peer was last heard.
    pub fn last_heard(&self) -> Instant {
        self.heard
    }

    /// What is to be done now, the gravest first.
    pub fn sign(&self, now: Instant) -> Option<Sign> {
        if self.dead_at().is_some_and(|at| at <= now) {
            Some(Sign::Dead)
        } else if self.ask_at() <= now {
            Some(Sign::Ask)
        } else if self.pace.keep_at(self.sent, self.heard) <= now {
            Some(Sign::Keepalive)
        } else {
            None
        }
    }

    /// When [`Liveness::sign`] will have something to say.
    pub fn next(&self) -> Option<Instant> {
        earliest(self.dead_at(), Some(self.ask_at().min(self.pace.keep_at(self.sent, self.heard))))
    }

    fn ask_at(&self) -> Instant {
        match (self.asked, self.awaiting) {
            (Some(asked), _) => asked + PROBE_EVERY,
            (None, Some(awaiting)) => awaiting + PROBE_AFTER,
            (None, None) => self.pace.late_at(self.heard),
        }
    }

    fn dead_at(&self) -> Option<Instant> {
        self.awaiting.map(|since| since + DEAD_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn address() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 7000))
    }

    #[test]
    fn an_unproven_address_gets_no_more_than_came_from_it() {
        // S2: a keepalive is shorter than a challenge, so it earns none.
        let mut candidate = Candidate::new(at(0), address());
        candidate.heard(at(0), SEAL_FRONT + SEAL_BACK);
        assert!(!candidate.wants_challenge(at(0)));
        candidate.heard(at(5), SEAL_FRONT + SEAL_BACK);
        assert!(candidate.wants_challenge(at(5)));
        candidate.challenged(at(5), [1; 8]);
        assert!(!candidate.wants_challenge(at(2000)), "its credit is spent");
        candidate.heard(at(6), 1400);
        assert!(!candidate.wants_challenge(at(7)), "one challenge a second");
        assert!(candidate.wants_challenge(at(1005)));
    }

    #[test]
    fn a_challenge_is_answered_or_returned_but_not_both() {
        // S2: one packet came, one goes.
        let mut candidate = Candidate::new(at(0), address());
        candidate.heard(at(0), SEAL_FRONT + 8 + SEAL_BACK);
        candidate.answered();
        assert!(!candidate.wants_challenge(at(0)));
    }

    #[test]
    fn only_the_right_nonce_from_the_right_place_proves() {
        let mut candidate = Candidate::new(at(0), address());
        assert!(!candidate.proves(Path::Direct(address()), &[0; 8]));
        candidate.challenged(at(0), [1; 8]);
        assert!(!candidate.proves(Path::Direct(address()), &[2; 8]));
        let elsewhere = SocketAddr::from(([192, 0, 2, 2], 7000));
        assert!(!candidate.proves(Path::Direct(elsewhere), &[1; 8]));
        assert!(candidate.proves(Path::Direct(address()), &[1; 8]));
    }

    #[test]
    fn silence_leads_from_question_to_death() {
        let mut live = Liveness::new(at(0), Pace::new(at(0), true));
        live.sent(at(0), true);
        assert_eq!(live.sign(at(2_999)), None);
        assert_eq!(live.sign(at(3_000)), Some(Sign::Ask));
        live.asked(at(3_000));
        assert_eq!(live.sign(at(3_999)), None);
        assert_eq!(live.sign(at(4_000)), Some(Sign::Ask));
        live.asked(at(6_500));
        assert_eq!(live.sign(at(6_999)), None);
        assert_eq!(live.next(), Some(at(7_000)));
        assert_eq!(live.sign(at(7_000)), Some(Sign::Dead));
        live.heard(at(10_000), true);
        live.sent(at(10_000), false);
        assert_eq!(live.sign(at(10_001)), None);
    }

    #[test]
    fn an_idle_path_is_kept_and_a_silent_one_asked() {
        let mut live = Liveness::new(at(0), Pace::new(at(0), true));
        assert_eq!(live.sign(at(24_999)), None);
        assert_eq!(live.sign(at(25_000)), Some(Sign::Keepalive));
        live.sent(at(25_000), false);
        assert_eq!(live.sign(at(29_999)), None);
        assert_eq!(live.sign(at(30_000)), Some(Sign::Ask));
    }
}
