//! The reading half: a consumer for each pace, polled in batches. One of them reads at a time.
//!
//! A consumer asks the broker for what is new as soon as it has the last answer, and a broker answers as soon as there is one
//! record: under load that is a fetch for nearly every append, which costs broker and client more than the append itself. The
//! gathering consumer lets the broker wait until there is more. librdkafka fixes that for the life of a handle, so there are two.

use crate::native::{Client, Scratch};
use bkes_core::{Partition, Position};
use bkes_log::{LogReader, Pace, ReadEvent, ReadFailure};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Messages taken from librdkafka at once.
const BATCH_MAX: usize = 4_096;

type Make = Box<dyn Fn(Pace) -> Result<Arc<Client>, String> + Send>;

pub(crate) struct KafkaReader {
    reading: Arc<Client>,
    pace: Pace,
    /// The other one, made when it is asked for first.
    resting: Option<Arc<Client>>,
    make: Make,
    assigned: BTreeSet<Partition>,
    failed: Vec<ReadEvent>,
    scratch: Scratch,
    dropped: Vec<ReadEvent>,
}

impl KafkaReader {
    pub fn new(make: Make) -> Result<KafkaReader, String> {
        Ok(KafkaReader {
            reading: make(Pace::Prompt)?,
            pace: Pace::Prompt,
            resting: None,
            make,
            assigned: BTreeSet::new(),
            failed: Vec::new(),
            scratch: Scratch::default(),
            dropped: Vec::new(),
        })
    }
}

impl LogReader for KafkaReader {
    fn assign(&mut self, partition: Partition, from: Position) {
        let again = !self.assigned.insert(partition);
        if let Err(detail) = self.reading.assign(partition, from, again) {
            let failure = ReadFailure::Unavailable { detail };
            self.failed.push(ReadEvent::Failed { partition: Some(partition), failure });
        }
    }

    fn set_pace(&mut self, pace: Pace) -> bool {
        if pace == self.pace {
            return false;
        }
        let other = match self.resting.take().map_or_else(|| (self.make)(pace), Ok) {
            Ok(other) => other,
            Err(detail) => {
                tracing::debug!("no consumer for another pace: {detail}");
                return false;
            }
        };
        let before = std::mem::replace(&mut self.reading, other);
        before.unassign(&self.assigned);
        self.assigned.clear();
        self.resting = Some(before);
        self.pace = pace;
        true
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
        self.reading.fetch(records_max.min(BATCH_MAX), &mut self.scratch, known, out);
        if let Some(resting) = &self.resting {
            // What it still had when it was relieved, and errors that are the other's too.
            resting.fetch(BATCH_MAX, &mut self.scratch, known, &mut self.dropped);
            self.dropped.clear();
        }
    }
}
