//! The steps in the life of a log, as the files show them that they change: to die in the middle of each, and to count how
//! often that happened.

use std::fmt;
use std::path::Path;

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
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Roll, Self::Swap, Self::Manifest, Self::Tree, Self::Checkpoint];

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
