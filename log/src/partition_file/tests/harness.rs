//! A core, a directory and a sink for tests of partitions.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use pyralog_runtime::channel::{OnceReceiver, OnceSender, oneshot};
use pyralog_runtime::{MachineConfig, start};

use super::super::*;
use crate::batch::Items;
use crate::partition::Appended;

/// Answers, by ticket, to whoever waits.
#[derive(Default)]
pub(super) struct Sink {
    waiting: RefCell<HashMap<Ticket, OnceSender<Result<Appended, AppendError>>>>,
    next: Cell<u64>,
    is_short: Cell<bool>,
}

impl Completions for Sink {
    fn completed(&self, ticket: Ticket, outcome: Result<Appended, AppendError>) {
        let waiting = self.waiting.borrow_mut().remove(&ticket);
        if let Some(waiting) = waiting {
            waiting.send(outcome).ok();
        }
    }

    fn is_short(&self) -> bool {
        self.is_short.get()
    }
}

/// A place for a partition. Copies of it after a crash are places of their own.
#[derive(Clone)]
pub(super) struct Bench {
    root: PathBuf,
    config: PartitionConfig,
    sink: Rc<Sink>,
    copies: Rc<Cell<u64>>,
}

/// Runs a test on a core of its own.
pub(super) fn on_core<F>(test: impl FnOnce(Bench) -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    let passed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&passed);
    let machine = start(&MachineConfig::default(), move |_core| {
        let (test, root, flag) = (test.clone(), root.clone(), Arc::clone(&flag));
        async move {
            test(Bench::new(root)).await;
            flag.store(true, Ordering::SeqCst);
        }
    });
    machine.unwrap().join().unwrap();
    assert!(passed.load(Ordering::SeqCst));
}

impl Bench {
    pub(super) fn new(root: PathBuf) -> Self {
        let (dir, recycle) = (root.join("partition"), root.join("recycle"));
        let storage = Storage::Durable { dir, recycle };
        let mut config = PartitionConfig::new(LogId::new(7), PartitionId::new(1), storage);
        config.segment_bytes = 1 << 20;
        let (sink, copies) = (Rc::new(Sink::default()), Rc::new(Cell::new(0)));
        Self { root, config, sink, copies }
    }

    pub(super) fn config(&self) -> &PartitionConfig {
        &self.config
    }

    /// What its configuration says of what can be altered.
    pub(super) fn changes(&self) -> Changes {
        let PartitionConfig { durability, segment_bytes, life, tiering, .. } = self.config;
        let memory = settings_of(&self.config).memory;
        Changes { durability, segment_bytes, memory, life, tiering }
    }

    pub(super) fn with(&self, change: impl FnOnce(&mut PartitionConfig)) -> Self {
        let mut other = self.clone();
        change(&mut other.config);
        // Each variant of the configuration has a directory of its own, unless only ids differ.
        if other.config.log == self.config.log {
            other.move_to(other.config.durability.code().into());
        }
        other
    }

    pub(super) fn in_memory(&self, bytes_max: u64, ttl: Option<Duration>) -> Self {
        let mut other = self.clone();
        other.config.storage = Storage::Memory { bytes_max, ttl };
        other.config.durability = Durability::Memory;
        other
    }

    /// A place of its own for a case of many.
    pub(super) fn place(&self, name: &str, change: impl FnOnce(&mut PartitionConfig)) -> Self {
        let mut other = self.clone();
        other.root = self.root.join(name);
        change(&mut other.config);
        other.move_to(0);
        other
    }

    /// Memory is short from now on, or no more: the tail is given up behind every write.
    pub(super) fn short(&self, is_short: bool) {
        self.sink.is_short.set(is_short);
    }

    /// Removes all of the place.
    pub(super) async fn remove(&self) {
        pyralog_runtime::file::remove_dir_all(&self.root).await.unwrap();
    }

    fn move_to(&mut self, number: u64) {
        if let Storage::Durable { dir, .. } = &mut self.config.storage {
            *dir = self.root.join(format!("partition-{number}"));
        }
    }

    pub(super) fn dir(&self) -> &Path {
        match &self.config.storage {
            Storage::Durable { dir, .. } => dir,
            Storage::Memory { .. } => panic!("in memory"),
        }
    }

    pub(super) fn recycle(&self) -> PathBuf {
        self.root.join("recycle")
    }

    pub(super) async fn try_open(&self) -> Result<(Partition, RecoveryReport), OpenError> {
        Partition::open(self.config.clone(), self.sink.clone()).await
    }

    /// Opens it with an object store.
    pub(super) async fn open_in(&self, tier: &Tier) -> (Partition, RecoveryReport) {
        let tier = Some(tier.clone());
        Partition::open_in(self.config.clone(), self.sink.clone(), tier).await.unwrap()
    }

    pub(super) async fn open(&self) -> (Partition, RecoveryReport) {
        self.try_open().await.unwrap()
    }

    /// What a kill would leave: a copy of the directory as it is now, as a place of its own.
    pub(super) async fn crashed(&self, copied: bool) -> Self {
        let mut other = self.clone();
        if !copied {
            return other;
        }
        self.copies.set(self.copies.get() + 1);
        other.move_to(1000 + self.copies.get());
        copy_dir(self.dir().to_owned(), other.dir().to_owned()).await;
        other
    }

    pub(super) async fn append(
        &self,
        partition: &Partition,
        batches: &[u8],
        level: Durability,
    ) -> Result<Appended, AppendError> {
        match self.submit(partition, batches, level) {
            (AppendNow::Pending, receiver) => receiver.await.unwrap(),
            (AppendNow::Done(appended), _) => Ok(appended),
            (AppendNow::Refused(error), _) => Err(error),
        }
    }

    /// Appends; a pending answer comes through the receiver.
    pub(super) fn submit(
        &self,
        partition: &Partition,
        batches: &[u8],
        level: Durability,
    ) -> (AppendNow, OnceReceiver<Result<Appended, AppendError>>) {
        let number = self.sink.next.get();
        self.sink.next.set(number + 1);
        let (sender, receiver) = oneshot();
        let ticket = Ticket(number, 0);
        self.sink.waiting.borrow_mut().insert(ticket, sender);
        (partition.append(batches, level, ticket), receiver)
    }

    /// Every batch from the low to the high watermark, as it was before it was sealed.
    pub(super) async fn read_all(&self, partition: &Partition) -> Vec<Vec<u8>> {
        let marks = partition.watermarks();
        let (mut next, mut batches) = (marks.low, Vec::new());
        while next < marks.high {
            let read = partition.read(next, 300_000).await.unwrap();
            assert_eq!(read.first_offset, next);
            batches.extend(unsealed_batches(&read, next));
            assert!(read.next_offset > next, "a read makes progress");
            next = read.next_offset;
        }
        batches
    }
}

/// The batches of a read, verified, consecutive from `next`, and unsealed again.
pub(super) fn unsealed_batches(read: &crate::partition::Read, mut next: Offset) -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    for slice in &read.slices {
        for batch in Items::new(slice).batches() {
            let batch = batch.unwrap().verify().unwrap();
            assert_eq!(batch.header().owner.base_offset, next);
            next = batch.header().next_offset();
            let mut bytes = batch.bytes().to_vec();
            bytes[4..64].fill(0);
            batches.push(bytes);
        }
    }
    assert_eq!(next, read.next_offset);
    batches
}

/// Copies a directory with what is in it.
pub(super) async fn copy_dir(from: PathBuf, to: PathBuf) {
    pyralog_runtime::spawn_blocking(move || copy_tree(&from, &to)).await.unwrap();
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            // Err: a file that comes and goes, such as the one a device is probed with.
            let copied = std::fs::copy(entry.path(), target);
            assert!(copied.is_ok() || !entry.path().exists(), "{copied:?}");
        }
    }
}
