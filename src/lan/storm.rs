//! A bound on flooding. A frame for everybody costs a packet for each peer, and where two bridges meet it goes round and
//! round; so our side floods at a rate that honest networks do not reach, and what floods in from one peer has a
//! share of its own, which leaves the others theirs.

use crate::base::ids::PeerKey;
use crate::base::limits::{FLOOD_BURST, FLOODS_PER_SECOND, PEERS, STORM_PAUSE};
use crate::base::time::{Bucket, Duration, Instant};

/// The budgets.
pub struct Storm {
    ours: Bucket,
    theirs: Box<[Bucket]>,
    /// When there was last something to tell.
    told: Option<Instant>,
}

impl Storm {
    /// Full budgets.
    pub fn new(now: Instant) -> Storm {
        let full = Bucket::new(FLOOD_BURST, Duration::from_secs(1) / FLOODS_PER_SECOND, now);
        Storm { ours: full, theirs: vec![full; PEERS].into(), told: None }
    }

    /// Takes leave to flood a frame of our side.
    pub fn take_ours(&mut self, now: Instant) -> bool {
        self.ours.take(now)
    }

    /// Takes leave for a frame that a peer flooded. Whoever has that place in the table after it has what is left.
    pub fn take_theirs(&mut self, now: Instant, from: PeerKey) -> bool {
        self.theirs.get_mut(usize::from(from.slot)).is_some_and(|bucket| bucket.take(now))
    }

    /// Whether that a budget is used up was not told just now.
    pub fn is_news(&mut self, now: Instant) -> bool {
        let news = self.told.is_none_or(|told| now.since(told) >= STORM_PAUSE);
        if news {
            self.told = Some(now);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_storms_exhausts_its_own_budget_only() {
        let [loud, quiet] = [1, 2].map(|slot| PeerKey { slot, generation: 0 });
        let now = Instant::ZERO;
        let mut storm = Storm::new(now);
        let passed = (0..3 * FLOOD_BURST).filter(|_| storm.take_theirs(now, loud)).count();
        assert_eq!(passed, FLOOD_BURST as usize);
        assert!(storm.take_theirs(now, quiet) && storm.take_ours(now));
        let later = now + Duration::from_secs(1);
        let passed = (0..3 * FLOOD_BURST).filter(|_| storm.take_theirs(later, loud)).count();
        assert_eq!(passed, FLOODS_PER_SECOND as usize);
    }

    #[test]
    fn a_quiet_hour_is_no_credit() {
        let mut storm = Storm::new(Instant::ZERO);
        let later = Instant::ZERO + Duration::from_secs(3600);
        let passed = (0..3 * FLOOD_BURST).filter(|_| storm.take_ours(later)).count();
        assert_eq!(passed, FLOOD_BURST as usize);
    }
}
