//! `pyralog log get`: the newest record with a key.

use pyralog_client::{ClientError, ErrorCode, PartitionId};

use crate::args::{GetArgs, OutputFormat};
use crate::connect::{connect, explain};
use crate::consume::written;
use crate::exit::{Failure, Status};
use crate::session::Session;

/// Prints the record: its value, or all of it as JSON.
///
/// # Errors
/// If the log does not index its keys, or no record with the key has a value (exit code 5).
pub(super) fn run(session: &Session, args: &GetArgs) -> Result<(), Failure> {
    let connected = connect(session, &args.client)?;
    let GetArgs { log, key, partition, .. } = args;
    let found = connected.client.keys(log).and_then(|mut keys| match *partition {
        None => keys.latest(key.as_bytes()),
        Some(partition) => keys.latest_in(PartitionId::new(partition), key.as_bytes()),
    });
    let Some(latest) = found.map_err(|error| unreadable(&error, log))? else {
        return Err(Failure::new(
            Status::NoSuchKey,
            format!("no record of {log} has the key {key}"),
        ));
    };
    let (place, record) = (latest.partition().get(), latest.record());
    let output = session.output;
    let json = output.json();
    if json || record.value.is_some() {
        let format = if json { OutputFormat::Json } else { OutputFormat::Raw };
        output.bytes(&written(format, place, &record))?;
    }
    if record.value.is_some() {
        return Ok(());
    }
    let offset = record.offset;
    Err(Failure::new(
        Status::NoSuchKey,
        format!("the key {key} is deleted: its newest record ({place}/{offset}) has no value"),
    ))
}

fn unreadable(error: &ClientError, log: &str) -> Failure {
    let failure = explain(error);
    if error.reply().is_some_and(|reply| reply.is(ErrorCode::KeysNotIndexed)) {
        return failure.hint(format!("`pyralog log alter {log} --key-index on` indexes them"));
    }
    failure
}
