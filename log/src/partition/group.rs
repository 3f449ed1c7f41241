//! The group: batches gathered into one buffer, to become one write.
//!
//! ```text
//!   block boundary          position
//!   | bytes of the block    | mark | batch | batch | ... | zeros to the next block boundary |
//!   | before: the carry     | 64   |
//! ```
//!
//! A write covers whole blocks, so the block in which the last group ended is written again, with
//! the same bytes in front. They are copied in when the group is finished, because until then the
//! group before it may still get its mark. A group of a memory-only log has neither carry nor mark.

use std::ops::Range;

use pyralog_runtime::buffer::{Buffer, BufferMut};
use pyralog_runtime::time::Monotonic;

use crate::batch::MARK_BYTES;
use crate::durability::Durability;
use crate::ids::Offset;
use crate::segment::{BLOCK_BYTES, FilePosition};

/// Where a group goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Base offset of the segment.
    pub(crate) segment: Offset,
    /// Of the mark.
    pub(crate) position: FilePosition,
}

/// A group that is being gathered. Invariant: the body holds sealed batches from `base` to `end`.
#[derive(Debug)]
pub(crate) struct Group {
    buffer: BufferMut,
    /// Bytes before the mark.
    lead: usize,
    /// Bytes before the body.
    head: usize,
    pub(crate) place: Place,
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    /// When its newest batch came.
    pub(crate) arrived: Monotonic,
    /// What it has to reach, by the requests in it.
    pub(crate) level: Durability,
    /// CRC32C over the headers of its batches.
    pub(crate) batches_crc: u32,
    /// Somebody was told that it is in the log.
    pub(crate) acknowledged: bool,
    /// Bytes of the body that are in the tail already, and where these end.
    pub(crate) in_tail: (usize, Offset),
}

/// A finished group: the bytes of its write.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// Whole blocks.
    pub(crate) buffer: Buffer,
    /// The batches in it.
    pub(crate) body: Range<usize>,
}

impl Group {
    /// An empty group at `base` for a file.
    pub(crate) fn for_file(place: Place, base: Offset, capacity: usize) -> Self {
        let lead = place.position.in_block();
        let head = lead + MARK_BYTES;
        let mut buffer = BufferMut::with_capacity(capacity.max(head));
        buffer.extend_with(head, 0);
        Self::new(buffer, (lead, head), place, base)
    }

    /// An empty group at `base` for memory only.
    pub(crate) fn for_memory(base: Offset, capacity: usize) -> Self {
        let place = Place { segment: Offset::ZERO, position: FilePosition::STREAM_START };
        Self::new(BufferMut::heap(capacity), (0, 0), place, base)
    }

    fn new(buffer: BufferMut, (lead, head): (usize, usize), place: Place, base: Offset) -> Self {
        Self {
            buffer,
            lead,
            head,
            place,
            base,
            end: base,
            arrived: Monotonic::ZERO,
            level: Durability::Memory,
            batches_crc: 0,
            acknowledged: false,
            in_tail: (0, base),
        }
    }

    /// Bytes of batches in it.
    pub(crate) fn body_len(&self) -> usize {
        self.buffer.len() - self.head
    }

    /// The batches in it.
    pub(crate) fn body(&self) -> &[u8] {
        &self.buffer.as_slice()[self.head..]
    }

    /// Memory that it holds.
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Where the next group goes.
    pub(crate) fn next_position(&self) -> FilePosition {
        self.place.position.plus((MARK_BYTES + self.body_len()) as u64)
    }

    /// Makes room for `bytes` more, if the buffer may grow to `capacity_max` for it.
    pub(crate) fn reserve(&mut self, bytes: usize, capacity_max: usize) -> bool {
        if bytes <= self.buffer.remaining() {
            return true;
        }
        if self.buffer.len() + bytes > capacity_max {
            return false;
        }
        let mut larger = if self.head == 0 {
            BufferMut::heap(capacity_max)
        } else {
            BufferMut::with_capacity(capacity_max)
        };
        larger.extend_from_slice(self.buffer.as_slice());
        self.buffer = larger;
        true
    }

    /// Copies batches to the end of the body; returns them there, to be sealed in place.
    pub(crate) fn push(&mut self, batches: &[u8]) -> (FilePosition, &mut [u8]) {
        let position = self.next_position();
        let at = self.buffer.len();
        self.buffer.extend_from_slice(batches);
        (position, &mut self.buffer.as_mut_slice()[at..])
    }

    /// The bytes to write: `carry` in front, then `mark`, the batches, zeros to the block boundary.
    pub(crate) fn finish(mut self, carry: &[u8], mark: &[u8; MARK_BYTES]) -> Finished {
        assert_eq!(carry.len(), self.lead, "the block before the group");
        let body = self.head..self.buffer.len();
        let bytes = self.buffer.as_mut_slice();
        bytes[..self.lead].copy_from_slice(carry);
        bytes[self.lead..self.head].copy_from_slice(mark);
        self.buffer.pad_to(BLOCK_BYTES);
        Finished { buffer: self.buffer.freeze(), body }
    }

    /// The batches, without a file.
    pub(crate) fn freeze(self) -> (Buffer, usize) {
        let capacity = self.buffer.capacity();
        (self.buffer.freeze(), capacity)
    }
}
