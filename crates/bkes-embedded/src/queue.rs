//! What waits to be written, and the reports of what became of it.

use crate::limits::{QUEUE_BYTES_MAX, QUEUE_RECORDS_MAX};
use bkes_log::{Delivery, NewRecord, QueueBound, Report, Token, Waker};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The reports of one appender, and what wakes it.
pub type Reports = Arc<(Mutex<Vec<Report>>, Waker)>;

/// A record that was taken.
pub struct Queued {
    pub record: NewRecord,
    /// What it takes in the file.
    pub bytes: u64,
    pub token: Token,
    pub reports: Reports,
}

/// Whether writing works.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum WriteState {
    #[default]
    Works,
    /// The last write failed, and was undone; it is tried again.
    Failing(String),
    /// A sync failed, or a write that could not be undone: nothing is written until the log is opened anew.
    Broken(String),
}

impl WriteState {
    /// Why nothing is written, if so.
    pub fn trouble(&self) -> Option<&String> {
        match self {
            WriteState::Works => None,
            WriteState::Failing(detail) | WriteState::Broken(detail) => Some(detail),
        }
    }
}

/// What waits to be written, and whether writing works.
#[derive(Default)]
pub struct Queue {
    records: VecDeque<Queued>,
    /// Taken by appenders and not yet by the writer, handed over or not.
    taken_records: usize,
    taken_bytes: u64,
    pub stop: bool,
    pub state: WriteState,
    appenders: Vec<Weak<(Mutex<Vec<Report>>, Waker)>>,
}

impl Queue {
    /// Whether so much more may be taken, or the bound that it would pass.
    pub fn fits(&self, records: usize, bytes: u64) -> Result<(), QueueBound> {
        if self.taken_records + records > QUEUE_RECORDS_MAX {
            return Err(QueueBound::Records { records_max: QUEUE_RECORDS_MAX as u64 });
        }
        if self.taken_bytes + bytes > QUEUE_BYTES_MAX {
            return Err(QueueBound::Bytes { bytes_max: QUEUE_BYTES_MAX });
        }
        Ok(())
    }

    /// Counts a record that an appender took.
    pub fn take(&mut self, bytes: u64) {
        self.taken_records += 1;
        self.taken_bytes += bytes;
    }

    /// Counts records no more.
    fn release(&mut self, records: &[Queued]) {
        self.taken_records -= records.len();
        self.taken_bytes -= records.iter().map(|queued| queued.bytes).sum::<u64>();
    }

    /// Hands over what was taken.
    pub fn push(&mut self, drafts: &mut Vec<Queued>) {
        self.records.extend(drafts.drain(..));
    }

    /// Gives up what was taken and not handed over.
    pub fn give_up(&mut self, drafts: &[Queued]) {
        self.release(drafts);
    }

    /// Whether nothing was handed over.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Moves everything that was handed over to the end of `group`.
    pub fn drain(&mut self, group: &mut Vec<Queued>) {
        let before = group.len();
        group.extend(self.records.drain(..));
        self.release(&group[before..]);
    }

    /// From now on this appender is woken when the state changes.
    pub fn add_appender(&mut self, reports: &Reports) {
        self.appenders.retain(|appender| appender.strong_count() > 0);
        self.appenders.push(Arc::downgrade(reports));
    }

    /// The appenders that are still used.
    pub fn appenders(&self) -> Vec<Reports> {
        self.appenders.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Each appender is told at once of all that is its own: one that wakes for the first record would go to sleep again for the rest.
pub fn report(group: &mut Vec<Queued>, mut delivery: impl FnMut(&NewRecord) -> Delivery) {
    let is_same = |a: &Queued, b: &Queued| Arc::ptr_eq(&a.reports, &b.reports);
    for of_one in group.chunk_by(is_same) {
        let (told, waker) = &*of_one[0].reports;
        let reports = of_one.iter().map(|Queued { record, token, .. }| {
            let delivery = delivery(record);
            Report { partition: record.partition, token: *token, delivery }
        });
        told.lock().unwrap_or_else(PoisonError::into_inner).extend(reports);
        waker.wake();
    }
    group.clear();
}
