//! Wing A: configuration text to [`Settings`](crate::base::settings::Settings). Knows floor 0 only.
#![forbid(unsafe_code)]

pub mod cli;
pub mod legacy;
pub mod options;
