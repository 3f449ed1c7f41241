//! What an auditor keeps between two runs: per partition its last checkpoint and an entry per batch.
//!
//! ```text
//! DIR/<cluster>-<log id>-<partition>.entries   56 bytes per batch: leaf 32, records u64, digest 16
//! DIR/<cluster>-<log id>-<partition>.json      name of the log, batches that count, the checkpoint
//! DIR/lock                                     held by the auditor that runs
//! ```
//!
//! Entries are synced before the checkpoint that they have the root of is put in place, so the checkpoint is the one word on
//! how many count.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use pyralog_log::ids::Offset;
use pyralog_log::merkle::Hash;
use pyralog_log::proof::audit::{ENTRY_BYTES, Entry};
use pyralog_log::proof::auditor::Alarm;
use pyralog_log::proof::key::hex;
use pyralog_log::proof::{CHECKPOINT_BYTES, SignedCheckpoint, Subject};
use pyralog_runtime::file::FileLock;
use pyralog_runtime::file::blocking::{self, Locking};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::limits::LOCK_BYTES_MAX;

/// Longest state of a partition, in bytes: a checkpoint as digits and a name.
const STATE_BYTES_MAX: u64 = 16 << 10;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    log: String,
    batches: u64,
    /// Signed checkpoint as digits, in pieces of 32 bytes.
    checkpoint: Vec<String>,
}

/// What is kept of a partition.
#[derive(Debug)]
pub(super) struct State {
    entries: PathBuf,
    file: PathBuf,
    log: String,
    /// Entries that are in the file.
    saved: usize,
    /// The checkpoint that is.
    last: Option<SignedCheckpoint>,
}

/// The last checkpoint, and the batches below it.
type Remembered = (SignedCheckpoint, Vec<Entry>);

/// A partition that was audited before.
#[derive(Clone, Debug)]
pub(super) struct Audited {
    /// What its checkpoint is about.
    pub(super) subject: Subject,
    /// What its log was called.
    pub(super) log: String,
    /// The offsets that it covered.
    pub(super) end: Offset,
    /// Where it is remembered.
    pub(super) file: PathBuf,
}

/// Makes the directory if needed, and keeps other auditors out of it: two would write over each other.
///
/// # Errors
/// If it cannot be made, or another auditor holds it.
pub(super) fn lock(directory: &Path) -> Result<FileLock, Failure> {
    blocking::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    let path = directory.join("lock");
    match blocking::lock(&path, LOCK_BYTES_MAX).map_err(|error| failed(&path, &error))? {
        Locking::Taken(lock) => Ok(lock),
        Locking::Held { .. } => Err(Failure::failed(format!(
            "another audit with the state {} is running",
            directory.display()
        ))),
    }
}

/// Every partition that is remembered in `directory`.
///
/// # Errors
/// If it cannot be read, or a state is damaged.
pub(super) fn audited(directory: &Path) -> Result<Vec<Audited>, Failure> {
    let entries = blocking::list_dir(directory).map_err(|error| failed(directory, &error))?;
    let mut found = Vec::new();
    for entry in entries.iter().filter(|entry| is_state(&entry.name)) {
        let path = directory.join(&entry.name);
        let Some((log, _, checkpoint)) = read_state(&path)? else { continue };
        let (subject, end) =
            (Subject::of(checkpoint.checkpoint()), checkpoint.checkpoint().end_offset);
        found.push(Audited { subject, log, end, file: path });
    }
    Ok(found)
}

/// Whether a file is called as that of a partition is.
fn is_state(name: &str) -> bool {
    let ids = name.strip_suffix(".json").map(|ids| ids.split('-').map(str::parse::<u64>));
    ids.is_some_and(|ids| ids.flatten().count() == 3)
}

/// The name of the log, the batches and the checkpoint that a file says, or `None` without one.
fn read_state(path: &Path) -> Result<Option<(String, u64, SignedCheckpoint)>, Failure> {
    let Some(text) = read_small(path)? else { return Ok(None) };
    let file: StateFile = serde_json::from_str(&text).map_err(|_| damaged(path))?;
    let checkpoint = decode(&file.checkpoint).ok_or_else(|| damaged(path))?;
    Ok(Some((file.log, file.batches, checkpoint)))
}

impl State {
    /// The state of a partition in `directory`, and what is in it.
    ///
    /// # Errors
    /// If it is there and cannot be used.
    pub(super) fn open(
        directory: &Path,
        (subject, log): (Subject, &str),
    ) -> Result<(Self, Option<Remembered>), Failure> {
        let name = format!("{}-{}-{}", subject.cluster, subject.log, subject.partition);
        let mut state = Self {
            entries: directory.join(format!("{name}.entries")),
            file: directory.join(format!("{name}.json")),
            log: log.to_owned(),
            saved: 0,
            last: None,
        };
        let Some((_, batches, checkpoint)) = read_state(&state.file)? else {
            return Ok((state, None));
        };
        let damaged = || damaged(&state.file);
        let entries = read_entries(&state.entries, batches)?.ok_or_else(damaged)?;
        if checkpoint.checkpoint().tree_size != batches
            || Subject::of(checkpoint.checkpoint()) != subject
        {
            return Err(damaged());
        }
        (state.saved, state.last) = (entries.len(), Some(checkpoint));
        Ok((state, Some((checkpoint, entries))))
    }

    /// The file with the checkpoint.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Keeps what an auditor remembers now, unless it is kept already: it is on stable storage then.
    ///
    /// # Errors
    /// If it cannot be written; the old state is kept then.
    pub(super) fn save(
        &mut self,
        last: &SignedCheckpoint,
        entries: &[Entry],
    ) -> Result<(), Failure> {
        if self.last.as_ref() == Some(last) {
            return Ok(());
        }
        let new: Vec<u8> =
            entries[self.saved.min(entries.len())..].iter().flat_map(Entry::encode).collect();
        let start = (self.saved * ENTRY_BYTES) as u64;
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(false).open(&self.entries)?;
            // What an earlier run left behind its checkpoint is written over.
            file.set_len(start)?;
            file.seek(SeekFrom::Start(start))?;
            file.write_all(&new)?;
            file.sync_all()
        };
        write().map_err(|error| failed(&self.entries, &error))?;
        let file = StateFile {
            log: self.log.clone(),
            batches: entries.len() as u64,
            checkpoint: last.encode().chunks(32).map(hex).collect(),
        };
        let text = serde_json::to_string_pretty(&file).expect("texts and numbers are always JSON");
        replace(&self.file, text.as_bytes())?;
        (self.saved, self.last) = (entries.len(), Some(*last));
        Ok(())
    }

    /// Writes the evidence of an alarm beside the state, and says where; `None` if it has none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn save_evidence(&self, alarm: &Alarm) -> Result<Option<PathBuf>, Failure> {
        let Some(evidence) = &alarm.evidence else { return Ok(None) };
        let bytes = evidence.encode();
        let name = &hex(blake3_of(&bytes).as_bytes())[..16];
        let path = self.file.with_extension(format!("{name}.equivocation"));
        replace(&path, &bytes)?;
        Ok(Some(path))
    }
}

fn blake3_of(bytes: &[u8]) -> Hash {
    let (hash, _) = pyralog_log::proof::notary::hash_of(bytes).expect("memory can be read");
    Hash::new(hash)
}

/// The checkpoint of these pieces.
fn decode(pieces: &[String]) -> Option<SignedCheckpoint> {
    let hashes: Option<Vec<Hash>> = pieces.iter().map(|piece| Hash::from_hex(piece)).collect();
    let bytes: Vec<u8> = hashes?.iter().flat_map(|hash| *hash.as_bytes()).collect();
    SignedCheckpoint::decode(&bytes).ok()
}

const _: () = assert!(CHECKPOINT_BYTES.is_multiple_of(32), "a checkpoint is whole pieces");

/// The text of a short file, or `None` without one.
fn read_small(path: &Path) -> Result<Option<String>, Failure> {
    let mut text = String::new();
    let opened = OpenOptions::new().read(true).open(path);
    match opened.and_then(|file| file.take(STATE_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, &error)),
    }
}

/// The first `count` entries of the file, or `None` if there are fewer.
fn read_entries(path: &Path, count: u64) -> Result<Option<Vec<Entry>>, Failure> {
    let bytes = count.saturating_mul(ENTRY_BYTES as u64);
    let mut content = Vec::new();
    let opened = OpenOptions::new().read(true).open(path);
    match opened.and_then(|file| file.take(bytes).read_to_end(&mut content)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && count == 0 => Ok(Some(Vec::new())),
        Err(error) => Err(failed(path, &error)),
        Ok(found) if found as u64 != bytes => Ok(None),
        Ok(_) => Ok(Some(content.as_chunks::<ENTRY_BYTES>().0.iter().map(Entry::decode).collect())),
    }
}

/// Puts `bytes` in place at once: after a crash the file is old or new.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let staged = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&staged, path)?;
        match path.parent() {
            Some(parent) => OpenOptions::new().read(true).open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|error| failed(path, &error))
}

/// What is remembered is not what was written.
pub(super) fn damaged(path: &Path) -> Failure {
    Failure::failed(format!("{} is damaged", path.display())).hint(
        "restore it from a backup, or audit from the beginning into another directory with --state",
    )
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}
