//! Who listens where.

use super::*;

fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn address_is_taken_unless_all_share_it() {
    let mut world = World::new(1);
    let mut bind = |address, shared| world.net.bind(A, address, shared, 1).map_err(|e| e.kind());
    let taken = Err(ErrorKind::AddrInUse);
    let own = |port| address(A, port);
    assert!(bind(own(80), false).is_ok());
    assert_eq!(bind(own(80), false), taken);
    assert_eq!(bind(own(80), true), taken);
    assert_eq!(bind(any(80), false), taken);
    assert!(bind(loopback(80), false).is_ok());
    assert!(bind(any(81), true).is_ok());
    assert_eq!(bind(loopback(81), false), taken);
    assert!(bind(loopback(81), true).is_ok());
    assert!(bind(any(81), true).is_ok());
}

#[test]
fn hosts_do_not_take_each_others_ports() {
    let mut world = World::new(1);
    for node in [A, B] {
        assert!(world.net.bind(node, any(80), false, 1).is_ok());
        assert!(world.net.bind(node, loopback(81), false, 1).is_ok());
    }
}

#[test]
fn address_of_another_host_is_not_available() {
    let mut world = World::new(1);
    let result = world.net.bind(A, address(B, 80), false, 1);
    assert_eq!(kind_of(result), ErrorKind::AddrNotAvailable);
}

#[test]
fn port_zero_takes_the_next_free_one_even_if_it_is_to_be_shared() {
    let mut world = World::new(1);
    assert!(world.net.bind(A, any(30_001), true, 1).is_ok());
    let ports = [30_000, 30_002, 30_003].map(|_| {
        let listener = world.net.bind(A, address(A, 0), true, 1).unwrap();
        world.net.local_addr_of_listener(listener).unwrap().port()
    });
    assert_eq!(ports, [30_000, 30_002, 30_003]);
}

#[test]
fn closed_listener_frees_its_address() {
    let mut world = World::new(1);
    let listener = world.listen(A, 80);
    world.net.unbind(listener);
    assert!(world.net.local_addr_of_listener(listener).is_err());
    let waker = Waker::noop();
    assert!(world.net.poll_accept(listener, &mut Context::from_waker(waker)).is_ready());
    world.listen(A, 80);
}

#[test]
fn those_who_share_an_address_share_the_connections() {
    let mut world = World::new(1);
    let listeners = [(); 3].map(|()| world.net.bind(B, any(80), true, 128).unwrap());
    for _ in 0..90 {
        world.connect(A, address(B, 80));
    }
    world.settle();
    let counts = listeners.map(|listener| std::iter::from_fn(|| world.accept(listener)).count());
    assert_eq!(counts.iter().sum::<usize>(), 90);
    assert!(counts.iter().all(|count| *count > 15), "{counts:?}");
}

#[test]
fn loopback_and_own_address_reach_this_host_only() {
    let mut world = World::new(1);
    let own = world.net.bind(A, address(A, 80), false, 9).unwrap();
    let inner = world.net.bind(A, loopback(80), false, 9).unwrap();
    let other = world.net.bind(B, any(80), false, 9).unwrap();
    for (to, listener) in
        [(address(A, 80), own), (loopback(80), inner), (any(80), inner), (address(B, 80), other)]
    {
        let client = world.connect(A, to);
        world.settle();
        assert!(matches!(world.connected(client), Poll::Ready(Ok(()))), "{to}");
        let server = world.accept(listener).unwrap();
        let from = world.net.local_addr(client).unwrap();
        assert_eq!(world.net.peer_addr(server).unwrap(), from);
        assert_eq!(from.ip().is_loopback(), listener == inner);
        world.write(client, b"x");
        world.settle();
        assert_eq!(world.read(server).0, b"x");
    }
}

#[test]
fn nobody_answers_for_another_host() {
    let mut world = World::new(1);
    assert!(world.net.bind(B, any(80), false, 9).is_ok());
    for to in [loopback(80), address(A, 80)] {
        let client = world.connect(A, to);
        world.settle();
        let Poll::Ready(result) = world.connected(client) else { panic!("waits") };
        assert_eq!(kind_of(result), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn listener_of_one_address_comes_before_that_of_all() {
    let mut world = World::new(1);
    let all = world.net.bind(B, any(80), true, 9).unwrap();
    let own = world.net.bind(B, address(B, 80), true, 9).unwrap();
    for _ in 0..9 {
        world.connect(A, address(B, 80));
    }
    world.settle();
    assert!(world.accept(all).is_none());
    assert_eq!(std::iter::from_fn(|| world.accept(own)).count(), 9);
}

#[test]
fn closing_a_listener_resets_those_who_wait() {
    let mut world = World::new(1);
    let listener = world.listen(B, 80);
    let waiting = world.connect(A, address(B, 80));
    world.settle();
    let coming = world.connect(A, address(B, 80));
    while world.connected(coming).is_pending() {
        world.run(US);
    }
    world.net.unbind(listener);
    world.settle();
    for client in [waiting, coming] {
        assert_eq!(world.read(client).1, Some(Err(ErrorKind::ConnectionReset)));
        world.net.close(world.now, client);
    }
    world.assert_forgotten();
}

#[test]
fn connection_that_broke_while_it_waited_is_accepted_and_says_so() {
    let mut world = World::new(1);
    let listener = world.listen(B, 80);
    let client = world.connect(A, address(B, 80));
    world.settle();
    world.write(client, b"last words");
    world.settle();
    world.net.cut(world.now, B, A);
    world.net.crash(world.now, A, true);
    world.net.up(A);
    let server = world.accept(listener).unwrap();
    world.write(server, b"x");
    world.net.heal(world.now, B, A);
    world.settle();
    let all = (b"last words".to_vec(), Some(Err(ErrorKind::ConnectionReset)));
    assert_eq!(world.read(server), all);
}
