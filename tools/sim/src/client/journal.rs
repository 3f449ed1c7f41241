//! What a client writes into the history: every question, every answer, every outcome.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use pyralog_client::{FetchedBatch, FetchedRecord, LogStorage, ScarabId};
use pyralog_log::batch::Session;
use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, PartitionId};
use pyralog_runtime::sim::elapsed;
use pyralog_runtime::time;
use pyralog_wire::message::LogDescription;
use pyralog_wire::{ErrorReply, Integrity, LogChanges, LogConfig};

use crate::history::{
    self, CatalogAnswer, CatalogAsk, CounterAnswer, CounterAsk, History, IdRun, Kind, Level,
    LogSettings, Mark, Outcome, Place, Refusal, Seen, SessionUse, Storage, Watermarks,
};
use crate::record;

/// The pen of one client. Clones write into the same history under the same name.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    history: Rc<RefCell<History>>,
    client: u32,
}

impl Journal {
    pub(super) const fn new(history: Rc<RefCell<History>>, client: u32) -> Self {
        Self { history, client }
    }

    /// The place where the next event will be: to be taken before a question.
    pub(super) fn mark(&self) -> Mark {
        self.history.borrow().mark()
    }

    /// Writes an event of now.
    pub(super) fn push(&self, kind: Kind) {
        let mut history = self.history.borrow_mut();
        // Cores that share a history may see a tick of difference.
        let last = history.events().last().map_or(0, |event| event.at);
        // In a simulation all nodes look at its clock, whatever their own says.
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = elapsed().map_or_else(|| time::now().as_nanos(), nanos);
        history.push(now.max(last), self.client, kind);
    }

    /// Records are about to be sent for the first time; returns the number of the append.
    pub(super) fn begun(&self, append: Begun) -> u64 {
        let number = self.history.borrow_mut().next_append();
        self.push(Kind::AppendBegun {
            append: number,
            place: append.place,
            level: append.level.map(level),
            idempotent: append.idempotent,
            records: append.records,
        });
        if append.keys.iter().any(Option::is_some) {
            self.push(Kind::Keyed { append: number, keys: append.keys });
        }
        number
    }

    pub(super) fn sent(
        &self,
        append: u64,
        attempt: u32,
        (session, bytes): (Option<Session>, usize),
    ) {
        let session = session.map(|session| SessionUse {
            id: session.id.get(),
            epoch: session.epoch,
            sequence: session.first_sequence,
        });
        self.push(Kind::AppendSent { append, attempt, session, bytes: bytes as u64 });
    }

    pub(super) fn ended(&self, append: u64, outcome: Outcome) {
        self.push(Kind::AppendEnded { append, outcome });
    }

    /// The catalog is about to be asked; returns the number of the question.
    pub(super) fn asked(&self, ask: CatalogAsk) -> u64 {
        let request = self.history.borrow_mut().next_request();
        self.push(Kind::CatalogAsked { request, ask });
        request
    }

    /// A number for a question that no other has.
    pub(super) fn next_request(&self) -> u64 {
        self.history.borrow_mut().next_request()
    }

    pub(super) fn answered(&self, request: u64, answer: CatalogAnswer) {
        self.push(Kind::CatalogAnswered { request, answer });
    }

    /// A counter is about to be asked; returns the number of the question.
    pub(super) fn asked_counter(&self, name: &str, ask: CounterAsk) -> u64 {
        let request = self.history.borrow_mut().next_request();
        self.push(Kind::CounterAsked { request, name: name.to_owned(), ask });
        request
    }

    pub(super) fn counter_answered(&self, request: u64, answer: CounterAnswer) {
        self.push(Kind::CounterAnswered { request, answer });
    }

    /// What a description says about the partitions of its log.
    pub(super) fn described(&self, begun: Mark, description: &LogDescription) {
        for info in &description.partitions {
            if info.failed && info.end.get() == 0 {
                continue; // It could not be opened: these are no watermarks.
            }
            let place = place(description.id, info.partition);
            let (low, high) = (info.low.get(), info.high.get());
            let end = Some(info.end.get());
            self.push(Kind::Watermarks(Watermarks { begun, place, low, high, end }));
            if description.config.storage == LogStorage::Memory {
                self.push(Kind::MemoryObserved { begun, place, bytes: info.bytes });
            }
        }
    }
}

/// An append that begins.
pub(super) struct Begun {
    pub(super) place: Place,
    pub(super) level: Option<Durability>,
    pub(super) idempotent: bool,
    pub(super) records: Vec<history::RecordId>,
    pub(super) keys: Vec<Option<history::Key>>,
}

/// The partition as the history knows it.
pub(super) fn place(log: LogId, partition: PartitionId) -> Place {
    Place { log: log.get(), partition: partition.get() }
}

/// The level as the history knows it.
pub(super) const fn level(durability: Durability) -> Level {
    match durability {
        Durability::Memory => Level::Memory,
        Durability::Written => Level::Written,
        Durability::Synced => Level::Synced,
    }
}

/// The settings of a log as the history knows them.
pub(super) const fn settings(config: &LogConfig) -> LogSettings {
    LogSettings {
        partitions: config.partitions,
        level: level(config.durability),
        storage: match config.storage {
            LogStorage::Durable => Storage::Durable,
            LogStorage::Memory => Storage::Memory,
        },
        memory_bytes_max: config.memory_bytes_max,
        ttl_ms: config.ttl_ms,
        life: history::Life {
            retention_ms: config.retention.age_ms,
            retention_bytes: config.retention.bytes,
            is_compacted: config.compaction.is_on,
            lag_ms: config.compaction.lag_ms,
            tombstone_ms: config.compaction.tombstone_ms,
            is_tiered: config.is_tiered,
            is_proven: !matches!(config.integrity, Integrity::None),
        },
    }
}

/// Changes of a log as the history knows them.
pub(super) fn changes(changes: &LogChanges) -> history::LogChanges {
    history::LogChanges {
        level: changes.durability.map(level),
        memory_bytes_max: changes.memory_bytes_max,
        ttl_ms: changes.ttl_ms,
        life: history::LifeChanges {
            retention_ms: changes.retention_ms,
            retention_bytes: changes.retention_bytes,
            is_compacted: changes.compaction,
            lag_ms: changes.compaction_lag_ms,
            tombstone_ms: changes.tombstone_ms,
            is_tiered: changes.is_tiered,
        },
    }
}

/// A refusal as the history knows it.
pub(super) const fn refusal(reply: &ErrorReply) -> Refusal {
    let (a, b) = reply.detail.numbers();
    Refusal { code: reply.number, a, b }
}

/// The records that a batch hands out.
pub(super) fn seen(batch: &FetchedBatch) -> impl Iterator<Item = Seen> + '_ {
    batch.records().map(|record| {
        let header = record.headers.first(record::TOMBSTONE_HEADER).flatten();
        let content = record::read(record.key, record.value, header);
        Seen { offset: record.offset.get(), content: content.map_err(|wrong| wrong.to_string()) }
    })
}

/// The ids of the records that a batch hands out. One run, unless the server has put it together wrongly.
pub(super) fn ids(batch: &FetchedBatch) -> impl Iterator<Item = IdRun> + '_ {
    let id_of = |record: &FetchedRecord<'_>| record.scarab().map(ScarabId::get);
    let mut records = batch.records().peekable();
    std::iter::from_fn(move || {
        let first = records.next()?;
        let mut run = IdRun { offset: first.offset.get(), len: 1, id: id_of(&first).unwrap_or(0) };
        let mut last = first.scarab();
        while let Some(next) = records.next_if(|next| {
            let follows = last.and_then(|last| last.nth(1));
            next.scarab() == follows && next.offset.get() == run.offset + run.len
        }) {
            run.len += 1;
            last = next.scarab();
        }
        Some(run)
    })
}
