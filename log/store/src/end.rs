//! The end of a core: jobs go out, answers come in by number.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use pyralog_log::remote::{
    Asked, Listing, Operation, RemoteError, RemoteErrorKind, RemoteObject, RemoteStore, Upload,
};
use pyralog_runtime::channel::{Event, OnceSender, oneshot};
use pyralog_runtime::mesh::Inbox;
use tokio::sync::mpsc;

use crate::job::{self, Done, Outcome, Owed};
use crate::limits::{CALLS_IN_FLIGHT_MAX, PART_BYTES};
use crate::upload::{self, Step};
use crate::{Shared, Store};

type Waiter = OnceSender<Result<Outcome, RemoteError>>;

/// The store as one core has it. Clones are the same end; all calls are for that core.
#[derive(Clone)]
pub struct CoreStore {
    inner: Rc<Inner>,
}

struct Inner {
    store: Store,
    shard: usize,
    /// Who waits, by number of the call. It stays until the answer comes, also if nobody waits any more.
    waiting: RefCell<[Option<Waiter>; CALLS_IN_FLIGHT_MAX]>,
    out: Cell<usize>,
    came: Event,
}

impl fmt::Debug for CoreStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CoreStore({}, {} out)", self.name(), self.inner.out.get())
    }
}

impl CoreStore {
    pub(crate) fn new(store: Store, shard: usize) -> Self {
        let waiting = RefCell::new([const { None }; CALLS_IN_FLIGHT_MAX]);
        let (out, came) = (Cell::new(0), Event::new());
        Self { inner: Rc::new(Inner { store, shard, waiting, out, came }) }
    }

    /// Hands answers to whoever waits, for as long as the core lives.
    pub(crate) async fn receive(self, mut inbox: Inbox<Done>) {
        let mut answers = Vec::new();
        loop {
            inbox.recv_many(&mut answers).await;
            for (_, Done { call, outcome }) in answers.drain(..) {
                let waiter = self.inner.waiting.borrow_mut()[call].take();
                self.inner.out.set(self.inner.out.get() - 1);
                if let Some(waiter) = waiter {
                    waiter.send(outcome).ok(); // Err: whoever asked has gone
                }
            }
            self.inner.came.notify_all();
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.store.shared
    }

    /// Hands a job out, once there is room for its answer, and waits for that.
    async fn call(
        &self,
        (operation, key): (Operation, &str),
        start: impl FnOnce(Owed),
    ) -> Result<Outcome, RemoteError> {
        let inner = &*self.inner;
        while inner.out.get() >= CALLS_IN_FLIGHT_MAX {
            inner.came.listen().await;
        }
        let (sender, receiver) = oneshot();
        let call = {
            let mut waiting = inner.waiting.borrow_mut();
            let call = waiting.iter().position(Option::is_none).expect("fewer are out than places");
            waiting[call] = Some(sender);
            call
        };
        inner.out.set(inner.out.get() + 1);
        let of = Some((operation, key.to_owned()));
        let shared = Arc::clone(self.shared());
        start(Owed { shared, shard: inner.shard, call, of });
        let ended = || {
            let problem = "the store has ended";
            RemoteError::new(operation, key, RemoteErrorKind::Away, problem)
        };
        receiver.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Runs a future on the store's threads and waits for what it comes to.
    async fn run<F>(
        &self,
        of: (Operation, &str),
        job: impl FnOnce(Arc<Shared>) -> F,
    ) -> Result<Outcome, RemoteError>
    where
        F: Future<Output = Result<Outcome, RemoteError>> + Send + 'static,
    {
        let future = job(Arc::clone(self.shared()));
        let start = |owed: Owed| {
            self.inner.store.handle.spawn(async move { owed.pay(future.await) });
        };
        self.call(of, start).await
    }
}

impl RemoteStore for CoreStore {
    fn name(&self) -> &str {
        self.inner.store.name()
    }

    fn put<'a>(&'a self, key: &'a str) -> Asked<'a, Box<dyn Upload>> {
        Box::pin(async move {
            // At most one step is out, and a step that nobody waits for any more ends the upload.
            let (steps, taken) = mpsc::channel(2);
            let running = upload::run(Arc::clone(self.shared()), key.to_owned(), taken);
            self.inner.store.handle.spawn(running);
            let (end, key) = (self.clone(), key.to_owned());
            Ok(Box::new(CoreUpload { end, key, steps, part: Vec::new() }) as Box<dyn Upload>)
        })
    }

    fn get_into<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        memory: Vec<u8>,
    ) -> Asked<'a, Vec<u8>> {
        Box::pin(async move {
            let name = key.to_owned();
            let job = |shared: Arc<Shared>| async move {
                job::get(&shared, &name, (range, memory)).await
            };
            match self.run((Operation::Get, key), job).await? {
                Outcome::Bytes(bytes) => Ok(bytes),
                other => unreachable!("bytes, not {other:?}"),
            }
        })
    }

    fn length<'a>(&'a self, key: &'a str) -> Asked<'a, Option<u64>> {
        Box::pin(async move {
            let name = key.to_owned();
            let job = |shared: Arc<Shared>| async move { job::length(&shared, &name).await };
            match self.run((Operation::Length, key), job).await? {
                Outcome::Length(length) => Ok(length),
                other => unreachable!("a length, not {other:?}"),
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Asked<'a, Box<dyn Listing>> {
        Box::pin(async move {
            let (questions, taken) = mpsc::channel(2);
            let running = job::list(Arc::clone(self.shared()), prefix.to_owned(), taken);
            self.inner.store.handle.spawn(running);
            let (end, prefix) = (self.clone(), prefix.to_owned());
            Ok(Box::new(CoreListing { end, prefix, questions }) as Box<dyn Listing>)
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Asked<'a, ()> {
        Box::pin(async move {
            let name = key.to_owned();
            let job = |shared: Arc<Shared>| async move { job::delete(&shared, &name).await };
            self.run((Operation::Delete, key), job).await.map(drop)
        })
    }
}

/// An upload, as its core sees it. Dropping it ends it, and the store's threads clear away.
struct CoreUpload {
    end: CoreStore,
    key: String,
    steps: mpsc::Sender<(Step, Owed)>,
    /// What is gathered of the next part.
    part: Vec<u8>,
}

impl CoreUpload {
    async fn step(&self, operation: Operation, step: Step) -> Result<(), RemoteError> {
        let start = |owed: Owed| {
            // Err: it has ended, by a failure that was told. What is owed is paid by being dropped.
            self.steps.try_send((step, owed)).ok();
        };
        self.end.call((operation, &self.key), start).await.map(drop)
    }
}

impl Upload for CoreUpload {
    fn write(&mut self, bytes: Vec<u8>) -> Asked<'_, ()> {
        Box::pin(async move {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                if self.part.capacity() == 0 {
                    self.part.reserve_exact(PART_BYTES);
                }
                let (taken, more) = rest.split_at(rest.len().min(PART_BYTES - self.part.len()));
                self.part.extend_from_slice(taken);
                rest = more;
                if self.part.len() == PART_BYTES {
                    let part = std::mem::take(&mut self.part);
                    self.step(Operation::Write, Step::Part(part)).await?;
                }
            }
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> Asked<'static, ()> {
        Box::pin(async move {
            let last = std::mem::take(&mut self.part);
            self.step(Operation::Finish, Step::Last(last)).await
        })
    }

    fn abort(self: Box<Self>) -> Asked<'static, ()> {
        Box::pin(async move { self.step(Operation::Abort, Step::Abort).await })
    }
}

struct CoreListing {
    end: CoreStore,
    prefix: String,
    questions: mpsc::Sender<Owed>,
}

impl Listing for CoreListing {
    fn next(&mut self) -> Asked<'_, Vec<RemoteObject>> {
        Box::pin(async move {
            let start = |owed: Owed| {
                self.questions.try_send(owed).ok(); // Err: what is owed is paid by being dropped
            };
            match self.end.call((Operation::List, &self.prefix), start).await? {
                Outcome::Page(page) => Ok(page),
                other => unreachable!("a page, not {other:?}"),
            }
        })
    }
}
