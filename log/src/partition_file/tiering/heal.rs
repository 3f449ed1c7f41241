//! Local files that rot, of segments that the store has: the store's is what is read from then on.
//!
//! What was uploaded was verified before it was sent, so the object is what the file was. The file goes the way it would go
//! when local retention lets go of it; what was said to be damaged of it is so no more.

use std::rc::Rc;

use pyralog_runtime::channel::oneshot;

use super::remote_of;
use crate::ids::Offset;
use crate::manifest::RemoteSegment;
use crate::partition_file::{Files, Shell};

impl Shell {
    /// Whether a file that is damaged, or the one of `hurt`, can give way to an object of the store.
    pub(in crate::partition_file) fn can_heal(&self, files: &Files, hurt: Option<Offset>) -> bool {
        files.tier.is_some() && !self.rotten(files, hurt).is_empty()
    }

    /// Lets go of the files that are damaged, and of that of `hurt`, if the store has these segments. Whether all of them went.
    /// May be dropped: it goes on.
    pub(in crate::partition_file) async fn heal(self: &Rc<Self>, hurt: Option<Offset>) -> bool {
        let (answer, answered) = oneshot();
        let shell = Rc::clone(self);
        self.start(async move {
            let healed = match &shell.files {
                Some(files) => shell.unless_closing(shell.heal_all(files, hurt)).await,
                None => None,
            };
            answer.send(healed.unwrap_or(false)).ok(); // Err: whoever read went away.
        });
        // Err: the partition closes.
        answered.await.unwrap_or(false)
    }

    async fn heal_all(&self, files: &Files, hurt: Option<Offset>) -> bool {
        let Some(tier) = &files.tier else { return false };
        let mut is_healed = true;
        for remote in self.rotten(files, hurt) {
            let segment = remote.base;
            match self.let_go_of(files, tier, (&remote, &[segment])).await {
                Ok(has_gone) => {
                    is_healed &= has_gone;
                    tracing::error!(log = %self.log, partition = %self.partition, %segment, has_gone,
                        "the file of a segment is damaged; the segment is read from the object store from now on");
                }
                Err(error) => {
                    is_healed = false;
                    tracing::error!(log = %self.log, partition = %self.partition, %segment, %error,
                        "the file of a segment is damaged, and the store has no other now");
                }
            }
        }
        is_healed
    }

    /// The segments in the store whose files are damaged.
    fn rotten(&self, files: &Files, hurt: Option<Offset>) -> Vec<RemoteSegment> {
        let (manifest, machine) = (files.manifest.get(), self.machine.borrow());
        let is_hurt = |base: Offset| {
            hurt == Some(base) || machine.damages().iter().any(|damage| damage.segment == base)
        };
        let stored = machine.closed().iter().filter_map(|closed| remote_of(&manifest, closed));
        stored.filter(|remote| remote.is_local && is_hurt(remote.base)).copied().collect()
    }

    /// What was damaged of a file that went is so no more. Says what it was, because that is the only trace of it.
    pub(super) fn forget_damages(&self, segment: Offset) -> bool {
        let damages = self.machine.borrow_mut().take_damages(segment);
        for damage in &damages {
            tracing::error!(log = %self.log, partition = %self.partition, %damage,
                "these records were damaged in the file that went");
        }
        !damages.is_empty()
    }
}
