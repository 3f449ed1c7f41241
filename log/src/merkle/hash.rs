//! Hashes, nodes and roots, and the three ways in which they are made.

use std::fmt;
use std::sync::LazyLock;

use blake3::Hasher;
use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};

use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::layout::{put, u64_at};
use crate::limits::MERKLE_LEAVES_MAX;

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;

/// Bytes of a node as stored and sent: its hash, then its records, little-endian.
pub const NODE_BYTES: usize = HASH_BYTES + 8;

/// What separates leaves from everything else that is hashed.
static LEAF: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("pyralog 2026 merkle leaf"));

/// What separates inner nodes from everything else that is hashed.
static NODE: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("pyralog 2026 merkle node"));

/// A BLAKE3 hash. Printed as 64 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; HASH_BYTES]);

impl Hash {
    /// Wraps the bytes of a hash.
    #[must_use]
    pub const fn new(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// The hash that 64 hexadecimal digits stand for, or `None` if they are not that.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A node of the tree: the hash of what is below it, and how many records that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its hash.
    pub hash: Hash,
    /// Records below it.
    pub records: u64,
}

impl Node {
    /// The root of a tree without leaves.
    #[must_use]
    pub fn empty() -> Self {
        Self { hash: keyed(&NODE, &[]), records: 0 }
    }

    /// As stored and sent.
    #[must_use]
    pub fn encode(&self) -> [u8; NODE_BYTES] {
        let mut bytes = [0; NODE_BYTES];
        put(&mut bytes, 0, self.hash.0);
        put(&mut bytes, HASH_BYTES, self.records.to_le_bytes());
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    #[must_use]
    pub fn decode(bytes: &[u8; NODE_BYTES]) -> Self {
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&bytes[..HASH_BYTES]);
        Self { hash: Hash(hash), records: u64_at(bytes, HASH_BYTES) }
    }
}

/// The root of a tree of a size: what a checkpoint is about.
///
/// The size is not in the hash, as in RFC 9162: it has to come from where the hash comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Root {
    /// Leaves, which are batches.
    pub size: u64,
    /// Hash and records; the records are also the offset after the last one.
    pub node: Node,
}

impl Root {
    /// The root of the tree without leaves.
    #[must_use]
    pub fn empty() -> Self {
        Self { size: 0, node: Node::empty() }
    }

    /// Whether no tree has it: every batch has a record, and a tree without batches has none. What a stranger says of a
    /// tree is checked before anything is computed from it.
    #[must_use]
    pub fn is_impossible(&self) -> bool {
        let Self { size, node } = self;
        *size > MERKLE_LEAVES_MAX || *size > node.records || (*size == 0 && node.records > 0)
    }
}

/// The hash of a batch: BLAKE3 of its header and body as stored, without the padding after them. `None` if `batch` does
/// not begin with a sound header of a batch that is all there.
#[must_use]
pub fn batch_hash(batch: &[u8]) -> Option<Hash> {
    let header = BatchHeader::parse(batch).ok()?;
    let bytes = batch.get(..HEADER_BYTES + header.body_len as usize)?;
    Some(Hash(*blake3::hash(bytes).as_bytes()))
}

/// The leaf of a batch of so many records.
#[must_use]
pub fn leaf(batch: Hash, records: u64) -> Node {
    Node { hash: keyed(&LEAF, &Node { hash: batch, records }.encode()), records }
}

/// The node above two nodes.
#[must_use]
pub fn join(left: Node, right: Node) -> Node {
    let mut bytes = [0; 2 * NODE_BYTES];
    put(&mut bytes, 0, left.encode());
    put(&mut bytes, NODE_BYTES, right.encode());
    // The hash holds both counts, so a sum beyond the range, which only a forger can bring, makes another hash than any
    // that was ever signed.
    let records = left.records.saturating_add(right.records);
    Node { hash: keyed(&NODE, &bytes), records }
}

/// Joins the nodes of neighbouring complete subtrees, from the right: the root over them. That of none is the empty one.
#[must_use]
pub fn bag(nodes: &[Node]) -> Node {
    let joined = nodes.iter().rev().copied().reduce(|right, left| join(left, right));
    joined.unwrap_or_else(Node::empty)
}

fn keyed(context: &ContextKey, bytes: &[u8]) -> Hash {
    Hash(*Hasher::new_from_context_key(context).update(bytes).finalize().as_bytes())
}
