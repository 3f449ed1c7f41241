//! Where `consume --from` begins.

use std::fmt;
use std::str::FromStr;

use crate::timestamp::{parse_rfc3339, rfc3339};

/// A place to begin reading each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The oldest record that is kept.
    Earliest,
    /// After the newest record.
    Latest,
    /// The record of this offset.
    Offset(u64),
    /// The first batch with a record that was created at or after this time, microseconds since the Unix epoch.
    Time(i64),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "earliest" => Ok(Self::Earliest),
            None if text == "latest" => Ok(Self::Latest),
            Some(("offset", number)) => number
                .parse()
                .map(Self::Offset)
                .map_err(|_| "an offset is a whole number, such as offset:1000".to_owned()),
            Some(("time", time)) => time_us(time).map(Self::Time).ok_or_else(|| {
                "a time is RFC 3339 (2026-11-22T10:00:00Z) or milliseconds since 1970".to_owned()
            }),
            _ => Err("expected earliest, latest, offset:N or time:T".to_owned()),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Offset(offset) => write!(f, "offset:{offset}"),
            Self::Time(us) => write!(f, "time:{}", rfc3339(*us)),
        }
    }
}

fn time_us(text: &str) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(ms) => ms.checked_mul(1000),
        Err(_) => parse_rfc3339(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_printed() {
        let cases = [
            ("earliest", Start::Earliest, "earliest"),
            ("latest", Start::Latest, "latest"),
            ("offset:7", Start::Offset(7), "offset:7"),
            ("time:1000", Start::Time(1_000_000), "time:1970-01-01T00:00:01.000000Z"),
            (
                "time:1970-01-01T00:00:02Z",
                Start::Time(2_000_000),
                "time:1970-01-01T00:00:02.000000Z",
            ),
        ];
        for (text, start, printed) in cases {
            assert_eq!(text.parse(), Ok(start));
            assert_eq!(start.to_string(), printed);
            assert_eq!(printed.parse(), Ok(start));
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_expected() {
        for text in ["", "begin", "offset:", "offset:-1", "time:", "time:tomorrow", "7"] {
            let error = text.parse::<Start>().unwrap_err();
            assert!(
                error.contains("earliest") || error.contains("such as") || error.contains("RFC")
            );
        }
        assert!(format!("time:{}", i64::MAX).parse::<Start>().is_err());
    }
}
