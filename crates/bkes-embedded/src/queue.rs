//! What waits to be written, and the reports of what became of it.

use crate::frame;
use crate::limits::{QUEUE_BYTES_MAX, QUEUE_RECORDS_MAX, RECORD_OVERHEAD_BYTES};
use bkes_log::{Delivery, NewRecord, QueueBound, Report, Token, Waker};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The reports of one appender, and what wakes it.
pub type Reports = Arc<(Mutex<Vec<Report>>, Waker)>;

/// A record that was taken.
pub struct Queued {
    pub record: NewRecord,
    /// What of the queue it takes.
    pub size: Size,
    pub token: Token,
    pub reports: Reports,
}

/// What of the queue records take.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Size {
    /// How many they are.
    pub records: usize,
    /// Their bytes, as the contract counts them.
    pub bytes: u64,
}

impl Size {
    /// That of one record.
    pub fn of(record: &NewRecord) -> Size {
        let bytes = record.bytes();
        assert!(
            frame::bytes_of(record) <= bytes + RECORD_OVERHEAD_BYTES,
            "a group is no larger than it may be"
        );
        Size { records: 1, bytes }
    }
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
    taken: Size,
    pub stop: bool,
    pub state: WriteState,
    appenders: Vec<Weak<(Mutex<Vec<Report>>, Waker)>>,
}

impl Queue {
    /// Whether so much more may be taken, or the bound that it would pass.
    pub fn fits(&self, size: Size) -> Result<(), QueueBound> {
        if self.taken.records.saturating_add(size.records) > QUEUE_RECORDS_MAX {
            return Err(QueueBound::Records { records_max: QUEUE_RECORDS_MAX as u64 });
        }
        if self.taken.bytes.saturating_add(size.bytes) > QUEUE_BYTES_MAX {
            return Err(QueueBound::Bytes { bytes_max: QUEUE_BYTES_MAX });
        }
        Ok(())
    }

    /// Counts a record that an appender took.
    pub fn take(&mut self, size: Size) {
        self.taken.records += size.records;
        self.taken.bytes += size.bytes;
    }

    /// Counts records no more.
    fn release(&mut self, records: &[Queued]) {
        for Queued { size, .. } in records {
            self.taken.records -= size.records;
            self.taken.bytes -= size.bytes;
        }
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
