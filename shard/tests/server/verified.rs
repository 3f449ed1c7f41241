//! Consumers that verify, against a server that is honest: everything comes, once, in order, and no sooner than it is proven.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pyralog_client::blocking::{Client, Consumer};
use pyralog_client::{
    ClientConfig, ClientError, ConsumerConfig, FetchedBatch, OnOutOfRange, ProducerConfig,
    PublicKey, Record, StartFrom, Stop, Unverified, Verify,
};
use pyralog_log::ids::{Offset, PartitionId};
use pyralog_log::proof::{Distrust, NodeKey};
use pyralog_shard::{Server, ServerConfig, node_key};
use pyralog_wire::{Integrity, LogConfig};

use crate::support::*;

fn serve(data: &Path, checkpoint_interval: Duration) -> (Server, Client) {
    let server = start(ServerConfig { checkpoint_interval, ..durable_config(2, data) });
    let address = server.addresses().listen.to_string();
    let client = Client::connect([address], ClientConfig::default()).unwrap();
    (server, client)
}

fn create(client: &Client, partitions: u32) {
    let integrity = Integrity::Signed;
    let config = LogConfig { integrity, segment_bytes: 1 << 20, ..log_config(partitions) };
    client.create_log("ledger", config).unwrap();
}

/// Every batch, by the key of the server that keeps its data there.
fn every(data: &Path) -> ConsumerConfig {
    let key = node_key::read(data).unwrap().expect("it was made at the start").public();
    ConsumerConfig { verify: Verify::Every, keys: vec![key], ..ConsumerConfig::default() }
}

/// Appends numbers, a batch of `size` at a time, to every partition in turn.
fn produce(client: &Client, numbers: std::ops::Range<u32>, size: usize) {
    let config = ProducerConfig { records_max: size, ..ProducerConfig::default() };
    let mut producer = client.producer("ledger", config).unwrap();
    for number in numbers {
        let (key, value) = ((number % 97).to_string(), number.to_string());
        producer.send_detached(Record::keyed(key.as_bytes(), value.as_bytes())).unwrap();
        if number as usize % size == size - 1 {
            producer.flush().unwrap();
        }
    }
    producer.close().unwrap();
}

fn numbers(batch: &FetchedBatch) -> Vec<u32> {
    let number = |value: &[u8]| std::str::from_utf8(value).unwrap().parse().unwrap();
    batch.records().map(|record| number(record.value.unwrap())).collect()
}

/// Reads until there are `count` records, or to the end.
fn read(consumer: &mut Consumer, count: usize) -> Result<Vec<u32>, ClientError> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let Some(batch) = consumer.next()? else { break };
        seen.extend(numbers(&batch));
    }
    Ok(seen)
}

#[test]
fn who_verifies_gets_everything_while_it_is_written() {
    let data = tempfile::tempdir().unwrap();
    let (server, client) = serve(data.path(), Duration::from_millis(10));
    create(&client, 3);
    let trust_file = Some(data.path().join("trust"));
    let sampled = ConsumerConfig { verify: Verify::Sampled(3), ..every(data.path()) };
    let every = ConsumerConfig { trust_file, ..every(data.path()) };
    let readers: Vec<_> = [every.clone(), sampled]
        .map(|config| {
            let mut consumer = client.consumer("ledger", config).unwrap();
            std::thread::spawn(move || read(&mut consumer, 20_000).unwrap())
        })
        .into();
    produce(&client, 0..20_000, 50);
    for reader in readers {
        let mut by_key: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for number in reader.join().unwrap() {
            by_key.entry(number % 97).or_default().push(number);
        }
        assert_eq!(by_key.values().map(Vec::len).sum::<usize>(), 20_000, "each once");
        assert!(by_key.values().all(|numbers| numbers.is_sorted()), "in order");
    }
    // Once more, from what is remembered, to the end.
    let again = ConsumerConfig { stop: Stop::AtEnd, ..every };
    let mut consumer = client.consumer("ledger", again).unwrap();
    assert_eq!(read(&mut consumer, usize::MAX).unwrap().len(), 20_000);
    server.shutdown().unwrap();
}

#[test]
fn what_no_checkpoint_covers_is_held_back_and_samples_are_not() {
    let data = tempfile::tempdir().unwrap();
    let (server, client) = serve(data.path(), Duration::from_hours(1));
    create(&client, 1);
    let held_back = every(data.path());
    let sampled = ConsumerConfig { verify: Verify::Sampled(1), ..held_back.clone() };
    produce(&client, 0..10, 10);
    let mut sampled = client.consumer("ledger", sampled).unwrap();
    assert_eq!(read(&mut sampled, 10).unwrap().len(), 10);
    let mut held_back = client.consumer("ledger", held_back).unwrap();
    // Once the first checkpoint is made there is none for an hour; this is behind it.
    while client.checkpoint("ledger", PartitionId::ZERO).unwrap().checkpoint.is_none() {
        std::thread::yield_now();
    }
    produce(&client, 10..20, 10);
    assert_eq!(read(&mut sampled, 10).unwrap().len(), 10);
    let mut seen = Vec::new();
    while let Ok(Some(batch)) = held_back.next_timeout(Duration::from_millis(300)) {
        seen.extend(numbers(&batch));
    }
    assert!(seen.len() <= 10, "{seen:?} came without a proof");
    server.shutdown().unwrap();
}

#[test]
fn seeks_and_truncation_are_no_tampering() {
    let data = tempfile::tempdir().unwrap();
    let (server, client) = serve(data.path(), Duration::from_millis(10));
    create(&client, 1);
    produce(&client, 0..1_000, 10);
    let config = ConsumerConfig {
        on_out_of_range: OnOutOfRange::Earliest,
        bytes_max: 4096,
        ..every(data.path())
    };
    let mut consumer = client.consumer("ledger", config).unwrap();
    let partition = PartitionId::ZERO;
    let from = |consumer: &mut Consumer, offset: u64| {
        consumer.seek(partition, StartFrom::Offset(Offset::new(offset))).unwrap();
        numbers(&consumer.next().unwrap().unwrap())[0]
    };
    assert_eq!(read(&mut consumer, 10).unwrap()[0], 0);
    for offset in [995, 17, 500, 501, 0] {
        assert_eq!(u64::from(from(&mut consumer, offset)), offset);
    }
    client.truncate_before("ledger", partition, Offset::new(333)).unwrap();
    assert_eq!(from(&mut consumer, 20), 333, "from the record on that is the oldest now");
    let rest = read(&mut consumer, 1_000 - 340).unwrap();
    assert_eq!((rest[0], rest.last()), (340, Some(&999)));
    server.shutdown().unwrap();
}

#[test]
fn a_key_that_is_not_pinned_is_told_with_log_and_offsets_and_ends_the_partition() {
    let data = tempfile::tempdir().unwrap();
    let (server, client) = serve(data.path(), Duration::from_millis(10));
    create(&client, 1);
    produce(&client, 0..10, 10);
    // By now a checkpoint covers them.
    let stop = Stop::AtEnd;
    let sound = ConsumerConfig { stop, ..every(data.path()) };
    assert_eq!(read(&mut client.consumer("ledger", sound.clone()).unwrap(), 10).unwrap().len(), 10);
    let other: PublicKey = NodeKey::from_seed(&[7; 32]).public();
    let config = ConsumerConfig { keys: vec![other], ..sound };
    let mut consumer = client.consumer("ledger", config).unwrap();
    let refused = consumer.next().unwrap_err();
    let ClientError::Unverified { log, partition, offsets, source } = &refused else {
        panic!("{refused}")
    };
    assert_eq!((log.as_str(), *partition), ("ledger", PartitionId::ZERO));
    assert_eq!((offsets.start.get(), offsets.end.get()), (0, 10));
    assert!(matches!(**source, Unverified::Distrust(Distrust::Key { .. })), "{source}");
    assert!(consumer.next().unwrap().is_none(), "nothing of it comes");
    assert!(matches!(consumer.skip(&refused), Err(ClientError::NothingToSkip)));
    // Going elsewhere does not help.
    consumer.seek(PartitionId::ZERO, StartFrom::Offset(Offset::new(5))).unwrap();
    assert!(matches!(consumer.next(), Err(ClientError::Unverified { .. })));
    server.shutdown().unwrap();
}
