//! Proofs from the nodes on disk: a read of a block or two per level, and nothing is served that does not prove itself.

use std::ops::Range;
use std::rc::Rc;

use pyralog_runtime::yield_if_needed;

use super::NodeFile;
use crate::ids::Offset;
use crate::limits::MERKLE_NODES_READ_MAX;
use crate::merkle::{
    ConsistencyProof, Descent, Located, Node, NodeId, Root, SegmentRoot, bag, consistency_ranges,
    cover, nodes_before,
};
use crate::partition::TreeError;
use crate::partition_file::Partition;

/// Nodes that are read at once: those of six levels, or of the right edge of some more, are neighbours.
const NEIGHBOURS: usize = 100;

/// Nodes that were read for one answer.
struct Reader {
    file: Rc<NodeFile>,
    /// Number of the first node and nodes, of each read.
    read: Vec<(u64, Vec<Node>)>,
}

impl Reader {
    async fn node(&mut self, id: NodeId) -> Result<Node, TreeError> {
        let number = id.number();
        let known = self.read.iter().rev().find_map(|(first, nodes)| {
            let at = usize::try_from(number.checked_sub(*first)?).ok()?;
            nodes.get(at).copied()
        });
        if let Some(node) = known {
            return Ok(node);
        }
        // Children come before their parents.
        let first = (number + 1).saturating_sub(NEIGHBOURS as u64);
        let nodes = self.file.read(first, NEIGHBOURS).await?;
        let at = usize::try_from(number - first).expect("below a hundred");
        let node = nodes.get(at).copied().ok_or(TreeError::Damaged)?;
        self.read.push((first, nodes));
        Ok(node)
    }

    async fn nodes(&mut self, ids: &[NodeId]) -> Result<Vec<Node>, TreeError> {
        let mut nodes = Vec::with_capacity(ids.len());
        for id in ids {
            nodes.push(self.node(*id).await?);
        }
        yield_if_needed().await;
        Ok(nodes)
    }

    /// The node over a range of leaves.
    async fn over(&mut self, leaves: Range<u64>) -> Result<Node, TreeError> {
        Ok(bag(&self.nodes(&cover(leaves)).await?))
    }

    async fn locate(&mut self, size: u64, offset: Offset) -> Result<Located, TreeError> {
        let failed = |error| TreeError::of_descent(error, offset, size);
        let mut descent = Descent::new(size, offset).map_err(failed)?;
        while !descent.wanted().is_empty() {
            let nodes = self.nodes(descent.wanted()).await?;
            descent.take(&nodes).map_err(failed)?;
        }
        descent.finish().ok_or(TreeError::Damaged)
    }
}

impl Partition {
    /// Finds the batch that holds `offset` in the tree of the first `size` batches, with the proof.
    ///
    /// # Errors
    /// If no such tree was published, it does not hold the offset, or its nodes cannot be read or are damaged.
    pub async fn prove(&self, offset: Offset, size: u64) -> Result<Located, TreeError> {
        let mut reader = self.tree_reader(size)?;
        let located = reader.locate(size, offset).await?;
        let root = self.checked_root(&mut reader, size).await?;
        let holds = located.proof.leads(&root, offset, located.leaf);
        if holds { Ok(located) } else { Err(TreeError::Damaged) }
    }

    /// Shows that the tree of the first `first` batches is the beginning of that of the first `second`.
    ///
    /// # Errors
    /// If one of them was not published, or nodes cannot be read or are damaged.
    pub async fn prove_consistency(
        &self,
        first: u64,
        second: u64,
    ) -> Result<ConsistencyProof, TreeError> {
        let mut reader = self.tree_reader(second)?;
        if first > second {
            return Err(TreeError::Size { asked: first, published: second });
        }
        let mut nodes = Vec::new();
        for range in consistency_ranges(first, second) {
            nodes.push(reader.over(range).await?);
        }
        let proof = ConsistencyProof { nodes };
        let old = reader.over(0..first).await?;
        let (old, new) =
            (Root { size: first, node: old }, self.checked_root(&mut reader, second).await?);
        let holds = proof.verify(&old, &new).is_ok();
        if holds { Ok(proof) } else { Err(TreeError::Damaged) }
    }

    /// The root of the first `size` batches.
    ///
    /// # Errors
    /// As [`Partition::prove_consistency`].
    pub async fn root_at(&self, size: u64) -> Result<Root, TreeError> {
        let mut reader = self.tree_reader(size)?;
        self.checked_root(&mut reader, size).await
    }

    /// Nodes from a number on, of the newest published tree: at most `count`, fewer at its end.
    ///
    /// # Errors
    /// If there is no tree, or the nodes cannot be read.
    pub async fn tree_nodes(&self, first: u64, count: usize) -> Result<Vec<Node>, TreeError> {
        let tree = self.shell.tree.as_ref().ok_or(TreeError::NoTree)?;
        let size = tree.grown.borrow().published.as_ref().map_or(0, |state| state.frontier.size());
        let left = nodes_before(size).saturating_sub(first);
        let count = usize::try_from(left).unwrap_or(count).min(count).min(MERKLE_NODES_READ_MAX);
        if count == 0 {
            return Ok(Vec::new());
        }
        Ok(self.tree_reader(size)?.file.read(first, count).await?)
    }

    /// The part of the newest published tree that the batches with these offsets are.
    ///
    /// # Errors
    /// If there is no tree, if batches cross the ends of the range, or nodes cannot be read or are damaged.
    pub(super) async fn segment_root(
        &self,
        offsets: Range<Offset>,
    ) -> Result<SegmentRoot, TreeError> {
        let size = self.tree_status().and_then(|status| status.published);
        let size = size.map_or(0, |published| published.checkpoint.tree_size);
        let mut reader = self.tree_reader(size)?;
        let last = Offset::new(offsets.end.get().saturating_sub(1));
        let first = reader.locate(size, offsets.start).await?.place;
        let last = reader.locate(size, last).await?.place;
        if first.offsets.start != offsets.start || last.offsets.end != offsets.end {
            return Err(TreeError::Damaged);
        }
        let batches = first.index..last.index + 1;
        let node = reader.over(batches.clone()).await?;
        Ok(SegmentRoot { offsets, batches, node })
    }

    /// The root of a tree, from the nodes; that of the newest one must be the one that was published.
    async fn checked_root(&self, reader: &mut Reader, size: u64) -> Result<Root, TreeError> {
        let root = Root { size, node: reader.over(0..size).await? };
        let tree = self.shell.tree.as_ref().ok_or(TreeError::NoTree)?;
        let published = tree.grown.borrow().published.as_ref().map(super::TreeState::root);
        let differs =
            published.is_some_and(|published| published.size == size && published != root);
        if differs { Err(TreeError::Damaged) } else { Ok(root) }
    }

    /// Reads nodes of the tree of the first `size` batches.
    fn tree_reader(&self, size: u64) -> Result<Reader, TreeError> {
        let tree = self.shell.tree.as_ref().ok_or(TreeError::NoTree)?;
        let (published, is_rebuilding) = {
            let grown = tree.grown.borrow();
            if !grown.is_open && grown.fault.is_none() {
                return Err(TreeError::Opening);
            }
            let state = grown.published.as_ref();
            (state.map_or(0, |state| state.frontier.size()), grown.rebuild.is_some())
        };
        if size == 0 || size > published {
            return Err(TreeError::Size { asked: size, published });
        }
        let file = tree.file.borrow().clone();
        match file {
            _ if is_rebuilding => Err(TreeError::Rebuilding),
            Some(file) => Ok(Reader { file, read: Vec::new() }),
            None => Err(TreeError::Damaged),
        }
    }
}
