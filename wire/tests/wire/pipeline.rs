//! Pipelining: requests come out in the order sent, answers find their requests in any order.

use pyralog_log::ids::{LogId, Offset, PartitionId};
use pyralog_wire::client::{ClientConnection, ClientStep};
use pyralog_wire::message::{Append, Fetch, FetchFrom, Fetched, Ping, Pong, Reply};
use pyralog_wire::server::{Admitted, ServerConfig, ServerConnection, ServerStep};
use pyralog_wire::{Correlation, ErrorCode, Request, Response};
use quickcheck::QuickCheck;

use crate::handshake::open;
use crate::samples::TIME;

fn ping(token: u64) -> Request {
    Ping { token }.into()
}

fn pong(token: u64) -> Response {
    Response::Ping(Pong { token, server_time: TIME })
}

fn take_all(server: &mut ServerConnection, mut bytes: &[u8]) -> Vec<Admitted> {
    let mut taken = Vec::new();
    while let ServerStep::Request { admitted, consumed, .. } =
        server.receive(bytes, &mut Vec::new())
    {
        taken.push(admitted);
        bytes = &bytes[consumed..];
    }
    assert!(bytes.is_empty(), "{} bytes left", bytes.len());
    taken
}

fn replies(client: &mut ClientConnection, mut bytes: &[u8]) -> Vec<(Correlation, Reply)> {
    let mut replies = Vec::new();
    while let ClientStep::Reply { correlation, reply, consumed, .. } = client.receive(bytes) {
        replies.push((correlation, reply));
        bytes = &bytes[consumed..];
    }
    assert!(bytes.is_empty(), "{} bytes left", bytes.len());
    replies
}

#[test]
fn requests_arrive_in_order_and_answers_in_any_order_find_them() {
    fn property(order: Vec<u8>) -> bool {
        let (mut client, mut server) = open(ServerConfig::default());
        let mut up = Vec::new();
        let sent: Vec<Correlation> =
            (0..50).map(|token| client.send(&ping(token), 0, &mut up).unwrap()).collect();
        let mut taken = take_all(&mut server, &up);
        let correlations: Vec<Correlation> = taken.iter().map(|one| one.correlation).collect();
        assert_eq!(correlations, sent);
        assert!((0..).zip(&taken).all(|(token, one)| one.request == ping(token)));
        let (mut down, mut expected) = (Vec::new(), Vec::new());
        let mut order = order.into_iter();
        while !taken.is_empty() {
            let pick = usize::from(order.next().unwrap_or(0)) % taken.len();
            let one = taken.remove(pick);
            let Request::Ping(Ping { token }) = one.request else { panic!("{one:?}") };
            assert!(server.reply(one.token, &pong(token), 0, &mut down).unwrap());
            expected.push((one.correlation, Reply::Done(pong(token))));
        }
        replies(&mut client, &down) == expected
    }
    QuickCheck::new().tests(100).quickcheck(property as fn(Vec<u8>) -> bool);
}

#[test]
fn a_token_answers_once() {
    let (mut client, mut server) = open(ServerConfig::default());
    let mut up = Vec::new();
    client.send(&ping(1), 0, &mut up).unwrap();
    let first = take_all(&mut server, &up).remove(0);
    let mut down = Vec::new();
    assert!(server.reply(first.token, &pong(1), 0, &mut down).unwrap());
    let len = down.len();
    assert!(server.reply(first.token, &pong(1), 0, &mut down).is_err());
    assert!(server.refuse(first.token, &ErrorCode::Internal.into(), &mut down).is_err());
    assert!(server.reserve_reply(first.token, 1).is_err());
    assert_eq!(down.len(), len);
    // The slot is used again; the old token must not answer the new request.
    replies(&mut client, &down);
    up.clear();
    let again = client.send(&ping(2), 0, &mut up).unwrap();
    let second = take_all(&mut server, &up).remove(0);
    assert_eq!(second.correlation, again);
    assert_ne!(second.token, first.token);
    assert!(server.reply(first.token, &pong(1), 0, &mut down).is_err());
    assert!(server.reply(second.token, &pong(2), 0, &mut down).unwrap());
}

#[test]
#[should_panic(expected = "Ping was answered as Stats")]
fn an_answer_of_another_kind_is_a_bug() {
    let (mut client, mut server) = open(ServerConfig::default());
    let mut up = Vec::new();
    client.send(&ping(1), 0, &mut up).unwrap();
    let taken = take_all(&mut server, &up).remove(0);
    let stats = crate::samples::responses().swap_remove(2).1;
    server.reply(taken.token, &stats, 0, &mut Vec::new()).unwrap();
}

#[test]
fn large_payloads_are_received_header_first_on_both_sides() {
    let (mut client, mut server) = open(ServerConfig::default());
    let (log, partition) = (LogId::new(1), PartitionId::new(0));
    let append = Append { log, partition, durability: None };
    let payload = vec![5; 4 << 20];
    let mut up = Vec::new();
    client.send(&append.into(), 4 << 20, &mut up).unwrap();
    let step = server.receive_head(&up, &mut Vec::new());
    let ServerStep::Request { admitted, payload: &[], consumed } = step else { panic!("{step:?}") };
    assert_eq!((consumed, admitted.payload_len), (up.len(), 4 << 20));
    up.extend_from_slice(&payload);
    let (mut other_client, mut whole) = open(ServerConfig::default());
    other_client.send(&append.into(), 4 << 20, &mut Vec::new()).unwrap();
    let step = whole.receive(&up, &mut Vec::new());
    let ServerStep::Request { payload: received, .. } = step else { panic!("no request") };
    assert!(received == payload);

    let from = FetchFrom::Earliest;
    let fetch = Fetch { log, partition, from, bytes_min: 1, bytes_max: 8 << 20, wait_ms: 0 };
    up.clear();
    client.send(&fetch.into(), 0, &mut up).unwrap();
    let fetch = take_all(&mut server, &up).remove(0);
    assert!(server.reserve_reply(fetch.token, 4 << 20).unwrap());
    let offset = Offset::new(0);
    let fetched = Fetched { first_offset: offset, next_offset: offset, low: offset, high: offset };
    let mut down = Vec::new();
    assert!(server.reply(fetch.token, &Response::Fetch(fetched), 4 << 20, &mut down).unwrap());
    assert_eq!(server.outbox_bytes(), down.len() as u64 + (4 << 20));
    match client.receive_head(&down) {
        ClientStep::Reply { payload_len, payload: &[], consumed, correlation, .. } => {
            assert_eq!((payload_len, consumed), (4 << 20, down.len()));
            assert_eq!(correlation, fetch.correlation);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_too_large_for_a_frame_becomes_an_error() {
    let (mut client, mut server) = open(ServerConfig::default());
    let mut up = Vec::new();
    let list = crate::samples::list("", "");
    client.send(&list.into(), 0, &mut up).unwrap();
    let list = take_all(&mut server, &up).remove(0);
    let responses = crate::samples::responses();
    let page = responses.iter().find_map(|(_, response, _)| match response {
        Response::ListLogs(page) => Some(page.clone()),
        _ => None,
    });
    let mut page = page.unwrap();
    page.logs = vec![page.logs[0].clone(); 20_000];
    let mut down = Vec::new();
    assert!(!server.reply(list.token, &Response::ListLogs(page), 0, &mut down).unwrap());
    let answered = replies(&mut client, &down).remove(0);
    assert_eq!(answered.0, list.correlation);
    let Reply::Refused(error) = answered.1 else { panic!("{:?}", answered.1) };
    assert!(error.is(ErrorCode::InvalidRequest) && error.message.contains("ask for less"));
    assert!(client.requests_in_flight() == 0 && server.requests_in_flight() == 0);
}

#[test]
fn abandoned_requests_are_named() {
    let (mut client, _) = open(ServerConfig::default());
    let mut up = Vec::new();
    let sent: Vec<Correlation> =
        (0..3).map(|token| client.send(&ping(token), 0, &mut up).unwrap()).collect();
    assert_eq!(client.abandon(), sent);
    assert_eq!(client.abandon(), []);
    assert_eq!((client.requests_in_flight(), client.bytes_in_flight()), (0, 0));
}
