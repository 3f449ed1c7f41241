//! Reads of segments in an object store, beside reads of the same objects through the store's own client, in turn.
//!
//! The store is a local directory. What it gives depends on whether the kernel has the files in memory, so both are
//! measured: *cold* is after the kernel was told to forget them, *warm* right after a read of all. The log reads from the
//! first offset on, as a server does for a reader far behind, and checks every batch; the client reads the same objects by the same ranges of
//! 1 MiB, as many at once as the log fetches ahead, on as many threads as the server has for it, and looks at nothing.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use pyralog_log::ids::{LogId, Offset, PartitionId};
use pyralog_log::limits::{
    FETCH_READ_BYTES_MAX, REMOTE_AHEAD_BLOCKS, REMOTE_BLOCK_BYTES, TIER_CACHE_BYTES_DEFAULT,
};
use pyralog_log::pace::Pace;
use pyralog_log::partition::{PartitionConfig, Storage, Tiering};
use pyralog_log::partition_file::Partition;
use pyralog_log::remote::RemoteStore;
use pyralog_log::tier::Tier;
use pyralog_runtime::{Core, spawn_blocking, time};
use pyralog_store::{Store, StoreConfig, limits::THREADS};
use rustix::fs::{Advice, fadvise};

use super::Bench;
use super::bound_core::{batch, fill, ignore, on_core, scratch};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::quantity::to_f64;
use crate::server::pin;

/// Bytes of values in the store.
const BYTES: u64 = 1 << 30;
/// What the objects of segments end with.
const SEGMENT: &str = "seg";
const SEGMENT_BYTES: u64 = 256 << 20;
/// No bound: uploads are not what is measured.
const UNPACED: u64 = 1 << 50;

/// Figures: of the store's client, of the log.
const COLD: [&str; 2] = ["store read, cold", "tiered segment read, cold"];
const WARM: [&str; 2] = ["store read, warm", "tiered segment read, warm"];

/// Samples of a round: name, bytes a second.
type Samples = Vec<(&'static str, f64)>;

pub(super) fn measure(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let bytes = bench.amount(BYTES);
    bench.live.title("tier");
    let scratch = scratch(&bench.grounds.parent)?;
    let (place, rounds) = (scratch.path().to_owned(), bench.rounds);
    let objects = place.join("objects");
    std::fs::create_dir_all(&objects).context("no directory for objects")?;
    let url = format!("file://{}", objects.display());
    // Its threads are bound as the one that starts them.
    pin(&bench.grounds.load_cpus)?;
    let store = Store::open(&StoreConfig::new(&url), 1).context("no store")?;
    let load_cpus = bench.grounds.load_cpus.clone();
    let work = move |core| async move {
        let log = Log::make(&core, &store, (&place, bytes, load_cpus)).await?;
        let mut samples = Samples::new();
        for round in 0..rounds {
            samples.extend(log.round(round).await?);
        }
        log.partition.close().await;
        Ok(samples)
    };
    let samples = on_core(bench.grounds, work)?;
    for (name, rate) in samples {
        bench.figures.add(name, "GB/s", rate / 1e9);
    }
    for [direct, log] in [COLD, WARM] {
        bench.figures.judge(log, Some(direct), Some("at least 0.8 x"));
    }
    Ok(())
}

/// A partition of which all closed segments are in the store only.
struct Log {
    partition: Partition,
    tier: Tier,
    /// Where the objects are.
    objects: PathBuf,
    /// Bytes of its segments there.
    bytes: u64,
    /// CPUs of the store's threads.
    load_cpus: Vec<u32>,
}

impl Log {
    async fn make(
        core: &Core,
        store: &Store,
        (place, bytes, load_cpus): (&Path, u64, Vec<u32>),
    ) -> anyhow::Result<Self> {
        let end: Rc<dyn RemoteStore> = Rc::new(store.join(core));
        let tier = Tier::new(end, 1, TIER_CACHE_BYTES_DEFAULT);
        let (dir, recycle) = (place.join("partition"), place.join("recycle"));
        let config = PartitionConfig {
            segment_bytes: SEGMENT_BYTES.min((bytes / 4).next_multiple_of(1 << 20)),
            tiering: Tiering { is_on: true, local_bytes: 1, ..Tiering::default() },
            ..PartitionConfig::new(
                LogId::new(1),
                PartitionId::new(0),
                Storage::Durable { dir, recycle },
            )
        };
        let (partition, _) = Partition::open_in(config, ignore(), Some(tier.clone())).await?;
        let (sample, mut written) = (batch()?, 0);
        fill(&partition, |batch| {
            if written < bytes {
                batch.extend_from_slice(&sample);
                written += sample.len() as u64;
            }
            Ok(())
        })
        .await?;
        let unbound = Pace::new(UNPACED);
        while partition.tier(&unbound).await? {}
        // What was uploaded last leaves the directory now.
        partition.tier(&unbound).await?;
        let used = partition.tier_use();
        anyhow::ensure!(used.waiting == 0 && used.remote_only == used.segments, "{used:?}");
        let bytes = used.remote_only_bytes;
        Ok(Self { partition, tier, objects: place.join("objects"), bytes, load_cpus })
    }

    /// Each by each, in an order that changes.
    async fn round(&self, round: u32) -> anyhow::Result<Samples> {
        let mut samples = Samples::new();
        for (names, is_cold) in [(COLD, true), (WARM, false)] {
            for turn in 0..2 {
                let side = (turn + round as usize) % 2;
                let objects = self.objects.clone();
                blocking(move || prepare(&objects, is_cold)).await?;
                let (bytes, taken) =
                    if side == 1 { self.read().await? } else { self.direct().await? };
                samples.push((names[side], to_f64(bytes) / taken.as_secs_f64()));
            }
        }
        Ok(samples)
    }

    /// Through the log.
    async fn read(&self) -> anyhow::Result<(u64, Duration)> {
        let before = self.tier.stats().downloaded_bytes;
        let (mut next, mut bytes) = (Offset::ZERO, 0);
        let began = time::now();
        // The rest is in the segment that is still written.
        while bytes + FETCH_READ_BYTES_MAX as u64 <= self.bytes {
            let read = self.partition.read(next, FETCH_READ_BYTES_MAX).await?;
            anyhow::ensure!(read.next_offset > next, "a read of nothing at {next}");
            (next, bytes) = (read.next_offset, bytes + read.len() as u64);
        }
        let taken = time::now().since(began);
        let loaded = self.tier.stats().downloaded_bytes - before;
        // Blocks that are still held from the round before are not fetched again.
        anyhow::ensure!(
            loaded + TIER_CACHE_BYTES_DEFAULT >= bytes,
            "{loaded} bytes were fetched of {bytes}"
        );
        Ok((bytes, taken))
    }

    /// Through the client alone.
    async fn direct(&self) -> anyhow::Result<(u64, Duration)> {
        let (objects, load_cpus) = (self.objects.clone(), self.load_cpus.clone());
        let reading = move || {
            pin(&load_cpus)?;
            direct(&objects)
        };
        // On a thread of its own, which may be bound.
        blocking(move || match std::thread::spawn(reading).join() {
            Ok(read) => read,
            Err(_) => anyhow::bail!("the reading thread panicked"),
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    spawn_blocking(call).await.map_err(|panicked| anyhow::anyhow!("{panicked}"))?
}

/// Makes the kernel forget the objects, or know them.
fn prepare(objects: &Path, is_cold: bool) -> anyhow::Result<()> {
    for path in files(objects)? {
        let mut file = std::fs::OpenOptions::new().read(true).open(&path)?;
        if is_cold {
            fadvise(&file, 0, None, Advice::DontNeed)?;
        } else {
            std::io::copy(&mut file, &mut std::io::sink())?;
        }
    }
    Ok(())
}

/// The files below a directory, but for indexes.
fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == SEGMENT) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads all objects by ranges, and says how many bytes there were.
fn direct(objects: &Path) -> anyhow::Result<(u64, Duration)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).build()?;
    let store = LocalFileSystem::new_with_prefix(objects)?;
    runtime.block_on(async {
        let clock = Clock::start();
        let (mut listing, mut found) = (store.list(None), Vec::new());
        while let Some(object) = listing.try_next().await? {
            found.push(object);
        }
        found.retain(|object| object.location.extension() == Some(SEGMENT));
        found.sort_by(|one, other| one.location.cmp(&other.location));
        let unit = REMOTE_BLOCK_BYTES as u64;
        let ranges = found.iter().flat_map(|object| {
            let starts = (0..object.size.div_ceil(unit)).map(move |block| block * unit);
            starts.map(move |start| (&object.location, start..object.size.min(start + unit)))
        });
        let in_flight = usize::try_from(REMOTE_AHEAD_BLOCKS)?;
        let mut reads = stream::iter(ranges)
            .map(|(location, range)| store.get_range(location, range))
            .buffered(in_flight);
        let mut bytes = 0;
        while let Some(read) = reads.try_next().await? {
            bytes += read.len() as u64;
        }
        Ok((bytes, clock.elapsed()))
    })
}
