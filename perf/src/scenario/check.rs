//! Whether the values of a scenario are in their ranges and agree. Complaints name the key and what would do.

use std::ops::RangeInclusive;

use pyralog_wire::limits as wire;

use super::{Arrivals, Driver, Keys, Level, Payload, Scenario, Storage, Workload};
use crate::limits::{
    ARRIVALS_IN_FLIGHT_MAX, CONNECTIONS_MAX, CONSUMERS_MAX, IDLE_CONNECTIONS_MAX, KEYS_MAX,
    MEASURE_MAX, PER_ARRIVAL_MAX, PRODUCERS_MAX, RATE_MAX, RATE_MIN, RECORD_BYTES_MAX,
    REPETITIONS_MAX, STAMP_BYTES,
};
use crate::quantity::{bytes_exact, count_exact, duration_exact};

impl Scenario {
    /// The first complaint.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_name()?;
        self.check_counts()?;
        self.check_records()?;
        self.check_arrivals()?;
        self.check_client()?;
        self.check_agreement()
    }

    fn check_name(&self) -> Result<(), String> {
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
        if self.name.is_empty() || self.name.len() > 100 || !self.name.chars().all(sound) {
            return Err(format!(
                "name = {:?}: up to 100 letters, digits and - _ . are a name",
                self.name
            ));
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), String> {
        let least = u32::from(self.workload != Workload::Idle);
        number("producers", self.producers, least..=PRODUCERS_MAX)?;
        number("consumers", self.consumers, 1..=CONSUMERS_MAX)?;
        number("connections", self.connections, 0..=CONNECTIONS_MAX)?;
        number("idle_connections", self.idle_connections, 0..=IDLE_CONNECTIONS_MAX)?;
        number("partitions", self.partitions, 1..=wire::PARTITIONS_MAX)?;
        number("per_arrival", self.per_arrival, 1..=PER_ARRIVAL_MAX)?;
        number("repetitions", self.repetitions, 1..=REPETITIONS_MAX)?;
        number("shards", self.shards, 1..=256)?;
        for (key, span) in [("warm_up", self.warm_up), ("measure", self.measure)] {
            if span > MEASURE_MAX {
                return Err(format!("{key}: at most {}", duration_exact(MEASURE_MAX)));
            }
        }
        if self.measure.as_millis() < 100 {
            return Err("measure: at least 100ms".to_owned());
        }
        Ok(())
    }

    fn check_records(&self) -> Result<(), String> {
        let stamped = self.tailers() > 0;
        let least = if stamped { STAMP_BYTES as u64 } else { 1 };
        let (min, max) = (self.record_size.min(), self.record_size.max());
        if max < min || max > RECORD_BYTES_MAX || max == 0 {
            let most = bytes_exact(RECORD_BYTES_MAX);
            return Err(format!(
                "record_size = {:?}: from 1B to {most}",
                self.record_size.to_string()
            ));
        }
        if stamped && matches!(self.record_size, super::Sizes::LogNormal { .. }) {
            // Values are lengthened to hold the stamp.
        } else if min < least {
            return Err(format!(
                "record_size: at least {least} bytes, they carry the start of a record"
            ));
        }
        match self.keys {
            Keys::Uniform { count } | Keys::Zipf { count, .. }
                if !(1..=KEYS_MAX).contains(&count) =>
            {
                Err(format!("keys: from 1 to {KEYS_MAX} different ones"))
            }
            Keys::Zipf { s, .. } if !(0.01..=10.0).contains(&s) => {
                Err("keys: the exponent of zipf is from 0.01 to 10".to_owned())
            }
            _ => match self.payload {
                Payload::Compressible { ratio } if !(1.0..=100.0).contains(&ratio) => {
                    Err("payload: a ratio from 1 to 100".to_owned())
                }
                _ => Ok(()),
            },
        }
    }

    fn check_arrivals(&self) -> Result<(), String> {
        match self.arrivals {
            Arrivals::Closed { in_flight } => {
                number("arrivals closed", in_flight, 1..=ARRIVALS_IN_FLIGHT_MAX)
            }
            Arrivals::Constant { rate: r } | Arrivals::Poisson { rate: r } => rate(r),
            Arrivals::Bursts { rate: r, burst, period } => {
                rate(r)?;
                if !(1.0..=1e9).contains(&burst) || period.is_zero() || period > MEASURE_MAX {
                    return Err(
                        "arrivals bursts: a burst from 1 to 1G, a period above 0".to_owned()
                    );
                }
                Ok(())
            }
            Arrivals::Ramp { from, to } => rate(from).and(rate(to)),
            Arrivals::Search { from, factor, p99 } => {
                rate(from)?;
                if !(1.01..=10.0).contains(&factor) || p99.is_zero() {
                    return Err(
                        "arrivals search: a factor from 1.01 to 10, a limit above 0".to_owned()
                    );
                }
                Ok(())
            }
        }
    }

    fn check_client(&self) -> Result<(), String> {
        use pyralog_client::limits as client;
        let bytes = |key, value, range| self::bytes(key, value, range);
        bytes("batch_bytes", self.batch_bytes, 1..=client::BATCH_BYTES_MAX as u64)?;
        let least = self.batch_bytes * 2;
        bytes("buffer_bytes", self.buffer_bytes, least..=client::BUFFER_BYTES_MAX as u64)?;
        bytes("fetch_bytes", self.fetch_bytes, 1..=wire::FETCH_BYTES_MAX.into())?;
        bytes(
            "segment_bytes",
            self.segment_bytes,
            wire::SEGMENT_BYTES_MIN..=wire::SEGMENT_BYTES_MAX,
        )?;
        bytes("memory_bytes", self.memory_bytes, wire::MEMORY_BYTES_MIN..=wire::MEMORY_BYTES_MAX)?;
        let most = u32::try_from(client::IN_FLIGHT_MAX).unwrap_or(u32::MAX);
        number("in_flight", self.in_flight, 1..=most)?;
        if self.linger > client::LINGER_MAX {
            return Err(format!("linger: at most {}", duration_exact(client::LINGER_MAX)));
        }
        Ok(())
    }

    fn check_agreement(&self) -> Result<(), String> {
        if self.storage == Storage::Memory && self.durability != Level::Memory {
            return Err("storage = \"memory\" goes with durability = \"memory\" only".to_owned());
        }
        if self.readers() > 0 && self.fill == 0 {
            return Err("fill: catch-up reads need something to read".to_owned());
        }
        let idle = self.workload == Workload::Idle;
        if !idle && self.idle_connections > 0 {
            return Err("idle_connections goes with workload = \"idle\" only".to_owned());
        }
        if self.driver == Driver::Frames {
            return self.check_frames();
        }
        Ok(())
    }

    fn check_frames(&self) -> Result<(), String> {
        if self.workload != Workload::Append {
            return Err("driver = \"frames\" only does workload = \"append\"".to_owned());
        }
        if matches!(self.arrivals, Arrivals::Search { .. }) {
            return Err("driver = \"frames\" cannot search: use ramp, or the client".to_owned());
        }
        let arrival = u64::from(self.per_arrival) * (self.record_size.max() + 32);
        if arrival > pyralog_client::limits::BATCH_BYTES_MAX as u64 {
            let most = bytes_exact(pyralog_client::limits::BATCH_BYTES_MAX as u64);
            return Err(format!(
                "driver = \"frames\" sends an arrival as one batch, and a batch has at most {most}: \
                 lower per_arrival or record_size"
            ));
        }
        Ok(())
    }
}

fn number(key: &str, value: u32, allowed: RangeInclusive<u32>) -> Result<(), String> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(format!("{key} = {value}: from {} to {}", allowed.start(), allowed.end()))
}

fn bytes(key: &str, value: u64, allowed: RangeInclusive<u64>) -> Result<(), String> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let (least, most) = (bytes_exact(*allowed.start()), bytes_exact(*allowed.end()));
    Err(format!("{key} = {}: from {least} to {most}", bytes_exact(value)))
}

fn rate(value: f64) -> Result<(), String> {
    if (RATE_MIN..=RATE_MAX).contains(&value) {
        return Ok(());
    }
    Err(format!("arrivals: a rate from one a minute to {} records a second", count_exact(RATE_MAX)))
}
