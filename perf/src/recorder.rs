//! What a thread of the generator saw: histograms, counts, a series by the second. Nothing is shared; they are added up
//! at the end, and every finished second is handed out for the live view.
//!
//! Latency is recorded for arrivals that were *due* within the measured window, however late they end. Rates count what
//! was *done* within the window. So a stalled server shows in both: in the latency of what it kept waiting, and in the
//! rate of the seconds in which it stood.

use std::collections::BTreeMap;
use std::ops::Range;

use hdrhistogram::Histogram;

use crate::limits::{LATENCY_DIGITS, LATENCY_MAX};
use crate::quantity::{nanoseconds, to_f64};
use crate::result::{Latency, Second, Totals};

/// What a latency measures.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// Intended start to acknowledgement.
    Ack,
    /// Request to acknowledgement.
    Service,
    /// Intended start to consumer.
    EndToEnd,
    /// From asking for records to having some.
    Fetch,
    /// How late the generator was by its own fault.
    Late,
}

impl Kind {
    /// Its name in a result.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Service => "service",
            Self::EndToEnd => "end-to-end",
            Self::Fetch => "fetch",
            Self::Late => "generator-late",
        }
    }
}

/// Something that ended well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// When its records were due (closed loop: sent), in nanoseconds of the run.
    pub(crate) due_ns: u64,
    /// When it ended.
    pub(crate) end_ns: u64,
    /// Its records.
    pub(crate) records: u64,
    /// Bytes of their keys and values.
    pub(crate) bytes: u64,
}

/// One finished second of one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    /// Which second of the window.
    pub(crate) second: usize,
    /// Its counts; the percentiles are empty.
    pub(crate) counts: Second,
    /// Latencies of what was done in it.
    pub(crate) latency: Latency,
}

/// See the module.
pub(crate) struct Recorder {
    window: Range<u64>,
    /// The latency that the series shows.
    shown: Kind,
    histograms: BTreeMap<Kind, Histogram<u64>>,
    /// Latencies by part of the window, for a ramp.
    parts: Vec<(Histogram<u64>, Totals)>,
    totals: Totals,
    /// Records due, by second of the window.
    offered: Vec<u64>,
    slice: Slice,
    current: Histogram<u64>,
    slices: Vec<Slice>,
    /// When the last thing within the window was done.
    last_ns: u64,
    /// Records and bytes that were fetched from the beginning of a log, whatever the series shows.
    read: (u64, u64),
}

fn histogram() -> Histogram<u64> {
    let bounds = Histogram::new_with_bounds(1, nanoseconds(LATENCY_MAX), LATENCY_DIGITS);
    bounds.expect("the bounds and the digits are sound")
}

impl Recorder {
    /// One that measures `window` of the run, in `parts` parts (0 for none).
    pub(crate) fn new(window: Range<u64>, shown: Kind, parts: u32) -> Self {
        let seconds =
            usize::try_from((window.end - window.start).div_ceil(1_000_000_000)).unwrap_or(0);
        Self {
            window,
            shown,
            histograms: BTreeMap::new(),
            parts: (0..parts).map(|_| (histogram(), Totals::default())).collect(),
            totals: Totals::default(),
            offered: vec![0; seconds],
            slice: Slice::default(),
            current: histogram(),
            slices: Vec::new(),
            last_ns: 0,
            read: (0, 0),
        }
    }

    /// The measured part of the run.
    pub(crate) fn window(&self) -> &Range<u64> {
        &self.window
    }

    /// Records that were due, whether they can be sent or not.
    pub(crate) fn offered(&mut self, due_ns: u64, records: u64) {
        if !self.window.contains(&due_ns) {
            return;
        }
        self.totals.offered_records += records;
        let second = self.second(due_ns);
        if let Some(offered) = self.offered.get_mut(second) {
            *offered += records;
        }
        if let Some(part) = self.part(due_ns) {
            part.1.offered_records += records;
        }
    }

    /// Something ended well.
    pub(crate) fn done(&mut self, kind: Kind, done: Done) {
        let latency = done.end_ns.saturating_sub(done.due_ns);
        if self.window.contains(&done.due_ns) {
            self.latency(kind, latency, done.records);
            if kind == self.shown
                && let Some(part) = self.part(done.due_ns)
            {
                part.0.saturating_record_n(latency.max(1), done.records);
                part.1.records += done.records;
                part.1.bytes += done.bytes;
            }
        }
        if kind == Kind::Fetch && self.window.contains(&done.end_ns) {
            self.read.0 += done.records;
            self.read.1 += done.bytes;
        }
        if kind == self.shown && self.window.contains(&done.end_ns) {
            self.roll(done.end_ns);
            self.totals.records += done.records;
            self.totals.bytes += done.bytes;
            self.slice.counts.records += done.records;
            self.slice.counts.bytes += done.bytes;
            self.current.saturating_record_n(latency.max(1), done.records);
            self.last_ns = done.end_ns;
        }
    }

    /// A latency that counts nothing.
    pub(crate) fn latency(&mut self, kind: Kind, ns: u64, times: u64) {
        // Zero is below the smallest value of a histogram.
        self.histograms.entry(kind).or_insert_with(histogram).saturating_record_n(ns.max(1), times);
    }

    /// Records that failed, by why.
    pub(crate) fn failed(&mut self, due_ns: u64, (code, records): (&str, u64)) {
        if !self.window.contains(&due_ns) {
            return;
        }
        self.slice.counts.errors += records;
        match self.totals.errors.get_mut(code) {
            Some(count) => *count += records,
            None => drop(self.totals.errors.insert(code.to_owned(), records)),
        }
    }

    /// The generator had to wait because a buffer was full.
    pub(crate) fn waited(&mut self, due_ns: u64) {
        self.totals.waits += u64::from(self.window.contains(&due_ns));
    }

    /// Counters that the client keeps: batches and attempts after the first.
    pub(crate) fn client(&mut self, batches: u64, retries: u64) {
        self.totals.batches += batches;
        self.totals.retries += retries;
    }

    /// Finishes the seconds before `now_ns`.
    pub(crate) fn roll(&mut self, now_ns: u64) {
        let second = self.second(now_ns);
        if second <= self.slice.second {
            return;
        }
        let mut finished = std::mem::take(&mut self.slice);
        finished.latency = latency_of(&self.current);
        self.current.reset();
        self.slices.push(finished);
        self.slice.second = second;
    }

    /// The seconds finished since the last call.
    pub(crate) fn take_slices(&mut self) -> Vec<Slice> {
        std::mem::take(&mut self.slices)
    }

    /// Everything, with the last slices in it.
    pub(crate) fn finish(mut self) -> Recorded {
        let end = self.window.end;
        self.roll(end);
        // A window that ends within a second: that second is the last slice.
        if self.slice.counts != Second::default() {
            self.slice.latency = latency_of(&self.current);
            self.slices.push(self.slice);
        }
        Recorded {
            histograms: self.histograms,
            parts: self.parts,
            totals: self.totals,
            offered: self.offered,
            slices: self.slices,
            last_ns: self.last_ns,
            read: self.read,
        }
    }

    fn second(&self, ns: u64) -> usize {
        usize::try_from(ns.saturating_sub(self.window.start) / 1_000_000_000).unwrap_or(usize::MAX)
    }

    fn part(&mut self, due_ns: u64) -> Option<&mut (Histogram<u64>, Totals)> {
        let length = self.window.end - self.window.start;
        let count = self.parts.len() as u64;
        let part =
            u128::from(due_ns - self.window.start) * u128::from(count) / u128::from(length.max(1));
        self.parts.get_mut(usize::try_from(part).unwrap_or(usize::MAX))
    }
}

/// What one thread, or all of them, recorded.
#[derive(Default)]
pub(crate) struct Recorded {
    histograms: BTreeMap<Kind, Histogram<u64>>,
    /// See [`Recorder`].
    pub(crate) parts: Vec<(Histogram<u64>, Totals)>,
    /// Counts of the window.
    pub(crate) totals: Totals,
    /// Records due, by second.
    pub(crate) offered: Vec<u64>,
    /// The seconds that were not handed out before.
    pub(crate) slices: Vec<Slice>,
    /// When the last thing within the window was done.
    pub(crate) last_ns: u64,
    /// Records and bytes that were fetched from the beginning of a log.
    pub(crate) read: (u64, u64),
}

impl Recorded {
    /// Adds what another thread recorded.
    pub(crate) fn add(&mut self, other: Self) {
        for (kind, theirs) in other.histograms {
            let ours = self.histograms.entry(kind).or_insert_with(histogram);
            add_histogram(ours, &theirs);
        }
        if self.parts.is_empty() {
            self.parts = other.parts;
        } else {
            for (ours, theirs) in self.parts.iter_mut().zip(other.parts) {
                add_histogram(&mut ours.0, &theirs.0);
                add_totals(&mut ours.1, &theirs.1);
            }
        }
        add_totals(&mut self.totals, &other.totals);
        let seconds = self.offered.len().max(other.offered.len());
        self.offered.resize(seconds, 0);
        for (ours, theirs) in self.offered.iter_mut().zip(other.offered) {
            *ours += theirs;
        }
        self.slices.extend(other.slices);
        self.last_ns = self.last_ns.max(other.last_ns);
        self.read.0 += other.read.0;
        self.read.1 += other.read.1;
    }

    /// The latencies of one kind; without any, an empty one.
    pub(crate) fn latency(&self, kind: Kind) -> Latency {
        self.histograms.get(&kind).map(latency_of).unwrap_or_default()
    }

    /// All latencies by name.
    pub(crate) fn latencies(&self) -> BTreeMap<String, Latency> {
        let named =
            |(kind, found): (&Kind, &Histogram<u64>)| (kind.name().to_owned(), latency_of(found));
        self.histograms.iter().map(named).collect()
    }
}

fn add_histogram(ours: &mut Histogram<u64>, theirs: &Histogram<u64>) {
    ours.add(theirs).expect("all histograms have the same bounds");
}

/// Adds counts.
pub(crate) fn add_totals(ours: &mut Totals, theirs: &Totals) {
    ours.offered_records += theirs.offered_records;
    ours.records += theirs.records;
    ours.bytes += theirs.bytes;
    ours.batches += theirs.batches;
    ours.retries += theirs.retries;
    ours.waits += theirs.waits;
    for (code, count) in &theirs.errors {
        *ours.errors.entry(code.clone()).or_default() += count;
    }
}

/// A histogram as a result has it.
pub(crate) fn latency_of(histogram: &Histogram<u64>) -> Latency {
    if histogram.is_empty() {
        return Latency::default();
    }
    let bucket = |value: hdrhistogram::iterators::IterationValue<u64>| {
        (value.value_iterated_to(), value.count_at_value())
    };
    Latency {
        count: histogram.len(),
        min: histogram.min(),
        max: histogram.max(),
        mean: histogram.mean(),
        buckets: histogram.iter_recorded().map(bucket).collect(),
    }
}

/// The sum of two.
pub(crate) fn merged(one: &Latency, other: &Latency) -> Latency {
    if one.count == 0 || other.count == 0 {
        return if one.count == 0 { other.clone() } else { one.clone() };
    }
    let mut buckets: BTreeMap<u64, u64> = one.buckets.iter().copied().collect();
    for (value, count) in &other.buckets {
        *buckets.entry(*value).or_default() += count;
    }
    let count = one.count + other.count;
    let mean = (one.mean * to_f64(one.count) + other.mean * to_f64(other.count)) / to_f64(count);
    Latency {
        count,
        min: one.min.min(other.min),
        max: one.max.max(other.max),
        mean,
        buckets: buckets.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn recorder() -> Recorder {
        Recorder::new(SECOND..4 * SECOND, Kind::Ack, 3)
    }

    fn done(due_ns: u64, end_ns: u64) -> Done {
        Done { due_ns, end_ns, records: 10, bytes: 100 }
    }

    #[test]
    fn the_warm_up_is_not_counted() {
        let mut recorder = recorder();
        recorder.offered(SECOND - 1, 10);
        recorder.done(Kind::Ack, done(SECOND - 2, SECOND - 1));
        recorder.failed(SECOND - 1, ("Busy", 1));
        recorder.waited(0);
        let found = recorder.finish();
        assert_eq!(found.totals, Totals::default());
        assert_eq!(found.latency(Kind::Ack), Latency::default());
    }

    #[test]
    fn what_was_due_in_the_window_counts_however_late_it_ends() {
        let mut recorder = recorder();
        recorder.offered(2 * SECOND, 10);
        recorder.done(Kind::Ack, done(2 * SECOND, 9 * SECOND));
        let found = recorder.finish();
        let latency = found.latency(Kind::Ack);
        assert_eq!((found.totals.offered_records, found.totals.records), (10, 0));
        assert_eq!(latency.count, 10);
        assert!(latency.at(0.5).abs_diff(7 * SECOND) < SECOND / 100, "{latency:?}");
    }

    #[test]
    fn the_series_has_every_second_in_which_something_was_done() {
        let mut recorder = recorder();
        recorder.done(Kind::Ack, done(SECOND, SECOND + 5));
        recorder.done(Kind::Ack, done(2 * SECOND, 3 * SECOND + 5));
        let first = recorder.take_slices();
        let last = recorder.finish().slices;
        let seconds = |slices: &[Slice]| {
            slices.iter().map(|s| (s.second, s.counts.records)).collect::<Vec<_>>()
        };
        assert_eq!(seconds(&first), [(0, 10)]);
        assert_eq!(seconds(&last), [(2, 10)]);
        assert_eq!(last[0].latency.count, 10);
    }

    #[test]
    fn parts_of_a_ramp_hold_what_was_due_in_them() {
        let mut recorder = recorder();
        for second in 1..4 {
            recorder.offered(second * SECOND, second);
            recorder.done(Kind::Ack, done(second * SECOND, second * SECOND + 1));
        }
        let offered: Vec<u64> =
            recorder.finish().parts.iter().map(|p| p.1.offered_records).collect();
        assert_eq!(offered, [1, 2, 3]);
    }

    #[test]
    fn adding_two_is_recording_both() {
        let (mut one, mut two, mut both) = (recorder(), recorder(), recorder());
        for (index, latency) in [50, 900, 70_000, 8_000_000].into_iter().enumerate() {
            let one_done = done(SECOND, SECOND + latency);
            let which = if index % 2 == 0 { &mut one } else { &mut two };
            which.done(Kind::Ack, one_done);
            both.done(Kind::Ack, one_done);
        }
        let (one, two, both) = (one.finish(), two.finish(), both.finish());
        let merge = merged(&one.latency(Kind::Ack), &two.latency(Kind::Ack));
        let expected = both.latency(Kind::Ack);
        assert_eq!(
            (merge.count, merge.max, &merge.buckets),
            (expected.count, expected.max, &expected.buckets)
        );
        let mut sum = Recorded::default();
        sum.add(one);
        sum.add(two);
        assert_eq!(sum.latency(Kind::Ack), expected);
        assert_eq!(sum.totals, both.totals);
    }
}
