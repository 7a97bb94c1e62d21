//! Stories: members of a mesh in virtual time, with real nodes and simulated everything else.
//!
//! Each is a few lines of names and limits; what must hold in all of them at every step is in
//! `tests/sim/invariants.rs`. A limit is what the protocol promises for that case.

#[path = "../sim/mod.rs"]
pub mod sim;

mod bridge;
mod campaign;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod ciphers;
mod hostile;
mod lan;
mod loss;
mod members;
mod mesh;
mod mtu;
mod nats;
mod pair;
mod partition;
mod portmap;
mod promises;
mod recovery;
mod rekey;
mod relay;
mod restart;
mod schema;
mod status;
mod storm;
mod world;

use peervpn::base::time::Duration;

/// So many milliseconds.
const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// So many seconds.
const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// So many minutes.
const fn minutes(n: u64) -> Duration {
    secs(60 * n)
}
