//! The task that receives what other cores and threads say to this one.
//!
//! It answers nothing itself that has to wait: such answers get a task of their own, so that the lanes always drain and
//! two cores never wait for each other.

use std::rc::Rc;

use pyralog_runtime::mesh::{Inbox, Origin};
use pyralog_runtime::{spawn, yield_if_needed};

use crate::message::{Answer, Message, Question};
use crate::shard::{Phase, Shard};
use crate::{boot, catalog_log, request, stop};

/// Receives until the core is closed.
pub(crate) async fn run(shard: Rc<Shard>, mut inbox: Inbox<Message>) {
    let mut messages = Vec::new();
    while shard.phase() < Phase::Closed {
        let closed = shard.phase_changed();
        // `None`: the phase changed, so the loop looks at it.
        crate::connection::unless(closed, inbox.recv_many(&mut messages)).await;
        for (origin, message) in messages.drain(..) {
            receive(&shard, origin, message);
        }
        yield_if_needed().await;
    }
}

/// Takes one message.
pub(crate) fn receive(shard: &Rc<Shard>, origin: Origin, message: Message) {
    match (message, origin) {
        (Message::Forward(forward), Origin::Shard(from)) => {
            request::forwarded(shard, from, forward);
        }
        (Message::Replied(replied), _) => shard.replied(replied),
        (Message::Ask { call, question }, Origin::Shard(from)) => {
            let shard = Rc::clone(shard);
            // It ends with its answer; a core that ends before cancels it.
            spawn(async move {
                let answer = Box::new(answer(&shard, *question).await);
                shard.post(from, Message::Answer { call, answer });
            })
            .detach();
        }
        (Message::Answer { call, answer }, _) => shard.answered(call, *answer),
        (Message::Snapshot(reply), _) => {
            // Err: whoever asked has given up.
            reply.0.send(shard.snapshot()).ok();
        }
        (Message::Forward(_) | Message::Ask { .. }, Origin::Outside) => {
            debug_assert!(false, "threads outside only ask for snapshots");
        }
    }
}

async fn answer(shard: &Rc<Shard>, question: Question) -> Answer {
    match question {
        Question::Boot(order) => Answer::Booted(boot::follow(shard, order).await),
        Question::Serve(addresses) => {
            boot::serve(shard, addresses);
            Answer::Done
        }
        Question::Apply(command) => {
            Answer::Applied(catalog_log::apply_here(shard, &command).await.1)
        }
        Question::Describe(log) => Answer::Described(request::describe_local(shard, log)),
        Question::Stats => Answer::Stats(request::stats_local(shard)),
        Question::Counters { prefix, after, limit } => {
            Answer::Counters(shard.counters_page((&prefix, &after), limit).await)
        }
        Question::Quiesce => {
            stop::quiesce(shard);
            Answer::Done
        }
        Question::Drain => {
            stop::drain(shard).await;
            Answer::Done
        }
        Question::Close => {
            stop::close(shard).await;
            Answer::Done
        }
    }
}
