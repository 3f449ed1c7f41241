//! Kills while old segments are compacted, and while a Merkle tree grows behind the writers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use fastrand::Rng;
use pyralog_client::blocking::Client;
use pyralog_client::{ConsumerConfig, LogConfig, PartitionId, Stop};
use pyralog_log::proof::checkpoint::{Checkpoint, SignedCheckpoint};
use pyralog_wire::{Compaction, Integrity};

use super::server::{Extra, Ports, ServerProcess};
use super::workload::{Verdict, Workload, Writer, connect, key, value, verify};
use super::{rounds, seed};

const PARTITIONS: u32 = 2;

/// Keys of a partition: most records are soon not the newest of theirs.
const KEYS: u64 = 300;

/// Questions asked at most until something has come: each is a round trip, so this is no tight loop.
const QUESTIONS_MAX: u32 = 100_000;

/// Starts a server whose background is always at work.
fn start(directory: &Path, ports: Ports, shards: u32) -> ServerProcess {
    let settings = [
        "housekeeping.interval=10ms",
        "housekeeping.io_bytes_per_second=1GiB",
        "compaction.dirty_percent=0",
        "integrity.checkpoint_interval=10ms",
    ];
    let flags: Vec<&str> = settings.iter().flat_map(|&set| ["--set", set]).collect();
    ServerProcess::start_with(directory, ports, shards, Extra { flags: &flags, ..Extra::default() })
}

/// The numbers of the records that compaction has left in each partition. Each is whole, has its key, and lies at the
/// offset that it was acknowledged at: that of its number, for each partition has one writer whose records get through once.
fn survivors(client: &Client, log: &str) -> Vec<Vec<u64>> {
    let config = ConsumerConfig { stop: Stop::AtEnd, ..ConsumerConfig::default() };
    let mut consumer = client.consumer(log, config).unwrap();
    let mut found = vec![Vec::new(); PARTITIONS as usize];
    while let Some(batch) = consumer.next().unwrap() {
        let partition = batch.partition();
        let numbers: &mut Vec<u64> = &mut found[partition.get() as usize];
        for record in batch.records() {
            let (offset, bytes) = (record.offset.get(), record.value.unwrap());
            let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert_eq!(offset, number, "partition {partition}");
            assert!(numbers.last().is_none_or(|last| *last < number), "{number} is out of order");
            assert!(bytes == value(number), "partition {partition} offset {offset} is torn");
            let expected = key(number, KEYS).unwrap().to_le_bytes();
            assert_eq!(record.key, Some(&expected[..]), "partition {partition} offset {offset}");
            numbers.push(number);
        }
    }
    found
}

/// The newest record of each key among the first `count`.
fn newest(numbers: impl Iterator<Item = u64>) -> BTreeMap<u64, u64> {
    numbers.map(|number| (key(number, KEYS).unwrap(), number)).collect()
}

/// No key has an older value than the newest that was acknowledged.
fn check_keys(found: &[Vec<u64>], acknowledged: &[u64]) {
    for (numbers, count) in found.iter().zip(acknowledged) {
        let found = newest(numbers.iter().copied());
        for (key, number) in newest(0..*count) {
            let is_there = found.get(&key).is_some_and(|found| *found >= number);
            assert!(is_there, "key {key}: {number} is gone, the newest is {:?}", found.get(&key));
        }
    }
}

#[test]
fn compaction_that_is_killed_keeps_the_newest_value_of_every_key() {
    let mut rng = Rng::with_seed(seed());
    let directory = tempfile::tempdir().unwrap();
    let ports = Ports::reserve();
    let mut server = start(directory.path(), ports, 2);
    let compaction = Compaction { is_on: true, ..Compaction::default() };
    let config = LogConfig {
        partitions: PARTITIONS,
        segment_bytes: 1 << 20,
        compaction,
        ..LogConfig::default()
    };
    connect(&server.address()).create_log("updates", config).unwrap();
    let writers = [0, 1].map(|partition| Writer::keyed(partition, KEYS));
    let workload = Workload::with_writers(&server.address(), "updates", &writers);
    for _ in 0..rounds(6) {
        workload.wait_for_acknowledgements(rng.u64(1_000..6_000));
        let acknowledged = workload.acknowledged();
        server.kill();
        server = start(directory.path(), ports, rng.u32(1..=3));
        check_keys(&survivors(&connect(&server.address()), "updates"), &acknowledged);
    }
    workload.wait_for_acknowledgements(100);
    let sent = workload.stop();
    let client = connect(&server.address());
    let found = survivors(&client, "updates");
    check_keys(&found, &sent);
    for (numbers, count) in found.iter().zip(&sent) {
        assert_eq!(numbers.last().map(|last| last + 1), Some(*count), "the last record is there");
        println!("{} records of {count} are left", numbers.len());
    }
    let is_smaller = |client: &Client| {
        let found = survivors(client, "updates");
        found.iter().zip(&sent).all(|(numbers, count)| numbers.len() as u64 * 2 < *count)
    };
    assert!((0..1_000).any(|_| is_smaller(&client)), "compaction does nothing");
    server.terminate();
    let server = start(directory.path(), ports, 1);
    check_keys(&survivors(&connect(&server.address()), "updates"), &sent);
    server.terminate();
}

/// The newest checkpoint of each partition.
fn checkpoints(client: &Client, log: &str) -> Vec<Option<SignedCheckpoint>> {
    let partitions = (0..PARTITIONS).map(PartitionId::new);
    partitions.map(|partition| client.checkpoint(log, partition).unwrap().signed).collect()
}

/// Asks until the trees of all partitions hold so many records each.
fn caught_up(client: &Client, log: &str, records: &[u64]) -> Vec<SignedCheckpoint> {
    let all = (0..QUESTIONS_MAX).find_map(|_| {
        let newest: Option<Vec<_>> = checkpoints(client, log).into_iter().collect();
        newest.filter(|newest| {
            let ends = newest.iter().map(|signed| signed.checkpoint().end_offset.get());
            ends.zip(records).all(|(end, records)| end >= *records)
        })
    });
    all.expect("the tree catches up")
}

/// What was signed once is the beginning of what is signed now, by the same key.
fn check_history(
    client: &Client,
    log: &str,
    (before, now): (&SignedCheckpoint, &SignedCheckpoint),
) {
    assert_eq!(before.key(), now.key());
    let of = |signed: &SignedCheckpoint| -> Checkpoint { *signed.checkpoint() };
    let (before, now) = (of(before), of(now));
    assert!(before.tree_size <= now.tree_size, "{before:?} was signed, and now {now:?}");
    let sizes = (before.tree_size, now.tree_size);
    let proof = client.prove_consistency(log, now.partition, sizes).unwrap();
    proof.verify(&before.tree(), &now.tree()).expect("history as it was signed");
}

#[test]
fn a_tree_that_is_killed_catches_up_and_goes_on_from_every_checkpoint_that_anybody_has() {
    let mut rng = Rng::with_seed(seed());
    let directory = tempfile::tempdir().unwrap();
    let ports = Ports::reserve();
    let mut server = start(directory.path(), ports, 2);
    let config = LogConfig {
        partitions: PARTITIONS,
        segment_bytes: 1 << 20,
        integrity: Integrity::Signed,
        ..LogConfig::default()
    };
    let workload = Workload::start(&server.address(), "ledger", config);
    let mut seen: Vec<SignedCheckpoint> = Vec::new();
    for _ in 0..rounds(6) {
        // What somebody was told at any time binds the server, however short its life was after that.
        for _ in 0..4 {
            workload.wait_for_acknowledgements(rng.u64(1..1_000));
            seen.extend(checkpoints(&connect(&server.address()), "ledger").into_iter().flatten());
        }
        let acknowledged = workload.acknowledged();
        server.kill();
        server = start(directory.path(), ports, rng.u32(1..=3));
        let client = connect(&server.address());
        let now = caught_up(&client, "ledger", &acknowledged);
        for before in &seen {
            let now = &now[before.checkpoint().partition.get() as usize];
            check_history(&client, "ledger", (before, now));
        }
    }
    let sent = workload.stop();
    assert_eq!(verify(&server.address(), "ledger", &sent), Verdict::Exact);
    let now = caught_up(&connect(&server.address()), "ledger", &sent);
    println!("{} checkpoints were seen, the last ones are {now:?}", seen.len());
    assert!(seen.len() > 6, "{seen:?}");
    let audit = Command::new(env!("CARGO_BIN_EXE_pyralog"))
        .args(["audit", "ledger", "--once", "--full", "--server", &server.address()])
        .arg("--state")
        .arg(directory.path().join("audit"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&audit.stderr);
    assert!(audit.status.success(), "the records are not what the tree says: {said}");
    server.terminate();
}
