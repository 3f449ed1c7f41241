//! The objects of deleted logs: noted before the files go, deleted in the background, forgotten when they are gone.
//!
//! A deleted log has no partition that could delete its objects, and the store may be away. So shard 0 makes an empty file
//! `tier/<log id>.deleted` in the data directory before the log goes, and a task of it works these off: it lists what lies
//! below the name of the log and deletes it. The note goes when nothing was there for [`OBJECTS_LATE_MAX`]: an upload that was
//! on its way when the log was deleted cannot be called back. It may be broken off anywhere and begins again.
//!
//! The folder is made by the first start with a store. A later start without one keeps notes there for the next start with
//! it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use pyralog_log::ids::LogId;
use pyralog_log::tier::Tier;
use pyralog_runtime::time::{self, Monotonic};
use pyralog_runtime::{Class, IoError, file, spawn_into};

use crate::config::DataConfig;
use crate::limits::{OBJECTS_LATE_MAX, OBJECTS_RETRY_AFTER};
use crate::shard::Shard;

const ENDING: &str = ".deleted";

fn folder(data: &Path) -> PathBuf {
    data.join("tier")
}

/// Notes that a log is deleted, if the server has or had an object store.
pub(crate) async fn note(shard: &Shard, log: LogId) {
    if let Err(error) = try_note(shard, log).await {
        tracing::warn!(log = log.get(), %error, "objects of a deleted log may be left in the object store");
    }
}

async fn try_note(shard: &Shard, log: LogId) -> Result<(), IoError> {
    let DataConfig::Dir(data) = &shard.config.data else { return Ok(()) };
    let folder = folder(data);
    if shard.tier.is_some() {
        file::create_dir_all(&folder).await?;
    } else if !file::exists(&folder).await? {
        return Ok(()); // There was never a store, so nothing of it is there.
    }
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
    let (DataConfig::Dir(data), Some(tier)) = (&shard.config.data, &shard.tier) else { return };
    let folder = folder(data);
    if let Err(error) = file::create_dir_all(&folder).await {
        tracing::warn!(%error, "deletions while there is no object store will not be noted");
    }
    let pause = OBJECTS_RETRY_AFTER.min(shard.config.housekeeping.interval);
    let mut work = Work { tier, folder: &folder, empty_since: BTreeMap::new() };
    loop {
        let left = shard.objects_left.listen();
        if work.round().await {
            left.await;
        } else {
            time::sleep(pause).await;
        }
    }
}

/// What is worked off.
struct Work<'a> {
    tier: &'a Tier,
    folder: &'a Path,
    /// Since when nothing was found of a log.
    empty_since: BTreeMap<u64, Monotonic>,
}

impl Work<'_> {
    /// Deletes what it can. Whether nothing is left.
    async fn round(&mut self) -> bool {
        let entries = match file::exists(self.folder).await {
            Ok(false) => return true,
            _ => file::list_dir(self.folder).await.unwrap_or_default(),
        };
        let mut is_done = true;
        for entry in entries {
            let Some(log) = entry.name.strip_suffix(ENDING).and_then(|id| id.parse().ok()) else {
                continue;
            };
            if self.is_empty(log).await {
                tracing::info!(log, "a deleted log has no objects any more");
                // Err: the next start looks once more, and finds none.
                file::remove_file(self.folder.join(&entry.name)).await.ok();
                self.empty_since.remove(&log);
            } else {
                is_done = false;
            }
        }
        is_done
    }

    /// Deletes the objects of a log. Whether there were none for so long that none can come any more.
    async fn is_empty(&mut self, log: u64) -> bool {
        match self.tier.delete_log(LogId::new(log)).await {
            Ok(0) => {
                let since = *self.empty_since.entry(log).or_insert_with(time::now);
                return time::now().since(since) >= OBJECTS_LATE_MAX;
            }
            Ok(objects) => {
                tracing::info!(log, objects, "the objects of a deleted log were deleted");
            }
            Err(error) => {
                tracing::warn!(log, %error, "the objects of a deleted log are still there");
            }
        }
        self.empty_since.remove(&log);
        false
    }
}
