//! The three handshake messages as they come, and what a complete handshake brings about. Those that this node begins are in
//! `dialing.rs`; those that it has answered wait in `answers.rs`. A node is let in only when its tags have proved that it
//! has the network's key and its own.

use crate::base::discard::Discard;
use crate::base::event::Event;
use crate::base::ids::{HostId, PeerKey, SessionIndex};
use crate::base::limits::{ANSWER_LIFE, INDEXES_OURS, REKEY_JITTER};
use crate::base::outbox::Outbox;
use crate::base::time::Instant;
use crate::mesh::Mesh;
use crate::mesh::answers::{Answer, Origin};
use crate::mesh::indexes::{Owner, Target};
use crate::peer::Hello3ToRepeat;
use crate::peer::handshake::{AwaitM3, Established, hello1_ephemeral};
use crate::peer::path::Path;
use crate::peer::session::{Role, Session};
use crate::peer::sessions::Link;
use crate::wire::control::Control;
use crate::wire::envelope::{Kind, Type};
use crate::wire::hello::{HELLO3, Hello2, Hello3};

/// A handshake that is complete.
struct Done {
    established: Established,
    role: Role,
    /// Where its last message came from.
    origin: Origin,
    /// Whether the peer is known to receive what is sent there.
    proved: bool,
    /// When the first message was sent, or came.
    began: Instant,
    /// The initiator's third message.
    hello3: Option<Hello3ToRepeat>,
}

impl Mesh {
    // ---- messages ----

    /// A handshake message.
    pub(super) fn handle_hello(
        &mut self,
        now: Instant,
        origin: Origin,
        message: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let handled = match Type::of(message)? {
            Type::Hello1 => self.handle_hello1(now, origin, message, out),
            Type::Hello2 => self.handle_hello2(now, origin, message, out),
            Type::Hello3 => self.handle_hello3(now, origin, message, out),
            Type::Sealed | Type::Relayed => Err(Discard::Malformed),
        };
        if let (
            Err(why @ (Discard::BadKey | Discard::Refused | Discard::NoRoom)),
            Origin::Outside(Path::Direct(from)),
        ) = (handled, origin)
        {
            out.tell(Event::HandshakeRefused { from, why });
        }
        handled
    }

    fn handle_hello1(
        &mut self,
        now: Instant,
        origin: Origin,
        message: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let ephemeral = *hello1_ephemeral(message)?;
        self.expire_answers(now);
        if let Some(answer) = self.answers.to(&ephemeral) {
            answer.sends_to(origin);
            let stored = *answer.state.message();
            self.reply(now, origin, &stored, out);
            return Ok(());
        }
        if self.answers.seen.get(&ephemeral).is_some() {
            return Err(Discard::Replayed);
        }
        if self.is_ours(&ephemeral, out) {
            return Err(Discard::Ourselves);
        }
        if !self.answers.has_room(origin) {
            return Err(Discard::NoRoom);
        }
        let seen = match origin {
            Origin::Outside(Path::Direct(from)) => Some(from),
            _ => None,
        };
        let leave = if matches!(origin, Origin::Outside(_)) { INDEXES_OURS } else { 0 };
        let index = self.indexes.fresh(now, &mut self.random, Owner::Answer, leave)?;
        let made = AwaitM3::new(&self.credentials, &mut self.random, index, message, seen);
        let state = made.inspect_err(|_| self.indexes.withdraw(index))?;
        self.answers.seen.insert(ephemeral, ());
        let stored = *state.message();
        let answer = Answer { state, ephemeral, sent_to: Some(origin), arrived: now };
        if let Some(replaced) = self.answers.add(origin, answer) {
            self.indexes.withdraw(replaced);
        }
        self.wake(now + ANSWER_LIFE);
        self.reply(now, origin, &stored, out);
        Ok(())
    }

    fn handle_hello2(
        &mut self,
        now: Instant,
        origin: Origin,
        message: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let index = Hello2::read(message)?.receiver;
        let Owner::Dial(target) = self.indexes.owner(index)? else { return Err(Discard::UnknownIndex) };
        if !self.was_asked(target, origin) {
            return Err(Discard::Unexpected);
        }
        let dial = match target {
            Target::Host(host) => self.hosts.get_mut(host).map(|entry| &entry.dial),
            Target::Peer(key) => self.peers.get_mut(key).map(|member| &member.dial),
        };
        let tried = dial.and_then(|dial| dial.find(index)).ok_or(Discard::UnknownIndex)?;
        let began = tried.began;
        // Of several places that the first message went to, any can answer in the name of another; but those of an initial
        // peer are ours to trust, and a relay is a peer and has proved where it is.
        let proved = match (target, origin) {
            (Target::Peer(_), Origin::Outside(place @ Path::Direct(_))) => tried.went_only_to(place),
            _ => true,
        };
        let (established, message3) = tried.state.handle(&self.credentials, message)?;
        let by = match origin {
            Origin::Outside(path) => Some(path),
            Origin::Inside(_) => None,
        };
        let hello3 = Hello3ToRepeat { message: message3, by, again: proved };
        let done = Done { established, role: Role::Initiator, origin, proved, began, hello3: Some(hello3) };
        // What goes to an unproved address counts against what came from there.
        let length = message.len() - if proved { 0 } else { HELLO3 };
        let key = self.admit(now, done, length, out)?;
        // First the message that lets the peer open what follows.
        self.reply(now, origin, &message3, out);
        self.tend(now, key, out);
        Ok(())
    }

    fn handle_hello3(
        &mut self,
        now: Instant,
        origin: Origin,
        message: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let index = Hello3::read(message)?.receiver;
        // The initiator has not heard our confirmation: it repeats itself, and so do we.
        if let Ok(key) = self.indexes.peer(index) {
            self.post_empty(now, key, Kind::Keepalive, out);
            return Err(Discard::Replayed);
        }
        self.expire_answers(now);
        let answer = self.answers.find(index).ok_or(Discard::UnknownIndex)?;
        let established = answer.state.handle(&self.credentials, message)?;
        let Answer { sent_to, arrived, .. } = self.answers.take(index).ok_or(Discard::UnknownIndex)?;
        // A relay is a peer and has proved where it is.
        let proved = sent_to == Some(origin) || matches!(origin, Origin::Outside(Path::Via { .. }));
        let done = Done { established, role: Role::Responder, origin, proved, began: arrived, hello3: None };
        let key = self.admit(now, done, message.len(), out)?;
        self.tend(now, key, out);
        self.post_empty(now, key, Kind::Keepalive, out);
        Ok(())
    }

    /// Whether our first message went where this second one came from.
    fn was_asked(&self, target: Target, origin: Origin) -> bool {
        match (target, origin) {
            (Target::Host(host), Origin::Outside(Path::Direct(from))) => {
                self.hosts.iter().any(|(id, entry)| id == host && entry.has(from))
            }
            (Target::Peer(key), Origin::Outside(Path::Direct(from))) => {
                self.peers.get(key).is_some_and(|m| m.peer.endpoints().iter().any(|known| known == from))
            }
            (Target::Peer(key), Origin::Outside(Path::Via { circuit, .. })) => {
                self.peers.get(key).is_some_and(|m| m.circuit == Some(circuit))
            }
            (Target::Peer(key), Origin::Inside(from)) => key == from,
            (Target::Host(_), _) => false,
        }
    }

    /// Whether a first message is one of our own that came back: an initial peer is this very node, or somebody on the way
    /// plays with us. Neither keeps us from trying on.
    fn is_ours(&self, ephemeral: &[u8; 32], out: &mut Outbox) -> bool {
        if let Some((host, _)) = self.hosts.iter().find(|(_, entry)| entry.dial.is_own(ephemeral)) {
            out.tell(Event::HostIsUs(host));
            return true;
        }
        self.peers.iter().any(|(_, member)| member.dial.is_own(ephemeral))
    }

    // ---- the outcome ----

    /// A handshake is complete: the node at its other end has a session from now on. `length` is that of the message
    /// that completed it.
    fn admit(
        &mut self,
        now: Instant,
        done: Done,
        length: usize,
        out: &mut Outbox,
    ) -> Result<PeerKey, Discard> {
        let index = done.established.local;
        // Before anybody has to make room, and takes along what belongs to a session now.
        let host = self.take_try(index);
        let known = self.know(now, done.established.peer).and_then(|key| match done.origin {
            // A member cannot bring another in through its own session.
            Origin::Inside(from) if from != key => Err(Discard::Refused),
            _ => Ok(key),
        });
        let key = known.inspect_err(|_| self.indexes.release(now, index))?;
        self.stop_dialing(key, host);
        self.indexes.assign(index, Owner::Session(key));
        let jitter = self.random.jitter(REKEY_JITTER);
        let Established { keys, local, remote, capabilities, .. } = done.established;
        let session = Session::new(now, &keys, done.role, local, remote, jitter);
        let link = Link::new(session, done.began, now);
        let indexes = &mut self.indexes;
        let member = self.peers.get_mut(key).ok_or(Discard::UnknownPeer)?;
        let was_up = member.peer.is_up();
        let proved = match done.origin {
            Origin::Outside(path) if done.proved => Some(path),
            _ => None,
        };
        let freed = &mut |index| indexes.release(now, index);
        member.peer.install(now, link, capabilities, proved, done.hello3, freed);
        member.known_since = now;
        member.met = Some(now);
        match done.origin {
            Origin::Outside(path) => {
                if !done.proved {
                    member.peer.heard(now, path, length);
                }
                self.news_for_newcomer(now, key);
            }
            Origin::Inside(_) if was_up => out.tell(Event::Rekeyed { peer: member.peer.short() }),
            Origin::Inside(_) => {}
        }
        Ok(key)
    }

    /// The try of that index has become a session, and is a try no more. It may have been meant for another than it met.
    /// Returns the initial peer that it was meant for.
    fn take_try(&mut self, index: SessionIndex) -> Option<HostId> {
        for (_, member) in self.peers.iter_mut() {
            member.dial.give_up(index);
        }
        let (host, entry) = self.hosts.iter_mut().find(|(_, entry)| entry.dial.find(index).is_some())?;
        entry.dial.give_up(index);
        Some(host)
    }

    /// No more tries towards a node that has a session now, and was found at `host`.
    fn stop_dialing(&mut self, key: PeerKey, host: Option<HostId>) {
        let indexes = &mut self.indexes;
        let freed = &mut |index| indexes.withdraw(index);
        if let Some(member) = self.peers.get_mut(key) {
            member.dial.stop(freed);
        }
        if let Some(entry) = host.and_then(|host| self.hosts.get_mut(host)) {
            entry.peer = Some(key);
            entry.dial.stop(freed);
        }
    }

    /// Forgets what was answered and not completed.
    pub(super) fn expire_answers(&mut self, now: Instant) {
        let indexes = &mut self.indexes;
        self.answers.expire(now, &mut |index| indexes.withdraw(index));
    }

    // ---- sending ----

    fn reply(&mut self, now: Instant, origin: Origin, message: &[u8], out: &mut Outbox) {
        match origin {
            Origin::Outside(path) => self.send_bytes(now, path, message, out),
            Origin::Inside(key) => {
                if let Err(why) = self.post_control(now, key, &Control::Hello(message), out) {
                    out.count(why);
                }
            }
        }
    }

    /// Sends a handshake message by `path`.
    pub(super) fn send_bytes(&mut self, now: Instant, path: Path, message: &[u8], out: &mut Outbox) {
        let Ok(mut packet) = out.blank() else { return out.count(Discard::NoRoom) };
        let sent = packet.append(message).and_then(|()| self.route(now, path, &mut packet));
        match sent {
            Ok(address) => out.send(address, packet),
            Err(why) => out.discard(packet, why),
        }
    }

    /// Sends the third message again.
    pub(super) fn repeat_hello3(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        let Some(member) = self.peers.get(key) else { return };
        let Some((message, by)) = member.peer.unconfirmed() else { return };
        let message = *message;
        self.reply(now, by.map_or(Origin::Inside(key), Origin::Outside), &message, out);
    }
}
