//! Who deals from which slot: what tells a duplicate before it is handed out.

use std::collections::BTreeMap;

use pyralog_seq::pharaoh::Block;
use pyralog_seq::scarab::Slot;

use super::Member;
use crate::directory::ClusterId;

/// A node, as its Welcome named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The node.
    pub node: u64,
    /// Its cluster.
    pub cluster: ClusterId,
}

/// Which node, and the configured address that led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub member: Member,
    /// The node.
    pub identity: Identity,
}

/// Why no id can be trusted to be unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// Two nodes deal from one slot.
    Slot {
        /// The slot.
        slot: Slot,
        /// Who dealt from it first.
        first: Claim,
        /// Who did then.
        second: Claim,
    },
    /// The nodes are of two clusters.
    Clusters {
        /// Who was greeted first.
        first: Claim,
        /// Who is of another one.
        second: Claim,
    },
}

/// Who dealt from a slot last.
#[derive(Clone, Copy, Debug)]
struct Dealer {
    claim: Claim,
    /// No tick from this one on was seen.
    end: u64,
}

/// What is known. At most 1024 slots and the configured addresses.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Whoever was greeted last at each address.
    members: Vec<Option<Identity>>,
    /// Who was greeted first of all.
    began: Option<Claim>,
    slots: BTreeMap<Slot, Dealer>,
}

impl Ledger {
    pub(super) fn new(members: usize) -> Self {
        Self { members: vec![None; members], began: None, slots: BTreeMap::new() }
    }

    /// A node was greeted at an address.
    ///
    /// # Errors
    /// If it is of another cluster than those before: ids are unique within one.
    pub(super) fn greeted(&mut self, member: Member, identity: Identity) -> Result<(), Conflict> {
        let second = Claim { member, identity };
        let first = *self.began.get_or_insert(second);
        if first.identity.cluster != identity.cluster {
            return Err(Conflict::Clusters { first, second });
        }
        self.members[member.0] = Some(identity);
        Ok(())
    }

    /// The node at an address, which was greeted, dealt a block.
    ///
    /// A node may go on with the slots of one that is at no address any more: its successor. But not where that one has
    /// been: then one of them did not keep what it promised.
    ///
    /// # Errors
    /// If the slot is another node's.
    pub(super) fn dealt(&mut self, member: Member, block: &Block) -> Result<(), Conflict> {
        let identity = self.members[member.0].expect("only those who were greeted are asked");
        let (claim, slot) = (Claim { member, identity }, block.slot());
        let end = block.first().get() + u64::from(block.count());
        let dealer = self.slots.entry(slot).or_insert(Dealer { claim, end });
        if dealer.claim.identity.node != identity.node {
            let there =
                self.members.iter().flatten().any(|at| at.node == dealer.claim.identity.node);
            if there || block.first().get() < dealer.end {
                return Err(Conflict::Slot { slot, first: dealer.claim, second: claim });
            }
        }
        *dealer = Dealer { claim, end: end.max(dealer.end) };
        Ok(())
    }
}
