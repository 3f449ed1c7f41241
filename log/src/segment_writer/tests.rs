//! Segments that were written as a whole are segments like any other.

use std::path::PathBuf;

use pyralog_runtime::{MachineConfig, start};
use quickcheck::QuickCheck;

use super::*;
use crate::batch::{BatchHeader, Owner, seal_behind_gap};
use crate::recovery::scan::{Event, Scan, Subject};
use crate::testing::unsealed;

const BASE: Offset = Offset::new(1000);

/// Batches with these body lengths and gaps before them, from [`BASE`].
fn batches(shapes: &[(usize, u64)]) -> Vec<Vec<u8>> {
    let mut covered = BASE;
    let batch = |(body_len, gap): &(usize, u64)| {
        let mut batch = unsealed(*body_len as u64, *body_len, 3, None);
        let base_offset = covered.checked_add(*gap).unwrap();
        let append_time = Timestamp::new(i64::try_from(covered.get()).unwrap());
        let owner = Owner { base_offset, epoch: Epoch::new(2), append_time, scarab_base: 5 };
        seal_behind_gap(&mut batch, owner, *gap);
        covered = BatchHeader::parse(&batch).unwrap().next_offset();
        batch
    };
    shapes.iter().map(batch).collect()
}

/// What the writer makes of the batches: the file, and what it says of it.
fn written(batches: Vec<Vec<u8>>) -> Result<(Vec<u8>, Written), SegmentWriteError> {
    let directory = tempfile::tempdir().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let dir: PathBuf = directory.path().to_owned();
    let machine = start(&MachineConfig::default(), move |_core| {
        let (dir, batches, sender) = (dir.clone(), batches.clone(), sender.clone());
        async move { sender.send(write_all(&dir, &batches).await).unwrap() }
    });
    machine.unwrap().join().unwrap();
    let outcome = receiver.iter().next().unwrap();
    outcome.map(|written| (std::fs::read(directory.path().join("new")).unwrap(), written))
}

async fn write_all(dir: &Path, batches: &[Vec<u8>]) -> Result<Written, SegmentWriteError> {
    let (log, partition) = (LogId::new(7), PartitionId::new(1));
    let incarnation = Incarnation::new(4);
    let segment = NewSegment {
        log,
        partition,
        epoch: Epoch::new(2),
        base: BASE,
        incarnation,
        segment_bytes: 1 << 20,
    };
    let mut writer = SegmentWriter::create(&dir.join("new"), &segment).await?;
    for batch in batches {
        writer.push(batch).await?;
    }
    Ok(writer.finish(dir).await?)
}

/// What a recovery that promised nothing finds in the file.
fn scanned(file: &[u8]) -> (Vec<Event>, crate::recovery::scan::End) {
    let header = SegmentHeader::decode(file).unwrap();
    let mut scan = Scan::new(Subject {
        segment: BASE,
        key: header.key(),
        file_len: file.len() as u64,
        last: true,
        promised: BASE,
        start: FilePosition::STREAM_START,
        start_offset: BASE,
        incarnation: Incarnation::default(),
        opening: None,
    });
    let mut events = Vec::new();
    loop {
        match scan.need() {
            Err(end) => return (events, end),
            Ok(need) => {
                let at = usize::try_from(need.position.get()).unwrap().min(file.len());
                scan.supply(&file[at..file.len().min(at + need.len)], &mut events);
            }
        }
    }
}

#[test]
fn a_recovery_finds_every_batch_and_a_promise_for_each() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
    fn property(shapes: Vec<(u16, u8)>) {
        // Some batches are longer than a group.
        let shapes: Vec<_> =
            shapes.iter().map(|(len, gap)| (usize::from(*len) * 24 + 8, u64::from(*gap))).collect();
        let batches = batches(&shapes);
        let (file, Written { closed, index }) = written(batches.clone()).unwrap();
        let (events, end) = scanned(&file);
        let mut found = Vec::new();
        for event in events {
            let Event::Batch { header, position } = event else { panic!("{event:?}") };
            let at = usize::try_from(position.get()).unwrap();
            found.push(file[at..at + header.total_len()].to_vec());
        }
        assert_eq!(found, batches);
        assert_eq!((end.offset, end.position), (closed.end, closed.end_position));
        assert!(end.vouched.offset == end.offset, "all of it is promised");
        assert_eq!(index.end_offset(), closed.end);
        let last = batches.last().map(|batch| BatchHeader::parse(batch).unwrap().owner.append_time);
        assert_eq!(closed.append_max, last.unwrap_or(Timestamp::MIN));
        assert_eq!(closed.base, BASE);
    }
    QuickCheck::new().tests(20).quickcheck(property as fn(Vec<(u16, u8)>));
}

#[test]
fn a_batch_that_leaves_a_hole_is_refused() {
    let mut all = batches(&[(100, 0), (100, 0), (100, 5)]);
    all.remove(1);
    let refused = written(all).unwrap_err();
    let (expected, found) = (Offset::new(1003), Offset::new(1006));
    assert!(
        matches!(refused, SegmentWriteError::Chain { expected: e, found: f } if (e, f) == (expected, found)),
        "{refused}"
    );
    let refused = written(vec![unsealed(1, 100, 3, None)]).unwrap_err();
    assert!(matches!(refused, SegmentWriteError::Batch(_)), "{refused}");
}
