//! The sparse index of a segment: where batches lie, by offset and by time.
//!
//! One entry per [`INDEX_INTERVAL_BYTES`] of stream, so that a read walks at most that many bytes of
//! batch headers. Create times come from producers and need not rise, so an entry holds the largest
//! create time *before* it: these rise, and the first batch that reaches a time lies between the
//! last entry below that time and the next. The index is kept up by appends and by recovery alike;
//! its file is advisory and is made again from the segment when it is missing or wrong.

pub(crate) mod key_table;
pub mod pphm;

use crate::batch::BatchHeader;
use crate::ids::{Offset, Timestamp};
use crate::layout::{Builder, Fields, FormatError};
use crate::limits::INDEX_INTERVAL_BYTES;
use crate::segment::FilePosition;

/// Magic at the start of an index file.
pub const INDEX_MAGIC: [u8; 8] = *b"PYIDX001";

/// Version of the index format.
pub const INDEX_VERSION: u32 = 1;

const ENTRY_BYTES: usize = 24;

/// A batch that the index points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the offsets begin that it covers.
    pub offset: Offset,
    /// Where it starts.
    pub position: FilePosition,
    /// Largest create time of all records of the segment before it.
    pub time_before: Timestamp,
}

impl Entry {
    /// Where a walk from here starts.
    #[must_use]
    pub const fn start(&self) -> Start {
        Start { position: self.position, offset: self.offset }
    }
}

/// Where a walk through a segment starts: a batch, or the mark of its group, lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The place.
    pub position: FilePosition,
    /// Offset of the first record at or behind it.
    pub offset: Offset,
}

/// The index of one segment. Invariant: entries rise in all three fields, the first two strictly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    base: Offset,
    entries: Vec<Entry>,
    end_offset: Offset,
    end_position: FilePosition,
    time_max: Timestamp,
}

impl Index {
    /// The index of an empty segment.
    #[must_use]
    pub const fn new(base: Offset) -> Self {
        Self {
            base,
            entries: Vec::new(),
            end_offset: base,
            end_position: FilePosition::STREAM_START,
            time_max: Timestamp::MIN,
        }
    }

    /// Takes note of the batch at `position`, the next one of the segment.
    ///
    /// # Panics
    /// If it lies before the end of what was noted: the caller lost track of its file.
    pub fn observe(&mut self, header: &BatchHeader, position: FilePosition) {
        let offset = header.covered_from();
        assert!(offset >= self.end_offset, "batch at {offset} after {}", self.end_offset);
        assert!(position >= self.end_position, "batch at {position} after {}", self.end_position);
        let due = self
            .entries
            .last()
            .is_none_or(|last| position.since(last.position) >= INDEX_INTERVAL_BYTES);
        if due {
            self.entries.push(Entry { offset, position, time_before: self.time_max });
        }
        self.end_offset = header.next_offset();
        self.end_position = position.plus(header.total_len() as u64);
        self.time_max = self.time_max.max(header.max_create_time);
    }

    /// Offset of the first record of the segment.
    #[must_use]
    pub const fn base(&self) -> Offset {
        self.base
    }

    /// Offset after the last record noted.
    #[must_use]
    pub const fn end_offset(&self) -> Offset {
        self.end_offset
    }

    /// End of the last batch noted.
    #[must_use]
    pub const fn end_position(&self) -> FilePosition {
        self.end_position
    }

    /// Largest create time noted; [`Timestamp::MIN`] if there is no record.
    #[must_use]
    pub const fn time_max(&self) -> Timestamp {
        self.time_max
    }

    /// Where to start walking to reach the batch that contains `offset`: at or before that batch.
    #[must_use]
    pub fn start_of(&self, offset: Offset) -> Start {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        let beginning = Start { position: FilePosition::STREAM_START, offset: self.base };
        after.checked_sub(1).map_or(beginning, |at| self.entries[at].start())
    }

    /// Where to start walking to reach the first batch with a record created at or after `time`, or
    /// `None` if the segment has none.
    #[must_use]
    pub fn entry_of_time(&self, time: Timestamp) -> Option<Entry> {
        if self.time_max < time || self.entries.is_empty() {
            return None;
        }
        let after = self.entries.partition_point(|entry| entry.time_before < time);
        Some(self.entries[after.saturating_sub(1)])
    }

    /// The first entry beyond `position`: where a reader that met damage can go on.
    #[must_use]
    pub fn entry_after(&self, position: FilePosition) -> Option<Entry> {
        let after = self.entries.partition_point(|entry| entry.position <= position);
        self.entries.get(after).copied()
    }

    /// The last entry before `position`.
    #[must_use]
    pub fn entry_before(&self, position: FilePosition) -> Option<Entry> {
        let from = self.entries.partition_point(|entry| entry.position < position);
        from.checked_sub(1).map(|at| self.entries[at])
    }

    /// Forgets every batch at or above `offset`, which ends at `position` from now on.
    ///
    /// The largest create time stays: too large only makes a search by time look once in vain.
    pub fn cut(&mut self, offset: Offset, position: FilePosition) {
        let kept = self.entries.partition_point(|entry| entry.offset < offset);
        self.entries.truncate(kept);
        if self.end_offset > offset {
            self.end_offset = offset;
            self.end_position = position;
        }
    }

    /// The index file of a segment of `generation`.
    #[must_use]
    pub fn encode(&self, generation: u64) -> Vec<u8> {
        let mut builder = Builder::new(INDEX_MAGIC, INDEX_VERSION);
        builder.u64(generation).u64(self.base.get()).u64(self.end_offset.get());
        builder.u64(self.end_position.get()).i64(self.time_max.get());
        builder.u64(self.entries.len() as u64);
        for entry in &self.entries {
            builder.u64(entry.offset.get()).u64(entry.position.get()).i64(entry.time_before.get());
        }
        builder.finish()
    }

    /// Reads the index file of the segment of `generation` that starts at `base`.
    ///
    /// # Errors
    /// Why it cannot be used; the index is then made from the segment.
    pub fn decode(bytes: &[u8], generation: u64, base: Offset) -> Result<Self, FormatError> {
        let mut fields = Fields::open(bytes, INDEX_MAGIC, INDEX_VERSION)?;
        if (fields.u64()?, fields.u64()?) != (generation, base.get()) {
            return Err(FormatError::Foreign);
        }
        let end_offset = Offset::new(fields.u64()?);
        let end_position = FilePosition::new(fields.u64()?);
        let time_max = Timestamp::new(fields.i64()?);
        let count = fields.count(ENTRY_BYTES)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(Entry {
                offset: Offset::new(fields.u64()?),
                position: FilePosition::new(fields.u64()?),
                time_before: Timestamp::new(fields.i64()?),
            });
        }
        fields.end()?;
        let index = Self { base, entries, end_offset, end_position, time_max };
        if index.is_sound() { Ok(index) } else { Err(FormatError::Field { field: "entry" }) }
    }

    /// Whether both point to the same batches and end at the same place. Create times may differ: see [`Self::cut`].
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        let places =
            |index: &Self| -> Vec<Start> { index.entries.iter().map(Entry::start).collect() };
        let ends = |index: &Self| (index.base, index.end_offset, index.end_position);
        ends(self) == ends(other) && places(self) == places(other)
    }

    /// Number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry: the segment has no batch.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn is_sound(&self) -> bool {
        let rising = self.entries.windows(2).all(|pair| {
            pair[0].offset < pair[1].offset
                && pair[0].position < pair[1].position
                && pair[0].time_before <= pair[1].time_before
        });
        let first = self.entries.first();
        let last = self.entries.last();
        rising
            && self.base <= self.end_offset
            && FilePosition::STREAM_START <= self.end_position
            && first.is_none_or(|entry| self.base <= entry.offset)
            && first.is_none_or(|entry| FilePosition::STREAM_START <= entry.position)
            && last.is_none_or(|entry| entry.offset < self.end_offset)
            && last.is_none_or(|entry| entry.position < self.end_position)
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::QuickCheck;

    use super::*;
    use crate::testing::header;

    /// A segment of batches with these (body lengths, create times), and its index.
    fn segment(batches: &[(u16, u16)]) -> (Index, Vec<(BatchHeader, FilePosition)>) {
        let (mut index, mut all) = (Index::new(Offset::new(100)), Vec::new());
        let (mut offset, mut position) = (Offset::new(100), FilePosition::STREAM_START);
        for (body_len, time) in batches {
            let header = header(offset, u32::from(*body_len), i64::from(*time));
            index.observe(&header, position);
            all.push((header, position));
            offset = header.next_offset();
            position = position.plus(header.total_len() as u64);
        }
        (index, all)
    }

    #[test]
    fn a_walk_from_the_index_meets_what_a_full_walk_meets() {
        #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
        fn property(batches: Vec<(u16, u16)>, wanted: u16) {
            let (index, all) = segment(&batches);
            let decoded = Index::decode(&index.encode(5), 5, Offset::new(100));
            assert_eq!(decoded.as_ref(), Ok(&index));
            for (header, position) in &all {
                let start = index.start_of(header.owner.base_offset);
                assert!(start.position <= *position, "the walk starts beyond its target");
                let first = all.iter().find(|(_, position)| start.position == *position);
                assert_eq!(first.map(|(header, _)| header.owner.base_offset), Some(start.offset));
                assert!(position.since(start.position) < INDEX_INTERVAL_BYTES + 70_000);
            }
            let wanted = Timestamp::new(i64::from(wanted));
            let first = all.iter().find(|(header, _)| header.max_create_time >= wanted);
            let entry = index.entry_of_time(wanted);
            assert_eq!(entry.is_some(), first.is_some());
            if let (Some(entry), Some((_, position))) = (entry, first) {
                assert!(entry.position <= *position, "the walk starts beyond its target");
                assert!(position.since(entry.position) < INDEX_INTERVAL_BYTES + 70_000);
            }
        }
        QuickCheck::new().tests(500).quickcheck(property as fn(_, _));
    }

    #[test]
    fn a_cut_index_equals_one_that_never_saw_the_rest() {
        let batches: Vec<_> = (0..200).map(|at| (30_000, at)).collect();
        let (mut cut, all) = segment(&batches);
        let (expected, _) = segment(&batches[..77]);
        cut.cut(all[77].0.owner.base_offset, all[77].1);
        assert_eq!(cut.entries, expected.entries);
        assert_eq!(cut.end_position(), expected.end_position());
        assert_eq!(cut.end_offset(), expected.end_offset());
    }

    #[test]
    fn a_foreign_or_broken_index_file_is_refused() {
        let (index, _) = segment(&[(50_000, 1), (50_000, 2), (50_000, 3)]);
        let bytes = index.encode(5);
        assert_eq!(Index::decode(&bytes, 6, Offset::new(100)), Err(FormatError::Foreign));
        assert_eq!(Index::decode(&bytes, 5, Offset::new(101)), Err(FormatError::Foreign));
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 4;
            assert!(Index::decode(&broken, 5, Offset::new(100)).is_err(), "byte {at}");
            assert!(Index::decode(&bytes[..at], 5, Offset::new(100)).is_err(), "{at} bytes");
        }
    }
}
