//! Where everything is attached: the Internet, sites behind a NAT, sites behind sites. Carries a datagram
//! from one endpoint to another as routers do, and knows which two nodes can reach each other directly.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use peervpn::base::time::Instant;

use super::chance::Chance;
use super::nat::{Dependence, Nat, NatSpec};
use super::{Id, Site};

/// Who owns an address within a site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    Node(Id),
    Gate(Site),
    Stranger,
}

/// Where a datagram ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// At a node's own address.
    Node(Id),
    /// At an address that the world watches.
    Stranger,
}

/// Whether two nodes can talk without a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// One of them can reach the other at the address that third nodes see of it, by just sending there.
    Plain,
    /// Only if both send to each other at about the same time, or if they learn of addresses inside their site.
    Punched,
    /// Not at all: the port that one of them will be seen under cannot be known.
    Never,
}

#[derive(Debug)]
struct Realm {
    /// The way out, and the NAT on it; none for the Internet and for a lonely LAN.
    uplink: Option<(Site, Nat)>,
    owners: BTreeMap<IpAddr, Owner>,
}

/// All sites.
#[derive(Debug)]
pub struct Network {
    realms: Vec<Realm>,
    homes: BTreeMap<Id, (Site, Vec<SocketAddr>)>,
}

/// Nothing but an Internet.
impl Default for Network {
    fn default() -> Network {
        Network { realms: vec![Realm { uplink: None, owners: BTreeMap::new() }], homes: BTreeMap::new() }
    }
}

impl Network {
    // ---- building ----

    /// A new site behind a NAT that is itself attached to `parent`.
    pub fn add_site(&mut self, parent: Site, spec: NatSpec) -> Site {
        let site = Site(self.realms.len());
        if let Some(external) = spec.external {
            self.own(parent, external, Owner::Gate(site));
        }
        self.realms.push(Realm { uplink: Some((parent, Nat::new(spec))), owners: BTreeMap::new() });
        site
    }

    /// The NAT on the way out of a site.
    pub fn nat(&mut self, site: Site) -> &mut Nat {
        &mut self.realms[site.0].uplink.as_mut().expect("a site with a NAT").1
    }

    /// Attaches a node; it leaves where it was.
    pub fn attach(&mut self, node: Id, site: Site, addresses: Vec<SocketAddr>) {
        self.detach(node);
        for address in &addresses {
            self.own(site, address.ip(), Owner::Node(node));
            if let Some((parent, nat)) = &self.realms[site.0].uplink {
                if nat.spec.external.is_none() {
                    self.own(*parent, address.ip(), Owner::Gate(site));
                }
            }
        }
        self.homes.insert(node, (site, addresses));
    }

    /// A stranger's address on the Internet.
    pub fn attach_stranger(&mut self, address: IpAddr) {
        self.own(Site::INTERNET, address, Owner::Stranger);
    }

    fn own(&mut self, site: Site, address: IpAddr, owner: Owner) {
        let before = self.realms[site.0].owners.insert(address, owner);
        assert!(before.is_none_or(|before| before == owner), "{address} belongs to {before:?}");
    }

    fn detach(&mut self, node: Id) {
        let Some((_, addresses)) = self.homes.remove(&node) else { return };
        for realm in &mut self.realms {
            realm.owners.retain(|address, owner| match owner {
                Owner::Node(owned) => *owned != node,
                Owner::Gate(_) => !addresses.iter().any(|gone| gone.ip() == *address),
                Owner::Stranger => true,
            });
        }
    }

    // ---- carrying ----

    /// A node sends: its own address of the right family.
    pub fn source(&self, node: Id, to: SocketAddr) -> Option<SocketAddr> {
        let (_, addresses) = self.homes.get(&node)?;
        addresses.iter().copied().find(|address| address.is_ipv4() == to.is_ipv4())
    }

    /// The way out, up to the site that knows `to`: that site, and the source address as seen there.
    pub fn depart(
        &mut self,
        now: Instant,
        node: Id,
        to: SocketAddr,
        chance: &mut Chance,
    ) -> Option<(Site, SocketAddr)> {
        let mut from = self.source(node, to)?;
        let mut site = self.homes.get(&node)?.0;
        let mut left = None;
        loop {
            match self.realms[site.0].owners.get(&to.ip()) {
                Some(Owner::Gate(gate)) if left == Some(*gate) => {
                    let hairpin = self.nat(*gate).spec.hairpin;
                    return hairpin.then_some((site, from));
                }
                Some(_) => return Some((site, from)),
                None => {}
            }
            let (parent, nat) = self.realms[site.0].uplink.as_mut()?;
            from = nat.outbound(now, from, to, chance);
            left = Some(site);
            site = *parent;
        }
    }

    /// The way in, from the site that knows `to`: where it ends, and by what address.
    pub fn arrive(&mut self, now: Instant, site: Site, from: SocketAddr, to: SocketAddr) -> Option<End> {
        let (mut site, mut to) = (site, to);
        loop {
            match *self.realms[site.0].owners.get(&to.ip())? {
                Owner::Stranger => return Some(End::Stranger),
                Owner::Node(node) => return self.listens(node, to).then_some(End::Node(node)),
                Owner::Gate(gate) => {
                    to = self.nat(gate).inbound(now, from, to)?;
                    site = gate;
                }
            }
        }
    }

    /// The node that `to` means within `site`, whether or not a NAT would let anything in.
    pub fn whose(&self, site: Site, to: SocketAddr) -> Option<Id> {
        let (mut site, mut to) = (site, to);
        loop {
            match *self.realms[site.0].owners.get(&to.ip())? {
                Owner::Stranger => return None,
                Owner::Node(node) => return self.listens(node, to).then_some(node),
                Owner::Gate(gate) => {
                    to = self.realms[gate.0].uplink.as_ref()?.1.behind(to)?;
                    site = gate;
                }
            }
        }
    }

    /// Whether a public address belongs to a node or a NAT.
    pub fn is_owned(&self, address: IpAddr) -> bool {
        let owner = self.realms[Site::INTERNET.0].owners.get(&address);
        owner.is_some_and(|owner| *owner != Owner::Stranger)
    }

    fn listens(&self, node: Id, at: SocketAddr) -> bool {
        self.homes.get(&node).is_some_and(|(_, addresses)| addresses.contains(&at))
    }

    // ---- the oracle ----

    /// Whether `a` and `b` can talk without a relay, links permitting, each having a mapping at its NAT.
    pub fn reach(&self, a: Id, b: Id) -> Reach {
        let (home_a, home_b) = (self.homes[&a].0, self.homes[&b].0);
        let (map_a, filter_a) = self.outside(home_a);
        let (map_b, filter_b) = self.outside(home_b);
        let open = |map, filter| map == Dependence::Endpoint && filter == Dependence::Endpoint;
        if home_a == home_b {
            // Side by side: by inner addresses, or by outer ones where the NAT hairpins.
            return if home_a == Site::INTERNET { Reach::Plain } else { Reach::Punched };
        }
        if open(map_a, filter_a) || open(map_b, filter_b) {
            return Reach::Plain;
        }
        // A known port on one side, and a filter there that does not ask for the port of the other.
        let known = |map| map == Dependence::Endpoint;
        let punched = match (known(map_a), known(map_b)) {
            (true, true) => true,
            (true, false) => filter_a != Dependence::AddressAndPort,
            (false, true) => filter_b != Dependence::AddressAndPort,
            (false, false) => false,
        };
        if punched { Reach::Punched } else { Reach::Never }
    }

    /// Mapping and filtering of all NATs between a site and the Internet, taken together.
    fn outside(&self, site: Site) -> (Dependence, Dependence) {
        let (mut mapping, mut filtering) = (Dependence::Endpoint, Dependence::Endpoint);
        let mut site = site;
        while let Some((parent, nat)) = &self.realms[site.0].uplink {
            mapping = mapping.max(nat.spec.mapping);
            filtering = filtering.max(nat.spec.filtering);
            site = *parent;
        }
        (mapping, filtering)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// One node on the Internet, one at home, one behind a NAT in that home.
    fn town() -> (Network, [Id; 3], [Site; 2]) {
        let mut network = Network::default();
        let home = network.add_site(Site::INTERNET, NatSpec::home(ip("198.18.0.2")));
        let shed = network.add_site(home, NatSpec::home(ip("192.168.0.9")));
        network.attach(Id(0), Site::INTERNET, vec![at("198.18.0.1:7000")]);
        network.attach(Id(1), home, vec![at("192.168.0.2:7000")]);
        network.attach(Id(2), shed, vec![at("192.168.1.2:7000")]);
        (network, [Id(0), Id(1), Id(2)], [home, shed])
    }

    fn send(network: &mut Network, from: Id, to: SocketAddr) -> Option<(SocketAddr, End)> {
        let mut chance = Chance::new(1);
        let (site, seen) = network.depart(Instant::ZERO, from, to, &mut chance)?;
        Some((seen, network.arrive(Instant::ZERO, site, seen, to)?))
    }

    #[test]
    fn answers_find_their_way_back_through_two_nats() {
        let (mut network, [vps, _, shed], _) = town();
        let (seen, end) = send(&mut network, shed, at("198.18.0.1:7000")).unwrap();
        assert_eq!((seen.ip(), end), (ip("198.18.0.2"), End::Node(vps)));
        assert_eq!(send(&mut network, vps, seen), Some((at("198.18.0.1:7000"), End::Node(shed))));
    }

    #[test]
    fn nobody_gets_in_unasked() {
        let (mut network, [vps, home, shed], _) = town();
        assert_eq!(send(&mut network, vps, at("198.18.0.2:7000")), None);
        assert_eq!(send(&mut network, vps, at("192.168.0.2:7000")), None);
        assert_eq!(send(&mut network, home, at("192.168.0.9:7000")), None);
        // From behind one's own NAT the house is the outside.
        assert_eq!(
            send(&mut network, shed, at("192.168.0.2:7000")),
            Some((at("192.168.0.9:7000"), End::Node(home)))
        );
    }

    #[test]
    fn hairpin_is_a_property_of_the_nat() {
        let (mut network, [_, one, _], [home, _]) = town();
        network.nat(home).spec = NatSpec::open(ip("198.18.0.2"));
        let two = Id(3);
        network.attach(two, home, vec![at("192.168.0.3:7000")]);
        let (seen, _) = send(&mut network, two, at("198.18.0.1:7000")).unwrap();
        assert_eq!(send(&mut network, one, seen), None);
        network.nat(home).spec.hairpin = true;
        assert_eq!(send(&mut network, one, seen).unwrap().1, End::Node(two));
        assert_eq!(network.whose(Site::INTERNET, seen), Some(two));
    }

    #[test]
    fn who_moved_is_found_at_the_new_address_only() {
        let (mut network, [vps, home, _], _) = town();
        network.attach(vps, Site::INTERNET, vec![at("198.18.0.77:7000")]);
        assert_eq!(send(&mut network, home, at("198.18.0.1:7000")), None);
        assert!(send(&mut network, home, at("198.18.0.77:7000")).is_some());
        assert_eq!(send(&mut network, home, at("198.18.0.77:7001")), None, "nobody listens there");
    }

    #[test]
    fn a_firewalled_node_answers_under_its_own_address() {
        let (mut network, [vps, ..], _) = town();
        let site = network.add_site(Site::INTERNET, NatSpec::firewall());
        network.attach(Id(3), site, vec![at("198.18.0.3:7000")]);
        assert_eq!(send(&mut network, vps, at("198.18.0.3:7000")), None);
        let (seen, end) = send(&mut network, Id(3), at("198.18.0.1:7000")).unwrap();
        assert_eq!((seen, end), (at("198.18.0.3:7000"), End::Node(vps)));
        assert!(send(&mut network, vps, seen).is_some());
    }

    #[test]
    fn the_oracle_knows_the_textbook() {
        let external = ip("198.18.0.9");
        let home = NatSpec::home(external);
        let by_address = NatSpec { filtering: Dependence::Address, ..home.clone() };
        let (open, symmetric) = (NatSpec::open(external), NatSpec::symmetric(external));
        for (a, b, expected) in [
            (&open, &symmetric, Reach::Plain),
            (&home, &home, Reach::Punched),
            (&by_address, &symmetric, Reach::Punched),
            (&home, &symmetric, Reach::Never),
            (&symmetric, &symmetric, Reach::Never),
        ] {
            let mut network = Network::default();
            let mut second = b.clone();
            second.external = Some(ip("198.18.0.8"));
            for (node, spec) in [(Id(0), a.clone()), (Id(1), second)] {
                let site = network.add_site(Site::INTERNET, spec);
                network.attach(node, site, vec![at("10.0.0.2:7000")]);
            }
            network.attach(Id(2), Site::INTERNET, vec![at("198.18.0.1:7000")]);
            assert_eq!(network.reach(Id(0), Id(1)), expected, "{a:?} {b:?}");
            assert_eq!(network.reach(Id(1), Id(0)), expected);
            let vps = network.reach(Id(0), Id(2));
            assert_eq!(vps, Reach::Plain, "a public node needs no punching");
        }
    }
}
