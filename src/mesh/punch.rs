//! Hole punching: two nodes behind NATs send to each other at the same time, so that each NAT takes what comes for an
//! answer. A third that has a direct path to both tells them where the other is and when to begin.
//!
//! ```text
//!   A                              C                              B
//!   |-- request (B, own places) -->|                              |
//!   |                              |-- punch (A, A's places) ---->|  begins to send to A
//!   |                              |<-- request, answer ----------|
//!   |<-- punch, answer ------------|                              |
//!   | begins to send to B
//! ```
//!
//! C puts first the address that it has proved itself. What the two send are challenges of their session, if they have one
//! through a relay, or else first messages. All of it is a hint like any other: it costs the budgets of `hints.rs` and changes
//! nothing that is known at first hand (S2, S11).

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::event::NatKind;
use crate::base::ids::{NodeId, PeerKey};
use crate::base::limits::{MEETINGS_BURST, MEETINGS_EVERY, PORTS_GUESSED, PUNCH_EVERY, PUNCHES};
use crate::base::outbox::Outbox;
use crate::base::time::{Bucket, Duration, Instant};
use crate::mesh::Mesh;
use crate::peer::path::Path;
use crate::wire::control::{Control, Endpoints, Meeting};

/// What is under way to open a way to one node, and what it asks of us.
pub struct Punch {
    /// What it said of its NAT.
    pub nat: NatKind,
    /// Where the third that told of it last sees it.
    seen: Option<SocketAddr>,
    /// Names our last request, whose answer is awaited.
    token: [u8; 8],
    asked: Option<Instant>,
    /// The slot of the third that was asked last, so that the next one differs.
    third: u16,
    /// When the volley began, and how much of it has gone.
    volley: Option<(Instant, usize)>,
    /// How many volleys there were in vain.
    volleys: u8,
    /// How many of its requests are passed on.
    requests: Bucket,
}

impl Punch {
    /// Nothing under way.
    pub fn new(now: Instant) -> Punch {
        Punch {
            nat: NatKind::Unknown,
            seen: None,
            token: [0; 8],
            asked: None,
            third: 0,
            volley: None,
            volleys: 0,
            requests: Bucket::new(MEETINGS_BURST, MEETINGS_EVERY, now),
        }
    }

    /// The network changed, or the node came back: nothing was in vain.
    pub(super) fn restart(&mut self) {
        self.asked = None;
        self.volley = None;
        self.volleys = 0;
    }

    /// When the next datagrams of the volley are due.
    pub fn next_timeout(&self) -> Option<Instant> {
        let (began, sent) = self.volley?;
        PUNCHES.get(sent).map(|after| began + Duration::from_millis(*after))
    }
}

impl Mesh {
    /// Asks a third to let `far` and us meet, unless that has just been done.
    pub(super) fn ask_to_meet(&mut self, now: Instant, far: PeerKey, out: &mut Outbox) {
        let Some(third) = self.choose_third(far) else { return };
        let token = self.random.bytes();
        let Some(member) = self.peers.get_mut(far) else { return };
        if member.punch.volley.is_some() || member.punch.asked.is_some_and(|at| now < at + PUNCH_EVERY) {
            return;
        }
        member.punch.asked = Some(now);
        member.punch.token = token;
        member.punch.third = third.slot;
        let node = member.peer.id();
        self.request(now, third, node, token, false, out);
    }

    /// Tells a peer that is reached directly where else we are, and asks where it is: there may be a better path.
    pub(super) fn compare_places(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        let token = self.random.bytes();
        let ours = self.id();
        let Some(member) = self.peers.get_mut(key) else { return };
        if member.punch.asked.is_some_and(|at| now < at + PUNCH_EVERY) {
            return;
        }
        member.punch.asked = Some(now);
        member.punch.token = token;
        let node = member.peer.id();
        debug_assert_ne!(node, ours);
        self.request(now, key, node, token, false, out);
    }

    fn request(
        &mut self,
        now: Instant,
        to: PeerKey,
        node: NodeId,
        token: [u8; 8],
        answer: bool,
        out: &mut Outbox,
    ) {
        let endpoints = self.own.endpoints(&self.peers, &self.hosts);
        let meeting = Meeting { answer, nat: self.nat(), token, node, endpoints };
        if let Err(why) = self.post_control(now, to, &Control::PunchRequest(meeting), out) {
            out.count(why);
        }
    }

    /// The next node, in the order of the table, that has a direct path to us and says that it has one to `far`.
    fn choose_third(&self, far: PeerKey) -> Option<PeerKey> {
        let last = self.peers.get(far)?.punch.third;
        let all = || {
            let fit = self.peers.iter().filter(|(key, member)| {
                let works = member.peer.is_up() && member.peer.direct().is_some();
                *key != far && works && member.news.reaches(far.slot)
            });
            fit.map(|(key, _)| key)
        };
        all().find(|key| key.slot > last).or_else(|| all().next())
    }

    /// `from` wants to meet a node, or us.
    pub(super) fn handle_punch_request(
        &mut self,
        now: Instant,
        from: PeerKey,
        request: &Meeting,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let ours = self.id();
        let member = self.peers.get_mut(from).ok_or(Discard::UnknownPeer)?;
        // S12: one in, one out, and not at any rate.
        if !member.punch.requests.take(now) {
            return Err(Discard::Throttled);
        }
        let node = member.peer.id();
        let place = member.peer.direct();
        let mut endpoints = Endpoints::default();
        place.into_iter().chain(request.endpoints.iter()).for_each(|address| endpoints.append(address));
        let meeting = Meeting { node, endpoints, ..*request };
        if request.node == ours {
            return self.meet(now, from, from, &meeting, out);
        }
        let to = self.peers.find(&request.node).filter(|to| *to != from).ok_or(Discard::UnknownPeer)?;
        let reached = self.peers.get(to).is_some_and(|m| m.peer.is_up() && m.peer.direct().is_some());
        if place.is_none() || !reached {
            return Err(Discard::NoRoute);
        }
        self.post_control(now, to, &Control::Punch(meeting), out)
    }

    /// `from` tells where another node is that wants to meet us, or that we wanted to meet.
    pub(super) fn handle_punch(
        &mut self,
        now: Instant,
        from: PeerKey,
        punch: &Meeting,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let third = self.peers.get_mut(from).ok_or(Discard::UnknownPeer)?;
        // S11: a third brings us to a limited number of volleys, and none by an answer that nobody waits for.
        if third.peer.direct().is_none() || !third.punch.requests.take(now) {
            return Err(Discard::Throttled);
        }
        let far = self.know(now, punch.node)?;
        if far == from {
            return Err(Discard::Unexpected);
        }
        self.meet(now, from, far, punch, out)
    }

    fn meet(
        &mut self,
        now: Instant,
        by: PeerKey,
        far: PeerKey,
        punch: &Meeting,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let mut named = Endpoints::default();
        for address in punch.endpoints.iter() {
            if !self.own.allows(address) {
                continue;
            }
            self.note_family(far, address);
            if self.own.has_family(address) {
                named.append(address);
            }
        }
        let member = self.peers.get_mut(far).ok_or(Discard::UnknownPeer)?;
        if punch.answer && (member.punch.asked.is_none() || member.punch.token != punch.token) {
            return Err(Discard::Unexpected);
        }
        member.punch.nat = punch.nat;
        member.punch.seen = named.iter().next();
        member.peer.name_endpoints(now, named);
        let settled = member.peer.direct().is_some() && !member.peer.is_doubtful();
        if !settled && member.punch.volley.is_none() {
            member.punch.volley = Some((now, 0));
            member.punch.volleys = member.punch.volleys.saturating_add(1);
        }
        self.wake(now);
        if !punch.answer {
            let node = punch.node;
            self.request(now, by, node, punch.token, true, out);
        }
        self.volley(now, far, out);
        Ok(())
    }

    /// Sends to `far` what is due of the volley.
    pub(super) fn volley(&mut self, now: Instant, far: PeerKey, out: &mut Outbox) {
        let Some(member) = self.peers.get_mut(far) else { return };
        if member.punch.next_timeout().is_none_or(|at| at > now) {
            return;
        }
        let settled = member.peer.direct().is_some() && !member.peer.is_doubtful();
        let Some((began, sent)) = member.punch.volley.take().filter(|_| !settled) else { return };
        if sent + 1 < PUNCHES.len() {
            member.punch.volley = Some((began, sent + 1));
        }
        if member.peer.is_up() {
            self.punch_with_challenges(now, far, sent, out);
        } else if let Err(why) = self.punch_with_hello(now, far, sent, out) {
            out.count(why);
        }
        if let Some(at) = self.peers.get(far).and_then(|member| member.punch.next_timeout()) {
            self.wake(at);
        }
    }

    fn punch_with_challenges(&mut self, now: Instant, far: PeerKey, sent: usize, out: &mut Outbox) {
        let secret = self.random.bytes();
        let Some(member) = self.peers.get_mut(far) else { return };
        if sent == 0 {
            member.peer.ask(now, secret);
        } else {
            member.peer.ask_again();
        }
        self.challenge_places(now, far, out);
        if sent == 0 {
            self.guess_ports(now, far, out);
        }
    }

    /// Without a session: the first message of the try at hand, again and again; it is the same for each address.
    fn punch_with_hello(
        &mut self,
        now: Instant,
        far: PeerKey,
        sent: usize,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let Some(member) = self.peers.get_mut(far) else { return Ok(()) };
        let message = match member.dial.latest() {
            Some(latest) if sent > 0 => *latest.state.message(),
            // The pauses go on growing: others bring this about.
            _ if member.dial.is_active() => {
                member.dial.wait(now);
                return self.dial_peer(now, far, out);
            }
            _ => {
                member.dial.start(now);
                return self.dial_peer(now, far, out);
            }
        };
        let places = *member.peer.endpoints();
        for address in places.iter() {
            if places.proved.has(address) || self.hints.take(now, address.ip()) {
                if let Some(member) = self.peers.get_mut(far) {
                    member.dial.sent(Path::Direct(address));
                }
                self.send_bytes(now, Path::Direct(address), &message, out);
            }
        }
        Ok(())
    }

    /// Their NAT gives each peer another port, and ours does not: opens ours for the ports that may come next.
    fn guess_ports(&mut self, now: Instant, far: PeerKey, out: &mut Outbox) {
        let Some(member) = self.peers.get(far) else { return };
        let guess = member.punch.volleys > 1 && member.punch.nat == NatKind::Symmetric;
        let seen = member.punch.seen.filter(SocketAddr::is_ipv4);
        let Some(seen) = seen.filter(|_| guess && self.nat() != NatKind::Symmetric) else { return };
        if !self.hints.take_row(now, seen.ip()) {
            return;
        }
        for port in (1..=PORTS_GUESSED).filter_map(|n| seen.port().checked_add(n)) {
            self.put_question(now, far, Path::Direct(SocketAddr::new(seen.ip(), port)), out);
        }
    }
}
