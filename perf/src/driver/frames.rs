//! Bare frames: a batch that was built before, sent again and again without a session.
//!
//! What this measures is the server: no batching, checksumming or retrying of a client is in the way. A thread for each
//! connection sends and receives by blocking calls (two threads in an open loop, so that waiting for an answer does not
//! make anything late). Producer i writes partition i, modulo their number.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use anyhow::Context as _;
use pyralog_log::batch::{BuilderConfig, Record, RowsBuilder};
use pyralog_log::ids::{PartitionId, Timestamp};
use pyralog_wire::Request;
use pyralog_wire::message::{Append, Reply};

use super::Progress;
use super::connection::Connection;
use crate::clock::{Clock, pause};
use crate::payload::Records;
use crate::recorder::{Done, Kind, Recorder, Slice};
use crate::scenario::Scenario;
use crate::schedule::{Arrival, Schedule};

/// Below this, a timer is not worth setting.
const SLEEP_MIN: Duration = Duration::from_micros(10);

/// What a connection sends.
pub(crate) struct Frames {
    connection: Connection,
    request: Request,
    payload: Vec<u8>,
    records: u64,
    bytes: u64,
    /// Requests that may be in flight: what the server grants.
    in_flight_max: usize,
}

/// What a thread needs of the run.
pub(crate) struct Run<'a> {
    pub(crate) clock: Clock,
    pub(crate) recorder: Recorder,
    pub(crate) progress: &'a Progress,
    /// Hands finished seconds on.
    pub(crate) tell: &'a mut dyn FnMut(Vec<Slice>),
    pub(crate) give_up_ns: u64,
    /// Bytes after which this connection ends; 0 for no such end.
    pub(crate) bytes_max: u64,
}

impl Frames {
    /// Connects to the shard that owns the partition of producer `index`.
    pub(crate) fn open(
        address: &str,
        log: &str,
        (scenario, index): (&Scenario, u32),
    ) -> anyhow::Result<Self> {
        let (mut first, welcome) = Connection::open(address)?;
        let route = first.route(log)?;
        let partition = index % scenario.partitions;
        let shard = *route.shards.get(partition as usize).context("the partition has no owner")?;
        let port = welcome.shards.get(usize::from(shard)).context("the shard has no port")?.port;
        let host = address.rsplit_once(':').context("an address is host:port")?.0;
        let (connection, welcome) = Connection::open(&format!("{host}:{port}"))?;
        let durability = Some(scenario.durability.into());
        let request = Append { log: route.id, partition: PartitionId::new(partition), durability };
        let (payload, bytes) = batch(scenario, index)?;
        let granted = welcome.limits.credit_bytes / (payload.len() as u64 + 1024);
        let in_flight_max = granted.clamp(1, welcome.limits.credit_requests.into());
        Ok(Self {
            connection,
            request: request.into(),
            payload,
            records: scenario.per_arrival.into(),
            bytes,
            in_flight_max: usize::try_from(in_flight_max).unwrap_or(1),
        })
    }

    /// Keeps `in_flight` requests on their way until the end of the run.
    pub(crate) fn closed(mut self, in_flight: u32, mut run: Run<'_>) -> anyhow::Result<Recorder> {
        let end_ns = run.recorder.window().end;
        let depth = (in_flight as usize).min(self.in_flight_max);
        let (mut waiting, mut measured_bytes) = (VecDeque::new(), 0);
        loop {
            let enough = run.bytes_max > 0 && measured_bytes >= run.bytes_max;
            while waiting.len() < depth && !enough && !run.progress.stopped() {
                let now_ns = run.clock.now_ns();
                if now_ns >= end_ns {
                    break;
                }
                run.recorder.offered(now_ns, self.records);
                self.connection.send(&self.request, &self.payload)?;
                waiting.push_back(now_ns);
                if run.recorder.window().contains(&now_ns) {
                    measured_bytes += self.bytes;
                }
            }
            let Some(sent_ns) = waiting.pop_front() else { return Ok(run.recorder) };
            self.receive(&mut run, (sent_ns, sent_ns))?;
        }
    }

    /// Sends what is due when it is due; the other half receives. `waiting` has room for what the server grants.
    pub(crate) fn send(
        mut self,
        schedule: Schedule,
        waiting: &SyncSender<(u64, u64)>,
        mut run: Run<'_>,
    ) -> anyhow::Result<Recorder> {
        let (end_ns, mut excused, mut measured_bytes) = (run.recorder.window().end, false, 0);
        let due_before_end = |arrival: &Arrival| arrival.due_ns < end_ns;
        for Arrival { due_ns, records } in schedule.take_while(due_before_end) {
            let records = u64::from(records);
            let enough = run.bytes_max > 0 && measured_bytes >= run.bytes_max;
            if enough || run.progress.stopped() {
                break;
            }
            run.recorder.offered(due_ns, records);
            if run.clock.now_ns() < due_ns {
                sleep_until(run.clock, due_ns);
                excused = false;
            }
            let handed_ns = run.clock.now_ns();
            let measured = run.recorder.window().contains(&due_ns);
            if handed_ns > run.give_up_ns {
                run.recorder.failed(due_ns, ("NotSent", records));
                continue;
            }
            if let Err(TrySendError::Full(entry)) = waiting.try_send((due_ns, handed_ns)) {
                run.recorder.waited(due_ns);
                excused = true;
                waiting.send(entry).ok().context("the receiving half has ended")?;
            }
            if measured {
                measured_bytes += self.bytes;
                if !excused {
                    run.recorder.latency(Kind::Late, handed_ns.saturating_sub(due_ns), records);
                }
            }
            self.connection.send(&self.request, &self.payload)?;
        }
        Ok(run.recorder)
    }

    /// Receives one answer, to what was due and handed over then.
    pub(crate) fn receive(
        &mut self,
        run: &mut Run<'_>,
        (due_ns, handed_ns): (u64, u64),
    ) -> anyhow::Result<()> {
        let reply = self.connection.receive()?;
        let end_ns = run.clock.now_ns();
        let (records, bytes) = (self.records, self.bytes);
        match reply {
            Reply::Done(_) => {
                run.recorder.done(Kind::Ack, Done { due_ns, end_ns, records, bytes });
                if run.recorder.window().contains(&due_ns) {
                    run.recorder.latency(Kind::Service, end_ns.saturating_sub(handed_ns), records);
                    run.recorder.client(1, 0);
                }
            }
            Reply::Refused(error) => {
                let code = pyralog_wire::ErrorCode::from_number(error.number);
                let name = code.map_or("UnknownCode", pyralog_wire::ErrorCode::name);
                run.recorder.failed(due_ns, (name, records));
            }
        }
        let slices = run.recorder.take_slices();
        if !slices.is_empty() {
            (run.tell)(slices);
        }
        Ok(())
    }

    /// Two halves of it, for two threads.
    pub(crate) fn split(self) -> anyhow::Result<(Self, Self)> {
        let (sender, receiver) = self.connection.split()?;
        let (request, payload) = (self.request.clone(), self.payload.clone());
        let sender = Self { connection: sender, request, payload, ..self };
        let receiver = Self {
            connection: receiver,
            request: sender.request.clone(),
            payload: Vec::new(),
            ..sender
        };
        Ok((sender, receiver))
    }

    /// Requests that may be in flight.
    pub(crate) fn in_flight_max(&self) -> usize {
        self.in_flight_max
    }
}

/// One batch without a session: the server takes it as often as it comes. Also the bytes of keys and values in it.
fn batch(scenario: &Scenario, index: u32) -> anyhow::Result<(Vec<u8>, u64)> {
    let config = BuilderConfig {
        codec: scenario.codec.into(),
        batch_bytes_max: pyralog_client::limits::BATCH_BYTES_MAX,
        ..BuilderConfig::default()
    };
    let mut builder = RowsBuilder::new(config);
    let mut records = Records::new(scenario, index);
    let mut bytes = 0;
    for _ in 0..scenario.per_arrival {
        let made = records.next(0);
        bytes += made.bytes();
        let create_time = Timestamp::new(1_735_689_600_000_000);
        let record = Record { key: made.key, value: Some(made.value), create_time, headers: &[] };
        builder.push(&record).context("an arrival does not fit a batch: lower per_arrival")?;
    }
    let mut payload = Vec::new();
    builder.finish_into(&mut payload, None)?;
    Ok((payload, bytes))
}

/// Blocks until then, or a little longer.
fn sleep_until(clock: Clock, due_ns: u64) {
    loop {
        let left = Duration::from_nanos(due_ns.saturating_sub(clock.now_ns()));
        if left.is_zero() {
            return;
        }
        if left < SLEEP_MIN {
            std::hint::spin_loop();
        } else {
            pause(left);
        }
    }
}
