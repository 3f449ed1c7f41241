//! The steps in the life of a log, as the files and calls show them that they make: to die in the middle of each, and to count how
//! often that happened.

use std::fmt;
use std::path::Path;

use pyralog_log::remote::Operation;

/// A step, named after what it changes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// A new segment is made.
    Roll,
    /// A segment is written that is to take the place of others.
    Swap,
    /// The manifest says what is gone, swapped or in the object store; what it says is gone goes next.
    Manifest,
    /// Nodes of the Merkle tree are appended.
    Tree,
    /// A checkpoint of the tree is kept, before anybody hears of it.
    Checkpoint,
    /// A segment is sent to the object store, finished there and looked at.
    Upload,
    /// An object is deleted.
    Deletion,
    /// Objects are listed, to find those that no manifest names.
    Sweep,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Roll,
        Self::Swap,
        Self::Manifest,
        Self::Tree,
        Self::Checkpoint,
        Self::Upload,
        Self::Deletion,
        Self::Sweep,
    ];

    /// Whether it happens in the object store, not on the disk.
    #[must_use]
    pub const fn is_remote(self) -> bool {
        matches!(self, Self::Upload | Self::Deletion | Self::Sweep)
    }

    /// The step that a call to the object store belongs to, if it changes anything or leads to it.
    #[must_use]
    pub const fn of_call(operation: Operation) -> Option<Self> {
        match operation {
            Operation::Put
            | Operation::Write
            | Operation::Finish
            | Operation::Abort
            | Operation::Length => Some(Self::Upload),
            Operation::Delete => Some(Self::Deletion),
            Operation::List => Some(Self::Sweep),
            Operation::Get => None,
        }
    }

    /// The step that changes a file, if there is one.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let stem = name.split('.').next().unwrap_or(name);
        match (name, stem) {
            ("next.tmp", _) => Some(Self::Roll),
            ("swap.tmp", _) => Some(Self::Swap),
            (_, "manifest") => Some(Self::Manifest),
            ("tree", _) => Some(Self::Tree),
            _ if name.starts_with("tree.state") => Some(Self::Checkpoint),
            _ => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Roll => "roll",
            Self::Swap => "swap",
            Self::Manifest => "manifest",
            Self::Tree => "tree",
            Self::Checkpoint => "checkpoint",
            Self::Upload => "upload",
            Self::Deletion => "deletion",
            Self::Sweep => "sweep",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_known_by_the_file_that_it_changes() {
        let of = |path: &str| Step::of(Path::new(path));
        assert_eq!(of("/data/logs/7/2/next.tmp"), Some(Step::Roll));
        assert_eq!(of("/data/logs/7/2/manifest.tmp"), Some(Step::Manifest));
        assert_eq!(of("/data/logs/7/2/swap.tmp"), Some(Step::Swap));
        assert_eq!(of("/data/logs/7/2/tree"), Some(Step::Tree));
        assert_eq!(of("/data/logs/7/2/tree.state.00ff.tmp"), Some(Step::Checkpoint));
        assert_eq!(of("/data/logs/7/2/00000000000000000000.seg"), None);
    }
}
