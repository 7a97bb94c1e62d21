//! rtnetlink: how the kernel is told what an interface shall be like, and asked what there is.
//!
//! [`Netlink`] asks and waits for the kernel's answer, which comes at once; `events` listens with the same words.
//!
//! Messages are in host byte order and aligned to four bytes (netlink(7), rtnetlink(7)); they are put together
//! and taken apart as bytes, without a structure and without unsafe code.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::base::ids::Mac;
use crate::sys::{Context, check, failure, family_number, length_of, set_option, words};

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

/// How packets to some place leave this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WayOut {
    /// By what interface.
    pub index: u32,
    /// Through which router; none for a place on the interface's own network.
    pub gateway: Option<IpAddr>,
    /// Under which of our addresses.
    pub source: Option<IpAddr>,
}

/// A socket for requests.
#[derive(Debug)]
pub struct Netlink {
    socket: File,
    sequence: u32,
    buffer: Box<[u8; BUFFER]>,
}

/// The kernel never sends a longer datagram to a reader of this size (netlink_recvmsg).
pub(super) const BUFFER: usize = 32 * 1024;
pub(super) const HEADER: usize = size_of::<libc::nlmsghdr>();
pub(super) const LINK_BODY: usize = size_of::<libc::ifinfomsg>();
pub(super) const ADDRESS_BODY: usize = 8;
pub(super) const ROUTE_BODY: usize = 12;
const NEIGHBOUR_BODY: usize = 12;

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

    /// How packets to `address` leave; none when there is no way.
    pub(super) fn way_out(&mut self, address: IpAddr) -> Option<WayOut> {
        let mut body = [0; ROUTE_BODY];
        let mut found = WayOut::default();
        let octets: &[u8] = match &address {
            IpAddr::V4(address) => &address.octets(),
            IpAddr::V6(address) => &address.octets(),
        };
        body[0] = family(address);
        body[1] = if address.is_ipv4() { 32 } else { 128 };
        let mut request = Message::new(&body);
        request.attribute(libc::RTA_DST, octets);
        let answer = self.ask(libc::RTM_GETROUTE, libc::NLM_F_ACK, request, &mut |_, body| {
            for (kind, value) in attributes(body, ROUTE_BODY) {
                match kind {
                    libc::RTA_OIF => found.index = number(value, 0).unwrap_or(0),
                    libc::RTA_GATEWAY => found.gateway = read_ip(value),
                    libc::RTA_PREFSRC => found.source = read_ip(value),
                    _ => (),
                }
            }
        });
        // No route is an answer, too.
        (answer.is_ok() && found.index != 0).then_some(found)
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

    /// The MAC address that this machine has found for an IP address on some link, if it has one.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn neighbour(&mut self, address: IpAddr) -> io::Result<Option<Mac>> {
        let mut request = [0; NEIGHBOUR_BODY];
        request[0] = family(address);
        let mut found = None;
        self.ask(libc::RTM_GETNEIGH, libc::NLM_F_DUMP, Message::new(&request), &mut |_, body| {
            let value = |kind| attributes(body, NEIGHBOUR_BODY).find(|(other, _)| *other == kind);
            let matches = value(libc::NDA_DST).and_then(|(_, ip)| read_ip(ip)) == Some(address);
            let mac = value(libc::NDA_LLADDR).and_then(|(_, mac)| <[u8; 6]>::try_from(mac).ok());
            found = mac.filter(|_| matches).map(Mac).or(found);
        })?;
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

    /// Makes a bridge, for tests.
    #[cfg(test)]
    pub(crate) fn add_bridge(&mut self, name: &str) -> io::Result<()> {
        let mut request = Message::new(&link_body(0));
        request.attribute(libc::IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
        // The attribute IFLA_INFO_KIND, inside IFLA_LINKINFO.
        let kind = [&10_u16.to_ne_bytes()[..], &1_u16.to_ne_bytes(), b"bridge"].concat();
        request.attribute(libc::IFLA_LINKINFO, &kind);
        self.change(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, request)
    }

    /// Makes an interface a port of `master`, or of none, for tests.
    #[cfg(test)]
    pub(crate) fn enslave(&mut self, link: &Link, master: u32) -> io::Result<()> {
        let mut request = Message::new(&link_body(link.index));
        request.attribute(libc::IFLA_MASTER, &master.to_ne_bytes());
        self.change(libc::RTM_NEWLINK, 0, request)
    }

    /// Gives an interface a default route, for tests.
    #[cfg(test)]
    pub(crate) fn add_default_route(&mut self, link: &Link) -> io::Result<()> {
        let (main, boot, link_scope, unicast) = (254, 3, 253, 1);
        let mut request = Message::new(&[2, 0, 0, 0, main, boot, link_scope, unicast, 0, 0, 0, 0]);
        request.attribute(libc::RTA_OIF, &link.index.to_ne_bytes());
        self.change(libc::RTM_NEWROUTE, libc::NLM_F_CREATE, request)
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
    pub(super) fn ask(
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

// ---- messages ----

pub(super) fn socket(groups: u32, flags: libc::c_int) -> io::Result<File> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags;
    // SAFETY: plain numbers.
    let raw = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
    // SAFETY: `raw` was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: plain numbers; all zero is a valid value, and musl hides a field of padding.
    let mut name: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    name.nl_family = family_number(libc::AF_NETLINK);
    name.nl_groups = groups;
    let length = length_of::<libc::sockaddr_nl>();
    // SAFETY: `name` lives through the call and `length` is its size.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), length) })?;
    Ok(File::from(socket))
}

/// A request under construction: a header to be filled in last, a body, attributes.
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    pub(super) fn new(body: &[u8]) -> Message {
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(body);
        Message(bytes)
    }

    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
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
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(number(bytes, 0)?).ok()?;
        let message = bytes.get(..length)?;
        let body = message.get(HEADER..)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((short(message, 4)?, number(message, 8)?, body))
    })
}

/// The attributes behind the first `skip` bytes of a body: kind, value. Ends at the first that is not whole.
pub(super) fn attributes(body: &[u8], skip: usize) -> impl Iterator<Item = (u16, &[u8])> {
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
    let code = number(body, 0).map_or(0, |code| i32::from_ne_bytes(code.to_ne_bytes()));
    if code == 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(code.saturating_neg());
    match attributes(body, 4 + HEADER).find(|&(kind, _)| kind == TEXT) {
        // Callers tell by this number that an interface is not there.
        Some((_, text)) if error.raw_os_error() != Some(libc::ENODEV) => {
            let text = String::from_utf8_lossy(text.strip_suffix(b"\0").unwrap_or(text));
            Err(failure(error.kind(), format!("{} ({text})", words(&error))))
        }
        _ => Err(error),
    }
}

pub(super) fn link_body(index: u32) -> [u8; LINK_BODY] {
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
pub(super) fn read_address(body: &[u8]) -> Option<(LocalAddress, bool)> {
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

pub(super) fn family_byte(family: libc::c_int) -> u8 {
    family.to_le_bytes()[0]
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::InterfaceName;
    use crate::sys::tap::Tap;
    use crate::sys::testing::{add_address_and_wait, in_namespace};

    fn tap(name: &str) -> (Tap, Link) {
        let tap = Tap::open(&InterfaceName::new(name).unwrap(), true).unwrap();
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
            for _ in 0..2 {
                add_address_and_wait(&mut netlink, &link, "10.1.2.3", 24);
                add_address_and_wait(&mut netlink, &link, "fd00::3", 64);
            }
            let link = netlink.link("pvpn0").unwrap().unwrap();
            assert_eq!((link.up, link.mtu, link.mac), (true, 1429, Some(mac)));
            let all = netlink.addresses().unwrap();
            for (address, prefix) in [("10.1.2.3", 24), ("fd00::3", 64)] {
                let wanted = LocalAddress { index: link.index, address: address.parse().unwrap(), prefix };
                assert!(all.contains(&wanted), "{wanted:?} in {all:?}");
            }
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
