//! Sizes, durations and rates as people write them; how they read them is in [`crate::words`].
//!
//! The same strictness as in settings: `GiB` is 2^30 and `GB` is 10^9, a bare `G` is refused, a duration names its unit.
//! A rate counts records a second and may end in `k` or `M`.

use std::time::Duration;

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

const DURATION_UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const COUNT_UNITS: [(&str, u64); 3] = [("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];

/// Bytes of `text`: `64MiB`, `1.5GB`, or a number of bytes.
///
/// # Errors
/// What was expected instead.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let scale = match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, scale)) => *scale,
        None if unit.is_empty() => 1,
        None => {
            return Err(format!(
                "unknown unit {unit:?} in {text:?}: write for example 64MiB or 10GB"
            ));
        }
    };
    scaled(number, scale)
}

/// The duration of `text`: `10ms`, `1.5s`; `0` needs no unit.
///
/// # Errors
/// What was expected instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    match DURATION_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, scale)) => scaled(number, *scale).map(Duration::from_nanos),
        None if number == "0" && unit.is_empty() => Ok(Duration::ZERO),
        None => {
            Err(format!("{text:?} is no duration: write for example 500us, 10ms, 1.5s or 2min"))
        }
    }
}

/// The count of `text`: `250k`, `1.5M`, or a plain number. Also the number of records a second of a rate.
///
/// # Errors
/// What was expected instead.
pub fn parse_count(text: &str) -> Result<f64, String> {
    let (number, unit) = split(text)?;
    let scale = match COUNT_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, scale)) => to_f64(*scale),
        None if unit.is_empty() => 1.0,
        None => return Err(format!("{text:?} is no count: write for example 500, 250k or 1.5M")),
    };
    number
        .replace('_', "")
        .parse::<f64>()
        .map(|value| value * scale)
        .map_err(|_| format!("{number:?} is no number"))
}

fn split(text: &str) -> Result<(&str, &str), String> {
    let text = text.trim();
    let end =
        text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.starts_with(|c: char| c.is_ascii_digit()) {
        Ok((number, unit.trim()))
    } else {
        Err(format!("{text:?} does not begin with a number"))
    }
}

/// `number` times `unit`, rounded to a whole: exact for whole numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked against the largest exact value"
)]
fn scaled(number: &str, unit: u64) -> Result<u64, String> {
    let digits = number.replace('_', "");
    let too_large = || format!("{number} is too large");
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(unit).ok_or_else(too_large);
    }
    let value =
        digits.parse::<f64>().map_err(|_| format!("{number:?} is no number"))? * to_f64(unit);
    if value < 9e15 { Ok(value.round() as u64) } else { Err(too_large()) }
}

/// `bytes` in the largest binary unit that divides it: reads back to the same value.
#[must_use]
pub fn bytes_exact(bytes: u64) -> String {
    let binary = SIZE_UNITS.iter().filter(|(name, _)| name.ends_with("iB") || *name == "B");
    let unit = binary.into_iter().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// `duration` in the largest unit that divides it: reads back to the same value.
#[must_use]
pub fn duration_exact(duration: Duration) -> String {
    let ns = nanoseconds(duration);
    let unit = DURATION_UNITS.iter().find(|(_, unit)| ns != 0 && ns.is_multiple_of(*unit));
    unit.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", ns / unit))
}

/// A count as it was written: `250k`, `1.5M`: reads back to the same value.
#[must_use]
pub fn count_exact(count: f64) -> String {
    for (name, unit) in COUNT_UNITS {
        let value = count / to_f64(unit);
        if value >= 1.0 && format!("{value:.3}").parse() == Ok(value) {
            return format!("{value}{name}");
        }
    }
    format!("{count}")
}

/// Nanoseconds of `duration`, at most those of 584 years.
#[must_use]
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A count or byte count as a float: exact up to 2^53, which none of ours reaches.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of a run stay below 2^53")]
pub fn to_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        assert_eq!(parse_bytes("1KiB"), Ok(1024));
        assert_eq!(parse_bytes("10GB"), Ok(10_000_000_000));
        assert_eq!(parse_bytes("1.5MiB"), Ok(3 << 19));
        assert_eq!(parse_bytes("100"), Ok(100));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_count("250k"), Ok(250_000.0));
        assert_eq!(parse_count("0.5"), Ok(0.5));
    }

    #[test]
    fn what_is_unclear_is_refused() {
        assert!(parse_bytes("4G").is_err());
        assert!(parse_bytes("-1").is_err());
        assert!(parse_duration("10").is_err());
        assert!(parse_count("10 apples").is_err());
        assert!(parse_count("1.2.3").is_err());
        assert!(parse_bytes("99999999999TiB").is_err());
    }

    #[test]
    fn exact_forms_read_back() {
        for bytes in [0, 1, 1000, 1024, 3 << 20, u64::MAX] {
            assert_eq!(parse_bytes(&bytes_exact(bytes)), Ok(bytes));
        }
        for ns in [0, 1, 1_500_000, 60_000_000_000, 90_000_000_000] {
            assert_eq!(
                parse_duration(&duration_exact(Duration::from_nanos(ns))),
                Ok(Duration::from_nanos(ns))
            );
        }
        for count in [0.25, 7.0, 250_000.0, 1_234_567.0, 1.5e6, 1e9] {
            assert_eq!(parse_count(&count_exact(count)), Ok(count));
        }
    }
}
