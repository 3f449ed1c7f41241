//! Consumers, and what may happen to their fetches.

use super::*;
use fake::Fault;
use pyralog_client::{
    ClientError, ErrorCode, Offset, OnOutOfRange, PartitionId, StartFrom, Timestamp,
};

const P0: PartitionId = PartitionId::ZERO;

/// A log of 100 records in batches of 10.
async fn filled(manners: Manners) -> (Fake, Client) {
    let (fake, client) = start(manners, 1).await;
    let mut producer = client.producer("events", eager(10)).await.unwrap();
    for number in 0..100 {
        producer.send_detached(Record::new(number.to_string().as_bytes())).await.unwrap();
        if number % 10 == 9 {
            producer.flush().await.unwrap();
        }
    }
    (fake, client)
}

fn from(from: StartFrom) -> ConsumerConfig {
    ConsumerConfig { from, ..to_the_end() }
}

#[test]
fn reading_begins_anywhere_to_the_record() {
    run(async {
        let (_fake, client) = filled(Manners::default()).await;
        assert_eq!(consume(&client, from(StartFrom::Earliest)).await, numbers(0..100));
        assert_eq!(consume(&client, from(StartFrom::Latest)).await, numbers(0..0));
        let offset = StartFrom::Offset(Offset::new(37));
        assert_eq!(consume(&client, from(offset)).await, numbers(37..100));
        // In the fake server the base offset of a batch stands for its time.
        let time = StartFrom::Time(Timestamp::new(41));
        assert_eq!(consume(&client, from(time)).await, numbers(50..100));
    });
}

#[test]
fn small_fetches_return_at_least_a_batch_each() {
    run(async {
        let (_fake, client) = filled(Manners::default()).await;
        let config = ConsumerConfig { bytes_max: 1, ..to_the_end() };
        assert_eq!(consume(&client, config).await, numbers(0..100));
    });
}

#[test]
fn several_partitions_are_read_or_only_some() {
    run(async {
        let (fake, client) = start(Manners::default(), 3).await;
        produce(&client, eager(10), 300).await;
        let mut all = consume(&client, to_the_end()).await;
        all.sort_unstable_by_key(|value| value.parse::<u32>().unwrap());
        assert_eq!(all, numbers(0..300));
        let partitions = vec![PartitionId::new(1)];
        let one = consume(&client, ConsumerConfig { partitions, ..to_the_end() }).await;
        assert_eq!(one, fake.values(1).await);
        let partitions = vec![PartitionId::new(3)];
        let beyond = ConsumerConfig { partitions, ..to_the_end() };
        let error = client.consumer("events", beyond).await.unwrap_err();
        assert!(matches!(error, ClientError::Partition { partitions: 3, .. }), "{error}");
    });
}

#[test]
fn the_tail_is_waited_for() {
    run(async {
        let (_fake, client) = start(Manners::default(), 1).await;
        let config = ConsumerConfig { from: StartFrom::Latest, ..ConsumerConfig::default() };
        let mut consumer = client.consumer("events", config).await.unwrap();
        let mut producer = client.producer("events", eager(1)).await.unwrap();
        // Dropped midway, nothing is lost.
        let early = tokio::time::timeout(Duration::from_millis(50), consumer.next()).await;
        assert!(early.is_err());
        for number in 0..5 {
            producer.send(Record::new(number.to_string().as_bytes())).await.unwrap().await.unwrap();
            let batch = consumer.next().await.unwrap().unwrap();
            assert_eq!(values(&batch), [number.to_string()]);
            assert_eq!(batch.high_watermark(), Offset::new(number + 1));
        }
        assert_eq!(consumer.positions(), [(P0, Offset::new(5))]);
    });
}

#[test]
fn records_are_views_of_aligned_receive_buffers() {
    run(async {
        let (_fake, client) = filled(Manners::default()).await;
        let mut consumer = client.consumer("events", to_the_end()).await.unwrap();
        let batch = consumer.next().await.unwrap().unwrap();
        let column = batch.arrow().to_record_batch().unwrap();
        let values = column.column_by_name("value").unwrap().to_data();
        let first = batch.records().next().unwrap().value.unwrap();
        assert_eq!(values.buffers()[1].as_ptr(), first.as_ptr());
    });
}

#[test]
fn broken_connections_and_refusals_are_bridged() {
    run(async {
        let fetch_faults = &[
            Fault::CloseBefore,
            Fault::Refuse(ErrorCode::Busy),
            Fault::Refuse(ErrorCode::NotOwner),
            Fault::Refuse(ErrorCode::ReadFailed),
        ];
        let (_fake, client) = filled(Manners { fetch_faults, ..Manners::default() }).await;
        assert_eq!(consume(&client, to_the_end()).await, numbers(0..100));
    });
}

#[test]
fn a_batch_that_arrives_damaged_is_fetched_again() {
    run(async {
        let fetch_faults = &[Fault::Corrupt];
        let (_fake, client) = filled(Manners { fetch_faults, ..Manners::default() }).await;
        assert_eq!(consume(&client, to_the_end()).await, numbers(0..100));
    });
}

#[test]
fn a_batch_that_is_damaged_twice_is_an_error_and_can_be_skipped() {
    run(async {
        let fetch_faults = &[Fault::Corrupt; 2];
        let (_fake, client) = filled(Manners { fetch_faults, ..Manners::default() }).await;
        let mut consumer = client.consumer("events", to_the_end()).await.unwrap();
        let mut read = Vec::new();
        let error = loop {
            match consumer.next().await {
                Ok(Some(batch)) => read.extend(values(&batch)),
                Ok(None) => panic!("it ends before the error"),
                Err(error) => break error,
            }
        };
        assert_eq!(read, numbers(0..90), "what was sound");
        let ClientError::Corrupt { partition: P0, ref offsets, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(*offsets, Offset::new(90)..Offset::new(100));
        assert!(consumer.next().await.unwrap().is_none(), "nothing comes by itself");
        consumer.skip(&error).await.unwrap();
        assert!(consumer.next().await.unwrap().is_none(), "there is nothing behind it");
        consumer.seek(P0, StartFrom::Offset(Offset::new(90))).await.unwrap();
        let batch = consumer.next().await.unwrap().unwrap();
        assert_eq!(values(&batch), numbers(90..100));
    });
}

#[test]
fn damage_on_the_servers_disk_is_named_and_can_be_skipped() {
    run(async {
        let fetch_faults = &[Fault::Damaged(0, 45)];
        let (_fake, client) = filled(Manners { fetch_faults, ..Manners::default() }).await;
        let mut consumer = client.consumer("events", to_the_end()).await.unwrap();
        let error = consumer.next().await.unwrap_err();
        assert!(error.to_string().contains("0 to 45"), "{error}");
        consumer.skip(&error).await.unwrap();
        let mut read = Vec::new();
        while let Some(batch) = consumer.next().await.unwrap() {
            read.extend(values(&batch));
        }
        assert_eq!(read, numbers(45..100));
        let other = consumer.skip(&ClientError::Closed).await.unwrap_err();
        assert!(matches!(other, ClientError::NothingToSkip));
    });
}

#[test]
fn a_position_outside_the_log_follows_the_policy() {
    run(async {
        let (fake, client) = filled(Manners::default()).await;
        fake.trim(0, 40).await;
        let early = from(StartFrom::Offset(Offset::new(7)));
        let mut consumer = client.consumer("events", early.clone()).await.unwrap();
        match consumer.next().await.unwrap_err() {
            ClientError::OutOfRange { partition: P0, asked, low, high } => {
                assert_eq!(asked, Some(Offset::new(7)));
                assert_eq!((low, high), (Offset::new(40), Offset::new(100)));
            }
            other => panic!("{other}"),
        }
        let on_out_of_range = OnOutOfRange::Earliest;
        let config = ConsumerConfig { on_out_of_range, ..early.clone() };
        assert_eq!(consume(&client, config).await, numbers(40..100));
        let config = ConsumerConfig { on_out_of_range: OnOutOfRange::Latest, ..early };
        assert_eq!(consume(&client, config).await, numbers(0..0));
    });
}

#[test]
fn what_was_fetched_before_a_seek_is_not_handed_out_after_it() {
    run(async {
        let (_fake, client) = filled(Manners::default()).await;
        let small = ConsumerConfig { bytes_max: 1, ..to_the_end() };
        let mut consumer = client.consumer("events", small).await.unwrap();
        assert_eq!(values(&consumer.next().await.unwrap().unwrap()), numbers(0..10));
        // The answer to the next fetch comes before that to a ping sent after it.
        for _ in 0..3 {
            client.ping().await.unwrap();
        }
        consumer.seek(P0, StartFrom::Offset(Offset::new(55))).await.unwrap();
        assert_eq!(values(&consumer.next().await.unwrap().unwrap()), numbers(55..60));
        assert_eq!(consumer.positions(), [(P0, Offset::new(60))]);
        let error = consumer.seek(PartitionId::new(1), StartFrom::Latest).await.unwrap_err();
        assert!(matches!(error, ClientError::Partition { .. }), "{error}");
    });
}

#[test]
fn the_next_fetch_goes_out_while_records_arrive() {
    run(async {
        // Each fetch but the last brings the rest of the answer to the one before it.
        let fetch_faults = &[Fault::HoldBack; 9];
        let (fake, client) = filled(Manners { fetch_faults, ..Manners::default() }).await;
        let small = ConsumerConfig { bytes_max: 1, ..to_the_end() };
        assert_eq!(consume(&client, small).await, numbers(0..100));
        assert_eq!(fake.fetches().await, 10, "none behind the end");
    });
}

#[test]
fn a_consumer_that_takes_nothing_stops_the_fetching() {
    run(async {
        let (fake, client) = filled(Manners::default()).await;
        let small = ConsumerConfig { bytes_max: 1, ..to_the_end() };
        let mut consumer = client.consumer("events", small).await.unwrap();
        for taken in 1..=6 {
            consumer.next().await.unwrap().unwrap();
            // Enough for all fetches that are not stopped.
            for _ in 0..30 {
                client.ping().await.unwrap();
            }
            let (asked, ahead) = (fake.fetches().await, 3);
            assert!(asked <= taken + ahead, "{asked} fetches when {taken} answers were taken");
        }
    });
}

#[test]
fn a_fetch_ahead_of_damage_is_forgotten() {
    run(async {
        let fetch_faults = &[Fault::Corrupt];
        let (fake, client) = filled(Manners { fetch_faults, ..Manners::default() }).await;
        let small = ConsumerConfig { bytes_max: 1, ..to_the_end() };
        assert_eq!(consume(&client, small).await, numbers(0..100));
        assert_eq!(fake.fetches().await, 12, "the damaged one and that behind it came twice");
    });
}

#[test]
fn a_deleted_log_is_an_error() {
    run(async {
        let (_fake, client) = filled(Manners::default()).await;
        let config = ConsumerConfig { wait: Duration::ZERO, ..ConsumerConfig::default() };
        let mut consumer = client.consumer("events", config).await.unwrap();
        client.delete_log("events").await.unwrap();
        let error = loop {
            if let Err(error) = consumer.next().await {
                break error;
            }
        };
        assert!(matches!(error, ClientError::UnknownLog { .. }), "{error}");
    });
}

#[test]
fn a_slow_consumer_holds_up_nobody_else() {
    run(async {
        let (_fake, client) = filled(Manners::default()).await;
        let small = ConsumerConfig { bytes_max: 1, ..to_the_end() };
        let mut slow = client.consumer("events", small.clone()).await.unwrap();
        slow.next().await.unwrap().unwrap();
        assert_eq!(consume(&client, small).await, numbers(0..100));
        let mut rest = 0;
        while let Some(batch) = slow.next().await.unwrap() {
            rest += batch.len();
        }
        assert_eq!(rest, 90);
    });
}

#[test]
fn a_consumer_never_reads_another_clusters_log_that_has_its_id() {
    run(async {
        let (fake, client) = start(Manners::default(), 1).await;
        produce(&client, eager(10), 5).await;
        let mut consumer = client.consumer("events", ConsumerConfig::default()).await.unwrap();
        assert_eq!(values(&consumer.next().await.unwrap().unwrap()), numbers(0..5));
        fake.reborn(&["events"]).await;
        // Six records more than the consumer has seen, in the log with the same id and name.
        let stranger = Client::connect([&fake.address], config()).await.unwrap();
        produce(&stranger, eager(20), 11).await;
        let error = consumer.next().await.unwrap_err();
        assert!(matches!(error, ClientError::LogReplaced { .. }), "{error}");
        // Also elsewhere in it.
        consumer.seek(PartitionId::ZERO, StartFrom::Earliest).await.unwrap();
        let error = consumer.next().await.unwrap_err();
        assert!(matches!(error, ClientError::LogReplaced { .. }), "{error}");
        assert!(consumer.next().await.unwrap().is_none());
        // A new consumer is one of the log that is there now.
        assert_eq!(consume(&client, to_the_end()).await, numbers(0..11));
    });
}
