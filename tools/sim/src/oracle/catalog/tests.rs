//! Logs that come and go as they may, and as they must not.

use crate::files::WIDE_ROT;
use crate::history::{
    CatalogAnswer, CatalogAsk, End, Kind, Level, LogSettings, Place, Refusal, Target,
};
use crate::oracle::story::{Story, durable};

fn create(name: &str) -> CatalogAsk {
    let settings = durable(Level::Synced);
    CatalogAsk::Create { name: name.to_owned(), settings }
}

fn delete(name: &str) -> CatalogAsk {
    CatalogAsk::Delete { name: name.to_owned() }
}

const fn done(log: u64) -> CatalogAnswer {
    CatalogAnswer::Done { log }
}

const fn refused(code: u16) -> CatalogAnswer {
    CatalogAnswer::Refused(Refusal { code, a: 0, b: 0 })
}

#[test]
fn the_life_of_a_log_is_clean() {
    let mut story = Story::new();
    story.ask(create("other"), done(8));
    story.seen_logs(None, &[("log", 7), ("other", 8)]);
    story.end(End::Power);
    story.seen_logs(Some(&["other"]), &[("other", 8)]);
    story.ask(create("other"), refused(302));
    story.ask(delete("other"), done(8));
    story.ask(delete("other"), refused(300));
    story.seen_logs(None, &[("log", 7)]);
    story.ask(create("other"), done(9));
    story.seen_logs(None, &[("log", 7), ("other", 9)]);
    story.assert_clean();
}

#[test]
fn a_log_that_is_gone_is_a_violation() {
    let gone = |tell: fn(&mut Story)| {
        let mut story = Story::new();
        story.end(End::Power);
        tell(&mut story);
        story
    };
    gone(|story| story.seen_logs(None, &[])).assert_guilty("catalog", "log log (id 7) is gone");
    gone(|story| story.seen_logs(Some(&["log"]), &[])).assert_guilty("catalog", "is gone");
    gone(|story| story.ask(delete("log"), refused(300))).assert_guilty("catalog", "is gone");
    gone(|story| story.read_refused(None, Refusal { code: 300, a: 0, b: 0 }))
        .assert_guilty("catalog", "log 7 is said not to exist");
    gone(|story| {
        let append = story.append(1);
        story.refused(append, 300);
    })
    .assert_guilty("catalog", "log 7 is said not to exist");
}

#[test]
fn a_log_that_was_only_seen_stays_as_well() {
    let mut story = Story::new();
    story.ask(create("other"), CatalogAnswer::Unknown);
    story.seen_logs(None, &[("log", 7)]);
    story.seen_logs(None, &[("log", 7), ("other", 8)]);
    // A core that has not heard of it yet.
    story.seen_logs(None, &[("log", 7)]);
    story.assert_clean();
    story.end(End::Power);
    story.seen_logs(None, &[("log", 7)]);
    story.assert_guilty("catalog", "log other (id 8) is gone");
}

#[test]
fn a_deletion_without_an_answer_may_be_done_or_not() {
    let mut story = Story::new();
    story.ask(delete("log"), CatalogAnswer::Unknown);
    story.seen_logs(None, &[("log", 7)]);
    story.seen_logs(None, &[]);
    story.ask(create("log"), done(8));
    story.assert_clean();
}

#[test]
fn a_deleted_log_that_is_there_is_a_violation() {
    let back = |tell: fn(&mut Story)| {
        let mut story = Story::new();
        story.ask(delete("log"), done(7));
        story.end(End::Process);
        tell(&mut story);
        story
    };
    back(|story| story.seen_logs(None, &[("log", 7)])).assert_guilty("catalog", "but was deleted");
    back(|story| story.read(&[])).assert_guilty("catalog", "7/0 answers, but was deleted");
    back(|story| {
        story.wrote(1, 0);
    })
    .assert_guilty("catalog", "7/0 answers, but was deleted");
    back(|story| story.ask(delete("log"), done(7))).assert_guilty("catalog", "was changed, but");
    back(|story| story.ask(create("log"), refused(302)))
        .assert_guilty("catalog", "refused as taken");
}

#[test]
fn an_answer_on_its_way_while_a_log_is_deleted_is_none() {
    let mut story = Story::new();
    let (flying, begun) = (story.append(1), story.mark());
    story.ask(delete("log"), done(7));
    story.acked(flying, 0);
    story.read_since(begun, &[(flying, 0)]);
    story.assert_clean();
}

#[test]
fn a_log_that_nobody_asked_for_is_a_violation() {
    let mut story = Story::new();
    story.seen_logs(None, &[("log", 7), ("ghost", 8)]);
    story.assert_guilty("catalog", "log ghost (id 8) is there, but nobody asked for it");
}

#[test]
fn a_log_that_is_asked_for_later_or_only_changed_is_not_there() {
    let mut story = Story::new();
    story.seen_logs(None, &[("log", 7), ("early", 8)]);
    story.ask(create("early"), CatalogAnswer::Unknown);
    story.assert_guilty("catalog", "log early (id 8) is there, but nobody asked for it");
    let mut story = Story::new();
    story.ask(delete("ghost"), CatalogAnswer::Unknown);
    story.seen_logs(None, &[("log", 7), ("ghost", 8)]);
    story.assert_guilty("catalog", "log ghost (id 8) is there, but nobody asked for it");
    let mut story = Story::new();
    story.ask(create("other"), done(8));
    story.seen_logs(None, &[("log", 7), ("other", 8)]);
    story.seen_logs(Some(&["other"]), &[("other", 9)]);
    story.assert_guilty("catalog", "log other (id 9) is there, but nobody asked for it");
    story.assert_guilty("catalog", "log other (id 8) is gone");
}

#[test]
fn a_name_is_taken_only_by_a_log_that_may_be_there() {
    let mut story = Story::new();
    story.ask(create("other"), CatalogAnswer::Unknown);
    story.ask(create("other"), refused(302));
    story.assert_clean();
    story.ask(create("free"), refused(302));
    story.assert_guilty("catalog", "free was refused as taken");
}

#[test]
fn an_id_that_is_dealt_again_is_a_violation() {
    let mut story = Story::new();
    story.ask(delete("log"), done(7));
    story.ask(create("other"), done(7));
    story.assert_guilty("catalog", "id 7 was dealt twice");
    story.assert_guilty("catalog", "log 7 is called other, and was called log");
}

#[test]
fn ids_out_of_order_are_a_violation() {
    let mut story = Story::new();
    story.ask(create("other"), done(6));
    story.assert_guilty("catalog", "id 6 was dealt after id 7");
}

#[test]
fn a_partition_that_is_said_not_to_exist_is_a_violation() {
    let mut story = Story::with(LogSettings { partitions: 3, ..durable(Level::Memory) });
    let unknown = Refusal { code: 301, a: 0, b: 0 };
    story.at(Place { log: 7, partition: 3 }, |story| {
        story.read_refused(None, unknown);
    });
    story.assert_clean();
    story.read_refused(None, unknown);
    story.assert_guilty("catalog", "7/0 is said not to exist, of 3 partitions");
}

#[test]
fn a_new_disk_is_a_new_catalog() {
    let mut story = Story::new();
    story.wipe();
    story.seen_logs(None, &[]);
    story.ask(create("first"), done(1));
    story.seen_logs(None, &[("first", 1)]);
    story.assert_clean();
}

#[test]
fn nothing_is_said_after_damage_to_the_catalog() {
    let mut story = Story::new();
    story.push(Kind::Struck { target: Target::Catalog, fault: "lost write" });
    story.end(End::Power);
    story.seen_logs(None, &[]);
    story.ask(create("log"), done(7));
    story.assert_clean();
    // Ids may be dealt again then, so what is told later says nothing of what was before.
    let mut story = Story::new();
    story.create_as("other", 8);
    story.seen_logs(Some(&["other"]), &[("other", 8)]);
    story.push(Kind::Struck { target: Target::Catalog, fault: WIDE_ROT });
    story.end(End::Power);
    story.create_as("other", 7);
    story.create_as("log", 8);
    story.assert_clean();
}
