//! Every conclusion, from the facts that lead to it.

use super::sentence;
use crate::result::{CeilingName, Run, Share, Use};
use crate::sample;

/// A run of which only this is known.
fn run(core: Option<f64>, shares: &[(CeilingName, f64)], generator: f64, open_loop: bool) -> Run {
    let mut run = sample::file(1, 1).runs.remove(0);
    let used = |busiest_thread| Use { busiest_thread, ..Use::default() };
    run.server = core.map(used);
    run.generator = used(generator);
    run.open_loop = open_loop;
    run.shares = shares.iter().map(|&(ceiling, ratio)| Share { ceiling, ratio }).collect();
    run
}

#[test]
fn the_limit_is_what_is_at_its_limit() {
    use CeilingName::{DiskSync, DiskWriteFresh, TcpEcho, TcpReceive};
    let shares = [(TcpReceive, 0.42), (DiskWriteFresh, 0.61)];
    for (run, sentence_of_it) in [
        (
            run(Some(0.97), &shares, 0.5, false),
            "The server's core is 97 % busy, writing to the disk is at 61 % of its ceiling and receiving over TCP is at \
             42 % of its ceiling: the core is the limit.",
        ),
        (
            run(Some(0.4), &[(DiskWriteFresh, 0.93)], 0.5, false),
            "The server's core is 40 % busy and writing to the disk is at 93 % of its ceiling: writing to the \
             disk is the limit.",
        ),
        (
            run(Some(0.9), &[(TcpReceive, 0.9)], 0.99, false),
            "The server's core is 90 % busy and receiving over TCP is at 90 % of its ceiling: the core and receiving \
             over TCP are the limit together.",
        ),
        (
            run(Some(0.4), &[], 0.99, false),
            "The server's core is 40 % busy: the load generator is 99 % busy and is the limit, not the server.",
        ),
        (
            run(Some(0.97), &[], 0.99, false),
            "The server's core is 97 % busy: the core is the limit.",
        ),
        (
            run(Some(0.3), &[(DiskSync, 1.63)], 0.2, false),
            "The server's core is 30 % busy and a request takes 1.63 times the disk's own write and sync: each request waits for the \
             one before, so latency is the limit.",
        ),
        (
            run(Some(0.92), &[(TcpEcho, 1.6)], 0.9, false),
            "The server's core is 92 % busy and a request takes 1.60 times a bare echo over TCP: each request waits for the \
             one before, so latency is the limit.",
        ),
        (
            run(Some(0.4), &[(DiskWriteFresh, 0.56)], 0.61, false),
            "The server's core is 40 % busy and writing to the disk is at 56 % of its ceiling: the load generator is 61 % \
             busy, so it and the server wait for each other in turn.",
        ),
        (
            run(Some(0.5), &shares, 0.5, true),
            "The server's core is 50 % busy, writing to the disk is at 61 % of its ceiling and receiving over TCP is at \
             42 % of its ceiling: the load is paced, and nothing is at its limit.",
        ),
        (
            run(None, &[(TcpReceive, 0.2)], 0.5, false),
            "Receiving over TCP is at 20 % of its ceiling: nothing is at its limit, so the time goes into waiting.",
        ),
    ] {
        assert_eq!(sentence(&[&run]).unwrap(), sentence_of_it);
    }
}

#[test]
fn of_nothing_nothing_is_said() {
    assert_eq!(sentence(&[]), None);
    assert_eq!(sentence(&[&run(None, &[], 0.1, false)]), None);
}
