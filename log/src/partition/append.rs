//! Taking appends, and the memory-only log's making of room.

use pyralog_runtime::time::Monotonic;

use super::group::{Group, Place};
use super::{
    AppendError, AppendNow, AppendTimes, Appended, Head, Machine, Now, Phase, RecordIds, Ticket,
    Waiting,
};
use crate::batch::{
    BatchError, BatchHeader, HEADER_BYTES, Item, Items, MARK_BYTES, MARK_MAGIC, Owner,
    record_count, seal,
};
use crate::durability::Durability;
use crate::limits::{
    APPEND_BYTES_MAX, APPEND_RECORDS_MAX, GATHER_LARGE_BYTES, GATHER_SMALL_BYTES,
    GATHERED_BYTES_MAX, REPEATS_WAITING_MAX,
};
use crate::segment::{BLOCK_BYTES, FilePosition};
use crate::sessions::Verdict;

/// What an append turned out to be before anything was changed.
enum Survey {
    /// All batches are new.
    New { records: u64, batches: u64 },
    /// All batches are in the log already, in this range.
    Repeat(Appended),
}

/// What is to be appended, how safely, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) batches: &'a [u8],
    pub(crate) level: Durability,
    pub(crate) ticket: Ticket,
}

impl Machine {
    /// Takes an append, or says why not. All of its batches are taken or none. New batches get their ids from `ids`.
    pub(crate) fn append(
        &mut self,
        wanted: Wanted<'_>,
        ids: &mut dyn RecordIds,
        now: Now,
    ) -> AppendNow {
        match self.try_append(wanted, ids, now) {
            Ok(answer) => answer,
            Err(error) => {
                self.stats.refused += 1;
                AppendNow::Refused(error)
            }
        }
    }

    /// An append of a test, without ids.
    #[cfg(test)]
    pub(crate) fn append_plain(
        &mut self,
        batches: &[u8],
        level: Durability,
        ticket: Ticket,
        now: Now,
    ) -> AppendNow {
        self.append(Wanted { batches, level, ticket }, &mut super::NoIds, now)
    }

    fn try_append(
        &mut self,
        Wanted { batches, level, ticket }: Wanted<'_>,
        ids: &mut dyn RecordIds,
        now: Now,
    ) -> Result<AppendNow, AppendError> {
        self.admit(batches.len(), level, now)?;
        let (records, count) = match self.survey(batches)? {
            Survey::New { records, batches } => (records, batches),
            Survey::Repeat(appended) => return self.repeat(appended, level, ticket),
        };
        if !ids.ready(records) {
            return Err(AppendError::Busy);
        }
        self.make_room(batches.len())?;
        self.append_time = self.append_time.max(now.wall);
        let base_offset = self.end;
        self.take(batches, ids, now.monotonic);
        assert_eq!(self.end.since(base_offset), records, "the batches surveyed are those taken");
        self.stats.appends += 1;
        self.stats.batches += count;
        self.stats.records += records;
        self.stats.bytes += batches.len() as u64;
        let append_time = self.append_time;
        let appended =
            Appended { base_offset, next_offset: self.end, append_time, duplicate: false };
        self.note_level(level);
        self.evict_over_budget();
        let waiting = Waiting { ticket, appended };
        match level {
            Durability::Memory => return Ok(AppendNow::Done(appended)),
            Durability::Written => self.written_waiting.push_back(waiting),
            Durability::Synced => self.synced_waiting.push_back(waiting),
        }
        Ok(AppendNow::Pending)
    }

    /// Refuses what can be refused without looking at the bytes.
    fn admit(&mut self, len: usize, level: Durability, now: Now) -> Result<(), AppendError> {
        match self.phase {
            Phase::Open => {}
            Phase::Starved(_, retry_at) if self.flight.is_none() && now.monotonic >= retry_at => {
                self.phase = Phase::Open; // This append is the next try.
            }
            Phase::Starved(fault, _) => return Err(AppendError::NoSpace(fault)),
            Phase::Poisoned(fault) => return Err(AppendError::Poisoned(fault)),
            Phase::Closing | Phase::Closed => return Err(AppendError::Closed),
        }
        if self.is_memory() && level > Durability::Memory {
            return Err(AppendError::Unsupported { requested: level });
        }
        if len == 0 {
            return Err(AppendError::Empty);
        }
        let max = self.append_bytes_max();
        if len > max {
            return Err(AppendError::TooLarge { max, found: len });
        }
        if self.is_full(len) { Err(AppendError::Busy) } else { Ok(()) }
    }

    /// Longest append: a quarter of the budget of a memory-only log, so that none evicts itself.
    fn append_bytes_max(&self) -> usize {
        let quarter = self.settings.memory.map_or(u64::MAX, |(bytes_max, _)| bytes_max / 4);
        usize::try_from(quarter).unwrap_or(usize::MAX).min(APPEND_BYTES_MAX)
    }

    /// Whether `len` more bytes would pass what may gather behind the group in flight.
    fn is_full(&self, len: usize) -> bool {
        let gathered: usize = self.queue.iter().map(Group::body_len).sum();
        gathered > 0 && gathered + len > GATHERED_BYTES_MAX
    }

    /// Checks every batch: structure, checksum, session. One pass over the bytes.
    fn survey(&mut self, batches: &[u8]) -> Result<Survey, AppendError> {
        self.sessions.begin();
        let (mut records, mut count, mut repeats) = (0_u64, 0_u64, 0_u64);
        let mut original: Option<Appended> = None;
        for item in Items::new(batches) {
            let batch = match item? {
                Item::Batch(batch) => batch.verify_unsealed()?,
                Item::Mark(_) => return Err(BatchError::Magic { found: MARK_MAGIC }.into()),
            };
            let header = batch.header();
            count += 1;
            records += u64::from(header.record_count);
            let Some(session) = &header.session else { continue };
            let verdict = self.sessions.check(session, header.record_count)?;
            if let Verdict::Repeat { base_offset, append_time } = verdict {
                repeats += 1;
                let next = base_offset.checked_add(u64::from(header.record_count));
                let next_offset = next.expect("the original was appended");
                let first = original.map_or(base_offset, |first| first.base_offset);
                original = Some(Appended {
                    base_offset: first,
                    next_offset,
                    append_time,
                    duplicate: true,
                });
            }
        }
        if records > APPEND_RECORDS_MAX {
            return Err(AppendError::TooManyRecords { max: APPEND_RECORDS_MAX, found: records });
        }
        if self.end.checked_add(records).is_none() {
            let (what, first) = ("offsets", self.end.get());
            return Err(BatchError::Overflow { what, first, count: u32::MAX }.into());
        }
        match original {
            None => Ok(Survey::New { records, batches: count }),
            Some(appended) if repeats == count => Ok(Survey::Repeat(appended)),
            Some(_) => Err(AppendError::PartlyDuplicate),
        }
    }

    /// Answers a repeat with the original, once that has reached the level.
    fn repeat(
        &mut self,
        appended: Appended,
        level: Durability,
        ticket: Ticket,
    ) -> Result<AppendNow, AppendError> {
        if self.reached(level) >= appended.next_offset {
            self.stats.duplicates += 1;
            // The original may want more than memory and not be written yet: now somebody was told.
            self.acknowledge_gathered(appended.next_offset);
            return Ok(AppendNow::Done(appended));
        }
        if self.repeats.len() >= REPEATS_WAITING_MAX {
            return Err(AppendError::Busy);
        }
        self.stats.duplicates += 1;
        self.repeats.push((level, Waiting { ticket, appended }));
        if level == Durability::Synced {
            self.sync_wanted = self.sync_wanted.max(appended.next_offset);
        }
        Ok(AppendNow::Pending)
    }

    /// Makes sure that the last group of the queue has room for `bytes`.
    fn make_room(&mut self, bytes: usize) -> Result<(), AppendError> {
        let large = self.group_bytes_max();
        let limit = self.segment_limit();
        let (is_memory, rolls) = (self.is_memory(), self.rolls_now());
        if let Some(group) = self.queue.back_mut() {
            let end = group.next_position().plus(bytes as u64);
            let fits = is_memory || end <= limit && !rolls;
            if fits && group.reserve(bytes, large) {
                return Ok(());
            }
        }
        let small = if self.gathers_large() { large } else { GATHER_SMALL_BYTES.min(large) };
        if is_memory {
            self.seal_memory_group();
            self.queue.push_back(Group::for_memory(self.end, small.max(bytes)));
            return Ok(());
        }
        let place = self.next_place(bytes).ok_or(AppendError::Busy)?;
        let head = place.position.in_block() + MARK_BYTES;
        let needed = head + bytes;
        let capacity = if needed <= small { small } else { needed.max(large) };
        self.queue.push_back(Group::for_file(place, self.end, capacity));
        Ok(())
    }

    /// Capacity to which a group may grow.
    fn group_bytes_max(&self) -> usize {
        let budget = self.settings.memory.map_or(u64::MAX, |(bytes_max, _)| bytes_max / 8);
        usize::try_from(budget).unwrap_or(usize::MAX).clamp(GATHER_SMALL_BYTES, GATHER_LARGE_BYTES)
    }

    /// Where the groups of a segment end at the latest. The last block is for marks alone.
    const fn segment_limit(&self) -> FilePosition {
        FilePosition::new(self.settings.segment_bytes - BLOCK_BYTES as u64)
    }

    /// Where the group after the last one goes; rolls if `bytes` do not fit the segment. `None` while
    /// a roll is pending already.
    fn next_place(&mut self, bytes: usize) -> Option<Place> {
        let head = self.upcoming.as_ref().unwrap_or(&self.head);
        let place = match self.queue.back() {
            Some(group) => Place { segment: group.place.segment, position: group.next_position() },
            None => Place { segment: head.segment, position: head.position },
        };
        let end = place.position.plus((MARK_BYTES + bytes) as u64);
        let is_first = head.index.end_offset() == head.segment;
        if !self.rolls_now() && (end <= self.segment_limit() || is_first) {
            return Some(place); // It fits, or it is the first group and has to fit.
        }
        if self.upcoming.is_some() {
            return None;
        }
        self.upcoming = Some(Head::new(self.end));
        self.roll_wanted = false;
        Some(Place { segment: self.end, position: FilePosition::STREAM_START })
    }

    /// Copies the batches into the last group and seals them there.
    fn take(&mut self, batches: &[u8], ids: &mut dyn RecordIds, now: Monotonic) {
        let head = self.upcoming.as_mut().unwrap_or(&mut self.head);
        let group = self.queue.back_mut().expect("room was made");
        let (epoch, append_time) = (self.settings.epoch, self.append_time);
        let first = head.times.map_or(append_time, |times| times.first);
        head.times = Some(AppendTimes { first, last: append_time });
        let (mut end, mut crc) = (self.end, group.batches_crc);
        let (mut position, mut rest) = group.push(batches);
        while !rest.is_empty() {
            let scarab_base = ids.deal(record_count(rest));
            seal(rest, Owner { base_offset: end, epoch, append_time, scarab_base });
            let header = BatchHeader::parse(rest).expect("a batch that was surveyed");
            crc = crc32c::crc32c_append(crc, &rest[..HEADER_BYTES]);
            if let Some(session) = &header.session {
                self.sessions.record(session, header.record_count, end, append_time);
            }
            if self.settings.memory.is_none() {
                head.index.observe(&header, position);
            }
            end = header.next_offset();
            position = position.plus(header.total_len() as u64);
            rest = &mut rest[header.total_len()..];
        }
        (group.end, group.arrived, group.batches_crc) = (end, now, crc);
        self.end = end;
    }

    /// Notes in the last group what its requests need and were told.
    fn note_level(&mut self, level: Durability) {
        let log_level = self.settings.durability;
        if let Some(group) = self.queue.back_mut() {
            group.level = group.level.max(level);
            // Readers of a memory log see it at once, which is as good as telling somebody.
            group.acknowledged |= level.min(log_level) == Durability::Memory;
        }
    }
}
