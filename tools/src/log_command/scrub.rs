//! `pyralog log scrub`: lets the server read the closed segments of a log again.

use pyralog_client::PartitionId;
use pyralog_client::Scrubbed;
use serde_json::{Value, json};

use crate::args::ScrubArgs;
use crate::connect::{connect, explain};
use crate::exit::{Failure, Status};
use crate::output::Tone;
use crate::quantity::bytes_human;
use crate::session::Session;

/// Scrubs one partition after the other, and says what is damaged.
///
/// # Errors
/// If something is damaged, or the server refuses or cannot be reached.
pub(super) fn run(session: &Session, args: &ScrubArgs) -> Result<(), Failure> {
    let (output, name) = (session.output, &args.name);
    let connected = connect(session, &args.client)?;
    let log = connected.client.describe_log(name).map_err(|error| explain(&error))?;
    let partitions = match args.partition {
        Some(partition) => partition..=partition,
        None => 0..=log.config.partitions - 1,
    };
    let (mut segments, mut bytes, mut ranges) = (0, 0, 0);
    let mut documents = Vec::new();
    for partition in partitions {
        let scrubbed = connected.client.scrub(name, PartitionId::new(partition));
        let scrubbed = scrubbed.map_err(|error| explain(&error))?;
        segments += scrubbed.segments;
        bytes += scrubbed.bytes;
        ranges += scrubbed.damaged_ranges;
        if output.json() {
            documents.push(partition_json(partition, &scrubbed));
            continue;
        }
        for range in &scrubbed.damaged {
            let word = output.paint(Tone::Bad, "damaged");
            let (first, next, segment) = (range.first, range.next, range.segment);
            let place = format!("offsets {first}..{next} of segment {segment:020}");
            output.line(&format!("{word} {name} partition {partition}: {place}"))?;
        }
        let unnamed = scrubbed.damaged_ranges.saturating_sub(scrubbed.damaged.len() as u64);
        if unnamed > 0 {
            output.line(&format!("and {unnamed} more ranges of partition {partition}"))?;
        }
    }
    if output.json() {
        output.document(&json!({ "name": name, "partitions": documents }))?;
    } else {
        let read = bytes_human(bytes);
        output.line(&format!("read {name}: {segments} closed segments, {read}"))?;
    }
    if ranges == 0 {
        return Ok(());
    }
    let message = format!("{ranges} damaged {}", if ranges == 1 { "range" } else { "ranges" });
    Err(Failure::new(Status::VerificationFailed, message)
        .hint("readers are told and go on behind it; a backup may have the records"))
}

fn partition_json(partition: u32, scrubbed: &Scrubbed) -> Value {
    let damaged = scrubbed.damaged.iter().map(|range| {
        json!({
            "segment": range.segment.get(), "first": range.first.get(), "next": range.next.get(),
        })
    });
    json!({
        "partition": partition,
        "segments": scrubbed.segments,
        "bytes": scrubbed.bytes,
        "damaged_ranges": scrubbed.damaged_ranges,
        "damaged": damaged.collect::<Vec<Value>>(),
    })
}
