//! The table of all facts: what a node tells, in which form, and what it means. JSON, metrics and their description in
//! `docs/status.md` are made of it or held against it.

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A word or a name.
    Text,
    /// A number that is not negative.
    Number,
    /// `yes` or `no`.
    Flag,
}

/// One field of a record.
#[derive(Debug)]
pub struct Field {
    /// Its key.
    pub key: &'static str,
    /// What its value is.
    pub form: Form,
}

/// One kind of record.
#[derive(Debug)]
pub struct Record {
    /// Its name in the facts.
    pub name: &'static str,
    /// Its name in JSON: an object's if there is one such record, else an array's.
    pub json: &'static str,
    /// Whether there is exactly one.
    pub single: bool,
    /// Its fields; one that does not apply is left out.
    pub fields: &'static [Field],
}

const fn text(key: &'static str) -> Field {
    Field { key, form: Form::Text }
}

const fn number(key: &'static str) -> Field {
    Field { key, form: Form::Number }
}

const fn flag(key: &'static str) -> Field {
    Field { key, form: Form::Flag }
}

/// All records, in the order of JSON.
pub const RECORDS: &[Record] = &[
    Record {
        name: "node",
        json: "node",
        single: true,
        fields: &[
            text("id"),
            text("version"),
            text("network"),
            text("interface"),
            number("port"),
            number("uptime_ms"),
            text("nat"),
            text("nat64"),
            flag("relay"),
            flag("keyfile"),
        ],
    },
    Record {
        name: "mapping",
        json: "mappings",
        single: false,
        fields: &[
            text("gateway"),
            text("state"),
            text("protocol"),
            text("address"),
            number("left_s"),
            text("why"),
        ],
    },
    Record {
        name: "peer",
        json: "peers",
        single: false,
        fields: &[
            text("id"),
            text("path"),
            text("address"),
            text("relay"),
            text("why"),
            number("why_s"),
            number("rtt_us"),
            number("mtu"),
            number("up_s"),
            number("key_age_s"),
            text("cipher"),
            number("loss_permille"),
            number("frames_in"),
            number("bytes_in"),
            number("frames_out"),
            number("bytes_out"),
            number("silent_s"),
        ],
    },
    Record { name: "observed", json: "observed", single: false, fields: &[text("peer"), text("address")] },
    Record {
        name: "candidate",
        json: "candidates",
        single: false,
        fields: &[text("peer"), text("address"), text("known")],
    },
    Record { name: "reach", json: "reaches", single: false, fields: &[text("peer"), text("other")] },
    Record {
        name: "host",
        json: "initpeers",
        single: false,
        fields: &[text("name"), text("state"), text("peer")],
    },
    Record {
        name: "station",
        json: "stations",
        single: false,
        fields: &[text("mac"), number("vlan"), text("place"), text("peer"), number("seen_s")],
    },
    Record { name: "beside", json: "same_network", single: false, fields: &[text("peer"), text("forwards")] },
    Record {
        name: "relayed",
        json: "relayed",
        single: true,
        fields: &[number("packets"), number("bytes"), number("circuits")],
    },
    Record { name: "discard", json: "discards", single: false, fields: &[text("reason"), number("packets")] },
];

/// What each record tells of, and what each of its fields means. No view needs it, so it is in no binary.
pub const MEANINGS: &[(&str, &str)] = &[
    ("node", "this node"),
    ("node.id", "its short id"),
    ("node.version", "the program's version"),
    ("node.network", "the network's name"),
    ("node.interface", "the TAP; left out without one"),
    ("node.port", "the UDP port in use"),
    ("node.uptime_ms", "since its start, in milliseconds"),
    (
        "node.nat",
        "in front of it over IPv4: none, one-port (the same for all), symmetric (a port for each) or unknown",
    ),
    ("node.nat64", "the prefix by which it reaches IPv4 through a NAT64; left out when it does not"),
    ("node.relay", "whether it carries other nodes' traffic"),
    ("node.keyfile", "whether its id outlives a restart"),
    ("mapping", "a gateway that was asked to let everybody in at a port"),
    ("mapping.gateway", "its address"),
    ("mapping.state", "asking, granted, refused or silent (it does not answer)"),
    ("mapping.protocol", "pcp or nat-pmp, while it is asked and when it has granted"),
    ("mapping.address", "where everybody is let in, if it has granted"),
    ("mapping.left_s", "for how long, unless it is renewed, in seconds"),
    (
        "mapping.why",
        "why it refuses: forbidden, no-network (it has no address), no-room, bad-address (what it granted cannot be ours) or other",
    ),
    ("peer", "a node that this one knows"),
    ("peer.id", "its short id"),
    ("peer.path", "direct, relayed or none"),
    ("peer.address", "where it is reached, if directly"),
    ("peer.relay", "who relays, if somebody does"),
    (
        "peer.why",
        "why it is not reached directly: trying, no-address, ipv4-off, ipv6-off, both-symmetric or no-answer",
    ),
    ("peer.why_s", "since when, in seconds"),
    ("peer.rtt_us", "the last measured round trip, in microseconds"),
    ("peer.mtu", "the MTU of the path, as far as it is proved, in bytes"),
    ("peer.up_s", "since it is connected without a break, in seconds; left out when it is not"),
    ("peer.key_age_s", "the age of the session's key, in seconds"),
    ("peer.cipher", "how the session's packets are sealed, as the option calls it"),
    (
        "peer.loss_permille",
        "how many of its last 1000 to 4000 packets never came, in thousandths; left out while there were fewer",
    ),
    ("peer.frames_in", "frames from it"),
    ("peer.bytes_in", "their bytes"),
    ("peer.frames_out", "frames to it"),
    ("peer.bytes_out", "their bytes"),
    ("peer.silent_s", "since it was last heard, in seconds"),
    ("observed", "where a peer sees this node"),
    ("observed.peer", "who sees it"),
    ("observed.address", "there"),
    ("candidate", "an address where a peer might be reached directly, and is not"),
    ("candidate.peer", "the peer's short id"),
    ("candidate.address", "the address"),
    ("candidate.known", "proved: it was reached there; told: others say so"),
    ("reach", "a direct path between two peers, as the first of them says"),
    ("reach.peer", "who says so"),
    ("reach.other", "whom it reaches"),
    ("host", "an initial peer of the configuration"),
    ("host.name", "name and port"),
    ("host.state", "connected, unresolved (its name leads nowhere) or silent (no answer)"),
    ("host.peer", "the short id of who was found there"),
    ("station", "a MAC address that the switch knows; told by `explain` only"),
    ("station.mac", "the address"),
    ("station.vlan", "its VLAN; 0 for none"),
    ("station.place", "local or peer"),
    ("station.peer", "the short id of the peer it is behind"),
    ("station.seen_s", "since it was last heard, in seconds"),
    ("beside", "a peer that is bridged to this node's own network; one of the two forwards broadcasts"),
    ("beside.peer", "the peer's short id"),
    ("beside.forwards", "who forwards broadcasts for both: peer or node"),
    ("relayed", "what was carried for others"),
    ("relayed.packets", "packets sent on"),
    ("relayed.bytes", "their bytes"),
    ("relayed.circuits", "circuits through this node"),
    ("discard", "why packets died; what never happened is left out"),
    ("discard.reason", "the reason"),
    ("discard.packets", "how many"),
];

/// What a record (`peer`) or a field of one (`peer.mtu`) means.
pub fn meaning(name: &str) -> Option<&'static str> {
    MEANINGS.iter().find(|(other, _)| *other == name).map(|(_, text)| *text)
}

/// The record of that name.
pub fn record(name: &str) -> Option<&'static Record> {
    RECORDS.iter().find(|record| record.name == name)
}

impl Record {
    /// The field of that key.
    pub fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_and_field_has_its_meaning() {
        let mut names = Vec::new();
        for record in RECORDS {
            names.push(record.name.to_owned());
            names.extend(record.fields.iter().map(|field| format!("{}.{}", record.name, field.key)));
        }
        assert_eq!(MEANINGS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    }

    #[test]
    fn names_stand_once() {
        for (at, record) in RECORDS.iter().enumerate() {
            assert!(
                !RECORDS[..at].iter().any(|other| other.name == record.name || other.json == record.json)
            );
            for (at, field) in record.fields.iter().enumerate() {
                assert!(!record.fields[..at].iter().any(|other| other.key == field.key), "{}", field.key);
            }
        }
    }
}
