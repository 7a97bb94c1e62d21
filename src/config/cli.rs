//! The command line. A known command word wins, anything else is a file: `peervpn home.conf` runs it as the
//! original did, and so does `peervpn -` with standard input.
//!
//! Nothing is opened or printed here: [`parse`] says what to do, `main.rs` does it.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

pub use crate::config::arguments::{Argument, Shape};

use crate::config::arguments;
use crate::config::options::{OPTIONS, UCI_OPTIONS};
use crate::config::verbs::{VERBS, Verb};

/// Where a configuration is looked for when none is named, in this order.
pub const USUAL_FILES: [&str; 2] = ["/etc/peervpn/peervpn.conf", "/etc/peervpn.conf"];

/// Where OpenWrt keeps the networks of this router, the first that is there: what stands in the override directory
/// counts instead of the file.
pub const UCI_FILES: [&str; 2] = ["/var/run/uci/peervpn", "/etc/config/peervpn"];
/// The name of a section that is made of a `peervpn.conf`, if none is named.
pub const SECTION: &str = "vpn";

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Be a node.
    Run(Source),
    /// Read the configuration, tell what is wrong with it, and nothing else.
    Check(Source),
    /// Ask running nodes how they are; a name tells one of several from the others.
    Status {
        /// Which node; none: all of this machine.
        name: Option<String>,
        /// In what form.
        form: Form,
    },
    /// Show the mesh as a running node sees it.
    Graph {
        /// Which node; none: all of this machine.
        name: Option<String>,
        /// In Graphviz's language.
        dot: bool,
    },
    /// Tell why packets to somebody take the way they take.
    Explain {
        /// A peer's id, a MAC address, an IP address.
        target: String,
        /// Which node; none: all of this machine.
        name: Option<String>,
    },
    /// Ask a few questions and write a configuration.
    Setup(Setup),
    /// Print a new pre-shared key.
    GenPsk,
    /// Print the node id of a configuration.
    Id(Source),
    /// Print the node id of a key file.
    IdOfKey(PathBuf),
    /// Check all networks of the router.
    CheckUci,
    /// Something about the networks of the router.
    Uci(Uci),
    /// Turn a file of one grammar into one of the other.
    Convert {
        /// What to read; `-` is standard input.
        file: PathBuf,
        /// Which section to make, or to take.
        section: Option<String>,
        /// What to write, where nothing is yet; none for standard output.
        to: Option<PathBuf>,
    },
}

/// The form of a status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A page for people.
    Page,
    /// The page again and again, with rates.
    Watch,
    /// JSON.
    Json,
    /// The text format of Prometheus.
    Metrics,
}

/// What there is to do about the networks of a router.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Uci {
    /// Name those that are enabled.
    List,
    /// Write the settings of one for its daemon, or to standard output.
    Export {
        /// Its section.
        name: String,
        /// To standard output.
        stdout: bool,
    },
    /// Print what the firewall is to let through for one.
    Firewall(String),
}

/// What was said beforehand of a configuration that is to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Name, peer and key come from an invitation on standard input.
    pub join: bool,
    /// Name of the network.
    pub network: Option<String>,
    /// A node that is there already.
    pub peer: Option<String>,
    /// Where others reach this node.
    pub public: Option<String>,
    /// UDP port.
    pub port: Option<String>,
    /// Name of the virtual interface.
    pub interface: Option<String>,
    /// This node's address in the VPN.
    pub address: Option<String>,
    /// Traffic of others is carried.
    pub relay: bool,
    /// A network of that name in `/etc/config/peervpn` is to be made.
    pub uci: Option<String>,
    /// The file to write.
    pub to: Option<PathBuf>,
    /// The file is replaced, and the old one kept beside it.
    pub replace: bool,
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
    /// This section of the first of [`UCI_FILES`] that exists.
    Uci(String),
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
    understand(&words)
}

fn understand(words: &[&str]) -> Result<Command, Early> {
    let rest = match words {
        ["help" | "--help" | "-h"] => return Err(Early::Answer(overview())),
        ["--version" | "-V"] => return Err(Early::Answer(VERSION.to_owned())),
        ["help", "options"] => return Err(Early::Answer(describe_options())),
        ["help", command @ ..] => return explain(command),
        ["uci", "--help" | "-h"] => return explain(&["uci"]),
        ["uci", word, rest @ ..] if find(&["uci", word]).is_some() => rest,
        ["uci", ..] => return Err(misuse("what about them? uci list, uci export or uci firewall")),
        [first, rest @ ..] if find(&[first]).is_some() => rest,
        _ => words,
    };
    let taken = words.len() - rest.len();
    let verb = if taken == 0 { &VERBS[0] } else { find(&words[..taken]).unwrap_or(&VERBS[0]) };
    if rest.iter().take_while(|word| **word != "--").any(|word| matches!(*word, "--help" | "-h")) {
        return Err(Early::Answer(arguments::page(&verb.shape)));
    }
    let given = arguments::read(&verb.shape, rest).map_err(|why| misuse(&why))?;
    (verb.make)(&given).map_err(misuse)
}

/// The command of that name, of one word or two.
fn find(words: &[&str]) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.shape.name.split(' ').eq(words.iter().copied()))
}

fn explain(command: &[&str]) -> Result<Command, Early> {
    match find(command) {
        Some(verb) => Err(Early::Answer(arguments::page(&verb.shape))),
        None if *command == ["uci"] => Err(Early::Answer(overview_of_uci())),
        None => Err(misuse("help is about 'options' or one of the commands")),
    }
}

/// The form of each command.
pub fn shapes() -> impl Iterator<Item = &'static Shape> {
    VERBS.iter().map(|verb| &verb.shape)
}

/// Names and meanings of commands of one word, or of two.
fn commands(of_two: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    VERBS
        .iter()
        .map(|verb| (verb.shape.name, verb.shape.help))
        .filter(move |(name, _)| name.contains(' ') == of_two)
}

const VERSION: &str = concat!("peervpn ", env!("CARGO_PKG_VERSION"), "\n");

fn overview() -> String {
    let mut text = String::from(
        "A full-mesh Ethernet VPN.\n\n\
         Usage: peervpn [run] [FILE | - | --uci NETWORK]\n       peervpn COMMAND [ARGUMENTS]\n\n",
    );
    let others = [
        ("uci", UCI_HELP),
        ("help COMMAND", "explain a command; 'help options' the configuration"),
        ("-V, --version", "print the version"),
    ];
    arguments::columns(&mut text, &mut commands(false).chain(others));
    text.push_str(
        "\nWithout FILE, /etc/peervpn/peervpn.conf and /etc/peervpn.conf are tried in\n\
         turn; '-' is standard input.\n",
    );
    text
}

const UCI_HELP: &str = "tell of the networks of /etc/config/peervpn on OpenWrt";

fn overview_of_uci() -> String {
    let mut text = format!("Usage: peervpn uci COMMAND\n\nIt is to {UCI_HELP}.\n\n");
    arguments::columns(&mut text, &mut commands(true));
    text.push_str(
        "\nA file that cannot be read as a whole has no networks: exit code 2. A network\n\
         with mistakes in it is listed all the same, as its name tells that it is to\n\
         run; exporting it fails with exit code 2 and leaves what was exported before.\n",
    );
    text
}

fn misuse(why: &str) -> Early {
    Early::Misuse(format!("peervpn: {why}\n'peervpn --help' tells what is possible.\n"))
}

/// All options with their values, defaults and meaning.
pub fn describe_options() -> String {
    let mut text = String::from("Options of peervpn.conf, one a line: NAME, a blank, VALUE [the default].\n");
    for row in OPTIONS {
        let default = if row.default.is_empty() { String::new() } else { format!(" [{}]", row.default) };
        let _ = write!(text, "\n{} {}{default}\n    {}\n", row.name, row.hint, row.help);
    }
    text.push_str("\nA network of /etc/config/peervpn (OpenWrt) has these too:\n");
    for option in UCI_OPTIONS {
        let default =
            if option.default.is_empty() { String::new() } else { format!(" [{}]", option.default) };
        let _ = write!(text, "\n{} {}{default}\n    {}\n", option.name, option.hint, option.help);
    }
    text
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
            ("status", Command::Status { name: None, form: Form::Page }),
            ("status home", Command::Status { name: Some("home".into()), form: Form::Page }),
            ("status --json", Command::Status { name: None, form: Form::Json }),
            ("status --metrics home", Command::Status { name: Some("home".into()), form: Form::Metrics }),
            ("status --watch", Command::Status { name: None, form: Form::Watch }),
            ("graph", Command::Graph { name: None, dot: false }),
            ("graph home --dot", Command::Graph { name: Some("home".into()), dot: true }),
            ("explain 1a2b", Command::Explain { target: "1a2b".into(), name: None }),
            (
                "explain 10.0.0.1 home",
                Command::Explain { target: "10.0.0.1".into(), name: Some("home".into()) },
            ),
            ("genpsk", Command::GenPsk),
            ("id", Command::Id(Source::Usual)),
            ("id -", Command::Id(Source::Stdin)),
            ("id home.conf", Command::Id(file("home.conf"))),
            ("id --keyfile /etc/peervpn/key", Command::IdOfKey("/etc/peervpn/key".into())),
            ("run --uci home", Command::Run(Source::Uci("home".into()))),
            ("--uci home", Command::Run(Source::Uci("home".into()))),
            ("check --uci", Command::CheckUci),
            ("check --uci home", Command::Check(Source::Uci("home".into()))),
            ("uci list", Command::Uci(Uci::List)),
            ("uci export home", Command::Uci(Uci::Export { name: "home".into(), stdout: false })),
            ("uci export --stdout home", Command::Uci(Uci::Export { name: "home".into(), stdout: true })),
            ("uci export home --stdout", Command::Uci(Uci::Export { name: "home".into(), stdout: true })),
            ("uci firewall home", Command::Uci(Uci::Firewall("home".into()))),
            (
                "convert a.conf --to b",
                Command::Convert { file: "a.conf".into(), section: None, to: Some("b".into()) },
            ),
            (
                "convert - --section home --stdout",
                Command::Convert { file: "-".into(), section: Some("home".into()), to: None },
            ),
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
            "--uci",
            "run --uci",
            "run --uci a b",
            "uci",
            "uci nope",
            "uci list a",
            "uci export",
            "uci firewall",
            "uci export a b",
            "convert",
            "convert a",
            "convert a --to b --stdout",
            "convert a --stdout --section my-net",
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
        for line in [
            "--help",
            "-h",
            "help",
            "run --help",
            "help status",
            "help id",
            "check --help",
            "help uci",
            "uci export --help",
            "help convert",
            "help setup",
            "help uci list",
        ] {
            let text = answer(line);
            assert!(text.lines().count() <= HEIGHT, "{line}:\n{text}");
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{line}:\n{text}");
        }
        for verb in VERBS {
            let known = format!("help {}", verb.shape.name);
            assert!(answer(&known).starts_with(&format!("Usage: peervpn {}", verb.shape.name)), "{known}");
            assert!(answer("help").contains(verb.shape.name.split(' ').next().unwrap()), "{known}");
        }
        for usual in USUAL_FILES {
            assert!(answer("help").contains(usual), "{usual}");
        }
    }

    #[test]
    fn the_commands_for_openwrt_have_a_page_of_their_own() {
        let text = answer("help uci");
        assert_eq!([answer("uci --help"), answer("uci -h")], [text.as_str(); 2]);
        assert!(text.starts_with("Usage: peervpn uci COMMAND\n\nIt is to tell of the networks"), "{text}");
        for word in ["list", "export", "firewall"] {
            assert!(
                text.lines().any(|line| line.trim_start().starts_with(&format!("uci {word}"))),
                "{word}:\n{text}"
            );
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
        for option in UCI_OPTIONS {
            assert!(text.contains(&format!("\n{} {}", option.name, option.hint)), "{}", option.name);
            assert!(text.contains(option.help), "{}", option.name);
        }
    }

    #[test]
    fn the_version_is_the_packages() {
        assert_eq!(answer("--version"), format!("peervpn {}\n", env!("CARGO_PKG_VERSION")));
        assert_eq!(answer("-V"), answer("--version"));
    }
}
