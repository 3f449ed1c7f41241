//! Runs a partition on the core that owns it: one writer task, and what readers and the background
//! do around it.
//!
//! [`Partition`] is a handle; clones are the same partition. The state is in the machine, borrowed
//! for the length of a call and never across an `await`. The writer asks the machine what to do, does
//! it, tells the machine, delivers answers; with nothing to do it waits for an append or for the
//! time that the machine names, and costs nothing. Syncs of what is already written, preparation of
//! the next segment, reservation, initialising ahead, indexes and checkpoints are tasks of their own,
//! in the background class; the gate makes closing wait for them.

mod background;
mod compaction;
mod keys;
mod manifest;
mod reader;
mod retention;
mod scrub;
mod tiering;
mod tree;
mod turns;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use pyralog_runtime::channel::{Event, Gate};
use pyralog_runtime::{file, rng, spawn_durable, time};

use crate::checkpoint::{CHECKPOINT_NAME, DAMAGED_NAME};
use crate::durability::Durability;
use crate::ids::{LogId, Offset, PartitionId, Timestamp};
use crate::limits::MERKLE_KEPT_BYTES;
use crate::manifest::MANIFEST_NAME;
use crate::mark::StampKey;
use crate::merkle::TREE_STATE_NAME;
use crate::partition::{
    Answer, AppendError, AppendNow, Changes, Completions, Machine, NoIds, Now, OpenError,
    PartitionConfig, PartitionStats, Phase, RecordIds, Settings, Storage, Ticket, Wanted,
    Watermarks,
};
use crate::recovery::RecoveryReport;
use crate::recovery::scan::Opening;
use crate::recovery_file;
use crate::segment::{SegmentHeader, parse_segment_name};
use crate::segment_file::{self, NEXT_NAME, SegmentFile};
use crate::tier::Tier;
pub use compaction::CompactError;
pub use keys::{KeyIndexStats, Latest};
use manifest::Keeper;
use reader::Readers;
pub use scrub::Scrubbed;
use tiering::Tiering;
pub use tiering::{TierError, TierUse};
pub use tree::TreeRestore;
use turns::Turns;

/// A partition on this core. Clones are the same partition; all of its calls are for the core that
/// opened it.
#[derive(Clone)]
pub struct Partition {
    shell: Rc<Shell>,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shell { log, partition, .. } = &*self.shell;
        write!(formatter, "Partition({log}/{partition})")
    }
}

/// The files of a durable partition.
struct Files {
    dir: PathBuf,
    recycle: PathBuf,
    /// The segment being written.
    head: RefCell<Rc<SegmentFile>>,
    /// The file for the segment after it.
    prepared: RefCell<Option<SegmentFile>>,
    /// Where this life of the partition began.
    opening: Cell<Opening>,
    readers: Readers,
    manifest: Keeper,
    /// The object store, if the server has one.
    tier: Option<Tier>,
    tiering: Tiering,
    /// Whoever takes segments away or puts one in the place of others.
    removing: Turns,
    /// Whoever compacts.
    compacting: Turns,
    /// Segments that were rolled out of, as long as somebody has them open from before.
    rolled: RefCell<Vec<(Offset, Weak<SegmentFile>)>>,
}

struct Shell {
    log: LogId,
    partition: PartitionId,
    config: PartitionConfig,
    machine: RefCell<Machine>,
    sink: Rc<dyn Completions>,
    files: Option<Files>,
    /// Something for the writer to do.
    work: Event,
    /// Watermarks or the phase changed.
    changed: Event,
    /// The writer has taken a step: more may be written or synced, or less hope of it.
    stepped: Event,
    /// The high watermark that waiters were last told.
    told: Cell<Offset>,
    /// The writer has ended.
    ended: Cell<bool>,
    background: Gate,
    preparing: Cell<bool>,
    reserving: Cell<bool>,
    checkpointing: Cell<bool>,
    /// Offset at the last checkpoint, in stream bytes of the segment.
    checkpoint_position: Cell<u64>,
    answers: RefCell<Vec<Answer>>,
    /// The Merkle tree, if the log has proofs.
    tree: Option<Rc<tree::Tree>>,
    /// The index of keys, if there is one.
    keys: RefCell<Option<Rc<keys::Keys>>>,
    compaction: RefCell<compaction::Memory>,
}

/// Both clocks, now.
fn now() -> Now {
    Now { wall: Timestamp::new(time::unix_us()), monotonic: time::now() }
}

impl Partition {
    /// Opens or makes the partition and starts its writer. A durable partition is recovered first;
    /// what was found is in the report. Answers to pending appends go to `sink`.
    ///
    /// # Errors
    /// If the configuration is impossible, the directory is another partition's, or the file system
    /// fails.
    ///
    /// # Panics
    /// Outside a core.
    pub async fn open(
        config: PartitionConfig,
        sink: Rc<dyn Completions>,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_in(config, sink, None).await
    }

    /// As [`Partition::open`], with the object store of the core. Nothing is asked of that to open a partition.
    ///
    /// # Errors
    /// As [`Partition::open`].
    ///
    /// # Panics
    /// Outside a core.
    pub async fn open_in(
        config: PartitionConfig,
        sink: Rc<dyn Completions>,
        tier: Option<Tier>,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        config.check()?;
        let settings = settings_of(&config);
        let (machine, files, report) = match &config.storage {
            Storage::Memory { .. } => {
                let key = StampKey::new(rng::entropy_u64(), config.log, config.partition);
                let report = RecoveryReport { clean: true, ..RecoveryReport::default() };
                (Machine::in_memory(settings, key), None, report)
            }
            Storage::Durable { dir, recycle } => {
                let opened = Box::pin(recovery_file::open(&config, dir, recycle)).await?;
                let files = Files {
                    dir: dir.clone(),
                    recycle: recycle.clone(),
                    head: RefCell::new(Rc::new(opened.head)),
                    prepared: RefCell::new(None),
                    opening: Cell::new(opened.opening),
                    readers: Readers::default(),
                    manifest: Keeper::new(dir, opened.manifest),
                    tier,
                    tiering: Tiering::default(),
                    removing: Turns::default(),
                    compacting: Turns::default(),
                    rolled: RefCell::default(),
                };
                (Machine::new(settings, opened.recovered), Some(files), opened.report)
            }
        };
        let high = machine.watermarks().high;
        let position = machine.head().position.get();
        let proofs = config.proofs.clone().filter(|_| files.is_some());
        let shell = Rc::new(Shell {
            log: config.log,
            partition: config.partition,
            config,
            machine: RefCell::new(machine),
            sink,
            files,
            work: Event::new(),
            changed: Event::new(),
            stepped: Event::new(),
            told: Cell::new(high),
            ended: Cell::new(false),
            background: Gate::new(),
            preparing: Cell::new(false),
            reserving: Cell::new(false),
            checkpointing: Cell::new(false),
            checkpoint_position: Cell::new(position),
            answers: RefCell::new(Vec::new()),
            tree: proofs.map(|proofs| Rc::new(tree::Tree::new(proofs))),
            keys: RefCell::new(None),
            compaction: RefCell::default(),
        });
        // Lives until the partition is closed; a core that ends without closing is a crash.
        spawn_durable("partition writer", writer::run(Rc::clone(&shell))).detach();
        let partition = Self { shell };
        partition.index_keys(partition.shell.config.key_index);
        partition.grow_tree();
        Ok((partition, report))
    }

    /// Takes the batches of one append, all or none, in order. The bytes are copied before this
    /// returns. Never waits: `Pending` is answered through [`Completions::completed`].
    pub fn append(&self, batches: &[u8], level: Durability, ticket: Ticket) -> AppendNow {
        self.append_with_ids(batches, level, ticket, &mut NoIds)
    }

    /// As [`Partition::append`]; each batch gets the id of its first record from `ids`. `Busy` also if `ids` is not ready.
    pub fn append_with_ids(
        &self,
        batches: &[u8],
        level: Durability,
        ticket: Ticket,
        ids: &mut dyn RecordIds,
    ) -> AppendNow {
        let shell = &*self.shell;
        let wanted = Wanted { batches, level, ticket };
        let answer = shell.machine.borrow_mut().append(wanted, ids, now());
        if !matches!(answer, AppendNow::Refused(_)) {
            shell.work.notify_all();
            shell.tell();
        }
        answer
    }

    /// How far it has come.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        self.shell.machine.borrow().watermarks()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> PartitionStats {
        let stats = self.shell.machine.borrow().stats();
        let held = self.tier_use();
        PartitionStats {
            // The machine counts what the log has, wherever it is.
            file_bytes: stats.file_bytes.saturating_sub(held.remote_only_bytes),
            remote_segments: held.segments,
            remote_bytes: held.bytes,
            ..stats
        }
    }

    /// Takes another configuration, at once and without interrupting anybody: appends and readers go on. Resolves when
    /// everything that readers see has reached the new level. What no longer fits a smaller budget goes at the next
    /// append or expiry.
    ///
    /// # Errors
    /// If it is poisoned; then it stays as it was, for nothing more is appended to it. If the new level is not reached
    /// (see [`Self::flush`]); then what was appended before stays visible at its level, and the rest gets the new one.
    pub async fn alter(&self, changes: Changes) -> Result<(), AppendError> {
        let shell = &self.shell;
        {
            let mut machine = shell.machine.borrow_mut();
            if let Phase::Poisoned(fault) = machine.phase() {
                return Err(AppendError::Poisoned(fault));
            }
            machine.change(changes);
        }
        shell.work.notify_all();
        shell.tell();
        self.flush(changes.durability).await
    }

    /// The records that are known to be damaged, in the order in which that was found; an empty range where none is.
    #[must_use]
    pub fn damaged_ranges(&self) -> Vec<Range<Offset>> {
        let machine = self.shell.machine.borrow();
        machine.damages().iter().map(|damage| damage.offsets.clone()).collect()
    }

    /// What it was opened with.
    #[must_use]
    pub fn config(&self) -> &PartitionConfig {
        &self.shell.config
    }

    /// Resolves when a reader at `offset` can read at least `bytes_min` bytes of batches (and at
    /// least one), or the partition is closed. For an offset older than the tail it resolves at once.
    /// May be dropped at any time.
    pub async fn wait_beyond(&self, offset: Offset, bytes_min: usize) {
        let enough = (bytes_min as u64).max(1);
        loop {
            let changed = self.shell.changed.listen();
            let ready = {
                let machine = self.shell.machine.borrow();
                let serves = !matches!(machine.phase(), Phase::Closing | Phase::Closed);
                !serves || machine.readable_bytes(offset) >= enough
            };
            if ready {
                return;
            }
            changed.await;
        }
    }

    /// Resolves when everything appended before the call has reached `level`.
    ///
    /// # Errors
    /// If it will not: the partition is poisoned or closed, has no space, or has no disk.
    pub async fn flush(&self, level: Durability) -> Result<(), AppendError> {
        let shell = &*self.shell;
        if shell.files.is_none() && level > Durability::Memory {
            return Err(AppendError::Unsupported { requested: level });
        }
        let target = shell.machine.borrow_mut().want(level);
        shell.work.notify_all();
        loop {
            let stepped = shell.stepped.listen();
            let (reached, phase) = {
                let machine = shell.machine.borrow();
                (machine.reached(level), machine.phase())
            };
            match phase {
                _ if reached >= target => return Ok(()),
                Phase::Open | Phase::Closing => {}
                Phase::Starved(fault, _) => return Err(AppendError::NoSpace(fault)),
                Phase::Poisoned(fault) => return Err(AppendError::Poisoned(fault)),
                Phase::Closed => return Err(AppendError::Closed),
            }
            stepped.await;
        }
    }

    /// Takes no more appends, writes and syncs what is pending, answers it, marks the end as clean,
    /// writes a checkpoint and closes the files. Resolves when that is done; a second call waits for
    /// the first. Waiting readers are woken.
    pub async fn close(&self) {
        let shell = &self.shell;
        shell.machine.borrow_mut().close();
        shell.finish().await;
    }

    /// Stops at once and gives the files away: to the recycle directory up to its bound, the rest is
    /// removed. Pending appends are answered with `Closed`.
    ///
    /// # Errors
    /// If files cannot be moved or removed; deleting again goes on.
    pub async fn delete(&self) -> Result<(), OpenError> {
        let shell = &self.shell;
        shell.machine.borrow_mut().abandon();
        shell.deliver();
        shell.finish().await;
        let Some(files) = &shell.files else { return Ok(()) };
        // Without these files a directory that is half deleted recovers as what is left.
        for name in [TREE_STATE_NAME, MANIFEST_NAME, CHECKPOINT_NAME, DAMAGED_NAME] {
            segment_file::remove_if_there(&files.dir.join(name)).await?;
        }
        delete_files(&files.dir, &files.recycle).await
    }
}

/// Gives the segments in `dir` away and removes it.
///
/// # Errors
/// If files cannot be moved or removed.
pub async fn delete_files(dir: &Path, recycle: &Path) -> Result<(), OpenError> {
    if !file::exists(dir).await? {
        return Ok(());
    }
    for entry in file::list_dir(dir).await? {
        if parse_segment_name(&entry.name).is_some() || entry.name == NEXT_NAME {
            segment_file::discard(&dir.join(&entry.name), recycle).await?;
        }
    }
    file::remove_dir_all(dir).await?;
    Ok(())
}

impl Shell {
    /// Waits for the writer and the background, then closes the files.
    async fn finish(self: &Rc<Self>) {
        self.work.notify_all();
        self.changed.notify_all();
        self.tree.iter().for_each(|tree| tree.wake());
        loop {
            let changed = self.changed.listen();
            if self.ended.get() {
                break;
            }
            changed.await;
        }
        self.background.close().await;
        if let Some(files) = &self.files {
            // Whoever opens or deletes the directory next shall have the last word.
            files.manifest.settle().await;
        }
    }

    /// Delivers answers and wakes who waits for the watermarks.
    fn deliver(&self) {
        let mut answers = self.answers.take();
        self.machine.borrow_mut().take_answers(&mut answers);
        for (ticket, outcome) in answers.drain(..) {
            self.sink.completed(ticket, outcome);
        }
        self.answers.replace(answers);
        if let Some(tree) = &self.tree {
            tree.written(self.machine.borrow().written_bytes());
        }
        self.tell();
        self.stepped.notify_all();
    }

    /// Wakes who waits for the high watermark, if it has moved.
    fn tell(&self) {
        let high = self.machine.borrow().watermarks().high;
        if self.told.replace(high) != high {
            self.changed.notify_all();
        }
    }

    /// The header of the next segment, before it has a base offset.
    fn next_header(&self) -> SegmentHeader {
        SegmentHeader {
            generation: rng::entropy_u64(),
            log: self.log,
            partition: self.partition,
            base_offset: None,
            epoch: self.config.epoch,
            created: Timestamp::new(time::unix_us()),
            segment_bytes: self.machine.borrow().settings().segment_bytes,
        }
    }
}

fn settings_of(config: &PartitionConfig) -> Settings {
    let memory = match &config.storage {
        Storage::Durable { .. } => None,
        Storage::Memory { bytes_max, ttl } => Some((*bytes_max, *ttl)),
    };
    Settings {
        epoch: config.epoch,
        durability: config.durability,
        segment_bytes: config.segment_bytes,
        tail_bytes: config.tail_bytes as u64,
        unhashed_bytes: config.proofs.as_ref().map_or(0, |_| MERKLE_KEPT_BYTES),
        memory,
        life: config.life,
        tiering: config.tiering,
    }
}

/// What closed segments readers have open.
type OpenSegments = VecDeque<(Offset, Rc<reader::OpenSegment>)>;

#[cfg(test)]
mod tests;
