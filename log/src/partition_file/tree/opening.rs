//! Where a tree goes on when its partition is opened.
//!
//! | state file | nodes | log | what follows |
//! |---|---|---|---|
//! | none | any | from offset 0 | a young tree: everything is hashed |
//! | none | any | begins later | [`TreeFault::NodesGone`] |
//! | damaged, another's | any | any | [`TreeFault::State`], [`TreeFault::Foreign`] |
//! | sound | any | ends before the checkpoint | [`TreeFault::Ahead`] |
//! | sound | have its peaks | any | it goes on from the checkpoint |
//! | sound | other peaks, or too few | from offset 0 | nodes are made again and must lead to the root |
//! | sound | other peaks, or too few | begins later | [`TreeFault::NodesGone`] |

use std::rc::Rc;

use pyralog_runtime::{IoErrorKind, file};

use super::nodes::{End, NodeFile};
use super::{Grown, Rebuild, Tree, failed};
use crate::durability::Durability;
use crate::ids::Offset;
use crate::merkle::{Frontier, Node, STATE_BYTES_MAX, TREE_STATE_NAME, TreeState, cover};
use crate::partition::TreeFault;
use crate::partition_file::{Files, Partition};

/// What was found.
struct Found {
    state: Option<TreeState>,
    /// The nodes have the peaks of the state.
    has_peaks: bool,
    /// First offset of the log, and the one after its last.
    low: Offset,
    end: Offset,
}

/// Where the tree goes on.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    Young,
    GoesOn,
    MadeAgain,
}

/// The table above, for what could be read.
fn decide(found: &Found) -> Result<Row, TreeFault> {
    let is_whole = found.low == Offset::ZERO;
    let Some(state) = &found.state else {
        return if is_whole {
            Ok(Row::Young)
        } else {
            Err(TreeFault::NodesGone { low: found.low })
        };
    };
    let tree = state.published.checkpoint.end_offset;
    match (found.has_peaks, is_whole) {
        _ if tree > found.end => Err(TreeFault::Ahead { tree, log: found.end }),
        (true, _) => Ok(Row::GoesOn),
        (false, true) => Ok(Row::MadeAgain),
        (false, false) => Err(TreeFault::NodesGone { low: found.low }),
    }
}

/// Reads the files and says where nodes are appended.
pub(super) async fn open(
    partition: &Partition,
    tree: &Tree,
    files: &Files,
) -> Result<End, TreeFault> {
    let shell = &partition.shell;
    let state = read_state(partition, tree, files).await?;
    let nodes = NodeFile::open(&files.dir, (shell.log, shell.partition)).await.map_err(failed)?;
    let has_peaks = match &state {
        Some(state) => read_peaks(&nodes, state.frontier.size()).await? == state.frontier.peaks(),
        None => false,
    };
    let (low, end) = {
        let machine = shell.machine.borrow();
        (machine.watermarks().low, machine.reached(Durability::Synced))
    };
    let found = Found { state, has_peaks, low, end };
    let row = decide(&found);
    let published = found.state;
    let (frontier, rebuild) = match (&published, &row) {
        (Some(state), Ok(Row::MadeAgain)) => {
            let (log, number, size) = (shell.log, shell.partition, state.frontier.size());
            tracing::error!(%log, partition = %number, size, "nodes of the tree are damaged, and made again");
            (Frontier::new(), Some(Rebuild::Behind))
        }
        (Some(state), _) => (state.frontier.clone(), None),
        (None, _) => (Frontier::new(), None),
    };
    let size = frontier.size();
    tree.grown.replace(Grown {
        frontier,
        published,
        rebuild,
        was_rebuilt: rebuild.is_some(),
        ..Grown::default()
    });
    row?;
    let end = nodes.end(crate::merkle::nodes_before(size)).await.map_err(failed)?;
    tree.file.replace(Some(Rc::new(nodes)));
    Ok(end)
}

async fn read_state(
    partition: &Partition,
    tree: &Tree,
    files: &Files,
) -> Result<Option<TreeState>, TreeFault> {
    let path = files.dir.join(TREE_STATE_NAME);
    let bytes = match file::read_small(path, STATE_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let state = TreeState::decode(&bytes).map_err(TreeFault::State)?;
    let checkpoint = &state.published.checkpoint;
    let shell = &partition.shell;
    let ours = (tree.proofs.cluster, shell.log, shell.partition);
    let is_ours = (checkpoint.cluster, checkpoint.log, checkpoint.partition) == ours;
    if is_ours { Ok(Some(state)) } else { Err(TreeFault::Foreign) }
}

/// The peaks of a tree of that size, as far as the file has them.
async fn read_peaks(nodes: &NodeFile, size: u64) -> Result<Vec<Node>, TreeFault> {
    let mut peaks = Vec::new();
    for id in cover(0..size) {
        peaks.extend(nodes.read(id.number(), 1).await.map_err(failed)?);
    }
    Ok(peaks)
}
