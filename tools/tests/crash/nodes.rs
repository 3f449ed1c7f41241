//! Programs that take ids from several nodes, and a node that may not make its files longer.

use std::path::Path;
use std::time::Duration;

use pyralog_client::blocking::{Client, IdSource};
use pyralog_client::{
    ClientError, CounterConfig, ErrorCode, IdConfig, LogConfig, ProducerConfig, Record,
};
use tempfile::TempDir;

use super::oracle::{BLOCK, COUNTERS, Dealt, Oracle};
use super::server::{Extra, Ports, ServerProcess};
use super::workload::{append, connect, numbers};

/// Ids of a lease, and what a source keeps ready beside it.
const LEASE: u32 = 200;

/// How long a source waits: far above a connection, and the price of seeing it give up.
const WAIT: Duration = Duration::from_secs(5);

/// A node that deals ids, by which it is known to others.
struct Node {
    data: TempDir,
    ports: Ports,
    slots: &'static str,
    server: Option<ServerProcess>,
}

impl Node {
    fn new(ports: Ports, slots: &'static str) -> Self {
        let mut node = Self { data: tempfile::tempdir().unwrap(), ports, slots, server: None };
        node.start(1);
        node
    }

    fn start(&mut self, shards: u32) {
        let slots = format!("ids.slots={}", self.slots);
        let flags = ["--role", "obelisk", "--set", "server.cluster_id=77", "--set", &slots];
        let extra = Extra { flags: &flags, ..Extra::default() };
        self.server = Some(ServerProcess::start_with(self.data.path(), self.ports, shards, extra));
    }

    fn kill(&mut self) {
        self.server.take().expect("it runs").kill();
    }
}

/// A source of ids of both nodes.
fn source(nodes: [&Node; 2]) -> IdSource {
    let addresses = nodes.map(|node| node.server.as_ref().expect("it runs").address());
    let config = IdConfig { block: LEASE, low_water: LEASE, wait: WAIT, ..IdConfig::default() };
    IdSource::connect(addresses, config).unwrap()
}

fn mint(ids: &mut IdSource, oracle: &mut Oracle, leases: u32) {
    for _ in 0..leases {
        // Whoever is told that there are none asks again.
        let some = loop {
            match ids.next_many(LEASE) {
                Err(ClientError::NoIds { .. }) => {}
                outcome => break outcome.unwrap(),
            }
        };
        oracle.note(&Dealt::Ids(some.collect()));
    }
}

#[test]
fn two_nodes_stand_in_for_each_other_and_blocks_for_both() {
    let ports = Ports::reserve();
    let mut one = Node::new(ports, "0-511");
    let mut other = Node::new(ports.reserve_another(), "512-1023");
    let mut ids = source([&one, &other]);
    let mut oracle = Oracle::default();
    mint(&mut ids, &mut oracle, 20);
    one.kill();
    mint(&mut ids, &mut oracle, 20);
    while ids.leased() < LEASE.into() {
        oracle.note(&Dealt::Ids(vec![ids.next().unwrap()]));
    }
    other.kill();
    let held: Vec<_> = std::iter::from_fn(|| ids.try_next()).collect();
    assert!(held.len() >= LEASE as usize, "it goes on from what it holds, {} ids", held.len());
    oracle.note(&Dealt::Ids(held));
    let error = ids.next().unwrap_err();
    assert!(matches!(error, ClientError::NoIds { .. }), "{error:?}");
    assert!(error.to_string().contains("no node dealt ids within 5s; lastly: "), "{error}");
    other.start(3);
    mint(&mut ids, &mut oracle, 20);
    one.start(2);
    other.kill();
    mint(&mut ids, &mut oracle, 20);
    let dealt = oracle.tally().0;
    assert!(dealt >= 81 * LEASE as usize, "{dealt} ids: all that was asked for, and what was held");
}

#[test]
fn two_nodes_with_one_slot_are_found_out_by_whoever_asks_both() {
    let ports = Ports::reserve();
    let (one, other) = (Node::new(ports, "7"), Node::new(ports.reserve_another(), "7"));
    let mut ids = source([&one, &other]);
    let error = (0..10_000).find_map(|_| ids.next_many(LEASE).err()).expect("both are asked");
    assert!(matches!(error, ClientError::SlotConflict { slot: 7, .. }), "{error:?}");
    assert_eq!(ids.try_next(), None, "nothing more");
}

/// Takes from a counter until it refuses, and returns how.
fn exhaust(client: &Client, counter: &'static str, oracle: &mut Oracle) -> ClientError {
    for _ in 0..200 {
        match client.counter_take(counter, 1_000) {
            Ok(taken) => oracle.note(&Dealt::Numbers(counter, taken)),
            Err(error) => return error,
        }
    }
    panic!("{counter} deals beyond any limit: {}", oracle.highest(counter));
}

fn code_of(error: &ClientError) -> Option<ErrorCode> {
    error.reply().and_then(pyralog_client::ErrorReply::code)
}

fn make(client: &Client) {
    for (name, mode) in COUNTERS {
        let config = CounterConfig { mode, block: BLOCK, ..CounterConfig::default() };
        client.create_counter(name, config).unwrap();
    }
    let config = LogConfig { partitions: 1, segment_bytes: 1 << 20, ..LogConfig::default() };
    client.create_log("kept", config).unwrap();
}

/// A life of the server in which all goes well: some ids, some numbers, some records.
fn a_good_life(place: (&Path, Ports), oracle: &mut Oracle, work: impl FnOnce(&Client)) {
    let server = ServerProcess::start(place.0, place.1, 2);
    let client = connect(&server.address());
    work(&client);
    let config = IdConfig { block: LEASE, low_water: LEASE, ..IdConfig::default() };
    let mut ids = IdSource::connect([server.address()], config).unwrap();
    oracle.note(&Dealt::Ids(ids.next_many(1_000).unwrap().collect()));
    for (counter, _) in COUNTERS {
        oracle.note(&Dealt::Numbers(counter, client.counter_take(counter, 10).unwrap()));
    }
    append(&server.address(), "kept", 10);
    oracle.read(&client, "kept");
    server.kill();
}

#[test]
fn a_file_size_limit_is_told_and_nothing_comes_twice() {
    let directory = tempfile::tempdir().unwrap();
    let place = (directory.path(), Ports::reserve());
    let mut oracle = Oracle::default();
    a_good_life(place, &mut oracle, make);

    // 32 or 64 KiB, which what it says on standard error has reached already.
    let said = directory.path().join("said");
    std::fs::write(&said, vec![b'\n'; 100_000]).unwrap();
    let extra = Extra { file_blocks: Some(64), stderr: Some(&said), ..Extra::default() };
    let server = ServerProcess::start_with(place.0, place.1, 2, extra);
    let client = connect(&server.address());
    for (counter, _) in COUNTERS {
        let error = exhaust(&client, counter, &mut oracle);
        assert_eq!(code_of(&error), Some(ErrorCode::NoSpace), "{counter}: {error}");
        assert!(error.to_string().contains("File too large"), "{counter}: {error}");
        let last = oracle.highest(counter);
        assert!(last > 20_000, "{counter} was refused after {last}");
        // What still fits is dealt, and nobody is the worse for the refusal.
        oracle.note(&Dealt::Numbers(counter, client.counter_take(counter, 1).unwrap()));
    }
    let config = IdConfig { wait: Duration::from_secs(2), ..IdConfig::default() };
    let error = IdSource::connect([server.address()], config).unwrap_err();
    assert_eq!(code_of(&error), Some(ErrorCode::StorageFailed), "{error}");
    let config = ProducerConfig {
        delivery_timeout: Duration::from_secs(2),
        linger: Duration::ZERO,
        ..ProducerConfig::default()
    };
    let mut producer = client.producer("kept", config).unwrap();
    let error = producer.send(Record::new(b"late")).unwrap().wait().unwrap_err();
    assert_eq!(code_of(&error), Some(ErrorCode::StorageFailed), "{error}");
    assert_eq!(numbers(&server.address(), "kept", 1), [(0..10).collect::<Vec<u64>>()]);
    client.ping().unwrap();
    server.terminate();

    a_good_life(place, &mut oracle, |_| {});
}
