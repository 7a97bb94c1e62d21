//! The UDP sockets: one for IPv4 and one for IPv6 on the same port (`socket`), and batches of datagrams in and out.
//!
//! A datagram that is longer than the interface carries is refused: [`Udp::next_too_long`] tells which. What a path
//! carries is searched for elsewhere. Answers leave from the address that the question came to (`sources`).
//! IPv4-mapped IPv6 addresses appear on neither side. Where IPv4 goes through a NAT64, addresses are translated here, and
//! nobody else knows of it.
//!
//! One datagram that cannot be sent is no reason to stop: no route, a firewall's refusal, a full queue all
//! pass ([`is_transient`]).

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd;

use crate::base::event::Heard;
use crate::base::limits::{BATCH, DATAGRAM_MAX, HEADROOM, ROOM};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::time::Instant;
use crate::sys::batch::Next;
use crate::sys::datagram;
pub use crate::sys::datagram::Family;
use crate::sys::failure;
use crate::sys::nat64::Prefix;
pub use crate::sys::socket::{Listen, Socket};
use crate::sys::sources::Sources;

// What is read behind the headroom has room for the longest datagram of ours.
const _: () = assert!(HEADROOM + DATAGRAM_MAX <= ROOM);

/// How often another port is tried when the kernel may choose and its choice is taken for the second family.
const PORT_TRIES: usize = 16;

/// So many refusals of one batch are remembered.
const REFUSED: usize = 16;

/// The sockets.
#[derive(Debug)]
pub struct Udp {
    sockets: [Option<Socket>; 2],
    missing: Option<Family>,
    port: u16,
    sources: Sources,
    /// Interfaces that lead into our own tunnel; 0 is none.
    inside: [u32; 2],
    /// By which IPv4 is reached through IPv6.
    nat64: Option<Prefix>,
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
            nat64: None,
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

    /// From now on reaches IPv4 by that prefix, or by IPv4; true if that is a change.
    pub fn translate(&mut self, nat64: Option<Prefix>) -> bool {
        nat64 != std::mem::replace(&mut self.nat64, nat64)
    }

    /// The address that others know what is reached at `address` by.
    pub fn inward(&self, address: SocketAddr) -> SocketAddr {
        self.nat64.map_or(address, |prefix| prefix.to_ipv4(address))
    }

    /// Where to send to for `address`.
    fn outward(&self, address: SocketAddr) -> SocketAddr {
        let address = unmapped(address);
        self.nat64.map_or(address, |prefix| prefix.to_ipv6(address))
    }

    /// Lets the kernel choose the address to answer from anew: the host's addresses or routes changed.
    pub fn network_changed(&mut self) {
        self.sources.clear();
        self.sockets.iter_mut().flatten().for_each(Socket::network_changed);
    }

    /// Takes up to [`BATCH`] datagrams of one family, and puts them, and who sent them, into the empty `datagrams`, but for
    /// those that are dropped. True while there may be more: an empty outbox leaves the rest in the kernel until packets
    /// come home.
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
        let mut taken = 0;
        while taken < BATCH {
            taken += 1;
            match socket.inbox.next(out) {
                Next::Datagram(arrival, packet)
                    if self.inside.contains(&arrival.interface) && arrival.interface != 0 =>
                {
                    self.from_inside += 1;
                    out.recycle(packet);
                }
                Next::Datagram(arrival, packet) => {
                    let from = self.nat64.map_or(arrival.from, |prefix| prefix.to_ipv4(arrival.from));
                    datagrams.push((from, packet));
                    self.came_to.push((arrival.from, arrival.to));
                }
                Next::TooLong => self.too_long += 1,
                Next::NoRoom => return Ok(true),
                Next::Nothing(false) => return Ok(false),
                Next::Nothing(true) if out.spare() == 0 => return Ok(true),
                Next::Nothing(true) => match socket.fill(out) {
                    Err(error) if is_transient(&error) => return Ok(true),
                    other => {
                        other?;
                        taken -= 1;
                    }
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
                leaving.push((self.outward(to), packet));
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
                let to = self.inward(*to);
                if error.raw_os_error() == Some(libc::EMSGSIZE) && self.refused.len() < REFUSED {
                    self.refused.push((to, packet.len()));
                }
                lost(to, &error);
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
        let to = self.outward(to);
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
    use crate::base::settings::InterfaceName;
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
    fn a_flood_of_what_is_dropped_ends_a_turn_as_well() {
        in_namespace("a_flood_of_what_is_dropped", || {
            let mut udp = Udp::open(&at("127.0.0.1")).unwrap();
            let flood = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            for _ in 0..BATCH + 10 {
                flood.send_to(&[1; DATAGRAM_MAX + 1], address("127.0.0.1", &udp)).unwrap();
            }
            let (mut out, mut batch) = (Outbox::new(PACKETS), Vec::new());
            assert!(udp.receive_batch(Family::V4, &mut out, &mut batch).unwrap(), "there may be more");
            assert_eq!((udp.too_long(), batch.len()), (BATCH as u64, 0));
            assert!(!udp.receive_batch(Family::V4, &mut out, &mut batch).unwrap());
            assert_eq!(udp.too_long(), BATCH as u64 + 10);
        });
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
    fn through_a_nat64_all_but_the_wire_is_ipv4() {
        in_namespace("through_a_nat64", || {
            let prefix = Prefix::told_by(&["[2001:db8:64::192.0.0.170]:0".parse().unwrap()]);
            let mut netlink = Netlink::open().unwrap();
            let lo = netlink.link("lo").unwrap().unwrap();
            add_address_and_wait(&mut netlink, &lo, "2001:db8:64::45.67.89.101", 128);
            let mut a = Udp::open(&anywhere()).unwrap();
            let mut b = Udp::open(&at("2001:db8:64::45.67.89.101")).unwrap();
            let far = address("45.67.89.101", &b);
            assert!(send(&mut a, far, 9).is_err(), "there is no way over IPv4");
            assert!(a.translate(prefix) && !a.translate(prefix));
            send(&mut a, far, 9).unwrap();
            let [(from, 9)] = received(&mut b)[..] else { panic!("it did not arrive") };
            assert!(from.is_ipv6());
            send(&mut b, from, 1300).unwrap();
            assert_eq!(received(&mut a), [(far, 1300)]);
            // Of what is too long it is told where the core wanted it to go.
            netlink.set_mtu(&lo, 1280).unwrap();
            let mut out = Outbox::new(2);
            for length in [1232, 1233] {
                let mut packet = out.blank().unwrap();
                packet.append(&vec![0; length]).unwrap();
                out.send(far, packet);
            }
            let mut lost = Vec::new();
            a.send_batch(&mut out, &mut |to, _| lost.push(to));
            assert_eq!((lost, a.next_too_long()), (vec![far], Some((far, 1233))));
            assert_eq!(received(&mut b), [(from, 1232)]);
            // What is no business of a translator goes by IPv4, or not at all.
            assert!(send(&mut a, "10.1.2.3:7000".parse().unwrap(), 9).is_err());
            let itself = address("127.0.0.1", &a);
            send(&mut a, itself, 9).unwrap();
            assert_eq!(received(&mut a), [(itself, 9)]);
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
