//! PROTOCOL.md against the program: every message that the page prints is made and read here, byte for byte, and
//! every time and limit that it names has the value that the program uses. So neither can drift from the other.
#![allow(clippy::disallowed_methods, reason = "tests read files of the repository")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use peervpn::base::event::NatKind;
use peervpn::base::ids::{CircuitId, NodeId, SessionIndex, ShortId, Suite};
use peervpn::base::limits;
use peervpn::base::packet::Packet;
use peervpn::base::settings::{NetworkName, Secret};
use peervpn::base::time::{Duration, Instant};
use peervpn::crypto::identity::{Identity, NetworkKeys, generate_psk, network_key, short_id};
use peervpn::crypto::random::Random;
use peervpn::crypto::schedule::{DirectionKeys, SessionKeys};
use peervpn::crypto::suite::{HopKey, SealKey};
use peervpn::peer::handshake::{AwaitM2, AwaitM3, Credentials, Established};
use peervpn::peer::session::{Role, Session};
use peervpn::wire::control::{
    AnnounceWriter, CircuitEnd, Control, Endpoints, Entry, Meeting, NamedBy, Subject,
};
use peervpn::wire::cursor::Writer;
use peervpn::wire::envelope::{Header, Kind, SEALED_HEADER, Type};
use peervpn::wire::hello::{
    Answer, Capabilities, Confirmation, HELLO1, HELLO2, HELLO3, Offer, RETRY, Suites,
};

const START: Instant = Instant::ZERO;

// ---- the page ----

fn repository(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The `name = value` lines of the blocks marked `vectors`; an indented line goes on with the one before it.
struct Vectors(BTreeMap<String, String>);

impl Vectors {
    fn read() -> Vectors {
        let page = repository("PROTOCOL.md");
        let mut vectors = BTreeMap::new();
        let (mut inside, mut name) = (false, String::new());
        for line in page.lines() {
            if line.starts_with("```") {
                inside = line == "```vectors";
            } else if inside && line.starts_with(' ') {
                vectors.get_mut(&name).map(|value: &mut String| value.push_str(line)).unwrap();
            } else if inside {
                let (left, right) = line.split_once(" =").unwrap_or_else(|| panic!("no vector: {line}"));
                name = left.to_owned();
                let twice = vectors.insert(name.clone(), right.trim().to_owned());
                assert_eq!(twice, None, "{name} stands there twice");
            }
        }
        Vectors(vectors)
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("PROTOCOL.md lacks the vector {name}"))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let digits: String = self.text(name).split_whitespace().collect();
        assert_eq!(digits.len() % 2, 0, "{name} has half a byte");
        let byte =
            |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or_else(|_| panic!("{name} at {at}"));
        (0..digits.len()).step_by(2).map(byte).collect()
    }

    fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap_or_else(|_| panic!("{name} has not {N} bytes"))
    }

    fn number(&self, name: &str) -> u64 {
        self.bytes(name).into_iter().fold(0, |sum, byte| sum << 8 | u64::from(byte))
    }

    fn u32(&self, name: &str) -> u32 {
        u32::try_from(self.number(name)).unwrap()
    }

    fn direction(&self, whose: &str) -> DirectionKeys {
        DirectionKeys {
            suite: Suite::default(),
            encryption: self.array(&format!("{whose}.encryption")),
            mac: self.array(&format!("{whose}.mac")),
            salt: self.array(&format!("{whose}.salt")),
            hop: self.array(&format!("{whose}.hop")),
        }
    }
}

// ---- keys and identity ----

#[test]
fn keys_follow_from_name_and_psk() {
    let page = Vectors::read();
    let network = NetworkName::new(page.text("network.name")).unwrap();
    assert_eq!(generate_psk(page.array("psk.bytes")), page.text("psk.text"));
    assert_eq!(NetworkName::new("lauri-vpn").unwrap().as_str(), "LAURI_VPN");
    for form in ["psk", "passphrase"] {
        let secret = Secret::new(page.text(&format!("{form}.text")).to_owned());
        let key = network_key(&network, &secret).unwrap();
        assert_eq!(key, page.array(&format!("{form}.network_key")));
        let keys = NetworkKeys::derive(&key, &network);
        assert_eq!(keys.handshake, page.array(&format!("{form}.handshake_psk")));
        if form == "psk" {
            assert_eq!([keys.stamp, keys.retry], [page.array("psk.stamp_key"), page.array("psk.retry_key")]);
        }
    }
}

#[test]
fn nodes_are_named_by_their_keys() {
    let page = Vectors::read();
    for role in ["initiator", "responder"] {
        let id = Identity::from_secret(page.array(&format!("{role}.static_secret"))).id();
        assert_eq!(id, NodeId(page.array(&format!("{role}.node_id"))));
        assert_eq!(short_id(&id), ShortId(page.array(&format!("{role}.short_id"))));
    }
}

// ---- the handshake ----

fn member(page: &Vectors, role: &str, capabilities: Capabilities) -> (Credentials, Random, SessionIndex) {
    let network = NetworkName::new(page.text("network.name")).unwrap();
    let keys = NetworkKeys::derive(&page.array("psk.network_key"), &network);
    let identity = Identity::from_secret(page.array(&format!("{role}.static_secret")));
    let seed = page.array(&format!("{role}.seed"));
    let ephemeral: [u8; 32] = Random::new(seed).bytes();
    assert_eq!(ephemeral, page.array(&format!("{role}.ephemeral_secret")));
    let index = SessionIndex(page.u32(&format!("{role}.index")));
    (Credentials::new(identity, &network, &keys, capabilities, Suites::new(&[])), Random::new(seed), index)
}

#[test]
fn a_whole_handshake() {
    let page = Vectors::read();
    let (initiator, mut random, index) = member(&page, "initiator", Capabilities::default());
    let await_m2 = AwaitM2::new(&initiator, &mut random, index);
    assert_eq!(await_m2.message()[..], page.bytes("m1"));

    let (responder, mut random, index) = member(&page, "responder", Capabilities::RELAY);
    let seen = "192.0.2.1:7000".parse().ok();
    let await_m3 = AwaitM3::new(&responder, &mut random, index, &page.bytes("m1"), seen).unwrap();
    assert_eq!(await_m3.message()[..], page.bytes("m2"));

    let (at_initiator, m3) = await_m2.handle(&initiator, &page.bytes("m2")).unwrap();
    assert_eq!(m3[..], page.bytes("m3"));
    let at_responder = await_m3.handle(&responder, &page.bytes("m3")).unwrap();

    assert_eq!(at_initiator.observed, seen);
    assert_eq!(at_initiator.capabilities, Capabilities::RELAY);
    assert_eq!(at_initiator.peer, NodeId(page.array("responder.node_id")));
    assert_eq!(at_responder.peer, NodeId(page.array("initiator.node_id")));
    for (role, ours, theirs) in
        [("initiator", &at_initiator, &at_responder), ("responder", &at_responder, &at_initiator)]
    {
        assert_keys(&page.direction(role), ours, theirs);
    }
}

#[test]
fn a_first_message_comes_again_with_the_token_of_a_retry() {
    let page = Vectors::read();
    let (initiator, mut random, index) = member(&page, "initiator", Capabilities::default());
    let (responder, ..) = member(&page, "responder", Capabilities::RELAY);
    let await_m2 = AwaitM2::new(&initiator, &mut random, index);
    assert!(responder.is_stamped(await_m2.message()));
    let token = page.array("retry.token");
    let retry = responder.retry(await_m2.message(), token).unwrap();
    assert_eq!(retry[..], page.bytes("retry"));
    let again = await_m2.retried(&initiator, &retry).unwrap();
    assert_eq!(again[..144], page.bytes("m1")[..144]);
    assert_eq!(again[144..], token);
}

fn assert_keys(wanted: &DirectionKeys, sealer: &Established, opener: &Established) {
    for keys in [&sealer.keys.seal, &opener.keys.open] {
        assert_eq!((keys.encryption, keys.mac), (wanted.encryption, wanted.mac));
        assert_eq!((keys.salt, keys.hop), (wanted.salt, wanted.hop));
    }
}

#[test]
fn session_keys_follow_from_the_split() {
    let page = Vectors::read();
    let (send, receive) = (page.array("split.initiator"), page.array("split.responder"));
    let hash = page.array("handshake_hash");
    let keys = SessionKeys::derive(&send, &receive, Suite::default(), &hash);
    assert_eq!(keys.seal.encryption, page.array("initiator.encryption"));
    assert_eq!(keys.open.mac, page.array("responder.mac"));
    for &suite in &Suite::ALL[1..] {
        let keys = SessionKeys::derive(&send, &receive, suite, &hash).seal.clone();
        let named = |what: &str| format!("suite{}.{what}", suite as u8);
        assert_eq!(keys.encryption, page.array(&named("encryption")));
        assert_eq!(keys.salt, page.array(&named("salt")));
        assert_eq!(keys.hop, page.array(&named("hop")));
    }
}

#[test]
fn payloads_of_the_handshake() {
    let page = Vectors::read();
    let suites = Suites([1, 0, 0, 0]);
    let offer = Offer {
        sender: SessionIndex(page.u32("initiator.index")),
        versions: (1, 1),
        suites,
        capabilities: Capabilities::default(),
    };
    assert_eq!(offer.to_bytes()[..], page.bytes("m1.payload"));
    let answer = Answer {
        sender: SessionIndex(page.u32("responder.index")),
        version: 1,
        suites,
        chosen: 1,
        capabilities: Capabilities::RELAY,
        seen: "192.0.2.1:7000".parse().ok(),
    };
    assert_eq!(answer.to_bytes()[..], page.bytes("m2.payload"));
    let confirmation = Confirmation { capabilities: Capabilities::default() };
    assert_eq!(confirmation.to_bytes()[..], page.bytes("m3.payload"));
}

#[test]
fn the_prologue_is_id_length_and_name() {
    let page = Vectors::read();
    let name = page.text("network.name");
    let length = [u8::try_from(name.len()).unwrap()];
    let joined = [b"PeerVPN handshake 1".as_slice(), &length, name.as_bytes()].concat();
    assert_eq!(joined, page.bytes("prologue"));
}

// ---- sealed and relayed packets ----

#[test]
fn every_suite_seals_and_opens_so() {
    let page = Vectors::read();
    let numbers: Vec<u8> = Suite::ALL.iter().map(|suite| *suite as u8).collect();
    assert!([&[1, 2][..], &[1, 2, 3]].contains(&&numbers[..]), "{numbers:?}");
    for &suite in &Suite::ALL[1..] {
        let direction = DirectionKeys { suite, ..page.direction("direction") };
        for (name, kind) in [("keepalive", Kind::Keepalive), ("frame", Kind::Frame)] {
            let counter = page.number(&format!("{name}.counter"));
            let index = SessionIndex(page.u32("direction.index"));
            let mut sealed = vec![0; SEALED_HEADER];
            Header { index, counter }.write_sealed(&mut sealed);
            sealed.push(kind as u8);
            sealed.extend(page.bytes(&format!("{name}.payload")));
            sealed.extend([0; limits::SEAL_BACK]);
            SealKey::new(&direction).seal(counter, &mut sealed, None).unwrap();
            let wanted = page.bytes(&format!("{name}.suite{}", suite as u8));
            assert_eq!(sealed, wanted, "{name} {suite:?}");

            let keys = SessionKeys { seal: page.direction("initiator"), open: direction.clone() };
            let none = SessionIndex(0);
            let mut session = Session::new(START, &keys, Role::Responder, index, none, Duration::ZERO);
            let mut packet = packet(&wanted);
            assert_eq!(session.open(START, &mut packet), Ok(kind), "{name} {suite:?}");
            assert_eq!(packet.bytes(), page.bytes(&format!("{name}.payload")));
        }
    }
}

/// A session that opens what the page's direction seals.
fn receiver(page: &Vectors) -> Session {
    let index = SessionIndex(page.u32("direction.index"));
    let keys = SessionKeys { seal: page.direction("initiator"), open: page.direction("direction") };
    Session::new(START, &keys, Role::Responder, index, SessionIndex(0), Duration::ZERO)
}

fn packet(bytes: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.append(bytes).unwrap();
    packet
}

const SEALED: [(&str, Kind); 10] = [
    ("keepalive", Kind::Keepalive),
    ("control", Kind::Control),
    ("challenge", Kind::Challenge),
    ("response", Kind::Response),
    ("close", Kind::Close),
    ("fragment1", Kind::Fragment),
    ("fragment2", Kind::Fragment),
    ("probe", Kind::Probe),
    ("probe_answer", Kind::Probe),
    ("frame", Kind::Frame),
];

#[test]
fn every_kind_of_sealed_packet_is_sealed_so() {
    let page = Vectors::read();
    let key = SealKey::new(&page.direction("direction"));
    for (name, kind) in SEALED {
        let counter = page.number(&format!("{name}.counter"));
        let payload = page.bytes(&format!("{name}.payload"));
        let mut sealed = vec![0; SEALED_HEADER];
        let index = SessionIndex(page.u32("direction.index"));
        Header { index, counter }.write_sealed(&mut sealed);
        sealed.push(kind as u8);
        sealed.extend(&payload);
        sealed.extend([0; limits::SEAL_BACK]);
        key.seal(counter, &mut sealed, None).unwrap();
        assert_eq!(sealed, page.bytes(name), "{name}");
    }
}

#[test]
fn every_kind_of_sealed_packet_is_opened_so() {
    let page = Vectors::read();
    let mut session = receiver(&page);
    for (name, kind) in SEALED {
        let mut packet = packet(&page.bytes(name));
        assert_eq!(session.open(START, &mut packet), Ok(kind), "{name}");
        assert_eq!(packet.bytes(), page.bytes(&format!("{name}.payload")), "{name}");
    }
}

#[test]
fn a_session_counts_from_zero() {
    let page = Vectors::read();
    let keys = SessionKeys { seal: page.direction("direction"), open: page.direction("initiator") };
    let index = SessionIndex(page.u32("direction.index"));
    let mut session = Session::new(START, &keys, Role::Initiator, SessionIndex(0), index, Duration::ZERO);
    for (name, kind) in &SEALED[..5] {
        let mut packet = packet(&page.bytes(&format!("{name}.payload")));
        session.seal(START, *kind, &mut packet).unwrap();
        assert_eq!(packet.bytes(), page.bytes(name), "{name}");
    }
}

#[test]
fn a_packet_on_its_way_through_a_relay() {
    let page = Vectors::read();
    let (whole, inside) = (page.bytes("relayed"), page.bytes("relayed.inside"));
    assert_eq!(inside, page.bytes("frame"));
    let header =
        Header { index: SessionIndex(page.u32("direction.index")), counter: page.number("relayed.counter") };
    let mut head = [0; limits::RELAY_FRONT - 8];
    header.write_relayed(CircuitId(page.u32("relayed.circuit")), &mut head);
    let mac = HopKey::new(&page.array("direction.hop")).mac(&head, &inside);
    assert_eq!([head.as_slice(), &mac, &inside].concat(), whole);

    let mut packet = packet(&whole);
    assert_eq!(receiver(&page).unwrap(&mut packet), Ok(CircuitId(page.u32("relayed.circuit"))));
    assert_eq!(packet.bytes(), inside);
}

#[test]
fn datagrams_have_the_types_and_lengths_of_the_page() {
    let page = Vectors::read();
    for (name, kind, length) in [
        ("m1", Type::Hello1, HELLO1),
        ("m2", Type::Hello2, HELLO2),
        ("m3", Type::Hello3, HELLO3),
        ("retry", Type::Retry, RETRY),
        ("frame", Type::Sealed, 29 + 42),
        ("relayed", Type::Relayed, 24 + 29 + 42),
    ] {
        let bytes = page.bytes(name);
        assert_eq!((Type::of(&bytes), bytes.len()), (Ok(kind), length), "{name}");
    }
    assert_eq!((HELLO1, HELLO2, HELLO3), (160, 154, 86));
}

// ---- control messages ----

fn written(message: &Control<'_>) -> Vec<u8> {
    let mut room = [0; limits::CONTROL_MAX];
    let mut writer = Writer::new(&mut room);
    message.write(&mut writer).unwrap();
    let length = writer.written();
    room[..length].to_vec()
}

#[test]
fn every_control_message_is_written_and_read_so() {
    let page = Vectors::read();
    let circuit = |name| CircuitId(page.u32(name));
    let node = |name| NodeId(page.array(name));
    let seen: SocketAddr = "192.0.2.1:7000".parse().unwrap();
    let mut endpoints = Endpoints::default();
    endpoints.append(seen);
    let meeting = Meeting {
        answer: page.number("punch.answer") == 1,
        nat: NatKind::from_byte(u8::try_from(page.number("punch.nat")).unwrap()),
        token: page.array("punch.token"),
        node: node("punch.node"),
        endpoints,
    };
    assert_eq!(page.bytes("observed")[1..], page.bytes("punch.address"));
    let (hello, wanted) = (page.bytes("hello.message"), page.bytes("announced.wanted"));
    assert_eq!([page.number("close_circuit.named_by"), page.number("close_circuit.reason")], [1, 3]);
    for (name, message) in [
        ("hello", Control::Hello(&hello)),
        ("announced", Control::Announced { sequence: page.u32("announced.sequence"), wanted: &wanted }),
        (
            "open_circuit",
            Control::OpenCircuit { mine: circuit("open_circuit.mine"), target: node("open_circuit.target") },
        ),
        (
            "offer_circuit",
            Control::OfferCircuit {
                mine: circuit("offer_circuit.mine"),
                origin: node("offer_circuit.origin"),
            },
        ),
        (
            "accept_circuit",
            Control::AcceptCircuit {
                yours: circuit("accept_circuit.yours"),
                mine: circuit("accept_circuit.mine"),
            },
        ),
        (
            "close_circuit",
            Control::CloseCircuit {
                circuit: circuit("close_circuit.circuit"),
                named_by: NamedBy::Sender,
                reason: CircuitEnd::Full,
            },
        ),
        ("punch_request", Control::PunchRequest(meeting)),
        ("punch", Control::Punch(meeting)),
        ("observed", Control::Observed(seen)),
        ("loop_question", Control::LoopQuestion(page.array("loop.nonce"))),
        ("loop_answer", Control::LoopAnswer(page.array("loop.nonce"))),
    ] {
        let bytes = page.bytes(name);
        assert_eq!(written(&message), bytes, "{name}");
        assert_eq!(written(&Control::read(&bytes).unwrap()), bytes, "{name}");
    }
    assert_eq!(page.bytes("control.payload"), page.bytes("announced"));
}

#[test]
fn an_announcement_is_written_and_read_so() {
    let page = Vectors::read();
    let mut endpoints = Endpoints::default();
    endpoints.add("192.0.2.1:7000".parse().unwrap());
    let brief = Entry { reachable: true, subject: Subject::Brief(ShortId([1; 8])) };
    let full = Entry { reachable: false, subject: Subject::Full(NodeId([2; 32]), endpoints) };
    let mut room = [0; limits::CONTROL_MAX];
    let mut writer = AnnounceWriter::new(&mut room, page.u32("announce.sequence")).unwrap();
    assert!(writer.add(&brief) && writer.add(&full));
    let length = writer.written();
    let bytes = page.bytes("announce");
    assert_eq!(room[..length], bytes);
    assert_eq!(bytes[5..], [page.bytes("announce.brief"), page.bytes("announce.full")].concat());
    let Ok(Control::Announce(announce)) = Control::read(&bytes) else { panic!("it is an announcement") };
    assert_eq!(announce.sequence, page.u32("announce.sequence"));
    assert_eq!(announce.entries().collect::<Vec<_>>(), [brief, full]);
}

// ---- times and limits ----

/// Rows `| name | value | …` of the section whose heading begins so.
fn rows(heading: &str) -> BTreeMap<String, String> {
    let page = repository("PROTOCOL.md");
    let section = page.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
    let mut rows = BTreeMap::new();
    for line in section.take_while(|line| !line.starts_with("## ")) {
        if let Some(row) = line.strip_prefix("| `") {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
            let twice = rows.insert(cells.next().unwrap(), cells.next().unwrap());
            assert_eq!(twice, None, "{line}");
        }
    }
    rows
}

fn in_words(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}

macro_rules! values {
    ($($name:ident)*) => { [$((stringify!($name), limits::$name)),*] };
}

#[test]
fn the_times_are_those_of_the_program() {
    let times = values!(REKEY_INITIATOR REKEY_RESPONDER REKEY_JITTER REKEY_YIELD FRAMES_UNTIL ACCEPT_GRACE IDLE_GRACE
        SESSION_UNTIL SESSION_RENEWAL INDEX_REST FIRST_PAUSE BACKOFF_MAX BACKOFF_HOST RESOLVE_AFTER FORGET_AFTER
        PLACE_EVERY BACKOFF_LIVE ANSWER_LIFE CONFIRM_LIFE CONFIRM_EVERY KEEPALIVE KEEPALIVE_MAX KEEPALIVE_LATE KEEPALIVE_LEARN QUIET PROBE_AFTER PROBE_EVERY DEAD_AFTER LOST_FOR UPGRADE_MAX
        RELAY_HEADSTART FRAGMENT_LIFE MTU_RAISE MTU_CONFIRM MTU_STALL NEWS_DELAY NEWS_EVERY NEWS_AGAIN BEACON_EVERY BEACON_JITTER MEET_EVERY CIRCUIT_AGAIN CIRCUIT_IDLE
        STRANGERS_PAUSE STRANGERS_PATIENCE HANDSHAKE_COST NETWORK_EVERY TOKEN_LIFE REKEY_EVERY LOOP_EVERY LOOP_FIRST LOOP_FRESH LOOP_HOLD PUNCH_EVERY MEETINGS_EVERY ROW_EVERY
        TWIN_GRACE TWIN_SETTLES);
    let wanted: BTreeMap<_, _> = times.map(|(name, time)| (name.to_owned(), in_words(time))).into();
    assert_eq!(rows("## 12. Times"), wanted);

    // No time of the program is forgotten on the page, but for those that no other node notices.
    let inner = [
        "SWEEP",
        "RECALL_AFTER",
        "STORED_AFTER",
        "STORED_EVERY",
        "MAC_LIFE",
        "MAC_RENEWAL",
        "MOVES_REST",
        "NEIGHBOUR_LIFE",
        "NETWORK_SETTLES",
        "STORM_PAUSE",
        "MAPPED_LEAST",
        "MAPPED_MOST",
        "RENEW_LEAST",
        "PCP_FIRST",
        "NAT_PMP_FIRST",
        "PORTMAP_REST",
        "NAT64_AGE",
    ];
    let source = repository("src/base/limits.rs");
    let times = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": Duration"));
    for (name, _) in times {
        assert!(wanted.contains_key(name) || inner.contains(&name), "PROTOCOL.md lacks {name}");
    }
}

#[test]
fn the_limits_are_those_of_the_program() {
    let sizes = values!(FRAME_MAX PATH_FLOOR FRAGMENTS FRAGMENTS_PER_PEER CONTROL_MAX DATAGRAM_MAX PEERS ENDPOINTS_PER_PEER ANSWERS CIRCUITS_PER_PEER CIRCUITS
        HELLOS_REMEMBERED INDEXES_OURS INDEXES_RESTING PSK_MIN NEWS_ENTRIES ANSWERS_EASY STRANGERS_WAITING)
    .map(|(name, value)| (name.to_owned(), value.to_string()));
    let rates = values!(HINTS_PER_SECOND HINTS_BURST PLACE_BURST STRANGERS_PART STRANGERS_BURST NETWORK_BURST WIDE RETRY_SHARES REKEY_BURST NEWS_BURST CIRCUIT_PACKETS LOOP_ASKS MEETINGS_BURST)
        .map(|(name, value)| (name.to_owned(), value.to_string()));
    let windows = values!(REPLAY_WINDOW HOP_WINDOW).map(|(name, value)| (name.to_owned(), value.to_string()));
    let mut wanted: BTreeMap<String, String> = sizes.into_iter().chain(rates).chain(windows).collect();
    wanted.insert("MTU_TRIES".into(), limits::MTU_TRIES.to_string());
    let small = values!(RETRIES RETRIES_SENT ANSWER_COPIES FAILURES);
    wanted.extend(small.map(|(name, value)| (name.to_owned(), value.to_string())));
    wanted.insert("CIRCUIT_TRIES".into(), limits::CIRCUIT_TRIES.to_string());
    wanted.insert("COMPARISONS".into(), limits::COMPARISONS.to_string());
    wanted.insert("PORTS_GUESSED".into(), limits::PORTS_GUESSED.to_string());
    assert_eq!((limits::COUNTER_MAX, limits::REKEY_AFTER_PACKETS), ((1 << 48) - 1, 1 << 40));
    wanted.insert("COUNTER_MAX".into(), "2^48 − 1".into());
    wanted.insert("REKEY_AFTER_PACKETS".into(), "2^40".into());
    assert_eq!(rows("## 13. Limits"), wanted);
}

#[test]
fn every_name_in_capitals_is_explained() {
    let page = repository("PROTOCOL.md");
    let known: BTreeSet<String> =
        rows("## 12. Times").into_keys().chain(rows("## 13. Limits").into_keys()).collect();
    for name in page.split('`').skip(1).step_by(2) {
        let shouts =
            name.len() > 1 && name.contains('_') && name.chars().all(|c| c == '_' || c.is_ascii_uppercase());
        assert!(!shouts || name == "LAURI_VPN" || known.contains(name), "{name} has no row");
    }
}
