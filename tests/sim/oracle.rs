//! The oracle: whether the NATs of two nodes let them talk without a relay and without guessing ports.
//!
//! It works the very NATs of the world, from a state without mappings, and knows nothing of what nodes really do: both
//! let somebody on the Internet see them, tell each other where they were seen and what addresses they have, and then
//! send there over and over, and back to wherever they are sent to from. If one question passes and its answer comes back
//! from where it went, there is a way.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use peervpn::base::time::Instant;

use super::Id;
use super::chance::Chance;
use super::network::{End, Network};

/// Where somebody on the Internet looks on.
const WITNESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 19, 255, 254)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)),
];
/// So often both send to wherever they know. What is learned of in one round is tried in the next.
const ROUNDS: usize = 5;

/// Whether `a` and `b` can talk directly.
pub fn direct_path_possible(network: &Network, a: Id, b: Id) -> bool {
    let mut network = network.clone();
    network.forget();
    let mut chance = Chance::new(1);
    for witness in WITNESSES {
        network.attach_stranger(witness);
    }
    // Each first shows itself, as it does to an initial peer long before it hears of the other.
    let [of_a, of_b] = [a, b].map(|node| places(&mut network, &mut chance, node));
    let mut known = [of_b, of_a];
    for _ in 0..ROUNDS {
        for (n, (from, to)) in [(a, b), (b, a)].into_iter().enumerate() {
            for place in known[n].clone() {
                let Some((seen, End::Node(end))) = send(&mut network, &mut chance, from, place) else {
                    continue;
                };
                if end != to {
                    continue;
                }
                known[1 - n].insert(seen);
                // The answer must come from where the question went: so both agree on what the way is.
                if send(&mut network, &mut chance, to, seen) == Some((place, End::Node(from))) {
                    return true;
                }
            }
        }
    }
    false
}

/// Where a node is: its own addresses, and where it is seen.
fn places(network: &mut Network, chance: &mut Chance, node: Id) -> BTreeSet<SocketAddr> {
    let mut places: BTreeSet<SocketAddr> = network.addresses(node).iter().copied().collect();
    for witness in WITNESSES {
        places.extend(send(network, chance, node, (witness, 7000).into()).map(|(seen, _)| seen));
    }
    places
}

fn send(network: &mut Network, chance: &mut Chance, from: Id, to: SocketAddr) -> Option<(SocketAddr, End)> {
    let (site, seen) = network.depart(Instant::ZERO, from, to, chance)?;
    Some((seen, network.arrive(Instant::ZERO, site, seen, to)?))
}

#[cfg(test)]
mod tests {
    use super::super::Site;
    use super::super::nat::{Dependence, NatSpec, Ports};
    use super::*;
    use Dependence::{Address, AddressAndPort, Endpoint};

    fn external(n: u8) -> IpAddr {
        Ipv4Addr::new(198, 18, 9, n).into()
    }

    fn nat(mapping: Dependence, filtering: Dependence) -> NatSpec {
        let ports = if mapping == Endpoint { Ports::Preserved } else { Ports::Random };
        NatSpec { mapping, filtering, ports, ..NatSpec::home(external(1)) }
    }

    /// One node behind each NAT, at the same private address.
    fn apart(first: &NatSpec, second: &NatSpec) -> Network {
        let mut network = Network::default();
        for (n, spec) in [first, second].into_iter().enumerate() {
            let address = external(u8::try_from(n).unwrap() + 1);
            let spec = NatSpec { external: spec.external.map(|_| address), ..spec.clone() };
            let place = if spec.external.is_some() {
                "10.0.0.2:7000".parse().unwrap()
            } else {
                (address, 7000).into()
            };
            let site = network.add_site(Site::INTERNET, spec);
            network.attach(Id(n), site, vec![place]);
        }
        network
    }

    fn possible(network: &Network) -> bool {
        let [forth, back] = [(0, 1), (1, 0)].map(|(a, b)| direct_path_possible(network, Id(a), Id(b)));
        assert_eq!(forth, back, "whoever asks");
        forth
    }

    /// Pairs that meet although neither port is known beforehand: a first message gets in where somebody else let it be seen,
    /// and from then on one side has a port that depends on the address alone.
    const BY_CHANCE_MEETING: [[(Dependence, Dependence); 2]; 5] = [
        [(Address, Endpoint), (Address, Endpoint)],
        [(Address, Endpoint), (Address, Address)],
        [(Address, Endpoint), (AddressAndPort, Endpoint)],
        [(Address, Endpoint), (AddressAndPort, Address)],
        [(Address, Address), (AddressAndPort, Endpoint)],
    ];

    #[test]
    fn every_mapping_and_filter_against_every_other() {
        // The textbook: a way needs a port that is known on one side, and there a filter that does not ask for the port of
        // the other unless that is known too.
        let kinds = [Endpoint, Address, AddressAndPort];
        let kinds = || kinds.into_iter().flat_map(|mapping| kinds.map(|filtering| (mapping, filtering)));
        for (one, other) in kinds().flat_map(|one| kinds().map(move |other| (one, other))) {
            let textbook = match (one.0 == Endpoint, other.0 == Endpoint) {
                (true, true) => true,
                (true, false) => one.1 != AddressAndPort,
                (false, true) => other.1 != AddressAndPort,
                (false, false) => false,
            };
            let meets =
                BY_CHANCE_MEETING.contains(&[one, other]) || BY_CHANCE_MEETING.contains(&[other, one]);
            let network = apart(&nat(one.0, one.1), &nat(other.0, other.1));
            assert_eq!(possible(&network), textbook || meets, "{one:?}, {other:?}");
        }
    }

    #[test]
    fn whoever_is_on_the_internet_is_reached_by_all() {
        for spec in [NatSpec::home(external(1)), NatSpec::symmetric(external(1)), NatSpec::firewall()] {
            let mut network = apart(&spec, &spec);
            network.attach(Id(1), Site::INTERNET, vec!["198.18.0.1:7000".parse().unwrap()]);
            assert!(possible(&network), "{spec:?}");
        }
    }

    #[test]
    fn a_firewall_is_a_nat_whose_port_is_known() {
        let firewall = NatSpec::firewall();
        assert!(possible(&apart(&firewall, &firewall)));
        assert!(possible(&apart(&firewall, &NatSpec::linux(external(1)))));
        assert!(!possible(&apart(&firewall, &NatSpec::symmetric(external(1)))));
    }

    #[test]
    fn neighbours_reach_each_other_whatever_their_nat() {
        let mut network = Network::default();
        let home = network.add_site(Site::INTERNET, NatSpec::symmetric(external(1)));
        network.attach(Id(0), home, vec!["10.0.0.2:7000".parse().unwrap()]);
        network.attach(Id(1), home, vec!["10.0.0.3:7000".parse().unwrap()]);
        assert!(possible(&network));
        // One of them behind a NAT of its own there.
        let shed = network.add_site(home, NatSpec::symmetric("10.0.0.9".parse().unwrap()));
        network.attach(Id(1), shed, vec!["10.0.1.3:7000".parse().unwrap()]);
        assert!(possible(&network));
    }

    #[test]
    fn behind_one_provider_s_nat_it_takes_a_hairpin() {
        for hairpin in [false, true] {
            let mut network = Network::default();
            let provider =
                network.add_site(Site::INTERNET, NatSpec { hairpin, ..NatSpec::home(external(1)) });
            for n in [0, 1] {
                let gate = Ipv4Addr::new(100, 64, 0, n + 1).into();
                let home = network.add_site(provider, NatSpec::home(gate));
                network.attach(Id(n.into()), home, vec!["192.168.1.2:7000".parse().unwrap()]);
            }
            assert_eq!(possible(&network), hairpin);
        }
    }

    #[test]
    fn two_nats_in_a_row_are_as_bad_as_the_worse() {
        for (outer, expected) in
            [(NatSpec::home(external(3)), true), (NatSpec::symmetric(external(3)), false)]
        {
            let mut network = apart(&NatSpec::home(external(1)), &NatSpec::home(external(2)));
            let provider = network.add_site(Site::INTERNET, outer);
            let home = network.add_site(provider, NatSpec::home("100.64.0.1".parse().unwrap()));
            network.attach(Id(1), home, vec!["10.0.0.2:7000".parse().unwrap()]);
            assert_eq!(possible(&network), expected);
        }
    }

    #[test]
    fn ipv6_leads_past_the_nat() {
        let symmetric = NatSpec::symmetric(external(1));
        let mut network = apart(&symmetric, &symmetric);
        for n in [0, 1] {
            let address = format!("[2001:db8:{n}::2]:7000").parse().unwrap();
            let site = network.add_site(Site::INTERNET, NatSpec::symmetric(external(10 + n)));
            network.attach(Id(n.into()), site, vec!["10.0.0.2:7000".parse().unwrap(), address]);
        }
        assert!(possible(&network));
    }
}
