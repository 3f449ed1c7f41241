//! `pyralog-sim`: runs simulated worlds, shrinks what fails, shows what happened.
#![forbid(unsafe_code)]

mod args;
mod hunt;
mod report;

use std::process::ExitCode;

use clap::Parser;

use args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.single() {
        Some(seed) => hunt::one(&args, seed),
        None => hunt::many(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("pyralog-sim: {problem}");
            ExitCode::from(2)
        }
    }
}
