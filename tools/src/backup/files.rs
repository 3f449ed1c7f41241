//! Files of batches: sealed batches one after another, as the server has them, and nothing else.
//!
//! `logs/<log id>/<partition>/<first>-<next>.batches` is complete and never changes. `<first>.part` is being written; what a
//! crash has left of it is used up to its last whole batch. So there is no list of what was done: names and content tell.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use pyralog_log::batch::{Batch, BatchHeader, HEADER_BYTES};
use pyralog_log::ids::Offset;
use pyralog_log::limits::BATCH_BYTES_MAX;
use pyralog_runtime::file::blocking;

use super::manifest::{BatchFile, to_hex};
use crate::exit::Failure;
use crate::limits::READ_BYTES;

/// The directory of a partition in a backup.
pub(crate) fn folder(dir: &Path, log: u64, partition: u32) -> PathBuf {
    dir.join("logs").join(log.to_string()).join(partition.to_string())
}

/// Name of a complete file.
pub(crate) fn name(first: u64, next: u64) -> String {
    format!("{first:020}-{next:020}.batches")
}

/// The offsets in the name of a complete file.
pub(super) fn parse_name(name: &str) -> Option<(u64, u64)> {
    parse_range(name, ".batches")
}

/// The two numbers in a name that ends so.
pub(super) fn parse_range(name: &str, ending: &str) -> Option<(u64, u64)> {
    let (first, next) = name.strip_suffix(ending)?.split_once('-')?;
    let number = |text: &str| {
        let whole = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
        whole.then(|| text.parse().ok()).flatten()
    };
    Some((number(first)?, number(next)?))
}

/// Name of a file that is being written.
pub(super) fn part_name(first: u64) -> String {
    format!("{first:020}.part")
}

/// The batches of a file one after another, each checked.
pub(crate) struct Batches {
    path: PathBuf,
    file: BufReader<File>,
    bytes: Vec<u8>,
}

/// The next thing in a file.
pub(crate) enum Found<'a> {
    /// A sound batch.
    Batch(BatchHeader, &'a [u8]),
    /// The file ends, whole.
    End,
    /// What follows is no sound batch, and why.
    Broken(String),
}

impl Batches {
    /// Opens the file.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new()
            .read(true)
            .open(path)
            .map_err(|error| failed("read", path, &error))?;
        let file = BufReader::with_capacity(READ_BYTES, file);
        Ok(Self { path: path.to_owned(), file, bytes: Vec::new() })
    }

    /// The next batch.
    pub(crate) fn next(&mut self) -> Result<Found<'_>, Failure> {
        match self.fill(0, HEADER_BYTES)? {
            0 => return Ok(Found::End),
            HEADER_BYTES => {}
            _ => return Ok(Found::Broken("the file ends within a batch".to_owned())),
        }
        let total = match BatchHeader::parse(&self.bytes) {
            Ok(header) => header.total_len(),
            Err(error) => return Ok(Found::Broken(error.to_string())),
        };
        assert!(total <= BATCH_BYTES_MAX, "a parsed header is within the limit");
        if self.fill(HEADER_BYTES, total)? < total {
            return Ok(Found::Broken("the file ends within a batch".to_owned()));
        }
        match Batch::parse(&self.bytes).and_then(Batch::verify) {
            Ok(batch) if batch.header().header_crc != 0 => {
                Ok(Found::Batch(*batch.header(), &self.bytes))
            }
            Ok(_) => Ok(Found::Broken("the batch is not sealed".to_owned())),
            Err(error) => Ok(Found::Broken(error.to_string())),
        }
    }

    /// Reads up to `to` bytes of the batch; returns how many are there.
    fn fill(&mut self, from: usize, to: usize) -> Result<usize, Failure> {
        self.bytes.resize(to, 0);
        let mut at = from;
        while at < to {
            match self.file.read(&mut self.bytes[at..to]) {
                Ok(0) => break,
                Ok(count) => at += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &self.path, &error)),
            }
        }
        Ok(at)
    }
}

/// What a file holds, up to its end or its first fault.
pub(super) struct Walked {
    pub(super) file: BatchFile,
    pub(super) last: Option<String>,
    pub(super) fault: Option<String>,
}

/// Walks through a file whose first batch covers from `first`.
pub(super) fn walk(path: &Path, first: u64) -> Result<Walked, Failure> {
    walk_each(path, first, &mut |_, _| {})
}

/// The same, and shows each batch that is as it must be.
pub(super) fn walk_each(
    path: &Path,
    first: u64,
    each: &mut dyn FnMut(&BatchHeader, &[u8]),
) -> Result<Walked, Failure> {
    let mut gathered = Gathered::new(first);
    let mut batches = Batches::open(path)?;
    let fault = loop {
        match batches.next()? {
            Found::End => break None,
            Found::Broken(why) => break Some(why),
            Found::Batch(header, bytes) => {
                if !continues(&header, gathered.next) {
                    break Some(format!(
                        "a batch from {} where {} comes next",
                        header.owner.base_offset, gathered.next
                    ));
                }
                gathered.note(&header, bytes);
                each(&header, bytes);
            }
        }
    };
    Ok(Walked { file: gathered.file(), last: gathered.last.clone(), fault })
}

/// Whether a batch comes next where everything before `next` is there. What compaction has left may account for offsets before
/// it that were copied while they were there.
pub(super) fn continues(header: &BatchHeader, next: u64) -> bool {
    header.covered_from().get() <= next && next <= header.owner.base_offset.get()
}

/// What has come into a file so far.
#[derive(Debug)]
struct Gathered {
    first: u64,
    next: u64,
    bytes: u64,
    records: u64,
    hash: Box<blake3::Hasher>,
    last: Option<String>,
}

impl Gathered {
    fn new(first: u64) -> Self {
        let hash = Box::new(blake3::Hasher::new());
        Self { first, next: first, bytes: 0, records: 0, hash, last: None }
    }

    fn note(&mut self, header: &BatchHeader, bytes: &[u8]) {
        self.next = header.next_offset().get();
        self.bytes += bytes.len() as u64;
        self.records += u64::from(header.record_count);
        self.hash.update(bytes);
        self.last = Some(to_hex(&bytes[..HEADER_BYTES]));
    }

    fn file(&self) -> BatchFile {
        let blake3 = self.hash.finalize().to_hex().to_string();
        BatchFile {
            first: self.first,
            next: self.next,
            bytes: self.bytes,
            records: self.records,
            blake3,
        }
    }
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Part {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    gathered: Gathered,
}

impl Part {
    /// Begins a file with the batch that covers from `first`.
    pub(super) fn create(folder: &Path, first: u64) -> Result<Self, Failure> {
        let path = folder.join(part_name(first));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(|error| failed("write", &path, &error))?;
        Ok(Self { folder: folder.to_owned(), path, file, gathered: Gathered::new(first) })
    }

    /// Goes on with what a backup that was cut short has left: up to its last whole batch.
    pub(super) fn resume(folder: &Path, first: u64) -> Result<Self, Failure> {
        let path = folder.join(part_name(first));
        let mut gathered = Gathered::new(first);
        let mut batches = Batches::open(&path)?;
        while let Found::Batch(header, bytes) = batches.next()? {
            if !continues(&header, gathered.next) {
                break;
            }
            gathered.note(&header, bytes);
        }
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|error| failed("write", &path, &error))?;
        file.set_len(gathered.bytes).map_err(|error| failed("write", &path, &error))?;
        Ok(Self { folder: folder.to_owned(), path, file, gathered })
    }

    /// Offset after its last record.
    pub(super) const fn next(&self) -> u64 {
        self.gathered.next
    }

    /// The header of its last batch, in hex.
    pub(super) fn last(&self) -> Option<&str> {
        self.gathered.last.as_deref()
    }

    /// Its length.
    pub(super) const fn bytes(&self) -> u64 {
        self.gathered.bytes
    }

    /// Takes the next batch.
    pub(super) fn push(&mut self, header: &BatchHeader, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| failed("write", &self.path, &error))?;
        self.gathered.note(header, bytes);
        Ok(())
    }

    /// Completes it: on stable storage, under its name. `None` if nothing was put into it.
    pub(super) fn finish(self) -> Result<Option<(BatchFile, String)>, Failure> {
        let write = |error: &std::io::Error| failed("write", &self.path, error);
        let Some(last) = self.gathered.last.clone() else {
            return blocking::remove_file(&self.path).map_err(|error| write(&error)).map(|()| None);
        };
        let file = self.gathered.file();
        self.file.sync_all().map_err(|error| write(&error))?;
        let named = self.folder.join(name(file.first, file.next));
        std::fs::rename(&self.path, named).map_err(|error| write(&error))?;
        blocking::sync_dir(&self.folder).map_err(|error| write(&error))?;
        Ok(Some((file, last)))
    }
}

/// Offset `raw`, for messages and requests.
pub(super) const fn offset(raw: u64) -> Offset {
    Offset::new(raw)
}

/// The failure of a call on a file.
pub(crate) fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::failed(format!("cannot {what} {}: {error}", path.display()));
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            failure.hint("free some space and run the command again: it goes on where it was")
        }
        _ => failure,
    }
}
