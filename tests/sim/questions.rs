//! What stories ask of a world.

use std::net::{IpAddr, SocketAddr};

use peervpn::base::discard::Tally;
use peervpn::base::event::{Event, Mapping, NatKind, Obstacle, Way};
use peervpn::base::ids::{Mac, ShortId};
use peervpn::base::settings::DEFAULT_PORT;
use peervpn::base::time::{Duration, Instant};
use peervpn::node::Node;
use peervpn::status::{self, About, Extent};

use super::frames::{FrameId, SHORTEST, Sent};
use super::gateway::Gateway;
use super::oracle;
use super::traffic::Flow;
use super::{Id, Site, World};

/// So often a host repeats a question that was not answered.
const ASK_EVERY: Duration = Duration::from_millis(100);

impl World {
    // ---- nodes ----

    /// All nodes.
    pub fn nodes(&self) -> Vec<Id> {
        (0..self.members.len()).map(Id).collect()
    }

    /// The name of a node in what is told.
    pub fn short(&self, node: Id) -> ShortId {
        self.members[node.0].name
    }

    /// The MAC address of the host behind a node.
    pub fn mac(&self, node: Id) -> Mac {
        self.members[node.0].mac
    }

    /// Why packets died at a node that runs.
    pub fn tally(&self, node: Id) -> &Tally {
        self.members[node.0].out.tally()
    }

    /// What a node that runs tells of itself when asked.
    pub fn status(&self, node: Id) -> String {
        self.status_through(node, None)
    }

    /// The same of a node that its daemon tells of a NAT64 with this prefix.
    pub fn status_through(&self, node: Id, nat64: Option<&str>) -> String {
        let member = &self.members[node.0];
        let mut about = About::new(&member.spec.settings(), Some("peervpn0"), DEFAULT_PORT, Instant::ZERO);
        about.set_nat64(nat64.map(str::to_owned));
        let node = member.node.as_ref().expect("it runs");
        status::tell(self.now, &about, node, member.out.tally(), Extent::Whole)
    }

    /// What a node told, since the world began.
    pub fn events(&self, node: Id) -> &[(Instant, Event)] {
        &self.members[node.0].events
    }

    /// How often `node` told that its session with `peer` has a new key.
    pub fn rekeys(&self, node: Id, peer: Id) -> usize {
        let name = self.members[peer.0].name;
        let count = |&&(_, event): &&(Instant, Event)| event == Event::Rekeyed { peer: name };
        self.events(node).iter().filter(count).count()
    }

    /// How many allocations happened in a node since [`World::meter`].
    pub fn allocations(&self, node: Id) -> u64 {
        self.members[node.0].allocations
    }

    /// Whether the key of `a` is smaller than that of `b`; computed apart from the core.
    pub fn leads(&self, a: Id, b: Id) -> bool {
        let [a, b] = [a, b]
            .map(|id| x25519_dalek::x25519(self.members[id.0].secret, x25519_dalek::X25519_BASEPOINT_BYTES));
        a < b
    }

    // ---- ways ----

    /// The way from `a` to `b`, as `a` told it.
    pub fn way(&self, a: Id, b: Id) -> Option<Way> {
        self.members[a.0].ways.get(&self.members[b.0].name).copied()
    }

    /// Whether both have a session with the other.
    pub fn meet(&self, a: Id, b: Id) -> bool {
        self.way(a, b).is_some() && self.way(b, a).is_some()
    }

    /// Whether both have a direct way to the other.
    pub fn direct(&self, a: Id, b: Id) -> bool {
        let direct = |way| matches!(way, Some(Way::Direct(_)));
        direct(self.way(a, b)) && direct(self.way(b, a))
    }

    /// Whether both have a way to the other through a relay.
    pub fn relayed(&self, a: Id, b: Id) -> bool {
        let relayed = |way| matches!(way, Some(Way::Relayed(_)));
        relayed(self.way(a, b)) && relayed(self.way(b, a))
    }

    /// Whether `a` reaches `b` through that relay.
    pub fn relays_for(&self, a: Id, b: Id, relay: Id) -> bool {
        self.way(a, b) == Some(Way::Relayed(self.members[relay.0].name))
    }

    /// Whether `wish` holds for every two of `nodes`.
    pub fn every_two(&self, nodes: &[Id], wish: impl Fn(&World, Id, Id) -> bool) -> bool {
        nodes.iter().enumerate().all(|(n, &a)| nodes[..n].iter().all(|&b| wish(self, a, b)))
    }

    /// The beacon that a node would send from there.
    pub fn beacon(&self, node: Id, from: IpAddr) -> Option<Vec<u8>> {
        self.members[node.0].node.as_ref()?.beacon(from).map(Vec::from)
    }

    /// How many of `nodes` a node has a way to.
    pub fn peers(&self, node: Id) -> usize {
        self.members[node.0].ways.len()
    }

    /// Whether the NATs of two nodes let them talk without a relay and without guessing ports, links permitting.
    pub fn direct_path_possible(&self, a: Id, b: Id) -> bool {
        oracle::direct_path_possible(&self.network, a, b)
    }

    /// What a node believes its NAT to be.
    pub fn nat_of(&self, node: Id) -> NatKind {
        self.members[node.0].node.as_ref().map(Node::nat).unwrap_or_default()
    }

    /// What a node says of the port that it asked its NAT for.
    pub fn mapping_of(&self, node: Id) -> Option<Mapping> {
        self.members[node.0].node.as_ref().and_then(Node::mapping)
    }

    /// The gateway at the way out of a site.
    pub fn gateway(&mut self, site: Site) -> &mut Gateway {
        self.network.gateway(site).expect("a site with a gateway")
    }

    /// Why `a` says that there is no direct path to `b`.
    pub fn why(&self, a: Id, b: Id) -> Option<Obstacle> {
        let node = self.members[a.0].node.as_ref()?;
        let name = self.members[b.0].name;
        let (key, _) = node.members().find(|(_, member)| member.peer.short() == name)?;
        node.why_indirect(self.now, key).map(|why| why.obstacle)
    }

    // ---- frames ----

    /// One frame's life so far.
    pub fn frame(&self, id: FrameId) -> &Sent {
        self.frames.get(id)
    }

    /// All frames' lives so far.
    pub fn frames(&self) -> impl Iterator<Item = &Sent> {
        self.frames.iter()
    }

    /// Whether a frame came out at `node`.
    pub fn got(&self, node: Id, frame: FrameId) -> bool {
        self.frames.get(frame).delivered.contains_key(&node)
    }

    /// One frame from `a` to `b` and its answer: how long that took, if it came within `limit`.
    pub fn ping(&mut self, a: Id, b: Id, limit: Duration) -> Option<Duration> {
        let start = self.now;
        let question = self.send(a, b, SHORTEST + 56, true);
        self.run_until(limit, |world| world.answered(question)).then(|| self.now - start)
    }

    /// As [`World::ping`], but the question is repeated: how long until some answer came, if it did within `limit`.
    pub fn talks_within(&mut self, a: Id, b: Id, limit: Duration) -> Option<Duration> {
        let start = self.now;
        let first = self.send(a, b, SHORTEST + 56, true);
        let talked = |world: &World| {
            let since = world.frames.iter().skip(first.0);
            since.filter_map(|sent| sent.answers).any(|question| {
                let asked = world.frames.get(question);
                question >= first
                    && asked.origin == a
                    && asked.to() == world.mac(b)
                    && world.answered(question)
            })
        };
        loop {
            let left = limit.checked_sub(self.now - start).filter(|left| !left.is_zero());
            if self.run_until(left.unwrap_or_default().min(ASK_EVERY), talked) {
                return Some(self.now - start);
            }
            left?;
            self.send(a, b, SHORTEST + 56, true);
        }
    }

    /// Whether the answer to `question` came back.
    pub fn answered(&self, question: FrameId) -> bool {
        let origin = self.frames.get(question).origin;
        let answers = self.frames.iter().skip(question.0).filter(|sent| sent.answers == Some(question));
        answers.into_iter().any(|answer| answer.delivered.contains_key(&origin))
    }

    /// The probes for loops that came out at TAPs that are bridged, since the world began.
    pub fn probes(&self) -> &[Vec<u8>] {
        &self.probes
    }

    /// Whether these bytes were the last frame that came out at `node` and that the world did not make.
    pub fn came_out(&self, node: Id, bytes: &[u8]) -> bool {
        self.members[node.0].foreign == bytes
    }

    // ---- the wire ----

    /// What `node` sent to an endpoint, since the world began.
    pub fn flow(&self, node: Id, to: SocketAddr) -> Flow {
        self.flows.get(&(node, to)).copied().unwrap_or_default()
    }

    /// Where `node` sent anything, since the world began.
    pub fn written_to(&self, node: Id) -> Vec<SocketAddr> {
        let own = self.flows.range((node, LOWEST)..).take_while(|((who, _), _)| *who == node);
        own.map(|((_, to), _)| *to).collect()
    }

    /// What `node` sent in all.
    pub fn sent(&self, node: Id) -> Flow {
        let mut sum = Flow::default();
        for flow in self.flows.range((node, LOWEST)..).take_while(|((who, _), _)| *who == node) {
            sum.datagrams += flow.1.datagrams;
            sum.bytes += flow.1.bytes;
        }
        sum
    }

    /// A number that stands for all that happened so far.
    pub fn trace(&self) -> u64 {
        self.trace
    }
}

/// Not above any endpoint.
const LOWEST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
