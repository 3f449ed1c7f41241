//! Opening on a full disk, in space that others give.

use std::path::Path;

use super::{Opened, try_open};
use crate::partition::{OpenError, PartitionConfig};
use crate::reserve;
use crate::segment_file::lacks_space;

/// How often a partition is opened anew with the space that somebody gave.
const TRIES: usize = 2;

/// Opens the partition in `dir`, which is made if it is missing. For one that finds no space others give some.
///
/// # Errors
/// If the file system fails, or the directory belongs to another partition.
pub(crate) async fn open(
    config: &PartitionConfig,
    dir: &Path,
    recycle: &Path,
) -> Result<Opened, OpenError> {
    for tries in 0..TRIES {
        match Box::pin(try_open(config, dir, recycle)).await {
            Err(OpenError::Io(error)) if lacks_space(&error) => {
                tracing::warn!(dir = %dir.display(), %error, "no space to open a partition, some is given");
                reserve::give(recycle, dir, tries).await;
            }
            opened => return opened,
        }
    }
    Box::pin(try_open(config, dir, recycle)).await
}
