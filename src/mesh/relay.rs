//! Relays: circuits over the control channels of live sessions, and packets on their way through them.
//!
//! A circuit has two legs, end–relay and relay–end. Each node names the packets that it receives on a leg by a number
//! of its own, so that no two circuits can be confused. The relay checks the hop MAC and the hop counter, writes its own
//! relay header in place of the old one and sends the same room on; it never sees a key of the ends (S15).

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::ids::{CircuitId, NodeId, PeerKey};
use crate::base::limits::{CIRCUITS_PER_PEER, RELAY_FRONT};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::time::Instant;
use crate::crypto::macs::Ahead;
use crate::mesh::circuits::{Circuit, Entry, Quota};
use crate::mesh::{Mesh, Opened};
use crate::peer::path::Path;
use crate::wire::control::{CircuitEnd, Control, NamedBy};
use crate::wire::envelope::{Header, Type};

impl Mesh {
    // ---- packets ----

    /// A relayed packet from a neighbour: for us, or to be sent on.
    pub(super) fn open_relayed(
        &mut self,
        now: Instant,
        from: SocketAddr,
        packet: &mut Packet,
        out: &mut Outbox,
    ) -> Result<Opened, Discard> {
        let (header, _) = Header::of_relayed(packet.bytes())?;
        let key = self.indexes.peer(header.index)?;
        let member = self.peers.get_mut(key).ok_or(Discard::UnknownPeer)?;
        let number = member.peer.unwrap(now, header.index, Path::Direct(from), packet, &self.foreseen)?;
        if member.peer.take_attention() {
            self.tend(now, key, out);
        }
        match self.circuits.used(now, number) {
            Some(Circuit::End { relay, .. }) if *relay == key => {
                self.open_by(now, Path::Via { relay: key, circuit: number }, packet, out)
            }
            Some(Circuit::Leg { neighbour, twin, quota, .. }) if *neighbour == key => {
                if !quota.take(now) {
                    return Err(Discard::Throttled);
                }
                let twin = *twin;
                self.send_on(now, twin, packet).map(Opened::Forward)
            }
            _ => {
                self.close_circuit(now, key, number, NamedBy::Sender, CircuitEnd::Unknown, out);
                Err(Discard::NoRoute)
            }
        }
    }

    /// Looks at a relayed packet's hop MAC, and at the packet inside if its circuit ends here.
    pub(super) fn look_at_relayed<'a>(
        &'a self,
        now: Instant,
        number: usize,
        packet: &'a [u8],
        ahead: &mut Ahead<'a>,
    ) {
        if let Ok((header, circuit)) = Header::of_relayed(packet)
            && let Ok(key) = self.indexes.peer(header.index)
            && let Some(member) = self.peers.get(key)
            && let Some(session) = member.peer.sessions().get(header.index)
        {
            session.look_ahead_hop(number, packet, ahead);
            let inside = &packet[RELAY_FRONT..];
            if let Some(Circuit::End { relay, .. }) = self.circuits.get(circuit)
                && *relay == key
                && Type::of(inside) == Ok(Type::Sealed)
            {
                self.look_at_sealed(now, number, inside, ahead);
            }
        }
    }

    /// Writes the relay header of the leg with our number `leg` in front of what came by its twin.
    fn send_on(&mut self, now: Instant, leg: CircuitId, packet: &mut Packet) -> Result<SocketAddr, Discard> {
        let Some(Circuit::Leg { neighbour, theirs: Some(theirs), .. }) = self.circuits.used(now, leg) else {
            return Err(Discard::NoRoute);
        };
        let (neighbour, theirs) = (*neighbour, *theirs);
        let member = self.peers.get_mut(neighbour).ok_or(Discard::UnknownPeer)?;
        let address = member.peer.direct().ok_or(Discard::NoRoute)?;
        member.peer.wrap(now, theirs, packet, &mut self.macs)?;
        self.relayed.packets += 1;
        self.relayed.bytes += packet.len() as u64;
        Ok(address)
    }

    // ---- what relays and ends tell each other ----

    /// `from` wants a circuit through us.
    pub(super) fn handle_open_circuit(
        &mut self,
        now: Instant,
        from: PeerKey,
        theirs: CircuitId,
        target: NodeId,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        match self.open_legs(now, from, theirs, target) {
            Ok(leg) => self.offer_or_accept(now, leg, out),
            Err(reason) => {
                self.close_circuit(now, from, theirs, NamedBy::Receiver, reason, out);
                Err(Discard::Refused)
            }
        }
    }

    /// Our number of the leg to `from`, made if this is the first request for it.
    fn open_legs(
        &mut self,
        now: Instant,
        from: PeerKey,
        theirs: CircuitId,
        target: NodeId,
    ) -> Result<CircuitId, CircuitEnd> {
        if !self.relays {
            return Err(CircuitEnd::Refused);
        }
        let same = |circuit: &Circuit| {
            matches!(circuit, Circuit::Leg { neighbour, theirs: Some(number), .. }
                if *neighbour == from && *number == theirs)
        };
        if let Some(leg) = self.circuits.find(same) {
            return Ok(leg);
        }
        let to = self.peers.find(&target).filter(|key| *key != from).ok_or(CircuitEnd::Unreachable)?;
        let direct = self.peers.get(to).is_some_and(|m| m.peer.is_up() && m.peer.direct().is_some());
        if !direct {
            return Err(CircuitEnd::Unreachable);
        }
        // One circuit from a node to another: a newer request replaces the older, so that nobody can take all (S15).
        if let Some(older) = self.leg_between(from, to) {
            self.drop_leg(older);
        }
        let crowded = |key| self.circuits.legs_of(key) >= 2 * CIRCUITS_PER_PEER;
        if crowded(from) || crowded(to) {
            return Err(CircuitEnd::Full);
        }
        let leg = |neighbour, theirs: Option<CircuitId>, twin| Circuit::Leg {
            neighbour,
            theirs,
            twin,
            near: theirs.is_some(),
            quota: Quota::default(),
        };
        let full = |_| CircuitEnd::Full;
        let near = self
            .circuits
            .add(now, &mut self.random, |number| leg(from, Some(theirs), number))
            .map_err(full)?;
        let far = self.circuits.add(now, &mut self.random, |_| leg(to, None, near));
        let Ok(far) = far else {
            self.circuits.entries.remove(&near);
            return Err(CircuitEnd::Full);
        };
        if let Some(Circuit::Leg { twin, .. }) = self.circuits.get_mut(near) {
            *twin = far;
        }
        Ok(near)
    }

    /// Our number of the leg to `from` of its circuit to `to`.
    fn leg_between(&self, from: PeerKey, to: PeerKey) -> Option<CircuitId> {
        let near = |circuit: &Circuit| match circuit {
            Circuit::Leg { neighbour, twin, near: true, .. } if *neighbour == from => {
                matches!(self.circuits.get(*twin), Some(Circuit::Leg { neighbour, .. }) if *neighbour == to)
            }
            _ => false,
        };
        self.circuits.find(near)
    }

    fn drop_leg(&mut self, number: CircuitId) {
        if let Some(Entry { circuit: Circuit::Leg { twin, .. }, .. }) = self.circuits.entries.remove(&number)
        {
            self.circuits.entries.remove(&twin);
        }
    }

    /// Offers the circuit to its far end, or tells the near one that it stands.
    fn offer_or_accept(&mut self, now: Instant, near: CircuitId, out: &mut Outbox) -> Result<(), Discard> {
        let Some(Circuit::Leg { neighbour, theirs: Some(yours), twin, .. }) = self.circuits.get(near) else {
            return Err(Discard::NoRoute);
        };
        let (origin, yours, twin) = (*neighbour, *yours, *twin);
        let Some(Circuit::Leg { neighbour: to, theirs, .. }) = self.circuits.get(twin) else {
            return Err(Discard::NoRoute);
        };
        if theirs.is_some() {
            return self.post_control(now, origin, &Control::AcceptCircuit { yours, mine: near }, out);
        }
        let to = *to;
        let origin = self.peers.get(origin).ok_or(Discard::UnknownPeer)?.peer.id();
        self.post_control(now, to, &Control::OfferCircuit { mine: twin, origin }, out)
    }

    /// The circuit that we named `yours` stands: at its far end, if we relay, or altogether.
    pub(super) fn handle_accept_circuit(
        &mut self,
        now: Instant,
        from: PeerKey,
        yours: CircuitId,
        mine: CircuitId,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        match self.circuits.used(now, yours) {
            Some(Circuit::End { relay, theirs, .. }) if *relay == from => {
                *theirs = Some(mine);
                self.circuit_ready(now, yours, out);
                Ok(())
            }
            Some(Circuit::Leg { neighbour, theirs, twin, .. }) if *neighbour == from => {
                *theirs = Some(mine);
                let near = *twin;
                self.offer_or_accept(now, near, out)
            }
            _ => Err(Discard::Unexpected),
        }
    }

    /// A circuit is no more, says `from`.
    pub(super) fn handle_close_circuit(
        &mut self,
        now: Instant,
        from: PeerKey,
        circuit: CircuitId,
        named_by: NamedBy,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let number = match named_by {
            NamedBy::Receiver => circuit,
            NamedBy::Sender => self.circuits.find(|c| c.is_with(from, circuit)).ok_or(Discard::Unexpected)?,
        };
        match self.circuits.get(number) {
            Some(Circuit::End { relay, far, theirs, .. }) if *relay == from => {
                let (far, stood) = (*far, theirs.is_some());
                self.drop_end(number);
                // S12: one that was never accepted is asked for again with the next try, not at once: the relay
                // may go on refusing as fast as we ask.
                if stood {
                    self.end_was_lost(now, far, number, out);
                }
            }
            Some(Circuit::Leg { neighbour, twin, .. }) if *neighbour == from => {
                let twin = *twin;
                self.circuits.entries.remove(&number);
                if let Some(Entry { circuit: Circuit::Leg { neighbour, theirs: Some(theirs), .. }, .. }) =
                    self.circuits.entries.remove(&twin)
                {
                    let end = CircuitEnd::Unreachable;
                    self.close_circuit(now, neighbour, theirs, NamedBy::Receiver, end, out);
                }
            }
            _ => return Err(Discard::Unexpected),
        }
        Ok(())
    }

    pub(super) fn close_circuit(
        &mut self,
        now: Instant,
        to: PeerKey,
        circuit: CircuitId,
        named_by: NamedBy,
        reason: CircuitEnd,
        out: &mut Outbox,
    ) {
        let sent = self.post_control(now, to, &Control::CloseCircuit { circuit, named_by, reason }, out);
        if let Err(why) = sent {
            out.count(why);
        }
    }

    // ---- circuits end ----

    /// `lost` is not reached directly any more: its circuits through us have ended, and ours through it.
    pub(super) fn circuits_lost(&mut self, now: Instant, lost: PeerKey, out: &mut Outbox) {
        loop {
            let of = |circuit: &Circuit| match circuit {
                Circuit::End { relay, .. } => *relay == lost,
                Circuit::Leg { neighbour, .. } => *neighbour == lost,
            };
            let Some(number) = self.circuits.find(of) else { return };
            match self.circuits.entries.remove(&number).map(|entry| entry.circuit) {
                Some(Circuit::End { far, .. }) => {
                    if let Some(member) = self.peers.get_mut(far) {
                        member.circuit.take_if(|circuit| *circuit == number);
                    }
                    self.end_was_lost(now, far, number, out);
                }
                Some(Circuit::Leg { twin, .. }) => {
                    if let Some(Entry {
                        circuit: Circuit::Leg { neighbour, theirs: Some(theirs), .. }, ..
                    }) = self.circuits.entries.remove(&twin)
                    {
                        let end = CircuitEnd::Unreachable;
                        self.close_circuit(now, neighbour, theirs, NamedBy::Receiver, end, out);
                    }
                }
                None => return,
            }
        }
    }
}
