//! Asking for connections.

use super::*;

#[test]
fn connection_takes_two_delays_and_accepting_a_third() {
    let faults = NetFaults { delay_min: 100 * US, delay_max: 100 * US, ..NetFaults::default() };
    let mut world = World::with(1, faults);
    let listener = world.listen(B, 80);
    let client = world.connect(A, address(B, 80));
    world.run(200 * US - 1);
    assert!(world.connected(client).is_pending());
    world.run(1);
    assert_eq!(world.count.get(), 1);
    assert!(world.connected(client).is_ready());
    assert!(world.accept(listener).is_none());
    world.run(100 * US);
    assert_eq!(world.count.get(), 2);
    let server = world.accept(listener).unwrap();
    assert_eq!(world.net.peer_addr(client).unwrap(), address(B, 80));
    assert_eq!(world.net.local_addr(server).unwrap(), address(B, 80));
    assert_eq!(world.net.peer_addr(server).unwrap(), world.net.local_addr(client).unwrap());
    assert_eq!(world.net.local_addr(client).unwrap().ip(), address(A, 0).ip());
    assert!(world.events.contains(&(Some(A), TraceKind::Connect { connection: 0, to: B })));
}

#[test]
fn two_connections_come_from_two_ports() {
    let mut world = World::new(1);
    world.listen(B, 80);
    let ports = [(); 2].map(|()| {
        let stream = world.connect(A, address(B, 80));
        world.net.local_addr(stream).unwrap().port()
    });
    assert_ne!(ports[0], ports[1]);
}

#[test]
fn nobody_listening_refuses_after_two_delays() {
    let mut world = World::new(1);
    world.listen(B, 81);
    let client = world.connect(A, address(B, 80));
    assert!(world.connected(client).is_pending());
    world.settle();
    assert_eq!(world.count.get(), 1);
    let Poll::Ready(result) = world.connected(client) else { panic!("waits") };
    assert_eq!(kind_of(result), ErrorKind::ConnectionRefused);
    assert_eq!(world.net.next_event(), None);
    world.net.close(world.now, client);
    world.assert_forgotten();
}

#[test]
fn caller_who_left_and_whom_nobody_accepts_is_forgotten() {
    let mut world = World::new(1);
    let listener = world.listen(B, 80);
    let client = world.connect(A, address(B, 80));
    while world.connected(client).is_pending() {
        world.run(US);
    }
    world.net.close(world.now, client);
    world.net.unbind(listener);
    world.settle();
    world.assert_forgotten();
}

#[test]
fn address_of_no_host_is_unreachable() {
    let mut world = World::new(1);
    let client = world.connect(A, "10.9.9.9:80".parse().unwrap());
    let Poll::Ready(result) = world.connected(client) else { panic!("waits") };
    assert_eq!(kind_of(result), ErrorKind::HostUnreachable);
    world.net.close(world.now, client);
    world.assert_forgotten();
}

#[test]
fn connecting_waits_for_a_cut_to_heal_whichever_way_it_is() {
    for (from, to) in [(A, B), (B, A)] {
        let mut world = World::new(1);
        let listener = world.listen(B, 80);
        world.net.cut(world.now, from, to);
        let client = world.connect(A, address(B, 80));
        world.run(100 * S);
        assert!(world.connected(client).is_pending());
        world.net.heal(world.now, from, to);
        world.settle();
        assert!(matches!(world.connected(client), Poll::Ready(Ok(()))));
        assert!(world.accept(listener).is_some());
    }
}

#[test]
fn connecting_through_a_cut_times_out_after_two_minutes() {
    for (from, to) in [(A, B), (B, A)] {
        let mut world = World::new(1);
        let listener = world.listen(B, 80);
        world.net.cut(world.now, from, to);
        let client = world.connect(A, address(B, 80));
        world.run(120 * S - 1);
        assert!(world.connected(client).is_pending());
        world.run(1);
        let Poll::Ready(result) = world.connected(client) else { panic!("waits") };
        assert_eq!(kind_of(result), ErrorKind::TimedOut);
        world.net.heal(world.now, from, to);
        world.settle();
        // An answer that comes too late makes no connection.
        assert_eq!(world.read(client), (vec![], Some(Ok(()))));
        world.net.close(world.now, client);
        world.assert_forgotten();
        assert!(world.accept(listener).is_none());
    }
}

#[test]
fn closing_while_connecting_leaves_nothing() {
    for wait in [0, 30 * US, 150 * US] {
        let mut world = World::new(1);
        let listener = world.listen(B, 80);
        let client = world.connect(A, address(B, 80));
        world.run(wait);
        assert!(world.connected(client).is_pending());
        world.net.close(world.now, client);
        world.assert_forgotten();
        assert!(world.accept(listener).is_none());
    }
}

#[test]
fn request_of_a_caller_who_left_at_once_still_arrives() {
    let mut world = World::new(1);
    let listener = world.listen(B, 80);
    let client = world.connect(A, address(B, 80));
    while world.connected(client).is_pending() {
        world.run(US);
    }
    world.write(client, b"late");
    world.net.close(world.now, client);
    assert!(world.accept(listener).is_none());
    world.settle();
    let server = world.accept(listener).unwrap();
    assert_eq!(world.read(server), (b"late".to_vec(), Some(Ok(()))));
    world.net.close(world.now, server);
    world.assert_forgotten();
}

#[test]
fn full_backlog_makes_callers_ask_again_a_second_later() {
    let mut world = World::new(1);
    let listener = world.net.bind(B, address(B, 80), false, 1).unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(world.connect(A, address(B, 80)));
        world.settle();
    }
    assert!(world.connected(clients[1]).is_ready());
    assert!(world.connected(clients[2]).is_pending());
    world.run(5 * S);
    assert!(world.connected(clients[2]).is_pending());
    assert!(world.accept(listener).is_some());
    world.run(S);
    assert!(matches!(world.connected(clients[2]), Poll::Ready(Ok(()))));
}

#[test]
fn connect_failed_refuses_or_breaks() {
    let faults = NetFaults { connect_failed: ALWAYS, ..NetFaults::default() };
    let (mut refused, mut broken) = (0, 0);
    for seed in 0..50 {
        let mut world = World::with(seed, faults);
        let listener = world.listen(B, 80);
        let client = world.connect(A, address(B, 80));
        // Asks all the time, so that it also sees a connection that breaks after it was made.
        let result = loop {
            world.run(US);
            if let Poll::Ready(result) = world.connected(client) {
                break result;
            }
        };
        match result {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                broken += 1;
            }
            Ok(()) => {
                world.settle();
                assert_eq!(world.read(client).1, Some(Err(ErrorKind::ConnectionReset)));
                broken += 1;
            }
        }
        world.settle();
        assert_eq!(world.struck(NetFault::ConnectFailed), 1);
        if let Some(server) = world.accept(listener) {
            assert!(world.read(server).1.is_some());
            world.net.close(world.now, server);
        }
        world.net.close(world.now, client);
        world.settle();
        world.assert_forgotten();
    }
    assert!(refused > 10 && broken > 10, "{refused} refused, {broken} broken");
}
