//! A file for direct I/O.

use crate::buffer::{Buffer, Slice};
use crate::error::IoError;
use crate::glommio_body;
use crate::limits::{ALIGNMENT_BYTES, READ_BYTES_MAX};
use std::path::Path;

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
    body: glommio_body::DirectFile,
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
        let body = glommio_body::DirectFile::open(path.as_ref(), true).await?;
        let file = Self { body };
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
        Ok(Self { body: glommio_body::DirectFile::open(path.as_ref(), false).await? })
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
        assert!(position.is_multiple_of(ALIGNMENT_BYTES as u64), "position {position}");
        assert!(buffer.len().is_multiple_of(ALIGNMENT_BYTES), "{} bytes", buffer.len());
        assert!(!buffer.is_empty(), "nothing to write");
        self.body.write(position, buffer.memory(), sync == Sync::Data).await
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
        let (bytes, range) = self.body.read(position, len).await?;
        Ok(Slice::of_read(bytes, range))
    }

    /// Reserves the blocks of `0..len` and makes the file at least that long; the new part reads as
    /// zeros.
    ///
    /// # Errors
    /// `NoSpace` or `FileTooLarge`, then the file may have grown in part; `Other` if the file system
    /// cannot reserve.
    pub async fn preallocate(&self, len: u64) -> Result<(), IoError> {
        self.body.preallocate(len).await
    }

    /// The length in bytes, of the file itself wherever its name has gone.
    ///
    /// # Errors
    /// If the system does not say.
    #[expect(clippy::len_without_is_empty, reason = "a length that can fail has no is_empty")]
    pub fn len(&self) -> Result<u64, IoError> {
        self.body.len()
    }

    /// Cuts the file, or extends it with zeros, to `len` bytes.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn set_len(&self, len: u64) -> Result<(), IoError> {
        self.body.set_len(len).await
    }

    /// Puts everything written so far on stable storage (`fdatasync`).
    ///
    /// # Errors
    /// If the device fails: what is durable of the unsynced part is then unknown for good, a second
    /// sync that succeeds proves nothing.
    pub async fn sync_data(&self) -> Result<(), IoError> {
        self.body.sync_data().await
    }

    /// Closes it. Does not sync.
    ///
    /// # Errors
    /// If the system reports one; the file is closed all the same.
    pub async fn close(self) -> Result<(), IoError> {
        self.body.close().await
    }
}
