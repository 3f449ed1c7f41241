//! The swap: one new segment takes the place of its neighbours.

use std::ops::Range;
use std::rc::Rc;

use pyralog_runtime::{IoError, file};

use super::super::background::checkpoint_now;
use super::super::{Files, Shell};
use crate::ids::Offset;
use crate::manifest::{Manifest, SWAP_NAME, Swap};
use crate::mark::Incarnation;
use crate::partition::Closed;
use crate::recovery::scan::Opening;
use crate::segment::{FilePosition, index_name, parse_segment_name, segment_name};
use crate::segment_file;
use crate::segment_writer::{NewSegment, Written};

impl Shell {
    /// What takes the place of neighbours. Its marks are of the life that readers expect there: of this one if it began in
    /// one of them or before, else of the one before.
    pub(super) fn replacement(&self, files: &Files, group: &[Closed]) -> NewSegment {
        let (base, end) = bounds(group);
        let opening = files.opening.get();
        let current = opening.incarnation.get();
        let is_ours = end > opening.segment;
        let incarnation =
            Incarnation::new(if is_ours { current } else { current.saturating_sub(1) });
        let (log, partition, epoch) = (self.log, self.partition, self.config.epoch);
        let segment_bytes = self.machine.borrow().settings().segment_bytes;
        NewSegment { log, partition, epoch, base, incarnation, segment_bytes }
    }

    /// Puts what was written in the place of the group. False if one of that went meanwhile, or is in the object store now: then
    /// the new file is thrown away.
    ///
    /// # Errors
    /// If the file system fails. The partition serves what its files hold; what is unfinished the next run finishes, or
    /// a recovery.
    pub(super) async fn swap(
        &self,
        files: &Files,
        group: &[Closed],
        written: Written,
    ) -> Result<bool, IoError> {
        let staged = files.dir.join(SWAP_NAME);
        // Nobody takes segments from the front meanwhile.
        let turn = files.removing.take().await;
        if !group.iter().all(|closed| self.has(closed)) {
            segment_file::remove_if_there(&staged).await?;
            return Ok(false);
        }
        let Written { closed, index } = written;
        let (first, end) = bounds(group);
        assert!((closed.base, closed.end) == (first, end), "a swap that loses offsets");
        let swap = Swap { first, end, generation: closed.generation };
        let is_named = files.manifest.update(|manifest| {
            // The manifest would say that the object is what the new segment is. From here on no upload gets into it.
            let is_stored = has_stored(manifest, first..end);
            manifest.swap = (!is_stored).then_some(swap);
            !is_stored
        });
        if !is_named.await? {
            segment_file::remove_if_there(&staged).await?;
            return Ok(false);
        }
        file::rename(&staged, &files.dir.join(segment_name(first))).await?;
        // Between the two nobody else runs: who opens the file finds what the machine says.
        self.take_swapped(files, group, closed);
        file::sync_dir(&files.dir).await?;
        let bytes = index.encode(closed.generation);
        if let Err(error) =
            file::write_small_atomic(&files.dir.join(index_name(first)), bytes).await
        {
            tracing::warn!(%error, "index not written, made again when it is needed");
        }
        for gone in &group[1..] {
            self.remove(files, gone).await?;
        }
        self.finish_swap(files).await?;
        drop(turn);
        Ok(true)
    }

    /// From here on the new segment is what readers are sent to.
    fn take_swapped(&self, files: &Files, group: &[Closed], closed: Closed) {
        let opening = files.opening.get();
        if closed.base <= opening.segment && opening.segment < closed.end {
            // This life began in one of them; now it begins with the new one, whose marks are all of it.
            let position = FilePosition::STREAM_START;
            files.opening.set(Opening { segment: closed.base, position, ..opening });
        }
        self.machine.borrow_mut().replace_closed(closed);
        for gone in group {
            files.readers.forget(gone.base);
            if let Some(keys) = self.keys.borrow().as_ref() {
                keys.forget(gone.base);
            }
        }
        self.compaction.borrow_mut().stats.replaced_segments += group.len() as u64;
    }

    /// Finishes a swap that broke off, and removes what no swap names any more. For whoever has the turn to compact.
    pub(super) async fn settle_swap(&self, files: &Files) -> Result<(), IoError> {
        self.finish_swap(files).await?;
        segment_file::remove_if_there(&files.dir.join(SWAP_NAME)).await
    }

    /// Has a swap that broke off finished, if nobody compacts. Compaction may have been switched off since, and nothing is
    /// uploaded while the manifest names a swap.
    pub(in super::super) fn start_settling(self: &Rc<Self>) {
        let Some(files) = &self.files else { return };
        if files.manifest.get().swap.is_none() {
            return;
        }
        let Some(turn) = files.compacting.try_take() else { return };
        let shell = Rc::clone(self);
        self.start(async move {
            if let Some(files) = &shell.files
                && let Err(error) = shell.settle_swap(files).await
            {
                tracing::warn!(%error, "a swap that broke off is not finished yet");
            }
            drop(turn);
        });
    }

    /// Lets the manifest forget the swap, once nothing that was replaced is there or can come back, and the checkpoint knows
    /// what came of it. Also of one that broke off: whatever it had not done is done.
    async fn finish_swap(&self, files: &Files) -> Result<(), IoError> {
        let Some(swap) = files.manifest.get().swap else { return Ok(()) };
        let is_made = |closed: &Closed| closed.generation == swap.generation;
        let is_made = self.machine.borrow().closed().iter().any(is_made);
        if is_made {
            for entry in file::list_dir(&files.dir).await? {
                let base = parse_segment_name(&entry.name);
                if base.is_some_and(|base| swap.first < base && base < swap.end) {
                    segment_file::remove_if_there(&files.dir.join(&entry.name)).await?;
                }
            }
            // Before the manifest forgets why they went: what is not synced on both ends may come back.
            file::sync_dir(&files.recycle).await?;
            file::sync_dir(&files.dir).await?;
        }
        checkpoint_now(self, files).await?;
        let forget = |manifest: &mut Manifest| {
            let swap = manifest.swap.take();
            swap.map(|swap| manifest.forget_replaced(&swap)).unwrap_or_default()
        };
        files.note_gone(files.manifest.update(forget).await?);
        Ok(())
    }
}

/// Whether something of these offsets is in the object store.
fn has_stored(manifest: &Manifest, offsets: Range<Offset>) -> bool {
    manifest.remote.iter().any(|remote| remote.base < offsets.end && offsets.start < remote.end)
}

/// Where neighbours begin and end.
fn bounds(group: &[Closed]) -> (Offset, Offset) {
    let bounds = group.first().zip(group.last());
    bounds.map_or((Offset::ZERO, Offset::ZERO), |(first, last)| (first.base, last.end))
}
