//! The sessions with one peer: the one in use, the one that went before, and one that the peer has yet to
//! confirm. A new key takes over without a lost frame: whoever ended the handshake with the third message
//! in hand knows that both have the key and seals under it; the other waits for the first packet under it.
//!
//! Two handshakes that crossed give two sessions; both nodes then use the one begun by the smaller key, and
//! the other is only listened to. Apart from that the newest session wins, for a restarted peer knows no other.

use crate::base::discard::Discard;
use crate::base::ids::SessionIndex;
use crate::base::limits::ACCEPT_GRACE;
use crate::base::packet::Packet;
use crate::base::time::{Instant, earliest};
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
}

impl Link {
    /// A session whose handshake began at `began` and has just been completed.
    pub fn new(session: Session, began: Instant, completed: Instant) -> Link {
        Link { session, began, completed, retired: None, heard: completed }
    }

    fn retire(mut self, now: Instant) -> Link {
        self.retired.get_or_insert(now);
        self
    }

    /// When nothing more is to be expected of it.
    fn ends_at(&self) -> Instant {
        let end = self.session.ends_at();
        self.retired.map_or(end, |since| end.min(since.max(self.heard) + ACCEPT_GRACE))
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
    pub fn install(&mut self, now: Instant, link: Link, leads: bool, freed: &mut dyn FnMut(SessionIndex)) {
        let crossed = self.crossing(&link);
        let ours = link.session.role() == Role::Initiator;
        if crossed && ours != leads {
            self.listen_only(now, link, freed);
        } else if ours && self.current.is_some() {
            Self::replace(&mut self.next, link, &mut self.past, freed);
        } else {
            if crossed {
                self.next = self.next.take().map(|link| link.retire(now));
            }
            self.take_over(now, link, freed);
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

    /// The loser of two crossed sessions: the peer may have sent under it before it knew.
    fn listen_only(&mut self, now: Instant, link: Link, freed: &mut dyn FnMut(SessionIndex)) {
        let place = if self.previous.is_none() { &mut self.previous } else { &mut self.next };
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
        freed: &mut dyn FnMut(SessionIndex),
    ) -> Result<Kind, Discard> {
        let link = self.find(index).ok_or(Discard::UnknownIndex)?;
        let kind = link.session.open(now, packet)?;
        link.heard = now;
        let confirmed =
            self.next.as_ref().is_some_and(|next| next.session.local() == index && next.retired.is_none());
        if confirmed && let Some(next) = self.next.take() {
            self.take_over(now, next, freed);
        }
        Ok(kind)
    }

    /// The session of that index, for the relay header.
    pub fn by_index(&mut self, index: SessionIndex) -> Option<&mut Session> {
        self.find(index).map(|link| &mut link.session)
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
