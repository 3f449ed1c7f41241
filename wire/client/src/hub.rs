//! The task that keeps the connections of a client: at most one per shard, made when first needed.
//!
//! It knows where the shards listen (every Welcome and every answer to Metadata says so) and shares
//! one connection among all producers and consumers of a client. All connections that it shares lead
//! to one cluster, the one that was greeted last; those to another go on for who has them.
//! Connecting happens in tasks of its
//! own, so that a shard that does not answer holds up nobody else.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyralog_wire::message::{ShardAddress, Welcome};
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::ClientConfig;
use crate::directory::{ClusterId, Directory, Target};
use crate::error::ClientError;
use crate::limits::HUB_QUEUE_MAX;
use crate::link::{self, Link};

/// What a server said about itself when it was last greeted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// Identity of the node.
    pub node: u64,
    /// Identity of the cluster.
    pub cluster: u64,
    /// Version of its program.
    pub server_version: String,
    /// Version of the protocol that was agreed.
    pub protocol: u16,
    /// How many shards it has.
    pub shards: usize,
    /// The address that was dialled.
    pub address: String,
}

enum Message {
    Find { target: Target, reply: oneshot::Sender<Result<Link, ClientError>> },
    Connected { target: Target, result: Result<Connected, ClientError> },
    Learn { cluster: ClusterId, shards: Vec<ShardAddress> },
}

/// A new connection.
struct Connected {
    link: Link,
    welcome: Welcome,
    address: String,
}

/// A handle to the task. Cheap to clone; the task ends with the last one.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    messages: mpsc::Sender<Message>,
}

impl Hub {
    /// Starts the task. The receiver holds what the server last greeted said.
    pub(crate) fn start(
        addresses: Vec<String>,
        config: Arc<ClientConfig>,
    ) -> (Self, watch::Receiver<Option<Welcomed>>) {
        let (messages, inbox) = mpsc::channel(HUB_QUEUE_MAX);
        let (welcomed, watching) = watch::channel(None);
        let task = HubTask {
            config,
            directory: Directory::new(addresses),
            links: BTreeMap::new(),
            waiting: BTreeMap::new(),
            messages: messages.downgrade(),
            welcomed,
        };
        tokio::spawn(task.run(inbox));
        (Self { messages }, watching)
    }

    /// An open connection.
    ///
    /// # Errors
    /// If there is none and none could be made.
    pub(crate) async fn link(&self, target: Target) -> Result<Link, ClientError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Find { target, reply };
        self.messages.send(message).await.map_err(|_| ClientError::Closed)?;
        answer.await.map_err(|_| ClientError::Closed)?
    }

    /// An open connection for requests that name `log` by the id that `cluster` dealt.
    ///
    /// # Errors
    /// As [`Hub::link`], and [`ClientError::LogReplaced`] if another cluster answers: the id stands
    /// for another log there, or for none.
    pub(crate) async fn link_to(
        &self,
        target: Target,
        (cluster, log): (ClusterId, &str),
    ) -> Result<Link, ClientError> {
        let link = self.link(target).await?;
        if link.cluster() == cluster {
            return Ok(link);
        }
        Err(ClientError::LogReplaced { name: log.to_owned() })
    }

    /// The shards of a cluster listen there now.
    pub(crate) async fn learn(&self, cluster: ClusterId, shards: Vec<ShardAddress>) {
        // If the task has ended, nobody needs it.
        self.messages.send(Message::Learn { cluster, shards }).await.ok();
    }
}

/// What the server last greeted said, and when.
#[derive(Clone, Debug)]
pub(crate) struct Welcomed {
    pub(crate) info: ServerInfo,
    pub(crate) server_time: pyralog_log::ids::Timestamp,
    pub(crate) at: tokio::time::Instant,
}

struct HubTask {
    config: Arc<ClientConfig>,
    directory: Directory,
    links: BTreeMap<u16, Link>,
    /// Who waits for a connection that is being made.
    waiting: BTreeMap<Target, Vec<oneshot::Sender<Result<Link, ClientError>>>>,
    messages: mpsc::WeakSender<Message>,
    welcomed: watch::Sender<Option<Welcomed>>,
}

impl HubTask {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        while let Some(message) = inbox.recv().await {
            match message {
                Message::Find { target, reply } => self.find(target, reply),
                Message::Connected { target, result } => self.connected(target, result),
                Message::Learn { cluster, shards } => self.directory.learn(cluster, &shards),
            }
        }
    }

    fn find(&mut self, target: Target, reply: oneshot::Sender<Result<Link, ClientError>>) {
        self.links.retain(|_, link| !link.is_closed());
        let known = match target {
            Target::Any => self.links.values().next(),
            Target::Shard(shard) => self.links.get(&shard),
        };
        if let Some(link) = known {
            // Whoever stopped waiting does not need it.
            drop(reply.send(Ok(link.clone())));
            return;
        }
        let waiting = self.waiting.entry(target).or_default();
        waiting.push(reply);
        if waiting.len() == 1 {
            self.connect(target);
        }
    }

    /// Starts to connect.
    fn connect(&self, target: Target) {
        let addresses = self.directory.candidates(target);
        let (config, messages) = (Arc::clone(&self.config), self.messages.clone());
        tokio::spawn(async move {
            let result = first(&addresses, &config).await;
            if let Some(messages) = messages.upgrade() {
                // If the task has ended, nobody waits.
                messages.send(Message::Connected { target, result }).await.ok();
            }
        });
    }

    fn connected(&mut self, target: Target, result: Result<Connected, ClientError>) {
        let waiting = self.waiting.remove(&target).unwrap_or_default();
        let outcome = result.map(|connected| self.welcome(target, connected));
        for reply in waiting {
            drop(reply.send(outcome.clone()));
        }
    }

    fn welcome(&mut self, target: Target, connected: Connected) -> Link {
        let Connected { link, welcome, address } = connected;
        // Another connection to it that was made meanwhile stays with those who have it.
        let shard = self.directory.welcomed(target, &address, &welcome);
        self.links.retain(|_, known| known.cluster() == link.cluster());
        self.links.insert(shard, link.clone());
        let info = ServerInfo {
            node: welcome.node,
            cluster: welcome.cluster,
            server_version: welcome.server_version,
            protocol: welcome.protocol,
            shards: welcome.shards.len(),
            address,
        };
        let at = tokio::time::Instant::now();
        let server_time = welcome.server_time;
        self.welcomed.send_replace(Some(Welcomed { info, server_time, at }));
        link
    }
}

/// The first of the addresses that answers.
async fn first(addresses: &[String], config: &ClientConfig) -> Result<Connected, ClientError> {
    let mut last = ClientError::Closed;
    for address in addresses {
        let connecting = link::connect(address, &config.name);
        match tokio::time::timeout(config.connect_timeout, connecting).await {
            Ok(Ok((link, welcome))) => {
                return Ok(Connected { link, welcome, address: address.clone() });
            }
            Ok(Err(error)) => last = error,
            Err(_elapsed) => {
                let source = Arc::new(std::io::ErrorKind::TimedOut.into());
                last = ClientError::Connect { address: address.clone(), source };
            }
        }
        tracing::debug!(address, error = %last, "connecting failed");
    }
    Err(last)
}
