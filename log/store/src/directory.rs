//! What a directory needs beyond its client: objects that survive a power cut, and no remains of broken uploads.
//!
//! The client writes to a file beside the object (`<name>#1`) and renames it, but syncs neither; and it hides those files,
//! so that nobody would ever remove what a killed process has left of them.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use pyralog_log::ids::Timestamp;
use pyralog_log::remote::{Operation, RemoteError, RemoteErrorKind, RemoteObject};
use tokio::task::spawn_blocking;

use crate::job::Outcome;

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

/// Removes a file.
pub(crate) async fn remove(path: PathBuf, key: &str) -> Result<Outcome, RemoteError> {
    let removing = move || match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
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
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
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
    let result = spawn_blocking(call).await.map_err(|error| error.to_string());
    let result = result.and_then(|result| result.map_err(|error| error.to_string()));
    result.map_err(|problem| RemoteError::new(operation, &key, RemoteErrorKind::Away, problem))
}
