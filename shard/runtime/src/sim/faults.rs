//! The faults of a simulated world: their names, and how often each strikes.

use std::fmt;

/// A fault of a disk, struck at random or by name.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum DiskFault {
    /// A write took fewer bytes than it was given, and said so.
    ShortWrite,
    /// A read gave fewer bytes than the file has, and said so.
    ShortRead,
    /// A write failed with EIO; an arbitrary part of it is on the disk.
    WriteError,
    /// A read failed with EIO.
    ReadError,
    /// A sync failed with EIO. What was not synced is forgotten at the next loss of power, whatever later syncs say.
    SyncError,
    /// The disk is full (ENOSPC).
    NoSpace,
    /// The file would be too large (EFBIG).
    FileTooLarge,
    /// A bit of what is stored has flipped.
    BitRot,
    /// A write went to another place of the same file, and said that it succeeded.
    Misdirected,
    /// A write did nothing, and said that it succeeded.
    LostWrite,
    /// An operation took a thousand times as long as usual.
    Slow,
    /// At a crash: a write that nobody had synced was kept in part, sector by sector.
    Torn,
    /// At a crash: a write that nobody had synced was lost although a later one was kept.
    Reordered,
    /// At a crash: everything that nobody had synced was lost.
    Forgotten,
    /// At a crash: a change of a directory that nobody had synced was lost.
    NameLost,
    /// At a crash: a change of a file's length that nobody had synced was lost.
    LengthLost,
    /// The power failed between two calls of one sequence, see `Simulation::crash_after_calls`.
    CrashBetweenCalls,
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A fault of the network.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum NetFault {
    /// A segment took much longer than usual.
    Delayed,
    /// A connection was reset, after an arbitrary part of what was in flight had arrived.
    Reset,
    /// A connection could not be made: refused or reset on the way.
    ConnectFailed,
    /// A segment met a network that was cut and waited for it.
    Held,
    /// A peer lost its power and could not say so: the connection is half open.
    HalfOpen,
    /// A read gave fewer bytes than had arrived.
    ShortRead,
    /// A write took fewer bytes than there was room for.
    ShortWrite,
}

impl fmt::Display for NetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How often a disk fails, in strikes per million operations of the kind concerned. All zero by default: a disk that
/// only forgets what was not synced when the power fails.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DiskFaults {
    /// [`DiskFault::ShortWrite`] per write.
    pub short_write: u32,
    /// [`DiskFault::ShortRead`] per read.
    pub short_read: u32,
    /// [`DiskFault::WriteError`] per write.
    pub write_error: u32,
    /// [`DiskFault::ReadError`] per read.
    pub read_error: u32,
    /// [`DiskFault::SyncError`] per sync, and per write that syncs.
    pub sync_error: u32,
    /// [`DiskFault::BitRot`] per read: the flip stays.
    pub bit_rot: u32,
    /// [`DiskFault::Misdirected`] per write.
    pub misdirected: u32,
    /// [`DiskFault::LostWrite`] per write.
    pub lost_write: u32,
    /// [`DiskFault::Slow`] per operation.
    pub slow: u32,
}

/// How the network behaves. The default delays every segment by 20 to 200 us and does nothing worse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NetFaults {
    /// Shortest delay of a segment in nanoseconds.
    pub delay_min: u64,
    /// Longest usual delay in nanoseconds.
    pub delay_max: u64,
    /// [`NetFault::Delayed`] per million segments.
    pub delayed: u32,
    /// Longest delay of those in nanoseconds.
    pub delayed_max: u64,
    /// [`NetFault::Reset`] per million segments.
    pub reset: u32,
    /// [`NetFault::ConnectFailed`] per million connections.
    pub connect_failed: u32,
    /// [`NetFault::ShortRead`] per million reads.
    pub short_read: u32,
    /// [`NetFault::ShortWrite`] per million writes.
    pub short_write: u32,
}

impl Default for NetFaults {
    fn default() -> Self {
        Self {
            delay_min: 20_000,
            delay_max: 200_000,
            delayed: 0,
            delayed_max: 0,
            reset: 0,
            connect_failed: 0,
            short_read: 0,
            short_write: 0,
        }
    }
}
