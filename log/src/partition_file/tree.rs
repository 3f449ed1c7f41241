//! The Merkle tree of a partition while it runs: a task of the background class hashes what was synced.
//!
//! Nothing of it stands between a client and its acknowledgement. The task reads what is on stable storage as any reader does,
//! from the tail if it is still there, and keeps the nodes in memory until the next checkpoint. The tail has a share for what
//! waits to be hashed, so that even a short one need not be read back; what lags further is given up and read from the file.
//! Where a CPU is left for it, a thread of the pool hashes what is worth the trip, over the bytes where they are; else the core
//! hashes, in pieces between which everybody else may run. A checkpoint is: nodes into their file, sync, then the state file with
//! peaks, statement and signature, and only then does anybody hear of it. A crash at any point leaves the checkpoint before, and
//! the task hashes again what came after it: at most an interval and what it lagged behind.
//!
//! The writer wakes the task when it was idle and a group was written, or when there is enough for a trip to a thread, or a
//! mebibyte where the core hashes: a wake-up per group would cost the core more than the hashes of small groups. What comes
//! during a trip goes with the next one, or with the next checkpoint.

mod nodes;
mod opening;
mod proving;
mod restoring;
pub(super) mod roots;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use blake3::Hasher;
use pyralog_runtime::buffer::Slice;
use pyralog_runtime::channel::Event;
use pyralog_runtime::time::Monotonic;
use pyralog_runtime::{IoError, away, file, time, yield_if_needed};

use super::{Files, Partition, Shell};
use crate::batch::{Batch, HEADER_BYTES, Items};
use crate::durability::Durability;
use crate::ids::{Offset, Timestamp};
use crate::limits::{
    FETCH_READ_BYTES_MAX, MERKLE_AWAY_BYTES_MIN, MERKLE_HASH_BYTES, MERKLE_PENDING_NODES_MAX,
    MERKLE_TRIP_BYTES, READ_BYTES_MAX, UNSYNCED_AGE_MAX,
};
use crate::merkle::{Frontier, Hash, Node, TREE_STATE_NAME, TreeState, leaf};
use crate::partition::{
    AppendError, Fault, Phase, Proofs, Published, Read, ReadError, TreeFault, TreeStatus,
    TruncateError,
};
use crate::proof::Checkpoint;
use crate::segment_file::is_full;
use nodes::{End, NodeFile};
pub use restoring::TreeRestore;

/// Bytes that may be written before the task is woken although it has something to do already.
const WAKE_BYTES: u64 = READ_BYTES_MAX as u64;

/// How long it waits for a sync of what was written without one.
const SYNC_WAIT: Duration = Duration::from_millis(20);

const _: () = assert!(SYNC_WAIT.as_millis() < UNSYNCED_AGE_MAX.as_millis());

/// The tree of a partition. Invariant: `published` is on stable storage with all of its nodes; the frontier goes on from it,
/// unless the nodes are being made again.
pub(super) struct Tree {
    proofs: Proofs,
    grown: RefCell<Grown>,
    file: RefCell<Option<Rc<NodeFile>>>,
    /// Something to do for the task.
    due: Event,
    /// The task wants to hear when so many bytes have been written.
    wake_at: Cell<u64>,
    /// Bytes that were read to be hashed: from memory, and from files.
    read: Cell<(u64, u64)>,
    /// Closed segments below it have their roots beside them, as far as they are here.
    rooted: Cell<Offset>,
}

#[derive(Default)]
struct Grown {
    frontier: Frontier,
    /// Nodes that are not in the file yet.
    pending: Vec<Node>,
    published: Option<TreeState>,
    /// The nodes below `published` are being made again.
    rebuild: Option<Rebuild>,
    /// They were, in this life.
    was_rebuilt: bool,
    fault: Option<TreeFault>,
    /// What was published in an earlier life is known.
    is_open: bool,
}

/// How far nodes have come that are made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rebuild {
    /// Not at the size of the checkpoint.
    Behind,
    /// They have its root.
    Proven,
}

impl Grown {
    /// Appends a leaf. If this makes nodes again, they must lead to the root that was published.
    fn push(&mut self, leaf: Node) -> Result<(), TreeFault> {
        self.frontier.append(leaf, &mut self.pending);
        let Some(state) = self.published.as_ref() else { return Ok(()) };
        let expected = state.root();
        if self.rebuild != Some(Rebuild::Behind) || self.frontier.size() < expected.size {
            return Ok(());
        }
        let found = self.frontier.root();
        if found == expected {
            self.rebuild = Some(Rebuild::Proven);
            return Ok(());
        }
        let (expected, found) = (expected.node.hash, found.node.hash);
        let end = state.published.checkpoint.end_offset;
        Err(TreeFault::Differs { end, expected, found })
    }
}

impl Tree {
    pub(super) fn new(proofs: Proofs) -> Self {
        let due = Event::new();
        Self {
            proofs,
            grown: RefCell::default(),
            file: RefCell::default(),
            due,
            wake_at: Cell::new(0),
            read: Cell::default(),
            rooted: Cell::new(Offset::ZERO),
        }
    }

    /// The writer has come so far.
    pub(super) fn written(&self, bytes: u64) {
        if bytes >= self.wake_at.get() {
            self.wake_at.set(u64::MAX);
            self.due.notify_all();
        }
    }

    /// Wakes the task, to see that the partition closes.
    pub(super) fn wake(&self) {
        self.due.notify_all();
    }

    /// Offset below which every record is in a tree that was published, and whose nodes need no record any more.
    fn published_end(&self) -> Offset {
        let grown = self.grown.borrow();
        if grown.rebuild.is_some() {
            return Offset::ZERO;
        }
        grown.published.as_ref().map_or(Offset::ZERO, |state| state.published.checkpoint.end_offset)
    }

    /// Counts what was read to be hashed.
    fn count(&self, read: &Read) {
        let (memory, file) = self.read.get();
        let bytes = read.len() as u64;
        self.read.set(if read.is_from_file {
            (memory, file + bytes)
        } else {
            (memory + bytes, file)
        });
    }

    /// Whether there is something that no checkpoint covers.
    fn has_news(&self) -> bool {
        let grown = self.grown.borrow();
        let published = grown.published.as_ref().map_or(0, |state| state.frontier.size());
        grown.frontier.size() > published
    }
}

impl Partition {
    /// How far the tree has come, or `None` if the log has no proofs.
    #[must_use]
    pub fn tree_status(&self) -> Option<TreeStatus> {
        let tree = self.shell.tree.as_ref()?;
        let grown = tree.grown.borrow();
        let hashed = Offset::new(grown.frontier.records());
        let synced = self.shell.machine.borrow().reached(Durability::Synced);
        let (memory_bytes, file_bytes) = tree.read.get();
        Some(TreeStatus {
            batches: grown.frontier.size(),
            hashed,
            lag_records: synced.since(hashed),
            memory_bytes,
            file_bytes,
            is_open: grown.is_open || grown.fault.is_some(),
            published: grown.published.as_ref().map(|state| state.published),
            was_rebuilt: grown.was_rebuilt,
            fault: grown.fault,
        })
    }

    /// Nothing from here on may be removed from the log: no published tree holds it. `None` if the log has no proofs.
    #[must_use]
    pub fn proven_until(&self) -> Option<Offset> {
        self.shell.tree.as_ref().map(|tree| tree.published_end())
    }

    /// Resolves when no record below `offset` is needed any more to prove anything. At once if the log has no proofs.
    pub(super) async fn until_proven(&self, offset: Offset) -> Result<(), TruncateError> {
        let Some(tree) = &self.shell.tree else { return Ok(()) };
        loop {
            let changed = self.shell.changed.listen();
            if tree.published_end() >= offset {
                return Ok(());
            }
            let fault = tree.grown.borrow().fault;
            match fault {
                Some(fault) => return Err(TruncateError::Unproven(fault)),
                None if is_over(&self.shell) => {
                    return Err(TruncateError::Unsynced(AppendError::Closed));
                }
                None => changed.await,
            }
        }
    }

    /// Starts the task.
    pub(super) fn grow_tree(&self) {
        if let Some(tree) = self.shell.tree.clone() {
            let partition = self.clone();
            self.shell.start(async move { run(&partition, &tree).await });
        }
    }
}

/// Grows the tree until the partition closes or the tree cannot grow.
async fn run(partition: &Partition, tree: &Tree) {
    let shell = &partition.shell;
    let Some(files) = &shell.files else { return };
    let outcome = match opening::open(partition, tree, files).await {
        Ok(end) => {
            tree.grown.borrow_mut().is_open = true;
            grow(partition, (tree, files), end).await
        }
        Err(fault) => Err(fault),
    };
    if let Err(fault) = outcome {
        let (log, number) = (shell.log, shell.partition);
        tracing::error!(%log, partition = %number, %fault, "the tree of the partition stands still");
        tree.grown.borrow_mut().fault = Some(fault);
        // Nobody will hash what the tail keeps for it.
        shell.machine.borrow_mut().note_hashed(Offset::new(u64::MAX));
        tree.grown.borrow_mut().pending = Vec::new();
        shell.changed.notify_all();
    }
}

async fn grow(
    partition: &Partition,
    (tree, files): (&Tree, &Files),
    mut end: End,
) -> Result<(), TreeFault> {
    let shell = &partition.shell;
    let mut published_at: Option<Monotonic> = None;
    partition.write_roots(tree, files).await;
    loop {
        let due = tree.due.listen();
        tree.wake_at.set(u64::MAX);
        while !is_over(shell) && hash_some(partition, tree).await? {
            let hashed = Offset::new(tree.grown.borrow().frontier.records());
            shell.machine.borrow_mut().note_hashed(hashed);
            settle(shell, tree, &mut end).await.map_err(failed)?;
            let has_room = make_room(tree, &mut end).await?;
            // What came meanwhile goes with the next trip.
            if !has_room || waiting_bytes(shell, tree) < trip_bytes() {
                break;
            }
        }
        let over = is_over(shell);
        let next = published_at.map(|at| at.after(tree.proofs.interval));
        let now = time::now();
        let is_rebuilding = tree.grown.borrow().rebuild.is_some();
        if tree.has_news() && !is_rebuilding && (over || next.is_none_or(|next| next <= now)) {
            publish(shell, tree, &mut end).await?;
            partition.write_roots(tree, files).await;
            published_at = Some(now);
        }
        if over {
            return Ok(());
        }
        let wait = match next {
            Some(next) if tree.has_news() => Some(next.since(now).max(SYNC_WAIT)),
            _ if is_behind(shell, tree) => Some(SYNC_WAIT),
            _ => None,
        };
        let written = shell.machine.borrow().written_bytes();
        let room = trip_bytes().saturating_sub(waiting_bytes(shell, tree)).max(WAKE_BYTES);
        tree.wake_at.set(written + if wait.is_some() { room } else { 1 });
        match wait {
            // Which of the two it was does not matter.
            Some(wait) => drop(time::timeout(wait, due).await),
            None => due.await,
        }
    }
}

fn is_over(shell: &Shell) -> bool {
    matches!(shell.machine.borrow().phase(), Phase::Closing | Phase::Closed)
}

/// Whether something was appended that is not hashed.
fn is_behind(shell: &Shell, tree: &Tree) -> bool {
    let end = shell.machine.borrow().watermarks().end;
    end.get() > tree.grown.borrow().frontier.records()
}

/// Bytes that are worth a trip by themselves. The core goes on until nothing is left: it gives way in between anyway.
fn trip_bytes() -> u64 {
    if away::has_spare_cpu() { MERKLE_TRIP_BYTES } else { 0 }
}

/// Bytes that readers see and that were not hashed; many if the tail has them no more.
fn waiting_bytes(shell: &Shell, tree: &Tree) -> u64 {
    let hashed = Offset::new(tree.grown.borrow().frontier.records());
    shell.machine.borrow().readable_bytes(hashed)
}

/// Hashes what one read brings of what was synced. Says whether there was anything.
async fn hash_some(partition: &Partition, tree: &Tree) -> Result<bool, TreeFault> {
    let shell = &partition.shell;
    let unhashed = || {
        let from = Offset::new(tree.grown.borrow().frontier.records());
        from..shell.machine.borrow().reached(Durability::Synced)
    };
    if unhashed().is_empty() {
        return Ok(false);
    }
    let is_much = shell.machine.borrow().readable_bytes(unhashed().start) >= MERKLE_AWAY_BYTES_MIN;
    let turn = if is_much && away::has_spare_cpu() { Some(away::turn().await) } else { None };
    let offsets = unhashed();
    // A trip costs the same whatever is hashed on it.
    let bytes_max = if turn.is_some() { FETCH_READ_BYTES_MAX } else { READ_BYTES_MAX };
    let read = match partition.read(offsets.start, bytes_max).await {
        Ok(read) => read,
        Err(ReadError::Closed) => return Ok(false),
        Err(ReadError::Io(error)) => return Err(failed(error)),
        Err(_) => return Err(TreeFault::Unreadable { from: offsets.start }),
    };
    tree.count(&read);
    let Some(turn) = turn else { return hash_here(tree, &read.slices, offsets.end).await };
    let hashing = turn.read(read.slices, move |pieces| leaves(pieces, &offsets)).await;
    drop(turn);
    match hashing {
        Ok(hashed) => {
            let (leaves, fault) = hashed;
            let is_any = !leaves.is_empty();
            for leaf in leaves {
                tree.grown.borrow_mut().push(leaf)?;
            }
            fault.map_or(Ok(is_any), Err)
        }
        Err(panicked) if panicked.is_cancelled() => Ok(false),
        Err(panicked) => {
            tracing::error!(%panicked, "hashing panicked");
            Err(TreeFault::Unreadable { from: unhashed().start })
        }
    }
}

/// The leaves of the batches in `pieces` that are below the end of `offsets`, the first of which begins where they do; and why
/// they end early, if they do. On a thread of the pool.
fn leaves(pieces: &[&[u8]], offsets: &Range<Offset>) -> (Vec<Node>, Option<TreeFault>) {
    let (mut leaves, mut from) = (Vec::new(), offsets.start);
    for batch in pieces.iter().flat_map(|piece| Items::new(piece).batches()).flatten() {
        match place(&batch, from, offsets.end) {
            Ok(None) => break,
            Ok(Some(next)) => {
                let hash = Hash::new(*blake3::hash(stored(&batch)).as_bytes());
                leaves.push(leaf(hash, next.since(from)));
                from = next;
            }
            Err(fault) => return (leaves, Some(fault)),
        }
    }
    (leaves, None)
}

/// The same on this core, in pieces between which others run.
async fn hash_here(tree: &Tree, slices: &[Slice], until: Offset) -> Result<bool, TreeFault> {
    let mut is_any = false;
    for batch in slices.iter().flat_map(|slice| Items::new(slice).batches()).flatten() {
        let from = Offset::new(tree.grown.borrow().frontier.records());
        let Some(next) = place(&batch, from, until)? else { break };
        let hash = hash_slowly(stored(&batch)).await;
        tree.grown.borrow_mut().push(leaf(hash, next.since(from)))?;
        is_any = true;
    }
    Ok(is_any)
}

/// The offset after a batch that must begin at `from`; `None` if not all of it is below `until`.
fn place(batch: &Batch<'_>, from: Offset, until: Offset) -> Result<Option<Offset>, TreeFault> {
    let (base, next) = (batch.header().owner.base_offset, batch.header().next_offset());
    match next > until {
        true => Ok(None),
        false if base == from => Ok(Some(next)),
        false => Err(TreeFault::Unreadable { from: base }),
    }
}

/// What of a batch is hashed.
fn stored<'a>(batch: &Batch<'a>) -> &'a [u8] {
    &batch.bytes()[..HEADER_BYTES + batch.header().body_len as usize]
}

/// The hash of a batch as stored, made in pieces between which others run.
async fn hash_slowly(stored: &[u8]) -> Hash {
    let mut hasher = Hasher::new();
    for piece in stored.chunks(MERKLE_HASH_BYTES) {
        hasher.update(piece);
        yield_if_needed().await;
    }
    Hash::new(*hasher.finalize().as_bytes())
}

/// Writes the nodes that are only in memory.
async fn write_nodes(tree: &Tree, end: &mut End) -> Result<(), IoError> {
    let file = tree.file.borrow().clone();
    let pending = tree.grown.borrow().pending.clone();
    if let Some(file) = file {
        file.append(end, &pending).await?;
        tree.grown.borrow_mut().pending.drain(..pending.len());
    }
    Ok(())
}

/// Writes the nodes that are only in memory, if they have become many. Says whether there is room for more.
async fn make_room(tree: &Tree, end: &mut End) -> Result<bool, TreeFault> {
    if tree.grown.borrow().pending.len() < MERKLE_PENDING_NODES_MAX {
        return Ok(true);
    }
    match write_nodes(tree, end).await {
        Ok(()) => Ok(true),
        Err(error) if is_full(&error) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Nodes that were made again, and lead to the root that was published, count once they are on stable storage.
async fn settle(shell: &Shell, tree: &Tree, end: &mut End) -> Result<(), IoError> {
    let is_proven = tree.grown.borrow().rebuild == Some(Rebuild::Proven);
    if is_proven {
        write_nodes(tree, end).await?;
        let file = tree.file.borrow().clone();
        if let Some(file) = file {
            file.sync().await?;
        }
        tree.grown.borrow_mut().rebuild = None;
        shell.changed.notify_all();
        tracing::warn!(
            "the nodes of a tree were made again: they lead to the root that was published"
        );
    }
    Ok(())
}

/// Makes a checkpoint of what was hashed: nodes, then statement, then it is told.
async fn publish(shell: &Shell, tree: &Tree, end: &mut End) -> Result<(), TreeFault> {
    let Some(files) = &shell.files else { return Ok(()) };
    let state = next_state(shell, tree);
    match persist(files, tree, end, &state).await {
        Ok(()) => {
            tree.grown.borrow_mut().published = Some(state);
            shell.changed.notify_all();
            Ok(())
        }
        Err(error) if is_full(&error) => {
            tracing::warn!(%error, "no space for a checkpoint, tried again");
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn failed(error: IoError) -> TreeFault {
    TreeFault::Io(Fault::from(&error))
}

/// The state file of everything that was hashed so far. Its time is later than that of the one before.
fn next_state(shell: &Shell, tree: &Tree) -> TreeState {
    let grown = tree.grown.borrow();
    let before = grown.published.as_ref().map(|state| &state.published.checkpoint);
    let now = Timestamp::new(time::unix_us());
    let root = grown.frontier.root();
    let checkpoint = Checkpoint {
        cluster: tree.proofs.cluster,
        log: shell.log,
        partition: shell.partition,
        epoch: shell.config.epoch,
        tree_size: root.size,
        end_offset: Offset::new(root.node.records),
        root: *root.node.hash.as_bytes(),
        time: before.map_or(now, |before| now.max(Timestamp::new(before.time.get() + 1))),
        previous: before.map_or([0; 32], Checkpoint::hash),
    };
    let signed = tree.proofs.key.as_ref().map(|key| checkpoint.sign(key));
    let published = Published { checkpoint, signed };
    TreeState { frontier: grown.frontier.clone(), published }
}

async fn persist(
    files: &Files,
    tree: &Tree,
    end: &mut End,
    state: &TreeState,
) -> Result<(), IoError> {
    write_nodes(tree, end).await?;
    let file = tree.file.borrow().clone();
    if let Some(file) = file {
        file.sync().await?;
    }
    file::write_small_atomic(files.dir.join(TREE_STATE_NAME), state.encode()).await
}
