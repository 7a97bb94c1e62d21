//! What a node tells of itself is what its table promises, in every form.
//!
//! ```text
//!   a --- NAT --- Internet --- NAT --- b
//!                    |
//!                  relay
//! ```

use std::net::{Ipv4Addr, SocketAddr};

use peervpn::base::facts;
use peervpn::base::limits::LOSS_SAMPLE;
use peervpn::base::time::Duration;
use peervpn::views::fields::{self, Form, RECORDS};
use peervpn::views::page::{Look, WIDTH};
use peervpn::views::{Snapshot, explain, graph, json, metrics, page};

use crate::schema::misfits_of;
use crate::secs;
use crate::sim::gateway::Gateway;
use crate::sim::nat::NatSpec;
use crate::sim::spec::{member, public};
use crate::sim::{Id, Site, World};

/// Two behind symmetric NATs that talk through a relay, one of them with another initial peer that is not there.
fn mesh() -> (World, [Id; 3]) {
    let mut world = World::new(1);
    let relay = world.add(member().at(public(1)).relay());
    let [a, b] = [1, 2].map(|n| {
        let site = world.site(Site::INTERNET, NatSpec::symmetric(Ipv4Addr::new(198, 18, 1, n).into()));
        let inside: SocketAddr = (Ipv4Addr::new(192, 168, 1, 2), 7000).into();
        world.add(member().knows(public(1)).knows(public(99)).behind(site, inside))
    });
    assert!(world.talks_within(a, b, secs(5)).is_some());
    world.run_for(secs(40));
    assert!(world.talks_within(b, a, secs(5)).is_some());
    (world, [a, b, relay])
}

#[test]
fn only_what_the_table_promises_is_told() {
    let (mut world, nodes) = mesh();
    // Two that ask their gateways for a port: one is given it, one is not.
    let mapped = [11, 12].map(|n| {
        let site = world.site(Site::INTERNET, NatSpec::home(public(n).ip()));
        let mut gateway = Gateway::new(Ipv4Addr::new(192, 168, n, 1), world.now());
        (gateway.nat_pmp, gateway.refusal) = (true, 2 * (n - 11));
        world.nat(site).gateway = Some(gateway);
        world.add(member().knows(public(1)).behind(site, ([192, 168, n, 2], 7000).into()))
    });
    world.run_for(secs(3));
    world.bridge(&nodes[1..]);
    world.run_for(secs(6));
    // So many that loss can be told.
    for _ in 0..LOSS_SAMPLE + 100 {
        world.send(nodes[0], nodes[2], 100, false);
        world.run_for(Duration::from_millis(5));
    }
    let mut seen = Vec::new();
    let mut texts: Vec<String> = nodes.into_iter().chain(mapped).map(|node| world.status(node)).collect();
    texts.push(world.status_through(nodes[0], Some("64:ff9b::/96")));
    for text in texts {
        assert_eq!(misfits_of(&json::render(&Snapshot::read(&text))), [""; 0]);
        for fact in facts::read(&text) {
            let record = fields::record(fact.name).unwrap_or_else(|| panic!("{} is in no table", fact.name));
            for (key, value) in fact.fields() {
                let field = record.field(key).unwrap_or_else(|| panic!("{} {key} is in no table", fact.name));
                let fits = match field.form {
                    Form::Text => !value.is_empty(),
                    Form::Number => value.parse::<u64>().is_ok(),
                    Form::Flag => matches!(value, "yes" | "no"),
                };
                assert!(fits, "{} {key}={value}", fact.name);
                seen.push((record.name, field.key));
            }
        }
    }
    let promised =
        RECORDS.iter().flat_map(|record| record.fields.iter().map(|field| (record.name, field.key)));
    let missing: Vec<_> = promised.filter(|field| !seen.contains(field)).collect();
    assert!(missing.is_empty(), "promised and never told: {missing:?}");
}

#[test]
fn every_form_tells_of_the_relayed_path() {
    let (world, [a, b, relay]) = mesh();
    let text = world.status(a);
    let snapshot = Snapshot::read(&text);
    let id = |node| world.status(node).lines().next().unwrap().split('\t').nth(1).unwrap()[3..].to_owned();
    let (b, relay) = (id(b), id(relay));

    let page = page::render(&snapshot, None, Look::default());
    assert!(page.contains(&format!("{b}  relayed by {relay} (no answer from its addresses)\n")), "{page}");
    assert!(page.contains("\ninitial peers not connected: 198.18.0.99:7000\n"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");

    let value: serde_json::Value = serde_json::from_str(&json::render(&snapshot)).unwrap();
    let peers = value["peers"].as_array().unwrap();
    assert!(peers.iter().any(|peer| peer["id"] == b && peer["path"] == "relayed" && peer["relay"] == relay));
    assert!(value["warnings"].as_array().unwrap().iter().any(|warning| warning["code"] == "initpeer-silent"));

    let samples = metrics::render(std::slice::from_ref(&snapshot));
    assert!(samples.contains(&format!("peer=\"{b}\",path=\"relayed\"}} 1\n")), "{samples}");

    assert!(graph::dot(&snapshot).contains(&format!("\"{b}\" [color=darkorange, style=dashed")));
    assert!(graph::plain(&snapshot).contains(&format!("{b}  relayed by {relay}")));
    assert!(explain::render(&snapshot, &b).unwrap().contains(&format!("peer {b}: relayed by {relay}\n")));
}
