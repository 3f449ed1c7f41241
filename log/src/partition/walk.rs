//! Walks the items of a segment that a read brought, to the batches that a reader gets.
//!
//! A disk may hand out what was written elsewhere, or what it held before a write that it lost: whole
//! groups, with sound checksums. So nothing is taken because it is sound; it has to be what belongs
//! there. The offset at the start is known, every batch covers from where the one before it ended, a mark
//! is of this file and of its own place (its stamp says both) and of the life that wrote there, and
//! a group ends where its mark says. What a walk that starts within a group meets before the first
//! mark is told by its offset alone.

use std::ops::Range;

use super::FilePlan;
use crate::batch::{Batch, BatchHeader, HEADER_BYTES, MARK_BYTES, MARK_MAGIC, verify_header};
use crate::ids::{Offset, Timestamp};
use crate::index::Start;
use crate::layout::u32_at;
use crate::mark::{Incarnation, Mark, MarkFlags, StampKey};
use crate::recovery::Damage;
use crate::recovery::scan::Opening;
use crate::segment::FilePosition;

/// What a reader looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// The batch that contains the offset, and what follows up to this many bytes.
    Offset(usize),
    /// The first batch with a record created at or after this, at or behind the offset asked for.
    Time(Timestamp),
}

/// What is known of the file that is walked through.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Stamps its marks.
    pub(crate) key: StampKey,
    /// Where this life of the partition began.
    pub(crate) opening: Opening,
    /// Its damages: places to step over.
    pub(crate) holes: Vec<Damage>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    /// Read this many bytes from there and go on.
    Need(FilePosition, usize),
    /// The reader gets these bytes of the last read: records of these offsets. Reading on starts
    /// there.
    Found { bytes: Range<usize>, offsets: Range<Offset>, end: FilePosition },
    /// There is no such record below the limit.
    Nothing,
    /// What lies there is not what belongs there: the place and the offset of the first record that
    /// is missing. If it is one batch whose header belongs there, the second is where it ends.
    Damaged(Start, Option<Start>),
}

/// A walk through one segment. Invariant: the record at `expected` belongs at `position`.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    segment: Offset,
    from: Offset,
    limit: Offset,
    target: Target,
    known: Known,
    position: FilePosition,
    expected: Offset,
    /// Where the group ends that the position is in or behind, once a mark was met.
    group_end: Option<FilePosition>,
    /// The life that wrote the last mark, once one was met.
    incarnation: Option<Incarnation>,
    /// Bytes that the reader got from the pieces before this one.
    taken: usize,
    /// Whether to look at bodies, and not only at marks and headers.
    verifies: bool,
}

impl Walk {
    /// Starts at `start`, which is a batch or a mark.
    pub(crate) fn new(plan: &FilePlan, start: Start, target: Target, known: Known) -> Self {
        let FilePlan { segment, from, limit, .. } = *plan;
        let Start { position, offset: expected } = start;
        Self {
            segment,
            from,
            limit,
            target,
            known,
            position,
            expected,
            group_end: None,
            incarnation: None,
            taken: 0,
            verifies: true,
        }
    }

    /// The same walk by the headers alone, which takes a thousandth of the time: it finds the same if no body is rotten.
    pub(crate) fn by_headers(&self) -> Self {
        Self { verifies: false, ..self.clone() }
    }

    /// Where the bytes to read start.
    pub(crate) const fn position(&self) -> FilePosition {
        self.position
    }

    /// Goes through `bytes`, which lie at the position; `at_end`: the file ends with them. If the position lies at their end
    /// then, the walk goes on with the bytes behind them, and finds what the reader gets beside what was found before.
    pub(crate) fn step(&mut self, bytes: &[u8], at_end: bool) -> Walked {
        let start = self.position;
        let mut at = 0;
        let mut found: Option<(Range<usize>, Range<Offset>)> = None;
        let stopped = loop {
            self.position = start.plus(at as u64);
            if self.expected >= self.limit {
                break Walked::Nothing;
            }
            if self.skips_hole() {
                break Walked::Need(self.position, 0);
            }
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.len() < HEADER_BYTES && !is_mark(rest) {
                break self.need(HEADER_BYTES, at_end && at <= bytes.len());
            }
            if is_mark(rest) {
                if !self.enters_group(rest) {
                    break self.damaged(None);
                }
                at += MARK_BYTES;
                continue;
            }
            let Some(header) = self.header(rest) else {
                break self.damaged(None);
            };
            let (next, len) = (header.next_offset(), header.total_len());
            if next > self.limit {
                break Walked::Nothing;
            }
            if self.takes(&header) {
                let end = at + len;
                let first = found.as_ref().map_or(at, |(bytes, _)| bytes.start);
                let is_first = found.is_none() && self.taken == 0;
                if !is_first && self.taken + (end - first) > self.bytes_max() {
                    break Walked::Nothing;
                }
                if end > bytes.len() {
                    break self.need(len, at_end);
                }
                // The disk is slower than the checksum: a rotten body is found here, with its range,
                // and not by every client.
                if self.verifies && Batch::parse(&rest[..len]).and_then(Batch::verify).is_err() {
                    let position = self.position.plus(len as u64);
                    break self.damaged(Some(Start { position, offset: next }));
                }
                let (range, offsets) = found.get_or_insert((at..end, self.expected..next));
                (range.end, offsets.end) = (end, next);
            }
            self.expected = next;
            at += len;
        };
        match found {
            Some((bytes, offsets)) => {
                self.taken += bytes.len();
                let end = start.plus(bytes.end as u64);
                Walked::Found { bytes, offsets, end }
            }
            None => stopped,
        }
    }

    /// More bytes, unless the file has none.
    fn need(&self, len: usize, at_end: bool) -> Walked {
        if at_end { self.damaged(None) } else { Walked::Need(self.position, len) }
    }

    fn damaged(&self, end: Option<Start>) -> Walked {
        Walked::Damaged(Start { position: self.position, offset: self.expected }, end)
    }

    /// Steps over the hole at the position, if there is one.
    fn skips_hole(&mut self) -> bool {
        let at = |hole: &&Damage| hole.positions.contains(&self.position);
        let Some(hole) = self.known.holes.iter().find(at) else { return false };
        let end = hole.positions.end;
        (self.position, self.expected) = (end, hole.offsets.end);
        self.group_end = self.group_end.filter(|group_end| end <= *group_end);
        self.incarnation = None;
        true
    }

    /// Whether the mark is the one that belongs at the position.
    fn enters_group(&mut self, bytes: &[u8]) -> bool {
        let Ok(mark) = Mark::decode(bytes, self.position, self.known.key) else { return false };
        let here = mark.base_offset == self.expected
            && self.group_end.is_none_or(|end| end == self.position)
            && self.is_in_turn(&mark);
        (self.group_end, self.incarnation) = (Some(mark.next_position()), Some(mark.incarnation));
        here
    }

    /// Whether the life that wrote the mark is the one that wrote there last.
    fn is_in_turn(&self, mark: &Mark) -> bool {
        let Opening { segment, position, incarnation } = self.known.opening;
        if (self.segment, self.position) >= (segment, position) {
            return mark.incarnation == incarnation;
        }
        let opens = mark.flags.contains(MarkFlags::OPENING);
        let follows = |before| mark.incarnation == before || mark.incarnation > before && opens;
        mark.incarnation < incarnation && self.incarnation.is_none_or(follows)
    }

    /// The header of the batch that belongs here.
    fn header(&self, bytes: &[u8]) -> Option<BatchHeader> {
        let header = BatchHeader::parse(bytes).ok()?;
        verify_header(bytes).ok()?;
        let end = self.position.plus(header.total_len() as u64);
        let inside = self.group_end.is_none_or(|group_end| end <= group_end);
        (inside && header.covered_from() == self.expected).then_some(header)
    }

    fn takes(&self, header: &BatchHeader) -> bool {
        match self.target {
            Target::Offset(_) => header.next_offset() > self.from,
            Target::Time(time) => {
                header.next_offset() > self.from && header.max_create_time >= time
            }
        }
    }

    const fn bytes_max(&self) -> usize {
        match self.target {
            Target::Offset(bytes_max) => bytes_max,
            Target::Time(_) => 0,
        }
    }
}

fn is_mark(bytes: &[u8]) -> bool {
    bytes.len() >= MARK_BYTES && u32_at(bytes, 0) == MARK_MAGIC
}

#[cfg(test)]
mod tests;
