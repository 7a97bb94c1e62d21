//! A table that never grows: capacity fixed at the start, the oldest entry makes room for a new one.
//!
//! Strangers choose the keys (MAC and IP addresses, indexes), so the hash is keyed with a secret seed and
//! nobody can aim at one bucket. Buckets are chains through a slab rather than a `HashMap`, whose removals
//! leave tombstones that sooner or later cost a rehash or a reallocation in the middle of the data path:
//! here every operation but `retain` takes constant time and nothing is allocated after [`Table::new`].
//! What order there is comes from the recency list, never from the hash, so the same calls give the same
//! order whatever the seed.

use core::hash::{Hash, Hasher};
use std::hash::DefaultHasher;

/// The end of a chain or list.
const NONE: usize = usize::MAX;

/// A map of at most so many entries, from the one that was not used longest to the newest.
pub struct Table<K, V> {
    /// One more than the first slot of each bucket's chain; a power of two of them. Zero where there is none, so that the
    /// kernel provides each page when a bucket there is first used.
    buckets: Box<[usize]>,
    /// Grows to the capacity reserved for it, then its free slots are used again.
    slots: Vec<Slot<K, V>>,
    capacity: usize,
    free: usize,
    oldest: usize,
    newest: usize,
    len: usize,
    seed: u64,
}

struct Slot<K, V> {
    /// None in a free slot.
    entry: Option<(K, V)>,
    /// The next slot of the same bucket, or the next free slot.
    next: usize,
    older: usize,
    newer: usize,
}

impl<K: Copy + Eq + Hash, V> Table<K, V> {
    /// An empty table for `capacity` entries, at least one. The only place that allocates.
    pub fn new(capacity: usize, seed: u64) -> Table<K, V> {
        let capacity = capacity.max(1);
        Table {
            buckets: vec![0; capacity.next_power_of_two()].into_boxed_slice(),
            slots: Vec::with_capacity(capacity),
            capacity,
            free: NONE,
            oldest: NONE,
            newest: NONE,
            len: 0,
            seed,
        }
    }

    /// The value under `key`; it grows no younger by being looked at.
    pub fn get(&self, key: &K) -> Option<&V> {
        let (_, value) = self.slots.get(self.find(key))?.entry.as_ref()?;
        Some(value)
    }

    /// The value under `key`, to edit; it grows no younger by that.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.find(key);
        let (_, value) = self.slots.get_mut(at)?.entry.as_mut()?;
        Some(value)
    }

    /// Makes the entry under `key` the newest and returns its value.
    pub fn touch(&mut self, key: &K) -> Option<&mut V> {
        let at = self.find(key);
        if at == NONE {
            return None;
        }
        self.unlink(at);
        self.link_newest(at);
        let (_, value) = self.slots[at].entry.as_mut()?;
        Some(value)
    }

    /// Puts `value` under `key` as the newest entry. Returns what had to go for it: the value before under the
    /// same key, or else the oldest entry of a full table.
    pub fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        let at = self.find(&key);
        if at != NONE {
            self.unlink(at);
            self.link_newest(at);
            return self.slots[at].entry.replace((key, value));
        }
        let evicted = if self.is_full() { self.release(self.oldest) } else { None };
        let at = self.take_slot();
        let bucket = self.bucket(&key);
        self.slots[at].entry = Some((key, value));
        self.slots[at].next = self.first(bucket);
        self.buckets[bucket] = at + 1;
        self.link_newest(at);
        self.len += 1;
        evicted
    }

    /// Takes the entry under `key` out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key);
        let (_, value) = self.release(at)?;
        Some(value)
    }

    /// The entry that was inserted or touched the longest time ago.
    pub fn oldest(&self) -> Option<(&K, &V)> {
        let (key, value) = self.slots.get(self.oldest)?.entry.as_ref()?;
        Some((key, value))
    }

    /// Keeps only the entries for which `keep` says so, asked from the oldest to the newest.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        let mut at = self.oldest;
        while let Some(slot) = self.slots.get_mut(at) {
            let newer = slot.newer;
            if !slot.entry.as_mut().is_some_and(|(key, value)| keep(key, value)) {
                self.release(at);
            }
            at = newer;
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a new key would cost the oldest entry its place.
    pub fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// The entries from the oldest to the newest.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> + '_ {
        let mut at = self.oldest;
        core::iter::from_fn(move || {
            let slot = self.slots.get(at)?;
            at = slot.newer;
            slot.entry.as_ref().map(|(key, value)| (key, value))
        })
    }

    /// The first slot of a bucket's chain.
    fn first(&self, bucket: usize) -> usize {
        self.buckets[bucket].wrapping_sub(1)
    }

    fn bucket(&self, key: &K) -> usize {
        // SipHash: the seed absorbed first makes its whole state secret.
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        key.hash(&mut hasher);
        let mask = self.buckets.len() as u64 - 1;
        usize::try_from(hasher.finish() & mask).unwrap_or(0)
    }

    fn find(&self, key: &K) -> usize {
        let mut at = self.first(self.bucket(key));
        while let Some(slot) = self.slots.get(at) {
            if slot.entry.as_ref().is_some_and(|(other, _)| other == key) {
                break;
            }
            at = slot.next;
        }
        at
    }

    fn take_slot(&mut self) -> usize {
        if self.free == NONE {
            self.slots.push(Slot { entry: None, next: NONE, older: NONE, newer: NONE });
            return self.slots.len() - 1;
        }
        let at = self.free;
        self.free = self.slots[at].next;
        at
    }

    /// Empties slot `at`, takes it out of chain and list and makes it the first free one.
    fn release(&mut self, at: usize) -> Option<(K, V)> {
        let (key, value) = self.slots.get_mut(at)?.entry.take()?;
        let bucket = self.bucket(&key);
        let next = self.slots[at].next;
        if self.first(bucket) == at {
            self.buckets[bucket] = next.wrapping_add(1);
        } else {
            let mut before = self.first(bucket);
            while self.slots[before].next != at {
                before = self.slots[before].next;
            }
            self.slots[before].next = next;
        }
        self.unlink(at);
        self.slots[at].next = self.free;
        self.free = at;
        self.len -= 1;
        Some((key, value))
    }

    fn unlink(&mut self, at: usize) {
        let (older, newer) = (self.slots[at].older, self.slots[at].newer);
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
    }

    fn link_newest(&mut self, at: usize) {
        let before = self.newest;
        self.slots[at].older = before;
        self.slots[at].newer = NONE;
        match self.slots.get_mut(before) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator, so that a story is the same in every run (xorshift64).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % sides
        }
    }

    fn content(table: &Table<u64, u64>) -> Vec<(u64, u64)> {
        table.iter().map(|(&key, &value)| (key, value)).collect()
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut table = Table::new(2, 1);
        assert_eq!(table.insert('a', 1), None);
        assert_eq!(table.insert('b', 2), None);
        assert!(table.is_full());
        assert_eq!(table.touch(&'a'), Some(&mut 1));
        assert_eq!(table.insert('c', 3), Some(('b', 2)));
        assert_eq!(table.oldest(), Some((&'a', &1)));
        assert_eq!(table.insert('a', 4), Some(('a', 1)));
        assert_eq!(table.oldest(), Some((&'c', &3)));
        assert_eq!(table.get(&'b'), None);
        assert_eq!(table.remove(&'c'), Some(3));
        assert_eq!(table.remove(&'c'), None);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn looking_does_not_make_younger() {
        let mut table = Table::new(2, 1);
        table.insert(1, 'a');
        table.insert(2, 'b');
        table.get(&1);
        table.get_mut(&1);
        assert_eq!(table.insert(3, 'c'), Some((1, 'a')));
    }

    #[test]
    fn does_what_a_plain_list_does() {
        for seed in 1..20 {
            let mut dice = Dice(seed);
            let mut table = Table::new(13, seed);
            let mut list: Vec<(u64, u64)> = Vec::new();
            for step in 0..3000 {
                let key = dice.roll(30);
                let at = list.iter().position(|&(other, _)| other == key);
                match dice.roll(8) {
                    0..=3 => {
                        let gone = match at {
                            Some(at) => Some(list.remove(at)),
                            None if list.len() == 13 => Some(list.remove(0)),
                            None => None,
                        };
                        list.push((key, step));
                        assert_eq!(table.insert(key, step), gone);
                    }
                    4 => {
                        let entry = at.map(|at| list.remove(at));
                        list.extend(entry);
                        assert_eq!(table.touch(&key).copied(), entry.map(|(_, value)| value));
                    }
                    5 => assert_eq!(table.remove(&key), at.map(|at| list.remove(at).1)),
                    6 => {
                        let odd = dice.roll(2);
                        if dice.roll(10) == 0 {
                            table.retain(|key, value| key % 2 == odd || *value % 2 == 0);
                            list.retain(|(key, value)| key % 2 == odd || value % 2 == 0);
                        }
                    }
                    _ => assert_eq!(table.get(&key).copied(), at.map(|at| list[at].1)),
                }
                assert_eq!(content(&table), list);
                assert_eq!(table.len(), list.len());
            }
        }
    }

    #[test]
    fn churn_never_allocates() {
        let mut table = Table::new(64, 7);
        let reserved = table.slots.capacity();
        let mut dice = Dice(3);
        for step in 0..200_000 {
            table.insert(dice.roll(1 << 40), step);
            if dice.roll(3) == 0 {
                let key = *table.oldest().unwrap().0;
                table.remove(&key);
            }
        }
        assert_eq!(table.slots.capacity(), reserved);
        assert_eq!(table.slots.len(), 64);
    }

    #[test]
    fn the_seed_decides_the_buckets_but_not_the_order() {
        let (mut a, mut b) = (Table::new(64, 1), Table::new(64, 2));
        for key in 0..100u64 {
            a.insert(key, key);
            b.insert(key, key);
        }
        assert_eq!(content(&a), content(&b));
        assert!((0..64).any(|key| a.bucket(&key) != b.bucket(&key)));
    }
}
