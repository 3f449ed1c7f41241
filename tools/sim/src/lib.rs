//! Pyralog in a simulated world: clients that work, faults that strike, oracles that judge.
//!
//! - [`client`]: the client's machines on `pyralog_runtime`, so that they run inside a simulation.
//! - [`history`]: what was asked, answered and broken, as plain data.
//! - [`record`]: values that say which record they are.
//! - [`oracle`]: the properties that every history must have.
//! - [`scenario`]: what a seed means; [`shrink`] makes one smaller, [`repro`] says how to run it again.
//! - [`server`], [`files`], [`marks`]: the server under test, what its files owe us, and what others do to them.
//! - [`store`]: the object store of the world.
//! - [`timeline`]: a run as a picture.
//! - [`nemesis`]: strikes; [`workload`]: what clients do; [`run`]: one world from beginning to judgement.
#![forbid(unsafe_code)]

pub mod client;
pub mod files;
pub mod history;
pub mod marks;
pub mod nemesis;
pub mod oracle;
pub mod record;
pub mod repro;
pub mod run;
pub mod scenario;
pub mod server;
pub mod shrink;
pub mod steps;
pub mod store;
pub mod timeline;
pub mod workload;
