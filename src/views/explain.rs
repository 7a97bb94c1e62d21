//! `peervpn explain`: why packets to somebody take the way they take, and what could be done about it.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::base::facts::Fact;
use crate::views::units::{age, milliseconds, percent};
use crate::views::{Snapshot, is_connected, path_of, why_of};

/// What was asked about, and how it leads to a peer.
struct Trail<'a> {
    text: String,
    peer: Option<Fact<'a>>,
}

/// Walks the decision for `target`: a peer's id or the beginning of one, a MAC address, or an address outside the
/// tunnel. An address inside it is turned into a MAC address by whoever asks, who can see this machine's neighbours.
///
/// # Errors
/// A sentence, when nothing here is known by that name.
pub fn render(snapshot: &Snapshot<'_>, target: &str) -> Result<String, String> {
    let trail = find(snapshot, target)?;
    let mut text = trail.text;
    if let Some(peer) = trail.peer {
        tell_peer(&mut text, snapshot, &peer);
    }
    Ok(text)
}

fn find<'a>(snapshot: &Snapshot<'a>, target: &str) -> Result<Trail<'a>, String> {
    let own = snapshot.one("node");
    let wanted = target.to_ascii_lowercase();
    if own.is("id", &wanted) {
        return Ok(Trail { text: format!("{wanted} is this node itself\n"), peer: None });
    }
    if is_mac(&wanted) {
        return Ok(station(snapshot, &wanted));
    }
    let outside: Option<IpAddr> =
        target.parse().ok().or_else(|| target.parse().ok().map(|address: SocketAddr| address.ip()));
    if let Some(ip) = outside {
        let at = |fact: &Fact<'_>| {
            fact.get("address").and_then(|at| at.parse::<SocketAddr>().ok()).is_some_and(|at| at.ip() == ip)
        };
        let peer = snapshot.all("peer").find(at);
        let candidate = || snapshot.all("candidate").find(at).and_then(|c| snapshot.peer(c.get("peer")?));
        let peer = peer.or_else(candidate).ok_or_else(|| {
            format!("no peer is known at {ip}; if it is inside the tunnel, ping it and ask again")
        })?;
        return Ok(Trail { text: format!("{ip} is an address of a peer\n"), peer: Some(peer) });
    }
    let starts =
        |peer: &Fact<'_>| wanted.len() >= 4 && peer.get("id").is_some_and(|id| id.starts_with(&wanted));
    let mut found = snapshot.all("peer").filter(starts);
    match (found.next(), found.next()) {
        (Some(peer), None) => Ok(Trail { text: String::new(), peer: Some(peer) }),
        (Some(_), Some(_)) => Err(format!("several peers' ids begin with '{target}'")),
        (None, _) => Err(format!("no peer '{target}' is known; 'peervpn status' lists them")),
    }
}

fn is_mac(text: &str) -> bool {
    let mut parts = text.split(':');
    let six = parts.by_ref().take(6).filter(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok());
    six.count() == 6 && parts.next().is_none()
}

fn station<'a>(snapshot: &Snapshot<'a>, mac: &str) -> Trail<'a> {
    let Some(station) = snapshot.all("station").find(|station| station.is("mac", mac)) else {
        let text = format!(
            "station {mac}: not heard in the last 5 minutes, so frames\nto it go to every peer; a ping from it or to it makes it known\n"
        );
        return Trail { text, peer: None };
    };
    let seen = age(station.number("seen_s").unwrap_or(0));
    if station.is("place", "local") {
        let text =
            format!("station {mac}: on this node's own side, heard {seen} ago; nothing is sent for it\n");
        return Trail { text, peer: None };
    }
    let peer = station.get("peer").and_then(|id| snapshot.peer(id));
    let name = station.get("peer").unwrap_or("that is gone");
    Trail { text: format!("station {mac}: behind peer {name}, heard {seen} ago\n"), peer }
}

fn tell_peer(text: &mut String, snapshot: &Snapshot<'_>, peer: &Fact<'_>) {
    let id = peer.get("id").unwrap_or("?");
    let _ = writeln!(text, "peer {id}: {}", path_of(peer));
    if let Some(rtt) = peer.number("rtt_us") {
        let _ = writeln!(text, "  round trip {}", milliseconds(rtt));
    }
    if let Some(loss) = peer.number("loss_permille") {
        let _ = writeln!(text, "  of the last packets from it {} never came", percent(loss));
    }
    if let Some(mtu) = peer.number("mtu") {
        let _ = writeln!(text, "  packets of up to {mtu} bytes pass on the way");
    }
    if let Some(cipher) = peer.get("cipher") {
        let _ = writeln!(text, "  cipher {cipher}");
    }
    if let Some(relay) = peer.get("relay").and_then(|relay| snapshot.peer(relay)) {
        let _ = writeln!(text, "  its relay: {}", path_of(&relay));
    }
    let candidates: Vec<Fact<'_>> = snapshot.all("candidate").filter(|fact| fact.is("peer", id)).collect();
    if peer.is("path", "direct") {
        text.push_str("  a direct path is the best there is; nothing to do\n");
        return;
    }
    if let Some(why) = why_of(peer) {
        let _ = writeln!(text, "  not directly for {}: {why}", age(peer.number("why_s").unwrap_or(0)));
    }
    match candidates.len() {
        0 => text.push_str("  no address is known where it might be reached directly\n"),
        _ => text.push_str("  addresses where it might be reached directly:\n"),
    }
    for candidate in &candidates {
        let known =
            if candidate.is("known", "proved") { "was reached there before" } else { "others say so" };
        let _ = writeln!(text, "    {} ({known})", candidate.get("address").unwrap_or("?"));
    }
    let way = if is_connected(peer) { "directly" } else { "at all" };
    let _ = writeln!(
        text,
        "  to reach it {way}: open the UDP port of one of the two nodes in its firewall,\n  \
         or let its router map it (a fixed 'port' helps)"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "node\tid=aaaa000000000000\n\
        peer\tid=bbbb000000000000\tpath=direct\taddress=192.0.2.1:7000\tup_s=1\trtt_us=1200\n\
        peer\tid=bbbc000000000000\tpath=relayed\trelay=bbbb000000000000\tup_s=1\twhy=both-symmetric\twhy_s=300\n\
        candidate\tpeer=bbbc000000000000\taddress=198.51.100.7:41\tknown=told\n\
        station\tmac=02:00:00:00:00:01\tvlan=0\tplace=peer\tpeer=bbbc000000000000\tseen_s=4\n\
        station\tmac=02:00:00:00:00:02\tvlan=0\tplace=local\tseen_s=61\n";

    fn explain(target: &str) -> Result<String, String> {
        render(&Snapshot::read(TEXT), target)
    }

    #[test]
    fn every_kind_of_name_leads_to_its_peer() {
        for target in
            ["bbbc", "BBBC0000", "bbbc000000000000", "02:00:00:00:00:01", "198.51.100.7", "198.51.100.7:9"]
        {
            let text = explain(target).unwrap();
            assert!(
                text.contains("peer bbbc000000000000: relayed by bbbb000000000000\n"),
                "{target}: {text}"
            );
            assert!(text.contains("198.51.100.7:41 (others say so)"), "{target}: {text}");
            assert!(text.contains("not directly for 5 min: both NATs change ports\n"), "{target}: {text}");
        }
        assert!(explain("192.0.2.1").unwrap().contains("peer bbbb000000000000: direct 192.0.2.1:7000"));
        assert!(explain("aaaa000000000000").unwrap().contains("this node itself"));
    }

    #[test]
    fn stations_without_a_peer_are_told_of_too() {
        assert!(explain("02:00:00:00:00:02").unwrap().contains("own side, heard 1 min ago"));
        assert!(explain("02:00:00:00:00:03").unwrap().contains("to every peer"));
    }

    #[test]
    fn what_is_not_known_is_said_so() {
        assert!(explain("bbb0").unwrap_err().contains("no peer 'bbb0'"));
        assert!(explain("bbb").unwrap_err().contains("no peer"));
        assert!(explain("10.0.0.1").unwrap_err().contains("10.0.0.1"));
        assert!(explain("").is_err());
        assert!(
            render(&Snapshot::read("peer\tid=bbbb1\npeer\tid=bbbb2\n"), "bbbb")
                .unwrap_err()
                .contains("several")
        );
    }
}
