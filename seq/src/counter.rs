//! A counter at work: one [`Obelisk`] over one [`ObeliskFile`], for the tasks of a core.
//!
//! Who takes from a reservation is answered in its own turn, without a task, a message or an allocation. One task, the
//! keeper, extends the file: it is woken when a reservation runs low or somebody waits, does one extension at a time, and
//! answers those that it was for.
//!
//! ```text
//!   try_take ----> Obelisk <---- keeper ----> ObeliskFile
//!                     ^              ^
//!   take, raise ------+--- stirred --+
//! ```
//!
//! The machine is shared between its takers and the keeper, so it is in a `RefCell`; nobody holds it across an `await`.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use pyralog_runtime::channel::{Event, OnceSender, oneshot};
use pyralog_runtime::time::{self, Monotonic};
use pyralog_runtime::{Task, spawn_durable};

use crate::limits::{VALUE_MAX, WAITING_MAX};
use crate::obelisk::{Mode, Obelisk, Unqueued};
use crate::obelisk_file::{ObeliskError, ObeliskFile, Options, Stat};

/// Why a counter dealt nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CounterError {
    /// Too many wait already: try again later.
    Busy,
    /// There are not so many numbers left.
    Exhausted,
    /// The extension that it waited for has failed. If that is [retryable](ObeliskError::is_retryable), so is this; else
    /// the counter deals nothing any more until it is opened again.
    Failed(Rc<ObeliskError>),
    /// It was closed.
    Closed,
}

impl fmt::Display for CounterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => write!(f, "{WAITING_MAX} requests wait for the counter already"),
            Self::Exhausted => f.write_str("the counter has not so many numbers left"),
            Self::Failed(error) => error.fmt(f),
            Self::Closed => f.write_str("the counter was closed"),
        }
    }
}

impl Error for CounterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(&**error),
            _ => None,
        }
    }
}

/// How a counter stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CounterStat {
    /// First number that was not dealt.
    pub next: u64,
    /// Every number below this is on disk; what was found there, before the first extension.
    pub durable: u64,
    /// How many requests wait.
    pub waiting: usize,
    /// How its numbers are dealt.
    pub mode: Mode,
    /// Its file after the last extension; `None` of a counter without one.
    pub file: Option<Stat>,
}

type Answer<T> = OnceSender<Result<T, CounterError>>;

/// A counter of this core. Dropping it is a crash of it: who waits is told that it is closed, nothing is noted, and the
/// file stays locked until an extension under way has come to its end.
#[derive(Debug)]
pub struct Counter {
    shared: Rc<Shared>,
    /// `None` once it was closed, and of a counter without a file.
    keeper: RefCell<Option<Task<Result<(), ObeliskError>>>>,
}

#[derive(Debug)]
struct Shared {
    state: RefCell<State>,
    /// There may be something for the keeper.
    stirred: Event,
}

#[derive(Debug)]
struct State {
    obelisk: Obelisk<Answer<Range<u64>>>,
    /// Operators that wait until no number below theirs is dealt any more. At most [`WAITING_MAX`].
    raises: Vec<(u64, Answer<()>)>,
    file: Option<Stat>,
    /// Why nothing is dealt any more.
    ended: Option<CounterError>,
}

/// What the keeper does next.
enum Step {
    Extend(u64),
    Rest(Option<Monotonic>),
    End,
}

impl Counter {
    /// Opens the counter `name` in `directory`, or makes it: see [`ObeliskFile::open`]. One that is there stays in the
    /// mode that it was made in. In the mode `Memory` the file only says that there is such a counter, which begins again
    /// at zero.
    ///
    /// # Errors
    /// As [`ObeliskFile::open`].
    ///
    /// # Panics
    /// If `options` are out of range; outside a core.
    pub async fn open(
        directory: impl AsRef<Path>,
        name: &str,
        options: Options,
    ) -> Result<Self, ObeliskError> {
        let (file, _) = ObeliskFile::open(directory, name, options).await?;
        Ok(Self::over(file))
    }

    /// Opens the counter `name` in `directory`, which was made before: see [`ObeliskFile::open_made`].
    ///
    /// # Errors
    /// As [`ObeliskFile::open_made`].
    ///
    /// # Panics
    /// Outside a core.
    pub async fn open_made(directory: impl AsRef<Path>, name: &str) -> Result<Self, ObeliskError> {
        let (file, _) = ObeliskFile::open_made(directory, name).await?;
        Ok(Self::over(file))
    }

    /// Opens it whatever is found, above `value` and everything that was found: see [`ObeliskFile::raise_to`].
    ///
    /// # Errors
    /// As [`ObeliskFile::raise_to`].
    ///
    /// # Panics
    /// If `options` are out of range; outside a core.
    pub async fn open_raised(
        directory: impl AsRef<Path>,
        name: &str,
        options: Options,
        value: u64,
    ) -> Result<Self, ObeliskError> {
        let (file, _) = ObeliskFile::raise_to(directory, name, options, value).await?;
        Ok(Self::over(file))
    }

    /// A counter without a file, at zero.
    ///
    /// # Panics
    /// Outside a core.
    #[must_use]
    pub fn in_memory() -> Self {
        let shared = Shared::new(Obelisk::new(Mode::Memory, 0), None);
        Self { shared: Rc::new(shared), keeper: RefCell::new(None) }
    }

    /// A counter over an open file, in the mode that the file remembers.
    ///
    /// # Panics
    /// Outside a core.
    #[must_use]
    pub fn over(file: ObeliskFile) -> Self {
        let stat = file.stat();
        let value = if stat.mode == Mode::Memory { 0 } else { stat.value };
        let shared = Rc::new(Shared::new(Obelisk::new(stat.mode, value), Some(stat)));
        let keeper = spawn_durable("counter", keep(Rc::clone(&shared), file));
        Self { shared, keeper: RefCell::new(Some(keeper)) }
    }

    /// Deals `count` consecutive numbers at once, or `None`: then [`take`](Self::take) waits for them or says why not.
    ///
    /// # Panics
    /// If `count` exceeds [`TAKE_COUNT_MAX`](crate::limits::TAKE_COUNT_MAX).
    #[inline]
    #[must_use]
    pub fn try_take(&self, count: NonZeroU64) -> Option<Range<u64>> {
        let mut state = self.shared.state.borrow_mut();
        let dealt = state.obelisk.try_take(count);
        let is_stirred = state.obelisk.is_stirred();
        drop(state);
        if is_stirred {
            self.shared.stirred.notify_all();
        }
        dealt
    }

    /// Deals `count` consecutive numbers, in the order of the calls. When it resolves, they are as durable as the mode of
    /// the counter says. Dropped midway, the numbers may have been dealt to nobody.
    ///
    /// # Errors
    /// See [`CounterError`]; nothing was dealt then.
    ///
    /// # Panics
    /// If `count` exceeds [`TAKE_COUNT_MAX`](crate::limits::TAKE_COUNT_MAX).
    pub async fn take(&self, count: NonZeroU64) -> Result<Range<u64>, CounterError> {
        if let Some(dealt) = self.try_take(count) {
            return Ok(dealt);
        }
        let (answer, answered) = oneshot();
        {
            let mut state = self.shared.state.borrow_mut();
            if let Some(why) = &state.ended {
                return Err(why.clone());
            }
            match state.obelisk.wait(count, answer) {
                Ok(()) => {}
                Err(Unqueued::Busy(_)) => return Err(CounterError::Busy),
                Err(Unqueued::Exhausted(_)) => return Err(CounterError::Exhausted),
            }
        }
        self.shared.stirred.notify_all();
        answered.await.unwrap_or(Err(CounterError::Closed))
    }

    /// Sees to it that no number below `value` is dealt any more; resolves when that is so, and as durable as the mode of
    /// the counter says. Nothing happens to a counter that is above.
    ///
    /// # Errors
    /// See [`CounterError`]; `Exhausted` if `value` exceeds [`VALUE_MAX`].
    pub async fn raise(&self, value: u64) -> Result<(), CounterError> {
        if value > VALUE_MAX {
            return Err(CounterError::Exhausted);
        }
        let (answer, answered) = oneshot();
        {
            let mut state = self.shared.state.borrow_mut();
            if let Some(why) = &state.ended {
                return Err(why.clone());
            }
            if state.raises.len() == WAITING_MAX {
                return Err(CounterError::Busy);
            }
            state.obelisk.raise(value);
            state.raises.push((value, answer));
            state.answer();
        }
        self.shared.stirred.notify_all();
        answered.await.unwrap_or(Err(CounterError::Closed))
    }

    /// How it stands.
    #[must_use]
    pub fn stat(&self) -> CounterStat {
        let state = self.shared.state.borrow();
        let obelisk = &state.obelisk;
        CounterStat {
            next: obelisk.next(),
            durable: obelisk.durable(),
            waiting: obelisk.waiting(),
            mode: obelisk.mode(),
            file: state.file,
        }
    }

    /// Why it deals nothing any more, if so.
    #[must_use]
    pub fn failure(&self) -> Option<CounterError> {
        self.shared.state.borrow().ended.clone()
    }

    /// Deals nothing any more, waits for the extension under way, makes durable what a counter that may repeat has dealt,
    /// and lets go of the file. Who waits is told. A second call does nothing.
    ///
    /// # Errors
    /// If the file could not be closed in order: see [`ObeliskFile::close`].
    pub async fn close(&self) -> Result<(), ObeliskError> {
        self.shared.state.borrow_mut().end(&CounterError::Closed);
        self.shared.stirred.notify_all();
        let keeper = self.keeper.borrow_mut().take();
        match keeper {
            Some(keeper) => {
                keeper.await.unwrap_or_else(|panicked| Err(ObeliskError::Broken(panicked)))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.shared.state.borrow_mut().end(&CounterError::Closed);
    }
}

impl Shared {
    fn new(obelisk: Obelisk<Answer<Range<u64>>>, file: Option<Stat>) -> Self {
        let state = State { obelisk, raises: Vec::new(), file, ended: None };
        Self { state: RefCell::new(state), stirred: Event::new() }
    }
}

impl State {
    fn step(&mut self) -> Step {
        if self.ended.is_some() {
            return Step::End;
        }
        match self.obelisk.poll_extend(time::now()) {
            Some(value) => Step::Extend(value),
            None => Step::Rest(self.obelisk.deadline()),
        }
    }

    /// An extension has come to its end.
    fn settle(&mut self, result: Result<(), ObeliskError>, stat: Stat) {
        self.file = Some(stat);
        if self.ended.is_some() {
            return;
        }
        match result {
            Ok(()) => self.obelisk.extended(stat.value),
            Err(error) => {
                let (is_retryable, error) = (error.is_retryable(), Rc::new(error));
                tracing::error!(%error, "a counter could not be extended");
                if is_retryable {
                    self.obelisk.refused(time::now());
                    self.fail_waiting(&CounterError::Failed(error));
                } else {
                    self.end(&CounterError::Failed(error));
                }
            }
        }
        self.answer();
    }

    /// Answers all who have what they waited for.
    fn answer(&mut self) {
        while let Some((waiter, dealt)) = self.obelisk.pop_dealt() {
            // Err: it was dropped meanwhile, and its numbers with it.
            waiter.send(Ok(dealt)).ok();
        }
        let next = self.obelisk.next();
        for (_, waiter) in self.raises.extract_if(.., |(value, _)| *value <= next) {
            waiter.send(Ok(())).ok(); // Err: as above.
        }
    }

    fn fail_waiting(&mut self, why: &CounterError) {
        while let Some(waiter) = self.obelisk.pop_waiting() {
            waiter.send(Err(why.clone())).ok(); // Err: nobody wants to know.
        }
        for (_, waiter) in self.raises.drain(..) {
            waiter.send(Err(why.clone())).ok(); // Err: as above.
        }
    }

    /// Nothing is dealt from now on.
    fn end(&mut self, why: &CounterError) {
        self.ended.get_or_insert_with(|| why.clone());
        self.obelisk.stop();
        self.fail_waiting(why);
    }
}

/// Extends the file whenever the machine asks for it, until the counter ends.
async fn keep(shared: Rc<Shared>, mut file: ObeliskFile) -> Result<(), ObeliskError> {
    loop {
        let stirred = shared.stirred.listen();
        let step = shared.state.borrow_mut().step();
        match step {
            Step::Extend(value) => {
                let result = file.extend_to(value).await;
                shared.state.borrow_mut().settle(result, file.stat());
            }
            // Elapsed: that is what it waited for.
            Step::Rest(Some(deadline)) => time::timeout_at(deadline, stirred).await.unwrap_or(()),
            Step::Rest(None) => stirred.await,
            Step::End => break,
        }
    }
    // Only a counter that may repeat has dealt more than is durable; in memory, nothing of it ever is.
    let (mode, next) = {
        let state = shared.state.borrow();
        (state.obelisk.mode(), state.obelisk.next())
    };
    if matches!(mode, Mode::UnsafeInterval { .. }) && next > file.value() {
        file.extend_to(next).await?;
    }
    file.close().await
}
