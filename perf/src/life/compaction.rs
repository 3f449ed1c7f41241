//! A compaction of 1 GiB with ten million keys, on a core without a server, within two budgets of memory.

use std::path::Path;
use std::time::Duration;

use pyralog_log::batch::{BuilderConfig, Record, RowsBuilder};
use pyralog_log::compaction::{CompactionStats, Policy};
use pyralog_log::ids::{LogId, PartitionId, Timestamp};
use pyralog_log::limits::{BATCH_BYTES_MAX, COMPACTION_MEMORY_BYTES_DEFAULT};
use pyralog_log::pace::Pace;
use pyralog_log::partition::{PartitionConfig, Storage};
use pyralog_log::partition_file::Partition;
use pyralog_log::retention::Life;
use pyralog_runtime::{spawn_blocking, time};

use super::Bench;
use super::bound_core::{fill, ignore, on_core, scratch};
use crate::failure::Failure;
use crate::quantity::to_f64;

/// Different keys; each is written twice, the second time in another order.
const KEYS: u64 = 10_000_000;
/// Bytes of a value: with its key of 8 bytes and what the batch says of it, 20 million records are 1 GiB.
const VALUE_BYTES: usize = 26;
/// Records of a batch.
const BATCH_RECORDS: u64 = 8192;
const SEGMENT_BYTES: u64 = 128 << 20;
/// Has no divisor in common with ten million, or with that divided by a divisor of it.
const STRIDE: u64 = 7_368_787;
/// No bound: what is measured is how fast it can be.
const UNPACED: u64 = 1 << 50;

/// Figures of a budget: rate, time, passes, memory.
type Names = [&'static str; 4];

/// The default, and what all keys need at once: 24 bytes a slot, three quarters full.
const BUDGETS: [(usize, Names); 2] = [
    (
        COMPACTION_MEMORY_BYTES_DEFAULT,
        ["compaction, 64 MiB", "time, 64 MiB", "passes, 64 MiB", "memory, 64 MiB"],
    ),
    (320 << 20, ["compaction, 320 MiB", "time, 320 MiB", "passes, 320 MiB", "memory, 320 MiB"]),
];

/// What a compaction was.
struct Compacted {
    log_bytes: u64,
    taken: Duration,
    stats: CompactionStats,
    /// How much the resident set grew at most.
    memory: u64,
}

pub(super) fn measure(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let keys = bench.amount(KEYS);
    for round in 0..bench.rounds {
        for (budget, names) in BUDGETS {
            bench.live.title(&format!("{} {}/{}", names[0], round + 1, bench.rounds));
            bench.grounds.check()?;
            let scratch = scratch(&bench.grounds.parent)?;
            let place = scratch.path().to_owned();
            let compacted = {
                let work = move |_core| async move { compact(&place, keys, budget).await };
                on_core(bench.grounds, work)?
            };
            let megabytes = to_f64(compacted.log_bytes) / 1e6;
            let seconds = compacted.taken.as_secs_f64();
            bench.figures.add(names[0], "MB/s", megabytes / seconds);
            bench.figures.add(names[1], "s", seconds);
            bench.figures.add(names[2], "", to_f64(compacted.stats.passes));
            bench.figures.add(names[3], "MiB", to_f64(compacted.memory) / f64::from(1 << 20));
        }
    }
    Ok(())
}

async fn compact(place: &Path, keys: u64, memory_bytes: usize) -> anyhow::Result<Compacted> {
    let storage = Storage::Durable { dir: place.join("partition"), recycle: place.join("recycle") };
    let config = PartitionConfig {
        segment_bytes: SEGMENT_BYTES,
        // So that the last segment can be closed, too.
        life: Life { segment_age: Some(Duration::from_millis(1)), ..Life::default() },
        ..PartitionConfig::new(LogId::new(1), PartitionId::new(0), storage)
    };
    let (partition, _) = Partition::open(config, ignore()).await?;
    fill_twice(&partition, keys).await?;
    time::sleep(Duration::from_millis(2)).await;
    partition.roll_if_older(Timestamp::new(time::unix_us())).await;
    let log_bytes = partition.stats().file_bytes;
    let before = resident(true).await?;
    let began = time::now();
    let policy = Policy { memory_bytes, ..Policy::default() };
    Box::pin(partition.compact(&policy, &Pace::new(UNPACED))).await?;
    let taken = time::now().since(began);
    let memory = resident(false).await?.saturating_sub(before);
    let stats = partition.compaction_stats();
    // The last record of a segment is kept, also if it is an older one.
    let kept = stats.replaced_segments + 1;
    anyhow::ensure!(
        stats.removed_records + kept >= keys,
        "only {} of {keys} older records went: {stats:?}",
        stats.removed_records
    );
    partition.close().await;
    Ok(Compacted { log_bytes, taken, stats, memory })
}

/// Writes every key twice.
async fn fill_twice(partition: &Partition, keys: u64) -> anyhow::Result<()> {
    let config = BuilderConfig { batch_bytes_max: BATCH_BYTES_MAX, ..BuilderConfig::default() };
    let (mut builder, mut number) = (RowsBuilder::new(config), 0);
    fill(partition, |batch| {
        let end = (number + BATCH_RECORDS).min(2 * keys);
        if number == end {
            return Ok(());
        }
        for at in number..end {
            let key = if at < keys { at } else { at % keys * STRIDE % keys };
            let value = [at.to_le_bytes()[0]; VALUE_BYTES];
            let create_time = Timestamp::new(1_700_000_000_000_000);
            let (key, value) = (key.to_be_bytes(), Some(&value[..]));
            let record = Record { key: Some(&key), value, create_time, headers: &[] };
            builder.push(&record)?;
        }
        number = end;
        builder.finish_into(batch, None)?;
        Ok(())
    })
    .await
}

/// Bytes of this process in memory: now, after which the peak counts anew, or at the peak since then.
async fn resident(now: bool) -> anyhow::Result<u64> {
    let looked = spawn_blocking(move || -> std::io::Result<u64> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        if now {
            // See proc(5): 5 resets the peak.
            std::fs::write("/proc/self/clear_refs", "5")?;
        }
        let field = if now { "VmRSS:" } else { "VmHWM:" };
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        let kib = line.split_ascii_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
        Ok(kib.unwrap_or_default() * 1024)
    });
    Ok(looked.await.map_err(|panicked| anyhow::anyhow!("{panicked}"))??)
}
