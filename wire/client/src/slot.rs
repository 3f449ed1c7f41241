//! The open batch of a partition: moved between the producer, which fills it, and its task, which
//! takes it away when it has lingered long enough.
//!
//! The batch lies in a place for one. The producer takes it out to push a record and puts it back;
//! the task takes it for good. Nothing is shared and nobody waits: if the task finds the place
//! empty because a record is being pushed, it leaves its wish, and the producer gives the batch
//! away itself when it is done. Per record that is two uncontended compare-and-swaps and a fence,
//! some 30 ns. Rejected: a channel of records (a hop and a copy each), and a lock.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use pyralog_log::batch::RowsBuilder;

use crate::delivery::Promise;
use crate::dispatch::Ordinal;

/// A batch that takes records.
pub(crate) struct Open {
    pub(crate) builder: RowsBuilder,
    pub(crate) ordinal: Ordinal,
    /// When its first record was pushed, since the producer began.
    pub(crate) opened: Duration,
    /// What it takes of the producer's budget, in bytes.
    pub(crate) charged: usize,
    /// Somebody wants to know the outcome of single records.
    pub(crate) promise: Option<Promise>,
}

/// The place.
pub(crate) struct Slot {
    place: ArrayQueue<Box<Open>>,
    /// Ordinal of the batch that the task wants, plus one.
    wanted: AtomicU64,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self { place: ArrayQueue::new(1), wanted: AtomicU64::new(0) }
    }

    /// Producer: takes the batch out, if there is one.
    pub(crate) fn take(&self) -> Option<Box<Open>> {
        self.place.pop()
    }

    /// Producer: puts the batch back, or keeps it because the task wants it.
    pub(crate) fn put(&self, open: Box<Open>) -> Option<Box<Open>> {
        let ordinal = open.ordinal;
        assert!(self.place.push(open).is_ok(), "two open batches");
        // Either we see the wish or the task sees the batch: both sides write, fence, then read.
        fence(Ordering::SeqCst);
        let wanted = self.wanted.load(Ordering::Relaxed) == ordinal.next().0;
        if wanted { self.place.pop() } else { None }
    }

    /// Task: takes the batch for good. If it is in use, the producer will hand it over. A younger
    /// batch than the one that is wanted is taken as well: it goes out a little early.
    pub(crate) fn collect(&self, ordinal: Ordinal) -> Option<Box<Open>> {
        self.wanted.store(ordinal.next().0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.place.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyralog_log::batch::BuilderConfig;

    fn open(ordinal: u64) -> Box<Open> {
        Box::new(Open {
            builder: RowsBuilder::new(BuilderConfig::default()),
            ordinal: Ordinal(ordinal),
            opened: Duration::ZERO,
            charged: 0,
            promise: None,
        })
    }

    #[test]
    fn the_task_takes_a_batch_that_lies_there() {
        let slot = Slot::new();
        assert!(slot.put(open(0)).is_none());
        assert_eq!(slot.collect(Ordinal(0)).unwrap().ordinal, Ordinal(0));
        assert!(slot.take().is_none());
    }

    #[test]
    fn a_batch_in_use_is_handed_over_when_it_comes_back() {
        let slot = Slot::new();
        assert!(slot.put(open(0)).is_none());
        let used = slot.take().unwrap();
        assert!(slot.collect(Ordinal(0)).is_none());
        assert_eq!(slot.put(used).unwrap().ordinal, Ordinal(0));
        // The wish is for that batch only.
        assert!(slot.put(open(1)).is_none());
    }

    #[test]
    fn every_batch_is_taken_exactly_once_between_two_threads() {
        const BATCHES: u64 = 20_000;
        let slot = &Slot::new();
        let (handed, collected) = std::thread::scope(|scope| {
            let producer = scope.spawn(move || {
                let mut handed = Vec::new();
                let mut ordinal = 0;
                while ordinal < BATCHES {
                    let batch = slot.take().unwrap_or_else(|| {
                        ordinal += 1;
                        open(ordinal - 1)
                    });
                    handed.extend(slot.put(batch).map(|open| open.ordinal.0));
                }
                handed.extend(slot.take().map(|open| open.ordinal.0));
                handed
            });
            let mut collected = Vec::new();
            while !producer.is_finished() {
                let next = collected.last().map_or(0, |last: &u64| last + 1);
                collected.extend(slot.collect(Ordinal(next)).map(|open| open.ordinal.0));
            }
            (producer.join().unwrap(), collected)
        });
        let mut all: Vec<u64> = handed.into_iter().chain(collected).collect();
        all.sort_unstable();
        assert_eq!(all, (0..BATCHES).collect::<Vec<_>>());
    }
}
