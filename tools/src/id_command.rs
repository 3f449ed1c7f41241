//! `pyralog id`: deals Scarab ids from a fleet of servers, and takes ids apart without one.

use std::fmt::Write as _;
use std::time::Duration;

use pyralog_client::blocking::IdSource;
use pyralog_client::{ClientError, ErrorCode, IdConfig, ScarabId};
use serde_json::{Value, json};

use crate::args::{IdCommand, IdDecodeArgs, IdFormat, IdNextArgs};
use crate::connect::{connect, explain};
use crate::exit::Failure;
use crate::output::Output;
use crate::session::Session;
use crate::timestamp::rfc3339;

/// How long a refusal may take: far above a round trip and a sync, far below anybody's patience.
const REFUSAL_WAIT: Duration = Duration::from_secs(1);

/// Runs one of the `id` commands.
///
/// # Errors
/// If no server deals ids.
pub(crate) fn run(session: &Session, command: &IdCommand) -> Result<(), Failure> {
    match command {
        IdCommand::Next(args) => next(session, args),
        IdCommand::Decode(args) => decode(session.output, args),
    }
}

fn next(session: &Session, args: &IdNextArgs) -> Result<(), Failure> {
    // Says at once that nobody is there, where a source of ids would wait for somebody to come back.
    let connected = connect(session, &args.client)?;
    // A lease of exactly so many. The source leases as many again behind it, which are lost: that is what ids may be.
    let config = IdConfig {
        name: connected.config.name,
        block: args.count,
        low_water: 1,
        wait: connected.config.request_timeout,
        connect_timeout: connected.config.connect_timeout,
        lease_timeout: connected.config.request_timeout,
        ..IdConfig::default()
    };
    let mut source = lease(&connected.servers, config).map_err(|error| explain(&error))?;
    let ids = source.next_many(args.count).map_err(|error| explain(&error))?;
    let ids = ids.map(|id| shown(id, args.format));
    if session.output.json() {
        return session.output.document(&ids.map(Value::from).collect());
    }
    let text = ids.fold(String::new(), |mut text, id| {
        writeln!(text, "{id}").expect("a String takes every write");
        text
    });
    session.output.bytes(text.as_bytes())
}

/// A source of ids. It waits for servers that may come back, but not for a single one that says that it never deals any.
fn lease(servers: &[String], config: IdConfig) -> Result<IdSource, ClientError> {
    let hasty = IdConfig { wait: config.wait.min(REFUSAL_WAIT), ..config.clone() };
    match IdSource::connect(servers.iter().cloned(), hasty) {
        Err(ClientError::NoIds { last: Some(last), .. })
            if servers.len() == 1
                && last.reply().is_some_and(|reply| reply.is(ErrorCode::WrongRole)) =>
        {
            Err(*last)
        }
        Err(ClientError::NoIds { .. }) => IdSource::connect(servers.iter().cloned(), config),
        outcome => outcome,
    }
}

fn shown(id: ScarabId, format: IdFormat) -> String {
    match format {
        IdFormat::Text => id.to_string(),
        IdFormat::Number => id.get().to_string(),
    }
}

fn decode(output: Output, args: &IdDecodeArgs) -> Result<(), Failure> {
    if output.json() {
        return output.document(&args.ids.iter().copied().map(id_json).collect());
    }
    let rows: Vec<Vec<String>> = args
        .ids
        .iter()
        .map(|id| {
            vec![
                id.to_string(),
                id.get().to_string(),
                time(*id),
                id.slot().to_string(),
                id.sequence().to_string(),
            ]
        })
        .collect();
    output.table(&["ID", "NUMBER", "TIME (UTC)", "SLOT", "SEQUENCE"], &rows)
}

/// The number is a text: programs that read JSON numbers as floating point would round it.
fn id_json(id: ScarabId) -> Value {
    json!({
        "id": id.to_string(),
        "number": id.get().to_string(),
        "time": time(id),
        "time_unix_ms": id.time_unix_ms(),
        "slot": id.slot().get(),
        "sequence": id.sequence(),
    })
}

/// `2026-11-22T08:15:30.123Z`: an id knows no more than milliseconds.
fn time(id: ScarabId) -> String {
    unix_ms(id.time_unix_ms())
}

/// A time in milliseconds since the Unix epoch, as RFC 3339.
pub(crate) fn unix_ms(ms: u64) -> String {
    let us = i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1000);
    let text = rfc3339(us);
    format!("{}Z", text.trim_end_matches("000Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_apart() {
        let id: ScarabId = "00000000VZZZZ".parse().unwrap();
        let expected = json!({
            "id": "00000000VZZZZ",
            "number": "29360127",
            "time": "2025-01-01T00:00:00.003Z",
            "time_unix_ms": 1_735_689_600_003_u64,
            "slot": 511,
            "sequence": 8191,
        });
        assert_eq!(id_json(id), expected);
        assert_eq!(shown(id, IdFormat::Number).parse(), Ok(id), "both forms are read");
    }

    #[test]
    fn times_of_ids_have_milliseconds() {
        assert_eq!(unix_ms(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(unix_ms(1_735_689_601_250), "2025-01-01T00:00:01.250Z");
        assert_eq!(time(ScarabId::from_raw(u64::MAX)), "2094-09-07T15:47:35.551Z");
    }
}
