//! A number on disk that only grows: the file of an [obelisk](crate::obelisk).
//!
//! ```text
//! <directory>/<name>/0000002a.obelisk   empty but for its length: value = generation * stride + length
//! <directory>/<name>/sidecar            what it is, and a value that it has been at
//! ```
//!
//! To count is to make the file longer (`ftruncate`) and to sync that (`fdatasync`): it takes no blocks, has no bytes
//! that could be torn, and to recover it is to ask for its length. A file cannot be longer than its file system allows,
//! so every `stride` values a new file begins, well before. Each obelisk has a directory of its own, so that what is
//! asked of the disk at a start does not depend on how many others there are.
//!
//! # Why no number can come twice
//!
//! A value is dealt only when a length at or above it was synced *in this life*. The length that is found at a start may
//! be one that was never synced, or whose sync failed; but no number above it was dealt, and before the first number
//! above it is, a greater length is synced. So a start needs to trust nothing that the last life left: an obelisk that
//! was poisoned by a failed sync may simply be opened again.
//!
//! What is *said* of an obelisk needs more than that: who is told of a value must never be told of a lesser one. So the
//! length that is found is synced before it is told, unless the sidecar says that it is durable, which it does after an
//! orderly close. A failed sync that a later one hides could still deceive: a file system that cannot write its journal
//! stops to take writes, so that does not come to pass for a length.

use std::path::{Path, PathBuf};

use pyralog_runtime::file::{self, Entry};
use pyralog_runtime::{IoErrorKind, Panicked, spawn_blocking};

use crate::limits::{NAME_BYTES_MAX, STRIDE_MAX};
use crate::obelisk::Mode;
use store::Store;

mod error;
mod recovery;
mod sidecar;
mod store;

pub use error::ObeliskError;

/// What an obelisk is to be if it is not there yet. One that is there stays what it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// How its numbers are dealt. The file only remembers it.
    pub mode: Mode,
    /// Most values of a generation, a power of two. Fewer if the file system cannot have such files.
    pub stride_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { mode: Mode::default(), stride_max: STRIDE_MAX }
    }
}

/// How an obelisk stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stat {
    /// Its value: the durable one after an extension in this life; before, the one that was found, and synced then.
    pub value: u64,
    /// The generation of its file.
    pub generation: u32,
    /// Values per generation.
    pub stride: u64,
    /// How its numbers are dealt.
    pub mode: Mode,
    /// The value that its sidecar attests.
    pub bound: u64,
    /// Bytes of the device that its file takes.
    pub allocated_bytes: u64,
    /// Whether an extension has failed in a way that leaves open what is durable.
    pub is_poisoned: bool,
}

/// A durable number that only grows, and its one owner. Belongs to a core.
///
/// Dropping it lets go of the files. What it has noted of its value is then older than after [`close`](Self::close),
/// which matters to nobody but a file that comes back shorter.
#[derive(Debug)]
pub struct ObeliskFile {
    /// With the pool while it is extended; for good if nobody waited for the end of that.
    store: Option<Store>,
    stat: Stat,
}

impl ObeliskFile {
    /// Opens the obelisk `name` in `directory`, or makes it at zero, together with the directory. Returns it with its
    /// value, which is durable: every number that was ever dealt under it is below.
    ///
    /// # Errors
    /// `AlreadyOpen`, `BadName`, `Unopened`; `CameBackShorter`, `Unattested` and `Newer` if what is there is not what
    /// was left there. Nothing has changed then, but for a directory that may have been made.
    ///
    /// # Panics
    /// If `options` are out of range; outside a core.
    pub async fn open(
        directory: impl AsRef<Path>,
        name: &str,
        options: Options,
    ) -> Result<(Self, u64), ObeliskError> {
        options.check();
        Self::take(directory.as_ref(), name, move |directory, name| {
            Store::open(directory, name, Some(options))
        })
        .await
    }

    /// Opens the obelisk `name` in `directory`, which was made before. One whose creation was cut short has no mode yet, so
    /// it is not made here: whoever wants it asks for its creation again.
    ///
    /// # Errors
    /// As for [`open`](Self::open); `NotMade`.
    ///
    /// # Panics
    /// Outside a core.
    pub async fn open_made(
        directory: impl AsRef<Path>,
        name: &str,
    ) -> Result<(Self, u64), ObeliskError> {
        Self::take(directory.as_ref(), name, |directory, name| Store::open(directory, name, None))
            .await
    }

    /// Opens it as [`open`](Self::open) does, but whatever is found there, and goes to `value`, or above everything that
    /// was found. The caller answers for it that no number at or above `value` was ever dealt. Resolves when that is
    /// durable, and noted.
    ///
    /// # Errors
    /// As for [`open`](Self::open), but not `CameBackShorter` and `Unattested`; `Exhausted` if `value` exceeds
    /// [`VALUE_MAX`](crate::limits::VALUE_MAX); `Refused` and `Unsynced`. It may have been raised.
    ///
    /// # Panics
    /// If `options` are out of range; outside a core.
    pub async fn raise_to(
        directory: impl AsRef<Path>,
        name: &str,
        options: Options,
        value: u64,
    ) -> Result<(Self, u64), ObeliskError> {
        options.check();
        Self::take(directory.as_ref(), name, move |directory, name| {
            Store::raise(directory, name, options, value)
        })
        .await
    }

    async fn take(
        directory: &Path,
        name: &str,
        call: impl FnOnce(&Path, &str) -> Result<Store, ObeliskError> + Send + 'static,
    ) -> Result<(Self, u64), ObeliskError> {
        let (directory, name): (PathBuf, String) = (directory.to_owned(), name.to_owned());
        let opened = spawn_blocking(move || {
            call(&directory, &name).map(|store| {
                let stat = store.stat();
                (store, stat)
            })
        });
        let (store, stat) = opened.await.map_err(ObeliskError::Broken)??;
        Ok((Self { store: Some(store), stat }, stat.value))
    }

    /// Makes `value` durable: when it resolves, no start will find less. One hand-over to the pool and one sync, but for
    /// every [`EXTENSIONS_PER_NOTE`](crate::limits::EXTENSIONS_PER_NOTE)th, which also writes the sidecar, and the first
    /// of a generation, which makes a file.
    ///
    /// Dropped midway, it goes on, nobody knows how it ends, and the obelisk is poisoned.
    ///
    /// # Errors
    /// `Refused`, and then nothing has changed; `Exhausted`; `Unsynced`, `Broken` and `Poisoned`, and then nothing is
    /// extended any more until it is opened again.
    ///
    /// # Panics
    /// If `value` is not above [`value`](Self::value); outside a core.
    pub async fn extend_to(&mut self, value: u64) -> Result<(), ObeliskError> {
        assert!(value > self.stat.value, "an extension from {} to {value}", self.stat.value);
        let Some(mut store) = self.store.take() else { return Err(ObeliskError::Poisoned) };
        self.stat.is_poisoned = true;
        let extending = spawn_blocking(move || {
            let extended = store.extend_to(value);
            let stat = store.stat();
            (store, stat, extended)
        });
        let (store, stat, extended) = extending.await.map_err(ObeliskError::Broken)?;
        (self.store, self.stat) = (Some(store), stat);
        assert!(extended.is_err() || stat.value >= value, "{} is less than {value}", stat.value);
        extended
    }

    /// Its value: the durable one after an extension in this life; before, the one that was found, and synced then.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.stat.value
    }

    /// How it stood after the last extension.
    #[must_use]
    pub fn stat(&self) -> Stat {
        self.stat
    }

    /// Notes how far it has come and lets go of the files.
    ///
    /// # Errors
    /// `Refused` if that could not be noted: nothing is lost by it. `Poisoned` if it was.
    ///
    /// # Panics
    /// Outside a core.
    pub async fn close(mut self) -> Result<(), ObeliskError> {
        let Some(store) = self.store.take() else { return Err(ObeliskError::Poisoned) };
        let closed = spawn_blocking(move || store.close());
        closed.await.unwrap_or_else(|panicked: Panicked| Err(ObeliskError::Broken(panicked)))
    }
}

impl Options {
    fn check(&self) {
        assert!(self.mode.is_valid(), "{:?}", self.mode);
        let stride = self.stride_max;
        assert!(stride.is_power_of_two() && stride <= STRIDE_MAX, "a stride of {stride}");
    }
}

/// The names of the obelisks in `directory`, in order; none if it is not there. One whose creation was cut short is
/// among them.
///
/// # Errors
/// If it cannot be read.
///
/// # Panics
/// Outside a core.
pub async fn names(directory: impl AsRef<Path>) -> Result<Vec<String>, ObeliskError> {
    match file::list_dir(directory).await {
        Ok(entries) => {
            let is_obelisk = |entry: &Entry| entry.is_dir && is_name(&entry.name);
            Ok(entries.into_iter().filter(is_obelisk).map(|entry| entry.name).collect())
        }
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(ObeliskError::Unopened(error)),
    }
}

/// The value of the obelisk `name` in `directory`, whoever has it open: no less than what its owner found when it opened it,
/// and perhaps not durable. Zero if there is none yet.
///
/// # Errors
/// `Unopened`; `CameBackShorter`, `Unattested` and `Newer` as for [`ObeliskFile::open`].
///
/// # Panics
/// Outside a core.
pub async fn peek(directory: impl AsRef<Path>, name: &str) -> Result<u64, ObeliskError> {
    let (directory, name) = (directory.as_ref().to_owned(), name.to_owned());
    let peeked = spawn_blocking(move || store::peek(&directory, &name));
    peeked.await.map_err(ObeliskError::Broken)?
}

/// Whether a counter may have that name: 1 to [`NAME_BYTES_MAX`] of a-z, A-Z, 0-9, `.`, `_` and `-`, not beginning with
/// `.`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let len = 1..=NAME_BYTES_MAX;
    len.contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.')
}
