//! The one binary: `pyralog serve` and the command line.
//!
//! `main` parses, dispatches and turns the outcome into an exit code; every command is a module with
//! a `run` function that returns a [`exit::Failure`] instead of printing one.
#![forbid(unsafe_code)]

mod args;
mod audit;
mod backup;
mod bench;
mod config_command;
mod connect;
mod consume;
mod doctor;
mod exit;
mod id_command;
mod inspect;
mod key_command;
mod limits;
mod log_command;
mod machine;
mod marks;
mod notary;
mod obelisk_command;
mod output;
mod produce;
mod progress;
mod quantity;
mod quickstart;
mod restore;
mod serve;
mod session;
mod settings;
mod status;
mod stopwatch;
mod timestamp;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Command, CompletionsArgs};
use exit::{Failure, Status};
use output::Output;
use session::Session;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.global.json, cli.global.color);
    let outcome = Session::open(&cli.global, output).and_then(|session| run(cli.command, session));
    let status = match outcome {
        Ok(()) => Status::Ok,
        Err(failure) => {
            output.failure(&failure);
            failure.status()
        }
    };
    ExitCode::from(status)
}

fn run(command: Command, session: Session) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(session, args),
        Command::Log(command) => log_command::run(&session, command),
        Command::Produce(args) => produce::run(&session, &args),
        Command::Consume(args) => consume::run(&session, args),
        Command::Id(command) => id_command::run(&session, &command),
        Command::Obelisk(command) => obelisk_command::run(&session, &command),
        Command::Key(args) => key_command::run(session, args),
        Command::Notarize(args) => notary::notarize(&session, &args),
        Command::Audit(args) => audit::run(&session, &args),
        Command::Verify(args) => notary::verify(session.output, &args),
        Command::Status(args) => status::run(&session, &args),
        Command::Backup(args) => backup::run(&session, &args),
        Command::Restore(args) => restore::run(&session, &args),
        Command::Inspect(args) => inspect::run(&session, &args),
        Command::Quickstart(args) => quickstart::run(&session, &args),
        Command::Bench(args) => bench::run(session.output, &args),
        Command::Doctor(args) => doctor::run(session, args),
        Command::Config(command) => config_command::run(session, command),
        Command::Completions(args) => completions(session.output, &args),
    }
}

fn completions(output: Output, args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pyralog", &mut script);
    output.bytes(&script)
}
