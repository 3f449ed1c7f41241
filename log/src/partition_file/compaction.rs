//! Runs compaction: reads the closed segments, writes what stays, and swaps.
//!
//! A swap may end anywhere. What is to take the place of others is complete, synced, and under a name that recovery throws
//! away; then the manifest says that it counts; then it gets its name, and the others go; then the checkpoint knows it, and the
//! manifest forgets the swap. Readers that have an old file open go on in it: a file that is read is not recycled, and who
//! fails because a segment went meanwhile asks again.
//!
//! It reads files only. The tail may still hold what an earlier run has taken away, and to write that again would undo it.

mod swap;

use std::ops::{ControlFlow, Range};

use pyralog_runtime::buffer::Slice;
use pyralog_runtime::{IoError, file, rng, time, yield_if_needed};

use super::{Files, Partition, Shell};
use crate::batch::{Batch, Decoder, Flags, Items, Rows, Thinner, seal_behind_gap};
use crate::compaction::map::OffsetMap;
use crate::compaction::plan::{Facts, Plan, Progress, Work, groups, plan, work};
use crate::compaction::sift::{Sift, Stays, Tally};
use crate::compaction::{self, CompactionStats, PROGRESS_NAME, Policy};
use crate::durability::Durability;
use crate::ids::{Offset, Timestamp};
use crate::limits::{PREALLOCATE_STEP_MAX, READ_BYTES_MAX, SMALL_FILE_BYTES_MAX};
use crate::manifest::SWAP_NAME;
use crate::pace::Pace;
use crate::partition::{Closed, FilePlan, Phase, ReadError};
use crate::segment_file;
use crate::segment_writer::{SegmentWriteError, SegmentWriter, Written};

/// Why a run of compaction ended early. What it had swapped until then stays swapped.
#[derive(Debug)]
#[non_exhaustive]
pub enum CompactError {
    /// A segment cannot be read. Records that are damaged are not compacted away: segments from there on stay as they are.
    Read(ReadError),
    /// What stays could not be written.
    Write(SegmentWriteError),
    /// The file system fails.
    Io(IoError),
    /// What is written beside the segments that it replaces would not leave enough space to appends.
    NoSpace {
        /// Bytes that have to be free.
        needed: u64,
        /// Bytes that are.
        free: u64,
    },
}

impl std::fmt::Display for CompactError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => write!(formatter, "not compacted: {error}"),
            Self::Write(error) => write!(formatter, "what stays was not written: {error}"),
            Self::Io(error) => error.fmt(formatter),
            Self::NoSpace { needed, free } => write!(
                formatter,
                "not compacted: {free} bytes of the disk are free and {needed} have to be; free space, and the next round goes on"
            ),
        }
    }
}

impl std::error::Error for CompactError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::Write(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::NoSpace { .. } => None,
        }
    }
}

impl From<IoError> for CompactError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl From<ReadError> for CompactError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<SegmentWriteError> for CompactError {
    fn from(error: SegmentWriteError) -> Self {
        Self::Write(error)
    }
}

/// What a partition remembers of its compaction.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// How far it has come, once the file was read.
    progress: Option<Progress>,
    stats: CompactionStats,
    /// How often it was stopped.
    stops: u64,
}

/// One run. All of it may be dropped at any await but for a swap.
struct Run<'a> {
    shell: &'a Shell,
    files: &'a Files,
    policy: &'a Policy,
    pace: &'a Pace,
    /// [`Memory::stops`] when it began.
    stops: u64,
    decoder: Decoder,
    thinner: Thinner,
    /// A batch on its way to the new segment.
    batch: Vec<u8>,
}

/// How a segment or a group ended.
enum Ended {
    /// It was gone through.
    Through,
    /// Its segments went meanwhile, or it was stopped, or the partition closes: enough for now.
    Stopped,
}

impl Partition {
    /// Takes the records with a key of which there are newer ones out of the closed segments, and tombstones whose time is
    /// over; offsets stay as they are. Does nothing if it is not worth it yet, and for a partition in memory. Who calls it
    /// again meanwhile waits. Not to be dropped midway: then the partition has to be opened again.
    ///
    /// # Errors
    /// If records cannot be read or written; what readers see is right in any case.
    pub async fn compact(&self, policy: &Policy, pace: &Pace) -> Result<(), CompactError> {
        let shell = &*self.shell;
        let Some(files) = &shell.files else { return Ok(()) };
        let Some(pass) = shell.background.enter() else { return Ok(()) };
        let stops = shell.compaction.borrow().stops;
        let _turn = files.compacting.take().await;
        let (decoder, thinner) = (Decoder::new(), Thinner::default());
        let mut run =
            Run { shell, files, policy, pace, stops, decoder, thinner, batch: Vec::new() };
        let outcome = run.all_passes().await;
        drop(pass);
        outcome
    }

    /// Has the run under way end before its next read, because compaction was switched off or altered. A swap that was begun
    /// is ended, and what was swapped before stays so.
    pub fn stop_compaction(&self) {
        self.shell.compaction.borrow_mut().stops += 1;
    }

    /// What compaction has done.
    #[must_use]
    pub fn compaction_stats(&self) -> CompactionStats {
        self.shell.compaction.borrow().stats
    }
}

impl Run<'_> {
    /// Goes on until nothing is dirty, or it is not worth it.
    async fn all_passes(&mut self) -> Result<(), CompactError> {
        self.shell.settle_swap(self.files).await?;
        let mut progress = self.shell.read_progress(self.files).await;
        let mut is_first = true;
        while let Some(plan) = self.plan(progress, is_first) {
            is_first = false;
            let Some(done) = self.pass(&plan, progress).await? else { return Ok(()) };
            let is_over = done.clean >= plan.dirty.end;
            progress = done;
            self.shell.write_progress(self.files, &progress).await?;
            if is_over {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What to do next. Once begun, a run goes on to the end of what is dirty.
    fn plan(&self, progress: Progress, is_first: bool) -> Option<Plan> {
        let machine = self.shell.machine.borrow();
        let manifest = self.files.manifest.get();
        let damaged = machine.damages().iter().map(|damage| damage.segment).min();
        let synced = machine.reached(Durability::Synced);
        let facts = Facts {
            closed: machine.closed(),
            low: machine.watermarks().low,
            from: manifest.remote.last().map_or(Offset::ZERO, |remote| remote.end),
            until: synced.min(damaged.unwrap_or(Offset::MAX)),
            progress,
            now: Timestamp::new(time::unix_us()),
        };
        let policy =
            if is_first { *self.policy } else { Policy { dirty_percent: 0, ..*self.policy } };
        let Work { bytes, dirty_bytes } = work(&policy, &facts);
        let mut memory = self.shell.compaction.borrow_mut();
        (memory.stats.bytes, memory.stats.dirty_bytes) = (bytes, dirty_bytes);
        memory.stats.clean = progress.clean;
        plan(&policy, &facts)
    }

    /// One map, and one way through all that it can say something about. `None` if it has to stop.
    async fn pass(
        &mut self,
        plan: &Plan,
        before: Progress,
    ) -> Result<Option<Progress>, CompactError> {
        let Some((map, end)) = self.fill(plan).await? else { return Ok(None) };
        let remembered = self.shell.machine.borrow().sessions().batches();
        let mut sift = Sift::new((&map, end), plan.expires, &remembered);
        let known = plan.segments.partition_point(|closed| closed.base < end);
        let segment_bytes = self.shell.machine.borrow().settings().segment_bytes;
        for group in groups(&plan.segments[..known], segment_bytes) {
            let group = &plan.segments[group];
            if let Ended::Stopped = self.group(group, &mut sift).await? {
                return Ok(None);
            }
        }
        let Tally { superseded, tombstones, oldest_tombstone } = sift.tally;
        let mut memory = self.shell.compaction.borrow_mut();
        memory.stats.passes += 1;
        memory.stats.removed_records += superseded;
        memory.stats.removed_tombstones += tombstones;
        let ran = Timestamp::new(time::unix_us());
        (memory.stats.ran, memory.stats.clean) = (ran, end);
        Ok(Some(Progress { clean: end.max(before.clean), oldest_tombstone, ran }))
    }

    /// The newest offsets of the keys of the dirty part, as many as fit, and where what they are of ends. Half of the memory
    /// at most goes to tombstones of the clean part whose time is over.
    async fn fill(&mut self, plan: &Plan) -> Result<Option<(OffsetMap, Offset)>, CompactError> {
        let first = plan.segments.first().map_or(plan.dirty.start, |closed| closed.base);
        let from = if plan.clears_tombstones { first } else { plan.dirty.start };
        let mut key = [0; 32];
        for part in key.chunks_mut(8) {
            part.copy_from_slice(&rng::entropy_u64().to_le_bytes());
        }
        let mut map = OffsetMap::new(key, self.policy.memory_bytes, plan.dirty.end.since(from));
        let mut end = plan.dirty.end;
        for closed in plan.segments.iter().filter(|closed| closed.end > from) {
            let is_clean = |offset: Offset| offset < plan.dirty.start;
            let ended = self
                .each_batch(closed, from, |batch, rows| {
                    let header = batch.header();
                    let Some(rows) = rows.filter(|_| header.flags == Flags::NONE) else {
                        return Ok(ControlFlow::Continue(()));
                    };
                    for row in rows.iter() {
                        let Some(key) = row.key else { continue };
                        if is_clean(row.offset) {
                            let is_due = header.owner.append_time < plan.expires;
                            if row.value.is_none() && is_due && map.len() < map.len_max() / 2 {
                                map.insert(map.hash(key), row.offset);
                            }
                        } else if !map.insert(map.hash(key), row.offset) {
                            end = row.offset;
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                    Ok(ControlFlow::Continue(()))
                })
                .await?;
            match ended {
                Ended::Stopped => return Ok(None),
                Ended::Through if end < plan.dirty.end => break,
                Ended::Through => {}
            }
        }
        Ok(Some((map, end)))
    }

    /// Shows the batches of a segment from an offset on, in order, until somebody has seen enough. `rows`: unless the body
    /// is none that a reader could open.
    async fn each_batch(
        &mut self,
        closed: &Closed,
        from: Offset,
        mut show: impl FnMut(&Batch<'_>, Option<&Rows<'_>>) -> Result<ControlFlow<()>, CompactError>,
    ) -> Result<Ended, CompactError> {
        let low = self.shell.machine.borrow().watermarks().low;
        let mut next = closed.base.max(from).max(low);
        while next < closed.end {
            let Some((slices, offsets)) = self.read(closed, next).await? else {
                return Ok(Ended::Stopped);
            };
            for batch in slices.iter().flat_map(|slice| Items::new(slice).batches()) {
                let batch = batch.map_err(SegmentWriteError::from)?;
                let rows = self.decoder.rows(&batch).ok();
                if show(&batch, rows.as_ref())?.is_break() {
                    return Ok(Ended::Through);
                }
                yield_if_needed().await;
            }
            next = offsets.end;
        }
        Ok(Ended::Through)
    }

    /// Whether it is to end.
    fn is_stopped(&self) -> bool {
        let is_open = self.shell.machine.borrow().phase() == Phase::Open;
        !is_open || self.shell.compaction.borrow().stops != self.stops
    }

    /// The batches at an offset of a segment. `None` if it is gone, or the run is to end.
    async fn read(
        &self,
        closed: &Closed,
        from: Offset,
    ) -> Result<Option<(Vec<Slice>, Range<Offset>)>, CompactError> {
        if self.is_stopped() {
            return Ok(None);
        }
        let (segment, limit) = (closed.base, closed.end);
        let plan = FilePlan { segment, closed: Some(*closed), from, limit, start: None };
        self.pace.take(READ_BYTES_MAX as u64).await;
        if self.is_stopped() {
            return Ok(None);
        }
        let read = self.shell.read_file(self.files, &plan, (READ_BYTES_MAX, None)).await;
        if !self.shell.has(closed) {
            return Ok(None);
        }
        let (slices, offsets) = read?;
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        self.shell.compaction.borrow_mut().stats.read_bytes += bytes as u64;
        Ok(Some((slices, offsets)))
    }

    /// Goes through neighbours that become one segment; alone and with nothing to remove, a segment stays as it is.
    async fn group(
        &mut self,
        group: &[Closed],
        sift: &mut Sift<'_>,
    ) -> Result<Ended, CompactError> {
        let before = sift.tally;
        if let [alone] = group {
            let last = last_of(group);
            let mut is_touched = false;
            let ended = self
                .each_batch(alone, alone.base, |batch, rows| {
                    let stays =
                        rows.map_or(Stays::Whole, |rows| sift.judge(batch.header(), rows, last));
                    is_touched = stays != Stays::Whole;
                    Ok(if is_touched { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                })
                .await?;
            if matches!(ended, Ended::Stopped) || !is_touched {
                return Ok(ended);
            }
            sift.tally = before;
        }
        let rewritten = self.rewrite(group, sift).await;
        let is_named = self.files.manifest.get().swap.is_some();
        if rewritten.is_err() && !is_named {
            // It may be the disk that is full. Err: the next run removes it.
            segment_file::remove_if_there(&self.files.dir.join(SWAP_NAME)).await.ok();
        }
        rewritten
    }

    /// Puts one segment in the place of neighbours.
    async fn rewrite(
        &mut self,
        group: &[Closed],
        sift: &mut Sift<'_>,
    ) -> Result<Ended, CompactError> {
        self.require_space(group).await?;
        let Some(written) = self.write(group, sift).await? else {
            segment_file::remove_if_there(&self.files.dir.join(SWAP_NAME)).await?;
            return Ok(Ended::Stopped);
        };
        let is_swapped = self.shell.swap(self.files, group, written).await?;
        Ok(if is_swapped { Ended::Through } else { Ended::Stopped })
    }

    /// Refuses to begin what would take the last space from appends: nobody waits for compaction.
    async fn require_space(&self, group: &[Closed]) -> Result<(), CompactError> {
        let most: u64 = group.iter().map(|closed| closed.end_position.get()).sum();
        let needed = most + PREALLOCATE_STEP_MAX;
        let free = file::free_space(&self.files.dir).await?;
        if free < needed { Err(CompactError::NoSpace { needed, free }) } else { Ok(()) }
    }

    /// Writes what stays of neighbours as one segment. `None` if one of them went meanwhile, or the run is to end.
    async fn write(
        &mut self,
        group: &[Closed],
        sift: &mut Sift<'_>,
    ) -> Result<Option<Written>, CompactError> {
        let path = self.files.dir.join(SWAP_NAME);
        let mut writer =
            SegmentWriter::create(&path, &self.shell.replacement(self.files, group)).await?;
        let last = last_of(group);
        for closed in group {
            let low = self.shell.machine.borrow().watermarks().low;
            let mut next = closed.base.max(low);
            while next < closed.end {
                let Some((slices, offsets)) = self.read(closed, next).await? else {
                    return Ok(None);
                };
                for batch in slices.iter().flat_map(|slice| Items::new(slice).batches()) {
                    let batch = batch.map_err(SegmentWriteError::from)?;
                    self.write_batch(&batch, (sift, last), &mut writer).await?;
                    yield_if_needed().await;
                }
                next = offsets.end;
            }
        }
        let written = writer.finish(&self.files.dir).await?;
        self.shell.compaction.borrow_mut().stats.written_bytes += written.closed.end_position.get();
        Ok(Some(written))
    }

    /// Writes what stays of a batch.
    async fn write_batch(
        &mut self,
        batch: &Batch<'_>,
        (sift, last): (&mut Sift<'_>, Offset),
        writer: &mut SegmentWriter,
    ) -> Result<(), CompactError> {
        let Self { decoder, thinner, batch: out, .. } = self;
        let header = batch.header();
        let gap = header.owner.base_offset.since(writer.end());
        let rows = decoder.rows(batch).ok();
        let is_thin = match &rows {
            None => false,
            Some(rows) => match sift.judge(header, rows, last) {
                Stays::Nothing => return Ok(()),
                Stays::Whole => false,
                Stays::Some(keep) => thinner.thin((header, rows), |row| keep[row], out),
            },
        };
        if !is_thin {
            if let Some(rows) = &rows {
                sift.stays_whole(header, rows);
            }
            out.clear();
            out.extend_from_slice(batch.bytes());
        }
        seal_behind_gap(out, header.owner, gap);
        self.pace.take(self.batch.len() as u64).await;
        writer.push(&self.batch).await?;
        Ok(())
    }
}

/// The record that a group ends with.
fn last_of(group: &[Closed]) -> Offset {
    let end = group.last().map_or(0, |closed| closed.end.get());
    Offset::new(end.saturating_sub(1))
}

impl Shell {
    /// How far compaction has come; nowhere if nobody can say.
    async fn read_progress(&self, files: &Files) -> Progress {
        if let Some(progress) = self.compaction.borrow().progress {
            return progress;
        }
        let path = files.dir.join(PROGRESS_NAME);
        let bytes = file::read_small(&path, SMALL_FILE_BYTES_MAX).await.unwrap_or_default();
        let progress = compaction::decode(&bytes, self.log, self.partition).unwrap_or_default();
        self.compaction.borrow_mut().progress = Some(progress);
        progress
    }

    /// Remembers how far it has come.
    async fn write_progress(&self, files: &Files, progress: &Progress) -> Result<(), IoError> {
        self.compaction.borrow_mut().progress = Some(*progress);
        let bytes = compaction::encode(self.log, self.partition, progress);
        file::write_small_atomic(&files.dir.join(PROGRESS_NAME), bytes).await
    }
}
