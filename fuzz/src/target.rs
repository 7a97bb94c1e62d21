//! Any target under libFuzzer: the one that the program is named after.
#![no_main]

#[allow(dead_code, reason = "one target of all")]
#[path = "../../tests/fuzzing/mod.rs"]
mod fuzzing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::target(env!("CARGO_BIN_NAME"))(bytes));
