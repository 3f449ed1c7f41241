//! Numbers of every size as words.

use super::{bytes, count, date, many, nanoseconds, percent, quantity};
use crate::result::Unit;

fn plain(text: &str) -> String {
    text.replace(['\u{a0}', '\u{202f}'], " ")
}

#[test]
fn durations_have_three_digits_and_the_unit_that_suits() {
    for (value, text) in [
        (0.0, "0 ns"),
        (7.0, "7.00 ns"),
        (999.4, "999 ns"),
        (999.9, "1.00 µs"),
        (93_100.0, "93.1 µs"),
        (417_000.0, "417 µs"),
        (68e6, "68.0 ms"),
        (1.25e9, "1.25 s"),
        (3.6e12, "3600 s"),
    ] {
        assert_eq!(plain(&nanoseconds(value)), text);
    }
}

#[test]
fn amounts_are_in_powers_of_ten() {
    assert_eq!(plain(&bytes(1.71e9)), "1.71 GB");
    assert_eq!(plain(&bytes(512.0)), "512 B");
    assert_eq!(plain(&many(5_620_000.0)), "5.62 M");
    assert_eq!(plain(&many(12.0)), "12.0");
    assert_eq!(plain(&count(12_345_678)), "12 345 678");
    assert_eq!(plain(&count(123)), "123");
    assert_eq!(plain(&percent(0.614)), "61 %");
    assert_eq!(plain(&percent(0.0523)), "5.2 %");
    assert_eq!(plain(&quantity(2.8e9, Unit::BytesPerSecond)), "2.80 GB/s");
    assert_eq!(plain(&quantity(93e3, Unit::Nanoseconds)), "93.0 µs");
}

#[test]
fn dates_are_of_the_gregorian_calendar() {
    assert_eq!(date(0), "1970-01-01 00:00 UTC");
    assert_eq!(date(1_795_357_200_000_000), "2026-11-22 14:20 UTC");
    assert_eq!(date(-1), "1969-12-31 23:59 UTC");
    assert_eq!(date(951_825_600_000_000), "2000-02-29 12:00 UTC");
}
