//! The calls on names and on whole files, carried out by the disk of the node that the thread acts for.
//!
//! The counterpart of [`file::host`](crate::file), which asks here first. Every function is `None` outside a simulation.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Handle, How};
use super::trace::TraceKind;
use super::universe;
use crate::file::host::Access;

/// Runs `call` on the disk and notes it under its name.
fn noted<R>(
    call: &'static str,
    path: &Path,
    act: impl FnOnce(&mut Disk) -> io::Result<R>,
) -> Option<io::Result<R>> {
    let universe = universe::try_current()?;
    let index = universe.here_index().expect("files belong to a node: see Simulation::on_node");
    let result = act(&mut universe.node(index).disk.borrow_mut());
    universe.trace_disk(index);
    let kind = match call {
        "sync" => TraceKind::Sync { path: path.to_owned(), took: 0, ok: result.is_ok() },
        _ => TraceKind::File { call, path: path.to_owned(), ok: result.is_ok() },
    };
    universe.trace(Some(index), kind);
    Some(result)
}

/// Asks the disk what need not be noted.
fn asked<R>(act: impl FnOnce(&Disk) -> R) -> Option<R> {
    let universe = universe::try_current()?;
    let index = universe.here_index().expect("files belong to a node: see Simulation::on_node");
    let result = act(&universe.node(index).disk.borrow());
    Some(result)
}

/// Length, and whether it is a directory.
pub(crate) fn metadata(path: &Path) -> Option<io::Result<(u64, bool)>> {
    asked(|disk| disk.metadata(path))
}

/// Name, length and whether it is a directory, of all that is in a directory, by name.
pub(crate) fn list(path: &Path) -> Option<io::Result<Vec<(String, u64, bool)>>> {
    asked(|disk| disk.list(path))
}

/// Bytes that may still be written.
pub(crate) fn free_space() -> Option<u64> {
    asked(Disk::free_space)
}

pub(crate) fn create_dir(path: &Path) -> Option<io::Result<()>> {
    noted("create directory", path, |disk| disk.create_dir(path))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Option<io::Result<()>> {
    noted("rename", to, |disk| disk.rename(from, to))
}

pub(crate) fn remove_file(path: &Path) -> Option<io::Result<()>> {
    noted("remove", path, |disk| disk.remove_file(path))
}

pub(crate) fn remove_dir_all(path: &Path) -> Option<io::Result<()>> {
    noted("remove directory", path, |disk| disk.remove_dir_all(path))
}

pub(crate) fn sync_dir(path: &Path) -> Option<io::Result<()>> {
    noted("sync", path, |disk| disk.sync_dir(path))
}

/// A file opened by whole-file calls. Dropping it closes it and lets go of its lock.
#[derive(Debug)]
pub(crate) struct File {
    node: usize,
    handle: Handle,
    path: PathBuf,
}

impl File {
    /// Opens a file, or makes it, as `access` says.
    pub(crate) fn open(path: &Path, access: Access) -> Option<io::Result<Self>> {
        let universe = universe::try_current()?;
        let how = match access {
            Access::Read | Access::Write => How::Existing,
            Access::Append => How::OpenOrCreate,
            Access::CreateNew | Access::CreatePrivate => How::CreateNew,
        };
        let opened = noted("open", path, |disk| disk.open(path, how))?;
        let node = universe.here_index().expect("noted has found it");
        let file = |handle| Self { node, handle, path: path.to_owned() };
        Some(opened.map(file))
    }

    fn on_disk<R>(&self, act: impl FnOnce(&mut Disk) -> io::Result<R>) -> io::Result<R> {
        let universe = universe::current();
        let result = act(&mut universe.node(self.node).disk.borrow_mut());
        universe.trace_disk(self.node);
        result
    }

    pub(crate) fn read_start(&self, max: usize) -> io::Result<Vec<u8>> {
        self.on_disk(|disk| disk.read_all(self.handle, max))
    }

    pub(crate) fn append_once(&self, bytes: &[u8]) -> io::Result<usize> {
        self.on_disk(|disk| disk.append_bytes(self.handle, bytes))
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        self.on_disk(|disk| disk.len(self.handle))
    }

    pub(crate) fn allocated(&self) -> io::Result<u64> {
        self.on_disk(|disk| disk.allocated(self.handle))
    }

    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        self.on_disk(|disk| disk.set_len(self.handle, len))
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        let synced = noted("sync", &self.path, |disk| disk.sync_now(self.handle));
        synced.expect("a simulated file lives in a simulation")
    }

    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        self.on_disk(|disk| Ok(disk.lock(self.handle)))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Some(universe) = universe::try_current() {
            // Nothing if the node has died since: it was closed then, and handles are never dealt twice.
            universe.node(self.node).disk.borrow_mut().close(self.handle);
        }
    }
}
