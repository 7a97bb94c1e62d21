//! Floor 1: keys, the cipher suite, the Noise pattern.
//!
//! Every primitive comes from a well-kept crate; what stands here is how they are put together.
#![forbid(unsafe_code)]

pub mod identity;
pub mod noise;
pub mod random;
pub mod schedule;
pub mod suite;
