//! The logs of a history: which there were, and which settings each may have had when.
//!
//! A change is in force at some moment between its question and its answer, and one without an answer at any moment after
//! the question or never. So what is asked here is always a set: the settings that are possible in a window.

use std::collections::BTreeMap;

use super::{Evidence, Window};
use crate::history::{
    CatalogAnswer, CatalogAsk, Kind, Level, Life, LogChanges, LogSettings, Storage,
};

/// A question to the catalog, and its answer.
#[derive(Clone, Debug)]
pub(in crate::oracle) struct Ask<'h> {
    pub(in crate::oracle) asked: usize,
    pub(in crate::oracle) what: &'h CatalogAsk,
    pub(in crate::oracle) answer: Option<(usize, CatalogAnswer)>,
}

impl Ask<'_> {
    /// Whether it was certainly not carried out.
    pub(in crate::oracle) const fn is_refused(&self) -> bool {
        matches!(self.answer, Some((_, CatalogAnswer::Refused(_))))
    }

    /// The log that it was carried out on, and the event that said so.
    pub(in crate::oracle) const fn done(&self) -> Option<(usize, u64)> {
        match self.answer {
            Some((event, CatalogAnswer::Done { log })) => Some((event, log)),
            _ => None,
        }
    }

    /// When it may have been carried out; to the end of the history if nobody knows.
    pub(in crate::oracle) fn window(&self, evidence: &Evidence<'_>) -> Window {
        let answered = self.answer.filter(|(_, answer)| *answer != CatalogAnswer::Unknown);
        let until = answered.map_or(evidence.events().len(), |(event, _)| event);
        Window { since: self.asked + 1, until }
    }
}

/// A change of one setting.
#[derive(Clone, Copy, Debug)]
struct Change<T> {
    asked: usize,
    /// From this event on it is certainly in force, or was.
    done: Option<usize>,
    value: T,
}

/// A setting over time.
#[derive(Clone, Debug)]
struct Setting<T> {
    first: T,
    changes: Vec<Change<T>>,
}

impl<T: Copy + Ord> Setting<T> {
    fn new(first: T) -> Self {
        Self { first, changes: Vec::new() }
    }

    fn note(&mut self, asked: usize, done: Option<usize>, value: Option<T>) {
        self.changes.extend(value.map(|value| Change { asked, done, value }));
    }

    /// Every value that it may have within a window, at least one.
    fn values(&self, window: Window) -> impl Iterator<Item = T> {
        let settled = |change: &&Change<T>| change.done.is_some_and(|done| done < window.since);
        // Of the changes before the window the one that was made last is in force. A change that was asked for after
        // the answer to another came after it.
        let newest = self.changes.iter().filter(settled).map(|change| change.asked).max();
        let first = newest.is_none().then_some(self.first);
        let rest = self.changes.iter().filter(move |change| {
            let before = change.asked < window.until;
            let replaced = change.done.zip(newest).is_some_and(|(done, newest)| done < newest);
            before && !replaced
        });
        first.into_iter().chain(rest.map(|change| change.value))
    }
}

/// The settings of a log over time.
#[derive(Clone, Debug)]
struct Known<'h> {
    name: &'h str,
    settings: Option<LogSettings>,
    level: Setting<Level>,
    memory_bytes_max: Setting<u64>,
    ttl_ms: Setting<u64>,
    retention_ms: Setting<u64>,
    retention_bytes: Setting<u64>,
    is_compacted: Setting<bool>,
    lag_ms: Setting<u64>,
    tombstone_ms: Setting<u64>,
}

/// The shortest life that the records of a log may have within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::oracle) struct Bounds {
    /// The shortest time after which segments go, if there is one.
    pub(in crate::oracle) retention_ms: Option<u64>,
    /// The fewest bytes beyond which segments go, if there is such a bound.
    pub(in crate::oracle) retention_bytes: Option<u64>,
    /// Whether it may be compacted.
    pub(in crate::oracle) is_compacted: bool,
    /// The shortest time in which compaction leaves a record alone.
    pub(in crate::oracle) lag_ms: u64,
    /// The shortest time for which a tombstone stays.
    pub(in crate::oracle) tombstone_ms: u64,
}

/// See the module. Logs are named by life and id.
#[derive(Debug, Default)]
pub(in crate::oracle) struct Logs<'h> {
    pub(in crate::oracle) asks: Vec<Ask<'h>>,
    /// The places of the questions among them.
    numbers: BTreeMap<u64, usize>,
    known: BTreeMap<(usize, u64), Known<'h>>,
}

impl<'h> Logs<'h> {
    pub(super) fn of(evidence: &Evidence<'h>) -> Self {
        let (asks, numbers) = asks(evidence);
        let mut logs = Self { asks, numbers, known: BTreeMap::new() };
        logs.learn_from_answers(evidence);
        logs.learn_from_lists(evidence);
        logs.note_changes(evidence);
        logs
    }

    /// Where the records of a log are, if it is known.
    pub(in crate::oracle) fn storage(&self, log: (usize, u64)) -> Option<Storage> {
        Some(self.settings(log)?.storage)
    }

    /// What a log was created with, if it is known.
    pub(in crate::oracle) fn settings(&self, log: (usize, u64)) -> Option<LogSettings> {
        self.known.get(&log)?.settings
    }

    /// The name of a log, if it is known.
    pub(in crate::oracle) fn name(&self, log: (usize, u64)) -> Option<&'h str> {
        Some(self.known.get(&log)?.name)
    }

    /// The question of this number.
    pub(in crate::oracle) fn ask(&self, request: u64) -> Option<&Ask<'h>> {
        self.asks.get(*self.numbers.get(&request)?)
    }

    /// Whether somebody was told that this log is deleted.
    pub(super) fn is_deleted(&self, log: u64) -> bool {
        self.asks.iter().any(|ask| {
            matches!(ask.what, CatalogAsk::Delete { .. })
                && ask.done().is_some_and(|(_, done)| done == log)
        })
    }

    /// Every log that is known: life, id and name.
    pub(in crate::oracle) fn all(&self) -> impl Iterator<Item = ((usize, u64), &'h str)> {
        self.known.iter().map(|(log, known)| (*log, known.name))
    }

    /// The weakest and the strongest level that a log may have within a window.
    pub(in crate::oracle) fn levels(&self, log: (usize, u64), window: Window) -> (Level, Level) {
        let known = self.known.get(&log).filter(|known| known.settings.is_some());
        let Some(known) = known else { return (Level::Memory, Level::Synced) };
        let weakest = known.level.values(window).min().unwrap_or(Level::Memory);
        let strongest = known.level.values(window).max().unwrap_or(Level::Synced);
        (weakest, strongest)
    }

    /// The smallest and the largest budget that a partition of a log may have within a window, if it is known.
    pub(in crate::oracle) fn budgets(
        &self,
        log: (usize, u64),
        window: Window,
    ) -> Option<(u64, u64)> {
        let known = self.known.get(&log).filter(|known| known.settings.is_some())?;
        let budgets = || known.memory_bytes_max.values(window);
        budgets().min().zip(budgets().max())
    }

    /// The shortest time to live that a log may have within a window; `None` if it is not known or there is none.
    pub(in crate::oracle) fn shortest_ttl(&self, log: (usize, u64), window: Window) -> Option<u64> {
        let known = self.known.get(&log).filter(|known| known.settings.is_some())?;
        known.ttl_ms.values(window).filter(|ttl| *ttl > 0).min()
    }

    /// What a log may be told about the life of its records within a window; `None` if it is not known.
    pub(in crate::oracle) fn life(&self, log: (usize, u64), window: Window) -> Option<Bounds> {
        let known = self.known.get(&log).filter(|known| known.settings.is_some())?;
        let shortest =
            |setting: &Setting<u64>| setting.values(window).filter(|value| *value > 0).min();
        let least = |setting: &Setting<u64>| setting.values(window).min().unwrap_or(0);
        Some(Bounds {
            retention_ms: shortest(&known.retention_ms),
            retention_bytes: shortest(&known.retention_bytes),
            is_compacted: known.is_compacted.values(window).any(|is_on| is_on),
            lag_ms: least(&known.lag_ms),
            tombstone_ms: least(&known.tombstone_ms),
        })
    }

    fn learn_from_answers(&mut self, evidence: &Evidence<'h>) {
        for ask in &self.asks {
            let (CatalogAsk::Create { name, settings }, Some((_, log))) = (ask.what, ask.done())
            else {
                continue;
            };
            if let Some(life) = evidence.life_of(ask.window(evidence)) {
                let new = || Known::new(name, Some(*settings));
                let known = self.known.entry((life, log)).or_insert_with(new);
                // Dealt twice, as after damage to the catalog: nobody knows which of them is meant.
                known.settings = known.settings.filter(|known| known == settings);
            }
        }
    }

    /// A log that was created without an answer is known by its name in a list.
    fn learn_from_lists(&mut self, evidence: &Evidence<'h>) {
        for (event, entry) in evidence.numbered() {
            let Kind::CatalogSeen { begun, present, .. } = &entry.kind else { continue };
            let window = Window { since: begun.0, until: event };
            let Some(life) = evidence.life_of(window) else { continue };
            for (name, log) in present {
                if !self.known.contains_key(&(life, *log)) {
                    let settings = self.settings_of(name, life, evidence);
                    self.known.insert((life, *log), Known::new(name, settings));
                }
            }
        }
    }

    /// The settings of the creations of this name that have no answer, if they agree.
    fn settings_of(
        &self,
        wanted: &str,
        life: usize,
        evidence: &Evidence<'h>,
    ) -> Option<LogSettings> {
        let mut found = None;
        for ask in &self.asks {
            let CatalogAsk::Create { name, settings } = ask.what else { continue };
            let window = ask.window(evidence);
            let answered = ask.done().is_some() && evidence.life_of(window).is_some();
            if name != wanted || ask.is_refused() || answered {
                continue;
            }
            if evidence.lives_of(window).contains(&life) {
                if found.is_some_and(|found| found != *settings) {
                    return None;
                }
                found = Some(*settings);
            }
        }
        found
    }

    fn note_changes(&mut self, evidence: &Evidence<'h>) {
        let mut by_name: BTreeMap<&str, Vec<(&Ask<'h>, LogChanges)>> = BTreeMap::new();
        for ask in &self.asks {
            if let CatalogAsk::Alter { name, changes } = ask.what
                && !ask.is_refused()
            {
                by_name.entry(name).or_default().push((ask, *changes));
            }
        }
        for ((life, log), known) in &mut self.known {
            for (ask, changes) in by_name.get(known.name).into_iter().flatten() {
                let window = ask.window(evidence);
                let other = ask.done().is_some_and(|(_, done)| done != *log);
                if other || !evidence.lives_of(window).contains(life) {
                    continue;
                }
                let certain = evidence.life_of(window) == Some(*life);
                let done = ask.done().filter(|_| certain).map(|(event, _)| event);
                known.note(ask.asked, done, *changes);
            }
        }
    }
}

impl<'h> Known<'h> {
    fn new(name: &'h str, settings: Option<LogSettings>) -> Self {
        let first = settings.unwrap_or(LogSettings {
            partitions: 0,
            level: Level::Memory,
            storage: Storage::Memory,
            memory_bytes_max: 0,
            ttl_ms: 0,
            life: Life::default(),
        });
        Self {
            name,
            settings,
            level: Setting::new(first.level),
            memory_bytes_max: Setting::new(first.memory_bytes_max),
            ttl_ms: Setting::new(first.ttl_ms),
            retention_ms: Setting::new(first.life.retention_ms),
            retention_bytes: Setting::new(first.life.retention_bytes),
            is_compacted: Setting::new(first.life.is_compacted),
            lag_ms: Setting::new(first.life.lag_ms),
            tombstone_ms: Setting::new(first.life.tombstone_ms),
        }
    }

    fn note(&mut self, asked: usize, done: Option<usize>, changes: LogChanges) {
        let LogChanges { level, memory_bytes_max, ttl_ms, life } = changes;
        self.level.note(asked, done, level);
        self.memory_bytes_max.note(asked, done, memory_bytes_max);
        self.ttl_ms.note(asked, done, ttl_ms);
        self.retention_ms.note(asked, done, life.retention_ms);
        self.retention_bytes.note(asked, done, life.retention_bytes);
        self.is_compacted.note(asked, done, life.is_compacted);
        self.lag_ms.note(asked, done, life.lag_ms);
        self.tombstone_ms.note(asked, done, life.tombstone_ms);
    }
}

/// The questions of a history with their answers, and where each is by its number.
fn asks<'h>(evidence: &Evidence<'h>) -> (Vec<Ask<'h>>, BTreeMap<u64, usize>) {
    let (mut asks, mut numbers) = (Vec::new(), BTreeMap::new());
    for (event, entry) in evidence.numbered() {
        match &entry.kind {
            Kind::CatalogAsked { request, ask } => {
                numbers.insert(*request, asks.len());
                asks.push(Ask { asked: event, what: ask, answer: None });
            }
            Kind::CatalogAnswered { request, answer } => {
                if let Some(at) = numbers.get(request) {
                    asks[*at].answer = Some((event, *answer));
                }
            }
            _ => {}
        }
    }
    (asks, numbers)
}
