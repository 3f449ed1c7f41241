//! What was asked of a database, what it answered, and what was done to it: the evidence that the oracles judge.
//!
//! A history is a list of [`Event`]s in the order in which they happened, as seen from outside: by clients and by the
//! one who breaks the machine. It is plain data and knows neither the wire nor the runtime, so an oracle can be tested
//! with a history that is written by hand.
//!
//! **One history is one database.** Ids of logs mean something within it. Replicas of one database share a history.
//!
//! An answer says what was true at some moment between question and answer, so whoever records one also says where the
//! question stands: either as an event of its own ([`Kind::AppendSent`]) or as a [`Mark`] that was taken with
//! [`History::mark`] *before* the first byte left. A mark that is too early makes the oracles lenient, one that is too
//! late makes them wrong.
//!
//! Rules for those who write one:
//! - [`Kind::AppendBegun`] comes before its [`Kind::AppendSent`]s, those before its [`Kind::AppendEnded`], which comes
//!   at most once. An append without an end is one whose outcome is unknown.
//! - [`Kind::AppendSent`] comes before the first byte leaves. An attempt that was given up may still arrive, within a
//!   minute, even at a process that was started meanwhile; but nothing of an append arrives at a later process than that
//!   which acknowledged it.
//! - [`Outcome::Refused`] speaks of all attempts. If any of them has no answer, it is [`Outcome::Unknown`]. The same holds
//!   for [`CatalogAnswer::Refused`].
//! - A [`Kind::Ended`] is recorded when the process ends, before anything of its next life.
//! - A [`Kind::Struck`] is recorded before the damage can be met by a reader, a [`Kind::CallFailed`] before the end of the
//!   process that met it.
//! - A [`Kind::FinalRead`] is recorded only if the partition's `high` had reached its `end` before the first question.
//! - Nothing is recorded of the watermarks of a partition that could not be opened: they are made up.
//! - What a log is created with is recorded as the server takes it: on a node without a disk, [`Storage::Memory`].
//! - [`Kind::CounterAsked`] comes before its [`Kind::CounterAnswered`], and before the first byte leaves. One without an
//!   answer may have taken its numbers, or may yet.
//! - [`Kind::Keyed`] comes between an append's begin and its first attempt. [`Kind::TruncateAsked`] comes before the first
//!   byte leaves.
//! - A [`Read`] without [`Read::ids`] says nothing about ids.
//! - Record identities are never used for two different records.

use std::fmt;
use std::ops::Range;

pub use life::{CheckpointSeen, Key, Life, LifeChanges, Orphan, Proven, Truncated};
pub use sequences::{CounterAnswer, CounterAsk, CounterMode, CounterState, IdRun, IdsDealt};

mod life;
mod sequences;

/// The client of events that no client caused.
pub const WORLD: u32 = u32::MAX;

/// A place in a history: the number of events that were there when it was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub usize);

/// The identity of a record: who made it, and the how-manieth of its maker it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The client that made it.
    pub client: u32,
    /// Its number among the records of this client.
    pub sequence: u64,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}#{}", self.client, self.sequence)
    }
}

/// A partition of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The id of the log.
    pub log: u64,
    /// The partition.
    pub partition: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.log, self.partition)
    }
}

/// What an acknowledgement promises, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing once the process has ended.
    Memory,
    /// To survive the process.
    Written,
    /// To survive a loss of power.
    Synced,
}

/// Where a log keeps its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Storage {
    /// In files.
    Durable,
    /// In memory only: they end with the process.
    Memory,
}

/// What a log is created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How many partitions it has.
    pub partitions: u32,
    /// The level of acknowledgements that ask for none, and of what readers see.
    pub level: Level,
    /// Where its records are.
    pub storage: Storage,
    /// The budget in bytes of each partition of a log in memory.
    pub memory_bytes_max: u64,
    /// Milliseconds after which a record of a log in memory may go; 0 never.
    pub ttl_ms: u64,
    /// How long records of a durable log live.
    pub life: Life,
}

/// Changes of a log; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogChanges {
    /// Another level.
    pub level: Option<Level>,
    /// Another budget.
    pub memory_bytes_max: Option<u64>,
    /// Another time to live.
    pub ttl_ms: Option<u64>,
    /// Another life of its records.
    pub life: LifeChanges,
}

/// A refusal by the server: its code and detail as PROTOCOL.md numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refusal {
    /// The code; 0 if the client gave up by itself without the server having taken it.
    pub code: u16,
    /// First number of the detail, or 0.
    pub a: u64,
    /// Second number of the detail, or 0.
    pub b: u64,
}

/// What a client asks of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogAsk {
    /// A new log.
    Create {
        /// Its name.
        name: String,
        /// Its settings.
        settings: LogSettings,
    },
    /// Other settings for a log.
    Alter {
        /// Its name.
        name: String,
        /// What changes.
        changes: LogChanges,
    },
    /// The end of a log.
    Delete {
        /// Its name.
        name: String,
    },
}

impl CatalogAsk {
    /// The name of the log that it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Create { name, .. } | Self::Alter { name, .. } | Self::Delete { name } => name,
        }
    }
}

/// How a question to the catalog ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogAnswer {
    /// It was done, to the log of this id.
    Done {
        /// The id.
        log: u64,
    },
    /// It was certainly not done, and will not be.
    Refused(Refusal),
    /// It may have been done, or may yet be.
    Unknown,
}

/// The session under which a batch was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionUse {
    /// The session's id.
    pub id: u64,
    /// The session's epoch.
    pub epoch: u32,
    /// The sequence of the batch's first record.
    pub sequence: u64,
}

/// How an append ended for the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged.
    Acked {
        /// The attempt that was answered.
        attempt: u32,
        /// The offset of its first record.
        base_offset: u64,
        /// Whether the server said that an earlier attempt had succeeded.
        duplicate: bool,
    },
    /// Certainly not appended by any attempt, and will not be.
    Refused(Refusal),
    /// Its records may be there, or come.
    Unknown,
}

/// What a reader found in the value of a record: its identity, or what is wrong with it.
pub type Content = Result<RecordId, String>;

/// A record as a reader got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its offset.
    pub offset: u64,
    /// What its value says.
    pub content: Content,
}

/// An answered read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Taken before it was asked for.
    pub begun: Mark,
    /// The partition.
    pub place: Place,
    /// The offset that was asked for; for a position that is no offset, what the answer says it is.
    pub from: u64,
    /// The records at and after `from`: those of the first batch before `from` are left out.
    pub records: Vec<Seen>,
    /// The ids of the records that are sound, batch by batch.
    pub ids: Vec<IdRun>,
    /// Where the answer says to go on.
    pub next: u64,
    /// The oldest offset, as the answer says.
    pub low: u64,
    /// The offset after the last visible record, as the answer says.
    pub high: u64,
}

/// A refused read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRefused {
    /// Taken before it was asked for.
    pub begun: Mark,
    /// The partition.
    pub place: Place,
    /// The offset that was asked for, if it was one.
    pub from: Option<u64>,
    /// Why.
    pub refusal: Refusal,
}

/// The range of a partition, as a describe, a metadata answer or an end of a find says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Taken before it was asked for.
    pub begun: Mark,
    /// The partition.
    pub place: Place,
    /// The oldest offset.
    pub low: u64,
    /// The offset after the last visible record.
    pub high: u64,
    /// The offset after the last record taken, if the answer says it.
    pub end: Option<u64>,
}

/// A whole partition, read from its oldest offset to its end when nobody appended any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalRead {
    /// Taken before the first question.
    pub begun: Mark,
    /// The partition.
    pub place: Place,
    /// The oldest offset.
    pub low: u64,
    /// The offset after the last visible record.
    pub high: u64,
    /// All records, in order.
    pub records: Vec<Seen>,
    /// Ranges that the server refused to give because they are damaged.
    pub damaged: Vec<Range<u64>>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// In order: it was asked to stop, and said that it did.
    Stopped,
    /// It was killed; its machine lives on.
    Process,
    /// Its machine lost power.
    Power,
}

/// What silent damage was done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The segments, index or checkpoint of a partition.
    Partition(Place),
    /// The log of the catalog.
    Catalog,
    /// The high-water marks of ids.
    Marks,
    /// The files of counters.
    Counters,
    /// Another file.
    Other,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The catalog was asked to change something.
    CatalogAsked {
        /// Unique among the questions to the catalog.
        request: u64,
        /// What.
        ask: CatalogAsk,
    },
    /// It answered, or the client gave up.
    CatalogAnswered {
        /// Which question.
        request: u64,
        /// How.
        answer: CatalogAnswer,
    },
    /// A list or a lookup of logs was answered.
    CatalogSeen {
        /// Taken before it was asked for.
        begun: Mark,
        /// The names that were asked for; `None` if it was all of them.
        names: Option<Vec<String>>,
        /// Name and id of each that exists.
        present: Vec<(String, u64)>,
    },
    /// A client wants records to be appended: all of them, next to each other, in this order.
    AppendBegun {
        /// Unique among the appends.
        append: u64,
        /// Where to.
        place: Place,
        /// What the acknowledgement shall mean; `None`: as the log is configured.
        level: Option<Level>,
        /// Whether the server recognises a repetition. Without it, every attempt may leave a copy.
        idempotent: bool,
        /// The records.
        records: Vec<RecordId>,
    },
    /// What the records of an append are to compaction, if any of them has a key.
    Keyed {
        /// Which append.
        append: u64,
        /// Of each record in order, its key.
        keys: Vec<Option<Key>>,
    },
    /// A client wants everything before an offset to be gone.
    TruncateAsked {
        /// Unique among the questions.
        request: u64,
        /// Where.
        place: Place,
        /// The first offset that is to stay.
        before: u64,
    },
    /// It is, for good.
    Truncated(Truncated),
    /// A checkpoint was shown.
    CheckpointSeen(CheckpointSeen),
    /// A record was proven.
    Proven(Proven),
    /// A client does not believe a checkpoint of a partition, or the proof of a record that one covers.
    Distrusted {
        /// Taken before it was asked for.
        begun: Mark,
        /// The partition.
        place: Place,
        /// What is wrong with it.
        problem: String,
    },
    /// An append was put on a connection.
    AppendSent {
        /// Which.
        append: u64,
        /// Unique among the attempts of this append.
        attempt: u32,
        /// The session, if it is idempotent.
        session: Option<SessionUse>,
        /// Bytes of the payload.
        bytes: u64,
    },
    /// An append ended for its client.
    AppendEnded {
        /// Which.
        append: u64,
        /// How.
        outcome: Outcome,
    },
    /// A read was answered.
    Read(Read),
    /// A read was refused.
    ReadRefused(ReadRefused),
    /// Watermarks were told.
    Watermarks(Watermarks),
    /// The bytes that a partition of a log in memory holds were told.
    MemoryObserved {
        /// Taken before it was asked for.
        begun: Mark,
        /// The partition.
        place: Place,
        /// What it holds.
        bytes: u64,
    },
    /// The id service dealt a run of ids.
    IdsDealt(IdsDealt),
    /// The id service refused.
    IdsRefused {
        /// Taken before they were asked for.
        begun: Mark,
        /// Why.
        refusal: Refusal,
    },
    /// A counter was asked for something.
    CounterAsked {
        /// Unique among the questions to counters.
        request: u64,
        /// The name of the counter.
        name: String,
        /// What.
        ask: CounterAsk,
    },
    /// It answered, or the client gave up.
    CounterAnswered {
        /// Which question.
        request: u64,
        /// How.
        answer: CounterAnswer,
    },
    /// A list of counters was answered.
    CountersSeen {
        /// Taken before it was asked for.
        begun: Mark,
        /// Names, and how those stand that can be opened.
        counters: Vec<(String, Option<CounterState>)>,
    },
    /// The disk that was replaced was one of a node whose slots go on: ids are those of one cluster still.
    SlotsTakenOver,
    /// The process of the database ended, or what is below it did while there was none.
    Ended {
        /// How.
        end: End,
        /// Whether its disk was replaced by an empty one before the next start. Also true of a node without a disk. Ids of
        /// logs are dealt again from then on.
        wiped: bool,
    },
    /// The process of the database serves.
    Booted {
        /// On how many shards.
        shards: u16,
        /// What it said about recovery.
        lines: Vec<String>,
    },
    /// The process of the database refused to start, or ended by itself before it served.
    BootFailed {
        /// What it said.
        reason: String,
    },
    /// The database reported that offsets are damaged, other than by refusing a read.
    DamageReported {
        /// The partition.
        place: Place,
        /// The offsets.
        range: Range<u64>,
    },
    /// Stored bytes were damaged without anybody being told: bit rot, a lost write, a misdirected write.
    Struck {
        /// Whose.
        target: Target,
        /// The name of the fault; one that begins with `bit` or `lost` damaged the bytes of one write at most.
        fault: &'static str,
    },
    /// A call of the database on its files failed, and the database was told: an error, no space.
    CallFailed {
        /// Whose file.
        target: Target,
        /// The name of the fault.
        fault: &'static str,
    },
    /// The wall clock of the database jumped, or does not run as time does.
    ClockJumped {
        /// By so many microseconds; 0 if it runs fast or slow from here on.
        by_us: i64,
    },
    /// The object store was compared with the manifests of the disk, while no process ran.
    StoreCompared {
        /// What a manifest names and is not there as it was sent.
        missing: Vec<String>,
        /// What no manifest names although it is old enough to be swept.
        orphans: Vec<Orphan>,
    },
    /// From here on nothing is broken on purpose: everything must come to serve again.
    FaultsStopped,
    /// A whole partition was read.
    FinalRead(FinalRead),
    /// Something that must work after faults have stopped was tried.
    Probed {
        /// What.
        what: String,
        /// What went wrong.
        result: Result<(), String>,
    },
    /// A task panicked.
    Panicked {
        /// What it said.
        message: String,
    },
}

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of virtual time.
    pub at: u64,
    /// Who saw it; [`WORLD`] if no client did.
    pub client: u32,
    /// What.
    pub kind: Kind,
}

/// The events of a run, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    events: Vec<Event>,
    appends: u64,
    requests: u64,
}

impl History {
    /// A history without events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event.
    ///
    /// # Panics
    /// If it is earlier than the one before: time does not go back.
    pub fn push(&mut self, at: u64, client: u32, kind: Kind) {
        let last = self.events.last().map_or(0, |event| event.at);
        assert!(at >= last, "an event at {at} ns after one at {last} ns");
        self.events.push(Event { at, client, kind });
    }

    /// The place where the next event will be.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.events.len())
    }

    /// The events, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// A number for an append that no other has, for [`Kind::AppendBegun`].
    pub fn next_append(&mut self) -> u64 {
        self.appends += 1;
        self.appends
    }

    /// A number for a question that no other has, for [`Kind::CatalogAsked`] and [`Kind::CounterAsked`].
    pub fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_the_place_of_the_next_event() {
        let mut history = History::new();
        history.push(3, WORLD, Kind::FaultsStopped);
        let mark = history.mark();
        history.push(3, 1, Kind::Panicked { message: "x".to_string() });
        assert_eq!(history.events()[mark.0].client, 1);
        assert_ne!(history.next_append(), history.next_append());
        assert_ne!(history.next_request(), history.next_request());
    }

    #[test]
    #[should_panic(expected = "an event at 2 ns after one at 3 ns")]
    fn time_does_not_go_back() {
        let mut history = History::new();
        history.push(3, WORLD, Kind::FaultsStopped);
        history.push(2, WORLD, Kind::FaultsStopped);
    }
}
