//! What the manifest says, made so: a swap is finished or undone, and what is gone goes.

use std::path::Path;

use pyralog_runtime::IoErrorKind;
use pyralog_runtime::file::{self, DirectFile};

use super::{Found, Recovery};
use crate::ids::Offset;
use crate::limits::SMALL_FILE_BYTES_MAX;
use crate::manifest::{MANIFEST_NAME, Manifest, SWAP_NAME, Swap};
use crate::partition::{OpenError, PartitionConfig};
use crate::recovery::{SwapFound, SwapRow, decide_swap};
use crate::segment::{
    SEGMENT_HEADER_BYTES, SegmentHeader, advisory_names, parse_advisory_name, segment_name,
};
use crate::segment_file;

/// The manifest of the partition in `dir`; a young one if there is none. A copy that is damaged is
/// written again.
///
/// # Errors
/// If it cannot be read, neither copy is sound, or it is of another partition.
pub(super) async fn read_manifest(
    dir: &Path,
    config: &PartitionConfig,
) -> Result<Manifest, OpenError> {
    let path = dir.join(MANIFEST_NAME);
    let bytes = match file::read_small(&path, SMALL_FILE_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == IoErrorKind::NotFound => {
            return Ok(Manifest::new(config.log, config.partition));
        }
        Err(error) => return Err(error.into()),
    };
    let decoded = Manifest::decode(&bytes);
    let decoded = decoded.map_err(|error| OpenError::Manifest { path: path.clone(), error })?;
    let manifest = decoded.manifest;
    if (manifest.log, manifest.partition) != (config.log, config.partition) {
        return Err(OpenError::Foreign { dir: dir.to_owned() });
    }
    if decoded.is_hurt {
        tracing::warn!(path = %path.display(), "one copy of the manifest is damaged, written again");
        file::write_small_atomic(&path, manifest.encode()).await?;
    }
    Ok(manifest)
}

impl Recovery<'_> {
    /// Does what the manifest says, and knows of no segment that is gone. `names`: all files of the
    /// directory. May be broken off anywhere.
    pub(super) async fn settle(&mut self, names: &[String]) -> Result<(), OpenError> {
        self.settle_swap(names).await?;
        let low = self.manifest.low;
        while self.end_of_first().is_some_and(|end| end <= low)
            && let Some(found) = self.segments.pop_front()
        {
            self.remove_segment(found.base).await?;
        }
        let first = self.segments.front().map_or(low, |found| found.base.min(low));
        for name in names {
            let Some(base) = parse_advisory_name(name) else { continue };
            if base < first && self.manifest.remote_at(base).is_none() {
                segment_file::remove_if_there(&self.dir.join(name)).await?;
            }
        }
        self.damages.retain(|damage| first <= damage.segment || first < damage.offsets.end);
        self.remove_remote().await
    }

    /// Where the first segment ends at the latest, if it is not the newest. What follows it may be in the store only.
    fn end_of_first(&self) -> Option<Offset> {
        let next = self.segments.get(1)?.base;
        let base = self.segments.front()?.base;
        let remote = &self.manifest.remote;
        let stored = remote.iter().find(|remote| remote.base == base).map(|remote| remote.end);
        let after = remote.iter().find(|remote| base < remote.base).map(|remote| remote.base);
        [stored, after].into_iter().flatten().chain([next]).min()
    }

    /// Finishes the swap that the manifest names, if its segment is there, or else undoes it. The manifest
    /// forgets it when the checkpoint knows what came of it.
    async fn settle_swap(&mut self, names: &[String]) -> Result<(), OpenError> {
        let staged = self.dir.join(SWAP_NAME);
        let is_staged = names.iter().any(|name| name == SWAP_NAME);
        let Some(swap) = self.manifest.swap else {
            if is_staged {
                segment_file::discard(&staged, self.recycle).await?;
            }
            return Ok(());
        };
        let target = self.dir.join(segment_name(swap.first));
        let is_named = self.segments.iter().any(|found| found.base == swap.first);
        let found = SwapFound {
            staged: is_staged && is_of(&staged, &swap).await?,
            named: is_named && is_of(&target, &swap).await?,
        };
        let row = decide_swap(found);
        tracing::info!(dir = %self.dir.display(), ?swap, ?found, ?row, "a swap was under way");
        match row {
            SwapRow::Finish => {
                file::rename(&staged, &target).await?;
                file::sync_dir(self.dir).await?;
                self.take_swapped(&swap).await
            }
            SwapRow::Finished => self.take_swapped(&swap).await,
            SwapRow::Undo => {
                if is_staged {
                    segment_file::discard(&staged, self.recycle).await?;
                }
                Ok(())
            }
        }
    }

    /// The new segment has its name: those that it replaces go, and what was known of them.
    async fn take_swapped(&mut self, swap: &Swap) -> Result<(), OpenError> {
        let replaced = swap.first..swap.end;
        let gone: Vec<Found> = self.segments.iter().copied().collect();
        for found in gone.iter().filter(|found| replaced.contains(&found.base)) {
            if found.base != swap.first {
                self.remove_segment(found.base).await?;
            }
        }
        self.segments.retain(|found| !replaced.contains(&found.base));
        self.manifest.forget_replaced(swap);
        let file = DirectFile::open(self.dir.join(segment_name(swap.first))).await?;
        let len = file.len()?;
        file.close().await?;
        let at = self.segments.partition_point(|found| found.base < swap.first);
        self.segments.insert(at, Found { base: swap.first, len });
        if let Some(checkpoint) = &mut self.checkpoint {
            checkpoint.closed.retain(|closed| {
                !replaced.contains(&closed.base) || closed.generation == swap.generation
            });
        }
        Ok(())
    }

    /// What the manifest calls remote only goes, if the file is still there; what it calls local and is
    /// not there is remote only.
    async fn remove_remote(&mut self) -> Result<(), OpenError> {
        let mut bases: Vec<Offset> = self.segments.iter().map(|found| found.base).collect();
        let newest = bases.pop();
        for at in 0..self.manifest.remote.len() {
            let remote = self.manifest.remote[at];
            let is_there = bases.binary_search(&remote.base).is_ok();
            if is_there && !remote.is_local {
                self.remove_file(remote.base).await?;
                self.segments.retain(|found| found.base != remote.base);
            }
            let is_newest = newest == Some(remote.base);
            self.manifest.remote[at].is_local &= is_there || is_newest;
        }
        // What was damaged on this disk is read from elsewhere. If it is damaged there, too, the next reader says so.
        let remote = &self.manifest.remote;
        let is_away =
            |base: Offset| remote.iter().any(|remote| remote.base == base && !remote.is_local);
        self.damages.retain(|damage| !is_away(damage.segment));
        Ok(())
    }

    /// Removes a segment with what was made of it.
    async fn remove_segment(&self, base: Offset) -> Result<(), OpenError> {
        for name in advisory_names(base) {
            segment_file::remove_if_there(&self.dir.join(name)).await?;
        }
        self.remove_file(base).await
    }

    async fn remove_file(&self, base: Offset) -> Result<(), OpenError> {
        let path = self.dir.join(segment_name(base));
        tracing::info!(path = %path.display(), "removed: the manifest says that it is gone");
        segment_file::discard(&path, self.recycle).await?;
        Ok(())
    }

    /// The manifest once the checkpoint is written: what was under way is over.
    pub(super) async fn settled(&mut self) -> Result<(), OpenError> {
        if self.manifest.swap.take().is_some() {
            // What was moved away may come back until both ends are synced, and nobody would know why it went.
            file::sync_dir(self.recycle).await?;
            file::sync_dir(self.dir).await?;
            let path = self.dir.join(MANIFEST_NAME);
            file::write_small_atomic(path, self.manifest.encode()).await?;
        }
        Ok(())
    }
}

/// Whether the file is the segment that the swap speaks of.
async fn is_of(path: &Path, swap: &Swap) -> Result<bool, OpenError> {
    let file = DirectFile::open(path).await?;
    let block = file.read(0, SEGMENT_HEADER_BYTES).await?;
    file.close().await?;
    let header = SegmentHeader::decode(&block);
    Ok(header.is_some_and(|header| header.generation == swap.generation))
}
