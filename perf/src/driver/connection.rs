//! One blocking connection that speaks the native protocol and nothing more than a generator needs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, bail};
use pyralog_wire::frame::FrameLimits;
use pyralog_wire::limits::{PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN};
use pyralog_wire::message::{Hello, Metadata, Reply, Welcome};
use pyralog_wire::{Correlation, Decoded, FrameDecoder, Request, Response, encode_request};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;
use crate::limits::DRAIN_MAX;
use crate::usage::Snapshot;

/// Files that a process has open beside connections: libraries, segments, sockets of its own.
const FILES_BESIDE: u64 = 4096;

/// First size of a receive buffer: every answer to an append fits.
const RECEIVE_BYTES: usize = 64 << 10;

/// A handshaken connection. Answers are read in the order in which the server sends them.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    start: usize,
    end: usize,
    request: Vec<u8>,
    correlation: u64,
}

impl Connection {
    /// Connects and shakes hands.
    pub(crate) fn open(address: &str) -> anyhow::Result<(Self, Welcome)> {
        let stream = TcpStream::connect(address)
            .with_context(|| format!("cannot connect to {address}: is `pyralog serve` running?"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DRAIN_MAX))?;
        let mut connection = Self {
            stream,
            received: vec![0; RECEIVE_BYTES],
            start: 0,
            end: 0,
            request: Vec::new(),
            correlation: 0,
        };
        let hello = Hello {
            protocol_min: PROTOCOL_VERSION_MIN,
            protocol_max: PROTOCOL_VERSION_MAX,
            limits_fingerprint: 0,
            client: "pyralog-bench".to_owned(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        match connection.call(&hello.into())? {
            Response::Hello(welcome) => Ok((connection, welcome)),
            other => bail!("the server answered Hello with {other:?}"),
        }
    }

    /// Sends a request and its payload; the answer comes from [`Connection::receive`].
    pub(crate) fn send(&mut self, request: &Request, payload: &[u8]) -> anyhow::Result<()> {
        self.correlation += 1;
        self.request.clear();
        let len = u32::try_from(payload.len())?;
        encode_request(&mut self.request, Correlation::new(self.correlation), request, len)?;
        self.stream.write_all(&self.request)?;
        self.stream.write_all(payload)?;
        Ok(())
    }

    /// Sends the same request so many times, in one write.
    pub(crate) fn send_bundle(&mut self, request: &Request, count: u32) -> anyhow::Result<()> {
        self.request.clear();
        for _ in 0..count {
            self.correlation += 1;
            encode_request(&mut self.request, Correlation::new(self.correlation), request, 0)?;
        }
        self.stream.write_all(&self.request)?;
        Ok(())
    }

    /// The next answer; its payload is skipped.
    pub(crate) fn receive(&mut self) -> anyhow::Result<Reply> {
        let decoder = FrameDecoder::new(FrameLimits::FULL);
        loop {
            match decoder.next(&self.received[self.start..self.end]) {
                Decoded::Ready(frame, consumed) => {
                    let reply = frame.head.reply().map_err(anyhow::Error::msg)?;
                    self.start += consumed;
                    return Ok(reply);
                }
                Decoded::NeedMore { at_least } => self.fill(at_least)?,
                Decoded::Bad(error) => bail!("the server sent no frame: {error}"),
            }
        }
    }

    /// Sends and waits.
    pub(crate) fn call(&mut self, request: &Request) -> anyhow::Result<Response> {
        self.send(request, &[])?;
        match self.receive()? {
            Reply::Done(response) => Ok(response),
            Reply::Refused(error) => bail!("{}", error.message),
        }
    }

    /// A half that sends and one that receives, for two threads.
    pub(crate) fn split(self) -> anyhow::Result<(Self, Self)> {
        let stream = self.stream.try_clone()?;
        let sender = Self { stream, received: Vec::new(), request: Vec::new(), ..self };
        let stream = sender.stream.try_clone()?;
        let receiver =
            Self { stream, received: vec![0; RECEIVE_BYTES], request: Vec::new(), ..sender };
        Ok((sender, receiver))
    }

    /// Id of the log, and the shard of each partition.
    pub(crate) fn route(&mut self, name: &str) -> anyhow::Result<pyralog_wire::message::LogRoute> {
        match self.call(&Metadata { names: vec![name.to_owned()] }.into())? {
            Response::Metadata(routes) => {
                routes.logs.into_iter().next().with_context(|| format!("log {name} is unknown"))
            }
            other => bail!("the server answered Metadata with {other:?}"),
        }
    }

    fn fill(&mut self, at_least: usize) -> anyhow::Result<()> {
        self.received.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.received.len() < at_least {
            self.received.resize(at_least, 0);
        }
        let read = self.stream.read(&mut self.received[self.end..])?;
        anyhow::ensure!(read > 0, "the server closed the connection");
        self.end += read;
        Ok(())
    }
}

/// Connections that do nothing but be there.
pub(crate) struct Idle {
    connections: Vec<Connection>,
    bytes_each: Option<u64>,
}

impl Idle {
    /// Opens so many.
    pub(crate) fn open(address: &str, count: u32, server: Option<u32>) -> Result<Self, Failure> {
        if count > 0 {
            raise_file_limit(count)?;
        }
        let memory = || server.and_then(Snapshot::of).map(|snapshot| snapshot.rss_bytes());
        let before = memory();
        let mut connections = Vec::with_capacity(count as usize);
        for number in 0..count {
            let (mut connection, _) = Connection::open(address)
                .with_context(|| format!("idle connection {number} of {count}"))
                .map_err(|error| Failure::Unavailable(format!("{error:#}")))?;
            // Nothing more will be received.
            connection.received = Vec::new();
            connections.push(connection);
        }
        let grown = before.zip(memory()).map(|(before, after)| after.saturating_sub(before));
        let bytes_each = grown.and_then(|bytes| bytes.checked_div(count.into()));
        Ok(Self { connections, bytes_each })
    }

    /// How many, and bytes of the server's memory for each.
    pub(crate) fn cost(&self) -> Option<(u32, u64)> {
        let count = u32::try_from(self.connections.len()).ok().filter(|count| *count > 0)?;
        Some((count, self.bytes_each?))
    }
}

/// Makes room for so many connections, in this process and in the servers that it starts.
pub(crate) fn raise_file_limit(connections: u32) -> Result<(), Failure> {
    let wanted = u64::from(connections) + FILES_BESIDE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        let most = limit.maximum.unwrap_or(0);
        return Err(Failure::Usage(format!(
            "{connections} connections need {wanted} open files, and the limit is {most}: raise it (ulimit -Hn) or \
             lower idle_connections"
        )));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).map_err(|error| {
        Failure::Failed(anyhow::anyhow!("cannot raise the limit of open files: {error}"))
    })
}
