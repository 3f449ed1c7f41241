//! Slow readers.

use super::*;
use crate::sim::net::connection::Side;

/// Writes as much as there is room for.
fn fill(world: &mut World, stream: StreamId) -> usize {
    let mut total = 0;
    while let Poll::Ready(count) = world.poll_write(stream, &[7; 10_000]) {
        total += count.unwrap();
    }
    total
}

#[test]
fn both_buffers_fill_and_reading_makes_room_after_a_delay() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    assert_eq!(fill(&mut world, client), 512 << 10);
    world.settle();
    assert!(world.poll_write(client, b"x").is_pending());
    let woken = world.count.get();
    let mut bytes = [0; 1000];
    assert!(matches!(world.poll_read(server, &mut bytes), Poll::Ready(Ok(1000))));
    assert_eq!(world.net.connections[&0].room(Side::Client), 0);
    world.settle();
    assert_eq!(world.count.get(), woken + 1);
    assert_eq!(fill(&mut world, client), 1000);
}

#[test]
fn sizes_of_buffers_are_what_they_were_set_to() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.net.set_buffers(client, Some(1000), Some(1));
    world.net.set_buffers(server, Some(1), Some(500));
    assert_eq!(fill(&mut world, client), 1500);
    assert_eq!(fill(&mut world, server), 2);
    let woken = world.count.get();
    world.net.set_buffers(server, None, Some(600));
    world.run(0);
    assert!(world.count.get() > woken);
    assert_eq!(fill(&mut world, client), 100);
    world.net.set_buffers(client, Some(0), None);
    assert_eq!(fill(&mut world, client), 0);
}

#[test]
fn no_buffers_are_a_byte_each() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.net.set_buffers(client, Some(0), None);
    world.net.set_buffers(server, None, Some(0));
    assert_eq!(fill(&mut world, client), 2);
}

#[test]
fn what_was_read_before_the_writer_waits_makes_room_too() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.write(client, &[0; 1000]);
    world.settle();
    assert_eq!(world.read(server).0.len(), 1000);
    assert_eq!(fill(&mut world, client), (512 << 10) - 1000);
    world.settle();
    assert_eq!(fill(&mut world, client), 1000);
}

#[test]
fn sender_that_waits_for_a_peer_that_gave_up_learns_of_it() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    fill(&mut world, server);
    world.settle();
    world.net.cut(world.now, A, B);
    world.write(client, b"x");
    let woken = world.count.get();
    world.run(60 * S);
    // The client's kernel has given up; its reset is held, and then lost, too.
    assert_eq!(world.count.get(), woken);
    world.run(61 * S);
    assert_eq!(world.count.get(), woken + 1);
    let Poll::Ready(result) = world.poll_write(server, b"x") else { panic!("waits") };
    assert_eq!(kind_of(result), ErrorKind::TimedOut);
}

#[test]
fn window_opens_again_and_again() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.net.set_buffers(client, Some(3000), None);
    world.net.set_buffers(server, None, Some(2000));
    let (mut sent, mut received) = (0, 0);
    for _ in 0..100 {
        sent += fill(&mut world, client);
        world.run(300 * US);
        received += world.read(server).0.len();
        // The news of reading may take two turns.
        world.run(600 * US);
    }
    assert_eq!(sent, 500_000);
    assert_eq!(received, 500_000);
}

#[test]
fn most_reads_cost_no_event() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    for _ in 0..100 {
        world.write(client, &[1; 1000]);
        world.settle();
        assert_eq!(world.read(server).0.len(), 1000);
        assert_eq!(world.net.next_event(), None);
    }
}

#[test]
fn news_of_reading_wait_for_a_cut_to_heal() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    fill(&mut world, client);
    world.settle();
    world.net.cut(world.now, B, A);
    world.read(server);
    world.run(59 * S);
    assert!(world.poll_write(client, b"x").is_pending());
    world.net.heal(world.now, B, A);
    world.settle();
    assert_eq!(fill(&mut world, client), 512 << 10);
}

#[test]
fn sender_that_hears_no_news_of_reading_gives_up() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    fill(&mut world, client);
    world.settle();
    world.net.cut(world.now, B, A);
    world.read(server);
    let woken = world.count.get();
    world.run(60 * S);
    assert!(world.count.get() > woken);
    let Poll::Ready(result) = world.poll_write(client, b"x") else { panic!("waits") };
    assert_eq!(kind_of(result), ErrorKind::TimedOut);
}

#[test]
fn sender_that_waits_for_a_reader_without_power_learns_of_it() {
    for back in [true, false] {
        let mut world = World::new(1);
        let (client, _server) = world.pair();
        fill(&mut world, client);
        world.settle();
        world.net.crash(world.now, B, true);
        let woken = world.count.get();
        world.run(S);
        assert_eq!(world.count.get(), woken);
        let expected = if back {
            world.net.up(B);
            world.settle();
            ErrorKind::ConnectionReset
        } else {
            world.run(60 * S);
            ErrorKind::TimedOut
        };
        assert_eq!(world.count.get(), woken + 1);
        let Poll::Ready(result) = world.poll_write(client, b"x") else { panic!("waits") };
        assert_eq!(kind_of(result), expected);
    }
}

#[test]
fn sender_that_begins_to_wait_for_a_dead_reader_learns_of_it() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.net.set_buffers(server, None, Some(1000));
    world.net.set_buffers(client, Some(1000), None);
    world.write(client, &[0; 2000]);
    world.settle();
    world.net.crash(world.now, B, true);
    world.net.up(B);
    assert!(world.poll_write(client, b"x").is_pending());
    world.settle();
    assert_eq!(world.read(client).1, Some(Err(ErrorKind::ConnectionReset)));
}

#[test]
fn sender_that_waits_for_a_killed_peer_learns_of_it_through_a_cut() {
    let mut world = World::new(1);
    let (client, _server) = world.pair();
    fill(&mut world, client);
    world.settle();
    world.net.cut(world.now, B, A);
    world.net.crash(world.now, B, false);
    let woken = world.count.get();
    // One reset is lost after a minute, and another one that it then asks for.
    world.run(121 * S);
    assert_eq!(world.count.get(), woken + 1);
    let Poll::Ready(result) = world.poll_write(client, b"x") else { panic!("waits") };
    assert_eq!(kind_of(result), ErrorKind::TimedOut);
}
