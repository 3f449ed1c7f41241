//! Checkpoints, proofs and nodes of trees: answered by the core that owns the partition, from the published tree.

use std::rc::Rc;
use std::time::Duration;

use pyralog_log::ids::{LogId, PartitionId};
use pyralog_log::merkle::NODE_BYTES;
use pyralog_log::partition::TreeError;
use pyralog_log::partition_file::Partition;
use pyralog_runtime::{spawn, time};
use pyralog_wire::message::{
    CheckpointGot, ProveConsistency, ProveRecord, Proven, ReadTree, TreeRead,
};
use pyralog_wire::{ErrorCode, ErrorReply, Request, Response};

use super::fetch::grant;
use crate::asked::{Asked, Payload};
use crate::partitions::Owned;
use crate::request::{Place, busy};

/// How often it is looked whether a tree is open: it takes a read or two, after a start only.
const OPENING_POLL: Duration = Duration::from_millis(1);
/// How long an answer waits for that; then it may be asked again.
const OPENING_WAIT: Duration = Duration::from_secs(5);

/// Starts to carry out a request about the tree of a partition; the answer comes by itself.
pub(crate) fn start(asked: Asked, (log, partition): (LogId, PartitionId), request: Request) {
    let shard = Rc::clone(asked.shard());
    match shard.place(log, partition) {
        Place::Here(owned) => {
            spawn(async move { carry_out(asked, &owned, request).await }).detach(); // holds its request
        }
        Place::There(_) if asked.is_remote() => asked.refuse(ErrorCode::NotOwner),
        Place::There(owner) => {
            spawn(async move { forward(asked, owner, request).await }).detach(); // holds its request
        }
        Place::Nowhere(error) => asked.refuse(error),
    }
}

async fn carry_out(asked: Asked, owned: &Owned, request: Request) {
    let answer = match request {
        Request::ReadTree(read) => return read_tree(asked, owned, read).await,
        Request::GetCheckpoint(_) => checkpoint(owned).await,
        Request::ProveRecord(prove) => prove_record(owned, prove).await,
        Request::ProveConsistency(prove) => prove_consistency(owned, prove).await,
        _ => Err(ErrorCode::Internal.into()),
    };
    match answer {
        Ok(response) => asked.reply(response),
        Err(error) => asked.refuse(error),
    }
}

/// Waits until the tree is open. Until then "there is none" would be a lie, and an alarm for who knows better.
async fn opened(owned: &Owned) -> Result<Partition, ErrorReply> {
    let deadline = time::now() + OPENING_WAIT;
    loop {
        let partition = owned.partition()?;
        if partition.tree_status().is_none_or(|status| status.is_open) {
            return Ok(partition);
        }
        if time::now() >= deadline {
            return Err(refused(&TreeError::Opening));
        }
        time::sleep(OPENING_POLL).await;
    }
}

async fn checkpoint(owned: &Owned) -> Result<Response, ErrorReply> {
    let status = opened(owned).await?.tree_status().ok_or_else(|| refused(&TreeError::NoTree))?;
    let checkpoint = status.published.map(|published| match published.signed {
        Some(signed) => signed.encode().to_vec(),
        None => published.checkpoint.encode().to_vec(),
    });
    Ok(Response::GetCheckpoint(CheckpointGot {
        checkpoint: checkpoint.unwrap_or_default(),
        hashed: status.hashed,
        lag_records: status.lag_records,
        fault: status.fault.map(|fault| fault.to_string()).unwrap_or_default(),
    }))
}

async fn prove_record(owned: &Owned, prove: ProveRecord) -> Result<Response, ErrorReply> {
    let partition = opened(owned).await?;
    let located = partition.prove(prove.offset, prove.tree_size).await;
    let proof = located.map_err(|error| refused(&error))?.proof.encode();
    Ok(Response::ProveRecord(Proven { proof }))
}

async fn prove_consistency(owned: &Owned, prove: ProveConsistency) -> Result<Response, ErrorReply> {
    let partition = opened(owned).await?;
    let proof = partition.prove_consistency(prove.first, prove.second).await;
    let proof = proof.map_err(|error| refused(&error))?.encode();
    Ok(Response::ProveConsistency(Proven { proof }))
}

async fn read_tree(asked: Asked, owned: &Owned, read: ReadTree) {
    let nodes = async {
        let partition = owned.partition()?;
        let Some(mut hold) = grant(&asked, bytes_of(read)).await? else { return Ok(None) };
        let count = usize::try_from(read.count).unwrap_or(usize::MAX);
        let nodes = partition.tree_nodes(read.from_node, count).await;
        let nodes = nodes.map_err(|error| refused(&error))?;
        let published = partition.tree_status().and_then(|status| status.published);
        let tree_size = published.map_or(0, |published| published.checkpoint.tree_size);
        let mut bytes = Vec::with_capacity(nodes.len() * NODE_BYTES);
        for node in &nodes {
            bytes.extend_from_slice(&node.encode());
        }
        hold.resize(bytes.len() as u64);
        Ok::<_, ErrorReply>(Some((TreeRead { tree_size }, bytes, hold)))
    };
    match nodes.await {
        Ok(Some((read, bytes, hold))) => {
            asked.deliver(Response::ReadTree(read), Payload::Bytes(bytes), Some(hold));
        }
        Ok(None) => drop(asked), // the connection was cut: nobody waits
        Err(error) => asked.refuse(error),
    }
}

/// Lets the owner answer. Room for nodes is taken here before, because the answer will wait here for the socket.
async fn forward(asked: Asked, owner: usize, request: Request) {
    let shard = Rc::clone(asked.shard());
    let Request::ReadTree(read) = &request else {
        shard.forward(owner, asked, (request, Vec::new()), None);
        return;
    };
    match grant(&asked, bytes_of(*read)).await {
        Ok(Some(hold)) => shard.forward(owner, asked, (request, Vec::new()), Some(hold)),
        Ok(None) => drop(asked), // the connection was cut: nobody waits
        Err(error) => asked.refuse(error),
    }
}

/// Bytes of the payload that is asked for.
fn bytes_of(read: ReadTree) -> u32 {
    read.count.saturating_mul(u32::try_from(NODE_BYTES).expect("40"))
}

/// Why there is no proof.
fn refused(error: &TreeError) -> ErrorReply {
    let reply = |code| ErrorReply::new(code, error.to_string());
    match error {
        TreeError::NoTree => reply(ErrorCode::NotProvable),
        TreeError::Size { .. } | TreeError::Beyond { .. } => reply(ErrorCode::NotInTree),
        TreeError::Opening => busy("the tree of the partition is being opened"),
        TreeError::Rebuilding => busy("the tree of the partition is being made again"),
        TreeError::Damaged => reply(ErrorCode::DataDamaged),
        _ => reply(ErrorCode::ReadFailed),
    }
}
