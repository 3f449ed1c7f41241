//! `pyralog audit`: recomputes every root from the records, remembers, and raises an alarm where the server's word does not
//! hold.

mod server;
mod state;

use std::time::Duration;

use pyralog_client::PartitionId;
use pyralog_client::blocking::Client;
use pyralog_log::proof::auditor::{Alarm, Auditor, Coverage};
use pyralog_log::proof::{PublicKey, Subject, Trust};
use pyralog_wire::Integrity;
use serde_json::{Value, json};

use crate::args::AuditArgs;
use crate::connect::{connect, explain};
use crate::exit::{Failure, Status};
use crate::output::{Output, Tone};
use crate::session::Session;
use crate::stopwatch::pause;
use server::Served;
use state::State;

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
    let mut audit =
        Audit { output: session.output, client: connected.client, keys, parts: Vec::new() };
    audit.open(args)?;
    let mut is_first = true;
    loop {
        match audit.round(args.full && is_first) {
            Ok(()) => {}
            Err(failure) if args.follow => {
                audit.output.note(&format!("no audit for now: {failure}"));
            }
            Err(failure) => return Err(failure),
        }
        if !args.follow {
            return audit.finish();
        }
        is_first = false;
        pause(ROUND);
    }
}

/// A partition that is audited.
struct Part {
    log: String,
    partition: PartitionId,
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
    parts: Vec<Part>,
}

impl Audit {
    /// Finds the partitions, and what is remembered of them.
    fn open(&mut self, args: &AuditArgs) -> Result<(), Failure> {
        let logs = self.client.list_logs("").map_err(|error| explain(&error))?;
        for name in &args.log {
            if !logs.iter().any(|log| log.name == *name) {
                return Err(Failure::failed(format!("there is no log `{name}`")));
            }
        }
        for log in logs {
            let is_named = args.log.contains(&log.name);
            if log.config.integrity != Integrity::Signed {
                if is_named {
                    return Err(Failure::failed(format!(
                        "the log `{}` is not signed, so there is nothing to hold its server to",
                        log.name
                    ))
                    .hint("integrity is chosen when a log is created: `pyralog log create NAME --integrity signed`"));
                }
                continue;
            }
            if !args.log.is_empty() && !is_named {
                continue;
            }
            for number in 0..log.config.partitions {
                let partition = PartitionId::new(number);
                let subject =
                    Subject { cluster: self.client.server().cluster, log: log.id, partition };
                let (state, known) = State::open(&args.state, (subject, &log.name))?;
                let mut trust = Trust::new(subject, self.keys.clone());
                let mut entries = Vec::new();
                if let Some((last, remembered)) = known {
                    trust.resume(last).map_err(|error| Failure::failed(error.to_string()))?;
                    entries = remembered;
                }
                let auditor = Auditor::new(trust, entries);
                if !auditor.is_sound() {
                    return Err(state::damaged(&args.state));
                }
                let log = log.name.clone();
                self.parts.push(Part { log, partition, auditor, state, told: Vec::new() });
            }
        }
        Ok(())
    }

    /// Audits every partition up to its newest checkpoint, and what was audited before once more if `full`.
    fn round(&mut self, full: bool) -> Result<(), Failure> {
        for part in &mut self.parts {
            let mut served = Served::new(&self.client, &part.log, part.partition)?;
            part.auditor.alarms.clear();
            part.auditor.round(&mut served)?;
            if full {
                part.auditor.reread(&mut served)?;
            }
            if let Some(last) = part.auditor.last() {
                part.state.save(last, part.auditor.entries())?;
            }
            for alarm in &part.auditor.alarms {
                if !part.told.contains(alarm) {
                    tell(self.output, part, alarm)?;
                }
            }
            let new: Vec<Alarm> = part
                .auditor
                .alarms
                .iter()
                .filter(|alarm| !part.told.contains(alarm))
                .cloned()
                .collect();
            part.told.extend(new);
        }
        Ok(())
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
        let alarms: usize = self.parts.iter().map(|part| part.told.len()).sum();
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

/// What is audited of a partition.
fn covered(part: &Part) -> Value {
    let last = part.auditor.last().map(|last| *last.checkpoint());
    json!({
        "log": part.log,
        "partition": part.partition.get(),
        "batches": last.map_or(0, |last| last.tree_size),
        "end_offset": last.map_or(0, |last| last.end_offset.get()),
        "public_key": part.auditor.last().map(|last| last.key().to_string()),
    })
}

/// Tells an alarm, and keeps its evidence.
fn tell(output: Output, part: &Part, alarm: &Alarm) -> Result<(), Failure> {
    let evidence = part.state.save_evidence(alarm)?;
    if output.json() {
        return output.line(
            &json!({
                "alarm": alarm.kind.word(),
                "log": part.log,
                "partition": part.partition.get(),
                "first_offset": alarm.offsets.start.get(),
                "end_offset": alarm.offsets.end.get(),
                "what": alarm.what,
                "evidence": evidence.map(|path| path.display().to_string()),
            })
            .to_string(),
        );
    }
    output.line(&output.paint(Tone::Bad, &alarm.line(&part.log, part.partition.get())))?;
    match evidence {
        Some(path) => output.line(&format!("  evidence for others: {}", path.display())),
        None => Ok(()),
    }
}
