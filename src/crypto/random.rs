//! Randomness as the core sees it: a generator seeded from outside (the daemon takes the seed from the
//! kernel, the simulator from its own), so that the core is a function of its arguments.
//!
//! The stream is AES-256-CTR under the seed with a zero first counter block, which is the generator that NIST SP 800-90A
//! calls CTR_DRBG without its derivation function, reduced to one long request.

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};

use crate::base::time::Duration;

/// A generator that a seed determines.
pub struct Random {
    stream: Ctr128BE<Aes256>,
}

impl Random {
    /// Starts the stream of that seed.
    pub fn new(seed: [u8; 32]) -> Random {
        Random { stream: Ctr128BE::new(&seed.into(), &[0; 16].into()) }
    }

    /// The next bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.apply_keystream(&mut bytes);
        bytes
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

    #[test]
    fn jitter_stays_within_its_bound() {
        let mut random = Random::new([1; 32]);
        let most = Duration::from_millis(3);
        assert!((0..1000).all(|_| random.jitter(most) <= most));
        assert_eq!(random.jitter(Duration::ZERO), Duration::ZERO);
    }
}
