//! `pyralog-perf`: a small closed-loop load generator that speaks raw frames, and the ceilings to hold its numbers against.
//!
//! It sends the same prebuilt batch again and again, without a session, so that what it measures is the server: no
//! batching, checksumming or retrying of a client is in the way. Latency is taken from the moment a request is handed to
//! the kernel to the moment its answer is decoded; the loop is closed (`--depth` requests per connection are in flight),
//! so these are service times under a stated concurrency, not the latency of an open arrival process.

#![forbid(unsafe_code)]

mod append;
mod ceiling;
mod connection;
mod report;

use clap::{Parser, Subcommand};

/// Measures a running server. Pin it away from the server's cores with `--cpu`.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Run every thread of the generator on this CPU.
    #[arg(long, global = true)]
    cpu: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Append batches as fast as the acknowledgements come back.
    Append(append::Append),
    /// Round trips of an empty request.
    Ping(append::Ping),
    /// What this machine allows: loopback TCP, memory copy, CRC32C, each on one core.
    Ceiling(ceiling::Ceiling),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(cpu) = arguments.cpu {
        anyhow::ensure!(
            core_affinity::set_for_current(core_affinity::CoreId { id: cpu }),
            "cannot pin to CPU {cpu}: is it one of this process's CPUs?"
        );
    }
    match arguments.command {
        Command::Append(append) => append.run(),
        Command::Ping(ping) => ping.run(),
        Command::Ceiling(ceiling) => ceiling.run(),
    }
}
