//! Credit and outbox: properties against a model, with a polite client and with a rude one.

use std::collections::VecDeque;

use pyralog_log::ids::{LogId, Offset, PartitionId};
use pyralog_wire::client::{ClientStep, SendError};
use pyralog_wire::limits::FRAME_BYTES_MAX;
use pyralog_wire::message::{
    Append, Appended, ConnectionLimits, Fetch, FetchFrom, Fetched, Metadata, Ping, Pong, Routes,
};
use pyralog_wire::server::{Admitted, ServerConfig, ServerConnection, ServerStep};
use pyralog_wire::{Correlation, Kind, Request, Response, encode_request};
use quickcheck::{Arbitrary, Gen, QuickCheck};

use crate::handshake::open;
use crate::samples::TIME;

const LOG: LogId = LogId::new(1);
const PARTITION: PartitionId = PartitionId::new(0);

fn config(credit_requests: u32, credit_bytes: u64) -> ServerConfig {
    let default = ServerConfig::default();
    let limits = ConnectionLimits { credit_requests, credit_bytes, ..default.limits };
    ServerConfig { limits, outbox_bytes_max: u64::from(FRAME_BYTES_MAX) + 8 * 2048 }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ping,
    Append {
        payload_len: u32,
    },
    Fetch {
        bytes_max: u32,
    },
    Metadata,
    /// The server works off one of its requests.
    Answer {
        pick: u8,
    },
    /// The client reads so much of what the server sent.
    Read {
        bytes: u32,
    },
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Self {
        let large = u32::arbitrary(g);
        match u8::arbitrary(g) % 8 {
            0 => Self::Ping,
            1 | 2 => Self::Append { payload_len: large % 6000 + 1 },
            3 => Self::Fetch { bytes_max: large % (16 << 20) + 1 },
            4 => Self::Metadata,
            5 | 6 => Self::Answer { pick: u8::arbitrary(g) },
            _ => Self::Read { bytes: large % (9 << 20) },
        }
    }
}

impl Step {
    fn request(self) -> Option<(Request, u32)> {
        let (log, partition, from) = (LOG, PARTITION, FetchFrom::Earliest);
        match self {
            Self::Ping => Some((Ping { token: 1 }.into(), 0)),
            Self::Append { payload_len } => {
                Some((Append { log, partition, durability: None }.into(), payload_len))
            }
            Self::Fetch { bytes_max } => {
                let fetch = Fetch { log, partition, from, bytes_min: 0, bytes_max, wait_ms: 0 };
                Some((fetch.into(), 0))
            }
            Self::Metadata => Some((Metadata { names: Vec::new() }.into(), 0)),
            Self::Answer { .. } | Self::Read { .. } => None,
        }
    }
}

fn response(request: &Request) -> Response {
    let offset = Offset::new(0);
    match request {
        Request::Ping(Ping { token }) => Response::Ping(Pong { token: *token, server_time: TIME }),
        Request::Append(_) => Response::Append(Appended {
            base_offset: offset,
            next_offset: offset,
            append_time: TIME,
            duplicate: false,
        }),
        Request::Fetch(_) => Response::Fetch(Fetched {
            first_offset: offset,
            next_offset: offset,
            low: offset,
            high: offset,
        }),
        _ => {
            let unknown = vec!["n".repeat(800_000)];
            let (shards, logs) = (Vec::new(), Vec::new());
            Response::Metadata(Routes { version: 1, shards, logs, unknown })
        }
    }
}

/// A server with its shell: unread input, requests in work, outbox of which only the frames are
/// kept.
struct Shell {
    server: ServerConnection,
    config: ServerConfig,
    input: VecDeque<u8>,
    work: Vec<Admitted>,
    sent: Vec<u8>,
    pauses: u32,
    outbox_bytes: u64,
}

impl Shell {
    fn new(server: ServerConnection, config: ServerConfig) -> Self {
        let (input, work, sent) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { server, config, input, work, sent, pauses: 0, outbox_bytes: 0 }
    }

    /// Takes all that the machine lets through, and checks what it promises.
    fn take(&mut self) {
        while self.server.may_read() {
            let bytes: &[u8] = self.input.make_contiguous();
            match self.server.receive(bytes, &mut self.sent) {
                ServerStep::Request { admitted, consumed, .. } => {
                    self.work.push(admitted);
                    self.input.drain(..consumed);
                }
                ServerStep::NeedMore { .. } => break,
                ServerStep::Pause => self.pauses += 1,
                other => panic!("{other:?}"),
            }
            self.check();
        }
    }

    fn answer(&mut self, pick: u8) {
        if self.work.is_empty() {
            return;
        }
        let one = &self.work[usize::from(pick) % self.work.len()];
        let payload_len = match &one.request {
            Request::Fetch(fetch) => {
                if !self.server.reserve_reply(one.token, fetch.bytes_max).unwrap() {
                    assert!(self.outbox_bytes > 0 || self.server.reserved_bytes() > 0);
                    return;
                }
                fetch.bytes_max
            }
            _ => 0,
        };
        let start = self.sent.len();
        let (token, response) = (one.token, response(&one.request));
        assert!(self.server.reply(token, &response, payload_len, &mut self.sent).unwrap());
        self.outbox_bytes += (self.sent.len() - start) as u64 + u64::from(payload_len);
        self.work.retain(|one| one.token != token);
        self.check();
    }

    fn flush(&mut self, bytes: u64) {
        let bytes = bytes.min(self.outbox_bytes);
        self.outbox_bytes -= bytes;
        self.server.flushed(bytes);
    }

    fn check(&self) {
        let (server, limits) = (&self.server, &self.config.limits);
        assert_eq!(server.requests_in_flight() as usize, self.work.len());
        assert_eq!(server.outbox_bytes(), self.outbox_bytes);
        assert!(server.requests_in_flight() <= limits.credit_requests);
        assert!(
            server.bytes_in_flight() <= limits.credit_bytes || server.requests_in_flight() == 1
        );
        let held = server.outbox_bytes() + server.reserved_bytes();
        assert!(held <= self.config.outbox_bytes_max, "the outbox holds {held}");
    }

    /// The reader reads again and the server works: everything must come to its end.
    fn finish(&mut self) {
        for round in 0..100_000_u32 {
            self.flush(u64::MAX);
            self.take();
            self.answer(round.to_le_bytes()[0]);
            if self.work.is_empty() && self.input.is_empty() {
                self.flush(u64::MAX);
                assert!(self.server.is_drained());
                assert_eq!((self.server.bytes_in_flight(), self.server.reserved_bytes()), (0, 0));
                return;
            }
        }
        panic!("stuck with {} bytes and {} requests", self.input.len(), self.work.len());
    }
}

#[test]
fn a_polite_client_never_exceeds_its_credit_and_is_never_paused_for_it() {
    fn property(steps: Vec<Step>, credit_requests: u8, credit_bytes: u16) -> bool {
        let config = config(u32::from(credit_requests % 8) + 1, u64::from(credit_bytes) + 4096);
        let (mut client, server) = open(config);
        let mut shell = Shell::new(server, config);
        for step in steps {
            match (step, step.request()) {
                (Step::Fetch { .. } | Step::Metadata, _) => continue, // for the outbox's property
                (Step::Answer { pick }, _) => shell.answer(pick),
                (_, Some((request, payload_len))) => {
                    let mut frame = Vec::new();
                    match client.send(&request, payload_len, &mut frame) {
                        Ok(_) => frame.resize(frame.len() + payload_len as usize, 0),
                        Err(SendError::NoCredit) => assert!(client.requests_in_flight() > 0),
                        Err(error) => panic!("{error}"),
                    }
                    shell.input.extend(frame);
                }
                _ => {
                    let mut bytes = std::mem::take(&mut shell.sent);
                    shell.flush(bytes.len() as u64);
                    while let ClientStep::Reply { consumed, .. } = client.receive(&bytes) {
                        bytes.drain(..consumed);
                    }
                    assert!(bytes.is_empty());
                }
            }
            shell.take();
            assert!(client.requests_in_flight() <= config.limits.credit_requests);
            assert!(
                client.bytes_in_flight() <= config.limits.credit_bytes
                    || client.requests_in_flight() == 1
            );
            assert!(client.requests_in_flight() >= shell.server.requests_in_flight());
            assert_eq!((shell.pauses, shell.input.len()), (0, 0), "taken at once");
        }
        true
    }
    QuickCheck::new().tests(1000).quickcheck(property as fn(Vec<Step>, u8, u16) -> bool);
}

#[test]
fn a_rude_client_and_slow_reader_is_bounded_and_everything_comes_to_an_end() {
    fn property(steps: Vec<Step>, credit_requests: u8) -> bool {
        let config = config(u32::from(credit_requests % 8) + 1, 8192);
        let (_, server) = open(config);
        let mut shell = Shell::new(server, config);
        for step in steps {
            match (step, step.request()) {
                (Step::Answer { pick }, _) => shell.answer(pick),
                (Step::Read { bytes }, _) => shell.flush(u64::from(bytes)),
                (_, Some((request, payload_len))) => {
                    let mut frame = Vec::new();
                    let correlation = Correlation::new(1);
                    encode_request(&mut frame, correlation, &request, payload_len).unwrap();
                    frame.resize(frame.len() + payload_len as usize, 0);
                    shell.input.extend(frame);
                }
                (step, None) => panic!("{step:?}"),
            }
            shell.take();
            shell.check();
        }
        shell.finish();
        true
    }
    QuickCheck::new().tests(500).quickcheck(property as fn(Vec<Step>, u8) -> bool);
}

#[test]
fn waiting_fetches_do_not_stop_other_requests() {
    let config = ServerConfig::default();
    let (mut client, server) = open(config);
    let mut shell = Shell::new(server, config);
    for _ in 0..200 {
        let fetch = Step::Fetch { bytes_max: 16 << 20 }.request().unwrap().0;
        let mut frame = Vec::new();
        client.send(&fetch, 0, &mut frame).unwrap();
        shell.input.extend(frame);
    }
    let mut frame = Vec::new();
    client.send(&Step::Metadata.request().unwrap().0, 0, &mut frame).unwrap();
    shell.input.extend(frame);
    shell.take();
    assert_eq!((shell.work.len(), shell.pauses), (201, 0));
    assert_eq!(shell.work[200].request.kind(), Kind::Metadata);
}

#[test]
fn one_frame_larger_than_the_credit_passes_alone() {
    let config = config(8, 4096);
    let (mut client, server) = open(config);
    let mut shell = Shell::new(server, config);
    let (append, payload_len) = Step::Append { payload_len: 1 << 20 }.request().unwrap();
    let mut frame = Vec::new();
    client.send(&append, payload_len, &mut frame).unwrap();
    frame.resize(frame.len() + payload_len as usize, 0);
    shell.input.extend(frame);
    let before = Vec::<u8>::new();
    let mut out = before.clone();
    assert!(matches!(client.send(&append, 1, &mut out), Err(SendError::NoCredit)));
    assert!(!client.may_send(1));
    assert_eq!(out, before, "the outbox is as before");
    shell.take();
    assert_eq!(shell.work.len(), 1);
}

#[test]
fn a_paused_connection_reads_again_after_a_reply() {
    let config = config(1, 8192);
    let (_, mut server) = open(config);
    let mut input = Vec::new();
    for correlation in 1..=2 {
        let ping = Ping { token: 1 }.into();
        encode_request(&mut input, Correlation::new(correlation), &ping, 0).unwrap();
    }
    let mut out = Vec::new();
    let step = server.receive(&input, &mut out);
    let ServerStep::Request { admitted, consumed, .. } = step else { panic!("{step:?}") };
    assert!(server.may_read());
    assert_eq!(server.receive(&input[consumed..], &mut out), ServerStep::Pause);
    assert!(!server.may_read());
    let pong = Response::Ping(Pong { token: 1, server_time: TIME });
    assert!(server.reply(admitted.token, &pong, 0, &mut out).unwrap());
    assert!(server.may_read());
    let step = server.receive(&input[consumed..], &mut out);
    assert!(matches!(step, ServerStep::Request { .. }), "{step:?}");
}

#[test]
fn bad_configurations_are_named() {
    assert_eq!(ServerConfig::default().check(), Ok(()));
    let error = config(0, 8192).check().unwrap_err();
    assert_eq!(error.to_string(), "credit_requests is 0: allowed are 1 to 4096");
    let small = ServerConfig { outbox_bytes_max: 1, ..ServerConfig::default() };
    assert!(small.check().unwrap_err().to_string().starts_with("outbox_bytes_max is 1:"));
    // The largest reply has room beside the small ones of all other requests.
    let tight = config(8, 8192);
    assert_eq!(tight.check(), Ok(()));
    let outbox_bytes_max = tight.outbox_bytes_max - 1;
    assert!(ServerConfig { outbox_bytes_max, ..tight }.check().is_err());
}
