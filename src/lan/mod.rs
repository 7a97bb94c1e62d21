//! Floor 3: our own Ethernet side.
#![forbid(unsafe_code)]

pub mod neighbours;
pub mod pins;
pub mod storm;
pub mod switch;
