//! A day in the life of a log, with real processes: keyed updates flow in, old segments are compacted, dropped or moved to the
//! object store, a consumer reads through all tiers, a backup is taken under load, the data directory is lost and restored,
//! and a byte that somebody changes on disk is found by the scrubber and by the auditor.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pyralog_client::blocking::Client;
use pyralog_client::{ClientConfig, PartitionId};
use pyralog_log::proof::checkpoint::Checkpoint;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Done, Served, run};

/// Records of an hour.
const HOUR: usize = 1_500;
/// Keys that are written again and again.
const KEYS: usize = 100;

/// A server with everything switched on, whose housekeeper is in a hurry.
struct Day {
    place: TempDir,
    served: Option<Served>,
    /// Values of `ledger`, by offset.
    ledger: Vec<String>,
    /// The newest value of each key of `prices`.
    prices: BTreeMap<String, String>,
    written: usize,
}

impl Day {
    fn begin() -> Self {
        let mut day = Self {
            place: tempfile::tempdir().unwrap(),
            served: None,
            ledger: Vec::new(),
            prices: BTreeMap::new(),
            written: 0,
        };
        std::fs::create_dir(day.place("store")).unwrap();
        day.start();
        day
    }

    fn place(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.place(name).to_str().unwrap().to_owned()
    }

    fn start(&mut self) {
        let url = format!("tier.url=file://{}", self.text("store"));
        let settings = [
            url.as_str(),
            "housekeeping.interval=100ms",
            "housekeeping.io_bytes_per_second=1GiB",
            "integrity.checkpoint_interval=100ms",
            "integrity.checkpoint_interval=100ms",
        ];
        let flags: Vec<&str> = settings.iter().flat_map(|&set| ["--set", set]).collect();
        self.served = Some(Served::start(&self.place("data"), &flags));
    }

    fn served(&self) -> &Served {
        self.served.as_ref().expect("it runs")
    }

    fn text_of(&self, arguments: &[&str]) -> String {
        self.served().run(arguments).text()
    }

    fn json_of(&self, arguments: &[&str]) -> Value {
        self.served().run(arguments).json()
    }

    /// Writes an hour of updates to both logs.
    fn an_hour(&mut self) {
        let (mut prices, mut ledger) = (String::new(), String::new());
        for _ in 0..HOUR {
            let number = self.written;
            let (key, value) = (format!("k{}", number % KEYS), format!("{number:01000}"));
            writeln!(prices, "{key}:{value}").unwrap();
            writeln!(ledger, "{value}").unwrap();
            self.prices.insert(key, value.clone());
            self.ledger.push(value);
            self.written += 1;
        }
        let keyed = ["produce", "prices", "--key-separator", ":", "-q"];
        self.served().run_with(&keyed, prices.as_bytes()).text();
        self.served().run_with(&["produce", "ledger", "-q"], ledger.as_bytes()).text();
        self.served().run_with(&["produce", "visits", "-q"], ledger.as_bytes()).text();
    }

    /// The state of the only partition of a log.
    fn partition(&self, log: &str) -> Value {
        self.json_of(&["log", "describe", log, "--json"])["partitions"][0].clone()
    }

    /// Asks until it is so: each question runs a command, so this is no tight loop, and it is bounded.
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let came = (0..1_000).any(|_| is_so(self));
        assert!(came, "{what} did not come: {}", self.text_of(&["status", "--json"]));
    }

    /// Reads `ledger` from the first record that remains, through all tiers, and checks each.
    fn read_the_ledger(&self) -> usize {
        let read = self.text_of(&[
            "consume",
            "ledger",
            "--format",
            "template",
            "--template",
            "{offset} {value}\\n",
        ]);
        let low = usize::try_from(self.partition("ledger")["low"].as_u64().unwrap()).unwrap();
        let mut next = None;
        for line in read.lines() {
            let (offset, value) = line.split_once(' ').unwrap();
            let offset: usize = offset.parse().unwrap();
            assert!(value == self.ledger[offset], "{} at {offset}", value.trim_start_matches('0'));
            assert_eq!(offset, next.unwrap_or(offset), "offsets follow each other");
            next = Some(offset + 1);
        }
        assert_eq!(next, Some(self.ledger.len()), "everything up to the end");
        low
    }

    /// The newest value of each key, as a reader of the whole log sees it.
    fn read_the_prices(&self) -> usize {
        let read = self.text_of(&[
            "consume",
            "prices",
            "--format",
            "template",
            "--template",
            "{key} {value}\\n",
        ]);
        let seen: BTreeMap<String, String> = read
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(seen, self.prices);
        read.lines().count()
    }
}

/// The closed segment files of a partition, by base offset.
fn segments(data: &Path, log: u64) -> Vec<PathBuf> {
    let folder = data.join(format!("logs/{log}/0"));
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect();
    found.sort();
    found
}

#[test]
fn a_day_in_the_life_of_a_log() {
    let mut day = Day::begin();
    day.text_of(&[
        "log",
        "create",
        "prices",
        "-p",
        "1",
        "--compact",
        "on",
        "--segment-size",
        "1MiB",
    ]);
    let ledger = ["log", "create", "ledger", "-p", "1", "--integrity", "signed", "--tiered", "on"];
    let bounds = ["--segment-size", "1MiB", "--local-retention-size", "3MiB"];
    day.text_of(&[&ledger[..], &bounds[..]].concat());
    let visits = [
        "log",
        "create",
        "visits",
        "-p",
        "1",
        "--segment-size",
        "1MiB",
        "--retention-size",
        "3MiB",
    ];
    day.text_of(&visits);

    day.morning();
    let yesterday = day.checkpoint();
    day.an_hour();

    // A backup under load, and another that adds what came meanwhile. Then the disk is lost.
    let backup = day.text("backup");
    let load = day.load();
    day.text_of(&["backup", &backup, "-q"]);
    assert!(load.join().unwrap() > 0);
    day.an_hour();
    day.text_of(&["backup", &backup, "-q"]);
    assert_eq!(day.served.take().unwrap().stop().0, 0);
    std::fs::remove_dir_all(day.place("data")).unwrap();
    run(&["backup", "verify", &backup]).text();
    run(&["restore", &backup, "--data-dir", &day.text("data")]).text();
    day.start();
    assert_eq!(day.read_the_ledger(), 0);
    day.read_the_prices();
    day.verify_since(&yesterday);

    // Somebody changes a byte on disk, of what is nowhere else: what the store has, too, would be read from there.
    day.text_of(&["log", "alter", "ledger", "--tiered", "off"]);
    day.an_hour();
    day.an_hour();
    day.audit(&[]).text();
    day.served.take().unwrap().stop();
    let files = segments(&day.place("data"), 2);
    let file = &files[files.len() - 2];
    flip_a_byte(file);
    let found = run(&["inspect", file.to_str().unwrap(), "--verify", "--json"]);
    assert_eq!(found.code, 1, "{}", found.stderr);
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let damaged = &found["damaged"][0];
    assert_eq!(damaged["segment"], found["segments"][0]["base"], "{found}");
    day.start();
    let alarm = day.audit(&["--full"]);
    assert_eq!(alarm.code, 4, "{}", alarm.stderr);
    let said = String::from_utf8(alarm.stdout).unwrap();
    let alarm: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((&alarm["log"], &alarm["partition"]), (&"ledger".into(), &0.into()), "{alarm}");
    assert_eq!(alarm["first_offset"], damaged["first"], "where the disk was changed");
    assert_eq!(alarm["end_offset"], damaged["next"]);
    let scrubbed = day.served().run(&["log", "scrub", "ledger"]);
    let said = String::from_utf8(scrubbed.stdout.clone()).unwrap();
    scrubbed.failed(4);
    let offsets = format!("offsets {}..{}", damaged["first"], damaged["next"]);
    assert!(said.contains(&offsets), "{said}");
}

/// Changes a byte in the middle of a file.
fn flip_a_byte(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 4;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

impl Day {
    /// Keyed updates flow in; compaction, retention and the object store take up their work.
    fn morning(&mut self) {
        for _ in 0..5 {
            self.an_hour();
        }
        self.until("compaction", |day| day.read_the_prices() < day.written);
        let compaction = &self.partition("prices")["compaction"];
        assert!(compaction["removed_records"].as_u64() > Some(0), "{compaction}");
        assert!(compaction["last_run"].is_string(), "{compaction}");
        let store = self.place("store");
        self.until("the object store", |day| objects(&store) >= 3 && day.local_segments() <= 4);
        let described = &self.partition("ledger")["store"];
        assert!(described["remote_only_bytes"].as_u64() > Some(0), "{described}");
        self.until("retention", |day| day.partition("visits")["low"].as_u64() > Some(0));
        assert_eq!(self.read_the_ledger(), 0, "through all tiers, from the first record");
    }

    /// What the server signed last, when that covers everything.
    fn checkpoint(&self) -> Checkpoint {
        let client = self.client();
        let state = (0..1_000).find_map(|_| {
            client.ping().unwrap();
            let state = client.checkpoint("ledger", PartitionId::new(0)).unwrap();
            let signed = *state.signed?.checkpoint();
            (signed.end_offset.get() == self.ledger.len() as u64).then_some(signed)
        });
        state.expect("a checkpoint of all records")
    }

    /// The log goes on from what was signed before.
    fn verify_since(&self, yesterday: &Checkpoint) {
        let today = self.checkpoint();
        let sizes = (yesterday.tree_size, today.tree_size);
        let proof = self.client().prove_consistency("ledger", today.partition, sizes).unwrap();
        proof.verify(&yesterday.tree(), &today.tree()).expect("history as it was signed");
    }

    fn client(&self) -> Client {
        Client::connect([self.served().address().to_owned()], ClientConfig::default()).unwrap()
    }

    fn audit(&self, flags: &[&str]) -> Done {
        let state = self.text("audit");
        let audit = ["audit", "ledger", "--once", "--state", &state, "--json"];
        self.served().run(&[&audit[..], flags].concat())
    }
}

impl Day {
    fn local_segments(&self) -> usize {
        segments(&self.place("data"), 2).len()
    }

    /// Writes to a log of its own while somebody else does something, and tells how many records came.
    fn load(&self) -> std::thread::JoinHandle<usize> {
        self.text_of(&["log", "create", "noise"]);
        let mut command = self.served().command(&["produce", "noise", "-q"]);
        std::thread::spawn(move || {
            let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let lines = 20_000;
            for number in 0..lines {
                std::io::Write::write_all(&mut stdin, format!("{number}\n").as_bytes()).unwrap();
            }
            drop(stdin);
            assert!(child.wait().unwrap().success());
            lines
        })
    }
}

/// Files of segments in the object store.
fn objects(store: &Path) -> usize {
    let entries = std::fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let is_segment = path.extension().is_some_and(|end| end == "seg");
            if path.is_dir() { objects(&path) } else { usize::from(is_segment) }
        })
        .sum()
}
