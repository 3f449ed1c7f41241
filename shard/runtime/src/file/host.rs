//! The calls on names and on whole files, one function per call of the system.
//!
//! Inside a simulation the disk of the node carries them out. They block. What takes more than one
//! of them (stage, sync, rename, sync the directory) is put together in
//! [`blocking`](super::blocking), so that its order is the same whoever carries it out.

use crate::file::Entry;
use crate::sim::{self, files};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What `st_blocks` counts, whatever the blocks of the file system are.
const STAT_BLOCK_BYTES: u64 = 512;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    /// To be read; it must be there.
    Read,
    /// To be read, cut and appended to; it is made if it is not there.
    Append,
    /// To be read and changed; it must be there.
    Write,
    /// To be read and changed; it must not be there.
    CreateNew,
    /// As [`Access::CreateNew`], to be appended to, and no other user may read it.
    CreatePrivate,
}

/// What has a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// Length in bytes; of a directory, whatever its file system says.
    pub(crate) len: u64,
    pub(crate) is_dir: bool,
    /// What group and others may do with it; nothing on a simulated disk, which has no users.
    pub(crate) mode_of_others: u32,
}

/// An open file. Dropping it closes it and lets go of its lock.
#[derive(Debug)]
pub(crate) enum HostFile {
    /// Of the operating system.
    System(File),
    /// Of a simulated disk.
    Simulated(files::File),
}

impl HostFile {
    pub(crate) fn open(path: &Path, access: Access) -> io::Result<Self> {
        if let Some(opened) = files::File::open(path, access) {
            return opened.map(Self::Simulated);
        }
        let mut options = OpenOptions::new();
        options.read(true);
        match access {
            Access::Read => {}
            Access::Append => _ = options.append(true).create(true),
            Access::Write => _ = options.write(true),
            Access::CreateNew => _ = options.write(true).create_new(true),
            Access::CreatePrivate => _ = options.append(true).create_new(true).mode(0o600),
        }
        options.open(path).map(Self::System)
    }

    /// The first `max` bytes of a file that was just opened, or all if it is shorter.
    pub(crate) fn read_start(&self, max: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::System(file) => {
                let mut content = Vec::new();
                file.take(max as u64).read_to_end(&mut content)?;
                Ok(content)
            }
            Self::Simulated(file) => file.read_start(max),
        }
    }

    /// Puts some of `bytes` at the end; returns how many.
    pub(crate) fn append_once(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::System(file) => (&mut &*file).write(bytes),
            Self::Simulated(file) => file.append_once(bytes),
        }
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> io::Result<u64> {
        match self {
            Self::System(file) => file.metadata().map(|meta| meta.len()),
            Self::Simulated(file) => file.len(),
        }
    }

    /// Bytes of the device that it takes.
    pub(crate) fn allocated(&self) -> io::Result<u64> {
        match self {
            Self::System(file) => file.metadata().map(|meta| meta.blocks() * STAT_BLOCK_BYTES),
            Self::Simulated(file) => file.allocated(),
        }
    }

    /// Cuts the file, or extends it with zeros.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        match self {
            Self::System(file) => file.set_len(len),
            Self::Simulated(file) => file.set_len(len),
        }
    }

    /// Content, length and attributes are on stable storage then; the name is not.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        match self {
            Self::System(file) => file.sync_all(),
            Self::Simulated(file) => file.sync(),
        }
    }

    /// Content and length are on stable storage then.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::System(file) => file.sync_data(),
            Self::Simulated(file) => file.sync(),
        }
    }

    /// Locks it against every other opener; `false` if one of them holds the lock.
    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        match self {
            Self::System(file) => match file.try_lock() {
                Ok(()) => Ok(true),
                Err(TryLockError::WouldBlock) => Ok(false),
                Err(TryLockError::Error(error)) => Err(error),
            },
            Self::Simulated(file) => file.try_lock(),
        }
    }
}

/// What has the name `path`.
pub(crate) fn metadata(path: &Path) -> io::Result<Found> {
    if let Some(found) = files::metadata(path) {
        return found.map(|(len, is_dir)| Found { len, is_dir, mode_of_others: 0 });
    }
    fs::metadata(path).map(|meta| Found {
        len: meta.len(),
        is_dir: meta.is_dir(),
        mode_of_others: meta.mode() & 0o077,
    })
}

/// What is in a directory, by name.
pub(crate) fn list(path: &Path) -> io::Result<Vec<Entry>> {
    if let Some(listed) = files::list(path) {
        let entry = |(name, len, is_dir)| Entry { name, len, is_dir };
        return listed.map(|entries| entries.into_iter().map(entry).collect());
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            // Removed since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push(Entry { name, len: meta.len(), is_dir: meta.is_dir() });
    }
    entries.sort();
    Ok(entries)
}

/// Makes one directory, which must not be there.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    files::create_dir(path).unwrap_or_else(|| fs::create_dir(path))
}

/// Renames, replacing what has the new name.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    files::rename(from, to).unwrap_or_else(|| fs::rename(from, to))
}

pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    files::remove_file(path).unwrap_or_else(|| fs::remove_file(path))
}

/// Removes a directory with everything in it.
pub(crate) fn remove_dir_all(path: &Path) -> io::Result<()> {
    files::remove_dir_all(path).unwrap_or_else(|| fs::remove_dir_all(path))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    if let Some(synced) = files::sync_dir(path) {
        return synced;
    }
    OpenOptions::new().read(true).open(path)?.sync_all()
}

/// Bytes that this process may still write to the file system of `directory`.
pub(crate) fn free_space(directory: &Path) -> io::Result<u64> {
    if let Some(bytes) = files::free_space() {
        return Ok(bytes);
    }
    let stat = rustix::fs::statvfs(directory)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The number of this process; the same for all of a simulation.
pub(crate) fn process_id() -> u32 {
    if sim::is_simulated() { 1 } else { std::process::id() }
}
