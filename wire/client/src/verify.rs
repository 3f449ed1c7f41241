//! The shell of verification: asks the server what the machine of a partition ([`crate::verifying`]) wants to know, and keeps
//! what it believes.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use fastrand::Rng;
use pyralog_log::batch::Buffer;
use pyralog_log::ids::{Offset, PartitionId};
use pyralog_log::limits::MERKLE_NODES_READ_MAX;
use pyralog_log::merkle::{Hash, NODE_BYTES, Node, NodeId, nodes_before};
use pyralog_log::proof::{PublicKey, Stated, Subject, Trust};
use pyralog_wire::message::{
    GetCheckpoint, LogRoute, ProveConsistency, ProveRecord, ReadTree, Response,
};
use pyralog_wire::{ErrorCode, Integrity, Request};

use crate::client::{Client, Repeat};
use crate::config::{ConsumerConfig, Verify};
use crate::directory::{ClusterId, LogIdentity};
use crate::error::ClientError;
use crate::limits::VERIFY_POLL;
use crate::producer::entropy;
use crate::trust_file::{self, Keeper, TrustFile};
use crate::verifying::{Answer, Ask, Choice, Failure, Step, Told, Verifier};

/// What the partitions of a consumer are verified with.
#[derive(Debug)]
pub(crate) struct Verification {
    choice: Choice,
    keys: Vec<PublicKey>,
    kept: Option<(TrustFile, Keeper)>,
    path: PathBuf,
}

impl Verification {
    /// What `config` asks for; `None` if it asks for nothing.
    ///
    /// # Errors
    /// [`ClientError::NotVerifiable`], [`ClientError::TrustFile`].
    pub(crate) async fn of(
        config: &ConsumerConfig,
        route: &LogRoute,
    ) -> Result<Option<Self>, ClientError> {
        let choice = match config.verify {
            Verify::Off => return Ok(None),
            Verify::Every => Choice::Every,
            Verify::Sampled(one_of) => {
                let mut secret = [0; 32];
                for word in secret.as_chunks_mut().0 {
                    *word = entropy().to_le_bytes();
                }
                Choice::Sampled { one_of, secret: Hash::new(secret) }
            }
        };
        let integrity = route.config.integrity;
        let is_short = match integrity {
            Integrity::None => true,
            Integrity::Hash => !config.keys.is_empty(),
            Integrity::Signed => false,
        };
        if is_short {
            return Err(ClientError::NotVerifiable { log: route.name.clone(), integrity });
        }
        let kept = match &config.trust_file {
            Some(path) => {
                let file = trust_file::load(path).await?;
                Some((file.clone(), Keeper::start(file, path.clone())))
            }
            None => None,
        };
        let path = config.trust_file.clone().unwrap_or_default();
        Ok(Some(Self { choice, keys: config.keys.clone(), kept, path }))
    }

    /// The verification of one partition.
    ///
    /// # Errors
    /// [`ClientError::Unverified`] if what was kept of it is not to be believed with these keys.
    pub(crate) fn partition(
        &self,
        client: &Client,
        (cluster, route): (ClusterId, &LogRoute),
        partition: PartitionId,
    ) -> Result<Proving, ClientError> {
        let subject = Subject { cluster: cluster.0, log: route.id, partition };
        let mut trust = Trust::new(subject, self.keys.clone());
        let failed = |problem: String| ClientError::TrustFile {
            path: self.path.display().to_string(),
            problem,
        };
        let kept = self.kept.as_ref().map(|(file, _)| file.last(&route.name, &subject));
        let kept = kept.transpose().map_err(failed)?.flatten();
        if let Some(last) = kept {
            trust.resume(last).map_err(|distrust| {
                failed(format!(
                    "what it remembers is not to be believed: {distrust}. If the key was changed, give the former one too"
                ))
            })?;
        }
        Ok(Proving {
            client: client.clone(),
            name: route.name.clone(),
            identity: LogIdentity { cluster, log: route.id },
            partition,
            verifier: Verifier::new(trust, self.choice.clone()),
            keeper: self.kept.as_ref().map(|(_, keeper)| keeper.clone()),
            kept,
            is_pinned: !self.keys.is_empty() || kept.is_some(),
            rng: Rng::with_seed(entropy()),
        })
    }
}

/// The verification of one partition.
#[derive(Debug)]
pub(crate) struct Proving {
    client: Client,
    name: String,
    identity: LogIdentity,
    partition: PartitionId,
    verifier: Verifier,
    keeper: Option<Keeper>,
    /// What is in the trust file, or was told without one.
    kept: Option<Stated>,
    is_pinned: bool,
    /// Jitter of repetitions.
    rng: Rng,
}

impl Proving {
    /// The machine.
    pub(crate) const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Reading goes on elsewhere.
    pub(crate) fn moved(&mut self) {
        self.verifier.moved();
    }

    /// Takes what a fetch has brought.
    ///
    /// # Errors
    /// [`ClientError::Unverified`].
    pub(crate) fn received(&mut self, answer: Answer, floor: Offset) -> Result<(), ClientError> {
        let received = self.verifier.received(answer, floor);
        received.map_err(|failure| self.unverified(failure))
    }

    /// Proves what can be proven now; the first time, the newest checkpoint is asked for if nothing else. `false` if
    /// something is left, which no checkpoint covers yet.
    ///
    /// # Errors
    /// [`ClientError::Unverified`], [`ClientError::TrustFile`], [`ClientError::LogReplaced`], [`ClientError::UnknownLog`].
    pub(crate) async fn prove(&mut self) -> Result<bool, ClientError> {
        loop {
            let step = self.verifier.step().map_err(|failure| self.unverified(failure))?;
            let ask = match step {
                Step::Done => return Ok(true),
                Step::Wait => return Ok(false),
                Step::Ask(ask) => ask,
            };
            let told = self.ask(&ask).await?;
            self.verifier.told(told).map_err(|failure| self.unverified(failure))?;
            self.keep().await?;
        }
    }

    /// Waits until there may be a newer checkpoint.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(VERIFY_POLL).await;
        self.verifier.again();
    }

    /// Keeps what is believed now, before anything is handed out because of it.
    async fn keep(&mut self) -> Result<(), ClientError> {
        let Some(last) = self.verifier.last().copied().filter(|last| self.kept != Some(*last))
        else {
            return Ok(());
        };
        if let (false, None, Some(signed)) = (self.is_pinned, &self.kept, last.signed()) {
            let (log, partition, key) = (&self.name, self.partition, signed.key());
            tracing::warn!(log, %partition, %key, "no key is pinned: the first one seen is believed");
        }
        if let Some(keeper) = &self.keeper {
            keeper.save(&self.name, last).await?;
        }
        self.kept = Some(last);
        Ok(())
    }

    fn unverified(&self, failure: Failure) -> ClientError {
        let Failure { offsets, why } = failure;
        let (log, partition, source) = (self.name.clone(), self.partition, Arc::new(why));
        ClientError::Unverified { log, partition, offsets, source }
    }

    /// Asks the server, again and again while it cannot be reached.
    async fn ask(&mut self, ask: &Ask) -> Result<Told, ClientError> {
        let backoff = self.client.config().backoff();
        let mut failures = 0;
        loop {
            let error = match self.ask_once(ask).await {
                Ok(told) => return Ok(told),
                Err(error) => error,
            };
            match &error {
                ClientError::Server(reply) if reply.is(ErrorCode::UnknownLog) => {
                    return Err(ClientError::UnknownLog { name: self.name.clone() });
                }
                // That it has no such tree is an answer, whatever later ones may be.
                ClientError::Server(reply)
                    if reply.is(ErrorCode::NotInTree) || !reply.retry.is_retryable() =>
                {
                    return Ok(Told::Refused(reply.to_string()));
                }
                ClientError::LogReplaced { .. }
                | ClientError::Closed
                | ClientError::Unexpected { .. } => return Err(error),
                _ => {}
            }
            tracing::debug!(log = self.name, partition = %self.partition, %error, "no proof");
            failures += 1;
            tokio::time::sleep(backoff.delay(failures, &mut self.rng)).await;
        }
    }

    async fn ask_once(&self, ask: &Ask) -> Result<Told, ClientError> {
        let (log, partition) = (self.identity.log, self.partition);
        let request: Request = match *ask {
            Ask::Checkpoint => GetCheckpoint { log, partition }.into(),
            Ask::Record { offset, size } => {
                ProveRecord { log, partition, offset, tree_size: size }.into()
            }
            Ask::Consistency { first, second } => {
                ProveConsistency { log, partition, first, second }.into()
            }
            Ask::Leaves(ref leaves) => return self.leaves(leaves.clone()).await,
        };
        match self.call(request).await?.0 {
            Response::GetCheckpoint(got) => {
                let fault = Some(got.fault).filter(|fault| !fault.is_empty());
                Ok(Told::Checkpoint(got.checkpoint, fault))
            }
            Response::ProveRecord(proven) | Response::ProveConsistency(proven) => {
                Ok(Told::Proof(proven.proof))
            }
            _ => Err(ClientError::Unexpected { expected: "a proof" }),
        }
    }

    async fn call(&self, request: Request) -> Result<(Response, Buffer), ClientError> {
        let known = Some((self.identity.cluster, self.name.as_str()));
        let (_, response, payload) =
            self.client.call_answered(request, Repeat::Harmless, known).await?;
        Ok((response, payload))
    }

    /// The leaves of a window: as many as an answer to a fetch has batches at most.
    async fn leaves(&self, window: Range<u64>) -> Result<Told, ClientError> {
        let (mut number, end) = (NodeId::leaf(window.start).number(), nodes_before(window.end));
        let (mut next, mut leaves) = (window.start, Vec::new());
        while number < end {
            let count = (end - number).min(MERKLE_NODES_READ_MAX as u64);
            let count = u32::try_from(count).expect("it is at most MERKLE_NODES_READ_MAX");
            let (log, partition, from_node) = (self.identity.log, self.partition, number);
            let read = ReadTree { log, partition, from_node, count };
            let (_, payload) = self.call(read.into()).await?;
            let (nodes, _) = payload.as_chunks::<NODE_BYTES>();
            if nodes.is_empty() {
                break;
            }
            for node in nodes {
                if number == NodeId::leaf(next).number() && next < window.end {
                    leaves.push(Node::decode(node));
                    next += 1;
                }
                number += 1;
            }
        }
        Ok(Told::Leaves(leaves))
    }
}
