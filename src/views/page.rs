//! `peervpn status`: a page for people, made for a terminal of 80 columns.
//!
//! ```text
//! node       1a2b3c4d5e6f7081, running for 2 h 13 min
//! network    LAURI_VPN
//! interface  peervpn0
//! port       7000
//! seen at    198.51.100.20:7000, a NAT with one port for all
//! mapped     198.51.100.20:7000, by 192.168.1.1 for 19 min
//! peers      2 connected, 1 not
//!
//! PEER              PATH
//!      RTT   LOSS   MTU     KEY          UP      IN     OUT
//! 9f8e7d6c5b4a3921  direct 203.0.113.10:7000
//!  12.3 ms  0.1 %  1492    45 s  2 h 13 min  1.2 MB  300 kB
//! 0011223344556677  relayed by 9f8e7d6c5b4a3921 (both NATs change ports)
//!  45.0 ms  2.0 %  1444    12 s       5 min   20 kB   18 kB
//!
//! initial peers not connected: vps.example.org:7000
//! carried for others: 12 packets, 3.4 kB, on 1 circuit
//! discarded: 3 replayed, 1 forged or other network
//!
//! ! vps.example.org:7000 does not answer: is peervpn running there, and UDP port 7000 open?
//! ```

use std::fmt::Write;

use crate::base::facts::Fact;
use crate::views::units::{age, bytes, milliseconds, percent, rate};
use crate::views::{Snapshot, advice, is_connected, path_of, why_of};

/// Columns of the terminal that it is made for.
pub const WIDTH: usize = 80;

/// How it is to look.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Look {
    /// With colours, for a terminal.
    pub colour: bool,
}

/// The whole page, with a newline at its end. With an `earlier` snapshot of the same node the peers' rates since then are shown.
pub fn render(snapshot: &Snapshot<'_>, earlier: Option<&Snapshot<'_>>, look: Look) -> String {
    let mut page = Page { text: String::with_capacity(2048), look };
    page.head(snapshot);
    page.peers(snapshot, earlier);
    page.rest(snapshot);
    page.warnings(snapshot);
    page.text
}

struct Page {
    text: String,
    look: Look,
}

/// Terminal colours (ECMA-48, 8.3.117).
#[derive(Clone, Copy)]
enum Ink {
    Bold = 1,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

impl Page {
    fn head(&mut self, snapshot: &Snapshot<'_>) {
        let node = snapshot.one("node");
        let of = |key| node.get(key).unwrap_or("?");
        let running = age(node.number("uptime_ms").unwrap_or(0) / 1000);
        self.entry("node", &format!("{}, running for {running}", of("id")));
        self.entry("network", of("network"));
        self.entry("interface", node.get("interface").unwrap_or("none (enabletunneling is no)"));
        self.entry("port", of("port"));
        let seen = || snapshot.all("observed").filter_map(|fact| fact.get("address"));
        if let Some(first) = seen().min() {
            let nat = match node.get("nat") {
                Some("none") => ", no NAT",
                Some("one-port") => ", a NAT with one port for all",
                Some("symmetric") => ", a NAT with a port for each peer",
                _ => "",
            };
            let more = if seen().any(|other| other != first) { " and elsewhere" } else { "" };
            self.entry("seen at", &format!("{first}{more}{nat}"));
        }
        if let Some(prefix) = node.get("nat64") {
            self.entry("NAT64", prefix);
        }
        for mapping in snapshot.all("mapping") {
            let of = |key| mapping.get(key).unwrap_or("?");
            let gateway = of("gateway");
            let says = match of("state") {
                "granted" => {
                    let left = age(mapping.number("left_s").unwrap_or(0));
                    format!("{}, by {gateway} for {left}", of("address"))
                }
                "refused" => format!("refused by {gateway} ({})", of("why")),
                "silent" => format!("{gateway} does not answer"),
                _ => format!("asking {gateway}"),
            };
            self.entry("mapped", &says);
        }
        let connected = snapshot.all("peer").filter(is_connected).count();
        let rest = match snapshot.all("peer").count() - connected {
            0 => String::new(),
            others => format!(", {others} not"),
        };
        self.entry("peers", &format!("{connected} connected{rest}"));
    }

    fn entry(&mut self, name: &str, value: &str) {
        let line = format!("{name:<10} {value}");
        self.text.push_str(clipped(&line));
        self.text.push('\n');
    }

    fn peers(&mut self, snapshot: &Snapshot<'_>, earlier: Option<&Snapshot<'_>>) {
        if snapshot.all("peer").next().is_none() {
            return;
        }
        let rates = if earlier.is_some() { "   RATE IN  RATE OUT" } else { "" };
        let heading = format!(
            "\nPEER              PATH\n     RTT   LOSS   MTU     KEY          UP      IN     OUT{rates}\n"
        );
        self.paint(Ink::Bold, &heading);
        for peer in snapshot.all("peer") {
            let ink = match peer.get("path") {
                Some("direct") => Ink::Green,
                Some("relayed") => Ink::Yellow,
                _ => Ink::Red,
            };
            self.text.push_str(peer.get("id").unwrap_or("?"));
            self.text.push_str("  ");
            self.paint(ink, &path_of(&peer));
            if let Some(why) = why_of(&peer) {
                let _ = write!(self.text, " ({why})");
            }
            self.text.push('\n');
            if is_connected(&peer) {
                self.figures(&peer);
                self.rates(snapshot, earlier, &peer);
                self.text.push('\n');
            }
        }
    }

    /// The second line of a connected peer.
    fn figures(&mut self, peer: &Fact<'_>) {
        let or_dash = |key, show: fn(u64) -> String| peer.number(key).map_or("-".to_owned(), show);
        let _ = write!(
            self.text,
            "{:>8} {:>6} {:>5} {:>7} {:>11} {:>7} {:>7}",
            or_dash("rtt_us", milliseconds),
            or_dash("loss_permille", percent),
            or_dash("mtu", |mtu| mtu.to_string()),
            or_dash("key_age_s", age),
            or_dash("up_s", age),
            or_dash("bytes_in", bytes),
            or_dash("bytes_out", bytes),
        );
    }

    /// How much went since the earlier snapshot.
    fn rates(&mut self, snapshot: &Snapshot<'_>, earlier: Option<&Snapshot<'_>>, peer: &Fact<'_>) {
        let Some(earlier) = earlier else { return };
        let before = peer.get("id").and_then(|id| earlier.peer(id));
        let uptime = |snapshot: &Snapshot<'_>| snapshot.one("node").number("uptime_ms").unwrap_or(0);
        let passed = uptime(snapshot).saturating_sub(uptime(earlier));
        for key in ["bytes_in", "bytes_out"] {
            let then = before.and_then(|before| before.number(key));
            let grown = peer.number(key).zip(then).map(|(now, then)| now.saturating_sub(then));
            let rate = grown.map_or("-".to_owned(), |grown| rate(grown, passed));
            let _ = write!(self.text, " {rate:>9}");
        }
    }

    fn rest(&mut self, snapshot: &Snapshot<'_>) {
        let missing = snapshot.all("host").filter(|host| !host.is("state", "connected"));
        let names = missing.filter_map(|host| host.get("name")).map(str::to_owned);
        self.list("initial peers not connected:", names);
        let relayed = snapshot.one("relayed");
        let of = |key| relayed.number(key).unwrap_or(0);
        let (packets, circuits) = (of("packets"), of("circuits"));
        if packets > 0 || circuits > 0 {
            let s = if circuits == 1 { "" } else { "s" };
            let size = bytes(of("bytes"));
            let carried = [format!("{packets} packets"), size, format!("on {circuits} circuit{s}")];
            self.list("carried for others:", carried.into_iter());
        }
        let reason = |fact: Fact<'_>| Some(format!("{} {}", fact.get("packets")?, fact.get("reason")?));
        self.list("discarded:", snapshot.all("discard").filter_map(reason));
    }

    /// A heading and what belongs to it, with commas, in lines that fit the screen. Nothing at all for an empty list.
    fn list(&mut self, heading: &str, items: impl Iterator<Item = String>) {
        let items: Vec<String> = items.collect();
        if !items.is_empty() {
            self.text.push('\n');
            self.wrap("", &format!("{heading} {}", items.join(", ")), Ink::Bold, false);
        }
    }

    /// What a person should do something about.
    fn warnings(&mut self, snapshot: &Snapshot<'_>) {
        for advice in advice::of(snapshot) {
            self.text.push('\n');
            self.wrap("! ", &advice.text, Ink::Yellow, true);
        }
    }

    /// Words in lines that fit the screen; those after the first begin with two blanks.
    fn wrap(&mut self, mark: &str, text: &str, ink: Ink, painted: bool) {
        let mut line = mark.to_owned();
        let mut lines = Vec::new();
        for word in text.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                lines.push(core::mem::replace(&mut line, "  ".to_owned()));
            }
            if !line.is_empty() && !line.ends_with(' ') {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
        for line in lines {
            if painted {
                self.paint(ink, &line)
            } else {
                self.text.push_str(&line)
            }
            self.text.push('\n');
        }
    }

    fn paint(&mut self, ink: Ink, text: &str) {
        if self.look.colour {
            let _ = write!(self.text, "\x1b[{}m{text}\x1b[0m", ink as u8);
        } else {
            self.text.push_str(text);
        }
    }
}

/// As much of a line as fits.
fn clipped(line: &str) -> &str {
    line.char_indices().nth(WIDTH).map_or(line, |(end, _)| &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = "node\tid=1a2b3c4d5e6f7081\tnetwork=LAURI_VPN\tinterface=peervpn0\tport=7000\tuptime_ms=1000\n\
        peer\tid=9f8e7d6c5b4a3921\tpath=direct\taddress=203.0.113.10:7000\trtt_us=12345\tup_s=1\tkey_age_s=1\tbytes_in=0\tbytes_out=0\n";
    const TEXT: &str = "node\tid=1a2b3c4d5e6f7081\tnetwork=LAURI_VPN\tinterface=peervpn0\tport=7000\tuptime_ms=3000\tnat=symmetric\n\
        peer\tid=9f8e7d6c5b4a3921\tpath=direct\taddress=203.0.113.10:7000\trtt_us=12345\tloss_permille=1\tmtu=1492\tup_s=7980\tkey_age_s=45\tbytes_in=1200000\tbytes_out=300000\n\
        peer\tid=8888888888888888\tpath=relayed\trelay=9f8e7d6c5b4a3921\tup_s=5\n\
        peer\tid=0011223344556677\tpath=none\n\
        host\tname=vps.example.org:7000\tstate=connected\tpeer=9f8e7d6c5b4a3921\n\
        host\tname=nobody.example.org:7000\tstate=silent\n\
        observed\tpeer=9f8e7d6c5b4a3921\taddress=198.51.100.20:7000\n\
        observed\tpeer=8888888888888888\taddress=198.51.100.20:7001\nrelayed\tpackets=12\tbytes=3400\tcircuits=1\ndiscard\treason=replayed\tpackets=3\n";

    #[test]
    fn a_page() {
        let page = render(&Snapshot::read(TEXT), None, Look::default());
        let expected = "\
node       1a2b3c4d5e6f7081, running for 3 s
network    LAURI_VPN
interface  peervpn0
port       7000
seen at    198.51.100.20:7000 and elsewhere, a NAT with a port for each peer
peers      2 connected, 1 not

PEER              PATH
     RTT   LOSS   MTU     KEY          UP      IN     OUT
9f8e7d6c5b4a3921  direct 203.0.113.10:7000
 12.3 ms  0.1 %  1492    45 s  2 h 13 min  1.2 MB  300 kB
8888888888888888  relayed by 9f8e7d6c5b4a3921
       -      -     -       -         5 s       -       -
0011223344556677  connecting

initial peers not connected: nobody.example.org:7000

carried for others: 12 packets, 3.4 kB, on 1 circuit

discarded: 3 replayed
";
        assert!(page.starts_with(expected), "{page}");
    }

    #[test]
    fn what_became_of_a_mapping_is_a_line() {
        for (fields, line) in [
            ("state=asking\tprotocol=pcp", "asking 192.168.1.1"),
            (
                "state=granted\tprotocol=pcp\taddress=198.51.100.20:7000\tleft_s=1180",
                "198.51.100.20:7000, by 192.168.1.1 for 19 min",
            ),
            ("state=refused\twhy=forbidden", "refused by 192.168.1.1 (forbidden)"),
            ("state=silent", "192.168.1.1 does not answer"),
        ] {
            let text = format!("node\tid=1a2b3c4d5e6f7081\nmapping\tgateway=192.168.1.1\t{fields}\n");
            let page = render(&Snapshot::read(&text), None, Look::default());
            assert!(page.contains(&format!("\nmapped     {line}\n")), "{page}");
        }
    }

    #[test]
    fn rates_are_those_since_the_earlier_page() {
        let (now, then) = (Snapshot::read(TEXT), Snapshot::read(EARLIER));
        let page = render(&now, Some(&then), Look::default());
        let line = page.lines().find(|line| line.contains("12.3 ms")).unwrap();
        // 1.2 MB and 300 kB in two seconds.
        assert!(line.ends_with("  4.8 Mb/s  1.2 Mb/s"), "{line}");
    }

    #[test]
    fn colours_are_all_that_a_terminal_gets_more() {
        let snapshot = Snapshot::read(TEXT);
        let coloured = render(&snapshot, None, Look { colour: true });
        assert!(coloured.contains("\x1b[32mdirect 203.0.113.10:7000\x1b[0m"), "{coloured}");
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, code)) = rest.split_once('\x1b') {
            plain.push_str(before);
            rest = code.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_eq!(plain, render(&snapshot, None, Look::default()));
    }

    #[test]
    fn every_line_fits_the_screen() {
        let long = "x".repeat(300);
        let v6 = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535";
        let mut text = format!(
            "node\tid={long}\tnetwork={long}\tinterface={long}\tport=65535\tuptime_ms={}\n",
            u64::MAX
        );
        let most = u64::MAX;
        text += &format!(
            "peer\tid=9f8e7d6c5b4a3921\tpath=direct\taddress={v6}\trtt_us=99999999\tloss_permille=1000\tmtu=65535\tup_s=863999999\tkey_age_s=3599\tbytes_in={most}\tbytes_out={most}\n"
        );
        for number in 0..40 {
            text += &format!("discard\treason=forged or other network\tpackets={}\n", 1_u64 << number);
            text += &format!("host\tname=host-{number}.example.org:7000\tstate=silent\n");
        }
        let snapshot = Snapshot::read(&text);
        let page = render(&snapshot, Some(&snapshot), Look::default());
        for line in page.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}
