//! Ordinary reads of files that a server may be writing at the same time.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use pyralog_runtime::file::blocking;

use crate::exit::Failure;
use crate::limits::{INSPECT_READ_BYTES, SMALL_FILE_BYTES_MAX};

/// A file that is read piece by piece, some way ahead.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    file: File,
    start: u64,
    bytes: Vec<u8>,
    seen: Seen,
}

/// By what a change of a file is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    len: u64,
    modified: (i64, i64),
    inode: u64,
}

impl Source {
    /// Opens it; `None` if there is no such file (any more).
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Failure> {
        match OpenOptions::new().read(true).open(path) {
            Ok(file) => {
                let seen = seen(&file, path)?;
                Ok(Some(Self { path: path.to_owned(), file, start: 0, bytes: Vec::new(), seen }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its length when it was opened.
    pub(super) const fn len(&self) -> u64 {
        self.seen.len
    }

    /// The `len` bytes at `start`; fewer if the file ends there.
    pub(super) fn read(&mut self, start: u64, len: usize) -> Result<&[u8], Failure> {
        let inside = start.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        if let Some(at) = inside
            && at + len <= self.bytes.len()
        {
            return Ok(&self.bytes[at..at + len]);
        }
        self.bytes.resize(len.max(INSPECT_READ_BYTES), 0);
        let (mut filled, mut at) = (0, start);
        while filled < self.bytes.len() {
            match self.file.read_at(&mut self.bytes[filled..], at) {
                Ok(0) => break,
                Ok(count) => (filled, at) = (filled + count, at + count as u64),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&self.path, &error)),
            }
        }
        self.bytes.truncate(filled);
        self.start = start;
        Ok(&self.bytes[..len.min(filled)])
    }

    /// Whether somebody has written to it, or put another file in its place, since it was opened.
    pub(super) fn has_moved(&self) -> bool {
        let now = seen(&self.file, &self.path);
        let named = OpenOptions::new().read(true).open(&self.path);
        let named = named.map(|file| seen(&file, &self.path));
        now.as_ref() != Ok(&self.seen) || !matches!(named, Ok(Ok(named)) if named == self.seen)
    }
}

fn seen(file: &File, path: &Path) -> Result<Seen, Failure> {
    let found = file.metadata().map_err(|error| unreadable(path, &error))?;
    let modified = (found.mtime(), found.mtime_nsec());
    Ok(Seen { len: found.len(), modified, inode: found.ino() })
}

/// A small file whole, or `None` if there is none.
pub(super) fn small(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match blocking::read_start(path, SMALL_FILE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// The names and lengths in a directory, in order; none if it is not there (any more).
pub(super) fn list(path: &Path) -> Result<Vec<(String, u64)>, Failure> {
    match blocking::list_dir(path) {
        Ok(entries) => {
            let mut names: Vec<_> =
                entries.into_iter().map(|entry| (entry.name, entry.len)).collect();
            names.sort();
            Ok(names)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// The failure of a file that cannot be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_in_pieces_and_its_changes_are_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let content: Vec<u8> =
            (0..3 * INSPECT_READ_BYTES).map(|at| u8::try_from(at % 251).unwrap()).collect();
        std::fs::write(&path, &content).unwrap();
        let mut source = Source::open(&path).unwrap().unwrap();
        for (start, len) in [(0, 64), (64, 4096), (INSPECT_READ_BYTES - 10, 20), (5, 5)] {
            let end = start + len;
            assert_eq!(source.read(start as u64, len).unwrap(), &content[start..end]);
        }
        let tail = source.read(content.len() as u64 - 7, 64).unwrap();
        assert_eq!(tail.len(), 7);
        assert!(!source.has_moved());
        std::fs::write(&path, b"shorter").unwrap();
        assert!(source.has_moved());
        assert!(Source::open(&directory.path().join("y")).unwrap().is_none());
    }
}
