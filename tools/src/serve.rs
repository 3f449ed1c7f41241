//! `pyralog serve`: starts the server, says where it listens, and stops it when asked.

use std::io;
use std::path::{Path, PathBuf};

use pyralog_seq::pharaoh::Role;
use pyralog_shard::{DataConfig, DataDirError, Server, ServerConfig, StartError};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::filter::LevelFilter;

use crate::args::ServeArgs;
use crate::exit::{Failure, Status};
use crate::output::{Output, Tone};
use crate::quantity::bytes_human;
use crate::session::Session;
use crate::settings::Settings;

/// Runs the server until it is told to stop.
///
/// # Errors
/// If the settings are wrong (exit code 2), or the server cannot start or stops by itself (1).
pub(crate) fn run(mut session: Session, args: ServeArgs) -> Result<(), Failure> {
    pyralog_runtime::take_file_size_signal();
    session.flag("data-dir", "server.data_dir", args.data_dir);
    session.flag("listen", "server.listen", args.listen);
    session.flag("http", "http.listen", args.http);
    session.flag("shards", "server.shards", args.shards);
    session.flag("memory-only", "server.memory_only", args.memory_only.then(|| "true".to_owned()));
    session.flag("max-memory", "server.max_memory", args.max_memory);
    session.flag("role", "server.role", args.role);
    session.flag("name", "server.node_name", args.name);
    session.flag("log-level", "observability.log_level", args.log_level);
    session.flag("log-format", "observability.log_format", args.log_format);
    let settings = session.settings()?;
    let output = session.output;
    start_logging(&settings, output)?;
    for finding in crate::settings::check(&settings, crate::machine::facts()) {
        tracing::warn!("{}", finding.message);
    }

    // Signals are taken before the start, so that none is lost between start and wait.
    let signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::failed(format!("cannot handle signals: {error}")))?;
    let server = Server::start(settings.server.clone()).map_err(|error| explain(&error))?;
    let announced = announce(output, &settings.server, &server, args.ready_file.as_deref());
    if let Err(failure) = announced {
        // The stop is what matters now; the failure to announce is what is reported.
        server.shutdown().ok();
        return Err(failure);
    }
    stop_on_signal(output, signals, &server)?;
    server.join().map_err(|error| Failure::failed(error.to_string()))?;
    if !output.json() {
        output.note("stopped; everything acknowledged is safe");
    }
    Ok(())
}

/// Structured logs on standard error, so that standard output only carries the addresses.
fn start_logging(settings: &Settings, output: Output) -> Result<(), Failure> {
    let level: LevelFilter = settings.log_level.parse().expect("the kind allows only levels");
    // A line that cannot be written is lost: to say so on standard error, as the library would, panics.
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    let started = if settings.log_format == "json" {
        builder.json().try_init()
    } else {
        builder.with_ansi(output.stderr_color()).with_target(false).try_init()
    };
    started.map_err(|error| Failure::failed(format!("cannot start logging: {error}")))
}

/// What a failed start means, and what to do about it.
fn explain(error: &StartError) -> Failure {
    let message = format!("cannot start: {error}");
    match error {
        StartError::Config(_) => Failure::usage(message),
        StartError::Listen { .. } => Failure::failed(message)
            .hint("--listen 127.0.0.1:0 takes free ports; or stop what listens there"),
        StartError::Http(_) => Failure::failed(message)
            .hint("--http off serves without metrics; --http 127.0.0.1:0 takes a free port"),
        StartError::DataDir(DataDirError::OtherCluster { .. }) => Failure::failed(message)
            .hint("server.cluster_id says which cluster it must be; 0 takes the stored one"),
        StartError::DataDir(DataDirError::OtherNode { .. }) => Failure::failed(message)
            .hint("server.node_id says which node it must be; 0 takes the stored one"),
        StartError::Runtime(_) => {
            Failure::failed(message).hint("`pyralog doctor` checks kernel, io_uring and limits")
        }
        _ => Failure::failed(message),
    }
}

/// Tells people and programs that the server is ready and where.
fn announce(
    output: Output,
    config: &ServerConfig,
    server: &Server,
    ready_file: Option<&Path>,
) -> Result<(), Failure> {
    let ready = ready_json(config, server);
    if let Some(path) = ready_file {
        write_ready(path, &ready)?;
    }
    if output.json() {
        return output.line(&ready.to_string());
    }
    let addresses = server.addresses();
    let strong = |text: &str| output.paint(Tone::Strong, text);
    let faint = |text: &str| output.paint(Tone::Faint, text);
    output.line(&format!(
        "{} {}  node {} ({})",
        strong("pyralog"),
        env!("CARGO_PKG_VERSION"),
        config.node_name,
        server.node_id()
    ))?;
    output.line(&format!("{}     {}", faint("data"), data_line(config)))?;
    let shards = format!("{} {}", addresses.shards.len(), plural(addresses.shards.len()));
    output.line(&format!("{}   {shards}", faint("shards")))?;
    output.line(&format!("{}     {}", faint("role"), role_line(config, server.cluster_id())))?;
    output.line(&format!("{} {}", faint("promises"), promise(config)))?;
    for line in server.recovery() {
        output.line(&format!("{} {line}", output.paint(Tone::Caution, "recovery")))?;
    }
    output.line(&format!("{}     Ctrl-C or SIGTERM, twice to stop at once", faint("stop")))?;
    let ports: Vec<String> = addresses.shards.iter().map(ToString::to_string).collect();
    output.line(&format!("listening native {}", addresses.listen))?;
    output.line(&format!("listening shards {}", ports.join(" ")))?;
    if let Some(http) = addresses.http {
        output.line(&format!("listening http http://{http}/metrics"))?;
    }
    output.line("ready")
}

/// What the node is for, in which cluster.
fn role_line(config: &ServerConfig, cluster: u64) -> String {
    let (role, slots) = (config.role, config.ids.slots);
    let work = match role {
        Role::All => "stores records, deals ids and counters",
        Role::Pyramid => "stores records",
        Role::Obelisk => "deals ids and counters, stores no records",
    };
    format!("{role}: {work}; cluster {cluster}, slots {slots}")
}

/// What an acknowledgement means here.
fn promise(config: &ServerConfig) -> &'static str {
    match (&config.data, config.role) {
        (DataConfig::MemoryOnly { .. }, _) => "memory: all is gone when this process ends",
        (DataConfig::Dir(_), Role::Obelisk) => {
            "no id comes twice, and no number of a counter whose mode promises that"
        }
        (DataConfig::Dir(_), _) => {
            "synced unless a log says otherwise: an acknowledged record survives power loss"
        }
    }
}

fn plural(shards: usize) -> &'static str {
    if shards == 1 { "executor" } else { "executors" }
}

fn data_line(config: &ServerConfig) -> String {
    match &config.data {
        DataConfig::Dir(path) => absolute(path).display().to_string(),
        DataConfig::MemoryOnly { max_memory } => {
            format!("in memory, at most {} of records", bytes_human(*max_memory))
        }
    }
}

/// The path as it would be typed elsewhere; as it is if the current directory is gone.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn ready_json(config: &ServerConfig, server: &Server) -> Value {
    let addresses = server.addresses();
    let shards: Vec<String> = addresses.shards.iter().map(ToString::to_string).collect();
    let data_dir = match &config.data {
        DataConfig::Dir(path) => Some(absolute(path).display().to_string()),
        DataConfig::MemoryOnly { .. } => None,
    };
    json!({
        "event": "listening",
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "node": server.node_id(),
        "cluster": server.cluster_id(),
        "role": config.role.to_string(),
        "slots": config.ids.slots.to_string(),
        "listen": addresses.listen.to_string(),
        "shards": shards,
        "http": addresses.http.map(|http| http.to_string()),
        "data_dir": data_dir,
        "recovery": server.recovery(),
    })
}

/// Written beside and renamed, so that whoever waits for the file never reads half of it.
fn write_ready(path: &Path, ready: &Value) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    std::fs::write(&beside, format!("{ready}\n"))
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|error| {
            Failure::failed(format!("cannot write the ready file {}: {error}", path.display()))
        })
}

/// The first signal drains, the second one ends the process.
fn stop_on_signal(output: Output, mut signals: Signals, server: &Server) -> Result<(), Failure> {
    let stopper = server.stopper();
    let watch = move || {
        for (count, signal) in signals.forever().enumerate() {
            let name = if signal == SIGINT { "Ctrl-C" } else { "SIGTERM" };
            if count == 0 {
                output.note(&format!(
                    "{name}: finishing what was accepted and closing; again to stop at once"
                ));
                stopper.stop();
            } else {
                output.note("stopped at once; the next start recovers from disk");
                std::process::exit(Status::Failure as i32);
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch)
        .map(drop)
        .map_err(|error| Failure::failed(format!("cannot handle signals: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_file_is_whole_or_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        write_ready(&path, &json!({ "listen": "127.0.0.1:1" })).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"listen\":\"127.0.0.1:1\"}\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let missing = write_ready(&dir.path().join("no/ready"), &json!({})).unwrap_err();
        assert!(missing.message().contains("ready file"), "{missing}");
    }
}
