//! Numbers as people read them.

#[cfg(test)]
mod tests;

use crate::result::{CeilingName, Run, Unit};

/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// "93 µs", "1.25 ms": three digits and the unit that suits them.
#[must_use]
pub fn nanoseconds(value: f64) -> String {
    scaled(value, &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")])
}

/// The same of a whole number.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn duration(value: u64) -> String {
    nanoseconds(value as f64)
}

/// "1.71 GB": powers of ten, as disks and networks are sold.
#[must_use]
pub fn bytes(value: f64) -> String {
    scaled(value, &[(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")])
}

/// "287 MB of 711 MB": the server's resident set, and what it may be, where that is known.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn memory(run: &Run) -> String {
    match (&run.server, run.memory_of_budget()) {
        (_, Some((used, budget))) => {
            format!("{} of {}", bytes(used as f64), bytes(budget as f64))
        }
        (Some(server), None) => bytes(server.rss_bytes_max as f64),
        (None, None) => "-".to_owned(),
    }
}

/// "5.62 M": how many, to be followed by a noun.
#[must_use]
pub fn many(value: f64) -> String {
    scaled(value, &[(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")])
}

/// "12 345 678", with spaces that do not break.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// "61 %" of a share; one digit more below a tenth.
#[must_use]
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value.abs() < 9.95 { format!("{value:.1}\u{a0}%") } else { format!("{value:.0}\u{a0}%") }
}

/// "1.63" of a ratio: three digits.
#[must_use]
pub fn ratio(value: f64) -> String {
    digits(value)
}

/// "+12 %" or "-3.0 %" of a ratio to what was before.
#[must_use]
pub fn change(ratio: f64) -> String {
    let sign = if ratio < 1.0 { "-" } else { "+" };
    format!("{sign}{}", percent((ratio - 1.0).abs()))
}

/// "0.063" of a probability; what is below a thousandth is only said to be.
#[must_use]
pub fn chance(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}

/// What a ceiling is called.
#[must_use]
pub fn ceiling(name: CeilingName) -> &'static str {
    match name {
        CeilingName::TcpReceive => "TCP receive",
        CeilingName::TcpSend => "TCP send",
        CeilingName::TcpEcho => "TCP echo",
        CeilingName::DiskWriteFresh => "disk write (fresh)",
        CeilingName::DiskWriteInitialised => "disk write (initialised)",
        CeilingName::DiskWriteSynced => "disk write (synced)",
        CeilingName::DiskSync => "disk sync",
        CeilingName::DiskRead => "disk read",
        CeilingName::MemoryCopy => "memory copy",
        CeilingName::MemoryTouch => "memory (first touch)",
        CeilingName::Crc32c => "CRC32C",
        CeilingName::Blake3 => "BLAKE3",
        CeilingName::Lane => "lane (core to core)",
    }
}

/// A number of a unit.
#[must_use]
pub fn quantity(value: f64, unit: Unit) -> String {
    match unit {
        Unit::BytesPerSecond => format!("{}/s", bytes(value)),
        Unit::PerSecond => format!("{}/s", many(value)),
        Unit::Nanoseconds => nanoseconds(value),
    }
}

/// "2026-11-22 14:20 UTC" of microseconds since the Unix epoch.
#[must_use]
pub fn date(time_us: i64) -> String {
    let seconds = time_us.div_euclid(1_000_000);
    let (year, month, day) = civil_from_days(seconds.div_euclid(DAY_SECONDS));
    let second = seconds.rem_euclid(DAY_SECONDS);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3600, second / 60 % 60)
}

/// Year, month from 1 and day from 1 of days since 1970-01-01 (<https://howardhinnant.github.io/date_algorithms.html>).
#[must_use]
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The first unit of which there is at least one, after rounding; the last has none smaller.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let fits = |size: f64| value.abs() / size >= 0.9995;
    let found = units.iter().find(|(size, _)| fits(*size)).or(units.last());
    let Some((size, name)) = found else { return digits(value) };
    let number = digits(value / size);
    if name.is_empty() { number } else { format!("{number}\u{a0}{name}") }
}

/// Three digits, without exponents; whole above a hundred.
fn digits(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if size >= 99.95 {
        format!("{value:.0}")
    } else if size >= 9.995 {
        format!("{value:.1}")
    } else if size >= 0.0995 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}
