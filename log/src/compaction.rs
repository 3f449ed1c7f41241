//! Compaction: of the records with a key, the newest stays.
//!
//! Pure: [`plan`] says which segments a run looks at, [`map`] knows the newest offset of each key of what is new, [`sift`] says
//! which records of a batch stay. `partition_file::compaction` reads, writes and swaps for them.
//!
//! A run works through the closed segments from the first on. The part that no run has seen is *dirty*. The map takes the keys
//! of the dirty part, as many as fit its memory; then all segments up to there are gone through, and what the map knows a
//! later record of goes. If the map was full before the end, the next pass goes on behind it. So memory does not depend on
//! the number of keys, and each further pass costs one more reading. Kafka's log cleaner works like this; rejected was a sort
//! of all keys on disk, which reads and writes more than a second pass for all that fits a core's memory.

pub(crate) mod map;
pub(crate) mod plan;
pub(crate) mod sift;

use std::time::Duration;

use crate::ids::{LogId, Offset, PartitionId, Timestamp};
use crate::layout::{Builder, Fields, FormatError};
use crate::limits::{COMPACTION_DIRTY_PERCENT_DEFAULT, COMPACTION_MEMORY_BYTES_DEFAULT};
use plan::Progress;

/// Name of the file, in the directory of a partition, that says how far compaction has come. Advisory: without it all is
/// dirty.
pub const PROGRESS_NAME: &str = "compaction";

const MAGIC: [u8; 8] = *b"PYCMP001";
const VERSION: u32 = 1;

/// How a partition is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For how long after its append a record is not touched.
    pub lag: Duration,
    /// For how long after its append a tombstone stays at least. It goes at the next run, at the latest after as long again.
    pub tombstones: Duration,
    /// How much of the bytes must be new to make a run worth it.
    pub dirty_percent: u32,
    /// Memory for the newest offset of each key: 32 bytes a key when it is full. What does not fit is done in further passes.
    pub memory_bytes: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            lag: Duration::ZERO,
            tombstones: Duration::from_hours(24),
            dirty_percent: COMPACTION_DIRTY_PERCENT_DEFAULT,
            memory_bytes: COMPACTION_MEMORY_BYTES_DEFAULT,
        }
    }
}

/// What compaction has done to a partition since it was opened, and what there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionStats {
    /// Passes over the segments.
    pub passes: u64,
    /// Bytes of batches read.
    pub read_bytes: u64,
    /// Bytes of segments written.
    pub written_bytes: u64,
    /// Segments that others took the place of.
    pub replaced_segments: u64,
    /// Records removed because there were later ones.
    pub removed_records: u64,
    /// Tombstones removed.
    pub removed_tombstones: u64,
    /// When the last run ended; zero before the first.
    pub ran: Timestamp,
    /// The records below it are compacted.
    pub clean: Offset,
    /// Bytes of the closed segments that may be compacted, as of the last look.
    pub bytes: u64,
    /// Bytes of those that are new since the last run.
    pub dirty_bytes: u64,
}

/// The file that says how far it has come.
pub(crate) fn encode(log: LogId, partition: PartitionId, progress: &Progress) -> Vec<u8> {
    let mut builder = Builder::new(MAGIC, VERSION);
    builder.u64(log.get()).u32(partition.get());
    builder.u32(u32::from(progress.oldest_tombstone.is_some())).u64(progress.clean.get());
    builder.i64(progress.oldest_tombstone.unwrap_or_default().get()).i64(progress.ran.get());
    builder.finish()
}

/// Reads the file of the partition.
///
/// # Errors
/// Why it cannot be used; then everything is dirty.
pub(crate) fn decode(
    bytes: &[u8],
    log: LogId,
    partition: PartitionId,
) -> Result<Progress, FormatError> {
    let mut fields = Fields::open(bytes, MAGIC, VERSION)?;
    if (fields.u64()?, fields.u32()?) != (log.get(), partition.get()) {
        return Err(FormatError::Foreign);
    }
    let has_tombstone = fields.u32()? != 0;
    let clean = Offset::new(fields.u64()?);
    let tombstone = Timestamp::new(fields.i64()?);
    let ran = Timestamp::new(fields.i64()?);
    fields.end()?;
    Ok(Progress { clean, oldest_tombstone: has_tombstone.then_some(tombstone), ran })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_comes_back_whole_or_not_at_all() {
        let (log, partition) = (LogId::new(7), PartitionId::new(1));
        let tombstones = [None, Some(Timestamp::new(-5))];
        for oldest_tombstone in tombstones {
            let ran = Timestamp::new(77);
            let progress = Progress { clean: Offset::new(1234), oldest_tombstone, ran };
            let bytes = encode(log, partition, &progress);
            assert_eq!(decode(&bytes, log, partition), Ok(progress));
            assert_eq!(decode(&bytes, log, PartitionId::new(2)), Err(FormatError::Foreign));
            for at in 0..bytes.len() {
                let mut broken = bytes.clone();
                broken[at] ^= 8;
                assert!(decode(&broken, log, partition).is_err(), "byte {at}");
                assert!(decode(&bytes[..at], log, partition).is_err(), "{at} bytes");
            }
        }
    }
}
