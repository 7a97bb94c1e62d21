//! How the kernel tells that the network changed.
//!
//! [`Events`] listens to rtnetlink and boils what it hears down to two questions: is it worth trying every path
//! again, and how is our TAP? Routers announce addresses again and again, so it keeps a picture of what there
//! is, and only a difference counts.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::sys::Context;
use crate::sys::netlink::{
    ADDRESS_BODY, BUFFER, LINK_BODY, Link, Message, Netlink, ROUTE_BODY, attributes, family_byte, link_body,
    messages, number, read_address, socket,
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
    /// that is also this host's way to the world is none: peers come in by it, too. 0 is no interface.
    pub fn inside(&mut self) -> [u32; 2] {
        let master = self.picture.master.filter(|&master| {
            let mut leads_out = |address| self.requests.way_out(address) == Some(master);
            !(leads_out(FAR_AWAY.0.into()) || leads_out(FAR_AWAY.1.into()))
        });
        [self.picture.tap.unwrap_or(0), master.unwrap_or(0)]
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
    addresses: Vec<(u32, IpAddr)>,
}

impl Picture {
    fn clear(&mut self) {
        self.live.clear();
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
                    changes.network |= note(&mut self.addresses, (found.index, found.address), there);
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
        if self.tap == Some(index) {
            let mut attributes = attributes(body, LINK_BODY);
            let master = attributes.find(|&(kind, _)| kind == libc::IFLA_MASTER);
            self.master = master.and_then(|(_, value)| number(value, 0));
            changes.tap = Some(match (there, has(libc::IFF_UP)) {
                (false, _) => LinkState::Gone,
                (true, true) => LinkState::Up,
                (true, false) => LinkState::Down,
            });
        } else if !has(libc::IFF_LOOPBACK) {
            let live = there && has(libc::IFF_UP) && has(libc::IFF_RUNNING);
            changes.network |= note(&mut self.live, index, live);
        }
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
        let tap = Tap::open(&InterfaceName::new(name).unwrap()).unwrap();
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
            assert_eq!(events.inside(), [link.index, bridge.index]);
            assert_eq!(Events::open(Some(&link)).unwrap().inside(), [link.index, bridge.index]);

            netlink.add_address(&bridge, "10.1.2.3".parse().unwrap(), 24).unwrap();
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
