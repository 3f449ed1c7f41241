//! `pyralog obelisk stat` without a name: what a node deals ids from, and up to which time it may have dealt some.
//!
//! A running server tells it over HTTP, in its `/status`. Of one that is gone the disk tells the mark, which is all that whoever
//! takes its slots over has to know.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::CounterStatArgs;
use crate::exit::{Failure, Status};
use crate::id_command::unix_ms;
use crate::limits::STATUS_BYTES_MAX;
use crate::marks::{self, Mark};
use crate::output::{Output, Tone};
use crate::quantity::{count_human, parse_duration};
use crate::session::Session;

/// The part of `/status` that is about ids.
#[derive(Debug, Deserialize)]
struct NodeStatus {
    node: String,
    node_id: u64,
    cluster_id: u64,
    shards: Vec<ShardStatus>,
}

#[derive(Debug, Deserialize)]
struct ShardStatus {
    shard: u64,
    ids: Ids,
}

/// As the server names them.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct Ids {
    dealt: u64,
    ahead_ms: u64,
    high_water_unix_ms: u64,
    slots: u64,
    clock_astray_ms: i64,
    problem: String,
}

/// Prints it.
///
/// # Errors
/// If the server does not answer (exit code 3) or the directory cannot be read.
pub(super) fn run(session: &Session, args: &CounterStatArgs) -> Result<(), Failure> {
    if let Some(data) = &args.data_dir {
        return offline(session.output, data);
    }
    let settings = session.settings()?;
    let address = match (&args.http, settings.server.http) {
        (Some(address), _) => address.clone(),
        (None, Some(address)) => address.to_string(),
        (None, None) => {
            return Err(Failure::usage("http.listen is off: name another server with --http")
                .hint("--data-dir DIR reads the high-water mark off the disk"));
        }
    };
    let timeout = match &args.client.timeout {
        Some(text) => parse_duration(text)
            .map_err(|error| Failure::usage(format!("--timeout {text}: {error}")))?,
        None => settings.timeout,
    };
    let body = get(&address, timeout).map_err(|problem| {
        Failure::new(Status::Unavailable, format!("no status from http://{address}/: {problem}"))
            .hint(
                "--http HOST:PORT names the HTTP address of the server; --data-dir DIR reads the \
             high-water mark off its disk",
            )
    })?;
    let status: NodeStatus = serde_json::from_str(&body).map_err(|error| {
        Failure::failed(format!("http://{address}/status does not tell about ids: {error}"))
    })?;
    print(session.output, &status)
}

/// The body of `GET /status`. One request and the end of the connection: no more of HTTP is needed here.
fn get(address: &str, timeout: Duration) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let found = address.to_socket_addrs().map_err(text)?.next().ok_or("no such host")?;
    let mut stream = TcpStream::connect_timeout(&found, timeout).map_err(text)?;
    stream.set_read_timeout(Some(timeout)).map_err(text)?;
    stream.set_write_timeout(Some(timeout)).map_err(text)?;
    write!(stream, "GET /status HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .map_err(text)?;
    let mut answer = String::new();
    stream.take(STATUS_BYTES_MAX).read_to_string(&mut answer).map_err(text)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let first = head.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) == Some("200") { Ok(body.to_owned()) } else { Err(first.to_owned()) }
}

fn print(output: Output, status: &NodeStatus) -> Result<(), Failure> {
    let highest = status.shards.iter().map(|shard| shard.ids.high_water_unix_ms).max();
    let highest = highest.filter(|mark_ms| *mark_ms > 0);
    if output.json() {
        return output.document(&json!({
            "node": status.node_id,
            "name": status.node,
            "cluster": status.cluster_id,
            "high_water": highest.map(unix_ms),
            "high_water_unix_ms": highest,
            "shards": status.shards.iter().map(shard_json).collect::<Value>(),
        }));
    }
    output.line(&format!(
        "{}  node {}, cluster {}",
        output.paint(Tone::Strong, &status.node),
        status.node_id,
        status.cluster_id
    ))?;
    let rows: Vec<Vec<String>> = status.shards.iter().map(row).collect();
    output.table(
        &["SHARD", "SLOTS", "DEALT", "AHEAD", "HIGH-WATER MARK (UTC)", "CLOCK", "STATE"],
        &rows,
    )?;
    close(output, highest)
}

fn row(ShardStatus { shard, ids }: &ShardStatus) -> Vec<String> {
    let mark = match ids.high_water_unix_ms {
        0 => "-".to_owned(),
        ms => unix_ms(ms),
    };
    let clock = match ids.clock_astray_ms {
        0 => "followed".to_owned(),
        ms => format!(
            "{} ms {}",
            count_human(ms.unsigned_abs()),
            if ms < 0 { "behind" } else { "ahead" }
        ),
    };
    let state = match ids.problem.as_str() {
        "" if ids.clock_astray_ms != 0 => "ids of records only",
        "" => "ok",
        problem => problem,
    };
    vec![
        shard.to_string(),
        ids.slots.to_string(),
        count_human(ids.dealt),
        format!("{} ms", ids.ahead_ms),
        mark,
        clock,
        state.to_owned(),
    ]
}

fn shard_json(ShardStatus { shard, ids }: &ShardStatus) -> Value {
    let mark_ms = Some(ids.high_water_unix_ms).filter(|mark_ms| *mark_ms > 0);
    json!({
        "shard": shard,
        "slots": ids.slots,
        "dealt": ids.dealt,
        "ahead_ms": ids.ahead_ms,
        "high_water": mark_ms.map(unix_ms),
        "high_water_unix_ms": mark_ms,
        "clock_astray_ms": ids.clock_astray_ms,
        "problem": Some(&ids.problem).filter(|problem| !problem.is_empty()),
    })
}

/// The marks in a data directory.
fn offline(output: Output, data: &Path) -> Result<(), Failure> {
    let shown = data.display();
    let marks = marks::read(data).map_err(|problem| {
        Failure::failed(format!("cannot read the marks of ids in {shown}: {problem}"))
    })?;
    if marks.is_empty() {
        return Err(Failure::failed(format!("there are no marks of ids in {shown}"))
            .hint("name the data directory of a server that has dealt ids"));
    }
    let highest = highest(&marks);
    if output.json() {
        let rows = marks.iter().map(|Mark { name, unix_ms: mark }| {
            json!({
                "name": name,
                "high_water": mark.as_ref().ok().copied().map(unix_ms),
                "high_water_unix_ms": mark.as_ref().ok(),
                "problem": mark.as_ref().err(),
            })
        });
        output.document(&json!({
            "data_dir": data,
            "high_water": highest.map(unix_ms),
            "high_water_unix_ms": highest,
            "marks": rows.collect::<Value>(),
        }))?;
    } else {
        let rows = marks.iter().map(|mark| {
            let text = mark.unix_ms.as_ref().map_or_else(String::clone, |ms| unix_ms(*ms));
            vec![mark.name.clone(), text]
        });
        output.table(&["MARK", "HIGH-WATER MARK (UTC)"], &rows.collect::<Vec<_>>())?;
        close(output, highest)?;
    }
    if highest.is_some() {
        return Ok(());
    }
    Err(Failure::failed("not all marks can be read, so the highest is not known").hint(
        "without it, set ids.not_before to any time at least 5 s after the server last dealt ids",
    ))
}

/// The highest mark, if all are known.
fn highest(marks: &[Mark]) -> Option<u64> {
    let all: Result<Vec<u64>, &String> =
        marks.iter().map(|mark| mark.unix_ms.as_ref().copied()).collect();
    all.ok()?.into_iter().max()
}

/// What the mark is good for.
fn close(output: Output, highest: Option<u64>) -> Result<(), Failure> {
    let Some(highest) = highest else { return Ok(()) };
    let setting = output.paint(Tone::Code, &format!("ids.not_before={highest}"));
    output.line("")?;
    output.line(&format!("No id with a time of {} or later was dealt.", unix_ms(highest)))?;
    output.line(&format!(
        "Once the server is stopped for good, another takes its slots over with {setting}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_mark_is_known_only_if_all_are() {
        let mark = |unix_ms| Mark { name: "shard-0".to_owned(), unix_ms };
        assert_eq!(highest(&[mark(Ok(7)), mark(Ok(9)), mark(Ok(8))]), Some(9));
        assert_eq!(highest(&[mark(Ok(7)), mark(Err("damaged".to_owned()))]), None);
    }

    #[test]
    fn a_shard_without_a_mark_and_an_astray_clock_are_told() {
        let ids = Ids { slots: 4, clock_astray_ms: -7_000, ..Ids::default() };
        let cells = row(&ShardStatus { shard: 1, ids });
        assert_eq!(cells, ["1", "4", "0", "0 ms", "-", "7,000 ms behind", "ids of records only"]);
    }
}
