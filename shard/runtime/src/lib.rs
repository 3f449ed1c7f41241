//! What a core is: executor, queues, lanes, files, sockets, clock, timers, rng and buffers.
//!
//! Everything that decides elsewhere in Pyralog is plain values; everything that *does* goes
//! through this crate. The entry points are free functions ([`spawn()`], [`time::sleep`],
//! [`file::DirectFile::open`], [`net::Listener::bind`] …) that look up the world of the current
//! thread, and every public type is concrete and wraps a private body. So a second body, a
//! simulated world, can fill the same interface without a type parameter or a `cfg` in any other
//! crate. The only body today is glommio, in `glommio_body`; nothing outside that folder and
//! [`probe`] names glommio or `io_uring`.
//!
//! # The traps of glommio 0.9 and where each is handled
//!
//! Tests are modules of `tests/runtime.rs`.
//!
//! | trap | handled in | pinned by |
//! |---|---|---|
//! | an executor parks for ever with runnable tasks | preempt timer of 10 ms and the pulse thread, `glommio_body::pulse` | `pulse`'s own, `traps` |
//! | an empty direct file makes the device look pollable | probe file per device, `glommio_body::direct` | `file` |
//! | a short write is a success | `file::direct` loops | `child`, `short` |
//! | an unaligned read near the end returns stale bytes | `file::direct` aligns itself | `file` |
//! | size and statistics go by path, wrong after a rename | `fstat` in `glommio_body::direct` | `file` |
//! | a panic in a task ends the core; in a blocking call, it hangs the caller | `task` catches both | `task` |
//! | `spawn_local` runs the task inside the spawn | tasks are always queued, `glommio_body::executor` | `task` |
//! | yielding does not reach the reactor | `yield_now` waits for an expired timer | `traps` |
//! | wakers of a task crossing threads are counted in 16 bits and race | only the bell's does, `bell` | `mesh` |
//! | dropping `accept` loses an accepted connection | the pending accept stays in the listener | `net` |
//! | a cloned SPSC end corrupts the heap; shared channels panic without a peer | own lanes, [`mesh`] | `mesh` |
//! | tasks alive at the end of an executor leak what they own | every task is tracked and cancelled | `machine` |
//! | an unbound executor silently does not spin | fenced to all allowed cpus when spinning | `placement`'s own |
//! | shares of the queues forget tasks that wait for the reactor | background rests after each run, `yield_now` | `task` |
//! | `fdatasync` and `fallocate` in the ring starve beside a spinning core | run on the pool | - (measured) |
//! | one eventfd per executor is never closed | not mended: once per core of a process | `traps` |
//! | the blocking pool has one thread, pinned with the core | [`limits::BLOCKING_THREADS`], off the cpus of cores if there are others | `traps`, `machine` |
//! | the first timer of a process is late | one warm-up timer before `shard_main` | - (`traps` looks, but once per process is too seldom to pin) |
//! | too old a kernel calls `exit(1)` | [`probe`] refuses first, as an error | `child` (the probe) |
//! | `RLIMIT_MEMLOCK` | raised, and reported by [`Machine::memlock`] | `machine`, `child` |
//! | a full file-size limit kills the process with SIGXFSZ | [`start`] takes the signal | `child` |

#![deny(unsafe_code)]

pub mod away;
pub mod buffer;
pub mod channel;
pub mod file;
pub mod limits;
pub mod mesh;
pub mod net;
pub mod probe;
pub mod rng;
pub mod sim;
pub mod time;

mod bell;
mod body;
mod clock;
mod error;
mod glommio_body;
mod machine;
mod task;
mod world;

pub use error::{IoError, IoErrorKind};
pub use machine::{
    Core, JoinError, Machine, MachineConfig, MemlockReport, Pin, StartError, Stopper, start,
    take_file_size_signal,
};
pub use task::{
    Class, Panicked, Task, spawn, spawn_blocking, spawn_durable, spawn_into, yield_if_needed,
    yield_now,
};
