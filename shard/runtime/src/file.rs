//! Files: direct I/O for what is large and hot, lengths that only grow, whole-file calls for metadata, and locks.

pub mod blocking;

mod direct;
pub(crate) mod host;
mod lock;
mod small;
mod sparse;
pub(crate) mod temporary;

pub use direct::{DirectFile, Sync};
pub use lock::{FileLock, lock_exclusive};
pub use small::{
    Entry, append, create_dir_all, exists, free_space, list_dir, read_small, remove_dir_all,
    remove_file, rename, sync_dir, write_small_atomic,
};
pub use sparse::{ExtendError, SparseFile};
pub use temporary::is_temporary;
