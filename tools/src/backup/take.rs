//! Taking a backup: what a partition has between its low and its high watermark, as the server sends it.
//!
//! Each partition is consistent up to the high watermark that it had when the backup began. Its batches are fetched one
//! answer at a time and appended to a file, so memory is bounded whatever the server holds.

use std::path::PathBuf;

use pyralog_client::blocking::{Client, StoredReader};
use pyralog_client::{PartitionId, Stored};
use pyralog_log::batch::{Batch, BatchHeader, HEADER_BYTES, Item, Items};
use pyralog_runtime::file::blocking;
use pyralog_seq::scarab::ScarabId;

use super::files::{Part, continues, failed, folder, offset, parse_name, part_name, walk};
use super::manifest::{BatchFile, PartitionBackup, from_hex};
use crate::connect::explain;
use crate::exit::Failure;
use crate::limits::BACKUP_FILE_BYTES;
use crate::progress::Progress;

/// A partition of the server, when the backup began.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) log: u64,
    pub(super) name: String,
    pub(super) partition: u32,
    pub(super) low: u64,
    pub(super) high: u64,
}

/// What has been copied, by all partitions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Copied {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Records that were there already.
    pub(super) kept: u64,
    /// Largest time of an id of a record, in milliseconds since the Unix epoch.
    pub(super) id_ms: u64,
}

/// A partition that is being copied.
struct Copying<'a> {
    target: &'a Target,
    folder: PathBuf,
    reader: StoredReader,
    backup: PartitionBackup,
    part: Option<Part>,
    /// Everything before it is in files, or a hole, or below the low watermark.
    position: u64,
}

/// Copies what is missing of a partition.
pub(super) fn partition(
    client: &Client,
    target: &Target,
    (dir, known): (&std::path::Path, Option<&PartitionBackup>),
    (copied, progress): (&mut Copied, &mut Progress),
) -> Result<PartitionBackup, Failure> {
    let folder = folder(dir, target.log, target.partition);
    blocking::create_dir_all(&folder).map_err(|error| failed("make", &folder, &error))?;
    let (backup, part) = found(&folder, known)?;
    let end = part.as_ref().map(Part::next).or(backup.end());
    let number = PartitionId::new(target.partition);
    let reader =
        client.stored(&target.name, number, offset(target.low)).map_err(|error| explain(&error))?;
    // Logs are copied one after another: this one may have been deleted since it was described, and its name been taken.
    if reader.log().1.get() != target.log {
        return Err(Failure::failed(format!("another log is called {} now", target.name))
            .hint("run the command again: it copies the log that has the name now"));
    }
    let mut copying = Copying { target, folder, reader, backup, part, position: target.low };
    copying.go_on_from(end)?;
    copied.kept += copying.position.saturating_sub(target.low);
    while copying.position < target.high {
        copying.step(copied)?;
        let done = copied.kept + copied.records;
        progress.at(done, copied.records, copied.bytes);
    }
    copying.finish()
}

impl PartitionBackup {
    /// The offset up to which it has everything, if it has anything.
    fn end(&self) -> Option<u64> {
        let files = self.files.iter().map(|file| file.next);
        files.chain(self.holes.iter().map(|(_, next)| *next)).max()
    }
}

/// What is in the folder of a partition: the files that the manifest knows, those that a backup which was cut short has
/// completed after them, and the one that it was writing.
fn found(
    folder: &std::path::Path,
    known: Option<&PartitionBackup>,
) -> Result<(PartitionBackup, Option<Part>), Failure> {
    let entries = blocking::list_dir(folder).map_err(|error| failed("read", folder, &error))?;
    // The tree is taken apart from the records.
    let mut backup = PartitionBackup { tree: None, ..known.cloned().unwrap_or_default() };
    let is_there = |file: &BatchFile| {
        let name = super::files::name(file.first, file.next);
        entries.iter().any(|entry| entry.name == name && entry.len == file.bytes)
    };
    if let Some(lost) = backup.files.iter().find(|file| !is_there(file)) {
        let name = super::files::name(lost.first, lost.next);
        return Err(Failure::failed(format!("{} is missing or has another length", folder.join(name).display()))
            .hint("the backup was changed by hand: `pyralog backup verify` says what is left of it; begin a new directory"));
    }
    let mut names: Vec<(u64, u64)> =
        entries.iter().filter_map(|entry| parse_name(&entry.name)).collect();
    names.sort_unstable();
    for (first, next) in names {
        let end = backup.end();
        if end.is_some_and(|end| first != end) {
            continue; // Below what the manifest knows, or not next: of no use.
        }
        let path = folder.join(super::files::name(first, next));
        let walked = walk(&path, first)?;
        if walked.fault.is_none() && walked.file.next == next && walked.file.records > 0 {
            backup.files.push(walked.file);
            backup.last = walked.last;
        } else {
            blocking::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
        }
    }
    let parts = entries.iter().filter_map(|entry| entry.name.strip_suffix(".part"));
    let mut parts: Vec<u64> = parts.filter_map(|first| first.parse().ok()).collect();
    parts.sort_unstable();
    let mut part = None;
    for first in parts {
        if part.is_none() && backup.end().is_none_or(|end| end == first) {
            part = Some(Part::resume(folder, first)?);
            continue;
        }
        let path = folder.join(part_name(first));
        blocking::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
    }
    Ok((backup, part))
}

impl Copying<'_> {
    /// Goes on behind what is there, if it is of the same history, or begins at the low watermark.
    fn go_on_from(&mut self, end: Option<u64>) -> Result<(), Failure> {
        let Some(end) = end else { return Ok(()) };
        if end > self.target.high {
            return Err(self.differs(&format!(
                "the backup has records up to offset {end}, the server only up to {}",
                self.target.high
            )));
        }
        if end <= self.target.low {
            // Everything that is there has been deleted on the server, and maybe more.
            return self.begin_anew(self.target.low);
        }
        if let Some(last) = self.last_header()? {
            self.compare(&last)?;
        }
        self.position = end;
        self.reader.seek(offset(end));
        Ok(())
    }

    /// Lets go of everything, because records between it and what the server has now are gone.
    fn begin_anew(&mut self, low: u64) -> Result<(), Failure> {
        if let Some(part) = self.part.take() {
            part.finish()?; // A file that no manifest names.
        }
        let partition = self.target.partition;
        self.backup = PartitionBackup { partition, ..PartitionBackup::default() };
        self.position = low;
        self.reader.seek(offset(low));
        Ok(())
    }

    /// The header of the last batch that is there.
    fn last_header(&self) -> Result<Option<BatchHeader>, Failure> {
        let last = self.part.as_ref().and_then(Part::last).or(self.backup.last.as_deref());
        let Some(last) = last else { return Ok(None) };
        let bytes = from_hex(last).filter(|bytes| bytes.len() == HEADER_BYTES);
        let header = bytes.and_then(|bytes| BatchHeader::parse(&bytes).ok());
        header.map(Some).ok_or_else(|| {
            Failure::failed("the manifest names a last batch that is none")
                .hint("begin a new directory")
        })
    }

    /// Whether the server has the last batch that is there. Compaction may have taken records out of it, but not its last
    /// one, nor when and as what that was appended.
    fn compare(&mut self, ours: &BatchHeader) -> Result<(), Failure> {
        let last = ours.next_offset().get() - 1;
        if last < self.target.low {
            return Ok(());
        }
        self.reader.seek(offset(last));
        let stored = self.reader.next().map_err(|error| explain(&error))?;
        let Stored::Batches(stored) = stored else { return Ok(()) }; // Deleted meanwhile, or damaged there.
        let mut items = Items::new(&stored.bytes).batches();
        let theirs = items.find_map(|batch| {
            let header = *batch.ok()?.header();
            (header.next_offset().get() > last).then_some(header)
        });
        match theirs {
            Some(theirs) if identity(&theirs, last) == identity(ours, last) => Ok(()),
            _ => Err(self.differs(&format!("offset {last} holds another record on the server"))),
        }
    }

    fn differs(&self, how: &str) -> Failure {
        Failure::failed(format!(
            "the history of {} partition {} is another one: {how}",
            self.target.name, self.target.partition
        ))
        .hint("the server was put back to an older state, or is another one: begin a new directory, and keep this one")
    }

    /// Takes the next answer of the server.
    fn step(&mut self, copied: &mut Copied) -> Result<(), Failure> {
        match self.reader.next().map_err(|error| explain(&error))? {
            Stored::Batches(stored) => {
                for item in Items::new(&stored.bytes) {
                    let item = item.map_err(|error| Failure::failed(error.to_string()))?;
                    if let Item::Batch(batch) = item {
                        self.take(&batch, copied)?;
                    }
                }
                Ok(())
            }
            Stored::Damaged { first, next } => {
                self.complete()?;
                let first = first.get().max(self.position);
                self.backup.holes.push((first, next.get()));
                self.position = next.get();
                self.reader.seek(next);
                Ok(())
            }
            Stored::OutOfRange { low, high } if low.get() > self.position => {
                // Retention was faster than we are: nothing of what we have is left there.
                self.begin_anew(low.min(high).get())
            }
            Stored::OutOfRange { high, .. } => {
                Err(self.differs(&format!("it ends at offset {high} now")))
            }
            Stored::End => Err(self.differs(&format!("it ends at offset {} now", self.position))),
        }
    }

    fn take(&mut self, batch: &Batch<'_>, copied: &mut Copied) -> Result<(), Failure> {
        let header = *batch.header();
        let next = header.next_offset().get();
        // The first batch of an answer may be known, and the last ones may have come after the backup began.
        if next <= self.position || self.position >= self.target.high {
            return Ok(());
        }
        if self.part.as_ref().is_some_and(|part| part.bytes() >= BACKUP_FILE_BYTES) {
            self.complete()?;
        }
        let base = header.owner.base_offset.get();
        // Only the first batch of all may hold records before the position.
        if base >= self.position && !continues(&header, self.position) {
            self.complete()?;
            let found = header.covered_from().get();
            self.backup.holes.push((self.position, found));
            self.position = found;
        }
        let part = match &mut self.part {
            Some(part) => part,
            None => self.part.insert(Part::create(&self.folder, self.position.min(base))?),
        };
        part.push(&header, batch.bytes())?;
        self.position = next;
        copied.records += u64::from(header.record_count);
        copied.bytes += batch.bytes().len() as u64;
        copied.id_ms = copied.id_ms.max(last_id_ms(&header));
        Ok(())
    }

    /// Completes the file that is being written.
    fn complete(&mut self) -> Result<(), Failure> {
        if let Some(part) = self.part.take()
            && let Some((file, last)) = part.finish()?
        {
            self.backup.files.push(file);
            self.backup.last = Some(last);
        }
        Ok(())
    }

    /// What the manifest says of it.
    fn finish(mut self) -> Result<PartitionBackup, Failure> {
        self.complete()?;
        let Self { mut backup, target, position, .. } = self;
        backup.partition = target.partition;
        // Retention may have passed what the partition was when the backup began: then it is empty.
        backup.high = target.high.max(position);
        backup.low = match backup.files.first() {
            Some(first) => target.low.max(first.first),
            None => position,
        };
        backup.files.retain(|file| file.next > backup.low);
        backup.holes.retain(|(_, next)| *next > backup.low);
        Ok(backup)
    }
}

/// By what the record at `offset` of a batch is known: compaction changes none of it.
fn identity(header: &BatchHeader, offset: u64) -> (u64, i64, Option<u64>, Option<u64>) {
    let owner = header.owner;
    let index = offset - owner.base_offset.get();
    let id = (owner.scarab_base != 0)
        .then(|| ScarabId::from_raw(owner.scarab_base).nth(index).map(ScarabId::get))
        .flatten();
    let session = header.session.map(|session| session.id.get());
    (owner.epoch.get(), owner.append_time.get(), id, session)
}

/// The time of the last id of a batch, in milliseconds since the Unix epoch; 0 without ids.
fn last_id_ms(header: &BatchHeader) -> u64 {
    if header.owner.scarab_base == 0 {
        return 0;
    }
    let records = header.next_offset().since(header.owner.base_offset);
    let last = ScarabId::from_raw(header.owner.scarab_base).nth(records);
    last.map_or(0, ScarabId::time_unix_ms)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use pyralog_client::{ClientConfig, Durability, LogConfig, LogStorage, ProducerConfig, Record};
    use pyralog_shard::{DataConfig, Server, ServerConfig};

    use super::*;
    use crate::args::ColorWhen;
    use crate::output::Output;

    fn serve() -> (Server, Client) {
        let mut config = ServerConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            shards: 1,
            pin: false,
            data: DataConfig::MemoryOnly { max_memory: 1 << 30 },
            http: None,
            ..ServerConfig::default()
        };
        config.memory.io_bytes = 8 << 20;
        let server = Server::start(config).unwrap();
        let address = server.addresses().listen.to_string();
        let client = Client::connect([address], ClientConfig::default()).unwrap();
        (server, client)
    }

    /// Makes the log `events` with one record; returns its id.
    fn make(client: &Client) -> u64 {
        let config = LogConfig {
            partitions: 1,
            storage: LogStorage::Memory,
            durability: Durability::Memory,
            ..LogConfig::default()
        };
        let id = client.create_log("events", config).unwrap().id;
        let mut producer = client.producer("events", ProducerConfig::default()).unwrap();
        let delivery = producer.send(Record::new(b"x")).unwrap();
        producer.flush().unwrap();
        delivery.wait().unwrap();
        id.get()
    }

    #[test]
    fn a_log_that_has_taken_the_name_of_another_is_not_copied_for_it() {
        let ((server, client), place) = (serve(), tempfile::tempdir().unwrap());
        let before = make(&client);
        client.delete_log("events").unwrap();
        let now = make(&client);
        let copy = |log| {
            let name = "events".to_owned();
            let target = Target { log, name, partition: 0, low: 0, high: 1 };
            let output = Output::new(false, ColorWhen::Never);
            let progress = &mut Progress::start(output, "backup", None, true);
            partition(&client, &target, (place.path(), None), (&mut Copied::default(), progress))
        };
        assert_eq!(copy(now).unwrap().high, 1);
        let refused = copy(before).unwrap_err();
        assert!(refused.message().contains("events"), "{refused}");
        drop((client, server));
    }
}
