//! One connection as one task: it owns the socket, obeys the machine of the connection (`exchange`),
//! and never blocks on either direction.
//!
//! The task waits for three things at once (bytes to read, room to write, requests to send) and
//! does without waiting what it can (`try_read`, `try_write_vectored`). Rejected: a task per
//! direction. It costs a hop per batch (up to 30 us on a virtual machine), and a writer that waits
//! for the peer while its peer waits for us is a deadlock that one task cannot have.
//!
//! Cost of a batch of 1 MiB: one hop from the producer's task, its bytes from the buffer they were
//! built in to the socket by vectored writes, no copy. Cost of a fetch: the payload is read from
//! the socket into the aligned buffer that records are views of; at most `RECEIVE_BYTES` of it,
//! what arrived together with the head, is copied once.
//!
//! Where the records of a fetch end is told as soon as the head of the answer is here, so that the
//! next fetch can go out while they are received: the server reads the one while it sends the other.
//!
//! What becomes of a request is told exactly once, through its [`ReplyTo`]: the answer, or
//! [`Undone::Unsent`] if it did not leave this process whole, or [`Undone::Lost`].

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pyralog_wire::message::{Fetched, Reply, Response, Welcome};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Interval;

use crate::directory::ClusterId;
use crate::error::ClientError;
use crate::exchange::{self, Answered, Exchange, Fate, Got, Refused};
use crate::limits::LINK_QUEUE_REQUESTS_MAX;

/// Slices of one vectored write.
const SLICES: usize = 16;

/// Rounds of reading and writing before other tasks get a turn: some MiB, some milliseconds.
const ROUNDS: usize = 8;

/// Names an attempt of an append: partition, ordinal, attempt. Or one of a lease: zero, attempt, zero.
pub(crate) type Token = (u32, u64, u64);

/// Who learns what became of a request.
pub(crate) enum ReplyTo {
    /// One who waits for this.
    One(oneshot::Sender<Ending>),
    /// One who waits for records: told first where they end, as soon as the answer says so.
    Fetch(Option<oneshot::Sender<Fetched>>, oneshot::Sender<Ending>),
    /// A task that waits for many. Unbounded, because requests are: by the queue and the credit of
    /// their connection.
    Queue(Token, mpsc::UnboundedSender<(Token, Ending)>),
}

impl ReplyTo {
    /// An answer has begun to arrive.
    fn begun(&mut self, reply: &Reply) {
        if let Self::Fetch(head, _) = self
            && let Reply::Done(Response::Fetch(fetched)) = reply
            && let Some(to) = head.take()
        {
            // Whoever stopped waiting does not need it.
            to.send(*fetched).ok();
        }
    }

    pub(crate) fn tell(mut self, ending: Ending) {
        if let Ok(answered) = &ending {
            self.begun(&answered.reply);
        }
        match self {
            // Whoever stopped waiting does not need it.
            Self::One(to) | Self::Fetch(_, to) => drop(to.send(ending)),
            Self::Queue(token, to) => drop(to.send((token, ending))),
        }
    }
}

/// What became of a request.
pub(crate) type Ending = Result<Answered, Undone>;

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

/// A request on its way to a connection of this shell.
pub(crate) type Outgoing = exchange::Outgoing<ReplyTo>;

/// A handle to a connection. When the last one is dropped, the connection finishes what is in
/// flight and closes.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    cluster: ClusterId,
    queue: mpsc::Sender<Outgoing>,
    reset: mpsc::Sender<()>,
}

impl Link {
    /// Whose connection it is, as its Welcome said.
    pub(crate) const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Whether the connection has ended, or is about to.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.is_closed() || self.reset.capacity() == 0
    }

    /// Resolves when the connection has ended.
    pub(crate) async fn closed(&self) {
        self.queue.closed().await;
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
        exchange: Exchange::new(name),
        requests,
        resets,
    };
    let welcome = task.greet().await?;
    let third = Duration::from_millis((welcome.limits.idle_ms_max / 3).max(1).into());
    tokio::spawn(task.run(tokio::time::interval(third)));
    Ok((Link { cluster: ClusterId(welcome.cluster), queue, reset }, welcome))
}

/// Whether a turn left something to do.
enum Turn {
    Done,
    More,
}

/// Why the task woke up.
#[expect(
    clippy::large_enum_variant,
    reason = "it is matched where it is made; a box would be an allocation for each request"
)]
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

/// The task.
struct LinkTask {
    address: String,
    stream: TcpStream,
    exchange: Exchange<ReplyTo>,
    requests: mpsc::Receiver<Outgoing>,
    resets: mpsc::Receiver<()>,
}

impl LinkTask {
    async fn greet(&mut self) -> Result<Welcome, ClientError> {
        loop {
            self.write()?;
            if let Some(Got::Welcome(welcome)) = self.read()? {
                return Ok(welcome);
            }
            let (stream, writing) = (&self.stream, !self.exchange.outbox().is_empty());
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
            if !wanted && self.exchange.is_idle() {
                break ClientError::Closed;
            }
            match self.wait(&mut ticks, wanted).await {
                Wake::Ready => {}
                Wake::Request(outgoing) => self.hand(outgoing),
                Wake::Unwanted => wanted = false,
                Wake::Reset => break self.lost(io::ErrorKind::TimedOut.into()),
                Wake::Tick => self.exchange.tick(),
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
        let writing = !self.exchange.outbox().is_empty();
        let taking = wanted && self.exchange.takes();
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

    /// Encodes requests while there is credit and room.
    fn take_requests(&mut self) {
        if let Err(refused) = self.exchange.resume() {
            tell_refused(refused);
        }
        while self.exchange.takes()
            && let Ok(outgoing) = self.requests.try_recv()
        {
            self.hand(outgoing);
        }
    }

    fn hand(&mut self, outgoing: Outgoing) {
        if let Err(refused) = self.exchange.hand(outgoing) {
            tell_refused(refused);
        }
    }

    /// Writes until the socket is full. Returns whether anything was written.
    fn write(&mut self) -> Result<bool, ClientError> {
        let mut wrote = false;
        while !self.exchange.outbox().is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.exchange.outbox().slices(&mut slices);
            match self.stream.try_write_vectored(&slices[..used]) {
                Ok(0) => return Err(self.lost(io::ErrorKind::WriteZero.into())),
                Ok(written) => self.exchange.wrote(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(error)),
            }
            wrote = true;
        }
        Ok(wrote)
    }

    /// Reads once and handles what is complete. Returns the last thing that was.
    fn read(&mut self) -> Result<Option<Got<ReplyTo>>, ClientError> {
        let received = loop {
            match self.stream.try_read(self.exchange.space()) {
                Ok(0) => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(received) => break received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(error)),
            }
        };
        self.exchange.received(received);
        loop {
            match self.exchange.step() {
                Ok(Got::Reply(Some(reply_to), answered)) => reply_to.tell(Ok(answered)),
                Ok(Got::Reply(None, _)) => {}
                Ok(got) => {
                    if let Some((reply_to, reply)) = self.exchange.incoming() {
                        reply_to.begun(reply);
                    }
                    return Ok(Some(got));
                }
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
        for (reply_to, fate) in self.exchange.end() {
            reply_to.tell(Err(match fate {
                Fate::Unsent => Undone::Unsent(cause.clone()),
                Fate::Lost => Undone::Lost(cause.clone()),
            }));
        }
        while let Ok(outgoing) = self.requests.try_recv() {
            outgoing.reply_to.tell(Err(Undone::Unsent(cause.clone())));
        }
    }
}

fn tell_refused(refused: Refused<ReplyTo>) {
    let reply = Reply::Refused(refused.reply);
    refused.reply_to.tell(Ok(Answered { reply, payload: None }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_being_reset_is_closed_to_everybody_else() {
        let (queue, _requests) = mpsc::channel(1);
        let (reset, _resets) = mpsc::channel(1);
        let link = Link { cluster: ClusterId(1), queue, reset };
        let other = link.clone();
        assert!(!other.is_closed());
        link.reset();
        assert!(other.is_closed());
    }
}
