//! One real node, and others that do and say what the bytes want. A stranger has not got the network's key; a
//! member has, and makes whole handshakes and seals what it likes.

use std::net::SocketAddr;

use peervpn::base::ids::{CircuitId, HostId, SessionIndex};
use peervpn::base::limits::DATAGRAM_MAX;
use peervpn::base::outbox::Outbox;
use peervpn::base::time::{Duration, Instant};
use peervpn::crypto::identity::{Identity, NetworkKeys};
use peervpn::crypto::random::Random;
use peervpn::node::Node;
use peervpn::peer::handshake::{AwaitM2, AwaitM3, Credentials};
use peervpn::peer::session::{Role, Session};
use peervpn::wire::envelope::Kind;
use peervpn::wire::hello::{Capabilities, Suites};

use super::sim::pool;
use super::sim::spec::{NodeSpec, member as spec, public};
use super::{Scratch, Script};

/// So many acts are played at most; what is left of the bytes is not looked at.
const ACTS: usize = 256;

/// S1: whoever has no key hears nothing, and leaves nothing behind.
pub fn stranger(bytes: &[u8]) {
    let mut bench = Bench::new(spec().relay());
    let mut script = Script::new(bytes);
    for _ in 0..ACTS {
        let (Some(who), Some(datagram)) = (script.byte(), script.piece()) else { break };
        bench.feed(public(who), datagram);
        assert!(bench.sent.is_empty(), "an answer to a stranger");
        if who & 1 == 1 {
            bench.pass(Duration::from_millis(u64::from(who) * 10));
        }
    }
    assert_eq!(bench.node.members().count(), 0);
}

/// S1: whoever has the key breaks nothing either. Two members, a TAP, an initial peer, and time.
pub fn member(bytes: &[u8]) {
    let mut spec = spec().relay().knows(public(9));
    spec.neighbour_cache = true;
    let mut bench = Bench::new(spec);
    bench.node.handle_timeout(bench.now, &mut bench.out);
    bench.drain();
    let mut foes = [Foe::new(1), Foe::new(2)];
    foes.iter_mut().for_each(|foe| foe.join(&mut bench));
    let mut script = Script::new(bytes);
    for _ in 0..ACTS {
        if act(&mut script, &mut bench, &mut foes).is_none() {
            break;
        }
        serve(&mut bench, &mut foes);
    }
}

/// One act; none where the bytes end.
fn act(script: &mut Script<'_>, bench: &mut Bench, foes: &mut [Foe; 2]) -> Option<()> {
    let what = script.byte()?;
    let foe = &mut foes[usize::from(what & 1)];
    let now = bench.now;
    match what >> 1 & 15 {
        // Half of all acts: something sealed.
        0..=5 => {
            let kind = Kind::from_byte(script.byte()? & 7).ok()?;
            if let Some(sealed) = foe.seal(now, kind, script.piece()?) {
                bench.feed(foe.at, &sealed);
            }
        }
        6 => {
            let circuit = CircuitId(u32::from(script.number()?));
            let inner = script.piece()?;
            if let Some(wrapped) = foe.wrap(circuit, inner) {
                bench.feed(foe.at, &wrapped);
            }
        }
        // What the node said last, said back with other bytes in it.
        7 => {
            let (at, with) = (usize::from(script.number()?), script.piece()?);
            let (kind, mut text) = foe.heard.clone()?;
            for (to, from) in text.iter_mut().skip(at).zip(with) {
                *to = *from;
            }
            if let Some(sealed) = foe.seal(now, kind, &text) {
                bench.feed(foe.at, &sealed);
            }
        }
        8 => bench.feed(foe.at, script.piece()?),
        9 => bench.frame(script.piece()?),
        10 => bench.pass(Duration::from_millis(script.number()?.into())),
        11 => bench.pass(Duration::from_secs((script.number()? % 600).into())),
        12 => foe.join(bench),
        13 => foe.at = public(script.byte()?),
        14 => {
            let found: Vec<SocketAddr> = script.piece()?.iter().map(|&n| public(n)).collect();
            bench.node.handle_addresses(now, HostId(0), &found, &mut bench.out);
            bench.drain();
        }
        _ => {
            bench.node.handle_network_change(now, &mut bench.out);
            bench.drain();
        }
    }
    Some(())
}

/// The members answer handshakes and challenges, so that they are more than strangers, and remember what was said.
fn serve(bench: &mut Bench, foes: &mut [Foe; 2]) {
    for _ in 0..8 {
        let sent = std::mem::take(&mut bench.sent);
        if sent.is_empty() {
            return;
        }
        for (to, bytes) in sent {
            let Some(foe) = foes.iter_mut().find(|foe| foe.at == to) else { continue };
            if let Some(answer) = foe.hear(bench.now, &bytes) {
                let at = foe.at;
                bench.feed(at, &answer);
            }
        }
    }
    bench.sent.clear();
}

/// The real node.
struct Bench {
    node: Node,
    out: Outbox,
    now: Instant,
    sent: Vec<(SocketAddr, Vec<u8>)>,
}

impl Bench {
    fn new(spec: NodeSpec) -> Bench {
        let now = Instant::ZERO;
        let node = Node::new(&spec.settings(), &spec.network_key(), &[9; 32], &[8; 32], now);
        Bench { node, out: pool::take(), now, sent: Vec::new() }
    }

    fn feed(&mut self, from: SocketAddr, bytes: &[u8]) {
        let mut packet = self.out.blank().expect("a packet to spare");
        // The kernel hands on no more than this.
        packet.append(&bytes[..bytes.len().min(DATAGRAM_MAX)]).expect("room for any datagram");
        self.node.handle_datagram(self.now, from, packet, &mut self.out);
        self.drain();
    }

    fn frame(&mut self, bytes: &[u8]) {
        let mut packet = self.out.blank().expect("a packet to spare");
        packet
            .append(&bytes[..bytes.len().min(peervpn::base::limits::FRAME_MAX)])
            .expect("room for any frame");
        self.node.handle_frame(self.now, packet, &mut self.out);
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1000 {
            let Some(due) = self.node.next_timeout().filter(|&due| due <= end) else { break };
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now, &mut self.out);
            self.drain();
        }
        self.now = end;
        self.node.handle_timeout(self.now, &mut self.out);
        self.drain();
    }

    /// S1: whatever it was, every packet is back.
    fn drain(&mut self) {
        while let Some((to, packet)) = self.out.next_datagram() {
            assert!(packet.len() <= DATAGRAM_MAX);
            self.sent.push((to, packet.bytes().to_vec()));
            self.out.recycle(packet);
        }
        while let Some(frame) = self.out.next_frame() {
            self.out.recycle(frame);
        }
        while self.out.next_event().is_some() {}
        assert!(self.out.is_whole(), "a packet is missing");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        pool::put(core::mem::replace(&mut self.out, Outbox::new(0)));
    }
}

/// A member made of the same parts.
struct Foe {
    cred: Credentials,
    random: Random,
    at: SocketAddr,
    session: Option<Session>,
    answer: Option<AwaitM3>,
    heard: Option<(Kind, Vec<u8>)>,
}

impl Foe {
    fn new(n: u8) -> Foe {
        let spec = spec();
        let settings = spec.settings();
        let keys = NetworkKeys::derive(&spec.network_key(), &settings.network);
        let identity = Identity::from_secret([n; 32]);
        Foe {
            cred: Credentials::new(
                identity,
                &settings.network,
                &keys,
                Capabilities(u16::MAX),
                Suites::new(&[]),
            ),
            random: Random::new([n; 32]),
            at: public(n),
            session: None,
            answer: None,
            heard: None,
        }
    }

    /// A whole handshake, begun here; nothing where the node does not want one now.
    fn join(&mut self, bench: &mut Bench) {
        let index = SessionIndex(self.random.u32());
        let first = AwaitM2::new(&self.cred, &mut self.random, index);
        bench.sent.clear();
        bench.feed(self.at, first.message());
        let sent = std::mem::take(&mut bench.sent);
        let second = sent.iter().find(|(to, bytes)| *to == self.at && bytes[0] == 2);
        let Some((established, third)) = second.and_then(|(_, m2)| first.handle(&self.cred, m2).ok()) else {
            return;
        };
        let (local, remote) = (established.local, established.remote);
        let role = Role::Initiator;
        self.session = Some(Session::new(bench.now, &established.keys, role, local, remote, Duration::ZERO));
        bench.feed(self.at, &third);
    }

    /// What came from the node, and the answer to it.
    fn hear(&mut self, now: Instant, bytes: &[u8]) -> Option<Vec<u8>> {
        match bytes.first()? {
            1 => {
                let index = SessionIndex(self.random.u32());
                let state = AwaitM3::new(&self.cred, &mut self.random, index, bytes, None).ok()?;
                let message = state.message().to_vec();
                self.answer = Some(state);
                Some(message)
            }
            3 => {
                let established = self.answer.take()?.handle(&self.cred, bytes).ok()?;
                let (local, remote) = (established.local, established.remote);
                let role = Role::Responder;
                self.session =
                    Some(Session::new(now, &established.keys, role, local, remote, Duration::ZERO));
                self.seal(now, Kind::Keepalive, &[])
            }
            4 => {
                let mut packet = Scratch::new();
                packet.append(bytes).ok()?;
                let kind = self.session.as_mut()?.open(now, &mut packet).ok()?;
                self.heard = Some((kind, packet.bytes().to_vec()));
                match kind {
                    Kind::Challenge => self.seal(now, Kind::Response, packet.bytes()),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn seal(&mut self, now: Instant, kind: Kind, text: &[u8]) -> Option<Vec<u8>> {
        let mut packet = Scratch::new();
        packet.append(&text[..text.len().min(DATAGRAM_MAX - 64)]).ok()?;
        self.session.as_mut()?.seal(now, kind, &mut packet).ok()?;
        Some(packet.bytes().to_vec())
    }

    fn wrap(&mut self, circuit: CircuitId, inner: &[u8]) -> Option<Vec<u8>> {
        let mut packet = Scratch::new();
        packet.append(&inner[..inner.len().min(DATAGRAM_MAX - 64)]).ok()?;
        self.session.as_mut()?.wrap(circuit, &mut packet).ok()?;
        Some(packet.bytes().to_vec())
    }
}
