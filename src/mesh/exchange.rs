//! Peer exchange: each node tells its peers whom it has a direct path to, as far as that changed, and what
//! it hears makes it try to reach the nodes it did not know.
//!
//! An entry is brief (a short id) until its receiver asks for it in full, so that a mesh whose members know
//! each other stays quiet. Each announcement is numbered and repeated until answered; the answer names the
//! entries that are wanted in full. What others say is a hint: it adds addresses to try, at a limited rate, and never
//! changes what is known at first hand (S11).

use crate::base::discard::Discard;
use crate::base::ids::PeerKey;
use crate::base::limits::{CONTROL_MAX, NEWS_AGAIN, NEWS_DELAY, NEWS_ENTRIES, NEWS_EVERY, PEERS};
use crate::base::outbox::Outbox;
use crate::base::time::{Backoff, Instant};
use crate::mesh::Mesh;
use crate::mesh::news::{Flight, Slots};
use crate::mesh::peers::Peers;
use crate::peer::Peer;
use crate::wire::control::{Announce, AnnounceWriter, Control, Endpoints, Entry, Subject};
use crate::wire::envelope::Kind;

impl Mesh {
    /// A session with `key` began outside an older one: tells it of all that have a direct path to us.
    pub(super) fn news_for_newcomer(&mut self, now: Instant, key: PeerKey) {
        let mut direct = Slots::default();
        for (other, member) in self.peers.iter() {
            direct.set(other.slot, member.told_direct.is_some() && other != key);
        }
        let Some(member) = self.peers.get_mut(key) else { return };
        member.news.restart();
        if !direct.is_empty() {
            member.news.pending = direct;
            member.news.due = Some(now);
            self.wake(now);
        }
    }

    /// Tells the others when `key` has got or lost its direct path, or has it from another address.
    pub(super) fn news_about(&mut self, now: Instant, key: PeerKey) {
        let Some(member) = self.peers.get_mut(key) else { return };
        let direct = member.peer.direct().filter(|_| member.peer.is_up());
        if member.told_direct == direct {
            return;
        }
        let moved = direct.is_some() && member.told_before.is_some_and(|before| Some(before) != direct);
        if direct.is_none() {
            member.indirect_since = now;
        } else {
            member.punch.restart();
        }
        member.told_direct = direct;
        member.told_before = direct.or(member.told_before);
        let due = now + self.random.jitter(NEWS_DELAY);
        for (other, member) in self.peers.iter_mut() {
            if other != key && member.peer.is_up() {
                member.news.add(key.slot, due);
                member.news.in_full.set(key.slot, moved);
            }
        }
        self.wake(due);
    }

    /// Sends `key` what it is to be told, when that is due.
    pub(super) fn send_news(&mut self, now: Instant, key: PeerKey, out: &mut Outbox) {
        let Some(member) = self.peers.get_mut(key) else { return };
        if member.news.next_timeout().is_none_or(|at| at > now) {
            return;
        }
        if !member.peer.is_reachable() {
            member.news.take_back();
            member.news.due = member.peer.is_up().then_some(now + NEWS_AGAIN);
            return;
        }
        let mut pause = Backoff::new(NEWS_AGAIN, NEWS_EVERY);
        if let Some(flight) = &member.news.flight {
            pause = flight.pause;
            member.news.take_back();
        } else if !member.news.bucket.take(now) {
            member.news.due = Some(member.news.bucket.ready_at().max(now + NEWS_AGAIN));
            return;
        }
        if let Err(why) = self.announce(now, key, pause, out) {
            out.count(why);
        }
    }

    fn announce(
        &mut self,
        now: Instant,
        key: PeerKey,
        pause: Backoff,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let Ok(mut packet) = out.blank() else {
            if let Some(member) = self.peers.get_mut(key) {
                member.news.due = Some(now + NEWS_AGAIN);
            }
            return Err(Discard::NoRoom);
        };
        let room = packet.push_back(CONTROL_MAX)?;
        let composed = compose(&mut self.peers, key, now, pause, self.relays, room);
        let fits = composed.and_then(|used| packet.pull_back(CONTROL_MAX - used).map(|()| used));
        match fits {
            Ok(used) if used > 0 => {
                self.post(now, key, Kind::Control, packet, out);
                Ok(())
            }
            Ok(_) => {
                out.recycle(packet);
                Ok(())
            }
            Err(why) => {
                out.recycle(packet);
                Err(why)
            }
        }
    }

    /// A peer told whom it reaches.
    pub(super) fn handle_announce(
        &mut self,
        now: Instant,
        from: PeerKey,
        announce: &Announce<'_>,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let mut wanted = [0; NEWS_ENTRIES];
        let mut count = 0;
        for (position, entry) in (0u8..).zip(announce.entries()) {
            // A node that finds no place is not asked for: it would find none the next time either.
            let known = self.hear_of(now, from, &entry).unwrap_or(true);
            if !known && count < NEWS_ENTRIES {
                wanted[count] = position;
                count += 1;
            }
        }
        let answer = Control::Announced { sequence: announce.sequence, wanted: &wanted[..count] };
        self.post_control(now, from, &answer, out)
    }

    /// Takes one entry in. False when its node, or where it is, is unknown and should be told in full.
    fn hear_of(&mut self, now: Instant, from: PeerKey, entry: &Entry) -> Result<bool, Discard> {
        let key = match entry.subject {
            Subject::Brief(short) if short == self.short => return Ok(true),
            Subject::Full(id, _) if id == self.id() => return Ok(true),
            Subject::Brief(short) => match self.peers.find_short(short) {
                Some(key) => key,
                None => return Ok(!entry.reachable),
            },
            Subject::Full(id, endpoints) => {
                if !entry.reachable && self.peers.find(&id).is_none() {
                    return Ok(true);
                }
                let key = self.know(now, id)?;
                if key != from {
                    self.add_hints(now, key, &endpoints);
                }
                key
            }
        };
        if key == from {
            return Ok(true);
        }
        let Some(teller) = self.peers.get_mut(from) else { return Err(Discard::UnknownPeer) };
        let new = entry.reachable && !teller.news.reaches.has(key.slot);
        teller.news.reaches.set(key.slot, entry.reachable);
        if entry.reachable {
            self.seek(now, key, new);
        }
        // Who came to us through a relay before we heard of it is known, but not where it is.
        let placeless = |peer: &Peer| peer.direct().is_none() && peer.endpoints().is_empty();
        let brief = matches!(entry.subject, Subject::Brief(_));
        Ok(!(brief && entry.reachable && self.peers.get(key).is_some_and(|member| placeless(&member.peer))))
    }

    pub(super) fn add_hints(&mut self, now: Instant, key: PeerKey, endpoints: &Endpoints) {
        for address in endpoints.iter() {
            if !self.own.allows(address) {
                continue;
            }
            self.note_family(key, address);
            if let Some(member) = self.peers.get_mut(key).filter(|_| self.own.has_family(address)) {
                member.peer.add_endpoint(now, address);
            }
        }
        if self.peers.get_mut(key).is_some_and(|member| member.peer.take_attention()) {
            self.wake(now);
        }
    }

    /// A peer answered an announcement.
    pub(super) fn handle_announced(
        &mut self,
        now: Instant,
        from: PeerKey,
        sequence: u32,
        wanted: &[u8],
    ) -> Result<(), Discard> {
        let news = &mut self.peers.get_mut(from).ok_or(Discard::UnknownPeer)?.news;
        let flight = news.flight.take_if(|flight| flight.sequence == sequence).ok_or(Discard::Unexpected)?;
        for &position in wanted {
            let sent = &flight.slots[..flight.entries];
            let slot = *sent.get(usize::from(position)).ok_or(Discard::Malformed)?;
            news.in_full.set(slot, true);
            news.add(slot, now);
        }
        news.due = (!news.pending.is_empty()).then_some(now);
        self.wake(now);
        Ok(())
    }
}

/// Writes as many pending entries for `key` as fit and notes them as in flight. Returns how many bytes were used, none
/// when there is nothing to tell.
fn compose(
    peers: &mut Peers,
    key: PeerKey,
    now: Instant,
    mut pause: Backoff,
    we_relay: bool,
    room: &mut [u8],
) -> Result<usize, Discard> {
    let news = &peers.get(key).ok_or(Discard::UnknownPeer)?.news;
    let (mut pending, in_full, reaches) = (news.pending, news.in_full, news.reaches);
    let sequence = news.sequence.wrapping_add(1);
    let mut flight = Flight {
        sequence,
        slots: [0; NEWS_ENTRIES],
        full: Slots::default(),
        entries: 0,
        again: now + pause.pause(),
        pause,
    };
    let mut writer = AnnounceWriter::new(room, sequence)?;
    for slot in (0u16..).take(PEERS).filter(|slot| news.pending.has(*slot)) {
        let subject = peers.key(usize::from(slot)).and_then(|subject| peers.get(subject));
        let Some(subject) = subject else {
            pending.set(slot, false);
            continue;
        };
        // Who reaches a node directly gains nothing from hearing of it, unless we could relay.
        if subject.told_direct.is_some() && !we_relay && reaches.has(slot) && !in_full.has(slot) {
            pending.set(slot, false);
            continue;
        }
        let entry = entry_about(&subject.peer, subject.told_direct.is_some(), in_full.has(slot));
        if flight.entries == NEWS_ENTRIES || !writer.add(&entry) {
            break;
        }
        flight.slots[flight.entries] = slot;
        flight.full.set(slot, in_full.has(slot));
        flight.entries += 1;
        pending.set(slot, false);
    }
    let used = if flight.entries > 0 { writer.written() } else { 0 };
    let news = &mut peers.get_mut(key).ok_or(Discard::UnknownPeer)?.news;
    news.pending = pending;
    news.due = (!pending.is_empty()).then_some(now);
    for &slot in &flight.slots[..flight.entries] {
        news.in_full.set(slot, false);
    }
    if flight.entries > 0 {
        news.sequence = sequence;
        news.flight = Some(flight);
    }
    Ok(used)
}

fn entry_about(peer: &Peer, reachable: bool, in_full: bool) -> Entry {
    if !in_full {
        return Entry { reachable, subject: Subject::Brief(peer.short()) };
    }
    let mut endpoints = Endpoints::default();
    if let Some(address) = peer.direct() {
        endpoints.add(address);
    }
    Entry { reachable, subject: Subject::Full(peer.id(), endpoints) }
}
