//! What happens to a datagram on its way from one node to another.

use peervpn::base::time::Duration;

use super::chance::Chance;

/// Bytes of the IPv4 and UDP headers in front of every datagram.
pub const HEADERS: usize = 28;

/// The condition of one direction between two nodes. Probabilities are per datagram.
#[derive(Clone, Debug)]
pub struct Link {
    /// Whether anything passes.
    pub up: bool,
    /// Time to the other end.
    pub delay: Duration,
    /// Up to so much is added to it.
    pub jitter: Duration,
    /// Probability of a loss.
    pub loss: f64,
    /// Losses that come in bursts, beside the single ones.
    pub burst: Option<Burst>,
    /// Probability that a datagram is overtaken: it takes three times as long.
    pub reorder: f64,
    /// Probability that a datagram comes twice.
    pub duplicate: f64,
    /// Probability that one to three bits are flipped.
    pub corrupt: f64,
    /// Probability that the end is cut off.
    pub truncate: f64,
    /// The longest IP packet that passes, in bytes; longer ones vanish without a word.
    pub mtu: usize,
    /// Whether that is the sender's own interface, whose kernel refuses what is longer.
    pub refuses: bool,
}

/// Losses after Gilbert and Elliott: the link turns bad and good again.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// Probability that a good link turns bad.
    pub enter: f64,
    /// Probability that a bad link turns good.
    pub leave: f64,
    /// Probability of a loss while it is bad.
    pub loss: f64,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            up: true,
            delay: Duration::from_millis(20),
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: None,
            reorder: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            truncate: 0.0,
            mtu: 1500,
            refuses: false,
        }
    }
}

impl Link {
    /// The copies of a datagram that arrive, each with the time it takes. `bad` is the burst state of this
    /// direction.
    pub fn carry(&self, bytes: &[u8], bad: &mut bool, chance: &mut Chance) -> Vec<(Duration, Vec<u8>)> {
        if !self.up || self.is_too_long(bytes) || self.lost(bad, chance) {
            return Vec::new();
        }
        let copies = if chance.hit(self.duplicate) { 2 } else { 1 };
        (0..copies).map(|_| (self.time(chance), self.damaged(bytes, chance))).collect()
    }

    /// Whether it is longer than what passes.
    pub fn is_too_long(&self, bytes: &[u8]) -> bool {
        bytes.len() + HEADERS > self.mtu
    }

    fn lost(&self, bad: &mut bool, chance: &mut Chance) -> bool {
        let in_burst = self.burst.is_some_and(|burst| {
            *bad ^= chance.hit(if *bad { burst.leave } else { burst.enter });
            *bad && chance.hit(burst.loss)
        });
        in_burst || chance.hit(self.loss)
    }

    fn time(&self, chance: &mut Chance) -> Duration {
        let time = self.delay + chance.up_to(self.jitter);
        if chance.hit(self.reorder) { time * 3 } else { time }
    }

    fn damaged(&self, bytes: &[u8], chance: &mut Chance) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if chance.hit(self.truncate) {
            bytes.truncate(chance.below(bytes.len().max(1)));
        }
        if chance.hit(self.corrupt) && !bytes.is_empty() {
            for _ in 0..=chance.below(3) {
                let at = chance.below(bytes.len());
                bytes[at] ^= 1 << chance.below(8);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(link: &Link, n: usize) -> usize {
        let mut chance = Chance::new(3);
        let mut bad = false;
        (0..n).map(|_| link.carry(&[7; 100], &mut bad, &mut chance).len()).sum()
    }

    #[test]
    fn a_good_link_carries_everything_as_it_is() {
        let mut chance = Chance::new(1);
        let link = Link::default();
        assert_eq!(link.carry(b"abc", &mut false, &mut chance), [(link.delay, b"abc".to_vec())]);
    }

    #[test]
    fn losses_and_duplicates_are_as_often_as_said() {
        assert_eq!(arrived(&Link { up: false, ..Link::default() }, 10), 0);
        let half = arrived(&Link { loss: 0.5, ..Link::default() }, 10_000);
        assert!((4800..5200).contains(&half), "{half}");
        let twice = arrived(&Link { duplicate: 0.5, ..Link::default() }, 10_000);
        assert!((14_800..15_200).contains(&twice), "{twice}");
        // Bad half of the time, and then deaf.
        let burst = Burst { enter: 0.1, leave: 0.1, loss: 1.0 };
        let burst = arrived(&Link { burst: Some(burst), ..Link::default() }, 10_000);
        assert!((4000..6000).contains(&burst), "{burst}");
    }

    #[test]
    fn what_is_too_long_vanishes() {
        let link = Link { mtu: 1280, ..Link::default() };
        let mut chance = Chance::new(1);
        assert_eq!(link.carry(&[0; 1252], &mut false, &mut chance).len(), 1);
        assert_eq!(link.carry(&[0; 1253], &mut false, &mut chance).len(), 0);
    }

    #[test]
    fn damage_is_small_and_seen() {
        let mut chance = Chance::new(9);
        let flip = Link { corrupt: 1.0, ..Link::default() };
        for _ in 0..1000 {
            let bytes = flip.carry(&[0; 50], &mut false, &mut chance).remove(0).1;
            let flipped: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
            assert!(flipped <= 3 && bytes.len() == 50);
        }
        let cut = Link { truncate: 1.0, ..Link::default() };
        assert!((0..1000).all(|_| cut.carry(&[0; 50], &mut false, &mut chance)[0].1.len() < 50));
    }
}
