//! Real servers killed for real: what was acknowledged is there after SIGKILL and SIGTERM, once and in order, and no id and
//! no number of a counter comes twice.
//!
//! Writers number their records per partition and keep sending through every crash; the client retries under one
//! session, so in the end each partition must hold exactly 0, 1, 2, … with nothing missing and nothing twice. The moments
//! of the kills follow from acknowledgements seen, drawn from a seed that a failure prints; nothing sleeps.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "crash/disk.rs"]
mod disk;
#[path = "crash/full.rs"]
mod full;
#[path = "crash/life.rs"]
mod life;
#[path = "crash/namespace.rs"]
mod namespace;
#[path = "crash/nodes.rs"]
mod nodes;
#[path = "crash/oracle.rs"]
mod oracle;
#[path = "crash/power.rs"]
mod power;
#[path = "crash/sequences.rs"]
mod sequences;
#[path = "crash/server.rs"]
mod server;
#[path = "crash/workload.rs"]
mod workload;

use pyralog_client::{Durability, LogConfig};
use server::{Ports, ServerProcess};
use workload::{Verdict, Workload, verify};

/// Kills of a test that usually sees so many; the environment can ask for more.
fn rounds(usually: u32) -> u32 {
    let asked = std::env::var("PYRALOG_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(usually)
}

fn seed() -> u64 {
    let drawn = std::env::var("PYRALOG_CRASH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = drawn.unwrap_or_else(|| fastrand::u64(..));
    println!("PYRALOG_CRASH_SEED={seed}");
    seed
}

fn killed_again_and_again(durability: Durability) {
    let mut rng = fastrand::Rng::with_seed(seed());
    let directory = tempfile::tempdir().unwrap();
    let ports = Ports::reserve();
    let mut server = ServerProcess::start(directory.path(), ports, 2);
    let config =
        LogConfig { partitions: 4, durability, segment_bytes: 1 << 20, ..LogConfig::default() };
    let workload = Workload::start(&server.address(), "crashes", config);
    for round in 0..rounds(6) {
        workload.wait_for_acknowledgements(rng.u64(1..3_000));
        server.kill();
        let shards = 1 + (round + rng.u32(0..2)) % 3;
        server = ServerProcess::start(directory.path(), ports, shards);
    }
    workload.wait_for_acknowledgements(100);
    let sent = workload.stop();
    assert!(sent.iter().all(|&count| count > 0), "every writer got somewhere: {sent:?}");
    assert_eq!(verify(&server.address(), "crashes", &sent), Verdict::Exact);
    server.terminate();
}

#[test]
fn synced_records_survive_sigkill_exactly_once() {
    killed_again_and_again(Durability::Synced);
}

#[test]
fn written_records_survive_sigkill_exactly_once() {
    killed_again_and_again(Durability::Written);
}

#[test]
fn sigterm_under_load_loses_nothing_at_any_level() {
    for durability in [Durability::Memory, Durability::Written, Durability::Synced] {
        let mut rng = fastrand::Rng::with_seed(seed());
        let directory = tempfile::tempdir().unwrap();
        let ports = Ports::reserve();
        let mut server = ServerProcess::start(directory.path(), ports, 2);
        let config =
            LogConfig { partitions: 4, durability, segment_bytes: 1 << 20, ..LogConfig::default() };
        let workload = Workload::start(&server.address(), "drains", config);
        for shards in [1, 3] {
            workload.wait_for_acknowledgements(rng.u64(1..3_000));
            server.terminate();
            server = ServerProcess::start(directory.path(), ports, shards);
        }
        workload.wait_for_acknowledgements(100);
        let sent = workload.stop();
        assert_eq!(verify(&server.address(), "drains", &sent), Verdict::Exact, "{durability}");
        server.terminate();
    }
}
