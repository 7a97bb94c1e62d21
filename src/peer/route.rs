//! How one peer is reached: what makes an address known, what makes it the path, and what makes the path doubtful. When
//! all that happens stands in `due.rs`.
//!
//! Either node leaves a dead path, or a relay, for whatever is proved first. Of several direct paths that work the node that
//! leads chooses, and the other follows it there; so the two do not pull at each other.

use std::net::SocketAddr;

use crate::base::limits::{CONFIRM_EVERY, FIRST_PAUSE, PROBE_AFTER};
use crate::base::time::{Duration, Instant, earliest};
use crate::peer::path::{CHALLENGE_LEN, Candidate, Nonce, Path};
use crate::peer::rank::{RoundTrip, is_better};
use crate::peer::{Metering, Peer};
use crate::wire::control::Endpoints;

impl Peer {
    // ---- where it may be ----

    /// Notes another address where it might be reached, as others say.
    pub fn add_endpoint(&mut self, now: Instant, address: SocketAddr) {
        let new = !self.endpoints.has(address);
        self.endpoints.told.add(address);
        if new {
            self.news_of_address(now);
        }
    }

    /// Notes where it says itself that it is, in place of what it said before. What is new comes first: others have had
    /// their share of what may be sent to one host (S2).
    pub fn name_endpoints(&mut self, now: Instant, named: Endpoints) {
        let old = self.endpoints;
        let fresh = named.iter().filter(|address| !old.has(*address));
        let as_before = old.named.iter().filter(|address| named.has(*address));
        self.endpoints.named = Endpoints::default();
        let ordered = fresh.chain(as_before).chain(named.iter());
        ordered.for_each(|address| self.endpoints.named.append(address));
        if named.iter().any(|address| !old.has(address)) {
            self.news_of_address(now);
        }
    }

    fn news_of_address(&mut self, now: Instant) {
        if self.is_up() && (self.direct().is_none() || self.doubt) {
            self.seek_direct(now);
        } else if self.is_up() {
            self.compare_soon(now);
        }
    }

    // ---- what comes ----

    /// Notes an authenticated packet of `length` bytes that came by `from`.
    pub fn heard(&mut self, now: Instant, from: Path, length: usize) {
        self.attention |= self.live.heard(now, self.path == Some(from));
        if self.path == Some(from) {
            self.path_heard = now;
            self.doubt = false;
            if self.lost_since.take().is_some() {
                self.attention = true;
                if matches!(from, Path::Direct(_)) {
                    self.compare_soon(now);
                }
            }
            return;
        }
        match from {
            Path::Direct(address) => {
                let replace = self.candidate.is_none_or(|c| c.address() != address && c.is_stale(now));
                if replace {
                    self.candidate = Some(Candidate::new(now, address));
                }
                if let Some(candidate) = self.candidate.as_mut().filter(|c| c.address() == address) {
                    candidate.heard(now, length);
                    self.attention |= candidate.wants_challenge(now);
                }
            }
            // The relay's hop MAC and ours have both passed: whoever sends by that circuit is reached by it. A peer
            // takes to a relay when its direct path is dead, so ours is too, unless it was heard just now.
            Path::Via { .. } => {
                if self.path.is_none() || self.is_lost() || now.since(self.path_heard) > PROBE_AFTER {
                    self.take_path(now, from);
                }
            }
        }
    }

    /// Takes in a keepalive of the peer. Returns whether one is to go back.
    pub fn kept(&mut self, now: Instant, payload: &[u8]) -> bool {
        self.attention = true;
        self.live.kept(now, payload, self.leads)
    }

    /// What a keepalive carries; `serve` tells whether it wants one back.
    pub fn keepalive(&mut self, now: Instant, serve: bool) -> [u8; 2] {
        self.live.pace().payload(now, serve)
    }

    /// Begins a question to the peer, by the path in use or at its addresses; `secret` makes its numbers.
    pub fn ask(&mut self, now: Instant, secret: [u8; 32]) {
        self.questions.ask(now, secret);
    }

    /// Puts the question that was begun last once more.
    pub fn ask_again(&mut self) {
        self.questions.repeat();
    }

    /// The number to put to `place` in the question that was begun last.
    pub fn nonce_for(&self, place: Path) -> Option<Nonce> {
        self.questions.nonce_for(place)
    }

    /// Notes that a challenge that came by `from` was answered there.
    pub fn answer_sent(&mut self, from: Path) {
        if let Some(candidate) = self.candidate.as_mut().filter(|c| from == Path::Direct(c.address())) {
            candidate.answered();
        }
    }

    /// Notes that the candidate at hand was challenged.
    pub fn challenged(&mut self, now: Instant, nonce: Nonce) {
        if let Some(candidate) = self.candidate.as_mut() {
            candidate.challenged(now, nonce);
        }
    }

    /// The peer answered a challenge from `from`, which may prove a better path than the one in use.
    pub fn answered(&mut self, now: Instant, from: Path, nonce: &Nonce) {
        let answered = self.questions.answered(now, from, nonce);
        let rtt = answered.and_then(|answered| answered.rtt);
        if self.path == Some(from) {
            self.rtt = rtt.map(|rtt| RoundTrip::measured(self.rtt, rtt)).or(self.rtt);
            return;
        }
        let Path::Direct(address) = from else { return };
        let seeking = self.direct().is_none() || self.doubt;
        let proves_candidate = self.candidate.is_some_and(|candidate| candidate.proves(from, nonce));
        let was_asked = answered.is_some() && self.endpoints.has(address);
        if was_asked && (seeking || self.prefers(address, rtt))
            || proves_candidate && (seeking || !self.leads)
        {
            self.take_path(now, from);
            self.rtt = rtt.map(|rtt| RoundTrip::measured(None, rtt));
        } else if proves_candidate && let Some(candidate) = self.candidate.as_mut() {
            candidate.move_later(now);
            self.attention = true;
        }
        if self.path != Some(from) && self.candidate.is_some_and(|c| c.strayed(from, nonce)) {
            // A NAT on its side has another port for the place where it heard the challenge: that is the one to ask.
            let mut candidate = Candidate::new(now, address);
            candidate.heard(now, CHALLENGE_LEN);
            self.candidate = Some(candidate);
            self.attention = true;
        }
        if was_asked && self.path != Some(from) {
            // It is there as well, should the path in use fail.
            self.endpoints.proved.add(address);
        }
    }

    /// Whether this node chooses, and likes that address better than the one in use.
    fn prefers(&self, address: SocketAddr, rtt: Option<Duration>) -> bool {
        let known = self.address().zip(self.rtt).zip(rtt);
        self.leads && known.is_some_and(|((old, known), rtt)| is_better((old, known.least), (address, rtt)))
    }

    // ---- the path ----

    /// Uses `path` from now on.
    pub fn take_path(&mut self, now: Instant, path: Path) {
        if let Some(old) = self.address() {
            self.endpoints.proved.add(old);
        }
        let is_relayed = matches!(path, Path::Via { .. });
        self.left_silence = is_relayed || self.path.is_none() || self.is_lost() || self.doubt;
        if self.path != Some(path) {
            self.rtt = None;
            self.metering = Metering::Idle;
            self.mtus.enter(now, path);
        }
        // The third message may go again now, to where the peer is.
        if let Some(confirm) = self.confirm.as_mut().filter(|confirm| confirm.by.is_some()) {
            confirm.by = Some(path);
            confirm.next = confirm.next.min(now + CONFIRM_EVERY);
        }
        self.path = Some(path);
        self.path_heard = now;
        self.live.renewed(now, path);
        self.lost_since = None;
        self.doubt = false;
        self.candidate = None;
        match path {
            Path::Direct(_) => self.compare_soon(now),
            Path::Via { .. } => self.seek_direct(now),
        }
        self.attention = true;
    }

    /// Uses `path` in place of one that is dead, and goes on looking for another until the peer is heard there.
    pub fn try_path(&mut self, now: Instant, path: Path) {
        if self.path == Some(path) {
            return;
        }
        let lost_since = self.lost_since;
        self.take_path(now, path);
        self.lost_since = lost_since;
    }

    /// The path in use seems to lead nowhere: it is kept until a better one is found or the peer is given up.
    pub(super) fn lose_path(&mut self, now: Instant) {
        if let Some(address) = self.address() {
            self.endpoints.proved.add(address);
        }
        self.lost_since.get_or_insert(now);
        self.seek_direct(now);
    }

    /// The path in use leads nowhere for certain: its circuit has ended.
    pub fn drop_path(&mut self, now: Instant) {
        self.lose_path(now);
        self.path = None;
    }

    /// Something changed out there: challenges the path in use and the other addresses at once.
    pub fn network_changed(&mut self, now: Instant) {
        self.ask_now = true;
        self.live.pace().forget(now);
        self.mtus.network_changed(now);
        if !self.is_up() {
            return;
        }
        if self.direct().is_none() {
            self.seek_direct(now);
        } else {
            self.compare_soon(now);
        }
    }

    /// Whether nothing came any more by the path that was in use before this one.
    pub fn left_silence(&self) -> bool {
        self.left_silence
    }

    /// Whether nothing came by the path in use though it was asked.
    pub fn is_doubtful(&self) -> bool {
        self.doubt
    }

    /// There is something new that may lead to a direct path.
    pub fn seek_direct(&mut self, now: Instant) {
        self.direct_pause.reset();
        self.try_direct = Some(now);
        self.attention = true;
    }

    /// There is something new to compare the path in use with.
    fn compare_soon(&mut self, now: Instant) {
        self.compared = 0;
        self.direct_pause.reset();
        // Whoever seeks goes on seeking.
        self.try_direct = if self.is_lost() {
            earliest(self.try_direct, Some(now + FIRST_PAUSE))
        } else {
            self.leads.then_some(now + FIRST_PAUSE)
        };
    }
}
