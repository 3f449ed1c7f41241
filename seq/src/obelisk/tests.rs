//! Tests of the machine.

use std::collections::VecDeque;

use quickcheck::{Arbitrary, Gen, QuickCheck};

use super::*;

const NOW: Monotonic = Monotonic::ZERO;
const SECOND: Duration = Duration::from_secs(1);

fn count(count: u64) -> NonZeroU64 {
    NonZeroU64::new(count).unwrap()
}

fn later(seconds: u64) -> Monotonic {
    NOW.after(SECOND * u32::try_from(seconds).unwrap())
}

/// A counter at `value` whose first reservation has landed.
fn reserved(block: u64, low_water: u64, value: u64) -> Obelisk<u32> {
    let mut obelisk = Obelisk::new(Mode::Reserve { block, low_water }, value);
    obelisk.wait(count(1), 0).unwrap();
    assert_eq!(obelisk.poll_extend(NOW), Some(value + 1 + block));
    obelisk.extended(value + 1 + block);
    assert_eq!(obelisk.pop_dealt(), Some((0, value..value + 1)));
    obelisk
}

#[test]
fn nothing_is_dealt_before_the_first_extension_of_a_life() {
    for mode in [Mode::Always, Mode::Group, Mode::default()] {
        let mut obelisk = Obelisk::<()>::new(mode, 100);
        assert_eq!(obelisk.try_take(count(1)), None, "{mode:?}");
        assert_eq!(obelisk.poll_extend(NOW), None, "{mode:?}: nobody asked for a number");
        assert_eq!(obelisk.deadline(), None, "{mode:?}");
    }
}

#[test]
fn always_extends_for_one_request_at_a_time() {
    let mut obelisk = Obelisk::new(Mode::Always, 7);
    for (waiter, counted) in [2, 3].into_iter().enumerate() {
        obelisk.wait(count(counted), waiter).unwrap();
    }
    assert_eq!(obelisk.poll_extend(NOW), Some(9));
    assert_eq!(obelisk.poll_extend(NOW), None, "one is in flight");
    assert_eq!(obelisk.pop_dealt(), None);
    obelisk.extended(9);
    assert_eq!(obelisk.pop_dealt(), Some((0, 7..9)));
    assert_eq!(obelisk.pop_dealt(), None);
    assert_eq!(obelisk.poll_extend(NOW), Some(12));
    obelisk.extended(12);
    assert_eq!(obelisk.pop_dealt(), Some((1, 9..12)));
    assert_eq!((obelisk.poll_extend(NOW), obelisk.next()), (None, 12));
}

#[test]
fn group_extends_once_for_all_that_wait() {
    let mut obelisk = Obelisk::new(Mode::Group, 0);
    obelisk.wait(count(1), 'a').unwrap();
    assert_eq!(obelisk.poll_extend(NOW), Some(1));
    for waiter in ['b', 'c', 'd'] {
        obelisk.wait(count(10), waiter).unwrap();
    }
    obelisk.extended(1);
    assert_eq!(obelisk.pop_dealt(), Some(('a', 0..1)));
    assert_eq!(obelisk.pop_dealt(), None);
    assert_eq!(obelisk.poll_extend(NOW), Some(31));
    obelisk.extended(31);
    for (waiter, start) in [('b', 1), ('c', 11), ('d', 21)] {
        assert_eq!(obelisk.pop_dealt(), Some((waiter, start..start + 10)));
    }
}

#[test]
fn reserve_deals_without_waiting_and_fills_up_when_it_runs_low() {
    let mut obelisk = reserved(100, 40, 0);
    assert_eq!(obelisk.try_take(count(60)), Some(1..61));
    assert!(!obelisk.is_stirred(), "40 are left");
    assert_eq!(obelisk.poll_extend(NOW), None);
    assert_eq!(obelisk.try_take(count(1)), Some(61..62));
    assert!(obelisk.is_stirred());
    assert_eq!(obelisk.poll_extend(NOW), Some(162), "a block from where it stands");
    assert!(!obelisk.is_stirred(), "one is in flight");
    assert_eq!(obelisk.try_take(count(39)), Some(62..101), "what is durable is dealt meanwhile");
    assert_eq!(obelisk.try_take(count(1)), None);
    obelisk.extended(162);
    assert!(obelisk.is_stirred() || obelisk.poll_extend(NOW).is_none());
    assert_eq!(obelisk.try_take(count(1)), Some(101..102));
}

#[test]
fn a_request_greater_than_the_block_is_served_and_nobody_overtakes_it() {
    let mut obelisk = reserved(10, 5, 0);
    obelisk.wait(count(50), 1).unwrap();
    assert_eq!(obelisk.try_take(count(1)), None, "there are some, but somebody waits");
    assert_eq!(obelisk.poll_extend(NOW), Some(61));
    obelisk.extended(61);
    assert_eq!(obelisk.pop_dealt(), Some((1, 1..51)));
    assert_eq!(obelisk.try_take(count(1)), Some(51..52));
}

#[test]
fn an_interval_deals_at_once_and_extends_once_in_a_while() {
    let mut obelisk = Obelisk::<()>::new(Mode::UnsafeInterval { interval: SECOND }, 5);
    assert_eq!(obelisk.deadline(), None);
    assert_eq!(obelisk.try_take(count(3)), Some(5..8));
    assert!(obelisk.is_stirred());
    assert_eq!(obelisk.poll_extend(later(9)), Some(8));
    assert_eq!(obelisk.try_take(count(1)), Some(8..9), "while one is in flight");
    obelisk.extended(8);
    assert_eq!(obelisk.poll_extend(later(9)), None);
    assert!(!obelisk.is_stirred(), "the deadline is known");
    assert_eq!(obelisk.deadline(), Some(later(10)));
    assert_eq!(obelisk.poll_extend(later(10)), Some(9));
    obelisk.extended(9);
    assert_eq!((obelisk.poll_extend(later(99)), obelisk.deadline()), (None, None));
}

#[test]
fn memory_never_extends() {
    let mut obelisk = Obelisk::<()>::new(Mode::Memory, 0);
    assert_eq!(obelisk.try_take(count(TAKE_COUNT_MAX)), Some(0..TAKE_COUNT_MAX));
    obelisk.raise(1 << 40);
    assert_eq!(obelisk.try_take(count(1)), Some((1 << 40)..(1 << 40) + 1));
    assert_eq!((obelisk.poll_extend(later(9)), obelisk.deadline()), (None, None));
    assert!(!obelisk.is_stirred());
}

#[test]
fn the_line_is_bounded_and_whoever_is_turned_away_gets_its_place_back() {
    let mut obelisk = Obelisk::new(Mode::Group, 0);
    for waiter in 0..WAITING_MAX {
        obelisk.wait(count(1), waiter).unwrap();
    }
    assert_eq!(obelisk.wait(count(1), 9999), Err(Unqueued::Busy(9999)));
    assert_eq!(obelisk.pop_waiting(), Some(0));
    obelisk.wait(count(1), 9999).unwrap();
    let extended = WAITING_MAX as u64;
    assert_eq!(obelisk.poll_extend(NOW), Some(extended), "who went away is not counted");
}

#[test]
fn the_last_number_is_dealt_and_then_there_are_none() {
    let mut obelisk = Obelisk::new(Mode::default(), u64::MAX - 2);
    assert_eq!(obelisk.wait(count(3), 'x'), Err(Unqueued::Exhausted('x')));
    obelisk.wait(count(2), 'y').unwrap();
    assert_eq!(obelisk.wait(count(1), 'z'), Err(Unqueued::Exhausted('z')));
    assert_eq!(obelisk.poll_extend(NOW), Some(u64::MAX));
    obelisk.extended(u64::MAX);
    assert_eq!(obelisk.pop_dealt(), Some(('y', u64::MAX - 2..u64::MAX)));
    assert_eq!((obelisk.poll_extend(NOW), obelisk.deadline()), (None, None));
}

#[test]
fn a_refused_reservation_is_tried_again_later_or_when_somebody_needs_it() {
    let mut obelisk = reserved(10, 10, 0);
    assert_eq!(obelisk.try_take(count(4)), Some(1..5));
    assert_eq!(obelisk.poll_extend(later(1)), Some(15));
    obelisk.refused(later(1));
    assert!(!obelisk.is_stirred());
    assert_eq!(obelisk.poll_extend(later(1)), None);
    assert_eq!(obelisk.deadline(), Some(later(2)));
    assert_eq!(obelisk.try_take(count(6)), Some(5..11), "what is durable stays durable");
    obelisk.wait(count(1), 1).unwrap();
    assert_eq!(obelisk.poll_extend(later(1)), Some(22));
    obelisk.refused(later(1));
    assert_eq!(obelisk.pop_waiting(), Some(1));
    assert_eq!(obelisk.poll_extend(later(1)), None);
    assert_eq!(obelisk.poll_extend(later(2)), Some(21));
}

#[test]
fn a_raise_skips_what_is_below_and_deals_on_until_it_is_durable() {
    let mut obelisk = reserved(10, 5, 0);
    obelisk.raise(8);
    assert_eq!(obelisk.try_take(count(1)), Some(8..9), "that much was durable");
    obelisk.raise(3);
    assert_eq!(obelisk.next(), 9);
    obelisk.raise(1000);
    assert_eq!(obelisk.poll_extend(NOW), Some(1010));
    assert_eq!(obelisk.try_take(count(1)), Some(9..10));
    obelisk.extended(1010);
    assert_eq!(obelisk.try_take(count(1)), Some(1000..1001));

    let mut refused = Obelisk::<()>::new(Mode::Always, 0);
    refused.raise(50);
    assert_eq!(refused.poll_extend(NOW), Some(50));
    refused.refused(NOW);
    assert_eq!(refused.poll_extend(later(9)), None, "who asked for it was told");
}

#[test]
fn a_stopped_counter_deals_nothing() {
    let mut obelisk = reserved(10, 5, 0);
    obelisk.stop();
    assert_eq!(obelisk.try_take(count(1)), None);
    assert!(!obelisk.is_stirred());
}

#[test]
#[should_panic(expected = "20 was asked for, not 19")]
fn an_extension_that_falls_short_is_noticed() {
    let mut obelisk = Obelisk::new(Mode::Group, 10);
    obelisk.wait(count(10), ()).unwrap();
    obelisk.poll_extend(NOW);
    obelisk.extended(19);
}

#[test]
fn modes_out_of_range_are_known() {
    let millisecond = Duration::from_millis(1);
    for (mode, is_valid) in [
        (Mode::reserve(1), true),
        (Mode::reserve(BLOCK_MAX), true),
        (Mode::reserve(0), false),
        (Mode::reserve(BLOCK_MAX + 1), false),
        (Mode::Reserve { block: 4, low_water: 5 }, false),
        (Mode::UnsafeInterval { interval: millisecond }, true),
        (Mode::UnsafeInterval { interval: INTERVAL_MAX }, true),
        (Mode::UnsafeInterval { interval: INTERVAL_MAX + millisecond }, false),
        (Mode::UnsafeInterval { interval: Duration::ZERO }, false),
        (Mode::UnsafeInterval { interval: millisecond / 2 }, false),
    ] {
        assert_eq!(mode.is_valid(), is_valid, "{mode:?}");
    }
}

/// What may happen to a counter.
#[derive(Clone, Copy, Debug)]
enum Step {
    TryTake(u64),
    Wait(u64),
    Extend,
    Extended,
    Refused,
    Raise(u64),
    /// What is durable comes back; of an extension in flight, all or nothing.
    Crash {
        in_flight_lasted: bool,
    },
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Self {
        let some = u64::from(u8::arbitrary(g)) % 40 + 1;
        match u8::arbitrary(g) % 16 {
            0..4 => Self::TryTake(some),
            4..7 => Self::Wait(some),
            7..10 => Self::Extend,
            10..13 => Self::Extended,
            13 => Self::Refused,
            14 => Self::Raise(u64::from(u16::arbitrary(g)) % 500),
            _ => Self::Crash { in_flight_lasted: bool::arbitrary(g) },
        }
    }
}

/// The counter, its disk, and an oracle that has seen every number that was ever dealt.
struct Model {
    mode: Mode,
    obelisk: Obelisk<u64>,
    disk: u64,
    in_flight: Option<u64>,
    /// Every number dealt is below.
    dealt_below: u64,
    /// Counts in line, as the machine should have them.
    line: VecDeque<u64>,
    /// The greatest value that was raised to.
    raised: u64,
    /// Numbers that were asked for in this life and refused: they may have been reserved.
    refused: u64,
    clock: u64,
}

impl Model {
    fn new(mode: Mode) -> Self {
        let obelisk = Obelisk::new(mode, 0);
        Self {
            mode,
            obelisk,
            disk: 0,
            in_flight: None,
            dealt_below: 0,
            line: VecDeque::new(),
            raised: 0,
            refused: 0,
            clock: 0,
        }
    }

    fn dealt(&mut self, dealt: &Range<u64>) {
        assert!(self.dealt_below <= dealt.start, "{dealt:?} after {}", self.dealt_below);
        assert!(dealt.end <= self.disk, "{dealt:?} of {} on disk", self.disk);
        self.dealt_below = dealt.end;
    }

    fn pop(&mut self) {
        while let Some((waiter, dealt)) = self.obelisk.pop_dealt() {
            assert_eq!(self.line.pop_front(), Some(waiter), "first come, first served");
            assert_eq!(dealt.end - dealt.start, waiter);
            self.dealt(&dealt);
        }
    }

    fn block(&self) -> u64 {
        match self.mode {
            Mode::Reserve { block, .. } => block,
            _ => 0,
        }
    }

    fn step(&mut self, step: Step) {
        self.clock += 1;
        let now = later(self.clock);
        match step {
            Step::TryTake(some) => {
                if let Some(dealt) = self.obelisk.try_take(count(some)) {
                    assert!(self.line.is_empty(), "it overtook somebody");
                    self.dealt(&dealt);
                }
            }
            Step::Wait(some) => {
                self.obelisk.wait(count(some), some).unwrap();
                self.line.push_back(some);
                self.pop();
            }
            Step::Extend => {
                let before = self.in_flight.is_some();
                if let Some(value) = self.obelisk.poll_extend(now) {
                    assert!(!before, "two extensions in flight");
                    assert!(value > self.disk, "{value} on {}", self.disk);
                    self.in_flight = Some(value);
                }
            }
            Step::Extended => {
                if let Some(value) = self.in_flight.take() {
                    self.disk = value;
                    self.obelisk.extended(value);
                    self.pop();
                }
            }
            Step::Refused => {
                if self.in_flight.take().is_some() {
                    self.obelisk.refused(now);
                    while self.obelisk.pop_waiting().is_some() {}
                    self.refused += self.line.drain(..).sum::<u64>();
                }
            }
            Step::Raise(value) => {
                self.raised = self.raised.max(value);
                self.obelisk.raise(value);
                self.pop();
            }
            Step::Crash { in_flight_lasted } => self.crash(in_flight_lasted),
        }
        assert!(self.obelisk.next() >= self.dealt_below && self.obelisk.durable() <= self.disk);
    }

    fn crash(&mut self, in_flight_lasted: bool) {
        if let Some(value) = self.in_flight.take()
            && in_flight_lasted
        {
            self.disk = value;
        }
        // Who was not answered, or with a no.
        let asked = self.line.drain(..).sum::<u64>() + std::mem::take(&mut self.refused);
        let from = self.dealt_below.max(self.raised);
        assert!(self.disk <= from + asked + self.block(), "a crash skips too much");
        // Both are thrown away by the next life: a raise that nobody was told of may be lost.
        self.raised = self.disk;
        self.dealt_below = self.dealt_below.max(self.disk);
        self.obelisk = Obelisk::new(self.mode, self.disk);
    }

    /// With the faults over, one extension serves whoever waits first.
    fn must_serve(&mut self) {
        self.step(Step::Extended);
        if self.line.is_empty() {
            self.step(Step::Wait(40));
        }
        let before = self.line.len();
        if before > 0 {
            self.step(Step::Extend);
            self.step(Step::Extended);
            assert!(self.line.len() < before, "nobody was served");
        }
    }
}

#[test]
fn no_number_is_dealt_twice_whatever_happens() {
    #[expect(clippy::needless_pass_by_value, reason = "what quickcheck calls")]
    fn holds(steps: Vec<Step>) -> bool {
        for mode in [
            Mode::Always,
            Mode::Group,
            Mode::Reserve { block: 16, low_water: 8 },
            Mode::Reserve { block: 1, low_water: 0 },
        ] {
            let mut model = Model::new(mode);
            for step in &steps {
                model.step(*step);
            }
            model.must_serve();
        }
        true
    }
    QuickCheck::new().tests(2000).quickcheck(holds as fn(Vec<Step>) -> bool);
}
