//! Named durable counters: administration, taking numbers, and a handle that takes them in ranges.
//!
//! A counter belongs to the node that it was created on: connect to that one.
//!
//! A lost answer has used its numbers up. To ask again brings others, never the same, so it is always safe; what it makes is
//! a gap. Most users do not mind gaps: a counter with reservations makes them anyway when its server crashes. Those who do,
//! who number invoices, use a counter whose gaps can only come from lost answers (`always`, `group`), and have to be told of
//! each one. So [`Client::counter_take`] asks once and says what may be lost, and a [`Counter`] follows [`Gaps`]: by default
//! it goes on silently where the counter has gaps anyway, and tells where it has none.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use pyralog_wire::limits::{COUNTER_NAME_BYTES_MAX, LIST_PAGE_COUNTERS_MAX};
use pyralog_wire::message::{
    CounterConfig, CounterInfo, CounterMode, CreateCounter, DescribeCounter, ListCounters,
    RaiseCounter, Response, TakeNumbers,
};
use pyralog_wire::name::{self, NameError};
use pyralog_wire::{ErrorCode, Retry};
use tokio::time::Instant;

use crate::client::{Client, Repeat};
use crate::config::range;
use crate::error::ClientError;
use crate::limits::{COUNTER_LEASE_DEFAULT, COUNTER_LEASE_MAX};
use crate::producer::entropy;

/// What a [`Counter`] does about numbers that may be lost because an answer was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    /// As the counter does: accept them with `reserve`, `unsafe-interval` and `memory`, report them with `always` and
    /// `group`.
    #[default]
    ByMode,
    /// Take others.
    Accept,
    /// Fail with [`ClientError::NumbersLost`]; the next call goes on behind them.
    Report,
}

/// How a [`Counter`] takes numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterLease {
    /// How many at once, at most [`COUNTER_LEASE_MAX`]. What a handle has taken and not dealt is a gap when it is dropped. So
    /// `None` is 1 for a counter of `always` or `group`, and [`COUNTER_LEASE_DEFAULT`] for others.
    pub block: Option<u32>,
    /// What to do about lost answers.
    pub gaps: Gaps,
}

impl Client {
    /// Creates a counter on the server; its first number is 1. If it is there with the same configuration, nothing happens.
    ///
    /// # Errors
    /// If it is there with another configuration, or the configuration is not sound; what any call can meet.
    pub async fn create_counter(
        &self,
        counter: &str,
        config: CounterConfig,
    ) -> Result<CounterInfo, ClientError> {
        let request = CreateCounter { name: checked(counter)?, config };
        match self.call(request.into(), Repeat::Harmless).await? {
            Response::CreateCounter(info) => Ok(info),
            _ => Err(ClientError::Unexpected { expected: "the description of a counter" }),
        }
    }

    /// Takes `count` numbers that nobody else gets, 1 to [`COUNTER_LEASE_MAX`]: a half-open range.
    ///
    /// Not repeated if the answer is lost: only the caller knows whether a gap matters. If not, call again.
    ///
    /// # Errors
    /// [`ClientError::NumbersLost`] if it is not known whether they were dealt; otherwise none were. If there is no such
    /// counter, and what any call can meet.
    pub async fn counter_take(&self, counter: &str, count: u32) -> Result<Range<u64>, ClientError> {
        range("count", count as usize, 1..=COUNTER_LEASE_MAX as usize)?;
        let request = TakeNumbers { name: checked(counter)?, count };
        let response = match self.call(request.into(), Repeat::Harmful).await {
            Ok(response) => response,
            Err(source) if source.is_outcome_unknown() => {
                let (counter, source) = (counter.to_owned(), Box::new(source));
                return Err(ClientError::NumbersLost { counter, at_most: count, source });
            }
            Err(error) => return Err(error),
        };
        let taken = match response {
            Response::TakeNumbers(taken) if taken.count == count => Some(taken.first),
            _ => None,
        };
        let range = taken.and_then(|first| Some(first..first.checked_add(count.into())?));
        range.ok_or(ClientError::Unexpected { expected: "as many numbers as asked for" })
    }

    /// Configuration and state of a counter.
    ///
    /// # Errors
    /// If there is none, and what any call can meet.
    pub async fn describe_counter(&self, counter: &str) -> Result<CounterInfo, ClientError> {
        let request = DescribeCounter { name: checked(counter)? };
        match self.call(request.into(), Repeat::Harmless).await? {
            Response::DescribeCounter(info) => Ok(info),
            _ => Err(ClientError::Unexpected { expected: "the description of a counter" }),
        }
    }

    /// All counters of the server whose names begin with `prefix`, ordered by name.
    ///
    /// # Errors
    /// What any call can meet.
    pub async fn list_counters(&self, prefix: &str) -> Result<Vec<CounterInfo>, ClientError> {
        let mut counters: Vec<CounterInfo> = Vec::new();
        loop {
            let after = counters.last().map_or_else(String::new, |counter| counter.name.clone());
            let limit = LIST_PAGE_COUNTERS_MAX;
            let request = ListCounters { prefix: prefix.to_owned(), after, limit };
            let response = self.call(request.into(), Repeat::Harmless).await?;
            let Response::ListCounters(page) = response else {
                return Err(ClientError::Unexpected { expected: "a page of counters" });
            };
            let more = page.more && !page.counters.is_empty();
            counters.extend(page.counters);
            if !more {
                return Ok(counters);
            }
        }
    }

    /// Makes a counter go on above `value`; the numbers up to it are skipped. Nothing happens to one that is above it. The
    /// way out for a counter whose file came back shorter than it was: `value` is what was dealt at most.
    ///
    /// # Errors
    /// If there is no such counter, and what any call can meet.
    pub async fn raise_counter(
        &self,
        counter: &str,
        value: u64,
    ) -> Result<CounterInfo, ClientError> {
        let request = RaiseCounter { name: checked(counter)?, value };
        // To raise it twice is to raise it.
        match self.call(request.into(), Repeat::Harmless).await? {
            Response::RaiseCounter(info) => Ok(info),
            _ => Err(ClientError::Unexpected { expected: "the description of a counter" }),
        }
    }

    /// A handle that deals numbers of a counter one by one, taken from the server in ranges.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::Client) -> Result<(), pyralog_client::ClientError> {
    /// use pyralog_client::{ClientError, CounterConfig, CounterLease, CounterMode};
    ///
    /// let config = CounterConfig { mode: CounterMode::Always, ..CounterConfig::default() };
    /// client.create_counter("invoices", config).await?;
    /// let mut invoices = client.counter("invoices", CounterLease::default()).await?;
    /// let number = match invoices.next().await {
    ///     Err(ClientError::NumbersLost { at_most, .. }) => {
    ///         eprintln!("up to {at_most} numbers are missing");
    ///         invoices.next().await?
    ///     }
    ///     next => next?,
    /// };
    /// println!("invoice {number}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::describe_counter`]; [`ClientError::Config`].
    pub async fn counter(
        &self,
        counter: &str,
        lease: CounterLease,
    ) -> Result<Counter, ClientError> {
        let mode = self.describe_counter(counter).await?.config.mode;
        let dense = matches!(mode, CounterMode::Always | CounterMode::Group);
        let block = lease.block.unwrap_or(if dense { 1 } else { COUNTER_LEASE_DEFAULT });
        range("block", block as usize, 1..=COUNTER_LEASE_MAX as usize)?;
        Ok(Counter {
            client: self.clone(),
            name: counter.to_owned(),
            block,
            accepts_gaps: match lease.gaps {
                Gaps::ByMode => !dense,
                Gaps::Accept => true,
                Gaps::Report => false,
            },
            never_repeats: !matches!(mode, CounterMode::UnsafeInterval | CounterMode::Memory),
            taken: 0..0,
            lost: 0,
        })
    }
}

/// Deals numbers of a counter. Each is dealt to one caller of one handle, in rising order within the handle; other handles
/// and programs get those between.
///
/// What it has taken and not dealt when it is dropped is skipped.
#[derive(Debug)]
pub struct Counter {
    client: Client,
    name: String,
    block: u32,
    accepts_gaps: bool,
    /// The counter promises that no number comes twice.
    never_repeats: bool,
    /// Taken from the server, not dealt yet.
    taken: Range<u64>,
    lost: u64,
}

impl Counter {
    /// The next number, if one is taken already: never waits.
    pub fn try_next(&mut self) -> Option<u64> {
        self.taken.next()
    }

    /// The next number. Asks the server if none is left. Dropping the future midway may skip a range.
    ///
    /// # Errors
    /// As [`Client::counter_take`], but that [`ClientError::NumbersLost`] comes only as [`Gaps`] says; what may pass is tried
    /// again for the client's `request_timeout`. [`ClientError::Unexpected`] if numbers came back that the counter had dealt
    /// before.
    pub async fn next(&mut self) -> Result<u64, ClientError> {
        if let Some(number) = self.taken.next() {
            return Ok(number);
        }
        let taken = self.take().await?;
        if self.never_repeats && taken.start < self.taken.end {
            let expected = "numbers above those that the counter dealt before";
            return Err(ClientError::Unexpected { expected });
        }
        self.taken = taken;
        let first = self.taken.next();
        first.ok_or(ClientError::Unexpected { expected: "at least one number" })
    }

    /// How many numbers it can deal without the server.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.taken.end - self.taken.start
    }

    /// How many numbers this handle has skipped at most because answers were lost.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    async fn take(&mut self) -> Result<Range<u64>, ClientError> {
        let (began, patience) = (Instant::now(), self.client.config().request_timeout);
        let (backoff, mut rng, mut failures) =
            (self.client.config().backoff(), Rng::with_seed(entropy()), 0);
        loop {
            let error = match self.client.counter_take(&self.name, self.block).await {
                Ok(taken) => return Ok(taken),
                Err(error) => error,
            };
            if let ClientError::NumbersLost { at_most, .. } = &error {
                self.lost += u64::from(*at_most);
            }
            failures += 1;
            let delay = backoff.delay(failures, &mut rng).max(asked_delay(&error));
            let may_pass = may_pass(&error, self.accepts_gaps);
            if !may_pass || began.elapsed() + delay >= patience {
                return Err(error);
            }
            tracing::debug!(counter = %self.name, %error, "taking numbers again");
            tokio::time::sleep(delay).await;
        }
    }
}

/// Whether to ask again.
fn may_pass(error: &ClientError, accepts_gaps: bool) -> bool {
    match error {
        ClientError::Connect { .. } => true,
        ClientError::NumbersLost { source, .. } => {
            accepts_gaps
                && match &**source {
                    // A bug or a broken disk does not pass.
                    ClientError::Server(reply) => reply.is(ErrorCode::DeadlineExceeded),
                    _ => true,
                }
        }
        // Another node has another counter of the name, or none: no reason to wait.
        ClientError::Server(reply) if reply.is(ErrorCode::WrongRole) => false,
        ClientError::Server(reply) => {
            matches!(reply.retry, Retry::Same | Retry::AfterRefresh | Retry::AfterDelay)
        }
        _ => false,
    }
}

/// How long the server asks to be left alone.
fn asked_delay(error: &ClientError) -> Duration {
    match error {
        ClientError::Server(reply) => crate::fleet::rest_after(reply),
        _ => Duration::ZERO,
    }
}

/// A name that a counter can have.
fn checked(counter: &str) -> Result<String, ClientError> {
    name::check(counter).map_err(ClientError::Name)?;
    if counter.len() > COUNTER_NAME_BYTES_MAX {
        let bytes = counter.len();
        return Err(ClientError::Name(NameError::TooLong { bytes }));
    }
    Ok(counter.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyralog_wire::ErrorReply;

    fn lost(source: ClientError) -> ClientError {
        let counter = "invoices".to_owned();
        ClientError::NumbersLost { counter, at_most: 1, source: Box::new(source) }
    }

    #[test]
    fn lost_numbers_are_passed_over_only_where_gaps_are_accepted() {
        let timeout =
            lost(ClientError::Timeout { operation: "TakeNumbers", after: Duration::ZERO });
        assert!(may_pass(&timeout, true) && !may_pass(&timeout, false));
        assert!(timeout.is_outcome_unknown() && timeout.to_string().contains("invoices"));
        let broken = lost(ClientError::Server(ErrorCode::StorageFailed.into()));
        assert!(!may_pass(&broken, true), "a broken disk does not pass");
    }

    #[test]
    fn what_dealt_nothing_is_tried_again_if_it_may_pass() {
        let server = |code: ErrorCode| ClientError::Server(ErrorReply::from(code));
        assert!(may_pass(&server(ErrorCode::Busy), false));
        assert!(may_pass(&server(ErrorCode::ShuttingDown), false));
        assert!(!may_pass(&server(ErrorCode::WrongRole), true));
        assert!(!may_pass(&server(ErrorCode::UnknownCounter), true));
        assert!(!may_pass(&server(ErrorCode::CounterBehind), true));
    }

    #[test]
    fn names_are_checked_before_anything_is_sent() {
        assert!(checked("orders.eu-1").is_ok());
        assert!(matches!(checked("a/b"), Err(ClientError::Name(_))));
        let long = "x".repeat(COUNTER_NAME_BYTES_MAX + 1);
        assert!(matches!(checked(&long), Err(ClientError::Name(NameError::TooLong { .. }))));
    }
}
