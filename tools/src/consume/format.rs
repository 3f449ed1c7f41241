//! The forms in which `consume` writes a record.

use pyralog_client::ScarabId;
use serde::de::IgnoredAny;

use super::template::Template;
use crate::args::OutputFormat;
use crate::timestamp::rfc3339;

/// A record on its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutRecord<'a> {
    /// Partition it was read from.
    pub(crate) partition: u32,
    /// Its offset there.
    pub(crate) offset: u64,
    /// Its id, if it was appended by a server that deals ids.
    pub(crate) id: Option<ScarabId>,
    /// When it was created, microseconds since the Unix epoch.
    pub(crate) time_us: i64,
    /// Its key, if it has one.
    pub(crate) key: Option<&'a [u8]>,
    /// Its value; `None` marks a deletion.
    pub(crate) value: Option<&'a [u8]>,
    /// Its headers in order.
    pub(crate) headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Writes records in one form.
#[derive(Clone, Debug)]
pub(crate) enum Formatter {
    /// Value and newline.
    Raw,
    /// A JSON object, the value as text.
    Json,
    /// A JSON object, the value embedded if it is JSON.
    JsonEmbedded,
    /// A template.
    Template(Template),
}

impl Formatter {
    /// The writer of `format`. `template` is there if the format asks for it: clap sees to that.
    pub(crate) fn new(format: OutputFormat, template: Option<Template>) -> Self {
        match (format, template) {
            (OutputFormat::Template, Some(template)) => Self::Template(template),
            (OutputFormat::Raw | OutputFormat::Template, _) => Self::Raw,
            (OutputFormat::Json, _) => Self::Json,
            (OutputFormat::NdjsonWithMetadata, _) => Self::JsonEmbedded,
        }
    }

    /// Appends `record` to `out`. A null value is an empty line in the raw form.
    pub(crate) fn write(&self, record: &OutRecord<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Raw => {
                out.extend_from_slice(record.value.unwrap_or_default());
                out.push(b'\n');
            }
            Self::Json => object(record, false, out),
            Self::JsonEmbedded => object(record, true, out),
            Self::Template(template) => template.write(record, out),
        }
    }
}

/// One JSON object and a newline. Bytes that are not UTF-8 stand in a field of their own, in base64.
fn object(record: &OutRecord<'_>, embed: bool, out: &mut Vec<u8>) {
    let id = record.id.map_or_else(|| "null".to_owned(), |id| format!("\"{id}\""));
    let head = format!(
        "{{\"partition\":{},\"offset\":{},\"id\":{id},\"time\":\"{}\"",
        record.partition,
        record.offset,
        rfc3339(record.time_us)
    );
    out.extend_from_slice(head.as_bytes());
    out.push(b',');
    bytes_field("key", record.key, out);
    out.push(b',');
    match record.value {
        Some(value) if embed && is_json(value) => {
            out.extend_from_slice(b"\"value\":");
            // A newline in valid JSON stands between tokens only, so a space means the same.
            out.extend(value.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }));
        }
        value => bytes_field("value", value, out),
    }
    if !record.headers.is_empty() {
        out.extend_from_slice(b",\"headers\":[");
        for (index, (name, value)) in record.headers.iter().enumerate() {
            if index != 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"name\":");
            json_text(name, out);
            out.push(b',');
            bytes_field("value", *value, out);
            out.push(b'}');
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}\n");
}

fn is_json(value: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(value).is_ok() && std::str::from_utf8(value).is_ok()
}

fn bytes_field(name: &str, bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"\":null"),
        Some((_, Ok(text))) => {
            out.extend_from_slice(b"\":");
            json_text(text, out);
        }
        Some((bytes, Err(_))) => {
            out.extend_from_slice(b"_base64\":\"");
            base64(bytes, out);
            out.push(b'"');
        }
    }
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a Vec takes every write and text is valid JSON");
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4_usize {
            let symbol = if index <= chunk.len() {
                ALPHABET[(group >> (18 - 6 * index) & 63) as usize]
            } else {
                b'='
            };
            out.push(symbol);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(formatter: &Formatter, record: &OutRecord<'_>) -> String {
        let mut out = Vec::new();
        formatter.write(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    const RECORD: OutRecord<'_> = OutRecord {
        partition: 1,
        offset: 5,
        id: Some(ScarabId::from_raw(32)),
        time_us: 0,
        key: None,
        value: Some(b"{\"a\":\n1.50}"),
        headers: &[],
    };

    #[test]
    fn raw_is_the_value_and_a_newline_byte_for_byte() {
        let mut out = Vec::new();
        let value: &[u8] = b"\xff\r";
        Formatter::Raw.write(&OutRecord { value: Some(value), ..RECORD }, &mut out);
        assert_eq!(out, b"\xff\r\n");
    }

    #[test]
    fn json_keeps_the_value_as_text_and_the_other_form_embeds_it() {
        assert_eq!(
            written(&Formatter::Json, &RECORD),
            "{\"partition\":1,\"offset\":5,\"id\":\"0000000000010\",\"time\":\"1970-01-01T00:00:00.000000Z\",\
             \"key\":null,\"value\":\"{\\\"a\\\":\\n1.50}\"}\n"
        );
        assert_eq!(
            written(&Formatter::JsonEmbedded, &RECORD),
            "{\"partition\":1,\"offset\":5,\"id\":\"0000000000010\",\"time\":\"1970-01-01T00:00:00.000000Z\",\
             \"key\":null,\"value\":{\"a\": 1.50}}\n"
        );
    }

    #[test]
    fn every_line_is_one_json_document_whatever_the_bytes() {
        let headers: [(&str, Option<&[u8]>); 2] = [("h\"1", Some(b"x")), ("h2", None)];
        let values: [Option<&[u8]>; 5] = [
            None,
            Some(b""),
            Some(b"plain \"text\"\n"),
            Some(b"\xff\xfe\x00"),
            Some(b"{\"a\":\xff}"),
        ];
        for value in values {
            let record = OutRecord { id: None, key: value, value, headers: &headers, ..RECORD };
            for formatter in [Formatter::Json, Formatter::JsonEmbedded] {
                let line = written(&formatter, &record);
                assert_eq!(line.matches('\n').count(), 1, "{line}");
                serde_json::from_str::<serde_json::Value>(&line).unwrap();
            }
        }
    }

    #[test]
    fn base64_pads_as_the_standard_says() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            let mut out = Vec::new();
            base64(bytes.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
        }
    }
}
