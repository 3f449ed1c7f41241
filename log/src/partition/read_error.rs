//! Why records could not be read.

use std::fmt;
use std::ops::Range;

use pyralog_runtime::{IoError, IoErrorKind};

use crate::ids::Offset;
use crate::remote::RemoteError;

/// Why a read returns nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The offset is below the first record or above the last that readers see.
    OutOfRange {
        /// First offset that can be read.
        low: Offset,
        /// Offset after the last one.
        high: Offset,
    },
    /// The records are damaged on disk. Reading on at the end of the range works.
    Damaged {
        /// The damaged records.
        offsets: Range<Offset>,
    },
    /// The file could not be read.
    Io(IoError),
    /// The records are in the object store, and it did not give them. Local records can be read.
    Remote(RemoteError),
    /// The records are in the object store, and the server has none.
    NoTier,
    /// The partition has no index of keys.
    NoKeyIndex,
    /// The partition is closed.
    Closed,
}

impl ReadError {
    /// Whether it is the file that is not what it was: what has the records elsewhere may give them.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io(error) => matches!(error.kind(), IoErrorKind::Device | IoErrorKind::NotFound),
            _ => false,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { low, high } => {
                write!(formatter, "offset out of range: readable are {low} to below {high}")
            }
            Self::Damaged { offsets } => write!(
                formatter,
                "the records {} to below {} are damaged on disk",
                offsets.start, offsets.end
            ),
            Self::Io(error) => error.fmt(formatter),
            Self::Remote(error) => error.fmt(formatter),
            Self::NoTier => formatter.write_str(
                "the records are in an object store: start the server with tier.url, as it was when they went there",
            ),
            Self::NoKeyIndex => formatter.write_str("the partition has no index of keys"),
            Self::Closed => formatter.write_str("the partition is closed"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Remote(error) => Some(error),
            _ => None,
        }
    }
}

impl From<RemoteError> for ReadError {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

impl From<IoError> for ReadError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}
