//! The way of datagrams and frames: out of a node, over links and NATs, into another, and what is seen of it.

use std::net::SocketAddr;

use peervpn::base::event::Event;
use peervpn::base::ids::Mac;
use peervpn::base::outbox::Outbox;
use peervpn::base::time::{Duration, Instant};
use peervpn::node::Node;
use peervpn::wire::ether::PROBE_GROUP;

use super::frames::{FrameId, destination};
use super::invariants::digest;
use super::link::HEADERS;
use super::network::End;
use super::{Action, Id, Site, World};

/// A datagram between two endpoints of one site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// The source as its receiver will see it, unless there is a NAT of the receiver's on the way.
    pub from: SocketAddr,
    /// The destination.
    pub to: SocketAddr,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// Sees every datagram that has left its sender's site, and says what goes on instead, in that order.
pub type Meddler = dyn FnMut(Datagram) -> Vec<Datagram>;

/// What a node sent to one endpoint.
#[derive(Clone, Copy, Default, Debug)]
pub struct Flow {
    /// How many datagrams.
    pub datagrams: u64,
    /// How many bytes, IPv4 and UDP headers included.
    pub bytes: u64,
}

impl World {
    // ---- what stories put in ----

    /// A frame of `length` bytes from the TAP of `node`.
    pub fn send_frame(&mut self, node: Id, to: Mac, from: Mac, length: usize) -> FrameId {
        let id = self.frames.make(node, self.now, to, from, length);
        self.put_on_tap(id);
        id
    }

    /// A frame from the MAC address of `a` to that of `b`, which is answered there if `echo`.
    pub fn send(&mut self, a: Id, b: Id, length: usize, echo: bool) -> FrameId {
        let id = self.frames.make(a, self.now, self.mac(b), self.mac(a), length);
        self.frames.get_mut(id).echo = echo;
        self.put_on_tap(id);
        id
    }

    /// A datagram that no node made, from an endpoint that may be invented. S2 holds for that endpoint from now on
    /// unless a node has it.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if !self.network.is_owned(from.ip()) {
            self.invariants.stranger_speaks(from);
        }
        let datagram = Datagram { from, to, bytes: bytes.to_vec() };
        self.schedule(self.net.delay, Action::Arrive { datagram, site: Site::INTERNET });
    }

    /// As [`World::inject`], but it is at `node` at once, whatever lies between: for floods.
    pub fn strike(&mut self, node: Id, from: SocketAddr, bytes: &[u8]) {
        if !self.network.is_owned(from.ip()) {
            self.invariants.stranger_speaks(from);
        }
        self.receive(node, from, bytes);
    }

    /// Any bytes as a frame from the TAP of `node`; what is longer than a packet's room is cut, as the kernel does.
    pub fn strike_tap(&mut self, node: Id, bytes: &[u8]) {
        self.input(node, None, |node, now, out| {
            let mut frame = out.blank().expect("all packets are at home");
            let room = frame.spare_mut().len();
            frame.append(&bytes[..bytes.len().min(room)]).expect("it was cut");
            node.handle_frame(now, frame, out);
        });
    }

    /// What comes to that stranger's address is kept for [`World::overheard`], and S2 holds for it.
    pub fn watch(&mut self, address: SocketAddr) {
        self.invariants.stranger_speaks(address);
        self.network.attach_stranger(address.ip());
    }

    /// What came to watched addresses.
    pub fn overheard(&self) -> &[(Instant, Datagram)] {
        &self.strangers
    }

    /// Everything that is sent passes through `meddler` from now on.
    pub fn meddle(&mut self, meddler: impl FnMut(Datagram) -> Vec<Datagram> + 'static) {
        self.meddler = Some(Box::new(meddler));
    }

    /// Nobody meddles any more.
    pub fn leave_alone(&mut self) {
        self.meddler = None;
    }

    /// Everything that is sent is kept from now on.
    pub fn capture(&mut self) {
        self.captured = Some(Vec::new());
    }

    /// What was kept; keeps on.
    pub fn captured(&mut self) -> Vec<Datagram> {
        self.captured.as_mut().map(std::mem::take).unwrap_or_default()
    }

    // ---- into a node and out again ----

    /// Gives a node something to do and carries off all that comes of it. `carries` is the frame it is about.
    pub(super) fn input(
        &mut self,
        id: Id,
        carries: Option<FrameId>,
        act: impl FnOnce(&mut Node, Instant, &mut Outbox),
    ) {
        let member = &mut self.members[id.0];
        let Some(node) = member.node.as_mut() else { return };
        let before = self.meter.map(|count| count());
        act(node, self.now, &mut member.out);
        if let (Some(count), Some(before)) = (self.meter, before) {
            member.allocations += count() - before;
        }
        self.drain(id, carries);
        self.invariants.after_input(id, &self.members[id.0].out);
        self.set_timer(id);
    }

    fn drain(&mut self, id: Id, carries: Option<FrameId>) {
        let n = id.0;
        while let Some((to, packet)) = self.members[n].out.next_datagram() {
            let bytes = packet.bytes().to_vec();
            self.members[n].out.recycle(packet);
            self.transmit(id, to, bytes, carries);
        }
        while let Some(frame) = self.members[n].out.next_frame() {
            let bytes = frame.bytes().to_vec();
            self.members[n].out.recycle(frame);
            self.deliver(id, &bytes);
        }
        while let Some(event) = self.members[n].out.next_event() {
            self.tell(id, event);
        }
    }

    fn put_on_tap(&mut self, id: FrameId) {
        let sent = self.frames.get(id);
        let (origin, bytes) = (sent.origin, sent.bytes.clone());
        self.put_on_bridge(origin, &bytes);
        self.input(origin, Some(id), |node, now, out| {
            let mut frame = out.blank().expect("all packets are at home");
            frame.append(&bytes).expect("stories send frames that fit");
            node.handle_frame(now, frame, out);
        });
    }

    // ---- datagrams ----

    fn transmit(&mut self, id: Id, to: SocketAddr, bytes: Vec<u8>, carries: Option<FrameId>) {
        // Nothing of the protocol's, but what the gateway and its hosts speak.
        if let Some(answer) = self.network.ask_gateway(self.now, id, to, &bytes) {
            let (site, _) = self.network.home(id);
            if let Some((asker, bytes)) = answer.filter(|_| !self.chance.hit(self.net.loss)) {
                let datagram = Datagram { from: to, to: asker, bytes };
                self.schedule(self.lan, Action::Arrive { datagram, site });
            }
            return;
        }
        let life = (id, self.members[id.0].life);
        self.invariants.datagram(life, to, &bytes);
        self.note(1, &[digest(&bytes), id.0 as u64]);
        let flow = self.flows.entry((id, to)).or_default();
        flow.datagrams += 1;
        flow.bytes += (bytes.len() + HEADERS) as u64;
        // The frame itself is in those datagrams that are long enough for it.
        let carries = carries.filter(|&frame| bytes.len() > self.frames.get(frame).bytes.len());
        if let Some(frame) = carries {
            self.frames.get_mut(frame).carriers += 1;
        }
        let departure = self.network.depart(self.now, id, to, &mut self.chance);
        let arrived = departure.is_some_and(|(site, from)| {
            let datagram = Datagram { from, to, bytes };
            if let Some(captured) = &mut self.captured {
                captured.push(datagram.clone());
            }
            self.launch(id, site, datagram)
        });
        if let (Some(frame), false) = (carries, arrived) {
            self.frames.get_mut(frame).lost += 1;
        }
    }

    /// Puts a datagram on its link; whether a copy as it was will arrive.
    fn launch(&mut self, id: Id, site: Site, datagram: Datagram) -> bool {
        let original = datagram.bytes.clone();
        let passing = match &mut self.meddler {
            Some(meddler) => meddler(datagram),
            None => vec![datagram],
        };
        let mut unharmed = false;
        for datagram in passing {
            let target = self.network.whose(site, datagram.from, datagram.to);
            let direction = (Some(id), target);
            let link = target.and_then(|target| self.links.get(&(id, target))).unwrap_or(&self.net);
            if link.refuses && link.is_too_long(&datagram.bytes) {
                let (life, to, length) = (self.members[id.0].life, datagram.to, datagram.bytes.len());
                self.schedule(Duration::ZERO, Action::Refused { node: id, life, to, length });
                continue;
            }
            let mut bad = self.bursts.contains(&direction);
            let copies = link.carry(&datagram.bytes, &mut bad, &mut self.chance);
            if bad {
                self.bursts.insert(direction);
            } else {
                self.bursts.remove(&direction);
            }
            for (delay, bytes) in copies {
                unharmed |= bytes == original;
                let datagram = Datagram { bytes, ..datagram.clone() };
                self.schedule(delay, Action::Arrive { datagram, site });
            }
        }
        unharmed
    }

    pub(super) fn arrive(&mut self, site: Site, datagram: Datagram) {
        let Datagram { from, to, bytes } = &datagram;
        match self.network.arrive(self.now, site, *from, *to) {
            Some(End::Node(id)) => self.receive(id, *from, bytes),
            Some(End::Stranger) => self.strangers.push((self.now, datagram)),
            None => {}
        }
    }

    fn receive(&mut self, id: Id, from: SocketAddr, bytes: &[u8]) {
        if self.members[id.0].node.is_none() {
            return;
        }
        self.note(2, &[digest(bytes), id.0 as u64]);
        self.invariants.stranger_is_heard(id, from, bytes.len());
        self.input(id, None, |node, now, out| {
            let mut packet = out.blank().expect("all packets are at home");
            // The kernel cuts what is longer than the buffer it is given; the daemon drops that.
            match packet.append(bytes) {
                Ok(()) => {
                    node.handle_datagram(now, from, packet, out);
                }
                Err(_) => out.recycle(packet),
            }
        });
    }

    // ---- local networks ----

    /// A node sends beacons to its site. The Internet is no local network.
    fn send_beacons(&mut self, id: Id) {
        let (site, addresses) = self.network.home(id);
        if site == Site::INTERNET {
            return;
        }
        for from in addresses {
            let beacon = self.members[id.0].node.as_ref().and_then(|node| node.beacon(from.ip()));
            if let Some(bytes) = beacon {
                let bytes = bytes.to_vec();
                self.schedule(self.lan, Action::Beacon { site, from, bytes });
            }
        }
    }

    /// A beacon comes to all of a site, its sender among them.
    pub fn hear_beacon(&mut self, site: Site, from: SocketAddr, bytes: &[u8]) {
        for id in self.nodes() {
            let (home, addresses) = self.network.home(id);
            if home == site && addresses.iter().any(|own| own.is_ipv4() == from.is_ipv4()) {
                self.input(id, None, |node, now, out| node.handle_beacon(now, from, bytes, out));
            }
        }
    }

    // ---- frames ----

    fn deliver(&mut self, id: Id, bytes: &[u8]) {
        self.note(3, &[digest(bytes), id.0 as u64]);
        self.noted = true;
        self.put_on_bridge(id, bytes);
        let Some(frame) = self.frames.recognise(bytes) else {
            if destination(bytes) == Some(PROBE_GROUP) {
                self.probes.extend(self.bridge.contains(&id).then(|| bytes.to_vec()));
            } else {
                self.members[id.0].foreign = bytes.to_vec();
            }
            return;
        };
        let spec = &self.members[id.0].spec;
        assert!(spec.tunneling, "{id} has no TAP and delivers {frame:?}");
        let sent = self.frames.get(frame);
        let origin = &self.members[sent.origin.0].spec;
        assert_eq!(bytes, sent.bytes, "{frame:?} came out changed at {id}");
        let bridged = !self.bridge.is_empty();
        assert!(bridged || sent.origin != id, "{frame:?} came back to {id}");
        assert!(origin.may_meet(spec), "{frame:?} is for other ears");
        let answer = sent.echo && destination(bytes) == Some(self.mac(id));
        let sent = self.frames.get_mut(frame);
        sent.copies += 1;
        let twice = sent.delivered.contains_key(&id);
        assert!(bridged || !twice, "{frame:?} came out twice at {id}");
        sent.delivered.entry(id).or_insert(self.now);
        if answer && !twice {
            self.schedule(Duration::ZERO, Action::Answer(frame));
        }
    }

    /// What is on the local network at one node's TAP is heard at the others' that are bridged to it.
    fn put_on_bridge(&mut self, from: Id, bytes: &[u8]) {
        if !self.bridge.contains(&from) {
            return;
        }
        for node in self.bridge.clone().into_iter().filter(|&node| node != from) {
            let life = self.members[node.0].life;
            self.schedule(self.lan, Action::Bridged { node, life, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn hear_on_bridge(&mut self, node: Id, bytes: &[u8]) {
        if let Some(frame) = self.frames.recognise(bytes) {
            self.frames.get_mut(frame).copies += 1;
        }
        self.strike_tap(node, bytes);
    }

    /// The host behind the receiver answers, as a host does to a ping.
    pub(super) fn answer(&mut self, question: FrameId) {
        let sent = self.frames.get(question).clone();
        let Some(id) = (0..self.members.len()).map(Id).find(|&id| self.mac(id) == sent.to()) else { return };
        let answer = self.frames.make(id, self.now, sent.from(), sent.to(), sent.bytes.len());
        self.frames.get_mut(answer).answers = Some(question);
        self.put_on_tap(answer);
    }

    // ---- events ----

    fn tell(&mut self, id: Id, event: Event) {
        self.noted = true;
        self.invariants.event(id, &event);
        let member = &mut self.members[id.0];
        match event {
            Event::PeerUp { peer, way } | Event::WayChanged { peer, way, .. } => {
                member.ways.insert(peer, way);
            }
            Event::PeerDown { peer, .. } => {
                member.ways.remove(&peer);
            }
            Event::Beacon => self.send_beacons(id),
            Event::Resolve(host) => {
                let life = member.life;
                self.schedule(self.lookup, Action::Resolved { node: id, life, host });
            }
            _ => {}
        }
        self.members[id.0].events.push((self.now, event));
    }

    fn note(&mut self, what: u64, values: &[u64]) {
        for value in [self.now.as_micros(), what].iter().chain(values) {
            self.trace = (self.trace ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }
}
