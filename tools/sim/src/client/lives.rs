//! What a client asks about the life of a log: that its beginning goes, and proof that the rest is what it was.

use std::collections::BTreeMap;

use pyralog_log::ids::{LogId, Offset, PartitionId};
use pyralog_log::merkle::{ConsistencyProof, InclusionProof};
use pyralog_log::proof::{Checkpoint, NodeKey, SignedCheckpoint, Stated, Subject, Trust};
use pyralog_wire::message::{GetCheckpoint, ProveConsistency, ProveRecord, TruncateLog};
use pyralog_wire::{ErrorCode, Request, Response};

use super::journal::place;
use super::{CallError, Reader, Repeat, SimClient};
use crate::history::{CheckpointSeen, Kind, Proven, Truncated};

/// What a client believes of partitions, by what they are.
#[derive(Debug, Default)]
pub struct Believed {
    trust: BTreeMap<Subject, Trust>,
}

/// A partition, and the cluster that knows its log.
#[derive(Clone, Copy, Debug)]
struct Known {
    subject: Subject,
    cluster: pyralog_client::directory::ClusterId,
}

impl SimClient {
    /// Lets everything before an offset go; returns the low watermark.
    ///
    /// # Errors
    /// As [`SimClient::call`].
    pub async fn truncate_log(
        &self,
        (log, partition): (&str, PartitionId),
        before: Offset,
    ) -> Result<Offset, CallError> {
        let known = self.known(log, partition).await?;
        let (begun, place) = (self.shared.journal.mark(), place(known.subject.log, partition));
        let request = self.shared.journal.next_request();
        self.shared.journal.push(Kind::TruncateAsked { request, place, before: before.get() });
        let truncate = TruncateLog { log: known.subject.log, partition, before };
        match self.call_cluster(truncate.into(), Repeat::Harmless, Some(known.cluster)).await? {
            (_, Response::TruncateLog(truncated)) => {
                let (before, low) = (before.get(), truncated.low.get());
                self.shared.journal.push(Kind::Truncated(Truncated { begun, place, before, low }));
                Ok(truncated.low)
            }
            (_, other) => Err(CallError::unexpected(&other)),
        }
    }

    /// Asks for the newest checkpoint of a partition, notes it, and believes it if it is proven to continue what `believed`
    /// has; notes it if it does not.
    ///
    /// # Errors
    /// As [`SimClient::call`].
    pub async fn follow_checkpoints(
        &self,
        (log, partition): (&str, PartitionId),
        believed: &mut Believed,
    ) -> Result<(), CallError> {
        let Known { subject, cluster } = self.known(log, partition).await?;
        let (begun, place) = (self.shared.journal.mark(), place(subject.log, partition));
        let ask = GetCheckpoint { log: subject.log, partition };
        let got = match self.call_cluster(ask.into(), Repeat::Harmless, Some(cluster)).await? {
            (_, Response::GetCheckpoint(got)) => got.checkpoint,
            (_, other) => return Err(CallError::unexpected(&other)),
        };
        if got.is_empty() {
            return Ok(());
        }
        let Some(new) = read(&got) else {
            let problem = format!("{} bytes are no checkpoint", got.len());
            self.shared.journal.push(Kind::Distrusted { begun, place, problem });
            return Ok(());
        };
        let shown = new.checkpoint();
        self.shared.journal.push(Kind::CheckpointSeen(CheckpointSeen {
            begun,
            place,
            cluster: shown.cluster,
            tree_size: shown.tree_size,
            end: shown.end_offset.get(),
            root: shown.root,
        }));
        let trust =
            believed.trust.entry(subject).or_insert_with(|| Trust::new(subject, Vec::new()));
        let proven = match trust.need(new) {
            Ok(None) => Ok(ConsistencyProof::default()),
            Ok(Some(need)) => {
                let (first, second) = (need.first, need.second);
                let log = subject.log;
                let ask = ProveConsistency { log, partition, first, second };
                self.proof(ask.into(), cluster).await?
            }
            Err(distrust) => Err(distrust.to_string()),
        };
        let advanced = proven
            .and_then(|proof| trust.advance(new, &proof).map_err(|distrust| distrust.to_string()));
        if let Err(problem) = advanced {
            self.shared.journal.push(Kind::Distrusted { begun, place, problem });
        }
        Ok(())
    }

    /// Has a record proven to be in the newest tree of a partition that `believed` knows, if it knows any: the one at the offset
    /// that `pick` chooses below its end. Notes the record, or that the proof is none.
    ///
    /// # Errors
    /// As [`SimClient::call`].
    pub async fn prove_record(
        &self,
        (log, partition): (&str, PartitionId),
        believed: &Believed,
        pick: impl FnOnce(u64) -> u64,
    ) -> Result<(), CallError> {
        let Known { subject, cluster } = self.known(log, partition).await?;
        let checkpoint = believed.trust.get(&subject).and_then(Trust::last).map(Stated::checkpoint);
        let Some(checkpoint) = checkpoint.filter(|last| last.end_offset.get() > 0) else {
            return Ok(());
        };
        let (begun, place) = (self.shared.journal.mark(), place(subject.log, partition));
        let (offset, tree_size) =
            (Offset::new(pick(checkpoint.end_offset.get())), checkpoint.tree_size);
        let read = Reader::read_hashed(self, (log, partition), offset).await?;
        let Some((seen, hash)) = read else { return Ok(()) };
        let ask = ProveRecord { log: subject.log, partition, offset, tree_size };
        let proven = match self.call_cluster(ask.into(), Repeat::Harmless, Some(cluster)).await {
            Ok((_, Response::ProveRecord(proven))) => InclusionProof::decode(&proven.proof)
                .and_then(|proof| proof.verify(&checkpoint.tree(), offset, hash))
                .map_err(|error| error.to_string()),
            Ok((_, other)) => return Err(CallError::unexpected(&other)),
            // It was shown a checkpoint that covers the record.
            Err(error) if error.is(ErrorCode::NotInTree) => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        self.shared.journal.push(match proven {
            Ok(_) => Kind::Proven(Proven { begun, place, seen }),
            Err(problem) => {
                let problem = format!("the record at {offset}: {problem}");
                Kind::Distrusted { begun, place, problem }
            }
        });
        Ok(())
    }

    /// A consistency proof; the inner error is a proof that is none, or the refusal to prove what was published.
    async fn proof(
        &self,
        ask: Request,
        cluster: pyralog_client::directory::ClusterId,
    ) -> Result<Result<ConsistencyProof, String>, CallError> {
        match self.call_cluster(ask, Repeat::Harmless, Some(cluster)).await {
            Ok((_, Response::ProveConsistency(proven))) => {
                Ok(ConsistencyProof::decode(&proven.proof).map_err(|error| error.to_string()))
            }
            Ok((_, other)) => Err(CallError::unexpected(&other)),
            Err(error) if error.is(ErrorCode::NotInTree) => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// What a name stands for now.
    async fn known(&self, log: &str, partition: PartitionId) -> Result<Known, CallError> {
        let (cluster, route) = self.route(log).await?;
        let gone = || CallError::without_reply(format!("there is no log {log}"), false);
        let log: LogId = route.ok_or_else(gone)?.id;
        let subject = Subject { cluster: cluster.0, log, partition };
        Ok(Known { subject, cluster })
    }
}

/// A checkpoint as it comes. One without a signature gets one of a key that signs nothing else, so that both are believed by the
/// same rules.
fn read(bytes: &[u8]) -> Option<SignedCheckpoint> {
    match bytes.try_into() {
        Ok(statement) => {
            let checkpoint = Checkpoint::decode(statement).ok()?;
            Some(checkpoint.sign(&NodeKey::from_seed(&[7; 32])))
        }
        Err(_) => SignedCheckpoint::decode(bytes).ok(),
    }
}
