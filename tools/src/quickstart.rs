//! `pyralog quickstart`: see it work in half a minute.
//!
//! A server in a temporary directory takes a made-up access log, gives it back, is stopped and
//! started again and gives it back once more. Both times every partition is compared with what was
//! sent: number of records, dense offsets, and a digest over keys and values in order. The directory
//! is removed on every way out: success, failure, Ctrl-C.

mod access_log;
mod digest;
mod report;
mod scratch;
mod stream;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyralog_client::blocking::Client;
use pyralog_client::{ClientConfig, LogConfig, ShardStats};
use pyralog_shard::{DataConfig, Server, ServerConfig};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::QuickstartArgs;
use crate::connect::explain;
use crate::exit::{Failure, Status};
use crate::output::{Output, Tone};
use crate::session::Session;
use crate::stopwatch::Stopwatch;

use digest::Digest;
use report::Report;
use scratch::Scratch;
use stream::Stream;

/// The log that is ingested at full speed, and the one that is written a record at a time.
const LOG: &str = "access";
const SINGLE: &str = "single";

/// Segments of the quickstart: small enough that files are rolled and indexed while one watches.
const SEGMENT_BYTES: u64 = 128 << 20;

/// Runs the command.
///
/// # Errors
/// If the disk is too small, the server fails, it is interrupted (130), or what comes back is not
/// what was sent (4).
pub(crate) fn run(session: &Session, args: &QuickstartArgs) -> Result<(), Failure> {
    let output = session.output;
    let interrupted = take_signals()?;
    let scratch = Scratch::make(args)?;
    let show = Show { output, interrupted };
    show.head(args, scratch.path())?;
    let outcome = tour(&show, args, scratch.path());
    let kept = scratch.end(args.keep)?;
    let report = outcome?;
    if output.json() {
        return output.document(&report.json());
    }
    report.print(output)?;
    if let Some(path) = kept {
        output.line(&format!("\nThe data is kept in {}", path.display()))?;
    }
    report::next_steps(output)
}

/// Everything between making the directory and removing it.
fn tour(show: &Show, args: &QuickstartArgs, directory: &Path) -> Result<Report, Failure> {
    let config = server_config(args, directory);
    let mut report = Report::new(args, config.shards);

    let server = start(&config)?;
    let client = connect(&server)?;
    let wanted = LogConfig {
        partitions: args.partitions,
        durability: args.durability.into(),
        segment_bytes: SEGMENT_BYTES,
        ..LogConfig::default()
    };
    client.create_log(LOG, wanted).map_err(|error| explain(&error))?;
    let one = LogConfig { partitions: 1, ..wanted };
    client.create_log(SINGLE, one).map_err(|error| explain(&error))?;
    let mut stream = Stream::new(args);
    report.ingest = stream.ingest(show, &client)?;
    show.step("ingest", &report.ingest.summary())?;
    report.under_load = acknowledged(&client)?;
    report.batch_bytes = batch_bytes(&client)?;
    report.alone = stream.one_at_a_time(show, &client)?;
    report.digests = stream.digests().to_vec();

    report.read = read(show, &client, "read back", &stream)?;
    drop(client);
    let watch = Stopwatch::start();
    server.shutdown().map_err(|error| Failure::failed(format!("the stop failed: {error}")))?;
    let server = start(&config)?;
    report.restart = watch.elapsed();
    show.step("restart", &format!("stopped and ready again in {}", report.restart_human()))?;

    let client = connect(&server)?;
    report.reread = read(show, &client, "read again", &stream)?;
    drop(client);
    server.shutdown().map_err(|error| Failure::failed(format!("the stop failed: {error}")))?;
    Ok(report)
}

/// Reads everything back, compares it, and says so.
fn read(
    show: &Show,
    client: &Client,
    title: &str,
    stream: &Stream,
) -> Result<stream::Pass, Failure> {
    let (pass, found) = stream::read_back(show, &stream::Read { client, log: LOG, title })?;
    compare(stream.digests(), &found)?;
    let single = stream::Read { client, log: SINGLE, title };
    compare(&[stream.single()], &stream::read_back(show, &single)?.1)?;
    show.step(title, &format!("{}, verified", pass.summary()))?;
    Ok(pass)
}

/// Compares what was sent with what came back.
fn compare(expected: &[Digest], found: &[Digest]) -> Result<(), Failure> {
    let differences: Vec<String> = expected
        .iter()
        .zip(found)
        .enumerate()
        .filter(|(_, (sent, read))| sent != read)
        .map(|(partition, (sent, read))| {
            format!(
                "partition {partition}: sent {} records (digest {sent}), read {} (digest {read})",
                sent.records(),
                read.records()
            )
        })
        .collect();
    if differences.is_empty() && expected.len() == found.len() {
        return Ok(());
    }
    Err(Failure::new(Status::VerificationFailed, differences.join("; "))
        .hint("this is a bug: please report it with this output and `pyralog doctor`"))
}

fn server_config(args: &QuickstartArgs, directory: &Path) -> ServerConfig {
    let shards = match args.shards {
        0 => ServerConfig::available_shards(),
        count => usize::from(count),
    };
    ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        http: None,
        shards,
        data: DataConfig::Dir(directory.join("data")),
        node_name: "quickstart".to_owned(),
        ..ServerConfig::default()
    }
}

fn start(config: &ServerConfig) -> Result<Server, Failure> {
    Server::start(config.clone()).map_err(|error| {
        Failure::failed(format!("the server did not start: {error}"))
            .hint("`pyralog doctor` checks kernel, io_uring, limits and disk")
    })
}

fn connect(server: &Server) -> Result<Client, Failure> {
    let config = ClientConfig { name: "quickstart".to_owned(), ..ClientConfig::default() };
    let address = server.addresses().listen.to_string();
    Client::connect([address], config).map_err(|error| explain(&error))
}

/// What the server measured from the arrival of an append to its acknowledgement: the worst shard.
fn acknowledged(client: &Client) -> Result<[Duration; 3], Failure> {
    let stats = client.stats().map_err(|error| explain(&error))?;
    let worst = |of: fn(&ShardStats) -> u64| {
        Duration::from_micros(stats.shards.iter().map(of).max().unwrap_or(0))
    };
    Ok([worst(|s| s.append_p50_us), worst(|s| s.append_p99_us), worst(|s| s.append_p999_us)])
}

/// Bytes of all batches of the log, as they lie on disk.
fn batch_bytes(client: &Client) -> Result<u64, Failure> {
    let log = client.describe_log(LOG).map_err(|error| explain(&error))?;
    Ok(log.partitions.iter().map(|partition| partition.bytes).sum())
}

/// The first signal asks the tour to end and clean up; the second ends the process.
fn take_signals() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: at the first signal the flag is not yet set when this looks at it.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            Status::Interrupted as i32,
            Arc::clone(&flag),
        )
        .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
        .map_err(|error| Failure::failed(format!("cannot handle signals: {error}")))?;
    }
    Ok(flag)
}

/// What the tour shows while it runs, and whether it was interrupted.
#[derive(Debug)]
struct Show {
    output: Output,
    interrupted: Arc<AtomicBool>,
}

impl Show {
    fn head(&self, args: &QuickstartArgs, directory: &Path) -> Result<(), Failure> {
        if self.output.json() {
            return Ok(());
        }
        let title = self.output.paint(Tone::Strong, "pyralog quickstart");
        let level = pyralog_client::Durability::from(args.durability);
        let place = self.output.paint(Tone::Faint, &directory.display().to_string());
        self.output.line(&format!("{title}  durability {level}, data in {place}\n"))
    }

    /// A finished step.
    fn step(&self, title: &str, text: &str) -> Result<(), Failure> {
        if self.output.json() {
            return Ok(());
        }
        let mark = self.output.paint(Tone::Good, "ok");
        self.output.line(&format!("  {mark}  {title:<11} {text}"))
    }

    /// Ends the tour if somebody asked for it.
    fn check(&self) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new(Status::Interrupted, "interrupted; everything is cleaned up"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_in_any_partition_fails_the_verification_with_code_4() {
        let mut digests = vec![Digest::default(); 2];
        digests[0].add(Some(b"k"), Some(b"v"));
        assert_eq!(compare(&digests, &digests.clone()), Ok(()));
        let mut others = digests.clone();
        others[1].add(None, Some(b"extra"));
        let failure = compare(&digests, &others).unwrap_err();
        assert_eq!(failure.status(), Status::VerificationFailed);
        assert!(failure.message().starts_with("partition 1: sent 0 records"), "{failure}");
        assert!(compare(&digests, &digests[..1]).is_err());
    }
}
