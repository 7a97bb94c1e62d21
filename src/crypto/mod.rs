//! Floor 1: keys, the cipher suite, the Noise pattern.
//!
//! Every primitive comes from a well-kept crate; what stands here is how they are put together. One is there a second
//! time: SHA-256 for several messages at once (`lanes`), and with it the only unsafe code of the core.
#![deny(unsafe_code)]

pub mod hmac;
pub mod identity;
pub mod lanes;
pub mod macs;
pub mod noise;
pub mod random;
pub mod schedule;
pub mod suite;
