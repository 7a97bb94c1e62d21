//! What goes out: sealed for a peer, readied for its path, and never owing a MAC when it leaves.

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::ids::PeerKey;
use crate::base::limits::{CONTROL_MAX, PROBE_AFTER};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::time::Instant;
use crate::mesh::Mesh;
use crate::peer::path::Path;
use crate::wire::control::Control;
use crate::wire::cursor::Writer;
use crate::wire::envelope::Kind;

impl Mesh {
    /// How many slots [`Mesh::floodable`] may be asked for.
    pub fn slots(&self) -> usize {
        self.peers.slots()
    }

    /// The peer in that slot, if a flooded frame should reach it.
    pub fn floodable(&self, slot: usize) -> Option<PeerKey> {
        let key = self.peers.key(slot)?;
        self.peers.get(key)?.peer.is_reachable().then_some(key)
    }

    /// Seals what is in `packet` for a peer. Returns where to send it. It may owe its MACs until [`Mesh::finish`].
    pub fn seal(
        &mut self,
        now: Instant,
        to: PeerKey,
        kind: Kind,
        packet: &mut Packet,
    ) -> Result<SocketAddr, Discard> {
        let peer = &mut self.peers.get_mut(to).ok_or(Discard::UnknownPeer)?.peer;
        let path = peer.path().ok_or(Discard::NoRoute)?;
        let sealed = peer.seal(now, kind, packet, Some(&mut self.macs));
        if peer.take_attention() {
            self.wake(now);
        }
        sealed?;
        self.wake(now + PROBE_AFTER);
        self.route(now, path, packet)
    }

    /// Computes the MACs that packets in `out` owe: before anything leaves, and when there is no room for more.
    pub fn finish(&mut self, out: &mut Outbox) {
        self.macs.finish(out);
    }

    /// Whether it is time to.
    pub fn owes_much(&self) -> bool {
        self.macs.is_full()
    }

    /// Readies a whole packet for its path: as it is, or inside a relay's envelope.
    pub(super) fn route(
        &mut self,
        now: Instant,
        path: Path,
        packet: &mut Packet,
    ) -> Result<SocketAddr, Discard> {
        match path {
            Path::Direct(address) => Ok(address),
            Path::Via { relay, circuit } => self.wrap(now, relay, circuit, packet),
        }
    }

    /// Seals and sends `packet`, which counts as dead when that fails.
    pub(super) fn post(
        &mut self,
        now: Instant,
        to: PeerKey,
        kind: Kind,
        mut packet: Packet,
        out: &mut Outbox,
    ) {
        match self.seal(now, to, kind, &mut packet) {
            Ok(address) => out.send(address, packet),
            Err(why) => out.discard(packet, why),
        }
    }

    pub(super) fn post_empty(&mut self, now: Instant, to: PeerKey, kind: Kind, out: &mut Outbox) {
        match out.blank() {
            Ok(packet) => self.post(now, to, kind, packet, out),
            Err(why) => out.count(why),
        }
    }

    pub(super) fn post_control(
        &mut self,
        now: Instant,
        to: PeerKey,
        message: &Control<'_>,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let mut packet = out.blank()?;
        let written = packet.push_back(CONTROL_MAX).and_then(|room| {
            let mut writer = Writer::new(room);
            message.write(&mut writer)?;
            Ok(writer.written())
        });
        match written.and_then(|written| packet.pull_back(CONTROL_MAX - written)) {
            Ok(()) => self.post(now, to, Kind::Control, packet, out),
            Err(why) => out.discard(packet, why),
        }
        Ok(())
    }
}
