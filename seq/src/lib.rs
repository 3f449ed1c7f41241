//! Sequencers: Obelisk counters, Scarab ids, Pharaoh slots and the Ankh ring.
#![forbid(unsafe_code)]

pub mod counter;
pub mod limits;
pub mod obelisk;
pub mod obelisk_file;
