//! `/etc/config/peervpn`: the grammar against what libuci made of the same files, sections as people write them,
//! mistakes in them, and the ways between the two grammars.
#![allow(clippy::disallowed_methods, reason = "tests read files of the repository")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

use peervpn::config::uci::{self, Item, Section, Value};
use serde_json::{Value as Json, json};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

// ---- the grammar ----

/// The vectors: each file of `tests/vectors/uci`, a case a line.
fn vectors() -> Vec<Json> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(root().join("tests/vectors/uci")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = fs::read_to_string(path).unwrap();
            cases.extend(text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()));
        }
    }
    cases
}

fn text(item: &Item) -> Json {
    Json::from(std::str::from_utf8(&item.bytes).unwrap())
}

fn section_as_json(section: &Section) -> Json {
    let options = section.options.iter().map(|setting| match &setting.value {
        Value::One(item) => json!([setting.name, text(item)]),
        Value::List(items) => json!([setting.name, items.iter().map(text).collect::<Vec<_>>()]),
    });
    json!({
        "type": section.kind,
        "name": section.name,
        "anonymous": section.name.is_none(),
        "options": options.collect::<Vec<_>>(),
    })
}

/// What we make of a file, in the words of the vectors.
fn as_json(input: &str) -> Json {
    match uci::read(input.as_bytes()) {
        Ok(sections) => json!({ "ok": true, "sections": sections.iter().map(section_as_json).collect::<Vec<_>>() }),
        Err(broken) => json!({
            "ok": false,
            "error": { "reason": broken.why, "line": broken.lines_read, "byte": broken.byte },
        }),
    }
}

#[test]
fn files_mean_what_they_mean_to_libuci() {
    let cases = vectors();
    assert!(cases.len() >= 587, "{}", cases.len());
    let mut wrong = Vec::new();
    for mut case in cases {
        let input = case["input"].as_str().unwrap().to_owned();
        for section in case.get_mut("sections").and_then(Json::as_array_mut).into_iter().flatten() {
            if section["anonymous"] == true {
                // libuci makes these names up.
                section["name"] = Json::Null;
            }
        }
        let (case, got) = (case.as_object_mut().unwrap(), as_json(&input));
        let (id, _) = (case.remove("id").unwrap(), case.remove("input"));
        if Json::from(case.clone()) != got {
            wrong.push(format!("{id}: {input:?}\nlibuci {case:?}\nwe     {got}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong[..wrong.len().min(8)].concat());
}

fn _unused(_: &Path) {}
