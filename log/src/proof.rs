//! What a client needs that does not trust the server: signed checkpoints, chunk slices, proofs of single records.
//!
//! A *signed checkpoint* ([`checkpoint`]) says: this partition has a tree of so many batches and so many records with this
//! root. The tree is `crate::merkle`'s, its leaves are the hashes of batches. A hash of a batch is BLAKE3's, which is a tree
//! itself, over chunks of 1 KiB; a *slice* ([`slice`]) discloses some chunks of a batch and what is needed to compute its hash.
//! A record proof ([`record`]) puts the three together: chunks that hold the record, the path from the batch to the root, the
//! signature. On them stand [`trust`] (which checkpoint a client believes), [`equivocation`] (evidence for others),
//! [`notary`] (receipts) and [`auditor`], which names what has changed by what [`audit`] remembers.
//!
//! All of it is pure: bytes in, a value or an error out. Whoever verifies needs no server, no clock and no file. What is
//! proven, and what is not, stands in `docs/PROOFS.md`.

pub mod audit;
pub mod auditor;
pub mod checkpoint;
pub mod equivocation;
pub mod key;
pub mod notary;
pub mod record;
pub mod slice;
pub mod trust;

pub use checkpoint::{CHECKPOINT_BYTES, Checkpoint, CheckpointError, SignedCheckpoint, Stated};
pub use equivocation::{Equivocation, Misdeed, NoEvidence};
pub use key::{KeyError, NodeKey, PublicKey};
pub use notary::{Committed, Receipt, ReceiptError};
pub use record::{ProvenRecord, RecordProof, RecordProofError};
pub use trust::{Distrust, Need, Subject, Trust};
