//! Whole-file and directory calls of a core, on the pool for calls that block.
//!
//! The steps themselves are [`blocking`]'s and [`host`]'s.
//! All of them start when first polled, and a dropped future does not stop them.

use crate::error::{IoError, IoErrorKind};
use crate::file::{Sync, blocking, host, temporary};
use crate::limits::SMALL_FILE_BYTES_MAX;
use crate::rng;
use crate::task::spawn_blocking;
use std::io;
use std::path::Path;

/// One name in a directory.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Entry {
    /// File name, without its directory.
    pub name: String,
    /// Length in bytes; of a directory, whatever its file system says.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Runs `call` with `path` off the core and puts operation and path to its error.
async fn on_path<R: Send + 'static>(
    operation: &'static str,
    path: impl AsRef<Path>,
    call: impl FnOnce(&Path) -> io::Result<R> + Send + 'static,
) -> Result<R, IoError> {
    let path = path.as_ref().to_owned();
    let given = path.clone();
    match spawn_blocking(move || call(&given)).await {
        Ok(result) => result.map_err(|error| IoError::new(operation, Some(&path), error)),
        Err(panicked) => Err(IoError::new(operation, Some(&path), io::Error::other(panicked))),
    }
}

/// The content of a file of at most `max` bytes.
///
/// # Errors
/// `TooLarge` if it is longer, `NotFound` if it is not there, and so on.
///
/// # Panics
/// If `max` exceeds [`SMALL_FILE_BYTES_MAX`]; outside a core.
pub async fn read_small(path: impl AsRef<Path>, max: usize) -> Result<Vec<u8>, IoError> {
    assert!(max <= SMALL_FILE_BYTES_MAX, "{max} bytes are not a small file");
    let path = path.as_ref();
    let content = on_path("read", path, move |path| blocking::read_start(path, max + 1)).await?;
    if content.len() > max {
        let text = format!("longer than {max} bytes");
        return Err(IoError::with_kind(IoErrorKind::TooLarge, "read", Some(path), &text));
    }
    Ok(content)
}

/// Replaces a file, durably and at once: after a crash it has its old content or this one, whole.
/// Resolves when the new content is on stable storage under its name. A process that ends meanwhile
/// may leave a file behind that [`is_temporary`](super::is_temporary) knows.
///
/// # Errors
/// The old content is then still there, except if only the sync of the directory failed: then either
/// may be found after a loss of power.
///
/// # Panics
/// Outside a core.
pub async fn write_small_atomic(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<(), IoError> {
    let number = rng::entropy_u64();
    on_path("write", path, move |path| {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let staged = temporary::staged(name, number);
        blocking::write_atomic(path, &staged, &bytes)
    })
    .await
}

/// Appends `bytes` to a file, making it if needed. For journals of rare events, not for data.
///
/// # Errors
/// If not all of it was written; part of it may have been.
///
/// # Panics
/// Outside a core.
pub async fn append(path: impl AsRef<Path>, bytes: Vec<u8>, sync: Sync) -> Result<(), IoError> {
    on_path("append to", path, move |path| blocking::append(path, &bytes, sync)).await
}

/// Makes a directory and those above it, durably. Nothing happens to one that is there, see
/// [`blocking::create_dir_all`].
///
/// # Errors
/// If one of them cannot be made.
///
/// # Panics
/// Outside a core.
pub async fn create_dir_all(path: impl AsRef<Path>) -> Result<(), IoError> {
    on_path("create the directory", path, blocking::create_dir_all).await
}

/// What is in a directory, by name. Names that are not UTF-8 are shown with replacement characters.
///
/// # Errors
/// If it cannot be read.
///
/// # Panics
/// Outside a core.
pub async fn list_dir(path: impl AsRef<Path>) -> Result<Vec<Entry>, IoError> {
    on_path("list", path, blocking::list_dir).await
}

/// Removes a file; durable after [`sync_dir`].
///
/// # Errors
/// If it is not there or may not be removed.
///
/// # Panics
/// Outside a core.
pub async fn remove_file(path: impl AsRef<Path>) -> Result<(), IoError> {
    on_path("remove", path, host::remove_file).await
}

/// Removes a directory with everything in it; durable after [`sync_dir`] of the one above.
///
/// # Errors
/// If something in it may not be removed; the rest may be gone.
///
/// # Panics
/// Outside a core.
pub async fn remove_dir_all(path: impl AsRef<Path>) -> Result<(), IoError> {
    on_path("remove the directory", path, host::remove_dir_all).await
}

/// Renames, replacing what has the new name; durable after [`sync_dir`] of both directories.
///
/// # Errors
/// If it cannot; nothing has changed then.
///
/// # Panics
/// Outside a core.
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), IoError> {
    let to = to.as_ref().to_owned();
    on_path("rename", from, move |from| host::rename(from, &to)).await
}

/// Makes the names in a directory durable.
///
/// # Errors
/// If the device fails.
///
/// # Panics
/// Outside a core.
pub async fn sync_dir(path: impl AsRef<Path>) -> Result<(), IoError> {
    on_path("sync the directory", path, blocking::sync_dir).await
}

/// Whether there is something of that name.
///
/// # Errors
/// If the system does not say.
///
/// # Panics
/// Outside a core.
pub async fn exists(path: impl AsRef<Path>) -> Result<bool, IoError> {
    on_path("look for", path, blocking::exists).await
}

/// Bytes that this process may still write to the file system of `directory`.
///
/// # Errors
/// If the system does not say.
///
/// # Panics
/// Outside a core.
pub async fn free_space(directory: impl AsRef<Path>) -> Result<u64, IoError> {
    on_path("ask for the free space of", directory, host::free_space).await
}
