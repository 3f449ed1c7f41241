//! Against a server that says what the test tells it to: whatever a server or a network may do, the
//! history says no more than the client can know.

use std::cell::Cell;
use std::time::Duration;

use pyralog_client::{
    ConsumerConfig, ErrorCode, ErrorReply, LogChanges, LogConfig, LogId, LogRoute, Offset,
    PartitionId, ProducerConfig, StartFrom, Timestamp,
};
use pyralog_log::batch::{BuilderConfig, Owner, Record, RowsBuilder, seal};
use pyralog_log::ids::Epoch;
use pyralog_runtime::net::{ListenOptions, Listener, Stream};
use pyralog_runtime::spawn;
use pyralog_wire::message::{Appended, Deleted, Fetched, Routes, Welcome};
use pyralog_wire::server::{self, ServerConnection, ServerStep};
use pyralog_wire::{Request, Response};

use super::*;
use crate::client::{Producer, RawAppend, ReadEnd, ReadStep, Reader};
use crate::history::{CatalogAnswer, Refusal, Seen};
use crate::record::{Lengths, Recipe};

const FIRST: PartitionId = PartitionId::ZERO;
const LOG: LogId = LogId::new(7);

/// What the server does with a request.
enum Deed {
    Answer(Response, Vec<u8>),
    Refuse(ErrorCode),
    /// Ends the connection without a word.
    Hang,
    /// After the deed before it: who answers other connections from then on is another cluster.
    Die,
    /// Says nothing on this connection any more.
    Mute,
}

/// What becomes of the requests other than the usual ones, in order; then all are met with
/// silence. And which cluster the server is.
type Script = Rc<(RefCell<Vec<Deed>>, Cell<u64>)>;

/// A client of a server that does the deeds of the script, one a request, and tells the routes of
/// the log `a` to everybody who asks.
fn with_liar<F: Future<Output = ()> + 'static>(
    deeds: impl FnOnce() -> Vec<Deed> + Clone + Send + 'static,
    test: impl FnOnce(SimClient, Rc<RefCell<History>>) -> F + Clone + Send + 'static,
) {
    on_core(move || async move {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Listener::bind(address, ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut deeds = deeds();
        deeds.reverse();
        let script: Script = Rc::new((RefCell::new(deeds), Cell::new(1)));
        spawn(async move {
            while let Ok(stream) = listener.accept().await {
                spawn(serve_one(stream, Rc::clone(&script))).detach();
            }
        })
        .detach();
        let history = Rc::new(RefCell::new(History::new()));
        test(client_of(address, 1, &history), history).await;
    });
}

/// One connection.
async fn serve_one(mut stream: Stream, script: Script) {
    let mut machine = ServerConnection::new(server::ServerConfig::default());
    let (mut received, mut out) = (Vec::new(), Vec::new());
    let mut chunk = vec![0; 64 << 10];
    loop {
        let consumed = match machine.receive(&received, &mut out) {
            ServerStep::NeedMore { .. } | ServerStep::Pause => {
                match stream.read(&mut chunk).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => {
                        received.extend_from_slice(&chunk[..count]);
                        continue;
                    }
                }
            }
            ServerStep::Hello { consumed, .. } => {
                machine.welcome(welcome(script.1.get()), &mut out);
                consumed
            }
            ServerStep::Request { admitted, consumed, .. } => {
                match deed(&admitted.request, &script) {
                    Deed::Answer(response, payload) => {
                        let len = u32::try_from(payload.len()).unwrap();
                        assert!(machine.reserve_reply(admitted.token, len).unwrap());
                        machine.reply(admitted.token, &response, len, &mut out).unwrap();
                        out.extend(payload);
                    }
                    Deed::Refuse(code) => {
                        let reply = ErrorReply::from(code);
                        machine.refuse(admitted.token, &reply, &mut out).unwrap();
                    }
                    Deed::Hang => return,
                    Deed::Die => unreachable!("no deed of a request"),
                    Deed::Mute => return std::future::pending().await,
                }
                consumed
            }
            ServerStep::Consumed(consumed) => consumed,
            ServerStep::Close => return,
        };
        received.drain(..consumed);
        if stream.write_all(&out).await.is_err() {
            return;
        }
        machine.flushed(out.drain(..).len() as u64);
        if matches!(script.0.borrow().last(), Some(Deed::Die)) {
            drop(script.0.borrow_mut().pop());
            script.1.set(script.1.get() + 1);
        }
    }
}

fn deed(request: &Request, script: &Script) -> Deed {
    if matches!(request, Request::Metadata(_)) {
        let name = "a".to_owned();
        let route = LogRoute { id: LOG, name, config: LogConfig::default(), shards: vec![0] };
        let (version, logs) = (1, vec![route]);
        let routes = Routes { version, shards: Vec::new(), logs, unknown: Vec::new() };
        return Deed::Answer(Response::Metadata(routes), Vec::new());
    }
    script.0.borrow_mut().pop().unwrap_or(Deed::Mute)
}

fn welcome(cluster: u64) -> Welcome {
    Welcome {
        protocol: 0,
        shard: 0,
        limits_fingerprint: 0,
        node: 1,
        cluster,
        server_time: Timestamp::new(0),
        limits: server::ServerConfig::default().limits,
        server_version: "0".to_owned(),
        shards: Vec::new(),
    }
}

fn appended(base: u64, duplicate: bool) -> Deed {
    let (base_offset, append_time) = (Offset::new(base), Timestamp::new(1));
    let next_offset = Offset::new(base + 1);
    let appended = Appended { base_offset, next_offset, append_time, duplicate };
    Deed::Answer(Response::Append(appended), Vec::new())
}

/// The answer to a fetch of three records from offset 0, of which a byte is changed if so told.
fn fetched(damaged: bool) -> Deed {
    let mut batch = three_from(0);
    if damaged {
        batch[200] ^= 1;
    }
    brought(0, batch)
}

/// The answer to a fetch that brings a batch of three records from this offset.
fn brought(base: u64, batch: Vec<u8>) -> Deed {
    let (first_offset, high) = (Offset::new(base), Offset::new(base + 3));
    let fetched = Fetched { first_offset, next_offset: high, low: Offset::ZERO, high };
    Deed::Answer(Response::Fetch(fetched), batch)
}

/// The answer to a fetch at the end, which is asked ahead and does not count once the answer before it was damaged.
fn nothing_ahead() -> Deed {
    let end = Offset::new(3);
    let fetched = Fetched { first_offset: end, next_offset: end, low: Offset::ZERO, high: end };
    Deed::Answer(Response::Fetch(fetched), Vec::new())
}

/// A sealed batch of three records.
fn three_from(base: u64) -> Vec<u8> {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    for sequence in 0..3 {
        let value = crate::record::encode_to(RecordId { client: 9, sequence }, 40);
        builder.push(&Record { value: Some(&value), ..Record::default() }).unwrap();
    }
    let mut batch = builder.finish(None).unwrap();
    let append_time = Timestamp::new(1);
    let (base_offset, epoch) = (Offset::new(base), Epoch::new(1));
    seal(&mut batch, Owner { base_offset, epoch, append_time, scarab_base: 0 });
    batch
}

fn raw(attempts: u32) -> RawAppend {
    let (shard, level, batches) = (None, None, vec![1]);
    let recipe = Recipe::default();
    RawAppend { log: LOG, partition: FIRST, shard, level, batches, recipe, attempts }
}

#[track_caller]
fn raw_ends_as(
    deeds: impl FnOnce() -> Vec<Deed> + Clone + Send + 'static,
    attempts: u32,
    expected: Outcome,
) {
    with_liar(deeds, async move |client: SimClient, history| {
        assert_eq!(client.append_raw(raw(attempts)).await, expected);
        assert_eq!(outcomes(&history), [expected]);
    });
}

fn refused(code: ErrorCode) -> Outcome {
    Outcome::Refused(Refusal { code: code.number(), a: 0, b: 0 })
}

#[test]
fn an_append_whose_connection_ends_is_unknown() {
    raw_ends_as(|| vec![Deed::Hang], 1, Outcome::Unknown);
}

#[test]
fn an_append_that_the_server_does_not_know_about_is_unknown() {
    raw_ends_as(|| vec![Deed::Refuse(ErrorCode::StorageFailed)], 1, Outcome::Unknown);
}

#[test]
fn an_append_that_is_refused_is_refused() {
    let deeds = || vec![Deed::Refuse(ErrorCode::InvalidBatch)];
    raw_ends_as(deeds, 1, refused(ErrorCode::InvalidBatch));
}

#[test]
fn a_refusal_says_nothing_about_the_attempt_before_it() {
    let deeds = || vec![Deed::Hang, Deed::Refuse(ErrorCode::InvalidBatch)];
    raw_ends_as(deeds, 2, Outcome::Unknown);
}

#[test]
fn an_acknowledgement_of_a_later_attempt_names_it() {
    let acked = Outcome::Acked { attempt: 1, base_offset: 5, duplicate: false };
    raw_ends_as(|| vec![Deed::Hang, appended(5, false)], 3, acked);
}

#[test]
fn an_append_that_nobody_answers_is_unknown_and_its_connection_is_given_up() {
    let deeds = || vec![Deed::Mute, appended(5, false)];
    with_liar(deeds, async |client: SimClient, history| {
        let config =
            ClientConfig { request_timeout: Duration::from_millis(50), ..client.config().clone() };
        let identity = Identity { number: 2, seed: 2 };
        let hasty = SimClient::new(client.addresses(), config, identity, Rc::clone(&history));
        assert_eq!(hasty.append_raw(raw(1)).await, Outcome::Unknown);
        // The next one goes over another connection and is answered.
        assert!(matches!(hasty.append_raw(raw(1)).await, Outcome::Acked { .. }));
    });
}

#[test]
fn an_append_to_nobody_is_refused_without_a_code() {
    on_core(|| async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Listener::bind(address, ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let history = Rc::new(RefCell::new(History::new()));
        let client = client_of(address, 1, &history);
        assert_eq!(client.append_raw(raw(2)).await, Outcome::Refused(Refusal::default()));
    });
}

/// What the history says about the only question to the catalog.
fn catalog_answer(history: &Rc<RefCell<History>>) -> CatalogAnswer {
    let answer = |event: Event| match event.kind {
        Kind::CatalogAnswered { answer, .. } => Some(answer),
        _ => None,
    };
    let answers: Vec<_> = events(history).into_iter().filter_map(answer).collect();
    assert_eq!(answers.len(), 1);
    answers[0]
}

#[test]
fn a_deletion_whose_connection_ends_is_unknown_and_not_repeated() {
    let deleted = || Deed::Answer(Response::DeleteLog(Deleted { id: LOG }), Vec::new());
    let deeds = move || vec![Deed::Hang, deleted()];
    with_liar(deeds, async |client: SimClient, history| {
        let error = client.delete_log("a").await.unwrap_err();
        assert!(error.maybe_done && error.reply.is_none(), "{error}");
        assert_eq!(catalog_answer(&history), CatalogAnswer::Unknown);
    });
}

#[test]
fn a_change_that_was_lost_and_then_refused_may_have_been_made() {
    let deeds = || vec![Deed::Hang, Deed::Refuse(ErrorCode::UnknownLog)];
    with_liar(deeds, async |client: SimClient, history| {
        let change = LogChanges { ttl_ms: Some(60_000), ..LogChanges::default() };
        let error = client.alter_log("a", change).await.unwrap_err();
        assert!(error.is(ErrorCode::UnknownLog) && error.maybe_done, "{error}");
        assert_eq!(catalog_answer(&history), CatalogAnswer::Unknown);
    });
}

#[test]
fn a_creation_that_is_refused_was_not_made() {
    let deeds = || vec![Deed::Refuse(ErrorCode::TooManyLogs)];
    with_liar(deeds, async |client: SimClient, history| {
        client.create_log("a", LogConfig::default()).await.unwrap_err();
        let code = ErrorCode::TooManyLogs.number();
        let refusal = Refusal { code, a: 0, b: 0 };
        assert_eq!(catalog_answer(&history), CatalogAnswer::Refused(refusal));
    });
}

/// Sends one batch of one record through a producer and returns how it ended.
fn producer_ends_as(
    deeds: impl FnOnce() -> Vec<Deed> + Clone + Send + 'static,
    expected: Outcome,
    attempts: usize,
) {
    with_liar(deeds, async move |client: SimClient, history| {
        let mut producer = Producer::open(&client, "a", ProducerConfig::default()).await.unwrap();
        producer.append(FIRST, (1, Lengths::Mixed)).await.unwrap();
        producer.flush().await.unwrap();
        assert_eq!(outcomes(&history), [expected]);
        let sent = |event: &Event| matches!(event.kind, Kind::AppendSent { .. });
        assert_eq!(events(&history).iter().filter(|event| sent(event)).count(), attempts);
    });
}

#[test]
fn a_batch_that_was_lost_is_sent_again_until_it_is_acknowledged() {
    let deeds = || vec![Deed::Hang, Deed::Refuse(ErrorCode::Busy), appended(3, true)];
    let acked = Outcome::Acked { attempt: 2, base_offset: 3, duplicate: true };
    producer_ends_as(deeds, acked, 3);
}

#[test]
fn a_batch_that_was_lost_and_then_its_session_is_unknown() {
    let deeds = || vec![Deed::Hang, Deed::Refuse(ErrorCode::UnknownSession)];
    producer_ends_as(deeds, Outcome::Unknown, 2);
}

#[test]
fn a_batch_that_is_refused_for_good_is_refused() {
    let deeds = || vec![Deed::Refuse(ErrorCode::InvalidBatch)];
    producer_ends_as(deeds, refused(ErrorCode::InvalidBatch), 1);
}

#[test]
fn a_batch_never_goes_to_another_clusters_log_that_has_its_id() {
    // The second cluster would acknowledge.
    let deeds = || vec![appended(0, false), Deed::Die, appended(0, false), appended(0, false)];
    with_liar(deeds, async move |client: SimClient, history| {
        let mut producer = Producer::open(&client, "a", ProducerConfig::default()).await.unwrap();
        for _ in 0..3 {
            producer.append(FIRST, (1, Lengths::Mixed)).await.unwrap();
            producer.flush().await.unwrap();
            client.reset_connections();
        }
        let acked = Outcome::Acked { attempt: 0, base_offset: 0, duplicate: false };
        let refused = Outcome::Refused(Refusal::default());
        assert_eq!(outcomes(&history), [acked, refused, refused]);
    });
}

#[test]
fn a_reader_never_reads_another_clusters_log_that_has_its_id() {
    with_liar(
        || vec![fetched(false), Deed::Die, brought(3, three_from(3))],
        async |client: SimClient, _| {
            let mut reader = reader(&client, StartFrom::Earliest).await;
            assert!(matches!(reader.next().await, ReadStep::Batches(_)));
            client.reset_connections();
            assert!(matches!(reader.next().await, ReadStep::End(ReadEnd::LogGone)));
        },
    );
}

/// A reader of everything from `from` on.
async fn reader(client: &SimClient, from: StartFrom) -> Reader {
    let config = ConsumerConfig { from, ..ConsumerConfig::default() };
    Reader::open(client, ("a", FIRST), config).await.unwrap()
}

/// An answered read: where it began, record or complaint by offset, where to go on.
type Told = (u64, Vec<(u64, bool)>, u64);

/// What the history says came with each answered read.
fn told(history: &Rc<RefCell<History>>) -> Vec<Told> {
    let told = |event: Event| match event.kind {
        Kind::Read(read) => {
            let record = |seen: Seen| (seen.offset, seen.content.is_ok());
            Some((read.from, read.records.into_iter().map(record).collect(), read.next))
        }
        _ => None,
    };
    events(history).into_iter().filter_map(told).collect()
}

#[test]
fn a_batch_that_arrives_damaged_once_is_fetched_again() {
    let deeds = || vec![fetched(true), nothing_ahead(), fetched(false)];
    with_liar(deeds, async |client: SimClient, history| {
        let mut reader = reader(&client, StartFrom::Earliest).await;
        let ReadStep::Batches(batches) = reader.next().await else { panic!("an end") };
        assert_eq!(batches.records(), 3);
        let sound = vec![(0, true), (1, true), (2, true)];
        assert_eq!(told(&history), [(0, vec![], 0), (0, sound, 3)]);
    });
}

#[test]
fn a_batch_that_arrives_damaged_twice_is_told_and_written_down() {
    with_liar(
        || vec![fetched(true), nothing_ahead(), fetched(true)],
        async |client: SimClient, history| {
            let mut reader = reader(&client, StartFrom::Earliest).await;
            let step = reader.next().await;
            let ReadStep::End(ReadEnd::Corrupt(offsets, _)) = step else { panic!("{step:?}") };
            assert_eq!(offsets, Offset::ZERO..Offset::new(3));
            assert_eq!(told(&history), [(0, vec![], 0), (0, vec![(0, false)], 1)]);
        },
    );
}

#[test]
fn records_that_are_missing_from_an_answer_are_missing_in_the_history() {
    with_liar(
        || vec![brought(5, three_from(5))],
        async |client: SimClient, history| {
            let mut reader = reader(&client, StartFrom::Offset(Offset::new(3))).await;
            assert!(matches!(reader.next().await, ReadStep::Batches(_)));
            let sound = vec![(5, true), (6, true), (7, true)];
            assert_eq!(told(&history), [(3, sound, 8)]);
        },
    );
}

#[test]
fn a_read_without_an_answer_is_begun_again() {
    let deeds = || vec![Deed::Hang, Deed::Refuse(ErrorCode::Busy), fetched(false)];
    with_liar(deeds, async |client: SimClient, history| {
        let mut reader = reader(&client, StartFrom::Earliest).await;
        assert!(matches!(reader.next().await, ReadStep::Batches(_)));
        let refused = events(&history).into_iter();
        let refused = refused.filter(|event| matches!(event.kind, Kind::ReadRefused(_))).count();
        assert_eq!(refused, 1);
    });
}
