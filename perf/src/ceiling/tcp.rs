//! Loopback TCP between our runtime and a thread with blocking calls.

use std::hint;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use pyralog_runtime::net::{ListenOptions, Listener, Stream};
use pyralog_runtime::time;

use super::load::{histogram, on_cpu};
use super::{Plan, Sample, per_second};

/// What the receiving side asks for at a time.
pub(super) const RECEIVE_BYTES: usize = 256 << 10;
/// What the sending side gives at a time: a full batch.
pub(super) const SEND_BYTES: usize = 1 << 20;
/// A question, and an answer: twice a frame's header.
pub(super) const ECHO_BYTES: usize = 64;

fn listen() -> anyhow::Result<(Listener, SocketAddr)> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = Listener::bind(any, ListenOptions::default())?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Bytes a second from the load into a sink on this core.
pub(super) async fn receive(plan: &Plan, slice: Duration) -> anyhow::Result<Sample> {
    let (listener, address) = listen()?;
    let load = on_cpu(plan.load_cpu, move || {
        let mut stream = TcpStream::connect(address)?;
        let piece = vec![7; SEND_BYTES];
        let deadline = time::now() + slice;
        while time::now() < deadline {
            stream.write_all(&piece)?;
        }
        Ok(())
    });
    let mut stream = listener.accept().await?;
    let mut buffer = vec![0; RECEIVE_BYTES];
    // The clock starts with the first bytes: what comes before is the start of a thread.
    anyhow::ensure!(stream.read(&mut buffer).await? > 0, "the load sent nothing");
    let (began, mut total) = (time::now(), 0);
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            count => total += count as u64,
        }
    }
    let elapsed = time::now().since(began);
    load.await??;
    Ok(Sample::rate(per_second(total, elapsed)))
}

/// Bytes a second from a source on this core into the load.
pub(super) async fn send(plan: &Plan, slice: Duration) -> anyhow::Result<Sample> {
    let (listener, address) = listen()?;
    let load = on_cpu(plan.load_cpu, move || {
        let mut stream = TcpStream::connect(address)?;
        let mut buffer = vec![0; RECEIVE_BYTES];
        anyhow::ensure!(stream.read(&mut buffer)? > 0, "the core sent nothing");
        let (began, mut total) = (time::now(), 0);
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(per_second(total, time::now().since(began))),
                count => total += count as u64,
            }
        }
    });
    let mut stream = listener.accept().await?;
    let piece = vec![7; SEND_BYTES];
    let deadline = time::now() + slice;
    while time::now() < deadline {
        stream.write_all(&piece).await?;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(Sample::rate(load.await??))
}

/// Time from a question of the load to the answer of this core: one at a time, the load blocks. Beside it the median
/// while the load spins instead, if it has a processor of its own.
pub(super) async fn echo(plan: &Plan, slice: Duration) -> anyhow::Result<Sample> {
    let (listener, address) = listen()?;
    let spins = !plan.one_cpu();
    let load = on_cpu(plan.load_cpu, move || {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let part = if spins { slice / 2 } else { slice };
        let blocking = Sample::of(ask(part, |bytes| (&stream).read(bytes), &stream)?)?;
        if !spins {
            return Ok(blocking);
        }
        stream.set_nonblocking(true)?;
        let spinning = ask(part, |bytes| read_spinning(&stream, bytes), &stream)?;
        Ok(Sample { beside: Some(Sample::of(spinning)?.value), ..blocking })
    });
    answer(listener.accept().await?).await?;
    load.await?
}

/// Answers until the other side has no more questions.
async fn answer(mut stream: Stream) -> anyhow::Result<()> {
    let mut message = [0; ECHO_BYTES];
    loop {
        let mut filled = 0;
        while filled < ECHO_BYTES {
            match stream.read(&mut message[filled..]).await? {
                0 => return Ok(()),
                count => filled += count,
            }
        }
        stream.write_all(&message).await?;
    }
}

/// Asks for as long as `part`, one question at a time. A question is so small that the socket takes it at once.
fn ask(
    part: Duration,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    mut stream: &TcpStream,
) -> anyhow::Result<hdrhistogram::Histogram<u64>> {
    let (mut latencies, mut message) = (histogram(), [7; ECHO_BYTES]);
    let deadline = time::now() + part;
    let mut now = time::now();
    while now < deadline {
        stream.write_all(&message)?;
        let mut filled = 0;
        while filled < ECHO_BYTES {
            match read(&mut message[filled..])? {
                0 => anyhow::bail!("the core has closed the connection"),
                count => filled += count,
            }
        }
        let answered = time::now();
        latencies.saturating_record((answered.as_nanos() - now.as_nanos()).max(1));
        now = answered;
    }
    Ok(latencies)
}

fn read_spinning(mut stream: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => hint::spin_loop(),
            done => return done,
        }
    }
}
