//! What a node told of itself, made fit for people and programs: a page for the terminal, JSON, metrics, a graph, an
//! explanation of one path. A wing: it knows the [facts](crate::base::facts) and not the node, so it serves the daemon's
//! own log as well as the one who asked by the control socket.
#![forbid(unsafe_code)]

pub mod advice;
pub mod explain;
pub mod fields;
pub mod graph;
pub mod json;
pub mod metrics;
pub mod page;
pub mod units;

use std::net::IpAddr;

use crate::base::facts::{self, Fact};

/// What one node told at one time.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    facts: Vec<Fact<'a>>,
}

impl<'a> Snapshot<'a> {
    /// Reads the facts.
    pub fn read(text: &'a str) -> Snapshot<'a> {
        Snapshot { facts: facts::read(text).collect() }
    }

    /// All records of that name, as they were told.
    pub fn all(&self, name: &'a str) -> impl Iterator<Item = Fact<'a>> + '_ {
        self.facts.iter().copied().filter(move |fact| fact.name == name)
    }

    /// The first record of that name; an empty one when there is none.
    pub fn one(&self, name: &'a str) -> Fact<'a> {
        self.all(name).next().unwrap_or_default()
    }

    /// The peer of that id.
    pub fn peer(&self, id: &str) -> Option<Fact<'a>> {
        self.all("peer").find(|peer| peer.is("id", id))
    }
}

/// Whether a peer has a session and a path.
fn is_connected(peer: &Fact<'_>) -> bool {
    peer.get("up_s").is_some()
}

/// Whether a peer is reached at an address that leads nowhere outside a local network (RFC 1918, RFC 4193, link-local).
fn is_local(peer: &Fact<'_>) -> bool {
    let host = peer.get("address").and_then(|address| address.rsplit_once(':'));
    let host = host.map_or("", |(host, _)| host.trim_matches(['[', ']']));
    // An IPv6 address may name its interface.
    match host.split('%').next().unwrap_or("").parse() {
        Ok(IpAddr::V4(ip)) => ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.segments()[0] & 0xffc0 == 0xfe80 || ip.segments()[0] & 0xfe00 == 0xfc00,
        Err(_) => false,
    }
}

/// Why a peer is not reached directly, in a few words.
fn why_of(peer: &Fact<'_>) -> Option<&'static str> {
    Some(match peer.get("why")? {
        "trying" => "trying for a direct path",
        "no-address" => "no address of it is known",
        "ipv4-off" => "it has IPv4 only, off here",
        "ipv6-off" => "it has IPv6 only, off here",
        "both-symmetric" => "both NATs change ports",
        "no-answer" => "no answer from its addresses",
        _ => return None,
    })
}

/// The way to a peer in a few words.
fn path_of(peer: &Fact<'_>) -> String {
    match (peer.get("path"), peer.get("address"), peer.get("relay")) {
        (Some("direct"), Some(address), _) => format!("direct {address}"),
        (Some("relayed"), _, Some(relay)) => format!("relayed by {relay}"),
        _ if is_connected(peer) => "searching".to_owned(),
        _ => "connecting".to_owned(),
    }
}
