//! Waiting for acknowledgements: one task for each partition, because a partition answers in order.
//!
//! Of an arrival whose records go to one partition only the last is waited for: what is appended there in order ends in
//! order, so when the last is acknowledged, all are. (If an earlier batch fails and the last does not, the client's own
//! count of failures shows it.) An arrival that is spread over partitions waits for the last record in each of them.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use super::Local;
use crate::recorder::{Done, Kind};

/// An arrival that was handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// When it was due.
    pub(crate) due_ns: u64,
    /// When it was handed over.
    pub(crate) handed_ns: u64,
    /// Records that were taken.
    pub(crate) records: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// An arrival in several partitions.
struct Group {
    left: Cell<u32>,
    failure: Cell<Option<&'static str>>,
}

/// A delivery in the queue of its partition. The queue is as long as the client's buffer allows (open loop) or the
/// permits do (closed).
struct Waiting<D> {
    delivery: D,
    sent: Sent,
    group: Option<Rc<Group>>,
}

/// What the waiting tasks of a producer share.
struct Shared {
    local: Rc<Local>,
    /// Arrivals that may be in flight, in a closed loop.
    permits: Option<Rc<Semaphore>>,
    outstanding: Cell<u64>,
    ended: Cell<Ended>,
}

/// Records that have an outcome.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    /// They are in the log.
    pub(crate) appended: u64,
    /// They failed.
    pub(crate) failed: u64,
}

/// The acknowledgements that one producer waits for.
pub(crate) struct Acks<D> {
    shared: Rc<Shared>,
    /// A queue for each partition that was written to.
    queues: Vec<Option<UnboundedSender<Waiting<D>>>>,
    tasks: Vec<JoinHandle<()>>,
    /// The last delivery of the arrival being sent, by partition, and which partitions those are.
    latest: Vec<Option<D>>,
    touched: Vec<u32>,
}

impl<D: Future<Output = Result<(), &'static str>> + 'static> Acks<D> {
    /// None yet.
    pub(crate) fn new(local: Rc<Local>, permits: Option<Rc<Semaphore>>) -> Self {
        let shared = Shared { local, permits, outstanding: Cell::new(0), ended: Cell::default() };
        Self {
            shared: Rc::new(shared),
            queues: Vec::new(),
            tasks: Vec::new(),
            latest: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// A tracked record of the arrival being sent.
    pub(crate) fn tracked(&mut self, partition: u32, delivery: D) {
        let index = partition as usize;
        if self.latest.len() <= index {
            self.latest.resize_with(index + 1, || None);
        }
        if self.latest[index].replace(delivery).is_none() {
            self.touched.push(partition);
        }
    }

    /// The arrival was sent; waits for its tracked records from here on.
    pub(crate) fn sent(&mut self, sent: Sent) {
        let parts = u32::try_from(self.touched.len()).unwrap_or(u32::MAX);
        if parts == 0 {
            // Nothing was taken: why is counted already.
            self.shared.permit();
            return;
        }
        self.shared.outstanding.set(self.shared.outstanding.get() + sent.records);
        let group = || Rc::new(Group { left: Cell::new(parts), failure: Cell::new(None) });
        let group = (parts > 1).then(group);
        for partition in std::mem::take(&mut self.touched) {
            let delivery = self.latest[partition as usize].take();
            let delivery = delivery.expect("a touched partition has a delivery");
            let waiting = Waiting { delivery, sent, group: group.clone() };
            // The task ends after its queue, which is held here.
            self.queue(partition).send(waiting).ok();
        }
    }

    /// Waits until everything is acknowledged or given up; returns what was.
    pub(crate) async fn finish(mut self) -> Ended {
        self.queues.clear();
        let local = Rc::clone(&self.shared.local);
        let mut give_up = local.clock.at(local.give_up_ns);
        for mut task in self.tasks {
            if local.progress.stopped() {
                // Somebody wants to go home: what is acknowledged within a moment counts, the rest does not matter.
                give_up = give_up.min(local.clock.at(local.clock.now_ns() + 1_000_000_000));
            }
            if timeout_at(give_up, &mut task).await.is_err() {
                task.abort();
                give_up = local.clock.at(0);
            }
        }
        let left = self.shared.outstanding.get();
        if left > 0 && !local.progress.stopped() {
            let due_ns = local.end_ns().saturating_sub(1);
            local.recorder.borrow_mut().failed(due_ns, ("Unfinished", left));
        }
        self.shared.ended.get()
    }

    fn queue(&mut self, partition: u32) -> &UnboundedSender<Waiting<D>> {
        let index = partition as usize;
        if self.queues.len() <= index {
            self.queues.resize_with(index + 1, || None);
        }
        self.queues[index].get_or_insert_with(|| {
            let (queue, waiting) = unbounded_channel();
            self.tasks.push(tokio::task::spawn_local(wait(waiting, Rc::clone(&self.shared))));
            queue
        })
    }
}

impl Shared {
    fn permit(&self) {
        if let Some(permits) = &self.permits {
            permits.add_permits(1);
        }
    }

    /// An arrival has its outcome.
    fn ended(&self, sent: Sent, failure: Option<&'static str>) {
        self.outstanding.set(self.outstanding.get() - sent.records);
        let mut ended = self.ended.get();
        let mut recorder = self.local.recorder.borrow_mut();
        if let Some(code) = failure {
            ended.failed += sent.records;
            recorder.failed(sent.due_ns, (code, sent.records));
        } else {
            ended.appended += sent.records;
            let Sent { due_ns, handed_ns, records, bytes } = sent;
            let end_ns = self.local.clock.now_ns();
            recorder.done(Kind::Ack, Done { due_ns, end_ns, records, bytes });
            if recorder.window().contains(&due_ns) {
                recorder.latency(Kind::Service, end_ns.saturating_sub(handed_ns), records);
            }
        }
        drop(recorder);
        self.ended.set(ended);
        self.permit();
    }
}

/// Waits for the deliveries of one partition, in order.
async fn wait<D>(mut queue: UnboundedReceiver<Waiting<D>>, shared: Rc<Shared>)
where
    D: Future<Output = Result<(), &'static str>>,
{
    while let Some(waiting) = queue.recv().await {
        let failure = waiting.delivery.await.err();
        let Some(group) = waiting.group else {
            shared.ended(waiting.sent, failure);
            continue;
        };
        group.failure.set(group.failure.get().or(failure));
        group.left.set(group.left.get() - 1);
        if group.left.get() == 0 {
            shared.ended(waiting.sent, group.failure.get());
        }
    }
}
