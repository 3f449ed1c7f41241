//! The client that applications use, as a target.

use std::pin::Pin;
use std::task::{Context, Poll};

use pyralog_client::{
    Client, ClientConfig, ClientError, Codec, Delivery, ErrorCode, LogConfig, PartitionId,
    Partitioner as Chooser, Producer, ProducerConfig, Record,
};

use super::{Counters, NotTaken, Outgoing, Taken, Target};
use crate::failure::Failure;
use crate::quantity::{bytes_exact, duration_exact};
use crate::scenario::{Keys, Partitioner, Scenario};

use super::producer::Route;

/// A producer of the client.
pub(crate) struct ClientTarget(Producer);

impl ClientTarget {
    /// Producer number `index` of a scenario, and where its arrivals go.
    pub(crate) async fn new(
        client: &Client,
        log: &str,
        (scenario, index): (&Scenario, u32),
    ) -> Result<(Self, Route), Failure> {
        let (config, route) = producer_config(scenario, index);
        let producer = client.producer(log, config).await.map_err(|error| explain(&error))?;
        Ok((Self(producer), route))
    }
}

/// The outcome of a record.
pub(crate) struct Ack(Delivery);

impl Future for Ack {
    type Output = Result<(), &'static str>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|outcome| match outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(code_of(&error)),
        })
    }
}

impl Target for ClientTarget {
    type Delivery = Ack;

    fn try_send(&mut self, record: Outgoing<'_>) -> Result<Taken<Ack>, NotTaken> {
        if record.tracked {
            self.0
                .try_send(record.into())
                .map(|delivery| Some(taken(delivery)))
                .map_err(|error| not_taken(&error))
        } else {
            self.0
                .try_send_detached(record.into())
                .map(|()| None)
                .map_err(|error| not_taken(&error))
        }
    }

    fn counters(&self) -> Counters {
        let stats = self.0.stats();
        Counters {
            batches: stats.batches_delivered,
            retries: stats.retries,
            failed: stats.records_failed,
        }
    }

    async fn send(&mut self, record: Outgoing<'_>) -> Result<Taken<Ack>, NotTaken> {
        if record.tracked {
            self.0
                .send(record.into())
                .await
                .map(|delivery| Some(taken(delivery)))
                .map_err(|error| not_taken(&error))
        } else {
            self.0
                .send_detached(record.into())
                .await
                .map(|()| None)
                .map_err(|error| not_taken(&error))
        }
    }
}

impl<'a> From<Outgoing<'a>> for Record<'a> {
    fn from(record: Outgoing<'a>) -> Self {
        Self {
            key: record.key,
            partition: record.partition.map(PartitionId::new),
            ..Self::new(record.value)
        }
    }
}

fn taken(delivery: Delivery) -> (u32, Ack) {
    (delivery.partition().get(), Ack(delivery))
}

fn not_taken(error: &ClientError) -> NotTaken {
    match error {
        ClientError::BufferFull => NotTaken::Full,
        error => NotTaken::Failed(code_of(error)),
    }
}

/// The name under which an error is counted: the server's code where it sent one.
pub(crate) fn code_of(error: &ClientError) -> &'static str {
    if let Some(reply) = error.reply() {
        return ErrorCode::from_number(reply.number).map_or("UnknownCode", ErrorCode::name);
    }
    match error {
        ClientError::Record(_) => "Record",
        ClientError::Closed => "Closed",
        ClientError::Connect { .. } => "Connect",
        ClientError::Disconnected { .. } => "Disconnected",
        ClientError::Connection { .. } => "Connection",
        ClientError::Timeout { .. } => "Timeout",
        ClientError::UnknownLog { .. } => "UnknownLog",
        ClientError::DeliveryTimeout { .. } => "DeliveryTimeout",
        ClientError::OutcomeUnknown { .. } => "OutcomeUnknown",
        ClientError::Undelivered { .. } => "Undelivered",
        ClientError::OutOfRange { .. } => "OutOfRange",
        ClientError::Damaged { .. } => "Damaged",
        ClientError::Corrupt { .. } => "Corrupt",
        _ => "Other",
    }
}

/// What a failed call means to the user of the benchmark.
pub(crate) fn explain(error: &ClientError) -> Failure {
    if error.is_unavailable() {
        Failure::Unavailable(error.to_string())
    } else {
        Failure::Failed(anyhow::anyhow!("{error}"))
    }
}

/// A client of the server at `address`.
pub(crate) async fn connect(address: &str) -> Result<Client, Failure> {
    let config = ClientConfig { name: "pyralog-bench".to_owned(), ..ClientConfig::default() };
    Client::connect([address], config).await.map_err(|error| explain(&error))
}

/// Makes the log of a scenario anew, so that every repetition begins with an empty one.
pub(crate) async fn recreate(
    client: &Client,
    log: &str,
    scenario: &Scenario,
) -> Result<(), Failure> {
    remove(client, log).await?;
    client.create_log(log, log_config(scenario)).await.map_err(|error| explain(&error))?;
    Ok(())
}

/// Removes a log, if there is one.
pub(crate) async fn remove(client: &Client, log: &str) -> Result<(), Failure> {
    match client.delete_log(log).await {
        Ok(_) | Err(ClientError::UnknownLog { .. }) => Ok(()),
        Err(error) => Err(explain(&error)),
    }
}

/// The log of a scenario.
fn log_config(scenario: &Scenario) -> LogConfig {
    LogConfig {
        partitions: scenario.partitions,
        durability: scenario.durability.into(),
        storage: scenario.storage.into(),
        segment_bytes: scenario.segment_bytes,
        memory_bytes_max: scenario.memory_bytes,
        integrity: scenario.integrity.into(),
        ..LogConfig::default()
    }
}

/// The settings of producer `index`, and where it sends what.
fn producer_config(scenario: &Scenario, index: u32) -> (ProducerConfig, Route) {
    let partition = index % scenario.partitions;
    let keyed = scenario.keys != Keys::None;
    let (partitioner, route) = match scenario.partitioner {
        _ if scenario.partitions == 1 => (Chooser::default(), Route::One),
        Partitioner::Fixed => (Chooser::Fixed(PartitionId::new(partition)), Route::One),
        _ if keyed => (Chooser::KeyHash, Route::Any),
        Partitioner::Spread => {
            (Chooser::default(), Route::Spread { next: partition, of: scenario.partitions })
        }
        Partitioner::Sticky => (Chooser::default(), Route::Any),
    };
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let config = ProducerConfig {
        linger: scenario.linger,
        batch_bytes: bytes(scenario.batch_bytes),
        codec: scenario.codec.into(),
        in_flight: scenario.in_flight as usize,
        buffer_bytes: bytes(scenario.buffer_bytes),
        partitioner,
        ..ProducerConfig::default()
    };
    (config, route)
}

/// The client's settings in words.
pub(crate) fn client_facts(scenario: &Scenario) -> String {
    format!(
        "batches up to {}, linger {}, {} in flight per partition, codec {}",
        bytes_exact(scenario.batch_bytes),
        duration_exact(scenario.linger),
        scenario.in_flight,
        Codec::from(scenario.codec).name()
    )
}
