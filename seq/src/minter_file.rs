//! Mints ids on a core: a [minter](crate::minter), the [clock](crate::clock) it goes by and the file of its high-water mark.
//!
//! The marks of all shards lie in one directory, an [obelisk](crate::obelisk_file) each. At a start every shard begins at the
//! highest of them, also of shards that are no more: so slots may go to other shards at each start, and all that has to
//! be sure is that within one life no two have the same.
//!
//! A *keeper*, one task, writes the mark ahead in the background. Dealing never waits for it as long as ids were asked for
//! within the last seconds; after a pause the first caller waits for one sync.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use pyralog_runtime::channel::Event;
use pyralog_runtime::{Task, spawn_durable, time};

use crate::clock::{ClockUnset, Discipline, Reading, State, Trust};
use crate::minter::{Minter, NotReady};
use crate::obelisk_file::{self, ObeliskError, ObeliskFile};
use crate::pharaoh::{Block, SlotSet};
use crate::scarab::{EPOCH_UNIX_MS, ScarabId};

/// How long the keeper waits after the system refused to make the mark's file longer: a disk does not empty itself, and
/// one line a second is enough in a log.
const RETRY: Duration = Duration::from_secs(1);

/// What a mint deals from, and how far it believes its clock.
#[derive(Clone, Copy, Debug)]
pub struct MintOptions {
    /// Its slots. Nobody else may have them.
    pub slots: SlotSet,
    /// What is known of the clock.
    pub trust: Trust,
    /// No id has a time before this, in milliseconds since the Unix epoch: for slots that another node has had.
    pub not_before_unix_ms: u64,
}

/// Why there is no mint.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no time to begin at.
    Clock(ClockUnset),
    /// The mark of a shard cannot be read, or this shard's not be written.
    Mark(ObeliskError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(error) => error.fmt(f),
            Self::Mark(error) => write!(f, "the high-water mark of ids: {error}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Clock(error) => Some(error),
            Self::Mark(error) => Some(error),
        }
    }
}

/// Why there are no ids.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MintError {
    /// The clock cannot be believed: other nodes have a better one.
    Clock(State),
    /// Not at this moment.
    NotReady(NotReady),
    /// The mark could not be written. Nothing helps but a restart, unless the error may be
    /// [tried again](ObeliskError::is_retryable), which is done.
    Mark(Rc<ObeliskError>),
    /// The mint is closed.
    Closed,
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(state) => {
                write!(f, "the clock of this node has {state}: ask another, and set it right")
            }
            Self::NotReady(reason) => reason.fmt(f),
            Self::Mark(error) if error.is_retryable() => {
                write!(f, "the high-water mark of ids cannot be written: {error}")
            }
            Self::Mark(error) => write!(
                f,
                "the high-water mark of ids cannot be written until the server is started again: {error}"
            ),
            Self::Closed => f.write_str("the server is stopping"),
        }
    }
}

impl std::error::Error for MintError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotReady(reason) => Some(reason),
            Self::Mark(error) => Some(&**error),
            Self::Clock(_) | Self::Closed => None,
        }
    }
}

/// How a mint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MintStat {
    /// Its clock.
    pub clock: Reading,
    /// Milliseconds that the slot whose turn it is runs ahead of that.
    pub ahead_ms: u64,
    /// Later lives deal nothing from before it, in milliseconds since the Scarab epoch; `None` without a file.
    pub high_water_ms: Option<u64>,
    /// How many slots it deals from.
    pub slots: usize,
    /// How many ids it has dealt.
    pub dealt: u64,
}

/// Deals ids on the core that made it. [Close](Self::close) it; dropping it is a crash, which costs no id.
#[derive(Debug)]
pub struct Mint {
    inner: Rc<Inner>,
    keeper: RefCell<Option<Task<ObeliskFile>>>,
    is_durable: bool,
}

/// What the mint and its keeper share.
#[derive(Debug)]
struct Inner {
    clock: RefCell<Discipline>,
    /// As last read: what the log was told.
    state: Cell<State>,
    minter: RefCell<Minter>,
    failure: RefCell<Option<Rc<ObeliskError>>>,
    is_closed: Cell<bool>,
    /// The keeper has something to do.
    due: Event,
    /// The mark has moved, or cannot.
    settled: Event,
}

/// How writing the mark has ended.
enum Settled {
    Moved,
    /// As if it had not been tried.
    Refused,
    /// Nobody knows what is on disk.
    Poisoned,
}

impl Mint {
    /// Opens the mark of `shard` in `directory`, or makes it, and moves it: when this resolves, ids can be dealt. All shards of
    /// a node use the same directory, and may open at the same time.
    ///
    /// # Errors
    /// If the clock was never set; if the mark of any shard cannot be trusted; if this one's cannot be written.
    ///
    /// # Panics
    /// If there is no slot; outside a core.
    pub async fn open(
        directory: &Path,
        shard: usize,
        options: &MintOptions,
    ) -> Result<Self, OpenError> {
        let mark = open_mark(directory, shard);
        let (mut file, found_ms) = mark.await.map_err(OpenError::Mark)?;
        let trust = if found_ms == 0 { Trust::Vouched } else { options.trust };
        let floor_ms = found_ms.max(options.not_before_ms());
        let (clock, now_ms) = start_clock(floor_ms, trust)?;
        let mut minter = Minter::new(&options.slots, floor_ms, now_ms);
        if let Some(mark_ms) = minter.poll_extend(now_ms) {
            file.extend_to(mark_ms).await.map_err(OpenError::Mark)?;
            minter.extended();
        }
        let inner = Inner::new(clock, minter);
        let keeper = spawn_durable("mark of ids", keep(Rc::clone(&inner), file));
        Ok(Self { inner, keeper: RefCell::new(Some(keeper)), is_durable: true })
    }

    /// A mint without a file, for a server without a disk. It begins at the time that the clock shows.
    ///
    /// If the clock goes back between two lives, they can deal the same ids. That breaks no promise: a server without a disk is
    /// another cluster in each life, and ids are unique within one. Whoever carries them further should know.
    ///
    /// # Errors
    /// If the clock was never set.
    ///
    /// # Panics
    /// If there is no slot.
    pub fn in_memory(options: &MintOptions) -> Result<Self, OpenError> {
        let (clock, now_ms) = start_clock(options.not_before_ms(), Trust::Vouched)?;
        let inner = Inner::new(clock, Minter::in_memory(&options.slots, now_ms));
        Ok(Self { inner, keeper: RefCell::new(None), is_durable: false })
    }

    /// Makes sure, without waiting, that [`take`](Self::take) can deal `count` ids of one slot: for records, which are taken
    /// whatever state the clock is in.
    ///
    /// # Errors
    /// `NotReady`, for some milliseconds; `Mark`; `Closed`.
    ///
    /// # Panics
    /// If `count` is over [`READY_COUNT_MAX`](crate::limits::READY_COUNT_MAX).
    pub fn ready(&self, count: u64) -> Result<(), MintError> {
        let now_ms = self.inner.read_clock().time_ms;
        self.inner.ask(now_ms, |minter| minter.ready(count, now_ms))
    }

    /// Deals the next `count` of the ids that [`ready`](Self::ready) made sure of, and returns the first; the others follow it
    /// tick by tick. Nothing may be awaited between the two.
    ///
    /// # Panics
    /// If `count` is zero, or more than is ready.
    #[must_use]
    pub fn take(&self, count: u32) -> ScarabId {
        self.inner.minter.borrow_mut().take(count)
    }

    /// Deals `count` ids to whoever will mint them: the id service. Waits while the mark moves, not for the clock.
    ///
    /// # Errors
    /// `Clock`; `NotReady` if the slots are too far ahead; `Mark`; `Closed`.
    ///
    /// # Panics
    /// If `count` is zero or over [`DEAL_COUNT_MAX`](crate::limits::DEAL_COUNT_MAX).
    pub async fn deal(&self, count: u32) -> Result<Block, MintError> {
        loop {
            let settled = self.inner.settled.listen();
            let Reading { time_ms: now_ms, state } = self.inner.read_clock();
            if state != State::Steady {
                return Err(MintError::Clock(state));
            }
            match self.inner.ask(now_ms, |minter| minter.deal(count, now_ms)) {
                Err(MintError::NotReady(NotReady::NotDurable)) => settled.await,
                answer => return answer,
            }
        }
    }

    /// Waits for the mark, if it is being written or is about to be: ask again what was not ready before.
    pub async fn settled(&self) {
        let settled = self.inner.settled.listen();
        let now_ms = self.inner.read_clock().time_ms;
        if self.inner.is_unsettled(now_ms) {
            settled.await;
        }
    }

    /// Why the mark could not be written the last time, if it could not.
    #[must_use]
    pub fn failure(&self) -> Option<Rc<ObeliskError>> {
        self.inner.failure.borrow().clone()
    }

    /// How it stands.
    #[must_use]
    pub fn stat(&self) -> MintStat {
        let clock = self.inner.read_clock();
        let minter = self.inner.minter.borrow();
        MintStat {
            clock,
            ahead_ms: minter.ahead_ms(clock.time_ms),
            high_water_ms: self.is_durable.then(|| minter.high_water_ms()),
            slots: minter.slots(),
            dealt: minter.dealt(),
        }
    }

    /// Deals nothing any more, and lets go of the file once it is at rest.
    ///
    /// # Errors
    /// As for [`ObeliskFile::close`]. No id is in danger.
    pub async fn close(&self) -> Result<(), ObeliskError> {
        self.inner.is_closed.set(true);
        self.inner.due.notify_all();
        self.inner.settled.notify_all();
        let keeper = self.keeper.borrow_mut().take();
        let Some(keeper) = keeper else { return Ok(()) };
        keeper.await.map_err(ObeliskError::Broken)?.close().await
    }
}

impl MintOptions {
    /// The same time since the Scarab epoch.
    const fn not_before_ms(&self) -> u64 {
        self.not_before_unix_ms.saturating_sub(EPOCH_UNIX_MS)
    }
}

impl Inner {
    fn new(clock: Discipline, minter: Minter) -> Rc<Self> {
        Rc::new(Self {
            clock: RefCell::new(clock),
            state: Cell::new(State::Steady),
            minter: RefCell::new(minter),
            failure: RefCell::new(None),
            is_closed: Cell::new(false),
            due: Event::new(),
            settled: Event::new(),
        })
    }

    fn read_clock(&self) -> Reading {
        let reading = self.clock.borrow_mut().observe(wall_unix_ms(), time::now());
        let before = self.state.replace(reading.state);
        if mem::discriminant(&before) != mem::discriminant(&reading.state) {
            tracing::warn!(state = %reading.state, "the clock that ids go by");
        }
        reading
    }

    /// Asks the minter, has the keeper act on what that changed, and says why there is nothing.
    fn ask<T>(
        &self,
        now_ms: u64,
        question: impl FnOnce(&mut Minter) -> Result<T, NotReady>,
    ) -> Result<T, MintError> {
        if self.is_closed.get() {
            return Err(MintError::Closed);
        }
        let mut minter = self.minter.borrow_mut();
        let answer = question(&mut minter);
        if minter.extend_in_ms(now_ms) == Some(0) {
            self.due.notify_all();
        }
        answer.map_err(|reason| match &*self.failure.borrow() {
            Some(error) if reason == NotReady::NotDurable => MintError::Mark(Rc::clone(error)),
            _ => MintError::NotReady(reason),
        })
    }

    /// Whether the keeper writes the mark or will do so at once.
    fn is_unsettled(&self, now_ms: u64) -> bool {
        let minter = self.minter.borrow();
        let is_due = minter.is_extending() || minter.extend_in_ms(now_ms) == Some(0);
        let is_kept = self.failure.borrow().as_ref().is_none_or(|error| error.is_retryable());
        is_due && is_kept && !self.is_closed.get()
    }

    /// Notes how writing the mark has ended, and tells those who wait for it.
    fn settle(&self, written: Result<(), ObeliskError>) -> Settled {
        let mut minter = self.minter.borrow_mut();
        let (failure, settled) = match written {
            Ok(()) => {
                minter.extended();
                (None, Settled::Moved)
            }
            Err(error) => {
                minter.not_extended();
                tracing::error!(%error, "the high-water mark of ids was not written");
                let refused = error.is_retryable();
                let settled = if refused { Settled::Refused } else { Settled::Poisoned };
                (Some(Rc::new(error)), settled)
            }
        };
        *self.failure.borrow_mut() = failure;
        self.settled.notify_all();
        settled
    }
}

/// Opens the mark of a shard and finds the highest of all.
async fn open_mark(directory: &Path, shard: usize) -> Result<(ObeliskFile, u64), ObeliskError> {
    let own = format!("shard-{shard}");
    let (file, mut highest_ms) =
        ObeliskFile::open(directory, &own, obelisk_file::Options::default()).await?;
    for name in obelisk_file::names(directory).await? {
        if name != own {
            highest_ms = highest_ms.max(obelisk_file::peek(directory, &name).await?);
        }
    }
    Ok((file, highest_ms))
}

fn start_clock(floor_ms: u64, trust: Trust) -> Result<(Discipline, u64), OpenError> {
    let (wall_unix_ms, now) = (wall_unix_ms(), time::now());
    let mut clock =
        Discipline::start(floor_ms, trust, wall_unix_ms, now).map_err(OpenError::Clock)?;
    let reading = clock.observe(wall_unix_ms, now);
    Ok((clock, reading.time_ms))
}

/// Milliseconds since the Unix epoch, zero before it.
fn wall_unix_ms() -> u64 {
    u64::try_from(time::unix_us() / 1000).unwrap_or(0)
}

/// Writes the mark ahead until the mint is closed or the file poisoned.
async fn keep(inner: Rc<Inner>, mut file: ObeliskFile) -> ObeliskFile {
    while !inner.is_closed.get() {
        let due = inner.due.listen();
        let now_ms = inner.read_clock().time_ms;
        let mark_ms = inner.minter.borrow_mut().poll_extend(now_ms);
        let Some(mark_ms) = mark_ms else {
            let rest_ms = inner.minter.borrow().extend_in_ms(now_ms);
            match rest_ms {
                // Both ends of the wait lead to the same question.
                Some(rest_ms) => {
                    time::timeout(Duration::from_millis(rest_ms), due).await.ok();
                }
                None => due.await,
            }
            continue;
        };
        match inner.settle(file.extend_to(mark_ms).await) {
            Settled::Moved => {}
            // Callers are refused meanwhile.
            Settled::Refused => time::sleep(RETRY).await,
            Settled::Poisoned => break,
        }
    }
    file
}

#[cfg(test)]
mod tests;
