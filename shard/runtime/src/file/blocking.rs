//! Whole-file and directory calls for a thread that may wait: before a core runs, or on the pool.
//!
//! Never call them on a core, which would stand still; there the functions of
//! [`file`](crate::file) carry out the same steps on the pool. Errors are the system's own, without
//! operation and path: the caller knows both, and says more with them.

use crate::file::host::{self, Access, HostFile};
use crate::file::{Entry, FileLock, Sync};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// What a try to lock a file came to.
#[derive(Debug)]
pub enum Locking {
    /// The lock is held.
    Taken(FileLock),
    /// Somebody else holds it.
    Held {
        /// What the holder has left in the file: the beginning, or nothing if it cannot be read.
        content: Vec<u8>,
    },
}

/// Whether there is something of that name.
///
/// # Errors
/// If the system does not say.
pub fn exists(path: &Path) -> io::Result<bool> {
    match host::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether what has that name is a directory.
///
/// # Errors
/// `NotFound` if nothing has that name; `NotADirectory` if what should be a directory above it is
/// none; and so on.
pub fn is_dir(path: &Path) -> io::Result<bool> {
    host::metadata(path).map(|found| found.is_dir)
}

/// What other users may do with a file, as permission bits of group and others; 0 is nothing.
///
/// # Errors
/// If the system does not say.
pub fn mode_of_others(path: &Path) -> io::Result<u32> {
    host::metadata(path).map(|found| found.mode_of_others)
}

/// What is in a directory, by name. Names that are not UTF-8 are shown with replacement characters.
///
/// # Errors
/// If it cannot be read.
pub fn list_dir(path: &Path) -> io::Result<Vec<Entry>> {
    host::list(path)
}

/// Makes a directory and those above it, durably, and makes durable the one that the first of them
/// is made in. Nothing happens if it is there: then it may have been made by a process that ended
/// before it had synced the name; who depends on it syncs the directory above.
///
/// Where this process may not read the directory above it cannot sync it, and the name is left to
/// the file system.
///
/// # Errors
/// If one of them cannot be made, or cannot be made durable; those above it may have been.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && host::metadata(path).is_err();
    let mut missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    if missing.is_empty() && host::metadata(path).is_ok_and(|found| !found.is_dir) {
        missing.push(path); // The system says best what is wrong with that.
    }
    if let Some(top) = missing.last() {
        // Another core may have made it a moment ago, and not have come to the sync.
        sync_name(&parent(top))?;
    }
    // From the top, each made durable before the next: whatever is found after a crash, only the
    // lowest may still have a name that a loss of power takes back.
    for made in missing.into_iter().rev() {
        if let Err(error) = host::create_dir(made) {
            // Another core may have been faster.
            let there = error.kind() == io::ErrorKind::AlreadyExists && is_dir(made)?;
            if !there {
                return Err(error);
            }
        }
        sync_name(made)?;
    }
    Ok(())
}

/// Makes the name `path` durable, if the directory that it is in may be read.
fn sync_name(path: &Path) -> io::Result<()> {
    let parent = parent(path);
    match host::sync_dir(&parent) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(path = %parent.display(), "may not be read, so it cannot be synced");
            Ok(())
        }
        result => result,
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// If it cannot be opened or the device fails.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    host::sync_dir(path)
}

/// Removes a file; durable after [`sync_dir`].
///
/// # Errors
/// If it is not there or may not be removed.
pub fn remove_file(path: &Path) -> io::Result<()> {
    host::remove_file(path)
}

/// The first `max` bytes of a file, or all of it if it is shorter.
///
/// # Errors
/// `NotFound` if it is not there, and so on.
pub fn read_start(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    HostFile::open(path, Access::Read)?.read_start(max)
}

/// Replaces a file, durably and at once: after a crash it has its old content or `bytes`, whole.
///
/// The content is staged in a file called `staged` in the same directory, which a crash may leave
/// behind; what it holds before is lost.
///
/// # Errors
/// The old content is then still there, except if only the sync of the directory failed: then either
/// may be found after a loss of power.
pub fn write_atomic(path: &Path, staged: impl AsRef<OsStr>, bytes: &[u8]) -> io::Result<()> {
    let staged = path.with_file_name(staged.as_ref());
    let replaced = stage(&staged, bytes).and_then(|()| host::rename(&staged, path));
    if let Err(error) = replaced {
        // The first error is the one to tell; a staged file left behind is named as one.
        host::remove_file(&staged).ok();
        return Err(error);
    }
    host::sync_dir(&parent(path))
}

/// Makes a file that other users may not read, durably and at once: after a crash it is there, whole, or it is not there.
/// As [`write_atomic`], but a file that is there already is left alone.
///
/// # Errors
/// `AlreadyExists` if it is there.
pub fn create_private(path: &Path, staged: impl AsRef<OsStr>, bytes: &[u8]) -> io::Result<()> {
    if exists(path)? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let staged = path.with_file_name(staged.as_ref());
    // A crash left it behind; what it was opened with is not known.
    match host::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = HostFile::open(&staged, Access::CreatePrivate)?;
    append_all(&file, bytes)?;
    file.sync_all()?;
    host::rename(&staged, path)?;
    host::sync_dir(&parent(path))
}

fn stage(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = HostFile::open(path, Access::Append)?;
    file.set_len(0)?;
    append_all(&file, bytes)?;
    file.sync_all()
}

/// Appends `bytes` to a file, making it if needed.
///
/// # Errors
/// If not all of it was written; part of it may have been.
pub fn append(path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    let file = HostFile::open(path, Access::Append)?;
    append_all(&file, bytes)?;
    match sync {
        Sync::No => Ok(()),
        Sync::Data => file.sync_data(),
    }
}

/// Makes the file if needed and locks it against every other opener, in this process too. Does not
/// wait. If somebody else holds it, the first `content_max` bytes of the file tell who.
///
/// # Errors
/// If the file cannot be opened, or the file system has no locks.
pub fn lock(path: &Path, content_max: usize) -> io::Result<Locking> {
    let file = HostFile::open(path, Access::Append)?;
    if file.try_lock()? {
        return Ok(Locking::Taken(FileLock::new(file, path)));
    }
    // Without a content it is as true that the file is locked, only less helpful.
    let content = file.read_start(content_max).unwrap_or_default();
    Ok(Locking::Held { content })
}

/// The number of this process, which is what the content of a lock is good for.
#[must_use]
pub fn process_id() -> u32 {
    host::process_id()
}

/// Appends all of `bytes`: one call may take only some of them.
pub(super) fn append_all(file: &HostFile, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.append_once(rest) {
            Ok(0) => {
                let text = "failed to write whole buffer";
                return Err(io::Error::new(io::ErrorKind::WriteZero, text));
            }
            Ok(taken) => rest = &rest[taken..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The directory of `path`; of a bare name, the current one; of the root, itself.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    }
}
