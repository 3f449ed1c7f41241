//! Direct-I/O files: two handles of one file, aligned by us, sized by descriptor, probed first.

use super::descriptor::lend;
use super::memory::{Frozen, Memory, ReadBytes};
use crate::error::{IoError, IoErrorKind};
use crate::limits::{ALIGNMENT_BYTES, PROBE_FILE_BYTES};
use crate::rng;
use crate::task::spawn_blocking;
use glommio::GlommioError;
use glommio::io::{DmaFile, OpenOptions};
use rustix::fs::{FallocateFlags, OFlags};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const ALIGNMENT: u64 = ALIGNMENT_BYTES as u64;

/// Reads of one range before a short one within the file is the device's fault. A file that grows
/// between the read and the look at its length makes one read look short; thrice is no accident.
const READ_TRIES_MAX: u32 = 3;

thread_local! {
    /// Devices whose first direct file on this thread's executor was a probe file.
    static PROBED: RefCell<BTreeSet<u64>> = const { RefCell::new(BTreeSet::new()) };
}

/// A file open for direct I/O.
#[derive(Debug)]
pub(crate) struct DirectFile {
    /// Writes through it are in the file when they resolve.
    plain: DmaFile,
    /// Writes through it are on stable storage when they resolve (`O_DSYNC`): one operation where
    /// write and `fdatasync` are two, and the second runs on a worker that a spinning core starves.
    synced: DmaFile,
    path: PathBuf,
}

impl DirectFile {
    /// Opens a file, or makes it and fails if it is there.
    pub(crate) async fn open(path: &Path, create: bool) -> Result<Self, IoError> {
        let operation = if create { "create" } else { "open" };
        if path.as_os_str().as_bytes().contains(&0) {
            // glommio would panic.
            let text = "the path contains a zero byte";
            return Err(IoError::with_kind(IoErrorKind::InvalidInput, operation, Some(path), text));
        }
        probe_device(path, create).await?;
        let fail = |error| IoError::new(operation, Some(path), error_of(error));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(create);
        let plain = options.dma_open(path).await.map_err(fail)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flag_bits(OFlags::DSYNC));
        match options.dma_open(path).await {
            Ok(synced) => Ok(Self { plain, synced, path: path.to_owned() }),
            Err(error) => {
                close(plain, path).await?;
                Err(fail(error))
            }
        }
    }

    /// Writes all of `frozen` at `position`, both multiples of 4 KiB.
    pub(crate) async fn write(
        &self,
        position: u64,
        frozen: &Frozen,
        sync: bool,
    ) -> Result<(), IoError> {
        let file = if sync { &self.synced } else { &self.plain };
        let fail = |error| IoError::new("write", Some(&self.path), error);
        let total = frozen.bytes().len();
        let mut done = file
            .write_rc_at(std::rc::Rc::clone(&frozen.piece), position)
            .await
            .map_err(|error| fail(error_of(error)))?;
        // A short write is a success to glommio. Write the rest again from the last whole block, so
        // that the position stays aligned: it either completes or says why it cannot.
        while done < total {
            let whole = done - done % ALIGNMENT_BYTES;
            let mut rest = Memory::heap(total - whole);
            rest.bytes_mut().copy_from_slice(&frozen.bytes()[whole..]);
            let rest = rest.freeze(total - whole);
            let written = file
                .write_rc_at(rest.piece, position + whole as u64)
                .await
                .map_err(|error| fail(error_of(error)))?;
            if whole + written <= done {
                return Err(fail(io::ErrorKind::WriteZero.into()));
            }
            done = whole + written;
        }
        Ok(())
    }

    /// Reads the blocks around `position..position + len` that exist; says which part of what came
    /// back was asked for. Shorter than asked for only at the end of the file.
    pub(crate) async fn read(
        &self,
        position: u64,
        len: usize,
    ) -> Result<(ReadBytes, Range<usize>), IoError> {
        // glommio's own unaligned read takes the length it was asked for for the length it got.
        let start = position - position % ALIGNMENT;
        let skip = usize::try_from(position - start).expect("less than a block");
        let blocks = (skip + len).next_multiple_of(ALIGNMENT_BYTES);
        let mut tries = 0;
        let result = loop {
            let result = self
                .plain
                .read_at_aligned(start, blocks)
                .await
                .map_err(|error| IoError::new("read", Some(&self.path), error_of(error)))?;
            // Short at the end of the file, or because a transfer was broken off in the middle.
            let end = start + result.len() as u64;
            if result.len() == blocks || end >= self.len()? {
                break result;
            }
            tries += 1;
            if tries == READ_TRIES_MAX {
                let text = format!("the device gives {} of {blocks} bytes", result.len());
                return Err(IoError::with_kind(
                    IoErrorKind::Device,
                    "read",
                    Some(&self.path),
                    &text,
                ));
            }
        };
        let end = (skip + len).min(result.len());
        let range = skip.min(end)..end;
        Ok((ReadBytes { result }, range))
    }

    /// Length in bytes. By descriptor: glommio asks by path, which is wrong after a rename.
    pub(crate) fn len(&self) -> Result<u64, IoError> {
        let stat = rustix::fs::fstat(lend(&self.plain))
            .map_err(|error| IoError::new("stat", Some(&self.path), error.into()))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Reserves the blocks of `0..len` and makes the file at least that long.
    pub(crate) async fn preallocate(&self, len: u64) -> Result<(), IoError> {
        self.off_core("preallocate", move |file| {
            rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len)
        })
        .await
    }

    /// Cuts or extends the file to `len` bytes.
    pub(crate) async fn set_len(&self, len: u64) -> Result<(), IoError> {
        self.off_core("truncate", move |file| rustix::fs::ftruncate(file, len)).await
    }

    /// Puts what was written through either handle on stable storage.
    pub(crate) async fn sync_data(&self) -> Result<(), IoError> {
        // Not through the ring: the kernel runs it on a worker bound to this core's cpu, measured
        // three times slower than the write while the core spins.
        self.off_core("sync", |file| rustix::fs::fdatasync(file)).await
    }

    /// Closes both handles.
    pub(crate) async fn close(self) -> Result<(), IoError> {
        let plain = close(self.plain, &self.path).await;
        let synced = close(self.synced, &self.path).await;
        plain.and(synced)
    }

    /// Runs a system call that may block on the pool, on a descriptor of its own.
    async fn off_core(
        &self,
        operation: &'static str,
        call: impl FnOnce(&OwnedFd) -> rustix::io::Result<()> + Send + 'static,
    ) -> Result<(), IoError> {
        let fail = |error| IoError::new(operation, Some(&self.path), error);
        let owned = lend(&self.plain).try_clone_to_owned().map_err(fail)?;
        match spawn_blocking(move || call(&owned)).await {
            Ok(result) => result.map_err(|error| fail(error.into())),
            Err(panicked) => Err(fail(io::Error::other(panicked))),
        }
    }
}

async fn close(file: DmaFile, path: &Path) -> Result<(), IoError> {
    file.close().await.map_err(|error| IoError::new("close", Some(path), error_of(error)))
}

/// The system's error inside glommio's.
pub(super) fn error_of(error: GlommioError<()>) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => error.into(),
    }
}

/// The bits of `flags` as glommio takes them.
fn flag_bits(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).expect("open flags fit an int, it is what open(2) takes")
}

/// Makes the first direct file of a device, on this executor, one with data.
///
/// glommio reads from the first file it opens on a device to learn whether polled I/O works. A read
/// of an empty file, of a hole or of a preallocated block reaches no device and "works"; then every
/// later read fails with EOPNOTSUPP. So: one block, written and synced, next to the file, and gone
/// at once.
async fn probe_device(path: &Path, create: bool) -> Result<(), IoError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let fail = |error| IoError::new("probe the device of", Some(path), error);
    let asked = parent.clone();
    let device = off_core(move || std::fs::metadata(&asked).map(|meta| meta.dev()));
    let device = device.await.map_err(fail)?;
    if PROBED.with_borrow(|probed| probed.contains(&device)) {
        return Ok(());
    }
    let name = format!(".pyralog-probe-{:016x}", rng::entropy_u64());
    let file = parent.join(name);
    let (written, removed) = (file.clone(), file.clone());
    let made = off_core(move || write_probe(&written)).await;
    let opened = match made {
        Ok(()) => {
            let opened = OpenOptions::new().read(true).write(true).dma_open(&file).await;
            match opened {
                Ok(probe) => probe.close().await.map_err(error_of),
                Err(error) => Err(error_of(error)),
            }
        }
        Err(error) => Err(error),
    };
    let gone = off_core(move || std::fs::remove_file(removed)).await;
    match opened {
        Ok(()) => {
            gone.map_err(fail)?;
            PROBED.with_borrow_mut(|probed| probed.insert(device));
            Ok(())
        }
        // A full or read-only device must still be readable. An existing file of ours starts with a
        // block of data, which probes as well; the device stays unprobed for the next.
        Err(error) if !create && is_out_of_room(&error) => {
            tracing::warn!(path = %path.display(), %error, "device could not be probed");
            Ok(())
        }
        Err(error) => Err(fail(error)),
    }
}

fn is_out_of_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::PermissionDenied
    )
}

fn write_probe(path: &Path) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(&[0x5a; PROBE_FILE_BYTES])?;
    file.sync_all()
}

/// Runs `call` on the pool, a panic being an error.
async fn off_core<R: Send + 'static>(
    call: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    spawn_blocking(call).await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}
