//! `pyralog bench life`: what proofs, compaction and tiers cost, each beside what it is compared with.
//!
//! A machine drifts, so every round has each subject next to the one that it is compared with, in an order that changes
//! from round to round, and what counts is the median of the ratios of the rounds. The round before the first is thrown
//! away where files are used again from round to round.

mod bound_core;
mod compaction;
mod foreground;
mod hashing;
mod notary;
mod tier;

use std::time::Duration;

use clap::ValueEnum as _;

use crate::args::{LifeArgs, LifePart};
use crate::bench::{Form, Grounds};
use crate::failure::Failure;
use crate::figures::Figures;
use crate::live::Live;

/// What every part needs.
struct Bench<'a> {
    grounds: &'a Grounds,
    rounds: u32,
    /// Amounts are divided by it.
    divide: u64,
    live: Live,
    figures: Figures,
}

impl Bench<'_> {
    /// An amount of data.
    fn amount(&self, whole: u64) -> u64 {
        (whole / self.divide).max(1)
    }

    /// A time for which something is measured.
    fn span(&self, whole: Duration) -> Duration {
        (whole / u32::try_from(self.divide).unwrap_or(u32::MAX)).max(Duration::from_millis(100))
    }
}

/// Runs `bench life`.
///
/// # Errors
/// If the machine, the directory or the server does not do.
pub(crate) fn run(args: &LifeArgs, form: Form) -> Result<(), Failure> {
    let grounds = Grounds::new(&args.place, 1)?;
    let live = Live::new(form == Form::Json);
    let figures = Figures::default();
    let (rounds, divide) = (args.rounds, args.divide);
    let mut bench = Bench { grounds: &grounds, rounds, divide, live, figures };
    bench.live.title("bench life");
    if let Some(warning) = grounds.warning(1) {
        bench.live.note(&warning);
    }
    let all = LifePart::value_variants();
    for part in if args.parts.is_empty() { all } else { &args.parts } {
        grounds.check()?;
        match part {
            LifePart::Hashing => hashing::measure(&mut bench)?,
            LifePart::Notary => notary::measure(&mut bench)?,
            LifePart::Compaction => compaction::measure(&mut bench)?,
            LifePart::Foreground => foreground::measure(&mut bench)?,
            LifePart::Tier => tier::measure(&mut bench)?,
        }
    }
    bench.figures.show(&grounds.parent, form)
}
