//! The checks that stand between a body of unknown origin and a view of its rows.
//!
//! One pass over the offsets, one over the validity bits, one over the text of headers. What holds
//! afterwards is the invariant of [`Layout`]; with it no access to a row can leave its column.

use std::ops::Range;

use super::directory::{ColumnKind, Extents};
use super::{BatchError, BatchHeader, BodyKind, ColumnFault};
use crate::ids::{Offset, Timestamp};
use crate::limits::{
    HEADER_BYTES_PER_RECORD_MAX, HEADERS_PER_RECORD_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX,
};

/// The three columns of binary entries.
#[derive(Clone, Copy)]
pub(super) struct BinaryKinds {
    pub(super) bytes: ColumnKind,
    pub(super) offsets: ColumnKind,
    pub(super) validity: ColumnKind,
}

/// The values.
pub(super) const VALUES: BinaryKinds = BinaryKinds {
    bytes: ColumnKind::ValueBytes,
    offsets: ColumnKind::ValueOffsets,
    validity: ColumnKind::ValueValidity,
};

/// The keys.
pub(super) const KEYS: BinaryKinds = BinaryKinds {
    bytes: ColumnKind::KeyBytes,
    offsets: ColumnKind::KeyOffsets,
    validity: ColumnKind::KeyValidity,
};

/// The values of headers.
pub(super) const HEADER_VALUES: BinaryKinds = BinaryKinds {
    bytes: ColumnKind::HeaderValueBytes,
    offsets: ColumnKind::HeaderValueOffsets,
    validity: ColumnKind::HeaderValueValidity,
};

/// The columns of headers that are all there or all absent; validity may be absent alone.
pub(super) const HEADERS: [ColumnKind; 6] = [
    ColumnKind::HeaderOffsets,
    ColumnKind::HeaderKeyBytes,
    ColumnKind::HeaderKeyOffsets,
    ColumnKind::HeaderValueBytes,
    ColumnKind::HeaderValueOffsets,
    ColumnKind::HeaderValueValidity,
];

/// What is known of a body that was checked, without the body.
///
/// Invariant, for the body it was checked against: every column has the length that follows from
/// the number of its entries; offsets start at 0, never fall and end at the length of their bytes;
/// null entries are empty; header keys are UTF-8 and so is each of them; no create time overflows;
/// offset deltas rise and stay within the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) extents: Extents,
    pub(super) len: usize,
    pub(super) base_offset: Offset,
    pub(super) base_create_time: Timestamp,
}

impl Layout {
    /// Checks `body`, uncompressed, against its header.
    pub(super) fn check(header: &BatchHeader, body: &[u8]) -> Result<Self, BatchError> {
        if header.body_kind != BodyKind::Rows {
            return Err(BatchError::BodyKind { found: header.body_kind.code() });
        }
        let (expected, found) = (header.uncompressed_len as usize, body.len());
        if found != expected {
            return Err(BatchError::Length { expected, found });
        }
        let extents = Extents::read(body)?;
        let len = header.record_count as usize;
        let columns = Columns { body, extents };
        columns.check_binary(VALUES, len, VALUE_BYTES_MAX)?;
        if columns.any(&[KEYS.bytes, KEYS.offsets, KEYS.validity]) {
            columns.check_binary(KEYS, len, KEY_BYTES_MAX)?;
        }
        if columns.any(&HEADERS) {
            columns.check_headers(len)?;
        }
        columns
            .check_create_times(len, header.max_create_time.since_us(header.base_create_time))?;
        columns.check_deltas(header)?;
        let base_offset = header.owner.base_offset;
        Ok(Self { extents, len, base_offset, base_create_time: header.base_create_time })
    }
}

/// A body whose columns are in place and whose content is being checked.
struct Columns<'a> {
    body: &'a [u8],
    extents: Extents,
}

impl<'a> Columns<'a> {
    /// Whether any of the columns is there.
    fn any(&self, kinds: &[ColumnKind]) -> bool {
        kinds.iter().any(|kind| self.extents.get(*kind).is_some())
    }

    /// The bytes of a column.
    fn need(&self, kind: ColumnKind) -> Result<&'a [u8], BatchError> {
        Ok(&self.body[self.extents.need(kind)?])
    }

    /// Checks `entries` binary entries of at most `max` bytes each.
    fn check_binary(
        &self,
        kinds: BinaryKinds,
        entries: usize,
        max: usize,
    ) -> Result<(), BatchError> {
        let bytes = self.need(kinds.bytes)?;
        let offsets = self.check_offsets(kinds.offsets, entries, bytes.len(), max)?;
        let Some(validity) = self.extents.get(kinds.validity) else {
            return Ok(());
        };
        let validity = &self.body[validity];
        expect_len(kinds.validity, entries.div_ceil(8), validity.len())?;
        let null_with_bytes =
            |index: &usize| !bit(validity, *index) && !range_at(offsets, *index).is_empty();
        match (0..entries).find(null_with_bytes) {
            None => Ok(()),
            Some(index) => Err(kinds.validity.fault(ColumnFault::NullWithBytes { index })),
        }
    }

    /// Checks a column of offsets of `entries` entries into something of length `end`, and that
    /// no entry is longer than `max`.
    fn check_offsets(
        &self,
        kind: ColumnKind,
        entries: usize,
        end: usize,
        max: usize,
    ) -> Result<&'a [u8], BatchError> {
        let offsets = self.need(kind)?;
        expect_len(kind, (entries + 1) * 4, offsets.len())?;
        let mut previous = 0;
        for index in 0..=entries {
            let found = offset_at(offsets, index);
            // A negative offset is below its predecessor; the first has to be 0, the last `end`.
            let current = usize::try_from(found).unwrap_or(usize::MAX);
            let bounds = if index == entries { end..=end } else { previous..=end };
            if !bounds.contains(&current) || current < previous || (index == 0 && current != 0) {
                return Err(kind.fault(ColumnFault::Offset { index, found }));
            }
            if current - previous > max {
                let (index, found) = (index - 1, current - previous);
                return Err(kind.fault(ColumnFault::TooLarge { index, max, found }));
            }
            previous = current;
        }
        Ok(offsets)
    }

    /// Checks the headers of `records` records.
    fn check_headers(&self, records: usize) -> Result<(), BatchError> {
        let kind = ColumnKind::HeaderKeyOffsets;
        let key_offsets = self.need(kind)?;
        let entries = key_offsets.len() / 4;
        let entries = entries
            .checked_sub(1)
            .ok_or(kind.fault(ColumnFault::Length { expected: 4, found: key_offsets.len() }))?;
        let kind = ColumnKind::HeaderOffsets;
        let offsets = self.check_offsets(kind, records, entries, HEADERS_PER_RECORD_MAX)?;
        self.check_header_keys(entries)?;
        self.check_binary(HEADER_VALUES, entries, HEADER_BYTES_PER_RECORD_MAX)?;
        let value_offsets = self.need(HEADER_VALUES.offsets)?;
        for index in 0..records {
            let Range { start, end } = range_at(offsets, index);
            let bytes = |offsets| span_at(offsets, start, end).len();
            let (max, found) =
                (HEADER_BYTES_PER_RECORD_MAX, bytes(key_offsets) + bytes(value_offsets));
            if found > max {
                return Err(kind.fault(ColumnFault::TooLarge { index, max, found }));
            }
        }
        Ok(())
    }

    /// Checks the keys of headers: UTF-8 as a whole, and cut between characters.
    fn check_header_keys(&self, entries: usize) -> Result<(), BatchError> {
        let (bytes, kind) = (self.need(ColumnKind::HeaderKeyBytes)?, ColumnKind::HeaderKeyOffsets);
        let max = HEADER_BYTES_PER_RECORD_MAX;
        let offsets = self.check_offsets(kind, entries, bytes.len(), max)?;
        let text = std::str::from_utf8(bytes).map_err(|error| {
            ColumnKind::HeaderKeyBytes.fault(ColumnFault::Utf8 { position: error.valid_up_to() })
        })?;
        let cut = |index: &usize| !text.is_char_boundary(range_at(offsets, *index).start);
        match (0..entries).find(cut) {
            None => Ok(()),
            Some(index) => {
                let found = offset_at(offsets, index);
                Err(kind.fault(ColumnFault::Offset { index, found }))
            }
        }
    }

    /// Checks that no create time is later than the header says.
    fn check_create_times(&self, records: usize, span_us: u64) -> Result<(), BatchError> {
        let kind = ColumnKind::CreateTimes;
        let Some(place) = self.extents.get(kind) else {
            return Ok(());
        };
        let deltas = &self.body[place];
        expect_len(kind, records * 4, deltas.len())?;
        let late = |index: &usize| u64::from(delta_at(deltas, *index)) > span_us;
        match (0..records).find(late) {
            None => Ok(()),
            Some(index) => {
                let max = usize::try_from(span_us).unwrap_or(usize::MAX);
                let found = delta_at(deltas, index) as usize;
                Err(kind.fault(ColumnFault::TooLarge { index, max, found }))
            }
        }
    }
}

impl Columns<'_> {
    /// Checks that the records have offsets of the batch, each its own and in order; where none was removed nobody has to say so.
    fn check_deltas(&self, header: &BatchHeader) -> Result<(), BatchError> {
        let (kind, len) = (ColumnKind::OffsetDeltas, header.record_count as usize);
        if header.removed == 0 {
            let place = self.extents.get(kind);
            return if place.is_none() { Ok(()) } else { Err(kind.fault(ColumnFault::Presence)) };
        }
        let deltas = self.need(kind)?;
        expect_len(kind, len * 4, deltas.len())?;
        let mut least = 0;
        for index in 0..len {
            let found = delta_at(deltas, index);
            if found < least || found >= header.offset_count() {
                return Err(kind.fault(ColumnFault::Offset { index, found: found.cast_signed() }));
            }
            least = found + 1;
        }
        Ok(())
    }
}

/// Refuses a column of another length than its entries have.
fn expect_len(kind: ColumnKind, expected: usize, found: usize) -> Result<(), BatchError> {
    if expected == found {
        Ok(())
    } else {
        Err(kind.fault(ColumnFault::Length { expected, found }))
    }
}

/// Offset `index` of a column of offsets.
fn offset_at(offsets: &[u8], index: usize) -> i32 {
    super::header::u32_at(offsets, index * 4).cast_signed()
}

/// Entry `index` of a column of deltas: of create times in microseconds, or of offsets.
pub(super) fn delta_at(deltas: &[u8], index: usize) -> u32 {
    super::header::u32_at(deltas, index * 4)
}

/// Entry `index` of a checked column of offsets.
pub(super) fn range_at(offsets: &[u8], index: usize) -> Range<usize> {
    span_at(offsets, index, index + 1)
}

/// Entries `start..end` of a checked column of offsets.
fn span_at(offsets: &[u8], start: usize, end: usize) -> Range<usize> {
    let at = |index| usize::try_from(offset_at(offsets, index)).expect("offsets were checked");
    at(start)..at(end)
}

/// Bit `index` of a bitmap, least significant bit first.
pub(super) fn bit(bits: &[u8], index: usize) -> bool {
    bits[index / 8] >> (index % 8) & 1 == 1
}

#[cfg(test)]
mod tests;
