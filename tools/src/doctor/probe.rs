//! What writing is like where the data would live: through the same files as the server uses.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use hdrhistogram::Histogram;
use pyralog_runtime::buffer::BufferMut;
use pyralog_runtime::file::{DirectFile, Sync};
use pyralog_runtime::{IoError, MachineConfig, Pin, time};

use crate::limits::{DOCTOR_PROBE_MS_MAX, DOCTOR_PROBE_SAMPLES_MAX};
use crate::stopwatch::latencies;

/// Size of the probe file and of a write: one block over blocks that were written before, as a
/// group of the log finds them.
const FILE_BYTES: usize = 1 << 20;
const WRITE_BYTES: usize = 4096;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WriteProbe {
    /// Median time of a synced 4 KiB write.
    pub(super) p50: Duration,
    /// 99th percentile of it.
    pub(super) p99: Duration,
    /// Longest of it.
    pub(super) max: Duration,
    /// Writes measured.
    pub(super) samples: u64,
}

/// Measures synced direct writes in `directory` on one executor, within a second or so.
///
/// # Errors
/// If an executor cannot start, or the file cannot be made or written with direct I/O.
#[expect(clippy::disallowed_types, reason = "an ordinary thread waits for the executor's answer")]
pub(super) fn write_probe(directory: &Path) -> Result<WriteProbe, String> {
    let name = format!(".pyralog-doctor-{}", std::process::id());
    let path = directory.join(name);
    let config = MachineConfig {
        shards: 1,
        pin: Pin::None,
        buffer_bytes: 4 << 20,
        name: "doctor".to_owned(),
        ..MachineConfig::default()
    };
    let (answer, answered): (_, mpsc::Receiver<Result<Histogram<u64>, String>>) =
        mpsc::sync_channel(1);
    let file = path.clone();
    let machine = pyralog_runtime::start(&config, move |core| {
        let (answer, file) = (answer.clone(), file.clone());
        async move {
            let measured = measure(file).await.map_err(|error| error.to_string());
            // The receiver waits below until the machine has ended.
            answer.send(measured).ok();
            core.stopper().stop();
        }
    });
    let machine = machine.map_err(|error| error.to_string())?;
    let joined = machine.join().map_err(|error| error.to_string());
    // Removed even if the measurement failed half way; it may not exist then.
    std::fs::remove_file(&path).ok();
    joined?;
    let times = answered.try_recv().map_err(|_| "the executor ended early".to_owned())??;
    let at = |quantile| Duration::from_nanos(times.value_at_quantile(quantile));
    Ok(WriteProbe {
        p50: at(0.5),
        p99: at(0.99),
        max: Duration::from_nanos(times.max()),
        samples: times.len(),
    })
}

async fn measure(path: PathBuf) -> Result<Histogram<u64>, IoError> {
    let file = DirectFile::create_new(&path, FILE_BYTES as u64).await?;
    let block = |bytes: usize| {
        let mut buffer = BufferMut::with_capacity(bytes);
        buffer.extend_with(bytes, 0x5A);
        buffer.freeze()
    };
    file.write(0, &block(FILE_BYTES), Sync::Data).await?;
    let small = block(WRITE_BYTES);
    let mut times = latencies();
    let begin = time::now();
    for index in 0..DOCTOR_PROBE_SAMPLES_MAX {
        let position = index * WRITE_BYTES % FILE_BYTES;
        let start = time::now();
        file.write(position as u64, &small, Sync::Data).await?;
        let end = time::now();
        let nanos = u64::try_from(end.since(start).as_nanos()).unwrap_or(u64::MAX);
        times.saturating_record(nanos.max(1));
        if end.since(begin) > Duration::from_millis(DOCTOR_PROBE_MS_MAX) {
            break;
        }
    }
    file.close().await?;
    Ok(times)
}
