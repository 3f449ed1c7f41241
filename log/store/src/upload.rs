//! One upload on the store's threads: parts of one size, some at a time, then the end.

use std::sync::Arc;

use object_store::{Error, MultipartUpload, ObjectStoreExt, PutPayload};
use pyralog_log::remote::{Operation, RemoteError, RemoteErrorKind};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Shared;
use crate::directory;
use crate::errors::error;
use crate::job::{Outcome, Owed};
use crate::limits::PARTS_IN_FLIGHT_MAX;

/// What comes next in an upload.
#[derive(Debug)]
pub(crate) enum Step {
    /// A part that is not the last.
    Part(Vec<u8>),
    /// The last one, of any length, and then the end.
    Last(Vec<u8>),
    /// No object after all.
    Abort,
}

/// An object on its way. Small ones are one request.
struct Sending {
    shared: Arc<Shared>,
    key: String,
    parts: Option<Box<dyn MultipartUpload>>,
    under_way: JoinSet<Result<(), Error>>,
}

/// Carries out the steps of an upload, until one ends it or nobody takes another.
pub(crate) async fn run(shared: Arc<Shared>, key: String, mut steps: mpsc::Receiver<(Step, Owed)>) {
    let mut sending = Sending { shared, key, parts: None, under_way: JoinSet::new() };
    while let Some((step, owed)) = steps.recv().await {
        let (ends, outcome) = match step {
            Step::Part(bytes) => (false, sending.part(bytes).await),
            Step::Last(bytes) => (true, sending.last(bytes).await),
            Step::Abort => {
                sending.give_up().await;
                (true, Ok(()))
            }
        };
        let failed = outcome.is_err();
        owed.pay(outcome.map(|()| Outcome::Done));
        if failed {
            break;
        }
        if ends {
            return;
        }
    }
    sending.give_up().await;
}

impl Sending {
    fn failed(&self, operation: Operation, failure: &Error) -> RemoteError {
        error(operation, &self.key, failure)
    }

    /// Sends a part; resolves when there is room for another.
    async fn part(&mut self, bytes: Vec<u8>) -> Result<(), RemoteError> {
        if self.parts.is_none() {
            let begun = async {
                let path = self.shared.location.path(&self.key)?;
                self.shared.location.client().put_multipart(&path).await
            };
            let begun = begun.await.map_err(|failure| self.failed(Operation::Put, &failure))?;
            self.parts = Some(begun);
        }
        if let Some(parts) = &mut self.parts {
            self.under_way.spawn(parts.put_part(PutPayload::from(bytes)));
        }
        self.wait_for(PARTS_IN_FLIGHT_MAX - 1).await
    }

    /// Waits until at most `most` parts are under way.
    async fn wait_for(&mut self, most: usize) -> Result<(), RemoteError> {
        while self.under_way.len() > most
            && let Some(sent) = self.under_way.join_next().await
        {
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => return Err(self.failed(Operation::Write, &failure)),
                Err(panicked) => {
                    let (kind, problem) = (RemoteErrorKind::Away, panicked.to_string());
                    return Err(RemoteError::new(Operation::Write, &self.key, kind, problem));
                }
            }
        }
        Ok(())
    }

    async fn last(&mut self, bytes: Vec<u8>) -> Result<(), RemoteError> {
        if self.parts.is_none() {
            let put = async {
                let path = self.shared.location.path(&self.key)?;
                self.shared.location.client().put(&path, PutPayload::from(bytes)).await
            };
            put.await.map_err(|failure| self.failed(Operation::Finish, &failure))?;
        } else {
            if !bytes.is_empty() {
                self.part(bytes).await?;
            }
            self.wait_for(0).await?;
            if let Some(parts) = &mut self.parts {
                let completed = parts.complete().await;
                completed.map_err(|failure| error(Operation::Finish, &self.key, &failure))?;
            }
            self.parts = None;
        }
        match self.shared.location.directory() {
            Some(directory) => directory::sync(directory.clone(), self.key.clone()).await,
            None => Ok(()),
        }
    }

    /// Clears away what was sent; what cannot be cleared stays to the store's own rules.
    async fn give_up(&mut self) {
        self.under_way.shutdown().await;
        if let Some(mut parts) = self.parts.take()
            && let Err(failure) = parts.abort().await
        {
            tracing::warn!(key = self.key, error = %failure, "parts of an upload were left behind");
        }
    }
}
