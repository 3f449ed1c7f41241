//! Against a server that works.

use std::time::Duration;

use pyralog_client::{
    ConsumerConfig, Durability, ErrorCode, LogChanges, PartitionId, ProducerConfig, StartFrom, Stop,
};
use pyralog_runtime::{spawn, time};
use pyralog_wire::message::{LogDescription, PartitionInfo};

use super::*;
use crate::client::{Batches, Producer, RawAppend, ReadEnd, ReadStep, Reader};
use crate::history::{CatalogAnswer, CatalogAsk, Level, Place, Read, SessionUse};
use crate::record::{Lengths, Recipe};

const FIRST: PartitionId = PartitionId::ZERO;

fn small_batches() -> ProducerConfig {
    ProducerConfig { records_max: 3, linger: Duration::ZERO, ..ProducerConfig::default() }
}

fn raw(log: &LogDescription, batches: Vec<usize>) -> RawAppend {
    RawAppend {
        log: log.id,
        partition: FIRST,
        shard: None,
        level: None,
        batches,
        recipe: Recipe::default(),
        attempts: 1,
    }
}

fn reads(history: &Rc<RefCell<History>>) -> Vec<Read> {
    let read = |event: Event| match event.kind {
        Kind::Read(read) => Some(read),
        _ => None,
    };
    events(history).into_iter().filter_map(read).collect()
}

#[test]
fn what_a_producer_sends_is_there_once_in_order_at_the_offsets_of_its_acknowledgements() {
    with_disk(async |client: SimClient, history| {
        client.create_log("a", on_disk(2)).await.unwrap();
        let mut producer = Producer::open(&client, "a", small_batches()).await.unwrap();
        let mut sent = [Vec::new(), Vec::new()];
        for round in 0..40 {
            let partition = round % 2;
            let ids =
                producer.append(PartitionId::new(partition), (5, Lengths::Mixed)).await.unwrap();
            sent[partition as usize].extend(ids);
        }
        producer.flush().await.unwrap();
        assert_eq!(producer.buffered_bytes(), 0);
        for (partition, sent) in (0..).zip(&sent) {
            assert_eq!(&records(&client, "a", partition).await, sent);
        }
        acknowledged_where_it_lies(&history, &sent);
    });
}

/// Every append is acknowledged, and its records lie in `sent` at its base offset.
fn acknowledged_where_it_lies(history: &Rc<RefCell<History>>, sent: &[Vec<RecordId>; 2]) {
    let events = events(history);
    let mut appends = 0;
    for event in &events {
        let Kind::AppendBegun { append, place, level, idempotent, records } = &event.kind else {
            continue;
        };
        appends += 1;
        assert!(*idempotent && level.is_none());
        let ended = events.iter().find_map(|event| match event.kind {
            Kind::AppendEnded { append: ended, outcome } if ended == *append => Some(outcome),
            _ => None,
        });
        let Some(Outcome::Acked { base_offset, duplicate: false, attempt }) = ended else {
            panic!("append {append} ended as {ended:?}")
        };
        let base = usize::try_from(base_offset).unwrap();
        let lies = &sent[place.partition as usize][base..base + records.len()];
        assert_eq!(lies, records, "append {append}");
        let attempts = events.iter().filter(|event| {
            matches!(event.kind, Kind::AppendSent { append: sent, attempt: number,
                session: Some(_), .. } if sent == *append && number == attempt)
        });
        assert_eq!(attempts.count(), 1, "append {append}");
    }
    assert!(appends > 20, "only {appends} batches");
}

#[test]
fn connections_that_are_cut_cost_a_producer_no_record_and_double_none() {
    with_disk(async |client: SimClient, history| {
        client.create_log("a", on_disk(1)).await.unwrap();
        let mut producer = Producer::open(&client, "a", small_batches()).await.unwrap();
        let mut sent = Vec::new();
        for _ in 0..60 {
            sent.extend(producer.append(FIRST, (7, Lengths::Mixed)).await.unwrap());
            time::sleep(Duration::from_micros(300)).await;
            client.reset_connections();
        }
        producer.flush().await.unwrap();
        assert_eq!(records(&client, "a", 0).await, sent);
        let outcomes = outcomes(&history);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Acked { .. })));
        let sent = events(&history).into_iter();
        let sent = sent.filter(|event| matches!(event.kind, Kind::AppendSent { .. })).count();
        assert!(sent > outcomes.len(), "nothing was sent twice in {sent} attempts");
    });
}

#[test]
fn batches_of_a_raw_append_lie_next_to_each_other() {
    with_server(async |client: SimClient, history| {
        let log = client.create_log("a", in_memory(1)).await.unwrap();
        let first = client.append_raw(raw(&log, vec![2, 3])).await;
        let acked = Outcome::Acked { attempt: 0, base_offset: 0, duplicate: false };
        assert_eq!(first, acked);
        for shard in 0..2 {
            let append = RawAppend { shard: Some(shard), ..raw(&log, vec![1]) };
            assert!(matches!(client.append_raw(append).await, Outcome::Acked { .. }));
        }
        let ids = (0..7).map(|sequence| RecordId { client: 1, sequence }).collect::<Vec<_>>();
        assert_eq!(records(&client, "a", 0).await, ids);
        let begun = events(&history).into_iter().find_map(|event| match event.kind {
            Kind::AppendBegun { place, idempotent, records, .. } => {
                Some((place, idempotent, records))
            }
            _ => None,
        });
        let place = Place { log: log.id.get(), partition: 0 };
        assert_eq!(begun, Some((place, false, ids[..5].to_vec())));
    });
}

#[test]
fn a_refused_append_is_refused_with_its_code() {
    with_server(async |client: SimClient, history| {
        let log = client.create_log("a", in_memory(1)).await.unwrap();
        let append = RawAppend { level: Some(Durability::Synced), ..raw(&log, vec![1]) };
        let Outcome::Refused(refusal) = client.append_raw(append).await else { panic!("taken") };
        assert_eq!(refusal.code, ErrorCode::DurabilityUnavailable.number());
        assert_eq!(records(&client, "a", 0).await, []);
        assert_eq!(outcomes(&history), [Outcome::Refused(refusal)]);
        let asked = events(&history).into_iter().find_map(|event| match event.kind {
            Kind::AppendBegun { level, .. } => level,
            _ => None,
        });
        assert_eq!(asked, Some(Level::Synced));
    });
}

#[test]
fn a_producer_of_a_deleted_log_ends_its_batches_as_refused() {
    with_server(async |client: SimClient, history| {
        client.create_log("a", in_memory(1)).await.unwrap();
        let mut producer = Producer::open(&client, "a", small_batches()).await.unwrap();
        producer.append(FIRST, (4, Lengths::Mixed)).await.unwrap();
        producer.flush().await.unwrap();
        client.delete_log("a").await.unwrap();
        let before = outcomes(&history).len();
        producer.append(FIRST, (4, Lengths::Mixed)).await.unwrap();
        producer.flush().await.unwrap();
        let after = outcomes(&history).split_off(before);
        assert!(!after.is_empty());
        assert!(after.iter().all(|outcome| matches!(outcome, Outcome::Refused(_))), "{after:?}");
    });
}

#[test]
fn a_reader_at_the_tail_gets_what_is_appended_later() {
    with_server(async |client: SimClient, history| {
        let log = client.create_log("a", in_memory(1)).await.unwrap();
        client.append_raw(raw(&log, vec![4])).await;
        let config = ConsumerConfig { from: StartFrom::Latest, ..ConsumerConfig::default() };
        let mut reader = Reader::open(&client, ("a", FIRST), config).await.unwrap();
        // Dropped midway, nothing is lost.
        assert!(time::timeout(Duration::from_millis(20), reader.next()).await.is_err());
        let late = client.clone();
        let task = spawn(async move { late.append_raw(raw(&log, vec![3])).await });
        let ReadStep::Batches(Batches { batches, low, high }) = reader.next().await else {
            panic!("an end")
        };
        assert!(matches!(task.await.unwrap(), Outcome::Acked { base_offset: 4, .. }));
        assert_eq!((low.get(), high.get()), (0, 7));
        assert_eq!(batches[0].offsets().start.get(), 4);
        let read = reads(&history).pop().unwrap();
        assert_eq!((read.from, read.next, read.records.len()), (4, 7, 3));
    });
}

#[test]
fn a_reader_that_begins_within_a_batch_sees_the_rest_of_it() {
    with_server(async |client: SimClient, history| {
        let log = client.create_log("a", in_memory(1)).await.unwrap();
        client.append_raw(raw(&log, vec![5, 5])).await;
        let from = StartFrom::Offset(pyralog_client::Offset::new(3));
        let config = ConsumerConfig { from, stop: Stop::AtEnd, ..ConsumerConfig::default() };
        let mut reader = Reader::open(&client, ("a", FIRST), config).await.unwrap();
        let ReadStep::Batches(batches) = reader.next().await else { panic!("an end") };
        assert_eq!(batches.records(), 7);
        assert!(matches!(reader.next().await, ReadStep::End(ReadEnd::Finished)));
        let read = &reads(&history)[0];
        assert_eq!((read.from, read.next, read.low, read.high), (3, 10, 0, 10));
        let offsets: Vec<u64> = read.records.iter().map(|seen| seen.offset).collect();
        assert_eq!(offsets, (3..10).collect::<Vec<_>>());
    });
}

#[test]
fn a_position_outside_a_partition_is_told_and_left_by_a_seek() {
    with_server(async |client: SimClient, history| {
        client.create_log("a", in_memory(1)).await.unwrap();
        let from = StartFrom::Offset(pyralog_client::Offset::new(9));
        let config = ConsumerConfig { from, stop: Stop::AtEnd, ..ConsumerConfig::default() };
        let mut reader = Reader::open(&client, ("a", FIRST), config).await.unwrap();
        for _ in 0..2 {
            let ReadStep::End(ReadEnd::OutOfRange { low, high }) = reader.next().await else {
                panic!("in range")
            };
            assert_eq!((low.get(), high.get()), (0, 0));
        }
        reader.seek(StartFrom::Earliest);
        assert!(matches!(reader.next().await, ReadStep::End(ReadEnd::Finished)));
        let refused = events(&history).into_iter().find_map(|event| match event.kind {
            Kind::ReadRefused(refused) => Some((refused.from, refused.refusal.code)),
            _ => None,
        });
        assert_eq!(refused, Some((Some(9), ErrorCode::OffsetOutOfRange.number())));
    });
}

#[test]
fn a_reader_of_a_deleted_log_ends() {
    with_server(async |client: SimClient, _| {
        client.create_log("a", in_memory(1)).await.unwrap();
        let config = ConsumerConfig::default();
        let mut reader = Reader::open(&client, ("a", FIRST), config).await.unwrap();
        client.delete_log("a").await.unwrap();
        assert!(matches!(reader.next().await, ReadStep::End(ReadEnd::LogGone)));
    });
}

#[test]
fn what_the_catalog_is_asked_and_says_is_written_down() {
    with_server(async |client: SimClient, history| {
        let log = client.create_log("a", in_memory(2)).await.unwrap();
        let again = client.create_log("a", in_memory(2)).await.unwrap_err();
        assert!(again.is(ErrorCode::LogExists) && !again.maybe_done, "{again}");
        let change = LogChanges { ttl_ms: Some(60_000), ..LogChanges::default() };
        client.alter_log("a", change).await.unwrap();
        assert_eq!(client.list_logs().await.unwrap().len(), 1);
        client.describe_log("a").await.unwrap();
        assert_eq!(client.delete_log("a").await.unwrap(), log.id);
        assert!(client.describe_log("a").await.unwrap_err().is(ErrorCode::UnknownLog));
        assert!(client.metadata("a").await.unwrap().is_none());

        let (mut asked, mut answers, mut seen, mut told) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for event in events(&history) {
            match event.kind {
                Kind::CatalogAsked { request, ask } => asked.push((request, ask)),
                Kind::CatalogAnswered { request, answer } => answers.push((request, answer)),
                Kind::CatalogSeen { present, .. } => seen.push(present),
                Kind::Watermarks(_) | Kind::MemoryObserved { .. } => told += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(asked[2].1, CatalogAsk::Alter { changes, .. }
            if changes.ttl_ms == Some(60_000)));
        let done = CatalogAnswer::Done { log: log.id.get() };
        assert_eq!(answers[0], (1, done));
        assert!(matches!(answers[1], (2, CatalogAnswer::Refused(refusal))
            if refusal.code == ErrorCode::LogExists.number()));
        assert_eq!(answers[2..], [(3, done), (4, done)]);
        let there = vec![("a".to_owned(), log.id.get())];
        assert_eq!(seen, [there.clone(), there, vec![], vec![]]);
        assert_eq!(told, 4, "watermarks and memory of two partitions");
    });
}

#[test]
fn an_abandoned_producer_leaves_its_batches_without_an_end() {
    with_server(async |client: SimClient, history| {
        client.create_log("a", in_memory(1)).await.unwrap();
        let config = ProducerConfig { linger: Duration::from_secs(9), ..small_batches() };
        let mut producer = Producer::open(&client, "a", config).await.unwrap();
        producer.append(FIRST, (3, Lengths::Mixed)).await.unwrap();
        producer.abandon();
        time::sleep(Duration::from_millis(20)).await;
        assert_eq!(outcomes(&history), []);
    });
}

#[test]
fn a_dropped_producer_delivers_what_it_was_given() {
    with_server(async |client: SimClient, history| {
        client.create_log("a", in_memory(1)).await.unwrap();
        let config = ProducerConfig { linger: Duration::from_secs(9), ..ProducerConfig::default() };
        let mut producer = Producer::open(&client, "a", config).await.unwrap();
        let sent = producer.append(FIRST, (3, Lengths::Mixed)).await.unwrap();
        drop(producer);
        while outcomes(&history).is_empty() {
            time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(records(&client, "a", 0).await, sent);
    });
}

#[test]
fn a_full_producer_waits_for_room() {
    with_server(async |client: SimClient, _| {
        client.create_log("a", in_memory(1)).await.unwrap();
        let config =
            ProducerConfig { batch_bytes: 4096, buffer_bytes: 8192, ..ProducerConfig::default() };
        let mut producer = Producer::open(&client, "a", config).await.unwrap();
        for _ in 0..100 {
            producer.append(FIRST, (10, Lengths::Mixed)).await.unwrap();
            // One record may take it over the limit, whatever its size.
            assert!(producer.buffered_bytes() < 8192 + (128 << 10));
        }
        producer.flush().await.unwrap();
        assert_eq!(records(&client, "a", 0).await.len(), 1000);
    });
}

#[test]
fn one_seed_makes_one_session_and_another_seed_another() {
    with_server(async |client: SimClient, history| {
        client.create_log("a", in_memory(1)).await.unwrap();
        for seed in [7, 7, 8] {
            let identity = Identity { number: 2 + u32::try_from(seed).unwrap(), seed };
            let config = client.config().clone();
            let other = SimClient::new(client.addresses(), config, identity, Rc::clone(&history));
            let mut producer =
                Producer::open(&other, "a", ProducerConfig::default()).await.unwrap();
            producer.append(FIRST, (1, Lengths::Mixed)).await.unwrap();
            producer.flush().await.unwrap();
        }
        let sessions: Vec<SessionUse> = events(&history)
            .into_iter()
            .filter_map(|event| match event.kind {
                Kind::AppendSent { session, .. } => session,
                _ => None,
            })
            .collect();
        assert_eq!(sessions[0], sessions[1]);
        assert_ne!(sessions[0].id, sessions[2].id);
    });
}

#[test]
fn descriptions_of_a_log_on_disk_tell_its_end() {
    with_disk(async |client: SimClient, history| {
        let log = client.create_log("a", on_disk(1)).await.unwrap();
        client.append_raw(raw(&log, vec![2])).await;
        let described = client.describe_log("a").await.unwrap();
        let PartitionInfo { low, high, end, .. } = described.partitions[0];
        assert_eq!((low.get(), high.get(), end.get()), (0, 2, 2));
        let watermarks = events(&history).into_iter().find_map(|event| match event.kind {
            Kind::Watermarks(watermarks) => Some((watermarks.high, watermarks.end)),
            _ => None,
        });
        assert_eq!(watermarks, Some((2, Some(2))));
    });
}
