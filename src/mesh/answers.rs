//! The handshakes that others began and that we answered. An answer is made once and stored: the same first message gets the
//! same second one while the answer lives, then silence (S2, S5a).

use crate::base::ids::{PeerKey, SessionIndex};
use crate::base::limits::{ANSWER_LIFE, ANSWERS, HELLOS_REMEMBERED, PEERS};
use crate::base::table::Table;
use crate::base::time::{Instant, earliest};
use crate::peer::handshake::AwaitM3;
use crate::peer::path::Path;

/// Where a handshake message came from, and where its answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The open network, or a relay.
    Outside(Path),
    /// A session: the handshake is for its next key.
    Inside(PeerKey),
}

/// A handshake that another began and that we answered.
pub(super) struct Answer {
    /// The handshake.
    pub(super) state: AwaitM3,
    /// The first message's key, by which it is known again.
    pub(super) ephemeral: [u8; 32],
    /// Where the answer was sent, if that was one place: who completes the handshake from there has received it there. Of
    /// several, the last message's source shows nothing, for any of them has all that it takes to write it (S19).
    pub(super) sent_to: Option<Origin>,
    /// When the first message came.
    pub(super) arrived: Instant,
    /// How often it may be sent again.
    pub(super) copies: u8,
    /// Third messages that took work on the curve and failed.
    pub(super) failures: u8,
}

impl Answer {
    /// Notes another place that the answer goes to.
    pub(super) fn sends_to(&mut self, origin: Origin) {
        self.sent_to.take_if(|first| *first != origin);
    }
}

/// The handshakes that others began. Those for the next key of a session have places of their own, so that no flood from
/// outside can starve them: two a peer, as the peer keeps its last two tries.
pub struct Answers {
    outside: Vec<Answer>,
    inside: Vec<(PeerKey, Answer)>,
    /// First messages answered lately.
    pub(super) seen: Table<[u8; 32], ()>,
}

/// Tries of one peer inside its session that are answered side by side.
const TRIES: usize = 2;

impl Answers {
    /// None.
    pub fn new(seed: u64) -> Answers {
        Answers {
            outside: Vec::with_capacity(ANSWERS),
            inside: Vec::with_capacity(TRIES * PEERS),
            seen: Table::new(HELLOS_REMEMBERED, seed),
        }
    }

    /// How many from outside there are.
    pub(super) fn outside(&self) -> usize {
        self.outside.len()
    }

    /// Whether there is a place for a handshake from `origin`.
    pub(super) fn has_room(&self, origin: Origin) -> bool {
        match origin {
            Origin::Outside(_) => true,
            Origin::Inside(key) => self.inside.len() < TRIES * PEERS || self.oldest_of(key).is_some(),
        }
    }

    /// Takes in an answer. The newest replaces the oldest when there are too many, of all from outside or of that peer
    /// inside its session; the index of the one replaced is returned. An honest one is completed within its round trip,
    /// and admission lets no more in than leave it that time.
    pub(super) fn add(&mut self, origin: Origin, answer: Answer) -> Option<SessionIndex> {
        match origin {
            Origin::Outside(_) => {
                let oldest = (0..self.outside.len()).min_by_key(|place| self.outside[*place].arrived);
                if let Some(place) = oldest.filter(|_| self.outside.len() >= ANSWERS) {
                    let old = core::mem::replace(&mut self.outside[place], answer);
                    return Some(old.state.index());
                }
                self.outside.push(answer);
            }
            Origin::Inside(key) => match self.oldest_of(key) {
                Some(place) => {
                    let old = core::mem::replace(&mut self.inside[place].1, answer);
                    return Some(old.state.index());
                }
                None => self.inside.push((key, answer)),
            },
        }
        None
    }

    /// Where the older of the peer's answers is, when it has as many as it may.
    fn oldest_of(&self, key: PeerKey) -> Option<usize> {
        let of = || self.inside.iter().enumerate().filter(|(_, (other, _))| *other == key);
        if of().count() < TRIES {
            return None;
        }
        of().min_by_key(|(_, (_, answer))| answer.arrived).map(|(place, _)| place)
    }

    /// The answer to the first message with that ephemeral key.
    pub(super) fn to(&mut self, ephemeral: &[u8; 32]) -> Option<&mut Answer> {
        let inside = self.inside.iter_mut().map(|(_, answer)| answer);
        self.outside.iter_mut().chain(inside).find(|answer| answer.ephemeral == *ephemeral)
    }

    /// The answer of that index.
    pub(super) fn find(&mut self, index: SessionIndex) -> Option<&mut Answer> {
        let inside = self.inside.iter_mut().map(|(_, answer)| answer);
        self.outside.iter_mut().chain(inside).find(|answer| answer.state.index() == index)
    }

    /// Takes the answer of that index out: its handshake is complete.
    pub(super) fn take(&mut self, index: SessionIndex) -> Option<Answer> {
        let of = |answer: &Answer| answer.state.index() == index;
        if let Some(place) = self.outside.iter().position(of) {
            return Some(self.outside.swap_remove(place));
        }
        let place = self.inside.iter().position(|(_, answer)| of(answer))?;
        Some(self.inside.swap_remove(place).1)
    }

    /// Forgets what was answered and not completed; the indexes are handed to `freed`.
    pub(super) fn expire(&mut self, now: Instant, freed: &mut dyn FnMut(SessionIndex)) {
        let mut lives = |answer: &Answer| {
            let lives = now < answer.arrived + ANSWER_LIFE;
            if !lives {
                freed(answer.state.index());
            }
            lives
        };
        self.outside.retain(&mut lives);
        self.inside.retain(|(_, answer)| lives(answer));
    }

    /// When the next answer is over.
    pub fn next_timeout(&self) -> Option<Instant> {
        let inside = self.inside.iter().map(|(_, answer)| answer);
        let all = self.outside.iter().chain(inside);
        all.fold(None, |sum, answer| earliest(sum, Some(answer.arrived + ANSWER_LIFE)))
    }
}
