//! The body that runs in production: glommio 0.9 with its traps worked around.
//!
//! What the public types of this crate wrap, and the only folder that names glommio. A second body
//! supplies the same names.

mod descriptor;
mod direct;
mod executor;
mod memory;
mod placement;
mod pulse;
mod socket;

pub(crate) use direct::DirectFile;
pub(crate) use executor::{Core, CoreThread, Handle, Launch, Timer, blocking, launch};
pub(crate) use executor::{Verdict, yield_to_reactor};
pub(crate) use memory::{Frozen, Memory, ReadBytes};
pub(crate) use placement::{seats, spare};
pub(crate) use pulse::Pulse;
pub(crate) use socket::{Listener, Stream};
