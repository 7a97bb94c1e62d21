//! The second and third handshake messages as they come, and what a complete handshake brings about. Those that this node
//! begins are in `dialing.rs`; the first messages of others are in `answering.rs`. A node is let in only when its tags have
//! proved that it has the network's key and its own.

use crate::base::discard::Discard;
use crate::base::event::Event;
use crate::base::ids::{HostId, PeerKey, SessionIndex};
use crate::base::limits::{CONFIRM_LIFE, FAILURES, REKEY_JITTER};
use crate::base::outbox::Outbox;
use crate::base::time::Instant;
use crate::mesh::Mesh;
use crate::mesh::answers::{Answer, Origin};
use crate::mesh::dial::Dial;
use crate::mesh::hosts::Hosts;
use crate::mesh::indexes::{Owner, Target};
use crate::mesh::peers::Peers;
use crate::peer::Hello3ToRepeat;
use crate::peer::handshake::Established;
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
            Type::Retry => self.handle_retry(now, origin, message, out),
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
        let dial = Self::dial(&mut self.hosts, &mut self.peers, target);
        let tried = dial.and_then(|dial| dial.find(index)).ok_or(Discard::UnknownIndex)?;
        if tried.failures >= FAILURES {
            return Err(Discard::Throttled);
        }
        let began = tried.began;
        // Of several places that the first message went to, any can answer in the name of another; but those of an initial
        // peer are ours to trust, and a relay is a peer and has proved where it is.
        let proved = match (target, origin) {
            (Target::Peer(_), Origin::Outside(place @ Path::Direct(_))) => tried.went_only_to(place),
            _ => true,
        };
        // A forged one is told by hashes alone, and does not count: a stranger can send any number of them (S5a).
        let handled = tried.state.handle(&self.credentials, message);
        let (established, message3) =
            handled.inspect_err(|why| tried.failures += u8::from(*why != Discard::Forged))?;
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
        // The initiator has not heard our confirmation: it repeats itself, and so do we. Its tags cannot be checked any more
        // and the index is there for all to see, so we do no longer than it can be the initiator.
        if let Ok(key) = self.indexes.peer(index) {
            let session = self.peers.get(key).and_then(|member| member.peer.sessions().get(index));
            if session.is_some_and(|session| now.since(session.established_at()) <= CONFIRM_LIFE * 2) {
                self.post_empty(now, key, Kind::Keepalive, out);
            }
            return Err(Discard::Replayed);
        }
        self.expire_answers(now);
        let answer = self.answers.find(index).ok_or(Discard::UnknownIndex)?;
        if answer.failures >= FAILURES {
            return Err(Discard::Throttled);
        }
        let handled = answer.state.handle(&self.credentials, message);
        let established = handled.inspect_err(|why| answer.failures += u8::from(*why != Discard::Forged))?;
        let Answer { sent_to, arrived, .. } = self.answers.take(index).ok_or(Discard::UnknownIndex)?;
        // A relay is a peer and has proved where it is.
        let proved = sent_to == Some(origin) || matches!(origin, Origin::Outside(Path::Via { .. }));
        let done = Done { established, role: Role::Responder, origin, proved, began: arrived, hello3: None };
        let key = self.admit(now, done, message.len(), out)?;
        self.tend(now, key, out);
        self.post_empty(now, key, Kind::Keepalive, out);
        Ok(())
    }

    /// Our handshakes with a target.
    pub(super) fn dial<'a>(
        hosts: &'a mut Hosts,
        peers: &'a mut Peers,
        target: Target,
    ) -> Option<&'a mut Dial> {
        match target {
            Target::Host(host) => hosts.get_mut(host).map(|entry| &mut entry.dial),
            Target::Peer(key) => peers.get_mut(key).map(|member| &mut member.dial),
        }
    }

    /// Whether our first message went where this answer came from.
    pub(super) fn was_asked(&self, target: Target, origin: Origin) -> bool {
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
        self.hosts.iter_mut().find_map(|(host, entry)| entry.dial.give_up(index).then_some(host))
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

    // ---- sending ----

    pub(super) fn reply(&mut self, now: Instant, origin: Origin, message: &[u8], out: &mut Outbox) {
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
