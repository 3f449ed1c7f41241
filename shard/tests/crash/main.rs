//! Kills a real server process under load, again and again, and looks for every record that it had acknowledged.
//!
//! The binary is both sides: `serve <directory> <shards>` runs a server until it is killed; without arguments it runs
//! the test. Each partition has one writer with a session that repeats its unanswered batch after each crash, so every
//! record must be there exactly once, in order, with no gap. The moments are drawn from a printed seed.
#![expect(clippy::unwrap_used, reason = "helpers of a test binary")]

#[expect(dead_code, reason = "shared with the other test binary, which uses all of it")]
#[path = "../server/support.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyralog_log::batch::Session;
use pyralog_log::ids::{LogId, SessionId};
use pyralog_wire::Response;
use support::{Peer, answer, append, durable_config, log_config, session_batch, start};

const ROUNDS: usize = 8;
const PARTITIONS: u32 = 4;
const RECORDS: u32 = 3;

/// What a writer knows: how many of its batches were acknowledged.
#[derive(Clone, Copy, Default)]
struct Progress {
    acknowledged: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("serve") => serve(Path::new(&arguments[2]), arguments[3].parse().unwrap()),
        _ => every_acknowledged_record_survives_a_kill_at_any_moment(),
    }
}

/// Serves until killed; the first line of the output is the address.
fn serve(data: &Path, shards: usize) {
    let server = start(durable_config(shards, data));
    let mut output = std::io::stdout();
    writeln!(output, "{}", server.addresses().listen).unwrap();
    output.flush().unwrap();
    server.join().unwrap();
}

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(data: &Path, shards: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("serve")
            .arg(data)
            .arg(shards.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }

    /// SIGKILL.
    fn kill(self) {
        drop(self);
    }
}

impl Drop for Process {
    /// Also when the test has failed: no server is left behind.
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn every_acknowledged_record_survives_a_kill_at_any_moment() {
    let seed = u64::from(std::process::id()) << 20 | 1;
    println!("seed {seed}");
    let mut state = seed;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let data = tempfile::tempdir().unwrap();
    let server = Process::start(data.path(), 2);
    let log = Peer::greet(server.address).0.create("a", log_config(PARTITIONS)).id;
    server.kill();
    let mut progress = [Progress::default(); PARTITIONS as usize];
    for round in 0..ROUNDS {
        let server = Process::start(data.path(), round % 3 + 1);
        check(server.address, log, &progress);
        let total = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..PARTITIONS)
            .zip(progress)
            .map(|(partition, before)| {
                let (address, total) = (server.address, Arc::clone(&total));
                std::thread::spawn(move || write(address, (log, partition), before, &total))
            })
            .collect();
        let enough = 20 + random(400);
        while total.load(Ordering::Relaxed) < enough {
            std::thread::yield_now();
        }
        server.kill();
        for (progress, writer) in progress.iter_mut().zip(writers) {
            *progress = writer.join().unwrap();
        }
    }
    let server = Process::start(data.path(), 4);
    check(server.address, log, &progress);
    server.kill();
    let sum: u64 = progress.iter().map(|progress| progress.acknowledged).sum();
    println!("{ROUNDS} kills, {sum} batches acknowledged, all found once and in order");
}

/// Appends batch after batch until the server is gone.
fn write(
    address: SocketAddr,
    (log, partition): (LogId, u32),
    mut progress: Progress,
    total: &AtomicU64,
) -> Progress {
    let (mut peer, _) = Peer::greet(address);
    loop {
        let first = progress.acknowledged * u64::from(RECORDS);
        let id = SessionId::new(u64::from(partition) + 1);
        let session = Session { id, epoch: 0, first_sequence: first };
        let values: Vec<Vec<u8>> =
            (first..first + u64::from(RECORDS)).map(|number| number.to_string().into()).collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let batch = session_batch(&values, Some(session));
        let (_, frame) = peer.encode(append(log, partition, None), &batch);
        if peer.socket.write_all(&frame).is_err() {
            return progress;
        }
        let Some(received) = peer.receive() else { return progress };
        let Response::Append(appended) = answer(received.reply).unwrap() else {
            panic!("no answer to Append")
        };
        assert_eq!(appended.base_offset.get(), first, "partition {partition}");
        progress.acknowledged += 1;
        total.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every partition has all acknowledged records, and at most the one batch that was not answered beyond them.
fn check(address: SocketAddr, log: LogId, progress: &[Progress]) {
    let (mut peer, _) = Peer::greet(address);
    for (partition, progress) in (0..PARTITIONS).zip(progress) {
        let values = peer.values(log, partition, 0);
        let least = progress.acknowledged * u64::from(RECORDS);
        let found = values.len() as u64;
        assert!(
            found == least || found == least + u64::from(RECORDS),
            "partition {partition}: {found} records, {least} acknowledged"
        );
        for (number, value) in values.iter().enumerate() {
            assert_eq!(*value, number.to_string().into_bytes(), "partition {partition}");
        }
    }
}
