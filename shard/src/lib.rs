//! What a core owns: partitions and connections; boot, routing between cores, shutdown.
//!
//! [`Server`] is the whole of it for the binary and for tests: a [`Node`] on a machine of its own. Inside, every core
//! has one [`Shard`](crate::shard) and shares nothing: a connection, a partition, a counter belongs to one core, and
//! cores send each other owned messages ([`message`]).
//!
//! An append on the core that owns the partition costs, for a frame of `n` bytes:
//!
//! | what | how much |
//! |---|---|
//! | system calls to receive | one per receive buffer full; the buffer grows to the frame |
//! | copies of the payload after the kernel's | one, into the group's direct-I/O buffer |
//! | checksum passes over the payload | one |
//! | messages between cores, tasks | none |
//! | system calls to answer | one per connection and group commit |
//! | allocations | none per record; a constant per request (`tests/allocations`) |
//!
//! ```text
//! socket -> receive buffer -> ServerConnection -> Partition::append -> group buffer -> O_DSYNC write
//!                                                                          |
//! socket <- writer <- outbox <- Completions: the answer is encoded here <--+
//! ```
#![forbid(unsafe_code)]

pub mod admission;
pub mod catalog;
pub mod config;
pub mod data_dir;
pub mod limits;
pub mod metrics;
pub mod node_key;
pub mod offline;
pub mod ownership;

mod accept;
mod admin;
mod asked;
mod boot;
mod catalog_log;
mod connection;
mod counters;
mod deleted_logs;
mod flight;
mod housekeeping;
mod ids;
mod inbox;
mod message;
mod node;
mod outbox;
mod partitions;
mod reader;
mod receive;
mod request;
mod scrubber;
mod server;
mod shard;
mod slab;
mod stop;
mod tiering;
mod watchdog;
mod writer;

pub use config::{
    ConfigError, DataConfig, HousekeepingConfig, IdsConfig, MemoryConfig, ServerConfig,
    ServerLimits, TierConfig,
};
pub use data_dir::DataDirError;
pub use node::{GivenStore, Node, Started};
pub use server::{Addresses, Server, StartError, StopError, Stopper};
