//! The counters that a core owns: named obelisks, opened when first asked for.
//!
//! A counter belongs to the core that the ring gives its name to, in a folder of its own below `<data>/obelisk`, so a restart
//! with another number of cores moves counters between cores and nothing else. A start reads the names and opens nothing;
//! a counter costs an open file and a task only while it is in use, and the one that was not asked for the longest gives way
//! to the next. To close one is what a stop does to all of them: it skips what is left of a reservation.
//!
//! A request to an open counter with numbers in reserve is answered in its own turn ([`take_now`]); everything else gets a
//! task.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::{Bound, Range};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use pyralog_runtime::channel::Event;
use pyralog_runtime::{IoErrorKind, file};
use pyralog_seq::counter::{Counter, CounterError};
use pyralog_seq::obelisk::Mode;
use pyralog_seq::obelisk_file::{self, ObeliskError, Options, Stat};
use pyralog_wire::message::{CounterConfig, CounterInfo, CounterMode, CreateCounter};
use pyralog_wire::{ErrorCode, ErrorReply};

use crate::config::DataConfig;
use crate::data_dir::OBELISK_FOLDER;
use crate::limits::{COUNTERS_OPEN_MAX, COUNTERS_PER_SHARD_MAX, OPENING_AT_ONCE};
use crate::metrics::CountersSnapshot;
use crate::ownership;
use crate::request::busy;
use crate::shard::{Shard, shard_number};

/// The counters of a core, by name.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    known: RefCell<BTreeMap<String, Rc<Known>>>,
    /// How many are open or being opened.
    open: Cell<usize>,
    /// Requests so far: says which counter was not asked for the longest.
    asked: Cell<u64>,
    /// Numbers dealt since the start.
    dealt: Cell<u64>,
    /// A counter was opened, or could not be.
    settled: Event,
}

/// A counter that this core owns.
#[derive(Debug)]
struct Known {
    name: String,
    state: RefCell<State>,
    /// [`Counters::asked`] when it was last asked for.
    used: Cell<u64>,
}

#[derive(Debug, Clone)]
enum State {
    /// Not in use.
    Closed,
    /// On its way to or from being open: wait for [`Counters::settled`].
    Moving,
    /// In use.
    Open(Rc<Counter>),
}

impl Counters {
    /// Answers from the reserve of an open counter, if it has one. The name is one that this core owns.
    pub(crate) fn take_now(&self, name: &str, count: NonZeroU64) -> Option<Range<u64>> {
        let known = self.known.borrow();
        let known = known.get(name)?;
        let state = known.state.borrow();
        let State::Open(counter) = &*state else { return None };
        let dealt = counter.try_take(count)?;
        self.note_use(known);
        self.dealt.set(self.dealt.get() + count.get());
        Some(dealt)
    }

    /// Its numbers.
    pub(crate) fn snapshot(&self) -> CountersSnapshot {
        let known = self.known.borrow();
        let failed = known.values().filter(|known| {
            matches!(&*known.state.borrow(), State::Open(counter) if counter.failure().is_some())
        });
        CountersSnapshot {
            owned: known.len() as u64,
            open: self.open.get() as u64,
            failed: failed.map(|known| known.name.clone()).collect(),
            dealt: self.dealt.get(),
        }
    }

    fn get(&self, name: &str) -> Option<Rc<Known>> {
        self.known.borrow().get(name).cloned()
    }

    fn note_use(&self, known: &Known) {
        self.asked.set(self.asked.get() + 1);
        known.used.set(self.asked.get());
    }

    fn insert(&self, name: &str, state: State) -> Rc<Known> {
        let known = Known { name: name.into(), state: RefCell::new(state), used: Cell::new(0) };
        let known = Rc::new(known);
        let before = self.known.borrow_mut().insert(name.into(), Rc::clone(&known));
        assert!(before.is_none(), "counter {name} is known once");
        known
    }

    /// The open counter that was not asked for the longest.
    fn idlest(&self) -> Option<Rc<Known>> {
        let known = self.known.borrow();
        let open = known.values().filter(|known| {
            // Whoever holds it besides us is waiting for numbers.
            matches!(&*known.state.borrow(), State::Open(counter) if Rc::strong_count(counter) == 1)
        });
        open.min_by_key(|known| known.used.get()).cloned()
    }
}

impl Shard {
    fn obelisk_folder(&self) -> Option<PathBuf> {
        match &self.config.data {
            DataConfig::Dir(data) => Some(data.join(OBELISK_FOLDER)),
            DataConfig::MemoryOnly { .. } => None,
        }
    }

    /// Learns which counters this core owns.
    ///
    /// # Errors
    /// One sentence, if the folder cannot be read.
    pub(crate) async fn list_counters(&self) -> Result<(), String> {
        let Some(folder) = self.obelisk_folder() else { return Ok(()) };
        if !file::exists(&folder).await.map_err(|error| error.to_string())? {
            return Ok(());
        }
        let names = obelisk_file::names(&folder).await.map_err(|error| error.to_string())?;
        for name in names {
            if ownership::counter_owner(&name, self.shards) == self.index {
                self.counters.insert(&name, State::Closed);
            }
        }
        Ok(())
    }

    /// Creates a counter. One that is there in the same mode is as good as new.
    pub(crate) async fn create_counter(
        &self,
        create: &CreateCounter,
    ) -> Result<CounterInfo, ErrorReply> {
        let mode = mode_of(&create.config);
        let known = match self.counters.get(&create.name) {
            Some(known) => known,
            None => self.new_counter(&create.name, mode)?,
        };
        self.counters.note_use(&known);
        let options = Options { mode, ..Options::default() };
        let open =
            |folder, name: String| async move { Counter::open(folder, &name, options).await };
        // What a creation has begun that is cut short here is taken up by the next one.
        let counter = self.open_counter(&known, open).await?;
        if counter.stat().mode != mode {
            return Err(ErrorCode::CounterExists.into());
        }
        Ok(self.info(&create.name, &counter))
    }

    /// Knows a counter that is about to be made.
    fn new_counter(&self, name: &str, mode: Mode) -> Result<Rc<Known>, ErrorReply> {
        if self.obelisk_folder().is_none() && mode != Mode::Memory {
            let text = "a server in memory keeps counters of the mode `memory` only";
            return Err(ErrorReply::new(ErrorCode::InvalidConfig, text));
        }
        if self.counters.known.borrow().len() >= COUNTERS_PER_SHARD_MAX {
            return Err(ErrorCode::TooManyCounters.into());
        }
        Ok(self.counters.insert(name, State::Closed))
    }

    /// Takes numbers; waits for the disk if it has to.
    pub(crate) async fn take_numbers(
        &self,
        name: &str,
        count: NonZeroU64,
    ) -> Result<Range<u64>, ErrorReply> {
        let counter = self.counter(name).await?;
        let dealt = counter.take(count).await.map_err(|error| counter_error(name, &error))?;
        self.counters.dealt.set(self.counters.dealt.get() + count.get());
        Ok(dealt)
    }

    /// Makes a counter go on above `value`, also one that cannot be opened otherwise.
    pub(crate) async fn raise_counter(
        &self,
        name: &str,
        value: u64,
    ) -> Result<CounterInfo, ErrorReply> {
        let counter = match self.counter(name).await {
            Err(error) if error.is(ErrorCode::CounterBehind) => {
                let known = self.counters.get(name).ok_or_else(|| unknown(name))?;
                let options = Options::default();
                let raised = self.open_counter(&known, |folder, name| async move {
                    Counter::open_raised(folder, &name, options, value).await
                });
                raised.await?
            }
            counter => counter?,
        };
        counter.raise(value).await.map_err(|error| counter_error(name, &error))?;
        Ok(self.info(name, &counter))
    }

    /// How a counter stands. One that cannot be opened has its problem there.
    pub(crate) async fn describe_counter(&self, name: &str) -> Result<CounterInfo, ErrorReply> {
        match self.counter(name).await {
            Ok(counter) => Ok(self.info(name, &counter)),
            Err(error) if error.is(ErrorCode::UnknownCounter) => Err(error),
            Err(error) => Ok(self.unopened(name, error)),
        }
    }

    /// What is said of a counter that cannot be opened.
    fn unopened(&self, name: &str, error: ErrorReply) -> CounterInfo {
        CounterInfo {
            name: name.into(),
            config: CounterConfig::default(),
            shard: shard_number(self.index),
            last: 0,
            durable: 0,
            generation: 0,
            stride: 0,
            disk_bytes: 0,
            problem: error.message,
        }
    }

    /// The counters of this core whose names begin with `prefix` and come after `after`, by name; one more than `limit` if
    /// there are more.
    pub(crate) async fn counters_page(
        &self,
        (prefix, after): (&str, &str),
        limit: u32,
    ) -> Vec<CounterInfo> {
        let names: Vec<String> = {
            let known = self.counters.known.borrow();
            let from =
                if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
            let names = known.range::<str, _>((from, Bound::Unbounded)).map(|(name, _)| name);
            let ours = names.take_while(|name| name.starts_with(prefix));
            ours.take(limit as usize + 1).cloned().collect()
        };
        let infos = stream::iter(&names).map(|name| async move {
            // One whose creation was cut short is none, but its name would be missed where a page ends.
            self.describe_counter(name).await.unwrap_or_else(|error| self.unopened(name, error))
        });
        infos.buffered(OPENING_AT_ONCE).collect().await
    }

    /// Closes all counters.
    pub(crate) async fn close_counters(&self) {
        let open: Vec<Rc<Known>> = self.counters.known.borrow().values().cloned().collect();
        let closing =
            stream::iter(open).map(|known| async move { self.close_counter(&known).await });
        closing.buffer_unordered(OPENING_AT_ONCE).collect::<Vec<()>>().await;
    }

    /// The open counter of that name.
    async fn counter(&self, name: &str) -> Result<Rc<Counter>, ErrorReply> {
        let known = self.counters.get(name).ok_or_else(|| unknown(name))?;
        self.counters.note_use(&known);
        let open = |folder, name: String| async move { Counter::open_made(folder, &name).await };
        self.open_counter(&known, open).await
    }

    /// The counter, opened by `open` if it is not open.
    async fn open_counter<F: Future<Output = Result<Counter, ObeliskError>>>(
        &self,
        known: &Rc<Known>,
        open: impl FnOnce(PathBuf, String) -> F,
    ) -> Result<Rc<Counter>, ErrorReply> {
        loop {
            let settled = self.counters.settled.listen();
            let state = known.state.borrow().clone();
            match state {
                State::Open(counter) => return Ok(counter),
                State::Moving => settled.await,
                State::Closed => break,
            }
        }
        known.state.replace(State::Moving);
        self.make_room().await;
        let opened = match self.obelisk_folder() {
            Some(folder) => open(folder, known.name.clone()).await,
            None => Ok(Counter::in_memory()),
        };
        let (state, outcome) = match opened {
            Ok(counter) => {
                let counter = Rc::new(counter);
                self.counters.open.set(self.counters.open.get() + 1);
                (State::Open(Rc::clone(&counter)), Ok(counter))
            }
            Err(error) => {
                if !matches!(error, ObeliskError::NotMade { .. }) {
                    tracing::error!(counter = known.name, %error, "a counter could not be opened");
                }
                (State::Closed, Err(obelisk_error(&known.name, &error)))
            }
        };
        known.state.replace(state);
        self.counters.settled.notify_all();
        outcome
    }

    /// Closes counters until one more may be opened. If all are in use, one more than there should be is.
    async fn make_room(&self) {
        while self.counters.open.get() >= COUNTERS_OPEN_MAX {
            let Some(idlest) = self.counters.idlest() else { return };
            self.close_counter(&idlest).await;
        }
    }

    async fn close_counter(&self, known: &Known) {
        let State::Open(counter) = known.state.borrow().clone() else { return };
        known.state.replace(State::Moving);
        if let Err(error) = counter.close().await {
            tracing::warn!(counter = known.name, %error, "a counter was not closed in order");
        }
        self.counters.open.set(self.counters.open.get() - 1);
        known.state.replace(State::Closed);
        self.counters.settled.notify_all();
    }

    fn info(&self, name: &str, counter: &Counter) -> CounterInfo {
        let stat = counter.stat();
        let file = stat.file.filter(|_| stat.mode != Mode::Memory);
        CounterInfo {
            name: name.into(),
            config: config_of(stat.mode),
            shard: shard_number(self.index),
            last: stat.next,
            durable: stat.durable,
            generation: file.map_or(0, |file: Stat| file.generation),
            stride: file.map_or(0, |file| file.stride),
            disk_bytes: file.map_or(0, |file| file.allocated_bytes),
            problem: counter.failure().map_or_else(String::new, |error| error.to_string()),
        }
    }
}

/// The mode of an obelisk that works so.
pub(crate) fn mode_of(config: &CounterConfig) -> Mode {
    match config.mode {
        CounterMode::Reserve => Mode::reserve(config.block),
        CounterMode::Always => Mode::Always,
        CounterMode::Group => Mode::Group,
        CounterMode::UnsafeInterval => {
            Mode::UnsafeInterval { interval: Duration::from_millis(config.interval_ms.into()) }
        }
        CounterMode::Memory => Mode::Memory,
    }
}

fn config_of(mode: Mode) -> CounterConfig {
    let plain = |mode| CounterConfig { mode, ..CounterConfig::default() };
    match mode {
        Mode::Always => plain(CounterMode::Always),
        Mode::Group => plain(CounterMode::Group),
        Mode::Reserve { block, .. } => CounterConfig { block, ..plain(CounterMode::Reserve) },
        Mode::UnsafeInterval { interval } => CounterConfig {
            interval_ms: u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
            ..plain(CounterMode::UnsafeInterval)
        },
        Mode::Memory => plain(CounterMode::Memory),
    }
}

fn unknown(name: &str) -> ErrorReply {
    let text = format!("there is no counter {name}: create it, or list the counters");
    ErrorReply::new(ErrorCode::UnknownCounter, text)
}

fn counter_error(name: &str, error: &CounterError) -> ErrorReply {
    match error {
        CounterError::Busy => busy("too many requests wait for the counter"),
        CounterError::Failed(error) => obelisk_error(name, error),
        CounterError::Closed => ErrorCode::ShuttingDown.into(),
        error => ErrorReply::new(ErrorCode::InvalidRequest, format!("counter {name}: {error}")),
    }
}

fn obelisk_error(name: &str, error: &ObeliskError) -> ErrorReply {
    let code = match error {
        ObeliskError::CameBackShorter { .. } | ObeliskError::Unattested { .. } => {
            ErrorCode::CounterBehind
        }
        ObeliskError::NotMade { .. } => return unknown(name),
        ObeliskError::Refused(_) => ErrorCode::NoSpace,
        ObeliskError::Unopened(cause) if cause.kind() == IoErrorKind::NoSpace => ErrorCode::NoSpace,
        ObeliskError::Unopened(_) | ObeliskError::AlreadyOpen { .. } => ErrorCode::ReadFailed,
        ObeliskError::Exhausted => ErrorCode::InvalidRequest,
        ObeliskError::Newer { .. } | ObeliskError::BadName { .. } => ErrorCode::Internal,
        _ => ErrorCode::StorageFailed,
    };
    let way_out = match code {
        ErrorCode::CounterBehind => {
            format!(" (`pyralog obelisk raise {name} VALUE`), or restore the newer file")
        }
        ErrorCode::StorageFailed => "; it deals nothing until the server restarts".to_owned(),
        _ => String::new(),
    };
    ErrorReply::new(code, format!("counter {name}: {error}{way_out}"))
}
