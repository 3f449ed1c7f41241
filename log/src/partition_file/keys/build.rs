//! The task behind an index of keys, and its files.
//!
//! A file is made in pieces, under a name that the next opening removes, and gets its own name once all
//! of it is on stable storage. In memory are the table, one partition of the file and one piece.

use std::path::PathBuf;
use std::rc::Rc;

use pyralog_runtime::file::{self, DirectFile, Sync};
use pyralog_runtime::{IoError, rng, yield_if_needed};

use super::{Keys, Visit};
use crate::ids::Offset;
use crate::index::key_table::{Found, KeyTable, SHARDS};
use crate::index::pphm::{
    self, BuildError, Directory, Entry, HEADER_BYTES, Header, Mode, Writer, partition_bits,
    partition_of,
};
use crate::layout::{FormatError, put};
use crate::limits::{KEY_FILES_OPEN_MAX, KEY_INDEX_LAG_BYTES};
use crate::partition::{Closed, Phase, ReadError};
use crate::partition_file::{Files, Partition, Shell};
use crate::segment::keys_name;
use crate::segment_file::remove_if_there;

/// Bytes of a file that are written at once.
const PIECE_BYTES: usize = 256 << 10;

/// An index file that is open.
pub(super) struct KeyFile {
    file: DirectFile,
    directory: Directory,
}

/// What the task does next.
enum Work {
    /// Read what became visible.
    ReadOn,
    /// See that a closed segment has a file.
    Check(Closed),
}

/// Why a segment gets no file.
enum Failure {
    /// Its records cannot all be read, or the partition is closing.
    Read(ReadError),
    Build(BuildError),
    Io(IoError),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => error.fmt(formatter),
            Self::Build(error) => error.fmt(formatter),
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

impl From<IoError> for Failure {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

/// Follows the log until the partition closes or the index is switched off.
pub(super) async fn run(partition: Partition, keys: Rc<Keys>) {
    let shell = &partition.shell;
    loop {
        let changed = shell.changed.listen();
        if !is_wanted(shell, &keys) {
            return;
        }
        match next_work(shell, &keys) {
            Some(Work::ReadOn) => {
                if let Err(error) = partition.read_on(&keys).await {
                    // Whoever looks a key up tries again, and is told if that fails.
                    tracing::warn!(%error, "keys not indexed");
                    changed.await;
                }
            }
            Some(Work::Check(closed)) => partition.check(&keys, &closed).await,
            None => changed.await,
        }
        yield_if_needed().await;
    }
}

/// Whether the task has to go on.
fn is_wanted(shell: &Shell, keys: &Rc<Keys>) -> bool {
    let phase = shell.machine.borrow().phase();
    let current = shell.keys.borrow().as_ref().is_some_and(|current| Rc::ptr_eq(current, keys));
    current && !matches!(phase, Phase::Closing | Phase::Closed)
}

/// Reading first: what is behind costs every lookup. Then the tables that wait for their files, then the
/// segments from before.
fn next_work(shell: &Shell, keys: &Keys) -> Option<Work> {
    let machine = shell.machine.borrow();
    if machine.readable_bytes(keys.end()) >= KEY_INDEX_LAG_BYTES {
        return Some(Work::ReadOn);
    }
    if matches!(machine.phase(), Phase::Poisoned(_)) {
        return None; // Its disk takes no files.
    }
    let open = keys.open_table().borrow().segment();
    let (first, end) = keys.checked.get();
    let closed = machine.closed();
    let newer = closed.get(closed.partition_point(|closed| closed.base < end));
    let newer = newer.filter(|newer| newer.base < open).copied();
    let again = keys.again.borrow().first().and_then(|segment| segment.next());
    let again = || machine.closed_before(again?);
    newer.or_else(again).or_else(|| machine.closed_before(first)).map(Work::Check)
}

impl Partition {
    /// Sees that a closed segment has a file, and makes it if not.
    async fn check(&self, keys: &Rc<Keys>, closed: &Closed) {
        let without = keys.without.borrow().contains(&closed.base);
        if !without && self.open_key_file(keys, closed).await.is_none() {
            match self.build(keys, closed).await {
                Ok(()) => keys.count(|stats| stats.built += 1),
                Err(Failure::Read(ReadError::Closed)) => return,
                Err(_) if !self.shell.has(closed) => {}
                Err(error) => {
                    let (log, partition) = (self.shell.log, self.shell.partition);
                    tracing::warn!(%log, %partition, segment = %closed.base, %error, "keys not indexed");
                    keys.count(|stats| stats.failed += 1);
                    keys.without.borrow_mut().insert(closed.base);
                }
            }
        }
        if !self.shell.has(closed)
            && let Some(files) = &self.shell.files
        {
            // It went meanwhile, before its file of keys was there to go with it.
            remove_if_there(&files.dir.join(keys_name(closed.base))).await.ok();
        }
        // A table that is not to become a file goes all the same: the segment is scanned.
        let mut tables = keys.tables.borrow_mut();
        let open = tables.back().map(Rc::clone);
        tables.retain(|table| {
            let is_open = open.as_ref().is_some_and(|open| Rc::ptr_eq(open, table));
            is_open || table.borrow().segment() != closed.base
        });
        drop(tables);
        keys.note_checked(closed.base);
    }

    /// Makes the file of a closed segment: from its table if that knows every key, else by reading it.
    async fn build(&self, keys: &Rc<Keys>, closed: &Closed) -> Result<(), Failure> {
        let Some(files) = &self.shell.files else { return Ok(()) };
        let held = keys.table_of(closed.base).filter(|table| table.borrow().is_whole());
        let number = rng::entropy_u64();
        let path = files.dir.join(keys_name(closed.base));
        let staged = files.dir.join(format!("{}.{number:016x}.tmp", keys_name(closed.base)));
        let made = match held {
            Some(table) => {
                let mut pages = Pages::begin(keys, closed, &table.borrow(), staged.clone());
                let written = self.write_table(keys, &mut pages, || table.borrow()).await;
                written.map(|()| pages)
            }
            None => self.write_by_reading(keys, closed, staged.clone()).await,
        };
        let made = match made {
            Ok(pages) => pages.finish(files, path).await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        if made.is_err() {
            // The first error is the one to tell; the next opening removes what is left.
            remove_if_there(&staged).await.ok();
        }
        made
    }

    /// Writes all partitions in passes over the segment.
    async fn write_by_reading(
        &self,
        keys: &Rc<Keys>,
        closed: &Closed,
        staged: PathBuf,
    ) -> Result<Pages, Failure> {
        let first = self.read_keys(keys, closed, 0).await?;
        let mut pages = Pages::begin(keys, closed, &first, staged);
        let mut table = first;
        loop {
            self.write_table(keys, &mut pages, || &table).await?;
            let next = table.covered().end;
            if next == SHARDS {
                return Ok(pages);
            }
            table = self.read_keys(keys, closed, next).await?;
        }
    }

    /// The keys of a closed segment whose shards are `first` and as many of those after it as fit.
    async fn read_keys(
        &self,
        keys: &Rc<Keys>,
        closed: &Closed,
        first: usize,
    ) -> Result<KeyTable, Failure> {
        let mut table = KeyTable::new(closed.base, first, keys.held_max);
        let mut next = closed.base;
        while next < closed.end {
            if !is_wanted(&self.shell, keys) {
                return Err(ReadError::Closed.into());
            }
            let visit = |visit: Visit<'_>| {
                if let Visit::Key(key, offset) = visit
                    && offset < closed.end
                {
                    table.insert(pphm::hash(keys.seed, key), offset);
                }
            };
            next = match self.walk(next, visit).await {
                // What was removed from the front is nobody's key any more.
                Err(ReadError::OutOfRange { low, .. }) if next < low => low,
                read => read?,
            };
        }
        if table.covered().is_empty() {
            return Err(BuildError::Crowded { found: keys.held_max }.into());
        }
        Ok(table)
    }

    /// Writes the partitions that the shards of a table make.
    async fn write_table<T>(
        &self,
        keys: &Rc<Keys>,
        pages: &mut Pages,
        table: impl Fn() -> T,
    ) -> Result<(), Failure>
    where
        T: std::ops::Deref<Target = KeyTable>,
    {
        let covered = table().covered();
        let step = (SHARDS >> pages.bits).max(1);
        for shard in covered.clone().step_by(step) {
            let entries = table().sorted(shard..(shard + step).min(covered.end));
            let mut rest = entries.as_slice();
            let partitions = (1_usize << pages.bits) / SHARDS;
            for number in 0..partitions.max(1) {
                if !is_wanted(&self.shell, keys) {
                    return Err(ReadError::Closed.into());
                }
                let number =
                    if partitions == 0 { shard / step } else { shard * partitions + number };
                let ours = |entry: &(u64, Offset)| partition_of(entry.0, pages.bits) <= number;
                let (these, others) = rest.split_at(rest.partition_point(ours));
                rest = others;
                pages.partition(these)?;
                pages.write_pieces().await?;
                yield_if_needed().await;
            }
        }
        Ok(())
    }

    /// What the file of a closed segment knows of a key; nothing if there is no sound file.
    pub(super) async fn find_in_file(&self, keys: &Keys, closed: &Closed, key: &[u8]) -> Found {
        let Some(opened) = self.open_key_file(keys, closed).await else {
            self.check_again(keys, closed);
            return Found::Unknown;
        };
        match opened.find(key).await {
            Ok(Some(offset)) => Found::At(Offset::new(offset)),
            Ok(None) => Found::Absent,
            Err(error) => {
                tracing::warn!(segment = %closed.base, %error, "index of keys not used, made again");
                keys.files.borrow_mut().retain(|(base, _)| *base != closed.base);
                if let Some(files) = &self.shell.files {
                    // It is made again, now or after the next opening, once it is not there.
                    remove_if_there(&files.dir.join(keys_name(closed.base))).await.ok();
                }
                self.check_again(keys, closed);
                Found::Unknown
            }
        }
    }

    /// Has the task look at a segment once more.
    fn check_again(&self, keys: &Keys, closed: &Closed) {
        let (first, end) = keys.checked.get();
        let hopeless = keys.without.borrow().contains(&closed.base);
        if (first..end).contains(&closed.base) && !hopeless {
            keys.again.borrow_mut().insert(closed.base);
            self.shell.changed.notify_all();
        }
    }

    /// The file of a closed segment, from those that are open or newly opened; `None` if there is none
    /// that can be used.
    async fn open_key_file(&self, keys: &Keys, closed: &Closed) -> Option<Rc<KeyFile>> {
        let open = {
            let mut files = keys.files.borrow_mut();
            let at = files.iter().position(|(base, _)| *base == closed.base);
            at.and_then(|at| files.remove(at)).inspect(|found| files.push_back(found.clone()))
        };
        if let Some((_, found)) = open {
            return Some(found);
        }
        let path = self.shell.files.as_ref()?.dir.join(keys_name(closed.base));
        if !file::exists(&path).await.ok()? {
            return None;
        }
        match KeyFile::open(path, closed).await {
            Ok(opened) => {
                let opened = Rc::new(opened);
                let mut files = keys.files.borrow_mut();
                files.push_back((closed.base, Rc::clone(&opened)));
                if files.len() > KEY_FILES_OPEN_MAX {
                    files.pop_front();
                }
                Some(opened)
            }
            Err(error) => {
                tracing::warn!(segment = %closed.base, %error, "index of keys not used, made again");
                None
            }
        }
    }
}

/// What the file of a segment is recognised by.
fn tag(closed: &Closed) -> [u8; 32] {
    let mut tag = [0; 32];
    put(&mut tag, 0, closed.generation.to_le_bytes());
    put(&mut tag, 8, closed.base.get().to_le_bytes());
    put(&mut tag, 16, closed.end.get().to_le_bytes());
    put(&mut tag, 24, closed.end_position.get().to_le_bytes());
    tag
}

/// Why a file is not used.
enum Unusable {
    Format(FormatError),
    Io(IoError),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Format(error) => error.fmt(formatter),
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl From<FormatError> for Unusable {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl From<IoError> for Unusable {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl KeyFile {
    async fn open(path: PathBuf, closed: &Closed) -> Result<Self, Unusable> {
        let file = DirectFile::open(path).await?;
        let len = file.len()?;
        let header = Header::decode(&file.read(0, HEADER_BYTES).await?)?;
        if header.tag != tag(closed) || header.mode != Mode::Fingerprint {
            return Err(FormatError::Foreign.into());
        }
        let tail = header.tail(len)?;
        let tail_len = usize::try_from(tail.end - tail.start).map_err(|_| FormatError::Length)?;
        let directory = Directory::decode(header, &file.read(tail.start, tail_len).await?, len)?;
        Ok(Self { file, directory })
    }

    /// What it has for the key, or for another with the same hash.
    async fn find(&self, key: &[u8]) -> Result<Option<u64>, Unusable> {
        let place = self.directory.place(key);
        let len = usize::try_from(place.bytes.end - place.bytes.start);
        let len = len.map_err(|_| FormatError::Length)?;
        let bytes = self.file.read(place.bytes.start, len).await?;
        Ok(self.directory.get(&place, &bytes)?)
    }
}

/// A file in the making.
struct Pages {
    writer: Writer,
    bits: u8,
    staged: PathBuf,
    bytes: Vec<u8>,
}

impl Pages {
    /// Begins the file of which `first` is the first pass.
    fn begin(keys: &Keys, closed: &Closed, first: &KeyTable, staged: PathBuf) -> Self {
        // As many keys as this in every pass.
        let all = (first.len() * SHARDS).div_ceil(first.covered().len().max(1));
        let whole = first.covered().len() == SHARDS;
        // A partition is of one pass: passes end between shards.
        let bits_min = if whole { 0 } else { SHARDS.ilog2().try_into().unwrap_or(0) };
        let bits = partition_bits(all as u64).max(bits_min);
        let (mode, seed, tag) = (Mode::Fingerprint, keys.seed, tag(closed));
        let mut bytes = Vec::with_capacity(PIECE_BYTES + (64 << 10));
        let header = Header { mode, partition_bits: bits, seed, tag };
        Self { writer: Writer::begin(header, &mut bytes), bits, staged, bytes }
    }

    fn partition(&mut self, entries: &[(u64, Offset)]) -> Result<(), BuildError> {
        let entry =
            |(hash, offset): &(u64, Offset)| Entry { hash: *hash, key: &[], value: offset.get() };
        let entries: Vec<_> = entries.iter().map(entry).collect();
        self.writer.partition(&entries, &mut self.bytes)
    }

    /// Writes what has gathered, if that is enough.
    async fn write_pieces(&mut self) -> Result<(), IoError> {
        if self.bytes.len() < PIECE_BYTES {
            return Ok(());
        }
        let bytes =
            std::mem::replace(&mut self.bytes, Vec::with_capacity(PIECE_BYTES + (64 << 10)));
        file::append(&self.staged, bytes, Sync::No).await
    }

    /// Writes the rest; then the file has its name, and is on stable storage.
    async fn finish(mut self, files: &Files, path: PathBuf) -> Result<(), IoError> {
        self.writer.finish(&mut self.bytes);
        file::append(&self.staged, self.bytes, Sync::Data).await?;
        file::rename(&self.staged, path).await?;
        file::sync_dir(&files.dir).await
    }
}
