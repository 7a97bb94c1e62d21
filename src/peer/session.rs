//! One session: one pair of keys with its counters, its windows and its times.
//!
//! Rules kept here:
//!
//! - A counter is given out once; at the end of the counters sealing is refused, nothing wraps (S5).
//! - A packet is checked for length, index, counter, MAC, in this order; only then is its counter marked
//!   and it is decrypted. What fails leaves window and session as they were (S6).
//! - A key serves frames for a limited time, everything else for an hour:
//!
//! ```text
//!  start       first frame, either way    120 / 150 s      180 s      195 s            3300 s      3600 s
//!    |----------------|----------------------|---------------|----------|--- ... --------|-----------|
//!    |                |                  rekey begins   frames not   frames not     rekey begins    end
//!    |                |                                 sealed       accepted       when idle
//! ```
//!
//! Without a frame nobody asks for a new key, so a first frame that comes late must not meet a key that is
//! too old for it: **frames are sealed for 180 s after the start and never less than 30 s after the first
//! frame**, within which the rekey that it causes has its time. The two ends need no common clock for
//! that. Whoever seals counts from the first frame it sealed or opened, whoever opens counts from the
//! first frame it opened and adds 15 s. A frame is sealed before it is opened, so the opener's time begins
//! later than the sealer's and ends later, by more than a packet is on its way.

use crate::base::discard::Discard;
use crate::base::ids::{CircuitId, SessionIndex, Suite};
use crate::base::limits::{
    ACCEPT_GRACE, COUNTER_MAX, FRAMES_UNTIL, IDLE_GRACE, LOSS_SAMPLE, REKEY_AFTER_PACKETS, REKEY_INITIATOR,
    REKEY_RESPONDER, REKEY_YIELD, RELAY_FRONT, SEAL_BACK, SEAL_FRONT, SESSION_RENEWAL, SESSION_UNTIL,
};
use crate::base::packet::Packet;
use crate::base::time::{Duration, Instant};
use crate::crypto::macs::{Ahead, Due, Foreseen};
use crate::crypto::schedule::SessionKeys;
use crate::crypto::suite::{HopKey, OpenKey, SealKey};
use crate::peer::replay::{HopWindow, SessionWindow};
use crate::wire::envelope::{Header, Kind, SEALED_HEADER, split_relayed};

/// Which side of the handshake this node was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It sent the first message, and asks for the next key first.
    Initiator,
    /// It answered.
    Responder,
}

/// What one direction of a session has carried. A fragment counts as a frame.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Carried {
    /// Frames and fragments.
    pub frames: u64,
    /// Their bytes, envelopes not counted.
    pub bytes: u64,
}

/// What a session has carried both ways.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Traffic {
    /// From us to the peer.
    pub sealed: Carried,
    /// From the peer to us.
    pub opened: Carried,
}

impl Traffic {
    /// Adds what another session carried.
    pub fn add(&mut self, other: Traffic) {
        self.sealed.join(other.sealed);
        self.opened.join(other.opened);
    }
}

impl Carried {
    fn join(&mut self, other: Carried) {
        self.frames += other.frames;
        self.bytes += other.bytes;
    }
}

/// One session under one pair of keys.
pub struct Session {
    local: SessionIndex,
    remote: SessionIndex,
    role: Role,
    suite: Suite,
    life: Life,
    traffic: Traffic,
    seal: SealKey,
    open: OpenKey,
    /// The counter of the next packet sealed.
    next: u64,
    window: SessionWindow,
    hop_seal: HopKey,
    hop_open: HopKey,
    /// The counter of the next packet wrapped.
    hop_next: u64,
    hop_window: HopWindow,
}

impl Session {
    /// A session that begins at `now`. Packets to us carry the index `local`, packets to the peer `remote`.
    /// `rekey_jitter` is how much before its time an initiator rekeys.
    pub fn new(
        now: Instant,
        keys: &SessionKeys,
        role: Role,
        local: SessionIndex,
        remote: SessionIndex,
        rekey_jitter: Duration,
    ) -> Session {
        Session {
            local,
            remote,
            role,
            suite: keys.seal.suite,
            life: Life::new(now, role, rekey_jitter),
            traffic: Traffic::default(),
            seal: SealKey::new(&keys.seal),
            open: OpenKey::new(&keys.open),
            next: 0,
            window: SessionWindow::default(),
            hop_seal: HopKey::new(&keys.seal.hop),
            hop_open: HopKey::new(&keys.open.hop),
            hop_next: 0,
            hop_window: HopWindow::default(),
        }
    }

    /// Seals the packet's bytes as the payload of that kind: header and kind come in front, the tag behind.
    ///
    /// [`Discard::Expired`] when the key is too old for that kind or its counters are used up,
    /// [`Discard::TooLong`] when the packet has no room. The packet is as it was then.
    pub fn seal(&mut self, now: Instant, kind: Kind, packet: &mut Packet) -> Result<(), Discard> {
        self.seal_owing(now, kind, packet, None)
    }

    /// The same, but the packet may owe its tag to `due`.
    pub fn seal_owing(
        &mut self,
        now: Instant,
        kind: Kind,
        packet: &mut Packet,
        due: Option<&mut Due>,
    ) -> Result<(), Discard> {
        self.life.may_seal(now, kind)?;
        let counter = take(&mut self.next)?;
        let length = packet.len();
        widen(packet, SEAL_FRONT, SEAL_BACK)?;
        let bytes = packet.bytes_mut();
        Header { index: self.remote, counter }.write_sealed(bytes);
        bytes[SEALED_HEADER] = kind as u8;
        let ticket = self.seal.seal(counter, bytes, due)?;
        packet.owe_tag(ticket);
        if carries_data(kind) {
            self.life.sealed_data(now);
            self.traffic.sealed.add(length);
        }
        Ok(())
    }

    /// Opens a packet that begins with a sealed header; its bytes are the payload afterwards.
    ///
    /// [`Discard::Truncated`], [`Discard::UnknownIndex`], [`Discard::Replayed`], [`Discard::Forged`] change
    /// nothing. An authentic packet is refused with [`Discard::Expired`] when it comes too late for its
    /// kind, with [`Discard::Malformed`] when its kind is unknown.
    pub fn open(&mut self, now: Instant, packet: &mut Packet) -> Result<Kind, Discard> {
        self.open_foreseen(now, packet, &Foreseen::NOTHING)
    }

    /// The same; the tag may have been computed ahead.
    pub fn open_foreseen(
        &mut self,
        now: Instant,
        packet: &mut Packet,
        foreseen: &Foreseen,
    ) -> Result<Kind, Discard> {
        let header = self.acceptable(now, packet.bytes())?;
        self.open.open(header.counter, packet.bytes_mut(), foreseen.tag(self.local))?;
        self.window.mark(header.counter);
        let kind = Kind::from_byte(packet.bytes()[SEALED_HEADER])?;
        packet.pull_front(SEAL_FRONT)?;
        packet.pull_back(SEAL_BACK)?;
        if carries_data(kind) {
            self.life.opened_data(now)?;
            self.traffic.opened.add(packet.len());
        }
        Ok(kind)
    }

    /// All that is checked before the tag.
    fn acceptable(&self, now: Instant, packet: &[u8]) -> Result<Header, Discard> {
        let header = Header::of_sealed(packet)?;
        if header.index != self.local {
            return Err(Discard::UnknownIndex);
        }
        self.life.may_open(now)?;
        self.window.acceptable(header.counter)?;
        Ok(header)
    }

    /// Puts on `ahead` what will decide about a sealed packet, unless that is decided without. The packet is, or is
    /// inside, the datagram of that number.
    pub fn look_ahead<'a>(&'a self, now: Instant, datagram: usize, packet: &'a [u8], ahead: &mut Ahead<'a>) {
        if self.acceptable(now, packet).is_ok() {
            ahead.tag(datagram, self.local, &self.open, packet);
        }
    }

    /// Puts a relay header in front of a whole packet, for the peer of this session to pass on.
    ///
    /// [`Discard::Expired`] when the hop counters are used up, [`Discard::Truncated`] for nothing to wrap,
    /// [`Discard::TooLong`] when the packet has no room. The packet is as it was then.
    pub fn wrap(&mut self, circuit: CircuitId, packet: &mut Packet) -> Result<(), Discard> {
        self.wrap_owing(circuit, packet, None)
    }

    /// The same, but the packet may owe the header's MAC to `due`, which it must if it owes its tag.
    pub fn wrap_owing(
        &mut self,
        circuit: CircuitId,
        packet: &mut Packet,
        due: Option<&mut Due>,
    ) -> Result<(), Discard> {
        if packet.is_empty() {
            return Err(Discard::Truncated);
        }
        let ticket = due.and_then(|due| self.hop_seal.owe(due));
        if packet.owes() && ticket.is_none() {
            return Err(Discard::NoRoom);
        }
        let counter = take(&mut self.hop_next)?;
        widen(packet, RELAY_FRONT, 0)?;
        let bytes = packet.bytes_mut();
        Header { index: self.remote, counter }.write_relayed(circuit, bytes);
        packet.owe_hop(ticket);
        if ticket.is_none() {
            let (head, mac, inner) = split_relayed(packet.bytes_mut());
            mac.copy_from_slice(&self.hop_seal.mac(head, inner));
        }
        Ok(())
    }

    /// Checks a packet that begins with a relay header and takes the header off: what is left is the packet
    /// inside, of which only the first bytes have been checked.
    ///
    /// Refuses as [`Session::open`] does, in the same order; what is refused changes nothing.
    pub fn unwrap(&mut self, packet: &mut Packet) -> Result<CircuitId, Discard> {
        self.unwrap_foreseen(packet, &Foreseen::NOTHING)
    }

    /// The same; the MAC of the header may have been computed ahead.
    pub fn unwrap_foreseen(
        &mut self,
        packet: &mut Packet,
        foreseen: &Foreseen,
    ) -> Result<CircuitId, Discard> {
        let (header, circuit) = self.hop_acceptable(packet.bytes())?;
        let (head, mac, inner) = split_relayed(packet.bytes_mut());
        self.hop_open.check(head, mac, inner, foreseen.hop(self.local))?;
        self.hop_window.mark(header.counter);
        packet.pull_front(RELAY_FRONT)?;
        Ok(circuit)
    }

    /// All that is checked before the MAC of a relay header.
    fn hop_acceptable(&self, packet: &[u8]) -> Result<(Header, CircuitId), Discard> {
        let (header, circuit) = Header::of_relayed(packet)?;
        if header.index != self.local {
            return Err(Discard::UnknownIndex);
        }
        self.hop_window.acceptable(header.counter)?;
        Ok((header, circuit))
    }

    /// Puts on `ahead` what will decide about a relay header, unless that is decided without.
    pub fn look_ahead_hop<'a>(&'a self, datagram: usize, packet: &[u8], ahead: &mut Ahead<'a>) {
        if self.hop_acceptable(packet).is_ok() {
            ahead.hop(datagram, self.local, &self.hop_open, packet);
        }
    }

    /// Our name for the session, which packets to us carry.
    pub fn local(&self) -> SessionIndex {
        self.local
    }

    /// The peer's name for it.
    pub fn remote(&self) -> SessionIndex {
        self.remote
    }

    /// Which side of the handshake we were.
    pub fn role(&self) -> Role {
        self.role
    }

    /// How its packets are sealed.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// When it began.
    pub fn established_at(&self) -> Instant {
        self.life.established
    }

    /// When this side should begin a rekey. The first frame sealed or opened brings it forward, as does a very great
    /// number of packets: ask again after either. It stays in the past from then on.
    pub fn rekey_at(&self) -> Instant {
        if self.next.max(self.hop_next) >= REKEY_AFTER_PACKETS {
            return self.life.established;
        }
        self.life.rekey
    }

    /// When the session is of no use any more and may be dropped.
    pub fn ends_at(&self) -> Instant {
        self.life.end
    }

    /// How many of the last packets to us never came, or are late, in thousandths: of the about 4000 that the window knows.
    /// None while there were too few of them to say.
    pub fn loss(&self) -> Option<u32> {
        let (came, all) = self.window.seen();
        (all >= LOSS_SAMPLE).then(|| (all - came.min(all)) * 1000 / all)
    }

    /// What it has carried.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }
}

/// Whether packets of that kind are what the tunnel is for.
fn carries_data(kind: Kind) -> bool {
    matches!(kind, Kind::Frame | Kind::Fragment)
}

/// The next counter, once.
fn take(next: &mut u64) -> Result<u64, Discard> {
    if *next >= COUNTER_MAX {
        return Err(Discard::Expired);
    }
    *next += 1;
    Ok(*next - 1)
}

/// Takes bytes at both ends into use, or none.
fn widen(packet: &mut Packet, front: usize, back: usize) -> Result<(), Discard> {
    packet.push_back(back)?;
    if let Err(why) = packet.push_front(front) {
        packet.pull_back(back)?;
        return Err(why);
    }
    Ok(())
}

impl Carried {
    fn add(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }
}

/// The deadlines of a session. They are computed when something happens for the first time, so that a
/// packet costs comparisons only.
struct Life {
    established: Instant,
    /// Nothing is sealed from here on.
    seal_until: Instant,
    /// Nor frames from here on; the same until a frame was carried.
    seal_frames_until: Instant,
    /// Nothing is accepted from here on.
    end: Instant,
    /// Nor frames from here on; the same until a frame was opened.
    open_frames_until: Instant,
    /// When this side rekeys.
    rekey: Instant,
    /// When this side rekeys once data is carried.
    rekey_busy: Instant,
    /// A frame was sealed or opened.
    carried: bool,
    /// A frame was opened.
    opened: bool,
}

impl Life {
    fn new(now: Instant, role: Role, jitter: Duration) -> Life {
        let idle = SESSION_UNTIL.saturating_sub(SESSION_RENEWAL);
        let (busy, idle) = match role {
            Role::Initiator => (REKEY_INITIATOR.saturating_sub(jitter), idle.saturating_sub(jitter)),
            Role::Responder => (REKEY_RESPONDER, idle + REKEY_RESPONDER.saturating_sub(REKEY_INITIATOR)),
        };
        let seal_until = now + SESSION_UNTIL;
        let end = seal_until + ACCEPT_GRACE;
        Life {
            established: now,
            seal_until,
            seal_frames_until: seal_until,
            end,
            open_frames_until: end,
            rekey: now + idle,
            rekey_busy: now + busy,
            carried: false,
            opened: false,
        }
    }

    fn may_seal(&self, now: Instant, kind: Kind) -> Result<(), Discard> {
        let until = if carries_data(kind) { self.seal_frames_until } else { self.seal_until };
        if now < until { Ok(()) } else { Err(Discard::Expired) }
    }

    fn may_open(&self, now: Instant) -> Result<(), Discard> {
        if now < self.end { Ok(()) } else { Err(Discard::Expired) }
    }

    fn sealed_data(&mut self, now: Instant) {
        if !self.carried {
            self.first_carried(now, now);
        }
    }

    /// Notes that a frame was opened, or refuses it for its time.
    fn opened_data(&mut self, now: Instant) -> Result<(), Discard> {
        if now >= self.open_frames_until {
            return Err(Discard::Expired);
        }
        if !self.opened {
            self.opened = true;
            let until = (self.established + FRAMES_UNTIL).max(now + IDLE_GRACE) + ACCEPT_GRACE;
            self.open_frames_until = until.min(self.end);
        }
        if !self.carried {
            // The peer has sealed it, so its rekey may be due as well: who caused it goes first, else two
            // handshakes would meet half way.
            self.first_carried(now, now + REKEY_YIELD);
        }
        Ok(())
    }

    /// Data begins to flow: from here on the key ages, and a new one is asked for, at `rekey` at the earliest.
    fn first_carried(&mut self, now: Instant, rekey: Instant) {
        self.carried = true;
        let until = (self.established + FRAMES_UNTIL).max(now + IDLE_GRACE);
        self.seal_frames_until = until.min(self.seal_until);
        self.rekey = self.rekey.min(self.rekey_busy.max(rekey));
    }
}

#[cfg(test)]
impl Session {
    /// Moves both counters, as if so many packets had been sealed and wrapped.
    pub(crate) fn set_counters(&mut self, next: u64, hop_next: u64) {
        self.next = next;
        self.hop_next = hop_next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{FRAME_MAX, REKEY_JITTER};
    use crate::crypto::random::Random;
    use crate::crypto::schedule::DirectionKeys;

    const A: SessionIndex = SessionIndex(0x0a0a_0a0a);
    const B: SessionIndex = SessionIndex(0x0b0b_0b0b);
    const CIRCUIT: CircuitId = CircuitId(77);

    fn direction(seed: u8) -> DirectionKeys {
        DirectionKeys {
            suite: Suite::default(),
            encryption: [seed; 32],
            mac: [seed + 1; 32],
            salt: [seed + 2; 4],
            hop: [seed + 3; 32],
        }
    }

    /// Both ends of one session: the initiator's and the responder's.
    fn pair() -> (Session, Session) {
        let (forth, back) = (direction(10), direction(20));
        let ours = SessionKeys { seal: forth.clone(), open: back.clone() };
        let theirs = SessionKeys { seal: back, open: forth };
        let a = Session::new(Instant::ZERO, &ours, Role::Initiator, A, B, Duration::ZERO);
        let b = Session::new(Instant::ZERO, &theirs, Role::Responder, B, A, Duration::ZERO);
        (a, b)
    }

    fn packet(bytes: &[u8]) -> Packet {
        let mut packet = Packet::new();
        packet.append(bytes).unwrap();
        packet
    }

    /// The instant so many milliseconds after the start.
    fn ms(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn at(seconds: u64) -> Instant {
        ms(1000 * seconds)
    }

    fn sealed(session: &mut Session, now: Instant, kind: Kind) -> Result<Packet, Discard> {
        let mut packet = packet(b"hello");
        session.seal(now, kind, &mut packet).map(|()| packet)
    }

    /// One packet from one end to the other at that time; what went wrong first.
    fn carry(from: &mut Session, to: &mut Session, now: Instant, kind: Kind) -> Result<(), Discard> {
        let mut packet = sealed(from, now, kind)?;
        assert_eq!(to.open(now, &mut packet)?, kind);
        assert_eq!(packet.bytes(), b"hello");
        Ok(())
    }

    /// The value of a name in `tests/vectors/sealed.txt`.
    fn vector(name: &str) -> Vec<u8> {
        let lines = include_str!("../../tests/vectors/sealed.txt").lines();
        let value = lines.filter_map(|line| line.split_once(" = ")).find(|(n, _)| *n == name).unwrap().1;
        (0..value.len()).step_by(2).map(|at| u8::from_str_radix(&value[at..at + 2], 16).unwrap()).collect()
    }

    fn number(name: &str) -> u64 {
        vector(name).into_iter().fold(0, |sum, byte| sum << 8 | u64::from(byte))
    }

    fn index(name: &str) -> SessionIndex {
        SessionIndex(u32::try_from(number(name)).unwrap())
    }

    #[test]
    fn a_session_keeps_its_rules_whatever_its_suite() {
        // S5, S6: order, replay and forgery are dealt with around the cipher.
        for &suite in Suite::ALL {
            let of = |seed| DirectionKeys { suite, ..direction(seed) };
            let (ours, theirs) =
                (SessionKeys { seal: of(10), open: of(20) }, SessionKeys { seal: of(20), open: of(10) });
            let now = Instant::ZERO;
            let mut one = Session::new(now, &ours, Role::Initiator, A, B, Duration::ZERO);
            let mut other = Session::new(now, &theirs, Role::Responder, B, A, Duration::ZERO);
            assert_eq!((one.suite(), other.suite()), (suite, suite));
            let sealed: Vec<Vec<u8>> = (0..3)
                .map(|n| {
                    let mut packet = Packet::new();
                    packet.append(&[n; 50]).unwrap();
                    one.seal(now, Kind::Frame, &mut packet).unwrap();
                    packet.bytes().to_vec()
                })
                .collect();
            let mut open = |bytes: &[u8]| {
                let mut packet = Packet::new();
                packet.append(bytes).unwrap();
                other.open(now, &mut packet).map(|kind| (kind, packet.bytes().to_vec()))
            };
            let mut forged = sealed[1].clone();
            forged[30] ^= 1;
            // A packet under the number of another.
            let mut renumbered = sealed[1].clone();
            renumbered[11] ^= 2;
            assert_eq!(open(&sealed[2]), Ok((Kind::Frame, vec![2; 50])), "{suite:?}");
            assert_eq!(open(&forged), Err(Discard::Forged), "{suite:?}");
            assert_eq!(open(&renumbered), Err(Discard::Forged), "{suite:?}");
            assert_eq!(open(&sealed[1]), Ok((Kind::Frame, vec![1; 50])), "{suite:?}");
            assert_eq!(open(&sealed[0]), Ok((Kind::Frame, vec![0; 50])), "{suite:?}");
            sealed.iter().for_each(|bytes| assert_eq!(open(bytes), Err(Discard::Replayed), "{suite:?}"));
        }
    }

    fn vector_keys() -> DirectionKeys {
        DirectionKeys {
            suite: Suite::default(),
            encryption: vector("encryption").try_into().unwrap(),
            mac: vector("mac").try_into().unwrap(),
            salt: vector("salt").try_into().unwrap(),
            hop: vector("hop").try_into().unwrap(),
        }
    }

    #[test]
    fn the_bytes_on_the_wire_are_frozen() {
        let (ours, theirs) = (index("other index"), index("index"));
        let circuit = CircuitId(u32::try_from(number("circuit")).unwrap());
        let keys = SessionKeys { seal: vector_keys(), open: direction(50) };
        let mut session = Session::new(at(0), &keys, Role::Initiator, ours, theirs, Duration::ZERO);
        session.set_counters(number("counter"), number("hop counter"));
        let mut bytes = packet(&vector("frame"));
        session.seal(at(1), Kind::Frame, &mut bytes).unwrap();
        assert_eq!(bytes.bytes(), vector("sealed"));
        session.wrap(circuit, &mut bytes).unwrap();
        assert_eq!(bytes.bytes(), vector("relayed"));

        let keys = SessionKeys { seal: direction(50), open: vector_keys() };
        let mut session = Session::new(at(0), &keys, Role::Responder, theirs, ours, Duration::ZERO);
        assert_eq!(session.unwrap(&mut bytes), Ok(circuit));
        assert_eq!(session.open(at(1), &mut bytes), Ok(Kind::Frame));
        assert_eq!(bytes.bytes(), vector("frame"));
    }

    #[test]
    fn every_kind_and_length_arrives() {
        let (mut a, mut b) = pair();
        for kind in (0..8).map(|n| Kind::from_byte(n).unwrap()) {
            for length in [0, 1, 15, 16, 17, 1514, FRAME_MAX] {
                let payload = vec![kind as u8 + 1; length];
                let mut bytes = packet(&payload);
                a.seal(at(1), kind, &mut bytes).unwrap();
                assert_eq!(bytes.len(), length + 29);
                a.wrap(CIRCUIT, &mut bytes).unwrap();
                assert_eq!(bytes.len(), length + 53);
                assert_eq!(b.unwrap(&mut bytes), Ok(CIRCUIT));
                assert_eq!(b.open(at(1), &mut bytes), Ok(kind));
                assert_eq!(bytes.bytes(), payload);
            }
        }
    }

    #[test]
    fn frames_and_fragments_are_counted_at_both_ends() {
        let (mut a, mut b) = pair();
        for kind in [Kind::Frame, Kind::Fragment, Kind::Control, Kind::Keepalive, Kind::Probe] {
            carry(&mut a, &mut b, at(1), kind).unwrap();
        }
        let carried = Carried { frames: 2, bytes: 10 };
        assert_eq!(a.traffic(), Traffic { sealed: carried, opened: Carried::default() });
        assert_eq!(b.traffic(), Traffic { sealed: Carried::default(), opened: carried });
    }

    #[test]
    fn a_packet_with_a_flipped_bit_is_refused_and_changes_nothing() {
        let (mut a, mut b) = pair();
        let good = sealed(&mut a, at(1), Kind::Frame).unwrap();
        for bit in 0..8 * good.len() {
            // The type has been looked at before the session was found; it is authenticated all the same.
            let mut bad = packet(good.bytes());
            bad.bytes_mut()[bit / 8] ^= 1 << (bit % 8);
            let wanted = if (16..48).contains(&bit) { Discard::UnknownIndex } else { Discard::Forged };
            assert_eq!(b.open(at(1), &mut bad), Err(wanted), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(b.open(at(1), &mut packet(&good.bytes()[..length])).is_err(), "{length}");
        }
        assert_eq!(b.traffic(), Traffic::default());
        assert_eq!(b.open(at(1), &mut packet(good.bytes())), Ok(Kind::Frame));
    }

    // S6: the window moves only after the MAC.
    #[test]
    fn a_forged_counter_does_not_move_the_window() {
        let (mut a, mut b) = pair();
        let early = sealed(&mut a, at(1), Kind::Frame).unwrap();
        let mut forged = packet(early.bytes());
        forged.bytes_mut()[6..12].fill(0xff);
        assert_eq!(b.open(at(1), &mut forged), Err(Discard::Forged));
        assert_eq!(b.open(at(1), &mut packet(early.bytes())), Ok(Kind::Frame));
        let mut wrapped = packet(b"inner");
        a.wrap(CIRCUIT, &mut wrapped).unwrap();
        let mut forged = packet(wrapped.bytes());
        forged.bytes_mut()[6..12].fill(0xff);
        assert_eq!(b.unwrap(&mut forged), Err(Discard::Forged));
        assert_eq!(b.unwrap(&mut wrapped), Ok(CIRCUIT));
    }

    // S6: strict, at the session and at the hop, however late the duplicate comes.
    #[test]
    fn a_duplicate_is_refused_at_the_session_and_at_the_hop() {
        let (mut a, mut b) = pair();
        let once = sealed(&mut a, at(1), Kind::Frame).unwrap();
        let mut wrapped = packet(b"inner");
        a.wrap(CIRCUIT, &mut wrapped).unwrap();
        let first = packet(wrapped.bytes());
        assert_eq!(b.open(at(1), &mut packet(once.bytes())), Ok(Kind::Frame));
        assert_eq!(b.unwrap(&mut wrapped), Ok(CIRCUIT));
        for _ in 0..SessionWindow::WIDTH + 10 {
            assert_eq!(b.open(at(2), &mut packet(once.bytes())), Err(Discard::Replayed));
            assert_eq!(b.unwrap(&mut packet(first.bytes())), Err(Discard::Replayed));
            carry(&mut a, &mut b, at(2), Kind::Keepalive).unwrap();
            let mut next = packet(b"inner");
            a.wrap(CIRCUIT, &mut next).unwrap();
            b.unwrap(&mut next).unwrap();
        }
    }

    // S5: separate keys per direction.
    #[test]
    fn a_packet_sent_back_to_its_sender_is_refused() {
        let (forth, back) = (direction(10), direction(20));
        let keys = SessionKeys { seal: forth, open: back };
        let mut a = Session::new(at(0), &keys, Role::Initiator, A, A, Duration::ZERO);
        let mut reflected = sealed(&mut a, at(1), Kind::Frame).unwrap();
        assert_eq!(a.open(at(1), &mut reflected), Err(Discard::Forged));
        let mut reflected = packet(b"inner");
        a.wrap(CIRCUIT, &mut reflected).unwrap();
        assert_eq!(a.unwrap(&mut reflected), Err(Discard::Forged));
    }

    #[test]
    fn another_circuit_number_or_inner_head_is_forged() {
        let (mut a, mut b) = pair();
        let mut wrapped = packet(&[9; 100]);
        a.wrap(CIRCUIT, &mut wrapped).unwrap();
        for byte in (0..2).chain(6..RELAY_FRONT + 32) {
            let mut bad = packet(wrapped.bytes());
            bad.bytes_mut()[byte] ^= 1;
            assert_eq!(b.unwrap(&mut bad), Err(Discard::Forged), "byte {byte}");
        }
        assert_eq!(b.unwrap(&mut packet(&wrapped.bytes()[..123])), Err(Discard::Forged));
        assert_eq!(b.unwrap(&mut packet(&wrapped.bytes()[..24])), Err(Discard::Truncated));
        assert_eq!(b.unwrap(&mut wrapped), Ok(CIRCUIT));
        assert_eq!(wrapped.bytes(), [9; 100]);
    }

    // S5: counters end by refusing and rekeying.
    #[test]
    fn counters_end_by_refusing() {
        let (mut a, mut b) = pair();
        a.set_counters(COUNTER_MAX - 2, COUNTER_MAX - 2);
        for _ in 0..2 {
            carry(&mut a, &mut b, at(1), Kind::Keepalive).unwrap();
            a.wrap(CIRCUIT, &mut packet(b"inner")).unwrap();
        }
        for _ in 0..3 {
            let mut refused = packet(b"hello");
            assert_eq!(a.seal(at(1), Kind::Keepalive, &mut refused), Err(Discard::Expired));
            assert_eq!(a.wrap(CIRCUIT, &mut refused), Err(Discard::Expired));
            assert_eq!(refused.bytes(), b"hello");
        }
    }

    #[test]
    fn very_many_packets_ask_for_a_new_key_at_once() {
        let (mut a, _) = pair();
        a.set_counters(REKEY_AFTER_PACKETS - 1, 0);
        assert!(a.rekey_at() > at(1));
        sealed(&mut a, at(1), Kind::Keepalive).unwrap();
        assert!(a.rekey_at() <= at(1));
        let (mut a, _) = pair();
        a.set_counters(0, REKEY_AFTER_PACKETS);
        assert!(a.rekey_at() <= at(1));
    }

    #[test]
    fn a_packet_without_room_is_refused_and_stays_as_it_was() {
        let (mut a, _) = pair();
        let mut tight = Packet::new();
        tight.clear(SEAL_FRONT - 1);
        tight.append(b"hello").unwrap();
        assert_eq!(a.seal(at(1), Kind::Frame, &mut tight), Err(Discard::TooLong));
        assert_eq!(a.wrap(CIRCUIT, &mut tight), Err(Discard::TooLong));
        assert_eq!(tight.bytes(), b"hello");
        assert_eq!(a.wrap(CIRCUIT, &mut Packet::new()), Err(Discard::Truncated));
        assert_eq!(a.traffic(), Traffic::default());
    }

    #[test]
    fn an_unknown_kind_is_refused_once_it_is_known_to_be_authentic() {
        let (a, mut b) = pair();
        let mut bytes = packet(&[0; SEAL_FRONT + SEAL_BACK]);
        Header { index: B, counter: 3 }.write_sealed(bytes.bytes_mut());
        bytes.bytes_mut()[SEALED_HEADER] = 8;
        a.seal.seal(3, bytes.bytes_mut(), None).unwrap();
        let again = packet(bytes.bytes());
        assert_eq!(b.open(at(1), &mut bytes), Err(Discard::Malformed));
        assert_eq!(b.open(at(1), &mut packet(again.bytes())), Err(Discard::Replayed));
    }

    #[test]
    fn how_long_each_kind_is_sealed() {
        let expired = Err(Discard::Expired);
        for (first, time, frame, other) in [
            // First frame at, asked at (ms): may a frame be sealed, may something else?
            (1_000, 179_999, Ok(()), Ok(())),
            (1_000, 180_000, expired, Ok(())),
            (150_000, 180_000, expired, Ok(())),
            (170_000, 199_999, Ok(()), Ok(())),
            (170_000, 200_000, expired, Ok(())),
            (500_000, 529_999, Ok(()), Ok(())),
            (500_000, 530_000, expired, Ok(())),
            (500_000, 3_599_999, expired, Ok(())),
            (3_590_000, 3_599_999, Ok(()), Ok(())),
            (3_590_000, 3_600_000, expired, expired),
        ] {
            let (mut a, mut b) = pair();
            let early = sealed(&mut b, ms(first), Kind::Fragment).unwrap();
            sealed(&mut a, ms(first), Kind::Fragment).unwrap();
            // Only the first counts: a later one lengthens nothing.
            let _ = sealed(&mut a, ms(first + 20_000), Kind::Frame);
            let done = |session: &mut Session, kind| sealed(session, ms(time), kind).map(|_| ());
            assert_eq!(done(&mut a, Kind::Frame), frame, "{first} {time}");
            assert_eq!(done(&mut a, Kind::Fragment), frame, "{first} {time}");
            assert_eq!(done(&mut a, Kind::Control), other, "{first} {time}");
            // It is the same for the side that opened the first frame.
            let (mut a, _) = pair();
            a.open(ms(first), &mut packet(early.bytes())).unwrap();
            assert_eq!(done(&mut a, Kind::Frame), frame, "{first} {time}");
        }
    }

    #[test]
    fn how_long_each_kind_is_opened() {
        let expired = Err(Discard::Expired);
        for (first, time, frame, other) in [
            // First frame opened at, next at (ms): is a frame taken, is something else?
            (1_000, 194_999, Ok(Kind::Frame), Ok(Kind::Control)),
            (1_000, 195_000, expired, Ok(Kind::Control)),
            (194_000, 238_999, Ok(Kind::Frame), Ok(Kind::Control)),
            (194_000, 239_000, expired, Ok(Kind::Control)),
            (1_000_000, 1_044_999, Ok(Kind::Frame), Ok(Kind::Control)),
            (1_000_000, 1_045_000, expired, Ok(Kind::Control)),
            (3_599_000, 3_614_999, Ok(Kind::Frame), Ok(Kind::Control)),
            (3_599_000, 3_615_000, expired, expired),
        ] {
            let (mut a, mut b) = pair();
            let mut packets = [Kind::Frame, Kind::Frame, Kind::Control, Kind::Frame].map(|kind| {
                // Sealed early and held back, so that only the receiver's clock counts.
                sealed(&mut a, at(1), kind).unwrap()
            });
            assert_eq!(b.open(ms(first), &mut packets[0]), Ok(Kind::Frame));
            let _ = b.open(ms(first + 14_000), &mut packets[3]);
            assert_eq!(b.open(ms(time), &mut packets[1]), frame, "{first} {time}");
            assert_eq!(b.open(ms(time), &mut packets[2]), other, "{first} {time}");
        }
    }

    /// Who carries the first frame of a session, if anyone.
    #[derive(Clone, Copy, Debug)]
    enum First {
        Nobody,
        Ours(u64),
        Theirs(u64),
    }

    #[test]
    fn when_a_rekey_begins() {
        use First::{Nobody, Ours, Theirs};
        for (first, initiator, responder) in [
            // The first frame, when each role begins (s), if the frame is its own or the peer's as said.
            (Nobody, 3300, 3330),
            (Ours(0), 120, 150),
            (Theirs(0), 120, 150),
            (Ours(119), 120, 150),
            (Theirs(119), 121, 150),
            (Ours(130), 130, 150),
            (Theirs(130), 132, 150),
            (Ours(160), 160, 160),
            (Theirs(160), 162, 162),
            (Ours(1000), 1000, 1000),
            (Theirs(1000), 1002, 1002),
            (Ours(3310), 3300, 3310),
        ] {
            for (role, wanted) in [(Role::Initiator, initiator), (Role::Responder, responder)] {
                let (mut a, mut b) = pair();
                let (ours, theirs) = match role {
                    Role::Initiator => (&mut a, &mut b),
                    Role::Responder => (&mut b, &mut a),
                };
                carry(theirs, ours, at(0), Kind::Keepalive).unwrap();
                match first {
                    Nobody => {}
                    Ours(time) => carry(ours, theirs, at(time), Kind::Frame).unwrap(),
                    Theirs(time) => carry(theirs, ours, at(time), Kind::Frame).unwrap(),
                }
                assert_eq!(ours.rekey_at(), at(wanted), "{role:?} {first:?}");
            }
        }
    }

    #[test]
    fn jitter_brings_the_initiator_forward() {
        let keys = SessionKeys { seal: direction(10), open: direction(20) };
        for (role, wanted) in [(Role::Initiator, 110), (Role::Responder, 150)] {
            let mut session = Session::new(at(0), &keys, role, A, B, REKEY_JITTER);
            sealed(&mut session, at(1), Kind::Frame).unwrap();
            assert_eq!(session.rekey_at(), at(wanted));
        }
    }

    // Two ends that began up to 5 s apart, with frames at random times either way, some lost, the others
    // up to 5 s under way, and no rekey that ever succeeds: what was sealed is opened, and nobody refuses to
    // seal a frame before a rekey had almost 30 s.
    #[test]
    fn no_frame_is_lost_while_a_rekey_has_its_time() {
        for seed in 0..=255 {
            let mut random = Random::new([seed; 32]);
            let (forth, back) = (direction(10), direction(20));
            let ours = SessionKeys { seal: forth.clone(), open: back.clone() };
            let theirs = SessionKeys { seal: back, open: forth };
            let later = Instant::ZERO + random.jitter(Duration::from_secs(5));
            let jitter = random.jitter(REKEY_JITTER);
            let mut ends = [
                Session::new(Instant::ZERO, &ours, Role::Initiator, A, B, jitter),
                Session::new(later, &theirs, Role::Responder, B, A, Duration::ZERO),
            ];
            let mut now = later + random.jitter(Duration::from_secs([1, 200, 3500][usize::from(seed % 3)]));
            let mut under_way: Vec<(Instant, usize, Packet)> = Vec::new();
            for _ in 0..400 {
                now = now + random.jitter(Duration::from_secs(1));
                under_way.retain_mut(|(arrives, to, packet)| {
                    let due = *arrives <= now;
                    if due {
                        assert_eq!(
                            ends[*to].open(*arrives, packet),
                            Ok(Kind::Frame),
                            "seed {seed} {arrives:?}"
                        );
                    }
                    !due
                });
                let from = usize::from(random.u32() % 8 < u32::from(seed % 8));
                match sealed(&mut ends[from], now, Kind::Frame) {
                    Ok(_) if random.u32() % 4 == 0 => {}
                    Ok(packet) => {
                        under_way.push((now + random.jitter(Duration::from_secs(5)), 1 - from, packet));
                    }
                    Err(why) => {
                        assert_eq!(why, Discard::Expired);
                        let asked = ends[from].rekey_at();
                        assert!(now - asked >= IDLE_GRACE.saturating_sub(REKEY_YIELD), "seed {seed} {now:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_never_came_is_told_in_thousandths_once_enough_was_sent() {
        let (mut a, mut b) = pair();
        for n in 0..LOSS_SAMPLE - 1 {
            let mut packet = sealed(&mut a, at(1), Kind::Frame).unwrap();
            if n % 4 != 0 {
                b.open(at(1), &mut packet).unwrap();
            }
        }
        assert_eq!(b.loss(), None, "that is too few to say");
        carry(&mut a, &mut b, at(1), Kind::Frame).unwrap();
        assert_eq!(b.loss(), Some(250), "a fourth of a thousand");
    }

    #[test]
    fn a_session_knows_when_it_began() {
        let keys = SessionKeys { seal: direction(10), open: direction(20) };
        let session = Session::new(at(3), &keys, Role::Initiator, A, B, Duration::ZERO);
        assert_eq!(session.established_at(), at(3));
    }
}
