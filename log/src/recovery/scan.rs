//! The scan of one segment: asks for bytes, checks groups, and applies the decision table.
//!
//! It knows no file: [`Scan::need`] says which bytes it wants next and [`Scan::supply`] takes them,
//! so the tests scan byte vectors and the shell scans files with the same code. What it finds comes
//! out as [`Event`]s in file order.

use std::collections::VecDeque;
use std::ops::Range;

use super::{Cut, Damage, Facts, Row, Stop, decide};
use crate::batch::{Batch, BatchHeader, MARK_BYTES, MARK_MAGIC, verify_header};
use crate::ids::Offset;
use crate::layout::u32_at;
use crate::limits::{APPEND_BYTES_MAX, GATHER_LARGE_BYTES, READ_BYTES_MAX};
use crate::mark::{Incarnation, Mark, MarkFlags, StampKey};
use crate::segment::FilePosition;

/// Longest group: what a gather holds, or one append.
pub(crate) const GROUP_BYTES_MAX: usize = max_of(GATHER_LARGE_BYTES, APPEND_BYTES_MAX);

const fn max_of(one: usize, other: usize) -> usize {
    if one > other { one } else { other }
}

/// Where the last recovery of the partition opened its incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The segment.
    pub(crate) segment: Offset,
    /// Marks at or behind this place are not older than the incarnation.
    pub(crate) position: FilePosition,
    /// The incarnation.
    pub(crate) incarnation: Incarnation,
}

/// What is known about a segment before it is scanned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// Base offset of the segment.
    pub(crate) segment: Offset,
    /// Stamps its marks.
    pub(crate) key: StampKey,
    /// Length of the file.
    pub(crate) file_len: u64,
    /// No segment follows.
    pub(crate) last: bool,
    /// Every record below it was on stable storage, says the next segment or the checkpoint.
    pub(crate) promised: Offset,
    /// Where to start: a mark lies there, or the stream ends.
    pub(crate) start: FilePosition,
    /// Offset of the first record at or behind `start`.
    pub(crate) start_offset: Offset,
    /// No mark at or behind `start` is older.
    pub(crate) incarnation: Incarnation,
    /// Where the last recovery opened its incarnation, if known.
    pub(crate) opening: Option<Opening>,
}

/// Bytes that the scan wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// From where.
    pub(crate) position: FilePosition,
    /// How many; fewer are supplied only where the file ends.
    pub(crate) len: usize,
}

/// What the scan found, in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A batch that is part of the log.
    Batch { header: BatchHeader, position: FilePosition },
    /// Records that were promised and cannot be read.
    Damaged(Damage),
    /// The log was ended before unfinished writes.
    Cut(Cut),
}

/// How far the stream is vouched for: everything before the place was on stable storage, says
/// somebody who must know. A mark lies there, or the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vouched {
    /// The place.
    pub(crate) position: FilePosition,
    /// Offset of the first record at or behind it.
    pub(crate) offset: Offset,
    /// No mark at or behind it is older.
    pub(crate) incarnation: Incarnation,
}

/// Where the log ends in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Where the next mark goes.
    pub(crate) position: FilePosition,
    /// The next offset.
    pub(crate) offset: Offset,
    /// The newest incarnation met.
    pub(crate) incarnation: Incarnation,
    /// At or before `position`; what lies between was read, and that is all that is known of it.
    pub(crate) vouched: Vouched,
    /// Promised records before `offset` are gone: go on in a new segment only.
    pub(crate) lost: bool,
}

/// A search for marks of ours behind a stop.
#[derive(Clone, Copy, Debug)]
struct Search {
    stop: Stop,
    /// The group at the stop, if only bodies are damaged.
    group: Option<Mark>,
    /// Where it goes on.
    at: FilePosition,
    /// The first mark found.
    first: Option<Mark>,
    /// It goes to the end of the file, because any mark there may hold a promise.
    whole: bool,
}

/// How to read a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// All of it or none.
    Strict,
    /// Batch by batch: the table said that the damaged ones are skipped.
    Salvage,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Mark,
    Group(Mark, Reading),
    Search(Search),
    Ended(End),
}

/// What the batches of a group are.
enum Checked {
    /// All as written; the offset after them.
    Whole(Offset),
    /// The headers are as written, bodies are not.
    Rotten(Offset),
    /// Not the group that its mark describes.
    Torn,
}

/// The scan. Invariant: every record in `start_offset..offset` was reported as batch or damage.
#[derive(Debug)]
pub(crate) struct Scan {
    subject: Subject,
    position: FilePosition,
    offset: Offset,
    incarnation: Incarnation,
    /// Every record below it was on stable storage, by all evidence so far.
    promised: Offset,
    /// Highest offset that any mark behind a stop speaks of.
    spoken: Offset,
    /// The last mark of ours in the file, once a search has gone through all of it.
    last_mark: Option<FilePosition>,
    /// The marks that were kept, from the last one on before which everything is vouched for. As
    /// many as the groups of one stretch between syncs.
    doubted: VecDeque<Vouched>,
    state: State,
}

impl Scan {
    /// Starts to scan.
    pub(crate) fn new(subject: Subject) -> Self {
        Self {
            subject,
            position: subject.start,
            offset: subject.start_offset,
            incarnation: subject.incarnation,
            promised: subject.promised,
            spoken: Offset::ZERO,
            last_mark: None,
            doubted: VecDeque::new(),
            state: State::Mark,
        }
    }

    /// Whether nothing has stopped it so far: all that it was given is as it was written.
    pub(super) const fn runs(&self) -> bool {
        matches!(self.state, State::Mark | State::Group(_, Reading::Strict))
    }

    /// The bytes to supply next, or where the log ends.
    pub(crate) fn need(&self) -> Result<Need, End> {
        match self.state {
            State::Mark => Ok(Need { position: self.position, len: MARK_BYTES }),
            State::Group(mark, _) => {
                let position = mark.position.plus(MARK_BYTES as u64);
                Ok(Need { position, len: mark.group_len as usize })
            }
            State::Search(search) => Ok(Need { position: search.at, len: READ_BYTES_MAX }),
            State::Ended(end) => Err(end),
        }
    }

    /// Takes the bytes that [`Self::need`] asked for and appends what they show to `events`.
    pub(crate) fn supply(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        match self.state {
            State::Mark => self.at_mark(bytes, events),
            State::Group(mark, reading) => self.at_group(&mark, reading, bytes, events),
            State::Search(search) => self.at_search(search, bytes, events),
            State::Ended(_) => {}
        }
    }

    fn at_mark(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        match self.chained(bytes) {
            Some(mark) if mark.group_len == 0 => self.keep(&mark, self.offset),
            Some(mark) if self.fits(&mark) => self.state = State::Group(mark, Reading::Strict),
            Some(_) => self.stop(Stop::Torn, None, events),
            None => self.stop(Stop::Nothing, None, events),
        }
    }

    /// The mark at the position, if it continues the chain.
    fn chained(&self, bytes: &[u8]) -> Option<Mark> {
        let mark = self.ours(bytes, self.position)?;
        let in_turn =
            mark.incarnation == self.incarnation || mark.flags.contains(MarkFlags::OPENING);
        // Records of the next segment are in the next segment.
        let inside = self.subject.last || mark.group_len == 0 || self.offset < self.promised;
        (in_turn && inside && mark.base_offset == self.offset).then_some(mark)
    }

    /// The mark at `position`, if it is of this generation and of no incarnation that was cut.
    fn ours(&self, bytes: &[u8], position: FilePosition) -> Option<Mark> {
        let mark = Mark::decode(bytes, position, self.subject.key).ok()?;
        let opening = self.subject.opening.filter(|opening| {
            opening.segment == self.subject.segment && position >= opening.position
        });
        let floor = opening.map_or(self.incarnation, |opening| opening.incarnation);
        (mark.incarnation >= floor.max(self.incarnation)).then_some(mark)
    }

    fn fits(&self, mark: &Mark) -> bool {
        mark.group_len as usize <= GROUP_BYTES_MAX
            && mark.next_position().get() <= self.subject.file_len
    }

    fn at_group(&mut self, mark: &Mark, reading: Reading, bytes: &[u8], events: &mut Vec<Event>) {
        let before = events.len();
        match self.check_group(mark, bytes, events) {
            Checked::Whole(end) => self.keep(mark, end),
            Checked::Rotten(end) if reading == Reading::Salvage => self.keep(mark, end),
            Checked::Rotten(_) => {
                events.truncate(before);
                self.stop(Stop::Rotten, Some(*mark), events);
            }
            Checked::Torn => {
                events.truncate(before);
                self.stop(Stop::Torn, None, events);
            }
        }
    }

    /// Reports the batches of a group, the damaged ones as damage.
    fn check_group(&self, mark: &Mark, bytes: &[u8], events: &mut Vec<Event>) -> Checked {
        if bytes.len() != mark.group_len as usize {
            return Checked::Torn;
        }
        let (mut offset, mut crc, mut rotten) = (mark.base_offset, 0, false);
        let mut position = mark.position.plus(MARK_BYTES as u64);
        let mut rest = bytes;
        while !rest.is_empty() {
            let Ok((batch, behind)) = Batch::split_first(rest) else { return Checked::Torn };
            let header = *batch.header();
            let chained = header.covered_from() == offset;
            if !chained || verify_header(batch.header_bytes()).is_err() {
                return Checked::Torn;
            }
            crc = crc32c::crc32c_append(crc, batch.header_bytes());
            let end = position.plus(header.total_len() as u64);
            if batch.verify().is_ok() {
                events.push(Event::Batch { header, position });
            } else {
                rotten = true;
                events.push(self.damage(position..end, offset..header.next_offset()));
            }
            (offset, position, rest) = (header.next_offset(), end, behind);
        }
        match (crc == mark.batches_crc, rotten) {
            (false, _) => Checked::Torn,
            (true, false) => Checked::Whole(offset),
            (true, true) => Checked::Rotten(offset),
        }
    }

    /// Goes on behind a group that was reported.
    fn keep(&mut self, mark: &Mark, end: Offset) {
        assert!(end >= self.offset, "the log went back from {} to {end}", self.offset);
        self.position = mark.next_position();
        self.offset = end;
        self.incarnation = mark.incarnation;
        self.promised = self.promised.max(mark.synced_offset);
        let Mark { position, base_offset: offset, incarnation, .. } = *mark;
        self.doubted.push_back(Vouched { position, offset, incarnation });
        self.vouch();
        if mark.group_len > 0 && offset < self.promised {
            self.doubted.clear(); // It was one write, so all of it was synced.
        }
        self.state = State::Mark;
    }

    /// Lets go of the marks behind which there is another with nothing but synced records before it.
    /// Marks without records need no promise of their own: a life syncs each, and writes no other
    /// mark after one that failed.
    fn vouch(&mut self) {
        while self.doubted.get(1).is_some_and(|mark| mark.offset <= self.promised) {
            self.doubted.pop_front();
        }
    }

    /// Finds out what the table has to know.
    fn stop(&mut self, stop: Stop, group: Option<Mark>, events: &mut Vec<Event>) {
        let promised = self.offset < self.promised;
        let search = |whole| {
            let at = self.position.plus(MARK_BYTES as u64);
            State::Search(Search { stop, group, at, first: None, whole })
        };
        match (promised, self.last_mark) {
            (true, _) if stop == Stop::Rotten => self.apply(stop, group, None, events),
            (true, _) => self.state = search(false),
            (false, _) if !self.subject.last => self.apply(stop, group, None, events),
            (false, None) => self.state = search(true),
            (false, Some(_)) => self.apply(stop, group, None, events),
        }
    }

    fn at_search(&mut self, mut search: Search, bytes: &[u8], events: &mut Vec<Event>) {
        for at in (0..bytes.len()).step_by(MARK_BYTES) {
            let bytes = &bytes[at..];
            if bytes.len() < MARK_BYTES || u32_at(bytes, 0) != MARK_MAGIC {
                continue;
            }
            let Some(mark) = self.later(bytes, search.at.plus(at as u64)) else { continue };
            search.first = search.first.or(Some(mark));
            self.promised = self.promised.max(mark.synced_offset);
            self.spoken = self.spoken.max(mark.base_offset);
            if !search.whole {
                break;
            }
            self.last_mark = self.last_mark.max(Some(mark.position));
        }
        let found = !search.whole && search.first.is_some();
        if found || bytes.len() < READ_BYTES_MAX {
            if search.whole {
                self.last_mark = self.last_mark.max(Some(self.position));
            }
            self.apply(search.stop, search.group, search.first, events);
        } else {
            search.at = search.at.plus(bytes.len() as u64);
            self.state = State::Search(search);
        }
    }

    /// The mark of ours behind the stop at `position`, if it can be part of this segment.
    fn later(&self, bytes: &[u8], position: FilePosition) -> Option<Mark> {
        let mark = self.ours(bytes, position)?;
        let inside = self.subject.last || mark.base_offset <= self.promised;
        (inside && mark.base_offset >= self.offset).then_some(mark)
    }

    /// Does what the table says.
    fn apply(
        &mut self,
        stop: Stop,
        group: Option<Mark>,
        first: Option<Mark>,
        events: &mut Vec<Event>,
    ) {
        let later = first.is_some() || self.last_mark.is_some_and(|last| last > self.position);
        let promised = self.offset < self.promised;
        let row = decide(Facts { stop, later, promised, last: self.subject.last });
        match (row, first, group) {
            (Row::End | Row::Leftover, ..) => self.end(false),
            (Row::CutTorn | Row::CutHole, ..) => {
                events.push(Event::Cut(Cut {
                    segment: self.subject.segment,
                    position: self.position,
                    offset: self.offset,
                    dropped_below: self.spoken.max(self.offset),
                }));
                self.end(false);
            }
            (Row::SkipBatches, _, Some(mark)) => {
                self.state = State::Group(mark, Reading::Salvage);
            }
            (Row::SkipGroups, Some(mark), _) => {
                let offsets = self.offset..mark.base_offset;
                events.push(self.damage(self.position..mark.position, offsets));
                self.position = mark.position;
                self.offset = mark.base_offset;
                self.incarnation = mark.incarnation;
                self.doubted.clear(); // All before the damage is promised; it is kept elsewhere.
                self.state = State::Mark;
            }
            (Row::LoseRest | Row::SkipGroups | Row::SkipBatches, ..) => {
                assert_eq!(row, Row::LoseRest, "the facts of {row:?} come with what it skips to");
                let end = FilePosition::new(self.subject.file_len).max(self.position);
                events.push(self.damage(self.position..end, self.offset..self.promised));
                self.offset = self.promised;
                self.end(true);
            }
        }
    }

    fn end(&mut self, lost: bool) {
        let (position, offset, incarnation) = (self.position, self.offset, self.incarnation);
        self.vouch(); // A search may have found later promises.
        let end = Vouched { position, offset, incarnation };
        let vouched = self.doubted.front().copied().unwrap_or(end);
        assert!(vouched.position <= position, "vouched for beyond the end at {position}");
        self.state = State::Ended(End { position, offset, incarnation, vouched, lost });
    }

    fn damage(&self, positions: Range<FilePosition>, offsets: Range<Offset>) -> Event {
        Event::Damaged(Damage { segment: self.subject.segment, positions, offsets })
    }
}

#[cfg(test)]
mod tests;
