//! The machine of reading one partition, bytes included: what an answer to a fetch brings, and what
//! to do then. It is `cursor` with the checksums: what arrives damaged is fetched once more, because
//! the network or the server's memory may be to blame; what arrives damaged twice is told.

use fastrand::Rng;
use pyralog_log::batch::{Buffer, Decoder};
use pyralog_log::ids::{Offset, PartitionId};
use pyralog_wire::message::{FetchFrom, Fetched, Reply, Response};

use crate::config::StartFrom;
use crate::cursor::{Cursor, Next};
use crate::fetched::{FetchedBatch, Opened, open};
use crate::verifying::Answer;

/// The machine. Invariant: what was handed out is never handed out again unless a seek says so.
pub struct Reading {
    partition: PartitionId,
    cursor: Cursor,
    decoder: Decoder,
    /// The last answer was damaged. Twice is a failure.
    corrupt: bool,
    /// Batches are hashed, for whoever verifies them.
    hashes: bool,
    hashed: Option<Answer>,
}

impl Reading {
    /// Reads `partition` from where `cursor` is.
    #[must_use]
    pub fn new(partition: PartitionId, cursor: Cursor) -> Self {
        Self {
            partition,
            cursor,
            decoder: Decoder::new(),
            corrupt: false,
            hashes: false,
            hashed: None,
        }
    }

    /// The same, with the batches hashed: see [`Reading::take_hashed`].
    #[must_use]
    pub fn hashing(self) -> Self {
        Self { hashes: true, ..self }
    }

    /// What the last answer has brought, for a [`crate::verifying::Verifier`]; once.
    pub fn take_hashed(&mut self) -> Option<Answer> {
        self.hashed.take()
    }

    /// Where to fetch.
    #[must_use]
    pub fn from(&self) -> FetchFrom {
        self.cursor.from()
    }

    /// The offset to fetch, if it is known.
    #[must_use]
    pub const fn offset(&self) -> Option<Offset> {
        self.cursor.offset()
    }

    /// See [`Cursor::ahead`]. The answer to what is asked ahead counts if, when its turn comes, it
    /// starts at [`Reading::from`]; otherwise it is to be thrown away.
    #[must_use]
    pub fn ahead(&self, fetched: &Fetched) -> Option<FetchFrom> {
        self.cursor.ahead(fetched)
    }

    /// Goes to another position.
    pub fn seek(&mut self, to: StartFrom) {
        self.corrupt = false;
        self.cursor.seek(to);
    }

    /// A fetch was answered: the batches to hand out, in order, and what to do then.
    pub fn answered(
        &mut self,
        (reply, payload): (Reply, Option<Buffer>),
        rng: &mut Rng,
    ) -> (Vec<FetchedBatch>, Next) {
        match reply {
            Reply::Done(Response::Fetch(fetched)) => {
                self.fetched(&fetched, payload.unwrap_or_default(), rng)
            }
            Reply::Refused(reply) => (Vec::new(), self.cursor.refused(reply, rng)),
            Reply::Done(_) => (Vec::new(), Next::Nonsense),
        }
    }

    /// A fetch had no answer.
    pub fn failed(&mut self, rng: &mut Rng) -> Next {
        self.cursor.failed(rng)
    }

    /// Takes the payload, so that from here on only the batches hold its buffer: it serves again as
    /// soon as they go.
    fn fetched(
        &mut self,
        fetched: &Fetched,
        payload: Buffer,
        rng: &mut Rng,
    ) -> (Vec<FetchedBatch>, Next) {
        self.cursor.note_end(fetched);
        let decoder = &mut self.decoder;
        let asked = self.cursor.offset();
        let mut batches = Vec::new();
        let hashes = self.hashes.then_some(&mut batches);
        let opened = open(self.partition, (fetched, &payload), &self.cursor, decoder, hashes);
        drop(payload);
        if let Some(base) = opened.begins {
            self.cursor.begun(base);
        }
        let (handed_out, next) = self.opened(fetched, opened, rng);
        if self.hashes {
            let next = self.cursor.offset();
            // Of an answer that was not sound all the way, what is asked for again counts then.
            batches.retain(|batch| next.is_none_or(|next| batch.offsets.end <= next));
            let (end, high) = (self.cursor.end(), fetched.high);
            self.hashed = Some(Answer { asked, next, end, high, batches });
        }
        (handed_out, next)
    }

    /// Moves on, by what the opened payload has shown.
    fn opened(
        &mut self,
        fetched: &Fetched,
        opened: Opened,
        rng: &mut Rng,
    ) -> (Vec<FetchedBatch>, Next) {
        let Some((first, source)) = opened.fault else {
            self.corrupt = false;
            return (opened.batches, self.cursor.fetched(fetched));
        };
        // The sound part is handed out.
        let first = self.cursor.offset().map_or(first, |asked| asked.max(first));
        self.cursor.seek(StartFrom::Offset(first));
        let next = if std::mem::replace(&mut self.corrupt, true) {
            Next::Corrupt { first, next: fetched.next_offset, source }
        } else {
            self.cursor.failed(rng)
        };
        (opened.batches, next)
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("Reading");
        debug.field("partition", &self.partition).field("cursor", &self.cursor);
        debug.field("corrupt", &self.corrupt).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
