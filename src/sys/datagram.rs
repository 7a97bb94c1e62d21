//! Datagrams and their addresses as the kernel writes them: one system call each way. `batch` makes it one for many.
//!
//! Beside the bytes a message carries the far end's address, and in a control message our own: where a
//! datagram came to, or where one shall leave from (ip(7), ipv6(7)). Another one says how long each of several
//! datagrams is that come or go as one (udp(7)).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, socklen_t};

use crate::sys::{check, family_number, length_of, told};

/// Socket option and control message: datagrams of one length leave as one (since Linux 4.18).
pub(crate) const UDP_SEGMENT: c_int = 103;
/// The same for those that come (since Linux 5.0).
pub(crate) const UDP_GRO: c_int = 104;

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order of their sockets.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The family's name.
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    pub(crate) fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// What came in.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Bytes that were written to the room.
    pub(crate) length: usize,
    /// Whether the room was too small for all of them.
    pub(crate) cut: bool,
    /// Who sent it.
    pub(crate) from: SocketAddr,
    /// Our address that it was sent to, where an answer can leave from it.
    pub(crate) to: Option<IpAddr>,
    /// The number of the interface that it came in by; 0 where the kernel does not tell.
    pub(crate) interface: u32,
    /// What is left of its hop limit, where the socket asks for it.
    pub(crate) hops: Option<u8>,
    /// The length of each but the last, where it is several datagrams in one.
    pub(crate) segment: Option<usize>,
}

/// Receives one datagram from a socket of `family` into `room`.
///
/// # Errors
/// The kernel's own.
pub(crate) fn receive(socket: BorrowedFd<'_>, family: Family, room: &mut [u8]) -> io::Result<Arrival> {
    let mut name = Name::empty();
    let mut control = Control::empty();
    let mut part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    let mut message = message(&mut name, length_of::<Name>(), &mut part);
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = Control::SIZE as _;
    // SAFETY: `message` points to the name, the room and the control buffer above, which live through the call,
    // with their sizes.
    let length = check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) })?;
    Ok(arrival(&message, &name, family, usize::try_from(length).map_err(told)?))
}

/// What `message` says after the kernel filled it, with `name` and a control buffer.
pub(crate) fn arrival(message: &libc::msghdr, name: &Name, family: Family, length: usize) -> Arrival {
    let mut arrival = Arrival {
        length,
        cut: message.msg_flags & libc::MSG_TRUNC != 0,
        from: name.to_address(family),
        to: None,
        interface: 0,
        hops: None,
        segment: None,
    };
    read_control(message, &mut arrival);
    arrival
}

/// Sends `bytes` to `to`, from our address `from` or from the one that the kernel chooses.
///
/// # Errors
/// The kernel's own.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    from: Option<IpAddr>,
    to: SocketAddr,
    bytes: &[u8],
) -> io::Result<()> {
    send_by(socket, 0, from, to, bytes)
}

/// Sends `bytes` to `to` by that interface, if it is not 0 and `from` is given.
///
/// # Errors
/// The kernel's own.
pub(crate) fn send_by(
    socket: BorrowedFd<'_>,
    interface: u32,
    from: Option<IpAddr>,
    to: SocketAddr,
    bytes: &[u8],
) -> io::Result<()> {
    let (mut name, length) = Name::from_address(to);
    let mut control = Control::empty();
    // The kernel only reads the bytes; the field serves both directions and so asks for more.
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message = message(&mut name, length, &mut part);
    if let Some(from) = from {
        control.set_source(&mut message, interface, from);
    }
    // SAFETY: `message` points to the name, `bytes` and the control buffer above, which live through the call,
    // with their sizes.
    check(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) })?;
    Ok(())
}

/// Binds a socket to `address`.
///
/// # Errors
/// The kernel's own.
pub(crate) fn bind(socket: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    let (name, length) = Name::from_address(address);
    // SAFETY: `name` lives through the call and `length` is the size of the member that is set.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), length) })?;
    Ok(())
}

/// Has a socket talk to `address` alone; fails where there is no way.
///
/// # Errors
/// The kernel's own.
pub(crate) fn connect(socket: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    let (name, length) = Name::from_address(address);
    // SAFETY: as above.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const name).cast(), length) })?;
    Ok(())
}

/// The address that a socket of `family` is bound to.
///
/// # Errors
/// The kernel's own.
pub(crate) fn bound(socket: BorrowedFd<'_>, family: Family) -> io::Result<SocketAddr> {
    let mut name = Name::empty();
    let mut length = length_of::<Name>();
    // SAFETY: `name` is ours to fill and `length` is its size.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut name).cast(), &raw mut length) })?;
    Ok(name.to_address(family))
}

/// A socket address as the kernel writes it: both forms start with the family.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    pub(crate) fn empty() -> Name {
        // SAFETY: plain numbers; all zero is a valid value of both members.
        unsafe { std::mem::zeroed() }
    }

    pub(crate) fn from_address(address: SocketAddr) -> (Name, socklen_t) {
        let mut name = Name::empty();
        match address {
            SocketAddr::V4(address) => {
                name.v4 = libc::sockaddr_in {
                    sin_family: family_number(libc::AF_INET),
                    sin_port: address.port().to_be(),
                    sin_addr: kernel_v4(*address.ip()),
                    sin_zero: [0; 8],
                };
                (name, length_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(address) => {
                name.v6 = libc::sockaddr_in6 {
                    sin6_family: family_number(libc::AF_INET6),
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: kernel_v6(*address.ip()),
                    sin6_scope_id: address.scope_id(),
                };
                (name, length_of::<libc::sockaddr_in6>())
            }
        }
    }

    /// The address in the form that a socket of `family` gives.
    fn to_address(self, family: Family) -> SocketAddr {
        match family {
            Family::V4 => {
                // SAFETY: plain numbers, valid whatever they are; the union was zeroed at first.
                let name = unsafe { self.v4 };
                SocketAddrV4::new(rust_v4(name.sin_addr), u16::from_be(name.sin_port)).into()
            }
            Family::V6 => {
                // SAFETY: as above.
                let name = unsafe { self.v6 };
                let port = u16::from_be(name.sin6_port);
                SocketAddrV6::new(Ipv6Addr::from(name.sin6_addr.s6_addr), port, 0, name.sin6_scope_id).into()
            }
        }
    }
}

/// Room for control messages: a packet information and a length. Aligned as their header wants.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) union Control {
    _aligned: libc::cmsghdr,
    room: [u8; Control::SIZE],
}

impl Control {
    pub(crate) const SIZE: usize = 80;

    pub(crate) fn empty() -> Control {
        Control { room: [0; Control::SIZE] }
    }

    /// Has `message` leave from the address `from`, by that interface if it is not 0.
    pub(crate) fn set_source(&mut self, message: &mut libc::msghdr, interface: u32, from: IpAddr) {
        match from {
            IpAddr::V4(from) => {
                let information = libc::in_pktinfo {
                    ipi_ifindex: c_int::try_from(interface).unwrap_or_default(),
                    ipi_spec_dst: kernel_v4(from),
                    ipi_addr: kernel_v4(Ipv4Addr::UNSPECIFIED),
                };
                self.put(message, libc::IPPROTO_IP, libc::IP_PKTINFO, information);
            }
            IpAddr::V6(from) => {
                #[allow(
                    clippy::unnecessary_cast,
                    reason = "signed with one C library, unsigned with another"
                )]
                let information =
                    libc::in6_pktinfo { ipi6_addr: kernel_v6(from), ipi6_ifindex: interface as _ };
                self.put(message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, information);
            }
        }
    }

    /// Has the kernel cut `message` into datagrams of that length.
    pub(crate) fn set_segment(&mut self, message: &mut libc::msghdr, length: u16) {
        self.put(message, libc::SOL_UDP, UDP_SEGMENT, length);
    }

    /// Puts one more control message behind those that `message` has, of which this is the second at most.
    fn put<T: Copy>(&mut self, message: &mut libc::msghdr, level: c_int, kind: c_int, value: T) {
        // Two of the larger, each rounded up.
        const { assert!(size_of::<T>() <= size_of::<libc::in6_pktinfo>()) };
        #[allow(clippy::unnecessary_cast, reason = "of several types with several C libraries")]
        let used = message.msg_controllen as usize;
        // SAFETY: CMSG_SPACE and CMSG_LEN only calculate.
        let (space, length) =
            unsafe { (libc::CMSG_SPACE(length_of::<T>()), libc::CMSG_LEN(length_of::<T>())) };
        debug_assert!(used + space as usize <= Control::SIZE);
        // One pointer to the whole room for the headers, the values and the kernel.
        let room = &raw mut *self;
        // SAFETY: what is used so far is a multiple of a header's alignment and leaves room for one with a `T` behind it.
        let header = unsafe { room.cast::<u8>().add(used) }.cast::<libc::cmsghdr>();
        // SAFETY: as above.
        unsafe {
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = length as _;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        }
        message.msg_control = room.cast();
        message.msg_controllen = (used + space as usize) as _;
    }
}

/// A message of one part, from or to `name`.
pub(crate) fn message(name: &mut Name, length: socklen_t, part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: null pointers and zero lengths are a valid, empty message; musl hides fields of padding.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut *name).cast();
    message.msg_namelen = length;
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message
}

/// Reads the control messages that came with a datagram.
fn read_control(message: &libc::msghdr, told: &mut Arrival) {
    // SAFETY: the kernel filled the control buffer that `message` points to and set its length.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: a header that is not null lies in that buffer, with its data behind it.
        let (level, kind, data) =
            unsafe { ((*header).cmsg_level, (*header).cmsg_type, libc::CMSG_DATA(header)) };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel puts an in_pktinfo behind a header of this kind; plain numbers.
                let information = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                // The address to answer from, also where the datagram went to a broadcast address (ip(7)).
                let to = IpAddr::from(rust_v4(information.ipi_spec_dst));
                told.to = Some(to).filter(|to| !to.is_unspecified());
                told.interface = information.ipi_ifindex.unsigned_abs();
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel puts an in6_pktinfo behind a header of this kind; plain numbers.
                let information = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                let to = IpAddr::from(Ipv6Addr::from(information.ipi6_addr.s6_addr));
                told.to = Some(to).filter(|to| !to.is_multicast());
                #[allow(
                    clippy::unnecessary_cast,
                    reason = "signed with one C library, unsigned with another"
                )]
                let interface = information.ipi6_ifindex as u32;
                told.interface = interface;
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                // SAFETY: the kernel puts an int behind a header of this kind.
                let hops = unsafe { data.cast::<c_int>().read_unaligned() };
                told.hops = u8::try_from(hops).ok();
            }
            (libc::SOL_UDP, UDP_GRO) => {
                // SAFETY: the kernel puts an int behind a header of this kind.
                let length = unsafe { data.cast::<c_int>().read_unaligned() };
                told.segment = usize::try_from(length).ok().filter(|&length| length > 0);
            }
            _ => (),
        }
        // SAFETY: both pointers are to live structures; it ends with null behind the last header.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
}

pub(crate) fn kernel_v4(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) }
}

pub(crate) fn kernel_v6(address: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr { s6_addr: address.octets() }
}

fn rust_v4(address: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(address.s_addr.to_ne_bytes())
}
