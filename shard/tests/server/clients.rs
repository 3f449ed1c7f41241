//! The native client against the server: what a program that uses it gets.

use std::collections::BTreeMap;

use pyralog_client::{ClientConfig, ConsumerConfig, ProducerConfig, Record, Stop, blocking};
use pyralog_shard::ServerConfig;

use crate::support::*;

const RECORDS: usize = 20_000;

fn round_trip(config: ServerConfig) {
    let server = start(config);
    let address = server.addresses().listen.to_string();
    let client = blocking::Client::connect([address], ClientConfig::default()).unwrap();
    client.create_log("a", log_config(5)).unwrap();
    let mut producer = client.producer("a", ProducerConfig::default()).unwrap();
    for number in 0..RECORDS {
        let (key, value) = ((number % 97).to_string(), number.to_string());
        producer.send_detached(Record::keyed(key.as_bytes(), value.as_bytes())).unwrap();
    }
    producer.flush().unwrap();
    let config = ConsumerConfig { stop: Stop::AtEnd, ..ConsumerConfig::default() };
    let mut consumer = client.consumer("a", config).unwrap();
    let mut seen: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    while let Some(batch) = consumer.next().unwrap() {
        for record in batch.records() {
            let number = std::str::from_utf8(record.value.unwrap()).unwrap().parse().unwrap();
            seen.entry(record.key.unwrap().to_vec()).or_default().push(number);
        }
    }
    assert_eq!(seen.len(), 97);
    assert_eq!(seen.values().map(Vec::len).sum::<usize>(), RECORDS, "every record once");
    for (key, numbers) in seen {
        assert!(numbers.is_sorted(), "order within key {key:?}");
    }
    server.shutdown().unwrap();
}

#[test]
fn the_client_gets_back_what_it_has_sent_from_files() {
    let data = tempfile::tempdir().unwrap();
    round_trip(durable_config(3, data.path()));
}

#[test]
fn the_client_gets_back_what_it_has_sent_from_memory() {
    round_trip(memory_config(2));
}
