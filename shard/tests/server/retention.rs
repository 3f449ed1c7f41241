//! Logs lose what is beyond their bounds while the server runs, and readers are told where they begin.

use std::time::Duration;

use pyralog_log::ids::{LogId, Offset, PartitionId};
use pyralog_shard::Server;
use pyralog_wire::message::{AlterLog, FetchFrom, TruncateLog};
use pyralog_wire::{ErrorCode, ErrorDetail, LogChanges, LogConfig, Response};

use crate::support::*;

/// A server whose housekeeping is always at it, and a log of more than five segments of 1 MiB.
fn with_full_log(data: &std::path::Path) -> (Server, Peer, LogId) {
    let mut config = durable_config(2, data);
    config.housekeeping.interval = Duration::from_millis(10);
    config.http = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = start(config);
    let mut peer = Peer::connect(&server);
    let mut log = log_config(1);
    log.segment_bytes = 1 << 20;
    let id = peer.create("a", log).id;
    let value = vec![7; 100_000];
    for _ in 0..60 {
        peer.append(id, 0, &batch(&[&value])).unwrap();
    }
    (server, peer, id)
}

/// Asks until the log begins behind `low`; the request that fails then is what a reader sees.
fn low_beyond(peer: &mut Peer, log: &str, low: u64) -> u64 {
    loop {
        let now = peer.describe(log).unwrap().partitions[0].low.get();
        if now > low {
            return now;
        }
    }
}

#[test]
fn a_log_that_is_altered_loses_its_oldest_segments_and_readers_are_told_the_range() {
    let data = tempfile::tempdir().unwrap();
    let (server, mut peer, id) = with_full_log(data.path());
    assert_eq!(peer.describe("a").unwrap().partitions[0].low.get(), 0);
    let retention_bytes = Some(3 << 20);
    let changes = LogChanges { retention_bytes, ..LogChanges::default() };
    peer.ask(AlterLog { name: "a".into(), changes }, &[]).unwrap();
    let low = low_beyond(&mut peer, "a", 20);
    let refused = peer.ask(fetch(id, 0, FetchFrom::Offset(Offset::ZERO)), &[]);
    let error = refused.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange));
    assert!(
        matches!(error.detail, ErrorDetail::OffsetOutOfRange { low: told, high } if told.get() >= low && high.get() == 60),
        "{error:?}"
    );
    assert_eq!(peer.values(id, 0, low).len() as u64, 60 - low);
    let changes = LogChanges { retention_ms: Some(1000), ..LogChanges::default() };
    peer.ask(AlterLog { name: "a".into(), changes }, &[]).unwrap();
    assert_eq!(low_beyond(&mut peer, "a", 59), 60, "what nobody appends to goes by age");
    let (_, metrics) = super::admin::get(&server, "/metrics");
    assert!(metrics.contains("pyralog_retention_records_total 60"), "{metrics}");
    server.shutdown().unwrap();
    let server = start(durable_config(1, data.path()));
    let mut peer = Peer::connect(&server);
    assert_eq!(peer.describe("a").unwrap().partitions[0].low.get(), 60, "with other cores, too");
    peer.append(id, 0, &batch(&[b"on"])).unwrap();
    assert_eq!(peer.values(id, 0, 60).len(), 1);
    server.shutdown().unwrap();
}

#[test]
fn truncation_is_answered_with_the_new_low_watermark_whichever_core_is_asked() {
    let data = tempfile::tempdir().unwrap();
    let (server, _, log) = with_full_log(data.path());
    let truncate =
        |before| TruncateLog { log, partition: PartitionId::ZERO, before: Offset::new(before) };
    for (shard, (before, expected)) in [(25, 25), (7, 25), (60, 60)].into_iter().enumerate() {
        let mut peer = Peer::connect_to(&server, shard % 2);
        let Ok(Response::TruncateLog(truncated)) = peer.ask(truncate(before), &[]) else {
            panic!("not truncated")
        };
        assert_eq!(truncated.low.get(), expected);
        let refused = peer.ask(fetch(log, 0, FetchFrom::Offset(Offset::new(expected - 1))), &[]);
        assert_refused(refused, ErrorCode::OffsetOutOfRange);
    }
    let mut peer = Peer::connect_to(&server, 1);
    let refused = peer.ask(truncate(61), &[]).unwrap_err();
    let (low, high) = (Offset::new(60), Offset::new(60));
    assert_eq!(refused.detail, ErrorDetail::OffsetOutOfRange { low, high });
    server.shutdown().unwrap();
}

#[test]
fn what_is_over_its_bounds_goes_while_another_log_is_compacted() {
    let data = tempfile::tempdir().unwrap();
    let mut config = durable_config(1, data.path());
    config.housekeeping.io_bytes_per_second = 1 << 20;
    config.http = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = start(config);
    let mut peer = Peer::connect(&server);
    let log = LogConfig { segment_bytes: 1 << 20, ..log_config(1) };
    let ids = ["a", "b"].map(|name| peer.create(name, log).id);
    let value = vec![7; 100_000];
    for id in ids.iter().flat_map(|id| [*id; 60]) {
        peer.append(id, 0, &batch(&[&value])).unwrap();
    }
    let changes = LogChanges { compaction: Some(true), ..LogChanges::default() };
    peer.ask(AlterLog { name: "a".into(), changes }, &[]).unwrap();
    let metrics = || super::admin::get(&server, "/metrics").1;
    while metrics().contains("pyralog_compaction_read_bytes_total 0\n") {}
    let changes = LogChanges { retention_bytes: Some(1 << 20), ..LogChanges::default() };
    peer.ask(AlterLog { name: "b".into(), changes }, &[]).unwrap();
    low_beyond(&mut peer, "b", 40);
    let metrics = metrics();
    assert!(metrics.contains("pyralog_compaction_passes_total 0\n"), "{metrics}");
    server.shutdown().unwrap();
}
