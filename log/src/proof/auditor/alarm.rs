//! What an auditor raises: what happened, where, and how it is told.

use std::ops::Range;

use crate::ids::Offset;
use crate::proof::Equivocation;
use crate::proof::audit::Change;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records are not what was signed, or not what the auditor read before.
    Changed(Change),
    /// A checkpoint covers fewer records than one before it.
    RolledBack,
    /// Two histories were signed.
    Forked,
    /// A checkpoint is signed by a key that is not trusted.
    BadSignature,
}

impl Kind {
    /// The word of reports; part of the interface.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Changed(Change::Altered) => "altered_record",
            Self::Changed(Change::Dropped) => "dropped_record",
            Self::Changed(Change::Reordered) => "reordered_records",
            Self::RolledBack => "rolled_back_log",
            Self::Forked => "forked_history",
            Self::BadSignature => "bad_signature",
        }
    }
}

/// An alarm about a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What happened.
    pub kind: Kind,
    /// Which offsets it concerns.
    pub offsets: Range<Offset>,
    /// What was expected and what was found.
    pub what: String,
    /// What convinces others, if there is something.
    pub evidence: Option<Box<Equivocation>>,
}

impl Alarm {
    /// An alarm without evidence for others.
    #[must_use]
    pub fn new(kind: Kind, offsets: Range<Offset>, what: impl Into<String>) -> Self {
        Self { kind, offsets, what: what.into(), evidence: None }
    }

    /// Adds two checkpoints that contradict each other; they are kept only if they do.
    #[must_use]
    pub fn with_evidence(mut self, evidence: Equivocation) -> Self {
        self.evidence = evidence.verify().is_ok().then(|| Box::new(evidence));
        self
    }

    /// A line for people.
    #[must_use]
    pub fn line(&self, log: &str, partition: u32) -> String {
        format!(
            "{} in log `{log}` partition {partition}, offsets {} to {} (exclusive): {}",
            self.kind.word(),
            self.offsets.start,
            self.offsets.end,
            self.what
        )
    }
}
