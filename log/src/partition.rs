//! The partition: decides what is appended, written, acknowledged, seen and evicted. No I/O.
//!
//! An append is copied once, into the group that is being gathered, and sealed there. While one
//! group is in flight the next gathers; when the write is done, everything that gathered goes out
//! as one write. So one sync serves all that arrived during the last one, and no timer is needed.
//!
//! Bytes and copies of an append: one pass of CRC over the incoming bytes, one copy into the
//! group's buffer, 120 bytes hashed per batch to seal it, 128 to chain it into the mark. Nothing is
//! allocated per batch but by growth of the queues and the index.
//!
//! Three offsets follow each other: `synced <= written <= end`. The high watermark is the one that
//! the log's level names; an acknowledgement waits for the one that the request names.
//!
//! A failed write poisons: pending appends are told, none is acknowledged any more. Lack of space
//! is the one failure after which the file is known (the group is not there in full, and nobody was
//! told that it is): its appends are refused, offsets and sessions go back to where they were, and
//! the next append tries again. If something in it was acknowledged in memory, it is kept and
//! written again instead.
//!
//! The memory-only log is the same machine without a file: a group that is full goes to the tail,
//! and the tail evicts from its front.

mod answer;
mod append;
mod group;
mod memory;
mod proofs;
mod read;
mod read_error;
mod record_ids;
mod retention;
mod tiering;
mod truncating;
pub(crate) mod walk;
mod write;

use std::collections::VecDeque;
use std::time::Duration;

use pyralog_runtime::time::Monotonic;

pub use answer::{
    AppendError, AppendNow, Appended, Changes, Completions, Fault, OpenError, PartitionConfig,
    PartitionStats, Read, Storage, Ticket, Watermarks, WriteSample,
};
pub(crate) use append::Wanted;
pub(crate) use group::Place;
pub use proofs::{Proofs, Published, TreeError, TreeFault, TreeStatus};
pub(crate) use read::{FilePlan, Located};
pub use read_error::ReadError;
pub use record_ids::{NoIds, RecordIds};
pub use tiering::Tiering;
pub use truncating::TruncateError;
pub(crate) use write::{Mode, Work, Write};

use crate::durability::Durability;
use crate::ids::{Epoch, Offset, Timestamp};
use crate::index::Index;
use crate::limits::GATHER_SMALL_BYTES;
use crate::manifest::RemoteSegment;
use crate::mark::{Incarnation, StampKey};
use crate::recovery::Damage;
use crate::retention::Life;
use crate::segment::FilePosition;
use crate::sessions::Sessions;
use crate::tail::Tail;
use group::Group;
use write::Flight;

/// Both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall: Timestamp,
    pub(crate) monotonic: Monotonic,
}

/// What the machine needs to know of its configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) epoch: Epoch,
    pub(crate) durability: Durability,
    pub(crate) segment_bytes: u64,
    pub(crate) tail_bytes: u64,
    /// Most bytes that the tail may have beyond that for what a Merkle tree has not seen; zero without one.
    pub(crate) unhashed_bytes: u64,
    /// Byte budget and time to live, if there is no file.
    pub(crate) memory: Option<(u64, Option<Duration>)>,
    pub(crate) life: Life,
    pub(crate) tiering: Tiering,
}

/// A segment that is no longer written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) base: Offset,
    pub(crate) generation: u64,
    /// Offset after its last record.
    pub(crate) end: Offset,
    /// End of its stream.
    pub(crate) end_position: FilePosition,
    /// Largest create time.
    pub(crate) time_max: Timestamp,
    /// Largest append time.
    pub(crate) append_max: Timestamp,
}

impl Closed {
    /// A segment of which the file is in the object store only.
    pub(crate) const fn of_remote(remote: &RemoteSegment) -> Self {
        Self {
            base: remote.base,
            generation: remote.generation,
            end: remote.end,
            end_position: FilePosition::new(remote.bytes),
            time_max: remote.create_max,
            append_max: remote.append_max,
        }
    }
}

/// When the first and the last record of a segment were appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppendTimes {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

/// Where writing goes on in a segment.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Base offset of the segment.
    pub(crate) segment: Offset,
    /// Of the next mark.
    pub(crate) position: FilePosition,
    pub(crate) index: Index,
    /// The next mark opens the segment or the incarnation.
    pub(crate) opens: bool,
    /// Of its records, if it has any.
    pub(crate) times: Option<AppendTimes>,
}

impl Head {
    /// At the start of a new segment.
    pub(crate) const fn new(segment: Offset) -> Self {
        let index = Index::new(segment);
        Self { segment, position: FilePosition::STREAM_START, index, opens: true, times: None }
    }
}

/// What recovery hands to the machine.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) head: Head,
    pub(crate) generation: u64,
    pub(crate) key: StampKey,
    pub(crate) end: Offset,
    /// The bytes of the block before the head's position.
    pub(crate) carry: Vec<u8>,
    pub(crate) closed: Vec<Closed>,
    pub(crate) damages: Vec<Damage>,
    pub(crate) sessions: Sessions,
    pub(crate) incarnation: Incarnation,
    /// Append time of the last record.
    pub(crate) append_time: Timestamp,
    /// The last mark in the file is a clean one, or the file has none.
    pub(crate) clean: bool,
    /// First offset that can be read.
    pub(crate) low: Offset,
}

/// Whether the partition takes appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// There was no space; the next try is due then.
    Starved(Fault, Monotonic),
    Poisoned(Fault),
    /// No appends; what is pending is finished.
    Closing,
    Closed,
}

/// An append that waits for its level.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    ticket: Ticket,
    appended: Appended,
}

/// An answer to deliver.
pub(crate) type Answer = (Ticket, Result<Appended, AppendError>);

/// The machine. Invariant: `low <= synced <= written <= end`, but `low` may pass the others in a
/// memory-only log.
#[derive(Debug)]
pub(crate) struct Machine {
    settings: Settings,
    phase: Phase,
    low: Offset,
    /// What readers could see before the level was last changed.
    seen: Offset,
    end: Offset,
    written: Offset,
    synced: Offset,
    /// Where the synced part ends in the segment of the head.
    synced_position: FilePosition,
    /// The newest mark on disk says that everything below it was synced.
    marked: Offset,
    append_time: Timestamp,
    incarnation: Incarnation,
    generation: u64,
    key: StampKey,
    head: Head,
    upcoming: Option<Head>,
    /// The segment of the head is to be closed although it is not full.
    roll_wanted: bool,
    /// The bytes of the block before the head's position.
    carry: Vec<u8>,
    queue: VecDeque<Group>,
    flight: Option<Flight>,
    /// Where the log and the stream ended when the sync in flight began.
    syncing: Option<(Offset, Place)>,
    /// Somebody waits for a sync up to here.
    sync_wanted: Offset,
    unsynced_since: Option<Monotonic>,
    unsynced_bytes: u64,
    last_write: Monotonic,
    /// Body bytes of the last group.
    recent_group_bytes: u64,
    clean: bool,
    written_waiting: VecDeque<Waiting>,
    synced_waiting: VecDeque<Waiting>,
    repeats: Vec<(Durability, Waiting)>,
    answers: Vec<Answer>,
    sessions: Sessions,
    tail: Tail,
    /// Every record below it was hashed for the Merkle tree, if there is one.
    hashed: Offset,
    closed: Vec<Closed>,
    damages: Vec<Damage>,
    stats: PartitionStats,
}

impl Machine {
    /// A partition that goes on where recovery found its end.
    pub(crate) fn new(settings: Settings, recovered: Recovered) -> Self {
        let Recovered { head, generation, key, end, carry, closed, damages, .. } = recovered;
        assert_eq!(carry.len(), head.position.in_block(), "the block before {}", head.position);
        Self {
            settings,
            phase: Phase::Open,
            low: recovered.low,
            seen: Offset::ZERO,
            end,
            written: end,
            synced: end,
            synced_position: head.position,
            marked: end,
            append_time: recovered.append_time,
            incarnation: recovered.incarnation,
            generation,
            key,
            head,
            upcoming: None,
            roll_wanted: false,
            carry,
            queue: VecDeque::new(),
            flight: None,
            syncing: None,
            sync_wanted: Offset::ZERO,
            unsynced_since: None,
            unsynced_bytes: 0,
            last_write: Monotonic::ZERO,
            recent_group_bytes: 0,
            clean: recovered.clean,
            written_waiting: VecDeque::new(),
            synced_waiting: VecDeque::new(),
            repeats: Vec::new(),
            answers: Vec::new(),
            sessions: recovered.sessions,
            tail: Tail::new(end),
            hashed: Offset::ZERO,
            closed,
            damages,
            stats: PartitionStats::default(),
        }
    }

    /// An empty memory-only partition.
    pub(crate) fn in_memory(settings: Settings, key: StampKey) -> Self {
        assert!(settings.memory.is_some(), "a memory-only log has a budget");
        let recovered = Recovered {
            head: Head::new(Offset::ZERO),
            generation: 0,
            key,
            end: Offset::ZERO,
            carry: Vec::new(),
            closed: Vec::new(),
            damages: Vec::new(),
            sessions: Sessions::default(),
            incarnation: Incarnation::default(),
            append_time: Timestamp::MIN,
            clean: true,
            low: Offset::ZERO,
        };
        Self::new(settings, recovered)
    }

    /// How far it has come.
    pub(crate) fn watermarks(&self) -> Watermarks {
        let high = self.reached(self.settings.durability).max(self.seen);
        let (low, end) = (self.low, self.end);
        assert!(low <= high && high <= end, "{low} {high} {end}");
        Watermarks { low, high, end }
    }

    /// The offset below which every record has reached `level`.
    pub(crate) fn reached(&self, level: Durability) -> Offset {
        match level {
            Durability::Memory => self.end,
            Durability::Written => self.written,
            Durability::Synced => self.synced,
        }
    }

    pub(crate) const fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) const fn is_memory(&self) -> bool {
        self.settings.memory.is_some()
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Append time of the last record.
    pub(crate) const fn append_time(&self) -> Timestamp {
        self.append_time
    }

    /// Body bytes of the last group that was written.
    pub(crate) const fn recent_group_bytes(&self) -> u64 {
        self.recent_group_bytes
    }

    /// A clean mark ends the log on disk, or there is nothing on disk.
    pub(crate) const fn is_clean(&self) -> bool {
        self.clean
    }

    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    pub(crate) fn closed(&self) -> &[Closed] {
        &self.closed
    }

    /// Puts a closed segment in the place of those whose records it has. What of them was in memory goes, and what was before
    /// it: it has what the new segment has not any more.
    ///
    /// # Panics
    /// If they do not begin and end where it does.
    pub(crate) fn replace_closed(&mut self, closed: Closed) {
        let first = self.closed.partition_point(|found| found.base < closed.base);
        let end = self.closed.partition_point(|found| found.base < closed.end);
        let gone: Vec<Closed> = self.closed.splice(first..end, [closed]).collect();
        assert_eq!(gone.first().map(|gone| gone.base), Some(closed.base), "where it begins");
        assert_eq!(gone.last().map(|gone| gone.end), Some(closed.end), "where it ends");
        self.tail.shrink(0, closed.end);
    }

    pub(crate) fn damages(&self) -> &[Damage] {
        &self.damages
    }

    pub(crate) const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The synced part of the head's segment: where it ends and which offset follows.
    pub(crate) const fn synced_end(&self) -> (FilePosition, Offset) {
        (self.synced_position, self.synced)
    }

    /// Whether the recent groups call for large buffers.
    const fn gathers_large(&self) -> bool {
        self.recent_group_bytes > GATHER_SMALL_BYTES as u64 / 2
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes the answers to deliver.
    pub(crate) fn take_answers(&mut self, answers: &mut Vec<Answer>) {
        answers.append(&mut self.answers);
    }

    /// Bytes that were written so far in this life.
    pub(crate) const fn written_bytes(&self) -> u64 {
        self.stats.written_bytes
    }

    /// Counters, and what it holds now.
    pub(crate) fn stats(&self) -> PartitionStats {
        let gathered: usize = self.queue.iter().map(Group::capacity).sum();
        let closed: u64 = self.closed.iter().map(|closed| closed.end_position.get()).sum();
        let head = if self.is_memory() { 0 } else { self.head.position.get() };
        PartitionStats {
            memory_bytes: self.tail.held_bytes() + gathered as u64,
            file_bytes: closed + head,
            segments: if self.is_memory() { 0 } else { self.closed.len() as u64 + 1 },
            sessions: self.sessions.len() as u64,
            damaged_records: self
                .damages
                .iter()
                .map(|damage| damage.offsets.end.since(damage.offsets.start))
                .sum(),
            poisoned: matches!(self.phase, Phase::Poisoned(_)),
            no_space: matches!(self.phase, Phase::Starved(..)),
            fault: match self.phase {
                Phase::Poisoned(fault) | Phase::Starved(fault, _) => Some(fault),
                Phase::Open | Phase::Closing | Phase::Closed => None,
            },
            ..self.stats
        }
    }
}

#[cfg(test)]
mod tests;
