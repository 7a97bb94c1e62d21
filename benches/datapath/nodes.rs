//! Whole nodes, from the frame that the TAP gives to the datagram that the socket takes and back: switch, peer table,
//! session, path. They talk through memory; only the call that is named in the row is measured.

use std::collections::VecDeque;
use std::net::SocketAddr;

use peervpn::base::event::Event;
use peervpn::base::ids::Suite;
use peervpn::base::limits::{BATCH, CIRCUIT_PACKETS, FLOODS_PER_SECOND, PACKETS};
use peervpn::base::outbox::Outbox;
use peervpn::base::packet::Packet;
use peervpn::base::settings::{
    CallFilter, Host, InterfaceName, LanDiscovery, LogLevel, NetworkName, Secret, Settings,
};
use peervpn::base::time::{Duration, Instant};
use peervpn::node::Node;

use crate::{Table, timed};

/// Peers that a flooded frame goes to.
const PEERS: u16 = 32;

pub(crate) struct Side {
    pub(crate) node: Node,
    pub(crate) out: Outbox,
    address: SocketAddr,
}

/// Nodes of which the first relays and is everyone's initial peer. Datagrams between two others are lost when `apart`.
pub(crate) struct World {
    pub(crate) sides: Vec<Side>,
    pub(crate) now: Instant,
    apart: bool,
}

impl World {
    /// A hub and so many others, connected by that suite.
    pub(crate) fn new(others: u16, apart: bool, suite: Suite) -> World {
        let mut world = World::unconnected(others, apart, suite);
        for _ in 0..200 {
            world.pass();
        }
        world
    }

    /// The same before anybody has said a word.
    pub(crate) fn unconnected(others: u16, apart: bool, suite: Suite) -> World {
        let sides = (0..=others).map(|n| Side::new(n, suite)).collect();
        World { sides, now: Instant::ZERO, apart }
    }

    /// A tenth of a second.
    pub(crate) fn pass(&mut self) {
        self.now = self.now + Duration::from_millis(100);
        for at in 0..self.sides.len() {
            let Side { node, out, .. } = &mut self.sides[at];
            node.handle_timeout(self.now, out);
            self.settle(at);
        }
    }

    /// Carries what a node has sent, and what that brings about, until all is quiet.
    pub(crate) fn settle(&mut self, first: usize) {
        let mut busy = VecDeque::from([first]);
        while let Some(at) = busy.pop_front() {
            while let Some(event) = self.sides[at].out.next_event() {
                if let Event::Resolve(host) = event {
                    let hub = self.sides[0].address;
                    let Side { node, out, .. } = &mut self.sides[at];
                    node.handle_addresses(self.now, host, &[hub], out);
                }
            }
            while let Some((to, packet)) = self.sides[at].out.next_datagram() {
                let target = self.sides.iter().position(|side| side.address == to).unwrap();
                if !self.apart || at == 0 || target == 0 {
                    self.carry(at, target, &packet);
                    busy.push_back(target);
                }
                self.sides[at].out.recycle(packet);
            }
            self.sides[at].drain();
        }
    }

    /// Has a node begin with the hub, and send nothing yet.
    pub(crate) fn begin(&mut self, at: usize) {
        let hub = self.sides[0].address;
        let Side { node, out, .. } = &mut self.sides[at];
        node.handle_timeout(self.now, out);
        while let Some(event) = out.next_event() {
            if let Event::Resolve(host) = event {
                node.handle_addresses(self.now, host, &[hub], out);
            }
        }
    }

    /// The first that each of the others has sent to the hub.
    pub(crate) fn collect_for_hub(&mut self) -> Vec<(SocketAddr, Packet)> {
        let (hub, others) = self.sides.split_first_mut().unwrap();
        let mut found = Vec::new();
        for Side { out, address, .. } in others {
            while let Some((to, packet)) = out.next_datagram() {
                if to == hub.address && found.last().is_none_or(|(from, _)| from != address) {
                    found.push((*address, hub.copy(&packet)));
                }
                out.recycle(packet);
            }
        }
        found
    }

    /// Hands what the hub has sent to the others.
    pub(crate) fn deliver_from_hub(&mut self) {
        while let Some((to, packet)) = self.sides[0].out.next_datagram() {
            let target = self.sides.iter().position(|side| side.address == to).unwrap();
            self.carry(0, target, &packet);
            self.sides[0].out.recycle(packet);
        }
        self.sides[0].drain();
    }

    pub(crate) fn carry(&mut self, from: usize, to: usize, packet: &Packet) {
        let from = self.sides[from].address;
        let Side { node, out, .. } = &mut self.sides[to];
        let mut copy = out.blank().unwrap();
        copy.append(packet.bytes()).unwrap();
        node.handle_datagram(self.now, from, copy, out);
    }

    /// Sends long frames and lets them arrive, so that their source is known everywhere and the MTU of each path found.
    pub(crate) fn announce(&mut self, at: usize) {
        for _ in 0..20 {
            let Side { node, out, .. } = &mut self.sides[at];
            let frame = frame(out, [0xff; 6], at, 1400);
            node.handle_frame(self.now, frame, out);
            self.settle(at);
            self.pass();
        }
    }
}

impl Side {
    fn new(n: u16, suite: Suite) -> Side {
        let settings = Settings { ciphers: vec![suite], ..settings(n > 0) };
        let [high, low] = (n + 1).to_be_bytes();
        let mut secret = [7; 32];
        secret[1..3].copy_from_slice(&[high, low]);
        Side {
            node: Node::new(&settings, &[7; 32], &secret, &secret, Instant::ZERO),
            out: Outbox::new(PACKETS),
            address: SocketAddr::from(([198, 18, high, low], 7000)),
        }
    }

    /// Where the others reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A packet of its own with the same bytes.
    pub(crate) fn copy(&mut self, packet: &Packet) -> Packet {
        let mut copy = self.out.blank().unwrap();
        copy.append(packet.bytes()).unwrap();
        copy
    }

    /// Takes back everything that waits to leave. Returns how many datagrams it was.
    pub(crate) fn drain(&mut self) -> usize {
        let mut datagrams = 0;
        while let Some((_, packet)) = self.out.next_datagram() {
            self.out.recycle(packet);
            datagrams += 1;
        }
        while let Some(packet) = self.out.next_frame() {
            self.out.recycle(packet);
        }
        while self.out.next_event().is_some() {}
        datagrams
    }
}

fn settings(knows_hub: bool) -> Settings {
    let hub = Host { name: "hub".into(), port: 7000 };
    Settings {
        network: NetworkName::new("bench").unwrap(),
        psk: Secret::new("unused, the key is given".into()),
        psk_next: None,
        allow: Vec::new(),
        deny: Vec::new(),
        initpeers: if knows_hub { vec![hub] } else { vec![] },
        local: None,
        port: 7000,
        enable_ipv4: true,
        enable_ipv6: true,
        nat64: false,
        sockmark: 0,
        device: None,
        offload: true,
        tunneling: true,
        interface: InterfaceName::new("bench0").unwrap(),
        mtu: None,
        mac: None,
        ifconfig4: None,
        ifconfig6: None,
        upcmd: None,
        downcmd: None,
        neighbour_cache: false,
        pins: Vec::new(),
        filter_dhcp: false,
        ciphers: Vec::new(),
        lan_discovery: LanDiscovery::No,
        port_mapping: false,
        relay: !knows_hub,
        use_relay: true,
        keyfile: None,
        statefile: None,
        privileges: None,
        call_filter: CallFilter::Off,
        status_group: None,
        loglevel: LogLevel::Info,
    }
}

pub(crate) fn mac(n: usize) -> [u8; 6] {
    let [high, low] = u16::try_from(n).unwrap().to_be_bytes();
    [2, 0, 0, 0, high, low]
}

/// A frame of so many bytes from the station behind node `from`.
pub(crate) fn frame(out: &mut Outbox, to: [u8; 6], from: usize, length: usize) -> Packet {
    let mut packet = out.blank().unwrap();
    packet.append(&to).unwrap();
    packet.append(&mac(from)).unwrap();
    packet.append(&[0x88, 0xb5]).unwrap();
    packet.push_back(length - 14).unwrap().fill(0x55);
    packet
}

/// A frame to a known station: switch, seal, and at the other end open, learn, deliver.
pub(crate) fn to_one(table: &Table, length: usize) {
    let mut world = World::new(1, false, Suite::default());
    world.announce(1);
    world.announce(0);
    table.row(&format!("frame to datagram {length}"), length, || {
        let (now, side) = (world.now, &mut world.sides[0]);
        (0..BATCH).map(|_| send_frame(now, side, mac(1), 0, length, 1)).sum()
    });
    table.row(&format!("datagram to frame {length}"), length, || {
        (0..BATCH).map(|_| deliver(&mut world, length)).sum()
    });
    for &suite in Suite::ALL {
        let mut world = World::new(1, false, suite);
        world.announce(1);
        world.announce(0);
        let name = suite.name();
        table.row(&format!("{name} frames {length}"), length, || together(&mut world, length).0);
        table.row(&format!("{name} datagrams {length}"), length, || together(&mut world, length).1);
    }
}

/// How long a batch of frames takes at node 0, and the datagrams that come of it at node 1.
fn together(world: &mut World, length: usize) -> (Duration, Duration) {
    let (now, address) = (world.now, world.sides[0].address);
    let Side { node, out, .. } = &mut world.sides[0];
    let frames: Vec<Packet> = (0..BATCH).map(|_| frame(out, mac(1), 0, length)).collect();
    let sent = timed(|| {
        frames.into_iter().for_each(|frame| node.take_frame(now, frame, out));
        node.finish(out);
    });
    let mut datagrams = Vec::with_capacity(BATCH);
    while let Some((_, packet)) = world.sides[0].out.next_datagram() {
        let mut copy = world.sides[1].out.blank().unwrap();
        copy.append(packet.bytes()).unwrap();
        datagrams.push((address, copy));
        world.sides[0].out.recycle(packet);
    }
    assert_eq!(datagrams.len(), BATCH);
    let Side { node, out, .. } = &mut world.sides[1];
    let received = timed(|| node.handle_datagrams(now, &mut datagrams, out, &mut |_, _| {}));
    world.sides[1].drain();
    (sent, received)
}

/// How long node 1 takes for a frame from node 0.
fn deliver(world: &mut World, length: usize) -> Duration {
    let Side { node, out, .. } = &mut world.sides[0];
    let packet = frame(out, mac(1), 0, length);
    node.handle_frame(world.now, packet, out);
    let (_, packet) = world.sides[0].out.next_datagram().unwrap();
    let took = timed(|| world.carry(0, 1, &packet));
    world.sides[0].out.recycle(packet);
    let delivered = world.sides[1].out.next_frame().expect("it arrives");
    world.sides[1].out.recycle(delivered);
    took
}

/// A broadcast, sealed for every peer on its own.
pub(crate) fn flood(table: &Table, length: usize) {
    let mut world = World::new(PEERS, true, Suite::default());
    world.announce(0);
    table.row(&format!("flood to {PEERS} {length}"), length, || {
        let side = &mut world.sides[0];
        let now = &mut world.now;
        let mut later = || {
            // As fast as the budget for floods allows.
            *now = *now + Duration::from_secs(1) / FLOODS_PER_SECOND;
            *now
        };
        (0..BATCH).map(|_| send_frame(later(), side, [0xff; 6], 0, length, usize::from(PEERS))).sum()
    });
}

pub(crate) fn send_frame(
    now: Instant,
    side: &mut Side,
    to: [u8; 6],
    from: usize,
    length: usize,
    copies: usize,
) -> Duration {
    let packet = frame(&mut side.out, to, from, length);
    let Side { node, out, .. } = &mut *side;
    let took = timed(|| node.handle_frame(now, packet, out));
    assert_eq!(side.drain(), copies, "one datagram a peer");
    took
}

/// A packet on its way from node 1 to node 2: what the hub between them does.
pub(crate) fn relayed(table: &Table, length: usize) {
    let mut world = World::new(2, true, Suite::default());
    world.announce(2);
    world.announce(1);
    table.row(&format!("relay {length}"), length, || {
        (0..BATCH).map(|_| send_through(&mut world, length)).sum()
    });
}

fn send_through(world: &mut World, length: usize) -> Duration {
    // As fast as the relay's quota allows.
    world.now = world.now + Duration::from_secs(1) / CIRCUIT_PACKETS;
    let Side { node, out, .. } = &mut world.sides[1];
    let packet = frame(out, mac(2), 1, length);
    node.handle_frame(world.now, packet, out);
    let (_, packet) = world.sides[1].out.next_datagram().unwrap();
    let took = timed(|| world.carry(1, 0, &packet));
    world.sides[1].out.recycle(packet);
    let (to, sent_on) = world.sides[0].out.next_datagram().expect("it is sent on");
    assert_eq!(to, world.sides[2].address);
    world.sides[0].out.recycle(sent_on);
    took
}
