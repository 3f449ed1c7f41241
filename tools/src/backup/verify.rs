//! `pyralog backup verify`: every byte of a backup, without a server.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::files::{Walked, folder, name, walk_each};
use super::manifest::{BatchFile, Manifest, PartitionBackup};
use super::tree::{Check, Fault};
use crate::exit::{Failure, Status};
use crate::output::{Output, Tone};
use crate::quantity::{bytes_human, counted};
use crate::timestamp::rfc3339;

/// A file that is not what it was: its log and partition, where it lies, and what is wrong.
type Problem = (String, u32, PathBuf, String);

/// Runs the command.
///
/// # Errors
/// If there is no backup, or anything in it is not as the manifest says (exit code 4).
pub(super) fn run(output: Output, dir: &Path) -> Result<(), Failure> {
    let (manifest, problems) = read(dir)?;
    let (bytes, records) = manifest.totals();
    if output.json() {
        output.document(&json!({
            "cluster": manifest.cluster,
            "taken": rfc3339(manifest.taken_us),
            "logs": manifest.logs.len(),
            "counters": manifest.counters.len(),
            "records": records,
            "bytes": bytes,
            "damaged_files": problems.iter().map(|(log, partition, path, problem)| json!({
                "log": log,
                "partition": partition,
                "file": path.display().to_string(),
                "problem": problem,
            })).collect::<serde_json::Value>(),
        }))?;
    } else if problems.is_empty() {
        output.line(&format!(
            "{} {}, {}, {} in files that are what they were; taken {} of cluster {}",
            output.paint(Tone::Good, "sound"),
            counted(manifest.logs.len() as u64, "log"),
            counted(records, "record"),
            bytes_human(bytes),
            rfc3339(manifest.taken_us),
            manifest.cluster
        ))?;
    } else {
        name_problems(output, &problems)?;
    }
    verdict(&problems)
}

/// The manifest of a backup of which every byte was checked.
///
/// # Errors
/// As for [`run`]; what is damaged has been named.
pub(crate) fn verified(output: Output, dir: &Path) -> Result<Manifest, Failure> {
    let (manifest, problems) = read(dir)?;
    if !output.json() {
        name_problems(output, &problems)?;
    }
    verdict(&problems).map(|()| manifest)
}

fn read(dir: &Path) -> Result<(Manifest, Vec<Problem>), Failure> {
    let Some(manifest) = Manifest::read(dir)? else {
        return Err(Failure::failed(format!("{} holds no complete backup", dir.display()))
            .hint("`pyralog backup DIR` goes on with one that was cut short"));
    };
    let mut problems = Vec::new();
    for log in &manifest.logs {
        for partition in &log.partitions {
            let folder = folder(dir, log.id, partition.partition);
            let faults = check_partition(&folder, partition);
            problems.extend(
                faults
                    .into_iter()
                    .map(|(path, problem)| (log.name.clone(), partition.partition, path, problem)),
            );
        }
    }
    Ok((manifest, problems))
}

fn name_problems(output: Output, problems: &[Problem]) -> Result<(), Failure> {
    for (log, partition, path, problem) in problems {
        let word = output.paint(Tone::Bad, "damaged");
        output
            .line(&format!("{word} {log} partition {partition}: {}: {problem}", path.display()))?;
    }
    Ok(())
}

fn verdict(problems: &[Problem]) -> Result<(), Failure> {
    let failure = match problems.len() {
        0 => return Ok(()),
        1 => "1 file of the backup is damaged".to_owned(),
        count => format!("{count} files of the backup are damaged"),
    };
    Err(Failure::new(Status::VerificationFailed, failure))
}

/// What is wrong with the files of a partition: that they are not the same bytes, that a batch is not sound, that the tree is not
/// the one that was stated, or not that of the batches. Of the tree one fault is told.
fn check_partition(folder: &Path, partition: &PartitionBackup) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut tree = partition.tree.as_ref().map(|tree| Check::new(folder.to_owned(), tree));
    for file in &partition.files {
        let path = folder.join(name(file.first, file.next));
        let walked = walk_each(&path, file.first, &mut |header, bytes| {
            if let Some(Ok(check)) = &mut tree
                && let Err(fault) = check.batch(header, bytes)
            {
                tree = Some(Err(fault));
            }
        });
        if let Err(problem) = walked.map_or_else(
            |failure| Err(failure.message().to_owned()),
            |walked| compare(&walked, file),
        ) {
            faults.push((path, problem));
        }
    }
    if let Some(tree) = tree {
        faults.extend(tree.and_then(Check::finish).err());
    }
    faults
}

/// Whether a file is what the manifest says.
fn compare(walked: &Walked, file: &BatchFile) -> Result<(), String> {
    match &walked.fault {
        Some(fault) => Err(format!("after offset {}: {fault}", walked.file.next)),
        None if walked.file != *file => Err("its content is another one".to_owned()),
        None => Ok(()),
    }
}
