//! The sessions with one peer: the one in use, the one that went before, and one that the peer has yet to
//! confirm. A new key takes over without a lost frame: whoever ended the handshake with the third message
//! in hand knows that both have the key and seals under it; the other waits for the first packet under it.
//!
//! Two handshakes that crossed give two sessions; both nodes then use the one begun by the smaller key, and
//! the other is only listened to. Apart from that the session whose handshake began last wins, for a restarted peer knows
//! no other; one whose handshake ended late because a message was lost does not push a newer one out.
//!
//! Whether two crossed is judged by when messages came, and the network may show each end another order. Then each seals
//! under a session that the other only listens to. So two that were begun within a short time, one by each node, are
//! **twins**: the one that is not in use is kept until the next keepalive has come, and a packet under it
//! some time after shows that the peer decided otherwise. Both then use the one begun by the smaller key.

use crate::base::discard::Discard;
use crate::base::ids::SessionIndex;
use crate::base::limits::{ACCEPT_GRACE, CONFIRM_LIFE, TWIN_GRACE, TWIN_SETTLES};
use crate::base::packet::Packet;
use crate::base::time::{Instant, earliest};
use crate::crypto::macs::Foreseen;
use crate::peer::session::{Role, Session, Traffic};
use crate::wire::envelope::Kind;

/// A session and how it came about.
pub struct Link {
    /// The session.
    pub session: Session,
    /// When its first message was sent, for the initiator; when it came, for the responder.
    pub began: Instant,
    /// When the handshake was complete on this side.
    pub completed: Instant,
    /// Since when it is only listened to.
    retired: Option<Instant>,
    heard: Instant,
    /// Whether the peer is known to have it: a third message or a packet under it came.
    proved: bool,
    /// Whether the node with the smaller key began it.
    preferred: bool,
    /// Whether another that is in use was begun at about the same time from the other end.
    twin: bool,
}

impl Link {
    /// A session whose handshake began at `began` and has just been completed.
    pub fn new(session: Session, began: Instant, completed: Instant) -> Link {
        let proved = session.role() == Role::Responder;
        let (preferred, twin) = (false, false);
        Link { session, began, completed, retired: None, heard: completed, proved, preferred, twin }
    }

    fn is_twin_of(&self, other: &Link) -> bool {
        let (first, second) = (self.began.min(other.began), self.began.max(other.began));
        self.session.role() != other.session.role() && second.since(first) <= CONFIRM_LIFE
    }

    fn retire(mut self, now: Instant) -> Link {
        self.retired.get_or_insert(now);
        self
    }

    /// When nothing more is to be expected of it.
    fn ends_at(&self) -> Instant {
        let end = self.session.ends_at();
        let grace = if self.twin { TWIN_GRACE } else { ACCEPT_GRACE };
        self.retired.map_or(end, |since| end.min(since.max(self.heard) + grace))
    }
}

/// All sessions with one peer.
#[derive(Default)]
pub struct Sessions {
    previous: Option<Link>,
    current: Option<Link>,
    next: Option<Link>,
    /// What the sessions that are gone carried.
    past: Traffic,
}

impl Sessions {
    /// Whether there is one to seal under.
    pub fn any(&self) -> bool {
        self.current.is_some()
    }

    /// The session in use.
    pub fn current(&self) -> Option<&Session> {
        self.current.as_ref().map(|link| &link.session)
    }

    /// The session in use, to seal under.
    pub fn current_mut(&mut self) -> Option<&mut Session> {
        self.current.as_mut().map(|link| &mut link.session)
    }

    /// When a new key is to be asked for; not while one waits to be confirmed.
    pub fn rekey_at(&self) -> Option<Instant> {
        let waits = self.next.as_ref().is_some_and(|next| next.retired.is_none());
        self.current().filter(|_| !waits).map(Session::rekey_at)
    }

    /// Takes in a new session. `leads` tells whether our key is the smaller one. The indexes of sessions that had to go
    /// are handed to `freed`.
    pub fn install(
        &mut self,
        now: Instant,
        mut link: Link,
        leads: bool,
        freed: &mut dyn FnMut(SessionIndex),
    ) {
        let crossed = self.crossing(&link);
        let ours = link.session.role() == Role::Initiator;
        link.preferred = ours == leads;
        if crossed && ours != leads {
            self.listen_only(now, link, freed);
        } else if ours && self.current.is_some() {
            Self::replace(&mut self.next, link, &mut self.past, freed);
        } else if crossed {
            self.next = self.next.take().map(|link| link.retire(now));
            self.take_over(now, link, freed);
        } else {
            self.install_answered(now, link, freed);
        }
        self.note_twins();
    }

    fn note_twins(&mut self) {
        let Sessions { previous, current, next, .. } = self;
        let Some(current) = current else { return };
        for other in [previous, next].into_iter().flatten() {
            other.twin = other.is_twin_of(current);
        }
    }

    /// A session that the peer began, and that crossed none of ours. Its handshake may have begun before that of the one
    /// in use and have ended late, since a message was lost: then the peer has that as the newer one, if it has it.
    fn install_answered(&mut self, now: Instant, link: Link, freed: &mut dyn FnMut(SessionIndex)) {
        match self.current.as_mut().filter(|current| link.began < current.began) {
            Some(newer) if newer.proved => self.listen_only(now, link, freed),
            Some(newer) => {
                let newer = core::mem::replace(newer, link);
                Self::replace(&mut self.next, newer, &mut self.past, freed);
            }
            None => self.take_over(now, link, freed),
        }
    }

    /// Whether `new` and a session that stands were made by handshakes that crossed: the peer's first message came
    /// while ours was out.
    fn crossing(&self, new: &Link) -> bool {
        let crossed = |old: &Link| {
            let (ours, theirs) = match (old.session.role(), new.session.role()) {
                (Role::Initiator, Role::Responder) => (old, new),
                (Role::Responder, Role::Initiator) => (new, old),
                _ => return false,
            };
            ours.began <= theirs.began && theirs.began <= ours.completed
        };
        self.current.as_ref().is_some_and(crossed) || self.next.as_ref().is_some_and(crossed)
    }

    /// The loser of two crossed sessions: the peer may have sent under it before it knew. It pushes out one that waits to be
    /// confirmed least of all.
    fn listen_only(&mut self, now: Instant, link: Link, freed: &mut dyn FnMut(SessionIndex)) {
        let waits = self.next.as_ref().is_some_and(|next| next.retired.is_none());
        let place = if self.previous.is_none() || waits { &mut self.previous } else { &mut self.next };
        Self::replace(place, link.retire(now), &mut self.past, freed);
    }

    fn take_over(&mut self, now: Instant, link: Link, freed: &mut dyn FnMut(SessionIndex)) {
        if let Some(old) = self.current.replace(link) {
            Self::replace(&mut self.previous, old.retire(now), &mut self.past, freed);
        }
    }

    fn replace(
        place: &mut Option<Link>,
        link: Link,
        past: &mut Traffic,
        freed: &mut dyn FnMut(SessionIndex),
    ) {
        if let Some(old) = place.replace(link) {
            past.add(old.session.traffic());
            freed(old.session.local());
        }
    }

    /// Opens a packet under the session of that index. The first one under a session that waited to be confirmed
    /// makes it the one in use.
    pub fn open(
        &mut self,
        now: Instant,
        index: SessionIndex,
        packet: &mut Packet,
        foreseen: &Foreseen,
        freed: &mut dyn FnMut(SessionIndex),
    ) -> Result<Kind, Discard> {
        let link = self.find(index).ok_or(Discard::UnknownIndex)?;
        let kind = link.session.open_foreseen(now, packet, foreseen)?;
        link.heard = now;
        link.proved = true;
        let confirmed =
            self.next.as_ref().is_some_and(|next| next.session.local() == index && next.retired.is_none());
        if confirmed && let Some(next) = self.next.take() {
            self.take_over(now, next, freed);
            self.note_twins();
        }
        self.agree(now, index);
        Ok(kind)
    }

    /// The peer has just sealed under the session of that index. If that is the twin that both should use, and long enough
    /// after we chose the other, it is used from now on.
    fn agree(&mut self, now: Instant, index: SessionIndex) {
        let Sessions { previous, current, next, .. } = self;
        let chosen = |link: &Link| {
            let settled = link.retired.is_some_and(|since| now.since(since) >= TWIN_SETTLES);
            link.session.local() == index && link.twin && link.preferred && settled
        };
        let place = [previous, next].into_iter().flatten().find(|link| chosen(link));
        if let (Some(twin), Some(current)) = (place, current) {
            core::mem::swap(twin, current);
            current.retired = None;
            (twin.retired, twin.twin) = (Some(now), true);
        }
    }

    /// The session of that index, for the relay header.
    pub fn by_index(&mut self, index: SessionIndex) -> Option<&mut Session> {
        self.find(index).map(|link| &mut link.session)
    }

    /// The session of that index, to look at.
    pub fn get(&self, index: SessionIndex) -> Option<&Session> {
        let places = [&self.current, &self.previous, &self.next];
        places.into_iter().flatten().map(|link| &link.session).find(|session| session.local() == index)
    }

    fn find(&mut self, index: SessionIndex) -> Option<&mut Link> {
        self.places().into_iter().flatten().find(|link| link.session.local() == index)
    }

    fn places(&mut self) -> [&mut Option<Link>; 3] {
        [&mut self.current, &mut self.previous, &mut self.next]
    }

    /// Ends the session of that index, as its peer or its confirmation's end wants it. A session that waited to be confirmed
    /// takes the place of the one in use.
    pub fn end(&mut self, index: SessionIndex, freed: &mut dyn FnMut(SessionIndex)) {
        self.end_where(|link| link.session.local() == index, freed);
    }

    /// Ends what is over at `now`.
    pub fn expire(&mut self, now: Instant, freed: &mut dyn FnMut(SessionIndex)) {
        self.end_where(|link| link.ends_at() <= now, freed);
    }

    /// Ends all.
    pub fn clear(&mut self, freed: &mut dyn FnMut(SessionIndex)) {
        self.end_where(|_| true, freed);
    }

    fn end_where(&mut self, over: impl Fn(&Link) -> bool, freed: &mut dyn FnMut(SessionIndex)) {
        let mut past = self.past;
        for place in self.places() {
            if let Some(link) = place.take_if(|link| over(link)) {
                past.add(link.session.traffic());
                freed(link.session.local());
            }
        }
        self.past = past;
        if self.current.is_none() {
            self.current = self.next.take_if(|next| next.retired.is_none());
        }
    }

    /// When [`Sessions::expire`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        [&self.previous, &self.current, &self.next]
            .into_iter()
            .fold(None, |sum, link| earliest(sum, link.as_ref().map(Link::ends_at)))
    }

    /// What all sessions carried so far.
    pub fn traffic(&self) -> Traffic {
        let mut sum = self.past;
        for link in [&self.previous, &self.current, &self.next].into_iter().flatten() {
            sum.add(link.session.traffic());
        }
        sum
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::ids::Suite;
    use crate::base::limits::{FRAMES_UNTIL, SESSION_UNTIL};
    use crate::base::time::Duration;
    use crate::crypto::schedule::{DirectionKeys, SessionKeys};

    pub(in crate::peer) fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    /// Both ends of session `n`, completed at `now`: the initiator's, called `10 * n + 1` there, and the responder's,
    /// called `10 * n + 2`.
    pub(in crate::peer) fn ends(now: Instant, n: u8) -> (Session, Session) {
        let direction = |seed| DirectionKeys {
            suite: Suite::default(),
            encryption: [seed; 32],
            mac: [n; 32],
            salt: [n; 4],
            hop: [seed; 32],
        };
        let (forth, back) = (direction(2 * n), direction(2 * n + 1));
        let ours = SessionKeys { seal: forth.clone(), open: back.clone() };
        let theirs = SessionKeys { seal: back, open: forth };
        let (one, two) = (SessionIndex(10 * u32::from(n) + 1), SessionIndex(10 * u32::from(n) + 2));
        let new = |keys, role, local, remote| Session::new(now, keys, role, local, remote, Duration::ZERO);
        (new(&ours, Role::Initiator, one, two), new(&theirs, Role::Responder, two, one))
    }

    /// A keepalive, or a frame.
    pub(in crate::peer) fn sealed(session: &mut Session, now: Instant, kind: Kind) -> Packet {
        let mut packet = Packet::new();
        packet.append(b"hello").unwrap();
        session.seal(now, kind, &mut packet).unwrap();
        packet
    }

    /// One node's sessions, and every index that was freed there.
    struct Side {
        sessions: Sessions,
        leads: bool,
        freed: Vec<u32>,
    }

    impl Side {
        fn new(leads: bool) -> Side {
            Side { sessions: Sessions::default(), leads, freed: Vec::new() }
        }

        fn install(&mut self, ms: u64, session: Session, began: u64) {
            let link = Link::new(session, at(began), at(ms));
            self.sessions.install(at(ms), link, self.leads, &mut |index| self.freed.push(index.0));
        }

        fn hear(&mut self, ms: u64, index: u32, from: &mut Session) -> Result<Kind, Discard> {
            let mut packet = sealed(from, at(ms), Kind::Keepalive);
            self.sessions.open(at(ms), SessionIndex(index), &mut packet, &Foreseen::NOTHING, &mut |index| {
                self.freed.push(index.0)
            })
        }

        fn expire(&mut self, ms: u64) {
            self.sessions.expire(at(ms), &mut |index| self.freed.push(index.0));
        }

        fn end(&mut self, index: u32) {
            self.sessions.end(SessionIndex(index), &mut |index| self.freed.push(index.0));
        }

        fn current(&self) -> Option<u32> {
            self.sessions.current().map(|session| session.local().0)
        }
    }

    #[test]
    fn the_first_session_is_used_at_once_on_both_sides() {
        let (ours, theirs) = ends(at(10), 1);
        let (mut a, mut b) = (Side::new(true), Side::new(false));
        assert!(!a.sessions.any() && a.sessions.next_timeout().is_none());
        a.install(10, ours, 0);
        b.install(20, theirs, 5);
        assert_eq!((a.current(), b.current()), (Some(11), Some(12)));
        assert!(a.freed.is_empty() && b.freed.is_empty());
    }

    #[test]
    fn a_responder_uses_a_new_session_at_once_and_an_initiator_when_it_was_heard() {
        let (first, _) = ends(at(0), 1);
        let (ours, mut theirs) = ends(at(1000), 2);
        let mut a = Side::new(true);
        a.install(0, first, 0);
        assert!(a.sessions.rekey_at().is_some());
        a.install(1000, ours, 900);
        assert_eq!(a.current(), Some(11), "the peer may not have the third message");
        assert_eq!(a.sessions.rekey_at(), None, "one key is on its way");
        assert_eq!(a.hear(1100, 21, &mut theirs), Ok(Kind::Keepalive));
        assert_eq!(a.current(), Some(21));
        assert!(a.sessions.rekey_at().is_some());

        let (_, first) = ends(at(0), 1);
        let (_, second) = ends(at(1000), 2);
        let mut b = Side::new(false);
        b.install(0, first, 0);
        b.install(1000, second, 900);
        assert_eq!(b.current(), Some(22), "the third message is the proof");
        assert!(a.freed.is_empty() && b.freed.is_empty());
    }

    #[test]
    fn what_is_forged_confirms_nothing() {
        let (first, _) = ends(at(0), 1);
        let (ours, mut theirs) = ends(at(1000), 2);
        let mut a = Side::new(true);
        a.install(0, first, 0);
        a.install(1000, ours, 900);
        let mut packet = sealed(&mut theirs, at(1100), Kind::Keepalive);
        packet.bytes_mut()[20] ^= 1;
        let refused =
            a.sessions.open(at(1100), SessionIndex(21), &mut packet, &Foreseen::NOTHING, &mut |_| {});
        assert_eq!(refused, Err(Discard::Forged));
        assert_eq!(a.current(), Some(11));
    }

    #[test]
    fn of_crossed_handshakes_both_keep_the_leaders_in_whatever_order_they_end() {
        // Both first messages leave at 0 and come at 20. Session 1 is begun by the one that leads, session 2 by the other.
        for (leader_order, follower_order) in
            [([1, 2], [1, 2]), ([1, 2], [2, 1]), ([2, 1], [1, 2]), ([2, 1], [2, 1])]
        {
            let (one_leader, one_follower) = ends(at(40), 1);
            let (two_follower, two_leader) = ends(at(40), 2);
            let mut sides = [Side::new(true), Side::new(false)];
            let pairs = [
                (leader_order, [Some(one_leader), Some(two_leader)]),
                (follower_order, [Some(one_follower), Some(two_follower)]),
            ];
            for (side, (order, mut sessions)) in sides.iter_mut().zip(pairs) {
                for (n, which) in order.into_iter().enumerate() {
                    let session = sessions[which - 1].take().unwrap();
                    let began = if session.role() == Role::Initiator { 0 } else { 20 };
                    side.install(40 + 20 * n as u64, session, began);
                }
            }
            // Whoever waited hears the other by what it uses; what it only listens to is heard as well.
            let [mut leader, mut follower] = sides;
            let case = format!("{leader_order:?} {follower_order:?}");
            for (index, n) in [(11, 1), (22, 2)] {
                let (mut begun, mut answered) = ends(at(40), n);
                let peer = if n == 1 { &mut answered } else { &mut begun };
                assert_eq!(leader.hear(100, index, peer), Ok(Kind::Keepalive), "{case} {n}");
            }
            for (index, n) in [(12, 1), (21, 2)] {
                let (mut begun, mut answered) = ends(at(40), n);
                let peer = if n == 1 { &mut begun } else { &mut answered };
                assert_eq!(follower.hear(100, index, peer), Ok(Kind::Keepalive), "{case} {n}");
            }
            assert_eq!((leader.current(), follower.current()), (Some(11), Some(12)), "{case}");
            assert!(leader.freed.is_empty() && follower.freed.is_empty(), "{case}");
            leader.expire(34_100);
            follower.expire(34_100);
            assert!(leader.freed.is_empty() && follower.freed.is_empty(), "{case}");
            leader.expire(35_100);
            follower.expire(35_100);
            assert_eq!((leader.freed, follower.freed), (vec![22], vec![21]), "{case}: the loser has ended");
        }
    }

    #[test]
    fn ends_that_saw_another_order_agree_in_the_end() {
        // Session 1 is begun by the one that leads. Its peer's first message, of session 2, was late: to the leader it is
        // the newer one, to the follower they crossed.
        let (one_leader, one_follower) = ends(at(40), 1);
        let (two_follower, two_leader) = ends(at(90), 2);
        let (mut leader, mut follower) = (Side::new(true), Side::new(false));
        leader.install(40, one_leader, 0);
        leader.install(90, two_leader, 60);
        follower.install(40, one_follower, 20);
        follower.install(80, two_follower, 10);
        assert_eq!((leader.current(), follower.current()), (Some(22), Some(12)), "each has its own");
        // What was under way proves nothing, a keepalive half a minute later does.
        let mut peer = ends(at(40), 1).1;
        assert_eq!(leader.hear(1000, 11, &mut peer), Ok(Kind::Keepalive));
        assert_eq!(leader.current(), Some(22));
        leader.expire(26_000);
        assert_eq!(leader.hear(26_000, 11, &mut peer), Ok(Kind::Keepalive));
        assert_eq!(leader.current(), Some(11));
        // The other end stays where it is, whatever comes under the one that it does not use.
        let mut theirs = ends(at(90), 2).1;
        assert_eq!(follower.hear(26_000, 21, &mut theirs), Ok(Kind::Keepalive));
        assert_eq!(follower.current(), Some(12));
    }

    #[test]
    fn an_old_key_is_no_twin() {
        // A packet under the key before, however late, does not bring it back.
        let (first, mut peer) = ends(at(0), 1);
        let mut a = Side::new(true);
        a.install(0, first, 0);
        a.install(120_000, ends(at(120_000), 2).1, 120_000);
        assert_eq!(a.hear(130_000, 11, &mut peer), Ok(Kind::Keepalive));
        assert_eq!(a.current(), Some(22));
        a.expire(145_001);
        assert_eq!(a.freed, [11]);
    }

    #[test]
    fn the_loser_does_not_push_out_the_one_that_waits_to_be_confirmed() {
        let mut a = Side::new(true);
        for (n, now) in [(1, 0), (2, 1000)] {
            a.install(now, ends(at(now), n).1, now);
        }
        // Ours of two that crossed, while the last one but one is still listened to.
        let (ours, mut peer) = ends(at(2040), 3);
        a.install(2040, ours, 2000);
        a.install(2060, ends(at(2060), 4).1, 2020);
        assert_eq!(a.freed, [12], "the oldest goes");
        assert_eq!(a.hear(2080, 31, &mut peer), Ok(Kind::Keepalive));
        assert_eq!(a.current(), Some(31));
    }

    #[test]
    fn handshakes_that_did_not_cross_give_way_to_the_newest() {
        // The peer's first message came after ours was answered, or before ours was out.
        for (ours_began, theirs_came) in [(0, 41), (30, 20)] {
            let (ours, _) = ends(at(40), 1);
            let (_, theirs) = ends(at(60), 2);
            let mut a = Side::new(true);
            if ours_began < theirs_came {
                a.install(40, ours, ours_began);
                a.install(60, theirs, theirs_came);
                assert_eq!(a.current(), Some(22));
            } else {
                a.install(40, theirs, theirs_came);
                a.install(60, ours, ours_began);
                let (_, mut peer) = ends(at(60), 1);
                assert_eq!(a.current(), Some(22));
                assert_eq!(a.hear(80, 11, &mut peer), Ok(Kind::Keepalive));
                assert_eq!(a.current(), Some(11));
            }
        }
    }

    #[test]
    fn an_older_handshake_that_ends_late_does_not_push_out_the_newer() {
        // The peer's third message was lost; meanwhile our own handshake, begun after the peer's first message had
        // come, was completed. The peer has that one as the newer. Then the third message comes again.
        let (ours, mut peer) = ends(at(40), 1);
        let (mut peers_older, theirs) = ends(at(270), 2);
        let mut a = Side::new(false);
        a.install(40, ours, 10);
        assert_eq!(a.hear(60, 11, &mut peer), Ok(Kind::Keepalive));
        a.install(270, theirs, 5);
        assert_eq!(a.current(), Some(11));
        assert_eq!(a.hear(280, 22, &mut peers_older), Ok(Kind::Keepalive), "it is listened to");
        assert_eq!(a.current(), Some(11));
    }

    #[test]
    fn of_two_that_the_peer_began_the_newer_is_used_in_whatever_order_they_end() {
        // Both were answered, and one third message overtook the other.
        let (mut peers_older, older) = ends(at(20), 1);
        let (mut peers_newer, newer) = ends(at(30), 2);
        let mut a = Side::new(false);
        a.install(200, newer, 30);
        a.install(210, older, 20);
        assert_eq!(a.current(), Some(22));
        assert_eq!(a.hear(220, 12, &mut peers_older), Ok(Kind::Keepalive), "it is listened to");
        assert_eq!(a.hear(230, 22, &mut peers_newer), Ok(Kind::Keepalive));
        assert_eq!(a.current(), Some(22));
    }

    #[test]
    fn a_session_that_nobody_has_confirmed_waits_behind_an_older_one_that_is_proved() {
        for confirmed in [true, false] {
            let (ours, mut peer) = ends(at(40), 1);
            let (_, theirs) = ends(at(50), 2);
            let mut a = Side::new(false);
            a.install(40, ours, 10);
            a.install(50, theirs, 5);
            assert_eq!(a.current(), Some(22), "the peer has this one for certain");
            if confirmed {
                assert_eq!(a.hear(60, 11, &mut peer), Ok(Kind::Keepalive));
                assert_eq!(a.current(), Some(11), "and the newer one, too");
            } else {
                a.end(11);
                assert_eq!(a.current(), Some(22));
                assert_eq!(a.freed, [11]);
            }
        }
    }

    #[test]
    fn every_index_is_freed_once_whatever_becomes_of_it() {
        for how in 0..3 {
            let mut a = Side::new(true);
            for n in 1..=6 {
                // Initiated and answered ones by turns, some confirmed.
                let now = 1000 * u64::from(n);
                let (ours, mut theirs) = ends(at(now), n);
                let (_, answered) = ends(at(now), 10 + n);
                a.install(now, ours, now);
                if n % 2 == 0 {
                    assert!(a.hear(now + 1, 10 * u32::from(n) + 1, &mut theirs).is_ok());
                }
                a.install(now + 500, answered, now + 500);
            }
            let mut wanted: Vec<u32> = (1..=6).flat_map(|n| [10 * n + 1, 100 + 10 * n + 2]).collect();
            match how {
                0 => a.sessions.clear(&mut |index| a.freed.push(index.0)),
                1 => a.expire(4_000_000),
                _ => wanted.iter().for_each(|&index| a.end(index)),
            }
            let again = a.freed.len();
            a.sessions.clear(&mut |index| a.freed.push(index.0));
            a.expire(5_000_000);
            assert_eq!(a.freed.len(), again, "case {how}: nothing is left");
            a.freed.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(a.freed, wanted, "case {how}");
            assert!(!a.sessions.any());
        }
    }

    #[test]
    fn when_the_session_in_use_ends_the_one_that_waited_takes_its_place() {
        let (first, _) = ends(at(0), 1);
        let (second, _) = ends(at(1000), 2);
        let mut a = Side::new(true);
        a.install(0, first, 0);
        a.install(1000, second, 900);
        a.end(11);
        assert_eq!((a.current(), &a.freed[..]), (Some(21), &[11][..]));
        assert!(a.sessions.rekey_at().is_some());
        a.end(21);
        assert_eq!((a.current(), &a.freed[..]), (None, &[11, 21][..]));
    }

    #[test]
    fn a_goodbye_under_the_session_in_use_does_not_bring_a_retired_one_back() {
        let (_, first) = ends(at(0), 1);
        let (_, second) = ends(at(1000), 2);
        let mut a = Side::new(true);
        a.install(0, first, 0);
        a.install(1000, second, 1000);
        a.end(22);
        assert_eq!((a.current(), &a.freed[..]), (None, &[22][..]));
    }

    #[test]
    fn a_retired_session_is_listened_to_until_it_is_silent() {
        // The peer may go on under it long after the first packet under the new one: it has yet to hear us there, or it
        // saw two handshakes in another order. As long as it does, it is heard, and not beyond the key's own end.
        let (mut peer, first) = ends(at(0), 1);
        let (mut newer, second) = ends(at(1000), 2);
        let mut a = Side::new(false);
        a.install(0, first, 0);
        a.install(1000, second, 1000);
        assert_eq!(a.hear(1001, 22, &mut newer), Ok(Kind::Keepalive));
        let grace = ACCEPT_GRACE.as_secs() * 1000;
        assert_eq!(a.sessions.next_timeout(), Some(at(1000 + grace)));
        let mut now = 1000;
        for _ in 0..20 {
            now += grace - 1;
            a.expire(now);
            assert_eq!(a.hear(now, 12, &mut peer), Ok(Kind::Keepalive), "at {now} ms");
            assert_eq!(a.current(), Some(22), "but it is not sealed under again");
        }
        a.expire(now + grace - 1);
        assert!(a.freed.is_empty());
        a.expire(now + grace);
        assert_eq!(a.freed, [12]);
        assert_eq!(a.hear(now + grace, 12, &mut peer), Err(Discard::UnknownIndex));

        // What was withheld is as old as the key allows at most.
        let (mut peer, first) = ends(at(0), 1);
        let (_, second) = ends(at(1000), 2);
        let mut late = sealed(&mut peer, at(500), Kind::Frame);
        let mut early = sealed(&mut peer, at(500), Kind::Frame);
        let mut a = Side::new(false);
        a.install(0, first, 0);
        a.sessions.open(at(600), SessionIndex(12), &mut early, &Foreseen::NOTHING, &mut |_| {}).unwrap();
        a.install(1000, second, 1000);
        let over = (FRAMES_UNTIL + ACCEPT_GRACE).as_secs() * 1000;
        for now in (1000..over).step_by(10_000) {
            assert_eq!(a.hear(now, 12, &mut peer), Ok(Kind::Keepalive));
        }
        let opened = a.sessions.open(at(over), SessionIndex(12), &mut late, &Foreseen::NOTHING, &mut |_| {});
        assert_eq!(opened, Err(Discard::Expired));
        assert!(a.sessions.next_timeout() <= Some(at(0) + SESSION_UNTIL + ACCEPT_GRACE));
    }

    #[test]
    fn what_was_carried_is_counted_over_all_sessions_there_were() {
        let mut a = Side::new(true);
        for n in 1..=5 {
            let (mut peer, answered) = ends(at(0), n);
            a.install(u64::from(n), answered, u64::from(n));
            let mut frame = sealed(&mut peer, at(10), Kind::Frame);
            let index = SessionIndex(10 * u32::from(n) + 2);
            a.sessions.open(at(10), index, &mut frame, &Foreseen::NOTHING, &mut |_| {}).unwrap();
        }
        let traffic = a.sessions.traffic();
        assert_eq!((traffic.opened.frames, traffic.opened.bytes), (5, 25));
        a.sessions.clear(&mut |_| {});
        assert_eq!(a.sessions.traffic(), traffic);
    }
}
