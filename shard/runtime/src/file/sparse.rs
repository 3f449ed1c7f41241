//! A file whose length is all that it says: it only ever becomes longer, and what it holds is one hole.
//!
//! `ftruncate` makes a file longer without giving it blocks, so 2^43 bytes take no more room than none. `fdatasync` makes
//! a length durable that has grown: POSIX counts it among what is needed to find the data, and ext4, XFS, Btrfs and tmpfs
//! do so for a length that `ftruncate` has made. Writing a byte at the end instead would take a block.
//!
//! Both are calls that wait, and the second waits for a device. So the functions here are for the pool
//! ([`spawn_blocking`](crate::spawn_blocking)) or for a thread that is no core: whoever extends hands over once for both,
//! and for whatever else belongs to the step.

use crate::error::{IoError, IoErrorKind};
use crate::file::host::{self, Access, HostFile};
use crate::file::temporary;
use crate::rng;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A file that only grows, locked against every other opener, in this process too. Dropping it closes it and lets go.
///
/// Invariant: `len` never decreases, and whoever else makes the file longer is noticed before it would be cut.
#[derive(Debug)]
pub struct SparseFile {
    file: HostFile,
    path: PathBuf,
    /// What it was found to be when it was opened, or asked to be since.
    len: u64,
}

/// Why a file did not become longer, by what is known of it afterwards.
#[derive(Debug)]
pub enum ExtendError {
    /// The system said no: nothing has changed, and it may be tried again.
    Refused(IoError),
    /// It is longer, but whether that outlives a loss of power is unknown for good: a second sync that succeeds proves
    /// nothing.
    Unsynced(IoError),
}

impl fmt::Display for ExtendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "{error}; nothing has changed"),
            Self::Unsynced(error) => write!(f, "{error}; its length may not be durable"),
        }
    }
}

impl std::error::Error for ExtendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(error) | Self::Unsynced(error) => Some(error),
        }
    }
}

impl SparseFile {
    /// Opens and locks a file that is there.
    ///
    /// # Errors
    /// `NotFound` if it is not; `Locked` if somebody else has it open as this.
    pub fn open(path: &Path) -> Result<Self, IoError> {
        Self::take(path, Access::Write, "open")
    }

    /// Makes a file that must not be there, empty, and locks it. The name is durable only after
    /// [`sync_dir`](super::blocking::sync_dir) of its directory.
    ///
    /// # Errors
    /// `AlreadyExists`; `Locked` if somebody opened it within the same moment.
    pub fn create_new(path: &Path) -> Result<Self, IoError> {
        Self::take(path, Access::CreateNew, "create")
    }

    fn take(path: &Path, access: Access, operation: &'static str) -> Result<Self, IoError> {
        let fail = |error| IoError::new(operation, Some(path), error);
        let file = HostFile::open(path, access).map_err(fail)?;
        if !file.try_lock().map_err(fail)? {
            let text = "somebody else has it open";
            return Err(IoError::with_kind(IoErrorKind::Locked, operation, Some(path), text));
        }
        let len = file.len().map_err(fail)?;
        Ok(Self { file, path: path.to_owned(), len })
    }

    /// Its name when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The length in bytes that it was found with or asked to have since. Durable if the last [`extend`](Self::extend)
    /// or [`sync`](Self::sync) succeeded; of a file that was just opened nobody knows.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the length is a number, not a content")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Makes the file `len` bytes long, durably: `ftruncate` and `fdatasync`. For a thread that may wait.
    ///
    /// # Errors
    /// See [`ExtendError`]. A full file system, a quota, the largest file of the file system and that of the process are
    /// all `Refused`; so is a file that is longer than `len`, which somebody else has made so.
    ///
    /// # Panics
    /// If `len` is less than [`len`](Self::len): that would be another file.
    pub fn extend(&mut self, len: u64) -> Result<(), ExtendError> {
        assert!(len >= self.len, "{} shall shrink from {} to {len}", self.path.display(), self.len);
        let failed = |operation, error| IoError::new(operation, Some(&self.path), error);
        let found = self.file.len().map_err(|error| ExtendError::Refused(failed("stat", error)))?;
        if found > len {
            let text = format!("somebody else has made it {found} bytes long, more than {len}");
            let error = failed("lengthen", io::Error::other(text));
            return Err(ExtendError::Refused(error));
        }
        let lengthened = self.file.set_len(len);
        lengthened.map_err(|error| ExtendError::Refused(failed("lengthen", error)))?;
        self.len = len;
        self.file.sync_data().map_err(|error| ExtendError::Unsynced(failed("sync", error)))
    }

    /// Makes the length that it was found with durable: somebody else, or an earlier life, may have died before its sync.
    /// For a thread that may wait.
    ///
    /// # Errors
    /// If the sync failed; what is durable is then unknown.
    pub fn sync(&mut self) -> Result<(), IoError> {
        self.file.sync_data().map_err(|error| IoError::new("sync", Some(&self.path), error))
    }

    /// Bytes of the device that the file takes.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn allocated_bytes(&self) -> Result<u64, IoError> {
        self.file.allocated().map_err(|error| IoError::new("stat", Some(&self.path), error))
    }

    /// The largest power of two, `most` at most, that a file in `directory` may be long: as the file system and the limit
    /// of this process have it, found out with a file that is gone afterwards.
    ///
    /// # Errors
    /// `FileTooLarge` if there is none; anything else that keeps a file from being made there.
    ///
    /// # Panics
    /// If `most` is no power of two.
    pub fn len_max(directory: &Path, most: u64) -> Result<u64, IoError> {
        assert!(most.is_power_of_two(), "{most} is no power of two");
        let path = directory.join(temporary::probe(rng::entropy_u64()));
        let fail = |error| IoError::new("probe", Some(&path), error);
        let file = HostFile::open(&path, Access::CreateNew).map_err(fail)?;
        let found = longest(&file, most).map_err(fail);
        host::remove_file(&path).map_err(fail)?;
        found
    }
}

/// Down from `most`: nearly every file system takes the first.
fn longest(file: &HostFile, most: u64) -> io::Result<u64> {
    let mut len = most;
    loop {
        match file.set_len(len) {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge && len > 1 => len /= 2,
            result => return result.map(|()| len),
        }
    }
}
