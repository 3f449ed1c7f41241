//! Messages about logs: routing and administration.

use pyralog_log::ids::{LogId, Offset, PartitionId, Timestamp};
use rkyv::{Archive, Deserialize, Serialize};

use crate::config::{LogChanges, LogConfig};
use crate::message::handshake::ShardAddress;
use crate::raw::Plain;

/// Asks where the partitions of logs live.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Metadata {
    /// Names of the logs.
    pub names: Vec<String>,
}

/// The answer to a [`Metadata`].
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Routes {
    /// Raised by every change of the catalog or of ownership; a lower one is older.
    pub version: u64,
    /// Where each shard listens, in order of index.
    pub shards: Vec<ShardAddress>,
    /// The logs that exist, in the order asked for.
    pub logs: Vec<LogRoute>,
    /// The names of those that do not, in the order asked for.
    pub unknown: Vec<String>,
}

/// Where the partitions of a log live.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct LogRoute {
    /// Identity of the log: another one if a log of this name is deleted and created again.
    #[rkyv(with = Plain)]
    pub id: LogId,
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: LogConfig,
    /// The owning shard of each partition, indexed by partition.
    pub shards: Vec<u16>,
}

/// Creates a log. Answered by its [`LogDescription`].
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CreateLog {
    /// Its name, see [`crate::name`].
    pub name: String,
    /// Its configuration.
    pub config: LogConfig,
}

/// Asks for a [`LogDescription`].
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DescribeLog {
    /// Name of the log.
    pub name: String,
}

/// Asks for a page of the logs, ordered by the bytes of their names.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ListLogs {
    /// Only names that begin so; empty for all.
    pub prefix: String,
    /// Only names after this one; empty for the first page.
    pub after: String,
    /// Logs in the page, 1 to [`crate::limits::LIST_PAGE_LOGS_MAX`].
    pub limit: u32,
}

/// The answer to a [`ListLogs`].
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct LogPage {
    /// The logs, ordered by name, without the state of their partitions.
    pub logs: Vec<LogDescription>,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// Changes a log. Answered by its new [`LogDescription`].
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct AlterLog {
    /// Name of the log.
    pub name: String,
    /// What to change.
    pub changes: LogChanges,
}

/// Deletes a log and its records.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteLog {
    /// Name of the log.
    pub name: String,
}

/// The answer to a [`DeleteLog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Deleted {
    /// Identity of the log that is gone.
    #[rkyv(with = Plain)]
    pub id: LogId,
}

/// Makes an offset the first of a partition; what lies before it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TruncateLog {
    /// The log.
    #[rkyv(with = Plain)]
    pub log: LogId,
    /// The partition within it.
    #[rkyv(with = Plain)]
    pub partition: PartitionId,
    /// The first offset that stays: at most the high watermark. Lower than the low watermark, nothing changes.
    #[rkyv(with = Plain)]
    pub before: Offset,
}

/// The answer to a [`TruncateLog`], when that is on stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Truncated {
    /// Oldest offset of the partition.
    #[rkyv(with = Plain)]
    pub low: Offset,
}

/// A log: identity, configuration and state.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct LogDescription {
    /// Identity of the log; never used again.
    #[rkyv(with = Plain)]
    pub id: LogId,
    /// When it was created.
    #[rkyv(with = Plain)]
    pub created: Timestamp,
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: LogConfig,
    /// Its partitions, ordered by number; empty in listings.
    pub partitions: Vec<PartitionInfo>,
}

/// State of a partition when the answer was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct PartitionInfo {
    /// Its number within the log.
    #[rkyv(with = Plain)]
    pub partition: PartitionId,
    /// The shard that owns it.
    pub shard: u16,
    /// Whether its file failed: it can be read, appends are refused until the server restarts.
    pub failed: bool,
    /// Segments, 0 for a partition in memory.
    pub segments: u32,
    /// Oldest offset.
    #[rkyv(with = Plain)]
    pub low: Offset,
    /// Offset after the last committed record: readers see up to here.
    #[rkyv(with = Plain)]
    pub high: Offset,
    /// Offset after the last record taken.
    #[rkyv(with = Plain)]
    pub end: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    /// What compaction did, all zero if the log is not compacted.
    pub compaction: CompactionInfo,
    /// What is in the object store, all zero if the log is not tiered.
    pub store: StoreInfo,
    /// How far its Merkle tree has come, if the log has proofs.
    pub tree: Option<TreeInfo>,
}

/// What compaction did to a partition since it was opened, and what there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CompactionInfo {
    /// When the last run ended; 0 before the first. Outlives a restart.
    #[rkyv(with = Plain)]
    pub ran: Timestamp,
    /// The records below it are compacted.
    #[rkyv(with = Plain)]
    pub clean: Offset,
    /// Bytes of the closed segments that may be compacted, as of the last look.
    pub bytes: u64,
    /// Bytes of those that are new since the last run.
    pub dirty_bytes: u64,
    /// Records removed because there were later ones.
    pub removed_records: u64,
    /// Tombstones removed.
    pub removed_tombstones: u64,
}

/// What a partition has in the object store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct StoreInfo {
    /// Segments in the store.
    pub segments: u32,
    /// Bytes of them.
    pub bytes: u64,
    /// Segments among them whose file is gone.
    pub remote_only_segments: u32,
    /// Bytes of those.
    pub remote_only_bytes: u64,
    /// Closed segments that are not in the store yet.
    pub waiting_segments: u32,
    /// Bytes of those.
    pub waiting_bytes: u64,
}

/// How far the Merkle tree of a partition has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TreeInfo {
    /// Batches that were hashed.
    pub batches: u64,
    /// Records on stable storage that were not hashed yet.
    pub lag_records: u64,
    /// Offset after the last record of the newest checkpoint; 0 if there is none.
    #[rkyv(with = Plain)]
    pub checkpoint_end: Offset,
    /// When that was made; 0 if there is none.
    #[rkyv(with = Plain)]
    pub checkpoint_time: Timestamp,
    /// Whether the tree stands still: `GetCheckpoint` says why.
    pub is_failed: bool,
}
