//! The tail: the newest groups of a partition in memory, for readers at its end, and the whole of a
//! memory-only log.
//!
//! Large groups are kept by sharing the buffer that went to disk, which costs nothing. A small group
//! would hold a whole buffer for a few bytes, so it is copied into a chunk with its neighbours: a
//! tail of many tiny groups stays dense. Groups leave in order, oldest first; a chunk leaves with
//! its last group. What is counted against a budget is the memory held, not the bytes in it.

use std::collections::VecDeque;

use pyralog_runtime::buffer::{Buffer, BufferMut, Slice};
use pyralog_runtime::time::Monotonic;

use crate::batch::HEADER_BYTES;
use crate::ids::{Offset, Timestamp};
use crate::layout::{i64_at, u32_at, u64_at};
use crate::limits::{TAIL_CHUNK_BYTES, TAIL_COPY_BYTES_MAX};

const BASE_OFFSET: usize = 8;
const BODY_LEN: usize = 72;
const RECORD_COUNT: usize = 80;
const MAX_CREATE_TIME: usize = 96;

/// A group about to be kept: consecutive sealed batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Offset of the first record.
    pub(crate) base: Offset,
    /// Offset after the last.
    pub(crate) end: Offset,
    /// When the newest batch came.
    pub(crate) arrived: Monotonic,
}

#[derive(Debug)]
struct Kept {
    base: Offset,
    end: Offset,
    arrived: Monotonic,
    /// Bytes of batches in the tail before this group, counted from its birth.
    bytes_before: u64,
    len: usize,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// The group's own memory, of this many bytes.
    Own(Slice, u64),
    /// In the chunk of this number, from this place.
    Chunk(u64, usize),
}

#[derive(Debug)]
struct Chunk {
    memory: ChunkMemory,
    /// Offset after the last record in it.
    end: Offset,
}

#[derive(Debug)]
enum ChunkMemory {
    Filling(BufferMut),
    Full(Buffer),
}

/// The newest groups. Invariant: their offsets are consecutive; `held` is the memory of all of them.
#[derive(Debug)]
pub(crate) struct Tail {
    groups: VecDeque<Kept>,
    chunks: VecDeque<Chunk>,
    /// Number of the first of `chunks`.
    first_chunk: u64,
    held: u64,
    bytes: u64,
    end: Offset,
}

impl Tail {
    /// An empty tail of a log that ends at `end`.
    pub(crate) fn new(end: Offset) -> Self {
        let (groups, chunks) = (VecDeque::new(), VecDeque::new());
        Self { groups, chunks, first_chunk: 0, held: 0, bytes: 0, end }
    }

    /// Offset of the first record in it, or where the first will be.
    pub(crate) fn start(&self) -> Offset {
        self.groups.front().map_or(self.end, |group| group.base)
    }

    /// Offset after the last record in it.
    pub(crate) const fn end(&self) -> Offset {
        self.end
    }

    /// Memory held.
    pub(crate) const fn held_bytes(&self) -> u64 {
        self.held
    }

    /// Bytes of batches from the one with `offset` on, whole groups counted, or `None` if it is
    /// older than the tail.
    pub(crate) fn bytes_from(&self, offset: Offset) -> Option<u64> {
        if offset >= self.end {
            return Some(0);
        }
        let at = self.group_of(offset)?;
        Some(self.bytes - self.groups[at].bytes_before)
    }

    /// When the newest record of the oldest group came.
    pub(crate) fn oldest_arrival(&self) -> Option<Monotonic> {
        self.groups.front().map(|group| group.arrived)
    }

    /// Offset after the oldest group.
    pub(crate) fn oldest_end(&self) -> Option<Offset> {
        self.groups.front().map(|group| group.end)
    }

    /// Whether a group of `len` bytes in a buffer of `capacity` is better copied than shared.
    pub(crate) const fn prefers_copy(len: usize, capacity: usize) -> bool {
        len <= TAIL_COPY_BYTES_MAX || len < capacity / 4
    }

    /// Keeps the next group by sharing its memory of `capacity` bytes.
    pub(crate) fn share(&mut self, span: Span, slice: Slice, capacity: usize) {
        let (len, held) = (slice.len(), capacity as u64);
        self.held += held;
        self.push(span, len, Body::Own(slice, held));
    }

    /// Keeps a copy of the next group.
    pub(crate) fn copy(&mut self, span: Span, bytes: &[u8]) {
        if bytes.len() > TAIL_COPY_BYTES_MAX {
            let mut own = BufferMut::heap(bytes.len());
            own.extend_from_slice(bytes);
            let capacity = own.capacity();
            self.share(span, own.freeze().into(), capacity);
            return;
        }
        let (number, at) = self.chunk_for(span.end, bytes);
        self.push(span, bytes.len(), Body::Chunk(number, at));
    }

    fn push(&mut self, span: Span, len: usize, body: Body) {
        let Span { base, end, arrived } = span;
        assert_eq!(base, self.end, "the tail has a gap");
        assert!(base < end, "a group without a record");
        let bytes_before = self.bytes;
        self.groups.push_back(Kept { base, end, arrived, bytes_before, len, body });
        self.bytes += len as u64;
        self.end = end;
    }

    /// Copies `bytes` into the chunk that is being filled, or a new one.
    fn chunk_for(&mut self, end: Offset, bytes: &[u8]) -> (u64, usize) {
        let full = match self.chunks.back_mut() {
            Some(Chunk { memory: ChunkMemory::Filling(chunk), .. }) => {
                chunk.remaining() < bytes.len()
            }
            _ => true,
        };
        if full {
            self.finish_chunk();
            let chunk = BufferMut::heap(TAIL_CHUNK_BYTES);
            self.held += chunk.capacity() as u64;
            self.chunks.push_back(Chunk { memory: ChunkMemory::Filling(chunk), end });
        }
        let number = self.first_chunk + self.chunks.len() as u64 - 1;
        let mut at = 0;
        if let Some(chunk) = self.chunks.back_mut()
            && let ChunkMemory::Filling(memory) = &mut chunk.memory
        {
            at = memory.len();
            memory.extend_from_slice(bytes);
            chunk.end = end;
        }
        (number, at)
    }

    fn finish_chunk(&mut self) {
        if let Some(Chunk { memory: ChunkMemory::Filling(_), end }) = self.chunks.back()
            && let end = *end
            && let Some(Chunk { memory: ChunkMemory::Filling(memory), .. }) = self.chunks.pop_back()
        {
            let memory = ChunkMemory::Full(memory.freeze());
            self.chunks.push_back(Chunk { memory, end });
        }
    }

    /// Appends to `slices` the batches from the one that contains `from`, up to `limit`, at least one
    /// and otherwise at most `bytes_max` bytes. Returns the offsets of what was appended, or `None` if
    /// `from` is older than the tail.
    pub(crate) fn read(
        &self,
        from: Offset,
        limit: Offset,
        bytes_max: usize,
        slices: &mut Vec<Slice>,
    ) -> Option<(Offset, Offset)> {
        assert!(from < limit && limit <= self.end, "read of {from}..{limit} of ..{}", self.end);
        let first = self.group_of(from)?;
        let (mut start, mut next, mut room) = (None, from, bytes_max);
        for group in self.groups.iter().skip(first) {
            let wanted = Wanted { from: next, limit, room, any: start.is_none() };
            let Some(part) = self.with_bytes(group, |bytes| part_of(bytes, &wanted)) else { break };
            slices.push(self.slice(group, part.start, part.len));
            start = start.or(Some(part.first));
            next = part.next;
            room = room.saturating_sub(part.len);
            if room == 0 || next < group.end || next >= limit {
                break;
            }
        }
        Some((start.unwrap_or(from), next))
    }

    /// The first batch with a record created at or after `time`.
    pub(crate) fn first_created(&self, time: Timestamp) -> Option<Offset> {
        self.groups.iter().find_map(|group| {
            self.with_bytes(group, |mut bytes| {
                while bytes.len() >= HEADER_BYTES {
                    if i64_at(bytes, MAX_CREATE_TIME) >= time.get() {
                        return Some(Offset::new(u64_at(bytes, BASE_OFFSET)));
                    }
                    bytes = &bytes[crate::batch::total_len(u32_at(bytes, BODY_LEN))..];
                }
                None
            })
        })
    }

    fn group_of(&self, offset: Offset) -> Option<usize> {
        let at = self.groups.partition_point(|group| group.end <= offset);
        self.groups.get(at).filter(|group| group.base <= offset).map(|_| at)
    }

    fn chunk(&self, number: u64) -> &ChunkMemory {
        let at = usize::try_from(number - self.first_chunk).expect("chunks fit memory");
        &self.chunks[at].memory
    }

    fn with_bytes<T>(&self, group: &Kept, look: impl FnOnce(&[u8]) -> T) -> T {
        match &group.body {
            Body::Own(slice, _) => look(slice),
            Body::Chunk(number, at) => match self.chunk(*number) {
                ChunkMemory::Filling(memory) => look(&memory.as_slice()[*at..at + group.len]),
                ChunkMemory::Full(memory) => look(&memory[*at..at + group.len]),
            },
        }
    }

    /// Part of a group for a reader: shared, unless its chunk is still being filled.
    fn slice(&self, group: &Kept, start: usize, len: usize) -> Slice {
        match &group.body {
            Body::Own(slice, _) => slice.slice(start..start + len),
            Body::Chunk(number, at) => match self.chunk(*number) {
                ChunkMemory::Full(memory) => memory.slice(at + start..at + start + len),
                ChunkMemory::Filling(memory) => {
                    let mut copy = BufferMut::heap(len);
                    copy.extend_from_slice(&memory.as_slice()[at + start..at + start + len]);
                    copy.freeze().into()
                }
            },
        }
    }

    /// Drops the oldest group. Returns how many records it had.
    pub(crate) fn evict(&mut self) -> u64 {
        let Some(group) = self.groups.pop_front() else { return 0 };
        if let Body::Own(_, held) = group.body {
            self.held -= held;
        }
        self.drop_chunks();
        group.end.since(group.base)
    }

    /// Drops the oldest groups that end at or below `disk` until at most `budget` bytes are held.
    pub(crate) fn shrink(&mut self, budget: u64, disk: Offset) {
        while self.held > budget && self.oldest_end().is_some_and(|end| end <= disk) {
            self.evict();
        }
    }

    /// Takes back every group at or above `end`, which is a group's base.
    pub(crate) fn roll_back(&mut self, end: Offset) {
        while let Some(group) = self.groups.pop_back_if(|group| group.base >= end) {
            if let Body::Own(_, held) = group.body {
                self.held -= held;
            }
            self.bytes = group.bytes_before;
            self.end = group.base;
        }
        self.drop_chunks();
        assert!(self.end <= end, "the tail ends at {}, within a group at {end}", self.end);
    }

    fn drop_chunks(&mut self) {
        let oldest = self.groups.iter().find_map(|group| match group.body {
            Body::Chunk(number, _) => Some(number),
            Body::Own(..) => None,
        });
        // Without a group in any chunk, the one that is being filled goes too.
        let oldest = oldest.unwrap_or(self.first_chunk + self.chunks.len() as u64);
        while self.first_chunk < oldest
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.held -= match chunk.memory {
                ChunkMemory::Filling(memory) => memory.capacity() as u64,
                ChunkMemory::Full(_) => TAIL_CHUNK_BYTES as u64,
            };
            self.first_chunk += 1;
        }
    }
}

/// What a reader wants of one group.
struct Wanted {
    from: Offset,
    limit: Offset,
    room: usize,
    /// Take the first batch even if it is larger than the room.
    any: bool,
}

/// The part of a group that it gets.
struct Part {
    start: usize,
    len: usize,
    first: Offset,
    next: Offset,
}

/// Walks the batches of a group, which were checked when they came in.
fn part_of(bytes: &[u8], wanted: &Wanted) -> Option<Part> {
    let (mut at, mut part) = (0, None::<Part>);
    while at + HEADER_BYTES <= bytes.len() {
        let batch = &bytes[at..];
        let len = crate::batch::total_len(u32_at(batch, BODY_LEN));
        let base = Offset::new(u64_at(batch, BASE_OFFSET));
        let next = base.checked_add(u64::from(u32_at(batch, RECORD_COUNT)));
        let next = next.expect("offsets of sealed batches are in range");
        if next > wanted.from {
            if next > wanted.limit {
                break;
            }
            let taken = part.as_ref().map_or(0, |part| part.len);
            let first = wanted.any && part.is_none();
            if taken + len > wanted.room && !first {
                break;
            }
            let part = part.get_or_insert(Part { start: at, len: 0, first: base, next });
            part.len += len;
            part.next = next;
        }
        at += len;
    }
    part
}

#[cfg(test)]
mod tests;
