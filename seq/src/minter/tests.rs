//! Tests of the minter.

use std::collections::BTreeMap;

use quickcheck::{Arbitrary, Gen, quickcheck};

use super::*;

/// Some moment of 2026.
const START_MS: u64 = 40_000_000_000;

fn slots(text: &str) -> SlotSet {
    text.parse().unwrap()
}

/// A minter that has lived for so long that it reserves as much as it may, after an extension.
fn opened(slots_of: &str) -> Minter {
    let mut minter = Minter::new(&slots(slots_of), 0, START_MS - RESERVE_MS);
    assert_eq!(minter.poll_extend(START_MS), Some(START_MS + RESERVE_MS));
    minter.extended();
    minter
}

fn first(slot: u16, time_ms: u64, sequence: u64) -> ScarabId {
    let tick = Tick::new(time_ms << SEQUENCE_BITS | sequence).unwrap();
    ScarabId::new(Slot::new(slot).unwrap(), tick)
}

/// The first id of a deal of `count`, and a check that the others follow it.
fn deal(minter: &mut Minter, count: u32, now_ms: u64) -> Result<ScarabId, NotReady> {
    let block = minter.deal(count, now_ms)?;
    assert_eq!(block.count(), count);
    Ok(ScarabId::new(block.slot(), block.first()))
}

#[test]
fn ten_million_ids_of_a_slot_rise() {
    let mut minter = Minter::in_memory(&slots("5"), START_MS);
    let mut last = None;
    for n in 0..10_000_000_u64 {
        // 20 a microsecond: faster than a slot counts, so that it runs ahead and has to wait.
        let mut now_ms = START_MS + n / 20_000;
        if let Err(NotReady::Ahead { wait_ms }) = minter.ready(1, now_ms) {
            now_ms += wait_ms;
            minter.ready(1, now_ms).unwrap();
        }
        let id = minter.take(1);
        assert!(last < Some(id) && id.slot().get() == 5, "{id} after {last:?}");
        last = Some(id);
    }
    assert_eq!(minter.dealt(), 10_000_000);
}

#[test]
fn the_sequence_carries_into_the_time() {
    let mut minter = opened("1");
    for n in 0..8192 {
        assert_eq!(deal(&mut minter, 1, START_MS), Ok(first(1, START_MS, n)));
    }
    assert_eq!(deal(&mut minter, 1, START_MS), Ok(first(1, START_MS + 1, 0)));
    assert_eq!(deal(&mut minter, 8192, START_MS), Ok(first(1, START_MS + 1, 1)));
    assert_eq!(deal(&mut minter, 1, START_MS + 2), Ok(first(1, START_MS + 2, 1)));
    assert_eq!(deal(&mut minter, 1, START_MS + 9), Ok(first(1, START_MS + 9, 0)));
    assert_eq!(deal(&mut minter, 1, START_MS - 9), Ok(first(1, START_MS + 9, 1)), "clock back");
}

#[test]
fn a_slot_that_runs_ahead_gives_way_to_the_next() {
    let mut minter = opened("3,4");
    let twelve_ms = 12 * 8192;
    assert_eq!(deal(&mut minter, twelve_ms, START_MS), Ok(first(3, START_MS, 0)));
    assert_eq!(deal(&mut minter, 1, START_MS + 1), Ok(first(4, START_MS + 1, 0)), "11 ms ahead");
    assert_eq!(deal(&mut minter, twelve_ms, START_MS + 1), Ok(first(4, START_MS + 1, 1)));
    assert_eq!(deal(&mut minter, 1, START_MS + 2), Ok(first(3, START_MS + 12, 0)), "in turn");
    assert_eq!(deal(&mut minter, 1, START_MS + 2), Ok(first(3, START_MS + 12, 1)), "10 ms ahead");
}

#[test]
fn one_slot_runs_ahead_for_so_long_and_then_has_callers_wait() {
    let mut minter = Minter::in_memory(&slots("9"), START_MS);
    let second = 8192 * 100;
    for tenth in 0..50 {
        let expected = first(9, START_MS + tenth * 100, 0);
        assert_eq!(deal(&mut minter, second, START_MS), Ok(expected));
    }
    assert_eq!(minter.ahead_ms(START_MS), AHEAD_MS_MAX);
    assert_eq!(deal(&mut minter, second, START_MS), Ok(first(9, START_MS + 5_000, 0)));
    assert_eq!(deal(&mut minter, 1, START_MS), Err(NotReady::Ahead { wait_ms: 100 }));
    assert_eq!(deal(&mut minter, 1, START_MS + 99), Err(NotReady::Ahead { wait_ms: 1 }));
    assert_eq!(deal(&mut minter, 1, START_MS + 100), Ok(first(9, START_MS + 5_100, 0)));
}

#[test]
fn the_runs_of_one_append_follow_each_other_in_one_slot() {
    let mut minter = opened("1,2");
    deal(&mut minter, 11 * 8192, START_MS).unwrap();
    minter.ready(READY_COUNT_MAX, START_MS).unwrap();
    let one = minter.take(1000);
    let other = minter.take(2 * DEAL_COUNT_MAX - 1000);
    assert_eq!(one, first(2, START_MS, 0));
    assert_eq!(Some(other), one.nth(1000));
    assert_eq!(minter.ready(1, START_MS), Ok(()));
    assert_eq!(minter.take(1), first(1, START_MS + 11, 0), "then the next slot's turn");
}

#[test]
fn ids_that_were_ready_and_not_taken_are_not_lost() {
    let mut minter = opened("1");
    minter.ready(1_000_000, START_MS).unwrap();
    assert_eq!(minter.take(3), first(1, START_MS, 0));
    minter.ready(2, START_MS).unwrap();
    assert_eq!(minter.take(2), first(1, START_MS, 3));
}

#[test]
#[should_panic(expected = "2 ids of 1 that are ready")]
fn taking_more_than_is_ready_panics() {
    let mut minter = opened("1");
    minter.ready(2, START_MS).unwrap();
    minter.take(1);
    minter.take(2);
}

#[test]
#[should_panic(expected = "1 ids of 0 that are ready")]
fn nothing_is_ready_after_a_refusal() {
    let mut minter = opened("1");
    minter.ready(2, START_MS).unwrap();
    assert_eq!(minter.ready(1, START_MS + RESERVE_MS), Err(NotReady::NotDurable));
    minter.take(1);
}

#[test]
fn nothing_is_dealt_before_the_mark_of_this_life_is_durable() {
    let mut minter = Minter::new(&slots("1"), START_MS, START_MS - 100);
    assert_eq!(minter.ready(1, START_MS), Err(NotReady::NotDurable));
    assert_eq!(
        minter.poll_extend(START_MS - 100),
        Some(START_MS + 1 + RESERVE_MS_MIN),
        "for the run that is wanted"
    );
    assert_eq!(minter.ready(1, START_MS), Err(NotReady::NotDurable));
    minter.extended();
    assert_eq!(deal(&mut minter, 1, START_MS - 100), Ok(first(1, START_MS, 0)), "from the floor");
}

#[test]
fn the_last_id_below_the_mark_is_dealt_and_the_next_is_not() {
    let mut minter = opened("1");
    let mark_ms = START_MS + RESERVE_MS;
    assert_eq!(minter.high_water_ms(), mark_ms);
    assert_eq!(deal(&mut minter, 8193, mark_ms - 1), Err(NotReady::NotDurable));
    assert_eq!(deal(&mut minter, 8192, mark_ms - 1), Ok(first(1, mark_ms - 1, 0)));
    assert_eq!(deal(&mut minter, 1, mark_ms - 1), Err(NotReady::NotDurable));
}

#[test]
fn the_mark_moves_when_half_of_it_is_used_and_one_write_at_a_time() {
    let mut minter = opened("1");
    let half = START_MS + RESERVE_MS / 2;
    assert_eq!((minter.extend_in_ms(START_MS), minter.poll_extend(half)), (Some(1001), None));
    assert_eq!(minter.extend_in_ms(half), Some(1));
    assert_eq!(minter.poll_extend(half + 1), Some(half + 1 + RESERVE_MS));
    assert_eq!((minter.extend_in_ms(half + 1), minter.poll_extend(half + 900)), (None, None));
    assert_eq!(minter.high_water_ms(), START_MS + RESERVE_MS);
    minter.not_extended();
    assert_eq!(minter.poll_extend(half + 2), Some(half + 2 + RESERVE_MS), "tried again");
    minter.extended();
    assert_eq!(minter.high_water_ms(), half + 2 + RESERVE_MS);
}

#[test]
fn ids_ahead_of_the_clock_move_the_mark() {
    let mut minter = opened("1");
    deal(&mut minter, DEAL_COUNT_MAX, START_MS + 900).unwrap();
    assert_eq!(minter.poll_extend(START_MS + 900), Some(START_MS + 900 + 128 + RESERVE_MS));
}

#[test]
fn the_mark_stays_when_nobody_asks_for_ids() {
    let mut minter = opened("1");
    let idle = START_MS - RESERVE_MS + KEEP_MS + 1;
    assert!(minter.poll_extend(idle - 1).is_some());
    minter.extended();
    assert_eq!((minter.extend_in_ms(idle), minter.poll_extend(idle + 10_000)), (None, None));
    assert_eq!(minter.ready(1, idle + 10_000), Err(NotReady::NotDurable));
    assert_eq!(minter.poll_extend(idle + 10_000), Some(idle + 10_001 + RESERVE_MS));
}

#[test]
fn a_server_that_is_started_again_and_again_does_not_run_away_from_its_clock() {
    // Each life deals a few ids at once, lives for a moment, and the next one begins soon after.
    let (mut floor_ms, mut wall_ms) = (0, START_MS);
    for life in 0..1000 {
        let lived_ms = [0, 60, 700][life % 3];
        // What the clock shows, unless former lives have dealt from later: see `clock`.
        let now_ms = |wall_ms: u64| wall_ms.max(floor_ms);
        let mut minter = Minter::new(&slots("1"), floor_ms, now_ms(wall_ms));
        for passed_ms in [0, lived_ms] {
            let now_ms = now_ms(wall_ms + passed_ms);
            minter.ready(5, now_ms).ok(); // Err: then it is wanted.
            if minter.poll_extend(now_ms).is_some() {
                minter.extended();
            }
            minter.deal(5, now_ms).unwrap();
        }
        floor_ms = minter.high_water_ms();
        wall_ms += lived_ms + RESERVE_MS_MIN;
    }
    let ahead_ms = floor_ms.saturating_sub(wall_ms);
    assert!(ahead_ms <= RESERVE_MS, "{ahead_ms} ms ahead of the clock");
}

#[test]
fn time_ends_with_an_answer() {
    let end = TIME_MS_END;
    let mut minter = Minter::new(&slots("1"), end - 3, end - 3);
    assert_eq!(minter.poll_extend(end - 3), Some(end));
    minter.extended();
    assert_eq!((minter.extend_in_ms(end - 3), minter.poll_extend(end)), (None, None));
    let last = first(1, end - 1, 8191);
    assert_eq!(deal(&mut minter, 8193, end - 1), Err(NotReady::Exhausted));
    assert_eq!(deal(&mut minter, 8192, end - 1).map(|id| id.nth(8191)), Ok(Some(last)));
    for now_ms in [0, end - 1, end, u64::MAX] {
        let refused = deal(&mut minter, 1, now_ms);
        assert!(matches!(refused, Err(NotReady::Exhausted | NotReady::Ahead { .. })), "{now_ms}");
    }
}

/// What happens to the minters of a machine.
#[derive(Clone, Debug)]
enum Step {
    /// An append makes sure of so many ids and takes some of them.
    Append { shard: usize, count: u32, taken: u32 },
    /// A client asks for a block.
    Deal { shard: usize, count: u32 },
    /// The clock moves: it may jump.
    Clock(i64),
    /// The keeper starts a write of the mark.
    Extend { shard: usize },
    /// The write ends.
    Extended { shard: usize, ok: bool },
    /// All ends and begins again, with the slots given to other shards; a write in flight may be durable.
    Restart { turn: usize, kept: bool },
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Self {
        let shard = usize::arbitrary(g) % SHARDS;
        let sizes = [1, 7, 8191, 8192, 8193, 100_000, DEAL_COUNT_MAX, 2 * DEAL_COUNT_MAX];
        let count = *g.choose(&sizes).unwrap();
        match u8::arbitrary(g) % 16 {
            0..4 => Self::Append { shard, count, taken: u32::arbitrary(g) % count + 1 },
            4..8 => Self::Deal { shard, count: count.min(DEAL_COUNT_MAX) },
            8..10 => Self::Clock(i64::arbitrary(g) % 2_000),
            10 => Self::Clock(*g.choose(&[-3_600_000, 3_600_000, 20_000]).unwrap()),
            11 | 12 => Self::Extend { shard },
            13 | 14 => Self::Extended { shard, ok: bool::arbitrary(g) },
            _ => Self::Restart { turn: usize::arbitrary(g) % SHARDS, kept: bool::arbitrary(g) },
        }
    }
}

const SHARDS: usize = 3;

/// Minters of one machine, their disks, and everything they have ever dealt.
struct World {
    minters: Vec<Minter>,
    /// The mark on each shard's disk, and one that is being written.
    marks: Vec<(u64, Option<u64>)>,
    now_ms: u64,
    /// Per slot the ticks dealt: end by start. Runs of a slot must rise.
    dealt: BTreeMap<Slot, BTreeMap<u64, u64>>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            minters: Vec::new(),
            marks: vec![(0, None); SHARDS],
            now_ms: START_MS,
            dealt: BTreeMap::new(),
        };
        world.restart(0);
        world
    }

    fn after(steps: &[Step]) -> Self {
        let mut world = Self::new();
        for step in steps {
            world.step(step);
        }
        world
    }

    fn restart(&mut self, turn: usize) {
        let floor = self.marks.iter().map(|(mark, _)| *mark).max().unwrap();
        let parts = slots("0-5").split(SHARDS).unwrap();
        let shards = (0..SHARDS).map(|shard| (shard + turn) % SHARDS);
        self.minters = shards.map(|part| Minter::new(&parts[part], floor, self.now_ms)).collect();
        self.marks.iter_mut().for_each(|(_, writing)| *writing = None);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append { shard, count, taken } => {
                let minter = &mut self.minters[shard];
                if minter.ready(u64::from(count), self.now_ms).is_ok() {
                    let runs = [taken.div_ceil(2), taken / 2].into_iter().filter(|run| *run > 0);
                    let runs: Vec<_> = runs.map(|run| (minter.take(run), run)).collect();
                    for (first, run) in runs {
                        self.saw(shard, first, run);
                    }
                }
            }
            Step::Deal { shard, count } => {
                if let Ok(block) = self.minters[shard].deal(count, self.now_ms) {
                    self.saw(shard, ScarabId::new(block.slot(), block.first()), count);
                }
            }
            Step::Clock(by_ms) => {
                self.now_ms = self.now_ms.saturating_add_signed(by_ms).max(START_MS / 2);
            }
            Step::Extend { shard } => {
                if let Some(mark) = self.minters[shard].poll_extend(self.now_ms) {
                    assert_eq!(self.marks[shard].1.replace(mark), None, "one write at a time");
                    assert!(mark > self.marks[shard].0, "the mark grows");
                }
            }
            Step::Extended { shard, ok } => {
                if let Some(mark) = self.marks[shard].1.take() {
                    if ok {
                        self.marks[shard].0 = mark;
                        self.minters[shard].extended();
                    } else {
                        self.minters[shard].not_extended();
                    }
                }
            }
            Step::Restart { turn, kept } => {
                for (mark, writing) in &mut self.marks {
                    *mark = writing.filter(|_| kept).unwrap_or(*mark);
                }
                self.restart(turn);
            }
        }
    }

    /// Notes a run and checks that it is new, the newest of its slot, and below the mark on disk.
    fn saw(&mut self, shard: usize, first: ScarabId, count: u32) {
        let start = first.tick().get();
        let end = start + u64::from(count);
        let runs = self.dealt.entry(first.slot()).or_default();
        let newest = runs.last_key_value().map_or(0, |(_, end)| *end);
        assert!(newest <= start, "slot {}: {start} after {newest}", first.slot());
        runs.insert(start, end);
        let mark = self.marks[shard].0;
        assert!((end - 1) >> SEQUENCE_BITS < mark, "{end} above the mark {mark} of {shard}");
    }
}

quickcheck! {
    fn no_id_is_ever_dealt_twice(steps: Vec<Step>) -> bool {
        World::after(&steps);
        true
    }

    fn ids_are_dealt_again_once_the_clock_and_the_disk_are_well(steps: Vec<Step>) -> bool {
        let mut world = World::after(&steps);
        for shard in 0..SHARDS {
            world.step(&Step::Extended { shard, ok: true });
            // As a disciplined clock is: not behind what was dealt by more than a slot may run ahead.
            world.now_ms = world.now_ms.max(world.minters[shard].newest >> SEQUENCE_BITS);
            let refused = world.minters[shard].ready(READY_COUNT_MAX, world.now_ms);
            if refused == Err(NotReady::NotDurable) {
                world.step(&Step::Extend { shard });
                world.step(&Step::Extended { shard, ok: true });
            }
            if world.minters[shard].ready(READY_COUNT_MAX, world.now_ms).is_err() {
                return false;
            }
        }
        true
    }
}
