//! What is going to happen: earliest first, and at one moment in the order in which it was put in.
//!
//! The second rule makes runs reproducible: a heap alone would give events of one moment in any order.

use core::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::TrueTime;

/// Events to come.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    count: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: TrueTime,
    order: u64,
    what: T,
}

impl<T> Agenda<T> {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            count: 0,
        }
    }

    pub(crate) fn put(&mut self, at: TrueTime, what: T) {
        self.count += 1;
        self.heap.push(Reverse(Entry {
            at,
            order: self.count,
            what,
        }));
    }

    /// When the next event is due.
    pub(crate) fn next(&self) -> Option<TrueTime> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes the next event out.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.heap.pop().map(|Reverse(entry)| entry.what)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_moment_keep_their_order() {
        let mut agenda = Agenda::new();
        for (at, what) in [(2, 'c'), (1, 'a'), (2, 'd'), (1, 'b')] {
            agenda.put(TrueTime::from_nanos(at), what);
        }
        let order: String = core::iter::from_fn(|| agenda.take()).collect();
        assert_eq!(order, "abcd");
    }
}
