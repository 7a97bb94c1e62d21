//! The table of commands: what each takes, and what it is to do. The help is made of it.

use std::path::PathBuf;

use crate::config::arguments::{Argument, Given, Shape};
use crate::config::cli::{Command, Form, Setup, Source, Uci};

/// A command: what follows it, and what is made of that; an error is a sentence.
pub(super) struct Verb {
    pub shape: Shape,
    pub make: fn(&Given<'_>) -> Result<Command, &'static str>,
}

const CONFIGURATION: Argument = Argument("[FILE]", "configuration; '-' for standard input");
const NODE: Argument = Argument("[NAME]", "the interface of the node to ask; without it, all");
const NETWORK: Argument = Argument("NETWORK", "the section of /etc/config/peervpn");

/// The first is meant when none is named.
pub(super) const VERBS: &[Verb] = &[
    Verb {
        shape: Shape {
            name: "run",
            help: "run a node (the word may be left out)",
            arguments: &[CONFIGURATION, Argument("--uci", "FILE is a network of /etc/config/peervpn")],
            note: "Signals: TERM, INT: stop; HUP: the network changed, retry now; USR1: status to\n\
                   the log. Exit codes: 0 done, 1 failed, 2 wrong configuration.\n",
        },
        make: |given| {
            let file = given.text("[FILE]");
            match (given.has("--uci"), file) {
                (true, None) => Err("which network? name its section"),
                (true, Some(name)) => Ok(Command::Run(Source::Uci(name))),
                (false, file) => Ok(Command::Run(source(file))),
            }
        },
    },
    Verb {
        shape: Shape {
            name: "check",
            help: "tell what is wrong with a configuration, and do nothing else",
            arguments: &[
                CONFIGURATION,
                Argument("--uci", "FILE is a network of /etc/config/peervpn; without it, all enabled"),
            ],
            note: "",
        },
        make: |given| {
            Ok(match (given.has("--uci"), given.text("[FILE]")) {
                (true, None) => Command::CheckUci,
                (true, Some(name)) => Command::Check(Source::Uci(name)),
                (false, file) => Command::Check(source(file)),
            })
        },
    },
    Verb {
        shape: Shape {
            name: "status",
            help: "show peers and paths of running nodes",
            arguments: &[
                NODE,
                Argument("--json", "as JSON, for programs"),
                Argument("--metrics", "in the text format of Prometheus"),
                Argument("--watch", "again every two seconds, with rates"),
            ],
            note: "A node without an interface is asked by the name of its network.\n",
        },
        make: |given| {
            let form = match (given.has("--json"), given.has("--metrics"), given.has("--watch")) {
                (false, false, false) => Form::Page,
                (true, false, false) => Form::Json,
                (false, true, false) => Form::Metrics,
                (false, false, true) => Form::Watch,
                _ => return Err("one of --json, --metrics and --watch"),
            };
            Ok(Command::Status { name: given.text("[NAME]"), form })
        },
    },
    Verb {
        shape: Shape {
            name: "explain",
            help: "tell why packets to a peer take the way they take",
            arguments: &[Argument("WHO", "a peer's id or its beginning, a MAC or an IP address"), NODE],
            note: "",
        },
        make: |given| Ok(Command::Explain { target: given.required("WHO"), name: given.text("[NAME]") }),
    },
    Verb {
        shape: Shape {
            name: "graph",
            help: "show who reaches whom in the mesh",
            arguments: &[NODE, Argument("--dot", "for Graphviz: peervpn graph --dot | dot -Tsvg")],
            note: "",
        },
        make: |given| Ok(Command::Graph { name: given.text("[NAME]"), dot: given.has("--dot") }),
    },
    Verb {
        shape: Shape {
            name: "setup",
            help: "ask a few questions and write a configuration",
            arguments: &[
                Argument("--join", "take name, peer and key from an invitation on stdin"),
                Argument("--network NAME", "name of the network"),
                Argument("--peer HOST:PORT", "a node that is there already"),
                Argument("--public HOST", "where others reach this node"),
                Argument("--port NUMBER", "UDP port"),
                Argument("--interface NAME", "name of the virtual interface"),
                Argument("--address ADDRESS/LENGTH", "this node's address in the VPN"),
                Argument("--relay", "carry traffic of nodes that cannot reach each other"),
                Argument("--uci NAME", "make a network of that name in /etc/config/peervpn"),
                Argument("--to FILE", "the file to write"),
                Argument("--replace", "replace the file, and keep the old one beside it"),
            ],
            note: "",
        },
        make: setup,
    },
    Verb {
        shape: Shape { name: "genpsk", help: "make a new key for a network", arguments: &[], note: "" },
        make: |_| Ok(Command::GenPsk),
    },
    Verb {
        shape: Shape {
            name: "id",
            help: "print the node id that a configuration or key file gives",
            arguments: &[
                CONFIGURATION,
                Argument("-k, --keyfile KEYFILE", "a key file instead of a configuration"),
            ],
            note: "",
        },
        make: |given| match (given.text("[FILE]"), given.text("--keyfile")) {
            (None, Some(path)) => Ok(Command::IdOfKey(path.into())),
            (file, None) => Ok(Command::Id(source(file))),
            _ => Err("a configuration or a key file, not both"),
        },
    },
    Verb {
        shape: Shape {
            name: "convert",
            help: "make a UCI section of a peervpn.conf, or the reverse",
            arguments: &[
                Argument("FILE", "a peervpn.conf or a UCI file; '-' for standard input"),
                Argument("--section NAME", "the section to make (vpn), or which one to take"),
                Argument("--to FILE", "the file to write; there must be none of that name"),
                Argument("--stdout", "print it instead, the key included"),
            ],
            note: "",
        },
        make: convert,
    },
    Verb {
        shape: Shape {
            name: "uci list",
            help: "name the networks that are enabled, one a line",
            arguments: &[],
            note: "",
        },
        make: |_| Ok(Command::Uci(Uci::List)),
    },
    Verb {
        shape: Shape {
            name: "uci export",
            help: "write a network's settings to /var/run/peervpn/NETWORK.conf",
            arguments: &[NETWORK, Argument("--stdout", "print them instead, the key included")],
            note: "",
        },
        make: |given| {
            Ok(Command::Uci(Uci::Export { name: given.required("NETWORK"), stdout: given.has("--stdout") }))
        },
    },
    Verb {
        shape: Shape {
            name: "uci firewall",
            help: "print what the firewall is to let through, a rule a line",
            arguments: &[NETWORK],
            note: "",
        },
        make: |given| Ok(Command::Uci(Uci::Firewall(given.required("NETWORK")))),
    },
];

fn setup(given: &Given<'_>) -> Result<Command, &'static str> {
    let wanted = Setup {
        join: given.has("--join"),
        network: given.text("--network"),
        peer: given.text("--peer"),
        public: given.text("--public"),
        port: given.text("--port"),
        interface: given.text("--interface"),
        address: given.text("--address"),
        relay: given.has("--relay"),
        uci: given.text("--uci"),
        to: given.text("--to").map(PathBuf::from),
        replace: given.has("--replace"),
    };
    if wanted.join && (wanted.network.is_some() || wanted.peer.is_some()) {
        return Err("an invitation names the network and a peer already");
    }
    if wanted.uci.as_ref().is_some_and(|name| !is_section_name(name)) {
        return Err("the name of a section has letters, digits and _ only");
    }
    Ok(Command::Setup(wanted))
}

fn convert(given: &Given<'_>) -> Result<Command, &'static str> {
    let (section, to) = (given.text("--section"), given.text("--to").map(PathBuf::from));
    if to.is_some() == given.has("--stdout") {
        return Err("where to? either --to FILE or --stdout");
    }
    if section.as_ref().is_some_and(|name| !is_section_name(name)) {
        return Err("the name of a section has letters, digits and _ only");
    }
    Ok(Command::Convert { file: given.required("FILE").into(), section, to })
}

fn source(file: Option<String>) -> Source {
    match file.as_deref() {
        None => Source::Usual,
        Some("-") => Source::Stdin,
        Some(file) => Source::File(PathBuf::from(file)),
    }
}

/// What a section's name may be, so that any program can read what is made.
fn is_section_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
