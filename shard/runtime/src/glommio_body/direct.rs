//! Direct-I/O files: two handles of one file, sized by descriptor, probed first. One transfer per
//! call; what it leaves undone is seen to by [`file::direct`](crate::file).

use super::descriptor::lend;
use super::memory::{Frozen, Memory, ReadBytes};
use crate::error::IoError;
use crate::file::temporary;
use crate::limits::PROBE_FILE_BYTES;
use crate::rng;
use crate::task::spawn_blocking;
use glommio::GlommioError;
use glommio::io::{DmaFile, OpenOptions};
use rustix::fs::{FallocateFlags, OFlags};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

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
}

impl DirectFile {
    /// Opens a file, or makes it and fails if it is there. The path has no zero byte: glommio would
    /// panic.
    pub(crate) async fn open(path: &Path, create: bool) -> Result<Self, IoError> {
        let operation = if create { "create" } else { "open" };
        probe_device(path, create).await?;
        let fail = |error| IoError::new(operation, Some(path), error);
        let named = path.to_owned();
        let held = off_core(move || hold(&named, create)).await.map_err(fail)?;
        let plain = open_held(&held, OFlags::empty()).await.map_err(fail)?;
        match open_held(&held, OFlags::DSYNC).await {
            Ok(synced) => Ok(Self { plain, synced }),
            Err(error) => {
                let closed = close(plain).await;
                closed.map_err(|error| IoError::new("close", Some(path), error))?;
                Err(fail(error))
            }
        }
    }

    /// Writes what of `frozen` lies behind `skip` bytes at `position`, all multiples of 4 KiB, in one
    /// transfer. Returns how many bytes it took: a short write is a success to glommio.
    pub(crate) async fn write_once(
        &self,
        position: u64,
        frozen: &Frozen,
        skip: usize,
        sync: bool,
    ) -> io::Result<usize> {
        let file = if sync { &self.synced } else { &self.plain };
        let piece = if skip == 0 {
            Rc::clone(&frozen.piece)
        } else {
            // glommio takes whole pieces only, and this is the rest of a write that was cut short.
            let rest = &frozen.bytes()[skip..];
            let mut copy = Memory::heap(rest.len());
            copy.bytes_mut().copy_from_slice(rest);
            copy.freeze(rest.len()).piece
        };
        file.write_rc_at(piece, position).await.map_err(error_of)
    }

    /// Reads at most `len` bytes at `position`, both multiples of 4 KiB, in one transfer.
    pub(crate) async fn read_once(&self, position: u64, len: usize) -> io::Result<ReadBytes> {
        // glommio's own unaligned read takes the length it was asked for for the length it got.
        let result = self.plain.read_at_aligned(position, len).await.map_err(error_of)?;
        Ok(ReadBytes { result })
    }

    /// Length in bytes. By descriptor: glommio asks by path, which is wrong after a rename.
    pub(crate) fn len(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstat(lend(&self.plain))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Reserves the blocks of `0..len` and makes the file at least that long.
    pub(crate) async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.off_core(move |file| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len))
            .await
    }

    /// Cuts or extends the file to `len` bytes.
    pub(crate) async fn set_len(&self, len: u64) -> io::Result<()> {
        self.off_core(move |file| rustix::fs::ftruncate(file, len)).await
    }

    /// Puts what was written through either handle on stable storage.
    pub(crate) async fn sync_data(&self) -> io::Result<()> {
        // Not through the ring: the kernel runs it on a worker bound to this core's cpu, measured
        // three times slower than the write while the core spins.
        self.off_core(|file| rustix::fs::fdatasync(file)).await
    }

    /// Closes both handles.
    pub(crate) async fn close(self) -> io::Result<()> {
        let plain = close(self.plain).await;
        let synced = close(self.synced).await;
        plain.and(synced)
    }

    /// Runs a system call that may block on the pool, on a descriptor of its own.
    async fn off_core(
        &self,
        call: impl FnOnce(&OwnedFd) -> rustix::io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let owned = lend(&self.plain).try_clone_to_owned()?;
        off_core(move || call(&owned).map_err(io::Error::from)).await
    }
}

async fn close(file: DmaFile) -> io::Result<()> {
    file.close().await.map_err(error_of)
}

/// Opens a file as everybody does, to hold on to it whatever becomes of its name.
fn hold(path: &Path, create: bool) -> io::Result<File> {
    std::fs::OpenOptions::new().read(true).write(true).create_new(create).open(path)
}

/// Another handle of a file that is held open.
///
/// glommio opens a path and then asks that path again for its file system and its device, and panics if the first of
/// these fails: so whoever opens a file while somebody else removes or renames it would end the core. The name below
/// leads to the file itself for as long as it is held.
async fn open_held(held: &File, flags: OFlags) -> io::Result<DmaFile> {
    let name = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(flag_bits(flags));
    match options.dma_open(&name).await.map_err(error_of) {
        // Of a file that is there. What is not there must not be taken for the file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(io::Error::other("files are opened through /proc, and it is not there: mount it"))
        }
        result => result,
    }
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
    let file = parent.join(temporary::probe(rng::entropy_u64()));
    let (written, removed) = (file.clone(), file.clone());
    let made = off_core(move || write_probe(&written)).await;
    let opened = match made {
        Ok(held) => match open_held(&held, OFlags::empty()).await {
            Ok(probe) => close(probe).await,
            Err(error) => Err(error),
        },
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

fn write_probe(path: &Path) -> io::Result<File> {
    let mut file = hold(path, true)?;
    file.write_all(&[0x5a; PROBE_FILE_BYTES])?;
    file.sync_all()?;
    Ok(file)
}

/// Runs `call` on the pool, a panic being an error.
async fn off_core<R: Send + 'static>(
    call: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    spawn_blocking(call).await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}
