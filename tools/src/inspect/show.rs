//! How what was found is printed: tables for people, one document for programs.

use std::ops::Range;
use std::path::Path;

use pyralog_log::batch::{BatchHeader, Codec};
use pyralog_log::ids::Timestamp;
use pyralog_log::inspect::{Seen, SegmentFound, Survey};
use pyralog_log::merkle::SegmentRoot;
use pyralog_log::partition::Published;
use pyralog_log::recovery::{Damage, FileRow};
use pyralog_log::segment::FilePosition;
use serde_json::{Value, json};

use super::data_dir::DataReport;
use super::partition::{Aside, Depth, PartitionReport, SegmentReport, Small, header_word};
use super::root::RootReport;
use crate::exit::Failure;
use crate::output::{Output, Tone};
use crate::quantity::{bytes_human, count_human};
use crate::timestamp::rfc3339;

/// Prints each batch in a line of its own, if that is `wanted`, and nothing otherwise.
pub(super) fn batches(
    output: Output,
    wanted: bool,
) -> impl FnMut(SegmentFound, &Seen) -> Result<(), Failure> {
    move |found, seen| match seen {
        Seen::Batch { header, position } if wanted => batch(output, found, (header, *position)),
        Seen::Damage(damage) if wanted && !output.json() => {
            output.line(&output.paint(Tone::Bad, &format!("damaged: {damage}")))
        }
        Seen::Batch { .. } | Seen::Damage(_) => Ok(()),
    }
}

/// The directory whose batches follow.
pub(super) fn title(output: Output, dir: &Path) -> Result<(), Failure> {
    if output.json() {
        return Ok(());
    }
    output.line(&output.paint(Tone::Strong, &dir.display().to_string()))
}

fn batch(
    output: Output,
    found: SegmentFound,
    (header, position): (&BatchHeader, FilePosition),
) -> Result<(), Failure> {
    let owner = header.owner;
    let (first, next) = (owner.base_offset, header.next_offset());
    if output.json() {
        return output.line(
            &json!({ "batch": {
                "segment": found.base.get(),
                "position": position.get(),
                "bytes": header.total_len(),
                "first": first.get(),
                "next": next.get(),
                "records": header.record_count,
                "epoch": owner.epoch.get(),
                "codec": codec(header.codec),
                "append_time": time(owner.append_time),
                "scarab": owner.scarab_base,
                "session": header.session.map(|session| json!({
                    "id": session.id.get(),
                    "epoch": session.epoch,
                    "first_sequence": session.first_sequence,
                })),
            }})
            .to_string(),
        );
    }
    let session = header.session.map_or(String::new(), |session| {
        format!(
            "  session {:x}/{} from {}",
            session.id.get(),
            session.epoch,
            session.first_sequence
        )
    });
    output.line(&format!(
        "{first}..{next}  at {position}  {} bytes  {} records  {}  epoch {}  {}{session}",
        header.total_len(),
        header.record_count,
        codec(header.codec),
        owner.epoch,
        time(owner.append_time),
    ))
}

const fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::None => "plain",
        Codec::Lz4 => "lz4",
        Codec::Zstd => "zstd",
    }
}

/// A partition.
pub(super) fn partition(output: Output, report: &PartitionReport) -> Result<(), Failure> {
    if output.json() {
        return output.document(&partition_json(report));
    }
    title(output, &report.dir)?;
    output.line(&format!("checkpoint   {}", checkpoint_text(report)))?;
    let list = match &report.known {
        Small::Missing => "none".to_owned(),
        Small::Sound(known) => format!("{} ranges", known.len()),
        Small::Unusable(why) => format!("unusable: {why}"),
    };
    output.line(&format!("damaged list {list}"))?;
    output.line(&format!("manifest     {}", manifest_text(report)))?;
    if let Some(tree) = tree_text(report) {
        output.line(&format!("tree         {tree}"))?;
    }
    if let Some(missing) = report.missing_end() {
        let word = output.paint(Tone::Bad, "missing");
        let Range { start, end } = missing;
        output
            .line(&format!("{word} offsets {start} to {end} (exclusive), which the tree covers"))?;
    }
    if !report.quarantined.is_empty() {
        let bytes = report.quarantined.iter().map(|(_, bytes)| bytes).sum();
        let count = report.quarantined.len();
        output.line(&format!("quarantine   {count} files, {}", bytes_human(bytes)))?;
    }
    segments(output, report)?;
    for segment in &report.segments {
        if let Some(survey) = &segment.survey {
            notes(output, segment, survey)?;
        }
    }
    for damage in report.damages() {
        output.line(&format!("{} {damage}", output.paint(Tone::Bad, "damaged")))?;
    }
    Ok(())
}

/// What is to be said of a segment besides its line.
fn notes(output: Output, segment: &SegmentReport, survey: &Survey) -> Result<(), Failure> {
    let base = segment.found.base;
    if segment.moving {
        output.line(&format!("segment {base} changed while it was read: a server writes here"))?;
    }
    if let RootReport::Differs(root, altered) = &segment.root {
        let (word, hash) = (output.paint(Tone::Bad, "not the records of its root"), root.node.hash);
        let which = match altered.len() {
            0 => "no batch is another than the tree has, so the root is wrong: a scrub mends it",
            _ => "the checksums are right, so somebody altered what is named below",
        };
        output.line(&format!("segment {base}: {word} {hash}; {which}"))?;
    }
    match survey.row {
        FileRow::Scan => {}
        FileRow::Mend => {
            output.line(&format!("segment {base}: its header is to be written again"))?;
        }
        FileRow::Quarantine => {
            output
                .line(&format!("segment {base}: nothing in it can be told from a former life"))?;
        }
    }
    if let Some(cut) = &survey.cut {
        output.line(&format!(
            "segment {base} ends in unfinished writes at byte {}: the next start ends the log at offset {}",
            cut.position, cut.offset
        ))?;
    }
    Ok(())
}

fn segments(output: Output, report: &PartitionReport) -> Result<(), Failure> {
    let read = report.segments.iter().any(|segment| segment.survey.is_some());
    let rows: Vec<Vec<String>> = report
        .segments
        .iter()
        .map(|segment| if read { row_read(segment) } else { row(segment) })
        .collect();
    if read {
        let header = [
            "SEGMENT",
            "NEXT",
            "BATCHES",
            "RECORDS",
            "BYTES",
            "FILE",
            "FIRST APPEND (UTC)",
            "LAST",
            "HEADER",
            "INDEX",
            "KEYS",
            "ROOT",
        ];
        return output.table(&header, &rows);
    }
    output.table(
        &["SEGMENT", "NEXT", "FILE", "CREATED (UTC)", "EPOCH", "HEADER", "INDEX", "KEYS", "ROOT"],
        &rows,
    )
}

fn row(segment: &SegmentReport) -> Vec<String> {
    let header = segment.header.as_ref();
    vec![
        segment.found.base.to_string(),
        segment.end.map_or("?".to_owned(), |end| end.to_string()),
        bytes_human(segment.found.len),
        header.map_or("?".to_owned(), |header| time(header.created)),
        header.map_or("?".to_owned(), |header| header.epoch.to_string()),
        if header.is_some() { "ok" } else { "damaged" }.to_owned(),
        aside_text(&segment.index),
        aside_text(&segment.keys),
        root_text(&segment.root),
    ]
}

fn row_read(segment: &SegmentReport) -> Vec<String> {
    let Some(survey) = &segment.survey else { return Vec::new() };
    let (first, last) = survey
        .appended
        .map_or(("-".to_owned(), "-".to_owned()), |(first, last)| (time(first), time(last)));
    vec![
        segment.found.base.to_string(),
        survey.end.to_string(),
        survey.batches.to_string(),
        survey.records.to_string(),
        bytes_human(survey.batch_bytes),
        bytes_human(segment.found.len),
        first,
        last,
        header_word(survey.state).to_owned(),
        aside_text(&segment.index),
        aside_text(&segment.keys),
        root_text(&segment.root),
    ]
}

/// The beginning of the root, and what it is worth.
fn root_text(root: &RootReport) -> String {
    let start = |root: &SegmentRoot| root.node.hash.to_string()[..16].to_owned();
    match root {
        RootReport::Missing => "-".to_owned(),
        RootReport::Unread(root) => start(root),
        RootReport::Right(root) => format!("ok, {}", start(root)),
        RootReport::Differs(root, _) => format!("not {}", start(root)),
        RootReport::Unusable(why) => format!("unusable: {why}"),
    }
}

fn root_json(root: &RootReport) -> Value {
    let state = match root {
        RootReport::Missing => return Value::Null,
        RootReport::Unusable(why) => return json!({ "problem": why }),
        RootReport::Unread(_) => "not compared",
        RootReport::Right(_) => "ok",
        RootReport::Differs(..) => "differs",
    };
    root.sound().map_or(Value::Null, |found| {
        json!({
            "hash": found.node.hash.to_string(),
            "first_batch": found.batches.start,
            "batches": found.batches.end - found.batches.start,
            "state": state,
        })
    })
}

fn aside_text(aside: &Aside) -> String {
    match aside {
        Aside::Missing => "-".to_owned(),
        Aside::Sound(entries) => format!("ok, {}", count_human(*entries)),
        Aside::Behind(end) => format!("up to {end}"),
        Aside::Unusable(why) => format!("unusable: {why}"),
    }
}

fn checkpoint_text(report: &PartitionReport) -> String {
    match &report.checkpoint {
        Small::Missing => "none: a start scans everything".to_owned(),
        Small::Unusable(why) => format!("unusable: {why}; a start scans everything"),
        Small::Sound(found) => format!(
            "{}, life {}, {} closed segments, {} sessions, synced up to offset {} (byte {} of segment {})",
            if found.clean { "closed cleanly" } else { "open, or not closed cleanly" },
            found.incarnation,
            found.closed.len(),
            count_human(found.sessions as u64),
            found.offset,
            found.position,
            found.segment,
        ),
    }
}

fn manifest_text(report: &PartitionReport) -> String {
    let found = match &report.manifest {
        Small::Missing => return "none: nothing was ever taken from the front".to_owned(),
        Small::Unusable(why) => return format!("unusable: {why}; the partition does not open"),
        Small::Sound(found) => found,
    };
    let remote = match found.remote.len() {
        0 => String::new(),
        count => {
            let local = found.remote.iter().filter(|remote| remote.is_local).count();
            format!(", {count} segments in the store, {local} of them here as well")
        }
    };
    let swap = found.swap.map_or(String::new(), |swap| {
        format!(", segments of {}..{} are being replaced", swap.first, swap.end)
    });
    format!("readable from offset {}{remote}{swap}", found.low)
}

/// What was published of the tree; nothing for a log without proofs.
fn tree_text(report: &PartitionReport) -> Option<String> {
    let Published { checkpoint, signed } = match &report.tree {
        Small::Missing => return None,
        Small::Unusable(why) => return Some(format!("unusable: {why}; it grows no more")),
        Small::Sound(found) => found,
    };
    let by = signed.map_or("unsigned".to_owned(), |signed| {
        format!("signed by {}", signed.key().fingerprint())
    });
    Some(format!(
        "{} batches up to offset {}, {by} at {}, root {}",
        checkpoint.tree_size,
        checkpoint.end_offset,
        time(checkpoint.time),
        checkpoint.tree().node.hash
    ))
}

fn tree_json(report: &PartitionReport) -> Value {
    match &report.tree {
        Small::Missing => Value::Null,
        Small::Unusable(why) => json!({ "problem": why }),
        Small::Sound(Published { checkpoint, signed }) => json!({
            "cluster": checkpoint.cluster,
            "batches": checkpoint.tree_size,
            "end_offset": checkpoint.end_offset.get(),
            "root": checkpoint.tree().node.hash.to_string(),
            "time": time(checkpoint.time),
            "public_key": signed.map(|signed| signed.key().to_string()),
            "missing": report.missing_end().map(|range| [range.start.get(), range.end.get()]),
        }),
    }
}

/// A data directory.
pub(super) fn data(output: Output, report: &DataReport, depth: Depth) -> Result<(), Failure> {
    if output.json() {
        return output.document(&data_json(report));
    }
    let identity = report.identity.map_or("identity unknown".to_owned(), |found| {
        format!(
            "node {}, cluster {}, made {}",
            found.node_id,
            found.cluster_id,
            time(Timestamp::new(found.created_us))
        )
    });
    output.line(&format!(
        "{}  {identity}",
        output.paint(Tone::Strong, &report.dir.display().to_string())
    ))?;
    let mut rows = Vec::new();
    for (log, partitions) in &report.logs {
        let name = log.entry.as_ref().map_or("(not in the catalog)", |entry| &entry.name);
        if partitions.is_empty() {
            let mut row = vec![name.to_owned(), log.id.to_string()];
            row.extend(["-", "-", "-", "-", "-", "in memory"].map(str::to_owned));
            rows.push(row);
        }
        for (partition, found) in log.partitions.iter().zip(partitions) {
            rows.push(partition_row((name, &log.id.to_string()), &partition.to_string(), found));
        }
    }
    rows.push(partition_row(("(catalog)", "0"), "0", &report.catalog));
    output
        .table(&["LOG", "ID", "PARTITION", "FIRST", "NEXT", "SEGMENTS", "SIZE", "STATE"], &rows)?;
    for (log, partitions) in &report.logs {
        let name = log.entry.as_ref().map_or("(not in the catalog)", |entry| &entry.name);
        for (partition, found) in log.partitions.iter().zip(partitions) {
            for damage in found.damages() {
                let word = output.paint(Tone::Bad, "damaged");
                output.line(&format!("{word} {name} partition {partition}: {damage}"))?;
            }
        }
    }
    if depth == Depth::Summary {
        output.note("records were not read: --verify does");
    }
    Ok(())
}

fn partition_row(
    (name, id): (&str, &str),
    partition: &str,
    found: &PartitionReport,
) -> Vec<String> {
    let offset = |offset: Option<pyralog_log::ids::Offset>| {
        offset.map_or("-".to_owned(), |at| at.to_string())
    };
    vec![
        name.to_owned(),
        id.to_owned(),
        partition.to_owned(),
        offset(found.low()),
        offset(found.end()),
        found.segments.len().to_string(),
        bytes_human(found.bytes()),
        state(found),
    ]
}

/// A partition in some words.
fn state(found: &PartitionReport) -> String {
    let mut words = Vec::new();
    match found.damages().len() {
        0 => {}
        1 => words.push("1 damaged range".to_owned()),
        count => words.push(format!("{count} damaged ranges")),
    }
    if found.moves() {
        words.push("changed while it was read".to_owned());
    }
    if found.segments.is_empty() {
        words.push("empty".to_owned());
    }
    if let Small::Unusable(why) = &found.manifest {
        words.push(format!("manifest unusable: {why}"));
    }
    if let Small::Unusable(why) = &found.tree {
        words.push(format!("tree unusable: {why}"));
    }
    if found.missing_end().is_some() {
        words.push("ends before its tree".to_owned());
    }
    match &found.checkpoint {
        Small::Sound(checkpoint) if checkpoint.clean => words.push("closed cleanly".to_owned()),
        Small::Sound(_) => words.push("open, or not closed cleanly".to_owned()),
        Small::Missing => {}
        Small::Unusable(why) => words.push(format!("checkpoint unusable: {why}")),
    }
    words.join(", ")
}

fn time(time: Timestamp) -> String {
    rfc3339(time.get())
}

fn data_json(report: &DataReport) -> Value {
    let logs = report.logs.iter().map(|(log, partitions)| {
        json!({
            "id": log.id.get(),
            "name": log.entry.as_ref().map(|entry| &entry.name),
            "partitions": log.partitions.iter().zip(partitions).map(|(partition, found)| {
                json!({ "partition": partition.get(), "found": partition_json(found) })
            }).collect::<Value>(),
        })
    });
    json!({
        "dir": report.dir.display().to_string(),
        "node": report.identity.map(|found| found.node_id),
        "cluster": report.identity.map(|found| found.cluster_id),
        "catalog_problem": report.catalog_problem,
        "catalog": partition_json(&report.catalog),
        "logs": logs.collect::<Value>(),
    })
}

fn partition_json(report: &PartitionReport) -> Value {
    let checkpoint = match &report.checkpoint {
        Small::Missing => Value::Null,
        Small::Unusable(why) => json!({ "problem": why }),
        Small::Sound(found) => json!({
            "log": found.log.get(),
            "partition": found.partition.get(),
            "clean": found.clean,
            "incarnation": found.incarnation.get(),
            "segment": found.segment.get(),
            "position": found.position.get(),
            "offset": found.offset.get(),
            "closed": found.closed.len(),
            "sessions": found.sessions,
        }),
    };
    json!({
        "dir": report.dir.display().to_string(),
        "checkpoint": checkpoint,
        "manifest": match &report.manifest {
            Small::Missing => Value::Null,
            Small::Unusable(why) => json!({ "problem": why }),
            Small::Sound(found) => json!({
                "low": found.low.get(),
                "remote": found.remote.len(),
                "swap": found.swap.is_some(),
            }),
        },
        "tree": tree_json(report),
        "segments": report.segments.iter().map(segment_json).collect::<Value>(),
        "damaged": report.damages().iter().map(damage_json).collect::<Value>(),
        "quarantined": report.quarantined.iter().map(|(name, _)| name.as_str()).collect::<Value>(),
        "moving": report.moves(),
    })
}

fn segment_json(segment: &SegmentReport) -> Value {
    let header = segment.header.as_ref();
    let read = segment.survey.as_ref().map(|survey| {
        json!({
            "batches": survey.batches,
            "records": survey.records,
            "bytes": survey.batch_bytes,
            "end_position": survey.end_position.get(),
            "first_append": survey.appended.map(|(first, _)| time(first)),
            "last_append": survey.appended.map(|(_, last)| time(last)),
            "largest_create_time": survey.created_max.map(time),
            "cut": survey.cut.as_ref().map(|cut| json!({ "offset": cut.offset.get(), "position": cut.position.get() })),
        })
    });
    json!({
        "base": segment.found.base.get(),
        "next": segment.end.map(pyralog_log::ids::Offset::get),
        "file_bytes": segment.found.len,
        "created": header.map(|header| time(header.created)),
        "epoch": header.map(|header| header.epoch.get()),
        "header": header.is_some(),
        "index": aside_text(&segment.index),
        "keys": aside_text(&segment.keys),
        "root": root_json(&segment.root),
        "read": read,
        "moving": segment.moving,
    })
}

fn damage_json(damage: &Damage) -> Value {
    json!({
        "segment": damage.segment.get(),
        "first": damage.offsets.start.get(),
        "next": damage.offsets.end.get(),
        "from_byte": damage.positions.start.get(),
        "to_byte": damage.positions.end.get(),
    })
}
