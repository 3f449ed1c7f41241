//! Rounded forms for tables and progress bars; none of them is meant to be read back.

use std::time::Duration;

/// A count with thousands separated: `3,000,000`.
pub(crate) fn count_human(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 log`, `1,200 logs`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", count_human(count))
}

/// Bytes with three significant digits in decimal units: `512 MB`, as disks and networks are sold.
pub(crate) fn bytes_human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = to_f64(bytes);
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// A rate of `count` things in `elapsed`, as a whole number per second; zero if no time passed.
pub(crate) fn rate_human(count: u64, elapsed: Duration) -> u64 {
    let nanos = elapsed.as_nanos();
    if nanos == 0 {
        return 0;
    }
    let rate = u128::from(count) * 1_000_000_000 / nanos;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// A latency with three significant digits in the unit that fits: `420 us`, `1.30 ms`, `2.00 s`.
pub(crate) fn duration_human(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let value = duration.as_secs_f64();
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} us", three_digits(value * 1e6)),
        1_000_000..1_000_000_000 => format!("{} ms", three_digits(value * 1e3)),
        _ => format!("{} s", three_digits(value)),
    }
}

/// Seconds with two decimals, for how long a command took: `4.21 s`.
pub(crate) fn seconds_human(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn three_digits(value: f64) -> String {
    if value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
fn to_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!(count_human(0), "0");
        assert_eq!(count_human(999), "999");
        assert_eq!(count_human(1_000), "1,000");
        assert_eq!(count_human(3_000_000), "3,000,000");
        assert_eq!(count_human(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn bytes_and_durations_have_three_digits() {
        assert_eq!(bytes_human(999), "999 B");
        assert_eq!(bytes_human(1_500), "1.50 kB");
        assert_eq!(bytes_human(999_999), "1.00 MB");
        assert_eq!(bytes_human(512_345_678), "512 MB");
        assert_eq!(duration_human(Duration::from_micros(1_299)), "1.30 ms");
        assert_eq!(duration_human(Duration::from_micros(420)), "420 us");
        assert_eq!(duration_human(Duration::from_secs(2)), "2.00 s");
    }

    #[test]
    fn a_rate_over_no_time_is_zero() {
        assert_eq!(rate_human(10, Duration::ZERO), 0);
        assert_eq!(rate_human(10, Duration::from_millis(500)), 20);
    }
}
