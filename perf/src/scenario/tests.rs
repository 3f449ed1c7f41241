//! Reading scenarios, and refusing what is none.

use super::*;

fn read(text: &str) -> Result<Scenario, String> {
    Scenario::read(text, toml::Table::new()).map_err(|failure| failure.to_string())
}

#[test]
fn every_scenario_reads_back_from_what_it_prints() {
    for BuiltIn { name, .. } in built_ins() {
        let scenario = built_in(name).unwrap().unwrap();
        assert_eq!(read(&scenario.to_toml()), Ok(scenario));
    }
    let every = "arrivals = 'bursts:1.5k,10k,250ms'\nrecord_size = 'lognormal:300,1.25,64KiB'\n\
                 keys = 'zipf:1M,1.1'\npayload = 'compressible:4'\nsettings = ['server.pin=false']";
    let scenario = read(every).unwrap();
    assert_eq!(read(&scenario.to_toml()), Ok(scenario));
    let ramp = read("arrivals = 'ramp:10..2k'\nrecord_size = 'uniform:1..9'").unwrap();
    assert_eq!(ramp.arrivals, Arrivals::Ramp { from: 10.0, to: 2000.0 });
    assert_eq!(read(&ramp.to_toml()), Ok(ramp));
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let message = read("recordsize = '1KiB'").unwrap_err();
    assert!(message.contains("recordsize") && message.contains("record_size"), "{message}");
}

#[test]
fn flags_are_laid_over_the_file() {
    let mut flags = toml::Table::new();
    flags.insert("producers".to_owned(), toml::Value::Integer(3));
    flags.insert("arrivals".to_owned(), toml::Value::String("poisson:10k".to_owned()));
    let scenario = Scenario::read("producers = 8\nseed = 9", flags).unwrap();
    assert_eq!((scenario.producers, scenario.seed), (3, 9));
    assert_eq!(scenario.arrivals, Arrivals::Poisson { rate: 10_000.0 });
}

#[test]
fn what_is_out_of_range_is_refused_with_the_range() {
    let cases = [
        ("producers = 0", "producers = 0: from 1 to 256"),
        ("partitions = 1025", "from 1 to 1024"),
        ("per_arrival = 0", "per_arrival = 0"),
        ("repetitions = 0", "repetitions = 0"),
        ("record_size = '9MiB'", "record_size"),
        ("record_size = 'uniform:9..3'", "record_size"),
        ("workload = 'tail'\nrecord_size = '7B'", "at least 8 bytes"),
        ("arrivals = 'constant:0'", "a rate from"),
        ("arrivals = 'constant:2G'", "a rate from"),
        ("arrivals = 'closed:0'", "arrivals closed = 0"),
        ("arrivals = 'sometimes'", "are no arrivals"),
        ("arrivals = 'search:10,1,5ms'", "a factor from"),
        ("keys = 'zipf:0,1'", "different ones"),
        ("keys = 'zipf:10,99'", "exponent"),
        ("payload = 'compressible:0.5'", "a ratio from"),
        ("measure = '1ms'", "at least 100ms"),
        ("warm_up = '25h'", "at most 1d"),
        ("linger = '2min'", "linger: at most"),
        ("linger = '5'", "is no duration"),
        ("in_flight = 9", "in_flight = 9: from 1 to 8"),
        ("buffer_bytes = '1MiB'", "buffer_bytes"),
        ("segment_bytes = '1B'", "segment_bytes"),
        ("storage = 'memory'", "goes with durability"),
        ("workload = 'mixed'\nfill = 0", "something to read"),
        ("idle_connections = 5", "workload = \"idle\""),
        ("driver = 'frames'\nworkload = 'tail'", "only does"),
        ("driver = 'frames'\nper_arrival = 1000000", "one batch"),
        ("name = 'a b'", "are a name"),
        ("seed = -1", "seed"),
    ];
    for (text, expected) in cases {
        let message = read(text).unwrap_err();
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn an_idle_server_needs_no_producers() {
    let scenario = read("workload = 'idle'\nproducers = 0\nidle_connections = 10").unwrap();
    assert!(!scenario.appends());
}
