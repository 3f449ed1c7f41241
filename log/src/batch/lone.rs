//! One record of a body of which only parts may be known: reads no byte that the record does not need.
//!
//! Who discloses a record and who verifies the disclosure run the same code, over the whole body and over what was disclosed.
//! So the parts that are asked for here are by construction the parts that the other side needs.

use std::fmt;
use std::ops::Range;

use super::directory::{ColumnKind, Extents, LENGTH_BYTES};
use super::header::u32_at;
use super::layout::{BinaryKinds, HEADER_VALUES, HEADERS, KEYS, VALUES, bit};
use super::{BatchError, BatchHeader, BodyKind, Codec, ColumnFault};
use crate::ids::Timestamp;
use crate::limits::{
    DIRECTORY_BYTES_MAX, HEADER_BYTES_PER_RECORD_MAX, HEADERS_PER_RECORD_MAX, KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
};

/// Reads a range of the body, or `None` if it is not known.
pub(crate) type Reader<'r, 'a> = &'r mut dyn FnMut(Range<usize>) -> Option<&'a [u8]>;

/// Keys and values of headers.
type LoneHeaders<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

/// A record that was read by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoneRecord<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) create_time: Timestamp,
    pub(crate) headers: LoneHeaders<'a>,
}

/// Why a record cannot be read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoneError {
    /// What is known of the body is not a body.
    Batch(BatchError),
    /// A part that is needed is not known.
    Hidden,
}

impl From<BatchError> for LoneError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

impl fmt::Display for LoneError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(error) => error.fmt(formatter),
            Self::Hidden => formatter.write_str("a part of the record is not disclosed"),
        }
    }
}

/// Record `index` of the uncompressed rows body of the batch with this header.
///
/// # Errors
/// If a part is missing, or what there is is not a body.
///
/// # Panics
/// If the batch has not so many records, or is compressed: then there is no part of it to read.
pub(crate) fn read<'a>(
    header: &BatchHeader,
    index: usize,
    body: Reader<'_, 'a>,
) -> Result<LoneRecord<'a>, LoneError> {
    assert!(
        index < header.record_count as usize && header.codec == Codec::None,
        "record {index} of {header:?}"
    );
    if header.body_kind != BodyKind::Rows {
        return Err(BatchError::BodyKind { found: header.body_kind.code() }.into());
    }
    let extents = directory(header, body)?;
    let mut parts = Parts { extents, records: header.record_count as usize, body };
    let value = parts.binary(VALUES, (index, parts.records), VALUE_BYTES_MAX)?;
    let mut key = None;
    if parts.any(&[KEYS.bytes, KEYS.offsets, KEYS.validity]) {
        key = parts.binary(KEYS, (index, parts.records), KEY_BYTES_MAX)?;
    }
    let headers = if parts.any(&HEADERS) { parts.headers(index)? } else { Vec::new() };
    let delta = parts.create_time(index)?;
    if u64::from(delta) > header.max_create_time.since_us(header.base_create_time) {
        let fault = ColumnFault::TooLarge { index, max: 0, found: delta as usize };
        return Err(ColumnKind::CreateTimes.fault(fault).into());
    }
    let create_time = header.base_create_time.checked_add_us(delta.into());
    Ok(LoneRecord {
        key,
        value,
        create_time: create_time.expect("it is at most the largest"),
        headers,
    })
}

/// The directory of the body.
fn directory(header: &BatchHeader, body: Reader<'_, '_>) -> Result<Extents, LoneError> {
    let end = header.uncompressed_len as usize;
    let truncated = |expected| BatchError::Truncated { expected, found: end };
    if end < LENGTH_BYTES {
        return Err(truncated(LENGTH_BYTES).into());
    }
    let len = u32_at(body(0..LENGTH_BYTES).ok_or(LoneError::Hidden)?, 0) as usize;
    if len > DIRECTORY_BYTES_MAX || LENGTH_BYTES + len > end {
        return Err(truncated(LENGTH_BYTES + len).into());
    }
    let archive = body(LENGTH_BYTES..LENGTH_BYTES + len).ok_or(LoneError::Hidden)?;
    Ok(Extents::read_archive(archive, end)?)
}

/// A body, read where it is needed.
struct Parts<'r, 'a> {
    extents: Extents,
    records: usize,
    body: Reader<'r, 'a>,
}

impl<'a> Parts<'_, 'a> {
    /// Whether any of the columns is there.
    fn any(&self, kinds: &[ColumnKind]) -> bool {
        kinds.iter().any(|kind| self.extents.get(*kind).is_some())
    }

    /// `range` of a column of `len` bytes.
    fn part(
        &mut self,
        kind: ColumnKind,
        len: usize,
        range: Range<usize>,
    ) -> Result<&'a [u8], LoneError> {
        let place = self.extents.need(kind)?;
        if place.len() != len {
            let (expected, found) = (len, place.len());
            return Err(kind.fault(ColumnFault::Length { expected, found }).into());
        }
        self.within(&place, range)
    }

    /// `range` of what lies at `place`, which holds it.
    fn within(&mut self, place: &Range<usize>, range: Range<usize>) -> Result<&'a [u8], LoneError> {
        if range.is_empty() {
            return Ok(&[]);
        }
        (self.body)(place.start + range.start..place.start + range.end).ok_or(LoneError::Hidden)
    }

    /// Entry `index` of a column of offsets of `entries` entries: a range of at most `max` within what `end` bounds.
    fn span(
        &mut self,
        kind: ColumnKind,
        (index, entries): (usize, usize),
        (end, max): (usize, usize),
    ) -> Result<Range<usize>, LoneError> {
        let pair = self.part(kind, (entries + 1) * 4, index * 4..index * 4 + 8)?;
        let at = |at| usize::try_from(u32_at(pair, at)).unwrap_or(usize::MAX);
        let (start, stop) = (at(0), at(4));
        let sound = start <= stop
            && stop <= end
            && (index != 0 || start == 0)
            && (index + 1 != entries || stop == end);
        if !sound {
            let found = u32_at(pair, 4).cast_signed();
            return Err(kind.fault(ColumnFault::Offset { index, found }).into());
        }
        if stop - start > max {
            let found = stop - start;
            return Err(kind.fault(ColumnFault::TooLarge { index, max, found }).into());
        }
        Ok(start..stop)
    }

    /// Entry `index` of a binary column of `entries` entries, or `None` if it is null.
    fn binary(
        &mut self,
        kinds: BinaryKinds,
        (index, entries): (usize, usize),
        max: usize,
    ) -> Result<Option<&'a [u8]>, LoneError> {
        let bytes = self.extents.need(kinds.bytes)?;
        let span = self.span(kinds.offsets, (index, entries), (bytes.len(), max))?;
        if self.extents.get(kinds.validity).is_some() {
            let byte = self.part(kinds.validity, entries.div_ceil(8), index / 8..index / 8 + 1)?;
            if !bit(byte, index % 8) {
                let fault = kinds.validity.fault(ColumnFault::NullWithBytes { index });
                return if span.is_empty() { Ok(None) } else { Err(fault.into()) };
            }
        }
        self.within(&bytes, span).map(Some)
    }

    /// The headers of record `index`.
    fn headers(&mut self, index: usize) -> Result<LoneHeaders<'a>, LoneError> {
        let kind = ColumnKind::HeaderKeyOffsets;
        let found = self.extents.need(kind)?.len();
        let entries = (found / 4).checked_sub(1);
        let entries = entries.ok_or(kind.fault(ColumnFault::Length { expected: 4, found }))?;
        let bounds = (entries, HEADERS_PER_RECORD_MAX);
        let range = self.span(ColumnKind::HeaderOffsets, (index, self.records), bounds)?;
        let mut headers = Vec::with_capacity(range.len());
        for entry in range {
            let key = self.header_key((entry, entries))?;
            headers.push((
                key,
                self.binary(HEADER_VALUES, (entry, entries), HEADER_BYTES_PER_RECORD_MAX)?,
            ));
        }
        Ok(headers)
    }

    /// Key `entry` of the headers.
    fn header_key(&mut self, place: (usize, usize)) -> Result<&'a str, LoneError> {
        let kind = ColumnKind::HeaderKeyBytes;
        let bytes = self.extents.need(kind)?;
        let span = self.span(
            ColumnKind::HeaderKeyOffsets,
            place,
            (bytes.len(), HEADER_BYTES_PER_RECORD_MAX),
        )?;
        let position = span.start;
        std::str::from_utf8(self.within(&bytes, span)?)
            .map_err(|_| kind.fault(ColumnFault::Utf8 { position }).into())
    }

    /// Microseconds from the smallest create time to that of record `index`.
    fn create_time(&mut self, index: usize) -> Result<u32, LoneError> {
        let kind = ColumnKind::CreateTimes;
        if self.extents.get(kind).is_none() {
            return Ok(0);
        }
        let delta = self.part(kind, self.records * 4, index * 4..index * 4 + 4)?;
        Ok(u32_at(delta, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BuilderConfig, Decoder, HEADER_BYTES, Record, RowsBuilder};

    #[test]
    fn a_record_by_itself_is_the_record_among_others() {
        let mut dice = fastrand::Rng::with_seed(5);
        for round in 0..300_u32 {
            let mut builder = RowsBuilder::new(BuilderConfig::default());
            let count = dice.usize(1..40);
            for _ in 0..count {
                let text = vec![b'x'; dice.usize(..300)];
                let value = (dice.u8(..5) > 0).then_some(&text[..]);
                let key = (round % 3 > 0 && dice.bool()).then_some(&text[..text.len() / 2]);
                let headers = [("a", Some(&b"1"[..])), ("höhe", None), ("", Some(&text[..]))];
                let headers = &headers[..if round % 2 == 0 { dice.usize(..=3) } else { 0 }];
                let create_time = Timestamp::new(1000 + dice.i64(0..=i64::from(round)));
                builder.push(&Record { key, value, create_time, headers }).unwrap();
            }
            let bytes = builder.finish(None).unwrap();
            let batch = crate::batch::Batch::parse(&bytes).unwrap();
            let mut decoder = Decoder::new();
            let rows = decoder.rows(&batch).unwrap();
            for (index, row) in rows.iter().enumerate() {
                let mut whole = |range: Range<usize>| bytes[HEADER_BYTES..].get(range);
                let lone = read(batch.header(), index, &mut whole).unwrap();
                assert_eq!(
                    (lone.key, lone.value, lone.create_time),
                    (row.key, row.value, row.create_time)
                );
                assert_eq!(lone.headers, row.headers.iter().collect::<Vec<_>>());
            }
        }
    }
}
