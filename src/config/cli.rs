//! The command line. A known command word wins, anything else is a file: `peervpn home.conf` runs it as the
//! original did, and so does `peervpn -` with standard input.
//!
//! Nothing is opened or printed here: [`parse`] says what to do, `main.rs` does it.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use argh::{FromArgs, SubCommands};

use crate::config::options::OPTIONS;

/// Where a configuration is looked for when none is named, in this order.
pub const USUAL_FILES: [&str; 2] = ["/etc/peervpn/peervpn.conf", "/etc/peervpn.conf"];

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Be a node.
    Run(Source),
    /// Read the configuration, tell what is wrong with it, and nothing else.
    Check(Source),
    /// Ask a running node how it is; a name tells one of several from the others.
    Status(Option<String>),
    /// Print a new pre-shared key.
    GenPsk,
    /// Print the node id of a configuration.
    Id(Source),
    /// Print the node id of a key file.
    IdOfKey(PathBuf),
}

/// Where a configuration comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The first of [`USUAL_FILES`] that exists.
    Usual,
    /// Standard input.
    Stdin,
    /// This file.
    File(PathBuf),
}

/// There is nothing to do but to print this and to end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Early {
    /// What was asked for, with its last newline: to standard output, exit code 0.
    Answer(String),
    /// The command line makes no sense: to standard error, exit code 2.
    Misuse(String),
}

/// Understands the arguments, the program's own name not among them.
///
/// # Errors
///
/// [`Early`] when help or the version is asked for, and when the arguments make no sense.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Early> {
    let mut words = Vec::new();
    for arg in args {
        let word = arg.into_string();
        words.push(word.map_err(|arg| misuse(&format!("'{}' is not UTF-8", arg.to_string_lossy())))?);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["help"] => read(&["--help"]),
        ["help", "options"] => Err(Early::Answer(describe_options())),
        ["help", command] if is_command(command) => read(&[command, "--help"]),
        ["help", ..] => Err(misuse("help is about 'options' or one of the commands")),
        [first, ..] if is_command(first) || (first.starts_with('-') && *first != "-") => read(&words),
        _ => read(&[&["run"], words.as_slice()].concat()),
    }
}

fn is_command(word: &str) -> bool {
    Verb::COMMANDS.iter().any(|command| command.name == word)
}

/// Hands the words, with the command in front, to the parser that argh makes of the types below.
fn read(words: &[&str]) -> Result<Command, Early> {
    // A lone `-` is an argument, which argh believes only behind `--`.
    let (dashes, mut words): (Vec<&str>, Vec<&str>) = words.iter().partition(|&&word| word == "-");
    if !dashes.is_empty() {
        words.push("--");
        words.extend(dashes);
    }
    let top = Top::from_args(&["peervpn"], &words).map_err(|exit| match exit.status {
        Ok(()) => Early::Answer(format!("{}\n", exit.output.trim_end())),
        Err(()) => misuse(&exit.output),
    })?;
    if top.version {
        return Err(Early::Answer(concat!("peervpn ", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
    }
    match top.verb {
        Some(Verb::Run(run)) => Ok(Command::Run(source(run.file))),
        Some(Verb::Check(check)) => Ok(Command::Check(source(check.file))),
        Some(Verb::Status(status)) => Ok(Command::Status(status.name)),
        Some(Verb::GenPsk(_)) => Ok(Command::GenPsk),
        Some(Verb::Id(Id { file: None, keyfile: Some(path) })) => Ok(Command::IdOfKey(path)),
        Some(Verb::Id(Id { file, keyfile: None })) => Ok(Command::Id(source(file))),
        Some(Verb::Id(_)) => Err(misuse("a configuration or a key file, not both")),
        None => Err(misuse("a command or a file is missing")),
    }
}

fn source(file: Option<String>) -> Source {
    match file.as_deref() {
        None => Source::Usual,
        Some("-") => Source::Stdin,
        Some(file) => Source::File(PathBuf::from(file)),
    }
}

fn misuse(why: &str) -> Early {
    Early::Misuse(format!("peervpn: {}\n'peervpn --help' tells what is possible.\n", why.trim_end()))
}

/// All options with their values, defaults and meaning.
pub fn describe_options() -> String {
    let mut text = String::from("Options of peervpn.conf, one a line: NAME, a blank, VALUE [the default].\n");
    for row in OPTIONS {
        let default = if row.default.is_empty() { String::new() } else { format!(" [{}]", row.default) };
        let yet = if row.is_not_yet() { " (not supported yet)" } else { "" };
        let _ = write!(text, "\n{} {}{default}\n    {}{yet}\n", row.name, row.hint, row.help);
    }
    text
}

/// A full-mesh Ethernet VPN.
#[derive(FromArgs)]
#[argh(
    help_triggers("--help", "-h"),
    usage = "[run] [FILE | -]\n       peervpn COMMAND [ARGUMENTS]",
    note = "Without FILE, /etc/peervpn/peervpn.conf and /etc/peervpn.conf are tried in\n\
            turn; '-' is standard input. 'peervpn help options' explains all that a\n\
            FILE may hold. Signals: TERM, INT: stop; HUP: the network changed, retry\n\
            now; USR1: status to the log. Exit codes: 0 done, 1 failed at run time,\n\
            2 wrong configuration or arguments."
)]
struct Top {
    /// print the version
    #[argh(switch, short = 'V')]
    version: bool,

    #[argh(subcommand)]
    verb: Option<Verb>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Verb {
    Run(Run),
    Check(Check),
    Status(Status),
    GenPsk(GenPsk),
    Id(Id),
}

/// run a node (the word may be left out)
#[derive(FromArgs)]
#[argh(subcommand, name = "run", help_triggers("--help", "-h"))]
struct Run {
    /// configuration; '-' for standard input
    #[argh(positional, arg_name = "FILE")]
    file: Option<String>,
}

/// tell what is wrong with a configuration, and do nothing else
#[derive(FromArgs)]
#[argh(subcommand, name = "check", help_triggers("--help", "-h"))]
struct Check {
    /// configuration; '-' for standard input
    #[argh(positional, arg_name = "FILE")]
    file: Option<String>,
}

/// show peers and paths of a running node
#[derive(FromArgs)]
#[argh(subcommand, name = "status", help_triggers("--help", "-h"))]
struct Status {
    /// which node, if several run here
    #[argh(positional, arg_name = "NAME")]
    name: Option<String>,
}

/// make a new key for a network
#[derive(FromArgs)]
#[argh(subcommand, name = "genpsk", help_triggers("--help", "-h"))]
struct GenPsk {}

/// print the node id that a configuration or key file gives
#[derive(FromArgs)]
#[argh(subcommand, name = "id", help_triggers("--help", "-h"))]
struct Id {
    /// configuration; '-' for standard input
    #[argh(positional, arg_name = "FILE")]
    file: Option<String>,

    /// a key file instead of a configuration
    #[argh(option, short = 'k', arg_name = "KEYFILE")]
    keyfile: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The screen that help is made for, in characters and lines.
    const WIDTH: usize = 80;
    const HEIGHT: usize = 24;

    fn parsed(line: &str) -> Result<Command, Early> {
        parse(line.split_ascii_whitespace().map(OsString::from))
    }

    fn file(name: &str) -> Source {
        Source::File(name.into())
    }

    fn answer(line: &str) -> String {
        match parsed(line) {
            Err(Early::Answer(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_known_word_wins_and_anything_else_is_a_file() {
        for (line, expected) in [
            ("", Command::Run(Source::Usual)),
            ("run", Command::Run(Source::Usual)),
            ("home.conf", Command::Run(file("home.conf"))),
            ("run home.conf", Command::Run(file("home.conf"))),
            ("./check", Command::Run(file("./check"))),
            ("run check", Command::Run(file("check"))),
            ("run help", Command::Run(file("help"))),
            ("-", Command::Run(Source::Stdin)),
            ("run -", Command::Run(Source::Stdin)),
            ("check", Command::Check(Source::Usual)),
            ("check -", Command::Check(Source::Stdin)),
            ("check home.conf", Command::Check(file("home.conf"))),
            ("status", Command::Status(None)),
            ("status home", Command::Status(Some("home".into()))),
            ("genpsk", Command::GenPsk),
            ("id", Command::Id(Source::Usual)),
            ("id -", Command::Id(Source::Stdin)),
            ("id home.conf", Command::Id(file("home.conf"))),
            ("id --keyfile /etc/peervpn/key", Command::IdOfKey("/etc/peervpn/key".into())),
        ] {
            assert_eq!(parsed(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn misuse_is_refused_with_a_hint() {
        for line in [
            "-x",
            "--nope",
            "run a b",
            "a b",
            "- -",
            "status a b",
            "genpsk a",
            "check --nope",
            "help nope",
            "help run more",
            "id a --keyfile b",
            "id --keyfile",
            "--",
        ] {
            match parsed(line) {
                Err(Early::Misuse(text)) => {
                    assert!(
                        text.starts_with("peervpn: ") && text.contains("peervpn --help"),
                        "{line}: {text}"
                    );
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn arguments_that_are_not_text_are_refused() {
        use std::os::unix::ffi::OsStringExt;
        let refused = parse([OsString::from_vec(vec![0xff])]);
        assert!(matches!(refused, Err(Early::Misuse(_))), "{refused:?}");
    }

    #[test]
    fn help_fits_a_screen() {
        for line in ["--help", "-h", "help", "run --help", "help status", "help id"] {
            let text = answer(line);
            assert!(text.lines().count() <= HEIGHT, "{line}:\n{text}");
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{line}:\n{text}");
        }
        for command in Verb::COMMANDS {
            assert!(answer("help").contains(command.name), "{}", command.name);
        }
        for usual in USUAL_FILES {
            assert!(answer("help").contains(usual), "{usual}");
        }
    }

    #[test]
    fn the_help_of_options_has_every_row() {
        let text = answer("help options");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        for row in OPTIONS {
            assert!(text.contains(&format!("\n{} {}", row.name, row.hint)), "{}", row.name);
            assert!(text.contains(row.help), "{}", row.name);
        }
    }

    #[test]
    fn the_version_is_the_packages() {
        assert_eq!(answer("--version"), format!("peervpn {}\n", env!("CARGO_PKG_VERSION")));
        assert_eq!(answer("-V"), answer("--version"));
    }
}
