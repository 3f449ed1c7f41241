//! What a seed means: the server, its logs, the clients, and which faults may strike.
//!
//! Every scenario leaves some faults out ("swarm testing"): a run in which everything breaks at once hides what only
//! shows when most things work. A scenario can be narrowed by hand or by [`shrink`](crate::shrink); what is left is
//! drawn as before, so a narrowed run still resembles the first.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use pyralog_log::durability::Durability;
use pyralog_runtime::rng::Rng;
use pyralog_wire::limits::COUNTER_BLOCK_DEFAULT;
use pyralog_wire::limits::SEGMENT_AGE_MS_MIN;
use pyralog_wire::message::{CounterConfig, CounterMode};
use pyralog_wire::{Compaction, Integrity, LogConfig, LogStorage, Retention};

use crate::record::{Lengths, Recipe};

/// A kind of trouble that the nemesis makes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Fault {
    /// The server's process is killed.
    Kill,
    /// The server's machine loses its power.
    PowerLoss,
    /// The power fails between two calls of a sequence on names and small files.
    PowerLossBetweenCalls,
    /// The process is killed between two such calls.
    KillBetweenCalls,
    /// It dies in the middle of a step in the life of a log: a roll, a swap, a change of the manifest, an upload.
    DeathInStep,
    /// The server is stopped in order and started again.
    Restart,
    /// A restart finds another number of cores.
    OtherShards,
    /// A restart finds an empty disk.
    Wipe,
    /// The server stands still for up to seconds.
    Pause,
    /// A client stands still for up to seconds.
    PauseClient,
    /// Wall clocks jump.
    ClockJump,
    /// The server's wall clock is set wrong by an hour or more, in either direction.
    ClockLeap,
    /// Wall clocks run fast or slow, and those of clients are off.
    ClockSkew,
    /// The data directory goes on in another machine, whose clock shows another time.
    OtherHost,
    /// The slots of a machine that is lost with its disk are given to another, whose clock shows another time.
    TakeOver,
    /// Segments take up to seconds.
    NetDelay,
    /// Connections break at any byte.
    NetReset,
    /// Connections cannot be made.
    ConnectFail,
    /// The network stops carrying one direction or both, for a while or over and over.
    NetCut,
    /// Sockets and disks take and give less than they are asked for.
    ShortTransfers,
    /// Writes fail with EIO.
    WriteError,
    /// Reads fail with EIO.
    ReadError,
    /// Syncs fail with EIO, once.
    SyncError,
    /// The disk is full for a while.
    NoSpace,
    /// Files may not grow beyond a limit for a while.
    FileTooLarge,
    /// Operations of the disk take a thousand times as long.
    SlowDisk,
    /// Stored bits flip.
    BitRot,
    /// Writes go elsewhere in their file.
    Misdirected,
    /// Writes are not carried out.
    LostWrite,
    /// The file of a counter, or of the mark of ids, comes back as it was long before.
    CameBackShorter,
    /// Calls to the object store fail, lose their answers or take seconds.
    StoreErrors,
    /// The object store is away for a while.
    StoreAway,
    /// The object store keeps less than it is given, says wrong lengths, gives wrong bytes, forgets to delete.
    StoreLies,
    /// Bits of objects in the object store flip.
    StoreRots,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 34] = [
        Self::Kill,
        Self::PowerLoss,
        Self::PowerLossBetweenCalls,
        Self::KillBetweenCalls,
        Self::DeathInStep,
        Self::Restart,
        Self::OtherShards,
        Self::Wipe,
        Self::Pause,
        Self::PauseClient,
        Self::ClockJump,
        Self::ClockLeap,
        Self::ClockSkew,
        Self::OtherHost,
        Self::TakeOver,
        Self::NetDelay,
        Self::NetReset,
        Self::ConnectFail,
        Self::NetCut,
        Self::ShortTransfers,
        Self::WriteError,
        Self::ReadError,
        Self::SyncError,
        Self::NoSpace,
        Self::FileTooLarge,
        Self::SlowDisk,
        Self::BitRot,
        Self::Misdirected,
        Self::LostWrite,
        Self::CameBackShorter,
        Self::StoreErrors,
        Self::StoreAway,
        Self::StoreLies,
        Self::StoreRots,
    ];

    /// Chance in percent that a scenario has it. What damages stored bytes is rarer: it weakens what may be asked of
    /// everything else.
    fn chance(self) -> u64 {
        match self {
            Self::Kill | Self::PowerLoss | Self::OtherShards | Self::DeathInStep => 50,
            Self::Wipe
            | Self::TakeOver
            | Self::CameBackShorter
            | Self::BitRot
            | Self::Misdirected
            | Self::LostWrite
            | Self::StoreRots => 8,
            Self::WriteError | Self::ReadError | Self::SyncError | Self::FileTooLarge => 15,
            Self::ClockLeap | Self::OtherHost => 12,
            _ => 25,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|fault| fault.to_string().eq_ignore_ascii_case(name));
        found.copied().ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(ToString::to_string).collect();
            format!("no fault is called {name:?}; there are {}", all.join(", "))
        })
    }
}

/// A log that exists from the beginning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogPlan {
    /// Its name.
    pub name: String,
    /// What it is created with.
    pub config: LogConfig,
    /// What its records are like.
    pub recipe: Recipe,
}

/// A counter that clients take from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CounterPlan {
    /// Its name.
    pub name: String,
    /// What it is created with.
    pub config: CounterConfig,
}

/// Everything that a run is made of.
#[expect(clippy::struct_excessive_bools, reason = "each is there or not, whatever the others are")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scenario {
    /// Where all randomness of the run comes from.
    pub seed: u64,
    /// Cores of the server's first life.
    pub shards: usize,
    /// Whether the server keeps nothing on disk.
    pub memory_only: bool,
    /// Whether the server has an object store.
    pub store: bool,
    /// Whether clients let the beginnings of logs go.
    pub truncation: bool,
    /// How often trees are published.
    pub checkpoints: Duration,
    /// Nodes with clients.
    pub clients: usize,
    /// Logs that the clients write to.
    pub logs: Vec<LogPlan>,
    /// Whether clients also create, alter and delete logs.
    pub churn: bool,
    /// Whether clients ask for ids.
    pub ids: bool,
    /// Counters that the clients take from.
    pub counters: Vec<CounterPlan>,
    /// How often the background looks after the partitions.
    pub housekeeping: Duration,
    /// How long faults strike.
    pub safety: Duration,
    /// Which.
    pub faults: BTreeSet<Fault>,
}

impl Scenario {
    /// What `seed` means.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x7363_656e_6172_696f);
        let memory_only = rng.below(10) == 0;
        let store = !memory_only && rng.below(2) == 0;
        let kind = ServerKind { memory_only, store };
        let logs = (0..=rng.below(3)).map(|number| draw_log(&mut rng, number, kind)).collect();
        let mut scenario = Self {
            seed,
            shards: 1 + below(&mut rng, 3),
            memory_only,
            store,
            truncation: rng.below(4) == 0,
            checkpoints: Duration::from_millis(10 + rng.below(600)),
            clients: 1 + below(&mut rng, 3),
            logs,
            churn: rng.below(3) == 0,
            ids: rng.below(3) > 0,
            counters: (0..rng.below(4)).map(|at| draw_counter(&mut rng, at, memory_only)).collect(),
            housekeeping: Duration::from_millis(10 + rng.below(400)),
            safety: Duration::from_millis(500 + rng.below(6_000)),
            faults: BTreeSet::new(),
        };
        // One run in eight is quiet: faults that strike always would hide what is wrong without any.
        if rng.below(8) > 0 {
            let struck = |fault: &Fault| rng.below(100) < fault.chance();
            scenario.faults = Fault::ALL.iter().copied().filter(struck).collect();
        }
        if memory_only {
            scenario.faults.retain(|fault| !touches_disk(*fault));
        }
        if !store {
            scenario.faults.retain(|fault| !touches_store(*fault));
        }
        scenario
    }

    /// Whether `fault` may strike.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}

/// A number uniform in `0..bound`, for counting and indexing.
pub(crate) fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).expect("below a usize")
}

/// Whether a fault means nothing to a server without a disk.
fn touches_disk(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::PowerLossBetweenCalls
            | Fault::KillBetweenCalls
            | Fault::DeathInStep
            | Fault::Wipe
            | Fault::WriteError
            | Fault::ReadError
            | Fault::SyncError
            | Fault::NoSpace
            | Fault::FileTooLarge
            | Fault::SlowDisk
            | Fault::BitRot
            | Fault::Misdirected
            | Fault::LostWrite
            | Fault::OtherHost
            | Fault::TakeOver
            | Fault::CameBackShorter
    )
}

/// Whether a fault means nothing to a server without an object store.
fn touches_store(fault: Fault) -> bool {
    matches!(fault, Fault::StoreErrors | Fault::StoreAway | Fault::StoreLies | Fault::StoreRots)
}

/// What the logs of a server may be like.
#[derive(Clone, Copy)]
struct ServerKind {
    memory_only: bool,
    store: bool,
}

fn draw_log(rng: &mut Rng, number: u64, kind: ServerKind) -> LogPlan {
    let ServerKind { memory_only, store } = kind;
    let partitions = u32::try_from(1 + rng.below(3)).expect("at most 3");
    let in_memory = memory_only || rng.below(6) == 0;
    let config = if in_memory {
        LogConfig {
            partitions,
            memory_bytes_max: pyralog_log::limits::MEMORY_BYTES_MIN,
            ttl_ms: if rng.below(3) == 0 { 200 + rng.below(3_000) } else { 0 },
            ..LogConfig::memory()
        }
    } else {
        LogConfig {
            partitions,
            durability: match rng.below(6) {
                0 => Durability::Memory,
                1 | 2 => Durability::Written,
                _ => Durability::Synced,
            },
            storage: LogStorage::Durable,
            segment_bytes: pyralog_log::limits::SEGMENT_BYTES_MIN,
            ..if store { draw_tiered_life(rng) } else { draw_life(rng) }
        }
    };
    let lengths = if rng.below(5) == 0 { Lengths::Large } else { Lengths::Mixed };
    let is_keyed = config.compaction.is_on || rng.below(6) == 0;
    let keys = if is_keyed { 1 + rng.below(12) } else { 0 };
    let recipe = Recipe { lengths, keys: u16::try_from(keys).expect("a dozen") };
    LogPlan { name: format!("log-{number}"), config, recipe }
}

/// How long the records of a log in files live: moments, so that much happens in a run.
pub(crate) fn draw_life(rng: &mut Rng) -> LogConfig {
    let some = |rng: &mut Rng, one_in: u64, most: u64| {
        if rng.below(one_in) == 0 { 1 + rng.below(most) } else { 0 }
    };
    let is_on = rng.below(3) == 0;
    let is_proven = !is_on && rng.below(3) == 0;
    LogConfig {
        segment_age_ms: match rng.below(4) {
            0 => 0,
            _ => SEGMENT_AGE_MS_MIN + rng.below(1_000),
        },
        retention: Retention {
            age_ms: some(rng, 3, 1_500),
            bytes: some(rng, 6, 1 << 20),
            ..Retention::default()
        },
        compaction: Compaction {
            is_on,
            lag_ms: some(rng, 2, 1_000),
            tombstone_ms: some(rng, 2, 2_000),
        },
        integrity: match rng.below(2) {
            0 if is_proven => Integrity::Hash,
            1 if is_proven => Integrity::Signed,
            _ => Integrity::None,
        },
        ..LogConfig::default()
    }
}

/// As [`draw_life`], of a server with an object store: mostly tiered, and mostly not for long on the disk as well.
pub(crate) fn draw_tiered_life(rng: &mut Rng) -> LogConfig {
    let life = draw_life(rng);
    if rng.below(4) == 0 {
        return life;
    }
    let local_age_ms = if rng.below(3) > 0 { 1 + rng.below(800) } else { 0 };
    let local_bytes = if rng.below(3) == 0 { 1 + rng.below(1 << 19) } else { 0 };
    let retention = Retention { local_age_ms, local_bytes, ..life.retention };
    LogConfig { is_tiered: true, retention, ..life }
}

fn draw_counter(rng: &mut Rng, number: u64, memory_only: bool) -> CounterPlan {
    let mode = match rng.below(8) {
        _ if memory_only => CounterMode::Memory,
        0 | 1 => CounterMode::Always,
        2 => CounterMode::Group,
        3 => CounterMode::UnsafeInterval,
        4 => CounterMode::Memory,
        _ => CounterMode::Reserve,
    };
    let config = CounterConfig {
        mode,
        block: [1, 2, 10, 1_000, COUNTER_BLOCK_DEFAULT][below(rng, 5)],
        interval_ms: u32::try_from(1 + rng.below(300)).expect("below a second"),
    };
    CounterPlan { name: format!("counter-{number}"), config }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.memory_only { "memory-only server" } else { "server" };
        write!(
            f,
            "seed {}: {kind} of {} shards, {} clients, {} logs, {} counters, {:?} of faults:",
            self.seed,
            self.shards,
            self.clients,
            self.logs.len(),
            self.counters.len(),
            self.safety,
        )?;
        if self.store {
            f.write_str(" (with an object store)")?;
        }
        for fault in &self.faults {
            write!(f, " {fault}")?;
        }
        if self.faults.is_empty() { f.write_str(" none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_means_the_same() {
        for seed in 0..100 {
            assert_eq!(Scenario::draw(seed), Scenario::draw(seed));
        }
    }

    #[test]
    fn every_fault_is_in_some_scenario_and_can_be_named() {
        let drawn: BTreeSet<Fault> =
            (0..500).flat_map(|seed| Scenario::draw(seed).faults).collect();
        assert_eq!(drawn.len(), Fault::ALL.len());
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().to_lowercase().parse(), Ok(fault));
        }
        assert!("Flood".parse::<Fault>().is_err());
    }

    #[test]
    fn logs_are_ones_that_a_server_accepts() {
        for seed in 0..200 {
            for log in Scenario::draw(seed).logs {
                log.config.check().unwrap();
            }
        }
    }

    #[test]
    fn counters_are_ones_that_a_server_accepts_and_of_every_mode() {
        let scenarios = (0..200).map(Scenario::draw);
        let counters: Vec<_> = scenarios.flat_map(|scenario| scenario.counters).collect();
        for counter in &counters {
            counter.config.check().unwrap();
        }
        for (mode, name) in CounterMode::NAMES {
            assert!(counters.iter().any(|counter| counter.config.mode == mode), "{name}");
        }
    }
}
