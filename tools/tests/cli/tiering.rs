//! Closed segments in an object store, with real processes: a directory, and a server that speaks S3 and is not ours.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::process::{Served, run};

/// Lines of 1000 bytes, none like another.
fn lines(from: usize, count: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(count * 1000);
    for number in from..from + count {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        text.extend_from_slice(
            format!("{number:08} {}\n", format!("{mixed:016x}").repeat(62)).as_bytes(),
        );
        text.truncate(text.len() - 3);
        text.push(b'\n');
    }
    text
}

fn number(value: &Value, field: &str) -> u64 {
    value["partitions"].as_array().unwrap().iter().map(|p| p[field].as_u64().unwrap()).sum()
}

/// Looks again and again until the partitions are as they should be; the looking itself takes its time.
fn wait_until(served: &Served, done: impl Fn(&Value) -> bool) -> Value {
    loop {
        let status = served.status();
        if done(&status) {
            return status;
        }
        std::thread::yield_now();
    }
}

fn create(served: &Served, name: &str) {
    let flags = ["log", "create", name, "-p", "1", "--segment-size", "1MiB"];
    let tiered = ["--tiered", "on", "--local-retention-size", "2MiB"];
    served.run(&[flags.as_slice(), &tiered].concat()).text();
}

fn flags(url: &str) -> Vec<String> {
    vec![
        "--set".into(),
        format!("tier.url={url}"),
        "--set".into(),
        "housekeeping.interval=10ms".into(),
    ]
}

fn start(data: &Path, flags: &[String], environment: &[(&str, &str)]) -> Served {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Served::start_in(data, &flags, environment)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_server_killed_while_it_uploads_and_lets_go_loses_nothing_and_a_deleted_log_leaves_nothing() {
    let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let flags = flags(&format!("file://{}", store.path().display()));
    let mut served = start(data.path(), &flags, &[]);
    create(&served, "x");
    let mut expected = Vec::new();
    for round in 0..5 {
        let text = lines(round * 6_000, 6_000);
        served.run_with(&["produce", "x"], &text).text();
        expected.extend(text);
        // Some are there, more are on their way.
        let wanted = 3 * (round as u64 + 1);
        wait_until(&served, |status| number(status, "store_segments") >= wanted);
        served.kill();
        served = start(data.path(), &flags, &[]);
    }
    assert!(served.run(&["consume", "x"]).stdout == expected, "read while it uploads");
    let status = wait_until(&served, |status| {
        let only = number(status, "store_only_segments");
        number(status, "store_lag_bytes") == 0 && only + 2 >= number(status, "store_segments")
    });
    assert!(number(&status, "store_only_segments") > 20, "{status}");
    assert!(served.run(&["consume", "x"]).stdout == expected, "read from the store");
    let middle = served.run(&["consume", "x", "--from", "offset:15000", "-n", "1"]).stdout;
    assert!(middle == expected[15_000_000..15_001_000]);
    let message = served.run(&["log", "create", "y", "-p", "1", "--tiered", "on"]);
    assert_eq!(message.code, 0, "{}", message.stderr);
    assert!(!files_below(store.path()).is_empty());
    served.run(&["log", "delete", "x", "--yes"]).text();
    while !files_below(store.path()).is_empty() {
        served.status();
    }
    assert_eq!(served.stop().0, 0);
}

#[test]
fn a_reader_is_told_that_the_store_is_away_and_reads_on_when_it_is_back() {
    let place = tempfile::tempdir().unwrap();
    let (data, store) = (place.path().join("data"), place.path().join("store"));
    std::fs::create_dir(&store).unwrap();
    let served = start(&data, &flags(&format!("file://{}", store.display())), &[]);
    create(&served, "x");
    let text = lines(0, 6_000);
    served.run_with(&["produce", "x"], &text).text();
    wait_until(&served, |status| number(status, "store_only_segments") >= 2);
    // Another life has none of it in memory.
    assert_eq!(served.stop().0, 0);
    let served = start(&data, &flags(&format!("file://{}", store.display())), &[]);
    let away = place.path().join("away");
    std::fs::rename(&store, &away).unwrap();
    std::fs::write(&store, "what is no directory").unwrap();
    let done = served.run(&["consume", "x"]);
    let told = done.stderr;
    assert_eq!((done.code, done.stdout.len()), (1, 0), "{told}");
    assert!(told.contains("object store"), "{told}");
    let one = served.run(&["consume", "x", "--from", "offset:5999"]).stdout;
    assert!(one == text[5_999_000..], "what is on disk is read without it");
    std::fs::remove_file(&store).unwrap();
    std::fs::rename(&away, &store).unwrap();
    assert!(served.run(&["consume", "x"]).stdout == text);
}

#[test]
fn a_server_without_a_store_says_what_to_do() {
    let served = Served::fresh();
    let refused = served.run(&["log", "create", "x", "--tiered", "on"]).failed(2);
    assert!(refused.contains("tier.url"), "{refused}");
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().to_str().unwrap();
    for (url, word) in
        [("s3:///x", "bucket"), ("nonsense", "file:///path"), ("file:///no/such", "make it")]
    {
        let set = format!("tier.url={url}");
        let refused =
            run(&["serve", "--data-dir", directory, "--listen", "127.0.0.1:0", "--set", &set]);
        assert_ne!(refused.code, 0);
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
}

/// A server that speaks S3, of the Python package `moto`, on a free port. `None` without Python, or without the package and
/// a way to get it.
struct Moto {
    child: Child,
    endpoint: String,
}

impl Moto {
    fn start() -> Option<Self> {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto-venv");
        let python = venv.join("bin/python");
        let succeeds = |command: &mut Command| {
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        if !succeeds(Command::new(&python).args(["-c", "import moto.server"])) {
            let made = succeeds(Command::new("python3").args(["-m", "venv"]).arg(&venv));
            let mut install = Command::new(&python);
            install.args(["-m", "pip", "install", "--quiet", "moto[s3,server]==5.2.5"]);
            if !made || !succeeds(&mut install) {
                return None;
            }
        }
        // It says which port it took.
        let serve = "from moto.server import ThreadedMotoServer\n\
                     server = ThreadedMotoServer(ip_address='127.0.0.1', port=0)\n\
                     server.start()\n\
                     print(server.get_host_and_port()[1], flush=True)\n\
                     import sys; sys.stdin.read()";
        let mut child = Command::new(&python)
            .args(["-c", serve])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        // It talks before it says its port.
        let said = BufReader::new(child.stdout.take()?).lines();
        let port = said.map_while(Result::ok).find_map(|line| line.trim().parse::<u16>().ok());
        let port = port.expect("moto is there and does not start");
        let endpoint = format!("http://127.0.0.1:{port}");
        let bucket = format!(
            "import urllib.request as r; r.urlopen(r.Request('{endpoint}/bucket', method='PUT')).read()"
        );
        assert!(succeeds(Command::new(&python).args(["-c", &bucket])), "a bucket at {endpoint}");
        Some(Self { child, endpoint })
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn segments_go_to_a_server_that_speaks_s3_and_come_back() {
    let Some(moto) = Moto::start() else {
        eprintln!(
            "SKIPPED: no python3 with venv and pip, or no way to the package moto: S3 was not tested"
        );
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let mut flags = flags("s3://bucket/some/prefix");
    flags.extend(["--set".into(), format!("tier.endpoint={}", moto.endpoint)]);
    let secrets = [
        ("AWS_ACCESS_KEY_ID", "any"),
        ("AWS_SECRET_ACCESS_KEY", "any"),
        ("AWS_REGION", "us-east-1"),
    ];
    let served = start(data.path(), &flags, &secrets);
    let flags_large =
        ["log", "create", "x", "-p", "1", "--segment-size", "12MiB", "--tiered", "on"];
    served.run(&[flags_large.as_slice(), &["--local-retention-size", "1MiB"]].concat()).text();
    let text = lines(0, 30_000);
    served.run_with(&["produce", "x"], &text).text();
    wait_until(&served, |status| number(status, "store_only_segments") == 2);
    assert!(served.run(&["consume", "x"]).stdout == text);
    served.kill();
    let served = start(data.path(), &flags, &secrets);
    let middle = served.run(&["consume", "x", "--from", "offset:9000", "-n", "2"]).stdout;
    assert!(middle == text[9_000_000..9_002_000]);

    // What is on disk is read without the store.
    drop(moto);
    let local = served.run(&["consume", "x", "--from", "offset:29999"]).stdout;
    assert!(local == text[29_999_000..]);
}
