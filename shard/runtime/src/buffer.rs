//! Bytes for direct I/O: filled once, frozen, then shared by the disk and any number of readers.
//!
//! A [`BufferMut`] is filled by one owner; [`BufferMut::freeze`] makes it a [`Buffer`], which never
//! changes again, so the same memory can be in flight to the disk, be sent to a socket and serve a
//! reader, without a copy. A [`Slice`] is a part of a buffer, what a read of a file brought, or a part of bytes that
//! came from elsewhere, and keeps the memory alive. Memory comes from the core's registered region (`buffer_bytes` of the
//! machine's configuration) and goes back when the last reference is dropped; when the region is
//! used up, from the heap. All of it belongs to one core.

pub(crate) mod lent;

use crate::body::ReadBytes;
use crate::glommio_body::{Frozen, Memory};
use crate::limits::ALIGNMENT_BYTES;
use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;

thread_local! {
    /// Bytes of buffers alive on this thread.
    static IN_USE: Cell<usize> = const { Cell::new(0) };
}

/// Bytes of capacity of all buffers alive on this core, reads included.
#[must_use]
pub fn in_use_bytes() -> usize {
    IN_USE.try_with(Cell::get).unwrap_or(0)
}

/// A number of bytes that count as in use while it lives.
#[derive(Debug)]
struct Charge {
    bytes: usize,
}

impl Charge {
    fn new(bytes: usize) -> Self {
        // A thread that is ending no longer counts.
        IN_USE.try_with(|in_use| in_use.set(in_use.get() + bytes)).ok();
        Self { bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        IN_USE.try_with(|in_use| in_use.set(in_use.get() - self.bytes)).ok();
    }
}

/// A buffer that is being filled.
///
/// Invariant: bytes `0..len` were written by the owner; what lies behind is never shown.
pub struct BufferMut {
    memory: Memory,
    len: usize,
    charge: Charge,
}

impl BufferMut {
    /// An empty buffer for at least `capacity` bytes, rounded up to 4 KiB and aligned to it, from the
    /// core's pool.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let bytes = rounded(capacity);
        Self { memory: Memory::pooled(bytes), len: 0, charge: Charge::new(bytes) }
    }

    /// Same, from the heap: for bytes that stay for long, so that they do not use up the pool.
    #[must_use]
    pub fn heap(capacity: usize) -> Self {
        let bytes = rounded(capacity);
        Self { memory: Memory::heap(bytes), len: 0, charge: Charge::new(bytes) }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.bytes().len()
    }

    /// Bytes there is still room for.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.capacity() - self.len
    }

    /// What was written.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.memory.bytes()[..self.len]
    }

    /// What was written, to be changed in place.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory.bytes_mut()[..self.len]
    }

    /// Appends `bytes`.
    ///
    /// # Panics
    /// If there is no room for them: ask [`remaining`](Self::remaining) first.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.remaining(), "{} bytes into {}", bytes.len(), self.remaining());
        self.memory.bytes_mut()[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends `count` bytes of `value`.
    ///
    /// # Panics
    /// If there is no room for them.
    pub fn extend_with(&mut self, count: usize, value: u8) {
        assert!(count <= self.remaining(), "{count} bytes into {}", self.remaining());
        self.memory.bytes_mut()[self.len..self.len + count].fill(value);
        self.len += count;
    }

    /// Appends zeros up to the next multiple of `alignment`.
    ///
    /// # Panics
    /// If `alignment` is zero or there is no room.
    pub fn pad_to(&mut self, alignment: usize) {
        self.extend_with(self.len.next_multiple_of(alignment) - self.len, 0);
    }

    /// Drops what lies behind the first `len` bytes; nothing if it is shorter.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Ends the filling.
    #[must_use]
    pub fn freeze(self) -> Buffer {
        Buffer { memory: self.memory.freeze(self.len), charge: Rc::new(self.charge) }
    }
}

impl fmt::Debug for BufferMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferMut({} of {})", self.len, self.capacity())
    }
}

/// A buffer that never changes again. Clones share the memory.
#[derive(Clone)]
pub struct Buffer {
    memory: Frozen,
    charge: Rc<Charge>,
}

impl Buffer {
    /// The part `range`.
    ///
    /// # Panics
    /// If `range` is not within the buffer.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Slice {
        let whole = Slice { keeper: Keeper::Buffer(self.clone()), range: 0..self.len() };
        whole.slice(range)
    }

    pub(crate) fn memory(&self) -> &Frozen {
        &self.memory
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.bytes()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({}, charged {})", self.len(), self.charge.bytes)
    }
}

/// A part of a buffer or of a file, kept alive by this. Clones share the memory.
///
/// A slice of a file starts at an address that is its position modulo 4096.
#[derive(Clone)]
pub struct Slice {
    keeper: Keeper,
    range: Range<usize>,
}

#[derive(Clone)]
enum Keeper {
    Nothing,
    Buffer(Buffer),
    Read(ReadBytes, Rc<Charge>),
    Shared(Rc<Vec<u8>>, Rc<Charge>),
}

impl Slice {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self { keeper: Keeper::Nothing, range: 0..0 }
    }

    /// The part `range` of this part.
    ///
    /// # Panics
    /// If `range` is not within it.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end, "{range:?} runs backwards");
        assert!(range.end <= self.range.len(), "{range:?} of {}", self.range.len());
        let start = self.range.start;
        Self { keeper: self.keeper.clone(), range: start + range.start..start + range.end }
    }

    /// The part `range` of bytes that somebody else holds, too, such as a cache. The part counts as in use while it lives; that
    /// all of them stay with it is for whoever shares them to bound. They start at any address.
    ///
    /// # Panics
    /// If `range` is not within the bytes.
    #[must_use]
    pub fn of_shared(bytes: Rc<Vec<u8>>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end, "{range:?} runs backwards");
        assert!(range.end <= bytes.len(), "{range:?} of {}", bytes.len());
        let charge = Rc::new(Charge::new(rounded(range.len())));
        Self { keeper: Keeper::Shared(bytes, charge), range }
    }

    /// What a read brought, of which `range` was asked for.
    pub(crate) fn of_read(bytes: ReadBytes, range: Range<usize>) -> Self {
        assert!(range.end <= bytes.bytes().len(), "{range:?} of {}", bytes.bytes().len());
        let charge = Rc::new(Charge::new(rounded(bytes.bytes().len())));
        Self { keeper: Keeper::Read(bytes, charge), range }
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.keeper {
            Keeper::Nothing => &[],
            Keeper::Buffer(buffer) => &buffer[self.range.clone()],
            Keeper::Read(bytes, _charge) => &bytes.bytes()[self.range.clone()],
            Keeper::Shared(bytes, _charge) => &bytes[self.range.clone()],
        }
    }
}

impl From<Buffer> for Slice {
    fn from(buffer: Buffer) -> Self {
        let range = 0..buffer.len();
        Self { keeper: Keeper::Buffer(buffer), range }
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({})", self.len())
    }
}

/// `bytes` rounded up to the alignment, at least one unit of it.
fn rounded(bytes: usize) -> usize {
    bytes.max(1).next_multiple_of(ALIGNMENT_BYTES)
}
