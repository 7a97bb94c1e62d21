//! The manual pages and the completion for bash against the tables of the program.
//!
//! What stands between `begin` and `end` in them is written from the tables: `UPDATE=1 cargo test --test manual`
//! does that, and without it the tests find what is out of date.
#![allow(clippy::disallowed_methods, reason = "tests read and write files of the repository")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use peervpn::config::cli::{Argument, Shape, shapes};
use peervpn::config::options::{OPTIONS, UCI_OPTIONS};

const COMPLETION: &str = "files/usr/share/bash-completion/completions/peervpn";

/// The file with these texts between its marks, in their order.
fn agrees(path: &str, mark: &str, written: &[String]) {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let found = fs::read_to_string(&full).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (begin, end) = (format!("{mark} begin\n"), format!("{mark} end\n"));
    let mut rest = found.as_str();
    let mut wanted = String::new();
    for text in written {
        let (before, after) = rest.split_once(&begin).unwrap();
        wanted.extend([before, &begin, text, &end]);
        rest = after.split_once(&end).unwrap().1;
    }
    wanted.push_str(rest);
    if found != wanted && std::env::var_os("UPDATE").is_some() {
        fs::write(&full, &wanted).unwrap();
    } else {
        let line = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
        assert!(found == wanted, "{path} is out of date (UPDATE=1 cargo test --test manual): {line:?}");
    }
}

/// A text as roff has it: a dash is one that can be copied, a dot or an apostrophe at the beginning no request.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// `--to FILE` with the name in bold and the value in italics.
fn styled(argument: &Argument) -> String {
    let form = argument.0;
    if argument.has_place() {
        return format!("\\fI{}\\fR", roff(form));
    }
    let value = argument.value();
    let names = form.strip_suffix(value.unwrap_or("")).unwrap().trim_end();
    let value = value.map_or(String::new(), |value| format!(" \\fI{}\\fR", roff(value)));
    format!("\\fB{}\\fR{value}", roff(names).replace(", ", "\\fR, \\fB"))
}

fn command(shape: &Shape) -> String {
    let mut text = format!(".SS {}", roff(shape.name));
    let (places, names): (Vec<_>, Vec<_>) = shape.arguments.iter().partition(|argument| argument.has_place());
    if names.len() > 4 {
        text.push_str(" [OPTIONS]");
    } else {
        names.iter().for_each(|name| _ = write!(text, " [{}]", styled(name)));
    }
    places.iter().for_each(|place| _ = write!(text, " {}", styled(place)));
    _ = write!(text, "\nIt is to {}.\n", roff(shape.help));
    for argument in shape.arguments {
        _ = write!(text, ".TP\n{}\n{}\n", styled(argument), roff(argument.1));
    }
    if !shape.note.is_empty() {
        _ = write!(text, ".PP\n{}\n", roff(&shape.note.trim_end().replace('\n', " ")));
    }
    text
}

fn option(name: &str, hint: &str, default: &str, help: &str) -> String {
    let hint = roff(hint).replace('|', "\\fR|\\fI");
    let default = if default.is_empty() { String::new() } else { format!(" [{}]", roff(default)) };
    format!(".TP\n\\fB{}\\fR \\fI{hint}\\fR{default}\n{}\n", roff(name), roff(help))
}

#[test]
fn the_manual_has_every_command() {
    agrees("docs/man/peervpn.8", ".\\\"", &[shapes().map(command).collect()]);
}

#[test]
fn the_manual_has_every_option() {
    let all = OPTIONS.iter().map(|row| option(row.name, row.hint, row.default, row.help));
    let uci = UCI_OPTIONS.iter().map(|row| option(row.name, row.hint, row.default, row.help));
    agrees("docs/man/peervpn.conf.5", ".\\\"", &[all.collect(), uci.collect()]);
}

#[test]
fn bash_completes_every_command() {
    let mut table = String::new();
    for shape in shapes() {
        _ = write!(table, "{}:", shape.name);
        for argument in shape.arguments {
            for name in argument.0.split(", ").filter(|_| !argument.has_place()) {
                let name = name.split(' ').next().unwrap();
                let value = argument.value().map_or(String::new(), |value| format!("={value}"));
                _ = write!(table, " {name}{}", value.replace("KEYFILE", "FILE"));
            }
            if argument.has_place() {
                _ = write!(table, " {}", argument.0);
            }
        }
        table.push('\n');
    }
    agrees(COMPLETION, "#", &[table]);
}

/// What bash offers for the last of these words.
fn offered(words: &[&str]) -> Vec<String> {
    let script = format!(
        "source {COMPLETION}; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _peervpn; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let bash = Command::new("bash")
        .args(["--norc", "-c", &script, "bash"])
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("COMP_TYPE", "9")
        .output()
        .unwrap();
    assert!(bash.status.success() && bash.stderr.is_empty(), "{words:?}: {bash:?}");
    let text = String::from_utf8(bash.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn what_bash_offers_is_what_may_follow() {
    let table: [(&[&str], &[&str]); 15] = [
        (&["st"], &["status"]),
        (&["--v"], &["--version"]),
        (&["uci", "ex"], &["export"]),
        (&["help", "op"], &["options"]),
        (&["help", "set"], &["setup"]),
        (&["status", "--"], &["--help", "--json", "--metrics", "--watch"]),
        (&["status", "--json", "--w"], &["--watch"]),
        (&["graph", "--d"], &["--dot"]),
        (&["id", "--keyfile", "Carg"], &["Cargo.lock", "Cargo.toml"]),
        (&["id", "-k", "Cargo.t"], &["Cargo.toml"]),
        (&["setup", "--network", "Cargo.t"], &[]),
        (&["setup", "--to", "Cargo.t"], &["Cargo.toml"]),
        (&["check", "Cargo.t"], &["Cargo.toml"]),
        (&["convert", "Cargo.t"], &["Cargo.toml"]),
        (&["genpsk", ""], &[]),
    ];
    for (words, expected) in table {
        let mut all = vec!["peervpn"];
        all.extend(words);
        let mut found = offered(&all);
        found.sort();
        assert_eq!(found, expected, "{words:?}");
    }
    let all = offered(&["peervpn", ""]);
    for shape in shapes() {
        let first = shape.name.split(' ').next().unwrap();
        assert!(all.iter().any(|word| word == first), "{first} is not offered: {all:?}");
    }
}
