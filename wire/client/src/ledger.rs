//! The budget of a producer and its counters: written by its task once per batch.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counters of a producer since it began. Each is exact; together they are of about one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerStats {
    /// Records acknowledged.
    pub records_delivered: u64,
    /// Records given up, whatever the reason.
    pub records_failed: u64,
    /// Batches acknowledged.
    pub batches_delivered: u64,
    /// Bytes of these, as sent.
    pub bytes_delivered: u64,
    /// Batches of which an earlier attempt had succeeded unseen.
    pub duplicates: u64,
    /// Batches sent again.
    pub retries: u64,
    /// Bytes of records without outcome (a gauge).
    pub buffered_bytes: u64,
}

/// The shared side. Bytes are charged by the producer, who keeps count itself, and released here.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    released: AtomicUsize,
    room: Notify,
    ended: AtomicBool,
    records_delivered: AtomicU64,
    records_failed: AtomicU64,
    batches_delivered: AtomicU64,
    bytes_delivered: AtomicU64,
    duplicates: AtomicU64,
    retries: AtomicU64,
}

impl Ledger {
    /// Bytes charged and not released. Both counters wrap together.
    pub(crate) fn buffered(&self, charged: usize) -> usize {
        if self.ended.load(Ordering::Relaxed) {
            return 0;
        }
        charged.wrapping_sub(self.released.load(Ordering::Relaxed))
    }

    /// Task: a batch has its outcome.
    pub(crate) fn release(&self, bytes: usize) {
        self.released.fetch_add(bytes, Ordering::Relaxed);
        self.room.notify_one();
    }

    /// Task: it is over, nothing will be released any more.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.room.notify_one();
    }

    /// Producer: resolves after a release that was not waited for yet.
    pub(crate) async fn released(&self) {
        self.room.notified().await;
    }

    pub(crate) fn delivered(&self, records: u64, bytes: u64, duplicate: bool) {
        add(&self.records_delivered, records);
        add(&self.batches_delivered, 1);
        add(&self.bytes_delivered, bytes);
        add(&self.duplicates, u64::from(duplicate));
    }

    pub(crate) fn failed(&self, records: u64) {
        add(&self.records_failed, records);
    }

    pub(crate) fn retried(&self) {
        add(&self.retries, 1);
    }

    pub(crate) fn stats(&self, charged: usize) -> ProducerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProducerStats {
            records_delivered: read(&self.records_delivered),
            records_failed: read(&self.records_failed),
            batches_delivered: read(&self.batches_delivered),
            bytes_delivered: read(&self.bytes_delivered),
            duplicates: read(&self.duplicates),
            retries: read(&self.retries),
            buffered_bytes: self.buffered(charged) as u64,
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
