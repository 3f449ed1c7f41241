//! The names of a disk: a tree of directories as the process sees it, the one that is durable, and what lies between.
//!
//! Every change of a name waits in one list until the directories concerned are synced. A loss of power keeps some of
//! the list. What may be kept without what is one rule, [`Names::close_over`]: changes of one name keep their order, a
//! rename is one change, what it moved can be found, and a directory goes with what was taken out of it before.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use super::fate::Fates;

/// The number of a file or directory, whatever its name.
pub(super) type Inode = u64;

/// The directory that everything is in.
const ROOT: Inode = 0;
/// Changes that wait. A disk writes the oldest by itself in the end; names in directories that nobody ever syncs must
/// not pile up.
const PENDING_MAX: usize = 512;
/// What a directory says its length is.
const DIRECTORY_BYTES: u64 = 4096;

/// A name in a directory.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Slot {
    dir: Inode,
    name: OsString,
}

/// A change of names. They say what they did, and are applied again to the durable tree.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Change {
    Link { at: Slot, node: Inode },
    Unlink { at: Slot, node: Inode },
    Rename { from: Slot, to: Slot, node: Inode, replaced: Option<Inode> },
}

impl Change {
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        let (first, second) = match self {
            Self::Link { at, .. } | Self::Unlink { at, .. } => (at, None),
            Self::Rename { from, to, .. } => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }

    fn node(&self) -> Inode {
        match self {
            Self::Link { node, .. } | Self::Unlink { node, .. } | Self::Rename { node, .. } => {
                *node
            }
        }
    }

    /// What has no name afterwards.
    fn unnamed(&self) -> Option<Inode> {
        match self {
            Self::Link { .. } => None,
            Self::Unlink { node, .. } => Some(*node),
            Self::Rename { replaced, .. } => *replaced,
        }
    }

    fn nodes(&self) -> impl Iterator<Item = Inode> + use<> {
        let replaced = match self {
            Self::Rename { replaced, .. } => *replaced,
            Self::Link { .. } | Self::Unlink { .. } => None,
        };
        std::iter::once(self.node()).chain(replaced)
    }
}

/// A change that is not durable.
#[derive(Debug)]
struct Pending {
    seq: u64,
    change: Change,
    /// Directories that have not been synced since.
    unsynced: BTreeSet<Inode>,
}

/// The names in a directory.
#[derive(Debug, Default)]
struct Dir {
    entries: BTreeMap<OsString, Inode>,
    durable: BTreeMap<OsString, Inode>,
}

#[derive(Debug)]
struct Node {
    /// `None` for a file.
    dir: Option<Dir>,
    /// Its name, if it has one.
    place: Option<Slot>,
    /// Durable names and changes that mention it: while there are any, a loss of power may bring it back.
    holds: u32,
}

/// The names of one disk.
#[derive(Debug)]
pub(super) struct Names {
    nodes: BTreeMap<Inode, Node>,
    /// Oldest first.
    pending: Vec<Pending>,
    next: Inode,
    /// Files that no name leads to and none ever will.
    gone: Vec<Inode>,
}

/// What has a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    File,
    Directory,
}

impl Names {
    pub(super) fn new() -> Self {
        let root = Node { dir: Some(Dir::default()), place: None, holds: 1 };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            pending: Vec::new(),
            next: ROOT + 1,
            gone: Vec::new(),
        }
    }

    /// What `path` names.
    pub(super) fn find(&self, path: &Path) -> Result<(Inode, Kind), Errno> {
        let mut at = ROOT;
        for component in path.components() {
            match component {
                Component::Normal(name) => {
                    at = *self.dir(at)?.entries.get(name).ok_or(Errno::NOENT)?;
                }
                Component::ParentDir => {
                    at = self.nodes[&at].place.as_ref().map_or(ROOT, |place| place.dir);
                }
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        Ok((at, if self.is_dir(at) { Kind::Directory } else { Kind::File }))
    }

    /// The place that `path` names, whether or not something is there; its directory must be.
    fn slot(&self, path: &Path) -> Result<Slot, Errno> {
        let name = path.file_name().ok_or(Errno::BUSY)?.to_owned();
        let (dir, _) = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.dir(dir)?;
        Ok(Slot { dir, name })
    }

    /// Makes a file or directory.
    pub(super) fn create(&mut self, path: &Path, kind: Kind, seq: u64) -> Result<Inode, Errno> {
        if self.find(path).is_ok() {
            return Err(Errno::EXIST);
        }
        let at = self.slot(path)?;
        let node = self.next;
        self.next += 1;
        let dir = (kind == Kind::Directory).then(Dir::default);
        self.nodes.insert(node, Node { dir, place: Some(at.clone()), holds: 0 });
        self.entries(&at).insert(at.name.clone(), node);
        self.wait(Change::Link { at, node }, seq);
        Ok(node)
    }

    /// Removes the name of a file.
    pub(super) fn remove_file(&mut self, path: &Path, seq: u64) -> Result<(), Errno> {
        match self.find(path)? {
            (_, Kind::Directory) => Err(Errno::ISDIR),
            (_, Kind::File) => {
                let slot = self.slot(path)?;
                self.unlink(slot, seq);
                Ok(())
            }
        }
    }

    /// A directory and everything in it, each after what it contains.
    pub(super) fn tree(&self, path: &Path) -> Result<Vec<Slot>, Errno> {
        let (node, kind) = self.find(path)?;
        if kind == Kind::File {
            return Err(Errno::NOTDIR);
        }
        let slot = self.slot(path)?;
        let mut tree = Vec::new();
        self.descend(node, &mut tree);
        tree.push(slot);
        Ok(tree)
    }

    fn descend(&self, dir: Inode, tree: &mut Vec<Slot>) {
        for (name, node) in &self.dir(dir).expect("a directory was asked for").entries {
            if self.is_dir(*node) {
                self.descend(*node, tree);
            }
            tree.push(Slot { dir, name: name.clone() });
        }
    }

    /// Removes a name that is there; a directory must be empty.
    pub(super) fn unlink(&mut self, at: Slot, seq: u64) {
        let node = self.entries(&at).remove(&at.name).expect("the name is there");
        assert!(self.dir(node).is_ok_and(|dir| dir.entries.is_empty()) || !self.is_dir(node));
        self.node(node).place = None;
        self.wait(Change::Unlink { at, node }, seq);
    }

    /// Renames, replacing a file or an empty directory.
    pub(super) fn rename(&mut self, from: &Path, to: &Path, seq: u64) -> Result<(), Errno> {
        let (node, kind) = self.find(from)?;
        let (from, to) = (self.slot(from)?, self.slot(to)?);
        let replaced = self.dir(to.dir)?.entries.get(&to.name).copied();
        match (kind, replaced) {
            (_, Some(replaced)) if replaced == node => return Ok(()),
            (Kind::File, Some(replaced)) if self.is_dir(replaced) => return Err(Errno::ISDIR),
            (Kind::Directory, Some(replaced)) if !self.dir(replaced)?.entries.is_empty() => {
                return Err(Errno::NOTEMPTY);
            }
            _ => {}
        }
        if self.ancestors(to.dir).any(|ancestor| ancestor == node) {
            return Err(Errno::INVAL);
        }
        self.entries(&from).remove(&from.name);
        self.entries(&to).insert(to.name.clone(), node);
        self.node(node).place = Some(to.clone());
        if let Some(replaced) = replaced {
            self.node(replaced).place = None;
        }
        self.wait(Change::Rename { from, to, node, replaced }, seq);
        Ok(())
    }

    /// What is in a directory, by name.
    pub(super) fn list(&self, path: &Path) -> Result<Vec<(String, Inode, Kind)>, Errno> {
        let (dir, _) = self.find(path)?;
        let kind = |node| if self.is_dir(node) { Kind::Directory } else { Kind::File };
        let entry = |(name, node): (&OsString, &Inode)| {
            (name.to_string_lossy().into_owned(), *node, kind(*node))
        };
        Ok(self.dir(dir)?.entries.iter().map(entry).collect())
    }

    /// Makes the names in a directory durable; of a rename from or to another one, that half.
    pub(super) fn sync(&mut self, dir: Inode) {
        for pending in &mut self.pending {
            pending.unsynced.remove(&dir);
        }
        let chosen = self.pending.iter().map(|pending| pending.unsynced.is_empty()).collect();
        self.commit(chosen);
    }

    /// The power fails: some of what waits becomes durable and the rest has never been. Returns what that was.
    pub(super) fn lose_power(&mut self, fates: &mut Fates) -> Vec<PathBuf> {
        let waiting: Vec<u64> = self.pending.iter().map(|pending| pending.seq).collect();
        let mut chosen = fates.names(&waiting);
        self.close_over(&mut chosen);
        let lost = self.pending.iter().zip(&chosen).filter(|(_, chosen)| !**chosen);
        let lost =
            lost.filter_map(|(pending, _)| self.path_of_slot(pending.change.slots().last()?));
        let lost = lost.collect();
        self.commit(chosen);
        self.pending.clear();
        self.remount();
        lost
    }

    /// Makes the durable tree the one that is seen.
    fn remount(&mut self) {
        let mut places = BTreeMap::from([(ROOT, None)]);
        let mut open = vec![ROOT];
        while let Some(dir) = open.pop() {
            let Some(Dir { entries, durable }) = self.node(dir).dir.as_mut() else { continue };
            entries.clone_from(durable);
            for (name, node) in durable {
                places.insert(*node, Some(Slot { dir, name: name.clone() }));
                open.push(*node);
            }
        }
        let lost = self.nodes.extract_if(.., |node, _| !places.contains_key(node));
        self.gone.extend(lost.map(|(node, _)| node));
        for (node, place) in places {
            let node = self.node(node);
            (node.place, node.holds) = (place, 1);
        }
    }

    /// Adds the places of all changes that are not durable to `order`.
    pub(super) fn unsynced(&self, order: &mut BTreeSet<u64>) {
        order.extend(self.pending.iter().map(|pending| pending.seq));
    }

    /// Files and directories that nothing leads to any more, since the last call.
    pub(super) fn take_gone(&mut self) -> Vec<Inode> {
        std::mem::take(&mut self.gone)
    }

    /// Whether a name leads to it, or may after a loss of power.
    pub(super) fn knows(&self, node: Inode) -> bool {
        self.nodes.contains_key(&node)
    }

    /// Whether a name leads to it.
    pub(super) fn is_linked(&self, node: Inode) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.place.is_some())
    }

    /// The path that leads to it now.
    pub(super) fn path_of(&self, node: Inode) -> Option<PathBuf> {
        match &self.nodes.get(&node)?.place {
            Some(place) => self.path_of_slot(place),
            None => (node == ROOT).then(|| PathBuf::from("/")),
        }
    }

    pub(super) fn path_of_slot(&self, slot: &Slot) -> Option<PathBuf> {
        self.path_of(slot.dir).map(|dir| dir.join(&slot.name))
    }

    /// What a directory says its length is.
    pub(super) const fn directory_len() -> u64 {
        DIRECTORY_BYTES
    }

    /// Adds a change that its directories have to be synced for.
    fn wait(&mut self, change: Change, seq: u64) {
        for node in change.nodes() {
            self.node(node).holds += 1;
        }
        let unsynced = change.slots().map(|slot| slot.dir).collect();
        self.pending.push(Pending { seq, change, unsynced });
        if self.pending.len() > PENDING_MAX {
            let oldest = |at| at < PENDING_MAX / 2;
            self.commit((0..self.pending.len()).map(oldest).collect());
        }
    }

    /// Makes durable what is chosen and what that needs.
    fn commit(&mut self, mut chosen: Vec<bool>) {
        self.close_over(&mut chosen);
        let mut chosen = chosen.into_iter();
        let kept = |_: &mut Pending| chosen.next().unwrap_or(false);
        for pending in self.pending.extract_if(.., kept).collect::<Vec<_>>() {
            self.apply(&pending.change);
        }
    }

    /// Chooses what the chosen changes cannot be without:
    /// - earlier changes of the same names;
    /// - of a directory that is no more, what was taken out of it;
    /// - of a rename to another directory, that directory, so that what was moved can be found;
    /// - of a renamed directory, earlier renames of directories, so that the tree stays one.
    fn close_over(&self, chosen: &mut [bool]) {
        let (mut slots, mut emptied, mut found) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut moves = false;
        for (pending, chosen) in self.pending.iter().zip(chosen).rev() {
            let change = &pending.change;
            let moves_dir = matches!(change, Change::Rename { .. }) && self.is_dir(change.node());
            *chosen |= change.slots().any(|s| slots.contains(s) || emptied.contains(&s.dir))
                || found.contains(&change.node())
                || moves && moves_dir;
            if !*chosen {
                continue;
            }
            slots.extend(change.slots());
            emptied.extend(change.unnamed());
            moves |= moves_dir;
            match change {
                Change::Rename { from, to, node, .. }
                    if from.dir != to.dir || found.contains(node) =>
                {
                    found.insert(to.dir);
                }
                Change::Link { at, node } if found.contains(node) => {
                    found.insert(at.dir);
                }
                _ => {}
            }
        }
    }

    /// Does to the durable tree what was done to the other one.
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Link { at, node } => self.hold(at, *node),
            Change::Unlink { at, .. } => self.unhold(at),
            Change::Rename { from, to, node, .. } => {
                self.hold(to, *node);
                self.unhold(from);
            }
        }
        for node in change.nodes() {
            self.release(node);
        }
    }

    /// Gives `node` a durable name.
    fn hold(&mut self, at: &Slot, node: Inode) {
        self.node(node).holds += 1;
        let before = self.durable(at).insert(at.name.clone(), node);
        if let Some(before) = before {
            self.release(before);
        }
    }

    /// Takes a durable name away.
    fn unhold(&mut self, at: &Slot) {
        let node = self.durable(at).remove(&at.name).expect("changes of a name are in order");
        self.release(node);
    }

    /// Forgets one reason for which `node` is kept.
    fn release(&mut self, node: Inode) {
        let held = self.node(node);
        held.holds -= 1;
        if held.holds > 0 {
            return;
        }
        assert!(held.place.is_none(), "a name is durable or waits");
        if let Some(Node { dir: Some(dir), .. }) = self.nodes.remove(&node) {
            assert!(dir.durable.is_empty(), "a directory went before what was in it");
        }
        self.gone.push(node);
    }

    fn is_dir(&self, node: Inode) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.dir.is_some())
    }

    fn dir(&self, node: Inode) -> Result<&Dir, Errno> {
        self.nodes.get(&node).and_then(|node| node.dir.as_ref()).ok_or(Errno::NOTDIR)
    }

    fn node(&mut self, node: Inode) -> &mut Node {
        self.nodes.get_mut(&node).expect("what is named or held is there")
    }

    fn entries(&mut self, slot: &Slot) -> &mut BTreeMap<OsString, Inode> {
        &mut self.node(slot.dir).dir.as_mut().expect("slots are in directories").entries
    }

    fn durable(&mut self, slot: &Slot) -> &mut BTreeMap<OsString, Inode> {
        &mut self.node(slot.dir).dir.as_mut().expect("slots are in directories").durable
    }

    /// A directory and those above it.
    fn ancestors(&self, dir: Inode) -> impl Iterator<Item = Inode> {
        std::iter::successors(Some(dir), |at| {
            self.nodes.get(at)?.place.as_ref().map(|place| place.dir)
        })
    }
}
