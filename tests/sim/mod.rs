//! A world of nodes in virtual time: real `Node`s, simulated links, NATs, names and clocks.
//!
//! Everything happens in the order of (time, sequence), all chance comes from one seed, and the seed is told when
//! a story fails. [`invariants`] are checked after every step of every story.
//!
//! - `mod.rs`: the world, its clock and its nodes' lives.
//! - `traffic.rs`: the way of datagrams and frames between them.
//! - `questions.rs`: what stories ask.
//! - `spec.rs`, `frames.rs`, `link.rs`, `nat.rs`, `gateway.rs`, `network.rs`, `oracle.rs`, `invariants.rs`, `agenda.rs`, `chance.rs`,
//!   `pool.rs`: the parts.

pub mod agenda;
pub mod chance;
pub mod frames;
pub mod gateway;
pub mod invariants;
pub mod link;
pub mod nat;
pub mod network;
pub mod oracle;
pub mod pool;
pub mod questions;
pub mod spec;
pub mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use peervpn::base::event::{Event, Way};
use peervpn::base::ids::{HostId, Mac, ShortId};
use peervpn::base::outbox::Outbox;
use peervpn::base::settings::DEFAULT_PORT;
use peervpn::base::time::{Duration, Instant};
use peervpn::mesh::remembered::Place;
use peervpn::node::Node;
use sha2::{Digest, Sha256};

use agenda::Agenda;
use chance::Chance;
use frames::{FrameId, Frames};
use invariants::Invariants;
use link::Link;
use nat::{Nat, NatSpec};
use network::Network;
use spec::NodeSpec;
use traffic::{Datagram, Flow, Meddler};

/// A node of the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct Id(pub usize);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// A place that nodes are attached to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Site(pub usize);

impl Site {
    /// Where public addresses are.
    pub const INTERNET: Site = Site(0);
}

/// One node, alive or not.
struct Member {
    spec: NodeSpec,
    secret: [u8; 32],
    name: ShortId,
    mac: Mac,
    /// How often it was started before.
    life: u32,
    node: Option<Node>,
    /// What its last life remembered.
    remembered: Vec<Place>,
    out: Outbox,
    due: Option<Instant>,
    ways: BTreeMap<ShortId, Way>,
    events: Vec<(Instant, Event)>,
    allocations: u64,
    /// The last frame that came out and that the world did not make, but for probes.
    foreign: Vec<u8>,
}

enum Action {
    Arrive {
        datagram: Datagram,
        site: Site,
    },
    Beacon {
        site: Site,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    Resolved {
        node: Id,
        life: u32,
        host: HostId,
    },
    Answer(FrameId),
    /// A frame comes by the local network to the TAP of one of those that are bridged to it.
    Bridged {
        node: Id,
        life: u32,
        bytes: Vec<u8>,
    },
    Refused {
        node: Id,
        life: u32,
        to: SocketAddr,
        length: usize,
    },
}

/// Nodes and what lies between them.
pub struct World {
    /// The condition of every link that has none of its own.
    pub net: Link,
    /// How long a name takes to be resolved.
    pub lookup: Duration,
    /// How long a beacon takes through a site.
    pub lan: Duration,
    seed: u64,
    chance: Chance,
    now: Instant,
    agenda: Agenda<Action>,
    timers: BTreeSet<(Instant, Id)>,
    members: Vec<Member>,
    network: Network,
    links: BTreeMap<(Id, Id), Link>,
    /// The directions whose link is in a burst of losses.
    bursts: BTreeSet<(Option<Id>, Option<Id>)>,
    names: BTreeMap<String, Vec<IpAddr>>,
    frames: Frames,
    /// Nodes whose TAPs are bridged to one local network, with the hosts behind them.
    bridge: Vec<Id>,
    probes: Vec<Vec<u8>>,
    flows: BTreeMap<(Id, SocketAddr), Flow>,
    invariants: Invariants,
    meddler: Option<Box<Meddler>>,
    /// Everything sent, where a story asked for it.
    captured: Option<Vec<Datagram>>,
    /// What strangers got.
    strangers: Vec<(Instant, Datagram)>,
    /// Something happened that a story may wait for.
    noted: bool,
    trace: u64,
    /// Counts allocations, where a test has an allocator that does.
    meter: Option<fn() -> u64>,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64) -> World {
        World {
            net: Link::default(),
            lookup: Duration::from_millis(30),
            lan: Duration::from_millis(1),
            seed,
            chance: Chance::new(seed),
            now: Instant::ZERO,
            agenda: Agenda::default(),
            timers: BTreeSet::new(),
            members: Vec::new(),
            network: Network::default(),
            links: BTreeMap::new(),
            bursts: BTreeSet::new(),
            names: BTreeMap::new(),
            frames: Frames::default(),
            bridge: Vec::new(),
            probes: Vec::new(),
            flows: BTreeMap::new(),
            invariants: Invariants::default(),
            meddler: None,
            captured: None,
            strangers: Vec::new(),
            noted: false,
            trace: 0,
            meter: None,
        }
    }

    // ---- building ----

    /// A node, started at once.
    pub fn add(&mut self, spec: NodeSpec) -> Id {
        let id = self.place(spec);
        self.start(id, false);
        id
    }

    /// A node with the identity of another, started at once.
    pub fn add_twin(&mut self, spec: NodeSpec, of: Id) -> Id {
        let id = self.place(spec);
        self.members[id.0].secret = self.members[of.0].secret;
        self.start(id, true);
        id
    }

    fn place(&mut self, mut spec: NodeSpec) -> Id {
        let id = Id(self.members.len());
        let [high, low] = u16::try_from(id.0).expect("fewer than 65536 nodes").to_be_bytes();
        if spec.addresses.is_empty() {
            spec.addresses.push((Ipv4Addr::new(198, 19, high, low), DEFAULT_PORT).into());
        }
        self.network.attach(id, spec.site, spec.addresses.clone());
        self.members.push(Member {
            spec,
            secret: [0; 32],
            name: ShortId([0; 8]),
            mac: Mac([2, 0, 0, 0, high, low]),
            life: 0,
            node: None,
            remembered: Vec::new(),
            out: pool::take(),
            due: None,
            ways: BTreeMap::new(),
            events: Vec::new(),
            allocations: 0,
            foreign: Vec::new(),
        });
        id
    }

    /// A site on the Internet behind a NAT, or behind another site's.
    pub fn site(&mut self, parent: Site, spec: NatSpec) -> Site {
        self.network.add_site(parent, spec)
    }

    /// A site's NAT, to change it.
    pub fn nat(&mut self, site: Site) -> &mut Nat {
        self.network.nat(site)
    }

    /// All sites but the Internet.
    pub fn sites(&self) -> Vec<Site> {
        self.network.sites()
    }

    /// A node's host tells it that its network changed.
    pub fn network_changed(&mut self, node: Id) {
        self.tell_addresses(node);
        self.input(node, None, |node, now, out| node.handle_network_change(now, out));
    }

    /// A site's NAT gets another outer address.
    pub fn readdress(&mut self, site: Site, external: IpAddr) {
        self.network.readdress(site, external);
    }

    /// From now on that name has these addresses.
    pub fn name(&mut self, name: &str, addresses: &[IpAddr]) {
        self.names.insert(name.into(), addresses.to_vec());
    }

    /// The link from `a` to `b`, with a condition of its own from now on.
    pub fn link(&mut self, a: Id, b: Id) -> &mut Link {
        self.links.entry((a, b)).or_insert_with(|| self.net.clone())
    }

    /// Changes the links between `a` and `b` in both directions.
    pub fn both(&mut self, a: Id, b: Id, change: impl Fn(&mut Link)) {
        change(self.link(a, b));
        change(self.link(b, a));
    }

    /// Nothing passes between these two groups any more.
    pub fn part(&mut self, some: &[Id], others: &[Id]) {
        for &a in some {
            for &b in others.iter().filter(|&&b| b != a) {
                self.both(a, b, |link| link.up = false);
            }
        }
    }

    /// All links are as `net` says again.
    pub fn heal(&mut self) {
        self.links.clear();
        self.bursts.clear();
    }

    /// The TAPs of these nodes are bridged to one local network from now on; those of others are not, any more. A frame
    /// may then come out several times at one node.
    pub fn bridge(&mut self, nodes: &[Id]) {
        self.bridge = nodes.to_vec();
    }

    /// A node has other addresses from now on, and is told so if `told`.
    pub fn move_to(&mut self, node: Id, site: Site, addresses: &[SocketAddr], told: bool) {
        self.network.attach(node, site, addresses.to_vec());
        if told {
            self.tell_addresses(node);
            self.input(node, None, |node, now, out| node.handle_network_change(now, out));
        }
    }

    /// A node learns what addresses its host has.
    fn tell_addresses(&mut self, id: Id) {
        let (site, addresses) = self.network.home(id);
        let member = &mut self.members[id.0];
        let Some(node) = &mut member.node else { return };
        node.handle_local_addresses(self.now, &addresses);
        let own = addresses.iter().find_map(|address| match address {
            SocketAddr::V4(own) => Some(*own),
            SocketAddr::V6(_) => None,
        });
        let gateway = self.network.gateway(site).map(|gateway| gateway.at);
        node.handle_gateway(self.now, own.zip(gateway), &mut member.out);
    }

    /// From now on allocations within nodes are counted by this.
    pub fn meter(&mut self, meter: fn() -> u64) {
        self.meter = Some(meter);
        self.members.iter_mut().for_each(|member| member.allocations = 0);
    }

    // ---- lives ----

    /// Starts a node that does not run, as itself or with a new key.
    pub fn start(&mut self, id: Id, keep_identity: bool) {
        let secret = if keep_identity { self.members[id.0].secret } else { self.chance.bytes() };
        let seed = self.chance.bytes();
        let member = &mut self.members[id.0];
        assert!(member.node.is_none(), "{id} runs already");
        member.secret = secret;
        member.name = short_id(secret);
        member.life += 1;
        let settings = member.spec.settings();
        let mut node = Node::new(&settings, &member.spec.network_key(), &secret, &seed, self.now);
        if let Some(key) = member.spec.next_key() {
            node.accept_next(&settings.network, &key);
        }
        if member.spec.remembers {
            node.remember(self.now, &member.remembered);
        }
        member.node = Some(node);
        self.tell_addresses(id);
        self.set_timer(id);
    }

    /// Ends a node with a goodbye.
    pub fn stop(&mut self, id: Id) {
        self.remember(id);
        self.input(id, None, |node, now, out| node.stop(now, out));
        self.end(id);
    }

    /// Ends a node without a word.
    pub fn crash(&mut self, id: Id) {
        self.remember(id);
        self.end(id);
    }

    fn remember(&mut self, id: Id) {
        let member = &mut self.members[id.0];
        if let Some(node) = &mut member.node {
            member.remembered = node.remembered().to_vec();
        }
    }

    fn end(&mut self, id: Id) {
        let member = &mut self.members[id.0];
        member.node = None;
        member.ways.clear();
        self.invariants.gone(id);
        self.set_timer(id);
    }

    /// Ends a node with a goodbye and starts it again, as itself, with other settings.
    pub fn reconfigure(&mut self, id: Id, change: impl FnOnce(&mut NodeSpec)) {
        self.stop(id);
        change(&mut self.members[id.0].spec);
        self.start(id, true);
    }

    /// Ends a node without a word and starts it again.
    pub fn restart(&mut self, id: Id, keep_identity: bool) {
        self.crash(id);
        self.start(id, keep_identity);
    }

    // ---- time ----

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Lets time pass until `wish` holds, at most `limit`; tells whether it holds. It is looked at only after
    /// steps in which a node told an event or a frame was delivered, and at the end.
    pub fn run_until(&mut self, limit: Duration, mut wish: impl FnMut(&World) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.noted = false;
            if wish(self) {
                return true;
            }
            while !self.noted {
                if !self.step(end) {
                    return wish(self);
                }
            }
        }
    }

    /// Does what is next, if it is due by `end`; else the clock stands at `end` and this is false.
    fn step(&mut self, end: Instant) -> bool {
        let action = self.agenda.next();
        let timer = self.timers.first().map(|&(at, _)| at.max(self.now));
        let timer_first = timer.is_some_and(|timer| action.is_none_or(|action| timer < action));
        let next = if timer_first { timer } else { action };
        let Some(next) = next.filter(|&next| next <= end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = next;
        if timer_first {
            let &(_, id) = self.timers.first().expect("it was looked at");
            self.input(id, None, |node, now, out| node.handle_timeout(now, out));
            self.invariants.after_timeout(id, self.now, self.members[id.0].due);
        } else if let Some(action) = self.agenda.pop() {
            self.act(action);
        }
        true
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Arrive { datagram, site } => self.arrive(site, datagram),
            Action::Answer(frame) => self.answer(frame),
            Action::Bridged { node, life, bytes } if self.members[node.0].life == life => {
                self.hear_on_bridge(node, &bytes);
            }
            Action::Resolved { node, life, host } if self.members[node.0].life == life => {
                let found = self.look_up(node, host);
                self.input(node, None, |node, now, out| node.handle_addresses(now, host, &found, out));
            }
            Action::Refused { node, life, to, length } if self.members[node.0].life == life => {
                self.input(node, None, |node, now, out| node.handle_too_long(now, to, length, out));
            }
            Action::Resolved { .. } | Action::Refused { .. } | Action::Bridged { .. } => {}
            Action::Beacon { site, from, bytes } => self.hear_beacon(site, from, &bytes),
        }
    }

    fn schedule(&mut self, after: Duration, action: Action) {
        self.agenda.push(self.now + after, action);
    }

    fn look_up(&self, node: Id, host: HostId) -> Vec<SocketAddr> {
        let host = &self.members[node.0].spec.hosts[usize::from(host.0)];
        let found = match host.name.parse() {
            Ok(literal) => vec![literal],
            Err(_) => self.names.get(&host.name).cloned().unwrap_or_default(),
        };
        found.into_iter().map(|ip| SocketAddr::new(ip, host.port)).collect()
    }

    fn set_timer(&mut self, id: Id) {
        let member = &mut self.members[id.0];
        if let Some(old) = member.due.take() {
            self.timers.remove(&(old, id));
        }
        member.due = member.node.as_ref().and_then(Node::next_timeout);
        if let Some(due) = member.due {
            self.timers.insert((due, id));
        }
    }
}

impl Drop for World {
    #[allow(clippy::print_stderr, reason = "a failed story tells how to see it again")]
    fn drop(&mut self) {
        self.members.drain(..).for_each(|member| pool::put(member.out));
        if std::thread::panicking() {
            eprintln!("the world with seed {} ended at {:?}", self.seed, self.now);
        }
    }
}

/// The name that a node with this secret has in events; computed apart from the core.
fn short_id(secret: [u8; 32]) -> ShortId {
    let public = x25519_dalek::x25519(secret, x25519_dalek::X25519_BASEPOINT_BYTES);
    ShortId(Sha256::digest(public)[..8].try_into().expect("8 bytes"))
}
