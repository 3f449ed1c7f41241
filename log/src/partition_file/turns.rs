//! One after another: who waits for a turn gets it when the one before has given it back.

use std::cell::Cell;
use std::rc::Rc;

use pyralog_runtime::channel::Event;

/// Whose turn it is, on one core.
#[derive(Debug, Default)]
pub(super) struct Turns {
    shared: Rc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    busy: Cell<bool>,
    idle: Event,
}

/// A turn, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Rc<Shared>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.busy.set(false);
        self.0.idle.notify_all();
    }
}

impl Turns {
    /// Waits for a turn. May be dropped.
    pub(super) async fn take(&self) -> Turn {
        loop {
            let idle = self.shared.idle.listen();
            if let Some(turn) = self.try_take() {
                return turn;
            }
            idle.await;
        }
    }

    /// A turn, if it is nobody's.
    pub(super) fn try_take(&self) -> Option<Turn> {
        (!self.shared.busy.replace(true)).then(|| Turn(Rc::clone(&self.shared)))
    }
}
