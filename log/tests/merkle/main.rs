//! The Merkle tree: against a direct model, against another language, against forgers, and at a billion batches.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

mod billion;
mod forgery;
mod model;
mod shapes;
mod vectors;
