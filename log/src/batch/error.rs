//! What is wrong with bytes that claim to be a batch, or with a record that wants to be in one.

use std::fmt;

/// Why bytes are not a batch, or not one for this use. The fault is the sender's or the medium's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the item does.
    Truncated {
        /// Bytes the item has, as far as known.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// Bytes follow the batch where exactly one was expected.
    Trailing {
        /// Bytes the batch has.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The first four bytes are neither a batch's nor, in a stream, a mark's.
    Magic {
        /// What is there, read as a little-endian number.
        found: u32,
    },
    /// A version that this program does not know.
    Version {
        /// The version it knows.
        expected: u8,
        /// The version of the batch.
        found: u8,
    },
    /// A number that stands for no codec.
    Codec {
        /// The number.
        found: u8,
    },
    /// A number that stands for no kind of body, or for another one than this use needs.
    BodyKind {
        /// The number.
        found: u8,
    },
    /// Bits that stand for no flag.
    Flags {
        /// All flag bits.
        found: u8,
    },
    /// A byte that has to be zero is not: reserved, padding, or the owner's line of an unsealed batch.
    NotZero {
        /// Its position in the batch.
        position: usize,
    },
    /// A length or count is over its limit.
    TooLarge {
        /// Which.
        what: &'static str,
        /// Its limit.
        max: usize,
        /// The value.
        found: usize,
    },
    /// No records: a batch has at least one.
    Empty,
    /// More offsets are said to be missing before the batch than there are.
    Gap {
        /// Its first offset.
        base: u64,
        /// How many are said to be missing.
        gap: u64,
    },
    /// The body and its uncompressed form differ in length although no codec is named, or the codec
    /// produced another length than the header says.
    Length {
        /// What the header says.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// The smallest create time is above the largest.
    CreateTimes {
        /// Smallest, in microseconds.
        base: i64,
        /// Largest, in microseconds.
        max: i64,
    },
    /// Offsets or sequence numbers of the batch would pass the end of their range.
    Overflow {
        /// Which.
        what: &'static str,
        /// The first one.
        first: u64,
        /// How many.
        count: u32,
    },
    /// The batch has sequence numbers or a session epoch, but no session.
    Sessionless,
    /// The checksum of the header does not match: the header was damaged after it was sealed.
    HeaderChecksum {
        /// Checksum in the header.
        expected: u32,
        /// Checksum of the bytes.
        found: u32,
    },
    /// The checksum of the producer's line and body does not match.
    BodyChecksum {
        /// Checksum in the header.
        expected: u32,
        /// Checksum of the bytes.
        found: u32,
    },
    /// The codec refused the body, at compressing (environment) or decompressing (damage).
    CodecFailed {
        /// Name of the codec.
        codec: &'static str,
    },
    /// The directory is not a valid archive.
    Directory,
    /// A column is missing, or present without the columns it belongs to.
    Column {
        /// Which.
        column: &'static str,
        /// What is wrong with it.
        fault: ColumnFault,
    },
    /// The buffer does not start at a multiple of 64 bytes, so that Arrow cannot share it.
    Misaligned {
        /// Address of its first byte, modulo 64.
        found: usize,
    },
    /// Arrow refused the columns. Our checks are meant to be the stricter ones: a defect of ours.
    Arrow,
}

/// What is wrong with a column of a rows body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnFault {
    /// It is needed and missing, or there and must not be.
    Presence,
    /// It does not start at a multiple of 64 bytes, or overlaps what precedes it, or leaves the body.
    Place {
        /// Its first byte in the body.
        offset: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// Its length does not follow from the number of its entries.
    Length {
        /// Length in bytes that it has to have.
        expected: usize,
        /// Length in bytes that it has.
        found: usize,
    },
    /// An offset is below its predecessor, beyond the bytes it points into, or (headers' keys) not
    /// between characters.
    Offset {
        /// Index of the entry.
        index: usize,
        /// The offset.
        found: i32,
    },
    /// A null entry has bytes.
    NullWithBytes {
        /// Index of the entry.
        index: usize,
    },
    /// The text is not UTF-8.
    Utf8 {
        /// Valid bytes before the fault.
        position: usize,
    },
    /// An entry is over a limit of single records.
    TooLarge {
        /// Index of the entry.
        index: usize,
        /// The limit.
        max: usize,
        /// The value.
        found: usize,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { expected, found } => {
                write!(
                    formatter,
                    "the batch ends after {found} bytes, it needs at least {expected}"
                )
            }
            Self::Trailing { expected, found } => {
                write!(formatter, "{found} bytes where one batch of {expected} was expected")
            }
            Self::Magic { found } => write!(formatter, "not a batch: it starts with {found:#010x}"),
            Self::Version { expected, found } => {
                write!(formatter, "batch format version {found}, this program knows {expected}")
            }
            Self::Codec { found } => write!(formatter, "unknown codec {found}"),
            Self::BodyKind { found } => write!(formatter, "unexpected kind of body {found}"),
            Self::Flags { found } => write!(formatter, "unknown flags in {found:#010b}"),
            Self::NotZero { position } => {
                write!(formatter, "byte {position} of the batch has to be zero and is not")
            }
            Self::TooLarge { what, max, found } => {
                write!(formatter, "{what} is {found}, at most {max} is allowed")
            }
            Self::Empty => formatter.write_str("the batch has no records"),
            Self::Gap { base, gap } => {
                write!(formatter, "{gap} offsets are said to be missing before offset {base}")
            }
            Self::Length { expected, found } => {
                write!(formatter, "the uncompressed body has {found} bytes instead of {expected}")
            }
            Self::CreateTimes { base, max } => {
                write!(formatter, "smallest create time {base} us is above the largest, {max} us")
            }
            Self::Overflow { what, first, count } => {
                write!(formatter, "{count} {what} from {first} pass the end of their range")
            }
            Self::Sessionless => {
                formatter.write_str("sequence number or session epoch without a session")
            }
            Self::HeaderChecksum { expected, found } => {
                write!(formatter, "header checksum {found:#010x} instead of {expected:#010x}")
            }
            Self::BodyChecksum { expected, found } => {
                write!(formatter, "body checksum {found:#010x} instead of {expected:#010x}")
            }
            Self::CodecFailed { codec } => write!(formatter, "{codec} refused the body"),
            Self::Directory => formatter.write_str("the directory of the body is not valid"),
            Self::Column { column, fault } => write!(formatter, "column {column}: {fault}"),
            Self::Misaligned { found } => {
                write!(formatter, "the buffer starts {found} bytes after a multiple of 64")
            }
            Self::Arrow => formatter.write_str("Arrow refused columns that passed our checks"),
        }
    }
}

impl fmt::Display for ColumnFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Presence => formatter.write_str("missing, or there without its companions"),
            Self::Place { offset, len } => {
                write!(formatter, "{len} bytes at {offset} are misplaced")
            }
            Self::Length { expected, found } => {
                write!(formatter, "{found} bytes instead of {expected}")
            }
            Self::Offset { index, found } => write!(formatter, "offset {found} at {index}"),
            Self::NullWithBytes { index } => write!(formatter, "null entry {index} has bytes"),
            Self::Utf8 { position } => write!(formatter, "not UTF-8 after byte {position}"),
            Self::TooLarge { index, max, found } => {
                write!(formatter, "entry {index} is {found}, at most {max} is allowed")
            }
        }
    }
}

impl std::error::Error for BatchError {}
