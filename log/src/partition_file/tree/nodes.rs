//! The file with the nodes of a tree: a block of header, then 40 bytes per node, in the order of their numbers.
//!
//! Only appended to; the last block is written again with what was in it. How many of the nodes count says the file with the
//! checkpoint, so nothing here has to tell a torn end from a sound one.

use std::path::Path;

use pyralog_runtime::IoError;
use pyralog_runtime::buffer::BufferMut;
use pyralog_runtime::file::{self, DirectFile, Sync};

use crate::ids::{LogId, PartitionId};
use crate::layout::Builder;
use crate::limits::{MERKLE_NODES_READ_MAX, MERKLE_WRITE_BYTES};
use crate::merkle::{NODE_BYTES, NODES_START, Node, TREE_NAME};
use crate::segment::BLOCK_BYTES;

const MAGIC: [u8; 8] = *b"PYTRE001";
const VERSION: u32 = 1;

/// The file, open. One task appends, anybody reads what was appended.
#[derive(Debug)]
pub(super) struct NodeFile {
    file: DirectFile,
}

/// Where appending goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    /// Nodes in the file.
    pub(super) nodes: u64,
    /// The bytes of the last block that is not full.
    carry: Vec<u8>,
}

/// Where a node lies.
const fn position(number: u64) -> u64 {
    NODES_START + number * NODE_BYTES as u64
}

/// The first block.
fn header(log: LogId, partition: PartitionId) -> Vec<u8> {
    let mut builder = Builder::new(MAGIC, VERSION);
    builder.u64(log.get()).u32(partition.get()).u32(0);
    builder.finish()
}

impl NodeFile {
    /// Opens the file in `dir`; makes it, or its header anew, if it is not there or another's.
    ///
    /// # Errors
    /// If the file system fails.
    pub(super) async fn open(
        dir: &Path,
        (log, partition): (LogId, PartitionId),
    ) -> Result<Self, IoError> {
        let (path, expected) = (dir.join(TREE_NAME), header(log, partition));
        let file = if file::exists(&path).await? {
            DirectFile::open(&path).await?
        } else {
            DirectFile::create_new(&path, 0).await?
        };
        let opened = Self { file };
        let found = opened.file.read(0, expected.len()).await?;
        if *found != *expected {
            let mut block = BufferMut::heap(BLOCK_BYTES);
            block.extend_from_slice(&expected);
            block.pad_to(BLOCK_BYTES);
            opened.file.write(0, &block.freeze(), Sync::No).await?;
        }
        Ok(opened)
    }

    /// Where to append behind the first `nodes` nodes.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) async fn end(&self, nodes: u64) -> Result<End, IoError> {
        let (end, block) = (position(nodes), BLOCK_BYTES as u64);
        let start = end - end % block;
        let len = usize::try_from(end - start).expect("less than a block");
        let carry = self.file.read(start, len).await?.to_vec();
        Ok(End { nodes, carry })
    }

    /// Appends nodes. They are in the file when it resolves; [`Self::sync`] makes them durable.
    ///
    /// # Errors
    /// If they could not be written. Appending them again is no harm.
    pub(super) async fn append(&self, end: &mut End, nodes: &[Node]) -> Result<(), IoError> {
        for some in nodes.chunks(MERKLE_WRITE_BYTES / NODE_BYTES) {
            let start = position(end.nodes) - end.carry.len() as u64;
            let mut buffer = BufferMut::heap(end.carry.len() + some.len() * NODE_BYTES);
            buffer.extend_from_slice(&end.carry);
            for node in some {
                buffer.extend_from_slice(&node.encode());
            }
            let whole = buffer.len() - buffer.len() % BLOCK_BYTES;
            let carry = buffer.as_slice()[whole..].to_vec();
            buffer.pad_to(BLOCK_BYTES);
            self.file.write(start, &buffer.freeze(), Sync::No).await?;
            *end = End { nodes: end.nodes + some.len() as u64, carry };
        }
        Ok(())
    }

    /// Puts what was appended on stable storage.
    ///
    /// # Errors
    /// If it may not be there.
    pub(super) async fn sync(&self) -> Result<(), IoError> {
        self.file.sync_data().await
    }

    /// Some nodes, fewer if the file ends before.
    ///
    /// # Errors
    /// If they cannot be read.
    ///
    /// # Panics
    /// If there are more than [`MERKLE_NODES_READ_MAX`].
    pub(super) async fn read(&self, first: u64, count: usize) -> Result<Vec<Node>, IoError> {
        assert!(count <= MERKLE_NODES_READ_MAX, "{count} nodes at once");
        let bytes = self.file.read(position(first), count * NODE_BYTES).await?;
        Ok(bytes.as_chunks::<NODE_BYTES>().0.iter().map(Node::decode).collect())
    }
}
