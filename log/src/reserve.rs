//! A little space of the disk that is kept for opening partitions.
//!
//! To open a partition is to write: a mark, a checkpoint beside the old one, an index. On a full disk that would fail, and
//! whoever wants to free space would have nothing to read, truncate or delete. So each core keeps a file of zeros, which
//! appends never get, and which goes when an opening finds no space; once the partitions are open it is made anew, of
//! what is left. The alternative, to open partitions that cannot write, would make every step of an opening one that a
//! running partition can take later.

use std::path::Path;

use pyralog_runtime::file::{self, DirectFile};

use crate::limits::{RESERVE_BYTES, RESERVE_BYTES_MIN};
use crate::segment::parse_advisory_name;
use crate::segment_file::{self, remove_if_there};

/// Its name in a recycle directory.
pub(crate) const RESERVE_NAME: &str = "reserve";

/// Makes the reserve in a recycle directory, if it is not there: as large as there is space for.
pub async fn keep(recycle: &Path) {
    let path = recycle.join(RESERVE_NAME);
    // Err: then it cannot be made either.
    if file::exists(&path).await.unwrap_or(true) {
        return;
    }
    let mut len = RESERVE_BYTES;
    while len >= RESERVE_BYTES_MIN {
        match DirectFile::create_new(&path, len).await {
            Ok(made) => {
                // Err: it is there, all the same.
                made.close().await.ok();
                return;
            }
            Err(error) => tracing::debug!(%error, len, "no space for a reserve"),
        }
        // Err: the next start finds it, and takes it for one.
        remove_if_there(&path).await.ok();
        len /= 2;
    }
}

/// Gives space to the opening of the partition in `dir`: what waits to be used again and the reserve, and if that was not
/// enough, after `tries` of it, the indexes, which can be made again.
pub(crate) async fn give(recycle: &Path, dir: &Path, tries: usize) {
    segment_file::give_back(recycle).await;
    // Err, here and below: what is not gone gives no space.
    remove_if_there(&recycle.join(RESERVE_NAME)).await.ok();
    if tries == 0 {
        return;
    }
    for entry in file::list_dir(dir).await.unwrap_or_default() {
        if parse_advisory_name(&entry.name).is_some() {
            remove_if_there(&dir.join(&entry.name)).await.ok();
        }
    }
}
