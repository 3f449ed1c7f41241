//! What carries records to the server and waits for its word: the client that applications use, or bare frames.
//!
//! [`producer`] is the loop that both workloads and tests share. It hands arrivals to a [`Target`] when they are due (or,
//! in a closed loop, when an earlier one ended) and leaves waiting to [`acks`].

pub(crate) mod acks;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod consumer;
pub(crate) mod frames;
pub(crate) mod producer;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::clock::Clock;
use crate::recorder::Recorder;

/// A record on its way, borrowed.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: &'a [u8],
    /// Where it goes; `None` lets the target choose.
    pub(crate) partition: Option<u32>,
    /// Whether its delivery is waited for.
    pub(crate) tracked: bool,
}

/// A tracked record was taken: its partition, and what resolves with its outcome.
pub(crate) type Taken<D> = Option<(u32, D)>;

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotTaken {
    /// There is no room. Wait.
    Full,
    /// It cannot be, for this reason.
    Failed(&'static str),
}

/// What a target counts itself, since it began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Batches acknowledged.
    pub(crate) batches: u64,
    /// Batches sent again.
    pub(crate) retries: u64,
    /// Records given up.
    pub(crate) failed: u64,
}

/// Takes records, in order per partition.
pub(crate) trait Target {
    /// The outcome of a record; the error is the name of its code.
    type Delivery: Future<Output = Result<(), &'static str>> + 'static;

    /// Takes a record if there is room.
    fn try_send(&mut self, record: Outgoing<'_>) -> Result<Taken<Self::Delivery>, NotTaken>;

    /// What it has counted.
    fn counters(&self) -> Counters;

    /// Takes a record, after waiting for room if there is none.
    async fn send(&mut self, record: Outgoing<'_>) -> Result<Taken<Self::Delivery>, NotTaken>;
}

/// What all tasks of a run share.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Set to end the run early.
    stop: AtomicBool,
    /// Records acknowledged, of producers that have ended.
    appended: AtomicU64,
    /// Producers that have not ended.
    producers: AtomicU32,
}

impl Progress {
    /// For a run with so many producers.
    pub(crate) fn new(producers: u32) -> Arc<Self> {
        Arc::new(Self { producers: AtomicU32::new(producers), ..Self::default() })
    }

    /// Ends the run.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it shall end.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A producer has ended, and so many of its records were acknowledged.
    pub(crate) fn producer_ended(&self, appended: u64) {
        self.appended.fetch_add(appended, Ordering::Relaxed);
        self.producers.fetch_sub(1, Ordering::Release);
    }

    /// Records that were acknowledged in all, once every producer has ended.
    pub(crate) fn appended(&self) -> Option<u64> {
        let ended = self.producers.load(Ordering::Acquire) == 0;
        ended.then(|| self.appended.load(Ordering::Relaxed))
    }
}

/// What the tasks of one thread share.
pub(crate) struct Local {
    pub(crate) recorder: RefCell<Recorder>,
    pub(crate) clock: Clock,
    pub(crate) progress: Arc<Progress>,
    /// When what is left is given up, in nanoseconds of the run.
    pub(crate) give_up_ns: u64,
}

impl Local {
    /// For one thread.
    pub(crate) fn new(
        recorder: Recorder,
        clock: Clock,
        progress: Arc<Progress>,
        drain_ns: u64,
    ) -> Rc<Self> {
        let give_up_ns = recorder.window().end.saturating_add(drain_ns);
        Rc::new(Self { recorder: RefCell::new(recorder), clock, progress, give_up_ns })
    }

    /// When the measured part ends.
    pub(crate) fn end_ns(&self) -> u64 {
        self.recorder.borrow().window().end
    }
}
