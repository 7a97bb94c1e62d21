//! Handshakes that this node begins: with its initial peers, with nodes that others told of, and for the next key of a session.
//!
//! One try to a target is one first message: every address of a volley, and a relay beside them, gets the very same
//! bytes.

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::event::Event;
use crate::base::ids::{HostId, PeerKey};
use crate::base::limits::{BACKOFF_LIVE, ENDPOINTS_PER_PEER, RELAY_HEADSTART, RETRIES};
use crate::base::outbox::Outbox;
use crate::base::time::Instant;
use crate::mesh::Mesh;
use crate::mesh::answers::Origin;
use crate::mesh::indexes::{Owner, Target};
use crate::mesh::peers::Member;
use crate::peer::handshake::AwaitM2;
use crate::peer::path::Path;
use crate::wire::control::Control;
use crate::wire::hello::Retry;

impl Mesh {
    /// Tries an initial peer, when that is due.
    pub(super) fn dial_host(&mut self, now: Instant, host: HostId, out: &mut Outbox) -> Result<(), Discard> {
        let Some(entry) = self.hosts.get_mut(host) else { return Ok(()) };
        if entry.dial.next().is_none_or(|at| at > now) {
            return Ok(());
        }
        if let Some(key) = self.found_at(host) {
            self.host_is_connected(host, key);
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
        let index = self.indexes.fresh(now, &mut self.random, Owner::Dial(Target::Host(host)), 0)?;
        let state = AwaitM2::new(&self.credentials, &mut self.random, index);
        let message = *state.message();
        if let Some(fallen) = entry.dial.add(now, state) {
            self.indexes.withdraw(fallen);
        }
        for address in entry.addresses() {
            let mut packet = out.blank()?;
            match packet.append(&message) {
                Ok(()) => out.send(address, packet),
                Err(why) => out.discard(packet, why),
            }
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

    fn host_is_connected(&mut self, host: HostId, key: PeerKey) {
        let indexes = &mut self.indexes;
        if let Some(entry) = self.hosts.get_mut(host) {
            entry.peer = Some(key);
            entry.dial.stop(&mut |index| indexes.withdraw(index));
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
            member.dial.stop(&mut |index| indexes.withdraw(index));
        } else if try_due {
            self.dial_outside(now, key, out)?;
        } else if relay_due && !works {
            self.seek_relay(now, key, out);
        }
        Ok(())
    }

    fn dial_outside(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) -> Result<(), Discard> {
        let by_relay = self.has_relay(key);
        let Some(member) = self.peers.get_mut(key) else { return Ok(()) };
        let by_relay = by_relay || member.circuit.is_some();
        let places = *member.peer.endpoints();
        let only_hints = !places.told.is_empty() && places.proved.is_empty();
        if only_hints && self.hints.ready_at() > now {
            member.dial.wait(self.hints.ready_at());
            return Ok(());
        }
        member.dial.postpone(now, |most| self.random.jitter(most), None);
        let hints = &mut self.hints;
        let mut allowed = |address: SocketAddr| places.proved.has(address) || hints.take(now, address.ip());
        let mut direct = [None; 2 * ENDPOINTS_PER_PEER];
        for (place, address) in direct.iter_mut().zip(places.iter().filter(|address| allowed(*address))) {
            *place = Some(address);
        }
        if direct[0].is_none() && !by_relay {
            return Ok(());
        }
        let index = self.indexes.fresh(now, &mut self.random, Owner::Dial(Target::Peer(key)), 0)?;
        let state = AwaitM2::new(&self.credentials, &mut self.random, index);
        let message = *state.message();
        if let Some(fallen) = member.dial.add(now, state) {
            self.indexes.withdraw(fallen);
        }
        direct.iter().flatten().for_each(|address| member.dial.sent(Path::Direct(*address)));
        if by_relay && direct[0].is_some() {
            member.dial.set_relay_at(Some(now + RELAY_HEADSTART));
        }
        for address in direct.into_iter().flatten() {
            self.send_bytes(now, Path::Direct(address), &message, out);
        }
        if direct[0].is_none() {
            self.seek_relay(now, key, out);
        }
        self.ask_to_meet(now, key, out);
        Ok(())
    }

    /// The other side has no time and asks for the first message once more, with a token. It gets the same bytes, and only
    /// where it asked from (S5a).
    pub(super) fn handle_retry(
        &mut self,
        now: Instant,
        origin: Origin,
        message: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let index = Retry::read(message)?.receiver;
        let Owner::Dial(target) = self.indexes.owner(index)? else { return Err(Discard::UnknownIndex) };
        let Origin::Outside(path @ Path::Direct(from)) = origin else { return Err(Discard::Unexpected) };
        if !self.was_asked(target, origin) {
            return Err(Discard::Unexpected);
        }
        // S2: in the name of an address that others told of, a member may write.
        let hint = match target {
            Target::Host(_) => false,
            Target::Peer(key) => !self.peers.get(key).is_some_and(|m| m.peer.endpoints().proved.has(from)),
        };
        let dial = Self::dial(&mut self.hosts, &mut self.peers, target);
        let tried = dial.and_then(|dial| dial.find(index)).ok_or(Discard::UnknownIndex)?;
        let again = tried.state.retried(&self.credentials, message)?;
        if tried.retries >= RETRIES || hint && !self.hints.take(now, from.ip()) {
            return Err(Discard::Throttled);
        }
        tried.retries += 1;
        tried.goes_to(path);
        self.send_bytes(now, path, &again, out);
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
        let index = self.indexes.fresh(now, &mut self.random, Owner::Dial(Target::Peer(key)), 0)?;
        let state = AwaitM2::new(&self.credentials, &mut self.random, index);
        let message = *state.message();
        if let Some(fallen) = member.dial.add(now, state) {
            self.indexes.withdraw(fallen);
        }
        self.post_control(now, key, &Control::Hello(&message), out)
    }
}
