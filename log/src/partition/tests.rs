//! The machine against a model of its log and a disk that tears, forgets, fills up and fails.

mod disk;
mod world;

use quickcheck::QuickCheck;

use super::*;
use crate::batch::{BuilderConfig, Codec, Item, Items, Record, RowsBuilder, Session};
use crate::ids::SessionId;
use crate::limits::{
    APPEND_RECORDS_MAX, BATCH_BYTES_MAX, GATHERED_BYTES_MAX, RECORDS_PER_BATCH_MAX,
};
use crate::testing::unsealed;
use pyralog_runtime::IoErrorKind;
use world::{Outcome, World};

const FULL: Fault = Fault { kind: IoErrorKind::NoSpace, operation: "write" };
const BROKEN: Fault = Fault { kind: IoErrorKind::Device, operation: "write" };

#[expect(clippy::unnecessary_wraps, reason = "what `unsealed` takes")]
fn session(first_sequence: u64) -> Option<Session> {
    Some(Session { id: SessionId::new(5), epoch: 0, first_sequence })
}

fn done(answers: &[Answer]) -> Vec<u64> {
    answers.iter().map(|(ticket, outcome)| if outcome.is_ok() { ticket.0 } else { 0 }).collect()
}

/// Everything at once: appends of every level with and without sessions, writes that succeed, find
/// no space, fail or are cut short by a kill or a power cut, syncs beside them that succeed or fail,
/// rolls into recycled files, reads. The checks are in [`World`]; what they claim is said there.
#[test]
fn nothing_acknowledged_is_lost_and_nothing_refused_appears() {
    fn property(level: u8, steps: Vec<(u8, u16, u8)>) {
        let mut world = World::new(Durability::ALL[usize::from(level % 3)]);
        for (step, argument, seed) in steps {
            match step % 16 {
                0..=5 => world.append(argument, seed),
                6..=9 => world.work(Outcome::Done),
                10 => world.work(if seed % 3 == 0 { Outcome::Full } else { Outcome::Done }),
                11 => world.work(if seed % 8 == 0 { Outcome::Failed } else { Outcome::Done }),
                12 if seed % 8 == 0 => world.finish_sync(Outcome::Failed),
                12 => world.finish_sync(Outcome::Done),
                13 => world.pass(Duration::from_millis(u64::from(argument % 2500))),
                14 => world.read(argument),
                _ => world.crash(seed, argument),
            }
            world.check();
        }
        world.settle();
    }
    QuickCheck::new().tests(4000).quickcheck(property as fn(_, _));
}

#[test]
fn one_group_is_in_flight_and_all_that_came_meanwhile_is_the_next() {
    let mut world = World::new(Durability::Synced);
    world.take(&unsealed(1, 100, 1, None), Durability::Synced, 1);
    let first = world.start_work();
    for ticket in 2..10 {
        world.take(&unsealed(ticket, 100, 1, None), Durability::Synced, ticket);
    }
    assert!(world.machine.poll(world.now).is_none(), "one at a time");
    assert_eq!(done(&world.complete(first)), vec![1]);
    let second = world.start_work();
    assert_eq!(done(&world.complete(second)), (2..10).collect::<Vec<_>>(), "in order, at once");
    assert!(world.machine.poll(world.now).is_none());
}

#[test]
fn a_synced_group_is_one_write_and_needs_a_sync_only_behind_unsynced_bytes() {
    let mut world = World::new(Durability::Written);
    let batch = unsealed(1, 100, 1, None);
    let modes: Vec<Mode> = [Durability::Synced, Durability::Written, Durability::Synced]
        .into_iter()
        .map(|level| {
            world.take(&batch, level, 1);
            let Work::Write(write) = world.start_work() else { panic!("not a write") };
            let mode = write.mode;
            world.complete(Work::Write(write));
            mode
        })
        .collect();
    assert_eq!(modes, vec![Mode::Synced, Mode::Plain, Mode::PlainThenSync]);
}

#[test]
fn no_space_refuses_takes_back_offsets_and_sessions_and_tries_again() {
    let mut world = World::new(Durability::Synced);
    let batch = unsealed(1, 100, 3, session(0));
    world.take(&batch, Durability::Synced, 1);
    let work = world.start_work();
    world.take(&unsealed(2, 100, 3, session(3)), Durability::Synced, 2);
    drop(work);
    world.machine.starve(FULL, world.now);
    let mut answers = Vec::new();
    world.machine.take_answers(&mut answers);
    let refused = Err(AppendError::NoSpace(FULL));
    assert_eq!(answers, vec![(Ticket(1, 0), refused), (Ticket(2, 0), refused)]);
    assert_eq!(world.machine.watermarks().end.get(), 0);
    let now = world.now;
    let again = world.machine.append_plain(&batch, Durability::Synced, Ticket(3, 0), now);
    assert_eq!(again, AppendNow::Refused(AppendError::NoSpace(FULL)), "not before the next try");
    world.now.monotonic = now.monotonic + crate::limits::NO_SPACE_RETRY_AFTER;
    world.take(&batch, Durability::Synced, 3);
    let work = world.start_work();
    assert_eq!(done(&world.complete(work)), vec![3], "as if nothing had been");
}

#[test]
fn what_was_acknowledged_in_memory_is_kept_and_written_when_there_is_space() {
    let mut world = World::new(Durability::Memory);
    let batch = unsealed(1, 100, 3, None);
    let now = world.now;
    let answer = world.machine.append_plain(&batch, Durability::Memory, Ticket(1, 0), now);
    assert!(matches!(answer, AppendNow::Done(_)));
    drop(world.start_work());
    world.machine.starve(FULL, world.now);
    assert_eq!(world.machine.watermarks().high.get(), 3, "readers saw it");
    assert!(world.machine.poll(world.now).is_none());
    world.now.monotonic = now.monotonic + crate::limits::NO_SPACE_RETRY_AFTER;
    let work = world.start_work();
    world.complete(work);
    assert_eq!(world.machine.reached(Durability::Written).get(), 3);
    assert_eq!(world.machine.phase(), Phase::Open);
}

#[test]
fn a_repeat_that_is_acknowledged_in_memory_keeps_its_original() {
    for in_flight in [true, false] {
        let mut world = World::new(Durability::Synced);
        let batch = unsealed(1, 100, 3, session(0));
        world.take(&batch, Durability::Synced, 1);
        let work = in_flight.then(|| world.start_work());
        let now = world.now;
        let repeat = world.machine.append_plain(&batch, Durability::Memory, Ticket(2, 0), now);
        assert!(matches!(repeat, AppendNow::Done(Appended { duplicate: true, .. })), "{repeat:?}");
        drop(work.unwrap_or_else(|| world.start_work()));
        world.machine.starve(FULL, now);
        assert_eq!(world.machine.watermarks().end.get(), 3, "in flight: {in_flight}");
        world.now.monotonic = now.monotonic + crate::limits::NO_SPACE_RETRY_AFTER;
        let work = world.start_work();
        assert_eq!(done(&world.complete(work)), vec![1]);
    }
}

#[test]
fn a_failed_write_poisons_and_nothing_is_acknowledged_after_it() {
    let mut world = World::new(Durability::Synced);
    let batch = unsealed(1, 100, 1, None);
    world.take(&batch, Durability::Synced, 1);
    drop(world.start_work());
    world.machine.poison(BROKEN);
    let mut answers = Vec::new();
    world.machine.take_answers(&mut answers);
    assert_eq!(answers, vec![(Ticket(1, 0), Err(AppendError::Poisoned(BROKEN)))]);
    let now = world.now;
    for level in Durability::ALL {
        let answer = world.machine.append_plain(&batch, level, Ticket(2, 0), now);
        assert_eq!(answer, AppendNow::Refused(AppendError::Poisoned(BROKEN)));
    }
    assert!(world.machine.poll(now).is_none());
    assert_eq!(world.machine.watermarks().high.get(), 0);
}

#[test]
fn a_sync_that_is_done_while_an_earlier_one_is_out_says_nothing_by_itself() {
    for fails in [false, true] {
        let mut world = World::new(Durability::Written);
        let batch = unsealed(1, 100, 1, None);
        world.take(&batch, Durability::Written, 1);
        let work = world.start_work();
        world.complete(work);
        world.machine.want(Durability::Synced);
        let first = world.start_work();
        assert!(matches!(first, Work::Sync));
        world.take(&batch, Durability::Synced, 2);
        let second = world.start_work();
        assert!(matches!(&second, Work::Write(write) if write.mode == Mode::PlainThenSync));
        assert_eq!(world.complete(second), vec![], "its sync may have missed what failed");
        assert_eq!(world.machine.reached(Durability::Synced).get(), 0);
        if fails {
            world.machine.poison(BROKEN);
            let mut answers = Vec::new();
            world.machine.take_answers(&mut answers);
            assert_eq!(answers, vec![(Ticket(2, 0), Err(AppendError::Poisoned(BROKEN)))]);
            assert_eq!(world.machine.synced_end().1.get(), 0, "no checkpoint says otherwise");
        } else {
            assert_eq!(done(&world.complete(first)), vec![2]);
            assert_eq!(world.machine.synced_end(), (world.machine.head().position, Offset::new(2)));
        }
    }
}

#[test]
fn a_partition_poisoned_while_it_closes_is_closed_and_not_clean() {
    let batch = unsealed(1, 100, 1, None);
    for marked in [false, true] {
        let mut world = World::new(Durability::Synced);
        world.take(&batch, Durability::Synced, 1);
        world.machine.close();
        let group = world.start_work();
        if marked {
            world.complete(group);
            let clean = world.start_work();
            world.complete(clean);
            assert!(world.machine.is_clean());
        }
        world.machine.poison(BROKEN);
        let mut answers = Vec::new();
        world.machine.take_answers(&mut answers);
        let poisoned = (Ticket(1, 0), Err(AppendError::Poisoned(BROKEN)));
        assert_eq!(answers, if marked { vec![] } else { vec![poisoned] });
        assert_eq!(world.machine.phase(), Phase::Closed, "nobody will close it again");
        assert!(!world.machine.is_clean(), "what is on disk is not known");
    }
}

#[test]
fn a_record_in_memory_ages_by_the_clock_that_nobody_sets() {
    let (ttl, hour_us) = (Duration::from_secs(10), 3_600_000_000);
    for jump_us in [-hour_us, 0, hour_us] {
        let settings = Settings {
            epoch: Epoch::ZERO,
            durability: Durability::Memory,
            segment_bytes: 1 << 20,
            tail_bytes: 0,
            unhashed_bytes: 0,
            memory: Some((1 << 20, Some(ttl))),
            life: crate::retention::Life::default(),
            tiering: crate::partition::Tiering::default(),
        };
        let key = crate::testing::segment_header(1, Offset::ZERO).key();
        let mut machine = Machine::in_memory(settings, key);
        let mut now =
            Now { wall: Timestamp::new(1 << 50), monotonic: Monotonic::from_nanos(1 << 40) };
        let came = now.monotonic;
        // Longer than a gather, so that one is in the tail and one gathers.
        for seed in 0..2 {
            let batch = unsealed(seed, 60_000, 1, None);
            let answer = machine.append_plain(&batch, Durability::Memory, Ticket(seed, 0), now);
            assert!(matches!(answer, AppendNow::Done(_)), "{answer:?}");
        }
        now.wall = Timestamp::new(now.wall.get() + jump_us);
        now.monotonic = came + Duration::from_nanos(9_999_999_999);
        assert!(machine.poll(now).is_none());
        assert_eq!(machine.watermarks().low.get(), 0, "a jump of {jump_us} us");
        assert_eq!(machine.wakes_in(now), Some(Duration::from_nanos(1)));
        now.monotonic = came + ttl;
        assert!(machine.poll(now).is_none());
        assert_eq!(machine.watermarks().low.get(), 2, "a jump of {jump_us} us");
    }
}

#[test]
fn a_repeat_in_flight_waits_for_its_original() {
    let mut world = World::new(Durability::Synced);
    let batch = unsealed(1, 100, 2, session(0));
    world.take(&batch, Durability::Synced, 1);
    let work = world.start_work();
    let now = world.now;
    let repeat = world.machine.append_plain(&batch, Durability::Synced, Ticket(2, 0), now);
    assert_eq!(repeat, AppendNow::Pending, "the original is not on disk");
    let answers = world.complete(work);
    let outcomes: Vec<_> = answers.iter().map(|(_, outcome)| outcome.unwrap()).collect();
    assert_eq!(outcomes.len(), 2);
    assert_eq!(outcomes[0].base_offset, outcomes[1].base_offset);
    assert!(!outcomes[0].duplicate && outcomes[1].duplicate);
    let later = world.machine.append_plain(&batch, Durability::Synced, Ticket(3, 0), now);
    assert_eq!(later, AppendNow::Done(outcomes[1]));
}

#[test]
fn a_synced_repeat_of_a_written_original_makes_a_sync() {
    let mut world = World::new(Durability::Written);
    let batch = unsealed(1, 100, 2, session(0));
    world.take(&batch, Durability::Written, 1);
    let work = world.start_work();
    world.complete(work);
    let now = world.now;
    let repeat = world.machine.append_plain(&batch, Durability::Synced, Ticket(2, 0), now);
    assert_eq!(repeat, AppendNow::Pending);
    let work = world.start_work();
    assert!(matches!(work, Work::Sync));
    assert_eq!(done(&world.complete(work)), vec![2]);
}

#[test]
fn batches_of_one_append_are_taken_all_or_none() {
    let mut world = World::new(Durability::Synced);
    let good = unsealed(1, 100, 2, session(0));
    let gap = unsealed(2, 100, 2, session(4));
    let mut rotten = unsealed(3, 100, 2, None);
    rotten[140] ^= 1;
    let now = world.now;
    for bad in [&gap, &rotten] {
        let both = [good.clone(), bad.clone()].concat();
        let answer = world.machine.append_plain(&both, Durability::Synced, Ticket(1, 0), now);
        assert!(matches!(answer, AppendNow::Refused(_)), "{answer:?}");
        assert_eq!(world.machine.watermarks().end.get(), 0);
    }
    let next = unsealed(4, 100, 2, session(2));
    let both = [good.clone(), next].concat();
    world.take(&both, Durability::Synced, 2);
    assert_eq!(world.machine.watermarks().end.get(), 4);
    let mixed = [good, unsealed(5, 100, 2, session(4))].concat();
    let answer = world.machine.append_plain(&mixed, Durability::Synced, Ticket(3, 0), now);
    assert_eq!(answer, AppendNow::Refused(AppendError::PartlyDuplicate));
}

/// Deals numbers from a start on, if it is ready.
struct Numbers {
    next: u64,
    is_ready: bool,
}

impl RecordIds for Numbers {
    fn ready(&mut self, _records: u64) -> bool {
        self.is_ready
    }

    fn deal(&mut self, records: u32) -> u64 {
        let first = self.next;
        self.next += u64::from(records);
        first
    }
}

#[test]
fn an_append_has_a_limit_of_records_however_well_they_compress() {
    let mut world = World::new(Durability::Memory);
    let mut builder = RowsBuilder::new(BuilderConfig {
        codec: Codec::Lz4,
        batch_bytes_max: BATCH_BYTES_MAX,
        records_max: RECORDS_PER_BATCH_MAX,
        ..BuilderConfig::default()
    });
    for _ in 0..500_000 {
        builder.push(&Record::default()).unwrap();
    }
    let batch = builder.finish(None).unwrap();
    let now = world.now;
    let taken = world.machine.append_plain(&batch.repeat(4), Durability::Memory, Ticket(1, 0), now);
    assert!(matches!(taken, AppendNow::Done(_)), "{taken:?}");
    let more = world.machine.append_plain(&batch.repeat(5), Durability::Memory, Ticket(1, 0), now);
    let (max, found) = (APPEND_RECORDS_MAX, 2_500_000);
    assert_eq!(more, AppendNow::Refused(AppendError::TooManyRecords { max, found }));
}

#[test]
fn new_batches_get_the_id_of_their_first_record_and_repeats_keep_theirs() {
    let mut world = World::new(Durability::Memory);
    let (level, now) = (Durability::Memory, world.now);
    let both = [unsealed(1, 100, 3, session(0)), unsealed(2, 100, 2, session(3))].concat();
    let wanted = Wanted { batches: &both, level, ticket: Ticket(1, 0) };
    let mut ids = Numbers { next: 700, is_ready: false };
    let refused = world.machine.append(wanted, &mut ids, now);
    assert_eq!(refused, AppendNow::Refused(AppendError::Busy));
    assert_eq!((world.machine.watermarks().end.get(), ids.next), (0, 700), "nothing was done");
    ids.is_ready = true;
    assert!(matches!(world.machine.append(wanted, &mut ids, now), AppendNow::Done(_)));
    let repeat = world.machine.append(wanted, &mut ids, now);
    assert!(matches!(repeat, AppendNow::Done(Appended { duplicate: true, .. })));
    let group = world.machine.queue.back().unwrap();
    let bases: Vec<u64> = Items::new(group.body())
        .map(|item| match item.unwrap() {
            Item::Batch(batch) => batch.header().owner.scarab_base,
            Item::Mark(_) => unreachable!("a group holds batches"),
        })
        .collect();
    assert_eq!((bases, ids.next), (vec![700, 703], 705));
}

#[test]
fn what_gathers_behind_a_slow_disk_is_bounded_and_busy_is_the_answer() {
    let mut world = World::with_segments(Durability::Synced, 1 << 30);
    let batch = unsealed(1, 1 << 20, 1, None);
    world.take(&batch, Durability::Synced, 1);
    let work = world.start_work();
    let now = world.now;
    let mut taken = 0;
    let answer = loop {
        match world.machine.append_plain(&batch, Durability::Synced, Ticket(9, 0), now) {
            AppendNow::Pending => taken += batch.len(),
            answer => break answer,
        }
    };
    assert_eq!(answer, AppendNow::Refused(AppendError::Busy));
    assert!(taken <= GATHERED_BYTES_MAX && taken + (2 << 20) > GATHERED_BYTES_MAX, "{taken}");
    world.complete(work);
    drop(world.start_work());
    let answer = world.machine.append_plain(&batch, Durability::Synced, Ticket(9, 0), now);
    assert_eq!(answer, AppendNow::Pending, "a group left, there is room");
}

#[test]
fn marks_empty_and_oversized_appends_are_refused_by_name() {
    let mut world = World::new(Durability::Synced);
    let now = world.now;
    let mut refused = |bytes: &[u8]| match world.machine.append_plain(
        bytes,
        Durability::Synced,
        Ticket(1, 0),
        now,
    ) {
        AppendNow::Refused(error) => error,
        answer => panic!("{answer:?}"),
    };
    assert_eq!(refused(&[]), AppendError::Empty);
    let mut mark = [0; 64];
    mark[..4].copy_from_slice(b"PYM1");
    assert!(matches!(refused(&mark), AppendError::Invalid(_)), "a producer sends no marks");
    let batch = unsealed(1, 4 << 20, 1, None);
    let five: Vec<u8> = batch.repeat(5);
    assert!(matches!(refused(&five), AppendError::TooLarge { .. }));
    assert!(matches!(refused(&batch[..200]), AppendError::Invalid(_)));
}

#[test]
fn small_groups_gather_in_small_buffers_and_an_idle_machine_holds_none() {
    let mut world = World::with_segments(Durability::Synced, 1 << 30);
    world.take(&unsealed(1, 100, 1, None), Durability::Synced, 1);
    assert_eq!(world.machine.stats().memory_bytes, crate::limits::GATHER_SMALL_BYTES as u64);
    let work = world.start_work();
    world.complete(work);
    world.now.monotonic = world.now.monotonic + Duration::from_mins(1);
    while let Some(work) = world.machine.poll(world.now) {
        world.complete(work);
        world.now.monotonic = world.now.monotonic + Duration::from_mins(1);
    }
    assert!(world.machine.stats().memory_bytes <= crate::limits::TAIL_IDLE_BYTES as u64);
    assert_eq!(world.machine.wakes_in(world.now), None, "nothing ticks");
}

/// Writes groups of some 20 KB, each in a buffer of 64 KiB; after each, says what the tail holds.
fn groups(world: &mut World, count: u64) -> Vec<u64> {
    let write = |number| {
        world.take(&unsealed(number, 20_000, 1, None), Durability::Synced, number);
        let work = world.start_work();
        world.complete(work);
        world.machine.tail.held_bytes()
    };
    (0..count).map(write).collect()
}

#[test]
fn the_tail_keeps_what_waits_to_be_hashed_and_no_more_than_a_share_for_it() {
    const GROUP: u64 = 64 << 10;
    let mut world = World::with(Durability::Synced, 16 << 20, |settings| {
        (settings.tail_bytes, settings.unhashed_bytes) = (2 * GROUP, 4 * GROUP);
    });
    let most = |held: Vec<u64>| held.into_iter().max().unwrap();
    assert_eq!(
        most(groups(&mut world, 20)),
        6 * GROUP,
        "hashing stands still: two shares, no more"
    );
    let start = world.machine.tail.start();
    assert!(start > Offset::ZERO, "what lags further was given up");
    world.machine.note_hashed(start);
    assert_eq!(world.machine.tail.start(), start, "what waits is there");
    let end = world.machine.watermarks().end;
    world.machine.note_hashed(end);
    assert_eq!(world.machine.tail.held_bytes(), 2 * GROUP, "nothing waits: one share, at once");
    world.machine.note_hashed(Offset::MAX);
    assert_eq!(
        most(groups(&mut world, 20)),
        2 * GROUP,
        "nothing is kept for a tree that stands still"
    );
    let mut world = World::with(Durability::Synced, 16 << 20, |settings| {
        settings.tail_bytes = 2 * GROUP;
    });
    assert_eq!(most(groups(&mut world, 20)), 2 * GROUP, "nothing for a log without one");
}
