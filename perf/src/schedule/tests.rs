//! Rates come out right, time does not go back, and a seed says it all.

use quickcheck::quickcheck;

use super::*;

const ALONE: Part = Part { index: 0, of: 1 };

fn schedule(arrivals: &str, per_arrival: u32, part: Part, seed: u64) -> Schedule {
    let over = Duration::from_secs(10);
    Schedule::new(arrivals.parse().unwrap(), per_arrival, (part, over), seed).unwrap()
}

/// Records due before `end`, over all producers.
fn records(arrivals: &str, per_arrival: u32, producers: u32, end: Duration) -> u64 {
    let parts = (0..producers).map(|index| Part { index, of: producers });
    parts
        .flat_map(|part| {
            let due = schedule(arrivals, per_arrival, part, 7);
            due.take_while(|arrival| arrival.due_ns < nanoseconds(end))
        })
        .map(|arrival| u64::from(arrival.records))
        .sum()
}

#[test]
fn constant_arrivals_are_exactly_spaced_and_producers_take_turns() {
    let dues = |index| {
        let part = Part { index, of: 2 };
        schedule("constant:1k", 10, part, 1).take(3).map(|a| a.due_ns).collect::<Vec<_>>()
    };
    assert_eq!(dues(0), [0, 20_000_000, 40_000_000]);
    assert_eq!(dues(1), [10_000_000, 30_000_000, 50_000_000]);
}

#[test]
fn a_burst_comes_whole_at_the_end_of_each_period() {
    let all: Vec<u64> =
        schedule("bursts:1,100,1s", 10, ALONE, 1).take(14).map(|a| a.due_ns).collect();
    let at = |second: u64| all.iter().filter(|due| **due == second * 1_000_000_000).count();
    assert_eq!((at(0), at(1)), (1, 10));
}

#[test]
fn a_ramp_has_its_rate_at_every_moment() {
    let second = |from: u64, to: u64| {
        let due = schedule("ramp:100..1100", 1, ALONE, 1);
        let within = from * 1_000_000_000..to * 1_000_000_000;
        due.take_while(|a| a.due_ns < within.end).filter(|a| within.contains(&a.due_ns)).count()
    };
    // The mean rate of second k is 100 + 100 * (k + 1/2); behind the end it stays.
    assert!(second(0, 1).abs_diff(150) <= 1, "{}", second(0, 1));
    assert!(second(9, 10).abs_diff(1050) <= 1, "{}", second(9, 10));
    assert!(second(10, 12).abs_diff(2200) <= 1, "{}", second(10, 12));
    let falling = records("ramp:1k..0.1", 1, 1, Duration::from_secs(10));
    assert!(falling.abs_diff(5000) <= 1, "{falling}");
}

#[test]
fn a_closed_loop_has_no_schedule() {
    let arrivals = Arrivals::Closed { in_flight: 1 };
    assert!(Schedule::new(arrivals, 1, (ALONE, Duration::ZERO), 1).is_none());
}

#[test]
fn distances_of_poisson_arrivals_spread_as_much_as_their_mean() {
    let dues: Vec<f64> =
        schedule("poisson:1k", 1, ALONE, 3).take(20_000).map(|a| to_f64(a.due_ns)).collect();
    let distances: Vec<f64> = dues.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let count = to_f64(distances.len() as u64);
    let mean = distances.iter().sum::<f64>() / count;
    let deviation = (distances.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / count).sqrt();
    assert!((0.95..1.05).contains(&(mean / 1e6)), "{mean}");
    assert!((0.95..1.05).contains(&(deviation / mean)), "{deviation}");
}

quickcheck! {
    fn rates_come_out_right(rate: u16, per_arrival: u8, producers: u8) -> bool {
        let (rate, per_arrival) = (f64::from(rate) + 1000.0, u32::from(per_arrival % 20) + 1);
        let producers = u32::from(producers % 8) + 1;
        let seconds = 20_u32;
        let expected = rate * f64::from(seconds);
        let near = |process: &str, tolerance: f64| {
            let found = records(process, per_arrival, producers, Duration::from_secs(seconds.into()));
            (to_f64(found) - expected).abs() <= tolerance + f64::from(per_arrival * producers)
        };
        // A Poisson count of n arrivals deviates by its root; six of these do not happen.
        let spread = 6.0 * (expected * f64::from(per_arrival)).sqrt();
        near(&format!("constant:{rate}"), 1.0) && near(&format!("poisson:{rate}"), spread)
    }

    fn time_does_not_go_back_and_a_seed_says_it_all(kind: u8, seed: u64, index: u8) -> bool {
        let processes = ["constant:3k", "poisson:3k", "bursts:500,77,10ms", "ramp:1..5k", "ramp:5k..1"];
        let process = processes[usize::from(kind) % processes.len()];
        let part = Part { index: u32::from(index % 4), of: 4 };
        let dues = |seed| schedule(process, 3, part, seed).take(500).collect::<Vec<_>>();
        let first = dues(seed);
        let random = process.starts_with("poisson");
        first == dues(seed)
            && first.windows(2).all(|pair| pair[0].due_ns <= pair[1].due_ns)
            && (first != dues(seed.wrapping_add(1))) == random
    }
}
