//! The metrics as `OpenMetrics` text, under the canonical names.
//!
//! `prometheus-client` writes the format; its registry is made anew for each scrape, around a snapshot, because our
//! numbers live on the cores and not in shared atomics.

use std::fmt;

use hdrhistogram::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use pyralog_log::durability::Durability;
use pyralog_log::partition_file::TierUse;
use pyralog_log::tier::TierStats;
use pyralog_wire::{ErrorCode, Kind};

use super::{Counter, Histograms, NodeSnapshot, PartitionSnapshot};
use crate::limits::LABELLED_PARTITIONS_MAX;

/// Upper bounds of latency buckets in microseconds: 1, 2, 5 per decade from 10 us to a minute.
const LATENCY_BOUNDS_US: [u64; 21] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// Upper bounds of buckets of record counts.
const RECORD_BOUNDS: [u64; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// The whole answer of `/metrics`.
///
/// # Panics
/// Never: writing into a `String` cannot fail.
#[must_use]
pub fn render(snapshot: NodeSnapshot) -> String {
    let mut registry = Registry::with_prefix("pyralog");
    registry.register_collector(Box::new(Scrape(snapshot)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .expect("writing into a String cannot fail");
    text
}

#[derive(Debug)]
struct Scrape(NodeSnapshot);

type Encoded = Result<(), fmt::Error>;
type Gauge = (&'static str, &'static str, fn(&PartitionSnapshot) -> u64);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Encoded {
        let snapshot = &self.0;
        encode_build(&mut encoder, snapshot)?;
        for counter in Counter::ALL {
            encoder
                .encode_descriptor(counter.metric(), counter.help(), None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, f64>(&snapshot.total(*counter), None)?;
        }
        encode_failures(&mut encoder, snapshot)?;
        encode_histograms(&mut encoder, &snapshot.histograms())?;
        encode_gauges(&mut encoder, snapshot)?;
        encode_sums(&mut encoder, snapshot)?;
        encode_sequencers(&mut encoder, snapshot)?;
        encode_tier(&mut encoder, snapshot)?;
        encode_partitions(&mut encoder, snapshot)
    }
}

fn encode_build(encoder: &mut DescriptorEncoder, snapshot: &NodeSnapshot) -> Encoded {
    let labels = [
        ("version", env!("CARGO_PKG_VERSION").to_string()),
        ("node", snapshot.node.clone()),
        ("node_id", snapshot.node_id.to_string()),
    ];
    let help = "The running build and the node it runs as";
    encoder
        .encode_descriptor("build", help, None, MetricType::Info)?
        .encode_info(&labels.as_slice())?;
    gauge(encoder, "uptime_seconds", "Seconds since the start", snapshot.uptime_seconds)
}

fn encode_failures(encoder: &mut DescriptorEncoder, snapshot: &NodeSnapshot) -> Encoded {
    let help = "Requests refused or failed, by api and error";
    let mut metric =
        encoder.encode_descriptor("request_failures", help, None, MetricType::Counter)?;
    for ((kind, code), count) in snapshot.failures() {
        let api = Kind::from_number(kind).map_or("Connection", Kind::name);
        let code = ErrorCode::from_number(code).map_or("Unknown", ErrorCode::name);
        metric
            .encode_family(&[("api", api), ("code", code)])?
            .encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
    }
    Ok(())
}

fn encode_histograms(encoder: &mut DescriptorEncoder, all: &Histograms) -> Encoded {
    let seconds = Unit::Seconds;
    let unit = Some(&seconds);
    let help = "From the arrival of an append to its acknowledgement, by the durability asked for";
    let mut metric =
        encoder.encode_descriptor("write_latency", help, unit, MetricType::Histogram)?;
    for (level, histogram) in Durability::ALL.iter().zip(&all.write_latency_us) {
        let labels = [("durability", level.name())];
        encode_latency(metric.encode_family(&labels)?, histogram)?;
    }
    let help = "From the start of a read to its answer in the socket's queue";
    let metric = encoder.encode_descriptor("read_latency", help, unit, MetricType::Histogram)?;
    encode_latency(metric, &all.read_latency_us)?;
    let help = "From the arrival of a request to its answer, waiting at the tail included";
    let mut metric =
        encoder.encode_descriptor("request_duration", help, unit, MetricType::Histogram)?;
    for (kind, histogram) in Kind::ALL.iter().zip(&all.request_us) {
        if !histogram.is_empty() {
            let labels = [("api", kind.name())];
            encode_latency(metric.encode_family(&labels)?, histogram)?;
        }
    }
    let help = "Writes of groups that reached stable storage, from start to end";
    let metric = encoder.encode_descriptor("fsync_duration", help, unit, MetricType::Histogram)?;
    encode_latency(metric, &all.fsync_us)?;
    let help = "Records of the appends acknowledged";
    let metric = encoder.encode_descriptor("batch_records", help, None, MetricType::Histogram)?;
    encode_histogram(metric, &all.batch_records, &RECORD_BOUNDS, 1.0)
}

fn encode_latency(metric: MetricEncoder, histogram: &Histogram<u64>) -> Encoded {
    encode_histogram(metric, histogram, &LATENCY_BOUNDS_US, 1e6)
}

/// Sorts the recorded values into the bounds, in one pass; `unit` is how many recorded units make a printed one:
/// dividing by it prints 0.05 where multiplying prints 0.049999999999999999.
fn encode_histogram(
    mut metric: MetricEncoder,
    histogram: &Histogram<u64>,
    bounds: &[u64],
    unit: f64,
) -> Encoded {
    let mut buckets: Vec<(f64, u64)> =
        bounds.iter().map(|bound| (float(*bound) / unit, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    let mut sum = 0.0;
    for step in histogram.iter_recorded() {
        let value = step.value_iterated_to();
        let place = bounds.partition_point(|bound| *bound < value);
        buckets[place].1 += step.count_at_value();
        sum += float(value) * float(step.count_at_value()) / unit;
    }
    metric.encode_histogram::<NoLabelSet>(sum, histogram.len(), &buckets, None)
}

#[expect(clippy::cast_precision_loss, reason = "a histogram is exact to one percent anyway")]
fn float(value: u64) -> f64 {
    value as f64
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> Encoded {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge::<u64>(&value)
}

fn encode_gauges(encoder: &mut DescriptorEncoder, snapshot: &NodeSnapshot) -> Encoded {
    type Reader = fn(&super::ShardSnapshot) -> u64;
    let gauges: [(&str, &str, Reader); 6] = [
        ("connections", "Open connections", |shard| shard.connections),
        ("in_flight_bytes", "Bytes of requests in flight", |shard| shard.in_flight_bytes),
        ("fetched_bytes", "Fetched bytes waiting for sockets", |shard| shard.fetched_bytes),
        ("memory_used_bytes", "Bytes of buffers in use", |shard| shard.memory_used_bytes),
        ("memory_limit_bytes", "Bytes of buffers allowed", |shard| shard.memory_limit_bytes),
        ("leader_partitions", "Partitions owned", |shard| shard.partitions.len() as u64),
    ];
    for (name, help, read) in gauges {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for shard in &snapshot.shards {
            metric
                .encode_family(&[("shard", shard.shard.to_string())])?
                .encode_gauge::<u64>(&read(shard))?;
        }
    }
    let logs = snapshot.shards.first().map_or(0, |shard| shard.logs);
    gauge(encoder, "logs", "Logs in the catalog", logs)
}

fn encode_sums(encoder: &mut DescriptorEncoder, snapshot: &NodeSnapshot) -> Encoded {
    let partitions = snapshot.partitions();
    let sum = |read: fn(&PartitionSnapshot) -> u64| partitions.iter().map(|p| read(p)).sum();
    let help = "Bytes of batches, by where they lie";
    let mut metric = encoder.encode_descriptor("storage_bytes", help, None, MetricType::Gauge)?;
    metric.encode_family(&[("tier", "local")])?.encode_gauge::<u64>(&sum(|p| p.bytes))?;
    metric.encode_family(&[("tier", "store")])?.encode_gauge::<u64>(&sum(|p| p.tier.bytes))?;
    let help = "Segments of all partitions";
    gauge(encoder, "segments", help, sum(|p| p.segments))?;
    gauge(encoder, "session_count", "Producer sessions remembered", sum(|p| p.sessions))?;
    let failed = sum(|p| u64::from(p.failed.is_some()));
    gauge(encoder, "failed_partitions", "Partitions that take no appends any more", failed)?;
    let damaged = sum(|p| p.damaged.len() as u64);
    gauge(
        encoder,
        "damaged_ranges",
        "Ranges of all partitions that are known to be damaged",
        damaged,
    )?;
    encode_trees(encoder, &partitions)?;
    let help = "Bytes of closed segments of compacted logs that are new since the last run";
    gauge(encoder, "compaction_dirty_bytes", help, sum(|p| p.compaction.dirty_bytes))?;
    let help = "Bytes of closed segments of compacted logs";
    gauge(encoder, "compaction_bytes", help, sum(|p| p.compaction.bytes))?;
    let totals: [Gauge; 8] = [
        ("compaction_passes", "Passes of compaction over a partition", |p| p.compaction.passes),
        ("compaction_records", "Records removed because there were newer ones", |p| {
            p.compaction.removed_records
        }),
        ("compaction_tombstones", "Tombstones removed", |p| p.compaction.removed_tombstones),
        ("compaction_read_bytes", "Bytes that compaction read", |p| p.compaction.read_bytes),
        ("compaction_written_bytes", "Bytes that compaction wrote", |p| p.compaction.written_bytes),
        ("evictions", "Records evicted from memory logs", |p| p.evicted),
        ("retention_records", "Records removed by retention and truncation", |p| p.removed),
        ("retention_bytes", "Bytes of the segments that went with them", |p| p.removed_bytes),
    ];
    for (name, help, read) in totals {
        encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, u64, f64>(&sum(read), None)?;
    }
    Ok(())
}

/// How far the Merkle trees are behind, and whether they find the bytes in memory.
fn encode_trees(encoder: &mut DescriptorEncoder, partitions: &[&PartitionSnapshot]) -> Encoded {
    let trees = || partitions.iter().filter_map(|partition| partition.tree.as_ref());
    let lag = trees().map(|tree| tree.lag_records).sum();
    gauge(encoder, "tree_lag_records", "Records of logs with proofs that are not hashed yet", lag)?;
    let help = "Bytes read to be hashed for Merkle trees, by where they were";
    let mut metric = encoder.encode_descriptor("tree_bytes", help, None, MetricType::Counter)?;
    let memory = trees().map(|tree| tree.memory_bytes).sum::<u64>();
    let file = trees().map(|tree| tree.file_bytes).sum::<u64>();
    for (place, bytes) in [("memory", memory), ("file", file)] {
        metric
            .encode_family(&[("from", place)])?
            .encode_counter::<NoLabelSet, u64, f64>(&bytes, None)?;
    }
    let faults = trees().filter(|tree| tree.fault.is_some()).count() as u64;
    let help = "Partitions whose Merkle tree stands still: somebody should look";
    gauge(encoder, "tree_faults", help, faults)
}

/// What went to the object store and came from it, and how far it is behind.
fn encode_tier(encoder: &mut DescriptorEncoder, snapshot: &NodeSnapshot) -> Encoded {
    type Reader = fn(&TierStats) -> u64;
    let totals: [(&str, &str, Reader); 10] = [
        ("tier_uploads", "Segments uploaded", |tier| tier.uploads),
        ("tier_uploaded_bytes", "Bytes uploaded", |tier| tier.uploaded_bytes),
        ("tier_downloads", "Reads of objects", |tier| tier.downloads),
        ("tier_downloaded_bytes", "Bytes read of objects", |tier| tier.downloaded_bytes),
        ("tier_deleted_objects", "Objects deleted", |tier| tier.deleted),
        ("tier_orphans", "Objects deleted that no manifest named", |tier| tier.orphans),
        ("tier_errors", "Calls to the object store that failed", |tier| tier.errors),
        ("tier_unsound", "Times that the store gave what was not written", |tier| tier.unsound),
        ("tier_cache_hits", "Blocks of objects found in memory", |tier| tier.cache_hits),
        ("tier_cache_misses", "Blocks of objects read from the store", |tier| tier.cache_misses),
    ];
    for (name, help, read) in totals {
        let total = snapshot.shards.iter().map(|shard| read(&shard.tier)).sum();
        encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
    }
    let cached = snapshot.shards.iter().map(|shard| shard.tier.cached_bytes).sum();
    gauge(encoder, "tier_cache_bytes", "Bytes of objects in memory", cached)?;
    let partitions = snapshot.partitions();
    let sum = |read: fn(&TierUse) -> u64| partitions.iter().map(|p| read(&p.tier)).sum();
    let help = "Bytes of closed segments of tiered logs that are not in the object store yet";
    gauge(encoder, "tier_lag_bytes", help, sum(|tier| tier.waiting_bytes))?;
    gauge(encoder, "tier_lag_segments", "Such segments", sum(|tier| tier.waiting))?;
    let help = "Those of them that stay because records in them are damaged";
    gauge(encoder, "tier_held_back_segments", help, sum(|tier| tier.held_back))?;
    gauge(encoder, "tier_segments", "Segments in the object store", sum(|tier| tier.segments))?;
    let help = "Those of them that are in no directory any more";
    gauge(encoder, "tier_remote_only_segments", help, sum(|tier| tier.remote_only))
}

fn encode_sequencers(encoder: &mut DescriptorEncoder, snapshot: &NodeSnapshot) -> Encoded {
    type Reader = fn(&super::ShardSnapshot) -> u64;
    let totals: [(&str, &str, Reader); 2] = [
        ("ids_dealt", "Scarab ids dealt, those of records included", |shard| shard.ids.dealt),
        ("counter_numbers", "Numbers of counters dealt", |shard| shard.sequencers.dealt),
    ];
    for (name, help, read) in totals {
        let total = snapshot.shards.iter().map(read).sum();
        encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
    }
    let gauges: [(&str, &str, Reader); 5] = [
        ("counters_owned", "Counters of the core", |shard| shard.sequencers.owned),
        ("counters_open", "Counters in use", |shard| shard.sequencers.open),
        ("counters_failed", "Counters that deal nothing any more", |shard| {
            shard.sequencers.failed.len() as u64
        }),
        ("ids_slots", "Slots that the core deals ids from", |shard| shard.ids.slots),
        ("ids_ahead_ms", "Milliseconds that ids run ahead of the clock", |shard| {
            shard.ids.ahead_ms
        }),
    ];
    for (name, help, read) in gauges {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for shard in &snapshot.shards {
            metric
                .encode_family(&[("shard", shard.shard.to_string())])?
                .encode_gauge::<u64>(&read(shard))?;
        }
    }
    let help =
        "Milliseconds that the clock is ahead of what it should show; 0 while it is followed";
    let mut metric = encoder.encode_descriptor("clock_astray_ms", help, None, MetricType::Gauge)?;
    for shard in &snapshot.shards {
        metric
            .encode_family(&[("shard", shard.shard.to_string())])?
            .encode_gauge::<i64>(&shard.ids.clock_astray_ms)?;
    }
    Ok(())
}

/// Series per partition, unless there are too many of them for a scrape to carry.
fn encode_partitions(encoder: &mut DescriptorEncoder, snapshot: &NodeSnapshot) -> Encoded {
    let partitions = snapshot.partitions();
    if partitions.len() > LABELLED_PARTITIONS_MAX {
        return Ok(());
    }
    let gauges: [Gauge; 4] = [
        ("partition_low_offset", "Oldest offset", |p| p.low.get()),
        ("partition_high_offset", "Offset after the last committed record", |p| p.high.get()),
        ("partition_bytes", "Bytes of batches", |p| p.bytes),
        ("partition_failed", "Whether appends are refused", |p| u64::from(p.failed.is_some())),
    ];
    for (name, help, read) in gauges {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for partition in &partitions {
            let number = partition.partition.to_string();
            metric
                .encode_family(&[("log", partition.name.as_str()), ("partition", number.as_str())])?
                .encode_gauge::<u64>(&read(partition))?;
        }
    }
    Ok(())
}
