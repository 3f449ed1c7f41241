//! The high watermark is never below what was visible, nor below what was acknowledged at the level of the log.
//!
//! What is visible stays so until a recovery may have cut it; a recovery makes all that it keeps visible. An append that
//! was acknowledged at the level of the log, or above, has reached what visibility asks for (decision 5), so a reader that
//! asks after the acknowledgement sees it: clients read what they wrote. The end of the log is never below either, nor
//! below what was acknowledged at any level.
//!
//! Exact: the bound is of the moment at which the watermark was asked for, and falls at an end of the process to what a
//! recovery certainly keeps (see `evidence`).

use super::evidence::{Evidence, Partition, Window};
use super::{Violation, violation};
use crate::history::{Kind, Watermarks};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for partition in evidence.partitions.values() {
        too_low(evidence, partition, &mut violations);
    }
    ends(evidence, &mut violations);
    violations
}

fn too_low(evidence: &Evidence<'_>, partition: &Partition, violations: &mut Vec<Violation>) {
    for range in &partition.ranges {
        let least = partition.visible.least(range.window, &partition.cuts);
        if range.high < least {
            let what = format!(
                "the high watermark of {} is {}, although everything below {least} was visible",
                partition.place, range.high
            );
            violations.push(violation("high_watermark", evidence, [range.window.until], what));
        }
    }
}

/// The ends of logs: a description has both.
fn ends(evidence: &Evidence<'_>, violations: &mut Vec<Violation>) {
    for (event, entry) in evidence.numbered() {
        let Kind::Watermarks(Watermarks { begun, place, high, end: Some(end), .. }) = &entry.kind
        else {
            continue;
        };
        let window = Window { since: begun.0, until: event };
        let Some(life) = evidence.life_of(window) else { continue };
        let Some(partition) = evidence.partitions.get(&(life, *place)) else { continue };
        let least = partition.certain.least(window, &partition.cuts).max(*high);
        if *end < least {
            let what =
                format!("the end of {place} is {end}, although everything below {least} was taken");
            violations.push(violation("high_watermark", evidence, [event], what));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{End, Kind, Level, Watermarks};
    use crate::oracle::story::Story;

    #[test]
    fn a_high_watermark_below_an_acknowledgement_is_a_violation() {
        let mut story = Story::new();
        story.wrote(4, 0);
        story.watermarks(0, 4);
        story.assert_clean();
        story.watermarks(0, 3);
        story.assert_guilty("high_watermark", "everything below 4 was visible");
    }

    #[test]
    fn an_acknowledgement_below_the_level_of_the_log_is_not_visible_yet() {
        let mut story = Story::new();
        let append = story.leveled(Level::Memory, 4);
        story.acked(append, 0);
        story.watermarks(0, 0);
        story.assert_clean();
    }

    #[test]
    fn a_high_watermark_below_a_read_is_a_violation() {
        let mut story = Story::of(Level::Memory);
        let append = story.append(4);
        story.read(&[(append, 0)]);
        story.watermarks(0, 0);
        story.assert_guilty("high_watermark", "everything below 4 was visible");
    }

    #[test]
    fn a_high_watermark_that_goes_back_is_a_violation_at_any_level() {
        let mut story = Story::of(Level::Memory);
        story.watermarks(0, 9);
        story.watermarks(0, 8);
        story.assert_guilty("high_watermark", "everything below 9 was visible");
    }

    #[test]
    fn it_may_go_back_to_what_a_recovery_certainly_keeps() {
        let mut story = Story::of(Level::Memory);
        let kept = story.leveled(Level::Synced, 2);
        story.acked(kept, 0);
        story.wrote(4, 2);
        story.end(End::Power);
        story.watermarks(0, 2);
        story.assert_clean();
        story.watermarks(0, 1);
        story.assert_guilty("high_watermark", "everything below 2 was visible");
    }

    #[test]
    fn a_question_that_spans_an_end_may_be_answered_after_it() {
        let mut story = Story::of(Level::Memory);
        story.wrote(4, 0);
        let begun = story.mark();
        story.end(End::Power);
        story.watermarks_since(begun, 0, 0);
        story.assert_clean();
    }

    #[test]
    fn an_acknowledgement_that_spans_an_end_counts_if_its_level_survives_that() {
        for (level, bound) in [(Level::Synced, true), (Level::Written, false)] {
            let mut story = Story::of(level);
            let append = story.append(4);
            story.end(End::Power);
            story.acked(append, 0);
            story.watermarks(0, 3);
            if bound {
                story.assert_guilty("high_watermark", "everything below 4 was visible");
            } else {
                story.assert_clean();
            }
        }
        // After silent damage nothing is certain that was there before the end.
        let mut story = Story::new();
        let append = story.append(4);
        story.strike("bit rot");
        story.end(End::Power);
        story.acked(append, 0);
        story.watermarks(0, 0);
        story.assert_clean();
    }

    #[test]
    fn an_end_below_the_high_watermark_or_an_acknowledgement_is_a_violation() {
        let mut story = Story::new();
        let append = story.leveled(Level::Memory, 4);
        story.acked(append, 0);
        let (begun, place) = (story.mark(), story.place());
        let marks = Watermarks { begun, place, low: 0, high: 0, end: Some(3) };
        story.push(Kind::Watermarks(marks));
        story.assert_guilty("high_watermark", "everything below 4 was taken");
    }
}
