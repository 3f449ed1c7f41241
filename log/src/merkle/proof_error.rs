//! Why a proof is not accepted.

use std::fmt;

use crate::ids::Offset;

/// Why a proof is not accepted. Whichever it is, what it was to prove is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProofError {
    /// The bytes end too early or too late, or announce more steps than any tree has.
    Malformed,
    /// The tree holds no record with that offset.
    Beyond {
        /// What was asked for.
        offset: Offset,
        /// The offset after the last record of the tree.
        end: Offset,
    },
    /// It has more or fewer steps than the way in a tree of that size.
    Steps {
        /// How many it has.
        found: usize,
    },
    /// Record counts that no tree of that size has.
    Counts,
    /// The first tree is larger than the second, or there is no tree of that size.
    Size,
    /// The hashes lead to another root.
    Root,
}

impl fmt::Display for ProofError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => formatter.write_str("the proof has another length than its steps"),
            Self::Beyond { offset, end } => {
                write!(formatter, "the tree ends before offset {end}, and {offset} is not in it")
            }
            Self::Steps { found } => {
                write!(formatter, "a tree of that size has no way of {found} steps there")
            }
            Self::Counts => formatter.write_str("the record counts do not fit the tree"),
            Self::Size => formatter.write_str("the sizes of the trees are impossible"),
            Self::Root => formatter.write_str("the hashes lead to another root"),
        }
    }
}

impl std::error::Error for ProofError {}
