//! The directory of a rows body: which columns there are and where each lies.
//!
//! A body starts with the length of the directory (`u32`) and the directory, an rkyv archive. The
//! columns follow in the order of [`ColumnKind`], each at a multiple of 64 bytes. A directory has a
//! bit per kind and an extent per bit, so that no column can be there twice and overlap is a matter
//! of one cursor; rejected: a list with a kind in each entry, larger and with more to check.

use std::ops::Range;

use rkyv::rancor::Failure;
use rkyv::{Archive, Serialize};

use super::header::u32_at;
use super::{ALIGNMENT, BatchError, ColumnFault};
use crate::limits::DIRECTORY_BYTES_MAX;

/// Bytes of the length before the directory.
pub(super) const LENGTH_BYTES: usize = 4;

/// Kinds of columns.
pub(super) const COLUMNS: usize = 14;

/// What a column holds. The numbers are part of the format, their order is that of the columns.
///
/// The value bytes come first so that a builder can gather them where they will stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ColumnKind {
    ValueBytes = 0,
    ValueOffsets = 1,
    ValueValidity = 2,
    KeyBytes = 3,
    KeyOffsets = 4,
    KeyValidity = 5,
    CreateTimes = 6,
    HeaderOffsets = 7,
    HeaderKeyBytes = 8,
    HeaderKeyOffsets = 9,
    HeaderValueBytes = 10,
    HeaderValueOffsets = 11,
    HeaderValueValidity = 12,
    OffsetDeltas = 13,
}

impl ColumnKind {
    /// All kinds, in the order of their numbers.
    pub(super) const ALL: [Self; COLUMNS] = [
        Self::ValueBytes,
        Self::ValueOffsets,
        Self::ValueValidity,
        Self::KeyBytes,
        Self::KeyOffsets,
        Self::KeyValidity,
        Self::CreateTimes,
        Self::HeaderOffsets,
        Self::HeaderKeyBytes,
        Self::HeaderKeyOffsets,
        Self::HeaderValueBytes,
        Self::HeaderValueOffsets,
        Self::HeaderValueValidity,
        Self::OffsetDeltas,
    ];

    /// The name in messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ValueBytes => "value bytes",
            Self::ValueOffsets => "value offsets",
            Self::ValueValidity => "value validity",
            Self::KeyBytes => "key bytes",
            Self::KeyOffsets => "key offsets",
            Self::KeyValidity => "key validity",
            Self::CreateTimes => "create times",
            Self::HeaderOffsets => "header offsets",
            Self::HeaderKeyBytes => "header key bytes",
            Self::HeaderKeyOffsets => "header key offsets",
            Self::HeaderValueBytes => "header value bytes",
            Self::HeaderValueOffsets => "header value offsets",
            Self::HeaderValueValidity => "header value validity",
            Self::OffsetDeltas => "offset deltas",
        }
    }

    /// The error of this column.
    pub(super) const fn fault(self, fault: ColumnFault) -> BatchError {
        BatchError::Column { column: self.name(), fault }
    }
}

/// The directory as archived.
#[derive(Archive, Serialize)]
struct Directory {
    /// Bit `k` stands for the column of kind `k`.
    present: u16,
    /// One per bit, in the order of the bits.
    extents: Vec<Extent>,
}

/// Where a column lies, relative to the body.
#[derive(Archive, Serialize)]
struct Extent {
    offset: u32,
    len: u32,
}

/// Where the columns of a body lie. Invariant: extents are aligned, in order, disjoint and inside
/// the body of which they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extents([Option<(u32, u32)>; COLUMNS]);

impl Extents {
    /// Adds a column while a body is built; columns come in order.
    ///
    /// # Panics
    /// If the place does not fit `u32`: bodies are limited far below.
    pub(super) fn set(&mut self, kind: ColumnKind, place: Range<usize>) {
        let fits = "a body is below BATCH_BYTES_MAX";
        let offset = u32::try_from(place.start).expect(fits);
        let len = u32::try_from(place.len()).expect(fits);
        self.0[kind as usize] = Some((offset, len));
    }

    /// Where the column lies in the body, or `None` if it is absent.
    pub(super) fn get(&self, kind: ColumnKind) -> Option<Range<usize>> {
        let (offset, len) = self.0[kind as usize]?;
        Some(offset as usize..offset as usize + len as usize)
    }

    /// Where the column lies in the body.
    ///
    /// # Errors
    /// [`ColumnFault::Presence`] if it is absent.
    pub(super) fn need(&self, kind: ColumnKind) -> Result<Range<usize>, BatchError> {
        self.get(kind).ok_or(kind.fault(ColumnFault::Presence))
    }

    /// Writes length and directory into `room`, the start of a body.
    ///
    /// # Panics
    /// If there is too little room: it is [`DIRECTORY_BYTES_MAX`] and the length.
    pub(super) fn write(&self, room: &mut [u8]) {
        let extent = |place: &(u32, u32)| Extent { offset: place.0, len: place.1 };
        let extents: Vec<_> = self.0.iter().flatten().map(extent).collect();
        let present =
            self.0.iter().rev().fold(0, |bits, place| bits << 1 | u16::from(place.is_some()));
        let directory = Directory { present, extents };
        let archive = rkyv::api::high::to_bytes_in::<_, Failure>(&directory, Vec::new());
        let archive = archive.expect("a vector takes every byte");
        assert!(archive.len() <= DIRECTORY_BYTES_MAX, "directory of {} bytes", archive.len());
        let len = u32::try_from(archive.len()).expect("it is at most DIRECTORY_BYTES_MAX");
        room[..LENGTH_BYTES].copy_from_slice(&len.to_le_bytes());
        room[LENGTH_BYTES..LENGTH_BYTES + archive.len()].copy_from_slice(&archive);
    }

    /// Reads the directory of `body` and checks where the columns lie.
    ///
    /// # Errors
    /// [`BatchError::Truncated`], [`BatchError::TooLarge`], [`BatchError::Directory`] or
    /// [`ColumnFault::Place`].
    pub(super) fn read(body: &[u8]) -> Result<Self, BatchError> {
        let truncated = |expected| BatchError::Truncated { expected, found: body.len() };
        if body.len() < LENGTH_BYTES {
            return Err(truncated(LENGTH_BYTES));
        }
        let len = u32_at(body, 0) as usize;
        if len > DIRECTORY_BYTES_MAX {
            let (what, max) = ("directory length", DIRECTORY_BYTES_MAX);
            return Err(BatchError::TooLarge { what, max, found: len });
        }
        let end = LENGTH_BYTES + len;
        let archive = body.get(LENGTH_BYTES..end).ok_or(truncated(end))?;
        Self::read_archive(archive, body.len())
    }

    /// Reads the archive of a directory, of a body of `body_len` bytes.
    ///
    /// # Errors
    /// [`BatchError::Directory`] or [`ColumnFault::Place`].
    pub(super) fn read_archive(archive: &[u8], body_len: usize) -> Result<Self, BatchError> {
        let directory = rkyv::access::<ArchivedDirectory, Failure>(archive);
        let directory = directory.map_err(|_| BatchError::Directory)?;
        Self::place(directory, LENGTH_BYTES + archive.len(), body_len)
    }

    /// Checks and copies the extents of columns that lie between `cursor` and `end`.
    fn place(
        directory: &ArchivedDirectory,
        mut cursor: usize,
        end: usize,
    ) -> Result<Self, BatchError> {
        let present = directory.present.to_native();
        if present >> COLUMNS != 0 || present.count_ones() as usize != directory.extents.len() {
            return Err(BatchError::Directory);
        }
        let mut places = Self::default();
        let kinds = ColumnKind::ALL.into_iter().filter(|kind| present >> *kind as u8 & 1 == 1);
        for (kind, extent) in kinds.zip(directory.extents.iter()) {
            let (offset, len) =
                (extent.offset.to_native() as usize, extent.len.to_native() as usize);
            let inside = offset.checked_add(len).is_some_and(|after| after <= end);
            if !offset.is_multiple_of(ALIGNMENT) || offset < cursor || !inside {
                return Err(kind.fault(ColumnFault::Place { offset, len }));
            }
            places.set(kind, offset..offset + len);
            cursor = offset + len;
        }
        Ok(places)
    }
}
