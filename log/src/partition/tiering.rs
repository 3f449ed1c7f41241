//! What of a partition goes to the object store.

use std::time::Duration;

/// What of a partition goes to the object store, and what of that stays in the directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tiering {
    /// Whether closed segments go there.
    pub is_on: bool,
    /// How long after its last append a segment that is there stays in the directory, too; zero for ever.
    pub local_age: Duration,
    /// How many bytes of segments stay in the directory, as far as those are in the store that would have to go; zero for
    /// any number.
    pub local_bytes: u64,
}
