//! A recovery that reads everything finds what has rotted below the checkpoint, and forgets nothing.

use super::*;
use crate::recovery::Extent;
use crate::segment::segment_name;

const BATCH_BYTES: usize = 60_000;
const BATCHES: u64 = 40;

/// A closed partition of three segments; the batches of a session are its first five.
async fn closed(bench: &Bench) {
    let (partition, _) = bench.open().await;
    for at in 0..BATCHES {
        let session = if at < 5 { session(9, at * 2) } else { None };
        let batch = unsealed(at, BATCH_BYTES, 2, session);
        bench.append(&partition, &batch, Durability::Synced).await.unwrap();
    }
    partition.close().await;
}

async fn flip(path: PathBuf, at: usize) {
    let spoil = move || {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    };
    pyralog_runtime::spawn_blocking(spoil).await.unwrap();
}

#[test]
fn a_recovery_of_everything_finds_what_the_checkpoint_vouches_for_and_is_rotten() {
    on_core(async |bench: Bench| {
        let bench = bench.with(|_| {});
        closed(&bench).await;
        // In the body of the first batch, behind header block, mark and batch header.
        flip(bench.dir().join(segment_name(Offset::ZERO)), 4096 + 64 + 128 + 1000).await;
        let (partition, report) = bench.open().await;
        assert!(report.clean && report.damaged.is_empty(), "a start trusts the checkpoint");
        assert!(report.segments > 2, "{report:?}");
        partition.close().await;

        let everything = bench.with(|config| config.extent = Extent::Everything);
        let (partition, report) = everything.open().await;
        let [damage] = &report.damaged[..] else { panic!("{report:?}") };
        assert_eq!(damage.offsets, Offset::ZERO..Offset::new(2));
        assert_eq!((report.damaged_new, report.end), (1, Offset::new(2 * BATCHES)));
        let read = partition.read(Offset::ZERO, 1 << 20).await;
        assert!(matches!(read, Err(ReadError::Damaged { .. })), "{read:?}");
        let positions = (damage.positions.start, damage.positions.end);
        let copy = format!("quarantine/{:020}-{}-{}.bin", 0, positions.0, positions.1);
        assert!(std::fs::exists(bench.dir().join(copy)).unwrap());
        let batch = unsealed(4, BATCH_BYTES, 2, session(9, 8));
        let repeat = bench.append(&partition, &batch, Durability::Synced).await.unwrap();
        assert!(repeat.duplicate, "sessions are kept");
        partition.close().await;

        let (partition, report) = everything.open().await;
        assert_eq!((report.damaged.len(), report.damaged_new), (1, 0), "it is not found twice");
        partition.close().await;
    });
}

#[test]
fn a_recovery_of_everything_changes_nothing_that_is_sound() {
    on_core(async |bench: Bench| {
        let bench = bench.with(|_| {});
        closed(&bench).await;
        let (partition, _) = bench.open().await;
        let before = bench.read_all(&partition).await;
        partition.close().await;
        let everything = bench.with(|config| config.extent = Extent::Everything);
        let (partition, report) = everything.open().await;
        assert_eq!((report.damaged.len(), report.cut), (0, None));
        assert!(report.scanned_bytes > BATCHES * BATCH_BYTES as u64);
        assert!(report.rewritten_bytes <= 4096, "of what is promised nothing is written again");
        assert_eq!(bench.read_all(&partition).await, before);
        partition.close().await;
        let (partition, report) = bench.open().await;
        assert!(report.clean);
        partition.close().await;
    });
}
