//! What one peer wants done, and when. The peer decides, `mesh/` does it.

use std::net::SocketAddr;

use crate::base::event::Parting;
use crate::base::ids::SessionIndex;
use crate::base::limits::{COMPARISONS, CONFIRM_EVERY, FIRST_PAUSE, LOST_FOR};
use crate::base::time::{Instant, earliest};
use crate::peer::path::{Path, Sign};
use crate::peer::{Metering, Peer};

/// Something a peer wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send the third handshake message again ([`Peer::unconfirmed`]).
    RepeatHello3,
    /// Send a keepalive.
    Keepalive,
    /// Challenge the path in use.
    Ask,
    /// Challenge the path in use, and let the peer challenge us if it hears us from elsewhere than before.
    AskAnew,
    /// Challenge this address, the peer was heard from there.
    Challenge(SocketAddr),
    /// Challenge the path in use, which does not answer, and the other addresses.
    AskAround,
    /// Challenge the addresses where the peer might be reached directly.
    TryDirect,
    /// Challenge the path in use and the other addresses, to see which is the best.
    Compare,
    /// Packets take this path from now on.
    Moved(Path),
    /// There is no path any more: find another.
    PathDead,
    /// Send a probe of the path's MTU.
    Probe {
        /// Its number.
        number: u64,
        /// The length of its datagram.
        length: usize,
    },
    /// Begin a handshake for a new key.
    Rekey,
    /// The peer is gone.
    Down(Parting),
}

impl Peer {
    /// The next thing to be done at `now`, until there is none.
    pub fn poll(&mut self, now: Instant, freed: &mut dyn FnMut(SessionIndex)) -> Option<Action> {
        self.up_since?;
        self.sessions.expire(now, freed);
        if !self.sessions.any() {
            return Some(Action::Down(Parting::Expired));
        }
        if self.lost_since.is_some_and(|since| since + LOST_FOR <= now) {
            return Some(Action::Down(Parting::Silent));
        }
        self.poll_confirm(now, freed)
            .or_else(|| self.poll_path())
            .or_else(|| self.poll_life(now))
            .or_else(|| self.poll_candidate(now))
            .or_else(|| self.poll_direct(now))
            .or_else(|| self.poll_mtu(now))
            .or_else(|| self.poll_rekey(now))
    }

    fn poll_confirm(&mut self, now: Instant, freed: &mut dyn FnMut(SessionIndex)) -> Option<Action> {
        let confirm = self.confirm.as_mut()?;
        if confirm.until <= now {
            let index = confirm.index;
            self.confirm = None;
            self.sessions.end(index, freed);
            return (!self.sessions.any()).then_some(Action::Down(Parting::Silent));
        }
        if confirm.next > now {
            return None;
        }
        confirm.next = now + CONFIRM_EVERY;
        Some(Action::RepeatHello3)
    }

    fn poll_life(&mut self, now: Instant) -> Option<Action> {
        if self.path.is_none() || self.is_lost() {
            return None;
        }
        if core::mem::take(&mut self.ask_now) {
            self.live.asked(now);
            return Some(Action::AskAnew);
        }
        if self.metering == Metering::Wanted {
            self.metering = Metering::Asked;
            return Some(Action::Ask);
        }
        match self.live.sign(now)? {
            Sign::Dead => {
                self.lose_path(now);
                Some(Action::PathDead)
            }
            Sign::Ask => {
                self.doubt = self.live.is_asked();
                let is_late = self.live.is_late();
                self.live.asked(now);
                if is_late {
                    self.live.pace().note_late();
                }
                Some(match self.doubt {
                    true => Action::AskAround,
                    // Our NAT may have forgotten us, and give us another place now.
                    false if is_late => Action::AskAnew,
                    false => Action::Ask,
                })
            }
            Sign::Keepalive => {
                self.live.sent(now, false);
                Some(Action::Keepalive)
            }
        }
    }

    /// Another path is in use than was told last.
    fn poll_path(&mut self) -> Option<Action> {
        let path = self.path.filter(|path| self.told_path != Some(*path))?;
        self.told_path = Some(path);
        Some(Action::Moved(path))
    }

    fn poll_candidate(&mut self, now: Instant) -> Option<Action> {
        let candidate = self.candidate?;
        if candidate.move_at().is_some_and(|at| at <= now) {
            self.candidate = None;
            let path = Path::Direct(candidate.address());
            let old_is_silent = self.path.is_none() || self.path_heard < candidate.heard_first();
            if old_is_silent {
                self.take_path(now, path);
            }
            return self.poll_path();
        }
        candidate.wants_challenge(now).then_some(Action::Challenge(candidate.address()))
    }

    fn poll_direct(&mut self, now: Instant) -> Option<Action> {
        if self.try_direct? > now {
            return None;
        }
        if self.direct().is_some() {
            return self.poll_compare(now);
        }
        let pause = if self.is_lost() { FIRST_PAUSE } else { self.direct_pause.pause() };
        self.try_direct = Some(now + pause);
        Some(Action::TryDirect)
    }

    fn poll_mtu(&mut self, now: Instant) -> Option<Action> {
        self.path.filter(|_| !self.is_lost())?;
        let (number, length) = self.mtus.poll(now, self.live.last_heard(), self.rtt())?;
        Some(Action::Probe { number, length })
    }

    /// Paths that work are compared a few times, and then rarely and only while they are used.
    fn poll_compare(&mut self, now: Instant) -> Option<Action> {
        self.try_direct = self.leads.then(|| now + self.direct_pause.pause());
        self.compared = self.compared.saturating_add(1);
        let worth = self.compared <= COMPARISONS || core::mem::take(&mut self.busy);
        let another = self.endpoints.iter().any(|known| Some(known) != self.address());
        (self.leads && worth && another).then_some(Action::Compare)
    }

    fn poll_rekey(&mut self, now: Instant) -> Option<Action> {
        let due = !self.rekeying && self.sessions.rekey_at()? <= now;
        self.rekeying |= due;
        due.then_some(Action::Rekey)
    }

    /// When [`Peer::poll`] wants to be asked.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.up_since?;
        let deadlines = [
            self.sessions.next_timeout(),
            self.lost_since.map(|since| since + LOST_FOR),
            self.confirm.as_ref().map(|confirm| confirm.next.min(confirm.until)),
            self.path
                .filter(|_| !self.is_lost())
                .and_then(|_| earliest(self.live.next(), self.mtus.next_timeout(self.live.last_heard()))),
            self.candidate.and_then(|candidate| candidate.move_at()),
            self.try_direct,
            self.sessions.rekey_at().filter(|_| !self.rekeying),
        ];
        deadlines.into_iter().fold(None, earliest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{CircuitId, NodeId, PeerKey, ShortId};
    use crate::base::limits::{
        CONFIRM_LIFE, DEAD_AFTER, KEEPALIVE, PROBE_AFTER, SEAL_BACK, SEAL_FRONT, SESSION_UNTIL,
    };
    use crate::base::packet::Packet;
    use crate::base::time::Duration;
    use crate::crypto::macs::Foreseen;
    use crate::crypto::random::Random;
    use crate::peer::Hello3ToRepeat;
    use crate::peer::session::{Role, Session};
    use crate::peer::sessions::Link;
    use crate::peer::sessions::tests::{at, ends, sealed};
    use crate::wire::envelope::Kind;
    use crate::wire::hello::{Capabilities, HELLO3};

    const CHALLENGE: usize = SEAL_FRONT + 8 + SEAL_BACK;

    fn direct(n: u8) -> Path {
        Path::Direct(SocketAddr::from(([192, 0, 2, n], 7000)))
    }

    fn address(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 7000))
    }

    fn via(n: u16) -> Path {
        Path::Via { relay: PeerKey { slot: n, generation: 0 }, circuit: CircuitId(u32::from(n)) }
    }

    fn millis(time: Duration) -> u64 {
        u64::try_from(time.as_millis()).unwrap()
    }

    /// A peer that is up by the path `direct(1)` since 0, and the other end of its session.
    fn up(leads: bool) -> (Peer, Session) {
        let mut peer = Peer::new(at(0), NodeId([9; 32]), ShortId([9; 8]), leads);
        let (theirs, ours) = ends(at(0), 1);
        let link = Link::new(ours, at(0), at(0));
        peer.install(at(0), link, Capabilities::default(), Some(direct(1)), None, &mut |_| {});
        assert_eq!(actions(&mut peer, 0), [Action::Moved(direct(1))]);
        assert!(peer.take_attention(), "there was something to do");
        (peer, theirs)
    }

    /// All that is due, once.
    fn actions(peer: &mut Peer, now: u64) -> Vec<Action> {
        let all = core::iter::from_fn(|| peer.poll(at(now), &mut |_| {})).take(20).collect::<Vec<_>>();
        assert!(all.len() < 20, "without end: {all:?}");
        all
    }

    fn send(peer: &mut Peer, now: u64, kind: Kind) {
        peer.seal(at(now), kind, &mut Packet::new(), None).unwrap();
    }

    /// A keepalive of the peer comes by `from`.
    fn hear(peer: &mut Peer, theirs: &mut Session, now: u64, from: Path) {
        let mut packet = sealed(theirs, at(now), Kind::Keepalive);
        let nothing = &Foreseen::NOTHING;
        let opened = peer.open(at(now), theirs.remote(), from, &mut packet, nothing, &mut |_| {});
        assert_eq!(opened, Ok(Kind::Keepalive));
    }

    /// Sends a frame at `now` and lets the path die of silence.
    fn lose(peer: &mut Peer, now: u64) -> u64 {
        send(peer, now, Kind::Frame);
        let dead = now + millis(DEAD_AFTER);
        let mut time = now;
        while time < dead {
            time += 500;
            let due = actions(peer, time);
            assert_eq!(due.contains(&Action::PathDead), time == dead, "at {time}: {due:?}");
        }
        assert!(peer.is_lost());
        dead
    }

    #[test]
    fn silence_is_asked_into_and_then_the_path_is_dead() {
        let (mut peer, mut theirs) = up(true);
        send(&mut peer, 1000, Kind::Frame);
        assert_eq!(actions(&mut peer, 1000), [Action::Ask], "how long a round trip takes");
        let asked = 1000 + millis(PROBE_AFTER);
        assert_eq!(actions(&mut peer, asked - 1), []);
        assert_eq!(peer.next_timeout(), Some(at(asked)));
        assert_eq!(actions(&mut peer, asked), [Action::Ask]);
        assert_eq!(actions(&mut peer, asked), [], "once");
        hear(&mut peer, &mut theirs, asked + 10, direct(1));
        assert_eq!(actions(&mut peer, 1000 + millis(DEAD_AFTER)), [], "the answer came");
        let dead = lose(&mut peer, 20_000);
        assert_eq!(peer.path(), Some(direct(1)), "there is no better one");
        assert!(peer.is_reachable() && peer.direct().is_none());
        assert_eq!(actions(&mut peer, dead), []);
        assert_eq!(actions(&mut peer, dead + millis(FIRST_PAUSE)), [Action::TryDirect]);
    }

    #[test]
    fn the_first_frame_on_a_path_has_it_measured() {
        let (mut peer, mut theirs) = up(true);
        send(&mut peer, 1000, Kind::Keepalive);
        hear(&mut peer, &mut theirs, 1000, direct(1));
        assert_eq!(actions(&mut peer, 1000), [], "a path that nobody uses costs nothing");
        for now in [1001, 1002] {
            send(&mut peer, now, Kind::Frame);
            let due = actions(&mut peer, now);
            assert_eq!(due.iter().filter(|action| **action == Action::Ask).count(), usize::from(now == 1001));
        }
        peer.take_path(at(1003), direct(2));
        send(&mut peer, 1003, Kind::Frame);
        assert!(actions(&mut peer, 1003).contains(&Action::Ask), "another path");
    }

    #[test]
    fn a_dead_path_revives_when_it_is_heard() {
        let (mut peer, mut theirs) = up(true);
        let dead = lose(&mut peer, 1000);
        hear(&mut peer, &mut theirs, dead + 5000, direct(1));
        assert!(!peer.is_lost() && peer.take_attention());
        assert_eq!(peer.direct(), Some(address(1)));
        assert!(!actions(&mut peer, dead + 20_000).contains(&Action::Down(Parting::Silent)));
    }

    #[test]
    fn a_peer_whose_path_stays_dead_is_gone() {
        let (mut peer, _) = up(true);
        let dead = lose(&mut peer, 1000);
        let gone = dead + millis(LOST_FOR);
        assert!(!actions(&mut peer, gone - 1).iter().any(|action| matches!(action, Action::Down(_))));
        assert_eq!(peer.poll(at(gone), &mut |_| {}), Some(Action::Down(Parting::Silent)));
        let mut freed = Vec::new();
        peer.shut(&mut |index| freed.push(index.0));
        assert_eq!(freed, [12]);
        assert_eq!((actions(&mut peer, gone), peer.next_timeout(), peer.path()), (vec![], None, None));
        assert!(peer.endpoints().iter().any(|known| known == address(1)), "it may be there again");
    }

    #[test]
    fn a_dead_path_is_left_for_whatever_answers_first() {
        let (mut peer, _) = up(true);
        peer.add_endpoint(at(0), address(2));
        let dead = lose(&mut peer, 1000);
        peer.ask(at(dead), [7; 32]);
        let nonce = |peer: &Peer, n| peer.nonce_for(direct(n)).unwrap();
        let (there, elsewhere) = (nonce(&peer, 2), nonce(&peer, 3));
        peer.answered(at(dead + 20), direct(3), &elsewhere);
        assert!(peer.is_lost(), "nobody was asked there");
        peer.answered(at(dead + 20), direct(2), &elsewhere);
        assert!(peer.is_lost(), "S19: that was not what was asked there");
        peer.answered(at(dead + 30), direct(2), &there);
        assert_eq!((peer.path(), peer.is_lost()), (Some(direct(2)), false));
        assert_eq!(peer.rtt(), Some(Duration::from_millis(30)));
        assert_eq!(actions(&mut peer, dead + 30), [Action::Moved(direct(2))]);
    }

    #[test]
    fn a_circuit_that_was_closed_is_no_path_any_more() {
        let (mut peer, _) = up(true);
        peer.take_path(at(100), via(1));
        actions(&mut peer, 100);
        peer.drop_path(at(200));
        assert!(peer.path().is_none() && peer.is_lost() && !peer.is_reachable());
        assert_eq!(actions(&mut peer, 200), [Action::TryDirect]);
        assert_eq!(peer.next_timeout(), Some(at(200) + FIRST_PAUSE));
    }

    #[test]
    fn the_peer_is_followed_to_a_relay_only_when_its_direct_path_is_silent() {
        let (mut peer, mut theirs) = up(true);
        hear(&mut peer, &mut theirs, 1000, direct(1));
        hear(&mut peer, &mut theirs, 1000 + millis(PROBE_AFTER), via(1));
        assert_eq!(peer.path(), Some(direct(1)), "it was heard just now");
        hear(&mut peer, &mut theirs, 1001 + millis(PROBE_AFTER), via(1));
        assert_eq!(peer.path(), Some(via(1)));
        let due = actions(&mut peer, 1001 + millis(PROBE_AFTER));
        assert_eq!(due, [Action::Moved(via(1)), Action::TryDirect], "and the direct one is sought");

        // Not from one relay to another while the first one works, but at once when there is no path that does.
        let now = 1100 + millis(PROBE_AFTER);
        hear(&mut peer, &mut theirs, now, via(1));
        hear(&mut peer, &mut theirs, now, via(2));
        assert_eq!(peer.path(), Some(via(1)));
        let dead = lose(&mut peer, now);
        hear(&mut peer, &mut theirs, dead, via(2));
        assert_eq!(peer.path(), Some(via(2)));
    }

    /// The peer is heard at `direct(2)` and answers our challenge there.
    fn proves(peer: &mut Peer, theirs: &mut Session, now: u64) {
        hear(peer, theirs, now, direct(2));
        assert_eq!(actions(peer, now), [], "one keepalive earns no challenge");
        hear(peer, theirs, now, direct(2));
        assert!(peer.take_attention());
        assert_eq!(peer.poll(at(now), &mut |_| {}), Some(Action::Challenge(address(2))));
        peer.challenged(at(now), [5; 8]);
        assert_eq!(actions(peer, now), [], "one is enough");
        peer.answered(at(now + 40), direct(2), &[6; 8]);
        assert_eq!(peer.path(), Some(direct(1)), "another number does not prove it");
        peer.answered(at(now + 40), direct(2), &[5; 8]);
    }

    #[test]
    fn who_follows_moves_at_once_and_who_leads_a_second_later() {
        // S19: and neither before the address is proved.
        let (mut follower, mut theirs) = up(false);
        proves(&mut follower, &mut theirs, 1000);
        assert_eq!(follower.path(), Some(direct(2)));
        assert_eq!(actions(&mut follower, 1040), [Action::Moved(direct(2))]);

        let (mut leader, mut theirs) = up(true);
        proves(&mut leader, &mut theirs, 1000);
        assert_eq!(leader.path(), Some(direct(1)));
        assert!(leader.next_timeout().is_some_and(|next| next <= at(2040)));
        assert_eq!(actions(&mut leader, 2039), []);
        assert_eq!(actions(&mut leader, 2040), [Action::Moved(direct(2))]);
        assert_eq!(leader.path(), Some(direct(2)));
    }

    #[test]
    fn who_leads_stays_where_the_peer_is_still_heard() {
        let (mut leader, mut theirs) = up(true);
        proves(&mut leader, &mut theirs, 1000);
        hear(&mut leader, &mut theirs, 1500, direct(1));
        assert_eq!(actions(&mut leader, 2040), []);
        assert_eq!(leader.path(), Some(direct(1)));
        assert!(actions(&mut leader, 2041).is_empty());
    }

    #[test]
    fn an_answer_from_elsewhere_is_asked_there_and_proves_nothing() {
        // S19.
        let (mut peer, mut theirs) = up(false);
        (0..2).for_each(|_| hear(&mut peer, &mut theirs, 1000, direct(2)));
        assert_eq!(peer.poll(at(1000), &mut |_| {}), Some(Action::Challenge(address(2))));
        peer.challenged(at(1000), [5; 8]);
        peer.answered(at(1040), direct(3), &[5; 8]);
        assert_eq!(peer.path(), Some(direct(1)));
        assert_eq!(peer.candidate.map(|candidate| candidate.address()), Some(address(3)));
        assert!(peer.take_attention());
        peer.answered(at(1050), direct(3), &[5; 8]);
        peer.answered(at(1050), direct(2), &[5; 8]);
        assert_eq!(peer.path(), Some(direct(1)), "the number was for another place");
    }

    #[test]
    fn the_path_in_use_is_never_a_candidate() {
        let (mut peer, mut theirs) = up(false);
        for n in 0..100 {
            hear(&mut peer, &mut theirs, 1000 + n, direct(1));
        }
        assert!(!peer.take_attention() && peer.candidate.is_none());
        assert_eq!(actions(&mut peer, 1100), []);
        // Nor is what was one before it became the path.
        proves(&mut peer, &mut theirs, 2000);
        hear(&mut peer, &mut theirs, 2050, direct(2));
        assert!(peer.candidate.is_none());
    }

    #[test]
    fn one_candidate_at_a_time_until_it_is_silent() {
        let (mut peer, mut theirs) = up(false);
        let mut come = |peer: &mut Peer, now, n| {
            hear(peer, &mut theirs, now, direct(n));
            peer.candidate.map(|candidate| candidate.address())
        };
        assert_eq!(come(&mut peer, 1000, 4), Some(address(4)));
        assert_eq!(come(&mut peer, 1000, 2), Some(address(2)), "what earned no challenge yet makes room");
        assert_eq!(come(&mut peer, 1000, 2), Some(address(2)));
        assert_eq!(come(&mut peer, 2000, 3), Some(address(2)));
        assert_eq!(come(&mut peer, 3000, 3), Some(address(2)));
        assert_eq!(come(&mut peer, 3001, 3), Some(address(3)), "nothing came from the first for two seconds");
    }

    #[test]
    fn a_challenge_of_the_peers_is_answered_or_returned() {
        // S2: 37 bytes came; one packet of 37 goes.
        let (mut peer, _) = up(false);
        peer.heard(at(1000), direct(2), CHALLENGE);
        peer.answer_sent(direct(2));
        assert_eq!(actions(&mut peer, 1000), []);
    }

    #[test]
    fn a_keepalive_goes_when_nothing_else_did() {
        let (mut peer, mut theirs) = up(true);
        let wait = millis(KEEPALIVE);
        send(&mut peer, 10_000, Kind::Control);
        hear(&mut peer, &mut theirs, 20_000, direct(1));
        assert_eq!(actions(&mut peer, 9_999 + wait), []);
        assert_eq!(actions(&mut peer, 10_000 + wait), [Action::Keepalive]);
        assert_eq!(actions(&mut peer, 10_000 + wait), [], "once");
    }

    #[test]
    fn who_goes_on_hearing_keeps_its_nat_awake_in_time() {
        // It does not serve, and may be behind a NAT that counts only what goes out.
        let (mut peer, mut theirs) = up(false);
        let wait = millis(KEEPALIVE);
        send(&mut peer, 10_000, Kind::Control);
        hear(&mut peer, &mut theirs, 10_010, direct(1));
        peer.take_attention();
        assert!(peer.next_timeout() > Some(at(10_000 + wait)), "it is for the other to send");
        hear(&mut peer, &mut theirs, 20_000, direct(1));
        assert!(peer.take_attention(), "that changes when it is due");
        assert_eq!(peer.next_timeout(), Some(at(10_000 + wait)));
        hear(&mut peer, &mut theirs, 21_000, direct(1));
        assert!(!peer.take_attention(), "and that does not");
        assert_eq!(actions(&mut peer, 10_000 + wait), [Action::Keepalive]);
    }

    #[test]
    fn the_third_message_is_repeated_until_a_packet_under_its_session_comes() {
        for confirmed in [true, false] {
            let mut peer = Peer::new(at(0), NodeId([9; 32]), ShortId([9; 8]), true);
            let (ours, mut theirs) = ends(at(0), 1);
            let mut freed = Vec::new();
            let link = Link::new(ours, at(0), at(0));
            let hello3 = Some(Hello3ToRepeat { message: [3; HELLO3], by: Some(direct(1)), again: true });
            peer.install(at(0), link, Capabilities::default(), Some(direct(1)), hello3, &mut |_| {});
            assert_eq!(actions(&mut peer, 0), [Action::Moved(direct(1))]);
            let every = millis(CONFIRM_EVERY);
            for now in [every, 2 * every] {
                assert_eq!(actions(&mut peer, now - 1), []);
                assert_eq!(actions(&mut peer, now), [Action::RepeatHello3]);
                assert_eq!(peer.unconfirmed(), Some((&[3; HELLO3], Some(direct(1)))));
            }
            let until = millis(CONFIRM_LIFE);
            if confirmed {
                hear(&mut peer, &mut theirs, 3 * every - 1, direct(1));
                assert!(peer.unconfirmed().is_none());
                assert_eq!(actions(&mut peer, until), []);
            } else {
                let down = peer.poll(at(until), &mut |index| freed.push(index.0));
                assert_eq!((down, &freed[..]), (Some(Action::Down(Parting::Silent)), &[11][..]));
            }
        }
    }

    #[test]
    fn a_new_key_is_asked_for_once_until_that_came_to_nothing() {
        let (mut peer, mut theirs) = up(true);
        send(&mut peer, 1000, Kind::Frame);
        hear(&mut peer, &mut theirs, 1001, direct(1));
        let due = 150_000;
        hear(&mut peer, &mut theirs, due - 1, direct(1));
        actions(&mut peer, due - 1);
        assert_eq!(actions(&mut peer, due), [Action::Rekey]);
        assert_eq!(actions(&mut peer, due), []);
        peer.rekey_failed();
        assert_eq!(actions(&mut peer, due), [Action::Rekey]);
    }

    #[test]
    fn a_peer_ends_with_its_last_session() {
        let (mut peer, _) = up(true);
        let end = millis(SESSION_UNTIL) + 15_000;
        let due = peer.poll(at(end), &mut |_| {});
        assert_eq!(due, Some(Action::Down(Parting::Expired)));
    }

    // Whatever happens in whatever order: asking comes to an end, and what is wanted next lies ahead.
    #[test]
    fn nothing_is_due_before_now_when_there_is_nothing_to_do() {
        for seed in 0..200 {
            let mut random = Random::new([seed; 32]);
            let (mut peer, mut theirs) = up(seed % 2 == 0);
            let mut now = 0;
            let mut newest = 1;
            let mut nonce = [0; 8];
            for step in 0..300 {
                now +=
                    u64::from(random.u32() % [3, 300, 3000, 30_000][usize::from(random.bytes::<1>()[0] % 4)]);
                let time = at(now);
                let place = u8::try_from(random.u32() % 3 + 1).unwrap();
                let path = if random.u32() % 4 == 0 { via(u16::from(place)) } else { direct(place) };
                let bytes = &mut Packet::new();
                match random.u32() % 12 {
                    0 | 1 => _ = peer.seal(time, Kind::Frame, bytes, None),
                    2 => _ = peer.seal(time, Kind::Challenge, bytes, None),
                    3 => peer.heard(time, path, 1000),
                    4 if peer.is_up() && theirs.ends_at() > time => {
                        let mut packet = sealed(&mut theirs, time, Kind::Keepalive);
                        let nothing = &Foreseen::NOTHING;
                        _ = peer.open(time, theirs.remote(), path, &mut packet, nothing, &mut |_| {});
                    }
                    5 => {
                        peer.ask(time, random.bytes());
                        nonce = peer.nonce_for(path).unwrap();
                    }
                    6 => peer.answered(time, path, &nonce),
                    7 => peer.network_changed(time),
                    8 => peer.add_endpoint(time, address(place)),
                    9 => peer.drop_path(time),
                    10 => peer.rekey_failed(),
                    _ if newest < 100 => {
                        newest += 1;
                        let (one, two) = ends(time, newest);
                        let initiates = random.u32() % 2 == 0;
                        let (ours, other) = if initiates { (one, two) } else { (two, one) };
                        theirs = other;
                        let hello3 =
                            Hello3ToRepeat { message: [3; HELLO3], by: Some(path), again: newest % 3 > 0 };
                        let hello3 = (ours.role() == Role::Initiator).then_some(hello3);
                        let link = Link::new(ours, time, time);
                        peer.install(time, link, Capabilities::default(), Some(path), hello3, &mut |_| {});
                    }
                    _ => {}
                }
                for round in 0.. {
                    assert!(round < 30, "seed {seed}, step {step}: without end");
                    match peer.poll(time, &mut |_| {}) {
                        None => break,
                        Some(Action::Down(_)) => peer.shut(&mut |_| {}),
                        Some(Action::Challenge(_)) => {
                            nonce = random.bytes();
                            peer.challenged(time, nonce);
                        }
                        Some(_) => {}
                    }
                }
                let next = peer.next_timeout();
                assert!(
                    next.is_none_or(|next| next > time),
                    "seed {seed}, step {step}: {next:?} at {time:?}"
                );
            }
        }
    }
}
