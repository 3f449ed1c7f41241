//! Producers, and what may happen to their batches.

use super::*;
use fake::Fault;
use pyralog_client::{ClientError, ErrorCode, Offset, PartitionId, Partitioner, Retry};

/// Sends 100 records in batches of 10 through these faults and returns what the server has.
async fn through(append_faults: &'static [Fault]) -> (Vec<String>, pyralog_client::ProducerStats) {
    let (fake, client) = start(Manners { append_faults, ..Manners::default() }, 1).await;
    let mut producer = client.producer("events", eager(10)).await.unwrap();
    for number in 0..100 {
        producer.send_detached(Record::new(number.to_string().as_bytes())).await.unwrap();
    }
    producer.flush().await.unwrap();
    let stats = producer.stats();
    assert_eq!((stats.records_delivered, stats.records_failed, stats.buffered_bytes), (100, 0, 0));
    (fake.values(0).await, stats)
}

#[test]
fn every_record_learns_its_offset() {
    run(async {
        let (_fake, client) = start(Manners::default(), 1).await;
        let mut producer = client.producer("events", eager(7)).await.unwrap();
        let mut deliveries = Vec::new();
        for number in 0..50_u32 {
            let value = number.to_string();
            deliveries.push(producer.send(Record::new(value.as_bytes())).await.unwrap());
        }
        for (offset, delivery) in (0..).zip(deliveries) {
            let metadata = delivery.await.unwrap();
            assert_eq!(metadata.offset, Offset::new(offset));
            assert_eq!((metadata.partition, metadata.duplicate), (PartitionId::ZERO, false));
        }
        assert_eq!(producer.stats().records_delivered, 50);
    });
}

#[test]
fn a_record_alone_is_sent_without_a_flush() {
    run(async {
        let (fake, client) = start(Manners::default(), 1).await;
        let mut producer = client.producer("events", ProducerConfig::default()).await.unwrap();
        let delivery = producer.send(Record::new(b"alone")).await.unwrap();
        assert_eq!(delivery.await.unwrap().offset, Offset::ZERO);
        assert_eq!(fake.values(0).await, ["alone"]);
    });
}

#[test]
fn equal_keys_stay_in_one_partition_and_in_order() {
    run(async {
        let (fake, client) = start(Manners::default(), 4).await;
        let mut producer = client.producer("events", eager(3)).await.unwrap();
        for number in 0..200 {
            let (key, value) = (format!("key-{}", number % 10), number.to_string());
            producer.send_detached(Record::keyed(key.as_bytes(), value.as_bytes())).await.unwrap();
        }
        producer.flush().await.unwrap();
        let mut seen = [None; 10];
        let mut total = 0;
        for partition in 0..4 {
            for value in fake.values(partition).await {
                let number: usize = value.parse().unwrap();
                let last = seen[number % 10].replace((partition, number));
                assert!(last.is_none_or(|(place, last)| place == partition && last < number));
                total += 1;
            }
        }
        assert_eq!(total, 200);
    });
}

#[test]
fn records_without_keys_use_every_partition() {
    run(async {
        let (fake, client) = start(Manners::default(), 3).await;
        produce(&client, eager(10), 300).await;
        for partition in 0..3 {
            assert!(!fake.values(partition).await.is_empty(), "nothing in {partition}");
        }
        let fixed = Partitioner::Fixed(PartitionId::new(1));
        let before = fake.values(1).await.len();
        produce(&client, ProducerConfig { partitioner: fixed, ..eager(10) }, 20).await;
        assert_eq!(fake.values(1).await.len(), before + 20);
    });
}

#[test]
fn nothing_is_lost_or_doubled_when_connections_break() {
    use Fault::{CloseAfter, CloseBefore, CloseWithin};
    let (values, _) = run(through(&[CloseBefore, CloseBefore]));
    assert_eq!(values, numbers(0..100));
    let (values, stats) = run(through(&[CloseAfter]));
    assert_eq!(values, numbers(0..100));
    assert!(stats.duplicates > 0 && stats.retries > 0, "{stats:?}");
    let (values, stats) = run(through(&[CloseWithin, CloseAfter, CloseWithin, CloseBefore]));
    assert_eq!(values, numbers(0..100));
    assert!(stats.duplicates > 0, "{stats:?}");
}

#[test]
fn nothing_is_lost_or_doubled_when_the_server_refuses_for_now() {
    use Fault::{Busy, Refuse};
    let (values, _) = run(through(&[Busy(5), Busy(1)]));
    assert_eq!(values, numbers(0..100));
    let (values, _) = run(through(&[
        Refuse(ErrorCode::NotOwner),
        Refuse(ErrorCode::ShuttingDown),
        Refuse(ErrorCode::Internal),
    ]));
    assert_eq!(values, numbers(0..100));
}

#[test]
fn a_forgotten_session_is_replaced() {
    // The first batch begins the session, the second finds it forgotten.
    let (values, _) = run(through(&[Fault::Busy(0), Fault::Busy(0)]));
    assert_eq!(values, numbers(0..100));
    run(async {
        let (fake, client) = start(Manners::default(), 1).await;
        let mut producer = client.producer("events", eager(10)).await.unwrap();
        producer.send(Record::new(b"0")).await.unwrap().await.unwrap();
        fake.append_fault(Fault::ForgetSessions).await;
        producer.send(Record::new(b"1")).await.unwrap().await.unwrap();
        producer.send(Record::new(b"2")).await.unwrap().await.unwrap();
        assert_eq!(fake.values(0).await, numbers(0..3));
    });
}

#[test]
fn an_unknown_outcome_is_said_to_be_one_and_later_records_go_on() {
    run(async {
        let (fake, client) = start(Manners::default(), 1).await;
        let mut producer = client.producer("events", eager(1)).await.unwrap();
        producer.send(Record::new(b"0")).await.unwrap().await.unwrap();
        fake.append_fault(Fault::CloseAfter).await;
        fake.append_fault(Fault::ForgetSessions).await;
        let doubtful = producer.send(Record::new(b"1")).await.unwrap();
        let error = doubtful.await.unwrap_err();
        assert!(matches!(error, ClientError::OutcomeUnknown { attempts: 2 }), "{error}");
        assert!(error.is_outcome_unknown());
        producer.send(Record::new(b"2")).await.unwrap().await.unwrap();
        assert_eq!(fake.values(0).await, numbers(0..3), "once, as it happens");
        let flushed = producer.flush().await.unwrap_err();
        assert!(matches!(flushed, ClientError::Undelivered { records: 1, .. }), "{flushed}");
        producer.flush().await.unwrap();
    });
}

#[test]
fn what_the_server_never_takes_fails_alone() {
    run(async {
        let append_faults = &[Fault::Refuse(ErrorCode::InvalidBatch)];
        let (fake, client) = start(Manners { append_faults, ..Manners::default() }, 1).await;
        let mut producer = client.producer("events", eager(10)).await.unwrap();
        let mut outcomes = Vec::new();
        let mut deliveries = Vec::new();
        for number in 0..30 {
            let value = number.to_string();
            deliveries.push(producer.send(Record::new(value.as_bytes())).await.unwrap());
        }
        for delivery in deliveries {
            outcomes.push(delivery.await);
        }
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        let refused = outcomes[0].as_ref().unwrap_err();
        assert!(refused.reply().is_some_and(|reply| reply.retry == Retry::Never), "{refused}");
        let expected: u32 = failed.try_into().unwrap();
        assert_eq!(fake.values(0).await, numbers(expected..30));
        assert_eq!(producer.stats().records_failed, u64::from(expected));
    });
}

#[test]
fn a_server_that_does_not_answer_costs_the_deadline_and_no_more() {
    run(async {
        let append_faults = &[Fault::Swallow; 64];
        let (_fake, client) = start(Manners { append_faults, ..Manners::default() }, 1).await;
        let delivery_timeout = Duration::from_millis(200);
        let config = ProducerConfig { delivery_timeout, ..eager(10) };
        let mut producer = client.producer("events", config).await.unwrap();
        let error = producer.send(Record::new(b"0")).await.unwrap().await.unwrap_err();
        let expected = matches!(
            error,
            ClientError::DeliveryTimeout { after, attempts: 1, maybe_appended: true, .. }
                if after == delivery_timeout
        );
        assert!(expected, "{error}");
        assert!(error.is_unavailable() && error.is_outcome_unknown());
    });
}

#[test]
fn an_attempt_without_an_answer_is_repeated_over_another_connection() {
    run(async {
        let append_faults = &[Fault::Swallow];
        let manners = Manners { append_faults, ..Manners::default() };
        let fake = Fake::start(manners).await;
        let request_timeout = Duration::from_millis(200);
        let config = ClientConfig { request_timeout, ..config() };
        let client = Client::connect([&fake.address], config).await.unwrap();
        client.create_log("events", LogConfig::default()).await.unwrap();
        let mut producer = client.producer("events", eager(10)).await.unwrap();
        let metadata = producer.send(Record::new(b"0")).await.unwrap().await.unwrap();
        assert!(metadata.duplicate);
        assert_eq!(fake.values(0).await, ["0"]);
    });
}

#[test]
fn a_full_buffer_makes_senders_wait_and_says_so_to_those_who_do_not() {
    run(async {
        let append_faults = &[Fault::Swallow; 64];
        let (_fake, client) = start(Manners { append_faults, ..Manners::default() }, 1).await;
        let config = ProducerConfig {
            batch_bytes: 4096,
            buffer_bytes: 8192,
            delivery_timeout: Duration::from_millis(300),
            ..ProducerConfig::default()
        };
        let mut producer = client.producer("events", config).await.unwrap();
        let record = Record::new(&[7; 1000]);
        let mut taken = 0;
        let full = loop {
            match producer.try_send_detached(record) {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(full, ClientError::BufferFull), "{full}");
        assert!((7..=9).contains(&taken), "{taken} records in 8 KiB");
        let waiting = tokio::time::timeout(Duration::from_millis(20), producer.send(record)).await;
        assert!(waiting.is_err(), "it waits");
        // The deadline of what is held makes room.
        producer.send_detached(record).await.unwrap();
    });
}

#[test]
fn a_record_that_fits_no_batch_is_refused_and_the_others_are_not_harmed() {
    run(async {
        let (fake, client) = start(Manners::default(), 1).await;
        let mut producer = client.producer("events", ProducerConfig::default()).await.unwrap();
        producer.send_detached(Record::new(b"0")).await.unwrap();
        let large = vec![0; (4 << 20) + 1];
        let error = producer.send(Record::new(&large)).await.unwrap_err();
        assert!(matches!(error, ClientError::Record(_)), "{error}");
        let partition = PartitionId::new(5);
        let error = producer.send(Record::new(b"x").to_partition(partition)).await.unwrap_err();
        assert!(matches!(error, ClientError::Partition { partitions: 1, .. }), "{error}");
        producer.send_detached(Record::new(b"1")).await.unwrap();
        producer.flush().await.unwrap();
        assert_eq!(fake.values(0).await, numbers(0..2));
    });
}

#[test]
fn a_deleted_log_fails_its_records() {
    run(async {
        let (_fake, client) = start(Manners::default(), 1).await;
        let mut producer = client.producer("events", eager(10)).await.unwrap();
        client.delete_log("events").await.unwrap();
        client.create_log("events", LogConfig::default()).await.unwrap();
        let error = producer.send(Record::new(b"0")).await.unwrap().await.unwrap_err();
        assert!(matches!(error, ClientError::LogReplaced { .. }), "another log now: {error}");
        client.delete_log("events").await.unwrap();
        let mut producer = producer_of_a_log_that_goes(&client).await;
        let error = producer.send(Record::new(b"0")).await.unwrap().await.unwrap_err();
        assert!(matches!(error, ClientError::UnknownLog { .. }), "no such log now: {error}");
    });
}

async fn producer_of_a_log_that_goes(client: &Client) -> pyralog_client::Producer {
    client.create_log("passing", LogConfig::default()).await.unwrap();
    let producer = client.producer("passing", eager(10)).await.unwrap();
    client.delete_log("passing").await.unwrap();
    producer
}

#[test]
fn a_producer_never_sends_to_another_clusters_log_that_has_its_id() {
    run(async {
        for there_now in [&["another"][..], &["another", "events"], &["events"]] {
            let (fake, client) = start(Manners::default(), 1).await;
            let mut producer = client.producer("events", eager(10)).await.unwrap();
            producer.send(Record::new(b"0")).await.unwrap().await.unwrap();
            fake.append_fault(Fault::Swallow).await;
            let flying = producer.send(Record::new(b"1")).await.unwrap();
            while fake.values(0).await.len() < 2 {}
            fake.reborn(there_now).await;
            let error = flying.await.unwrap_err();
            assert!(error.is_outcome_unknown(), "the former cluster may have it: {error}");
            let error = producer.send(Record::new(b"2")).await.unwrap().await.unwrap_err();
            let replaced = there_now.contains(&"events");
            let expected = match &error {
                ClientError::LogReplaced { name } => replaced && name == "events",
                ClientError::UnknownLog { name } => !replaced && name == "events",
                _ => false,
            };
            assert!(expected, "{there_now:?}: {error}");
            assert_eq!(fake.values(0).await, [] as [&str; 0], "in the log with id 1");
            // A new producer is one of the log that is there now.
            if replaced {
                produce(&client, eager(10), 3).await;
            }
        }
    });
}

#[test]
fn what_waits_for_a_connection_is_sent_again_when_that_takes_too_long() {
    run(async {
        let manners = Manners { greeting: fake::Greeting::SilentOnce, ..Manners::default() };
        let fake = Fake::start(manners).await;
        let config = ClientConfig {
            connect_timeout: Duration::from_millis(400),
            request_timeout: Duration::from_millis(150),
            ..config()
        };
        let client = Client::connect([&fake.address], config).await.unwrap();
        let log = LogConfig { partitions: 2, ..LogConfig::default() };
        client.create_log("events", log).await.unwrap();
        // Shard 1 has no connection yet, and the first attempt to make one hangs.
        let config = ProducerConfig {
            partitioner: Partitioner::Fixed(PartitionId::new(1)),
            delivery_timeout: Duration::from_secs(20),
            ..eager(10)
        };
        let mut producer = client.producer("events", config).await.unwrap();
        producer.send(Record::new(b"0")).await.unwrap().await.unwrap();
        assert_eq!(fake.values(1).await, ["0"]);
    });
}

#[test]
fn a_dropped_producer_goes_on_delivering() {
    run(async {
        let (fake, client) = start(Manners::default(), 1).await;
        let linger = Duration::from_secs(10);
        let config = ProducerConfig { linger, ..ProducerConfig::default() };
        let mut producer = client.producer("events", config).await.unwrap();
        let delivery = producer.send(Record::new(b"0")).await.unwrap();
        drop(producer);
        delivery.await.unwrap();
        assert_eq!(fake.values(0).await, ["0"]);
    });
}

#[test]
fn one_request_of_credit_is_enough() {
    run(async {
        let (fake, client) = start(Manners { credit_requests: 1, ..Manners::default() }, 2).await;
        produce(&client, eager(5), 200).await;
        let mut all = fake.values(0).await;
        all.extend(fake.values(1).await);
        assert_eq!(all.len(), 200);
    });
}

#[test]
fn compressed_batches_and_headers_arrive_as_they_were() {
    run(async {
        let (_fake, client) = start(Manners::default(), 1).await;
        for codec in pyralog_client::Codec::ALL {
            let config = ProducerConfig { codec, ..ProducerConfig::default() };
            let mut producer = client.producer("events", config).await.unwrap();
            let headers: [(&str, Option<&[u8]>); 2] = [("a", Some(b"1")), ("b", None)];
            let value = [b'x'; 2000];
            let record = Record::keyed(b"key", &value).with_headers(&headers);
            producer.send(record).await.unwrap().await.unwrap();
            producer.send(Record::tombstone(b"key")).await.unwrap().await.unwrap();
        }
        let mut consumer = client.consumer("events", to_the_end()).await.unwrap();
        let mut rows = 0;
        while let Some(batch) = consumer.next().await.unwrap() {
            for row in batch.records() {
                assert_eq!(row.key, Some(&b"key"[..]));
                let whole = row.value.is_some();
                assert!(row.value.is_none_or(|value| value == [b'x'; 2000]));
                assert_eq!(row.headers.len(), if whole { 2 } else { 0 });
                assert!(row.create_time.get() >= 1_000_000, "the server's clock");
                rows += 1;
            }
        }
        assert_eq!(rows, 6);
    });
}
