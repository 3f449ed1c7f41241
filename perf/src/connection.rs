//! One blocking connection that speaks the native protocol and nothing more than a generator needs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, bail};
use pyralog_wire::frame::FrameLimits;
use pyralog_wire::limits::{PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN};
use pyralog_wire::message::{CreateLog, DeleteLog, DescribeLog, Hello, Metadata, Reply, Welcome};
use pyralog_wire::{
    Correlation, Decoded, ErrorCode, FrameDecoder, LogConfig, Request, Response, encode_request,
};

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
        let mut connection = Self {
            stream,
            received: vec![0; 64 << 10],
            start: 0,
            end: 0,
            request: Vec::new(),
            correlation: 0,
        };
        let hello = Hello {
            protocol_min: PROTOCOL_VERSION_MIN,
            protocol_max: PROTOCOL_VERSION_MAX,
            limits_fingerprint: 0,
            client: "pyralog-perf".to_owned(),
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

    /// Makes the log anew, so that every run begins with an empty one.
    pub(crate) fn recreate(&mut self, name: &str, config: LogConfig) -> anyhow::Result<()> {
        self.send(&DeleteLog { name: name.to_owned() }.into(), &[])?;
        if let Reply::Refused(error) = self.receive()?
            && !error.is(ErrorCode::UnknownLog)
        {
            bail!("cannot delete log {name}: {}", error.message);
        }
        self.call(&CreateLog { name: name.to_owned(), config }.into())?;
        self.call(&DescribeLog { name: name.to_owned() }.into())?;
        Ok(())
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
