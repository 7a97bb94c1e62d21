//! The handshakes that others began and that we answered. An answer is made once and stored: the same first message gets the
//! same second one while the answer lives, then silence (S2, S5a).

use crate::base::ids::{PeerKey, SessionIndex};
use crate::base::limits::{ANSWER_LIFE, ANSWERS, HELLOS_REMEMBERED};
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
    /// Where the answer was sent: who completes the handshake from there has received it there.
    pub(super) sent_to: [Option<Origin>; ANSWER_PLACES],
    /// When the first message came.
    pub(super) arrived: Instant,
}

impl Answer {
    /// Notes a place that the answer goes to; those beyond the last are not taken for proved.
    pub(super) fn sends_to(&mut self, origin: Origin) {
        let free = |place: &&mut Option<Origin>| place.is_none() || **place == Some(origin);
        if let Some(place) = self.sent_to.iter_mut().find(free) {
            *place = Some(origin);
        }
    }
}

/// Places remembered that one answer went to: the addresses of a volley and a relay.
pub(super) const ANSWER_PLACES: usize = 4;

/// The handshakes that others began.
pub struct Answers {
    pub(super) waiting: Vec<Answer>,
    /// First messages answered lately.
    pub(super) seen: Table<[u8; 32], ()>,
}

impl Answers {
    /// None.
    pub fn new(seed: u64) -> Answers {
        Answers { waiting: Vec::with_capacity(ANSWERS), seen: Table::new(HELLOS_REMEMBERED, seed) }
    }

    pub(super) fn find(&self, index: SessionIndex) -> Option<usize> {
        self.waiting.iter().position(|answer| answer.state.index() == index)
    }

    /// When the next answer is over.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.waiting.iter().fold(None, |sum, answer| earliest(sum, Some(answer.arrived + ANSWER_LIFE)))
    }
}
