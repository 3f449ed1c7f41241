//! Sessions: which batches of which producer are in the partition, so that a repeat is recognised.
//!
//! A producer numbers its records within a session. The partition takes the batch that continues
//! the numbering, recognises the last [`SESSION_WINDOW_BATCHES`] as repeats and answers them with
//! their original offsets, and refuses everything else with the reason. The table is a function of the
//! batch headers, so recovery makes it again from the log; [`Sessions::restore`] may meet a batch
//! twice, and [`Sessions::roll_back`] takes back batches that are gone, so that a table from a
//! checkpoint of any moment serves.

use std::fmt;

use hashbrown::{HashMap, HashSet};

use crate::batch::{BatchHeader, Session};
use crate::ids::{Offset, SessionId, Timestamp};
use crate::layout::{Builder, Fields, FormatError};
use crate::limits::{SESSION_WINDOW_BATCHES, SESSIONS_MAX};

/// What forgetting makes room for, so that its cost is shared by that many new sessions.
const FORGOTTEN_AT_ONCE: usize = SESSIONS_MAX / 16;

/// Bytes of a session without its window.
const SESSION_BYTES: usize = 24;

/// Whether a batch is new to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It continues the session.
    New,
    /// It is in the partition already, from this offset.
    Repeat {
        /// Offset of its first record.
        base_offset: Offset,
        /// When it was appended.
        append_time: Timestamp,
    },
}

/// Why a batch does not fit its session. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// Not known, and the batch does not start it.
    Unknown,
    /// Taken over by a higher epoch.
    Fenced {
        /// The epoch of the session now.
        epoch: u32,
    },
    /// Batches before this one are missing.
    Gap {
        /// The sequence number that comes next.
        expected: u64,
    },
    /// It is below the window: it may be in the partition, but nobody remembers where.
    TooOld {
        /// The sequence number that comes next.
        expected: u64,
    },
}

impl fmt::Display for SessionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => formatter.write_str("unknown session: begin a new one at sequence 0"),
            Self::Fenced { epoch } => write!(formatter, "fenced: the session is at epoch {epoch}"),
            Self::Gap { expected } => write!(formatter, "sequence gap: {expected} comes next"),
            Self::TooOld { expected } => {
                write!(formatter, "a repeat below the window: {expected} comes next")
            }
        }
    }
}

impl std::error::Error for SessionError {}

/// A batch that a session remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Remembered {
    first_sequence: u64,
    base_offset: Offset,
    append_time: Timestamp,
    count: u32,
}

/// The last batches of a session, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    epoch: u32,
    len: u32,
    next_sequence: u64,
    /// When it was last used, counted in uses of the table.
    used: u64,
    window: [Remembered; SESSION_WINDOW_BATCHES],
}

/// What a session will be when the append that is being checked is taken.
#[derive(Clone, Copy, Debug)]
struct Staged {
    id: SessionId,
    epoch: u32,
    next_sequence: u64,
}

/// The sessions of one partition, at most [`SESSIONS_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    table: HashMap<SessionId, State>,
    staged: Vec<Staged>,
    uses: u64,
}

impl Sessions {
    /// Sessions known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no session is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Where the batches start that are remembered: compaction leaves a record of each, so that a recovery remembers them too.
    #[must_use]
    pub fn batches(&self) -> HashSet<Offset> {
        let remembered = self.table.values().flat_map(State::remembered);
        remembered.map(|batch| batch.base_offset).collect()
    }

    /// Starts to check an append: forgets what was staged for the last one.
    pub fn begin(&mut self) {
        self.staged.clear();
    }

    /// Checks the next batch of the append, as if those before it had been taken.
    ///
    /// # Errors
    /// Why it does not fit.
    ///
    /// # Panics
    /// If `count` is zero: such a batch is refused before.
    pub fn check(&mut self, session: &Session, count: u32) -> Result<Verdict, SessionError> {
        assert!(count > 0, "a batch has a record");
        let staged = self.staged.iter().rposition(|staged| staged.id == session.id);
        let known = self.table.get(&session.id);
        let (epoch, expected) = match (staged, known) {
            (Some(at), _) => (self.staged[at].epoch, self.staged[at].next_sequence),
            (None, Some(state)) => (state.epoch, state.next_sequence),
            (None, None) if session.first_sequence == 0 => (session.epoch, 0),
            (None, None) => return Err(SessionError::Unknown),
        };
        if session.epoch < epoch {
            return Err(SessionError::Fenced { epoch });
        }
        let expected = if session.epoch > epoch { 0 } else { expected };
        if session.first_sequence == expected {
            let next_sequence = expected + u64::from(count);
            let taken = Staged { id: session.id, epoch: session.epoch, next_sequence };
            match staged {
                Some(at) => self.staged[at] = taken,
                None => self.staged.push(taken),
            }
            return Ok(Verdict::New);
        }
        if session.first_sequence > expected {
            return Err(SessionError::Gap { expected });
        }
        let found = known.filter(|state| state.epoch == session.epoch);
        match found.and_then(|state| state.find(session.first_sequence, count)) {
            Some(Remembered { base_offset, append_time, .. }) => {
                Ok(Verdict::Repeat { base_offset, append_time })
            }
            None => Err(SessionError::TooOld { expected }),
        }
    }

    /// Takes note of a batch that [`Self::check`] called new and that now has its offset.
    ///
    /// # Panics
    /// Never: forgetting makes room.
    pub fn record(&mut self, session: &Session, count: u32, base_offset: Offset, time: Timestamp) {
        self.uses += 1;
        let used = self.uses;
        if !self.table.contains_key(&session.id) && self.table.len() >= SESSIONS_MAX {
            self.forget();
        }
        let fresh = State::new(session.epoch);
        let state = self.table.entry(session.id).or_insert(fresh);
        if state.epoch != session.epoch {
            *state = fresh;
        }
        state.used = used;
        let first_sequence = session.first_sequence;
        state.push(Remembered { first_sequence, base_offset, append_time: time, count });
        assert!(self.table.len() <= SESSIONS_MAX, "{} sessions", self.table.len());
    }

    /// Takes note of a batch that recovery found in the log, unless it was noted before.
    pub fn restore(&mut self, header: &BatchHeader) {
        let Some(session) = &header.session else { return };
        let base_offset = header.owner.base_offset;
        let newer = self.table.get(&session.id).is_some_and(|state| {
            state.epoch > session.epoch
                || state.newest().is_some_and(|newest| newest.base_offset >= base_offset)
        });
        if !newer {
            self.record(session, header.offset_count(), base_offset, header.owner.append_time);
        }
    }

    /// Takes back every batch at or above `end`. The sessions continue where those began.
    pub fn roll_back(&mut self, end: Offset) {
        for state in self.table.values_mut() {
            while let Some(newest) = state.newest().filter(|newest| newest.base_offset >= end) {
                state.next_sequence = newest.first_sequence;
                state.len -= 1;
                state.window[state.len as usize] = Remembered::default();
            }
        }
    }

    /// Forgets the least recently used sixteenth.
    fn forget(&mut self) {
        let mut uses: Vec<u64> = self.table.values().map(|state| state.used).collect();
        let at = FORGOTTEN_AT_ONCE.min(uses.len() - 1);
        let (_, oldest_kept, _) = uses.select_nth_unstable(at);
        let oldest_kept = *oldest_kept;
        self.table.retain(|_, state| state.used >= oldest_kept);
    }

    /// Appends the table to a checkpoint, the same bytes for the same history.
    pub(crate) fn encode(&self, builder: &mut Builder) {
        let mut sessions: Vec<_> = self.table.iter().collect();
        sessions.sort_unstable_by_key(|(_, state)| state.used);
        builder.u64(sessions.len() as u64);
        for (id, state) in sessions {
            builder.u64(id.get()).u32(state.epoch).u32(state.len);
            builder.u64(state.next_sequence);
            for remembered in state.remembered() {
                builder.u64(remembered.first_sequence).u64(remembered.base_offset.get());
                builder.i64(remembered.append_time.get()).u32(remembered.count);
            }
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, FormatError> {
        let count = fields.count(SESSION_BYTES)?;
        if count > SESSIONS_MAX {
            return Err(FormatError::Field { field: "session count" });
        }
        let mut sessions = Self::default();
        for used in 0..count {
            let id = SessionId::new(fields.u64()?);
            let mut state = State::new(fields.u32()?);
            state.used = used as u64;
            let len = fields.u32()?;
            if len as usize > SESSION_WINDOW_BATCHES {
                return Err(FormatError::Field { field: "session window" });
            }
            let next_sequence = fields.u64()?;
            for _ in 0..len {
                let first_sequence = fields.u64()?;
                let base_offset = Offset::new(fields.u64()?);
                let append_time = Timestamp::new(fields.i64()?);
                let count = fields.u32()?;
                if first_sequence.checked_add(u64::from(count)).is_none() {
                    return Err(FormatError::Field { field: "sequence" });
                }
                state.push(Remembered { first_sequence, base_offset, append_time, count });
            }
            state.next_sequence = next_sequence;
            sessions.table.insert(id, state);
        }
        sessions.uses = count as u64;
        Ok(sessions)
    }
}

impl State {
    const fn new(epoch: u32) -> Self {
        const NOTHING: Remembered = Remembered {
            first_sequence: 0,
            base_offset: Offset::ZERO,
            append_time: Timestamp::ZERO,
            count: 0,
        };
        let window = [NOTHING; SESSION_WINDOW_BATCHES];
        Self { epoch, len: 0, next_sequence: 0, used: 0, window }
    }

    fn remembered(&self) -> &[Remembered] {
        &self.window[..self.len as usize]
    }

    fn newest(&self) -> Option<Remembered> {
        self.remembered().last().copied()
    }

    fn find(&self, first_sequence: u64, count: u32) -> Option<Remembered> {
        let mut remembered = self.remembered().iter().rev().copied();
        remembered.find(|batch| batch.first_sequence == first_sequence && batch.count == count)
    }

    fn push(&mut self, batch: Remembered) {
        if self.len as usize == SESSION_WINDOW_BATCHES {
            self.window.rotate_left(1);
            self.len -= 1;
        }
        self.window[self.len as usize] = batch;
        self.len += 1;
        self.next_sequence = batch.first_sequence + u64::from(batch.count);
    }
}

#[cfg(test)]
mod tests;
