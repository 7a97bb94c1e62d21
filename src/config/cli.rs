//! The command line. A known command word wins, anything else is a file: `peervpn home.conf` runs it as the
//! original did, and so does `peervpn -` with standard input.
//!
//! Nothing is opened or printed here: [`parse`] says what to do, `main.rs` does it.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use argh::{FromArgs, SubCommands};

use crate::config::options::{OPTIONS, UCI_OPTIONS};

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
    match words.as_slice() {
        ["help"] => read(&["--help"]),
        ["help", "options"] => Err(Early::Answer(describe_options())),
        ["help", command] if is_command(command) => read(&[command, "--help"]),
        ["help", ..] => Err(misuse("help is about 'options' or one of the commands")),
        ["--uci", ..] => read(&[&["run"], words.as_slice()].concat()),
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
        Some(Verb::Run(Run { uci: true, file: None })) => Err(misuse("which network? name its section")),
        Some(Verb::Run(Run { uci: true, file: Some(name) })) => Ok(Command::Run(Source::Uci(name))),
        Some(Verb::Run(Run { uci: false, file })) => Ok(Command::Run(source(file))),
        Some(Verb::Check(Check { uci: true, file: None })) => Ok(Command::CheckUci),
        Some(Verb::Check(Check { uci: true, file: Some(name) })) => Ok(Command::Check(Source::Uci(name))),
        Some(Verb::Check(Check { uci: false, file })) => Ok(Command::Check(source(file))),
        Some(Verb::Status(status)) => status.command(),
        Some(Verb::Graph(Graph { name, dot })) => Ok(Command::Graph { name, dot }),
        Some(Verb::Explain(Explain { target, name })) => Ok(Command::Explain { target, name }),
        Some(Verb::Setup(setup)) => setup.command(),
        Some(Verb::GenPsk(_)) => Ok(Command::GenPsk),
        Some(Verb::Id(Id { file: None, keyfile: Some(path) })) => Ok(Command::IdOfKey(path)),
        Some(Verb::Id(Id { file, keyfile: None })) => Ok(Command::Id(source(file))),
        Some(Verb::Id(_)) => Err(misuse("a configuration or a key file, not both")),
        Some(Verb::Uci(UciWord { verb: UciVerb::List(_) })) => Ok(Command::Uci(Uci::List)),
        Some(Verb::Uci(UciWord { verb: UciVerb::Export(Export { name, stdout }) })) => {
            Ok(Command::Uci(Uci::Export { name, stdout }))
        }
        Some(Verb::Uci(UciWord { verb: UciVerb::Firewall(Firewall { name }) })) => {
            Ok(Command::Uci(Uci::Firewall(name)))
        }
        Some(Verb::Convert(convert)) => convert.command(),
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
    text.push_str("\nA network of /etc/config/peervpn (OpenWrt) has these too:\n");
    for option in UCI_OPTIONS {
        let default =
            if option.default.is_empty() { String::new() } else { format!(" [{}]", option.default) };
        let _ = write!(text, "\n{} {}{default}\n    {}\n", option.name, option.hint, option.help);
    }
    text
}

/// What a section's name may be, so that any program can read what is made.
fn is_section_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A full-mesh Ethernet VPN.
#[derive(FromArgs)]
#[argh(
    help_triggers("--help", "-h"),
    usage = "[run] [FILE | - | --uci NETWORK]\n       peervpn COMMAND [ARGUMENTS]",
    note = "Without FILE, /etc/peervpn/peervpn.conf and /etc/peervpn.conf are tried in\n\
            turn; '-' is standard input. 'peervpn help options' explains what it may hold."
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
    Explain(Explain),
    Graph(Graph),
    Setup(Setup),
    GenPsk(GenPsk),
    Id(Id),
    Uci(UciWord),
    Convert(Convert),
}

/// run a node (the word may be left out)
#[derive(FromArgs)]
#[argh(subcommand, name = "run", help_triggers("--help", "-h"))]
struct Run {
    /// FILE is the name of a network of /etc/config/peervpn
    #[argh(switch)]
    uci: bool,

    /// configuration; '-' for standard input
    #[argh(positional, arg_name = "FILE")]
    file: Option<String>,
}

/// tell what is wrong with a configuration, and do nothing else
#[derive(FromArgs)]
#[argh(subcommand, name = "check", help_triggers("--help", "-h"))]
struct Check {
    /// FILE is the name of a network of /etc/config/peervpn; without it, all that are enabled
    #[argh(switch)]
    uci: bool,

    /// configuration; '-' for standard input
    #[argh(positional, arg_name = "FILE")]
    file: Option<String>,
}

/// show peers and paths of running nodes
#[derive(FromArgs)]
#[argh(subcommand, name = "status", help_triggers("--help", "-h"))]
struct Status {
    /// as JSON, for programs
    #[argh(switch)]
    json: bool,

    /// in the text format of Prometheus
    #[argh(switch)]
    metrics: bool,

    /// again every two seconds, with rates
    #[argh(switch)]
    watch: bool,

    /// the interface (or network, for a node without one); without it, all
    #[argh(positional, arg_name = "NAME")]
    name: Option<String>,
}

impl Status {
    fn command(self) -> Result<Command, Early> {
        let form = match (self.json, self.metrics, self.watch) {
            (false, false, false) => Form::Page,
            (true, false, false) => Form::Json,
            (false, true, false) => Form::Metrics,
            (false, false, true) => Form::Watch,
            _ => return Err(misuse("one of --json, --metrics and --watch")),
        };
        Ok(Command::Status { name: self.name, form })
    }
}

/// tell why packets to a peer take the way they take
#[derive(FromArgs)]
#[argh(subcommand, name = "explain", help_triggers("--help", "-h"))]
struct Explain {
    /// a peer's id or its beginning, a MAC address, or an IP address
    #[argh(positional, arg_name = "WHO")]
    target: String,

    /// the interface of the node to ask; without it, all
    #[argh(positional, arg_name = "NAME")]
    name: Option<String>,
}

/// show who reaches whom in the mesh
#[derive(FromArgs)]
#[argh(subcommand, name = "graph", help_triggers("--help", "-h"))]
struct Graph {
    /// for Graphviz: peervpn graph --dot | dot -Tsvg
    #[argh(switch)]
    dot: bool,

    /// the interface of the node to ask; without it, all
    #[argh(positional, arg_name = "NAME")]
    name: Option<String>,
}

/// ask a few questions and write a configuration
#[derive(FromArgs, Clone, PartialEq, Eq, Debug)]
#[argh(subcommand, name = "setup", help_triggers("--help", "-h"))]
pub struct Setup {
    /// take name, peer and key from an invitation on standard input
    #[argh(switch)]
    pub join: bool,

    /// name of the network
    #[argh(option, arg_name = "NAME")]
    pub network: Option<String>,

    /// a node that is there already
    #[argh(option, arg_name = "HOST:PORT")]
    pub peer: Option<String>,

    /// where others reach this node
    #[argh(option, arg_name = "HOST")]
    pub public: Option<String>,

    /// UDP port
    #[argh(option, arg_name = "NUMBER")]
    pub port: Option<String>,

    /// name of the virtual interface
    #[argh(option, arg_name = "NAME")]
    pub interface: Option<String>,

    /// this node's address in the VPN
    #[argh(option, arg_name = "ADDRESS/LENGTH")]
    pub address: Option<String>,

    /// carry traffic of nodes that cannot reach each other
    #[argh(switch)]
    pub relay: bool,

    /// make a network of that name in /etc/config/peervpn
    #[argh(option, arg_name = "NAME")]
    pub uci: Option<String>,

    /// the file to write
    #[argh(option, arg_name = "FILE")]
    pub to: Option<PathBuf>,

    /// replace the file, and keep the old one beside it
    #[argh(switch)]
    pub replace: bool,
}

impl Setup {
    fn command(self) -> Result<Command, Early> {
        if self.join && (self.network.is_some() || self.peer.is_some()) {
            return Err(misuse("an invitation names the network and a peer already"));
        }
        if self.uci.as_ref().is_some_and(|name| !is_section_name(name)) {
            return Err(misuse("the name of a section has letters, digits and _ only"));
        }
        Ok(Command::Setup(self))
    }
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

/// the networks of /etc/config/peervpn on OpenWrt
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "uci",
    help_triggers("--help", "-h"),
    note = "A file that cannot be read as a whole has no networks: exit code 2. A network\n\
            with mistakes in it is listed all the same, as its name tells that it is to\n\
            run; exporting it fails with exit code 2 and leaves what was exported before."
)]
struct UciWord {
    #[argh(subcommand)]
    verb: UciVerb,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum UciVerb {
    List(List),
    Export(Export),
    Firewall(Firewall),
}

/// name the networks that are enabled, one a line
#[derive(FromArgs)]
#[argh(subcommand, name = "list", help_triggers("--help", "-h"))]
struct List {}

/// write a network's settings to /var/run/peervpn/NETWORK.conf
#[derive(FromArgs)]
#[argh(subcommand, name = "export", help_triggers("--help", "-h"))]
struct Export {
    /// print them instead, the key included
    #[argh(switch)]
    stdout: bool,

    /// the section of /etc/config/peervpn
    #[argh(positional, arg_name = "NETWORK")]
    name: String,
}

/// print what the firewall is to let through, a rule a line
#[derive(FromArgs)]
#[argh(subcommand, name = "firewall", help_triggers("--help", "-h"))]
struct Firewall {
    /// the section of /etc/config/peervpn
    #[argh(positional, arg_name = "NETWORK")]
    name: String,
}

/// make a UCI section of a peervpn.conf, or the reverse
#[derive(FromArgs)]
#[argh(subcommand, name = "convert", help_triggers("--help", "-h"))]
struct Convert {
    /// a peervpn.conf or a UCI file; '-' for standard input
    #[argh(positional, arg_name = "FILE")]
    file: PathBuf,

    /// the section to make (vpn), or which one to take
    #[argh(option, arg_name = "NAME")]
    section: Option<String>,

    /// the file to write; there must be none of that name
    #[argh(option, arg_name = "FILE")]
    to: Option<PathBuf>,

    /// print it instead, the key included
    #[argh(switch)]
    stdout: bool,
}

impl Convert {
    fn command(self) -> Result<Command, Early> {
        if self.to.is_some() == self.stdout {
            return Err(misuse("where to? either --to FILE or --stdout"));
        }
        if self.section.as_ref().is_some_and(|name| !is_section_name(name)) {
            return Err(misuse("the name of a section has letters, digits and _ only"));
        }
        Ok(Command::Convert { file: self.file, section: self.section, to: self.to })
    }
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
        ] {
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
