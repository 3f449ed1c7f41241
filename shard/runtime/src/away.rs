//! Work on bytes of a core that a thread of its pool does: they stay where they are, and the core goes on meanwhile.
//!
//! For what takes long and needs nothing but bytes, such as hashing. It is worth it only where a CPU is left for the
//! thread ([`has_spare_cpu`]): on the CPU of a core it would take time from the foreground in slices of milliseconds,
//! where a background task gives way within microseconds. And one at a time per core: what else the pool does, syncs
//! among it, must never wait behind a queue of it.

use crate::buffer::{Slice, lent};
use crate::channel::Event;
use crate::task::{Panicked, spawn_blocking_keeping};
use crate::world::{self, World};
use std::cell::Cell;
use std::rc::Rc;

/// Whose turn it is on a core.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    is_taken: Cell<bool>,
    given_back: Event,
}

/// Whether this process may use more CPUs than it has cores.
///
/// # Panics
/// Outside a core.
#[must_use]
pub fn has_spare_cpu() -> bool {
    world::current().has_spare_cpu
}

/// The turn of whoever may have bytes read. Given back when it is dropped.
#[must_use = "it is given back when it is dropped"]
pub struct Turn {
    world: Rc<World>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.world.away.is_taken.set(false);
        self.world.away.given_back.notify_all();
    }
}

/// Waits for this core's turn. May be dropped.
///
/// # Panics
/// Outside a core.
pub async fn turn() -> Turn {
    let world = world::current();
    loop {
        let given_back = world.away.given_back.listen();
        if !world.away.is_taken.replace(true) {
            return Turn { world };
        }
        given_back.await;
    }
}

impl Turn {
    /// Runs `call` with the bytes of `slices` on a thread of the pool, and waits for it.
    ///
    /// The call starts when this is first polled; dropping the future then does not stop it, and the memory is kept until it
    /// has ended.
    ///
    /// # Errors
    /// If the call panicked, or the core is ending.
    ///
    /// # Panics
    /// Outside a core.
    pub async fn read<R: Send + 'static>(
        &self,
        slices: Vec<Slice>,
        call: impl FnOnce(&[&[u8]]) -> R + Send + 'static,
    ) -> Result<R, Panicked> {
        let (keeper, lent) = lent::lend(slices);
        spawn_blocking_keeping(keeper, move || lent.with(call)).await
    }
}
