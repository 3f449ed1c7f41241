//! Bytes of the format, kept for good. `UPDATE_GOLDEN=1 cargo test -p pyralog-log --test batch golden`
//! rewrites the files in `tests/golden`; read the diff.

use std::fmt::Write;
use std::path::PathBuf;

use pyralog_log::batch::{Batch, Codec, Decoder};

use crate::model::{Model, build, read, sealed, session, value};
use crate::thinned::thinned;

/// Records without keys and headers.
fn plain() -> Vec<Model> {
    let record = |i: i64, text: &str| Model {
        create_time: 1_753_000_000_000_000 + i,
        ..value(text.as_bytes())
    };
    vec![record(0, "GET /index.html 200"), record(250, ""), record(125, "POST /login 302")]
}

/// Records with everything: nulls, duplicates, empties.
fn everything() -> Vec<Model> {
    let header =
        |key: &str, value: Option<&str>| (key.to_owned(), value.map(|v| v.as_bytes().to_vec()));
    let mut records = plain();
    records[1].key = Some(b"user-17".to_vec());
    records[1].headers =
        vec![header("trace", Some("abc")), header("größe", None), header("trace", Some(""))];
    records.push(Model { key: Some(vec![]), value: None, ..records[1].clone() });
    records
}

/// Records that compress.
fn repetitive() -> Vec<Model> {
    (0..40).map(|i| Model { create_time: i, ..value(b"127.0.0.1 - - GET / 200 512") }).collect()
}

/// All but the second.
fn without(mut records: Vec<Model>) -> Vec<Model> {
    records.remove(1);
    records
}

/// A batch behind a gap of 17 offsets, whose second record compaction has taken.
fn without_the_second() -> Vec<u8> {
    thinned(&sealed(build(&everything(), Codec::None, Some(session()))), |row| row != 1, 17)
}

/// Every golden file: name, bytes as built today, records in it, whether it is sealed.
fn cases() -> Vec<(&'static str, Vec<u8>, Vec<Model>, bool)> {
    let case = |name, records: Vec<Model>, codec, session| {
        (name, build(&records, codec, session), records, false)
    };
    vec![
        case("batch_keyless", plain(), Codec::None, None),
        case("batch_keyed_headers_nulls", everything(), Codec::None, None),
        case("batch_lz4", repetitive(), Codec::Lz4, None),
        case("batch_zstd", repetitive(), Codec::Zstd, None),
        ("batch_sealed", sealed(build(&plain(), Codec::None, None)), plain(), true),
        case("batch_session", plain(), Codec::None, Some(session())),
        ("batch_thinned", without_the_second(), without(everything()), true),
    ]
}

/// Where a golden file lies.
fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{name}.hex")].iter().collect()
}

/// Bytes as text, 32 a line.
fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

/// The bytes of a golden file.
fn load(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(path(name)).unwrap();
    let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn golden_batches_are_built_byte_for_byte() {
    for (name, bytes, ..) in cases() {
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path(name), to_hex(&bytes)).unwrap();
        }
        let stored = std::fs::read_to_string(path(name)).unwrap();
        assert!(stored == to_hex(&bytes), "{name} changed; see the first line of this file");
    }
}

#[test]
fn golden_batches_are_read() {
    for (name, _, records, sealed) in cases() {
        let bytes = load(name);
        let batch = Batch::parse(&bytes).unwrap();
        let batch = if sealed { batch.verify() } else { batch.verify_unsealed() };
        let batch = batch.unwrap();
        assert_eq!(read(&Decoder::new().rows(&batch).unwrap()), records, "{name}");
    }
}
