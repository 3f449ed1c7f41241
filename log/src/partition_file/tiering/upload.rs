//! One segment on its way to the store: read once, verified, hashed and sent.

use pyralog_runtime::buffer::Slice;
use pyralog_runtime::file::DirectFile;
use pyralog_runtime::yield_if_needed;

use super::{Files, RemoteSegment, Shell, TierError};
use crate::index::Index;
use crate::limits::READ_BYTES_MAX;
use crate::manifest::Manifest;
use crate::pace::Pace;
use crate::partition::Closed;
use crate::recovery::Damage;
use crate::recovery::scan::{Event, Scan};
use crate::remote::{Operation, Upload};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use crate::tier::{ObjectName, Tier};

/// A file that is read from its start to its end, and all of it sent, whatever is asked for in between.
struct Sending<'a> {
    file: &'a DirectFile,
    key: &'a str,
    tier: &'a Tier,
    pace: &'a Pace,
    upload: Box<dyn Upload>,
    hasher: blake3::Hasher,
    /// Length of the object.
    end: u64,
    /// Bytes before it were sent.
    sent: u64,
    /// The last read: its position and its bytes.
    window: (u64, Slice),
}

impl Sending<'_> {
    /// The `len` bytes at `position`, which never goes back before the window; fewer if the object ends there.
    async fn fetch(&mut self, position: u64, len: usize) -> Result<Slice, TierError> {
        let len = len.min(usize::try_from(self.end - position).unwrap_or(usize::MAX));
        let is_held = |(start, bytes): &(u64, Slice)| {
            *start <= position && position + len as u64 <= start + bytes.len() as u64
        };
        if !is_held(&self.window) {
            let wanted = len.max(READ_BYTES_MAX);
            let wanted = wanted.min(usize::try_from(self.end - position).unwrap_or(usize::MAX));
            self.pace.take(wanted as u64).await;
            let bytes = self.file.read(position, wanted).await?;
            self.window = (position, bytes);
            self.send().await?;
        }
        let (start, bytes) = &self.window;
        let at = usize::try_from(position - start).expect("a place in the window");
        Ok(bytes.slice(at..bytes.len().min(at + len)))
    }

    /// Sends what of the window was not sent.
    async fn send(&mut self) -> Result<(), TierError> {
        let (start, bytes) = self.window.clone();
        let new = usize::try_from(self.sent - start).expect("nothing is left out");
        for part in bytes.get(new..).unwrap_or_default().chunks(READ_BYTES_MAX) {
            self.hasher.update(part);
            let of = (Operation::Write, self.key);
            self.tier.ask(of, self.upload.write(part.to_vec())).await?;
            self.sent += part.len() as u64;
            yield_if_needed().await;
        }
        Ok(())
    }
}

impl Shell {
    /// Uploads a closed segment and its index, and notes it in the manifest. What of it is damaged is noted, too; then it
    /// stays here.
    pub(super) async fn upload(
        &self,
        files: &Files,
        (tier, pace): (&Tier, &Pace),
        closed: &Closed,
    ) -> Result<(), TierError> {
        let prefix = tier.prefix(self.log, self.partition);
        let Closed { base, end, generation, .. } = *closed;
        let name = ObjectName { base, end, generation };
        let key = name.segment(&prefix);
        let _reading = files.readers.reading(base);
        let file = DirectFile::open(files.dir.join(segment_name(base))).await?;
        let upload = tier.ask((Operation::Put, &key), tier.store().put(&key)).await?;
        let mut sending = Sending {
            file: &file,
            key: &key,
            tier,
            pace,
            upload,
            hasher: blake3::Hasher::new(),
            end: closed.end_position.get(),
            sent: 0,
            window: (0, Slice::empty()),
        };
        let read = self.send_segment(&mut sending, closed).await;
        let Sending { upload, hasher, sent, .. } = sending;
        let index = match read {
            Ok(Ok(index)) if sent == closed.end_position.get() => index,
            Ok(sound) => {
                tier.ask((Operation::Abort, &key), upload.abort()).await?;
                self.hold_back(closed, sound.err().unwrap_or_default());
                return Ok(());
            }
            Err(error) => {
                // What cannot be cleared away now is left to the store's own rules, or to the sweep.
                tier.ask((Operation::Abort, &key), upload.abort()).await.ok();
                return Err(error);
            }
        };
        tier.ask((Operation::Finish, &key), upload.finish()).await?;
        self.verify_length(tier, &key, sent).await?;
        let indexed = self.upload_index(tier, &name.index(&prefix), index.encode(generation)).await;
        tier.count(|stats| {
            stats.uploads += 1;
            stats.uploaded_bytes += sent + indexed;
        });
        self.note_uploaded(files, closed, *hasher.finalize().as_bytes()).await
    }

    /// Reads and sends all of a segment. The inner error: what of it is damaged.
    async fn send_segment(
        &self,
        sending: &mut Sending<'_>,
        closed: &Closed,
    ) -> Result<Result<Index, Vec<Damage>>, TierError> {
        let block = sending.fetch(0, SEGMENT_HEADER_BYTES).await?;
        let header = SegmentHeader::decode(&block);
        let is_ours = header.is_some_and(|header| {
            header.generation == closed.generation && header.base_offset == Some(closed.base)
        });
        if !is_ours {
            return Ok(Err(Vec::new()));
        }
        let mut scan = Scan::new(self.subject(closed));
        let (mut index, mut events, mut damages) =
            (Index::new(closed.base), Vec::new(), Vec::new());
        while let Ok(need) = scan.need() {
            let bytes = sending.fetch(need.position.get(), need.len).await?;
            scan.supply(&bytes, &mut events);
            for event in events.drain(..) {
                match event {
                    Event::Batch { header, position } => index.observe(&header, position),
                    Event::Damaged(damage) => damages.push(damage),
                    Event::Cut(_) => {}
                }
            }
            yield_if_needed().await;
        }
        while sending.sent < sending.end && damages.is_empty() {
            sending.fetch(sending.sent, READ_BYTES_MAX).await?;
        }
        let is_whole = damages.is_empty() && index.end_offset() == closed.end;
        Ok(if is_whole { Ok(index) } else { Err(damages) })
    }

    /// A segment with damage stays here; what is damaged is known from now on.
    fn hold_back(&self, closed: &Closed, damages: Vec<Damage>) {
        let (log, partition, segment) = (self.log, self.partition, closed.base);
        tracing::error!(%log, %partition, %segment, ?damages, "a damaged segment does not go to the object store");
        let mut machine = self.machine.borrow_mut();
        if !machine.closed().contains(closed) {
            return; // It went, or was replaced, while it was read.
        }
        let whole = || Damage {
            segment,
            positions: closed.end_position..closed.end_position,
            offsets: closed.end..closed.end,
        };
        let damages = if damages.is_empty() { vec![whole()] } else { damages };
        for damage in damages {
            machine.note_damage(damage);
        }
    }

    /// Uploads an index. Returns its bytes; zero if it did not get there: then it is made again when it is needed.
    async fn upload_index(&self, tier: &Tier, key: &str, bytes: Vec<u8>) -> u64 {
        let len = bytes.len() as u64;
        let sent = async {
            let mut upload = tier.ask((Operation::Put, key), tier.store().put(key)).await?;
            tier.ask((Operation::Write, key), upload.write(bytes)).await?;
            tier.ask((Operation::Finish, key), upload.finish()).await
        };
        match sent.await {
            Ok(()) => len,
            Err(error) => {
                tracing::warn!(%error, "an index did not get to the object store");
                0
            }
        }
    }

    /// The object is there: the manifest names it, unless the segment went meanwhile; then the sweep finds it.
    async fn note_uploaded(
        &self,
        files: &Files,
        closed: &Closed,
        hash: [u8; 32],
    ) -> Result<(), TierError> {
        let remote = RemoteSegment {
            base: closed.base,
            end: closed.end,
            generation: closed.generation,
            bytes: closed.end_position.get(),
            append_max: closed.append_max,
            create_max: closed.time_max,
            hash,
            is_local: true,
        };
        let change = |manifest: &mut Manifest| {
            let is_replaced =
                manifest.swap.is_some_and(|swap| swap.first < closed.end && closed.base < swap.end);
            if is_replaced || !self.has(closed) {
                return Vec::new();
            }
            // What a compaction has replaced.
            let overlaps =
                |found: &mut RemoteSegment| found.base < remote.end && remote.base < found.end;
            let replaced = manifest.remote.extract_if(.., overlaps).collect();
            let at = manifest.remote.partition_point(|found| found.base < remote.base);
            manifest.remote.insert(at, remote);
            replaced
        };
        files.note_gone(files.manifest.update(change).await?);
        Ok(())
    }
}
