//! Circuits that end here: asking relays for them, accepting those that others asked for, and what happens when one is gone.

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::ids::{CircuitId, NodeId, PeerKey};
use crate::base::limits::{CIRCUIT_AGAIN, CIRCUIT_TRIES, CIRCUITS_PER_PEER, PROBE_AFTER};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::time::Instant;
use crate::mesh::Mesh;
use crate::mesh::circuits::{Circuit, Entry};
use crate::peer::path::Path;
use crate::wire::control::{CircuitEnd, Control, NamedBy};
use crate::wire::hello::Capabilities;

impl Mesh {
    /// Puts the relay's envelope around a packet of ours. Returns the relay's address.
    pub(super) fn wrap(
        &mut self,
        now: Instant,
        relay: PeerKey,
        number: CircuitId,
        packet: &mut Packet,
    ) -> Result<SocketAddr, Discard> {
        let Some(Circuit::End { theirs: Some(theirs), .. }) = self.circuits.used(now, number) else {
            return Err(Discard::NoRoute);
        };
        let theirs = *theirs;
        let member = self.peers.get_mut(relay).ok_or(Discard::NoRoute)?;
        let address = member.peer.direct().ok_or(Discard::NoRoute)?;
        member.peer.wrap(now, theirs, packet, &mut self.macs)?;
        self.wake(now + PROBE_AFTER);
        Ok(address)
    }

    /// Sees to a circuit by which `far` can be reached: asks a relay for one, asks again, or asks another.
    pub(super) fn seek_relay(&mut self, now: Instant, far: PeerKey, out: &mut Outbox) {
        if !self.use_relay {
            return;
        }
        let Some(member) = self.peers.get_mut(far) else { return };
        let id = member.peer.id();
        if let Some(number) = member.circuit {
            match self.circuits.get_mut(number) {
                Some(Circuit::End { relay, theirs, tries, .. }) if *tries < CIRCUIT_TRIES => {
                    *tries += 1;
                    let (relay, stands) = (*relay, theirs.is_some());
                    if stands {
                        return self.circuit_ready(now, number, out);
                    }
                    return self.ask_relay(now, far, relay, number, id, out);
                }
                // Asked for, or used, long enough without an answer: another relay may do better.
                _ => self.drop_end(number),
            }
        }
        let Some(relay) = self.choose_relay(far) else { return };
        // S12: relays may refuse as fast as we ask.
        let Some(member) = self.peers.get_mut(far) else { return };
        if !member.relay_asks.take(now) {
            let at = member.relay_asks.ready_at().max(now + CIRCUIT_AGAIN);
            member.dial.set_relay_at(Some(at));
            return self.wake(at);
        }
        let end = |_| Circuit::End { relay, far, theirs: None, ours: true, tries: 1 };
        match self.circuits.add(now, &mut self.random, end) {
            Ok(number) => {
                if let Some(member) = self.peers.get_mut(far) {
                    member.circuit = Some(number);
                    member.relay_tried = relay.slot;
                }
                self.ask_relay(now, far, relay, number, id, out);
            }
            Err(why) => out.count(why),
        }
    }

    fn ask_relay(
        &mut self,
        now: Instant,
        far: PeerKey,
        relay: PeerKey,
        mine: CircuitId,
        target: NodeId,
        out: &mut Outbox,
    ) {
        if let Some(member) = self.peers.get_mut(far) {
            member.dial.set_relay_at(Some(now + CIRCUIT_AGAIN));
            self.wake(now + CIRCUIT_AGAIN);
        }
        let sent = self.post_control(now, relay, &Control::OpenCircuit { mine, target }, out);
        if let Err(why) = sent {
            out.count(why);
        }
    }

    /// The next node, in the order of the table, that relays and says that it has a direct path to `far`.
    fn choose_relay(&self, far: PeerKey) -> Option<PeerKey> {
        let tried = self.peers.get(far)?.relay_tried;
        let fit = |key: &PeerKey| {
            *key != far
                && self.peers.get(*key).is_some_and(|member| {
                    member.peer.is_up()
                        && member.peer.direct().is_some()
                        && member.peer.capabilities().has(Capabilities::RELAY)
                        && member.news.reaches(far.slot)
                })
        };
        let all = || self.peers.iter().map(|(key, _)| key).filter(fit);
        all().find(|key| key.slot > tried).or_else(|| all().next())
    }

    /// Whether some relay could reach `far`.
    pub(super) fn has_relay(&self, far: PeerKey) -> bool {
        self.use_relay && self.choose_relay(far).is_some()
    }

    /// The relay `from` offers a circuit that another asked for.
    pub(super) fn handle_offer_circuit(
        &mut self,
        now: Instant,
        from: PeerKey,
        theirs: CircuitId,
        origin: NodeId,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        if !self.use_relay || origin == self.id() {
            self.close_circuit(now, from, theirs, NamedBy::Receiver, CircuitEnd::Refused, out);
            return Err(Discard::Refused);
        }
        let same = |circuit: &Circuit| {
            matches!(circuit, Circuit::End { relay, theirs: Some(number), .. }
                if *relay == from && *number == theirs)
        };
        let mine = match self.circuits.find(same) {
            Some(mine) => mine,
            None => self.accept_end(now, from, theirs, origin)?,
        };
        self.post_control(now, from, &Control::AcceptCircuit { yours: theirs, mine }, out)
    }

    fn accept_end(
        &mut self,
        now: Instant,
        relay: PeerKey,
        theirs: CircuitId,
        origin: NodeId,
    ) -> Result<CircuitId, Discard> {
        let ends =
            |entry: &Entry| matches!(entry.circuit, Circuit::End { relay: other, .. } if other == relay);
        if self.circuits.entries.iter().filter(|(_, entry)| ends(entry)).count() >= CIRCUITS_PER_PEER {
            return Err(Discard::NoRoom);
        }
        let far = self.know(now, origin)?;
        // One circuit from each end: a newer one replaces the older (S15).
        let older = |circuit: &Circuit| matches!(circuit, Circuit::End { relay: r, far: f, ours: false, .. } if *r == relay && *f == far);
        let older = self.circuits.find(older);
        if let Some(older) = older {
            self.drop_end(older);
        }
        let end = |_| Circuit::End { relay, far, theirs: Some(theirs), ours: false, tries: 0 };
        let mine = self.circuits.add(now, &mut self.random, end)?;
        if let Some(member) = self.peers.get_mut(far) {
            member.circuit.get_or_insert(mine);
            let in_use =
                matches!(member.peer.path(), Some(Path::Via { circuit, .. }) if Some(circuit) == older);
            if in_use {
                // The relay has given up the older one as well.
                member.peer.try_path(now, Path::Via { relay, circuit: mine });
                self.wake(now);
            }
        }
        Ok(mine)
    }

    /// A circuit of ours stands: sends the handshake by it that waits for it, or makes it the path that was lost.
    pub(super) fn circuit_ready(&mut self, now: Instant, number: CircuitId, out: &mut Outbox) {
        let Some(Circuit::End { relay, far, .. }) = self.circuits.get(number) else { return };
        let (path, far) = (Path::Via { relay: *relay, circuit: number }, *far);
        let Some(member) = self.peers.get_mut(far) else { return };
        member.dial.set_relay_at(None);
        if !member.peer.is_up() {
            if let Some(latest) = member.dial.latest() {
                let message = *latest.state.message();
                member.dial.sent(path);
                self.send_bytes(now, path, &message, out);
            }
        } else if member.peer.is_lost() {
            member.peer.try_path(now, path);
            self.ask(now, far, out);
            self.wake(now);
        }
    }

    pub(super) fn drop_end(&mut self, number: CircuitId) {
        if let Some(Entry { circuit: Circuit::End { far, .. }, .. }) = self.circuits.entries.remove(&number)
            && let Some(member) = self.peers.get_mut(far)
        {
            member.circuit.take_if(|circuit| *circuit == number);
        }
    }

    /// What used the circuit `number` to reach `far` looks for another way.
    pub(super) fn end_was_lost(&mut self, now: Instant, far: PeerKey, number: CircuitId, out: &mut Outbox) {
        let Some(member) = self.peers.get_mut(far) else { return };
        match member.peer.path() {
            Some(Path::Via { circuit, .. }) if circuit == number => {
                member.peer.drop_path(now);
                self.find_way(now, far, out);
            }
            None => {
                member.dial.set_relay_at(Some(now + CIRCUIT_AGAIN));
                self.wake(now + CIRCUIT_AGAIN);
            }
            Some(_) => {}
        }
    }

    /// The circuit by which `far` was reached, if it was, is dead: gives it up.
    pub(super) fn leave_circuit(&mut self, now: Instant, far: PeerKey, out: &mut Outbox) {
        let Some(member) = self.peers.get_mut(far) else { return };
        let Some(Path::Via { relay, circuit }) = member.peer.path() else { return };
        member.peer.drop_path(now);
        self.drop_end(circuit);
        self.close_circuit(now, relay, circuit, NamedBy::Sender, CircuitEnd::Unreachable, out);
    }

    /// `gone` has no session any more: our circuits to it serve nobody.
    pub(super) fn circuits_to_nobody(&mut self, gone: PeerKey) {
        self.circuits
            .entries
            .retain(|_, entry| !matches!(entry.circuit, Circuit::End { far, .. } if far == gone));
        if let Some(member) = self.peers.get_mut(gone) {
            member.circuit = None;
        }
    }
}
