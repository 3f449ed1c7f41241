//! What a partition does in the background class: preparing, reserving, initialising, remembering.

use std::rc::Rc;

use pyralog_runtime::{Class, IoError, file, spawn_into};

use super::{Files, Shell};
use crate::checkpoint::{CHECKPOINT_NAME, Checkpoint, Start};
use crate::durability::Durability;
use crate::index::Index;
use crate::limits::{CHECKPOINT_BYTES, INITIALISE_GROUP_BYTES};
use crate::partition::{Closed, Phase};
use crate::segment::index_name;
use crate::segment_file::{self, SegmentFile, is_full};

impl Shell {
    /// Starts what is due. Cheap when nothing is.
    pub(super) fn start_background(self: &Rc<Self>) {
        let Some(files) = &self.files else { return };
        if self.machine.borrow().phase() != Phase::Open {
            return;
        }
        self.start_preparing(files);
        self.start_reserving(files);
        self.start_initialising(files);
        self.start_checkpoint();
    }

    /// Runs a task of the background class for which closing waits.
    pub(super) fn start<F>(self: &Rc<Self>, task: F)
    where
        F: Future<Output = ()> + 'static,
    {
        let Some(pass) = self.background.enter() else { return };
        // The gate waits for it.
        spawn_into(Class::Background, async move {
            task.await;
            drop(pass);
        })
        .detach();
    }

    /// Prepares the file for the next segment once this one is half full.
    fn start_preparing(self: &Rc<Self>, files: &Files) {
        let due = {
            let machine = self.machine.borrow();
            machine.head().position.get() > machine.settings().segment_bytes / 2
        };
        if !due || self.preparing.get() || files.prepared.borrow().is_some() {
            return;
        }
        self.preparing.set(true);
        let shell = Rc::clone(self);
        self.start(async move {
            if let Some(files) = &shell.files {
                let header = shell.next_header();
                match segment_file::prepare(&files.dir, &files.recycle, &header).await {
                    Ok(prepared) => drop(files.prepared.replace(Some(prepared))),
                    // Rolling tries again and says so if it fails too.
                    Err(error) => tracing::debug!(%error, "next segment not prepared"),
                }
            }
            shell.preparing.set(false);
            shell.work.notify_all();
        });
    }

    fn start_reserving(self: &Rc<Self>, files: &Files) {
        let head = Rc::clone(&files.head.borrow());
        let position = self.machine.borrow().head().position;
        if self.reserving.get() || !head.wants_reserve(position) {
            return;
        }
        self.reserving.set(true);
        let shell = Rc::clone(self);
        self.start(async move {
            head.reserve_ahead().await;
            shell.reserving.set(false);
        });
    }

    /// Initialises blocks ahead of a writer of small groups for which somebody waits.
    fn start_initialising(self: &Rc<Self>, files: &Files) {
        let (position, due) = {
            let machine = self.machine.borrow();
            let small = machine.recent_group_bytes() < INITIALISE_GROUP_BYTES;
            (machine.head().position, small && machine.settings().durability >= Durability::Written)
        };
        if !due {
            return;
        }
        let head = Rc::clone(&files.head.borrow());
        let Some(pass) = self.background.enter() else { return };
        if let Some(blocks) = head.begin_initialise(position) {
            let shell = Rc::clone(self);
            // The gate waits for it.
            spawn_into(Class::Background, async move {
                match head.initialise(blocks).await {
                    Err(error) if is_full(&error) => {
                        tracing::warn!(%error, "cannot initialise blocks ahead");
                    }
                    Err(error) => shell.fail_beside(&error),
                    Ok(()) => {}
                }
                drop(pass);
            })
            .detach();
        }
    }

    /// Writes a checkpoint now and then, so that a recovery scans little.
    fn start_checkpoint(self: &Rc<Self>) {
        let position = self.machine.borrow().head().position.get();
        let due = position >= self.checkpoint_position.get() + CHECKPOINT_BYTES;
        if due && !self.checkpointing.get() {
            self.checkpoint_position.set(position);
            self.start(checkpoint(Rc::clone(self), false));
        }
    }

    /// Finishes a segment that was rolled out of: its index, a checkpoint.
    pub(super) fn finish_segment(
        self: &Rc<Self>,
        closed: Closed,
        index: Index,
        before: Rc<SegmentFile>,
    ) {
        let Some(files) = &self.files else { return };
        files.note_rolled(closed.base, &before);
        // Readers are most often just behind: they have it open already.
        let segment = files.readers.take_over(closed.base, before, index);
        let shell = Rc::clone(self);
        self.start(async move {
            if let Some(files) = &shell.files {
                let path = files.dir.join(index_name(closed.base));
                let bytes = segment.index().encode(closed.generation);
                if let Err(error) = file::write_small_atomic(&path, bytes).await {
                    tracing::warn!(%error, "index not written, made again when it is needed");
                }
                checkpoint(Rc::clone(&shell), false).await;
            }
        });
    }

    /// The checkpoint of a partition that is closed.
    pub(super) async fn last_checkpoint(self: &Rc<Self>) {
        let clean = self.machine.borrow().is_clean();
        if clean && self.files.is_some() {
            while self.checkpointing.get() {
                self.changed.listen().await;
            }
            checkpoint(Rc::clone(self), true).await;
        }
    }
}

/// Writes the index of the head as far as it is synced, then a checkpoint that starts there.
async fn checkpoint(shell: Rc<Shell>, clean: bool) {
    let Some(files) = &shell.files else { return };
    if shell.checkpointing.replace(true) {
        return; // The one that is being written, or the next, will do.
    }
    let (index, content) = contents(&shell, files, clean);
    if let Some((name, bytes)) = index
        && let Err(error) = file::write_small_atomic(files.dir.join(name), bytes).await
    {
        tracing::warn!(%error, "index not written");
    }
    if let Err(error) = file::write_small_atomic(files.dir.join(CHECKPOINT_NAME), content).await {
        tracing::warn!(%error, "checkpoint not written: the next start scans more");
    }
    shell.checkpointing.set(false);
    shell.changed.notify_all();
}

/// Writes a checkpoint of how things are now, after the one that is being written.
pub(super) async fn checkpoint_now(shell: &Shell, files: &Files) -> Result<(), IoError> {
    while shell.checkpointing.get() {
        let changed = shell.changed.listen();
        if shell.checkpointing.get() {
            changed.await;
        }
    }
    shell.checkpointing.set(true);
    let (_, content) = contents(shell, files, false);
    let written = file::write_small_atomic(files.dir.join(CHECKPOINT_NAME), content).await;
    shell.checkpointing.set(false);
    shell.changed.notify_all();
    written
}

/// The index file of the head, by name, and the checkpoint file.
pub(super) fn contents(
    shell: &Shell,
    files: &Files,
    clean: bool,
) -> (Option<(String, Vec<u8>)>, Vec<u8>) {
    let machine = shell.machine.borrow();
    let (position, offset) = machine.synced_end();
    let head = machine.head();
    let index = (head.index.end_offset() > head.segment)
        .then(|| (index_name(head.segment), head.index.encode(machine.generation())));
    let checkpoint = Checkpoint {
        log: shell.log,
        partition: shell.partition,
        incarnation: machine.incarnation(),
        opening: files.opening.get(),
        clean,
        append_time: machine.append_time(),
        generation: machine.generation(),
        start: Start { segment: head.segment, position, offset },
        closed: machine.closed().to_vec(),
        sessions: machine.sessions().clone(),
    };
    (index, checkpoint.encode())
}
