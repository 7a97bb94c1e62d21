//! What is fuzzed: functions of bytes that must not fail, whatever the bytes. `fuzz/` runs them under libFuzzer,
//! `tests/corpora.rs` with what that has found, under any compiler.
//!
//! - `mesh.rs`: a live node among strangers, and among members who mean harm.
//! - `decoders.rs`: each reader of bytes, and what its writer makes of what it read.
//! - `texts.rs`: the two grammars, and the way from one to the other; the control socket.
//! - `seeds.rs`: where it all begins.
//! - `world.rs`: nodes in the simulator, where the bytes say what befalls them. It heals once that ends.

#[allow(dead_code, reason = "the fuzzers need less of the simulator than the stories do")]
#[path = "../sim/mod.rs"]
pub mod sim;

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use peervpn::base::limits::HEADROOM;
use peervpn::base::packet::Packet;

mod decoders;
mod mesh;
pub mod seeds;
mod texts;
mod world;

/// A target's name, and what it does with bytes. It panics when it has found something.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("stranger", mesh::stranger),
    ("member", mesh::member),
    ("frame", decoders::frame),
    ("hello", decoders::hello),
    ("control", decoders::control),
    ("conf", texts::conf),
    ("uci", texts::uci),
    ("request", texts::request),
    ("world", world::world),
];

/// The target of that name.
///
/// # Panics
/// There is none.
pub fn target(name: &str) -> fn(&[u8]) {
    TARGETS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no target {name}")).1
}

thread_local! {
    static SPARE: RefCell<Vec<Packet>> = const { RefCell::new(Vec::new()) };
}

/// A packet that is used again: its room would never be given back, and a fuzzer does not rest.
pub struct Scratch(Option<Packet>);

impl Scratch {
    /// An empty packet.
    pub fn new() -> Scratch {
        let mut packet = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        packet.clear(HEADROOM);
        Scratch(Some(packet))
    }
}

impl Deref for Scratch {
    type Target = Packet;

    fn deref(&self) -> &Packet {
        self.0.as_ref().expect("until it is dropped")
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Packet {
        self.0.as_mut().expect("until it is dropped")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SPARE.with_borrow_mut(|spare| spare.extend(self.0.take()));
    }
}

/// Bytes as a source of decisions. Where they end, so does the story.
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// Decisions from these bytes.
    pub fn new(bytes: &'a [u8]) -> Script<'a> {
        Script(bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// The next two bytes as a number.
    pub fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// A piece whose length stands in front of it; what is there, if that is less.
    pub fn piece(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.number()?).min(self.0.len());
        let (piece, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(piece)
    }
}
