//! The Merkle tree of a partition: a leaf per batch, append-only, in which every node also knows how many records lie
//! below it.
//!
//! The shape is that of RFC 9162: the left part of a tree of *n* leaves is the largest complete one with fewer than *n*.
//! A node commits to the *record counts* of both children beside their hashes, so the tree is also a map from offsets to
//! batches: who checks a proof for an offset walks down by the counts, and so computes which leaf it must be and which
//! offsets that leaf holds. Nothing about the position is believed; a server cannot answer "offset 7" with a proof for
//! offset 9. A leaf per record would give the same at fifty times the hashes; a leaf per batch without counts would leave
//! the way from an offset to a leaf to trust.
//!
//! ```text
//!              root: 5 batches, 11 records
//!             /                           \
//!        (4 batches, 8)                    \         node = H_node(left hash | left records | right hash | right records)
//!        /            \                     \
//!     (2, 5)        (2, 3)                   \       leaf = H_leaf(batch hash | records)
//!     /    \        /    \                    \
//!   0..3  3..5    5..6  6..8                 8..11   offsets, computed from the counts
//! ```
//!
//! A batch hash is the plain BLAKE3 of the batch as stored, without its padding; so it is itself the root of a tree over
//! 1 KiB chunks, and a record can be shown without the rest of its batch. Leaves and nodes are BLAKE3 in its key derivation
//! mode with a context each: neither is ever taken for the other, nor for a batch.
//!
//! Everything here is a plain value. Who stores nodes and asks for them is `partition_file::tree`.

mod consistency;
mod descent;
mod frontier;
mod hash;
mod inclusion;
mod numbering;
mod proof_error;
mod regrowth;
mod segment_root;
mod state;

pub use consistency::{ConsistencyProof, consistency_ranges};
pub use descent::{Descent, Located};
pub use frontier::Frontier;
pub use hash::{HASH_BYTES, Hash, NODE_BYTES, Node, Root, bag, batch_hash, join, leaf};
pub use inclusion::{InclusionProof, Place, Step};
pub use numbering::{NodeId, cover, nodes_before};
pub use proof_error::ProofError;
pub use regrowth::{GrownLeaf, Regrowth};
pub(crate) use segment_root::SEGMENT_ROOT_BYTES_MAX;
pub use segment_root::{SegmentFold, SegmentRoot};
pub use state::{NODES_START, TREE_NAME, TREE_STATE_NAME, read_published};
pub(crate) use state::{STATE_BYTES_MAX, TreeState};

/// Bytes of one step of an inclusion proof, or of one node of a consistency proof.
const STEP_BYTES: usize = NODE_BYTES;
