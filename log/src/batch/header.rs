//! The 128-byte header: reading it in place, checking it, sealing it.

use super::{ALIGNMENT, BATCH_MAGIC, BATCH_VERSION, BatchError, HEADER_BYTES};
use crate::ids::{Epoch, Offset, SessionId, Timestamp};
use crate::limits::{BATCH_BYTES_MAX, RECORDS_PER_BATCH_MAX};

// Positions of the fields; the picture is in `batch`.
const HEADER_CRC: usize = 4;
const BASE_OFFSET: usize = 8;
const EPOCH: usize = 16;
const APPEND_TIME: usize = 24;
const SCARAB_BASE: usize = 32;
const GAP_BEFORE: usize = 40;
const OWNER_RESERVED: usize = 48;
const BODY_CRC: usize = 64;
const VERSION: usize = 68;
const CODEC: usize = 69;
const BODY_KIND: usize = 70;
const FLAGS: usize = 71;
const BODY_LEN: usize = 72;
const UNCOMPRESSED_LEN: usize = 76;
const RECORD_COUNT: usize = 80;
const SCHEMA_ID: usize = 84;
const BASE_CREATE_TIME: usize = 88;
const MAX_CREATE_TIME: usize = 96;
const SESSION_ID: usize = 104;
const FIRST_SEQUENCE: usize = 112;
const SESSION_EPOCH: usize = 120;
const REMOVED: usize = 124;

/// Longest body, stored or uncompressed: what a batch leaves beside its header.
pub(super) const BODY_BYTES_MAX: usize = BATCH_BYTES_MAX - HEADER_BYTES;

/// How a body is compressed. The numbers are part of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Not at all: readers share the stored bytes.
    #[default]
    None = 0,
    /// One LZ4 block, without frame or length prefix.
    Lz4 = 1,
    /// One Zstandard frame.
    Zstd = 2,
}

impl Codec {
    /// All codecs, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::None, Self::Lz4, Self::Zstd];

    /// The name used in settings and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The number used in formats.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The codec of a number used in formats, or `None` if no codec has it.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// What the body of a batch is. The numbers are part of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BodyKind {
    /// Columns of keys, values, create times and headers.
    #[default]
    Rows = 0,
    /// An Arrow IPC stream of one record batch, typed by the schema id.
    Arrow = 1,
}

impl BodyKind {
    /// The number used in formats.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind of a number used in formats, or `None` if no kind has it.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Rows),
            1 => Some(Self::Arrow),
            _ => None,
        }
    }
}

/// A set of the flags of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The records belong to a transaction: visible once it commits.
    pub const TRANSACTIONAL: Self = Self(1);
    /// The records are the log's own, not the user's.
    pub const CONTROL: Self = Self(2);

    /// The bits used in formats.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The flags of bits used in formats, or `None` if a bit stands for nothing.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits <= 3 { Some(Self(bits)) } else { None }
    }

    /// These flags and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A producer's claim to exactly-once: the record at `base_offset + i` has sequence `first_sequence + i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// The session; not zero.
    pub id: SessionId,
    /// Raised whenever the session is taken over; older ones are fenced.
    pub epoch: u32,
    /// Sequence number of the first record.
    pub first_sequence: u64,
}

/// What the owner of a partition fills in when it seals a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Epoch of the ownership under which it was appended.
    pub epoch: Epoch,
    /// When it was appended.
    pub append_time: Timestamp,
    /// First Scarab id of the records, or zero.
    pub scarab_base: u64,
}

/// All fields of a header, parsed. Invariant: they passed the structural checks of
/// [`BatchHeader::parse`]; checksums are another matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// CRC32C over bytes 8..128; zero while unsealed.
    pub header_crc: u32,
    /// The owner's fields; all zero while unsealed.
    pub owner: Owner,
    /// CRC32C over bytes 68..128 and the stored body.
    pub body_crc: u32,
    /// How the body is compressed.
    pub codec: Codec,
    /// What the body is.
    pub body_kind: BodyKind,
    /// Transactional, control.
    pub flags: Flags,
    /// Stored bytes of the body, without padding.
    pub body_len: u32,
    /// Bytes of the body once decompressed.
    pub uncompressed_len: u32,
    /// Records in the batch, at least one.
    pub record_count: u32,
    /// Schema of the values, or zero.
    pub schema_id: u32,
    /// Smallest create time of the records.
    pub base_create_time: Timestamp,
    /// Largest create time of the records.
    pub max_create_time: Timestamp,
    /// Session and sequence, if the producer has one.
    pub session: Option<Session>,
    /// Offsets directly before the first one of the batch that no record has any more: compaction took them.
    pub gap_before: u64,
    /// Offsets within the batch that no record has any more.
    pub removed: u32,
}

impl BatchHeader {
    /// Parses the header at the start of `bytes`, sealed or not, and checks its structure: every
    /// field in range, reserved bytes zero. Looks at 128 bytes, not at the body, computes no checksum.
    ///
    /// # Errors
    /// What is wrong with the first field that is; [`BatchError::Truncated`] below 128 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let line = header_of(bytes)?;
        let header = Self::read(line)?;
        header.check()?;
        Ok(header)
    }

    /// Length of the whole batch with padding, a multiple of 64.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        total_len(self.body_len)
    }

    /// Offset after the last record. Meaningful once sealed.
    ///
    /// # Panics
    /// Never for a parsed header: the range was checked.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        let count = u64::from(self.offset_count());
        self.owner.base_offset.checked_add(count).expect("the range was checked when parsing")
    }

    /// Offsets from the base to [`Self::next_offset`]: of the records that are there and of those that were removed. It is
    /// the number of records that the producer sent.
    #[must_use]
    pub const fn offset_count(&self) -> u32 {
        self.record_count + self.removed
    }

    /// Where the offsets begin that the batch accounts for: its base, or the gap before it. What batches of a log cover is
    /// dense, whatever was removed.
    ///
    /// # Panics
    /// Never for a parsed header: the range was checked.
    #[must_use]
    pub fn covered_from(&self) -> Offset {
        let from = self.owner.base_offset.get().checked_sub(self.gap_before);
        Offset::new(from.expect("the range was checked when parsing"))
    }

    /// Reads the fields and checks those that have a type of their own.
    fn read(line: &[u8; HEADER_BYTES]) -> Result<Self, BatchError> {
        let magic = u32_at(line, 0);
        if magic != BATCH_MAGIC {
            return Err(BatchError::Magic { found: magic });
        }
        if line[VERSION] != BATCH_VERSION {
            return Err(BatchError::Version { expected: BATCH_VERSION, found: line[VERSION] });
        }
        zero(line, OWNER_RESERVED, BODY_CRC)?;
        let (codec, kind, flags) = (line[CODEC], line[BODY_KIND], line[FLAGS]);
        Ok(Self {
            header_crc: u32_at(line, HEADER_CRC),
            owner: Owner {
                base_offset: Offset::new(u64_at(line, BASE_OFFSET)),
                epoch: Epoch::new(u64_at(line, EPOCH)),
                append_time: time_at(line, APPEND_TIME),
                scarab_base: u64_at(line, SCARAB_BASE),
            },
            body_crc: u32_at(line, BODY_CRC),
            codec: Codec::from_code(codec).ok_or(BatchError::Codec { found: codec })?,
            body_kind: BodyKind::from_code(kind).ok_or(BatchError::BodyKind { found: kind })?,
            flags: Flags::from_bits(flags).ok_or(BatchError::Flags { found: flags })?,
            body_len: u32_at(line, BODY_LEN),
            uncompressed_len: u32_at(line, UNCOMPRESSED_LEN),
            record_count: u32_at(line, RECORD_COUNT),
            schema_id: u32_at(line, SCHEMA_ID),
            base_create_time: time_at(line, BASE_CREATE_TIME),
            max_create_time: time_at(line, MAX_CREATE_TIME),
            session: session_at(line)?,
            gap_before: u64_at(line, GAP_BEFORE),
            removed: u32_at(line, REMOVED),
        })
    }

    /// Checks the relations between the fields.
    fn check(&self) -> Result<(), BatchError> {
        at_most("body length", self.body_len, BODY_BYTES_MAX)?;
        at_most("uncompressed body length", self.uncompressed_len, BODY_BYTES_MAX)?;
        at_most("record count", self.record_count, RECORDS_PER_BATCH_MAX)?;
        if self.record_count == 0 {
            return Err(BatchError::Empty);
        }
        let room = RECORDS_PER_BATCH_MAX - self.record_count as usize;
        at_most("number of removed records", self.removed, room)?;
        if self.removed > 0 && self.body_kind != BodyKind::Rows {
            return Err(BatchError::BodyKind { found: self.body_kind.code() });
        }
        let (base, gap) = (self.owner.base_offset.get(), self.gap_before);
        if gap > base {
            return Err(BatchError::Gap { base, gap });
        }
        if self.codec == Codec::None && self.body_len != self.uncompressed_len {
            let (expected, found) = (self.body_len as usize, self.uncompressed_len as usize);
            return Err(BatchError::Length { expected, found });
        }
        let (base, max) = (self.base_create_time.get(), self.max_create_time.get());
        if base > max {
            return Err(BatchError::CreateTimes { base, max });
        }
        self.range("offsets", self.owner.base_offset.get())?;
        self.range("sequence numbers", self.session.map_or(0, |session| session.first_sequence))
    }

    /// Checks that `offset_count` numbers from `first` do not pass the end of their range.
    fn range(&self, what: &'static str, first: u64) -> Result<(), BatchError> {
        let count = self.offset_count();
        match first.checked_add(u64::from(count)) {
            Some(_) => Ok(()),
            None => Err(BatchError::Overflow { what, first, count }),
        }
    }

    /// Checks what a producer says before there is a body, so that [`BatchHeader::write`] cannot fail.
    ///
    /// # Errors
    /// What [`BatchHeader::parse`] would refuse, and session id zero.
    pub(super) fn check_producer(&self) -> Result<(), BatchError> {
        if self.session.is_some_and(|session| session.id == SessionId::ZERO) {
            return Err(BatchError::Sessionless);
        }
        self.check()
    }

    /// Writes the producer's line and an unsealed owner's line. The checksum comes later.
    pub(super) fn write(&self, line: &mut [u8; HEADER_BYTES]) {
        assert_eq!(self.check_producer(), Ok(()), "a header that is written parses");
        *line = [0; HEADER_BYTES];
        put(line, 0, BATCH_MAGIC.to_le_bytes());
        put(line, VERSION, [BATCH_VERSION]);
        put(line, CODEC, [self.codec.code()]);
        put(line, BODY_KIND, [self.body_kind.code()]);
        put(line, FLAGS, [self.flags.bits()]);
        put(line, BODY_LEN, self.body_len.to_le_bytes());
        put(line, UNCOMPRESSED_LEN, self.uncompressed_len.to_le_bytes());
        put(line, RECORD_COUNT, self.record_count.to_le_bytes());
        put(line, SCHEMA_ID, self.schema_id.to_le_bytes());
        put(line, BASE_CREATE_TIME, self.base_create_time.get().to_le_bytes());
        put(line, MAX_CREATE_TIME, self.max_create_time.get().to_le_bytes());
        if let Some(session) = self.session {
            put(line, SESSION_ID, session.id.get().to_le_bytes());
            put(line, FIRST_SEQUENCE, session.first_sequence.to_le_bytes());
            put(line, SESSION_EPOCH, session.epoch.to_le_bytes());
        }
        put(line, REMOVED, self.removed.to_le_bytes());
    }
}

/// Length of a batch with padding, from the stored length of its body.
#[must_use]
pub const fn total_len(body_len: u32) -> usize {
    (HEADER_BYTES + body_len as usize).next_multiple_of(ALIGNMENT)
}

/// Records of the batch that begins at `batch`, which was verified.
///
/// # Panics
/// If `batch` is shorter than a header.
pub(crate) fn record_count(batch: &[u8]) -> u32 {
    let line = batch.first_chunk::<HEADER_BYTES>().expect("a batch begins with its header");
    u32_at(line, RECORD_COUNT)
}

/// Fills the owner's line of the batch at the start of `batch` in place. Touches the first 64
/// bytes, reads the second 64, hashes 120; the body may be elsewhere.
///
/// Sealing again replaces the owner: a promoted replica may do so before anyone read the batch.
///
/// # Panics
/// If `batch` is shorter than a header or does not start with the magic, or its offsets would pass
/// the end of their range: the caller verified it.
pub fn seal(batch: &mut [u8], owner: Owner) {
    seal_behind_gap(batch, owner, 0);
}

/// As [`seal`], with the number of offsets directly before the batch that no record has any more.
///
/// # Panics
/// As [`seal`], and if there are not so many offsets before it.
pub fn seal_behind_gap(batch: &mut [u8], owner: Owner, gap_before: u64) {
    assert!(
        gap_before <= owner.base_offset.get(),
        "a gap of {gap_before} before {}",
        owner.base_offset
    );
    let found = batch.len();
    let line = batch.first_chunk_mut::<HEADER_BYTES>();
    let line = line.unwrap_or_else(|| panic!("seal of {found} bytes, a header has 128"));
    assert_eq!(u32_at(line, 0), BATCH_MAGIC, "seal of something that is not a batch");
    let count = u64::from(u32_at(line, RECORD_COUNT)) + u64::from(u32_at(line, REMOVED));
    let end = owner.base_offset.checked_add(count);
    assert!(end.is_some(), "{count} records from offset {} do not fit", owner.base_offset);
    put(line, BASE_OFFSET, owner.base_offset.get().to_le_bytes());
    put(line, EPOCH, owner.epoch.get().to_le_bytes());
    put(line, APPEND_TIME, owner.append_time.get().to_le_bytes());
    put(line, SCARAB_BASE, owner.scarab_base.to_le_bytes());
    put(line, GAP_BEFORE, gap_before.to_le_bytes());
    let crc = crc32c::crc32c(&line[BASE_OFFSET..]);
    put(line, HEADER_CRC, crc.to_le_bytes());
}

/// Writes the checksum of the producer's part into a batch of which everything else is final.
/// `batch` ends where the stored body ends.
pub(super) fn sign(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[VERSION..]);
    batch[BODY_CRC..VERSION].copy_from_slice(&crc.to_le_bytes());
}

/// One batch in borrowed bytes: exactly its bytes, header checked for structure.
///
/// The accessors read single fields where they lie; nothing is copied but what they return.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    line: &'a [u8; HEADER_BYTES],
    bytes: &'a [u8],
    header: BatchHeader,
}

impl<'a> Batch<'a> {
    /// The batch that `bytes` is, from magic to the last byte of padding.
    ///
    /// # Errors
    /// As [`BatchHeader::parse`]; [`BatchError::Truncated`] or [`BatchError::Trailing`] if the
    /// length is another.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let (batch, rest) = Self::split_first(bytes)?;
        if rest.is_empty() {
            Ok(batch)
        } else {
            let (expected, found) = (batch.bytes.len(), bytes.len());
            Err(BatchError::Trailing { expected, found })
        }
    }

    /// The batch at the start of `stream` and what follows it.
    ///
    /// # Errors
    /// As [`BatchHeader::parse`]; [`BatchError::Truncated`] if the stream ends within the batch.
    pub fn split_first(stream: &'a [u8]) -> Result<(Self, &'a [u8]), BatchError> {
        let line = header_of(stream)?;
        let header = BatchHeader::parse(line)?;
        let expected = header.total_len();
        match stream.split_at_checked(expected) {
            Some((bytes, rest)) => Ok((Self { line, bytes, header }, rest)),
            None => Err(BatchError::Truncated { expected, found: stream.len() }),
        }
    }

    /// Checks a batch as it comes from a producer: the owner's line is empty, no record was removed, the
    /// padding is zero, the producer's checksum matches. One pass over the body; the rows are not opened.
    ///
    /// # Errors
    /// [`BatchError::NotZero`] or [`BatchError::BodyChecksum`].
    pub fn verify_unsealed(self) -> Result<Self, BatchError> {
        zero(self.line, HEADER_CRC, BODY_CRC)?;
        zero(self.line, REMOVED, HEADER_BYTES)?;
        self.verify_body()?;
        Ok(self)
    }

    /// Checks a batch as it comes from an owner: both checksums match, the padding is zero.
    ///
    /// # Errors
    /// [`BatchError::HeaderChecksum`], [`BatchError::BodyChecksum`] or [`BatchError::NotZero`].
    pub fn verify(self) -> Result<Self, BatchError> {
        verify_header(self.line)?;
        self.verify_body()?;
        Ok(self)
    }

    /// Checks the producer's checksum and the padding.
    fn verify_body(self) -> Result<(), BatchError> {
        let end = HEADER_BYTES + self.header.body_len as usize;
        let expected = self.header.body_crc;
        let found = crc32c::crc32c(&self.bytes[VERSION..end]);
        if found != expected {
            return Err(BatchError::BodyChecksum { expected, found });
        }
        zero(self.bytes, end, self.bytes.len())
    }

    /// The parsed header.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The header as it lies in the stream.
    #[must_use]
    pub const fn header_bytes(&self) -> &'a [u8; HEADER_BYTES] {
        self.line
    }

    /// The whole batch, padding included.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The body as stored: compressed if there is a codec, without padding.
    #[must_use]
    pub fn stored_body(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..HEADER_BYTES + self.header.body_len as usize]
    }
}

/// Checks the checksum of a sealed header, for those who have no body at hand.
///
/// # Errors
/// [`BatchError::HeaderChecksum`]; [`BatchError::Truncated`] below 128 bytes.
pub fn verify_header(bytes: &[u8]) -> Result<(), BatchError> {
    let line = header_of(bytes)?;
    let (expected, found) = (u32_at(line, HEADER_CRC), crc32c::crc32c(&line[BASE_OFFSET..]));
    if expected == found { Ok(()) } else { Err(BatchError::HeaderChecksum { expected, found }) }
}

/// The first 128 bytes.
fn header_of(bytes: &[u8]) -> Result<&[u8; HEADER_BYTES], BatchError> {
    let truncated = BatchError::Truncated { expected: HEADER_BYTES, found: bytes.len() };
    bytes.first_chunk().ok_or(truncated)
}

/// The session fields: all zero, or a session.
fn session_at(line: &[u8; HEADER_BYTES]) -> Result<Option<Session>, BatchError> {
    let session = Session {
        id: SessionId::new(u64_at(line, SESSION_ID)),
        epoch: u32_at(line, SESSION_EPOCH),
        first_sequence: u64_at(line, FIRST_SEQUENCE),
    };
    if session.id != SessionId::ZERO {
        Ok(Some(session))
    } else if session.epoch == 0 && session.first_sequence == 0 {
        Ok(None)
    } else {
        Err(BatchError::Sessionless)
    }
}

/// Refuses a length or count over its limit.
fn at_most(what: &'static str, found: u32, max: usize) -> Result<(), BatchError> {
    let found = found as usize;
    if found <= max { Ok(()) } else { Err(BatchError::TooLarge { what, max, found }) }
}

/// Refuses bytes of `start..end` that are not zero.
fn zero(bytes: &[u8], start: usize, end: usize) -> Result<(), BatchError> {
    match bytes[start..end].iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(index) => Err(BatchError::NotZero { position: start + index }),
    }
}

/// The `u32` at `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

/// The `u64` at `at`.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

/// The moment at `at`.
fn time_at(bytes: &[u8], at: usize) -> Timestamp {
    Timestamp::new(u64_at(bytes, at).cast_signed())
}

/// Writes `raw` at `at`.
fn put<const LEN: usize>(line: &mut [u8; HEADER_BYTES], at: usize, raw: [u8; LEN]) {
    line[at..at + LEN].copy_from_slice(&raw);
}
