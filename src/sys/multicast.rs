//! Beacons on local networks: a socket for each family that belongs to the beacons' group on every network that
//! [`Events`](super::events::Events) names, and to none beside.
//!
//! What it hands over came from the link itself: its hop limit is still 255, which no router leaves as it is
//! (RFC 5082), its source is in a subnet of the interface that it came in by, and it was sent to the group. The port is
//! the same for all networks, so several nodes on one host share it.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::c_int;

use crate::base::limits::{BATCH, BEACON_GROUP4, BEACON_GROUP6, BEACON_PORT};
use crate::sys::datagram::{self, Arrival, Family};
use crate::sys::netlink::LocalAddress;
use crate::sys::{Context, check, set_option};

/// As in the kernel's `linux/in6.h`; libc has it for one C library only.
const IPV6_MULTICAST_ALL: c_int = 29;
/// The hop limit of what has not left the link.
const HOPS: u8 = 255;

/// The sockets.
#[derive(Debug)]
pub struct Multicast {
    sockets: [Option<OwnedFd>; 2],
    networks: Vec<LocalAddress>,
    all: bool,
}

impl Multicast {
    /// Opens a socket for each of the families asked for, as far as there are such. `all` is for [`Multicast::all`].
    ///
    /// # Errors
    /// Another program has the port to itself.
    pub fn open(families: [bool; 2], mark: u32, all: bool) -> io::Result<Multicast> {
        let mut sockets = [None, None];
        for family in Family::BOTH.into_iter().filter(|family| families[*family as usize]) {
            sockets[family as usize] = open(family, mark).context("look for peers on local networks")?;
        }
        Ok(Multicast { sockets, networks: Vec::new(), all })
    }

    /// The socket of a family, to be watched.
    pub fn socket(&self, family: Family) -> Option<BorrowedFd<'_>> {
        self.sockets[family as usize].as_ref().map(AsFd::as_fd)
    }

    /// Whether a network that leads to the world under a public address is to count as a local one.
    pub fn all(&self) -> bool {
        self.all
    }

    /// Listens on these networks from now on. One that cannot be joined is left out: it may have gone again.
    pub fn listen(&mut self, networks: Vec<LocalAddress>) {
        let before = core::mem::take(&mut self.networks);
        let is_on = |list: &[LocalAddress], at: &LocalAddress| list.iter().any(|other| same_link(other, at));
        for gone in before.iter().filter(|old| !is_on(&networks, old)) {
            let _ = self.change(gone, false);
        }
        for new in networks.iter().filter(|new| !is_on(&before, new)) {
            let _ = self.change(new, true);
        }
        self.networks = networks;
    }

    /// The addresses that beacons are to be sent from, by their places.
    pub fn own(&self, at: usize) -> Option<IpAddr> {
        self.networks.get(at).map(|network| network.address)
    }

    /// Sends a beacon from the address at that place to all on its link.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn send(&self, at: usize, beacon: &[u8]) -> io::Result<()> {
        let Some(network) = self.networks.get(at) else { return Ok(()) };
        let Some(socket) = self.socket(Family::of(network.address)) else { return Ok(()) };
        let to = match network.address {
            IpAddr::V4(_) => SocketAddr::from((BEACON_GROUP4, BEACON_PORT)),
            IpAddr::V6(_) => SocketAddrV6::new(BEACON_GROUP6, BEACON_PORT, 0, network.index).into(),
        };
        datagram::send_by(socket, network.index, Some(network.address), to, beacon)
    }

    /// Hands what has come to `take`. True while there may be more.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn receive(&self, family: Family, take: &mut dyn FnMut(SocketAddr, &[u8])) -> io::Result<bool> {
        let Some(socket) = self.socket(family) else { return Ok(false) };
        let mut room = [0; 128];
        for _ in 0..BATCH {
            match datagram::receive(socket, family, &mut room) {
                Ok(arrival) if !arrival.cut && self.is_local(&arrival) => {
                    take(arrival.from, &room[..arrival.length]);
                }
                Ok(_) => (),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether it was sent on the link that it came in by.
    fn is_local(&self, arrival: &Arrival) -> bool {
        let mut there = self.networks.iter().filter(|network| network.index == arrival.interface);
        // An IPv4 socket is bound to the group itself; a group of one link cannot be bound to without naming the link.
        // Only what was sent to an address of ours has it here.
        let to_group = arrival.from.is_ipv4() || arrival.to.is_none();
        to_group && arrival.hops == Some(HOPS) && there.any(|network| is_subnet(network, arrival.from.ip()))
    }

    fn change(&self, network: &LocalAddress, join: bool) -> io::Result<()> {
        let Some(socket) = self.socket(Family::of(network.address)) else { return Ok(()) };
        let index = network.index;
        match network.address {
            IpAddr::V4(_) => {
                let request = libc::ip_mreqn {
                    imr_multiaddr: datagram::kernel_v4(BEACON_GROUP4),
                    imr_address: libc::in_addr { s_addr: 0 },
                    imr_ifindex: libc::c_int::try_from(index).unwrap_or_default(),
                };
                let name = if join { libc::IP_ADD_MEMBERSHIP } else { libc::IP_DROP_MEMBERSHIP };
                set_option(&socket, libc::IPPROTO_IP, name, request)
            }
            IpAddr::V6(_) => {
                let group = datagram::kernel_v6(BEACON_GROUP6);
                #[allow(
                    clippy::unnecessary_cast,
                    reason = "signed with one C library, unsigned with another"
                )]
                let request = libc::ipv6_mreq { ipv6mr_multiaddr: group, ipv6mr_interface: index as _ };
                let name = if join { libc::IPV6_ADD_MEMBERSHIP } else { libc::IPV6_DROP_MEMBERSHIP };
                set_option(&socket, libc::IPPROTO_IPV6, name, request)
            }
        }
    }
}

/// Opens one; none where the kernel does not know the family.
fn open(family: Family, mark: u32) -> io::Result<Option<OwnedFd>> {
    let domain = if family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain numbers.
    let raw = match check(unsafe { libc::socket(domain, kind, 0) }) {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => return Ok(None),
        other => other?,
    };
    // SAFETY: `raw` was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let (group, options): (SocketAddr, &[(c_int, c_int, c_int)]) = match family {
        Family::V4 => (
            (BEACON_GROUP4, BEACON_PORT).into(),
            &[
                (libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
                (libc::IPPROTO_IP, libc::IP_RECVTTL, 1),
                (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, HOPS as c_int),
                // Else it would hear what others on this host have joined.
                (libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, 0),
            ],
        ),
        Family::V6 => (
            (Ipv6Addr::UNSPECIFIED, BEACON_PORT).into(),
            &[
                (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1),
                (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, HOPS as c_int),
            ],
        ),
    };
    if family == Family::V6 {
        // As above; kernels before 4.20 do not know it, and what they bring too is from no network that was named.
        let _ = set_option(&socket, libc::IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
    }
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    for &(level, name, value) in options {
        set_option(&socket, level, name, value)?;
    }
    if mark != 0 {
        set_option(&socket, libc::SOL_SOCKET, libc::SO_MARK, mark)?;
    }
    datagram::bind(socket.as_fd(), group)?;
    Ok(Some(socket))
}

fn same_link(a: &LocalAddress, b: &LocalAddress) -> bool {
    a.index == b.index && a.address.is_ipv4() == b.address.is_ipv4()
}

/// Whether an address lies in the network of one of ours; our own does, too.
fn is_subnet(network: &LocalAddress, address: IpAddr) -> bool {
    let (equal, all) = match (network.address, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => ((a.to_bits() ^ b.to_bits()).leading_zeros(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => ((a.to_bits() ^ b.to_bits()).leading_zeros(), 128),
        _ => return false,
    };
    equal >= u32::from(network.prefix).min(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::InterfaceName;
    use crate::sys::netlink::Netlink;
    use crate::sys::tap::Tap;
    use crate::sys::testing::{add_address_and_wait, in_namespace};

    fn heard(by: &Multicast) -> Vec<(IpAddr, Vec<u8>)> {
        let mut all = Vec::new();
        for family in Family::BOTH {
            while by.receive(family, &mut |from, bytes| all.push((from.ip(), bytes.to_vec()))).unwrap() {}
        }
        all
    }

    #[test]
    fn a_beacon_is_heard_on_the_networks_that_were_named() {
        in_namespace("a_beacon_is_heard_on_the_networks", || {
            let mut netlink = Netlink::open().unwrap();
            let _tap = Tap::open(&InterfaceName::new("lan").unwrap(), true).unwrap();
            let link = netlink.link("lan").unwrap().unwrap();
            netlink.set_up(&link).unwrap();
            add_address_and_wait(&mut netlink, &link, "192.168.7.1", 24);
            add_address_and_wait(&mut netlink, &link, "fe80::7", 64);
            let on = |address: &str, prefix| LocalAddress {
                index: link.index,
                address: address.parse().unwrap(),
                prefix,
            };
            // Two nodes on one host: what one sends comes back to both.
            let mut a = Multicast::open([true; 2], 0, false).unwrap();
            let mut b = Multicast::open([true; 2], 0, false).unwrap();
            a.listen(vec![on("192.168.7.1", 24), on("fe80::7", 64)]);
            a.send(0, b"four").unwrap();
            assert_eq!(heard(&b), [], "it has joined nothing");
            assert_eq!(heard(&a).len(), 1);
            b.listen(vec![on("192.168.7.1", 24), on("fe80::7", 64)]);
            a.send(0, b"four").unwrap();
            a.send(1, b"six").unwrap();
            let expected = [("192.168.7.1", &b"four"[..]), ("fe80::7", b"six")]
                .map(|(ip, bytes)| (ip.parse().unwrap(), bytes.to_vec()));
            assert_eq!(heard(&b), expected);
            // Nor from a source that is not on the link, nor after it was left.
            b.listen(vec![on("192.168.8.1", 24)]);
            a.send(0, b"four").unwrap();
            a.send(1, b"six").unwrap();
            assert_eq!(heard(&b), []);
            a.send(9, b"nowhere").unwrap();
        });
    }

    #[test]
    fn what_a_router_has_passed_on_is_no_beacon() {
        in_namespace("what_a_router_has_passed_on", || {
            let mut netlink = Netlink::open().unwrap();
            let _tap = Tap::open(&InterfaceName::new("lan").unwrap(), true).unwrap();
            let link = netlink.link("lan").unwrap().unwrap();
            netlink.set_up(&link).unwrap();
            add_address_and_wait(&mut netlink, &link, "192.168.7.1", 24);
            let network =
                LocalAddress { index: link.index, address: "192.168.7.1".parse().unwrap(), prefix: 24 };
            let (mut a, mut b) = (
                Multicast::open([true; 2], 0, false).unwrap(),
                Multicast::open([true; 2], 0, false).unwrap(),
            );
            a.listen(vec![network]);
            b.listen(vec![network]);
            let socket = a.socket(Family::V4).unwrap();
            set_option(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, 254).unwrap();
            a.send(0, b"far").unwrap();
            assert_eq!(heard(&b), []);
        });
    }
}
