//! Wing B: the kernel. The only unsafe code, sockets, files and processes. Knows floor 0 only.
#![allow(unsafe_code, clippy::disallowed_methods, clippy::disallowed_types)]

mod child;
pub mod clock;
pub mod control;
pub mod files;
pub mod helper;
pub mod log;
pub mod netlink;
pub mod privileges;
pub mod resolver;
pub mod signals;
pub mod tap;
pub mod udp;
