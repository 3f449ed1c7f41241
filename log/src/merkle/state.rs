//! The file beside the nodes: the newest checkpoint and the peaks of its tree.
//!
//! It is written after the nodes are on stable storage and before anybody hears of the checkpoint. So it is the one word on
//! how many of the nodes count, and a checkpoint that somebody has seen is never forgotten.

use super::hash::{NODE_BYTES, Node, Root};
use super::{Frontier, Hash};
use crate::layout::{Builder, Fields, FormatError};
use crate::partition::Published;
use crate::proof::checkpoint::{CHECKPOINT_BYTES, Checkpoint, STATEMENT_BYTES, SignedCheckpoint};

/// Name of the file with the newest checkpoint, in the directory of a partition.
pub const TREE_STATE_NAME: &str = "tree.state";

/// Name of the file with the nodes, in the directory of a partition.
pub const TREE_NAME: &str = "tree";

/// Where the nodes begin in their file: behind one block of header.
pub const NODES_START: u64 = 4096;

const STATE_MAGIC: [u8; 8] = *b"PYTRS001";
const VERSION: u32 = 1;

/// Most bytes of the file.
pub(crate) const STATE_BYTES_MAX: usize = 4096;

/// The checkpoint in the file, for whoever only looks: its peaks have its root, and its signature holds.
///
/// # Errors
/// Why the file cannot be used; the tree stands still then.
pub fn read_published(file: &[u8]) -> Result<Published, FormatError> {
    TreeState::decode(file).map(|state| state.published)
}

/// The content of the file. Invariant: the peaks have the root of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreeState {
    pub(crate) frontier: Frontier,
    pub(crate) published: Published,
}

impl TreeState {
    /// The root that was published.
    pub(crate) fn root(&self) -> Root {
        let Checkpoint { tree_size, end_offset, root, .. } = self.published.checkpoint;
        Root { size: tree_size, node: Node { hash: Hash::new(root), records: end_offset.get() } }
    }

    /// The file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut builder = Builder::new(STATE_MAGIC, VERSION);
        let Published { checkpoint, signed } = &self.published;
        builder.u32(u32::from(signed.is_some())).u32(0).bytes(&checkpoint.encode());
        if let Some(signed) = signed {
            builder.bytes(&signed.encode()[STATEMENT_BYTES..]);
        }
        builder.u64(self.frontier.peaks().len() as u64);
        for peak in self.frontier.peaks() {
            builder.bytes(&peak.encode());
        }
        builder.finish()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Why it cannot be used. That the peaks do not have the root of the checkpoint is one reason, a false signature
    /// another.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::open(bytes, STATE_MAGIC, VERSION)?;
        let (is_signed, zero) = (fields.u32()?, fields.u32()?);
        if is_signed > 1 || zero != 0 {
            return Err(FormatError::Field { field: "signed" });
        }
        let statement = fields.bytes::<STATEMENT_BYTES>()?;
        let field = |field| FormatError::Field { field };
        let checkpoint = Checkpoint::decode(&statement).map_err(|_| field("checkpoint"))?;
        let signed = if is_signed == 1 {
            let mut whole = statement.to_vec();
            whole.extend_from_slice(&fields.bytes::<{ CHECKPOINT_BYTES - STATEMENT_BYTES }>()?);
            Some(SignedCheckpoint::decode(&whole).map_err(|_| field("signature"))?)
        } else {
            None
        };
        let count = fields.count(NODE_BYTES)?;
        let mut peaks = Vec::with_capacity(count);
        for _ in 0..count {
            peaks.push(Node::decode(&fields.bytes::<NODE_BYTES>()?));
        }
        fields.end()?;
        let frontier = Frontier::from_peaks(checkpoint.tree_size, peaks).ok_or(field("peaks"))?;
        let state = Self { frontier, published: Published { checkpoint, signed } };
        if state.frontier.root() == state.root() { Ok(state) } else { Err(field("root")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
    use crate::merkle::leaf;
    use crate::proof::NodeKey;

    /// A state of a tree of three batches.
    fn state(key: Option<&NodeKey>) -> TreeState {
        let mut frontier = Frontier::new();
        for number in 0..3 {
            frontier.append(leaf(Hash::new([number; 32]), 5), &mut Vec::new());
        }
        let root = frontier.root();
        let checkpoint = Checkpoint {
            cluster: 9,
            log: LogId::new(7),
            partition: PartitionId::new(1),
            epoch: Epoch::ZERO,
            tree_size: root.size,
            end_offset: Offset::new(root.node.records),
            root: *root.node.hash.as_bytes(),
            time: Timestamp::new(1234),
            previous: [0; 32],
        };
        let signed = key.map(|key| checkpoint.sign(key));
        TreeState { frontier, published: Published { checkpoint, signed } }
    }

    #[test]
    fn a_state_is_read_as_it_was_written_and_not_if_a_byte_is_another() {
        for key in [None, Some(NodeKey::from_seed(&[3; 32]))] {
            let state = state(key.as_ref());
            let bytes = state.encode();
            assert!(bytes.len() <= STATE_BYTES_MAX);
            assert_eq!(TreeState::decode(&bytes), Ok(state));
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 1;
                assert!(TreeState::decode(&other).is_err(), "byte {at}");
                // Whoever can write the file can make its checksum too, but not the signature.
                let crc = crc32c::crc32c(&other[16..]);
                crate::layout::put(&mut other, 12, crc.to_le_bytes());
                assert!(TreeState::decode(&other).is_err() || key.is_none() || at / 4 == 3, "{at}");
            }
        }
    }

    #[test]
    fn golden_tree_state() {
        let bytes = state(Some(&NodeKey::from_seed(&[3; 32]))).encode();
        assert_eq!(crate::golden_tests::check("tree_state", &bytes), bytes);
    }
}
