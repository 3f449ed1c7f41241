//! Puts the tree of a partition back from nodes that somebody has kept, for a log whose records do not go back to offset 0.
//!
//! Another cluster owns it now, so the checkpoint is another one: of the same tree, made now, and it names the kept one as the
//! checkpoint before it. What was appended behind it is hashed when the log is served.

use std::path::PathBuf;

use pyralog_runtime::{file, time};

use super::nodes::{End, NodeFile};
use crate::ids::{LogId, PartitionId, Timestamp};
use crate::merkle::{Frontier, Node, ProofError, Regrowth, TREE_STATE_NAME, TreeState};
use crate::partition::{Proofs, Published};
use crate::proof::Checkpoint;
use crate::restore::RestoreError;

/// A tree that is being put back, on a core, into the directory of a partition that is not open. Dropped midway, it leaves a
/// directory that is to be thrown away.
#[derive(Debug)]
pub struct TreeRestore {
    dir: PathBuf,
    subject: (LogId, PartitionId),
    file: NodeFile,
    end: End,
    growth: Regrowth,
}

impl TreeRestore {
    /// Begins the file of nodes in the directory of a partition.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn begin(dir: PathBuf, subject: (LogId, PartitionId)) -> Result<Self, RestoreError> {
        let file = NodeFile::open(&dir, subject).await?;
        let end = file.end(0).await?;
        Ok(Self { dir, subject, file, end, growth: Regrowth::default() })
    }

    /// Takes the next nodes, in the order of their numbers.
    ///
    /// # Errors
    /// [`RestoreError::Tree`] if they are those of no tree, or the file system fails.
    pub async fn push(&mut self, nodes: &[Node]) -> Result<(), RestoreError> {
        for node in nodes {
            self.growth.take(*node).map_err(RestoreError::Tree)?;
        }
        Ok(self.file.append(&mut self.end, nodes).await?)
    }

    /// Makes a checkpoint of the tree, which must be that of `kept`. Durable when it resolves.
    ///
    /// # Errors
    /// [`RestoreError::Tree`] if the nodes lead to another root or `kept` is about another partition, or the file system fails.
    pub async fn finish(self, proofs: &Proofs, kept: &Checkpoint) -> Result<(), RestoreError> {
        let frontier = self.growth.finish().map_err(RestoreError::Tree)?;
        if frontier.root() != kept.tree() || (kept.log, kept.partition) != self.subject {
            return Err(RestoreError::Tree(ProofError::Root));
        }
        self.file.sync().await?;
        let state = state(frontier, proofs, kept);
        file::write_small_atomic(self.dir.join(TREE_STATE_NAME), state.encode()).await?;
        Ok(())
    }
}

fn state(frontier: Frontier, proofs: &Proofs, kept: &Checkpoint) -> TreeState {
    let time = Timestamp::new(time::unix_us()).max(Timestamp::new(kept.time.get() + 1));
    let checkpoint = Checkpoint { cluster: proofs.cluster, time, previous: kept.hash(), ..*kept };
    let signed = proofs.key.as_ref().map(|key| checkpoint.sign(key));
    TreeState { frontier, published: Published { checkpoint, signed } }
}
