//! What is due when: one pass over initial peers, peers and tables, and the earliest deadline of them all.

use crate::base::ids::{HostId, PeerKey};
use crate::base::limits::{FORGET_AFTER, SWEEP};
use crate::base::outbox::Outbox;
use crate::base::time::{Instant, earliest};
use crate::mesh::Mesh;
use crate::mesh::discovery::Discovery;
use crate::mesh::loops::Loops;
use crate::peer::due::Action;

impl Mesh {
    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        if self.due.is_none_or(|at| at > now) {
            return;
        }
        self.send_beacons(now, out);
        self.ask_gateway(now, out);
        for host in 0..self.hosts.iter().count() {
            let host = HostId(u16::try_from(host).unwrap_or(u16::MAX));
            if let Err(why) = self.dial_host(now, host, out) {
                out.count(why);
            }
        }
        // Those who wait for the same budget take turns.
        self.turn = self.turn.wrapping_add(1);
        let (slots, turn) = (self.peers.slots(), self.turn);
        for slot in (0..slots).map(|slot| slot.wrapping_add(turn) % slots) {
            let Some(key) = self.peers.key(slot) else { continue };
            self.tend(now, key, out);
            if let Err(why) = self.dial_peer(now, key, out) {
                out.count(why);
            }
            self.volley(now, key, out);
            self.send_news(now, key, out);
        }
        self.expire_answers(now);
        self.expire_neighbours(now, None, out);
        if let Err(why) = self.answer_next(now, out) {
            out.count(why);
        }
        if self.sweep_at <= now {
            self.sweep(now);
        }
        self.due = self.deadline();
    }

    /// Does what is due for one peer.
    pub(super) fn tend(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        loop {
            let indexes = &mut self.indexes;
            let Some(member) = self.peers.get_mut(key) else { return };
            let Some(action) = member.peer.poll(now, &mut |index| indexes.release(now, index)) else { break };
            self.act(now, key, action, out);
        }
        self.news_about(now, key);
        self.tell_observed(now, key, out);
        let next = self.peers.get(key).and_then(|member| member.peer.next_timeout());
        self.due = earliest(self.due, next);
    }

    fn act(&mut self, now: Instant, key: PeerKey, action: Action, out: &mut Outbox) {
        match action {
            Action::RepeatHello3 => self.repeat_hello3(now, key, out),
            Action::Keepalive => self.keep(now, key, true, out),
            Action::Ask => self.ask(now, key, out),
            Action::AskAnew => {
                self.ask(now, key, out);
                self.greet(now, key, out);
            }
            Action::Challenge(address) => self.challenge(now, key, address, out),
            Action::AskAround => self.ask_around(now, key, out),
            Action::TryDirect => self.try_direct(now, key, out),
            Action::Compare => self.compare(now, key, out),
            Action::Moved(path) => self.moved(now, key, path, out),
            Action::PathDead => self.find_way(now, key, out),
            Action::Probe { number, length } => self.probe(now, key, number, length, out),
            Action::Rekey => self.rekey(now, key),
            Action::Down(why) => self.part(now, key, why, out),
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.sweep_at = now + SWEEP;
        self.recall(now);
        self.circuits.expire(now);
        let circuits = &self.circuits;
        for (_, member) in self.peers.iter_mut() {
            member.circuit.take_if(|circuit| circuits.get(*circuit).is_none());
        }
        for slot in 0..self.peers.slots() {
            let Some(key) = self.peers.key(slot) else { continue };
            let Some(member) = self.peers.get(key) else { continue };
            let hopeless = !member.peer.is_up() && now.since(member.known_since) >= FORGET_AFTER;
            if hopeless && !self.peers.iter().any(|(_, other)| other.news.reaches(key.slot)) {
                self.forget(key);
            }
        }
    }

    /// Forgets a node without a session, with all that was under way to reach it.
    pub(super) fn forget(&mut self, key: PeerKey) {
        let indexes = &mut self.indexes;
        if let Some(member) = self.peers.get_mut(key) {
            member.dial.stop(&mut |index| indexes.withdraw(index));
        }
        self.circuits_to_nobody(key);
        self.peers.remove(key);
    }

    fn deadline(&self) -> Option<Instant> {
        let hosts = self.hosts.iter().map(|(_, entry)| entry.dial.next_timeout());
        let members = self.peers.iter().map(|(_, member)| {
            let news = earliest(member.news.next_timeout(), member.punch.next_timeout());
            earliest(earliest(member.peer.next_timeout(), member.dial.next_timeout()), news)
        });
        let beacons = self.discovery.as_ref().map(Discovery::next_timeout);
        let loops = self.loops.as_ref().and_then(Loops::next_timeout);
        let strangers = self.admission.next_timeout();
        let mapping = self.portmap.next_timeout();
        let own = [self.answers.next_timeout(), strangers, Some(self.sweep_at), beacons, loops, mapping];
        hosts.chain(members).chain(own).fold(None, earliest)
    }
}
