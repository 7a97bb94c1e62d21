//! Where fuzzing begins: one good example of each thing, so that no fuzzer has to guess what a handshake or an option
//! is called.

use peervpn::base::ids::{CircuitId, NodeId};
use peervpn::config::options::OPTIONS;
use peervpn::wire::control::{AnnounceWriter, CircuitEnd, Control, Endpoints, Entry, NamedBy, Subject};
use peervpn::wire::cursor::Writer;

use super::sim::spec::public;

/// Inputs, each with the name of its target.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    for text in controls() {
        // As a message of its own, and sealed by either member of `member`.
        seeds.push(("member", [act(0, 3, &text), act(20, 0, &[]), act(1, 3, &text)].concat()));
        seeds.push(("control", text));
    }
    for frame in frames() {
        seeds.push(("member", [vec![18], piece(&frame), act(0, 0, &frame)].concat()));
        seeds.push(("frame", [vec![0], piece(&frame), vec![2], piece(&frame), vec![3, 0, 0]].concat()));
        seeds.push(("world", [&[1, 13, 0, 0][..], &piece(&frame), &[0, 0, 255]].concat()));
    }
    for kind in 0..8 {
        seeds.push(("member", [act(0, kind, &[7; 8]), vec![14, 0, 0, 0, 1, 9, 24, 22, 0, 9]].concat()));
    }
    for kind in 1..8 {
        for length in [24, 44, 152, 184, 104, 1200] {
            let mut datagram = vec![0x5a; length];
            datagram[..2].copy_from_slice(&[kind, 0]);
            seeds.push(("hello", datagram.clone()));
            seeds.push(("stranger", [vec![7], piece(&datagram), vec![8], piece(&datagram)].concat()));
        }
    }
    for what in 0..16 {
        seeds.push((
            "world",
            vec![0, what, 1, 128, 0, 2, 255, 12, 3, 0, 5, 0, 2, 40, 1, 1, 0, 20, what, 14, 99],
        ));
    }
    seeds.push(("request", [vec![0, 0, 1, b'x', 0], piece(b"status\n"), vec![1, 0, 0]].concat()));
    seeds.extend(texts());
    seeds
}

fn act(what: u8, kind: u8, text: &[u8]) -> Vec<u8> {
    [vec![what, kind], piece(text)].concat()
}

/// A piece with its length in front.
fn piece(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short");
    [&length.to_be_bytes()[..], bytes].concat()
}

fn controls() -> Vec<Vec<u8>> {
    let (mine, yours, node) = (CircuitId(1), CircuitId(2), NodeId([5; 32]));
    let messages = [
        Control::Hello(&[1; 152]),
        Control::Announced { sequence: 1, wanted: &[0, 1] },
        Control::OpenCircuit { mine, target: node },
        Control::OfferCircuit { mine, origin: node },
        Control::AcceptCircuit { yours, mine },
        Control::CloseCircuit { circuit: mine, named_by: NamedBy::Sender, reason: CircuitEnd::Full },
        Control::LoopQuestion([3; 8]),
        Control::LoopAnswer([3; 8]),
    ];
    let mut texts: Vec<Vec<u8>> = messages
        .iter()
        .map(|message| {
            let mut room = [0; 512];
            let mut writer = Writer::new(&mut room);
            message.write(&mut writer).expect("room");
            let length = writer.written();
            room[..length].to_vec()
        })
        .collect();
    let mut room = [0; 512];
    let mut writer = AnnounceWriter::new(&mut room, 1).expect("room");
    let mut endpoints = Endpoints::default();
    endpoints.add(public(7));
    endpoints.add("[2001:db8::1]:7000".parse().expect("an address"));
    assert!(writer.add(&Entry { reachable: true, subject: Subject::Full(node, endpoints) }));
    let length = writer.written();
    texts.push(room[..length].to_vec());
    texts
}

/// ARP and NDP, with and without a VLAN, and something else.
fn frames() -> Vec<Vec<u8>> {
    let station = [2, 0, 0, 0, 0, 1];
    let head = |destination: [u8; 6], kind: [u8; 2]| [&destination[..], &station, &kind].concat();
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &station, &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 2]].concat();
    let target = [&[0xfe, 0x80][..], &[0; 13], &[2]].concat();
    let solicitation = [
        &[0x60, 0, 0, 0, 0, 32, 58, 255, 0xfe, 0x80][..],
        &[0; 13],
        &[1, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2],
        &[135, 0, 0x5e, 0x7d, 0, 0, 0, 0],
        &target,
        &[1, 1],
        &station,
    ]
    .concat();
    vec![
        [head([0xff; 6], [8, 6]), arp.clone()].concat(),
        [head([0xff; 6], [0x81, 0]), vec![0, 5, 8, 6], arp].concat(),
        [head([0x33, 0x33, 0xff, 0, 0, 2], [0x86, 0xdd]), solicitation].concat(),
        [head([2, 0, 0, 0, 0, 2], [8, 0]), vec![0x45; 46]].concat(),
    ]
}

/// Every option with a value of its kind, alone and all together, in both grammars; and the shipped examples.
fn texts() -> Vec<(&'static str, Vec<u8>)> {
    let (example, section) = (
        &include_bytes!("../../files/etc/peervpn/peervpn.conf")[..],
        &include_bytes!("../../files/etc/config/peervpn")[..],
    );
    let mut seeds = vec![("conf", example.to_vec()), ("uci", section.to_vec())];
    let key = "psk \"a key of 12, or more\"";
    let mut all = format!("{key}\n");
    for row in OPTIONS {
        let value = match (row.default, row.hint) {
            ("", hint) if hint.starts_with("HOST") => "vps.example.org 7000",
            ("", hint) if hint.starts_with("NODE-ID MAC") => "66687aadf862bd77 02:00:00:00:00:01",
            ("", hint) if hint.starts_with("NODE-ID") => "66687aadf862bd77",
            ("", hint) if hint.starts_with("XX") => "02:00:00:00:00:01",
            ("", hint) if hint.starts_with("ADDRESS/") => "10.1.2.3/24",
            ("", hint) if hint.starts_with("ADDRESS") => "192.0.2.1",
            ("", _) => "/tmp/x",
            (default, _) => default,
        };
        seeds.push(("conf", format!("{key}\n{} {value}\n", row.name).into_bytes()));
        let option = format!("\toption {} '{value}'\n", row.name);
        seeds.push((
            "uci",
            format!("config network 'a'\n\toption psk 'a key of 12, or more'\n{option}").into_bytes(),
        ));
        all.push_str(&format!("{} {value} # {}\n", row.name, row.help));
    }
    all.push_str("echo text\n; comment\nendconfig\nrest\n");
    seeds.push(("conf", all.into_bytes()));
    let quotes =
        "package p\nconfig network \"b c\"\n\tlist initpeers \"a\\\"b\"'c d'e # f\n\tlist initpeers g\n";
    seeds.push(("uci", quotes.as_bytes().to_vec()));
    seeds
}
