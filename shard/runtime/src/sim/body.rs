//! What the public types of this crate wrap inside a simulation.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::disk::{Handle as OpenFile, How, SyncId, WriteId};
use super::net::{ListenerId, StreamId};
use super::trace::{NodeId, TraceKind};
use super::universe::{self, Due, Node, Universe};
use crate::error::IoError;
use crate::glommio_body::{Frozen, Memory};
use crate::limits::ALIGNMENT_BYTES;
use crate::net::{ListenOptions, StreamOptions};
use crate::world;

/// Nanoseconds that a timer is late at most, as those of a reactor are.
const TIMER_LATE_MAX: u64 = 50_000;
/// Nanoseconds of one access to the disk, shortest and longest.
const ACCESS: (u64, u64) = (40_000, 400_000);
/// Nanoseconds of a sync, shortest and longest.
const SYNC: (u64, u64) = (100_000, 1_500_000);
/// Bytes that a disk moves in a microsecond.
const BYTES_PER_MICROSECOND: u64 = 1_000;
/// By how much a slow operation takes longer.
const SLOW_FACTOR: u64 = 1_000;
/// Nanoseconds of a call on the pool for calls that block, shortest and longest.
const BLOCKING: (u64, u64) = (10_000, 200_000);
/// The same for one that waits for the disk, as those do that sync.
const BLOCKING_LONG: (u64, u64) = (200_000, 4_500_000);
/// One call in so many waits for the disk.
const BLOCKING_LONG_ONE_IN: u64 = 4;

/// What a core of a simulated node is.
pub(crate) struct Core {
    pub(super) node: usize,
    /// The life of the node that it belongs to.
    pub(super) life: u64,
}

impl Core {
    pub(crate) fn node(&self) -> usize {
        self.node
    }

    pub(crate) fn life(&self) -> u64 {
        self.life
    }

    /// Queues `future` as a task of the current core.
    pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) -> Handle {
        let world = world::current();
        let node = world.body.node().expect("a simulated core spawns simulated tasks");
        let number = universe::current().spawn(world, node, future);
        Handle { number, armed: true }
    }
}

/// A spawned task. Dropping it cancels.
pub(crate) struct Handle {
    number: u64,
    armed: bool,
}

impl Handle {
    /// Cancels and waits until the future is dropped.
    pub(crate) async fn cancel(mut self) {
        self.armed = false;
        let universe = universe::current();
        universe.cancel(self.number);
        poll_fn(|context| {
            if universe.has_ended(self.number, context.waker()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Lets it run.
    pub(crate) fn forget(mut self) {
        self.armed = false;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.armed
            && let Some(universe) = universe::try_current()
        {
            universe.cancel(self.number);
        }
    }
}

/// A point in virtual time.
#[derive(Debug)]
pub(crate) struct Timer {
    deadline: u64,
    key: Option<(u64, u64)>,
}

impl Timer {
    pub(crate) fn after(duration: Duration) -> Self {
        let universe = universe::current();
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let late = universe.between(0, TIMER_LATE_MAX);
        let deadline = universe.now.get().saturating_add(nanos).saturating_add(late);
        Self { deadline, key: None }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let universe = universe::current();
        if universe.now.get() >= self.deadline {
            return Poll::Ready(());
        }
        let waits = self.key.is_some_and(|key| universe.rewake(key, context.waker()));
        if !waits {
            let due = Due::Wake(context.waker().clone());
            self.key = Some(universe.at(self.deadline, due));
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key
            && let Some(universe) = universe::try_current()
        {
            universe.take_back(key);
        }
    }
}

/// Waits until what is due by now has happened.
pub(crate) async fn yield_to_reactor() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        let universe = universe::current();
        universe.at(universe.now.get() + 1, Due::Wake(context.waker().clone()));
        Poll::Pending
    })
    .await;
}

/// Runs `call` here, after a while.
pub(crate) async fn blocking<R>(call: impl FnOnce() -> R) -> R {
    let universe = universe::current();
    let (least, most) =
        if universe.between(1, BLOCKING_LONG_ONE_IN) == 1 { BLOCKING_LONG } else { BLOCKING };
    Timer::after(Duration::from_nanos(universe.between(least, most))).await;
    call()
}

/// What a device answers, and who waits for it.
struct Answer<T> {
    value: Cell<Option<T>>,
    waker: RefCell<Option<Waker>>,
}

/// Has `act` happen on the device of `node` after `nanos`, whether or not somebody still waits for it. What it traces
/// belongs to the core that asked.
async fn operate<T: 'static>(
    node: usize,
    nanos: u64,
    act: impl FnOnce(&Universe) -> T + 'static,
) -> T {
    let universe = universe::current();
    let answer = Rc::new(Answer { value: Cell::new(None), waker: RefCell::new(None) });
    let told = Rc::clone(&answer);
    let shard = world::try_current().map(|world| world.shard);
    let act = move |universe: &Universe| {
        universe.asker.set(shard);
        told.value.set(Some(act(universe)));
        universe.asker.set(None);
        let waker = told.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    };
    universe.at(universe.now.get() + nanos, Due::Act(node, Box::new(act)));
    poll_fn(|context| {
        if let Some(value) = answer.value.take() {
            return Poll::Ready(value);
        }
        *answer.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    })
    .await
}

/// A direct file on a simulated disk.
pub(crate) struct DirectFile {
    node: usize,
    file: OpenFile,
    path: PathBuf,
}

impl std::fmt::Debug for DirectFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DirectFile({})", self.path.display())
    }
}

impl DirectFile {
    /// Opens a file, or makes it and fails if it is there.
    pub(crate) async fn open(path: &Path, create: bool) -> Result<Self, IoError> {
        let universe = universe::current();
        let index = universe.here_index().expect("files are opened on a core");
        let nanos = universe.between(BLOCKING.0, BLOCKING.1);
        Timer::after(Duration::from_nanos(nanos)).await;
        let node = universe.node(index);
        let how = if create { How::CreateNew } else { How::Existing };
        let opened = node.disk.borrow_mut().open(path, how);
        let call = if create { "create" } else { "open" };
        let ok = opened.is_ok();
        universe.trace(Some(index), TraceKind::File { call, path: path.to_owned(), ok });
        let file = opened.map_err(|error| IoError::new(call, Some(path), error))?;
        Ok(Self { node: index, file, path: path.to_owned() })
    }

    fn node(&self) -> Rc<Node> {
        universe::current().node(self.node)
    }

    /// How long an operation of `len` bytes takes.
    fn nanos(&self, (least, most): (u64, u64), len: usize) -> u64 {
        let universe = universe::current();
        let nanos = universe.between(least, most) + len as u64 * 1000 / BYTES_PER_MICROSECOND;
        let slow = self.node().disk.borrow_mut().is_slow();
        universe.trace_disk(self.node);
        if slow { nanos * SLOW_FACTOR } else { nanos }
    }

    /// Writes what of `frozen` lies behind `skip` bytes at `position`. Returns how many bytes were taken.
    pub(crate) async fn write_once(
        &self,
        position: u64,
        frozen: &Frozen,
        skip: usize,
        sync: bool,
    ) -> io::Result<usize> {
        let bytes = &frozen.bytes()[skip..];
        let id = self.node().disk.borrow_mut().begin_write(self.file, position, bytes, sync);
        let (base, len) = (self.nanos(ACCESS, bytes.len()), bytes.len());
        let took = if sync { base + self.nanos(SYNC, 0) } else { base };
        let (node, path) = (self.node, self.path.clone());
        operate(node, took, move |universe| {
            let result = finish_write(universe, node, id);
            let ok = result.is_ok();
            universe.trace(Some(node), TraceKind::Write { path, position, len, sync, took, ok });
            result
        })
        .await
    }

    /// Reads up to `len` bytes at `position`.
    pub(crate) async fn read_once(&self, position: u64, len: usize) -> io::Result<ReadBytes> {
        let (node, file, path) = (self.node, self.file, self.path.clone());
        operate(node, self.nanos(ACCESS, len), move |universe| {
            let result = universe.node(node).disk.borrow_mut().read(file, position, len);
            universe.trace_disk(node);
            let (ok, len) = (result.is_ok(), result.as_ref().map_or(0, Vec::len));
            universe.trace(Some(node), TraceKind::Read { path, position, len, ok });
            result.map(|bytes| ReadBytes::of(&bytes))
        })
        .await
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> io::Result<u64> {
        self.node().disk.borrow_mut().len(self.file)
    }

    /// Reserves the blocks of `0..len`.
    pub(crate) async fn preallocate(&self, len: u64) -> io::Result<()> {
        let (node, file) = (self.node, self.file);
        operate(node, self.nanos(BLOCKING, 0), move |universe| {
            universe.node(node).disk.borrow_mut().preallocate(file, len)
        })
        .await
    }

    /// Cuts or extends the file to `len` bytes.
    pub(crate) async fn set_len(&self, len: u64) -> io::Result<()> {
        let (node, file) = (self.node, self.file);
        operate(node, self.nanos(BLOCKING, 0), move |universe| {
            universe.node(node).disk.borrow_mut().set_len(file, len)
        })
        .await
    }

    /// Puts what was written on stable storage.
    pub(crate) async fn sync_data(&self) -> io::Result<()> {
        let id = self.node().disk.borrow_mut().begin_sync(self.file);
        let took = self.nanos(SYNC, 0);
        let (node, path) = (self.node, self.path.clone());
        operate(node, took, move |universe| {
            let result = finish_sync(universe, node, id);
            universe.trace(Some(node), TraceKind::Sync { path, took, ok: result.is_ok() });
            result
        })
        .await
    }
}

impl Drop for DirectFile {
    fn drop(&mut self) {
        if let Some(universe) = universe::try_current() {
            // Nothing if the node has died since: it was closed then, and handles are never dealt twice.
            universe.node(self.node).disk.borrow_mut().close(self.file);
        }
    }
}

fn finish_write(universe: &Universe, node: usize, id: WriteId) -> io::Result<usize> {
    let result = universe.node(node).disk.borrow_mut().finish_write(id);
    universe.trace_disk(node);
    result
}

fn finish_sync(universe: &Universe, node: usize, id: SyncId) -> io::Result<()> {
    let result = universe.node(node).disk.borrow_mut().finish_sync(id);
    universe.trace_disk(node);
    result
}

/// What a read of a simulated file brought.
#[derive(Clone, Debug)]
pub(crate) struct ReadBytes {
    bytes: Frozen,
    range: Range<usize>,
}

impl ReadBytes {
    /// Aligned as direct I/O gives them.
    fn of(bytes: &[u8]) -> Self {
        let mut memory = Memory::heap(bytes.len().max(1).next_multiple_of(ALIGNMENT_BYTES));
        memory.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        let whole = memory.bytes().len();
        Self { bytes: memory.freeze(whole), range: 0..bytes.len() }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes.bytes()[self.range.clone()]
    }
}

/// A listening socket.
pub(crate) struct Listener {
    id: ListenerId,
}

impl Listener {
    pub(crate) fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<Self> {
        let universe = universe::current();
        let node = NodeId(universe.here_index().expect("sockets are made on a core"));
        let backlog = usize::try_from(options.backlog).unwrap_or(usize::MAX);
        let bound = universe.net.borrow_mut().bind(node, address, options.reuse_port, backlog);
        bound.map(|id| Self { id })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        universe::current().net.borrow().local_addr_of_listener(self.id)
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        let accepted =
            poll_fn(|context| universe::current().net.borrow_mut().poll_accept(self.id, context));
        accepted.await.map(Stream::new)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(universe) = universe::try_current() {
            universe.net.borrow_mut().unbind(self.id);
        }
    }
}

/// A connection. Halves share it; the last of them closes it.
#[derive(Clone)]
pub(crate) struct Stream {
    end: Rc<End>,
}

struct End {
    id: StreamId,
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(universe) = universe::try_current() {
            let now = universe.now.get();
            universe.net.borrow_mut().close(now, self.id);
            universe.trace_net();
        }
    }
}

impl Stream {
    fn new(id: StreamId) -> Self {
        Self { end: Rc::new(End { id }) }
    }

    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let universe = universe::current();
        let node = NodeId(universe.here_index().expect("sockets are made on a core"));
        let now = universe.now.get();
        let id = universe.net.borrow_mut().connect(now, node, address);
        universe.trace_net();
        let stream = Self::new(id);
        poll_fn(|context| universe.net.borrow_mut().poll_connected(id, context)).await?;
        Ok(stream)
    }

    pub(crate) fn set_options(&self, options: &StreamOptions) {
        let universe = universe::current();
        let (send, receive) = (options.send_buffer, options.receive_buffer);
        universe.net.borrow_mut().set_buffers(self.end.id, send, receive);
    }

    pub(crate) fn poll_read(
        &self,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        universe::current().net.borrow_mut().poll_read(self.end.id, context, bytes)
    }

    pub(crate) fn poll_write(
        &self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let universe = universe::current();
        let now = universe.now.get();
        let poll = universe.net.borrow_mut().poll_write(now, self.end.id, context, parts);
        universe.trace_net();
        poll
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let universe = universe::current();
        let now = universe.now.get();
        universe.net.borrow_mut().shutdown(now, self.end.id, how)
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        universe::current().net.borrow().peer_addr(self.end.id)
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        universe::current().net.borrow().local_addr(self.end.id)
    }
}
