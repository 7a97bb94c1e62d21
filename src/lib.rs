//! PeerVPN: a full-mesh Ethernet VPN.
//!
//! The floors, lowest first; a file imports only from floors below its own (`ci/floors` checks it):
//!
//! 0. [`base`]: values every other file speaks in.
//! 1. [`wire`]: bytes and their meaning. [`crypto`]: the cipher suite, keys, the Noise pattern.
//! 2. [`peer`]: one remote node: handshake, sessions, path.
//! 3. [`mesh`]: all remote nodes. [`lan`]: our own Ethernet side.
//! 4. [`node`]: one mesh member without I/O; decides the fate of each packet.
//! 5. [`status`]: what a node tells of itself. [`story`]: what happens, in sentences for the log. [`config`],
//!    [`sys`] and [`views`]: the wings, configuration files, the kernel, and the facts made fit for people and
//!    programs; they know floor 0 only.
//! 6. [`daemon`]: the event loop, the one file that knows both sides. [`secrets`]: the keys it runs with.
//! 7. [`start`]: from settings to a running daemon, rights dropped on the way. [`inquire`]: the commands that
//!    ask one. [`setup`]: the command that writes a configuration. `main.rs` is above.
//!
//! To read it in an afternoon, take `base/packet`, `base/outbox`, `node`, `mesh`, `peer/session`,
//! `wire/envelope`, `crypto/suite`, `daemon`, in this order.

pub mod base;

pub mod crypto;
pub mod wire;

pub mod peer;

pub mod lan;
pub mod mesh;

pub mod node;

pub mod config;
pub mod status;
pub mod story;
pub mod sys;
pub mod views;

pub mod daemon;
pub mod secrets;

pub mod inquire;
pub mod setup;
pub mod start;
