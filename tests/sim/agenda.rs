//! What is to happen, in the order of (time, sequence): what was put in first at one instant comes out first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use peervpn::base::time::Instant;

/// Things to do, each at its time.
pub struct Agenda<T> {
    heap: BinaryHeap<Entry<T>>,
    sequence: u64,
}

struct Entry<T> {
    at: Instant,
    sequence: u64,
    what: T,
}

/// Nothing to do.
impl<T> Default for Agenda<T> {
    fn default() -> Agenda<T> {
        Agenda { heap: BinaryHeap::new(), sequence: 0 }
    }
}

impl<T> Agenda<T> {
    /// Something to do at that time.
    pub fn push(&mut self, at: Instant, what: T) {
        self.sequence += 1;
        self.heap.push(Entry { at, sequence: self.sequence, what });
    }

    /// When there is something to do next.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// What there is to do next.
    pub fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|entry| entry.what)
    }
}

/// The greatest comes out of a heap first: that is the earliest.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Entry<T>) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Entry<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Entry<T>) -> bool {
        self.sequence == other.sequence
    }
}

impl<T> Eq for Entry<T> {}

#[test]
fn things_come_in_the_order_of_time_and_then_of_arrival() {
    let mut agenda = Agenda::default();
    for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
        agenda.push(Instant::from_micros(at), what);
    }
    assert_eq!(agenda.next(), Some(Instant::from_micros(1)));
    assert_eq!(std::iter::from_fn(|| agenda.pop()).collect::<String>(), "abcd");
}
