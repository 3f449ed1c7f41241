//! Every maximum of the load generator, with unit and derivation.

use std::time::Duration;

/// Longest latency that a histogram tells apart: longer than any timeout of the client (2 min).
pub const LATENCY_MAX: Duration = Duration::from_mins(10);

/// Significant digits of a histogram: 0.1 % is below the spread of any repetition.
pub const LATENCY_DIGITS: u8 = 3;

/// Producers of a scenario: each has a buffer, 256 of them hold 16 GiB at most.
pub const PRODUCERS_MAX: u32 = 256;

/// Consumers of a scenario.
pub const CONSUMERS_MAX: u32 = 256;

/// Connections that carry load.
pub const CONNECTIONS_MAX: u32 = 1024;

/// Connections that carry nothing: what one machine's range of ephemeral ports gives to one address.
pub const IDLE_CONNECTIONS_MAX: u32 = 28_000;

/// Records of one arrival: those of the largest batch.
pub const PER_ARRIVAL_MAX: u32 = 1 << 20;

/// Arrivals in flight of a closed loop, for each producer.
pub const ARRIVALS_IN_FLIGHT_MAX: u32 = 4096;

/// Records a second: a nanosecond each.
pub const RATE_MAX: f64 = 1e9;

/// Slowest rate: one arrival a minute.
pub const RATE_MIN: f64 = 1.0 / 60.0;

/// Bytes of a value: a batch of 16 MiB holds it with its key.
pub const RECORD_BYTES_MAX: u64 = 8 << 20;

/// Bytes at the start of a value that carry its intended start, for end-to-end latency.
pub const STAMP_BYTES: usize = size_of::<u64>();

/// Different keys: above, an index into them no longer fits the mantissa of the sampler.
pub const KEYS_MAX: u64 = 1 << 40;

/// Longest warm-up or measurement: the histogram and the series (one entry a second) stay small.
pub const MEASURE_MAX: Duration = Duration::from_hours(24);

/// Repetitions of a scenario in one call.
pub const REPETITIONS_MAX: u32 = 1000;

/// Steps of a search: at a factor of 1.1, 64 steps span three decimal orders.
pub const STEPS_MAX: u32 = 64;

/// Parts that a ramp is cut into for the curve of latency over rate.
pub const RAMP_STEPS: u32 = 10;

/// Time after the end in which arrivals that were due may still be sent and acknowledged. The rest is counted as an
/// error. Longer than a server's restart, shorter than patience.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);

/// The same for one step of a search: a step that leaves more behind has failed already.
pub const STEP_DRAIN_MAX: Duration = Duration::from_secs(5);

/// How late (99th percentile) the generator may be by its own fault, unless a tenth of the median is more.
pub const LATENESS_MAX: Duration = Duration::from_millis(1);

/// Share of a core from which a thread of the generator counts as saturated.
pub const THREAD_BUSY_MAX: f64 = 0.95;

/// Share of what was offered that must be done, for a step to have kept up.
pub const KEPT_UP_MIN: f64 = 0.95;

/// Random bytes that values are cut from: more than a core's second cache, so that values are not always in the first.
pub const POOL_BYTES: usize = 4 << 20;

/// Bytes, and arrivals, that a producer hands over before it lets the client's tasks run.
pub const TURN_BYTES: u64 = 256 << 10;

/// See [`TURN_BYTES`].
pub const TURN_ARRIVALS: u32 = 64;

/// Below this, the generator waits for an arrival by asking the clock: setting a timer takes about as long.
pub const SPIN_BELOW: Duration = Duration::from_micros(20);

/// Time for a server to stop: it waits five seconds for clients, and syncs what it has.
pub const SERVER_STOP_MAX: Duration = Duration::from_mins(1);

/// Bytes of a scenario file: all keys with comments are below 8 KiB.
pub const SCENARIO_BYTES_MAX: u64 = 1 << 20;
