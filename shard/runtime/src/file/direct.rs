//! A file for direct I/O.
//!
//! What a device takes or gives in one transfer is the body's business; that a transfer may stop
//! short is this file's, so every body is judged by the same loops. A write or read that the device
//! carries out whole is one transfer, without a copy and without an allocation of ours.

use crate::body;
use crate::buffer::{Buffer, Slice};
use crate::error::{IoError, IoErrorKind};
use crate::limits::{ALIGNMENT_BYTES, READ_BYTES_MAX};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const ALIGNMENT: u64 = ALIGNMENT_BYTES as u64;

/// Transfers of one range that get no further, before that is the device's fault. One is cut by a signal or by a file
/// that grows meanwhile; so many in a row are no accident.
const TRIES_MAX: u32 = 8;

/// What is true of the bytes when a write resolves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sync {
    /// They are in the file: they survive the process.
    No,
    /// They, and what is needed to find them, are on stable storage: they survive a loss of power.
    Data,
}

/// A file open for reading and writing past the page cache. Belongs to one core.
///
/// Operations may overlap; the order of overlapping ones is open. A future of a write that is
/// dropped midway leaves it unknown whether, and how much, was written. Close it with
/// [`close`](DirectFile::close); a dropped file is closed later, and nobody hears of an error.
#[derive(Debug)]
pub struct DirectFile {
    body: body::DirectFile,
    /// The name it was opened by, for errors.
    path: PathBuf,
}

impl DirectFile {
    /// Makes the file and reserves `len` bytes for it, which read as zeros. The name is durable only
    /// after [`sync_dir`](super::sync_dir) of its directory.
    ///
    /// # Errors
    /// If it exists, or cannot be made; with `NoSpace` the file may exist and be shorter.
    ///
    /// # Panics
    /// Outside a core.
    pub async fn create_new(path: impl AsRef<Path>, len: u64) -> Result<Self, IoError> {
        let file = Self::take(path.as_ref(), true).await?;
        if len > 0 {
            file.preallocate(len).await?;
        }
        Ok(file)
    }

    /// Opens an existing file.
    ///
    /// # Errors
    /// If it does not exist or may not be read and written.
    ///
    /// # Panics
    /// Outside a core.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, IoError> {
        Self::take(path.as_ref(), false).await
    }

    /// Opens a file, or makes it and fails if it is there.
    async fn take(path: &Path, create: bool) -> Result<Self, IoError> {
        if path.as_os_str().as_bytes().contains(&0) {
            // glommio would panic.
            let operation = if create { "create" } else { "open" };
            let text = "the path contains a zero byte";
            return Err(IoError::with_kind(IoErrorKind::InvalidInput, operation, Some(path), text));
        }
        let body = body::DirectFile::open(path, create).await?;
        Ok(Self { body, path: path.to_owned() })
    }

    /// Writes all of `buffer` at `position`. It stays readable through its clones meanwhile.
    ///
    /// # Errors
    /// If not all of it could be written; what the range then holds is unknown. After an error of a
    /// write with [`Sync::Data`] the file must not be trusted to become durable any more.
    ///
    /// # Panics
    /// If `position` or the length is not a multiple of 4096, or the buffer is empty.
    pub async fn write(&self, position: u64, buffer: &Buffer, sync: Sync) -> Result<(), IoError> {
        assert!(position.is_multiple_of(ALIGNMENT), "position {position}");
        assert!(buffer.len().is_multiple_of(ALIGNMENT_BYTES), "{} bytes", buffer.len());
        assert!(!buffer.is_empty(), "nothing to write");
        let (fail, sync) = (|error| self.failed("write", error), sync == Sync::Data);
        let (memory, total) = (buffer.memory(), buffer.len());
        let (mut done, mut tries) = (0, 0);
        while done < total {
            // From the last whole block on, so that the position stays aligned. What was cut within a block may be
            // cut again, and shorter.
            let whole = done - done % ALIGNMENT_BYTES;
            let at = position + whole as u64;
            let written = self.body.write_once(at, memory, whole, sync).await.map_err(fail)?;
            tries = if whole + written > done { 0 } else { tries + 1 };
            if tries == TRIES_MAX {
                return Err(fail(io::ErrorKind::WriteZero.into()));
            }
            done = done.max(whole + written);
        }
        Ok(())
    }

    /// Reads `len` bytes at `position`, any alignment; fewer, down to none, if the file ends before.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If `len` exceeds [`READ_BYTES_MAX`].
    pub async fn read(&self, position: u64, len: usize) -> Result<Slice, IoError> {
        assert!(len <= READ_BYTES_MAX, "a read of {len} bytes, at most {READ_BYTES_MAX}");
        if len == 0 {
            return Ok(Slice::empty());
        }
        // The blocks around the range: a body is only ever asked for whole ones.
        let start = position - position % ALIGNMENT;
        let skip = usize::try_from(position - start).expect("less than a block");
        let blocks = (skip + len).next_multiple_of(ALIGNMENT_BYTES);
        let mut tries = 0;
        let bytes = loop {
            let bytes = self
                .body
                .read_once(start, blocks)
                .await
                .map_err(|error| self.failed("read", error))?;
            let found = bytes.bytes().len();
            // Short at the end of the file, or because a transfer was broken off in the middle.
            if found == blocks || start + found as u64 >= self.len()? {
                break bytes;
            }
            tries += 1;
            if tries == TRIES_MAX {
                let text = format!("the device gives {found} of {blocks} bytes");
                let (kind, path) = (IoErrorKind::Device, Some(self.path.as_path()));
                return Err(IoError::with_kind(kind, "read", path, &text));
            }
        };
        let end = (skip + len).min(bytes.bytes().len());
        Ok(Slice::of_read(bytes, skip.min(end)..end))
    }

    /// Reserves the blocks of `0..len` and makes the file at least that long; the new part reads as
    /// zeros.
    ///
    /// # Errors
    /// `NoSpace` or `FileTooLarge`, then the file may have grown in part; `Other` if the file system
    /// cannot reserve.
    pub async fn preallocate(&self, len: u64) -> Result<(), IoError> {
        self.body.preallocate(len).await.map_err(|error| self.failed("preallocate", error))
    }

    /// The length in bytes, of the file itself wherever its name has gone.
    ///
    /// # Errors
    /// If the system does not say.
    #[expect(clippy::len_without_is_empty, reason = "a length that can fail has no is_empty")]
    pub fn len(&self) -> Result<u64, IoError> {
        self.body.len().map_err(|error| self.failed("stat", error))
    }

    /// Cuts the file, or extends it with zeros, to `len` bytes.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn set_len(&self, len: u64) -> Result<(), IoError> {
        self.body.set_len(len).await.map_err(|error| self.failed("truncate", error))
    }

    /// Puts everything written so far on stable storage (`fdatasync`).
    ///
    /// # Errors
    /// If the device fails: what is durable of the unsynced part is then unknown for good, a second
    /// sync that succeeds proves nothing.
    pub async fn sync_data(&self) -> Result<(), IoError> {
        self.body.sync_data().await.map_err(|error| self.failed("sync", error))
    }

    /// Closes it. Does not sync.
    ///
    /// # Errors
    /// If the system reports one; the file is closed all the same.
    pub async fn close(self) -> Result<(), IoError> {
        let Self { body, path } = self;
        body.close().await.map_err(|error| IoError::new("close", Some(&path), error))
    }

    fn failed(&self, operation: &'static str, error: io::Error) -> IoError {
        IoError::new(operation, Some(&self.path), error)
    }
}
