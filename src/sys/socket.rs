//! One UDP socket: how it is opened, what it asks of the kernel, and what it no longer asks since the kernel refused.
//!
//! No datagram is cut on its way: "don't fragment" is set, and what routers report of a path's MTU is not believed.
//! What a port, an address or an interface has against it is told in a sentence.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_ulong};

use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::settings::{InterfaceName, Settings};
use crate::sys::batch::{self, Inbox, Joins, Refused};
use crate::sys::datagram::{self, Family};
use crate::sys::{Context, check, failure, set_option, words};

/// Bytes asked for as buffer on the way out: a flood to every peer.
const BUFFER_OUT: c_int = 1 << 20;
/// Bytes asked for as buffer on the way in, at least and at most, and for which part of the memory. It has room for what comes
/// in during a handshake's arithmetic on a slow router, and for a burst at a memory's speed while the other end of a
/// stream has the processor: where it overflows, 40 segments that the kernel joined are lost at once.
const BUFFER_IN: [c_int; 2] = [1 << 20, 4 << 20];
const MEMORY_PART: c_ulong = 64;

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

/// One socket.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    family: Family,
    /// What the kernel can do, and what of it the way out has not refused since.
    able: Joins,
    joins: Joins,
    /// What came in and was not handed over yet.
    pub(super) inbox: Inbox,
}

impl Socket {
    /// Opens it for one family, on that port or, with 0, on one that the kernel chooses.
    ///
    /// # Errors
    /// With what is wrong; of the kind `Unsupported` where the kernel does not have the family.
    pub(super) fn open(listen: &Listen, family: Family, port: u16) -> io::Result<Socket> {
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

    /// The port that it has.
    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(datagram::bound(self.as_fd(), self.family).context("read the socket's port")?.port())
    }

    /// Another network card may do what the one before could not.
    pub(super) fn network_changed(&mut self) {
        self.joins = self.able;
    }

    /// Has the inbox take what there is.
    pub(super) fn fill(&mut self, out: &mut Outbox) -> io::Result<()> {
        let filled = self.inbox.fill(self.descriptor.as_fd(), self.family, self.joins, out);
        match &filled {
            Err(error) if self.gives_up(error) => Ok(()),
            _ => filled,
        }
    }

    /// Sends from the front of `datagrams`. Returns how many the kernel took, and how many behind those it refused.
    pub(super) fn send(
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
    // SAFETY: plain numbers, for which zero is a valid value; the kernel fills them.
    let (memory, unit) = unsafe {
        let mut told: libc::sysinfo = std::mem::zeroed();
        if libc::sysinfo(&raw mut told) < 0 { (0, 0) } else { (told.totalram, told.mem_unit) }
    };
    let [least, most] = BUFFER_IN;
    let part = (memory / MEMORY_PART).saturating_mul(c_ulong::from(unit));
    c_int::try_from(part).unwrap_or(most).clamp(least, most)
}
