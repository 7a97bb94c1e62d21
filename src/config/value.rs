//! Text to typed value, one function a kind of value. The error says what is wrong with the text; what was
//! expected instead stands in the option's row. Text of secrets is never repeated in an error (S16).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use crate::base::ids::{Mac, NodeId, NodeRef, ShortId, Suite};
use crate::base::limits::{MTU_MAX, MTU_MIN};
use crate::base::settings::{DEFAULT_PORT, Host, InterfaceName, LanDiscovery, LogLevel, NetworkName, Secret};
use crate::config::fault::shown;

/// The fewest characters of a pre-shared key (S9).
pub(crate) const PSK_MIN: usize = 12;
/// The longest DNS name, in bytes (RFC 1035, section 2.3.4, without the root's dot).
const DNS_NAME_MAX: usize = 253;
/// The longest user or group name, in bytes (`useradd`, musl and glibc agree on it).
const ACCOUNT_MAX: usize = 32;
/// The longest name of a firewall's zone that is believed, in bytes.
const ZONE_MAX: usize = 32;

/// A value, or what is wrong with its text.
pub(crate) type Parsed<T> = Result<T, String>;

/// Yes or no, in any of the words that the original, UCI and people use; whole words only.
pub(crate) fn boolean(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" | "on" | "enabled" => Ok(true),
        "no" | "false" | "0" | "off" | "disabled" => Ok(false),
        _ => Err(format!("'{}' is neither yes nor no", shown(text))),
    }
}

/// On which local networks to look for peers.
pub(crate) fn lan_discovery(text: &str) -> Parsed<LanDiscovery> {
    match boolean(text) {
        _ if text.eq_ignore_ascii_case("all") => Ok(LanDiscovery::All),
        Ok(true) => Ok(LanDiscovery::Yes),
        Ok(false) => Ok(LanDiscovery::No),
        Err(why) => Err(why),
    }
}

/// A port to bind to; 0 lets the kernel choose.
pub(crate) fn port(text: &str) -> Parsed<u16> {
    let value = u16::try_from(number(text)?);
    value.map_err(|_| format!("'{}' is above 65535", shown(text)))
}

/// A socket mark, decimal or `0x` and hexadecimal.
pub(crate) fn mark(text: &str) -> Parsed<u32> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match hex {
        Some(hex) if is_all(hex, |byte| byte.is_ascii_hexdigit()) => {
            u32::from_str_radix(hex, 16).map_err(|_| too_large(text))
        }
        _ => number(text),
    }
}

/// The TAP's MTU in bytes; none for `auto`.
pub(crate) fn mtu(text: &str) -> Parsed<Option<u16>> {
    if text.eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    let value = number(text)?;
    match u16::try_from(value) {
        Ok(mtu) if (MTU_MIN..=MTU_MAX).contains(&usize::from(mtu)) => Ok(Some(mtu)),
        _ => Err(format!("{value} is out of range")),
    }
}

/// An address to bind to.
pub(crate) fn local(text: &str) -> Parsed<IpAddr> {
    let address = text.parse().map_err(|_| no_address(text))?;
    match address {
        IpAddr::V4(v4) if v4.is_multicast() || v4.is_broadcast() => Err(no_host_address(text)),
        IpAddr::V6(v6) if v6.is_multicast() => Err(no_host_address(text)),
        _ => Ok(address),
    }
}

/// An IPv4 address and its prefix length.
pub(crate) fn ifconfig4(text: &str) -> Parsed<(Ipv4Addr, u8)> {
    let (address, len) = prefix(text, 32)?;
    let address: Ipv4Addr = address.parse().map_err(|_| no_address(address))?;
    if address.is_multicast() || address.is_broadcast() || address.is_unspecified() {
        return Err(no_host_address(text));
    }
    Ok((address, len))
}

/// An IPv6 address and its prefix length.
pub(crate) fn ifconfig6(text: &str) -> Parsed<(Ipv6Addr, u8)> {
    let (address, len) = prefix(text, 128)?;
    let address: Ipv6Addr = address.parse().map_err(|_| no_address(address))?;
    if address.is_multicast() || address.is_unspecified() {
        return Err(no_host_address(text));
    }
    Ok((address, len))
}

/// Data suites, the preferred one first.
pub(crate) fn ciphers(text: &str) -> Parsed<Vec<Suite>> {
    let mut suites = Vec::new();
    for word in text.split_ascii_whitespace() {
        let known = Suite::ALL.iter().find(|suite| word.eq_ignore_ascii_case(suite.name()));
        match known {
            Some(suite) if suites.contains(suite) => return Err(format!("names '{}' twice", shown(word))),
            Some(suite) => suites.push(*suite),
            None => return Err(format!("'{}' is no cipher of this program", shown(word))),
        }
    }
    if suites.is_empty() { Err("names no cipher".into()) } else { Ok(suites) }
}

/// A node, by its whole id or its short one: 64 or 16 hexadecimal digits, as `peervpn id` prints them.
pub(crate) fn node(text: &str) -> Parsed<NodeRef> {
    match text.len() {
        64 => hex(text).map(|id| NodeRef::Whole(NodeId(id))),
        _ => hex(text).map(|id| NodeRef::Short(ShortId(id))),
    }
    .ok_or_else(|| format!("'{}' is not a node id", shown(text)))
}

/// A node, and the Ethernet addresses that only it may use.
pub(crate) fn pins(text: &str) -> Parsed<(NodeRef, Vec<Mac>)> {
    let mut words = text.split_ascii_whitespace();
    let node = node(words.next().unwrap_or_default())?;
    let macs = words.map(mac).collect::<Parsed<Vec<_>>>()?;
    if macs.is_empty() {
        return Err("names no MAC address for that node".into());
    }
    Ok((node, macs))
}

/// Exactly `N` bytes in hexadecimal digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !is_all(text, |byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// An Ethernet address that a station may have.
pub(crate) fn mac(text: &str) -> Parsed<Mac> {
    let mut parts = text.split([':', '-']);
    let mut bytes = [0; 6];
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2 && is_all(part, |b| b.is_ascii_hexdigit()));
        let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
        *byte = value.ok_or_else(|| format!("'{}' is not a MAC address", shown(text)))?;
    }
    if parts.next().is_some() {
        return Err(format!("'{}' is not a MAC address", shown(text)));
    }
    let mac = Mac(bytes);
    if mac.is_station() { Ok(mac) } else { Err(format!("{mac} is not the address of one station")) }
}

/// The TAP's name, in which `%d` stands for a number that the kernel chooses.
pub(crate) fn interface(text: &str) -> Parsed<InterfaceName> {
    let holes = text.matches('%').count();
    if holes > 1 || (holes == 1 && !text.as_bytes().windows(2).any(|pair| pair == b"%d")) {
        return Err(format!("'{}' may hold one '%d' and no other '%'", shown(text)));
    }
    interface_name(text)
}

/// The name of an interface that exists.
pub(crate) fn device(text: &str) -> Parsed<InterfaceName> {
    if text.contains('%') {
        return Err(format!("'{}' is not the name of an interface", shown(text)));
    }
    interface_name(text)
}

/// A network's name.
pub(crate) fn network(text: &str) -> Parsed<NetworkName> {
    NetworkName::new(text).ok_or_else(|| match text.len() {
        0 => "is empty".into(),
        long => format!("has {long} bytes, at most {} are possible", NetworkName::MAX),
    })
}

/// A pre-shared key worth the name.
pub(crate) fn psk(text: &str) -> Parsed<Secret> {
    // S9: too short a key, or the one everybody has, joins strangers.
    if text.eq_ignore_ascii_case("default") {
        return Err("'default' is everybody's key; choose your own".into());
    }
    let count = text.chars().count();
    if count < PSK_MIN {
        return Err(format!("has {count} characters, at least {PSK_MIN} are needed"));
    }
    if text.contains('\0') {
        return Err("holds a NUL byte".into());
    }
    Ok(Secret::new(text.to_owned()))
}

/// A pre-shared key as a pskfile holds it: one line, blanks around it do not count.
pub(crate) fn psk_of_file(content: &[u8]) -> Parsed<Secret> {
    let text = std::str::from_utf8(content).map_err(|_| "the file is not UTF-8 text")?.trim();
    if text.is_empty() {
        return Err("the file is empty".into());
    }
    if text.contains(['\n', '\r']) {
        return Err("the file has more than one line".into());
    }
    psk(text).map_err(|why| format!("the key {why}"))
}

/// A path.
pub(crate) fn path(text: &str) -> Parsed<PathBuf> {
    if text.ends_with('/') {
        return Err(format!("'{}' is a directory", shown(text)));
    }
    Ok(PathBuf::from(text))
}

/// A directory, from the root.
pub(crate) fn directory(text: &str) -> Parsed<PathBuf> {
    if !text.starts_with('/') {
        return Err(format!("'{}' does not begin with '/'", shown(text)));
    }
    Ok(PathBuf::from(text))
}

/// The name or number of a user or group.
pub(crate) fn account(text: &str) -> Parsed<String> {
    let sound = text.len() <= ACCOUNT_MAX
        && !text.starts_with('-')
        && is_all(text, |byte| byte.is_ascii_alphanumeric() || b"_.-$".contains(&byte));
    if sound { Ok(text.to_owned()) } else { Err(format!("'{}' is not an account's name", shown(text))) }
}

/// The name of a zone of the firewall.
pub(crate) fn zone(text: &str) -> Parsed<String> {
    let sound =
        text.len() <= ZONE_MAX && is_all(text, |byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if sound { Ok(text.to_owned()) } else { Err(format!("'{}' is not the name of a zone", shown(text))) }
}

/// A level of the log.
pub(crate) fn loglevel(text: &str) -> Parsed<LogLevel> {
    match text.to_ascii_lowercase().as_str() {
        "error" => Ok(LogLevel::Error),
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        _ => Err(format!("'{}' is not a level", shown(text))),
    }
}

/// Initial peers: `host port`, `host:port`, `[v6]:port`, `host` or a bare IPv6 address, as many as there are.
/// A word of digits only is the port of the word before it.
pub(crate) fn hosts(text: &str) -> Parsed<Vec<Host>> {
    let mut hosts: Vec<Host> = Vec::new();
    let mut port_may_follow = false;
    for word in text.split_ascii_whitespace() {
        if !is_all(word, |byte| byte.is_ascii_digit()) {
            let (name, port) = host(word)?;
            hosts.push(Host { name: name.to_owned(), port: port.unwrap_or(DEFAULT_PORT) });
            port_may_follow = port.is_none();
        } else if let Some(last) = hosts.last_mut().filter(|_| port_may_follow) {
            last.port = peer_port(word)?;
            port_may_follow = false;
        } else if let Some(last) = hosts.last() {
            return Err(format!("'{}' follows {last}, which has its port", shown(word)));
        } else {
            return Err(format!("begins with the port '{}'; the host comes first", shown(word)));
        }
    }
    Ok(hosts)
}

/// One word of `initpeers`: name or address, and the port that is attached to it.
fn host(word: &str) -> Parsed<(&str, Option<u16>)> {
    if let Some(rest) = word.strip_prefix('[') {
        let (name, after) = rest.split_once(']').ok_or_else(|| format!("'{}' lacks a ']'", shown(word)))?;
        name.parse::<Ipv6Addr>().map_err(|_| no_address(name))?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(peer_port(port)?),
            None if after.is_empty() => None,
            None => return Err(format!("'{}' is no host and port", shown(word))),
        };
        return Ok((peer_name(name)?, port));
    }
    match word.split_once(':') {
        Some((name, port)) if !port.contains(':') => Ok((peer_name(name)?, Some(peer_port(port)?))),
        _ => Ok((peer_name(word)?, None)),
    }
}

/// The name or address of a host that a datagram can be sent to.
fn peer_name(name: &str) -> Parsed<&str> {
    let numeric = name.contains(':') || is_all(name, |byte| byte.is_ascii_digit() || byte == b'.');
    if numeric {
        let address = local(name)?;
        return if address.is_unspecified() { Err(no_host_address(name)) } else { Ok(name) };
    }
    let sound = name.len() <= DNS_NAME_MAX
        && name.trim_end_matches('.').split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && is_all(label, |byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        });
    if sound { Ok(name) } else { Err(format!("'{}' is no host name", shown(name))) }
}

/// A port that a datagram can be sent to.
fn peer_port(text: &str) -> Parsed<u16> {
    match port(text)? {
        0 => Err("nobody can be reached at port 0".into()),
        port => Ok(port),
    }
}

fn prefix(text: &str, max: u8) -> Parsed<(&str, u8)> {
    let (address, len) =
        text.split_once('/').ok_or_else(|| format!("'{}' lacks a '/' and the prefix length", shown(text)))?;
    let value = number(len)?;
    match u8::try_from(value) {
        Ok(len) if (1..=max).contains(&len) => Ok((address, len)),
        _ => Err(format!("prefix length {value} is not between 1 and {max}")),
    }
}

fn interface_name(text: &str) -> Parsed<InterfaceName> {
    InterfaceName::new(text).ok_or_else(|| match text.len() {
        long if long > InterfaceName::MAX => {
            format!("has {long} bytes, at most {} are possible", InterfaceName::MAX)
        }
        _ => format!("'{}' is not the name of an interface", shown(text)),
    })
}

/// Digits only: `u32::from_str` would take a sign too.
fn number(text: &str) -> Parsed<u32> {
    if !is_all(text, |byte| byte.is_ascii_digit()) {
        return Err(format!("'{}' is not a number", shown(text)));
    }
    text.parse().map_err(|_| too_large(text))
}

fn is_all(text: &str, belongs: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(belongs)
}

fn too_large(text: &str) -> String {
    format!("'{}' is too large", shown(text))
}

fn no_address(text: &str) -> String {
    format!("'{}' is not an address", shown(text))
}

fn no_host_address(text: &str) -> String {
    format!("'{}' is not the address of one host", shown(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_whole_words() {
        for word in ["yes", "true", "1", "on", "enabled", "YES", "On"] {
            assert_eq!(boolean(word), Ok(true), "{word}");
        }
        for word in ["no", "false", "0", "off", "disabled", "No"] {
            assert_eq!(boolean(word), Ok(false), "{word}");
        }
        for word in ["nope", "y", "", "yes please", "2"] {
            assert!(boolean(word).is_err(), "{word}");
        }
    }

    #[test]
    fn numbers_keep_their_ranges() {
        assert_eq!((port("0"), port("7000"), port("65535")), (Ok(0), Ok(7000), Ok(65535)));
        for bad in ["65536", "-1", "+1", "", "7000x", "0x10", "99999999999999999999", "１"] {
            assert!(port(bad).is_err(), "{bad}");
        }
        assert_eq!((mark("0"), mark("0xff"), mark("4294967295")), (Ok(0), Ok(255), Ok(u32::MAX)));
        for bad in ["0x", "0x1ffffffff", "4294967296", "ff", "0x+1"] {
            assert!(mark(bad).is_err(), "{bad}");
        }
        assert_eq!((mtu("auto"), mtu("576"), mtu("1936")), (Ok(None), Ok(Some(576)), Ok(Some(1936))));
        for bad in ["575", "1937", "66112", "none", "1400.0"] {
            assert!(mtu(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(local("203.0.113.10"), Ok("203.0.113.10".parse().unwrap()));
        assert_eq!(local("::"), Ok("::".parse().unwrap()));
        for bad in ["", "localhost", "10.0.0.1/24", "224.0.0.1", "ff02::1", "255.255.255.255", "1.2.3"] {
            assert!(local(bad).is_err(), "{bad}");
        }
        assert_eq!(ifconfig4("10.99.0.2/24"), Ok((Ipv4Addr::new(10, 99, 0, 2), 24)));
        for bad in
            ["10.99.0.2", "10.99.0.2/0", "10.99.0.2/33", "10.99.0.2/", "::1/24", "0.0.0.0/8", "224.0.0.1/24"]
        {
            assert!(ifconfig4(bad).is_err(), "{bad}");
        }
        assert_eq!(ifconfig6("2001:db8:1:2::3/64"), Ok(("2001:db8:1:2::3".parse().unwrap(), 64)));
        for bad in
            ["2001:db8::1", "2001:db8::1/129", "10.0.0.1/8", "ff02::1/64", "::/64", "2001:db8::1/64/64"]
        {
            assert!(ifconfig6(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mac_addresses_are_those_of_one_station() {
        let expected = Mac([2, 0, 0, 0, 0, 0xab]);
        assert_eq!(mac("02:00:00:00:00:ab"), Ok(expected));
        assert_eq!(mac("02-00-00-00-00-AB"), Ok(expected));
        for bad in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:ab:cd",
            "2:0:0:0:0:ab",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "02:00:00:00:00:+1",
        ] {
            assert!(mac(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_are_named_by_either_id() {
        let whole = "0102030405060708".repeat(3) + "ffFFfeFE00000000";
        assert!(matches!(node(&whole), Ok(NodeRef::Whole(NodeId([1, 2, .., 0xfe, 0, 0, 0, 0])))));
        assert_eq!(
            node("66687aadf862bd77"),
            Ok(NodeRef::Short(ShortId([0x66, 0x68, 0x7a, 0xad, 0xf8, 0x62, 0xbd, 0x77])))
        );
        for bad in
            ["", "66687aadf862bd7", "66687aadf862bd777", "66687aadf862bd7g", "+6687aadf862bd77", &whole[1..]]
        {
            assert!(node(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pin_names_a_node_and_its_addresses() {
        let (node, macs) = pins("66687aadf862bd77 02:00:00:00:00:01\t02-00-00-00-00-02").unwrap();
        assert!(matches!(node, NodeRef::Short(_)));
        assert_eq!(macs, [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])]);
        for bad in ["", "66687aadf862bd77", "02:00:00:00:00:01", "66687aadf862bd77 01:00:00:00:00:01"] {
            assert!(pins(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn interface_names() {
        for good in ["peervpn0", "tap%d", "fifteen-bytes15"] {
            assert!(interface(good).is_ok(), "{good}");
        }
        for bad in ["sixteen-bytes-16", "a b", "tap%s", "%d%d", "100%", "a/b", ""] {
            assert!(interface(bad).is_err(), "{bad}");
        }
        assert!(device("eth0.2").is_ok());
        assert!(device("eth%d").is_err());
    }

    #[test]
    fn a_weak_psk_is_refused_without_being_shown() {
        // S9: none, `default` and fewer than 12 characters are refused.
        for weak in ["", "default", "DEFAULT", "elevenchars", "ü".repeat(11).as_str()] {
            let why = psk(weak).unwrap_err();
            assert!(weak.len() < 8 || !why.contains(weak), "{why}");
        }
        assert_eq!(psk("twelve chars").unwrap().expose(), "twelve chars");
        assert!(psk(&"ü".repeat(12)).is_ok());
    }

    #[test]
    fn a_pskfile_holds_one_line() {
        for good in ["verysecurepassword", "verysecurepassword\n", "  verysecurepassword \r\n\n"] {
            assert_eq!(psk_of_file(good.as_bytes()).unwrap().expose(), "verysecurepassword");
        }
        for bad in ["", "\n", "short\n", "verysecure\npassword\n", "default\n", "verysecure\0password"] {
            assert!(psk_of_file(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(psk_of_file(b"\xff\xfeverysecurepassword").is_err());
    }

    #[test]
    fn initial_peers_in_every_form() {
        for (text, expected) in [
            ("vps.example.org 7001", "vps.example.org:7001"),
            ("vps.example.org:7001", "vps.example.org:7001"),
            ("vps.example.org", "vps.example.org:7000"),
            ("203.0.113.10 7000", "203.0.113.10:7000"),
            ("2001:db8::1", "[2001:db8::1]:7000"),
            ("2001:db8::1 7001", "[2001:db8::1]:7001"),
            ("[2001:db8::1]:7001", "[2001:db8::1]:7001"),
            ("[2001:db8::1] 7001", "[2001:db8::1]:7001"),
            ("a b 1 c:2 d 3", "a:7000 b:1 c:2 d:3"),
            ("1st.example 1", "1st.example:1"),
            ("under_score\t9", "under_score:9"),
        ] {
            let hosts: Vec<String> = hosts(text).unwrap().iter().map(Host::to_string).collect();
            assert_eq!(hosts.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn initial_peers_that_are_none() {
        for bad in [
            "7000",
            "7000 vps.example.org",
            "a 1 2",
            "a:1 2",
            "a 0",
            "a:0",
            "a:",
            "a 65536",
            "a:70000",
            ":7000",
            "[::1",
            "[::1]7000",
            "[::1]:",
            "[a]:7000",
            "[192.0.2.1]:7000",
            "fe80::1%eth0",
            "10.0.0.300",
            "0.0.0.0",
            "::",
            "ff02::1",
            "224.0.0.1 7000",
            "255.255.255.255",
            "a, b",
            "-a",
            "a..b",
            ".",
            "bücher.example",
        ] {
            assert!(hosts(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn zones_are_plain_words() {
        for good in ["wan", "wan6", "lan_guest", "dmz-1"] {
            assert!(zone(good).is_ok(), "{good}");
        }
        // Not `*` either: a port open on every interface is nothing to get by a short word.
        for bad in ["", "*", "a b", "wan=1", "$(x)", "a'b", &"x".repeat(33)] {
            assert!(zone(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_and_accounts() {
        assert!(path("/etc/peervpn/psk").is_ok() && path("/etc/").is_err());
        assert!(directory("/var/empty").is_ok() && directory("empty").is_err());
        for good in ["nobody", "65534", "_peervpn", "a-b.c"] {
            assert!(account(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a:b", "-u", "root/x"] {
            assert!(account(bad).is_err(), "{bad}");
        }
    }
}
