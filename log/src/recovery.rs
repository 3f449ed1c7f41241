//! Recovery: what is found on disk selects exactly one row of a table, and the row says what to do.
//!
//! A segment is scanned group by group. Where the chain of groups stops, four facts decide:
//!
//! - what is at that place ([`Stop`]): no mark of ours; a mark whose group is not there as written;
//!   or a group whose headers are whole and bodies are not;
//! - whether a mark of ours follows somewhere behind it (`later`);
//! - whether a record at or behind the place was *promised*: some mark that was found, a later
//!   segment or the checkpoint says that it was on stable storage;
//! - whether the segment is the last one of its partition.
//!
//! The rule under the table: **what was promised is damage and is reported; what was not is a torn
//! tail and is cut.** A promise is only ever made after a successful sync, in a life in which none
//! has failed, of bytes that this life has written; so cutting can lose nothing that was acknowledged
//! as `synced`, and a torn write can never look like damage.
//!
//! | at the stop | later | promised | last | row |
//! |---|---|---|---|---|
//! | nothing | no | no | yes | [`Row::End`] |
//! | nothing | yes | no | yes | [`Row::CutHole`] |
//! | torn, rotten | any | no | yes | [`Row::CutTorn`] |
//! | any | any | no | no | [`Row::Leftover`] |
//! | rotten | any | yes | any | [`Row::SkipBatches`] |
//! | nothing, torn | yes | yes | any | [`Row::SkipGroups`] |
//! | nothing, torn | no | yes | any | [`Row::LoseRest`] |
//!
//! `scan` is the machine that walks, `adoption` the one that has written again what the walk found
//! and no promise covers; `recovery_file` reads and writes for them.

use std::fmt;
use std::ops::Range;

use crate::ids::Offset;
use crate::mark::Incarnation;
use crate::segment::FilePosition;

pub(crate) mod adoption;
pub(crate) mod scan;

/// What is found where the chain of groups stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// No mark of ours: zeros, content of another generation or incarnation, garbage, end of file.
    Nothing,
    /// A mark of ours, but the headers behind it are not those that it was written with.
    Torn,
    /// A mark of ours and the headers that belong to it, but a body does not match its checksum.
    Rotten,
}

impl Stop {
    /// All stops.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Torn, Self::Rotten];
}

/// The facts at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// What is there.
    pub stop: Stop,
    /// A mark of ours lies behind it in the same file.
    pub later: bool,
    /// A record at or behind it was on stable storage, says somebody who must know.
    pub promised: bool,
    /// No segment follows.
    pub last: bool,
}

/// What to do at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Row {
    /// The log ends here, as written.
    End,
    /// The last write was torn: end the log here.
    CutTorn,
    /// Writes that were never synced are missing here and present behind: end the log here and
    /// report what was dropped.
    CutHole,
    /// What an earlier cut left behind before the partition went on in the next segment: ignore.
    Leftover,
    /// Synced batches are damaged: quarantine exactly these, keep the rest of the group.
    SkipBatches,
    /// Synced groups are damaged: quarantine all up to the next mark of ours, go on there.
    SkipGroups,
    /// Synced groups are gone to the end of the segment: quarantine the rest; the partition goes on
    /// in a new segment behind the last promised record.
    LoseRest,
}

/// The rows: the facts that each matches (`None` matches any) and what it says.
type Pattern = (&'static [Stop], Option<bool>, Option<bool>, Option<bool>);

/// The decision table: every combination of facts matches exactly one pattern.
const TABLE: [(Pattern, Row); 7] = {
    const NOTHING: &[Stop] = &[Stop::Nothing];
    const BROKEN: &[Stop] = &[Stop::Torn, Stop::Rotten];
    const ROTTEN: &[Stop] = &[Stop::Rotten];
    const UNREADABLE: &[Stop] = &[Stop::Nothing, Stop::Torn];
    [
        // stop, later, promised, last
        ((NOTHING, Some(false), Some(false), Some(true)), Row::End),
        ((NOTHING, Some(true), Some(false), Some(true)), Row::CutHole),
        ((BROKEN, None, Some(false), Some(true)), Row::CutTorn),
        ((&Stop::ALL, None, Some(false), Some(false)), Row::Leftover),
        ((ROTTEN, None, Some(true), None), Row::SkipBatches),
        ((UNREADABLE, Some(true), Some(true), None), Row::SkipGroups),
        ((UNREADABLE, Some(false), Some(true), None), Row::LoseRest),
    ]
};

/// The row that the facts select.
///
/// # Panics
/// Never: a test enumerates the facts.
#[must_use]
pub fn decide(facts: Facts) -> Row {
    let row = TABLE.iter().find(|(pattern, _)| matches_facts(pattern, facts));
    row.map(|(_, row)| *row).expect("every combination of facts matches a row")
}

fn matches_facts(pattern: &Pattern, facts: Facts) -> bool {
    let (stops, later, promised, last) = pattern;
    stops.contains(&facts.stop)
        && later.is_none_or(|later| later == facts.later)
        && promised.is_none_or(|promised| promised == facts.promised)
        && last.is_none_or(|last| last == facts.last)
}

/// What the header block of a segment file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderFound {
    /// Sound, and it names this partition and the base offset of the file name.
    Ours,
    /// Sound, and it names this partition and no base offset, as in a file that is prepared: the
    /// write that put the base offset there was lost.
    Unnamed,
    /// Sound, but of another log, partition or base offset: no header that was written under this
    /// name, so the writes of that were lost.
    Foreign,
    /// Both copies are damaged.
    Damaged,
}

impl HeaderFound {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ours, Self::Unnamed, Self::Foreign, Self::Damaged];
}

/// What to do with a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileRow {
    /// Scan it.
    Scan,
    /// Write the header again, with the generation that the checkpoint remembers, or else the one
    /// that it has, then scan it.
    Mend,
    /// Nothing in it can be told from a former life: move the file to quarantine and report its
    /// offsets as damaged.
    Quarantine,
}

/// The row for a segment file; `remembered`: the checkpoint knows its generation.
///
/// A file is a segment of its partition because of its name, which it gets after its header. So a
/// header that says otherwise is damage, and never says that nothing was written here.
#[must_use]
pub const fn decide_file(header: HeaderFound, remembered: bool) -> FileRow {
    match (header, remembered) {
        (HeaderFound::Ours, _) => FileRow::Scan,
        (HeaderFound::Unnamed, _) | (HeaderFound::Foreign | HeaderFound::Damaged, true) => {
            FileRow::Mend
        }
        (HeaderFound::Foreign | HeaderFound::Damaged, false) => FileRow::Quarantine,
    }
}

/// How much of a partition its recovery reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// What the checkpoint does not vouch for.
    #[default]
    Unvouched,
    /// Every segment from its start, also those that the checkpoint vouches for: what has rotted since it was written
    /// is found. The checkpoint keeps its word about what was promised, and about sessions.
    Everything,
}

/// What is found of the segment of a swap that was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SwapFound {
    /// It waits under the name for that.
    pub staged: bool,
    /// It has the name of the first segment that it replaces.
    pub named: bool,
}

/// What to do with a swap that was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SwapRow {
    /// Give the segment its name, then remove those that it replaces.
    Finish,
    /// It has its name: remove those that it replaces.
    Finished,
    /// It is nowhere, so none that it replaces was touched: they stay.
    Undo,
}

/// The row for a swap. The manifest names it once its segment is on stable storage and before anything
/// is done to the others, so it is only undone if the disk lost that segment.
#[must_use]
pub const fn decide_swap(found: SwapFound) -> SwapRow {
    match found {
        SwapFound { named: true, .. } => SwapRow::Finished,
        SwapFound { staged: true, named: false } => SwapRow::Finish,
        SwapFound { staged: false, named: false } => SwapRow::Undo,
    }
}

/// A range of records that was promised and is not readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Base offset of the segment, as in its file name.
    pub segment: Offset,
    /// Where the damage lies in the file: the bytes that were copied to quarantine.
    pub positions: Range<FilePosition>,
    /// The records; empty if only marks were damaged.
    pub offsets: Range<Offset>,
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "offsets {}..{} at bytes {}..{} of segment {:020}",
            self.offsets.start,
            self.offsets.end,
            self.positions.start,
            self.positions.end,
            self.segment
        )
    }
}

/// The end that recovery gave to a log whose last writes were not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Base offset of the segment.
    pub segment: Offset,
    /// Where the log ends now.
    pub position: FilePosition,
    /// The next offset to be dealt.
    pub offset: Offset,
    /// Offset after the last record of any mark found behind the cut: up to it records were
    /// written, and dropped because records before them are missing. Equal to `offset` if none.
    pub dropped_below: Offset,
}

/// What a recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The partition was closed cleanly: nothing was scanned.
    pub clean: bool,
    /// Segments of the partition.
    pub segments: u64,
    /// Bytes read to find the end of the log.
    pub scanned_bytes: u64,
    /// Bytes written again, in whole blocks, because nothing said that they were on stable storage.
    pub rewritten_bytes: u64,
    /// Unfinished writes that were cut off.
    pub cut: Option<Cut>,
    /// All damaged ranges of the partition, those of earlier recoveries too, in order.
    pub damaged: Vec<Damage>,
    /// How many of them this recovery found.
    pub damaged_new: u64,
    /// Offset of the first record.
    pub low: Offset,
    /// The next offset to be dealt.
    pub end: Offset,
    /// The life that begins.
    pub incarnation: Incarnation,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_facts() -> impl Iterator<Item = Facts> {
        Stop::ALL.into_iter().flat_map(|stop| {
            (0..8).map(move |bits| Facts {
                stop,
                later: bits & 1 != 0,
                promised: bits & 2 != 0,
                last: bits & 4 != 0,
            })
        })
    }

    #[test]
    fn every_combination_of_facts_selects_exactly_one_row() {
        assert_eq!(all_facts().count(), 24);
        for facts in all_facts() {
            let rows = TABLE.iter().filter(|(pattern, _)| matches_facts(pattern, facts)).count();
            assert_eq!(rows, 1, "{facts:?}");
        }
    }

    #[test]
    fn every_row_is_selected_by_some_facts() {
        for (_, row) in TABLE {
            assert!(all_facts().any(|facts| decide(facts) == row), "{row:?}");
        }
    }

    #[test]
    fn what_was_promised_is_never_cut_and_what_was_not_is_never_damage() {
        for facts in all_facts() {
            let reports =
                matches!(decide(facts), Row::SkipBatches | Row::SkipGroups | Row::LoseRest);
            assert_eq!(reports, facts.promised, "{facts:?}");
        }
    }

    #[test]
    fn a_file_is_scanned_whenever_its_generation_is_known() {
        let rows =
            HeaderFound::ALL.map(|header| [false, true].map(|known| decide_file(header, known)));
        let expected = [
            [FileRow::Scan, FileRow::Scan],
            [FileRow::Mend, FileRow::Mend],
            [FileRow::Quarantine, FileRow::Mend],
            [FileRow::Quarantine, FileRow::Mend],
        ];
        assert_eq!(rows, expected);
    }
}
