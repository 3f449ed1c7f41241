//! Recovers a partition from its directory: lists, scans, quarantines, opens the new incarnation.
//!
//! Order matters here, because this may crash too. Damaged bytes are copied and listed before
//! anything is written over them; what the scan found and no promise covers is written again, on
//! stable storage, before the mark that opens the new incarnation is; the checkpoint that remembers
//! the incarnation comes last, and only then is anything served. Every step may run twice.

mod advisory;
mod again;
mod opening;
mod settle;
mod space;

use std::collections::VecDeque;
use std::path::Path;

use pyralog_runtime::file::{self, DirectFile, Sync};
use pyralog_runtime::time;

use crate::batch::{ALIGNMENT, BatchHeader, HEADER_BYTES, MARK_BYTES, verify_header};
use crate::checkpoint::Checkpoint;
use crate::ids::{Offset, Timestamp};
use crate::index::Index;
use crate::limits::{DAMAGES_MAX, READ_BYTES_MAX, RECORDS_PER_BATCH_MAX};
use crate::manifest::Manifest;
use crate::mark::{Incarnation, Mark, MarkFlags};
use crate::partition::{Closed, OpenError, PartitionConfig, Recovered};
use crate::recovery::scan::{End, Event, Opening, Scan, Subject, Vouched};
use crate::recovery::{Cut, Damage, Extent, FileRow, HeaderFound, RecoveryReport, decide_file};
use crate::segment::{
    FilePosition, SEGMENT_HEADER_BYTES, SegmentHeader, parse_segment_name, segment_name,
};
use crate::segment_file::{self, NEXT_NAME, SegmentFile, header_block};
use crate::sessions::Sessions;
pub(crate) use advisory::{Window, read_index};
use advisory::{read_checkpoint, read_damages, remove_temporary};
use settle::read_manifest;
pub(crate) use space::open;

/// Directory, beside the segments, to which damaged bytes are copied.
pub const QUARANTINE_NAME: &str = "quarantine";

/// Most bytes of one damaged range that are copied: more is not looked at by hand.
const QUARANTINE_BYTES_MAX: u64 = 64 << 20;

/// A recovered partition.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) recovered: Recovered,
    pub(crate) head: SegmentFile,
    pub(crate) opening: Opening,
    pub(crate) report: RecoveryReport,
    pub(crate) manifest: Manifest,
}

/// A segment on its way through recovery.
#[derive(Clone, Copy, Debug)]
struct Found {
    base: Offset,
    len: u64,
}

/// What the scan of one segment came to.
struct Scanned {
    end: End,
    index: Index,
    /// Largest append time of its batches; that of the log before it if it has none.
    append_max: Timestamp,
}

/// The recovery of one directory.
struct Recovery<'a> {
    config: &'a PartitionConfig,
    dir: &'a Path,
    recycle: &'a Path,
    manifest: Manifest,
    checkpoint: Option<Checkpoint>,
    segments: VecDeque<Found>,
    closed: Vec<Closed>,
    damages: Vec<Damage>,
    known_damages: usize,
    sessions: Sessions,
    /// Batches below it are not noted again: their sessions may have been forgotten for newer ones.
    sessions_known: Offset,
    append_time: Timestamp,
    incarnation: Incarnation,
    /// Offset after everything that was accounted for.
    end: Offset,
    scanned_bytes: u64,
    rewritten_bytes: u64,
    cut: Option<Cut>,
}

/// Opens the partition in `dir`, which is made if it is missing.
///
/// # Errors
/// If the file system fails, or the directory belongs to another partition.
async fn try_open(
    config: &PartitionConfig,
    dir: &Path,
    recycle: &Path,
) -> Result<Opened, OpenError> {
    let was_there = file::exists(dir).await?;
    file::create_dir_all(dir).await?;
    file::create_dir_all(recycle).await?;
    let mut recovery = Recovery::begin(config, dir, recycle).await?;
    if was_there && recovery.checkpoint.is_none() {
        // Made in a life that ended, or failed, before its name was durable. Whoever has written a
        // checkpoint had seen to that.
        again::keep_name(dir).await?;
    }
    recovery.account_for_missing_front();
    while recovery.segments.len() > 1 {
        recovery.closed_segment().await?;
    }
    recovery.newest_segment().await
}

impl<'a> Recovery<'a> {
    /// Lists the directory and reads the advisory files.
    async fn begin(
        config: &'a PartitionConfig,
        dir: &'a Path,
        recycle: &'a Path,
    ) -> Result<Self, OpenError> {
        let manifest = read_manifest(dir, config).await?;
        let entries = file::list_dir(dir).await?;
        remove_temporary(dir, &entries).await;
        let names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        let mut segments = Vec::new();
        for entry in entries {
            if let Some(base) = parse_segment_name(&entry.name) {
                segments.push(Found { base, len: entry.len });
            } else if entry.name == NEXT_NAME {
                segment_file::discard(&dir.join(NEXT_NAME), recycle).await?;
            } else if entry.name == QUARANTINE_NAME {
                let quarantine = dir.join(QUARANTINE_NAME);
                remove_temporary(&quarantine, &file::list_dir(&quarantine).await?).await;
            }
        }
        segments.sort_by_key(|segment| segment.base);
        let checkpoint = read_checkpoint(dir).await?;
        let identity = (config.log, config.partition);
        if checkpoint.as_ref().is_some_and(|found| (found.log, found.partition) != identity) {
            return Err(OpenError::Foreign { dir: dir.to_owned() });
        }
        let damages = read_damages(dir).await?;
        let known = checkpoint.as_ref();
        let mut recovery = Self {
            config,
            dir,
            recycle,
            manifest,
            known_damages: 0,
            sessions: known.map(|found| found.sessions.clone()).unwrap_or_default(),
            sessions_known: match config.extent {
                Extent::Unvouched => Offset::ZERO,
                Extent::Everything => known.map_or(Offset::ZERO, |found| found.start.offset),
            },
            append_time: known.map_or(Timestamp::MIN, |found| found.append_time),
            incarnation: known.map_or(Incarnation::default(), |found| found.incarnation),
            checkpoint,
            segments: segments.into(),
            closed: Vec::new(),
            damages,
            end: Offset::ZERO,
            scanned_bytes: 0,
            rewritten_bytes: 0,
            cut: None,
        };
        recovery.settle(&names).await?;
        recovery.known_damages = recovery.damages.len();
        Ok(recovery)
    }

    /// The first segment tells where the log begins, unless the checkpoint knows of earlier ones that
    /// are not gone by what the manifest says.
    fn account_for_missing_front(&mut self) {
        let known = self
            .checkpoint
            .as_ref()
            .map(|found| found.closed.first().map_or(found.start.segment, |closed| closed.base));
        let damaged = self.damages.first().map(|damage| damage.offsets.start);
        let first = self.segments.front().map(|segment| segment.base);
        let remote = self.manifest.remote.first().map(|remote| remote.base);
        let begin = [known, damaged, first, remote].into_iter().flatten().min().unwrap_or_default();
        let low = self.manifest.low;
        let covering = first.filter(|first| *first <= low);
        self.end = if begin < low { covering.unwrap_or(low) } else { begin };
        if let Some(first) = first {
            self.missing_until(first);
        }
    }

    /// Reports the records from what was accounted for up to `base` as lost with their file, unless they
    /// are in the object store.
    fn missing_until(&mut self, base: Offset) {
        while self.end < base {
            if let Some(remote) = self.manifest.remote_at(self.end).copied() {
                self.end = remote.end.min(base);
                self.closed.push(Closed::of_remote(&remote));
                continue;
            }
            let remote = &self.manifest.remote;
            let after = remote.get(remote.partition_point(|remote| remote.base <= self.end));
            let until = after.map_or(base, |after| after.base.min(base));
            let nowhere = FilePosition::new(0);
            let offsets = self.end..until;
            self.damaged(Damage { segment: self.end, positions: nowhere..nowhere, offsets });
            self.end = until;
        }
    }

    /// Adds a damage, unless it is known from an earlier recovery.
    fn damaged(&mut self, damage: Damage) {
        let known = |known: &Damage| {
            known.offsets.start <= damage.offsets.start
                && damage.offsets.end <= known.offsets.end
                && (!damage.offsets.is_empty() || *known == damage)
        };
        if self.damages.iter().any(known) {
            return;
        }
        tracing::error!(dir = %self.dir.display(), %damage, "damaged records");
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(damage);
        } else if let Some(last) = self.damages.last_mut() {
            last.offsets.end = last.offsets.end.max(damage.offsets.end);
        }
    }

    /// Accounts for the first segment, which is not the newest.
    async fn closed_segment(&mut self) -> Result<(), OpenError> {
        let Some(found) = self.segments.pop_front() else { return Ok(()) };
        let next = self.segments.front().map_or(found.base, |next| next.base);
        self.missing_until(found.base);
        let known = self.checkpoint.as_ref().and_then(|checkpoint| {
            checkpoint.closed.iter().find(|closed| closed.base == found.base).copied()
        });
        if let Some(known) = known
            && self.config.extent == Extent::Unvouched
            && known.end_position.get() <= found.len
            && known.end <= next
        {
            self.closed.push(known);
            self.end = known.end;
            self.missing_until(next);
            return Ok(());
        }
        let Some((file, header)) = self.open_segment(found).await? else {
            self.missing_until(next);
            return Ok(());
        };
        let scanned = self
            .scan(
                &file,
                &header,
                Subject { promised: next, last: false, ..self.whole_of(found, &header) },
            )
            .await?;
        self.close_segment(found.base, header.generation, &scanned).await?;
        file.close().await?;
        self.missing_until(next);
        Ok(())
    }

    /// Notes a scanned segment as closed, and writes its index.
    async fn close_segment(
        &mut self,
        base: Offset,
        generation: u64,
        scanned: &Scanned,
    ) -> Result<(), OpenError> {
        let closed = Closed {
            base,
            generation,
            end: scanned.end.offset,
            end_position: scanned.end.position,
            time_max: scanned.index.time_max(),
            append_max: scanned.append_max,
        };
        self.closed.push(closed);
        self.write_index(base, scanned.index.encode(generation)).await
    }

    /// Opens a segment file whose header is ours or can be mended; otherwise moves it away.
    async fn open_segment(
        &mut self,
        found: Found,
    ) -> Result<Option<(DirectFile, SegmentHeader)>, OpenError> {
        let path = self.dir.join(segment_name(found.base));
        let file = DirectFile::open(&path).await?;
        let block = file.read(0, SEGMENT_HEADER_BYTES).await?;
        let header = SegmentHeader::decode(&block);
        let state = self.judge_header(header.as_ref(), found.base);
        let generation = self.remembered_generation(found.base);
        let row = decide_file(state, generation.is_some());
        let known = generation.or(header.map(|header| header.generation));
        match (row, header, known) {
            (FileRow::Scan, Some(header), _) => Ok(Some((file, header))),
            (FileRow::Mend, _, Some(generation)) => {
                let header = self.new_header(generation, Some(found.base));
                tracing::warn!(path = %path.display(), ?state, "segment header mended");
                file.write(0, &header_block(&header), Sync::Data).await?;
                Ok(Some((file, header)))
            }
            _ => {
                let newest = self.segments.is_empty();
                let end = if newest { highest_offset(&file, found).await? } else { found.base };
                file.close().await?;
                tracing::error!(path = %path.display(), ?state, "segment moved to quarantine");
                let quarantine = self.dir.join(QUARANTINE_NAME);
                file::create_dir_all(&quarantine).await?;
                file::rename(&path, quarantine.join(segment_name(found.base))).await?;
                file::sync_dir(self.dir).await?;
                self.missing_until(end);
                Ok(None)
            }
        }
    }

    /// What the header of the file at `base` is; `None` if neither copy is sound.
    fn judge_header(&self, header: Option<&SegmentHeader>, base: Offset) -> HeaderFound {
        let Some(header) = header else { return HeaderFound::Damaged };
        let ours = (header.log, header.partition) == (self.config.log, self.config.partition);
        match header.base_offset {
            Some(found) if ours && found == base => HeaderFound::Ours,
            None if ours => HeaderFound::Unnamed,
            _ => HeaderFound::Foreign,
        }
    }

    fn remembered_generation(&self, base: Offset) -> Option<u64> {
        let checkpoint = self.checkpoint.as_ref()?;
        let closed = checkpoint.closed.iter().find(|closed| closed.base == base);
        let newest = (checkpoint.start.segment == base).then_some(checkpoint.generation);
        closed.map(|closed| closed.generation).or(newest)
    }

    fn new_header(&self, generation: u64, base_offset: Option<Offset>) -> SegmentHeader {
        SegmentHeader {
            generation,
            log: self.config.log,
            partition: self.config.partition,
            base_offset,
            epoch: self.config.epoch,
            created: Timestamp::new(time::unix_us()),
            segment_bytes: self.config.segment_bytes,
        }
    }

    /// The scan of a whole segment of which nothing is known.
    fn whole_of(&self, found: Found, header: &SegmentHeader) -> Subject {
        let checkpoint = self.checkpoint.as_ref();
        Subject {
            segment: found.base,
            key: header.key(),
            file_len: found.len,
            last: true,
            promised: self.promised(found.base),
            start: FilePosition::STREAM_START,
            start_offset: found.base,
            incarnation: Incarnation::default(),
            opening: checkpoint.map(|checkpoint| checkpoint.opening),
        }
    }

    /// What was synced says somebody who must know: the checkpoint, or whoever moved the low watermark.
    fn promised(&self, least: Offset) -> Offset {
        let checkpoint = self.checkpoint.as_ref();
        let known = checkpoint.map_or(least, |checkpoint| checkpoint.start.offset);
        known.max(self.manifest.low)
    }

    /// Scans a segment: restores sessions, makes the index, notes damages and the cut.
    async fn scan(
        &mut self,
        file: &DirectFile,
        header: &SegmentHeader,
        subject: Subject,
    ) -> Result<Scanned, OpenError> {
        let mut index = self.index_until(header, &subject).await;
        let subject = match &index {
            Some(_) => subject,
            None => Subject {
                start: FilePosition::STREAM_START,
                start_offset: subject.segment,
                incarnation: Incarnation::default(),
                ..subject
            },
        };
        let is_part = index.is_some();
        let mut index = index.take().unwrap_or_else(|| Index::new(subject.segment));
        // Append times never go back, so the last one is the largest.
        let mut append_max = if is_part { self.append_time } else { Timestamp::MIN };
        let (mut scan, mut events) = (Scan::new(subject), Vec::new());
        let mut window = Window::default();
        let end = loop {
            let need = match scan.need() {
                Ok(need) => need,
                Err(end) => break end,
            };
            let bytes = window.fetch(file, need.position, need.len).await?;
            scan.supply(&bytes, &mut events);
            for event in events.drain(..) {
                if let Event::Batch { header, .. } = &event {
                    append_max = append_max.max(header.owner.append_time);
                }
                self.note(event, &mut index);
            }
            pyralog_runtime::yield_if_needed().await;
        };
        self.scanned_bytes += window.read_bytes;
        self.incarnation = self.incarnation.max(end.incarnation);
        self.end = end.offset;
        self.quarantine(file, subject.segment).await?;
        Ok(Scanned { end, index, append_max })
    }

    /// The index file of the segment up to where the scan starts; `None` if it starts at its start
    /// anyway or there is no such file, so that it has to.
    async fn index_until(&self, header: &SegmentHeader, subject: &Subject) -> Option<Index> {
        if subject.start == FilePosition::STREAM_START {
            return None;
        }
        let mut index = read_index(self.dir, header.generation, subject.segment).await?;
        if index.end_offset() < subject.start_offset {
            return None;
        }
        index.cut(subject.start_offset, subject.start);
        Some(index)
    }

    fn note(&mut self, event: Event, index: &mut Index) {
        match event {
            Event::Batch { header, position } => {
                index.observe(&header, position);
                if header.owner.base_offset >= self.sessions_known {
                    self.sessions.restore(&header);
                }
                self.append_time = self.append_time.max(header.owner.append_time);
            }
            Event::Damaged(damage) => self.damaged(damage),
            Event::Cut(cut) => self.cut = Some(cut),
        }
    }

    /// Copies the damaged bytes of a segment to the quarantine, once.
    async fn quarantine(&self, file: &DirectFile, segment: Offset) -> Result<(), OpenError> {
        let quarantine = self.dir.join(QUARANTINE_NAME);
        for damage in &self.damages[self.known_damages.min(self.damages.len())..] {
            let (start, end) = (damage.positions.start.get(), damage.positions.end.get());
            if damage.segment != segment || start == end {
                continue;
            }
            let path = quarantine.join(format!("{segment:020}-{start}-{end}.bin"));
            if file::exists(&path).await? {
                continue;
            }
            file::create_dir_all(&quarantine).await?;
            let (mut bytes, stop) = (Vec::new(), end.min(start + QUARANTINE_BYTES_MAX));
            let mut at = start;
            while at < stop {
                let len = usize::try_from(stop - at).unwrap_or(READ_BYTES_MAX).min(READ_BYTES_MAX);
                let piece = file.read(at, len).await?;
                if piece.is_empty() {
                    break;
                }
                bytes.extend_from_slice(&piece);
                at += piece.len() as u64;
            }
            file::write_small_atomic(&path, bytes).await?;
        }
        Ok(())
    }

    /// Accounts for the newest segment and opens the incarnation there, or in a new one.
    async fn newest_segment(mut self) -> Result<Opened, OpenError> {
        let Some(found) = self.segments.pop_front() else {
            return self.continue_in_new_segment(true).await;
        };
        self.missing_until(found.base);
        let Some((file, header)) = self.open_segment(found).await? else {
            return self.continue_in_new_segment(false).await;
        };
        let subject = self.newest_subject(found, &header);
        let clean = self.clean_end(&file, &header, &subject).await?;
        let is_clean = clean.is_some();
        let scanned = match clean {
            Some(scanned) => scanned,
            None => self.scan(&file, &header, subject).await?,
        };
        if scanned.end.lost {
            let end = End { offset: scanned.index.end_offset(), ..scanned.end };
            let Scanned { index, append_max, .. } = scanned;
            let offset = end.offset;
            let promised = self.end;
            self.close_segment(found.base, header.generation, &Scanned { end, index, append_max })
                .await?;
            file.close().await?;
            assert!(offset <= promised, "the end went back");
            return self.continue_in_new_segment(false).await;
        }
        self.sessions.roll_back(self.end);
        self.save_damages().await?;
        let mark_end = scanned.end.position.plus(MARK_BYTES as u64);
        let head = SegmentFile::new(file, header, mark_end.block_end().get())?;
        self.write_again(&head, subject, &scanned.end).await?;
        self.open_incarnation(head, scanned, is_clean).await
    }

    /// The scan of the newest segment starts where the checkpoint says, if it knows this segment.
    fn newest_subject(&self, found: Found, header: &SegmentHeader) -> Subject {
        let whole = self.whole_of(found, header);
        match &self.checkpoint {
            Some(checkpoint)
                if self.config.extent == Extent::Unvouched
                    && checkpoint.start.segment == found.base
                    && checkpoint.generation == header.generation
                    && checkpoint.start.position.get() <= found.len =>
            {
                Subject {
                    start: checkpoint.start.position,
                    start_offset: checkpoint.start.offset,
                    incarnation: checkpoint.incarnation,
                    ..whole
                }
            }
            _ => whole,
        }
    }

    /// The end that the checkpoint says the partition was closed at, if its mark is there, its index
    /// is, and nothing was written since.
    async fn clean_end(
        &mut self,
        file: &DirectFile,
        header: &SegmentHeader,
        subject: &Subject,
    ) -> Result<Option<Scanned>, OpenError> {
        let said = self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.clean);
        if !said || subject.start == FilePosition::STREAM_START {
            return Ok(None);
        }
        let before = FilePosition::new(subject.start.get() - MARK_BYTES as u64);
        let bytes = file.read(before.get(), 2 * MARK_BYTES).await?;
        let next = bytes.get(MARK_BYTES..).unwrap_or_default();
        let sealed = Mark::decode(&bytes, before, header.key()).is_ok_and(|mark| {
            mark.flags.contains(MarkFlags::CLEAN)
                && mark.incarnation == subject.incarnation
                && mark.base_offset == subject.start_offset
        });
        if !sealed || Mark::decode(next, subject.start, header.key()).is_ok() {
            return Ok(None);
        }
        let Some(index) = self.index_until(header, subject).await else { return Ok(None) };
        let Subject { start: position, start_offset: offset, incarnation, .. } = *subject;
        self.end = offset;
        let vouched = Vouched { position, offset, incarnation };
        let end = End { position, offset, incarnation, vouched, lost: false };
        Ok(Some(Scanned { end, index, append_max: self.append_time }))
    }
}

/// Offset after the last record that any sealed batch header in the file speaks of: without the
/// generation nothing in it can be trusted, but offsets that may have been dealt are not dealt again.
async fn highest_offset(file: &DirectFile, found: Found) -> Result<Offset, OpenError> {
    let plausible = found.len / 64 * RECORDS_PER_BATCH_MAX as u64;
    let bound = found.base.checked_add(plausible).unwrap_or(Offset::MAX);
    let (mut highest, mut at) = (found.base, SEGMENT_HEADER_BYTES as u64);
    loop {
        let bytes = file.read(at, READ_BYTES_MAX + HEADER_BYTES).await?;
        for start in (0..bytes.len().min(READ_BYTES_MAX)).step_by(ALIGNMENT) {
            let Ok(header) = BatchHeader::parse(&bytes[start..]) else { continue };
            let sealed = verify_header(&bytes[start..]).is_ok();
            if sealed && header.covered_from() >= found.base && header.next_offset() <= bound {
                highest = highest.max(header.next_offset());
            }
        }
        if bytes.len() <= READ_BYTES_MAX {
            return Ok(highest);
        }
        at += READ_BYTES_MAX as u64;
        pyralog_runtime::yield_if_needed().await;
    }
}
