//! Every maximum of the admin listener, with its unit and derivation.

use std::time::Duration;

/// Connections served at once. A Prometheus pair, a probe and a few people need under ten; a hundred more would only
/// be a leak in somebody's client. Later ones wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 64;

/// Silence after which a connection is closed: twice the usual scrape interval of 15 s, so that keep-alive works.
pub const IDLE_MAX: Duration = Duration::from_secs(30);

/// Longest time a request may wait for the cores before it is answered with `503`. A scrape usually times out at 10 s.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long a stop waits for answers under way.
pub const STOP_GRACE: Duration = Duration::from_secs(1);

const _: () = assert!(STOP_GRACE.as_millis() < ANSWER_MAX.as_millis());
