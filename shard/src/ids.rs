//! The ids that a core deals: to the records it takes, and to clients of the id service.
//!
//! Each core has a mint of its own over its part of the node's slots, so no id costs a message. Records get theirs inside
//! the append, in the caller's turn; if there are none for a moment, the append is as busy as with full buffers, and the
//! connection that brought it waits the same way.
//!
//! A node whose mint cannot be opened (its mark cannot be trusted, its clock was never set) serves its readers and says so
//! to everybody else. It is tried again, at most once a second, when somebody asks for ids.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use pyralog_log::limits::APPEND_RECORDS_MAX;
use pyralog_log::partition::RecordIds;
use pyralog_runtime::spawn;
use pyralog_runtime::time::{self, Monotonic};
use pyralog_seq::clock::{State as Clock, Trust};
use pyralog_seq::limits::READY_COUNT_MAX;
use pyralog_seq::minter::NotReady;
use pyralog_seq::minter_file::{Mint, MintError, MintOptions};
use pyralog_seq::scarab::EPOCH_UNIX_MS;
use pyralog_wire::message::{DealIds, IdsDealt};
use pyralog_wire::{ErrorCode, ErrorDetail, ErrorReply, Response};

use crate::asked::Asked;
use crate::config::DataConfig;
use crate::data_dir::SCARAB_FOLDER;
use crate::limits::{BUSY_RETRY, IDS_RETRY};
use crate::metrics::IdsSnapshot;
use crate::request::busy;
use crate::shard::Shard;

const _: () = assert!(READY_COUNT_MAX >= APPEND_RECORDS_MAX, "each record of an append has an id");

/// The mint of a core.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    mint: RefCell<Option<Rc<Mint>>>,
    /// Why there is none.
    problem: RefCell<String>,
    /// When it was last tried to open it, while there is none.
    tried: Cell<Monotonic>,
    /// Somebody waits for the mark, or for the slots to be less far ahead.
    is_watched: Cell<bool>,
}

/// The ids of the records of one append.
pub(crate) struct Run<'a> {
    shard: &'a Rc<Shard>,
    mint: Rc<Mint>,
    /// Why there were no ids, if the append was refused for want of them.
    refusal: Option<MintError>,
}

/// What becomes of an append for which there were no ids.
pub(crate) enum Wanting {
    /// There will be some in a moment.
    Soon,
    /// There are none before something was mended.
    Refused(ErrorReply),
}

impl Run<'_> {
    /// Whether the append was refused for want of ids.
    pub(crate) fn wanting(&self) -> Option<Wanting> {
        Some(match self.refusal.as_ref()? {
            MintError::NotReady(_) => Wanting::Soon,
            error => Wanting::Refused(mint_error(error)),
        })
    }
}

impl RecordIds for Run<'_> {
    fn ready(&mut self, records: u64) -> bool {
        let Err(error) = self.mint.ready(records) else { return true };
        if let MintError::NotReady(reason) = error {
            self.shard.relieve_when_ready(&self.mint, reason);
        }
        self.refusal = Some(error);
        false
    }

    fn deal(&mut self, records: u32) -> u64 {
        self.mint.take(records).get()
    }
}

impl Ids {
    /// Its numbers.
    pub(crate) fn snapshot(&self) -> IdsSnapshot {
        let mint = self.mint.borrow();
        let Some(mint) = &*mint else {
            return IdsSnapshot {
                problem: self.problem.borrow().clone(),
                ..IdsSnapshot::default()
            };
        };
        let stat = mint.stat();
        let ms = |by_ms: u64| i64::try_from(by_ms).unwrap_or(i64::MAX);
        IdsSnapshot {
            dealt: stat.dealt,
            ahead_ms: stat.ahead_ms,
            high_water_unix_ms: stat.high_water_ms.map_or(0, |mark_ms| EPOCH_UNIX_MS + mark_ms),
            slots: stat.slots as u64,
            clock_astray_ms: match stat.clock.state {
                Clock::Steady => 0,
                Clock::Regressed { by_ms } => -ms(by_ms),
                Clock::Leapt { by_ms } => ms(by_ms),
            },
            problem: mint.failure().map_or_else(String::new, |error| error.to_string()),
        }
    }
}

impl Shard {
    /// Opens the mint of this core, or notes why that is impossible.
    pub(crate) async fn open_ids(&self) {
        let ids = &self.config.ids;
        let slots = ids.slots.split(self.shards).expect("the settings were checked");
        let options = MintOptions {
            slots: slots[self.index],
            trust: if ids.accept_clock { Trust::Vouched } else { Trust::Bounded },
            not_before_unix_ms: ids.not_before_unix_ms,
        };
        let opened = match &self.config.data {
            DataConfig::Dir(data) => {
                Mint::open(&data.join(SCARAB_FOLDER), self.index, &options).await
            }
            DataConfig::MemoryOnly { .. } => Mint::in_memory(&options),
        };
        match opened {
            Ok(mint) => {
                *self.ids.mint.borrow_mut() = Some(Rc::new(mint));
                self.relieve();
            }
            Err(error) => {
                tracing::error!(shard = self.index, %error, "this core deals no ids");
                *self.ids.problem.borrow_mut() = error.to_string();
            }
        }
    }

    /// Closes the mint.
    pub(crate) async fn close_ids(&self) {
        let mint = self.ids.mint.borrow().clone();
        if let Some(mint) = mint
            && let Err(error) = mint.close().await
        {
            tracing::warn!(shard = self.index, %error, "the mark of ids was not closed in order");
        }
    }

    /// Ids for the records of an append.
    ///
    /// # Errors
    /// If this core can deal none before something was mended.
    pub(crate) fn record_ids(self: &Rc<Self>) -> Result<Run<'_>, ErrorReply> {
        Ok(Run { shard: self, mint: self.mint()?, refusal: None })
    }

    /// Answers a request of the id service, at once if it can.
    pub(crate) fn deal_ids(self: &Rc<Self>, asked: Asked, deal: DealIds) {
        let mint = match self.mint() {
            Ok(mint) => mint,
            Err(error) => return asked.refuse(error),
        };
        match mint.deal(deal.count).now_or_never() {
            Some(dealt) => answer(asked, dealt),
            None => {
                // Waits for the disk; it holds its request.
                spawn(async move {
                    let dealt = mint.deal(deal.count).await;
                    answer(asked, dealt);
                })
                .detach();
            }
        }
    }

    fn mint(self: &Rc<Self>) -> Result<Rc<Mint>, ErrorReply> {
        if let Some(mint) = &*self.ids.mint.borrow() {
            return Ok(Rc::clone(mint));
        }
        let now = time::now();
        if now.since(self.ids.tried.get()) >= IDS_RETRY {
            self.ids.tried.set(now);
            let shard = Rc::clone(self);
            spawn(async move { shard.open_ids().await }).detach(); // ends by itself
        }
        let text = format!("this server deals no ids: {}", self.ids.problem.borrow());
        Err(ErrorReply::new(ErrorCode::StorageFailed, text))
    }

    /// Has those look again who wait for room, once there are ids.
    fn relieve_when_ready(self: &Rc<Self>, mint: &Rc<Mint>, reason: NotReady) {
        if self.ids.is_watched.replace(true) {
            return;
        }
        let (shard, mint) = (Rc::clone(self), Rc::clone(mint));
        // Ends by itself: with the mark's next move, or after a while.
        spawn(async move {
            match reason {
                NotReady::NotDurable => mint.settled().await,
                NotReady::Ahead { wait_ms } => time::sleep(Duration::from_millis(wait_ms)).await,
                NotReady::Exhausted => {}
            }
            shard.ids.is_watched.set(false);
            shard.relieve();
        })
        .detach();
    }
}

fn answer(asked: Asked, dealt: Result<pyralog_seq::pharaoh::Block, MintError>) {
    match dealt {
        Ok(block) => asked.reply(Response::DealIds(IdsDealt {
            slot: block.slot().get(),
            first_tick: block.first().get(),
            count: block.count(),
        })),
        Err(error) => asked.refuse(mint_error(&error)),
    }
}

fn mint_error(error: &MintError) -> ErrorReply {
    let later = |code, wait: Duration| {
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        ErrorReply::new(code, error.to_string()).with_detail(ErrorDetail::RetryAfter { ms })
    };
    match error {
        MintError::Clock(_) => later(ErrorCode::ClockAstray, IDS_RETRY),
        MintError::NotReady(NotReady::Ahead { wait_ms }) => {
            later(ErrorCode::Busy, Duration::from_millis(*wait_ms))
        }
        MintError::NotReady(NotReady::NotDurable) => busy("the ids are being reserved"),
        MintError::Mark(cause) if cause.is_retryable() => later(ErrorCode::NoSpace, BUSY_RETRY),
        MintError::Closed => ErrorCode::ShuttingDown.into(),
        _ => ErrorReply::new(ErrorCode::StorageFailed, error.to_string()),
    }
}
