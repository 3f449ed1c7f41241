//! Appends of one shape, again and again, to a partition of a simulated node.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pyralog_log::batch::{BuilderConfig, Record, RowsBuilder, Session, restamp};
use pyralog_log::ids::{LogId, PartitionId, SessionId, Timestamp};
use pyralog_log::limits::BATCH_BYTES_MAX;
use pyralog_log::partition::{
    AppendError, AppendNow, Appended, Completions, PartitionConfig, Storage, Ticket,
};
use pyralog_log::partition_file::Partition;
use pyralog_runtime::MachineConfig;
use pyralog_runtime::sim::Simulation;

/// Where the appends go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// To memory.
    Memory,
    /// To a disk, synced.
    Synced,
    /// To a disk, synced, by a producer that numbers its records.
    Session,
}

/// What is appended: batches of `records` values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    kind: Kind,
    pub(crate) records: usize,
    value_bytes: usize,
    /// Appends that become one group, and one write.
    group: usize,
}

pub(crate) const SHAPES: [Shape; 9] = [
    shape("memory-1x100", Kind::Memory, (1, 100), 16),
    shape("memory-1x1024", Kind::Memory, (1, 1024), 16),
    shape("memory-1000x100", Kind::Memory, (1000, 100), 16),
    shape("memory-1000x1024", Kind::Memory, (1000, 1024), 2),
    shape("synced-1x1024-alone", Kind::Synced, (1, 1024), 1),
    shape("synced-1x1024", Kind::Synced, (1, 1024), 16),
    shape("synced-1000x100", Kind::Synced, (1000, 100), 16),
    shape("synced-1000x1024", Kind::Synced, (1000, 1024), 2),
    shape("session-1x1024", Kind::Session, (1, 1024), 16),
];

const fn shape(
    name: &'static str,
    kind: Kind,
    (records, value_bytes): (usize, usize),
    group: usize,
) -> Shape {
    Shape { name, kind, records, value_bytes, group }
}

impl Shape {
    /// Appends `groups` groups, and says so if it cannot.
    ///
    /// # Panics
    /// If an append fails.
    pub(crate) fn run(self, groups: usize) {
        let world = Simulation::new(1);
        let node = world.add_node("counted");
        let ended = Rc::new(Cell::new(false));
        world.boot(node, &MachineConfig::default(), |_core| {
            let ended = Rc::clone(&ended);
            async move {
                self.append(groups).await;
                ended.set(true);
            }
        });
        let over = || !world.is_running(node);
        assert!(world.run_until(Duration::from_hours(1), over), "{self:?} does not end");
        assert!(ended.get(), "{self:?}: {:?}", world.panics());
    }

    pub(crate) const fn is_memory(self) -> bool {
        matches!(self.kind, Kind::Memory)
    }

    /// Bytes of values in a batch.
    pub(crate) const fn batch_bytes(self) -> usize {
        self.records * self.value_bytes
    }

    /// Appends in one group.
    pub(crate) const fn group(self) -> usize {
        self.group
    }

    async fn append(self, groups: usize) {
        let storage = match self.kind {
            Kind::Memory => Storage::Memory { bytes_max: 64 << 20, ttl: None },
            Kind::Synced | Kind::Session => {
                Storage::Durable { dir: "/data/partition".into(), recycle: "/data/recycle".into() }
            }
        };
        let config = PartitionConfig::new(LogId::new(1), PartitionId::new(0), storage);
        let level = config.durability;
        let (partition, _) = Partition::open(config, Rc::new(Ignore)).await.unwrap();
        let mut bytes = self.batch();
        let mut sequence = 0;
        for _ in 0..groups {
            for _ in 0..self.group {
                if self.kind == Kind::Session {
                    restamp(&mut bytes, session(sequence)).unwrap();
                    sequence += self.records as u64;
                }
                let answer = partition.append(&bytes, level, Ticket::default());
                assert!(!matches!(answer, AppendNow::Refused(_)), "{answer:?}");
            }
            partition.flush(level).await.unwrap();
        }
        partition.close().await;
    }

    fn batch(self) -> Vec<u8> {
        let config = BuilderConfig { batch_bytes_max: BATCH_BYTES_MAX, ..BuilderConfig::default() };
        let (mut builder, value) = (RowsBuilder::new(config), vec![7; self.value_bytes]);
        for _ in 0..self.records {
            let create_time = Timestamp::new(1_700_000_000_000_000);
            let record = Record { key: None, value: Some(&value), create_time, headers: &[] };
            builder.push(&record).unwrap();
        }
        builder.finish((self.kind == Kind::Session).then(|| session(0))).unwrap()
    }
}

fn session(first_sequence: u64) -> Session {
    Session { id: SessionId::new(1), epoch: 0, first_sequence }
}

/// Nothing is waited for by ticket.
struct Ignore;

impl Completions for Ignore {
    fn completed(&self, _ticket: Ticket, outcome: Result<Appended, AppendError>) {
        outcome.unwrap();
    }
}
