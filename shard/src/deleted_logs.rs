//! The objects of deleted logs: noted before the files go, deleted in the background, forgotten when they are gone.
//!
//! A deleted log has no partition that could delete its objects, and the store may be away. So shard 0 makes an empty file
//! `tier/<log id>.deleted` in the data directory before the log goes, and a task of it works these off: it lists what lies
//! below the name of the log and deletes it, and then the note. It may be broken off anywhere and begins again.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use pyralog_log::ids::LogId;
use pyralog_runtime::{Class, IoError, file, spawn_into, time};

use crate::config::DataConfig;
use crate::limits::OBJECTS_RETRY_AFTER;
use crate::shard::Shard;

const ENDING: &str = ".deleted";

fn folder(data: &Path) -> PathBuf {
    data.join("tier")
}

/// Notes that a log is deleted, if the server has an object store.
pub(crate) async fn note(shard: &Shard, log: LogId) {
    if let Err(error) = try_note(shard, log).await {
        tracing::warn!(log = log.get(), %error, "objects of a deleted log may be left in the object store");
    }
}

async fn try_note(shard: &Shard, log: LogId) -> Result<(), IoError> {
    let (DataConfig::Dir(data), Some(_)) = (&shard.config.data, &shard.tier) else { return Ok(()) };
    let folder = folder(data);
    file::create_dir_all(&folder).await?;
    file::write_small_atomic(folder.join(format!("{log}{ENDING}")), Vec::new()).await
}

/// Removes the folder of a log that a deletion has left behind, and notes that its objects may be left, too.
pub(crate) async fn remove_folder(shard: &Shard, log: LogId, folder: &Path) -> Result<(), IoError> {
    try_note(shard, log).await?;
    file::remove_dir_all(folder).await
}

/// Starts to work the notes off, on shard 0, for as long as the core lives.
pub(crate) fn start(shard: &Rc<Shard>) {
    let shard = Rc::clone(shard);
    spawn_into(Class::Background, async move { run(&shard).await }).detach(); // ends with the core
}

async fn run(shard: &Shard) {
    let (DataConfig::Dir(data), Some(_)) = (&shard.config.data, &shard.tier) else { return };
    let folder = folder(data);
    loop {
        let left = shard.objects_left.listen();
        let is_done = round(shard, &folder).await;
        if is_done {
            left.await;
        } else {
            time::sleep(OBJECTS_RETRY_AFTER).await;
        }
    }
}

/// Deletes what it can. Whether nothing is left.
async fn round(shard: &Shard, folder: &Path) -> bool {
    let Some(tier) = &shard.tier else { return true };
    let entries = match file::exists(folder).await {
        Ok(false) => return true,
        _ => file::list_dir(folder).await.unwrap_or_default(),
    };
    let mut is_done = true;
    for entry in entries {
        let Some(log) = entry.name.strip_suffix(ENDING).and_then(|id| id.parse().ok()) else {
            continue;
        };
        match tier.delete_log(LogId::new(log)).await {
            Ok(0) => {
                tracing::info!(log, "a deleted log has no objects any more");
                // Err: the next start looks once more, and finds none.
                file::remove_file(folder.join(&entry.name)).await.ok();
            }
            // What was on its way when the log was deleted may arrive yet: it is looked at again.
            Ok(objects) => {
                tracing::info!(log, objects, "the objects of a deleted log were deleted");
                is_done = false;
            }
            Err(error) => {
                tracing::warn!(log, %error, "the objects of a deleted log are still there");
                is_done = false;
            }
        }
    }
    is_done
}
