//! Time as the core sees it: an argument, in microseconds since the daemon started.
//!
//! The daemon reads `CLOCK_BOOTTIME`, the simulator counts. Nothing here ever asks a clock.

use core::ops::{Add, Sub};
pub use core::time::Duration;

/// A point in time, in microseconds since an origin that only differences can be taken from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Instant = Instant(0);

    /// The point `us` microseconds after the origin.
    pub const fn from_micros(us: u64) -> Instant {
        Instant(us)
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, rhs: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, rhs: Instant) -> Duration {
        self.since(rhs)
    }
}

/// The earlier of two deadlines, where none means never.
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A table of deadlines, one for each timer of an enum with `N` members.
#[derive(Clone, Debug)]
pub struct Timers<const N: usize> {
    due: [Option<Instant>; N],
}

impl<const N: usize> Default for Timers<N> {
    fn default() -> Self {
        Timers { due: [None; N] }
    }
}

impl<const N: usize> Timers<N> {
    /// Arms timer `i`, replacing its deadline.
    pub fn set(&mut self, i: usize, at: Instant) {
        self.due[i] = Some(at);
    }

    /// Arms timer `i` unless it is due earlier already.
    pub fn set_earlier(&mut self, i: usize, at: Instant) {
        self.due[i] = earliest(self.due[i], Some(at));
    }

    /// Disarms timer `i`.
    pub fn stop(&mut self, i: usize) {
        self.due[i] = None;
    }

    /// The deadline of timer `i`.
    pub fn get(&self, i: usize) -> Option<Instant> {
        self.due[i]
    }

    /// Whether timer `i` is due at `now`; a due timer is disarmed by asking.
    pub fn expired(&mut self, i: usize, now: Instant) -> bool {
        let due = self.due[i].is_some_and(|at| at <= now);
        if due {
            self.due[i] = None;
        }
        due
    }

    /// The earliest deadline of all.
    pub fn next(&self) -> Option<Instant> {
        self.due.iter().copied().fold(None, earliest)
    }
}

/// Pauses between tries that double from one to the next.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    pause: Duration,
    most: Duration,
}

impl Backoff {
    /// Pauses of `first`, twice that, and so on up to `most`.
    pub const fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, pause: first, most }
    }

    /// The pause until the next try.
    pub fn pause(&mut self) -> Duration {
        let pause = self.pause.min(self.most);
        self.pause = (pause * 2).min(self.most);
        pause
    }

    /// Begins again with the first pause.
    pub fn reset(&mut self) {
        self.pause = self.first;
    }
}

/// A budget that refills steadily up to a bound.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: u32,
    burst: u32,
    interval: Duration,
    refilled: Instant,
}

impl Bucket {
    /// A full bucket of `burst` tokens that gains one every `interval`.
    pub const fn new(burst: u32, interval: Duration, now: Instant) -> Bucket {
        Bucket { tokens: burst, burst, interval, refilled: now }
    }

    /// Whether there is a token.
    pub fn has(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens > 0
    }

    /// How many tokens there are.
    pub fn left(&mut self, now: Instant) -> u32 {
        self.refill(now);
        self.tokens
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let taken = self.has(now);
        self.tokens -= u32::from(taken);
        taken
    }

    fn refill(&mut self, now: Instant) {
        while self.tokens < self.burst && self.refilled + self.interval <= now {
            self.tokens += 1;
            self.refilled = self.refilled + self.interval;
        }
        if self.tokens == self.burst {
            self.refilled = now;
        }
    }

    /// When there will be a token.
    pub fn ready_at(&self) -> Instant {
        if self.tokens > 0 { self.refilled } else { self.refilled + self.interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn differences_never_go_below_zero() {
        let later = Instant::ZERO + SECOND;
        assert_eq!(later - Instant::ZERO, SECOND);
        assert_eq!(Instant::ZERO - later, Duration::ZERO);
    }

    #[test]
    fn a_timer_fires_once() {
        let mut timers = Timers::<2>::default();
        timers.set(1, Instant::ZERO + SECOND);
        assert_eq!(timers.next(), Some(Instant::ZERO + SECOND));
        assert!(!timers.expired(1, Instant::ZERO));
        assert!(timers.expired(1, Instant::ZERO + SECOND));
        assert!(!timers.expired(1, Instant::ZERO + SECOND));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);
        let pauses: Vec<u64> = (0..5).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.pause(), SECOND);
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(2, SECOND, Instant::ZERO);
        let taken = |bucket: &mut Bucket, ms: u64| bucket.take(Instant::from_micros(ms * 1000));
        assert!(taken(&mut bucket, 0) && taken(&mut bucket, 0) && !taken(&mut bucket, 0));
        assert_eq!(bucket.ready_at(), Instant::ZERO + SECOND);
        assert!(!taken(&mut bucket, 999) && taken(&mut bucket, 1000) && !taken(&mut bucket, 1500));
        assert!(taken(&mut bucket, 60_000) && taken(&mut bucket, 60_000) && !taken(&mut bucket, 60_000));
    }

    #[test]
    fn set_earlier_only_ever_brings_forward() {
        let mut timers = Timers::<1>::default();
        timers.set_earlier(0, Instant::ZERO + 2 * SECOND);
        timers.set_earlier(0, Instant::ZERO + SECOND);
        timers.set_earlier(0, Instant::ZERO + 3 * SECOND);
        assert_eq!(timers.get(0), Some(Instant::ZERO + SECOND));
    }
}
