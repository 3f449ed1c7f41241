//! Connecting to a server, and what its errors mean for the exit code and for the user.

use pyralog_client::blocking::Client;
use pyralog_client::{ClientConfig, ClientError, ErrorCode};

use crate::args::{ClientArgs, DurabilityArg};
use crate::exit::{Failure, Status};
use crate::quantity::parse_duration;
use crate::session::Session;
use crate::settings::Settings;

/// A connection and the settings it was made with.
#[derive(Debug)]
pub(crate) struct Connected {
    /// The client.
    pub(crate) client: Client,
    /// The settings of this run.
    pub(crate) settings: Settings,
    /// Where it was looked for servers.
    pub(crate) servers: Vec<String>,
    /// How the client was made.
    pub(crate) config: ClientConfig,
}

/// Connects to the server that the flags or settings name.
///
/// # Errors
/// If the flags or settings are wrong (exit code 2) or no server answers (3).
pub(crate) fn connect(session: &Session, args: &ClientArgs) -> Result<Connected, Failure> {
    let settings = session.settings()?;
    let timeout = match &args.timeout {
        Some(text) => parse_duration(text)
            .map_err(|error| Failure::usage(format!("--timeout {text}: {error}")))?,
        None => settings.timeout,
    };
    let servers = if args.server.is_empty() { &settings.servers } else { &args.server };
    for server in servers {
        check_address(server)?;
    }
    let config = ClientConfig {
        name: concat!("pyralog/", env!("CARGO_PKG_VERSION")).to_owned(),
        connect_timeout: timeout,
        request_timeout: timeout,
        ..ClientConfig::default()
    };
    let servers = servers.clone();
    let client = Client::connect(servers.clone(), config.clone());
    let client = client.map_err(|error| explain(&error))?;
    Ok(Connected { client, settings, servers, config })
}

/// The failure of a command that a client error ended: exit code, message and what to do.
pub(crate) fn explain(error: &ClientError) -> Failure {
    let message = error.to_string();
    let status = match error {
        ClientError::Config { .. } | ClientError::Name(_) | ClientError::NotVerifiable { .. } => {
            Status::Usage
        }
        ClientError::Server(reply) if reply.is(ErrorCode::InvalidConfig) => Status::Usage,
        ClientError::Unverified { .. } => Status::VerificationFailed,
        _ if error.is_unavailable() => Status::Unavailable,
        _ => Status::Failure,
    };
    let failure = Failure::new(status, message);
    match error {
        ClientError::Connect { .. } => failure.hint(
            "start a server with `pyralog serve`, or name another one with --server HOST:PORT",
        ),
        ClientError::UnknownLog { name } => failure.hint(format!(
            "`pyralog log list` shows what is there; `pyralog log create {name}` makes it"
        )),
        ClientError::LogReplaced { .. } => {
            failure.hint("run the command again: it opens the log that has the name now")
        }
        ClientError::OutOfRange { .. } => {
            failure.hint("--from earliest starts at the oldest record")
        }
        ClientError::Unverified { .. } => failure.hint(
            "nothing of these records was written if every batch is verified; docs/PROOFS.md says what it means, \
             `pyralog audit` finds out more, and the server's data is evidence: keep a copy",
        ),
        ClientError::Timeout { .. } => failure.hint("--timeout 30s waits longer"),
        ClientError::NoIds { .. } => {
            failure.hint("name all obelisk nodes with --server A:7400,B:7400: any of them will do")
        }
        ClientError::SlotConflict { .. } => {
            failure.hint("ids.slots of the servers of a cluster must be disjoint")
        }
        ClientError::MixedClusters { .. } => {
            failure.hint("servers of one cluster have the same server.cluster_id")
        }
        error => match error.reply().and_then(|reply| advice(reply.code()?)) {
            Some(hint) => failure.hint(hint),
            None => failure,
        },
    }
}

/// What to do about a refusal that says nothing about how commands are called.
fn advice(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::UnknownCounter => Some(
            "`pyralog obelisk list` shows what is there; a counter lives on the server that it was \
             created on",
        ),
        ErrorCode::WrongRole => {
            Some("`pyralog serve --role all` does both; --server HOST:PORT names another server")
        }
        _ => None,
    }
}

/// `host:port`, so that a mistake is usage and not an unavailable server.
fn check_address(server: &str) -> Result<(), Failure> {
    let valid = server
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if valid {
        return Ok(());
    }
    Err(Failure::usage(format!("server {server:?}: expected host:port, such as 127.0.0.1:7400")))
}

impl From<DurabilityArg> for pyralog_client::Durability {
    fn from(level: DurabilityArg) -> Self {
        match level {
            DurabilityArg::Synced => Self::Synced,
            DurabilityArg::Written => Self::Written,
            DurabilityArg::Memory => Self::Memory,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_host_and_a_port() {
        for good in ["localhost:7400", "10.0.0.7:1", "[::1]:7400"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in ["", "localhost", ":7400", "host:port", "host:70000"] {
            let failure = check_address(bad).unwrap_err();
            assert_eq!(failure.status(), Status::Usage, "{bad}");
        }
    }
}
