//! One type for each kind of name, so that none can be taken for another.

use core::fmt;

/// A node's identity: its X25519 public key, 32 canonical bytes.
///
/// Displayed short, as [`NodeId::short`] needs a hash and lives with the cipher code; the `Debug` form
/// shows the first four key bytes, enough to tell nodes apart in a test.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({:02x}{:02x}{:02x}{:02x}…)", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// A node id as people see it: the first 8 bytes of the SHA-256 of the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId(pub [u8; 8]);

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A node as configurations name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeRef {
    /// By its whole id.
    Whole(NodeId),
    /// As people see it.
    Short(ShortId),
}

impl NodeRef {
    /// Whether the node with this id is meant.
    pub fn is(&self, id: NodeId, short: ShortId) -> bool {
        match *self {
            NodeRef::Whole(whole) => whole == id,
            NodeRef::Short(named) => named == short,
        }
    }
}

/// A place in the peer table. The generation makes a key that outlived its peer find nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerKey {
    /// Index of the slot, below [`limits::PEERS`](crate::base::limits::PEERS).
    pub slot: u16,
    /// How often the slot had been given out before.
    pub generation: u16,
}

/// An entry of `initpeers`, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub u16);

/// A receiver index: names a handshake or a session at the node that chose it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionIndex(pub u32);

/// A data suite: how the packets of a session are encrypted and authenticated. Handshakes call it by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Suite {
    /// AES-256-CTR, and HMAC-SHA-256 cut to 16 bytes. Every node has it.
    #[default]
    Aes256Sha256 = 1,
    /// ChaCha20-Poly1305, the fastest without instructions for AES.
    ChaCha20Poly1305 = 2,
    /// AES-256-GCM, the fastest with them. It is left out where no processor has any.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Aes256Gcm = 3,
}

impl Suite {
    /// All that there are in this program.
    pub const ALL: &[Suite] = &[
        Suite::Aes256Sha256,
        Suite::ChaCha20Poly1305,
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        Suite::Aes256Gcm,
    ];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Suite::Aes256Sha256 => "aes256-sha256",
            Suite::ChaCha20Poly1305 => "chacha20-poly1305",
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Suite::Aes256Gcm => "aes256-gcm",
        }
    }
}

/// A circuit number, chosen by the node that receives packets under it, so that no two of its circuits can be confused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CircuitId(pub u32);

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address that every station listens to.
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// Whether the group bit is set (multicast or broadcast; IEEE 802-2014, 8.2.2).
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether a station may use it as its own: neither a group address nor all zero.
    pub fn is_station(self) -> bool {
        !self.is_group() && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_and_station_addresses() {
        assert!(Mac::BROADCAST.is_group());
        assert!(Mac([0x33, 0x33, 0, 0, 0, 1]).is_group());
        assert!(!Mac([0; 6]).is_station());
        assert!(Mac([2, 0, 0, 0, 0, 1]).is_station());
        assert_eq!(Mac([2, 0, 0, 0, 0, 0xab]).to_string(), "02:00:00:00:00:ab");
    }

    #[test]
    fn short_id_reads_as_hex() {
        assert_eq!(ShortId([0, 1, 2, 3, 4, 5, 6, 0xff]).to_string(), "00010203040506ff");
    }
}
