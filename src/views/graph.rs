//! `peervpn graph`: the mesh as one node sees it, as text or as Graphviz DOT.
//!
//! This node's own paths are known exactly; between two others there is an edge when either says that it reaches the other
//! directly. What nobody told is not drawn.

use std::fmt::Write;

use crate::views::units::milliseconds;
use crate::views::{Snapshot, is_connected, json};

/// The whole mesh in the DOT language: solid edges are direct, dashed ones relayed.
pub fn dot(snapshot: &Snapshot<'_>) -> String {
    let node = snapshot.one("node");
    let own = node.get("id").unwrap_or("?");
    let mut text = String::from("graph ");
    json::quote(&mut text, node.get("network").unwrap_or("peervpn"));
    text.push_str(
        " {\n  layout=neato; overlap=false; splines=true;\n  node [shape=box, fontname=monospace];\n  ",
    );
    json::quote(&mut text, own);
    text.push_str(" [style=bold];\n");
    for peer in snapshot.all("peer") {
        let id = peer.get("id").unwrap_or("?");
        if !is_connected(&peer) {
            edge_end(&mut text, id, " [style=dotted];\n");
            continue;
        }
        edge(&mut text, own, id);
        let rtt = peer.number("rtt_us").map(milliseconds).unwrap_or_default();
        match peer.get("relay") {
            Some(relay) => {
                let _ =
                    write!(text, " [style=dashed, label=\"by {} {rtt}\"]", relay.get(..4).unwrap_or(relay));
            }
            None => _ = write!(text, " [label=\"{rtt}\"]"),
        }
        text.push_str(";\n");
    }
    for (a, b) in told_edges(snapshot) {
        edge(&mut text, a, b);
        text.push_str(";\n");
    }
    text.push_str("}\n");
    text
}

/// Who reaches whom, a node a line.
pub fn plain(snapshot: &Snapshot<'_>) -> String {
    let own = snapshot.one("node").get("id").unwrap_or("?");
    let mut text = format!("{own}  this node\n");
    for peer in snapshot.all("peer") {
        let id = peer.get("id").unwrap_or("?");
        let way = match (is_connected(&peer), peer.get("relay")) {
            (false, _) => "not connected".to_owned(),
            (true, Some(relay)) => format!("relayed by {relay}"),
            (true, None) => "direct".to_owned(),
        };
        let rtt = peer.number("rtt_us").map(|rtt| format!(", {}", milliseconds(rtt))).unwrap_or_default();
        let _ = writeln!(text, "{id}  {way}{rtt}");
    }
    let told = told_edges(snapshot);
    if !told.is_empty() {
        text.push_str("\ndirect between others, as they say:\n");
    }
    for (a, b) in told {
        let _ = writeln!(text, "{a} -- {b}");
    }
    text
}

/// Direct paths between others, once each.
fn told_edges<'a>(snapshot: &Snapshot<'a>) -> Vec<(&'a str, &'a str)> {
    let edge = |a: &'a str, b: &'a str| (a.min(b), a.max(b));
    let told = snapshot.all("reach").filter_map(|fact| Some(edge(fact.get("peer")?, fact.get("other")?)));
    let mut edges: Vec<_> = told.collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}

fn edge(text: &mut String, a: &str, b: &str) {
    edge_end(text, a, " -- ");
    json::quote(text, b);
}

fn edge_end(text: &mut String, id: &str, after: &str) {
    if !text.ends_with(' ') || text.ends_with(";\n") {
        text.push_str("  ");
    }
    json::quote(text, id);
    text.push_str(after);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "node\tid=aaaa\tnetwork=HOME\n\
        peer\tid=bbbb\tpath=direct\taddress=192.0.2.1:7\tup_s=1\trtt_us=1200\n\
        peer\tid=cccc\tpath=relayed\trelay=bbbb\tup_s=1\n\
        peer\tid=dddd\tpath=none\n\
        reach\tpeer=cccc\tother=bbbb\nreach\tpeer=bbbb\tother=cccc\n";

    #[test]
    fn a_mesh_of_four_in_dot() {
        let expected = r#"graph "HOME" {
  layout=neato; overlap=false; splines=true;
  node [shape=box, fontname=monospace];
  "aaaa" [style=bold];
  "aaaa" -- "bbbb" [label="1.2 ms"];
  "aaaa" -- "cccc" [style=dashed, label="by bbbb "];
  "dddd" [style=dotted];
  "bbbb" -- "cccc";
}
"#;
        assert_eq!(dot(&Snapshot::read(TEXT)), expected);
    }

    #[test]
    fn a_mesh_of_four_in_words() {
        let expected = "aaaa  this node\nbbbb  direct, 1.2 ms\ncccc  relayed by bbbb\ndddd  not connected\n\n\
                        direct between others, as they say:\nbbbb -- cccc\n";
        assert_eq!(plain(&Snapshot::read(TEXT)), expected);
    }
}
