//! What a core asks of the store's threads and what comes back: one message each.

use std::ops::Range;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::{Error, ObjectMeta, ObjectStoreExt};
use pyralog_log::ids::Timestamp;
use pyralog_log::remote::{Operation, RemoteError, RemoteErrorKind, RemoteObject};
use tokio::sync::mpsc;

use crate::Shared;
use crate::directory;
use crate::errors::error;
use crate::limits::LIST_PAGE;

/// What a job came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    Bytes(Vec<u8>),
    Length(Option<u64>),
    Page(Vec<RemoteObject>),
}

/// The answer to the call of this number.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) call: usize,
    pub(crate) outcome: Result<Outcome, RemoteError>,
}

/// What is owed to a core: exactly one [`Done`], also if the job panics or is dropped.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) shared: Arc<Shared>,
    pub(crate) shard: usize,
    pub(crate) call: usize,
    /// The operation and the key, for the message if it comes to nothing; `None` once paid.
    pub(crate) of: Option<(Operation, String)>,
}

impl Owed {
    /// Answers.
    pub(crate) fn pay(mut self, outcome: Result<Outcome, RemoteError>) {
        self.of = None;
        self.post(outcome);
    }

    fn post(&self, outcome: Result<Outcome, RemoteError>) {
        let done = Done { call: self.call, outcome };
        if let Err(refused) = self.shared.outside.post(self.shard, done) {
            // A lane holds an answer to every call that may be out.
            assert!(!refused.is_full(), "the lane of answers is full");
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some((operation, key)) = self.of.take() {
            let problem = "the threads of the store have ended";
            self.post(Err(RemoteError::new(operation, &key, RemoteErrorKind::Away, problem)));
        }
    }
}

/// Reads a range of an object; of a directory into `memory`.
pub(crate) async fn get(
    shared: &Shared,
    key: &str,
    (range, memory): (Range<u64>, Vec<u8>),
) -> Result<Outcome, RemoteError> {
    let failed = |failure: &Error| error(Operation::Get, key, failure);
    let path = shared.location.path(key).map_err(|failure| failed(&failure))?;
    if let Some(directory) = shared.location.directory() {
        let path = directory.join(path.as_ref());
        return directory::read(path, key, (range, memory)).await.map(Outcome::Bytes);
    }
    drop(memory);
    let wanted = range.end - range.start;
    let got = shared.location.client().get_range(&path, range.clone()).await;
    match got {
        Ok(bytes) if bytes.len() as u64 == wanted => Ok(Outcome::Bytes(bytes.into())),
        Ok(bytes) => Err(short(key, bytes.len() as u64)),
        Err(failure) => {
            // A range beyond the end comes as an error of no kind of its own.
            match shared.location.client().head(&path).await {
                Ok(found) if found.size < range.end => Err(short(key, found.size)),
                _ => Err(failed(&failure)),
            }
        }
    }
}

pub(crate) fn short(key: &str, found: u64) -> RemoteError {
    let problem = format!("it ends after {found} bytes");
    RemoteError::new(Operation::Get, key, RemoteErrorKind::Short, problem)
}

/// The length of an object.
pub(crate) async fn length(shared: &Shared, key: &str) -> Result<Outcome, RemoteError> {
    let failed = |failure: &Error| error(Operation::Length, key, failure);
    let path = shared.location.path(key).map_err(|failure| failed(&failure))?;
    match shared.location.client().head(&path).await {
        Ok(found) => Ok(Outcome::Length(Some(found.size))),
        Err(Error::NotFound { .. }) => Ok(Outcome::Length(None)),
        Err(failure) => Err(failed(&failure)),
    }
}

/// Removes an object.
pub(crate) async fn delete(shared: &Shared, key: &str) -> Result<Outcome, RemoteError> {
    if directory::is_stage(key)
        && let Some(directory) = shared.location.directory()
    {
        return directory::remove(directory.join(key), key).await;
    }
    let failed = |failure: &Error| error(Operation::Delete, key, failure);
    let path = shared.location.path(key).map_err(|failure| failed(&failure))?;
    match shared.location.client().delete(&path).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(Outcome::Done),
        Err(failure) => Err(failed(&failure)),
    }
}

/// A list that is being read.
enum Pages {
    Stream(BoxStream<'static, Result<ObjectMeta, Error>>),
    /// Of a directory, everything at once: stages of uploads that were broken off included, which the client hides.
    Files(std::vec::IntoIter<RemoteObject>),
}

/// Answers each question with a page of the objects below `prefix`, until nobody asks any more.
pub(crate) async fn list(shared: Arc<Shared>, prefix: String, mut questions: mpsc::Receiver<Owed>) {
    let mut pages = None;
    while let Some(owed) = questions.recv().await {
        let opened = match pages.take() {
            Some(pages) => Ok(pages),
            None => open_list(&shared, &prefix).await,
        };
        let page = match opened {
            Ok(mut opened) => {
                let page = next_page(&shared, &prefix, &mut opened).await;
                pages = Some(opened);
                page
            }
            Err(failure) => Err(failure),
        };
        owed.pay(page.map(Outcome::Page));
    }
}

async fn open_list(shared: &Arc<Shared>, prefix: &str) -> Result<Pages, RemoteError> {
    if let Some(directory) = shared.location.directory() {
        let files = directory::list(directory.clone(), prefix.to_owned()).await?;
        return Ok(Pages::Files(files.into_iter()));
    }
    let path = shared.location.path(prefix);
    let path = path.map_err(|failure| error(Operation::List, prefix, &failure))?;
    // Whoever reads to the end asks once more.
    Ok(Pages::Stream(shared.location.client().list(Some(&path)).fuse().boxed()))
}

async fn next_page(
    shared: &Shared,
    prefix: &str,
    pages: &mut Pages,
) -> Result<Vec<RemoteObject>, RemoteError> {
    match pages {
        Pages::Files(files) => Ok(files.by_ref().take(LIST_PAGE).collect()),
        Pages::Stream(stream) => {
            let mut page = Vec::new();
            while page.len() < LIST_PAGE
                && let Some(found) = stream.next().await
            {
                let found = found.map_err(|failure| error(Operation::List, prefix, &failure))?;
                if let Some(key) = shared.location.key(&found.location) {
                    let modified = Timestamp::new(found.last_modified.timestamp_micros());
                    page.push(RemoteObject { key, bytes: found.size, modified });
                }
            }
            Ok(page)
        }
    }
}
