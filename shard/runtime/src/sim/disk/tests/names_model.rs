//! Random changes of names, compared with a model that knows of each name only what it has meant, and when.

use super::*;
use quickcheck::{Arbitrary, Gen, quickcheck};
use std::collections::BTreeSet;

const DIRS: [&str; 3] = ["/a", "/b", "/c"];
const NAMES: [&str; 3] = ["x", "y", "z"];

#[derive(Clone, Copy, Debug)]
enum Step {
    Create(usize, usize),
    Rename((usize, usize), (usize, usize)),
    Remove(usize, usize),
    SyncDir(usize),
    Crash(Crash),
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut dir = || usize::arbitrary(g) % DIRS.len();
        let (from, to) = (dir(), dir());
        let mut name = || usize::arbitrary(g) % NAMES.len();
        let (old, new) = (name(), name());
        match u8::arbitrary(g) % 16 {
            0..5 => Self::Create(from, old),
            5..9 => Self::Rename((from, old), (to, new)),
            9..11 => Self::Remove(from, old),
            11..14 => Self::SyncDir(from),
            14 => Self::Crash(Crash::Power),
            _ => Self::Crash(Crash::Process),
        }
    }
}

/// A file of the model, known by what it holds; never the same twice.
type Tag = u64;

struct Model {
    disk: Disk,
    /// What each name may mean after a loss of power: what it durably means, and everything since. The last is what it
    /// means now.
    names: BTreeMap<(usize, usize), Vec<Option<Tag>>>,
    /// Where each file was made.
    made: BTreeMap<Tag, usize>,
    /// Files that are somewhere whatever happens: their first name was synced, and nobody has removed them.
    sure: BTreeSet<Tag>,
    /// Names whose last change is a rename to or from another directory: not durable with one directory alone.
    half: BTreeMap<(usize, usize), BTreeSet<usize>>,
    next: Tag,
}

fn path((dir, name): (usize, usize)) -> PathBuf {
    Path::new(DIRS[dir]).join(NAMES[name])
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut disk = Disk::new(seed);
        for dir in DIRS {
            disk.create_dir(Path::new(dir)).unwrap();
        }
        disk.sync_dir(Path::new("/")).unwrap();
        let all = (0..DIRS.len()).flat_map(|dir| (0..NAMES.len()).map(move |name| (dir, name)));
        Self {
            disk,
            names: all.map(|name| (name, vec![None])).collect(),
            made: BTreeMap::new(),
            sure: BTreeSet::new(),
            half: BTreeMap::new(),
            next: 1,
        }
    }

    fn now(&self, name: (usize, usize)) -> Option<Tag> {
        *self.names[&name].last().unwrap()
    }

    fn becomes(&mut self, name: (usize, usize), tag: Option<Tag>, waits_for: &[usize]) {
        if let Some(before) = self.now(name) {
            self.sure.remove(&before);
        }
        self.names.get_mut(&name).unwrap().push(tag);
        self.half.insert(name, waits_for.iter().copied().collect());
    }

    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Create(dir, name) => {
                let made = self.disk.open(&path((dir, name)), How::CreateNew);
                assert_eq!(made.is_ok(), self.now((dir, name)).is_none());
                if let Ok(handle) = made {
                    let tag = self.next;
                    self.next += 1;
                    self.disk.append_bytes(handle, &tag.to_le_bytes()).unwrap();
                    self.disk.sync_now(handle).unwrap();
                    self.disk.close(handle);
                    self.made.insert(tag, dir);
                    self.becomes((dir, name), Some(tag), &[dir]);
                }
            }
            Step::Rename(from, to) => {
                let result = self.disk.rename(&path(from), &path(to));
                let tag = self.now(from);
                assert_eq!(result.is_ok(), tag.is_some());
                if let Some(tag) = tag.filter(|_| from != to) {
                    let was_sure = self.sure.contains(&tag);
                    self.becomes(to, Some(tag), &[from.0, to.0]);
                    self.becomes(from, None, &[from.0, to.0]);
                    if was_sure {
                        self.sure.insert(tag);
                    }
                }
            }
            Step::Remove(dir, name) => {
                let result = self.disk.remove_file(&path((dir, name)));
                assert_eq!(result.is_ok(), self.now((dir, name)).is_some());
                if result.is_ok() {
                    self.becomes((dir, name), None, &[dir]);
                }
            }
            Step::SyncDir(dir) => self.sync(dir),
            Step::Crash(crash) => {
                self.disk.crash(crash);
                return self.is_right_after(crash);
            }
        }
        self.is_seen()
    }

    fn sync(&mut self, dir: usize) {
        self.disk.sync_dir(Path::new(DIRS[dir])).unwrap();
        for (name, waits_for) in &mut self.half {
            waits_for.remove(&dir);
            if waits_for.is_empty() {
                let past = self.names.get_mut(name).unwrap();
                past.drain(..past.len() - 1);
            }
        }
        let present: BTreeSet<Tag> = self.names.values().filter_map(|past| *past.last()?).collect();
        self.sure.extend(present.iter().filter(|tag| self.made[tag] == dir));
    }

    fn found(&mut self, name: (usize, usize)) -> Option<Tag> {
        let path = path(name);
        self.disk.is_there(&path).then(|| {
            let content = self.disk.content(path.to_str().unwrap());
            u64::from_le_bytes(content.try_into().expect("the content was synced"))
        })
    }

    fn is_seen(&mut self) -> bool {
        let names: Vec<_> = self.names.keys().copied().collect();
        names.into_iter().all(|name| self.found(name) == self.now(name))
    }

    fn is_right_after(&mut self, crash: Crash) -> bool {
        if crash == Crash::Process {
            return self.is_seen();
        }
        let names: Vec<_> = self.names.keys().copied().collect();
        let mut seen = BTreeSet::new();
        let right = names.into_iter().all(|name| {
            let found = self.found(name);
            let past = self.names.insert(name, vec![found]).unwrap();
            past.contains(&found) && found.is_none_or(|tag| seen.insert(tag))
        });
        let nothing_missing = self.sure.is_subset(&seen);
        // What is there now is durable.
        self.sure = seen;
        self.half.clear();
        right && nothing_missing
    }
}

quickcheck! {
    fn names_keep_their_promises(seed: u64, steps: Vec<Step>) -> bool {
        let mut model = Model::new(seed);
        let right = steps.into_iter().all(|step| model.step(step));
        model.disk.crash(Crash::Power);
        right && model.is_right_after(Crash::Power)
    }

    fn trees_stay_trees(seed: u64, steps: Vec<(u8, u8, u8)>) -> bool {
        // Directories are moved into one another, replaced, removed and synced; the disk asserts what it relies on.
        let mut disk = Disk::new(seed);
        let path = |n: u8| {
            let parts = [n & 3, n >> 2 & 3, n >> 4 & 3];
            let depth = 1 + usize::from(n >> 6) % 3;
            let path = parts[..depth].iter().map(ToString::to_string);
            PathBuf::from(format!("/{}", path.collect::<Vec<_>>().join("/")))
        };
        for (what, one, other) in steps {
            let (one, other) = (path(one), path(other));
            // Most of them fail, as most of the names are not there.
            match what % 8 {
                0 | 1 => drop(disk.create_dir(&one)),
                2 => drop(disk.open(&one, How::OpenOrCreate)),
                3 | 4 => drop(disk.rename(&one, &other)),
                5 => drop(disk.remove_dir_all(&one)),
                6 => drop(disk.sync_dir(if what > 128 { Path::new("/") } else { &one })),
                _ => disk.crash(if what > 128 { Crash::Power } else { Crash::Process }),
            }
        }
        disk.crash(Crash::Power);
        let mut open = vec![PathBuf::from("/")];
        let mut files = 0;
        while let Some(dir) = open.pop() {
            for (name, _, is_dir) in disk.list(&dir).unwrap() {
                if is_dir { open.push(dir.join(name)) } else { files += 1 }
            }
        }
        files == disk.files.len()
    }
}
