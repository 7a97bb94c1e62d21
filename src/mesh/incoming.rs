//! What comes in: taken apart by type and kind, and handed to whom it concerns.

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::event::Parting;
use crate::base::ids::{PeerKey, SessionIndex};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::time::Instant;
use crate::crypto::macs::{Ahead, Foreseen};
use crate::mesh::answers::Origin;
use crate::mesh::{Mesh, Opened};
use crate::peer::path::Path;
use crate::wire::control::Control;
use crate::wire::envelope::{Header, Kind, Type};

impl Mesh {
    /// Computes ahead what the MACs of datagrams ought to be, of [`TOGETHER`] at most, for [`Mesh::open`].
    pub fn look_ahead(&self, now: Instant, datagrams: &[(SocketAddr, Packet)], foreseen: &mut [Foreseen]) {
        if datagrams.len() < 2 || !self.macs.is_worthwhile() {
            return;
        }
        let mut ahead = Ahead::new();
        for (number, (_, packet)) in datagrams.iter().enumerate() {
            match Type::of(packet.bytes()) {
                Ok(Type::Sealed) => self.look_at_sealed(now, number, packet.bytes(), &mut ahead),
                Ok(Type::Relayed) => self.look_at_relayed(now, number, packet.bytes(), &mut ahead),
                _ => (),
            }
        }
        ahead.compute(foreseen);
    }

    pub(super) fn look_at_sealed<'a>(
        &'a self,
        now: Instant,
        number: usize,
        packet: &'a [u8],
        ahead: &mut Ahead<'a>,
    ) {
        if let Ok(header) = Header::of_sealed(packet)
            && let Ok(key) = self.indexes.peer(header.index)
            && let Some(member) = self.peers.get(key)
            && let Some(session) = member.peer.sessions().get(header.index)
        {
            session.look_ahead(now, number, packet, ahead);
        }
    }

    /// Takes a datagram apart and deals with all that is not a frame. `foreseen` is what was computed ahead for it.
    pub fn open(
        &mut self,
        now: Instant,
        from: SocketAddr,
        packet: &mut Packet,
        foreseen: Foreseen,
        out: &mut Outbox,
    ) -> Result<Opened, Discard> {
        self.foreseen = foreseen;
        match Type::of(packet.bytes()) {
            Ok(Type::Relayed) => self.open_relayed(now, from, packet, out),
            Ok(_) => self.open_by(now, Path::Direct(from), packet, out),
            // Nothing of ours begins as an answer about a mapping does.
            Err(Discard::Malformed) => {
                self.handle_gateway_answer(now, from, packet.bytes(), out).map(|()| Opened::Spent)
            }
            Err(why) => Err(why),
        }
    }

    /// A packet that came by `path`. One inside a relayed packet cannot be relayed again.
    pub(super) fn open_by(
        &mut self,
        now: Instant,
        path: Path,
        packet: &mut Packet,
        out: &mut Outbox,
    ) -> Result<Opened, Discard> {
        match Type::of(packet.bytes())? {
            Type::Sealed => self.open_sealed(now, path, packet, out),
            Type::Relayed => Err(Discard::Malformed),
            Type::Hello1 | Type::Hello2 | Type::Hello3 | Type::Retry => {
                self.handle_hello(now, Origin::Outside(path), packet.bytes(), out)?;
                Ok(Opened::Spent)
            }
        }
    }

    fn open_sealed(
        &mut self,
        now: Instant,
        path: Path,
        packet: &mut Packet,
        out: &mut Outbox,
    ) -> Result<Opened, Discard> {
        let header = Header::of_sealed(packet.bytes())?;
        let key = self.indexes.peer(header.index)?;
        let indexes = &mut self.indexes;
        let peer = &mut self.peers.get_mut(key).ok_or(Discard::UnknownPeer)?.peer;
        let freed = &mut |index| indexes.release(now, index);
        let kind = peer.open(now, header.index, path, packet, &self.foreseen, freed)?;
        let opened = match kind {
            Kind::Frame => Ok(Opened::Frame(key)),
            Kind::Keepalive => {
                if peer.kept(now, packet.bytes()) {
                    self.keep(now, key, false, out);
                }
                Ok(Opened::Spent)
            }
            Kind::Control => self.handle_control(now, key, packet.bytes(), out).map(|()| Opened::Spent),
            Kind::Challenge | Kind::Response => {
                self.handle_nonce(now, key, path, kind, packet.bytes(), out).map(|()| Opened::Spent)
            }
            Kind::Close => {
                self.handle_close(now, key, header.index, out);
                Ok(Opened::Spent)
            }
            Kind::Fragment => self.handle_fragment(now, key, header, packet, out),
            Kind::Probe => self.handle_probe(now, key, path, packet.bytes(), out).map(|()| Opened::Spent),
        };
        if self.peers.get_mut(key).is_some_and(|member| member.peer.take_attention()) {
            self.tend(now, key, out);
        }
        opened
    }

    fn handle_control(
        &mut self,
        now: Instant,
        from: PeerKey,
        bytes: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        match Control::read(bytes)? {
            Control::Hello(message) => self.handle_hello(now, Origin::Inside(from), message, out),
            Control::Announce(announce) => self.handle_announce(now, from, &announce, out),
            Control::Announced { sequence, wanted } => self.handle_announced(now, from, sequence, wanted),
            Control::OpenCircuit { mine, target } => self.handle_open_circuit(now, from, mine, target, out),
            Control::OfferCircuit { mine, origin } => self.handle_offer_circuit(now, from, mine, origin, out),
            Control::AcceptCircuit { yours, mine } => self.handle_accept_circuit(now, from, yours, mine, out),
            Control::CloseCircuit { circuit, named_by, .. } => {
                self.handle_close_circuit(now, from, circuit, named_by, out)
            }
            Control::LoopQuestion(nonce) => self.handle_loop_question(now, from, nonce, out),
            Control::LoopAnswer(nonce) => self.handle_loop_answer(now, from, nonce, out),
            Control::PunchRequest(meeting) => self.handle_punch_request(now, from, &meeting, out),
            Control::Punch(meeting) => self.handle_punch(now, from, &meeting, out),
            Control::Observed(address) => self.handle_observed(from, address),
        }
    }

    fn handle_close(&mut self, now: Instant, key: PeerKey, index: SessionIndex, out: &mut Outbox) {
        let indexes = &mut self.indexes;
        let Some(member) = self.peers.get_mut(key) else { return };
        member.peer.close(index, &mut |index| indexes.release(now, index));
        if !member.peer.is_up() {
            self.part(now, key, Parting::Goodbye, out);
        }
    }
}
