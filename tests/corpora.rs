//! What fuzzing has found worth keeping, as an ordinary test: the seeds, and `fuzz/corpus`, a file for each target
//! with an input a line in hexadecimal. `ci/fuzz` adds to it; an input that once broke something stays.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test reads its own files"
)]

mod fuzzing;

use std::panic::{AssertUnwindSafe, catch_unwind};

fn unhex(line: &str) -> Vec<u8> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    line.as_bytes()
        .chunks(2)
        .map(|two| pair(two).unwrap_or_else(|| panic!("not hexadecimal: {line}")))
        .collect()
}

/// Runs all inputs of one target, and names the one that fails in the form in which it can be kept.
fn replay(name: &str) {
    let run = fuzzing::target(name);
    let path = format!("{}/fuzz/corpus/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let seeds = fuzzing::seeds::seeds().into_iter().filter(|(of, _)| *of == name).map(|(_, bytes)| bytes);
    let mut inputs: Vec<Vec<u8>> = seeds.collect();
    assert!(!inputs.is_empty(), "{name} has no seeds");
    inputs.extend(text.lines().map(unhex));
    inputs.push(Vec::new());
    for input in inputs {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&input))) {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("{name} failed with {hex}");
            std::panic::resume_unwind(panic);
        }
    }
}

macro_rules! corpora {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_target_has_its_test() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(fuzzing::TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), tested);
        }
    };
}

corpora!(stranger member frame hello control conf uci request world);
