//! Calls on names: each is one change, but for the removal of a tree, which is one for everything in it.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::Disk;
use super::names::{Kind, Names};
use crate::sim::faults::DiskFault;

impl Disk {
    /// Makes a directory.
    pub(crate) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.mutate(|_| path.to_owned())?;
        let seq = self.next_seq();
        self.names.create(path, Kind::Directory, seq)?;
        Ok(())
    }

    /// Renames, replacing a file or an empty directory.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.mutate(|_| from.to_owned())?;
        let seq = self.next_seq();
        self.names.rename(from, to, seq)?;
        self.bury();
        Ok(())
    }

    /// Removes the name of a file.
    pub(crate) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.mutate(|_| path.to_owned())?;
        let seq = self.next_seq();
        self.names.remove_file(path, seq)?;
        self.bury();
        Ok(())
    }

    /// Removes a directory with everything in it, name by name.
    pub(crate) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        self.alive()?;
        for slot in self.names.tree(path)? {
            self.mutate(|_| path.to_owned())?;
            let seq = self.next_seq();
            self.names.unlink(slot, seq);
        }
        self.bury();
        Ok(())
    }

    /// What is in a directory, by name: name, length, whether it is a directory.
    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<(String, u64, bool)>> {
        self.alive()?;
        let entries = self.names.list(path)?.into_iter();
        Ok(entries
            .map(|(name, inode, kind)| (name, self.len_of(inode, kind), kind == Kind::Directory))
            .collect())
    }

    /// What has the name `path`: its length, and whether it is a directory.
    pub(crate) fn metadata(&self, path: &Path) -> io::Result<(u64, bool)> {
        self.alive()?;
        let (inode, kind) = self.names.find(path)?;
        Ok((self.len_of(inode, kind), kind == Kind::Directory))
    }

    /// Makes the names in a directory durable; of a file, its content.
    pub(crate) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        self.mutate(|_| path.to_owned())?;
        let (inode, kind) = self.names.find(path)?;
        if kind == Kind::File {
            return Ok(self.sync_inode(inode)?);
        }
        if self.dice.strikes(DiskFault::SyncError, || path.to_owned()) {
            return Err(Errno::IO.into());
        }
        self.names.sync(inode);
        self.bury();
        Ok(())
    }

    fn len_of(&self, inode: u64, kind: Kind) -> u64 {
        match kind {
            Kind::Directory => Names::directory_len(),
            Kind::File => self.files.get(&inode).map_or(0, |file| file.content.len()),
        }
    }
}
