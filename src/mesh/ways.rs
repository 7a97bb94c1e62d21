//! Ways to a peer: challenges that prove an address, the step from a relay to the direct path and back, and what
//! happens when a path is dead. What is decided when stands with the peer ([`peer::path`](crate::peer::path)).

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::event::{Event, Parting};
use crate::base::ids::PeerKey;
use crate::base::limits::PROBE_AFTER;
use crate::base::outbox::Outbox;
use crate::base::time::Instant;
use crate::mesh::Mesh;
use crate::mesh::peers::Member;
use crate::peer::path::{Nonce, Path};
use crate::wire::cursor::Reader;
use crate::wire::envelope::Kind;

impl Mesh {
    pub(super) fn handle_nonce(
        &mut self,
        now: Instant,
        from: PeerKey,
        path: Path,
        kind: Kind,
        bytes: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let mut reader = Reader::new(bytes);
        let nonce = reader.array()?;
        reader.end()?;
        if kind == Kind::Challenge {
            if let Some(member) = self.peers.get_mut(from) {
                member.peer.answer_sent(path);
            }
            return self.post_nonce(now, from, path, Kind::Response, &nonce, out);
        }
        self.peers.get_mut(from).ok_or(Discard::UnknownPeer)?.peer.answered(now, path, &nonce);
        Ok(())
    }

    /// Sends a challenge or its answer by `path`, whatever the path in use.
    fn post_nonce(
        &mut self,
        now: Instant,
        to: PeerKey,
        path: Path,
        kind: Kind,
        nonce: &Nonce,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let mut packet = out.blank()?;
        let sealed = packet.append(nonce).and_then(|()| {
            let peer = &mut self.peers.get_mut(to).ok_or(Discard::UnknownPeer)?.peer;
            peer.seal(now, kind, &mut packet, Some(&mut self.macs))?;
            self.route(now, path, &mut packet)
        });
        self.wake(now + PROBE_AFTER);
        match sealed {
            Ok(address) => out.send(address, packet),
            Err(why) => out.discard(packet, why),
        }
        Ok(())
    }

    pub(super) fn ask(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        let secret = self.random.bytes();
        let Some(member) = self.peers.get_mut(key) else { return };
        let Some(path) = member.peer.path() else { return };
        member.peer.ask(now, secret);
        self.put_question(now, key, path, out);
    }

    /// Sends a keepalive as long as a challenge, so that a peer that hears us from a new address may challenge us there.
    pub(super) fn greet(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        self.post_keepalive(now, key, &[0; size_of::<Nonce>()], out);
    }

    /// Sends a keepalive; `serve` tells whether it wants one back.
    pub(super) fn keep(&mut self, now: Instant, key: PeerKey, serve: bool, out: &mut Outbox) {
        let Some(member) = self.peers.get_mut(key) else { return };
        let payload = member.peer.keepalive(now, serve);
        self.post_keepalive(now, key, &payload, out);
    }

    fn post_keepalive(&mut self, now: Instant, key: PeerKey, payload: &[u8], out: &mut Outbox) {
        let Ok(mut packet) = out.blank() else { return out.count(Discard::NoRoom) };
        match packet.append(payload) {
            Ok(()) => self.post(now, key, Kind::Keepalive, packet, out),
            Err(why) => out.discard(packet, why),
        }
    }

    pub(super) fn challenge(&mut self, now: Instant, key: PeerKey, address: SocketAddr, out: &mut Outbox) {
        let nonce = self.random.bytes();
        let Some(member) = self.peers.get_mut(key) else { return };
        member.peer.challenged(now, nonce);
        if let Err(why) = self.post_nonce(now, key, Path::Direct(address), Kind::Challenge, &nonce, out) {
            out.count(why);
        }
    }

    /// The path in use does not answer: asks by all others, too.
    pub(super) fn ask_around(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        self.ask(now, key, out);
        self.challenge_places(now, key, out);
        self.ask_to_meet(now, key, out);
    }

    /// The path in use is direct and works: sees whether another one is better.
    pub(super) fn compare(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        self.compare_places(now, key, out);
        self.ask(now, key, out);
        self.challenge_places(now, key, out);
    }

    /// Challenges a peer that is reached through a relay, or not at all, at the addresses where it may be.
    pub(super) fn try_direct(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        let secret = self.random.bytes();
        let Some(member) = self.peers.get_mut(key) else { return };
        let lost_path = member.peer.path().filter(|_| member.peer.is_lost());
        let is_lost = member.peer.is_lost();
        member.peer.ask(now, secret);
        if let Some(path) = lost_path {
            self.put_question(now, key, path, out);
        }
        self.challenge_places(now, key, out);
        self.ask_to_meet(now, key, out);
        if is_lost {
            self.seek_relay(now, key, out);
        }
    }

    /// Puts the question that was begun last to all addresses where the peer may be, but for the path in use.
    pub(super) fn challenge_places(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        let Some(member) = self.peers.get(key) else { return };
        let (places, path) = (*member.peer.endpoints(), member.peer.path());
        for address in places.iter().filter(|address| path != Some(Path::Direct(*address))) {
            if places.proved.has(address) || self.hints.take(now, address.ip()) {
                self.put_question(now, key, Path::Direct(address), out);
            }
        }
    }

    /// Puts the question that was begun last to one place.
    pub(super) fn put_question(&mut self, now: Instant, key: PeerKey, place: Path, out: &mut Outbox) {
        let nonce = self.peers.get(key).and_then(|member| member.peer.nonce_for(place));
        let Some(nonce) = nonce else { return };
        if let Err(why) = self.post_nonce(now, key, place, Kind::Challenge, &nonce, out) {
            out.count(why);
        }
    }

    /// A peer has its first path, or another one. The peer is to hear us by the new one, so that it takes it too.
    pub(super) fn moved(&mut self, now: Instant, key: PeerKey, path: Path, out: &mut Outbox) {
        let (Some(way), Some(member)) = (self.way(key), self.peers.get_mut(key)) else { return };
        let peer = member.peer.short();
        if core::mem::replace(&mut member.told_up, true) {
            let silent = member.peer.left_silence();
            out.tell(Event::WayChanged { peer, way, silent });
            self.greet(now, key, out);
        } else {
            out.tell(Event::PeerUp { peer, way });
            self.hurry_probe(now);
        }
        match path {
            Path::Direct(address) => self.claim(now, key, address, out),
            // Nobody is relayed to a peer that is relayed itself.
            Path::Via { .. } => self.circuits_lost(now, key, out),
        }
    }

    /// A peer has proved that it is at `address`: another that was there has gone.
    fn claim(&mut self, now: Instant, key: PeerKey, address: SocketAddr, out: &mut Outbox) {
        let there = |m: &Member| m.peer.is_up() && m.peer.path() == Some(Path::Direct(address));
        let gone = self.peers.iter().find(|(other, member)| *other != key && there(member));
        if let Some((gone, _)) = gone {
            self.part(now, gone, Parting::Silent, out);
        }
    }

    /// The path to a peer is dead: looks for another while its session lives, and for the peer itself, which may have been
    /// restarted and know nothing of that session.
    pub(super) fn find_way(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        self.news_about(now, key);
        // What relayed through it has to look for another relay too.
        self.circuits_lost(now, key, out);
        self.leave_circuit(now, key, out);
        self.seek_relay(now, key, out);
        if let Some(member) = self.peers.get_mut(key) {
            member.dial.start(now);
        }
        for (_, entry) in self.hosts.iter_mut().filter(|(_, entry)| entry.peer == Some(key)) {
            entry.dial.start(now);
        }
        self.wake(now);
    }
}
