//! `pyralog log truncate`: removes the oldest records of a partition.

use std::io::IsTerminal;

use pyralog_client::{LogDescription, Offset, PartitionId};
use serde_json::json;

use super::confirmed;
use crate::args::TruncateArgs;
use crate::connect::{connect, explain};
use crate::exit::Failure;
use crate::output::Tone;
use crate::session::Session;

/// Makes an offset the first of a partition, and says where it begins now.
///
/// # Errors
/// If nobody may be asked, the partition is not named, or the server refuses.
pub(super) fn run(session: &Session, args: &TruncateArgs) -> Result<(), Failure> {
    let (output, name) = (session.output, &args.name);
    if !args.yes && (output.json() || !std::io::stdin().is_terminal()) {
        return Err(Failure::usage(format!("truncating {name} needs --yes here"))
            .hint("without a terminal there is nobody to ask"));
    }
    let connected = connect(session, &args.client)?;
    let log = connected.client.describe_log(name).map_err(|error| explain(&error))?;
    let partition = partition_of(&log, args)?;
    let what =
        format!("the records of {name} before offset {} of partition {partition}", args.before);
    if !args.yes && !confirmed(output, &log.name, &what)? {
        return Err(Failure::failed("not truncated"));
    }
    let (number, before) = (PartitionId::new(partition), Offset::new(args.before));
    let low = connected.client.truncate_before(name, number, before);
    let low = low.map_err(|error| explain(&error))?;
    if output.json() {
        return output.document(&json!({ "name": name, "partition": partition, "low": low.get() }));
    }
    let done = output.paint(Tone::Good, "truncated");
    output.line(&format!("{done} {name}: partition {partition} begins at offset {low}"))
}

/// The partition that is named, or the only one.
fn partition_of(log: &LogDescription, args: &TruncateArgs) -> Result<u32, Failure> {
    match args.partition {
        Some(partition) => Ok(partition),
        None if log.config.partitions == 1 => Ok(0),
        None => {
            let last = log.config.partitions - 1;
            Err(Failure::usage(format!("{} has the partitions 0 to {last}", log.name))
                .hint("--partition says which one; offsets are of one partition"))
        }
    }
}
