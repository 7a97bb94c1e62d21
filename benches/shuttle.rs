//! The limit that the program is held against: frames between a TAP and a UDP socket, with the program's own batches and
//! offloads, and nothing done to them between.
//!
//! `cargo bench --bench shuttle -- INTERFACE LOCAL PEER ADDRESS [plain]` makes the interface with that address and
//! carries its frames from `LOCAL` to `PEER` (both `IP:PORT`) until it is killed; `plain` is one packet a call. Start one
//! in each of two network namespaces and measure between them. It needs root, trusts everybody, and so has no other use.
#![allow(clippy::print_stdout, reason = "it explains itself")]
#![allow(clippy::unwrap_used, reason = "who measures wants to see what failed")]

use std::net::SocketAddr;

use mio::{Events, Poll, Token};

use peervpn::base::limits::{BATCH, PACKETS};
use peervpn::base::outbox::Outbox;
use peervpn::base::settings::InterfaceName;
use peervpn::sys::netlink::Netlink;
use peervpn::sys::tap::Tap;
use peervpn::sys::udp::{Family, Listen, Udp};
use peervpn::sys::watch;

/// What a frame of the interface may have so that its datagram fits a cable of 1500 bytes.
const MTU: u16 = 1500 - 28 - 14;

fn main() {
    // Cargo passes `--bench`.
    let given: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let [name, local, peer, address, how @ ..] = given.as_slice() else {
        println!("shuttle: needs two network namespaces; see the head of benches/shuttle.rs");
        return;
    };
    let (local, peer): (SocketAddr, SocketAddr) = (local.parse().unwrap(), peer.parse().unwrap());
    let offload = how.first().is_none_or(|how| how != "plain");
    let tap = Tap::open(&InterfaceName::new(name).unwrap(), offload).unwrap();
    let mut netlink = Netlink::open().unwrap();
    let link = netlink.link(tap.name()).unwrap().unwrap();
    netlink.set_mtu(&link, MTU).unwrap();
    netlink.add_address(&link, address.parse().unwrap(), 24).unwrap();
    netlink.set_up(&link).unwrap();
    let udp = Udp::open(&Listen {
        local: Some(local.ip()),
        port: local.port(),
        ipv4: true,
        ipv6: true,
        mark: 0,
        device: None,
        offload,
    });
    carry(tap, udp.unwrap(), peer);
}

/// Carries for ever.
fn carry(mut tap: Tap, mut udp: Udp, peer: SocketAddr) {
    let family = if peer.is_ipv4() { Family::V4 } else { Family::V6 };
    let mut poll = Poll::new().unwrap();
    watch(poll.registry(), &tap, Token(0)).unwrap();
    watch(poll.registry(), udp.socket(family).unwrap(), Token(1)).unwrap();
    let mut events = Events::with_capacity(2);
    let mut out = Outbox::new(PACKETS);
    let (mut frames, mut datagrams) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    let mut more = [true; 2];
    loop {
        let patience = more.contains(&true).then_some(std::time::Duration::ZERO);
        poll.poll(&mut events, patience).unwrap();
        events.iter().for_each(|event| more[event.token().0] = true);
        if more[0] {
            more[0] = tap.read_batch(&mut out, &mut frames).unwrap();
            frames.drain(..).for_each(|frame| out.send(peer, frame));
            udp.send_batch(&mut out, &mut |_, _| ());
        }
        if more[1] {
            more[1] = udp.receive_batch(family, &mut out, &mut datagrams).unwrap();
            datagrams.drain(..).for_each(|(_, frame)| out.deliver(frame));
            tap.write_batch(&mut out, &mut |_| ());
        }
    }
}
