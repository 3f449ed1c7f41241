//! A lock on a file that says who owns a directory.

use crate::error::{IoError, IoErrorKind};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// Held until dropped or until the process ends, however it ends.
#[derive(Debug)]
pub struct FileLock {
    /// The lock belongs to this open file.
    _file: File,
    path: PathBuf,
}

impl FileLock {
    /// The locked file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the file if needed and locks it against every other opener, in this process too. Does not
/// wait. From any thread: two system calls that do not block.
///
/// # Errors
/// `Locked` if someone else holds it; otherwise whatever kept the file from being opened.
pub fn lock_exclusive(path: impl AsRef<Path>) -> Result<FileLock, IoError> {
    let path = path.as_ref();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| IoError::new("open the lock", Some(path), error))?;
    match file.try_lock() {
        Ok(()) => Ok(FileLock { _file: file, path: path.to_owned() }),
        Err(TryLockError::WouldBlock) => {
            let text = "another process holds the lock";
            Err(IoError::with_kind(IoErrorKind::Locked, "lock", Some(path), text))
        }
        Err(TryLockError::Error(error)) => Err(IoError::new("lock", Some(path), error)),
    }
}
