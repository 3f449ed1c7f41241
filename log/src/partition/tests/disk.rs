//! A segment file that tears, forgets, and takes for clean what a failed sync left behind.

const SECTOR: usize = 512;
const BLOCK: usize = 4096;

/// What is on stable storage and what is not.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) generation: u64,
    /// On stable storage.
    pub(super) stable: Vec<u8>,
    /// Blocks that were written and are not on stable storage, oldest first.
    loose: Vec<Loose>,
    /// Blocks written so far.
    written: u64,
}

#[derive(Clone, Debug)]
struct Loose {
    number: u64,
    at: usize,
    bytes: Vec<u8>,
    /// A sync that should have taken it failed: no later one will.
    forsaken: bool,
}

/// What a sync takes: the blocks written before it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken(u64);

fn apply(bytes: &mut Vec<u8>, at: usize, write: &[u8]) {
    if bytes.len() < at + write.len() {
        bytes.resize(at + write.len(), 0);
    }
    bytes[at..at + write.len()].copy_from_slice(write);
}

impl File {
    /// A file that holds this already.
    pub(super) fn recycled(generation: u64, stable: Vec<u8>) -> Self {
        Self { generation, stable, ..Self::default() }
    }

    /// What reads see.
    pub(super) fn content(&self) -> Vec<u8> {
        let mut bytes = self.stable.clone();
        self.loose.iter().for_each(|block| apply(&mut bytes, block.at, &block.bytes));
        bytes
    }

    /// Whether a loss of power can change nothing before `end`.
    pub(super) fn is_stable(&self, end: usize) -> bool {
        self.loose.iter().all(|block| block.at + BLOCK > end)
    }

    pub(super) fn write(&mut self, at: usize, write: &[u8]) {
        for (block, bytes) in write.chunks(BLOCK).enumerate() {
            let (number, at, bytes) = (self.written, at + block * BLOCK, bytes.to_vec());
            self.loose.push(Loose { number, at, bytes, forsaken: false });
            self.written += 1;
        }
    }

    /// A write that is on stable storage when it is done.
    pub(super) fn write_synced(&mut self, at: usize, write: &[u8]) {
        apply(&mut self.stable, at, write);
        self.loose.retain(|block| block.at < at || block.at >= at + write.len());
    }

    /// Some sectors of a write are in the file.
    pub(super) fn tear(&mut self, at: usize, write: &[u8], random: &mut Random) {
        let mut torn = self.content();
        torn.resize(torn.len().max(at + write.len()), 0);
        for (number, sector) in write.chunks(SECTOR).enumerate() {
            if random.next().is_multiple_of(2) {
                apply(&mut torn, at + number * SECTOR, sector);
            }
        }
        self.write(at, &torn[at..at + write.len()]);
    }

    pub(super) const fn begin_sync(&self) -> Taken {
        Taken(self.written)
    }

    pub(super) fn finish_sync(&mut self, taken: Taken) {
        let due = |block: &Loose| block.number < taken.0 && !block.forsaken;
        for block in self.loose.clone().into_iter().filter(due) {
            apply(&mut self.stable, block.at, &block.bytes);
            self.loose.retain(|other| other.at != block.at || other.number > block.number);
        }
    }

    pub(super) fn fail_sync(&mut self, taken: Taken) {
        let due = self.loose.iter_mut().filter(|block| block.number < taken.0);
        due.for_each(|block| block.forsaken = true);
    }

    /// Any sectors of what is loose are kept; few of what is forsaken.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        for block in std::mem::take(&mut self.loose) {
            let of = if block.forsaken { 8 } else { 2 };
            for (number, sector) in block.bytes.chunks(SECTOR).enumerate() {
                if random.next().is_multiple_of(of) {
                    apply(&mut self.stable, block.at + number * SECTOR, sector);
                }
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
