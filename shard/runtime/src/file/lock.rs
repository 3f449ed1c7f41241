//! A lock on a file that says who owns a directory.

use crate::error::{IoError, IoErrorKind};
use crate::file::blocking::append_all;
use crate::file::host::{Access, HostFile};
use std::io;
use std::path::{Path, PathBuf};

/// Held until dropped or until the process ends, however it ends.
#[derive(Debug)]
pub struct FileLock {
    /// The lock belongs to this open file.
    file: HostFile,
    path: PathBuf,
}

impl FileLock {
    pub(super) fn new(file: HostFile, path: &Path) -> Self {
        Self { file, path: path.to_owned() }
    }

    /// The locked file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `content` the content of the locked file, for those who find it locked: the number of
    /// this process, for example. It is not synced: it means nothing after a loss of power. From any
    /// thread: two system calls that do not wait for a device.
    ///
    /// # Errors
    /// As the system reports it. The lock is held all the same; the content may be cut short.
    pub fn write(&self, content: &[u8]) -> io::Result<()> {
        self.file.set_len(0)?;
        append_all(&self.file, content)
    }
}

/// Makes the file if needed and locks it against every other opener, in this process too. Does not
/// wait. From any thread: two system calls that do not block.
///
/// # Errors
/// `Locked` if someone else holds it; otherwise whatever kept the file from being opened.
pub fn lock_exclusive(path: impl AsRef<Path>) -> Result<FileLock, IoError> {
    let path = path.as_ref();
    let file = HostFile::open(path, Access::Append)
        .map_err(|error| IoError::new("open the lock", Some(path), error))?;
    match file.try_lock() {
        Ok(true) => Ok(FileLock::new(file, path)),
        Ok(false) => {
            let text = "another process holds the lock";
            Err(IoError::with_kind(IoErrorKind::Locked, "lock", Some(path), text))
        }
        Err(error) => Err(IoError::new("lock", Some(path), error)),
    }
}
