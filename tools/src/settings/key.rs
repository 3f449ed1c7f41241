//! The table of keys: name, kind, default and text, from which parsing, help and docs are made.

use pyralog_log::limits::TIER_CACHE_BYTES_MIN;
use pyralog_seq::scarab;
use pyralog_wire::limits as wire;

use super::value::Kind;

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// `section.key`.
    pub(crate) name: &'static str,
    /// What values it takes.
    pub(crate) kind: Kind,
    /// Its default, as it would stand after `--set name=`.
    pub(crate) default: &'static str,
    /// What it does, in lines of at most 90 columns.
    pub(crate) doc: &'static [&'static str],
}

impl Key {
    /// The part before the dot.
    pub(crate) fn section(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(section, _)| section)
    }

    /// The part after the dot.
    pub(crate) fn leaf(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, leaf)| leaf)
    }
}

/// What each section is about, in the order in which they are printed.
pub(crate) const SECTIONS: [(&str, &str); 13] = [
    (
        "server",
        "The node: who it is, where its data lives, where it listens, how many cores it uses.",
    ),
    ("ids", "What this server deals Scarab ids from, see docs/SEQUENCERS.md."),
    ("integrity", "Logs with proofs, see docs/PROOFS.md."),
    ("http", "Metrics and health."),
    ("memory", "Memory budgets, of each shard unless said otherwise."),
    ("limits", "Limits of connections."),
    (
        "housekeeping",
        "What the background does: retention, and all else that keeps logs within their bounds.",
    ),
    ("scrub", "Reading closed segments again to find damage, see docs/OPERATIONS.md."),
    ("tier", "The object store for closed segments of tiered logs, see docs/OPERATIONS.md."),
    ("compaction", "How logs are compacted that keep the newest record of each key."),
    ("logs", "What `pyralog log create` gives a new log when its flags do not say."),
    ("observability", "What the server prints."),
    ("client", "Defaults of the client commands (log, produce, consume, status)."),
];

/// Largest frame of the protocol: no byte budget of a connection or shard may be below it.
const FRAME_BYTES: u64 = wire::FRAME_BYTES_MAX as u64;

/// A whole frame beside a small answer for each request that a connection may have in flight by
/// default; with more credit the server asks for more.
const OUTBOX_BYTES_MIN: u64 =
    FRAME_BYTES + wire::CREDIT_REQUESTS as u64 * wire::SMALL_REPLY_BYTES_MAX as u64;
const CREDIT_REQUESTS_MAX: u64 = wire::CREDIT_REQUESTS_MAX as u64;
const PARTITIONS_MAX: u64 = wire::PARTITIONS_MAX as u64;
const DAY_NS: u64 = 86_400_000_000_000;

/// Every key, in the order in which it is printed.
pub(crate) const KEYS: &[Key] = &[
    Key {
        name: "server.node_name",
        kind: Kind::Text { bytes_max: 255 },
        default: "pyralog",
        doc: &["Name of this node, for people: it appears in logs, metrics and `pyralog status`."],
    },
    Key {
        name: "server.node_id",
        kind: Kind::Integer { min: 0, max: (1 << 53) - 1 },
        default: "0",
        doc: &[
            "Number that the data directory must belong to. 0 = the one stored there, or a new one.",
        ],
    },
    Key {
        name: "server.cluster_id",
        kind: Kind::Integer { min: 0, max: (1 << 53) - 1 },
        default: "0",
        doc: &[
            "Cluster that the data directory must belong to: the same for all nodes that deal ids of one",
            "cluster. 0 = the one stored there, or a new one.",
        ],
    },
    Key {
        name: "server.role",
        kind: Kind::Choice(&["all", "pyramid", "obelisk"]),
        default: "all",
        doc: &[
            "\"pyramid\" = stores records, \"obelisk\" = deals ids and numbers of counters and stores",
            "no records, \"all\" = both.",
        ],
    },
    Key {
        name: "server.data_dir",
        kind: Kind::Path,
        default: "pyralog-data",
        doc: &[
            "Directory of all data, made if missing; relative to where `pyralog serve` is started.",
            "ext4 or xfs on a local disk. One running server per directory.",
        ],
    },
    Key {
        name: "server.memory_only",
        kind: Kind::Flag,
        default: "false",
        doc: &["Keep everything in memory and write nothing: a cache with the same API."],
    },
    Key {
        name: "server.max_memory",
        kind: Kind::Size { min: wire::MEMORY_BYTES_MIN, max: wire::MEMORY_BYTES_MAX },
        default: "4GiB",
        doc: &["Bytes of records that a memory-only server keeps before the oldest are dropped."],
    },
    Key {
        name: "server.listen",
        kind: Kind::Address { off: false },
        default: "127.0.0.1:7400",
        doc: &[
            "Native protocol. Shard i listens on this port + 1 + i as well. Port 0 = any free ports.",
        ],
    },
    Key {
        name: "server.advertised",
        kind: Kind::Host,
        default: "",
        doc: &[
            "Host that clients are told to connect to, when it differs from the one they used",
            "(behind NAT or in a container). Empty = the one they used.",
        ],
    },
    Key {
        name: "server.shards",
        kind: Kind::Integer { min: 0, max: 256 },
        default: "0",
        doc: &[
            "Executors, one per core, nothing shared between them. 0 = one per processor.",
            "May change between restarts.",
        ],
    },
    Key {
        name: "server.pin",
        kind: Kind::Flag,
        default: "true",
        doc: &["Bind each executor to a processor. Turn off when the machine is shared."],
    },
    Key {
        name: "server.spin",
        kind: Kind::Duration { min_ns: 0, max_ns: 10_000_000 },
        default: "50us",
        doc: &[
            "How long an idle executor looks for work before it sleeps, at most 10ms. More = lower",
            "latency and a processor that is never idle.",
        ],
    },
    Key {
        name: "ids.slots",
        kind: Kind::Slots,
        default: "0-1023",
        doc: &[
            "Slots of the cluster that this server deals ids from. Two servers of a cluster must not",
            "share one: with a second server give each its own, such as 0-511 and 512-1023.",
        ],
    },
    Key {
        name: "ids.not_before",
        kind: Kind::Integer { min: 0, max: scarab::EXHAUSTED_UNIX_MS },
        default: "0",
        doc: &[
            "Deal no id with a time before this, in milliseconds since 1970. Set it above the high-water",
            "mark of another server when taking over its slots (`pyralog obelisk stat` shows it).",
        ],
    },
    Key {
        name: "ids.accept_clock",
        kind: Kind::Flag,
        default: "false",
        doc: &[
            "Believe the clock at the start although it is far ahead of the last id dealt (a month).",
        ],
    },
    Key {
        name: "integrity.checkpoint_interval",
        kind: Kind::Duration { min_ns: 10_000_000, max_ns: 3_600_000_000_000 },
        default: "1s",
        doc: &[
            "How often a partition of a log with proofs makes a checkpoint, if it has grown. Costs two",
            "syncs and a signature; what came after the newest one cannot be proven yet.",
        ],
    },
    Key {
        name: "http.listen",
        kind: Kind::Address { off: true },
        default: "127.0.0.1:7480",
        doc: &["Metrics and health (/metrics /healthz /readyz /status), or \"off\"."],
    },
    Key {
        name: "memory.io_bytes",
        kind: Kind::Size { min: 1 << 20, max: 64 << 30 },
        default: "256MiB",
        doc: &["Buffers for direct I/O, taken at the start; the tail caches live in them."],
    },
    Key {
        name: "memory.in_flight_bytes_max",
        kind: Kind::Size { min: 2 * FRAME_BYTES, max: wire::MEMORY_BYTES_MAX },
        default: "128MiB",
        doc: &[
            "Appends in work. When it is used up, appends are answered with `busy` and clients wait.",
        ],
    },
    Key {
        name: "memory.fetched_bytes_max",
        kind: Kind::Size { min: FRAME_BYTES, max: wire::MEMORY_BYTES_MAX },
        default: "144MiB",
        doc: &["Records on their way to slow readers."],
    },
    Key {
        name: "memory.tail_bytes",
        kind: Kind::Size { min: 1 << 20, max: wire::MEMORY_BYTES_MAX },
        default: "128MiB",
        doc: &[
            "Newest records of all partitions, kept to serve readers at the tail without the disk.",
        ],
    },
    Key {
        name: "memory.memory_log_bytes_max",
        kind: Kind::Size { min: 0, max: wire::MEMORY_BYTES_MAX },
        default: "4GiB",
        doc: &["Records of all memory logs together (of the whole node, not per shard)."],
    },
    Key {
        name: "limits.connections_max",
        kind: Kind::Integer { min: 1, max: 65_536 },
        default: "1024",
        doc: &["Connections of each shard."],
    },
    Key {
        name: "limits.credit_requests",
        kind: Kind::Integer { min: 1, max: CREDIT_REQUESTS_MAX },
        default: "256",
        doc: &["Requests that one connection may have in flight."],
    },
    Key {
        name: "limits.credit_bytes",
        kind: Kind::Size { min: FRAME_BYTES, max: 1 << 32 },
        default: "32MiB",
        doc: &["Bytes that one connection may have in flight."],
    },
    Key {
        name: "limits.outbox_bytes_max",
        kind: Kind::Size { min: OUTBOX_BYTES_MIN, max: 1 << 32 },
        default: "36MiB",
        doc: &["Answers waiting for one connection before its requests wait."],
    },
    Key {
        name: "limits.handshake_timeout",
        kind: Kind::Duration { min_ns: 1, max_ns: DAY_NS },
        default: "10s",
        doc: &["Time from accept to a complete handshake."],
    },
    Key {
        name: "limits.idle_timeout",
        kind: Kind::Duration { min_ns: 1, max_ns: DAY_NS },
        default: "5min",
        doc: &["Silence after which a connection is closed."],
    },
    Key {
        name: "limits.frame_timeout",
        kind: Kind::Duration { min_ns: 1, max_ns: DAY_NS },
        default: "1min",
        doc: &["Time within which a request that has begun must be complete."],
    },
    Key {
        name: "limits.shutdown_grace",
        kind: Kind::Duration { min_ns: 1, max_ns: DAY_NS },
        default: "5s",
        doc: &["How long a stop waits for clients to take their last answers."],
    },
    Key {
        name: "housekeeping.interval",
        kind: Kind::Duration { min_ns: 10_000_000, max_ns: DAY_NS },
        default: "1min",
        doc: &[
            "Time between two rounds through the partitions of a core; an altered log has one at once.",
        ],
    },
    Key {
        name: "housekeeping.io_bytes_per_second",
        kind: Kind::Size { min: 1 << 20, max: wire::MEMORY_BYTES_MAX },
        default: "64MiB",
        doc: &["Bytes per second that the background reads and writes, on each core."],
    },
    Key {
        name: "scrub.bytes_per_second",
        kind: Kind::Size { min: 0, max: wire::MEMORY_BYTES_MAX },
        default: "8MiB",
        doc: &["Bytes per second that are read again on each core, all day long. 0 = off."],
    },
    Key {
        name: "tier.url",
        kind: Kind::Url,
        default: "",
        doc: &[
            "Where closed segments of tiered logs go: \"file:///path\", \"s3://bucket/prefix\",",
            "\"gs://bucket/prefix\" or \"az://container/prefix\". Credentials come from the variables that",
            "the tools of each provider use (AWS_*, GOOGLE_*, AZURE_*). Empty = no object store.",
        ],
    },
    Key {
        name: "tier.endpoint",
        kind: Kind::Url,
        default: "",
        doc: &[
            "Another server that speaks the protocol of tier.url: \"http://127.0.0.1:9000\".",
            "Empty = the provider's own.",
        ],
    },
    Key {
        name: "tier.cache_bytes",
        kind: Kind::Size { min: TIER_CACHE_BYTES_MIN, max: wire::MEMORY_BYTES_MAX },
        default: "64MiB",
        doc: &["Memory of each shard for what is read of the object store."],
    },
    Key {
        name: "compaction.memory_bytes",
        kind: Kind::Size { min: 1 << 20, max: wire::MEMORY_BYTES_MAX },
        default: "64MiB",
        doc: &["Memory for keys on each core, 32 bytes each; more keys take more passes."],
    },
    Key {
        name: "compaction.dirty_percent",
        kind: Kind::Integer { min: 0, max: 100 },
        default: "50",
        doc: &["How much of the closed bytes of a partition must be new before it is compacted."],
    },
    Key {
        name: "logs.partitions",
        kind: Kind::Integer { min: 1, max: PARTITIONS_MAX },
        default: "4",
        doc: &["Partitions of a new log: how many cores can work on it at once."],
    },
    Key {
        name: "logs.durability",
        kind: Kind::Choice(&["synced", "written", "memory"]),
        default: "synced",
        doc: &[
            "When an append is acknowledged: \"synced\" = on stable storage (survives power loss),",
            "\"written\" = in the file (survives the process), \"memory\" = in RAM.",
        ],
    },
    Key {
        name: "logs.segment_bytes",
        kind: Kind::Size { min: wire::SEGMENT_BYTES_MIN, max: wire::SEGMENT_BYTES_MAX },
        default: "1GiB",
        doc: &["Size of the files that a partition is cut into, a multiple of 4KiB."],
    },
    Key {
        name: "observability.log_level",
        kind: Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        default: "info",
        doc: &["Least severe log lines that are printed: error, warn, info, debug or trace."],
    },
    Key {
        name: "observability.log_format",
        kind: Kind::Choice(&["text", "json"]),
        default: "text",
        doc: &["\"text\" for people or \"json\" (one object per line) for a collector."],
    },
    Key {
        name: "client.servers",
        kind: Kind::List { items_max: 64 },
        default: "127.0.0.1:7400",
        doc: &["Servers to try, in this order."],
    },
    Key {
        name: "client.timeout",
        kind: Kind::Duration { min_ns: 1_000_000, max_ns: 3_600_000_000_000 },
        default: "10s",
        doc: &["How long to wait for a server and for each answer."],
    },
];

/// The key of that name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_belongs_to_a_printed_section_and_keys_of_one_stand_together() {
        let mut sections: Vec<&str> = KEYS.iter().map(Key::section).collect();
        sections.dedup();
        assert_eq!(sections, SECTIONS.map(|(name, _)| name));
    }

    #[test]
    fn docs_fit_a_terminal_and_names_are_unique() {
        for (index, key) in KEYS.iter().enumerate() {
            assert!(key.doc.iter().all(|line| line.len() <= 92), "{}", key.name);
            assert!(KEYS[..index].iter().all(|other| other.name != key.name), "{}", key.name);
        }
    }
}
