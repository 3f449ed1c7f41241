//! Reads: from the tail without copying, else from the segment files.

mod source;

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use pyralog_runtime::buffer::Slice;
use pyralog_runtime::file::{self, DirectFile};

use super::{Files, OpenSegments, Partition, Shell};
use crate::ids::{Offset, Timestamp};
use crate::index::{Index, Start};
use crate::limits::{CLOSED_SEGMENTS_OPEN_MAX, FETCH_READ_BYTES_MAX, READ_BYTES_MAX};
use crate::mark::StampKey;
use crate::partition::walk::{Known, Target, Walk, Walked};
use crate::partition::{Closed, FilePlan, Located, Phase, Read, ReadError, Watermarks};
use crate::recovery::Damage;
use crate::recovery::scan::Subject;
use crate::recovery_file::{Window, read_index};
use crate::segment::{FilePosition, SEGMENT_HEADER_BYTES, SegmentHeader, index_name, segment_name};
use crate::segment_file::SegmentFile;
use crate::tier::RemoteFile;
pub(super) use source::OpenSegment;
use source::{Gone, Handle, Source};

/// Least bytes of one read of a file: an interval of the index.
const READ_BYTES_MIN: usize = 64 << 10;

/// Places where readers stopped, at which they probably go on.
const CURSORS_MAX: usize = 16;

/// What readers share: open segments, most recent last, and where they stopped.
#[derive(Debug, Default)]
pub(super) struct Readers {
    open: RefCell<OpenSegments>,
    /// Closed segments that somebody is reading now.
    reading: RefCell<Vec<Offset>>,
    cursors: RefCell<Vec<Cursor>>,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    segment: Offset,
    offset: Offset,
    position: FilePosition,
}

/// Somebody reads this segment: its file is not given away meanwhile.
pub(super) struct Reading<'a> {
    readers: &'a Readers,
    segment: Offset,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut reading = self.readers.reading.borrow_mut();
        if let Some(at) = reading.iter().position(|segment| *segment == self.segment) {
            reading.swap_remove(at);
        }
    }
}

impl Partition {
    /// Reads from the batch that contains `from`: at least one whole batch and otherwise at most
    /// `bytes_max` bytes, and never beyond the high watermark; nothing if `from` is the high watermark.
    ///
    /// # Errors
    /// If the offset is out of range, damaged, or the file cannot be read.
    pub async fn read(&self, from: Offset, bytes_max: usize) -> Result<Read, ReadError> {
        self.read_telling(from, bytes_max, None).await
    }

    /// As [`Self::read`]. What is damaged on the disk is read from the object store, if that has it. If it reads a file, `tell` hears where it will end as soon as the disk is
    /// done, before checksums are verified, and says whether it has begun the next read: so the disk
    /// is kept busy meanwhile. It may end before that, if the disk has damaged something.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_telling(
        &self,
        from: Offset,
        bytes_max: usize,
        tell: Option<&dyn Fn(Offset) -> bool>,
    ) -> Result<Read, ReadError> {
        let read = self.read_once(from, bytes_max, tell).await;
        let (shell, hurt) = (&self.shell, self.hurt_by(from, &read));
        if let (Some(hurt), Some(files)) = (hurt, &shell.files)
            && shell.can_heal(files, Some(hurt))
            && shell.heal(Some(hurt)).await
        {
            return self.read_once(from, bytes_max, tell).await;
        }
        read
    }

    /// The closed segment of an offset whose file is not what it should be, if that is why it was not read.
    fn hurt_by(&self, from: Offset, read: &Result<Read, ReadError>) -> Option<Offset> {
        read.as_ref().err().filter(|error| error.is_of_the_disk())?;
        let machine = self.shell.machine.borrow();
        let holds = |closed: &&Closed| closed.base <= from && from < closed.end;
        machine.closed().iter().find(holds).map(|closed| closed.base)
    }

    async fn read_once(
        &self,
        from: Offset,
        bytes_max: usize,
        tell: Option<&dyn Fn(Offset) -> bool>,
    ) -> Result<Read, ReadError> {
        let shell = &*self.shell;
        let mut slices = Vec::new();
        let (located, watermarks) = shell.locate(from, bytes_max, &mut slices)?;
        let (first_offset, next_offset, is_from_file) = match located {
            Located::OutOfRange => {
                return Err(ReadError::OutOfRange { low: watermarks.low, high: watermarks.high });
            }
            Located::Damaged(offsets) => return Err(ReadError::Damaged { offsets }),
            Located::AtEnd => (from, from, false),
            Located::InTail(first, next) => (first, next, false),
            Located::InFile(plan) => {
                let files = shell.files.as_ref().ok_or(ReadError::Closed)?;
                let read = shell.read_file(files, &plan, (bytes_max, tell)).await;
                let is_stale = read.is_err() && !shell.machine.borrow().has(&plan);
                if is_stale {
                    // The segment went while it was read, or was replaced: the offset is elsewhere, or gone.
                    return Box::pin(self.read_once(from, bytes_max, tell)).await;
                }
                let (pieces, offsets) = read?;
                slices = pieces;
                (offsets.start, offsets.end, true)
            }
        };
        let read = Read { slices, first_offset, next_offset, watermarks, is_from_file };
        shell.machine.borrow_mut().note_read(read.len(), is_from_file);
        Ok(read)
    }

    /// Offset of the first batch that readers see with a record created at or after `time`; the high
    /// watermark if there is none. Create times are the producers'. The batch may begin with older
    /// records.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn offset_at_time(&self, time: Timestamp) -> Result<Offset, ReadError> {
        let shell = &*self.shell;
        let low = shell.machine.borrow().watermarks().low;
        if let Some(files) = &shell.files
            && let Some(offset) = shell.time_in_files(files, time, low).await?
        {
            return Ok(offset.max(low));
        }
        let mut machine = shell.machine.borrow_mut();
        let (low, high) = (machine.watermarks().low, machine.watermarks().high);
        Ok(machine.first_in_tail(time).map_or(high, |offset| offset.clamp(low, high)))
    }
}

fn damaged(offsets: Range<Offset>) -> ReadError {
    ReadError::Damaged { offsets }
}

impl Shell {
    /// Where the records are, and how far the partition has come.
    fn locate(
        &self,
        from: Offset,
        bytes_max: usize,
        slices: &mut Vec<Slice>,
    ) -> Result<(Located, Watermarks), ReadError> {
        let mut machine = self.machine.borrow_mut();
        if machine.phase() == Phase::Closed {
            return Err(ReadError::Closed);
        }
        Ok((machine.locate(from, bytes_max, slices), machine.watermarks()))
    }

    pub(super) async fn read_file(
        &self,
        files: &Files,
        plan: &FilePlan,
        (bytes_max, tell): (usize, Option<&dyn Fn(Offset) -> bool>),
    ) -> Result<(Vec<Slice>, Range<Offset>), ReadError> {
        let _reading = files.readers.reading(plan.segment);
        let (source, start) = self.open_source(files, plan).await?;
        // To open it an index may have been made, and damage found.
        let plan = &self.machine.borrow().heeding_damages(plan).map_err(damaged)?;
        let start = files.readers.cursor(plan).unwrap_or(start);
        let known = self.known(files, &source, plan);
        let len = bytes_max.clamp(READ_BYTES_MIN, FETCH_READ_BYTES_MAX);
        let mut is_again = false;
        loop {
            let mut walk = Walk::new(plan, start, Target::Offset(bytes_max), known.clone());
            let (at, end) = match source.walk(&mut walk, (len, tell)).await? {
                Gone::Found { slices, offsets, end } => {
                    let (segment, offset) = (plan.segment, offsets.end);
                    if self.machine.borrow().has(plan) {
                        files.readers.remember(Cursor { segment, offset, position: end });
                    }
                    return Ok((slices, offsets));
                }
                Gone::Stopped(Walked::Damaged(at, end)) => (at, end),
                Gone::Stopped(_) => (start, None),
            };
            if !source.may_be_better(&mut is_again) {
                return Err(self.damaged(&source, plan, (at, end)));
            }
        }
    }

    /// The file of a plan and where to start in it.
    async fn open_source(
        &self,
        files: &Files,
        plan: &FilePlan,
    ) -> Result<(Source, Start), ReadError> {
        if let Some(closed) = &plan.closed {
            let segment = self.open_closed(files, closed).await?;
            let start = segment.index().start_of(plan.from);
            Ok((Source::Closed(segment), start))
        } else {
            let beginning = Start { position: FilePosition::STREAM_START, offset: plan.segment };
            let start = plan.start.unwrap_or(beginning);
            Ok((Source::Head(Rc::clone(&files.head.borrow())), start))
        }
    }

    /// A closed segment, from those that are open or newly opened.
    async fn open_closed(
        &self,
        files: &Files,
        closed: &Closed,
    ) -> Result<Rc<OpenSegment>, ReadError> {
        if let Some(segment) = files.readers.find(closed.base) {
            return Ok(segment);
        }
        let handle = if let Some(remote) = self.remote_of(files, closed)? {
            Handle::Remote(remote)
        } else {
            let path = files.dir.join(segment_name(closed.base));
            let file = DirectFile::open(path).await?;
            if !is_of_generation(&file, closed).await? {
                // A swap is under way, and it has the file already: once it is over, who reads asks again.
                drop(files.removing.take().await);
                return Err(damaged(closed.base..closed.base));
            }
            Handle::Own(Box::new(file))
        };
        let index = self.index_of(files, &handle, closed).await?;
        let segment = Rc::new(OpenSegment::new(handle, index));
        if self.has(closed) {
            files.readers.keep(closed.base, Rc::clone(&segment));
        }
        Ok(segment)
    }

    /// The index of a closed segment: its file, its object if it is in the store, or made from the segment.
    async fn index_of(
        &self,
        files: &Files,
        handle: &Handle,
        closed: &Closed,
    ) -> Result<Index, ReadError> {
        let fits = |index: &Index| index.end_offset() <= closed.end && covers(index, closed);
        let local = read_index(&files.dir, closed.generation, closed.base).await;
        if let Some(index) = local.filter(fits) {
            return Ok(index);
        }
        let stored = match handle {
            Handle::Remote(remote) => remote.index().await.filter(fits),
            Handle::Own(_) | Handle::Writers(_) => None,
        };
        let index = match stored {
            Some(index) => index,
            None => self.make_index(handle, closed).await?,
        };
        let path = files.dir.join(index_name(closed.base));
        if let Err(error) = file::write_small_atomic(path, index.encode(closed.generation)).await {
            tracing::warn!(%error, "index not written, made again when it is needed");
        }
        Ok(index)
    }

    /// Makes the index of a closed segment from the segment, and notes what of it is damaged.
    async fn make_index(&self, handle: &Handle, closed: &Closed) -> Result<Index, ReadError> {
        let (mut index, mut damages) = self.scan_handle(handle, closed).await?;
        if let (Handle::Remote(remote), false) = (handle, damages.is_empty()) {
            remote.note_unsound();
            remote.forget();
            (index, damages) = self.scan_handle(handle, closed).await?;
        }
        for damage in damages.into_iter().filter(|_| self.has(closed)) {
            self.machine.borrow_mut().note_damage(damage);
        }
        Ok(index)
    }

    /// Reads all of a closed segment from where it is.
    async fn scan_handle(
        &self,
        handle: &Handle,
        closed: &Closed,
    ) -> Result<(Index, Vec<Damage>), ReadError> {
        let mut window = Window::default();
        let fetch = async |position: FilePosition, len: usize| match handle {
            Handle::Own(file) => Ok(window.fetch(file, position, len).await?),
            _ => handle.read(position.get(), len).await,
        };
        self.scan_closed(closed, None, fetch).await
    }

    /// What a scan of a closed segment has to know.
    pub(super) fn subject(&self, closed: &Closed) -> Subject {
        Subject {
            segment: closed.base,
            key: self.key(closed),
            file_len: closed.end_position.get(),
            last: false,
            promised: closed.end,
            start: FilePosition::STREAM_START,
            start_offset: closed.base,
            incarnation: crate::mark::Incarnation::default(),
            opening: None,
        }
    }

    /// What a walk through the file of a plan has to know.
    fn known(&self, files: &Files, source: &Source, plan: &FilePlan) -> Known {
        let key = match (source, &plan.closed) {
            (Source::Closed(_), Some(closed)) => self.key(closed),
            (Source::Head(head), _) => head.header().key(),
            (Source::Closed(_), None) => unreachable!("the plan of a closed segment says so"),
        };
        let machine = self.machine.borrow();
        let ours = machine.damages().iter().filter(|damage| damage.segment == plan.segment);
        let holes = ours.filter(|damage| !damage.positions.is_empty()).cloned().collect();
        Known { key, opening: files.opening.get(), holes }
    }

    /// What stamps the marks of a closed segment.
    const fn key(&self, closed: &Closed) -> StampKey {
        StampKey::new(closed.generation, self.log, self.partition)
    }

    /// A walk met what it cannot read: one batch, or everything up to the next that the index knows
    /// and readers may see.
    fn damaged(
        &self,
        source: &Source,
        plan: &FilePlan,
        (at, end): (Start, Option<Start>),
    ) -> ReadError {
        let mut machine = self.machine.borrow_mut();
        if !machine.has(plan) {
            return damaged(at.offset..at.offset); // Of a segment that is gone: who reads asks again.
        }
        let after = match source {
            Source::Head(_) => machine.head().index.entry_after(at.position),
            Source::Closed(segment) => segment.index().entry_after(at.position),
        };
        let after = after.filter(|entry| entry.offset <= plan.limit).map(|entry| entry.start());
        let from = at.offset.max(plan.from);
        // Without an end the place is met again by whoever reads on behind it.
        let (positions, offsets) = match end.or(after).filter(|end| end.offset > from) {
            Some(end) => (at.position..end.position, at.offset..end.offset),
            None => (at.position..at.position, from..plan.limit.max(from)),
        };
        let damage = Damage { segment: plan.segment, positions, offsets: offsets.clone() };
        let object = source.remote().map(RemoteFile::key);
        tracing::error!(log = %self.log, partition = %self.partition, %damage, object, "damaged records");
        machine.note_damage(damage);
        ReadError::Damaged { offsets }
    }

    /// The first batch in files with a record created at or after `time`.
    async fn time_in_files(
        &self,
        files: &Files,
        time: Timestamp,
        from: Offset,
    ) -> Result<Option<Offset>, ReadError> {
        let mut from = from;
        loop {
            let plan = self.machine.borrow().plan_of_time(time, from);
            let Some(plan) = plan else { return Ok(None) };
            match self.time_in_file(files, time, &plan).await {
                Err(_) if !self.machine.borrow().has(&plan) => {
                    from = from.max(self.machine.borrow().watermarks().low);
                }
                // All that it has since then is before the low watermark.
                Ok(None) if plan.closed.is_some() => from = plan.limit,
                found => return found,
            }
        }
    }

    /// The first batch in the file of a plan.
    async fn time_in_file(
        &self,
        files: &Files,
        time: Timestamp,
        plan: &FilePlan,
    ) -> Result<Option<Offset>, ReadError> {
        let _reading = files.readers.reading(plan.segment);
        let (source, _) = self.open_source(files, plan).await?;
        let entry = match &source {
            Source::Head(_) => self.machine.borrow().head().index.entry_of_time(time),
            Source::Closed(segment) => segment.index().entry_of_time(time),
        };
        let Some(entry) = entry.filter(|entry| entry.offset < plan.limit) else { return Ok(None) };
        let known = self.known(files, &source, plan);
        let mut is_again = false;
        loop {
            let mut walk = Walk::new(plan, entry.start(), Target::Time(time), known.clone());
            match source.walk(&mut walk, (READ_BYTES_MAX, None)).await? {
                Gone::Found { offsets, .. } => return Ok(Some(offsets.start)),
                Gone::Stopped(Walked::Damaged(at, end)) => {
                    if !source.may_be_better(&mut is_again) {
                        return Err(self.damaged(&source, plan, (at, end)));
                    }
                }
                Gone::Stopped(_) => return Ok(None),
            }
        }
    }
}

/// Whether the file is the segment that is meant, and not one that took its place. A header that is damaged says nothing.
pub(super) async fn is_of_generation(
    file: &DirectFile,
    closed: &Closed,
) -> Result<bool, pyralog_runtime::IoError> {
    let block = file.read(0, SEGMENT_HEADER_BYTES).await?;
    let header = SegmentHeader::decode(&block);
    Ok(header.is_none_or(|header| header.generation == closed.generation))
}

/// Whether an index reaches the end of its segment; damaged batches at the end are in none.
fn covers(index: &Index, closed: &Closed) -> bool {
    let missing = closed.end_position.since(index.end_position());
    missing <= crate::limits::INDEX_INTERVAL_BYTES || index.end_offset() == closed.end
}

impl Readers {
    fn find(&self, base: Offset) -> Option<Rc<OpenSegment>> {
        let mut open = self.open.borrow_mut();
        let at = open.iter().position(|(found, _)| *found == base)?;
        let entry = open.remove(at)?;
        let segment = Rc::clone(&entry.1);
        open.push_back(entry);
        Some(segment)
    }

    /// Notes that somebody reads a segment, until what is returned is dropped.
    pub(super) fn reading(&self, segment: Offset) -> Reading<'_> {
        self.reading.borrow_mut().push(segment);
        Reading { readers: self, segment }
    }

    /// Whether somebody reads the segment.
    pub(super) fn is_reading(&self, segment: Offset) -> bool {
        self.reading.borrow().contains(&segment)
    }

    /// Closes a segment that is gone, or was replaced.
    pub(super) fn forget(&self, base: Offset) {
        self.open.borrow_mut().retain(|(found, _)| *found != base);
        self.cursors.borrow_mut().retain(|cursor| cursor.segment != base);
    }

    /// Keeps a segment open that the writer has rolled out of.
    pub(super) fn take_over(
        &self,
        base: Offset,
        file: Rc<SegmentFile>,
        index: Index,
    ) -> Rc<OpenSegment> {
        let segment = Rc::new(OpenSegment::new(Handle::Writers(file), index));
        self.keep(base, Rc::clone(&segment));
        segment
    }

    /// Keeps a segment open; the one that was not used for longest goes.
    fn keep(&self, base: Offset, segment: Rc<OpenSegment>) {
        let mut open = self.open.borrow_mut();
        open.retain(|(found, _)| *found != base);
        if open.len() >= CLOSED_SEGMENTS_OPEN_MAX {
            open.pop_front();
        }
        open.push_back((base, segment));
    }

    /// Where the batch at the plan's offset starts, if a reader stopped there.
    fn cursor(&self, plan: &FilePlan) -> Option<Start> {
        let cursors = self.cursors.borrow();
        let found = cursors
            .iter()
            .find(|cursor| cursor.segment == plan.segment && cursor.offset == plan.from);
        found.map(|cursor| Start { position: cursor.position, offset: cursor.offset })
    }

    fn remember(&self, cursor: Cursor) {
        let mut cursors = self.cursors.borrow_mut();
        if cursors.len() >= CURSORS_MAX {
            cursors.remove(0);
        }
        cursors.push(cursor);
    }
}
