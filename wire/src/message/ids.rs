//! Messages of the id service: runs of Scarab ids. Fixed size, no pointers.

use rkyv::{Archive, Deserialize, Serialize};

/// Asks for a run of ids that nobody else has or will get. A client that mints many asks for a block and mints from it
/// without another message; ids that it never uses are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DealIds {
    /// How many, 1 to [`crate::limits::IDS_PER_REQUEST_MAX`].
    pub count: u32,
}

/// The answer to a [`DealIds`]: `count` consecutive ticks of one slot.
///
/// Tick `t` of slot `s` is the id `(t >> 13) << 23 | s << 13 | t & 8191` (`docs/SEQUENCERS.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct IdsDealt {
    /// The slot, 0 to 1023.
    pub slot: u16,
    /// The first tick: milliseconds since 2025-01-01T00:00:00Z in the upper 41 of its 54 bits.
    pub first_tick: u64,
    /// How many, as asked for.
    pub count: u32,
}
