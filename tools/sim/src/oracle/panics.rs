//! No task panics.
//!
//! What can happen is a value; what cannot is an assertion. Peers, disks, clocks and users never trip one. So whatever
//! was broken, a panic is a mistake in the code that panicked.

use super::evidence::Evidence;
use super::{Violation, violation};
use crate::history::Kind;

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let panics = evidence.numbered().filter_map(|(event, entry)| match &entry.kind {
        Kind::Panicked { message } => Some((event, message)),
        _ => None,
    });
    panics
        .map(|(event, message)| {
            violation("panics", evidence, [event], format!("panicked: {message}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::history::Kind;
    use crate::oracle::story::Story;

    #[test]
    fn a_panic_is_a_violation() {
        let mut story = Story::new();
        story.assert_clean();
        story.push(Kind::Panicked { message: "index out of bounds".to_owned() });
        story.assert_guilty("panics", "index out of bounds");
    }
}
