//! Power is cut under a real server on a real file system: what was acknowledged `synced` is there, once and in order.
//!
//! The server works on a [`Disk`] that forgets what was not synced. In every round the power goes at a moment drawn from
//! the seed, with the server frozen, so that it sees no error, as in life, or running, so that it gets nothing but
//! errors and must acknowledge nothing more. Some rounds cut the recovery short as well. Then everything is read.
//!
//! A sync makes durable what others forgot to sync, so the load differs: see [`Load`].
//!
//! All of it happens in a mount namespace of its own (`namespace`). It takes root, loop devices, ext4 and a C compiler; where
//! one is missing the test passes and says so on standard error.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::Path;

use fastrand::Rng;
use pyralog_client::{Durability, LogConfig};

use super::disk::{Cut, Disk};
use super::server::{Ports, ServerProcess};
use super::workload::{Failures, Verdict, Workload, Writer, append, connect, numbers, verify};
use super::{namespace, rounds, seed};

/// The test, as its process in a namespace of its own is told.
const TEST: &str = "power::synced_records_survive_a_loss_of_power";

/// What is not known if it cannot run.
const UNTESTED: &str =
    "that records acknowledged `synced` outlive a file system that forgets what was not synced";

/// Records whose acknowledgement means `synced` are numbered from here, others from zero: they may share a partition.
const KEPT: Range<u64> = 1 << 32..u64::MAX;
const LOOSE: Range<u64> = 0..1 << 32;

/// The smallest that there are, so that many are begun.
const SEGMENT_BYTES: u64 = 1 << 20;

/// Losses of power that one load sees; a run has every load as often as any other.
const ROUNDS_PER_LOAD: u32 = 3;

#[test]
fn synced_records_survive_a_loss_of_power() {
    namespace::enter(TEST, UNTESTED, || {
        let place = tempfile::tempdir().unwrap();
        Disk::try_new(place.path()).map(lose_power_again_and_again)
    });
}

/// What is going on when power is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Load {
    /// Four partitions of a `synced` log, two of a `written` one beside them.
    Crowd,
    /// One partition of a `synced` log, and nobody whose syncs could help it.
    Lone,
    /// One partition of a `written` log that two share: one asks for `synced`, so that what the other wrote before has
    /// to be synced as well.
    Mixed,
    /// Nothing but the change of the catalog a moment before.
    Idle,
}

const LOADS: [Load; 4] = [Load::Crowd, Load::Lone, Load::Mixed, Load::Idle];

/// Writers of a log.
struct Running {
    log: String,
    partitions: usize,
    range: Range<u64>,
    workload: Workload,
}

/// The writers of a load.
#[derive(Default)]
struct Act {
    /// Those that must lose nothing.
    kept: Option<Running>,
    /// Those that may.
    loose: Option<Running>,
}

/// What a test has of a node while its power comes and goes.
struct Node {
    disk: Disk,
    ports: Ports,
    rng: Rng,
}

fn lose_power_again_and_again(disk: Disk) {
    let mut node = Node { disk, ports: Ports::reserve(), rng: Rng::with_seed(seed()) };
    let mut server = node.start();
    let address = server.address();
    let (mut sides, mut at_rest) = (Sides::default(), VecDeque::new());
    let loads = (rounds(6).div_ceil(ROUNDS_PER_LOAD) as usize).next_multiple_of(LOADS.len());
    let first = node.rng.usize(..LOADS.len());
    for (number, &load) in LOADS.iter().cycle().skip(first).take(loads).enumerate() {
        let act = Act::begin(load, number, &address);
        for _ in 0..ROUNDS_PER_LOAD {
            println!("{load:?}");
            node.lose_power(server, |node| node.let_work(&act, &mut sides, &address));
            let acknowledged = act.acknowledged();
            if node.rng.u8(..3) == 0 {
                let booting = ServerProcess::launch(&node.disk.directory(), node.ports, 2);
                node.lose_power(booting, |node| node.ports.call(node.rng.u32(..2_000)));
            }
            server = node.start();
            act.check(&address, &acknowledged);
            sides.check(&address);
            let aside = count(&node.disk.directory(), "quarantine");
            assert_eq!(aside, 0, "a loss of power damages nothing that was promised");
        }
        act.wait(100);
        at_rest.extend(act.end(&address));
        if at_rest.len() > LOADS.len() {
            at_rest.pop_front().expect("there are some").check_and_delete(&address);
        }
    }
    for log in at_rest {
        log.check_and_delete(&address);
    }
    server.terminate();
}

impl Act {
    /// Makes the logs of the load and starts its writers.
    fn begin(load: Load, number: usize, address: &str) -> Self {
        let make = |level: Durability, partitions| {
            let log = format!("{load:?}-{number}-{level}").to_lowercase();
            let segment_bytes = SEGMENT_BYTES;
            let config =
                LogConfig { partitions, durability: level, segment_bytes, ..LogConfig::default() };
            connect(address).create_log(&log, config).unwrap();
            (log, partitions)
        };
        let synced = Some(Durability::Synced);
        let start = |(log, partitions): (String, u32), range: Range<u64>, durability| {
            let failures = if range == KEPT { Failures::Fatal } else { Failures::Expected };
            let writer = |partition| Writer {
                first: range.start,
                durability,
                failures,
                ..Writer::of(partition)
            };
            let writers: Vec<_> = (0..partitions).map(writer).collect();
            let workload = Workload::with_writers(address, &log, &writers);
            Some(Running { log, partitions: partitions as usize, range, workload })
        };
        match load {
            Load::Crowd => Self {
                kept: start(make(Durability::Synced, 4), KEPT, None),
                loose: start(make(Durability::Written, 2), LOOSE, None),
            },
            Load::Lone => {
                Self { kept: start(make(Durability::Synced, 1), KEPT, None), loose: None }
            }
            Load::Mixed => {
                let log = make(Durability::Written, 1);
                Self { kept: start(log.clone(), KEPT, synced), loose: start(log, LOOSE, None) }
            }
            Load::Idle => Self::default(),
        }
    }

    /// Returns when so many more records were acknowledged that must not be lost.
    fn wait(&self, count: u64) {
        if let Some(kept) = &self.kept {
            kept.workload.wait_for_acknowledgements(count);
        }
    }

    /// How many of those each writer has, at least.
    fn acknowledged(&self) -> Vec<u64> {
        self.kept.as_ref().map(|kept| kept.workload.acknowledged()).unwrap_or_default()
    }

    /// Reads all: what must not be lost is there, and what is there of the rest is whole, in order, and there once.
    fn check(&self, address: &str, acknowledged: &[u64]) {
        if let Some(kept) = &self.kept {
            check_kept(address, &kept.log, acknowledged);
        }
        if let Some(Running { log, partitions, range, .. }) = &self.loose {
            for (partition, found) in numbers(address, log, *partitions).into_iter().enumerate() {
                let found: Vec<_> = found.into_iter().filter(|at| range.contains(at)).collect();
                assert!(found.is_sorted_by(|a, b| a < b), "{log} partition {partition}: {found:?}");
            }
        }
        let client = connect(address);
        for Running { log, .. } in self.kept.iter().chain(&self.loose) {
            let described = client.describe_log(log).unwrap();
            assert!(
                described.partitions.iter().all(|partition| !partition.failed),
                "{described:?}"
            );
        }
    }

    /// Stops the writers. Returns the log that keeps what they sent.
    fn end(self, address: &str) -> Option<AtRest> {
        let Self { kept, loose } = self;
        if let Some(Running { log, workload, .. }) = loose {
            workload.stop();
            if kept.as_ref().is_some_and(|kept| kept.log != log) {
                connect(address).delete_log(&log).unwrap();
            }
        }
        let Running { log, workload, .. } = kept?;
        let sent = workload.stop();
        check_kept(address, &log, &sent);
        Some(AtRest { log, sent })
    }
}

/// A log that nobody writes to any more, and what was sent to each partition.
struct AtRest {
    log: String,
    sent: Vec<u64>,
}

impl AtRest {
    fn check_and_delete(self, address: &str) {
        check_kept(address, &self.log, &self.sent);
        connect(address).delete_log(&self.log).unwrap();
    }
}

/// Each partition has, of the records that must not be lost, at least so many, in order and once.
fn check_kept(address: &str, log: &str, at_least: &[u64]) {
    let found = numbers(address, log, at_least.len());
    for (partition, (found, &at_least)) in found.into_iter().zip(at_least).enumerate() {
        let found: Vec<_> = found.into_iter().filter(|number| KEPT.contains(number)).collect();
        let count = found.len() as u64;
        assert!(
            count >= at_least,
            "{log} partition {partition}: {at_least} records were acknowledged, {count} are there"
        );
        let due = KEPT.start..KEPT.start + count;
        assert!(found.iter().copied().eq(due), "{log} partition {partition}: {found:?}");
    }
}

impl Node {
    /// A server with another number of shards each time.
    fn start(&mut self) -> ServerProcess {
        ServerProcess::start(&self.disk.directory(), self.ports, self.rng.u32(1..=3))
    }

    /// Takes the power away when `moment` returns, then the server, and gives the power back.
    fn lose_power(&mut self, server: ServerProcess, moment: impl FnOnce(&mut Self)) {
        let cut = if self.rng.bool() { Cut::Kernel } else { Cut::Drive };
        let frozen = self.rng.bool();
        println!("{cut:?} {}", if frozen { "with the server frozen" } else { "under the server" });
        let cutter = self.disk.arm(cut);
        moment(self);
        if frozen {
            server.freeze();
        }
        cutter.cut();
        if !frozen {
            // Time to acknowledge what it should not.
            self.ports.call(self.rng.u32(..100));
        }
        server.kill();
        self.disk.restore();
    }

    /// Waits for some acknowledgements, and changes the logs before or after: what syncs that may be the last thing
    /// before the cut, or be long over.
    fn let_work(&mut self, act: &Act, sides: &mut Sides, address: &str) {
        let (count, change_first) = (self.rng.u64(1..2_000), self.rng.bool());
        if change_first {
            sides.change(address, &mut self.rng);
        }
        act.wait(count);
        if !change_first {
            sides.change(address, &mut self.rng);
        }
    }
}

/// Logs that come and go beside the load, so that power is also cut right after a change of the catalog.
#[derive(Default)]
struct Sides {
    /// The records of each that there must be.
    there: BTreeMap<String, u64>,
    made: u32,
}

impl Sides {
    /// Makes one with some records, or deletes one: its segments are then written over by others.
    fn change(&mut self, address: &str, rng: &mut Rng) {
        if self.there.len() == 3 || rng.u8(..3) == 0 {
            if let Some((name, _)) = self.there.pop_first() {
                connect(address).delete_log(&name).unwrap();
            }
            return;
        }
        let name = format!("side-{:05}", self.made);
        self.made += 1;
        let config = LogConfig { segment_bytes: SEGMENT_BYTES, ..LogConfig::default() };
        connect(address).create_log(&name, config).unwrap();
        let records = rng.u64(..2) * rng.u64(1..5_000);
        append(address, &name, records);
        self.there.insert(name, records);
    }

    fn check(&self, address: &str) {
        let listed = connect(address).list_logs("side-").unwrap();
        let listed: Vec<_> = listed.into_iter().map(|log| log.name).collect();
        assert!(listed.iter().eq(self.there.keys()), "{listed:?}, not {:?}", self.there);
        for (name, &records) in &self.there {
            assert_eq!(verify(address, name, &[records]), Verdict::Exact, "{name}");
        }
    }
}

/// How many files and folders below `directory` have this name.
fn count(directory: &Path, name: &str) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let is_dir = entry.file_type().unwrap().is_dir();
            let below = if is_dir { count(&entry.path(), name) } else { 0 };
            below + usize::from(entry.file_name() == name)
        })
        .sum()
}
