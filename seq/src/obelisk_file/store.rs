//! The steps of an obelisk on disk, for a thread that may wait.
//!
//! Everything here is synchronous, so that one hand-over to the pool carries out a whole step, and a death between any
//! two calls is a death at a point of this file.
//!
//! | step | calls, in this order | after a death in the middle |
//! |---|---|---|
//! | extend | `ftruncate`, `fdatasync` | either length; what was dealt is below both |
//! | roll | make the next file, extend it, sync the directory, unlink the old file | the next file says more than the old one could |
//! | note | the new sidecar beside the old, sync, rename, sync the directory | either bound; the file is above both |
//! | open, not closed in order | `fdatasync`, sync the directory, unlink old files | what was found, or less: nothing was said of it |
//! | create | directory, file, sync both, sidecar | an empty first file without a sidecar: nothing was dealt yet |
//!
//! The name of an old generation may come back after a loss of power: the highest rules, and the next opening removes it.
//!
//! # Who owns it
//!
//! The files that count are locked, and at every moment the owner holds the lock of one that has a name: the next is
//! locked before the old one goes. Who opens locks all that there are and looks again. If they are the same, the file of
//! an owner would be among them, so there is none.

use std::io;
use std::path::{Path, PathBuf};

use pyralog_runtime::file::{ExtendError, SparseFile, blocking};
use pyralog_runtime::{IoError, IoErrorKind};

use super::error::ObeliskError;
use super::recovery::{Decision, Facts, Generation};
use super::sidecar::{Found, SIDECAR_BYTES, Sidecar};
use super::{Options, Stat, is_name};
use crate::limits::{EXTENSIONS_PER_NOTE, OPEN_TRIES_MAX, STRIDE_MIN, VALUE_MAX};

/// Ends the name of a file that counts, behind its number in hexadecimal.
const SUFFIX: &str = ".obelisk";
const SIDECAR: &str = "sidecar";
/// Where the next sidecar is made. Only the owner writes it, so one name is enough.
const SIDECAR_STAGED: &str = "sidecar.tmp";

/// An obelisk that is open.
///
/// Invariants: `newest` is the file of `generation`; `sidecar.bound <= value`; a `value` that was reached by
/// [`extend_to`](Self::extend_to) is durable, and so is the one that [`open`](Self::open) has found.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    newest: SparseFile,
    generation: u32,
    value: u64,
    /// As it is on disk.
    sidecar: Sidecar,
    /// Extensions until the next note. The first after the opening is noted at once.
    until_note: u32,
    /// Whether an extension was synced since it was opened.
    is_extended: bool,
    is_poisoned: bool,
}

/// What was found, all of it locked.
struct Stock {
    directory: PathBuf,
    /// By number, lowest first.
    files: Vec<(u32, SparseFile)>,
    facts: Facts,
}

impl Store {
    /// Opens the obelisk `name` in `parent`, or makes it if there are `options` for that.
    pub(super) fn open(
        parent: &Path,
        name: &str,
        options: Option<Options>,
    ) -> Result<Self, ObeliskError> {
        let directory = parent.join(name);
        if options.is_none() && is_name(name) && !is_there(&directory)? {
            return Err(ObeliskError::NotMade { directory });
        }
        let mut stock = Stock::take(parent, name)?;
        match stock.facts.decide() {
            Decision::Create => match options {
                Some(options) => stock.create(parent, options),
                None => Err(ObeliskError::NotMade { directory: stock.directory }),
            },
            Decision::GoOn { value, sidecar } => {
                let (generation, mut newest) = stock.files.pop().expect("a value has a file");
                // A bound is noted once it is durable; whatever else was found may be of a life that died before its
                // sync, and would be told as durable.
                if value > sidecar.bound {
                    newest.sync().map_err(ObeliskError::Unopened)?;
                }
                // Nor may the name of the newest be durable yet, and the others must not go before it is; nor that of the first
                // sidecar, without which nothing says that it was made.
                let is_fresh = value == 0 || value > sidecar.bound;
                if is_fresh || !stock.files.is_empty() {
                    let synced = blocking::sync_dir(&stock.directory);
                    synced.map_err(|error| unopened("sync", &stock.directory, error))?;
                }
                remove_all(stock.files);
                Ok(Self::new(stock.directory, (generation, newest), value, sidecar))
            }
            refused => Err(refusal(stock.directory, refused)),
        }
    }

    /// Opens or makes it whatever was found, at `value` or above everything that was found: somebody answers for it.
    pub(super) fn raise(
        parent: &Path,
        name: &str,
        options: Options,
        value: u64,
    ) -> Result<Self, ObeliskError> {
        if value > VALUE_MAX {
            return Err(ObeliskError::Exhausted);
        }
        let mut stock = Stock::take(parent, name)?;
        let sidecar = match stock.facts.sidecar {
            Found::Newer { version } => {
                return Err(refusal(stock.directory, Decision::Newer { version }));
            }
            // The file system may be another one, but a stride must not grow: the numbers of files would then go back.
            Found::Sound(found) => {
                Sidecar { stride: found.stride.min(probe(&stock.directory, options)?), ..found }
            }
            Found::Missing | Found::Damaged => {
                let stride = probe(&stock.directory, options)?;
                Sidecar { stride, mode: options.mode, bound: 0 }
            }
        };
        // Beyond what was found, so that it is the sync of this extension that makes it durable.
        let target = value.max(stock.facts.value_at_least().saturating_add(1));
        let (number, len) = place(target, sidecar.stride)?;
        let newest = match stock.files.pop_if(|(newest, _)| *newest == number) {
            Some((_, newest)) => newest,
            None => open_or_create(&stock.path_of(number)).map_err(ObeliskError::Unopened)?,
        };
        let mut store = Self::new(stock.directory, (number, newest), target, sidecar);
        store.lengthen(len)?;
        // Before the note: a bound whose file has lost its name would be refused again.
        for directory in [&*store.directory, parent] {
            blocking::sync_dir(directory).map_err(|error| unopened("sync", directory, error))?;
        }
        store.note().map_err(ObeliskError::Unopened)?;
        remove_all(stock.files);
        Ok(store)
    }

    fn new(
        directory: PathBuf,
        (generation, newest): (u32, SparseFile),
        value: u64,
        sidecar: Sidecar,
    ) -> Self {
        let (until_note, is_extended, is_poisoned) = (1, false, false);
        Self { directory, newest, generation, value, sidecar, until_note, is_extended, is_poisoned }
    }

    /// Makes `value` durable.
    pub(super) fn extend_to(&mut self, value: u64) -> Result<(), ObeliskError> {
        assert!(value > self.value, "an extension from {} to {value}", self.value);
        if self.is_poisoned {
            return Err(ObeliskError::Poisoned);
        }
        let (number, len) = place(value, self.sidecar.stride)?;
        assert!(number >= self.generation, "generation {number} after {}", self.generation);
        if number > self.generation {
            self.roll(number, len)?;
        } else {
            self.lengthen(len)?;
        }
        self.until_note -= 1;
        if self.until_note == 0 {
            self.until_note = EXTENSIONS_PER_NOTE;
            if let Err(error) = self.note() {
                // The counter is sound without: it only takes longer to know a file that came back shorter.
                tracing::warn!(%error, "an obelisk could not note how far it has come");
            }
        }
        Ok(())
    }

    /// Makes the file at hand so long, and the value what it then says.
    fn lengthen(&mut self, len: u64) -> Result<(), ObeliskError> {
        self.newest.extend(len).map_err(|error| self.failed(error))?;
        self.is_extended = true;
        self.value = u64::from(self.generation) * self.sidecar.stride + len;
        Ok(())
    }

    /// Begins the generation `number`, `len` bytes long.
    fn roll(&mut self, number: u32, len: u64) -> Result<(), ObeliskError> {
        let path = path_of(&self.directory, number);
        let mut next = open_or_create(&path).map_err(ObeliskError::Refused)?;
        // An earlier try may have left it, and may have come further.
        let len = len.max(next.len());
        next.extend(len).map_err(|error| self.failed(error))?;
        if let Err(error) = blocking::sync_dir(&self.directory) {
            let error = IoError::new("sync", Some(&self.directory), error);
            return Err(self.failed(ExtendError::Unsynced(error)));
        }
        let old = std::mem::replace(&mut self.newest, next);
        let old = (std::mem::replace(&mut self.generation, number), old);
        remove_all(vec![old]);
        self.is_extended = true;
        self.until_note = 1;
        self.value = u64::from(number) * self.sidecar.stride + len;
        Ok(())
    }

    fn failed(&mut self, error: ExtendError) -> ObeliskError {
        match error {
            ExtendError::Refused(error) => ObeliskError::Refused(error),
            ExtendError::Unsynced(error) => {
                self.is_poisoned = true;
                ObeliskError::Unsynced(error)
            }
        }
    }

    /// Writes down how far it has come.
    fn note(&mut self) -> Result<(), IoError> {
        assert!(self.is_extended, "only what was synced in this life is known to be durable");
        self.write_sidecar(Sidecar { bound: self.value, ..self.sidecar })
    }

    fn write_sidecar(&mut self, sidecar: Sidecar) -> Result<(), IoError> {
        let path = self.directory.join(SIDECAR);
        blocking::write_atomic(&path, SIDECAR_STAGED, &sidecar.encode())
            .map_err(|error| IoError::new("write", Some(&path), error))?;
        self.sidecar = sidecar;
        Ok(())
    }

    /// Notes how far it has come, if that is not noted yet.
    pub(super) fn close(mut self) -> Result<(), ObeliskError> {
        let is_known = self.is_extended && !self.is_poisoned;
        if is_known && self.sidecar.bound < self.value {
            self.note().map_err(ObeliskError::Refused)?;
        }
        Ok(())
    }

    pub(super) fn stat(&self) -> Stat {
        Stat {
            value: self.value,
            generation: self.generation,
            stride: self.sidecar.stride,
            mode: self.sidecar.mode,
            bound: self.sidecar.bound,
            // What cannot be said is nothing to fail for.
            allocated_bytes: self.newest.allocated_bytes().unwrap_or(0),
            is_poisoned: self.is_poisoned,
        }
    }
}

impl Stock {
    /// Locks and reads all that there is of an obelisk.
    fn take(parent: &Path, name: &str) -> Result<Self, ObeliskError> {
        if !is_name(name) {
            return Err(ObeliskError::BadName { name: name.to_owned() });
        }
        let directory = parent.join(name);
        let created = blocking::create_dir_all(&directory);
        created.map_err(|error| unopened("create", &directory, error))?;
        for _ in 0..OPEN_TRIES_MAX {
            let numbers = numbers_in(&directory)?;
            let Some(files) = lock_all(&directory, &numbers)? else { continue };
            if numbers_in(&directory)? == numbers {
                let sidecar = read_sidecar(&directory.join(SIDECAR))?;
                let generation = |(number, file): &(u32, SparseFile)| Generation {
                    number: *number,
                    len: file.len(),
                };
                let generations = files.iter().map(generation).collect();
                return Ok(Self { directory, files, facts: Facts { generations, sidecar } });
            }
        }
        Err(ObeliskError::AlreadyOpen { directory })
    }

    /// Makes an obelisk at zero.
    fn create(mut self, parent: &Path, options: Options) -> Result<Store, ObeliskError> {
        let stride = probe(&self.directory, options)?;
        let sidecar = Sidecar { stride, mode: options.mode, bound: 0 };
        let mut first = match self.files.pop() {
            Some((_, found)) => found,
            None => match SparseFile::create_new(&self.path_of(0)) {
                Ok(made) => made,
                Err(error) if is_somebody(&error) => {
                    return Err(ObeliskError::AlreadyOpen { directory: self.directory });
                }
                Err(error) => return Err(ObeliskError::Unopened(error)),
            },
        };
        first.extend(0).map_err(|error| match error {
            ExtendError::Refused(error) | ExtendError::Unsynced(error) => {
                ObeliskError::Unopened(error)
            }
        })?;
        for directory in [&*self.directory, parent] {
            let synced = blocking::sync_dir(directory);
            synced.map_err(|error| unopened("sync", directory, error))?;
        }
        let mut store = Store::new(self.directory, (0, first), 0, sidecar);
        store.write_sidecar(sidecar).map_err(ObeliskError::Unopened)?;
        Ok(store)
    }

    fn path_of(&self, number: u32) -> PathBuf {
        path_of(&self.directory, number)
    }
}

/// The value of the obelisk `name` in `parent`, whoever has it open: no less than what it was when that was opened.
pub(super) fn peek(parent: &Path, name: &str) -> Result<u64, ObeliskError> {
    let directory = parent.join(name);
    let mut tries = 1;
    loop {
        match look(&directory)?.decide() {
            Decision::Create => return Ok(0),
            Decision::GoOn { value, .. } => return Ok(value),
            // An owner that makes or rolls it can look so for a moment.
            _ if tries < OPEN_TRIES_MAX => tries += 1,
            refused => return Err(refusal(directory, refused)),
        }
    }
}

/// What there is of an obelisk, without a lock.
fn look(directory: &Path) -> Result<Facts, ObeliskError> {
    // First, so that its bound is no more than the lengths say.
    let sidecar = read_sidecar(&directory.join(SIDECAR))?;
    let entries = blocking::list_dir(directory);
    let entries = entries.map_err(|error| unopened("list", directory, error))?;
    let generations = entries.iter().filter_map(|entry| {
        number_of(&entry.name).map(|number| Generation { number, len: entry.len })
    });
    let mut generations: Vec<_> = generations.collect();
    generations.sort_unstable_by_key(|generation| generation.number);
    Ok(Facts { generations, sidecar })
}

fn refusal(directory: PathBuf, decision: Decision) -> ObeliskError {
    match decision {
        Decision::CameBackShorter { found, at_least } => {
            ObeliskError::CameBackShorter { directory, found, at_least }
        }
        Decision::Unattested => ObeliskError::Unattested { directory },
        Decision::Newer { version } => ObeliskError::Newer { directory, version },
        Decision::Create | Decision::GoOn { .. } => {
            unreachable!("{decision:?} refuses nothing")
        }
    }
}

/// Generation and length that say `value`.
fn place(value: u64, stride: u64) -> Result<(u32, u64), ObeliskError> {
    let number = u32::try_from(value / stride).map_err(|_| ObeliskError::Exhausted)?;
    Ok((number, value % stride))
}

fn path_of(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08x}{SUFFIX}"))
}

/// The number in the name of a file that counts.
fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(SUFFIX)?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    (format!("{number:08x}") == digits).then_some(number)
}

/// The numbers of the files that count, lowest first.
fn numbers_in(directory: &Path) -> Result<Vec<u32>, ObeliskError> {
    let entries = blocking::list_dir(directory);
    let entries = entries.map_err(|error| unopened("list", directory, error))?;
    let mut numbers: Vec<u32> = entries.iter().filter_map(|entry| number_of(&entry.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Locks all of them; `None` if one has gone meanwhile.
fn lock_all(
    directory: &Path,
    numbers: &[u32],
) -> Result<Option<Vec<(u32, SparseFile)>>, ObeliskError> {
    let mut files = Vec::with_capacity(numbers.len());
    for number in numbers {
        match SparseFile::open(&path_of(directory, *number)) {
            Ok(file) => files.push((*number, file)),
            Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
            Err(error) if is_somebody(&error) => {
                return Err(ObeliskError::AlreadyOpen { directory: directory.to_owned() });
            }
            Err(error) => return Err(ObeliskError::Unopened(error)),
        }
    }
    Ok(Some(files))
}

fn is_there(directory: &Path) -> Result<bool, ObeliskError> {
    blocking::exists(directory).map_err(|error| unopened("look for", directory, error))
}

/// Whether it failed because somebody else is at it.
fn is_somebody(error: &IoError) -> bool {
    matches!(error.kind(), IoErrorKind::Locked | IoErrorKind::AlreadyExists)
}

fn open_or_create(path: &Path) -> Result<SparseFile, IoError> {
    match SparseFile::create_new(path) {
        Err(error) if error.kind() == IoErrorKind::AlreadyExists => SparseFile::open(path),
        result => result,
    }
}

fn read_sidecar(path: &Path) -> Result<Found, ObeliskError> {
    match blocking::read_start(path, SIDECAR_BYTES + 1) {
        Ok(bytes) => Ok(Sidecar::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
        Err(error) => Err(unopened("read", path, error)),
    }
}

/// Values per generation that the file system of `directory` allows.
fn probe(directory: &Path, options: Options) -> Result<u64, ObeliskError> {
    let least = options.stride_max.min(STRIDE_MIN);
    let found = SparseFile::len_max(directory, options.stride_max);
    let found = found.map_err(ObeliskError::Unopened)?;
    if found < least {
        let text = format!("a file may be {found} bytes long, and an obelisk needs {least}");
        let error = io::Error::new(io::ErrorKind::FileTooLarge, text);
        return Err(unopened("make an obelisk in", directory, error));
    }
    Ok(found)
}

/// Removes files that count no more, and only then lets go of them. One that stays does no harm.
fn remove_all(files: Vec<(u32, SparseFile)>) {
    for (_, file) in files {
        if let Err(error) = blocking::remove_file(file.path()) {
            let path = file.path().display();
            tracing::warn!(%path, %error, "an old generation could not be removed");
        }
    }
}

fn unopened(operation: &'static str, path: &Path, error: io::Error) -> ObeliskError {
    ObeliskError::Unopened(IoError::new(operation, Some(path), error))
}
