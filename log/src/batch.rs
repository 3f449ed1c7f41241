//! The batch: the unit of append, storage, replication, read and proof.
//!
//! A batch is a 128-byte header and a body, padded with zeros to a multiple of 64 bytes. The header
//! has two lines of 64 bytes. Line 1 and the body are the producer's, under one CRC32C that nobody
//! rewrites. Line 0 is the owner's: zero but for the magic until the partition's owner *seals* the
//! batch by filling it in place, so that sealing hashes 120 bytes and never the body. Rejected: one
//! checksum over everything, which makes the owner hash every body twice.
//!
//! ```text
//!       0        4            8             16      24            32            40           48   64
//! line 0| magic  | header_crc | base_offset | epoch | append_time | scarab_base | gap_before | 0 |
//!      64         68        69      70          71      72         76                 80
//! line 1| body_crc | version | codec | body_kind | flags | body_len | uncompressed_len |
//!      80             84          88                 96                104
//!       | record_count | schema_id | base_create_time | max_create_time |
//!     104          112              120             124 128
//!       | session_id | first_sequence | session_epoch | removed |
//! ```
//!
//! `header_crc` covers 8..128, `body_crc` covers 68..128 and the stored body. With the checks of the
//! magic and of the padding, every byte of a sealed batch is protected.
//!
//! Compaction takes records away and leaves offsets as they are. So a batch *covers* offsets from `base_offset - gap_before`
//! to `base_offset + record_count + removed`; those of the batches of a log follow each other without a hole. A producer
//! sends neither.
//!
//! Bytes, copies and passes. Building: each value byte is copied once, by [`RowsBuilder::push`], those
//! of keys and headers once more on finish; all are hashed once (a codec reads them once more).
//! Appending: [`Batch::verify_unsealed`] is one pass, [`seal`] touches two lines. Reading:
//! [`Rows`] borrows, [`ArrowRows`] shares the buffer; only a compressed body is written anew.

mod arrow_rows;
mod builder;
mod codec;
mod columns;
mod directory;
mod error;
mod header;
mod layout;
pub(crate) mod lone;
mod restamp;
mod rows;
mod stream;
mod thinner;

pub use arrow_buffer::{Buffer, MutableBuffer};

pub use arrow_rows::ArrowRows;
pub use builder::{ArrowBody, BuilderConfig, PushError, Record, RowsBuilder};
pub use codec::Decoder;
pub use error::{BatchError, ColumnFault};
pub(crate) use header::record_count;
pub use header::{
    Batch, BatchHeader, BodyKind, Codec, Flags, Owner, Session, seal, seal_behind_gap, total_len,
    verify_header,
};
pub use restamp::restamp;
pub use rows::{Headers, RecordView, Rows};
pub use stream::{Item, Items, MARK_BYTES, MARK_MAGIC, split_first};
pub use thinner::Thinner;

/// Magic at the start of a batch, as a little-endian number: `PYB1`.
pub const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"PYB1");

/// Version of the batch format.
pub const BATCH_VERSION: u8 = 1;

/// Length of a batch header.
pub const HEADER_BYTES: usize = 128;

/// Batches start at, and are padded to, multiples of this; so do the columns of a body.
pub const ALIGNMENT: usize = 64;

const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGNMENT), "bodies start aligned");
