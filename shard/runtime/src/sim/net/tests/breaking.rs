//! Connections that the network breaks.

use super::*;

#[test]
fn reset_leaves_a_random_prefix_and_tells_both_ends() {
    let mut lengths = Vec::new();
    for seed in 0..60 {
        let mut world = World::new(seed);
        let (client, server) = world.pair();
        world.write(client, &pattern(3000));
        world.net.set_faults(NetFaults { reset: ALWAYS, ..NetFaults::default() });
        world.write(client, &pattern(6000)[3000..]);
        world.net.set_faults(NetFaults::default());
        world.write(client, b"taken, but it goes nowhere");
        world.settle();
        let (bytes, end) = world.read(server);
        assert_eq!(end, Some(Err(ErrorKind::ConnectionReset)));
        assert_eq!(bytes, pattern(6000)[..bytes.len()]);
        lengths.push(bytes.len());
        assert_eq!(world.read(client), (vec![], Some(Err(ErrorKind::ConnectionReset))));
        assert_eq!(world.struck(NetFault::Reset), 1);
        for (node, stream) in [(A, client), (B, server)] {
            assert!(world.events.contains(&(Some(node), TraceKind::Reset { connection: 0 })));
            world.net.close(world.now, stream);
        }
        world.assert_forgotten();
    }
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 50, "{lengths:?}");
    assert!(lengths[0] < 600 && lengths.last() > Some(&5400), "{lengths:?}");
}

#[test]
fn closing_does_not_hide_a_reset_from_the_peer() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let (client, server) = world.pair();
        world.net.set_faults(NetFaults { reset: ALWAYS, ..NetFaults::default() });
        world.write(client, b"x");
        world.net.close(world.now, client);
        world.settle();
        assert_eq!(world.read(server).1, Some(Err(ErrorKind::ConnectionReset)));
    }
}

#[test]
fn what_came_before_a_reset_can_be_read() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.write(client, b"before");
    world.settle();
    world.net.set_faults(NetFaults { reset: ALWAYS, ..NetFaults::default() });
    world.write(client, b"with");
    world.settle();
    let (bytes, end) = world.read(server);
    assert!(bytes.starts_with(b"before"));
    assert_eq!(end, Some(Err(ErrorKind::ConnectionReset)));
}

#[test]
fn error_is_told_once() {
    for reads_first in [true, false] {
        let mut world = World::new(1);
        let (client, _server) = world.pair();
        world.net.set_faults(NetFaults { reset: ALWAYS, ..NetFaults::default() });
        assert_eq!(world.read(client), (vec![], None));
        let woken = world.count.get();
        world.write(client, b"x");
        world.settle();
        assert_eq!(world.count.get(), woken + 1);
        let reset = ErrorKind::ConnectionReset;
        if reads_first {
            assert_eq!(world.read(client).1, Some(Err(reset)));
        } else {
            let Poll::Ready(result) = world.poll_write(client, b"x") else { panic!("waits") };
            assert_eq!(kind_of(result), reset);
        }
        assert_eq!(world.read(client).1, Some(Ok(())));
        let Poll::Ready(result) = world.poll_write(client, b"x") else { panic!("waits") };
        assert_eq!(kind_of(result), ErrorKind::BrokenPipe);
    }
}

#[test]
fn reset_takes_no_longer_than_what_was_in_flight() {
    let mut world = World::new(1);
    let (client, _server) = world.pair();
    world.net.set_faults(NetFaults { reset: ALWAYS, ..NetFaults::default() });
    world.write(client, b"x");
    world.run(199 * US + US);
    assert_eq!(world.read(client).1, Some(Err(ErrorKind::ConnectionReset)));
}

#[test]
fn same_seed_gives_the_same_events_and_another_does_not() {
    let run = |seed| {
        let faults =
            NetFaults { reset: ALWAYS / 100, short_read: ALWAYS / 4, ..NetFaults::default() };
        let mut world = World::with(seed, faults);
        for _ in 0..5 {
            let (client, server) = world.pair();
            for _ in 0..20 {
                drop(world.poll_write(client, &pattern(1000)));
                world.run(100 * US);
                world.read(server);
            }
        }
        world.net.crash(world.now, B, true);
        world.settle();
        format!("{:?}", world.events)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn fault_that_never_struck_can_be_switched_off_without_a_trace() {
    let run = |faults| {
        let mut world = World::with(5, faults);
        let (client, server) = world.pair();
        for _ in 0..30 {
            world.write(client, &pattern(1000));
            world.settle();
            world.read(server);
        }
        assert!(world.struck(NetFault::ShortRead) > 0);
        assert_eq!(world.net.struck().len(), 1);
        format!("{:?}", world.events)
    };
    let on = NetFaults {
        short_read: ALWAYS / 4,
        short_write: 1,
        reset: 1,
        delayed: 1,
        delayed_max: S,
        connect_failed: 1,
        ..NetFaults::default()
    };
    let off = NetFaults { short_read: ALWAYS / 4, ..NetFaults::default() };
    assert_eq!(run(on), run(off));
}
