//! Scrubbing finds what rots in closed segments, says it once, and tells readers.

use super::harness::{Bench, on_core};
use super::*;
use crate::pace::Pace;
use crate::segment::segment_name;

const BATCH_BYTES: usize = 60_000;
const BATCHES: u64 = 40;

/// An open partition of three segments, two records a batch; the memory of an earlier life does not serve its readers.
async fn filled(bench: &Bench) -> Partition {
    let (partition, _) = bench.open().await;
    for at in 0..BATCHES {
        let batch = unsealed(at, BATCH_BYTES, 2, None);
        bench.append(&partition, &batch, Durability::Synced).await.unwrap();
    }
    partition.close().await;
    bench.open().await.0
}

async fn spoil(path: PathBuf, spoil: impl FnOnce(&Path) + Send + 'static) {
    pyralog_runtime::spawn_blocking(move || spoil(&path)).await.unwrap();
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_byte_of_a_closed_segment_is_found_with_its_offsets_and_is_new_once() {
    on_core(async |bench: Bench| {
        let (partition, pace) = (filled(&bench).await, Pace::new(1 << 40));
        let sound = partition.scrub(&pace).await.unwrap();
        assert!(sound.segments > 1 && sound.bytes > 1 << 20, "{sound:?}");
        assert!(sound.damaged.is_empty() && sound.new_records == 0, "{sound:?}");
        assert_eq!(partition.stats().damaged_records, 0);

        // In the body of the first batch, behind header block, mark and batch header.
        let path = bench.dir().join(segment_name(Offset::ZERO));
        spoil(path, |path| flip(path, 4096 + 64 + 128 + 1000)).await;
        let first = partition.scrub(&pace).await.unwrap();
        let [damage] = &first.damaged[..] else { panic!("{first:?}") };
        assert_eq!(damage.offsets, Offset::ZERO..Offset::new(2));
        assert_eq!((first.segments, first.new_records), (sound.segments, 2));
        let read = partition.read(Offset::ZERO, 1 << 20).await;
        let Err(ReadError::Damaged { offsets }) = read else { panic!("{read:?}") };
        assert_eq!(offsets, damage.offsets, "readers are told");
        assert!(partition.read(Offset::new(2), 1).await.is_ok(), "what lies behind it is read");

        let again = partition.scrub(&pace).await.unwrap();
        assert_eq!((&again.damaged, again.new_records), (&first.damaged, 0));
        assert_eq!(partition.stats().damaged_records, 2);
        partition.close().await;
        assert!(matches!(partition.scrub(&pace).await, Err(ReadError::Closed)));

        // A life that begins in order reads no closed segment, and knows it all the same.
        let (partition, report) = bench.open().await;
        assert_eq!((report.clean, report.scanned_bytes, report.damaged_new), (true, 0, 0));
        assert_eq!(report.damaged, first.damaged);
        assert_eq!(partition.damaged_ranges(), std::slice::from_ref(&damage.offsets));
        let again = partition.scrub(&pace).await.unwrap();
        assert_eq!((&again.damaged, again.new_records), (&first.damaged, 0));
        partition.close().await;
    });
}

#[test]
fn a_segment_whose_file_is_gone_is_damaged_as_a_whole_and_the_others_are_read() {
    on_core(async |bench: Bench| {
        let (partition, pace) = (filled(&bench).await, Pace::new(1 << 40));
        let sound = partition.scrub(&pace).await.unwrap();
        let path = bench.dir().join(segment_name(Offset::ZERO));
        spoil(path, |path| std::fs::remove_file(path).unwrap()).await;
        let found = partition.scrub(&pace).await.unwrap();
        assert_eq!((found.segments, found.new_records), (sound.segments - 1, 0));
        let [damage] = &found.damaged[..] else { panic!("{found:?}") };
        assert_eq!((damage.segment, damage.offsets.start), (Offset::ZERO, Offset::ZERO));
        partition.close().await;
    });
}
