//! The simulated world: many nodes with several cores each, in one thread, from one seed.
//!
//! The second body of this crate. Code that runs on cores, opens files and talks over sockets runs here unchanged:
//! every entry point of the crate looks up the world of its thread, and inside a [`Simulation`] finds this one. Time is
//! virtual and jumps to the next thing that happens, so an idle hour costs nothing. Which of the runnable tasks is next,
//! how long a write takes, which sectors survive a loss of power: all is drawn from the seed, and everything that
//! happens goes into one hash, so two runs with one seed can be compared.
//!
//! ```
//! use pyralog_runtime::{MachineConfig, sim::Simulation, time};
//! use std::time::Duration;
//!
//! let world = Simulation::new(1);
//! let node = world.add_node("sleeper");
//! world.boot(node, &MachineConfig::default(), |_core| time::sleep(Duration::from_secs(3600)));
//! assert!(world.run_until(Duration::from_secs(4000), || !world.is_running(node)));
//! assert!(world.now() >= Duration::from_secs(3600));
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `universe` | everything of one simulation: time, tasks, what is due, nodes |
//! | `body` | what the public types of this crate wrap: core, task, timer, file, socket |
//! | `simulation` | what tests hold: nodes, faults, time |
//! | `files` | the calls on names and whole files |
//! | `disk` | a disk that tears, rots and forgets what was not synced |
//! | `net` | connections that are late, break, and lose their other end |
//! | `faults`, `trace` | the names of what goes wrong, and of what happened |

mod body;
mod disk;
mod faults;
pub(crate) mod files;
mod net;
mod simulation;
mod trace;
mod universe;

pub use disk::{Crash, Shield};
pub use faults::{DiskFault, DiskFaults, NetFault, NetFaults};
pub use simulation::{Simulation, elapsed, note};
pub use trace::{NodeId, TraceEvent, TraceKind};

pub(crate) use body::{Core, DirectFile, Handle, Listener, ReadBytes, Stream, Timer};
pub(crate) use body::{blocking, yield_to_reactor};
pub(crate) use universe::{aborts, entropy, is_simulated, monotonic, wall};
