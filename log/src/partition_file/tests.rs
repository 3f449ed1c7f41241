//! The partition over real files on a real core, and over simulated ones.

mod altered;
mod compaction;
mod crash;
mod cut_short;
mod full_disk;
mod harness;
mod healed;
mod keys;
mod rescan;
mod restored;
mod retention;
mod retention_model;
mod scrub;
mod simulated;
mod tiered_life;
mod tiering;
mod tiering_deaths;
mod tiering_races;
mod tree;

use std::time::Duration;

use harness::{Bench, on_core};

use super::*;
use crate::batch::Session;
use crate::ids::{Epoch, SessionId};
use crate::partition::{Appended, ReadError};
use crate::testing::unsealed;

#[expect(clippy::unnecessary_wraps, reason = "what `unsealed` takes")]
fn session(id: u64, first_sequence: u64) -> Option<Session> {
    Some(Session { id: SessionId::new(id), epoch: 0, first_sequence })
}

#[test]
fn what_is_acknowledged_is_read_back_and_survives_a_clean_restart() {
    on_core(async |bench: Bench| {
        let (partition, first) = bench.open().await;
        assert_eq!((first.end.get(), first.segments), (0, 1));
        let mut sent = Vec::new();
        for seed in 0..20 {
            let batch = unsealed(seed, 500 * usize::try_from(seed).unwrap(), 3, None);
            let appended = bench.append(&partition, &batch, Durability::Synced).await.unwrap();
            assert_eq!(appended.base_offset.get(), seed * 3);
            assert_eq!(appended.next_offset.get(), seed * 3 + 3);
            sent.push(batch);
        }
        assert_eq!(bench.read_all(&partition).await, sent);
        partition.close().await;
        let (partition, report) = bench.open().await;
        assert!(report.clean, "{report:?}");
        assert_eq!((report.scanned_bytes, report.end.get()), (0, 60));
        assert_eq!(report.incarnation, first.incarnation.next());
        assert_eq!(bench.read_all(&partition).await, sent);
        assert_eq!(partition.stats().tail_reads, 0, "after a restart the file serves");
        let next = bench.append(&partition, &sent[0], Durability::Synced).await.unwrap();
        assert_eq!(next.base_offset.get(), 60);
        partition.close().await;
    });
}

#[test]
fn every_level_is_acknowledged_and_the_watermark_follows_the_log() {
    on_core(async |bench: Bench| {
        for level in Durability::ALL {
            let bench = bench.with(|config| config.durability = level);
            let (partition, _) = bench.open().await;
            for requested in Durability::ALL {
                let batch = unsealed(1, 1000, 1, None);
                let end = bench.append(&partition, &batch, requested).await.unwrap().next_offset;
                if requested >= level {
                    assert!(partition.watermarks().high >= end, "{requested} of a {level} log");
                }
                partition.wait_beyond(Offset::new(end.get() - 1), 1).await;
                assert!(partition.watermarks().high >= end);
            }
            assert_eq!(bench.read_all(&partition).await.len(), 3);
            partition.close().await;
        }
    });
}

#[test]
fn a_memory_request_of_a_synced_log_is_answered_at_once_and_seen_once_it_is_synced() {
    on_core(async |bench: Bench| {
        let (partition, _) = bench.open().await;
        let batch = unsealed(1, 100, 1, None);
        let answer = partition.append(&batch, Durability::Memory, Ticket::default());
        assert!(matches!(answer, AppendNow::Done(_)), "{answer:?}");
        assert_eq!(partition.watermarks().high.get(), 0, "readers wait for the log's promise");
        partition.wait_beyond(Offset::ZERO, 1).await;
        assert_eq!(partition.watermarks().high.get(), 1);
        partition.close().await;
    });
}

#[test]
fn a_repeat_is_answered_with_the_original_also_after_a_restart() {
    on_core(async |bench: Bench| {
        let (partition, _) = bench.open().await;
        let batches: Vec<_> = (0..5).map(|at| unsealed(at, 50, 2, session(9, at * 2))).collect();
        let mut originals = Vec::new();
        for batch in &batches {
            originals.push(bench.append(&partition, batch, Durability::Synced).await.unwrap());
        }
        let repeat = bench.append(&partition, &batches[1], Durability::Synced).await.unwrap();
        assert_eq!(repeat, Appended { duplicate: true, ..originals[1] });
        for kill in [false, true] {
            if !kill {
                partition.close().await;
            }
            let bench = bench.crashed(kill).await;
            let (partition, _) = bench.open().await;
            let repeat = bench.append(&partition, &batches[3], Durability::Synced).await.unwrap();
            assert_eq!(repeat, Appended { duplicate: true, ..originals[3] }, "kill: {kill}");
            let gap = unsealed(9, 50, 2, session(9, 12));
            let refused = bench.append(&partition, &gap, Durability::Synced).await;
            assert_eq!(refused, Err(AppendError::SequenceGap { expected: 10 }));
            partition.close().await;
        }
    });
}

#[test]
fn segments_roll_are_read_across_and_come_back() {
    on_core(async |bench: Bench| {
        let bench = bench.with(|config| config.tail_bytes = 0);
        let (partition, _) = bench.open().await;
        let sent: Vec<_> = (0..40).map(|seed| unsealed(seed, 150_000, 7, None)).collect();
        for batch in &sent {
            bench.append(&partition, batch, Durability::Synced).await.unwrap();
        }
        assert!(partition.stats().segments > 4, "{:?}", partition.stats());
        assert!(bench.read_all(&partition).await == sent);
        partition.close().await;
        let (partition, report) = bench.open().await;
        assert!(report.clean && report.segments > 4);
        assert!(bench.read_all(&partition).await == sent);
        for at in [0, 6, 7, 100, 279] {
            let read = partition.read(Offset::new(at), 1).await.unwrap();
            assert_eq!(read.first_offset.get(), at / 7 * 7);
        }
        partition.close().await;
    });
}

#[test]
fn a_killed_partition_is_scanned_and_whole() {
    on_core(async |bench: Bench| {
        let (partition, _) = bench.open().await;
        let sent: Vec<_> = (0..30).map(|seed| unsealed(seed, 90_000, 1, None)).collect();
        for batch in &sent {
            bench.append(&partition, batch, Durability::Synced).await.unwrap();
        }
        let copy = bench.crashed(true).await;
        let (second, report) = copy.open().await;
        assert!(!report.clean && report.scanned_bytes > 0);
        assert_eq!((report.end.get(), report.cut, report.damaged), (30, None, vec![]));
        assert!(copy.read_all(&second).await == sent);
        second.close().await;
        partition.close().await;
    });
}

#[test]
fn reading_at_or_beyond_the_end_is_empty_or_refused_with_the_range() {
    on_core(async |bench: Bench| {
        let (partition, _) = bench.open().await;
        let batch = unsealed(1, 100, 5, None);
        bench.append(&partition, &batch, Durability::Synced).await.unwrap();
        let read = partition.read(Offset::new(5), 100).await.unwrap();
        assert!(read.is_empty() && read.next_offset.get() == 5);
        let refused = partition.read(Offset::new(6), 100).await;
        let Err(ReadError::OutOfRange { low, high }) = refused else { panic!("{refused:?}") };
        assert_eq!((low.get(), high.get()), (0, 5));
        partition.close().await;
        assert!(matches!(partition.read(Offset::ZERO, 1).await, Err(ReadError::Closed)));
        let answer = partition.append(&batch, Durability::Synced, Ticket::default());
        assert_eq!(answer, AppendNow::Refused(AppendError::Closed));
    });
}

#[test]
fn a_waiting_reader_is_woken_by_enough_bytes_and_by_closing() {
    on_core(async |bench: Bench| {
        let (partition, _) = bench.open().await;
        let batch = unsealed(1, 1000, 1, None);
        let waiter = partition.clone();
        let task = pyralog_runtime::spawn(async move {
            waiter.wait_beyond(Offset::ZERO, 3000).await;
            waiter.watermarks().high.get()
        });
        for _ in 0..2 {
            bench.append(&partition, &batch, Durability::Synced).await.unwrap();
        }
        assert!(!task.is_finished(), "two kilobytes are not three");
        bench.append(&partition, &batch, Durability::Synced).await.unwrap();
        assert_eq!(task.await.unwrap(), 3);
        let waiter = partition.clone();
        let task = pyralog_runtime::spawn(async move {
            waiter.wait_beyond(Offset::new(3), 1).await;
        });
        pyralog_runtime::yield_now().await;
        partition.close().await;
        task.await.unwrap();
    });
}

#[test]
fn offsets_are_found_by_time_in_files_and_in_memory() {
    on_core(async |bench: Bench| {
        let (partition, _) = bench.open().await;
        // The seed is the create time.
        for seed in [10, 20, 15, 30, 40] {
            let batch = unsealed(seed, 100_000, 2, None);
            bench.append(&partition, &batch, Durability::Synced).await.unwrap();
        }
        let expected = [(0, 0), (10, 0), (11, 2), (20, 2), (21, 6), (40, 8), (41, 10)];
        for (time, offset) in expected {
            let found = partition.offset_at_time(Timestamp::new(time)).await.unwrap();
            assert_eq!(found.get(), offset, "time {time}");
        }
        partition.close().await;
        let (partition, _) = bench.open().await;
        for (time, offset) in expected {
            let found = partition.offset_at_time(Timestamp::new(time)).await.unwrap();
            assert_eq!(found.get(), offset, "time {time} after a restart");
        }
        partition.close().await;
    });
}

#[test]
fn a_deleted_partition_leaves_its_files_to_the_next_and_none_of_its_records() {
    on_core(async |bench: Bench| {
        let (partition, _) = bench.open().await;
        let sent: Vec<_> = (0..20).map(|seed| unsealed(seed, 100_000, 1, None)).collect();
        for batch in &sent {
            bench.append(&partition, batch, Durability::Synced).await.unwrap();
        }
        partition.delete().await.unwrap();
        assert!(!file::exists(bench.dir()).await.unwrap());
        let kept = file::list_dir(bench.recycle()).await.unwrap();
        assert!(!kept.is_empty() && kept.len() <= crate::limits::RECYCLED_FILES_MAX);
        let (partition, report) = bench.open().await;
        assert_eq!(report.end.get(), 0);
        let left = file::list_dir(bench.recycle()).await.unwrap();
        assert!(left.len() < kept.len(), "a file was taken");
        let again = bench.append(&partition, &sent[0], Durability::Synced).await.unwrap();
        assert_eq!(again.base_offset.get(), 0);
        let copy = bench.crashed(true).await;
        let (second, report) = copy.open().await;
        assert_eq!((report.end.get(), report.damaged), (1, vec![]), "the former life is nothing");
        assert!(copy.read_all(&second).await == sent[..1]);
        second.close().await;
        partition.close().await;
    });
}

#[test]
fn a_memory_only_log_evicts_by_bytes_and_says_where_it_begins() {
    on_core(async |bench: Bench| {
        let bytes_max = 64 << 20;
        let bench = bench.in_memory(bytes_max, None);
        let (partition, _) = bench.open().await;
        let batch = unsealed(7, 1 << 20, 1, None);
        for offset in 0..200 {
            let appended = bench.append(&partition, &batch, Durability::Memory).await.unwrap();
            assert_eq!(appended.base_offset.get(), offset);
            let stats = partition.stats();
            assert!(stats.memory_bytes <= bytes_max, "{stats:?}");
        }
        let marks = partition.watermarks();
        assert!(marks.low.get() > 100 && marks.high.get() == 200, "{marks:?}");
        let read = partition.read(marks.low, 1).await.unwrap();
        assert_eq!(read.first_offset, marks.low);
        let below = Offset::new(marks.low.get() - 1);
        assert!(matches!(partition.read(below, 1).await, Err(ReadError::OutOfRange { .. })));
        let refused = partition.append(&batch, Durability::Written, Ticket::default());
        let requested = Durability::Written;
        assert_eq!(refused, AppendNow::Refused(AppendError::Unsupported { requested }));
        partition.close().await;
        let bench = bench.in_memory(crate::limits::MEMORY_BYTES_MIN, None);
        let (partition, _) = bench.open().await;
        let refused = partition.append(&batch, Durability::Memory, Ticket::default());
        let (max, found) = (1 << 18, batch.len());
        assert_eq!(refused, AppendNow::Refused(AppendError::TooLarge { max, found }));
        for seed in 0..100 {
            let bytes = unsealed(seed, 200_000, 1, None);
            bench.append(&partition, &bytes, Durability::Memory).await.unwrap();
            assert!(partition.stats().memory_bytes <= 1 << 20, "{:?}", partition.stats());
            let marks = partition.watermarks();
            assert!(marks.low < marks.high, "the newest stays");
        }
        partition.close().await;
    });
}

#[test]
fn a_memory_only_log_reads_its_own_writes_and_expires_them() {
    on_core(async |bench: Bench| {
        let ttl = Duration::from_millis(50);
        let bench = bench.in_memory(crate::limits::MEMORY_BYTES_MIN, Some(ttl));
        let (partition, _) = bench.open().await;
        let sent: Vec<_> = (0..10).map(|seed| unsealed(seed, 100, 1, None)).collect();
        for (at, batch) in sent.iter().enumerate() {
            bench.append(&partition, batch, Durability::Memory).await.unwrap();
            let read = partition.read(Offset::new(at as u64), 1 << 20).await.unwrap();
            assert_eq!(read.next_offset.get(), at as u64 + 1);
        }
        while partition.watermarks().low.get() < 10 {
            pyralog_runtime::yield_now().await;
        }
        assert_eq!(partition.stats().evicted_records, 10);
        partition.close().await;
    });
}

#[test]
fn an_impossible_configuration_is_refused() {
    on_core(async |bench: Bench| {
        let small = bench.with(|config| config.segment_bytes = 1000);
        assert!(matches!(small.try_open().await, Err(OpenError::SegmentBytes { .. })));
        let small = bench.in_memory(1000, None);
        assert!(matches!(small.try_open().await, Err(OpenError::MemoryBytes { .. })));
        let honest = bench.in_memory(1 << 30, None).with(|config| {
            config.durability = Durability::Synced;
        });
        assert!(matches!(honest.try_open().await, Err(OpenError::Durability { .. })));
        let (partition, _) = bench.open().await;
        partition.close().await;
        let other = bench.with(|config| config.log = LogId::new(8));
        assert!(matches!(other.try_open().await, Err(OpenError::Foreign { .. })));
        assert_eq!(bench.config().epoch, Epoch::ZERO);
    });
}

#[test]
fn an_idle_partition_marks_its_last_group_and_then_rests() {
    on_core(async |bench: Bench| {
        let bench = bench.with(|config| config.durability = Durability::Written);
        let (partition, _) = bench.open().await;
        let batch = unsealed(1, 100, 1, None);
        bench.append(&partition, &batch, Durability::Written).await.unwrap();
        let written = partition.stats().written_bytes;
        while partition.stats().written_bytes == written {
            pyralog_runtime::yield_now().await;
        }
        assert_eq!(partition.shell.machine.borrow().reached(Durability::Synced).get(), 1);
        assert_eq!(partition.stats().syncs, 1);
        // The mark says that the record was synced: losing it from here on is damage, not a cut.
        let copy = bench.crashed(true).await;
        let (second, report) = copy.open().await;
        assert_eq!((report.end.get(), report.cut), (1, None));
        second.close().await;
        partition.close().await;
    });
}

#[test]
fn a_checkpoint_promises_only_what_is_synced() {
    on_core(async |bench: Bench| {
        let bench = bench.with(|config| config.durability = Durability::Written);
        let (partition, _) = bench.open().await;
        let batch = unsealed(1, 100, 1, None);
        bench.append(&partition, &batch, Durability::Synced).await.unwrap();
        bench.append(&partition, &batch, Durability::Written).await.unwrap();
        let shell = &partition.shell;
        let content = background::contents(shell, shell.files.as_ref().unwrap(), false).1;
        let checkpoint = crate::checkpoint::Checkpoint::decode(&content).unwrap();
        assert_eq!(checkpoint.start.offset.get(), 1, "the second record is not synced");
        assert_eq!(partition.watermarks().high.get(), 2);
        partition.close().await;
    });
}

#[test]
fn a_partition_poisoned_under_a_write_answers_refuses_reads_on_and_closes() {
    on_core(async |bench: Bench| {
        let (partition, _) = bench.open().await;
        let batch = unsealed(1, 100, 1, None);
        bench.append(&partition, &batch, Durability::Synced).await.unwrap();
        let kind = pyralog_runtime::IoErrorKind::Device;
        let fault = crate::partition::Fault { kind, operation: "sync" };
        let before = partition.shell.machine.borrow().head().position;
        let (answer, pending) = bench.submit(&partition, &batch, Durability::Synced);
        assert_eq!(answer, AppendNow::Pending);
        let poisoner = partition.clone();
        let task = pyralog_runtime::spawn(async move {
            // The writer was woken first: its write is in flight while a sync beside it fails.
            let mut machine = poisoner.shell.machine.borrow_mut();
            assert!(machine.head().position > before, "in flight");
            assert_eq!(machine.reached(Durability::Written).get(), 1, "and not done");
            machine.poison(fault);
            drop(machine);
            poisoner.shell.deliver();
        });
        task.await.unwrap();
        assert_eq!(pending.await.unwrap(), Err(AppendError::Poisoned(fault)));
        // The write ends well after that; its file is shared until then. It must change nothing.
        let head = &partition.shell.files.as_ref().unwrap().head;
        while Rc::strong_count(&head.borrow()) > 1 {
            pyralog_runtime::yield_now().await;
        }
        assert_eq!(partition.watermarks().high.get(), 1);
        let refused = bench.append(&partition, &batch, Durability::Memory).await;
        assert_eq!(refused, Err(AppendError::Poisoned(fault)));
        assert_eq!(partition.flush(Durability::Synced).await, Err(AppendError::Poisoned(fault)));
        assert_eq!(bench.read_all(&partition).await, vec![batch.clone()]);
        assert!(partition.stats().poisoned);
        partition.close().await;
        let (partition, report) = bench.open().await;
        assert!(!report.clean && report.end.get() >= 1, "{report:?}");
        assert_eq!(bench.read_all(&partition).await[0], batch);
        partition.close().await;
    });
}
