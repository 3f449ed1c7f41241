//! One after another: who waits for a turn gets it when the one before has given it back.

use std::cell::Cell;

use pyralog_runtime::channel::Event;

/// Whose turn it is, on one core.
#[derive(Debug, Default)]
pub(super) struct Turns {
    busy: Cell<bool>,
    idle: Event,
}

/// A turn, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.busy.set(false);
        self.0.idle.notify_all();
    }
}

impl Turns {
    /// Waits for a turn. May be dropped.
    pub(super) async fn take(&self) -> Turn<'_> {
        loop {
            let idle = self.idle.listen();
            if !self.busy.replace(true) {
                return Turn(self);
            }
            idle.await;
        }
    }
}
