//! What each line must say.

use std::path::PathBuf;
use std::time::Duration;

use pyralog_runtime::sim::{DiskFault, NetFault, NodeId, TraceEvent, TraceKind};
use pyralog_sim::history::{
    CatalogAnswer, CatalogAsk, CounterAnswer, CounterAsk, CounterMode, CounterState, End,
    FinalRead, History, IdRun, IdsDealt, Key, Level, Life, LogChanges, LogSettings, Mark as Begin,
    Outcome as AppendOutcome, Place, Read, ReadRefused, RecordId, Refusal, Seen, SessionUse,
    Storage, Target, WORLD, Watermarks,
};
use pyralog_sim::oracle::Violation;
use pyralog_sim::timeline::Answer;

use super::*;

const SERVER: NodeId = NodeId(0);
const CLIENT: NodeId = NodeId(1);
const PLACE: Place = Place { log: 3, partition: 1 };

fn nodes() -> Vec<String> {
    ["server", "client 0", "checker"].map(str::to_owned).to_vec()
}

/// The line of an event of the server's first core.
fn traced(kind: TraceKind) -> String {
    let event = TraceEvent { at: 1_234_567, node: Some(SERVER), shard: Some(0), kind };
    let line = world::lines(&nodes(), &[event]).next().unwrap();
    let rest = line.strip_prefix("      1.234567 server   core 0  ");
    rest.unwrap_or_else(|| panic!("{line:?}")).to_owned()
}

#[test]
fn each_kind_of_node_event_has_its_words() {
    for (kind, words) in [
        (TraceKind::Boot { shards: 1 }, "boots on 1 core"),
        (TraceKind::Boot { shards: 2 }, "boots on 2 cores"),
        (TraceKind::Crash { power: false }, "IS KILLED"),
        (TraceKind::Crash { power: true }, "LOSES POWER"),
        (TraceKind::Ended, "has ended in order"),
        (TraceKind::Wiped, "has an EMPTY DISK"),
        (TraceKind::Paused { until: 2_000_001 }, "PAUSED until 2.000001"),
        (TraceKind::Resumed, "goes on"),
        (TraceKind::ClockJumped { by_us: -7 }, "clock JUMPS by -7 us"),
        (TraceKind::Note("a\nb".to_owned()), "note: a | b"),
        (TraceKind::Panicked { message: "oh".to_owned(), durable: None }, "PANIC: oh"),
        (
            TraceKind::Panicked { message: "oh".to_owned(), durable: Some("writer") },
            "PANIC of writer, which ends the process: oh",
        ),
    ] {
        assert_eq!(traced(kind), words);
    }
}

#[test]
fn each_kind_of_network_event_has_its_words() {
    let (connection, to, from, bytes) = (7, CLIENT, CLIENT, 100);
    for (kind, words) in [
        (TraceKind::Connect { connection, to }, "c7 connect to client 0"),
        (
            TraceKind::Send { connection, to, bytes, arrives: Some(2_000_000) },
            "c7 send 100 bytes to client 0, there at 2.000000",
        ),
        (
            TraceKind::Send { connection, to, bytes, arrives: None },
            "c7 send 100 bytes to client 0, HELD",
        ),
        (TraceKind::Receive { connection, from, bytes }, "c7 receive 100 bytes from client 0"),
        (TraceKind::Closed { connection }, "c7 closed"),
        (TraceKind::Reset { connection }, "c7 RESET"),
        (TraceKind::Cut { from, to: NodeId(9) }, "CUT from client 0 to n9"),
        (TraceKind::Healed { from, to: SERVER }, "healed from client 0 to server"),
        (
            TraceKind::NetFault { fault: NetFault::Held, connection: Some(7) },
            "FAULT of the network: Held c7",
        ),
        (
            TraceKind::NetFault { fault: NetFault::Held, connection: None },
            "FAULT of the network: Held",
        ),
    ] {
        assert_eq!(traced(kind), words);
    }
}

#[test]
fn each_kind_of_disk_event_has_its_words() {
    let path = || PathBuf::from("/data/1.seg");
    let write = |sync, ok| {
        let (position, len, took) = (4096, 512, 1_500);
        TraceKind::Write { path: path(), position, len, sync, took, ok }
    };
    for (kind, words) in [
        (write(false, true), "write /data/1.seg 512 bytes at 4096 in 1.500 us"),
        (write(true, false), "write synced /data/1.seg 512 bytes at 4096 in 1.500 us FAILED"),
        (TraceKind::Sync { path: path(), took: 0, ok: true }, "sync /data/1.seg"),
        (
            TraceKind::Sync { path: path(), took: 7, ok: false },
            "sync /data/1.seg in 0.007 us FAILED",
        ),
        (
            TraceKind::Read { path: path(), position: 8, len: 9, ok: true },
            "read /data/1.seg 9 bytes at 8",
        ),
        (TraceKind::File { call: "rename", path: path(), ok: true }, "rename /data/1.seg"),
        (TraceKind::File { call: "open", path: path(), ok: false }, "open /data/1.seg failed"),
        (
            TraceKind::DiskFault { fault: DiskFault::Torn, path: path() },
            "FAULT of the disk: Torn /data/1.seg",
        ),
    ] {
        assert_eq!(traced(kind), words);
    }
}

#[test]
fn lines_are_aligned_whoever_it_was() {
    let event = |at, node, shard| TraceEvent { at, node, shard, kind: TraceKind::Resumed };
    let trace = [event(0, None, None), event(98_765_432_100_000, Some(CLIENT), Some(12))];
    let lines: Vec<_> = world::lines(&nodes(), &trace).collect();
    let expected =
        ["      0.000000 world            goes on", "98765432.100000 client 0 core 12 goes on"];
    assert_eq!(lines, expected);
}

fn record(client: u32, sequence: u64) -> RecordId {
    RecordId { client, sequence }
}

fn seen(offset: u64, sequence: u64) -> Seen {
    Seen { offset, content: Ok(record(1, sequence)) }
}

/// The words of what a client or the world recorded.
fn recorded(kind: &Kind) -> String {
    clients::Words(kind).to_string()
}

#[test]
fn what_is_asked_of_the_catalog_has_its_words() {
    let name = || "a".to_owned();
    let settings = LogSettings {
        partitions: 2,
        level: Level::Written,
        storage: Storage::Memory,
        memory_bytes_max: 9,
        ttl_ms: 8,
        life: Life {
            retention_ms: 7,
            retention_bytes: 6,
            is_compacted: true,
            lag_ms: 5,
            tombstone_ms: 4,
            is_tiered: true,
            is_proven: true,
        },
    };
    let changes =
        LogChanges { level: Some(Level::Synced), ttl_ms: Some(3), ..LogChanges::default() };
    for (ask, words) in [
        (
            CatalogAsk::Create { name: name(), settings },
            "create a, 2 partitions, Written, Memory, 9 bytes, for 8 ms, compacted, kept 7 ms, lag 5 ms, tombstones 4 ms, kept 6 bytes, tiered, proven",
        ),
        (CatalogAsk::Alter { name: name(), changes }, "alter a, Synced, for 3 ms"),
        (CatalogAsk::Delete { name: name() }, "delete a"),
    ] {
        let line = recorded(&Kind::CatalogAsked { request: 4, ask });
        assert_eq!(line, format!("catalog 4 asked: {words}"));
    }
    let refusal = Refusal { code: 301, a: 0, b: 0 };
    let unknown = Refusal { code: 65_535, a: 1, b: 2 };
    for (answer, words) in [
        (CatalogAnswer::Done { log: 7 }, "done: log 7"),
        (CatalogAnswer::Refused(refusal), "refused: UnknownPartition (301)"),
        (CatalogAnswer::Refused(unknown), "refused: unknown code (65535, 1, 2)"),
        (CatalogAnswer::Refused(Refusal::default()), "refused: the client gave up (0)"),
        (CatalogAnswer::Unknown, "UNKNOWN"),
    ] {
        let line = recorded(&Kind::CatalogAnswered { request: 4, answer });
        assert_eq!(line, format!("catalog 4 {words}"));
    }
    let present = vec![(name(), 1), ("b".to_owned(), 2)];
    let line = recorded(&Kind::CatalogSeen { begun: Begin(0), names: None, present });
    assert_eq!(line, "logs, asked for all: a=1 b=2");
}

#[test]
fn an_append_has_words_from_begin_to_end() {
    let records = vec![record(1, 4), record(1, 5), record(2, 6)];
    let begun = |level, idempotent| Kind::AppendBegun {
        append: 9,
        place: PLACE,
        level,
        idempotent,
        records: records.clone(),
    };
    let session = Some(SessionUse { id: 255, epoch: 1, sequence: 4 });
    let acked = |duplicate| AppendOutcome::Acked { attempt: 2, base_offset: 40, duplicate };
    let ended = |outcome| Kind::AppendEnded { append: 9, outcome };
    for (kind, words) in [
        (begun(None, true), "begun: c1#4..6 c2#6 (3 records) to 3/1, idempotent"),
        (
            Kind::Keyed {
                append: 9,
                keys: vec![
                    None,
                    Some(Key { number: 3, is_tombstone: false }),
                    Some(Key { number: 4, is_tombstone: true }),
                ],
            },
            "has keys: none 3 -4",
        ),
        (
            begun(Some(Level::Synced), false),
            "begun: c1#4..6 c2#6 (3 records) to 3/1, Synced, not idempotent",
        ),
        (
            Kind::AppendSent { append: 9, attempt: 2, session, bytes: 70 },
            "sent: attempt 2, 70 bytes, session ff epoch 1 sequence 4",
        ),
        (ended(acked(false)), "acknowledged at 40, attempt 2"),
        (ended(acked(true)), "acknowledged at 40, attempt 2, duplicate"),
        (ended(AppendOutcome::Refused(Refusal::default())), "refused: the client gave up (0)"),
        (ended(AppendOutcome::Unknown), "UNKNOWN"),
    ] {
        assert_eq!(recorded(&kind), format!("append 9 {words}"));
    }
}

#[test]
fn what_is_read_is_told_in_runs_and_never_without_what_is_wrong() {
    let wrong = Seen { offset: 30, content: Err("cut\nshort".to_owned()) };
    let mut records = vec![seen(10, 4), seen(11, 5), seen(12, 9)];
    let (begun, place) = (Begin(0), PLACE);
    let read = |records: &[Seen]| {
        let (next, low, high) = (14, 0, 20);
        Kind::Read(Read {
            begun,
            place,
            from: 10,
            records: records.to_vec(),
            ids: Vec::new(),
            next,
            low,
            high,
        })
    };
    let words = "read 3/1 from 10: 10..12=c1#4..6 12=c1#9 (3 records), next 14, low 0, high 20";
    assert_eq!(recorded(&read(&records)), words);
    records = (0..20).map(|number| seen(number * 2, number)).collect();
    records.push(wrong);
    let line = recorded(&read(&records));
    assert!(line.contains("10=c1#5 … 30=WRONG: cut | short (21 records)"), "{line}");
    let refused = ReadRefused { begun, place, from: Some(7), refusal: Refusal::default() };
    let words = "read 3/1 from 7 refused: the client gave up (0)";
    assert_eq!(recorded(&Kind::ReadRefused(refused)), words);
    let last =
        FinalRead { begun, place, low: 1, high: 2, records: vec![seen(1, 1)], damaged: vec![] };
    let words = "final read of 3/1: low 1, high 2, 1=c1#1 (1 record)";
    assert_eq!(recorded(&Kind::FinalRead(last.clone())), words);
    let damaged = FinalRead { damaged: std::iter::once(5..9).collect(), ..last };
    assert_eq!(recorded(&Kind::FinalRead(damaged)), format!("{words}, damaged [5..9]"));
    let told = Watermarks { begun, place, low: 1, high: 2, end: Some(3) };
    assert_eq!(recorded(&Kind::Watermarks(told)), "watermarks of 3/1: low 1, high 2, end 3");
    let line = recorded(&Kind::MemoryObserved { begun, place, bytes: 5 });
    assert_eq!(line, "3/1 holds 5 bytes");
}

#[test]
fn what_happens_to_the_server_has_its_words() {
    let text = |text: &str| text.to_owned();
    let partition = Target::Partition(PLACE);
    for (kind, words) in [
        (Kind::Ended { end: End::Power, wiped: false }, "SERVER ENDS: Power"),
        (
            Kind::Ended { end: End::Stopped, wiped: true },
            "SERVER ENDS: Stopped, and what it stored is gone",
        ),
        (
            Kind::Booted { shards: 2, lines: vec![text("x"), text("y\nz")] },
            "server serves on 2 cores; x; y | z",
        ),
        (Kind::BootFailed { reason: text("no") }, "server does NOT START: no"),
        (Kind::DamageReported { place: PLACE, range: 3..5 }, "damage reported in 3/1: 3..5"),
        (Kind::Struck { target: partition, fault: "bit rot" }, "STRUCK by bit rot: partition 3/1"),
        (
            Kind::CallFailed { target: Target::Catalog, fault: "EIO" },
            "a call FAILED with EIO: the catalog",
        ),
        (Kind::ClockJumped { by_us: -4 }, "the server's clock jumps by -4 us"),
        (Kind::ClockJumped { by_us: 0 }, "the server's clock runs wrong"),
        (Kind::FaultsStopped, "faults have stopped"),
        (Kind::Probed { what: text("it serves"), result: Ok(()) }, "probe: it serves"),
        (
            Kind::Probed { what: text("it serves"), result: Err(text("no")) },
            "probe FAILED: it serves: no",
        ),
        (Kind::Panicked { message: text("oh") }, "PANIC: oh"),
    ] {
        assert_eq!(recorded(&kind), words);
    }
}

#[test]
fn what_sequencers_are_asked_and_answer_has_its_words() {
    let begun = Begin(0);
    let name = || "a".to_owned();
    let reserve = CounterMode::Reserve { block: 8 };
    let state = CounterState { mode: reserve, last: 4, durable: 8 };
    let asked = |ask| Kind::CounterAsked { request: 3, name: name(), ask };
    let answered = |answer| Kind::CounterAnswered { request: 3, answer };
    let refusal = Refusal { code: 503, ..Refusal::default() };
    let first = (7 << 13) + 5;
    for (kind, words) in [
        (
            Kind::IdsDealt(IdsDealt { begun, slot: 9, first, count: 2 }),
            "ids dealt: slot 9 7ms+5 (2)",
        ),
        (Kind::IdsRefused { begun, refusal }, "ids refused: ClockAstray (503)"),
        (asked(CounterAsk::Create { mode: reserve }), "counter 3 asked: create a, reserve of 8"),
        (asked(CounterAsk::Take { count: 5 }), "counter 3 asked: take 5 of a"),
        (asked(CounterAsk::Raise { value: 6 }), "counter 3 asked: raise a above 6"),
        (asked(CounterAsk::Describe), "counter 3 asked: describe a"),
        (answered(CounterAnswer::Taken { first: 2, count: 3 }), "counter 3 took 2..=4"),
        (answered(CounterAnswer::State(state)), "counter 3 reserve of 8, last 4, durable 8"),
        (answered(CounterAnswer::Unknown), "counter 3 UNKNOWN"),
        (answered(CounterAnswer::Refused(refusal)), "counter 3 refused: ClockAstray (503)"),
        (answered(CounterAnswer::Behind), "counter 3 is BEHIND until somebody answers for it"),
        (answered(CounterAnswer::Unopened), "counter 3 deals NOTHING"),
        (
            Kind::CountersSeen { begun, counters: vec![(name(), Some(state)), (name(), None)] },
            "counters, asked for all: a: reserve of 8, last 4, durable 8; a: deals NOTHING",
        ),
        (Kind::SlotsTakenOver, "another machine goes on with the slots"),
        (Kind::Struck { target: Target::Marks, fault: "rot" }, "STRUCK by rot: the marks of ids"),
        (Kind::Struck { target: Target::Counters, fault: "rot" }, "STRUCK by rot: a counter"),
    ] {
        assert_eq!(recorded(&kind), words);
    }
    let id = (7 << 23) | (9 << 13) | 5;
    let ids = vec![IdRun { offset: 0, len: 2, id }, IdRun { offset: 2, len: 1, id: 0 }];
    let read =
        Read { begun, place: PLACE, from: 0, records: vec![], ids, next: 3, low: 0, high: 3 };
    let line = recorded(&Kind::Read(read));
    assert!(line.ends_with(", ids slot 9 7ms+5 (2) NONE"), "{line}");
}

/// A run in which one append was acknowledged, one was not, and one read was answered.
fn outcome() -> Outcome {
    let mut history = History::new();
    let begun = |append| Kind::AppendBegun {
        append,
        place: PLACE,
        level: None,
        idempotent: true,
        records: vec![record(0, append)],
    };
    let acked = AppendOutcome::Acked { attempt: 1, base_offset: 40, duplicate: false };
    history.push(1_000_000, 0, begun(1));
    let mark = history.mark();
    history.push(2_000_000, 0, Kind::AppendEnded { append: 1, outcome: acked });
    history.push(3_000_000, 0, begun(2));
    history.push(4_000_000, WORLD, Kind::FaultsStopped);
    let refused =
        ReadRefused { begun: mark, place: PLACE, from: None, refusal: Refusal::default() };
    history.push(5_000_000, 1_000, Kind::ReadRefused(refused));
    let violation = Violation {
        oracle: "durability",
        at: 5_000_000,
        what: "c0#1 is lost".to_owned(),
        events: vec![1, 9],
    };
    Outcome {
        violations: vec![violation],
        hash: 0xabc,
        polls: 12,
        elapsed: Duration::from_millis(2_500),
        struck: [("disk: Torn".to_owned(), 3), ("net: Held".to_owned(), 4)].into(),
        acked: 1,
        boots: 2,
        nodes: nodes(),
        history,
        ..Outcome::default()
    }
}

#[test]
fn the_history_is_printed_with_time_number_and_client() {
    let outcome = outcome();
    let events = outcome.history.events();
    let lines: Vec<_> = [1, 3].map(|index| history_line(index, &events[index])).into();
    let expected = [
        "      2.000000      1 client 0   append 1 acknowledged at 40, attempt 1",
        "      4.000000      3 world      faults have stopped",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn the_summary_has_what_two_runs_are_compared_by() {
    let expected = [
        "trace hash 0000000000000abc",
        "2.500 s of virtual time, 12 polls",
        "1 records acknowledged, 2 starts of the server",
        "7 strikes: disk: Torn 3, net: Held 4",
    ];
    assert_eq!(summary(&outcome()), expected);
    assert_eq!(summary(&Outcome::default())[3], "no fault struck");
}

#[test]
fn a_violation_is_printed_with_the_events_that_show_it() {
    let expected = [
        "1 violation",
        "durability at 5.000000 ms: c0#1 is lost",
        "      2.000000      1 client 0   append 1 acknowledged at 40, attempt 1",
        "                    9 is not in the history",
    ];
    assert_eq!(violations(&outcome()), expected);
    assert_eq!(violations(&Outcome::default()), ["nothing is wrong"]);
}

#[test]
fn many_violations_and_events_are_cut_short_and_counted() {
    let mut outcome = outcome();
    outcome.violations[0].events = vec![0; 20];
    outcome.violations = vec![outcome.violations[0].clone(); 30];
    let lines = violations(&outcome);
    assert_eq!(lines.len(), 1 + VIOLATIONS_MAX * (1 + EVIDENCE_MAX + 1) + 1);
    assert_eq!(lines[0], "30 violations");
    assert_eq!(lines[EVIDENCE_MAX + 2].trim(), "and 8 more");
    assert_eq!(lines.last().unwrap(), "and 10 more");
}

#[test]
fn the_picture_has_requests_phases_and_violations() {
    let request = |at: u64, node, until: Option<u64>, answer, text: &str| Mark {
        at: at * 1_000_000,
        text: text.to_owned(),
        kind: MarkKind::Request { node, until: until.map(|until| until * 1_000_000), answer },
    };
    let phase = |at, text: &str| Mark { at, text: text.to_owned(), kind: MarkKind::Phase };
    let evidence = vec![
        (2_000_000, "1 client 0   append 1 acknowledged at 40, attempt 1".to_owned()),
        (0, "is not in the history".to_owned()),
    ];
    let first = "append 1 c0#1 (1 record) to 3/1, idempotent: acknowledged at 40, attempt 1";
    let second = "append 2 c0#2 (1 record) to 3/1, idempotent: no outcome";
    let expected = [
        request(1, 1, Some(2), Answer::Done, first),
        // Of the checker, which no node is called by its number; asked after the first event.
        request(1, 2, Some(5), Answer::Refused, "read 3/1 refused: the client gave up (0)"),
        request(3, 1, None, Answer::Unknown, second),
        phase(0, "faults strike"),
        phase(4_000_000, "faults have stopped: everything must serve"),
        Mark {
            at: 5_000_000,
            text: "durability: c0#1 is lost".to_owned(),
            kind: MarkKind::Violation { evidence },
        },
    ];
    assert_eq!(marks(&outcome()), expected);
}

#[test]
fn a_timeline_is_written_or_the_reason_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.html");
    write_timeline(&path, &Scenario::draw(7), &outcome()).unwrap();
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.contains("<h1>seed 7: "), "{}", &page[..400]);
    assert!(page.contains("trace hash 0000000000000abc · 2.500 s"));
    assert!(page.contains("--seed 7"));
    let nowhere = folder.path().join("not/there.html");
    let problem = write_timeline(&nowhere, &Scenario::draw(7), &outcome()).unwrap_err();
    assert!(problem.contains("there.html: No such file"), "{problem}");
}
