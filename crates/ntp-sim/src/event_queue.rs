//! Queue of future events: earliest first, and in the order of insertion at equal times.
//!
//! The second rule makes runs reproducible: a heap alone returns simultaneous events in any order.

use core::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::TrueTime;

/// Future events.
#[derive(Debug)]
pub(crate) struct EventQueue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    count: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: TrueTime,
    order: u64,
    event: T,
}

impl<T> EventQueue<T> {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            count: 0,
        }
    }

    pub(crate) fn push(&mut self, at: TrueTime, event: T) {
        self.count += 1;
        self.heap.push(Reverse(Entry {
            at,
            order: self.count,
            event,
        }));
    }

    /// Time of the next event.
    pub(crate) fn next_time(&self) -> Option<TrueTime> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Removes and returns the next event.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|Reverse(entry)| entry.event)
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
        let mut event_queue = EventQueue::new();
        for (at, event) in [(2, 'c'), (1, 'a'), (2, 'd'), (1, 'b')] {
            event_queue.push(TrueTime::from_nanos(at), event);
        }
        let order: String = core::iter::from_fn(|| event_queue.pop()).collect();
        assert_eq!(order, "abcd");
    }
}
