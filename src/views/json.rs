//! `peervpn status --json`: the facts as one JSON object (RFC 8259), by the table in [`fields`](crate::views::fields).

use crate::base::facts::Fact;
use crate::views::Snapshot;
use crate::views::advice;
use crate::views::fields::{Form, RECORDS, Record};

/// Grows when a key changes its meaning or goes; a new key is no new schema.
pub const SCHEMA: u32 = 1;

/// The object, in lines, without one at the end. All arrays are there, empty ones too, but for the stations,
/// which are there when they were asked for.
pub fn render(snapshot: &Snapshot<'_>) -> String {
    let mut json = format!("{{\n  \"schema\": {SCHEMA}");
    for record in RECORDS {
        if record.name == "station" && snapshot.all("station").next().is_none() {
            continue;
        }
        json.push_str(",\n  ");
        quote(&mut json, record.json);
        json.push_str(": ");
        if record.single {
            object(&mut json, record, &snapshot.one(record.name));
        } else {
            let objects = snapshot.all(record.name);
            array(&mut json, objects, |json, fact| object(json, record, fact));
        }
    }
    json.push_str(",\n  \"warnings\": ");
    array(&mut json, advice::of(snapshot).into_iter(), |json, advice| {
        json.push_str("{\"code\": ");
        quote(json, advice.code);
        json.push_str(", \"text\": ");
        quote(json, &advice.text);
        json.push('}');
    });
    json.push_str("\n}");
    json
}

fn array<T>(json: &mut String, items: impl Iterator<Item = T>, write: impl Fn(&mut String, &T)) {
    json.push('[');
    let mut empty = true;
    for item in items {
        json.push_str(if empty { "\n    " } else { ",\n    " });
        write(json, &item);
        empty = false;
    }
    json.push_str(if empty { "]" } else { "\n  ]" });
}

fn object(json: &mut String, record: &Record, fact: &Fact<'_>) {
    json.push('{');
    let mut first = true;
    for (key, value) in fact.fields() {
        let Some(field) = record.field(key) else { continue };
        if !first {
            json.push_str(", ");
        }
        first = false;
        quote(json, key);
        json.push_str(": ");
        match field.form {
            Form::Number if value.parse::<u64>().is_ok() => json.push_str(value),
            Form::Flag => json.push_str(if value == "yes" { "true" } else { "false" }),
            _ => quote(json, value),
        }
    }
    json.push('}');
}

/// A string (RFC 8259, section 7). Facts hold no control characters; what came otherwise is replaced.
pub fn quote(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                json.push('\\');
                json.push(c);
            }
            c if c.is_control() => json.push('?'),
            c => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "node\tid=00\tport=7000\tinterface=a\"b\\c\trelay=yes\tfuture=1\n\
                        peer\tid=11\tpath=direct\trtt_us=1200\tup_s=5\npeer\tid=22\tpath=none\n\
                        relayed\tpackets=0\tbytes=0\tcircuits=0\n";

    #[test]
    fn it_is_what_a_parser_takes() {
        let json = render(&Snapshot::read(TEXT));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["schema"], SCHEMA);
        assert_eq!(value["node"]["interface"], "a\"b\\c");
        assert_eq!(value["node"]["port"], 7000);
        assert_eq!(value["node"]["relay"], true);
        assert!(value["node"].get("future").is_none(), "what the table does not know is not promised");
        assert_eq!(value["peers"].as_array().unwrap().len(), 2);
        assert_eq!(value["peers"][0]["rtt_us"], 1200);
        for record in RECORDS.iter().filter(|record| record.name != "station") {
            let there = &value[record.json];
            assert!(if record.single { there.is_object() } else { there.is_array() }, "{}", record.json);
        }
        assert!(value["warnings"].is_array());
    }

    #[test]
    fn whatever_a_daemon_says_makes_an_object() {
        for text in ["", "\n\n", "peer", "peer\tid=\u{7f}\u{0}\trtt_us=1e9\tup_s=-1", "node\tport=\"}"] {
            let json = render(&Snapshot::read(text));
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        }
    }
}
