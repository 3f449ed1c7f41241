//! The Tokio shell against a small server that misbehaves on request.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail with them")]

mod admin;
mod blocking;
mod consuming;
mod counters;
mod fake;
mod handshake;
mod ids;
mod keys;
mod producing;
mod stored;

use std::time::Duration;

use pyralog_client::{
    Client, ClientConfig, ConsumerConfig, FetchedBatch, LogConfig, ProducerConfig, Record, Stop,
};

use fake::{Fake, Manners};

/// Runs a test on a runtime of one thread; a test that hangs fails.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_mins(1), test).await.expect("the test hangs")
    })
}

/// Short delays, so that tests of failures are quick.
fn config() -> ClientConfig {
    ClientConfig {
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(20),
        ..ClientConfig::default()
    }
}

/// A server with a log `events`, and a client.
async fn start(manners: Manners, partitions: u32) -> (Fake, Client) {
    let fake = Fake::start(manners).await;
    let client = Client::connect([&fake.address], config()).await.unwrap();
    client.create_log("events", LogConfig { partitions, ..LogConfig::default() }).await.unwrap();
    (fake, client)
}

/// A producer that sends at once, in batches of few records.
fn eager(records_max: usize) -> ProducerConfig {
    ProducerConfig { linger: Duration::ZERO, records_max, ..ProducerConfig::default() }
}

/// Sends `count` records with their numbers as values, and flushes.
async fn produce(client: &Client, config: ProducerConfig, count: u32) {
    let mut producer = client.producer("events", config).await.unwrap();
    for number in 0..count {
        producer.send_detached(Record::new(number.to_string().as_bytes())).await.unwrap();
    }
    producer.close().await.unwrap();
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn to_the_end() -> ConsumerConfig {
    ConsumerConfig { stop: Stop::AtEnd, ..ConsumerConfig::default() }
}

/// The values of a batch as text.
fn values(batch: &FetchedBatch) -> Vec<String> {
    let text =
        |value: Option<&[u8]>| String::from_utf8(value.unwrap_or_default().to_vec()).unwrap();
    batch.records().map(|record| text(record.value)).collect()
}

/// Reads a log to its end.
async fn consume(client: &Client, config: ConsumerConfig) -> Vec<String> {
    let mut consumer = client.consumer("events", config).await.unwrap();
    let mut all = Vec::new();
    while let Some(batch) = consumer.next().await.unwrap() {
        all.extend(values(&batch));
    }
    all
}
