//! What a node tells of itself when asked: a text for people, at most 80 columns wide.
//!
//! ```text
//! node       1a2b3c4d5e6f7081, running for 2 h 13 min
//! network    LAURI_VPN
//! interface  peervpn0
//! port       7000
//! peers      1 connected, 1 not
//!
//! PEER              PATH
//!        RTT  KEY AGE         UP    FRAMES IN  BYTES IN   FRAMES OUT BYTES OUT
//! 9f8e7d6c5b4a3921  direct 203.0.113.10:7000
//!    12.3 ms     45 s  2 h 13 min        1234    1.2 MB          987    300 kB
//! 0011223344556677  connecting
//!
//! initial peers not connected: vps.example.org:7000
//! carried for others: 12 packets, 3.4 kB, on 1 circuit
//! discarded: 3 replayed, 1 forged or other network
//! ```
//!
//! No input and output here, and nothing secret to tell (S16).
#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::base::discard::Tally;
use crate::base::event::Way;
use crate::base::ids::PeerKey;
use crate::base::settings::{Host, Settings};
use crate::base::time::{Duration, Instant};
use crate::mesh::peers::Member;
use crate::node::Node;

/// What the node itself does not know.
#[derive(Clone, Debug)]
pub struct About {
    network: String,
    /// The TAP's name as the kernel gave it; none without one.
    interface: Option<String>,
    /// The UDP port in use.
    port: u16,
    hosts: Vec<Host>,
    /// When the node was started.
    started: Instant,
}

impl About {
    /// A node with these settings, started at `started`, that has got this interface and this UDP port.
    pub fn new(settings: &Settings, interface: Option<&str>, port: u16, started: Instant) -> About {
        About {
            network: settings.network.as_str().to_owned(),
            interface: interface.map(str::to_owned),
            port,
            hosts: settings.initpeers.clone(),
            started,
        }
    }
}

/// The whole text. Ends with a newline.
pub fn render(now: Instant, about: &About, node: &Node, tally: &Tally) -> String {
    let mut text = String::with_capacity(1024);
    // Writing to a String cannot fail.
    let _ = write_head(&mut text, now, about, node);
    let _ = write_peers(&mut text, now, node);
    let _ = write_rest(&mut text, about, node, tally);
    text
}

fn write_head(text: &mut String, now: Instant, about: &About, node: &Node) -> std::fmt::Result {
    writeln!(text, "node       {}, running for {}", node.short(), age(now.since(about.started)))?;
    writeln!(text, "network    {}", clipped(&about.network, 69))?;
    writeln!(text, "interface  {}", about.interface.as_deref().unwrap_or("none (enabletunneling is no)"))?;
    writeln!(text, "port       {}", about.port)?;
    let up = node.members().filter(|(_, member)| member.peer.is_up()).count();
    let others = node.members().count() - up;
    let rest = if others > 0 { format!(", {others} not") } else { String::new() };
    writeln!(text, "peers      {up} connected{rest}")
}

fn write_peers(text: &mut String, now: Instant, node: &Node) -> std::fmt::Result {
    let mut members: Vec<(PeerKey, &Member)> = node.members().collect();
    if members.is_empty() {
        return Ok(());
    }
    // Connected ones first, those who have been for longest at the top.
    members.sort_by_key(|(_, member)| (member.peer.up_since().is_none(), member.peer.up_since()));
    writeln!(text, "\nPEER              PATH")?;
    writeln!(text, "       RTT  KEY AGE         UP    FRAMES IN  BYTES IN   FRAMES OUT BYTES OUT")?;
    for (key, member) in members {
        let path = match node.way(key) {
            Some(Way::Direct(address)) => format!("direct {address}"),
            Some(Way::Relayed(relay)) => format!("relayed by {relay}"),
            None => "connecting".to_owned(),
        };
        writeln!(text, "{}  {path}", member.peer.short())?;
        write_figures(text, now, member)?;
    }
    Ok(())
}

/// The second line of a connected peer.
fn write_figures(text: &mut String, now: Instant, member: &Member) -> std::fmt::Result {
    let peer = &member.peer;
    let (Some(session), Some(since)) = (peer.sessions().current(), peer.up_since()) else { return Ok(()) };
    let rtt = peer.rtt().map_or("-".to_owned(), milliseconds);
    let key = age(now.since(session.established_at()));
    let up = age(now.since(since));
    let carried = peer.traffic();
    writeln!(
        text,
        "{rtt:>10} {key:>8} {up:>10} {:>12} {:>9} {:>12} {:>9}",
        carried.opened.frames,
        bytes(carried.opened.bytes),
        carried.sealed.frames,
        bytes(carried.sealed.bytes),
    )
}

fn write_rest(text: &mut String, about: &About, node: &Node, tally: &Tally) -> std::fmt::Result {
    let missing = node.hosts().filter(|(_, entry)| entry.peer.is_none());
    let missing = missing.filter_map(|(id, _)| about.hosts.get(usize::from(id.0))).map(Host::to_string);
    write_list(text, "initial peers not connected:", missing)?;
    let (relayed, circuits) = node.relayed();
    if relayed.packets > 0 || circuits > 0 {
        let s = if circuits == 1 { "" } else { "s" };
        let size = bytes(relayed.bytes);
        write!(
            text,
            "\ncarried for others: {} packets, {size}, on {circuits} circuit{s}\n",
            relayed.packets
        )?;
    }
    write_list(text, "discarded:", tally.iter().map(|(why, count)| format!("{count} {}", why.label())))
}

/// A heading and what belongs to it, with commas, in lines that fit the screen. Nothing at all for an empty list.
fn write_list(text: &mut String, heading: &str, items: impl Iterator<Item = String>) -> std::fmt::Result {
    let mut column = 0;
    for item in items {
        if column == 0 {
            write!(text, "\n{heading}")?;
            column = heading.len();
        } else {
            text.push(',');
            column += 1;
        }
        // One for the blank, one for the comma that may follow.
        if column + item.len() + 2 > WIDTH {
            write!(text, "\n ")?;
            column = 1;
        }
        write!(text, " {item}")?;
        column += 1 + item.len();
    }
    if column > 0 { writeln!(text) } else { Ok(()) }
}

const WIDTH: usize = 80;

fn clipped(text: &str, width: usize) -> String {
    if text.len() <= width { text.to_owned() } else { format!("{}…", text.get(..width - 1).unwrap_or("")) }
}

/// A length of time in its two largest units at most.
fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (1..100, _, _) => format!("{days} d {} h", hours % 24),
        _ => format!("{days} d"),
    }
}

fn milliseconds(time: Duration) -> String {
    let tenths = time.as_micros() / 100;
    if tenths < 1000 { format!("{}.{} ms", tenths / 10, tenths % 10) } else { format!("{} ms", tenths / 10) }
}

/// A number of bytes in its largest decimal unit, with one digit behind the point below ten.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut rest, mut unit, mut size) = (count, 0, 1);
    while rest >= 1000 && unit + 1 < UNITS.len() {
        rest /= 1000;
        unit += 1;
        size *= 1000;
    }
    if unit > 0 && rest < 10 {
        format!("{rest}.{} {}", count % size * 10 / size, UNITS[unit])
    } else {
        format!("{rest} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::base::discard::Discard;
    use crate::base::event::Event;
    use crate::base::ids::HostId;
    use crate::base::limits::PACKETS;
    use crate::base::outbox::Outbox;
    use crate::base::settings::{InterfaceName, LogLevel, NetworkName, Secret};

    fn settings(initpeers: Vec<Host>) -> Settings {
        Settings {
            network: NetworkName::new("lauri-vpn").unwrap(),
            psk: Secret::new("verysecurepassword".into()),
            initpeers,
            local: None,
            port: 7000,
            enable_ipv4: true,
            enable_ipv6: true,
            sockmark: 0,
            device: None,
            tunneling: true,
            interface: InterfaceName::new("peervpn0").unwrap(),
            mtu: None,
            mac: None,
            ifconfig4: None,
            ifconfig6: None,
            upcmd: None,
            downcmd: None,
            neighbour_cache: false,
            relay: false,
            use_relay: true,
            keyfile: None,
            privileges: None,
            loglevel: LogLevel::Info,
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    struct Side {
        node: Node,
        out: Outbox,
        about: About,
        address: SocketAddr,
    }

    impl Side {
        fn new(number: u8, address: &str, initpeers: Vec<Host>) -> Side {
            let settings = settings(initpeers);
            Side {
                node: Node::new(&settings, [7; 32], [number; 32], [number; 32], at(0)),
                out: Outbox::new(PACKETS),
                about: About::new(&settings, Some("peervpn0"), 7000, at(0)),
                address: address.parse().unwrap(),
            }
        }

        fn text(&self, now: Instant) -> String {
            render(now, &self.about, &self.node, self.out.tally())
        }
    }

    /// Two nodes on one wire: what one sends, the other gets at once.
    fn talk(now: Instant, a: &mut Side, b: &mut Side) {
        a.node.handle_timeout(now, &mut a.out);
        b.node.handle_timeout(now, &mut b.out);
        loop {
            let quiet = !carry(now, a, b) & !carry(now, b, a);
            if quiet {
                return;
            }
        }
    }

    fn carry(now: Instant, from: &mut Side, to: &mut Side) -> bool {
        while let Some(event) = from.out.next_event() {
            if let Event::Resolve(host) = event {
                // Only the first name leads anywhere.
                let found: &[SocketAddr] = if host == HostId(0) { &[to.address] } else { &[] };
                from.node.handle_addresses(now, host, found, &mut from.out);
            }
        }
        let mut any = false;
        while let Some((_, packet)) = from.out.next_datagram() {
            let mut copy = to.out.blank().unwrap();
            copy.append(packet.bytes()).unwrap();
            from.out.recycle(packet);
            to.node.handle_datagram(now, from.address, copy, &mut to.out);
            any = true;
        }
        while let Some(frame) = from.out.next_frame() {
            from.out.recycle(frame);
        }
        any
    }

    /// A node that knows the other and one that nobody finds.
    fn pair() -> (Side, Side) {
        let host = |name: &str| Host { name: name.into(), port: 7000 };
        let mut a = Side::new(1, "203.0.113.10:7000", vec![]);
        let known = vec![host("a.example.org"), host("nobody.example.org")];
        let mut b = Side::new(2, "[2001:db8:1111:2222:3333:4444:5555:6666]:65535", known);
        talk(at(0), &mut a, &mut b);
        (a, b)
    }

    fn send_frame(now: Instant, from: &mut Side, length: usize) {
        let mut frame = from.out.blank().unwrap();
        frame.append(&vec![0xff; length]).unwrap();
        frame.bytes_mut()[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        from.node.handle_frame(now, frame, &mut from.out);
    }

    #[test]
    fn two_nodes_see_each_other() {
        let (mut a, mut b) = pair();
        send_frame(at(60), &mut a, 1500);
        send_frame(at(60), &mut a, 500);
        talk(at(60), &mut a, &mut b);
        a.out.count(Discard::Replayed);
        let [ours, theirs] = [a.text(at(8000)), b.text(at(8000))];
        let short = b.node.short();
        for line in [
            &format!("node       {}, running for 2 h 13 min", a.node.short()),
            "network    LAURI_VPN",
            "interface  peervpn0",
            "port       7000",
            "peers      1 connected",
            &format!("{short}  direct [2001:db8:1111:2222:3333:4444:5555:6666]:65535"),
            "discarded: 1 replayed",
        ] {
            assert!(ours.lines().any(|other| other == line), "no line '{line}' in:\n{ours}");
        }
        let figures: Vec<&str> = ours.lines().nth(9).unwrap().split_whitespace().collect();
        assert_eq!(
            figures[1..],
            ["2", "h", "13", "min", "2", "h", "13", "min", "0", "0", "B", "2", "2.0", "kB"]
        );
        assert!(theirs.contains("direct 203.0.113.10:7000"), "{theirs}");
        assert!(theirs.contains("\ninitial peers not connected: nobody.example.org:7000\n"), "{theirs}");
        assert!(!theirs.contains("a.example.org"), "{theirs}");
        let received: Vec<&str> = theirs.lines().nth(9).unwrap().split_whitespace().collect();
        assert_eq!(received[received.len() - 6..], ["2", "2.0", "kB", "0", "0", "B"]);
    }

    #[test]
    fn a_peer_that_left_is_connecting_and_its_address_is_not_shown() {
        let (mut a, mut b) = pair();
        b.node.stop(at(5), &mut b.out);
        carry(at(5), &mut b, &mut a);
        let text = a.text(at(5));
        assert!(text.contains("peers      0 connected, 1 not\n"), "{text}");
        assert!(text.contains(&format!("{}  connecting\n", b.node.short())), "{text}");
        assert!(!text.contains("2001:db8"), "{text}");
    }

    #[test]
    fn every_line_fits_the_screen_and_no_secret_is_in_it() {
        let (mut a, mut b) = pair();
        for why in crate::base::discard::DISCARDS {
            (0..1000).for_each(|_| b.out.count(why));
        }
        send_frame(at(1), &mut a, 1500);
        talk(at(1), &mut a, &mut b);
        // A relay, a long time and much traffic change widths only.
        for now in [at(1), at(59), at(86_400 * 99 + 86_399), at(86_400 * 5000)] {
            for text in [a.text(now), b.text(now)] {
                assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
                // S16
                assert!(!text.contains("verysecurepassword"));
            }
        }
    }

    #[test]
    fn numbers_read_well() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1999, "1.9 kB"),
            (34_567, "34 kB"),
            (999_999, "999 kB"),
            (1_200_000, "1.2 MB"),
            (u64::MAX, "18446 PB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
            (8_640_000, "100 d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
        assert_eq!(milliseconds(Duration::from_micros(12_345)), "12.3 ms");
        assert_eq!(milliseconds(Duration::from_micros(123_456)), "123 ms");
    }
}
