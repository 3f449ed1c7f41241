//! The latest record of a key, without a scan.
//!
//! The index is made by reading: a task of the background class follows the high watermark as any reader
//! does, so appends know nothing of it and what is not visible is in no index. It notes the latest offset
//! of each key of the segment that it is in, in a [`KeyTable`]; when it has left a segment and that is
//! closed, the table becomes the file `<base offset>.keys`, a map by fingerprint ([`crate::index::pphm`]).
//! A lookup first reads what the task has left, then asks the tables and files, newest first.
//!
//! Nothing that it finds is believed: the record at the offset has the key, or the segment is scanned.
//! What it does not find is believed if the bytes that say so have the right checksum, and the file says
//! that it is of this segment, of this generation and up to this end. Without such a file the segment is
//! scanned, counted, and indexed anew by the task. Where records cannot be read a segment has no index,
//! and whoever asks for a key that is not found behind them is told of the damage: it may have been there.
//!
//! Rejected: noting keys when they are appended. It would decompress and open every batch on the path of
//! the append, and would have to take back what lack of space takes back.

mod build;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use pyralog_runtime::channel::Event;
use pyralog_runtime::{rng, yield_if_needed};

use super::{Partition, Shell};
use crate::batch::{Decoder, Items};
use crate::ids::Offset;
use crate::index::key_table::{Found, KeyTable};
use crate::index::pphm;
use crate::limits::READ_BYTES_MAX;
use crate::partition::{Closed, Phase, Read, ReadError};
use build::KeyFile;

/// Rows that are looked at before others may run.
const ROWS_AT_ONCE: usize = 1024;

/// Tables held: of the segment that is written, and of the one before it until it has a file.
const TABLES_MAX: usize = 2;

/// The latest record of a key.
#[derive(Clone, Debug)]
pub struct Latest {
    /// Its offset.
    pub offset: Offset,
    /// The batch that it is in.
    pub read: Read,
}

/// Counters of an index of keys, since it was switched on, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyIndexStats {
    /// Lookups.
    pub lookups: u64,
    /// Segments that lookups scanned, because they had no index or the index named another key.
    pub scans: u64,
    /// Times that a lookup found another key where the index pointed to.
    pub mismatches: u64,
    /// Index files written.
    pub built: u64,
    /// Index files that could not be written.
    pub failed: u64,
    /// Keys held in memory.
    pub keys_held: u64,
}

/// The index of a partition.
pub(super) struct Keys {
    /// Seed of the hashes: secret, because keys come from strangers.
    seed: u64,
    /// Most keys of a table.
    held_max: usize,
    /// Oldest first; the last one is of the segment that is read.
    tables: RefCell<VecDeque<Rc<RefCell<KeyTable>>>>,
    /// Open index files, most recent last.
    files: RefCell<VecDeque<(Offset, Rc<KeyFile>)>>,
    /// Where the closed segments start that the task has looked at.
    checked: Cell<(Offset, Offset)>,
    /// Segments among them whose file turned out to be unusable.
    again: RefCell<BTreeSet<Offset>>,
    /// Segments of which no file can be made.
    without: RefCell<BTreeSet<Offset>>,
    /// Somebody is reading on for all.
    reading: Cell<bool>,
    read: Event,
    stats: Cell<KeyIndexStats>,
}

/// Holds the place of whoever reads on, also if it is dropped.
struct Reading<'a>(&'a Keys);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.reading.set(false);
        self.0.read.notify_all();
    }
}

/// What a walk through records meets.
enum Visit<'a> {
    /// A batch that starts there.
    Batch(Offset),
    /// A key of a record of that batch.
    Key(&'a [u8], Offset),
    /// The end of that batch.
    End(Offset),
}

/// A segment to look into.
struct Segment {
    offsets: Range<Offset>,
    index: Index,
}

enum Index {
    Table(Rc<RefCell<KeyTable>>),
    File(Closed),
}

impl Keys {
    fn new(shell: &Shell) -> Self {
        let held_max = shell.config.key_index_keys_max;
        let machine = shell.machine.borrow();
        let segment = machine.segment_of(machine.watermarks().high);
        let table = Rc::new(RefCell::new(KeyTable::new(segment, 0, held_max)));
        Self {
            seed: rng::entropy_u64(),
            held_max,
            tables: RefCell::new(VecDeque::from([table])),
            files: RefCell::default(),
            checked: Cell::new((segment, segment)),
            again: RefCell::default(),
            without: RefCell::default(),
            reading: Cell::new(false),
            read: Event::new(),
            stats: Cell::default(),
        }
    }

    fn count(&self, change: impl FnOnce(&mut KeyIndexStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    /// The table of the segment that is read.
    fn open_table(&self) -> Rc<RefCell<KeyTable>> {
        Rc::clone(self.tables.borrow().back().expect("there is always one"))
    }

    /// Everything visible before it is in the tables, or in segments before them.
    fn end(&self) -> Offset {
        self.open_table().borrow().end()
    }

    /// Goes on with the table of `segment`, if it is another one.
    fn enter(&self, segment: Offset) {
        let before = self.open_table();
        if segment <= before.borrow().segment() {
            return;
        }
        let mut table = KeyTable::new(segment, 0, self.held_max);
        if let Some(unread) = before.borrow().unread().filter(|unread| unread.end > segment) {
            table.skip(unread.clone());
        }
        let mut tables = self.tables.borrow_mut();
        tables.push_back(Rc::new(RefCell::new(table)));
        if tables.len() > TABLES_MAX {
            tables.pop_front(); // The task is behind: it reads the segment when it comes to it.
        }
    }

    /// The table of a segment, if it is still held.
    fn table_of(&self, segment: Offset) -> Option<Rc<RefCell<KeyTable>>> {
        let tables = self.tables.borrow();
        tables.iter().find(|table| table.borrow().segment() == segment).cloned()
    }

    /// A segment is gone, or was replaced: nothing of it is held any more.
    pub(super) fn forget(&self, segment: Offset) {
        self.files.borrow_mut().retain(|(base, _)| *base != segment);
        self.again.borrow_mut().remove(&segment);
        self.without.borrow_mut().remove(&segment);
    }

    /// The task has looked at a segment; its neighbours are next.
    fn note_checked(&self, segment: Offset) {
        let (first, end) = self.checked.get();
        let end = if segment < end { end } else { segment.next().unwrap_or(segment) };
        self.checked.set((first.min(segment), end));
        self.again.borrow_mut().remove(&segment);
    }
}

impl Partition {
    /// Switches the index of keys on or off, at once. Switched on it reads the segment that is written from
    /// its start, in the background. [`PartitionConfig::key_index`](super::PartitionConfig::key_index) is
    /// what it starts with.
    pub fn index_keys(&self, on: bool) {
        let shell = &self.shell;
        let is_on = shell.keys.borrow().is_some();
        if on && !is_on {
            let keys = Rc::new(Keys::new(shell));
            shell.keys.replace(Some(Rc::clone(&keys)));
            shell.start(build::run(self.clone(), keys));
        } else if !on {
            shell.keys.take();
            shell.changed.notify_all();
        }
    }

    /// Counters of the index of keys; zero without one.
    #[must_use]
    pub fn key_index_stats(&self) -> KeyIndexStats {
        let keys = self.shell.keys.borrow();
        let Some(keys) = &*keys else { return KeyIndexStats::default() };
        let held = keys.tables.borrow().iter().map(|table| table.borrow().len() as u64).sum();
        KeyIndexStats { keys_held: held, ..keys.stats.get() }
    }

    /// The latest record with this key that readers see, a tombstone like any other; `None` if there is
    /// none. Records of Arrow batches have no keys. It takes one read per segment back to the record, three
    /// more where the file of the index is not open, and one of the record; where an index is missing, the
    /// segment is read, and counted. May be dropped at any time.
    ///
    /// # Errors
    /// [`ReadError::NoKeyIndex`] without an index, [`ReadError::Damaged`] if records cannot be read that
    /// may have been later ones, and as [`Partition::read`].
    pub async fn latest_by_key(&self, key: &[u8]) -> Result<Option<Latest>, ReadError> {
        let keys = self.keys()?;
        let high = self.watermarks().high;
        keys.count(|stats| stats.lookups += 1);
        while keys.end() < high {
            self.read_on(&keys).await?;
        }
        let mut below = keys.end();
        while let Some(segment) = self.segment_before(&keys, below) {
            if segment.offsets.end < below {
                return Err(ReadError::Damaged { offsets: segment.offsets.end..below });
            }
            if let Some(latest) = self.look_into(&keys, &segment, key).await? {
                return Ok(Some(latest));
            }
            below = segment.offsets.start;
        }
        let low = self.watermarks().low;
        if low < below { Err(ReadError::Damaged { offsets: low..below }) } else { Ok(None) }
    }

    fn keys(&self) -> Result<Rc<Keys>, ReadError> {
        if self.shell.machine.borrow().phase() == Phase::Closed {
            return Err(ReadError::Closed);
        }
        self.shell.keys.borrow().clone().ok_or(ReadError::NoKeyIndex)
    }

    /// The newest segment that starts below an offset.
    fn segment_before(&self, keys: &Keys, below: Offset) -> Option<Segment> {
        let closed = self.shell.machine.borrow().closed_before(below);
        let tables = keys.tables.borrow();
        let table = tables.iter().rfind(|table| table.borrow().segment() < below);
        let held = table.map(|table| table.borrow().segment());
        match (table, closed) {
            (Some(table), closed) if closed.is_none_or(|closed| held >= Some(closed.base)) => {
                let start = table.borrow().segment();
                // One that is rolled out of ends where it was closed; one that is being so, at the next.
                let closed = closed.filter(|closed| closed.base == start).map(|closed| closed.end);
                let end = closed.unwrap_or_else(|| below.min(table.borrow().end()));
                Some(Segment { offsets: start..end, index: Index::Table(Rc::clone(table)) })
            }
            (_, Some(closed)) => {
                Some(Segment { offsets: closed.base..closed.end, index: Index::File(closed) })
            }
            (_, None) => None,
        }
    }

    /// The latest record with the key in a segment.
    async fn look_into(
        &self,
        keys: &Keys,
        segment: &Segment,
        key: &[u8],
    ) -> Result<Option<Latest>, ReadError> {
        let found = match &segment.index {
            Index::Table(table) => {
                let table = table.borrow();
                let found = table.find(pphm::hash(keys.seed, key));
                match (found, table.unread()) {
                    (Found::At(offset), Some(unread)) if unread.end <= offset => found,
                    (Found::At(_) | Found::Absent, Some(unread)) => {
                        return Err(ReadError::Damaged { offsets: unread.clone() });
                    }
                    _ => found,
                }
            }
            Index::File(closed) => self.find_in_file(keys, closed, key).await,
        };
        match found {
            Found::Absent => return Ok(None),
            Found::Unknown => {}
            Found::At(offset) => match self.record_with_key(offset, key).await {
                Ok(None) => keys.count(|stats| stats.mismatches += 1),
                // It went, and so did all before it: they were in memory.
                Err(ReadError::OutOfRange { low, .. }) if offset < low => return Ok(None),
                found => return found,
            },
        }
        keys.count(|stats| stats.scans += 1);
        match self.scan(segment.offsets.clone(), key).await? {
            Some(offset) => self.record_with_key(offset, key).await,
            None => Ok(None),
        }
    }

    /// The record at `offset`, if it has the key.
    async fn record_with_key(
        &self,
        offset: Offset,
        key: &[u8],
    ) -> Result<Option<Latest>, ReadError> {
        let read = self.read(offset, 1).await?;
        let (mut decoder, mut found) = (Decoder::new(), false);
        for batch in read.slices.iter().flat_map(|slice| Items::new(slice).batches()).flatten() {
            if let Ok(rows) = decoder.rows(&batch)
                && let Some(record) = rows.at(offset)
            {
                found |= record.key == Some(key);
            }
        }
        Ok(found.then_some(Latest { offset, read }))
    }

    /// Offset of the latest record with the key among these, by reading them all.
    async fn scan(&self, offsets: Range<Offset>, key: &[u8]) -> Result<Option<Offset>, ReadError> {
        let (mut next, mut found, mut unread) = (offsets.start, None, None::<Range<Offset>>);
        while next < offsets.end {
            let visit = |visit: Visit<'_>| {
                if let Visit::Key(other, offset) = visit
                    && other == key
                    && offsets.contains(&offset)
                {
                    found = found.max(Some(offset));
                }
            };
            next = match self.walk(next, visit).await {
                Ok(end) => end,
                Err(ReadError::Damaged { offsets }) => unread.insert(offsets).end,
                Err(ReadError::OutOfRange { low, .. }) if next < low => low,
                Err(error) => return Err(error),
            };
        }
        match unread {
            Some(offsets) if found.is_none_or(|found| found < offsets.end) => {
                Err(ReadError::Damaged { offsets })
            }
            _ => Ok(found),
        }
    }

    /// Notes some of what became visible since somebody did so last; waits if somebody does it now.
    async fn read_on(&self, keys: &Keys) -> Result<(), ReadError> {
        if keys.reading.replace(true) {
            keys.read.listen().await;
            return Ok(());
        }
        let _reading = Reading(keys);
        let next = keys.end();
        let shell = &self.shell;
        let mut table = keys.open_table();
        if table.borrow().is_full() && shell.files.is_none() {
            make_room(&mut table.borrow_mut(), self.watermarks().low);
        }
        let visit = |visit: Visit<'_>| match visit {
            Visit::Batch(base) => {
                keys.enter(shell.machine.borrow().segment_of(base));
                table = keys.open_table();
            }
            Visit::Key(key, offset) => {
                table.borrow_mut().insert(pphm::hash(keys.seed, key), offset);
            }
            Visit::End(end) => table.borrow_mut().advance(end),
        };
        match self.walk(next, visit).await {
            Ok(_) => Ok(()),
            Err(ReadError::Damaged { offsets }) => {
                keys.open_table().borrow_mut().skip(offsets.clone());
                keys.enter(shell.machine.borrow().segment_of(offsets.end));
                Ok(())
            }
            // Evicted before it was read: nobody can ask for it.
            Err(ReadError::OutOfRange { low, .. }) if next < low => {
                keys.open_table().borrow_mut().advance(low);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Reads from `next`, the start of a batch, and shows what it reads. Returns where to read on.
    async fn walk(
        &self,
        next: Offset,
        mut visit: impl FnMut(Visit<'_>),
    ) -> Result<Offset, ReadError> {
        let read = self.read(next, READ_BYTES_MAX).await?;
        let mut decoder = Decoder::new();
        for batch in read.slices.iter().flat_map(|slice| Items::new(slice).batches()).flatten() {
            let (base, end) = (batch.header().owner.base_offset, batch.header().next_offset());
            visit(Visit::Batch(base));
            // A body that is not rows, or not sound, has no keys for any reader.
            if let Ok(rows) = decoder.rows(&batch) {
                for start in (0..rows.len()).step_by(ROWS_AT_ONCE) {
                    for row in start..rows.len().min(start + ROWS_AT_ONCE) {
                        if let Some(record) = rows.get(row)
                            && let Some(key) = record.key
                        {
                            visit(Visit::Key(key, record.offset));
                        }
                    }
                    yield_if_needed().await;
                }
            }
            visit(Visit::End(end));
        }
        Ok(read.next_offset)
    }
}

/// Forgets what a log in memory has evicted. A table that stays nearly full gives up a half at once, for it
/// would be full again soon.
fn make_room(table: &mut KeyTable, low: Offset) {
    let before = table.len();
    table.forget_below(low);
    if table.len() > before - before / 8 {
        table.narrow();
    }
}
