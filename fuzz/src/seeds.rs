//! Lays a target's seeds and its committed corpus out as files: `seeds TARGET CORPUS.hex DIRECTORY`; or makes a
//! corpus of files, those that are small: `seeds pack CORPUS.hex DIRECTORY`.

#[allow(dead_code, reason = "the seeds alone")]
#[path = "../../tests/fuzzing/mod.rs"]
mod fuzzing;

use std::fs;

/// What is longer is not kept: a corpus is to be read by people's tools, too.
const KEPT_MAX: usize = 1500;
/// So many inputs are kept of each target.
const KEPT: usize = 150;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, corpus, directory] = words.as_slice() else { panic!("seeds TARGET|pack CORPUS DIRECTORY") };
    if what == "pack" {
        let files = fs::read_dir(directory).expect("a directory");
        let mut inputs: Vec<Vec<u8>> =
            files.map(|file| fs::read(file.expect("a file").path()).expect("its bytes")).collect();
        inputs.retain(|input| !input.is_empty() && input.len() <= KEPT_MAX);
        // The shortest first: of two that do the same, it is the one to look at.
        inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        // Evenly over all lengths, since what goes deep is long.
        let step = inputs.len().div_ceil(KEPT).max(1);
        let mut lines: Vec<String> =
            fs::read_to_string(corpus).unwrap_or_default().lines().map(str::to_owned).collect();
        for input in inputs.iter().step_by(step) {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            if lines.len() < KEPT && !lines.contains(&hex) {
                lines.push(hex);
            }
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(corpus, text).expect("a place for the corpus");
        return;
    }
    fs::create_dir_all(directory).expect("a directory");
    let seeds = fuzzing::seeds::seeds().into_iter().filter(|(of, _)| of == what).map(|(_, bytes)| bytes);
    let kept = fs::read_to_string(corpus).unwrap_or_default();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex");
    let kept = kept.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect());
    for (number, input) in seeds.chain(kept).enumerate() {
        fs::write(format!("{directory}/seed-{number:04}"), input).expect("a file");
    }
}
