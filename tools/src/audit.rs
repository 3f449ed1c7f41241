//! `pyralog audit`: recomputes every root from the records, remembers, and raises an alarm where the server's word does not
//! hold.

mod server;
mod state;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use pyralog_client::PartitionId;
use pyralog_client::blocking::Client;
use pyralog_log::ids::Offset;
use pyralog_log::proof::auditor::{Alarm, Auditor, Coverage, Kind};
use pyralog_log::proof::{PublicKey, Subject, Trust};
use pyralog_runtime::file::FileLock;
use pyralog_wire::Integrity;
use serde_json::{Value, json};

use crate::args::AuditArgs;
use crate::connect::{connect, explain};
use crate::exit::{Failure, Status};
use crate::output::{Output, Tone, plain};
use crate::session::Session;
use crate::stopwatch::pause;
use server::Served;
use state::{Audited, State};

/// How long `--follow` waits between two rounds: a checkpoint is made once a second.
const ROUND: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// With exit code 4 if there was an alarm; if the server does not answer, unless it is followed.
pub(crate) fn run(session: &Session, args: &AuditArgs) -> Result<(), Failure> {
    let keys: Result<Vec<_>, _> = args.key.iter().map(|key| PublicKey::parse(key)).collect();
    let keys = keys.map_err(|error| Failure::usage(format!("--key: {error}")))?;
    let connected = connect(session, &args.client)?;
    let lock = state::lock(&args.state)?;
    let mut audit = Audit {
        output: session.output,
        client: connected.client,
        keys,
        known: state::audited(&args.state)?,
        parts: Vec::new(),
        lost: BTreeSet::new(),
        alarms: 0,
        _lock: lock,
    };
    let mut full = args.full;
    loop {
        let outcome = audit.round(args, full);
        full &= outcome.is_err();
        match outcome {
            Ok(()) if !args.follow => return audit.finish(),
            Ok(()) => {}
            Err(failure) if args.follow => {
                audit.output.note(&format!("no audit for now: {failure}"));
            }
            // What went wrong besides does not hide what was found.
            Err(failure) if audit.alarms > 0 => {
                audit.output.note(&format!("not all was audited: {failure}"));
                return audit.finish();
            }
            Err(failure) => return Err(failure),
        }
        pause(ROUND);
    }
}

/// A partition that is audited.
struct Part {
    log: String,
    subject: Subject,
    auditor: Auditor,
    state: State,
    /// Alarms that were told already.
    told: Vec<Alarm>,
}

/// An audit of some logs.
struct Audit {
    output: Output,
    client: Client,
    keys: Vec<PublicKey>,
    /// Partitions that were audited before and are not among `parts`.
    known: Vec<Audited>,
    parts: Vec<Part>,
    /// Those of them that the server has no more, and that was told.
    lost: BTreeSet<Subject>,
    /// Alarms that were told.
    alarms: usize,
    _lock: FileLock,
}

impl Audit {
    /// Finds the partitions, and what is remembered of them. What is remembered and not there is an alarm: the ids are the
    /// server's word, and a log that was rolled back can come under another one.
    fn find(&mut self, args: &AuditArgs) -> Result<(), Failure> {
        let logs = self.client.list_logs("").map_err(|error| explain(&error))?;
        let is_wanted = |name: &String| args.log.is_empty() || args.log.contains(name);
        for name in &args.log {
            let is_known = self.known.iter().any(|known| known.log == *name)
                || self.parts.iter().any(|part| part.log == *name);
            let found = logs.iter().find(|log| log.name == *name);
            if !is_known {
                may_audit(name, found.map(|log| log.config.integrity))?;
            }
        }
        let cluster = self.client.server().cluster;
        let mut subjects = BTreeSet::new();
        let signed = logs.iter().filter(|log| log.config.integrity == Integrity::Signed);
        for log in signed.filter(|log| is_wanted(&log.name)) {
            for number in 0..log.config.partitions {
                let subject = Subject { cluster, log: log.id, partition: PartitionId::new(number) };
                subjects.insert(subject);
                if !self.parts.iter().any(|part| part.subject == subject) {
                    let part = self.open(args, (subject, &log.name))?;
                    self.parts.push(part);
                }
            }
        }
        let gone = self.parts.extract_if(.., |part| !subjects.contains(&part.subject));
        self.known.extend(gone.filter_map(|part| {
            let end = part.auditor.last()?.checkpoint().end_offset;
            let file = part.state.file().to_owned();
            Some(Audited { subject: part.subject, log: part.log, end, file })
        }));
        let lost = |known: &&Audited| is_wanted(&known.log) && !subjects.contains(&known.subject);
        for known in self.known.iter().filter(lost) {
            if self.lost.insert(known.subject) {
                self.alarms += 1;
                let place = (&*known.log, known.subject.partition);
                tell(self.output, place, (&gone_alarm(known), None))?;
            }
        }
        Ok(())
    }

    /// A partition, with what is remembered of it.
    fn open(&self, args: &AuditArgs, (subject, log): (Subject, &str)) -> Result<Part, Failure> {
        let (state, known) = State::open(&args.state, (subject, log))?;
        let mut trust = Trust::new(subject, self.keys.clone());
        let mut entries = Vec::new();
        if let Some((last, remembered)) = known {
            trust.resume(last).map_err(|error| Failure::failed(error.to_string()))?;
            entries = remembered;
        }
        let auditor = Auditor::new(trust, entries);
        if !auditor.is_sound() {
            return Err(state::damaged(state.file()));
        }
        Ok(Part { log: log.to_owned(), subject, auditor, state, told: Vec::new() })
    }

    /// Audits every partition up to its newest checkpoint, and what was audited before once more if `full`. A partition that
    /// cannot be audited keeps no other from it, and no alarm from being told.
    fn round(&mut self, args: &AuditArgs, full: bool) -> Result<(), Failure> {
        self.find(args)?;
        let mut outcome = Ok(());
        for part in &mut self.parts {
            let audited = part.audit(&self.client, full);
            self.alarms += part.tell(self.output)?;
            let Err(failure) = audited else { continue };
            let is_over = failure.status() == Status::Unavailable;
            match &outcome {
                Ok(()) => outcome = Err(failure),
                Err(_) => self.output.note(&failure.to_string()),
            }
            if is_over {
                break;
            }
        }
        outcome
    }

    /// The report at the end of one round.
    fn finish(self) -> Result<(), Failure> {
        let mut sum = Coverage::default();
        for part in &self.parts {
            let read = part.auditor.coverage;
            sum.batches += read.batches;
            sum.records += read.records;
            sum.bytes += read.bytes;
        }
        let alarms = self.alarms;
        if self.output.json() {
            self.output.document(&json!({
                "partitions": self.parts.iter().map(covered).collect::<Vec<Value>>(),
                "batches_read": sum.batches,
                "records_read": sum.records,
                "bytes_read": sum.bytes,
                "alarms": alarms,
            }))?;
        } else {
            let word = if alarms == 0 {
                self.output.paint(Tone::Good, "sound")
            } else {
                self.output.paint(Tone::Bad, "ALARM")
            };
            self.output.line(&format!(
                "{word}  {} partitions, {} batches with {} records read, {alarms} alarms",
                self.parts.len(),
                sum.batches,
                sum.records
            ))?;
        }
        match alarms {
            0 => Ok(()),
            count => Err(Failure::new(Status::VerificationFailed, format!("{count} alarms"))
                .hint("docs/PROOFS.md says what each of them means; keep the state directory, it is evidence")),
        }
    }
}

impl Part {
    /// One round, and what came of it is kept.
    fn audit(&mut self, client: &Client, full: bool) -> Result<(), Failure> {
        self.auditor.alarms.clear();
        let mut served = Served::new(client, &self.log, self.subject.partition)?;
        let mut audited = self.auditor.round(&mut served);
        if full && audited.is_ok() {
            audited = self.auditor.reread(&mut served);
        }
        if let Some(last) = self.auditor.last() {
            self.state.save(last, self.auditor.entries())?;
        }
        audited?;
        // What comes from now on is in no tree: that is no sound log, whatever is found of the rest.
        match served.fault {
            None => Ok(()),
            Some(fault) => Err(Failure::failed(format!(
                "the tree of `{}` partition {} stands still: {}",
                self.log,
                self.subject.partition,
                plain(&fault)
            ))),
        }
    }

    /// Tells the alarms that are new, with their evidence; returns how many.
    fn tell(&mut self, output: Output) -> Result<usize, Failure> {
        let alarms = self.auditor.alarms.iter();
        let new: Vec<Alarm> = alarms.filter(|alarm| !self.told.contains(alarm)).cloned().collect();
        for alarm in &new {
            // An alarm is told, whether its evidence can be kept or not.
            let evidence = self.state.save_evidence(alarm).unwrap_or_else(|failure| {
                output.note(&format!("the evidence is not kept: {failure}"));
                None
            });
            tell(output, (&self.log, self.subject.partition), (alarm, evidence))?;
        }
        let count = new.len();
        self.told.extend(new);
        Ok(count)
    }
}

/// Whether a log that was named and never audited can be.
fn may_audit(name: &str, found: Option<Integrity>) -> Result<(), Failure> {
    match found {
        Some(Integrity::Signed) => Ok(()),
        None => Err(Failure::failed(format!("there is no log `{name}`"))),
        Some(_) => Err(Failure::failed(format!(
            "the log `{name}` is not signed, so there is nothing to hold its server to"
        ))
        .hint(
            "integrity is chosen when a log is created: `pyralog log create NAME --integrity signed`",
        )),
    }
}

/// That a partition was audited, and its log is not there any more.
fn gone_alarm(known: &Audited) -> Alarm {
    let Subject { cluster, log, .. } = known.subject;
    let what = format!(
        "they were audited in log {log} of cluster {cluster}, and the server has no such signed log; \
         if it was deleted on purpose, remove {}",
        known.file.display()
    );
    Alarm::new(Kind::RolledBack, Offset::ZERO..known.end, what)
}

/// What is audited of a partition.
fn covered(part: &Part) -> Value {
    let last = part.auditor.last().map(|last| *last.checkpoint());
    json!({
        "log": part.log,
        "partition": part.subject.partition.get(),
        "batches": last.map_or(0, |last| last.tree_size),
        "end_offset": last.map_or(0, |last| last.end_offset.get()),
        "public_key": part.auditor.last().map(|last| last.key().to_string()),
    })
}

/// Tells an alarm about a partition, and where its evidence is.
fn tell(
    output: Output,
    (log, partition): (&str, PartitionId),
    (alarm, evidence): (&Alarm, Option<PathBuf>),
) -> Result<(), Failure> {
    if output.json() {
        return output.line(
            &json!({
                "alarm": alarm.kind.word(),
                "log": log,
                "partition": partition.get(),
                "first_offset": alarm.offsets.start.get(),
                "end_offset": alarm.offsets.end.get(),
                "what": alarm.what,
                "evidence": evidence.map(|path| path.display().to_string()),
            })
            .to_string(),
        );
    }
    output.line(&output.paint(Tone::Bad, &alarm.line(log, partition.get())))?;
    match evidence {
        Some(path) => output.line(&format!("  evidence for others: {}", path.display())),
        None => Ok(()),
    }
}
