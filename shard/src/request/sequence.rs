//! Requests for ids and for numbers of counters.
//!
//! Any core deals ids; a counter belongs to one core, and what lands elsewhere is handed to it. An id, or a number from a
//! reserve, is answered in the caller's turn.

use std::num::NonZeroU64;
use std::rc::Rc;

use futures_util::future::join_all;
use pyralog_runtime::spawn;
use pyralog_wire::message::{
    CounterInfo, CounterPage, DealIds, ListCounters, NumbersTaken, TakeNumbers,
};
use pyralog_wire::{ErrorCode, ErrorReply, Request, Response};

use crate::asked::Asked;
use crate::message::{Answer, Question};
use crate::ownership;
use crate::shard::Shard;

/// Answers ids.
pub(crate) fn deal_ids(asked: Asked, deal: DealIds) {
    if let Some(asked) = served(asked) {
        Rc::clone(asked.shard()).deal_ids(asked, deal);
    }
}

/// Answers numbers of a counter.
pub(crate) fn take_numbers(asked: Asked, take: TakeNumbers) {
    let Some(asked) = served(asked) else { return };
    let Some(asked) = owned(asked, &take.name, || take.clone().into()) else { return };
    let shard = Rc::clone(asked.shard());
    let wanted = NonZeroU64::new(take.count.into()).expect("the request was checked");
    let taken = move |first| NumbersTaken { first, count: take.count };
    if let Some(dealt) = shard.counters.take_now(&take.name, wanted) {
        asked.reply(Response::TakeNumbers(taken(first_of(dealt.start))));
        return;
    }
    // Waits for the disk; it holds its request.
    spawn(async move {
        match shard.take_numbers(&take.name, wanted).await {
            Ok(dealt) => {
                let first = first_of(dealt.start);
                asked.reply(Response::TakeNumbers(NumbersTaken { first, count: take.count }));
            }
            Err(error) => asked.refuse(error),
        }
    })
    .detach();
}

/// Answers everything else about counters.
pub(crate) fn counters(asked: Asked, request: Request) {
    let Some(asked) = served(asked) else { return };
    let name = match &request {
        Request::CreateCounter(create) => Some(&create.name),
        Request::DescribeCounter(describe) => Some(&describe.name),
        Request::RaiseCounter(raise) => Some(&raise.name),
        _ => None,
    };
    let asked = match name {
        Some(name) => owned(asked, name, || request.clone()),
        None => Some(asked),
    };
    let Some(asked) = asked else { return };
    // Waits for the disk, or for other cores; it holds its request.
    spawn(async move {
        let shard = Rc::clone(asked.shard());
        match carry_out(&shard, request).await {
            Ok(response) => asked.reply(response),
            Err(error) => asked.refuse(error),
        }
    })
    .detach();
}

async fn carry_out(shard: &Rc<Shard>, request: Request) -> Result<Response, ErrorReply> {
    match request {
        Request::CreateCounter(create) => {
            shard.create_counter(&create).await.map(Response::CreateCounter)
        }
        Request::DescribeCounter(describe) => {
            shard.describe_counter(&describe.name).await.map(Response::DescribeCounter)
        }
        Request::RaiseCounter(raise) => {
            shard.raise_counter(&raise.name, raise.value).await.map(Response::RaiseCounter)
        }
        Request::ListCounters(list) => page(shard, list).await.map(Response::ListCounters),
        _ => Err(ErrorCode::Internal.into()),
    }
}

/// A page of the counters of all cores.
async fn page(shard: &Rc<Shard>, list: ListCounters) -> Result<CounterPage, ErrorReply> {
    let ListCounters { prefix, after, limit } = &list;
    let pages = (0..shard.shards).map(|to| async move {
        if to == shard.index {
            return Some(shard.counters_page((prefix, after), *limit).await);
        }
        let (prefix, after) = (prefix.clone(), after.clone());
        match shard.ask(to, Question::Counters { prefix, after, limit: *limit }).await {
            Some(Answer::Counters(counters)) => Some(counters),
            _ => None,
        }
    });
    let answers: Option<Vec<Vec<CounterInfo>>> = join_all(pages).await.into_iter().collect();
    let Some(answers) = answers else {
        let text = "not every shard answered: try again";
        return Err(ErrorReply::new(ErrorCode::DeadlineExceeded, text));
    };
    let mut counters = answers.concat();
    counters.sort_by(|one, other| one.name.cmp(&other.name));
    let more = counters.len() > *limit as usize;
    counters.truncate(*limit as usize);
    Ok(CounterPage { counters, more })
}

/// The request, if the node's role includes it; otherwise it is refused.
fn served(asked: Asked) -> Option<Asked> {
    let role = asked.shard().config.role;
    if role.serves_ids() {
        return Some(asked);
    }
    let text =
        format!("a node of the role {role} serves no ids and no counters: ask an obelisk node");
    asked.refuse(ErrorReply::new(ErrorCode::WrongRole, text));
    None
}

/// The request, if this core owns the counter; otherwise it is handed to the core that does.
fn owned(asked: Asked, name: &str, request: impl FnOnce() -> Request) -> Option<Asked> {
    let shard = Rc::clone(asked.shard());
    let owner = ownership::counter_owner(name, shard.shards);
    if owner == shard.index {
        return Some(asked);
    }
    if asked.is_remote() {
        asked.refuse(ErrorCode::NotOwner);
    } else {
        shard.forward(owner, asked, (request(), Vec::new()), None);
    }
    None
}

/// Counters count from one for people; an obelisk deals from zero.
fn first_of(start: u64) -> u64 {
    start + 1
}
