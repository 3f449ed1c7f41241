//! Logs are created, found, changed and deleted; and what the admin listener says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use pyralog_log::durability::Durability;
use pyralog_log::ids::Offset;
use pyralog_shard::{DataConfig, Server};
use pyralog_wire::message::{
    AlterLog, CreateLog, DeleteLog, FetchFrom, FindOffset, ListLogs, Metadata, Stats,
};
use pyralog_wire::{ErrorCode, LogChanges, LogConfig, LogStorage, Response};

use crate::support::*;

#[test]
fn a_deleted_log_comes_back_empty_with_another_id() {
    let server = start(memory_config(3));
    let mut peer = Peer::connect_to(&server, 1);
    let first = peer.create("a", log_config(5)).id;
    for partition in 0..5 {
        peer.append(first, partition, &batch(&[b"old"])).unwrap();
    }
    let Ok(Response::DeleteLog(deleted)) = peer.ask(DeleteLog { name: "a".into() }, &[]) else {
        panic!("not deleted")
    };
    assert_eq!(deleted.id, first);
    for shard in 0..3 {
        let mut other = Peer::connect_to(&server, shard);
        assert_refused(other.append(first, 0, &batch(&[b"late"])), ErrorCode::UnknownLog);
    }
    let second = peer.create("a", log_config(5)).id;
    assert_ne!(first, second);
    for partition in 0..5 {
        assert!(peer.values(second, partition, 0).is_empty());
    }
    assert_refused(peer.ask(DeleteLog { name: "b".into() }, &[]), ErrorCode::UnknownLog);
    server.shutdown().unwrap();
}

#[test]
fn every_core_knows_a_log_as_soon_as_its_creation_is_answered() {
    let server = start(memory_config(3));
    let mut others: Vec<Peer> = (0..3).map(|shard| Peer::connect_to(&server, shard)).collect();
    for number in 0..20_usize {
        let name = format!("log-{number}");
        let id = others[number % 3].create(&name, log_config(3)).id;
        for peer in &mut others {
            let names = vec![name.clone(), "none".into()];
            let Ok(Response::Metadata(routes)) = peer.ask(Metadata { names }, &[]) else {
                panic!("no routes")
            };
            assert_eq!(routes.logs.iter().map(|log| log.id).collect::<Vec<_>>(), [id]);
            assert_eq!(routes.unknown, ["none"]);
            assert_eq!(routes.shards.len(), 3);
            let mut owners = routes.logs[0].shards.clone();
            owners.sort_unstable();
            assert_eq!(owners, [0, 1, 2], "partitions are spread");
        }
    }
    let listed =
        others[2].ask(ListLogs { prefix: "log-1".into(), after: String::new(), limit: 5 }, &[]);
    let Ok(Response::ListLogs(page)) = listed else { panic!("no page") };
    let names: Vec<_> = page.logs.iter().map(|log| log.name.as_str()).collect();
    assert_eq!(names, ["log-1", "log-10", "log-11", "log-12", "log-13"]);
    assert!(page.more);
    server.shutdown().unwrap();
}

#[test]
fn a_memory_only_node_says_what_a_log_really_is() {
    let mut config = memory_config(1);
    config.data = DataConfig::MemoryOnly { max_memory: 384 << 20 };
    let server = start(config);
    let mut peer = Peer::connect(&server);
    let config = peer.create("a", LogConfig::default()).config;
    assert_eq!((config.storage, config.durability), (LogStorage::Memory, Durability::Memory));
    assert_eq!(config.memory_bytes_max, 192 << 20, "half of what is left");
    let config = peer.create("b", LogConfig::default()).config;
    assert_eq!(config.memory_bytes_max, 96 << 20);
    let asked = LogConfig { memory_bytes_max: 1 << 30, ..LogConfig::default() };
    let create = CreateLog { name: "c".into(), config: asked };
    let error = peer.ask(create, &[]).unwrap_err();
    assert!(error.message.contains("are left"), "a named budget is given or refused: {error}");
    let changes = LogChanges { memory_bytes_max: Some(1 << 30), ..LogChanges::default() };
    let error = peer.ask(AlterLog { name: "b".into(), changes }, &[]).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidConfig));
    assert!(error.message.contains("of the node's 402653184 are left"), "{error}");
    let changes = LogChanges { ttl_ms: Some(5000), ..LogChanges::default() };
    let Ok(Response::AlterLog(altered)) = peer.ask(AlterLog { name: "b".into(), changes }, &[])
    else {
        panic!("not altered")
    };
    assert_eq!(altered.config.ttl_ms, 5000);
    assert_eq!(peer.describe("b").unwrap().config, altered.config);
    server.shutdown().unwrap();
}

#[test]
fn positions_have_offsets() {
    let server = start(memory_config(2));
    let mut peer = Peer::connect_to(&server, 0);
    let log = peer.create("a", log_config(2)).id;
    for partition in [0, 1] {
        peer.append(log, partition, &batch(&[b"one", b"two"])).unwrap();
        for (at, expected) in [(FetchFrom::Earliest, 0), (FetchFrom::Latest, 2)] {
            let find =
                FindOffset { log, partition: pyralog_log::ids::PartitionId::new(partition), at };
            let Ok(Response::FindOffset(found)) = peer.ask(find, &[]) else { panic!("not found") };
            assert_eq!(found.offset, Offset::new(expected), "{at:?}");
            assert_eq!((found.low, found.high), (Offset::ZERO, Offset::new(2)));
        }
    }
    server.shutdown().unwrap();
}

#[test]
fn counters_count_what_was_done() {
    let server = start(memory_config(2));
    let mut peer = Peer::connect_to(&server, 0);
    let log = peer.create("a", log_config(1)).id;
    peer.append(log, 0, &batch(&[b"one", b"two"])).unwrap();
    peer.values(log, 0, 0);
    assert_refused(peer.append(log, 9, &batch(&[b"x"])), ErrorCode::UnknownPartition);
    let Ok(Response::Stats(stats)) = peer.ask(Stats {}, &[]) else { panic!("no counters") };
    assert_eq!((stats.node, stats.logs), (server.node_id(), 1));
    let sum = |read: fn(&pyralog_wire::message::ShardStats) -> u64| {
        stats.shards.iter().map(read).sum::<u64>()
    };
    assert_eq!(sum(|shard| shard.appends), 1);
    assert_eq!(sum(|shard| shard.appended_records), 2);
    assert_eq!(sum(|shard| shard.fetches), 1);
    assert_eq!(sum(|shard| shard.refusals), 1);
    assert_eq!(sum(|shard| u64::from(shard.partitions)), 1);
    server.shutdown().unwrap();
}

/// Status line and body of a GET.
pub(crate) fn get(server: &Server, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.addresses().http.unwrap()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Interrupted),
        }
    }
    let answer = String::from_utf8(bytes).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_string(), body.to_string())
}

#[test]
fn metrics_health_and_status_are_served_over_http() {
    let mut config = memory_config(2);
    config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.node_name = "north".into();
    let server = start(config);
    let mut peer = Peer::connect(&server);
    let log = peer.create("a", log_config(2)).id;
    peer.append(log, 0, &batch(&[b"one", b"two"])).unwrap();
    let (status, body) = get(&server, "/metrics");
    assert!(status.contains("200"), "{status}");
    for line in [
        "pyralog_writes_total 1",
        "pyralog_records_written_total 2",
        "pyralog_write_latency_seconds_count{durability=\"memory\"} 1",
        "pyralog_partition_high_offset{log=\"a\",partition=\"0\"} 2",
        "pyralog_logs 1",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} is missing in\n{body}");
    }
    assert!(get(&server, "/healthz").0.contains("200"));
    assert!(get(&server, "/readyz").0.contains("200"));
    let (_, body) = get(&server, "/status");
    for part in ["\"node\": \"north\"", "\"ready\": true", "\"log\": \"a\"", "\"high\": 2"] {
        assert!(body.contains(part), "{part} is missing in\n{body}");
    }
    server.shutdown().unwrap();
}
