//! A segment file that tears and forgets.

const SECTOR: usize = 512;

/// What is on stable storage and what is not.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) generation: u64,
    /// On stable storage.
    pub(super) stable: Vec<u8>,
    /// Written since the last sync, oldest first.
    pub(super) loose: Vec<(usize, Vec<u8>)>,
}

impl File {
    pub(super) fn apply(bytes: &mut Vec<u8>, at: usize, write: &[u8]) {
        if bytes.len() < at + write.len() {
            bytes.resize(at + write.len(), 0);
        }
        bytes[at..at + write.len()].copy_from_slice(write);
    }

    pub(super) fn content(&self) -> Vec<u8> {
        let mut bytes = self.stable.clone();
        self.loose.iter().for_each(|(at, write)| Self::apply(&mut bytes, *at, write));
        bytes
    }

    /// The first `count` loose writes reach stable storage.
    pub(super) fn settle(&mut self, count: usize) {
        for (at, write) in self.loose.drain(..count) {
            Self::apply(&mut self.stable, at, &write);
        }
    }

    /// Some sectors of a write reach the disk.
    pub(super) fn tear(&mut self, at: usize, write: &[u8], random: &mut Random) {
        for (number, sector) in write.chunks(SECTOR).enumerate() {
            if random.next().is_multiple_of(2) {
                Self::apply(&mut self.stable, at + number * SECTOR, sector);
            }
        }
    }
}

/// Pseudo-random numbers of a case.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}
