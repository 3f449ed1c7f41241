//! Tests of the network model, one file per kind of thing that happens.

mod breaking;
mod connecting;
mod cutting;
mod dying;
mod listening;
mod moving;
mod properties;
mod windows;

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{ListenerId, Network, StreamId};
use crate::sim::faults::{NetFault, NetFaults};
use crate::sim::trace::{NodeId, TraceKind};

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
/// Always.
const ALWAYS: u32 = 1_000_000;

/// A waker that counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A network of two hosts, and its time.
struct World {
    net: Network,
    now: u64,
    events: Vec<(Option<NodeId>, TraceKind)>,
    /// Counts who is woken.
    count: Arc<Count>,
}

fn address(node: NodeId, port: u16) -> SocketAddr {
    let last = u8::try_from(node.0 + 1).unwrap();
    SocketAddr::from(([10, 0, 0, last], port))
}

fn kind_of<T>(result: io::Result<T>) -> ErrorKind {
    result.map(|_| ()).unwrap_err().kind()
}

/// `len` bytes that tell where they stand.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i + i / 251) % 256).unwrap()).collect()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut net = Network::new(seed);
        for node in [A, B] {
            net.add_host(node, address(node, 0).ip());
        }
        let count = Arc::new(Count::default());
        Self { net, now: 0, events: Vec::new(), count }
    }

    fn with(seed: u64, faults: NetFaults) -> Self {
        let mut world = Self::new(seed);
        world.net.set_faults(faults);
        world
    }

    /// Lets `nanos` pass.
    fn run(&mut self, nanos: u64) {
        let end = self.now + nanos;
        while let Some(at) = self.net.next_event().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.net.advance(self.now).into_iter().for_each(Waker::wake);
        }
        self.now = end;
        self.net.advance(end).into_iter().for_each(Waker::wake);
        self.events.extend(self.net.drain_events());
    }

    /// Long enough for everything that is not held.
    fn settle(&mut self) {
        self.run(10 * MS);
    }

    fn listen(&mut self, node: NodeId, port: u16) -> ListenerId {
        self.net.bind(node, address(node, port), false, 128).unwrap()
    }

    fn connect(&mut self, node: NodeId, to: SocketAddr) -> StreamId {
        self.net.connect(self.now, node, to)
    }

    fn connected(&mut self, stream: StreamId) -> Poll<io::Result<()>> {
        let waker = Waker::from(Arc::clone(&self.count));
        self.net.poll_connected(stream, &mut Context::from_waker(&waker))
    }

    fn accept(&mut self, listener: ListenerId) -> Option<StreamId> {
        let waker = Waker::from(Arc::clone(&self.count));
        match self.net.poll_accept(listener, &mut Context::from_waker(&waker)) {
            Poll::Ready(stream) => Some(stream.unwrap()),
            Poll::Pending => None,
        }
    }

    /// A connection from A to B.
    fn pair(&mut self) -> (StreamId, StreamId) {
        let listener = self.net.bind(B, address(B, 0), false, 128).unwrap();
        let to = self.net.local_addr_of_listener(listener).unwrap();
        let client = self.connect(A, to);
        self.settle();
        assert!(matches!(self.connected(client), Poll::Ready(Ok(()))));
        let server = self.accept(listener).unwrap();
        (client, server)
    }

    fn poll_write(&mut self, stream: StreamId, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let waker = Waker::from(Arc::clone(&self.count));
        let parts = [IoSlice::new(bytes)];
        self.net.poll_write(self.now, stream, &mut Context::from_waker(&waker), &parts)
    }

    /// Writes all of `bytes`, which there must be room for.
    fn write(&mut self, stream: StreamId, bytes: &[u8]) {
        match self.poll_write(stream, bytes) {
            Poll::Ready(result) => assert_eq!(result.unwrap(), bytes.len()),
            Poll::Pending => panic!("no room"),
        }
    }

    fn poll_read(&mut self, stream: StreamId, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let waker = Waker::from(Arc::clone(&self.count));
        self.net.poll_read(stream, &mut Context::from_waker(&waker), bytes)
    }

    /// What can be read now, up to the end of the stream (`true`), an error, or nothing more.
    fn read(&mut self, stream: StreamId) -> (Vec<u8>, Option<Result<(), ErrorKind>>) {
        let mut all = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            match self.poll_read(stream, &mut bytes) {
                Poll::Pending => return (all, None),
                Poll::Ready(Ok(0)) => return (all, Some(Ok(()))),
                Poll::Ready(Ok(count)) => all.extend_from_slice(&bytes[..count]),
                Poll::Ready(Err(error)) => return (all, Some(Err(error.kind()))),
            }
        }
    }

    fn struck(&self, fault: NetFault) -> u64 {
        self.net.struck().get(&fault).copied().unwrap_or(0)
    }

    /// Nothing is left over.
    fn assert_forgotten(&self) {
        assert_eq!(self.net.connections.len(), 0);
        assert_eq!(self.net.next_event(), None);
    }
}
