//! The object store that closed segments go to, as the log sees it: put, get a range, look, list, delete.
//!
//! A trait and nothing else, so that the log knows no network and no Tokio: the body that ships is the crate
//! `pyralog-store`, the one that tests use is [`memory`]. Every future is of the core that made it and may be dropped at
//! any time; what was asked may or may not happen then, as after an error that can be retried. An object is written
//! once, whole, and never changed; it is there under its name only after [`Upload::finish`] has resolved, or not at all.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use crate::ids::Timestamp;

pub mod memory;

/// An answer that is on its way.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, RemoteError>> + 'a>>;

/// An object store. Used by one core; its body may serve many. Keys are relative to a prefix that the store knows, their
/// parts separated by `/`.
pub trait RemoteStore {
    /// What the store is called in messages: its URL, without secrets.
    fn name(&self) -> &str;

    /// Begins an object. Whoever begins it again under the same key replaces it, once that is finished.
    fn put<'a>(&'a self, key: &'a str) -> Asked<'a, Box<dyn Upload>>;

    /// Exactly these bytes of an object. An object that ends before them is [`RemoteErrorKind::Short`].
    fn get<'a>(&'a self, key: &'a str, range: Range<u64>) -> Asked<'a, Vec<u8>> {
        self.get_into(key, range, Vec::new())
    }

    /// As [`Self::get`], in this memory if the store can use it, whatever it holds: new memory costs page faults.
    fn get_into<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        memory: Vec<u8>,
    ) -> Asked<'a, Vec<u8>>;

    /// The length of an object, `None` if there is no such object.
    fn length<'a>(&'a self, key: &'a str) -> Asked<'a, Option<u64>>;

    /// Lists the objects below `prefix`, which ends with `/`, in any order.
    fn list<'a>(&'a self, prefix: &'a str) -> Asked<'a, Box<dyn Listing>>;

    /// Removes an object. One that is not there is removed.
    fn delete<'a>(&'a self, key: &'a str) -> Asked<'a, ()>;
}

/// An object being written. Dropped before [`Upload::finish`] it leaves no object; it may leave parts that cost space
/// until the store clears them away.
pub trait Upload {
    /// Appends bytes; resolves when the store takes more.
    fn write(&mut self, bytes: Vec<u8>) -> Asked<'_, ()>;

    /// Ends the object; resolves when it is there under its name and durable.
    fn finish(self: Box<Self>) -> Asked<'static, ()>;

    /// Gives the object up and clears away what was written of it.
    fn abort(self: Box<Self>) -> Asked<'static, ()>;
}

/// A list that comes page by page.
pub trait Listing {
    /// The next objects; none at the end.
    fn next(&mut self) -> Asked<'_, Vec<RemoteObject>>;
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteObject {
    /// Its key, as the other calls take it.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was written, by the clock of the store.
    pub modified: Timestamp,
}

/// What was asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`RemoteStore::put`].
    Put,
    /// [`Upload::write`].
    Write,
    /// [`Upload::finish`].
    Finish,
    /// [`Upload::abort`].
    Abort,
    /// [`RemoteStore::get`].
    Get,
    /// [`RemoteStore::length`].
    Length,
    /// [`RemoteStore::list`] and [`Listing::next`].
    List,
    /// [`RemoteStore::delete`].
    Delete,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Put,
        Self::Write,
        Self::Finish,
        Self::Abort,
        Self::Get,
        Self::Length,
        Self::List,
        Self::Delete,
    ];

    /// As a message says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "beginning",
            Self::Write => "writing",
            Self::Finish => "finishing",
            Self::Abort => "giving up",
            Self::Get => "reading",
            Self::Length => "looking for",
            Self::List => "listing",
            Self::Delete => "deleting",
        }
    }
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteErrorKind {
    /// The store does not answer, or is overloaded, or something broke on the way: trying again may help.
    Away,
    /// There is no such object.
    Missing,
    /// The object ends before the bytes that were asked for.
    Short,
    /// The store does not know us, or does not let us: somebody has to mend credentials or rights.
    Denied,
    /// Anything else that trying again does not mend.
    Refused,
}

/// Why a store did not do what it was asked. Nothing is known of whether it did a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteError {
    /// What was asked.
    pub operation: Operation,
    /// Of which object, or below which prefix.
    pub key: String,
    /// What kind of failure.
    pub kind: RemoteErrorKind,
    /// What the store said.
    pub problem: String,
}

impl RemoteError {
    /// An error.
    #[must_use]
    pub fn new(
        operation: Operation,
        key: &str,
        kind: RemoteErrorKind,
        problem: impl Into<String>,
    ) -> Self {
        Self { operation, key: key.to_owned(), kind, problem: problem.into() }
    }

    /// Whether the same may succeed later without anybody mending anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, RemoteErrorKind::Away)
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, key, kind, problem } = self;
        let advice = match kind {
            RemoteErrorKind::Away => "it is tried again",
            RemoteErrorKind::Missing => {
                "somebody else has removed it, or tier.url names another place"
            }
            RemoteErrorKind::Short => "somebody else has written it",
            RemoteErrorKind::Denied => "look at the credentials and rights",
            RemoteErrorKind::Refused => "look at tier.url and the store",
        };
        let operation = operation.name();
        write!(formatter, "the object store failed at {operation} {key}: {problem} ({advice})")
    }
}

impl std::error::Error for RemoteError {}
