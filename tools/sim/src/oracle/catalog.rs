//! Logs that were created stay, logs that were deleted stay deleted, and no id is dealt twice.
//!
//! A change of the catalog is on stable storage before it is answered, and made on every core (`shard::catalog_log`). So
//!
//! - a log that certainly exists is found by name and by id, until somebody asks to delete it, through every end of the
//!   process; as long as its creation is not answered, by some cores and not yet by others;
//! - a log whose deletion was answered is never found again, and neither takes appends nor answers reads;
//! - a log is there only if somebody asked to create it, a creation is refused as taken only if the name may be taken;
//! - ids are dealt in order, belong to one name each, and never come back.
//!
//! What nobody answered may have been done, or be done later. A new disk is a new catalog. After silent damage to the
//! catalog's files nothing is said: the server has to refuse to start then, which is `progress`'s business, but if the
//! damage is at the very end nothing vouches for what was there.
//!
//! Exact, but that a deletion without an answer is taken to be possible for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Append, Ask, Evidence, Window};
use super::{Violation, violation};
use crate::history::{CatalogAnswer, CatalogAsk, End, Kind, Outcome, Place, Target};

/// The code of a refusal because there is no such log.
const UNKNOWN_LOG: u16 = 300;
/// The code of a refusal because there is no such partition.
const UNKNOWN_PARTITION: u16 = 301;
/// The code of a refusal because the name is taken.
const LOG_EXISTS: u16 = 302;

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    // Appends by the life in which they ended.
    let mut ended = vec![Vec::new(); evidence.lives()];
    for append in &evidence.appends {
        if let Some(life) = append.end.and_then(|(end, _)| evidence.life_at(end)) {
            ended[life].push(append);
        }
    }
    for (life, ended) in ended.iter().enumerate() {
        let mut judge = Judge::of(evidence, life);
        judge.ids();
        judge.observations();
        judge.appends(ended);
        violations.append(&mut judge.violations);
    }
    violations
}

/// A log of one life.
#[derive(Debug)]
struct Log<'h> {
    name: &'h str,
    /// The first event by which it certainly existed.
    born: usize,
    /// The event that answered its deletion.
    deleted: Option<usize>,
}

struct Judge<'a, 'h> {
    evidence: &'a Evidence<'h>,
    life: usize,
    logs: BTreeMap<u64, Log<'h>>,
    ids: BTreeMap<&'h str, BTreeSet<u64>>,
    /// The questions of this life that were not refused, by name.
    asks: BTreeMap<&'h str, Vec<&'a Ask<'h>>>,
    /// When the catalog's files were damaged.
    struck: usize,
    violations: Vec<Violation>,
}

impl<'a, 'h> Judge<'a, 'h> {
    fn of(evidence: &'a Evidence<'h>, life: usize) -> Self {
        let struck = evidence
            .of_life(life)
            .find(|(_, entry)| matches!(entry.kind, Kind::Struck { target: Target::Catalog, .. }));
        let struck = struck.map(|(event, _)| event);
        let mut judge = Self {
            evidence,
            life,
            logs: BTreeMap::new(),
            ids: BTreeMap::new(),
            asks: BTreeMap::new(),
            struck: struck.unwrap_or(usize::MAX),
            violations: Vec::new(),
        };
        for ask in evidence.logs.asks.iter().filter(|ask| !ask.is_refused()) {
            if evidence.lives_of(ask.window(evidence)).contains(&life) {
                judge.asks.entry(ask.what.name()).or_default().push(ask);
            }
        }
        judge.learn();
        judge
    }

    /// Notes every log that certainly existed. What is told after the damage may be of others with the same ids.
    fn learn(&mut self) {
        let struck = self.struck;
        let told = self.evidence.of_life(self.life).take_while(|(event, _)| *event < struck);
        for (event, entry) in told {
            match &entry.kind {
                Kind::CatalogSeen { begun, present, .. } => {
                    let window = Window { since: begun.0, until: event };
                    if self.evidence.life_of(window) == Some(self.life) {
                        for (name, id) in present {
                            self.exists(*id, name, event);
                        }
                    }
                }
                Kind::CatalogAnswered { request, answer: CatalogAnswer::Done { log } } => {
                    if let Some(ask) = self.evidence.logs.ask(*request)
                        && self.evidence.life_of(ask.window(self.evidence)) == Some(self.life)
                    {
                        self.exists(*log, ask.what.name(), event);
                        if let (CatalogAsk::Delete { .. }, Some(log)) =
                            (ask.what, self.logs.get_mut(log))
                        {
                            log.deleted.get_or_insert(event);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn exists(&mut self, id: u64, name: &'h str, event: usize) {
        let log = self.logs.entry(id).or_insert(Log { name, born: event, deleted: None });
        let (other, born) = (log.name, log.born);
        self.ids.entry(name).or_default().insert(id);
        if other != name {
            let what = format!("log {id} is called {name}, and was called {other}");
            self.say([born, event], what);
        }
    }

    fn say(&mut self, events: impl IntoIterator<Item = usize>, what: String) {
        self.violations.push(violation("catalog", self.evidence, events, what));
    }

    /// Ids are dealt in order, each once.
    fn ids(&mut self) {
        let creations = self.evidence.logs.asks.iter().filter_map(|ask| {
            let certain = self.evidence.life_of(ask.window(self.evidence)) == Some(self.life);
            let created = matches!(ask.what, CatalogAsk::Create { .. }) && certain;
            let (event, id) = ask.done().filter(|_| created)?;
            Some((ask.asked, event, id))
        });
        // By question; those that were answered before it wait for their turn.
        let mut creations: Vec<(usize, usize, u64)> = creations.collect();
        creations.sort_unstable();
        let mut answered = creations.clone();
        answered.sort_unstable_by_key(|(_, event, _)| *event);
        let (mut answered, mut highest) = (answered.into_iter().peekable(), None);
        let mut dealt: BTreeMap<u64, usize> = BTreeMap::new();
        for (asked, event, id) in creations {
            while let Some((_, event, id)) = answered.next_if(|(_, event, _)| *event < asked) {
                highest = highest.max(Some((id, event)));
            }
            if event > self.struck {
                continue;
            }
            if let Some((before, answer)) = highest.filter(|(before, _)| *before > id) {
                self.say([answer, event], format!("id {id} was dealt after id {before}"));
            }
            if let Some(other) = dealt.insert(id, event) {
                self.say([other, event], format!("id {id} was dealt twice"));
            }
        }
    }

    /// What clients were told about logs.
    fn observations(&mut self) {
        for (event, entry) in self.evidence.of_life(self.life) {
            if event > self.struck {
                break;
            }
            match &entry.kind {
                Kind::CatalogSeen { begun, names, present } => {
                    let window = Window { since: begun.0, until: event };
                    self.seen(window, names.as_deref(), present);
                }
                Kind::CatalogAnswered { request, answer } => {
                    if let Some(ask) = self.evidence.logs.ask(*request) {
                        self.answered(ask, event, *answer);
                    }
                }
                Kind::Read(read) => {
                    self.served(Window { since: read.begun.0, until: event }, read.place);
                }
                Kind::ReadRefused(refused) => {
                    let window = Window { since: refused.begun.0, until: event };
                    self.refused(window, refused.place, refused.refusal.code);
                }
                _ => {}
            }
        }
    }

    /// What producers were told about logs.
    fn appends(&mut self, ended: &[&Append<'_>]) {
        for append in ended {
            let last = append.sent.last().map_or(append.begun, |sent| sent.event);
            match append.end {
                Some((event, _)) if event > self.struck => {}
                Some((event, Outcome::Acked { attempt, .. })) => {
                    self.served(append.window(attempt, event), append.place);
                }
                Some((event, Outcome::Refused(refusal))) => {
                    let window = Window { since: last + 1, until: event };
                    self.refused(window, append.place, refusal.code);
                }
                Some((_, Outcome::Unknown)) | None => {}
            }
        }
    }

    fn is_ours(&self, window: Window) -> bool {
        self.evidence.life_of(window) == Some(self.life)
    }

    fn seen(&mut self, window: Window, names: Option<&[String]>, present: &'h [(String, u64)]) {
        if !self.is_ours(window) {
            return;
        }
        let found: BTreeMap<&str, u64> = present.iter().map(|(name, id)| (&**name, *id)).collect();
        let all: Vec<&str> = match names {
            Some(names) => names.iter().map(|name| &**name).collect(),
            None => self.ids.keys().copied().collect(),
        };
        for name in all {
            self.absent(window, name, found.get(name).copied());
        }
        for (name, id) in present {
            self.present(window, name, *id);
        }
    }

    /// Of the logs of this name only `found` is there, if any is.
    fn absent(&mut self, window: Window, name: &str, found: Option<u64>) {
        let ids = self.ids.get(name).into_iter().flatten().copied();
        let missing: Vec<u64> = ids.filter(|id| Some(*id) != found).collect();
        for id in missing {
            if self.is_known_to_all(window, id)
                && let Some(born) = self.must_exist(window, id)
            {
                self.say([born, window.until], format!("log {name} (id {id}) is gone"));
            }
        }
    }

    /// The event that proves that a log exists throughout a window, if it must.
    fn must_exist(&self, window: Window, id: u64) -> Option<usize> {
        let log = self.logs.get(&id)?;
        let may_go = |ask: &&Ask<'h>| {
            let deletes = matches!(ask.what, CatalogAsk::Delete { .. });
            let it = ask.done().is_none_or(|(_, done)| done == id);
            deletes && it && ask.asked < window.until
        };
        let mut asks = self.asks.get(log.name).into_iter().flatten().copied();
        (log.born < window.since && !asks.any(|ask| may_go(&ask))).then_some(log.born)
    }

    /// Whether all cores know a log throughout a window: they learn of it one after the other, and all do once its
    /// creation was acknowledged, or the process began that found it in the catalog.
    fn is_known_to_all(&self, window: Window, id: u64) -> bool {
        let Some(log) = self.logs.get(&id) else { return false };
        let mut creations = self.asks.get(log.name).into_iter().flatten();
        let acknowledged = creations.any(|ask| {
            let creates = matches!(ask.what, CatalogAsk::Create { .. });
            creates && ask.done().is_some_and(|(at, done)| done == id && at < window.since)
        });
        let ended = |(at, _): &(usize, End)| (log.born..window.since).contains(at);
        acknowledged || self.evidence.ends().iter().any(ended)
    }

    fn present(&mut self, window: Window, name: &str, id: u64) {
        if let Some(event) = self.is_deleted(window, id) {
            self.say(
                [event, window.until],
                format!("log {name} (id {id}) is there, but was deleted"),
            );
        }
        let created = |ask: &&Ask<'h>| {
            let creates = matches!(ask.what, CatalogAsk::Create { .. });
            let it = ask.done().is_none_or(|(_, done)| done == id);
            creates && it && ask.asked < window.until
        };
        let mut asks = self.asks.get(name).into_iter().flatten().copied();
        if !asks.any(|ask| created(&ask)) && !name.starts_with('_') {
            let what = format!("log {name} (id {id}) is there, but nobody asked for it");
            self.say([window.until], what);
        }
    }

    /// The event that answered the deletion of a log, if that was before a window.
    fn is_deleted(&self, window: Window, id: u64) -> Option<usize> {
        self.logs.get(&id)?.deleted.filter(|event| *event < window.since)
    }

    fn answered(&mut self, ask: &Ask<'h>, event: usize, answer: CatalogAnswer) {
        let window = Window { since: ask.asked + 1, until: event };
        if !self.is_ours(window) {
            return;
        }
        match (answer, ask.what) {
            (CatalogAnswer::Refused(refusal), CatalogAsk::Create { name, .. })
                if refusal.code == LOG_EXISTS && !self.may_exist(window, name) =>
            {
                let what = format!("{name} was refused as taken, but there can be no such log");
                self.say([ask.asked, event], what);
            }
            (
                CatalogAnswer::Refused(refusal),
                CatalogAsk::Alter { name, .. } | CatalogAsk::Delete { name },
            ) if refusal.code == UNKNOWN_LOG => {
                self.absent(window, name, None);
            }
            (CatalogAnswer::Done { log }, CatalogAsk::Alter { .. } | CatalogAsk::Delete { .. }) => {
                if let Some(deleted) = self.is_deleted(window, log) {
                    self.say([deleted, event], format!("log {log} was changed, but was deleted"));
                }
            }
            _ => {}
        }
    }

    /// Whether a log of this name may exist at the moment of a window.
    fn may_exist(&self, window: Window, name: &str) -> bool {
        let mut asks = self.asks.get(name).into_iter().flatten();
        asks.any(|ask| {
            let creates = matches!(ask.what, CatalogAsk::Create { .. });
            let gone = ask.done().is_some_and(|(_, id)| self.is_deleted(window, id).is_some());
            creates && !gone && ask.asked < window.until
        })
    }

    /// A partition answered.
    fn served(&mut self, window: Window, place: Place) {
        if self.is_ours(window)
            && let Some(deleted) = self.is_deleted(window, place.log)
        {
            self.say([deleted, window.until], format!("{place} answers, but was deleted"));
        }
    }

    /// A partition was said not to exist.
    fn refused(&mut self, window: Window, place: Place, code: u16) {
        if !self.is_ours(window) {
            return;
        }
        if code == UNKNOWN_LOG
            && self.is_known_to_all(window, place.log)
            && let Some(born) = self.must_exist(window, place.log)
        {
            self.say([born, window.until], format!("log {} is said not to exist", place.log));
        }
        let settings = self.evidence.logs.settings((self.life, place.log));
        if code == UNKNOWN_PARTITION
            && let Some(settings) = settings.filter(|known| place.partition < known.partitions)
        {
            let what =
                format!("{place} is said not to exist, of {} partitions", settings.partitions);
            self.say([window.until], what);
        }
    }
}

#[cfg(test)]
mod tests;
