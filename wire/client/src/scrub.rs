//! Lets a server read what it stores again.

use pyralog_log::ids::PartitionId;
use pyralog_wire::message::{Response, Scrub, Scrubbed};

use crate::client::{Client, Repeat, named, partition_of};
use crate::error::ClientError;
use crate::limits::TIMEOUT_MAX;

impl Client {
    /// Lets the server read every closed segment of a partition that it has on disk, and says what is damaged. Resolves when
    /// all were read, at the pace of the server's background work; a day at most, whatever the request timeout is.
    ///
    /// # Errors
    /// [`ClientError::UnknownLog`], [`ClientError::Partition`], or what any call can meet.
    pub async fn scrub(&self, log: &str, partition: PartitionId) -> Result<Scrubbed, ClientError> {
        let (cluster, route) = self.route(log).await?;
        partition_of(&route, partition)?;
        let request = Scrub { log: route.id, partition };
        let known = Some((cluster, route.name.as_str()));
        let answered = self.call_within(TIMEOUT_MAX, request.into(), Repeat::Harmless, known).await;
        match named(log, answered)? {
            (_, Response::Scrub(scrubbed), _) => Ok(scrubbed),
            _ => Err(ClientError::Unexpected { expected: "what a scrub has found" }),
        }
    }
}
