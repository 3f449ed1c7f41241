//! Partitions written by the shell, killed, cut off, torn, rotten; then recovered and compared with
//! what was appended.

use std::ops::Range;
use std::path::{Path, PathBuf};

use quickcheck::{Arbitrary, Gen};

use super::harness::{Bench, on_core, unsealed_batches};
use super::*;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, index_name, segment_name};

const CASES: usize = 150;

/// What befalls the files between the kill and the restart.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// Nothing more: the process was killed.
    Kill,
    /// Any sectors behind the synced point are lost, or are what they were long ago.
    PowerCut(u64),
    /// The advisory files are gone, or full of junk.
    Advisory(u8),
    /// One or both copies of a header are destroyed, with a checkpoint at hand.
    Header(u8),
    /// A byte of some segment is another.
    Flip(u64, u8),
    /// A range of some segment is zero.
    Zero(u64, u16),
    /// The newest segment ends early.
    Truncate(u64),
    /// A write to some segment went to an earlier place.
    Misdirect(u64, u64, u8),
}

impl Arbitrary for Blow {
    fn arbitrary(random: &mut Gen) -> Self {
        let (place, byte) = (u64::arbitrary(random), u8::arbitrary(random));
        match u8::arbitrary(random) % 12 {
            0 => Self::Kill,
            1..=3 => Self::PowerCut(place),
            4 => Self::Advisory(byte),
            5 => Self::Header(byte),
            6 => Self::Truncate(place),
            7 => Self::Zero(place, u16::arbitrary(random)),
            8 | 9 => Self::Misdirect(place, u64::arbitrary(random), byte),
            _ => Self::Flip(place, byte),
        }
    }
}

impl Blow {
    /// Whether it can harm what was synced. If not, there must be no damage.
    const fn harms(self) -> bool {
        matches!(self, Self::Flip(..) | Self::Zero(..) | Self::Truncate(_) | Self::Misdirect(..))
    }
}

/// A case: the level of the log, the appends (body length, level), the blow.
#[derive(Clone, Debug)]
struct Case {
    level: Durability,
    appends: Vec<(u16, Durability)>,
    restarts: u8,
    blow: Blow,
}

impl Arbitrary for Case {
    fn arbitrary(random: &mut Gen) -> Self {
        let level = |random: &mut Gen| *random.choose(&Durability::ALL).unwrap();
        let count = usize::from(u8::arbitrary(random) % 24) + 1;
        let appends = (0..count).map(|_| (u16::arbitrary(random), level(random))).collect();
        let restarts = u8::arbitrary(random) % 3;
        Self { level: level(random), appends, restarts, blow: Blow::arbitrary(random) }
    }
}

/// The log as it should be: base offset, end, bytes.
type Log = Vec<(u64, u64, Vec<u8>)>;

/// What a reader gets of a whole partition: the batches it should, and damaged ranges between them.
async fn read_through(partition: &Partition, log: &Log) -> Vec<Range<u64>> {
    let marks = partition.watermarks();
    let (mut next, mut damaged) = (marks.low, Vec::new());
    while next < marks.high {
        match partition.read(next, 100_000).await {
            Ok(read) => {
                assert_eq!(read.first_offset, next, "nothing is skipped");
                let mut at = log.iter().position(|batch| batch.0 == read.first_offset.get());
                for bytes in unsealed_batches(&read, read.first_offset) {
                    let expected = &log[at.expect("a batch that was appended")];
                    assert!(expected.2 == bytes, "another batch at {}", expected.0);
                    at = at.map(|at| at + 1);
                }
                assert!(read.next_offset > next, "no progress at {next}");
                next = read.next_offset;
            }
            Err(ReadError::Damaged { offsets }) => {
                assert!(offsets.contains(&next), "{offsets:?} at {next}");
                damaged.push(offsets.start.get()..offsets.end.get());
                next = offsets.end;
            }
            Err(error) => panic!("{error}"),
        }
    }
    damaged
}

/// Appends the batches of the case, some awaited and some left in flight.
async fn fill(bench: &Bench, case: &Case) -> (Partition, Log) {
    let (mut partition, _) = bench.open().await;
    let (mut log, mut offset) = (Log::new(), 0);
    for (at, (len, level)) in case.appends.iter().enumerate() {
        let count = u32::from(len % 3) + 1;
        let bytes = unsealed(at as u64, usize::from(*len), count, None);
        let end = offset + u64::from(count);
        if at % 4 == 3 {
            let answer = partition.append(&bytes, *level, Ticket(u64::MAX, at as u64));
            assert!(!matches!(answer, AppendNow::Refused(_)), "{answer:?}");
        } else {
            bench.append(&partition, &bytes, *level).await.unwrap();
        }
        log.push((offset, end, bytes));
        offset = end;
        if usize::from(case.restarts) > 0 && at % (8 / usize::from(case.restarts)) == 5 {
            partition.close().await;
            partition = bench.open().await.0;
        }
    }
    (partition, log)
}

/// Changes files as the blow says. `synced`: where the synced part of the newest segment ends.
fn strike(dir: &Path, newest: Offset, synced: u64, blow: Blow) {
    let newest = dir.join(segment_name(newest));
    let mut segments: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    segments.sort();
    let change = |path: &PathBuf, change: &mut dyn FnMut(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    };
    let header = SEGMENT_HEADER_BYTES;
    // Damage in what was never written is no damage.
    let place = |bytes: &[u8], place: u64| {
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(header).max(header) + 1;
        header + usize::try_from(place).unwrap() % (used - header + 1)
    };
    match blow {
        Blow::Kill => {}
        Blow::PowerCut(seed) => change(&newest, &mut |bytes| lose_sectors(bytes, synced, seed)),
        Blow::Advisory(how) => spoil_advisory(dir, how),
        Blow::Header(how) => change(&newest, &mut |bytes| match how % 3 {
            0 => bytes[..512].fill(0),
            1 => bytes[2048..2560].fill(0xff),
            _ => bytes[..header].fill(0x11),
        }),
        Blow::Flip(at, bit) => {
            let path = &segments[usize::from(bit) % segments.len()];
            change(path, &mut |bytes| {
                let at = place(bytes, at).min(bytes.len() - 1);
                bytes[at] ^= 1 << (bit % 8);
            });
        }
        Blow::Zero(at, len) => {
            let path = &segments[usize::from(len) % segments.len()];
            change(path, &mut |bytes| {
                let start = place(bytes, at);
                let end = (start + usize::from(len) * 4).min(bytes.len());
                bytes[start.min(end)..end].fill(0);
            });
        }
        Blow::Misdirect(from, to, blocks) => {
            let path = &segments[usize::from(blocks) % segments.len()];
            change(path, &mut |bytes| {
                let mut at = [place(bytes, from), place(bytes, to)].map(|at| at - at % 4096);
                at.sort_unstable();
                let end = (at[1] + 4096 * usize::from(blocks % 4 + 1)).min(bytes.len());
                bytes.copy_within(at[1].min(end)..end, at[0]);
            });
        }
        Blow::Truncate(at) => change(&newest, &mut |bytes| {
            let at = place(bytes, at);
            bytes.truncate(at);
        }),
    }
}

/// Any sectors behind the synced point are lost or are what they were long ago.
fn lose_sectors(bytes: &mut [u8], synced: u64, seed: u64) {
    let mut state = seed | 1;
    let first = usize::try_from(synced).unwrap().div_ceil(512);
    for sector in bytes.chunks_mut(512).skip(first) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match state >> 20 & 3 {
            0 => sector.fill(0),
            1 => sector.fill(0x5a),
            _ => {}
        }
    }
}

/// Removes the checkpoint and the indexes, or fills them with junk, or flips a bit in them.
fn spoil_advisory(dir: &Path, how: u8) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let advisory = path.extension().is_none_or(|extension| extension == "idx");
        if !advisory || path.is_dir() {
            continue;
        }
        match how % 3 {
            0 => std::fs::remove_file(path).unwrap(),
            1 => std::fs::write(path, b"junk").unwrap(),
            _ => {
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[20] ^= 1;
                std::fs::write(path, bytes).unwrap();
            }
        }
    }
}

async fn run(bench: &Bench, case: &Case) {
    let (partition, log) = fill(bench, case).await;
    let (newest, synced_position, synced, written, high) = {
        let machine = partition.shell.machine.borrow();
        let (position, synced) = machine.synced_end();
        let written = machine.reached(Durability::Written);
        (machine.head().segment, position.get(), synced, written, machine.watermarks().high)
    };
    let copy = bench.crashed(true).await;
    let (dir, blow) = (copy.dir().to_owned(), case.blow);
    pyralog_runtime::spawn_blocking(move || strike(&dir, newest, synced_position, blow))
        .await
        .unwrap();
    let (second, report) = copy.open().await;
    let end = second.watermarks().end;
    let mut damaged = read_through(&second, &log).await;
    if matches!(case.blow, Blow::PowerCut(_)) {
        assert!(end >= synced, "synced up to {synced}, ends at {end}");
    } else if !case.blow.harms() {
        assert!(end >= written, "written up to {written}, ends at {end}");
        let seen = high.min(written);
        assert!(end >= seen);
    }
    if !case.blow.harms() {
        assert_eq!((&damaged, &report.damaged), (&vec![], &vec![]));
    }
    // Damage found by reading is in closed segments that were not scanned, or it is in the report.
    let reported = |range: &Range<u64>| {
        report.damaged.iter().any(|damage| {
            damage.offsets.start.get() <= range.start && range.end <= damage.offsets.end.get()
        })
    };
    let unscanned = |range: &Range<u64>| range.start < newest.get() || range.start < synced.get();
    assert!(damaged.iter().all(|range| reported(range) || unscanned(range)), "{damaged:?}");
    // It goes on, and what is appended now is there after the next kill, and so is the rest.
    let mut longer: Log = log.into_iter().filter(|batch| batch.1 <= end.get()).collect();
    let bytes = unsealed(999, 300, 2, None);
    let appended = copy.append(&second, &bytes, Durability::Synced).await.unwrap();
    assert_eq!(appended.base_offset, end, "offsets are not dealt twice");
    longer.push((end.get(), end.get() + 2, bytes));
    let third = copy.crashed(true).await;
    let (again, report) = third.open().await;
    assert_eq!((report.end, report.damaged_new), (appended.next_offset, 0), "{report:?}");
    let mut still = read_through(&again, &longer).await;
    damaged.retain(reported);
    still.retain(reported);
    assert_eq!(still, damaged, "the same damage, no more");
    for partition in [partition, second, again] {
        partition.close().await;
    }
}

#[test]
fn no_crash_and_no_damage_loses_a_promised_record_silently() {
    on_core(async |bench: Bench| {
        let mut random = Gen::new(64);
        for number in 0..CASES {
            let case = Case::arbitrary(&mut random);
            let place = bench.place(&format!("case-{number}"), |config| {
                config.durability = case.level;
            });
            // A failing case is printed: there is no shrinking over real files.
            let shown = Shown(&case);
            Box::pin(run(&place, &case)).await;
            std::mem::forget(shown);
            place.remove().await;
        }
    });
}

/// Prints the case if the test ends before it does.
struct Shown<'a>(&'a Case);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        eprintln!("failing case: {:?}", self.0);
    }
}

#[test]
fn damage_below_the_checkpoint_is_met_by_readers_and_reported_with_its_range() {
    on_core(async |bench: Bench| {
        let log = closed_with(&bench, 20, 100_000).await;
        let path = bench.dir().join(segment_name(Offset::ZERO));
        pyralog_runtime::spawn_blocking(move || {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[200_000..330_000].fill(0xee);
            std::fs::write(&path, bytes).unwrap();
        })
        .await
        .unwrap();
        let (partition, report) = bench.open().await;
        assert!(report.clean, "a clean restart reads no data");
        let damaged = read_through(&partition, &log).await;
        assert!(!damaged.is_empty() && damaged.iter().all(|range| range.end <= 5), "{damaged:?}");
        assert!(partition.stats().damaged_records > 0);
        partition.close().await;
    });
}

#[test]
fn a_group_in_the_place_of_an_earlier_one_is_reported_and_not_skipped_to() {
    on_core(async |bench: Bench| {
        // Every batch is in the index, or only the first: then it cannot say where it goes on.
        for (body, damage) in [(90_000, 2..3), (5000, 2..9)] {
            let bench = bench.place(&body.to_string(), |_| {});
            let log = closed_with(&bench, 9, body).await;
            // The groups are equally long, behind the mark that opened the segment.
            let group = 64 + log[0].2.len();
            let at = move |number: usize| 4096 + number * group;
            spoil(&bench, &[&segment_name(Offset::ZERO)], move |bytes| {
                assert_eq!(bytes[at(7)..at(7) + 4], *b"PYM1");
                bytes.copy_within(at(7)..at(8), at(2));
            })
            .await;
            let (partition, report) = bench.open().await;
            assert!(report.clean, "a clean restart reads no data");
            let found = partition.offset_at_time(Timestamp::new(2)).await;
            let Err(ReadError::Damaged { offsets }) = found else { panic!("{found:?}") };
            assert_eq!(offsets.start.get()..offsets.end.get(), damage);
            assert_eq!(read_through(&partition, &log).await, vec![damage]);
            partition.close().await;
        }
    });
}

/// Writes over files of a partition, or removes them.
async fn spoil(bench: &Bench, names: &[&str], change: impl Fn(&mut Vec<u8>) + Send + 'static) {
    let paths: Vec<PathBuf> = names.iter().map(|name| bench.dir().join(name)).collect();
    pyralog_runtime::spawn_blocking(move || {
        for path in paths {
            let mut bytes = std::fs::read(&path).unwrap();
            change(&mut bytes);
            if bytes.is_empty() {
                std::fs::remove_file(path).unwrap();
            } else {
                std::fs::write(path, bytes).unwrap();
            }
        }
    })
    .await
    .unwrap();
}

/// A partition that was closed with so many synced batches of one record of so many bytes.
async fn closed_with(bench: &Bench, batches: u64, bytes: usize) -> Log {
    let (partition, _) = bench.open().await;
    let mut log = Log::new();
    for offset in 0..batches {
        let bytes = unsealed(offset, bytes, 1, None);
        bench.append(&partition, &bytes, Durability::Synced).await.unwrap();
        log.push((offset, offset + 1, bytes));
    }
    partition.close().await;
    log
}

#[test]
fn a_segment_whose_header_is_lost_is_quarantined_and_its_offsets_are_not_dealt_again() {
    on_core(async |bench: Bench| {
        let log = closed_with(&bench, 10, 5000).await;
        let name = segment_name(Offset::ZERO);
        spoil(&bench, &["checkpoint"], Vec::clear).await;
        spoil(&bench, &[&name], |bytes| bytes[..4096].fill(0x77)).await;
        let (partition, report) = bench.open().await;
        assert_eq!((report.end.get(), report.damaged_new), (10, 1), "{report:?}");
        assert_eq!(read_through(&partition, &log).await, vec![0..10]);
        let kept = bench.dir().join(recovery_file::QUARANTINE_NAME).join(&name);
        assert!(file::exists(kept).await.unwrap(), "the evidence is kept");
        let bytes = unsealed(99, 10, 1, None);
        let next = bench.append(&partition, &bytes, Durability::Synced).await.unwrap();
        assert_eq!(next.base_offset.get(), 10);
        partition.close().await;
        let (partition, report) = bench.open().await;
        assert_eq!(
            (report.damaged.len(), report.damaged_new),
            (1, 0),
            "remembered, not found anew"
        );
        partition.close().await;
    });
}

/// Puts another header into the one segment of a partition, as if writes of its own were lost.
async fn set_header(bench: &Bench, header: SegmentHeader) {
    let block = header.encode();
    let name = segment_name(Offset::ZERO);
    spoil(bench, &[&name], move |bytes| bytes[..4096].copy_from_slice(&block)).await;
}

/// The header of the one segment of a partition.
async fn header_of(bench: &Bench) -> SegmentHeader {
    let path = bench.dir().join(segment_name(Offset::ZERO));
    let file = file::DirectFile::open(path).await.unwrap();
    let block = file.read(0, SEGMENT_HEADER_BYTES).await.unwrap();
    file.close().await.unwrap();
    SegmentHeader::decode(&block).unwrap()
}

#[test]
fn what_an_earlier_process_left_behind_is_removed_and_nothing_else() {
    on_core(async |bench: Bench| {
        let log = closed_with(&bench, 10, 5000).await;
        let quarantine = bench.dir().join(recovery_file::QUARANTINE_NAME);
        let places = [bench.dir().to_owned(), quarantine.clone()];
        let ours = ["checkpoint.0123456789abcdef.tmp", ".pyralog-probe-0123456789abcdef"];
        let others = ["checkpoint.tmp", "note.0123456789abcdef.txt", ".pyralog-probe-1"];
        pyralog_runtime::spawn_blocking(move || {
            std::fs::create_dir(&quarantine).unwrap();
            for (place, name) in places.iter().flat_map(|at| ours.map(|name| (at, name))) {
                std::fs::write(place.join(name), b"half").unwrap();
            }
            for (place, name) in places.iter().flat_map(|at| others.map(|name| (at, name))) {
                std::fs::write(place.join(name), b"somebody's").unwrap();
            }
        })
        .await
        .unwrap();
        let (partition, report) = bench.open().await;
        assert!(report.clean && read_through(&partition, &log).await.is_empty());
        for place in [bench.dir().to_owned(), bench.dir().join(recovery_file::QUARANTINE_NAME)] {
            let entries = file::list_dir(place).await.unwrap();
            let has = |name: &&str| entries.iter().any(|entry| entry.name == *name);
            assert!(!ours.iter().any(has), "{entries:?}");
            assert!(others.iter().all(has), "{entries:?}");
        }
        partition.close().await;
    });
}

#[test]
fn a_segment_whose_base_offset_was_never_written_is_known_by_its_name() {
    on_core(async |bench: Bench| {
        for checkpoint in [true, false] {
            let bench = bench.place(&checkpoint.to_string(), |_| {});
            let log = closed_with(&bench, 10, 5000).await;
            let header = SegmentHeader { base_offset: None, ..header_of(&bench).await };
            set_header(&bench, header).await;
            if !checkpoint {
                spoil(&bench, &["checkpoint"], Vec::clear).await;
            }
            let (partition, report) = bench.open().await;
            assert_eq!((report.end.get(), &report.damaged), (10, &vec![]), "{report:?}");
            assert_eq!(read_through(&partition, &log).await, vec![]);
            assert_eq!(header_of(&bench).await.base_offset, Some(Offset::ZERO), "mended");
            partition.close().await;
        }
    });
}

#[test]
fn a_segment_with_the_header_of_a_former_life_is_damage_and_its_offsets_are_not_dealt_again() {
    on_core(async |bench: Bench| {
        let lives = [(8, Some(Offset::ZERO)), (8, None), (7, Some(Offset::new(3)))];
        for (number, (log_id, base_offset)) in (0..).zip(lives) {
            for checkpoint in [true, false] {
                let bench = bench.place(&format!("{number}-{checkpoint}"), |_| {});
                let log = closed_with(&bench, 10, 5000).await;
                let (generation, log_id) = (0xdead, LogId::new(log_id));
                let header = header_of(&bench).await;
                set_header(
                    &bench,
                    SegmentHeader { generation, log: log_id, base_offset, ..header },
                )
                .await;
                if !checkpoint {
                    spoil(&bench, &["checkpoint"], Vec::clear).await;
                }
                let (partition, report) = bench.open().await;
                assert_eq!(report.end.get(), 10, "{report:?}");
                let lost = read_through(&partition, &log).await;
                assert_eq!(lost.first(), (!checkpoint).then_some(&(0..10)));
                let bytes = unsealed(99, 10, 1, None);
                let next = bench.append(&partition, &bytes, Durability::Synced).await.unwrap();
                assert_eq!(next.base_offset.get(), 10);
                partition.close().await;
            }
        }
    });
}

#[test]
fn promised_records_that_are_gone_are_reported_and_the_log_goes_on_in_a_new_segment() {
    on_core(async |bench: Bench| {
        let mut log = closed_with(&bench, 10, 5000).await;
        let (name, index) = (segment_name(Offset::ZERO), format!("{:020}.idx", 0));
        spoil(&bench, &[&index], Vec::clear).await;
        // Four groups are left: each of these takes 64 + 128 + 5000 bytes, padded to 64.
        spoil(&bench, &[&name], |bytes| bytes[4096 + 64 + 4 * 5248..].fill(0)).await;
        let (partition, report) = bench.open().await;
        assert_eq!((report.end.get(), report.segments), (10, 2), "{report:?}");
        assert_eq!(read_through(&partition, &log).await, vec![4..10]);
        let bytes = unsealed(99, 10, 1, None);
        let next = bench.append(&partition, &bytes, Durability::Synced).await.unwrap();
        assert_eq!(next.base_offset.get(), 10);
        log.push((10, 11, bytes));
        partition.close().await;
        let (partition, report) = bench.open().await;
        assert!(report.clean && report.end.get() == 11);
        assert_eq!(read_through(&partition, &log).await, vec![4..10]);
        partition.close().await;
    });
}

#[test]
fn a_segment_that_is_gone_is_damage_of_all_its_offsets() {
    on_core(async |bench: Bench| {
        let log = closed_with(&bench, 30, 100_000).await;
        let mut bases: Vec<Offset> = file::list_dir(bench.dir())
            .await
            .unwrap()
            .iter()
            .filter_map(|entry| parse_segment_name(&entry.name))
            .collect();
        bases.sort();
        assert!(bases.len() > 2);
        spoil(&bench, &[&segment_name(bases[1])], Vec::clear).await;
        let (partition, report) = bench.open().await;
        assert_eq!((report.end.get(), report.damaged_new), (30, 1), "{report:?}");
        let gone = bases[1].get()..bases[2].get();
        assert_eq!(read_through(&partition, &log).await, vec![gone]);
        partition.close().await;
    });
}

#[test]
fn damage_found_while_an_index_is_made_again_is_reported_and_not_skipped() {
    on_core(async |bench: Bench| {
        for batch in [0_u64, 3] {
            let bench = bench.place(&batch.to_string(), |_| {});
            let log = closed_with(&bench, 30, 100_000).await;
            let len = log[0].2.len();
            spoil(&bench, &[&index_name(Offset::ZERO)], Vec::clear).await;
            spoil(&bench, &[&segment_name(Offset::ZERO)], move |bytes| {
                // Behind the mark that opened the segment; its group, and half of the batch.
                let at = 4096 + usize::try_from(batch).unwrap() * (64 + len) + 64;
                bytes[at..at + 50_000].fill(0xee);
            })
            .await;
            let (partition, _) = bench.open().await;
            let damaged = read_through(&partition, &log).await;
            assert!(damaged.iter().any(|range| range.contains(&batch)), "{damaged:?}");
            assert!(damaged.iter().all(|range| range.end <= batch + 2), "{damaged:?}");
            partition.close().await;
        }
    });
}
