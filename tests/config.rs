//! Configurations as people write them: the reference set-up, the shipped example, and every way to get it
//! wrong.
#![allow(clippy::disallowed_methods, reason = "tests read files of the repository")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use peervpn::base::settings::{CallFilter, LogLevel, Privileges, Settings};
use peervpn::config::options::{OPTIONS, find};
use peervpn::config::{FILE_MAX, Fault, Loaded, Notice, load};
use zeroize::Zeroizing;

const PSK: &str = "psk verysecurepassword\n";

fn repository(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Loads a text; the only pskfile that can be read is `/psk`.
fn try_load(text: &[u8]) -> Result<Loaded, Vec<Fault>> {
    load(text, "test.conf", &mut |path| match path.to_str() {
        Some("/psk") => Ok(Zeroizing::new(b"a key from a file\n".to_vec())),
        Some("/psk.next") => Ok(Zeroizing::new(b"another from a file\n".to_vec())),
        _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, "others can read it")),
    })
}

fn loaded(text: &str) -> Loaded {
    try_load(text.as_bytes()).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
}

fn settings(text: &str) -> Settings {
    loaded(text).settings
}

fn faults(text: &str) -> Vec<String> {
    try_load(text.as_bytes()).unwrap_err().iter().map(Fault::to_string).collect()
}

fn nobody() -> Privileges {
    Privileges { user: "nobody".into(), group: "nogroup".into(), chroot: None }
}

// ---- the reference set-up ----

#[test]
fn the_servers_file_is_accepted_as_it_stands() {
    let loaded = loaded(&repository("tests/reference/vps.conf"));
    assert_eq!(loaded.notices, []);
    assert!(loaded.holds_psk);
    let settings = loaded.settings;
    assert_eq!(settings.network.as_str(), "LAURI_VPN");
    assert_eq!(settings.psk.expose(), "verysecurepassword");
    assert!(settings.tunneling && settings.relay && settings.use_relay);
    assert_eq!(settings.interface.as_str(), "peervpn0");
    assert_eq!(settings.local, Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10))));
    assert_eq!((settings.enable_ipv4, settings.enable_ipv6), (true, false), "local closes the other family");
    assert_eq!(settings.port, 7000);
    assert!(settings.initpeers.is_empty());
    assert_eq!(settings.privileges, Some(Privileges { chroot: Some("/var/empty".into()), ..nobody() }));
}

#[test]
fn the_home_routers_file_is_accepted_as_it_stands() {
    let loaded = loaded(&repository("tests/reference/router.conf"));
    assert_eq!(loaded.notices, []);
    let settings = loaded.settings;
    assert_eq!(settings.network.as_str(), "LAURI_VPN");
    let peers: Vec<String> = settings.initpeers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["203.0.113.10:7000"]);
    assert!(settings.neighbour_cache && !settings.relay);
    assert_eq!((settings.port, settings.local), (7000, None));
    assert!(settings.enable_ipv4 && settings.enable_ipv6);
    assert_eq!(settings.upcmd, None);
}

#[test]
fn the_laptops_file_is_accepted_as_it_stands() {
    let loaded = loaded(&repository("tests/reference/laptop.conf"));
    assert_eq!(loaded.notices, []);
    let settings = loaded.settings;
    assert_eq!(settings.upcmd.as_deref(), Some("route add -net 192.168.1.0/24 gw 10.99.0.2"));
    assert_eq!(settings.initpeers[0].to_string(), "203.0.113.10:7000");
    assert_eq!(settings.psk.expose(), "verysecurepassword");
    assert!(!settings.relay && !settings.neighbour_cache);
}

#[test]
fn what_is_left_out_has_its_default() {
    let settings = settings(PSK);
    assert_eq!(settings.network.as_str(), "PEERVPN");
    assert_eq!((settings.port, settings.sockmark, settings.mtu), (7000, 0, None));
    assert!(settings.enable_ipv4 && settings.enable_ipv6 && settings.tunneling && settings.use_relay);
    assert!(!settings.relay && !settings.neighbour_cache);
    assert_eq!(settings.interface.as_str(), "peervpn0");
    assert_eq!(settings.privileges, Some(nobody()));
    assert_eq!(settings.loglevel, LogLevel::Info);
    assert!(settings.keyfile.is_none() && settings.mac.is_none() && settings.device.is_none());
}

// ---- the shipped example ----

const EXAMPLE: &str = "files/etc/peervpn/peervpn.conf";

/// The example with everything switched on that is commented out as an option: `#name`, without a blank.
fn example_uncommented() -> String {
    let example = repository(EXAMPLE);
    let lines = example.lines().map(|line| match line.strip_prefix('#') {
        Some(option) if option.starts_with(|first: char| first.is_ascii_lowercase()) => option,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_lacks_nothing_but_the_key() {
    let example = repository(EXAMPLE);
    let [fault] = faults(&example).try_into().unwrap();
    // S9: nobody ends up in a network whose key came with the program.
    assert!(fault.starts_with("test.conf: option 'psk': the network's key is missing"), "{fault}");
    assert_eq!(loaded(&(example + PSK)).notices, []);
}

#[test]
fn the_example_names_every_option_of_the_table() {
    let example = repository(EXAMPLE);
    let mut words = example.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect::<Vec<_>>();
    words.sort_unstable();
    for row in OPTIONS {
        assert!(words.binary_search(&row.name).is_ok(), "{} is not in the example", row.name);
    }
}

#[test]
fn the_example_is_sound_in_every_line() {
    let all = example_uncommented().replace("/etc/peervpn/psk", "/psk");
    // The key is for the user to fill in, and one of the two ways to give it is enough.
    let [fault] = faults(&all).try_into().unwrap();
    assert!(fault.contains("option 'psk': needs a value"), "{fault}");
    let usable = all.replace("\npsk\n", "\n");
    let loaded = loaded(&usable);
    assert_eq!(loaded.notices, []);
    assert!(!loaded.holds_psk);
    assert_eq!(loaded.settings.psk.expose(), "a key from a file");
    assert_eq!(
        loaded.settings.psk_next.map(|psk| psk.expose().to_owned()).as_deref(),
        Some("another from a file")
    );
    assert_eq!(loaded.settings.initpeers.len(), 3);
    assert_eq!(loaded.settings.downcmd.as_deref(), Some("logger 'peervpn ended; bye'"));
}

#[test]
fn what_the_example_shows_as_default_is_the_default() {
    for line in example_uncommented().lines() {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(row) = find(name).filter(|row| !row.default.is_empty()) {
            assert_eq!(value, row.default, "{name}");
        }
    }
}

// ---- mistakes ----

#[test]
fn every_mistake_names_file_line_option_and_what_was_expected() {
    for (line, expected) in [
        ("prot 7000", "option 'prot': unknown option (did you mean 'port'?)"),
        ("port=7000", "option 'port=7000': unknown option (write 'port', a blank and the value)"),
        ("frobnicate yes", "option 'frobnicate': unknown option ('peervpn help options' lists them all)"),
        ("port", "option 'port': needs a value (expected: port 0..65535)"),
        ("port \"\"", "option 'port': needs a value (expected: port 0..65535)"),
        ("port 70000", "option 'port': '70000' is above 65535 (expected: port 0..65535)"),
        ("port seven", "option 'port': 'seven' is not a number (expected: port 0..65535)"),
        (
            "enablerelay nope",
            "option 'enablerelay': 'nope' is neither yes nor no (expected: enablerelay yes|no)",
        ),
        (
            "interface sixteen-bytes-16",
            "option 'interface': has 16 bytes, at most 15 are possible (expected: interface NAME)",
        ),
        ("local localhost", "option 'local': 'localhost' is not an address (expected: local ADDRESS)"),
        ("mtu 9000", "option 'mtu': 9000 is out of range (expected: mtu auto|576..1936)"),
        (
            "ifconfig4 10.0.0.1",
            "option 'ifconfig4': '10.0.0.1' lacks a '/' and the prefix length (expected: ifconfig4 ADDRESS/LENGTH)",
        ),
        (
            "initpeers 7000 vps.example.org",
            "option 'initpeers': begins with the port '7000'; the host comes first (expected: initpeers HOST [PORT] ...)",
        ),
        ("psk short", "option 'psk': has 5 characters, at least 12 are needed (expected: psk TEXT)"),
        ("psk default", "option 'psk': 'default' is everybody's key; choose your own (expected: psk TEXT)"),
        ("allow 0123", "option 'allow': '0123' is not a node id (expected: allow NODE-ID ...)"),
        (
            "deny 66687aadf862bd7",
            "option 'deny': '66687aadf862bd7' is not a node id (expected: deny NODE-ID ...)",
        ),
        (
            "psk_next short",
            "option 'psk_next': has 5 characters, at least 12 are needed (expected: psk_next TEXT)",
        ),
        (
            "cipher aes128",
            "option 'cipher': 'aes128' is no cipher of this program (expected: cipher aes256-sha256|chacha20-poly1305|aes256-gcm)",
        ),
        ("upcmd \"true", "the closing quote is missing (write \\\" for a quote that is meant)"),
    ] {
        let found = faults(&format!("{PSK}\n{line}\n"));
        assert_eq!(found, [format!("test.conf:3: {expected}")], "{line}");
    }
}

#[test]
fn mistakes_between_options_name_the_line_of_one() {
    for (text, expected) in [
        ("", "test.conf: option 'psk': the network's key is missing"),
        (
            "psk verysecurepassword\npskfile /psk",
            "test.conf:2: option 'pskfile': the key is given by psk already",
        ),
        ("pskfile /other", "test.conf:1: option 'pskfile': /other: others can read it"),
        (
            "enableipv4 no\npsk verysecurepassword\nenableipv6 no",
            "test.conf:3: option 'enableipv6': IPv4 and IPv6 are both switched off",
        ),
        (
            "psk verysecurepassword\nlocal ::1\nenableipv6 no",
            "test.conf:2: option 'local': ::1 is of the family that is switched off",
        ),
        (
            "psk verysecurepassword\nmtu 1279\nifconfig6 fd00::1/64",
            "test.conf:2: option 'mtu': IPv6 needs 1280 bytes",
        ),
    ] {
        let [fault] = faults(text).try_into().unwrap();
        assert!(fault.starts_with(expected) && fault.ends_with(')'), "{fault}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_in_order() {
    let found = faults("enableipv4 no\nenableipv6 no\nport x\n\nprot 1\npsk short\n");
    let places: Vec<&str> = found.iter().map(|fault| fault.split('\'').nth(1).unwrap()).collect();
    assert_eq!(places, ["enableipv6", "port", "prot", "psk"], "{found:?}");
}

#[test]
fn a_second_key_is_another_key_and_from_one_place() {
    let both = settings(&format!("{PSK}psk_next another-secure-password\n"));
    assert_eq!(both.psk_next.unwrap().expose(), "another-secure-password");
    assert!(loaded("pskfile /psk\npsk_next another-secure-password\n").holds_psk, "S16");
    for (lines, why) in [
        ("psk_next verysecurepassword", "option 'psk_next': both keys are the same"),
        (
            "psk_next another-secure-password\npskfile_next /psk",
            "option 'pskfile_next': the key is given by psk_next already",
        ),
        ("pskfile_next /other", "option 'pskfile_next': /other: others can read it"),
        ("psk_next default", "option 'psk_next': 'default' is everybody's key"),
    ] {
        let [fault] = faults(&format!("{PSK}{lines}\n")).try_into().unwrap();
        assert!(fault.contains(why), "{fault}");
    }
}

#[test]
fn who_may_be_a_peer_is_a_list_that_every_line_adds_to() {
    let (a, b) = ("66687aadf862bd77", "4355a46b19d348dc");
    let loaded = settings(&format!("{PSK}allow {a}\nallow {b} {a}\n"));
    assert_eq!((loaded.allow.len(), loaded.deny.len()), (2, 0));
    let [fault] = faults(&format!("{PSK}allow {a}\ndeny {b} {a}\n")).try_into().unwrap();
    assert!(fault.contains("option 'deny': a node is in both lists"), "{fault}");
}

#[test]
fn secrets_are_in_no_message() {
    // S16
    for line in
        ["psk hunter2", "psk_next hunter2", "psk \"hunter2", "psk\nhunter-two hunter2", "psk hunter2\0"]
    {
        let found = try_load(line.as_bytes()).unwrap_err();
        assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
    }
    let loaded = loaded("psk hunter2hunter2\n");
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

// ---- what older files may hold ----

#[test]
fn a_repeated_option_counts_as_written_last_but_initial_peers_add_up() {
    let settings = settings("psk verysecurepassword\nport 1\nport 2\ninitpeers a 1 b\ninitpeers c:3\n");
    assert_eq!(settings.port, 2);
    let peers: Vec<String> = settings.initpeers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["a:1", "b:7000", "c:3"]);
}

#[test]
fn a_key_may_hold_anything_in_quotes_and_ends_at_a_comment_without() {
    assert_eq!(settings("psk \"very # secure ; password\"").psk.expose(), "very # secure ; password");
    assert_eq!(settings("psk very secure password#word").psk.expose(), "very secure password");
}

#[test]
fn what_is_gone_or_idle_is_told_with_its_line() {
    let text = "psk verysecurepassword\necho hello\nengine padlock\nenableconsole yes\nenablevirtserv no\n\
                enableprivdrop no\nchroot /var/empty\nenableseccomp no\nforceseccomp yes\n\
                local 192.0.2.1\nenablenat64clat yes\n";
    let told: Vec<String> = loaded(text).notices.iter().map(Notice::to_string).collect();
    assert_eq!(
        told,
        [
            "hello",
            "test.conf:3: option 'engine': hardware acceleration is detected by itself",
            "test.conf:4: option 'enableconsole': 'peervpn status' has replaced the console",
            "test.conf:11: option 'enablenat64clat': has no effect without IPv6 (see enableipv6 and local)",
            "test.conf:7: option 'chroot': has no effect while rights are kept (enableprivdrop is no)",
            "test.conf:9: option 'forceseccomp': has no effect without the filter (enableseccomp is no)",
        ]
    );
}

#[test]
fn rights_are_kept_only_when_asked_for() {
    assert_eq!(settings("psk verysecurepassword\nenableprivdrop no\n").privileges, None);
}

#[test]
fn system_calls_are_filtered_unless_told_otherwise() {
    let filter = |lines: &str| settings(&format!("psk verysecurepassword\n{lines}")).call_filter;
    assert_eq!(filter(""), CallFilter::WherePossible);
    assert_eq!(filter("forceseccomp yes\n"), CallFilter::Always);
    assert_eq!(filter("enableseccomp no\n"), CallFilter::Off);
}

#[test]
fn options_of_the_original_are_all_known() {
    let text = "networkname x\npsk verysecurepassword\ninitpeers a 7000\nlocal 192.0.2.1\nport 7000\n\
                enableipv4 yes\nenableipv6 yes\nenablenat64clat no\nsockmark 0\nenabletunneling yes\n\
                interface peervpn0\nifconfig4 10.0.0.1/24\nifconfig6 fd00::1/64\nupcmd true\n\
                enablendpcache yes\nenablerelay yes\nenableprivdrop yes\nuser nobody\ngroup nogroup\n\
                chroot /var/empty\nenableseccomp no\nforceseccomp no\nenableconsole no\nengine padlock\n\
                enablevirtserv no\nendconfig\nthis is not read\n";
    assert_eq!(loaded(text).notices.len(), 1, "engine");
}

// ---- hostile text ----

#[test]
fn what_is_told_is_bounded() {
    let many = faults(&"prot 7000\n".repeat(100_000));
    assert_eq!(many.len(), 51);
    assert!(many[50].contains("more mistakes"), "{}", many[50]);
    let talk = format!("{PSK}{}", "echo hello\n".repeat(90_000));
    assert_eq!(loaded(&talk).notices.len(), 50);
    let long = faults(&format!("{PSK}x{}\n", " ".repeat(FILE_MAX / 2)));
    assert!(long[0].starts_with("test.conf:2: the line has"), "{long:?}");
    let huge = faults(&"#".repeat(FILE_MAX + 1));
    assert!(huge[0].starts_with("test.conf: the file has"), "{huge:?}");
    let comments = format!("{}{PSK}", "#\n".repeat(100_000));
    assert_eq!(settings(&comments).port, 7000);
}

#[test]
fn no_mutation_of_the_example_does_harm() {
    let bases = [example_uncommented().replace("\npsk\n", "\npsk verysecurepassword\n"), repository(EXAMPLE)];
    let mut chance = Chance(0x5eed);
    for round in 0..200_000_usize {
        // A window keeps a round cheap; over all rounds every line is met in every way.
        let base = bases[round % bases.len()].as_bytes();
        let start = chance.below(base.len());
        let mut text = base[start..base.len().min(start + 200)].to_vec();
        for _ in 0..=chance.below(4) {
            mutate(&mut text, &mut chance);
        }
        if let Err(faults) = try_load(&text) {
            assert!(!faults.is_empty());
            let lines = text.iter().filter(|&&byte| byte == b'\n').count() + 1;
            for fault in faults {
                assert!(fault.line.is_none_or(|line| (1..=lines).contains(&line)), "{fault}");
                assert!(!fault.to_string().contains(['\n', '\0']), "{fault}");
            }
        }
    }
}

fn mutate(text: &mut Vec<u8>, chance: &mut Chance) {
    const TELLING: &[u8] = b"\0\n\r\t #;\"\\:[]/%=0-\xff\xc3";
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

// S20: what lies behind the tunnel is no way to a peer.
#[test]
fn the_subnets_of_our_own_interface_are_inside() {
    let settings =
        settings("networkname x\npsk verysecurepassword\nifconfig4 10.99.0.1/20\nifconfig6 fd00:9::1/64\n");
    for (address, inside) in [
        ("10.99.0.1", true),
        ("10.99.15.255", true),
        ("::ffff:10.99.0.2", true),
        ("10.99.16.0", false),
        ("192.0.2.1", false),
        ("fd00:9::77", true),
        ("fd00:9:0:1::77", false),
    ] {
        assert_eq!(settings.is_inside(address.parse().unwrap()), inside, "{address}");
    }
}
