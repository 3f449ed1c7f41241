//! A disk of the simulated world: what one node has stored, what of it is sure to stay, and how it fails.
//!
//! A plain value without time, wakers or executor: an operation that takes time has a beginning and an end, and
//! whoever drives the disk decides how far they are apart. Errors are what the kernel gives, with its numbers.
//!
//! What the model promises, and what it takes back:
//!
//! | event | what is there afterwards |
//! |---|---|
//! | a write ends | it is seen; a loss of power may keep any of its sectors |
//! | a write that syncs ends | its pages are durable, with the length needed to find them; others stay as they were |
//! | a sync ends | what had ended before it began is durable, length included; names are not |
//! | a directory is synced | the names in it are durable; a rename between two needs both |
//! | the process dies | all that had ended is there; writes in flight are there in part; handles and locks are gone |
//! | the power fails | each sector, length and name is the durable one or one that came later |
//! | a sync fails | what it covered is seen, but no later sync makes it durable |
//! | a directory's sync fails | nothing has happened; a later one makes the names durable |
//!
//! A rename is one change: never is neither name there. Which later versions stay is drawn in [`fate`].
//!
//! | module | what it is |
//! |---|---|
//! | `content` | the bytes of one file and their versions |
//! | `names` | the tree of directories and what of it is durable |
//! | `extents` | which pages of a file take space |
//! | `fate` | what a loss of power keeps |
//! | `dice` | when faults strike |
//! | `transfer` | writes, reads and syncs |
//! | `calls` | calls on names |

mod calls;
mod content;
mod dice;
mod extents;
mod fate;
mod names;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;

use super::faults::{DiskFault, DiskFaults};
use super::trace::TraceKind;
use crate::rng::{Rng, mix};
use content::{Content, PAGE, Payload, SECTOR};
use dice::Dice;
pub use dice::Shield;
use extents::Extents;
use fate::{Fates, Keep};
use names::{Inode, Kind, Names};

/// What a disk without a capacity says is free.
const FREE_UNLIMITED: u64 = 1 << 50;

/// Says which paths something is about.
pub(crate) type Aim = Rc<dyn Fn(&Path) -> bool>;

/// How a node dies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Crash {
    /// The process ends: the system lives, and what it was given stays.
    Process,
    /// The power fails: what was not synced may be gone.
    Power,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum How {
    /// It must be there.
    Existing,
    /// It must not be there.
    CreateNew,
    /// It is made if it is not there.
    OpenOrCreate,
}

/// An open file.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Handle(u64);

/// A write in flight.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct WriteId(u64);

/// A sync in flight.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct SyncId(u64);

/// A file that a name, a handle or an operation leads to, or a name may lead to again after a loss of power.
struct File {
    content: Content,
    extents: Extents,
    /// Handles and operations in flight.
    users: u32,
    /// A name it was opened by: what to call it when it has none.
    opened_as: PathBuf,
}

struct Open {
    inode: Inode,
    path: PathBuf,
}

/// A write that has begun.
struct Write {
    inode: Inode,
    position: u64,
    len: u64,
    payload: Payload,
    sync: bool,
}

/// A sync that has begun.
struct Flush {
    inode: Inode,
    /// The last change that it covers.
    seq: u64,
}

/// One node's disk.
pub(crate) struct Disk {
    names: Names,
    files: BTreeMap<Inode, File>,
    handles: BTreeMap<Handle, Open>,
    /// Who holds the lock of a file.
    locks: BTreeMap<Inode, Handle>,
    /// In flight; those that could not even begin say so at their end, as the kernel does.
    writes: BTreeMap<WriteId, Result<Write, Errno>>,
    flushes: BTreeMap<SyncId, Result<Flush, Errno>>,
    dice: Dice,
    /// For what crashes do.
    rng: Rng,
    capacity: Option<u64>,
    file_size_limit: Option<u64>,
    /// Changing calls until the power fails in the middle of something.
    calls_left: Option<u64>,
    /// Which call is the first of them; `None` for any.
    aim: Option<Aim>,
    /// What the last changing call was about.
    changed: PathBuf,
    /// The last change.
    seq: u64,
    /// The last handle or operation.
    last_id: u64,
}

impl Disk {
    /// An empty disk.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            names: Names::new(),
            files: BTreeMap::new(),
            handles: BTreeMap::new(),
            locks: BTreeMap::new(),
            writes: BTreeMap::new(),
            flushes: BTreeMap::new(),
            dice: Dice::new(seed),
            rng: Rng::with_seed(mix(seed)),
            capacity: None,
            file_size_limit: None,
            calls_left: None,
            aim: None,
            changed: PathBuf::new(),
            seq: 0,
            last_id: 0,
        }
    }

    /// How often faults strike from now on.
    pub(crate) fn set_faults(&mut self, faults: DiskFaults) {
        self.dice.set_rates(faults);
    }

    /// Which faults may strike which files, by their names at that moment; `None` lets all strike. What a crash does is
    /// not asked for: that is no fault but what a disk is.
    pub(crate) fn set_shield(&mut self, shield: Option<Shield>) {
        self.dice.set_shield(shield);
    }

    /// Bytes that fit; `None` is unlimited. What is there stays.
    pub(crate) fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    /// Largest file in bytes, rounded down to sectors; `None` is unlimited.
    pub(crate) fn set_file_size_limit(&mut self, bytes: Option<u64>) {
        self.file_size_limit = bytes;
    }

    /// How often each fault has struck.
    pub(crate) fn struck(&self) -> &BTreeMap<DiskFault, u64> {
        self.dice.struck()
    }

    /// The faults that have struck since the last call.
    pub(crate) fn drain_events(&mut self) -> Vec<TraceKind> {
        self.dice.take_events()
    }

    /// Whether the operation at hand takes very long. Draws once per call.
    pub(crate) fn is_slow(&mut self) -> bool {
        self.dice.is_slow()
    }

    /// Opens a file.
    pub(crate) fn open(&mut self, path: &Path, how: How) -> io::Result<Handle> {
        self.alive()?;
        let inode = match (self.names.find(path), how) {
            (Ok(_), How::CreateNew) => return Err(Errno::EXIST.into()),
            (Ok((_, Kind::Directory)), _) => return Err(Errno::ISDIR.into()),
            (Ok((inode, Kind::File)), _) => inode,
            (Err(Errno::NOENT), How::CreateNew | How::OpenOrCreate) => {
                self.mutate(|_| path.to_owned())?;
                let seq = self.next_seq();
                let inode = self.names.create(path, Kind::File, seq)?;
                let (content, extents) = (Content::default(), Extents::default());
                let file = File { content, extents, users: 0, opened_as: path.to_owned() };
                self.files.insert(inode, file);
                inode
            }
            (Err(error), _) => return Err(error.into()),
        };
        let handle = Handle(self.next_id());
        let file = self.file(inode);
        file.users += 1;
        path.clone_into(&mut file.opened_as);
        self.handles.insert(handle, Open { inode, path: path.to_owned() });
        Ok(handle)
    }

    /// Closes a file and lets go of its lock. Nothing if the handle was closed by a crash.
    pub(crate) fn close(&mut self, handle: Handle) {
        if let Some(open) = self.handles.remove(&handle) {
            self.locks.retain(|_, holder| *holder != handle);
            self.unuse(open.inode);
        }
    }

    /// The name that a file was opened by; empty if the handle is closed.
    pub(crate) fn path_of(&self, handle: Handle) -> PathBuf {
        self.handles.get(&handle).map(|open| open.path.clone()).unwrap_or_default()
    }

    /// Locks a file against all other handles until this one is closed; `false` if one of them holds the lock.
    pub(crate) fn lock(&mut self, handle: Handle) -> bool {
        self.inode(handle).is_ok_and(|inode| *self.locks.entry(inode).or_insert(handle) == handle)
    }

    /// Bytes that may still be reserved or written.
    pub(crate) fn free_space(&self) -> u64 {
        self.capacity.map_or(FREE_UNLIMITED, |capacity| capacity.saturating_sub(self.used()))
    }

    /// Has every call fail, without effect, after so many further changing ones, until [`Disk::crash`]: a death in the
    /// middle of a sequence of calls that the caller makes in one go.
    pub(crate) fn crash_after(&mut self, calls: u64) {
        (self.calls_left, self.aim) = (Some(calls), None);
    }

    /// The same, counting from the first call on that is about a path that `aim` is for.
    pub(crate) fn crash_after_calls_to(&mut self, aim: Aim, calls: u64) {
        (self.calls_left, self.aim) = (Some(calls), Some(aim));
    }

    /// What the last changing call was about.
    pub(crate) fn last_changed(&self) -> &Path {
        &self.changed
    }

    /// Whether calls fail because a crash is due.
    pub(crate) fn is_dying(&self) -> bool {
        self.calls_left == Some(0)
    }

    /// The process or the system ends at this moment.
    pub(crate) fn crash(&mut self, crash: Crash) {
        (self.calls_left, self.aim) = (None, None);
        self.handles.clear();
        self.locks.clear();
        self.flushes.clear();
        self.end_writes(crash);
        for file in self.files.values_mut() {
            file.users = 0;
            file.content.forget_syncs();
        }
        if crash == Crash::Power {
            self.lose_power();
        }
        self.names.take_gone();
        self.files.retain(|inode, _| self.names.knows(*inode));
    }

    /// Replaces the disk by an empty one that fails in the same way.
    pub(crate) fn wipe(&mut self) {
        self.crash(Crash::Process);
        self.names = Names::new();
        self.files.clear();
    }

    /// Bits rot at rest, in a file that `may` allows: what and where, or `None` if nothing is stored. One bit, a sector or
    /// a whole page; anywhere, or at the end of a file, where it is hardest to tell from what never was.
    pub(crate) fn corrupt(&mut self, may: &dyn Fn(&Path) -> bool) -> Option<(PathBuf, Range<u64>)> {
        let mut allowed = Vec::new();
        for (inode, file) in &self.files {
            let Some(path) = self.names.path_of(*inode) else { continue };
            if file.content.written() > 0 && may(&path) {
                allowed.push((*inode, path));
            }
        }
        if allowed.is_empty() {
            return None;
        }
        let written = |inode: &Inode| self.files[inode].content.written();
        let rng = self.dice.stream(DiskFault::BitRot);
        let (nth, page) = if rng.below(2) == 0 {
            let nth = content::index(rng.below(allowed.len() as u64));
            (nth, written(&allowed[nth].0) - 1)
        } else {
            let pages: usize = allowed.iter().map(|(inode, _)| written(inode)).sum();
            let mut page = content::index(rng.below(pages as u64));
            let holds = |(inode, _): &(Inode, PathBuf)| {
                let pages = written(inode);
                let here = page < pages;
                page -= if here { 0 } else { pages };
                here
            };
            (allowed.iter().position(holds)?, page)
        };
        let (inode, path) = allowed.swap_remove(nth);
        let content = &mut self.files.get_mut(&inode)?.content;
        let start = content.written_in(0..u64::MAX).nth(page)? * PAGE;
        let end = content.len().min(start + PAGE);
        let position = start + rng.below(end - start);
        let sector = position - position % SECTOR;
        let range = match rng.below(3) {
            0 => position..position + 1,
            1 => sector..end.min(sector + SECTOR),
            _ => start..end,
        };
        if range.end - range.start == 1 {
            content.flip(position, rng.next_u64().to_le_bytes()[0]);
        } else {
            content.garble(range.clone(), rng);
        }
        self.dice.note(DiskFault::BitRot, path.clone());
        Some((path, range))
    }

    /// What becomes of the writes in flight: to a process all or part of them are there; of those that lose their power
    /// too, it is decided with the others.
    fn end_writes(&mut self, crash: Crash) {
        let mut writes: Vec<Write> =
            std::mem::take(&mut self.writes).into_values().flatten().collect();
        while !writes.is_empty() {
            // The order of writes that overlap is open.
            let nth = content::index(self.rng.below(writes.len() as u64));
            let write = writes.swap_remove(nth);
            let seq = self.next_seq();
            let file = self.files.get_mut(&write.inode).expect("operations keep their file");
            match crash {
                Crash::Process => file.scatter(write, seq, &mut self.rng),
                Crash::Power => file.take(&write, seq),
            }
        }
    }

    fn lose_power(&mut self) {
        let mut unsynced = BTreeSet::new();
        self.files.values().for_each(|file| file.content.unsynced(&mut unsynced));
        self.names.unsynced(&mut unsynced);
        let keep = Keep::draw(&mut self.rng, &unsynced);
        let mut fates = Fates::new(keep, &mut self.rng);
        for (inode, file) in &mut self.files {
            if file.content.is_durable() {
                continue;
            }
            for fault in file.lose_power(&mut fates) {
                self.dice.note(fault, file.path(&self.names, *inode));
            }
        }
        for path in self.names.lose_power(&mut fates) {
            self.dice.note(DiskFault::NameLost, path);
        }
    }

    /// Bytes that take space: reserved or written, in files that a name or a user leads to.
    pub(crate) fn used(&self) -> u64 {
        let files = self.files.iter();
        let taken = files.filter(|(inode, file)| file.users > 0 || self.names.is_linked(**inode));
        taken.map(|(_, file)| file.extents.count() * PAGE).sum()
    }

    /// The next place in the order of changes.
    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn alive(&self) -> Result<(), Errno> {
        if self.is_dying() { Err(Errno::IO) } else { Ok(()) }
    }

    /// Counts a call that changes something against [`Disk::crash_after`].
    fn mutate(&mut self, path: impl FnOnce(&Self) -> PathBuf) -> Result<(), Errno> {
        self.alive()?;
        let path = path(self);
        self.changed.clone_from(&path);
        if let Some(left) = &mut self.calls_left
            && self.aim.as_ref().is_none_or(|aim| aim(&path))
        {
            self.aim = None;
            *left -= 1;
            if *left == 0 {
                self.dice.note(DiskFault::CrashBetweenCalls, path);
            }
        }
        Ok(())
    }

    fn inode(&self, handle: Handle) -> Result<Inode, Errno> {
        self.handles.get(&handle).map(|open| open.inode).ok_or(Errno::BADF)
    }

    fn file(&mut self, inode: Inode) -> &mut File {
        self.files.get_mut(&inode).expect("what has a name or a user is there")
    }

    /// A handle or an operation ends.
    fn unuse(&mut self, inode: Inode) {
        let file = self.file(inode);
        file.users -= 1;
        if file.users == 0 && !self.names.knows(inode) {
            self.files.remove(&inode);
        }
    }

    /// Lets go of files that no name will lead to again, unless they are in use.
    fn bury(&mut self) {
        for inode in self.names.take_gone() {
            if self.files.get(&inode).is_some_and(|file| file.users == 0) {
                self.files.remove(&inode);
            }
        }
    }
}

impl File {
    fn lose_power(&mut self, fates: &mut Fates) -> Vec<DiskFault> {
        let before = self.content.len();
        let losses = self.content.lose_power(fates);
        let len = self.content.len();
        self.extents.cut(len.div_ceil(PAGE));
        if len > before {
            // It was cut, and that has never been.
            let pages = before / PAGE..len.div_ceil(PAGE);
            self.content.written_in(pages).for_each(|page| self.extents.insert(page..page + 1));
        }
        losses
    }

    /// What to call it.
    fn path(&self, names: &Names, inode: Inode) -> PathBuf {
        names.path_of(inode).unwrap_or_else(|| self.opened_as.clone())
    }
}
