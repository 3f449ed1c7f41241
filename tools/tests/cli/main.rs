//! The built binary as people and scripts use it: commands, output, exit codes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backup;
mod bench;
mod compacted_backup;
mod day;
mod hostile_receipts;
mod inspect;
mod logs;
mod process;
mod proofs;
mod proven_backup;
mod records;
mod remembered;
mod restore;
mod roots;
mod sequences;
mod serving;
mod settings;
mod tamper;
mod tiering;
mod tour;
mod usage;
mod verify;
