//! A consumer: reads partitions of a topic from their beginning and tells what their records are.
//!
//! It is what an instance of BKES does without a store: the same rule, run on each record in offset order, beside the counts of all
//! keys. So it sees the same events at the same orders. It belongs to one thread, never blocks, and owes nothing to any instance.

use crate::decided::{Decided, Decision};
use crate::fold::Fold;
use crate::item::{ConsumeError, Item, Stop};
use crate::key_table::{KeyHash, KeyHasher, KeyTable};
use crate::limits::COUNTS_BYTES_MAX;
use bkes_core::checksum::record_sum;
use bkes_core::{Fingerprint, LeaderEpoch, Offset, Order, Partition, Position, ReadFailure, Record};
use bkes_log::{Log, LogIdentity, LogReader, ReadEvent, Waker};
use std::collections::BTreeMap;

/// What a consumer reads, and what it may take for it.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// The partitions; all if it is left out. Whoever reads only some does not hear that a key is in another one too.
    pub partitions: Option<Vec<Partition>>,
    /// Most bytes for the counts of keys: 33 to 66 bytes for a key in a partition. At the bound reading stops with an error.
    pub counts_bytes_max: usize,
}

impl Default for ConsumerOptions {
    fn default() -> ConsumerOptions {
        ConsumerOptions { partitions: None, counts_bytes_max: COUNTS_BYTES_MAX }
    }
}

/// One partition as it is read.
#[derive(Clone, Debug)]
struct Reading {
    fold: Fold,
    /// A record that was applied: the last one, unless reading stopped in the middle of what was fetched.
    last: Option<Fingerprint>,
    /// Where the last record lies that was applied.
    last_offset: Option<Offset>,
    /// After a new beginning at a checkpoint: the record that must be met before anything is applied.
    expected: Option<Fingerprint>,
    /// What lies below it was read before the checkpoint. The records that were applied come again after that record; where others come, up
    /// to here, there were none.
    known_below: Position,
    is_stopped: bool,
}

impl Reading {
    fn new(partition: Partition, from: Position) -> Reading {
        Reading {
            fold: Fold::new(partition, from),
            last: None,
            last_offset: None,
            expected: None,
            known_below: from,
            is_stopped: false,
        }
    }
}

/// Where a consumer stands, and all that it needs to go on from there. In memory only: the counts of all keys are part of it, so it
/// is as large as they are, and there is no format for it.
#[derive(Clone)]
pub struct Checkpoint {
    identity: LogIdentity,
    counts: KeyTable<Order>,
    hasher: KeyHasher,
    readings: BTreeMap<Partition, Reading>,
}

/// Reads a topic through the accept rule.
pub struct Consumer {
    reader: Box<dyn LogReader>,
    state: Checkpoint,
    fetched: Vec<ReadEvent>,
    decided: Vec<Decided>,
}

impl Consumer {
    /// A consumer that begins where the log of each partition begins. It asks the log, and may block for as long as that takes.
    /// `waker` is called whenever [`poll`](Self::poll) may have more.
    pub fn open(log: &dyn Log, waker: Waker, options: &ConsumerOptions) -> Result<Consumer, ConsumeError> {
        let identity = log.identity()?;
        let counts = KeyTable::new(options.counts_bytes_max);
        let state = Checkpoint { identity, counts, hasher: KeyHasher::default(), readings: BTreeMap::new() };
        let mut consumer = Consumer::of(log, waker, state)?;
        match &options.partitions {
            None => drop(consumer.read_new_partitions(log)?),
            Some(partitions) => {
                for partition in partitions {
                    consumer.begin(log, *partition)?;
                }
            }
        }
        Ok(consumer)
    }

    /// A consumer that goes on where another one stood. It reads the last record of each partition again: if it is another one by now, the
    /// partition is [stopped](Stop::Diverged).
    pub fn resume(log: &dyn Log, waker: Waker, checkpoint: Checkpoint) -> Result<Consumer, ConsumeError> {
        let found = log.identity()?;
        if found != checkpoint.identity {
            let (known, found) = (Box::new(checkpoint.identity), Box::new(found));
            return Err(ConsumeError::AnotherLog { known, found });
        }
        let mut consumer = Consumer::of(log, waker, checkpoint)?;
        for (partition, reading) in &mut consumer.state.readings {
            let low = log.watermarks(*partition)?.low;
            if reading.last_offset.is_none() {
                // There was no record to know the log by: it is read from its beginning, as one that was never read.
                *reading = Reading::new(*partition, low);
                consumer.reader.assign(*partition, low);
                continue;
            }
            let last = reading.last.filter(|last| last.offset >= low.offset());
            (reading.expected, reading.is_stopped) = (last, false);
            reading.known_below = reading.fold.position();
            let from = last.map_or(reading.fold.position(), |last| Position(last.offset.0));
            consumer.reader.assign(*partition, from);
        }
        Ok(consumer)
    }

    fn of(log: &dyn Log, waker: Waker, state: Checkpoint) -> Result<Consumer, ConsumeError> {
        let (fetched, decided) = (Vec::new(), Vec::new());
        Ok(Consumer { reader: log.reader(waker)?, state, fetched, decided })
    }

    /// The log that is read.
    pub fn identity(&self) -> &LogIdentity {
        &self.state.identity
    }

    /// Asks the log for partitions that were added, and reads them from now on. A consumer of all partitions calls it now and then (an
    /// instance puts no key into a new one for its first minute); it may block. Returns those it found.
    pub fn read_new_partitions(&mut self, log: &dyn Log) -> Result<Vec<Partition>, ConsumeError> {
        let mut added = Vec::new();
        for number in 0..log.partition_count()?.get() {
            let partition = Partition(number);
            if !self.state.readings.contains_key(&partition) {
                self.begin(log, partition)?;
                added.push(partition);
            }
        }
        Ok(added)
    }

    /// Reads a partition from where its log begins, whatever was known of it. What was told of it before is void: a consumer that goes on
    /// after a [lost end](Stop::LostEnd) builds what it made of the partition anew.
    pub fn begin(&mut self, log: &dyn Log, partition: Partition) -> Result<(), ConsumeError> {
        let from = log.watermarks(partition)?.low;
        if self.state.readings.insert(partition, Reading::new(partition, from)).is_some() {
            self.state.counts.retain(|of, _| of != partition);
        }
        self.reader.assign(partition, from);
        Ok(())
    }

    /// How far each partition is read: everything below is told, but for members of batches that wait for the rest.
    pub fn positions(&self) -> impl Iterator<Item = (Partition, Position)> {
        self.state.readings.iter().map(|(partition, reading)| (*partition, reading.fold.position()))
    }

    /// How many keys are counted, and the bytes that takes.
    pub fn counted(&self) -> (usize, usize) {
        (self.state.counts.len(), self.state.counts.bytes())
    }

    /// The order that the next event of a key takes in a partition; `None` without events there.
    pub fn next_order(&self, partition: Partition, key: &[u8]) -> Option<Order> {
        self.state.counts.get(partition, self.state.hasher.hash(key))
    }

    /// Where it stands: a copy of all it knows.
    pub fn checkpoint(&self) -> Checkpoint {
        self.state.clone()
    }

    /// Takes up to `events_max` events of the log that are there, without blocking, and adds what they come to at the end of `out`. That may
    /// be nothing, while members of batches wait. Says how many events there were.
    pub fn poll(&mut self, events_max: usize, out: &mut Vec<Item>) -> usize {
        self.reader.poll(events_max, &mut self.fetched);
        let taken = self.fetched.len();
        let mut fetched = std::mem::take(&mut self.fetched);
        let mut events = fetched.drain(..).peekable();
        while let Some(event) = events.next() {
            match event {
                ReadEvent::Record { record, epoch } => {
                    let is_last = !matches!(events.peek(), Some(ReadEvent::Record { record: next, .. }) if next.partition == record.partition);
                    self.on_record(record, epoch, is_last, out);
                }
                ReadEvent::End { partition, position } => self.on_end(partition, position, out),
                ReadEvent::Failed { partition, failure } => self.on_failure(partition, failure, out),
                // Only who asks for less gets it.
                ReadEvent::Known { partition, .. } => {
                    self.stop(partition, Stop::Damaged { detail: "a record without content".into() }, out);
                }
            }
        }
        drop(events);
        self.fetched = fetched;
        taken
    }

    fn on_record(&mut self, record: Record, epoch: Option<LeaderEpoch>, is_last: bool, out: &mut Vec<Item>) {
        let Checkpoint { readings, counts, hasher, .. } = &mut self.state;
        let partition = record.partition;
        let Some(reading) = readings.get_mut(&partition).filter(|reading| !reading.is_stopped) else {
            return;
        };
        let mark = || Fingerprint { offset: record.offset, crc32c: record_sum(&record), epoch };
        if let Some(expected) = reading.expected.take() {
            let found = mark();
            if !found.agrees_with(&expected) {
                return self.stop(partition, Stop::Diverged { expected, found: Some(found) }, out);
            }
            return;
        }
        let position = reading.fold.position();
        if record.offset < position.offset() && position == reading.known_below {
            // What is stable is never followed by a record below it, so this is another log where the one before had none.
            let is_new = reading.last_offset.is_none_or(|last| record.offset > last);
            if let Some(expected) = reading.last.filter(|_| is_new) {
                return self.stop(partition, Stop::Diverged { expected, found: Some(mark()) }, out);
            }
            return;
        }
        if record.offset < position.offset() {
            return self.stop(partition, Stop::WentBack { offset: record.offset, position }, out);
        }
        // Of the last record of each fetch, since a checkpoint is made between two.
        let last = is_last.then(mark);
        let hash = record.key.as_ref().map(|key| hasher.hash(key));
        let next = hash.and_then(|hash| counts.get(partition, hash));
        if let (Some(hash), None) = (hash, next)
            && let Err(full) = counts.has_room(hash)
        {
            return self.stop(partition, Stop::TooManyKeys(full), out);
        }
        let offset = record.offset;
        let result = reading.fold.apply(record, next, &mut self.decided);
        if result.is_ok() {
            reading.last_offset = Some(offset);
            reading.last = last.or(reading.last);
        }
        self.tell(partition, hash, out);
        if let Err(newer) = result {
            self.stop(partition, Stop::NewerFormat(newer), out);
        }
    }

    /// Counts what was decided, and hands it on.
    fn tell(&mut self, partition: Partition, hash: Option<KeyHash>, out: &mut Vec<Item>) {
        let counts = &mut self.state.counts;
        for decided in self.decided.drain(..) {
            let Decided::Events(Decision { key, is_first, events, .. }) = &decided else {
                out.push(Item::Decided(decided));
                continue;
            };
            let hash = hash.expect("an event has a key");
            let next = events.last().order.plus(1).expect("no order is the last number");
            if *is_first && counts.is_elsewhere(partition, hash) {
                out.push(Item::Split { key: key.clone(), partition });
            }
            counts.set(partition, hash, next).expect("there was room before it was decided");
            out.push(Item::Decided(decided));
        }
    }

    fn on_end(&mut self, partition: Partition, position: Position, out: &mut Vec<Item>) {
        let Some(reading) = self.state.readings.get_mut(&partition).filter(|reading| !reading.is_stopped)
        else {
            return;
        };
        if let Some(expected) = reading.expected.take() {
            return self.stop(partition, Stop::Diverged { expected, found: None }, out);
        }
        reading.fold.come_to(position, &mut self.decided);
        self.tell(partition, None, out);
        out.push(Item::CaughtUp { partition, position });
    }

    fn on_failure(&mut self, partition: Option<Partition>, failure: ReadFailure, out: &mut Vec<Item>) {
        let stop = match failure {
            ReadFailure::Unavailable { detail } => {
                return out.push(Item::Unavailable { partition, detail });
            }
            ReadFailure::OutOfRange { position } => Stop::OutOfRange { position },
            ReadFailure::LostEnd { end } => Stop::LostEnd { end },
            ReadFailure::Damaged { position, detail } => {
                Stop::Damaged { detail: format!("at or after position {position}: {detail}") }
            }
            ReadFailure::DoesNotFit { position, detail } => Stop::DoesNotFit { position, detail },
        };
        match partition {
            Some(partition) => self.stop(partition, stop, out),
            None => {
                let all: Vec<Partition> = self.state.readings.keys().copied().collect();
                all.into_iter().for_each(|partition| self.stop(partition, stop.clone(), out));
            }
        }
    }

    fn stop(&mut self, partition: Partition, why: Stop, out: &mut Vec<Item>) {
        let reading = self.state.readings.get_mut(&partition);
        if let Some(reading) = reading.filter(|reading| !reading.is_stopped) {
            reading.is_stopped = true;
            out.push(Item::Stopped { partition, why });
        }
    }
}
