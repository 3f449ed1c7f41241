//! What a server says about Merkle trees, for threads: see [`crate::TreeState`].

use pyralog_log::ids::{Offset, PartitionId};
use pyralog_log::merkle::{ConsistencyProof, InclusionProof};

use super::Client;
use crate::error::ClientError;
use crate::tree::{TreeNodes, TreeState};

impl Client {
    /// See [`crate::Client::checkpoint`].
    ///
    /// # Errors
    /// As there.
    pub fn checkpoint(&self, log: &str, partition: PartitionId) -> Result<TreeState, ClientError> {
        self.engine.wait(self.inner.checkpoint(log, partition))
    }

    /// See [`crate::Client::prove`].
    ///
    /// # Errors
    /// As there.
    pub fn prove(
        &self,
        log: &str,
        record: (PartitionId, Offset),
        tree_size: u64,
    ) -> Result<InclusionProof, ClientError> {
        self.engine.wait(self.inner.prove(log, record, tree_size))
    }

    /// See [`crate::Client::prove_consistency`].
    ///
    /// # Errors
    /// As there.
    pub fn prove_consistency(
        &self,
        log: &str,
        partition: PartitionId,
        sizes: (u64, u64),
    ) -> Result<ConsistencyProof, ClientError> {
        self.engine.wait(self.inner.prove_consistency(log, partition, sizes))
    }

    /// See [`crate::Client::read_tree`].
    ///
    /// # Errors
    /// As there.
    pub fn read_tree(
        &self,
        log: &str,
        partition: PartitionId,
        nodes: (u64, u32),
    ) -> Result<TreeNodes, ClientError> {
        self.engine.wait(self.inner.read_tree(log, partition, nodes))
    }
}
