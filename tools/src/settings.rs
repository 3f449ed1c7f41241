//! The settings of `pyralog`: one table of keys, strict layers over it, and the typed result.
//!
//! Layers, weakest first: the default, the TOML file, the environment (`PYRALOG__SECTION__KEY`),
//! `--set section.key=value`, flags. Every layer goes through the same parser, so a value means the
//! same wherever it stands, and every value remembers where it came from so that an error can point
//! at the line to change. An unknown key is an error that names the nearest known one: a setting that
//! is silently ignored is worse than one that is refused.

mod check;
mod key;
mod layers;
mod print;
mod toml_file;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use pyralog_shard::{
    DataConfig, HousekeepingConfig, IdsConfig, MemoryConfig, ServerConfig, ServerLimits, TierConfig,
};
use pyralog_store::StoreConfig;
use pyralog_wire::config::LogConfig;

pub(crate) use check::{Finding, Machine, Severity, check};
pub(crate) use layers::Layers;
use layers::Origin;
pub(crate) use print::{print_default, print_reference};

/// Every setting with its final value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What the server is started with.
    pub(crate) server: ServerConfig,
    /// Whether somebody set the memory of a memory-only server.
    pub(crate) max_memory_set: bool,
    /// What a new log gets when its creator does not say.
    pub(crate) log_defaults: LogConfig,
    /// Smallest level of log lines that are printed.
    pub(crate) log_level: &'static str,
    /// `text` or `json`.
    pub(crate) log_format: &'static str,
    /// Where clients look for a server.
    pub(crate) servers: Vec<String>,
    /// How long a client command waits for an answer.
    pub(crate) timeout: Duration,
}

impl Settings {
    /// The values of `layers`, typed.
    ///
    /// # Panics
    /// If a key named here is missing in the table or has another kind: a mistake of this crate, which
    /// the test `every_key_is_typed` would show.
    pub(crate) fn from_layers(layers: &Layers) -> Self {
        Self {
            server: server(layers),
            max_memory_set: *layers.origin("server.max_memory") != Origin::Default,
            log_defaults: LogConfig {
                partitions: layers.number("logs.partitions"),
                durability: layers
                    .choice("logs.durability")
                    .parse()
                    .expect("the kind allows only names"),
                segment_bytes: layers.size("logs.segment_bytes"),
                ..LogConfig::default()
            },
            log_level: layers.choice("observability.log_level"),
            log_format: layers.choice("observability.log_format"),
            servers: layers.list("client.servers").to_vec(),
            timeout: layers.duration("client.timeout"),
        }
    }
}

fn server(layers: &Layers) -> ServerConfig {
    let shards: usize = layers.number("server.shards");
    let node_id = layers.integer("server.node_id");
    let data = if layers.flag("server.memory_only") {
        DataConfig::MemoryOnly { max_memory: layers.size("server.max_memory") }
    } else {
        DataConfig::Dir(PathBuf::from(layers.text("server.data_dir")))
    };
    ServerConfig {
        listen: layers.address("server.listen").expect("server.listen has no `off`"),
        advertised: Some(layers.text("server.advertised").to_owned()).filter(|a| !a.is_empty()),
        shards: if shards == 0 { ServerConfig::available_shards() } else { shards },
        pin: layers.flag("server.pin"),
        data,
        http: layers.address("http.listen"),
        spin: layers.duration("server.spin"),
        node_id: Some(node_id).filter(|id| *id != 0),
        cluster_id: Some(layers.integer("server.cluster_id")).filter(|id| *id != 0),
        role: layers.choice("server.role").parse().expect("the kind allows only roles"),
        ids: IdsConfig {
            slots: layers.slots("ids.slots"),
            accept_clock: layers.flag("ids.accept_clock"),
            not_before_unix_ms: layers.integer("ids.not_before"),
        },
        node_name: layers.text("server.node_name").to_owned(),
        memory: MemoryConfig {
            io_bytes: usize::try_from(layers.size("memory.io_bytes")).unwrap_or(usize::MAX),
            in_flight_bytes_max: layers.size("memory.in_flight_bytes_max"),
            fetched_bytes_max: layers.size("memory.fetched_bytes_max"),
            tail_bytes: layers.size("memory.tail_bytes"),
            memory_log_bytes_max: layers.size("memory.memory_log_bytes_max"),
        },
        limits: ServerLimits {
            connections_max: layers.number("limits.connections_max"),
            handshake_timeout: layers.duration("limits.handshake_timeout"),
            idle_timeout: layers.duration("limits.idle_timeout"),
            frame_timeout: layers.duration("limits.frame_timeout"),
            credit_requests: layers.number("limits.credit_requests"),
            credit_bytes: layers.size("limits.credit_bytes"),
            outbox_bytes_max: layers.size("limits.outbox_bytes_max"),
            shutdown_grace: layers.duration("limits.shutdown_grace"),
        },
        housekeeping: HousekeepingConfig {
            interval: layers.duration("housekeeping.interval"),
            io_bytes_per_second: layers.size("housekeeping.io_bytes_per_second"),
            scrub_bytes_per_second: layers.size("scrub.bytes_per_second"),
            compaction_memory_bytes: layers.size("compaction.memory_bytes"),
            compaction_dirty_percent: u32::try_from(layers.integer("compaction.dirty_percent"))
                .unwrap_or(u32::MAX),
        },
        tier: tier(layers),
        checkpoint_interval: layers.duration("integrity.checkpoint_interval"),
    }
}

/// The object store, if one is named. Its credentials are those of the environment, as its provider's tools take them.
fn tier(layers: &Layers) -> Option<TierConfig> {
    let url = layers.text("tier.url");
    if url.is_empty() {
        return None;
    }
    let environment = std::env::vars().filter(|(name, _)| StoreConfig::takes_variable(name));
    let store = StoreConfig {
        url: url.to_owned(),
        endpoint: Some(layers.text("tier.endpoint").to_owned()).filter(|text| !text.is_empty()),
        environment: environment.collect(),
    };
    Some(TierConfig { store, cache_bytes: layers.size("tier.cache_bytes") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_typed_and_the_defaults_are_those_of_the_server() {
        let settings = Settings::from_layers(&Layers::default());
        let mut expected = ServerConfig::default();
        // The library derives these two from the largest frame; here they are round numbers.
        assert!(settings.server.memory.fetched_bytes_max >= expected.memory.fetched_bytes_max);
        assert!(settings.server.limits.outbox_bytes_max >= expected.limits.outbox_bytes_max);
        expected.memory.fetched_bytes_max = settings.server.memory.fetched_bytes_max;
        expected.limits.outbox_bytes_max = settings.server.limits.outbox_bytes_max;
        assert_eq!(settings.server, expected);
        assert_eq!(settings.log_defaults, LogConfig { partitions: 4, ..LogConfig::default() });
        assert_eq!(settings.servers, ["127.0.0.1:7400"]);
    }

    #[test]
    fn defaults_bind_to_loopback_only() {
        let server = Settings::from_layers(&Layers::default()).server;
        assert!(server.listen.ip().is_loopback());
        assert!(server.http.is_some_and(|address| address.ip().is_loopback()));
    }

    #[test]
    fn limits_of_the_keys_are_those_of_the_server() {
        for key in key::KEYS {
            let smallest = match key.kind {
                value::Kind::Size { min, .. } | value::Kind::Integer { min, .. } => min.to_string(),
                value::Kind::Duration { min_ns, .. } => format!("{min_ns}ns"),
                _ => continue,
            };
            let mut layers = Layers::default();
            layers.assignment("server.shards=1");
            layers.assignment(&format!("{}={smallest}", key.name));
            assert_eq!(layers.problems(), []);
            let settings = Settings::from_layers(&layers);
            assert_eq!(settings.server.validate(), Ok(()), "{} = {smallest}", key.name);
            assert_eq!(settings.log_defaults.check(), Ok(()), "{} = {smallest}", key.name);
        }
    }
}
