//! `/etc/config/peervpn`: the grammar against what libuci made of the same files, sections as people write them,
//! mistakes in them, and the ways between the two grammars.
#![allow(clippy::disallowed_methods, reason = "tests read files of the repository")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io;
use std::path::PathBuf;

use peervpn::base::settings::Settings;
use peervpn::config::fault::{Fault, Notice};
use peervpn::config::options::{OPTIONS, UCI_OPTIONS, find};
use peervpn::config::section::{self, Instance, Network};
use peervpn::config::uci::{self, Item, Section, Value};
use peervpn::config::{FILE_MAX, convert, load, router};
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

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
        Ok(file) => {
            json!({ "ok": true, "sections": file.sections.iter().map(section_as_json).collect::<Vec<_>>() })
        }
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

/// The sections of a text as `type name option=value option=[value,value]|…`, an error as `reason@line`.
fn told(text: &[u8]) -> String {
    let shown = |item: &Item| String::from_utf8_lossy(&item.bytes).into_owned();
    match uci::read(text) {
        Err(broken) => format!("{}@{}", broken.why, broken.line),
        Ok(file) => {
            let sections = file.sections.iter().map(|section| {
                let name = section.name.as_deref().unwrap_or("-");
                let options = section.options.iter().map(|setting| match &setting.value {
                    Value::One(item) => format!(" {}={}", setting.name, shown(item)),
                    Value::List(items) => {
                        format!(
                            " {}=[{}]",
                            setting.name,
                            items.iter().map(shown).collect::<Vec<_>>().join(",")
                        )
                    }
                });
                format!("{} {name}{}", section.kind, options.collect::<String>())
            });
            sections.collect::<Vec<_>>().join("|")
        }
    }
}

#[test]
fn the_corners_of_the_grammar() {
    for (text, expected) in [
        // Blanks, comments, ends of lines.
        ("config a b\r\n\toption\tv\t1\r\n", "a b v=1"),
        ("  config a b\n#x\n \t\n   # y\n\x0b\x0coption v 1", "a b v=1"),
        ("c a b\no v 1\nl w 2\np x\n", "a b v=1 w=[2]"),
        ("config a b#c\noption v 1#2\noption w '1'#2\n", "a b v=1 w=1"),
        ("\u{feff}config a b\n", "invalid command@1"),
        // Pieces and quotes.
        ("config a b\noption v x'y z'\"$\\\"\"\\ \\#q\n", "a b v=xy z$\" #q"),
        ("config a b\noption v 'a\\b\nc'\noption w \"d\ne\"\n", "a b v=a\\b\nc w=d\ne"),
        ("config a b\noption v \"a\\\nb\"\noption w c\\\nd\noption x e\\\r\nf\n", "a b v=ab w=cd x=ef"),
        ("config a b\noption v \\\n 1\n", "a b v=1"),
        ("config a b\noption v 1\\", "a b v=1"),
        // What sets and what does not.
        ("config a b\noption v\noption w ''\nlist x\nlist x ''\n", "a b x=[,]"),
        ("config a b\noption v 1\noption v ''\noption v\n", "a b v=1"),
        ("config a b\noption v 1\noption w 2\noption v 3\n", "a b v=3 w=2"),
        ("config a b\nlist v 1\nlist v 2\noption v 3\n", "a b v=3"),
        ("config a b\noption v 1\nlist v 2\n", "a b v=[1,2]"),
        // Sections.
        ("config a b\noption v 1\nconfig a\nconfig a b\noption w 2\n", "a b v=1 w=2|a -"),
        ("config a ''\nconfig a\n", "a -|a -"),
        ("config a b\nconfig c b\n", "section of different type overwrites prior section with same name@2"),
        ("package x-y\nconfig a b\npackage other\noption v 1\n", "a b v=1"),
        // Semicolons.
        ("config a b; option v 1\n", "a b"),
        ("config a b ; option v 1\n", "a b v=1"),
        ("config a 'b'; option v '1'; option w 2\n", "a b v=1 w=2"),
        ("config a b\noption v '1';\n", "invalid command@2"),
        ("config a b\noption v ;\n", "a b"),
        // Mistakes.
        ("config\n", "invalid command@1"),
        ("config ", "insufficient arguments@1"),
        ("config a b\noption", "insufficient arguments@2"),
        ("config a b\n\n'option' v 1\n", "invalid command@3"),
        ("config a b c\n", "too many arguments@1"),
        ("config a b\noption v 1 2\n", "too many arguments@2"),
        ("config a my-net\n", "invalid character in name field@1"),
        ("config a b\noption m\u{fc} 1\n", "invalid character in name field@2"),
        ("config \u{fc} b\n", "invalid character in type field@1"),
        ("option v 1\nconfig a b\n", "option/list command found before the first section@1"),
        ("config a b\noption v 'x\n\ny\n", "EOF with unterminated '@2"),
        ("config a b\noption v \"x", "EOF with unterminated \"@2"),
    ] {
        assert_eq!(told(text.as_bytes()), expected, "{text:?}");
    }
    assert_eq!(told(b"config a b\noption v '\xff\xfe'\n"), "a b v=\u{fffd}\u{fffd}", "values are bytes");
    // Ours: a file that lost its end to a power cut is not half a configuration.
    assert_eq!(told(b"config a b\noption v 1\n\0\0\0\0"), "NUL byte@3");
}

#[test]
fn comments_are_known_by_their_lines() {
    let file = uci::read(b"# one\nconfig a b # two\n\toption v '#' #three\n\n\t  #\tfour ; #\n").unwrap();
    let comments: Vec<_> =
        file.comments.iter().map(|comment| (comment.line, comment.text.as_str())).collect();
    assert_eq!(comments, [(1, "one"), (2, "two"), (3, "three"), (5, "four ; #")]);
}

#[test]
fn no_file_takes_long_to_read() {
    // Each name is looked for among those before it, so there is an end to them; values may be as many as there is room.
    let options: String = (0..1024).map(|i| format!("o o{i} 1\n")).collect();
    let file = format!("c a b\n{}", options.repeat(80));
    assert_eq!(uci::read(file.as_bytes()).unwrap().sections[0].options.len(), 1024);
    let sections: String = (0..1024).map(|i| format!("c a s{i}\n")).collect();
    assert_eq!(uci::read(sections.repeat(80).as_bytes()).unwrap().sections.len(), 1024);
    let lists = format!("c a b\n{}", "l v 1\n".repeat(90_000));
    assert!(
        matches!(&uci::read(lists.as_bytes()).unwrap().sections[0].options[0].value, Value::List(items) if items.len() == 90_000)
    );
    assert_eq!(told(format!("{file}o one_more 1\n").as_bytes()), format!("too many names@{}", 1024 * 80 + 2));
    assert_eq!(told(format!("{sections}c a one_more\n").as_bytes()), "too many names@1025");
}

// ---- sections ----

const FILE: &str = "/etc/config/peervpn";

fn networks(text: &str) -> Vec<Network> {
    let networks = section::read(text.as_bytes(), FILE).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    assert_eq!(networks.strays, [], "{text}");
    networks.all
}

/// The only pskfile that can be read is `/psk`.
fn try_load(network: &Network) -> Result<Instance, Vec<String>> {
    let instance = network.load(&mut |path| match path.to_str() {
        Some("/psk") => Ok(Zeroizing::new(b"a key from a file\n".to_vec())),
        Some("/psk.next") => Ok(Zeroizing::new(b"another from a file\n".to_vec())),
        _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, "others can read it")),
    });
    instance.map_err(|faults| faults.iter().map(Fault::to_string).collect())
}

fn instance(options: &str) -> Instance {
    let text = format!("config network 'home'\n\toption psk 'verysecurepassword'\n{options}");
    try_load(&networks(&text)[0]).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
}

fn settings(options: &str) -> Settings {
    instance(options).loaded.settings
}

/// What is the same in two settings is the same here.
fn whole(settings: &Settings) -> String {
    format!("{settings:?} {}", settings.psk.expose())
}

#[test]
fn the_same_options_as_in_peervpn_conf() {
    let settings = settings(
        "\toption networkname 'lauri-vpn'\n\toption port 7001\n\toption enablerelay on\n\
         \toption enableipv6 0\n\toption upcmd 'echo \"a # b\"; true'\n\toption mtu 1400\n",
    );
    assert_eq!((settings.network.as_str(), settings.port, settings.mtu), ("LAURI_VPN", 7001, Some(1400)));
    assert_eq!((settings.relay, settings.enable_ipv6), (true, false));
    assert_eq!(settings.upcmd.as_deref(), Some("echo \"a # b\"; true"));
}

#[test]
fn a_list_may_be_an_option_and_an_option_a_list_of_one() {
    for options in [
        "\tlist initpeers 'a 1'\n\tlist initpeers 'b'\n\tlist initpeers 'c:3'\n",
        "\toption initpeers 'a 1 b c:3'\n",
        "\toption initpeers 'a 1\n\tb\nc:3'\n",
        "\toption initpeers 'a:1'\n\tlist initpeers 'b c 3'\n\tlist initpeers ''\n",
    ] {
        let peers: Vec<String> = settings(options).initpeers.iter().map(ToString::to_string).collect();
        assert_eq!(peers, ["a:1", "b:7000", "c:3"], "{options}");
    }
    assert_eq!(settings("\tlist port '7001'\n").port, 7001);
}

#[test]
fn the_words_of_config_get_bool() {
    for (word, means) in [
        ("1", true),
        ("on", true),
        ("true", true),
        ("yes", true),
        ("enabled", true),
        ("0", false),
        ("off", false),
        ("false", false),
        ("no", false),
        ("disabled", false),
    ] {
        let text = format!(
            "config network a\n option enabled '{word}'\n option enablerelay {word}\n option psk verysecurepassword\n"
        );
        let network = &networks(&text)[0];
        assert_eq!(network.is_enabled(), Ok(means), "{word}");
        assert_eq!(try_load(network).unwrap().loaded.settings.relay, means, "{word}");
    }
    assert_eq!(networks("config network a\n")[0].is_enabled(), Ok(false), "not by itself");
    let faults = networks("config network a\n\toption enabled 'maybe'\n")[0].is_enabled().unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "/etc/config/peervpn:2: section 'a': option 'enabled': 'maybe' is neither yes nor no (expected: enabled 0|1)"
    );
}

#[test]
fn every_mistake_names_file_line_section_option_and_what_was_expected() {
    for (line, expected) in [
        ("option prot 7000", "option 'prot': unknown option (did you mean 'port'?)"),
        ("option listen_zones wan", "option 'listen_zones': unknown option (did you mean 'listen_zone'?)"),
        ("option echo hello", "option 'echo': unknown option ('peervpn help options' lists them all)"),
        ("option port 70000", "option 'port': '70000' is above 65535 (expected: port 0..65535)"),
        ("option port ' 7000'", "option 'port': ' 7000' is not a number (expected: port 0..65535)"),
        (
            "option enablerelay nope",
            "option 'enablerelay': 'nope' is neither yes nor no (expected: enablerelay yes|no)",
        ),
        (
            "option interface sixteen-bytes-16",
            "option 'interface': has 16 bytes, at most 15 are possible (expected: interface NAME)",
        ),
        (
            "list initpeers '7000 vps'",
            "option 'initpeers': begins with the port '7000'; the host comes first (expected: initpeers HOST [PORT] ...)",
        ),
        ("list mtu 1400\n\tlist mtu 1300", "option 'mtu': has more than one value (write: option mtu '…')"),
        ("option psk short", "option 'psk': has 5 characters, at least 12 are needed (expected: psk TEXT)"),
        (
            "option psk 'a line\nand more'",
            "option 'psk': holds a line break, or is too long (expected: psk TEXT)",
        ),
        ("list allow 0123", "option 'allow': '0123' is not a node id (expected: allow NODE-ID ...)"),
        ("option input maybe", "option 'input': 'maybe' is neither yes nor no (expected: input 0|1)"),
        (
            "list listen_zone 'w*n'",
            "option 'listen_zone': 'w*n' is not the name of a zone (expected: listen_zone ZONE ...)",
        ),
        ("option pskfile /other", "option 'pskfile': the key is given by psk already (keep one of the two)"),
        (
            "option forward_zone lan\n\toption interface 'tap%d'",
            "option 'forward_zone': nobody knows the interface's name before it starts (set an interface without %d)",
        ),
        (
            "option listen_zone wan\n\toption port 0",
            "option 'listen_zone': port is 0, so nobody knows which one to open (set a port)",
        ),
    ] {
        let text = format!("config network 'home'\n\toption psk 'verysecurepassword'\n\t{line}\n");
        let faults = try_load(&networks(&text)[0]).unwrap_err();
        let at = faults[0].split(':').nth(1).unwrap();
        assert!(at == "3" || at == "4", "{faults:?}");
        assert_eq!(faults, [format!("/etc/config/peervpn:{at}: section 'home': {expected}")], "{line}");
    }
    let text = "\n\nconfig network 'home'\n\toption psk ''\n";
    let [fault] = try_load(&networks(text)[0]).unwrap_err().try_into().unwrap();
    assert!(
        fault
            .starts_with("/etc/config/peervpn:3: section 'home': option 'psk': the network's key is missing"),
        "{fault}"
    );
}

#[test]
fn a_broken_file_starts_nothing_and_says_where() {
    for (text, expected) in [
        (
            "config network a\n\toptoin port 1\n",
            ":2: no network is read, for this line is wrong: invalid command (a line begins with config, option or list",
        ),
        (
            "config network a\n\toption psk 'x\n\n",
            ":2: no network is read, for this line is wrong: EOF with unterminated ' (a quote that is opened here",
        ),
        (
            "config network a\n\toption psk two words",
            ":2: no network is read, for this line is wrong: too many arguments (put a value with blanks in quotes; to uci, line 1 byte",
        ),
        (
            "config network my-net\n",
            ":1: no network is read, for this line is wrong: invalid character in name field (names have letters, digits and _ only",
        ),
    ] {
        let [fault] = section::read(text.as_bytes(), FILE).unwrap_err().try_into().unwrap();
        assert!(fault.to_string().starts_with(&format!("{FILE}{expected}")), "{fault}");
    }
    let huge = section::read("#".repeat(FILE_MAX + 1).as_bytes(), FILE).unwrap_err();
    assert!(huge[0].to_string().contains("at most"), "{huge:?}");
}

#[test]
fn a_mistake_concerns_its_section_only() {
    let text = "config network a\n\toption psk verysecurepassword\n\toption port x\n\
                config network b\n\toption psk verysecurepassword\n\toption enabled 1\n";
    let networks = networks(text);
    assert!(try_load(&networks[0]).is_err());
    assert_eq!(try_load(&networks[1]).unwrap().loaded.settings.port, 7000);
    let names: Vec<&str> = networks.iter().map(Network::name).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn sections_that_are_no_network_are_told_and_the_others_stay() {
    let long = "x".repeat(65);
    let text = format!(
        "config network\nconfig netwrok a\nconfig globals g\nconfig network b\nconfig network {long}\n"
    );
    let networks = section::read(text.as_bytes(), FILE).unwrap();
    assert_eq!(networks.all.len(), 1);
    let told: Vec<String> = networks.strays.iter().map(Fault::to_string).collect();
    assert_eq!(told[0], format!("{FILE}:1: the section has no name (write: config network 'NAME')"));
    assert_eq!(told[1], format!("{FILE}:2: section 'a': unknown type 'netwrok' (did you mean 'network'?)"));
    assert_eq!(
        told[2],
        format!("{FILE}:3: section 'g': unknown type 'globals' (networks are 'network' sections)")
    );
    assert!(told[3].ends_with("its name has 65 bytes (at most 64 are possible)"), "{}", told[3]);
}

#[test]
fn secrets_are_in_no_message() {
    // S16
    for options in [
        "option psk hunter2",
        "option psk_next hunter2",
        "list psk hunter2\n\tlist psk hunter2",
        "option psk 'hunter2\n'",
    ] {
        let text = format!("config network home\n\t{options}\n");
        let faults = try_load(&networks(&text)[0]).unwrap_err();
        assert!(!faults.concat().contains("hunter2"), "{faults:?}");
    }
    let broken = section::read(b"config network home\n\toption psk hunter2 hunter2\n", FILE).unwrap_err();
    assert!(!format!("{broken:?}").contains("hunter2"));
    let sound = networks("config network home\n\toption psk hunter2hunter2\n");
    assert!(!format!("{sound:?}").contains("hunter2"));
}

#[test]
fn networks_that_cannot_run_side_by_side_are_told() {
    let text = "config network a\n\toption psk verysecurepassword\n\
                config network b\n\toption psk verysecurepassword\n\
                config network c\n\toption psk verysecurepassword\n\toption interface tap2\n\toption port 7002\n\
                config network d\n\toption psk verysecurepassword\n\toption enabletunneling 0\n\toption port 0\n";
    let networks = networks(text);
    let settings: Vec<_> =
        networks.iter().map(|network| try_load(network).unwrap().loaded.settings).collect();
    let pairs: Vec<_> = networks.iter().zip(&settings).collect();
    let told: Vec<String> = router::collisions(&pairs).iter().map(Fault::to_string).collect();
    let place = format!("{FILE}:3: section 'b'");
    assert_eq!(
        told,
        [
            format!(
                "{place}: option 'interface': peervpn0 is used by the section 'a' already (each network has an interface of its own)"
            ),
            format!(
                "{place}: option 'port': 7000 is used by the section 'a' already (each network has a port of its own)"
            ),
        ]
    );
}

// ---- firewall ----

#[test]
fn the_rules_of_the_firewall() {
    let rules = |options: &str| {
        let instance = instance(options);
        instance.firewall.rules(&instance.loaded.settings)
    };
    assert_eq!(rules(""), [""; 0]);
    assert_eq!(rules("\toption input 0\n"), [""; 0]);
    assert_eq!(
        rules("\tlist listen_zone wan\n\tlist listen_zone 'wan6 wan'\n\toption port 7100\n"),
        ["src=wan proto=udp dest_port=7100 target=ACCEPT", "src=wan6 proto=udp dest_port=7100 target=ACCEPT"]
    );
    assert_eq!(
        rules("\toption forward_zone lan\n\toption input 1\n\toption interface tap0\n"),
        [
            "src=* dest=lan device=tap0 direction=in proto=all target=ACCEPT",
            "src=lan dest=* device=tap0 direction=out proto=all target=ACCEPT",
            "src=* device=tap0 direction=in proto=all target=ACCEPT",
        ]
    );
    let without = "\toption forward_zone lan\n\toption listen_zone wan\n\toption enabletunneling 0\n";
    assert_eq!(rules(without), ["src=wan proto=udp dest_port=7000 target=ACCEPT"]);
    let told: Vec<String> = instance(without).loaded.notices.iter().map(Notice::to_string).collect();
    assert_eq!(
        told,
        [format!(
            "{FILE}:3: section 'home': option 'forward_zone': has no effect without a virtual interface (enabletunneling is no)"
        )]
    );
}

// ---- the shipped example ----

const EXAMPLE: &str = "files/etc/config/peervpn";

fn example() -> String {
    fs::read_to_string(root().join(EXAMPLE)).unwrap()
}

/// The example with everything switched on that is commented out as an option: `#option`, without a blank.
fn example_uncommented() -> String {
    example().replace("\t#option ", "\toption ").replace("\t#list ", "\tlist ")
}

#[test]
fn the_example_starts_nothing_and_lacks_nothing_but_the_key() {
    let networks = networks(&example());
    assert_eq!(networks.len(), 1);
    assert_eq!(networks[0].is_enabled(), Ok(false));
    let [fault] = try_load(&networks[0]).unwrap_err().try_into().unwrap();
    // S9: nobody ends up in a network whose key came with the program.
    assert!(fault.contains("the network's key is missing"), "{fault}");
    let usable = example().replace("option psk ''", "option psk 'verysecurepassword'");
    let instance = try_load(&self::networks(&usable)[0]).unwrap();
    assert_eq!(instance.loaded.notices, []);
    assert_eq!(instance.firewall.rules(&instance.loaded.settings), [""; 0], "no port is opened unasked");
}

#[test]
fn the_example_names_every_option() {
    let example = example();
    let mut words: Vec<&str> = example.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    words.sort_unstable();
    for name in OPTIONS.iter().map(|row| row.name).chain(UCI_OPTIONS.iter().map(|option| option.name)) {
        assert!(words.binary_search(&name).is_ok(), "{name} is not in the example");
    }
}

#[test]
fn the_example_is_sound_in_every_line_and_its_defaults_are_the_defaults() {
    let all = example_uncommented().replace("/etc/peervpn/psk", "/psk");
    let instance = try_load(&networks(&all)[0]).unwrap();
    assert_eq!(instance.loaded.notices, []);
    assert_eq!(instance.loaded.settings.psk.expose(), "a key from a file");
    assert_eq!(instance.loaded.settings.initpeers.len(), 2);
    assert_eq!(instance.firewall.rules(&instance.loaded.settings).len(), 3);
    for setting in &uci::read(all.as_bytes()).unwrap().sections[0].options {
        let extra = UCI_OPTIONS.iter().find(|option| option.name == setting.name);
        let default =
            extra.map(|option| option.default).or(find(&setting.name).map(|row| row.default)).unwrap();
        if let (Value::One(item), false) = (&setting.value, default.is_empty()) {
            assert_eq!(item.bytes.as_slice(), default.as_bytes(), "{}", setting.name);
        }
    }
}

// ---- from one grammar to the other ----

fn loaded(conf: &str) -> Settings {
    let mut read = |_: &std::path::Path| Ok(Zeroizing::new(b"a key from a file\n".to_vec()));
    load(conf.as_bytes(), "export", &mut read).unwrap_or_else(|faults| panic!("{conf}: {faults:?}")).settings
}

#[test]
fn what_is_exported_means_the_same() {
    let mut chance = Chance(0xe9_0b);
    for _ in 0..20_000 {
        let mut text = String::from("config network 'home'\n");
        let mut say = |name: &str, value: &str| {
            text.push_str(&format!("\toption {name} '{}'\n", value.replace('\'', "'\\''")));
        };
        say("psk", &nasty(&mut chance, 12));
        for (name, values) in [
            ("networkname", ["home", "x # y", "\"", "a b"]),
            ("port", ["0", "7000", "65535", "1"]),
            ("enablerelay", ["0", "on", "YES", "disabled"]),
            ("enabletunneling", ["0", "1", "no", "yes"]),
            ("interface", ["peervpn0", "tap;0", "a#b", "\"x\""]),
            ("mtu", ["auto", "1400", "1280", "1500"]),
            ("initpeers", ["a b:1 c 2", "2001:db8::1 7", "x", "[::1]:9"]),
            ("chroot", ["/var/empty", "/a b", "/a;b", "/#"]),
            ("loglevel", ["info", "debug", "WARN", "error"]),
        ] {
            if chance.below(3) > 0 {
                say(name, values[chance.below(values.len())]);
            }
        }
        if chance.below(2) > 0 {
            let command = nasty(&mut chance, 1);
            say("upcmd", &command);
        }
        let instance = try_load(&networks(&text)[0]).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
        let again = loaded(&instance.conf);
        assert_eq!(whole(&instance.loaded.settings), whole(&again), "{text}\n{}", instance.conf.as_str());
    }
}

/// A text of all that is special anywhere, at least so many characters long.
fn nasty(chance: &mut Chance, least: usize) -> String {
    const PIECES: [&str; 16] = [
        "a",
        "word",
        " ",
        "  ",
        "#",
        ";",
        "\"",
        "'",
        "\\",
        "$x",
        "`y`",
        "\t",
        "\r",
        "ü",
        "'\\''",
        "endconfig",
    ];
    let mut text = String::new();
    while text.chars().count() < least || chance.below(8) > 0 {
        text.push_str(PIECES[chance.below(PIECES.len())]);
    }
    text
}

#[test]
fn the_init_script_finds_in_the_export_what_it_looks_for() {
    let conf = instance("\toption enablerelay 1\n").conf;
    assert!(conf.lines().any(|line| line == "interface peervpn0"), "{}", conf.as_str());
    assert!(conf.lines().any(|line| line == "enablerelay yes"), "{}", conf.as_str());
    let conf = instance("\toption enabletunneling '0'\n").conf;
    assert!(conf.lines().any(|line| line == "enabletunneling no"), "{}", conf.as_str());
    assert!(!conf.contains("interface"), "{}", conf.as_str());
}

#[test]
fn a_firewall_option_changes_nothing_in_the_export() {
    // What procd compares: a zone must not restart the tunnel.
    let one = instance("").conf;
    assert_eq!(one, instance("\toption enabled 1\n\tlist forward_zone lan\n\toption input 1\n").conf);
}

/// The comments of a peervpn.conf, in order.
fn comments(conf: &str) -> Vec<String> {
    let texts = conf.lines().filter_map(|line| line.split_once('#').map(|(_, text)| text.trim().to_owned()));
    texts.filter(|text| !text.is_empty()).collect()
}

fn to_conf(text: &str) -> Zeroizing<String> {
    convert::to_conf(&networks(text)[0]).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
}

#[test]
fn a_peervpn_conf_becomes_a_section_and_comes_back() {
    for file in ["tests/reference/vps.conf", "tests/reference/router.conf", "tests/reference/laptop.conf"] {
        let conf = fs::read_to_string(root().join(file)).unwrap();
        assert!(!convert::is_uci(conf.as_bytes()), "{file}");
        let uci = convert::to_uci(conf.as_bytes(), file, "home").unwrap();
        assert!(convert::is_uci(uci.as_bytes()), "{file}");
        let network = &networks(&uci)[0];
        assert_eq!((network.name(), network.is_enabled()), ("home", Ok(false)));
        let instance = try_load(network).unwrap();
        assert_eq!(whole(&instance.loaded.settings), whole(&loaded(&conf)), "{file}");
        let back = to_conf(&uci);
        assert_eq!(whole(&loaded(&back)), whole(&loaded(&conf)), "{file}");
        let mut expected = comments(&conf);
        expected.insert(0, "enabled 0 (on OpenWrt only)".into());
        assert_eq!(comments(&back), expected, "{file}");
    }
}

#[test]
fn the_shipped_examples_can_be_converted() {
    let conf = fs::read_to_string(root().join("files/etc/peervpn/peervpn.conf")).unwrap();
    let uci = convert::to_uci(conf.as_bytes(), "example", "home").unwrap();
    assert_eq!(comments(&uci), comments(&conf));
    assert!(loaded(&format!("{}psk verysecurepassword\n", to_conf(&example()).as_str())).keyfile.is_some());
}

#[test]
fn conversion_keeps_every_kind_of_comment() {
    let conf = "# head\r\n\n  ; semi\nport 7001 # why\npsk \"a # b 'c' ; d\" ; behind\ninitpeers a 1 b\n\
                echo hi there # aside\nupcmd true\nendconfig\nport 1 # not read\n";
    let uci = convert::to_uci(conf.as_bytes(), "x", "home").unwrap();
    assert_eq!(
        uci.as_str(),
        "config network 'home'\n\toption enabled '0'\n\t# head\n\n\t# semi\n\toption port '7001' # why\n\
         \toption psk 'a # b '\\''c'\\'' ; d' # behind\n\tlist initpeers 'a 1 b'\n\t# echo hi there # aside\n\
         \toption upcmd 'true'\n\t# endconfig\n\t# port 1 # not read\n"
    );
    assert_eq!(
        to_conf(&uci).as_str(),
        "# enabled 0 (on OpenWrt only)\n# head\n# semi\nport 7001 # why\npsk \"a # b 'c' ; d\" # behind\n\
         initpeers a 1 b\n# echo hi there # aside\nupcmd true\n# endconfig\n# port 1 # not read\n"
    );
}

#[test]
fn a_comment_behind_a_quote_gets_a_line_of_its_own() {
    // Behind an odd quote it would have been taken for a part of the key: found by fuzzing.
    let uci = "config network 'a'\n\toption psk 'a key\"o.2.3/24' # why\n";
    assert_eq!(to_conf(uci).as_str(), "# why\npsk a key\"o.2.3/24\n");
}

#[test]
fn each_section_takes_its_own_comments_along() {
    let text = "# head\nconfig network 'a'\n\toption psk 'verysecurepassword' # x\n\n# of b\n\
                config network 'b' # b\n\toption psk 'verysecurepassword'\n\tlist listen_zone wan\n# end\n";
    let networks = networks(text);
    let texts: Vec<_> = networks.iter().map(|network| convert::to_conf(network).unwrap()).collect();
    assert_eq!(texts[0].as_str(), "# head\npsk verysecurepassword # x\n");
    assert_eq!(
        texts[1].as_str(),
        "# of b\n# b\npsk verysecurepassword\n# listen_zone wan (on OpenWrt only)\n# end\n"
    );
}

#[test]
fn what_is_wrong_is_not_converted() {
    let faults = convert::to_uci(b"psk verysecurepassword\nprot 7000\n", "home.conf", "home").unwrap_err();
    assert_eq!(faults[0].to_string(), "home.conf:2: option 'prot': unknown option (did you mean 'port'?)");
    let faults = convert::to_conf(&networks("config network a\n\toption prot 7000\n")[0]).unwrap_err();
    assert!(faults[0].to_string().contains("did you mean 'port'?"));
    let long = format!("config network a\n\toption port 1 # {}\n", "ü".repeat(5000));
    assert_eq!(loaded(&format!("psk verysecurepassword\n{}", to_conf(&long).as_str())).port, 1);
}

// ---- hostile text ----

#[test]
fn no_mutation_of_the_example_does_harm() {
    let bases = [
        example_uncommented(),
        example(),
        vectors().iter().map(|v| v["input"].as_str().unwrap().to_owned()).collect(),
    ];
    let mut chance = Chance(0x5eed);
    for round in 0..200_000_usize {
        // A window keeps a round cheap; over all rounds every line is met in every way.
        let base = bases[round % bases.len()].as_bytes();
        let start = chance.below(base.len());
        let mut text = b"config network 'home'\n\toption psk 'verysecurepassword'\n".to_vec();
        text.extend(&base[start..base.len().min(start + 200)]);
        for _ in 0..=chance.below(4) {
            mutate(&mut text, &mut chance);
        }
        let lines = text.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let sound = |faults: &[Fault]| {
            assert!(!faults.is_empty());
            for fault in faults {
                assert!(fault.line.is_some_and(|line| (1..=lines).contains(&line)), "{fault}");
                assert!(!fault.to_string().contains(['\n', '\0']), "{fault}");
            }
        };
        let networks = match section::read(&text, FILE) {
            Ok(networks) => networks,
            Err(faults) => {
                sound(&faults);
                continue;
            }
        };
        for network in &networks.all {
            let _ = network.is_enabled();
            let _ = convert::to_conf(network);
            match network.load(&mut |_| Err(io::ErrorKind::NotFound.into())) {
                Ok(instance) => {
                    assert_eq!(whole(&loaded(&instance.conf)), whole(&instance.loaded.settings));
                    let rules = instance.firewall.rules(&instance.loaded.settings).join("\n");
                    assert!(
                        !rules.contains(['\'', '"', '$', '`', '\\', ';'])
                            || instance
                                .loaded
                                .settings
                                .interface
                                .as_str()
                                .contains(['\'', '"', '$', '`', '\\', ';'])
                    );
                }
                Err(faults) => sound(&faults),
            }
        }
        let _ = convert::to_uci(&text, FILE, "x");
        let _ = router::bridge_of(&text, "peervpn0");
    }
}

fn mutate(text: &mut Vec<u8>, chance: &mut Chance) {
    const TELLING: &[u8] = b"\0\n\r\t #;\"'\\:[]/%=0-\x0b\xff\xc3";
    let at = chance.below(text.len() + 1);
    match chance.below(5) {
        0 => text.insert(at, TELLING[chance.below(TELLING.len())]),
        1 if at < text.len() => drop(text.remove(at)),
        2 if at < text.len() => text[at] = TELLING[chance.below(TELLING.len())],
        3 if at < text.len() => text[at] ^= 1 << chance.below(8),
        _ => {
            let piece = text[at..text.len().min(at + 8)].to_vec();
            let to = chance.below(text.len() + 1);
            text.splice(to..to, piece);
        }
    }
}

/// A xorshift generator: the same numbers every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }
}
