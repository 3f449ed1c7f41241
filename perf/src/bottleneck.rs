//! What limits the server in a scenario, as one sentence, from what was used and what would have been possible.
//!
//! There are three kinds of answers. Something is at its limit: a thread of the server, a ceiling of the machine, or the
//! generator, which spoils the measurement. Nothing is, because the load was paced or because each request waits for the
//! one before. Or nothing is and should be, and then the time goes into waiting.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::result::{CeilingName, Run, Unit};
use crate::statistics::median;
use crate::words;

/// From here on something counts as being at its limit: what is left is within the noise and the pauses between batches.
const AT_LIMIT: f64 = 0.85;

/// The same for a thread of the generator, which sends what it is told to and has less reason to be busy.
const GENERATOR_AT_LIMIT: f64 = 0.95;

/// What was found out about a scenario; medians over its runs.
struct Facts {
    core: Option<f64>,
    generator: f64,
    rates: Vec<(CeilingName, f64)>,
    latency: Option<(CeilingName, f64)>,
    open_loop: bool,
}

/// What limits the server in these runs of one scenario. `None` without runs, or if nothing is known of any limit.
#[must_use]
pub fn sentence(runs: &[&Run]) -> Option<String> {
    let facts = Facts::of(runs)?;
    let seen = facts.seen();
    (!seen.is_empty()).then(|| format!("{}: {}.", list(&seen), facts.conclusion()))
}

impl Facts {
    fn of(runs: &[&Run]) -> Option<Self> {
        let mut shares = BTreeMap::<_, Vec<f64>>::new();
        for share in runs.iter().flat_map(|run| &run.shares) {
            shares.entry(share.ceiling).or_default().push(share.ratio);
        }
        let medians =
            shares.into_iter().filter_map(|(name, ratios)| Some((name, median(&ratios)?)));
        let (latency, mut rates): (Vec<_>, Vec<_>) =
            medians.partition(|(name, _)| name.unit() == Unit::Nanoseconds);
        rates.sort_by(|a, b| b.1.total_cmp(&a.1));
        let busy: Vec<_> =
            runs.iter().filter_map(|run| Some(run.server.as_ref()?.busiest_thread)).collect();
        let generator: Vec<_> = runs.iter().map(|run| run.generator.busiest_thread).collect();
        Some(Self {
            core: median(&busy),
            generator: median(&generator)?,
            rates,
            latency: latency.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)),
            open_loop: runs.first()?.open_loop,
        })
    }

    /// What is known, in clauses.
    fn seen(&self) -> Vec<String> {
        let core = self.core.map(|busy| format!("the server's core is {} busy", percent(busy)));
        let rates = self.rates.iter().map(|(name, share)| {
            format!("{} is at {} of its ceiling", thing(*name), percent(*share))
        });
        let latency = self.latency.map(|(name, ratio)| {
            format!("a request takes {} times {}", words::ratio(ratio), thing(name))
        });
        core.into_iter().chain(rates).chain(latency).collect()
    }

    /// Whether generator and server, together, are busy all the time: while one works the other has nothing to do.
    fn takes_turns(&self) -> bool {
        self.core.is_some_and(|core| core + self.generator >= GENERATOR_AT_LIMIT)
    }

    /// What follows from it.
    fn conclusion(&self) -> String {
        if self.latency.is_some() && !self.open_loop {
            // However busy the core: between two requests it only looks whether there is another.
            return "each request waits for the one before, so latency is the limit".to_owned();
        }
        let core = self.core.is_some_and(|busy| busy >= AT_LIMIT);
        let ceiling = self.rates.first().filter(|(_, share)| *share >= AT_LIMIT);
        if self.generator >= GENERATOR_AT_LIMIT && !core && ceiling.is_none() {
            let busy = percent(self.generator);
            return format!("the load generator is {busy} busy and is the limit, not the server");
        }
        match (core, ceiling) {
            (true, None) => "the core is the limit".to_owned(),
            (false, Some((name, _))) => format!("{} is the limit", thing(*name)),
            (true, Some((name, _))) => {
                format!("the core and {} are the limit together", thing(*name))
            }
            (false, None) if self.open_loop => {
                "the load is paced, and nothing is at its limit".to_owned()
            }
            (false, None) if self.takes_turns() => format!(
                "the load generator is {} busy, so it and the server wait for each other in turn",
                percent(self.generator)
            ),
            (false, None) => "nothing is at its limit, so the time goes into waiting".to_owned(),
        }
    }
}

/// A ceiling as the subject of a sentence.
fn thing(name: CeilingName) -> &'static str {
    match name {
        CeilingName::TcpReceive => "receiving over TCP",
        CeilingName::TcpSend => "sending over TCP",
        CeilingName::TcpEcho => "a bare echo over TCP",
        CeilingName::DiskWriteFresh => "writing to the disk",
        CeilingName::DiskWriteInitialised => "writing to initialised blocks of the disk",
        CeilingName::DiskWriteSynced => "synced writing to the disk",
        CeilingName::DiskSync => "the disk's own write and sync",
        CeilingName::DiskRead => "reading from the disk",
        CeilingName::MemoryCopy => "copying memory",
        CeilingName::MemoryTouch => "touching fresh memory",
        CeilingName::Crc32c => "CRC32C",
        CeilingName::Blake3 => "BLAKE3",
        CeilingName::Lane => "the lane between cores",
    }
}

/// A share, whole: a sentence is no table.
fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// "A, b and c", with a capital.
fn list(parts: &[String]) -> String {
    let text = match parts {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        _ => parts.concat(),
    };
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
