//! Tests of the machine of a connection, against the server's machine.

use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, Offset, PartitionId, Timestamp};
use pyralog_wire::Response;
use pyralog_wire::message::{Append, Fetch, FetchFrom, Fetched, Ping, Pong};
use pyralog_wire::server::{RequestToken, ServerConfig, ServerConnection, ServerStep};

use super::*;

/// Both ends of a connection, and what was asked and not answered.
struct Pair {
    exchange: Exchange<u32>,
    server: ServerConnection,
    /// Bytes on their way to the server.
    up: Vec<u8>,
    asked: Vec<(RequestToken, Request)>,
}

impl Pair {
    fn greeted(config: ServerConfig) -> Self {
        let exchange = Exchange::new("test");
        let server = ServerConnection::new(config);
        let mut pair = Self { exchange, server, up: Vec::new(), asked: Vec::new() };
        pair.write(usize::MAX);
        let mut out = Vec::new();
        let ServerStep::Hello { consumed, .. } = pair.server.receive(&pair.up, &mut out) else {
            panic!("no Hello")
        };
        pair.up.drain(..consumed);
        let welcome = Welcome {
            protocol: 0,
            shard: 3,
            limits_fingerprint: 0,
            node: 1,
            cluster: 1,
            server_time: Timestamp::new(0),
            limits: config.limits,
            server_version: String::new(),
            shards: Vec::new(),
        };
        pair.server.welcome(welcome, &mut out);
        let got = pair.receive(&out);
        assert!(matches!(&got[..], [Got::Welcome(Welcome { shard: 3, .. })]), "{got:?}");
        pair
    }

    /// Writes at most `max` bytes of the outbox in one call.
    fn write(&mut self, max: usize) -> usize {
        let mut slices = [IoSlice::new(&[]); 3];
        let used = self.exchange.outbox().slices(&mut slices);
        let bytes: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
        let count = bytes.len().min(max);
        self.up.extend_from_slice(&bytes[..count]);
        self.exchange.wrote(count);
        count
    }

    fn write_all(&mut self) {
        while self.write(usize::MAX) > 0 {}
    }

    /// Gives the client bytes, some at a time, and returns what they make.
    fn receive(&mut self, mut bytes: &[u8]) -> Vec<Got<u32>> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let space = self.exchange.space();
            let count = space.len().min(bytes.len()).min(37);
            space[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.exchange.received(count);
            loop {
                match self.exchange.step().unwrap() {
                    Got::More => break,
                    got => all.push(got),
                }
            }
        }
        all
    }

    /// Lets the server see what was written.
    fn serve(&mut self) {
        let mut out = Vec::new();
        loop {
            let consumed = match self.server.receive(&self.up, &mut out) {
                ServerStep::Request { admitted, consumed, .. } => {
                    self.asked.push((admitted.token, admitted.request));
                    consumed
                }
                ServerStep::NeedMore { .. } => return,
                other => panic!("{other:?}"),
            };
            self.up.drain(..consumed);
        }
    }

    /// Answers the `index`th request without an answer, a Ping.
    fn pong(&mut self, index: usize) -> Vec<Got<u32>> {
        let (token, request) = self.asked.remove(index);
        let Request::Ping(Ping { token: number }) = request else { panic!("{request:?}") };
        let pong = Pong { token: number, server_time: Timestamp::new(0) };
        let mut out = Vec::new();
        assert!(self.server.reply(token, &Response::Ping(pong), 0, &mut out).unwrap());
        self.receive(&out)
    }
}

fn ping(reply_to: u32) -> Outgoing<u32> {
    Outgoing { request: Ping { token: u64::from(reply_to) }.into(), payload: None, reply_to }
}

fn append(reply_to: u32, bytes: usize) -> Outgoing<u32> {
    let (log, partition) = (LogId::new(1), PartitionId::ZERO);
    let request = Append { log, partition, durability: Some(Durability::Memory) }.into();
    Outgoing { request, payload: Some(Arc::new(vec![7; bytes])), reply_to }
}

/// Credit for so many requests.
fn credit(requests: u32) -> ServerConfig {
    let mut config = ServerConfig::default();
    config.limits.credit_requests = requests;
    config
}

#[test]
fn answers_find_those_who_asked_in_any_order() {
    let mut pair = Pair::greeted(ServerConfig::default());
    for reply_to in 0..3 {
        pair.exchange.hand(ping(reply_to)).unwrap();
    }
    pair.write_all();
    pair.serve();
    for (index, reply_to) in [(1, 1), (1, 2), (0, 0)] {
        let got = pair.pong(index);
        let [Got::Reply(Some(to), Answered { reply: Reply::Done(Response::Ping(pong)), .. })] =
            &got[..]
        else {
            panic!("{got:?}")
        };
        assert_eq!((*to, pong.token), (reply_to, u64::from(reply_to)));
    }
    assert!(pair.exchange.is_idle());
    assert_eq!(pair.exchange.end(), []);
}

#[test]
fn an_answer_says_what_it_is_before_its_payload_is_whole() {
    let mut pair = Pair::greeted(ServerConfig::default());
    let fetch = Fetch {
        log: LogId::new(1),
        partition: PartitionId::ZERO,
        from: FetchFrom::Earliest,
        bytes_min: 0,
        bytes_max: 1000,
        wait_ms: 0,
    };
    let request = fetch.into();
    pair.exchange.hand(Outgoing { request, payload: None, reply_to: 4 }).unwrap();
    pair.write_all();
    pair.serve();
    let (token, _) = pair.asked.remove(0);
    let (low, high) = (Offset::ZERO, Offset::new(9));
    let fetched = Response::Fetch(Fetched { first_offset: low, next_offset: high, low, high });
    let mut out = Vec::new();
    assert!(pair.server.reply(token, &fetched, 1000, &mut out).unwrap());
    assert!(pair.receive(&out).is_empty());
    assert_eq!(pair.exchange.incoming(), Some((&mut 4, &Reply::Done(fetched))));
    assert!(pair.receive(&[0; 999]).is_empty());
    assert!(pair.exchange.incoming().is_some());
    assert!(matches!(pair.receive(&[0])[..], [Got::Reply(Some(4), _)]));
    assert_eq!(pair.exchange.incoming(), None);
}

#[test]
fn what_left_as_a_whole_is_lost_and_the_rest_is_unsent() {
    let mut pair = Pair::greeted(ServerConfig::default());
    let whole = {
        pair.exchange.hand(append(0, 100)).unwrap();
        let mut slices = [IoSlice::new(&[]); 3];
        let used = pair.exchange.outbox().slices(&mut slices);
        slices[..used].iter().map(|slice| slice.len()).sum::<usize>()
    };
    for reply_to in 1..4 {
        pair.exchange.hand(append(reply_to, 100)).unwrap();
    }
    // Two frames, and the third but for its last byte.
    pair.write(whole + 1);
    pair.write(whole - 1);
    pair.write(whole - 1);
    let expected = [(2, Fate::Unsent), (3, Fate::Unsent), (0, Fate::Lost), (1, Fate::Lost)];
    assert_eq!(pair.exchange.end(), expected);
}

#[test]
fn the_last_byte_of_a_frame_makes_it_lost() {
    let mut pair = Pair::greeted(ServerConfig::default());
    pair.exchange.hand(append(0, 100)).unwrap();
    pair.write_all();
    assert!(pair.exchange.outbox().is_empty());
    assert_eq!(pair.exchange.end(), [(0, Fate::Lost)]);
}

#[test]
fn those_who_lost_are_told_in_the_order_of_their_requests() {
    let mut pair = Pair::greeted(ServerConfig::default());
    for reply_to in 0..30 {
        pair.exchange.hand(ping(reply_to)).unwrap();
        pair.write_all();
    }
    let expected: Vec<_> = (0..30).map(|reply_to| (reply_to, Fate::Lost)).collect();
    assert_eq!(pair.exchange.end(), expected);
}

#[test]
fn a_request_without_credit_waits_and_is_unsent_at_the_end() {
    let mut pair = Pair::greeted(credit(1));
    pair.exchange.hand(ping(0)).unwrap();
    assert!(pair.exchange.takes());
    pair.exchange.hand(ping(1)).unwrap();
    assert!(!pair.exchange.takes(), "one waits for credit");
    pair.exchange.resume().unwrap();
    pair.write_all();
    pair.serve();
    assert_eq!(pair.asked.len(), 1);
    assert_eq!(pair.exchange.end(), [(0, Fate::Lost), (1, Fate::Unsent)]);
}

#[test]
fn an_answer_is_credit_for_the_request_that_waits() {
    let mut pair = Pair::greeted(credit(1));
    pair.exchange.hand(ping(0)).unwrap();
    pair.exchange.hand(ping(1)).unwrap();
    pair.write_all();
    pair.serve();
    assert_eq!(pair.pong(0).len(), 1);
    assert!(!pair.exchange.is_idle());
    pair.exchange.resume().unwrap();
    assert!(pair.exchange.takes());
    pair.write_all();
    pair.serve();
    assert!(matches!(pair.pong(0)[..], [Got::Reply(Some(1), _)]));
}

#[test]
fn frames_that_nobody_writes_stop_the_taking() {
    let mut pair = Pair::greeted(ServerConfig::default());
    let mut taken = 0;
    while pair.exchange.takes() {
        pair.exchange.hand(ping(taken)).unwrap();
        taken += 1;
    }
    assert_eq!(taken as usize, LINK_UNWRITTEN_FRAMES_MAX);
    pair.write(40);
    assert!(pair.exchange.takes(), "one is gone");
}

#[test]
fn what_no_server_takes_is_refused_here() {
    let mut config = ServerConfig::default();
    config.limits.payload_bytes_max = 4096;
    let mut pair = Pair::greeted(config);
    let Refused { reply_to, reply } = pair.exchange.hand(append(5, 4097)).unwrap_err();
    assert_eq!((reply_to, reply.code()), (5, Some(ErrorCode::FrameTooLarge)));
    assert!(pair.exchange.is_idle() && pair.exchange.outbox().is_empty());
}

#[test]
fn a_silent_connection_pings_and_tells_nobody() {
    let mut pair = Pair::greeted(ServerConfig::default());
    pair.exchange.hand(ping(9)).unwrap();
    pair.exchange.tick();
    pair.exchange.resume().unwrap();
    pair.write_all();
    pair.serve();
    assert_eq!(pair.asked.len(), 1, "it spoke already");
    assert_eq!(pair.pong(0).len(), 1);

    pair.exchange.tick();
    pair.exchange.resume().unwrap();
    pair.write_all();
    pair.serve();
    assert!(matches!(pair.pong(0)[..], [Got::Reply(None, _)]));
    assert!(pair.exchange.is_idle());
}
