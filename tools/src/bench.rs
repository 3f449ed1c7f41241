//! `pyralog bench`: the command line of the load generator, which is a library of its own (`pyralog-perf`).

use pyralog_perf::{BenchArgs, Form};

use crate::exit::{Failure, Status};
use crate::output::Output;

/// Runs the command.
///
/// # Errors
/// If the scenario is wrong (2), no server answers (3), it is interrupted (130), something fails, or the numbers must
/// not be used (1).
pub(crate) fn run(output: Output, args: &BenchArgs) -> Result<(), Failure> {
    let form = if output.json() { Form::Json } else { Form::Text };
    pyralog_perf::run(args, form).map_err(|error| failure(&error))
}

fn failure(failure: &pyralog_perf::Failure) -> Failure {
    let message = failure.to_string();
    match failure {
        pyralog_perf::Failure::Usage(_) => Failure::usage(message)
            .hint("`pyralog bench list` shows scenarios, docs/BENCH.md explains every key"),
        pyralog_perf::Failure::Unavailable(_) => Failure::new(Status::Unavailable, message)
            .hint("start the server with `pyralog serve`, or leave --address out to measure one of its own"),
        pyralog_perf::Failure::Interrupted => Failure::new(Status::Interrupted, message),
        _ => Failure::failed(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_end_with_the_documented_codes() {
        let status = |error| failure(&error).status();
        assert_eq!(status(pyralog_perf::Failure::Usage("x".to_owned())), Status::Usage);
        assert_eq!(status(pyralog_perf::Failure::Unavailable("x".to_owned())), Status::Unavailable);
        assert_eq!(status(pyralog_perf::Failure::Interrupted), Status::Interrupted);
        let broken = std::io::Error::other("x").into();
        assert_eq!(status(broken), Status::Failure);
    }
}
