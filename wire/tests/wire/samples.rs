//! One fixed sample of every message for golden files, and arbitrary ones for properties.

use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, Offset, PartitionId, Timestamp};
use pyralog_wire::config::{Compaction, Integrity, LogChanges, LogConfig, LogStorage, Retention};
use pyralog_wire::message::*;
use pyralog_wire::server::ServerConfig;
use pyralog_wire::{ErrorCode, ErrorDetail, ErrorReply, Kind, Request, Response};
use quickcheck::{Arbitrary, Gen};

/// 2025-01-01T00:00:00Z.
pub(crate) const TIME: Timestamp = Timestamp::new(1_735_689_600_000_000);
const LOG: LogId = LogId::new(7);
const PARTITION: PartitionId = PartitionId::new(3);
/// Half a second after the epoch of ids.
const TICK: u64 = 500 << 13;

fn orders() -> String {
    "orders".to_owned()
}

fn counter_config() -> CounterConfig {
    CounterConfig { mode: CounterMode::Group, ..CounterConfig::default() }
}

fn counter_info(problem: &str) -> CounterInfo {
    CounterInfo {
        name: orders(),
        config: counter_config(),
        shard: 1,
        last: 70_003,
        durable: 131_072,
        generation: 2,
        stride: 1 << 43,
        disk_bytes: 4096,
        problem: problem.to_owned(),
    }
}

/// Every request, by the name of its golden file, with the length of its payload.
pub(crate) fn requests() -> Vec<(&'static str, Request, u32)> {
    let name = || "access-log".to_owned();
    let (log, partition) = (LOG, PARTITION);
    let fetch =
        |from, wait_ms| Fetch { log, partition, from, bytes_min: 1, bytes_max: 1 << 20, wait_ms };
    let changes = LogChanges {
        durability: Some(Durability::Written),
        segment_bytes: None,
        memory_bytes_max: Some(1 << 24),
        ttl_ms: Some(0),
        key_index: Some(true),
        retention_ms: Some(86_400_000),
        local_retention_bytes: Some(1 << 30),
        compaction: Some(false),
        ..LogChanges::default()
    };
    let offset = Offset::new(1000);
    let append = Append { log, partition, durability: None };
    let synced = Append { durability: Some(Durability::Synced), ..append };
    vec![
        ("hello", hello(1, 1).into(), 0),
        ("ping", Ping { token: 0x0102_0304_0506_0708 }.into(), 0),
        ("stats", Stats {}.into(), 0),
        ("append", append.into(), 192),
        ("append-synced", synced.into(), 192),
        ("fetch-earliest", fetch(FetchFrom::Earliest, 0).into(), 0),
        ("fetch-latest", fetch(FetchFrom::Latest, 500).into(), 0),
        ("fetch-offset", fetch(FetchFrom::Offset(Offset::new(1000)), 500).into(), 0),
        ("fetch-time", fetch(FetchFrom::Time(TIME), 0).into(), 0),
        ("find-offset", FindOffset { log, partition, at: FetchFrom::Time(TIME) }.into(), 0),
        ("truncate-log", TruncateLog { log, partition, before: Offset::new(1000) }.into(), 0),
        ("metadata", Metadata { names: vec![name(), "a".to_owned()] }.into(), 0),
        ("create-log", CreateLog { name: name(), config: memory_config() }.into(), 0),
        ("describe-log", DescribeLog { name: name() }.into(), 0),
        ("list-logs", list("access", "access-a").into(), 0),
        ("alter-log", AlterLog { name: name(), changes }.into(), 0),
        ("delete-log", DeleteLog { name: name() }.into(), 0),
        ("fetch-key", FetchKey { log, partition, key: b"alice".to_vec() }.into(), 0),
        ("deal-ids", DealIds { count: 10_000 }.into(), 0),
        ("create-counter", CreateCounter { name: orders(), config: counter_config() }.into(), 0),
        ("take-numbers", TakeNumbers { name: orders(), count: 3 }.into(), 0),
        ("describe-counter", DescribeCounter { name: orders() }.into(), 0),
        (
            "list-counters",
            ListCounters { prefix: "or".into(), after: orders(), limit: 9 }.into(),
            0,
        ),
        ("raise-counter", RaiseCounter { name: orders(), value: 70_000 }.into(), 0),
        ("get-checkpoint", GetCheckpoint { log, partition }.into(), 0),
        ("prove-record", ProveRecord { log, partition, offset, tree_size: 900 }.into(), 0),
        ("prove-consistency", ProveConsistency { log, partition, first: 7, second: 900 }.into(), 0),
        ("read-tree", ReadTree { log, partition, from_node: 128, count: 64 }.into(), 0),
        ("scrub", Scrub { log, partition }.into(), 0),
    ]
}

/// A checkpoint of a tree that stands still.
fn checkpoint_got() -> CheckpointGot {
    CheckpointGot {
        checkpoint: vec![7; 128],
        hashed: Offset::new(2000),
        lag_records: 5,
        fault: "altered".to_owned(),
    }
}

/// Every response, by the name of its golden file, with the length of its payload.
pub(crate) fn responses() -> Vec<(&'static str, Response, u32)> {
    let offset = Offset::new;
    let appended = Appended {
        base_offset: offset(1000),
        next_offset: offset(2000),
        append_time: TIME,
        duplicate: false,
    };
    let fetched = Fetched {
        first_offset: offset(1000),
        next_offset: offset(2000),
        low: offset(0),
        high: offset(2000),
    };
    let found = OffsetFound { offset: offset(1000), low: offset(0), high: offset(2000) };
    let page = LogPage { logs: vec![description(Vec::new())], more: true };
    let key_fetched =
        KeyFetched { found: true, offset: offset(1500), low: offset(0), high: offset(2000) };
    let counters = CounterPage { counters: vec![counter_info("")], more: true };
    let pong = Pong { token: 0x0102_0304_0506_0708, server_time: TIME };
    vec![
        ("welcome", Response::Hello(welcome()), 0),
        ("pong", Response::Ping(pong), 0),
        ("node-stats", Response::Stats(node_stats()), 0),
        ("appended", Response::Append(appended), 0),
        ("appended-duplicate", Response::Append(Appended { duplicate: true, ..appended }), 0),
        ("fetched", Response::Fetch(fetched), 4096),
        ("offset-found", Response::FindOffset(found), 0),
        ("routes", Response::Metadata(routes()), 0),
        ("log-created", Response::CreateLog(description(vec![partition()])), 0),
        ("log-described", Response::DescribeLog(description(vec![partition(); 2])), 0),
        ("log-page", Response::ListLogs(page), 0),
        ("log-altered", Response::AlterLog(description(Vec::new())), 0),
        ("deleted", Response::DeleteLog(Deleted { id: LOG }), 0),
        ("truncated", Response::TruncateLog(Truncated { low: offset(1000) }), 0),
        ("key-fetched", Response::FetchKey(key_fetched), 4096),
        (
            "ids-dealt",
            Response::DealIds(IdsDealt { slot: 1023, first_tick: TICK, count: 10_000 }),
            0,
        ),
        ("counter-created", Response::CreateCounter(counter_info("")), 0),
        ("numbers-taken", Response::TakeNumbers(NumbersTaken { first: 70_001, count: 3 }), 0),
        ("counter-described", Response::DescribeCounter(counter_info("its file is shorter")), 0),
        ("counter-page", Response::ListCounters(counters), 0),
        ("counter-raised", Response::RaiseCounter(counter_info("")), 0),
        ("checkpoint-got", Response::GetCheckpoint(checkpoint_got()), 0),
        ("record-proven", Response::ProveRecord(Proven { proof: vec![1; 41] }), 0),
        ("consistency-proven", Response::ProveConsistency(Proven { proof: vec![0] }), 0),
        ("tree-read", Response::ReadTree(TreeRead { tree_size: 900 }), 2560),
        ("scrubbed", Response::Scrub(scrubbed()), 0),
    ]
}

/// An error with each detail, by the name of its golden file, with the kind it answers.
pub(crate) fn errors() -> Vec<(&'static str, u16, ErrorReply)> {
    let range = ErrorDetail::OffsetOutOfRange { low: Offset::new(10), high: Offset::new(20) };
    let damaged = ErrorDetail::DataDamaged { first: Offset::new(10), next: Offset::new(20) };
    let (append, fetch) = (Kind::Append.number(), Kind::Fetch.number());
    let with = |code: ErrorCode, detail| ErrorReply::from(code).with_detail(detail);
    let versions = ErrorDetail::UnsupportedVersion { min: 1, max: 1 };
    vec![
        ("error-connection", 0, ErrorCode::TimedOut.into()),
        ("error-version", Kind::Hello.number(), with(ErrorCode::UnsupportedVersion, versions)),
        ("error-unknown-kind", 999, ErrorCode::UnknownKind.into()),
        ("error-offset", fetch, with(ErrorCode::OffsetOutOfRange, range)),
        ("error-damaged", fetch, with(ErrorCode::DataDamaged, damaged)),
        ("error-busy", append, with(ErrorCode::Busy, ErrorDetail::RetryAfter { ms: 50 })),
        ("error-not-owner", append, with(ErrorCode::NotOwner, ErrorDetail::NotOwner { shard: 3 })),
        (
            "error-gap",
            append,
            with(ErrorCode::SequenceGap, ErrorDetail::SequenceGap { expected: 8 }),
        ),
    ]
}

pub(crate) fn hello(protocol_min: u16, protocol_max: u16) -> Hello {
    Hello {
        protocol_min,
        protocol_max,
        limits_fingerprint: 0,
        client: "pyralog-rust".to_owned(),
        client_version: "0.1.0".to_owned(),
    }
}

/// As a shell makes it: protocol, limits and fingerprint are the machine's to fill in.
pub(crate) fn welcome() -> Welcome {
    Welcome {
        protocol: 1,
        shard: 1,
        limits_fingerprint: 0,
        node: 0x1111_2222_3333_4444,
        cluster: 0x5555_6666_7777_8888,
        server_time: TIME,
        limits: ServerConfig::default().limits,
        server_version: "0.1.0".to_owned(),
        shards: vec![address(0, 7401), address(1, 7402)],
    }
}

pub(crate) fn list(prefix: &str, after: &str) -> ListLogs {
    ListLogs { prefix: prefix.to_owned(), after: after.to_owned(), limit: 100 }
}

fn address(shard: u16, port: u16) -> ShardAddress {
    ShardAddress { shard, port, host: String::new() }
}

fn memory_config() -> LogConfig {
    LogConfig { partitions: 4, ttl_ms: 60_000, ..LogConfig::memory() }
}

fn routes() -> Routes {
    let name = "access-log".to_owned();
    let config = LogConfig { partitions: 4, ..LogConfig::default() };
    Routes {
        version: 42,
        shards: vec![address(0, 7401), address(1, 7402)],
        logs: vec![LogRoute { id: LOG, name, config, shards: vec![0, 1, 0, 1] }],
        unknown: vec!["a".to_owned()],
    }
}

fn description(partitions: Vec<PartitionInfo>) -> LogDescription {
    let name = "access-log".to_owned();
    LogDescription { id: LOG, created: TIME, name, config: LogConfig::default(), partitions }
}

fn scrubbed() -> Scrubbed {
    let (segment, first, next) = (Offset::new(900), Offset::new(1000), Offset::new(1010));
    let damaged = vec![DamagedRange { segment, first, next }];
    Scrubbed { segments: 2, bytes: 1 << 20, damaged_ranges: 1, damaged }
}

fn partition() -> PartitionInfo {
    PartitionInfo {
        partition: PARTITION,
        shard: 1,
        failed: false,
        segments: 2,
        low: Offset::new(0),
        high: Offset::new(2000),
        end: Offset::new(2500),
        bytes: 1 << 20,
        compaction: CompactionInfo {
            ran: TIME,
            clean: Offset::new(1500),
            bytes: 3 << 20,
            dirty_bytes: 1 << 20,
            removed_records: 600,
            removed_tombstones: 7,
        },
        store: StoreInfo {
            segments: 3,
            bytes: 5 << 20,
            remote_only_segments: 2,
            remote_only_bytes: 4 << 20,
            waiting_segments: 1,
            waiting_bytes: 1 << 19,
        },
        tree: Some(TreeInfo {
            batches: 40,
            lag_records: 9,
            checkpoint_end: Offset::new(1900),
            checkpoint_time: TIME,
            is_failed: false,
        }),
    }
}

fn node_stats() -> NodeStats {
    let shard = ShardStats { shard: 1, partitions: 2, appends: 3, ..ShardStats::default() };
    NodeStats {
        node: 0x1111_2222_3333_4444,
        server_time: TIME,
        uptime_ms: 1000,
        logs: 1,
        server_version: "0.1.0".to_owned(),
        shards: vec![ShardStats::default(), shard],
    }
}

/// Any request that can be encoded; its fields need not be in range.
#[derive(Clone, Debug)]
pub(crate) struct AnyRequest(pub(crate) Request);

/// Any response that can be encoded.
#[derive(Clone, Debug)]
pub(crate) struct AnyResponse(pub(crate) Response);

/// Any error reply that can be encoded.
#[derive(Clone, Debug)]
pub(crate) struct AnyError(pub(crate) ErrorReply);

impl Arbitrary for AnyRequest {
    fn arbitrary(g: &mut Gen) -> Self {
        let log = LogId::new(u64::arbitrary(g));
        let partition = PartitionId::new(u32::arbitrary(g));
        let name = String::arbitrary(g);
        let kind = *g.choose(Kind::ALL).unwrap();
        Self(match kind {
            Kind::Hello => Hello {
                protocol_min: u16::arbitrary(g),
                protocol_max: u16::arbitrary(g),
                limits_fingerprint: u32::arbitrary(g),
                client: name,
                client_version: String::arbitrary(g),
            }
            .into(),
            Kind::Ping => Ping { token: u64::arbitrary(g) }.into(),
            Kind::Stats => Stats {}.into(),
            Kind::Append => Append { log, partition, durability: optional_level(g) }.into(),
            Kind::Fetch => Fetch {
                log,
                partition,
                from: from(g),
                bytes_min: u32::arbitrary(g),
                bytes_max: u32::arbitrary(g),
                wait_ms: u32::arbitrary(g),
            }
            .into(),
            Kind::FindOffset => FindOffset { log, partition, at: from(g) }.into(),
            Kind::Metadata => Metadata { names: Vec::arbitrary(g) }.into(),
            Kind::CreateLog => CreateLog { name, config: config(g) }.into(),
            Kind::DescribeLog => DescribeLog { name }.into(),
            Kind::ListLogs => {
                let after = String::arbitrary(g);
                ListLogs { prefix: name, after, limit: u32::arbitrary(g) }.into()
            }
            Kind::AlterLog => AlterLog { name, changes: changes(g) }.into(),
            Kind::DeleteLog => DeleteLog { name }.into(),
            Kind::TruncateLog => {
                let before = Offset::new(u64::arbitrary(g));
                TruncateLog { log, partition, before }.into()
            }
            Kind::FetchKey => FetchKey { log, partition, key: Vec::arbitrary(g) }.into(),
            Kind::DealIds => DealIds { count: u32::arbitrary(g) }.into(),
            Kind::CreateCounter => CreateCounter { name, config: any_counter_config(g) }.into(),
            Kind::TakeNumbers => TakeNumbers { name, count: u32::arbitrary(g) }.into(),
            Kind::DescribeCounter => DescribeCounter { name }.into(),
            Kind::ListCounters => {
                let after = String::arbitrary(g);
                ListCounters { prefix: name, after, limit: u32::arbitrary(g) }.into()
            }
            Kind::RaiseCounter => RaiseCounter { name, value: u64::arbitrary(g) }.into(),
            Kind::GetCheckpoint => GetCheckpoint { log, partition }.into(),
            Kind::ProveRecord => {
                let offset = Offset::new(u64::arbitrary(g));
                ProveRecord { log, partition, offset, tree_size: u64::arbitrary(g) }.into()
            }
            Kind::ProveConsistency => {
                let (first, second) = Arbitrary::arbitrary(g);
                ProveConsistency { log, partition, first, second }.into()
            }
            Kind::ReadTree => {
                let (from_node, count) = Arbitrary::arbitrary(g);
                ReadTree { log, partition, from_node, count }.into()
            }
            Kind::Scrub => Scrub { log, partition }.into(),
        })
    }
}

impl Arbitrary for AnyResponse {
    fn arbitrary(g: &mut Gen) -> Self {
        let kind = *g.choose(Kind::ALL).unwrap();
        let mut offset = || Offset::new(u64::arbitrary(g));
        let (first, second, low, high) = (offset(), offset(), offset(), offset());
        let time = Timestamp::new(i64::arbitrary(g));
        Self(match kind {
            Kind::Hello => Response::Hello(any_welcome(g)),
            Kind::Ping => Response::Ping(Pong { token: u64::arbitrary(g), server_time: time }),
            Kind::Stats => Response::Stats(any_stats(g)),
            Kind::Append => {
                let duplicate = bool::arbitrary(g);
                let (base_offset, next_offset) = (first, second);
                let append_time = time;
                Response::Append(Appended { base_offset, next_offset, append_time, duplicate })
            }
            Kind::Fetch => {
                Response::Fetch(Fetched { first_offset: first, next_offset: second, low, high })
            }
            Kind::FindOffset => Response::FindOffset(OffsetFound { offset: first, low, high }),
            Kind::Metadata => Response::Metadata(any_routes(g)),
            Kind::CreateLog => Response::CreateLog(any_description(g)),
            Kind::DescribeLog => Response::DescribeLog(any_description(g)),
            Kind::AlterLog => Response::AlterLog(any_description(g)),
            Kind::ListLogs => {
                let logs = several(g, any_description);
                Response::ListLogs(LogPage { logs, more: bool::arbitrary(g) })
            }
            Kind::DeleteLog => Response::DeleteLog(Deleted { id: LogId::new(u64::arbitrary(g)) }),
            Kind::TruncateLog => Response::TruncateLog(Truncated { low }),
            Kind::FetchKey => {
                let found = bool::arbitrary(g);
                Response::FetchKey(KeyFetched { found, offset: first, low, high })
            }
            Kind::DealIds => Response::DealIds(IdsDealt {
                slot: u16::arbitrary(g),
                first_tick: u64::arbitrary(g),
                count: u32::arbitrary(g),
            }),
            Kind::GetCheckpoint => Response::GetCheckpoint(CheckpointGot {
                checkpoint: Vec::arbitrary(g),
                hashed: first,
                lag_records: u64::arbitrary(g),
                fault: String::arbitrary(g),
            }),
            Kind::ProveRecord => Response::ProveRecord(Proven { proof: Vec::arbitrary(g) }),
            Kind::ProveConsistency => {
                Response::ProveConsistency(Proven { proof: Vec::arbitrary(g) })
            }
            Kind::ReadTree => Response::ReadTree(TreeRead { tree_size: u64::arbitrary(g) }),
            Kind::Scrub => Response::Scrub(Scrubbed {
                bytes: u64::arbitrary(g),
                damaged: vec![DamagedRange { segment: low, first, next: second }],
                ..scrubbed()
            }),
            Kind::CreateCounter => Response::CreateCounter(any_counter(g)),
            Kind::TakeNumbers => Response::TakeNumbers(NumbersTaken {
                first: u64::arbitrary(g),
                count: u32::arbitrary(g),
            }),
            Kind::DescribeCounter => Response::DescribeCounter(any_counter(g)),
            Kind::ListCounters => {
                let counters = several(g, any_counter);
                Response::ListCounters(CounterPage { counters, more: bool::arbitrary(g) })
            }
            Kind::RaiseCounter => Response::RaiseCounter(any_counter(g)),
        })
    }
}

impl Arbitrary for AnyError {
    fn arbitrary(g: &mut Gen) -> Self {
        let code = *g.choose(ErrorCode::ALL).unwrap();
        let mut reply = ErrorReply::new(code, String::arbitrary(g));
        let details = [
            ErrorDetail::OffsetOutOfRange {
                low: Offset::new(u64::arbitrary(g)),
                high: Offset::new(u64::arbitrary(g)),
            },
            ErrorDetail::RetryAfter { ms: u64::from(u32::arbitrary(g)) + 1 },
            ErrorDetail::NotOwner { shard: u16::arbitrary(g) },
            ErrorDetail::SequenceGap { expected: u64::arbitrary(g) },
        ];
        match code {
            ErrorCode::OffsetOutOfRange => reply = reply.with_detail(details[0]),
            ErrorCode::Busy | ErrorCode::NoSpace => reply = reply.with_detail(details[1]),
            ErrorCode::NotOwner => reply = reply.with_detail(details[2]),
            ErrorCode::SequenceGap => reply = reply.with_detail(details[3]),
            ErrorCode::DataDamaged => {
                let (first, next) = (Offset::new(u64::arbitrary(g)), Offset::new(9));
                reply = reply.with_detail(ErrorDetail::DataDamaged { first, next });
            }
            ErrorCode::UnsupportedVersion => {
                let (min, max) = (u16::arbitrary(g), u16::arbitrary(g));
                reply = reply.with_detail(ErrorDetail::UnsupportedVersion { min, max });
            }
            _ => {}
        }
        Self(reply)
    }
}

fn several<T>(g: &mut Gen, one: impl Fn(&mut Gen) -> T) -> Vec<T> {
    let count = usize::arbitrary(g) % 5;
    (0..count).map(|_| one(g)).collect()
}

fn optional_level(g: &mut Gen) -> Option<Durability> {
    bool::arbitrary(g).then(|| *g.choose(&Durability::ALL).unwrap())
}

fn from(g: &mut Gen) -> FetchFrom {
    match u8::arbitrary(g) % 4 {
        0 => FetchFrom::Earliest,
        1 => FetchFrom::Latest,
        2 => FetchFrom::Offset(Offset::new(u64::arbitrary(g))),
        _ => FetchFrom::Time(Timestamp::new(i64::arbitrary(g))),
    }
}

fn config(g: &mut Gen) -> LogConfig {
    LogConfig {
        partitions: u32::arbitrary(g),
        durability: *g.choose(&Durability::ALL).unwrap(),
        storage: *g.choose(&[LogStorage::Durable, LogStorage::Memory]).unwrap(),
        segment_bytes: u64::arbitrary(g),
        memory_bytes_max: u64::arbitrary(g),
        ttl_ms: u64::arbitrary(g),
        key_index: bool::arbitrary(g),
        segment_age_ms: u64::arbitrary(g),
        retention: Retention {
            age_ms: u64::arbitrary(g),
            bytes: u64::arbitrary(g),
            local_age_ms: u64::arbitrary(g),
            local_bytes: u64::arbitrary(g),
        },
        compaction: Compaction {
            is_on: bool::arbitrary(g),
            lag_ms: u64::arbitrary(g),
            tombstone_ms: u64::arbitrary(g),
        },
        is_tiered: bool::arbitrary(g),
        integrity: *g.choose(&Integrity::ALL).unwrap(),
    }
}

fn changes(g: &mut Gen) -> LogChanges {
    LogChanges {
        durability: optional_level(g),
        segment_bytes: Option::arbitrary(g),
        memory_bytes_max: Option::arbitrary(g),
        ttl_ms: Option::arbitrary(g),
        key_index: Option::arbitrary(g),
        segment_age_ms: Option::arbitrary(g),
        retention_ms: Option::arbitrary(g),
        retention_bytes: Option::arbitrary(g),
        local_retention_ms: Option::arbitrary(g),
        local_retention_bytes: Option::arbitrary(g),
        compaction: Option::arbitrary(g),
        compaction_lag_ms: Option::arbitrary(g),
        tombstone_ms: Option::arbitrary(g),
        is_tiered: Option::arbitrary(g),
    }
}

fn any_address(g: &mut Gen) -> ShardAddress {
    let host = String::arbitrary(g);
    ShardAddress { shard: u16::arbitrary(g), port: u16::arbitrary(g), host }
}

fn any_welcome(g: &mut Gen) -> Welcome {
    Welcome {
        protocol: u16::arbitrary(g),
        node: u64::arbitrary(g),
        limits: ConnectionLimits {
            credit_requests: u32::arbitrary(g),
            credit_bytes: u64::arbitrary(g),
            ..ServerConfig::default().limits
        },
        server_version: String::arbitrary(g),
        shards: several(g, any_address),
        ..welcome()
    }
}

fn any_stats(g: &mut Gen) -> NodeStats {
    let shard = |g: &mut Gen| ShardStats {
        shard: u16::arbitrary(g),
        appended_bytes: u64::arbitrary(g),
        append_max_us: u64::arbitrary(g),
        ..ShardStats::default()
    };
    let server_version = String::arbitrary(g);
    NodeStats { server_version, shards: several(g, shard), ..node_stats() }
}

fn any_routes(g: &mut Gen) -> Routes {
    let route = |g: &mut Gen| LogRoute {
        id: LogId::new(u64::arbitrary(g)),
        name: String::arbitrary(g),
        config: config(g),
        shards: Vec::arbitrary(g),
    };
    Routes {
        version: u64::arbitrary(g),
        shards: several(g, any_address),
        logs: several(g, route),
        unknown: Vec::arbitrary(g),
    }
}

fn any_description(g: &mut Gen) -> LogDescription {
    let info = |g: &mut Gen| PartitionInfo {
        partition: PartitionId::new(u32::arbitrary(g)),
        shard: u16::arbitrary(g),
        failed: bool::arbitrary(g),
        high: Offset::new(u64::arbitrary(g)),
        tree: partition().tree.filter(|_| bool::arbitrary(g)),
        ..partition()
    };
    LogDescription {
        id: LogId::new(u64::arbitrary(g)),
        created: Timestamp::new(i64::arbitrary(g)),
        name: String::arbitrary(g),
        config: config(g),
        partitions: several(g, info),
    }
}

fn any_counter_config(g: &mut Gen) -> CounterConfig {
    let (mode, _) = *g.choose(&CounterMode::NAMES).unwrap();
    CounterConfig { mode, block: u64::arbitrary(g), interval_ms: u32::arbitrary(g) }
}

fn any_counter(g: &mut Gen) -> CounterInfo {
    CounterInfo {
        name: String::arbitrary(g),
        config: any_counter_config(g),
        shard: u16::arbitrary(g),
        last: u64::arbitrary(g),
        durable: u64::arbitrary(g),
        generation: u32::arbitrary(g),
        stride: u64::arbitrary(g),
        disk_bytes: u64::arbitrary(g),
        problem: String::arbitrary(g),
    }
}
