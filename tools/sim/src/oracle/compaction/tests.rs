//! Histories of compacted logs: lawful ones, and one for each way of being wrong.

use crate::history::{End, Level, Life, LogChanges, LogSettings};
use crate::oracle::story::{Story, durable};

const MS: u64 = 1_000_000;

fn with(life: Life) -> Story {
    Story::with(LogSettings { life, ..durable(Level::Synced) })
}

/// A story of a log that is compacted at once.
fn compacted() -> Story {
    with(Life { is_compacted: true, ..Life::default() })
}

#[test]
fn what_was_replaced_may_be_gone() {
    let mut story = compacted();
    let one = story.wrote_keys(0, &[Some(1), Some(2), Some(1), None]);
    let other = story.wrote_keys(4, &[Some(2), Some(3)]);
    story.read_of(&[one, other], &[2, 3, 4, 5]);
    story.end(End::Power);
    story.final_read_of(&[one, other], &[2, 3, 4, 5]);
    story.assert_clean();
}

#[test]
fn the_oldest_value_in_the_place_of_the_newest_is_a_violation() {
    let mut story = compacted();
    let one = story.wrote_keys(0, &[Some(1), Some(1), Some(2)]);
    story.final_read_of(&[one], &[0, 2]);
    story.assert_guilty("compaction", "c1#1 at 1 of 7/0 is gone, and nothing newer of its key 1");
    story.assert_guilty_only("compaction");
}

#[test]
fn an_answer_that_comes_after_the_data_went_tells_of_the_life_before() {
    let mut story = compacted();
    let one = story.wrote_keys(0, &[Some(1), Some(1)]);
    let begun = story.mark();
    story.wipe();
    story.read_begun(begun, &[one], &[1]);
    story.assert_clean();
}

#[test]
fn a_record_without_a_key_that_is_gone_is_a_violation() {
    let mut story = compacted();
    let one = story.wrote_keys(0, &[None, Some(1)]);
    story.read_of(&[one], &[1]);
    story.assert_guilty("compaction", "has no key");
    story.assert_guilty_only("compaction");
}

#[test]
fn a_record_that_is_gone_within_the_lag_is_a_violation() {
    let mut story = with(Life { is_compacted: true, lag_ms: 5, ..Life::default() });
    let one = story.wrote_keys(0, &[Some(1), Some(1)]);
    let mut late = story.clone();
    story.read_of(&[one], &[1]);
    story.assert_guilty("compaction", "within the lag of 5 ms");
    late.pass(5 * MS);
    late.read_of(&[one], &[1]);
    late.assert_clean();
}

#[test]
fn a_gap_in_a_log_that_is_not_compacted_yet_is_a_violation() {
    let mut story = Story::new();
    let one = story.wrote_keys(0, &[Some(1), Some(1)]);
    story.read_of(&[one], &[1]);
    story.assert_guilty("reads", "has 1 where 0 belongs");
    let mut story = Story::new();
    let one = story.wrote_keys(0, &[Some(1), Some(1)]);
    let mut changes = LogChanges::default();
    changes.life.is_compacted = Some(true);
    story.alter(changes);
    story.read_of(&[one], &[1]);
    story.assert_clean();
}

#[test]
fn what_nobody_wrote_replaces_nothing() {
    let mut story = compacted();
    let one = story.wrote_keys(0, &[Some(1), Some(2)]);
    story.read_of(&[one], &[1]);
    story.assert_guilty("compaction", "nothing newer of its key 1 was sent");
    // Somebody may have, and a part of the log is all that was read.
    let mut story = compacted();
    let one = story.wrote_keys(0, &[Some(1), Some(2)]);
    story.sent_keys(&[Some(1)]);
    story.read_of(&[one], &[1]);
    story.assert_clean();
    // The whole of it has no newer one.
    story.final_read_of(&[one], &[1]);
    story.assert_guilty("compaction", "nothing newer of its key 1 is there");
}

#[test]
fn a_value_that_was_replaced_by_what_a_loss_of_power_took_is_a_violation() {
    let mut story = Story::with(LogSettings {
        life: Life { is_compacted: true, ..Life::default() },
        ..durable(Level::Written)
    });
    let one = story.wrote_keys(0, &[Some(1), Some(2)]);
    let other = story.wrote_keys(2, &[Some(1)]);
    story.read_of(&[one, other], &[0, 1, 2]);
    story.end(End::Power);
    story.final_read_of(&[one], &[0, 1]);
    story.assert_clean();
    story.final_read_of(&[one], &[1]);
    story.assert_guilty("compaction", "nothing newer of its key 1 is there");
}

#[test]
fn a_tombstone_stays_for_its_time() {
    let life = Life { is_compacted: true, tombstone_ms: 5, ..Life::default() };
    let mut story = with(life);
    let one = story.wrote_keys(0, &[Some(1), Some(-1), Some(2)]);
    story.final_read_of(&[one], &[1, 2]);
    story.assert_clean();
    let mut late = story.clone();
    story.final_read_of(&[one], &[2]);
    story.assert_guilty("compaction", "c1#1 at 1 of 7/0 is gone");
    late.pass(5 * MS);
    late.final_read_of(&[one], &[2]);
    late.assert_clean();
}

#[test]
fn a_value_that_outlives_its_tombstone_is_a_violation() {
    let mut story = compacted();
    let one = story.wrote_keys(0, &[Some(1), Some(-1), Some(2)]);
    story.read_of(&[one], &[2]);
    story.end(End::Process);
    story.read_of(&[one], &[0, 2]);
    story.assert_guilty("compaction", "the value at 0 of 7/0 is there, although");
}

#[test]
fn a_tombstone_may_go_while_somebody_reads() {
    let mut story = compacted();
    let one = story.wrote_keys(0, &[Some(1), Some(-1), Some(2)]);
    story.read_of(&[one], &[0, 2]);
    story.assert_clean();
}

#[test]
fn a_value_may_outlive_what_replaced_it_as_long_as_a_newer_one_is_there() {
    let mut story = compacted();
    let one = story.wrote_keys(0, &[Some(1), Some(-1), Some(1)]);
    story.read_of(&[one], &[0, 2]);
    story.read_of(&[one], &[0, 2]);
    story.assert_clean();
}

#[test]
fn what_took_the_offset_of_a_lost_record_is_not_that_record() {
    let mut story = Story::with(LogSettings {
        life: Life { is_compacted: true, ..Life::default() },
        ..durable(Level::Written)
    });
    let one = story.wrote_keys(0, &[Some(1)]);
    let _lost = story.wrote_keys(1, &[Some(1)]);
    story.end(End::Power);
    let other = story.wrote_keys(1, &[Some(2), Some(2)]);
    story.read_of(&[one, other], &[0, 2]);
    story.read_of(&[one, other], &[0, 2]);
    story.assert_clean();
}

#[test]
fn what_is_damaged_is_not_compacted() {
    let mut story = compacted();
    let one = story.wrote_keys(0, &[Some(1), Some(2)]);
    story.strike("bit rot");
    let place = story.place();
    story.push(crate::history::Kind::DamageReported { place, range: 0..1 });
    story.read_of(&[one], &[1]);
    assert_eq!(story.judge("compaction"), Vec::<String>::new());
}

#[test]
fn a_repetition_of_what_was_removed_must_not_be_appended_again() {
    let mut story = compacted();
    let one = story.sent_keys(&[Some(1)]);
    let other = story.wrote_keys(1, &[Some(1)]);
    story.read_of(&[one, other], &[0, 1]);
    story.read_of(&[one, other], &[1]);
    story.sent(one);
    story.acked(one, 2);
    story.assert_guilty("duplicates", "twice, at 0 and at 2");
}
