//! From the secrets of a handshake to the keys of a session.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The keys of one direction of a session.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DirectionKeys {
    /// AES-256 key of sealed packets.
    pub encryption: [u8; 32],
    /// HMAC-SHA-256 key of sealed packets.
    pub mac: [u8; 32],
    /// First four bytes of every counter block.
    pub salt: [u8; 4],
    /// HMAC-SHA-256 key of relay headers.
    pub hop: [u8; 32],
}

/// The keys of a session, from this node's point of view.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKeys {
    /// For what we send.
    pub seal: DirectionKeys,
    /// For what we receive.
    pub open: DirectionKeys,
}
