//! What a server answers: requests of the id service against pings, sent and received in the same way.
//!
//! One connection, one thread: a bundle of requests in one write, then their answers, then the next bundle. What the
//! client costs is the same for a ping and for an id, so the ratio is the server's.

use std::time::Duration;

use anyhow::bail;
use pyralog_wire::Request;
use pyralog_wire::message::{
    CounterConfig, CreateCounter, DealIds, Ping, Reply, Response, TakeNumbers,
};

use super::Figures;
use crate::clock::Clock;
use crate::driver::connection::Connection;

pub(super) const PING: &str = "pings, 64 at once";
pub(super) const ONE: &str = "requests for an id";
pub(super) const NUMBER: &str = "requests for a number";
pub(super) const BLOCKS: &str = "ids in blocks of 10,000";

/// Requests in one write: below the credit of a connection.
const BUNDLE: u32 = 64;
/// How long each is sampled in a round.
const SLICE: Duration = Duration::from_millis(500);
const BLOCK: u32 = 10_000;

/// Measures a running server.
///
/// # Errors
/// If it does not answer, or refuses.
pub(super) fn measure(address: &str, rounds: u32, figures: &mut Figures) -> anyhow::Result<()> {
    let (mut connection, _) = Connection::open(address)?;
    let (name, config) = ("bench".to_owned(), CounterConfig::default());
    connection.call(&CreateCounter { name: name.clone(), config }.into())?;
    let kinds: [(&str, &str, Request, f64); 4] = [
        (PING, "requests/s", Ping { token: 0 }.into(), 1.0),
        (ONE, "requests/s", DealIds { count: 1 }.into(), 1.0),
        (NUMBER, "requests/s", TakeNumbers { name, count: 1 }.into(), 1.0),
        (BLOCKS, "ids/s", DealIds { count: BLOCK }.into(), f64::from(BLOCK)),
    ];
    // The round before the first is thrown away.
    for round in 0..=rounds {
        for (name, unit, request, each) in &kinds {
            let rate = rate(&mut connection, request)? * each;
            if round > 0 {
                figures.add(name, unit, rate);
            }
        }
    }
    Ok(())
}

/// Requests a second.
fn rate(connection: &mut Connection, request: &Request) -> anyhow::Result<f64> {
    let clock = Clock::start();
    let mut answered = 0.0;
    loop {
        connection.send_bundle(request, BUNDLE)?;
        for _ in 0..BUNDLE {
            match connection.receive()? {
                Reply::Done(Response::Hello(_)) => bail!("a second Welcome"),
                Reply::Done(_) => answered += 1.0,
                Reply::Refused(error) => bail!("{}", error.message),
            }
        }
        let passed = clock.elapsed();
        if passed >= SLICE {
            return Ok(answered / passed.as_secs_f64());
        }
    }
}
