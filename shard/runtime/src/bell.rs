//! The bell of a core: the one thing that other threads may ring to wake it.
//!
//! Wakers of glommio tasks that cross threads are counted in 16 bits, and the last of them dropped
//! on a foreign thread races with the task's own handle. So no ordinary task's waker ever leaves
//! its core: every message from outside rings the bell, whose task lives as long as the core, and
//! that task notifies the local waiters. Rings between two runs of the task are one wake-up.
//!
//! The pulse (see `limits::PULSE_PERIOD`) has a waker of its own that is never taken away: in the
//! defect it is there for, the bell's task is itself runnable and not run, so its waker is spent.

use crossbeam_queue::ArrayQueue;
use futures_util::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

/// Shared by a core, which polls it, and everyone else, who ring it.
#[derive(Debug)]
pub(crate) struct Bell {
    /// Rung and not yet heard.
    rung: AtomicBool,
    /// The bell's task; `None` between a ring and the task's next run.
    waker: AtomicWaker,
    /// The same task for the pulse: at most one waker, out only while the pulse uses it.
    pulse: ArrayQueue<Waker>,
    /// Whether `pulse` was filled, so that there is something to take back.
    armed: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self {
            rung: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            pulse: ArrayQueue::new(1),
            armed: AtomicBool::new(false),
        }
    }

    /// Makes the core look at what was left for it before this call. From any thread.
    pub(crate) fn ring(&self) {
        // Whoever finds it rung already relies on the wake-up of the one who rang: the core clears
        // the flag before it looks, so it will see what was left before this swap.
        if !self.rung.swap(true, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Registers the bell's task and says whether the bell was rung. On the core only.
    pub(crate) fn poll(&self, context: &Context<'_>) -> bool {
        self.waker.register(context.waker());
        if !self.armed.load(Ordering::Relaxed) {
            let spare = self.pulse.push(context.waker().clone());
            assert!(spare.is_ok(), "the pulse's waker is set once");
            self.armed.store(true, Ordering::SeqCst);
        }
        self.rung.swap(false, Ordering::SeqCst)
    }

    /// Wakes the core whether or not there is anything for it. On the pulse thread only.
    pub(crate) fn pulse(&self) {
        if let Some(waker) = self.pulse.pop() {
            waker.wake_by_ref();
            let spare = self.pulse.push(waker);
            assert!(spare.is_ok(), "only the pulse thread puts the waker back");
        }
    }

    /// Takes the wakers back, so that the core's last task can be freed on the core.
    pub(crate) fn retire(&self) {
        drop(self.waker.take());
        if self.armed.load(Ordering::SeqCst) {
            while self.pulse.pop().is_none() {
                // The pulse thread is between its pop and its push: a few instructions.
                std::thread::yield_now();
            }
        }
    }
}
