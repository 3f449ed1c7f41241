//! Bounded lanes between cores: owned messages, moved, in order per lane, handed back when full.
//!
//! One lock-free queue per ordered pair of cores, and one per core for everybody else. A message
//! rings the bell of its core; rings are coalesced, so a burst is one wake-up, and the receiver
//! takes what there is in batches. Nothing is allocated per message. glommio's own shared channels
//! panic when the peer is gone and corrupt the heap when an end is cloned; these do neither.

use crate::bell::Bell;
use crate::limits::{RECEIVE_BATCH_MAX, SHARDS_MAX};
use crate::machine::Core;
use crate::world;
use crossbeam_queue::ArrayQueue;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Why a message was handed back.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Refused<M> {
    /// The lane is at its capacity: the receiver is behind.
    Full(M),
    /// The receiver has ended.
    Closed(M),
}

impl<M> Refused<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }

    /// Whether trying again later may help.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl<M> fmt::Debug for Refused<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "Full(..)" } else { "Closed(..)" })
    }
}

impl<M> fmt::Display for Refused<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "the lane is full" } else { "the receiver has ended" })
    }
}

impl<M> std::error::Error for Refused<M> {}

/// Who sent a message.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// A core, by number; also the receiver itself.
    Shard(usize),
    /// A thread that is not a core.
    Outside,
}

/// One direction between two parties.
struct Lane<M> {
    queue: ArrayQueue<M>,
    /// A sender found it full and waits for its bell.
    starved: AtomicBool,
}

/// Where one core receives.
struct Port<M> {
    /// By sending core; the last is everybody else's.
    lanes: Vec<Lane<M>>,
    /// Set when the core joins.
    bell: OnceLock<Arc<Bell>>,
    closed: AtomicBool,
}

struct Shared<M> {
    ports: Vec<Port<M>>,
}

impl<M> Shared<M> {
    fn push(&self, origin: usize, to: usize, message: M) -> Result<(), Refused<M>> {
        let port = &self.ports[to];
        if port.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed(message));
        }
        port.lanes[origin].queue.push(message).map_err(Refused::Full)?;
        // Before the core has joined there is no bell; it looks at its lanes after it has set it.
        std::sync::atomic::fence(Ordering::SeqCst);
        if let Some(bell) = port.bell.get() {
            bell.ring();
        }
        Ok(())
    }
}

/// The lanes of a machine, made before it starts; clone it into `shard_main`.
pub struct Mesh<M> {
    shared: Arc<Shared<M>>,
}

impl<M: Send + 'static> Mesh<M> {
    /// Lanes between `shards` cores, each of at most `capacity` messages.
    ///
    /// # Panics
    /// If either is zero or there are more than [`SHARDS_MAX`] shards.
    #[must_use]
    pub fn new(shards: usize, capacity: usize) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards), "{shards} shards");
        assert!(capacity > 0, "a lane holds at least one message");
        let lane = || Lane { queue: ArrayQueue::new(capacity), starved: AtomicBool::new(false) };
        let port = || Port {
            lanes: (0..=shards).map(|_| lane()).collect(),
            bell: OnceLock::new(),
            closed: AtomicBool::new(false),
        };
        Self { shared: Arc::new(Shared { ports: (0..shards).map(|_| port()).collect() }) }
    }

    /// This core's ends. What was sent to it before is waiting.
    ///
    /// # Panics
    /// If the core has joined already, or the machine has another number of shards than the mesh.
    #[must_use]
    pub fn join(&self, core: &Core) -> (Lanes<M>, Inbox<M>) {
        assert_eq!(core.shards, self.shared.ports.len(), "mesh and machine differ in shards");
        let joined = self.shared.ports[core.shard].bell.set(Arc::clone(core.bell()));
        assert!(joined.is_ok(), "core {} joins once", core.shard);
        std::sync::atomic::fence(Ordering::SeqCst);
        let lanes = Lanes { shared: Arc::clone(&self.shared), shard: core.shard };
        (lanes, Inbox { shared: Arc::clone(&self.shared), shard: core.shard, next: 0 })
    }

    /// A handle for threads that are not cores.
    #[must_use]
    pub fn outside(&self) -> Outside<M> {
        Outside { shared: Arc::clone(&self.shared) }
    }
}

impl<M> Clone for Mesh<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M> fmt::Debug for Mesh<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mesh({} shards)", self.shared.ports.len())
    }
}

/// What a core sends with. Clones on the same core share its lanes.
pub struct Lanes<M> {
    shared: Arc<Shared<M>>,
    shard: usize,
}

impl<M: Send + 'static> Lanes<M> {
    /// Sends at once. Messages of this core to one receiver arrive in order.
    ///
    /// # Errors
    /// Hands the message back if the lane is full or the receiver has ended.
    ///
    /// # Panics
    /// If there is no shard `to`.
    pub fn try_send(&self, to: usize, message: M) -> Result<(), Refused<M>> {
        self.shared.push(self.shard, to, message)
    }

    /// Sends when there is room; resolves when the message is in the lane. Dropped before that, the
    /// message is dropped too. Of several waiting senders any may be first.
    ///
    /// # Errors
    /// Hands the message back if the receiver has ended.
    ///
    /// # Panics
    /// If there is no shard `to`, or outside this core.
    pub async fn send(&self, to: usize, message: M) -> Result<(), Refused<M>> {
        let mut unsent = match self.try_send(to, message) {
            Err(Refused::Full(message)) => message,
            done => return done,
        };
        let world = world::current();
        loop {
            // Say that we wait, then look again: the receiver looks for waiting senders after it
            // has taken messages, so one of the two sees the other.
            let rung = world.rung.listen();
            self.shared.ports[to].lanes[self.shard].starved.store(true, Ordering::SeqCst);
            match self.try_send(to, unsent) {
                Err(Refused::Full(message)) => unsent = message,
                done => return done,
            }
            rung.await;
        }
    }

    /// This core.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// How many cores there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shared.ports.len()
    }
}

impl<M> Clone for Lanes<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), shard: self.shard }
    }
}

impl<M> fmt::Debug for Lanes<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lanes(from {})", self.shard)
    }
}

/// What a core receives with. Dropping it closes every lane to this core and drops what is in them.
pub struct Inbox<M> {
    shared: Arc<Shared<M>>,
    shard: usize,
    /// The lane to look at first, so that none is always last.
    next: usize,
}

impl<M: Send + 'static> Inbox<M> {
    /// Waits for messages and appends what there is to `messages`: at least one, at most
    /// [`RECEIVE_BATCH_MAX`], in order per origin. May be dropped at any time without losing one.
    /// Receive in a task of its own: one that also sends to a full lane would wait for itself.
    ///
    /// # Panics
    /// Outside this core.
    pub async fn recv_many(&mut self, messages: &mut Vec<(Origin, M)>) {
        if self.try_recv_many(messages) > 0 {
            return;
        }
        let world = world::current();
        loop {
            let rung = world.rung.listen();
            if self.try_recv_many(messages) > 0 {
                return;
            }
            rung.await;
        }
    }

    /// Appends what there is now to `messages`, at most [`RECEIVE_BATCH_MAX`]; returns how many.
    pub fn try_recv_many(&mut self, messages: &mut Vec<(Origin, M)>) -> usize {
        let port = &self.shared.ports[self.shard];
        let lanes = port.lanes.len();
        let mut taken = 0;
        for step in 0..lanes {
            let from = (self.next + step) % lanes;
            let origin = if from + 1 == lanes { Origin::Outside } else { Origin::Shard(from) };
            let before = taken;
            while taken < RECEIVE_BATCH_MAX
                && let Some(message) = port.lanes[from].queue.pop()
            {
                messages.push((origin, message));
                taken += 1;
            }
            if taken > before {
                self.wake_starved(from);
            }
        }
        self.next = (self.next + 1) % lanes;
        taken
    }

    /// Tells the senders of a lane that there is room.
    fn wake_starved(&self, from: usize) {
        let lane = &self.shared.ports[self.shard].lanes[from];
        if lane.starved.swap(false, Ordering::SeqCst)
            && let Some(sender) = self.shared.ports.get(from)
            && let Some(bell) = sender.bell.get()
        {
            bell.ring();
        }
    }
}

impl<M> Drop for Inbox<M> {
    fn drop(&mut self) {
        let port = &self.shared.ports[self.shard];
        port.closed.store(true, Ordering::SeqCst);
        for (from, lane) in port.lanes.iter().enumerate() {
            while lane.queue.pop().is_some() {}
            // Waiting senders must learn that they wait for nothing.
            if lane.starved.swap(false, Ordering::SeqCst)
                && let Some(bell) = self.shared.ports.get(from).and_then(|sender| sender.bell.get())
            {
                bell.ring();
            }
        }
    }
}

impl<M> fmt::Debug for Inbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox(of {})", self.shard)
    }
}

/// What threads that are not cores send with; they share one lane per core and never block.
pub struct Outside<M> {
    shared: Arc<Shared<M>>,
}

impl<M: Send + 'static> Outside<M> {
    /// Sends at once. From any thread.
    ///
    /// # Errors
    /// Hands the message back if the lane is full or the receiver has ended.
    ///
    /// # Panics
    /// If there is no shard `to`.
    pub fn post(&self, to: usize, message: M) -> Result<(), Refused<M>> {
        self.shared.push(self.shared.ports.len(), to, message)
    }

    /// How many cores there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shared.ports.len()
    }
}

impl<M> Clone for Outside<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M> fmt::Debug for Outside<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outside")
    }
}
