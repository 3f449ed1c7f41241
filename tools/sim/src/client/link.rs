//! One connection as one task: the socket of `pyralog_runtime` and the machine of
//! `pyralog_client::exchange`. The counterpart of the client's `link` on Tokio.
//!
//! What becomes of a request is told exactly once, through its [`ReplyTo`], as long as the core
//! lives: the answer, or that it never left, or that it was lost.

use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use pyralog_client::directory::ClusterId;
use pyralog_client::dispatch::{Attempt, Ordinal};
use pyralog_client::exchange::{self, Answered, Exchange, Fate, Got, Refused};
use pyralog_client::limits::LINK_QUEUE_REQUESTS_MAX;
use pyralog_log::ids::PartitionId;
use pyralog_runtime::channel::{OnceSender, Receiver, Sender, TrySendError, bounded};
use pyralog_runtime::net::{ReadHalf, Stream, StreamOptions, WriteHalf};
use pyralog_runtime::time::{Sleep, sleep};
use pyralog_runtime::{IoError, spawn, yield_if_needed};
use pyralog_wire::message::{Fetched, Reply, Response, Welcome};

use super::inbox::Inbox;

/// Slices of one vectored write.
const SLICES: usize = 16;

/// Why something has no answer, for people.
pub(super) type Cause = Rc<str>;

/// Names an attempt of an append.
pub(super) type Token = (PartitionId, Ordinal, Attempt);

/// A request on its way to a connection.
pub(super) type Outgoing = exchange::Outgoing<ReplyTo>;

/// What became of a request.
pub(super) type Ending = Result<Answered, Undone>;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Undone {
    /// It was not handed to the socket as a whole, so the server cannot have carried it out.
    Unsent(Cause),
    /// The server may have it, or get it later.
    Lost(Cause),
}

/// Who learns what became of a request.
#[derive(Debug)]
pub(super) enum ReplyTo {
    /// One who waits for this.
    One(OnceSender<Ending>),
    /// One who waits for records: told first where they end, as soon as the answer says so.
    Fetch(Option<OnceSender<Fetched>>, OnceSender<Ending>),
    /// A task that waits for many.
    Queue(Token, Inbox<(Token, Ending)>),
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

    pub(super) fn tell(mut self, ending: Ending) {
        if let Ok(answered) = &ending {
            self.begun(&answered.reply);
        }
        match self {
            // Whoever stopped waiting does not need it.
            Self::One(to) | Self::Fetch(_, to) => drop(to.send(ending)),
            Self::Queue(token, to) => to.push((token, ending)),
        }
    }
}

/// A handle to a connection. When the last one is dropped, the connection finishes what is in flight
/// and closes.
#[derive(Clone, Debug)]
pub(super) struct Link {
    cluster: ClusterId,
    queue: Sender<Outgoing>,
    reset: Sender<()>,
}

impl Link {
    /// Whose connection it is, as its Welcome said.
    pub(super) const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Whether the connection has ended, or is about to.
    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed() || !self.reset.is_empty()
    }

    /// Hands a request to the connection; it goes out in the order of the calls. If the connection
    /// has ended, or too many requests wait already, it is answered as unsent.
    pub(super) fn send(&self, outgoing: Outgoing) {
        match self.queue.try_send(outgoing) {
            Ok(()) => {}
            Err(TrySendError::Full(outgoing) | TrySendError::Closed(outgoing)) => {
                outgoing.reply_to.tell(Err(Undone::Unsent("the connection is closed".into())));
            }
        }
    }

    /// Ends the connection now; its requests end as lost.
    pub(super) fn reset(&self) {
        // Full: it is being reset already. Closed: it has ended.
        self.reset.try_send(()).ok();
    }
}

/// Connects to `address`, greets, and starts the task of the connection. No time limit: the
/// caller's.
pub(super) async fn connect(address: &str, name: &str) -> Result<(Link, Welcome), Cause> {
    let parsed = address.parse().map_err(|_| Cause::from(format!("{address} is no address")))?;
    let stream = Stream::connect(parsed, StreamOptions::default()).await.map_err(cause)?;
    let (reader, writer) = stream.split();
    let (queue, requests) = bounded(LINK_QUEUE_REQUESTS_MAX);
    let (reset, resets) = bounded(1);
    let exchange = Exchange::new(name);
    let mut task = LinkTask { exchange, reader, writer, requests, resets, ticks: None };
    let welcome = task.greet().await?;
    let third = Duration::from_millis((welcome.limits.idle_ms_max / 3).max(1).into());
    task.ticks = Some((third, Box::pin(sleep(third))));
    // It ends with its handles or its socket.
    spawn(task.run()).detach();
    Ok((Link { cluster: ClusterId(welcome.cluster), queue, reset }, welcome))
}

/// Why the task woke up.
enum Wake {
    /// Bytes moved, or an end did.
    Moved {
        read: Option<Result<usize, IoError>>,
        wrote: Option<Result<usize, IoError>>,
    },
    Request(Outgoing),
    /// Every handle is gone.
    Unwanted,
    Reset,
    /// A third of the time passed after which the server takes us for dead.
    Tick,
}

/// The task.
struct LinkTask {
    exchange: Exchange<ReplyTo>,
    reader: ReadHalf,
    writer: WriteHalf,
    requests: Receiver<Outgoing>,
    resets: Receiver<()>,
    ticks: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl LinkTask {
    async fn greet(&mut self) -> Result<Welcome, Cause> {
        loop {
            let Wake::Moved { read, wrote } = self.wait(false).await else { continue };
            if let Some(welcome) = self.moved(read, wrote)? {
                return Ok(welcome);
            }
        }
    }

    async fn run(mut self) {
        let mut wanted = true;
        let cause = loop {
            self.take_requests();
            if !wanted && self.exchange.is_idle() {
                break "nobody needs the connection any more".into();
            }
            match self.wait(wanted).await {
                Wake::Moved { read, wrote } => {
                    if let Err(cause) = self.moved(read, wrote) {
                        break cause;
                    }
                }
                Wake::Request(outgoing) => self.hand(outgoing),
                Wake::Unwanted => wanted = false,
                Wake::Reset => break "no answer came in time".into(),
                Wake::Tick => {
                    self.exchange.tick();
                    if let Some((third, timer)) = &mut self.ticks {
                        *timer = Box::pin(sleep(*third));
                    }
                }
            }
            yield_if_needed().await;
        };
        self.end(&cause);
    }

    async fn wait(&mut self, wanted: bool) -> Wake {
        let taking = wanted && self.exchange.takes();
        let Self { exchange, reader, writer, requests, resets, ticks } = self;
        let (outbox, space) = exchange.ends();
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = outbox.slices(&mut slices);
        let mut reading = pin!(reader.read(space));
        let mut writing = pin!(writer.write_some(&slices[..used]));
        poll_fn(|cx| {
            if wanted && let Poll::Ready(Some(())) = resets.poll_recv(cx) {
                return Poll::Ready(Wake::Reset);
            }
            if taking && let Poll::Ready(request) = requests.poll_recv(cx) {
                return Poll::Ready(request.map_or(Wake::Unwanted, Wake::Request));
            }
            let read = ready(reading.as_mut().poll(cx));
            let wrote = if used > 0 { ready(writing.as_mut().poll(cx)) } else { None };
            if read.is_some() || wrote.is_some() {
                return Poll::Ready(Wake::Moved { read, wrote });
            }
            match ticks {
                Some((_, timer)) => timer.as_mut().poll(cx).map(|()| Wake::Tick),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Encodes requests while there is credit and room.
    fn take_requests(&mut self) {
        if let Err(refused) = self.exchange.resume() {
            tell_refused(refused);
        }
        while self.exchange.takes()
            && let Some(outgoing) = self.requests.try_recv()
        {
            self.hand(outgoing);
        }
    }

    fn hand(&mut self, outgoing: Outgoing) {
        if let Err(refused) = self.exchange.hand(outgoing) {
            tell_refused(refused);
        }
    }

    /// Takes note of bytes that moved. Returns the welcome if it is there.
    fn moved(
        &mut self,
        read: Option<Result<usize, IoError>>,
        wrote: Option<Result<usize, IoError>>,
    ) -> Result<Option<Welcome>, Cause> {
        match wrote {
            Some(Ok(0)) => return Err("the socket takes nothing".into()),
            Some(Ok(count)) => self.exchange.wrote(count),
            // What was received before the connection broke still counts.
            Some(Err(_)) | None => {}
        }
        match read {
            Some(Ok(0)) => return Err("the server closed the connection".into()),
            Some(Ok(count)) => self.exchange.received(count),
            Some(Err(error)) => return Err(cause(error)),
            None => {}
        }
        let welcome = if read.is_some() { self.answers()? } else { None };
        match wrote {
            Some(Err(error)) => Err(cause(error)),
            _ => Ok(welcome),
        }
    }

    /// Hands out what was received completely.
    fn answers(&mut self) -> Result<Option<Welcome>, Cause> {
        loop {
            match self.exchange.step() {
                Ok(Got::Reply(Some(reply_to), answered)) => reply_to.tell(Ok(answered)),
                Ok(Got::Reply(None, _)) => {}
                Ok(Got::Welcome(welcome)) => return Ok(Some(welcome)),
                Ok(Got::More) => {
                    if let Some((reply_to, reply)) = self.exchange.incoming() {
                        reply_to.begun(reply);
                    }
                    return Ok(None);
                }
                Err(error) => return Err(Cause::from(error.to_string())),
            }
        }
    }

    /// Tells everybody.
    fn end(mut self, cause: &Cause) {
        tracing::debug!(%cause, "connection ended");
        for (reply_to, fate) in self.exchange.end() {
            reply_to.tell(Err(match fate {
                Fate::Unsent => Undone::Unsent(Rc::clone(cause)),
                Fate::Lost => Undone::Lost(Rc::clone(cause)),
            }));
        }
        while let Some(outgoing) = self.requests.try_recv() {
            outgoing.reply_to.tell(Err(Undone::Unsent(Rc::clone(cause))));
        }
    }
}

fn tell_refused(refused: Refused<ReplyTo>) {
    let reply = Reply::Refused(refused.reply);
    refused.reply_to.tell(Ok(Answered { reply, payload: None }));
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn cause(error: IoError) -> Cause {
    Cause::from(error.to_string())
}
