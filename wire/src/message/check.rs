//! Whether the fields of a request are in range: done once, by the server's machine, before a
//! request is handed on.

use pyralog_log::limits::{KEY_BYTES_MAX, MERKLE_NODES_READ_MAX};

use crate::config::ConfigError;
use crate::error::{ErrorCode, ErrorReply};
use crate::limits::{
    CLIENT_TEXT_BYTES_MAX, COUNTER_NAME_BYTES_MAX, IDS_PER_REQUEST_MAX, LIST_PAGE_COUNTERS_MAX,
    LIST_PAGE_LOGS_MAX, NAMES_PER_REQUEST_MAX, NUMBERS_PER_REQUEST_MAX,
};
use crate::message::{ConnectionLimits, Fetch, Hello, Metadata, Request};
use crate::name::{self, NameError};

impl From<NameError> for ErrorReply {
    fn from(error: NameError) -> Self {
        Self::new(ErrorCode::InvalidName, error.to_string())
    }
}

impl From<ConfigError> for ErrorReply {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorCode::InvalidConfig, error.to_string())
    }
}

impl Request {
    /// Whether every field is in its range, as far as a request alone can tell.
    ///
    /// # Errors
    /// The reply that says which one is not and what is allowed.
    pub fn check(&self) -> Result<(), ErrorReply> {
        match self {
            Self::Hello(hello) => hello.check(),
            Self::Ping(_)
            | Self::Stats(_)
            | Self::Append(_)
            | Self::FindOffset(_)
            | Self::TruncateLog(_)
            | Self::GetCheckpoint(_)
            | Self::ProveRecord(_)
            | Self::ProveConsistency(_)
            | Self::Scrub(_) => Ok(()),
            Self::ReadTree(read) => {
                in_range("count", read.count.into(), 1, MERKLE_NODES_READ_MAX as u64)
            }
            Self::Fetch(fetch) => fetch.check(),
            Self::Metadata(metadata) => metadata.check(),
            Self::CreateLog(create) => {
                name::check(&create.name)?;
                Ok(create.config.check()?)
            }
            Self::DescribeLog(describe) => Ok(name::check_existing(&describe.name)?),
            Self::ListLogs(list) => {
                name::check_part(&list.prefix)?;
                name::check_part(&list.after)?;
                in_range("limit", list.limit.into(), 1, LIST_PAGE_LOGS_MAX.into())
            }
            Self::AlterLog(alter) => Ok(name::check_existing(&alter.name)?),
            Self::DeleteLog(delete) => Ok(name::check_existing(&delete.name)?),
            Self::FetchKey(fetch) => {
                in_range("bytes of key", fetch.key.len() as u64, 0, KEY_BYTES_MAX as u64)
            }
            Self::DealIds(deal) => {
                in_range("count", deal.count.into(), 1, IDS_PER_REQUEST_MAX.into())
            }
            Self::CreateCounter(create) => {
                counter_name(&create.name)?;
                Ok(create.config.check()?)
            }
            Self::TakeNumbers(take) => {
                counter_name(&take.name)?;
                in_range("count", take.count.into(), 1, NUMBERS_PER_REQUEST_MAX.into())
            }
            Self::DescribeCounter(describe) => counter_name(&describe.name),
            Self::RaiseCounter(raise) => counter_name(&raise.name),
            Self::ListCounters(list) => {
                name::check_part(&list.prefix)?;
                name::check_part(&list.after)?;
                in_range("limit", list.limit.into(), 1, LIST_PAGE_COUNTERS_MAX.into())
            }
        }
    }
}

impl Hello {
    fn check(&self) -> Result<(), ErrorReply> {
        let max = CLIENT_TEXT_BYTES_MAX as u64;
        in_range("bytes of client", self.client.len() as u64, 0, max)?;
        in_range("bytes of client_version", self.client_version.len() as u64, 0, max)
    }
}

impl Fetch {
    fn check(&self) -> Result<(), ErrorReply> {
        in_range("bytes_max", self.bytes_max.into(), 1, u32::MAX.into())?;
        in_range("bytes_min", self.bytes_min.into(), 0, self.bytes_max.into())
    }

    /// This fetch with its numbers lowered to what a connection takes.
    #[must_use]
    pub fn lowered_to(self, limits: &ConnectionLimits) -> Self {
        Self {
            bytes_min: self.bytes_min.min(limits.fetch_bytes_max),
            bytes_max: self.bytes_max.min(limits.fetch_bytes_max),
            wait_ms: self.wait_ms.min(limits.wait_ms_max),
            ..self
        }
    }
}

impl Metadata {
    fn check(&self) -> Result<(), ErrorReply> {
        in_range("number of names", self.names.len() as u64, 0, NAMES_PER_REQUEST_MAX as u64)?;
        self.names.iter().try_for_each(|name| Ok(name::check_existing(name)?))
    }
}

/// A counter's name is one that a log may have, only shorter.
fn counter_name(name: &str) -> Result<(), ErrorReply> {
    name::check(name)?;
    in_range("bytes of name", name.len() as u64, 1, COUNTER_NAME_BYTES_MAX as u64)
}

fn in_range(field: &str, value: u64, min: u64, max: u64) -> Result<(), ErrorReply> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let text = format!("{field} is {value}: allowed are {min} to {max}");
    Err(ErrorReply::new(ErrorCode::InvalidRequest, text))
}
