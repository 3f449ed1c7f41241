//! What the free functions of this crate find on the current thread: the core they run on.

use crate::away::Turns;
use crate::bell::Bell;
use crate::body;
use crate::channel::{Event, Gate};
use crate::machine::Stop;
use crate::task::{Class, Panicked, spawn_into};
use crate::time::{self, Monotonic};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// Everything of one core. Lives on its thread from before `shard_main` until after its last task.
pub(crate) struct World {
    pub(crate) shard: usize,
    pub(crate) seed: u64,
    pub(crate) bell: Arc<Bell>,
    /// Notified whenever the bell was rung.
    pub(crate) rung: Event,
    pub(crate) stop: Arc<Stop>,
    pub(crate) tasks: Tasks,
    /// Blocking calls under way.
    pub(crate) blocking: Gate,
    /// Whose turn it is to have bytes of this core read elsewhere.
    pub(crate) away: Turns,
    /// The process may use CPUs on which none of its cores sits.
    pub(crate) has_spare_cpu: bool,
    /// When the running task was polled.
    pub(crate) run_started: Cell<Monotonic>,
    /// Class of the running task.
    pub(crate) class: Cell<Class>,
    /// How often a task that is not in the background was polled.
    pub(crate) runs_of_others: Cell<u64>,
    pub(crate) body: body::Core,
}

/// The unfinished tasks of a core, in the order of their birth.
#[derive(Default)]
pub(crate) struct Tasks {
    next: Cell<u64>,
    handles: RefCell<BTreeMap<u64, body::Handle>>,
}

impl Tasks {
    /// A number for a new task.
    pub(crate) fn number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }

    pub(crate) fn insert(&self, number: u64, handle: body::Handle) {
        self.handles.borrow_mut().insert(number, handle);
    }

    /// Takes the handle of a task out; who drops it cancels the task.
    pub(crate) fn remove(&self, number: u64) -> Option<body::Handle> {
        self.handles.borrow_mut().remove(&number)
    }

    fn take_all(&self) -> BTreeMap<u64, body::Handle> {
        std::mem::take(&mut *self.handles.borrow_mut())
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// The core of this thread, if it is one.
pub(crate) fn try_current() -> Option<Rc<World>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// The core of this thread.
///
/// # Panics
/// On a thread that is not a core.
pub(crate) fn current() -> Rc<World> {
    try_current().expect("called on a core of a machine that runtime::start made")
}

/// Makes `world` the world of this thread until the guard is dropped.
pub(crate) fn install(world: Rc<World>) -> Installed {
    let before = CURRENT.with(|current| current.borrow_mut().replace(world));
    assert!(before.is_none(), "one core per thread");
    Installed
}

pub(crate) struct Installed;

impl Drop for Installed {
    fn drop(&mut self) {
        // A thread that is going away has no current world any more: nothing to do then.
        CURRENT.try_with(|current| drop(current.borrow_mut().take())).ok();
    }
}

/// The life of a core whose world is installed, from its first task to its last. Returns the panic of `main`, if there was
/// one.
pub(crate) async fn live(
    world: &Rc<World>,
    main: impl Future<Output = ()> + 'static,
) -> Option<Panicked> {
    let listening = listen(world);
    let outcome = spawn_into(Class::Foreground, main).await;
    if outcome.is_err() {
        world.stop.request();
    }
    world.end().await;
    world.bell.retire();
    listening.cancel().await;
    outcome.err()
}

/// Starts the bell's task.
fn listen(world: &Rc<World>) -> body::Handle {
    let listener = Rc::clone(world);
    world.body.spawn(
        Class::Foreground,
        poll_fn(move |context| {
            if listener.bell.poll(context) {
                listener.rung.notify_all();
            }
            Poll::Pending
        }),
    )
}

impl World {
    /// Notes that a task of `class` is about to be polled.
    pub(crate) fn begin_run(&self, class: Class) {
        self.run_started.set(time::now());
        self.class.set(class);
        if class != Class::Background {
            self.runs_of_others.set(self.runs_of_others.get().wrapping_add(1));
        }
    }

    /// The order of a core's end: cancel what still runs until nothing does, then let the blocking
    /// calls under way finish, because their threads answer to this core.
    pub(crate) async fn end(&self) {
        loop {
            let handles = self.tasks.take_all();
            if handles.is_empty() {
                break;
            }
            // Youngest first: a task's helpers go before the task that lives on them.
            for handle in handles.into_values().rev() {
                handle.cancel().await;
            }
        }
        self.blocking.close().await;
    }
}
