//! A server to test, and a client that says exactly what it is told to, over a blocking socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use pyralog_log::batch::{BuilderConfig, Items, Record, RowsBuilder, Session};
use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, Offset, PartitionId, Timestamp};
use pyralog_shard::{DataConfig, Server, ServerConfig};
use pyralog_wire::frame::{Decoded, FrameDecoder, FrameLimits};
use pyralog_wire::message::{
    Append, Appended, CreateLog, DescribeLog, Fetch, FetchFrom, Hello, LogDescription, Ping, Reply,
    Welcome,
};
use pyralog_wire::{
    Correlation, ErrorCode, ErrorReply, LogConfig, Request, Response, encode_request,
};

/// How long a test waits for an answer that must come.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// A small server on free ports of loopback, keeping its records in memory.
pub(crate) fn memory_config(shards: usize) -> ServerConfig {
    let mut config = ServerConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        shards,
        pin: false,
        data: DataConfig::MemoryOnly { max_memory: 16 << 30 },
        http: None,
        ..ServerConfig::default()
    };
    config.memory.io_bytes = 8 << 20;
    config
}

/// The same, keeping its records in `data`.
pub(crate) fn durable_config(shards: usize, data: &Path) -> ServerConfig {
    ServerConfig { data: DataConfig::Dir(data.into()), ..memory_config(shards) }
}

pub(crate) fn start(config: ServerConfig) -> Server {
    Server::start(config).unwrap()
}

/// A log with small segments, as tests on small disks like it.
pub(crate) fn log_config(partitions: u32) -> LogConfig {
    LogConfig { partitions, segment_bytes: 4 << 20, ..LogConfig::default() }
}

/// A received answer.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) correlation: u64,
    pub(crate) reply: Reply,
    pub(crate) payload: Vec<u8>,
}

/// One connection.
pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    received: Vec<u8>,
    correlation: u64,
}

impl Peer {
    /// Connects without a word.
    pub(crate) fn dial(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        socket.set_write_timeout(Some(ANSWER_MAX)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, received: Vec::new(), correlation: 0 }
    }

    /// Connects to the shared port and says Hello.
    pub(crate) fn connect(server: &Server) -> Self {
        Self::greet(server.addresses().listen).0
    }

    /// Connects to a shard's own port and says Hello.
    pub(crate) fn connect_to(server: &Server, shard: usize) -> Self {
        Self::greet(server.addresses().shards[shard]).0
    }

    pub(crate) fn greet(address: SocketAddr) -> (Self, Welcome) {
        let mut peer = Self::dial(address);
        match peer.ask(hello(), &[]).unwrap() {
            Response::Hello(welcome) => (peer, welcome),
            other => panic!("{other:?} to Hello"),
        }
    }

    /// Sends a request and returns its correlation.
    pub(crate) fn send(&mut self, request: impl Into<Request>, payload: &[u8]) -> u64 {
        let (correlation, bytes) = self.encode(request, payload);
        self.socket.write_all(&bytes).unwrap();
        correlation
    }

    /// The bytes of a request, and its correlation.
    pub(crate) fn encode(&mut self, request: impl Into<Request>, payload: &[u8]) -> (u64, Vec<u8>) {
        self.correlation += 1;
        let mut bytes = Vec::new();
        let payload_len = u32::try_from(payload.len()).unwrap();
        let correlation = Correlation::new(self.correlation);
        encode_request(&mut bytes, correlation, &request.into(), payload_len).unwrap();
        bytes.extend_from_slice(payload);
        (self.correlation, bytes)
    }

    /// The next answer, or `None` if the server closes instead.
    pub(crate) fn receive(&mut self) -> Option<Received> {
        loop {
            match FrameDecoder::new(FrameLimits::FULL).next(&self.received) {
                Decoded::Ready(frame, consumed) => {
                    let received = Received {
                        correlation: frame.head.header.correlation.get(),
                        reply: frame.head.reply().unwrap(),
                        payload: frame.payload.to_vec(),
                    };
                    self.received.drain(..consumed);
                    return Some(received);
                }
                Decoded::NeedMore { .. } => {}
                Decoded::Bad(error) => panic!("the server sent no frame: {error}"),
            }
            let mut chunk = vec![0; 1 << 20];
            match self.socket.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }

    /// Sends a request and returns its answer.
    pub(crate) fn ask(
        &mut self,
        request: impl Into<Request>,
        payload: &[u8],
    ) -> Result<Response, ErrorReply> {
        let correlation = self.send(request, payload);
        let received = self.receive().expect("an answer");
        assert_eq!(received.correlation, correlation);
        answer(received.reply)
    }

    /// Creates a log and returns its description.
    pub(crate) fn create(&mut self, name: &str, config: LogConfig) -> LogDescription {
        match self.ask(CreateLog { name: name.into(), config }, &[]).unwrap() {
            Response::CreateLog(description) => description,
            other => panic!("{other:?} to CreateLog"),
        }
    }

    pub(crate) fn describe(&mut self, name: &str) -> Result<LogDescription, ErrorReply> {
        match self.ask(DescribeLog { name: name.into() }, &[])? {
            Response::DescribeLog(description) => Ok(description),
            other => panic!("{other:?} to DescribeLog"),
        }
    }

    pub(crate) fn append(
        &mut self,
        log: LogId,
        partition: u32,
        batches: &[u8],
    ) -> Result<Appended, ErrorReply> {
        match self.ask(append(log, partition, None), batches)? {
            Response::Append(appended) => Ok(appended),
            other => panic!("{other:?} to Append"),
        }
    }

    /// All values of a partition from `from` on, fetched to the end.
    pub(crate) fn values(&mut self, log: LogId, partition: u32, from: u64) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        let mut next = Offset::new(from);
        loop {
            self.send(fetch(log, partition, FetchFrom::Offset(next)), &[]);
            let received = self.receive().expect("an answer");
            let Response::Fetch(fetched) = answer(received.reply).unwrap() else {
                panic!("not an answer to Fetch")
            };
            values.extend(decode(&received.payload, next));
            next = fetched.next_offset;
            if next >= fetched.high {
                return values;
            }
        }
    }

    /// Whether the server still answers this connection.
    pub(crate) fn ping(&mut self) {
        let token = self.correlation;
        match self.ask(Ping { token }, &[]).unwrap() {
            Response::Ping(pong) => assert_eq!(pong.token, token),
            other => panic!("{other:?} to Ping"),
        }
    }
}

pub(crate) fn answer(reply: Reply) -> Result<Response, ErrorReply> {
    match reply {
        Reply::Done(response) => Ok(response),
        Reply::Refused(error) => Err(error),
    }
}

pub(crate) fn hello() -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        limits_fingerprint: pyralog_wire::limits::fingerprint(),
        client: "test".into(),
        client_version: "0".into(),
    }
}

pub(crate) fn append(log: LogId, partition: u32, durability: Option<Durability>) -> Append {
    Append { log, partition: PartitionId::new(partition), durability }
}

/// A fetch that answers at once.
pub(crate) fn fetch(log: LogId, partition: u32, from: FetchFrom) -> Fetch {
    let partition = PartitionId::new(partition);
    Fetch { log, partition, from, bytes_min: 0, bytes_max: 1 << 20, wait_ms: 0 }
}

/// A batch of these values, of no session.
pub(crate) fn batch(values: &[&[u8]]) -> Vec<u8> {
    session_batch(values, None)
}

pub(crate) fn session_batch(values: &[&[u8]], session: Option<Session>) -> Vec<u8> {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    for value in values {
        let create_time = Timestamp::new(1_700_000_000_000_000);
        let record = Record { value: Some(value), create_time, ..Record::default() };
        builder.push(&record).unwrap();
    }
    builder.finish(session).unwrap()
}

/// The values of a fetched stream from `from` on, every checksum verified.
pub(crate) fn decode(stream: &[u8], from: Offset) -> Vec<Vec<u8>> {
    let mut decoder = pyralog_log::batch::Decoder::new();
    let mut values = Vec::new();
    for batch in Items::new(stream).batches() {
        let batch = batch.unwrap().verify().unwrap();
        for record in decoder.rows(&batch).unwrap().iter() {
            if record.offset >= from {
                values.push(record.value.unwrap_or_default().to_vec());
            }
        }
    }
    values
}

/// That an answer is this error.
#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(answer: Result<T, ErrorReply>, code: ErrorCode) {
    let error = answer.expect_err("a refusal");
    assert_eq!(error.code(), Some(code), "{error}");
}
