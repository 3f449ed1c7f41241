//! The task that reads one partition: carries out what its machine (`reading`) says.
//!
//! It asks ahead: when the head of an answer is here, which says where its records end, the next
//! fetch goes out, over the same connection. So the server reads the next records from its disk
//! while it sends these, and these are verified and handed over while the next arrive. An answer is
//! begun to be taken only when the one before it was handed over, so at most two are here: one that
//! waits for the consumer, and one that arrives meanwhile. More cannot be under way, because where
//! the one after them starts is not known yet; a server that sends on without being asked would need
//! a window of credit for each reader, in the protocol and on both sides.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use fastrand::Rng;
use pyralog_log::ids::PartitionId;
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
    reports: mpsc::Sender<Report>,
) -> mpsc::Sender<Seek> {
    let (seek, seeks) = mpsc::channel(1);
    let backoff = client.config().backoff();
    let cursor = Cursor::new(config.from, config.stop, config.on_out_of_range, backoff);
    let fetcher = Fetcher {
        reading: Reading::new(partition, cursor),
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
    generation: u64,
    reports: mpsc::Sender<Report>,
    rng: Rng,
}

/// A fetch under way.
struct Asked {
    from: FetchFrom,
    link: Link,
    /// Where its records end.
    head: oneshot::Receiver<Fetched>,
    whole: oneshot::Receiver<Ending>,
}

/// The consumer is gone.
struct Gone;

impl Fetcher {
    async fn run(mut self, mut seeks: mpsc::Receiver<Seek>) {
        loop {
            match until(&mut seeks, self.read()).await {
                Some(Ok(Gone)) | None => return,
                Some(Err(seek)) => {
                    self.generation = seek.generation;
                    self.reading.seek(seek.to);
                }
            }
        }
    }

    /// Reads on and on. Ends when the consumer is gone, or waits forever at an end or a failure.
    /// Dropped midway, it can be begun again at another position.
    async fn read(&mut self) -> Gone {
        let mut ahead = None;
        loop {
            let next = match self.fetch(&mut ahead).await {
                Ok(Answered { reply, payload }) => {
                    let (batches, next) = self.reading.answered((reply, payload), &mut self.rng);
                    if !batches.is_empty()
                        && let Err(gone) = self.report(What::Batches(batches)).await
                    {
                        return gone;
                    }
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
            let ended = match next {
                Next::Go => continue,
                Next::Retry(delay) => {
                    tokio::time::sleep(delay).await;
                    continue;
                }
                Next::Reroute(delay) => {
                    tokio::time::sleep(delay).await;
                    match self.reroute().await {
                        Ok(()) => continue,
                        Err(error) => What::Failed(error),
                    }
                }
                Next::Finish => What::Finished,
                Next::OutOfRange { low, high } => {
                    let (partition, asked) = (self.partition, self.reading.offset());
                    What::Failed(ClientError::OutOfRange { partition, asked, low, high })
                }
                Next::Damaged { first, next } => {
                    let (partition, offsets) = (self.partition, first..next);
                    What::Failed(ClientError::Damaged { partition, offsets })
                }
                Next::Corrupt { first, next, source } => {
                    let (partition, offsets) = (self.partition, first..next);
                    What::Failed(ClientError::Corrupt { partition, offsets, source })
                }
                Next::Refused(reply) => What::Failed(ClientError::Server(reply)),
                Next::Nonsense => {
                    What::Failed(ClientError::Unexpected { expected: "later records" })
                }
            };
            ahead = None;
            if self.report(ended).await.is_err() {
                return Gone;
            }
            std::future::pending::<()>().await;
        }
    }

    /// The answer to the fetch that is due: the one in `ahead`, or else one that goes out now. The
    /// one after it is in `ahead` then, if it could be asked for.
    async fn fetch(&self, ahead: &mut Option<Asked>) -> Result<Answered, ClientError> {
        let due = ahead.take().filter(|asked| asked.from == self.reading.from());
        let Asked { link, head, whole, .. } = match due {
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
            Ok(Ok(ending)) => ending.map_err(ClientError::from),
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
        Asked { from, link, head, whole }
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
