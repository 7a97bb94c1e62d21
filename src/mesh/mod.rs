//! Floor 3: all remote nodes, and what this node does to reach them.
//!
//! [`Mesh`] takes datagrams in ([`Mesh::open`]) and says what is in them, seals what is to go to a peer
//! ([`Mesh::seal`]), and does by itself all that keeps the mesh together: handshakes, paths, peer exchange,
//! relays. The files beside this one hold one concern each; what they share is here.
#![forbid(unsafe_code)]

mod access;
pub mod admission;
mod answering;
pub mod answers;
pub mod circuits;
pub mod dial;
mod dialing;
mod discovery;
mod due;
mod ends;
mod exchange;
mod handshakes;
pub mod hints;
pub mod hosts;
mod incoming;
pub mod indexes;
mod loops;
pub mod news;
mod outgoing;
mod own;
pub mod peers;
mod portmap;
pub mod punch;
mod reason;
mod relay;
pub mod remembered;
mod sizes;
mod ways;

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::event::{Event, Parting, Way};
use crate::base::ids::{HostId, NodeId, PeerKey, ShortId};
use crate::base::limits::{FIRST_PAUSE, NEWS_DELAY, PEERS, SWEEP};
use crate::base::outbox::Outbox;
use crate::base::settings::{NetworkName, Settings};
use crate::base::time::{Duration, Instant, earliest};
use crate::crypto::identity::{Identity, NetworkKeys, short_id};
use crate::crypto::macs::{Due, Foreseen};
use crate::crypto::random::Random;
use crate::mesh::access::Access;
use crate::mesh::admission::Admission;
use crate::mesh::answers::Answers;
use crate::mesh::circuits::Circuits;
use crate::mesh::discovery::Discovery;
use crate::mesh::hints::Hints;
use crate::mesh::hosts::{HostEntry, Hosts};
use crate::mesh::indexes::Indexes;
use crate::mesh::loops::Loops;
use crate::mesh::own::Own;
use crate::mesh::peers::{Member, Peers};
use crate::mesh::portmap::PortMap;
use crate::mesh::remembered::Place;
use crate::peer::Peer;
use crate::peer::fragment::Reassembly;
use crate::peer::handshake::Credentials;
use crate::peer::path::Path;
use crate::wire::envelope::Kind;
use crate::wire::hello::{Capabilities, Suites};

/// What a datagram turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opened {
    /// A frame from that peer; it is what the packet holds now.
    Frame(PeerKey),
    /// A packet for another node, ready to be sent there.
    Forward(SocketAddr),
    /// Something for the mesh itself, which has dealt with it.
    Spent,
}

/// What was carried for others.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Relayed {
    /// Packets sent on.
    pub packets: u64,
    /// Their bytes, relay headers included.
    pub bytes: u64,
}

/// All remote nodes.
pub struct Mesh {
    credentials: Credentials,
    short: ShortId,
    relays: bool,
    use_relay: bool,
    random: Random,
    peers: Peers,
    hosts: Hosts,
    indexes: Indexes,
    answers: Answers,
    admission: Admission,
    access: Access,
    circuits: Circuits,
    reassembly: Reassembly,
    relayed: Relayed,
    /// The MACs that what was sealed and wrapped still owes.
    macs: Due,
    /// What was computed ahead for the datagram at hand.
    foreseen: Foreseen,
    own: Own,
    portmap: PortMap,
    /// For datagrams to addresses that others told of and that have proved nothing.
    hints: Hints,
    /// The port that we listen on.
    port: u16,
    /// None unless local networks are searched.
    discovery: Option<Discovery>,
    /// None without a TAP.
    loops: Option<Loops>,
    /// Where nodes were reached.
    remembered: Vec<Place>,
    /// Peers whose last session ended, for the switch to forget.
    departed: Vec<PeerKey>,
    sweep_at: Instant,
    /// The slot that is looked after first.
    turn: usize,
    /// No deadline lies before this one.
    due: Option<Instant>,
}

impl Mesh {
    /// A node that knows its initial peers by name only.
    pub fn new(
        settings: &Settings,
        network_key: &[u8; 32],
        secret: [u8; 32],
        mut random: Random,
        now: Instant,
    ) -> Mesh {
        let identity = Identity::from_secret(secret);
        let short = short_id(&identity.id());
        let keys = NetworkKeys::derive(network_key, &settings.network);
        let capabilities = if settings.relay { Capabilities::RELAY } else { Capabilities::default() };
        let suites = Suites::new(&settings.ciphers);
        Mesh {
            credentials: Credentials::new(identity, &settings.network, &keys, capabilities, suites),
            short,
            relays: settings.relay,
            use_relay: settings.use_relay,
            peers: Peers::new(),
            hosts: Hosts::new(settings.initpeers.len(), now),
            indexes: Indexes::new(random.u64()),
            answers: Answers::new(random.u64()),
            admission: Admission::new(now, random.u64()),
            access: Access::new(settings),
            circuits: Circuits::new(random.u64()),
            reassembly: Reassembly::new(),
            relayed: Relayed::default(),
            macs: Due::new(),
            foreseen: Foreseen::NOTHING,
            own: Own::new(settings),
            portmap: PortMap::new(settings, &secret),
            hints: Hints::new(now, random.u64()),
            port: settings.port,
            discovery: settings.lan_discovery.is_on().then(|| Discovery::new(keys.beacon, &mut random, now)),
            loops: settings.tunneling.then(|| Loops::new(keys.beacon, &mut random, now)),
            remembered: Vec::new(),
            departed: Vec::with_capacity(PEERS),
            sweep_at: now + SWEEP,
            turn: 0,
            due: Some(now),
            random,
        }
    }

    /// Accepts what is made with this other secret of the network, too; what this node begins is made with the first one.
    pub fn accept_next(&mut self, network: &NetworkName, network_key: &[u8; 32]) {
        let keys = NetworkKeys::derive(network_key, network);
        self.credentials.accept_next(network, &keys);
        if let Some(discovery) = &mut self.discovery {
            discovery.accept_next(keys.beacon);
        }
        if let Some(loops) = &mut self.loops {
            loops.accept_next(keys.beacon);
        }
    }

    /// Scales what is done for strangers to what one handshake costs its responder on this machine.
    pub fn set_handshake_cost(&mut self, now: Instant, cost: Duration) {
        self.admission.set_cost(now, cost);
    }

    /// This node's identity.
    pub fn id(&self) -> NodeId {
        self.credentials.id()
    }

    /// This node's identity, short.
    pub fn short(&self) -> ShortId {
        self.short
    }

    /// All nodes known.
    pub fn members(&self) -> impl Iterator<Item = (PeerKey, &Member)> + '_ {
        self.peers.iter()
    }

    /// The initial peers, in the order of the configuration.
    pub fn hosts(&self) -> impl Iterator<Item = (HostId, &HostEntry)> + '_ {
        self.hosts.iter()
    }

    /// A node's identity, short.
    pub fn short_of(&self, key: PeerKey) -> Option<ShortId> {
        self.peers.get(key).map(|member| member.peer.short())
    }

    /// A node's identity, whole and short.
    pub fn names(&self, key: PeerKey) -> Option<(NodeId, ShortId)> {
        self.peers.get(key).map(|member| (member.peer.id(), member.peer.short()))
    }

    /// The way to a peer, as people see it.
    pub fn way(&self, key: PeerKey) -> Option<Way> {
        Some(match self.peers.get(key)?.peer.path()? {
            Path::Direct(address) => Way::Direct(address),
            Path::Via { relay, .. } => Way::Relayed(self.peers.get(relay)?.peer.short()),
        })
    }

    /// What was carried for others, and on how many circuits.
    pub fn relayed(&self) -> (Relayed, usize) {
        (self.relayed, self.circuits.carried())
    }

    /// The next peer whose last session ended.
    pub fn next_departed(&mut self) -> Option<PeerKey> {
        self.departed.pop()
    }

    // ---- other inputs ----

    /// The addresses of an initial peer, as far as its name could be resolved.
    pub fn handle_addresses(&mut self, now: Instant, host: HostId, found: &[SocketAddr]) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        if entry.resolved(found) && entry.dial.is_active() {
            entry.dial.start(now);
            self.wake(now);
        }
    }

    /// The network changed: tries everything again at once, beginning with the names.
    pub fn handle_network_change(&mut self, now: Instant) {
        self.hurry_beacons(now);
        for (_, entry) in self.hosts.iter_mut() {
            entry.forget_resolving();
            if entry.dial.is_active() {
                entry.dial.start(now);
            }
        }
        for (_, member) in self.peers.iter_mut() {
            member.punch.restart();
            if member.peer.is_up() {
                member.peer.network_changed(now);
            } else if member.dial.is_active() {
                member.dial.start(now);
            }
        }
        self.wake(now);
    }

    /// Says goodbye to every peer, to those behind a relay first, while the relay still knows us; and to the gateway.
    pub fn stop(&mut self, now: Instant, out: &mut Outbox) {
        for relayed in [true, false] {
            for slot in 0..self.peers.slots() {
                let Some(key) = self.floodable(slot) else { continue };
                let direct = self.peers.get(key).is_some_and(|member| member.peer.direct().is_some());
                if direct != relayed {
                    self.post_empty(now, key, Kind::Close, out);
                }
            }
        }
        self.give_mapping_back(out);
    }

    // ---- time ----

    /// When [`Mesh::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn wake(&mut self, at: Instant) {
        self.due = earliest(self.due, Some(at));
    }

    // ---- who comes and goes ----

    /// The key of a node, which is known from now on; unless it may not be a peer, which is found out here, before it
    /// gets a session, our third message or a try of ours.
    fn know(&mut self, now: Instant, id: NodeId) -> Result<PeerKey, Discard> {
        if id == self.id() {
            return Err(Discard::Ourselves);
        }
        if !self.access.permits(&id) {
            return Err(Discard::Refused);
        }
        if let Some(key) = self.peers.find(&id) {
            return Ok(key);
        }
        let leads = self.id() < id;
        if let Some(old) = self.peers.dispensable() {
            self.forget(old);
        }
        self.peers.insert(now, Peer::new(now, id, short_id(&id), leads))
    }

    /// A node without a session is to be reached; `new` tells whether somebody who did not before reaches it now.
    fn seek(&mut self, now: Instant, key: PeerKey, new: bool) {
        let Some(member) = self.peers.get_mut(key) else { return };
        member.known_since = now;
        if member.peer.is_up() {
            return;
        }
        if !member.dial.is_active() {
            member.dial.start(now);
            self.wake(now);
        } else if new {
            let soon = now + self.random.jitter(NEWS_DELAY);
            member.dial.hurry(soon);
            self.wake(soon);
        }
    }

    /// The last session with a peer has ended.
    fn part(&mut self, now: Instant, key: PeerKey, why: Parting, out: &mut Outbox) {
        let indexes = &mut self.indexes;
        let Some(member) = self.peers.get_mut(key) else { return };
        member.peer.shut(&mut |index| indexes.release(now, index));
        member.seen_us = None;
        member.told_seen = None;
        member.punch.restart();
        member.dial.stop(&mut |index| indexes.withdraw(index));
        member.dial.start(now + self.random.jitter(FIRST_PAUSE) + NEWS_DELAY);
        member.known_since = now;
        member.news.restart();
        if core::mem::take(&mut member.told_up) {
            out.tell(Event::PeerDown { peer: member.peer.short(), why });
        }
        if self.departed.len() < PEERS {
            self.departed.push(key);
        }
        for (_, entry) in self.hosts.iter_mut().filter(|(_, entry)| entry.peer == Some(key)) {
            entry.peer = None;
            entry.dial.start(now + self.random.jitter(FIRST_PAUSE));
        }
        self.expire_neighbours(now, Some(key), out);
        self.circuits_to_nobody(key);
        self.circuits_lost(now, key, out);
        self.news_about(now, key);
        self.wake(now);
    }
}
