//! Records by key, and the ids of records.

use super::*;
use fake::{Fault, scarab};
use pyralog_client::{ClientError, ErrorCode, PartitionId};

/// A server with a log of three partitions that holds `a` = 1, 2, 3 and `b` = 4, and a client.
async fn keyed(key_faults: &'static [Fault]) -> (Fake, Client) {
    let (fake, client) = start(Manners { key_faults, ..Manners::default() }, 3).await;
    let mut producer = client.producer("events", eager(2)).await.unwrap();
    for (key, value) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4")] {
        let record = Record::keyed(key.as_bytes(), value.as_bytes());
        producer.send_detached(record).await.unwrap();
    }
    producer.close().await.unwrap();
    (fake, client)
}

async fn value(client: &Client, key: &str) -> Result<Option<String>, ClientError> {
    let found = client.latest("events", key.as_bytes()).await?;
    let value = |found: pyralog_client::LatestRecord| {
        let record = found.record();
        assert_eq!(record.key, Some(key.as_bytes()));
        assert_eq!(found.partition(), pyralog_client::partition_of_key(key.as_bytes(), 3));
        assert!(record.offset < found.high_watermark());
        String::from_utf8(record.value.unwrap().to_vec()).unwrap()
    };
    Ok(found.map(value))
}

#[test]
fn the_newest_record_with_a_key_is_found() {
    run(async {
        let (_fake, client) = keyed(&[]).await;
        assert_eq!(value(&client, "a").await.unwrap().as_deref(), Some("3"));
        assert_eq!(value(&client, "b").await.unwrap().as_deref(), Some("4"));
        assert_eq!(value(&client, "c").await.unwrap(), None);
        let mut keys = client.keys("events").await.unwrap();
        assert!(keys.latest(b"a").await.unwrap().is_some());
        let elsewhere = PartitionId::new((pyralog_client::partition_of_key(b"a", 3).get() + 1) % 3);
        assert!(keys.latest_in(elsewhere, b"a").await.unwrap().is_none());
        let beyond = keys.latest_in(PartitionId::new(3), b"a").await;
        assert!(matches!(beyond, Err(ClientError::Partition { partitions: 3, .. })));
    });
}

#[test]
fn what_may_pass_is_asked_for_again() {
    run(async {
        let faults = &[
            Fault::CloseBefore,
            Fault::Refuse(ErrorCode::NotOwner),
            Fault::Refuse(ErrorCode::Busy),
            Fault::Corrupt,
        ];
        let (_fake, client) = keyed(faults).await;
        assert_eq!(value(&client, "a").await.unwrap().as_deref(), Some("3"));
    });
}

#[test]
fn what_arrives_damaged_twice_is_an_error_and_so_is_a_log_without_the_index() {
    run(async {
        let faults = &[Fault::Corrupt, Fault::Corrupt, Fault::Refuse(ErrorCode::KeysNotIndexed)];
        let (_fake, client) = keyed(faults).await;
        let error = value(&client, "b").await.unwrap_err();
        assert!(matches!(error, ClientError::Corrupt { .. }), "{error}");
        let error = value(&client, "b").await.unwrap_err();
        assert!(error.reply().is_some_and(|reply| reply.is(ErrorCode::KeysNotIndexed)), "{error}");
    });
}

#[test]
fn a_reader_by_key_does_not_go_on_with_another_log() {
    run(async {
        let (fake, client) = keyed(&[]).await;
        let mut keys = client.keys("events").await.unwrap();
        fake.reborn(&["events"]).await;
        let error = keys.latest(b"a").await.unwrap_err();
        assert!(matches!(error, ClientError::LogReplaced { .. }), "{error}");
    });
}

#[test]
fn records_carry_their_ids_one_tick_after_the_other() {
    run(async {
        let (_fake, client) = start(Manners::default(), 1).await;
        produce(&client, eager(20), 50).await;
        let from = pyralog_client::StartFrom::Offset(pyralog_client::Offset::new(3));
        let config = ConsumerConfig { from, ..to_the_end() };
        let mut consumer = client.consumer("events", config).await.unwrap();
        let mut count = 0;
        while let Some(batch) = consumer.next().await.unwrap() {
            for record in batch.records() {
                assert_eq!(record.scarab(), Some(scarab(record.offset.get())));
                count += 1;
            }
        }
        assert_eq!(count, 47);
    });
}
