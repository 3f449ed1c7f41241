//! A whole data directory: whose it is, the logs of its catalog, and a line for each partition.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pyralog_log::ids::{LogId, PartitionId};
use pyralog_log::inspect::Seen;
use pyralog_log::segment::segment_name;
use pyralog_shard::catalog::{Catalog, LogEntry};
use pyralog_shard::data_dir::{Identity, identity_of};
use pyralog_shard::offline::{CatalogReader, partition_folder};
use pyralog_wire::LogStorage;

use super::files::{Source, list};
use super::partition::{Depth, PartitionReport, gather};
use super::{show, verdict};
use crate::exit::Failure;
use crate::output::Output;

/// A log of the directory: as the catalog has it, or only a folder that no command has made.
#[derive(Debug)]
pub(super) struct LogFound {
    pub(super) id: LogId,
    pub(super) entry: Option<LogEntry>,
    pub(super) partitions: Vec<PartitionId>,
}

/// What a data directory says of itself.
#[derive(Debug)]
pub(super) struct DataReport {
    pub(super) dir: PathBuf,
    pub(super) identity: Option<Identity>,
    /// Why the catalog cannot be read to its end, if so.
    pub(super) catalog_problem: Option<String>,
    pub(super) catalog: PartitionReport,
    pub(super) logs: Vec<(LogFound, Vec<PartitionReport>)>,
}

/// Shows it.
pub(super) fn run(
    output: Output,
    dir: &Path,
    (depth, batches): (Depth, bool),
) -> Result<(), Failure> {
    let (catalog, problem, commands) = read_catalog(dir)?;
    let mut logs = Vec::new();
    for log in logs_of(dir, &catalog)? {
        let mut reports = Vec::new();
        for partition in &log.partitions {
            let folder = partition_folder(dir, log.id, *partition);
            if batches {
                show::title(output, &folder)?;
            }
            reports.push(gather(&folder, None, depth, &mut show::batches(output, batches))?);
        }
        logs.push((log, reports));
    }
    let identity = identity_of(dir).map_err(|error| Failure::failed(error.to_string()))?;
    let dir = dir.to_owned();
    let report = DataReport { dir, identity, catalog_problem: problem, catalog: commands, logs };
    show::data(output, &report, depth)?;
    let all = || report.logs.iter().flat_map(|(_, reports)| reports).chain([&report.catalog]);
    if let Some(problem) = report.catalog_problem.as_ref().filter(|_| !report.catalog.moves()) {
        return Err(Failure::failed(format!("the catalog cannot be read: {problem}")));
    }
    verdict(all().map(PartitionReport::faults).sum(), all().any(PartitionReport::moves))
}

/// The catalog as it can be read, what stopped that, and the partition that it is in. It is always read whole: it is
/// small, and who is called what depends on every command.
pub(super) fn read_catalog(
    data: &Path,
) -> Result<(Catalog, Option<String>, PartitionReport), Failure> {
    let dir = data.join("catalog");
    let (mut reader, mut problem) = (CatalogReader::default(), None);
    let report = gather(&dir, None, Depth::Everything, &mut |found, seen| {
        let (Seen::Batch { header, position }, None) = (seen, &problem) else { return Ok(()) };
        let Some(mut source) = Source::open(&dir.join(segment_name(found.base)))? else {
            return Ok(());
        };
        let bytes = source.read(position.get(), header.total_len())?;
        problem = reader.take(bytes).err();
        Ok(())
    })?;
    let lost = report.damages().first().map(|damage| format!("its {damage} are damaged"));
    Ok((reader.into_catalog(), problem.or(lost), report))
}

/// The logs that the catalog or the folders know, by id.
pub(super) fn logs_of(data: &Path, catalog: &Catalog) -> Result<Vec<LogFound>, Failure> {
    let mut logs = BTreeMap::new();
    for entry in catalog.iter() {
        let count = match entry.config.storage {
            LogStorage::Durable => entry.config.partitions,
            LogStorage::Memory => 0,
        };
        let partitions = (0..count).map(PartitionId::new).collect();
        logs.insert(entry.id, LogFound { id: entry.id, entry: Some(entry.clone()), partitions });
    }
    for (name, _) in list(&data.join("logs"))? {
        let Ok(id) = name.parse().map(LogId::new) else { continue };
        let folder = list(&data.join("logs").join(&name))?;
        let numbers = folder.iter().filter_map(|(name, _)| name.parse().ok());
        logs.entry(id).or_insert_with(|| {
            let mut partitions: Vec<_> = numbers.map(PartitionId::new).collect();
            partitions.sort_unstable();
            LogFound { id, entry: None, partitions }
        });
    }
    Ok(logs.into_values().collect())
}
