//! Tests of the clock's discipline.

use quickcheck::quickcheck;

use super::*;

/// Some moment of 2026.
const START_MS: u64 = 40_000_000_000;
const HOUR_MS: u64 = 3_600_000;

fn monotonic(ms: u64) -> Monotonic {
    Monotonic::from_nanos(ms * 1_000_000)
}

/// A clock that shows [`START_MS`] when the monotonic one shows zero.
fn started() -> Discipline {
    Discipline::start(0, Trust::Vouched, EPOCH_UNIX_MS + START_MS, monotonic(0)).unwrap()
}

/// What is read when `passed_ms` have passed and the wall clock shows so much since the epoch.
fn read(clock: &mut Discipline, wall_ms: u64, passed_ms: u64) -> Reading {
    clock.observe(EPOCH_UNIX_MS + wall_ms, monotonic(passed_ms))
}

fn steady(time_ms: u64) -> Reading {
    Reading { time_ms, state: State::Steady }
}

fn regressed(time_ms: u64, by_ms: u64) -> Reading {
    Reading { time_ms, state: State::Regressed { by_ms } }
}

fn leapt(time_ms: u64, by_ms: u64) -> Reading {
    Reading { time_ms, state: State::Leapt { by_ms } }
}

#[test]
fn a_clock_that_strays_a_little_is_followed() {
    let mut clock = started();
    assert_eq!(read(&mut clock, START_MS + 10, 10), steady(START_MS + 10));
    let ahead = START_MS + 20 + HOUR_MS;
    assert_eq!(read(&mut clock, ahead, 20), steady(ahead));
    assert_eq!(read(&mut clock, ahead - 5_000, 20), steady(ahead), "it holds");
    assert_eq!(read(&mut clock, ahead - 1, 5_019), steady(ahead), "it still holds");
    assert_eq!(read(&mut clock, ahead + 1, 5_021), steady(ahead + 1));
}

#[test]
fn steps_back_add_up() {
    let mut clock = started();
    assert_eq!(read(&mut clock, START_MS - 3_000, 0), steady(START_MS));
    assert_eq!(read(&mut clock, START_MS - 6_000, 0), regressed(START_MS, 6_000));
}

#[test]
fn a_clock_that_went_back_is_met_at_half_pace() {
    let mut clock = started();
    let back = START_MS - HOUR_MS;
    assert_eq!(read(&mut clock, back, 0), regressed(START_MS, HOUR_MS));
    assert_eq!(read(&mut clock, back + 1_000, 1_000), regressed(START_MS + 500, HOUR_MS - 500));
    let nearly = 2 * HOUR_MS - 10_002;
    assert_eq!(
        read(&mut clock, back + nearly, nearly),
        regressed(START_MS + nearly / 2, 5_001),
        "half of what has passed was gained"
    );
    let met = nearly + 2;
    let held = START_MS + nearly / 2;
    assert_eq!(read(&mut clock, back + met, met), steady(held));
    assert_eq!(read(&mut clock, back + met + 5_001, met + 5_001), steady(back + met + 5_001));
}

#[test]
fn a_clock_that_was_wrong_for_long_and_is_mended_has_not_leapt() {
    let mut clock = started();
    let day = 24 * HOUR_MS;
    read(&mut clock, START_MS - HOUR_MS, 0);
    let reading = read(&mut clock, START_MS - HOUR_MS + day, day);
    assert!(matches!(reading.state, State::Steady), "{reading:?}: it was met on the way");
    let mut clock = started();
    read(&mut clock, START_MS - 3 * day, 0);
    let reading = read(&mut clock, START_MS - 2 * day, day);
    assert_eq!(reading, regressed(START_MS + day / 2, 2 * day + day / 2));
    assert_eq!(read(&mut clock, START_MS + day, day), steady(START_MS + day));
}

#[test]
fn a_clock_that_leapt_is_not_followed_until_it_is_back() {
    let mut clock = started();
    let year = 365 * 24 * HOUR_MS;
    for passed in 0..100 {
        let reading = read(&mut clock, START_MS + year + passed, passed);
        assert_eq!(reading, leapt(START_MS + passed, year));
    }
    assert_eq!(read(&mut clock, START_MS + 100, 100), steady(START_MS + 100));
}

#[test]
fn time_passes_while_a_clock_that_leapt_is_asked_more_often_than_each_millisecond() {
    let mut clock = started();
    let wall = EPOCH_UNIX_MS + START_MS + 2 * HOUR_MS;
    let mut last = 0;
    for nanos in (0..10_000_000).step_by(300_000) {
        last = clock.observe(wall, Monotonic::from_nanos(nanos)).time_ms;
    }
    assert_eq!(last, START_MS + 9);
}

#[test]
fn a_leap_that_turns_into_a_step_back_goes_on_from_where_it_was() {
    let mut clock = started();
    let passed = 10 * HOUR_MS;
    let leap = read(&mut clock, START_MS + 20 * HOUR_MS, passed);
    assert_eq!(leap, leapt(START_MS + passed, passed));
    let later = passed + 1_000;
    let back = read(&mut clock, START_MS, later);
    assert_eq!(back, regressed(START_MS + passed + 500, passed + 500));
}

#[test]
fn a_start_compares_the_clock_with_the_floor() {
    let start = |wall_ms: u64, floor_ms, trust| {
        let mut clock =
            Discipline::start(floor_ms, trust, EPOCH_UNIX_MS + wall_ms, monotonic(0)).unwrap();
        read(&mut clock, wall_ms, 0)
    };
    let floor = START_MS;
    for (wall, expected) in [
        (floor - 5_001, regressed(floor, 5_001)),
        (floor - 5_000, steady(floor)),
        (floor, steady(floor)),
        (floor + DOWN_MS_MAX, steady(floor + DOWN_MS_MAX)),
        (floor + DOWN_MS_MAX + 1, leapt(floor, DOWN_MS_MAX + 1)),
    ] {
        assert_eq!(start(wall, floor, Trust::Bounded), expected, "{wall}");
    }
    let year = 365 * 24 * HOUR_MS;
    assert_eq!(start(floor + year, floor, Trust::Vouched), steady(floor + year));
    assert_eq!(start(floor - year, floor, Trust::Vouched), regressed(floor, year));
}

#[test]
fn a_clock_that_was_never_set_is_refused() {
    let start = |wall| Discipline::start(0, Trust::Vouched, wall, monotonic(0)).err();
    for wall_unix_ms in [0, EPOCH_UNIX_MS - 1, EXHAUSTED_UNIX_MS, u64::MAX] {
        assert_eq!(start(wall_unix_ms), Some(ClockUnset { wall_unix_ms }));
    }
    assert_eq!((start(EPOCH_UNIX_MS), start(EXHAUSTED_UNIX_MS - 1)), (None, None));
}

#[test]
fn any_time_shown_later_is_a_reading() {
    let mut clock = started();
    assert!(matches!(clock.observe(0, monotonic(1)).state, State::Regressed { .. }));
    assert!(matches!(clock.observe(u64::MAX, monotonic(2)).state, State::Leapt { .. }));
    let end = clock.observe(u64::MAX, Monotonic::MAX);
    assert_eq!(end.time_ms, TIME_MS_END, "after six centuries");
}

quickcheck! {
    /// Steps are the milliseconds that pass and what somebody adds to the clock.
    fn readings_never_run_backwards_nor_ahead(steps: Vec<(u32, i32)>, floor: u32) -> bool {
        let floor_ms = START_MS + u64::from(floor);
        let mut wall_ms = START_MS;
        let start = EPOCH_UNIX_MS + wall_ms;
        let mut clock =
            Discipline::start(floor_ms, Trust::Bounded, start, monotonic(0)).unwrap();
        let mut passed_ms = 0;
        let mut last = Reading { time_ms: floor_ms, state: State::Steady };
        steps.iter().all(|(pass, step)| {
            let pass = u64::from(*pass);
            passed_ms += pass;
            wall_ms = (wall_ms + pass).saturating_add_signed(i64::from(*step));
            let reading = read(&mut clock, wall_ms, passed_ms);
            let ran = reading.time_ms - last.time_ms;
            last = reading;
            // At twice the pace at most, when a slowed one is made up for, unless the wall clock leads.
            match reading.state {
                State::Steady => reading.time_ms <= (wall_ms + BACK_MS_MAX).max(floor_ms),
                State::Regressed { by_ms } => by_ms > BACK_MS_MAX && ran <= pass,
                State::Leapt { by_ms } => by_ms > LEAP_MS_MAX && ran <= 2 * passed_ms,
            }
        })
    }

    fn a_clock_that_stays_right_is_steady_in_the_end(steps: Vec<(u16, i32)>) -> bool {
        let (mut clock, mut wall_ms, mut passed_ms) = (started(), START_MS, 0);
        for (pass, step) in steps {
            passed_ms += u64::from(pass);
            wall_ms = (wall_ms + u64::from(pass)).saturating_add_signed(i64::from(step));
            read(&mut clock, wall_ms, passed_ms);
        }
        let behind_ms = clock.last_ms.saturating_sub(wall_ms);
        let time = 2 * behind_ms;
        let reading = read(&mut clock, wall_ms + time, passed_ms + time);
        !matches!(reading.state, State::Regressed { .. })
    }
}
