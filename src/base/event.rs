//! What the core tells the daemon besides packets: for the log, the resolver and the tests.

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::ids::{HostId, Mac, ShortId};

/// The way packets to a peer take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Straight to this address.
    Direct(SocketAddr),
    /// Through this peer.
    Relayed(ShortId),
}

/// Who a datagram came from, as far as it proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// From whomever: it died.
    Nobody,
    /// From a member at some time: a first message, which may be recorded and sent again from anywhere.
    Knock,
    /// From a member, now, and not seen before.
    Member,
}

/// Why a peer went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parting {
    /// It said goodbye.
    Goodbye,
    /// It was silent for too long.
    Silent,
    /// Its key ended and no new one was agreed on.
    Expired,
    /// Room was needed for another.
    Evicted,
}

/// One thing that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A session with a peer began where there was none.
    PeerUp {
        /// Who.
        peer: ShortId,
        /// By what way.
        way: Way,
    },
    /// The last session with a peer ended.
    PeerDown {
        /// Who.
        peer: ShortId,
        /// Why.
        why: Parting,
    },
    /// Packets to a peer take another way from now on.
    WayChanged {
        /// Who.
        peer: ShortId,
        /// The new way.
        way: Way,
    },
    /// A session with a peer has a new key.
    Rekeyed {
        /// Who.
        peer: ShortId,
    },
    /// Please find the addresses of this initial peer.
    Resolve(HostId),
    /// Please send a beacon from each address on a local network.
    Beacon,
    /// An initial peer turned out to be this very node.
    HostIsUs(HostId),
    /// A handshake came to nothing.
    HandshakeRefused {
        /// Where its message came from.
        from: SocketAddr,
        /// What was wrong with it.
        why: Discard,
    },
    /// A MAC address was learned from another peer than before.
    MacMoved {
        /// The address.
        mac: Mac,
        /// Where it is now.
        to: ShortId,
    },
    /// A peer is on our own local network.
    LoopFound {
        /// Who.
        peer: ShortId,
        /// Whether it floods for us, or we for it.
        floods: bool,
    },
    /// It is no longer.
    LoopOver {
        /// Who.
        peer: ShortId,
    },
    /// What goes out at our TAP comes back there.
    NetworkLoops,
    /// There was more to flood than is sound.
    Storm {
        /// By which peer; none for our own side.
        from: Option<ShortId>,
    },
}
