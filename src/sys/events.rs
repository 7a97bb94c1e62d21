//! How the kernel tells that the network changed.
//!
//! [`Events`] listens to rtnetlink and boils what it hears down to two questions: is it worth trying every path
//! again, and how is our TAP? Routers announce addresses again and again, so it keeps a picture of what there
//! is, and only a difference counts. The same picture tells where this host is: its own addresses, its way to the
//! world, and the local networks it is on.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::sys::Context;
use crate::sys::netlink::{
    ADDRESS_BODY, BUFFER, LINK_BODY, Link, LocalAddress, Message, Netlink, ROUTE_BODY, WayOut, attributes,
    family_byte, link_body, messages, number, read_address, socket,
};

/// What has changed since [`Events::drain`] was last asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Whether the host's links, addresses or default routes changed: paths are worth another try.
    pub network: bool,
    /// The new state of our TAP, if it was told.
    pub tap: Option<LinkState>,
}

/// The state of our TAP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkState {
    /// Frames flow.
    Up,
    /// Somebody set it down.
    Down,
    /// It is not in this network namespace any more: removed, or moved; [`Tap::exists`](super::tap::Tap::exists) knows.
    Gone,
}

/// A socket that hears of changes.
#[derive(Debug)]
pub struct Events {
    socket: File,
    requests: Netlink,
    picture: Picture,
    buffer: Box<[u8; BUFFER]>,
}

impl Events {
    /// Begins to listen. Changes of the TAP's own addresses and routes are not told, for they open no path (S20).
    ///
    /// # Errors
    /// The kernel's, with its words.
    pub fn open(tap: Option<&Link>) -> io::Result<Events> {
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_ROUTE;
        let socket = socket(groups.unsigned_abs(), libc::SOCK_NONBLOCK).context("listen to netlink")?;
        let picture = Picture { tap: tap.map(|link| link.index), ..Picture::default() };
        let requests = Netlink::open()?;
        let mut events = Events { socket, requests, picture, buffer: Box::new([0; BUFFER]) };
        events.look_again()?;
        Ok(events)
    }

    /// What has changed since the last time.
    ///
    /// # Errors
    /// None that the loop could do anything about.
    pub fn drain(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        loop {
            match self.socket.read(&mut self.buffer[..]) {
                Ok(length) => {
                    for (kind, _, body) in messages(&self.buffer[..length]) {
                        self.picture.apply(kind, body, &mut changes);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changes),
                // More happened than the socket could hold: what was lost must be looked up.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    changes = self.look_again()?;
                    changes.network = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
    }

    /// The interfaces that lead into our own tunnel: the TAP, and the bridge or VRF that it is a port of. A bridge
    /// that is also this host's way to the world is none, nor is one that is its only network: peers come in by it,
    /// too. 0 is no interface.
    pub fn inside(&mut self) -> [u32; 2] {
        let ways = self.ways_out();
        let master = self.picture.master.filter(|&master| {
            ways.iter().flatten().all(|way| way.index != master) && self.picture.has_network_beside(master)
        });
        [self.picture.tap.unwrap_or(0), master.unwrap_or(0)]
    }

    /// Our addresses by which others may reach us: none of the tunnel's (S20), none that only this host or this link
    /// knows.
    pub fn own_addresses(&mut self) -> Vec<IpAddr> {
        let inside = self.inside();
        let picture = &self.picture;
        let usable = |found: &&LocalAddress| {
            picture.live.contains(&found.index)
                && !inside.contains(&found.index)
                && !is_link_local(found.address)
        };
        picture.addresses.iter().filter(usable).map(|found| found.address).collect()
    }

    /// How IPv4 and IPv6 packets leave for the world; never into the tunnel.
    pub fn ways_out(&mut self) -> [Option<WayOut>; 2] {
        let tap = self.picture.tap;
        [FAR_AWAY.0.into(), FAR_AWAY.1.into()]
            .map(|address| self.requests.way_out(address).filter(|way| tap != Some(way.index)))
    }

    /// Our address towards the router that leads to the IPv4 world, and that router's.
    pub fn gateway(&mut self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let [way, _] = self.ways_out();
        let IpAddr::V4(gateway) = way?.gateway? else { return None };
        match self.requests.way_out(gateway.into())?.source? {
            IpAddr::V4(own) => Some((own, gateway)),
            IpAddr::V6(_) => None,
        }
    }

    /// Our addresses on local networks where a beacon may be sent from: of IPv4 any, of IPv6 the link's own. Never the
    /// TAP, nor the bridge that holds it: what is sent there enters the tunnel (S20). The interface that leads to the
    /// world is one only where its IPv4 address is private, so behind a NAT, or where the user asked for `all`.
    pub fn local_networks(&mut self, all: bool) -> Vec<LocalAddress> {
        let ways = self.ways_out();
        let picture = &self.picture;
        let fits = |found: &LocalAddress| match found.address {
            IpAddr::V4(_) => true,
            IpAddr::V6(_) => is_link_local(found.address),
        };
        let is_home = |index: u32| {
            let on_it = picture.addresses.iter().filter(|found| found.index == index);
            let v4 = on_it.filter_map(|found| match found.address {
                IpAddr::V4(address) => Some(address.is_private() || address.is_link_local()),
                IpAddr::V6(_) => None,
            });
            v4.fold(None, |all, private| Some(all.unwrap_or(true) && private)) == Some(true)
        };
        let leads_out = |index: u32| ways.iter().flatten().any(|way| way.index == index);
        let wanted = |found: &&LocalAddress| {
            picture.multicast.contains(&found.index)
                && picture.master != Some(found.index)
                && fits(found)
                && (all || !leads_out(found.index) || is_home(found.index))
        };
        picture.addresses.iter().filter(wanted).copied().collect()
    }

    /// Draws the picture anew.
    fn look_again(&mut self) -> io::Result<Changes> {
        let mut changes = Changes { tap: self.picture.tap.map(|_| LinkState::Gone), network: false };
        self.picture.clear();
        for (kind, body) in [
            (libc::RTM_GETLINK, Message::new(&link_body(0))),
            (libc::RTM_GETADDR, Message::new(&[0; ADDRESS_BODY])),
        ] {
            let picture = &mut self.picture;
            self.requests
                .ask(kind, libc::NLM_F_DUMP, body, &mut |kind, body| picture.apply(kind, body, &mut changes))
                .context("look at the network")?;
        }
        Ok(changes)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Addresses on nobody's own network, so that the way to them is the way to the world (RFC 7723). Nothing is sent there.
const FAR_AWAY: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 0, 9), Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 1));

/// What we believe of the host's network.
#[derive(Debug, Default)]
struct Picture {
    tap: Option<u32>,
    /// What the TAP is a port of.
    master: Option<u32>,
    /// Interfaces that are up and have a carrier.
    live: Vec<u32>,
    /// Those of them that are a network of several hosts by themselves: no tunnel, no port of a bridge.
    multicast: Vec<u32>,
    addresses: Vec<LocalAddress>,
}

impl Picture {
    fn clear(&mut self) {
        self.live.clear();
        self.multicast.clear();
        self.addresses.clear();
    }

    fn apply(&mut self, kind: u16, body: &[u8], changes: &mut Changes) {
        match kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => {
                self.apply_link(kind == libc::RTM_NEWLINK, body, changes)
            }
            libc::RTM_NEWADDR | libc::RTM_DELADDR => {
                let Some((found, ready)) = read_address(body) else { return };
                // An address that is still being checked for duplicates comes again when it is ready.
                let news = kind == libc::RTM_DELADDR || ready;
                if news && self.tap != Some(found.index) && !found.address.is_loopback() {
                    let there = kind == libc::RTM_NEWADDR;
                    changes.network |= note(&mut self.addresses, found, there);
                }
            }
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => changes.network |= self.leads_out(body),
            _ => (),
        }
    }

    fn apply_link(&mut self, there: bool, body: &[u8], changes: &mut Changes) {
        // A bridge tells of its ports in the same words under its own family: a port that leaves the bridge is
        // not an interface that goes.
        if body.first() != Some(&family_byte(libc::AF_UNSPEC)) {
            return;
        }
        let (Some(index), Some(flags)) = (number(body, 4), number(body, 8)) else { return };
        let has = |flag: libc::c_int| flags & flag.unsigned_abs() != 0;
        let master = attributes(body, LINK_BODY).find(|&(kind, _)| kind == libc::IFLA_MASTER);
        let master = master.and_then(|(_, value)| number(value, 0)).filter(|&master| master != 0);
        if self.tap == Some(index) {
            self.master = master;
            changes.tap = Some(match (there, has(libc::IFF_UP)) {
                (false, _) => LinkState::Gone,
                (true, true) => LinkState::Up,
                (true, false) => LinkState::Down,
            });
        } else if !has(libc::IFF_LOOPBACK) {
            let live = there && has(libc::IFF_UP) && has(libc::IFF_RUNNING);
            changes.network |= note(&mut self.live, index, live);
            let shared = has(libc::IFF_MULTICAST) && !has(libc::IFF_POINTOPOINT) && master.is_none();
            note(&mut self.multicast, index, live && shared);
        }
    }

    /// Whether the host has a network beside that interface, from which peers may come.
    fn has_network_beside(&self, index: u32) -> bool {
        let elsewhere = |found: &LocalAddress| {
            found.index != index && self.live.contains(&found.index) && !is_link_local(found.address)
        };
        self.addresses.iter().any(elsewhere)
    }

    /// Whether a route may lead to the world: a default route, whole or in halves (`0.0.0.0/1`, `128.0.0.0/1`),
    /// and not into the TAP. Others come and go by the thousand on a router with BGP, and with an address or a
    /// link where they matter.
    fn leads_out(&self, body: &[u8]) -> bool {
        let Some(&[_, prefix, _, _, _, _, _, kind, ..]) = body.get(..ROUTE_BODY) else { return false };
        let mut attributes = attributes(body, ROUTE_BODY);
        let device =
            attributes.find(|&(kind, _)| kind == libc::RTA_OIF).and_then(|(_, value)| number(value, 0));
        prefix <= 1 && kind == libc::RTN_UNICAST && (device.is_none() || device != self.tap)
    }
}

/// Whether only the link knows the address (RFC 3927; RFC 4291, 2.5.6).
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Puts `item` in the list or takes it out; whether that made a difference.
fn note<T: PartialEq>(list: &mut Vec<T>, item: T, there: bool) -> bool {
    match (list.iter().position(|known| *known == item), there) {
        (None, true) => list.push(item),
        (Some(at), false) => drop(list.swap_remove(at)),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::base::settings::InterfaceName;
    use crate::sys::netlink::HEADER;
    use crate::sys::set_option;
    use crate::sys::tap::Tap;
    use crate::sys::testing::in_namespace;

    fn tap(name: &str) -> (Tap, Link) {
        let tap = Tap::open(&InterfaceName::new(name).unwrap(), true).unwrap();
        let link = Netlink::open().unwrap().link(name).unwrap().unwrap();
        (tap, link)
    }

    #[test]
    fn the_network_changes_when_others_do_and_not_when_our_tap_does() {
        in_namespace("the_network_changes_when_others_do", || {
            let mut netlink = Netlink::open().unwrap();
            let (_ours, link) = tap("ours");
            let (theirs, other) = tap("theirs");
            let mut events = Events::open(Some(&link)).unwrap();
            assert_eq!(events.drain().unwrap(), Changes::default());

            netlink.set_up(&link).unwrap();
            netlink.add_address(&link, "10.1.2.3".parse().unwrap(), 24).unwrap();
            assert_eq!(events.drain().unwrap(), Changes { network: false, tap: Some(LinkState::Up) });

            netlink.set_up(&other).unwrap();
            netlink.add_address(&other, "10.7.0.1".parse().unwrap(), 24).unwrap();
            assert!(events.drain().unwrap().network);
            netlink.add_address(&other, "10.7.0.1".parse().unwrap(), 24).unwrap();
            assert!(!events.drain().unwrap().network, "announced again is not changed");
            drop(theirs);
            assert!(events.drain().unwrap().network);
            netlink.remove(&link).unwrap();
            assert_eq!(events.drain().unwrap().tap, Some(LinkState::Gone));
        });
    }

    // S20
    #[test]
    fn the_bridge_that_holds_our_tap_is_inside_unless_it_leads_to_the_world() {
        in_namespace("the_bridge_that_holds_our_tap", || {
            let mut netlink = Netlink::open().unwrap();
            let (_tap, link) = tap("pvpn0");
            let mut events = Events::open(Some(&link)).unwrap();
            assert_eq!(events.inside(), [link.index, 0]);

            netlink.add_bridge("br0").unwrap();
            let bridge = netlink.link("br0").unwrap().unwrap();
            netlink.set_up(&bridge).unwrap();
            netlink.enslave(&link, bridge.index).unwrap();
            events.drain().unwrap();
            assert_eq!(events.inside(), [link.index, 0], "the host has no other network");
            let (_wan, wan) = tap("wan");
            netlink.set_up(&wan).unwrap();
            netlink.add_address(&wan, "10.9.0.1".parse().unwrap(), 24).unwrap();
            events.drain().unwrap();
            assert_eq!(events.inside(), [link.index, bridge.index]);
            assert_eq!(Events::open(Some(&link)).unwrap().inside(), [link.index, bridge.index]);

            netlink.add_address(&bridge, "10.1.2.3".parse().unwrap(), 24).unwrap();
            events.drain().unwrap();
            assert_eq!(events.own_addresses(), ["10.9.0.1".parse::<IpAddr>().unwrap()]);
            netlink.add_default_route(&bridge).unwrap();
            assert_eq!(
                events.inside(),
                [link.index, 0],
                "the host has one network, and the tunnel is bridged to it"
            );

            netlink.enslave(&link, 0).unwrap();
            events.drain().unwrap();
            assert_eq!(events.inside(), [link.index, 0]);
            assert_eq!(Events::open(None).unwrap().inside(), [0, 0]);
        });
    }

    // S20
    #[test]
    fn beacons_are_for_local_networks_alone() {
        in_namespace("beacons_are_for_local_networks_alone", || {
            let mut netlink = Netlink::open().unwrap();
            let (_ours, ours) = tap("pvpn0");
            netlink.add_bridge("br0").unwrap();
            let bridge = netlink.link("br0").unwrap().unwrap();
            netlink.enslave(&ours, bridge.index).unwrap();
            let mut others = Vec::new();
            for (name, address) in [("lan", "192.168.1.1"), ("wan", "198.51.100.7")] {
                let (tap, link) = tap(name);
                netlink.set_up(&link).unwrap();
                netlink.add_address(&link, address.parse().unwrap(), 24).unwrap();
                others.push((tap, link));
            }
            netlink.set_up(&ours).unwrap();
            netlink.set_up(&bridge).unwrap();
            netlink.add_address(&bridge, "10.1.2.3".parse().unwrap(), 24).unwrap();
            let mut events = Events::open(Some(&ours)).unwrap();
            let v4 = |events: &mut Events, all| {
                events.drain().unwrap();
                let found = events.local_networks(all).into_iter().filter(|found| found.address.is_ipv4());
                found.map(|found| found.address.to_string()).collect::<Vec<_>>()
            };
            assert_eq!(v4(&mut events, false), ["192.168.1.1", "198.51.100.7"], "no bridge, no TAP");
            netlink.add_default_route(&others[1].1).unwrap();
            assert_eq!(v4(&mut events, false), ["192.168.1.1"], "and not where the world is");
            assert_eq!(v4(&mut events, true), ["192.168.1.1", "198.51.100.7"], "unless asked");
            assert_eq!(events.ways_out()[0].map(|way| way.index), Some(others[1].1.index));
            others.pop();
            netlink.add_default_route(&others[0].1).unwrap();
            assert_eq!(v4(&mut events, false), ["192.168.1.1"], "a home network leads to the world as well");
            assert_eq!(events.own_addresses().len(), 1, "the bridge is inside");
        });
    }

    #[test]
    fn an_overrun_is_a_change_and_the_state_is_looked_up() {
        in_namespace("an_overrun_is_a_change", || {
            let mut netlink = Netlink::open().unwrap();
            let (_tap, link) = tap("pvpn0");
            let mut events = Events::open(Some(&link)).unwrap();
            set_option(&events, libc::SOL_SOCKET, libc::SO_RCVBUF, 1).unwrap();
            for last in 1..100 {
                netlink.add_address(&link, Ipv4Addr::new(10, 1, 2, last).into(), 24).unwrap();
            }
            netlink.set_up(&link).unwrap();
            assert_eq!(events.drain().unwrap(), Changes { network: true, tap: Some(LinkState::Up) });
            assert_eq!(events.drain().unwrap(), Changes::default());
        });
    }

    fn told(picture: &mut Picture, kind: u16, body: &[u8], attributes: &[(u16, &[u8])]) -> Changes {
        let mut message = Message::new(body);
        for (kind, value) in attributes {
            message.attribute(*kind, value);
        }
        let mut changes = Changes::default();
        picture.apply(kind, &message.0[HEADER..], &mut changes);
        changes
    }

    #[test]
    fn only_routes_to_the_world_count() {
        let mut picture = Picture { tap: Some(7), ..Picture::default() };
        let mut route = |prefix, kind, device: u32| {
            let body = [2, prefix, 0, 0, 254, 0, 0, kind, 0, 0, 0, 0];
            told(&mut picture, libc::RTM_NEWROUTE, &body, &[(libc::RTA_OIF, &device.to_ne_bytes())]).network
        };
        assert!(route(0, libc::RTN_UNICAST, 3));
        assert!(route(1, libc::RTN_UNICAST, 3), "half a default route");
        assert!(!route(24, libc::RTN_UNICAST, 3));
        assert!(!route(0, libc::RTN_UNICAST, 7), "S20: into the tunnel itself");
        assert!(!route(0, libc::RTN_LOCAL, 3));
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_not_gone() {
        let mut picture = Picture { tap: Some(7), ..Picture::default() };
        let mut body = link_body(7);
        body[0] = family_byte(libc::AF_BRIDGE);
        assert_eq!(told(&mut picture, libc::RTM_DELLINK, &body, &[]), Changes::default());
        assert_eq!(told(&mut picture, libc::RTM_DELLINK, &link_body(7), &[]).tap, Some(LinkState::Gone));
    }

    #[test]
    fn a_tentative_address_waits_and_a_refreshed_one_is_no_news() {
        let mut picture = Picture::default();
        let mut address = |kind, flags: u32| {
            let body = [10, 64, 0, 0, 3, 0, 0, 0];
            let flags = flags.to_ne_bytes();
            let attributes: [(u16, &[u8]); 2] = [(libc::IFA_ADDRESS, &[0x20; 16]), (libc::IFA_FLAGS, &flags)];
            told(&mut picture, kind, &body, &attributes).network
        };
        assert!(!address(libc::RTM_NEWADDR, libc::IFA_F_TENTATIVE));
        assert!(address(libc::RTM_NEWADDR, 0));
        assert!(!address(libc::RTM_NEWADDR, 0));
        assert!(address(libc::RTM_DELADDR, 0));
        assert!(!address(libc::RTM_DELADDR, 0));
    }
}
