//! All oracles on histories of a toy: silent as long as it does only what it may, and not with any of its bugs.

use std::collections::BTreeSet;

use super::judge;
use toy::{Bug, Toy};

mod disk;
mod toy;

/// Steps of a run.
const STEPS: usize = 400;

/// The oracles that complain about a run.
fn complaints(seed: u64, bug: Option<Bug>) -> BTreeSet<&'static str> {
    judge(&Toy::run(seed, bug, STEPS)).into_iter().map(|violation| violation.oracle).collect()
}

#[test]
fn nobody_complains_about_what_may_happen() {
    for seed in 0..300 {
        let history = Toy::run(seed, None, STEPS);
        let violations: Vec<_> = judge(&history).iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }
}

/// One of these oracles complains about the bug within so many seeds.
fn found(bug: Bug, oracles: &[&str]) {
    let named = |seed| complaints(seed, Some(bug)).iter().any(|found| oracles.contains(found));
    assert!((0..200).any(named), "{bug:?}");
}

macro_rules! bugs {
    ($($name:ident: $bug:ident by $($oracle:literal),+;)+) => {
        $(#[test]
        fn $name() {
            found(Bug::$bug, &[$($oracle),+]);
        })+
    };
}

bugs! {
    an_ack_before_the_sync_is_found: AckBeforeSync by "durability";
    a_cut_of_one_group_too_many_is_found: CutTooMuch by "durability";
    a_stop_that_loses_memory_is_found: StopIsACrash by "durability";
    a_torn_tail_taken_for_damage_is_found: TornIsDamage by "damage";
    half_an_append_is_found: HalfAnAppend by "atomicity";
    a_forgotten_session_is_found: SessionsAreForgotten by "duplicates";
    damage_taken_for_a_torn_tail_is_found: DamageIsATornTail by "durability";
    damage_without_a_report_is_found: DamageIsNotReported by "durability";
    a_duplicate_is_found: DuplicateIsTaken by "duplicates";
    an_offset_dealt_twice_is_found: OffsetIsReused by "offsets";
    a_read_of_what_is_not_committed_is_found: UncommittedIsRead by "durability";
    a_high_watermark_that_goes_back_is_found: HighGoesBack by "high_watermark";
    a_low_watermark_that_goes_back_is_found: LowGoesBack by "low_watermark";
    an_eviction_of_too_much_is_found: EvictsTooMuch by "low_watermark";
    a_budget_that_is_not_kept_is_found: EvictsTooLate by "memory_budget";
    a_refusal_that_took_effect_is_found: RefusedIsTaken by "honesty";
    a_wrong_offset_in_an_answer_is_found: AckIsOffByOne by "offsets", "duplicates";
    a_lost_creation_is_found: CreationIsLost by "catalog";
    a_lost_deletion_is_found: DeletionIsLost by "catalog";
    an_id_dealt_twice_is_found: IdIsReused by "catalog";
    wrong_bytes_are_found: BytesAreWrong by "content";
    a_read_that_leaves_out_records_is_found: ReadSkips by "reads";
}
