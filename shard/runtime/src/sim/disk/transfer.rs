//! Writes, reads and syncs of one file: direct ones with a beginning and an end, and whole-file ones at once.

use std::io;
use std::ops::Range;

use rustix::io::Errno;

use super::content::{PAGE, Payload, Persist, SECTOR, Stamp, WHOLE, index};
use super::dice::Dice;
use super::names::Inode;
use super::{Disk, File, Flush, Handle, SyncId, Write, WriteId};
use crate::rng::Rng;
use crate::sim::faults::DiskFault;

impl Disk {
    /// Begins a write: from now on, a crash may keep any part of it. Position and length are multiples of 512.
    pub(crate) fn begin_write(
        &mut self,
        handle: Handle,
        position: u64,
        bytes: &[u8],
        sync: bool,
    ) -> WriteId {
        let len = bytes.len() as u64;
        let begun = self.inode(handle).and_then(|inode| {
            if !position.is_multiple_of(SECTOR) || !len.is_multiple_of(SECTOR) || len == 0 {
                return Err(Errno::INVAL);
            }
            self.mutate(|disk| disk.path_of(handle))?;
            self.file(inode).users += 1;
            let payload = Payload::new(position, bytes);
            Ok(Write { inode, position, len, payload, sync })
        });
        let id = WriteId(self.next_id());
        self.writes.insert(id, begun);
        id
    }

    /// Ends a write: it is seen, and if it syncs, durable. Returns how many bytes were taken.
    pub(crate) fn finish_write(&mut self, id: WriteId) -> io::Result<usize> {
        self.alive()?;
        let write = self.writes.remove(&id).ok_or(Errno::BADF)??;
        let inode = write.inode;
        let landed = self.land(write, SECTOR);
        self.unuse(inode);
        Ok(landed?)
    }

    /// Begins a sync, which covers all that has ended.
    pub(crate) fn begin_sync(&mut self, handle: Handle) -> SyncId {
        let begun = self.inode(handle).and_then(|inode| {
            self.mutate(|disk| disk.path_of(handle))?;
            let seq = self.seq;
            let file = self.file(inode);
            file.users += 1;
            file.content.begin_sync();
            Ok(Flush { inode, seq })
        });
        let id = SyncId(self.next_id());
        self.flushes.insert(id, begun);
        id
    }

    /// Ends a sync: what it covers is durable.
    pub(crate) fn finish_sync(&mut self, id: SyncId) -> io::Result<()> {
        self.alive()?;
        let flush = self.flushes.remove(&id).ok_or(Errno::BADF)??;
        let inode = flush.inode;
        let result = self.flush(&flush);
        self.unuse(inode);
        Ok(result?)
    }

    /// Bytes at `position`: `len` of them, or to the end of the file, or, if a transfer breaks off, some pages.
    pub(crate) fn read(
        &mut self,
        handle: Handle,
        position: u64,
        len: usize,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = self.look(handle, position, len)?;
        let inode = self.inode(handle)?;
        let file = self.files.get(&inode).expect("handles keep their file");
        let short = bytes.len() as u64 > PAGE
            && self.dice.strikes(DiskFault::ShortRead, || file.path(&self.names, inode));
        if short {
            let pages = (bytes.len() as u64 - 1) / PAGE;
            let kept = 1 + self.dice.below(DiskFault::ShortRead, pages);
            bytes.truncate(index(kept * PAGE));
        }
        Ok(bytes)
    }

    /// The first `max` bytes of a file, or all if it is shorter.
    pub(crate) fn read_all(&mut self, handle: Handle, max: usize) -> io::Result<Vec<u8>> {
        self.look(handle, 0, max)
    }

    /// Reads, as the medium has it.
    fn look(&mut self, handle: Handle, position: u64, len: usize) -> io::Result<Vec<u8>> {
        self.alive()?;
        let inode = self.inode(handle)?;
        let file = self.files.get_mut(&inode).expect("handles keep their file");
        if self.dice.strikes(DiskFault::ReadError, || file.path(&self.names, inode)) {
            return Err(Errno::IO.into());
        }
        let end = file.content.len().min(position.saturating_add(len as u64));
        let something = position < end;
        if something && self.dice.strikes(DiskFault::BitRot, || file.path(&self.names, inode)) {
            file.rot(position..end, self.dice.stream(DiskFault::BitRot));
        }
        Ok(file.content.read(position, len))
    }

    /// The length of a file in bytes.
    pub(crate) fn len(&self, handle: Handle) -> io::Result<u64> {
        self.alive()?;
        let inode = self.inode(handle)?;
        Ok(self.files.get(&inode).ok_or(Errno::BADF)?.content.len())
    }

    /// Bytes that a file takes: reserved or written.
    pub(crate) fn allocated(&self, handle: Handle) -> io::Result<u64> {
        self.alive()?;
        let inode = self.inode(handle)?;
        Ok(self.files.get(&inode).ok_or(Errno::BADF)?.extents.count() * PAGE)
    }

    /// Reserves the space of `0..len` and makes the file at least that long. If there is not enough, it may have grown
    /// in part.
    pub(crate) fn preallocate(&mut self, handle: Handle, len: u64) -> io::Result<()> {
        let inode = self.inode(handle)?;
        if len == 0 {
            return Err(Errno::INVAL.into());
        }
        self.mutate(|disk| disk.path_of(handle))?;
        self.within_limit(inode, len)?;
        let pages = 0..len.div_ceil(PAGE);
        let reached = self.reach(inode, &pages);
        let (reserved, result) = if reached == pages.end {
            (len, Ok(()))
        } else {
            let part = self.dice.below(DiskFault::NoSpace, reached + 1);
            (part * PAGE, Err(self.no_space(inode)))
        };
        let seq = self.next_seq();
        let file = self.file(inode);
        file.extents.insert(0..reserved.div_ceil(PAGE));
        file.content.extend(reserved, Stamp { seq, persist: Persist::Later });
        Ok(result?)
    }

    /// Cuts a file, or extends it with zeros that take no space.
    pub(crate) fn set_len(&mut self, handle: Handle, len: u64) -> io::Result<()> {
        let inode = self.inode(handle)?;
        self.mutate(|disk| disk.path_of(handle))?;
        self.within_limit(inode, len)?;
        let seq = self.next_seq();
        let file = self.file(inode);
        file.content.set_len(len, seq);
        file.extents.cut(len.div_ceil(PAGE));
        Ok(())
    }

    /// Writes at the end of a file, at once. Returns how many bytes were taken.
    pub(crate) fn append_bytes(&mut self, handle: Handle, bytes: &[u8]) -> io::Result<usize> {
        let inode = self.inode(handle)?;
        self.mutate(|disk| disk.path_of(handle))?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let position = self.file(inode).content.len();
        let payload = Payload::new(position, bytes);
        let len = bytes.len() as u64;
        Ok(self.land(Write { inode, position, len, payload, sync: false }, 1)?)
    }

    /// Syncs a file at once.
    pub(crate) fn sync_now(&mut self, handle: Handle) -> io::Result<()> {
        let inode = self.inode(handle)?;
        self.mutate(|disk| disk.path_of(handle))?;
        Ok(self.sync_inode(inode)?)
    }

    pub(super) fn sync_inode(&mut self, inode: Inode) -> Result<(), Errno> {
        let seq = self.seq;
        self.file(inode).content.begin_sync();
        self.flush(&Flush { inode, seq })
    }

    fn flush(&mut self, flush: &Flush) -> Result<(), Errno> {
        let inode = flush.inode;
        let file = self.files.get_mut(&inode).expect("operations keep their file");
        if self.dice.strikes(DiskFault::SyncError, || file.path(&self.names, inode)) {
            file.content.fail_sync(flush.seq);
            return Err(Errno::IO);
        }
        file.content.finish_sync(flush.seq);
        Ok(())
    }

    /// Puts a write into its file, or what the faults of the moment make of it. A short one takes a multiple of `unit`.
    fn land(&mut self, mut write: Write, unit: u64) -> Result<usize, Errno> {
        let mut taken = self.room(&write)?;
        let seq = self.next_seq();
        let (names, dice, inode) = (&self.names, &mut self.dice, write.inode);
        let file = self.files.get_mut(&inode).expect("operations keep their file");
        let strikes = |dice: &mut Dice, fault| dice.strikes(fault, || file.path(names, inode));
        if strikes(dice, DiskFault::WriteError) {
            write.shorten(taken);
            file.scatter(write, seq, dice.stream(DiskFault::WriteError));
            return Err(Errno::IO);
        }
        let units = taken / unit;
        if units > 1 && strikes(dice, DiskFault::ShortWrite) {
            taken = unit * (1 + dice.below(DiskFault::ShortWrite, units - 1));
        }
        write.shorten(taken);
        let end = write.position + taken;
        let is_lost = strikes(dice, DiskFault::LostWrite);
        let away = file.has_elsewhere(&write);
        let is_away = !is_lost && away && strikes(dice, DiskFault::Misdirected);
        let unsynced = write.sync && strikes(dice, DiskFault::SyncError);
        let persist = match (write.sync, unsynced) {
            (true, true) => Persist::Never,
            (true, false) => Persist::Now,
            (false, _) => Persist::Later,
        };
        let stamp = Stamp { seq, persist };
        if is_away {
            let to = file.elsewhere(&write, dice.stream(DiskFault::Misdirected));
            write.payload.shift(write.position / PAGE, to);
        }
        file.extents.insert(pages_of(write.position, end));
        if !is_lost {
            file.content.write(&write.payload, stamp, &mut |_| WHOLE);
        }
        file.content.extend(end, stamp);
        if unsynced { Err(Errno::IO) } else { Ok(index(taken)) }
    }

    /// How many bytes of a write there is room for; at least one.
    fn room(&mut self, write: &Write) -> Result<u64, Errno> {
        let Write { inode, position, len, .. } = *write;
        let mut end = position + len;
        if let Some(limit) = self.file_size_limit.map(|limit| limit - limit % SECTOR)
            && end > limit
        {
            // Writes heed the limit wherever the file ends: only a file that is larger stays so.
            if position < limit {
                end = limit;
            } else if self
                .dice
                .hits(DiskFault::FileTooLarge, self.files[&inode].path(&self.names, inode))
            {
                return Err(Errno::FBIG);
            }
        }
        let pages = pages_of(position, end);
        let reached = self.reach(inode, &pages);
        if reached == pages.end {
            return Ok(end - position);
        }
        match (reached * PAGE).saturating_sub(position) {
            0 => Err(self.no_space(inode)),
            some => Ok(some),
        }
    }

    /// Notes that the disk is full.
    fn no_space(&mut self, inode: Inode) -> Errno {
        let path = self.files[&inode].path(&self.names, inode);
        self.dice.note(DiskFault::NoSpace, path);
        Errno::NOSPC
    }

    /// Refuses a file that would be too long.
    fn within_limit(&mut self, inode: Inode, len: u64) -> Result<(), Errno> {
        let file = &self.files[&inode];
        let limit = self.file_size_limit.map_or(u64::MAX, |limit| limit - limit % SECTOR);
        if len <= limit.max(file.content.len()) {
            return Ok(());
        }
        let path = file.path(&self.names, inode);
        if self.dice.hits(DiskFault::FileTooLarge, path) { Err(Errno::FBIG) } else { Ok(()) }
    }

    /// The end of the start of `pages` that there is space for.
    fn reach(&self, inode: Inode, pages: &Range<u64>) -> u64 {
        let file = &self.files[&inode];
        let missing = file.extents.missing(pages);
        if self.capacity.is_none() || missing == 0 {
            return pages.end;
        }
        let free = self.free_space() / PAGE;
        let may = || self.dice.may(DiskFault::NoSpace, &file.path(&self.names, inode));
        if missing <= free || !may() { pages.end } else { file.extents.reach(pages, free) }
    }
}

impl Write {
    /// Keeps only the first `len` bytes.
    fn shorten(&mut self, len: u64) {
        if len < self.len {
            self.len = len;
            self.payload.cut(self.position + len);
        }
    }

    /// How many pages it touches.
    fn page_count(&self) -> u64 {
        let pages = pages_of(self.position, self.position + self.len);
        pages.end - pages.start
    }
}

impl File {
    /// Puts all of a write that did not end into the file, for a loss of power to choose from.
    pub(super) fn take(&mut self, write: &Write, seq: u64) {
        let stamp = Stamp { seq, persist: Persist::Later };
        let end = write.position + write.len;
        self.extents.insert(pages_of(write.position, end));
        self.content.write(&write.payload, stamp, &mut |_| WHOLE);
        self.content.extend(end, stamp);
    }

    /// Puts an arbitrary part of a write into the file: nothing, everything, or some sectors.
    pub(super) fn scatter(&mut self, mut write: Write, seq: u64, rng: &mut Rng) {
        match rng.below(4) {
            0 => {}
            1 => self.take(&write, seq),
            _ => {
                let len = self.content.len();
                // The length is what is changed last, or was long enough before.
                if write.position + write.len > len && rng.below(2) == 0 {
                    write.shorten(len.saturating_sub(write.position));
                }
                let stamp = Stamp { seq, persist: Persist::Later };
                let end = write.position + write.len;
                self.extents.insert(pages_of(write.position, end));
                let mut mask = |_| match rng.below(4) {
                    0 => 0,
                    1 => WHOLE,
                    _ => rng.next_u64().to_le_bytes()[0],
                };
                self.content.write(&write.payload, stamp, &mut mask);
                if write.len > 0 {
                    self.content.extend(end, stamp);
                }
            }
        }
    }

    /// Whether the file is long enough for a write to land somewhere else in it.
    fn has_elsewhere(&self, write: &Write) -> bool {
        self.content.len() / PAGE > write.page_count()
    }

    /// A page of the file at which a write lands that should have gone elsewhere: as often as not one that holds
    /// something, for most of a segment is empty.
    fn elsewhere(&self, write: &Write, rng: &mut Rng) -> u64 {
        let starts = self.content.len() / PAGE - write.page_count() + 1;
        let mut written = self.content.written_in(0..starts);
        let drawn = match written.by_ref().count() as u64 {
            count if count > 0 && rng.below(2) == 0 => {
                self.content.written_in(0..starts).nth(index(rng.below(count)))
            }
            _ => None,
        };
        let page = drawn.unwrap_or_else(|| rng.below(starts));
        if page == write.position / PAGE { (page + 1) % starts } else { page }
    }

    /// Flips a bit in `range`; mostly where something is written.
    fn rot(&mut self, range: Range<u64>, rng: &mut Rng) {
        let pages = pages_of(range.start, range.end);
        let count = self.content.written_in(pages.clone()).count() as u64;
        let page = if count > 0 && rng.below(8) > 0 {
            self.content.written_in(pages).nth(index(rng.below(count)))
        } else {
            None
        };
        let within = page.map_or(range.clone(), |page| {
            range.start.max(page * PAGE)..range.end.min((page + 1) * PAGE)
        });
        let position = within.start + rng.below(within.end - within.start);
        self.content.flip(position, rng.next_u64().to_le_bytes()[0]);
    }
}

/// The pages that hold the bytes `start..end`.
fn pages_of(start: u64, end: u64) -> Range<u64> {
    start / PAGE..end.div_ceil(PAGE).max(start / PAGE)
}
