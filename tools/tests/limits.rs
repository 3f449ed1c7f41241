//! `docs/LIMITS.md` is the list that the crates export: `UPDATE_GOLDEN=1 cargo test -p pyralog --test limits`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::Path;

const HEAD: &str = "\
# Limits

Every maximum in Pyralog has a name, a unit and a derivation, and stands in the `limits.rs` of its crate. This page is
made from them by a test (`UPDATE_GOLDEN=1 cargo test -p pyralog --test limits`), so it cannot go stale. Limits that both
ends of a connection share are fingerprinted in the handshake ([PROTOCOL.md](PROTOCOL.md)).
";

type Row = (&'static str, u64, &'static str, &'static str);

fn rows(limits: &[pyralog_log::limits::Limit]) -> Vec<Row> {
    limits.iter().map(|limit| (limit.name, limit.value, limit.unit, limit.why)).collect()
}

/// Those of the crates below the log.
fn own_rows(limits: &[pyralog_runtime::limits::Limit]) -> Vec<Row> {
    limits.iter().map(|limit| (limit.name, limit.value, limit.unit, limit.why)).collect()
}

fn page() -> String {
    let sections: [(&str, Vec<Row>); 7] = [
        ("A core (`shard/runtime/src/limits.rs`)", own_rows(&pyralog_runtime::limits::limits())),
        ("Sequencers (`seq/src/limits.rs`)", own_rows(&pyralog_seq::limits::limits())),
        ("The log (`log/src/limits.rs`)", rows(&pyralog_log::limits::limits())),
        ("The object store (`log/store/src/limits.rs`)", rows(&pyralog_store::limits::limits())),
        ("The protocol (`wire/src/limits.rs`)", rows(&pyralog_wire::limits::limits())),
        ("The client (`wire/client/src/limits.rs`)", rows(&pyralog_client::limits::limits())),
        ("The server (`shard/src/limits.rs`)", rows(&pyralog_shard::limits::limits())),
    ];
    let mut page = HEAD.to_owned();
    for (title, rows) in sections {
        writeln!(page, "\n## {title}\n\n| name | value | unit | why |\n|---|---|---|---|").unwrap();
        for (name, value, unit, why) in rows {
            writeln!(page, "| `{name}` | {value} | {unit} | {why} |").unwrap();
        }
    }
    page
}

#[test]
fn limits_page_is_what_the_crates_export() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/LIMITS.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(found == page(), "run UPDATE_GOLDEN=1 cargo test -p pyralog --test limits");
}
