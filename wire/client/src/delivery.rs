//! What a sender of single records holds: one shared outcome per batch, an index per record.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use pyralog_log::ids::{Offset, PartitionId, Timestamp};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::dispatch::Appended;
use crate::error::ClientError;

/// Where an acknowledged record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// When the owner of the partition took it.
    pub append_time: Timestamp,
    /// An earlier attempt had succeeded without our learning of it. The record is in the log once.
    pub duplicate: bool,
}

/// The outcome of a batch, once there is one.
#[derive(Debug, Default)]
struct Settlement {
    outcome: OnceLock<Result<Appended, ClientError>>,
    settled: Arc<Notify>,
}

/// The duty to settle a batch. Dropped without that, the batch is settled as
/// [`ClientError::Closed`].
#[derive(Debug, Default)]
pub(crate) struct Promise(Arc<Settlement>);

impl Promise {
    /// Tells all deliveries.
    pub(crate) fn settle(self, outcome: Result<Appended, ClientError>) {
        self.set(outcome);
    }

    fn set(&self, outcome: Result<Appended, ClientError>) {
        if self.0.outcome.set(outcome).is_ok() {
            self.0.settled.notify_waiters();
        }
    }

    /// The delivery of record `index` of the batch.
    pub(crate) fn delivery(&self, partition: PartitionId, index: u32) -> Delivery {
        Delivery { settlement: Arc::clone(&self.0), partition, index, waiting: None }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        // After `settle` it is set already.
        self.set(Err(ClientError::Closed));
    }
}

/// The future outcome of one sent record. Dropping it does not stop the record.
///
/// It allocates only if it has to wait: of the deliveries of a batch, those that are awaited after
/// the first are ready.
#[must_use = "the outcome of the record is known only here and to `flush`"]
pub struct Delivery {
    settlement: Arc<Settlement>,
    partition: PartitionId,
    index: u32,
    waiting: Option<Pin<Box<OwnedNotified>>>,
}

impl Delivery {
    /// The partition the record was sent to.
    #[must_use]
    pub const fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The outcome, if it is known.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<RecordMetadata, ClientError>> {
        let outcome = self.settlement.outcome.get()?;
        Some(outcome.clone().and_then(|appended| self.metadata(&appended)))
    }

    fn metadata(&self, appended: &Appended) -> Result<RecordMetadata, ClientError> {
        let offset = appended.base_offset.checked_add(self.index.into());
        let offset = offset.ok_or(ClientError::Unexpected { expected: "a sound offset" })?;
        let (partition, append_time) = (self.partition, appended.append_time);
        Ok(RecordMetadata { partition, offset, append_time, duplicate: appended.duplicate })
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(outcome) = self.outcome() {
                return Poll::Ready(outcome);
            }
            match &mut self.waiting {
                // Enlisted before the outcome is looked at once more, so no wakeup is missed.
                None => {
                    let settled = Arc::clone(&self.settlement.settled);
                    let mut waiting = Box::pin(settled.notified_owned());
                    waiting.as_mut().enable();
                    self.waiting = Some(waiting);
                }
                Some(waiting) => {
                    if waiting.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.waiting = None;
                }
            }
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Delivery");
        debug.field("partition", &self.partition).field("index", &self.index);
        debug.field("outcome", &self.settlement.outcome.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn every_record_of_a_batch_learns_its_own_offset() {
        let promise = Promise::default();
        let partition = PartitionId::new(3);
        let deliveries: Vec<_> = (0..3).map(|index| promise.delivery(partition, index)).collect();
        assert!(deliveries[0].outcome().is_none());
        let appended = Appended {
            base_offset: Offset::new(100),
            append_time: Timestamp::new(7),
            duplicate: true,
        };
        let offsets = block_on(async {
            let settle = tokio::spawn(async move { promise.settle(Ok(appended)) });
            let mut offsets = Vec::new();
            for delivery in deliveries {
                let metadata = delivery.await.unwrap();
                assert!(metadata.duplicate && metadata.partition == partition);
                offsets.push(metadata.offset.get());
            }
            settle.await.unwrap();
            offsets
        });
        assert_eq!(offsets, [100, 101, 102]);
    }

    #[test]
    fn a_dropped_promise_is_an_outcome_too() {
        let promise = Promise::default();
        let delivery = promise.delivery(PartitionId::ZERO, 0);
        drop(promise);
        assert!(matches!(block_on(delivery), Err(ClientError::Closed)));
    }
}
