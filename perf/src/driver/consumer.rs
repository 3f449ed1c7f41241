//! Consumers: at the tail, for the time from producer to consumer, and from the beginning, for the rate of reading.

use std::rc::Rc;
use std::time::Duration;

use pyralog_client::{Client, Consumer, ConsumerConfig, FetchedBatch, StartFrom, Stop};
use tokio::time::timeout;

use super::Local;
use super::client::{code_of, explain};
use crate::failure::Failure;
use crate::payload::stamp_of;
use crate::recorder::{Done, Kind};
use crate::scenario::{Keys, Scenario, Sizes};

/// How long a consumer at the tail waits before it looks whether all is there.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Failures in a row after which a consumer gives up: the run is of no use then.
const FAILURES_MAX: u32 = 10;

/// Begins at the tail. What is appended after this resolves will be read.
pub(crate) async fn at_tail(
    client: &Client,
    log: &str,
    scenario: &Scenario,
) -> Result<Consumer, Failure> {
    let config = ConsumerConfig {
        from: StartFrom::Latest,
        bytes_max: fetch_bytes(scenario),
        ..ConsumerConfig::default()
    };
    client.consumer(log, config).await.map_err(|error| explain(&error))
}

fn fetch_bytes(scenario: &Scenario) -> u32 {
    u32::try_from(scenario.fetch_bytes).unwrap_or(u32::MAX)
}

/// Reads at the tail until every record that was acknowledged has come.
pub(crate) async fn tail(mut consumer: Consumer, local: Rc<Local>) {
    let (mut received, mut failures) = (0, 0);
    loop {
        match timeout(LOOK_AGAIN, consumer.next()).await {
            Ok(Ok(Some(batch))) => {
                received += batch.len() as u64;
                end_to_end(&batch, &local);
            }
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                failures += 1;
                let now_ns = local.clock.now_ns();
                local.recorder.borrow_mut().failed(now_ns, (code_of(&error), 1));
                if failures == FAILURES_MAX {
                    return;
                }
            }
            Err(_nothing_came) => {}
        }
        let missing = local.progress.appended().map(|appended| appended.saturating_sub(received));
        match missing {
            Some(0) => return,
            _ if local.progress.stopped() => return,
            Some(missing) if local.clock.now_ns() > local.give_up_ns => {
                let due_ns = local.end_ns().saturating_sub(1);
                local.recorder.borrow_mut().failed(due_ns, ("NotReceived", missing));
                return;
            }
            _ => {}
        }
    }
}

/// Records the time from when each record was due to now. Neighbours that were due together are recorded together.
fn end_to_end(batch: &FetchedBatch, local: &Local) {
    let end_ns = local.clock.now_ns();
    let mut recorder = local.recorder.borrow_mut();
    let mut run: Option<Done> = None;
    for record in batch.records() {
        let value = record.value.unwrap_or_default();
        // Records of somebody else carry no stamp.
        let Some(due_ns) = stamp_of(value) else { continue };
        let bytes = (value.len() + record.key.map_or(0, <[u8]>::len)) as u64;
        match &mut run {
            Some(run) if run.due_ns == due_ns => {
                run.records += 1;
                run.bytes += bytes;
            }
            _ => {
                let next = Done { due_ns, end_ns, records: 1, bytes };
                if let Some(done) = run.replace(next) {
                    recorder.done(Kind::EndToEnd, done);
                }
            }
        }
    }
    if let Some(done) = run {
        recorder.done(Kind::EndToEnd, done);
    }
}

/// Reads everything from the beginning, again and again until the time is up. Checksums are verified by the client; of
/// records of one size the values are not looked at.
pub(crate) async fn catch_up(
    client: Client,
    (log, scenario): (Rc<str>, Rc<Scenario>),
    local: Rc<Local>,
) {
    let config = ConsumerConfig {
        from: StartFrom::Earliest,
        bytes_max: fetch_bytes(&scenario),
        stop: Stop::AtEnd,
        ..ConsumerConfig::default()
    };
    let (end_ns, mut failures) = (local.end_ns(), 0);
    let over = || local.clock.now_ns() >= end_ns || local.progress.stopped();
    while !over() {
        let mut consumer = match client.consumer(&log, config.clone()).await {
            Ok(consumer) => consumer,
            Err(error) => {
                local.recorder.borrow_mut().failed(local.clock.now_ns(), (code_of(&error), 1));
                return;
            }
        };
        loop {
            let due_ns = local.clock.now_ns();
            let next =
                timeout(Duration::from_nanos(end_ns.saturating_sub(due_ns)), consumer.next());
            let batch = match next.await {
                Ok(Ok(Some(batch))) => batch,
                Ok(Ok(None)) | Err(_) => break,
                Ok(Err(error)) => {
                    failures += 1;
                    local.recorder.borrow_mut().failed(due_ns, (code_of(&error), 1));
                    if failures == FAILURES_MAX {
                        return;
                    }
                    break;
                }
            };
            let (records, bytes) = (batch.len() as u64, bytes_of(&batch, &scenario));
            let end_ns = local.clock.now_ns();
            let done = Done { due_ns, end_ns, records, bytes };
            local.recorder.borrow_mut().done(Kind::Fetch, done);
            if over() {
                break;
            }
        }
    }
}

/// Bytes of keys and values.
fn bytes_of(batch: &FetchedBatch, scenario: &Scenario) -> u64 {
    if let (Sizes::Fixed(size), Keys::None) = (scenario.record_size, scenario.keys) {
        return size * batch.len() as u64;
    }
    let bytes = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len) as u64;
    batch.records().map(|record| bytes(record.key) + bytes(record.value)).sum()
}
