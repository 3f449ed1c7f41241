//! Claims about batches, tested through the public interface of the crate.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]
#![expect(clippy::needless_pass_by_value, reason = "properties own what quickcheck made")]

mod allocations;
mod arrow_view;
mod format;
mod fuzz;
mod golden;
mod model;
mod rows;
mod stream;
mod thinned;
