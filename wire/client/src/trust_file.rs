//! The file in which a consumer keeps the checkpoints that it believed, so that the next run refuses a log that was rolled
//! back or forked in between.
//!
//! ```text
//! pyralog trust 1
//! # orders, partition 0: 120 batches, the offsets below 4711
//! orders <the checkpoint as hexadecimal digits: 224 bytes if it is signed, else 128>
//! crc32c 1a2b3c4d
//! ```
//!
//! The name is there because a checkpoint has none, and its ids are the server's word: a log that comes again under its name
//! with another id, or from another cluster, would have no past. Names of logs have no spaces.
//!
//! Lines that begin with `#` are for people. The checksum is over everything before its line: it finds accidents. Who can
//! write the file can make it forget; keep it where the server cannot. It is replaced at once, so a crash leaves the
//! old one or the new one. It is for one program at a time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use pyralog_log::proof::key::hex;
use pyralog_log::proof::{CHECKPOINT_BYTES, Stated, Subject};
use tokio::sync::{mpsc, oneshot};

use crate::error::ClientError;
use crate::limits::{TRUST_FILE_BYTES_MAX, TRUST_PARTITIONS_MAX, TRUST_SAVES_MAX};

const FORMAT: &str = "pyralog trust 1";
const CHECKSUM: &str = "crc32c ";

/// What was believed last, of each partition. Invariant: a name stands for one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrustFile {
    known: BTreeMap<Subject, (String, Stated)>,
}

impl TrustFile {
    /// What was believed last of a partition of the log with this name.
    ///
    /// # Errors
    /// If the name stood for another log.
    pub(crate) fn last(&self, name: &str, subject: &Subject) -> Result<Option<Stated>, String> {
        let is_other = |(known, (other, _)): (&Subject, &(String, Stated))| {
            (known.cluster, known.log) != (subject.cluster, subject.log) && other == name
        };
        if self.known.iter().any(is_other) {
            return Err(format!(
                "it remembers another log `{name}`: the log was deleted and made again, or this is another server. If that is \
                 meant, use another file"
            ));
        }
        Ok(self.known.get(subject).map(|(_, stated)| *stated))
    }

    /// Remembers a checkpoint instead of the one before it.
    fn learn(&mut self, name: &str, stated: Stated) -> Result<(), String> {
        let subject = Subject::of(stated.checkpoint());
        self.last(name, &subject)?;
        if self.known.len() >= TRUST_PARTITIONS_MAX && !self.known.contains_key(&subject) {
            return Err(format!(
                "it remembers {TRUST_PARTITIONS_MAX} partitions already: use another file for other logs"
            ));
        }
        self.known.insert(subject, (name.to_owned(), stated));
        Ok(())
    }

    /// The text of the file.
    fn render(&self) -> String {
        let mut text = format!("{FORMAT}\n");
        for (Subject { partition, .. }, (name, stated)) in &self.known {
            let checkpoint = stated.checkpoint();
            writeln!(
                text,
                "# {name}, partition {partition}: {} batches, the offsets below {}\n{name} {}",
                checkpoint.tree_size,
                checkpoint.end_offset,
                hex(&stated.encode())
            )
            .expect("a string takes everything");
        }
        let checksum = crc32c::crc32c(text.as_bytes());
        writeln!(text, "{CHECKSUM}{checksum:08x}").expect("a string takes everything");
        text
    }

    /// Reads what [`TrustFile::render`] wrote, or says what is wrong with it.
    fn parse(text: &str) -> Result<Self, String> {
        let first = text.lines().next().unwrap_or_default();
        if first != FORMAT {
            return Err(match first.strip_prefix("pyralog trust ") {
                Some(version) => {
                    format!("its format is {version}, which this program does not know")
                }
                None => {
                    "it does not begin with `pyralog trust 1`: is it the right file?".to_owned()
                }
            });
        }
        let damaged = || {
            "its checksum is wrong: it is damaged, or was cut short. Restore it, or begin without it and \
             believe the server anew"
                .to_owned()
        };
        let end = text.trim_end_matches('\n').rfind('\n').ok_or_else(damaged)? + 1;
        let (content, last) = text.split_at(end);
        let expected = format!("{CHECKSUM}{:08x}\n", crc32c::crc32c(content.as_bytes()));
        if last != expected {
            return Err(damaged());
        }
        let mut file = Self::default();
        for (line, number) in content.lines().zip(1..).skip(1) {
            if line.starts_with('#') {
                continue;
            }
            let entry =
                line.split_once(' ').and_then(|(name, digits)| Some((name, unhex(digits)?)));
            let (name, bytes) =
                entry.ok_or_else(|| format!("line {number} is no name and checkpoint"))?;
            let stated =
                Stated::decode(&bytes).map_err(|error| format!("line {number}: {error}"))?;
            if file.known.contains_key(&Subject::of(stated.checkpoint())) {
                return Err(format!("line {number}: the partition is there twice"));
            }
            file.learn(name, stated).map_err(|error| format!("line {number}: {error}"))?;
        }
        Ok(file)
    }

    /// Reads the file; one that is not there is empty.
    fn read(path: &Path) -> Result<Self, String> {
        let mut text = String::new();
        let opened = OpenOptions::new().read(true).open(path);
        match opened.and_then(|file| file.take(TRUST_FILE_BYTES_MAX + 1).read_to_string(&mut text))
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.to_string()),
            Ok(_) if text.len() as u64 > TRUST_FILE_BYTES_MAX => {
                Err(format!("it is longer than {TRUST_FILE_BYTES_MAX} bytes"))
            }
            Ok(_) => Self::parse(&text),
        }
    }

    /// Puts the file in place at once; it is on stable storage when this returns.
    fn write(&self, path: &Path) -> Result<(), String> {
        let mut staged = path.as_os_str().to_owned();
        staged.push(".new");
        let staged = PathBuf::from(staged);
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).open(&staged)?;
            file.write_all(self.render().as_bytes())?;
            file.sync_all()?;
            fs::rename(&staged, path)?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            OpenOptions::new().read(true).open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| error.to_string())
    }
}

/// The bytes of hexadecimal digits, as long as a checkpoint at most.
fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > CHECKPOINT_BYTES {
        return None;
    }
    pairs.iter().map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn failed(path: &Path, problem: String) -> ClientError {
    ClientError::TrustFile { path: path.display().to_string(), problem }
}

/// Runs what blocks on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(ended) => Err(ended.to_string()),
    }
}

/// Reads the file.
///
/// # Errors
/// [`ClientError::TrustFile`].
pub(crate) async fn load(path: &Path) -> Result<TrustFile, ClientError> {
    let from = path.to_owned();
    blocking(move || TrustFile::read(&from)).await.map_err(|problem| failed(path, problem))
}

type Save = (String, Stated, oneshot::Sender<Result<(), ClientError>>);

/// Keeps the file of a consumer, for the tasks of its partitions.
#[derive(Clone, Debug)]
pub(crate) struct Keeper(mpsc::Sender<Save>);

impl Keeper {
    /// Starts the task that owns the file. It ends with the last of its keepers.
    pub(crate) fn start(file: TrustFile, path: PathBuf) -> Self {
        let (saves, inbox) = mpsc::channel(TRUST_SAVES_MAX);
        tokio::spawn(keep(file, path, inbox));
        Self(saves)
    }

    /// Remembers a checkpoint; it is on stable storage when this resolves.
    ///
    /// # Errors
    /// [`ClientError::TrustFile`], [`ClientError::Closed`].
    pub(crate) async fn save(&self, log: &str, stated: Stated) -> Result<(), ClientError> {
        let (reply, saved) = oneshot::channel();
        self.0
            .send((log.to_owned(), stated, reply))
            .await
            .map_err(|_closed| ClientError::Closed)?;
        saved.await.map_err(|_closed| ClientError::Closed)?
    }
}

/// Writes the file once for all who wait: a consumer of a thousand partitions learns as many checkpoints a second.
async fn keep(mut file: TrustFile, path: PathBuf, mut inbox: mpsc::Receiver<Save>) {
    let mut waiting = Vec::new();
    while inbox.recv_many(&mut waiting, TRUST_SAVES_MAX).await > 0 {
        let mut learned = Vec::new();
        for (log, stated, reply) in waiting.drain(..) {
            match file.learn(&log, stated) {
                Ok(()) => learned.push(reply),
                // Who asked may have gone elsewhere meanwhile.
                Err(problem) => drop(reply.send(Err(failed(&path, problem)))),
            }
        }
        let (new, to) = (file.clone(), path.clone());
        let saved = blocking(move || new.write(&to)).await;
        for reply in learned {
            let saved = saved.clone().map_err(|problem| failed(&path, problem));
            drop(reply.send(saved));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyralog_log::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
    use pyralog_log::proof::{Checkpoint, NodeKey};

    fn checkpoint(partition: u32, size: u64) -> Checkpoint {
        Checkpoint {
            cluster: 77,
            log: LogId::new(7),
            partition: PartitionId::new(partition),
            epoch: Epoch::ZERO,
            tree_size: size,
            end_offset: Offset::new(size * 10),
            root: [9; 32],
            time: Timestamp::new(1_700_000_000_000_000),
            previous: [0; 32],
        }
    }

    fn file() -> TrustFile {
        let mut file = TrustFile::default();
        file.learn("orders", checkpoint(1, 3).into()).unwrap();
        file.learn("orders", checkpoint(0, 12).sign(&NodeKey::from_seed(&[1; 32])).into()).unwrap();
        file
    }

    #[test]
    fn the_file_is_written_as_it_always_was() {
        assert_eq!(file().render(), include_str!("../tests/golden/trust.txt"));
        assert_eq!(TrustFile::parse(&file().render()), Ok(file()));
        assert_eq!(TrustFile::parse(&TrustFile::default().render()), Ok(TrustFile::default()));
    }

    /// Saves the checkpoints of 100 partitions at once, and tells how each went.
    fn save_all(path: &Path) -> Vec<Result<(), ClientError>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let keeper = Keeper::start(TrustFile::default(), path.to_owned());
            let save = |partition| {
                let keeper = keeper.clone();
                tokio::spawn(
                    async move { keeper.save("orders", checkpoint(partition, 1).into()).await },
                )
            };
            let saves: Vec<_> = (0..100).map(save).collect();
            let mut outcomes = Vec::new();
            for save in saves {
                outcomes.push(save.await.unwrap());
            }
            outcomes
        })
    }

    #[test]
    fn what_was_saved_is_in_the_file_whoever_else_saves() {
        let folder = std::env::temp_dir().join(format!("pyralog-trust-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("trust");
        assert!(save_all(&path).iter().all(Result::is_ok));
        let file = TrustFile::read(&path).unwrap();
        assert_eq!(file.known.len(), 100);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left there");
        let nowhere = save_all(&folder.join("none/trust"));
        let is_told =
            |saved: &Result<(), ClientError>| matches!(saved, Err(ClientError::TrustFile { .. }));
        assert!(nowhere.iter().all(is_told));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn no_file_with_a_changed_byte_is_read() {
        let text = file().render();
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] ^= 1;
            let Ok(other) = String::from_utf8(other) else { continue };
            assert!(TrustFile::parse(&other).is_err(), "byte {at}");
            assert!(TrustFile::parse(&text[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let checked = |content: String| {
            let checksum = crc32c::crc32c(content.as_bytes());
            TrustFile::parse(&format!("{content}crc32c {checksum:08x}\n")).unwrap_err()
        };
        let said = TrustFile::parse("pyralog trust 2\n").unwrap_err();
        assert!(said.contains("its format is 2"), "{said}");
        let said = TrustFile::parse("something else").unwrap_err();
        assert!(said.contains("is it the right file?"), "{said}");
        let said = checked(format!("{FORMAT}\nx abc\n"));
        assert_eq!(said, "line 2 is no name and checkpoint");
        let mut forged = checkpoint(0, 1).sign(&NodeKey::from_seed(&[1; 32])).encode();
        forged[60] ^= 1;
        let said = checked(format!("{FORMAT}\nx {}\n", hex(&forged)));
        assert_eq!(said, "line 2: the signature of the checkpoint is false");
        let line = format!("x {}", hex(&checkpoint(0, 1).encode()));
        let said = checked(format!("{FORMAT}\n{line}\n{line}\n"));
        assert_eq!(said, "line 3: the partition is there twice");
        let mut again = checkpoint(1, 1);
        again.log = LogId::new(8);
        let said = checked(format!("{FORMAT}\n{line}\nx {}\n", hex(&again.encode())));
        assert!(said.starts_with("line 3: it remembers another log `x`"), "{said}");
    }
}
