//! The keeper of the manifest: one change after another, each durable before it counts.

use std::cell::{Cell, Ref, RefCell};
use std::path::PathBuf;

use pyralog_runtime::channel::Event;
use pyralog_runtime::{IoError, file};

use crate::manifest::{MANIFEST_NAME, Manifest};

/// The manifest of a partition on its core. What it shows is on disk; a change that failed or was dropped
/// midway may be too, and counts only if it is made again or a recovery finds it.
pub(crate) struct Keeper {
    path: PathBuf,
    manifest: RefCell<Manifest>,
    busy: Cell<bool>,
    idle: Event,
}

/// The right to write, also given back if it is dropped.
struct Turn<'a>(&'a Keeper);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.busy.set(false);
        self.0.idle.notify_all();
    }
}

impl Keeper {
    /// Of the partition in `dir`, whose manifest is this.
    pub(super) fn new(dir: &std::path::Path, manifest: Manifest) -> Self {
        let path = dir.join(MANIFEST_NAME);
        let (manifest, busy, idle) = (RefCell::new(manifest), Cell::new(false), Event::new());
        Self { path, manifest, busy, idle }
    }

    /// What it says. Not to be held across an `await`.
    pub(crate) fn get(&self) -> Ref<'_, Manifest> {
        self.manifest.borrow()
    }

    /// Changes it, after the changes that others have begun. Durable when it resolves. `change` must be
    /// content with whatever they made of it.
    ///
    /// # Errors
    /// If it cannot be written; then it says what it said, until the partition is opened again.
    ///
    /// # Panics
    /// If the low watermark would go back, or the manifest would contradict itself.
    pub(crate) async fn update<T>(
        &self,
        change: impl FnOnce(&mut Manifest) -> T,
    ) -> Result<T, IoError> {
        let turn = self.turn().await;
        let before = self.manifest.borrow().clone();
        let mut next = before.clone();
        let made = change(&mut next);
        assert!(before.low <= next.low, "the low watermark goes back to {}", next.low);
        assert_eq!(next.check(), Ok(()), "a manifest that contradicts itself");
        if next != before {
            file::write_small_atomic(&self.path, next.encode()).await?;
            self.manifest.replace(next);
        }
        drop(turn);
        Ok(made)
    }

    async fn turn(&self) -> Turn<'_> {
        loop {
            let idle = self.idle.listen();
            if !self.busy.replace(true) {
                return Turn(self);
            }
            idle.await;
        }
    }
}
