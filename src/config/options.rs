//! THE table: one row an option. Both grammars, the help text and the tests of the shipped example go by it;
//! no option is named in a grammar.
//!
//! A row's setter parses into a typed field of the [`Draft`].

use crate::base::ids::NodeRef;
use crate::base::limits::{HOSTS, LISTED, PINS};
use crate::config::draft::Draft;
use crate::config::value::{self, Parsed};

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name, in both grammars.
    pub name: &'static str,
    /// The shape of its value.
    pub hint: &'static str,
    /// The text that means the same as leaving it out; empty when there is none.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    takes: Takes,
}

/// What an option does with its value.
#[derive(Clone, Copy, Debug)]
enum Takes {
    /// Sets a field; for lists, adds to it.
    Value(fn(&mut Draft, &str) -> Parsed<()>),
    /// Nothing any more; says this, unless the value is a plain no.
    Gone(&'static str),
}

/// All options, in the order in which they are explained.
pub const OPTIONS: &[Row] = &[
    row("networkname", "TEXT", "PEERVPN", |d, v| some(&mut d.network, value::network(v)))
        .help("nodes of the same name and key find each other"),
    row("psk", "TEXT", "", |d, v| some(&mut d.psk, value::psk(v)))
        .help("the network's key, 12 characters or more; see 'peervpn genpsk'"),
    row("pskfile", "PATH", "", |d, v| some(&mut d.pskfile, value::path(v)))
        .help("a file that holds the key, readable by root only"),
    row("psk_next", "TEXT", "", |d, v| some(&mut d.psk_next, value::psk(v)))
        .help("a second key that is accepted while the first is being changed"),
    row("pskfile_next", "PATH", "", |d, v| some(&mut d.pskfile_next, value::path(v)))
        .help("a file that holds the second key"),
    row("initpeers", "HOST [PORT] ...", "", add_hosts)
        .help("where to start; port 7000 if none is named; every line adds"),
    row("local", "ADDRESS", "", |d, v| some(&mut d.local, value::local(v)))
        .help("bind to this address only; closes the other family"),
    row("port", "0..65535", "7000", |d, v| set(&mut d.port, value::port(v)))
        .help("UDP port for IPv4 and IPv6; 0: any"),
    row("enableipv4", "yes|no", "yes", |d, v| set(&mut d.enable_ipv4, value::boolean(v))).help("use IPv4"),
    row("enableipv6", "yes|no", "yes", |d, v| set(&mut d.enable_ipv6, value::boolean(v))).help("use IPv6"),
    row("enablenat64clat", "yes|no", "no", |d, v| set(&mut d.nat64, value::boolean(v)))
        .help("reach IPv4 peers through the network's NAT64 where there is IPv6 only"),
    row("sockmark", "NUMBER", "0", |d, v| set(&mut d.sockmark, value::mark(v)))
        .help("firewall mark of what is sent; 0: none"),
    row("device", "NAME", "", |d, v| some(&mut d.device, value::device(v)))
        .help("send and receive through this interface only"),
    row("offload", "yes|no", "yes", |d, v| set(&mut d.offload, value::boolean(v)))
        .help("many packets in one system call, as far as the kernel can"),
    row("enabletunneling", "yes|no", "yes", |d, v| set(&mut d.tunneling, value::boolean(v)))
        .help("no: no virtual interface, only introduce and relay"),
    row("interface", "NAME", "peervpn0", |d, v| some(&mut d.interface, value::interface(v)))
        .help("name of the virtual interface, at most 15 bytes"),
    row("mtu", "auto|576..1936", "auto", |d, v| set(&mut d.mtu, value::mtu(v)))
        .help("MTU of the virtual interface"),
    row("mac", "XX:XX:XX:XX:XX:XX", "", |d, v| some(&mut d.mac, value::mac(v)))
        .help("MAC address of the interface; else made from the node id"),
    row("ifconfig4", "ADDRESS/LENGTH", "", |d, v| some(&mut d.ifconfig4, value::ifconfig4(v)))
        .help("IPv4 address of the virtual interface"),
    row("ifconfig6", "ADDRESS/LENGTH", "", |d, v| some(&mut d.ifconfig6, value::ifconfig6(v)))
        .help("IPv6 address of the virtual interface"),
    row("upcmd", "COMMAND", "", |d, v| some(&mut d.upcmd, Ok(v.to_owned())))
        .help("run by /bin/sh when the interface is up"),
    row("downcmd", "COMMAND", "", |d, v| some(&mut d.downcmd, Ok(v.to_owned())))
        .help("run by /bin/sh when the daemon ends"),
    row("enablendpcache", "yes|no", "no", |d, v| set(&mut d.neighbour_cache, value::boolean(v)))
        .help("answer ARP and NDP from what was learned"),
    row("enablerelay", "yes|no", "no", |d, v| set(&mut d.relay, value::boolean(v)))
        .help("carry traffic of nodes that cannot reach each other"),
    row("userelay", "yes|no", "yes", |d, v| set(&mut d.use_relay, value::boolean(v)))
        .help("use nodes that relay"),
    row("enablelandiscovery", "yes|no|all", "yes", |d, v| set(&mut d.lan_discovery, value::lan_discovery(v)))
        .help("find peers on local networks; all: also on a public one"),
    row("enableportmap", "yes|no", "yes", |d, v| set(&mut d.port_mapping, value::boolean(v)))
        .help("ask the NAT in front for a port (PCP, NAT-PMP)"),
    row("keyfile", "PATH", "", |d, v| some(&mut d.keyfile, value::path(v)))
        .help("the node's identity; made if missing; else new at each boot"),
    row("statefile", "PATH", "", |d, v| some(&mut d.statefile, value::path(v)))
        .help("remember where nodes were reached, for when no initial peer is"),
    row("allow", "NODE-ID ...", "", |d, v| add_nodes(&mut d.allow, v))
        .help("only these nodes may be peers; every line adds"),
    row("deny", "NODE-ID ...", "", |d, v| add_nodes(&mut d.deny, v))
        .help("these nodes may not be peers; every line adds"),
    row("filterdhcp", "yes|no", "no", |d, v| set(&mut d.filter_dhcp, value::boolean(v)))
        .help("let no DHCP and no router advertisements cross"),
    row("pin", "NODE-ID MAC ...", "", add_pins)
        .help("MAC addresses that only this node may use; every line adds"),
    row("enableprivdrop", "yes|no", "yes", |d, v| set(&mut d.privdrop, value::boolean(v)))
        .help("give up root's rights after the start"),
    row("user", "NAME", "nobody", |d, v| set(&mut d.user, value::account(v))).help("become this user"),
    row("group", "NAME", "nogroup", |d, v| set(&mut d.group, value::account(v))).help("become this group"),
    row("chroot", "DIRECTORY", "", |d, v| some(&mut d.chroot, value::directory(v)))
        .help("the only directory to be seen after the start"),
    row("enableseccomp", "yes|no", "yes", |d, v| set(&mut d.seccomp, value::boolean(v)))
        .help("end the program when it makes a system call that it does not need"),
    row("forceseccomp", "yes|no", "no", |d, v| set(&mut d.force_seccomp, value::boolean(v)))
        .help("refuse to run on kernels that cannot do that"),
    row("cipher", CIPHERS, "aes256-sha256", |d, v| set(&mut d.ciphers, value::ciphers(v)))
        .help("data ciphers, the preferred one first, with blanks between them"),
    row("statusgroup", "NAME", "", |d, v| set(&mut d.status_group, value::account(v)))
        .help("group that may ask for the status"),
    row("loglevel", "error|warn|info|debug", "info", |d, v| set(&mut d.loglevel, value::loglevel(v)))
        .help("what is worth a log line"),
    gone("enableconsole", "'peervpn status' has replaced the console"),
    gone("engine", "hardware acceleration is detected by itself"),
    gone("enablevirtserv", "the virtual test service is not provided"),
];

/// An option that only a section of a UCI file has: it concerns the router, not the node.
#[derive(Clone, Copy, Debug)]
pub struct UciOption {
    /// Its name.
    pub name: &'static str,
    /// The shape of its value.
    pub hint: &'static str,
    /// The text that means the same as leaving it out; empty when there is none.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

/// The options that a section of `/etc/config/peervpn` has beside [`OPTIONS`].
pub const UCI_OPTIONS: &[UciOption] = &[
    UciOption { name: "enabled", hint: "0|1", default: "0", help: "start it with the system" },
    UciOption {
        name: "listen_zone",
        hint: "ZONE ...",
        default: "",
        help: "open the UDP port to these zones of the firewall",
    },
    UciOption {
        name: "forward_zone",
        hint: "ZONE ...",
        default: "",
        help: "let these zones and the VPN talk to each other",
    },
    UciOption {
        name: "input",
        hint: "0|1",
        default: "0",
        help: "1: the VPN may reach the router itself; 0: the firewall decides",
    },
];

/// The option of that name.
pub fn find(name: &str) -> Option<&'static Row> {
    OPTIONS.iter().find(|row| row.name == name)
}

impl Row {
    /// Takes `value` into `draft`. Returns what there is to say about it, or what is wrong with it.
    pub(crate) fn apply(&self, draft: &mut Draft, value: &str) -> Parsed<Option<&'static str>> {
        if value.contains('\0') {
            return Err("holds a NUL byte".into());
        }
        match self.takes {
            Takes::Value(setter) => setter(draft, value).map(|()| None),
            Takes::Gone(text) => Ok((value::boolean(value) != Ok(false)).then_some(text)),
        }
    }

    /// What to write instead of a value that was refused.
    pub(crate) fn expected(&self) -> String {
        format!("expected: {} {}", self.name, self.hint)
    }

    /// Whether it may be given several times, each adding to what was there.
    pub fn is_list(&self) -> bool {
        self.hint.ends_with("...")
    }

    /// Whether its value is yes or no.
    pub fn is_boolean(&self) -> bool {
        self.hint == "yes|no"
    }

    const fn help(mut self, help: &'static str) -> Row {
        self.help = help;
        self
    }
}

const CIPHERS: &str = "aes256-sha256|chacha20-poly1305|aes256-gcm";

const fn row(
    name: &'static str,
    hint: &'static str,
    default: &'static str,
    setter: fn(&mut Draft, &str) -> Parsed<()>,
) -> Row {
    Row { name, hint, default, help: "", takes: Takes::Value(setter) }
}

const fn gone(name: &'static str, text: &'static str) -> Row {
    Row { name, hint: "ANYTHING", default: "", help: text, takes: Takes::Gone(text) }
}

fn set<T>(field: &mut T, value: Parsed<T>) -> Parsed<()> {
    value.map(|value| *field = value)
}

fn some<T>(field: &mut Option<T>, value: Parsed<T>) -> Parsed<()> {
    value.map(|value| *field = Some(value))
}

fn add_hosts(draft: &mut Draft, text: &str) -> Parsed<()> {
    for host in value::hosts(text)? {
        if draft.initpeers.contains(&host) {
            continue;
        }
        if draft.initpeers.len() == HOSTS {
            return Err(format!("there are more than {HOSTS} initial peers"));
        }
        draft.initpeers.push(host);
    }
    Ok(())
}

fn add_nodes(list: &mut Vec<NodeRef>, text: &str) -> Parsed<()> {
    for word in text.split_ascii_whitespace() {
        let node = value::node(word)?;
        if list.contains(&node) {
            continue;
        }
        if list.len() == LISTED {
            return Err(format!("more than {LISTED} nodes are named"));
        }
        list.push(node);
    }
    Ok(())
}

fn add_pins(draft: &mut Draft, text: &str) -> Parsed<()> {
    let (node, macs) = value::pins(text)?;
    for mac in macs {
        match draft.pins.iter().find(|(_, pinned)| *pinned == mac) {
            Some((owner, _)) if *owner == node => continue,
            Some(_) => return Err(format!("{mac} is pinned to another node already")),
            None if draft.pins.len() == PINS => return Err(format!("more than {PINS} addresses are pinned")),
            None => draft.pins.push((node, mac)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{MTU_MAX, MTU_MIN};
    use crate::base::settings::{DEFAULT_PORT, InterfaceName};
    use crate::config::value::PSK_MIN;

    #[test]
    fn the_numbers_in_the_table_are_those_of_the_code() {
        for (name, number) in [
            ("mtu", MTU_MIN),
            ("mtu", MTU_MAX),
            ("port", DEFAULT_PORT.into()),
            ("initpeers", DEFAULT_PORT.into()),
            ("psk", PSK_MIN),
            ("interface", InterfaceName::MAX),
        ] {
            let row = find(name).unwrap();
            let text = [row.hint, row.default, row.help].join(" ");
            let mut numbers = text.split(|c: char| !c.is_ascii_digit());
            assert!(numbers.any(|found| found == number.to_string()), "{name} {number}");
        }
    }

    #[test]
    fn every_row_is_complete_and_its_default_is_a_value() {
        for row in OPTIONS {
            assert!(!row.help.is_empty() && !row.hint.is_empty(), "{}", row.name);
            assert!(row.help.len() < 80 && !row.help.contains('\n'), "{}", row.name);
            assert!(row.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            if !row.default.is_empty() {
                assert_eq!(row.apply(&mut Draft::default(), row.default), Ok(None), "{}", row.name);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        for (i, row) in OPTIONS.iter().enumerate() {
            assert_eq!(OPTIONS.iter().position(|other| other.name == row.name), Some(i), "{}", row.name);
            assert_eq!(find(row.name).unwrap().name, row.name);
        }
        assert!(find("PORT").is_none());
    }

    #[test]
    fn writing_a_default_down_changes_nothing() {
        for row in OPTIONS.iter().filter(|row| !row.default.is_empty()) {
            let mut draft = Draft::new();
            row.apply(&mut draft, row.default).unwrap();
            assert_eq!(draft, Draft::new(), "{}", row.name);
        }
    }

    #[test]
    fn what_the_original_had_and_is_gone_is_told_not_refused() {
        for (name, value) in [("enableconsole", "yes"), ("engine", "padlock"), ("enablevirtserv", "yes")] {
            let row = find(name).unwrap();
            assert_eq!(row.apply(&mut Draft::new(), value), Ok(Some(row.help)), "{name}");
            assert_eq!(row.apply(&mut Draft::new(), "no"), Ok(None), "{name}");
        }
    }

    #[test]
    fn every_setter_reaches_a_field_of_its_own() {
        let values = [
            ("networkname", "home"),
            ("psk", "verysecurepassword"),
            ("pskfile", "/etc/peervpn/psk"),
            ("psk_next", "evenmoresecurepassword"),
            ("pskfile_next", "/etc/peervpn/psk.next"),
            ("allow", "66687aadf862bd77"),
            ("deny", "66687aadf862bd77"),
            ("initpeers", "vps.example.org"),
            ("local", "192.0.2.1"),
            ("port", "1"),
            ("enableipv4", "no"),
            ("enableipv6", "no"),
            ("enablenat64clat", "yes"),
            ("sockmark", "1"),
            ("device", "eth0"),
            ("offload", "no"),
            ("enabletunneling", "no"),
            ("interface", "tap0"),
            ("mtu", "1400"),
            ("mac", "02:00:00:00:00:01"),
            ("ifconfig4", "10.0.0.1/24"),
            ("ifconfig6", "fd00::1/64"),
            ("upcmd", "true"),
            ("downcmd", "true"),
            ("enablendpcache", "yes"),
            ("filterdhcp", "yes"),
            ("pin", "66687aadf862bd77 02:00:00:00:00:01"),
            ("enablerelay", "yes"),
            ("userelay", "no"),
            ("enablelandiscovery", "all"),
            ("enableportmap", "no"),
            ("keyfile", "/etc/peervpn/key"),
            ("statefile", "/etc/peervpn/state"),
            ("enableprivdrop", "no"),
            ("user", "peervpn"),
            ("group", "peervpn"),
            ("chroot", "/var/empty"),
            ("enableseccomp", "no"),
            ("forceseccomp", "yes"),
            ("cipher", "chacha20-poly1305 aes256-sha256"),
            ("statusgroup", "adm"),
            ("loglevel", "debug"),
        ];
        let mut drafts = vec![Draft::new()];
        for (name, value) in values {
            let mut draft = Draft::new();
            assert_eq!(find(name).unwrap().apply(&mut draft, value), Ok(None), "{name}");
            assert!(!drafts.contains(&draft), "{name}");
            drafts.push(draft);
        }
        let with_meaning = OPTIONS.iter().filter(|row| matches!(row.takes, Takes::Value(_))).count();
        assert_eq!(with_meaning, values.len());
    }

    #[test]
    fn initial_peers_add_up_to_a_limit_and_only_once() {
        let mut draft = Draft::new();
        for i in 0..HOSTS {
            add_hosts(&mut draft, &format!("host{i}")).unwrap();
        }
        assert_eq!(add_hosts(&mut draft, "host0 7000 host1:7000"), Ok(()));
        assert!(add_hosts(&mut draft, "host0:7001").is_err());
        assert_eq!(draft.initpeers.len(), HOSTS);
    }
}
