//! What the core tells the daemon besides packets: for the log, the resolver and the tests.

use std::net::{Ipv4Addr, SocketAddr};

use crate::base::discard::Discard;
use crate::base::ids::{HostId, Mac, ShortId};
use crate::base::time::Instant;

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

/// What lies between a node and the Internet, as its peers' reports show (RFC 4787, section 4.1), over IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum NatKind {
    /// Too few reports, or none.
    #[default]
    Unknown = 0,
    /// It is seen at an address of its own.
    Open = 1,
    /// Everybody sees it at one address and port.
    EndpointIndependent = 2,
    /// Each peer sees it at a port of its own: nobody can tell beforehand at which.
    Symmetric = 3,
}

impl NatKind {
    /// The kind of that number; one that is not known means nothing.
    pub fn from_byte(byte: u8) -> NatKind {
        match byte {
            1 => NatKind::Open,
            2 => NatKind::EndpointIndependent,
            3 => NatKind::Symmetric,
            _ => NatKind::Unknown,
        }
    }
}

/// What became of asking the NAT in front of us for a port where everybody is let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Whom we ask.
    pub gateway: Ipv4Addr,
    /// By PCP; else by NAT-PMP.
    pub pcp: bool,
    /// How far we are.
    pub state: MapState,
}

/// How far we are with a [`Mapping`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapState {
    /// A question is out, or about to be.
    Asking,
    /// It is in place.
    Granted {
        /// Where everybody is let in.
        at: SocketAddr,
        /// Until when, unless it is renewed.
        until: Instant,
    },
    /// The gateway will not.
    Refused(Refusal),
    /// The gateway does not answer.
    Silent,
}

/// Why a gateway grants nothing (RFC 6887, section 7.4; RFC 6886, section 3.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is not allowed to, or not to us.
    Forbidden,
    /// It has no address outside.
    NoNetwork,
    /// It has no port left.
    NoRoom,
    /// What it granted cannot be ours.
    BadAddress,
    /// Something else.
    Other,
}

impl Refusal {
    /// What a code of PCP, or else of NAT-PMP, means; none for success.
    pub fn of(pcp: bool, code: u16) -> Option<Refusal> {
        Some(match (pcp, code) {
            (_, 0) => return None,
            (_, 2) => Refusal::Forbidden,
            (true, 7) | (false, 3) => Refusal::NoNetwork,
            (true, 8 | 10) | (false, 4) => Refusal::NoRoom,
            _ => Refusal::Other,
        })
    }
}

/// What keeps a node from being reached directly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// Nothing that is known yet: it is being tried.
    Trying,
    /// Nobody has told of an address of it.
    NoAddress,
    /// All its addresses are of a family that an option switches off here: IPv6, or else IPv4.
    FamilyOff {
        /// Which.
        ipv6: bool,
    },
    /// Its NAT and ours both give each peer a port of its own.
    BothSymmetric,
    /// Nothing came back from so many addresses.
    NoAnswer(u8),
}

/// Why a node is not reached directly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Indirect {
    /// What is in the way.
    pub obstacle: Obstacle,
    /// Since when there is no direct path.
    pub since: Instant,
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
        /// Whether the one before had fallen silent; else this one is better.
        silent: bool,
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
    /// The NAT in front of us lets everybody in there from now on; none: nowhere any more.
    Mapped(Option<SocketAddr>),
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
