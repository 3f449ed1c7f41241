//! The roots of closed segments, written beside them once a published tree has them; and which records are not those of the
//! tree, where a root differs from what the disk gives.

use std::ops::Range;
use std::path::Path;

use pyralog_runtime::buffer::Slice;
use pyralog_runtime::{IoError, file};

use super::{Tree, hash_slowly, stored};
use crate::batch::Batch;
use crate::ids::Offset;
use crate::merkle::{Node, SEGMENT_ROOT_BYTES_MAX, SegmentRoot, leaf};
use crate::partition::{Closed, TreeError};
use crate::partition_file::{Files, Partition};
use crate::recovery::Damage;
use crate::recovery::scan::Need;
use crate::segment::{FilePosition, root_name};

/// Why the root of a segment is not written.
#[derive(Debug)]
enum Unwritten {
    Tree(TreeError),
    Io(IoError),
}

/// The leaf of the batch at `position`, among the bytes that were read for `need`, with the offsets that it holds.
pub(in crate::partition_file) async fn leaf_of(
    bytes: &Slice,
    need: Need,
    position: FilePosition,
) -> Option<(Node, Range<Offset>)> {
    let at = usize::try_from(position.since(need.position)).ok()?;
    let (batch, _) = Batch::split_first(bytes.get(at..)?).ok()?;
    let offsets = batch.header().owner.base_offset..batch.header().next_offset();
    let hash = hash_slowly(stored(&batch)).await;
    Some((leaf(hash, offsets.end.since(offsets.start)), offsets))
}

/// The root beside a closed segment, if it is there and sound.
pub(in crate::partition_file) async fn read_root(
    dir: &Path,
    closed: &Closed,
) -> Option<SegmentRoot> {
    let bytes =
        file::read_small(dir.join(root_name(closed.base)), SEGMENT_ROOT_BYTES_MAX).await.ok()?;
    match SegmentRoot::decode(&bytes, closed.generation, closed.base) {
        Ok(root) if root.offsets.end == closed.end => Some(root),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(dir = %dir.display(), segment = %closed.base, %error, "root of a segment not used, made again");
            None
        }
    }
}

impl Partition {
    /// Writes the roots of the closed segments that the newest published tree holds and that have none yet. What cannot be
    /// written now is tried again after the next checkpoint: nothing depends on it.
    pub(super) async fn write_roots(&self, tree: &Tree, files: &Files) {
        let due = |from: Offset| {
            let machine = self.shell.machine.borrow();
            let mut closed = machine.closed().iter().filter(|closed| closed.base < closed.end);
            closed.find(|closed| closed.base >= from).copied()
        };
        while let Some(closed) = due(tree.rooted.get())
            && closed.end <= tree.published_end()
        {
            let is_there = self.shell.is_in_store_only(files, &closed)
                || read_root(&files.dir, &closed).await.is_some();
            let written = if is_there { Ok(()) } else { self.write_root(files, &closed).await };
            match written {
                Ok(()) => {}
                Err(Unwritten::Io(error)) => {
                    tracing::warn!(segment = %closed.base, %error, "root of a segment not written, tried again");
                    return;
                }
                // The tree says that of itself where it is asked.
                Err(Unwritten::Tree(error)) => {
                    tracing::error!(segment = %closed.base, %error, "a segment has no root");
                }
            }
            tree.rooted.set(closed.end);
        }
    }

    async fn write_root(&self, files: &Files, closed: &Closed) -> Result<(), Unwritten> {
        let root = self.segment_root(closed.base..closed.end).await.map_err(Unwritten::Tree)?;
        // Nobody removes the segment meanwhile, so no root is left without one.
        let turn = files.removing.take().await;
        if self.shell.has(closed) {
            let path = files.dir.join(root_name(closed.base));
            let bytes = root.encode(closed.generation);
            file::write_small_atomic(path, bytes).await.map_err(Unwritten::Io)?;
        }
        drop(turn);
        Ok(())
    }

    /// Whether a batch as it was read from the disk is the one in the published tree; the damage if it is not.
    ///
    /// # Errors
    /// If the tree does not prove any batch there.
    pub(in crate::partition_file) async fn altered(
        &self,
        (found, offsets): (Node, Range<Offset>),
        (segment, positions): (Offset, Range<FilePosition>),
    ) -> Result<Option<Damage>, TreeError> {
        let size = self.tree_status().and_then(|status| status.published);
        let size = size.map_or(0, |published| published.checkpoint.tree_size);
        let located = self.prove(offsets.start, size).await?;
        let is_right = located.leaf == found && located.place.offsets == offsets;
        Ok((!is_right).then_some(Damage { segment, positions, offsets }))
    }

    /// A root that differs, although every batch is that of the tree, is made again.
    pub(in crate::partition_file) async fn mend_root(&self, files: &Files, closed: &Closed) {
        match self.write_root(files, closed).await {
            Ok(()) => {
                tracing::warn!(segment = %closed.base, "the root of a segment was wrong, and made again");
            }
            Err(error) => {
                tracing::warn!(segment = %closed.base, ?error, "the root of a segment is wrong");
            }
        }
    }
}
