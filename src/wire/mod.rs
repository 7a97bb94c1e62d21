//! Floor 1: bytes and their meaning. No state, no clock.
//!
//! Every datagram begins with one byte that names its [`Type`] and one byte of flags, which is zero.
//! PROTOCOL.md has a section for each of them.
#![forbid(unsafe_code)]

pub mod autoconf;
pub mod beacon;
pub mod control;
pub mod cursor;
pub mod envelope;
pub mod ether;
pub mod hello;
pub mod ip;
pub mod looping;
pub mod neighbour;
pub mod portmap;
pub mod tcp;
