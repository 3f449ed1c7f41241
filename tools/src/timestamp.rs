//! Points in time as text: RFC 3339 in UTC, to and from microseconds since the Unix epoch.
//!
//! The calendar is the proleptic Gregorian one; days come from the algorithm of Howard Hinnant
//! (<https://howardhinnant.github.io/date_algorithms.html>), which is exact over all years we print.

pub(crate) use pyralog_perf::words::civil_from_days;

const DAY_SECONDS: i64 = 86_400;

/// `2026-11-22T08:15:30.123456Z` for microseconds since the Unix epoch.
pub(crate) fn rfc3339(time_us: i64) -> String {
    let seconds = time_us.div_euclid(1_000_000);
    let micros = time_us.rem_euclid(1_000_000);
    let (year, month, day) = civil_from_days(seconds.div_euclid(DAY_SECONDS));
    let second = seconds.rem_euclid(DAY_SECONDS);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{micros:06}Z")
}

/// Microseconds since the Unix epoch of an RFC 3339 text, or `None` if it is not one.
///
/// The offset may be `Z` or `±hh:mm`; the fraction may have one to nine digits, of which six count.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let year = digits(date.get(0..4)?)?;
    let month = digits(date.get(5..7)?)?;
    let day = digits(date.get(8..10)?)?;
    let separators = (date.as_bytes()[4], date.as_bytes()[7], *rest.as_bytes().first()?);
    if !matches!(separators, (b'-', b'-', b'T' | b't' | b' ')) {
        return None;
    }
    let (clock, rest) = rest[1..].split_at_checked(8)?;
    let bytes = clock.as_bytes();
    let (hour, minute, second) =
        (digits(clock.get(0..2)?)?, digits(clock.get(3..5)?)?, digits(clock.get(6..8)?)?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if bytes[2] != b':' || bytes[5] != b':' || !in_range {
        return None;
    }
    let (micros, zone) = fraction(rest)?;
    let zone_seconds = zone_offset(zone)?;
    let days = days_from_civil(year, month, day);
    let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second - zone_seconds;
    Some(seconds * 1_000_000 + micros)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Microseconds of an optional `.fraction`, and what follows it.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(after) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    if !(1..=9).contains(&end) {
        return None;
    }
    let six = format!("{:0<6}", &after[..end.min(6)]);
    Some((digits(&six)?, &after[end..]))
}

fn zone_offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let valid = hours.len() == 2 && minutes.len() == 2;
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (valid && hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_are_printed_and_read() {
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_827_696_000_001, "2000-02-29T12:34:56.000001Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(rfc3339(us), text);
            assert_eq!(parse_rfc3339(text), Some(us), "{text}");
        }
    }

    #[test]
    fn offsets_and_short_fractions_are_read() {
        let base = parse_rfc3339("2026-11-22T10:00:00Z");
        assert_eq!(parse_rfc3339("2026-11-22 11:30:00+01:30"), base);
        assert_eq!(parse_rfc3339("2026-11-22t05:00:00.0-05:00"), base);
        assert_eq!(parse_rfc3339("2026-11-22T10:00:00.5Z"), base.map(|us| us + 500_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-11-22",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T10:00:00",
            "2026-11-22T10:00:00.Z",
            "2026-11-22T10:00:00+1:00",
            "2026-11-22T10:00:00ZZ",
            "+026-11-22T10:00:00Z",
            "20é6-11-22T10:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_day_of_six_centuries_reads_back() {
        for day in -110_000_i64..110_000 {
            let us = day * DAY_SECONDS * 1_000_000;
            assert_eq!(parse_rfc3339(&rfc3339(us)), Some(us));
        }
    }
}
