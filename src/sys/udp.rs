//! The UDP sockets: one for IPv4 and one for IPv6 on the same port, and what they need of the kernel.
//!
//! No datagram is cut on its way ("don't fragment" is set), and only one that is longer than the interface carries is
//! refused: [`Udp::next_too_long`] tells which. What a path carries is searched for elsewhere. Answers leave from
//! the address that the question came to (`sources`). IPv4-mapped IPv6 addresses appear on neither side.
//!
//! One datagram that cannot be sent is no reason to stop: no route, a firewall's refusal, a full queue all
//! pass ([`is_transient`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_long};

use crate::base::event::Heard;
use crate::base::limits::{BATCH, DATAGRAM_MAX, HEADROOM, ROOM};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::settings::{InterfaceName, Settings};
use crate::base::time::Instant;
use crate::sys::batch::{self, Inbox, Joins, Next, Refused};
use crate::sys::datagram;
pub use crate::sys::datagram::Family;
use crate::sys::sources::Sources;
use crate::sys::{Context, check, failure, set_option, words};

// What is read behind the headroom has room for the longest datagram of ours.
const _: () = assert!(HEADROOM + DATAGRAM_MAX <= ROOM);

/// Bytes asked for as buffer on the way out: a flood to every peer.
const BUFFER_OUT: c_int = 1 << 20;
/// Bytes asked for as buffer on the way in, at least and at most, and for which part of the memory. It has room for what comes
/// in during a handshake's arithmetic on a slow router, and for a burst at a memory's speed while the other end of a
/// stream has the processor: where it overflows, 40 segments that the kernel joined are lost at once.
const BUFFER_IN: [c_int; 2] = [1 << 20, 4 << 20];
const MEMORY_PART: c_long = 64;
/// How often another port is tried when the kernel may choose and its choice is taken for the second family.
const PORT_TRIES: usize = 16;

/// So many refusals of one batch are remembered.
const REFUSED: usize = 16;

/// Where to listen.
#[derive(Clone, Debug)]
pub struct Listen {
    /// This address only; the other family stays closed then.
    pub local: Option<IpAddr>,
    /// The port; 0 lets the kernel choose one for both families.
    pub port: u16,
    /// Whether to open an IPv4 socket.
    pub ipv4: bool,
    /// Whether to open an IPv6 socket.
    pub ipv6: bool,
    /// `SO_MARK`; 0 for none.
    pub mark: u32,
    /// This interface only.
    pub device: Option<InterfaceName>,
    /// Whether datagrams may be joined and several handed over in one call.
    pub offload: bool,
}

impl From<&Settings> for Listen {
    fn from(settings: &Settings) -> Listen {
        Listen {
            local: settings.local,
            port: settings.port,
            ipv4: settings.enable_ipv4,
            ipv6: settings.enable_ipv6,
            mark: settings.sockmark,
            device: settings.device.clone(),
            offload: settings.offload,
        }
    }
}

/// The sockets.
#[derive(Debug)]
pub struct Udp {
    sockets: [Option<Socket>; 2],
    missing: Option<Family>,
    port: u16,
    sources: Sources,
    /// Interfaces that lead into our own tunnel; 0 is none.
    inside: [u32; 2],
    from_inside: u64,
    too_long: u64,
    /// Of each datagram of the last batch: who sent it, and our address that it came to.
    came_to: Vec<(SocketAddr, Option<IpAddr>)>,
    /// The datagrams that are being sent.
    leaving: Vec<(SocketAddr, Packet)>,
    /// What was longer than its interface carries, to be told.
    refused: Vec<(SocketAddr, usize)>,
}

impl Udp {
    /// Opens what `listen` asks for. Of two families one may be unknown to the kernel: [`Udp::missing`] tells.
    ///
    /// # Errors
    /// With what is wrong: the port in use, an address or an interface that is not there, no permission.
    pub fn open(listen: &Listen) -> io::Result<Udp> {
        let mut answer = Udp::open_once(listen);
        for _ in 1..PORT_TRIES {
            match &answer {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && listen.port == 0 => {
                    answer = Udp::open_once(listen);
                }
                _ => break,
            }
        }
        answer
    }

    fn open_once(listen: &Listen) -> io::Result<Udp> {
        let mut udp = Udp {
            sockets: [None, None],
            missing: None,
            port: listen.port,
            sources: Sources::new(),
            inside: [0; 2],
            from_inside: 0,
            too_long: 0,
            came_to: Vec::with_capacity(BATCH),
            leaving: Vec::with_capacity(BATCH),
            refused: Vec::with_capacity(REFUSED),
        };
        let mut refusal = failure(io::ErrorKind::InvalidInput, "cannot listen: IPv4 and IPv6 are both off");
        for family in Family::BOTH {
            let enabled = if family == Family::V4 { listen.ipv4 } else { listen.ipv6 };
            if !enabled || listen.local.is_some_and(|local| Family::of(local) != family) {
                continue;
            }
            match Socket::open(listen, family, udp.port) {
                Ok(socket) => {
                    udp.port = socket.port()?;
                    udp.sockets[family as usize] = Some(socket);
                }
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    udp.missing = Some(family);
                    refusal = error;
                }
                Err(error) => return Err(error),
            }
        }
        if udp.sockets.iter().all(Option::is_none) { Err(refusal) } else { Ok(udp) }
    }

    /// The port of both sockets.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The family that was asked for and that the kernel does not have.
    pub fn missing(&self) -> Option<Family> {
        self.missing
    }

    /// The socket of a family, to be watched.
    pub fn socket(&self, family: Family) -> Option<&Socket> {
        self.sockets[family as usize].as_ref()
    }

    /// Datagrams dropped because they were longer than any of ours.
    pub fn too_long(&self) -> u64 {
        self.too_long
    }

    /// Datagrams dropped because they came through our own tunnel.
    pub fn from_inside(&self) -> u64 {
        self.from_inside
    }

    /// From now on drops what comes in by these interfaces, for they lead into our own tunnel: a path in there would
    /// carry itself (S20). 0 is no interface.
    pub fn shut_out(&mut self, interfaces: [u32; 2]) {
        self.inside = interfaces;
    }

    /// Lets the kernel choose the address to answer from anew: the host's addresses or routes changed.
    pub fn network_changed(&mut self) {
        self.sources.clear();
        // Another network card may do what this one could not.
        self.sockets.iter_mut().flatten().for_each(|socket| socket.joins = socket.able);
    }

    /// Puts up to [`BATCH`] datagrams of one family, and who sent them, into the empty `datagrams`. True while there may
    /// be more: an empty outbox leaves the rest in the kernel until packets come home.
    ///
    /// # Errors
    /// What is not transient. What was received before is in `datagrams`.
    pub fn receive_batch(
        &mut self,
        family: Family,
        out: &mut Outbox,
        datagrams: &mut Vec<(SocketAddr, Packet)>,
    ) -> io::Result<bool> {
        debug_assert!(datagrams.is_empty());
        self.came_to.clear();
        let Some(socket) = &mut self.sockets[family as usize] else { return Ok(false) };
        socket.inbox.begin_turn();
        while datagrams.len() < BATCH {
            match socket.inbox.next(out) {
                Next::Datagram(arrival, packet)
                    if self.inside.contains(&arrival.interface) && arrival.interface != 0 =>
                {
                    self.from_inside += 1;
                    out.recycle(packet);
                }
                Next::Datagram(arrival, packet) => {
                    datagrams.push((arrival.from, packet));
                    self.came_to.push((arrival.from, arrival.to));
                }
                Next::TooLong => self.too_long += 1,
                Next::NoRoom => return Ok(true),
                Next::Nothing(false) => return Ok(false),
                Next::Nothing(true) if out.spare() == 0 => return Ok(true),
                Next::Nothing(true) => match socket.fill(out) {
                    Err(error) if is_transient(&error) => return Ok(true),
                    other => other?,
                },
            }
        }
        Ok(true)
    }

    /// Whom the datagram with the index `at` in the last batch was heard from: that decides whether the address that
    /// it came to is remembered.
    pub fn note_heard(&mut self, now: Instant, at: usize, heard: Heard) {
        if let Some(&(from, Some(to))) = self.came_to.get(at) {
            self.sources.note(now, from, to, heard);
        }
    }

    /// Sends all that waits in `out`. What the kernel does not take is dropped and told to `lost`.
    pub fn send_batch(&mut self, out: &mut Outbox, lost: &mut dyn FnMut(SocketAddr, &io::Error)) {
        let mut leaving = std::mem::take(&mut self.leaving);
        loop {
            while leaving.len() < BATCH
                && let Some((to, packet)) = out.next_datagram()
            {
                leaving.push((unmapped(to), packet));
            }
            if leaving.is_empty() {
                break;
            }
            self.send_together(&leaving, lost);
            leaving.drain(..).for_each(|(_, packet)| out.recycle(packet));
        }
        self.leaving = leaving;
    }

    fn send_together(
        &mut self,
        mut datagrams: &[(SocketAddr, Packet)],
        lost: &mut dyn FnMut(SocketAddr, &io::Error),
    ) {
        while let Some((to, _)) = datagrams.first() {
            let Udp { sockets, sources, .. } = self;
            let (taken, alone) = match &mut sockets[Family::of(to.ip()) as usize] {
                Some(socket) => socket.send(datagrams, &mut |to| sources.get(to)),
                None => (0, 1),
            };
            let (refused, rest) = datagrams[taken..].split_at(alone);
            datagrams = rest;
            // What was refused together is tried alone: the kernel takes it, or says of each what is wrong.
            for (to, packet) in refused {
                let Err(error) = self.send(*to, packet) else { continue };
                if error.raw_os_error() == Some(libc::EMSGSIZE) && self.refused.len() < REFUSED {
                    self.refused.push((*to, packet.len()));
                }
                lost(*to, &error);
            }
        }
    }

    /// A datagram that was longer than the interface carries: where it should have gone, and its length.
    pub fn next_too_long(&mut self) -> Option<(SocketAddr, usize)> {
        self.refused.pop()
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// The kernel's own, for [`is_transient`]; the datagram is lost then.
    pub fn send(&mut self, to: SocketAddr, packet: &Packet) -> io::Result<()> {
        let to = unmapped(to);
        let Some(socket) = &self.sockets[Family::of(to.ip()) as usize] else {
            return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        };
        let from = self.sources.get(to);
        match datagram::send(socket.as_fd(), from, to, packet.bytes()) {
            // The address it came to is not ours any more, or has no way there: let the kernel choose.
            Err(error) if from.is_some() && is_unreachable(&error) => {
                self.sources.forget(to);
                datagram::send(socket.as_fd(), None, to, packet.bytes())
            }
            other => other,
        }
    }
}

/// Whether an error of a send or receive concerns this datagram or this moment only, so that the next may pass.
pub fn is_transient(error: &io::Error) -> bool {
    let transient = [
        libc::EAGAIN,
        libc::EINTR,
        // The far end or something on the way refused.
        libc::ECONNREFUSED,
        libc::ECONNRESET,
        libc::ETIMEDOUT,
        libc::EPROTO,
        libc::ENOPROTOOPT,
        // The firewall, a prohibiting route, a broadcast address.
        libc::EPERM,
        libc::EACCES,
        // Queues and memory.
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EMSGSIZE,
        // A family that has no socket.
        libc::EAFNOSUPPORT,
    ];
    is_unreachable(error) || error.raw_os_error().is_some_and(|code| transient.contains(&code))
}

/// Whether there is no way from that address to that one, at the moment.
fn is_unreachable(error: &io::Error) -> bool {
    let unreachable = [
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::ENETDOWN,
        libc::EHOSTDOWN,
        libc::EADDRNOTAVAIL,
        libc::EINVAL,
        libc::ENODEV,
        libc::ENXIO,
    ];
    error.raw_os_error().is_some_and(|code| unreachable.contains(&code))
}

/// One socket.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    family: Family,
    /// What the kernel can do, and what of it the way out has not refused since.
    able: Joins,
    joins: Joins,
    inbox: Inbox,
}

impl Socket {
    fn open(listen: &Listen, family: Family, port: u16) -> io::Result<Socket> {
        let domain = if family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
        // SAFETY: plain numbers.
        let raw = check(unsafe {
            libc::socket(domain, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0)
        })
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT) => failure(
                io::ErrorKind::Unsupported,
                format!("cannot listen: this kernel has no {}", family.name()),
            ),
            _ => failure(error.kind(), format!("cannot open a UDP socket: {}", words(&error))),
        })?;
        // SAFETY: `raw` was just opened and belongs to nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        let able = if listen.offload { Joins::switch_on(&descriptor) } else { Joins::NOTHING };
        let socket = Socket { descriptor, family, able, joins: able, inbox: Inbox::new(able) };
        socket.configure(listen)?;
        socket.bind(listen.local, port)?;
        Ok(socket)
    }

    fn configure(&self, listen: &Listen) -> io::Result<()> {
        // The kernel shall say which of our addresses a datagram came to. It shall cut nothing, and believe nobody about
        // what a path carries: that is searched for by probes.
        let options: &[(c_int, c_int, c_int)] = match self.family {
            Family::V4 => &[
                (libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
                (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
            ],
            Family::V6 => &[
                (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
                (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
            ],
        };
        for &(level, name, value) in options {
            set_option(self, level, name, value).context("prepare a UDP socket")?;
        }
        for (forced, plain, wanted) in [
            (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, buffer_in()),
            (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, BUFFER_OUT),
        ] {
            // Beyond the administrator's limit with the right to, up to it without. Smaller works too.
            if set_option(self, libc::SOL_SOCKET, forced, wanted).is_err() {
                let _ = set_option(self, libc::SOL_SOCKET, plain, wanted);
            }
        }
        if listen.mark != 0 {
            set_option(self, libc::SOL_SOCKET, libc::SO_MARK, listen.mark)
                .context(format_args!("mark packets with {}", listen.mark))?;
        }
        if let Some(device) = &listen.device {
            let mut name = [0_u8; libc::IFNAMSIZ];
            for (to, from) in name.iter_mut().zip(device.as_str().bytes()) {
                *to = from;
            }
            set_option(self, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name)
                .context(format_args!("bind to the interface {device}"))?;
        }
        Ok(())
    }

    fn bind(&self, local: Option<IpAddr>, port: u16) -> io::Result<()> {
        let any = if self.family == Family::V4 {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        let address = SocketAddr::new(local.unwrap_or(any), port);
        datagram::bind(self.as_fd(), address).map_err(|error| {
            let told = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("UDP port {port} is already in use by another program")
                }
                io::ErrorKind::AddrNotAvailable => {
                    format!("cannot listen on {}: no interface of this host has that address", address.ip())
                }
                io::ErrorKind::PermissionDenied => format!("UDP port {port} may be used by root only"),
                _ => format!("cannot listen on {address}: {}", words(&error)),
            };
            failure(error.kind(), told)
        })?;
        Ok(())
    }

    fn port(&self) -> io::Result<u16> {
        Ok(datagram::bound(self.as_fd(), self.family).context("read the socket's port")?.port())
    }

    /// Has the inbox take what there is.
    fn fill(&mut self, out: &mut Outbox) -> io::Result<()> {
        let filled = self.inbox.fill(self.descriptor.as_fd(), self.family, self.joins, out);
        match &filled {
            Err(error) if self.gives_up(error) => Ok(()),
            _ => filled,
        }
    }

    /// Sends from the front of `datagrams`. Returns how many the kernel took, and how many behind those it refused.
    fn send(
        &mut self,
        datagrams: &[(SocketAddr, Packet)],
        from: &mut dyn FnMut(SocketAddr) -> Option<IpAddr>,
    ) -> (usize, usize) {
        let (taken, refused) = batch::send(self.descriptor.as_fd(), self.joins, datagrams, from);
        if let Some(Refused { count, error }) = &refused
            && !self.gives_up(error)
            && *count > 1
            && error.raw_os_error() == Some(libc::EIO)
        {
            // The way out has nobody who would calculate the checksums (udp(7)).
            self.joins.out = false;
        }
        (taken, refused.map_or(0, |refused| refused.count))
    }

    /// Whether the kernel, or a filter of system calls, does not know of several messages in a call. Then there are none
    /// from now on.
    fn gives_up(&mut self, error: &io::Error) -> bool {
        let unknown = self.joins.many && error.raw_os_error() == Some(libc::ENOSYS);
        if unknown {
            self.able.many = false;
            self.joins.many = false;
        }
        unknown
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

/// What of [`BUFFER_IN`] this machine has memory for.
fn buffer_in() -> c_int {
    // SAFETY: plain numbers; what is not known is -1.
    let (pages, length) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    let [least, most] = BUFFER_IN;
    c_int::try_from((pages / MEMORY_PART).saturating_mul(length)).unwrap_or(most).clamp(least, most)
}

fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddrV4::new(ip, address.port()).into(),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::PACKETS;
    use crate::sys::netlink::Netlink;
    use crate::sys::testing::{add_address_and_wait, in_namespace};

    fn anywhere() -> Listen {
        Listen { local: None, port: 0, ipv4: true, ipv6: true, mark: 0, device: None, offload: true }
    }

    fn at(local: &str) -> Listen {
        Listen { local: Some(local.parse().unwrap()), ..anywhere() }
    }

    fn address(local: &str, udp: &Udp) -> SocketAddr {
        SocketAddr::new(local.parse().unwrap(), udp.port())
    }

    fn send(udp: &mut Udp, to: SocketAddr, length: usize) -> io::Result<()> {
        let mut packet = Packet::new();
        packet.append(&vec![0x5a; length]).unwrap();
        udp.send(to, &packet)
    }

    /// All that has come in: who sent it and how long it is.
    fn received(udp: &mut Udp) -> Vec<(SocketAddr, usize)> {
        let mut out = Outbox::new(PACKETS);
        let mut all = Vec::new();
        for family in Family::BOTH {
            let mut more = true;
            while more {
                let mut batch = Vec::new();
                more = udp.receive_batch(family, &mut out, &mut batch).unwrap();
                for (at, (from, packet)) in batch.into_iter().enumerate() {
                    udp.note_heard(Instant::ZERO, at, Heard::Member);
                    all.push((from, packet.len()));
                    out.recycle(packet);
                }
            }
        }
        assert!(out.is_whole());
        all
    }

    #[test]
    fn both_families_share_a_port_and_exchange_datagrams() {
        in_namespace("both_families_share_a_port", || {
            let mut a = Udp::open(&anywhere()).unwrap();
            let mut b = Udp::open(&anywhere()).unwrap();
            assert_ne!(a.port(), 0);
            assert_eq!(a.missing(), None);
            for host in ["127.0.0.1", "::1"] {
                // 1900 bytes are more than many a path carries in one piece; IP cuts them.
                for length in [0, 1, 1900, DATAGRAM_MAX] {
                    send(&mut a, address(host, &b), length).unwrap();
                    assert_eq!(received(&mut b), [(address(host, &a), length)]);
                }
            }
            let mapped = SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), b.port());
            send(&mut a, mapped, 9).unwrap();
            assert_eq!(received(&mut b), [(address("127.0.0.1", &a), 9)]);
        });
    }

    #[test]
    fn what_the_interface_cannot_carry_is_not_cut_but_told() {
        in_namespace("what_the_interface_cannot_carry", || {
            let mut netlink = Netlink::open().unwrap();
            let lo = netlink.link("lo").unwrap().unwrap();
            netlink.set_mtu(&lo, 1280).unwrap();
            let mut a = Udp::open(&anywhere()).unwrap();
            let mut b = Udp::open(&anywhere()).unwrap();
            for (host, fits) in [("127.0.0.1", 1280 - 28), ("::1", 1280 - 48)] {
                send(&mut a, address(host, &b), fits).unwrap();
                assert_eq!(received(&mut b), [(address(host, &a), fits)]);
                // Two that are too long would leave as one message.
                let mut out = Outbox::new(7);
                for length in [fits, fits, fits + 1, fits + 1, fits + 1, fits, fits] {
                    let mut packet = out.blank().unwrap();
                    packet.append(&vec![0; length]).unwrap();
                    out.send(address(host, &b), packet);
                }
                let mut lost = Vec::new();
                a.send_batch(&mut out, &mut |to, error| lost.push((to, error.raw_os_error())));
                assert_eq!(lost, [(address(host, &b), Some(libc::EMSGSIZE)); 3]);
                for _ in 0..3 {
                    assert_eq!(a.next_too_long(), Some((address(host, &b), fits + 1)));
                }
                let passed = vec![(address(host, &a), fits); 4];
                assert_eq!((a.next_too_long(), received(&mut b)), (None, passed));
                assert!(out.is_whole());
            }
        });
    }

    #[test]
    fn a_port_in_use_is_told_in_a_sentence() {
        in_namespace("a_port_in_use", || {
            let first = Udp::open(&anywhere()).unwrap();
            let port = first.port();
            let refused = Udp::open(&Listen { port, ..anywhere() }).unwrap_err();
            assert_eq!(refused.to_string(), format!("UDP port {port} is already in use by another program"));
            let elsewhere = Udp::open(&at("192.0.2.77")).unwrap_err().to_string();
            assert_eq!(elsewhere, "cannot listen on 192.0.2.77: no interface of this host has that address");
            let device = InterfaceName::new("nothere").unwrap();
            let refused = Udp::open(&Listen { device: Some(device), ..anywhere() }).unwrap_err().to_string();
            assert_eq!(refused, "cannot bind to the interface nothere: No such device");
            assert!(Udp::open(&Listen { ipv4: false, ipv6: false, ..anywhere() }).is_err());
        });
    }

    #[test]
    fn a_bound_address_closes_the_other_family() {
        in_namespace("a_bound_address_closes_the_other_family", || {
            let mut a = Udp::open(&Listen { mark: 7, ..at("127.0.0.1") }).unwrap();
            assert!(a.socket(Family::V4).is_some() && a.socket(Family::V6).is_none());
            let refused = send(&mut a, "[::1]:7000".parse().unwrap(), 1).unwrap_err();
            assert!(is_transient(&refused));
        });
    }

    #[test]
    fn what_is_longer_than_ours_is_counted_and_dropped() {
        in_namespace("what_is_longer_than_ours", || {
            let mut a = Udp::open(&anywhere()).unwrap();
            let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            stranger.send_to(&[0; DATAGRAM_MAX + 1], address("127.0.0.1", &a)).unwrap();
            stranger.send_to(&[0; 65_000], address("127.0.0.1", &a)).unwrap();
            assert_eq!(received(&mut a), []);
            assert_eq!(a.too_long(), 2);
        });
    }

    // S20
    #[test]
    fn what_comes_through_our_own_tunnel_is_counted_and_dropped() {
        in_namespace("what_comes_through_our_own_tunnel", || {
            let lo = Netlink::open().unwrap().link("lo").unwrap().unwrap();
            let mut a = Udp::open(&anywhere()).unwrap();
            let mut b = Udp::open(&anywhere()).unwrap();
            for (shut_out, passed) in [([lo.index, 0], 0), ([77, lo.index], 0), ([77, 78], 1), ([0, 0], 1)] {
                b.shut_out(shut_out);
                for host in ["127.0.0.1", "::1"] {
                    send(&mut a, address(host, &b), 8).unwrap();
                    assert_eq!(received(&mut b).len(), passed, "{shut_out:?}");
                }
            }
            assert_eq!(b.from_inside(), 4);
        });
    }

    #[test]
    fn more_than_a_batch_stays_ready() {
        in_namespace("more_than_a_batch_stays_ready", || {
            let mut a = Udp::open(&anywhere()).unwrap();
            let mut b = Udp::open(&anywhere()).unwrap();
            for _ in 0..BATCH + 1 {
                send(&mut a, address("127.0.0.1", &b), 10).unwrap();
            }
            let mut out = Outbox::new(PACKETS);
            for (more, count) in [(true, BATCH), (false, 1)] {
                let mut batch = Vec::new();
                assert_eq!(b.receive_batch(Family::V4, &mut out, &mut batch).unwrap(), more);
                assert_eq!(batch.len(), count);
                batch.into_iter().for_each(|(_, packet)| out.recycle(packet));
            }
            assert!(b.receive_batch(Family::V4, &mut Outbox::new(0), &mut Vec::new()).unwrap());
        });
    }

    // The poll tells of a datagram once. If that comes while a batch is handed over, the batch after it has to look.
    #[test]
    fn what_comes_while_a_batch_is_handed_over_is_found_by_the_next() {
        for offload in [true, false] {
            in_namespace("what_comes_while_a_batch_is_handed_over", move || {
                let mut a = Udp::open(&anywhere()).unwrap();
                let mut b = Udp::open(&Listen { offload, ..at("127.0.0.1") }).unwrap();
                let to = address("127.0.0.1", &b);
                let (mut out, mut batch) = (Outbox::new(PACKETS), Vec::new());
                for _ in 0..BATCH {
                    let mut packet = out.blank().unwrap();
                    packet.append(&[7; 100]).unwrap();
                    out.send(to, packet);
                }
                a.send_batch(&mut out, &mut |to, error| panic!("{to}: {error}"));
                let more = b.receive_batch(Family::V4, &mut out, &mut batch).unwrap();
                assert!(more && batch.len() == BATCH);
                batch.drain(..).for_each(|(_, packet)| out.recycle(packet));
                send(&mut a, to, 9).unwrap();
                let more = b.receive_batch(Family::V4, &mut out, &mut batch).unwrap();
                assert!(!more && batch.len() == 1);
                batch.drain(..).for_each(|(_, packet)| out.recycle(packet));
                assert!(out.is_whole());
            });
        }
    }

    #[test]
    fn the_answer_leaves_from_the_address_that_was_written_to() {
        in_namespace("the_answer_leaves_from_the_address", || {
            let mut netlink = Netlink::open().unwrap();
            let lo = netlink.link("lo").unwrap().unwrap();
            add_address_and_wait(&mut netlink, &lo, "fd00::9", 128);
            add_address_and_wait(&mut netlink, &lo, "10.9.9.9", 32);
            // Several addresses of one host: the kernel would answer 127.0.0.1 from 127.0.0.1.
            for (asker, server) in [("127.0.0.1", "127.0.0.5"), ("::1", "fd00::9"), ("127.0.0.1", "10.9.9.9")]
            {
                let mut a = Udp::open(&at(asker)).unwrap();
                let mut b = Udp::open(&anywhere()).unwrap();
                send(&mut a, address(server, &b), 1).unwrap();
                assert_eq!(received(&mut b), [(address(asker, &a), 1)]);
                send(&mut b, address(asker, &a), 2).unwrap();
                assert_eq!(received(&mut a), [(address(server, &b), 2)]);
                b.network_changed();
                send(&mut b, address(asker, &a), 3).unwrap();
                assert_eq!(received(&mut a), [(address(asker, &b), 3)], "the kernel's choice");
            }
        });
    }

    #[test]
    fn a_forgery_does_not_choose_our_address() {
        in_namespace("a_forgery_does_not_choose_our_address", || {
            let mut a = Udp::open(&at("127.0.0.1")).unwrap();
            let mut b = Udp::open(&anywhere()).unwrap();
            let it = Some(IpAddr::from([127, 0, 0, 5]));
            for (heard, remembered) in [(Heard::Nobody, None), (Heard::Knock, it), (Heard::Member, it)] {
                send(&mut a, address("127.0.0.5", &b), 1).unwrap();
                let mut batch = Vec::new();
                b.receive_batch(Family::V4, &mut Outbox::new(PACKETS), &mut batch).unwrap();
                assert_eq!(batch.len(), 1);
                b.note_heard(Instant::ZERO, 0, heard);
                assert_eq!(b.sources.get(address("127.0.0.1", &a)), remembered);
            }
        });
    }

    #[test]
    fn an_address_that_is_not_ours_any_more_is_given_up() {
        in_namespace("an_address_that_is_not_ours_any_more", || {
            let mut a = Udp::open(&anywhere()).unwrap();
            let mut b = Udp::open(&anywhere()).unwrap();
            for (host, gone) in [("127.0.0.1", "203.0.113.1"), ("::1", "2001:db8::1")] {
                let to = address(host, &b);
                a.sources.note(Instant::ZERO, to, gone.parse().unwrap(), Heard::Member);
                send(&mut a, to, 4).unwrap();
                assert_eq!(received(&mut b), [(address(host, &a), 4)]);
                assert_eq!(a.sources.get(to), None);
            }
        });
    }

    // S24: the WAN is gone, and comes back.
    #[test]
    fn no_route_is_survived() {
        in_namespace("no_route_is_survived", || {
            let mut a = Udp::open(&anywhere()).unwrap();
            for nowhere in ["192.0.2.1:7000", "[2001:db8::1]:7000", "255.255.255.255:7000", "127.0.0.1:0"] {
                let refused = send(&mut a, nowhere.parse().unwrap(), 1).unwrap_err();
                assert!(is_transient(&refused), "{nowhere}: {refused}");
            }
            assert!(!is_transient(&io::Error::from_raw_os_error(libc::EBADF)));
            let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
            for _ in 0..3 {
                send(&mut a, nobody, 1).unwrap();
            }
            assert_eq!(received(&mut a), []);
        });
    }
}
