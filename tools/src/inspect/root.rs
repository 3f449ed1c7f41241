//! The root beside a segment, against the records that were read.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use pyralog_log::batch::BatchHeader;
use pyralog_log::ids::Offset;
use pyralog_log::limits::DAMAGES_MAX;
use pyralog_log::merkle::{
    NODE_BYTES, NODES_START, Node, NodeId, SegmentFold, SegmentRoot, TREE_NAME, batch_hash, leaf,
};
use pyralog_log::recovery::Damage;
use pyralog_log::segment::{FilePosition, SegmentHeader, root_name};

use super::files::small;
use crate::exit::Failure;

/// What the root beside a segment is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RootReport {
    /// The log has no proofs, or no published tree holds the segment yet.
    Missing,
    /// It is sound; the records were not read, or not all of them can be.
    Unread(SegmentRoot),
    /// The records are those that it was made of.
    Right(SegmentRoot),
    /// They are not, and of these batches the tree has others.
    Differs(SegmentRoot, Vec<Damage>),
    /// It is made again by the server, and why.
    Unusable(String),
}

impl RootReport {
    /// Reads it.
    pub(super) fn read(
        dir: &Path,
        base: Offset,
        header: Option<&SegmentHeader>,
    ) -> Result<Self, Failure> {
        let Some(bytes) = small(&dir.join(root_name(base)))? else { return Ok(Self::Missing) };
        let generation = header.map_or(0, |header| header.generation);
        Ok(match SegmentRoot::decode(&bytes, generation, base) {
            Ok(root) => Self::Unread(root),
            Err(error) => Self::Unusable(error.to_string()),
        })
    }

    /// The root, if it is sound.
    pub(super) const fn sound(&self) -> Option<&SegmentRoot> {
        match self {
            Self::Unread(root) | Self::Right(root) | Self::Differs(root, _) => Some(root),
            Self::Missing | Self::Unusable(_) => None,
        }
    }

    /// The batches that are not those of the tree.
    pub(super) fn altered(&self) -> &[Damage] {
        if let Self::Differs(_, altered) = self { altered } else { &[] }
    }
}

/// Makes the root of a segment again while it is read.
#[derive(Debug)]
pub(super) struct Rehash {
    root: SegmentRoot,
    fold: SegmentFold,
    /// The nodes of the partition, if they are there.
    nodes: Option<File>,
    altered: Vec<Damage>,
}

impl Rehash {
    /// For a segment in `dir` with this root.
    pub(super) fn new(dir: &Path, root: &SegmentRoot) -> Self {
        let fold = SegmentFold::new(root.batches.start);
        let nodes = OpenOptions::new().read(true).open(dir.join(TREE_NAME)).ok();
        Self { root: root.clone(), fold, nodes, altered: Vec::new() }
    }

    /// Takes the next batch, which lies at `position`.
    pub(super) fn take(&mut self, header: &BatchHeader, position: FilePosition, batch: &[u8]) {
        let Some(hash) = batch_hash(batch) else { return };
        let offsets = header.owner.base_offset..header.next_offset();
        let found = leaf(hash, offsets.end.since(offsets.start));
        let expected = self.node(NodeId::leaf(self.fold.next()));
        if expected.is_some_and(|expected| expected != found) && self.altered.len() < DAMAGES_MAX {
            let positions = position..position.plus(header.total_len() as u64);
            self.altered.push(Damage { segment: self.root.offsets.start, positions, offsets });
        }
        self.fold.push(found);
    }

    /// What the tree has there.
    fn node(&self, id: NodeId) -> Option<Node> {
        let mut bytes = [0; NODE_BYTES];
        let at = NODES_START + id.number() * NODE_BYTES as u64;
        self.nodes.as_ref()?.read_exact_at(&mut bytes, at).ok()?;
        Some(Node::decode(&bytes))
    }

    /// What came of it, if all of `offsets` was read.
    pub(super) fn finish(self, offsets: &Range<Offset>) -> RootReport {
        if *offsets != self.root.offsets {
            return RootReport::Unread(self.root);
        }
        let made = (self.fold.node(), self.fold.next());
        if made == (self.root.node, self.root.batches.end) {
            RootReport::Right(self.root)
        } else {
            RootReport::Differs(self.root, self.altered)
        }
    }
}
