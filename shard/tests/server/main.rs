//! A whole server over real sockets: what clients, good and bad, get from it.
#![expect(clippy::unwrap_used, reason = "helpers of a test binary")]

mod admin;
mod ahead;
mod bad_input;
mod clients;
mod durable;
mod node;
mod pressure;
mod proofs;
mod retention;
mod sequencers;
mod serving;
mod support;
mod tiered;
mod verified;
