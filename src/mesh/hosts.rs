//! The initial peers: their addresses as far as their names are resolved, and our handshakes with whoever is there. They
//! are tried for ever, since a node without one of them may have no way back into the mesh.

use std::net::SocketAddr;

use crate::base::ids::{HostId, PeerKey};
use crate::base::limits::{ADDRESSES_PER_HOST, BACKOFF_HOST, RESOLVE_AFTER};
use crate::base::time::Instant;
use crate::mesh::dial::Dial;

/// One initial peer.
pub struct HostEntry {
    addresses: [Option<SocketAddr>; ADDRESSES_PER_HOST],
    asked: Option<Instant>,
    /// Our handshakes with it.
    pub dial: Dial,
    /// Who was found there.
    pub peer: Option<PeerKey>,
}

impl HostEntry {
    /// An initial peer that is to be found from `now` on.
    pub fn new(now: Instant) -> HostEntry {
        let mut dial = Dial::new(BACKOFF_HOST);
        dial.start(now);
        HostEntry { addresses: [None; ADDRESSES_PER_HOST], asked: None, dial, peer: None }
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.iter().copied().flatten()
    }

    /// Whether its name led to that address.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.addresses().any(|known| known == address)
    }

    /// Takes in what its name resolves to; true when that adds an address. No answer leaves the old ones, and is asked
    /// for again at the next try: a router's own name server starts after us.
    pub fn resolved(&mut self, found: &[SocketAddr]) -> bool {
        let news = found.iter().take(ADDRESSES_PER_HOST).any(|address| !self.has(*address));
        if found.is_empty() {
            self.asked = None;
        } else {
            self.addresses = [None; ADDRESSES_PER_HOST];
            for (place, address) in self.addresses.iter_mut().zip(found) {
                *place = Some(*address);
            }
        }
        news
    }

    /// Whether its name is to be resolved, for the first time or anew; asking counts as having done so.
    pub fn wants_resolving(&mut self, now: Instant) -> bool {
        let due = self.asked.is_none_or(|at| now.since(at) >= RESOLVE_AFTER);
        if due {
            self.asked = Some(now);
        }
        due
    }

    /// Its name is to be resolved anew at the next try.
    pub fn forget_resolving(&mut self) {
        self.asked = None;
    }
}

/// All initial peers, by [`HostId`].
pub struct Hosts {
    entries: Vec<HostEntry>,
}

impl Hosts {
    /// So many initial peers, to be found from `now` on.
    pub fn new(count: usize, now: Instant) -> Hosts {
        Hosts { entries: (0..count).map(|_| HostEntry::new(now)).collect() }
    }

    /// That initial peer.
    pub fn get_mut(&mut self, host: HostId) -> Option<&mut HostEntry> {
        self.entries.get_mut(usize::from(host.0))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (HostId, &HostEntry)> + '_ {
        (0u16..).map(HostId).zip(&self.entries)
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (HostId, &mut HostEntry)> + '_ {
        (0u16..).map(HostId).zip(&mut self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_lookup_leaves_the_old_addresses() {
        let mut host = HostEntry::new(Instant::ZERO);
        let first: SocketAddr = "192.0.2.1:7000".parse().unwrap();
        let second: SocketAddr = "192.0.2.2:7000".parse().unwrap();
        assert!(host.resolved(&[first]));
        assert!(!host.resolved(&[]));
        assert!(host.has(first));
        assert!(!host.resolved(&[first]));
        assert!(host.resolved(&[second]));
        assert!(!host.has(first));
    }

    #[test]
    fn a_name_is_resolved_again_when_its_answer_is_old() {
        let mut host = HostEntry::new(Instant::ZERO);
        assert!(host.wants_resolving(Instant::ZERO));
        assert!(!host.wants_resolving(Instant::ZERO));
        assert!(host.wants_resolving(Instant::ZERO + RESOLVE_AFTER));
        host.forget_resolving();
        assert!(host.wants_resolving(Instant::ZERO + RESOLVE_AFTER));
    }

    #[test]
    fn a_name_without_an_answer_is_asked_for_at_the_next_try() {
        let mut host = HostEntry::new(Instant::ZERO);
        assert!(host.wants_resolving(Instant::ZERO));
        host.resolved(&[]);
        assert!(host.wants_resolving(Instant::ZERO));
        host.resolved(&["192.0.2.1:7000".parse().unwrap()]);
        assert!(!host.wants_resolving(Instant::ZERO));
    }
}
