//! Files: direct I/O for what is large and hot, whole-file calls for metadata, and locks.

pub mod blocking;

mod direct;
mod host;
mod lock;
mod small;
pub(crate) mod temporary;

pub use direct::{DirectFile, Sync};
pub use lock::{FileLock, lock_exclusive};
pub use small::{
    Entry, append, create_dir_all, exists, free_space, list_dir, read_small, remove_dir_all,
    remove_file, rename, sync_dir, write_small_atomic,
};
pub use temporary::is_temporary;
