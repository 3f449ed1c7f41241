//! What a server says about the Merkle tree of a partition: checkpoints, proofs, nodes. Signatures are checked where they are
//! read; what a proof proves its reader finds out with its own hashes.

use pyralog_log::ids::{Offset, PartitionId};
use pyralog_log::merkle::{ConsistencyProof, InclusionProof, NODE_BYTES, Node};
use pyralog_log::proof::{Checkpoint, SignedCheckpoint, Stated};
use pyralog_wire::Request;
use pyralog_wire::message::{
    GetCheckpoint, LogRoute, ProveConsistency, ProveRecord, ReadTree, Response,
};

use crate::client::{Client, Repeat, named, partition_of};
use crate::error::ClientError;

/// How far the tree of a partition has come, as the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeState {
    /// The newest checkpoint, if there is one.
    pub checkpoint: Option<Checkpoint>,
    /// The same with its signature, which holds for the key that it names, if the log is `signed`.
    pub signed: Option<SignedCheckpoint>,
    /// Offset after the last record that was hashed.
    pub hashed: Offset,
    /// Records on stable storage that were not hashed yet.
    pub lag_records: u64,
    /// Why the tree stands still, if it does.
    pub fault: Option<String>,
}

/// Nodes of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeNodes {
    /// In the order of their numbers.
    pub nodes: Vec<Node>,
    /// Batches of the newest checkpoint.
    pub tree_size: u64,
}

impl Client {
    /// The newest checkpoint of a partition, and how far its tree has come.
    ///
    /// # Errors
    /// [`ClientError::UnknownLog`], [`ClientError::Partition`], `NotProvable` if the log has no proofs, or what any call can
    /// meet.
    pub async fn checkpoint(
        &self,
        log: &str,
        partition: PartitionId,
    ) -> Result<TreeState, ClientError> {
        let ask = |route: &LogRoute| GetCheckpoint { log: route.id, partition }.into();
        match self.ask_tree(log, partition, ask).await? {
            (Response::GetCheckpoint(got), _) => {
                let (checkpoint, signed) = read_checkpoint(&got.checkpoint)?;
                Ok(TreeState {
                    checkpoint,
                    signed,
                    hashed: got.hashed,
                    lag_records: got.lag_records,
                    fault: Some(got.fault).filter(|fault| !fault.is_empty()),
                })
            }
            _ => Err(ClientError::Unexpected { expected: "a checkpoint" }),
        }
    }

    /// A proof that some batch holds `offset` in the tree of `tree_size` batches. It is not checked here.
    ///
    /// # Errors
    /// As [`Client::checkpoint`], and `NotInTree` if no such tree was published or it ends before the offset.
    pub async fn prove(
        &self,
        log: &str,
        (partition, offset): (PartitionId, Offset),
        tree_size: u64,
    ) -> Result<InclusionProof, ClientError> {
        let ask =
            |route: &LogRoute| ProveRecord { log: route.id, partition, offset, tree_size }.into();
        let wrong = ClientError::Unexpected { expected: "an inclusion proof" };
        match self.ask_tree(log, partition, ask).await? {
            (Response::ProveRecord(proven), _) => {
                InclusionProof::decode(&proven.proof).map_err(|_| wrong)
            }
            _ => Err(wrong),
        }
    }

    /// A proof that the tree of `first` batches is the beginning of that of `second`. It is not checked here.
    ///
    /// # Errors
    /// As [`Client::prove`].
    pub async fn prove_consistency(
        &self,
        log: &str,
        partition: PartitionId,
        (first, second): (u64, u64),
    ) -> Result<ConsistencyProof, ClientError> {
        let ask =
            |route: &LogRoute| ProveConsistency { log: route.id, partition, first, second }.into();
        let wrong = ClientError::Unexpected { expected: "a consistency proof" };
        match self.ask_tree(log, partition, ask).await? {
            (Response::ProveConsistency(proven), _) => {
                ConsistencyProof::decode(&proven.proof).map_err(|_| wrong)
            }
            _ => Err(wrong),
        }
    }

    /// Nodes of the tree of a partition, from a number on: at most `count`, fewer at the end of the newest checkpoint's.
    ///
    /// # Errors
    /// As [`Client::checkpoint`].
    pub async fn read_tree(
        &self,
        log: &str,
        partition: PartitionId,
        (from_node, count): (u64, u32),
    ) -> Result<TreeNodes, ClientError> {
        let ask = |route: &LogRoute| ReadTree { log: route.id, partition, from_node, count }.into();
        match self.ask_tree(log, partition, ask).await? {
            (Response::ReadTree(read), payload) => {
                let (nodes, rest) = payload.as_chunks::<NODE_BYTES>();
                if !rest.is_empty() || nodes.len() as u64 > u64::from(count) {
                    return Err(ClientError::Unexpected { expected: "nodes of a tree" });
                }
                let nodes = nodes.iter().map(Node::decode).collect();
                Ok(TreeNodes { nodes, tree_size: read.tree_size })
            }
            _ => Err(ClientError::Unexpected { expected: "nodes of a tree" }),
        }
    }

    /// Asks about a partition of a log by its name.
    async fn ask_tree(
        &self,
        log: &str,
        partition: PartitionId,
        ask: impl Fn(&LogRoute) -> Request,
    ) -> Result<(Response, pyralog_log::batch::Buffer), ClientError> {
        let (cluster, route) = self.route(log).await?;
        partition_of(&route, partition)?;
        let known = Some((cluster, route.name.as_str()));
        let answered = self.call_answered(ask(&route), Repeat::Harmless, known).await;
        let (_, response, payload) = named(log, answered)?;
        Ok((response, payload))
    }
}

/// A checkpoint with or without a signature, or none.
fn read_checkpoint(
    bytes: &[u8],
) -> Result<(Option<Checkpoint>, Option<SignedCheckpoint>), ClientError> {
    let wrong = || ClientError::Unexpected { expected: "a checkpoint" };
    if bytes.is_empty() {
        return Ok((None, None));
    }
    let stated = Stated::decode(bytes).map_err(|_| wrong())?;
    Ok((Some(*stated.checkpoint()), stated.signed().copied()))
}
