//! rtnetlink: how the kernel is told what an interface is like, and how it tells that the network changed.
//!
//! [`Netlink`] asks and waits for the kernel's answer, which comes at once. [`Events`] listens and boils what it
//! hears down to two questions: is it worth trying every path again, and how is our TAP? Routers announce
//! addresses again and again, so it keeps a picture of what there is and only a difference counts.
//!
//! Messages are in host byte order and aligned to four bytes (netlink(7), rtnetlink(7)); they are put together
//! and taken apart as bytes, without a structure and without unsafe code.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::base::ids::Mac;
use crate::sys::{Context, check, set_option, words};

/// A network interface as the kernel describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether somebody set it up.
    pub up: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Ethernet address, where it has one.
    pub mac: Option<Mac>,
}

/// An address of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalAddress {
    /// The interface that has it.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
}

/// A socket for requests.
#[derive(Debug)]
pub struct Netlink {
    socket: File,
    sequence: u32,
    buffer: Box<[u8; BUFFER]>,
}

/// The kernel never sends a longer datagram to a reader of this size (netlink_recvmsg).
const BUFFER: usize = 32 * 1024;
const HEADER: usize = size_of::<libc::nlmsghdr>();
const LINK_BODY: usize = size_of::<libc::ifinfomsg>();
const ADDRESS_BODY: usize = 8;
const ROUTE_BODY: usize = 12;

impl Netlink {
    /// Opens the socket. Reading needs no rights, changing needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn open() -> io::Result<Netlink> {
        let socket = socket(0, 0).context("open a netlink socket")?;
        // Both make refusals readable; kernels before 4.12 do without.
        let _ = set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        let _ = set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        Ok(Netlink { socket, sequence: 0, buffer: Box::new([0; BUFFER]) })
    }

    /// The interface of that name; none when there is none.
    ///
    /// # Errors
    /// The kernel's, with its words.
    pub fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut request = Message::new(&link_body(0));
        request.attribute(libc::IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
        let mut found = None;
        let answer = self.ask(libc::RTM_GETLINK, libc::NLM_F_ACK, request, &mut |_, body| {
            found = found.take().or_else(|| read_link(body));
        });
        match answer {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            other => other.context(format_args!("look up the interface {name}")).map(|()| found),
        }
    }

    /// Every address of this host that is ready for use, on all interfaces.
    ///
    /// # Errors
    /// The kernel's, with its words.
    pub fn addresses(&mut self) -> io::Result<Vec<LocalAddress>> {
        let mut found = Vec::new();
        self.ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, Message::new(&[0; ADDRESS_BODY]), &mut |_, body| {
            found.extend(read_address(body).filter(|(_, ready)| *ready).map(|(address, _)| address));
        })
        .context("list the addresses of this host")?;
        Ok(found)
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// The kernel's, with its words.
    pub fn set_up(&mut self, link: &Link) -> io::Result<()> {
        let mut body = link_body(link.index);
        let up = u32::try_from(libc::IFF_UP).unwrap_or(1).to_ne_bytes();
        body[8..12].copy_from_slice(&up);
        body[12..16].copy_from_slice(&up);
        self.change(libc::RTM_NEWLINK, 0, Message::new(&body))
            .context(format_args!("set the interface {} up", link.name))
    }

    /// Sets an interface's MTU, in bytes.
    ///
    /// # Errors
    /// The kernel's, with its words.
    pub fn set_mtu(&mut self, link: &Link, mtu: u16) -> io::Result<()> {
        let mut request = Message::new(&link_body(link.index));
        request.attribute(libc::IFLA_MTU, &u32::from(mtu).to_ne_bytes());
        self.change(libc::RTM_NEWLINK, 0, request)
            .context(format_args!("set the MTU of the interface {} to {mtu}", link.name))
    }

    /// Sets an interface's Ethernet address.
    ///
    /// # Errors
    /// The kernel's, with its words.
    pub fn set_mac(&mut self, link: &Link, mac: Mac) -> io::Result<()> {
        let mut request = Message::new(&link_body(link.index));
        request.attribute(libc::IFLA_ADDRESS, &mac.0);
        self.change(libc::RTM_NEWLINK, 0, request)
            .context(format_args!("set the MAC address of the interface {} to {mac}", link.name))
    }

    /// Gives an interface an address with its prefix length in bits; an IPv4 one with the broadcast address of its
    /// subnet. An address that is there already stays.
    ///
    /// # Errors
    /// The kernel's, with its words.
    pub fn add_address(&mut self, link: &Link, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut body = [0; ADDRESS_BODY];
        body[0] = family(address);
        body[1] = prefix;
        body[4..8].copy_from_slice(&link.index.to_ne_bytes());
        let mut request = Message::new(&body);
        match address {
            IpAddr::V4(address) => {
                request.attribute(libc::IFA_LOCAL, &address.octets());
                request.attribute(libc::IFA_ADDRESS, &address.octets());
                if let Some(broadcast) = broadcast(address, prefix) {
                    request.attribute(libc::IFA_BROADCAST, &broadcast.octets());
                }
            }
            IpAddr::V6(address) => {
                request.attribute(libc::IFA_LOCAL, &address.octets());
                request.attribute(libc::IFA_ADDRESS, &address.octets());
            }
        }
        self.change(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, request)
            .context(format_args!("give the interface {} the address {address}/{prefix}", link.name))
    }

    /// Removes an interface.
    #[cfg(test)]
    pub(crate) fn remove(&mut self, link: &Link) -> io::Result<()> {
        self.change(libc::RTM_DELLINK, 0, Message::new(&link_body(link.index)))
    }

    fn change(&mut self, kind: u16, flags: i32, request: Message) -> io::Result<()> {
        self.ask(kind, flags | libc::NLM_F_ACK, request, &mut |_, _| ())
    }

    /// Sends one request and hands the messages that answer it to `take`, until the kernel says that it is done.
    fn ask(
        &mut self,
        kind: u16,
        flags: i32,
        request: Message,
        take: &mut dyn FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request.finish(kind, flags | libc::NLM_F_REQUEST, self.sequence)?;
        self.socket.write_all(&request)?;
        loop {
            let length = self.socket.read(&mut self.buffer[..])?;
            for (kind, sequence, body) in messages(&self.buffer[..length]) {
                if sequence != self.sequence {
                    continue;
                }
                match libc::c_int::from(kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => return verdict(body),
                    _ => take(kind, body),
                }
            }
        }
    }
}

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

/// What we believe of the host's network.
#[derive(Debug, Default)]
struct Picture {
    tap: Option<u32>,
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

// ---- messages ----

fn socket(groups: u32, flags: libc::c_int) -> io::Result<File> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags;
    // SAFETY: plain numbers.
    let raw = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
    // SAFETY: `raw` was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: plain numbers; all zero is a valid value, and musl hides a field of padding.
    let mut name: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    name.nl_family = libc::sa_family_t::from(family_byte(libc::AF_NETLINK));
    name.nl_groups = groups;
    let length = libc::socklen_t::try_from(size_of_val(&name)).map_err(io::Error::other)?;
    // SAFETY: `name` lives through the call and `length` is its size.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), length) })?;
    Ok(File::from(socket))
}

/// A request under construction: a header to be filled in last, a body, attributes.
struct Message(Vec<u8>);

impl Message {
    fn new(body: &[u8]) -> Message {
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(body);
        Message(bytes)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        // Values are names and addresses, a few bytes each.
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, kind: u16, flags: i32, sequence: u32) -> io::Result<Vec<u8>> {
        let length = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        let flags = u16::try_from(flags).map_err(io::Error::other)?;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[4..6].copy_from_slice(&kind.to_ne_bytes());
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        Ok(self.0)
    }
}

/// The messages in a datagram: kind, sequence number, body. Ends at the first that is not whole.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(number(bytes, 0)?).ok()?;
        let message = bytes.get(..length)?;
        let body = message.get(HEADER..)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((short(message, 4)?, number(message, 8)?, body))
    })
}

/// The attributes behind the first `skip` bytes of a body: kind, value. Ends at the first that is not whole.
fn attributes(body: &[u8], skip: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut bytes = body.get(skip.next_multiple_of(4)..).unwrap_or(&[]);
    std::iter::from_fn(move || {
        let length = usize::from(short(bytes, 0)?);
        let value = bytes.get(4..length)?;
        let kind = short(bytes, 2)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// What an acknowledgement says: 0, or a negative `errno`, and perhaps a text (NLMSGERR_ATTR_MSG).
fn verdict(body: &[u8]) -> io::Result<()> {
    const TEXT: u16 = 1;
    let code = number(body, 0).unwrap_or(0).cast_signed();
    if code == 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(code.saturating_neg());
    match attributes(body, 4 + HEADER).find(|&(kind, _)| kind == TEXT) {
        // Callers tell by this number that an interface is not there.
        Some((_, text)) if error.raw_os_error() != Some(libc::ENODEV) => {
            let text = String::from_utf8_lossy(text.strip_suffix(b"\0").unwrap_or(text));
            Err(io::Error::new(error.kind(), format!("{} ({text})", words(&error))))
        }
        _ => Err(error),
    }
}

fn link_body(index: u32) -> [u8; LINK_BODY] {
    let mut body = [0; LINK_BODY];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body
}

fn read_link(body: &[u8]) -> Option<Link> {
    let up = number(body, 8)? & libc::IFF_UP.unsigned_abs() != 0;
    let mut link = Link { index: number(body, 4)?, name: String::new(), up, mtu: 0, mac: None };
    for (kind, value) in attributes(body, LINK_BODY) {
        match kind {
            libc::IFLA_IFNAME => {
                link.name = String::from_utf8_lossy(value.strip_suffix(b"\0").unwrap_or(value)).into_owned();
            }
            libc::IFLA_MTU => link.mtu = number(value, 0)?,
            libc::IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
            _ => (),
        }
    }
    Some(link)
}

/// An address, and whether it is ready: neither being checked for duplicates nor found to be one (RFC 4862, 5.4).
fn read_address(body: &[u8]) -> Option<(LocalAddress, bool)> {
    let &[_, prefix, flags, ..] = body.get(..ADDRESS_BODY)? else { return None };
    let mut flags = u32::from(flags);
    let (mut local, mut other) = (None, None);
    for (kind, value) in attributes(body, ADDRESS_BODY) {
        match kind {
            libc::IFA_LOCAL => local = read_ip(value),
            // On a point-to-point link this one is the far end's.
            libc::IFA_ADDRESS => other = read_ip(value),
            libc::IFA_FLAGS => flags = number(value, 0)?,
            _ => (),
        }
    }
    let optimistic = flags & libc::IFA_F_OPTIMISTIC != 0;
    let unsure = flags & libc::IFA_F_TENTATIVE != 0 && !optimistic;
    let ready = !unsure && flags & libc::IFA_F_DADFAILED == 0;
    Some((LocalAddress { index: number(body, 4)?, address: local.or(other)?, prefix }, ready))
}

fn read_ip(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(value).ok().map(IpAddr::from))
}

/// The subnet's broadcast address; none where the subnet has no room for one (RFC 3021).
fn broadcast(address: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    (prefix <= 30).then(|| Ipv4Addr::from_bits(address.to_bits() | host))
}

fn family(address: IpAddr) -> u8 {
    family_byte(if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 })
}

fn family_byte(family: libc::c_int) -> u8 {
    family.to_le_bytes()[0]
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::InterfaceName;
    use crate::sys::tap::Tap;
    use crate::sys::testing::in_namespace;

    fn tap(name: &str) -> (Tap, Link) {
        let tap = Tap::open(&InterfaceName::new(name).unwrap()).unwrap();
        let link = Netlink::open().unwrap().link(name).unwrap().unwrap();
        (tap, link)
    }

    #[test]
    fn what_is_set_is_read_back() {
        in_namespace("what_is_set_is_read_back", || {
            let mut netlink = Netlink::open().unwrap();
            assert_eq!(netlink.link("pvpn0").unwrap(), None);
            let (_tap, link) = tap("pvpn0");
            assert!(!link.up);
            let mac = Mac([2, 0, 0, 0, 0, 0x2a]);
            netlink.set_mtu(&link, 1429).unwrap();
            netlink.set_mac(&link, mac).unwrap();
            netlink.set_up(&link).unwrap();
            let v4 = "10.1.2.3".parse().unwrap();
            let v6 = "fd00::3".parse().unwrap();
            for _ in 0..2 {
                netlink.add_address(&link, v4, 24).unwrap();
                netlink.add_address(&link, v6, 64).unwrap();
            }
            let link = netlink.link("pvpn0").unwrap().unwrap();
            assert_eq!((link.up, link.mtu, link.mac), (true, 1429, Some(mac)));
            // The IPv6 address is listed once duplicates are ruled out.
            let all = loop {
                let all = netlink.addresses().unwrap();
                if all.iter().any(|found| found.address == v6) {
                    break all;
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            };
            let has = |address, prefix| all.contains(&LocalAddress { index: link.index, address, prefix });
            assert!(has(v4, 24) && has(v6, 64), "{all:?}");
            assert!(all.iter().any(|found| found.address.is_loopback()));
        });
    }

    #[test]
    fn a_refusal_has_words() {
        in_namespace("a_refusal_has_words", || {
            let (tap, link) = tap("pvpn0");
            let mut netlink = Netlink::open().unwrap();
            let refused = netlink.set_mac(&link, Mac::BROADCAST).unwrap_err().to_string();
            assert!(
                refused
                    .starts_with("cannot set the MAC address of the interface pvpn0 to ff:ff:ff:ff:ff:ff: "),
                "{refused}"
            );
            assert!(!refused.contains("os error"), "{refused}");
            drop(tap);
            assert_eq!(
                netlink.set_up(&link).unwrap_err().kind(),
                io::Error::from_raw_os_error(libc::ENODEV).kind()
            );
        });
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

    #[test]
    fn messages_that_are_not_whole_end_the_walk() {
        let whole = Message::new(&[1, 2, 3, 4]).finish(7, 0, 9).unwrap();
        let twice = [whole.clone(), whole.clone()].concat();
        assert_eq!(messages(&twice).count(), 2);
        for cut in 0..twice.len() {
            assert_eq!(messages(&twice[..cut]).count(), cut / whole.len());
        }
        let mut endless = whole;
        endless[..4].copy_from_slice(&0_u32.to_ne_bytes());
        assert_eq!(messages(&endless).count(), 0);
        assert_eq!(attributes(&[0; 64], 0).count(), 0);
    }

    #[test]
    fn broadcast_addresses() {
        let of = |prefix| broadcast(Ipv4Addr::new(10, 1, 2, 3), prefix).map(|found| found.to_string());
        assert_eq!(of(24).as_deref(), Some("10.1.2.255"));
        assert_eq!(of(30).as_deref(), Some("10.1.2.3"));
        assert_eq!(of(0).as_deref(), Some("255.255.255.255"));
        assert_eq!((of(31), of(32)), (None, None));
    }
}
