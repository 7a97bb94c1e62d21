//! What a node tells of itself when asked: the facts, for [`views`](crate::views) to make a page, JSON or a
//! graph of.
//!
//! No input and output here, and nothing secret to tell (S16). Times are in the unit that the key ends in.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use crate::base::discard::Tally;
use crate::base::event::{MapState, NatKind, Obstacle, Refusal};
use crate::base::facts::Facts;
use crate::base::ids::PeerKey;
use crate::base::settings::{Host, Settings};
use crate::base::time::{Duration, Instant};
use crate::lan::switch::Place;
use crate::mesh::peers::Member;
use crate::node::Node;
use crate::peer::path::Path;

/// What the node itself does not know.
#[derive(Clone, Debug)]
pub struct About {
    network: String,
    /// The TAP's name as the kernel gave it; none without one.
    interface: Option<String>,
    /// The UDP port in use.
    port: u16,
    hosts: Vec<Host>,
    relays: bool,
    keeps_key: bool,
    /// The prefix of the NAT64 that IPv4 goes through; none without.
    nat64: Option<String>,
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
            relays: settings.relay,
            keeps_key: settings.keyfile.is_some(),
            nat64: None,
            started,
        }
    }

    /// IPv4 goes through a NAT64 of that prefix from now on, or through none.
    pub fn set_nat64(&mut self, prefix: Option<String>) {
        self.nat64 = prefix;
    }
}

/// How much is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Node, peers, initial peers, counters.
    Short,
    /// The stations behind each peer too, of which there may be thousands.
    Whole,
}

/// All there is to tell at `now`.
pub fn tell(now: Instant, about: &About, node: &Node, tally: &Tally, extent: Extent) -> String {
    let mut facts = Facts::new();
    tell_node(&mut facts, now, about, node);
    tell_mapping(&mut facts, now, node);
    let mut members: Vec<(PeerKey, &Member)> = node.members().collect();
    // Connected ones first, those who have been for longest at the top.
    members.sort_by_key(|(_, member)| (member.peer.up_since().is_none(), member.peer.up_since()));
    for &(key, member) in &members {
        tell_peer(&mut facts, now, node, key, member);
    }
    for (_, member) in members.iter().filter(|(_, member)| member.peer.is_up()) {
        if let Some(address) = &member.seen_us {
            facts.record("observed").field("peer", &member.peer.short()).field("address", address);
        }
    }
    for &(key, member) in &members {
        tell_places(&mut facts, member);
        tell_reached(&mut facts, node, key, member);
    }
    tell_hosts(&mut facts, about, node);
    if extent == Extent::Whole {
        tell_stations(&mut facts, now, node);
    }
    for (peer, floods) in node.beside() {
        let forwards = if floods { "peer" } else { "node" };
        facts.record("beside").field("peer", &peer).field("forwards", &forwards);
    }
    let (relayed, circuits) = node.relayed();
    facts
        .record("relayed")
        .field("packets", &relayed.packets)
        .field("bytes", &relayed.bytes)
        .field("circuits", &circuits);
    for (why, count) in tally.iter() {
        facts.record("discard").field("reason", &why.label()).field("packets", &count);
    }
    facts.finish()
}

fn tell_node(facts: &mut Facts, now: Instant, about: &About, node: &Node) {
    let interface = about.interface.as_ref();
    facts
        .record("node")
        .field("id", &node.short())
        .field("version", &env!("CARGO_PKG_VERSION"))
        .field("network", &about.network)
        .maybe("interface", interface.map(|name| name as _))
        .field("port", &about.port)
        .field("uptime_ms", &(micros(now.since(about.started)) / 1000))
        .field("nat", &nat(node.nat()))
        .maybe("nat64", about.nat64.as_ref().map(|prefix| prefix as _))
        .field("relay", &yes(about.relays))
        .field("keyfile", &yes(about.keeps_key));
}

fn tell_mapping(facts: &mut Facts, now: Instant, node: &Node) {
    let Some(mapping) = node.mapping() else { return };
    let protocol = if mapping.pcp { "pcp" } else { "nat-pmp" };
    facts.record("mapping").field("gateway", &mapping.gateway);
    match mapping.state {
        MapState::Asking => _ = facts.field("state", &"asking").field("protocol", &protocol),
        MapState::Granted { at, until } => {
            facts.field("state", &"granted").field("protocol", &protocol);
            facts.field("address", &at).field("left_s", &until.since(now).as_secs());
        }
        MapState::Refused(why) => _ = facts.field("state", &"refused").field("why", &refusal(why)),
        MapState::Silent => _ = facts.field("state", &"silent"),
    }
}

fn tell_peer(facts: &mut Facts, now: Instant, node: &Node, key: PeerKey, member: &Member) {
    let peer = &member.peer;
    facts.record("peer").field("id", &peer.short());
    if let Some(why) = node.why_indirect(now, key) {
        facts.field("why", &obstacle(why.obstacle)).field("why_s", &now.since(why.since).as_secs());
    }
    let Some(since) = peer.up_since() else {
        facts.field("path", &"none");
        return;
    };
    match peer.path() {
        Some(Path::Direct(address)) => _ = facts.field("path", &"direct").field("address", &address),
        Some(Path::Via { relay, .. }) => {
            facts.field("path", &"relayed");
            if let Some(relay) = node.short_of(relay) {
                facts.field("relay", &relay);
            }
        }
        None => _ = facts.field("path", &"none"),
    }
    let rtt = peer.rtt().map(micros);
    facts.maybe("rtt_us", rtt.as_ref().map(|rtt| rtt as _));
    let mtu = peer.mtu();
    facts.maybe("mtu", mtu.as_ref().map(|mtu| mtu as _));
    facts.field("up_s", &now.since(since).as_secs());
    if let Some(session) = peer.sessions().current() {
        facts.field("key_age_s", &now.since(session.established_at()).as_secs());
        facts.field("cipher", &session.suite().name());
        let loss = session.loss();
        facts.maybe("loss_permille", loss.as_ref().map(|loss| loss as _));
    }
    let carried = peer.traffic();
    facts
        .field("frames_in", &carried.opened.frames)
        .field("bytes_in", &carried.opened.bytes)
        .field("frames_out", &carried.sealed.frames)
        .field("bytes_out", &carried.sealed.bytes)
        .field("silent_s", &now.since(peer.last_heard()).as_secs());
}

/// Where the peer might be reached directly, and is not.
fn tell_places(facts: &mut Facts, member: &Member) {
    let peer = &member.peer;
    let in_use = |address: &SocketAddr| peer.path() == Some(Path::Direct(*address));
    for address in peer.endpoints().iter().filter(|address| !in_use(address)) {
        let from = if peer.endpoints().proved.has(address) { "proved" } else { "told" };
        facts
            .record("candidate")
            .field("peer", &peer.short())
            .field("address", &address)
            .field("known", &from);
    }
}

/// Whom the peer says to reach directly.
fn tell_reached(facts: &mut Facts, node: &Node, key: PeerKey, member: &Member) {
    if !member.peer.is_up() {
        return;
    }
    for (other, there) in node.members() {
        if other != key && member.news.reaches(other.slot) {
            facts.record("reach").field("peer", &member.peer.short()).field("other", &there.peer.short());
        }
    }
}

fn tell_hosts(facts: &mut Facts, about: &About, node: &Node) {
    for (id, entry) in node.hosts() {
        let Some(host) = about.hosts.get(usize::from(id.0)) else { continue };
        facts.record("host").field("name", host);
        match entry.peer.and_then(|key| node.short_of(key)) {
            Some(peer) => _ = facts.field("state", &"connected").field("peer", &peer),
            None if entry.addresses().next().is_none() => _ = facts.field("state", &"unresolved"),
            None => _ = facts.field("state", &"silent"),
        }
    }
}

fn tell_stations(facts: &mut Facts, now: Instant, node: &Node) {
    for station in node.switch().entries() {
        facts.record("station").field("mac", &station.mac).field("vlan", &station.vlan);
        match station.place {
            Place::Local => _ = facts.field("place", &"local"),
            Place::Peer(key) => {
                let peer = node.short_of(key);
                facts.field("place", &"peer").maybe("peer", peer.as_ref().map(|peer| peer as _));
            }
        }
        facts.field("seen_s", &now.since(station.seen).as_secs());
    }
}

fn obstacle(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Trying => "trying",
        Obstacle::NoAddress => "no-address",
        Obstacle::FamilyOff { ipv6: false } => "ipv4-off",
        Obstacle::FamilyOff { ipv6: true } => "ipv6-off",
        Obstacle::BothSymmetric => "both-symmetric",
        Obstacle::NoAnswer(_) => "no-answer",
    }
}

fn refusal(why: Refusal) -> &'static str {
    match why {
        Refusal::Forbidden => "forbidden",
        Refusal::NoNetwork => "no-network",
        Refusal::NoRoom => "no-room",
        Refusal::BadAddress => "bad-address",
        Refusal::Other => "other",
    }
}

fn nat(kind: NatKind) -> &'static str {
    match kind {
        NatKind::Unknown => "unknown",
        NatKind::Open => "none",
        NatKind::EndpointIndependent => "one-port",
        NatKind::Symmetric => "symmetric",
    }
}

/// Microseconds. As 64 bits, which routers can print at little cost.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::base::discard::Discard;
    use crate::base::event::Event;
    use crate::base::facts::{self, Fact};
    use crate::base::ids::HostId;
    use crate::base::limits::PACKETS;
    use crate::base::outbox::Outbox;
    use crate::base::settings::{CallFilter, InterfaceName, LanDiscovery, LogLevel, NetworkName, Secret};

    fn settings(initpeers: Vec<Host>) -> Settings {
        Settings {
            network: NetworkName::new("lauri-vpn").unwrap(),
            psk: Secret::new("verysecurepassword".into()),
            psk_next: None,
            allow: Vec::new(),
            deny: Vec::new(),
            initpeers,
            local: None,
            port: 7000,
            enable_ipv4: true,
            enable_ipv6: true,
            nat64: false,
            sockmark: 0,
            device: None,
            offload: true,
            tunneling: true,
            interface: InterfaceName::new("peervpn0").unwrap(),
            mtu: None,
            mac: None,
            ifconfig4: None,
            ifconfig6: None,
            upcmd: None,
            downcmd: None,
            neighbour_cache: false,
            pins: Vec::new(),
            filter_dhcp: false,
            ciphers: Vec::new(),
            lan_discovery: LanDiscovery::No,
            port_mapping: false,
            relay: false,
            use_relay: true,
            keyfile: None,
            statefile: None,
            privileges: None,
            call_filter: CallFilter::Off,
            status_group: None,
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
                node: Node::new(&settings, &[7; 32], &[number; 32], &[number; 32], at(0)),
                out: Outbox::new(PACKETS),
                about: About::new(&settings, Some("peervpn0"), 7000, at(0)),
                address: address.parse().unwrap(),
            }
        }

        fn text(&self, now: Instant) -> String {
            tell(now, &self.about, &self.node, self.out.tally(), Extent::Short)
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

    fn one<'a>(told: &[Fact<'a>], name: &str) -> Fact<'a> {
        *told.iter().find(|fact| fact.name == name).unwrap()
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
        send_frame(at(60), &mut a, 1000);
        send_frame(at(60), &mut a, 500);
        talk(at(60), &mut a, &mut b);
        a.out.count(Discard::Replayed);
        let [ours, theirs] = [a.text(at(8000)), b.text(at(8000))];
        let [ours, theirs]: [Vec<Fact<'_>>; 2] =
            [facts::read(&ours).collect::<Vec<_>>(), facts::read(&theirs).collect()];

        let node = one(&ours, "node");
        assert!(node.is("id", &a.node.short().to_string()));
        assert!(node.is("network", "LAURI_VPN") && node.is("interface", "peervpn0"));
        assert_eq!((node.number("port"), node.number("uptime_ms")), (Some(7000), Some(8_000_000)));
        let peer = one(&ours, "peer");
        assert!(peer.is("id", &b.node.short().to_string()) && peer.is("path", "direct"));
        assert!(peer.is("address", "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"));
        let figures = |peer: Fact<'_>| {
            ["frames_in", "bytes_in", "frames_out", "bytes_out", "up_s"].map(|key| peer.number(key).unwrap())
        };
        assert_eq!(figures(peer), [0, 0, 2, 1500, 8000]);
        assert!(one(&ours, "discard").is("reason", "replayed") && one(&ours, "discard").is("packets", "1"));

        assert!(one(&theirs, "peer").is("address", "203.0.113.10:7000"));
        assert_eq!(figures(one(&theirs, "peer")), [2, 1500, 0, 0, 8000]);
        let hosts: Vec<_> = theirs
            .iter()
            .filter(|fact| fact.name == "host")
            .map(|host| (host.get("name"), host.get("state")))
            .collect();
        let expected = [("a.example.org:7000", "connected"), ("nobody.example.org:7000", "unresolved")];
        assert_eq!(hosts, expected.map(|(name, state)| (Some(name), Some(state))));
    }

    #[test]
    fn a_peer_that_left_is_connecting_and_may_be_where_it_was() {
        let (mut a, mut b) = pair();
        b.node.stop(at(5), &mut b.out);
        carry(at(5), &mut b, &mut a);
        let text = a.text(at(5));
        let told: Vec<Fact<'_>> = facts::read(&text).collect();
        let peer = one(&told, "peer");
        assert!(peer.is("path", "none") && peer.get("up_s").is_none() && peer.get("address").is_none());
        assert!(one(&told, "candidate").is("address", "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"));
        assert!(one(&told, "candidate").is("known", "proved"));
    }

    #[test]
    fn stations_are_told_when_asked_for() {
        let (mut a, mut b) = pair();
        send_frame(at(1), &mut a, 100);
        talk(at(1), &mut a, &mut b);
        assert!(!b.text(at(3)).contains("station"));
        for (side, place) in [(&a, "local"), (&b, "peer")] {
            let text = tell(at(3), &side.about, &side.node, side.out.tally(), Extent::Whole);
            let station = facts::read(&text).find(|fact| fact.name == "station").unwrap();
            assert!(station.is("mac", "02:00:00:00:00:01") && station.is("place", place), "{text}");
            assert_eq!(station.number("seen_s"), Some(2));
        }
    }

    #[test]
    fn no_secret_is_told() {
        let (a, b) = pair();
        for side in [&a, &b] {
            // S16
            let text = tell(at(1), &side.about, &side.node, side.out.tally(), Extent::Whole);
            assert!(!text.contains("verysecurepassword"));
        }
    }
}
