//! The manifest of a backup: what it holds and the BLAKE3 of every file, written last and at once.
//!
//! ```text
//! PYRALOG-BACKUP 1
//! { one line of JSON }
//! blake3 <64 hex digits, of everything before this line>
//! ```
//!
//! What it does not name is no part of the backup. How a log is configured stands in it as the command of the catalog that
//! creates it, so that a backup is read by whoever reads a catalog of its time.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use pyralog_log::merkle::nodes_before;
use pyralog_log::proof::checkpoint::CHECKPOINT_BYTES;
use pyralog_log::proof::{Checkpoint, SignedCheckpoint};
use pyralog_runtime::file::blocking;
use pyralog_shard::catalog::{self, Command};
use pyralog_wire::LogStorage;
use pyralog_wire::message::CounterMode;
use serde::{Deserialize, Serialize};

use crate::exit::{Failure, Status};
use crate::limits::BACKUP_MANIFEST_BYTES_MAX;

/// Its name in the directory of a backup.
pub(crate) const MANIFEST_NAME: &str = "manifest";

const FIRST_LINE: &str = "PYRALOG-BACKUP 1";

/// The content of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The cluster whose logs these are.
    pub(crate) cluster: u64,
    /// When the backup began, by the server's clock: microseconds since the Unix epoch.
    pub(crate) taken_us: i64,
    /// Ids with this time, in milliseconds since the Unix epoch, or an earlier one may have been dealt.
    pub(crate) ids_until_ms: u64,
    /// The logs, by id.
    pub(crate) logs: Vec<LogBackup>,
    /// The counters, by name.
    pub(crate) counters: Vec<CounterBackup>,
}

/// A log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogBackup {
    /// Its id in that cluster.
    pub(crate) id: u64,
    /// Its name.
    pub(crate) name: String,
    /// The command of the catalog that creates it, in hex.
    pub(crate) create: String,
    /// Its partitions with files, in order; none of a log in memory.
    pub(crate) partitions: Vec<PartitionBackup>,
}

/// A partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartitionBackup {
    /// Its number.
    pub(crate) partition: u32,
    /// Oldest offset of it.
    pub(crate) low: u64,
    /// The offset after the last record.
    pub(crate) high: u64,
    /// Files, in order of offset. Together with `holes` they cover everything from `low` to `high`.
    pub(crate) files: Vec<BatchFile>,
    /// Offsets that the server could not read, half-open, in order.
    pub(crate) holes: Vec<(u64, u64)>,
    /// Header of the last batch in the files, in hex, by which a later backup knows that it goes on with the same log.
    pub(crate) last: Option<String>,
    /// The Merkle tree, of a log with proofs that has made a checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tree: Option<TreeBackup>,
}

/// The tree of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TreeBackup {
    /// The checkpoint of the server, in hex: with its signature, or without one if the log is not `signed`.
    pub(crate) checkpoint: String,
    /// Files of nodes: all of the tree of the checkpoint, in the order of their numbers.
    pub(crate) files: Vec<NodeFile>,
}

/// A file of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeFile {
    /// Number of its first node.
    pub(crate) first: u64,
    /// Number after that of its last node.
    pub(crate) next: u64,
    /// BLAKE3 of it, in hex.
    pub(crate) blake3: String,
}

/// A file of batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchFile {
    /// Offset of the first record, or of the first that its first batch covers.
    pub(crate) first: u64,
    /// Offset after the last record.
    pub(crate) next: u64,
    /// Its length.
    pub(crate) bytes: u64,
    /// Records in it.
    pub(crate) records: u64,
    /// BLAKE3 of it, in hex.
    pub(crate) blake3: String,
}

/// A counter, by value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CounterBackup {
    /// Its name.
    pub(crate) name: String,
    /// Name of its mode.
    pub(crate) mode: String,
    /// Numbers that a reservation takes.
    pub(crate) block: u64,
    /// Milliseconds between extensions.
    pub(crate) interval_ms: u32,
    /// No number above it was dealt when the backup ended.
    pub(crate) value: u64,
}

impl Manifest {
    /// Reads the manifest in `dir`; `None` if there is none, because no backup was ever completed there.
    ///
    /// # Errors
    /// If it cannot be read, or is not what was written.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, Failure> {
        let path = dir.join(MANIFEST_NAME);
        match blocking::read_start(&path, BACKUP_MANIFEST_BYTES_MAX + 1) {
            Ok(bytes) => Self::decode(&bytes).map(Some).map_err(|problem| {
                Failure::new(Status::VerificationFailed, format!("{}: {problem}", path.display()))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::failed(format!("cannot read {}: {error}", path.display()))),
        }
    }

    /// Replaces the manifest in `dir`, durably and at once.
    ///
    /// # Errors
    /// If it cannot be written; then the old one is there.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), Failure> {
        let bytes = self.encode();
        if bytes.len() > BACKUP_MANIFEST_BYTES_MAX {
            return Err(Failure::failed(format!(
                "the manifest would have {} bytes, more than {BACKUP_MANIFEST_BYTES_MAX}",
                bytes.len()
            ))
            .hint("a new directory begins with few and long files"));
        }
        let path = dir.join(MANIFEST_NAME);
        blocking::write_atomic(&path, "manifest.new", &bytes)
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
    }

    /// As stored.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_string(self).expect("numbers and texts are always JSON");
        let mut text = format!("{FIRST_LINE}\n{json}\n");
        let hash = blake3::hash(text.as_bytes()).to_hex();
        text.push_str("blake3 ");
        text.push_str(&hash);
        text.push('\n');
        text.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        if bytes.len() > BACKUP_MANIFEST_BYTES_MAX {
            return Err(format!("it is longer than {BACKUP_MANIFEST_BYTES_MAX} bytes"));
        }
        let first = text.lines().next().unwrap_or_default();
        if first != FIRST_LINE {
            return Err(match first.strip_prefix("PYRALOG-BACKUP ") {
                Some(version) => {
                    format!("version {version} is unknown: use the build that wrote it")
                }
                None => "it is no manifest of a backup".to_owned(),
            });
        }
        let end = text.trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
        let said = text[end..].trim_end().strip_prefix("blake3 ").unwrap_or_default();
        if said != blake3::hash(&bytes[..end]).to_hex().as_str() {
            return Err("its BLAKE3 does not match: it was damaged, or changed by hand".to_owned());
        }
        let manifest: Self = serde_json::from_str(&text[FIRST_LINE.len() + 1..end])
            .map_err(|error| error.to_string())?;
        manifest.check().map(|()| manifest)
    }

    /// Whether what it says can be.
    fn check(&self) -> Result<(), String> {
        if !self.logs.windows(2).all(|pair| pair[0].id < pair[1].id) {
            return Err("its logs are not in order".to_owned());
        }
        let mut names = BTreeSet::new();
        for log in &self.logs {
            log.check()?;
            if !names.insert(&log.name) {
                return Err(format!("two of its logs are called {}", log.name));
            }
            for partition in &log.partitions {
                partition.check(self.cluster, log.id).map_err(|problem| {
                    format!("{} partition {}: {problem}", log.name, partition.partition)
                })?;
            }
        }
        self.counters.iter().try_for_each(|counter| counter.mode().map(drop))
    }

    /// Bytes and records of all files.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let partitions = self.logs.iter().flat_map(|log| &log.partitions);
        let files = partitions.flat_map(|partition| &partition.files);
        files.fold((0_u64, 0_u64), |(bytes, records), file| {
            (bytes.saturating_add(file.bytes), records.saturating_add(file.records))
        })
    }
}

impl LogBackup {
    /// Whether it has the name and the partitions of the log that its command makes.
    fn check(&self) -> Result<(), String> {
        let Command::Create { name, config, .. } = self.create()? else {
            return Err(format!("log {} has no configuration", self.name));
        };
        let count = match config.storage {
            LogStorage::Durable => config.partitions,
            LogStorage::Memory => 0,
        };
        if name != self.name || !self.partitions.iter().map(|one| one.partition).eq(0..count) {
            return Err(format!(
                "log {} is not the one of its configuration: `{name}` with {count} partitions",
                self.name
            ));
        }
        Ok(())
    }

    /// The command that creates it.
    ///
    /// # Errors
    /// If it is not one of this log.
    pub(crate) fn create(&self) -> Result<Command, String> {
        let wrong = || format!("log {} has no sound configuration", self.name);
        let bytes = from_hex(&self.create).ok_or_else(wrong)?;
        match catalog::decode(&bytes) {
            Ok(command @ Command::Create { .. }) => Ok(command),
            Ok(_) => Err(wrong()),
            Err(error) => Err(format!("{}: {error}", wrong())),
        }
    }
}

impl PartitionBackup {
    /// Files and holes cover everything from the low watermark to the high one, once, and the tree is of this partition.
    fn check(&self, cluster: u64, log: u64) -> Result<(), String> {
        if let Some(tree) = &self.tree {
            let of = tree.check()?;
            if (of.cluster, of.log.get(), of.partition.get()) != (cluster, log, self.partition) {
                return Err("the tree is that of another partition".to_owned());
            }
            if of.end_offset.get() > self.high {
                let (end, high) = (of.end_offset, self.high);
                return Err(format!("the tree ends at offset {end} and the records at {high}"));
            }
        }
        let files = self.files.iter().map(|file| (file.first, file.next));
        let mut ranges: Vec<(u64, u64)> = files.chain(self.holes.iter().copied()).collect();
        ranges.sort_unstable();
        let mut at = ranges.first().map_or(self.low, |(first, _)| (*first).min(self.low));
        for (first, next) in ranges {
            if first > at || next <= first {
                return Err(format!("offsets from {at} to {first} are nowhere"));
            }
            at = at.max(next);
        }
        if at < self.high || self.low > self.high {
            return Err(format!("offsets from {at} to {} are nowhere", self.high));
        }
        Ok(())
    }
}

impl TreeBackup {
    /// What the server stated of it; a signature is checked.
    ///
    /// # Errors
    /// If it is no sound checkpoint.
    pub(crate) fn checkpoint(&self) -> Result<Checkpoint, String> {
        let bytes = from_hex(&self.checkpoint).ok_or("the checkpoint is no hex")?;
        if bytes.len() == CHECKPOINT_BYTES {
            let signed = SignedCheckpoint::decode(&bytes).map_err(|error| error.to_string())?;
            return Ok(*signed.checkpoint());
        }
        let statement = bytes.as_slice().try_into();
        let statement = statement.map_err(|_| "the checkpoint has another length".to_owned())?;
        Checkpoint::decode(statement).map_err(|error| error.to_string())
    }

    /// The files have all nodes of the tree of the checkpoint, once and in order. Returns the checkpoint.
    fn check(&self) -> Result<Checkpoint, String> {
        let checkpoint = self.checkpoint()?;
        if checkpoint.tree_size > checkpoint.end_offset.get() {
            return Err("the tree has more batches than records".to_owned());
        }
        let mut at = 0;
        for file in &self.files {
            if file.first != at || file.next <= at {
                return Err(format!("node {at} of the tree is nowhere, or twice"));
            }
            at = file.next;
        }
        if checkpoint.tree_size > 1 << 62 || at != nodes_before(checkpoint.tree_size) {
            return Err(format!("the tree of the checkpoint has not {at} nodes"));
        }
        Ok(checkpoint)
    }
}

impl CounterBackup {
    /// Its mode.
    ///
    /// # Errors
    /// If there is no mode of that name.
    pub(crate) fn mode(&self) -> Result<CounterMode, String> {
        let named = CounterMode::NAMES.iter().find(|(_, name)| *name == self.mode);
        named.map(|(mode, _)| *mode).ok_or_else(|| format!("mode {} is unknown", self.mode))
    }
}

/// Bytes as hex digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes every write");
    }
    text
}

/// The bytes of hex digits.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok();
    digits.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests;
