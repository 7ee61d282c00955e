//! A log in memory with seeded faults: what Kafka can do to us, on demand.
//!
//! Without faults a record is delivered at once by `send`. With [`Faults`] one seed decides the fate of every record:
//! delivered later, acknowledgement lost, stored long after the report, never stored, stored twice. What is under way moves
//! by [`SimulatedLog::step`] only, so that a simulator is in charge; there is no clock and no thread.

mod appender;
mod faults;
mod reader;
mod state;

pub use faults::{Fate, Faults};
pub use state::Transaction;

use appender::Appender;
use bkes_core::{Header, Offset, Partition, Position, Record, TimestampMs};
use bkes_log::{Delivery, Log, LogAppender, LogError, LogIdentity, LogReader, Report, Waker, Watermarks};
use bytes::Bytes;
use reader::Reader;
use state::{AppenderSlot, OnTheWay, PartitionLog, State, Visibility, locked};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};

/// The log; clones are handles of the same one.
#[derive(Clone)]
pub struct SimulatedLog(Arc<Mutex<State>>);

impl SimulatedLog {
    /// An empty log of this many partitions, without faults.
    pub fn new(topic: &str, partitions: NonZeroU32) -> SimulatedLog {
        SimulatedLog::with_faults(topic, partitions, Faults::default(), 0)
    }

    /// An empty log whose faults are decided by `seed`.
    pub fn with_faults(topic: &str, partitions: NonZeroU32, faults: Faults, seed: u64) -> SimulatedLog {
        SimulatedLog(Arc::new(Mutex::new(State::new(topic, partitions, faults, seed))))
    }

    /// Sets the time that records get.
    pub fn set_now(&self, now: TimestampMs) {
        self.lock().now = now;
    }

    /// Changes the faults from here on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// How many records met each fate so far.
    pub fn fates(&self) -> Faults {
        self.lock().fates
    }

    /// Sets the largest record that is taken.
    pub fn set_record_bytes_max(&self, bytes: u64) {
        self.lock().record_bytes_max = bytes;
    }

    /// Sets how many records an appender may have open.
    pub fn set_queue_max(&self, records: usize) {
        self.lock().queue_max = records;
    }

    /// The log decides the timestamps itself and tells them only to readers.
    pub fn set_append_time(&self, append_time: bool) {
        self.lock().append_time = append_time;
    }

    /// From here on nobody is told which leader took a record, as with Kafka's older message formats.
    pub fn tell_no_leaders(&self) {
        self.lock().leaders_told = false;
    }

    /// The broker goes away.
    pub fn go_down(&self, detail: &str) {
        let mut state = self.lock();
        state.down = Some(detail.into());
        state.wake_all();
    }

    /// The broker comes back, and leads anew.
    pub fn come_up(&self) {
        let mut state = self.lock();
        state.down = None;
        state.partitions.iter_mut().for_each(|log| log.epoch += 1);
        state.wake_all();
    }

    /// Every producer handle that exists fails for good; what it has on its way may still arrive, unacknowledged.
    pub fn fail_appenders(&self, detail: &str) {
        let mut state = self.lock();
        for slot in &mut state.appenders {
            slot.fatal.get_or_insert_with(|| detail.into());
        }
        let mut unacknowledged = Vec::new();
        for way in state.on_the_way.iter_mut().filter(|way| way.acknowledged) {
            way.acknowledged = false;
            unacknowledged.push((way.appender, way.token, way.record.partition));
        }
        for (appender, token, partition) in unacknowledged {
            let delivery = Delivery::Unknown { detail: detail.into() };
            state.report(appender, Report { partition, token, delivery });
        }
        state.wake_all();
    }

    /// A foreign producer writes a record.
    pub fn append_foreign(
        &self,
        partition: Partition,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: Vec<Header>,
    ) -> Offset {
        let mut state = self.lock();
        let record = Record { partition, offset: Offset(0), timestamp: None, key, value, headers };
        let offset = state.store(record, Visibility::Visible);
        state.wake_all();
        offset
    }

    /// A foreign producer begins a transaction.
    pub fn begin(&self) -> Transaction {
        let mut state = self.lock();
        state.transactions += 1;
        Transaction(state.transactions)
    }

    /// A foreign producer writes a record in a transaction: the last stable offset stands before it until the end.
    pub fn append_in(
        &self,
        transaction: Transaction,
        partition: Partition,
        key: Bytes,
        value: Bytes,
    ) -> Offset {
        let mut state = self.lock();
        let record = Record {
            partition,
            offset: Offset(0),
            timestamp: None,
            key: Some(key),
            value: Some(value),
            headers: Vec::new(),
        };
        let offset = state.store(record, Visibility::Open(transaction));
        let log = state.partition_mut(partition);
        log.open.entry(transaction).or_insert(offset.0);
        state.wake_all();
        offset
    }

    /// Commits or aborts a transaction; a marker takes an offset in each partition it wrote to.
    pub fn end(&self, transaction: Transaction, commit: bool) {
        let mut state = self.lock();
        for log in &mut state.partitions {
            if log.open.remove(&transaction).is_none() {
                continue;
            }
            log.high += 1;
            for (_, _, visibility) in log.records.values_mut() {
                if *visibility == Visibility::Open(transaction) {
                    *visibility = if commit { Visibility::Visible } else { Visibility::Aborted };
                }
            }
        }
        state.wake_all();
    }

    /// A consumer group commits a position.
    pub fn commit(&self, group: &str, partition: Partition, position: Position) {
        self.lock().commits.insert((group.to_owned(), partition), position);
    }

    /// A consumer group is deleted, with all it has committed.
    pub fn delete_group(&self, group: &str) {
        self.lock().commits.retain(|(of, _), _| of != group);
    }

    /// Leaves `count` offsets unused, as control records do.
    pub fn skip_offsets(&self, partition: Partition, count: u64) {
        let mut state = self.lock();
        state.partition_mut(partition).high += count;
        state.wake_all();
    }

    /// Retention removes everything below `low`.
    pub fn cut_start(&self, partition: Partition, low: Position) {
        let mut state = self.lock();
        let log = state.partition_mut(partition);
        log.low = low.0.clamp(log.low, log.high);
        log.records = log.records.split_off(&Offset(log.low));
        state.wake_all();
    }

    /// A failover loses everything from `end` on. Readers that had come further find their position out of range.
    pub fn truncate(&self, partition: Partition, end: Position) {
        let mut state = self.lock();
        let log = state.partition_mut(partition);
        log.high = end.0.min(log.high);
        log.low = log.low.min(log.high);
        let high = log.high;
        drop(log.records.split_off(&Offset(high)));
        log.open.retain(|_, first| *first < high);
        log.truncations.push(high);
        log.epoch += 1;
        state.wake_all();
    }

    /// The topic is deleted and created again.
    pub fn recreate(&self) {
        let mut state = self.lock();
        let topic = state.identity.topic.clone();
        let number: u64 =
            state.identity.topic_id.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        state.identity.topic_id = format!("{topic}-{}", number + 1);
        state.partitions.iter_mut().for_each(|log| *log = PartitionLog::default());
        state.wake_all();
    }

    /// The topic grows.
    pub fn add_partitions(&self, count: u32) {
        let mut state = self.lock();
        state.partitions.extend((0..count).map(|_| PartitionLog::default()));
        state.wake_all();
    }

    /// How many records are on their way.
    pub fn on_the_way(&self) -> usize {
        self.lock().on_the_way.len()
    }

    /// Moves one record that is on its way: the next, or by chance that of another handle or one that was given up. Says whether
    /// there was one.
    pub fn step(&self) -> bool {
        let mut state = self.lock();
        if state.down.is_some() || state.on_the_way.is_empty() {
            return false;
        }
        let far = state.random.u32(..8) == 0;
        let chosen = if far { state.random_index() } else { 0 };
        let index = state.first_in_order(chosen);
        let Some(way) = state.on_the_way.remove(index) else { return false };
        let OnTheWay { appender, token, record, acknowledged } = way;
        let (partition, timestamp) = (record.partition, record.timestamp);
        let offset = state.store(record, Visibility::Visible);
        if acknowledged {
            let delivery = Delivery::Stored { offset: Some(offset), timestamp };
            state.report(appender, Report { partition, token, delivery });
        }
        state.wake_all();
        true
    }

    /// The producer gives the oldest record up that is on its way: it is reported as unknown and may still arrive. Says
    /// whether there was one.
    pub fn give_up(&self) -> bool {
        let mut state = self.lock();
        let Some(way) = state.on_the_way.iter_mut().find(|way| way.acknowledged) else { return false };
        way.acknowledged = false;
        let (appender, token, partition) = (way.appender, way.token, way.record.partition);
        let delivery = Delivery::Unknown { detail: "it was given up while it was on its way".into() };
        state.report(appender, Report { partition, token, delivery });
        true
    }

    /// What handles that were dropped had queued is lost, from a random record of each on. Says how many were lost.
    pub fn lose_abandoned(&self) -> usize {
        let mut state = self.lock();
        let before = state.on_the_way.len();
        for appender in 0..state.appenders.len() {
            let of = |way: &OnTheWay| way.appender == appender && way.acknowledged;
            let count = state.on_the_way.iter().filter(|way| of(way)).count();
            if !state.appenders[appender].dropped || count == 0 {
                continue;
            }
            let (mut seen, keep) = (0, state.random.usize(..=count));
            state.on_the_way.retain(|way| {
                seen += usize::from(of(way));
                !of(way) || seen <= keep
            });
        }
        before - state.on_the_way.len()
    }

    /// How many partitions there are, whether or not the log answers.
    pub fn partitions(&self) -> u32 {
        self.lock().partitions.len() as u32
    }

    /// Every visible record of a partition, for checks.
    pub fn records(&self, partition: Partition) -> Vec<Record> {
        let state = self.lock();
        let log = &state.partitions[partition.0 as usize];
        log.records
            .values()
            .filter(|(_, _, visibility)| *visibility == Visibility::Visible)
            .map(|(record, ..)| record.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.0)
    }
}

impl Log for SimulatedLog {
    fn identity(&self) -> Result<LogIdentity, LogError> {
        let state = self.lock();
        state.answering().map(|()| state.identity.clone())
    }

    fn partition_count(&self) -> Result<NonZeroU32, LogError> {
        let state = self.lock();
        state.answering()?;
        Ok(NonZeroU32::new(state.partitions.len() as u32).expect("a log has partitions"))
    }

    fn watermarks(&self, partition: Partition) -> Result<Watermarks, LogError> {
        let state = self.lock();
        state.answering()?;
        let log =
            state.partitions.get(partition.0 as usize).ok_or(LogError::NoSuchPartition { partition })?;
        Ok(Watermarks { low: Position(log.low), stable: Position(log.stable()), high: Position(log.high) })
    }

    fn committed(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LogError> {
        let state = self.lock();
        state.answering()?;
        let committed = |partition: &Partition| state.commits.get(&(group.to_owned(), *partition)).copied();
        Ok(partitions.iter().map(committed).collect())
    }

    fn record_bytes_max(&self) -> u64 {
        self.lock().record_bytes_max
    }

    fn reader(&self, waker: Waker) -> Result<Box<dyn LogReader>, LogError> {
        self.lock().readers.push(waker);
        Ok(Box::new(Reader::new(Arc::clone(&self.0))))
    }

    fn appender(&self, waker: Waker) -> Result<Box<dyn LogAppender>, LogError> {
        let mut state = self.lock();
        state.answering()?;
        state.appenders.push(AppenderSlot {
            reports: VecDeque::new(),
            open: 0,
            fatal: None,
            dropped: false,
            waker,
        });
        Ok(Box::new(Appender { log: Arc::clone(&self.0), slot: state.appenders.len() - 1 }))
    }
}

#[cfg(test)]
mod tests;
