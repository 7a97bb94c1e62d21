//! Handshakes of this node: those it begins ([`Dial`](crate::mesh::dial::Dial)) and those it answers.
//!
//! One try to a target is one first message: every address of a volley, and a relay beside them, gets the very same
//! bytes. An answer is made once and stored: the same first message gets the same second one while the answer lives,
//! then silence (S2, S5a). A node is let in only when its third message has proved that it has both keys.

use crate::base::discard::Discard;
use crate::base::event::Event;
use crate::base::ids::{HostId, PeerKey, SessionIndex};
use crate::base::limits::{
    ANSWER_LIFE, ANSWERS, BACKOFF_LIVE, HELLOS_REMEMBERED, REKEY_JITTER, RELAY_HEADSTART,
};
use crate::base::outbox::Outbox;
use crate::base::table::Table;
use crate::base::time::{Instant, earliest};
use crate::mesh::Mesh;
use crate::mesh::indexes::{Owner, Target};
use crate::mesh::peers::Member;
use crate::peer::handshake::{AwaitM2, AwaitM3, Established, hello1_ephemeral};
use crate::peer::path::Path;
use crate::peer::session::{Role, Session};
use crate::peer::sessions::Link;
use crate::wire::control::Control;
use crate::wire::envelope::{Kind, Type};
use crate::wire::hello::{HELLO3, Hello2, Hello3};

/// Where a handshake message came from, and where its answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The open network, or a relay.
    Outside(Path),
    /// A session: the handshake is for its next key.
    Inside(PeerKey),
}

/// A handshake that another began and that we answered.
struct Answer {
    state: AwaitM3,
    ephemeral: [u8; 32],
    to: Origin,
    arrived: Instant,
}

/// The handshakes that others began.
pub struct Answers {
    waiting: Vec<Answer>,
    seen: Table<[u8; 32], ()>,
}

impl Answers {
    /// None.
    pub fn new(seed: u64) -> Answers {
        Answers { waiting: Vec::with_capacity(ANSWERS), seen: Table::new(HELLOS_REMEMBERED, seed) }
    }

    fn find(&self, index: SessionIndex) -> Option<usize> {
        self.waiting.iter().position(|answer| answer.state.index() == index)
    }

    /// When the next answer is over.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.waiting.iter().fold(None, |sum, answer| earliest(sum, Some(answer.arrived + ANSWER_LIFE)))
    }
}

impl Mesh {
    // ---- ours ----

    /// Tries an initial peer, when that is due.
    pub(super) fn dial_host(&mut self, now: Instant, host: HostId, out: &mut Outbox) -> Result<(), Discard> {
        let Some(entry) = self.hosts.get_mut(host) else { return Ok(()) };
        if entry.dial.next().is_none_or(|at| at > now) {
            return Ok(());
        }
        if let Some(key) = self.found_at(host) {
            self.host_is_connected(now, host, key);
            return Ok(());
        }
        let Some(entry) = self.hosts.get_mut(host) else { return Ok(()) };
        if entry.wants_resolving(now) {
            out.tell(Event::Resolve(host));
        }
        entry.dial.postpone(now, |most| self.random.jitter(most), None);
        if entry.addresses().next().is_none() {
            return Ok(());
        }
        let index = self.indexes.fresh(now, &mut self.random, Owner::Dial(Target::Host(host)))?;
        let state = AwaitM2::new(&self.credentials, &mut self.random, index);
        for address in entry.addresses() {
            let mut packet = out.blank()?;
            match packet.append(state.message()) {
                Ok(()) => out.send(address, packet),
                Err(why) => out.discard(packet, why),
            }
        }
        if let Some(fallen) = entry.dial.add(now, state) {
            self.indexes.release(now, fallen);
        }
        Ok(())
    }

    /// The connected peer at one of the host's addresses.
    fn found_at(&self, host: HostId) -> Option<PeerKey> {
        let (_, entry) = self.hosts.iter().find(|(id, _)| *id == host)?;
        let works = |m: &Member| m.peer.is_up() && !m.peer.is_lost();
        let known = entry.peer.filter(|key| self.peers.get(*key).is_some_and(works));
        let at_address = |m: &Member| works(m) && m.peer.direct().is_some_and(|address| entry.has(address));
        known.or_else(|| self.peers.iter().find(|(_, member)| at_address(member)).map(|(key, _)| key))
    }

    fn host_is_connected(&mut self, now: Instant, host: HostId, key: PeerKey) {
        let indexes = &mut self.indexes;
        if let Some(entry) = self.hosts.get_mut(host) {
            entry.peer = Some(key);
            entry.dial.stop(None, &mut |index| indexes.release(now, index));
        }
    }

    /// Tries a node that others told of, or asks a relay for it, when that is due.
    pub(super) fn dial_peer(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) -> Result<(), Discard> {
        let Some(member) = self.peers.get_mut(key) else { return Ok(()) };
        let relay_due = member.dial.relay_at().is_some_and(|at| at <= now);
        if relay_due {
            member.dial.set_relay_at(None);
        }
        let try_due = member.dial.next().is_some_and(|at| at <= now);
        let works = member.peer.is_up() && !member.peer.is_lost();
        if try_due && works && member.peer.is_rekeying() {
            return self.dial_for_rekey(now, key, out);
        }
        if try_due && works {
            let indexes = &mut self.indexes;
            member.dial.stop(None, &mut |index| indexes.release(now, index));
        } else if try_due {
            self.dial_outside(now, key, out)?;
        } else if relay_due {
            self.seek_relay(now, key, out);
        }
        Ok(())
    }

    fn dial_outside(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) -> Result<(), Discard> {
        let has_relay = self.has_relay(key);
        let Some(member) = self.peers.get_mut(key) else { return Ok(()) };
        let endpoints = *member.peer.endpoints();
        if !endpoints.is_empty() && !self.hints.take(now) {
            member.dial.wait(self.hints.ready_at().max(now) + self.random.jitter(RELAY_HEADSTART));
            return Ok(());
        }
        member.dial.postpone(now, |most| self.random.jitter(most), None);
        if endpoints.is_empty() && !has_relay && member.circuit.is_none() {
            return Ok(());
        }
        let index = self.indexes.fresh(now, &mut self.random, Owner::Dial(Target::Peer(key)))?;
        let state = AwaitM2::new(&self.credentials, &mut self.random, index);
        let message = *state.message();
        if let Some(fallen) = member.dial.add(now, state) {
            self.indexes.release(now, fallen);
        }
        let headstart = if endpoints.is_empty() { now } else { now + RELAY_HEADSTART };
        if has_relay || member.circuit.is_some() {
            member.dial.set_relay_at(Some(headstart));
        }
        for (already, address) in endpoints.iter().enumerate() {
            if already > 0 && !self.hints.take(now) {
                break;
            }
            self.send_bytes(now, Path::Direct(address), &message, out);
        }
        if endpoints.is_empty() {
            self.seek_relay(now, key, out);
        }
        Ok(())
    }

    /// Begins a handshake for a new key inside the session with `key`.
    pub(super) fn rekey(&mut self, now: Instant, key: PeerKey) {
        if let Some(member) = self.peers.get_mut(key) {
            member.dial.start(now);
            self.wake(now);
        }
    }

    fn dial_for_rekey(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) -> Result<(), Discard> {
        let Some(member) = self.peers.get_mut(key) else { return Ok(()) };
        member.dial.postpone(now, |most| self.random.jitter(most), Some(BACKOFF_LIVE));
        let index = self.indexes.fresh(now, &mut self.random, Owner::Dial(Target::Peer(key)))?;
        let state = AwaitM2::new(&self.credentials, &mut self.random, index);
        let message = *state.message();
        if let Some(fallen) = member.dial.add(now, state) {
            self.indexes.release(now, fallen);
        }
        self.post_control(now, key, &Control::Hello(&message), out)
    }

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
        if let Some(answer) = self.answers.waiting.iter().find(|answer| answer.ephemeral == ephemeral) {
            let stored = *answer.state.message();
            self.reply(now, origin, &stored, out);
            return Ok(());
        }
        if self.answers.seen.get(&ephemeral).is_some() {
            return Err(Discard::Replayed);
        }
        if self.answers.waiting.len() == ANSWERS {
            return Err(Discard::NoRoom);
        }
        let seen = match origin {
            Origin::Outside(Path::Direct(from)) => Some(from),
            _ => None,
        };
        let index = self.indexes.fresh(now, &mut self.random, Owner::Answer)?;
        let made = AwaitM3::new(&self.credentials, &mut self.random, index, message, seen);
        let state = made.inspect_err(|_| self.indexes.withdraw(index))?;
        self.answers.seen.insert(ephemeral, ());
        let stored = *state.message();
        self.answers.waiting.push(Answer { state, ephemeral, to: origin, arrived: now });
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
        let (established, hello3) = match tried.state.handle(&self.credentials, message) {
            Ok(done) => done,
            Err(Discard::Ourselves) => return Err(self.met_ourselves(now, target, out)),
            Err(why) => return Err(why),
        };
        self.admit(now, origin, established, Role::Initiator, began, Some(hello3), out)?;
        self.reply(now, origin, &hello3, out);
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
            return Ok(());
        }
        self.expire_answers(now);
        let place = self.answers.find(index).ok_or(Discard::UnknownIndex)?;
        let answer = &self.answers.waiting[place];
        let established = answer.state.handle(&self.credentials, message)?;
        let Answer { to, arrived, .. } = self.answers.waiting.swap_remove(place);
        // Only where the second message went has been proved to reach the node (S2, S19).
        let proved = if origin == to { origin } else { to };
        let key = self.admit(now, proved, established, Role::Responder, arrived, None, out)?;
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

    /// The initial peer, or whoever we were told of, is this very node.
    fn met_ourselves(&mut self, now: Instant, target: Target, out: &mut Outbox) -> Discard {
        let indexes = &mut self.indexes;
        if let Target::Host(host) = target
            && let Some(entry) = self.hosts.get_mut(host)
        {
            entry.dial.stop(None, &mut |index| indexes.release(now, index));
            entry.dial.start(now + crate::base::limits::BACKOFF_MAX);
            out.tell(Event::HostIsUs(host));
        }
        Discard::Ourselves
    }

    // ---- the outcome ----

    /// A handshake is complete: the node at its other end has a session from now on.
    #[allow(clippy::too_many_arguments, reason = "all that is known of a handshake once it is over")]
    fn admit(
        &mut self,
        now: Instant,
        origin: Origin,
        established: Established,
        role: Role,
        began: Instant,
        hello3: Option<[u8; HELLO3]>,
        out: &mut Outbox,
    ) -> Result<PeerKey, Discard> {
        let index = established.local;
        let key = match self.know(now, established.peer) {
            Ok(key) => key,
            Err(why) => {
                self.indexes.release(now, index);
                return Err(why);
            }
        };
        let path = match origin {
            Origin::Outside(path) => Some(path),
            Origin::Inside(from) if from == key => None,
            // A member cannot bring another in through its own session.
            Origin::Inside(_) => {
                self.indexes.release(now, index);
                return Err(Discard::Refused);
            }
        };
        self.stop_dialing(now, key, index);
        self.indexes.assign(index, Owner::Session(key));
        let jitter = self.random.jitter(REKEY_JITTER);
        let session = Session::new(now, &established.keys, role, index, established.remote, jitter);
        let link = Link::new(session, began, now);
        let indexes = &mut self.indexes;
        let Some(member) = self.peers.get_mut(key) else { return Err(Discard::UnknownPeer) };
        let was_up = member.peer.is_up();
        let freed = &mut |index| indexes.release(now, index);
        member.peer.install(now, link, established.capabilities, path, hello3, freed);
        member.known_since = now;
        if path.is_some() {
            self.news_for_newcomer(now, key);
        }
        if !was_up {
            self.tell_up(now, key, out);
        } else if path.is_none() {
            out.tell(Event::Rekeyed { peer: self.short_of(key) });
        }
        self.tend(now, key, out);
        Ok(key)
    }

    /// No more tries towards a node that has a session now.
    fn stop_dialing(&mut self, now: Instant, key: PeerKey, keep: SessionIndex) {
        let indexes = &mut self.indexes;
        let freed = &mut |index| indexes.release(now, index);
        if let Some(member) = self.peers.get_mut(key) {
            member.dial.stop(Some(keep), freed);
        }
        for (_, entry) in self.hosts.iter_mut() {
            if entry.dial.find(keep).is_some() {
                entry.peer = Some(key);
                entry.dial.stop(Some(keep), freed);
            }
        }
    }

    /// Forgets what was answered and not completed.
    pub(super) fn expire_answers(&mut self, now: Instant) {
        let indexes = &mut self.indexes;
        self.answers.waiting.retain(|answer| {
            let lives = now < answer.arrived + ANSWER_LIFE;
            if !lives {
                indexes.release(now, answer.state.index());
            }
            lives
        });
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
