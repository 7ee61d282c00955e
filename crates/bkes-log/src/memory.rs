//! A log in memory: the contract at its plainest. A record is stored when it is sent, nothing fails, nothing is ever removed, and
//! all of it is gone with the last handle. It has no leaders and no consumer groups.

use crate::{
    AppenderState, Delivery, Log, LogAppender, LogError, LogIdentity, LogReader, NewRecord, QueueBound,
    ReadEvent, ReadFailure, Report, SendError, Token, Waker, Watermarks,
};
use bkes_core::{Offset, Partition, Position, Record, TimestampMs};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

/// The largest key + value + headers of a record, in bytes: what Kafka takes when nothing else is set.
const RECORD_BYTES_MAX: u64 = 1024 * 1024;

/// Reports that an appender may leave to be taken. One is some 50 bytes, so an appender that takes none holds 5 MB.
const REPORTS_MAX: usize = 100_000;

/// How many logs this process has made: part of their names.
static MADE: AtomicU64 = AtomicU64::new(0);

struct State {
    identity: LogIdentity,
    /// The records of each partition; a record's offset is its place.
    partitions: Vec<Vec<Record>>,
    readers: Vec<Weak<Waker>>,
}

/// The log; clones are handles of the same one.
#[derive(Clone)]
pub struct MemoryLog(Arc<Mutex<State>>);

impl MemoryLog {
    /// An empty log of this many partitions. It is another one than any made before under the same name.
    pub fn new(topic: &str, partitions: NonZeroU32) -> MemoryLog {
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let topic_id = format!("{topic}-{:x}-{made}", now().0);
        let identity = LogIdentity { cluster: "memory".into(), topic: topic.into(), topic_id };
        let partitions = vec![Vec::new(); partitions.get() as usize];
        MemoryLog(Arc::new(Mutex::new(State { identity, partitions, readers: Vec::new() })))
    }

    /// A panic elsewhere leaves a state that is whole: every method changes it under one lock without calling out.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TimestampMs(since.as_millis() as i64)
}

impl Log for MemoryLog {
    fn identity(&self) -> Result<LogIdentity, LogError> {
        Ok(self.lock().identity.clone())
    }

    fn partition_count(&self) -> Result<NonZeroU32, LogError> {
        Ok(NonZeroU32::new(self.lock().partitions.len() as u32).expect("a log has partitions"))
    }

    fn watermarks(&self, partition: Partition) -> Result<Watermarks, LogError> {
        let state = self.lock();
        let log =
            state.partitions.get(partition.0 as usize).ok_or(LogError::NoSuchPartition { partition })?;
        let end = Position(log.len() as u64);
        Ok(Watermarks { low: Position::START, stable: end, high: end })
    }

    fn record_bytes_max(&self) -> u64 {
        RECORD_BYTES_MAX
    }

    fn reader(&self, waker: Waker) -> Result<Box<dyn LogReader>, LogError> {
        let waker = Arc::new(waker);
        let mut state = self.lock();
        state.readers.retain(|reader| reader.strong_count() > 0);
        state.readers.push(Arc::downgrade(&waker));
        Ok(Box::new(MemoryReader { log: self.clone(), places: BTreeMap::new(), last: None, _waker: waker }))
    }

    fn appender(&self, waker: Waker) -> Result<Box<dyn LogAppender>, LogError> {
        Ok(Box::new(MemoryAppender { log: self.clone(), reports: Vec::new(), waker }))
    }
}

/// How far a partition is read.
struct Place {
    position: usize,
    /// Whether the end at `position` was told.
    told_end: bool,
    failed: bool,
}

struct MemoryReader {
    log: MemoryLog,
    places: BTreeMap<Partition, Place>,
    /// The partition that a poll gave something of last: the next one begins after it, so that a busy one does not starve others.
    last: Option<Partition>,
    /// As long as it lives, appends wake it.
    _waker: Arc<Waker>,
}

impl LogReader for MemoryReader {
    fn assign(&mut self, partition: Partition, from: Position) {
        let position = usize::try_from(from.0).unwrap_or(usize::MAX);
        self.places.insert(partition, Place { position, told_end: false, failed: false });
    }

    fn poll(&mut self, records_max: usize, out: &mut Vec<ReadEvent>) {
        let end = out.len() + records_max;
        let state = self.log.lock();
        let is_behind = |partition: &Partition| self.last.is_some_and(|last| *partition <= last);
        let mut turns: Vec<_> = self.places.iter_mut().filter(|(_, place)| !place.failed).collect();
        turns.sort_by_key(|(partition, _)| is_behind(partition));
        for (partition, place) in turns {
            let Some(log) = state.partitions.get(partition.0 as usize) else { continue };
            if out.len() >= end {
                return;
            }
            let Some(unread) = log.get(place.position..) else {
                place.failed = true;
                let failure = ReadFailure::OutOfRange { position: Position(place.position as u64) };
                out.push(ReadEvent::Failed { partition: Some(*partition), failure });
                continue;
            };
            let before = out.len();
            let records = unread.iter().take(end - before);
            out.extend(records.map(|record| ReadEvent::Record { record: record.clone(), epoch: None }));
            let read = out.len() - before;
            place.position += read;
            place.told_end &= read == 0;
            if !place.told_end && place.position == log.len() && out.len() < end {
                place.told_end = true;
                out.push(ReadEvent::End { partition: *partition, position: Position(place.position as u64) });
            }
            if out.len() > before {
                self.last = Some(*partition);
            }
        }
    }
}

struct MemoryAppender {
    log: MemoryLog,
    reports: Vec<Report>,
    waker: Waker,
}

impl LogAppender for MemoryAppender {
    fn send(&mut self, record: NewRecord, token: Token) -> Result<(), SendError> {
        let bytes = record.bytes();
        if bytes > RECORD_BYTES_MAX {
            return Err(SendError::TooLarge { bytes, bytes_max: RECORD_BYTES_MAX });
        }
        self.has_room(1, bytes).map_err(SendError::Full)?;
        let NewRecord { partition, key, value, headers } = record;
        let timestamp = Some(now());
        let mut state = self.log.lock();
        let log = state.partitions.get_mut(partition.0 as usize).expect("the partition is known");
        let offset = Offset(log.len() as u64);
        log.push(Record { partition, offset, timestamp, key, value, headers });
        state.readers.iter().filter_map(Weak::upgrade).for_each(|reader| reader.wake());
        drop(state);
        let delivery = Delivery::Stored { offset: Some(offset), timestamp };
        self.reports.push(Report { partition, token, delivery });
        self.waker.wake();
        Ok(())
    }

    fn flush(&mut self) {}

    fn in_flight_max(&self) -> usize {
        usize::MAX
    }

    fn has_room(&self, records: usize, _bytes: u64) -> Result<(), QueueBound> {
        let fits = self.reports.len().saturating_add(records) <= REPORTS_MAX;
        if fits { Ok(()) } else { Err(QueueBound::Records { records_max: REPORTS_MAX as u64 }) }
    }

    fn record_bytes_max(&self) -> u64 {
        RECORD_BYTES_MAX
    }

    fn poll(&mut self, out: &mut Vec<Report>) {
        out.append(&mut self.reports);
    }

    fn state(&self) -> AppenderState {
        AppenderState::Up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_log_conforms() {
        crate::conformance::check(|partitions| MemoryLog::new("topic", partitions));
        crate::conformance::check_no_groups(|partitions| MemoryLog::new("topic", partitions));
    }
}
