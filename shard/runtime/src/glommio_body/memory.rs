//! Memory for direct I/O: pieces of the core's registered region, or of the heap when it is used up.
//!
//! glommio's region *is* the pool: a buddy allocator over memory that is registered with the rings
//! once, so it is touched at start and reused for good. Outside a core the same aligned pieces come
//! from the heap.

use crate::world;
use glommio::io::DmaBuffer;
use glommio::io::ReadResult;
use std::rc::Rc;

/// A piece that is being filled. Its bytes beyond what was written are whatever was there before.
#[derive(Debug)]
pub(crate) struct Memory {
    piece: DmaBuffer,
}

impl Memory {
    /// A piece of the core's region if there is a core with one, else of the heap.
    pub(crate) fn pooled(bytes: usize) -> Self {
        if world::try_current().is_some_and(|world| world.body.node().is_none()) {
            Self { piece: glommio::allocate_dma_buffer(bytes) }
        } else {
            Self::heap(bytes)
        }
    }

    /// A piece of the heap, equally aligned.
    pub(crate) fn heap(bytes: usize) -> Self {
        Self { piece: glommio::allocate_dma_buffer_global(bytes) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.piece.as_bytes()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.piece.as_bytes_mut()
    }

    /// Ends the filling: the first `len` bytes, for good.
    pub(crate) fn freeze(mut self, len: usize) -> Frozen {
        // Destructive, which is why the length is kept beside the piece until here.
        self.piece.trim_to_size(len);
        Frozen { piece: Rc::new(self.piece) }
    }
}

/// A piece that no longer changes: it may be in flight to the disk and served to readers at once.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(super) piece: Rc<DmaBuffer>,
}

impl Frozen {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.piece.as_bytes()
    }
}

/// What a read of a direct file brought.
#[derive(Clone, Debug)]
pub(crate) struct ReadBytes {
    pub(super) result: ReadResult,
}

impl ReadBytes {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.result
    }
}
