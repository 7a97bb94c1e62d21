//! What one peer is to be told of the others, and what it told.

use crate::base::ids::PeerKey;
use crate::base::limits::{NEWS_BURST, NEWS_ENTRIES, NEWS_EVERY, PEERS};
use crate::base::time::{Backoff, Bucket, Instant};

/// A set of slots of the peer table.
#[derive(Clone, Copy, Default)]
pub struct Slots {
    words: [u64; PEERS / 64],
}

impl Slots {
    /// Whether the slot is in.
    pub fn has(&self, slot: u16) -> bool {
        self.words[usize::from(slot) / 64] >> (slot % 64) & 1 != 0
    }

    /// Puts the slot in or takes it out.
    pub fn set(&mut self, slot: u16, member: bool) {
        let word = &mut self.words[usize::from(slot) / 64];
        *word = *word & !(1 << (slot % 64)) | u64::from(member) << (slot % 64);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }
}

/// An announcement that waits for its answer.
pub(super) struct Flight {
    /// Its number.
    pub(super) sequence: u32,
    /// Whom its entries are about.
    pub(super) slots: [u16; NEWS_ENTRIES],
    /// Which of them are full.
    pub(super) full: Slots,
    /// How many entries it has.
    pub(super) entries: usize,
    /// When it is sent again.
    pub(super) again: Instant,
    /// The pause after that.
    pub(super) pause: Backoff,
}

/// What one peer is to be told, and what it told.
pub struct News {
    /// Whom it is to be told of.
    pub(super) pending: Slots,
    /// Of whom it is to be told in full.
    pub(super) in_full: Slots,
    /// Whom it said it reaches.
    pub(super) reaches: Slots,
    /// The announcement that waits for its answer.
    pub(super) flight: Option<Flight>,
    /// The number of the last announcement.
    pub(super) sequence: u32,
    /// When the next one is due.
    pub(super) due: Option<Instant>,
    /// How many may go.
    pub(super) bucket: Bucket,
}

impl News {
    /// Nothing to tell, nothing told.
    pub fn new(now: Instant) -> News {
        News {
            pending: Slots::default(),
            in_full: Slots::default(),
            reaches: Slots::default(),
            flight: None,
            sequence: 0,
            due: None,
            bucket: Bucket::new(NEWS_BURST, NEWS_EVERY, now),
        }
    }

    /// A new session with the peer: it may know nothing, and what it told may be over.
    pub(super) fn restart(&mut self) {
        self.pending = Slots::default();
        self.in_full = Slots::default();
        self.reaches = Slots::default();
        self.flight = None;
        self.due = None;
    }

    /// The node in that slot has gone.
    pub fn forget(&mut self, gone: PeerKey) {
        self.pending.set(gone.slot, false);
        self.in_full.set(gone.slot, false);
        self.reaches.set(gone.slot, false);
    }

    /// Whether the peer said that it has a direct path to the node in that slot.
    pub fn reaches(&self, slot: u16) -> bool {
        self.reaches.has(slot)
    }

    pub(super) fn add(&mut self, slot: u16, due: Instant) {
        self.pending.set(slot, true);
        self.due = Some(self.due.map_or(due, |old| old.min(due)));
    }

    /// Puts the entries of an announcement that was not answered back.
    pub(super) fn take_back(&mut self) {
        if let Some(flight) = self.flight.take() {
            for &slot in &flight.slots[..flight.entries] {
                self.pending.set(slot, true);
                if flight.full.has(slot) {
                    self.in_full.set(slot, true);
                }
            }
        }
    }

    /// When something is to be sent.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.flight {
            Some(flight) => Some(flight.again),
            None => self.due,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::NEWS_AGAIN;

    #[test]
    fn a_set_of_slots() {
        let mut slots = Slots::default();
        assert!(slots.is_empty());
        for slot in [0, 63, 64, 255] {
            assert!(!slots.has(slot));
            slots.set(slot, true);
            assert!(slots.has(slot));
        }
        slots.set(64, false);
        assert!(slots.has(63) && !slots.has(64));
        assert!(!slots.is_empty());
    }

    #[test]
    fn an_unanswered_announcement_is_told_again() {
        let now = Instant::ZERO;
        let mut news = News::new(now);
        news.add(3, now);
        let mut flight = Flight {
            sequence: 1,
            slots: [0; NEWS_ENTRIES],
            full: Slots::default(),
            entries: 1,
            again: now,
            pause: Backoff::new(NEWS_AGAIN, NEWS_EVERY),
        };
        flight.slots[0] = 7;
        flight.full.set(7, true);
        news.flight = Some(flight);
        news.take_back();
        assert!(news.pending.has(3) && news.pending.has(7) && news.in_full.has(7));
    }
}
