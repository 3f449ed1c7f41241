//! The auditor of one partition: reads every batch, computes every root, and says where the server's word does not hold.
//!
//! It remembers an entry per batch and the last checkpoint that it believed. A round takes the newest checkpoint, reads the
//! batches up to it, and compares the root that came of them: equal roots prove that the new checkpoint continues the last
//! one, without any proof of the server's. If they differ, the leaves that the server claims tell where.
//!
//! What is asked of a server is the trait [`Source`], so that a test can be a dishonest one.

use std::ops::Range;

use super::audit::{Change, Entry, difference};
use super::{Distrust, Equivocation, SignedCheckpoint, Stated, Trust};
use crate::batch::{Decoder, Item, Items};
use crate::ids::Offset;
use crate::merkle::{ConsistencyProof, Frontier, Node, Root};

mod alarm;

pub use alarm::{Alarm, Kind};

/// Most batches that are compared from a difference on, to give it a name.
const COMPARED_MAX: usize = 64;

/// Most alarms of one reading: a log that is wrong everywhere is told so often and not for every batch.
const ALARMS_MAX: usize = 100;

/// What a read came to.
#[derive(Clone, Debug)]
pub enum Read {
    /// Batches and marks as they are stored, at least one batch. The first holds the offset that was asked for.
    Batches(Vec<u8>),
    /// The partition ends here.
    End,
    /// It begins behind this offset.
    Removed {
        /// Its first offset.
        low: Offset,
    },
    /// The server says that it cannot read these.
    Damaged {
        /// The offset after the last of them.
        next: Offset,
    },
}

/// What is asked of a server about one partition.
pub trait Source {
    /// Why it does not answer.
    type Error;

    /// The newest checkpoint, if there is one.
    ///
    /// # Errors
    /// If the server does not answer.
    fn checkpoint(&mut self) -> Result<Option<SignedCheckpoint>, Self::Error>;
    /// Batches from an offset on.
    ///
    /// # Errors
    /// If the server does not answer.
    fn read(&mut self, from: Offset) -> Result<Read, Self::Error>;
    /// The leaves that the server claims: fewer if it has not so many.
    ///
    /// # Errors
    /// If the server does not answer.
    fn leaves(&mut self, range: Range<u64>) -> Result<Vec<Node>, Self::Error>;
    /// The server's proof that a tree continues another, if it gives one.
    ///
    /// # Errors
    /// If the server does not answer.
    fn consistency(
        &mut self,
        first: u64,
        second: u64,
    ) -> Result<Option<ConsistencyProof>, Self::Error>;
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Batches read.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A batch that was read: its offsets, and what is to be remembered of it, or why it is no sound batch.
type Seen = (Range<Offset>, Result<Entry, String>);

/// The auditor of one partition. Invariant: the frontier is that of the entries, and what lies beyond the last checkpoint
/// that was believed is forgotten at the end of a round.
pub struct Auditor {
    trust: Trust,
    frontier: Frontier,
    entries: Vec<Entry>,
    decoder: Decoder,
    /// What was found, in the order in which it was.
    pub alarms: Vec<Alarm>,
    /// What was read.
    pub coverage: Coverage,
}

impl Auditor {
    /// An auditor that goes on from what it remembers; nothing for a new one.
    #[must_use]
    pub fn new(trust: Trust, entries: Vec<Entry>) -> Self {
        let mut frontier = Frontier::new();
        for entry in &entries {
            frontier.append(entry.leaf, &mut Vec::new());
        }
        Self {
            trust,
            frontier,
            entries,
            decoder: Decoder::new(),
            alarms: Vec::new(),
            coverage: Coverage::default(),
        }
    }

    /// Whether what it remembers has the root of the checkpoint that it goes on from.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.trust.last().is_none_or(|last| last.checkpoint().tree() == self.frontier.root())
    }

    /// The last checkpoint that was believed.
    #[must_use]
    pub fn last(&self) -> Option<&SignedCheckpoint> {
        self.trust.last().and_then(Stated::signed)
    }

    /// What it remembers, one entry per batch of that checkpoint.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Reads up to the newest checkpoint and compares.
    ///
    /// # Errors
    /// If the server does not answer. What is wrong with the log is an alarm and no error.
    pub fn round<S: Source>(&mut self, source: &mut S) -> Result<(), S::Error> {
        let Some(new) = source.checkpoint()? else {
            if let Some(last) = self.trust.last() {
                let gone = Offset::ZERO..last.checkpoint().end_offset;
                let what =
                    "there was a signed checkpoint of these records, and there is none any more";
                self.alarms.push(Alarm::new(Kind::RolledBack, gone, what));
            }
            return Ok(());
        };
        if let Err(distrust) = self.trust.need(new) {
            self.refuse(source, &new, distrust);
            return Ok(());
        }
        let start = (self.entries.len(), self.frontier.clone());
        let read = self.read_to(source, &new);
        let believed = matches!(read, Ok(true)) && self.believe(source, &new);
        if !believed {
            self.entries.truncate(start.0);
            self.frontier = start.1;
        }
        read.map(drop)
    }

    /// Takes a checkpoint whose batches were read, if they have its root; otherwise says where they differ.
    fn believe<S: Source>(&mut self, source: &mut S, new: &SignedCheckpoint) -> bool {
        let root = self.frontier.root();
        if self.trust.advance_by_reading(*new, &root).is_ok() {
            return true;
        }
        let alarm = self.locate(source, new);
        self.alarms.push(alarm);
        false
    }

    /// A checkpoint that cannot be believed, whatever the batches are.
    fn refuse<S: Source>(&mut self, source: &mut S, new: &SignedCheckpoint, distrust: Distrust) {
        let what = distrust.to_string();
        let alarm = match distrust {
            Distrust::Rollback { known, found, evidence } => {
                let alarm = Alarm::new(Kind::RolledBack, found..known, what);
                with_evidence(alarm, evidence)
            }
            Distrust::Fork { evidence, .. } => {
                let mut alarm = with_evidence(self.locate(source, new), evidence);
                alarm.kind = Kind::Forked;
                alarm
            }
            _ => Alarm::new(Kind::BadSignature, Offset::ZERO..new.checkpoint().end_offset, what),
        };
        self.alarms.push(alarm);
    }

    /// Reads batches until there are as many as the checkpoint has; `false` with an alarm if that cannot be.
    fn read_to<S: Source>(
        &mut self,
        source: &mut S,
        new: &SignedCheckpoint,
    ) -> Result<bool, S::Error> {
        let (size, end) = (new.checkpoint().tree_size, new.checkpoint().end_offset);
        // What is left of a batch may begin within it.
        let mut low = Offset::ZERO;
        while self.frontier.size() < size {
            let from = Offset::new(self.frontier.records());
            let before = (self.frontier.size(), low);
            let alarm = match source.read(from.max(low))? {
                Read::Batches(bytes) => self.take(&bytes, (from, size)),
                Read::Removed { low: now } => {
                    low = low.max(now);
                    self.take_removed(source, low, new)?
                }
                Read::Damaged { next } => {
                    let what = "the server says that it cannot read them";
                    Some(Alarm::new(Kind::Changed(Change::Dropped), from..next.max(from), what))
                }
                Read::End => None,
            };
            let stuck = (self.frontier.size(), low) == before;
            let missing = || {
                let what = format!(
                    "the log ends at offset {from}, a signed checkpoint covers the offsets below {end}"
                );
                Alarm::new(Kind::Changed(Change::Dropped), from..end.max(from), what)
            };
            if let Some(alarm) = alarm.or_else(|| stuck.then(missing)) {
                self.alarms.push(alarm);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Appends the batches of a payload, up to `size` of them all, or says which of them cannot follow.
    fn take(&mut self, bytes: &[u8], (from, size): (Offset, u64)) -> Option<Alarm> {
        let mut expected = from;
        for (offsets, entry) in self.seen(bytes, from) {
            if self.frontier.size() == size {
                break;
            }
            match follows(expected, &offsets, &entry) {
                Ok(entry) => self.append(entry),
                Err(alarm) => return Some(alarm),
            }
            expected = offsets.end;
        }
        None
    }

    fn append(&mut self, entry: Entry) {
        self.frontier.append(entry.leaf, &mut Vec::new());
        self.entries.push(entry);
    }

    /// Records that were removed before they were audited: their leaves are the server's word, which the root has to bear.
    fn take_removed<S: Source>(
        &mut self,
        source: &mut S,
        low: Offset,
        new: &SignedCheckpoint,
    ) -> Result<Option<Alarm>, S::Error> {
        let (size, end) = (new.checkpoint().tree_size, new.checkpoint().end_offset);
        let from = Offset::new(self.frontier.records());
        let gone = |what: &str| {
            Ok(Some(Alarm::new(
                Kind::Changed(Change::Dropped),
                from..low.clamp(from, end.max(from)),
                what,
            )))
        };
        while self.frontier.size() < size {
            let first = self.frontier.size();
            let leaves = source.leaves(first..size.min(first + 1024))?;
            if leaves.is_empty() {
                return gone("they are not there any more, and neither are their leaves");
            }
            for leaf in leaves {
                let next = Offset::new(self.frontier.records().saturating_add(leaf.records));
                if leaf.records == 0 || next > end {
                    return gone(
                        "they are not there any more, and their leaves are those of no tree",
                    );
                }
                if next > low || self.frontier.size() == size {
                    return Ok(None);
                }
                self.append(Entry { leaf, digest: None });
            }
        }
        Ok(None)
    }

    /// The batches of a payload that end behind `from`.
    fn seen(&mut self, bytes: &[u8], from: Offset) -> Vec<Seen> {
        let mut seen = Vec::new();
        for item in Items::new(bytes) {
            let batch = match item {
                Ok(Item::Batch(batch)) => batch,
                Ok(Item::Mark(_)) => continue,
                Err(error) => {
                    let at = seen.last().map_or(from, |(offsets, _): &Seen| offsets.end);
                    seen.push((at..at, Err(error.to_string())));
                    break;
                }
            };
            let offsets = batch.header().owner.base_offset..batch.header().next_offset();
            if offsets.end <= from {
                continue;
            }
            let entry = batch.verify().and_then(|batch| Entry::of(&batch, &mut self.decoder));
            self.coverage.batches += 1;
            self.coverage.records += offsets.end.since(offsets.start);
            self.coverage.bytes += batch.bytes().len() as u64;
            seen.push((offsets, entry.map_err(|error| error.to_string())));
        }
        seen
    }

    /// The leaves that the server claims where this auditor has entries. There may be fewer: that roots differ is certain
    /// already, and a server that does not say where does not silence the alarm.
    fn claimed<S: Source>(&self, source: &mut S) -> Vec<Node> {
        let size = self.entries.len() as u64;
        let mut leaves = Vec::new();
        while (leaves.len() as u64) < size {
            let first = leaves.len() as u64;
            match source.leaves(first..size.min(first + 1024)) {
                Ok(page) if !page.is_empty() => leaves.extend(page),
                _ => break,
            }
        }
        leaves
    }

    /// Where the tree of the checkpoint and what was read part, as far as the leaves that the server claims tell.
    fn locate<S: Source>(&self, source: &mut S, new: &SignedCheckpoint) -> Alarm {
        let leaves = self.claimed(source);
        let audited = self.trust.last().map_or(0, |last| last.checkpoint().tree_size);
        let audited_end =
            self.trust.last().map_or(Offset::ZERO, |last| last.checkpoint().end_offset);
        let pairs = self.entries.iter().zip(&leaves);
        let same = pairs.take_while(|(entry, leaf)| entry.leaf == **leaf).count();
        let start: u64 = self.entries[..same].iter().map(|entry| entry.leaf.records).sum();
        let Some(entry) = self.entries.get(same).filter(|_| same < leaves.len()) else {
            let what = if leaves.is_empty() {
                "what is read does not lead to the signed root, and the server does not show its tree"
            } else {
                "the signed root is not the root of the tree that is served"
            };
            return Alarm::new(Kind::Forked, audited_end..new.checkpoint().end_offset, what);
        };
        let offsets = Offset::new(start)..Offset::new(start.saturating_add(entry.leaf.records));
        if (same as u64) < audited {
            let what = "the tree that is served now is not the one that was audited: this batch is the first that differs";
            let alarm = Alarm::new(Kind::Forked, offsets, what);
            return self.with_past(source, alarm, (new, &leaves));
        }
        let claimed: Vec<Entry> = leaves[same..]
            .iter()
            .take(COMPARED_MAX)
            .map(|leaf| Entry { leaf: *leaf, digest: None })
            .collect();
        let change = difference(offsets.start, &claimed, &self.entries[same..]);
        let (change, offsets) = change.unwrap_or((Change::Altered, offsets));
        let what = "what is read is not what was signed";
        Alarm::new(Kind::Changed(change), offsets, what)
    }

    /// Adds the evidence that a longer tree has another past than the one that was signed before.
    fn with_past<S: Source>(
        &self,
        source: &mut S,
        alarm: Alarm,
        (new, leaves): (&SignedCheckpoint, &[Node]),
    ) -> Alarm {
        let Some(last) = self.last() else { return alarm };
        let (first, second) = (last.checkpoint().tree_size, new.checkpoint().tree_size);
        if first == second {
            return alarm.with_evidence(Equivocation::pair(*last, *new));
        }
        let Ok(Some(proof)) = source.consistency(first, second) else { return alarm };
        let mut past = Frontier::new();
        for leaf in leaves.iter().take(usize::try_from(first).unwrap_or(usize::MAX)) {
            past.append(*leaf, &mut Vec::new());
        }
        let Root { node, .. } = past.root();
        alarm.with_evidence(Equivocation::with_past(*last, *new, (node, proof)))
    }

    /// Reads again what was audited before, from the first record that is left, and compares with what is remembered.
    ///
    /// # Errors
    /// As [`Auditor::round`].
    pub fn reread<S: Source>(&mut self, source: &mut S) -> Result<(), S::Error> {
        let Some(end) = self.trust.last().map(|last| last.checkpoint().end_offset) else {
            return Ok(());
        };
        let (mut index, mut at) = (0, Offset::ZERO);
        while at < end && self.alarms.len() < ALARMS_MAX {
            let start = at;
            match source.read(at)? {
                Read::Batches(bytes) => {
                    let seen = self.seen(&bytes, at);
                    if let Some(offsets) = self.compare(source, (&mut index, &mut at), seen)? {
                        at = offsets.end;
                        index = self.index_at(at);
                    }
                }
                Read::Removed { low } => {
                    index = self.index_at(low);
                    at = low.max(at);
                }
                Read::Damaged { next } => {
                    let next = next.max(at);
                    let what = "the server says that it cannot read them";
                    self.alarms.push(Alarm::new(Kind::Changed(Change::Dropped), at..next, what));
                    (at, index) = (next, self.index_at(next));
                }
                Read::End => {}
            }
            if at == start {
                let what = "they were audited and are not there any more";
                self.alarms.push(Alarm::new(Kind::Changed(Change::Dropped), at..end, what));
                break;
            }
        }
        Ok(())
    }

    /// The number of the first batch that ends behind `offset`.
    fn index_at(&self, offset: Offset) -> usize {
        let mut records = 0_u64;
        let ends_before = |entry: &&Entry| {
            records += entry.leaf.records;
            records <= offset.get()
        };
        self.entries.iter().take_while(ends_before).count()
    }

    /// Compares what was seen with what is remembered, as far as that reaches; the offsets of the first difference.
    fn compare<S: Source>(
        &mut self,
        source: &mut S,
        (index, at): (&mut usize, &mut Offset),
        mut seen: Vec<Seen>,
    ) -> Result<Option<Range<Offset>>, S::Error> {
        let mut same = 0;
        for (offsets, entry) in &seen {
            let Some(remembered) = self.entries.get(*index) else { return Ok(None) };
            // The first one may begin before the first record that is left.
            let is_here = offsets.start <= *at && offsets.end > *at;
            if !is_here || entry.as_ref().map(|entry| entry.leaf) != Ok(remembered.leaf) {
                break;
            }
            (*index, *at, same) = (*index + 1, offsets.end, same + 1);
        }
        if same == seen.len() {
            return Ok(None);
        }
        let mut rest = seen.split_off(same);
        let expected = *at;
        if let Err(alarm) = follows(expected, &rest[0].0, &rest[0].1) {
            let offsets = alarm.offsets.clone();
            self.alarms.push(alarm);
            return Ok(Some(offsets));
        }
        // More of what follows tells whether it has only moved.
        while rest.len() < COMPARED_MAX {
            let next = rest.last().map_or(expected, |(offsets, _)| offsets.end);
            let Read::Batches(bytes) = source.read(next)? else { break };
            let more = self.seen(&bytes, next);
            if more.is_empty() {
                break;
            }
            rest.extend(more);
        }
        let found: Vec<Entry> = rest.into_iter().map_while(|(_, entry)| entry.ok()).collect();
        let remembered = &self.entries[*index..self.entries.len().min(*index + COMPARED_MAX)];
        let Some((change, offsets)) = difference(expected, remembered, &found) else {
            return Ok(None);
        };
        let what = "they are not what they were when they were audited";
        self.alarms.push(Alarm::new(Kind::Changed(change), offsets.clone(), what));
        Ok(Some(offsets))
    }
}

/// Adds the evidence, if there is any.
fn with_evidence(alarm: Alarm, evidence: Option<Box<Equivocation>>) -> Alarm {
    match evidence {
        Some(evidence) => alarm.with_evidence(*evidence),
        None => alarm,
    }
}

/// The entry of a batch that was read where `expected` is the next offset, or why it cannot stand there.
fn follows(
    expected: Offset,
    offsets: &Range<Offset>,
    entry: &Result<Entry, String>,
) -> Result<Entry, Alarm> {
    if offsets.start > expected {
        let what = format!("what follows begins at offset {}", offsets.start);
        return Err(Alarm::new(Kind::Changed(Change::Dropped), expected..offsets.start, what));
    }
    let here = expected..offsets.end.max(expected);
    match entry {
        Err(problem) => Err(Alarm::new(Kind::Changed(Change::Altered), here, problem.clone())),
        Ok(_) if offsets.start < expected => {
            let what = format!("the batch there says that it begins at offset {}", offsets.start);
            Err(Alarm::new(Kind::Changed(Change::Altered), here, what))
        }
        Ok(entry) => Ok(*entry),
    }
}

#[cfg(test)]
mod tests;
