//! Looks at the files of a partition from outside, with the eyes of the next recovery, and changes nothing.
//!
//! Recovery needs a core, the lock of the data directory, and leave to write. Whoever only wants to know has none of
//! these: `pyralog inspect` runs beside a server, on a copy, on a disk that may only be read. So this is the walk of
//! recovery ([`recovery`](crate::recovery)) without its shell: [`PartitionFacts`] holds what the small files say,
//! [`SegmentScan`] says which bytes of a segment it wants next and takes them. Where they come from is the caller's
//! business. The same table decides, so what is called damage here is what a recovery that reads everything would
//! quarantine, and what is called cut is what it would cut.
//!
//! Rejected: a walk of its own over marks and batches. It would be shorter, and it would be a second opinion about
//! what a segment is.

use std::ops::Range;

use crate::batch::BatchHeader;
use crate::checkpoint::{Checkpoint, decode_damages};
use crate::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
use crate::layout::FormatError;
use crate::limits::DAMAGES_MAX;
use crate::manifest::Manifest;
use crate::mark::{Incarnation, StampKey};
use crate::recovery::scan::{Event, Scan, Subject};
use crate::recovery::{Cut, Damage, FileRow, HeaderFound, decide_file};
use crate::segment::{FilePosition, SegmentHeader};

/// What the small files of a partition's directory say.
#[derive(Debug)]
pub struct PartitionFacts {
    checkpoint: Result<Option<Checkpoint>, FormatError>,
    damages: Result<Vec<Damage>, FormatError>,
    manifest: Result<Option<Manifest>, FormatError>,
}

/// What a checkpoint says, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFacts {
    /// Whose it is.
    pub log: LogId,
    /// Whose it is.
    pub partition: PartitionId,
    /// The life of the partition that wrote it.
    pub incarnation: Incarnation,
    /// The partition was closed; nothing has to be scanned.
    pub clean: bool,
    /// Append time of the last record; [`Timestamp::MIN`] if there was none.
    pub append_time: Timestamp,
    /// Base offset of the newest segment.
    pub segment: Offset,
    /// Everything before this place of the newest segment was on stable storage: a scan starts here.
    pub position: FilePosition,
    /// The offset at that place.
    pub offset: Offset,
    /// Segments before the newest that it vouches for: base offset, offset and position of the end. In order.
    pub closed: Vec<(Offset, Offset, FilePosition)>,
    /// Producer sessions that it knows.
    pub sessions: usize,
}

/// A segment file of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFound {
    /// The base offset in its name.
    pub base: Offset,
    /// Its length.
    pub len: u64,
    /// Base offset of the segment after it; `None` for the newest.
    pub next: Option<Offset>,
}

impl PartitionFacts {
    /// Reads the files; `None` stands for one that is missing.
    #[must_use]
    pub fn read(
        checkpoint: Option<&[u8]>,
        damaged: Option<&[u8]>,
        manifest: Option<&[u8]>,
    ) -> Self {
        let decode = |bytes| Manifest::decode(bytes).map(|decoded| decoded.manifest);
        Self {
            checkpoint: checkpoint.map(Checkpoint::decode).transpose(),
            damages: damaged.map_or(Ok(Vec::new()), decode_damages),
            manifest: manifest.map(decode).transpose(),
        }
    }

    /// The manifest; `None` if there is none, as in a young partition.
    ///
    /// # Errors
    /// Why it cannot be used; the partition does not open then.
    pub fn manifest(&self) -> Result<Option<&Manifest>, FormatError> {
        self.manifest.as_ref().map(Option::as_ref).map_err(|error| *error)
    }

    /// The records before the `first` segment that is there, if some should be: the manifest says from where on.
    #[must_use]
    pub fn missing_front(&self, first: Offset) -> Option<Damage> {
        // A segment without anything beside it was put there by hand.
        self.usable()?;
        let manifest = self.manifest().ok()?;
        let low = manifest.map_or(Offset::ZERO, |manifest| manifest.low);
        let is_remote = manifest.is_some_and(|manifest| manifest.remote_at(low).is_some());
        let nowhere = FilePosition::new(0);
        (low < first && !is_remote).then_some(Damage {
            segment: low,
            positions: nowhere..nowhere,
            offsets: low..first,
        })
    }

    /// Where the segment at `base` ends at the latest, if `next` is the next one that is there: those between them may be
    /// in the object store.
    fn end_at_most(&self, base: Offset, next: Offset) -> Offset {
        let remote = self.manifest().ok().flatten().map_or(&[][..], |manifest| &manifest.remote);
        let between = remote.iter().map(|remote| remote.base).filter(|remote| *remote > base);
        between.min().map_or(next, |remote| remote.min(next))
    }

    /// The checkpoint; `None` if there is none.
    ///
    /// # Errors
    /// Why it cannot be used; everything is scanned then.
    pub fn checkpoint(&self) -> Result<Option<CheckpointFacts>, FormatError> {
        let checkpoint = self.checkpoint.as_ref().map_err(|error| *error)?.as_ref();
        Ok(checkpoint.map(|found| CheckpointFacts {
            log: found.log,
            partition: found.partition,
            incarnation: found.incarnation,
            clean: found.clean,
            append_time: found.append_time,
            segment: found.start.segment,
            position: found.start.position,
            offset: found.start.offset,
            closed: found
                .closed
                .iter()
                .map(|closed| (closed.base, closed.end, closed.end_position))
                .collect(),
            sessions: found.sessions.len(),
        }))
    }

    /// The damages that are known, in order of offset; none if there is no list.
    ///
    /// # Errors
    /// Why the list cannot be used.
    pub fn damages(&self) -> Result<&[Damage], FormatError> {
        self.damages.as_deref().map_err(|error| *error)
    }

    fn usable(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref().ok().and_then(Option::as_ref)
    }

    /// Starts the walk through a segment, of whose file `block` is the first [`SEGMENT_HEADER_BYTES`]. It must be of
    /// `owner` if that is known.
    ///
    /// [`SEGMENT_HEADER_BYTES`]: crate::segment::SEGMENT_HEADER_BYTES
    #[must_use]
    pub fn scan(
        &self,
        found: SegmentFound,
        block: &[u8],
        owner: Option<(LogId, PartitionId)>,
    ) -> SegmentScan {
        let header = SegmentHeader::decode(block);
        let checkpoint = self.usable();
        let owner = checkpoint.map(|known| (known.log, known.partition)).or(owner);
        let state = judge(header.as_ref(), found.base, owner);
        let remembered = checkpoint.and_then(|known| {
            let closed = known.closed.iter().find(|closed| closed.base == found.base);
            let newest = (known.start.segment == found.base).then_some(known.generation);
            closed.map(|closed| closed.generation).or(newest)
        });
        let row = decide_file(state, remembered.is_some());
        let generation = remembered.or(header.map(|header| header.generation));
        let owner = owner.or(header.map(|header| (header.log, header.partition)));
        let key = match (row, header, generation, owner) {
            (FileRow::Scan, Some(header), ..) => Some(header.key()),
            (FileRow::Mend, _, Some(generation), Some((log, partition))) => {
                Some(StampKey::new(generation, log, partition))
            }
            _ => None,
        };
        let promised = match found.next {
            Some(next) => self.end_at_most(found.base, next),
            None => checkpoint.map_or(found.base, |checkpoint| checkpoint.start.offset),
        };
        let scan = key.map(|key| {
            Scan::new(Subject {
                segment: found.base,
                key,
                file_len: found.len,
                last: found.next.is_none(),
                promised,
                start: FilePosition::STREAM_START,
                start_offset: found.base,
                incarnation: Incarnation::default(),
                opening: checkpoint.map(|checkpoint| checkpoint.opening),
            })
        });
        SegmentScan::new(found, (header, state, row), scan)
    }
}

/// What a header is for the segment at `base`.
fn judge(
    header: Option<&SegmentHeader>,
    base: Offset,
    owner: Option<(LogId, PartitionId)>,
) -> HeaderFound {
    let Some(header) = header else { return HeaderFound::Damaged };
    let ours = owner.is_none_or(|owner| owner == (header.log, header.partition));
    match header.base_offset {
        Some(found) if ours && found == base => HeaderFound::Ours,
        None if ours => HeaderFound::Unnamed,
        _ => HeaderFound::Foreign,
    }
}

/// What a walk through a segment came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The file.
    pub found: SegmentFound,
    /// Its header; `None` if neither copy of it is sound.
    pub header: Option<SegmentHeader>,
    /// What the header is.
    pub state: HeaderFound,
    /// What recovery would do with the file.
    pub row: FileRow,
    /// Sound batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub batch_bytes: u64,
    /// Smallest and largest append time, if there is a batch.
    pub appended: Option<(Timestamp, Timestamp)>,
    /// Largest create time, if there is a batch.
    pub created_max: Option<Timestamp>,
    /// Epochs of the first and last batch, if there is one.
    pub epochs: Option<(Epoch, Epoch)>,
    /// Offset after the last record.
    pub end: Offset,
    /// Where the stream ends.
    pub end_position: FilePosition,
    /// Promised records that cannot be read, in order; at most [`DAMAGES_MAX`].
    pub damages: Vec<Damage>,
    /// Where recovery would end the log before unfinished writes.
    pub cut: Option<Cut>,
}

impl Survey {
    fn observe(&mut self, header: &BatchHeader) {
        let (epoch, time) = (header.owner.epoch, header.owner.append_time);
        self.batches += 1;
        self.records += u64::from(header.record_count);
        self.batch_bytes += header.total_len() as u64;
        self.appended = match self.appended {
            Some((first, last)) => Some((first.min(time), last.max(time))),
            None => Some((time, time)),
        };
        self.created_max = self.created_max.max(Some(header.max_create_time));
        self.epochs = Some((self.epochs.map_or(epoch, |(first, _)| first), epoch));
    }

    fn damaged(&mut self, damage: Damage) {
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(damage);
        } else if let Some(last) = self.damages.last_mut() {
            last.offsets.end = last.offsets.end.max(damage.offsets.end);
        }
    }
}

/// Something that the walk met, in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A batch whose checksums are right.
    Batch {
        /// Its header.
        header: BatchHeader,
        /// Where it lies.
        position: FilePosition,
    },
    /// Promised records that cannot be read.
    Damage(Damage),
}

/// A walk through a segment. Wants bytes with [`Self::need`], takes them with [`Self::supply`], and ends with
/// [`Self::survey`].
#[derive(Debug)]
pub struct SegmentScan {
    survey: Survey,
    /// `None` if nothing in the file can be told from a former life.
    scan: Option<Scan>,
    events: Vec<Event>,
}

impl SegmentScan {
    fn new(
        found: SegmentFound,
        (header, state, row): (Option<SegmentHeader>, HeaderFound, FileRow),
        scan: Option<Scan>,
    ) -> Self {
        let mut survey = Survey {
            found,
            header,
            state,
            row,
            batches: 0,
            records: 0,
            batch_bytes: 0,
            appended: None,
            created_max: None,
            epochs: None,
            end: found.base,
            end_position: FilePosition::STREAM_START,
            damages: Vec::new(),
            cut: None,
        };
        if scan.is_none() {
            let positions = FilePosition::new(0)..FilePosition::new(found.len);
            let offsets = found.base..found.next.unwrap_or(found.base);
            survey.damaged(Damage { segment: found.base, positions, offsets });
        }
        Self { survey, scan, events: Vec::new() }
    }

    /// The bytes to supply next, as positions in the file; `None` at the end of the walk. Fewer may be supplied only
    /// where the file ends.
    #[must_use]
    pub fn need(&self) -> Option<Range<u64>> {
        let need = self.scan.as_ref()?.need().ok()?;
        let start = need.position.get();
        Some(start..start + need.len as u64)
    }

    /// Takes the bytes that [`Self::need`] asked for, and tells `visit` what they show.
    pub fn supply(&mut self, bytes: &[u8], visit: &mut dyn FnMut(&Seen)) {
        let Some(scan) = &mut self.scan else { return };
        scan.supply(bytes, &mut self.events);
        for event in self.events.drain(..) {
            match event {
                Event::Batch { header, position } => {
                    self.survey.observe(&header);
                    visit(&Seen::Batch { header, position });
                }
                Event::Damaged(damage) => {
                    visit(&Seen::Damage(damage.clone()));
                    self.survey.damaged(damage);
                }
                Event::Cut(cut) => self.survey.cut = Some(cut),
            }
        }
        if let Err(end) = scan.need() {
            (self.survey.end, self.survey.end_position) = (end.offset, end.position);
        }
    }

    /// What the walk came to so far.
    #[must_use]
    pub fn survey(self) -> Survey {
        self.survey
    }
}

#[cfg(test)]
mod tests;
