//! Questions about logs, and changes of them, with their entries in the history.

use pyralog_client::StartFrom;
use pyralog_client::directory::{ClusterId, LogIdentity};
use pyralog_log::ids::{LogId, PartitionId};
use pyralog_wire::limits::LIST_PAGE_LOGS_MAX;
use pyralog_wire::message::{
    AlterLog, CreateLog, DeleteLog, DescribeLog, FindOffset, ListLogs, LogDescription, LogRoute,
    Metadata, NodeStats, OffsetFound, Ping, Stats,
};
use pyralog_wire::{ErrorCode, LogChanges, LogConfig, Response};

use super::journal::{changes, place, refusal, settings};
use super::{CallError, Repeat, SimClient};
use crate::history::{CatalogAnswer, CatalogAsk, Kind, Watermarks};

impl SimClient {
    /// Creates a log.
    ///
    /// # Errors
    /// As [`SimClient::call`].
    pub async fn create_log(
        &self,
        name: &str,
        config: LogConfig,
    ) -> Result<LogDescription, CallError> {
        let ask = CatalogAsk::Create { name: name.to_owned(), settings: settings(&config) };
        let request = self.shared.journal.asked(ask);
        let create = CreateLog { name: name.to_owned(), config };
        let outcome = match self.call(create.into(), Repeat::Harmful).await {
            Ok(Response::CreateLog(description)) => Ok(description),
            Ok(other) => Err(CallError::unexpected(&other)),
            Err(error) => Err(error),
        };
        self.catalog_answered(request, outcome.as_ref().map(|description| description.id));
        outcome
    }

    /// Changes the configuration of a log.
    ///
    /// # Errors
    /// As [`SimClient::call`].
    pub async fn alter_log(
        &self,
        name: &str,
        what: LogChanges,
    ) -> Result<LogDescription, CallError> {
        let ask = CatalogAsk::Alter { name: name.to_owned(), changes: changes(&what) };
        let request = self.shared.journal.asked(ask);
        let alter = AlterLog { name: name.to_owned(), changes: what };
        // To set a value twice is to set it.
        let outcome = match self.call(alter.into(), Repeat::Harmless).await {
            Ok(Response::AlterLog(description)) => Ok(description),
            Ok(other) => Err(CallError::unexpected(&other)),
            Err(error) => Err(error),
        };
        self.catalog_answered(request, outcome.as_ref().map(|description| description.id));
        outcome
    }

    /// Deletes a log and its records; returns its identity.
    ///
    /// # Errors
    /// As [`SimClient::call`].
    pub async fn delete_log(&self, name: &str) -> Result<LogId, CallError> {
        let ask = CatalogAsk::Delete { name: name.to_owned() };
        let request = self.shared.journal.asked(ask);
        let delete = DeleteLog { name: name.to_owned() };
        let outcome = match self.call(delete.into(), Repeat::Harmful).await {
            Ok(Response::DeleteLog(deleted)) => Ok(deleted.id),
            Ok(other) => Err(CallError::unexpected(&other)),
            Err(error) => Err(error),
        };
        self.catalog_answered(request, outcome.as_ref().map(|id| *id));
        outcome
    }

    fn catalog_answered(&self, request: u64, outcome: Result<LogId, &CallError>) {
        let answer = match outcome {
            Ok(id) => CatalogAnswer::Done { log: id.get() },
            Err(CallError { maybe_done: true, .. }) => CatalogAnswer::Unknown,
            Err(CallError { reply, .. }) => {
                CatalogAnswer::Refused(reply.as_ref().map(refusal).unwrap_or_default())
            }
        };
        self.shared.journal.answered(request, answer);
    }

    /// The configuration of a log and the state of its partitions.
    ///
    /// # Errors
    /// As [`SimClient::call`].
    pub async fn describe_log(&self, name: &str) -> Result<LogDescription, CallError> {
        let begun = self.shared.journal.mark();
        let describe = DescribeLog { name: name.to_owned() };
        let answer = self.call(describe.into(), Repeat::Harmless).await;
        let names = Some(vec![name.to_owned()]);
        match answer {
            Ok(Response::DescribeLog(description)) => {
                let present = vec![(description.name.clone(), description.id.get())];
                self.shared.journal.push(Kind::CatalogSeen { begun, names, present });
                self.shared.journal.described(begun, &description);
                Ok(description)
            }
            Ok(other) => Err(CallError::unexpected(&other)),
            Err(error) => {
                if error.is(ErrorCode::UnknownLog) {
                    let present = Vec::new();
                    self.shared.journal.push(Kind::CatalogSeen { begun, names, present });
                }
                Err(error)
            }
        }
    }

    /// All logs, ordered by name; without their partitions' state.
    ///
    /// # Errors
    /// As [`SimClient::call`].
    pub async fn list_logs(&self) -> Result<Vec<LogDescription>, CallError> {
        let begun = self.shared.journal.mark();
        let mut logs: Vec<LogDescription> = Vec::new();
        loop {
            let after = logs.last().map_or_else(String::new, |log| log.name.clone());
            let list = ListLogs { prefix: String::new(), after, limit: LIST_PAGE_LOGS_MAX };
            let response = self.call(list.into(), Repeat::Harmless).await?;
            let Response::ListLogs(page) = response else {
                return Err(CallError::unexpected(&response));
            };
            let more = page.more && !page.logs.is_empty();
            logs.extend(page.logs);
            if !more {
                break;
            }
        }
        let present = logs.iter().map(|log| (log.name.clone(), log.id.get())).collect();
        self.shared.journal.push(Kind::CatalogSeen { begun, names: None, present });
        Ok(logs)
    }

    /// Identity, configuration and routes of a log, or `None` if there is no such log.
    ///
    /// # Errors
    /// As [`SimClient::call`].
    pub async fn metadata(&self, name: &str) -> Result<Option<LogRoute>, CallError> {
        self.route(name).await.map(|(_, route)| route)
    }

    /// [`SimClient::metadata`], and the cluster that said it.
    pub(super) async fn route(
        &self,
        name: &str,
    ) -> Result<(ClusterId, Option<LogRoute>), CallError> {
        let begun = self.shared.journal.mark();
        let names = vec![name.to_owned()];
        let metadata = Metadata { names: names.clone() };
        match self.call_cluster(metadata.into(), Repeat::Harmless, None).await? {
            (cluster, Response::Metadata(mut routes)) => {
                let found = routes.logs.pop().filter(|route| route.name == name);
                self.shared.hub.learn(cluster, &routes.shards);
                let present = found.iter().map(|route| (name.to_owned(), route.id.get()));
                let present = present.collect();
                let names = Some(names);
                self.shared.journal.push(Kind::CatalogSeen { begun, names, present });
                Ok((cluster, found))
            }
            (_, other) => Err(CallError::unexpected(&other)),
        }
    }

    /// The offset that a position of a partition stands for.
    ///
    /// # Errors
    /// As [`SimClient::call`].
    pub async fn find_offset(
        &self,
        (LogIdentity { cluster, log }, partition): (LogIdentity, PartitionId),
        at: StartFrom,
    ) -> Result<OffsetFound, CallError> {
        let begun = self.shared.journal.mark();
        let find = FindOffset { log, partition, at: at.into() };
        match self.call_cluster(find.into(), Repeat::Harmless, Some(cluster)).await? {
            (_, Response::FindOffset(found)) => {
                let (place, low, high) = (place(log, partition), found.low.get(), found.high.get());
                let watermarks = Watermarks { begun, place, low, high, end: None };
                self.shared.journal.push(Kind::Watermarks(watermarks));
                Ok(found)
            }
            (_, other) => Err(CallError::unexpected(&other)),
        }
    }

    /// The counters of the node.
    ///
    /// # Errors
    /// As [`SimClient::call`].
    pub async fn stats(&self) -> Result<NodeStats, CallError> {
        match self.call(Stats {}.into(), Repeat::Harmless).await? {
            Response::Stats(stats) => Ok(stats),
            other => Err(CallError::unexpected(&other)),
        }
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// As [`SimClient::call`].
    pub async fn ping(&self) -> Result<(), CallError> {
        match self.call(Ping { token: 0 }.into(), Repeat::Harmless).await? {
            Response::Ping(_) => Ok(()),
            other => Err(CallError::unexpected(&other)),
        }
    }
}
