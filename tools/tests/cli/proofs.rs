//! `pyralog notarize`, `verify` and `audit`: receipts hold without a server, and every alarm can be raised from outside.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Done, Served, run};
use crate::tamper::{Segment, copy, put_back, segments};

/// A key that signs nothing here.
const OTHER_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// A server whose checkpoints come quickly, and files beside it.
struct Place {
    folder: TempDir,
    served: Option<Served>,
}

impl Place {
    fn fresh() -> Self {
        let mut place = Self { folder: tempfile::tempdir().unwrap(), served: None };
        place.start();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, content: &str) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.text(name)
    }

    fn start(&mut self) {
        let flags = ["--set", "integrity.checkpoint_interval=20ms"];
        self.served = Some(Served::start(&self.path("data"), &flags));
    }

    fn stop(&mut self) {
        assert_eq!(self.served.take().unwrap().stop().0, 0);
    }

    fn run(&self, arguments: &[&str]) -> Done {
        self.served.as_ref().expect("it runs").run(arguments)
    }

    fn key(&self) -> String {
        let key = run(&["key", "--data-dir", &self.text("data"), "--json"]).json();
        key["public_key"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_receipt_proves_a_file_with_the_server_stopped() {
    let mut place = Place::fresh();
    let file = place.file("report.pdf", "the second draft");
    let noted = ["notarize", &file, "--note", "for the record", "--json"];
    let made = place.run(&noted).json();
    assert_eq!((&made["log"], &made["offset"]), (&"notary".into(), &0.into()));
    assert_eq!(made["public_key"], place.key().as_str());
    let receipt = place.text("report.pdf.receipt");
    assert_eq!(made["receipt"], receipt.as_str());
    // A later one names the checkpoint before it; the log has one partition.
    let later = place.text("later");
    place.run(&["notarize", &file, "--out", &later]).text();
    let said = place.run(&noted).failed(2);
    assert!(said.contains("receipts are not replaced"), "{said}");

    let key = place.key();
    place.stop();
    let proven = run(&["verify", &receipt, &file, "--key", &key, "--json"]).json();
    assert_eq!((&proven["verified"], &proven["key_pinned"]), (&true.into(), &true.into()));
    assert_eq!(
        (&proven["name"], &proven["note"]),
        (&"report.pdf".into(), &"for the record".into())
    );
    assert_eq!((&proven["length"], &proven["not_before"]), (&16.into(), &Value::Null));
    let proven = run(&["verify", &later, &file, "--json"]).json();
    assert_eq!((&proven["offset"], &proven["key_pinned"]), (&1.into(), &false.into()));
    assert!(proven["not_before"].is_string(), "{proven}");
    let said = run(&["verify", &receipt, &file]).text();
    assert!(said.contains("verified") && said.contains("the receipt's own word"), "{said}");
}

#[test]
fn what_a_receipt_does_not_prove_ends_with_one() {
    let mut place = Place::fresh();
    let file = place.file("report.pdf", "the second draft");
    place.run(&["notarize", &file]).text();
    let receipt = place.text("report.pdf.receipt");
    place.stop();
    let other = place.file("other.pdf", "the SECOND draft");
    let said = run(&["verify", &receipt, &other]).failed(1);
    assert!(said.contains("is not the file of the receipt"), "{said}");
    let said = run(&["verify", &receipt, &file, "--key", OTHER_KEY]).failed(1);
    assert!(said.contains("not by d75a9801"), "{said}");
    let said = run(&["verify", &receipt, &file, "--key", "12"]).failed(2);
    assert!(said.contains("64 hexadecimal digits"), "{said}");
    let said = run(&["verify", &file, &file]).failed(1);
    assert!(said.contains("is not a receipt"), "{said}");
    let said = run(&["verify", &place.text("none"), &file]).failed(1);
    assert!(said.contains("cannot read"), "{said}");

    let text = std::fs::read_to_string(&receipt).unwrap();
    let renamed = place.file("renamed", &text.replace("report.pdf", "contract.pdf"));
    let said = run(&["verify", &renamed, &file]).failed(1);
    assert!(said.contains("another commitment"), "{said}");
    let start = text.find("\"checkpoint\": \"").unwrap() + "\"checkpoint\": \"".len();
    let mut forged = text.clone();
    // A digit of the end offset that was signed.
    let digit = if &text[start + 96..=start + 96] == "0" { "1" } else { "0" };
    forged.replace_range(start + 96..=start + 96, digit);
    let forged = place.file("forged", &forged);
    let said = run(&["verify", &forged, &file]).failed(1);
    assert!(said.contains("signature of the checkpoint is false"), "{said}");
}

#[test]
fn a_file_is_notarized_in_a_signed_log_only() {
    let place = Place::fresh();
    let file = place.file("report.pdf", "the second draft");
    place.run(&["log", "create", "plain"]).text();
    let said = place.run(&["notarize", &file, "--log", "plain"]).failed(1);
    assert!(said.contains("--integrity signed"), "{said}");
    assert!(!place.path("report.pdf.receipt").exists());
    let said = place.run(&["notarize", &place.text("none")]).failed(1);
    assert!(said.contains("cannot read"), "{said}");
}

/// A server with a signed log of six records in as many batches, which was audited.
struct Audited(Place);

impl Audited {
    fn fresh() -> Self {
        let audited = Self(Place::fresh());
        let create = ["log", "create", "ledger", "-p", "1", "--integrity", "signed"];
        audited.0.run(&[&create[..], &["--segment-size", "1MiB"]].concat()).text();
        for word in ["alpha", "bravo", "gamma", "delta", "kappa", "sigma"] {
            audited.append(word);
        }
        audited.settle();
        audited.audit(&[]).text();
        audited
    }

    fn append(&self, line: &str) {
        let produce = ["produce", "ledger", "-q"];
        self.0.served.as_ref().unwrap().run_with(&produce, format!("{line}\n").as_bytes()).text();
    }

    /// Waits until a checkpoint covers everything. Believes the server: what it signs is for the test to judge.
    fn settle(&self) {
        loop {
            let described = self.0.run(&["log", "describe", "ledger", "--json"]).json();
            let partition = &described["partitions"][0];
            if partition["tree"]["checkpoint_end"] == partition["end"] {
                return;
            }
        }
    }

    fn audit(&self, flags: &[&str]) -> Done {
        let state = self.0.text("state");
        self.0.run(&[&["audit", "ledger", "--state", &state], flags].concat())
    }

    /// Changes the segment of the stopped server, and starts it again.
    fn tamper<T>(&mut self, change: impl FnOnce(&mut Segment) -> T) -> T {
        self.0.stop();
        let mut segment = Segment::open(&segments(&self.0.path("data"), 1, 0)[0]);
        let changed = change(&mut segment);
        segment.write();
        self.0.start();
        changed
    }

    /// The alarm that an audit raises, as a program reads it: its word, and the offsets.
    fn alarm(&self, flags: &[&str]) -> (String, std::ops::Range<u64>, Value) {
        let done = self.audit(&[flags, &["--json"]].concat());
        assert_eq!(done.code, 4, "{}{}", String::from_utf8_lossy(&done.stdout), done.stderr);
        assert!(done.stderr.contains("docs/PROOFS.md"), "{}", done.stderr);
        let said = String::from_utf8(done.stdout).unwrap();
        let alarm: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        assert_eq!((&alarm["log"], &alarm["partition"]), (&"ledger".into(), &0.into()));
        let offset = |name: &str| alarm[name].as_u64().unwrap();
        let word = alarm["alarm"].as_str().unwrap().to_owned();
        (word, offset("first_offset")..offset("end_offset"), alarm)
    }
}

#[test]
fn a_sound_log_raises_no_alarm_and_is_read_once() {
    let audited = Audited::fresh();
    let report = |flags: &[&str]| audited.audit(&[flags, &["--json"]].concat()).json();
    assert_eq!(report(&[])["records_read"], 0, "it remembers");
    assert_eq!(report(&["--full"])["records_read"], 6);
    audited.append("omega");
    audited.settle();
    let last = report(&["--once"]);
    assert_eq!((&last["records_read"], &last["alarms"]), (&1.into(), &0.into()));
    assert_eq!(last["partitions"][0]["end_offset"], 7);
    assert_eq!(last["partitions"][0]["public_key"], audited.0.key().as_str());
    let said = audited.audit(&[]).text();
    assert!(said.contains("sound"), "{said}");
}

#[test]
fn what_cannot_be_audited_is_said() {
    let audited = Audited::fresh();
    audited.0.run(&["log", "create", "plain"]).text();
    let said = audited.audit(&["plain"]).failed(1);
    assert!(said.contains("--integrity signed"), "{said}");
    let said = audited.audit(&["nothing"]).failed(1);
    assert!(said.contains("there is no log `nothing`"), "{said}");
    let said = audited.audit(&["--key", "12"]).failed(2);
    assert!(said.contains("64 hexadecimal digits"), "{said}");
    // A state that was changed is not believed.
    let state =
        std::fs::read_dir(audited.0.path("state")).unwrap().map(|entry| entry.unwrap().path());
    let entries = state
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "entries"))
        .unwrap();
    let mut bytes = std::fs::read(&entries).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&entries, bytes).unwrap();
    let said = audited.audit(&[]).failed(1);
    assert!(said.contains("is damaged"), "{said}");
}

#[test]
fn an_altered_record_is_an_alarm() {
    let mut audited = Audited::fresh();
    audited.tamper(|segment| segment.alter(b"gamma", b"GAMMA"));
    assert_eq!(audited.alarm(&["--full"]).0, "altered_record");
    assert_eq!(audited.alarm(&["--full"]).1, 2..3, "it is one again");
    // An auditor that comes later holds the server to what it signed.
    let state = audited.0.text("another");
    let done = audited.0.run(&["audit", "--state", &state]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.code, 4, "{said}");
    let expected = "altered_record in log `ledger` partition 0, offsets 2 to 3 (exclusive)";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn reordered_records_are_an_alarm() {
    let mut audited = Audited::fresh();
    assert_eq!(audited.tamper(|segment| segment.exchange(b"bravo", b"gamma")), 1..3);
    let (word, offsets, _) = audited.alarm(&["--full"]);
    assert_eq!((word.as_str(), offsets), ("reordered_records", 1..3));
}

#[test]
fn dropped_records_are_an_alarm() {
    let mut audited = Audited::fresh();
    assert_eq!(audited.tamper(|segment| segment.cut(b"kappa")), 4);
    let (word, offsets, _) = audited.alarm(&["--full"]);
    assert_eq!((word.as_str(), offsets), ("dropped_record", 4..6));
}

#[test]
fn a_log_that_was_rolled_back_or_forked_is_an_alarm() {
    let mut audited = Audited::fresh();
    audited.0.stop();
    copy(&audited.0.path("data"), &audited.0.path("copy"));
    audited.0.start();
    audited.append("omega");
    audited.settle();
    audited.audit(&[]).text();
    audited.0.stop();
    put_back(&audited.0.path("copy"), &audited.0.path("data"));
    audited.0.start();
    let (word, offsets, _) = audited.alarm(&[]);
    assert_eq!((word.as_str(), offsets), ("rolled_back_log", 6..7));

    audited.append("OMEGA");
    audited.settle();
    let (word, offsets, alarm) = audited.alarm(&[]);
    assert_eq!((word.as_str(), offsets), ("forked_history", 6..7));
    let evidence = std::fs::read(alarm["evidence"].as_str().unwrap()).unwrap();
    let evidence = pyralog_log::proof::Equivocation::decode(&evidence).unwrap();
    assert!(evidence.verify().is_ok(), "it convinces others");
    audited.append("more");
    audited.settle();
    let (word, offsets, alarm) = audited.alarm(&[]);
    assert_eq!((word.as_str(), offsets), ("forked_history", 6..7));
    assert!(alarm["evidence"].is_string(), "{alarm}");
}

#[test]
fn a_key_that_is_not_trusted_is_an_alarm() {
    let mut audited = Audited::fresh();
    let state = audited.0.text("another");
    let done = audited.0.run(&["audit", "--state", &state, "--key", OTHER_KEY, "--json"]);
    assert_eq!(done.code, 4, "{}", done.stderr);
    let said = String::from_utf8(done.stdout).unwrap();
    let alarm: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((&alarm["alarm"], &alarm["end_offset"]), (&"bad_signature".into(), &6.into()));
    // The server has another key from now on: whoever audited it before does not believe it.
    audited.0.stop();
    std::fs::remove_file(audited.0.path("data/keys/node.ed25519")).unwrap();
    audited.0.start();
    audited.append("omega");
    audited.settle();
    assert_eq!(audited.alarm(&[]).0, "bad_signature");
}
