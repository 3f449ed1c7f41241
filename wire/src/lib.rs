//! The native protocol: frames, messages and the sans-I/O connection.
//!
//! A connection carries *frames*: a 32-byte header, a small rkyv body and a payload of batches. The
//! batches have checksums of their own and are never copied into a message: a decoder hands out the
//! slice of the receive buffer, an encoder writes header and body and leaves the payload to the
//! shell. Nothing here reads a socket or a clock; `docs/PROTOCOL.md` is the specification for
//! people who write a client in another language.
//!
//! Cost of an append, server side: one CRC over about 60 bytes, one `bytecheck` over 13, no
//! allocation; the payload is not touched here at all (the log verifies it in its one pass).
//!
//! - [`frame`]: the header, whole-frame and header-first decoding.
//! - [`message`]: every request and response and how it becomes a body; [`kind`] numbers them.
//! - [`error`]: the stable error codes, what to do about each, and the error reply.
//! - [`server`] and [`client`]: the two ends of a connection as machines.
//! - [`limits`]: every maximum, and the fingerprint compared in the handshake.
//!
//! Both ends of a connection, with vectors for sockets:
//!
//! ```
//! use pyralog_log::ids::Timestamp;
//! use pyralog_wire::client::{ClientConnection, ClientStep};
//! use pyralog_wire::message::{Ping, Pong, Reply, Welcome};
//! use pyralog_wire::server::{ServerConfig, ServerConnection, ServerStep};
//! use pyralog_wire::{Request, Response};
//!
//! let config = ServerConfig::default();
//! let mut client = ClientConnection::new("example", "1.0");
//! let mut server = ServerConnection::new(config);
//! let (mut up, mut down) = (Vec::new(), Vec::new());
//!
//! client.hello(&mut up);
//! let ServerStep::Hello { hello, consumed } = server.receive(&up, &mut down) else { panic!() };
//! assert_eq!(hello.client, "example");
//! up.drain(..consumed);
//! let welcome = Welcome {
//!     protocol: 0, // this, fingerprint and limits are filled in by the machine
//!     shard: 0,
//!     limits_fingerprint: 0,
//!     node: 1,
//!     cluster: 1,
//!     server_time: Timestamp::new(0),
//!     limits: config.limits,
//!     server_version: "0.1.0".to_owned(),
//!     shards: Vec::new(),
//! };
//! server.welcome(welcome, &mut down);
//! let ClientStep::Welcome { consumed, .. } = client.receive(&down) else { panic!() };
//! server.flushed(down.drain(..consumed).len() as u64);
//!
//! let sent = client.send(&Ping { token: 7 }.into(), 0, &mut up).unwrap();
//! let ServerStep::Request { admitted, .. } = server.receive(&up, &mut down) else { panic!() };
//! assert_eq!(admitted.request, Request::Ping(Ping { token: 7 }));
//! let pong = Response::Ping(Pong { token: 7, server_time: Timestamp::new(0) });
//! assert!(server.reply(admitted.token, &pong, 0, &mut down).unwrap());
//! let ClientStep::Reply { correlation, reply, .. } = client.receive(&down) else { panic!() };
//! assert_eq!((correlation, reply), (sent, Reply::Done(pong)));
//! ```
#![forbid(unsafe_code)]

pub mod access;
pub mod client;
pub mod config;
pub mod error;
pub mod flight;
pub mod frame;
pub mod kind;
pub mod limits;
pub mod message;
pub mod name;
mod raw;
pub mod server;

pub use config::{Compaction, Integrity, LogChanges, LogConfig, LogStorage, Retention};
pub use error::{ErrorCode, ErrorDetail, ErrorReply, Retry};
pub use frame::{Correlation, Decoded, Frame, FrameDecoder, FrameError, FrameHeader, Head};
pub use kind::Kind;
pub use message::{Request, Response, encode_error, encode_request, encode_response};
