//! From which of our own addresses to answer whom.
//!
//! A host with several addresses lets the routing table choose the sender's address. A peer, and every NAT and
//! firewall on the way to it, expects the answer from the address it wrote to. So the address that a peer
//! reaches us at is remembered and used for what goes back. It is only ever a preference: what is forgotten,
//! pushed out of the table or not ours any more, the kernel chooses again.
//!
//! Anybody can send a datagram in a peer's name. Therefore only what the node found to be genuine is noted, and
//! the last one counts; and the places in the table are chosen by a keyed hash. A first handshake message may be a
//! recorded one, sent again from an invented address: it needs an answer, but takes no place from who has proved
//! more, unless that one was not heard for [`QUIET`].

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use crate::base::event::Heard;
use crate::base::limits::QUIET;
use crate::base::time::Instant;

/// Sets of the table.
const SETS: usize = 128;
/// Places in each set.
const WAYS: usize = 4;

/// The table: fixed at the start, 32 KiB.
#[derive(Debug)]
pub(crate) struct Sources {
    sets: Box<[[Option<Entry>; WAYS]]>,
    /// Of the hash that chooses places.
    seed: [u8; 8],
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    remote: SocketAddr,
    local: IpAddr,
    used: Instant,
    proved: bool,
}

impl Entry {
    /// Whether what only knocks may take its place.
    fn yields(&self, now: Instant) -> bool {
        !self.proved || now.since(self.used) > QUIET
    }
}

impl Sources {
    /// An empty table.
    pub(crate) fn new() -> Sources {
        let mut seed = [0; 8];
        // Without chance somebody may aim at a place: an answer then leaves from where the kernel chooses.
        let _ = getrandom::fill(&mut seed);
        Sources { sets: vec![[None; WAYS]; SETS].into_boxed_slice(), seed }
    }

    /// `remote` wrote to our address `local`, and was `heard` to be who it is.
    pub(crate) fn note(&mut self, now: Instant, remote: SocketAddr, local: IpAddr, heard: Heard) {
        if heard == Heard::Nobody {
            return;
        }
        let proved = heard == Heard::Member;
        let set = self.set(remote);
        let fresh = Entry { remote, local, used: now, proved };
        let known = set.iter().position(|place| place.is_some_and(|entry| entry.remote == remote));
        // None sorts before all others: an empty place, else the one that was not used for longest.
        let oldest = || (0..WAYS).min_by_key(|&at| set[at].map(|entry| entry.used));
        if let Some(at) = known.or_else(oldest)
            && (proved || set[at].is_none_or(|entry| entry.yields(now)))
        {
            set[at] = Some(fresh);
        }
    }

    /// The address that `remote` wrote to.
    pub(crate) fn get(&mut self, remote: SocketAddr) -> Option<IpAddr> {
        self.set(remote).iter().flatten().find(|entry| entry.remote == remote).map(|entry| entry.local)
    }

    /// The address for `remote` did not serve.
    pub(crate) fn forget(&mut self, remote: SocketAddr) {
        for place in self.set(remote) {
            if place.is_some_and(|entry| entry.remote == remote) {
                *place = None;
            }
        }
    }

    /// The host's addresses or routes changed.
    pub(crate) fn clear(&mut self) {
        self.sets.fill([None; WAYS]);
    }

    fn set(&mut self, remote: SocketAddr) -> &mut [Option<Entry>; WAYS] {
        let mut hasher = DefaultHasher::new();
        (self.seed, remote).hash(&mut hasher);
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let hash = hasher.finish() as usize;
        &mut self.sets[hash % SETS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Duration;

    fn remote(last: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], last))
    }

    fn local(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    const HALF: Duration = Duration::from_millis(500);

    #[test]
    fn the_answer_leaves_from_where_the_question_came_to() {
        let mut sources = Sources::new();
        assert_eq!(sources.get(remote(1)), None);
        sources.note(Instant::ZERO, remote(1), local(1), Heard::Member);
        sources.note(Instant::ZERO, remote(2), local(2), Heard::Member);
        assert_eq!(sources.get(remote(1)), Some(local(1)));
        assert_eq!(sources.get(remote(2)), Some(local(2)));
        sources.forget(remote(1));
        assert_eq!(sources.get(remote(1)), None);
        sources.clear();
        assert_eq!(sources.get(remote(2)), None);
    }

    #[test]
    fn who_sends_in_a_peer_s_name_cannot_hold_its_place() {
        // Whoever invents the peer's address sends twice a second to our other address; the peer sends all the time.
        let mut sources = Sources::new();
        sources.note(Instant::ZERO, remote(1), local(1), Heard::Member);
        let mut now = Instant::ZERO + 3 * HALF;
        for _ in 0..20 {
            sources.note(now, remote(1), local(2), Heard::Member);
            for _ in 0..10 {
                now = now + HALF / 10;
                sources.note(now, remote(1), local(1), Heard::Member);
            }
        }
        assert_eq!(sources.get(remote(1)), Some(local(1)));
    }

    #[test]
    fn a_recorded_knock_takes_no_proved_place() {
        // Whoever has recorded a first message can send it to any address of ours, from any address.
        let mut sources = Sources::new();
        let mut now = Instant::ZERO;
        sources.note(now, remote(1), local(1), Heard::Knock);
        assert_eq!(sources.get(remote(1)), Some(local(1)), "it is to be answered");
        sources.note(now, remote(1), local(2), Heard::Member);
        sources.note(now, remote(1), local(3), Heard::Knock);
        assert_eq!(sources.get(remote(1)), Some(local(2)));
        (0..10_000).for_each(|i| sources.note(now, remote(i), local(3), Heard::Knock));
        assert_eq!(sources.get(remote(1)), Some(local(2)), "nor does a flood of them");
        now = now + QUIET + HALF;
        sources.note(now, remote(1), local(3), Heard::Knock);
        assert_eq!(sources.get(remote(1)), Some(local(3)), "a peer that was restarted and moved is let in");
    }

    #[test]
    fn a_full_set_forgets_whom_it_did_not_hear_for_longest() {
        let mut sources = Sources::new();
        for i in 0..10_000_u16 {
            sources.note(Instant::from_micros(u64::from(i)), remote(i), local(1), Heard::Member);
        }
        assert_eq!(sources.get(remote(9_999)), Some(local(1)));
        let known = (0..10_000).filter(|&i| sources.get(remote(i)).is_some()).count();
        assert_eq!(known, SETS * WAYS, "full, and no more");
        assert_eq!(sources.get(remote(0)), None);
    }
}
