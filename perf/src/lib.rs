//! Load generator, ceilings, comparison and report: what `pyralog bench` is made of.
//!
//! `docs/BENCH.md` is the manual. How it is made:
//!
//! ```text
//! args -> bench -> suite ----> server (a child process)
//!                    |
//!                    +-------> ceiling (what the machine allows)
//!                    v
//!                   run: threads that carry out a scenario
//!                    |     schedule, payload -> driver -> recorder
//!                    v
//!                  result (a file) -> summary, page, compare
//! ```
//!
//! What decides is pure and tested as such: when records are due (`schedule`), what is in them (`payload`), what a
//! latency counts from (`recorder`), whether the numbers may be used (`run::judge`).
#![forbid(unsafe_code)]

pub mod args;
mod bench;
pub mod bottleneck;
pub mod ceiling;
mod clock;
pub mod compare;
mod driver;
pub mod environment;
mod failure;
mod figures;
mod life;
pub mod limits;
mod live;
mod memory;
pub mod page;
mod payload;
pub mod quantity;
mod recorder;
pub mod result;
pub mod result_file;
mod run;
#[cfg(test)]
mod sample;
pub mod scenario;
pub mod schedule;
mod sequencers;
mod server;
mod share;
pub mod statistics;
pub mod store;
mod suite;
mod summary;
mod usage;
pub mod words;

pub use args::{BenchArgs, BenchCommand};
pub use bench::{Form, run};
pub use failure::Failure;
