//! Why a node is not reached directly: what the mesh can tell a person who wonders.

use std::net::SocketAddr;

use crate::base::event::{Indirect, NatKind, Obstacle};
use crate::base::ids::PeerKey;
use crate::base::time::{Duration, Instant};
use crate::mesh::Mesh;

/// So long it is too early to speak of failure.
const EARLY: Duration = Duration::from_secs(5);

impl Mesh {
    /// Why there is no direct path to that node; none when there is one.
    pub fn why_indirect(&self, now: Instant, key: PeerKey) -> Option<Indirect> {
        let member = self.peers.get(key)?;
        if member.peer.is_up() && member.peer.direct().is_some() {
            return None;
        }
        let places = member.peer.endpoints().iter().count();
        let since = member.indirect_since;
        let obstacle = match member.unreachable {
            _ if places > 0 && now.since(since) < EARLY => Obstacle::Trying,
            _ if places > 0 => {
                let symmetric = [self.nat(), member.punch.nat] == [NatKind::Symmetric; 2];
                let count = u8::try_from(places).unwrap_or(u8::MAX);
                if symmetric { Obstacle::BothSymmetric } else { Obstacle::NoAnswer(count) }
            }
            [_, true] => Obstacle::FamilyOff { ipv6: true },
            [true, _] => Obstacle::FamilyOff { ipv6: false },
            [false, false] => Obstacle::NoAddress,
        };
        Some(Indirect { obstacle, since })
    }

    /// Notes that a node was said to be at an address that there is no socket for, if so.
    pub(super) fn note_family(&mut self, key: PeerKey, address: SocketAddr) {
        if let Some(member) = self.peers.get_mut(key).filter(|_| !self.own.has_family(address)) {
            member.unreachable[usize::from(address.is_ipv6())] = true;
        }
    }
}
