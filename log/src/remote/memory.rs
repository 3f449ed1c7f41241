//! An object store in memory for tests and simulations: it outlives the nodes that use it, and fails, is slow and lies
//! at whatever call it is told to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use pyralog_runtime::time;

use super::{
    Asked, Listing, Operation, RemoteError, RemoteErrorKind, RemoteObject, RemoteStore, Upload,
};
use crate::ids::Timestamp;

/// Objects of one page of a list: few, so that tests meet a second page.
const PAGE: usize = 3;

/// What befalls a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Done,
    /// It is done after that time.
    Late(Duration),
    /// It is done, and the answer takes that time.
    Answers(Duration),
    /// It is not done; after that time the connection breaks, which is [`RemoteErrorKind::Away`].
    Breaks(Duration),
    /// It fails, and nothing was done.
    Fails(RemoteErrorKind),
    /// It is done, and the answer is lost: the caller gets [`RemoteErrorKind::Away`].
    Unheard,
    /// It never answers, and nothing was done.
    Silent,
    /// It is done and never answers.
    Mute,
    /// A byte of what is read is another; what is written loses its last byte; a length is one too short; a deletion
    /// does nothing; the page of a list is in another order.
    Lies,
}

/// Decides what befalls the call of this number: the operation and the key.
pub type Faults = Rc<dyn Fn(u64, Operation, &str) -> Fate>;

/// Tells the time of the store.
pub type StoreClock = Rc<dyn Fn() -> Timestamp>;

/// Counters of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Calls of all kinds.
    pub calls: u64,
    /// Reads.
    pub gets: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Objects finished.
    pub finished: u64,
    /// Objects deleted.
    pub deleted: u64,
}

#[derive(Clone)]
struct Object {
    bytes: Rc<Vec<u8>>,
    modified: Timestamp,
}

#[derive(Default)]
struct Shared {
    objects: RefCell<BTreeMap<String, Object>>,
    faults: RefCell<Option<Faults>>,
    clock: RefCell<Option<StoreClock>>,
    stats: Cell<MemoryStats>,
}

/// The store. Clones are the same store; none of it belongs to a node.
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Rc<Shared>,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MemoryStore({} objects)", self.shared.objects.borrow().len())
    }
}

impl MemoryStore {
    /// An empty store that does what it is told.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on calls have these fates.
    pub fn set_faults(&self, faults: impl Fn(u64, Operation, &str) -> Fate + 'static) {
        *self.shared.faults.borrow_mut() = Some(Rc::new(faults));
    }

    /// From now on nothing befalls a call.
    pub fn heal(&self) {
        *self.shared.faults.borrow_mut() = None;
    }

    /// From now on the store goes by this clock, not by that of whoever writes.
    pub fn set_clock(&self, clock: impl Fn() -> Timestamp + 'static) {
        *self.shared.clock.borrow_mut() = Some(Rc::new(clock));
    }

    /// What the clock shows by which objects are written.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let clock = self.shared.clock.borrow().clone();
        clock.map_or_else(|| Timestamp::new(time::unix_us()), |clock| clock())
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> MemoryStats {
        self.shared.stats.get()
    }

    /// All keys, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.shared.objects.borrow().keys().cloned().collect()
    }

    /// An object as it is.
    #[must_use]
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.shared.objects.borrow().get(key).map(|object| object.bytes.to_vec())
    }

    /// When an object was written, by the clock of the store.
    #[must_use]
    pub fn modified(&self, key: &str) -> Option<Timestamp> {
        self.shared.objects.borrow().get(key).map(|object| object.modified)
    }

    /// Puts an object there at once, as somebody else would, written at `modified`.
    pub fn place(&self, key: &str, bytes: Vec<u8>, modified: Timestamp) {
        let object = Object { bytes: Rc::new(bytes), modified };
        self.shared.objects.borrow_mut().insert(key.to_owned(), object);
    }

    /// Changes an object in place, as a store that rots would.
    pub fn rot(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(object) = self.shared.objects.borrow_mut().get_mut(key) {
            let mut bytes = object.bytes.to_vec();
            change(&mut bytes);
            object.bytes = Rc::new(bytes);
        }
    }

    fn count(&self, change: impl FnOnce(&mut MemoryStats)) {
        let mut stats = self.shared.stats.get();
        change(&mut stats);
        self.shared.stats.set(stats);
    }

    /// Carries a call out as its fate says: `done` is told whether to lie.
    async fn call<T>(
        &self,
        operation: Operation,
        key: &str,
        done: impl FnOnce(bool) -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let number = self.shared.stats.get().calls;
        self.count(|stats| stats.calls += 1);
        let faults = self.shared.faults.borrow().clone();
        let away =
            |problem: &str| Err(RemoteError::new(operation, key, RemoteErrorKind::Away, problem));
        match faults.map_or(Fate::Done, |faults| faults(number, operation, key)) {
            Fate::Done => done(false),
            Fate::Lies => done(true),
            Fate::Late(after) => {
                time::sleep(after).await;
                done(false)
            }
            Fate::Answers(after) => {
                let answer = done(false);
                time::sleep(after).await;
                answer
            }
            Fate::Breaks(after) => {
                time::sleep(after).await;
                away("the connection broke")
            }
            Fate::Fails(kind) => Err(RemoteError::new(operation, key, kind, "it was told to fail")),
            Fate::Unheard => done(false).and_then(|_| away("the answer was lost")),
            Fate::Silent => std::future::pending().await,
            Fate::Mute => {
                drop(done(false));
                std::future::pending().await
            }
        }
    }
}

impl RemoteStore for MemoryStore {
    fn name(&self) -> &'static str {
        "memory of the test"
    }

    fn put<'a>(&'a self, key: &'a str) -> Asked<'a, Box<dyn Upload>> {
        Box::pin(self.call(Operation::Put, key, move |_| {
            let (store, key) = (self.clone(), key.to_owned());
            Ok(Box::new(MemoryUpload { store, key, bytes: Vec::new() }) as Box<dyn Upload>)
        }))
    }

    fn get_into<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        mut memory: Vec<u8>,
    ) -> Asked<'a, Vec<u8>> {
        Box::pin(self.call(Operation::Get, key, move |lies| {
            let fail = |kind, problem| Err(RemoteError::new(Operation::Get, key, kind, problem));
            let object = self.shared.objects.borrow().get(key).cloned();
            let Some(object) = object else {
                return fail(RemoteErrorKind::Missing, "there is no such object");
            };
            let whole = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            let Some(bytes) = object.bytes.get(whole(range.start)..whole(range.end)) else {
                return fail(RemoteErrorKind::Short, "the object is shorter");
            };
            memory.clear();
            memory.extend_from_slice(bytes);
            if lies && !memory.is_empty() {
                let at = memory.len() / 2;
                memory[at] ^= 0x10;
            }
            self.count(|stats| {
                stats.gets += 1;
                stats.read_bytes += memory.len() as u64;
            });
            Ok(memory)
        }))
    }

    fn length<'a>(&'a self, key: &'a str) -> Asked<'a, Option<u64>> {
        Box::pin(self.call(Operation::Length, key, move |lies| {
            let objects = self.shared.objects.borrow();
            Ok(objects.get(key).map(|object| object.bytes.len() as u64 - u64::from(lies)))
        }))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Asked<'a, Box<dyn Listing>> {
        Box::pin(self.call(Operation::List, prefix, move |_| {
            let (store, prefix) = (self.clone(), prefix.to_owned());
            Ok(Box::new(MemoryListing { store, prefix, after: String::new() }) as Box<dyn Listing>)
        }))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Asked<'a, ()> {
        Box::pin(self.call(Operation::Delete, key, move |lies| {
            if !lies && self.shared.objects.borrow_mut().remove(key).is_some() {
                self.count(|stats| stats.deleted += 1);
            }
            Ok(())
        }))
    }
}

struct MemoryUpload {
    store: MemoryStore,
    key: String,
    bytes: Vec<u8>,
}

impl Upload for MemoryUpload {
    fn write(&mut self, bytes: Vec<u8>) -> Asked<'_, ()> {
        let Self { store, key, bytes: all } = self;
        Box::pin(store.call(Operation::Write, key, move |lies| {
            let kept = bytes.len() - usize::from(lies && !bytes.is_empty());
            all.extend_from_slice(&bytes[..kept]);
            Ok(())
        }))
    }

    fn finish(self: Box<Self>) -> Asked<'static, ()> {
        let Self { store, key, bytes } = *self;
        Box::pin(async move {
            let done = |lies: bool| {
                let mut bytes = bytes;
                bytes.truncate(bytes.len() - usize::from(lies && !bytes.is_empty()));
                store.place(&key, bytes, store.now());
                store.count(|stats| stats.finished += 1);
                Ok(())
            };
            store.call(Operation::Finish, &key, done).await
        })
    }

    fn abort(self: Box<Self>) -> Asked<'static, ()> {
        let Self { store, key, .. } = *self;
        Box::pin(async move { store.call(Operation::Abort, &key, |_| Ok(())).await })
    }
}

struct MemoryListing {
    store: MemoryStore,
    prefix: String,
    /// The last key of the page before.
    after: String,
}

impl Listing for MemoryListing {
    fn next(&mut self) -> Asked<'_, Vec<RemoteObject>> {
        let Self { store, prefix, after } = self;
        let (objects, below_prefix) = (Rc::clone(&store.shared), prefix.as_str());
        Box::pin(store.call(Operation::List, below_prefix, move |lies| {
            let objects = objects.objects.borrow();
            let below = objects.iter().filter(|(key, _)| key.starts_with(below_prefix));
            let next = below.filter(|(key, _)| **key > *after).take(PAGE);
            let mut page: Vec<RemoteObject> = next
                .map(|(key, object)| RemoteObject {
                    key: key.clone(),
                    bytes: object.bytes.len() as u64,
                    modified: object.modified,
                })
                .collect();
            if let Some(last) = page.last() {
                after.clone_from(&last.key);
            }
            if lies {
                page.reverse();
            }
            Ok(page)
        }))
    }
}
