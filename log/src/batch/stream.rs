//! A stream: batches and commit marks one after another, each a multiple of 64 bytes.
//!
//! Segments after their header, append payloads and fetch payloads are streams. The first four
//! bytes of an item tell what it is. A mark is nothing but its place here; `mark` knows the rest.

use super::header::u32_at;
use super::{ALIGNMENT, BATCH_MAGIC, Batch, BatchError};

/// Magic at the start of a commit mark, as a little-endian number: `PYM1`.
pub const MARK_MAGIC: u32 = u32::from_le_bytes(*b"PYM1");

/// Length of a commit mark.
pub const MARK_BYTES: usize = 64;

const _: () = assert!(MARK_BYTES.is_multiple_of(ALIGNMENT), "what follows a mark is aligned");

/// One item of a stream.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A batch; its header passed the structural checks, no checksum was computed.
    Batch(Batch<'a>),
    /// A commit mark; only its magic was looked at. Clients skip it.
    Mark(&'a [u8; MARK_BYTES]),
}

impl Item<'_> {
    /// Length of the item in the stream.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.bytes().len(),
            Self::Mark(_) => MARK_BYTES,
        }
    }
}

/// The first item of a stream and what follows it, or `None` at the end.
///
/// # Errors
/// [`BatchError::Magic`] if it is neither batch nor mark, otherwise as [`Batch::split_first`].
pub fn split_first(stream: &[u8]) -> Result<Option<(Item<'_>, &[u8])>, BatchError> {
    if stream.is_empty() {
        return Ok(None);
    }
    if stream.len() < 4 {
        return Err(BatchError::Truncated { expected: MARK_BYTES, found: stream.len() });
    }
    match u32_at(stream, 0) {
        BATCH_MAGIC => {
            let (batch, rest) = Batch::split_first(stream)?;
            Ok(Some((Item::Batch(batch), rest)))
        }
        MARK_MAGIC => match stream.split_first_chunk() {
            Some((mark, rest)) => Ok(Some((Item::Mark(mark), rest))),
            None => Err(BatchError::Truncated { expected: MARK_BYTES, found: stream.len() }),
        },
        found => Err(BatchError::Magic { found }),
    }
}

/// The items of a stream in order. After an error it ends.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    position: usize,
}

impl<'a> Items<'a> {
    /// Iterates over `stream` from its start.
    #[must_use]
    pub const fn new(stream: &'a [u8]) -> Self {
        Self { rest: stream, position: 0 }
    }

    /// Position in the stream of the next item, or of the item that caused the error.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Only the batches: marks are skipped.
    pub fn batches(self) -> impl Iterator<Item = Result<Batch<'a>, BatchError>> {
        self.filter_map(|item| match item {
            Ok(Item::Batch(batch)) => Some(Ok(batch)),
            Ok(Item::Mark(_)) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        match split_first(self.rest) {
            Ok(None) => None,
            Ok(Some((item, rest))) => {
                self.position += self.rest.len() - rest.len();
                self.rest = rest;
                Some(Ok(item))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for Items<'_> {}
