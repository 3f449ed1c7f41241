//! The writer task: asks the machine what to do, does it, tells it.

use std::rc::Rc;

use pyralog_runtime::file::{self, Sync};
use pyralog_runtime::{IoError, spawn_durable, time};

use super::{Files, Shell, now};
use crate::ids::Offset;
use crate::partition::{Fault, Mode, Phase, Work, Write, WriteSample};
use crate::segment::segment_name;
use crate::segment_file::{self, SegmentFile, is_full, lacks_space};

/// Runs the partition until it is closed.
pub(super) async fn run(shell: Rc<Shell>) {
    loop {
        let work_came = shell.work.listen();
        let work = shell.machine.borrow_mut().poll(now());
        shell.deliver();
        match (work, &shell.files) {
            (Some(Work::Write(write)), Some(files)) => write_group(&shell, files, write).await,
            (Some(Work::Roll(base)), Some(files)) => roll(&shell, files, base).await,
            (Some(Work::Sync), Some(files)) => start_sync(&shell, files),
            (Some(_), None) => unreachable!("a memory-only log has no work on disk"),
            (None, _) => {
                let (phase, wakes_in) = {
                    let machine = shell.machine.borrow();
                    (machine.phase(), machine.wakes_in(now()))
                };
                match wakes_in {
                    _ if phase == Phase::Closed => break,
                    // Which of the two it was does not matter: the machine is asked again.
                    Some(wait) => drop(time::timeout(wait, work_came).await),
                    None => work_came.await,
                }
            }
        }
        shell.deliver();
        shell.start_background();
    }
    shell.last_checkpoint().await;
    shell.ended.set(true);
    shell.changed.notify_all();
}

async fn write_group(shell: &Rc<Shell>, files: &Files, write: Write) {
    let head = Rc::clone(&files.head.borrow());
    let started = time::now();
    let bytes = write.buffer.len();
    let sync = if write.mode == Mode::Synced { Sync::Data } else { Sync::No };
    let mut written = head.write(write.position, &write.buffer, sync).await;
    if written.as_ref().is_err_and(lacks_space) && segment_file::give_back(&files.recycle).await {
        written = head.write(write.position, &write.buffer, sync).await;
    }
    let result = match (written, write.mode) {
        (Err(error), _) if is_full(&error) => Err((error, true)),
        (Err(error), _) => Err((error, false)),
        // A sync that fails is never tried again, whatever it says.
        (Ok(()), Mode::PlainThenSync) => {
            head.file().sync_data().await.map_err(|error| (error, false))
        }
        (Ok(()), Mode::Plain | Mode::Synced) => Ok(()),
    };
    drop(write);
    if shell.is_over() {
        return; // Deleted meanwhile, or a sync beside it failed: nobody waits for this one.
    }
    match result {
        Ok(()) => {
            let synced = sync == Sync::Data;
            shell.machine.borrow_mut().written(now());
            if shell.sink.is_short() {
                shell.machine.borrow_mut().shed_tail();
            }
            let duration = time::now().since(started);
            shell.sink.wrote(WriteSample { bytes, duration, synced });
        }
        Err((error, full)) => fail(shell, &error, full),
    }
}

/// Tells the machine, and the operator, that the disk failed.
fn fail(shell: &Shell, error: &IoError, full: bool) {
    let fault = Fault::from(error);
    let (log, partition) = (shell.log, shell.partition);
    if full {
        tracing::warn!(%log, %partition, %error, "no space: appends are refused");
        shell.machine.borrow_mut().starve(fault, now());
    } else {
        tracing::error!(%log, %partition, %error, "poisoned: nothing is acknowledged any more");
        shell.machine.borrow_mut().poison(fault);
        shell.changed.notify_all();
    }
}

/// Syncs what is written while the writer goes on.
fn start_sync(shell: &Rc<Shell>, files: &Files) {
    let (shell, head) = (Rc::clone(shell), Rc::clone(&files.head.borrow()));
    let Some(pass) = shell.background.enter() else { return };
    // The gate waits for it.
    spawn_durable("partition sync", async move {
        match head.file().sync_data().await {
            Ok(()) if shell.is_over() => {}
            Ok(()) => {
                shell.machine.borrow_mut().synced();
                shell.deliver();
                shell.work.notify_all();
            }
            Err(error) => shell.fail_beside(&error),
        }
        drop(pass);
    })
    .detach();
}

impl Shell {
    /// Nothing more is written or acknowledged.
    fn is_over(&self) -> bool {
        matches!(self.machine.borrow().phase(), Phase::Closed | Phase::Poisoned(_))
    }

    /// A write or sync of the segment failed that the writer task does not wait for.
    pub(super) fn fail_beside(&self, error: &IoError) {
        if !self.is_over() {
            fail(self, error, false);
        }
        self.deliver();
        self.work.notify_all();
    }
}

/// Makes the next segment the one that is written.
async fn roll(shell: &Rc<Shell>, files: &Files, base: Offset) {
    match next_segment(shell, files, base).await {
        Ok(next) => {
            let key = next.header().key();
            let generation = next.header().generation;
            let (closed, index) = shell.machine.borrow_mut().rolled(generation, key);
            let before = files.head.replace(Rc::new(next));
            shell.checkpoint_position.set(0);
            shell.finish_segment(closed, index, before);
        }
        // Nothing of the new segment is used, so the state of the disk is known, unless its name is
        // there: then a recovery would take the old segment to end where it starts.
        Err(error) => match unname(files, base).await {
            Ok(()) => fail(shell, &error, true),
            Err(error) => fail(shell, &error, false),
        },
    }
}

/// Removes a segment that was made in part.
async fn unname(files: &Files, base: Offset) -> Result<(), IoError> {
    segment_file::remove_if_there(&files.dir.join(segment_name(base))).await?;
    file::sync_dir(&files.dir).await
}

async fn next_segment(shell: &Shell, files: &Files, base: Offset) -> Result<SegmentFile, IoError> {
    while shell.preparing.get() {
        shell.work.listen().await;
    }
    let prepared = files.prepared.take();
    let prepared = match prepared {
        Some(prepared) => prepared,
        None => prepare(shell, files).await?,
    };
    segment_file::name(&files.dir, prepared, base).await
}

/// Prepares the next segment; if need be in the space of files that wait to be used again.
async fn prepare(shell: &Shell, files: &Files) -> Result<SegmentFile, IoError> {
    let header = shell.next_header();
    match segment_file::prepare(&files.dir, &files.recycle, &header).await {
        Err(error) if lacks_space(&error) && segment_file::give_back(&files.recycle).await => {
            segment_file::prepare(&files.dir, &files.recycle, &header).await
        }
        prepared => prepared,
    }
}
