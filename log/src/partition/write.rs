//! What goes to disk and when, and what follows from its success or failure.

use std::time::Duration;

use pyralog_runtime::buffer::Buffer;
use pyralog_runtime::time::Monotonic;

use super::group::{Finished, Group, Place};
use super::{Answer, AppendError, Changes, Closed, Fault, Head, Machine, Now, Phase, Waiting};
use crate::durability::Durability;
use crate::ids::{Offset, Timestamp};
use crate::index::Index;
use crate::limits::{
    IDLE_MARK_AFTER, NO_SPACE_RETRY_AFTER, TAIL_IDLE_AFTER, TAIL_IDLE_BYTES, UNSYNCED_AGE_MAX,
    UNSYNCED_BYTES_MAX,
};
use crate::mark::{Mark, MarkFlags, StampKey};
use crate::segment::FilePosition;
use crate::tail::{Span, Tail};

/// How a group is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Into the file.
    Plain,
    /// By a write that is on stable storage when it is done.
    Synced,
    /// Into the file, then sync it: bytes before it are not synced either.
    PlainThenSync,
}

/// One write of whole blocks.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) position: FilePosition,
    pub(crate) buffer: Buffer,
    pub(crate) mode: Mode,
}

/// What the shell has to do next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Write it to the segment of the head, then call [`Machine::written`] or
    /// [`Machine::write_failed`].
    Write(Write),
    /// Make the segment that starts at this offset, then call [`Machine::rolled`] or
    /// [`Machine::roll_failed`]. Everything before it is synced.
    Roll(Offset),
    /// Sync the segment of the head while writing goes on, then call [`Machine::synced`] or
    /// [`Machine::poison`].
    Sync,
}

/// The write in flight.
#[derive(Debug)]
pub(super) struct Flight {
    /// Empty for a mark alone.
    base: Offset,
    end: Offset,
    place: Place,
    end_position: FilePosition,
    synced_in_mark: Offset,
    flags: MarkFlags,
    acknowledged: bool,
    write: Write,
    /// It found no space and is to be tried again.
    again: bool,
}

impl Machine {
    /// The next thing to do, or `None` until something happens or [`Self::wakes_in`] has passed.
    pub(crate) fn poll(&mut self, now: Now) -> Option<Work> {
        match self.phase {
            Phase::Poisoned(_) | Phase::Closed => return None,
            Phase::Starved(_, retry_at) if now.monotonic < retry_at => return None,
            _ if self.is_memory() => {
                self.expire(now);
                if self.phase == Phase::Closing {
                    self.phase = Phase::Closed;
                }
                return None;
            }
            _ => {}
        }
        if let Some(flight) = &mut self.flight {
            let again = std::mem::take(&mut flight.again);
            return again.then(|| Work::Write(flight.write.clone()));
        }
        let sync_due = self.sync_due(now);
        if sync_due && self.syncing.is_none() {
            return Some(self.start_sync());
        }
        let next = self.queue.front().map(|group| group.place.segment);
        if let Some(segment) = next.or_else(|| self.idle_roll()) {
            if segment == self.head.segment {
                return Some(self.write_group());
            }
            // Marks of the next segment say that this one is on stable storage, all of it.
            if self.syncing.is_some() {
                return None;
            }
            if self.synced < self.written {
                return Some(self.start_sync());
            }
            return Some(Work::Roll(segment));
        }
        self.poll_idle(now)
    }

    /// Marks, closing and trimming: what is due when nothing gathers.
    fn poll_idle(&mut self, now: Now) -> Option<Work> {
        if self.phase == Phase::Closing {
            if self.synced < self.written {
                return self.syncing.is_none().then(|| self.start_sync());
            }
            if self.clean {
                self.phase = Phase::Closed;
                return None;
            }
            return Some(self.write_mark(MarkFlags::CLEAN));
        }
        let idle = now.monotonic.since(self.last_write);
        if idle >= TAIL_IDLE_AFTER {
            self.tail.shrink(TAIL_IDLE_BYTES as u64, self.written);
        }
        let due = self.idle_mark_due() && idle >= IDLE_MARK_AFTER;
        due.then(|| self.write_mark(MarkFlags::IDLE))
    }

    fn idle_mark_due(&self) -> bool {
        self.marked < self.synced && self.synced == self.written
    }

    /// In how long [`Self::poll`] may have something to do although nothing happens.
    pub(crate) fn wakes_in(&self, now: Now) -> Option<Duration> {
        let until = |at: Monotonic| at.since(now.monotonic);
        let pending = self.flight.is_some() || !self.queue.is_empty();
        let not_before = match self.phase {
            Phase::Poisoned(_) | Phase::Closed => return None,
            Phase::Starved(_, retry_at) if pending => return Some(until(retry_at)),
            Phase::Starved(_, retry_at) => until(retry_at),
            _ if self.is_memory() => return self.expires_in(now),
            _ if self.flight.is_some() => return None,
            _ => Duration::ZERO,
        };
        let unsynced = self.unsynced_since.filter(|_| self.syncing.is_none());
        let sync = unsynced.map(|since| until(since + UNSYNCED_AGE_MAX));
        let mark = self.idle_mark_due().then(|| until(self.last_write + IDLE_MARK_AFTER));
        let large = self.tail.held_bytes() > TAIL_IDLE_BYTES as u64;
        let trim = large.then(|| until(self.last_write + TAIL_IDLE_AFTER));
        let due = [sync, mark, trim].into_iter().flatten().min()?;
        Some(due.max(not_before))
    }

    fn sync_due(&self, now: Now) -> bool {
        let old = |since| now.monotonic.since(since) >= UNSYNCED_AGE_MAX;
        let aged = self.unsynced_since.is_some_and(old);
        let wanted = self.synced < self.sync_wanted && self.sync_wanted <= self.written;
        self.synced < self.written && (aged || wanted || self.unsynced_bytes >= UNSYNCED_BYTES_MAX)
    }

    fn start_sync(&mut self) -> Work {
        assert!(self.syncing.is_none() && self.synced < self.written, "nothing to sync");
        let Head { segment, position, .. } = self.head;
        self.syncing = Some((self.written, Place { segment, position }));
        self.unsynced_since = None;
        self.unsynced_bytes = 0;
        Work::Sync
    }

    /// Asks that everything appended so far reaches `level`. Returns the offset to wait for.
    pub(crate) fn want(&mut self, level: Durability) -> Offset {
        if level == Durability::Synced {
            self.sync_wanted = self.end;
        }
        self.end
    }

    /// Takes other settings than it was opened with. What readers see they go on seeing, whatever the new level is; what
    /// the new level lets them see they see at once.
    pub(crate) fn change(&mut self, changes: Changes) {
        let Changes { durability, segment_bytes, memory, life, tiering } = changes;
        self.settings.life = life;
        if let (Some(current), Some(memory)) = (&mut self.settings.memory, memory) {
            *current = memory;
        }
        self.seen = self.watermarks().high;
        self.settings.segment_bytes = segment_bytes;
        self.settings.tiering = tiering;
        self.settings.durability = durability;
        if durability == Durability::Memory {
            // Readers see it, which is as good as telling somebody.
            let groups = self.queue.iter_mut().map(|group| &mut group.acknowledged);
            let flight = self.flight.iter_mut().map(|flight| &mut flight.acknowledged);
            groups.chain(flight).for_each(|acknowledged| *acknowledged = true);
        }
    }

    /// Notes that somebody was told of what is not written yet and begins below `end`: lack of space
    /// takes none of it back.
    pub(super) fn acknowledge_gathered(&mut self, end: Offset) {
        for group in self.queue.iter_mut().filter(|group| group.base < end) {
            group.acknowledged = true;
        }
        if let Some(flight) = self.flight.as_mut().filter(|flight| flight.base < end) {
            flight.acknowledged = true;
        }
    }

    /// No more appends; what is pending is written, synced and marked as clean.
    pub(crate) fn close(&mut self) {
        match self.phase {
            Phase::Open => self.phase = Phase::Closing,
            Phase::Starved(..) => {
                self.phase = Phase::Closing;
                if let Some(flight) = &mut self.flight {
                    flight.again = true;
                }
            }
            Phase::Poisoned(_) => self.phase = Phase::Closed,
            Phase::Closing | Phase::Closed => {}
        }
    }

    /// Stops at once: what is pending is answered with an error, nothing more is written.
    pub(crate) fn abandon(&mut self) {
        self.answer_above(Offset::ZERO, AppendError::Closed);
        self.queue.clear();
        self.phase = Phase::Closed;
    }

    /// Finishes the group in front and puts it into flight.
    fn write_group(&mut self) -> Work {
        let group = self.queue.pop_front().expect("a group is in front");
        let flags = if self.head.opens { MarkFlags::OPENING } else { MarkFlags::NONE };
        let level = self.settings.durability.max(group.level);
        self.recent_group_bytes = group.body_len() as u64;
        self.fly(group, flags, level)
    }

    /// Puts a mark without records into flight.
    fn write_mark(&mut self, flags: MarkFlags) -> Work {
        let place = Place { segment: self.head.segment, position: self.head.position };
        let group = Group::for_file(place, self.end, 0);
        let opening = if self.head.opens { MarkFlags::OPENING } else { MarkFlags::NONE };
        self.fly(group, flags.with(opening), Durability::Synced)
    }

    fn fly(&mut self, group: Group, flags: MarkFlags, level: Durability) -> Work {
        assert!(self.flight.is_none(), "one group in flight");
        assert_eq!(group.place.position, self.head.position, "groups follow each other");
        assert_eq!(group.base, self.written, "groups are written in order");
        let mode = match level {
            Durability::Memory | Durability::Written => Mode::Plain,
            Durability::Synced if self.synced == self.written => Mode::Synced,
            Durability::Synced => Mode::PlainThenSync,
        };
        let alone = mode != Mode::Synced || self.syncing.is_none();
        assert!(alone, "a sync is out for bytes that are said to be synced");
        let mark = Mark {
            position: group.place.position,
            group_len: u32::try_from(group.body_len()).expect("a group is below 4 GiB"),
            batches_crc: group.batches_crc,
            base_offset: group.base,
            synced_offset: self.synced,
            incarnation: self.incarnation,
            flags,
            time: self.append_time.max(Timestamp::ZERO),
        };
        let (base, end, place) = (group.base, group.end, group.place);
        let (end_position, acknowledged) = (group.next_position(), group.acknowledged);
        let write = self.finish(group, &mark, mode);
        let synced_in_mark = self.synced;
        let again = false;
        self.flight = Some(Flight {
            base,
            end,
            place,
            end_position,
            synced_in_mark,
            flags,
            acknowledged,
            write: write.clone(),
            again,
        });
        (self.head.position, self.head.opens) = (end_position, false);
        Work::Write(write)
    }

    /// Makes the bytes of the write, and keeps the batches for readers.
    fn finish(&mut self, group: Group, mark: &Mark, mode: Mode) -> Write {
        let (in_tail, tail_end) = group.in_tail;
        let span = Span { base: tail_end, end: group.end, arrived: group.arrived };
        let (capacity, len) = (group.capacity(), group.body_len() - in_tail);
        let position = group.place.position.block_start();
        let copied = span.base < span.end && Tail::prefers_copy(len, capacity);
        if copied {
            self.tail.copy(span, &group.body()[in_tail..]);
        }
        let Finished { buffer, body } = group.finish(&self.carry, &mark.encode(self.key));
        if !copied && span.base < span.end {
            self.tail.share(span, buffer.slice(body.start + in_tail..body.end), capacity);
        }
        self.trim_tail();
        Write { position, buffer, mode }
    }

    /// The write in flight is done.
    pub(crate) fn written(&mut self, now: Now) {
        let flight = self.flight.take().expect("a write was in flight");
        assert_eq!(flight.base, self.written, "groups are written in order");
        let len = flight.write.buffer.len();
        let in_block = flight.end_position.in_block();
        let from_start = flight.end_position.since(flight.write.position);
        let end = usize::try_from(from_start).expect("a write fits memory");
        self.carry.clear();
        self.carry.extend_from_slice(&flight.write.buffer[end - in_block..end]);
        self.written = flight.end;
        self.marked = self.marked.max(flight.synced_in_mark);
        self.clean = flight.flags.contains(MarkFlags::CLEAN);
        self.last_write = now.monotonic;
        self.stats.written_bytes += len as u64;
        self.stats.groups += u64::from(flight.base < flight.end);
        match flight.write.mode {
            Mode::Plain => {
                self.unsynced_since.get_or_insert(now.monotonic);
                self.unsynced_bytes += len as u64;
            }
            Mode::Synced | Mode::PlainThenSync => {
                self.unsynced_since = None;
                self.unsynced_bytes = 0;
                let Place { segment, .. } = flight.place;
                let place = Place { segment, position: flight.end_position };
                if let Some(syncing) = &mut self.syncing {
                    // The sync beside it began first. Should that fail, what it covers is not on
                    // stable storage, whatever this one said: only both together tell.
                    *syncing = (self.written, place);
                } else {
                    (self.synced, self.synced_position) = (self.written, place.position);
                }
            }
        }
        self.stats.syncs += u64::from(flight.write.mode == Mode::PlainThenSync);
        if matches!(self.phase, Phase::Starved(..)) {
            self.phase = Phase::Open;
        }
        self.answer_reached();
    }

    /// The sync in flight is done.
    pub(crate) fn synced(&mut self) {
        let (end, place) = self.syncing.take().expect("a sync was in flight");
        self.stats.syncs += 1;
        if end > self.synced && place.segment == self.head.segment {
            self.synced = end;
            self.synced_position = place.position;
        }
        self.answer_reached();
    }

    /// The new segment is there, with `generation`. Returns the one before it, for its index file.
    pub(crate) fn rolled(&mut self, generation: u64, key: StampKey) -> (Closed, Index) {
        let head = self.upcoming.take().expect("a roll was asked for");
        assert_eq!(self.synced, self.written, "the segment before is synced");
        assert!(self.flight.is_none() && self.syncing.is_none(), "nothing in flight");
        let before = std::mem::replace(&mut self.head, head);
        let closed = Closed {
            base: before.segment,
            generation: self.generation,
            end: self.written,
            end_position: before.position,
            time_max: before.index.time_max(),
            append_max: before.times.map_or(Timestamp::MIN, |times| times.last),
        };
        (self.generation, self.key) = (generation, key);
        self.synced_position = self.head.position;
        self.carry.clear();
        self.closed.push(closed);
        (closed, before.index)
    }

    /// The write or the roll found no space, or the file may not grow.
    pub(crate) fn starve(&mut self, fault: Fault, now: Now) {
        let mark_alone = self.flight.as_ref().is_some_and(|flight| flight.base == flight.end);
        let acknowledged = self.flight.as_ref().is_some_and(|flight| flight.acknowledged)
            || self.queue.iter().any(|group| group.acknowledged);
        if self.phase == Phase::Open && self.flight.is_none() && self.queue.is_empty() {
            // A roll that was only asked for: nobody waits for it, and who asked asks again.
            self.upcoming = None;
            return;
        }
        if self.phase == Phase::Closing {
            // Nobody will try again. What was acknowledged was so in memory only.
            self.refuse_unwritten(fault);
            if mark_alone {
                self.phase = Phase::Closed;
            }
            return;
        }
        self.phase = Phase::Starved(fault, now.monotonic + NO_SPACE_RETRY_AFTER);
        if !acknowledged {
            self.refuse_unwritten(fault);
        } else if let Some(flight) = &mut self.flight {
            flight.again = true;
        }
    }

    /// Takes back everything that is not written.
    fn refuse_unwritten(&mut self, fault: Fault) {
        if let Some(flight) = self.flight.take() {
            assert_eq!(flight.place.segment, self.head.segment, "written to the head");
            self.head.position = flight.place.position;
            self.head.opens = flight.flags.contains(MarkFlags::OPENING);
        }
        self.queue.clear();
        (self.upcoming, self.roll_wanted) = (None, false);
        self.end = self.written;
        self.seen = self.seen.min(self.end);
        self.head.index.cut(self.end, self.head.position);
        self.tail.roll_back(self.end);
        self.sessions.roll_back(self.end);
        self.sync_wanted = self.sync_wanted.min(self.end);
        self.answer_above(self.end, AppendError::NoSpace(fault));
    }

    /// A write or sync failed: nothing is acknowledged any more, and nothing on disk will say that
    /// what came before was synced.
    pub(crate) fn poison(&mut self, fault: Fault) {
        if self.phase == Phase::Closed {
            return;
        }
        self.expose();
        // One that was closing has no more to wait for.
        let closing = self.phase == Phase::Closing;
        self.phase = if closing { Phase::Closed } else { Phase::Poisoned(fault) };
        self.clean = false;
        self.flight = None;
        self.syncing = None;
        self.queue.clear();
        self.answer_above(Offset::ZERO, AppendError::Poisoned(fault));
    }

    /// Answers every append that has reached its level.
    fn answer_reached(&mut self) {
        let (written, synced) = (self.written, self.synced);
        let answers = &mut self.answers;
        for (waiting, reached) in
            [(&mut self.written_waiting, written), (&mut self.synced_waiting, synced)]
        {
            while let Some(done) =
                waiting.pop_front_if(|waiting| waiting.appended.next_offset <= reached)
            {
                answers.push((done.ticket, Ok(done.appended)));
            }
        }
        self.repeats.retain(|(level, waiting)| {
            let reached = if *level == Durability::Synced { synced } else { written };
            let done = waiting.appended.next_offset <= reached;
            if done {
                answers.push((waiting.ticket, Ok(waiting.appended)));
            }
            !done
        });
    }

    /// Answers every append that ends above `offset` with `error`.
    fn answer_above(&mut self, offset: Offset, error: AppendError) {
        let answers = &mut self.answers;
        let mut keep = |waiting: &Waiting| {
            let keeps = waiting.appended.next_offset <= offset;
            if !keeps {
                let answer: Answer = (waiting.ticket, Err(error));
                answers.push(answer);
            }
            keeps
        };
        self.written_waiting.retain(&mut keep);
        self.synced_waiting.retain(&mut keep);
        self.repeats.retain(|(_, waiting)| keep(waiting));
    }
}
