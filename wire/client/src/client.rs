//! The client: connections, administration, and the source of producers and consumers.

use std::sync::Arc;
use std::time::Duration;

use pyralog_log::batch::Buffer;
use pyralog_log::ids::{LogId, Offset, PartitionId, Timestamp};
use pyralog_wire::limits::LIST_PAGE_LOGS_MAX;
use pyralog_wire::message::{
    AlterLog, CreateLog, DeleteLog, DescribeLog, FindOffset, ListLogs, LogDescription, LogRoute,
    Metadata, NodeStats, OffsetFound, Ping, Reply, Response, Stats, TruncateLog,
};
use pyralog_wire::{ErrorCode, LogChanges, LogConfig, LogStorage, Request, name};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::config::{ClientConfig, ConsumerConfig, ProducerConfig, StartFrom};
use crate::consumer::{Consumer, Start};
use crate::directory::{ClusterId, Target};
use crate::error::ClientError;
use crate::exchange::Outgoing;
use crate::hub::{Hub, ServerInfo, Welcomed};
use crate::limits::ADDRESSES_MAX;
use crate::link::{Link, ReplyTo, Undone};
use crate::producer::Producer;
use crate::verify::Verification;

/// A client of a cluster: cheap to clone, to be shared by all tasks of a program.
///
/// Its connections are shared by all producers and consumers made from it, one per shard. They end
/// when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hub: Hub,
    config: Arc<ClientConfig>,
    welcomed: watch::Receiver<Option<Welcomed>>,
    clock: Clock,
}

/// The server's wall clock, as of the first handshake, moved on by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    server_time: Timestamp,
    at: Instant,
}

impl Clock {
    /// The time now.
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.at.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.server_time.checked_add_us(elapsed).unwrap_or(Timestamp::MAX)
    }
}

/// Whether a request may be repeated if its outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing.
    Harmless,
    /// It changes something.
    Harmful,
}

impl Client {
    /// Connects to the first of the addresses (`host:port`) that answers. Resolves when the
    /// handshake is done. Further connections are made when needed, and again when lost.
    ///
    /// # Errors
    /// The last address' error, if none of them answers; [`ClientError::Config`].
    ///
    /// # Panics
    /// Outside a Tokio runtime with time and I/O: its tasks live there.
    pub async fn connect<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        config: ClientConfig,
    ) -> Result<Self, ClientError> {
        config.check()?;
        let addresses: Vec<String> = addresses.into_iter().map(Into::into).collect();
        if !(1..=ADDRESSES_MAX).contains(&addresses.len()) {
            let problem = format!("give 1 to {ADDRESSES_MAX} addresses, as `host:port`");
            return Err(ClientError::config("addresses", problem));
        }
        let config = Arc::new(config);
        let (hub, welcomed) = Hub::start(addresses, Arc::clone(&config));
        hub.link(Target::Any).await?;
        let clock = match &*welcomed.borrow() {
            Some(welcomed) => Clock { server_time: welcomed.server_time, at: welcomed.at },
            None => return Err(ClientError::Closed),
        };
        Ok(Self { shared: Arc::new(Shared { hub, config, welcomed, clock }) })
    }

    /// What the server said in the last handshake.
    #[must_use]
    pub fn server(&self) -> ServerInfo {
        let welcomed = self.shared.welcomed.borrow();
        welcomed.as_ref().map_or_else(ServerInfo::default, |welcomed| welcomed.info.clone())
    }

    /// The time by the server's clock, as of the first handshake, give or take a round trip.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// Creates a log.
    ///
    /// # Errors
    /// If it exists, the configuration is not sound, or the server cannot. After a lost connection
    /// or a timeout it may have been created: describe it.
    pub async fn create_log(
        &self,
        log: &str,
        config: LogConfig,
    ) -> Result<LogDescription, ClientError> {
        let request = CreateLog { name: checked(log)?, config };
        match self.call(request.into(), Repeat::Harmful).await? {
            Response::CreateLog(description) => Ok(description),
            _ => Err(ClientError::Unexpected { expected: "the description of a log" }),
        }
    }

    /// The configuration of a log and the state of its partitions.
    ///
    /// # Errors
    /// [`ClientError::UnknownLog`], or what any call can meet.
    pub async fn describe_log(&self, log: &str) -> Result<LogDescription, ClientError> {
        let request = DescribeLog { name: checked(log)? };
        match named(log, self.call(request.into(), Repeat::Harmless).await)? {
            Response::DescribeLog(description) => Ok(description),
            _ => Err(ClientError::Unexpected { expected: "the description of a log" }),
        }
    }

    /// All logs whose names begin with `prefix`, ordered by name; without their partitions' state.
    ///
    /// # Errors
    /// What any call can meet.
    pub async fn list_logs(&self, prefix: &str) -> Result<Vec<LogDescription>, ClientError> {
        let mut logs: Vec<LogDescription> = Vec::new();
        loop {
            let after = logs.last().map_or_else(String::new, |log| log.name.clone());
            let limit = LIST_PAGE_LOGS_MAX;
            let request = ListLogs { prefix: prefix.to_owned(), after, limit };
            let response = self.call(request.into(), Repeat::Harmless).await?;
            let Response::ListLogs(page) = response else {
                return Err(ClientError::Unexpected { expected: "a page of logs" });
            };
            let more = page.more && !page.logs.is_empty();
            logs.extend(page.logs);
            if !more {
                return Ok(logs);
            }
        }
    }

    /// Changes the configuration of a log.
    ///
    /// # Errors
    /// [`ClientError::UnknownLog`], changes that are not sound, or what any call can meet.
    pub async fn alter_log(
        &self,
        log: &str,
        changes: LogChanges,
    ) -> Result<LogDescription, ClientError> {
        let request = AlterLog { name: checked(log)?, changes };
        // To set a value twice is to set it.
        match named(log, self.call(request.into(), Repeat::Harmless).await)? {
            Response::AlterLog(description) => Ok(description),
            _ => Err(ClientError::Unexpected { expected: "the description of a log" }),
        }
    }

    /// Deletes a log and its records; returns its identity.
    ///
    /// # Errors
    /// [`ClientError::UnknownLog`], or what any call can meet. After a lost connection or a timeout
    /// it may have been deleted.
    pub async fn delete_log(&self, log: &str) -> Result<LogId, ClientError> {
        let request = DeleteLog { name: checked(log)? };
        match named(log, self.call(request.into(), Repeat::Harmful).await)? {
            Response::DeleteLog(deleted) => Ok(deleted.id),
            _ => Err(ClientError::Unexpected { expected: "a deletion" }),
        }
    }

    /// The counters of the node.
    ///
    /// # Errors
    /// What any call can meet.
    pub async fn stats(&self) -> Result<NodeStats, ClientError> {
        match self.call(Stats {}.into(), Repeat::Harmless).await? {
            Response::Stats(stats) => Ok(stats),
            _ => Err(ClientError::Unexpected { expected: "statistics" }),
        }
    }

    /// Asks for a sign of life; returns the time to its answer.
    ///
    /// # Errors
    /// What any call can meet.
    pub async fn ping(&self) -> Result<Duration, ClientError> {
        let sent = Instant::now();
        match self.call(Ping { token: 0 }.into(), Repeat::Harmless).await? {
            Response::Ping(_) => Ok(sent.elapsed()),
            _ => Err(ClientError::Unexpected { expected: "a pong" }),
        }
    }

    /// Identity and configuration of a log, and which shard owns each partition.
    ///
    /// # Errors
    /// [`ClientError::UnknownLog`], or what any call can meet.
    pub async fn metadata(&self, log: &str) -> Result<LogRoute, ClientError> {
        self.route(log).await.map(|(_, route)| route)
    }

    /// [`Client::metadata`], and the cluster that dealt the id.
    pub(crate) async fn route(&self, log: &str) -> Result<(ClusterId, LogRoute), ClientError> {
        let request = Metadata { names: vec![checked(log)?] };
        match self.call_cluster(request.into(), Repeat::Harmless, None).await? {
            (cluster, Response::Metadata(mut routes)) => {
                let found = routes.logs.pop().filter(|route| route.name == log);
                self.shared.hub.learn(cluster, routes.shards).await;
                let found = found.map(|route| (cluster, route));
                found.ok_or_else(|| ClientError::UnknownLog { name: log.to_owned() })
            }
            _ => Err(ClientError::Unexpected { expected: "routes" }),
        }
    }

    /// The offset that a position of a partition stands for.
    ///
    /// # Errors
    /// [`ClientError::UnknownLog`], [`ClientError::Partition`], or what any call can meet.
    pub async fn find_offset(
        &self,
        log: &str,
        partition: PartitionId,
        at: StartFrom,
    ) -> Result<OffsetFound, ClientError> {
        let (cluster, route) = self.route(log).await?;
        partition_of(&route, partition)?;
        self.find((cluster, &route), partition, at).await
    }

    /// Makes `before` the first offset of a partition: what lies before it is gone, for everybody and for good. Returns
    /// the oldest offset, which is higher if it was so already. Durable when it resolves.
    ///
    /// # Errors
    /// [`ClientError::UnknownLog`], [`ClientError::Partition`], a refusal with the range if `before` is above what readers
    /// see, or what any call can meet.
    pub async fn truncate_before(
        &self,
        log: &str,
        partition: PartitionId,
        before: Offset,
    ) -> Result<Offset, ClientError> {
        let (cluster, route) = self.route(log).await?;
        partition_of(&route, partition)?;
        let request = TruncateLog { log: route.id, partition, before };
        let known = Some((cluster, route.name.as_str()));
        let outcome = self.call_cluster(request.into(), Repeat::Harmless, known).await;
        match named(&route.name, outcome.map(|(_, response)| response))? {
            Response::TruncateLog(truncated) => Ok(truncated.low),
            _ => Err(ClientError::Unexpected { expected: "the oldest offset" }),
        }
    }

    /// A producer for a log.
    ///
    /// # Errors
    /// [`ClientError::UnknownLog`], [`ClientError::Config`], or what any call can meet.
    pub async fn producer(
        &self,
        log: &str,
        mut config: ProducerConfig,
    ) -> Result<Producer, ClientError> {
        config.check()?;
        let (cluster, route) = self.route(log).await?;
        if route.config.storage == LogStorage::Memory {
            config = config.for_memory(route.config.memory_bytes_max);
        }
        Producer::start(self.clone(), (cluster, route), config)
    }

    /// A consumer of a log. If it reads from [`StartFrom::Latest`], it sees every record appended
    /// after this resolves.
    ///
    /// # Errors
    /// [`ClientError::UnknownLog`], [`ClientError::Partition`], [`ClientError::Config`], or what
    /// any call can meet; [`ClientError::NotVerifiable`] and [`ClientError::TrustFile`] if it is to verify what it reads.
    pub async fn consumer(
        &self,
        log: &str,
        config: ConsumerConfig,
    ) -> Result<Consumer, ClientError> {
        config.check()?;
        let (cluster, route) = self.route(log).await?;
        let mut partitions = config.partitions.clone();
        if partitions.is_empty() {
            partitions = (0..).map(PartitionId::new).take(route.shards.len()).collect();
        }
        let verification = Verification::of(&config, &route).await?;
        let mut starts = Vec::with_capacity(partitions.len());
        for partition in partitions {
            partition_of(&route, partition)?;
            let mut from = config.from;
            if from == StartFrom::Latest {
                // Fixed here and now: what is appended after this call returns will be read.
                let found = self.find((cluster, &route), partition, from).await?;
                from = StartFrom::Offset(found.offset);
            }
            let proving = |verification: &Verification| {
                verification.partition(self, (cluster, &route), partition)
            };
            let proving = verification.as_ref().map(proving).transpose()?;
            starts.push(Start { partition, from, proving });
        }
        Ok(Consumer::start(self, (cluster, &route), &config, starts))
    }

    async fn find(
        &self,
        (cluster, route): (ClusterId, &LogRoute),
        partition: PartitionId,
        at: StartFrom,
    ) -> Result<OffsetFound, ClientError> {
        let request = FindOffset { log: route.id, partition, at: at.into() };
        let known = Some((cluster, route.name.as_str()));
        let outcome = self.call_cluster(request.into(), Repeat::Harmless, known).await;
        match named(&route.name, outcome.map(|(_, response)| response))? {
            Response::FindOffset(found) => Ok(found),
            _ => Err(ClientError::Unexpected { expected: "an offset" }),
        }
    }

    /// The connections.
    pub(crate) fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    /// The server's clock.
    pub(crate) fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Sends a request that names logs by name, or none, over any connection and waits for its
    /// answer.
    pub(crate) async fn call(
        &self,
        request: Request,
        repeat: Repeat,
    ) -> Result<Response, ClientError> {
        self.call_cluster(request, repeat, None).await.map(|(_, response)| response)
    }

    /// Sends a request over any connection and waits for its answer; returns which cluster gave it.
    /// A request that names a log by id needs `known`: the cluster of that id, and its name.
    async fn call_cluster(
        &self,
        request: Request,
        repeat: Repeat,
        known: Option<(ClusterId, &str)>,
    ) -> Result<(ClusterId, Response), ClientError> {
        let answered = self.call_answered(request, repeat, known).await;
        answered.map(|(cluster, response, _)| (cluster, response))
    }

    /// As [`Self::call_cluster`], with the payload of the answer.
    pub(crate) async fn call_answered(
        &self,
        request: Request,
        repeat: Repeat,
        known: Option<(ClusterId, &str)>,
    ) -> Result<(ClusterId, Response, Buffer), ClientError> {
        let after = self.config().request_timeout;
        self.call_within(after, request, repeat, known).await
    }

    /// As [`Self::call_answered`], with a time limit of its own.
    pub(crate) async fn call_within(
        &self,
        after: Duration,
        request: Request,
        repeat: Repeat,
        known: Option<(ClusterId, &str)>,
    ) -> Result<(ClusterId, Response, Buffer), ClientError> {
        let operation = request.kind().name();
        let mut asked = None;
        let answered = self.call_twice(request, repeat, known, &mut asked);
        match tokio::time::timeout(after, answered).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => {
                // Nobody may be at the other end any more: the next request gets another connection.
                if let Some(link) = asked {
                    link.reset();
                }
                Err(ClientError::Timeout { operation, after })
            }
        }
    }

    /// A connection that died unnoticed is worth a second try. `asked` is the one that owes the answer.
    async fn call_twice(
        &self,
        request: Request,
        repeat: Repeat,
        known: Option<(ClusterId, &str)>,
        asked: &mut Option<Link>,
    ) -> Result<(ClusterId, Response, Buffer), ClientError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let link = match known {
                Some(known) => self.shared.hub.link_to(Target::Any, known).await?,
                None => self.shared.hub.link(Target::Any).await?,
            };
            let cluster = link.cluster();
            let link = asked.insert(link);
            let (reply, answer) = oneshot::channel();
            let reply_to = ReplyTo::One(reply);
            link.send(Outgoing { request: request.clone(), payload: None, reply_to });
            let undone = match answer.await {
                Ok(Ok(answered)) => match answered.reply {
                    Reply::Done(response) => {
                        return Ok((cluster, response, answered.payload.unwrap_or_default()));
                    }
                    Reply::Refused(reply) => return Err(ClientError::Server(reply)),
                },
                Ok(Err(undone)) => undone,
                Err(_dropped) => Undone::Lost(ClientError::Closed),
            };
            match undone {
                Undone::Unsent(_) if tries == 1 => {}
                Undone::Lost(_) if tries == 1 && repeat == Repeat::Harmless => {}
                undone => return Err(undone.into()),
            }
        }
    }
}

/// A name that a log can have.
fn checked(log: &str) -> Result<String, ClientError> {
    name::check_existing(log).map_err(ClientError::Name)?;
    Ok(log.to_owned())
}

/// Gives an unknown log its name.
pub(crate) fn named<T>(log: &str, outcome: Result<T, ClientError>) -> Result<T, ClientError> {
    match outcome {
        Err(ClientError::Server(reply)) if reply.is(ErrorCode::UnknownLog) => {
            Err(ClientError::UnknownLog { name: log.to_owned() })
        }
        outcome => outcome,
    }
}

/// Refuses a partition that the log does not have.
pub(crate) fn partition_of(route: &LogRoute, partition: PartitionId) -> Result<(), ClientError> {
    let partitions = u32::try_from(route.shards.len()).unwrap_or(u32::MAX);
    if partition.get() < partitions {
        return Ok(());
    }
    Err(ClientError::Partition { partition, partitions })
}
