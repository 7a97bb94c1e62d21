//! A NAT after RFC 4787, or a stateful firewall, which is the same without translation.
//!
//! Mappings and the right to answer are refreshed by what goes out, never by what comes in (REQ-6).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use peervpn::base::time::{Duration, Instant};

use super::chance::Chance;
use super::gateway::Gateway;

/// On what of the far end something depends (RFC 4787, sections 4.1 and 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dependence {
    /// On nothing.
    Endpoint,
    /// On its address.
    Address,
    /// On its address and port.
    AddressAndPort,
}

/// Which outer port a new mapping gets (RFC 4787, section 4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ports {
    /// The inner one where it is free.
    Preserved,
    /// The inner one wherever no other mapping has it *towards the same far end*, as Linux does: only sensible where the
    /// mapping depends on address and port.
    Overloaded,
    /// The one after that of the mapping before.
    Sequential,
    /// Any.
    Random,
}

/// How a NAT behaves.
#[derive(Clone, Debug)]
pub struct NatSpec {
    /// Its outer address; none for a firewall that leaves addresses alone. Addresses of the other family pass as they are,
    /// filtered as a firewall does.
    pub external: Option<IpAddr>,
    /// When a new outer port is taken. `AddressAndPort` is what people call symmetric.
    pub mapping: Dependence,
    /// Who may answer.
    pub filtering: Dependence,
    /// Mappings end so long after the last packet out.
    pub expiry: Duration,
    /// Which outer port a new mapping gets.
    pub ports: Ports,
    /// Whether inner hosts reach each other by outer addresses (REQ-9).
    pub hairpin: bool,
}

impl NatSpec {
    /// The common home router: one mapping for all, answers only from where one has sent to.
    pub fn home(external: IpAddr) -> NatSpec {
        NatSpec {
            external: Some(external),
            mapping: Dependence::Endpoint,
            filtering: Dependence::AddressAndPort,
            expiry: Duration::from_secs(30),
            ports: Ports::Preserved,
            hairpin: false,
        }
    }

    /// The one that cannot be punched: a new port for every far end.
    pub fn symmetric(external: IpAddr) -> NatSpec {
        NatSpec { mapping: Dependence::AddressAndPort, ports: Ports::Random, ..NatSpec::home(external) }
    }

    /// The one that needs no punching ("full cone").
    pub fn open(external: IpAddr) -> NatSpec {
        NatSpec { filtering: Dependence::Endpoint, ..NatSpec::home(external) }
    }

    /// Linux's masquerading: in effect one mapping for all as long as no neighbour uses the same port.
    pub fn linux(external: IpAddr) -> NatSpec {
        NatSpec { mapping: Dependence::AddressAndPort, ports: Ports::Overloaded, ..NatSpec::home(external) }
    }

    /// A stateful firewall in front of public addresses.
    pub fn firewall() -> NatSpec {
        NatSpec { external: None, ..NatSpec::home(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) }
    }

    /// Whether an inner address is seen outside as it is.
    pub fn leaves_alone(&self, inside: IpAddr) -> bool {
        self.external.is_none_or(|external| external.is_ipv4() != inside.is_ipv4())
    }
}

/// Inner endpoint, and as much of the far end as the mapping depends on.
type Key = (SocketAddr, Option<IpAddr>, Option<u16>);

/// An outer endpoint, and the far end it is for where several mappings share it.
type Outer = (SocketAddr, Option<SocketAddr>);

#[derive(Clone, Debug)]
struct Entry {
    external: SocketAddr,
    used: Instant,
    /// When each far end was last sent to.
    contacts: BTreeMap<SocketAddr, Instant>,
}

/// A NAT at work.
#[derive(Clone, Debug)]
pub struct Nat {
    /// How it behaves; may be changed at any time.
    pub spec: NatSpec,
    /// Maps ports on request.
    pub gateway: Option<Gateway>,
    entries: BTreeMap<Key, Entry>,
    by_external: BTreeMap<Outer, Key>,
    /// The port that was given out last.
    last: u16,
}

impl Nat {
    /// One without mappings.
    pub fn new(spec: NatSpec) -> Nat {
        Nat { spec, gateway: None, entries: BTreeMap::new(), by_external: BTreeMap::new(), last: 0x8000 }
    }

    /// Forgets all mappings, as after a power cut.
    pub fn forget(&mut self) {
        self.entries.clear();
        self.by_external.clear();
    }

    /// A packet goes out: the source address it has outside.
    pub fn outbound(
        &mut self,
        now: Instant,
        inside: SocketAddr,
        to: SocketAddr,
        chance: &mut Chance,
    ) -> SocketAddr {
        self.expire(now);
        let opened = self.gateway.as_ref().and_then(|gateway| gateway.outbound(inside, to));
        if let Some((port, ip)) = opened.zip(self.spec.external) {
            return SocketAddr::new(ip, port);
        }
        let key = match self.spec.mapping {
            _ if self.spec.leaves_alone(inside.ip()) => (inside, None, None),
            Dependence::Endpoint => (inside, None, None),
            Dependence::Address => (inside, Some(to.ip()), None),
            Dependence::AddressAndPort => (inside, Some(to.ip()), Some(to.port())),
        };
        if !self.entries.contains_key(&key) {
            let external = self.free_endpoint(inside, to, chance);
            self.by_external.insert(self.outer(external, to), key);
            self.entries.insert(key, Entry { external, used: now, contacts: BTreeMap::new() });
        }
        let entry = self.entries.get_mut(&key).expect("just made");
        entry.used = now;
        entry.contacts.insert(to, now);
        entry.external
    }

    /// A packet comes in: the inner endpoint it goes to, if it may.
    pub fn inbound(&mut self, now: Instant, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        self.expire(now);
        let opened = self.gateway.as_mut().and_then(|gateway| gateway.inbound(now, from, to.port()));
        if opened.is_some() {
            return opened;
        }
        let key = self.by_external.get(&self.outer(to, from))?;
        let contacts = &self.entries.get(key)?.contacts;
        let welcome = match self.spec.filtering {
            Dependence::Endpoint => true,
            Dependence::Address => contacts.keys().any(|contact| contact.ip() == from.ip()),
            Dependence::AddressAndPort => contacts.contains_key(&from),
        };
        welcome.then_some(key.0)
    }

    /// The inner endpoint behind an outer one, for who sends from `far`, whether or not that may come in.
    pub fn behind(&self, external: SocketAddr, far: SocketAddr) -> Option<SocketAddr> {
        let opened = self.gateway.as_ref().and_then(|gateway| gateway.behind(external.port()));
        opened.or_else(|| self.by_external.get(&self.outer(external, far)).map(|key| key.0))
    }

    /// What names a mapping outside.
    fn outer(&self, external: SocketAddr, far: SocketAddr) -> Outer {
        let shared = self.spec.ports == Ports::Overloaded && !self.spec.leaves_alone(external.ip());
        (external, shared.then_some(far))
    }

    fn expire(&mut self, now: Instant) {
        let life = self.spec.expiry;
        self.entries.retain(|_, entry| {
            entry.contacts.retain(|_, &mut used| now - used < life);
            now - entry.used < life
        });
        self.by_external.retain(|_, key| self.entries.contains_key(key));
    }

    fn free_endpoint(&mut self, inside: SocketAddr, far: SocketAddr, chance: &mut Chance) -> SocketAddr {
        let Some(ip) = self.spec.external.filter(|_| !self.spec.leaves_alone(inside.ip())) else {
            return inside;
        };
        let is_free = |nat: &Nat, port| {
            let candidate = SocketAddr::new(ip, port);
            (!nat.by_external.contains_key(&nat.outer(candidate, far))).then_some(candidate)
        };
        if matches!(self.spec.ports, Ports::Preserved | Ports::Overloaded)
            && let Some(preserved) = is_free(self, inside.port())
        {
            return preserved;
        }
        loop {
            let [low, high] = chance.bytes();
            let port = match self.spec.ports {
                Ports::Sequential => self.last.wrapping_add(1),
                _ => u16::from_le_bytes([low, high]),
            };
            self.last = port | 0x8000;
            if let Some(found) = is_free(self, self.last) {
                return found;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTERNAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 9, 9));
    const SECOND: Duration = Duration::from_secs(1);

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Two far ends at one address and one at another; the outer ports that an inner host gets towards them.
    fn mapped(mapping: Dependence) -> [SocketAddr; 3] {
        let mut nat = Nat::new(NatSpec { mapping, ..NatSpec::home(EXTERNAL) });
        let mut chance = Chance::new(1);
        ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"]
            .map(|far| nat.outbound(Instant::ZERO, at("10.0.0.2:7000"), at(far), &mut chance))
    }

    #[test]
    fn mappings_depend_on_as_much_as_said() {
        let [a, b, c] = mapped(Dependence::Endpoint);
        assert!(a == b && b == c && a == SocketAddr::new(EXTERNAL, 7000));
        let [a, b, c] = mapped(Dependence::Address);
        assert!(a == b && b != c);
        let [a, b, c] = mapped(Dependence::AddressAndPort);
        assert!(a != b && b != c && a != c);
    }

    #[test]
    fn filters_depend_on_as_much_as_said() {
        let far = [at("192.0.2.1:1"), at("192.0.2.1:2"), at("192.0.2.2:1")];
        for (filtering, expected) in [
            (Dependence::Endpoint, [true, true, true]),
            (Dependence::Address, [true, true, false]),
            (Dependence::AddressAndPort, [true, false, false]),
        ] {
            let mut nat = Nat::new(NatSpec { filtering, ..NatSpec::home(EXTERNAL) });
            let inside = at("10.0.0.2:7000");
            let outer = nat.outbound(Instant::ZERO, inside, far[0], &mut Chance::new(1));
            let passed = far.map(|from| nat.inbound(Instant::ZERO, from, outer) == Some(inside));
            assert_eq!(passed, expected, "{filtering:?}");
        }
    }

    #[test]
    fn only_what_goes_out_keeps_a_mapping_alive() {
        let mut nat = Nat::new(NatSpec::home(EXTERNAL));
        let mut chance = Chance::new(1);
        let (inside, far) = (at("10.0.0.2:7000"), at("192.0.2.1:1"));
        let outer = nat.outbound(Instant::ZERO, inside, far, &mut chance);
        assert!(nat.inbound(Instant::ZERO + 29 * SECOND, far, outer).is_some());
        assert!(nat.inbound(Instant::ZERO + 31 * SECOND, far, outer).is_none());
        nat.outbound(Instant::ZERO + 32 * SECOND, inside, far, &mut chance);
        assert!(nat.inbound(Instant::ZERO + 33 * SECOND, far, outer).is_some());
        nat.forget();
        assert!(nat.inbound(Instant::ZERO + 33 * SECOND, far, outer).is_none());
    }

    #[test]
    fn two_hosts_never_share_an_outer_endpoint() {
        let mut nat = Nat::new(NatSpec::home(EXTERNAL));
        let mut chance = Chance::new(1);
        let far = at("192.0.2.1:1");
        let one = nat.outbound(Instant::ZERO, at("10.0.0.2:7000"), far, &mut chance);
        let two = nat.outbound(Instant::ZERO, at("10.0.0.3:7000"), far, &mut chance);
        assert_ne!(one, two);
        assert_eq!(nat.behind(two, far), Some(at("10.0.0.3:7000")));
    }

    #[test]
    fn a_firewall_translates_nothing() {
        let mut nat = Nat::new(NatSpec::firewall());
        let (inside, far) = (at("203.0.113.5:7000"), at("192.0.2.1:1"));
        assert!(nat.inbound(Instant::ZERO, far, inside).is_none());
        assert_eq!(nat.outbound(Instant::ZERO, inside, far, &mut Chance::new(1)), inside);
        assert_eq!(nat.inbound(Instant::ZERO, far, inside), Some(inside));
    }

    #[test]
    fn ports_are_chosen_as_said() {
        let ports = |ports, mapping| {
            let mut nat = Nat::new(NatSpec { ports, mapping, ..NatSpec::home(EXTERNAL) });
            let mut chance = Chance::new(1);
            ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"]
                .map(|far| nat.outbound(Instant::ZERO, at("10.0.0.2:7000"), at(far), &mut chance).port())
        };
        assert_eq!(ports(Ports::Preserved, Dependence::Endpoint), [7000; 3]);
        let [a, b, c] = ports(Ports::Preserved, Dependence::AddressAndPort);
        assert!(a == 7000 && b != a && c != a && b != c, "the inner one is free once");
        assert_eq!(ports(Ports::Overloaded, Dependence::AddressAndPort), [7000; 3]);
        let [a, b, c] = ports(Ports::Sequential, Dependence::AddressAndPort);
        assert_eq!([b, c], [a + 1, a + 2]);
        let [a, b, c] = ports(Ports::Random, Dependence::AddressAndPort);
        assert!(b != a + 1 && c != b + 1 && a != 7000);
    }

    #[test]
    fn a_shared_port_belongs_to_whoever_sent_there_first() {
        // As Linux does: the second host has the port towards all but the far ends of the first.
        let mut nat = Nat::new(NatSpec::linux(EXTERNAL));
        let mut chance = Chance::new(1);
        let (one, two) = (at("10.0.0.2:7000"), at("10.0.0.3:7000"));
        let (far, other) = (at("192.0.2.1:1"), at("192.0.2.2:1"));
        let shared = SocketAddr::new(EXTERNAL, 7000);
        assert_eq!(nat.outbound(Instant::ZERO, one, far, &mut chance), shared);
        let moved = nat.outbound(Instant::ZERO, two, far, &mut chance);
        assert_ne!(moved, shared);
        assert_eq!(nat.outbound(Instant::ZERO, two, other, &mut chance), shared);
        assert_eq!(nat.inbound(Instant::ZERO, far, shared), Some(one));
        assert_eq!(nat.inbound(Instant::ZERO, other, shared), Some(two));
        assert_eq!(nat.inbound(Instant::ZERO, far, moved), Some(two));
        assert_eq!(nat.inbound(Instant::ZERO, at("192.0.2.2:2"), shared), None);
    }

    #[test]
    fn the_other_family_is_filtered_and_not_translated() {
        let mut nat = Nat::new(NatSpec::symmetric(EXTERNAL));
        let (inside, far) = (at("[2001:db8::5]:7000"), at("[2001:db8:1::1]:7000"));
        assert!(nat.inbound(Instant::ZERO, far, inside).is_none());
        assert_eq!(nat.outbound(Instant::ZERO, inside, far, &mut Chance::new(1)), inside);
        assert_eq!(nat.inbound(Instant::ZERO, far, inside), Some(inside));
    }
}
