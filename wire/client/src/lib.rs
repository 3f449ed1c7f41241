//! The native client: router, batcher, retry and sessions, with a Tokio and a blocking shell.
//!
//! `docs/CLIENT.md` is the guide. How it is made:
//!
//! ```text
//! Producer --(open batch)--> slot <--(takes it)-- driver --(batches)--> link --> socket
//!    ^ fills columns                               ^ obeys dispatch::Dispatcher    ^ one per shard
//! Consumer <--(batches)-- fetch (one per partition, obeys cursor::Cursor) <-- link
//! Client --(finds, makes links)--> hub
//! IdSource <--(blocks of ids)-- ids/task (obeys fleet::Fleet) <-- links of its own, one per node
//! ```
//!
//! What decides is pure: [`dispatch`] and [`window`] (batches of a producer: order, sessions,
//! retries, deadlines), [`stage`] (from records to the bytes that are sent), [`cursor`] and
//! [`reading`] (position of a consumer, judgement of an answer), [`verifying`] (whether it is what the server has
//! stated), [`exchange`] (requests of a
//! connection), [`directory`] (where shards listen), [`fleet`] (which node is asked for ids, and which
//! is believed), [`backoff`], the partitioner. They take the
//! time and a seeded generator as arguments, return commands, and are tested against a model of a
//! treacherous server. What does is tasks on Tokio: `driver` and `fetch` carry out the commands,
//! `link` owns a socket, `hub` the connections. [`blocking`] runs the same tasks on a thread of its
//! own. The machines are public so that another shell can drive them: a simulation does
//! (`tools/sim`). Every queue between them has a limit; see [`limits`].
//!
//! Bytes of a record: copied once into the open batch (`pyralog_log::batch::RowsBuilder`), hashed
//! once, written to the socket from there. Bytes that are read: from the socket into an aligned
//! buffer, of which records are views.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod blocking;
pub mod cursor;
pub mod directory;
pub mod dispatch;
pub mod exchange;
pub mod fleet;
pub mod limits;
pub mod reading;
pub mod stage;
pub mod verifying;
pub mod window;

mod client;
mod config;
mod consumer;
mod counters;
mod delivery;
mod driver;
mod error;
mod fetch;
mod fetched;
mod hub;
mod ids;
mod keyed;
mod ledger;
mod link;
mod partitioner;
mod producer;
mod receive;
mod record;
mod scrub;
mod slot;
mod stored;
mod tree;
mod trust_file;
mod verify;

pub use client::Client;
pub use config::{
    ClientConfig, ConsumerConfig, OnOutOfRange, ProducerConfig, StartFrom, Stop, Verify,
};
pub use consumer::Consumer;
pub use counters::{Counter, CounterLease, Gaps};
pub use delivery::{Delivery, RecordMetadata};
pub use error::ClientError;
pub use fetched::{FetchedBatch, FetchedRecord};
pub use hub::ServerInfo;
pub use ids::{IdConfig, IdSource, Ids, Timestamps};
pub use keyed::{KeyReader, LatestRecord};
pub use ledger::ProducerStats;
pub use partitioner::{Partitioner, partition_of_key};
pub use producer::Producer;
pub use record::Record;
pub use stored::{Stored, StoredBatches, StoredReader};
pub use tree::{TreeNodes, TreeState};
pub use verifying::Unverified;

pub use pyralog_log::batch::{BatchHeader, Codec, Headers, RecordView, Rows};
pub use pyralog_log::durability::Durability;
pub use pyralog_log::ids::{LogId, Offset, PartitionId, Timestamp};
pub use pyralog_log::proof::PublicKey;
pub use pyralog_seq::scarab::{ScarabId, Slot, Tick};
pub use pyralog_wire::message::{
    CompactionInfo, CounterConfig, CounterInfo, CounterMode, DamagedRange, LogDescription,
    LogRoute, NodeStats, OffsetFound, PartitionInfo, Scrubbed, ShardStats, StoreInfo, TreeInfo,
};
pub use pyralog_wire::{
    Compaction, ErrorCode, ErrorDetail, ErrorReply, Integrity, LogChanges, LogConfig, LogStorage,
    Retention, Retry,
};
