//! The one generator that all randomness of a world comes from: SplitMix64, which a seed of 64 bits determines.

use peervpn::base::time::Duration;

/// A generator that a seed determines.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Starts the stream of that seed.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from zero to less than `n`, which is not zero.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.u64() % n as u64).expect("less than a usize")
    }

    /// Whether something of that probability happens.
    pub fn hit(&mut self, probability: f64) -> bool {
        // Asks the generator only where the answer is open, so that switching one fault on does not
        // change what an unrelated one does.
        probability > 0.0 && (self.u64() >> 11) as f64 / (1u64 << 53) as f64 <= probability
    }

    /// The next bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.u64().to_le_bytes()[..chunk.len()]);
        }
    }

    /// A duration from zero to `most`.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).expect("a virtual duration fits 64 bits");
        if most == 0 { Duration::ZERO } else { Duration::from_micros(self.u64() % (most + 1)) }
    }
}

#[test]
fn probabilities_hold_on_the_whole() {
    let mut chance = Chance::new(1);
    assert!((0..1000).all(|_| !chance.hit(0.0) && chance.hit(1.0)));
    let hits = (0..10_000).filter(|_| chance.hit(0.25)).count();
    assert!((2300..2700).contains(&hits), "{hits}");
}
