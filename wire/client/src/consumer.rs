//! The consumer: batches of all partitions, as they come.

use std::collections::{BTreeMap, VecDeque};

use pyralog_log::ids::{Offset, PartitionId};
use pyralog_wire::message::LogRoute;
use tokio::sync::mpsc;

use crate::client::Client;
use crate::config::{ConsumerConfig, StartFrom};
use crate::directory::ClusterId;
use crate::error::ClientError;
use crate::fetch::{self, Report, Seek, What};
use crate::fetched::FetchedBatch;
use crate::verify::Proving;

/// Reads records of one log, in order per partition.
///
/// Each partition has a task that asks ahead: while an answer waits to be taken, one more is on its
/// way, and no more until it was taken. So a consumer holds at most two answers per partition, the
/// one that is being read, and one in between, and a slow one costs nobody else anything.
#[derive(Debug)]
pub struct Consumer {
    reports: mpsc::Receiver<Report>,
    partitions: BTreeMap<PartitionId, Partition>,
    ready: VecDeque<FetchedBatch>,
}

/// How a partition is read.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) partition: PartitionId,
    pub(crate) from: StartFrom,
    /// What verifies it, if anything does.
    pub(crate) proving: Option<Proving>,
}

/// A partition that is read.
#[derive(Debug)]
struct Partition {
    seeks: mpsc::Sender<Seek>,
    /// Counts seeks: what was fetched before the last one is not handed out.
    generation: u64,
    state: State,
    /// The next offset to be handed out.
    position: Option<Offset>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// It waits for a seek.
    Failed,
    Finished,
}

impl Consumer {
    /// Starts the tasks.
    pub(crate) fn start(
        client: &Client,
        route: (ClusterId, &LogRoute),
        config: &ConsumerConfig,
        starts: Vec<Start>,
    ) -> Self {
        // Room for one report: the tasks hold theirs until it is their turn.
        let (report, reports) = mpsc::channel(1);
        let begin = |Start { partition, from, proving }: Start| {
            let config = ConsumerConfig { from, ..config.clone() };
            let client = (client.clone(), config);
            let seeks = fetch::start(client, (route, partition), proving, report.clone());
            let (generation, position) = (0, position_of(from));
            (partition, Partition { seeks, generation, state: State::Reading, position })
        };
        let partitions = starts.into_iter().map(begin).collect();
        Self { reports, partitions, ready: VecDeque::new() }
    }

    /// The next batch of any partition. `None` when nothing more will come: every partition was
    /// read to its end ([`crate::Stop::AtEnd`]), or failed and was not sent elsewhere. May be
    /// dropped midway: nothing is lost.
    ///
    /// # Errors
    /// Once per failure, for the partition that the error names; the others go on. The partition
    /// waits for [`Consumer::seek`] or [`Consumer::skip`]. Lost connections are no failures: they
    /// are made again, forever. [`ClientError::Unverified`] if what the server sends is not what it has stated
    /// ([`crate::Verify`]): nothing that it names was handed out, unless samples were asked for.
    /// [`ClientError::UnknownLog`] if the log was deleted,
    /// [`ClientError::LogReplaced`] if another one has its name.
    pub async fn next(&mut self) -> Result<Option<FetchedBatch>, ClientError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                if let Some(partition) = self.partitions.get_mut(&batch.partition()) {
                    partition.position = Some(batch.offsets().end);
                }
                return Ok(Some(batch));
            }
            if self.partitions.values().all(|partition| partition.state != State::Reading) {
                return Ok(None);
            }
            let report = self.reports.recv().await.ok_or(ClientError::Closed)?;
            let Some(partition) = self.partitions.get_mut(&report.partition) else { continue };
            if report.generation != partition.generation {
                continue;
            }
            match report.what {
                What::Batches(batches) => self.ready.extend(batches),
                What::Finished => partition.state = State::Finished,
                What::Failed(error) => {
                    partition.state = State::Failed;
                    return Err(error);
                }
            }
        }
    }

    /// The next offset to be handed out of each partition, where it is known: ordered by partition.
    #[must_use]
    pub fn positions(&self) -> Vec<(PartitionId, Offset)> {
        let known = |(number, partition): (&PartitionId, &Partition)| {
            partition.position.map(|position| (*number, position))
        };
        self.partitions.iter().filter_map(known).collect()
    }

    /// Goes on reading `partition` at another position. What was fetched already and not handed out
    /// is dropped.
    ///
    /// # Errors
    /// [`ClientError::Partition`] if the consumer does not read it, [`ClientError::Closed`].
    pub async fn seek(&mut self, partition: PartitionId, to: StartFrom) -> Result<(), ClientError> {
        let partitions = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        let unknown = ClientError::Partition { partition, partitions };
        let reading = self.partitions.get_mut(&partition).ok_or(unknown)?;
        let generation = reading.generation + 1;
        let seek = Seek { to, generation };
        reading.seeks.send(seek).await.map_err(|_| ClientError::Closed)?;
        reading.generation = generation;
        reading.state = State::Reading;
        reading.position = position_of(to);
        self.ready.retain(|batch| batch.partition() != partition);
        Ok(())
    }

    /// Goes on behind the records that a failure was about.
    ///
    /// # Errors
    /// [`ClientError::NothingToSkip`] unless it is [`ClientError::Damaged`] or
    /// [`ClientError::Corrupt`]; otherwise as [`Consumer::seek`].
    pub async fn skip(&mut self, failure: &ClientError) -> Result<(), ClientError> {
        match failure {
            ClientError::Damaged { partition, offsets }
            | ClientError::Corrupt { partition, offsets, .. } => {
                self.seek(*partition, StartFrom::Offset(offsets.end)).await
            }
            _ => Err(ClientError::NothingToSkip),
        }
    }
}

fn position_of(from: StartFrom) -> Option<Offset> {
    match from {
        StartFrom::Offset(offset) => Some(offset),
        StartFrom::Earliest | StartFrom::Latest | StartFrom::Time(_) => None,
    }
}
