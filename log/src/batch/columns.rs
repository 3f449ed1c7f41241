//! Growing columns: the buffers that a builder fills and reuses.

use super::ALIGNMENT;
use super::directory::ColumnKind;
use super::layout::BinaryKinds;
use crate::ids::Timestamp;

/// A validity bitmap that exists only once an entry is null. Least significant bit first.
#[derive(Default)]
pub(super) struct Bitmap {
    bits: Vec<u8>,
    len: usize,
    nulls: bool,
}

impl Bitmap {
    /// Adds an entry.
    pub(super) fn push(&mut self, valid: bool) {
        if !valid && !self.nulls {
            self.nulls = true;
            self.bits.resize(self.len / 8, u8::MAX);
            if !self.len.is_multiple_of(8) {
                self.bits.push((1 << (self.len % 8)) - 1);
            }
        }
        if self.nulls {
            if self.len.is_multiple_of(8) {
                self.bits.push(0);
            }
            let last = self.bits.last_mut().expect("a byte was pushed for the first of eight");
            *last |= u8::from(valid) << (self.len % 8);
        }
        self.len += 1;
    }

    /// Makes the first `len` entries null, before any other is pushed.
    fn backfill(&mut self, len: usize) {
        assert_eq!(self.len, 0, "backfill comes first");
        self.nulls = len > 0;
        self.bits.resize(len.div_ceil(8), 0);
        self.len = len;
    }

    /// The bits, or `None` if no entry is null.
    pub(super) fn bits(&self) -> Option<&[u8]> {
        self.nulls.then_some(&self.bits)
    }

    /// Forgets all entries.
    fn clear(&mut self) {
        self.bits.clear();
        self.len = 0;
        self.nulls = false;
    }
}

/// A binary column: bytes, offsets into them and validity.
#[derive(Default)]
pub(super) struct BinaryColumn {
    pub(super) bytes: Vec<u8>,
    /// Little-endian `i32`, one more than entries.
    pub(super) offsets: Vec<u8>,
    pub(super) validity: Bitmap,
    /// Where in `bytes` the first entry starts.
    start: usize,
}

impl BinaryColumn {
    /// Adds an entry; a null one has no bytes.
    pub(super) fn push(&mut self, entry: Option<&[u8]>) {
        self.bytes.extend_from_slice(entry.unwrap_or_default());
        push_i32(&mut self.offsets, self.bytes.len() - self.start);
        self.validity.push(entry.is_some());
    }

    /// Adds `len` null entries before any other.
    pub(super) fn backfill(&mut self, len: usize) {
        self.validity.backfill(len);
        self.offsets.resize((len + 1) * 4, 0);
    }

    /// Forgets offsets and validity; entries will start at `start` of the bytes.
    pub(super) fn restart(&mut self, start: usize) {
        self.start = start;
        self.offsets.clear();
        push_i32(&mut self.offsets, 0);
        self.validity.clear();
    }

    /// Forgets all entries.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.restart(0);
    }

    /// Passes bytes, offsets and, if there is a null, validity to `append`.
    pub(super) fn each(&self, kinds: BinaryKinds, append: &mut impl FnMut(ColumnKind, &[u8])) {
        append(kinds.bytes, &self.bytes);
        append(kinds.offsets, &self.offsets);
        if let Some(bits) = self.validity.bits() {
            append(kinds.validity, bits);
        }
    }
}

/// The columns of headers: a map from keys to values per record.
#[derive(Default)]
pub(super) struct HeaderColumns {
    /// Little-endian `i32` per record and one more, counting headers.
    pub(super) offsets: Vec<u8>,
    pub(super) keys: BinaryColumn,
    pub(super) values: BinaryColumn,
    count: usize,
}

impl HeaderColumns {
    /// Adds the headers of a record.
    pub(super) fn push(&mut self, headers: &[(&str, Option<&[u8]>)]) {
        for (key, value) in headers {
            self.keys.push(Some(key.as_bytes()));
            self.values.push(*value);
        }
        self.count += headers.len();
        push_i32(&mut self.offsets, self.count);
    }

    /// Adds `len` records without headers before any other.
    pub(super) fn backfill(&mut self, len: usize) {
        self.offsets.resize((len + 1) * 4, 0);
    }

    /// Forgets all records.
    pub(super) fn clear(&mut self) {
        self.offsets.clear();
        push_i32(&mut self.offsets, 0);
        self.keys.clear();
        self.values.clear();
        self.count = 0;
    }
}

/// Smallest and largest of the create times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) min: Timestamp,
    pub(super) max: Timestamp,
}

impl Span {
    /// This span, widened to contain `time`.
    fn with(self, time: Timestamp) -> Self {
        Self { min: self.min.min(time), max: self.max.max(time) }
    }
}

/// The column of create times.
///
/// Deltas are kept relative to the first time modulo 2^32. Since the whole span is below 2^32 us,
/// subtracting the (modular) distance of the smallest gives the true deltas, and there is nothing
/// to subtract if times do not fall below the first.
#[derive(Default)]
pub(super) struct CreateTimes {
    /// Little-endian `u32` per record.
    deltas: Vec<u8>,
    first: Timestamp,
    pub(super) span: Option<Span>,
}

impl CreateTimes {
    /// Whether the span with `time` stays below 2^32 us.
    pub(super) fn takes(&self, time: Timestamp) -> bool {
        let with = self.span.map_or(Span { min: time, max: time }, |span| span.with(time));
        u32::try_from(with.max.since_us(with.min)).is_ok()
    }

    /// Adds a time.
    pub(super) fn push(&mut self, time: Timestamp) {
        debug_assert!(self.takes(time), "the caller asked");
        if self.span.is_none() {
            self.first = time;
        }
        let span = self.span.unwrap_or(Span { min: time, max: time });
        self.span = Some(span.with(time));
        self.deltas.extend_from_slice(&modular(time, self.first).to_le_bytes());
    }

    /// The deltas to the smallest time, or `None` if all times are one.
    pub(super) fn deltas(&mut self) -> Option<&[u8]> {
        let span = self.span.filter(|span| span.min != span.max)?;
        let shift = modular(span.min, self.first);
        if shift != 0 {
            for delta in self.deltas.as_chunks_mut::<4>().0 {
                *delta = u32::from_le_bytes(*delta).wrapping_sub(shift).to_le_bytes();
            }
            self.first = span.min;
        }
        Some(&self.deltas)
    }

    /// Forgets all times.
    pub(super) fn clear(&mut self) {
        self.deltas.clear();
        self.span = None;
    }
}

/// Distance of two times modulo 2^32.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "modulo 2^32 is meant")]
const fn modular(time: Timestamp, first: Timestamp) -> u32 {
    time.get().wrapping_sub(first.get()) as u32
}

/// Appends an offset.
///
/// # Panics
/// If it is above `i32::MAX`: batches are limited far below.
pub(super) fn push_i32(offsets: &mut Vec<u8>, offset: usize) {
    let offset = i32::try_from(offset).expect("offsets are below BATCH_BYTES_MAX");
    offsets.extend_from_slice(&offset.to_le_bytes());
}

/// Appends zeros up to a multiple of 64.
pub(super) fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}
