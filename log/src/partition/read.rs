//! Finding what a reader asks for: in the tail, or where in which file.

use std::ops::Range;

use pyralog_runtime::buffer::Slice;

use super::{Closed, Machine, Settings};
use crate::ids::{Offset, Timestamp};
use crate::index::Start;
use crate::limits::{DAMAGES_MAX, TAIL_IDLE_BYTES};
use crate::recovery::Damage;
use crate::tail::Span;

/// Where the records are that a reader asks for.
#[derive(Debug)]
pub(crate) enum Located {
    /// Nowhere: the offset is not readable.
    OutOfRange,
    /// Nowhere yet: the offset is the next to come.
    AtEnd,
    /// In memory: the slices were appended; these are their offsets.
    InTail(Offset, Offset),
    /// In a file.
    InFile(FilePlan),
    /// Damaged.
    Damaged(Range<Offset>),
}

/// What to read from which segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePlan {
    /// Base offset of the segment.
    pub(crate) segment: Offset,
    /// The segment, if it is not the one being written.
    pub(crate) closed: Option<Closed>,
    /// The offset asked for.
    pub(crate) from: Offset,
    /// No record at or above it.
    pub(crate) limit: Offset,
    /// Where to start walking, if the index is at hand.
    pub(crate) start: Option<Start>,
}

impl Machine {
    /// Finds the batch that contains `from`. What is in memory is appended to `slices`: at least one
    /// batch, at most `bytes_max` bytes.
    pub(crate) fn locate(
        &mut self,
        from: Offset,
        bytes_max: usize,
        slices: &mut Vec<Slice>,
    ) -> Located {
        let marks = self.watermarks();
        if from < marks.low || from > marks.high {
            return Located::OutOfRange;
        }
        if from == marks.high {
            return Located::AtEnd;
        }
        if from >= self.tail.end() {
            self.expose();
        }
        let limit = marks.high.min(self.tail.end());
        if from >= self.tail.start()
            && let Some((first, next)) = self.tail.read(from, limit, bytes_max, slices)
        {
            self.stats.tail_reads += 1;
            return Located::InTail(first, next);
        }
        if let Some(offsets) = self.damaged_at(from) {
            return Located::Damaged(offsets);
        }
        Located::InFile(self.plan(from, marks.high.min(self.written)))
    }

    /// Reads of memory logs reach what is not written yet: puts it into the tail.
    pub(crate) fn expose(&mut self) {
        if self.is_memory() {
            self.seal_memory_group();
            return;
        }
        for group in &mut self.queue {
            let (at, base) = group.in_tail;
            if base < group.end {
                let span = Span { base, end: group.end, arrived: group.arrived };
                self.tail.copy(span, &group.body()[at..]);
                group.in_tail = (group.body_len(), group.end);
            }
        }
    }

    /// The damage that an offset is in.
    fn damaged_at(&self, offset: Offset) -> Option<Range<Offset>> {
        let damage = self.damages.iter().find(|damage| damage.offsets.contains(&offset));
        damage.map(|damage| damage.offsets.clone())
    }

    /// `limit`, or the first damage behind `from` if that comes before.
    fn limit_of(&self, from: Offset, limit: Offset) -> Offset {
        let starts = self.damages.iter().map(|damage| damage.offsets.start);
        starts.filter(|start| *start > from).fold(limit, Offset::min)
    }

    /// A plan that ends before damage that was found since it was made.
    ///
    /// # Errors
    /// The damage, if what it asks for is in it.
    pub(crate) fn heeding_damages(&self, plan: &FilePlan) -> Result<FilePlan, Range<Offset>> {
        match self.damaged_at(plan.from) {
            Some(offsets) => Err(offsets),
            None => Ok(FilePlan { limit: self.limit_of(plan.from, plan.limit), ..plan.clone() }),
        }
    }

    fn plan(&self, from: Offset, limit: Offset) -> FilePlan {
        let limit = self.limit_of(from, limit);
        if from >= self.head.segment {
            let (segment, start) = (self.head.segment, self.head.index.start_of(from));
            return FilePlan { segment, closed: None, from, limit, start: Some(start) };
        }
        let after = self.closed.partition_point(|closed| closed.base <= from);
        let closed = self.closed[after.saturating_sub(1)];
        let limit = limit.min(closed.end);
        FilePlan { segment: closed.base, closed: Some(closed), from, limit, start: None }
    }

    /// Whether the segment of a plan is still there and the same: it may have been removed or replaced meanwhile.
    pub(crate) fn has(&self, plan: &FilePlan) -> bool {
        let Some(wanted) = &plan.closed else { return true };
        let at = self.closed.partition_point(|closed| closed.base < wanted.base);
        self.closed.get(at) == Some(wanted)
    }

    /// Base offset of the segment that the record at `offset` is in, or goes to.
    pub(crate) fn segment_of(&self, offset: Offset) -> Offset {
        let upcoming = self.upcoming.as_ref().map(|head| head.segment);
        let open = [upcoming, Some(self.head.segment)].into_iter().flatten();
        let after = self.closed.partition_point(|closed| closed.base <= offset);
        let closed = after.checked_sub(1).map(|at| self.closed[at].base);
        let mut found = open.filter(|segment| *segment <= offset).chain(closed);
        found.next().unwrap_or(self.head.segment)
    }

    /// The newest closed segment that starts below `offset`.
    pub(crate) fn closed_before(&self, offset: Offset) -> Option<Closed> {
        let after = self.closed.partition_point(|closed| closed.base < offset);
        after.checked_sub(1).map(|at| self.closed[at])
    }

    /// Bytes of batches that a reader at `offset` can read; `u64::MAX` if it is older than the tail.
    pub(crate) fn readable_bytes(&self, offset: Offset) -> u64 {
        let high = self.watermarks().high;
        if offset >= high {
            return 0;
        }
        let Some(from_offset) = self.tail.bytes_from(offset.min(self.tail.end())) else {
            return u64::MAX;
        };
        let from_high = self.tail.bytes_from(high.min(self.tail.end())).unwrap_or(0);
        let not_in_tail = if high > self.tail.end() {
            self.queue.iter().map(|group| (group.body_len() - group.in_tail.0) as u64).sum()
        } else {
            0
        };
        from_offset - from_high + not_in_tail
    }

    /// Where to look for the first record at or behind `from` that was created at or after `time`, if any is in a
    /// file.
    pub(crate) fn plan_of_time(&self, time: Timestamp, from: Offset) -> Option<FilePlan> {
        let in_head = self.head.index.time_max() >= time;
        let mut closed = self.closed.iter().filter(|closed| closed.end > from);
        let closed = closed.find(|closed| closed.time_max >= time).copied();
        let (segment, limit) = match &closed {
            Some(closed) => (closed.base, closed.end),
            None if in_head => (self.head.segment, self.watermarks().high.min(self.written)),
            None => return None,
        };
        let from = segment.max(from);
        Some(FilePlan { segment, closed, from, limit, start: None })
    }

    /// The first batch in memory with a record created at or after `time`.
    pub(crate) fn first_in_tail(&mut self, time: Timestamp) -> Option<Offset> {
        self.expose();
        self.tail.first_created(time)
    }

    /// Notes damage that a reader met; it is not written down, a recovery will find it. It replaces
    /// what it covers and is not a place to step over.
    pub(crate) fn note_damage(&mut self, damage: Damage) {
        let covers = |known: &Damage| {
            known.segment == damage.segment
                && known.positions.is_empty()
                && damage.offsets.start <= known.offsets.start
                && known.offsets.end <= damage.offsets.end
        };
        self.damages.retain(|known| *known == damage || !covers(known));
        if !self.damages.contains(&damage) && self.damages.len() < DAMAGES_MAX {
            self.damages.push(damage);
        }
    }

    /// Everything below `end` was hashed, or will not be: the tail need not keep it for the Merkle tree.
    pub(crate) fn note_hashed(&mut self, end: Offset) {
        self.hashed = end;
        self.trim_tail();
    }

    /// Gives up what the tail has beyond its share. What waits to be hashed has a share of its own, so that it need not be read
    /// back; what waits for longer than that has none.
    pub(crate) fn trim_tail(&mut self) {
        let Settings { tail_bytes, unhashed_bytes, .. } = self.settings;
        self.tail.shrink(tail_bytes + unhashed_bytes, self.written);
        if unhashed_bytes > 0 {
            self.tail.shrink(tail_bytes, self.hashed.min(self.written));
        }
    }

    /// What was noted of a segment whose file went, because it is read from elsewhere.
    pub(crate) fn take_damages(&mut self, segment: Offset) -> Vec<Damage> {
        self.damages.extract_if(.., |damage| damage.segment == segment).collect()
    }

    /// Lets go of the tail but for the least, as an idle partition does: memory is short.
    pub(crate) fn shed_tail(&mut self) {
        assert!(!self.is_memory(), "what a memory log has is nowhere else");
        self.tail.shrink(TAIL_IDLE_BYTES as u64, self.written);
    }

    /// Counts what a reader was given.
    pub(crate) const fn note_read(&mut self, bytes: usize, from_file: bool) {
        self.stats.read_bytes += bytes as u64;
        self.stats.file_reads += from_file as u64;
    }
}
