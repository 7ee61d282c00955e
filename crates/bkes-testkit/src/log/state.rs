//! What a simulated log holds, and what is on its way to it.

use super::faults::Faults;
use bkes_core::{LeaderEpoch, Offset, Partition, Position, Record, TimestampMs};
use bkes_log::{Delivery, LogError, LogIdentity, NewRecord, QueueBound, Report, SendError, Token, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An open transaction of a foreign producer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Transaction(pub(super) u64);

/// Whether readers see a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Visibility {
    Visible,
    Open(Transaction),
    Aborted,
}

#[derive(Debug, Default)]
pub(super) struct PartitionLog {
    pub(super) records: BTreeMap<Offset, (Record, LeaderEpoch, Visibility)>,
    /// The leader's; another one leads after a loss, and after the brokers were away.
    pub(super) epoch: u32,
    pub(super) low: u64,
    pub(super) high: u64,
    /// The first offset of each open transaction.
    pub(super) open: BTreeMap<Transaction, u64>,
    /// Where each truncation cut, so that whoever had read beyond it is told.
    pub(super) truncations: Vec<u64>,
}

impl PartitionLog {
    pub(super) fn stable(&self) -> u64 {
        self.open.values().copied().min().unwrap_or(self.high)
    }
}

/// A record on its way, with what will be reported.
pub(super) struct OnTheWay {
    pub(super) appender: usize,
    pub(super) token: Token,
    pub(super) record: Record,
    /// Whether its arrival will be reported; it was given up otherwise.
    pub(super) acknowledged: bool,
}

impl OnTheWay {
    /// Whether both are of one handle and partition, and neither was given up: then they arrive in order.
    fn is_in_order_with(&self, other: &OnTheWay) -> bool {
        let of = |way: &OnTheWay| (way.acknowledged, way.appender, way.record.partition);
        self.acknowledged && of(self) == of(other)
    }
}

pub(super) struct AppenderSlot {
    pub(super) reports: VecDeque<Report>,
    pub(super) open: usize,
    pub(super) fatal: Option<String>,
    /// Nobody holds the handle any more.
    pub(super) dropped: bool,
    pub(super) waker: Waker,
}

pub(super) struct State {
    pub(super) identity: LogIdentity,
    pub(super) partitions: Vec<PartitionLog>,
    pub(super) record_bytes_max: u64,
    pub(super) queue_max: usize,
    pub(super) down: Option<String>,
    pub(super) now: TimestampMs,
    pub(super) append_time: bool,
    pub(super) leaders_told: bool,
    pub(super) faults: Faults,
    /// How often each fate met a record so far.
    pub(super) fates: Faults,
    pub(super) random: fastrand::Rng,
    pub(super) on_the_way: VecDeque<OnTheWay>,
    pub(super) appenders: Vec<AppenderSlot>,
    pub(super) readers: Vec<Waker>,
    pub(super) transactions: u64,
    /// What consumer groups have committed.
    pub(super) commits: BTreeMap<(String, Partition), Position>,
}

impl State {
    pub(super) fn new(topic: &str, partitions: NonZeroU32, faults: Faults, seed: u64) -> State {
        let identity =
            LogIdentity { cluster: "memory".into(), topic: topic.into(), topic_id: format!("{topic}-1") };
        State {
            identity,
            partitions: (0..partitions.get()).map(|_| PartitionLog::default()).collect(),
            record_bytes_max: 1024 * 1024,
            queue_max: 100_000,
            down: None,
            now: TimestampMs(1_000),
            append_time: false,
            leaders_told: true,
            faults,
            fates: Faults::default(),
            random: fastrand::Rng::with_seed(seed),
            on_the_way: VecDeque::new(),
            appenders: Vec::new(),
            readers: Vec::new(),
            transactions: 0,
            commits: BTreeMap::new(),
        }
    }

    pub(super) fn partition_mut(&mut self, partition: Partition) -> &mut PartitionLog {
        &mut self.partitions[partition.0 as usize]
    }

    /// Whether this appender may send this record.
    pub(super) fn check(&self, appender: usize, record: &NewRecord) -> Result<(), SendError> {
        let slot = &self.appenders[appender];
        let (bytes, bytes_max) = (record.bytes(), self.record_bytes_max);
        if let Some(detail) = slot.fatal.clone() {
            return Err(SendError::Fatal { cause: detail.into() });
        }
        if let Some(detail) = self.down.clone() {
            return Err(SendError::Down { cause: detail.into() });
        }
        if bytes > bytes_max {
            return Err(SendError::TooLarge { bytes, bytes_max });
        }
        if slot.open >= self.queue_max {
            return Err(SendError::Full(QueueBound::Records { records_max: self.queue_max as u64 }));
        }
        assert!((record.partition.0 as usize) < self.partitions.len(), "the partition is known");
        Ok(())
    }

    /// Adds a record to its partition.
    pub(super) fn store(&mut self, mut record: Record, visibility: Visibility) -> Offset {
        let timestamp = record.timestamp.filter(|_| !self.append_time).unwrap_or(self.now);
        let log = self.partition_mut(record.partition);
        let offset = Offset(log.high);
        record.offset = offset;
        record.timestamp = Some(timestamp);
        log.high += 1;
        log.records.insert(offset, (record, LeaderEpoch(log.epoch), visibility));
        offset
    }

    /// Tells an appender what became of a record.
    pub(super) fn report(&mut self, appender: usize, mut report: Report) {
        if let Delivery::Stored { timestamp, .. } = &mut report.delivery
            && self.append_time
        {
            *timestamp = None;
        }
        let slot = &mut self.appenders[appender];
        slot.open -= 1;
        slot.reports.push_back(report);
        slot.waker.wake();
    }

    /// Whether something is on its way that this one must not overtake.
    pub(super) fn is_behind(&self, sent: &OnTheWay) -> bool {
        self.on_the_way.iter().any(|way| way.is_in_order_with(sent))
    }

    /// What a handle has on its way to a partition arrives in order, but for what was given up.
    pub(super) fn first_in_order(&self, index: usize) -> usize {
        let chosen = &self.on_the_way[index];
        self.on_the_way.iter().position(|way| way.is_in_order_with(chosen)).unwrap_or(index)
    }

    pub(super) fn random_index(&mut self) -> usize {
        self.random.usize(..self.on_the_way.len())
    }

    pub(super) fn wake_all(&self) {
        self.readers.iter().for_each(Waker::wake);
        self.appenders.iter().for_each(|slot| slot.waker.wake());
    }

    pub(super) fn answering(&self) -> Result<(), LogError> {
        self.down.clone().map_or(Ok(()), |detail| Err(LogError::Unavailable { cause: detail.into() }))
    }
}

/// A panic elsewhere leaves a state that is whole: every method changes it under one lock without calling out.
pub(super) fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
