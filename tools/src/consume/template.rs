//! The template of `consume --template`: text with `{fields}` and backslash escapes.

use std::fmt::Write as _;
use std::str::FromStr;

use super::format::OutRecord;
use crate::timestamp::rfc3339;

/// A field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Partition,
    Offset,
    Id,
    Time,
    TimeMs,
    Key,
    Value,
    Size,
}

const FIELDS: [(&str, Field); 8] = [
    ("partition", Field::Partition),
    ("offset", Field::Offset),
    ("id", Field::Id),
    ("time", Field::Time),
    ("time_ms", Field::TimeMs),
    ("key", Field::Key),
    ("value", Field::Value),
    ("size", Field::Size),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => plain.push(escape(chars.next())?),
                '{' if chars.as_str().starts_with('{') => {
                    chars.next();
                    plain.push('{');
                }
                '{' => {
                    let rest = chars.as_str();
                    let end = rest.find('}').ok_or("a `{` has no `}`; write {{ for a brace")?;
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(Part::Field(field(&rest[..end])?));
                    chars = rest[end + 1..].chars();
                }
                '}' => {
                    // A doubled closing brace reads as one, as in Rust and Python.
                    if chars.as_str().starts_with('}') {
                        chars.next();
                    }
                    plain.push('}');
                }
                c => plain.push(c),
            }
        }
        parts.push(Part::Text(plain));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self(parts))
    }
}

impl Template {
    /// Appends `record` in this form; what it does not have is nothing.
    pub(super) fn write(&self, record: &OutRecord<'_>, out: &mut Vec<u8>) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Field(Field::Key) => out.extend_from_slice(record.key.unwrap_or_default()),
                Part::Field(Field::Value) => {
                    out.extend_from_slice(record.value.unwrap_or_default());
                }
                Part::Field(field) => out.extend_from_slice(text_field(*field, record).as_bytes()),
            }
        }
    }
}

fn text_field(field: Field, record: &OutRecord<'_>) -> String {
    let mut text = String::new();
    let written = match field {
        Field::Partition => write!(text, "{}", record.partition),
        Field::Offset => write!(text, "{}", record.offset),
        Field::Id => record.id.map_or(Ok(()), |id| write!(text, "{id}")),
        Field::TimeMs => write!(text, "{}", record.time_us.div_euclid(1000)),
        Field::Size => write!(text, "{}", record.value.map_or(0, <[u8]>::len)),
        Field::Time => write!(text, "{}", rfc3339(record.time_us)),
        Field::Key | Field::Value => Ok(()),
    };
    written.expect("a String takes every write");
    text
}

fn field(name: &str) -> Result<Field, String> {
    FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field).ok_or_else(|| {
        let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        format!("unknown field {{{name}}}; there are {}", names.join(", "))
    })
}

fn escape(c: Option<char>) -> Result<char, String> {
    match c {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some('0') => Ok('\0'),
        Some('\\') => Ok('\\'),
        Some(other) => Err(format!("unknown escape \\{other}; there are \\n \\t \\r \\0 \\\\")),
        None => Err("a lone \\ at the end; write \\\\ for a backslash".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use pyralog_client::ScarabId;

    use super::*;

    fn written(template: &str, record: &OutRecord<'_>) -> String {
        let mut out = Vec::new();
        template.parse::<Template>().unwrap().write(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    const RECORD: OutRecord<'_> = OutRecord {
        partition: 2,
        offset: 17,
        id: Some(ScarabId::from_raw(33)),
        time_us: 1_500_000,
        key: Some(b"k"),
        value: Some(b"v1"),
        headers: &[],
    };

    #[test]
    fn fields_escapes_and_braces_are_written() {
        assert_eq!(
            written("{partition}/{offset}\\t{key}={value} {size}B {time_ms}\\n", &RECORD),
            "2/17\tk=v1 2B 1500\n"
        );
        assert_eq!(written("{{{offset}}}", &RECORD), "{17}");
        assert_eq!(written("{id}", &RECORD), "0000000000011");
        assert_eq!(written("{time}", &RECORD), "1970-01-01T00:00:01.500000Z");
        assert_eq!(written("", &RECORD), "");
    }

    #[test]
    fn nulls_are_nothing() {
        let record = OutRecord { id: None, key: None, value: None, ..RECORD };
        assert_eq!(written("[{id}|{key}|{value}|{size}]", &record), "[|||0]");
    }

    #[test]
    fn mistakes_are_named() {
        for (template, message) in [
            ("{offest}", "unknown field {offest}; there are partition, offset"),
            ("{offset", "a `{` has no `}`"),
            ("\\x", "unknown escape \\x"),
            ("end\\", "a lone \\ at the end"),
        ] {
            let error = template.parse::<Template>().unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
