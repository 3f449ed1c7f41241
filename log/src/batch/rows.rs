//! The rows of a batch, read where they lie.

use super::directory::ColumnKind;
use super::layout::{BinaryKinds, HEADER_VALUES, KEYS, Layout, VALUES, bit, delta_at, range_at};
use super::{BatchError, BatchHeader};
use crate::ids::{Offset, Timestamp};

/// A view of the rows of one batch, over its uncompressed body. Access to row *i* is O(1).
///
/// Invariant: the body passed all checks of [`Rows::open`], so that no access can fail.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    layout: Layout,
    values: Binary<'a>,
    keys: Option<Binary<'a>>,
    create_times: Option<&'a [u8]>,
    /// Where offsets are missing: by how much each is above the base.
    offset_deltas: Option<&'a [u8]>,
    headers: Option<HeaderColumns<'a>>,
}

/// One record, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Its offset, if the batch is sealed; otherwise its index in the batch.
    pub offset: Offset,
    /// Its key, or `None` without one; an empty key is a key.
    pub key: Option<&'a [u8]>,
    /// Its value, or `None` for a tombstone; an empty value is a value.
    pub value: Option<&'a [u8]>,
    /// When its producer made it.
    pub create_time: Timestamp,
    /// Its headers, in the producer's order, duplicates included.
    pub headers: Headers<'a>,
}

impl<'a> Rows<'a> {
    /// Opens `body`, the uncompressed body of the batch with this header, and checks all of it
    /// once: work in the order of records and headers, not of their bytes. Checksums are the
    /// caller's matter.
    ///
    /// # Errors
    /// What is wrong with directory or columns; [`BatchError::BodyKind`] if it has none.
    pub fn open(header: &BatchHeader, body: &'a [u8]) -> Result<Self, BatchError> {
        Ok(Self::of(Layout::check(header, body)?, body))
    }

    /// The view of a body that `layout` was checked against.
    pub(super) fn of(layout: Layout, body: &'a [u8]) -> Self {
        let column = |kind| layout.extents.get(kind).map(|place| &body[place]);
        let values = Binary::of(VALUES, column).expect("values are always there");
        let headers = column(ColumnKind::HeaderOffsets).map(|offsets| HeaderColumns {
            offsets,
            keys: column(ColumnKind::HeaderKeyBytes).expect("headers have all columns"),
            key_offsets: column(ColumnKind::HeaderKeyOffsets).expect("headers have all columns"),
            values: Binary::of(HEADER_VALUES, column).expect("headers have all columns"),
        });
        let (keys, create_times) = (Binary::of(KEYS, column), column(ColumnKind::CreateTimes));
        let offset_deltas = column(ColumnKind::OffsetDeltas);
        Self { layout, values, keys, create_times, offset_deltas, headers }
    }

    /// Number of rows; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch has at least one record")]
    pub const fn len(&self) -> usize {
        self.layout.len
    }

    /// Row `index`, or `None` if there are not so many.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<RecordView<'a>> {
        (index < self.layout.len).then(|| self.row(index))
    }

    /// How many rows have an offset below this one: the index of the row that has it, if one does.
    #[must_use]
    pub fn rows_before(&self, offset: Offset) -> usize {
        let delta = offset.since(self.layout.base_offset);
        let Some(deltas) = self.offset_deltas else {
            return usize::try_from(delta).unwrap_or(usize::MAX).min(self.layout.len);
        };
        let deltas = deltas.as_chunks::<4>().0;
        deltas.partition_point(|found| u64::from(u32::from_le_bytes(*found)) < delta)
    }

    /// The row at an offset, or `None` if the batch does not have it, or not any more.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<RecordView<'a>> {
        self.get(self.rows_before(offset)).filter(|row| row.offset == offset)
    }

    /// All rows in order of offset.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordView<'a>> + use<'a> {
        let rows = *self;
        (0..rows.layout.len).map(move |index| rows.row(index))
    }

    /// By how much the offset of row `index`, which is below the length, is above the base.
    pub(super) fn offset_delta(&self, index: usize) -> u64 {
        self.offset_deltas.map_or(index as u64, |deltas| delta_at(deltas, index).into())
    }

    /// Row `index`, which is below the length.
    fn row(&self, index: usize) -> RecordView<'a> {
        let delta = self.create_times.map_or(0, |deltas| delta_at(deltas, index));
        let range = "the range was checked when the rows were opened";
        RecordView {
            offset: self.layout.base_offset.checked_add(self.offset_delta(index)).expect(range),
            key: self.keys.and_then(|keys| keys.get(index)),
            value: self.values.get(index),
            create_time: self.layout.base_create_time.checked_add_us(delta.into()).expect(range),
            headers: self.headers.map_or(Headers::default(), |headers| headers.of(index)),
        }
    }
}

/// A binary column.
#[derive(Clone, Copy, Debug)]
struct Binary<'a> {
    bytes: &'a [u8],
    offsets: &'a [u8],
    validity: Option<&'a [u8]>,
}

impl<'a> Binary<'a> {
    /// The column whose parts `column` finds, or `None` if it is absent.
    fn of(kinds: BinaryKinds, column: impl Fn(ColumnKind) -> Option<&'a [u8]>) -> Option<Self> {
        let (bytes, offsets) = (column(kinds.bytes)?, column(kinds.offsets)?);
        Some(Self { bytes, offsets, validity: column(kinds.validity) })
    }

    /// Entry `index`, or `None` if it is null.
    fn get(self, index: usize) -> Option<&'a [u8]> {
        let valid = self.validity.is_none_or(|validity| bit(validity, index));
        valid.then(|| &self.bytes[range_at(self.offsets, index)])
    }
}

/// The columns of headers.
#[derive(Clone, Copy, Debug)]
struct HeaderColumns<'a> {
    offsets: &'a [u8],
    keys: &'a [u8],
    key_offsets: &'a [u8],
    values: Binary<'a>,
}

impl<'a> HeaderColumns<'a> {
    /// The headers of row `index`.
    fn of(self, index: usize) -> Headers<'a> {
        Headers { columns: Some(self), range: range_at(self.offsets, index).into() }
    }

    /// Header `index` of the batch.
    fn get(self, index: usize) -> (&'a str, Option<&'a [u8]>) {
        let key = &self.keys[range_at(self.key_offsets, index)];
        let key = std::str::from_utf8(key).expect("it was checked when the rows were opened");
        (key, self.values.get(index))
    }
}

/// Half-open range of indexes that can be copied.
#[derive(Clone, Copy, Debug, Default)]
struct Indexes {
    start: usize,
    end: usize,
}

impl From<std::ops::Range<usize>> for Indexes {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// The headers of one record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    columns: Option<HeaderColumns<'a>>,
    range: Indexes,
}

impl<'a> Headers<'a> {
    /// Number of headers.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.range.end - self.range.start
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys and values in the producer's order. A value may be null, a key may occur repeatedly.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let Self { columns, range } = *self;
        columns
            .into_iter()
            .flat_map(move |columns| (range.start..range.end).map(move |index| columns.get(index)))
    }

    /// The value of the first header with this key: `Some(None)` if it is null.
    #[must_use]
    pub fn first(&self, key: &str) -> Option<Option<&'a [u8]>> {
        self.iter().find_map(|(found, value)| (found == key).then_some(value))
    }
}
