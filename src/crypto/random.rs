//! Randomness as the core sees it: a generator seeded from outside (the daemon takes the seed from the
//! kernel, the simulator from its own), so that the core is a function of its arguments.
//!
//! Each request has a stream of its own: AES-256-CTR from a zero counter block. Its first bytes are the answer, the
//! next 32 the key of the following request, and the key before is overwritten. So what was drawn, the
//! secrets of finished handshakes above all, does not follow from what memory holds afterwards (D. J.
//! Bernstein, "Fast-key-erasure random-number generators", 2017).

use ctr::cipher::KeyInit;
use peervpn_keystream::{self as keystream, Aes256Enc, BLOCK};
use zeroize::{Zeroize, Zeroizing};

use crate::base::time::Duration;

/// The most bytes that one request gets.
const MOST: usize = 64;

/// A generator that a seed determines.
pub struct Random {
    /// The key of the next request. It has one place in memory, however often its owner is moved.
    key: Box<Zeroizing<[u8; 32]>>,
}

impl Random {
    /// The generator of that seed.
    pub fn new(mut seed: [u8; 32]) -> Random {
        let mut key = Box::new(Zeroizing::new([0; 32]));
        key.copy_from_slice(&seed);
        seed.zeroize();
        Random { key }
    }

    /// The next bytes, at most 64.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= MOST) };
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        let key: &[u8; 32] = &self.key;
        let cipher = Aes256Enc::new(key.into());
        let mut stream = Zeroizing::new([0; MOST + 32]);
        let needed = (bytes.len() + 32).next_multiple_of(BLOCK);
        keystream::apply(&cipher, &[0; BLOCK], &mut stream[..needed]);
        let (drawn, next) = stream.split_at(bytes.len());
        bytes.copy_from_slice(drawn);
        self.key.copy_from_slice(&next[..32]);
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes())
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes())
    }

    /// A duration from zero to `most`.
    pub fn jitter(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.u64() % (most + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_the_stream() {
        let mut one = Random::new([7; 32]);
        let mut two = Random::new([7; 32]);
        let mut other = Random::new([8; 32]);
        let first: [u8; 40] = one.bytes();
        assert_eq!(first, two.bytes());
        assert_ne!(first, other.bytes());
        assert_ne!(first, one.bytes());
    }

    // S8: forward secrecy reaches down to where the secrets come from.
    #[test]
    fn what_was_drawn_does_not_follow_from_what_is_kept() {
        let mut random = Random::new([7; 32]);
        let seed_stream = |key: &[u8; 32]| {
            let mut bytes = [0; 96];
            keystream::apply(&Aes256Enc::new(key.into()), &[0; BLOCK], &mut bytes);
            bytes
        };
        for _ in 0..3 {
            let before = **random.key;
            let drawn: [u8; 40] = random.bytes();
            let stream = seed_stream(&before);
            assert_eq!(drawn, stream[..40]);
            assert_eq!(**random.key, stream[40..72], "the next key is what follows");
            let after = seed_stream(&random.key);
            assert!(!after.windows(8).any(|window| drawn.windows(8).any(|other| other == window)));
        }
    }

    #[test]
    fn jitter_stays_within_its_bound() {
        let mut random = Random::new([1; 32]);
        let most = Duration::from_millis(3);
        assert!((0..1000).all(|_| random.jitter(most) <= most));
        assert_eq!(random.jitter(Duration::ZERO), Duration::ZERO);
    }
}
