//! Moving closed segments to the object store, and out of the directory, and out of the store again.
//!
//! The order is always the same, so that whoever dies anywhere leaves at most objects that no manifest names:
//!
//! 1. the segment is read, verified and sent; 2. the object is finished; 3. its length is looked at; 4. the manifest names
//!    it; 5. later, when its length was looked at again, the manifest says that it is no longer local; 6. the file goes.
//!
//! Deleting goes the other way: the manifest forgets an object, then the object goes. What was left behind is found by a
//! sweep, which lists the partition's prefix and deletes what the manifest does not name, if it is old enough.

mod heal;
mod upload;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use pyralog_runtime::IoError;
use pyralog_runtime::time::{self, Monotonic};

use super::{Files, Partition, Shell};
use crate::ids::{Offset, Timestamp};
use crate::limits::{ORPHAN_AGE_MIN, REMOTE_SEGMENTS_MAX, SWEEP_INTERVAL};
use crate::manifest::{Manifest, RemoteSegment};
use crate::pace::Pace;
use crate::partition::{Closed, Phase, ReadError};
use crate::remote::{Operation, RemoteError};
use crate::segment::segment_name;
use crate::segment_file;
use crate::tier::{ObjectName, RemoteFile, Tier};

/// What a partition has in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierUse {
    /// Segments in the store.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Segments among them that are in the directory no more.
    pub remote_only: u64,
    /// Bytes of those.
    pub remote_only_bytes: u64,
    /// Closed segments of a tiered log that are not in the store yet.
    pub waiting: u64,
    /// Bytes of those: how far the store is behind.
    pub waiting_bytes: u64,
    /// Those among them that stay here because records in them are damaged.
    pub held_back: u64,
}

/// Why a step of tiering was not taken. The next round tries again.
#[derive(Debug)]
#[non_exhaustive]
pub enum TierError {
    /// The store.
    Remote(RemoteError),
    /// The disk.
    Io(IoError),
    /// A segment could not be read.
    Read(ReadError),
    /// The store has another object than was sent.
    Unsound {
        /// Its key.
        key: String,
        /// Its length as sent.
        sent: u64,
        /// Its length there, if it is there.
        found: Option<u64>,
    },
}

impl fmt::Display for TierError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(error) => error.fmt(formatter),
            Self::Io(error) => error.fmt(formatter),
            Self::Read(error) => error.fmt(formatter),
            Self::Unsound { key, sent, found: Some(found) } => {
                write!(
                    formatter,
                    "{sent} bytes were sent as {key}, and {found} are there; it is not relied on"
                )
            }
            Self::Unsound { key, sent, found: None } => {
                write!(formatter, "{sent} bytes were sent as {key}, and it is not there")
            }
        }
    }
}

impl std::error::Error for TierError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Remote(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Read(error) => Some(error),
            Self::Unsound { .. } => None,
        }
    }
}

impl From<RemoteError> for TierError {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

impl From<IoError> for TierError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl From<ReadError> for TierError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// What a tiered partition remembers between rounds; none of it need survive.
#[derive(Debug, Default)]
pub(super) struct Tiering {
    /// Objects that the manifest has forgotten and that are still to be deleted. Lost by a crash, the sweep finds them.
    gone: RefCell<Vec<RemoteSegment>>,
    /// When the next sweep is due.
    swept: Cell<Option<Monotonic>>,
}

impl Partition {
    /// One round of tiering: uploads the oldest closed segment that is not in the store, lets go of local files that are
    /// and that local retention does not keep, deletes objects of what is gone, and sweeps now and then. Returns whether
    /// there is more to upload. Reads and writes as fast as `pace` lets it. May be dropped at any time.
    ///
    /// # Errors
    /// What failed, after the other steps were tried. After a failure of the store nothing is tried for a while.
    pub async fn tier(&self, pace: &Pace) -> Result<bool, TierError> {
        let shell = &self.shell;
        let Some(files) = &shell.files else { return Ok(false) };
        let Some(tier) = &files.tier else { return Ok(false) };
        let Some(_pass) = shell.background.enter() else { return Ok(false) };
        if !shell.may_tier() || !tier.is_ready() {
            return Ok(false);
        }
        shell.start_settling();
        if shell.can_heal(files, None) {
            shell.heal(None).await;
        }
        let done = shell.unless_closing(shell.tier_round(files, tier, pace)).await;
        let Some(done) = done else { return Ok(false) };
        let store_failed = matches!(done, Err(TierError::Remote(_) | TierError::Unsound { .. }));
        tier.note_work(store_failed);
        done
    }

    /// What it has in the store.
    #[must_use]
    pub fn tier_use(&self) -> TierUse {
        let Some(files) = &self.shell.files else { return TierUse::default() };
        let (manifest, machine) = (files.manifest.get(), self.shell.machine.borrow());
        let mut found = TierUse::default();
        for remote in &manifest.remote {
            found.segments += 1;
            found.bytes += remote.bytes;
            if !remote.is_local {
                found.remote_only += 1;
                found.remote_only_bytes += remote.bytes;
            }
        }
        if machine.settings().tiering.is_on {
            for closed in machine.closed().iter().filter(|closed| !is_stored(&manifest, closed)) {
                found.waiting += 1;
                found.waiting_bytes += closed.end_position.get();
                let is_hurt = machine.damages().iter().any(|damage| damage.segment == closed.base);
                found.held_back += u64::from(is_hurt);
            }
        }
        found
    }
}

/// Whether the manifest says that the very segment is in the store.
fn is_stored(manifest: &Manifest, closed: &Closed) -> bool {
    remote_of(manifest, closed).is_some()
}

fn remote_of<'a>(manifest: &'a Manifest, closed: &Closed) -> Option<&'a RemoteSegment> {
    let found = manifest.remote.binary_search_by_key(&closed.base, |remote| remote.base).ok()?;
    Some(&manifest.remote[found]).filter(|remote| remote.generation == closed.generation)
}

impl Shell {
    /// Whether segments may move. Without space above all: what is in the store may go here.
    fn may_tier(&self) -> bool {
        matches!(self.machine.borrow().phase(), Phase::Open | Phase::Starved(..))
    }

    /// What `work` comes to; `None` if the partition closes before: then `work` is dropped where it stands, for closing
    /// does not wait for a store.
    async fn unless_closing<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let mut changed = pin!(self.changed.listen());
            if !self.may_tier() {
                return None;
            }
            let either = poll_fn(|context| match work.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => changed.as_mut().poll(context).map(|()| None),
            });
            if let Some(done) = either.await {
                return Some(done);
            }
        }
    }

    async fn tier_round(&self, files: &Files, tier: &Tier, pace: &Pace) -> Result<bool, TierError> {
        let is_on = self.machine.borrow().settings().tiering.is_on;
        let uploaded = match self.next_upload(files).filter(|_| is_on) {
            Some(closed) => self.upload(files, (tier, pace), &closed).await,
            None => Ok(()),
        };
        let let_go = if is_on { self.let_go(files, tier).await } else { Ok(()) };
        if let Err(error) = self.delete_gone(files, tier).await {
            // Who may write and not delete shall not wait with what is to be written. It is tried again, at last by a sweep.
            tracing::warn!(log = %self.log, partition = %self.partition, %error, "objects of what is gone stay for now");
        }
        uploaded.and(let_go)?;
        self.sweep(files, tier).await?;
        Ok(is_on && self.next_upload(files).is_some())
    }

    /// The oldest closed segment that is to go to the store. One with damage stays: rot is not made permanent.
    fn next_upload(&self, files: &Files) -> Option<Closed> {
        let (manifest, machine) = (files.manifest.get(), self.machine.borrow());
        if manifest.remote.len() >= REMOTE_SEGMENTS_MAX || manifest.swap.is_some() {
            return None;
        }
        let is_sound =
            |closed: &Closed| !machine.damages().iter().any(|damage| damage.segment == closed.base);
        let mut closed = machine.closed().iter();
        closed
            .find(|closed| {
                !is_stored(&manifest, closed) && closed.base < closed.end && is_sound(closed)
            })
            .copied()
    }

    /// The segment in the store, if that is where it has to be read.
    pub(super) fn remote_of(
        &self,
        files: &Files,
        closed: &Closed,
    ) -> Result<Option<RemoteFile>, ReadError> {
        let manifest = files.manifest.get();
        let Some(remote) = remote_of(&manifest, closed).filter(|remote| !remote.is_local) else {
            return Ok(None);
        };
        let tier = files.tier.as_ref().ok_or(ReadError::NoTier)?;
        let prefix = tier.prefix(self.log, self.partition);
        Ok(Some(RemoteFile::new(tier, prefix, ObjectName::of(remote), remote.bytes)))
    }

    /// Lets go of the files of segments that are in the store and that local retention does not keep. Oldest first.
    async fn let_go(&self, files: &Files, tier: &Tier) -> Result<(), TierError> {
        let not_kept = self.not_kept(files);
        let going: Vec<Offset> = not_kept.iter().map(|remote| remote.base).collect();
        for remote in &not_kept {
            self.let_go_of(files, tier, (remote, &going)).await?;
        }
        Ok(())
    }

    /// Lets go of the file of a segment that is in the store, one of those that are going. Says whether it went.
    async fn let_go_of(
        &self,
        files: &Files,
        tier: &Tier,
        (remote, going): (&RemoteSegment, &[Offset]),
    ) -> Result<bool, TierError> {
        // Whoever has cleaned the bucket meanwhile shall not have the last copy.
        let (prefix, name) = (tier.prefix(self.log, self.partition), ObjectName::of(remote));
        self.verify_length(tier, &name.segment(&prefix), remote.bytes).await?;
        // What was asked took its time: a swap may have put another segment in this place.
        let turn = files.removing.take().await;
        let is_still = files.update_to_free(going, |manifest| {
            let swapped =
                manifest.swap.map_or(Offset::ZERO..Offset::ZERO, |swap| swap.first..swap.end);
            if swapped.start < remote.end && remote.base < swapped.end {
                return false;
            }
            let found = manifest.remote.iter_mut().find(|found| *found == remote);
            found.map(|found| found.is_local = false).is_some()
        });
        if !is_still.await? {
            return Ok(false);
        }
        let is_hurt = self.forget_damages(remote.base);
        self.remove_file(files, remote.base).await?;
        drop(turn);
        if is_hurt {
            self.remember_damages(files).await;
        }
        Ok(true)
    }

    /// The local files that local retention does not keep.
    fn not_kept(&self, files: &Files) -> Vec<RemoteSegment> {
        let (manifest, machine) = (files.manifest.get(), self.machine.borrow());
        let tiering = machine.settings().tiering;
        let oldest = match i64::try_from(tiering.local_age.as_micros()) {
            Ok(age) if age > 0 => Timestamp::new(time::unix_us().saturating_sub(age)),
            _ => Timestamp::MIN,
        };
        let is_local =
            |closed: &&Closed| remote_of(&manifest, closed).is_none_or(|remote| remote.is_local);
        let closed: Vec<&Closed> = machine.closed().iter().filter(is_local).collect();
        let mut held: u64 = closed.iter().map(|closed| closed.end_position.get()).sum();
        held += machine.head().position.get();
        let mut chosen = Vec::new();
        for closed in closed {
            let too_many = tiering.local_bytes > 0 && held > tiering.local_bytes;
            if closed.append_max >= oldest && !too_many {
                break;
            }
            if let Some(remote) = remote_of(&manifest, closed) {
                held -= closed.end_position.get();
                chosen.push(*remote);
            }
        }
        chosen
    }

    /// Removes the file of a segment that is in the store. Its indexes stay: they are small, and make a lookup one read.
    async fn remove_file(&self, files: &Files, base: Offset) -> Result<(), IoError> {
        files.readers.forget(base);
        let path = files.dir.join(segment_name(base));
        if files.readers.is_reading(base) || files.is_written(base) {
            segment_file::remove_if_there(&path).await?;
        } else {
            segment_file::discard(&path, &files.recycle).await?;
        }
        Ok(())
    }

    async fn verify_length(&self, tier: &Tier, key: &str, sent: u64) -> Result<(), TierError> {
        let of = (Operation::Length, key);
        let found = tier.ask(of, tier.store().length(key)).await?;
        if found == Some(sent) {
            return Ok(());
        }
        tier.count(|stats| stats.unsound += 1);
        Err(TierError::Unsound { key: key.to_owned(), sent, found })
    }

    /// Deletes the objects of segments that the manifest has forgotten.
    async fn delete_gone(&self, files: &Files, tier: &Tier) -> Result<(), TierError> {
        let prefix = tier.prefix(self.log, self.partition);
        loop {
            let next = files.tiering.gone.borrow().last().copied();
            let Some(remote) = next else { return Ok(()) };
            let name = ObjectName::of(&remote);
            tier.delete(&name.segment(&prefix)).await?;
            tier.delete(&name.index(&prefix)).await?;
            files.tiering.gone.borrow_mut().retain(|gone| *gone != remote);
        }
    }

    /// Deletes what no manifest names and is old enough: once after the start, then now and then.
    async fn sweep(&self, files: &Files, tier: &Tier) -> Result<(), TierError> {
        let is_used = self.machine.borrow().settings().tiering.is_on
            || !files.manifest.get().remote.is_empty();
        let due = files.tiering.swept.get().is_none_or(|next| time::now() >= next);
        if !due || !is_used {
            return Ok(());
        }
        let prefix = tier.prefix(self.log, self.partition);
        let age = i64::try_from(ORPHAN_AGE_MIN.as_micros()).unwrap_or(i64::MAX);
        let oldest = Timestamp::new(time::unix_us().saturating_sub(age));
        let mut orphans = Vec::new();
        let looked = tier.list(&prefix, |object| {
            if object.modified >= oldest {
                return;
            }
            let is_stage = object.key.contains('#');
            match ObjectName::parse(&prefix, &object.key) {
                Some(name) if is_stage || !is_named(&files.manifest.get(), &name) => {
                    orphans.push(object.key);
                }
                Some(_) => {}
                None => {
                    tracing::warn!(key = object.key, "an object that is not ours is left alone");
                }
            }
        });
        looked.await?;
        // Whether they can be deleted or not: the next look is not before its time.
        files.tiering.swept.set(Some(time::now() + SWEEP_INTERVAL));
        for key in &orphans {
            if let Err(error) = tier.delete(key).await {
                tracing::warn!(%error, "an object that no manifest names stays for now");
                return Ok(());
            }
            tier.count(|stats| stats.orphans += 1);
            tracing::info!(key, "an object that no manifest names was deleted");
        }
        Ok(())
    }
}

fn is_named(manifest: &Manifest, name: &ObjectName) -> bool {
    let found = manifest.remote.binary_search_by_key(&name.base, |remote| remote.base);
    found.is_ok_and(|at| ObjectName::of(&manifest.remote[at]) == *name)
}

impl Files {
    /// Takes what ends at or below the low watermark out of a manifest: to be deleted once that is durable.
    pub(super) fn forget_remote(manifest: &mut Manifest) -> Vec<RemoteSegment> {
        let gone = manifest.remote.partition_point(|remote| remote.end <= manifest.low);
        manifest.remote.drain(..gone).collect()
    }

    /// The manifest has forgotten these: their objects go with the next round.
    pub(super) fn note_gone(&self, gone: Vec<RemoteSegment>) {
        if self.tier.is_some() {
            self.tiering.gone.borrow_mut().extend(gone);
        }
    }
}
