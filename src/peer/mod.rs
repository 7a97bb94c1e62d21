//! Floor 2: one remote node: its handshakes, its sessions, the path to it.
#![forbid(unsafe_code)]

pub mod handshake;
pub mod path;
pub mod replay;
pub mod session;
