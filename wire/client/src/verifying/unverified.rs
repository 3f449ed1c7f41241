//! Why records are not believed, and which.

use std::fmt;
use std::ops::Range;

use pyralog_log::ids::Offset;
use pyralog_log::merkle::ProofError;
use pyralog_log::proof::audit::Change;
use pyralog_log::proof::{CheckpointError, Distrust};

/// Why records are not believed. Whichever it is: stop and look.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unverified {
    /// The checkpoint is none, or its signature is false.
    Checkpoint(CheckpointError),
    /// The checkpoint is not believed: wrong key, rolled back, forked.
    Distrust(Distrust),
    /// There was a checkpoint, and there is none any more.
    Withdrawn,
    /// The records are not those of the checkpoint.
    Changed(Change),
    /// The server's proof proves nothing.
    Proof(ProofError),
    /// The server does not prove what it has stated.
    Withheld {
        /// What it says.
        why: String,
    },
    /// The tree has come no further, and will not.
    StandsStill {
        /// What the server says.
        why: String,
    },
}

impl fmt::Display for Unverified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(error) => error.fmt(formatter),
            Self::Distrust(distrust) => distrust.fmt(formatter),
            Self::Withdrawn => formatter.write_str(
                "the log was rolled back: a checkpoint covered these offsets, and now there is none",
            ),
            Self::Changed(Change::Altered) => formatter.write_str(
                "the records were altered: what the server sends is not what it has stated in its checkpoint",
            ),
            Self::Changed(Change::Dropped) => {
                formatter.write_str("records were dropped: the server sends what is around them")
            }
            Self::Changed(Change::Reordered) => {
                formatter.write_str("the records were reordered: later ones come first")
            }
            Self::Proof(error) => {
                write!(formatter, "the server's proof does not lead to its checkpoint: {error}")
            }
            Self::Withheld { why } => {
                write!(formatter, "the server does not prove what it has stated: {why}")
            }
            Self::StandsStill { why } => {
                write!(formatter, "no checkpoint will cover them, the tree stands still: {why}")
            }
        }
    }
}

impl std::error::Error for Unverified {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Checkpoint(error) => Some(error),
            Self::Distrust(distrust) => Some(distrust),
            Self::Proof(error) => Some(error),
            _ => None,
        }
    }
}

/// What is not believed, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The offsets that it concerns.
    pub offsets: Range<Offset>,
    /// What is wrong.
    pub why: Unverified,
}

impl Failure {
    pub(super) fn changed(offsets: Range<Offset>, change: Change) -> Self {
        Self { offsets, why: Unverified::Changed(change) }
    }
}
