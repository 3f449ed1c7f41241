//! Sequencers: Obelisk counters, Scarab ids, Pharaoh slots and the Ankh ring.
#![forbid(unsafe_code)]

pub mod ankh;
pub mod clock;
pub mod counter;
pub mod limits;
pub mod minter;
pub mod minter_file;
pub mod obelisk;
pub mod obelisk_file;
pub mod pharaoh;
pub mod scarab;
