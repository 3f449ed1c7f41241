//! Bytes and their order, and ends in order.

use super::*;
use std::net::Shutdown;

#[test]
fn bytes_arrive_in_order_and_wake_the_reader() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    let woken = world.count.get();
    assert_eq!(world.read(server), (vec![], None));
    let bytes = pattern(300_000);
    for chunk in bytes.chunks(70_001) {
        world.write(client, chunk);
    }
    world.settle();
    assert_eq!(world.count.get(), woken + 1);
    assert!(world.read(server) == (bytes, None));
}

#[test]
fn parts_are_sent_one_after_the_other() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    let bytes = pattern(200_000);
    let (first, rest) = bytes.split_at(1);
    let (second, third) = rest.split_at(65_535);
    let parts = [&[], first, second, &[], third].map(IoSlice::new);
    let mut context = Context::from_waker(Waker::noop());
    let poll = world.net.poll_write(world.now, client, &mut context, &parts);
    assert!(matches!(poll, Poll::Ready(Ok(200_000))));
    let poll = world.net.poll_write(world.now, client, &mut context, &[IoSlice::new(&[]); 2]);
    assert!(matches!(poll, Poll::Ready(Ok(0))));
    world.settle();
    assert!(world.read(server).0 == bytes);
}

#[test]
fn large_write_arrives_in_pieces() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.write(client, &pattern(400_000));
    let mut lengths = Vec::new();
    for _ in 0..200 {
        world.run(US);
        let len = world.read(server).0.len();
        if len > 0 {
            lengths.push(len);
        }
    }
    assert!(lengths.len() > 1, "{lengths:?}");
}

#[test]
fn delay_is_between_its_bounds_and_short_within_a_host() {
    let faults = NetFaults { delay_min: 100 * US, delay_max: 200 * US, ..NetFaults::default() };
    let mut world = World::with(1, faults);
    let (client, server) = world.pair();
    let listener = world.listen(A, 80);
    let inner = world.connect(A, address(A, 80));
    world.settle();
    let near = world.accept(listener).unwrap();
    let mut seen = Vec::new();
    for _ in 0..100 {
        for (from, to, divisor) in [(client, server, 1), (server, client, 1), (inner, near, 10)] {
            world.write(from, b"x");
            let sent = world.now;
            while world.read(to).0.is_empty() {
                world.run(US / 10);
            }
            let took = (world.now - sent) * divisor;
            assert!((100 * US..=201 * US).contains(&took), "{took}");
            seen.push(took);
            world.settle();
        }
    }
    assert!(seen.iter().min() < Some(&(110 * US)) && seen.iter().max() > Some(&(190 * US)));
}

#[test]
fn delayed_segment_is_late_and_so_are_those_behind_it() {
    let usual = NetFaults::default();
    let late = NetFaults { delayed: ALWAYS, delayed_max: 500 * MS, ..usual };
    let mut world = World::new(3);
    let (client, server) = world.pair();
    world.net.set_faults(late);
    world.write(client, b"a");
    world.net.set_faults(usual);
    world.write(client, b"b");
    world.write(server, b"c");
    world.settle();
    assert_eq!(world.struck(NetFault::Delayed), 1);
    assert_eq!(world.read(server).0, b"");
    assert_eq!(world.read(client).0, b"c");
    world.run(500 * MS);
    assert_eq!(world.read(server).0, b"ab");
}

#[test]
fn trace_says_when_what_is_sent_will_arrive() {
    let faults = NetFaults { delayed: ALWAYS / 4, delayed_max: 2 * MS, ..NetFaults::default() };
    let mut world = World::with(1, faults);
    let (client, server) = world.pair();
    let (mut said, mut seen) = (Vec::new(), Vec::new());
    let mut note = |world: &mut World| {
        for (_, kind) in world.net.drain_events() {
            match kind {
                TraceKind::Send { bytes, arrives: Some(at), .. } => said.push((at, bytes)),
                TraceKind::Receive { bytes, .. } if bytes < 100 => seen.push((world.now, bytes)),
                _ => {}
            }
        }
    };
    for len in 1..100 {
        if len % 5 == 0 {
            world.settle();
            world.net.cut(world.now, A, B);
            world.write(client, &pattern(1000));
            world.write(client, &pattern(1000));
            world.net.heal(world.now, A, B);
        }
        world.write(client, &pattern(len));
        for _ in 0..20 {
            world.now += 10 * US;
            while let Some(at) = world.net.next_event().filter(|at| *at <= world.now) {
                let now = std::mem::replace(&mut world.now, at);
                drop(world.net.advance(at));
                note(&mut world);
                world.now = now;
            }
        }
        note(&mut world);
        world.read(server);
    }
    assert!(seen.len() > 30, "{}", seen.len());
    assert!(seen.iter().all(|arrival| said.contains(arrival)));
    assert!(said.is_sorted_by_key(|(at, _)| *at));
}

#[test]
fn connections_overtake_each_other() {
    let mut world = World::new(1);
    let first = world.pair();
    let second = world.pair();
    let mut overtaken = 0;
    for _ in 0..40 {
        world.write(first.0, b"1");
        world.write(second.0, b"2");
        loop {
            world.run(US);
            let earlier = world.read(first.1).0.len();
            let later = world.read(second.1).0.len();
            overtaken += usize::from(earlier < later);
            if earlier + later > 0 {
                break;
            }
        }
        world.settle();
        world.read(first.1);
        world.read(second.1);
    }
    assert!((5..=35).contains(&overtaken), "{overtaken}");
}

#[test]
fn end_comes_after_all_bytes_and_the_other_direction_goes_on() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.write(client, b"question");
    world.net.shutdown(world.now, client, Shutdown::Write).unwrap();
    world.net.shutdown(world.now, client, Shutdown::Write).unwrap();
    world.settle();
    assert_eq!(world.read(server), (b"question".to_vec(), Some(Ok(()))));
    assert_eq!(world.read(server), (vec![], Some(Ok(()))));
    world.write(server, b"answer");
    world.net.close(world.now, server);
    world.settle();
    assert_eq!(world.read(client), (b"answer".to_vec(), Some(Ok(()))));
    let closed = world.events.iter().filter(|(_, kind)| matches!(kind, TraceKind::Closed { .. }));
    assert_eq!(closed.count(), 2);
    world.net.close(world.now, client);
    world.assert_forgotten();
}

#[test]
fn after_shutdown_writing_is_a_broken_pipe_and_a_waiting_writer_learns_it() {
    let mut world = World::new(1);
    let (client, _server) = world.pair();
    while let Poll::Ready(count) = world.poll_write(client, &pattern(65_536)) {
        count.unwrap();
    }
    let woken = world.count.get();
    world.net.shutdown(world.now, client, Shutdown::Write).unwrap();
    world.run(0);
    assert_eq!(world.count.get(), woken + 1);
    let Poll::Ready(result) = world.poll_write(client, b"x") else { panic!("waits") };
    assert_eq!(kind_of(result), ErrorKind::BrokenPipe);
}

#[test]
fn shutdown_of_reading_ends_a_waiting_read_at_once() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    assert_eq!(world.read(server), (vec![], None));
    let woken = world.count.get();
    world.net.shutdown(world.now, server, Shutdown::Read).unwrap();
    assert_eq!(world.net.next_event(), Some(world.now));
    world.run(0);
    assert_eq!(world.count.get(), woken + 1);
    assert_eq!(world.read(server), (vec![], Some(Ok(()))));
    // Linux goes on to receive.
    world.write(client, b"x");
    world.settle();
    assert_eq!(world.read(server), (b"x".to_vec(), Some(Ok(()))));
}

#[test]
fn bytes_for_an_end_that_was_shut_both_ways_break_the_connection() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.net.shutdown(world.now, server, Shutdown::Both).unwrap();
    world.settle();
    assert_eq!(world.read(client), (vec![], Some(Ok(()))));
    world.write(client, b"x");
    world.settle();
    let Poll::Ready(result) = world.poll_write(client, b"x") else { panic!("waits") };
    assert_eq!(kind_of(result), ErrorKind::BrokenPipe);
    assert_eq!(world.read(server), (vec![], Some(Ok(()))));
    assert_eq!(kind_of(world.net.peer_addr(server)), ErrorKind::NotConnected);
}

#[test]
fn what_was_written_before_closing_still_arrives() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.write(client, &pattern(200_000));
    world.net.close(world.now, client);
    world.settle();
    assert!(world.read(server) == (pattern(200_000), Some(Ok(()))));
    world.net.close(world.now, server);
    world.assert_forgotten();
}

#[test]
fn closing_with_unread_bytes_resets_the_connection() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.write(client, b"never read");
    world.settle();
    world.net.close(world.now, server);
    world.settle();
    assert_eq!(world.read(client), (vec![], Some(Err(ErrorKind::ConnectionReset))));
}

#[test]
fn writing_to_a_peer_that_closed_resets_the_connection() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.net.close(world.now, server);
    world.write(client, b"too late");
    let mut kinds = Vec::new();
    for _ in 0..3 {
        world.settle();
        if let Poll::Ready(Err(error)) = world.poll_write(client, b"x") {
            kinds.push(error.kind());
        }
    }
    assert_eq!(kinds.len(), 3);
    assert!(matches!(kinds[0], ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kinds:?}");
    assert_eq!(kinds[1..], [ErrorKind::BrokenPipe; 2]);
}

#[test]
fn end_may_be_seen_before_the_reset_that_follows_it() {
    let mut ends = 0;
    for seed in 0..40 {
        let mut world = World::new(seed);
        let (client, server) = world.pair();
        world.net.cut(world.now, B, A);
        world.net.close(world.now, server);
        world.write(client, b"too late");
        world.settle();
        world.net.heal(world.now, B, A);
        world.settle();
        match world.read(client).1 {
            Some(Ok(())) => ends += 1,
            end => assert_eq!(end, Some(Err(ErrorKind::ConnectionReset))),
        }
    }
    assert!((5..=35).contains(&ends), "{ends}");
}

#[test]
fn end_that_reaches_nobody_is_answered_with_a_reset() {
    let mut world = World::new(1);
    let (client, _server) = world.pair();
    world.net.crash(world.now, B, true);
    world.net.up(B);
    world.net.shutdown(world.now, client, Shutdown::Write).unwrap();
    world.settle();
    assert_eq!(world.read(client).1, Some(Err(ErrorKind::ConnectionReset)));
}

#[test]
fn short_reads_and_writes_lose_nothing() {
    let faults =
        NetFaults { short_read: ALWAYS / 2, short_write: ALWAYS / 2, ..NetFaults::default() };
    let mut world = World::with(1, faults);
    let (client, server) = world.pair();
    let bytes = pattern(100_000);
    let mut rest = &bytes[..];
    let mut whole = 0;
    while !rest.is_empty() {
        let asked = rest.len().min(1_000);
        let Poll::Ready(count) = world.poll_write(client, &rest[..asked]) else {
            panic!("no room")
        };
        let count = count.unwrap();
        assert!((1..=asked).contains(&count));
        whole += usize::from(count == asked);
        rest = &rest[count..];
    }
    assert!(whole > 10);
    world.settle();
    let mut read = Vec::new();
    let mut short = 0;
    while read.len() < bytes.len() {
        let asked = (bytes.len() - read.len()).min(1_000);
        let mut part = vec![0; asked];
        let Poll::Ready(count) = world.poll_read(server, &mut part) else { panic!("waits") };
        let count = count.unwrap();
        short += u64::from(count < asked);
        read.extend_from_slice(&part[..count]);
    }
    assert!(read == bytes);
    assert_eq!(world.struck(NetFault::ShortRead), short);
    assert!(world.struck(NetFault::ShortRead) > 5 && world.struck(NetFault::ShortWrite) > 50);
}

#[test]
fn streams_that_are_closed_answer_with_errors() {
    let mut world = World::new(1);
    let (client, server) = world.pair();
    world.net.close(world.now, server);
    world.net.close(world.now, client);
    world.net.close(world.now, client);
    world.net.set_buffers(client, Some(1), None);
    assert!(world.net.local_addr(client).is_err() && world.net.peer_addr(client).is_err());
    assert!(world.net.shutdown(world.now, client, Shutdown::Both).is_err());
    assert!(matches!(world.poll_read(client, &mut [0]), Poll::Ready(Err(_))));
    assert!(matches!(world.poll_write(client, &[0]), Poll::Ready(Err(_))));
    assert!(matches!(world.connected(client), Poll::Ready(Err(_))));
    world.assert_forgotten();
}
