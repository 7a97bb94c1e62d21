//! What fits: frames go to a peer whole or in parts, probes find how long a datagram may be, and their answers
//! say that it was not too long. The search itself is in [`peer::mtu`](crate::peer::mtu), the parts in
//! [`peer::fragment`](crate::peer::fragment).

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::ids::PeerKey;
use crate::base::limits::{MTU_STALL, PATH_FLOOR, RELAY_FRONT, SEAL_BACK, SEAL_FRONT};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::time::Instant;
use crate::mesh::{Mesh, Opened};
use crate::peer::fragment::Cut;
use crate::peer::path::Path;
use crate::wire::envelope::{Header, Kind};

/// Length of a probe's number, which is all of its answer, in bytes.
const NUMBER: usize = 8;

impl Mesh {
    /// Seals a frame for a peer. What does not fit the path goes in parts: all but the last are in `out` then, and `packet`
    /// is the last one. Returns where to send it.
    pub fn seal_frame(
        &mut self,
        now: Instant,
        to: PeerKey,
        packet: &mut Packet,
        out: &mut Outbox,
    ) -> Result<SocketAddr, Discard> {
        let length = packet.len();
        let peer = &mut self.peers.get_mut(to).ok_or(Discard::UnknownPeer)?.peer;
        let room = peer.room_for(now, length);
        if length > PATH_FLOOR - SEAL_FRONT - SEAL_BACK - RELAY_FRONT {
            self.wake(now + MTU_STALL);
        }
        if length <= room {
            return self.seal(now, to, Kind::Frame, packet);
        }
        let cut = Cut::new(length, room)?;
        for place in 0..cut.last() {
            let mut part = out.blank()?;
            let sealed = cut
                .copy(place, packet, &mut part)
                .and_then(|()| self.seal(now, to, Kind::Fragment, &mut part));
            match sealed {
                Ok(address) => out.send(address, part),
                Err(why) => {
                    out.recycle(part);
                    return Err(why);
                }
            }
        }
        cut.keep_last(packet)?;
        self.seal(now, to, Kind::Fragment, packet)
    }

    /// The longest frame that goes to a peer in one packet, now or when the search is over. Begins it if need be.
    pub fn frame_room(&mut self, now: Instant, to: PeerKey) -> Option<usize> {
        let peer = &mut self.peers.get_mut(to)?.peer;
        let room = peer.expected_room(now);
        if peer.take_attention() {
            self.wake(now);
        }
        Some(room)
    }

    /// A part of a frame from `from`. The frame is in `packet` when this was the last one missing.
    pub(super) fn handle_fragment(
        &mut self,
        now: Instant,
        from: PeerKey,
        header: Header,
        packet: &mut Packet,
        out: &mut Outbox,
    ) -> Result<Opened, Discard> {
        let Header { index, counter } = header;
        let whole = self.reassembly.handle(now, from, index, counter, packet, out)?;
        Ok(if whole { Opened::Frame(from) } else { Opened::Spent })
    }

    /// Sends a probe whose datagram has that length, by the path in use.
    pub(super) fn probe(&mut self, now: Instant, key: PeerKey, number: u64, length: usize, out: &mut Outbox) {
        let Some(path) = self.peers.get(key).and_then(|member| member.peer.path()) else { return };
        let relay = if matches!(path, Path::Via { .. }) { RELAY_FRONT } else { 0 };
        let fill = length.saturating_sub(relay + SEAL_FRONT + SEAL_BACK + NUMBER);
        if let Err(why) = self.post_probe(now, key, path, number, fill, out) {
            out.count(why);
        }
    }

    /// A probe from a peer, or the answer to one of ours: that has nothing but the number.
    pub(super) fn handle_probe(
        &mut self,
        now: Instant,
        from: PeerKey,
        path: Path,
        bytes: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let number = u64::from_be_bytes(*bytes.first_chunk::<NUMBER>().ok_or(Discard::Truncated)?);
        let peer = &mut self.peers.get_mut(from).ok_or(Discard::UnknownPeer)?.peer;
        if bytes.len() == NUMBER {
            peer.probe_answered(now, number);
            return Ok(());
        }
        peer.answer_sent(path);
        self.post_probe(now, from, path, number, 0, out)
    }

    /// Sends a number by `path`, and so many zeros behind it.
    fn post_probe(
        &mut self,
        now: Instant,
        to: PeerKey,
        path: Path,
        number: u64,
        fill: usize,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let mut packet = out.blank()?;
        let sealed = packet.append(&number.to_be_bytes()).and_then(|()| {
            packet.push_back(fill)?.fill(0);
            let peer = &mut self.peers.get_mut(to).ok_or(Discard::UnknownPeer)?.peer;
            peer.seal(now, Kind::Probe, &mut packet, Some(&mut self.macs))?;
            self.route(now, path, &mut packet)
        });
        match sealed {
            Ok(address) => out.send(address, packet),
            Err(why) => out.discard(packet, why),
        }
        Ok(())
    }

    /// The kernel refused a datagram of that length to `to`: it is longer than the interface carries.
    pub fn handle_too_long(&mut self, now: Instant, to: SocketAddr, length: usize, out: &mut Outbox) {
        for slot in 0..self.peers.slots() {
            let Some(key) = self.peers.key(slot) else { continue };
            let path = self.peers.get(key).and_then(|member| member.peer.path());
            let next_hop = match path {
                Some(Path::Via { relay, .. }) => {
                    self.peers.get(relay).and_then(|member| member.peer.direct())
                }
                Some(Path::Direct(address)) => Some(address),
                None => None,
            };
            if next_hop == Some(to)
                && let Some(member) = self.peers.get_mut(key)
            {
                member.peer.too_long(now, length);
                self.tend(now, key, out);
            }
        }
    }
}
