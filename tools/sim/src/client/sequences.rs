//! Ids and numbers of counters, with their entries in the history.
//!
//! Nothing is asked twice by itself: an answer that was lost has used its numbers up, and the history has to know of each
//! question how it ended.

use pyralog_client::directory::Target;
use pyralog_runtime::channel::oneshot;
use pyralog_runtime::time;
use pyralog_wire::limits::LIST_PAGE_COUNTERS_MAX;
use pyralog_wire::message::{
    CounterConfig, CounterInfo, CounterMode, CreateCounter, DealIds, DescribeCounter, ListCounters,
    RaiseCounter, Reply, TakeNumbers,
};
use pyralog_wire::{ErrorCode, Request, Response};

use super::journal::refusal;
use super::link::{Outgoing, ReplyTo, Undone};
use super::{CallError, Repeat, SimClient};
use crate::history::{self, CounterAnswer, CounterAsk, CounterState, IdsDealt, Kind};

impl SimClient {
    /// A run of ids from a shard, or from any. Returns the first tick.
    ///
    /// # Errors
    /// If there was no answer, or a refusal.
    pub async fn deal_ids(&self, shard: Option<u16>, count: u32) -> Result<u64, CallError> {
        let begun = self.shared.journal.mark();
        let answer = self.call_once(shard, DealIds { count }.into()).await;
        match answer {
            Ok(Response::DealIds(dealt)) => {
                let (slot, first, count) = (dealt.slot, dealt.first_tick, dealt.count.into());
                let kind = Kind::IdsDealt(IdsDealt { begun, slot, first, count });
                self.shared.journal.push(kind);
                Ok(first)
            }
            Ok(other) => Err(CallError::unexpected(&other)),
            Err(error) => {
                if let Some(refusal) = error.reply.as_ref().map(refusal) {
                    self.shared.journal.push(Kind::IdsRefused { begun, refusal });
                }
                Err(error)
            }
        }
    }

    /// Sees to it that there is a counter of that name.
    ///
    /// # Errors
    /// As [`SimClient::deal_ids`].
    pub async fn create_counter(
        &self,
        name: &str,
        config: CounterConfig,
    ) -> Result<CounterInfo, CallError> {
        let create = CreateCounter { name: name.to_owned(), config };
        let ask = CounterAsk::Create { mode: mode(&config) };
        match self.ask_counter(None, (name, ask), create.into()).await? {
            Response::CreateCounter(info) => Ok(info),
            other => Err(CallError::unexpected(&other)),
        }
    }

    /// Takes numbers over a connection to a shard, or to any; returns the first.
    ///
    /// # Errors
    /// As [`SimClient::deal_ids`].
    pub async fn take_numbers(
        &self,
        shard: Option<u16>,
        name: &str,
        count: u32,
    ) -> Result<u64, CallError> {
        let take = TakeNumbers { name: name.to_owned(), count };
        let ask = CounterAsk::Take { count: count.into() };
        match self.ask_counter(shard, (name, ask), take.into()).await? {
            Response::TakeNumbers(taken) => Ok(taken.first),
            other => Err(CallError::unexpected(&other)),
        }
    }

    /// How a counter stands.
    ///
    /// # Errors
    /// As [`SimClient::deal_ids`].
    pub async fn describe_counter(&self, name: &str) -> Result<CounterInfo, CallError> {
        let describe = DescribeCounter { name: name.to_owned() };
        match self.ask_counter(None, (name, CounterAsk::Describe), describe.into()).await? {
            Response::DescribeCounter(info) => Ok(info),
            other => Err(CallError::unexpected(&other)),
        }
    }

    /// Has a counter go on above a value.
    ///
    /// # Errors
    /// As [`SimClient::deal_ids`].
    pub async fn raise_counter(&self, name: &str, value: u64) -> Result<CounterInfo, CallError> {
        let raise = RaiseCounter { name: name.to_owned(), value };
        match self.ask_counter(None, (name, CounterAsk::Raise { value }), raise.into()).await? {
            Response::RaiseCounter(info) => Ok(info),
            other => Err(CallError::unexpected(&other)),
        }
    }

    /// All counters, in pages of `limit`.
    ///
    /// # Errors
    /// As [`SimClient::deal_ids`].
    pub async fn list_counters(&self, limit: u32) -> Result<Vec<CounterInfo>, CallError> {
        let mut all: Vec<CounterInfo> = Vec::new();
        loop {
            let begun = self.shared.journal.mark();
            let after = all.last().map_or_else(String::new, |info| info.name.clone());
            let limit = limit.min(LIST_PAGE_COUNTERS_MAX);
            let list = ListCounters { prefix: String::new(), after, limit };
            match self.call_once(None, list.into()).await? {
                Response::ListCounters(page) => {
                    let counters = page.counters.iter();
                    let counters = counters.map(|info| (info.name.clone(), state(info))).collect();
                    self.shared.journal.push(Kind::CountersSeen { begun, counters });
                    let more = page.more && !page.counters.is_empty();
                    all.extend(page.counters);
                    if !more {
                        return Ok(all);
                    }
                }
                other => return Err(CallError::unexpected(&other)),
            }
        }
    }

    async fn ask_counter(
        &self,
        shard: Option<u16>,
        (name, ask): (&str, CounterAsk),
        request: Request,
    ) -> Result<Response, CallError> {
        let number = self.shared.journal.asked_counter(name, ask);
        let answer = self.call_once(shard, request).await;
        self.shared.journal.counter_answered(number, told(&answer));
        answer
    }

    /// Sends a request once, over a connection to a shard or any, and waits for its answer.
    async fn call_once(&self, shard: Option<u16>, request: Request) -> Result<Response, CallError> {
        let Some(shard) = shard else { return self.call(request, Repeat::Harmful).await };
        let unsent = |cause: &str| CallError::without_reply(cause, false);
        let link = self.shared.hub.link(Target::Shard(shard)).await;
        let link = link.map_err(|cause| unsent(&cause))?;
        let (reply, answer) = oneshot();
        link.send(Outgoing { request, payload: None, reply_to: ReplyTo::One(reply) });
        match time::timeout(self.config().request_timeout, answer).await {
            Ok(Ok(Ok(answered))) => match answered.reply {
                Reply::Done(response) => Ok(response),
                Reply::Refused(reply) => Err(CallError::refused(reply, false)),
            },
            Ok(Ok(Err(Undone::Unsent(cause)))) => Err(unsent(&cause)),
            Ok(Ok(Err(Undone::Lost(cause)))) => Err(CallError::without_reply(&*cause, true)),
            Ok(Err(_dropped)) => Err(CallError::without_reply("the connection has ended", true)),
            Err(_elapsed) => {
                link.reset();
                Err(CallError::without_reply("no answer in time", true))
            }
        }
    }
}

/// How an answer reads in the history.
fn told(answer: &Result<Response, CallError>) -> CounterAnswer {
    match answer {
        Ok(Response::TakeNumbers(taken)) => {
            CounterAnswer::Taken { first: taken.first, count: taken.count.into() }
        }
        Ok(
            Response::CreateCounter(info)
            | Response::DescribeCounter(info)
            | Response::RaiseCounter(info),
        ) => state(info).map_or(CounterAnswer::Unopened, CounterAnswer::State),
        Ok(_) => CounterAnswer::Unknown,
        Err(error) if error.is(ErrorCode::CounterBehind) => CounterAnswer::Behind,
        Err(error) if error.maybe_done => CounterAnswer::Unknown,
        Err(error) => CounterAnswer::Refused(error.reply.as_ref().map(refusal).unwrap_or_default()),
    }
}

/// What is said of a counter. One that cannot be opened, or deals nothing any more, says nothing that could be relied upon.
fn state(info: &CounterInfo) -> Option<CounterState> {
    let CounterInfo { last, durable, ref problem, ref config, .. } = *info;
    problem.is_empty().then(|| CounterState { mode: mode(config), last, durable })
}

/// The mode as the history knows it.
const fn mode(config: &CounterConfig) -> history::CounterMode {
    match config.mode {
        CounterMode::Reserve => history::CounterMode::Reserve { block: config.block },
        CounterMode::Always => history::CounterMode::Always,
        CounterMode::Group => history::CounterMode::Group,
        CounterMode::UnsafeInterval => history::CounterMode::UnsafeInterval,
        CounterMode::Memory => history::CounterMode::Memory,
    }
}
