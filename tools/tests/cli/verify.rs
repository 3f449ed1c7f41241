//! `pyralog consume --verify`: what is sound comes out as without, and nothing else does.

use std::fmt::Write as _;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::process::{Done, Served, run};
use crate::tamper::{Segment, copy, put_back, segments};

/// A key that signs nothing here.
const OTHER_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// A server whose checkpoints come quickly, with a signed log `ledger` of one partition.
struct Ledger {
    place: TempDir,
    served: Option<Served>,
}

impl Ledger {
    fn fresh() -> Self {
        let mut ledger = Self { place: tempfile::tempdir().unwrap(), served: None };
        ledger.start();
        let create = ["log", "create", "ledger", "-p", "1", "--integrity", "signed"];
        ledger.served().run(&[&create[..], &["--segment-size", "1MiB"]].concat()).text();
        ledger
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn served(&self) -> &Served {
        self.served.as_ref().expect("it runs")
    }

    fn start(&mut self) {
        let flags = ["--set", "integrity.checkpoint_interval=20ms"];
        self.served = Some(Served::start(&self.path("data"), &flags));
    }

    fn stop(&mut self) {
        assert_eq!(self.served.take().unwrap().stop().0, 0);
    }

    /// Appends a batch with these lines.
    fn append(&self, lines: &str) {
        self.served().run_with(&["produce", "ledger", "-q"], lines.as_bytes()).text();
    }

    fn key(&self) -> String {
        run(&["key", "--data-dir", &self.text("data"), "--json"]).json()["public_key"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn consume(&self, flags: &[&str]) -> Done {
        self.served().run(&[&["consume", "ledger"], flags].concat())
    }

    /// Reads all, with every batch verified by the server's key and by what is remembered.
    fn verify(&self, flags: &[&str]) -> Done {
        let (key, trust) = (self.key(), self.text("trust"));
        let verify = ["--verify", "every", "--key", &key, "--trust", &trust];
        self.consume(&[&verify, flags].concat())
    }
}

#[test]
fn what_is_sound_comes_out_whatever_its_form() {
    let ledger = Ledger::fresh();
    let served = ledger.served();
    served.run(&["log", "create", "wide", "-p", "4", "--integrity", "hash"]).text();
    let mut keyed = String::new();
    for number in 0..3_000 {
        writeln!(keyed, "k{}:{number}", number % 50).unwrap();
    }
    for codec in ["none", "lz4", "zstd"] {
        let flags = ["-q", "-z", codec, "--batch-bytes", "4KiB", "--key-separator", ":"];
        for log in ["ledger", "wide"] {
            let produce = [&["produce", log], &flags[..]].concat();
            served.run_with(&produce, keyed.as_bytes()).text();
        }
    }
    let plain = ledger.consume(&["--format", "json"]).text();
    assert_eq!(plain.lines().count(), 9_000);
    for flags in [&["--verify", "every"][..], &["--verify", "sampled:2"], &["--verify", "sampled"]]
    {
        let key = ledger.key();
        let keyed = [flags, &["--key", &key, "--format", "json"]].concat();
        assert!(ledger.consume(&keyed).text() == plain, "{flags:?}");
        let noted = ledger.consume(&[flags, &["--max", "1"]].concat());
        assert!(
            noted.stderr.contains("the first key that is seen is believed"),
            "{}",
            noted.stderr
        );
    }
    let wide = served.run(&["consume", "wide", "--verify", "every"]);
    assert!(wide.stderr.contains("not signed"), "{}", wide.stderr);
    assert_eq!(wide.text().lines().count(), 9_000);
    // From the middle, and to a place where nothing is yet.
    let from = ledger.verify(&["--from", "offset:8990"]).text();
    assert_eq!(from.lines().count(), 10);
    assert_eq!(
        ledger.verify(&["--follow", "--from", "offset:8999", "--max", "1"]).text(),
        "2999\n"
    );
}

#[test]
fn what_was_truncated_is_not_missed() {
    let ledger = Ledger::fresh();
    for hour in 0..5 {
        ledger.append(&format!("{hour}a\n{hour}b\n"));
    }
    assert_eq!(ledger.verify(&[]).text().lines().count(), 10);
    ledger.served().run(&["log", "truncate", "ledger", "--before", "5", "--yes"]).text();
    assert_eq!(ledger.verify(&[]).text(), "2b\n3a\n3b\n4a\n4b\n");
}

#[test]
fn a_log_without_proofs_says_what_to_do() {
    let ledger = Ledger::fresh();
    let served = ledger.served();
    served.run(&["log", "create", "plain"]).text();
    served.run(&["log", "create", "hashed", "--integrity", "hash"]).text();
    let said = served.run(&["consume", "plain", "--verify", "every"]).failed(2);
    assert!(said.contains("log create NAME --integrity hash"), "{said}");
    let keyed = ["consume", "hashed", "--verify", "every", "--key", OTHER_KEY];
    let said = served.run(&keyed).failed(2);
    assert!(said.contains("--integrity signed"), "{said}");
    let said = served.run(&["consume", "ledger", "--key", OTHER_KEY]).failed(2);
    assert!(said.contains("--verify every"), "{said}");
    let said = served.run(&["consume", "ledger", "--verify", "sampled:0"]).failed(2);
    assert!(said.contains("1 to 1000000"), "{said}");
}

#[test]
fn a_record_that_was_altered_on_disk_with_its_checksums_does_not_come_out() {
    let mut ledger = Ledger::fresh();
    for lines in ["first\n", "second one\nthird one\n", "the last\n"] {
        ledger.append(lines);
    }
    ledger.verify(&[]).text();
    ledger.stop();
    let mut segment = Segment::open(&segments(&ledger.path("data"), 1, 0)[0]);
    assert_eq!(segment.alter(b"third one", b"THIRD one"), 1..3);
    segment.write();
    ledger.start();
    let forged = ledger.consume(&[]).text();
    assert!(forged.contains("THIRD one"), "the checksums are sound: {forged}");
    let refused = ledger.verify(&[]);
    assert!(!String::from_utf8_lossy(&refused.stdout).contains("THIRD"), "it was written");
    let said = refused.failed(4);
    assert!(said.contains("`ledger` partition 0, offsets 1 to 3"), "{said}");
    assert!(said.contains("altered"), "{said}");
    let said = ledger.consume(&["--verify", "sampled:1"]).failed(4);
    assert!(said.contains("offsets 1 to 3"), "{said}");
    // What lies around it is sound, and can be had.
    assert_eq!(ledger.verify(&["--from", "offset:3"]).text(), "the last\n");
}

#[test]
fn a_key_that_is_not_pinned_is_refused() {
    let ledger = Ledger::fresh();
    ledger.append("first\n");
    let said = ledger.consume(&["--verify", "every", "--key", OTHER_KEY]).failed(4);
    assert!(said.contains("not a key that is trusted here"), "{said}");
    let both = ["--verify", "every", "--key", OTHER_KEY, "--key", &ledger.key()];
    assert_eq!(ledger.consume(&both).text(), "first\n");
    // What was believed once binds the next run.
    ledger.verify(&[]).text();
    let trust = ledger.text("trust");
    ledger.served().run(&["log", "delete", "ledger", "--yes"]).text();
    ledger.served().run(&["log", "create", "ledger", "--integrity", "signed"]).text();
    let said = ledger.verify(&[]).failed(1);
    assert!(said.contains("it remembers another log `ledger`"), "{said}");
    std::fs::remove_file(ledger.path("trust")).unwrap();
    ledger.append("again\n");
    ledger.verify(&[]).text();
    let other = ["--verify", "every", "--key", OTHER_KEY, "--trust", &trust];
    let said = ledger.consume(&other).failed(1);
    assert!(said.contains("give the former one too"), "{said}");
    std::fs::write(ledger.path("trust"), "pyralog trust 1\ncrc32c 00000000\n").unwrap();
    let said = ledger.verify(&[]).failed(1);
    assert!(said.contains("its checksum is wrong"), "{said}");
}

#[test]
fn a_server_that_comes_back_with_an_older_disk_is_refused() {
    let mut ledger = Ledger::fresh();
    ledger.append("first\n");
    ledger.verify(&[]).text();
    ledger.stop();
    copy(&ledger.path("data"), &ledger.path("copy"));
    ledger.start();
    ledger.append("second\n");
    assert_eq!(ledger.verify(&[]).text(), "first\nsecond\n");
    ledger.stop();
    put_back(&ledger.path("copy"), &ledger.path("data"));
    ledger.start();
    let refused = ledger.verify(&[]);
    assert_eq!(refused.stdout, b"");
    let said = refused.failed(4);
    assert!(
        said.contains("offsets 1 to 2 (exclusive), not verified: the log was rolled back"),
        "{said}"
    );
    // It goes on with another history, as long and then longer.
    for line in ["SECOND\n", "THIRD\n"] {
        ledger.append(line);
        // Who remembers nothing believes it; by then a checkpoint covers it.
        ledger.consume(&["--verify", "every"]).text();
        let refused = ledger.verify(&[]);
        assert_eq!(refused.stdout, b"");
        let said = refused.failed(4);
        assert!(said.contains("the history was forked"), "{said}");
    }
}
