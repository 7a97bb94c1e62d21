//! `peervpn status --metrics`: the facts in the text format of Prometheus (exposition format 0.0.4).
//!
//! Each sample carries the network and the interface, so that several nodes on one machine can go into one file.

use std::fmt::Write;

use crate::base::facts::Fact;
use crate::views::{Snapshot, is_connected};

/// One family of samples, made of a number of a record.
struct Family {
    name: &'static str,
    counter: bool,
    help: &'static str,
    record: &'static str,
    key: &'static str,
    /// What the number is divided by.
    unit: u64,
    /// The field that tells samples of one family apart, and its name there.
    label: Option<(&'static str, &'static str)>,
}

const fn family(
    name: &'static str,
    help: &'static str,
    record: &'static str,
    key: &'static str,
    label: Option<(&'static str, &'static str)>,
) -> Family {
    Family { name, counter: false, help, record, key, unit: 1, label }
}

const PEER: Option<(&str, &str)> = Some(("id", "peer"));

const FAMILIES: &[Family] = &[
    Family { unit: 1000, ..family("peervpn_uptime_seconds", "Since the start.", "node", "uptime_ms", None) },
    Family {
        unit: 1_000_000,
        ..family("peervpn_peer_rtt_seconds", "Last measured round trip.", "peer", "rtt_us", PEER)
    },
    Family {
        unit: 1000,
        ..family(
            "peervpn_peer_loss_ratio",
            "How many of the last packets from the peer never came.",
            "peer",
            "loss_permille",
            PEER,
        )
    },
    family("peervpn_peer_up_seconds", "Since the peer is connected.", "peer", "up_s", PEER),
    family("peervpn_peer_key_age_seconds", "Age of the key in use.", "peer", "key_age_s", PEER),
    Family {
        counter: true,
        ..family("peervpn_peer_received_frames_total", "Frames from the peer.", "peer", "frames_in", PEER)
    },
    Family {
        counter: true,
        ..family("peervpn_peer_received_bytes_total", "Bytes of those frames.", "peer", "bytes_in", PEER)
    },
    Family {
        counter: true,
        ..family("peervpn_peer_sent_frames_total", "Frames to the peer.", "peer", "frames_out", PEER)
    },
    Family {
        counter: true,
        ..family("peervpn_peer_sent_bytes_total", "Bytes of those frames.", "peer", "bytes_out", PEER)
    },
    Family {
        counter: true,
        ..family("peervpn_relayed_packets_total", "Packets carried for others.", "relayed", "packets", None)
    },
    Family {
        counter: true,
        ..family("peervpn_relayed_bytes_total", "Bytes of those packets.", "relayed", "bytes", None)
    },
    family("peervpn_circuits", "Circuits through this node.", "relayed", "circuits", None),
    Family {
        counter: true,
        ..family(
            "peervpn_discarded_packets_total",
            "Packets that died, by reason.",
            "discard",
            "packets",
            Some(("reason", "reason")),
        )
    },
];

/// All samples of these nodes, a family at a time as the format wants it.
pub fn render(snapshots: &[Snapshot<'_>]) -> String {
    let mut text = String::new();
    for family in FAMILIES {
        head(&mut text, family.name, family.help, family.counter);
        for snapshot in snapshots {
            for fact in snapshot.all(family.record) {
                if let Some(value) = fact.number(family.key) {
                    let label = family.label.and_then(|(key, name)| Some((name, fact.get(key)?)));
                    sample(&mut text, family.name, snapshot, label.as_slice(), value, family.unit);
                }
            }
        }
    }
    head(&mut text, "peervpn_peer_connected", "1 when the peer is connected; how is in the label.", false);
    for snapshot in snapshots {
        for peer in snapshot.all("peer") {
            let labels =
                [("peer", peer.get("id").unwrap_or("")), ("path", peer.get("path").unwrap_or("none"))];
            sample(&mut text, "peervpn_peer_connected", snapshot, &labels, is_connected(&peer).into(), 1);
        }
    }
    text
}

fn head(text: &mut String, name: &str, help: &str, counter: bool) {
    let kind = if counter { "counter" } else { "gauge" };
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn sample(
    text: &mut String,
    name: &str,
    snapshot: &Snapshot<'_>,
    labels: &[(&str, &str)],
    value: u64,
    unit: u64,
) {
    let node: Fact<'_> = snapshot.one("node");
    text.push_str(name);
    let own = ["network", "interface"].map(|key| (key, node.get(key).unwrap_or("")));
    for (at, (label, value)) in own.iter().chain(labels).enumerate() {
        text.push(if at == 0 { '{' } else { ',' });
        let _ = write!(text, "{label}=\"");
        // As the format asks; facts hold no line feeds.
        for c in value.chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
    }
    let _ = match unit {
        1 => writeln!(text, "}} {value}"),
        _ => {
            let digits = unit.ilog10() as usize;
            writeln!(text, "}} {}.{:0digits$}", value / unit, value % unit)
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::fields;

    #[test]
    fn families_come_from_the_table_of_facts() {
        for family in FAMILIES {
            let record = fields::record(family.record).unwrap();
            assert_eq!(record.field(family.key).unwrap().form, fields::Form::Number, "{}", family.name);
            let label = family.label.is_none_or(|(key, _)| record.field(key).is_some());
            assert!(label && record.single == family.label.is_none(), "{}", family.name);
            // The format's naming rules.
            assert_eq!(family.counter, family.name.ends_with("_total"), "{}", family.name);
        }
    }

    #[test]
    fn several_nodes_go_into_one_file() {
        let texts = [
            "node\tnetwork=A\tinterface=p\"0\tuptime_ms=1500\npeer\tid=11\tpath=direct\trtt_us=1200\tup_s=5\n",
            "node\tnetwork=B\tuptime_ms=20\npeer\tid=22\tpath=none\ndiscard\treason=too long\tpackets=3\n",
        ];
        let text = render(&texts.map(Snapshot::read));
        for line in [
            r#"peervpn_uptime_seconds{network="A",interface="p\"0"} 1.500"#,
            r#"peervpn_uptime_seconds{network="B",interface=""} 0.020"#,
            r#"peervpn_peer_rtt_seconds{network="A",interface="p\"0",peer="11"} 0.001200"#,
            r#"peervpn_peer_connected{network="A",interface="p\"0",peer="11",path="direct"} 1"#,
            r#"peervpn_peer_connected{network="B",interface="",peer="22",path="none"} 0"#,
            r#"peervpn_discarded_packets_total{network="B",interface="",reason="too long"} 3"#,
        ] {
            assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
        }
        // A family is told of once, and its samples follow it.
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            assert_eq!(text.matches(line).count(), 1);
        }
    }
}
