//! The end of a recovery: opens the new incarnation and remembers it.

use pyralog_runtime::buffer::BufferMut;
use pyralog_runtime::file::{self, Sync};
use pyralog_runtime::rng;

use super::{Opened, Recovery, Scanned};
use crate::batch::{BatchHeader, MARK_BYTES};
use crate::checkpoint::{CHECKPOINT_NAME, Checkpoint, DAMAGED_NAME, Start, encode_damages};
use crate::ids::{Offset, Timestamp};
use crate::mark::{Mark, MarkFlags};
use crate::partition::{AppendTimes, Head, OpenError, Recovered};
use crate::recovery::RecoveryReport;
use crate::recovery::scan::Opening;
use crate::segment::{FilePosition, SEGMENT_HEADER_BYTES, index_name};
use crate::segment_file::{self, SegmentFile, lacks_space, remove_if_there};

impl Recovery<'_> {
    /// Writes and syncs the mark that opens the new incarnation, then the checkpoint.
    pub(super) async fn open_incarnation(
        mut self,
        head: SegmentFile,
        scanned: Scanned,
        clean: bool,
    ) -> Result<Opened, OpenError> {
        let (Scanned { end, index, append_max }, header) = (scanned, *head.header());
        self.incarnation = self.incarnation.next();
        let mark = Mark {
            position: end.position,
            group_len: 0,
            batches_crc: 0,
            base_offset: end.offset,
            synced_offset: end.offset,
            incarnation: self.incarnation,
            flags: MarkFlags::OPENING,
            time: self.append_time.max(Timestamp::ZERO),
        };
        let block = end.position.block_start();
        let before = head.file().read(block.get(), end.position.in_block()).await?;
        let mut buffer = BufferMut::with_capacity(SEGMENT_HEADER_BYTES);
        buffer.extend_from_slice(&before);
        buffer.extend_from_slice(&mark.encode(header.key()));
        buffer.pad_to(SEGMENT_HEADER_BYTES);
        let position = end.position.plus(MARK_BYTES as u64);
        let carry = buffer.as_slice()[..before.len() + MARK_BYTES].to_vec();
        let carry = if position.in_block() == 0 { Vec::new() } else { carry };
        head.write(block, &buffer.freeze(), Sync::Data).await?;
        let opening = Opening {
            segment: header.base_offset.unwrap_or_default(),
            position: end.position,
            incarnation: self.incarnation,
        };
        let mut times = None;
        if index.end_offset() > opening.segment {
            let first = first_appended(&head, opening.segment).await?;
            // Of two guesses the one that lets the segment age.
            let first = first.unwrap_or_else(|| header.created.min(append_max));
            times = Some(AppendTimes { first, last: append_max });
        }
        let place = Head { segment: opening.segment, position, index, opens: false, times };
        self.finish(head, place, carry, (opening, clean)).await
    }

    /// Makes a new segment at the end: the first of the log, or because the newest is not usable.
    pub(super) async fn continue_in_new_segment(
        mut self,
        first: bool,
    ) -> Result<Opened, OpenError> {
        let promised = self.promised(self.end);
        self.missing_until(promised);
        self.sessions.roll_back(self.end);
        self.incarnation = self.incarnation.next();
        self.save_damages().await?;
        let header = self.new_header(rng::entropy_u64(), None);
        let prepared = segment_file::prepare(self.dir, self.recycle, &header).await?;
        let head = segment_file::name(self.dir, prepared, self.end).await?;
        let opening = Opening {
            segment: self.end,
            position: FilePosition::STREAM_START,
            incarnation: self.incarnation,
        };
        let clean = first && self.checkpoint.is_none();
        let place = Head::new(self.end);
        self.finish(head, place, Vec::new(), (opening, clean)).await
    }

    /// Writes an index, unless there is no space: it is made again when it is needed.
    pub(super) async fn write_index(&self, base: Offset, index: Vec<u8>) -> Result<(), OpenError> {
        let path = self.dir.join(index_name(base));
        match file::write_small_atomic(&path, index).await {
            Err(error) if lacks_space(&error) => {
                // What is there is of before, and its space is needed.
                remove_if_there(&path).await?;
                Ok(())
            }
            written => Ok(written?),
        }
    }

    /// Lists what was found damaged, before anything is written over it.
    pub(super) async fn save_damages(&mut self) -> Result<(), OpenError> {
        self.damages.sort_by_key(|damage| (damage.offsets.start, damage.positions.start));
        if self.damages.len() > self.known_damages {
            let path = self.dir.join(DAMAGED_NAME);
            file::write_small_atomic(path, encode_damages(&self.damages)).await?;
        }
        Ok(())
    }

    /// Writes the checkpoint of the new incarnation and hands everything over.
    async fn finish(
        mut self,
        head: SegmentFile,
        place: Head,
        carry: Vec<u8>,
        (opening, clean): (Opening, bool),
    ) -> Result<Opened, OpenError> {
        let generation = head.header().generation;
        let start = Start { segment: place.segment, position: place.position, offset: self.end };
        if place.position > FilePosition::STREAM_START {
            self.write_index(place.segment, place.index.encode(generation)).await?;
        }
        let low = self.low(place.segment);
        let report = RecoveryReport {
            clean,
            segments: self.closed.len() as u64 + 1,
            scanned_bytes: self.scanned_bytes,
            rewritten_bytes: self.rewritten_bytes,
            cut: self.cut.take(),
            damaged_new: (self.damages.len() - self.known_damages) as u64,
            damaged: self.damages.clone(),
            low,
            end: self.end,
            incarnation: self.incarnation,
        };
        let checkpoint = Checkpoint {
            log: self.config.log,
            partition: self.config.partition,
            incarnation: self.incarnation,
            opening,
            clean: false,
            append_time: self.append_time,
            generation,
            start,
            closed: self.closed.clone(),
            sessions: self.sessions.clone(),
        };
        file::write_small_atomic(self.dir.join(CHECKPOINT_NAME), checkpoint.encode()).await?;
        self.settled().await?;
        let recovered = Recovered {
            head: place,
            generation,
            key: head.header().key(),
            end: self.end,
            carry,
            closed: self.closed,
            damages: self.damages,
            sessions: self.sessions,
            incarnation: self.incarnation,
            append_time: self.append_time,
            clean: false,
            low,
        };
        Ok(Opened { recovered, head, opening, report, manifest: self.manifest })
    }

    /// First offset that can be asked for: what is damaged or in the object store counts as there.
    fn low(&self, head: Offset) -> Offset {
        let first = self.closed.first().map_or(head, |closed| closed.base);
        let damaged = self.damages.first().map_or(first, |damage| damage.offsets.start);
        let remote = self.manifest.remote.first().map_or(first, |remote| remote.base);
        first.min(damaged).min(remote).max(self.manifest.low)
    }
}

/// When the first batch of the segment was appended, if it lies where it should. When the segment was made says nothing: its
/// file may have been prepared long before, by a clock that was set since.
async fn first_appended(
    head: &SegmentFile,
    segment: Offset,
) -> Result<Option<Timestamp>, OpenError> {
    let start = FilePosition::STREAM_START;
    let block = head.file().read(start.get(), SEGMENT_HEADER_BYTES).await?;
    // Behind a mark, or several if lives ended before they wrote a batch; both lie at multiples of the length of a mark.
    let places = (0..block.len()).step_by(MARK_BYTES);
    let mut headers = places.filter_map(|at| BatchHeader::parse(&block[at..]).ok());
    let first = headers.find(|header| header.covered_from() == segment);
    Ok(first.map(|header| header.owner.append_time))
}
