//! A door that counts who is inside, so that shutdown can wait for them.

use super::Event;
use std::cell::Cell;
use std::rc::Rc;

/// Lets work in until it is closed, then waits until all of it is done. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    inner: Rc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    inside: Cell<usize>,
    closed: Cell<bool>,
    emptied: Event,
}

impl Gate {
    /// An open gate with nobody inside.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters, or `None` once the gate is closed.
    #[must_use]
    pub fn enter(&self) -> Option<Pass> {
        if self.inner.closed.get() {
            return None;
        }
        self.inner.inside.set(self.inner.inside.get() + 1);
        Some(Pass { inner: Rc::clone(&self.inner) })
    }

    /// How many passes are out.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.inner.inside.get()
    }

    /// Whether nobody is let in any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.closed.get()
    }

    /// Closes at once and resolves when the last pass is dropped. May be called more than once;
    /// dropping the future leaves the gate closed.
    pub async fn close(&self) {
        self.inner.closed.set(true);
        while self.inner.inside.get() > 0 {
            self.inner.emptied.listen().await;
        }
    }
}

/// Proof of being inside; dropping it leaves.
#[derive(Debug)]
#[must_use = "dropping a pass leaves the gate"]
pub struct Pass {
    inner: Rc<Inner>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let inside = self.inner.inside.get() - 1;
        self.inner.inside.set(inside);
        if inside == 0 {
            self.inner.emptied.notify_all();
        }
    }
}
