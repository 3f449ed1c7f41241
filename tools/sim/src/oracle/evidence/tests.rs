//! What histories prove: rules of recording, records and their appends, settings over time.

use crate::history::{
    CatalogAnswer, CatalogAsk, Content, End, History, Kind, Level, LogChanges, Outcome, Place,
    Read, RecordId, Seen,
};
use crate::oracle::evidence::{Evidence, Window};
use crate::oracle::story::{Story, durable};
use crate::oracle::{Violation, judge};

fn id(client: u32, sequence: u64) -> RecordId {
    RecordId { client, sequence }
}

fn whole(evidence: &Evidence<'_>) -> Window {
    let until = evidence.events().len();
    Window { since: until, until }
}

fn malformed(tell: impl FnOnce(&mut Story)) -> Vec<String> {
    let mut story = Story::new();
    tell(&mut story);
    let found = judge(story.history()).into_iter();
    found.filter(|found: &Violation| found.oracle == "history").map(|found| found.what).collect()
}

#[test]
fn a_history_that_breaks_its_rules_is_told() {
    let acked = Outcome::Acked { attempt: 9, base_offset: 0, duplicate: false };
    let twice = malformed(|story| {
        let append = story.wrote(1, 0);
        story.unknown(append);
    });
    assert_eq!(twice, ["append 1 is over"]);
    let late = malformed(|story| {
        let append = story.wrote(1, 0);
        story.sent(append);
    });
    assert_eq!(late, ["append 1 is over"]);
    let ended = malformed(|story| story.push(Kind::AppendEnded { append: 5, outcome: acked }));
    assert_eq!(ended, ["append 5 did not begin"]);
    let never = malformed(|story| {
        let append = story.append(1);
        story.push(Kind::AppendEnded { append, outcome: acked });
    });
    assert_eq!(never, ["attempt 9 was never sent"]);
    let begun = |append, records: &[RecordId]| Kind::AppendBegun {
        append,
        place: Place { log: 7, partition: 0 },
        level: None,
        idempotent: true,
        records: records.to_vec(),
    };
    let nothing = malformed(|story| story.push(begun(1, &[])));
    assert_eq!(nothing, ["an append without a record"]);
    let again = malformed(|story| {
        story.push(begun(1, &[id(1, 0)]));
        story.push(begun(1, &[id(1, 1)]));
    });
    assert_eq!(again, ["append 1 begins twice"]);
    for ids in [[id(1, 5), id(1, 6)], [id(1, 4), id(1, 5)], [id(1, 7), id(2, 0)]] {
        let shared = malformed(|story| {
            story.push(begun(1, &[id(1, 5), id(1, 6), id(1, 7)]));
            story.push(begun(2, &ids));
        });
        assert_eq!(shared.len(), 1, "{ids:?}: {shared:?}");
    }
    let apart = malformed(|story| {
        story.push(begun(1, &[id(1, 5), id(1, 6), id(1, 7)]));
        story.push(begun(2, &[id(1, 8), id(1, 4), id(2, 5)]));
    });
    assert_eq!(apart, Vec::<String>::new());
}

/// A history in which an append has records of anywhere.
fn scattered(found: &[RecordId]) -> History {
    let mut story = Story::new();
    let records = vec![id(5, 1), id(5, 2), id(4, 3), id(5, 9), id(4, 4), id(4, 0)];
    let place = story.place();
    let append = Kind::AppendBegun { append: 1, place, level: None, idempotent: true, records };
    story.push(append);
    story.push(Kind::AppendSent { append: 1, attempt: 0, session: None, bytes: 1 });
    let begun = story.mark();
    let contents = found.iter().map(|id| Content::Ok(*id));
    let records: Vec<_> =
        (0..).zip(contents).map(|(offset, content)| Seen { offset, content }).collect();
    let next = records.len() as u64;
    story.push(Kind::Read(Read {
        begun,
        place,
        from: 0,
        records,
        ids: Vec::new(),
        next,
        low: 0,
        high: next,
    }));
    story.history().clone()
}

#[test]
fn records_need_not_be_numbered_in_a_row() {
    let ids = [id(5, 1), id(5, 2), id(4, 3), id(5, 9), id(4, 4), id(4, 0)];
    let history = scattered(&ids);
    let evidence = Evidence::of(&history);
    let owners: Vec<_> = ids.iter().map(|id| evidence.owner(*id)).collect();
    assert_eq!(owners, (0..6).map(|at| Some((0, at))).collect::<Vec<_>>());
    for nobody in [id(5, 0), id(5, 3), id(4, 5), id(4, 1), id(3, 1), id(6, 1), id(5, 8)] {
        assert_eq!(evidence.owner(nobody), None, "{nobody}");
    }
    assert_eq!(judge(&history), []);
}

#[test]
fn records_that_change_their_places_within_an_append_are_noticed() {
    let swapped = [id(5, 1), id(4, 3), id(5, 2), id(5, 9), id(4, 4), id(4, 0)];
    assert!(judge(&scattered(&swapped)).iter().any(|found| found.oracle == "atomicity"));
}

fn levels(story: &Story, log: u64) -> (Level, Level) {
    let evidence = Evidence::of(story.history());
    let life = evidence.lives() - 1;
    evidence.logs.levels((life, log), whole(&evidence))
}

fn level_of(level: Level) -> LogChanges {
    LogChanges { level: Some(level), ..LogChanges::default() }
}

#[test]
fn the_level_of_a_log_is_that_of_the_last_change() {
    let mut story = Story::of(Level::Memory);
    assert_eq!(levels(&story, 7), (Level::Memory, Level::Memory));
    story.alter(level_of(Level::Synced));
    assert_eq!(levels(&story, 7), (Level::Synced, Level::Synced));
    story.alter(level_of(Level::Written));
    assert_eq!(levels(&story, 7), (Level::Written, Level::Written));
    story.alter(LogChanges { ttl_ms: Some(5), ..LogChanges::default() });
    assert_eq!(levels(&story, 7), (Level::Written, Level::Written));
}

#[test]
fn a_change_without_an_answer_is_possible_for_ever() {
    let mut story = Story::of(Level::Memory);
    story.alter_without_answer(level_of(Level::Synced));
    assert_eq!(levels(&story, 7), (Level::Memory, Level::Synced));
    story.alter(level_of(Level::Written));
    assert_eq!(levels(&story, 7), (Level::Written, Level::Synced));
}

#[test]
fn changes_that_overlap_may_come_in_any_order() {
    let mut story = Story::of(Level::Memory);
    let ask = |changes| CatalogAsk::Alter { name: "log".to_owned(), changes };
    story.push(Kind::CatalogAsked { request: 90, ask: ask(level_of(Level::Synced)) });
    story.push(Kind::CatalogAsked { request: 91, ask: ask(level_of(Level::Written)) });
    let open = levels(&story, 7);
    assert_eq!(open, (Level::Memory, Level::Synced));
    let answer = CatalogAnswer::Done { log: 7 };
    story.push(Kind::CatalogAnswered { request: 91, answer });
    story.push(Kind::CatalogAnswered { request: 90, answer });
    assert_eq!(levels(&story, 7), (Level::Written, Level::Synced));
}

#[test]
fn a_change_of_another_log_of_the_name_means_nothing() {
    let mut story = Story::of(Level::Memory);
    story.alter(level_of(Level::Synced));
    let delete = CatalogAsk::Delete { name: "log".to_owned() };
    story.ask(delete, CatalogAnswer::Done { log: 7 });
    story.create_as("log", 8);
    assert_eq!(levels(&story, 8), (Level::Memory, Level::Memory));
    story.ask(
        CatalogAsk::Alter { name: "log".to_owned(), changes: level_of(Level::Written) },
        CatalogAnswer::Done { log: 8 },
    );
    assert_eq!(levels(&story, 8), (Level::Written, Level::Written));
    assert_eq!(levels(&story, 7), (Level::Synced, Level::Synced));
}

#[test]
fn a_change_before_the_disk_was_replaced_means_nothing() {
    let mut story = Story::of(Level::Memory);
    story.alter(level_of(Level::Synced));
    story.wipe();
    story.create();
    assert_eq!(levels(&story, 7), (Level::Memory, Level::Memory));
}

#[test]
fn a_log_that_was_created_without_an_answer_is_known_by_its_name() {
    let mut story = Story::of(Level::Synced);
    let create = |level| CatalogAsk::Create { name: "other".to_owned(), settings: durable(level) };
    story.ask(create(Level::Written), CatalogAnswer::Unknown);
    story.seen_logs(None, &[("log", 7), ("other", 8)]);
    assert_eq!(levels(&story, 8), (Level::Written, Level::Written));
    // Of two that do not agree nobody knows which it was.
    let mut story = Story::of(Level::Synced);
    story.ask(create(Level::Written), CatalogAnswer::Unknown);
    story.ask(create(Level::Memory), CatalogAnswer::Unknown);
    story.seen_logs(None, &[("log", 7), ("other", 8)]);
    assert_eq!(levels(&story, 8), (Level::Memory, Level::Synced));
    // One that has its answer was another.
    let mut story = Story::of(Level::Synced);
    story.ask(create(Level::Memory), CatalogAnswer::Done { log: 8 });
    let delete = CatalogAsk::Delete { name: "other".to_owned() };
    story.ask(delete, CatalogAnswer::Done { log: 8 });
    story.ask(create(Level::Written), CatalogAnswer::Unknown);
    story.seen_logs(None, &[("log", 7), ("other", 9)]);
    assert_eq!(levels(&story, 9), (Level::Written, Level::Written));
}

#[test]
fn a_log_whose_id_was_dealt_twice_is_not_known() {
    let mut story = Story::of(Level::Synced);
    story.create_as("again", 7);
    assert_eq!(levels(&story, 7), (Level::Synced, Level::Synced));
    let settings = durable(Level::Written);
    let ask = CatalogAsk::Create { name: "other".to_owned(), settings };
    story.ask(ask, CatalogAnswer::Done { log: 7 });
    assert_eq!(levels(&story, 7), (Level::Memory, Level::Synced));
}

#[test]
fn a_log_that_nobody_knows_promises_nothing() {
    let mut story = Story::new();
    story.at(Place { log: 9, partition: 0 }, |story| {
        story.wrote(2, 0);
        story.end(End::Stopped);
        story.final_read(&[]);
    });
    story.assert_clean();
}
