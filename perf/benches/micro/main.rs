//! Micro-benchmarks: what each part of the server costs by itself.
//!
//! `cargo bench -p pyralog-perf --bench micro` measures them, a word behind `--` chooses among them, `--quick` looks for
//! a second at each. Files are made in `TMPDIR`: put it on the disk that is to be measured. Without `--bench`, as
//! `cargo test --benches` starts it, each runs once, with little data.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking, like a test")]

mod append;
mod batch;
mod checksum;
mod frame;
mod index;
mod lane;
mod machine;
mod pphm;
mod proof;
mod recovery;
mod sequencers;

use criterion::Criterion;

/// Whether this is a measurement and not a test that the benchmarks run.
fn measures() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

fn main() {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    checksum::bench(&mut criterion);
    batch::bench(&mut criterion);
    frame::bench(&mut criterion);
    index::bench(&mut criterion);
    pphm::bench(&mut criterion);
    proof::bench(&mut criterion);
    lane::bench(&mut criterion);
    append::bench(&mut criterion);
    recovery::bench(&mut criterion);
    sequencers::bench(&mut criterion);
    criterion.final_summary();
}
