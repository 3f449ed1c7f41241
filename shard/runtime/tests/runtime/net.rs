//! Listeners and streams.

use crate::harness::run;
use pyralog_runtime::IoErrorKind;
use pyralog_runtime::net::{ListenOptions, Listener, Shutdown, Stream, StreamOptions};
use pyralog_runtime::{spawn, time, yield_now};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn listen() -> Listener {
    Listener::bind(any(), ListenOptions::default()).unwrap()
}

async fn connect(listener: &Listener) -> Stream {
    let address = listener.local_addr().unwrap();
    Stream::connect(address, StreamOptions::default()).await.unwrap()
}

/// Both ends of a connection.
async fn pair() -> (Stream, Stream) {
    let listener = listen();
    let client = connect(&listener).await;
    (client, listener.accept().await.unwrap())
}

fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i / 3 + i / 1000 + salt) % 256).unwrap()).collect()
}

#[test]
fn both_ends_know_each_other() {
    run(|_| async {
        let listener = listen();
        let client = connect(&listener).await;
        let server = listener.accept().await.unwrap();
        assert_eq!(client.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(client.local_addr().unwrap(), server.peer_addr().unwrap());
    });
}

#[test]
fn halves_carry_large_data_both_ways_at_once() {
    const LEN: usize = 6 << 20;
    run(|_| async {
        let small = StreamOptions {
            send_buffer: Some(128 << 10),
            receive_buffer: Some(128 << 10),
            ..StreamOptions::default()
        };
        let options = ListenOptions { stream: small, ..ListenOptions::default() };
        let listener = Listener::bind(any(), options).unwrap();
        let client = Stream::connect(listener.local_addr().unwrap(), small).await.unwrap();
        let server = listener.accept().await.unwrap();
        let ends = [(client, 1, 2), (server, 2, 1)];
        let tasks: Vec<_> = ends
            .into_iter()
            .flat_map(|(stream, sent, received)| {
                let (mut reader, mut writer) = stream.split();
                let write = spawn(async move {
                    for chunk in pattern(LEN, sent).chunks(100_001) {
                        writer.write_all(chunk).await.unwrap();
                    }
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                let read = spawn(async move {
                    let mut bytes = vec![0; LEN];
                    reader.read_exact(&mut bytes).await.unwrap();
                    assert!(bytes == pattern(LEN, received));
                    assert_eq!(reader.read(&mut bytes).await.unwrap(), 0);
                });
                [write, read]
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn parts_arrive_in_order_empty_ones_and_many_of_them() {
    run(|_| async {
        let (mut client, mut server) = pair().await;
        let bytes = pattern(3 << 20, 3);
        let mut parts: Vec<&[u8]> = vec![&[]];
        let mut rest = &bytes[..];
        let mut size = 1;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(size.min(rest.len()));
            parts.push(part);
            parts.push(&[]);
            rest = after;
            size = size * 5 % 70_001 + 1;
        }
        assert!(parts.len() > 64);
        let expected = bytes.clone();
        let reading = spawn(async move {
            let mut received = vec![0; expected.len()];
            server.read_exact(&mut received).await.unwrap();
            assert!(received == expected);
            assert_eq!(server.read(&mut received).await.unwrap(), 0);
        });
        client.write_all_parts(&parts).await.unwrap();
        client.write_all_parts(&[]).await.unwrap();
        client.write_all(&[]).await.unwrap();
        drop(client);
        reading.await.unwrap();
    });
}

#[test]
fn dropped_accept_loses_no_connection() {
    run(|_| async {
        let listener = listen();
        for round in 0..20 {
            // Let the kernel have the accept, and drop it; the kernel may give it a connection.
            let wait = Duration::from_micros(50);
            assert!(time::timeout(wait, listener.accept()).await.is_err());
            let mut client = connect(&listener).await;
            for _ in 0..round % 4 {
                yield_now().await;
            }
            let long = Duration::from_secs(30);
            let mut server = time::timeout(long, listener.accept()).await.unwrap().unwrap();
            client.write_all(b"x").await.unwrap();
            server.read_exact(&mut [0]).await.unwrap();
        }
    });
}

#[test]
fn dropped_read_loses_no_byte() {
    run(|_| async {
        let (mut client, mut server) = pair().await;
        let mut received = Vec::new();
        let mut bytes = [0; 16];
        for number in 0..50u8 {
            let wait = Duration::from_micros(20);
            if let Ok(count) = time::timeout(wait, server.read(&mut bytes)).await {
                received.extend_from_slice(&bytes[..count.unwrap()]);
            }
            client.write_all(&[number]).await.unwrap();
        }
        drop(client);
        loop {
            match server.read(&mut bytes).await.unwrap() {
                0 => break,
                count => received.extend_from_slice(&bytes[..count]),
            }
        }
        assert_eq!(received, (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn read_deadline_passes_and_the_stream_goes_on() {
    run(|_| async {
        let (mut client, mut server) = pair().await;
        let mut bytes = [0; 4];
        let deadline = time::now() + Duration::from_millis(1);
        let error = server.read_until(&mut bytes, deadline).await.unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::TimedOut);
        client.write_all(b"late").await.unwrap();
        let deadline = time::now() + Duration::from_secs(30);
        assert_eq!(server.read_until(&mut bytes, deadline).await.unwrap(), 4);
        assert_eq!(&bytes, b"late");
    });
}

#[test]
fn half_closed_stream_still_answers() {
    run(|_| async {
        let (mut client, mut server) = pair().await;
        client.write_all(b"question").await.unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut question = [0; 8];
        server.read_exact(&mut question).await.unwrap();
        assert_eq!(server.read(&mut question).await.unwrap(), 0);
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        let error = client.read_exact(&mut answer).await.unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::UnexpectedEnd);
    });
}

#[test]
fn shutdown_of_one_half_wakes_the_reader_of_the_other() {
    run(|_| async {
        let (client, server) = pair().await;
        let (mut reader, writer) = server.split();
        let reading = spawn(async move { reader.read(&mut [0; 1]).await.unwrap() });
        yield_now().await;
        yield_now().await;
        writer.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reading.await, Ok(0));
        drop(client);
    });
}

#[test]
fn writing_to_a_peer_that_is_gone_is_an_error_and_no_signal() {
    run(|_| async {
        let (mut client, server) = pair().await;
        drop(server);
        let bytes = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = client.write_all_parts(&[&bytes, &bytes]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), IoErrorKind::ConnectionReset, "{error}");
    });
}

#[test]
fn slow_reader_holds_up_only_its_own_writer() {
    run(|_| async {
        let listener = listen();
        let stuck_client = connect(&listener).await;
        let mut stuck_server = listener.accept().await.unwrap();
        let stuck = spawn(async move {
            let bytes = vec![0; 1 << 20];
            loop {
                stuck_server.write_all(&bytes).await.unwrap();
            }
        });
        let mut client = connect(&listener).await;
        let mut server = listener.accept().await.unwrap();
        for _ in 0..100 {
            client.write_all(b"ping").await.unwrap();
            let mut bytes = [0; 4];
            server.read_exact(&mut bytes).await.unwrap();
        }
        assert!(!stuck.is_finished());
        drop((stuck, stuck_client));
    });
}

#[test]
fn port_of_its_own_is_exclusive_and_shared_port_is_not() {
    run(|_| async {
        let own = listen();
        let address = own.local_addr().unwrap();
        let shared = ListenOptions { reuse_port: true, ..ListenOptions::default() };
        for options in [ListenOptions::default(), shared] {
            let error = Listener::bind(address, options).unwrap_err();
            assert_eq!(error.kind(), IoErrorKind::AddressInUse);
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
        let first = Listener::bind(any(), shared).unwrap();
        let address = first.local_addr().unwrap();
        let second = Listener::bind(address, shared).unwrap();
        assert_eq!(second.local_addr().unwrap(), address);
    });
}

#[test]
fn restarted_listener_takes_its_port_back_at_once() {
    run(|_| async {
        let listener = listen();
        let address = listener.local_addr().unwrap();
        // The server closes first, so its side waits in TIME_WAIT.
        let mut client = connect(&listener).await;
        drop(listener.accept().await.unwrap());
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        drop((client, listener));
        // The descriptor is closed when the cancelled accept has left the ring.
        yield_now().await;
        Listener::bind(address, ListenOptions::default()).unwrap();
    });
}

#[test]
fn connections_come_from_other_threads_while_the_core_sleeps() {
    use std::io::{Read, Write};
    run(|_| async {
        let listener = Rc::new(listen());
        let address = listener.local_addr().unwrap();
        let client = std::thread::spawn(move || {
            for _ in 0..20 {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                stream.write_all(b"ping").unwrap();
                let mut bytes = [0; 4];
                stream.read_exact(&mut bytes).unwrap();
                assert_eq!(&bytes, b"pong");
            }
        });
        for _ in 0..20 {
            let mut stream = listener.accept().await.unwrap();
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(b"pong").await.unwrap();
        }
        pyralog_runtime::spawn_blocking(move || client.join().unwrap()).await.unwrap();
    });
}
