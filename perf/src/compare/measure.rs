//! What of a run is compared.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::result::{CeilingName, Run, Unit};
use crate::words;

/// A number that a run has; larger or smaller is better, as its [`Kind`] says.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Measure {
    /// Records done in a second.
    RecordRate,
    /// Bytes of keys and values done in a second.
    ByteRate,
    /// A quantile of a latency.
    Latency {
        /// Which latency.
        name: String,
        /// Which of its quantiles.
        quantile: Quantile,
    },
    /// Seconds of processor time of the server for a million records.
    ServerCpu,
    /// Largest resident set of the server in bytes.
    ServerMemory,
    /// Result / ceiling of the same call.
    Share(CeilingName),
}

/// The quantiles that are compared.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Quantile {
    /// The median.
    P50,
    /// One in a hundred takes longer.
    P99,
    /// One in a thousand takes longer.
    P999,
    /// The largest.
    Max,
}

/// Which direction of a measure is better, and how it is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// More is faster.
    Rate,
    /// Less is faster.
    Latency,
    /// Less is better, and not faster.
    Used,
}

impl Measure {
    /// Every measure that some of these runs have, in order.
    pub(super) fn of(pairs: &[(&Run, &Run)]) -> BTreeSet<Self> {
        let mut all =
            BTreeSet::from([Self::RecordRate, Self::ByteRate, Self::ServerCpu, Self::ServerMemory]);
        for run in pairs.iter().flat_map(|(first, second)| [first, second]) {
            all.extend(run.shares.iter().map(|share| Self::Share(share.ceiling)));
            for name in run.latency.keys() {
                all.extend(
                    [Quantile::P50, Quantile::P99, Quantile::P999, Quantile::Max]
                        .map(|quantile| Self::Latency { name: name.clone(), quantile }),
                );
            }
        }
        all
    }

    /// Its value in a run; `None` if the run has none above 0.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53, and ratios need no more")]
    pub fn value(&self, run: &Run) -> Option<f64> {
        let records = run.totals.records as f64;
        let value = match self {
            Self::RecordRate => records / run.measured_seconds,
            Self::ByteRate => run.totals.bytes as f64 / run.measured_seconds,
            Self::Latency { name, quantile } => {
                let latency = run.latency.get(name)?;
                // Without a value beyond it, a quantile is the largest value by another name.
                let beyond = latency.count as f64 * (1.0 - quantile.share());
                if *quantile != Quantile::Max && beyond < 1.0 {
                    return None;
                }
                latency.at(quantile.share()) as f64
            }
            Self::ServerCpu => run.server.as_ref()?.cpu_seconds / records * 1e6,
            Self::ServerMemory => run.server.as_ref()?.rss_bytes_max as f64,
            Self::Share(name) => run.shares.iter().find(|share| share.ceiling == *name)?.ratio,
        };
        (value.is_finite() && value > 0.0).then_some(value)
    }

    /// Which direction is better.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let of_latency = |name: CeilingName| name.unit() == Unit::Nanoseconds;
        match self {
            Self::Latency { .. } => Kind::Latency,
            Self::Share(name) => {
                if of_latency(*name) {
                    Kind::Latency
                } else {
                    Kind::Rate
                }
            }
            Self::RecordRate | Self::ByteRate => Kind::Rate,
            Self::ServerCpu | Self::ServerMemory => Kind::Used,
        }
    }

    /// A value of it as people read it.
    #[must_use]
    pub fn words(&self, value: f64) -> String {
        match self {
            Self::RecordRate => words::quantity(value, Unit::PerSecond),
            Self::ByteRate => words::quantity(value, Unit::BytesPerSecond),
            Self::Latency { .. } => words::nanoseconds(value),
            Self::ServerCpu => format!("{}\u{a0}s", words::ratio(value)),
            Self::ServerMemory => words::bytes(value),
            Self::Share(name) if name.unit() == Unit::Nanoseconds => {
                format!("{} x", words::ratio(value))
            }
            Self::Share(_) => words::percent(value),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecordRate => f.write_str("records"),
            Self::ByteRate => f.write_str("bytes"),
            Self::Latency { name, quantile } => write!(f, "{name} {}", quantile.word()),
            Self::ServerCpu => f.write_str("server CPU per million records"),
            Self::ServerMemory => f.write_str("server memory"),
            Self::Share(name) => write!(f, "of {}", words::ceiling(*name)),
        }
    }
}

impl Serialize for Measure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Quantile {
    /// 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P99 => 0.99,
            Self::P999 => 0.999,
            Self::Max => 1.0,
        }
    }

    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Max => "max",
        }
    }
}
