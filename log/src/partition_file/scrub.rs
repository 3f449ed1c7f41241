//! Scrubbing: reads the closed segments whose files are here again, so that damage is found before a reader meets it.

use pyralog_runtime::buffer::Slice;
use pyralog_runtime::file::{self, DirectFile};
use pyralog_runtime::yield_if_needed;

use super::reader::is_of_generation;
use super::tree::roots::{leaf_of, read_root};
use super::{Files, Partition, Shell};
use crate::checkpoint::{DAMAGED_NAME, encode_damages};
use crate::ids::Offset;
use crate::index::Index;
use crate::merkle::{SegmentFold, SegmentRoot};
use crate::pace::Pace;
use crate::partition::{Closed, Phase, ReadError};
use crate::recovery::Damage;
use crate::recovery::scan::{Event, Scan};
use crate::recovery_file::Window;
use crate::segment::{FilePosition, segment_name};

/// What one pass over the closed segments of a partition has read and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Segments that were read.
    pub segments: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What of them is damaged, in file order, whether it was known before or not.
    pub damaged: Vec<Damage>,
    /// Records among these that nobody knew to be damaged.
    pub new_records: u64,
}

/// What was read of one segment.
struct Segment {
    bytes: u64,
    damages: Vec<Damage>,
    /// It is sound, and its records are not those that its root was made of.
    differs: bool,
}

impl Partition {
    /// Reads every closed segment whose file is here, oldest first, at `pace`: marks, headers and bodies of batches, and of
    /// logs with proofs their hashes, which must lead to the root of the segment. Damage
    /// that nobody knew is logged once and known to readers from then on, those of later lives included; what the object store
    /// has, too, is read from there from then on. A segment that the disk does not give is damaged
    /// as a whole, but readers go on trying. Nothing for a partition in memory. May be dropped at any time.
    ///
    /// # Errors
    /// If the partition closes before the end.
    pub async fn scrub(&self, pace: &Pace) -> Result<Scrubbed, ReadError> {
        let shell = &*self.shell;
        let mut scrubbed = Scrubbed::default();
        let Some(files) = &shell.files else { return Ok(scrubbed) };
        let mut last = None;
        while let Some(closed) = shell.closed_after(last) {
            last = Some(closed.base);
            shell.check_serving()?;
            if shell.is_in_store_only(files, &closed) {
                continue;
            }
            let segment = shell.scrub_segment(files, &closed, pace).await;
            if !shell.has(&closed) {
                continue; // It went, or was replaced, while it was read.
            }
            match segment {
                Ok(Some(mut segment)) => {
                    if segment.differs {
                        segment.damages = self.find_altered(files, &closed, pace).await?;
                    }
                    scrubbed.segments += 1;
                    scrubbed.bytes += segment.bytes;
                    let known = shell.machine.borrow().damages().len();
                    for damage in segment.damages {
                        scrubbed.new_records += shell.note_found(&damage);
                        scrubbed.damaged.push(damage);
                    }
                    if shell.machine.borrow().damages().len() > known {
                        shell.remember_damages(files).await;
                    }
                    if shell.can_heal(files, None) {
                        self.shell.heal(None).await;
                    }
                }
                Ok(None) => {}
                Err(ReadError::Closed) => return Err(ReadError::Closed),
                Err(error) => {
                    scrubbed.damaged.push(shell.unreadable(&closed, &error));
                    let hurt = error.is_of_the_disk().then_some(closed.base);
                    if shell.can_heal(files, hurt) {
                        self.shell.heal(hurt).await;
                    }
                }
            }
        }
        Ok(scrubbed)
    }

    /// The batches of a segment that are not those of the tree, although their checksums are right: somebody made these, too.
    async fn find_altered(
        &self,
        files: &Files,
        closed: &Closed,
        pace: &Pace,
    ) -> Result<Vec<Damage>, ReadError> {
        let shell = &*self.shell;
        let (log, partition, segment) = (shell.log, shell.partition, closed.base);
        let _reading = files.readers.reading(closed.base);
        let file = DirectFile::open(files.dir.join(segment_name(closed.base))).await?;
        let (mut window, mut scan) = (Window::default(), Scan::new(shell.subject(closed)));
        let (mut events, mut altered) = (Vec::new(), Vec::new());
        while let Ok(need) = scan.need() {
            let before = window.read_bytes;
            let bytes = window.fetch(&file, need.position, need.len).await?;
            pace.take(window.read_bytes - before).await;
            shell.check_serving()?;
            scan.supply(&bytes, &mut events);
            for event in events.drain(..) {
                let Event::Batch { header, position } = event else { continue };
                let end = position.plus(header.total_len() as u64);
                let Some(found) = leaf_of(&bytes, need, position).await else { continue };
                match self.altered(found, (segment, position..end)).await {
                    Ok(damage) => altered.extend(damage),
                    Err(error) => {
                        tracing::error!(%log, %partition, %segment, %error, "the records of a segment are not those of its root, and its tree does not say which are wrong");
                        return Ok(altered);
                    }
                }
            }
        }
        if altered.is_empty() {
            self.mend_root(files, closed).await;
        } else {
            tracing::error!(%log, %partition, %segment, batches = altered.len(), "records are not those that the tree was made of, and their checksums are right: somebody altered them");
        }
        Ok(altered)
    }
}

impl Shell {
    /// The first closed segment behind the one at `last`.
    fn closed_after(&self, last: Option<Offset>) -> Option<Closed> {
        let machine = self.machine.borrow();
        machine.closed().iter().find(|closed| last.is_none_or(|last| closed.base > last)).copied()
    }

    pub(super) fn is_in_store_only(&self, files: &Files, closed: &Closed) -> bool {
        !matches!(self.remote_of(files, closed), Ok(None))
    }

    fn check_serving(&self) -> Result<(), ReadError> {
        match self.machine.borrow().phase() {
            Phase::Closing | Phase::Closed => Err(ReadError::Closed),
            Phase::Open | Phase::Poisoned(_) | Phase::Starved(..) => Ok(()),
        }
    }

    /// Reads one segment from the disk; `None` if the file is not the segment any more.
    async fn scrub_segment(
        &self,
        files: &Files,
        closed: &Closed,
        pace: &Pace,
    ) -> Result<Option<Segment>, ReadError> {
        let _reading = files.readers.reading(closed.base);
        let file = DirectFile::open(files.dir.join(segment_name(closed.base))).await?;
        if !is_of_generation(&file, closed).await? {
            return Ok(None);
        }
        let mut window = Window::default();
        let fetch = async |position: FilePosition, len: usize| {
            let before = window.read_bytes;
            let bytes = window.fetch(&file, position, len).await?;
            pace.take(window.read_bytes - before).await;
            self.check_serving()?;
            Ok(bytes)
        };
        let root = match &self.tree {
            Some(_) => read_root(&files.dir, closed).await,
            None => None,
        };
        let mut fold = root.as_ref().map(|root| SegmentFold::new(root.batches.start));
        let (index, damages) = self.scan_closed(closed, fold.as_mut(), fetch).await?;
        let is_other = |(root, fold): (SegmentRoot, SegmentFold)| {
            (fold.node(), fold.next()) != (root.node, root.batches.end)
        };
        let is_whole = damages.is_empty() && index.end_offset() == closed.end;
        let differs = is_whole && root.zip(fold).is_some_and(is_other);
        Ok(Some(Segment { bytes: window.read_bytes, damages, differs }))
    }

    /// Reads all of a closed segment with `fetch`: its index, and what of it is damaged. The batches go into `fold`.
    pub(super) async fn scan_closed(
        &self,
        closed: &Closed,
        mut fold: Option<&mut SegmentFold>,
        mut fetch: impl AsyncFnMut(FilePosition, usize) -> Result<Slice, ReadError>,
    ) -> Result<(Index, Vec<Damage>), ReadError> {
        let mut scan = Scan::new(self.subject(closed));
        let (mut index, mut damages) = (Index::new(closed.base), Vec::new());
        let mut events = Vec::new();
        while let Ok(need) = scan.need() {
            let bytes = fetch(need.position, need.len).await?;
            scan.supply(&bytes, &mut events);
            for event in events.drain(..) {
                match event {
                    Event::Batch { header, position } => {
                        index.observe(&header, position);
                        if let Some(fold) = &mut fold
                            && let Some((leaf, _)) = leaf_of(&bytes, need, position).await
                        {
                            fold.push(leaf);
                        }
                    }
                    Event::Damaged(damage) => damages.push(damage),
                    Event::Cut(_) => {}
                }
            }
            yield_if_needed().await;
        }
        Ok((index, damages))
    }

    /// Makes a damage known, and says so, unless it is known. Returns how many records it adds.
    fn note_found(&self, damage: &Damage) -> u64 {
        let mut machine = self.machine.borrow_mut();
        let covers = |known: &Damage| {
            known.segment == damage.segment
                && known.offsets.start <= damage.offsets.start
                && damage.offsets.end <= known.offsets.end
                && (!damage.offsets.is_empty() || known == damage)
        };
        if machine.damages().iter().any(covers) {
            return 0;
        }
        tracing::error!(log = %self.log, partition = %self.partition, %damage, "scrubbing found damaged records");
        machine.note_damage(damage.clone());
        damage.offsets.end.since(damage.offsets.start)
    }

    /// Lists what is damaged for the next life, which does not read closed segments.
    pub(super) async fn remember_damages(&self, files: &Files) {
        let turn = files.removing.take().await;
        let bytes = encode_damages(self.machine.borrow().damages());
        if let Err(error) = file::write_small_atomic(files.dir.join(DAMAGED_NAME), bytes).await {
            tracing::warn!(log = %self.log, partition = %self.partition, %error, "damaged records not listed: after a restart they are found again");
        }
        drop(turn);
    }

    /// All of a segment, which the disk does not give now.
    fn unreadable(&self, closed: &Closed, error: &ReadError) -> Damage {
        let (log, partition, segment) = (self.log, self.partition, closed.base);
        tracing::error!(%log, %partition, %segment, end = %closed.end, %error, "scrubbing cannot read a segment");
        Damage {
            segment,
            positions: FilePosition::STREAM_START..closed.end_position,
            offsets: closed.base..closed.end,
        }
    }
}
