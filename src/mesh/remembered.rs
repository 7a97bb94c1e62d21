//! Where nodes were reached: whom a node tries when nobody is there any more, its initial peers included. What is
//! remembered is a hint, as what peers tell is: it moves a bounded number of datagrams, and who is there shows in the
//! handshake.

use std::net::SocketAddr;

use crate::base::ids::NodeId;
use crate::base::limits::{RECALL_AFTER, REMEMBERED};
use crate::base::time::Instant;
use crate::mesh::Mesh;
use crate::wire::control::Endpoints;

/// A node, and where it was reached directly.
pub type Place = (NodeId, SocketAddr);

impl Mesh {
    /// Takes in what an earlier life of this node remembered.
    pub fn remember(&mut self, now: Instant, places: &[Place]) {
        self.remembered = places.iter().copied().take(REMEMBERED).collect();
        self.sweep_at = now + RECALL_AFTER;
        self.wake(self.sweep_at);
    }

    /// Where nodes are reached directly now, and behind them where others were.
    pub fn remembered(&mut self) -> &[Place] {
        let now = self.peers.iter().filter_map(|(_, member)| Some((member.peer.id(), member.peer.direct()?)));
        let mut places: Vec<Place> = now.collect();
        for &(id, address) in &self.remembered {
            if !places.iter().any(|(other, there)| *other == id || *there == address) {
                places.push((id, address));
            }
        }
        places.truncate(REMEMBERED);
        self.remembered = places;
        &self.remembered
    }

    /// Tries all that is remembered, if nobody is there.
    pub(super) fn recall(&mut self, now: Instant) {
        if self.peers.iter().any(|(_, member)| member.peer.is_up()) {
            return;
        }
        for (id, address) in self.remembered.clone() {
            let Ok(key) = self.know(now, id) else { continue };
            let mut endpoints = Endpoints::default();
            endpoints.add(address);
            self.add_hints(now, key, &endpoints);
            self.seek(now, key, true);
        }
    }
}
