//! The keeper of the manifest: one change after another, each durable before it counts.

use std::cell::{Ref, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use pyralog_runtime::channel::oneshot;
use pyralog_runtime::{IoError, file, spawn_durable};

use super::turns::Turns;
use crate::manifest::{MANIFEST_NAME, Manifest};

/// The manifest of a partition on its core. What it shows is on disk; a change that failed may be too, and counts
/// only if it is made again or a recovery finds it.
pub(crate) struct Keeper {
    path: PathBuf,
    manifest: Rc<RefCell<Manifest>>,
    turns: Turns,
}

impl Keeper {
    /// Of the partition in `dir`, whose manifest is this.
    pub(super) fn new(dir: &std::path::Path, manifest: Manifest) -> Self {
        let path = dir.join(MANIFEST_NAME);
        Self { path, manifest: Rc::new(RefCell::new(manifest)), turns: Turns::default() }
    }

    /// What it says. Not to be held across an `await`.
    pub(crate) fn get(&self) -> Ref<'_, Manifest> {
        self.manifest.borrow()
    }

    /// Changes it, after the changes that others have begun. Durable when it resolves. `change` must be
    /// content with whatever they made of it. Dropped midway, it is not changed, or will be: what is being written is
    /// written to its end before the next turn, lest it overtake what is written then.
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
        let turn = self.turns.take().await;
        let before = self.manifest.borrow().clone();
        let mut next = before.clone();
        let made = change(&mut next);
        assert!(before.low <= next.low, "the low watermark goes back to {}", next.low);
        assert_eq!(next.check(), Ok(()), "a manifest that contradicts itself");
        if next == before {
            return Ok(made);
        }
        let (answer, answered) = oneshot();
        let (path, manifest) = (self.path.clone(), Rc::clone(&self.manifest));
        // `settle` waits for it.
        spawn_durable("manifest", async move {
            let written = file::write_small_atomic(&path, next.encode()).await;
            if written.is_ok() {
                manifest.replace(next);
            }
            drop(turn);
            answer.send(written).ok(); // Err: whoever asked went away.
        })
        .detach();
        answered.await.expect("the task that writes answers before it ends")?;
        Ok(made)
    }

    /// Resolves when nothing of what was begun is still being written.
    pub(super) async fn settle(&self) {
        drop(self.turns.take().await);
    }
}
