//! What the loop listens to: each source has a number, and a bit that says whether it may have something.
#![forbid(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use mio::{Interest, Poll, Token};

use crate::node::Node;
use crate::sys::control::Control;
use crate::sys::events::Events;
use crate::sys::failure;
use crate::sys::helper::Helper;
use crate::sys::log::Logger;
use crate::sys::multicast::Multicast;
use crate::sys::resolver::Resolver;
use crate::sys::signals::Signals;
use crate::sys::tap::Tap;
use crate::sys::udp::{Family, Udp};
use crate::sys::watch;

/// Everything of the kernel's that the loop uses, open and ready.
pub struct Devices {
    /// None without tunneling.
    pub tap: Option<Tap>,
    /// The sockets.
    pub udp: Udp,
    /// Beacons on local networks; none unless they are searched.
    pub multicast: Option<Multicast>,
    /// Changes of the host's network.
    pub network: Events,
    /// Signals, blocked otherwise.
    pub signals: Signals,
    /// The child that runs hooks.
    pub helper: Helper,
    /// The child that knows names.
    pub resolver: Resolver,
    /// None where the socket could not be opened.
    pub control: Option<Control>,
}

impl Devices {
    /// Takes in where this host is now: returns where it is reached, and listens for beacons there.
    pub(super) fn look_around(&mut self) -> Vec<SocketAddr> {
        let Devices { network, udp, multicast, .. } = self;
        udp.shut_out(network.inside());
        if let Some(multicast) = multicast {
            multicast.listen(network.local_networks(multicast.all()));
        }
        network.own_addresses().into_iter().map(|own| SocketAddr::new(own, udp.port())).collect()
    }

    /// Our address, with our port, towards the router that leads to the IPv4 world, and that router's.
    pub(super) fn way_out(&mut self) -> Option<(SocketAddrV4, Ipv4Addr)> {
        let (own, gateway) = self.network.gateway()?;
        Some((SocketAddrV4::new(own, self.udp.port()), gateway))
    }

    /// Sends a beacon from each of our addresses on local networks.
    pub(super) fn send_beacons(&self, node: &Node, log: &Logger) {
        let Some(multicast) = &self.multicast else { return };
        for (at, own) in (0..).map_while(|at| Some((at, multicast.own(at)?))) {
            let sent = node.beacon(own).map_or(Ok(()), |beacon| multicast.send(at, &beacon));
            if let Err(error) = sent {
                log.debug(format_args!("cannot send a beacon from {own}: {error}"));
            }
        }
    }
}

/// Why a node without its interface ends.
pub(super) fn vanished(tap: &Tap) -> io::Error {
    failure(
        io::ErrorKind::Other,
        format!("the interface {} was removed; start again to have a new one", tap.name()),
    )
}

pub(super) const SIGNALS: Token = Token(0);
pub(super) const TAP: Token = Token(1);
pub(super) const UDP4: Token = Token(2);
pub(super) const UDP6: Token = Token(3);
pub(super) const NETWORK: Token = Token(4);
pub(super) const RESOLVER: Token = Token(5);
pub(super) const HELPER: Token = Token(6);
pub(super) const CONTROL: Token = Token(7);
pub(super) const BEACONS4: Token = Token(8);
pub(super) const BEACONS6: Token = Token(9);
pub(super) const SOURCES: usize = 10;

/// Has the poll watch all of them.
pub(super) fn watch_all(poll: &Poll, devices: &mut Devices) -> io::Result<()> {
    let registry = poll.registry();
    watch(registry, &devices.signals, SIGNALS)?;
    devices.tap.iter().try_for_each(|tap| watch(registry, tap, TAP))?;
    for (family, token) in [(Family::V4, UDP4), (Family::V6, UDP6)] {
        devices.udp.socket(family).iter().try_for_each(|socket| watch(registry, *socket, token))?;
    }
    for (family, token) in [(Family::V4, BEACONS4), (Family::V6, BEACONS6)] {
        let socket = devices.multicast.as_ref().and_then(|multicast| multicast.socket(family));
        socket.iter().try_for_each(|socket| watch(registry, socket, token))?;
    }
    watch(registry, &devices.network, NETWORK)?;
    registry.register(&mut devices.resolver, RESOLVER, Interest::READABLE)?;
    registry.register(&mut devices.helper, HELPER, Interest::READABLE)?;
    devices.control.iter_mut().try_for_each(|control| registry.register(control, CONTROL, Interest::READABLE))
}

/// A bit for each source that may have something.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Ready(u16);

impl Ready {
    /// It may have something.
    pub(super) fn set(&mut self, source: Token) {
        self.0 |= 1 << source.0;
    }

    /// Whether it may have something; it counts as empty from now on.
    pub(super) fn take(&mut self, source: Token) -> bool {
        let was = self.0 & (1 << source.0) != 0;
        self.0 &= !(1 << source.0);
        was
    }

    /// Whether there was more than a batch.
    pub(super) fn put(&mut self, source: Token, more: bool) {
        if more {
            self.set(source);
        }
    }

    pub(super) fn any(self) -> bool {
        self.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_ready_until_it_is_taken() {
        let mut ready = Ready::default();
        assert!(!ready.any() && !ready.take(TAP));
        ready.set(TAP);
        ready.set(CONTROL);
        assert!(ready.take(TAP) && !ready.take(TAP) && ready.any());
        ready.put(UDP6, false);
        assert!(ready.take(CONTROL) && !ready.any());
        ready.put(UDP6, true);
        assert!(ready.take(UDP6));
    }
}
