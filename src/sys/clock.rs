//! Time and chance: the only two things that the core cannot make by itself.
//!
//! Time is `CLOCK_BOOTTIME`, which goes on through suspend and never jumps (S7). Chance comes from the kernel
//! alone, waited for until it is seeded (S8).

use std::io;

use zeroize::Zeroizing;

use crate::base::time::Instant;
use crate::sys::{Context, check, failure};

/// Counts microseconds since it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: u64,
}

impl Clock {
    /// A clock that starts now, at [`Instant::ZERO`].
    ///
    /// # Errors
    /// A kernel without `CLOCK_BOOTTIME` (before 2.6.39).
    pub fn new() -> io::Result<Clock> {
        Ok(Clock { origin: boottime().context("read the clock")? })
    }

    /// The present. Read once a turn of the loop.
    pub fn now(&self) -> Instant {
        // The call that worked in `new` cannot fail later; should it, time stands still rather than jumps.
        Instant::from_micros(boottime().unwrap_or(self.origin).saturating_sub(self.origin))
    }
}

/// Microseconds since the machine started, time asleep included.
fn boottime() -> io::Result<u64> {
    // SAFETY: plain numbers; all zero is a valid value, and musl hides a field of padding.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: `time` is a timespec of ours that the kernel fills.
    check(unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) })?;
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Ok(seconds * 1_000_000 + nanoseconds / 1_000)
}

/// Waits: for the commands that people watch, never in the loop.
pub fn sleep(time: core::time::Duration) {
    std::thread::sleep(time);
}

/// 32 bytes that nobody can guess. Waits until the kernel's generator is seeded, which takes a while on a
/// router that has just started.
///
/// # Errors
/// A kernel that gives no randomness at all.
pub fn entropy() -> io::Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)
        .map_err(|error| failure(io::ErrorKind::Other, format!("cannot get random bytes: {error}")))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::child::{forking, in_child, root_or_skip};

    #[test]
    fn the_clock_starts_near_zero_and_never_goes_back() {
        let clock = Clock::new().unwrap();
        let mut last = clock.now();
        assert!(last.as_micros() < 3_600_000_000, "the origin is this process, not the machine's start");
        for _ in 0..1000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn a_clock_made_earlier_is_ahead() {
        let first = Clock { origin: 0 };
        assert!(first.now() > Clock::new().unwrap().now());
    }

    /// What the kernel says of one of its clocks, in microseconds.
    fn told(clock: libc::clockid_t) -> u64 {
        // SAFETY: as in `boottime`.
        unsafe {
            let mut time: libc::timespec = std::mem::zeroed();
            check(libc::clock_gettime(clock, &raw mut time)).unwrap();
            u64::try_from(time.tv_sec).unwrap() * 1_000_000 + u64::try_from(time.tv_nsec).unwrap() / 1000
        }
    }

    #[test]
    fn it_is_the_clock_that_nobody_sets() {
        // S7: what people and NTP set counts from 1970.
        let (before, now, after) =
            (told(libc::CLOCK_BOOTTIME), boottime().unwrap(), told(libc::CLOCK_BOOTTIME));
        assert!((before..=after).contains(&now), "{before} {now} {after}");
    }

    #[test]
    fn time_asleep_counts() {
        // S7: for a process in a time namespace of its own this machine has slept for a day (time_namespaces(7)).
        if !root_or_skip("time_asleep_counts") {
            return;
        }
        let _guard = forking();
        in_child(|| {
            const CLONE_NEWTIME: libc::c_int = 0x80;
            // SAFETY: no memory is involved.
            if unsafe { libc::unshare(CLONE_NEWTIME) } != 0 {
                eprintln!("SKIPPED: this kernel has no time namespaces");
                return;
            }
            std::fs::write("/proc/self/timens_offsets", "boottime 86400 0").unwrap();
            let before = boottime().unwrap();
            in_child(|| assert!(boottime().unwrap() >= before + 86_400_000_000));
        });
    }

    // S8: two draws are never alike.
    #[test]
    fn no_two_seeds_are_alike() {
        assert_ne!(*entropy().unwrap(), *entropy().unwrap());
    }
}
