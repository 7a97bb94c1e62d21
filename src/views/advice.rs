//! What a person should do something about, judged from the facts alone. Few things, each with what to do; a node that is well
//! gives none.

use crate::views::{Snapshot, is_connected};

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advice {
    /// A name that programs may rely on.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub text: String,
}

/// So long a node may take to find its peers before anything is said.
const PATIENCE_MS: u64 = 30_000;
/// So many forgeries are no accident.
const FORGERIES: u64 = 100;

/// All there is to do, the gravest first.
pub fn of(snapshot: &Snapshot<'_>) -> Vec<Advice> {
    let mut all = Vec::new();
    let mut say = |code, text: String| all.push(Advice { code, text });
    let node = snapshot.one("node");
    let settled = node.number("uptime_ms").is_some_and(|time| time > PATIENCE_MS);
    for host in snapshot.all("host") {
        let name = host.get("name").unwrap_or("?");
        match host.get("state") {
            Some("unresolved") => say(
                "name-unresolved",
                format!(
                    "the name of {name} leads nowhere: is it spelt right, and does this machine have DNS?"
                ),
            ),
            Some("silent") if settled => say(
                "initpeer-silent",
                format!(
                    "{name} does not answer: is peervpn running there with the same network name and key, and is that UDP port open?"
                ),
            ),
            _ => {}
        }
    }
    let connected = snapshot.all("peer").filter(is_connected).count();
    if settled && connected == 0 && snapshot.all("host").next().is_none() {
        say(
            "alone",
            "nobody is connected, and no initpeers are configured: others must name this node in theirs"
                .to_owned(),
        );
    }
    for fact in snapshot.all("beside") {
        let peer = fact.get("peer").unwrap_or("?");
        let who = if fact.is("forwards", "node") { "this node" } else { "that peer" };
        say(
            "same-network",
            format!(
                "peer {peer} is bridged to the same network as this node; {who} forwards broadcasts for both: one of the two bridges may be superfluous"
            ),
        );
    }
    let forged = snapshot.all("discard").find(|fact| fact.is("reason", "forged or other network"));
    if let Some(count) = forged.and_then(|fact| fact.number("packets")).filter(|count| *count >= FORGERIES) {
        say(
            "forged",
            format!(
                "{count} packets had a wrong tag: does a node with another key or network name have this one among its initpeers?"
            ),
        );
    }
    if node.is("keyfile", "no") {
        say(
            "no-keyfile",
            "this node has a new id after each start: name a keyfile in the configuration to keep it"
                .to_owned(),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<&'static str> {
        of(&Snapshot::read(text)).into_iter().map(|advice| advice.code).collect()
    }

    #[test]
    fn each_advice_has_its_reason() {
        let table: [(&str, &[&str]); 8] = [
            ("node\tuptime_ms=40000\tkeyfile=yes\npeer\tid=1\tpath=direct\tup_s=4\n", &[]),
            ("node\tuptime_ms=40000\tkeyfile=no\npeer\tid=1\tpath=direct\tup_s=4\n", &["no-keyfile"]),
            ("node\tuptime_ms=1000\nhost\tname=a\tstate=silent\n", &[]),
            ("node\tuptime_ms=31000\nhost\tname=a\tstate=silent\n", &["initpeer-silent"]),
            ("node\tuptime_ms=1\nhost\tname=a\tstate=unresolved\n", &["name-unresolved"]),
            ("node\tuptime_ms=31000\npeer\tid=1\tpath=none\n", &["alone"]),
            ("node\tuptime_ms=1\nbeside\tpeer=1\tforwards=peer\n", &["same-network"]),
            (
                "node\tuptime_ms=31000\npeer\tid=1\tup_s=1\ndiscard\treason=forged or other network\tpackets=100\n",
                &["forged"],
            ),
        ];
        for (text, expected) in table {
            assert_eq!(codes(text), expected, "{text}");
        }
    }
}
