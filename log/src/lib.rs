//! The log of a partition: batches, segments, indexes, recovery and the memory-only log.
#![forbid(unsafe_code)]

pub mod batch;
pub mod checkpoint;
pub mod compaction;
pub mod durability;
pub mod ids;
pub mod index;
pub mod inspect;
pub mod limits;
pub mod manifest;
pub mod mark;
pub mod merkle;
pub mod pace;
pub mod partition;
pub mod partition_file;
pub mod proof;
pub mod recovery;
pub mod recovery_file;
pub mod remote;
pub mod reserve;
pub mod restore;
pub mod retention;
pub mod segment;
pub mod segment_writer;
pub mod sessions;
pub mod tier;

#[cfg(test)]
mod golden_tests;
mod layout;
mod segment_file;
mod tail;
#[cfg(test)]
mod testing;

pub use layout::FormatError;
