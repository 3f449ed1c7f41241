//! When records are due: arrival processes as plain values, decided by a seed and nothing else.
//!
//! An open loop does not look at the server, so its schedule is known before it begins. A record that is late, because
//! the server, the client's buffer or the generator was slow, keeps the start that it was given here: what it waited is
//! part of its latency ("coordinated omission", Gil Tene, `HdrHistogram`).

use std::time::Duration;

use fastrand::Rng;

use crate::quantity::{nanoseconds, to_f64};
use crate::scenario::Arrivals;

/// Records that are due at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// When, in nanoseconds after the beginning.
    pub due_ns: u64,
    /// How many records.
    pub records: u32,
}

/// One producer's part of a process.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Which, from 0.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

/// The arrivals of one producer, in order. Endless.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Independent streams; the earliest is next.
    streams: [Option<Stream>; 2],
    rng: Rng,
}

/// One sequence of arrivals, and its next one.
#[derive(Clone, Debug)]
struct Stream {
    rule: Rule,
    records: u32,
    /// Arrivals so far.
    count: u64,
    due_ns: u64,
}

/// How the next arrival follows.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Arrival k at `(k + phase) * every`.
    Even { every_ns: f64, phase: f64 },
    /// At exponential distances.
    Random { mean_ns: f64 },
    /// `arrivals` at once at the end of every period.
    Burst { arrivals: u64, period_ns: f64 },
    /// At a rate (arrivals a nanosecond) that goes from one value to the other.
    Ramp { from: f64, to: f64, over_ns: f64, phase: f64 },
}

impl Schedule {
    /// The part of `arrivals` that one of several producers makes, in arrivals of `per_arrival` records. A ramp takes
    /// `over`; what is searched for is a sequence of constant rates, so a search begins with its first.
    ///
    /// `None` for a closed loop: it has no schedule.
    #[must_use]
    pub fn new(
        arrivals: Arrivals,
        per_arrival: u32,
        (part, over): (Part, Duration),
        seed: u64,
    ) -> Option<Self> {
        let records = f64::from(per_arrival) * f64::from(part.of);
        // Producers take turns, so that together they are even.
        let phase = f64::from(part.index) / f64::from(part.of);
        let even = |rate: f64| Rule::Even { every_ns: 1e9 * records / rate, phase };
        let (first, second) = match arrivals {
            Arrivals::Closed { .. } => return None,
            Arrivals::Constant { rate } | Arrivals::Search { from: rate, .. } => (even(rate), None),
            Arrivals::Poisson { rate } => (Rule::Random { mean_ns: 1e9 * records / rate }, None),
            Arrivals::Bursts { rate, burst, period } => {
                let arrivals = rounded((burst / records).max(1.0));
                let period_ns = to_f64(nanoseconds(period));
                (even(rate), Some(Rule::Burst { arrivals, period_ns }))
            }
            Arrivals::Ramp { from, to } => {
                let per_ns = |rate: f64| rate / records / 1e9;
                let over_ns = to_f64(nanoseconds(over));
                (Rule::Ramp { from: per_ns(from), to: per_ns(to), over_ns, phase }, None)
            }
        };
        let seed = seed ^ (u64::from(part.index) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = Rng::with_seed(seed);
        let mut stream = |rule| Stream::begin(rule, per_arrival, &mut rng);
        let streams = [Some(stream(first)), second.map(stream)];
        Some(Self { streams, rng })
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let due =
            |stream: &Option<Stream>| stream.as_ref().map_or(u64::MAX, |stream| stream.due_ns);
        let earlier = usize::from(due(&self.streams[1]) < due(&self.streams[0]));
        let stream = self.streams[earlier].as_mut()?;
        let arrival = Arrival { due_ns: stream.due_ns, records: stream.records };
        stream.advance(&mut self.rng);
        Some(arrival)
    }
}

impl Stream {
    fn begin(rule: Rule, records: u32, rng: &mut Rng) -> Self {
        let mut stream = Self { rule, records, count: 0, due_ns: 0 };
        stream.due_ns = stream.due(rng);
        stream
    }

    fn advance(&mut self, rng: &mut Rng) {
        self.count += 1;
        // Rounding must not turn time back.
        self.due_ns = self.due(rng).max(self.due_ns);
    }

    /// When arrival number `count` is due.
    fn due(&self, rng: &mut Rng) -> u64 {
        let number = to_f64(self.count);
        match self.rule {
            Rule::Even { every_ns, phase } => rounded((number + phase) * every_ns),
            Rule::Random { mean_ns } => {
                // 1 - f64() is in (0, 1], so the logarithm is finite.
                let distance = -(1.0 - rng.f64()).ln() * mean_ns;
                self.due_ns.saturating_add(rounded(distance))
            }
            Rule::Burst { arrivals, period_ns } => {
                rounded(to_f64(self.count / arrivals + 1) * period_ns)
            }
            Rule::Ramp { from, to, over_ns, phase } => {
                // The number of arrivals until t is from*t + (to-from)*t^2/(2*over): solved for t.
                let (number, slope) = (number + phase, (to - from) / over_ns);
                let until_end = f64::midpoint(from, to) * over_ns;
                if number >= until_end {
                    return rounded(over_ns + (number - until_end) / to);
                }
                // This form of the root has no difference of almost equal numbers.
                let root = (from * from + 2.0 * slope * number).max(0.0).sqrt();
                rounded(2.0 * number / (from + root))
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn rounded(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests;
