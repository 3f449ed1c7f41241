//! Rows as Arrow columns that share the buffer the batch was read into.
//!
//! The safe route to sharing: bytes are received into an Arrow buffer ([`MutableBuffer`], 64-byte
//! aligned, frozen into a [`Buffer`]), and columns are slices of it. Arrow's validating constructors
//! check once more what the layout checked.

use std::sync::{Arc, LazyLock};

use arrow_array::{
    ArrayRef, BinaryArray, MapArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};

use super::directory::ColumnKind;
use super::layout::{BinaryKinds, HEADER_VALUES, KEYS, Layout, VALUES};
use super::{ALIGNMENT, Batch, BatchError, BatchHeader, Decoder, Rows};

const _: () = assert!(cfg!(target_endian = "little"), "Arrow buffers have native byte order");

/// The columns: `key` and `value` (binary, nullable), `create_time_delta` (`u32`, microseconds
/// after the header's base create time), `headers` (map of text to nullable binary).
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("create_time_delta", DataType::UInt32, false),
        Field::new("headers", DataType::Map(headers_field(), false), false),
    ]))
});

/// The rows of a batch together with the buffer they lie in.
///
/// Invariant: as [`Rows`]. Cloning shares the buffer.
#[derive(Clone, Debug)]
pub struct ArrowRows {
    header: BatchHeader,
    body: Buffer,
    layout: Layout,
}

impl ArrowRows {
    /// Opens the batch that `bytes` is, whole, and checks it as [`Rows::open`] does. Without a codec
    /// the rows share `bytes`; otherwise the body is decompressed into a buffer of its own. Checksums
    /// are the caller's matter.
    ///
    /// # Errors
    /// As [`Batch::parse`], [`Decoder::body`] and [`Rows::open`].
    pub fn open(bytes: &Buffer, decoder: &mut Decoder) -> Result<Self, BatchError> {
        let batch = Batch::parse(bytes)?;
        let (header, body) = (*batch.header(), decoder.shared_body(&batch, bytes)?);
        let layout = Layout::check(&header, &body)?;
        Ok(Self { header, body, layout })
    }

    /// The header of the batch.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The rows, without checking them again.
    #[must_use]
    pub fn rows(&self) -> Rows<'_> {
        Rows::of(self.layout, &self.body)
    }

    /// Schema of [`ArrowRows::to_record_batch`], the same for all batches.
    #[must_use]
    pub fn schema() -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    /// The rows as Arrow columns that share the buffer. Columns that the batch lacks are made up:
    /// null keys, zero deltas, empty maps.
    ///
    /// # Errors
    /// [`BatchError::Misaligned`] if the buffer does not start at a multiple of 64 bytes: copy the
    /// batch into a [`super::MutableBuffer`] then. [`BatchError::Arrow`] is a defect of ours.
    pub fn to_record_batch(&self) -> Result<RecordBatch, BatchError> {
        let misaligned = self.body.as_ptr().addr() % ALIGNMENT;
        if misaligned != 0 {
            return Err(BatchError::Misaligned { found: misaligned });
        }
        let len = self.layout.len;
        let key = self.binary(KEYS, len)?.unwrap_or_else(|| BinaryArray::new_null(len));
        // Values are always there, or the layout would not have passed.
        let value = self.binary(VALUES, len)?.ok_or(BatchError::Arrow)?;
        let deltas = match self.column(ColumnKind::CreateTimes) {
            Some(deltas) => ScalarBuffer::new(deltas, 0, len),
            None => vec![0_u32; len].into(),
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(key),
            Arc::new(value),
            Arc::new(UInt32Array::new(deltas, None)),
            Arc::new(self.headers()?),
        ];
        RecordBatch::try_new(Self::schema(), columns).map_err(|_| BatchError::Arrow)
    }

    /// The offsets of the rows, computed: a batch stores them only where some are missing.
    #[must_use]
    pub fn offsets(&self) -> UInt64Array {
        self.rows().iter().map(|row| row.offset.get()).collect::<Vec<_>>().into()
    }

    /// The create times of the rows, computed from base and deltas.
    #[must_use]
    pub fn create_times(&self) -> TimestampMicrosecondArray {
        self.rows().iter().map(|row| row.create_time.get()).collect::<Vec<_>>().into()
    }

    /// A column as a slice of the buffer.
    fn column(&self, kind: ColumnKind) -> Option<Buffer> {
        let place = self.layout.extents.get(kind)?;
        Some(self.body.slice_with_length(place.start, place.len()))
    }

    /// A column of offsets of `entries` entries.
    fn offsets_of(&self, kind: ColumnKind, entries: usize) -> Option<OffsetBuffer<i32>> {
        Some(OffsetBuffer::new(ScalarBuffer::new(self.column(kind)?, 0, entries + 1)))
    }

    /// A binary column, or `None` if the batch lacks it.
    fn binary(
        &self,
        kinds: BinaryKinds,
        entries: usize,
    ) -> Result<Option<BinaryArray>, BatchError> {
        let Some(offsets) = self.offsets_of(kinds.offsets, entries) else {
            return Ok(None);
        };
        let bytes = self.column(kinds.bytes).expect("offsets have bytes");
        let bits = self.column(kinds.validity);
        let nulls = bits.map(|bits| NullBuffer::new(BooleanBuffer::new(bits, 0, entries)));
        let array = BinaryArray::try_new(offsets, bytes, nulls);
        array.map(Some).map_err(|_| BatchError::Arrow)
    }

    /// The headers: a map per row, empty if the batch has none.
    fn headers(&self) -> Result<MapArray, BatchError> {
        let len = self.layout.len;
        let key_offsets = ColumnKind::HeaderKeyOffsets;
        let entries = self.layout.extents.get(key_offsets).map_or(0, |place| place.len() / 4 - 1);
        let offsets = self.offsets_of(ColumnKind::HeaderOffsets, len);
        let keys = match self.offsets_of(key_offsets, entries) {
            Some(offsets) => {
                let bytes = self.column(ColumnKind::HeaderKeyBytes).expect("offsets have bytes");
                StringArray::try_new(offsets, bytes, None).map_err(|_| BatchError::Arrow)?
            }
            None => StringArray::new_null(0),
        };
        let values = self.binary(HEADER_VALUES, entries)?;
        let values = values.unwrap_or_else(|| BinaryArray::new_null(0));
        let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(values)];
        let pairs = StructArray::try_new(header_fields(), columns, None);
        let pairs = pairs.map_err(|_| BatchError::Arrow)?;
        let offsets = offsets.unwrap_or_else(|| OffsetBuffer::new_zeroed(len));
        MapArray::try_new(headers_field(), offsets, pairs, None, false)
            .map_err(|_| BatchError::Arrow)
    }
}

/// The entries of the map of headers.
fn headers_field() -> Arc<Field> {
    Arc::new(Field::new("entries", DataType::Struct(header_fields()), false))
}

/// Key and value of a header.
fn header_fields() -> Fields {
    let key = Field::new("keys", DataType::Utf8, false);
    Fields::from(vec![key, Field::new("values", DataType::Binary, true)])
}
