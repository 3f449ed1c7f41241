//! What somebody does who can write the server's files, knows the format and repairs the checksums: only proofs find it.

use std::fs::OpenOptions;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pyralog_log::batch::{BatchHeader, HEADER_BYTES};

/// Bytes of a commit mark, and the grain of segments.
const LINE: usize = 64;

/// The segment files of a partition, by base offset.
pub(crate) fn segments(data: &Path, log: u64, partition: u32) -> Vec<PathBuf> {
    let folder = data.join(format!("logs/{log}/{partition}"));
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    found.sort();
    found
}

/// Copies a directory with everything in it to a place where nothing is. The files of counters are nothing but long.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
            continue;
        }
        let metadata = std::fs::metadata(&path).unwrap();
        if metadata.blocks() == 0 {
            let file = OpenOptions::new().write(true).create_new(true).open(target).unwrap();
            file.set_len(metadata.len()).unwrap();
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Puts the copy of a directory in its place.
pub(crate) fn put_back(copied: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    copy(copied, to);
}

/// A segment in memory.
pub(crate) struct Segment {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Segment {
    pub(crate) fn open(path: &Path) -> Self {
        Self { path: path.to_owned(), bytes: std::fs::read(path).unwrap() }
    }

    /// Where the batches are, in order.
    fn batches(&self) -> Vec<Range<usize>> {
        let lines = (0..self.bytes.len() / LINE).map(|line| line * LINE);
        let batch =
            |at: usize| Some(at..at + BatchHeader::parse(&self.bytes[at..]).ok()?.total_len());
        lines.filter_map(batch).collect()
    }

    /// The offsets of the batch with these bytes, and where it is.
    fn holder(&self, wanted: &[u8]) -> (Range<u64>, Range<usize>) {
        let found = self.bytes.windows(wanted.len()).position(|bytes| bytes == wanted);
        let at = found.expect("it is in the segment");
        let place = self.batches().into_iter().find(|place| place.contains(&at)).unwrap();
        let header = BatchHeader::parse(&self.bytes[place.start..]).unwrap();
        (header.owner.base_offset.get()..header.next_offset().get(), place)
    }

    /// Writes `with` over `what`, which is as long, and repairs every checksum. Returns the offsets of the batch.
    pub(crate) fn alter(&mut self, what: &[u8], with: &[u8]) -> Range<u64> {
        assert_eq!(what.len(), with.len());
        let (offsets, place) = self.holder(what);
        let at = self.bytes.windows(what.len()).position(|bytes| bytes == what).unwrap();
        self.bytes[at..at + with.len()].copy_from_slice(with);
        self.repair(&place);
        offsets
    }

    /// Exchanges the records of two batches of one length, each of which keeps its place and its offsets.
    pub(crate) fn exchange(&mut self, one: &[u8], other: &[u8]) -> Range<u64> {
        let ((first, a), (second, b)) = (self.holder(one), self.holder(other));
        assert_eq!((a.len(), first.end), (b.len(), second.start), "neighbours of one length");
        for (left, right) in (a.start + LINE..a.end).zip(b.start + LINE..b.end) {
            self.bytes.swap(left, right);
        }
        self.repair(&a);
        self.repair(&b);
        first.start..second.end
    }

    /// Cuts the segment before the group of the batch with these bytes; returns its first offset.
    pub(crate) fn cut(&mut self, before: &[u8]) -> u64 {
        let (offsets, place) = self.holder(before);
        let mark = self.mark_of(&place);
        self.bytes[mark..].fill(0);
        offsets.start
    }

    /// Makes the checksums of a batch and of its group true.
    fn repair(&mut self, batch: &Range<usize>) {
        let body_len = number(&self.bytes, batch.start + 72);
        let body = crc32c(&self.bytes[batch.start + 68..batch.start + HEADER_BYTES + body_len]);
        self.put(batch.start + 64, body);
        let header = crc32c(&self.bytes[batch.start + 8..batch.start + HEADER_BYTES]);
        self.put(batch.start + 4, header);
        let mark = self.mark_of(batch);
        let group = mark + LINE..mark + LINE + number(&self.bytes, mark + 24);
        let within = self.batches().into_iter().filter(|place| group.contains(&place.start));
        let headers: Vec<u8> = within
            .flat_map(|place| self.bytes[place.start..place.start + HEADER_BYTES].to_vec())
            .collect();
        let headers = crc32c(&headers);
        self.put(mark + 28, headers);
        let own = crc32c(&self.bytes[mark + 8..mark + LINE]);
        self.put(mark + 4, own);
    }

    /// Where the commit mark of a batch's group is.
    fn mark_of(&self, batch: &Range<usize>) -> usize {
        let lines = (0..batch.start).rev().filter(|at| at % LINE == 0);
        let covers = |at: &usize| {
            self.bytes[*at..].starts_with(b"PYM1")
                && at + LINE + number(&self.bytes, at + 24) > batch.start
        };
        lines.into_iter().find(covers).expect("every batch is in a group")
    }

    fn put(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn write(self) {
        std::fs::write(self.path, self.bytes).unwrap();
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize
}

/// CRC32C, bit by bit: of the segments of a test there is little.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
    !bytes.iter().fold(u32::MAX, byte)
}
