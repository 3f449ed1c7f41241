//! Building batches: the producer's half of the format.
//!
//! Every column grows in a buffer of its own, which the next batch reuses, so that in steady state a
//! record allocates nothing. Value bytes gather directly behind the room for header and directory,
//! where they stay: [`RowsBuilder::push`] copies each value byte once, and finishing appends the
//! other columns to them (a second copy for keys and headers), hashes the batch once and swaps
//! buffers with the caller. Rejected: assembling at the end, which copies every value a second time.

use super::codec::Compressor;
use super::columns::{BinaryColumn, CreateTimes, HeaderColumns, pad};
use super::directory::{COLUMNS, ColumnKind, Extents, LENGTH_BYTES};
use super::layout::{HEADER_VALUES, KEYS};
use super::{
    ALIGNMENT, BatchError, BatchHeader, BodyKind, Codec, Flags, HEADER_BYTES, Owner, Session,
    header,
};
use crate::ids::Timestamp;
use crate::limits::{
    BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX, DIRECTORY_BYTES_MAX, HEADER_BYTES_PER_RECORD_MAX,
    HEADERS_PER_RECORD_MAX, KEY_BYTES_MAX, RECORD_BYTES_MAX, RECORDS_PER_BATCH_MAX,
    VALUE_BYTES_MAX,
};

/// Room for the header and the directory in front of the value bytes.
const PREFIX_BYTES: usize = HEADER_BYTES + 128;

/// Bytes of a batch without records: the room in front, the padding of every column that a producer
/// fills and the first offset of five columns of offsets.
const EMPTY_BYTES: usize = PREFIX_BYTES + (COLUMNS - 1) * ALIGNMENT + 5 * 4;

const _: () = assert!(HEADER_BYTES + LENGTH_BYTES + DIRECTORY_BYTES_MAX == PREFIX_BYTES);
const _: () = assert!(PREFIX_BYTES.is_multiple_of(ALIGNMENT), "value bytes start aligned");
const _: () = assert!(PREFIX_BYTES + RECORD_BYTES_MAX <= BATCH_BYTES_MAX, "one record always fits");

/// A record to be appended, borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// Key, or `None` without one; an empty key is a key.
    pub key: Option<&'a [u8]>,
    /// Value, or `None` for a tombstone; an empty value is a value.
    pub value: Option<&'a [u8]>,
    /// When the producer made it.
    pub create_time: Timestamp,
    /// Headers in order; keys may repeat, values may be null.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// What a builder makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuilderConfig {
    /// How bodies are compressed. A body that does not shrink is stored plain.
    pub codec: Codec,
    /// Length from which a batch is full, header included; at most [`BATCH_BYTES_MAX`]. A single
    /// record may take a batch beyond it.
    pub batch_bytes_max: usize,
    /// Records from which a batch is full; at most [`RECORDS_PER_BATCH_MAX`].
    pub records_max: usize,
    /// Schema of the values, or zero.
    pub schema_id: u32,
    /// Transactional, control.
    pub flags: Flags,
}

impl Default for BuilderConfig {
    fn default() -> Self {
        Self {
            codec: Codec::None,
            batch_bytes_max: BATCH_BYTES_DEFAULT,
            records_max: RECORDS_PER_BATCH_MAX,
            schema_id: 0,
            flags: Flags::NONE,
        }
    }
}

/// Why a record was not taken. The builder is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushError {
    /// The batch has no room for it, or its create time is more than 2^32 us (71 minutes) from
    /// another one's. Finish the batch and push again: an empty builder is never full.
    Full,
    /// No batch has room for it.
    TooLarge {
        /// What of it.
        what: &'static str,
        /// The limit.
        max: usize,
        /// The value.
        found: usize,
    },
}

impl std::fmt::Display for PushError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => formatter.write_str("the batch is full"),
            Self::TooLarge { what, max, found } => {
                write!(formatter, "{what} of the record is {found}, at most {max} is allowed")
            }
        }
    }
}

impl std::error::Error for PushError {}

/// Gathers records into batches with a rows body, one after another.
///
/// Invariant: `bytes` is at least the length of the batch that finishing would make, and at most
/// [`BATCH_BYTES_MAX`].
///
/// ```
/// use pyralog_log::batch::{Batch, BuilderConfig, Decoder, Record, RowsBuilder};
///
/// let mut builder = RowsBuilder::new(BuilderConfig::default());
/// builder.push(&Record { value: Some(b"hello"), ..Record::default() })?;
/// let bytes = builder.finish(None)?;
///
/// let batch = Batch::parse(&bytes)?.verify_unsealed()?;
/// let mut decoder = Decoder::new();
/// let rows = decoder.rows(&batch)?;
/// assert_eq!(rows.get(0).and_then(|record| record.value), Some(&b"hello"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RowsBuilder {
    config: BuilderConfig,
    compressor: Compressor,
    /// Records so far.
    len: usize,
    /// Upper bound of the length of the batch.
    bytes: usize,
    /// Its bytes start with the room for header and directory: they become the batch.
    values: BinaryColumn,
    keys: BinaryColumn,
    /// Whether a record has a key; without one the columns stay empty.
    keyed: bool,
    create_times: CreateTimes,
    headers: HeaderColumns,
    /// Whether a record has headers; without one the columns stay empty.
    headed: bool,
    /// Offset deltas and the number of offsets, in a batch that is rewritten without some of its records.
    thinned: Option<(Vec<u8>, u32)>,
}

impl RowsBuilder {
    /// An empty builder.
    ///
    /// # Panics
    /// If the configuration exceeds the limits of the format or allows no records.
    #[must_use]
    pub fn new(config: BuilderConfig) -> Self {
        let (bytes, records) = (config.batch_bytes_max, config.records_max);
        assert!(bytes <= BATCH_BYTES_MAX, "batches of {bytes} bytes, at most {BATCH_BYTES_MAX}");
        assert!(records <= RECORDS_PER_BATCH_MAX, "batches of {records} records");
        assert!(records > 0, "batches without records");
        let mut builder = Self {
            config,
            compressor: Compressor::default(),
            len: 0,
            bytes: 0,
            values: BinaryColumn::default(),
            keys: BinaryColumn::default(),
            keyed: false,
            create_times: CreateTimes::default(),
            headers: HeaderColumns::default(),
            headed: false,
            thinned: None,
        };
        builder.clear();
        builder
    }

    /// Records pushed since the last batch was finished.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was pushed since the last batch was finished.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Upper bound of the length of the batch that finishing now would make. Unless a codec shortens
    /// it, the batch is shorter by at most 852 bytes, five per record and one per header.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a record. Copies its bytes, allocates nothing in steady state.
    ///
    /// # Errors
    /// [`PushError::Full`] if the batch is to be finished first, [`PushError::TooLarge`] if the
    /// record fits none; the builder is as it was.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), PushError> {
        let payload = check_record(record)?;
        let grown = self.bytes + self.growth(record, payload);
        let full = grown > self.config.batch_bytes_max || self.len == self.config.records_max;
        if !self.is_empty() && (full || !self.create_times.takes(record.create_time)) {
            return Err(PushError::Full);
        }
        debug_assert!(grown <= BATCH_BYTES_MAX, "a batch of {grown} bytes");
        self.values.push(record.value);
        if record.key.is_some() && !self.keyed {
            self.keyed = true;
            self.keys.backfill(self.len);
        }
        if self.keyed {
            self.keys.push(record.key);
        }
        if !record.headers.is_empty() && !self.headed {
            self.headed = true;
            self.headers.backfill(self.len);
        }
        if self.headed {
            self.headers.push(record.headers);
        }
        self.create_times.push(record.create_time);
        self.bytes = grown;
        self.len += 1;
        Ok(())
    }

    /// Makes an unsealed batch of the records so far and starts the next one.
    ///
    /// # Errors
    /// As [`RowsBuilder::finish_into`].
    pub fn finish(&mut self, session: Option<Session>) -> Result<Vec<u8>, BatchError> {
        let mut batch = Vec::new();
        self.finish_into(&mut batch, session)?;
        Ok(batch)
    }

    /// Makes an unsealed batch of the records so far in `out` and starts the next one. What `out`
    /// held is lost, its memory is used: without a codec for the next batch of this builder.
    ///
    /// # Errors
    /// [`BatchError::Empty`] without records, [`BatchError::Sessionless`] for session id zero,
    /// [`BatchError::Overflow`] at the end of the sequence numbers; builder and `out` are as they were.
    pub fn finish_into(
        &mut self,
        out: &mut Vec<u8>,
        session: Option<Session>,
    ) -> Result<(), BatchError> {
        let header = self.describe(session);
        header.check_producer()?;
        let extents = self.assemble();
        let plain = &mut self.values.bytes;
        extents.write(&mut plain[HEADER_BYTES..PREFIX_BYTES]);
        complete(header, &mut self.compressor, plain, out);
        debug_assert!(out.len() <= self.bytes, "{} bytes, bound {}", out.len(), self.bytes);
        self.clear();
        Ok(())
    }

    /// Starts a batch of `offset_count` offsets of which some have no record any more: each record that is pushed is followed
    /// by [`Self::note_delta`]. The next batch has other ways again.
    pub(super) fn thin(&mut self, config: BuilderConfig, offset_count: u32) {
        self.clear();
        self.config = config;
        self.bytes += ALIGNMENT;
        self.thinned = Some((Vec::new(), offset_count));
    }

    /// Notes by how much the offset of the record that was pushed last is above the base of the batch.
    pub(super) fn note_delta(&mut self, delta: u32) {
        let (deltas, _) = self.thinned.as_mut().expect("the batch is thinned");
        deltas.extend_from_slice(&delta.to_le_bytes());
    }

    /// Drops all records so far and starts the next batch.
    pub fn clear(&mut self) {
        self.len = 0;
        self.bytes = EMPTY_BYTES;
        self.values.bytes.clear();
        self.values.bytes.resize(PREFIX_BYTES, 0);
        self.values.restart(PREFIX_BYTES);
        self.keys.clear();
        self.keyed = false;
        self.create_times.clear();
        self.headers.clear();
        self.headed = false;
        self.thinned = None;
    }

    /// By how much a record lengthens the batch at most: its payload, value offset, create time
    /// and bits of validity, and what the columns of keys and headers cost with it.
    fn growth(&self, record: &Record<'_>, payload: usize) -> usize {
        let mut growth = payload + 4 + 4 + 1;
        if self.keyed {
            growth += 4;
        } else if record.key.is_some() {
            growth += 4 * (self.len + 1);
        }
        if self.headed {
            growth += 4;
        } else if !record.headers.is_empty() {
            growth += 4 * (self.len + 1);
        }
        if self.thinned.is_some() {
            growth += 4;
        }
        growth + record.headers.len() * 9
    }

    /// The header of the batch, without lengths and checksum.
    fn describe(&self, session: Option<Session>) -> BatchHeader {
        let span = self.create_times.span.unwrap_or_default();
        let record_count = u32::try_from(self.len).expect("at most RECORDS_PER_BATCH_MAX");
        let offset_count = self.thinned.as_ref().map_or(record_count, |(_, count)| *count);
        BatchHeader {
            header_crc: 0,
            owner: Owner::default(),
            body_crc: 0,
            codec: self.config.codec,
            body_kind: BodyKind::Rows,
            flags: self.config.flags,
            body_len: 0,
            uncompressed_len: 0,
            record_count,
            schema_id: self.config.schema_id,
            base_create_time: span.min,
            max_create_time: span.max,
            session,
            gap_before: 0,
            removed: offset_count - record_count,
        }
    }

    /// Appends all columns to the value bytes and returns where they lie in the body.
    fn assemble(&mut self) -> Extents {
        let mut extents = Extents::default();
        let mut body = std::mem::take(&mut self.values.bytes);
        extents.set(ColumnKind::ValueBytes, PREFIX_BYTES - HEADER_BYTES..body.len() - HEADER_BYTES);
        let mut append = |kind, column: &[u8]| append(&mut extents, &mut body, kind, column);
        append(ColumnKind::ValueOffsets, &self.values.offsets);
        if let Some(bits) = self.values.validity.bits() {
            append(ColumnKind::ValueValidity, bits);
        }
        if self.keyed {
            self.keys.each(KEYS, &mut append);
        }
        if let Some(deltas) = self.create_times.deltas() {
            append(ColumnKind::CreateTimes, deltas);
        }
        if self.headed {
            append(ColumnKind::HeaderOffsets, &self.headers.offsets);
            append(ColumnKind::HeaderKeyBytes, &self.headers.keys.bytes);
            append(ColumnKind::HeaderKeyOffsets, &self.headers.keys.offsets);
            self.headers.values.each(HEADER_VALUES, &mut append);
        }
        if let Some((deltas, _)) = &self.thinned {
            append(ColumnKind::OffsetDeltas, deltas);
        }
        self.values.bytes = body;
        extents
    }
}

/// Appends a column at the next multiple of 64 and notes where it lies in the body.
fn append(extents: &mut Extents, body: &mut Vec<u8>, kind: ColumnKind, column: &[u8]) {
    pad(body);
    let start = body.len() - HEADER_BYTES;
    body.extend_from_slice(column);
    extents.set(kind, start..start + column.len());
}

/// Checks a record against the limits of single records and returns its payload bytes.
fn check_record(record: &Record<'_>) -> Result<usize, PushError> {
    let at_most = |what, max, found| {
        if found <= max { Ok(found) } else { Err(PushError::TooLarge { what, max, found }) }
    };
    let key = at_most("the key", KEY_BYTES_MAX, record.key.map_or(0, <[u8]>::len))?;
    let value = at_most("the value", VALUE_BYTES_MAX, record.value.map_or(0, <[u8]>::len))?;
    at_most("the number of headers", HEADERS_PER_RECORD_MAX, record.headers.len())?;
    let length = |header: &(&str, Option<&[u8]>)| header.0.len() + header.1.map_or(0, <[u8]>::len);
    let headers = record.headers.iter().map(length).sum();
    at_most("the length of the headers", HEADER_BYTES_PER_RECORD_MAX, headers)?;
    Ok(key + value + headers)
}

/// Writes header and checksum of the batch whose body lies in `plain` behind room for the header,
/// and leaves it in `out`: swapped if it stays plain, compressed otherwise.
fn complete(
    mut header: BatchHeader,
    compressor: &mut Compressor,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    let body_len = |batch: &[u8]| {
        u32::try_from(batch.len() - HEADER_BYTES).expect("a body is below BATCH_BYTES_MAX")
    };
    header.uncompressed_len = body_len(plain);
    if header.codec != Codec::None {
        out.clear();
        out.resize(HEADER_BYTES, 0);
    }
    if !compressor.compress(header.codec, &plain[HEADER_BYTES..], out) {
        header.codec = Codec::None;
        std::mem::swap(plain, out);
    }
    header.body_len = body_len(out);
    header.write(out.first_chunk_mut().expect("there is room for the header"));
    header::sign(out);
    pad(out);
}

/// A body that is an Arrow IPC stream, and what the header says of it.
#[derive(Clone, Copy, Debug)]
pub struct ArrowBody<'a> {
    /// The stream. It is not looked into.
    pub ipc: &'a [u8],
    /// How it is compressed.
    pub codec: Codec,
    /// Transactional, control.
    pub flags: Flags,
    /// Rows in it.
    pub record_count: u32,
    /// Its schema.
    pub schema_id: u32,
    /// Smallest and largest create time of its rows.
    pub create_times: (Timestamp, Timestamp),
}

impl ArrowBody<'_> {
    /// Makes an unsealed batch. Copies the stream once; a codec reads the copy.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`], [`BatchError::Empty`] or [`BatchError::CreateTimes`] if the body is
    /// none, or what [`RowsBuilder::finish_into`] says of sessions.
    pub fn finish(&self, session: Option<Session>) -> Result<Vec<u8>, BatchError> {
        let (max, found) = (header::BODY_BYTES_MAX, self.ipc.len());
        let Some(len) = u32::try_from(found).ok().filter(|_| found <= max) else {
            return Err(BatchError::TooLarge { what: "body length", max, found });
        };
        let header = BatchHeader {
            header_crc: 0,
            owner: Owner::default(),
            body_crc: 0,
            codec: self.codec,
            body_kind: BodyKind::Arrow,
            flags: self.flags,
            body_len: len,
            uncompressed_len: len,
            record_count: self.record_count,
            schema_id: self.schema_id,
            base_create_time: self.create_times.0,
            max_create_time: self.create_times.1,
            session,
            gap_before: 0,
            removed: 0,
        };
        header.check_producer()?;
        let mut plain = vec![0; HEADER_BYTES];
        plain.extend_from_slice(self.ipc);
        let mut batch = Vec::new();
        complete(header, &mut Compressor::default(), &mut plain, &mut batch);
        Ok(batch)
    }
}
