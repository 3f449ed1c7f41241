//! What is in the directory of a partition: gathered here, shown by `show`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use pyralog_log::checkpoint::{CHECKPOINT_NAME, DAMAGED_NAME};
use pyralog_log::ids::{LogId, Offset, PartitionId};
use pyralog_log::index::Index;
use pyralog_log::index::pphm::Map;
use pyralog_log::inspect::{CheckpointFacts, PartitionFacts, Seen, SegmentFound, Survey};
use pyralog_log::manifest::{MANIFEST_NAME, Manifest};
use pyralog_log::merkle::{TREE_STATE_NAME, read_published};
use pyralog_log::partition::Published;
use pyralog_log::recovery::{Damage, HeaderFound};
use pyralog_log::recovery_file::QUARANTINE_NAME;
use pyralog_log::segment::{
    FilePosition, SEGMENT_HEADER_BYTES, SegmentHeader, index_name, keys_name, parse_segment_name,
    segment_name,
};

use super::files::{Source, list, small};
use super::root::{Rehash, RootReport};
use crate::exit::Failure;

/// What to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Headers and small files.
    Summary,
    /// Every byte.
    Everything,
}

/// A small file: what it says, or that it is missing, or why it cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Small<T> {
    Missing,
    Sound(T),
    Unusable(String),
}

impl<T> Small<T> {
    pub(super) const fn sound(&self) -> Option<&T> {
        match self {
            Self::Sound(value) => Some(value),
            Self::Missing | Self::Unusable(_) => None,
        }
    }
}

/// An index beside a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Aside {
    Missing,
    /// It belongs to the segment and is sound, as far as it was looked at; with its entries or keys.
    Sound(u64),
    /// It is sound and ends before the segment does.
    Behind(Offset),
    /// It is made again at the next start, and why.
    Unusable(String),
}

/// A segment.
#[derive(Clone, Debug)]
pub(super) struct SegmentReport {
    pub(super) found: SegmentFound,
    pub(super) header: Option<SegmentHeader>,
    pub(super) index: Aside,
    pub(super) keys: Aside,
    pub(super) root: RootReport,
    /// Offset after its last record, as far as it is known without reading it.
    pub(super) end: Option<Offset>,
    /// What reading it came to.
    pub(super) survey: Option<Survey>,
    /// It changed while it was read, so what was found may be no damage.
    pub(super) moving: bool,
}

/// A partition.
#[derive(Debug)]
pub(super) struct PartitionReport {
    pub(super) dir: PathBuf,
    pub(super) checkpoint: Small<CheckpointFacts>,
    pub(super) known: Small<Vec<Damage>>,
    pub(super) segments: Vec<SegmentReport>,
    pub(super) quarantined: Vec<(String, u64)>,
    pub(super) manifest: Small<Manifest>,
    /// What was published of its Merkle tree. Missing without proofs, and where only one segment is looked at.
    pub(super) tree: Small<Published>,
    /// Records before the first segment that should be there.
    pub(super) front: Option<Damage>,
}

/// Gathers it. With `only`, of one segment.
pub(super) fn gather(
    dir: &Path,
    only: Option<Offset>,
    depth: Depth,
    visit: &mut dyn FnMut(SegmentFound, &Seen) -> Result<(), Failure>,
) -> Result<PartitionReport, Failure> {
    // In this order: retention first says in the manifest what is gone, then removes it.
    let (checkpoint, damaged) =
        (small(&dir.join(CHECKPOINT_NAME))?, small(&dir.join(DAMAGED_NAME))?);
    // It is about the partition, and one segment need not be its end.
    let tree = if only.is_none() { small(&dir.join(TREE_STATE_NAME))? } else { None };
    let found = segments(dir)?;
    let manifest = small(&dir.join(MANIFEST_NAME))?;
    let facts =
        PartitionFacts::read(checkpoint.as_deref(), damaged.as_deref(), manifest.as_deref());
    let mut report = PartitionReport {
        dir: dir.to_owned(),
        checkpoint: match facts.checkpoint() {
            Ok(None) => Small::Missing,
            Ok(Some(found)) => Small::Sound(found),
            Err(error) => Small::Unusable(error.to_string()),
        },
        known: match facts.damages() {
            Ok(_) if damaged.is_none() => Small::Missing,
            Ok(found) => Small::Sound(found.to_vec()),
            Err(error) => Small::Unusable(error.to_string()),
        },
        segments: Vec::new(),
        quarantined: list(&dir.join(QUARANTINE_NAME))?,
        manifest: match facts.manifest() {
            Ok(None) => Small::Missing,
            Ok(Some(found)) => Small::Sound(found.clone()),
            Err(error) => Small::Unusable(error.to_string()),
        },
        tree: match tree.as_deref().map(read_published) {
            None => Small::Missing,
            Some(Ok(found)) => Small::Sound(found),
            Some(Err(error)) => Small::Unusable(error.to_string()),
        },
        front: match (only, found.first()) {
            (None, Some(first)) => facts.missing_front(first.base),
            _ => None,
        },
    };
    for found in found {
        if only.is_some_and(|only| only != found.base) {
            continue;
        }
        // A segment that went since the directory was listed, by retention or deletion, is no concern of ours.
        if let Some(segment) = segment(dir, (found, depth), (&facts, &report.checkpoint), visit)? {
            report.segments.push(segment);
        }
    }
    Ok(report)
}

/// The segments of the directory, in order.
fn segments(dir: &Path) -> Result<Vec<SegmentFound>, Failure> {
    let names = list(dir)?;
    let bases: Vec<(Offset, u64)> =
        names.iter().filter_map(|(name, len)| Some((parse_segment_name(name)?, *len))).collect();
    let next = bases.iter().skip(1).map(|(base, _)| Some(*base)).chain([None]);
    Ok(bases
        .iter()
        .zip(next)
        .map(|((base, len), next)| SegmentFound { base: *base, len: *len, next })
        .collect())
}

fn segment(
    dir: &Path,
    (found, depth): (SegmentFound, Depth),
    (facts, checkpoint): (&PartitionFacts, &Small<CheckpointFacts>),
    visit: &mut dyn FnMut(SegmentFound, &Seen) -> Result<(), Failure>,
) -> Result<Option<SegmentReport>, Failure> {
    let Some(mut source) = Source::open(&dir.join(segment_name(found.base)))? else {
        return Ok(None);
    };
    let found = SegmentFound { len: source.len(), ..found };
    let block = source.read(0, SEGMENT_HEADER_BYTES)?.to_vec();
    let header = SegmentHeader::decode(&block);
    let known = checkpoint.sound().and_then(|checkpoint| {
        checkpoint.closed.iter().find(|(base, ..)| *base == found.base).map(|(_, end, _)| *end)
    });
    let index = read_index(dir, found.base, header.as_ref())?;
    let mut report = SegmentReport {
        found,
        header,
        index: Aside::Missing,
        keys: read_keys(dir, found.base, header.as_ref())?,
        root: RootReport::read(dir, found.base, header.as_ref())?,
        end: known.or(index.sound().map(Index::end_offset)),
        survey: None,
        moving: false,
    };
    let mut rebuilt = Index::new(found.base);
    if depth == Depth::Everything {
        let mut rehash = report.root.sound().map(|root| Rehash::new(dir, root));
        let survey = walk(&mut source, (facts, found), &block, &mut |seen, bytes| {
            if let Seen::Batch { header, position } = seen {
                rebuilt.observe(header, *position);
                if let Some(rehash) = &mut rehash {
                    rehash.take(header, *position, bytes);
                }
            }
            visit(found, seen)
        })?;
        report.moving = source.has_moved();
        if let Some(rehash) = rehash.filter(|_| survey.damages.is_empty() && !report.moving) {
            report.root = rehash.finish(&(found.base..survey.end));
        }
        report.end = Some(survey.end);
        report.survey = Some(survey);
    }
    report.index = judge_index(index, report.survey.as_ref(), &rebuilt);
    Ok(Some(report))
}

/// Walks through the segment. What it meets is shown with the bytes from there on.
fn walk(
    source: &mut Source,
    (facts, found): (&PartitionFacts, SegmentFound),
    block: &[u8],
    visit: &mut impl FnMut(&Seen, &[u8]) -> Result<(), Failure>,
) -> Result<Survey, Failure> {
    let mut scan = facts.scan(found, block, owner(source.path()));
    let mut outcome = Ok(());
    while let Some(need) = scan.need() {
        let len = usize::try_from(need.end - need.start).unwrap_or(usize::MAX);
        let bytes = source.read(need.start, len)?;
        scan.supply(bytes, &mut |seen| {
            if outcome.is_ok() {
                let at = match seen {
                    Seen::Batch { position, .. } => position.get() - need.start,
                    Seen::Damage(_) => 0,
                };
                let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
                outcome = visit(seen, from.unwrap_or_default());
            }
        });
        std::mem::replace(&mut outcome, Ok(()))?;
    }
    Ok(scan.survey())
}

/// Whose segments a directory holds, by its path: `logs/<log>/<partition>`. Nothing if it was copied elsewhere.
fn owner(segment: &Path) -> Option<(LogId, PartitionId)> {
    let mut above = segment.parent()?.components().rev();
    let mut number = || above.next()?.as_os_str().to_str()?.parse::<u64>().ok();
    let (partition, log) = (number()?, number()?);
    let logs = above.next()?.as_os_str() == "logs";
    let partition = u32::try_from(partition).ok()?;
    logs.then_some((LogId::new(log), PartitionId::new(partition)))
}

fn read_index(
    dir: &Path,
    base: Offset,
    header: Option<&SegmentHeader>,
) -> Result<Small<Index>, Failure> {
    let Some(bytes) = small(&dir.join(index_name(base)))? else { return Ok(Small::Missing) };
    let generation = header.map_or(0, |header| header.generation);
    Ok(match Index::decode(&bytes, generation, base) {
        Ok(index) => Small::Sound(index),
        Err(error) => Small::Unusable(error.to_string()),
    })
}

/// What the index is worth, after the segment was read if it was.
fn judge_index(index: Small<Index>, survey: Option<&Survey>, rebuilt: &Index) -> Aside {
    let index = match index {
        Small::Missing => return Aside::Missing,
        Small::Unusable(why) => return Aside::Unusable(why),
        Small::Sound(index) => index,
    };
    let Some(survey) = survey else { return Aside::Sound(index.len() as u64) };
    if survey.found.next.is_none() && index.end_offset() < survey.end {
        return Aside::Behind(index.end_offset());
    }
    // An index of before the damage knows more batches than are left.
    if index.agrees_with(rebuilt) || !survey.damages.is_empty() {
        return Aside::Sound(index.len() as u64);
    }
    Aside::Unusable("it does not describe the segment".to_owned())
}

fn read_keys(dir: &Path, base: Offset, header: Option<&SegmentHeader>) -> Result<Aside, Failure> {
    let Some(bytes) = small(&dir.join(keys_name(base)))? else { return Ok(Aside::Missing) };
    let map = match Map::open(&bytes) {
        Ok(map) => map,
        Err(error) => return Ok(Aside::Unusable(error.to_string())),
    };
    let directory = map.directory();
    let generation = header.map_or(0, |header| header.generation).to_le_bytes();
    if directory.header().tag[..8] != generation {
        return Ok(Aside::Unusable("it belongs to another segment".to_owned()));
    }
    Ok(Aside::Sound(directory.keys()))
}

impl PartitionReport {
    /// Every damage, those on the list and those found now, in order; without those that may be a matter of the moment.
    pub(super) fn damages(&self) -> Vec<Damage> {
        let mut all: Vec<Damage> = self.known.sound().cloned().unwrap_or_default();
        all.extend(
            self.front.iter().filter(|front| !all.contains(front)).cloned().collect::<Vec<_>>(),
        );
        for segment in self.segments.iter().filter(|segment| !segment.moving) {
            all.extend_from_slice(segment.root.altered());
            let Some(survey) = &segment.survey else {
                if header_is_lost(segment) {
                    all.push(whole(segment));
                }
                continue;
            };
            for damage in &survey.damages {
                let known = |known: &Damage| {
                    known.offsets.start <= damage.offsets.start
                        && damage.offsets.end <= known.offsets.end
                        && (!damage.offsets.is_empty() || known == damage)
                };
                if !all.iter().any(known) {
                    all.push(damage.clone());
                }
            }
        }
        all.sort_by_key(|damage| (damage.offsets.start, damage.positions.start));
        all
    }

    /// How much is wrong: damaged ranges, roots that are not those of the records though no batch is known to be altered, and the
    /// manifest or the tree if it cannot be used, which is as bad.
    pub(super) fn faults(&self) -> usize {
        let is_manifest_lost = matches!(self.manifest, Small::Unusable(_));
        let is_tree_lost = matches!(self.tree, Small::Unusable(_)) || self.missing_end().is_some();
        let of_nothing = |segment: &&SegmentReport| matches!(&segment.root, RootReport::Differs(_, altered) if altered.is_empty());
        let roots = self.segments.iter().filter(of_nothing).count();
        self.damages().len() + roots + usize::from(is_manifest_lost) + usize::from(is_tree_lost)
    }

    /// The records that a checkpoint of the tree covers and that are behind the end of what was read.
    pub(super) fn missing_end(&self) -> Option<Range<Offset>> {
        let covered = self.tree.sound()?.checkpoint.end_offset;
        let end = self.segments.last()?.survey.as_ref()?.end;
        (end < covered && !self.moves()).then_some(end..covered)
    }

    /// Offset of the first record that is there.
    pub(super) fn low(&self) -> Option<Offset> {
        let first = self.segments.first().map(|segment| segment.found.base);
        first.max(self.manifest.sound().map(|manifest| manifest.low))
    }

    /// Offset after the last record that is known to be there.
    pub(super) fn end(&self) -> Option<Offset> {
        let read = self.segments.last().and_then(|segment| segment.survey.as_ref());
        let read = read.map(|survey| survey.end);
        let known = self.checkpoint.sound().map(|checkpoint| checkpoint.offset);
        let index = self.segments.last().and_then(|segment| segment.end);
        read.or(known.max(index))
    }

    /// Bytes of its segment files.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.found.len).sum()
    }

    /// Whether a file changed while it was read.
    pub(super) fn moves(&self) -> bool {
        self.segments.iter().any(|segment| segment.moving)
    }
}

/// What was not read shows damage only in its header.
fn header_is_lost(segment: &SegmentReport) -> bool {
    segment.header.is_none()
}

fn whole(segment: &SegmentReport) -> Damage {
    let found = segment.found;
    Damage {
        segment: found.base,
        positions: FilePosition::new(0)..FilePosition::new(found.len),
        offsets: found.base..found.next.or(segment.end).unwrap_or(found.base).max(found.base),
    }
}

/// What a header is called.
pub(super) const fn header_word(state: HeaderFound) -> &'static str {
    match state {
        HeaderFound::Ours => "ok",
        HeaderFound::Unnamed => "without base offset",
        HeaderFound::Foreign => "of another segment",
        HeaderFound::Damaged => "damaged",
    }
}
