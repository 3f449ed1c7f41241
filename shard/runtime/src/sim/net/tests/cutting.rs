//! Partitions.

use super::*;

#[test]
fn cut_holds_what_is_in_flight_and_what_follows_until_it_heals() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.write(client, b"in flight, ");
    world.net.cut(world.now, A, B);
    assert!(world.net.is_cut(A, B) && !world.net.is_cut(B, A));
    world.write(client, b"held");
    world.run(30 * S);
    assert_eq!(world.read(server), (vec![], None));
    assert_eq!(world.struck(NetFault::Held), 2);
    world.net.heal(world.now, A, B);
    assert_eq!(world.read(server), (vec![], None));
    world.settle();
    assert_eq!(world.read(server), (b"in flight, held".to_vec(), None));
    for kind in [TraceKind::Cut { from: A, to: B }, TraceKind::Healed { from: A, to: B }] {
        assert_eq!(world.events.iter().filter(|event| **event == (None, kind.clone())).count(), 1);
    }
    let send = |bytes, arrives| TraceKind::Send { connection: 0, to: B, bytes, arrives };
    assert!(world.events.contains(&(Some(A), send(4, None))));
}

#[test]
fn cut_of_one_direction_leaves_the_other() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.net.cut(world.now, A, B);
    world.write(server, b"hears");
    world.write(client, b"is not heard");
    world.settle();
    assert_eq!(world.read(client), (b"hears".to_vec(), None));
    assert_eq!(world.read(server), (vec![], None));
}

#[test]
fn cutting_and_healing_twice_is_doing_it_once() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    for _ in 0..2 {
        world.net.cut(world.now, A, B);
    }
    world.write(client, b"x");
    for _ in 0..2 {
        world.net.heal(world.now, A, B);
    }
    world.settle();
    assert_eq!(world.read(server).0, b"x");
    assert_eq!(world.events.iter().filter(|(node, _)| node.is_none()).count(), 2);
}

#[test]
fn sender_gives_up_after_a_minute_and_its_peer_is_half_open() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.net.cut(world.now, A, B);
    assert_eq!(world.read(client), (vec![], None));
    world.write(client, b"x");
    world.run(60 * S - 1);
    assert_eq!(world.read(client), (vec![], None));
    world.run(1);
    assert_eq!(world.read(client), (vec![], Some(Err(ErrorKind::TimedOut))));
    world.net.heal(world.now, A, B);
    world.settle();
    assert_eq!(world.read(server), (vec![], None));
    // Whoever speaks learns of it.
    world.write(server, b"anybody there?");
    world.settle();
    assert_eq!(world.read(server), (vec![], Some(Err(ErrorKind::ConnectionReset))));
}

#[test]
fn flapping_for_longer_than_a_minute_breaks_nothing() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    for number in 0..20 {
        world.net.cut(world.now, A, B);
        world.net.cut(world.now, B, A);
        world.write(client, &[number]);
        world.run(50 * S);
        world.net.heal(world.now, A, B);
        world.net.heal(world.now, B, A);
        world.settle();
    }
    assert_eq!(world.read(server), ((0..20).collect(), None));
}

#[test]
fn end_of_the_stream_waits_for_a_cut_to_heal() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.net.cut(world.now, A, B);
    world.write(client, b"x");
    world.net.close(world.now, client);
    world.run(S);
    assert_eq!(world.read(server), (vec![], None));
    world.net.heal(world.now, A, B);
    world.settle();
    assert_eq!(world.read(server), (b"x".to_vec(), Some(Ok(()))));
}

#[test]
fn closed_sender_that_gives_up_is_forgotten_with_its_peer() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.net.cut(world.now, A, B);
    world.write(client, b"x");
    world.net.close(world.now, client);
    world.run(61 * S);
    assert_eq!(world.read(server), (vec![], None));
    world.net.close(world.now, server);
    world.assert_forgotten();
}

#[test]
fn reset_waits_for_a_cut_to_heal() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.write(client, b"x");
    world.settle();
    world.net.cut(world.now, B, A);
    world.net.close(world.now, server);
    world.run(S);
    assert_eq!(world.read(client), (vec![], None));
    world.net.heal(world.now, B, A);
    world.settle();
    assert_eq!(world.read(client).1, Some(Err(ErrorKind::ConnectionReset)));
}

#[test]
fn reset_that_replaces_what_was_held_is_held_for_a_minute_too() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let (client, server) = world.pair();
        world.write(server, b"unread");
        world.settle();
        world.net.cut(world.now, A, B);
        world.write(client, b"x");
        world.run(30 * S);
        world.net.close(world.now, client);
        world.run(30 * S);
        assert_eq!(world.read(server), (vec![], None));
        world.run(31 * S);
        world.net.heal(world.now, A, B);
        world.settle();
        assert_eq!(world.read(server), (vec![], None));
    }
}

#[test]
fn healed_network_does_not_reach_a_host_without_power_nor_the_other_way_round() {
    for heals_first in [true, false] {
        let mut world = World::new(1);
        let (client, _server) = world.pair();
        world.net.cut(world.now, A, B);
        world.net.crash(world.now, B, true);
        world.write(client, b"x");
        if heals_first {
            world.net.heal(world.now, A, B);
        } else {
            world.net.up(B);
        }
        world.settle();
        assert_eq!(world.read(client), (vec![], None));
        world.net.heal(world.now, A, B);
        world.net.up(B);
        world.settle();
        assert_eq!(world.read(client).1, Some(Err(ErrorKind::ConnectionReset)));
    }
}

#[test]
fn healing_lets_connections_overtake_each_other() {
    let mut firsts = [0, 0];
    for seed in 0..20 {
        let mut world = World::new(seed);
        let pairs = [world.pair(), world.pair()];
        world.net.cut(world.now, A, B);
        for (client, _) in pairs {
            world.write(client, b"x");
        }
        world.run(S);
        world.net.heal(world.now, A, B);
        let first = loop {
            world.run(US / 10);
            if let Some(index) = pairs.iter().position(|pair| !world.read(pair.1).0.is_empty()) {
                break index;
            }
        };
        firsts[first] += 1;
    }
    assert!(firsts[0] > 2 && firsts[1] > 2, "{firsts:?}");
}

#[test]
fn reset_that_is_held_for_too_long_is_lost_and_who_waits_gives_up() {
    for speaks in [true, false] {
        let mut world = World::new(1);
        let (client, server) = world.pair();
        if speaks {
            world.write(client, b"x");
        } else {
            world.write(server, b"x");
        }
        world.settle();
        world.net.cut(world.now, B, A);
        world.net.crash(world.now, B, true);
        world.net.up(B);
        if speaks {
            world.write(client, b"anybody there?");
        }
        world.run(61 * S);
        world.net.heal(world.now, B, A);
        world.settle();
        let end = world.read(client).1;
        assert_eq!(end, speaks.then_some(Err(ErrorKind::TimedOut)));
    }
}
