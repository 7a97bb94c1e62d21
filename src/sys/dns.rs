//! Names and addresses, in the three forms that a lookup meets them: messages of DNS (RFC 1035, RFC 3596), the lines of
//! resolv.conf(5), and those of hosts(5). No system calls; `lookup` makes those.
//!
//! Questions are asked of a recursive server, whose answer holds the whole chain of aliases, so all addresses in it
//! are the name's. An answer that was cut (over 512 bytes, which is some thirty addresses) is used as it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest message that is sent or received without extensions (RFC 1035, section 4.2.1).
pub(super) const MESSAGE_MAX: usize = 512;
/// Servers that are asked; the rest is ignored, as by libc.
const SERVERS: usize = 3;
/// Domains that a short name is tried in.
const SEARCHES: usize = 6;
/// The longest label, and the longest name, of a host.
const LABEL_MAX: usize = 63;
const NAME_MAX: usize = 253;

const HEADER: usize = 12;
/// Flags of a header: an answer, its kind, whether it was cut, whether recursion is wanted; and what came of it.
const ANSWER: u16 = 0x8000;
const KIND: u16 = 0x7800;
const CUT: u16 = 0x0200;
const WANTED: u16 = 0x0100;
const RESULT: u16 = 0x000f;
const NO_SUCH_NAME: u16 = 3;
/// The class of all names: the internet.
const INTERNET: u16 = 1;
/// The two highest bits of a length that is none, but points to the rest of a name.
const POINTER: u8 = 0xc0;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// IPv4 addresses.
    A = 1,
    /// IPv6 addresses.
    Aaaa = 28,
}

/// What came of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    /// The name's addresses, of the kind asked for; possibly none.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The server could not, or would not, find out.
    Failed,
}

/// A message that asks for addresses of `name`. None if no host can have that name.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > NAME_MAX {
        return None;
    }
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    for number in [id, WANTED, 1, 0, 0, 0] {
        message.extend(number.to_be_bytes());
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=LABEL_MAX).contains(&usize::from(*length)))?;
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend((kind as u16).to_be_bytes());
    message.extend(INTERNET.to_be_bytes());
    Some(message)
}

/// What `message` answers to that question; None if it is no answer to it.
pub(super) fn reply(message: &[u8], question: &[u8]) -> Option<Reply> {
    let (asked, mut rest) = message.split_at_checked(question.len())?;
    let flags = number(asked, 2)?;
    let same = asked[..2] == question[..2] && asked[HEADER..].eq_ignore_ascii_case(&question[HEADER..]);
    if !same || flags & (ANSWER | KIND) != ANSWER || number(asked, 4) != Some(1) {
        return None;
    }
    match flags & RESULT {
        0 => {}
        NO_SUCH_NAME => return Some(Reply::NoSuchName),
        _ => return Some(Reply::Failed),
    }
    let kind = number(question, question.len() - 4)?;
    let mut found = Vec::new();
    for _ in 0..number(asked, 6)? {
        // One that was cut ends in the middle of a record.
        let Some((record, after)) = record(rest) else { break };
        if let (true, Some(address)) = (record.kind == kind, address(record.content)) {
            found.push(address);
        }
        rest = after;
    }
    // Some servers leave all out where not all has room.
    let unknown = found.is_empty() && flags & CUT != 0;
    Some(if unknown { Reply::Failed } else { Reply::Addresses(found) })
}

struct Record<'a> {
    kind: u16,
    content: &'a [u8],
}

/// The first record, and what follows it.
fn record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let rest = after_name(bytes)?;
    let (kind, class, length) = (number(rest, 0)?, number(rest, 2)?, number(rest, 8)?);
    let (content, after) = rest.get(10..)?.split_at_checked(usize::from(length))?;
    // None of our kinds is 0.
    let kind = if class == INTERNET { kind } else { 0 };
    Some((Record { kind, content }, after))
}

/// Whose name it is does not matter here, so pointers are not followed.
fn after_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        match *bytes.first()? {
            0 => return bytes.get(1..),
            length if length & POINTER == POINTER => return bytes.get(2..),
            length => bytes = bytes.get(1 + usize::from(length)..)?,
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn address(content: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(content) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(content).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// What resolv.conf says.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Servers {
    /// Addresses, each with its interface if it has one.
    pub(super) servers: Vec<(IpAddr, String)>,
    search: Vec<String>,
    /// A name with fewer dots is tried in the domains of `search` first.
    dots: Option<usize>,
}

impl Servers {
    /// Reads the file's text. What it does not understand it ignores, as libc does.
    pub(super) fn read(text: &str) -> Servers {
        let mut said = Servers::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let (address, interface) = split_once(words.next().unwrap_or_default(), '%');
                    if let (Ok(address), true) = (address.parse(), said.servers.len() < SERVERS) {
                        said.servers.push((address, interface.to_owned()));
                    }
                }
                // The last one counts.
                Some("domain" | "search") => said.search = words.take(SEARCHES).map(str::to_owned).collect(),
                Some("options") => {
                    for word in words {
                        if let ("ndots", number) = split_once(word, ':') {
                            said.dots = number.parse().ok().or(said.dots);
                        }
                    }
                }
                _ => {}
            }
        }
        if said.servers.is_empty() {
            said.servers.push((Ipv4Addr::LOCALHOST.into(), String::new()));
        }
        said
    }

    /// The full names that `name` may mean, in the order in which they are to be tried.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        let mut names = Vec::new();
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        if dots < self.dots.unwrap_or(1) {
            for domain in &self.search {
                names.push([name, ".", domain].concat());
            }
        }
        names.push(name.to_owned());
        names
    }
}

fn split_once(word: &str, at: char) -> (&str, &str) {
    word.split_once(at).unwrap_or((word, ""))
}

/// The addresses that a file of hosts gives `name`. `localhost` needs no line (RFC 6761, section 6.3).
pub(super) fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = split_once(line, '#').0.split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) {
            found.push(address);
        }
    }
    if found.is_empty() && name.eq_ignore_ascii_case("localhost") {
        found = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to `question`, with that result and those records.
    fn answer(question: &[u8], result: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2..4].copy_from_slice(&(0x8180 | result).to_be_bytes());
        message[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        for (kind, content) in records {
            message.extend([POINTER, 12]);
            message.extend(kind.to_be_bytes());
            message.extend(INTERNET.to_be_bytes());
            message.extend([0, 0, 1, 0]);
            message.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            message.extend(*content);
        }
        message
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_question_is_as_rfc_1035_draws_it() {
        let message = question(0x1234, "vpn.example.org", Kind::Aaaa).unwrap();
        let mut wanted = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        wanted.extend(b"\x03vpn\x07example\x03org\0\0\x1c\0\x01");
        assert_eq!(message, wanted);
        assert_eq!(question(0x1234, "vpn.example.org.", Kind::Aaaa), Some(wanted));
    }

    #[test]
    fn what_cannot_be_a_name_is_not_asked_for() {
        let (label, long) = ("x".repeat(63), vec!["x".repeat(49); 5].join("."));
        assert!(question(1, &label, Kind::A).is_some() && question(1, &long, Kind::A).is_some());
        for name in ["", ".", "a..b", ".a", "a..", &format!("{label}x"), &format!("{long}.abcde")] {
            assert_eq!(question(1, name, Kind::A), None, "{name}");
        }
    }

    #[test]
    fn all_addresses_of_an_answer_are_found_behind_aliases_of_all_forms() {
        let asked = question(7, "vpn.example.org", Kind::A).unwrap();
        let alias = (5, &b"\x04host\xc0\x10"[..]);
        let records = [alias, (1, &[192, 0, 2, 1]), (28, &[0; 16]), (1, &[1, 2, 3]), (1, &[192, 0, 2, 2])];
        let found = Reply::Addresses(addresses(&["192.0.2.1", "192.0.2.2"]));
        assert_eq!(reply(&answer(&asked, 0, &records), &asked), Some(found));
        assert_eq!(reply(&answer(&asked, 0, &[alias]), &asked), Some(Reply::Addresses(Vec::new())));
        let mut cut = answer(&asked, 0, &[alias]);
        cut[2] |= 2;
        assert_eq!(reply(&cut, &asked), Some(Reply::Failed), "that there is none it does not say");
        let mut other_class = answer(&asked, 0, &[(1, &[192, 0, 2, 1])]);
        other_class[asked.len() + 5] = 3;
        assert_eq!(reply(&other_class, &asked), Some(Reply::Addresses(Vec::new())));
        let asked = question(7, "vpn.example.org", Kind::Aaaa).unwrap();
        let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let found = Reply::Addresses(vec![v6.into()]);
        assert_eq!(reply(&answer(&asked, 0, &[(28, &v6.octets())]), &asked), Some(found));
    }

    #[test]
    fn no_such_name_is_told_from_a_server_that_does_not_know() {
        let asked = question(7, "a.b", Kind::A).unwrap();
        assert_eq!(reply(&answer(&asked, 3, &[]), &asked), Some(Reply::NoSuchName));
        for result in [1, 2, 4, 5, 15] {
            assert_eq!(reply(&answer(&asked, result, &[]), &asked), Some(Reply::Failed), "{result}");
        }
    }

    #[test]
    fn what_answers_another_question_is_no_answer() {
        let asked = question(7, "a.b", Kind::A).unwrap();
        let good = answer(&asked, 0, &[(1, &[192, 0, 2, 1])]);
        let mut shouted = good.clone();
        shouted[HEADER..asked.len()].make_ascii_uppercase();
        assert!(reply(&shouted, &asked).is_some());
        // Its number, that it is an answer, its kind, how many questions, the name, what was asked for.
        for (at, value) in [(1, 8), (2, 0x01), (2, 0x91), (5, 2), (13, b'c'), (18, 28)] {
            let mut other = good.clone();
            other[at] = value;
            assert_eq!(reply(&other, &asked), None, "{at}");
        }
    }

    #[test]
    fn what_is_cut_or_damaged_gives_what_is_whole() {
        let asked = question(7, "a.b", Kind::A).unwrap();
        let good = answer(&asked, 0, &[(1, &[192, 0, 2, 1]), (1, &[192, 0, 2, 2])]);
        for length in 0..good.len() {
            let whole = length.checked_sub(asked.len()).map(|rest| rest / 16);
            let found = match reply(&good[..length], &asked) {
                Some(Reply::Addresses(found)) => Some(found.len()),
                other => other.map(|_| 99),
            };
            assert_eq!(found, whole, "{length}");
        }
        // Every byte everything once: it must come to an end, and to nothing that was not there.
        for at in 0..good.len() {
            for value in 0..=255 {
                let mut bad = good.clone();
                bad[at] = value;
                if let Some(Reply::Addresses(found)) = reply(&bad, &asked) {
                    assert!(found.len() <= 2, "{at} {value}");
                }
            }
        }
    }

    #[test]
    fn resolv_conf_is_read_as_libc_does() {
        let text = "# by hand\nsearch lan  example.org\nnameserver 192.0.2.53 # that one\nnameserver\tfe80::1%br-lan\n\
                    nameserver nonsense\nnameserver 2001:db8::53\nnameserver 192.0.2.54\noptions rotate ndots:2\nsortlist x\n";
        let said = Servers::read(text);
        let servers = [("192.0.2.53", ""), ("fe80::1", "br-lan"), ("2001:db8::53", "")];
        let servers = servers.map(|(address, interface)| (address.parse().unwrap(), interface.to_owned()));
        assert_eq!(said.servers, servers);
        assert_eq!(said.names("vps"), ["vps.lan", "vps.example.org", "vps"]);
        assert_eq!(said.names("a.b"), ["a.b.lan", "a.b.example.org", "a.b"]);
        assert_eq!(said.names("a.b.c"), ["a.b.c"]);
        assert_eq!(Servers::read("domain old\nsearch lan\n").names("vps"), ["vps.lan", "vps"]);
        assert_eq!(Servers::read("search lan\n").names("a.b"), ["a.b"]);
        // A machine without the file asks itself.
        assert_eq!(Servers::read("").servers, [(Ipv4Addr::LOCALHOST.into(), String::new())]);
    }

    #[test]
    fn hosts_are_found_by_all_their_names() {
        let text = "127.0.0.1 localhost\n192.0.2.1\tvps.example.org VPS # ours\nnonsense vps\n2001:db8::1 vps\n#192.0.2.9 vps\n";
        assert_eq!(hosts(text, "vps"), addresses(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(hosts(text, "vps.example.org."), addresses(&["192.0.2.1"]));
        assert!(hosts(text, "ours").is_empty());
        assert_eq!(hosts(text, "localhost"), addresses(&["127.0.0.1"]));
        assert_eq!(hosts("", "Localhost"), addresses(&["::1", "127.0.0.1"]));
    }
}
