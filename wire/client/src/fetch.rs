//! The task that reads one partition: carries out what its machine (`reading`) says.
//!
//! It asks ahead: when the head of an answer is here, which says where its records end, the next
//! fetch goes out, over the same connection. So the server reads the next records from its disk
//! while it sends these, and these are verified and handed over while the next arrive. An answer is
//! begun to be taken only when the one before it was handed over, so at most two are here: one that
//! waits for the consumer, and one that arrives meanwhile. More cannot be under way, because where
//! the one after them starts is not known yet; a server that sends on without being asked would need
//! a window of credit for each reader, in the protocol and on both sides.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use fastrand::Rng;
use pyralog_log::ids::{Offset, PartitionId};
use pyralog_wire::message::{Fetch, FetchFrom, Fetched, LogRoute};
use tokio::sync::{mpsc, oneshot};

use crate::client::Client;
use crate::config::{ConsumerConfig, StartFrom, Stop};
use crate::cursor::{Cursor, Next};
use crate::directory::{ClusterId, LogIdentity, Target};
use crate::error::ClientError;
use crate::exchange::Answered;
use crate::fetched::FetchedBatch;
use crate::link::{Ending, Link, Outgoing, ReplyTo};
use crate::reading::Reading;
use crate::verify::Proving;

/// Go there.
#[derive(Debug)]
pub(crate) struct Seek {
    pub(crate) to: StartFrom,
    pub(crate) generation: u64,
}

/// What the task tells the consumer.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) partition: PartitionId,
    pub(crate) generation: u64,
    pub(crate) what: What,
}

/// See [`Report`].
#[derive(Debug)]
pub(crate) enum What {
    /// At least one.
    Batches(Vec<FetchedBatch>),
    /// The partition was read to its end.
    Finished,
    /// The task waits for a seek.
    Failed(ClientError),
}

/// Starts the task for a partition that the route has. It ends with the consumer.
pub(crate) fn start(
    (client, config): (Client, ConsumerConfig),
    ((cluster, route), partition): ((ClusterId, &LogRoute), PartitionId),
    proving: Option<Proving>,
    reports: mpsc::Sender<Report>,
) -> mpsc::Sender<Seek> {
    let (seek, seeks) = mpsc::channel(1);
    let backoff = client.config().backoff();
    let cursor = Cursor::new(config.from, config.stop, config.on_out_of_range, backoff);
    let reading = Reading::new(partition, cursor);
    let fetcher = Fetcher {
        reading: if proving.is_some() { reading.hashing() } else { reading },
        proving,
        config,
        client,
        name: route.name.clone(),
        identity: LogIdentity { cluster, log: route.id },
        partition,
        shard: route.shards.get(partition.get() as usize).copied().unwrap_or(0),
        generation: 0,
        reports,
        // Jitter only: a generator of its own needs no entropy.
        rng: Rng::with_seed(u64::from(partition.get())),
    };
    tokio::spawn(fetcher.run(seeks));
    seek
}

/// The task.
struct Fetcher {
    client: Client,
    config: ConsumerConfig,
    name: String,
    identity: LogIdentity,
    partition: PartitionId,
    shard: u16,
    reading: Reading,
    proving: Option<Proving>,
    generation: u64,
    reports: mpsc::Sender<Report>,
    rng: Rng,
}

/// A fetch under way.
struct Asked {
    from: FetchFrom,
    /// The log has at least as many records: a checkpoint said so before it was sent.
    floor: Offset,
    link: Link,
    /// Where its records end.
    head: oneshot::Receiver<Fetched>,
    whole: oneshot::Receiver<Ending>,
}

/// The consumer is gone.
struct Gone;

/// Why a partition is read no further.
enum Ended {
    Gone,
    Failed(ClientError),
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        Self::Failed(error)
    }
}

impl Fetcher {
    async fn run(mut self, mut seeks: mpsc::Receiver<Seek>) {
        loop {
            match until(&mut seeks, self.read()).await {
                Some(Ok(Gone)) | None => return,
                Some(Err(seek)) => {
                    self.generation = seek.generation;
                    self.reading.seek(seek.to);
                    if let Some(proving) = &mut self.proving {
                        proving.moved();
                    }
                }
            }
        }
    }

    /// Reads on and on. Ends when the consumer is gone, or waits forever at an end or a failure.
    /// Dropped midway, it can be begun again at another position.
    async fn read(&mut self) -> Gone {
        let ended = match self.read_on().await {
            Ok(ended) => ended,
            Err(Ended::Failed(error)) => What::Failed(error),
            Err(Ended::Gone) => return Gone,
        };
        if self.report(ended).await.is_ok() {
            std::future::pending::<()>().await;
        }
        Gone
    }

    /// Reads until something ends it.
    async fn read_on(&mut self) -> Result<What, Ended> {
        if let Some(proving) = &mut self.proving {
            proving.prove().await?;
        }
        let mut ahead = None;
        loop {
            let next = match self.fetch(&mut ahead).await {
                Ok((floor, Answered { reply, payload })) => {
                    let (batches, next) = self.reading.answered((reply, payload), &mut self.rng);
                    self.pass(batches, floor).await?;
                    next
                }
                Err(error) => {
                    let (log, partition) = (&self.name, self.partition);
                    tracing::debug!(log, %partition, %error, "fetch failed");
                    // It went over the same connection.
                    ahead = None;
                    self.reading.failed(&mut self.rng)
                }
            };
            match next {
                Next::Go => {}
                Next::Retry(delay) => tokio::time::sleep(delay).await,
                Next::Reroute(delay) => {
                    tokio::time::sleep(delay).await;
                    self.reroute().await?;
                }
                Next::Finish => {
                    self.prove_rest().await?;
                    return Ok(What::Finished);
                }
                failed => return Ok(What::Failed(self.failure(failed))),
            }
        }
    }

    /// The error of an end that is not one of the log.
    fn failure(&self, next: Next) -> ClientError {
        let partition = self.partition;
        match next {
            Next::OutOfRange { low, high } => {
                let asked = self.reading.offset();
                ClientError::OutOfRange { partition, asked, low, high }
            }
            Next::Damaged { first, next } => {
                ClientError::Damaged { partition, offsets: first..next }
            }
            Next::Corrupt { first, next, source } => {
                ClientError::Corrupt { partition, offsets: first..next, source }
            }
            Next::Refused(reply) => ClientError::Server(reply),
            _ => ClientError::Unexpected { expected: "later records" },
        }
    }

    /// Hands batches to the consumer: at once, or each when it is proven.
    async fn pass(&mut self, batches: Vec<FetchedBatch>, floor: Offset) -> Result<(), Ended> {
        if let (Some(proving), Some(answer)) = (&mut self.proving, self.reading.take_hashed()) {
            proving.received(answer, floor)?;
            if proving.verifier().holds_back() {
                return self.pass_proven(batches.into()).await;
            }
        }
        self.hand_out(batches).await?;
        if let Some(proving) = &mut self.proving {
            // What is not covered yet is proven later, unless too much is.
            while !proving.prove().await? && proving.verifier().is_full() {
                proving.wait().await;
            }
        }
        Ok(())
    }

    /// Holds back what is not proven.
    async fn pass_proven(&mut self, mut held: VecDeque<FetchedBatch>) -> Result<(), Ended> {
        loop {
            let Some(proving) = &mut self.proving else { return Ok(()) };
            let is_done = proving.prove().await?;
            let due = proving.verifier().due_from();
            let is_proven =
                |batch: &FetchedBatch| due.is_none_or(|due| batch.header().owner.base_offset < due);
            let proven = held.iter().take_while(|batch| is_proven(batch)).count();
            let proven = held.drain(..proven).collect();
            self.hand_out(proven).await?;
            if is_done {
                assert!(held.is_empty(), "what is not due is proven");
                return Ok(());
            }
            if let Some(proving) = &mut self.proving {
                proving.wait().await;
            }
        }
    }

    /// Proves what is still due at the end.
    async fn prove_rest(&mut self) -> Result<(), ClientError> {
        if let Some(proving) = &mut self.proving {
            while !proving.prove().await? {
                proving.wait().await;
            }
        }
        Ok(())
    }

    async fn hand_out(&self, batches: Vec<FetchedBatch>) -> Result<(), Gone> {
        if batches.is_empty() { Ok(()) } else { self.report(What::Batches(batches)).await }
    }

    /// The answer to the fetch that is due, and what the log had at least when it was sent: the one in
    /// `ahead`, or else one that goes out now. The one after it is in `ahead` then, if it could be asked for.
    async fn fetch(&self, ahead: &mut Option<Asked>) -> Result<(Offset, Answered), ClientError> {
        let due = ahead.take().filter(|asked| asked.from == self.reading.from());
        let Asked { floor, link, head, whole, .. } = match due {
            Some(asked) => asked,
            None => self.ask_now().await?,
        };
        let arriving = async {
            if let Ok(fetched) = head.await
                && let Some(from) = self.reading.ahead(&fetched)
                && !link.is_closed()
            {
                *ahead = Some(self.ask(link.clone(), from));
            }
            whole.await
        };
        let after = self.wait() + self.client.config().request_timeout;
        match tokio::time::timeout(after, arriving).await {
            Ok(Ok(ending)) => Ok((floor, ending.map_err(ClientError::from)?)),
            Ok(Err(_dropped)) => Err(ClientError::Closed),
            Err(_elapsed) => {
                link.reset();
                Err(ClientError::Timeout { operation: "Fetch", after })
            }
        }
    }

    /// Sends the fetch that is due.
    async fn ask_now(&self) -> Result<Asked, ClientError> {
        let known = (self.identity.cluster, self.name.as_str());
        let link = self.client.hub().link_to(Target::Shard(self.shard), known).await?;
        Ok(self.ask(link, self.reading.from()))
    }

    /// Sends a fetch.
    fn ask(&self, link: Link, from: FetchFrom) -> Asked {
        let request = Fetch {
            log: self.identity.log,
            partition: self.partition,
            from,
            bytes_min: self.config.bytes_min,
            bytes_max: self.config.bytes_max,
            wait_ms: u32::try_from(self.wait().as_millis()).unwrap_or(u32::MAX),
        };
        let ((begun, head), (reply, whole)) = (oneshot::channel(), oneshot::channel());
        let reply_to = ReplyTo::Fetch(Some(begun), reply);
        link.send(Outgoing { request: request.into(), payload: None, reply_to });
        let floor = self.proving.as_ref().map_or(Offset::ZERO, |proving| proving.verifier().end());
        Asked { from, floor, link, head, whole }
    }

    /// How long the server is to wait for records.
    const fn wait(&self) -> Duration {
        match self.config.stop {
            Stop::Never => self.config.wait,
            // It ends at the tail instead of waiting there.
            Stop::AtEnd => Duration::ZERO,
        }
    }

    /// Asks which shard owns the partition.
    async fn reroute(&mut self) -> Result<(), ClientError> {
        match self.client.route(&self.name).await {
            Ok((cluster, route)) if self.identity == LogIdentity { cluster, log: route.id } => {
                let shard = route.shards.get(self.partition.get() as usize);
                self.shard = shard.copied().unwrap_or(self.shard);
                Ok(())
            }
            // Another log of the same name is not the one that was read.
            Ok(_) => Err(ClientError::LogReplaced { name: self.name.clone() }),
            Err(error @ ClientError::UnknownLog { .. }) => Err(error),
            // The fetch will fail again and the delay grow.
            Err(_) => Ok(()),
        }
    }

    async fn report(&self, what: What) -> Result<(), Gone> {
        let (partition, generation) = (self.partition, self.generation);
        self.reports.send(Report { partition, generation, what }).await.map_err(|_| Gone)
    }
}

/// The outcome of `work`, or the seek that came first; `None` if no seek can come any more.
async fn until<T>(
    seeks: &mut mpsc::Receiver<Seek>,
    work: impl Future<Output = T>,
) -> Option<Result<T, Seek>> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(seek) = seeks.poll_recv(cx) {
            return Poll::Ready(seek.map(Err));
        }
        work.as_mut().poll(cx).map(|outcome| Some(Ok(outcome)))
    })
    .await
}
