//! What is counted, merged and printed.

use pyralog_log::ids::{LogId, Offset, PartitionId};

use super::*;
use crate::limits::LABELLED_PARTITIONS_MAX;
use std::fmt::Write as _;

fn node() -> NodeSnapshot {
    let (first, second) = (Metrics::default(), Metrics::default());
    first.wrote(Durability::Synced, 1000, 4096, Duration::from_micros(420));
    second.wrote(Durability::Synced, 10, 64, Duration::from_hours(1));
    second.wrote(Durability::Memory, 1, 64, Duration::ZERO);
    second.failed(Some(Kind::Append), ErrorCode::Busy.number());
    first.failed(Some(Kind::Append), ErrorCode::Busy.number());
    first.answered(Kind::Append, Duration::from_micros(420));
    let partition = PartitionSnapshot {
        log: LogId::new(1),
        name: "a".into(),
        partition: PartitionId::new(2),
        high: Offset::new(77),
        failed: Some("write failed: input/output error".into()),
        ..PartitionSnapshot::default()
    };
    let shards = vec![
        first.snapshot(),
        ShardSnapshot { shard: 1, partitions: vec![partition], ..second.snapshot() },
    ];
    NodeSnapshot { node: "n".into(), node_id: 7, shards, ..NodeSnapshot::default() }
}

#[test]
fn cores_merge_without_losing_anything() {
    let node = node();
    assert_eq!(node.total(Counter::Writes), 3);
    assert_eq!(node.total(Counter::RecordsWritten), 1011);
    assert_eq!(node.failures()[&(Kind::Append.number(), ErrorCode::Busy.number())], 2);
    let merged = node.histograms();
    assert_eq!(merged.write_latency_all().len(), 3);
    assert!(merged.write_latency_us[2].max() >= 59_000_000, "an hour counts as a minute");
}

#[test]
fn the_text_has_the_canonical_names_and_ends_properly() {
    let text = text::render(node());
    for line in [
        "pyralog_writes_total 3",
        "pyralog_records_written_total 1011",
        "pyralog_write_latency_seconds_count{durability=\"synced\"} 2",
        "pyralog_write_latency_seconds_bucket{le=\"0.0005\",durability=\"synced\"} 1",
        "pyralog_request_failures_total{api=\"Append\",code=\"Busy\"} 2",
        "pyralog_partition_high_offset{log=\"a\",partition=\"2\"} 77",
        "pyralog_leader_partitions{shard=\"1\"} 1",
        "pyralog_failed_partitions 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

/// Every metric that is served, as a page.
fn page() -> String {
    let text = text::render(node());
    let mut page = String::from(
        "# Metrics\n\nEverything that `/metrics` serves, made from that by a test \
         (`UPDATE_GOLDEN=1 cargo test -p pyralog-shard every_metric`).\n[OPERATIONS.md](OPERATIONS.md) says which of them to \
         watch. A counter starts at zero with the server; a histogram has the series\n`_bucket`, `_sum` and `_count`. Series \
         of single partitions are left out beyond 1000 partitions of a node.\n\n| metric | kind | what |\n|---|---|---|\n",
    );
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let kind = lines[at + 1].rsplit(' ').next().unwrap();
        let end = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let help = help.trim_end_matches('.');
        writeln!(page, "| `{name}{end}` | {kind} | {help} |").unwrap();
    }
    page
}

#[test]
fn every_metric_is_on_the_page_of_metrics() {
    assert_eq!(LABELLED_PARTITIONS_MAX, 1000, "as the page says");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/METRICS.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(kept == page(), "docs/METRICS.md does not say what is served: make it again");
}

#[test]
fn buckets_are_cumulative_and_end_with_the_count() {
    let text = text::render(node());
    let bucket = "pyralog_write_latency_seconds_bucket";
    let counts: Vec<u64> = text
        .lines()
        .filter(|line| line.starts_with(bucket) && line.contains("synced"))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(counts.is_sorted(), "{counts:?}");
    assert_eq!(counts.last(), Some(&2));
}

#[test]
fn a_failed_partition_makes_the_node_unready_with_a_reason() {
    let problems = node().problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("log a partition 2 takes no appends: write failed"));
}

#[test]
fn too_many_partitions_lose_their_labels_and_keep_their_sums() {
    let mut node = node();
    let many = (0..=crate::limits::LABELLED_PARTITIONS_MAX).map(|number| PartitionSnapshot {
        partition: PartitionId::new(u32::try_from(number).unwrap()),
        bytes: 1,
        ..PartitionSnapshot::default()
    });
    node.shards[0].partitions = many.collect();
    let text = text::render(node);
    assert!(!text.contains("pyralog_partition_bytes{"));
    assert!(text.contains("pyralog_storage_bytes{tier=\"local\"} 1001"));
}
