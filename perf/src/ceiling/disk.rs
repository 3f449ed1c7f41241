//! Direct writes to, and reads from, the file system of the data directory, through the files that the log uses.
//!
//! There are two files. The *ground* was written once, all of it: its blocks are initialised. The *fresh* file is cut
//! and reserved again before every sample, so that its blocks are new each time. Both lose their names as soon as they
//! are open: whatever ends the process, their space comes back.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use pyralog_log::limits::FETCH_READ_BYTES_MAX;
use pyralog_runtime::buffer::{Buffer, BufferMut};
use pyralog_runtime::file::{self, DirectFile, Sync};
use pyralog_runtime::{spawn, time};
use tempfile::TempDir;

use super::load::histogram;
use super::{Sample, per_second};
use crate::result::CeilingName;

/// The ceilings that need files.
pub(super) const MEASURED: [CeilingName; 5] = [
    CeilingName::DiskWriteFresh,
    CeilingName::DiskWriteInitialised,
    CeilingName::DiskWriteSynced,
    CeilingName::DiskSync,
    CeilingName::DiskRead,
];

/// Length of each of the two files. More than the caches of most devices would be better; this is what two minutes and
/// a small disk allow.
pub(super) const FILE_BYTES: u64 = 1 << 30;
/// The same when there is little time: to write the ground once takes a second for each GiB.
pub(super) const FILE_BYTES_SHORT: u64 = 64 << 20;
/// What must stay free besides: the measurement must not be what fills a disk.
const SPARE_BYTES: u64 = 1 << 30;
/// Bytes of one of the writes that go out together.
pub(super) const STREAM_BYTES: usize = 128 << 10;
/// How many of them go out together.
pub(super) const DEPTH: usize = 4;
/// Bytes of a synced write: a full group of appends.
pub(super) const SYNCED_BYTES: usize = 1 << 20;
/// Bytes of the write that is timed: one block.
pub(super) const BLOCK_BYTES: usize = 4 << 10;
/// Bytes of a read: the blocks that the server reads for readers far behind.
pub(super) const READ_BYTES: usize = FETCH_READ_BYTES_MAX.next_power_of_two();
/// How many of them are out: the disk never waits for the next.
pub(super) const READ_DEPTH: usize = 2;
/// Memory for direct I/O of the measuring core: all reads that are out, and what is written, several times.
pub(super) const BUFFER_BYTES: usize = 64 << 20;

const _: () = assert!(READ_BYTES * READ_DEPTH <= BUFFER_BYTES / 2);
const _: () = assert!(FILE_BYTES.is_multiple_of(READ_BYTES as u64));
const _: () = assert!(FILE_BYTES_SHORT.is_multiple_of(READ_BYTES as u64));
const _: () = assert!(FILE_BYTES.is_multiple_of(SYNCED_BYTES as u64));
const _: () = assert!(FILE_BYTES_SHORT.is_multiple_of(SYNCED_BYTES as u64));

/// A directory within `directory` for the moment in which the files have names.
pub(super) fn scratch(directory: &Path) -> anyhow::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    let made = builder.prefix(".pyralog-ceiling-").tempdir_in(directory);
    made.with_context(|| format!("cannot make a directory in {}", directory.display()))
}

/// The two files, and what is written to them.
pub(super) struct Ground {
    initialised: Rc<DirectFile>,
    fresh: Rc<DirectFile>,
    stream: Buffer,
    synced: Buffer,
    block: Buffer,
    /// Length of each file.
    file_bytes: u64,
    /// Where the next synced write goes, so that they pass over the whole file.
    position: Cell<u64>,
}

impl Ground {
    /// Makes both files, of `file_bytes`, within `place`, takes their names away and initialises the ground.
    pub(super) async fn prepare(place: &Path, file_bytes: u64) -> anyhow::Result<Self> {
        let free = file::free_space(place).await?;
        let needed = 2 * file_bytes + SPARE_BYTES;
        anyhow::ensure!(
            free >= needed,
            "the disk is measured with files of {} MiB and {} MiB are left alone, but only {} MiB are free: give another \
             directory, or leave the ceilings of the disk out",
            (2 * file_bytes) >> 20,
            SPARE_BYTES >> 20,
            free >> 20
        );
        let (first, second) = (place.join("ground"), place.join("fresh"));
        let hint = "the file system must be capable of direct I/O (tmpfs is not)";
        let ground = DirectFile::create_new(&first, 0).await.context(hint)?;
        let fresh = DirectFile::create_new(&second, 0).await.context(hint)?;
        file::remove_dir_all(place).await?;
        ground.preallocate(file_bytes).await?;
        let made = Self {
            initialised: Rc::new(ground),
            fresh: Rc::new(fresh),
            stream: noise(STREAM_BYTES),
            synced: noise(SYNCED_BYTES),
            block: noise(BLOCK_BYTES),
            file_bytes,
            position: Cell::new(0),
        };
        for position in (0..file_bytes).step_by(SYNCED_BYTES) {
            made.initialised.write(position, &made.synced, Sync::No).await?;
        }
        made.initialised.sync_data().await?;
        Ok(made)
    }

    /// Bytes a second into blocks that were reserved and never written. Ends early at the end of the file.
    pub(super) async fn write_fresh(&self, slice: Duration) -> anyhow::Result<Sample> {
        self.fresh.set_len(0).await?;
        self.fresh.preallocate(self.file_bytes).await?;
        self.write_stream(&self.fresh, slice, self.file_bytes).await
    }

    /// Bytes a second over blocks that were written before.
    pub(super) async fn write_again(&self, slice: Duration) -> anyhow::Result<Sample> {
        self.write_stream(&self.initialised, slice, u64::MAX).await
    }

    /// Writes in order, [`DEPTH`] at a time, at most `bytes_max` and around the file.
    async fn write_stream(
        &self,
        file: &Rc<DirectFile>,
        slice: Duration,
        bytes_max: u64,
    ) -> anyhow::Result<Sample> {
        let issued = Rc::new(Cell::new(0));
        let began = time::now();
        let mut writers = Vec::with_capacity(DEPTH);
        for _ in 0..DEPTH {
            let (file, file_bytes) = (Rc::clone(file), self.file_bytes);
            let (issued, buffer) = (Rc::clone(&issued), self.stream.clone());
            writers.push(spawn(async move {
                while issued.get() < bytes_max && time::now().since(began) < slice {
                    let at = issued.get();
                    issued.set(at + STREAM_BYTES as u64);
                    file.write(at % file_bytes, &buffer, Sync::No).await?;
                }
                anyhow::Ok(())
            }));
        }
        for writer in writers {
            writer.await??;
        }
        Ok(Sample::rate(per_second(issued.get(), time::now().since(began))))
    }

    /// Bytes a second in writes that are on stable storage when they resolve, one at a time.
    pub(super) async fn write_synced(&self, slice: Duration) -> anyhow::Result<Sample> {
        let (began, mut total) = (time::now(), 0);
        while time::now().since(began) < slice {
            total += self.write_one(&self.synced).await?;
        }
        Ok(Sample::rate(per_second(total, time::now().since(began))))
    }

    /// Bytes a second out of blocks that were written before, in order, [`READ_DEPTH`] reads at a time and around the
    /// file.
    pub(super) async fn read(&self, slice: Duration) -> anyhow::Result<Sample> {
        let issued = Rc::new(Cell::new(0));
        let began = time::now();
        let mut readers = Vec::with_capacity(READ_DEPTH);
        for _ in 0..READ_DEPTH {
            let (file, file_bytes) = (Rc::clone(&self.initialised), self.file_bytes);
            let issued = Rc::clone(&issued);
            readers.push(spawn(async move {
                while time::now().since(began) < slice {
                    let at = issued.get();
                    issued.set(at + READ_BYTES as u64);
                    let bytes = file.read(at % file_bytes, READ_BYTES).await?;
                    anyhow::ensure!(bytes.len() == READ_BYTES, "the file is shorter than it was");
                }
                anyhow::Ok(())
            }));
        }
        for reader in readers {
            reader.await??;
        }
        Ok(Sample::rate(per_second(issued.get(), time::now().since(began))))
    }

    /// Time of one block's way to stable storage, one at a time.
    pub(super) async fn sync(&self, slice: Duration) -> anyhow::Result<Sample> {
        let (began, mut latencies) = (time::now(), histogram());
        let mut now = began;
        while now.since(began) < slice {
            self.write_one(&self.block).await?;
            let done = time::now();
            latencies.saturating_record((done.as_nanos() - now.as_nanos()).max(1));
            now = done;
        }
        Sample::of(latencies)
    }

    /// Writes `buffer` behind the last one of its kind, durably; returns its length.
    async fn write_one(&self, buffer: &Buffer) -> anyhow::Result<u64> {
        let len = buffer.len() as u64;
        let at = self.position.get().next_multiple_of(len) % self.file_bytes;
        self.position.set(at + len);
        self.initialised.write(at, buffer, Sync::Data).await?;
        Ok(len)
    }

    /// Closes the files, which are gone then.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        for file in [self.initialised, self.fresh] {
            let file = Rc::into_inner(file).context("a write is still out")?;
            file.close().await?;
        }
        Ok(())
    }
}

/// Bytes that no device can compress or leave out.
fn noise(len: usize) -> Buffer {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(len as u64).fill(&mut bytes);
    let mut buffer = BufferMut::with_capacity(len);
    buffer.extend_from_slice(&bytes);
    buffer.freeze()
}
