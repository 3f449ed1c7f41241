//! What is measured: one flat table of keys, read from TOML or flags, each with its range.
//!
//! A value is written the same in a file and on the command line (`arrivals = "poisson:50k"`, `--arrivals poisson:50k`):
//! flags are laid over the table before it is read, so there is one parser and one set of messages. Printed with
//! [`Scenario::to_toml`], a scenario has every key: that text and its seed repeat the run.

mod arrivals;
mod builtin;
mod check;
mod text;
mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use arrivals::{Arrivals, Keys, Payload, Sizes};
pub use builtin::{BuiltIn, built_in, built_ins};
pub use words::{Compression, Driver, Level, Partitioner, Proofs, Storage, Workload};

use crate::failure::Failure;

/// A scenario. Invariant, once it comes from [`Scenario::read`]: every value is in its range and they agree.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Its name: letters, digits and `-`.
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// Decides arrivals, sizes, keys and payloads.
    pub seed: u64,
    /// What speaks to the server.
    pub driver: Driver,
    /// What is done.
    pub workload: Workload,
    /// When: a process that does not look at the server, or a closed loop.
    #[serde(with = "text::parsed")]
    pub arrivals: Arrivals,
    /// Records of one arrival: 1 is a caller with single records, 1000 one with batches of its own.
    pub per_arrival: u32,
    /// Bytes of a record's value.
    #[serde(with = "text::parsed")]
    pub record_size: Sizes,
    /// Keys of the records.
    #[serde(with = "text::parsed")]
    pub keys: Keys,
    /// What is in the values.
    #[serde(with = "text::parsed")]
    pub payload: Payload,
    /// Producers, over all CPUs of the load.
    pub producers: u32,
    /// Consumers of `tail`, `catch-up` and `mixed`; each reads everything.
    pub consumers: u32,
    /// Client instances that the producers share; 0 is one for each producer.
    pub connections: u32,
    /// Connections of `idle` that do nothing.
    pub idle_connections: u32,
    /// Partitions of the log.
    pub partitions: u32,
    /// Where records without a key go.
    pub partitioner: Partitioner,
    /// When an append is acknowledged.
    pub durability: Level,
    /// Where the log lives.
    pub storage: Storage,
    /// What can be proven of the records.
    pub integrity: Proofs,
    /// Size of a segment file.
    #[serde(with = "text::bytes")]
    pub segment_bytes: u64,
    /// Budget of each partition of a log in memory.
    #[serde(with = "text::bytes")]
    pub memory_bytes: u64,
    /// Bytes from which the client's batch is full.
    #[serde(with = "text::bytes")]
    pub batch_bytes: u64,
    /// How long the client's batch waits for company.
    #[serde(with = "text::duration")]
    pub linger: Duration,
    /// Batches of a partition that the client has in flight.
    pub in_flight: u32,
    /// Bytes without outcome from which the client makes its caller wait.
    #[serde(with = "text::bytes")]
    pub buffer_bytes: u64,
    /// How the client compresses batches.
    pub codec: Compression,
    /// Bytes that a consumer's fetch asks for.
    #[serde(with = "text::bytes")]
    pub fetch_bytes: u64,
    /// Bytes of values written before `catch-up` and `mixed` begin.
    #[serde(with = "text::bytes")]
    pub fill: u64,
    /// Time before counting begins.
    #[serde(with = "text::duration")]
    pub warm_up: Duration,
    /// Time that is counted; of each step in a search.
    #[serde(with = "text::duration")]
    pub measure: Duration,
    /// Bytes of values after which the measurement ends, if they come before its time is up; 0 for no such end.
    #[serde(with = "text::bytes")]
    pub measure_bytes: u64,
    /// How often it is run, each time on a log of its own.
    pub repetitions: u32,
    /// Executors of the server that is started for it.
    pub shards: u32,
    /// How long an idle executor of that server looks for work.
    #[serde(with = "text::duration")]
    pub spin: Duration,
    /// Further settings of that server, `section.key=value`.
    pub settings: Vec<String>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "custom".to_owned(),
            about: String::new(),
            seed: 1,
            driver: Driver::Client,
            workload: Workload::Append,
            arrivals: Arrivals::Closed { in_flight: 4 },
            per_arrival: 1,
            record_size: Sizes::Fixed(1024),
            keys: Keys::None,
            payload: Payload::Incompressible,
            producers: 1,
            consumers: 1,
            connections: 0,
            idle_connections: 0,
            partitions: 1,
            partitioner: Partitioner::Sticky,
            durability: Level::Synced,
            storage: Storage::Durable,
            integrity: Proofs::None,
            segment_bytes: 1 << 30,
            memory_bytes: 1 << 30,
            batch_bytes: 1 << 20,
            linger: Duration::from_millis(1),
            in_flight: 8,
            buffer_bytes: 64 << 20,
            codec: Compression::None,
            fetch_bytes: 1 << 20,
            fill: 2 << 30,
            warm_up: Duration::from_secs(2),
            measure: Duration::from_secs(10),
            measure_bytes: 0,
            repetitions: 1,
            shards: 1,
            spin: Duration::from_micros(50),
            settings: Vec::new(),
        }
    }
}

impl Scenario {
    /// Reads `text` (TOML) with `overrides` laid over it.
    ///
    /// # Errors
    /// [`Failure::Usage`]: an unknown key, a value outside its range, or values that do not agree.
    pub fn read(text: &str, overrides: toml::Table) -> Result<Self, Failure> {
        let usage = |problem: String| Failure::Usage(format!("the scenario is wrong: {problem}"));
        let mut table: toml::Table = text.parse().map_err(|error| usage(format!("{error}")))?;
        table.extend(overrides);
        // As text, so that a complaint shows the line it is about.
        let merged = toml::to_string(&table).map_err(|error| usage(error.to_string()))?;
        let scenario: Self = toml::from_str(&merged).map_err(|error| usage(error.to_string()))?;
        scenario.check().map_err(usage)?;
        Ok(scenario)
    }

    /// Every key with its value: [`Scenario::read`] gives the same scenario.
    ///
    /// # Panics
    /// Never: each value of a scenario has a form in TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("numbers, texts and a list of texts can be written as TOML")
    }

    /// Client instances that carry load.
    #[must_use]
    pub fn clients(&self) -> u32 {
        if self.connections == 0 { self.producers.max(1) } else { self.connections }
    }

    /// Whether producers append while it is measured.
    #[must_use]
    pub fn appends(&self) -> bool {
        self.workload != Workload::CatchUp && self.producers > 0
    }

    /// Whether latency counts from an intended start.
    #[must_use]
    pub fn open_loop(&self) -> bool {
        self.appends() && !matches!(self.arrivals, Arrivals::Closed { .. })
    }

    /// Consumers that wait at the tail.
    #[must_use]
    pub fn tailers(&self) -> u32 {
        if matches!(self.workload, Workload::Tail | Workload::Mixed) { self.consumers } else { 0 }
    }

    /// Consumers that read from the beginning.
    #[must_use]
    pub fn readers(&self) -> u32 {
        if matches!(self.workload, Workload::CatchUp | Workload::Mixed) {
            self.consumers
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests;
