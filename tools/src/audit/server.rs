//! A partition of a server that runs, as an auditor asks it.

use std::ops::Range;

use pyralog_client::blocking::{Client, StoredReader};
use pyralog_client::{ClientError, Offset, PartitionId, Stored};
use pyralog_log::limits::MERKLE_NODES_READ_MAX;
use pyralog_log::merkle::{ConsistencyProof, Node, NodeId, nodes_before};
use pyralog_log::proof::SignedCheckpoint;

use pyralog_log::proof::auditor::{Read, Source};

use crate::connect::explain;
use crate::exit::Failure;

/// One partition of a server.
#[derive(Debug)]
pub(super) struct Served<'c> {
    client: &'c Client,
    log: &'c str,
    partition: PartitionId,
    reader: StoredReader,
    /// Why the tree grows no more, if the server says so.
    pub(super) fault: Option<String>,
}

impl<'c> Served<'c> {
    /// The partition.
    ///
    /// # Errors
    /// If the server does not answer, or has no such log.
    pub(super) fn new(
        client: &'c Client,
        log: &'c str,
        partition: PartitionId,
    ) -> Result<Self, Failure> {
        let reader =
            client.stored(log, partition, Offset::ZERO).map_err(|error| explain(&error))?;
        Ok(Self { client, log, partition, reader, fault: None })
    }
}

impl Source for Served<'_> {
    type Error = Failure;

    fn checkpoint(&mut self) -> Result<Option<SignedCheckpoint>, Failure> {
        let state = self.client.checkpoint(self.log, self.partition);
        let state = state.map_err(|error| explain(&error))?;
        self.fault = state.fault;
        if state.checkpoint.is_some() && state.signed.is_none() {
            return Err(Failure::failed("the server shows a checkpoint that it has not signed"));
        }
        Ok(state.signed)
    }

    fn read(&mut self, from: Offset) -> Result<Read, Failure> {
        self.reader.seek(from);
        match self.reader.next() {
            Ok(Stored::Batches(batches)) => Ok(Read::Batches(batches.bytes.to_vec())),
            // Beyond the end it is the end; before the beginning, records were removed.
            Ok(Stored::OutOfRange { low, .. }) if low > from => Ok(Read::Removed { low }),
            Ok(Stored::End | Stored::OutOfRange { .. }) => Ok(Read::End),
            Ok(Stored::Damaged { next, .. }) => Ok(Read::Damaged { next }),
            Err(ClientError::Corrupt { offsets, .. }) => Ok(Read::Damaged { next: offsets.end }),
            Err(error) => Err(explain(&error)),
        }
    }

    fn leaves(&mut self, range: Range<u64>) -> Result<Vec<Node>, Failure> {
        let (mut number, end) = (NodeId::leaf(range.start).number(), nodes_before(range.end));
        let (mut leaf, mut leaves) = (range.start, Vec::new());
        while number < end {
            let count = (end - number).min(MERKLE_NODES_READ_MAX as u64);
            let count = u32::try_from(count).expect("it is at most MERKLE_NODES_READ_MAX");
            let read = self.client.read_tree(self.log, self.partition, (number, count));
            let nodes = read.map_err(|error| explain(&error))?.nodes;
            if nodes.is_empty() {
                break;
            }
            for node in nodes {
                if number == NodeId::leaf(leaf).number() {
                    leaves.push(node);
                    leaf += 1;
                }
                number += 1;
            }
        }
        Ok(leaves)
    }

    fn consistency(
        &mut self,
        first: u64,
        second: u64,
    ) -> Result<Option<ConsistencyProof>, Failure> {
        match self.client.prove_consistency(self.log, self.partition, (first, second)) {
            Ok(proof) => Ok(Some(proof)),
            // It is wanted for evidence only: a server that refuses it does not silence the alarm.
            Err(ClientError::Server(_)) => Ok(None),
            Err(error) => Err(explain(&error)),
        }
    }
}
