//! An executor and its queues: spawning, timers, yielding, blocking calls, and a core's thread.

use super::placement::Seat;
use crate::away::Turns;
use crate::bell::Bell;
use crate::body;
use crate::channel::{Event, Gate};
use crate::limits;
use crate::machine::Stop;
use crate::task::{Class, Panicked};
use crate::time::Monotonic;
use crate::world::{self, Tasks, World};
use glommio::{
    Latency, LocalExecutor, LocalExecutorBuilder, PoolPlacement, Shares, TaskQueueHandle,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// The queues of one executor, one per class. The foreground is glommio's own default queue.
///
/// All have the same shares: what makes the background give way is its rest after every run, see
/// `task::yield_now`. The queues bound what tasks that never reach the reactor can do to the others.
pub(crate) struct Core {
    replication: TaskQueueHandle,
    background: TaskQueueHandle,
}

impl Core {
    fn new() -> Self {
        // Latency::Matters would shorten the preemption timer below its safe length.
        let queue = |name| {
            let shares = Shares::default();
            glommio::executor().create_task_queue(shares, Latency::NotImportant, name)
        };
        Self { replication: queue("replication"), background: queue("background") }
    }

    /// Queues `future`; glommio's own `spawn_local` would run it inside this call.
    pub(crate) fn spawn(&self, class: Class, future: impl Future<Output = ()> + 'static) -> Handle {
        let queue = match class {
            Class::Foreground => TaskQueueHandle::default(),
            Class::Replication => self.replication,
            Class::Background => self.background,
        };
        let task = glommio::spawn_local_into(future, queue);
        Handle { task: task.expect("queues live as long as the executor") }
    }
}

/// A spawned task of glommio. Dropping it cancels.
pub(crate) struct Handle {
    task: glommio::Task<()>,
}

impl Handle {
    /// Cancels and waits until the future is dropped.
    pub(crate) async fn cancel(self) {
        self.task.cancel().await;
    }

    /// Lets it run.
    pub(crate) fn forget(self) {
        drop(self.task.detach());
    }
}

/// A timer of the reactor.
#[derive(Debug)]
pub(crate) struct Timer {
    timer: glommio::timer::Timer,
}

impl Timer {
    pub(crate) fn after(duration: Duration) -> Self {
        // A deadline in centuries would overflow the clock's arithmetic.
        let duration = duration.min(Duration::from_secs(u32::MAX.into()));
        Self { timer: glommio::timer::Timer::new(duration) }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.timer).poll(context).map(|_| ())
    }
}

/// Waits for a timer that has already expired. Only the reactor wakes timers, and it runs only when
/// no task is runnable (or the preemption timer fired); re-queueing the task, as glommio's own yields
/// do, keeps the reactor from running. A new timer of zero would be ready at its first poll, so a
/// long one is registered and then moved to now.
pub(crate) async fn yield_to_reactor() {
    let mut timer = glommio::timer::Timer::new(Duration::from_hours(1));
    let mut registered = false;
    poll_fn(|context| {
        if registered {
            return Pin::new(&mut timer).poll(context).map(|_| ());
        }
        registered = true;
        let poll = Pin::new(&mut timer).poll(context).map(|_| ());
        timer.reset(Duration::ZERO);
        poll
    })
    .await;
}

/// Runs `call` on the pool for blocking calls. The call must not panic: nobody would answer.
pub(crate) async fn blocking<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> R {
    glommio::executor().spawn_blocking(call).await
}

/// Everything a core's thread needs to start.
pub(crate) struct Launch {
    pub(crate) name: String,
    pub(crate) shard: usize,
    pub(crate) seed: u64,
    pub(crate) seat: Seat,
    pub(crate) spin: Duration,
    pub(crate) buffer_bytes: usize,
    pub(crate) bell: Arc<Bell>,
    pub(crate) stop: Arc<Stop>,
    /// CPUs on which no core sits; empty if cores have no CPUs of their own.
    pub(crate) spare_cpus: Vec<usize>,
    pub(crate) has_spare_cpu: bool,
    pub(crate) verdict: Arc<Verdict>,
}

/// Whether the cores that are made may run: all of them could be made, or not.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    state: AtomicU8,
}

impl Verdict {
    const RUN: u8 = 1;
    const LEAVE: u8 = 2;

    /// Decides; the caller unparks the threads.
    pub(crate) fn set(&self, run: bool) {
        self.state.store(if run { Self::RUN } else { Self::LEAVE }, Ordering::Release);
    }

    fn wait(&self) -> bool {
        loop {
            match self.state.load(Ordering::Acquire) {
                Self::RUN => return true,
                Self::LEAVE => return false,
                _ => std::thread::park(),
            }
        }
    }
}

/// A core's thread: returns the panic of its `shard_main`, if there was one.
pub(crate) type CoreThread = std::thread::JoinHandle<Option<Panicked>>;

/// Starts a core's thread, which makes its executor, calls `ready` and runs what `main` gives once
/// the verdict allows it.
pub(crate) fn launch<F>(
    launch: Launch,
    ready: impl FnOnce(io::Result<()>) + Send + 'static,
    main: impl FnOnce() -> F + Send + 'static,
) -> io::Result<CoreThread>
where
    F: Future<Output = ()> + 'static,
{
    std::thread::Builder::new().name(launch.name.clone()).spawn(move || {
        let executor = match make(&launch) {
            Ok(executor) => executor,
            Err(error) => {
                ready(Err(error));
                return None;
            }
        };
        ready(Ok(()));
        if launch.verdict.wait() { executor.run(live(launch, main)) } else { None }
    })
}

fn make(launch: &Launch) -> io::Result<LocalExecutor> {
    if !launch.spare_cpus.is_empty() {
        let mut spare = CpuSet::new();
        launch.spare_cpus.iter().for_each(|cpu| spare.set(*cpu));
        // The pool's threads inherit it: they keep off the cores. The core binds itself when it is made.
        sched_setaffinity(None, &spare)?;
    }
    let mut builder = LocalExecutorBuilder::new(launch.seat.placement())
        .name(&launch.name)
        .io_memory(launch.buffer_bytes)
        .ring_depth(limits::RING_DEPTH)
        .preempt_timer(limits::PREEMPT_TIMER)
        // Made before the thread is bound to its cpu, so these float over the spare cpus, or all that are
        // allowed: on the core's own cpu they would starve while it spins.
        .blocking_thread_pool_placement(PoolPlacement::Unbound(limits::BLOCKING_THREADS));
    if !launch.spin.is_zero() {
        builder = builder.spin_before_park(launch.spin);
    }
    Ok(builder.make()?)
}

/// The life of a core, from its first task to its last.
async fn live<F: Future<Output = ()> + 'static>(
    launch: Launch,
    main: impl FnOnce() -> F,
) -> Option<Panicked> {
    let world = Rc::new(World {
        shard: launch.shard,
        seed: launch.seed,
        bell: launch.bell,
        rung: Event::new(),
        stop: launch.stop,
        tasks: Tasks::default(),
        blocking: Gate::new(),
        away: Turns::default(),
        has_spare_cpu: launch.has_spare_cpu,
        run_started: Cell::new(Monotonic::ZERO),
        class: Cell::new(Class::Foreground),
        runs_of_others: Cell::new(0),
        body: body::Core::Glommio(Core::new()),
    });
    let _installed = world::install(Rc::clone(&world));
    // The first timer of a process is tens of milliseconds late; let it be one nobody waits for.
    Timer::after(Duration::from_micros(100)).await;
    let panicked = world::live(&world, main()).await;
    // Descriptors that were dropped rather than closed are closed by the reactor's next rounds.
    yield_to_reactor().await;
    yield_to_reactor().await;
    panicked
}
