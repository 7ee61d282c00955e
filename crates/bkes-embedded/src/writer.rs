//! Appending: what gathers while one group is being synced becomes the next group.
//!
//! Invariants: a record is reported stored only after the `fdatasync` that covers it has returned, and is readable from then
//! on; offsets of a partition have no gaps; after a write that failed the file is cut back to what is synced before anything
//! else is written. After a failed sync the kernel may have dropped what it could not write, and would not say so again:
//! the log then takes nothing until it is opened anew.

use crate::file::Index;
use crate::frame;
use crate::log::{Published, Shared};
use bkes_core::{Offset, Partition, TimestampMs};
use bkes_log::{
    AppenderState, Delivery, LogAppender, NewRecord, QueueBound, Report, SendError, Token, Waker,
};
use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Records that may wait to be written, over all appenders.
const QUEUE_RECORDS_MAX: usize = 100_000;

/// Bytes that may wait to be written: also the most that one group has, so it bounds a torn tail.
const QUEUE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// How long after a failed write the next attempt is made.
const RETRY: Duration = Duration::from_secs(1);

type Reports = Arc<(Mutex<Vec<Report>>, Waker)>;

pub(crate) struct Queued {
    record: NewRecord,
    token: Token,
    reports: Reports,
}

/// What waits to be written, and whether writing works.
#[derive(Default)]
pub(crate) struct Queue {
    records: VecDeque<Queued>,
    bytes: u64,
    pub stop: bool,
    state: WriteState,
    appenders: Vec<std::sync::Weak<(Mutex<Vec<Report>>, Waker)>>,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
enum WriteState {
    #[default]
    Works,
    /// The last write failed; it is tried again.
    Failing(String),
    /// The last sync failed.
    Broken(String),
}

/// The writer thread: ends when it is told to and the queue is empty.
pub(crate) fn run(shared: &Shared) {
    let mut group = Vec::new();
    let mut buffer = Vec::new();
    loop {
        let mut queue = shared.queue();
        while queue.records.is_empty() && !queue.stop && !matches!(queue.state, WriteState::Failing(_)) {
            queue = shared.queued.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if let WriteState::Failing(_) = queue.state {
            if queue.stop {
                return;
            }
            drop(shared.queued.wait_timeout(queue, RETRY));
            recover(shared);
            continue;
        }
        if queue.records.is_empty() {
            return;
        }
        group.extend(queue.records.drain(..));
        queue.bytes = 0;
        drop(queue);
        write_group(shared, &mut group, &mut buffer);
    }
}

fn write_group(shared: &Shared, group: &mut Vec<Queued>, buffer: &mut Vec<u8>) {
    if let WriteState::Broken(detail) = &shared.queue().state {
        return report(group, |_| Delivery::NotStored { detail: detail.clone() });
    }
    let timestamp = now();
    let published = shared.published();
    let start = published.end;
    let mut next: Vec<Offset> = published.index.iter().map(Index::next).collect();
    drop(published);
    buffer.clear();
    let mut places = Vec::with_capacity(group.len());
    for Queued { record, .. } in group.iter() {
        let offset = &mut next[record.partition.0 as usize];
        places.push((record.partition, *offset, start + buffer.len() as u64));
        frame::put(buffer, record, *offset, timestamp);
        *offset = Offset(offset.0 + 1);
    }
    if let Err(error) = shared.file.write_all_at(buffer, start) {
        let detail = format!("writing the log failed: {error}");
        tracing::error!("{detail}");
        return match cut(shared, start) {
            Ok(()) => {
                set_state(shared, WriteState::Failing(detail.clone()));
                report(group, |_| Delivery::NotStored { detail: detail.clone() });
            }
            Err(_) => {
                set_state(shared, WriteState::Broken(detail.clone()));
                report(group, |_| Delivery::Unknown { detail: detail.clone() });
            }
        };
    }
    if let Err(error) = shared.file.sync_data() {
        let detail = format!("syncing the log failed, restart to see what was kept: {error}");
        tracing::error!("{detail}");
        set_state(shared, WriteState::Broken(detail.clone()));
        return report(group, |_| Delivery::Unknown { detail: detail.clone() });
    }
    publish(shared, &places, start + buffer.len() as u64);
    let mut offsets = places.iter().map(|(_, offset, _)| *offset);
    report(group, |_| Delivery::Stored { offset: offsets.next(), timestamp: Some(timestamp) });
    shared.wake_readers();
    buffer.shrink_to(4 * 1024 * 1024);
}

fn publish(shared: &Shared, places: &[(Partition, Offset, u64)], end: u64) {
    let mut published = shared.published.write().unwrap_or_else(PoisonError::into_inner);
    let Published { end: known, index } = &mut *published;
    for (partition, offset, position) in places {
        index[partition.0 as usize].note(*offset, *position);
    }
    *known = end;
}

/// Puts the file back to what is synced.
fn cut(shared: &Shared, end: u64) -> io::Result<()> {
    shared.file.set_len(end)?;
    shared.file.sync_all()
}

/// Sees whether there is space again: by writing a group's worth of nothing and cutting it off.
fn recover(shared: &Shared) {
    let end = shared.published().end;
    let tried = shared.file.write_all_at(&[0; 64 * 1024], end).and_then(|()| cut(shared, end));
    if tried.is_ok() {
        tracing::info!("the log can be written again");
        set_state(shared, WriteState::Works);
    }
}

fn set_state(shared: &Shared, state: WriteState) {
    let mut queue = shared.queue();
    queue.state = state;
    let appenders: Vec<Reports> = queue.appenders.iter().filter_map(std::sync::Weak::upgrade).collect();
    drop(queue);
    appenders.iter().for_each(|reports| reports.1.wake());
    shared.wake_readers();
}

/// Each appender is told at once of all that is its own: one that wakes for the first record would go to sleep again for the rest.
fn report(group: &mut Vec<Queued>, mut delivery: impl FnMut(&NewRecord) -> Delivery) {
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

fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TimestampMs(since.as_millis() as i64)
}

pub(crate) struct EmbeddedAppender {
    shared: Arc<Shared>,
    reports: Reports,
    /// Taken and not handed over.
    drafts: Vec<Queued>,
    draft_bytes: u64,
}

impl EmbeddedAppender {
    pub fn new(shared: Arc<Shared>, waker: Waker) -> EmbeddedAppender {
        let reports = Arc::new((Mutex::default(), waker));
        let mut queue = shared.queue();
        queue.appenders.retain(|appender| appender.strong_count() > 0);
        queue.appenders.push(Arc::downgrade(&reports));
        drop(queue);
        EmbeddedAppender { shared, reports, drafts: Vec::new(), draft_bytes: 0 }
    }

    fn fits(&self, queue: &Queue, records: usize, bytes: u64) -> Result<(), QueueBound> {
        if queue.records.len() + self.drafts.len() + records > QUEUE_RECORDS_MAX {
            return Err(QueueBound::Records { records_max: QUEUE_RECORDS_MAX as u64 });
        }
        if queue.bytes + self.draft_bytes + bytes > QUEUE_BYTES_MAX {
            return Err(QueueBound::Bytes { bytes_max: QUEUE_BYTES_MAX });
        }
        Ok(())
    }
}

impl LogAppender for EmbeddedAppender {
    fn send(&mut self, record: NewRecord, token: Token) -> Result<(), SendError> {
        let (bytes, bytes_max) = (record.bytes(), self.shared.record_bytes_max);
        if bytes > bytes_max || !frame::fits(&record) {
            return Err(SendError::TooLarge { bytes, bytes_max });
        }
        assert!(record.partition.0 < self.shared.head.partitions.get(), "the partition is known");
        let queue = self.shared.queue();
        match &queue.state {
            WriteState::Works => {}
            WriteState::Failing(detail) | WriteState::Broken(detail) => {
                return Err(SendError::Down { detail: detail.clone() });
            }
        }
        if queue.stop {
            return Err(SendError::Fatal { detail: "the log is closed".into() });
        }
        self.fits(&queue, 1, bytes).map_err(SendError::Full)?;
        drop(queue);
        self.draft_bytes += bytes;
        self.drafts.push(Queued { record, token, reports: Arc::clone(&self.reports) });
        Ok(())
    }

    fn flush(&mut self) {
        if self.drafts.is_empty() {
            return;
        }
        let mut queue = self.shared.queue();
        if queue.stop {
            drop(queue);
            return report(&mut self.drafts, |_| Delivery::NotStored { detail: "the log is closed".into() });
        }
        queue.bytes += std::mem::take(&mut self.draft_bytes);
        queue.records.extend(self.drafts.drain(..));
        drop(queue);
        self.shared.queued.notify_one();
    }

    fn under_way_max(&self) -> usize {
        // What comes while a group is synced is gathered here anyway, and is written as soon as that has ended.
        usize::MAX
    }

    fn has_room(&self, records: usize, bytes: u64) -> Result<(), QueueBound> {
        self.fits(&self.shared.queue(), records, bytes)
    }

    fn poll(&mut self, out: &mut Vec<Report>) {
        out.append(&mut self.reports.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self) -> AppenderState {
        match &self.shared.queue().state {
            WriteState::Works => AppenderState::Up,
            WriteState::Failing(detail) | WriteState::Broken(detail) => {
                AppenderState::Down { detail: detail.clone() }
            }
        }
    }
}
