//! What hashing costs a core to which nobody sends anything: a partition takes synced batches from its own core, as fast as it
//! can, with and without proofs in turn.
//!
//! There is no server and no load, so on a machine with two CPUs one is free: the thread that hashes has it for itself. Half of
//! the runs have the tail that a partition gets on a server with few, half the one that it gets among many.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, PartitionId};
use pyralog_log::limits::CHECKPOINT_INTERVAL_DEFAULT;
use pyralog_log::partition::{
    AppendError, AppendNow, Appended, Completions, PartitionConfig, Proofs, Storage, Ticket,
};
use pyralog_log::partition_file::Partition;
use pyralog_log::proof::NodeKey;
use pyralog_runtime::channel::Event;
use pyralog_runtime::time;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::life::Bench;
use crate::life::bound_core::{batch, on_core_spinning, scratch};
use crate::quantity::to_f64;
use crate::usage::Snapshot;

/// A run: the tail, whether there are proofs, and the names of its figures: rate, processor time of the core and of all threads,
/// and how much was read back.
struct Kind {
    tail_bytes: usize,
    is_hashed: bool,
    names: [&'static str; 4],
}

const KINDS: [Kind; 4] = [
    Kind {
        tail_bytes: 64 << 20,
        is_hashed: false,
        names: ["alone, none", "core, alone, none", "threads, alone, none", ""],
    },
    Kind {
        tail_bytes: 64 << 20,
        is_hashed: true,
        names: ["alone, hash", "core, alone, hash", "threads, alone, hash", "read back, alone"],
    },
    Kind {
        tail_bytes: 1 << 20,
        is_hashed: false,
        names: ["of many, none", "core, of many, none", "threads, of many, none", ""],
    },
    Kind {
        tail_bytes: 1 << 20,
        is_hashed: true,
        names: [
            "of many, hash",
            "core, of many, hash",
            "threads, of many, hash",
            "read back, of many",
        ],
    },
];

/// How long each is measured in a round, and not measured before.
const SLICE: Duration = Duration::from_secs(2);
const SETTLE: Duration = Duration::from_millis(500);
/// Appends that are not answered, as many as the load of a server has.
const IN_FLIGHT: u32 = 16;

/// What one run came to.
struct Sample {
    bytes: u64,
    seconds: f64,
    core_seconds: f64,
    cpu_seconds: f64,
    read_back: f64,
}

pub(super) fn measure(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let scratch = scratch(&bench.grounds.parent)?;
    let spans = [bench.span(SETTLE), bench.span(SLICE)];
    for round in 0..=bench.rounds {
        for turn in 0..KINDS.len() {
            let kind = &KINDS[(turn + round as usize) % KINDS.len()];
            bench.live.title(&format!("{} {round}/{}", kind.names[0], bench.rounds));
            bench.grounds.check()?;
            let (place, tail, is_hashed) =
                (scratch.path().to_owned(), kind.tail_bytes, kind.is_hashed);
            let work = move |_| async move { run(config(&place, tail, is_hashed), spans).await };
            let sample = on_core_spinning(bench.grounds, Duration::ZERO, work)?;
            if round == 0 {
                continue;
            }
            let (figures, gigabytes) = (&mut bench.figures, to_f64(sample.bytes) / 1e9);
            let [rate, core, threads, back] = kind.names;
            figures.add(rate, "GB/s", gigabytes / sample.seconds);
            figures.add(core, "s per GB", sample.core_seconds / gigabytes);
            figures.add(threads, "s per GB", sample.cpu_seconds / gigabytes);
            if is_hashed {
                figures.add(back, "%", sample.read_back * 100.0);
            }
        }
    }
    for [none, hash] in [[&KINDS[0], &KINDS[1]], [&KINDS[2], &KINDS[3]]] {
        bench.figures.judge(hash.names[0], Some(none.names[0]), Some("at least 0.97 x"));
        for (name, none) in hash.names.into_iter().zip(none.names).skip(1).take(2) {
            bench.figures.judge(name, Some(none), None);
        }
    }
    Ok(())
}

fn config(place: &Path, tail_bytes: usize, is_hashed: bool) -> PartitionConfig {
    let (dir, recycle) = (place.join("partition"), place.join("recycle"));
    let key = Some(NodeKey::from_seed(&[1; 32]));
    let proofs = Proofs { cluster: 1, interval: CHECKPOINT_INTERVAL_DEFAULT, key };
    PartitionConfig {
        tail_bytes,
        proofs: is_hashed.then_some(proofs),
        ..PartitionConfig::new(
            LogId::new(1),
            PartitionId::new(0),
            Storage::Durable { dir, recycle },
        )
    }
}

/// How many appends are not answered.
#[derive(Default)]
struct Acks {
    waiting: Cell<u32>,
    failed: RefCell<Option<AppendError>>,
    changed: Event,
}

impl Completions for Acks {
    fn completed(&self, _ticket: Ticket, outcome: Result<Appended, AppendError>) {
        self.waiting.set(self.waiting.get() - 1);
        if let Err(error) = outcome {
            self.failed.replace(Some(error));
        }
        self.changed.notify_all();
    }
}

impl Acks {
    /// Waits until no more than so many are not answered.
    async fn down_to(&self, most: u32) -> anyhow::Result<()> {
        loop {
            let changed = self.changed.listen();
            if let Some(error) = self.failed.take() {
                return Err(error.into());
            }
            if self.waiting.get() <= most {
                return Ok(());
            }
            changed.await;
        }
    }
}

/// Loads a new partition for the first span, measures the second, and deletes it; its files are written over by the next.
async fn run(config: PartitionConfig, [settle, slice]: [Duration; 2]) -> anyhow::Result<Sample> {
    let acks = Rc::new(Acks::default());
    let sink: Rc<dyn Completions> = acks.clone();
    let (partition, _) = Partition::open(config, sink).await?;
    let sample = batch()?;
    load(&partition, &acks, &sample, settle).await?;
    let (clock, before) = (Clock::start(), used()?);
    let bytes = load(&partition, &acks, &sample, slice).await?;
    let (seconds, after) = (clock.elapsed().as_secs_f64(), used()?);
    let spent = before.until(&after, seconds);
    let read_back = partition.tree_status().map_or(0.0, |tree| {
        to_f64(tree.file_bytes) / to_f64((tree.file_bytes + tree.memory_bytes).max(1))
    });
    acks.down_to(0).await?;
    partition.delete().await?;
    Ok(Sample {
        bytes,
        seconds,
        core_seconds: spent.busiest_thread * seconds,
        cpu_seconds: spent.cpu_seconds,
        read_back,
    })
}

fn used() -> anyhow::Result<Snapshot> {
    Snapshot::of(std::process::id()).context("no /proc")
}

/// Appends for so long. Returns how many bytes.
async fn load(
    partition: &Partition,
    acks: &Acks,
    sample: &[u8],
    span: Duration,
) -> anyhow::Result<u64> {
    let (began, mut bytes) = (time::now(), 0);
    while time::now().since(began) < span {
        acks.down_to(IN_FLIGHT - 1).await?;
        match partition.append(sample, Durability::Synced, Ticket::default()) {
            AppendNow::Pending => {
                acks.waiting.set(acks.waiting.get() + 1);
                bytes += sample.len() as u64;
            }
            // The gather is full: room comes with the next answer.
            AppendNow::Refused(AppendError::Busy) if acks.waiting.get() > 0 => {
                acks.down_to(acks.waiting.get() - 1).await?;
            }
            AppendNow::Refused(error) => return Err(error.into()),
            AppendNow::Done(_) => anyhow::bail!("a synced append was done at once"),
        }
        pyralog_runtime::yield_if_needed().await;
    }
    Ok(bytes)
}
