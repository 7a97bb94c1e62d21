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
    /// What it means.
    pub help: &'static str,
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
    /// What it tells of.
    pub help: &'static str,
    /// Its fields; one that does not apply is left out.
    pub fields: &'static [Field],
}

const fn text(key: &'static str, help: &'static str) -> Field {
    Field { key, form: Form::Text, help }
}

const fn number(key: &'static str, help: &'static str) -> Field {
    Field { key, form: Form::Number, help }
}

const fn flag(key: &'static str, help: &'static str) -> Field {
    Field { key, form: Form::Flag, help }
}

/// All records, in the order of JSON.
pub const RECORDS: &[Record] = &[
    Record {
        name: "node",
        json: "node",
        single: true,
        help: "this node",
        fields: &[
            text("id", "its short id"),
            text("version", "the program's version"),
            text("network", "the network's name"),
            text("interface", "the TAP; left out without one"),
            number("port", "the UDP port in use"),
            number("uptime_ms", "since its start, in milliseconds"),
            text(
                "nat",
                "in front of it over IPv4: none, one-port (the same for all), symmetric (a port for each) or unknown",
            ),
            flag("relay", "whether it carries other nodes' traffic"),
            flag("keyfile", "whether its id outlives a restart"),
        ],
    },
    Record {
        name: "peer",
        json: "peers",
        single: false,
        help: "a node that this one knows",
        fields: &[
            text("id", "its short id"),
            text("path", "direct, relayed or none"),
            text("address", "where it is reached, if directly"),
            text("relay", "who relays, if somebody does"),
            text(
                "why",
                "why it is not reached directly: trying, no-address, ipv4-off, ipv6-off, both-symmetric or no-answer",
            ),
            number("why_s", "since when, in seconds"),
            number("rtt_us", "the last measured round trip, in microseconds"),
            number("mtu", "the MTU of the path, as far as it is proved, in bytes"),
            number("up_s", "since it is connected without a break, in seconds; left out when it is not"),
            number("key_age_s", "the age of the session's key, in seconds"),
            text("cipher", "how the session's packets are sealed, as the option calls it"),
            number(
                "loss_permille",
                "how many of its last 1000 to 4000 packets never came, in thousandths; left out while there were fewer",
            ),
            number("frames_in", "frames from it"),
            number("bytes_in", "their bytes"),
            number("frames_out", "frames to it"),
            number("bytes_out", "their bytes"),
            number("silent_s", "since it was last heard, in seconds"),
        ],
    },
    Record {
        name: "observed",
        json: "observed",
        single: false,
        help: "where a peer sees this node",
        fields: &[text("peer", "who sees it"), text("address", "there")],
    },
    Record {
        name: "candidate",
        json: "candidates",
        single: false,
        help: "an address where a peer might be reached directly, and is not",
        fields: &[
            text("peer", "the peer's short id"),
            text("address", "the address"),
            text("known", "proved: it was reached there; told: others say so"),
        ],
    },
    Record {
        name: "reach",
        json: "reaches",
        single: false,
        help: "a direct path between two peers, as the first of them says",
        fields: &[text("peer", "who says so"), text("other", "whom it reaches")],
    },
    Record {
        name: "host",
        json: "initpeers",
        single: false,
        help: "an initial peer of the configuration",
        fields: &[
            text("name", "name and port"),
            text("state", "connected, unresolved (its name leads nowhere) or silent (no answer)"),
            text("peer", "the short id of who was found there"),
        ],
    },
    Record {
        name: "station",
        json: "stations",
        single: false,
        help: "a MAC address that the switch knows; told by `explain` only",
        fields: &[
            text("mac", "the address"),
            number("vlan", "its VLAN; 0 for none"),
            text("place", "local or peer"),
            text("peer", "the short id of the peer it is behind"),
            number("seen_s", "since it was last heard, in seconds"),
        ],
    },
    Record {
        name: "beside",
        json: "same_network",
        single: false,
        help: "a peer that is bridged to this node's own network; one of the two forwards broadcasts",
        fields: &[
            text("peer", "the peer's short id"),
            text("forwards", "who forwards broadcasts for both: peer or node"),
        ],
    },
    Record {
        name: "relayed",
        json: "relayed",
        single: true,
        help: "what was carried for others",
        fields: &[
            number("packets", "packets sent on"),
            number("bytes", "their bytes"),
            number("circuits", "circuits through this node"),
        ],
    },
    Record {
        name: "discard",
        json: "discards",
        single: false,
        help: "why packets died; what never happened is left out",
        fields: &[text("reason", "the reason"), number("packets", "how many")],
    },
];

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
