//! When faults strike, and what has struck.
//!
//! Every kind of fault draws from a stream of its own, and one whose rate is zero draws nothing. So switching one off
//! leaves the draws of the others alone, which is how a failing run is made smaller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::rng::{Rng, mix};
use crate::sim::faults::{DiskFault, DiskFaults};
use crate::sim::trace::TraceKind;

/// Says whether a fault may strike a file.
pub type Shield = Rc<dyn Fn(&Path, DiskFault) -> bool>;

/// What rates are counted in.
const MILLION: u64 = 1_000_000;

/// The faults of one disk.
pub(super) struct Dice {
    seed: u64,
    rates: DiskFaults,
    shield: Option<Shield>,
    streams: BTreeMap<DiskFault, Rng>,
    struck: BTreeMap<DiskFault, u64>,
    events: Vec<TraceKind>,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            rates: DiskFaults::default(),
            shield: None,
            streams: BTreeMap::new(),
            struck: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    pub(super) fn set_rates(&mut self, rates: DiskFaults) {
        self.rates = rates;
    }

    pub(super) fn set_shield(&mut self, shield: Option<Shield>) {
        self.shield = shield;
    }

    pub(super) fn struck(&self) -> &BTreeMap<DiskFault, u64> {
        &self.struck
    }

    pub(super) fn take_events(&mut self) -> Vec<TraceKind> {
        std::mem::take(&mut self.events)
    }

    /// The stream for choices of this fault: whether, where, how much.
    pub(super) fn stream(&mut self, fault: DiskFault) -> &mut Rng {
        let seed = mix(self.seed ^ mix(fault as u64 + 1));
        self.streams.entry(fault).or_insert_with(|| Rng::with_seed(seed))
    }

    /// A number below `bound` from the stream of `fault`.
    pub(super) fn below(&mut self, fault: DiskFault, bound: u64) -> u64 {
        self.stream(fault).below(bound)
    }

    /// Whether `fault` strikes the operation at hand. `path` is only asked for if the dice say so.
    pub(super) fn strikes(&mut self, fault: DiskFault, path: impl FnOnce() -> PathBuf) -> bool {
        let rate = u64::from(self.rate(fault));
        rate > 0 && self.below(fault, MILLION) < rate && self.hits(fault, path())
    }

    /// Whether a fault that is due strikes this file; notes it.
    pub(super) fn hits(&mut self, fault: DiskFault, path: PathBuf) -> bool {
        let may = self.may(fault, &path);
        if may {
            self.note(fault, path);
        }
        may
    }

    /// Whether a fault may strike this file.
    pub(super) fn may(&self, fault: DiskFault, path: &Path) -> bool {
        self.shield.as_ref().is_none_or(|may_strike| may_strike(path, fault))
    }

    /// Notes that a fault struck.
    pub(super) fn note(&mut self, fault: DiskFault, path: PathBuf) {
        *self.struck.entry(fault).or_default() += 1;
        self.events.push(TraceKind::DiskFault { fault, path });
    }

    /// Whether the operation at hand is slow. Counted, but no event: that of the operation says how long it took.
    pub(super) fn is_slow(&mut self) -> bool {
        let rate = u64::from(self.rates.slow);
        let slow = rate > 0 && self.below(DiskFault::Slow, MILLION) < rate;
        if slow {
            *self.struck.entry(DiskFault::Slow).or_default() += 1;
        }
        slow
    }

    /// Strikes per million operations. What has no rate comes from limits, crashes and commands.
    fn rate(&self, fault: DiskFault) -> u32 {
        match fault {
            DiskFault::ShortWrite => self.rates.short_write,
            DiskFault::ShortRead => self.rates.short_read,
            DiskFault::WriteError => self.rates.write_error,
            DiskFault::ReadError => self.rates.read_error,
            DiskFault::SyncError => self.rates.sync_error,
            DiskFault::BitRot => self.rates.bit_rot,
            DiskFault::Misdirected => self.rates.misdirected,
            DiskFault::LostWrite => self.rates.lost_write,
            DiskFault::Slow => self.rates.slow,
            DiskFault::NoSpace
            | DiskFault::FileTooLarge
            | DiskFault::Torn
            | DiskFault::Reordered
            | DiskFault::Forgotten
            | DiskFault::NameLost
            | DiskFault::LengthLost
            | DiskFault::CrashBetweenCalls => 0,
        }
    }
}
