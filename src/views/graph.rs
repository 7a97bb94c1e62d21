//! `peervpn graph`: the mesh as one node sees it, as text or as Graphviz DOT.
//!
//! This node's own paths are known exactly; between two others there is an edge when either says that it reaches the other
//! directly. What nobody told is not drawn.

use std::fmt::Write;

use crate::views::units::milliseconds;
use crate::views::{Snapshot, is_connected, is_local, json};

/// With more peers than this the picture is a ring of short names around this node, and a round trip stands at its node.
const MANY: usize = 16;

/// The whole mesh in the DOT language: this node's own paths are green where direct, blue on a local network, orange and dashed
/// where relayed; what others tell of theirs is grey.
pub fn dot(snapshot: &Snapshot<'_>) -> String {
    let node = snapshot.one("node");
    let own = node.get("id").unwrap_or("?");
    let peers = snapshot.all("peer").count();
    let many = peers > MANY;
    let mut text = String::from("graph ");
    json::quote(&mut text, node.get("network").unwrap_or("peervpn"));
    text.push_str(" {\n  layout=");
    if many {
        // Nodes on one ring around this one, which is as wide as their number asks for.
        text.push_str("twopi; root=");
        json::quote(&mut text, own);
        let _ = write!(text, "; ranksep={}; splines=line", peers / 7 + 1);
    } else {
        text.push_str("neato; overlap=false; sep=\"+30\"; splines=true");
    }
    text.push_str(
        "; outputorder=edgesfirst;\n  node [shape=box, fontname=monospace, style=filled, fillcolor=white];\n  \
         edge [fontname=monospace];\n  ",
    );
    json::quote(&mut text, own);
    text.push_str(" [style=\"bold,filled\", fillcolor=\"#d8f0d8\", label=\"");
    text.push_str(shortened(own, many));
    text.push_str("\\nthis node\"];\n");
    // What is drawn first lies under the rest.
    for (a, b) in told_edges(snapshot) {
        edge(&mut text, a, b);
        text.push_str(" [color=\"#cccccc\"];\n");
    }
    for peer in snapshot.all("peer") {
        let id = peer.get("id").unwrap_or("?");
        if !is_connected(&peer) {
            edge_end(&mut text, id, " [style=dotted];\n");
            continue;
        }
        let rtt = peer.number("rtt_us").map(milliseconds).unwrap_or_default();
        if many {
            edge_end(&mut text, id, " [label=\"");
            let _ = writeln!(text, "{}\\n{rtt}\"];", shortened(id, many));
        }
        edge(&mut text, own, id);
        let (colour, note) = match peer.get("relay") {
            Some(relay) => ("darkorange, style=dashed", format!("by {} ", shortened(relay, true))),
            None if is_local(&peer) => ("blue", "LAN ".to_owned()),
            None => ("darkgreen", String::new()),
        };
        let _ = match many {
            true => write!(text, " [penwidth=2, color={colour}]"),
            false => write!(text, " [color={colour}, label=\"{note}{rtt}\"]"),
        };
        text.push_str(";\n");
    }
    text.push_str("}\n");
    text
}

/// As much of an id as tells it from others of a mesh.
fn shortened(id: &str, shorten: bool) -> &str {
    if shorten { id.get(..4).unwrap_or(id) } else { id }
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
            (true, None) if is_local(&peer) => "direct, on a local network".to_owned(),
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
    let mut edges = Vec::new();
    for edge in told {
        if let Err(at) = edges.binary_search(&edge) {
            edges.insert(at, edge);
        }
    }
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
        peer\tid=eeee\tpath=direct\taddress=[fe80::1%3]:7\tup_s=1\trtt_us=300\n\
        reach\tpeer=cccc\tother=bbbb\nreach\tpeer=bbbb\tother=cccc\n";

    #[test]
    fn a_mesh_of_four_in_dot() {
        let expected = r##"graph "HOME" {
  layout=neato; overlap=false; sep="+30"; splines=true; outputorder=edgesfirst;
  node [shape=box, fontname=monospace, style=filled, fillcolor=white];
  edge [fontname=monospace];
  "aaaa" [style="bold,filled", fillcolor="#d8f0d8", label="aaaa\nthis node"];
  "bbbb" -- "cccc" [color="#cccccc"];
  "aaaa" -- "bbbb" [color=darkgreen, label="1.2 ms"];
  "aaaa" -- "cccc" [color=darkorange, style=dashed, label="by bbbb "];
  "dddd" [style=dotted];
  "aaaa" -- "eeee" [color=blue, label="LAN 0.3 ms"];
}
"##;
        assert_eq!(dot(&Snapshot::read(TEXT)), expected);
    }

    #[test]
    fn a_mesh_of_four_in_words() {
        let expected = "aaaa  this node\nbbbb  direct, 1.2 ms\ncccc  relayed by bbbb\ndddd  not connected\n\
                        eeee  direct, on a local network, 0.3 ms\n\n\
                        direct between others, as they say:\nbbbb -- cccc\n";
        assert_eq!(plain(&Snapshot::read(TEXT)), expected);
    }

    #[test]
    fn a_mesh_of_many_is_a_ring_of_short_names() {
        let mut text = String::from("node\tid=aaaa1111\tnetwork=HOME\n");
        for number in 0..=MANY {
            text += &format!(
                "peer\tid={number:04x}2222\tpath=direct\taddress=192.0.2.1:7\tup_s=1\trtt_us=1200\n"
            );
        }
        let dot = dot(&Snapshot::read(&text));
        assert!(dot.contains("layout=twopi; root=\"aaaa1111\"; ranksep=3;"), "{dot}");
        assert!(dot.contains("  \"00072222\" [label=\"0007\\n1.2 ms\"];\n"), "{dot}");
        assert_eq!(dot.matches(" -- ").count(), MANY + 1);
    }
}
