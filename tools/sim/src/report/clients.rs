//! The history as lines, and its requests as bars of the picture.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use pyralog_sim::history::{
    CatalogAnswer, CatalogAsk, CheckpointSeen, Event, FinalRead, History, Key, Kind, Mark as Begin,
    Outcome, Proven, Read, ReadRefused, RecordId, Refusal, Seen, Target, Truncated, WORLD,
    Watermarks,
};
use pyralog_sim::timeline::{Answer, Mark, MarkKind};
use pyralog_wire::ErrorCode;

use super::world::OneLine;
use super::{counted, life, sequences};

/// Runs of records that a line names; more are counted.
const RUNS_MAX: usize = 6;

/// Who saw an event.
pub(super) fn who(client: u32) -> String {
    if client == WORLD { "world".to_owned() } else { format!("client {client}") }
}

/// A sentence about what happened.
pub(super) struct Words<'a>(pub(super) &'a Kind);

impl Display for Words<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::CatalogAsked { request, ask, .. } => {
                write!(f, "catalog {request} asked: {}", Ask(ask))
            }
            Kind::CatalogAnswered { request, answer, .. } => {
                write!(f, "catalog {request} {}", CatalogEnd(*answer))
            }
            Kind::CatalogSeen { names, present, .. } => {
                let asked = names.as_ref().map_or("all".to_owned(), |names| names.join(" "));
                let seen: Vec<_> =
                    present.iter().map(|(name, id)| format!("{name}={id}")).collect();
                write!(f, "logs, asked for {asked}: {}", seen.join(" "))
            }
            Kind::Read(read) => write!(f, "{}", ReadWords(read)),
            Kind::ReadRefused(refused) => write!(f, "{}", RefusedWords(refused)),
            Kind::Watermarks(Watermarks { place, low, high, end, .. }) => {
                write!(f, "watermarks of {place}: low {low}, high {high}")?;
                end.map_or(Ok(()), |end| write!(f, ", end {end}"))
            }
            Kind::MemoryObserved { place, bytes, .. } => write!(f, "{place} holds {bytes} bytes"),
            Kind::FinalRead(read) => {
                let FinalRead { place, low, high, records, damaged, .. } = read;
                write!(f, "final read of {place}: low {low}, high {high}, {}", SeenWords(records))?;
                if damaged.is_empty() { Ok(()) } else { write!(f, ", damaged {damaged:?}") }
            }
            Kind::Probed { what, result: Ok(()), .. } => write!(f, "probe: {what}"),
            Kind::Probed { what, result: Err(why), .. } => {
                write!(f, "probe FAILED: {what}: {}", OneLine(why))
            }
            other => AppendWords(other).fmt(f),
        }
    }
}

/// A sentence about an append.
struct AppendWords<'a>(&'a Kind);

impl Display for AppendWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::AppendBegun { append, place, level, idempotent, records, .. } => {
                write!(f, "append {append} begun: {} to {place}", Records(records))?;
                if let Some(level) = level {
                    write!(f, ", {level:?}")?;
                }
                f.write_str(if *idempotent { ", idempotent" } else { ", not idempotent" })
            }
            Kind::Keyed { append, keys } => {
                write!(f, "append {append} has keys:")?;
                keys.iter().try_for_each(|key| match key {
                    None => f.write_str(" none"),
                    Some(Key { number, is_tombstone: true }) => write!(f, " -{number}"),
                    Some(Key { number, .. }) => write!(f, " {number}"),
                })
            }
            Kind::AppendSent { append, attempt, session, bytes, .. } => {
                write!(f, "append {append} sent: attempt {attempt}, {bytes} bytes")?;
                session.map_or(Ok(()), |session| {
                    let (id, epoch) = (session.id, session.epoch);
                    write!(f, ", session {id:x} epoch {epoch} sequence {}", session.sequence)
                })
            }
            Kind::AppendEnded { append, outcome, .. } => {
                write!(f, "append {append} {}", AppendEnd(*outcome))
            }
            other => ServerWords(other).fmt(f),
        }
    }
}

/// A sentence about the server.
struct ServerWords<'a>(&'a Kind);

impl Display for ServerWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::TruncateAsked { request, place, before } => {
                write!(f, "truncation {request} of {place} asked, before {before}")
            }
            Kind::Truncated(Truncated { place, before, low, .. }) => {
                write!(f, "{place} truncated before {before}: begins at {low}")
            }
            Kind::CheckpointSeen(seen) => {
                let CheckpointSeen { place, tree_size, end, .. } = seen;
                write!(f, "checkpoint of {place}: {tree_size} batches, up to {end}")
            }
            Kind::Proven(Proven { place, seen, .. }) => match &seen.content {
                Ok(id) => write!(f, "{id} is proven to be at {} of {place}", seen.offset),
                Err(wrong) => write!(f, "at {} of {place} is PROVEN: {wrong}", seen.offset),
            },
            Kind::Distrusted { place, problem, .. } => {
                write!(f, "checkpoint of {place} NOT BELIEVED: {}", OneLine(problem))
            }
            Kind::StoreCompared { missing, orphans } => {
                write!(f, "the object store misses {}, ", counted(missing.len(), "object"))?;
                write!(f, "and has {} that nobody names", orphans.len())
            }
            Kind::Ended { end, wiped, .. } => {
                let wiped = if *wiped { ", and what it stored is gone" } else { "" };
                write!(f, "SERVER ENDS: {end:?}{wiped}")
            }
            Kind::Booted { shards, lines, .. } => {
                write!(f, "server serves on {}", counted((*shards).into(), "core"))?;
                lines.iter().try_for_each(|line| write!(f, "; {}", OneLine(line)))
            }
            Kind::BootFailed { reason, .. } => {
                write!(f, "server does NOT START: {}", OneLine(reason))
            }
            Kind::DamageReported { place, range, .. } => {
                write!(f, "damage reported in {place}: {}..{}", range.start, range.end)
            }
            Kind::Struck { target, fault, .. } => {
                write!(f, "STRUCK by {fault}: {}", TargetWords(*target))
            }
            Kind::CallFailed { target, fault, .. } => {
                write!(f, "a call FAILED with {fault}: {}", TargetWords(*target))
            }
            Kind::ClockJumped { by_us: 0, .. } => f.write_str("the server's clock runs wrong"),
            Kind::ClockJumped { by_us, .. } => write!(f, "the server's clock jumps by {by_us} us"),
            Kind::FaultsStopped => f.write_str("faults have stopped"),
            Kind::Panicked { message, .. } => write!(f, "PANIC: {}", OneLine(message)),
            // All others have their words above, or are about sequencers.
            other => match sequences::words(other) {
                Some(words) => f.write_str(&words),
                None => write!(f, "{other:?}"),
            },
        }
    }
}

/// Whose files something happened to.
struct TargetWords(Target);

impl Display for TargetWords {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Target::Partition(place) => write!(f, "partition {place}"),
            Target::Catalog => f.write_str("the catalog"),
            Target::Marks => f.write_str("the marks of ids"),
            Target::Counters => f.write_str("a counter"),
            Target::Other => f.write_str("another file"),
        }
    }
}

struct Ask<'a>(&'a CatalogAsk);

impl Display for Ask<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            CatalogAsk::Create { name, settings } => {
                let (partitions, level) = (settings.partitions, settings.level);
                let storage = settings.storage;
                let partitions = counted(partitions as usize, "partition");
                write!(f, "create {name}, {partitions}, {level:?}, {storage:?}")?;
                if settings.memory_bytes_max > 0 {
                    write!(f, ", {} bytes", settings.memory_bytes_max)?;
                }
                if settings.ttl_ms > 0 {
                    write!(f, ", for {} ms", settings.ttl_ms)?;
                }
                life::settings(f, &settings.life)
            }
            CatalogAsk::Alter { name, changes } => {
                write!(f, "alter {name}")?;
                if let Some(level) = changes.level {
                    write!(f, ", {level:?}")?;
                }
                if let Some(bytes) = changes.memory_bytes_max {
                    write!(f, ", {bytes} bytes")?;
                }
                changes.ttl_ms.map_or(Ok(()), |ms| write!(f, ", for {ms} ms"))?;
                life::changes(f, &changes.life)
            }
            CatalogAsk::Delete { name } => write!(f, "delete {name}"),
        }
    }
}

struct CatalogEnd(CatalogAnswer);

impl Display for CatalogEnd {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            CatalogAnswer::Done { log } => write!(f, "done: log {log}"),
            CatalogAnswer::Refused(refusal) => write!(f, "refused: {}", RefusalWords(refusal)),
            CatalogAnswer::Unknown => f.write_str("UNKNOWN"),
        }
    }
}

struct AppendEnd(Outcome);

impl Display for AppendEnd {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Outcome::Acked { attempt, base_offset, duplicate } => {
                write!(f, "acknowledged at {base_offset}, attempt {attempt}")?;
                f.write_str(if duplicate { ", duplicate" } else { "" })
            }
            Outcome::Refused(refusal) => write!(f, "refused: {}", RefusalWords(refusal)),
            Outcome::Unknown => f.write_str("UNKNOWN"),
        }
    }
}

/// A refusal with the name that the documentation has for it.
pub(super) struct RefusalWords(pub(super) Refusal);

impl Display for RefusalWords {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Refusal { code, a, b } = self.0;
        match ErrorCode::from_number(code) {
            Some(known) => write!(f, "{} ({code}", known.name())?,
            None if code == 0 => write!(f, "the client gave up (0")?,
            None => write!(f, "unknown code ({code}")?,
        }
        if (a, b) != (0, 0) {
            write!(f, ", {a}, {b}")?;
        }
        f.write_str(")")
    }
}

struct ReadWords<'a>(&'a Read);

impl Display for ReadWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Read { place, from, records, ids, next, low, high, .. } = self.0;
        write!(f, "read {place} from {from}: {}", SeenWords(records))?;
        write!(f, ", next {next}, low {low}, high {high}")?;
        if ids.is_empty() { Ok(()) } else { write!(f, ", ids{}", sequences::Ids(ids)) }
    }
}

struct RefusedWords<'a>(&'a ReadRefused);

impl Display for RefusedWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ReadRefused { place, from, refusal, .. } = self.0;
        write!(f, "read {place}")?;
        if let Some(from) = from {
            write!(f, " from {from}")?;
        }
        write!(f, " refused: {}", RefusalWords(*refusal))
    }
}

/// Records that were written: `c1#4..7 c2#1 (4 records)`, as runs of one client's numbers, ends excluded.
struct Records<'a>(&'a [RecordId]);

impl Display for Records<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let follows = |a: &RecordId, b: &RecordId| {
            a.client == b.client && a.sequence.checked_add(1) == Some(b.sequence)
        };
        for (index, run) in self.0.chunk_by(follows).enumerate() {
            if index == RUNS_MAX {
                f.write_str("… ")?;
                break;
            }
            write!(f, "{}", run[0])?;
            if run.len() > 1 {
                write!(f, "..{}", run[0].sequence.saturating_add(run.len() as u64))?;
            }
            f.write_str(" ")?;
        }
        write!(f, "({})", counted(self.0.len(), "record"))
    }
}

/// Records that were read, as runs of offsets and numbers that both go on: `10..13=c1#4..7`.
struct SeenWords<'a>(&'a [Seen]);

impl Display for SeenWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let follows = |a: &Seen, b: &Seen| {
            let offsets = a.offset.checked_add(1) == Some(b.offset);
            offsets
                && matches!((&a.content, &b.content), (Ok(a), Ok(b))
                    if a.client == b.client && a.sequence.checked_add(1) == Some(b.sequence))
        };
        for (index, run) in self.0.chunk_by(follows).enumerate() {
            // What is wrong is never left out.
            if let Err(wrong) = &run[0].content {
                write!(f, "{}=WRONG: {} ", run[0].offset, OneLine(wrong))?;
                continue;
            }
            match index {
                0..RUNS_MAX => write!(f, "{} ", Run(run))?,
                RUNS_MAX => f.write_str("… ")?,
                _ => {}
            }
        }
        write!(f, "({})", counted(self.0.len(), "record"))
    }
}

struct Run<'a>(&'a [Seen]);

impl Display for Run<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [first, ..] = self.0 else { return Ok(()) };
        let Ok(id) = &first.content else { return Ok(()) };
        write!(f, "{}", first.offset)?;
        match self.0.len() as u64 {
            1 => write!(f, "={id}"),
            len => {
                let (end, id_end) = (first.offset.checked_add(len), id.sequence.checked_add(len));
                write!(f, "..{}={id}..{}", end.unwrap_or(u64::MAX), id_end.unwrap_or(u64::MAX))
            }
        }
    }
}

/// A request that has begun.
struct Begun {
    at: u64,
    node: usize,
    words: String,
}

impl Begun {
    fn ended(mut self, until: Option<u64>, answer: Answer, outcome: &str) -> Mark {
        self.words.push_str(": ");
        self.words.push_str(outcome);
        self.ended_as(until, answer)
    }

    /// With all words said already.
    fn ended_as(self, until: Option<u64>, answer: Answer) -> Mark {
        let kind = MarkKind::Request { node: self.node, until, answer };
        Mark { at: self.at, text: self.words, kind }
    }
}

/// The node of a client, by name.
fn node_of(nodes: &[String], client: u32) -> Option<usize> {
    let own = format!("client {client}");
    let find = |wanted: &str| nodes.iter().position(|name| name == wanted);
    // Others have numbers that no node is called by: they are what looks at everything in the end.
    if client == WORLD { None } else { find(&own).or_else(|| find("checker")) }
}

/// Appends, questions to the catalog, reads and the like as bars from question to answer. Most that are no appends are
/// recorded when they are answered: those begin when the last thing happened before their question.
pub(super) fn requests(history: &History, nodes: &[String]) -> Vec<Mark> {
    let mut appends: BTreeMap<u64, Begun> = BTreeMap::new();
    let mut questions: BTreeMap<u64, Begun> = BTreeMap::new();
    let mut marks = Vec::new();
    for Event { at, client, kind } in history.events() {
        let Some(node) = node_of(nodes, *client) else { continue };
        let begun = |words: String| Begun { at: *at, node, words };
        let until = Some(*at);
        match kind {
            Kind::AppendBegun { append, .. } => {
                appends.insert(*append, begun(Words(kind).to_string().replace(" begun:", "")));
            }
            Kind::AppendEnded { append, outcome, .. } => {
                let answer = match outcome {
                    Outcome::Acked { .. } => Answer::Done,
                    Outcome::Refused(_) => Answer::Refused,
                    Outcome::Unknown => Answer::Unknown,
                };
                let outcome = AppendEnd(*outcome).to_string();
                marks.extend(
                    appends.remove(append).map(|begun| begun.ended(until, answer, &outcome)),
                );
            }
            Kind::CatalogAsked { request, ask, .. } => {
                questions.insert(*request, begun(Ask(ask).to_string()));
            }
            Kind::CatalogAnswered { request, answer, .. } => {
                let outcome = CatalogEnd(*answer).to_string();
                let answer = match answer {
                    CatalogAnswer::Done { .. } => Answer::Done,
                    CatalogAnswer::Refused(_) => Answer::Refused,
                    CatalogAnswer::Unknown => Answer::Unknown,
                };
                let asked = questions.remove(request);
                marks.extend(asked.map(|begun| begun.ended(until, answer, &outcome)));
            }
            Kind::CounterAsked { request, name, ask } => {
                questions.insert(*request, begun(sequences::asked(name, *ask)));
            }
            Kind::CounterAnswered { request, answer } => {
                let (outcome, answer) = (sequences::answered(*answer), sequences::kind_of(*answer));
                let asked = questions.remove(request);
                marks.extend(asked.map(|begun| begun.ended(until, answer, &outcome)));
            }
            Kind::Probed { result, .. } => {
                let answer = if result.is_ok() { Answer::Done } else { Answer::Refused };
                marks.push(begun(Words(kind).to_string()).ended_as(until, answer));
            }
            _ => {
                if let Some((mark, answer)) = answered(kind) {
                    let from = earliest(history, mark).min(*at);
                    let whole = Begun { at: from, node, words: Words(kind).to_string() };
                    marks.push(whole.ended_as(until, answer));
                }
            }
        }
    }
    let open = appends.into_values().chain(questions.into_values());
    marks.extend(open.map(|begun| begun.ended(None, Answer::Unknown, "no outcome")));
    marks
}

/// What is recorded once, when it was answered: the place before its question, and what kind of answer it was.
fn answered(kind: &Kind) -> Option<(Begin, Answer)> {
    match kind {
        Kind::Read(read) => Some((read.begun, Answer::Done)),
        Kind::FinalRead(read) => Some((read.begun, Answer::Done)),
        Kind::Watermarks(told) => Some((told.begun, Answer::Done)),
        Kind::IdsDealt(dealt) => Some((dealt.begun, Answer::Done)),
        Kind::CatalogSeen { begun, .. }
        | Kind::CountersSeen { begun, .. }
        | Kind::MemoryObserved { begun, .. } => Some((*begun, Answer::Done)),
        Kind::ReadRefused(refused) => Some((refused.begun, Answer::Refused)),
        Kind::IdsRefused { begun, .. } => Some((*begun, Answer::Refused)),
        _ => None,
    }
}

/// The last time that is known to be before what a mark stands for.
fn earliest(history: &History, mark: Begin) -> u64 {
    let before = mark.0.checked_sub(1).and_then(|index| history.events().get(index));
    before.map_or(0, |event| event.at)
}
