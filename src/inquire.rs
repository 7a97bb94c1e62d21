//! The commands that ask a running node: status, graph, explain. What it tells is asked for by its control socket and made
//! into what is wanted here, in the process of the one who asks.
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;

use crate::sys::netlink::Netlink;
use crate::sys::{clock, control, failure};
use crate::views::page::{self, Look};
use crate::views::{Snapshot, explain, graph, json, metrics};

/// How often a watched page is renewed.
const WATCH_EVERY: core::time::Duration = core::time::Duration::from_secs(2);
/// Home and "erase to the end of the screen" (ECMA-48): a page in place of the one before, without flicker.
const OVER: &str = "\x1b[H\x1b[J";

/// A page for each node, with an empty line between two.
///
/// # Errors
/// As [`control::ask`].
pub fn status_page(name: Option<&str>, look: Look) -> io::Result<String> {
    Ok(pages(&control::ask(name, control::SHORT)?, &[], look))
}

fn pages(facts: &[String], earlier: &[String], look: Look) -> String {
    let snapshots = facts.iter().map(|text| Snapshot::read(text));
    let page = |(at, snapshot): (usize, Snapshot<'_>)| {
        let id = snapshot.one("node").get("id");
        let before =
            earlier.iter().map(|text| Snapshot::read(text)).find(|other| other.one("node").get("id") == id);
        let gap = if at == 0 { "" } else { "\n" };
        format!("{gap}{}", page::render(&snapshot, before.as_ref(), look))
    };
    snapshots.enumerate().map(page).collect()
}

/// Pages with rates, again and again, until `show` fails.
///
/// # Errors
/// As [`control::ask`], and what `show` says.
pub fn watch(name: Option<&str>, look: Look, show: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let mut earlier = control::ask(name, control::SHORT)?;
    show(&format!("{OVER}{}", pages(&earlier, &earlier, look)))?;
    loop {
        clock::sleep(WATCH_EVERY);
        let facts = control::ask(name, control::SHORT)?;
        show(&format!("{OVER}{}", pages(&facts, &earlier, look)))?;
        earlier = facts;
    }
}

/// One object for a node that was named, an array of all otherwise.
///
/// # Errors
/// As [`control::ask`].
pub fn status_json(name: Option<&str>) -> io::Result<String> {
    let answers = control::ask(name, control::SHORT)?;
    let objects: Vec<String> = answers.iter().map(|text| json::render(&Snapshot::read(text))).collect();
    Ok(match (name, objects.as_slice()) {
        (Some(_), [object]) => format!("{object}\n"),
        _ => format!("[{}]\n", objects.join(",\n")),
    })
}

/// The samples of all nodes.
///
/// # Errors
/// As [`control::ask`].
pub fn status_metrics(name: Option<&str>) -> io::Result<String> {
    let answers = control::ask(name, control::SHORT)?;
    let snapshots: Vec<Snapshot<'_>> = answers.iter().map(|text| Snapshot::read(text)).collect();
    Ok(metrics::render(&snapshots))
}

/// The mesh as text or in Graphviz's language.
///
/// # Errors
/// As [`control::ask`].
pub fn mesh(name: Option<&str>, dot: bool) -> io::Result<String> {
    let draw = if dot { graph::dot } else { graph::plain };
    let answers = control::ask(name, control::SHORT)?;
    let drawn: Vec<String> = answers.iter().map(|text| draw(&Snapshot::read(text))).collect();
    Ok(drawn.join("\n"))
}

/// Why packets to `target` take the way they take, from the first node that knows it.
///
/// # Errors
/// As [`control::ask`]; a sentence when nobody knows it.
pub fn explanation(target: &str, name: Option<&str>) -> io::Result<String> {
    let station = target.parse().ok().and_then(station_of);
    let mut unknown = String::new();
    for text in control::ask(name, control::WHOLE)? {
        let snapshot = Snapshot::read(&text);
        let wanted = station.as_deref().unwrap_or(target);
        match explain::render(&snapshot, wanted) {
            Ok(text) if station.is_some() => return Ok(format!("{target} is station {wanted}\n{text}")),
            Ok(text) => return Ok(text),
            Err(why) => unknown = why,
        }
    }
    Err(failure(io::ErrorKind::NotFound, unknown))
}

/// The MAC address of an address inside the tunnel, as far as this machine has found it.
fn station_of(address: IpAddr) -> Option<String> {
    let mac = Netlink::open().and_then(|mut netlink| netlink.neighbour(address)).ok()??;
    Some(mac.to_string())
}
