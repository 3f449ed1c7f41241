//! Ids and counters for programs without an async runtime.

use std::ops::Range;
use std::sync::Arc;

use pyralog_seq::scarab::ScarabId;
use pyralog_wire::message::{CounterConfig, CounterInfo};

use super::{Client, Engine};
use crate::counters::CounterLease;
use crate::error::ClientError;
use crate::ids::{IdConfig, Ids, Timestamps};

/// See [`crate::IdSource`]. One per program, cloned for every thread that mints.
#[derive(Clone, Debug)]
pub struct IdSource {
    inner: crate::IdSource,
    engine: Arc<Engine>,
}

impl IdSource {
    /// See [`crate::IdSource::connect`].
    ///
    /// # Errors
    /// As there, and [`ClientError::InsideRuntime`], as for every method here that may wait.
    pub fn connect<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        config: IdConfig,
    ) -> Result<Self, ClientError> {
        let engine = Engine::start()?;
        let inner = engine.wait(crate::IdSource::connect(addresses, config))?;
        Ok(Self { inner, engine })
    }

    /// See [`crate::IdSource::try_next`]: never waits, so it may be called anywhere.
    pub fn try_next(&mut self) -> Option<ScarabId> {
        self.inner.try_next()
    }

    /// See [`crate::IdSource::next`].
    ///
    /// # Errors
    /// As there.
    #[expect(clippy::should_implement_trait, reason = "the async source has the same name")]
    pub fn next(&mut self) -> Result<ScarabId, ClientError> {
        match self.inner.try_next() {
            Some(id) => Ok(id),
            None => self.engine.wait(self.inner.next()),
        }
    }

    /// See [`crate::IdSource::next_many`].
    ///
    /// # Errors
    /// As there.
    pub fn next_many(&mut self, count: u32) -> Result<Ids, ClientError> {
        self.engine.wait(self.inner.next_many(count))
    }

    /// See [`crate::IdSource::timestamps`].
    ///
    /// # Errors
    /// As there.
    pub fn timestamps(&self, count: u32) -> Result<Timestamps, ClientError> {
        self.engine.wait(self.inner.timestamps(count))
    }

    /// See [`crate::IdSource::leased`].
    #[must_use]
    pub fn leased(&self) -> u64 {
        self.inner.leased()
    }
}

impl Client {
    /// See [`crate::Client::create_counter`].
    ///
    /// # Errors
    /// As there.
    pub fn create_counter(
        &self,
        counter: &str,
        config: CounterConfig,
    ) -> Result<CounterInfo, ClientError> {
        self.engine.wait(self.inner.create_counter(counter, config))
    }

    /// See [`crate::Client::counter_take`].
    ///
    /// # Errors
    /// As there.
    pub fn counter_take(&self, counter: &str, count: u32) -> Result<Range<u64>, ClientError> {
        self.engine.wait(self.inner.counter_take(counter, count))
    }

    /// See [`crate::Client::describe_counter`].
    ///
    /// # Errors
    /// As there.
    pub fn describe_counter(&self, counter: &str) -> Result<CounterInfo, ClientError> {
        self.engine.wait(self.inner.describe_counter(counter))
    }

    /// See [`crate::Client::list_counters`].
    ///
    /// # Errors
    /// As there.
    pub fn list_counters(&self, prefix: &str) -> Result<Vec<CounterInfo>, ClientError> {
        self.engine.wait(self.inner.list_counters(prefix))
    }

    /// See [`crate::Client::raise_counter`].
    ///
    /// # Errors
    /// As there.
    pub fn raise_counter(&self, counter: &str, value: u64) -> Result<CounterInfo, ClientError> {
        self.engine.wait(self.inner.raise_counter(counter, value))
    }

    /// See [`crate::Client::counter`].
    ///
    /// # Errors
    /// As there.
    pub fn counter(&self, counter: &str, lease: CounterLease) -> Result<Counter, ClientError> {
        let inner = self.engine.wait(self.inner.counter(counter, lease))?;
        Ok(Counter { inner, engine: Arc::clone(&self.engine) })
    }
}

/// See [`crate::Counter`].
#[derive(Debug)]
pub struct Counter {
    inner: crate::Counter,
    engine: Arc<Engine>,
}

impl Counter {
    /// See [`crate::Counter::try_next`].
    pub fn try_next(&mut self) -> Option<u64> {
        self.inner.try_next()
    }

    /// See [`crate::Counter::next`].
    ///
    /// # Errors
    /// As there.
    #[expect(clippy::should_implement_trait, reason = "the async counter has the same name")]
    pub fn next(&mut self) -> Result<u64, ClientError> {
        match self.inner.try_next() {
            Some(number) => Ok(number),
            None => self.engine.wait(self.inner.next()),
        }
    }

    /// See [`crate::Counter::left`].
    #[must_use]
    pub fn left(&self) -> u64 {
        self.inner.left()
    }

    /// See [`crate::Counter::lost`].
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.inner.lost()
    }
}
