//! Our own addresses, what our peers' reports show of the NAT in front of us, and which addresses of others are worth a
//! datagram.
//!
//! An address that others see us at is told on only when two peers, or one initial peer, reported it: nobody makes us
//! point the mesh at a third party (S2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::discard::Discard;
use crate::base::event::NatKind;
use crate::base::ids::PeerKey;
use crate::base::outbox::Outbox;
use crate::base::settings::Settings;
use crate::base::time::Instant;
use crate::mesh::Mesh;
use crate::mesh::hosts::Hosts;
use crate::mesh::peers::Peers;
use crate::wire::control::{Control, Endpoints};

/// What this node knows of itself.
#[derive(Default)]
pub(super) struct Own {
    /// What its interfaces have.
    local: Endpoints,
    /// Where a NAT was asked to let everybody in.
    pub(super) mapped: Option<SocketAddr>,
    ipv4: bool,
    ipv6: bool,
    inside4: Option<(Ipv4Addr, u8)>,
    inside6: Option<(Ipv6Addr, u8)>,
}

impl Own {
    pub(super) fn new(settings: &Settings) -> Own {
        Own {
            ipv4: settings.enable_ipv4 || settings.nat64,
            ipv6: settings.enable_ipv6,
            inside4: settings.ifconfig4,
            inside6: settings.ifconfig6,
            ..Own::default()
        }
    }

    /// Whether a peer may be at an address that others told of: a unicast address of another machine, not behind our own
    /// interface (S20), and no port below 1024, so that no hint makes us knock at a well-known service (S2).
    pub(super) fn allows(&self, address: SocketAddr) -> bool {
        let is_inside = match address.ip() {
            IpAddr::V4(ip) => self.inside4.is_some_and(|(ours, prefix)| {
                prefix > 0 && (ours.to_bits() ^ ip.to_bits()).leading_zeros() >= u32::from(prefix)
            }),
            IpAddr::V6(ip) => self.inside6.is_some_and(|(ours, prefix)| {
                prefix > 0 && (ours.to_bits() ^ ip.to_bits()).leading_zeros() >= u32::from(prefix)
            }),
        };
        is_plausible(address) && !is_inside && !self.local.has(address)
    }

    /// Whether there is a socket for it, or may be a translator.
    pub(super) fn has_family(&self, address: SocketAddr) -> bool {
        if address.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }

    /// Where we are, the surest first: told to a peer that we want to meet.
    pub(super) fn endpoints(&self, peers: &Peers, hosts: &Hosts) -> Endpoints {
        let mut all = Endpoints::default();
        self.mapped.into_iter().for_each(|address| all.append(address));
        for (key, member) in peers.iter() {
            let Some(seen) = member.seen_us.filter(|seen| !all.has(*seen)) else { continue };
            let initial = hosts.iter().any(|(_, host)| host.peer == Some(key));
            let twice = peers.iter().filter(|(_, other)| other.seen_us == Some(seen)).count() > 1;
            if initial || twice {
                all.append(seen);
            }
        }
        self.local.iter().for_each(|address| all.append(address));
        all
    }

    /// What is in front of us over IPv4, as far as reports show it.
    pub(super) fn nat(&self, peers: &Peers) -> NatKind {
        let is_lan = |seen: &SocketAddr| matches!(seen.ip(), IpAddr::V4(ip) if ip.is_private());
        let all = peers.iter().filter_map(|(_, member)| member.seen_us);
        let mut outside = all.filter(|seen| seen.is_ipv4() && !is_lan(seen));
        let Some(first) = outside.next() else { return NatKind::Unknown };
        if self.local.has(first) {
            return NatKind::Open;
        }
        let (mut same, mut differ) = (false, false);
        outside.for_each(|seen| if seen == first { same = true } else { differ |= seen.ip() == first.ip() });
        match (same, differ) {
            (_, true) => NatKind::Symmetric,
            (true, false) => NatKind::EndpointIndependent,
            (false, false) => NatKind::Unknown,
        }
    }
}

impl Mesh {
    /// What our interfaces have, with the port that we listen on: not the TAP's own, nor what is reached through it (S20).
    pub fn handle_local_addresses(&mut self, now: Instant, local: &[SocketAddr]) {
        let mut news = Endpoints::default();
        local.iter().filter(|address| is_plausible(**address)).for_each(|address| news.append(*address));
        self.own.local = news;
        self.wake(now);
    }

    /// What is in front of us, as our peers' reports show.
    pub fn nat(&self) -> NatKind {
        self.own.nat(&self.peers)
    }

    /// Tells `key` where we see it, once for each address and session.
    pub(super) fn tell_observed(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        let Some(member) = self.peers.get_mut(key) else { return };
        let direct = member.peer.direct().filter(|_| member.peer.is_up());
        if direct.is_none() || member.told_seen == direct {
            return;
        }
        member.told_seen = direct;
        if let Some(address) = direct
            && let Err(why) = self.post_control(now, key, &Control::Observed(address), out)
        {
            out.count(why);
        }
    }

    /// A peer tells where it sees us.
    pub(super) fn handle_observed(&mut self, from: PeerKey, address: SocketAddr) -> Result<(), Discard> {
        let member = self.peers.get_mut(from).ok_or(Discard::UnknownPeer)?;
        let sound = member.peer.direct().is_some() && is_plausible(address);
        member.seen_us = Some(address).filter(|_| sound);
        if sound { Ok(()) } else { Err(Discard::Unexpected) }
    }
}

/// Whether an address can be another machine's wherever one is, and its port none of a well-known service.
fn is_plausible(address: SocketAddr) -> bool {
    let unicast = match address.ip() {
        IpAddr::V4(ip) => {
            !(ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.is_unspecified()
                || ip.octets()[0] == 0)
        }
        IpAddr::V6(ip) => {
            let mapped = ip.to_ipv4_mapped().is_some();
            let unfit = ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || mapped;
            // On another link it is somebody else, or nobody.
            !(unfit || ip.is_unicast_link_local())
        }
    };
    unicast && address.port() >= 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{NodeId, ShortId};
    use crate::peer::Peer;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Peers that see us at these places.
    fn seen(places: &[&str]) -> Peers {
        let mut peers = Peers::new();
        for (n, place) in (1u8..).zip(places) {
            let peer = Peer::new(Instant::ZERO, NodeId([n; 32]), ShortId([n; 8]), true);
            let key = peers.insert(Instant::ZERO, peer).unwrap();
            peers.get_mut(key).unwrap().seen_us = Some(at(place));
        }
        peers
    }

    #[test]
    fn hints_to_odd_places_are_refused() {
        // S2: a hint cannot point the mesh at a service or at ourselves.
        let mut own = Own { inside4: Some((Ipv4Addr::new(10, 9, 0, 1), 16)), ..Own::default() };
        own.inside6 = Some(("fd00:9::1".parse().unwrap(), 64));
        own.local.append(at("192.168.1.5:7000"));
        for good in ["192.0.2.1:7000", "10.1.2.3:1024", "192.168.1.5:7001", "[2001:db8::1]:65535"] {
            assert!(own.allows(at(good)), "{good}");
        }
        for bad in [
            "192.0.2.1:53",
            "127.0.0.1:7000",
            "224.0.0.1:7000",
            "255.255.255.255:7000",
            "0.0.0.0:7000",
            "[::1]:7000",
            "[ff02::1]:7000",
            "169.254.1.1:7000",
            "[fe80::1]:7000",
            "[::]:7000",
            "[::ffff:192.0.2.1]:7000",
            // S20
            "10.9.8.7:7000",
            "[fd00:9::77]:7000",
            "192.168.1.5:7000",
        ] {
            assert!(!own.allows(at(bad)), "{bad}");
        }
    }

    #[test]
    fn reports_show_the_nat() {
        let mut own = Own::default();
        own.local.append(at("192.0.2.1:7000"));
        own.local.append(at("192.168.1.2:7000"));
        for (places, kind) in [
            (&[][..], NatKind::Unknown),
            (&["198.18.0.1:7000"], NatKind::Unknown),
            (&["198.18.0.1:7000", "198.18.0.1:7000"], NatKind::EndpointIndependent),
            (&["198.18.0.1:7000", "198.18.0.1:7001"], NatKind::Symmetric),
            (&["192.0.2.1:7000"], NatKind::Open),
            // A neighbour sees us as we are, and IPv6 is another matter.
            (&["192.168.1.2:7000", "192.168.1.2:7000"], NatKind::Unknown),
            (&["198.18.0.1:7000", "192.168.1.2:7000", "[2001:db8::2]:7000"], NatKind::Unknown),
        ] {
            assert_eq!(own.nat(&seen(places)), kind, "{places:?}");
        }
    }

    #[test]
    fn one_report_is_not_told_on() {
        // S2: one peer cannot make us name a third party as our own address.
        let mut own = Own { mapped: Some(at("198.18.0.9:7000")), ..Own::default() };
        own.local.append(at("192.168.1.2:7000"));
        let hosts = Hosts::new(1, Instant::ZERO);
        let told = |peers: &Peers, hosts: &Hosts| {
            own.endpoints(peers, hosts).iter().map(|a| a.to_string()).collect::<Vec<_>>()
        };
        let peers = seen(&["198.18.0.1:7000", "198.18.0.2:7000"]);
        assert_eq!(told(&peers, &hosts), ["198.18.0.9:7000", "192.168.1.2:7000"]);
        let twice = seen(&["198.18.0.1:7000", "198.18.0.2:7000", "198.18.0.1:7000"]);
        assert_eq!(told(&twice, &hosts), ["198.18.0.9:7000", "198.18.0.1:7000", "192.168.1.2:7000"]);
        let mut hosts = hosts;
        hosts.iter_mut().for_each(|(_, entry)| entry.peer = peers.key(1));
        assert_eq!(told(&peers, &hosts), ["198.18.0.9:7000", "198.18.0.2:7000", "192.168.1.2:7000"]);
    }
}
