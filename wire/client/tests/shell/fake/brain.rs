//! The state of the small server: logs, sessions, and what goes wrong next.

use std::collections::{BTreeMap, HashMap, VecDeque};

use pyralog_client::{
    CompactionInfo, ErrorCode, ErrorDetail, ErrorReply, LogConfig, LogDescription, LogId, LogRoute,
    NodeStats, Offset, PartitionId, PartitionInfo, ScarabId, Slot, StoreInfo, Tick, Timestamp,
};
use pyralog_log::batch::{Batch, Items, Owner, seal};
use pyralog_log::ids::Epoch;
use pyralog_wire::message::{
    Append, Appended, Deleted, Fetch, FetchFrom, FetchKey, Fetched, FindOffset, KeyFetched,
    LogPage, Metadata, OffsetFound, Pong, Routes,
};
use pyralog_wire::{Request, Response};
use tokio::sync::{mpsc, watch};

use super::sequences::Sequences;
use super::{Ask, Deed, Fault, Manners, shards};

#[derive(Debug, Default)]
struct Partition {
    low: u64,
    /// Sealed batches with their offsets.
    batches: Vec<(u64, u64, Vec<u8>)>,
    /// Next sequence and appended batches of each session.
    sessions: HashMap<u64, (u64, HashMap<u64, u64>)>,
}

impl Partition {
    fn high(&self) -> u64 {
        self.batches.last().map_or(self.low, |(_, next, _)| *next)
    }
}

#[derive(Debug)]
struct Log {
    id: LogId,
    config: LogConfig,
    partitions: Vec<Partition>,
}

/// Owns all state.
pub(super) struct Brain {
    port: u16,
    logs: BTreeMap<String, Log>,
    logs_made: u64,
    append_faults: VecDeque<Fault>,
    fetch_faults: VecDeque<Fault>,
    key_faults: VecDeque<Fault>,
    sequences: Sequences,
    fetches: u64,
    changed: watch::Sender<()>,
    cluster: watch::Sender<u64>,
}

impl Brain {
    pub(super) fn new(
        manners: Manners,
        port: u16,
        (changed, cluster): (watch::Sender<()>, watch::Sender<u64>),
    ) -> Self {
        Self {
            port,
            logs: BTreeMap::new(),
            logs_made: 0,
            append_faults: manners.append_faults.iter().copied().collect(),
            fetch_faults: manners.fetch_faults.iter().copied().collect(),
            key_faults: manners.key_faults.iter().copied().collect(),
            sequences: Sequences::new(manners),
            fetches: 0,
            changed,
            cluster,
        }
    }

    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        while let Some(ask) = asks.recv().await {
            match ask {
                Ask::Carry(request, payload, reply) => {
                    let deed = self.carry(&request, payload);
                    drop(reply.send(deed));
                }
                Ask::Values(partition, reply) => drop(reply.send(self.values(partition))),
                Ask::Fetches(reply) => drop(reply.send(self.fetches)),
                Ask::Reborn(logs) => {
                    (self.logs, self.logs_made) = (BTreeMap::new(), 0);
                    for log in logs {
                        self.create(log, LogConfig::default());
                    }
                    self.cluster.send_modify(|cluster| *cluster += 1);
                }
                Ask::AppendFault(fault) => self.append_faults.push_back(fault),
                Ask::DealFault(fault) => self.sequences.deal_faults.push_back(fault),
                Ask::Deals(reply) => drop(reply.send(self.sequences.deals)),
                Ask::ForgetCounters => self.sequences.forget(),
                Ask::Hangup => self.cluster.send_modify(|_cluster| ()),
                Ask::Trim(partition, low) => {
                    let partition = self.first(partition);
                    partition.low = low;
                    partition.batches.retain(|(_, next, _)| *next > low);
                }
            }
        }
    }

    fn first(&mut self, partition: u32) -> &mut Partition {
        let log = self.logs.values_mut().next().unwrap();
        &mut log.partitions[partition as usize]
    }

    fn values(&mut self, partition: u32) -> Vec<String> {
        let mut decoder = pyralog_log::batch::Decoder::new();
        let mut values = Vec::new();
        for (_, _, bytes) in &self.first(partition).batches {
            let batch = Batch::parse(bytes).unwrap();
            for row in decoder.rows(&batch).unwrap().iter() {
                values.push(String::from_utf8(row.value.unwrap_or_default().to_vec()).unwrap());
            }
        }
        values
    }

    fn carry(&mut self, request: &Request, payload: Vec<u8>) -> Deed {
        match request {
            Request::Append(append) => self.faulty_append(append, payload),
            Request::Fetch(fetch) => self.faulty_fetch(fetch),
            Request::FindOffset(find) => self.find(find),
            Request::FetchKey(fetch) => self.faulty_key(fetch),
            Request::Metadata(metadata) => self.metadata(metadata),
            Request::CreateLog(create) => {
                if self.logs.contains_key(&create.name) {
                    return Deed::Refuse(ErrorCode::LogExists.into());
                }
                self.create(&create.name, create.config);
                Deed::Answer(Response::CreateLog(self.describe(&create.name)), Vec::new())
            }
            Request::DeleteLog(delete) => match self.logs.remove(&delete.name) {
                Some(log) => Deed::Answer(Response::DeleteLog(Deleted { id: log.id }), Vec::new()),
                None => Deed::Refuse(ErrorCode::UnknownLog.into()),
            },
            Request::DescribeLog(describe) if self.logs.contains_key(&describe.name) => {
                Deed::Answer(Response::DescribeLog(self.describe(&describe.name)), Vec::new())
            }
            Request::DescribeLog(_) => Deed::Refuse(ErrorCode::UnknownLog.into()),
            Request::ListLogs(list) => {
                // Pages of one.
                let mut names = self.logs.keys().filter(|name| {
                    name.starts_with(&list.prefix) && (list.after.is_empty() || **name > list.after)
                });
                let logs = names.next().map(|name| self.describe(name)).into_iter().collect();
                let page = LogPage { logs, more: names.next().is_some() };
                Deed::Answer(Response::ListLogs(page), Vec::new())
            }
            Request::Ping(ping) => {
                let server_time = Timestamp::new(2_000_000);
                Deed::Answer(Response::Ping(Pong { token: ping.token, server_time }), Vec::new())
            }
            Request::Stats(_) => Deed::Answer(
                Response::Stats(NodeStats {
                    node: 7,
                    server_time: Timestamp::ZERO,
                    uptime_ms: 1,
                    logs: u32::try_from(self.logs.len()).unwrap(),
                    server_version: "fake".to_owned(),
                    shards: Vec::new(),
                }),
                Vec::new(),
            ),
            other => self.sequences.carry(other),
        }
    }

    fn create(&mut self, name: &str, config: LogConfig) {
        self.logs_made += 1;
        let id = LogId::new(self.logs_made);
        let partitions = (0..config.partitions).map(|_| Partition::default()).collect();
        self.logs.insert(name.to_owned(), Log { id, config, partitions });
    }

    fn describe(&self, name: &str) -> LogDescription {
        let log = &self.logs[name];
        let info = |(number, partition): (u32, &Partition)| PartitionInfo {
            partition: PartitionId::new(number),
            shard: 0,
            failed: false,
            segments: 0,
            low: Offset::new(partition.low),
            high: Offset::new(partition.high()),
            end: Offset::new(partition.high()),
            bytes: 0,
            compaction: CompactionInfo::default(),
            store: StoreInfo::default(),
            tree: None,
        };
        LogDescription {
            id: log.id,
            created: Timestamp::ZERO,
            name: name.to_owned(),
            config: log.config,
            partitions: (0..).zip(&log.partitions).map(info).collect(),
        }
    }

    fn metadata(&self, metadata: &Metadata) -> Deed {
        let (mut logs, mut unknown) = (Vec::new(), Vec::new());
        for name in &metadata.names {
            match self.logs.get(name) {
                Some(log) => logs.push(LogRoute {
                    id: log.id,
                    name: name.clone(),
                    config: log.config,
                    shards: (0..log.config.partitions).map(|number| (number % 2) as u16).collect(),
                }),
                None => unknown.push(name.clone()),
            }
        }
        let routes = Routes { version: 1, shards: shards(self.port), logs, unknown };
        Deed::Answer(Response::Metadata(routes), Vec::new())
    }

    fn partition(&mut self, id: LogId, partition: PartitionId) -> Option<&mut Partition> {
        let log = self.logs.values_mut().find(|log| log.id == id)?;
        log.partitions.get_mut(partition.get() as usize)
    }

    fn faulty_append(&mut self, append: &Append, payload: Vec<u8>) -> Deed {
        let fault = self.append_faults.pop_front();
        match fault {
            Some(Fault::CloseBefore) => return Deed::Close,
            Some(Fault::Refuse(code)) => return Deed::Refuse(code.into()),
            Some(Fault::Busy(ms)) => {
                let detail = ErrorDetail::RetryAfter { ms };
                return Deed::Refuse(ErrorReply::from(ErrorCode::Busy).with_detail(detail));
            }
            Some(Fault::ForgetSessions) => {
                for log in self.logs.values_mut() {
                    log.partitions.iter_mut().for_each(|partition| partition.sessions.clear());
                }
            }
            _ => {}
        }
        let deed = match self.append(append, payload) {
            Ok(appended) => Deed::Answer(Response::Append(appended), Vec::new()),
            Err(reply) => Deed::Refuse(reply),
        };
        self.changed.send_replace(());
        match (fault, deed) {
            (Some(Fault::CloseAfter), _) => Deed::Close,
            (Some(Fault::CloseWithin), Deed::Answer(response, _)) => Deed::Break(response),
            (Some(Fault::Swallow), _) => Deed::Nothing,
            (_, deed) => deed,
        }
    }

    fn append(&mut self, append: &Append, mut payload: Vec<u8>) -> Result<Appended, ErrorReply> {
        let partition = self.partition(append.log, append.partition);
        let partition = partition.ok_or(ErrorReply::from(ErrorCode::UnknownLog))?;
        let header = *Batch::parse(&payload).unwrap().verify_unsealed().unwrap().header();
        let session = header.session.expect("producers have sessions");
        let (id, first, count) = (session.id.get(), session.first_sequence, header.record_count);
        let base = partition.high();
        let appended = |base: u64, duplicate| Appended {
            base_offset: Offset::new(base),
            next_offset: Offset::new(base + u64::from(count)),
            append_time: Timestamp::new(5),
            duplicate,
        };
        if !partition.sessions.contains_key(&id) && first > 0 {
            return Err(ErrorCode::UnknownSession.into());
        }
        let (expected, known) = partition.sessions.entry(id).or_default();
        if first > *expected {
            let detail = ErrorDetail::SequenceGap { expected: *expected };
            return Err(ErrorReply::from(ErrorCode::SequenceGap).with_detail(detail));
        }
        if let Some(base) = known.get(&first) {
            return Ok(appended(*base, true));
        }
        assert_eq!(first, *expected);
        *expected += u64::from(count);
        known.insert(first, base);
        let (epoch, base_offset) = (Epoch::new(1), Offset::new(base));
        let append_time = Timestamp::new(i64::try_from(base).unwrap());
        let scarab_base = scarab(base).get();
        seal(&mut payload, Owner { base_offset, epoch, append_time, scarab_base });
        partition.batches.push((base, base + u64::from(count), payload));
        Ok(appended(base, false))
    }

    fn faulty_fetch(&mut self, fetch: &Fetch) -> Deed {
        self.fetches += 1;
        let fault = self.fetch_faults.pop_front();
        match (fault, self.fetch(fetch)) {
            (Some(Fault::CloseBefore), _) => Deed::Close,
            (Some(Fault::Refuse(code)), _) => Deed::Refuse(code.into()),
            (Some(Fault::Damaged(first, next)), _) => {
                let (first, next) = (Offset::new(first), Offset::new(next));
                let detail = ErrorDetail::DataDamaged { first, next };
                Deed::Refuse(ErrorReply::from(ErrorCode::DataDamaged).with_detail(detail))
            }
            (Some(Fault::Corrupt), Deed::Answer(response, mut payload)) => {
                corrupt(&mut payload);
                Deed::Answer(response, payload)
            }
            (Some(Fault::HoldBack), Deed::Answer(response, payload)) => {
                Deed::HoldBack(response, payload)
            }
            (_, deed) => deed,
        }
    }

    fn fetch(&mut self, fetch: &Fetch) -> Deed {
        let Some(partition) = self.partition(fetch.log, fetch.partition) else {
            return Deed::Refuse(ErrorCode::UnknownLog.into());
        };
        let (low, high) = (partition.low, partition.high());
        let from = match fetch.from {
            FetchFrom::Earliest => low,
            FetchFrom::Latest => high,
            FetchFrom::Offset(offset) => offset.get(),
            FetchFrom::Time(time) => {
                let late = |(_, _, bytes): &&(u64, u64, Vec<u8>)| {
                    Batch::parse(bytes).unwrap().header().owner.append_time >= time
                };
                partition.batches.iter().find(late).map_or(high, |(base, _, _)| *base)
            }
        };
        if !(low..=high).contains(&from) {
            let (low, high) = (Offset::new(low), Offset::new(high));
            let detail = ErrorDetail::OffsetOutOfRange { low, high };
            let reply = ErrorReply::from(ErrorCode::OffsetOutOfRange).with_detail(detail);
            return Deed::Refuse(reply);
        }
        // A commit mark comes first, as from a real server.
        let mut payload = Vec::new();
        let (mut first, mut next) = (from, from);
        for (base, end, bytes) in &partition.batches {
            let full = payload.len() + bytes.len() > fetch.bytes_max as usize;
            if *end <= from || (full && next > from) {
                continue;
            }
            if payload.is_empty() {
                first = *base;
                payload.extend_from_slice(b"PYM1");
                payload.resize(64, 0);
            }
            payload.extend_from_slice(bytes);
            next = *end;
        }
        let fetched = Fetched {
            first_offset: Offset::new(first),
            next_offset: Offset::new(next),
            low: Offset::new(low),
            high: Offset::new(high),
        };
        Deed::Answer(Response::Fetch(fetched), payload)
    }

    fn faulty_key(&mut self, fetch: &FetchKey) -> Deed {
        let fault = self.key_faults.pop_front();
        match (fault, self.key(fetch)) {
            (Some(Fault::CloseBefore), _) => Deed::Close,
            (Some(Fault::Refuse(code)), _) => Deed::Refuse(code.into()),
            (Some(Fault::Corrupt), Deed::Answer(response, mut payload)) => {
                corrupt(&mut payload);
                Deed::Answer(response, payload)
            }
            (_, deed) => deed,
        }
    }

    fn key(&mut self, fetch: &FetchKey) -> Deed {
        let Some(partition) = self.partition(fetch.log, fetch.partition) else {
            return Deed::Refuse(ErrorCode::UnknownLog.into());
        };
        let (low, high) = (Offset::new(partition.low), Offset::new(partition.high()));
        let mut decoder = pyralog_log::batch::Decoder::new();
        for (_, _, bytes) in partition.batches.iter().rev() {
            let batch = Batch::parse(bytes).unwrap();
            let rows = decoder.rows(&batch).unwrap();
            if let Some(row) = rows.iter().filter(|row| row.key == Some(&fetch.key[..])).last() {
                let fetched = KeyFetched { found: true, offset: row.offset, low, high };
                return Deed::Answer(Response::FetchKey(fetched), bytes.clone());
            }
        }
        let fetched = KeyFetched { found: false, offset: Offset::ZERO, low, high };
        Deed::Answer(Response::FetchKey(fetched), Vec::new())
    }

    fn find(&mut self, find: &FindOffset) -> Deed {
        let Some(partition) = self.partition(find.log, find.partition) else {
            return Deed::Refuse(ErrorCode::UnknownLog.into());
        };
        let (low, high) = (Offset::new(partition.low), Offset::new(partition.high()));
        let offset = if find.at == FetchFrom::Earliest { low } else { high };
        Deed::Answer(Response::FindOffset(OffsetFound { offset, low, high }), Vec::new())
    }
}

/// The id of the record at an offset. Some batch crosses from one millisecond to the next.
pub(crate) fn scarab(offset: u64) -> ScarabId {
    ScarabId::new(Slot::new(5).unwrap(), Tick::new(8185 + offset).unwrap())
}

/// Changes the first value of the last batch.
fn corrupt(payload: &mut [u8]) {
    let batches = Items::new(payload).batches();
    let last = batches.last().unwrap().unwrap().bytes().len();
    // Values come first in a batch: only the checksum tells.
    let position = payload.len() - last + 2 * pyralog_log::batch::HEADER_BYTES;
    assert!(payload[position].is_ascii_digit(), "a value");
    payload[position] ^= 1;
}
