//! Why the front of a log stays where it is.

use std::fmt;

use pyralog_runtime::IoError;

use super::{AppendError, TreeFault};
use crate::ids::Offset;

/// Why the front of a log stays where it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum TruncateError {
    /// Readers do not see that far.
    OutOfRange {
        /// First offset that can be read.
        low: Offset,
        /// Offset after the last one: the furthest that a log can be truncated to.
        high: Offset,
    },
    /// What would go is not on stable storage and cannot be brought there.
    Unsynced(AppendError),
    /// What would go is in no published tree, and the tree stands still.
    Unproven(TreeFault),
    /// The manifest could not be written, or files not removed; these go at the next opening.
    Io(IoError),
}

impl fmt::Display for TruncateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { low, high } => write!(
                formatter,
                "the log cannot begin there: readable are {low} to below {high}, and {high} is the furthest"
            ),
            Self::Unsynced(error) => error.fmt(formatter),
            Self::Unproven(fault) => write!(
                formatter,
                "nothing is removed from a log whose proofs are in doubt: {fault}"
            ),
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for TruncateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unsynced(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::OutOfRange { .. } | Self::Unproven(_) => None,
        }
    }
}

impl From<IoError> for TruncateError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}
