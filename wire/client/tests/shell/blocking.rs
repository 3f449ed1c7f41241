//! The blocking facade.

use super::*;
use pyralog_client::{ClientError, CounterConfig, CounterLease, IdConfig, blocking};

/// A server in a runtime of its own, and its address.
fn server() -> (tokio::runtime::Runtime, String) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    let address = runtime.block_on(async { start(Manners::default(), 2).await.0.address });
    (runtime, address)
}

#[test]
fn a_plain_thread_produces_and_consumes() {
    let (_runtime, address) = server();
    let client = blocking::Client::connect([address], config()).unwrap();
    let mut producer = client.producer("events", eager(10)).unwrap();
    for number in 0..200 {
        producer.send_detached(Record::new(number.to_string().as_bytes())).unwrap();
    }
    let last = producer.send(Record::new(b"200")).unwrap();
    assert!(!last.wait().unwrap().duplicate);
    producer.close().unwrap();

    let mut consumer = client.consumer("events", to_the_end()).unwrap();
    let mut all = Vec::new();
    while let Some(batch) = consumer.next().unwrap() {
        all.extend(values(&batch));
    }
    all.sort_unstable_by_key(|value| value.parse::<u32>().unwrap());
    assert_eq!(all, numbers(0..201));
    assert_eq!(client.list_logs("").unwrap().len(), 1);
    client.ping().unwrap();
}

#[test]
fn waiting_for_a_batch_can_be_limited() {
    let (_runtime, address) = server();
    let client = blocking::Client::connect([address], config()).unwrap();
    let mut consumer = client.consumer("events", ConsumerConfig::default()).unwrap();
    let error = consumer.next_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, ClientError::Timeout { operation: "next", .. }), "{error}");
    let mut producer = client.producer("events", eager(1)).unwrap();
    producer.send(Record::new(b"late")).unwrap().wait().unwrap();
    let batch = consumer.next_timeout(Duration::from_secs(30)).unwrap().unwrap();
    assert_eq!(values(&batch), ["late"]);
}

#[test]
fn inside_a_runtime_it_refuses_to_block() {
    let (_runtime, address) = server();
    let client = blocking::Client::connect([address.clone()], config()).unwrap();
    run(async move {
        let error = blocking::Client::connect([address], config()).unwrap_err();
        assert!(matches!(error, ClientError::InsideRuntime), "{error}");
        let error = client.ping().unwrap_err();
        assert!(matches!(error, ClientError::InsideRuntime), "{error}");
        // The last handle goes here, which must not panic.
        drop(client);
    });
}

#[test]
fn a_plain_thread_mints_ids_takes_numbers_and_reads_by_key() {
    let (_runtime, address) = server();
    let mut ids = blocking::IdSource::connect([address.clone()], IdConfig::default()).unwrap();
    let mut all: Vec<_> = ids.next_many(15_000).unwrap().collect();
    let mut other = ids.clone();
    let there = std::thread::spawn(move || -> Vec<_> {
        (0..15_000).map(|_| other.next().unwrap()).collect()
    });
    all.extend((0..15_000).map(|_| ids.next().unwrap()));
    all.extend(there.join().unwrap());
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 45_000);
    assert_eq!(ids.timestamps(10).unwrap().len(), 10);
    assert!(ids.leased() > 0 && ids.try_next().is_some());

    let client = blocking::Client::connect([address], config()).unwrap();
    client.create_counter("orders", CounterConfig::default()).unwrap();
    let mut counter = client.counter("orders", CounterLease::default()).unwrap();
    assert_eq!((counter.next().unwrap(), counter.try_next(), counter.left()), (1, Some(2), 998));
    assert_eq!(client.counter_take("orders", 5).unwrap(), 1001..1006);
    assert_eq!(client.list_counters("").unwrap().len(), 1);

    let mut producer = client.producer("events", eager(1)).unwrap();
    producer.send(Record::keyed(b"a", b"1")).unwrap().wait().unwrap();
    let found = client.latest("events", b"a").unwrap().unwrap();
    assert_eq!(found.record().value, Some(&b"1"[..]));
    assert!(client.keys("events").unwrap().latest(b"b").unwrap().is_none());
}
