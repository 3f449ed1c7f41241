//! Reading batches as they are stored.

use super::*;
use fake::Fault;
use pyralog_client::{Offset, PartitionId, Stored, StoredReader};
use pyralog_log::batch::{Item, Items};

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

/// Base offsets of the batches up to the end.
async fn bases(reader: &mut StoredReader) -> Vec<u64> {
    let mut bases = Vec::new();
    loop {
        match reader.next().await.unwrap() {
            Stored::Batches(batches) => {
                for item in Items::new(&batches.bytes) {
                    let Item::Batch(batch) = item.unwrap() else { continue };
                    bases.push(batch.header().owner.base_offset.get());
                }
            }
            Stored::End => return bases,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn batches_come_whole_from_the_one_that_holds_the_offset_to_the_end() {
    run(async {
        let (_fake, client) = filled(Manners::default()).await;
        for (from, first) in [(0, 0), (35, 30), (99, 90)] {
            let mut reader =
                client.stored("events", PartitionId::ZERO, Offset::new(from)).await.unwrap();
            let expected: Vec<u64> = (first / 10..10).map(|batch| batch * 10).collect();
            assert_eq!(bases(&mut reader).await, expected, "from {from}");
            assert_eq!(reader.position(), Offset::new(100));
        }
    });
}

#[test]
fn a_position_outside_is_told_and_not_moved() {
    run(async {
        let (_fake, client) = filled(Manners::default()).await;
        let mut reader =
            client.stored("events", PartitionId::ZERO, Offset::new(101)).await.unwrap();
        let told = reader.next().await.unwrap();
        let Stored::OutOfRange { low, high } = told else { panic!("{told:?}") };
        assert_eq!((low.get(), high.get()), (0, 100));
        reader.seek(Offset::new(90));
        assert_eq!(bases(&mut reader).await, [90]);
    });
}

#[test]
fn a_batch_that_arrives_damaged_is_asked_for_once_more() {
    const FAULTS: &[Fault] = &[Fault::Corrupt, Fault::CloseWithin];
    run(async {
        let (_fake, client) = filled(Manners { fetch_faults: FAULTS, ..Manners::default() }).await;
        let mut reader = client.stored("events", PartitionId::ZERO, Offset::ZERO).await.unwrap();
        assert_eq!(bases(&mut reader).await.len(), 10);
    });
}

#[test]
fn what_the_server_cannot_read_is_told_with_its_range() {
    const FAULTS: &[Fault] = &[Fault::Damaged(0, 45)];
    run(async {
        let (_fake, client) = filled(Manners { fetch_faults: FAULTS, ..Manners::default() }).await;
        let mut reader = client.stored("events", PartitionId::ZERO, Offset::ZERO).await.unwrap();
        let told = reader.next().await.unwrap();
        let Stored::Damaged { first, next } = told else { panic!("{told:?}") };
        assert_eq!((first.get(), next.get()), (0, 45));
        reader.seek(next);
        assert_eq!(bases(&mut reader).await.first(), Some(&40));
    });
}
