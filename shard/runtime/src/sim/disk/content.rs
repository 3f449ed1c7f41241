//! The bytes of one file: what reads see, what is sure to survive a loss of power, and every version between the two.
//!
//! Pages of 4 KiB; one that is not there is zeros, so a segment that is reserved and zeroed ahead takes no memory. A
//! page that has been written since it was last synced is *dirty*: it keeps its durable version and every later one,
//! and a loss of power picks among them for each sector of 512 bytes. Pages are shared, never changed in place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use super::fate::{Fate, Fates};
use crate::rng::Rng;
use crate::sim::faults::DiskFault;

/// Bytes of a page: the alignment of direct I/O.
pub(super) const PAGE: u64 = 4096;
/// Bytes that a disk writes whole or not at all.
pub(super) const SECTOR: u64 = 512;
/// A mask with all sectors of a page.
pub(super) const WHOLE: u8 = u8::MAX;

const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;
/// Zeros to compare with: enough for a large step, few enough for the fastest cache.
static ZEROS: [u8; 4 * PAGE_BYTES] = [0; 4 * PAGE_BYTES];
/// Versions of a page between syncs. A page that is written more often than that forgets one in the middle, which only
/// means that no crash will show it.
const VERSIONS_MAX: usize = 8;

/// The bytes of a page, or of a part of one.
type Bytes = Rc<[u8]>;
/// A page; `None` is zeros.
type Page = Option<Bytes>;

/// What a write puts into a file, cut at pages.
#[derive(Debug)]
pub(super) struct Payload {
    /// Parts of pages, each with the page, where in it, and the bytes.
    parts: Vec<(u64, Range<usize>, Bytes)>,
    /// Whole pages of zeros.
    zeros: Vec<Range<u64>>,
}

impl Payload {
    pub(super) fn new(position: u64, bytes: &[u8]) -> Self {
        let mut payload = Self { parts: Vec::new(), zeros: Vec::new() };
        let (mut at, mut rest) = (position, bytes);
        while !rest.is_empty() {
            let start = index(at % PAGE);
            let take = match (start, rest.len()) {
                (0, len) if len >= ZEROS.len() && rest[..ZEROS.len()] == ZEROS => ZEROS.len(),
                (start, len) => len.min(PAGE_BYTES - start),
            };
            let (piece, tail) = rest.split_at(take);
            let page = at / PAGE;
            if take.is_multiple_of(PAGE_BYTES) && *piece == ZEROS[..take] {
                let end = page + take as u64 / PAGE;
                match payload.zeros.last_mut() {
                    Some(last) if last.end == page => last.end = end,
                    _ => payload.zeros.push(page..end),
                }
            } else {
                payload.parts.push((page, start..start + take, piece.into()));
            }
            at += take as u64;
            rest = tail;
        }
        payload
    }

    /// Keeps only what lies before `end`.
    pub(super) fn cut(&mut self, end: u64) {
        let (page, rest) = (end / PAGE, index(end % PAGE));
        for zeros in &mut self.zeros {
            if zeros.contains(&page) && rest > 0 {
                self.parts.push((page, 0..rest, ZEROS[..rest].into()));
            }
            zeros.end = zeros.end.min(page).max(zeros.start);
        }
        self.parts.retain_mut(|(number, range, bytes)| {
            let keep = if *number < page { range.end } else { rest.min(range.end) };
            if keep < range.end {
                range.end = keep.max(range.start);
                *bytes = bytes[..range.len()].into();
            }
            *number <= page && range.start < range.end
        });
    }

    /// The same bytes, moved from page `from` to page `to`.
    pub(super) fn shift(&mut self, from: u64, to: u64) {
        let moved = |page: u64| page - from + to;
        for (page, _, _) in &mut self.parts {
            *page = moved(*page);
        }
        for zeros in &mut self.zeros {
            *zeros = moved(zeros.start)..moved(zeros.end);
        }
    }
}

/// What a write is, to the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Persist {
    /// A later sync makes it durable.
    Later,
    /// Likewise, but it is a page that was cut off, and goes with the length: it is in the journal, not in the cache.
    Cut,
    /// It is durable.
    Now,
    /// No sync ever makes it durable: one that should have has failed.
    Never,
}

/// When a write happened, in an order that all changes of a disk share, and what it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) seq: u64,
    pub(super) persist: Persist,
}

/// A page as one write left it.
#[derive(Debug)]
struct Version {
    seq: u64,
    page: Page,
    /// A sync that should have made it durable has failed.
    forsaken: bool,
    /// It goes with the length.
    cut: bool,
}

/// A page that was written since it was last synced.
#[derive(Debug)]
struct Dirty {
    durable: Page,
    /// Oldest first; never empty; the last is what reads see.
    versions: Vec<Version>,
}

/// A length that a file has had.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Length {
    /// The change that made it so long.
    pub(super) seq: u64,
    pub(super) bytes: u64,
}

/// The bytes of a file. Invariants: what lies beyond `len` is zeros; a page that is not dirty is durable.
#[derive(Debug, Default)]
pub(super) struct Content {
    pages: BTreeMap<u64, Bytes>,
    dirty: BTreeMap<u64, Dirty>,
    len: u64,
    durable_len: Length,
    /// Lengths since the durable one; the last is `len`.
    lens: Vec<Length>,
    /// Syncs that have begun: versions they will make durable must be kept.
    syncs: u32,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes at `position`, up to `len` of them or to the end of the file.
    pub(super) fn read(&self, position: u64, len: usize) -> Vec<u8> {
        let end = self.len.min(position.saturating_add(len as u64));
        let mut bytes = vec![0; index(end.saturating_sub(position))];
        if bytes.is_empty() {
            return bytes;
        }
        for (number, page) in self.pages.range(position / PAGE..end.div_ceil(PAGE)) {
            let start = number * PAGE;
            let (from, to) = (start.max(position), (start + PAGE).min(end));
            bytes[index(from - position)..index(to - position)]
                .copy_from_slice(&page[index(from - start)..index(to - start)]);
        }
        bytes
    }

    /// Applies the sectors of `payload` that `mask` names for each page it is asked for. Pages of zeros that are zeros
    /// already need no asking.
    pub(super) fn write(
        &mut self,
        payload: &Payload,
        stamp: Stamp,
        mask: &mut dyn FnMut(u64) -> u8,
    ) {
        for (number, range, bytes) in &payload.parts {
            let sectors = mask(*number);
            if sectors != 0 {
                let page = if sectors == WHOLE && range.len() == PAGE_BYTES {
                    Some(Rc::clone(bytes))
                } else {
                    overlay(self.pages.get(number), range, bytes, sectors)
                };
                self.put(*number, page, stamp);
            }
        }
        for zeros in &payload.zeros {
            let known = self.pages.range(zeros.clone()).map(|(number, _)| *number);
            let known = known.chain(self.dirty.range(zeros.clone()).map(|(number, _)| *number));
            for number in known.collect::<BTreeSet<_>>() {
                let sectors = mask(number);
                if sectors != 0 {
                    let old = self.pages.get(&number);
                    let page = overlay(old, &(0..PAGE_BYTES), &ZEROS[..PAGE_BYTES], sectors);
                    self.put(number, page, stamp);
                }
            }
        }
    }

    /// Makes the file at least `end` bytes long.
    pub(super) fn extend(&mut self, end: u64, stamp: Stamp) {
        if end > self.len {
            self.len = end;
            self.lens.push(Length { seq: stamp.seq, bytes: end });
        }
        if stamp.persist == Persist::Now {
            if end > self.durable_len.bytes {
                self.durable_len = Length { seq: stamp.seq, bytes: end };
            }
            // A length that would cut off what is durable is no candidate any more.
            self.lens.retain(|len| len.bytes >= end);
            if self.lens.iter().all(|len| len.bytes == self.durable_len.bytes) {
                self.lens.clear();
            }
        }
    }

    /// Cuts the file, or extends it with zeros.
    pub(super) fn set_len(&mut self, len: u64, seq: u64) {
        if len < self.len {
            // Pages of zeros are cut too: those zeros may never become durable, these must.
            let cut_before = self.dirty.range(len.div_ceil(PAGE)..).map(|(number, _)| *number);
            let cut_before = cut_before.filter(|number| !self.pages.contains_key(number));
            let cut_before = cut_before.map(|number| (number, None)).collect::<Vec<_>>();
            for (number, page) in self.beyond(len).into_iter().chain(cut_before) {
                let persist = if page.is_none() { Persist::Cut } else { Persist::Later };
                let stamp = Stamp { seq, persist };
                self.put(number, page, stamp);
            }
        }
        if len != self.len {
            self.len = len;
            self.lens.push(Length { seq, bytes: len });
        }
    }

    /// The pages that hold bytes at or beyond `len`, as they are without those.
    fn beyond(&self, len: u64) -> Vec<(u64, Page)> {
        let keep = index(len % PAGE);
        let cut = |number: u64, page: &Bytes| {
            if number > len / PAGE || keep == 0 {
                return (number, None);
            }
            let zeros = &ZEROS[..PAGE_BYTES - keep];
            (number, overlay(Some(page), &(keep..PAGE_BYTES), zeros, WHOLE))
        };
        self.pages.range(len / PAGE..).map(|(number, page)| cut(*number, page)).collect()
    }

    /// Says that a sync begins: what is there now must be found when it ends.
    pub(super) fn begin_sync(&mut self) {
        self.syncs += 1;
    }

    /// Makes durable what was there at `seq`, but for what is forsaken.
    pub(super) fn finish_sync(&mut self, seq: u64) {
        self.syncs -= 1;
        self.dirty.retain(|_, dirty| {
            let covered = dirty.versions.iter().rposition(|v| v.seq <= seq && !v.forsaken);
            if let Some(newest) = covered {
                dirty.durable = dirty.versions.drain(..=newest).next_back().and_then(|v| v.page);
            }
            !dirty.versions.is_empty()
        });
        let covered = self.lens.partition_point(|len| len.seq <= seq);
        if let Some(len) = self.lens.drain(..covered).next_back() {
            self.durable_len = len;
        }
    }

    /// Forsakes what was there at `seq` and is not durable.
    pub(super) fn fail_sync(&mut self, seq: u64) {
        self.syncs -= 1;
        for dirty in self.dirty.values_mut() {
            let covered = dirty.versions.iter_mut().filter(|version| version.seq <= seq);
            covered.for_each(|version| version.forsaken = true);
        }
    }

    /// Flips a bit of what is stored, wherever that version of the page is kept.
    pub(super) fn flip(&mut self, position: u64, bit: u8) {
        self.damage(position..position + 1, |bytes| bytes[0] ^= 1 << (bit % 8));
    }

    /// Turns every byte of a range into another, of what is stored of one page.
    pub(super) fn garble(&mut self, range: Range<u64>, rng: &mut Rng) {
        self.damage(range, |bytes| {
            for byte in bytes {
                *byte ^= rng.next_u64().to_le_bytes()[0] | 1;
            }
        });
    }

    /// Changes a range within a page that is stored, wherever that version of the page is kept.
    fn damage(&mut self, range: Range<u64>, change: impl FnOnce(&mut [u8])) {
        let number = range.start / PAGE;
        let start = index(range.start % PAGE);
        let old = self.pages.get(&number).cloned();
        let mut bytes = old.as_deref().unwrap_or(&ZEROS[..PAGE_BYTES]).to_vec();
        change(&mut bytes[start..start + index(range.end - range.start)]);
        let new = page_of(bytes);
        if let Some(dirty) = self.dirty.get_mut(&number) {
            let versions = dirty.versions.iter_mut().map(|version| &mut version.page);
            for page in versions.filter(|page| same(page, &old)) {
                page.clone_from(&new);
            }
        }
        self.set(number, new);
    }

    /// How many pages hold something.
    pub(super) fn written(&self) -> usize {
        self.pages.len()
    }

    /// How many versions are kept beside the durable ones.
    #[cfg(test)]
    pub(super) fn versions(&self) -> usize {
        self.dirty.values().map(|dirty| dirty.versions.len()).sum()
    }

    /// Pages that hold something, in order; all of them or those of a range.
    pub(super) fn written_in(&self, pages: Range<u64>) -> impl Iterator<Item = u64> {
        self.pages.range(pages).map(|(number, _)| *number)
    }

    /// Whether a loss of power cannot change anything.
    pub(super) fn is_durable(&self) -> bool {
        self.dirty.is_empty() && self.lens.is_empty()
    }

    /// Adds the places of all changes that are not durable to `order`.
    pub(super) fn unsynced(&self, order: &mut BTreeSet<u64>) {
        let versions = self.dirty.values().flat_map(|dirty| &dirty.versions);
        order.extend(versions.filter(|version| !version.forsaken).map(|version| version.seq));
        order.extend(self.lens.iter().map(|len| len.seq));
    }

    /// The system is gone, and with it the syncs that had begun.
    pub(super) fn forget_syncs(&mut self) {
        self.syncs = 0;
    }

    /// The power fails: everything becomes one of its versions since the durable one. Returns what that has cost.
    pub(super) fn lose_power(&mut self, fates: &mut Fates) -> Vec<DiskFault> {
        fates.next_file();
        let newest = self.len;
        self.durable_len = fates.length(self.durable_len, &self.lens);
        self.lens.clear();
        self.len = self.durable_len.bytes;
        let mut tally = Tally::default();
        for (number, dirty) in std::mem::take(&mut self.dirty) {
            let page = dirty.settle(self.durable_len, fates, &mut tally);
            self.set(number, page);
        }
        for (number, page) in self.beyond(self.len) {
            self.set(number, page);
        }
        let length = (self.len != newest).then_some(DiskFault::LengthLost);
        tally.losses().into_iter().chain(length).collect()
    }

    /// Puts a page as reads see it.
    fn set(&mut self, number: u64, page: Page) -> Page {
        match page {
            Some(bytes) => self.pages.insert(number, bytes),
            None => self.pages.remove(&number),
        }
    }

    /// Puts a page as a write leaves it.
    fn put(&mut self, number: u64, page: Page, stamp: Stamp) {
        let old = self.set(number, page.clone());
        if stamp.persist == Persist::Now {
            self.dirty.remove(&number);
            return;
        }
        if page.is_none() && old.is_none() && !self.dirty.contains_key(&number) {
            return;
        }
        let dirty = self
            .dirty
            .entry(number)
            .or_insert_with(|| Dirty { durable: old, versions: Vec::with_capacity(1) });
        if dirty.versions.len() >= VERSIONS_MAX && self.syncs == 0 {
            dirty.thin(stamp.seq);
        }
        let forsaken = stamp.persist == Persist::Never;
        let cut = stamp.persist == Persist::Cut;
        dirty.versions.push(Version { seq: stamp.seq, page, forsaken, cut });
    }
}

impl Dirty {
    /// Forgets a version that no sync can make durable, as its successor is newer and not forsaken.
    fn thin(&mut self, salt: u64) {
        let last = self.versions.len() - 1;
        let first = index(salt % last as u64);
        let droppable = |at: &usize| !self.versions[at + 1].forsaken && !self.versions[*at].cut;
        if let Some(at) = (first..last).chain(0..first).find(droppable) {
            self.versions.remove(at);
        }
    }

    /// The page as a loss of power leaves it, together with that length of its file.
    fn settle(self, len: Length, fates: &mut Fates, tally: &mut Tally) -> Page {
        let mut fate = |version: &Version| match version.cut {
            true if version.seq <= len.seq => Fate::Kept,
            true => Fate::Lost,
            false => fates.of(version.seq, version.forsaken),
        };
        let drawn: Vec<Fate> = self.versions.iter().map(&mut fate).collect();
        let mut chosen = [None; PAGE_BYTES / SECTOR_BYTES];
        for (sector, choice) in chosen.iter_mut().enumerate() {
            *choice = drawn.iter().rposition(|fate| fates.keeps_sector(*fate));
            self.count(sector, *choice, tally);
        }
        let page = |choice: Option<usize>| match choice {
            Some(at) => &self.versions[at].page,
            None => &self.durable,
        };
        if chosen.iter().all(|choice| *choice == chosen[0]) {
            return page(chosen[0]).clone();
        }
        let mut bytes = Vec::with_capacity(PAGE_BYTES);
        for (sector, choice) in chosen.iter().enumerate() {
            bytes.extend_from_slice(sector_of(page(*choice), sector));
        }
        page_of(bytes)
    }

    /// Notes which writes are in a sector, and which would have changed it and are not.
    fn count(&self, sector: usize, choice: Option<usize>, tally: &mut Tally) {
        let (kept, lost_from) = match choice {
            Some(at) => (&self.versions[at].page, at + 1),
            None => (&self.durable, 0),
        };
        if let Some(at) = choice {
            tally.kept.insert(self.versions[at].seq);
        }
        for version in &self.versions[lost_from..] {
            if sector_of(&version.page, sector) != sector_of(kept, sector) {
                tally.lost.insert(version.seq);
            }
        }
    }
}

/// Which writes a loss of power kept and lost; a torn one is in both.
#[derive(Debug, Default)]
struct Tally {
    kept: BTreeSet<u64>,
    lost: BTreeSet<u64>,
}

impl Tally {
    fn losses(&self) -> Vec<DiskFault> {
        let Some(oldest_lost) = self.lost.first() else { return Vec::new() };
        [
            (DiskFault::Torn, self.kept.intersection(&self.lost).next().is_some()),
            (DiskFault::Reordered, self.kept.last() > Some(oldest_lost)),
            (DiskFault::Forgotten, self.kept.is_empty()),
        ]
        .into_iter()
        .filter_map(|(fault, struck)| struck.then_some(fault))
        .collect()
    }
}

/// `old` with the named sectors of `bytes` at `range`.
fn overlay(old: Option<&Bytes>, range: &Range<usize>, bytes: &[u8], sectors: u8) -> Page {
    let mut page = old.map_or(&ZEROS[..PAGE_BYTES], |page| page).to_vec();
    if sectors == WHOLE {
        page[range.clone()].copy_from_slice(bytes);
    } else {
        for sector in (0..PAGE_BYTES / SECTOR_BYTES).filter(|sector| sectors >> sector & 1 == 1) {
            let start = (sector * SECTOR_BYTES).max(range.start);
            let end = ((sector + 1) * SECTOR_BYTES).min(range.end);
            if start < end {
                page[start..end].copy_from_slice(&bytes[start - range.start..end - range.start]);
            }
        }
    }
    page_of(page)
}

fn page_of(bytes: Vec<u8>) -> Page {
    if bytes == ZEROS[..PAGE_BYTES] { None } else { Some(bytes.into()) }
}

fn sector_of(page: &Page, sector: usize) -> &[u8] {
    let start = sector * SECTOR_BYTES;
    &page.as_deref().unwrap_or(&ZEROS[..PAGE_BYTES])[start..start + SECTOR_BYTES]
}

/// Whether two pages are one version.
fn same(one: &Page, other: &Page) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Rc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// A length or a place in a file as an index.
pub(super) fn index(number: u64) -> usize {
    usize::try_from(number).expect("this crate runs on 64-bit machines")
}
