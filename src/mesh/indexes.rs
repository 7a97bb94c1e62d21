//! Who answers to a receiver index: a handshake of ours, one of another's, or a session. An index that was
//! released rests before it is given out again, so that a late packet finds nobody else.

use std::collections::VecDeque;

use crate::base::discard::Discard;
use crate::base::ids::{HostId, PeerKey, SessionIndex};
use crate::base::limits::{INDEX_REST, INDEXES, INDEXES_RESTING};
use crate::base::table::Table;
use crate::base::time::Instant;
use crate::crypto::random::Random;

/// Whom a handshake of ours is meant to reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Whoever is at the addresses of an initial peer.
    Host(HostId),
    /// A node that we know.
    Peer(PeerKey),
}

/// What an index stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A handshake that we began.
    Dial(Target),
    /// A handshake that another began.
    Answer,
    /// A session.
    Session(PeerKey),
    /// Nothing any more.
    Resting,
}

/// All indexes in use.
pub struct Indexes {
    owners: Table<SessionIndex, Owner>,
    resting: VecDeque<(Instant, SessionIndex)>,
}

impl Indexes {
    /// None in use.
    pub fn new(seed: u64) -> Indexes {
        Indexes { owners: Table::new(INDEXES, seed), resting: VecDeque::with_capacity(INDEXES) }
    }

    /// A random index for `owner` that nothing else answers to, unless fewer than `leave` would be left.
    pub fn fresh(
        &mut self,
        now: Instant,
        random: &mut Random,
        owner: Owner,
        leave: usize,
    ) -> Result<SessionIndex, Discard> {
        self.expire(now);
        if self.owners.len() + leave >= INDEXES {
            return Err(Discard::NoRoom);
        }
        loop {
            let index = SessionIndex(random.u32());
            if self.owners.get(&index).is_none() {
                self.owners.insert(index, owner);
                return Ok(index);
            }
        }
    }

    /// What the index stands for.
    pub fn owner(&self, index: SessionIndex) -> Result<Owner, Discard> {
        match self.owners.get(&index) {
            None | Some(Owner::Resting) => Err(Discard::UnknownIndex),
            Some(owner) => Ok(*owner),
        }
    }

    /// The peer whose session it is.
    pub fn peer(&self, index: SessionIndex) -> Result<PeerKey, Discard> {
        match self.owner(index)? {
            Owner::Session(key) => Ok(key),
            _ => Err(Discard::UnknownIndex),
        }
    }

    /// A handshake has become a session.
    pub fn assign(&mut self, index: SessionIndex, owner: Owner) {
        if let Some(place) = self.owners.get_mut(&index) {
            *place = owner;
        }
    }

    /// The session of that index is over: the index stands for nothing any more, and rests.
    pub fn release(&mut self, now: Instant, index: SessionIndex) {
        if let Some(owner) = self.owners.get_mut(&index)
            && *owner != Owner::Resting
        {
            *owner = Owner::Resting;
            self.resting.push_back((now + INDEX_REST, index));
            // S12: a member that makes session after session does not use up what others need.
            if self.resting.len() > INDEXES_RESTING
                && let Some((_, oldest)) = self.resting.pop_front()
            {
                self.owners.remove(&oldest);
            }
        }
    }

    /// The index never became a session's: nothing sealed can come for it, so it need not rest.
    pub fn withdraw(&mut self, index: SessionIndex) {
        self.owners.remove(&index);
    }

    /// Gives free what has rested.
    fn expire(&mut self, now: Instant) {
        while let Some(&(until, index)) = self.resting.front()
            && until <= now
        {
            self.resting.pop_front();
            self.owners.remove(&index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    #[test]
    fn a_released_index_finds_nobody_and_rests() {
        let mut random = Random::new([1; 32]);
        let mut indexes = Indexes::new(1);
        let key = PeerKey { slot: 3, generation: 0 };
        let index = indexes.fresh(at(0), &mut random, Owner::Answer, 0).unwrap();
        assert_eq!(indexes.peer(index), Err(Discard::UnknownIndex));
        indexes.assign(index, Owner::Session(key));
        assert_eq!(indexes.peer(index), Ok(key));
        indexes.release(at(0), index);
        indexes.release(at(1), index);
        assert_eq!(indexes.owner(index), Err(Discard::UnknownIndex));
        assert_eq!(indexes.owners.len(), 1);
        indexes.fresh(at(179), &mut random, Owner::Answer, 0).unwrap();
        assert_eq!(indexes.owners.len(), 2);
        indexes.fresh(at(180), &mut random, Owner::Answer, 0).unwrap();
        assert_eq!(indexes.owners.len(), 2);
    }

    #[test]
    fn no_more_than_so_many_rest() {
        // S12: the oldest is free again before its time.
        let mut random = Random::new([1; 32]);
        let mut indexes = Indexes::new(1);
        for _ in 0..INDEXES_RESTING + 5 {
            let index = indexes.fresh(at(0), &mut random, Owner::Answer, 0).unwrap();
            indexes.release(at(0), index);
        }
        assert_eq!((indexes.owners.len(), indexes.resting.len()), (INDEXES_RESTING, INDEXES_RESTING));
    }

    #[test]
    fn a_full_table_pushes_no_session_out() {
        let mut random = Random::new([1; 32]);
        let mut indexes = Indexes::new(1);
        let first = indexes.fresh(at(0), &mut random, Owner::Answer, 0).unwrap();
        for _ in 1..INDEXES {
            indexes.fresh(at(0), &mut random, Owner::Answer, 0).unwrap();
        }
        assert_eq!(indexes.fresh(at(0), &mut random, Owner::Answer, 0), Err(Discard::NoRoom));
        assert_eq!(indexes.owner(first), Ok(Owner::Answer));
    }

    #[test]
    fn who_must_leave_some_is_refused_first() {
        let mut random = Random::new([1; 32]);
        let mut indexes = Indexes::new(1);
        for _ in 0..INDEXES - 10 {
            indexes.fresh(at(0), &mut random, Owner::Answer, 10).unwrap();
        }
        assert_eq!(indexes.fresh(at(0), &mut random, Owner::Answer, 10), Err(Discard::NoRoom));
        assert!(indexes.fresh(at(0), &mut random, Owner::Answer, 0).is_ok());
    }
}
