//! Whether the numbers of a run may be used, decided from facts alone.

use crate::limits::{KEPT_UP_MIN, LATENESS_MAX, THREAD_BUSY_MAX};
use crate::quantity::{nanoseconds, to_f64};
use crate::result::{Latency, Totals};
use crate::words;

/// What a run asks of the server, and in what order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    /// Nothing: it looks at an idle server.
    Nothing,
    /// One thing after the other.
    Closed,
    /// Things on a schedule, until something is too slow: being too slow proves nothing.
    Searched,
    /// Things on a schedule.
    Scheduled,
}

/// What there is to know.
pub(super) struct Facts<'a> {
    pub(super) asked: Asked,
    /// How late the generator was by its own fault.
    pub(super) late: Latency,
    /// The latency that the workload is about.
    pub(super) latency: Latency,
    pub(super) totals: &'a Totals,
    pub(super) busiest_thread: f64,
    pub(super) server_ended: bool,
}

/// The decision.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Valid,
    Invalid(String),
}

const MORE: &str = "give the load more CPUs (--load-cpus), larger arrivals (--per-arrival), a lower rate, or \
                    --driver frames";

/// Decides. The first reason that applies is told.
pub(super) fn judge(facts: &Facts) -> Verdict {
    let invalid = |why: String| Verdict::Invalid(why);
    if facts.server_ended {
        return invalid("the server ended during the run: see its log".to_owned());
    }
    if facts.asked != Asked::Nothing && facts.totals.records == 0 {
        let names: Vec<&str> = facts.totals.errors.keys().map(String::as_str).collect();
        let why = if names.is_empty() { "no answer came".to_owned() } else { names.join(", ") };
        return invalid(format!("not one record was done: {why}"));
    }
    if facts.asked != Asked::Scheduled {
        return Verdict::Valid;
    }
    let saturated = facts.busiest_thread > THREAD_BUSY_MAX;
    let done = to_f64(facts.totals.records);
    let offered = to_f64(facts.totals.offered_records);
    if saturated && done < offered * KEPT_UP_MIN {
        return invalid(format!(
            "the generator fell behind its schedule ({:.0} % done) with a thread at {:.0} % of a core, so it may be \
             what was measured: {MORE}",
            100.0 * done / offered,
            100.0 * facts.busiest_thread
        ));
    }
    let allowed_ns = nanoseconds(LATENESS_MAX).max(facts.latency.at(0.5) / 10);
    let late_ns = facts.late.at(0.99);
    if late_ns > allowed_ns {
        return invalid(format!(
            "the generator was late by its own fault (p99 {}, allowed {}), so it may be what was measured: {MORE}",
            words::duration(late_ns),
            words::duration(allowed_ns)
        ));
    }
    Verdict::Valid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(ns: u64) -> Latency {
        Latency { count: 1, min: ns, max: ns, mean: 0.0, buckets: vec![(ns, 1)] }
    }

    fn sound(totals: &Totals) -> Facts<'_> {
        Facts {
            asked: Asked::Scheduled,
            late: latency(100_000),
            latency: latency(1_000_000),
            totals,
            busiest_thread: 0.5,
            server_ended: false,
        }
    }

    fn totals(offered_records: u64, records: u64) -> Totals {
        Totals { offered_records, records, ..Totals::default() }
    }

    fn refused(facts: &Facts) -> String {
        match judge(facts) {
            Verdict::Valid => String::new(),
            Verdict::Invalid(why) => why,
        }
    }

    #[test]
    fn a_generator_that_kept_its_schedule_is_believed() {
        let totals = totals(1000, 1000);
        assert_eq!(judge(&sound(&totals)), Verdict::Valid);
        // Late because the server kept it waiting is not late.
        let slow = super::tests::totals(1000, 100);
        assert_eq!(judge(&sound(&slow)), Verdict::Valid);
    }

    #[test]
    fn a_generator_that_was_late_by_its_own_fault_is_not() {
        let totals = totals(1000, 1000);
        let late = Facts { late: latency(2_000_000), ..sound(&totals) };
        assert!(refused(&late).contains("--load-cpus"), "{}", refused(&late));
        let closed = Facts { asked: Asked::Closed, late: latency(2_000_000), ..sound(&totals) };
        assert_eq!(judge(&closed), Verdict::Valid);
        let slow_anyway = Facts { latency: latency(100_000_000), ..late };
        assert_eq!(judge(&slow_anyway), Verdict::Valid);
    }

    #[test]
    fn a_saturated_generator_that_fell_behind_is_not() {
        let totals = totals(1000, 900);
        let saturated = Facts { busiest_thread: 0.99, ..sound(&totals) };
        assert!(refused(&saturated).contains("fell behind"), "{}", refused(&saturated));
        let searched = Facts { asked: Asked::Searched, ..saturated };
        assert_eq!(judge(&searched), Verdict::Valid);
    }

    #[test]
    fn a_server_that_ended_or_did_nothing_is_no_result() {
        let (none, some) = (totals(10, 0), totals(10, 10));
        assert!(refused(&sound(&none)).contains("not one record"));
        let ended = Facts { server_ended: true, ..sound(&some) };
        assert!(refused(&ended).contains("ended during the run"));
        let idle = Facts { asked: Asked::Nothing, ..sound(&none) };
        assert_eq!(judge(&idle), Verdict::Valid);
    }
}
