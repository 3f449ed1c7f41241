//! Appends without a session: what a client in a hurry, or in another language, may do.
//!
//! Every attempt may leave a copy. The server can tell nobody apart, and must only be honest: what
//! it refuses is not there, what it acknowledges is. It does not look which cluster answers either,
//! as it should: after a wipe its records may go to another log that has the same id.

use std::sync::Arc;

use fastrand::Rng;
use pyralog_client::directory::Target;
use pyralog_client::dispatch::{Answer, Appended, Refusal as Reason};
use pyralog_client::limits::BATCH_BYTES_MAX;
use pyralog_client::{LogId, PartitionId, Timestamp};
use pyralog_log::batch::{BuilderConfig, Record, RowsBuilder};
use pyralog_log::durability::Durability;
use pyralog_runtime::channel::oneshot;
use pyralog_runtime::time;
use pyralog_wire::ErrorReply;
use pyralog_wire::message::Append;

use super::SimClient;
use super::journal::{Begun, place, refusal};
use super::link::{Outgoing, ReplyTo, Undone};
use crate::history::{Key, Outcome, RecordId, Refusal};
use crate::record::{Made, Recipe};

/// What to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAppend {
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: PartitionId,
    /// Where to: a shard, or any, which forwards.
    pub shard: Option<u16>,
    /// What the acknowledgement shall mean; `None` is the log's own level.
    pub level: Option<Durability>,
    /// Records of each batch; all batches go in one request, which is taken or refused as a whole.
    pub batches: Vec<usize>,
    /// What they are like.
    pub recipe: Recipe,
    /// How often the same bytes are sent at most. What is sent again after an attempt without an
    /// answer may leave two copies.
    pub attempts: u32,
}

/// What an attempt came to.
enum Attempted {
    Acked(Appended),
    /// Certainly not appended by this attempt.
    Not(Option<ErrorReply>),
    Unknown,
}

impl SimClient {
    /// Appends records without a session; returns how it ended. Each attempt waits for its answer as
    /// long as a request may take, then gives up its connection.
    ///
    /// # Panics
    /// If there is no batch, a batch has no record or is larger than any batch may be, or there are
    /// to be no attempts.
    pub async fn append_raw(&self, append: RawAppend) -> Outcome {
        assert!(append.attempts > 0, "an append without an attempt");
        assert!(!append.batches.is_empty(), "an append of nothing");
        let mut rng = self.fork_rng();
        let (made, payload) = self.payload(&append, &mut rng);
        let payload = Arc::new(payload);
        let number = self.shared.journal.begun(Begun {
            place: place(append.log, append.partition),
            level: append.level,
            idempotent: false,
            records: made.iter().map(|(id, _)| *id).collect(),
            keys: made.iter().map(|(_, key)| *key).collect(),
        });
        let mut outcome = Outcome::Refused(Refusal::default());
        for attempt in 0..append.attempts {
            if attempt > 0 {
                time::sleep(self.backoff().delay(attempt, &mut rng)).await;
            }
            self.shared.journal.sent(number, attempt, (None, payload.len()));
            match self.attempt(&append, Arc::clone(&payload)).await {
                Attempted::Acked(Appended { base_offset, duplicate, .. }) => {
                    let base_offset = base_offset.get();
                    outcome = Outcome::Acked { attempt, base_offset, duplicate };
                    break;
                }
                Attempted::Unknown => outcome = Outcome::Unknown,
                // One refusal says nothing about the attempts before it.
                Attempted::Not(reply) if matches!(outcome, Outcome::Refused(_)) => {
                    outcome = Outcome::Refused(reply.as_ref().map(refusal).unwrap_or_default());
                }
                Attempted::Not(_) => {}
            }
        }
        self.shared.journal.ended(number, outcome);
        outcome
    }

    /// New records, in batches one after another.
    fn payload(
        &self,
        append: &RawAppend,
        rng: &mut Rng,
    ) -> (Vec<(RecordId, Option<Key>)>, Vec<u8>) {
        let (mut records, mut payload) = (Vec::new(), Vec::new());
        let config = BuilderConfig { batch_bytes_max: BATCH_BYTES_MAX, ..BuilderConfig::default() };
        for &count in &append.batches {
            let mut builder = RowsBuilder::new(config);
            for _ in 0..count {
                let id = self.new_record();
                let made = Made::draw(id, append.recipe, rng);
                let headers = made.headers();
                let create_time = Timestamp::new(time::unix_us());
                let row = Record {
                    key: made.name(),
                    value: made.value(),
                    create_time,
                    headers: &headers,
                };
                builder.push(&row).expect("the records of a batch fit one");
                records.push((id, made.key));
            }
            payload.extend(builder.finish(None).expect("a batch with records can be finished"));
        }
        (records, payload)
    }

    async fn attempt(&self, append: &RawAppend, payload: Arc<Vec<u8>>) -> Attempted {
        let target = append.shard.map_or(Target::Any, Target::Shard);
        let Ok(link) = self.shared.hub.link(target).await else { return Attempted::Not(None) };
        let RawAppend { log, partition, level, .. } = *append;
        let request = Append { log, partition, durability: level }.into();
        let (reply, answer) = oneshot();
        link.send(Outgoing { request, payload: Some(payload), reply_to: ReplyTo::One(reply) });
        let answer = match time::timeout(self.config().request_timeout, answer).await {
            Ok(Ok(Ok(answered))) => Answer::from(answered.reply),
            Ok(Ok(Err(Undone::Unsent(_)))) => Answer::Unsent,
            Ok(Ok(Err(Undone::Lost(_))) | Err(_)) => Answer::Lost,
            Err(_elapsed) => {
                link.reset();
                Answer::Lost
            }
        };
        match answer {
            Answer::Appended(appended) => Attempted::Acked(appended),
            Answer::Lost | Answer::Refused(Reason::MaybeAppended(_)) => Attempted::Unknown,
            Answer::Refused(Reason::Final(reply) | Reason::NoSpace(reply)) => {
                Attempted::Not(Some(reply))
            }
            Answer::Unsent | Answer::Refused(_) => Attempted::Not(None),
        }
    }
}
