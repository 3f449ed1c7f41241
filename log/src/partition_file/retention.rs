//! Taking records from the front of the log: the low watermark, then the files.

use std::rc::{Rc, Weak};

use pyralog_runtime::IoError;

use super::{Files, Partition, Shell};
use crate::durability::Durability;
use crate::ids::{Offset, Timestamp};
use crate::manifest::Manifest;
use crate::partition::{AppendError, Closed, Phase, TruncateError};
#[cfg(doc)]
use crate::retention::Life;
use crate::segment::{advisory_names, segment_name};
use crate::segment_file::{self, SegmentFile, lacks_space};

impl Partition {
    /// Makes `offset` the first that can be read, and removes the segments before it. Returns the low watermark, which
    /// is higher if it was so before. Durable when it resolves; in memory, as durable as memory is. What is not synced
    /// yet is synced first, so that no offset below the low watermark is ever dealt again. Dropped midway, it has
    /// happened or not.
    ///
    /// # Errors
    /// If readers do not see that far, the partition is poisoned or closed, or the disk fails; then the low watermark
    /// is where it was, but for an error of the disk, after which a restart may find it moved.
    pub async fn truncate_before(&self, offset: Offset) -> Result<Offset, TruncateError> {
        let shell = &self.shell;
        let marks = self.watermarks();
        if offset > marks.high {
            return Err(TruncateError::OutOfRange { low: marks.low, high: marks.high });
        }
        if offset <= marks.low {
            return Ok(marks.low);
        }
        if let Some(files) = &shell.files {
            let is_synced = offset <= shell.machine.borrow().reached(Durability::Synced);
            if !is_synced {
                self.flush(Durability::Synced).await.map_err(TruncateError::Unsynced)?;
            }
            self.raise_low(files, offset).await?;
        } else {
            shell.machine.borrow_mut().truncate_memory(offset);
        }
        shell.changed.notify_all();
        Ok(self.watermarks().low)
    }

    /// Closes the segment that is written if its first record is older than [`Life::roll_age`], so that retention and
    /// compaction can take it. Resolves when that is done, or will not be; an empty segment is never closed.
    pub async fn roll_if_older(&self, now: Timestamp) {
        let shell = &self.shell;
        if !shell.machine.borrow_mut().roll_if_older(now) {
            return;
        }
        shell.work.notify_all();
        loop {
            let stepped = shell.stepped.listen();
            let is_over = {
                let machine = shell.machine.borrow();
                machine.phase() != Phase::Open || !machine.is_rolling()
            };
            if is_over {
                return;
            }
            stepped.await;
        }
    }

    /// Nothing at or above this offset goes by itself: what is not synced, the segment that is written, and what no tree
    /// that was published holds, if the log has proofs.
    #[must_use]
    pub fn removable_until(&self) -> Offset {
        let until = self.shell.machine.borrow().removable_until();
        self.proven_until().map_or(until, |proven| until.min(proven))
    }

    /// Removes the oldest segments while [`Life::retention`] is passed, and those that truncation left without a record; in
    /// memory nothing, for that has a budget and a time to live. Returns how many records went. May be dropped at any time.
    ///
    /// # Errors
    /// If the manifest cannot be written, or files not removed; these go at the next opening.
    pub async fn retain(&self, now: Timestamp) -> Result<u64, TruncateError> {
        let shell = &self.shell;
        let Some(files) = &shell.files else { return Ok(0) };
        let until = self.removable_until();
        let cut = shell.machine.borrow().retention_cut(until, now);
        let low = self.watermarks().low;
        let cut = cut.map_or(low, |cut| cut.max(low));
        if cut == low && !shell.machine.borrow().holds_gone() {
            return Ok(0);
        }
        self.raise_low(files, cut).await?;
        shell.changed.notify_all();
        Ok(cut.since(low))
    }

    /// Raises the low watermark of a partition with files to what is synced, and removes the files before it.
    async fn raise_low(&self, files: &Files, offset: Offset) -> Result<(), TruncateError> {
        let shell = &self.shell;
        self.until_proven(offset).await?;
        let Some(pass) = shell.background.enter() else {
            return Err(TruncateError::Unsynced(AppendError::Closed));
        };
        let turn = files.removing.take().await;
        let change = |manifest: &mut Manifest| {
            manifest.low = manifest.low.max(offset);
            Files::forget_remote(manifest)
        };
        let going = shell.machine.borrow().ending_by(offset);
        files.note_gone(files.update_to_free(&going, change).await?);
        let gone = shell.machine.borrow_mut().raise_low(offset);
        for closed in &gone {
            shell.remove(files, closed).await?;
        }
        drop(turn);
        drop(pass);
        Ok(())
    }
}

impl Shell {
    /// Whether the closed segment is still there, and the same.
    pub(super) fn has(&self, closed: &Closed) -> bool {
        self.machine.borrow().closed().contains(closed)
    }

    /// Removes the files of a segment that the machine does not know any more. A file that somebody still reads or
    /// writes is not recycled: another partition would write over it under their hands.
    pub(super) async fn remove(&self, files: &Files, closed: &Closed) -> Result<(), IoError> {
        files.readers.forget(closed.base);
        if let Some(keys) = self.keys.borrow().as_ref() {
            keys.forget(closed.base);
        }
        let path = files.dir.join(segment_name(closed.base));
        if files.readers.is_reading(closed.base) || files.is_written(closed.base) {
            segment_file::remove_if_there(&path).await?;
        } else {
            segment_file::discard(&path, &files.recycle).await?;
        }
        for name in advisory_names(closed.base) {
            segment_file::remove_if_there(&files.dir.join(name)).await?;
        }
        Ok(())
    }
}

impl Files {
    /// Changes the manifest so that files of these segments may go. On a full disk that is how space comes back, so it must
    /// not want for some: then what waits to be used again goes first, and the indexes of these segments, which can be made
    /// again.
    pub(super) async fn update_to_free<T>(
        &self,
        segments: &[Offset],
        change: impl Fn(&mut Manifest) -> T,
    ) -> Result<T, IoError> {
        match self.manifest.update(&change).await {
            Err(error) if lacks_space(&error) => {}
            updated => return updated,
        }
        segment_file::give_back(&self.recycle).await;
        for base in segments {
            for name in advisory_names(*base) {
                // Err: what is not gone gives no space.
                segment_file::remove_if_there(&self.dir.join(name)).await.ok();
            }
        }
        self.manifest.update(&change).await
    }

    /// Notes who may still write zeros into a segment that was rolled out of.
    pub(super) fn note_rolled(&self, base: Offset, file: &Rc<SegmentFile>) {
        let mut rolled = self.rolled.borrow_mut();
        rolled.retain(|(_, file)| file.strong_count() > 0);
        rolled.push((base, Rc::downgrade(file)));
    }

    /// Whether somebody has the segment open for writing.
    pub(super) fn is_written(&self, base: Offset) -> bool {
        let is_held =
            |(other, file): &(Offset, Weak<SegmentFile>)| *other == base && file.strong_count() > 0;
        self.rolled.borrow().iter().any(is_held)
    }
}
