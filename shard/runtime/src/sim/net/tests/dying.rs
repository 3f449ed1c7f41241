//! Processes that are killed, and hosts without power.

use super::*;

#[test]
fn killed_process_ends_its_connections_in_order_or_not() {
    let (mut ends, mut resets) = (0, 0);
    for seed in 0..40 {
        let mut world = World::new(seed);
        let (client, server) = world.pair();
        world.write(server, &pattern(1000));
        world.net.crash(world.now, B, false);
        assert_eq!(world.read(client), (vec![], None));
        world.settle();
        let (bytes, end) = world.read(client);
        assert_eq!(bytes, pattern(1000)[..bytes.len()]);
        match end {
            Some(Ok(())) => {
                assert_eq!(bytes.len(), 1000);
                ends += 1;
            }
            Some(Err(ErrorKind::ConnectionReset)) => resets += 1,
            other => panic!("{other:?}"),
        }
        assert_eq!(world.struck(NetFault::HalfOpen), 0);
        world.net.close(world.now, client);
        world.assert_forgotten();
        // Destructors of the dead may still run.
        world.net.close(world.now, server);
        world.assert_forgotten();
    }
    assert!(ends > 5 && resets > 5, "{ends} ends, {resets} resets");
}

#[test]
fn killed_process_with_unread_bytes_always_resets() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let (client, _server) = world.pair();
        world.write(client, b"unread");
        world.settle();
        world.net.crash(world.now, B, false);
        world.settle();
        assert_eq!(world.read(client), (vec![], Some(Err(ErrorKind::ConnectionReset))));
    }
}

#[test]
fn killed_process_listens_no_more_and_its_next_life_may() {
    let mut world = World::new(1);
    let listener = world.listen(B, 80);
    let waiting = world.connect(A, address(B, 80));
    world.settle();
    world.net.crash(world.now, B, false);
    world.net.unbind(listener);
    let late = world.connect(A, address(B, 80));
    world.settle();
    assert!(world.read(waiting).1.is_some());
    let Poll::Ready(result) = world.connected(late) else { panic!("waits") };
    assert_eq!(kind_of(result), ErrorKind::ConnectionRefused);
    let listener = world.listen(B, 80);
    world.connect(A, address(B, 80));
    world.settle();
    assert!(world.accept(listener).is_some());
}

#[test]
fn loss_of_power_is_silent_until_somebody_speaks() {
    let mut world = World::new(1);
    let (client, _server) = world.pair();
    world.net.crash(world.now, B, true);
    world.run(1000 * S);
    assert_eq!(world.read(client), (vec![], None));
    assert_eq!(world.struck(NetFault::HalfOpen), 1);
    world.net.up(B);
    world.run(1000 * S);
    assert_eq!(world.read(client), (vec![], None));
    world.write(client, b"anybody there?");
    world.settle();
    assert_eq!(world.read(client), (vec![], Some(Err(ErrorKind::ConnectionReset))));
    world.net.close(world.now, client);
    world.assert_forgotten();
}

#[test]
fn what_is_sent_to_a_host_without_power_waits_and_is_rejected_then() {
    let mut world = World::new(1);
    let (client, _server) = world.pair();
    world.net.crash(world.now, B, true);
    world.write(client, b"x");
    world.run(30 * S);
    assert_eq!(world.read(client), (vec![], None));
    assert_eq!(world.struck(NetFault::Held), 0);
    world.net.up(B);
    assert!(world.net.next_event() > Some(world.now));
    world.settle();
    assert_eq!(world.read(client), (vec![], Some(Err(ErrorKind::ConnectionReset))));
}

#[test]
fn what_is_sent_to_a_host_that_stays_without_power_times_out() {
    let mut world = World::new(1);
    let (client, _server) = world.pair();
    world.write(client, b"in flight when it happens");
    world.net.crash(world.now, B, true);
    world.run(60 * S);
    assert_eq!(world.read(client), (vec![], Some(Err(ErrorKind::TimedOut))));
    world.net.close(world.now, client);
    world.assert_forgotten();
}

#[test]
fn loss_of_power_loses_a_part_of_what_was_in_flight() {
    let mut lengths = Vec::new();
    for seed in 0..40 {
        let mut world = World::new(seed);
        let (client, server) = world.pair();
        world.write(server, &pattern(1000));
        world.net.crash(world.now, B, true);
        world.settle();
        let (bytes, end) = world.read(client);
        assert_eq!(end, None);
        assert_eq!(bytes, pattern(1000)[..bytes.len()]);
        lengths.push(bytes.len());
    }
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 25, "{lengths:?}");
}

#[test]
fn loss_of_power_loses_all_that_the_network_held() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        let (client, server) = world.pair();
        world.net.cut(world.now, A, B);
        world.write(client, b"held");
        world.net.crash(world.now, A, true);
        world.net.heal(world.now, A, B);
        world.run(S);
        assert_eq!(world.read(server), (vec![], None));
        world.net.close(world.now, server);
        world.assert_forgotten();
    }
}

#[test]
fn connecting_to_a_host_without_power_waits_for_it() {
    for crash_after in [None, Some(0), Some(30 * US), Some(100 * US)] {
        let mut world = World::new(1);
        if crash_after.is_none() {
            world.net.crash(world.now, B, true);
        } else {
            world.listen(B, 80);
        }
        let client = world.connect(A, address(B, 80));
        if let Some(nanos) = crash_after {
            world.run(nanos);
            world.net.crash(world.now, B, true);
        }
        world.run(90 * S);
        assert!(world.connected(client).is_pending());
        world.net.up(B);
        let listener = world.listen(B, 80);
        world.settle();
        assert!(matches!(world.connected(client), Poll::Ready(Ok(()))));
        assert!(world.accept(listener).is_some());
    }
}

#[test]
fn caller_that_loses_power_leaves_no_half_made_connection_behind() {
    for nanos in [0, 30 * US, 100 * US] {
        let mut world = World::new(1);
        let listener = world.listen(B, 80);
        let client = world.connect(A, address(B, 80));
        world.run(nanos);
        assert!(world.connected(client).is_pending());
        world.net.crash(world.now, A, true);
        world.run(200 * S);
        assert!(world.accept(listener).is_none());
        world.assert_forgotten();
    }
}

#[test]
fn up_again_changes_nothing_for_a_host_that_is_on() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.write(client, b"x");
    world.net.up(A);
    world.net.up(B);
    world.settle();
    assert_eq!(world.read(server), (b"x".to_vec(), None));
}

#[test]
fn connection_within_a_host_dies_with_it() {
    for power in [false, true] {
        let mut world = World::new(1);
        let listener = world.listen(A, 80);
        world.connect(A, address(A, 80));
        world.settle();
        assert!(world.accept(listener).is_some());
        world.net.crash(world.now, A, power);
        world.assert_forgotten();
        assert_eq!(world.struck(NetFault::HalfOpen), 0);
    }
}

#[test]
fn tasks_of_the_dead_are_not_woken() {
    for power in [false, true] {
        let mut world = World::new(1);
        let (_client, server) = world.pair();
        let listener = world.listen(B, 80);
        assert!(world.accept(listener).is_none());
        assert_eq!(world.read(server), (vec![], None));
        let connecting = world.connect(B, address(A, 99));
        assert!(world.connected(connecting).is_pending());
        let woken = world.count.get();
        world.net.crash(world.now, B, power);
        world.run(200 * S);
        assert_eq!(world.count.get(), woken);
    }
}
