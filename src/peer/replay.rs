//! Which counters have been received: a sliding bitmap behind the newest one.
//!
//! A counter is asked about first ([`Window::acceptable`]) and marked only after its packet's MAC has
//! passed ([`Window::mark`]), so that nothing forged moves the window. A counter is taken once, however
//! late its duplicate comes (S6), and any authentic jump forward is followed at once.
//!
//! The bitmap is a ring of 32-bit words, one more than the width needs: the newest word is partly in the
//! future, and the oldest is still whole. Its place is found by subtraction from the newest word's place,
//! without a division, which 64-bit counters would make dear on a 32-bit router.

use crate::base::discard::Discard;
use crate::base::limits::{HOP_WINDOW, REPLAY_WINDOW};

/// The window of a session: [`REPLAY_WINDOW`] counters.
pub type SessionWindow = Window<{ words(REPLAY_WINDOW) }>;
/// The window of a relay hop: [`HOP_WINDOW`] counters.
pub type HopWindow = Window<{ words(HOP_WINDOW) }>;

const WORD: u64 = u32::BITS as u64;
const _: () = assert!(REPLAY_WINDOW % WORD == 0 && HOP_WINDOW % WORD == 0);

/// Words that a window of `width` counters keeps.
#[allow(clippy::cast_possible_truncation, reason = "widths are a few thousand")]
const fn words(width: u64) -> usize {
    (width / WORD) as usize + 1
}

/// A window of `(WORDS - 1) * 32` counters.
#[derive(Clone)]
pub struct Window<const WORDS: usize> {
    /// The highest counter marked; zero before the first.
    newest: u64,
    /// Place of the word that holds `newest`.
    head: usize,
    ring: [u32; WORDS],
}

impl<const WORDS: usize> Default for Window<WORDS> {
    fn default() -> Self {
        Window { newest: 0, head: 0, ring: [0; WORDS] }
    }
}

impl<const WORDS: usize> Window<WORDS> {
    /// How far behind the newest counter one is too old.
    pub const WIDTH: u64 = (WORDS as u64 - 1) * WORD;

    /// Whether a packet with that counter may still come; [`Discard::Replayed`] if it has come or is too old.
    pub fn acceptable(&self, counter: u64) -> Result<(), Discard> {
        if counter > self.newest {
            return Ok(());
        }
        if self.newest - counter >= Self::WIDTH || self.ring[self.place(counter)] & bit(counter) != 0 {
            return Err(Discard::Replayed);
        }
        Ok(())
    }

    /// Notes that the packet with that counter has come. To be called for an acceptable counter, after
    /// its MAC has passed.
    pub fn mark(&mut self, counter: u64) {
        debug_assert!(self.acceptable(counter).is_ok());
        if counter > self.newest {
            self.advance(counter);
        } else if self.newest - counter >= Self::WIDTH {
            return;
        }
        self.ring[self.place(counter)] |= bit(counter);
    }

    /// How many of the last counters have come, and how many those are: up to the newest one, as far back as whole words go.
    pub fn seen(&self) -> (u32, u32) {
        let behind = (self.newest / WORD).min(WORDS as u64 - 1) * WORD;
        #[allow(clippy::cast_possible_truncation, reason = "below two words more than the width")]
        let all = (behind + self.newest % WORD + 1) as u32;
        (self.ring.iter().map(|word| word.count_ones()).sum(), all)
    }

    /// Makes `counter` the newest, emptying the words that come into the window.
    fn advance(&mut self, counter: u64) {
        let step = counter / WORD - self.newest / WORD;
        for _ in 0..step.min(WORDS as u64) {
            self.head = if self.head + 1 == WORDS { 0 } else { self.head + 1 };
            self.ring[self.head] = 0;
        }
        self.newest = counter;
    }

    /// The place of a counter that is in the window, so at most `WORDS - 1` words behind the newest one's.
    fn place(&self, counter: u64) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "below WORDS")]
        let behind = (self.newest / WORD - counter / WORD) as usize;
        if behind <= self.head { self.head - behind } else { self.head + WORDS - behind }
    }
}

fn bit(counter: u64) -> u32 {
    1 << (counter % WORD)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::limits::COUNTER_MAX;
    use crate::crypto::random::Random;

    /// Asks, and marks what is acceptable, as a session does with packets that are all authentic.
    fn take<const WORDS: usize>(window: &mut Window<WORDS>, counter: u64) -> bool {
        let taken = window.acceptable(counter).is_ok();
        if taken {
            window.mark(counter);
        }
        taken
    }

    /// The truth: everything that was taken, and the highest of it.
    #[derive(Default)]
    struct Model {
        seen: BTreeSet<u64>,
    }

    impl Model {
        fn take(&mut self, counter: u64, width: u64) -> bool {
            let newest = self.seen.last().copied().unwrap_or(0);
            (counter > newest || newest - counter < width) && self.seen.insert(counter)
        }
    }

    fn agrees_with_the_model<const WORDS: usize>(seed: u8) {
        let mut random = Random::new([seed; 32]);
        let mut window = Window::<WORDS>::default();
        let mut model = Model::default();
        let width = Window::<WORDS>::WIDTH;
        let mut around = 0;
        for step in 0..60_000 {
            let reach = match random.u32() % 8 {
                0..4 => 40,
                4..6 => width / 2,
                6 => 2 * width,
                _ => 3,
            };
            let counter = (around + random.u64() % (2 * reach)).saturating_sub(reach);
            if random.u32() % 500 == 0 {
                around += random.u64() % (5 * width);
            }
            around = around.max(counter);
            let wanted = model.take(counter, width);
            assert_eq!(take(&mut window, counter), wanted, "seed {seed}, step {step}, counter {counter}");
            if step % 100 == 0 || step < 200 {
                let (came, all) = window.seen();
                let newest = model.seen.last().copied().unwrap_or(0);
                assert!(u64::from(all) > width.min(newest) && u64::from(all) <= width + WORD, "of {all}");
                assert!(newest >= width || u64::from(all) == newest + 1, "of {all}, all until {newest}");
                // A late one in the oldest word may be too old to have been marked.
                let known = model.seen.iter().rev().take_while(|&&seen| newest - seen < all.into()).count();
                assert_eq!(came as usize, known, "seed {seed}, step {step}");
            }
        }
    }

    // S6: strict, at sessions and at relays.
    #[test]
    fn it_does_as_a_set_of_all_counters_would() {
        for seed in 0..4 {
            agrees_with_the_model::<{ words(REPLAY_WINDOW) }>(seed);
            agrees_with_the_model::<{ words(HOP_WINDOW) }>(seed);
            agrees_with_the_model::<2>(seed);
        }
    }

    #[test]
    fn the_widths_are_those_of_the_protocol() {
        assert_eq!(SessionWindow::WIDTH, 4096);
        assert_eq!(HopWindow::WIDTH, 1024);
        assert_eq!(size_of_val(&SessionWindow::default().ring) * 8, 4096 + 32);
    }

    #[test]
    fn every_number_one_by_one() {
        // What is taken, and what is refused, of one story; after WireGuard's manner of a table.
        let w = HopWindow::WIDTH;
        let story = [
            (0, true),
            (0, false),
            (1, true),
            (1, false),
            (9, true),
            (8, true),
            (7, true),
            (7, false),
            (w, true),
            (w - 1, true),
            (w - 1, false),
            (2, true),
            (1, false),
            (w + 16, true),
            (3, false),
            (16, false),
            (17, true),
            (17, false),
            (5 * w, true),
            (4 * w, false),
            (4 * w + 1, true),
            (4 * w + 1, false),
            (w + 16, false),
            (0, false),
        ];
        let mut window = HopWindow::default();
        for (number, (counter, wanted)) in story.into_iter().enumerate() {
            assert_eq!(take(&mut window, counter), wanted, "line {number}: {counter}");
        }
    }

    // S6: a duplicate is refused however late it comes.
    #[test]
    fn a_duplicate_is_refused_however_late_it_comes() {
        let mut window = SessionWindow::default();
        for counter in 0..3 * SessionWindow::WIDTH {
            assert!(take(&mut window, counter));
        }
        for counter in 0..3 * SessionWindow::WIDTH {
            assert!(!take(&mut window, counter), "{counter}");
        }
    }

    #[test]
    fn everything_in_the_window_is_taken_backwards_too() {
        let mut window = SessionWindow::default();
        for counter in (0..SessionWindow::WIDTH).rev() {
            assert!(take(&mut window, counter), "{counter}");
        }
        for counter in 0..SessionWindow::WIDTH {
            assert!(!take(&mut window, counter), "{counter}");
        }
    }

    // S6: recovers from any authentic forward jump.
    #[test]
    fn any_forward_jump_is_followed() {
        for jump in [1, 31, 32, 33, 4095, 4096, 4097, 4128, 16_384, 1 << 32, (1 << 32) + 5, COUNTER_MAX - 9] {
            let mut window = SessionWindow::default();
            assert!(take(&mut window, 5));
            assert!(take(&mut window, 5 + jump));
            assert!(!take(&mut window, 5 + jump), "{jump}");
            assert!(!take(&mut window, 5), "{jump}");
            assert_eq!(take(&mut window, 4), jump + 1 < SessionWindow::WIDTH, "{jump}");
            assert!(take(&mut window, 6 + jump), "{jump}");
        }
    }

    #[test]
    fn the_end_of_the_counters_is_nothing_special() {
        let mut window = SessionWindow::default();
        for counter in [COUNTER_MAX - 2, COUNTER_MAX, COUNTER_MAX - 1] {
            assert!(take(&mut window, counter));
            assert!(!take(&mut window, counter));
        }
        assert!(!take(&mut window, 0));
        assert!(!take(&mut window, COUNTER_MAX - SessionWindow::WIDTH));
        assert!(take(&mut window, COUNTER_MAX - SessionWindow::WIDTH + 1));
    }

    #[test]
    fn asking_changes_nothing() {
        let mut window = SessionWindow::default();
        window.mark(10);
        for _ in 0..2 {
            assert!(window.acceptable(COUNTER_MAX).is_ok());
            assert!(window.acceptable(9).is_ok());
            assert_eq!(window.acceptable(10), Err(Discard::Replayed));
        }
    }
}
