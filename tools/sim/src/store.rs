//! The object store of a world: it outlives the server and its disk, takes its time, fails, loses answers and lies.
//!
//! Every call takes some virtual time, half of it before it is done and half of it after, so that a death finds calls in
//! every state. Faults befall calls; what was finished stays as it is, as a store promises, unless it is told to rot.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use pyralog_log::ids::Timestamp;
use pyralog_log::manifest::{MANIFEST_NAME, Manifest};
use pyralog_log::remote::memory::{Fate, MemoryStore};
use pyralog_log::remote::{Operation, RemoteErrorKind, RemoteStore};
use pyralog_log::tier;
use pyralog_runtime::Core;
use pyralog_runtime::file::blocking;
use pyralog_runtime::rng::Rng;
use pyralog_runtime::sim::{elapsed, note};

use crate::history::{Kind, Orphan, Place};
use crate::scenario::below;
use crate::steps::Step;

/// Where the logs of the server are.
const LOGS: &str = "/data/logs";
/// Where it notes the logs that are deleted.
const DELETED: &str = "/data/tier";
/// Bytes of a manifest that are read: more than one of a run ever has.
pub(crate) const MANIFEST_BYTES_MAX: usize = 1 << 20;

/// Least time between two lies about the same object: whoever asks again at once hears the truth.
const LIES_APART: Duration = Duration::from_secs(2);

/// How long the truth takes that stands in for a lie.
const TRUTH_TAKES: Duration = Duration::from_millis(1);

thread_local! {
    /// The store of the world that this thread runs: what makes a core takes nothing along but what may change threads.
    static STORE: RefCell<Option<MemoryStore>> = const { RefCell::new(None) };
}

/// How often what befalls calls, in parts of a million.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreFaults {
    /// They fail, their answers are lost, or nothing happens for seconds.
    pub errors: u32,
    /// They lie.
    pub lies: u32,
}

/// See the module. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    memory: MemoryStore,
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rng: RefCell<Rng>,
    faults: Cell<StoreFaults>,
    /// Until then every call fails.
    away_until: Cell<Duration>,
    /// It is quick.
    is_well: Cell<bool>,
    /// The step in which the server is to die, after how many calls of it.
    ordered: Cell<Option<(Step, u64)>>,
    is_deadly: Cell<bool>,
    /// Until when a call of a step is under way.
    under_way: RefCell<BTreeMap<Step, Duration>>,
    struck: RefCell<BTreeMap<&'static str, u64>>,
    /// The objects that it lied about, and when it may again.
    lied: RefCell<BTreeMap<String, Duration>>,
    /// The objects that rotted.
    rotted: RefCell<BTreeSet<String>>,
}

impl Store {
    /// An empty store, whose clock shows `now`.
    #[must_use]
    pub fn new(seed: u64, now: Timestamp) -> Self {
        let shared = Rc::new(Shared {
            rng: RefCell::new(Rng::with_seed(seed ^ 0x7374_6f72_6521)),
            faults: Cell::default(),
            away_until: Cell::default(),
            is_well: Cell::default(),
            ordered: Cell::default(),
            is_deadly: Cell::default(),
            under_way: RefCell::default(),
            struck: RefCell::default(),
            lied: RefCell::default(),
            rotted: RefCell::default(),
        });
        let (memory, deciding) = (MemoryStore::new(), Rc::clone(&shared));
        memory.set_faults(move |_, operation, key| deciding.fate(operation, key));
        memory.set_clock(move || {
            let passed = i64::try_from(world_time().as_micros()).unwrap_or(i64::MAX);
            Timestamp::new(now.get().saturating_add(passed))
        });
        Self { memory, shared }
    }

    /// What its clock shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.memory.now()
    }

    /// What a core of the server that is booted next gets.
    pub fn is_asked_for(&self) {
        STORE.with(|store| store.borrow_mut().replace(self.memory.clone()));
    }

    /// A core's end of the store that [was asked for](Store::is_asked_for) last.
    ///
    /// # Panics
    /// If none was.
    #[must_use]
    pub fn of_core(_core: &Core) -> Rc<dyn RemoteStore> {
        let store = STORE.with(|store| store.borrow().clone());
        Rc::new(store.expect("a server with a tier has a store"))
    }

    /// From now on this befalls calls.
    pub fn set_faults(&self, faults: StoreFaults) {
        self.shared.faults.set(faults);
    }

    /// Every call fails until then.
    pub fn go_away(&self, until: Duration) {
        note("the object store is away");
        self.shared.count("away");
        self.shared.away_until.set(until);
    }

    /// A bit of some object flips. Returns the partition whose records that may cost; `None` if it costs none, because there is no
    /// object, or only an index rots, which can be made again.
    #[must_use]
    pub fn rot(&self, rng: &mut Rng) -> Option<Place> {
        let keys = self.memory.keys();
        let key = keys.get(below(rng, keys.len().max(1)))?;
        let (at, bit) = (rng.next_u64(), rng.below(8));
        self.memory.rot(key, |bytes| {
            let at = usize::try_from(at % bytes.len().max(1) as u64).unwrap_or(0);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        });
        note(format!("{key} rots in the object store"));
        self.shared.count("rot");
        self.shared.rotted.borrow_mut().insert(key.clone());
        let is_index = Path::new(key).extension().is_some_and(|name| name == "idx");
        (!is_index).then(|| place_of(key))
    }

    /// Nothing befalls calls any more, from now on, and they are quick.
    pub fn heal(&self) {
        self.shared.faults.take();
        self.shared.away_until.take();
        self.shared.is_well.set(true);
    }

    /// The server is to die in a step, after so many more calls of it.
    pub fn order_death(&self, step: Step, calls: u64) {
        self.shared.ordered.set(Some((step, calls)));
    }

    /// Nobody is to die any more.
    pub fn call_off(&self) {
        self.shared.ordered.set(None);
        self.shared.is_deadly.set(false);
    }

    /// Whether the server is to die now. Says it once.
    #[must_use]
    pub fn takes_its_life(&self) -> bool {
        self.shared.is_deadly.take()
    }

    /// The steps of which a call was under way at the end of the process, which has come.
    #[must_use]
    pub fn interrupted(&self) -> Vec<Step> {
        let now = world_time();
        let under_way = self.shared.under_way.take().into_iter();
        under_way.filter(|(_, until)| *until > now).map(|(step, _)| step).collect()
    }

    /// How often what struck.
    #[must_use]
    pub fn struck(&self) -> BTreeMap<&'static str, u64> {
        let stats = self.memory.stats();
        let mut struck = self.shared.struck.borrow().clone();
        struck.insert("objects", stats.finished);
        struck.insert("reads", stats.gets);
        struck.insert("deletions", stats.deleted);
        struck
    }

    /// What is wrong between the manifests of a disk, which is the current node's, and the store: objects that a manifest
    /// names and that are not there as they were sent, and objects from before `grown` that none names.
    #[must_use]
    pub fn compare(&self, cluster: u64, grown: Option<Timestamp>) -> Kind {
        let (mut missing, mut named, mut used) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for (place, manifest) in manifests() {
            for remote in &manifest.remote {
                let [segment, index] =
                    tier::object_keys(cluster, (manifest.log, manifest.partition), remote);
                let object = self.memory.object(&segment);
                let hash = |object: &Vec<u8>| *blake3::hash(object).as_bytes();
                let has_rotted = self.shared.rotted.borrow().contains(&segment);
                match object {
                    None => missing.push(segment.clone()),
                    Some(object)
                        if object.len() as u64 != remote.bytes
                            || !has_rotted && hash(&object) != remote.hash =>
                    {
                        missing.push(format!("{segment}, as it was sent"));
                    }
                    Some(_) => {}
                }
                named.extend([segment, index]);
                used.insert(place);
            }
        }
        let is_old = |key: &String| {
            self.memory.modified(key).zip(grown).is_some_and(|(at, grown)| at < grown)
        };
        let ours = format!("{cluster:016x}/");
        let keys = self.memory.keys().into_iter();
        let left = keys.filter(|key| key.starts_with(&ours) && !named.contains(key) && is_old(key));
        let orphans = left.map(|key| {
            let place = place_of(&key);
            Orphan { key, place, is_bare: !used.contains(&place) }
        });
        Kind::StoreCompared { missing, orphans: orphans.collect() }
    }
}

/// The partition that an object is of.
fn place_of(key: &str) -> Place {
    let mut parts = key.split('/').skip(1);
    let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(u64::MAX);
    Place { log: number(), partition: u32::try_from(number()).unwrap_or(u32::MAX) }
}

/// The manifests of all partitions. One that cannot be read is left out: its partition says so.
fn manifests() -> Vec<(Place, Manifest)> {
    let numbered = |folder: &Path| {
        let entries = blocking::list_dir(folder).unwrap_or_default().into_iter();
        let mut found: Vec<u64> = entries.filter_map(|entry| entry.name.parse().ok()).collect();
        found.sort_unstable();
        found
    };
    // Whose objects go first may have its files yet.
    let is_deleted = |log: u64| {
        let entries = blocking::list_dir(Path::new(DELETED)).unwrap_or_default();
        entries.iter().any(|entry| entry.name == format!("{log}.deleted"))
    };
    let mut found = Vec::new();
    for log in numbered(Path::new(LOGS)).into_iter().filter(|log| !is_deleted(*log)) {
        let folder = Path::new(LOGS).join(log.to_string());
        for partition in numbered(&folder) {
            let path = folder.join(partition.to_string()).join(MANIFEST_NAME);
            let bytes = blocking::read_start(&path, MANIFEST_BYTES_MAX).unwrap_or_default();
            let place = Place { log, partition: u32::try_from(partition).unwrap_or(u32::MAX) };
            found.extend(Manifest::read(&bytes).map(|manifest| (place, manifest)));
        }
    }
    found
}

/// The time of the world.
fn world_time() -> Duration {
    elapsed().unwrap_or_default()
}

impl Shared {
    fn count(&self, what: &'static str) {
        *self.struck.borrow_mut().entry(what).or_default() += 1;
    }

    /// What befalls a call.
    fn fate(&self, operation: Operation, key: &str) -> Fate {
        let (step, now) = (Step::of_call(operation), world_time());
        if let Some((ordered, calls)) =
            self.ordered.get().filter(|(ordered, _)| Some(*ordered) == step)
        {
            self.ordered.set(calls.checked_sub(1).map(|calls| (ordered, calls)));
            if calls == 0 {
                note(format!("the server dies while it is {} {key}", operation.name()));
                self.is_deadly.set(true);
                self.under_way.borrow_mut().insert(ordered, Duration::MAX);
                return if self.rng.borrow_mut().below(2) == 0 { Fate::Silent } else { Fate::Mute };
            }
        }
        if now < self.away_until.get() {
            return Fate::Fails(RemoteErrorKind::Away);
        }
        let (fate, name) = match self.draw() {
            (Fate::Lies, _) if !self.may_lie(key, now) => (Fate::Late(TRUTH_TAKES), None),
            drawn => drawn,
        };
        if let Some(name) = name {
            note(format!("the object store, {} {key}: {name}", operation.name()));
            self.count(name);
        }
        if let (Some(step), Fate::Late(until) | Fate::Answers(until) | Fate::Breaks(until)) =
            (step, &fate)
        {
            let mut under_way = self.under_way.borrow_mut();
            let known = under_way.entry(step).or_default();
            *known = (*known).max(now + *until);
        }
        fate
    }

    /// Whether it may lie about an object: what it says twice in a row is what the server has to believe.
    fn may_lie(&self, key: &str, now: Duration) -> bool {
        let mut lied = self.lied.borrow_mut();
        let may = lied.get(key).is_none_or(|again| *again <= now);
        if may {
            lied.insert(key.to_owned(), now + LIES_APART);
        }
        may
    }

    fn draw(&self) -> (Fate, Option<&'static str>) {
        let (mut rng, faults) = (self.rng.borrow_mut(), self.faults.get());
        let mut strikes = |rate: u32| rng.below(1_000_000) < u64::from(rate);
        let (fails, lies) = (strikes(faults.errors), strikes(faults.lies));
        let seconds = Duration::from_millis(rng.below(5_000));
        let usual =
            Duration::from_micros(50 + rng.below(if self.is_well.get() { 500 } else { 20_000 }));
        match rng.below(6) {
            0 if fails => (Fate::Unheard, Some("unheard")),
            1 if fails => (Fate::Breaks(seconds), Some("breaks")),
            2 if fails => (Fate::Late(seconds), Some("late")),
            3 if fails => (Fate::Answers(seconds), Some("answers late")),
            _ if fails => (Fate::Fails(RemoteErrorKind::Away), Some("fails")),
            _ if lies => (Fate::Lies, Some("lies")),
            0..3 => (Fate::Late(usual), None),
            _ => (Fate::Answers(usual), None),
        }
    }
}
