//! Losses that may be, and losses that must not.

use crate::files::WIDE_ROT;
use crate::history::{
    CatalogAnswer, CatalogAsk, End, FinalRead, Kind, Level, LogChanges, Proven, Refusal, Seen,
    Target,
};
use crate::oracle::story::Story;

const ENDS: [End; 3] = [End::Stopped, End::Process, End::Power];
const LEVELS: [Level; 3] = [Level::Memory, Level::Written, Level::Synced];

/// The table of the module: whether what is acknowledged at a level survives an end.
fn survives(level: Level, end: End) -> bool {
    match end {
        End::Stopped => true,
        End::Process => level >= Level::Written,
        End::Power => level >= Level::Synced,
    }
}

#[test]
fn a_loss_is_a_violation_if_and_only_if_the_level_survives_the_end() {
    for level in LEVELS {
        for end in ENDS {
            let mut story = Story::of(Level::Memory);
            let append = story.leveled(level, 2);
            story.acked(append, 0);
            story.end(end);
            story.final_read(&[]);
            if survives(level, end) {
                story.assert_guilty("durability", "is lost");
            } else {
                story.assert_clean();
            }
        }
    }
}

#[test]
fn what_was_proven_survives_everything_whatever_its_level() {
    for end in ENDS {
        let mut story = Story::of(Level::Memory);
        let append = story.leveled(Level::Memory, 2);
        story.acked(append, 0);
        let (begun, place) = (story.mark(), story.place());
        let seen = Seen { offset: 1, content: Ok(story.records(append)[1]) };
        story.push(Kind::Proven(Proven { begun, place, seen }));
        story.end(end);
        let mut lost = story.clone();
        story.final_read(&[(append, 0)]);
        story.assert_clean();
        lost.final_read(&[]);
        lost.assert_guilty("durability", "is lost");
    }
}

#[test]
fn other_records_in_the_place_are_a_violation_if_and_only_if_the_level_survives_the_end() {
    for level in LEVELS {
        for end in ENDS {
            let mut story = Story::of(Level::Memory);
            let append = story.leveled(level, 2);
            story.acked(append, 0);
            story.end(end);
            story.wrote(3, 0);
            if survives(level, end) {
                story.assert_guilty("durability", "gave way to");
                let after = story.judge("offsets");
                assert!(after.iter().all(|what| what.contains("was taken")), "{after:?}");
            } else {
                story.assert_clean();
            }
        }
    }
}

#[test]
fn what_survives_is_clean_at_every_level_and_end() {
    for level in LEVELS {
        for end in ENDS {
            let mut story = Story::of(level);
            let append = story.wrote(2, 0);
            story.end(end);
            let next = story.wrote(1, 2);
            story.final_read(&[(append, 0), (next, 2)]);
            story.assert_clean();
        }
    }
}

#[test]
fn without_an_end_nothing_may_be_lost() {
    let mut story = Story::of(Level::Memory);
    story.wrote(2, 0);
    story.final_read(&[]);
    story.assert_guilty("durability", "is lost");
}

#[test]
fn an_append_in_flight_at_the_end_may_be_lost_or_not() {
    for there in [false, true] {
        let mut story = Story::new();
        let append = story.append(2);
        story.end(End::Power);
        story.unknown(append);
        story.final_read(if there { &[(1, 0)] } else { &[] });
        story.assert_clean();
    }
}

#[test]
fn an_answer_that_came_after_the_end_was_given_before_it() {
    let mut story = Story::of(Level::Written);
    let append = story.append(2);
    story.end(End::Power);
    story.acked(append, 0);
    story.final_read(&[]);
    story.assert_clean();
    let mut story = Story::of(Level::Synced);
    let append = story.append(2);
    story.end(End::Power);
    story.acked(append, 0);
    story.final_read(&[]);
    story.assert_guilty("durability", "is lost");
}

#[test]
fn the_attempt_that_was_answered_counts() {
    let mut story = Story::of(Level::Memory);
    let append = story.append(2);
    story.end(End::Process);
    story.sent(append);
    story.acked(append, 0);
    story.final_read(&[]);
    story.assert_guilty("durability", "is lost");
}

#[test]
fn a_recovery_that_makes_a_hole_is_a_violation() {
    // What is behind it was promised.
    let mut story = Story::of(Level::Memory);
    story.wrote(2, 0);
    let synced = story.leveled(Level::Synced, 2);
    story.acked(synced, 2);
    story.end(End::Power);
    story.final_read_without(&[(synced, 2)], &[(0, 2)]);
    assert_eq!(story.judge("durability"), Vec::<String>::new());
    let mut hole = story.clone();
    hole.wrote(1, 1);
    hole.assert_guilty("durability", "gave way to");
    // What is behind it stayed, though nobody promised.
    let mut story = Story::of(Level::Memory);
    let (one, next) = (story.append(2), story.append(2));
    story.acked(one, 0);
    story.acked(next, 2);
    story.end(End::Power);
    story.read(&[(next, 2)]);
    story.wrote(2, 0);
    story.assert_guilty("durability", "gave way to");
}

#[test]
fn what_readers_saw_survives_what_the_log_promises() {
    for end in ENDS {
        for level in LEVELS {
            let mut story = Story::of(level);
            let append = story.append(2);
            story.read(&[(append, 0)]);
            story.end(end);
            story.unknown(append);
            story.final_read(&[]);
            if survives(level, end) {
                story.assert_guilty("durability", "is lost");
            } else {
                story.assert_clean();
            }
        }
    }
}

#[test]
fn a_stronger_level_of_the_log_counts_from_the_answer_on() {
    let synced = LogChanges { level: Some(Level::Synced), ..LogChanges::default() };
    let mut story = Story::of(Level::Memory);
    story.wrote(2, 0);
    story.alter(synced);
    story.wrote(2, 2);
    story.end(End::Power);
    story.final_read(&[(1, 0)]);
    story.assert_guilty("durability", "1#2 to c1#3");
    let mut story = Story::of(Level::Memory);
    story.wrote(2, 0);
    story.alter_without_answer(synced);
    story.wrote(2, 2);
    story.end(End::Power);
    story.final_read(&[]);
    story.assert_clean();
}

#[test]
fn a_stop_loses_memory_only_if_calls_failed() {
    let mut story = Story::of(Level::Memory);
    story.wrote(2, 0);
    story.call_failed();
    story.end(End::Stopped);
    story.final_read(&[]);
    story.assert_clean();
    // Those of an earlier process are no excuse.
    let mut story = Story::of(Level::Memory);
    story.call_failed();
    story.end(End::Stopped);
    story.wrote(2, 0);
    story.end(End::Stopped);
    story.final_read(&[]);
    story.assert_guilty("durability", "is lost");
}

#[test]
fn a_stop_with_failed_calls_makes_nothing_safer() {
    let mut story = Story::of(Level::Written);
    story.wrote(2, 0);
    story.call_failed();
    story.end(End::Stopped);
    let mut power = story.clone();
    story.final_read(&[]);
    story.assert_guilty("durability", "is lost");
    power.end(End::Power);
    power.final_read(&[]);
    power.assert_clean();
}

#[test]
fn what_was_there_at_a_stop_survives_a_loss_of_power_behind_it() {
    let mut story = Story::of(Level::Memory);
    story.wrote(2, 0);
    story.end(End::Stopped);
    story.end(End::Power);
    story.final_read(&[]);
    story.assert_guilty("durability", "is lost");
}

#[test]
fn a_log_in_memory_loses_all_at_every_end() {
    for end in ENDS {
        let mut story = Story::in_memory(1 << 20);
        story.wrote(2, 0);
        story.end(end);
        let append = story.wrote(3, 0);
        story.final_read(&[(append, 0)]);
        story.assert_clean();
    }
}

#[test]
fn a_new_disk_has_nothing() {
    let mut story = Story::new();
    story.wrote(2, 0);
    story.wipe();
    story.create();
    let append = story.wrote(1, 0);
    story.final_read(&[(append, 0)]);
    story.assert_clean();
}

#[test]
fn damage_may_cost_records_if_it_is_reported() {
    let mut story = Story::new();
    let appends: Vec<u64> = (0..4).map(|at| story.wrote(2, 2 * at)).collect();
    story.strike("lost write");
    story.end(End::Power);
    let left = [(appends[0], 0), (appends[3], 6)];
    let mut silent = story.clone();
    story.final_read_without(&left, &[(2, 6)]);
    story.assert_clean();
    silent.final_read(&left);
    silent.assert_guilty("durability", "is lost");
}

#[test]
fn what_is_reported_is_not_dealt_again() {
    for fault in ["lost write", WIDE_ROT] {
        let mut story = Story::new();
        story.wrote(2, 0);
        story.wrote(2, 2);
        story.strike(fault);
        story.end(End::Power);
        let place = story.place();
        story.push(Kind::DamageReported { place, range: 0..2 });
        story.wrote(2, 0);
        story.assert_guilty("durability", "gave way to");
    }
    // A read that is refused promises nothing of the offsets.
    let mut story = Story::new();
    story.wrote(2, 0);
    story.strike(WIDE_ROT);
    story.read_refused(Some(0), Refusal { code: 602, a: 0, b: 2 });
    story.end(End::Power);
    story.wrote(2, 0);
    story.assert_clean();
    // What was reported later had been cut before, as far as anybody could tell.
    let mut story = Story::new();
    story.wrote(2, 0);
    story.strike(WIDE_ROT);
    story.end(End::Power);
    story.wrote(2, 0);
    let place = story.place();
    story.push(Kind::DamageReported { place, range: 0..2 });
    story.assert_clean();
}

#[test]
fn damage_at_the_end_may_go_unnoticed_for_as_many_writes_as_were_hit() {
    let story = |strikes: &[&'static str], kept: usize| {
        let mut story = Story::new();
        let appends: Vec<_> = (0..4).map(|at| (story.wrote(2, 2 * at), 2 * at)).collect();
        for fault in strikes {
            story.strike(fault);
        }
        story.end(End::Power);
        story.final_read(&appends[..kept]);
        story
    };
    story(&["lost write"], 3).assert_clean();
    story(&["lost write"], 2).assert_guilty("durability", "is lost");
    story(&["lost write", "bit rot"], 2).assert_clean();
    story(&["lost write", "bit rot"], 1).assert_guilty("durability", "is lost");
    // One that went elsewhere may have hit any number of others.
    story(&["misdirected write"], 0).assert_clean();
    story(&[WIDE_ROT], 0).assert_clean();
}

#[test]
fn appends_in_one_group_go_unnoticed_together() {
    let mut story = Story::new();
    let first = story.wrote(2, 0);
    let together: Vec<u64> = (0..5).map(|_| story.append(2)).collect();
    for (append, base) in together.into_iter().zip((2..).step_by(2)) {
        story.acked(append, base);
    }
    story.strike("bit rot");
    story.end(End::Process);
    story.final_read(&[(first, 0)]);
    story.assert_clean();
    story.final_read(&[]);
    story.assert_guilty("durability", "is lost");
}

#[test]
fn damage_behind_the_recovery_is_no_excuse() {
    let mut story = Story::new();
    story.wrote(2, 0);
    story.end(End::Power);
    let mut during = story.clone();
    story.push(Kind::Booted { shards: 1, lines: Vec::new() });
    story.strike("bit rot");
    story.final_read(&[]);
    story.assert_guilty("durability", "is lost");
    during.strike("bit rot");
    during.push(Kind::Booted { shards: 1, lines: Vec::new() });
    during.final_read(&[]);
    during.assert_clean();
}

#[test]
fn what_was_written_but_not_synced_may_go_behind_a_damaged_write() {
    let mut story = Story::of(Level::Written);
    for at in 0..4 {
        story.wrote(2, 2 * at);
    }
    story.strike("lost write");
    story.end(End::Process);
    story.final_read(&[]);
    story.assert_clean();
}

#[test]
fn evicted_records_are_not_lost() {
    let mut story = Story::in_memory(1 << 20);
    story.wrote_bytes(2, 0, 1 << 20);
    let left = story.wrote(2, 2);
    let begun = story.mark();
    let records = story.final_seen(left, 0..2, 2);
    let place = story.place();
    let damaged = Vec::new();
    let read = FinalRead { begun, place, low: 2, high: 4, records, damaged };
    story.push(Kind::FinalRead(read));
    story.assert_clean();
}

#[test]
fn a_deleted_log_that_a_damaged_catalog_brings_back_may_be_empty() {
    let mut story = Story::new();
    story.wrote(4, 0);
    let delete = CatalogAsk::Delete { name: "log".to_owned() };
    story.ask(delete, CatalogAnswer::Done { log: story.place().log });
    let mut sound = story.clone();
    story.push(Kind::Struck { target: Target::Catalog, fault: "lost write" });
    for story in [&mut story, &mut sound] {
        story.end(End::Process);
        story.final_read(&[]);
    }
    assert_eq!(story.judge("durability"), Vec::<String>::new());
    assert_ne!(sound.judge("durability"), Vec::<String>::new());
}
