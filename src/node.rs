//! One mesh member without I/O: four inputs, one deadline, one door out. Decides the fate of each packet.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use crate::base::discard::Tally;
use crate::base::ids::{HostId, NodeId};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::settings::Settings;
use crate::base::time::Instant;

/// A mesh member.
pub struct Node {
    tally: Tally,
}

impl Node {
    /// A node with these settings. `network_key` is the network's one secret (`crypto::identity`), `secret` the
    /// node's X25519 key, `seed` all the randomness it will ever use.
    pub fn new(
        settings: &Settings,
        network_key: [u8; 32],
        secret: [u8; 32],
        seed: [u8; 32],
        now: Instant,
    ) -> Node {
        let _ = (settings, network_key, secret, seed, now);
        Node { tally: Tally::default() }
    }

    /// This node's identity.
    pub fn id(&self) -> NodeId {
        NodeId([0; 32])
    }

    /// An Ethernet frame from the TAP.
    pub fn handle_frame(&mut self, now: Instant, frame: Packet, out: &mut Outbox) {
        let _ = now;
        out.recycle(frame);
    }

    /// A datagram from the network.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: Packet, out: &mut Outbox) {
        let _ = (now, from);
        out.recycle(datagram);
    }

    /// The addresses of an initial peer, as an answer to `Event::Resolve`.
    pub fn handle_addresses(&mut self, now: Instant, host: HostId, found: &[SocketAddr], out: &mut Outbox) {
        let _ = (now, host, found, out);
    }

    /// The network changed (HUP, netlink): retry and re-resolve now.
    pub fn handle_network_change(&mut self, now: Instant, out: &mut Outbox) {
        let _ = (now, out);
    }

    /// To be called when [`Node::next_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        let _ = (now, out);
    }

    /// When [`Node::handle_timeout`] wants to be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// Says goodbye to every peer.
    pub fn stop(&mut self, now: Instant, out: &mut Outbox) {
        let _ = (now, out);
    }

    /// Why packets died.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}
