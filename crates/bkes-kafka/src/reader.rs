//! The reading half: one consumer, polled in batches.

use crate::native::{Client, Scratch};
use bkes_core::{Partition, Position};
use bkes_log::{LogReader, ReadEvent, ReadFailure};
use std::collections::BTreeSet;

/// Messages taken from librdkafka at once.
const BATCH_MAX: usize = 4_096;

pub(crate) struct KafkaReader {
    client: Client,
    assigned: BTreeSet<Partition>,
    failed: Vec<ReadEvent>,
    scratch: Scratch,
}

impl KafkaReader {
    pub fn new(client: Client) -> KafkaReader {
        KafkaReader { client, assigned: BTreeSet::new(), failed: Vec::new(), scratch: Scratch::default() }
    }
}

impl LogReader for KafkaReader {
    fn assign(&mut self, partition: Partition, from: Position) {
        let again = !self.assigned.insert(partition);
        if let Err(detail) = self.client.assign(partition, from, again) {
            let failure = ReadFailure::Unavailable { detail };
            self.failed.push(ReadEvent::Failed { partition: Some(partition), failure });
        }
    }

    fn poll(&mut self, records_max: usize, out: &mut Vec<ReadEvent>) {
        out.append(&mut self.failed);
        self.client.fetch(records_max.min(BATCH_MAX), &mut self.scratch, out);
    }
}
