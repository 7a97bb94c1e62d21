//! Where everything is attached: the Internet, sites behind a NAT, sites behind sites. Carries a datagram
//! from one endpoint to another as routers do.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use peervpn::base::time::Instant;

use super::chance::Chance;
use super::gateway::{Gateway, PORT};
use super::nat::{Nat, NatSpec};
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

#[derive(Clone, Debug)]
struct Realm {
    /// The way out, and the NAT on it; none for the Internet and for a lonely LAN.
    uplink: Option<(Site, Nat)>,
    owners: BTreeMap<IpAddr, Owner>,
}

/// All sites.
#[derive(Clone, Debug)]
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

    /// All sites but the Internet.
    pub fn sites(&self) -> Vec<Site> {
        (1..self.realms.len()).map(Site).collect()
    }

    /// The NAT on the way out of a site.
    pub fn nat(&mut self, site: Site) -> &mut Nat {
        &mut self.realms[site.0].uplink.as_mut().expect("a site with a NAT").1
    }

    /// What maps ports at the way out of a site.
    pub fn gateway(&mut self, site: Site) -> Option<&mut Gateway> {
        self.realms[site.0].uplink.as_mut()?.1.gateway.as_mut()
    }

    /// What that says to a node of the site; none where there is no gateway at `to`. An answer comes to the address that
    /// goes with it.
    pub fn ask_gateway(
        &mut self,
        now: Instant,
        node: Id,
        to: SocketAddr,
        question: &[u8],
    ) -> Option<Option<(SocketAddr, Vec<u8>)>> {
        let from = self.source(node, to)?;
        let nat = &mut self.realms[self.homes.get(&node)?.0.0].uplink.as_mut()?.1;
        let external = nat.spec.external?;
        let here = |gateway: &&mut Gateway| to == SocketAddr::new(gateway.at.into(), PORT);
        let gateway = nat.gateway.as_mut().filter(here)?;
        Some(gateway.serve(now, from, question, external).map(|answer| (from, answer)))
    }

    /// Attaches a node; it leaves where it was.
    pub fn attach(&mut self, node: Id, site: Site, addresses: Vec<SocketAddr>) {
        self.detach(node);
        for address in &addresses {
            self.own(site, address.ip(), Owner::Node(node));
            // As far as it is seen as it is, the way to it leads through the gates.
            let mut inner = site;
            while let Some((parent, nat)) = &self.realms[inner.0].uplink {
                if !nat.spec.leaves_alone(address.ip()) {
                    break;
                }
                let parent = *parent;
                self.own(parent, address.ip(), Owner::Gate(inner));
                inner = parent;
            }
        }
        self.homes.insert(node, (site, addresses));
    }

    /// A site's NAT has another outer address, and no mapping that was made under the old one.
    pub fn readdress(&mut self, site: Site, external: IpAddr) {
        let (parent, nat) = self.realms[site.0].uplink.as_mut().expect("a site with a NAT");
        let (parent, old) = (*parent, nat.spec.external.replace(external));
        nat.forget();
        old.map(|old| self.realms[parent.0].owners.remove(&old));
        self.own(parent, external, Owner::Gate(site));
    }

    /// All NATs forget their mappings.
    pub fn forget(&mut self) {
        self.realms.iter_mut().filter_map(|realm| realm.uplink.as_mut()).for_each(|(_, nat)| nat.forget());
    }

    /// The addresses of a node.
    pub fn addresses(&self, node: Id) -> &[SocketAddr] {
        self.homes.get(&node).map_or(&[], |(_, addresses)| addresses)
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

    /// Where a node is attached, and its addresses there.
    pub fn home(&self, node: Id) -> (Site, Vec<SocketAddr>) {
        self.homes.get(&node).cloned().unwrap_or((Site::INTERNET, Vec::new()))
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

    /// The node that `to` means within `site` to who sends from `from`, whether or not a NAT would let that in.
    pub fn whose(&self, site: Site, from: SocketAddr, to: SocketAddr) -> Option<Id> {
        let (mut site, mut to) = (site, to);
        loop {
            match *self.realms[site.0].owners.get(&to.ip())? {
                Owner::Stranger => return None,
                Owner::Node(node) => return self.listens(node, to).then_some(node),
                Owner::Gate(gate) => {
                    to = self.realms[gate.0].uplink.as_ref()?.1.behind(to, from)?;
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
        assert_eq!(network.whose(Site::INTERNET, seen, seen), Some(two));
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
    fn who_gets_another_address_outside_is_found_there_only() {
        let (mut network, [vps, home, _], [site, _]) = town();
        let (before, _) = send(&mut network, home, at("198.18.0.1:7000")).unwrap();
        network.readdress(site, ip("198.18.0.33"));
        assert_eq!(send(&mut network, vps, before), None);
        let (after, _) = send(&mut network, home, at("198.18.0.1:7000")).unwrap();
        assert_eq!((before.ip(), after.ip()), (ip("198.18.0.2"), ip("198.18.0.33")));
        assert!(send(&mut network, vps, after).is_some());
    }

    #[test]
    fn an_address_of_the_other_family_is_reached_through_all_gates() {
        let (mut network, [vps, ..], [_, shed]) = town();
        network.attach(vps, Site::INTERNET, vec![at("[2001:db8::1]:7000")]);
        network.attach(Id(3), shed, vec![at("192.168.1.3:7000"), at("[2001:db8::3]:7000")]);
        assert_eq!(send(&mut network, vps, at("[2001:db8::3]:7000")), None, "nobody gets in unasked");
        let (seen, end) = send(&mut network, Id(3), at("[2001:db8::1]:7000")).unwrap();
        assert_eq!((seen, end), (at("[2001:db8::3]:7000"), End::Node(vps)));
        assert!(send(&mut network, vps, seen).is_some());
    }
}
