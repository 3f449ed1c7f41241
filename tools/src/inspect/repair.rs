//! `inspect --repair`: a recovery that reads everything, of partitions that no server serves.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use pyralog_log::ids::PartitionId;
use pyralog_log::segment::keys_name;
use pyralog_runtime::file::blocking;
use pyralog_shard::catalog::LogEntry;
use pyralog_shard::offline::{Repaired, partition_folder, repair};
use serde_json::{Value, json};

use super::Subject;
use super::data_dir::{logs_of, read_catalog};
use super::partition::{Aside, Depth, PartitionReport, Small, gather};
use crate::exit::Failure;
use crate::output::{Output, Tone};
use crate::quantity::bytes_human;

/// A partition to repair, and what was found in it.
struct Patient {
    entry: LogEntry,
    partition: PartitionId,
    report: PartitionReport,
}

/// Says what it will do, asks, and does it.
pub(super) fn run(output: Output, subject: &Subject, yes: bool) -> Result<(), Failure> {
    let (data, only) = place(subject)?;
    if !yes && (output.json() || !std::io::stdin().is_terminal()) {
        return Err(Failure::usage("--repair needs --yes here")
            .hint("without a terminal there is nobody to ask"));
    }
    let patients = examine(&data, only.as_deref())?;
    let mut work = 0;
    for patient in &patients {
        for step in steps(&patient.report) {
            output.note(&format!("{}: {step}", place_name(&patient.entry, patient.partition)));
            work += 1;
        }
    }
    if work == 0 {
        if output.json() {
            return output.document(&json!({ "repaired": [] }));
        }
        return output.line("nothing to repair");
    }
    if !yes && !confirmed(output)? {
        return Err(Failure::failed("nothing was written"));
    }
    let ill: Vec<Patient> =
        patients.into_iter().filter(|patient| !steps(&patient.report).is_empty()).collect();
    for patient in &ill {
        remove_keys(&patient.report)?;
    }
    let order = ill.iter().map(|patient| (patient.entry.clone(), patient.partition)).collect();
    let repaired = repair(&data, order).map_err(|error| Failure::failed(error.to_string()))?;
    print(output, &ill, &repaired)
}

/// The data directory that the path lies in, and the partition if it names one.
fn place(subject: &Subject) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    let dir = match subject {
        Subject::Data(dir) => return Ok((dir.clone(), None)),
        Subject::Partition(dir) | Subject::Segment { dir, .. } => dir,
    };
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
    let data =
        dir.ancestors().find(|above| blocking::exists(&above.join("node.toml")).unwrap_or(false));
    let Some(data) = data else {
        return Err(Failure::usage(format!("{} lies in no data directory", dir.display()))
            .hint("a repair takes the lock of the data directory and the names of its catalog: put the partition back first"));
    };
    Ok((data.to_owned(), Some(dir.clone())))
}

/// Reads everything that is to be repaired.
fn examine(data: &Path, only: Option<&Path>) -> Result<Vec<Patient>, Failure> {
    let (catalog, problem, _) = read_catalog(data)?;
    if let Some(problem) = problem {
        return Err(Failure::failed(format!("the catalog cannot be read: {problem}"))
            .hint("restore the folder `catalog` from a copy; without it nothing says how the logs are configured"));
    }
    let mut patients = Vec::new();
    for log in logs_of(data, &catalog)? {
        let Some(entry) = log.entry else { continue };
        for partition in log.partitions {
            let folder = partition_folder(data, entry.id, partition);
            let absolute = std::path::absolute(&folder).unwrap_or_else(|_| folder.clone());
            if only.is_some_and(|only| only != absolute) {
                continue;
            }
            let report = gather(&folder, None, Depth::Everything, &mut |_, _| Ok(()))?;
            patients.push(Patient { entry: entry.clone(), partition, report });
        }
    }
    match only {
        Some(only) if patients.is_empty() => Err(Failure::usage(format!(
            "{} is no partition of a log of the catalog",
            only.display()
        ))),
        _ => Ok(patients),
    }
}

/// What is to be done to a partition, in words.
fn steps(report: &PartitionReport) -> Vec<String> {
    let mut steps = Vec::new();
    if let Small::Unusable(why) = &report.checkpoint {
        steps.push(format!("makes the checkpoint again: {why}"));
    }
    if let Small::Unusable(why) = &report.known {
        steps.push(format!("makes the list of damages again: {why}"));
    }
    let known = report.known.sound().map(Vec::as_slice).unwrap_or_default();
    for damage in report.damages().iter().filter(|damage| !known.contains(damage)) {
        let bytes = damage.positions.end.get() - damage.positions.start.get();
        steps.push(format!(
            "quarantines {damage} ({}); readers are told the range",
            bytes_human(bytes)
        ));
    }
    for segment in &report.segments {
        let base = segment.found.base;
        if let Some(cut) = segment.survey.as_ref().and_then(|survey| survey.cut.as_ref()) {
            steps.push(format!("ends the log at offset {}, before unfinished writes", cut.offset));
        }
        match &segment.index {
            Aside::Unusable(why) => {
                steps.push(format!("makes the index of segment {base} again: {why}"));
            }
            Aside::Missing if segment.found.next.is_some() => {
                steps.push(format!("makes the index of segment {base}: there is none"));
            }
            _ => {}
        }
        if let Aside::Unusable(why) = &segment.keys {
            steps.push(format!(
                "removes the index of keys of segment {base}, which the server makes again: {why}"
            ));
        }
    }
    steps
}

/// Recovery does not look at them; the server makes again what is missing.
fn remove_keys(report: &PartitionReport) -> Result<(), Failure> {
    for segment in &report.segments {
        if matches!(segment.keys, Aside::Unusable(_)) {
            let path = report.dir.join(keys_name(segment.found.base));
            blocking::remove_file(&path).map_err(|error| {
                Failure::failed(format!("cannot remove {}: {error}", path.display()))
            })?;
        }
    }
    Ok(())
}

fn place_name(entry: &LogEntry, partition: PartitionId) -> String {
    format!("{} partition {partition}", entry.name)
}

fn confirmed(output: Output) -> Result<bool, Failure> {
    output.note("Type `repair` to do this:");
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(format!("cannot read the answer: {error}")))?;
    Ok(answer.trim() == "repair")
}

fn print(output: Output, ill: &[Patient], repaired: &[Repaired]) -> Result<(), Failure> {
    let mut failed = 0;
    let mut rows: Vec<Value> = Vec::new();
    for (patient, done) in ill.iter().zip(repaired) {
        let name = place_name(&patient.entry, patient.partition);
        match &done.outcome {
            Ok(report) => {
                rows.push(json!({
                    "log": patient.entry.name,
                    "partition": patient.partition.get(),
                    "scanned_bytes": report.scanned_bytes,
                    "damaged": report.damaged.len(),
                    "damaged_new": report.damaged_new,
                    "low": report.low.get(),
                    "end": report.end.get(),
                }));
                if !output.json() {
                    output.line(&format!(
                        "{} {name}: {} read, offsets {} to {}, {} newly damaged",
                        output.paint(Tone::Good, "repaired"),
                        bytes_human(report.scanned_bytes),
                        report.low,
                        report.end,
                        report.damaged_new
                    ))?;
                }
            }
            Err(problem) => {
                failed += 1;
                output.note(&format!("{name}: {problem}"));
            }
        }
    }
    if output.json() {
        output.document(&json!({ "repaired": rows }))?;
    }
    if failed > 0 {
        return Err(Failure::failed(format!("{failed} partitions could not be repaired")));
    }
    Ok(())
}
