//! Reading one partition: carries out what the machine (`pyralog_client::reading`) says. The
//! counterpart of the client's `fetch` on Tokio, without its task: it reads when it is asked to.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use pyralog_client::cursor::{Cursor, Next};
use pyralog_client::directory::{LogIdentity, Target};
use pyralog_client::exchange::Answered;
use pyralog_client::reading::Reading;
use pyralog_client::{
    ConsumerConfig, ErrorReply, FetchedBatch, LogId, Offset, PartitionId, StartFrom, Stop,
};
use pyralog_log::batch::BatchError;
use pyralog_log::merkle::Hash;
use pyralog_runtime::channel::{OnceReceiver, oneshot};
use pyralog_runtime::time;
use pyralog_wire::Response;
use pyralog_wire::message::{Fetch, FetchFrom, Fetched, Reply};

use super::journal::{ids, place, refusal, seen};
use super::link::{Cause, Ending, Link, Outgoing, ReplyTo, Undone};
use super::{CallError, SimClient};
use crate::history::{FinalRead, Kind, Mark, Read, ReadRefused, Seen};

/// Reads one partition, in order, with every answer noted in the history.
#[derive(Debug)]
pub struct Reader {
    client: SimClient,
    name: String,
    identity: LogIdentity,
    partition: PartitionId,
    shard: u16,
    reading: Reading,
    config: ConsumerConfig,
    rng: Rng,
    /// What the machine said last and was not done yet.
    due: Next,
    /// The fetch that went out when the answer to the one before it began to arrive.
    ahead: Option<Asked>,
}

/// Batches that came with one answer.
#[derive(Clone, Debug)]
pub struct Batches {
    /// At least one.
    pub batches: Vec<FetchedBatch>,
    /// The oldest offset of the partition, as the answer says.
    pub low: Offset,
    /// The offset after the last committed record, as the answer says.
    pub high: Offset,
}

impl Batches {
    /// How many records were handed out.
    #[must_use]
    pub fn records(&self) -> usize {
        self.batches.iter().map(FetchedBatch::len).sum()
    }
}

/// What a reader has to say.
#[derive(Clone, Debug)]
pub enum ReadStep {
    /// Records.
    Batches(Batches),
    /// There is nothing more until [`Reader::seek`] says where to go on.
    End(ReadEnd),
}

/// Why a reader stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadEnd {
    /// The partition was read to its end.
    Finished,
    /// The position lies outside the partition.
    OutOfRange {
        /// Oldest offset.
        low: Offset,
        /// Offset after the last committed record.
        high: Offset,
    },
    /// The server says that these records are damaged.
    Damaged(Range<Offset>),
    /// These records arrived damaged, twice.
    Corrupt(Range<Offset>, BatchError),
    /// The server says no, for good.
    Refused(ErrorReply),
    /// The answer leads nowhere.
    Nonsense,
    /// The log was deleted, or another one has its name.
    LogGone,
}

/// A fetch under way.
#[derive(Debug)]
struct Asked {
    question: Question,
    link: Link,
    /// Where its records end.
    head: OnceReceiver<Fetched>,
    whole: OnceReceiver<Ending>,
}

/// How the history knows the question of an answer.
#[derive(Clone, Copy, Debug)]
struct Question {
    begun: Mark,
    from: FetchFrom,
}

impl Question {
    /// The offset that was asked for, if it was one.
    const fn offset(&self) -> Option<Offset> {
        match self.from {
            FetchFrom::Offset(offset) => Some(offset),
            FetchFrom::Earliest | FetchFrom::Latest | FetchFrom::Time(_) => None,
        }
    }
}

impl Reader {
    /// A reader of one partition of a log. Of the settings, `partitions` means nothing here. From
    /// [`StartFrom::Latest`] it sees every record appended after this resolves.
    ///
    /// # Errors
    /// If the settings are out of range, there is no such partition, or asking for it failed.
    pub async fn open(
        client: &SimClient,
        (log, partition): (&str, PartitionId),
        config: ConsumerConfig,
    ) -> Result<Self, CallError> {
        let wrong = |cause: String| CallError::without_reply(cause, false);
        config.check().map_err(|error| wrong(error.to_string()))?;
        let (cluster, route) = client.route(log).await?;
        let route = route.ok_or_else(|| wrong(format!("there is no log {log}")))?;
        let shard = route.shards.get(partition.get() as usize).copied();
        let shard = shard.ok_or_else(|| wrong(format!("{log} has no partition {partition}")))?;
        let identity = LogIdentity { cluster, log: route.id };
        let mut from = config.from;
        if from == StartFrom::Latest {
            // Fixed here and now.
            let found = client.find_offset((identity, partition), from).await?;
            from = StartFrom::Offset(found.offset);
        }
        let backoff = client.backoff();
        let cursor = Cursor::new(from, config.stop, config.on_out_of_range, backoff);
        Ok(Self {
            client: client.clone(),
            name: route.name,
            identity,
            partition,
            shard,
            reading: Reading::new(partition, cursor),
            rng: client.fork_rng(),
            config,
            due: Next::Go,
            ahead: None,
        })
    }

    /// The next records, or why there are none. Lost connections are made again, for ever. May be
    /// dropped at any time: it goes on where it was.
    pub async fn next(&mut self) -> ReadStep {
        loop {
            let end = match self.due.clone() {
                Next::Go => {
                    if let Some(batches) = self.step().await {
                        return ReadStep::Batches(batches);
                    }
                    continue;
                }
                Next::Retry(delay) => {
                    time::sleep(delay).await;
                    self.due = Next::Go;
                    continue;
                }
                Next::Reroute(delay) => {
                    time::sleep(delay).await;
                    if self.reroute().await {
                        self.due = Next::Go;
                        continue;
                    }
                    ReadEnd::LogGone
                }
                Next::Finish => ReadEnd::Finished,
                Next::OutOfRange { low, high } => ReadEnd::OutOfRange { low, high },
                Next::Damaged { first, next } => ReadEnd::Damaged(first..next),
                Next::Corrupt { first, next, source } => ReadEnd::Corrupt(first..next, source),
                Next::Refused(reply) => ReadEnd::Refused(reply),
                Next::Nonsense => ReadEnd::Nonsense,
            };
            return ReadStep::End(end);
        }
    }

    /// The record at an offset, and the hash of its batch; `None` if there is none, or it cannot be read.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub async fn read_hashed(
        client: &SimClient,
        place: (&str, PartitionId),
        offset: Offset,
    ) -> Result<Option<(Seen, Hash)>, CallError> {
        let from = StartFrom::Offset(offset);
        let config = ConsumerConfig { from, stop: Stop::AtEnd, ..ConsumerConfig::default() };
        let mut reader = Self::open(client, place, config).await?;
        reader.reading = reader.reading.hashing();
        let ReadStep::Batches(Batches { batches, .. }) = reader.next().await else {
            return Ok(None);
        };
        let record = batches.iter().flat_map(seen).find(|seen| seen.offset == offset.get());
        let received = reader.reading.take_hashed().map(|answer| answer.batches);
        let batch = received.into_iter().flatten().find(|batch| batch.offsets.contains(&offset));
        Ok(record.zip(batch.map(|batch| batch.hash)))
    }

    /// Goes on at another position, also after an end.
    pub fn seek(&mut self, to: StartFrom) {
        self.reading.seek(to);
        self.due = Next::Go;
        // It was asked before.
        self.ahead = None;
    }

    /// The next offset to be read, if it is known.
    #[must_use]
    pub const fn position(&self) -> Option<Offset> {
        self.reading.offset()
    }

    /// The log.
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.identity.log
    }

    /// One fetch and its answer.
    async fn step(&mut self) -> Option<Batches> {
        let (asked, Answered { reply, payload }) = match self.fetch().await {
            Ok(answered) => answered,
            Err(cause) => {
                // It went over the same connection.
                self.ahead = None;
                tracing::debug!(log = %self.name, partition = %self.partition, %cause, "no answer");
                self.due = self.reading.failed(&mut self.rng);
                return None;
            }
        };
        let said = match &reply {
            Reply::Done(Response::Fetch(fetched)) => Ok(*fetched),
            Reply::Done(_) => Err(None),
            Reply::Refused(reply) => Err(Some(reply.clone())),
        };
        let (batches, next) = self.reading.answered((reply, payload), &mut self.rng);
        self.due = next;
        match said {
            Ok(fetched) => {
                self.note_read(asked, &fetched, &batches);
                let (low, high) = (fetched.low, fetched.high);
                (!batches.is_empty()).then_some(Batches { batches, low, high })
            }
            Err(Some(reply)) => {
                self.note_refused(asked, &reply);
                None
            }
            Err(None) => None,
        }
    }

    /// The answer to the fetch that is due: the one in `ahead`, or else one that goes out now. The
    /// one after it is in `ahead` then, if it could be asked for.
    async fn fetch(&mut self) -> Result<(Question, Answered), Cause> {
        let from = self.reading.from();
        let due = self.ahead.take().filter(|asked| asked.question.from == from);
        let asked = match due {
            Some(asked) => asked,
            None => self.ask_now().await?,
        };
        let Asked { question, link, head, whole } = asked;
        let after = wait(&self.config) + self.client.config().request_timeout;
        let arriving = async {
            if let Ok(fetched) = head.await
                && let Some(from) = self.reading.ahead(&fetched)
                && !link.is_closed()
            {
                let begun = self.client.shared.journal.mark();
                self.ahead = Some(self.ask(link.clone(), Question { begun, from }));
            }
            whole.await
        };
        match time::timeout(after, arriving).await {
            Ok(Ok(Ok(answered))) => Ok((question, answered)),
            Ok(Ok(Err(Undone::Unsent(cause) | Undone::Lost(cause)))) => Err(cause),
            Ok(Err(_dropped)) => Err("the connection's task has ended".into()),
            Err(_elapsed) => {
                link.reset();
                Err(format!("no answer within {after:?}").into())
            }
        }
    }

    /// Sends the fetch that is due.
    async fn ask_now(&self) -> Result<Asked, Cause> {
        let question =
            Question { begun: self.client.shared.journal.mark(), from: self.reading.from() };
        let (cluster, hub) = (self.identity.cluster, &self.client.shared.hub);
        let link = hub.link_to(Target::Shard(self.shard), cluster).await?;
        Ok(self.ask(link, question))
    }

    /// Sends a fetch.
    fn ask(&self, link: Link, question: Question) -> Asked {
        let request = Fetch {
            log: self.identity.log,
            partition: self.partition,
            from: question.from,
            bytes_min: self.config.bytes_min,
            bytes_max: self.config.bytes_max,
            wait_ms: u32::try_from(wait(&self.config).as_millis()).unwrap_or(u32::MAX),
        };
        let ((begun, head), (reply, whole)) = (oneshot(), oneshot());
        let reply_to = ReplyTo::Fetch(Some(begun), reply);
        link.send(Outgoing { request: request.into(), payload: None, reply_to });
        Asked { question, link, head, whole }
    }

    /// Asks which shard owns the partition. Returns whether the log is still there, as far as is
    /// known.
    async fn reroute(&mut self) -> bool {
        match self.client.route(&self.name).await {
            Ok((cluster, Some(route)))
                if self.identity == LogIdentity { cluster, log: route.id } =>
            {
                let shard = route.shards.get(self.partition.get() as usize);
                self.shard = shard.copied().unwrap_or(self.shard);
                true
            }
            // Another log of the same name is not the one that was read.
            Ok(_) => false,
            // The fetch will fail again and the delay grow.
            Err(_) => true,
        }
    }

    /// Notes what the machine handed out of an answer.
    fn note_read(&self, asked: Question, fetched: &Fetched, batches: &[FetchedBatch]) {
        let mut records: Vec<Seen> = batches.iter().flat_map(seen).collect();
        let handed = batches.first().zip(batches.last());
        let handed = handed.map(|(first, last)| first.offsets().start..last.offsets().end);
        if handed.is_none() && self.reading.offset().is_none() {
            return; // Nothing is from the time that is waited for.
        }
        // Where reading at a time begins, the first record that came says; what came before it in
        // the same answer was not asked for. Nor is what lies below the low watermark: the batch that holds it may begin there.
        let start = handed.as_ref().map_or(fetched.first_offset, |offsets| offsets.start);
        let from = asked.offset().unwrap_or_else(|| start.max(fetched.low));
        // An answer may be cut short: where the end of reading was fixed, or where a batch arrived
        // damaged.
        let mut next = fetched.next_offset;
        if self.config.stop == Stop::AtEnd || self.is_damaged() {
            next = handed.map_or(from, |offsets| offsets.end);
        }
        if let Next::Corrupt { first, source, .. } = &self.due {
            let content = Err(format!("arrived damaged, twice: {source}"));
            records.push(Seen { offset: first.get(), content });
            next = Offset::new(first.get() + 1);
        }
        self.client.shared.journal.push(Kind::Read(Read {
            begun: asked.begun,
            place: place(self.identity.log, self.partition),
            from: from.get(),
            records,
            ids: batches.iter().flat_map(ids).collect(),
            next: next.get(),
            low: fetched.low.get(),
            high: fetched.high.get(),
        }));
    }

    /// Whether the answer that was just taken held a damaged batch.
    const fn is_damaged(&self) -> bool {
        // Only after a damaged answer does a fetch that succeeded lead to another way.
        matches!(self.due, Next::Reroute(_) | Next::Corrupt { .. })
    }

    fn note_refused(&self, asked: Question, reply: &ErrorReply) {
        self.client.shared.journal.push(Kind::ReadRefused(ReadRefused {
            begun: asked.begun,
            place: place(self.identity.log, self.partition),
            from: asked.offset().map(Offset::get),
            refusal: refusal(reply),
        }));
    }
}

/// How long the server is to wait for records.
const fn wait(config: &ConsumerConfig) -> Duration {
    match config.stop {
        Stop::Never => config.wait,
        // It ends at the tail instead of waiting there.
        Stop::AtEnd => Duration::ZERO,
    }
}

impl SimClient {
    /// Reads a whole partition from its oldest offset to the end it has now, notes it in the history
    /// as a final read, and returns it. Damaged ranges are skipped and told.
    ///
    /// # Errors
    /// Why it could not be read to its end.
    pub async fn read_all(
        &self,
        log: &str,
        partition: PartitionId,
    ) -> Result<FinalRead, CallError> {
        let begun = self.shared.journal.mark();
        let config = ConsumerConfig { stop: Stop::AtEnd, ..ConsumerConfig::default() };
        let mut reader = Reader::open(self, (log, partition), config).await?;
        let fail = |cause: String| Err(CallError::without_reply(cause, false));
        let (mut records, mut damaged) = (Vec::new(), Vec::new());
        let mut range: Option<(u64, u64)> = None;
        loop {
            match reader.next().await {
                ReadStep::Batches(Batches { batches, low, high }) => {
                    range.get_or_insert((low.get(), high.get()));
                    records.extend(batches.iter().flat_map(seen));
                }
                ReadStep::End(ReadEnd::Finished) => break,
                ReadStep::End(ReadEnd::Damaged(offsets)) => {
                    damaged.push(offsets.start.get()..offsets.end.get());
                    reader.seek(StartFrom::Offset(offsets.end));
                }
                ReadStep::End(ReadEnd::Corrupt(offsets, source)) => {
                    let content = Err(format!("arrived damaged, twice: {source}"));
                    records.push(Seen { offset: offsets.start.get(), content });
                    reader.seek(StartFrom::Offset(offsets.end));
                }
                ReadStep::End(end) => {
                    return fail(format!("reading {log}/{partition} ended: {end:?}"));
                }
            }
        }
        let found = self.find_offset((reader.identity, partition), StartFrom::Earliest).await?;
        let (_, high) = range.unwrap_or((found.low.get(), found.high.get()));
        // What retention took meanwhile is not asked for.
        let low = found.low.get().min(high);
        records.retain(|seen: &Seen| seen.offset >= low);
        let place = place(reader.log(), partition);
        let read = FinalRead { begun, place, low, high, records, damaged };
        self.shared.journal.push(Kind::FinalRead(read.clone()));
        Ok(read)
    }
}
