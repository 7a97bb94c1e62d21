//! What one peer wants done, and when. The peer decides, `mesh/` does it.

use std::net::SocketAddr;

use crate::base::event::Parting;
use crate::base::ids::SessionIndex;
use crate::base::limits::{CONFIRM_EVERY, FIRST_PAUSE, LOST_FOR};
use crate::base::time::{Instant, earliest};
use crate::peer::Peer;
use crate::peer::path::{Path, Sign};

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
    /// Challenge the addresses where the peer might be reached directly.
    TryDirect,
    /// Packets take this path from now on.
    Moved(Path),
    /// There is no path any more: find another.
    PathDead,
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
        match self.live.sign(now)? {
            Sign::Dead => {
                self.lose_path(now);
                Some(Action::PathDead)
            }
            Sign::Ask => {
                self.live.asked(now);
                Some(Action::Ask)
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
        let pause = if self.is_lost() { FIRST_PAUSE } else { self.direct_pause.pause() };
        self.try_direct = Some(now + pause);
        Some(Action::TryDirect)
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
            self.path.filter(|_| !self.is_lost()).and_then(|_| self.live.next()),
            self.candidate.and_then(|candidate| candidate.move_at()),
            self.try_direct,
            self.sessions.rekey_at().filter(|_| !self.rekeying),
        ];
        deadlines.into_iter().fold(None, earliest)
    }
}
