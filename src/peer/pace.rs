//! How long a path may lie idle before it needs a packet: as long as the NATs and firewalls on the way were seen to
//! remember it, and no less often.
//!
//! The two ends keep one pace, the slower of what each is ready for. After a silence of that length one end **serves**: it
//! sends a keepalive that wants one back. Whoever returned it serves next. So each end in turn hears the first packet
//! after a silence, and only that shows that its own NAT still let packets in; what it sends itself would open the NAT anew.
//! An end that was served is ready for more; one that waited in vain twice goes back, and tries no more than half of
//! what is left. An end that learns nothing, as through a relay, stays with [`KEEPALIVE`].
//!
//! While a silence is tried that turns out too long, the peer is out of reach until the next packet. So that is done only
//! where nothing was carried for [`KEEPALIVE_LEARN`]; a path in use keeps the pace that held.

use crate::base::limits::{KEEPALIVE, KEEPALIVE_LATE, KEEPALIVE_LEARN, KEEPALIVE_MAX};
use crate::base::time::{Duration, Instant};

/// What a pace is counted in, and told in.
const UNIT: u64 = KEEPALIVE_LATE.as_secs();
/// Timers and packets take their time.
const A_SECOND: Duration = Duration::from_secs(1);
const BASE: u8 = units(KEEPALIVE);
const TOP: u8 = units(KEEPALIVE_MAX);
/// So often in a row nobody must have served before it counts: packets are lost without any NAT.
const MISSES: u8 = 2;

#[allow(clippy::cast_possible_truncation, reason = "limits of ours")]
const fn units(time: Duration) -> u8 {
    (time.as_secs() / UNIT) as u8
}

fn after(time: Instant, units: u8) -> Instant {
    Instant::from_micros(time.as_micros() + u64::from(units) * (UNIT * 1_000_000))
}

/// The pace of one path, as one end knows it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    learns: bool,
    /// When a frame was carried last, or the path taken.
    used: Instant,
    /// Whether that is long enough ago to try more than what held.
    rested: bool,
    serves: bool,
    /// The longest silence after which the peer's packet came.
    held: u8,
    /// A silence after which it did not.
    failed: u8,
    misses: u8,
    /// Whether nothing came in time. If the peer answers by this path yet, it was there; if not, that tells nothing of NATs.
    late: bool,
    /// What the peer is ready for.
    theirs: u8,
}

impl Pace {
    /// One that nothing is known of. Of the two ends one `serves` first.
    pub fn new(now: Instant, serves: bool) -> Pace {
        Pace {
            learns: false,
            used: now,
            rested: false,
            serves,
            held: BASE,
            failed: u8::MAX,
            misses: 0,
            late: false,
            theirs: BASE,
        }
    }

    /// Another path is in use, which can be learned of if it is `direct`.
    pub fn renew(&mut self, now: Instant, direct: bool) {
        *self = Pace { learns: direct, failed: self.failed, ..Pace::new(now, self.serves) };
    }

    /// Nothing that was learned counts in another network.
    pub fn forget(&mut self, now: Instant) {
        *self = Pace { learns: self.learns, ..Pace::new(now, self.serves) };
    }

    /// Notes that a frame was carried.
    pub fn used(&mut self, now: Instant) {
        self.used = now;
        self.rested = false;
    }

    /// The peer has a new session, and what it is ready for is to be told anew.
    pub fn reset_theirs(&mut self) {
        self.theirs = BASE;
    }

    fn ours(&self) -> u8 {
        if !self.rested || self.failed <= self.held + self.held / 2 {
            return self.held;
        }
        (2 * self.held).min(self.held.midpoint(self.failed)).min(TOP)
    }

    fn now(&self) -> u8 {
        self.ours().min(self.theirs)
    }

    /// When the peer, heard then, is late.
    pub fn late_at(&self, heard: Instant) -> Instant {
        after(heard, self.now() + 1)
    }

    /// Whether it is for the peer to send the next packet: this end does not serve and sent its last when the peer did.
    pub fn waits(&self, sent: Instant, heard: Instant) -> bool {
        !self.serves && heard <= after(sent, 1)
    }

    /// When a keepalive is due.
    pub fn keep_at(&self, sent: Instant, heard: Instant) -> Instant {
        after(sent, self.now() + if self.waits(sent, heard) { 2 } else { 0 })
    }

    /// The peer's packet came by the path; the last packet of either went at `last`.
    pub fn heard_at(&mut self, now: Instant, last: Instant) {
        if core::mem::take(&mut self.late) {
            return self.missed();
        }
        // Not after a longer silence still: then this machine slept, and its NAT heard what it did not.
        if now + A_SECOND >= after(last, self.now()) && now <= self.late_at(last) {
            self.held = self.held.max(self.now());
            self.misses = 0;
        }
    }

    /// Nothing came, though the peer was to serve.
    pub fn note_late(&mut self) {
        self.late = !self.serves;
    }

    /// The peer was there, and its packet did not come. Rare, so kept out of what every packet passes.
    #[inline(never)]
    fn missed(&mut self) {
        self.misses += 1;
        if self.misses < MISSES {
            return;
        }
        self.misses = 0;
        self.serves = true;
        // It is not tried whether less would do.
        if self.now() > BASE {
            self.failed = self.now();
            self.held = self.held.min(self.failed.div_ceil(2)).max(BASE);
        }
    }

    /// What a keepalive carries: what we are ready for, and whether it wants one back.
    pub fn payload(&mut self, now: Instant, serve: bool) -> [u8; 2] {
        self.rested = self.learns && now.since(self.used) >= KEEPALIVE_LEARN;
        [self.ours(), u8::from(serve)]
    }

    /// Takes in what a keepalive carried; the last packet of ours went at `sent`. Returns whether one is to go back.
    pub fn take(&mut self, now: Instant, sent: Instant, payload: &[u8], leads: bool) -> bool {
        let &[theirs @ BASE..=u8::MAX, wants] = payload else { return false };
        self.theirs = theirs;
        let crossed = self.serves && now < after(sent, 1);
        let returns = wants != 0 && !crossed;
        self.serves = returns || (wants != 0 && leads);
        returns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    impl Pace {
        fn silence(&self) -> u64 {
            u64::from(self.now()) * UNIT
        }
    }

    /// Two ends of a direct path, the first of which serves.
    fn ends() -> [Pace; 2] {
        [true, false].map(|serves| {
            let mut pace = Pace::new(at(0), serves);
            pace.renew(at(0), true);
            pace.payload(at(600), serves);
            pace
        })
    }

    /// One round: whoever serves does after the pace. A NAT in front of the second end forgets after `memory`.
    fn round(ends: &mut [Pace; 2], memory: u64) {
        let first = (0..2).filter(|&end| ends[end].serves).min_by_key(|&end| ends[end].silence());
        let (server, other) = if first.expect("one serves") == 0 { (0, 1) } else { (1, 0) };
        let silence = ends[server].silence();
        if other == 1 && silence > memory {
            ends[other].note_late();
            ends[other].heard_at(at(silence + 5), at(0));
            return;
        }
        ends[other].heard_at(at(silence), at(0));
        let ball = ends[server].payload(at(600), true);
        assert!(ends[other].take(at(silence), at(0), &ball, other == 0), "it wants one back");
        let back = ends[other].payload(at(600), false);
        assert!(!ends[server].take(at(silence), at(silence), &back, server == 0), "and that wants none");
        assert_eq!((ends[server].serves, ends[other].serves), (false, true));
    }

    fn learned(memory: u64) -> (u64, u32) {
        let mut ends = ends();
        let mut misses = 0;
        for _ in 0..60 {
            let before = ends[1].misses;
            round(&mut ends, memory);
            misses += u32::from(before != ends[1].misses);
        }
        assert!(ends[0].silence() == ends[1].silence(), "both keep one");
        (ends[0].silence(), misses)
    }

    #[test]
    fn the_pace_becomes_what_the_nat_allows() {
        for memory in [30, 45, 60, 120, 180, 300, 500] {
            let (pace, misses) = learned(memory);
            assert!(
                (memory * 3 / 5..=memory).contains(&pace),
                "{pace} s where a NAT forgets after {memory} s"
            );
            assert!(
                (2..=6).contains(&misses),
                "{misses} times nothing came, where a NAT forgets after {memory} s"
            );
        }
        assert_eq!(learned(u64::MAX), (600, 0), "there is no NAT");
    }

    #[test]
    fn it_is_the_end_that_is_served_that_learns() {
        let mut ends = ends();
        for (held, why) in [
            ((BASE, BASE), "each tells that it is ready for more"),
            ((2 * BASE, BASE), "the first was served"),
            ((2 * BASE, 2 * BASE), "the second was"),
            ((4 * BASE, 2 * BASE), "and the first again"),
        ] {
            round(&mut ends, u64::MAX);
            assert_eq!((ends[0].held, ends[1].held), held, "{why}");
        }
    }

    #[test]
    fn what_came_too_soon_or_after_a_sleep_teaches_nothing() {
        let [_, mut end] = ends();
        end.take(at(25), at(0), &[2 * BASE, 1], false);
        for silence in [48, 56, 3600] {
            end.heard_at(at(silence), at(0));
            assert_eq!(end.held, BASE, "{silence} s");
        }
        end.heard_at(at(50), at(0));
        assert_eq!(end.held, 2 * BASE);
    }

    #[test]
    fn a_relayed_path_and_another_network_begin_anew() {
        let [_, mut end] = ends();
        end.take(at(25), at(0), &[TOP, 1], false);
        assert_eq!(end.silence(), 50);
        end.renew(at(0), false);
        end.payload(at(600), true);
        end.take(at(25), at(0), &[TOP, 1], false);
        assert_eq!(end.silence(), 25, "nothing is learned through a relay");
        end.renew(at(0), true);
        end.serves = false;
        end.payload(at(600), true);
        end.take(at(25), at(0), &[TOP, 0], false);
        (0..MISSES).for_each(|_| end.missed());
        let failed = end.failed;
        assert_eq!(failed, 2 * BASE);
        end.renew(at(0), true);
        assert_eq!(end.failed, failed, "the NAT is the same on another path,");
        end.forget(at(0));
        assert_eq!(end.failed, u8::MAX, "and another one elsewhere");
    }

    #[test]
    fn a_path_in_use_keeps_the_pace_that_held() {
        let mut ends = ends();
        (0..3).for_each(|_| round(&mut ends, u64::MAX));
        assert_eq!(ends.map(|end| (end.silence(), end.held)), [(100, 10); 2]);
        ends.iter_mut().for_each(|end| end.used(at(700)));
        assert_eq!(ends.map(|end| end.silence()), [50, 50]);
        for (now, silence) in [(1299, 50), (1300, 100)] {
            ends.iter_mut().for_each(|end| _ = end.payload(at(now), true));
            assert_eq!(ends.map(|end| end.silence()), [silence, silence], "at {now} s");
        }
    }

    #[test]
    fn only_a_peer_that_is_there_can_have_been_missed() {
        let [_, mut end] = ends();
        end.take(at(25), at(0), &[TOP, 0], false);
        for _ in 0..2 * MISSES {
            end.note_late();
            end.renew(at(3600), true);
            end.payload(at(4200), false);
            end.take(at(4200), at(3600), &[TOP, 0], false);
            end.heard_at(at(4200), at(3600));
        }
        assert_eq!((end.silence(), end.failed), (50, u8::MAX), "the peer slept");
        end.theirs = BASE;
        for _ in 0..2 * MISSES {
            end.serves = false;
            end.note_late();
            end.heard_at(at(31), at(0));
        }
        assert_eq!((end.held, end.failed), (BASE, u8::MAX), "less than the least is not looked for");
        assert!(end.serves);
    }

    #[test]
    fn no_peer_makes_it_hurry() {
        let [mut end, _] = ends();
        for payload in [&[0u8, 1][..], &[1, 1], &[BASE - 1, 1], &[], &[TOP], &[0; 8]] {
            assert!(!end.take(at(25), at(0), payload, true), "{payload:?}");
            assert_eq!(end.silence(), 25, "{payload:?}");
        }
    }

    #[test]
    fn of_two_that_serve_at_once_the_leader_goes_on() {
        let mut ends = [true, true].map(|serves| Pace::new(at(0), serves));
        assert!(!ends[0].take(at(26), at(25), &[BASE, 1], true));
        assert!(!ends[1].take(at(26), at(25), &[BASE, 1], false));
        assert_eq!(ends.map(|end| end.serves), [true, false]);
    }

    #[test]
    fn who_waits_to_be_served_keeps_its_nat_awake_all_the_same() {
        let [_, end] = ends();
        assert!(end.keep_at(at(1), at(2)) > end.late_at(at(2)), "it asks first");
        assert_eq!(end.keep_at(at(1), at(11)), at(26), "the peer went on sending");
    }
}
