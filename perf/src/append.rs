//! Closed-loop appends and pings over raw frames.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use pyralog_log::batch::{BuilderConfig, Record, RowsBuilder};
use pyralog_log::durability::Durability;
use pyralog_log::ids::{PartitionId, Timestamp};
use pyralog_wire::message::{Append as AppendRequest, Ping as PingRequest, Reply};
use pyralog_wire::{LogConfig, Request};

use crate::connection::Connection;
use crate::report::{Stopwatch, Tally};

/// Appends batches from several connections and reports rate and latency.
#[derive(Clone, Debug, Args)]
pub(crate) struct Append {
    /// Shared port of the server.
    #[arg(long, default_value = "127.0.0.1:7400")]
    address: String,
    /// Log to make and fill. An existing one of this name is deleted.
    #[arg(long, default_value = "perf")]
    log: String,
    /// Partitions of the log; producer i writes partition i modulo this.
    #[arg(long, default_value_t = 1)]
    partitions: u32,
    /// Connections, one thread each.
    #[arg(long, default_value_t = 8)]
    producers: u32,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Records of a batch.
    #[arg(long, default_value_t = 1000)]
    batch: u32,
    /// Requests in flight per connection.
    #[arg(long, default_value_t = 2)]
    depth: usize,
    /// memory, written or synced: level of the log and of every request.
    #[arg(long, default_value_t = Durability::Synced)]
    durability: Durability,
    /// Keep the log in memory.
    #[arg(long)]
    memory_only: bool,
    /// Seconds of each run.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Seconds before counting begins.
    #[arg(long, default_value_t = 1)]
    warm_up_seconds: u64,
}

impl Append {
    /// Makes the log, runs the producers and prints the result.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let (mut admin, _) = Connection::open(&self.address)?;
        admin.recreate(&self.log, self.config())?;
        let payload = self.payload()?;
        let producers: Vec<_> = (0..self.producers)
            .map(|index| {
                let (append, payload) = (self.clone(), payload.clone());
                thread::spawn(move || append.produce(index, &payload))
            })
            .collect();
        let mut total = Tally::new();
        for producer in producers {
            total.add(producer.join().map_err(|_| anyhow::anyhow!("a producer panicked"))??);
        }
        self.print(&total);
        Ok(())
    }

    fn config(&self) -> LogConfig {
        let base = if self.memory_only { LogConfig::memory() } else { LogConfig::default() };
        LogConfig { partitions: self.partitions, durability: self.durability, ..base }
    }

    /// One batch without a session: the server takes it as often as it comes.
    fn payload(&self) -> anyhow::Result<Vec<u8>> {
        let mut builder = RowsBuilder::new(BuilderConfig::default());
        let value: Vec<u8> = (0_u8..=255).cycle().take(self.record_bytes).collect();
        for _ in 0..self.batch {
            let record = Record {
                key: None,
                value: Some(&value),
                create_time: Timestamp::new(1_735_689_600_000_000),
                headers: &[],
            };
            builder
                .push(&record)
                .context("the batch does not fit: lower --batch or --record-bytes")?;
        }
        let mut payload = Vec::new();
        builder.finish_into(&mut payload, None)?;
        Ok(payload)
    }

    fn produce(&self, index: u32, payload: &[u8]) -> anyhow::Result<Tally> {
        let (mut first, welcome) = Connection::open(&self.address)?;
        let route = first.route(&self.log)?;
        let partition = index % self.partitions;
        let shard = *route.shards.get(partition as usize).context("the partition has no owner")?;
        let port = welcome.shards.get(usize::from(shard)).context("the shard has no port")?.port;
        let host = self.address.rsplit_once(':').context("--address is host:port")?.0;
        let (mut connection, _) = Connection::open(&format!("{host}:{port}"))?;
        let request: Request = AppendRequest {
            log: route.id,
            partition: PartitionId::new(partition),
            durability: Some(self.durability),
        }
        .into();
        let warm_up = Duration::from_secs(self.warm_up_seconds);
        let end = warm_up + Duration::from_secs(self.seconds);
        let watch = Stopwatch::start();
        let (mut tally, mut in_flight) = (Tally::new(), VecDeque::new());
        loop {
            while in_flight.len() < self.depth && watch.elapsed() < end {
                in_flight.push_back(Stopwatch::start());
                connection.send(&request, payload)?;
            }
            let Some(sent) = in_flight.pop_front() else { return Ok(tally) };
            let reply = connection.receive()?;
            let counted = (warm_up..end).contains(&watch.elapsed());
            match reply {
                Reply::Done(_) if counted => tally.answered(sent.elapsed()),
                Reply::Refused(error) if counted => tally.refused(error.message.clone()),
                _ => {}
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    fn print(&self, total: &Tally) {
        let records = total.answers * u64::from(self.batch);
        let bytes = records as f64 * self.record_bytes as f64;
        let seconds = self.seconds as f64;
        println!(
            "append {} x {} B, {} producers x depth {}, {} partitions, {}{}",
            self.batch,
            self.record_bytes,
            self.producers,
            self.depth,
            self.partitions,
            self.durability,
            if self.memory_only { ", memory-only" } else { "" }
        );
        println!(
            "  {:.1} MB/s, {:.0} records/s, {:.0} batches/s",
            bytes / 1e6 / seconds,
            records as f64 / seconds,
            total.answers as f64 / seconds
        );
        println!("  {}", total.percentiles());
        if let Some(message) = &total.first_refusal {
            println!("  {} refused, the first: {message}", total.refused);
        }
    }
}

/// Round trips of an empty request on one connection.
#[derive(Clone, Debug, Args)]
pub(crate) struct Ping {
    /// Shared port of the server.
    #[arg(long, default_value = "127.0.0.1:7400")]
    address: String,
    /// Round trips.
    #[arg(long, default_value_t = 20_000)]
    count: u32,
}

impl Ping {
    /// Pings and prints the percentiles.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let (mut connection, _) = Connection::open(&self.address)?;
        let mut tally = Tally::new();
        for _ in 0..self.count {
            let sent = Stopwatch::start();
            connection.call(&PingRequest { token: 0 }.into())?;
            tally.answered(sent.elapsed());
        }
        println!("ping x {}: {}", self.count, tally.percentiles());
        Ok(())
    }
}
