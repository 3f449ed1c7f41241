//! Tests of Scarab ids.

use quickcheck::{TestResult, quickcheck};

use super::*;

fn id(slot: u16, time_ms: u64, sequence: u64) -> ScarabId {
    let tick = Tick::new(time_ms << SEQUENCE_BITS | sequence).unwrap();
    ScarabId::new(Slot::new(slot).unwrap(), tick)
}

#[test]
fn layout_is_time_then_slot_then_sequence() {
    assert_eq!(id(0, 0, 0).get(), 0);
    assert_eq!(id(0, 0, 1).get(), 1);
    assert_eq!(id(1, 0, 0).get(), 1 << 13);
    assert_eq!(id(0, 1, 0).get(), 1 << 23);
    assert_eq!(id(1023, TIME_MS_END - 1, 8191).get(), u64::MAX);
    let one = id(0b10_1010_1010, 0x123_4567_89AB, 0x1234);
    assert_eq!(one.get(), 0x91a2_b3c4_d5d5_5234);
    assert_eq!(one.to_string(), "938NKRKAXAMHM");
    assert_eq!(
        (one.slot().get(), one.time_unix_ms() - EPOCH_UNIX_MS, one.sequence()),
        (0b10_1010_1010, 0x123_4567_89AB, 0x1234)
    );
}

#[test]
fn there_are_no_slots_and_ticks_beyond_the_last() {
    assert!(Slot::new(1023).is_some() && Slot::new(1024).is_none());
    assert!(Tick::new(Tick::MAX.get()).is_some() && Tick::new(Tick::MAX.get() + 1).is_none());
    assert_eq!((Tick::MAX.time_ms(), Tick::MAX.sequence()), (TIME_MS_END - 1, 8191));
}

#[test]
fn the_nth_id_carries_into_the_time_and_keeps_its_slot() {
    let last_of_ms = id(7, 41, 8191);
    assert_eq!(last_of_ms.nth(0), Some(last_of_ms));
    assert_eq!(last_of_ms.nth(1), Some(id(7, 42, 0)));
    assert_eq!(last_of_ms.nth(8193), Some(id(7, 43, 0)));
    let end = id(7, TIME_MS_END - 1, 8190);
    assert_eq!(end.nth(1), Some(id(7, TIME_MS_END - 1, 8191)));
    assert_eq!(end.nth(2), None);
    assert_eq!(end.nth(u64::MAX), None);
}

#[test]
fn ids_are_positive_as_signed_numbers_until_2059_and_end_in_2094() {
    let at = |unix_ms: u64| id(0, unix_ms - EPOCH_UNIX_MS, 0).get().cast_signed();
    assert!(at(SIGNED_UNTIL_UNIX_MS - 1) > 0);
    assert!(at(SIGNED_UNTIL_UNIX_MS) < 0);
    assert_eq!(date(EPOCH_UNIX_MS), (2025, 1, 1));
    assert_eq!(date(SIGNED_UNTIL_UNIX_MS), (2059, 11, 4));
    assert_eq!(date(EXHAUSTED_UNIX_MS), (2094, 9, 7));
    assert_eq!(Tick::MAX.time_ms() + EPOCH_UNIX_MS + 1, EXHAUSTED_UNIX_MS);
}

/// Year, month and day of a moment of this century.
fn date(unix_ms: u64) -> (u64, usize, u64) {
    let mut days = unix_ms / 86_400_000;
    let mut year = 1970;
    let is_leap = |year: u64| year.is_multiple_of(4) && year != 2100;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for (month, length) in months.into_iter().enumerate() {
        if days < length {
            return (year, month + 1, days + 1);
        }
        days -= length;
    }
    unreachable!("a year has {days} days more")
}

#[test]
fn text_is_read_as_people_write_it() {
    let one: ScarabId = "938NKRKAXAMHM".parse().unwrap();
    assert_eq!("938nkrkaxamhm".parse(), Ok(one));
    assert_eq!(one.get().to_string().parse(), Ok(one));
    assert_eq!("OIL0000000000".parse(), Ok(ScarabId::from_raw((32 + 1) << 50)));
    assert_eq!("0".parse(), Ok(ScarabId::from_raw(0)));
    assert_eq!("FZZZZZZZZZZZZ".parse(), Ok(ScarabId::from_raw(u64::MAX)));
    assert_eq!(u64::MAX.to_string().parse(), Ok(ScarabId::from_raw(u64::MAX)));
    let wrong = ["", " 1", "+1", "-1", "1x", "18446744073709551616", "G000000000000"];
    let odd = ["938NKRKAXAMJU", "938NKRKAXAMJ", "938NKRKAXAMHMM", "938NKRKAXAM-M", "ä38NKRKAXAMH"];
    for text in wrong.into_iter().chain(odd) {
        assert_eq!(text.parse::<ScarabId>(), Err(ParseIdError), "{text:?}");
    }
}

#[test]
fn a_number_with_the_length_of_a_text_is_of_the_first_minutes_of_2025() {
    let longest = ScarabId::from_raw(9_999_999_999_999);
    assert!(longest.time_unix_ms() < EPOCH_UNIX_MS + 20 * 60_000);
}

quickcheck! {
    fn an_id_is_made_of_its_parts(number: u64) -> bool {
        let id = ScarabId::from_raw(number);
        ScarabId::new(id.slot(), id.tick()) == id
            && id.time_unix_ms() == EPOCH_UNIX_MS + (number >> 23)
            && u64::from(id.slot().get()) == number >> 13 & 0x3ff
            && u64::from(id.sequence()) == number & 0x1fff
    }

    fn ids_of_a_slot_sort_as_their_ticks(slot: u16, one: u64, other: u64) -> TestResult {
        let (Some(slot), one, other) = (Slot::new(slot % SLOTS), one >> 10, other >> 10) else {
            return TestResult::failed();
        };
        let id = |number| ScarabId::new(slot, Tick::new(number).unwrap());
        TestResult::from_bool(id(one).cmp(&id(other)) == one.cmp(&other))
    }

    fn text_is_read_back(number: u64) -> bool {
        let id = ScarabId::from_raw(number);
        let text = id.to_string();
        text.len() == TEXT_LEN && text.parse() == Ok(id) && text.to_lowercase().parse() == Ok(id)
    }

    fn text_sorts_as_the_number(one: u64, other: u64) -> bool {
        let text = |number| ScarabId::from_raw(number).to_string();
        // Neighbours too: random numbers differ in their first digits.
        text(one).cmp(&text(other)) == one.cmp(&other)
            && text(one).cmp(&text(one ^ 1)) == one.cmp(&(one ^ 1))
    }
}
