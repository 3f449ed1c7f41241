//! What a client believes of a partition, and when it stops: keys that are pinned, the last checkpoint, and no way back.
//!
//! A checkpoint is taken if its signature is a pinned key's, it is about the same partition, its tree is not smaller than
//! the last one's, and it is proven to continue it. Without pinned keys the first key seen is the one (trust on first use):
//! that finds a change later, not a lie at the beginning.
//!
//! A log without signatures is held to what it stated before in the same way; only, nobody else is convinced by it.
//!
//! The state of a partition is a checkpoint, which can be kept in a file between two runs.

use std::fmt;

use super::checkpoint::{Checkpoint, Stated};
use super::equivocation::Equivocation;
use super::key::PublicKey;
use crate::ids::{LogId, Offset, PartitionId};
use crate::merkle::{ConsistencyProof, ProofError, Root};

/// What a checkpoint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The cluster.
    pub cluster: u64,
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: PartitionId,
}

impl Subject {
    /// What this checkpoint is about.
    #[must_use]
    pub const fn of(checkpoint: &Checkpoint) -> Self {
        Self { cluster: checkpoint.cluster, log: checkpoint.log, partition: checkpoint.partition }
    }
}

/// Why a checkpoint is not believed. Each is a reason to stop and to look.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Distrust {
    /// It is about something else than was asked for.
    Foreign {
        /// What was asked for.
        expected: Subject,
        /// What it is about.
        found: Subject,
    },
    /// It is signed by a key that is not pinned.
    Key {
        /// The key.
        found: PublicKey,
    },
    /// It is not signed: a key is pinned, or one before it was signed.
    Unsigned,
    /// It has fewer batches than one that was seen before: the log was rolled back.
    Rollback {
        /// The end that was seen before.
        known: Offset,
        /// The end now.
        found: Offset,
        /// Both checkpoints, for others to see, if they are signed.
        evidence: Option<Box<Equivocation>>,
    },
    /// It has as many batches as one that was seen before, and another root: there are two histories.
    Fork {
        /// The offsets below this differ somewhere.
        end: Offset,
        /// Both checkpoints, for others to see, if they are signed.
        evidence: Option<Box<Equivocation>>,
    },
    /// It is not proven that its tree continues the one that was seen before.
    Inconsistent {
        /// The end that was seen before.
        known: Offset,
        /// The end now.
        found: Offset,
        /// What is wrong with the proof.
        source: ProofError,
    },
}

impl fmt::Display for Distrust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { expected, found } => write!(
                formatter,
                "the checkpoint is about log {} partition {} of cluster {}, not about log {} partition {} of cluster {}",
                found.log,
                found.partition,
                found.cluster,
                expected.log,
                expected.partition,
                expected.cluster
            ),
            Self::Key { found } => write!(
                formatter,
                "the checkpoint is signed by {found} (fingerprint {}), which is not a key that is trusted here",
                found.fingerprint()
            ),
            Self::Unsigned => formatter.write_str(
                "the checkpoint is not signed, and it has to be: a key is pinned, or it was signed before",
            ),
            Self::Rollback { known, found, .. } => write!(
                formatter,
                "the log was rolled back: a checkpoint covered the offsets below {known}, the newest ends at {found}"
            ),
            Self::Fork { end, .. } => write!(
                formatter,
                "the history was forked: two checkpoints of the offsets below {end} differ"
            ),
            Self::Inconsistent { known, found, source } => write!(
                formatter,
                "the history was forked: the checkpoint that ends at offset {found} does not continue the one that ended \
                 at {known}: {source}"
            ),
        }
    }
}

impl std::error::Error for Distrust {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Inconsistent { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A proof that is needed before a checkpoint is believed: that the tree of `first` batches is the beginning of the tree of
/// `second` batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Batches of the tree that is believed.
    pub first: u64,
    /// Batches of the new tree.
    pub second: u64,
}

/// The trust in one partition.
#[derive(Clone, Debug)]
pub struct Trust {
    subject: Subject,
    /// Keys that may sign; empty until the first one is seen.
    keys: Vec<PublicKey>,
    last: Option<Stated>,
}

impl Trust {
    /// Trust in the signatures of `keys`, or of the first key that is seen if there are none.
    #[must_use]
    pub const fn new(subject: Subject, keys: Vec<PublicKey>) -> Self {
        Self { subject, keys, last: None }
    }

    /// Goes on from a checkpoint that was believed before, by this or an earlier life.
    ///
    /// # Errors
    /// [`Distrust::Foreign`], [`Distrust::Key`], [`Distrust::Unsigned`].
    pub fn resume(&mut self, last: impl Into<Stated>) -> Result<(), Distrust> {
        let last = last.into();
        self.check(&last)?;
        self.take(last);
        Ok(())
    }

    /// The last checkpoint that was believed.
    #[must_use]
    pub const fn last(&self) -> Option<&Stated> {
        self.last.as_ref()
    }

    /// What has to be proven before `new` is believed: nothing if it is the first, or the same again.
    ///
    /// # Errors
    /// If no proof can help.
    pub fn need(&self, new: impl Into<Stated>) -> Result<Option<Need>, Distrust> {
        let new = new.into();
        self.check(&new)?;
        let Some(last) = &self.last else { return Ok(None) };
        let (known, found) = (last.checkpoint(), new.checkpoint());
        if found.tree_size < known.tree_size || found.end_offset < known.end_offset {
            let evidence = evidence(last, &new);
            let (known, found) = (known.end_offset, found.end_offset);
            return Err(Distrust::Rollback { known, found, evidence });
        }
        if found.tree_size > known.tree_size {
            return Ok(Some(Need { first: known.tree_size, second: found.tree_size }));
        }
        if found.tree() == known.tree() {
            return Ok(None);
        }
        let evidence = evidence(last, &new);
        Err(Distrust::Fork { end: found.end_offset.max(known.end_offset), evidence })
    }

    /// Believes `new`, with the proof that was needed.
    ///
    /// # Errors
    /// As [`Trust::need`], and [`Distrust::Inconsistent`]: then the last one stays.
    pub fn advance(
        &mut self,
        new: impl Into<Stated>,
        proof: &ConsistencyProof,
    ) -> Result<(), Distrust> {
        let new = new.into();
        if self.need(new)?.is_some()
            && let Some(last) = &self.last
        {
            let (known, found) = (last.checkpoint().end_offset, new.checkpoint().end_offset);
            let continued = proof.verify(&last.checkpoint().tree(), &new.checkpoint().tree());
            continued.map_err(|source| Distrust::Inconsistent { known, found, source })?;
        }
        self.take(new);
        Ok(())
    }

    /// Believes `new` because the caller has read every batch of its tree itself, and `root` is what came of it.
    ///
    /// # Errors
    /// As [`Trust::need`], and [`Distrust::Inconsistent`] if the roots differ: then the last one stays.
    pub fn advance_by_reading(
        &mut self,
        new: impl Into<Stated>,
        root: &Root,
    ) -> Result<(), Distrust> {
        let new = new.into();
        self.need(new)?;
        let tree = new.checkpoint().tree();
        if tree != *root {
            let known = self.last.map_or(Offset::ZERO, |last| last.checkpoint().end_offset);
            let found = new.checkpoint().end_offset;
            return Err(Distrust::Inconsistent { known, found, source: ProofError::Root });
        }
        self.take(new);
        Ok(())
    }

    /// Whether it is about the partition, by a key that is trusted.
    fn check(&self, new: &Stated) -> Result<(), Distrust> {
        let (expected, found) = (self.subject, Subject::of(new.checkpoint()));
        if expected != found {
            return Err(Distrust::Foreign { expected, found });
        }
        match new.signed() {
            _ if self.keys.is_empty() => Ok(()),
            None => Err(Distrust::Unsigned),
            Some(signed) if self.keys.contains(&signed.key()) => Ok(()),
            Some(signed) => Err(Distrust::Key { found: signed.key() }),
        }
    }

    fn take(&mut self, new: Stated) {
        if let Some(signed) = new.signed()
            && self.keys.is_empty()
        {
            self.keys.push(signed.key());
        }
        self.last = Some(new);
    }
}

/// Both checkpoints, if both are signed.
fn evidence(last: &Stated, new: &Stated) -> Option<Box<Equivocation>> {
    Some(Box::new(Equivocation::pair(*last.signed()?, *new.signed()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Timestamp};
    use crate::merkle::{Frontier, Hash, Node, bag, consistency_ranges, cover, leaf};
    use crate::proof::{NodeKey, SignedCheckpoint};

    const SUBJECT: Subject =
        Subject { cluster: 1, log: LogId::new(2), partition: PartitionId::new(3) };

    /// The tree of `size` batches, of which the one numbered `odd` differs from those of other trees.
    fn tree(size: u64, odd: Option<u64>) -> (Frontier, Vec<Node>) {
        let (mut frontier, mut nodes) = (Frontier::new(), Vec::new());
        for number in 0..size {
            let mark = if odd == Some(number) { 255 } else { 1 };
            frontier.append(leaf(Hash::new([mark; 32]), 10), &mut nodes);
        }
        (frontier, nodes)
    }

    fn signed(frontier: &Frontier, time: i64, key: u8) -> SignedCheckpoint {
        let root = frontier.root();
        let checkpoint = Checkpoint {
            cluster: 1,
            log: LogId::new(2),
            partition: PartitionId::new(3),
            epoch: Epoch::ZERO,
            tree_size: root.size,
            end_offset: Offset::new(root.node.records),
            root: *root.node.hash.as_bytes(),
            time: Timestamp::new(time),
            previous: [0; 32],
        };
        checkpoint.sign(&NodeKey::from_seed(&[key; 32]))
    }

    fn proof(nodes: &[Node], first: u64, second: u64) -> ConsistencyProof {
        let node = |range| {
            let parts: Vec<Node> = cover(range)
                .into_iter()
                .map(|id| nodes[usize::try_from(id.number()).unwrap()])
                .collect();
            bag(&parts)
        };
        ConsistencyProof {
            nodes: consistency_ranges(first, second).into_iter().map(node).collect(),
        }
    }

    fn key(seed: u8) -> PublicKey {
        NodeKey::from_seed(&[seed; 32]).public()
    }

    #[test]
    fn a_log_that_grows_is_believed_step_by_step() {
        let mut trust = Trust::new(SUBJECT, vec![key(1)]);
        let mut known = 0;
        for size in [1, 2, 5, 5, 8, 13] {
            let (frontier, nodes) = tree(size, None);
            let new = signed(&frontier, 1, 1);
            let need = trust.need(new).unwrap();
            let expected =
                (known > 0 && known < size).then_some(Need { first: known, second: size });
            assert_eq!(need, expected);
            let proof = proof(&nodes, known, size);
            trust.advance(new, &proof).unwrap();
            assert_eq!(trust.last(), Some(&new.into()));
            known = size;
        }
    }

    #[test]
    fn rollback_fork_key_and_stranger_are_each_their_own_refusal() {
        let (frontier, nodes) = tree(8, None);
        let believed = signed(&frontier, 5, 1);
        let mut trust = Trust::new(SUBJECT, Vec::new());
        trust.advance(believed, &ConsistencyProof::default()).unwrap();

        let shorter = signed(&tree(7, None).0, 6, 1);
        let refused = trust.need(shorter).unwrap_err();
        assert!(
            matches!(&refused, Distrust::Rollback { known, found, evidence }
            if known.get() == 80 && found.get() == 70 && evidence.as_ref().unwrap().verify().is_ok()),
            "{refused}"
        );

        let other = signed(&tree(8, Some(3)).0, 6, 1);
        let refused = trust.need(other).unwrap_err();
        assert!(
            matches!(&refused, Distrust::Fork { end, evidence }
            if end.get() == 80 && evidence.as_ref().unwrap().verify().is_ok()),
            "{refused}"
        );

        // A longer tree with another past: its own proof does not fit the root that is believed.
        let (longer, other_nodes) = tree(13, Some(3));
        let refused =
            trust.advance(signed(&longer, 6, 1), &proof(&other_nodes, 8, 13)).unwrap_err();
        assert!(matches!(refused, Distrust::Inconsistent { .. }), "{refused}");
        assert_eq!(trust.last(), Some(&believed.into()), "nothing was taken");

        let grown = tree(9, None);
        let refused = trust.need(signed(&grown.0, 6, 2)).unwrap_err();
        assert_eq!(refused, Distrust::Key { found: key(2) }, "the first key seen is the one");

        let mut foreign = *signed(&frontier, 6, 1).checkpoint();
        foreign.partition = PartitionId::new(4);
        let refused = trust.need(foreign.sign(&NodeKey::from_seed(&[1; 32]))).unwrap_err();
        assert!(matches!(refused, Distrust::Foreign { .. }), "{refused}");
        drop(nodes);
    }

    #[test]
    fn a_pinned_key_is_asked_for_from_the_first_checkpoint_on() {
        let mut trust = Trust::new(SUBJECT, vec![key(1), key(2)]);
        let first = signed(&tree(3, None).0, 1, 3);
        assert_eq!(trust.resume(first), Err(Distrust::Key { found: key(3) }));
        assert_eq!(
            trust.advance(first, &ConsistencyProof::default()),
            Err(Distrust::Key { found: key(3) })
        );
        trust.resume(signed(&tree(3, None).0, 1, 2)).unwrap();
    }
}
