//! A small server in the test's own runtime: it speaks the wire protocol, keeps logs in memory,
//! knows sessions, and misbehaves on request.

mod brain;
mod sequences;

use std::time::Duration;

use pyralog_client::{ErrorCode, ErrorReply, Timestamp};
use pyralog_wire::frame::FrameLimits;
use pyralog_wire::message::{ConnectionLimits, Fetch, FetchFrom, ShardAddress, Welcome};
use pyralog_wire::{
    Correlation, Decoded, FrameDecoder, Kind, Request, Response, encode_error, encode_response,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use brain::Brain;
pub(crate) use brain::scarab;

/// How to greet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    Proper,
    /// With a version that was not offered.
    Version(u16),
    /// With a refusal.
    Refuse(ErrorCode),
    /// Not in this protocol.
    Http,
    /// Not at all.
    Silent,
    /// Properly, but the second connection not at all.
    SilentOnce,
}

/// What goes wrong with the next append, or fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection closes before anything is done.
    CloseBefore,
    /// It is done, then the connection closes.
    CloseAfter,
    /// It is done, then the connection closes in the middle of the answer.
    CloseWithin,
    /// It is refused.
    Refuse(ErrorCode),
    /// It is refused as busy, with milliseconds to wait.
    Busy(u64),
    /// Every session is forgotten, now; then it is done.
    ForgetSessions,
    /// It is done, but never answered.
    Swallow,
    /// The first value of the last batch is changed.
    Corrupt,
    /// The records of this range are damaged.
    Damaged(u64, u64),
    /// Half of the answer comes only when another fetch is here.
    HoldBack,
}

/// How the server is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    pub(crate) greeting: Greeting,
    pub(crate) credit_requests: u32,
    /// Answers come a byte at a time.
    pub(crate) dribble: bool,
    /// So many requests of the first connection are answered; later ones are not even read.
    pub(crate) deaf_after: u32,
    pub(crate) append_faults: &'static [Fault],
    pub(crate) fetch_faults: &'static [Fault],
    pub(crate) deal_faults: &'static [Fault],
    pub(crate) take_faults: &'static [Fault],
    pub(crate) key_faults: &'static [Fault],
    pub(crate) node: u64,
    pub(crate) cluster: u64,
    /// The slot that ids are dealt from.
    pub(crate) slot: u16,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            greeting: Greeting::Proper,
            credit_requests: 64,
            dribble: false,
            deaf_after: u32::MAX,
            append_faults: &[],
            fetch_faults: &[],
            deal_faults: &[],
            take_faults: &[],
            key_faults: &[],
            node: 7,
            cluster: 9,
            slot: 1,
        }
    }
}

/// A running server. It ends with the runtime.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) address: String,
    brain: mpsc::Sender<Ask>,
    down: watch::Sender<bool>,
}

/// What tests and connections ask of the task that owns everything.
enum Ask {
    Carry(Request, Vec<u8>, oneshot::Sender<Deed>),
    /// The values stored in a partition of the first log, in order, as text.
    Values(u32, oneshot::Sender<Vec<String>>),
    AppendFault(Fault),
    DealFault(Fault),
    /// How many requests for ids there were.
    Deals(oneshot::Sender<u64>),
    /// Begin all counters anew, as a server that lost its disk.
    ForgetCounters,
    /// End all connections.
    Hangup,
    /// Drop the records below this offset of a partition of the first log.
    Trim(u32, u64),
    /// How many fetches there were.
    Fetches(oneshot::Sender<u64>),
    /// Be another cluster with these logs.
    Reborn(Vec<&'static str>),
}

/// What a connection is to do.
enum Deed {
    Answer(Response, Vec<u8>),
    Refuse(ErrorReply),
    Close,
    /// Half of the answer, then close.
    Break(Response),
    /// Half of the answer; the rest when another fetch is here.
    HoldBack(Response, Vec<u8>),
    Nothing,
}

impl Fake {
    pub(crate) async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (brain, asks) = mpsc::channel(64);
        let (signal, changes) = watch::channel(());
        let (cluster, clusters) = watch::channel(manners.cluster);
        let (down, is_down) = watch::channel(false);
        tokio::spawn(Brain::new(manners, address.port(), (signal, cluster)).run(asks));
        let asking = brain.clone();
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                if *is_down.borrow() {
                    continue;
                }
                number += 1;
                let (stream, writing) = stream.into_split();
                let (out, outbox) = mpsc::channel(16);
                let (fetches, asked) = watch::channel(());
                let step = if manners.dribble { 1 } else { usize::MAX };
                tokio::spawn(write(writing, (outbox, asked), step));
                let mut ending = clusters.clone();
                ending.mark_unchanged();
                let cluster = ending.clone();
                let closing = out.clone();
                let connection = Connection {
                    manners,
                    number,
                    cluster,
                    port: address.port(),
                    stream,
                    out,
                    brain: asking.clone(),
                    changes: changes.clone(),
                    fetches,
                };
                let running = tokio::spawn(connection.run());
                tokio::spawn(async move {
                    ending.changed().await.ok();
                    running.abort();
                    closing.send(None).await.ok();
                });
            }
        });
        Self { address: address.to_string(), brain, down }
    }

    pub(crate) async fn values(&self, partition: u32) -> Vec<String> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Values(partition, reply)).await;
        answer.await.unwrap()
    }

    pub(crate) async fn fetches(&self) -> u64 {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Fetches(reply)).await;
        answer.await.unwrap()
    }

    pub(crate) async fn append_fault(&self, fault: Fault) {
        self.ask(Ask::AppendFault(fault)).await;
    }

    /// What goes wrong with the next request for ids.
    pub(crate) async fn deal_fault(&self, fault: Fault) {
        self.ask(Ask::DealFault(fault)).await;
    }

    pub(crate) async fn deals(&self) -> u64 {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Deals(reply)).await;
        answer.await.unwrap()
    }

    pub(crate) async fn forget_counters(&self) {
        self.ask(Ask::ForgetCounters).await;
    }

    /// All connections end, and new ones end at once.
    pub(crate) async fn down(&self) {
        self.down.send_replace(true);
        self.ask(Ask::Hangup).await;
    }

    /// It is there again, and knows all that it knew.
    pub(crate) fn up(&self) {
        self.down.send_replace(false);
    }

    pub(crate) async fn trim(&self, partition: u32, low: u64) {
        self.ask(Ask::Trim(partition, low)).await;
    }

    /// All connections end and a server without a past is there: another cluster, which deals the
    /// same ids again, to these logs.
    pub(crate) async fn reborn(&self, logs: &[&'static str]) {
        self.ask(Ask::Reborn(logs.to_vec())).await;
    }

    async fn ask(&self, ask: Ask) {
        assert!(self.brain.send(ask).await.is_ok(), "the fake server is gone");
    }
}

fn limits(manners: Manners) -> ConnectionLimits {
    ConnectionLimits {
        body_bytes_max: 1 << 20,
        payload_bytes_max: 16 << 20,
        batch_bytes_max: 8 << 20,
        fetch_bytes_max: 16 << 20,
        wait_ms_max: 60_000,
        idle_ms_max: 300_000,
        credit_requests: manners.credit_requests,
        credit_bytes: 32 << 20,
    }
}

struct Connection {
    manners: Manners,
    /// How many connections there were, with this one.
    number: u32,
    /// The connection ends with the cluster that it was made to.
    cluster: watch::Receiver<u64>,
    port: u16,
    stream: OwnedReadHalf,
    /// To the task that writes; a `None` closes.
    out: mpsc::Sender<Option<Vec<u8>>>,
    brain: mpsc::Sender<Ask>,
    changes: watch::Receiver<()>,
    /// Tells of every fetch that comes.
    fetches: watch::Sender<()>,
}

/// Writes what it gets, in order. Instead of nothing it waits for a fetch that comes after the bytes
/// before.
async fn write(
    mut stream: OwnedWriteHalf,
    (mut out, mut fetches): (mpsc::Receiver<Option<Vec<u8>>>, watch::Receiver<()>),
    step: usize,
) {
    while let Some(Some(bytes)) = out.recv().await {
        if bytes.is_empty() && fetches.changed().await.is_err() {
            return;
        }
        fetches.mark_unchanged();
        for piece in bytes.chunks(step) {
            if stream.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
    // A client that went away is not this server's problem.
    stream.shutdown().await.ok();
}

impl Connection {
    async fn run(mut self) {
        let (mut received, mut answered) = (Vec::new(), 0);
        loop {
            if self.number == 1 && answered >= self.manners.deaf_after {
                return std::future::pending().await;
            }
            if self.cluster.has_changed().unwrap_or(true) {
                return;
            }
            let (kind, correlation, request, payload, consumed) =
                match FrameDecoder::new(FrameLimits::FULL).next(&received) {
                    Decoded::Ready(frame, consumed) => {
                        let request = frame.head.request().unwrap();
                        let correlation = frame.head.header.correlation;
                        (request.kind(), correlation, request, frame.payload.to_vec(), consumed)
                    }
                    Decoded::NeedMore { .. } => {
                        let mut chunk = vec![0; 1 << 16];
                        match self.stream.read(&mut chunk).await {
                            Ok(0) | Err(_) => return,
                            Ok(count) => received.extend_from_slice(&chunk[..count]),
                        }
                        continue;
                    }
                    Decoded::Bad(error) => panic!("{error}"),
                };
            received.drain(..consumed);
            let named = (kind, correlation);
            let (brain, changes, out) =
                (self.brain.clone(), self.changes.clone(), self.out.clone());
            match request {
                Request::Hello(_) => self.greet(named).await,
                // A fetch may wait: others overtake it.
                Request::Fetch(fetch) => {
                    self.fetches.send_replace(());
                    drop(tokio::spawn(async move {
                        let deed = fetch_patiently(&brain, changes, fetch).await;
                        obey(&out, deed, named).await;
                    }));
                }
                request => {
                    answered += 1;
                    obey(&out, carry(&brain, request, payload).await, named).await;
                }
            }
        }
    }

    async fn greet(&mut self, named: (Kind, Correlation)) {
        let protocol = match self.manners.greeting {
            Greeting::SilentOnce if self.number == 2 => return,
            Greeting::Proper | Greeting::SilentOnce => 1,
            Greeting::Version(version) => version,
            Greeting::Refuse(code) => {
                return obey(&self.out, Deed::Refuse(code.into()), named).await;
            }
            Greeting::Http => {
                let text = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
                return drop(self.out.send(Some(text)).await);
            }
            Greeting::Silent => return,
        };
        let welcome = Welcome {
            protocol,
            shard: 0,
            limits_fingerprint: 0,
            node: self.manners.node,
            cluster: *self.cluster.borrow(),
            server_time: Timestamp::new(1_000_000),
            limits: limits(self.manners),
            server_version: "fake".to_owned(),
            shards: shards(self.port),
        };
        obey(&self.out, Deed::Answer(Response::Hello(welcome), Vec::new()), named).await;
    }
}

async fn carry(brain: &mpsc::Sender<Ask>, request: Request, payload: Vec<u8>) -> Deed {
    let (reply, deed) = oneshot::channel();
    assert!(brain.send(Ask::Carry(request, payload, reply)).await.is_ok());
    deed.await.unwrap()
}

/// Fetches; at the tail, again when something has changed.
async fn fetch_patiently(
    brain: &mpsc::Sender<Ask>,
    mut changes: watch::Receiver<()>,
    mut fetch: Fetch,
) -> Deed {
    let wait = Duration::from_millis(fetch.wait_ms.into());
    let until = tokio::time::Instant::now() + wait;
    loop {
        changes.borrow_and_update();
        let deed = carry(brain, fetch.into(), Vec::new()).await;
        let empty = matches!(&deed, Deed::Answer(Response::Fetch(_), bytes) if bytes.is_empty());
        if let (FetchFrom::Latest, Deed::Answer(Response::Fetch(fetched), _)) = (fetch.from, &deed)
        {
            fetch.from = FetchFrom::Offset(fetched.next_offset);
        }
        if !empty || tokio::time::timeout_at(until, changes.changed()).await.is_err() {
            return deed;
        }
    }
}

async fn obey(
    out: &mpsc::Sender<Option<Vec<u8>>>,
    deed: Deed,
    (kind, correlation): (Kind, Correlation),
) {
    let mut bytes = Vec::new();
    let mut close = false;
    match deed {
        Deed::Answer(response, payload) => {
            let len = u32::try_from(payload.len()).unwrap();
            encode_response(&mut bytes, correlation, &response, len).unwrap();
            bytes.extend_from_slice(&payload);
        }
        Deed::Refuse(reply) => {
            encode_error(&mut bytes, kind.number(), correlation, &reply).unwrap();
        }
        Deed::Break(response) => {
            encode_response(&mut bytes, correlation, &response, 0).unwrap();
            bytes.truncate(bytes.len() / 2);
            close = true;
        }
        Deed::HoldBack(response, payload) => {
            let len = u32::try_from(payload.len()).unwrap();
            encode_response(&mut bytes, correlation, &response, len).unwrap();
            let rest = payload.len() / 2;
            bytes.extend_from_slice(&payload[..rest]);
            // See `write`.
            for part in [bytes, Vec::new(), payload[rest..].to_vec()] {
                out.send(Some(part)).await.ok();
            }
            return;
        }
        Deed::Close => close = true,
        Deed::Nothing => return,
    }
    // A client that went away is not this server's problem.
    if !bytes.is_empty() {
        out.send(Some(bytes)).await.ok();
    }
    if close {
        out.send(None).await.ok();
    }
}

fn shards(port: u16) -> Vec<ShardAddress> {
    (0..2).map(|shard| ShardAddress { shard, port, host: String::new() }).collect()
}
