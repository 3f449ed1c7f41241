//! Partitions made from kept batches: whole, behind what retention took, with holes, and with what compaction left.

use super::harness::unsealed_batches;
use super::*;
use crate::batch::{BatchHeader, Items, Owner, seal_behind_gap};
use crate::restore::{PartitionRestore, RestoreError, RestoredPartition};

/// Sealed batches of two records each, from offset zero.
async fn kept(bench: &Bench, count: u64) -> Vec<Vec<u8>> {
    let (partition, _) = bench.open().await;
    for at in 0..count {
        let batch = unsealed(at, 40_000, 2, session(9, at * 2));
        bench.append(&partition, &batch, Durability::Synced).await.unwrap();
    }
    let (mut next, mut all) = (Offset::ZERO, Vec::new());
    while next < partition.watermarks().high {
        let read = partition.read(next, 300_000).await.unwrap();
        for slice in &read.slices {
            all.extend(Items::new(slice).batches().map(|batch| batch.unwrap().bytes().to_vec()));
        }
        next = read.next_offset;
    }
    partition.close().await;
    assert_eq!(all.len() as u64, count);
    all
}

/// A place for the same partition, made of these batches.
async fn restored(
    bench: &Bench,
    batches: &[Vec<u8>],
    (low, high): (u64, u64),
) -> Result<Bench, RestoreError> {
    let other = bench.place("restored", |_| {});
    let mut restore = PartitionRestore::begin(RestoredPartition {
        log: other.config().log,
        partition: other.config().partition,
        dir: other.dir().to_owned(),
        segment_bytes: other.config().segment_bytes,
    })
    .await?;
    for batch in batches {
        restore.push(batch).await?;
    }
    restore.finish(Offset::new(low), Offset::new(high)).await?;
    Ok(other)
}

fn base(batch: &[u8]) -> u64 {
    BatchHeader::parse(batch).unwrap().owner.base_offset.get()
}

#[test]
fn batches_come_back_byte_for_byte_over_several_segments_with_their_sessions() {
    on_core(async |bench: Bench| {
        let batches = kept(&bench, 60).await;
        let other = restored(&bench, &batches, (0, 120)).await.unwrap();
        let (partition, report) = other.open().await;
        assert!(report.segments > 2 && report.damaged.is_empty(), "{report:?}");
        let read = partition.read(Offset::ZERO, 1 << 20).await.unwrap();
        let bytes: Vec<u8> = read
            .slices
            .iter()
            .flat_map(|slice| {
                Items::new(slice).batches().flat_map(|batch| batch.unwrap().bytes().to_vec())
            })
            .collect();
        assert!(batches.concat().starts_with(&bytes) && !bytes.is_empty());
        let repeat = unsealed(58, 40_000, 2, session(9, 116));
        let answer = other.append(&partition, &repeat, Durability::Synced).await.unwrap();
        assert!(answer.duplicate, "sessions come from the batches");
        partition.close().await;
        let (partition, report) = other.open().await;
        assert!(report.clean, "{report:?}");
        partition.close().await;
    });
}

#[test]
fn a_log_that_begins_inside_a_batch_keeps_its_low_watermark() {
    on_core(async |bench: Bench| {
        let batches = kept(&bench, 10).await;
        let other = restored(&bench, &batches[3..], (7, 20)).await.unwrap();
        let (partition, report) = other.open().await;
        let marks = partition.watermarks();
        assert_eq!((marks.low.get(), marks.high.get()), (7, 20));
        assert!(report.damaged.is_empty(), "{report:?}");
        partition.close().await;
    });
}

#[test]
fn an_empty_partition_goes_on_at_its_offset() {
    on_core(async |bench: Bench| {
        let other = restored(&bench, &[], (77, 77)).await.unwrap();
        let (partition, report) = other.open().await;
        let marks = partition.watermarks();
        assert_eq!((marks.low.get(), marks.high.get(), report.damaged.len()), (77, 77, 0));
        let batch = unsealed(1, 100, 1, None);
        let appended = other.append(&partition, &batch, Durability::Synced).await.unwrap();
        assert_eq!(appended.base_offset.get(), 77);
        partition.close().await;
    });
}

#[test]
fn what_is_missing_is_told_as_damaged_and_read_around() {
    on_core(async |bench: Bench| {
        let batches = kept(&bench, 10).await;
        let with_hole = [&batches[..3], &batches[5..8]].concat();
        let other = restored(&bench, &with_hole, (0, 20)).await.unwrap();
        let (partition, report) = other.open().await;
        let missing: Vec<_> = report
            .damaged
            .iter()
            .map(|damage| damage.offsets.start.get()..damage.offsets.end.get())
            .collect();
        assert_eq!(missing, [6..10, 16..20]);
        assert_eq!(partition.watermarks().high.get(), 20);
        let read = partition.read(Offset::new(10), 1 << 20).await.unwrap();
        assert_eq!(unsealed_batches(&read, Offset::new(10)).len(), 3);
        partition.close().await;
    });
}

#[test]
fn a_gap_that_reaches_back_over_what_is_there_is_made_shorter() {
    on_core(async |bench: Bench| {
        let mut batches = kept(&bench, 10).await;
        // Compaction removed the batches at 4, 6 and 8; those at 4 and 6 were copied before.
        let owner: Owner = BatchHeader::parse(&batches[5]).unwrap().owner;
        seal_behind_gap(&mut batches[5], owner, 6);
        batches.remove(4);
        assert_eq!(base(&batches[4]), 10);
        let other = restored(&bench, &batches, (0, 20)).await.unwrap();
        let (partition, report) = other.open().await;
        assert!(report.damaged.is_empty(), "{report:?}");
        assert_eq!(partition.watermarks().high.get(), 20);
        let again = restored(
            &bench.place("again", |_| {}),
            &[batches[1].clone(), batches[0].clone()],
            (0, 20),
        )
        .await;
        assert!(matches!(again, Err(RestoreError::Order { .. })));
        partition.close().await;
    });
}
