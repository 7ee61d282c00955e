//! The reading half: a consumer, polled in batches.
//!
//! A consumer asks the broker for what is new as soon as it has the last answer, and by default a broker answers as soon as there
//! is one record: under load that is a fetch for nearly every append, which costs broker and client more than the append itself.
//! So the broker waits a few milliseconds for more (`options.rs`).

use crate::native::{Client, Scratch};
use bkes_core::{Partition, Position};
use bkes_log::{LogReader, ReadEvent, ReadFailure};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Messages taken from librdkafka at once.
const BATCH_MAX: usize = 4_096;

pub(crate) struct KafkaReader {
    client: Arc<Client>,
    assigned: BTreeSet<Partition>,
    failed: Vec<ReadEvent>,
    scratch: Scratch,
}

impl KafkaReader {
    pub fn new(client: Arc<Client>) -> KafkaReader {
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
        self.poll_known(records_max, &|_| Position::START, out);
    }

    fn poll_known(
        &mut self,
        records_max: usize,
        known: &dyn Fn(Partition) -> Position,
        out: &mut Vec<ReadEvent>,
    ) {
        out.append(&mut self.failed);
        self.client.fetch(records_max.min(BATCH_MAX), &mut self.scratch, known, out);
    }
}
