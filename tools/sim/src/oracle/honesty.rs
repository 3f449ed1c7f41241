//! An error is true: what was refused is not there, and what is called a repetition was sent before.
//!
//! - A refusal that promises that nothing was done (every retry class but `UnknownOutcome`, docs/PROTOCOL.md section 7)
//!   invites the client to send its records again, under another session or by another way. If they were taken all the
//!   same, silently, that makes a second copy that no session prevents. So a record whose append was refused in all its
//!   attempts is never seen, at any time. But a log of level `memory` shows what it has taken; if its files fail before the
//!   process ends, that was all it had, and what asked for more is refused and gone with the process.
//! - An acknowledgement that says `duplicate` speaks of an earlier attempt; if there was none, somebody else's offsets are
//!   being handed out.
//!
//! Exact: clients report a refusal only if every attempt was refused (see `history`).

use std::collections::BTreeMap;

use super::evidence::{Evidence, Window};
use super::{Violation, violation};
use crate::history::{Level, Outcome, Refusal};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let ends: Vec<usize> = evidence.ends().iter().map(|(event, _)| *event).collect();
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for (event, sightings) in &evidence.sightings {
        for sighting in sightings {
            if !may_have_gone(evidence, (sighting.append, *event), &ends) {
                seen.entry(sighting.append).or_insert(*event);
            }
        }
    }
    for (at, append) in evidence.appends.iter().enumerate() {
        match append.end {
            Some((event, Outcome::Refused(Refusal { code, .. }))) => {
                if let Some(read) = seen.get(&at) {
                    let what = format!(
                        "{} was refused (code {code}) and is in {} all the same",
                        evidence.name(at),
                        append.place
                    );
                    violations.push(violation("honesty", evidence, [event, *read], what));
                }
            }
            Some((event, Outcome::Acked { duplicate: true, .. })) if append.sent.len() < 2 => {
                let what = format!(
                    "{} was sent once and is said to have been there before",
                    evidence.name(at)
                );
                violations.push(violation("honesty", evidence, [append.begun, event], what));
            }
            _ => {}
        }
    }
    violations
}

/// Whether what an event shows of an append may have gone with the process that took it, as memory that was never written.
fn may_have_gone(evidence: &Evidence<'_>, (append, seen): (usize, usize), ends: &[usize]) -> bool {
    let append = &evidence.appends[append];
    let sent = append.first_sent();
    let Some(end) = ends.iter().find(|end| **end > sent) else { return false };
    let Some(life) = evidence.life_at(seen) else { return false };
    let window = Window { since: sent, until: seen + 1 };
    let (weakest, _) = evidence.logs.levels((life, append.place.log), window);
    let failed = evidence.partitions.get(&(life, append.place)).map(|partition| &partition.failed);
    let failed = failed.is_some_and(|failed| failed.iter().any(|at| sent < *at && at < end));
    seen < *end && weakest == Level::Memory && failed
}

#[cfg(test)]
mod tests {
    use crate::history::{End, Level};
    use crate::oracle::story::Story;

    #[test]
    fn what_was_seen_in_memory_may_be_refused_when_it_goes_with_the_process() {
        for (level, fails, again) in [
            (Level::Memory, true, false),
            (Level::Memory, true, true),
            (Level::Memory, false, false),
            (Level::Written, true, false),
        ] {
            let mut story = Story::of(level);
            let append = story.append(2);
            story.read(&[(append, 0)]);
            if fails {
                story.call_failed();
            }
            story.end(End::Stopped);
            story.refused(append, 0);
            if again {
                story.read(&[(append, 0)]);
            }
            let allowed = level == Level::Memory && fails && !again;
            assert_eq!(story.judge("honesty").is_empty(), allowed, "{level:?} {fails} {again}");
        }
    }

    #[test]
    fn what_was_refused_is_never_seen() {
        let mut story = Story::new();
        let append = story.append(2);
        story.refused(append, 500);
        story.assert_clean();
        story.read(&[(append, 0)]);
        story.assert_guilty("honesty", "refused (code 500)");
    }

    #[test]
    fn what_was_seen_is_never_refused() {
        let mut story = Story::new();
        let append = story.append(2);
        story.read(&[(append, 0)]);
        story.assert_clean();
        story.refused(append, 500);
        story.assert_guilty("honesty", "refused (code 500)");
    }

    #[test]
    fn what_is_unknown_may_be_there_or_not() {
        let mut story = Story::new();
        let (there, gone) = (story.append(2), story.append(2));
        story.unknown(there);
        story.unknown(gone);
        story.final_read(&[(there, 0)]);
        story.assert_clean();
    }

    #[test]
    fn a_first_attempt_is_no_repetition() {
        let mut story = Story::new();
        let append = story.append(2);
        story.duplicate(append, 0);
        story.assert_guilty("honesty", "said to have been there before");
    }
}
