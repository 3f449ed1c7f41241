//! Sizes and durations as people write them (`4GiB`, `10ms`), and numbers as people read them.
//!
//! Parsing is strict: `GiB` is 2^30 and `GB` is 10^9, and a bare `G` is refused because half of the
//! readers would guess wrong. A size may be a plain number of bytes; a duration must name its unit.

mod human;

use std::fmt;
use std::time::Duration;

pub(crate) use human::{
    bytes_human, count_human, counted, duration_human, rate_human, seconds_human,
};

/// Units of a size with their bytes. The first of equal value is the one printed.
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

/// Units of a duration with their nanoseconds, largest first.
const DURATION_UNITS: [(&str, u64); 8] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Why a text is not a size or a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QuantityError {
    /// No digits where a number is expected.
    NoNumber,
    /// A number without a unit where one is needed.
    NoUnit,
    /// A unit that does not exist, with what was meant if that can be guessed.
    UnknownUnit(String),
    /// The value does not fit 64 bits.
    TooLarge,
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNumber => f.write_str("expected a number, such as 64MiB or 10ms"),
            Self::NoUnit => f.write_str("a duration needs a unit: ns, us, ms, s, min, h or d"),
            Self::UnknownUnit(unit) => match unit.as_str() {
                "K" | "k" | "Ki" | "KB" => write!(f, "unit {unit:?} is unclear: write KiB or kB"),
                "M" | "Mi" | "mb" => write!(f, "unit {unit:?} is unclear: write MiB or MB"),
                "G" | "g" | "Gi" | "gb" => write!(f, "unit {unit:?} is unclear: write GiB or GB"),
                "T" | "t" | "Ti" | "tb" => write!(f, "unit {unit:?} is unclear: write TiB or TB"),
                _ => write!(f, "unknown unit {unit:?}"),
            },
            Self::TooLarge => f.write_str("the value is too large"),
        }
    }
}

impl std::error::Error for QuantityError {}

/// Bytes of `text`: a number with a unit of `B kB KiB MB MiB GB GiB TB TiB`, or a number of bytes.
///
/// # Errors
/// If there is no number, the unit is unknown or unclear, or the value does not fit 64 bits.
pub(crate) fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = split_number(text.trim())?;
    let unit_bytes = if unit.is_empty() { 1 } else { unit_value(&SIZE_UNITS, unit)? };
    scaled(number, unit_bytes)
}

/// The duration of `text`: one or more numbers with units, such as `10ms`, `1.5s` or `1h30m`.
///
/// # Errors
/// If there is no number, a unit is missing or unknown, or the value exceeds 584 years.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total_ns: u64 = 0;
    loop {
        let (number, after) = split_number(rest)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let unit = if unit == "µs" || unit == "μs" { "us" } else { unit };
        if unit.is_empty() {
            return Err(QuantityError::NoUnit);
        }
        let part_ns = scaled(number, unit_value(&DURATION_UNITS, unit)?)?;
        total_ns = total_ns.checked_add(part_ns).ok_or(QuantityError::TooLarge)?;
        if next.is_empty() {
            return Ok(Duration::from_nanos(total_ns));
        }
        rest = next;
    }
}

/// `bytes` in the largest binary unit that divides it, so that [`parse_size`] gives it back exactly.
pub(crate) fn size_exact(bytes: u64) -> String {
    let binary = SIZE_UNITS.iter().filter(|(name, _)| name.ends_with("iB"));
    for (name, unit) in binary {
        if bytes != 0 && bytes.is_multiple_of(*unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

/// `duration` in the largest unit that divides it, so that [`parse_duration`] gives it back exactly.
pub(crate) fn duration_exact(duration: Duration) -> String {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if ns == 0 {
        return "0s".to_owned();
    }
    let (name, unit) = DURATION_UNITS
        .iter()
        .find(|(name, unit)| *name != "m" && ns.is_multiple_of(*unit))
        .expect("every count of nanoseconds is a multiple of one");
    format!("{}{name}", ns / unit)
}

/// Splits `12.5MiB` into `12.5` and `MiB`.
fn split_number(text: &str) -> Result<(&str, &str), QuantityError> {
    let end =
        text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    if number.starts_with(|c: char| c.is_ascii_digit()) {
        Ok((number, rest.trim_start()))
    } else {
        Err(QuantityError::NoNumber)
    }
}

fn unit_value(units: &[(&str, u64)], unit: &str) -> Result<u64, QuantityError> {
    let unit = unit.trim_end();
    units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, value)| *value)
        .ok_or_else(|| QuantityError::UnknownUnit(unit.to_owned()))
}

/// `number` (digits with at most one point) times `unit`, rounded down.
fn scaled(number: &str, unit: u64) -> Result<u64, QuantityError> {
    let digits = number.replace('_', "");
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let whole: u128 = whole.parse().map_err(|_| QuantityError::TooLarge)?;
    let mut value = whole.checked_mul(u128::from(unit)).ok_or(QuantityError::TooLarge)?;
    if !fraction.is_empty() {
        // Nine digits of a fraction are below a nanosecond and below a byte of a gigabyte.
        let fraction = &fraction[..fraction.len().min(9)];
        let part: u128 = fraction.parse().map_err(|_| QuantityError::NoNumber)?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).expect("at most nine digits"));
        value += part * u128::from(unit) / scale;
    }
    u64::try_from(value).map_err(|_| QuantityError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        let read = |text| parse_size(text).unwrap();
        assert_eq!(read("4GiB"), 4 << 30);
        assert_eq!(read("4 GB"), 4_000_000_000);
        assert_eq!(read("1.5MiB"), 3 << 19);
        assert_eq!(read("65_536"), 65_536);
        assert_eq!(read("0"), 0);
    }

    #[test]
    fn unclear_units_are_refused_with_the_two_that_were_meant() {
        let error = parse_size("4G").unwrap_err();
        assert_eq!(error.to_string(), "unit \"G\" is unclear: write GiB or GB");
        assert_eq!(parse_size("GiB"), Err(QuantityError::NoNumber));
        assert_eq!(parse_size("99999999TiB"), Err(QuantityError::TooLarge));
        assert_eq!(parse_size("-1"), Err(QuantityError::NoNumber));
        assert_eq!(parse_size(""), Err(QuantityError::NoNumber));
        assert_eq!(parse_size("1.2.3MB"), Err(QuantityError::NoNumber));
    }

    #[test]
    fn durations_need_a_unit_and_may_be_compound() {
        let read = |text| parse_duration(text).unwrap();
        assert_eq!(read("10ms"), Duration::from_millis(10));
        assert_eq!(read("50µs"), Duration::from_micros(50));
        assert_eq!(read("1.5s"), Duration::from_millis(1500));
        assert_eq!(read("1h30m"), Duration::from_mins(90));
        assert_eq!(read("0"), Duration::ZERO);
        assert_eq!(parse_duration("10"), Err(QuantityError::NoUnit));
        assert_eq!(parse_duration("3 weeks"), Err(QuantityError::UnknownUnit("weeks".to_owned())));
        assert_eq!(parse_duration("999999999d"), Err(QuantityError::TooLarge));
    }

    #[test]
    fn exact_forms_read_back_to_the_same_value() {
        for bytes in [0, 1, 1000, 1 << 10, 3 << 20, 1 << 30, (1 << 40) + 1, u64::MAX] {
            assert_eq!(parse_size(&size_exact(bytes)), Ok(bytes), "{bytes}");
        }
        for ns in [0, 1, 50_000, 1_000_000, 90_000_000_000, 86_400_000_000_000, u64::MAX] {
            let duration = Duration::from_nanos(ns);
            assert_eq!(parse_duration(&duration_exact(duration)), Ok(duration), "{ns}");
        }
    }
}
