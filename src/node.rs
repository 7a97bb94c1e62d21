//! One mesh member without I/O: a few inputs, one deadline, one door out. Here, and only here, the fate of
//! each packet is decided: sent, delivered, or spent.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::base::discard::Discard;
use crate::base::event::{Event, Heard, Indirect, Mapping, NatKind, Way};
use crate::base::ids::{HostId, NodeId, PeerKey, ShortId};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::settings::{NetworkName, Settings};
use crate::base::time::{Duration, Instant, earliest};
use crate::crypto::macs::{Foreseen, TOGETHER};
use crate::crypto::random::Random;
use crate::lan::neighbours::Neighbours;
use crate::lan::pins::Pins;
use crate::lan::storm::Storm;
use crate::lan::switch::{Destination, Learned, Switch};
use crate::mesh::hosts::HostEntry;
use crate::mesh::peers::Member;
use crate::mesh::remembered::Place;
use crate::mesh::{Mesh, Opened, Relayed};
use crate::wire::autoconf;
use crate::wire::beacon::BEACON;
use crate::wire::envelope::Type;
use crate::wire::ether::Frame;
use crate::wire::looping::Probe;
use crate::wire::tcp;

/// A mesh member.
pub struct Node {
    mesh: Mesh,
    switch: Switch,
    /// None without `enablendpcache`.
    neighbours: Option<Neighbours>,
    pins: Pins,
    storm: Storm,
    tunneling: bool,
    /// Whether what configures hosts stays on its side.
    filter: bool,
}

/// What becomes of a packet.
enum Fate {
    Send(SocketAddr),
    Deliver,
    Spent,
}

impl Node {
    /// A node with these settings. `network_key` is the network's one secret
    /// ([`crypto::identity::network_key`](crate::crypto::identity::network_key)), `secret` the node's
    /// X25519 key, `seed` all the randomness it will ever use; the caller wipes all three.
    pub fn new(
        settings: &Settings,
        network_key: &[u8; 32],
        secret: &[u8; 32],
        seed: &[u8; 32],
        now: Instant,
    ) -> Node {
        let mut random = Random::new(*seed);
        Node {
            switch: Switch::new(random.u64()),
            neighbours: settings.neighbour_cache.then(|| Neighbours::new(random.u64())),
            pins: Pins::new(&settings.pins),
            storm: Storm::new(now),
            tunneling: settings.tunneling,
            filter: settings.filter_dhcp,
            mesh: Mesh::new(settings, network_key, *secret, random, now),
        }
    }

    /// Accepts another secret of the network, too, while it is being changed; the caller wipes it.
    pub fn accept_next(&mut self, network: &NetworkName, network_key: &[u8; 32]) {
        self.mesh.accept_next(network, network_key);
    }

    /// Scales what is done for strangers to what one handshake costs its responder on this machine.
    pub fn set_handshake_cost(&mut self, now: Instant, cost: Duration) {
        self.mesh.set_handshake_cost(now, cost);
    }

    /// Takes in where nodes were reached in an earlier life of this node; they are tried when nobody else is there.
    pub fn remember(&mut self, now: Instant, places: &[Place]) {
        self.mesh.remember(now, places);
    }

    /// Where nodes are reached directly now, and behind them where others were; 64 at most.
    pub fn remembered(&mut self) -> &[Place] {
        self.mesh.remembered()
    }

    /// This node's identity.
    pub fn id(&self) -> NodeId {
        self.mesh.id()
    }

    /// This node's identity, short.
    pub fn short(&self) -> ShortId {
        self.mesh.short()
    }

    // ---- packets ----

    /// An Ethernet frame from the TAP.
    pub fn handle_frame(&mut self, now: Instant, frame: Packet, out: &mut Outbox) {
        self.take_frame(now, frame, out);
        self.finish(out);
    }

    /// One of several frames: as [`Node::handle_frame`], but what it sends does not leave `out` before
    /// [`Node::finish`], which gives the packets of all of them their MACs together.
    pub fn take_frame(&mut self, now: Instant, mut frame: Packet, out: &mut Outbox) {
        let fate = self.forward_frame(now, &mut frame, out);
        settle(fate, frame, out);
        self.make_room(out);
    }

    /// Ends what [`Node::take_frame`] began.
    pub fn finish(&mut self, out: &mut Outbox) {
        self.mesh.finish(out);
    }

    /// Finishes what was begun when no more of it has room.
    fn make_room(&mut self, out: &mut Outbox) {
        if self.mesh.owes_much() {
            self.mesh.finish(out);
        }
    }

    fn forward_frame(
        &mut self,
        now: Instant,
        packet: &mut Packet,
        out: &mut Outbox,
    ) -> Result<Fate, Discard> {
        let frame = Frame::read(packet.bytes())?;
        if Probe::is_in(&frame) {
            self.mesh.handle_loop_probe(now, packet.bytes(), out)?;
            return Ok(Fate::Spent);
        }
        let us = || Some((self.mesh.id(), self.mesh.short()));
        self.admit(&frame, packet, us)?;
        let destination = self.switch.destination(now, &frame);
        if destination == Destination::Everyone && self.mesh.stands_by() {
            return Err(Discard::Looping);
        }
        if let Some(neighbours) = &mut self.neighbours
            && destination == Destination::Everyone
        {
            let peer_of = |vlan, mac| self.switch.peer_of(now, vlan, mac);
            if neighbours.answer(now, &frame, packet, peer_of) {
                return Ok(Fate::Deliver);
            }
        }
        match destination {
            Destination::One(peer) => {
                self.clamp(now, peer, &frame, packet);
                self.mesh.seal_frame(now, peer, packet, out).map(Fate::Send)
            }
            Destination::Everyone if self.storm.take_ours(now) => {
                self.flood(now, packet, out);
                Ok(Fate::Spent)
            }
            Destination::Everyone => Err(self.storm_from(now, None, out)),
            Destination::Nobody => Err(Discard::NotForwarded),
        }
    }

    /// Whether a frame may cross the tunnel that a station behind that node sent.
    fn admit(
        &self,
        frame: &Frame,
        packet: &Packet,
        node: impl FnOnce() -> Option<(NodeId, ShortId)>,
    ) -> Result<(), Discard> {
        if !self.pins.allow(frame.source, node) {
            return Err(Discard::Pinned);
        }
        if self.filter && autoconf::configures(frame, packet.bytes()) {
            return Err(Discard::Filtered);
        }
        Ok(())
    }

    /// There is more to flood than is sound; told, but not for each frame.
    fn storm_from(&mut self, now: Instant, from: Option<PeerKey>, out: &mut Outbox) -> Discard {
        if self.storm.is_news(now) {
            out.tell(Event::Storm { from: from.and_then(|peer| self.short_of(peer)) });
        }
        Discard::Throttled
    }

    /// Has the ends of a TCP connection through `peer` agree on segments that need not be cut.
    fn clamp(&mut self, now: Instant, peer: PeerKey, frame: &Frame, packet: &mut Packet) {
        if let Some(first) = tcp::first_segment(frame, packet.bytes())
            && let Some(room) = self.mesh.frame_room(now, peer)
        {
            first.clamp(packet.bytes_mut(), room);
        }
    }

    /// Sends a copy to every peer: head-end replication, since no peer passes a frame on to another.
    fn flood(&mut self, now: Instant, frame: &Packet, out: &mut Outbox) {
        for slot in 0..self.mesh.slots() {
            let Some(peer) = self.mesh.floodable(slot) else { continue };
            let Ok(mut copy) = out.blank() else { return out.count(Discard::NoRoom) };
            copy.copy_from(frame);
            let fate = self.mesh.seal_frame(now, peer, &mut copy, out).map(Fate::Send);
            settle(fate, copy, out);
            self.make_room(out);
        }
    }

    /// A datagram from the network. Answers whom it was heard from.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: Packet,
        out: &mut Outbox,
    ) -> Heard {
        let heard = self.take_datagram(now, from, datagram, Foreseen::NOTHING, out);
        self.finish(out);
        heard
    }

    /// Several datagrams, in the order in which they came: does what [`Node::handle_datagram`] does with one after the
    /// other, but computes their MACs, and those of the answers, together. `heard` is told of each, by its place, whom
    /// it was heard from. `datagrams` is empty afterwards.
    pub fn handle_datagrams(
        &mut self,
        now: Instant,
        datagrams: &mut Vec<(SocketAddr, Packet)>,
        out: &mut Outbox,
        heard: &mut dyn FnMut(usize, Heard),
    ) {
        let mut place = 0;
        while !datagrams.is_empty() {
            let count = datagrams.len().min(TOGETHER);
            let mut foreseen = [Foreseen::NOTHING; TOGETHER];
            self.mesh.look_ahead(now, &datagrams[..count], &mut foreseen);
            for ((from, datagram), foreseen) in datagrams.drain(..count).zip(foreseen) {
                heard(place, self.take_datagram(now, from, datagram, foreseen, out));
                place += 1;
                self.make_room(out);
            }
        }
        self.finish(out);
    }

    fn take_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        mut datagram: Packet,
        foreseen: Foreseen,
        out: &mut Outbox,
    ) -> Heard {
        let kind = Type::of(datagram.bytes());
        let opened = self.mesh.open(now, from, &mut datagram, foreseen, out);
        let heard = match (&opened, kind) {
            (Err(_), _) | (_, Err(_)) => Heard::Nobody,
            (Ok(_), Ok(Type::Hello1)) => Heard::Knock,
            (Ok(_), Ok(_)) => Heard::Member,
        };
        let fate = match opened {
            Ok(Opened::Frame(peer)) => self.receive_frame(now, peer, &mut datagram, out),
            Ok(Opened::Forward(to)) => Ok(Fate::Send(to)),
            Ok(Opened::Spent) => Ok(Fate::Spent),
            Err(why) => Err(why),
        };
        settle(fate, datagram, out);
        self.forget_departed();
        heard
    }

    fn receive_frame(
        &mut self,
        now: Instant,
        from: PeerKey,
        packet: &mut Packet,
        out: &mut Outbox,
    ) -> Result<Fate, Discard> {
        if !self.tunneling {
            return Err(Discard::NotForwarded);
        }
        let frame = Frame::read(packet.bytes())?;
        self.admit(&frame, packet, || self.mesh.names(from))?;
        if !self.switch.is_ours(now, &frame) {
            if self.mesh.stands_by() {
                return Err(Discard::Looping);
            }
            if !self.storm.take_theirs(now, from) {
                return Err(self.storm_from(now, Some(from), out));
            }
        }
        let learned = self.switch.learn(now, from, &frame)?;
        if let Learned::Moved { .. } = learned
            && let Some(to) = self.short_of(from)
        {
            out.tell(Event::MacMoved { mac: frame.source, to });
        }
        if let Some(neighbours) = &mut self.neighbours
            && !matches!(learned, Learned::Held | Learned::Full)
        {
            neighbours.learn(now, from, &frame, packet.bytes());
        }
        self.clamp(now, from, &frame, packet);
        Ok(Fate::Deliver)
    }

    // ---- other inputs ----

    /// The addresses of an initial peer, as an answer to [`Event::Resolve`]; none when its name leads nowhere.
    pub fn handle_addresses(&mut self, now: Instant, host: HostId, found: &[SocketAddr], out: &mut Outbox) {
        self.mesh.handle_addresses(now, host, found);
        self.mesh.handle_timeout(now, out);
        self.finish(out);
    }

    /// The beacon to send from the address `from`, as an answer to [`Event::Beacon`].
    pub fn beacon(&self, from: IpAddr) -> Option<[u8; BEACON]> {
        self.mesh.beacon(from)
    }

    /// A beacon came from `from`, an address on a local network.
    pub fn handle_beacon(&mut self, now: Instant, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        if let Err(why) = self.mesh.handle_beacon(now, from, bytes) {
            out.count(why);
        }
        self.mesh.handle_timeout(now, out);
        self.finish(out);
    }

    /// What addresses the host has, each with the port that we listen on; not that of our own interface. To be told at the
    /// start and whenever they change.
    pub fn handle_local_addresses(&mut self, now: Instant, local: &[SocketAddr]) {
        self.mesh.handle_local_addresses(now, local);
    }

    /// By which address of ours, port included, and through which router IPv4 packets leave for the world, if they do. To
    /// be told at the start and whenever the network changed.
    pub fn handle_gateway(&mut self, now: Instant, way: Option<(SocketAddrV4, Ipv4Addr)>, out: &mut Outbox) {
        self.mesh.handle_gateway(now, way, out);
    }

    /// The network changed (HUP, netlink): retry and re-resolve now.
    pub fn handle_network_change(&mut self, now: Instant, out: &mut Outbox) {
        self.mesh.handle_network_change(now);
        self.handle_timeout(now, out);
    }

    /// The kernel refused a datagram of that length to `to`: it is longer than the interface there carries.
    pub fn handle_too_long(&mut self, now: Instant, to: SocketAddr, length: usize, out: &mut Outbox) {
        self.mesh.handle_too_long(now, to, length, out);
        self.finish(out);
    }

    /// To be called when [`Node::next_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        self.send_loop_probe(now, out);
        self.mesh.handle_timeout(now, out);
        self.forget_departed();
        if self.switch.next_timeout().is_some_and(|at| at <= now) {
            self.switch.expire(now);
        }
        if let Some(neighbours) = &mut self.neighbours
            && neighbours.next_timeout().is_some_and(|at| at <= now)
        {
            neighbours.expire(now);
        }
        self.finish(out);
    }

    fn send_loop_probe(&mut self, now: Instant, out: &mut Outbox) {
        let Some(probe) = self.mesh.loop_probe(now) else { return };
        match out.blank() {
            Ok(mut packet) => {
                let fate = packet.append(&probe).map(|()| Fate::Deliver);
                settle(fate, packet, out);
            }
            Err(why) => out.count(why),
        }
    }

    /// When [`Node::handle_timeout`] wants to be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        let neighbours = self.neighbours.as_ref().and_then(Neighbours::next_timeout);
        earliest(earliest(self.mesh.next_timeout(), self.switch.next_timeout()), neighbours)
    }

    /// Says goodbye to every peer.
    pub fn stop(&mut self, now: Instant, out: &mut Outbox) {
        self.mesh.stop(now, out);
        self.finish(out);
    }

    /// What was known of a peer's side goes with its last session, and all of it when frames went round.
    fn forget_departed(&mut self) {
        if self.mesh.take_rewiring() {
            self.switch.forget_all();
        }
        while let Some(peer) = self.mesh.next_departed() {
            self.switch.forget_peer(peer);
            if let Some(neighbours) = &mut self.neighbours {
                neighbours.forget_peer(peer);
            }
        }
    }

    // ---- what it tells of itself ----

    /// What is in front of us, as our peers' reports show.
    pub fn nat(&self) -> NatKind {
        self.mesh.nat()
    }

    /// What became of asking the NAT for a port; none where nobody is asked.
    pub fn mapping(&self) -> Option<Mapping> {
        self.mesh.mapping()
    }

    /// Why there is no direct path to a node; none when there is one.
    pub fn why_indirect(&self, now: Instant, key: PeerKey) -> Option<Indirect> {
        self.mesh.why_indirect(now, key)
    }

    /// Members on our own local network, and whether they flood for us.
    pub fn beside(&self) -> impl Iterator<Item = (ShortId, bool)> + '_ {
        self.mesh.beside()
    }

    /// All nodes known, with or without a session.
    pub fn members(&self) -> impl Iterator<Item = (PeerKey, &Member)> + '_ {
        self.mesh.members()
    }

    /// The initial peers, in the order of the configuration.
    pub fn hosts(&self) -> impl Iterator<Item = (HostId, &HostEntry)> + '_ {
        self.mesh.hosts()
    }

    /// A node's identity as people see it.
    pub fn short_of(&self, key: PeerKey) -> Option<ShortId> {
        self.mesh.short_of(key)
    }

    /// The way to a peer.
    pub fn way(&self, key: PeerKey) -> Option<Way> {
        self.mesh.way(key)
    }

    /// The switch, to look at.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// What was carried for others, and on how many circuits.
    pub fn relayed(&self) -> (Relayed, usize) {
        self.mesh.relayed()
    }
}

/// The one place where a packet is sent, delivered or taken back.
fn settle(fate: Result<Fate, Discard>, packet: Packet, out: &mut Outbox) {
    match fate {
        Ok(Fate::Send(to)) => out.send(to, packet),
        Ok(Fate::Deliver) => out.deliver(packet),
        Ok(Fate::Spent) => out.recycle(packet),
        Err(why) => out.discard(packet, why),
    }
}
