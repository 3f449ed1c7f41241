//! Kinds of settings and the one parser of their values.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use pyralog_seq::pharaoh::{ParseSlotsError, SlotSet};

use crate::quantity::{duration_exact, parse_duration, parse_size, size_exact};

/// Longest URL.
const URL_BYTES_MAX: usize = 1024;

/// What values a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text without control characters.
    Text { bytes_max: usize },
    /// A host name or address without a port, or nothing.
    Host,
    /// A URL, or nothing; whoever uses it looks at it closely.
    Url,
    /// A path, not empty.
    Path,
    /// `address:port`, or `off` where that is possible.
    Address { off: bool },
    /// A whole number.
    Integer { min: u64, max: u64 },
    /// `true` or `false`.
    Flag,
    /// Bytes: `64MiB`, or a plain number of bytes.
    Size { min: u64, max: u64 },
    /// A time span with a unit.
    Duration { min_ns: u64, max_ns: u64 },
    /// Slots of the cluster: `0-1023`, `0-15,32`.
    Slots,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts: an array in TOML, separated by commas elsewhere.
    List { items_max: usize },
}

/// The value of a key, already of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Of [`Kind::Text`], [`Kind::Host`], [`Kind::Url`] and [`Kind::Path`].
    Text(String),
    /// Of [`Kind::Address`]; `None` is `off`.
    Address(Option<SocketAddr>),
    /// Of [`Kind::Integer`].
    Integer(u64),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Size`], in bytes.
    Size(u64),
    /// Of [`Kind::Duration`].
    Duration(Duration),
    /// Of [`Kind::Slots`].
    Slots(SlotSet),
    /// Of [`Kind::Choice`].
    Choice(&'static str),
    /// Of [`Kind::List`].
    List(Vec<String>),
}

impl Kind {
    /// `text` as a value of this kind.
    ///
    /// # Errors
    /// Says what is expected instead, in words that follow "key = text: ".
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text { bytes_max } => text_value(text, bytes_max),
            Self::Host => host_value(text),
            Self::Url if text.is_empty() => Ok(Value::Text(String::new())),
            Self::Url => text_value(text, URL_BYTES_MAX),
            Self::Path if text.is_empty() => Err("expected a path".to_owned()),
            Self::Path => Ok(Value::Text(text.to_owned())),
            Self::Address { off } => address_value(text, off),
            Self::Integer { min, max } => match text.trim().replace('_', "").parse() {
                Ok(number) if (min..=max).contains(&number) => Ok(Value::Integer(number)),
                _ => Err(format!("expected a whole number from {min} to {max}")),
            },
            Self::Flag => match text.trim() {
                "true" => Ok(Value::Flag(true)),
                "false" => Ok(Value::Flag(false)),
                _ => Err("expected true or false".to_owned()),
            },
            Self::Size { min, max } => {
                let bytes = parse_size(text).map_err(|error| error.to_string())?;
                if (min..=max).contains(&bytes) {
                    Ok(Value::Size(bytes))
                } else {
                    Err(format!("expected {} to {}", size_exact(min), size_exact(max)))
                }
            }
            Self::Duration { min_ns, max_ns } => {
                let duration = parse_duration(text).map_err(|error| error.to_string())?;
                let (min, max) = (Duration::from_nanos(min_ns), Duration::from_nanos(max_ns));
                if (min..=max).contains(&duration) {
                    Ok(Value::Duration(duration))
                } else {
                    Err(format!("expected {} to {}", duration_exact(min), duration_exact(max)))
                }
            }
            Self::Slots => {
                let slots = text.trim().parse();
                slots.map(Value::Slots).map_err(|error: ParseSlotsError| error.to_string())
            }
            Self::Choice(words) => choice_value(text, words),
            Self::List { items_max } => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                list_value(items.map(str::to_owned).collect(), items_max)
            }
        }
    }

    /// A short description for the reference: `size`, `one of: …`.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Text { .. } => "text".to_owned(),
            Self::Host => "host".to_owned(),
            Self::Url => "URL".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Address { off: false } => "address:port".to_owned(),
            Self::Address { off: true } => "address:port or `off`".to_owned(),
            Self::Integer { min, max } => format!("integer, {min} to {max}"),
            Self::Flag => "true or false".to_owned(),
            Self::Size { min, max } => {
                format!("size, {} to {}", size_exact(min), size_exact(max))
            }
            Self::Duration { min_ns, max_ns } => {
                let exact = |ns| duration_exact(Duration::from_nanos(ns));
                format!("duration, {} to {}", exact(min_ns), exact(max_ns))
            }
            Self::Slots => "slots, such as `0-15,32`".to_owned(),
            Self::Choice(words) => words.join(", "),
            Self::List { .. } => "list of addresses".to_owned(),
        }
    }
}

impl Value {
    /// The value as a TOML literal that [`Kind::parse`] or the file layer reads back.
    pub(crate) fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Choice(text) => quoted(text),
            Self::Slots(slots) => quoted(&slots.to_string()),
            Self::Address(None) => quoted("off"),
            Self::Address(Some(address)) => quoted(&address.to_string()),
            Self::Integer(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Size(bytes) => quoted(&size_exact(*bytes)),
            Self::Duration(duration) => quoted(&duration_exact(*duration)),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                format!("[{}]", items.join(", "))
            }
        }
    }
}

/// A list of `items`, not empty and not too long.
///
/// # Errors
/// If it is either.
pub(crate) fn list_value(items: Vec<String>, items_max: usize) -> Result<Value, String> {
    if items.is_empty() || items.len() > items_max {
        return Err(format!("expected 1 to {items_max} items"));
    }
    Ok(Value::List(items))
}

fn text_value(text: &str, bytes_max: usize) -> Result<Value, String> {
    if text.is_empty() || text.len() > bytes_max || text.chars().any(char::is_control) {
        return Err(format!("expected 1 to {bytes_max} bytes of text without control characters"));
    }
    Ok(Value::Text(text.to_owned()))
}

fn host_value(text: &str) -> Result<Value, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let bare_ipv6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let port = !bare_ipv6 && text.rsplit(':').next().is_some_and(|p| p.parse::<u16>().is_ok());
    if text.len() > 253 || !text.chars().all(allowed) || (port && text.contains(':')) {
        return Err("expected a host name or IP address without a port".to_owned());
    }
    Ok(Value::Text(text.to_owned()))
}

fn address_value(text: &str, off: bool) -> Result<Value, String> {
    let text = text.trim();
    if off && text == "off" {
        return Ok(Value::Address(None));
    }
    if let Ok(address) = text.parse() {
        return Ok(Value::Address(Some(address)));
    }
    // A name is refused on purpose: which of its addresses would be bound is not visible here.
    if let Some(port) = text.strip_prefix("localhost:") {
        return Err(format!("expected an IP address and a port; write 127.0.0.1:{port}"));
    }
    let off = if off { ", or \"off\"" } else { "" };
    Err(format!("expected an IP address and a port, such as 127.0.0.1:7400{off}"))
}

fn choice_value(text: &str, words: &'static [&'static str]) -> Result<Value, String> {
    let text = text.trim();
    if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
        return Ok(Value::Choice(word));
    }
    Err(format!("expected one of: {}", words.join(", ")))
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("a String takes every write");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_bounds_is_told_the_bounds() {
        let kind = Kind::Size { min: 1 << 20, max: 1 << 30 };
        assert_eq!(kind.parse("2GiB").unwrap_err(), "expected 1MiB to 1GiB");
        assert_eq!(kind.parse("1GiB"), Ok(Value::Size(1 << 30)));
        let kind = Kind::Duration { min_ns: 0, max_ns: 1_000_000 };
        assert_eq!(kind.parse("2ms").unwrap_err(), "expected 0s to 1ms");
        let kind = Kind::Integer { min: 1, max: 9 };
        assert_eq!(kind.parse("0").unwrap_err(), "expected a whole number from 1 to 9");
    }

    #[test]
    fn an_address_needs_an_ip_and_may_be_off_only_where_allowed() {
        let error = Kind::Address { off: false }.parse("localhost:7400").unwrap_err();
        assert!(error.ends_with("write 127.0.0.1:7400"), "{error}");
        assert_eq!(Kind::Address { off: true }.parse("off"), Ok(Value::Address(None)));
        assert!(Kind::Address { off: false }.parse("off").is_err());
        assert!(Kind::Address { off: false }.parse("[::1]:0").is_ok());
    }

    #[test]
    fn a_host_has_no_port() {
        for good in ["", "db-1.example.org", "10.0.0.7", "::1", "[::1]"] {
            assert!(Kind::Host.parse(good).is_ok(), "{good}");
        }
        for bad in ["db-1:7400", "a b", "10.0.0.7:1"] {
            assert!(Kind::Host.parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn toml_literals_escape_what_must_be_escaped() {
        assert_eq!(Value::Text("a\"b\\c\u{7}".to_owned()).to_toml(), r#""a\"b\\c\u0007""#);
    }
}
