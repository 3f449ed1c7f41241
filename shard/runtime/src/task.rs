//! Tasks of a core, their classes, and what a panic in one of them costs.
//!
//! A panic ends the task it happened in and nothing else, except in a durable task
//! ([`spawn_durable`]), whose state on disk would then be unknown to a process that goes on: there
//! it ends the process.

use crate::channel::oneshot;
use crate::world::{self, World};
use crate::{body, limits, sim, time};
use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

/// Latency class of a task: which queue of the core it waits in.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Class {
    /// Clients wait for it: append, read, admin.
    #[default]
    Foreground,
    /// Other nodes wait for it.
    Replication,
    /// Nobody waits for it; it gives way to the others.
    Background,
}

/// A task ended without a value: it panicked, or its core ended first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Panicked {
    message: String,
    cancelled: bool,
}

impl Panicked {
    /// What the panic said; for a cancelled task, that it was.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether there was no panic: the core ended before the task did.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    pub(crate) fn cancelled() -> Self {
        Self { message: "the core ended first".to_owned(), cancelled: true }
    }

    pub(crate) fn from_payload(payload: Box<dyn Any + Send>) -> Self {
        let message = if let Some(text) = payload.downcast_ref::<&str>() {
            (*text).to_owned()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            "a panic without text".to_owned()
        };
        // A payload may panic when it is dropped; that one is not worth a core either.
        if catch_unwind(AssertUnwindSafe(move || drop(payload))).is_err() {
            tracing::error!("the payload of a panic panicked when it was dropped");
        }
        Self { message, cancelled: false }
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.cancelled { "cancelled" } else { "panicked" };
        write!(f, "the task {verb}: {}", self.message)
    }
}

impl std::error::Error for Panicked {}

/// A spawned task: await it for its value, or [`detach`](Task::detach) it. Dropping it cancels the
/// task at its current `await`; awaiting it and dropping that future does the same.
#[must_use = "dropping a task cancels it: await, hold or detach it"]
pub struct Task<T> {
    outcome: Rc<Outcome<T>>,
    world: Weak<World>,
    number: u64,
    detached: bool,
}

/// Where a task leaves its value.
struct Outcome<T> {
    value: RefCell<Progress<T>>,
    awaiter: RefCell<Option<Waker>>,
}

enum Progress<T> {
    Running,
    Finished(Result<T, Panicked>),
    Taken,
}

impl<T> Outcome<T> {
    fn set(&self, result: Result<T, Panicked>) {
        *self.value.borrow_mut() = Progress::Finished(result);
        let awaiter = self.awaiter.borrow_mut().take();
        if let Some(awaiter) = awaiter {
            awaiter.wake();
        }
    }

    fn take(&self) -> Option<Result<T, Panicked>> {
        let mut value = self.value.borrow_mut();
        if matches!(&*value, Progress::Finished(_))
            && let Progress::Finished(result) = std::mem::replace(&mut *value, Progress::Taken)
        {
            return Some(result);
        }
        None
    }
}

impl<T> Task<T> {
    /// Lets the task run on without anyone waiting for it; its core's end still cancels it.
    pub fn detach(mut self) {
        self.detached = true;
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !matches!(&*self.outcome.value.borrow(), Progress::Running)
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Panicked>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.outcome.take() {
            return Poll::Ready(result);
        }
        *self.outcome.awaiter.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if !self.detached
            && !self.is_finished()
            && let Some(world) = self.world.upgrade()
        {
            // Dropping the handle cancels; the future is dropped when the core next runs the task.
            drop(world.tasks.remove(self.number));
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A future in its containment. Invariant: `future` is `None` once the outcome is set.
struct Contained<F: Future> {
    future: Option<Pin<Box<F>>>,
    outcome: Rc<Outcome<F::Output>>,
    world: Rc<World>,
    number: u64,
    class: Class,
    durable: Option<&'static str>,
}

impl<F: Future> Contained<F> {
    /// Drops the future where a panic of a destructor can be caught: glommio would abort.
    fn discard(&mut self) -> Result<(), Panicked> {
        let future = self.future.take();
        catch_unwind(AssertUnwindSafe(move || drop(future))).map_err(Panicked::from_payload)
    }

    fn finish(&mut self, result: Result<F::Output, Panicked>) {
        let result = match self.discard() {
            Ok(()) => result,
            Err(panicked) => Err(panicked),
        };
        if let Err(panicked) = &result {
            if let Some(name) = self.durable {
                abort(name, panicked);
            }
            if self.durable.is_none() {
                sim::aborts(None, panicked.message());
            }
            tracing::error!(
                shard = self.world.shard,
                message = panicked.message(),
                "task panicked"
            );
        }
        if let Some(handle) = self.world.tasks.remove(self.number) {
            handle.forget();
        }
        self.outcome.set(result);
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(future) = this.future.as_mut() else { return Poll::Ready(()) };
        this.world.begin_run(this.class);
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => {
                this.finish(Ok(value));
                Poll::Ready(())
            }
            Err(payload) => {
                this.finish(Err(Panicked::from_payload(payload)));
                Poll::Ready(())
            }
        }
    }
}

impl<F: Future> Drop for Contained<F> {
    fn drop(&mut self) {
        if self.future.is_none() {
            return;
        }
        if let Err(panicked) = self.discard() {
            if let Some(name) = self.durable {
                abort(name, &panicked);
            }
            tracing::error!(message = panicked.message(), "cancelled task panicked");
        }
        self.outcome.set(Err(Panicked::cancelled()));
    }
}

/// Ends the process because of a panic where going on would be worse. Returns only in a simulation, where the node's
/// process ends when the running task gives way.
fn abort(name: &'static str, panicked: &Panicked) {
    if sim::aborts(Some(name), panicked.message()) {
        return;
    }
    tracing::error!(task = name, message = panicked.message(), "durable task panicked: aborting");
    eprintln!("pyralog: durable task {name:?} panicked: {}: aborting", panicked.message());
    std::process::abort()
}

fn spawn_contained<F>(
    class: Option<Class>,
    durable: Option<&'static str>,
    future: F,
) -> Task<F::Output>
where
    F: Future + 'static,
{
    let world = world::current();
    let number = world.tasks.number();
    let class = class.unwrap_or(world.class.get());
    let outcome =
        Rc::new(Outcome { value: RefCell::new(Progress::Running), awaiter: RefCell::new(None) });
    let contained = Contained {
        future: Some(Box::pin(future)),
        outcome: Rc::clone(&outcome),
        world: Rc::clone(&world),
        number,
        class,
        durable,
    };
    let handle = world.body.spawn(class, contained);
    world.tasks.insert(number, handle);
    Task { outcome, world: Rc::downgrade(&world), number, detached: false }
}

/// Starts `future` as a task of this core, in the class of the running task. It is queued, never
/// run inside this call.
///
/// # Panics
/// Outside a core.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
{
    spawn_contained(None, None, future)
}

/// Starts `future` as a task of this core in `class`.
///
/// # Panics
/// Outside a core.
pub fn spawn_into<F>(class: Class, future: F) -> Task<F::Output>
where
    F: Future + 'static,
{
    spawn_contained(Some(class), None, future)
}

/// Starts a task that owns durable state, in the class of the running task: a panic in it writes
/// `name` and the message to the log and to standard error and aborts the process. What was
/// acknowledged is on disk by then, so the process can be started again.
///
/// # Panics
/// Outside a core.
pub fn spawn_durable<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + 'static,
{
    spawn_contained(None, Some(name), future)
}

/// Gives way to every other runnable task *and to the reactor*: I/O and timers that are due are
/// seen before this resolves.
///
/// A background task gives way for longer while other classes have work, see
/// [`limits::BACKGROUND_REST_FACTOR`].
///
/// # Panics
/// Outside a core.
pub async fn yield_now() {
    let world = world::current();
    let background = world.class.get() == Class::Background;
    let started = time::now();
    let rest = started.since(world.run_started.get()) * limits::BACKGROUND_REST_FACTOR;
    loop {
        let before = world.runs_of_others.get();
        body::yield_to_reactor().await;
        // The queues' own shares do not do this: a task that waits for the reactor leaves its queue,
        // and a queue that was empty starts again with a clean account.
        let others_ran = world.runs_of_others.get() != before;
        if !background || !others_ran || time::now().since(started) >= rest {
            return;
        }
    }
}

/// [`yield_now`] if the running task has run for [`limits::RUN_TIME_MAX`] (a background task:
/// [`limits::BACKGROUND_RUN_TIME_MAX`]). Costs a look at the clock, so call it per batch rather than
/// per record.
///
/// # Panics
/// Outside a core.
pub async fn yield_if_needed() {
    let (started, max) = {
        let world = world::current();
        let background = world.class.get() == Class::Background;
        let max = if background { limits::BACKGROUND_RUN_TIME_MAX } else { limits::RUN_TIME_MAX };
        (world.run_started.get(), max)
    };
    if time::now().since(started) > max {
        yield_now().await;
    }
}

/// Runs `call` on a thread of this core's small pool for calls that block, and waits for it.
///
/// The call starts when this is first polled; dropping the future then does not stop it.
///
/// # Errors
/// If the call panicked, or the core is ending.
///
/// # Panics
/// Outside a core.
pub async fn spawn_blocking<R>(call: impl FnOnce() -> R + Send + 'static) -> Result<R, Panicked>
where
    R: Send + 'static,
{
    spawn_blocking_keeping((), call).await
}

/// As [`spawn_blocking`]; `kept` lives on the core until the call has ended.
pub(crate) async fn spawn_blocking_keeping<R>(
    kept: impl Sized + 'static,
    call: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Panicked>
where
    R: Send + 'static,
{
    let world = world::current();
    let Some(pass) = world.blocking.enter() else { return Err(Panicked::cancelled()) };
    let (sender, receiver) = oneshot();
    // In a task of its own: the pool's thread answers to this core even if the caller is dropped,
    // and a panic on that thread would leave the caller waiting for ever.
    let asking = world.body.spawn(world.class.get(), async move {
        let call = move || catch_unwind(AssertUnwindSafe(call)).map_err(Panicked::from_payload);
        let result = body::blocking(call).await;
        drop((kept, pass));
        // Err: the caller was dropped and nobody wants the result.
        sender.send(result).ok();
    });
    asking.forget();
    drop(world);
    receiver.await.unwrap_or_else(|_| Err(Panicked::cancelled()))
}
