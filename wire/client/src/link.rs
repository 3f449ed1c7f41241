//! One connection as one task: it owns the socket and the wire machine, and never blocks on either
//! direction.
//!
//! The task waits for three things at once (bytes to read, room to write, requests to send) and
//! does without waiting what it can (`try_read`, `try_write_vectored`). Rejected: a task per
//! direction. It costs a hop per batch (up to 30 us on a virtual machine), and a writer that waits
//! for the peer while its peer waits for us is a deadlock that one task cannot have.
//!
//! Cost of a batch of 1 MiB: one hop from the producer's task, its bytes from the buffer they were
//! built in to the socket by vectored writes, no copy. Cost of a fetch: the payload is read from
//! the socket into the aligned buffer that records are views of; at most [`RECEIVE_BYTES`] of it,
//! what arrived together with the head, is copied once.
//!
//! What becomes of a request is told exactly once, through its [`ReplyTo`]: the answer, or
//! [`Undone::Unsent`] if it did not leave this process whole, or [`Undone::Lost`].

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hashbrown::HashMap;
use pyralog_log::batch::Buffer;
use pyralog_wire::client::{ClientConnection, SendError};
use pyralog_wire::message::{Ping, Reply, Welcome};
use pyralog_wire::{Correlation, ErrorCode, ErrorReply, Request};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Interval;

use crate::error::ClientError;
use crate::limits::{LINK_QUEUE_REQUESTS_MAX, LINK_UNWRITTEN_FRAMES_MAX};
use crate::receive::{Receiver, Step};

/// Slices of one vectored write.
const SLICES: usize = 16;

/// Rounds of reading and writing before other tasks get a turn: some MiB, some milliseconds.
const ROUNDS: usize = 8;

/// A request on its way to a connection.
pub(crate) struct Outgoing {
    pub(crate) request: Request,
    /// Batches, for an append.
    pub(crate) payload: Option<Arc<Vec<u8>>>,
    pub(crate) reply_to: ReplyTo,
}

/// Names an attempt of an append: partition, ordinal, attempt.
pub(crate) type Token = (u32, u64, u64);

/// Who learns what became of a request.
pub(crate) enum ReplyTo {
    /// One who waits for this.
    One(oneshot::Sender<Ending>),
    /// A task that waits for many. Unbounded, because requests are: by the queue and the credit of
    /// their connection.
    Queue(Token, mpsc::UnboundedSender<(Token, Ending)>),
    /// Nobody.
    Nobody,
}

impl ReplyTo {
    pub(crate) fn tell(self, ending: Ending) {
        match self {
            // Whoever stopped waiting does not need it.
            Self::One(to) => drop(to.send(ending)),
            Self::Queue(token, to) => drop(to.send((token, ending))),
            Self::Nobody => {}
        }
    }
}

/// What became of a request.
pub(crate) type Ending = Result<Answered, Undone>;

/// The server's answer, and the payload that came with it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    pub(crate) payload: Option<Buffer>,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) enum Undone {
    /// It was not handed to the socket as a whole, so the server cannot have carried it out.
    Unsent(ClientError),
    /// The server may have it.
    Lost(ClientError),
}

impl From<Undone> for ClientError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Unsent(error) | Undone::Lost(error) => error,
        }
    }
}

/// A handle to a connection. When the last one is dropped, the connection finishes what is in
/// flight and closes.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    queue: mpsc::Sender<Outgoing>,
    reset: mpsc::Sender<()>,
}

impl Link {
    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Hands a request to the connection; it goes out in the order of the calls. If the connection
    /// has ended, or too many requests wait already, it is answered as unsent.
    pub(crate) fn send(&self, outgoing: Outgoing) {
        match self.queue.try_send(outgoing) {
            Ok(()) => {}
            Err(
                mpsc::error::TrySendError::Full(outgoing)
                | mpsc::error::TrySendError::Closed(outgoing),
            ) => outgoing.reply_to.tell(Err(Undone::Unsent(ClientError::Closed))),
        }
    }

    /// Ends the connection now; its requests end as lost.
    pub(crate) fn reset(&self) {
        // Full: it is being reset already. Closed: it has ended.
        self.reset.try_send(()).ok();
    }
}

/// Connects to `address`, greets, and starts the task of the connection.
///
/// # Errors
/// If no connection or no agreement was reached. No time limit: the caller's.
pub(crate) async fn connect(address: &str, name: &str) -> Result<(Link, Welcome), ClientError> {
    let refused =
        |source| ClientError::Connect { address: address.to_owned(), source: Arc::new(source) };
    let stream = TcpStream::connect(address).await.map_err(refused)?;
    stream.set_nodelay(true).map_err(refused)?;
    let (queue, requests) = mpsc::channel(LINK_QUEUE_REQUESTS_MAX);
    let (reset, resets) = mpsc::channel(1);
    let mut task = LinkTask {
        address: address.to_owned(),
        stream,
        machine: ClientConnection::new(name, env!("CARGO_PKG_VERSION")),
        receiver: Receiver::new(),
        out: VecDeque::new(),
        pending: HashMap::new(),
        held: None,
        requests,
        resets,
        spoke: false,
    };
    let welcome = task.greet().await?;
    let third = Duration::from_millis((welcome.limits.idle_ms_max / 3).max(1).into());
    tokio::spawn(task.run(tokio::time::interval(third)));
    Ok((Link { queue, reset }, welcome))
}

/// A frame that is being written.
struct Unwritten {
    correlation: Option<Correlation>,
    head: Vec<u8>,
    payload: Option<Arc<Vec<u8>>>,
    written: usize,
}

impl Unwritten {
    /// What is still to be written of head and payload.
    fn parts(&self) -> (&[u8], &[u8]) {
        let payload = self.payload.as_ref().map_or(&[][..], |payload| payload.as_slice());
        let in_head = self.written.min(self.head.len());
        (&self.head[in_head..], &payload[self.written - in_head..])
    }
}

/// Whether a turn left something to do.
enum Turn {
    Done,
    More,
}

/// Why the task woke up.
enum Wake {
    /// The socket can be read or written.
    Ready,
    Request(Outgoing),
    /// Every handle is gone.
    Unwanted,
    Reset,
    /// A third of the time passed after which the server takes us for dead.
    Tick,
}

/// The task. Invariant: every request taken from the queue is in `held` or `pending`.
struct LinkTask {
    address: String,
    stream: TcpStream,
    machine: ClientConnection,
    receiver: Receiver,
    out: VecDeque<Unwritten>,
    pending: HashMap<Correlation, ReplyTo>,
    /// A request that waits for credit.
    held: Option<Outgoing>,
    requests: mpsc::Receiver<Outgoing>,
    resets: mpsc::Receiver<()>,
    /// Something was sent since the last tick.
    spoke: bool,
}

impl LinkTask {
    async fn greet(&mut self) -> Result<Welcome, ClientError> {
        let mut hello = Vec::new();
        self.machine.hello(&mut hello);
        self.out.push_back(Unwritten { correlation: None, head: hello, payload: None, written: 0 });
        loop {
            self.write()?;
            if let Some(Step::Welcome(welcome)) = self.read()? {
                return Ok(welcome);
            }
            let (stream, writing) = (&self.stream, !self.out.is_empty());
            std::future::poll_fn(|cx| {
                let readable = stream.poll_read_ready(cx).is_ready();
                let writable = writing && stream.poll_write_ready(cx).is_ready();
                if readable || writable { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }

    async fn run(mut self, mut ticks: Interval) {
        ticks.tick().await;
        let mut wanted = true;
        let cause = loop {
            match self.turn() {
                Ok(Turn::Done) => {}
                Ok(Turn::More) => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Err(error) => break error,
            }
            if !wanted && self.pending.is_empty() && self.held.is_none() {
                break ClientError::Closed;
            }
            match self.wait(&mut ticks, wanted).await {
                Wake::Ready => {}
                Wake::Request(outgoing) => self.held = Some(outgoing),
                Wake::Unwanted => wanted = false,
                Wake::Reset => break self.lost(io::ErrorKind::TimedOut.into()),
                Wake::Tick => self.tick(),
            }
        };
        self.end(&cause);
    }

    /// Does all that can be done without waiting, up to a point.
    fn turn(&mut self) -> Result<Turn, ClientError> {
        for _ in 0..ROUNDS {
            self.take_requests();
            let wrote = self.write()?;
            let read = self.read()?.is_some();
            if !wrote && !read {
                return Ok(Turn::Done);
            }
        }
        Ok(Turn::More)
    }

    async fn wait(&mut self, ticks: &mut Interval, wanted: bool) -> Wake {
        let writing = !self.out.is_empty();
        let taking = wanted && self.held.is_none() && self.has_room();
        let Self { stream, requests, resets, .. } = self;
        std::future::poll_fn(|cx| {
            if wanted && let Poll::Ready(Some(())) = resets.poll_recv(cx) {
                return Poll::Ready(Wake::Reset);
            }
            if taking && let Poll::Ready(request) = requests.poll_recv(cx) {
                return Poll::Ready(request.map_or(Wake::Unwanted, Wake::Request));
            }
            // An error shows itself at the next attempt to read or write.
            let writable = writing && stream.poll_write_ready(cx).is_ready();
            if stream.poll_read_ready(cx).is_ready() || writable {
                return Poll::Ready(Wake::Ready);
            }
            ticks.poll_tick(cx).map(|_| Wake::Tick)
        })
        .await
    }

    fn has_room(&self) -> bool {
        self.out.len() < LINK_UNWRITTEN_FRAMES_MAX
    }

    /// A silent connection says something before the server takes it for dead.
    fn tick(&mut self) {
        if !std::mem::take(&mut self.spoke) && self.held.is_none() {
            let request = Request::Ping(Ping { token: 0 });
            self.held = Some(Outgoing { request, payload: None, reply_to: ReplyTo::Nobody });
        }
    }

    /// Encodes requests while there is credit and room.
    fn take_requests(&mut self) {
        while self.has_room() {
            let next = self.held.take().or_else(|| self.requests.try_recv().ok());
            let Some(outgoing) = next else { return };
            let payload = outgoing.payload.as_ref().map_or(0, |payload| payload.len());
            let payload = u32::try_from(payload).expect("a batch is at most 8 MiB");
            let mut head = Vec::with_capacity(128);
            match self.machine.send(&outgoing.request, payload, &mut head) {
                Ok(correlation) => {
                    self.spoke = true;
                    self.pending.insert(correlation, outgoing.reply_to);
                    self.out.push_back(Unwritten {
                        correlation: Some(correlation),
                        head,
                        payload: outgoing.payload,
                        written: 0,
                    });
                }
                Err(SendError::NoCredit) => {
                    self.held = Some(outgoing);
                    return;
                }
                Err(error) => {
                    let refusal = ErrorReply::new(ErrorCode::FrameTooLarge, error.to_string());
                    let reply = Reply::Refused(refusal);
                    outgoing.reply_to.tell(Ok(Answered { reply, payload: None }));
                }
            }
        }
    }

    /// Writes until the socket is full. Returns whether anything was written.
    fn write(&mut self) -> Result<bool, ClientError> {
        let mut wrote = false;
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut used = 0;
            for frame in &self.out {
                let (head, payload) = frame.parts();
                for part in [head, payload] {
                    if used < SLICES && !part.is_empty() {
                        slices[used] = IoSlice::new(part);
                        used += 1;
                    }
                }
            }
            match self.stream.try_write_vectored(&slices[..used]) {
                Ok(0) => return Err(self.lost(io::ErrorKind::WriteZero.into())),
                Ok(written) => self.wrote(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(error)),
            }
            wrote = true;
        }
        Ok(wrote)
    }

    fn wrote(&mut self, mut written: usize) {
        while written > 0 {
            let frame = self.out.front_mut().expect("what was written was there");
            let (head, payload) = frame.parts();
            let left = head.len() + payload.len();
            frame.written += written.min(left);
            written -= written.min(left);
            if frame.parts() == (&[], &[]) {
                self.out.pop_front();
            }
        }
    }

    /// Reads once and handles what is complete. Returns the last thing that was.
    fn read(&mut self) -> Result<Option<Step>, ClientError> {
        let received = loop {
            match self.stream.try_read(self.receiver.space()) {
                Ok(0) => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(received) => break received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(error)),
            }
        };
        self.receiver.received(received);
        loop {
            match self.receiver.next(&mut self.machine) {
                Ok(Step::Reply { correlation, reply, payload }) => {
                    // The machine knows only correlations that it gave us.
                    if let Some(reply_to) = self.pending.remove(&correlation) {
                        reply_to.tell(Ok(Answered { reply, payload }));
                    }
                }
                Ok(step) => return Ok(Some(step)),
                Err(error) => {
                    let (address, source) = (self.address.clone(), Arc::new(error));
                    return Err(ClientError::Connection { address, source });
                }
            }
        }
    }

    fn lost(&self, source: io::Error) -> ClientError {
        let (address, source) = (self.address.clone(), Arc::new(source));
        ClientError::Disconnected { address, source }
    }

    /// Tells everybody.
    fn end(mut self, cause: &ClientError) {
        self.requests.close();
        tracing::debug!(address = %self.address, %cause, "connection ended");
        // What is not wholly written never becomes a frame: a server does nothing with a part of
        // one.
        for frame in &self.out {
            if let Some(correlation) = frame.correlation
                && let Some(reply_to) = self.pending.remove(&correlation)
            {
                reply_to.tell(Err(Undone::Unsent(cause.clone())));
            }
        }
        let mut lost: Vec<_> = self.pending.drain().collect();
        lost.sort_unstable_by_key(|(correlation, _)| *correlation);
        for (_, reply_to) in lost {
            reply_to.tell(Err(Undone::Lost(cause.clone())));
        }
        while let Some(outgoing) = self.held.take().or_else(|| self.requests.try_recv().ok()) {
            outgoing.reply_to.tell(Err(Undone::Unsent(cause.clone())));
        }
    }
}
