//! Walks the items of a segment that a read brought, to the batches that a reader gets.

use std::ops::Range;

use super::FilePlan;
use crate::batch::{Batch, BatchHeader, HEADER_BYTES, MARK_BYTES, MARK_MAGIC, verify_header};
use crate::ids::{Offset, Timestamp};
use crate::layout::u32_at;
use crate::segment::FilePosition;

/// What a reader looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// The batch that contains the offset, and what follows up to this many bytes.
    Offset(usize),
    /// The first batch with a record created at or after this.
    Time(Timestamp),
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
    /// What lies there is no batch that belongs there. If its header is sound, these are its end
    /// and its records.
    Damaged(FilePosition, Option<(FilePosition, Range<Offset>)>),
}

/// A walk through one segment.
#[derive(Debug)]
pub(crate) struct Walk {
    from: Offset,
    limit: Offset,
    target: Target,
    /// Damaged places to step over, in order.
    holes: Vec<Range<FilePosition>>,
    position: FilePosition,
    /// Offset of the batch at the position, once one was met.
    expected: Option<Offset>,
}

impl Walk {
    /// Starts at `start`, which is a batch or a mark.
    pub(crate) fn new(
        plan: &FilePlan,
        start: FilePosition,
        target: Target,
        holes: Vec<Range<FilePosition>>,
    ) -> Self {
        let FilePlan { from, limit, .. } = *plan;
        Self { from, limit, target, holes, position: start, expected: None }
    }

    /// Where the bytes to read start.
    pub(crate) const fn position(&self) -> FilePosition {
        self.position
    }

    /// Goes through `bytes`, which lie at the position; `at_end`: the file ends with them.
    pub(crate) fn step(&mut self, bytes: &[u8], at_end: bool) -> Walked {
        let start = self.position;
        let mut at = 0;
        let mut found: Option<(Range<usize>, Range<Offset>)> = None;
        let stopped = loop {
            self.position = start.plus(at as u64);
            if self.is_done() {
                break Walked::Nothing;
            }
            if let Some(hole) = self.holes.iter().find(|hole| hole.contains(&self.position)) {
                self.position = hole.end;
                self.expected = None;
                break Walked::Need(hole.end, 0);
            }
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.len() < HEADER_BYTES && !is_mark(rest) {
                break self.need(HEADER_BYTES, at_end && at <= bytes.len());
            }
            if is_mark(rest) {
                at += MARK_BYTES;
                continue;
            }
            let Some(header) = self.header(rest) else {
                break Walked::Damaged(self.position, None);
            };
            let next = header.next_offset();
            if header.owner.base_offset >= self.limit || next > self.limit {
                break Walked::Nothing;
            }
            let len = header.total_len();
            if self.takes(&header) {
                let end = at + len;
                let taken = found.as_ref().map(|(bytes, _)| bytes.start);
                if end > bytes.len() {
                    break self.need(len, at_end);
                }
                if taken.is_some_and(|start| end - start > self.bytes_max()) {
                    break Walked::Nothing;
                }
                let first = header.owner.base_offset;
                // The disk is slower than the checksum: a rotten body is found here, with its range,
                // and not by every client.
                if Batch::parse(&rest[..len]).and_then(Batch::verify).is_err() {
                    let batch = (self.position.plus(len as u64), first..next);
                    break Walked::Damaged(self.position, Some(batch));
                }
                let (range, offsets) = found.get_or_insert((at..end, first..next));
                (range.end, offsets.end) = (end, next);
            }
            self.expected = Some(next);
            at += len;
        };
        match found {
            Some((bytes, offsets)) => {
                let end = start.plus(bytes.end as u64);
                Walked::Found { bytes, offsets, end }
            }
            None => stopped,
        }
    }

    /// More bytes, unless the file has none.
    const fn need(&self, len: usize, at_end: bool) -> Walked {
        if at_end { Walked::Damaged(self.position, None) } else { Walked::Need(self.position, len) }
    }

    /// The header of a batch that belongs here.
    fn header(&self, bytes: &[u8]) -> Option<BatchHeader> {
        let header = BatchHeader::parse(bytes).ok()?;
        verify_header(bytes).ok()?;
        let base = header.owner.base_offset;
        self.expected.is_none_or(|expected| expected == base).then_some(header)
    }

    fn takes(&self, header: &BatchHeader) -> bool {
        match self.target {
            Target::Offset(_) => header.next_offset() > self.from,
            Target::Time(time) => header.max_create_time >= time,
        }
    }

    /// Whether everything below the limit was walked through.
    fn is_done(&self) -> bool {
        self.expected.is_some_and(|expected| expected >= self.limit)
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
