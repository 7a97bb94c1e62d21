//! Floor 0: the values that every other floor speaks in. Nothing here knows the protocol.
#![forbid(unsafe_code)]

pub mod discard;
pub mod event;
pub mod facts;
pub mod ids;
pub mod limits;
pub mod outbox;
pub mod packet;
pub mod settings;
pub mod table;
pub mod time;
