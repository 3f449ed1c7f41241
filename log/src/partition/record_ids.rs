//! Where the Scarab ids of records come from.
//!
//! The log does not know what an id is made of: it asks for the first one of each batch and writes it into the header. Who
//! deals them keeps them unique (`seq::mint` in a server), and is asked before anything is changed, because an append is
//! taken whole or not at all.

/// Deals the ids of records. Called within an append, so it never waits.
pub trait RecordIds {
    /// Whether a run of `records` ids can be dealt now. If not, the append is answered `Busy` and nothing was changed.
    fn ready(&mut self, records: u64) -> bool;

    /// The first id of a batch of `records`. After a [`RecordIds::ready`] whose run covers it; the batches of an append
    /// come in their order.
    fn deal(&mut self, records: u32) -> u64;
}

/// Deals the zero that means "no id": for logs of the system, and where nobody asks for ids.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoIds;

impl RecordIds for NoIds {
    fn ready(&mut self, _records: u64) -> bool {
        true
    }

    fn deal(&mut self, _records: u32) -> u64 {
        0
    }
}
