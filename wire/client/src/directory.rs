//! Where the shards of a cluster listen, as far as a client has been told: pure.
//!
//! The addresses that the user gave only have to lead to the cluster. Every Welcome and every answer
//! to Metadata says where each shard listens now.
//!
//! An address can come to lead to another cluster: a server without a disk, or whose disk was
//! replaced, is a new cluster at each start and deals the same ids to other logs. A connection ends
//! with the process that greeted it, so its Welcome says for all its life whose ids it understands.
//! Hence the rule of both shells: a request that names a log by id goes only over a connection to
//! the cluster of its [`LogIdentity`].

use std::collections::BTreeMap;

use pyralog_log::ids::LogId;
use pyralog_wire::message::{ShardAddress, Welcome};

/// A cluster, as its Welcomes call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterId(pub u64);

/// Which log: a cluster deals each id once, so both together name one log for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogIdentity {
    /// The cluster that dealt the id.
    pub cluster: ClusterId,
    /// The id.
    pub log: LogId,
}

/// Which connection is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Any: every shard knows the catalog.
    Any,
    /// The one to this shard.
    Shard(u16),
}

/// What is known.
#[derive(Clone, Debug)]
pub struct Directory {
    /// What the user gave.
    addresses: Vec<String>,
    /// Host of the address that was dialled last with success.
    host: String,
    /// The cluster that was greeted last.
    cluster: Option<ClusterId>,
    /// Where its shards listen.
    shards: BTreeMap<u16, String>,
}

impl Directory {
    /// A directory that knows the addresses that the user gave, as `host:port`.
    #[must_use]
    pub const fn new(addresses: Vec<String>) -> Self {
        Self { addresses, host: String::new(), cluster: None, shards: BTreeMap::new() }
    }

    /// Addresses that may lead to the target, in the order in which they are to be tried.
    #[must_use]
    pub fn candidates(&self, target: Target) -> Vec<String> {
        match target {
            // The shared port leads to some shard, which forwards: slower, but better than nothing
            // where a shard's own port cannot be reached.
            Target::Shard(shard) => {
                self.shards.get(&shard).into_iter().chain(&self.addresses).cloned().collect()
            }
            Target::Any => self.addresses.iter().chain(self.shards.values()).cloned().collect(),
        }
    }

    /// A server was greeted at `address`. Returns the shard that the connection is to be known
    /// as: the shared port leads to some shard, and the connection is then the one to that shard.
    pub fn welcomed(&mut self, target: Target, address: &str, welcome: &Welcome) -> u16 {
        host_of(address).clone_into(&mut self.host);
        let cluster = ClusterId(welcome.cluster);
        self.cluster = Some(cluster);
        self.learn(cluster, &welcome.shards);
        match target {
            Target::Shard(shard) => shard,
            Target::Any => welcome.shard,
        }
    }

    /// The shards of this cluster listen there now. Of no use if another was greeted since.
    pub fn learn(&mut self, cluster: ClusterId, shards: &[ShardAddress]) {
        if self.cluster != Some(cluster) {
            return;
        }
        let address = |shard: &ShardAddress| {
            let host = if shard.host.is_empty() { &self.host } else { &shard.host };
            (shard.shard, format!("{host}:{}", shard.port))
        };
        self.shards = shards.iter().map(address).collect();
    }
}

/// The host of `host:port`, brackets of an IPv6 address included.
fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(ports: &[u16]) -> Vec<ShardAddress> {
        let address =
            |(shard, port): (u16, &u16)| ShardAddress { shard, port: *port, host: String::new() };
        (0..).zip(ports).map(address).collect()
    }

    fn welcome(cluster: u64, shard: u16, ports: &[u16]) -> Welcome {
        Welcome {
            protocol: 1,
            shard,
            limits_fingerprint: 0,
            node: 1,
            cluster,
            server_time: pyralog_log::ids::Timestamp::ZERO,
            limits: pyralog_wire::server::ServerConfig::default().limits,
            server_version: String::new(),
            shards: listening(ports),
        }
    }

    #[test]
    fn hosts_keep_the_brackets_of_their_address() {
        assert_eq!(host_of("127.0.0.1:7400"), "127.0.0.1");
        assert_eq!(host_of("[::1]:7400"), "[::1]");
        assert_eq!(host_of("log.example:7400"), "log.example");
    }

    #[test]
    fn a_shard_is_sought_at_its_own_port_before_the_shared_one() {
        let mut directory = Directory::new(vec!["a:7400".to_owned(), "b:7400".to_owned()]);
        assert_eq!(directory.candidates(Target::Shard(1)), ["a:7400", "b:7400"]);
        let shard = directory.welcomed(Target::Any, "b:7400", &welcome(1, 1, &[1, 2]));
        assert_eq!(shard, 1);
        assert_eq!(directory.candidates(Target::Shard(1)), ["b:2", "a:7400", "b:7400"]);
        assert_eq!(directory.candidates(Target::Any), ["a:7400", "b:7400", "b:1", "b:2"]);
    }

    #[test]
    fn shards_that_are_gone_are_forgotten() {
        let mut directory = Directory::new(vec!["a:7400".to_owned()]);
        directory.welcomed(Target::Any, "a:7400", &welcome(1, 0, &[1, 2]));
        directory.learn(ClusterId(1), &listening(&[3]));
        assert_eq!(directory.candidates(Target::Shard(0)), ["a:3", "a:7400"]);
        assert_eq!(directory.candidates(Target::Shard(1)), ["a:7400"]);
    }

    #[test]
    fn the_cluster_that_was_greeted_last_says_where_its_shards_listen() {
        let mut directory = Directory::new(vec!["a:7400".to_owned()]);
        directory.welcomed(Target::Any, "a:7400", &welcome(1, 0, &[1]));
        directory.welcomed(Target::Any, "a:7400", &welcome(2, 0, &[2]));
        directory.learn(ClusterId(1), &listening(&[3]));
        assert_eq!(directory.candidates(Target::Shard(0)), ["a:2", "a:7400"]);
    }
}
