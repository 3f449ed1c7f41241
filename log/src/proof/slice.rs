//! Chunk slices: some bytes of a content, and proof that they are in the content with a given BLAKE3 hash.
//!
//! BLAKE3 hashes chunks of 1 KiB and joins them in a binary tree. A slice is a walk through that tree, parents before
//! children, left before right: a subtree without a disclosed chunk is its chaining value, one that is disclosed as a whole
//! is its bytes, any other is its two halves. The walk computes the hash of the whole.
//!
//! ```text
//! | content length u32 | runs u32 | runs x (first chunk u32, chunks u32) | the walk |
//! ```
//!
//! A chunk's chaining value depends on its place in the content. So a disclosed chunk that leads to the right hash *is* the
//! chunk of that place, whatever length the slice claims. The length itself is proven only if the last chunk is disclosed;
//! whoever needs it takes it from the disclosed bytes (a batch's header has it) and compares.
//!
//! The crate `bao-tree` was rejected: it keeps the tree in a file beside the content and encodes for streams over networks.
//! Here the whole content is at hand on one side and a few chunks on the other; `blake3::hazmat` and one recursion do.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{CHUNK_LEN, Hash, Hasher};

use crate::layout::u32_at;
use crate::limits::{BATCH_BYTES_MAX, SLICE_RUNS_MAX};

/// Bytes before the runs.
const FIXED_BYTES: usize = 8;

/// Bytes of a run.
const RUN_BYTES: usize = 8;

/// Why bytes are not a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SliceError {
    /// They end within the slice, or go on behind it.
    Length,
    /// The content is empty or longer than any batch.
    Content {
        /// Its length, as claimed.
        found: usize,
    },
    /// There is no run, or too many, or they are not in order, apart from each other and within the content.
    Runs,
}

impl fmt::Display for SliceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => {
                formatter.write_str("the slice has another length than its content needs")
            }
            Self::Content { found } => {
                write!(
                    formatter,
                    "a content of {found} bytes: at least 1, at most {BATCH_BYTES_MAX}"
                )
            }
            Self::Runs => {
                formatter.write_str("the runs of chunks are not in order, or outside the content")
            }
        }
    }
}

impl std::error::Error for SliceError {}

/// A run of chunks, counted from 0.
type Run = Range<usize>;

/// Discloses the chunks of `content` that hold `ranges`, which may overlap and be in any order. Hashes all of the content:
/// 0.2 ms for a MiB.
///
/// # Panics
/// If the content is empty or longer than [`BATCH_BYTES_MAX`], if a range is empty or leaves it, or if there is none: what
/// is disclosed is chosen by this program.
#[must_use]
pub fn disclose(content: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
    assert!((1..=BATCH_BYTES_MAX).contains(&content.len()), "a content of {} bytes", content.len());
    let runs = runs_of(content.len(), ranges);
    let number =
        |value: usize| u32::try_from(value).expect("it is below BATCH_BYTES_MAX").to_le_bytes();
    let mut out = Vec::new();
    out.extend_from_slice(&number(content.len()));
    out.extend_from_slice(&number(runs.len()));
    for run in &runs {
        out.extend_from_slice(&number(run.start));
        out.extend_from_slice(&number(run.len()));
    }
    walk_out(content, 0..content.len(), &runs, &mut out);
    out
}

/// The runs of chunks that hold `ranges`, in order, apart from each other.
fn runs_of(len: usize, ranges: &[Range<usize>]) -> Vec<Run> {
    let chunks = ranges.iter().map(|range| {
        assert!(range.start < range.end && range.end <= len, "{range:?} of {len} bytes");
        range.start / CHUNK_LEN..range.end.div_ceil(CHUNK_LEN)
    });
    let mut sorted: Vec<Run> = chunks.collect();
    sorted.sort_unstable_by_key(|run| run.start);
    let mut runs: Vec<Run> = Vec::with_capacity(sorted.len());
    for run in sorted {
        match runs.last_mut() {
            Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
            _ => runs.push(run),
        }
    }
    assert!((1..=SLICE_RUNS_MAX).contains(&runs.len()), "{} runs", runs.len());
    runs
}

/// How much of a subtree is disclosed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Part,
    All,
}

/// How much of the bytes of `place`, a subtree, the runs disclose.
fn shown(place: &Range<usize>, runs: &[Run]) -> Shown {
    let chunks = place.start / CHUNK_LEN..place.end.div_ceil(CHUNK_LEN);
    let touched = |run: &&Run| run.start < chunks.end && chunks.start < run.end;
    match runs.iter().find(touched) {
        None => Shown::Nothing,
        Some(run) if run.start <= chunks.start && chunks.end <= run.end => Shown::All,
        Some(_) => Shown::Part,
    }
}

/// The two halves of a subtree of more than one chunk.
fn halves(place: &Range<usize>) -> (Range<usize>, Range<usize>) {
    let left =
        usize::try_from(left_subtree_len(place.len() as u64)).expect("it is below the whole");
    let middle = place.start + left;
    (place.start..middle, middle..place.end)
}

/// The chaining value of the subtree `bytes` that begins at `start` and is not the whole content.
fn chaining_value(start: usize, bytes: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(start as u64).update(bytes).finalize_non_root()
}

/// Appends the subtree of `place` as the runs want it.
fn walk_out(content: &[u8], place: Range<usize>, runs: &[Run], out: &mut Vec<u8>) {
    match shown(&place, runs) {
        Shown::Nothing => out.extend_from_slice(&chaining_value(place.start, &content[place])),
        Shown::All => out.extend_from_slice(&content[place]),
        Shown::Part => {
            // One chunk is shown or not, so there are two halves. The depth is at most 13: 8 MiB have 2^13 chunks.
            let (left, right) = halves(&place);
            walk_out(content, left, runs, out);
            walk_out(content, right, runs, out);
        }
    }
}

/// A slice that was walked through. Invariant: if [`Slice::hash`] is the hash of a content, what [`Slice::read`] returns are
/// bytes of that content at that place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice<'a> {
    hash: Hash,
    content_len: usize,
    /// The runs by their place in the content, in order.
    runs: Vec<(Range<usize>, Cow<'a, [u8]>)>,
}

impl<'a> Slice<'a> {
    /// Walks through a slice of unknown origin.
    ///
    /// # Errors
    /// [`SliceError`] unless it is exactly what [`disclose`] writes for some content.
    pub fn open(bytes: &'a [u8]) -> Result<Self, SliceError> {
        let (fixed, rest) = bytes.split_at_checked(FIXED_BYTES).ok_or(SliceError::Length)?;
        let (content_len, count) = (u32_at(fixed, 0) as usize, u32_at(fixed, 4) as usize);
        if !(1..=BATCH_BYTES_MAX).contains(&content_len) {
            return Err(SliceError::Content { found: content_len });
        }
        if !(1..=SLICE_RUNS_MAX).contains(&count) {
            return Err(SliceError::Runs);
        }
        let (table, rest) = rest.split_at_checked(count * RUN_BYTES).ok_or(SliceError::Length)?;
        let runs = read_runs(table, content_len)?;
        let mut walk = Walk { rest, runs: &runs, parts: Vec::new() };
        let hash = walk.root(0..content_len)?;
        if !walk.rest.is_empty() {
            return Err(SliceError::Length);
        }
        let runs = join(walk.parts);
        Ok(Self { hash, content_len, runs })
    }

    /// The hash of the content that this is a slice of.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// The length of the content as claimed; see the module about what that is worth.
    #[must_use]
    pub const fn content_len(&self) -> usize {
        self.content_len
    }

    /// The bytes of `range`, or `None` if not all of them are disclosed.
    #[must_use]
    pub fn read(&self, range: Range<usize>) -> Option<&[u8]> {
        let within = |place: &Range<usize>| place.start <= range.start && range.end <= place.end;
        let (place, bytes) = self.runs.iter().find(|(place, _)| within(place))?;
        bytes.get(range.start - place.start..range.end - place.start)
    }
}

/// Reads the table of runs.
fn read_runs(table: &[u8], content_len: usize) -> Result<Vec<Run>, SliceError> {
    let chunks = content_len.div_ceil(CHUNK_LEN);
    let mut runs: Vec<Run> = Vec::with_capacity(table.len() / RUN_BYTES);
    for run in table.as_chunks::<RUN_BYTES>().0 {
        let (first, count) = (u32_at(run, 0) as usize, u32_at(run, 4) as usize);
        // Runs that touch would be one.
        let is_after = runs.last().is_none_or(|last| first > last.end);
        if count == 0 || !is_after || first >= chunks || count > chunks - first {
            return Err(SliceError::Runs);
        }
        runs.push(first..first + count);
    }
    Ok(runs)
}

/// The parts that touch, joined: a run may lie in several subtrees.
fn join(parts: Vec<(Range<usize>, &[u8])>) -> Vec<(Range<usize>, Cow<'_, [u8]>)> {
    let mut runs: Vec<(Range<usize>, Cow<'_, [u8]>)> = Vec::new();
    for (place, bytes) in parts {
        match runs.last_mut() {
            Some((last, joined)) if last.end == place.start => {
                joined.to_mut().extend_from_slice(bytes);
                last.end = place.end;
            }
            _ => runs.push((place, Cow::Borrowed(bytes))),
        }
    }
    runs
}

/// A walk through the tree of a slice.
struct Walk<'a, 'r> {
    rest: &'a [u8],
    runs: &'r [Run],
    parts: Vec<(Range<usize>, &'a [u8])>,
}

impl<'a> Walk<'a, '_> {
    /// The hash of the content, all of which is `place`.
    fn root(&mut self, place: Range<usize>) -> Result<Hash, SliceError> {
        if shown(&place, self.runs) == Shown::All {
            return Ok(blake3::hash(self.take_part(place)?));
        }
        let (left, right) = halves(&place);
        let (left, right) = (self.subtree(left)?, self.subtree(right)?);
        Ok(merge_subtrees_root(&left, &right, Mode::Hash))
    }

    /// The chaining value of a subtree.
    fn subtree(&mut self, place: Range<usize>) -> Result<ChainingValue, SliceError> {
        match shown(&place, self.runs) {
            Shown::Nothing => {
                let (value, rest) = self.rest.split_first_chunk().ok_or(SliceError::Length)?;
                self.rest = rest;
                Ok(*value)
            }
            Shown::All => {
                let start = place.start;
                Ok(chaining_value(start, self.take_part(place)?))
            }
            Shown::Part => {
                let (left, right) = halves(&place);
                let (left, right) = (self.subtree(left)?, self.subtree(right)?);
                Ok(merge_subtrees_non_root(&left, &right, Mode::Hash))
            }
        }
    }

    /// Takes the bytes of a disclosed subtree.
    fn take_part(&mut self, place: Range<usize>) -> Result<&'a [u8], SliceError> {
        let (bytes, rest) = self.rest.split_at_checked(place.len()).ok_or(SliceError::Length)?;
        self.rest = rest;
        self.parts.push((place, bytes));
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
