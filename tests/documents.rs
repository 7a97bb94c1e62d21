//! The documents against the program and against each other: the README's options, commands and configurations are
//! those that the program takes, and no link leads nowhere.
#![allow(clippy::disallowed_methods, reason = "tests read files of the repository")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use peervpn::base::discard::{DISCARDS, Discard};
use peervpn::base::event::{Event, Parting, Way};
use peervpn::base::ids::{HostId, Mac, ShortId};
use peervpn::base::settings::Host;
use peervpn::base::time::Instant;
use peervpn::config::cli::{Early, parse};
use peervpn::config::load;
use peervpn::config::options::{OPTIONS, UCI_OPTIONS};
use peervpn::config::section;
use peervpn::story::{Line, Story};
use peervpn::views::fields::{Form, RECORDS, meaning};
use peervpn::views::page::Look;
use peervpn::views::{Snapshot, advice, explain, graph, json, page};

/// The pages at the top, and all below docs/.
fn documents() -> Vec<String> {
    let top = ["README.md", "ARCHITECTURE.md", "PROTOCOL.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let below = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let below = below.filter_map(|name| name.into_string().ok()).filter(|name| name.ends_with(".md"));
    top.iter().map(|name| (*name).to_owned()).chain(below.map(|name| format!("docs/{name}"))).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn repository(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The blocks of a document that are marked so, without their fences. Behind the mark may stand on which host
/// `ci/netns/readme.sh` runs them.
fn blocks(document: &str, mark: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut inside = None;
    for line in document.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(_), Some(_)) => inside = None,
            (Some(info), None) => {
                let is_marked = info.split(' ').next() == Some(mark);
                inside = Some(is_marked);
                if is_marked {
                    blocks.push(String::new());
                }
            }
            (None, Some(true)) => {
                let block = blocks.last_mut().unwrap();
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// A document without its blocks.
fn prose(document: &str) -> String {
    let mut inside = false;
    let keeps = |line: &&str| {
        let fence = line.starts_with("```");
        inside ^= fence;
        !fence && !inside
    };
    document.lines().filter(keeps).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_readme_explains_every_option_as_the_program_does() {
    let readme = repository("README.md");
    let paragraph = |begin: &str| {
        let text = readme.split("\n\n").find(|text| text.starts_with(begin));
        text.unwrap_or_else(|| panic!("README.md lacks the paragraph '{begin} …'"))
    };
    let gone = paragraph("These are accepted");
    let table: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `")).collect();
    for row in OPTIONS {
        let name = format!("`{}`", row.name);
        let default = if row.default.is_empty() { String::new() } else { format!("`{}`", row.default) };
        let hint = row.hint.replace('|', "\\|");
        let line = format!("| {name} {hint} | {default} | {} |", row.help);
        if gone.contains(&name) {
            assert!(row.hint == "ANYTHING", "{name} has an effect");
        } else {
            assert!(table.contains(&line.as_str()), "README.md lacks the line\n{line}");
        }
    }
}

#[test]
fn the_readme_explains_the_options_of_a_router_as_the_program_does() {
    let readme = repository("README.md");
    for option in UCI_OPTIONS {
        let default = if option.default.is_empty() { String::new() } else { format!("`{}`", option.default) };
        let hint = option.hint.replace('|', "\\|");
        let line = format!("| `{}` {hint} | {default} | {} |", option.name, option.help);
        assert!(readme.lines().any(|found| found == line), "README.md lacks the line\n{line}");
    }
    let sections = blocks(&readme, "uci");
    assert!(!sections.is_empty());
    for text in sections {
        let networks = section::read(text.as_bytes(), "README.md").unwrap();
        assert_eq!((networks.all.len(), networks.strays.as_slice()), (1, [].as_slice()));
        let loaded = networks.all[0].load(&mut |_| Err(io::ErrorKind::NotFound.into()));
        assert_eq!(loaded.unwrap_or_else(|faults| panic!("{faults:?}")).loaded.notices, []);
    }
}

/// Each command in a line for the shell that begins with `peervpn`, without the program's name. What is behind a `>` or
/// a comment is the shell's.
fn commands(line: &str) -> Vec<Vec<OsString>> {
    let line = line.split(" # ").next().unwrap();
    let command = |part: &str| {
        let part = part.trim_start().trim_start_matches("sudo ");
        let mut words = part.split_whitespace().take_while(|word| !word.starts_with('>'));
        (words.next() == Some("peervpn")).then(|| words.map(|word| word.trim_matches('\'').into()).collect())
    };
    line.split([';', '|']).filter_map(command).collect()
}

/// What stands in prose between two backticks.
fn quoted(document: &str) -> Vec<String> {
    let text = prose(document).replace('\n', " ").replace("\\|", "|");
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_documents_is_one() {
    let mut seen = 0;
    // The others name commands in passing.
    for document in documents().into_iter().filter(|name| name == "README.md" || name.starts_with("docs/")) {
        let text = repository(&document);
        let lines = blocks(&text, "sh").concat();
        let inline = quoted(&text).into_iter().map(|code| code.replace(['[', ']'], ""));
        for line in lines.lines().map(str::to_owned).chain(inline) {
            for words in commands(&line) {
                seen += 1;
                // A command that is named only is one that has a help page.
                let words = if words.len() == 1 { vec![words[0].clone(), "--help".into()] } else { words };
                let taken = match parse(words) {
                    Ok(_) | Err(Early::Answer(_)) => true,
                    Err(Early::Misuse(_)) => false,
                };
                assert!(taken, "{document}: {line}");
            }
        }
    }
    assert!(seen > 60, "{seen}");
    let readme = repository("README.md");
    for command in ["run", "check", "status", "explain", "graph", "setup", "genpsk", "id", "uci", "convert"] {
        let help = parse([OsString::from(command), OsString::from("--help")]);
        assert!(matches!(help, Err(Early::Answer(_))), "{command}");
        assert!(readme.contains(&format!("`peervpn {command}")) || command == "run", "{command}");
    }
}

#[test]
fn every_configuration_of_the_documents_is_accepted() {
    let no_files = || |_: &Path| Err(io::ErrorKind::NotFound.into());
    let mut seen = (0, 0);
    for document in documents() {
        let text = repository(&document);
        for block in blocks(&text, "conf") {
            let loaded = load(block.as_bytes(), &document, &mut no_files());
            let notices = loaded.unwrap_or_else(|faults| panic!("{block}\n{faults:?}")).notices;
            // The file of somebody who comes from PeerVPN 0.044 has options that are gone.
            assert!(notices.is_empty() || document == "docs/migration.md", "{document}: {notices:?}");
            seen.0 += 1;
        }
        for block in blocks(&text, "uci").into_iter().filter(|block| block.starts_with("config network")) {
            let networks = section::read(block.as_bytes(), &document).unwrap();
            for network in &networks.all {
                let loaded = network.load(&mut no_files());
                assert!(loaded.is_ok() || block.contains("pskfile"), "{document}: {block}");
                seen.1 += 1;
            }
        }
    }
    assert!(seen.0 >= 9 && seen.1 >= 7, "{seen:?}");
}

#[test]
fn what_the_documents_set_by_uci_makes_a_sound_network() {
    const KEY: &str = "peervpn-psk1-aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dyp7ktfp";
    let mut seen = 0;
    for document in documents() {
        for block in blocks(&repository(&document), "sh") {
            let mut text = format!("config network 'home'\n\toption psk '{KEY}'\n");
            let before = seen;
            for line in block.lines() {
                let said = line.strip_prefix("uci set peervpn.home.").map(|said| ("option", said));
                let said = said
                    .or_else(|| line.strip_prefix("uci add_list peervpn.home.").map(|said| ("list", said)));
                let Some((kind, (name, value))) =
                    said.map(|(kind, said)| (kind, said.split_once('=').unwrap()))
                else {
                    continue;
                };
                seen += 1;
                let value = value.replace("\"$KEY\"", &format!("'{KEY}'"));
                if name == "psk" {
                    assert_eq!(value, format!("'{KEY}'"), "{document}: {line}");
                } else {
                    text += &format!("\t{kind} {name} {value}\n");
                }
            }
            if seen > before {
                let networks = section::read(text.as_bytes(), &document).unwrap();
                let loaded = networks.all[0].load(&mut |_| Err(io::ErrorKind::NotFound.into()));
                let notices = loaded.unwrap_or_else(|faults| panic!("{document}: {faults:?}")).loaded.notices;
                assert_eq!(notices, [], "{document}");
            }
        }
    }
    assert!(seen >= 9, "{seen}");
}

/// The first cells of the rows of the table that begins with this heading, what is in backticks there.
fn first_cells(document: &str, heading: &str) -> Vec<String> {
    let (_, table) = document.split_once(heading).unwrap_or_else(|| panic!("no table '{heading}'"));
    let rows = table.lines().skip(1).take_while(|line| line.starts_with("| "));
    rows.flat_map(|row| quoted(row.split(" | ").next().unwrap())).collect()
}

#[test]
fn what_status_may_say_is_explained() {
    let page = repository("docs/troubleshooting.md");
    let reasons = first_cells(&page, "| reason | when it grows |\n");
    let missing =
        DISCARDS.map(Discard::label).into_iter().filter(|label| !reasons.iter().any(|one| one == label));
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0]);
    assert_eq!(reasons.len(), DISCARDS.len(), "{reasons:?}");
    // Everything that there is to warn of.
    let texts = [
        "node\tuptime_ms=99000\tkeyfile=no\nhost\tname=a\tstate=unresolved\nhost\tname=b\tstate=silent\n\
         beside\tpeer=11\tforwards=node\ndiscard\treason=forged or other network\tpackets=1000\n",
        "node\tuptime_ms=99000\tkeyfile=yes\n",
    ];
    let advices = texts.iter().flat_map(|text| advice::of(&Snapshot::read(text)));
    let mut codes: Vec<&str> = advices.map(|advice| advice.code).collect();
    let mut told = first_cells(&page, "| `code` | what it says |\n");
    codes.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, codes);
    let why = meaning("peer.why").unwrap();
    let words = first_cells(&page, "| `why` in the JSON | on the page | what to do |\n");
    assert_eq!(words.len(), 6);
    for word in words {
        assert!(why.contains(&word), "{word}");
        let text = format!("peer\tid=11\tpath=none\twhy={word}\n");
        let shown = page::render(&Snapshot::read(&text), None, Look::default());
        let row = page.lines().find(|line| line.starts_with(&format!("| `{word}` | "))).unwrap();
        assert!(shown.contains(&format!("({})", row.split(" | ").nth(1).unwrap())), "{shown}{row}");
    }
}

/// All of the program's source; a text that goes on in the next line is in one piece.
fn sources(below: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            all += &sources(&entry);
        } else if entry.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(entry).unwrap();
            let pieces = text.split("\\\n").enumerate();
            pieces.for_each(|(at, piece)| all += if at == 0 { piece } else { piece.trim_start() });
        }
    }
    all
}

#[test]
fn the_program_says_what_the_documents_quote() {
    let said = sources(&root().join("src"));
    let quoted = first_cells(&repository("docs/troubleshooting.md"), "| it says | what it is |\n");
    assert!(quoted.len() >= 8);
    let names = ["/dev/net/tun", "/etc/peervpn/peervpn.conf", "/etc/peervpn.conf"];
    for sentence in quoted {
        let pieces = names.iter().fold(sentence.clone(), |rest, name| rest.replace(name, "{"));
        let mut pieces = pieces.split('{').map(str::trim);
        assert!(pieces.all(|piece| said.contains(piece)), "'{sentence}' is nowhere in src/");
    }
}

#[test]
fn the_programs_of_the_readme_are_there() {
    let readme = repository("README.md");
    let lines = blocks(&readme, "sh").concat();
    let mut named: Vec<&str> = lines.lines().filter_map(|line| line.split_whitespace().next()).collect();
    named.retain(|word| word.starts_with("ci/"));
    named.dedup();
    assert_eq!(named, ["ci/demo", "ci/test", "ci/build", "ci/package", "ci/cross-test"]);
    assert!(named.iter().all(|path| root().join(path).is_file()));
}

#[test]
fn the_configurations_of_the_readme_are_accepted_and_belong_together() {
    let configurations = blocks(&repository("README.md"), "conf");
    assert!(configurations.len() >= 3);
    let read = |text: &String| {
        let mut no_files = |_: &Path| Err(io::ErrorKind::NotFound.into());
        let loaded = load(text.as_bytes(), "README.md", &mut no_files);
        loaded.unwrap_or_else(|faults| panic!("{text}\n{faults:?}"))
    };
    let all: Vec<_> = configurations.iter().map(read).collect();
    for loaded in &all {
        assert_eq!(loaded.notices, []);
        assert_eq!(loaded.settings.network, all[0].settings.network);
        assert!(loaded.settings.psk == all[0].settings.psk, "one network has one key");
    }
    let mut addresses: Vec<_> = all.iter().filter_map(|loaded| loaded.settings.ifconfig4).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), all.len(), "each node has an address of its own");
}

/// How a heading is linked to: small letters, blanks as dashes, everything else but letters and digits left out.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn the_page_on_status_has_every_field_and_no_other() {
    let page = repository("docs/status.md");
    let mut rest = page.as_str();
    for record in RECORDS {
        let kind = if record.single { "object" } else { "array of objects" };
        let heading = format!("### `{}` ({kind})\n", record.json);
        let (_, after) = rest.split_once(&heading).unwrap_or_else(|| panic!("{heading} is missing"));
        rest = after;
        let section = after.split("### ").next().unwrap();
        for field in record.fields {
            let kind = match field.form {
                Form::Text => "string",
                Form::Number => "number",
                Form::Flag => "boolean",
            };
            let means = meaning(&format!("{}.{}", record.name, field.key)).unwrap();
            let line = format!("| `{}` | {kind} | {means} |\n", field.key);
            assert!(section.contains(&line), "docs/status.md lacks the line\n{line}");
        }
        assert_eq!(section.matches("\n| `").count(), record.fields.len(), "{}", record.name);
    }
}

/// A value of each kind of event, and of each form that its sentence takes.
fn events() -> Vec<Event> {
    let peer = ShortId([0x1a; 8]);
    let (direct, relayed) = (Way::Direct(([203, 0, 113, 10], 7000).into()), Way::Relayed(ShortId([9; 8])));
    let mut all = vec![
        Event::PeerUp { peer, way: direct },
        Event::PeerUp { peer, way: relayed },
        Event::WayChanged { peer, way: direct, silent: false },
        Event::WayChanged { peer, way: relayed, silent: true },
        Event::Rekeyed { peer },
        Event::Mapped(Some(([203, 0, 113, 10], 7000).into())),
        Event::Mapped(None),
        Event::HostIsUs(HostId(0)),
        Event::MacMoved { mac: Mac([2; 6]), to: peer },
        Event::LoopFound { peer, floods: true },
        Event::LoopFound { peer, floods: false },
        Event::LoopOver { peer },
        Event::NetworkLoops,
        Event::Storm { from: Some(peer) },
        Event::Storm { from: None },
        Event::HandshakeRefused { from: ([192, 0, 2, 1], 7000).into(), why: Discard::BadKey },
    ];
    let partings = [Parting::Goodbye, Parting::Silent, Parting::Expired, Parting::Evicted];
    all.extend(partings.map(|why| Event::PeerDown { peer, why }));
    all
}

#[test]
fn the_page_on_status_has_every_line_of_the_log() {
    let page = repository("docs/status.md");
    let now = Instant::ZERO;
    let host = Host { name: "vps.example.org".into(), port: 7000 };
    let mut lines: Vec<Line> = Vec::new();
    for event in events() {
        lines.extend(Story::new(std::slice::from_ref(&host)).of_event(now, &event));
    }
    assert_eq!(lines.len(), events().len());
    let mut story = Story::new(&[host]);
    lines.extend(story.of_answer(HostId(0), Err("no such name")));
    lines.extend(story.of_answer(HostId(0), Ok(1)));
    lines.extend(story.of_lost_events(now, 7));
    lines.extend(story.of_unsent(now, ([192, 0, 2, 1], 7000).into(), &"Network is unreachable"));
    let mut missing = String::new();
    for line in lines {
        let (sentence, tail) = line.text.split_once(": ").unwrap_or((&line.text, ""));
        let mut keys: Vec<String> = Vec::new();
        let mut rest = tail;
        // key=value or key="several words"
        while let Some((key, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap(),
                None => after.split_at(after.find(' ').unwrap_or(after.len())),
            };
            assert!(!value.is_empty() && key.bytes().all(|c| matches!(c, b'a'..=b'z' | b'_')), "{line:?}");
            keys.push(format!("`{key}`"));
            rest = after.trim_start_matches(' ');
        }
        assert_eq!(rest, "", "{line:?}");
        let sentence = sentence.replace("bad public key", "REASON");
        let level = format!("{:?}", line.level).to_lowercase();
        let row = format!("| {level} | {sentence} | {} |\n", keys.join(" "));
        if !page.contains(&row) && !missing.contains(&row) {
            missing += &row;
        }
    }
    assert!(missing.is_empty(), "docs/status.md lacks the lines\n{missing}");
}

/// A terminal as the documents show it: the command, and what the program makes of recorded facts.
fn terminal(words: &[&str]) -> String {
    let file = |name: &str| repository(&format!("docs/terminals/{name}"));
    let &[name, command] = words else { return format!("$ sudo ci/{}\n{}", words[0], file("demo.txt")) };
    let text = file(&format!("{name}.facts"));
    let facts = Snapshot::read(&text);
    let relayed =
        || facts.all("peer").find(|peer| peer.is("path", "relayed")).and_then(|peer| peer.get("id")).unwrap();
    let station =
        || facts.all("station").find(|one| one.is("place", "peer")).and_then(|one| one.get("mac")).unwrap();
    let (asked, shown) = match command {
        "status" => ("status".to_owned(), page::render(&facts, None, Look::default())),
        "watch" => {
            let before = file(&format!("{}.facts", name.replace('2', "1")));
            let before = Snapshot::read(&before);
            ("status --watch".to_owned(), page::render(&facts, Some(&before), Look::default()))
        }
        "explain" => {
            (format!("explain {}", &relayed()[..6]), explain::render(&facts, &relayed()[..6]).unwrap())
        }
        "station" => (format!("explain {}", station()), explain::render(&facts, station()).unwrap()),
        "graph" => ("graph".to_owned(), graph::plain(&facts)),
        "json" => ("status --json peervpn0".to_owned(), json::render(&facts) + "\n"),
        other => panic!("no terminal shows '{other}'"),
    };
    format!("$ sudo peervpn {asked}\n{shown}")
}

/// Written anew by `UPDATE=1 cargo test --test documents terminals`.
#[test]
fn the_terminals_show_what_the_program_makes_of_recorded_facts() {
    let mut seen = 0;
    for document in documents() {
        let page = repository(&document);
        let mut wanted = String::new();
        let mut rest = page.as_str();
        while let Some((before, after)) = rest.split_once("```console ") {
            let (info, body) = after.split_once('\n').unwrap();
            let words: Vec<&str> = info.split(' ').collect();
            wanted.extend([before, "```console ", info, "\n", &terminal(&words), "```\n"]);
            rest = if let Some(rest) = body.strip_prefix("```\n") {
                rest
            } else {
                body.split_once("\n```\n").unwrap().1
            };
            seen += 1;
        }
        wanted.push_str(rest);
        if page != wanted && std::env::var_os("UPDATE").is_some() {
            fs::write(root().join(&document), wanted).unwrap();
        } else {
            let line = page.lines().zip(wanted.lines()).find(|(page, wanted)| page != wanted);
            assert!(
                page == wanted,
                "{document} is out of date (UPDATE=1 cargo test --test documents): {line:?}"
            );
        }
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn the_pictures_of_meshes_are_those_of_the_program() {
    let masked = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    let text = repository("docs/terminals/laptop.facts");
    let dot = repository("docs/terminals/mesh-4.dot");
    assert_eq!(masked(&graph::dot(&Snapshot::read(&text))), masked(&dot), "run ci/terminals");
    let four = repository("docs/terminals/mesh-4.svg");
    assert_eq!(four.matches("class=\"edge\"").count(), dot.matches(" -- ").count());
    let fifty = repository("docs/terminals/mesh-50.svg");
    assert_eq!(fifty.matches("class=\"node\"").count(), 50);
    assert!(fifty.matches("class=\"edge\"").count() > 900);
}

#[test]
fn no_link_leads_nowhere() {
    for document in &documents() {
        let text = prose(&repository(document));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let beside = Path::new(document).parent().unwrap().join(file);
            let file = if file.is_empty() { document } else { beside.to_str().unwrap() };
            assert!(root().join(file).exists(), "{document} links to {link}");
            let headings = prose(&repository(file));
            let found = headings
                .lines()
                .filter(|line| line.starts_with('#'))
                .any(|line| anchor(line.trim_start_matches('#')) == place);
            assert!(place.is_empty() || found, "{document} links to {link}");
        }
    }
}
