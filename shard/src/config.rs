//! What a server is told at its start, and the rules it must meet.
//!
//! Libraries take typed settings; files, environment and flags are the business of `tools`. Every rule is checked by
//! [`ServerConfig::validate`] before anything is touched, and each refusal names the key as the settings file has it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use pyralog_log::limits::{COMPACTION_DIRTY_PERCENT_DEFAULT, COMPACTION_MEMORY_BYTES_DEFAULT};
use pyralog_log::limits::{TIER_CACHE_BYTES_DEFAULT, TIER_CACHE_BYTES_MIN};
use pyralog_seq::pharaoh::{Role, SlotSet};
use pyralog_seq::scarab;
use pyralog_store::StoreConfig;
use pyralog_wire::limits as wire;

use crate::limits;

/// Everything a server can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// The shared port of all shards. Port 0 takes any free one, for every shard's own port as well; with port `P`,
    /// shard `i` also listens on `P + 1 + i`.
    pub listen: SocketAddr,
    /// Host told to clients as the place of all shards; `None` tells them to keep the one they used.
    pub advertised: Option<String>,
    /// Cores to run on.
    pub shards: usize,
    /// Whether shard `i` is pinned to the `i`-th CPU of the process; ignored with more shards than CPUs.
    pub pin: bool,
    /// Where the records live.
    pub data: DataConfig,
    /// Address of the admin listener, if there is to be one. Port 0 takes any free one.
    pub http: Option<SocketAddr>,
    /// How long an idle core looks for work before it parks; zero parks at once.
    pub spin: Duration,
    /// The id that this node must have; `None` keeps the stored one, or draws one at the first start.
    pub node_id: Option<u64>,
    /// The cluster that this node must belong to; `None` keeps the stored one, or draws one at the first start.
    pub cluster_id: Option<u64>,
    /// What the node is for.
    pub role: Role,
    /// What it deals ids from.
    pub ids: IdsConfig,
    /// Shown in status and metrics.
    pub node_name: String,
    /// Memory of each core.
    pub memory: MemoryConfig,
    /// Limits of connections.
    pub limits: ServerLimits,
    /// How often a partition of a log with proofs makes a checkpoint, if it has grown.
    pub checkpoint_interval: Duration,
    /// What the background does.
    pub housekeeping: HousekeepingConfig,
    /// The object store for closed segments of tiered logs, if there is one.
    pub tier: Option<TierConfig>,
}

/// How often the background looks after the partitions of a core, and how fast it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HousekeepingConfig {
    /// Time between two rounds.
    pub interval: Duration,
    /// Bytes per second that it reads and writes on each core.
    pub io_bytes_per_second: u64,
    /// Bytes per second that the scrubber reads on each core; zero: there is none.
    pub scrub_bytes_per_second: u64,
    /// Memory of compaction on each core.
    pub compaction_memory_bytes: u64,
    /// How much of the bytes of a compacted log must be new to make a run worth it.
    pub compaction_dirty_percent: u32,
}

/// The object store, and what is held of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierConfig {
    /// Where it is.
    pub store: StoreConfig,
    /// Memory of each core for what is read of it.
    pub cache_bytes: u64,
}

impl TierConfig {
    /// The store at a URL, with the default memory.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { store: StoreConfig::new(url), cache_bytes: TIER_CACHE_BYTES_DEFAULT }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.store.check().map_err(|error| ConfigError {
            key: "tier.url",
            value: format!("\"{}\"", self.store.url),
            problem: error.to_string(),
        })?;
        let most = wire::MEMORY_BYTES_MAX;
        within("tier.cache_bytes", self.cache_bytes, TIER_CACHE_BYTES_MIN, most, "bytes")
    }
}

/// What a node deals ids from, and how far it believes its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdsConfig {
    /// Its slots: those of no other node of the cluster.
    pub slots: SlotSet,
    /// Whether the clock is taken for right at the start although it is far ahead of the ids dealt so far.
    pub accept_clock: bool,
    /// No id is dealt with a time before this, in milliseconds since the Unix epoch: for a node that takes over the slots
    /// of another.
    pub not_before_unix_ms: u64,
}

impl Default for IdsConfig {
    /// All slots: for a cluster of one node.
    fn default() -> Self {
        Self { slots: SlotSet::ALL, accept_clock: false, not_before_unix_ms: 0 }
    }
}

/// Where the records live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataConfig {
    /// In files of this directory, which is created if it does not exist.
    Dir(PathBuf),
    /// In memory only, and gone with the process.
    MemoryOnly {
        /// Bytes of records of all logs and shards together.
        max_memory: u64,
    },
}

/// How long an idle core looks for work before it sleeps. Waking a sleeping thread costs 30 us on a virtual machine at its
/// best and was seen to cost 150; the next request of a client that waits for its answer comes within this time, and an idle
/// core, which wakes a hundred times a second, pays half a percent for it.
const SPIN: Duration = Duration::from_micros(50);

/// Buffers of a core: room for its tail caches (half of it), the groups that gather behind the disk, and reads. Below that,
/// buffers come from the heap, where a virtual machine pays for every first touch.
const IO_BYTES: usize = 256 << 20;

/// Memory of each core, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Buffers for direct I/O, taken at the start.
    pub io_bytes: usize,
    /// Appends and forwarded requests in flight before the core answers `Busy`.
    pub in_flight_bytes_max: u64,
    /// Fetched records waiting for slow sockets.
    pub fetched_bytes_max: u64,
    /// Tail caches, split over the core's partitions.
    pub tail_bytes: u64,
    /// Records of all memory logs of a durable node together; memory-only nodes use `max_memory` instead.
    pub memory_log_bytes_max: u64,
}

/// Limits of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections of each shard.
    pub connections_max: usize,
    /// Time from accept to a complete Hello.
    pub handshake_timeout: Duration,
    /// Silence after which a connection without requests in work is closed.
    pub idle_timeout: Duration,
    /// Time within which a frame that has begun must be complete.
    pub frame_timeout: Duration,
    /// Requests in flight granted to a connection.
    pub credit_requests: u32,
    /// Frame bytes in flight granted to a connection.
    pub credit_bytes: u64,
    /// Answer bytes waiting for one connection before its requests wait.
    pub outbox_bytes_max: u64,
    /// How long a stop waits for clients to take their last answers.
    pub shutdown_grace: Duration,
}

/// A setting that breaks a rule. Displays as one sentence that names key, value and rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key as the settings file has it, for example `server.shards`.
    pub key: &'static str,
    /// The value found.
    pub value: String,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} = {}: {}", self.key, self.value, self.problem)
    }
}

impl std::error::Error for ConfigError {}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            advertised: None,
            shards: Self::available_shards(),
            pin: true,
            data: DataConfig::Dir(PathBuf::from("pyralog-data")),
            http: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7480))),
            spin: SPIN,
            node_id: None,
            cluster_id: None,
            role: Role::default(),
            ids: IdsConfig::default(),
            node_name: "pyralog".into(),
            memory: MemoryConfig::default(),
            limits: ServerLimits::default(),
            checkpoint_interval: pyralog_log::limits::CHECKPOINT_INTERVAL_DEFAULT,
            housekeeping: HousekeepingConfig::default(),
            tier: None,
        }
    }
}

impl Default for HousekeepingConfig {
    fn default() -> Self {
        Self {
            interval: limits::HOUSEKEEPING_INTERVAL,
            io_bytes_per_second: limits::HOUSEKEEPING_IO_BYTES,
            scrub_bytes_per_second: limits::SCRUB_BYTES,
            compaction_memory_bytes: COMPACTION_MEMORY_BYTES_DEFAULT as u64,
            compaction_dirty_percent: COMPACTION_DIRTY_PERCENT_DEFAULT,
        }
    }
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            io_bytes: IO_BYTES,
            in_flight_bytes_max: limits::IN_FLIGHT_BYTES,
            fetched_bytes_max: limits::FETCHED_BYTES,
            tail_bytes: IO_BYTES as u64 / 2,
            memory_log_bytes_max: 4 << 30,
        }
    }
}

impl Default for ServerLimits {
    fn default() -> Self {
        let ms = |ms: u32| Duration::from_millis(u64::from(ms));
        Self {
            connections_max: limits::CONNECTIONS_PER_SHARD,
            handshake_timeout: ms(wire::HANDSHAKE_TIMEOUT_MS),
            idle_timeout: ms(wire::IDLE_TIMEOUT_MS),
            frame_timeout: ms(wire::FRAME_TIMEOUT_MS),
            credit_requests: wire::CREDIT_REQUESTS,
            credit_bytes: wire::CREDIT_BYTES,
            outbox_bytes_max: wire::OUTBOX_BYTES_MAX,
            shutdown_grace: limits::SHUTDOWN_GRACE,
        }
    }
}

impl ServerConfig {
    /// The number of CPUs this process may use, which is the usual number of shards.
    #[must_use]
    pub fn available_shards() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from).min(limits::SHARDS_MAX)
    }

    /// Checks every rule, without touching the machine.
    ///
    /// # Errors
    /// The first rule broken, in the order of the fields.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_addresses()?;
        self.validate_names()?;
        self.validate_data()?;
        self.validate_ids()?;
        let interval = u64::try_from(self.checkpoint_interval.as_millis()).unwrap_or(u64::MAX);
        within("integrity.checkpoint_interval", interval, 10, 3_600_000, "ms")?;
        self.memory.validate()?;
        self.limits.validate()?;
        self.tier.as_ref().map_or(Ok(()), TierConfig::validate)?;
        self.housekeeping.validate()
    }

    fn validate_addresses(&self) -> Result<(), ConfigError> {
        let shards = u64::try_from(self.shards).unwrap_or(u64::MAX);
        within("server.shards", shards, 1, limits::SHARDS_MAX as u64, "cores")?;
        let port = u64::from(self.listen.port());
        let last = port + shards;
        if port != 0 && last > u64::from(u16::MAX) {
            return Err(ConfigError {
                key: "server.listen",
                value: self.listen.to_string(),
                problem: format!(
                    "{shards} shards also listen on the ports up to {last}, beyond 65535; choose a lower port"
                ),
            });
        }
        if let Some(http) = self.http
            && port != 0
            && http.port() != 0
            && (port..=last).contains(&u64::from(http.port()))
        {
            return Err(ConfigError {
                key: "http.listen",
                value: http.to_string(),
                problem: format!("the shards listen on the ports {port} to {last}; choose another"),
            });
        }
        Ok(())
    }

    fn validate_names(&self) -> Result<(), ConfigError> {
        let named = [
            ("server.node_name", Some(self.node_name.as_str())),
            ("server.advertised", self.advertised.as_deref()),
        ];
        for (key, name) in named {
            let Some(name) = name else { continue };
            if name.is_empty()
                || name.len() > limits::NODE_NAME_BYTES_MAX
                || name.chars().any(char::is_control)
            {
                return Err(ConfigError {
                    key,
                    value: format!("{name:?}"),
                    problem: format!(
                        "must have 1 to {} bytes and no control characters",
                        limits::NODE_NAME_BYTES_MAX
                    ),
                });
            }
        }
        for (key, id) in [("server.node_id", self.node_id), ("server.cluster_id", self.cluster_id)]
        {
            let Some(id) = id else { continue };
            within(key, id, 1, limits::NODE_ID_MAX, "(or left out)")?;
        }
        Ok(())
    }

    fn validate_ids(&self) -> Result<(), ConfigError> {
        self.ids.slots.split(self.shards).map(drop).map_err(|error| ConfigError {
            key: "ids.slots",
            value: self.ids.slots.to_string(),
            problem: error.to_string(),
        })?;
        let most = scarab::EXHAUSTED_UNIX_MS;
        within("ids.not_before", self.ids.not_before_unix_ms, 0, most, "ms since 1970")
    }

    fn validate_data(&self) -> Result<(), ConfigError> {
        match &self.data {
            DataConfig::Dir(path) if path.as_os_str().is_empty() => Err(ConfigError {
                key: "server.data_dir",
                value: "\"\"".into(),
                problem: "name a directory, or run with memory_only".into(),
            }),
            DataConfig::Dir(_) => Ok(()),
            DataConfig::MemoryOnly { max_memory } => within(
                "server.max_memory",
                *max_memory,
                pyralog_log::limits::MEMORY_BYTES_MIN,
                wire::MEMORY_BYTES_MAX,
                "bytes",
            ),
        }
    }

    /// Bytes that all memory logs of the node may be promised together.
    #[must_use]
    pub fn memory_log_bytes_max(&self) -> u64 {
        match self.data {
            DataConfig::Dir(_) => self.memory.memory_log_bytes_max,
            DataConfig::MemoryOnly { max_memory } => max_memory,
        }
    }
}

impl MemoryConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        let frame = u64::from(wire::FRAME_BYTES_MAX);
        let most = wire::MEMORY_BYTES_MAX;
        within("memory.io_bytes", self.io_bytes as u64, 1 << 20, 64 << 30, "bytes")?;
        // A frame is held twice for a moment: in the receive buffer, and as an append in flight.
        within("memory.in_flight_bytes_max", self.in_flight_bytes_max, 2 * frame, most, "bytes")?;
        within("memory.fetched_bytes_max", self.fetched_bytes_max, frame, most, "bytes")?;
        within("memory.tail_bytes", self.tail_bytes, limits::TAIL_BYTES_MIN, most, "bytes")?;
        within("memory.memory_log_bytes_max", self.memory_log_bytes_max, 0, most, "bytes")
    }
}

impl HousekeepingConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        let (interval, day) = (self.interval, Duration::from_hours(24));
        if interval < limits::HOUSEKEEPING_INTERVAL_MIN || interval > day {
            return Err(ConfigError {
                key: "housekeeping.interval",
                value: format!("{interval:?}"),
                problem: "must be at least 10 milliseconds and at most a day".into(),
            });
        }
        let (least, most) = (limits::HOUSEKEEPING_IO_BYTES_MIN, wire::MEMORY_BYTES_MAX);
        let bytes = self.io_bytes_per_second;
        within("housekeeping.io_bytes_per_second", bytes, least, most, "bytes")?;
        within("scrub.bytes_per_second", self.scrub_bytes_per_second, 0, most, "bytes")?;
        let bytes = self.compaction_memory_bytes;
        within("compaction.memory_bytes", bytes, limits::COMPACTION_MEMORY_MIN, most, "bytes")?;
        let percent = u64::from(self.compaction_dirty_percent);
        within("compaction.dirty_percent", percent, 0, 100, "percent")
    }
}

impl ServerLimits {
    fn validate(&self) -> Result<(), ConfigError> {
        let frame = u64::from(wire::FRAME_BYTES_MAX);
        let connections = self.connections_max as u64;
        let connections_most = limits::CONNECTIONS_PER_SHARD_MAX as u64;
        within("limits.connections_max", connections, 1, connections_most, "connections")?;
        within(
            "limits.credit_requests",
            u64::from(self.credit_requests),
            1,
            u64::from(wire::CREDIT_REQUESTS_MAX),
            "requests",
        )?;
        within("limits.credit_bytes", self.credit_bytes, frame, 1 << 32, "bytes")?;
        // As the protocol machine wants it: a whole frame beside a small answer for each request in flight.
        let small = u64::from(wire::SMALL_REPLY_BYTES_MAX);
        let outbox_least = frame + u64::from(self.credit_requests) * small;
        within("limits.outbox_bytes_max", self.outbox_bytes_max, outbox_least, 1 << 32, "bytes")?;
        let day = Duration::from_hours(24);
        for (key, value) in [
            ("limits.handshake_timeout", self.handshake_timeout),
            ("limits.idle_timeout", self.idle_timeout),
            ("limits.frame_timeout", self.frame_timeout),
            ("limits.shutdown_grace", self.shutdown_grace),
        ] {
            if value.is_zero() || value > day {
                return Err(ConfigError {
                    key,
                    value: format!("{value:?}"),
                    problem: "must be above zero and at most a day".into(),
                });
            }
        }
        Ok(())
    }
}

fn within(
    key: &'static str,
    value: u64,
    least: u64,
    most: u64,
    unit: &str,
) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError {
        key,
        value: value.to_string(),
        problem: format!("must be between {least} and {most} {unit}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut ServerConfig)) -> ConfigError {
        let mut config = ServerConfig::default();
        change(&mut config);
        config.validate().unwrap_err()
    }

    #[test]
    fn defaults_are_valid_and_listen_on_loopback() {
        let config = ServerConfig::default();
        assert_eq!(config.validate(), Ok(()));
        assert!(config.listen.ip().is_loopback());
        assert!(config.http.is_some_and(|http| http.ip().is_loopback()));
    }

    #[test]
    fn a_refusal_names_key_value_and_rule() {
        let error = refused(|config| config.shards = 0);
        assert_eq!(error.to_string(), "server.shards = 0: must be between 1 and 256 cores");
    }

    #[test]
    fn ports_of_shards_must_exist_and_leave_http_alone() {
        let error = refused(|config| {
            config.shards = 4;
            config.listen.set_port(65_533);
        });
        assert_eq!(error.key, "server.listen");
        let error = refused(|config| {
            config.shards = 4;
            config.http = Some(SocketAddr::from(([127, 0, 0, 1], 7404)));
        });
        assert_eq!(error.key, "http.listen");
    }

    #[test]
    fn every_rule_of_the_rest_is_enforced() {
        let keys = [
            refused(|config| config.node_name = String::new()).key,
            refused(|config| config.advertised = Some("a\nb".into())).key,
            refused(|config| config.node_id = Some(0)).key,
            refused(|config| config.cluster_id = Some(0)).key,
            refused(|config| config.ids.slots = SlotSet::EMPTY).key,
            refused(|config| config.ids.not_before_unix_ms = u64::MAX).key,
            refused(|config| config.data = DataConfig::Dir(PathBuf::new())).key,
            refused(|config| config.data = DataConfig::MemoryOnly { max_memory: 1 }).key,
            refused(|config| config.memory.in_flight_bytes_max = 1).key,
            refused(|config| config.limits.credit_requests = 0).key,
            refused(|config| config.limits.idle_timeout = Duration::ZERO).key,
            refused(|config| config.housekeeping.interval = Duration::ZERO).key,
            refused(|config| config.housekeeping.io_bytes_per_second = 0).key,
            refused(|config| config.housekeeping.scrub_bytes_per_second = u64::MAX).key,
            refused(|config| config.housekeeping.compaction_memory_bytes = 1).key,
            refused(|config| config.housekeeping.compaction_dirty_percent = 101).key,
        ];
        let expected = [
            "server.node_name",
            "server.advertised",
            "server.node_id",
            "server.cluster_id",
            "ids.slots",
            "ids.not_before",
            "server.data_dir",
            "server.max_memory",
            "memory.in_flight_bytes_max",
            "limits.credit_requests",
            "limits.idle_timeout",
            "housekeeping.interval",
            "housekeeping.io_bytes_per_second",
            "scrub.bytes_per_second",
            "compaction.memory_bytes",
            "compaction.dirty_percent",
        ];
        assert_eq!(keys, expected);
    }
}
