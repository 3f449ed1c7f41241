//! What this machine allows: each rate on one core, to hold the server's numbers against.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::report::Stopwatch;

/// Bytes moved by each measurement.
const BYTES: usize = 4 << 30;
/// Bytes per call: what one batch of the append benchmark has.
const PIECE_BYTES: usize = 1 << 20;

/// Measures loopback TCP, memory copy and CRC32C.
#[derive(Debug, Args)]
pub(crate) struct Ceiling {
    /// CPU of the receiving side of the loopback connection; the sending side is on `--cpu`.
    #[arg(long)]
    receiver_cpu: Option<usize>,
}

impl Ceiling {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        println!("loopback TCP      {:>8.0} MB/s", loopback(self.receiver_cpu)?);
        println!("memory copy       {:>8.0} MB/s", copy());
        println!("CRC32C            {:>8.0} MB/s", crc());
        Ok(())
    }
}

/// MB/s of one stream into a thread that reads and drops.
pub(crate) fn loopback(receiver_cpu: Option<usize>) -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let receiver = thread::spawn(move || -> std::io::Result<usize> {
        if let Some(id) = receiver_cpu {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
        let (mut stream, _) = listener.accept()?;
        let mut buffer = vec![0; 256 << 10];
        let mut total = 0;
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(total),
                read => total += read,
            }
        }
    });
    let mut stream = TcpStream::connect(address)?;
    let piece = vec![7; PIECE_BYTES];
    let watch = Stopwatch::start();
    for _ in 0..BYTES / PIECE_BYTES {
        stream.write_all(&piece)?;
    }
    drop(stream);
    let arrived = receiver.join().expect("the receiver does not panic")?;
    anyhow::ensure!(arrived == BYTES, "{arrived} bytes of {BYTES} arrived");
    Ok(watch.megabytes_per_second(BYTES))
}

fn copy() -> f64 {
    let (from, mut to) = (vec![7; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let watch = Stopwatch::start();
    for _ in 0..BYTES / PIECE_BYTES {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
    }
    watch.megabytes_per_second(BYTES)
}

fn crc() -> f64 {
    let from = vec![7; PIECE_BYTES];
    let watch = Stopwatch::start();
    for _ in 0..BYTES / PIECE_BYTES {
        black_box(crc32c::crc32c(black_box(&from)));
    }
    watch.megabytes_per_second(BYTES)
}

impl Stopwatch {
    /// Rate of `bytes` since the start.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub(crate) fn megabytes_per_second(self, bytes: usize) -> f64 {
        bytes as f64 / 1e6 / self.elapsed().max(Duration::from_nanos(1)).as_secs_f64()
    }
}
