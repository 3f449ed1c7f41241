//! What a directory needs beyond its client: objects that survive a power cut, and no remains of broken uploads.
//!
//! The client writes to a file beside the object (`<name>#1`) and renames it, but syncs neither; and it hides those files,
//! so that nobody would ever remove what a killed process has left of them.

use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use pyralog_log::ids::Timestamp;
use pyralog_log::remote::{Operation, RemoteError, RemoteErrorKind, RemoteObject};
use tokio::task::spawn_blocking;

use crate::job::{Outcome, short};
use crate::limits::MEMORY_UNIT;

/// Whether a key is of a file beside an object.
pub(crate) fn is_stage(key: &str) -> bool {
    let digits = key.rsplit_once('#').map(|(_, digits)| digits);
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Brings an object and its names to stable storage.
pub(crate) async fn sync(directory: PathBuf, key: String) -> Result<(), RemoteError> {
    let path = directory.join(&key);
    let syncing = move || {
        std::fs::OpenOptions::new().read(true).open(&path)?.sync_all()?;
        // Directories above it may be new, too.
        for above in path.ancestors().skip(1).take_while(|above| above.starts_with(&directory)) {
            std::fs::OpenOptions::new().read(true).open(above)?.sync_all()?;
        }
        Ok(())
    };
    blocking(Operation::Finish, key, syncing).await
}

/// Reads exactly these bytes of a file. The client of the store does that in two steps, into memory that is new and that it fills
/// with zeros first; here it is one, into memory that was there before.
pub(crate) async fn read(
    path: PathBuf,
    key: &str,
    (range, mut memory): (Range<u64>, Vec<u8>),
) -> Result<Vec<u8>, RemoteError> {
    let reading = move || {
        let file = std::fs::OpenOptions::new().read(true).open(path)?;
        let len = usize::try_from(range.end - range.start).map_err(std::io::Error::other)?;
        if memory.capacity() < len {
            memory = Vec::with_capacity(len.next_multiple_of(MEMORY_UNIT));
        }
        memory.resize(len, 0);
        match file.read_exact_at(&mut memory, range.start) {
            Ok(()) => Ok(Ok(memory)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Ok(Err(file.metadata()?.len()))
            }
            Err(error) => Err(error),
        }
    };
    let read = blocking(Operation::Get, key.to_owned(), reading).await?;
    read.map_err(|found| short(key, found))
}

/// Removes a file.
pub(crate) async fn remove(path: PathBuf, key: &str) -> Result<Outcome, RemoteError> {
    let removing = move || match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(Outcome::Done),
    };
    blocking(Operation::Delete, key.to_owned(), removing).await
}

/// Every file below `prefix`.
pub(crate) async fn list(
    directory: PathBuf,
    prefix: String,
) -> Result<Vec<RemoteObject>, RemoteError> {
    let (start, root) = (directory.join(&prefix), directory);
    let listing = move || {
        let mut found = Vec::new();
        walk(&root, &start, &mut found)?;
        Ok(found)
    };
    blocking(Operation::List, prefix, listing).await
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<RemoteObject>) -> std::io::Result<()> {
    let gone = |error: &std::io::Error| error.kind() == ErrorKind::NotFound;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if gone(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let (path, metadata) = match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
            Err(error) if gone(&error) => continue, // removed meanwhile
            entry => entry?,
        };
        if metadata.is_dir() {
            walk(root, &path, found)?;
        } else if let Some(key) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            let age = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let modified = Timestamp::new(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
            found.push(RemoteObject { key: key.to_owned(), bytes: metadata.len(), modified });
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    operation: Operation,
    key: String,
    call: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, RemoteError> {
    let (kind, problem) = match spawn_blocking(call).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => (kind_of(&error), error.to_string()),
        Err(panicked) => (RemoteErrorKind::Away, panicked.to_string()),
    };
    Err(RemoteError::new(operation, &key, kind, problem))
}

fn kind_of(error: &std::io::Error) -> RemoteErrorKind {
    match error.kind() {
        ErrorKind::NotFound => RemoteErrorKind::Missing,
        ErrorKind::PermissionDenied => RemoteErrorKind::Denied,
        _ => RemoteErrorKind::Away,
    }
}
