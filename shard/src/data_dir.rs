//! The identity of a data directory: format, node, cluster, and the lock of the process that runs on it.
//!
//! ```text
//! <data>/node.toml      format, node id, cluster id, time of creation, checksum; written once, whole or not at all
//! <data>/lock           flock of the running server, holding its pid as text
//! <data>/catalog/       the partition with the commands of the catalog
//! <data>/logs/<log id>/<partition>/
//! <data>/recycle/       segment files waiting for their next life
//! <data>/scarab/        up to which time ids may have been dealt, a file for each shard
//! <data>/obelisk/       the counters
//! <data>/keys/          the node's secret key, see `node_key`
//! ```
//!
//! Everything here runs on the thread that starts the server, before any core does, so it blocks with a good
//! conscience. Whatever is wrong with the directory is an error that says what to do; nothing is repaired by guessing.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use pyralog_runtime::file::FileLock;
use pyralog_runtime::file::blocking::{self, Locking};
use serde::{Deserialize, Serialize};

use crate::limits::{LOCK_FILE_BYTES_MAX, NODE_FILE_BYTES_MAX, NODE_ID_MAX};

/// The format of the directory that this build reads and writes.
pub const FORMAT: u32 = 1;

/// Folder of the high-water marks of ids, within a data directory.
pub const SCARAB_FOLDER: &str = "scarab";
/// Folder of the counters, within a data directory.
pub const OBELISK_FOLDER: &str = "obelisk";

const NODE_FILE: &str = "node.toml";
const NODE_FILE_NEW: &str = "node.toml.new";
const LOCK_FILE: &str = "lock";

/// Why a directory cannot be used. Displays as a sentence that says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum DataDirError {
    /// The path is a file or something else.
    NotADirectory {
        /// The path asked for.
        path: PathBuf,
    },
    /// There are files in it, but no `node.toml`.
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// The name of one of the files.
        entry: String,
    },
    /// It is a data directory, where a new one is to be made.
    Taken {
        /// The directory.
        path: PathBuf,
    },
    /// It was written by another version of the format.
    OtherFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It belongs to another node than the one asked for.
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// The node it belongs to.
        found: u64,
        /// The node asked for.
        asked: u64,
    },
    /// It belongs to another cluster than the one asked for.
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster it belongs to.
        found: u64,
        /// The cluster asked for.
        asked: u64,
    },
    /// `node.toml` does not say what it must.
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong with the file.
        problem: String,
    },
    /// The node's key cannot be used.
    Key {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A running server holds it.
    Locked {
        /// The directory.
        path: PathBuf,
        /// The server's process, if it left its number.
        pid: Option<u32>,
    },
    /// It, or the file system, cannot be written.
    ReadOnly {
        /// The path that could not be written.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file system, or the quota, is full.
    Full {
        /// The path that could not be written.
        path: PathBuf,
    },
    /// Anything else that the kernel said.
    Io {
        /// The path of the operation.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for DataDirError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADirectory { path } => write!(
                formatter,
                "{} is not a directory: remove it or choose another data directory",
                path.display()
            ),
            Self::NotOurs { path, entry } => write!(
                formatter,
                "{} holds `{entry}` but no {NODE_FILE}, so it is not a data directory: choose an empty or new one",
                path.display()
            ),
            Self::Taken { path } => write!(
                formatter,
                "{} is a data directory already: choose an empty or new one",
                path.display()
            ),
            Self::OtherFormat { path, found } => write!(
                formatter,
                "{} has format {found}, this build reads format {FORMAT}: run the version that wrote it, or choose another data directory",
                path.display()
            ),
            Self::OtherNode { path, found, asked } => write!(
                formatter,
                "{} belongs to node {found}, not to node {asked}: correct the node id or the data directory",
                path.display()
            ),
            Self::OtherCluster { path, found, asked } => write!(
                formatter,
                "{} belongs to cluster {found}, not to cluster {asked}: correct the cluster id or the data directory",
                path.display()
            ),
            Self::Damaged { path, problem } => write!(
                formatter,
                "{}: {problem}; restore the file from a backup",
                path.join(NODE_FILE).display()
            ),
            Self::Key { path, problem } => write!(formatter, "{}: {problem}", path.display()),
            Self::Locked { path, pid: Some(pid) } => write!(
                formatter,
                "{} is in use by the server with process id {pid}: stop it first (kill -TERM {pid}) or choose another data directory",
                path.display()
            ),
            Self::Locked { path, pid: None } => write!(
                formatter,
                "{} is in use by a running server: stop it first or choose another data directory",
                path.display()
            ),
            Self::ReadOnly { path, source } => write!(
                formatter,
                "cannot write {}: {source}; give this user write access or choose another data directory",
                path.display()
            ),
            Self::Full { path } => write!(
                formatter,
                "no space left for {}: free some or choose another data directory",
                path.display()
            ),
            Self::Io { path, source } => write!(formatter, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for DataDirError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::ReadOnly { source, .. } | Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What `node.toml` says. Ids are at most [`NODE_ID_MAX`], which TOML and JSON represent exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The node's id, drawn at its first start and never zero.
    pub node_id: u64,
    /// The cluster's id, drawn with the first node and never zero.
    pub cluster_id: u64,
    /// When the directory was created, in microseconds since the Unix epoch.
    pub created_us: i64,
}

impl Identity {
    /// Whether the directory at `path` belongs to whom it must.
    fn is_asked_for(&self, path: &Path, asked: Asked) -> Result<(), DataDirError> {
        if let Some(asked) = asked.node.filter(|node| *node != self.node_id) {
            return Err(DataDirError::OtherNode { path: path.into(), found: self.node_id, asked });
        }
        if let Some(asked) = asked.cluster.filter(|cluster| *cluster != self.cluster_id) {
            let found = self.cluster_id;
            return Err(DataDirError::OtherCluster { path: path.into(), found, asked });
        }
        Ok(())
    }
}

/// Whom a directory must belong to, as far as the settings say. A new one gets these ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// The node.
    pub node: Option<u64>,
    /// The cluster.
    pub cluster: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    format: u32,
    node_id: u64,
    cluster_id: u64,
    created_us: i64,
    /// CRC32C of the numbers above, little-endian, in hexadecimal digits: one rotten bit makes a digit another digit, and the
    /// server a node of another cluster. Files that were written before it was there have none.
    crc: Option<String>,
}

impl NodeFile {
    fn new(identity: Identity) -> Self {
        let Identity { node_id, cluster_id, created_us } = identity;
        let mut file = Self { format: FORMAT, node_id, cluster_id, created_us, crc: None };
        file.crc = Some(file.checksum());
        file
    }

    fn checksum(&self) -> String {
        let mut bytes = self.format.to_le_bytes().to_vec();
        bytes.extend(self.node_id.to_le_bytes());
        bytes.extend(self.cluster_id.to_le_bytes());
        bytes.extend(self.created_us.to_le_bytes());
        format!("{:08x}", crc32c::crc32c(&bytes))
    }
}

/// The part of `node.toml` that every format has, read first so that a newer file is called newer, not damaged.
#[derive(Debug, Deserialize)]
struct AnyNodeFile {
    format: u32,
}

/// A data directory that this process holds. The lock goes with the value.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    _lock: FileLock,
}

impl DataDir {
    /// Takes the directory at `path`, creating it with the identity `fresh` if it does not exist or is empty.
    ///
    /// # Errors
    /// [`DataDirError`]; a directory that already existed is unchanged, except for an empty file `lock`.
    pub fn open(path: &Path, asked: Asked, fresh: Identity) -> Result<Self, DataDirError> {
        create_directory(path)?;
        if !blocking::exists(&path.join(NODE_FILE)).unwrap_or(false) {
            refuse_foreign(path)?;
        }
        let lock = take_lock(path)?;
        let identity = if let Some(identity) = read_node_file(path)? {
            identity
        } else {
            let node_id = asked.node.unwrap_or(fresh.node_id);
            let cluster_id = asked.cluster.unwrap_or(fresh.cluster_id);
            write_node_file(path, Identity { node_id, cluster_id, ..fresh })?
        };
        identity.is_asked_for(path, asked)?;
        let directory = Self { path: path.into(), identity, _lock: lock };
        let folders = [
            directory.catalog(),
            directory.path.join("logs"),
            directory.recycle(),
            directory.path.join(SCARAB_FOLDER),
            directory.path.join(OBELISK_FOLDER),
        ];
        for folder in folders {
            create_directory(&folder)?;
        }
        // An earlier start may have made the folders and not have come to the sync. Whoever made the first of them has
        // synced the name of the directory itself.
        blocking::sync_dir(path).map_err(|source| failed(path, source))?;
        sync_folders(&directory.recycle())?;
        Ok(directory)
    }

    /// Takes a directory that is one already.
    ///
    /// # Errors
    /// [`DataDirError`]; one of the kind `Damaged` if it is none. Nothing is made then.
    pub fn open_existing(path: &Path) -> Result<Self, DataDirError> {
        let Some(identity) = identity_of(path)? else {
            return Err(damaged(path, "there is no such file".to_owned()));
        };
        Self::open(path, Asked::default(), identity)
    }

    /// Who the directory belongs to.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Folder of the catalog's partition.
    #[must_use]
    pub fn catalog(&self) -> PathBuf {
        self.path.join("catalog")
    }

    /// Folder of the segment files that wait for their next life.
    #[must_use]
    pub fn recycle(&self) -> PathBuf {
        self.path.join("recycle")
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A directory that is to become a data directory, held by this process. Until [`Foundation::finish`] no server takes it.
#[derive(Debug)]
pub struct Foundation {
    path: PathBuf,
    lock: FileLock,
}

impl Foundation {
    /// Takes the directory at `path`, which must be missing or empty.
    ///
    /// # Errors
    /// [`DataDirError::NotOurs`] or [`DataDirError::Taken`] if there is anything in it, or what any call can meet.
    pub fn lay(path: &Path) -> Result<Self, DataDirError> {
        create_directory(path)?;
        if blocking::exists(&path.join(NODE_FILE)).unwrap_or(false) {
            return Err(DataDirError::Taken { path: path.into() });
        }
        refuse_foreign(path)?;
        let lock = take_lock(path)?;
        Ok(Self { path: path.into(), lock })
    }

    /// Makes it a data directory, durably.
    ///
    /// # Errors
    /// What any call can meet; it is none then.
    pub fn finish(self, identity: Identity) -> Result<DataDir, DataDirError> {
        for folder in ["catalog", "logs", "recycle", SCARAB_FOLDER, OBELISK_FOLDER] {
            create_directory(&self.path.join(folder))?;
        }
        blocking::sync_dir(&self.path).map_err(|source| failed(&self.path, source))?;
        let identity = write_node_file(&self.path, identity)?;
        Ok(DataDir { path: self.path, identity, _lock: self.lock })
    }
}

/// Syncs the folders in `folder`. What a process moved there before it died is where it moved it, and a loss of power may still
/// undo that: then a segment that was replaced would be back. Partitions sync the folder of their core only, and with another
/// number of shards that is another one.
fn sync_folders(folder: &Path) -> Result<(), DataDirError> {
    let entries = blocking::list_dir(folder).map_err(|source| failed(folder, source))?;
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        let inner = folder.join(&entry.name);
        blocking::sync_dir(&inner).map_err(|source| failed(&inner, source))?;
    }
    Ok(())
}

/// Who the directory at `path` belongs to, or `None` if it is not a data directory. Takes no lock and writes nothing.
///
/// # Errors
/// If its `node.toml` cannot be read or does not say what it must.
pub fn identity_of(path: &Path) -> Result<Option<Identity>, DataDirError> {
    read_node_file(path)
}

pub(crate) fn failed(path: &Path, source: io::Error) -> DataDirError {
    let path = path.to_path_buf();
    match source.kind() {
        ErrorKind::NotADirectory => DataDirError::NotADirectory { path },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            DataDirError::ReadOnly { path, source }
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DataDirError::Full { path },
        _ => DataDirError::Io { path, source },
    }
}

fn create_directory(path: &Path) -> Result<(), DataDirError> {
    match blocking::is_dir(path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(DataDirError::NotADirectory { path: path.into() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            blocking::create_dir_all(path).map_err(|source| failed(path, source))
        }
        Err(source) => Err(failed(path, source)),
    }
}

/// What an interrupted first start may leave behind is ours; anything else is somebody's.
fn refuse_foreign(path: &Path) -> Result<(), DataDirError> {
    let entries = blocking::list_dir(path).map_err(|source| failed(path, source))?;
    let ours = [LOCK_FILE, NODE_FILE_NEW, "lost+found"];
    match entries.into_iter().find(|entry| !ours.contains(&entry.name.as_str())) {
        Some(entry) => Err(DataDirError::NotOurs { path: path.into(), entry: entry.name }),
        None => Ok(()),
    }
}

fn take_lock(directory: &Path) -> Result<FileLock, DataDirError> {
    let path = directory.join(LOCK_FILE);
    let lock = match blocking::lock(&path, LOCK_FILE_BYTES_MAX) {
        Ok(Locking::Taken(lock)) => lock,
        Ok(Locking::Held { content }) => {
            // Without a readable number the error is as true, only less helpful.
            let pid = String::from_utf8(content).ok().and_then(|text| text.trim().parse().ok());
            return Err(DataDirError::Locked { path: directory.into(), pid });
        }
        Err(source) => return Err(failed(&path, source)),
    };
    match lock.write(format!("{}\n", blocking::process_id()).as_bytes()) {
        Ok(()) => Ok(lock),
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            // A full disk must not keep a node from serving what it has; only the pid is missing then. A new directory
            // fails at its node file.
            Ok(lock)
        }
        Err(source) => Err(failed(&path, source)),
    }
}

fn read_node_file(directory: &Path) -> Result<Option<Identity>, DataDirError> {
    let path = directory.join(NODE_FILE);
    let bytes = match blocking::read_start(&path, NODE_FILE_BYTES_MAX + 1) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(&path, source)),
        Ok(bytes) if bytes.len() > NODE_FILE_BYTES_MAX => {
            return Err(damaged(directory, format!("longer than {NODE_FILE_BYTES_MAX} bytes")));
        }
        Ok(bytes) => bytes,
    };
    let text = String::from_utf8(bytes).map_err(|_not_text| {
        failed(&path, io::Error::new(ErrorKind::InvalidData, "stream did not contain valid UTF-8"))
    })?;
    let any: AnyNodeFile =
        toml::from_str(&text).map_err(|error| damaged(directory, error.to_string()))?;
    if any.format != FORMAT {
        return Err(DataDirError::OtherFormat { path: directory.into(), found: any.format });
    }
    let file: NodeFile =
        toml::from_str(&text).map_err(|error| damaged(directory, error.to_string()))?;
    if file.crc.as_ref().is_some_and(|crc| *crc != file.checksum()) {
        return Err(damaged(directory, "the checksum does not match".to_owned()));
    }
    for (key, id) in [("node_id", file.node_id), ("cluster_id", file.cluster_id)] {
        if !(1..=NODE_ID_MAX).contains(&id) {
            let problem = format!("{key} = {id} is not between 1 and {NODE_ID_MAX}");
            return Err(damaged(directory, problem));
        }
    }
    Ok(Some(Identity {
        node_id: file.node_id,
        cluster_id: file.cluster_id,
        created_us: file.created_us,
    }))
}

fn damaged(directory: &Path, problem: String) -> DataDirError {
    DataDirError::Damaged { path: directory.into(), problem }
}

/// Writes the file under another name, syncs it, renames it and syncs the directory: whole or not at all.
fn write_node_file(directory: &Path, identity: Identity) -> Result<Identity, DataDirError> {
    assert!(identity.node_id != 0 && identity.cluster_id != 0, "ids are drawn above zero");
    let text = toml::to_string(&NodeFile::new(identity))
        .expect("numbers and short texts are always representable");
    let path = directory.join(NODE_FILE);
    blocking::write_atomic(&path, NODE_FILE_NEW, text.as_bytes())
        .map_err(|source| failed(&path, source))?;
    Ok(identity)
}

#[cfg(test)]
mod tests;
