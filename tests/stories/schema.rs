//! The schema of `peervpn status --json`, for programs: `docs/status.schema.json` says what the table of facts says, and
//! what nodes tell fits it.
//!
//! The file is written from the table by `UPDATE=1 cargo test --test stories schema`. `ci/netns/status.sh` holds the
//! output of real nodes against it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use peervpn::views::fields::{Form, RECORDS, meaning};
use peervpn::views::json::SCHEMA;
use serde_json::{Map, Value, json};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/status.schema.json");

/// Fields that hold one of a few words.
const WORDS: &[(&str, &str, &[&str])] = &[
    ("node", "nat", &["none", "one-port", "symmetric", "unknown"]),
    ("mapping", "state", &["asking", "granted", "refused", "silent"]),
    ("mapping", "protocol", &["pcp", "nat-pmp"]),
    ("mapping", "why", &["forbidden", "no-network", "no-room", "bad-address", "other"]),
    ("peer", "path", &["direct", "relayed", "none"]),
    ("peer", "why", &["trying", "no-address", "ipv4-off", "ipv6-off", "both-symmetric", "no-answer"]),
    ("candidate", "known", &["proved", "told"]),
    ("host", "state", &["connected", "unresolved", "silent"]),
    ("station", "place", &["local", "peer"]),
    ("beside", "forwards", &["peer", "node"]),
];

/// Fields that may be left out; all others are always there.
const OPTIONAL: &[(&str, &[&str])] = &[
    ("node", &["interface", "nat64"]),
    ("mapping", &["protocol", "address", "left_s", "why"]),
    ("host", &["peer"]),
    ("station", &["peer"]),
    (
        "peer",
        &[
            "address",
            "relay",
            "why",
            "why_s",
            "rtt_us",
            "mtu",
            "up_s",
            "key_age_s",
            "cipher",
            "loss_permille",
            "frames_in",
            "bytes_in",
            "frames_out",
            "bytes_out",
            "silent_s",
        ],
    ),
];

/// Arrays that are there only when they were asked for.
const SOMETIMES: &[&str] = &["stations"];

/// What the table promises, as a JSON Schema (draft 2020-12).
fn schema() -> Value {
    let mut properties = Map::new();
    properties.insert("schema".into(), json!({"const": SCHEMA}));
    for record in RECORDS {
        let optional =
            OPTIONAL.iter().find(|(name, _)| *name == record.name).map_or(&[][..], |(_, keys)| keys);
        let mut fields = Map::new();
        for field in record.fields {
            let kind = match field.form {
                Form::Text => json!({"type": "string"}),
                Form::Number => json!({"type": "integer", "minimum": 0}),
                Form::Flag => json!({"type": "boolean"}),
            };
            let mut kind = kind.as_object().unwrap().clone();
            if let Some((.., words)) =
                WORDS.iter().find(|(name, key, _)| (*name, *key) == (record.name, field.key))
            {
                kind.insert("enum".into(), json!(words));
            }
            kind.insert("description".into(), json!(meaning(&format!("{}.{}", record.name, field.key))));
            fields.insert(field.key.into(), Value::Object(kind));
        }
        let required: Vec<&str> =
            record.fields.iter().map(|field| field.key).filter(|key| !optional.contains(key)).collect();
        let object = json!({"type": "object", "properties": fields, "required": required});
        let described = |mut value: Value| {
            value["description"] = json!(meaning(record.name));
            value
        };
        let whole = described(if record.single { object } else { json!({"type": "array", "items": object}) });
        properties.insert(record.json.into(), whole);
    }
    let warning = json!({
        "type": "object",
        "properties": {"code": {"type": "string"}, "text": {"type": "string"}},
        "required": ["code", "text"]
    });
    properties.insert("warnings".into(), json!({"type": "array", "items": warning}));
    let required: Vec<&String> = properties.keys().filter(|key| !SOMETIMES.contains(&key.as_str())).collect();
    let node = json!({"type": "object", "properties": properties, "required": required});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "peervpn status --json",
        "description": "One object for a node that was named, an array of them otherwise. New keys can come at any time.",
        "$defs": {"node": node},
        "anyOf": [{"$ref": "#/$defs/node"}, {"type": "array", "items": {"$ref": "#/$defs/node"}}]
    })
}

/// Where a node's object does not fit a schema of the words that [`schema`] uses. A key that the schema does not name is
/// one such place: nothing is told that is not promised.
pub(crate) fn misfits(value: &Value, schema: &Value, at: &str, found: &mut Vec<String>) {
    let fits = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        _ => schema["const"] == *value,
    };
    let word = schema["enum"].as_array().is_none_or(|words| words.contains(value));
    if !fits || !word {
        found.push(format!("{at}: {value}"));
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{key}");
        match schema["properties"].get(key) {
            Some(schema) => misfits(inner, schema, &at, found),
            None => found.push(format!("{at}: not promised")),
        }
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(key).is_none() {
            found.push(format!("{at}.{key}: missing"));
        }
    }
    for (n, inner) in value.as_array().into_iter().flatten().enumerate() {
        misfits(inner, &schema["items"], &format!("{at}[{n}]"), found);
    }
}

/// What is wrong with what a node told, by the file.
pub(crate) fn misfits_of(text: &str) -> Vec<String> {
    #[allow(clippy::disallowed_methods, reason = "tests read files of the repository")]
    let file = std::fs::read_to_string(PATH).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let mut found = Vec::new();
    misfits(&serde_json::from_str(text).unwrap(), &file["$defs"]["node"], "", &mut found);
    found
}

#[test]
#[allow(clippy::disallowed_methods, reason = "tests read and write files of the repository")]
fn the_file_says_what_the_table_says() {
    let wanted = format!("{:#}\n", schema());
    let found = std::fs::read_to_string(PATH).unwrap_or_default();
    if found != wanted && std::env::var_os("UPDATE").is_some() {
        std::fs::write(PATH, wanted).unwrap();
    } else {
        assert!(found == wanted, "{PATH} is out of date (UPDATE=1 cargo test --test stories schema)");
    }
}

#[test]
fn the_words_and_the_optional_fields_are_in_the_table() {
    let field = |record: &str, key: &str| {
        RECORDS.iter().find(|r| r.name == record).and_then(|r| r.field(key)).is_some()
    };
    assert!(WORDS.iter().all(|(record, key, _)| field(record, key)));
    assert!(OPTIONAL.iter().all(|(record, keys)| keys.iter().all(|key| field(record, key))));
    assert!(SOMETIMES.iter().all(|name| RECORDS.iter().any(|r| r.json == *name)));
}

#[test]
fn what_does_not_fit_is_found() {
    let whole = |change: &dyn Fn(&mut Value)| {
        let node = json!({"id": "aa", "version": "1", "network": "A", "port": 7000, "uptime_ms": 1,
            "nat": "none", "relay": true, "keyfile": true});
        let mut value = json!({"schema": SCHEMA, "node": node, "relayed": {"packets": 0, "bytes": 0, "circuits": 0},
            "peers": [{"id": "bb", "path": "none"}]});
        for record in RECORDS.iter().filter(|record| !record.single && record.name != "peer") {
            value[record.json] = json!([]);
        }
        value["warnings"] = json!([]);
        change(&mut value);
        misfits_of(&value.to_string())
    };
    assert_eq!(whole(&|_| ()), [""; 0]);
    for (change, place) in [
        (&(|v: &mut Value| v["schema"] = json!(2)) as &dyn Fn(&mut Value), ".schema: 2"),
        (&|v| v["node"]["port"] = json!("7000"), ".node.port: \"7000\""),
        (&|v| v["node"]["port"] = json!(-1), ".node.port: -1"),
        (&|v| v["peers"][0]["path"] = json!("by pigeon"), ".peers[0].path: \"by pigeon\""),
        (&|v| v["peers"][0]["secret"] = json!(1), ".peers[0].secret: not promised"),
        (&|v| _ = v["peers"][0].as_object_mut().unwrap().remove("id"), ".peers[0].id: missing"),
        (&|v| _ = v.as_object_mut().unwrap().remove("discards"), ".discards: missing"),
    ] {
        assert_eq!(whole(change), [place]);
    }
}
