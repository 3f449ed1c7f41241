//! The machine of verification of one partition: whether what a consumer gets is in the tree that the server has stated, and
//! whether that tree still continues the one it stated before. Pure: it says what to ask for, and takes the answers.
//!
//! *Every* batch: the tree of all batches before the next one is known by its peaks. The first proof of a record gives them (its
//! left siblings are those peaks), and from then on each batch that arrives is appended to them, hashed here. What the
//! server still has to show, once per answer and not per batch, is that the tree so made is the beginning of the
//! checkpoint's: a consistency proof. So nothing that it sends is believed, and a window of a thousand batches costs one request.
//! What no checkpoint covers yet is held back.
//!
//! *Sampled*: every so-many-th batch, chosen by a secret, is proven to be in the tree after it was handed out.
//!
//! Either way the offsets of what arrives have to follow each other without a hole, and a log must not end before a
//! checkpoint that was believed when it was asked.
//!
//! Rejected: leaves of the window by `ReadTree`, compared one by one. They have to be folded into the root as well, which the
//! hashes of what arrived do without them. They are asked for when something is wrong, to say which batch it is.

mod unverified;

use std::collections::VecDeque;
use std::ops::Range;

use pyralog_log::ids::Offset;
use pyralog_log::merkle::{
    ConsistencyProof, Frontier, Hash, InclusionProof, Node, ProofError, Root, join, leaf,
};
use pyralog_log::proof::audit::Change;
use pyralog_log::proof::{Distrust, Need, Stated, Trust};

use crate::limits::SAMPLES_DUE_MAX;
pub use unverified::{Failure, Unverified};

/// A batch as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its offsets, as its header says.
    pub offsets: Range<Offset>,
    /// The hash of its header and body.
    pub hash: Hash,
}

impl Received {
    /// Its leaf in the tree, if it is there.
    fn leaf(&self) -> Node {
        leaf(self.hash, self.offsets.end.since(self.offsets.start))
    }
}

/// The batches of one answer to a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The offset that was asked for, if it was one.
    pub asked: Option<Offset>,
    /// Where reading goes on, if that is known.
    pub next: Option<Offset>,
    /// Where reading ends: what begins there or behind it need not be proven.
    pub end: Option<Offset>,
    /// Where the server says that the log ended.
    pub high: Offset,
    /// The batches, in the order in which they came.
    pub batches: Vec<Received>,
}

/// What the server has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The newest checkpoint.
    Checkpoint,
    /// That a batch holds `offset` in the tree of `size` batches.
    Record {
        /// The offset.
        offset: Offset,
        /// Batches of the tree.
        size: u64,
    },
    /// That the tree of `first` batches is the beginning of that of `second`.
    Consistency {
        /// Batches of the smaller tree.
        first: u64,
        /// Batches of the larger.
        second: u64,
    },
    /// Leaves, to say what is wrong.
    Leaves(Range<u64>),
}

/// What the server says, as bytes: nothing of it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A checkpoint, empty if there is none; and why the tree stands still, if it does.
    Checkpoint(Vec<u8>, Option<String>),
    /// The proof that was asked for.
    Proof(Vec<u8>),
    /// Leaves.
    Leaves(Vec<Node>),
    /// It does not say, for good; and why.
    Refused(String),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask, and tell the answer.
    Ask(Ask),
    /// What is due is behind the newest checkpoint: wait a while, then [`Verifier::again`].
    Wait,
    /// Nothing is due.
    Done,
}

/// Which batches are proven.
#[derive(Clone, Debug)]
pub enum Choice {
    /// Every one, before it is handed out.
    Every,
    /// One of so many.
    Sampled {
        /// One of how many, at least 1.
        one_of: u32,
        /// Entropy: whoever does not know it cannot tell which batches will be proven.
        secret: Hash,
    },
}

impl Choice {
    fn takes(&self, batch: &Received) -> bool {
        match self {
            Self::Every => true,
            Self::Sampled { one_of, secret } => {
                let secret = Node { hash: *secret, records: 0 };
                let drawn = join(secret, batch.leaf()).hash;
                let word = drawn.as_bytes().first_chunk().expect("a hash has 32 bytes");
                u64::from_le_bytes(*word) <= u64::MAX / u64::from((*one_of).max(1))
            }
        }
    }
}

/// A window that did not lead to the checkpoint: its leaves will tell whether the records or the proof are wrong.
#[derive(Clone, Debug)]
struct Suspect {
    before: Frontier,
    count: u64,
    way: Way,
    error: ProofError,
}

/// How the leaves of a suspect are bound to the checkpoint.
#[derive(Clone, Debug)]
enum Way {
    /// The first of them by this proof.
    Inclusion(InclusionProof, Offset),
    /// All of them by this one; none if they end the tree.
    Consistency(ConsistencyProof),
}

/// The machine. Invariant: what lies before the first batch that is due was proven, in every-batch mode.
#[derive(Clone, Debug)]
pub struct Verifier {
    trust: Trust,
    choice: Choice,
    /// Batches that are to be proven, in order.
    due: VecDeque<Received>,
    /// The tree of what lies before them, once it is known.
    frontier: Option<Frontier>,
    /// The newest checkpoint was asked for, since the beginning and since the last trouble.
    is_fresh: bool,
    /// The newest checkpoint does not cover what is due.
    is_early: bool,
    /// A checkpoint that will be believed when it is proven to continue the last.
    candidate: Option<(Stated, Need)>,
    suspect: Option<Suspect>,
    has_refused: bool,
}

impl Verifier {
    /// Verifies what `choice` takes, against checkpoints that `trust` believes.
    #[must_use]
    pub const fn new(trust: Trust, choice: Choice) -> Self {
        Self {
            trust,
            choice,
            due: VecDeque::new(),
            frontier: None,
            is_fresh: false,
            is_early: false,
            candidate: None,
            suspect: None,
            has_refused: false,
        }
    }

    /// Whether batches are held back until they are proven.
    #[must_use]
    pub const fn holds_back(&self) -> bool {
        matches!(self.choice, Choice::Every)
    }

    /// The last checkpoint that was believed.
    #[must_use]
    pub const fn last(&self) -> Option<&Stated> {
        self.trust.last()
    }

    /// The end of the log by the last checkpoint that was believed.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.trust.last().map_or(Offset::ZERO, |last| last.checkpoint().end_offset)
    }

    /// Where the first batch begins that is not proven yet.
    #[must_use]
    pub fn due_from(&self) -> Option<Offset> {
        self.due.front().map(|batch| batch.offsets.start)
    }

    /// Whether so many samples wait that no more should be read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.due.len() >= SAMPLES_DUE_MAX
    }

    /// Reading goes on elsewhere: what was received and held back is forgotten. What was believed is not, and samples of what
    /// was handed out stay due.
    pub fn moved(&mut self) {
        if self.holds_back() {
            self.due.clear();
        }
        self.frontier = None;
        self.candidate = None;
        self.suspect = None;
        (self.is_fresh, self.is_early, self.has_refused) = (false, false, false);
    }

    /// A while has passed: there may be a newer checkpoint.
    pub fn again(&mut self) {
        self.is_early = false;
    }

    /// An answer to a fetch is here, which was sent when the log had at least `floor` records.
    ///
    /// # Errors
    /// If it has a hole, or ends too early: then none of it is to be handed out.
    ///
    /// # Panics
    /// If batches of the answer before are still held back.
    pub fn received(&mut self, answer: Answer, floor: Offset) -> Result<(), Failure> {
        if answer.high < floor {
            return Err(Failure::changed(answer.high..floor, Change::Dropped));
        }
        follows(&answer)?;
        let Answer { batches, end, .. } = answer;
        if self.holds_back() {
            assert!(self.due.is_empty(), "one answer at a time");
            let first = batches.first().map(|batch| batch.offsets.start);
            let is_next = |frontier: &Frontier| Some(Offset::new(frontier.records())) == first;
            self.frontier = self.frontier.take().filter(is_next);
        }
        let is_wanted = |batch: &Received| end.is_none_or(|end| batch.offsets.start < end);
        let choice = &self.choice;
        self.due
            .extend(batches.into_iter().filter(|batch| is_wanted(batch) && choice.takes(batch)));
        self.is_early = false;
        Ok(())
    }

    /// What to do next.
    ///
    /// # Errors
    /// If what is due is not what was stated.
    pub fn step(&mut self) -> Result<Step, Failure> {
        if let Some((_, Need { first, second })) = self.candidate {
            return Ok(Step::Ask(Ask::Consistency { first, second }));
        }
        if !self.is_fresh {
            return Ok(Step::Ask(Ask::Checkpoint));
        }
        if let Some(suspect) = &self.suspect {
            let first = suspect.before.size();
            return Ok(Step::Ask(Ask::Leaves(first..first + suspect.count)));
        }
        let Some(front) = self.due.front() else { return Ok(Step::Done) };
        let Some(tree) = self.tree().filter(|_| front.offsets.start < self.end()) else {
            let step = if self.is_early { Step::Wait } else { Step::Ask(Ask::Checkpoint) };
            return Ok(step);
        };
        let (offset, size) = (front.offsets.start, tree.size);
        if front.offsets.end > self.end() {
            // A tree ends where a batch ends.
            return Err(Failure::changed(front.offsets.clone(), Change::Altered));
        }
        let window = self.frontier.as_ref().filter(|_| self.holds_back());
        let Some(before) = window else { return Ok(Step::Ask(Ask::Record { offset, size })) };
        let (after, count) = self.after(before, &tree);
        if after.size() < size {
            let (first, second) = (after.size(), size);
            return Ok(Step::Ask(Ask::Consistency { first, second }));
        }
        if after.root() == tree && count > 0 {
            self.proven(after, count);
        } else {
            let (before, way) = (before.clone(), Way::Consistency(ConsistencyProof::default()));
            self.suspect = Some(Suspect { before, count, way, error: ProofError::Root });
        }
        self.step()
    }

    /// The server has answered what was asked.
    ///
    /// # Errors
    /// If the answer shows that something is wrong. Reading can go on elsewhere after [`Verifier::moved`].
    pub fn told(&mut self, told: Told) -> Result<(), Failure> {
        match told {
            Told::Checkpoint(bytes, fault) => return self.checkpoint(&bytes, fault),
            Told::Leaves(leaves) => return Err(self.judge(&leaves)),
            Told::Refused(why) => return self.refused(why),
            Told::Proof(bytes) if self.candidate.is_some() => self.continued(&bytes)?,
            Told::Proof(bytes) if self.holds_back() && self.frontier.is_some() => {
                self.window(&bytes)?;
            }
            Told::Proof(bytes) => self.record(&bytes)?,
        }
        self.has_refused = false;
        Ok(())
    }

    /// The tree that is believed.
    fn tree(&self) -> Option<Root> {
        self.trust.last().map(|last| last.checkpoint().tree())
    }

    /// What follows from the batches that are due as far as `tree` reaches, and how many they are.
    fn after(&self, before: &Frontier, tree: &Root) -> (Frontier, u64) {
        let room = tree.size.saturating_sub(before.size());
        let end = Offset::new(tree.node.records);
        let covered = self.due.iter().take_while(|batch| batch.offsets.end <= end);
        let (mut after, mut count) = (before.clone(), 0);
        for (batch, _) in covered.zip(0..room) {
            after.append(batch.leaf(), &mut Vec::new());
            count += 1;
        }
        (after, count)
    }

    /// The first `count` batches that are due are proven, and make the tree `after`.
    fn proven(&mut self, after: Frontier, count: u64) {
        self.due.drain(..usize::try_from(count).expect("they are in memory"));
        self.frontier = Some(after);
    }

    /// What a failure is about that concerns everything that is due.
    fn all_due(&self) -> Range<Offset> {
        match (self.due.front(), self.due.back()) {
            (Some(first), Some(last)) => first.offsets.start..last.offsets.end,
            _ => Offset::ZERO..self.end(),
        }
    }

    fn failed(&self, why: Unverified) -> Failure {
        Failure { offsets: self.all_due(), why }
    }

    fn checkpoint(&mut self, bytes: &[u8], fault: Option<String>) -> Result<(), Failure> {
        self.is_fresh = true;
        if bytes.is_empty() && self.trust.last().is_some() {
            let offsets = Offset::ZERO..self.end();
            return Err(Failure { offsets, why: Unverified::Withdrawn });
        }
        let mut covered = Offset::ZERO;
        if !bytes.is_empty() {
            let stated = Stated::decode(bytes);
            let stated = stated.map_err(|error| self.failed(Unverified::Checkpoint(error)))?;
            covered = stated.checkpoint().end_offset;
            match self.trust.need(stated).map_err(|distrust| distrusted(&stated, distrust))? {
                Some(need) => self.candidate = Some((stated, need)),
                None => self.believe(stated, &ConsistencyProof::default())?,
            }
        }
        let is_covered = self.due.front().is_none_or(|front| front.offsets.start < covered);
        self.is_early = !is_covered;
        match fault {
            Some(why) if !is_covered => Err(self.failed(Unverified::StandsStill { why })),
            _ => Ok(()),
        }
    }

    fn believe(&mut self, stated: Stated, proof: &ConsistencyProof) -> Result<(), Failure> {
        self.trust.advance(stated, proof).map_err(|distrust| distrusted(&stated, distrust))
    }

    /// The proof that a newer checkpoint continues the last one.
    fn continued(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some((stated, _)) = self.candidate.take() else { return Ok(()) };
        let proof = ConsistencyProof::decode(bytes).map_err(|error| self.no_proof(error))?;
        self.believe(stated, &proof)
    }

    fn no_proof(&self, error: ProofError) -> Failure {
        self.failed(Unverified::Proof(error))
    }

    /// The proof that what arrived continues what was proven, up to the checkpoint.
    fn window(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let proof = ConsistencyProof::decode(bytes).map_err(|error| self.no_proof(error))?;
        let (Some(tree), Some(before)) = (self.tree(), self.frontier.clone()) else {
            return Ok(());
        };
        let (after, count) = self.after(&before, &tree);
        match proof.verify(&after.root(), &tree) {
            Ok(()) => self.proven(after, count),
            Err(error) => {
                let way = Way::Consistency(proof);
                self.suspect = Some(Suspect { before, count, way, error });
            }
        }
        Ok(())
    }

    /// The proof of the first batch that is due.
    fn record(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let proof = InclusionProof::decode(bytes).map_err(|error| self.no_proof(error))?;
        let (Some(tree), Some(front)) = (self.tree(), self.due.front()) else { return Ok(()) };
        let offset = front.offsets.start;
        let before = proof.before(&tree, offset);
        let mut before = before.ok_or_else(|| self.no_proof(ProofError::Counts))?;
        match proof.verify(&tree, offset, front.hash) {
            Ok(place) if place.offsets == front.offsets => {
                before.append(front.leaf(), &mut Vec::new());
                self.proven(before, 1);
                Ok(())
            }
            Ok(_) => Err(Failure::changed(front.offsets.clone(), Change::Altered)),
            Err(error) => {
                let way = Way::Inclusion(proof, offset);
                self.suspect = Some(Suspect { before, count: 1, way, error });
                Ok(())
            }
        }
    }

    /// What the leaves tell about a window: the first batch that is not the one that was stated, or that the server proves
    /// nothing.
    fn judge(&mut self, leaves: &[Node]) -> Failure {
        let (Some(suspect), Some(tree)) = (self.suspect.take(), self.tree()) else {
            return self.no_proof(ProofError::Root);
        };
        let is_whole = leaves.len() as u64 == suspect.count;
        let are_stated = is_whole
            && match &suspect.way {
                Way::Inclusion(proof, offset) => proof.leads(&tree, *offset, leaves[0]),
                Way::Consistency(proof) => {
                    let mut after = suspect.before.clone();
                    for leaf in leaves {
                        after.append(*leaf, &mut Vec::new());
                    }
                    let root = after.root();
                    root == tree || proof.verify(&root, &tree).is_ok()
                }
            };
        let mut start = Offset::new(suspect.before.records());
        let pairs = leaves.iter().zip(&self.due).filter(|_| are_stated);
        for (stated, batch) in pairs {
            let end = Offset::new(start.get().saturating_add(stated.records));
            if *stated != batch.leaf() {
                return Failure::changed(start..end, Change::Altered);
            }
            start = end;
        }
        self.no_proof(suspect.error)
    }

    /// A refusal may mean that the log was rolled back meanwhile, which its newest checkpoint tells. Twice means no.
    fn refused(&mut self, why: String) -> Result<(), Failure> {
        if let Some(suspect) = self.suspect.take() {
            return Err(self.no_proof(suspect.error));
        }
        self.candidate = None;
        if self.has_refused || !self.is_fresh {
            return Err(self.failed(Unverified::Withheld { why }));
        }
        (self.has_refused, self.is_fresh) = (true, false);
        Ok(())
    }
}

/// A checkpoint that is not believed, with the offsets that it concerns.
fn distrusted(stated: &Stated, distrust: Distrust) -> Failure {
    let offsets = match &distrust {
        Distrust::Rollback { known, found, .. } => *found..*known,
        Distrust::Fork { end, .. } => Offset::ZERO..*end,
        Distrust::Inconsistent { known, .. } => Offset::ZERO..*known,
        _ => Offset::ZERO..stated.checkpoint().end_offset,
    };
    Failure { offsets, why: Unverified::Distrust(distrust) }
}

/// Checks that the batches begin where it was asked for, follow each other, and end where reading goes on.
fn follows(answer: &Answer) -> Result<(), Failure> {
    let mut expected = answer.asked;
    for (index, batch) in answer.batches.iter().enumerate() {
        let Range { start, end } = batch.offsets;
        // The first one holds the offset that was asked for.
        let begins = |expected: Offset| {
            start == expected || (index == 0 && start < expected && end > expected)
        };
        match expected {
            Some(expected) if start > expected => {
                let comes_later =
                    answer.batches[index..].iter().any(|batch| batch.offsets.start == expected);
                let change = if comes_later { Change::Reordered } else { Change::Dropped };
                return Err(Failure::changed(expected..start, change));
            }
            Some(expected) if !begins(expected) => {
                return Err(Failure::changed(start..expected.max(end), Change::Altered));
            }
            _ => expected = Some(end),
        }
    }
    match (expected, answer.next) {
        (Some(end), Some(next)) if end < next => Err(Failure::changed(end..next, Change::Dropped)),
        (Some(end), Some(next)) if end > next => Err(Failure::changed(next..end, Change::Altered)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
