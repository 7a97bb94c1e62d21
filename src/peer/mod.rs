//! Floor 2: one remote node: its sessions, the path to it, and what has to be done for them when.
//!
//! A [`Peer`] seals and opens packets and says by [`Peer::poll`] what is due; `mesh/` does it, since that
//! takes randomness, packets and other peers.
#![forbid(unsafe_code)]

pub mod due;
pub mod fragment;
pub mod handshake;
pub mod mtu;
pub mod pace;
pub mod path;
pub mod question;
pub mod rank;
pub mod replay;
mod route;
pub mod session;
pub mod sessions;

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::ids::{CircuitId, NodeId, SessionIndex, ShortId};
use crate::base::limits::{CONFIRM_EVERY, CONFIRM_LIFE, FIRST_PAUSE, UPGRADE_MAX};
use crate::base::packet::Packet;
use crate::base::time::{Backoff, Duration, Instant};
use crate::crypto::macs::{Due, Foreseen};
use crate::peer::mtu::Mtus;
use crate::peer::pace::Pace;
use crate::peer::path::{Candidate, Liveness, Path, Places};
use crate::peer::question::Questions;
use crate::peer::rank::RoundTrip;
use crate::peer::session::Traffic;
use crate::peer::sessions::{Link, Sessions};
use crate::wire::envelope::Kind;
use crate::wire::hello::{Capabilities, HELLO3};

/// A third handshake message that is repeated until the peer shows that it has the key.
struct Confirm {
    index: SessionIndex,
    message: [u8; HELLO3],
    by: Option<Path>,
    next: Instant,
    until: Instant,
}

/// The third handshake message, as the initiator sends it.
#[derive(Clone, Copy)]
pub struct Hello3ToRepeat {
    /// Its bytes.
    pub message: [u8; HELLO3],
    /// By what path it goes; none for inside the session in use.
    pub by: Option<Path>,
    /// Whether it may be sent again before the peer has proved that it is there.
    pub again: bool,
}

/// How far it is with the first round trip of the path in use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Metering {
    /// Nobody has used the path.
    Idle,
    /// It is to be asked for.
    Wanted,
    /// It was.
    Asked,
}

/// One remote node.
pub struct Peer {
    id: NodeId,
    short: ShortId,
    /// Whether our key is the smaller one.
    leads: bool,
    capabilities: Capabilities,
    sessions: Sessions,
    confirm: Option<Confirm>,
    path: Option<Path>,
    lost_since: Option<Instant>,
    path_heard: Instant,
    candidate: Option<Candidate>,
    live: Liveness,
    mtus: Mtus,
    questions: Questions,
    rtt: Option<RoundTrip>,
    /// Nothing came by the path in use though it was asked: another will do.
    doubt: bool,
    /// Whether nothing came any more by the path before the one in use.
    left_silence: bool,
    /// Where the peer might be reached directly.
    endpoints: Places,
    try_direct: Option<Instant>,
    direct_pause: Backoff,
    /// How often paths were compared since there is something new to compare.
    compared: u8,
    /// Whether a frame was carried since then.
    busy: bool,
    rekeying: bool,
    /// The path that [`Action::Moved`] told of last.
    told_path: Option<Path>,
    /// The path in use is to be challenged whether or not it is time.
    ask_now: bool,
    /// Whether the round trip of the path in use is asked for, which the first frame does.
    metering: Metering,
    up_since: Option<Instant>,
    attention: bool,
}

impl Peer {
    /// A node that is known, without a session. `leads` tells whether our key is the smaller one.
    pub fn new(now: Instant, id: NodeId, short: ShortId, leads: bool) -> Peer {
        Peer {
            id,
            short,
            leads,
            capabilities: Capabilities::default(),
            sessions: Sessions::default(),
            confirm: None,
            path: None,
            lost_since: None,
            path_heard: now,
            candidate: None,
            live: Liveness::new(now, Pace::new(now, leads)),
            mtus: Mtus::new(),
            questions: Questions::default(),
            rtt: None,
            doubt: false,
            left_silence: false,
            endpoints: Places::default(),
            try_direct: None,
            direct_pause: Backoff::new(FIRST_PAUSE, UPGRADE_MAX),
            compared: 0,
            busy: false,
            rekeying: false,
            told_path: None,
            ask_now: false,
            metering: Metering::Idle,
            up_since: None,
            attention: false,
        }
    }

    /// Its identity.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Its identity, short.
    pub fn short(&self) -> ShortId {
        self.short
    }

    /// What it said it can do.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Since when there has been a session without a break.
    pub fn up_since(&self) -> Option<Instant> {
        self.up_since
    }

    /// Whether there is a session to seal under.
    pub fn is_up(&self) -> bool {
        self.sessions.any()
    }

    /// The path in use.
    pub fn path(&self) -> Option<Path> {
        self.path
    }

    /// Its address, when the path is direct and works.
    pub fn direct(&self) -> Option<SocketAddr> {
        self.address().filter(|_| !self.is_lost())
    }

    fn address(&self) -> Option<SocketAddr> {
        match self.path {
            Some(Path::Direct(address)) => Some(address),
            _ => None,
        }
    }

    /// Whether the path in use is dead. Packets still take it while there is no better one.
    pub fn is_lost(&self) -> bool {
        self.lost_since.is_some()
    }

    /// Whether a handshake for a new key is under way.
    pub fn is_rekeying(&self) -> bool {
        self.rekeying
    }

    /// Whether it takes part: a session and a path.
    pub fn is_reachable(&self) -> bool {
        self.is_up() && self.path.is_some()
    }

    /// The last measured round trip on the path in use.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt.map(|rtt| rtt.last)
    }

    /// When it was last heard.
    pub fn last_heard(&self) -> Instant {
        self.live.last_heard()
    }

    /// The sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// What all sessions carried.
    pub fn traffic(&self) -> Traffic {
        self.sessions.traffic()
    }

    /// Where it might be reached directly.
    pub fn endpoints(&self) -> &Places {
        &self.endpoints
    }

    // ---- sessions ----

    /// Takes in a session made by a handshake. `path` is how the peer is proved to be reached by it; none leaves the path as it
    /// is: the handshake went on inside the session in use, or its last message came from an unproved address. The initiator hands in the third message, to be repeated until the peer confirms the key.
    pub fn install(
        &mut self,
        now: Instant,
        link: Link,
        capabilities: Capabilities,
        path: Option<Path>,
        hello3: Option<Hello3ToRepeat>,
        freed: &mut dyn FnMut(SessionIndex),
    ) {
        if let Some(Hello3ToRepeat { message, by, again }) = hello3 {
            let until = now + CONFIRM_LIFE;
            let next = if again { now + CONFIRM_EVERY } else { until };
            self.confirm = Some(Confirm { index: link.session.local(), message, by, next, until });
        }
        self.capabilities = capabilities;
        self.rekeying = false;
        self.sessions.install(now, link, self.leads, freed);
        if self.up_since.is_none() {
            self.up_since = Some(now);
            self.live = Liveness::new(now, Pace::new(now, self.leads));
        }
        self.live.heard(now, false);
        self.live.pace().reset_theirs();
        if let Some(path) = path {
            self.take_path(now, path);
        } else if self.path.is_none() {
            // Until a challenge proves where it is; if none does, it is given up like any other without a path.
            self.lost_since = None;
            self.lose_path(now);
        }
        self.attention = true;
    }

    /// The third message that the peer has yet to answer, and by what path it goes.
    pub fn unconfirmed(&self) -> Option<(&[u8; HELLO3], Option<Path>)> {
        self.confirm.as_ref().map(|confirm| (&confirm.message, confirm.by))
    }

    /// Seals what is in `packet` under the session in use. The tag may be owed to `due`.
    pub fn seal(
        &mut self,
        now: Instant,
        kind: Kind,
        packet: &mut Packet,
        due: Option<&mut Due>,
    ) -> Result<(), Discard> {
        let session = self.sessions.current_mut().ok_or(Discard::NoSession)?;
        let sealed = session.seal_owing(now, kind, packet, due);
        self.watch_key(now);
        sealed?;
        let is_data = matches!(kind, Kind::Frame | Kind::Fragment);
        self.note_use(now, is_data);
        self.live.sent(now, is_data || kind == Kind::Challenge);
        Ok(())
    }

    /// Opens a packet that came by `from` for the session of that index; its payload is left in `packet`.
    pub fn open(
        &mut self,
        now: Instant,
        index: SessionIndex,
        from: Path,
        packet: &mut Packet,
        foreseen: &Foreseen,
        freed: &mut dyn FnMut(SessionIndex),
    ) -> Result<Kind, Discard> {
        let length = packet.len();
        let kind = self.sessions.open(now, index, packet, foreseen, freed)?;
        self.watch_key(now);
        if self.confirm.as_ref().is_some_and(|confirm| confirm.index == index) {
            self.confirm = None;
        }
        self.note_use(now, matches!(kind, Kind::Frame | Kind::Fragment));
        // A challenge is a question whether this is a path, and no sign that it is one for the peer.
        if kind == Kind::Challenge && self.path == Some(from) {
            self.live.heard(now, true);
        } else {
            self.heard(now, from, length);
        }
        Ok(kind)
    }

    /// Notes a packet that is what the tunnel is for, or not. The first on a path has it measured: an idle one costs nothing.
    fn note_use(&mut self, now: Instant, is_data: bool) {
        if !is_data {
            return;
        }
        self.busy = true;
        self.live.pace().used(now);
        if self.metering == Metering::Idle {
            self.metering = Metering::Wanted;
            self.attention = true;
        }
    }

    /// A packet may have brought the time for a new key forward: the first frame after a long idle time does.
    fn watch_key(&mut self, now: Instant) {
        let due = self.sessions.rekey_at().is_some_and(|at| at <= now);
        self.attention |= due && !self.rekeying;
    }

    /// Puts this peer's relay header in front of a packet that is to go through it. Its MAC may be owed to `due`.
    pub fn wrap(
        &mut self,
        now: Instant,
        circuit: CircuitId,
        packet: &mut Packet,
        due: &mut Due,
    ) -> Result<(), Discard> {
        let session = self.sessions.current_mut().ok_or(Discard::NoSession)?;
        session.wrap_owing(circuit, packet, Some(due))?;
        self.live.sent(now, true);
        Ok(())
    }

    /// Takes this peer's relay header off a packet that came by `from` for the session of that index. Returns the number
    /// that it came under.
    pub fn unwrap(
        &mut self,
        now: Instant,
        index: SessionIndex,
        from: Path,
        packet: &mut Packet,
        foreseen: &Foreseen,
    ) -> Result<CircuitId, Discard> {
        let length = packet.len();
        let session = self.sessions.by_index(index).ok_or(Discard::UnknownIndex)?;
        let circuit = session.unwrap_foreseen(packet, foreseen)?;
        self.heard(now, from, length);
        Ok(circuit)
    }

    /// Ends the session of that index, as the peer said goodbye under it.
    pub fn close(&mut self, index: SessionIndex, freed: &mut dyn FnMut(SessionIndex)) {
        self.sessions.end(index, freed);
        self.attention = true;
    }

    /// Ends all sessions and forgets what belonged to them.
    pub fn shut(&mut self, freed: &mut dyn FnMut(SessionIndex)) {
        if let Some(address) = self.address() {
            self.endpoints.proved.add(address);
        }
        self.sessions.clear(freed);
        self.confirm = None;
        self.path = None;
        self.told_path = None;
        self.lost_since = None;
        self.candidate = None;
        self.mtus.clear();
        self.questions = Questions::default();
        self.rtt = None;
        self.doubt = false;
        self.try_direct = None;
        self.rekeying = false;
        self.up_since = None;
    }

    /// The handshake for a new key came to nothing; another may be begun.
    pub fn rekey_failed(&mut self) {
        self.rekeying = false;
    }

    // ---- what fits ----

    /// The longest payload that one packet to the peer carries; one of `length` bytes is about to be sent.
    pub fn room_for(&mut self, now: Instant, length: usize) -> usize {
        self.attention |= self.mtus.sends(now, length, self.live.last_heard());
        self.mtus.room()
    }

    /// The longest payload that one packet will carry, most likely; somebody wants to know.
    pub fn expected_room(&mut self, now: Instant) -> usize {
        self.attention |= self.mtus.asked(now);
        self.mtus.expected_room()
    }

    /// The MTU of the path in use, in bytes of an IP packet, as far as it is proved.
    pub fn mtu(&self) -> Option<usize> {
        self.mtus.mtu().filter(|_| self.path.is_some())
    }

    /// The probe of that number came through.
    pub fn probe_answered(&mut self, now: Instant, number: u64) {
        self.attention |= self.mtus.answered(now, number);
    }

    /// The kernel refused a datagram of that length on the path in use.
    pub fn too_long(&mut self, now: Instant, length: usize) {
        self.attention |= self.mtus.too_long(now, length);
    }

    // ---- time ----

    /// Whether something may have become due without time passing; asking clears it.
    pub fn take_attention(&mut self) -> bool {
        core::mem::take(&mut self.attention)
    }
}
