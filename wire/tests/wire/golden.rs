//! Golden files: the bytes of every message, the numbers of kinds and errors, the limits.
//!
//! `UPDATE_GOLDEN=1 cargo test -p pyralog-wire` rewrites them; read the diff. The bytes of a
//! released version never change.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use pyralog_wire::limits::{fingerprint, limits, shared_text};
use pyralog_wire::{Correlation, ErrorCode, Kind, encode_error, encode_request, encode_response};

use crate::samples;

const CORRELATION: Correlation = Correlation::new(0x0000_0001_0000_0005);

#[test]
fn every_request_has_its_golden_bytes() {
    let samples = samples::requests();
    for kind in Kind::ALL {
        assert!(samples.iter().any(|(_, request, _)| request.kind() == *kind), "no {kind}");
    }
    for (name, request, payload_len) in samples {
        let mut frame = Vec::new();
        encode_request(&mut frame, CORRELATION, &request, payload_len).unwrap();
        check(&format!("request-{name}.hex"), &hex(&frame));
    }
}

#[test]
fn every_response_has_its_golden_bytes() {
    let samples = samples::responses();
    for kind in Kind::ALL {
        assert!(samples.iter().any(|(_, response, _)| response.kind() == *kind), "no {kind}");
    }
    for (name, response, payload_len) in samples {
        let mut frame = Vec::new();
        encode_response(&mut frame, CORRELATION, &response, payload_len).unwrap();
        check(&format!("response-{name}.hex"), &hex(&frame));
    }
}

#[test]
fn every_error_detail_has_its_golden_bytes() {
    for (name, kind, error) in samples::errors() {
        let correlation = if kind == 0 { Correlation::CONNECTION } else { CORRELATION };
        let mut frame = Vec::new();
        encode_error(&mut frame, kind, correlation, &error).unwrap();
        check(&format!("{name}.hex"), &hex(&frame));
    }
}

#[test]
fn numbers_of_kinds_and_errors_never_change() {
    let mut text = String::new();
    for kind in Kind::ALL {
        writeln!(text, "kind {} {kind}", kind.number()).unwrap();
    }
    for code in ErrorCode::ALL {
        let retry = code.retryability();
        let closes = if code.closes() { " closes" } else { "" };
        writeln!(text, "error {} {code} {retry:?}={}{closes}", code.number(), retry.number())
            .unwrap();
    }
    check("numbers.txt", &text);
}

#[test]
fn limits_and_their_fingerprint_change_knowingly() {
    let mut text = String::new();
    for limit in limits() {
        writeln!(text, "{}={} {}", limit.name, limit.value, limit.unit).unwrap();
    }
    writeln!(text, "\nfingerprint {:08x} of\n{}", fingerprint(), shared_text()).unwrap();
    check("limits.txt", &text);
    assert_eq!(fingerprint(), crc32c::crc32c(shared_text().as_bytes()));
}

#[test]
fn protocol_page_shows_the_golden_bytes() {
    let page = page();
    let mut shown = 0;
    for part in page.split("<!-- golden: ").skip(1) {
        let (name, rest) = part.split_once(" -->\n```text\n").expect("a block after its name");
        let (block, _) = rest.split_once("```").expect("an end of the block");
        assert_eq!(block, read(name), "docs/PROTOCOL.md shows other bytes than {name}");
        shown += 1;
    }
    assert!(shown >= 6, "the page shows {shown} examples");
}

#[test]
fn protocol_page_lists_every_kind_and_error() {
    let page = page();
    for kind in Kind::ALL {
        let row = format!("| {} | {kind} |", kind.number());
        assert!(page.contains(&row), "docs/PROTOCOL.md lacks {row}");
    }
    for code in ErrorCode::ALL {
        let retry = code.retryability();
        let row = format!("| {} | {code} | {retry:?} |", code.number());
        assert!(page.contains(&row), "docs/PROTOCOL.md lacks {row}");
    }
}

pub(crate) fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md");
    fs::read_to_string(path).unwrap()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn check(name: &str, now: &str) {
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path(name), now).unwrap();
    }
    assert_eq!(now, read(name), "{name}: if that is meant, run with UPDATE_GOLDEN=1");
}

/// Sixteen bytes a line, each line with its offset.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, line) in bytes.chunks(16).enumerate() {
        write!(text, "{:04x} ", index * 16).unwrap();
        for byte in line {
            write!(text, " {byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}
