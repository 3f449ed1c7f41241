//! The id service says that the clock is astray only if it was.
//!
//! A clock is followed within five seconds backwards (of what was reserved, at a start) and an hour forwards, and while it is not, the id service refuses, so that
//! its clients ask another node (`docs/SEQUENCERS.md`). That is an honest answer of a node whose clock was set wrong; of any
//! other it would be an outage.
//!
//! Lenient: any two moments between which clocks were moved by nearly that excuse it from then on, for a clock that was put right
//! has to be caught up with.

use super::evidence::Evidence;
use super::{Violation, violation};
use crate::history::Kind;

/// The code of a refusal because the clock cannot be believed.
const CLOCK_ASTRAY: u16 = 503;
/// Microseconds: less than five seconds by the two that the mark of another life, or of another core, may lie ahead of the clock,
/// and by what clocks that run wrong may add to a jump.
const LEAST_US: i64 = 2_500_000;

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let (mut off, mut least, mut most) = (0_i64, 0_i64, 0_i64);
    for (event, entry) in evidence.numbered() {
        match &entry.kind {
            Kind::ClockJumped { by_us } => {
                off += by_us;
                (least, most) = (least.min(off), most.max(off));
            }
            Kind::IdsRefused { refusal, .. }
                if refusal.code == CLOCK_ASTRAY && most - least < LEAST_US =>
            {
                let moved = (most - least) / 1_000;
                let what = format!("the clock is said to be astray, and was moved by {moved} ms");
                violations.push(violation("clock_astray", evidence, [event], what));
            }
            _ => {}
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use crate::history::{Kind, Refusal};
    use crate::oracle::story::Story;

    fn refused(story: &mut Story, code: u16) {
        let begun = story.mark();
        let refusal = Refusal { code, ..Refusal::default() };
        story.push(Kind::IdsRefused { begun, refusal });
    }

    #[test]
    fn a_clock_that_was_set_wrong_may_be_said_to_be() {
        for by_us in [-6_000_000, 3_700_000_000] {
            let mut story = Story::new();
            story.push(Kind::ClockJumped { by_us });
            refused(&mut story, 503);
            story.push(Kind::ClockJumped { by_us: -by_us });
            refused(&mut story, 503);
            story.assert_clean();
        }
    }

    #[test]
    fn a_clock_that_was_not_is_a_violation() {
        let mut story = Story::new();
        story.push(Kind::ClockJumped { by_us: 1_000_000 });
        story.push(Kind::ClockJumped { by_us: -2_400_000 });
        refused(&mut story, 500);
        story.assert_clean();
        refused(&mut story, 503);
        story.assert_guilty("clock_astray", "was moved by 2400 ms");
        story.assert_guilty_only("clock_astray");
    }
}
