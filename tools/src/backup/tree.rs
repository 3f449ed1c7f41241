//! The Merkle trees of logs with proofs: their nodes in files, and what shows that they are those that the server has stated.
//!
//! Retention removes records, never what was said about them: nodes of batches that are gone cannot be made again. So a backup
//! keeps all nodes of a tree, of which the server only ever appends more. Each backup adds one file.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use pyralog_client::blocking::Client;
use pyralog_client::{LogDescription, PartitionId, TreeState};
use pyralog_log::batch::BatchHeader;
use pyralog_log::limits::MERKLE_NODES_READ_MAX;
use pyralog_log::merkle::{
    Frontier, GrownLeaf, NODE_BYTES, Node, Regrowth, batch_hash, cover, leaf, nodes_before,
};
use pyralog_log::proof::Checkpoint;
use pyralog_runtime::file::blocking;

use super::files::{failed, parse_range};
use super::manifest::{NodeFile, TreeBackup, to_hex};
use super::take::Target;
use crate::connect::explain;
use crate::exit::Failure;
use crate::limits::READ_BYTES;

/// Name of a file of nodes that is being written; one that a crash has left is written anew.
const STAGED_NAME: &str = "nodes.part";

/// Name of a complete file of nodes.
pub(crate) fn name(first: u64, next: u64) -> String {
    format!("{first:020}-{next:020}.nodes")
}

/// Whether a file is a complete one of nodes.
pub(super) fn is_name(name: &str) -> bool {
    parse_range(name, ".nodes").is_some()
}

/// What the server has said of a tree, of which nodes are to be taken.
pub(super) struct Stated {
    checkpoint: Checkpoint,
    bytes: Vec<u8>,
}

impl Stated {
    /// The newest checkpoint, and why the tree stands still, if it does.
    pub(super) fn of(state: TreeState) -> (Option<Self>, Option<String>) {
        let stated = state.checkpoint.map(|checkpoint| {
            let signed = state.signed.map(|signed| signed.encode().to_vec());
            let bytes = signed.unwrap_or_else(|| checkpoint.encode().to_vec());
            Self { checkpoint, bytes }
        });
        (stated, state.fault)
    }

    /// Whether it is about a partition of this log: the name may have been given to another.
    pub(super) fn is_about(&self, log: &LogDescription, cluster: u64) -> bool {
        (self.checkpoint.cluster, self.checkpoint.log) == (cluster, log.id)
    }

    /// The offset after the last record of it.
    pub(super) fn end(&self) -> u64 {
        self.checkpoint.end_offset.get()
    }
}

/// Copies the nodes that are missing up to the tree that was stated.
///
/// # Errors
/// If they do not lead from the known tree to that one, the server does not send them, or they cannot be written.
pub(super) fn take(
    client: &Client,
    (target, folder): (&Target, &Path),
    known: Option<&TreeBackup>,
    stated: &Stated,
) -> Result<TreeBackup, Failure> {
    let mut files = known.map_or_else(Vec::new, |known| known.files.clone());
    remove_unnamed(folder, &files)?;
    let differs = |how: &str| {
        Failure::failed(format!(
            "the tree of {} partition {} is another one: {how}",
            target.name, target.partition
        ))
        .hint("the server shows another history than it has signed: keep this directory, and begin a new one")
    };
    let before = match known {
        Some(known) => known.checkpoint().map_err(Failure::failed)?.tree_size,
        None => 0,
    };
    let size = stated.checkpoint.tree_size;
    if size < before {
        return Err(differs(&format!("it had {before} batches and has {size} now")));
    }
    let mut growth = Regrowth::behind(frontier(folder, &files, before)?);
    let (first, next) = (nodes_before(before), nodes_before(size));
    let mut writer = Writer::create(folder)?;
    let partition = PartitionId::new(target.partition);
    while growth.next_number() < next {
        let at = growth.next_number();
        let count = (next - at).min(MERKLE_NODES_READ_MAX as u64);
        let count = u32::try_from(count).expect("a limit of nodes is small");
        let read = client.read_tree(&target.name, partition, (at, count));
        let nodes = read.map_err(|error| explain(&error))?.nodes;
        if nodes.is_empty() {
            return Err(differs(&format!("it ends at node {at} of {next}")));
        }
        for node in &nodes {
            growth.take(*node).map_err(|error| differs(&error.to_string()))?;
        }
        writer.push(&nodes)?;
    }
    let grown = growth.finish().map_err(|error| differs(&error.to_string()))?;
    if grown.root() != stated.checkpoint.tree() {
        return Err(differs("its nodes do not lead to the root of its checkpoint"));
    }
    if first < next {
        files.push(writer.finish(folder, (first, next))?);
    } else {
        remove(&folder.join(STAGED_NAME))?;
    }
    Ok(TreeBackup { checkpoint: to_hex(&stated.bytes), files })
}

/// Removes files of nodes that a backup which was cut short has left.
fn remove_unnamed(folder: &Path, files: &[NodeFile]) -> Result<(), Failure> {
    let named: BTreeSet<String> = files.iter().map(|file| name(file.first, file.next)).collect();
    let entries = blocking::list_dir(folder).map_err(|error| failed("read", folder, &error))?;
    for entry in entries {
        if is_name(&entry.name) && !named.contains(&entry.name) {
            remove(&folder.join(&entry.name))?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Failure> {
    match blocking::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path, &error)),
        _ => Ok(()),
    }
}

/// The right edge of a tree whose nodes are in files.
fn frontier(folder: &Path, files: &[NodeFile], size: u64) -> Result<Frontier, Failure> {
    let mut peaks = Vec::new();
    for id in cover(0..size) {
        let number = id.number();
        let file = files.iter().find(|file| (file.first..file.next).contains(&number));
        let file = file.expect("the files of a manifest have all nodes of its checkpoint");
        let path = folder.join(name(file.first, file.next));
        let read = || {
            let mut opened = OpenOptions::new().read(true).open(&path)?;
            opened.seek(SeekFrom::Start((number - file.first) * NODE_BYTES as u64))?;
            let mut bytes = [0; NODE_BYTES];
            opened.read_exact(&mut bytes).map(|()| Node::decode(&bytes))
        };
        peaks.push(read().map_err(|error| failed("read", &path, &error))?);
    }
    Ok(Frontier::from_peaks(size, peaks).expect("as many peaks as the size has"))
}

/// A file of nodes that is being written.
struct Writer {
    path: PathBuf,
    file: BufWriter<std::fs::File>,
    hash: blake3::Hasher,
}

impl Writer {
    fn create(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(STAGED_NAME);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = BufWriter::new(file.map_err(|error| failed("write", &path, &error))?);
        Ok(Self { path, file, hash: blake3::Hasher::new() })
    }

    fn push(&mut self, nodes: &[Node]) -> Result<(), Failure> {
        let bytes: Vec<u8> = nodes.iter().flat_map(Node::encode).collect();
        self.hash.update(&bytes);
        self.file.write_all(&bytes).map_err(|error| failed("write", &self.path, &error))
    }

    /// Completes it: on stable storage, under its name.
    fn finish(mut self, folder: &Path, (first, next): (u64, u64)) -> Result<NodeFile, Failure> {
        let path = self.path;
        let mut complete = || {
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            std::fs::rename(&path, folder.join(name(first, next)))?;
            blocking::sync_dir(folder)
        };
        complete().map_err(|error| failed("write", &path, &error))?;
        Ok(NodeFile { first, next, blake3: self.hash.finalize().to_hex().to_string() })
    }
}

/// The tree of a partition of a backup, read once from its first node to its last, beside the batches.
pub(super) struct Check {
    folder: PathBuf,
    checkpoint: Checkpoint,
    /// The files that are not read to their end, the next one last.
    files: Vec<NodeFile>,
    reading: Option<(NodeFile, BufReader<std::fs::File>, blake3::Hasher)>,
    growth: Regrowth,
    leaf: Option<GrownLeaf>,
}

/// What is wrong with a tree: the file that is, and how.
pub(super) type Fault = (PathBuf, String);

impl Check {
    pub(super) fn new(folder: PathBuf, tree: &TreeBackup) -> Result<Self, Fault> {
        let checkpoint = tree.checkpoint().map_err(|problem| (folder.clone(), problem))?;
        let files = tree.files.iter().rev().cloned().collect();
        let growth = Regrowth::default();
        Ok(Self { folder, checkpoint, files, reading: None, growth, leaf: None })
    }

    /// Whether a batch is the one in the tree; what lies behind the tree is in none yet.
    pub(super) fn batch(&mut self, header: &BatchHeader, bytes: &[u8]) -> Result<(), Fault> {
        let (base, next) = (header.owner.base_offset, header.next_offset());
        if base >= self.checkpoint.end_offset {
            return Ok(());
        }
        while self.leaf.as_ref().is_none_or(|leaf| leaf.offsets.start < base) {
            if !self.advance()? {
                break;
            }
        }
        let hash = batch_hash(bytes).expect("a batch that was checked");
        let ours = GrownLeaf { offsets: base..next, node: leaf(hash, next.since(base)) };
        if self.leaf.as_ref() == Some(&ours) {
            return Ok(());
        }
        Err((self.folder.clone(), format!("the batch at offset {base} is not the one in the tree")))
    }

    /// Reads the nodes that no batch has asked for, and compares the root.
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        while self.advance()? {}
        let folder = self.folder;
        let grown = self.growth.finish().map_err(|error| (folder.clone(), error.to_string()))?;
        if grown.root() == self.checkpoint.tree() {
            return Ok(());
        }
        Err((folder, "the nodes do not lead to the root of the checkpoint".to_owned()))
    }

    /// Takes nodes up to the next leaf; false at the end of the tree.
    fn advance(&mut self) -> Result<bool, Fault> {
        while let Some(node) = self.next()? {
            let taken = self.growth.take(node);
            let taken = taken.map_err(|error| (self.folder.clone(), format!("a node: {error}")))?;
            if let Some(leaf) = taken {
                self.leaf = Some(leaf);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn next(&mut self) -> Result<Option<Node>, Fault> {
        loop {
            let Some((file, reader, hash)) = &mut self.reading else {
                let Some(file) = self.files.pop() else { return Ok(None) };
                let path = self.folder.join(name(file.first, file.next));
                let opened = OpenOptions::new().read(true).open(&path);
                let opened = opened.map_err(|error| (path, error.to_string()))?;
                let reader = BufReader::with_capacity(READ_BYTES, opened);
                self.reading = Some((file, reader, blake3::Hasher::new()));
                continue;
            };
            let mut bytes = [0; NODE_BYTES];
            match reader.read_exact(&mut bytes) {
                Ok(()) => {
                    hash.update(&bytes);
                    return Ok(Some(Node::decode(&bytes)));
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
                Err(error) => return Err((self.folder.clone(), error.to_string())),
            }
            let path = self.folder.join(name(file.first, file.next));
            let length = reader.get_ref().metadata().map_or(0, |found| found.len());
            let sound = length == (file.next - file.first) * NODE_BYTES as u64
                && hash.finalize().to_hex().as_str() == file.blake3;
            self.reading = None;
            if !sound {
                return Err((path, "its content is another one".to_owned()));
            }
        }
    }
}
