//! The reading and the appending half of the memory log.

use super::{Fate, Faults, MemoryLog, OnTheWay};
use crate::{
    AppenderState, Delivery, LogAppender, LogReader, NewRecord, QueueBound, ReadEvent, ReadFailure, Report,
    SendError, Token,
};
use bkes_core::{Offset, Partition, Position, Record};
use std::collections::BTreeMap;

struct Place {
    position: Position,
    /// Whether the end at `position` was told.
    told_end: bool,
    failed: bool,
    /// Truncations that are known here: those at or above the position do not matter.
    truncations: usize,
}

pub(super) struct MemoryReader {
    log: MemoryLog,
    places: BTreeMap<Partition, Place>,
    /// Where the next poll begins, so that a busy partition does not starve the others.
    first: usize,
}

impl MemoryReader {
    pub(super) fn new(log: MemoryLog) -> MemoryReader {
        MemoryReader { log, places: BTreeMap::new(), first: 0 }
    }
}

impl LogReader for MemoryReader {
    fn assign(&mut self, partition: Partition, from: Position) {
        let state = self.log.lock();
        let truncations = state.partitions.get(partition.0 as usize).map_or(0, |log| log.truncations.len());
        drop(state);
        self.places.insert(partition, Place { position: from, told_end: false, failed: false, truncations });
    }

    fn poll(&mut self, records_max: usize, out: &mut Vec<ReadEvent>) {
        let state = self.log.lock();
        if state.down.is_some() {
            return;
        }
        let end = out.len() + records_max;
        let count = self.places.len();
        self.first = (self.first + 1) % count.max(1);
        let rotated = self.places.iter_mut().cycle_from(self.first, count);
        for (partition, place) in rotated {
            let Some(log) = state.partitions.get(partition.0 as usize) else { continue };
            if place.failed {
                continue;
            }
            let news = log.truncations.iter().skip(place.truncations);
            let lost_from = news.filter(|end| **end < place.position.0).min();
            place.truncations = log.truncations.len();
            if lost_from.is_some() || !(log.low..=log.high).contains(&place.position.0) {
                place.failed = true;
                let out_of_range = ReadFailure::OutOfRange { position: place.position };
                let failure =
                    lost_from.map_or(out_of_range, |end| ReadFailure::LostEnd { end: Position(*end) });
                out.push(ReadEvent::Failed { partition: Some(*partition), failure });
                continue;
            }
            let stable = log.stable();
            let unread = log.records.range(Offset(place.position.0)..);
            for (offset, (record, epoch, fate)) in unread.take_while(|(offset, _)| offset.0 < stable) {
                if out.len() >= end {
                    return;
                }
                if *fate == Fate::Visible {
                    let epoch = state.leaders_told.then_some(*epoch);
                    out.push(ReadEvent::Record { record: record.clone(), epoch });
                }
                place.position = offset.next();
                place.told_end = false;
            }
            if place.position.0 < stable {
                place.position = Position(stable);
                place.told_end = false;
            }
            if !place.told_end && out.len() < end && place.position.0 == stable {
                place.told_end = true;
                out.push(ReadEvent::End { partition: *partition, position: place.position });
            }
        }
    }
}

/// Walks a map's entries from the n-th on and around.
trait CycleFrom<T> {
    fn cycle_from(self, first: usize, count: usize) -> impl Iterator<Item = T>;
}

impl<T, I: Iterator<Item = T>> CycleFrom<T> for I {
    fn cycle_from(self, first: usize, count: usize) -> impl Iterator<Item = T> {
        let mut entries: Vec<T> = self.take(count).collect();
        entries.rotate_left(first.min(count));
        entries.into_iter()
    }
}

pub(super) struct MemoryAppender {
    log: MemoryLog,
    slot: usize,
}

impl MemoryAppender {
    pub(super) fn new(log: MemoryLog, slot: usize) -> MemoryAppender {
        MemoryAppender { log, slot }
    }
}

impl Drop for MemoryAppender {
    fn drop(&mut self) {
        self.log.lock().appenders[self.slot].dropped = true;
    }
}

impl LogAppender for MemoryAppender {
    fn send(&mut self, record: NewRecord, token: Token) -> Result<(), SendError> {
        let mut state = self.log.lock();
        let (bytes, bytes_max) = (record.bytes(), state.record_bytes_max);
        if let Some(detail) = state.appenders[self.slot].fatal.clone() {
            return Err(SendError::Fatal { detail });
        }
        if let Some(detail) = state.down.clone() {
            return Err(SendError::Down { detail });
        }
        if bytes > bytes_max {
            return Err(SendError::TooLarge { bytes, bytes_max });
        }
        if state.appenders[self.slot].open >= state.queue_max {
            return Err(SendError::Full(QueueBound::Records { records_max: state.queue_max as u64 }));
        }
        assert!((record.partition.0 as usize) < state.partitions.len(), "the partition is known");
        state.appenders[self.slot].open += 1;
        let NewRecord { partition, key, value, headers } = record;
        let timestamp = Some(state.now);
        let record = Record { partition, offset: Offset(0), timestamp, key, value, headers };
        let Faults {
            delayed,
            acknowledgement_lost,
            late,
            lost,
            not_stored,
            oversized,
            repeated,
            offset_unknown,
            gap,
        } = state.faults;
        let mut dice = state.random.u32(..1_000);
        let mut falls = |share: u32| {
            let hit = dice < share;
            dice = dice.wrapping_sub(share);
            hit
        };
        let unknown = || Delivery::Unknown { detail: "no acknowledgement came in time".into() };
        let appender = self.slot;
        // Records of one handle and partition keep their order: behind one that is on its way there is no overtaking.
        let behind = state
            .on_the_way
            .iter()
            .any(|way| way.appender == appender && way.record.partition == partition && way.acknowledged);
        if falls(delayed) || behind {
            state.fates.delayed += 1;
            state.on_the_way.push_back(OnTheWay { appender, token, record, acknowledged: true });
            return Ok(());
        }
        let delivery = if falls(late) {
            state.fates.late += 1;
            state.on_the_way.push_back(OnTheWay { appender, token, record, acknowledged: false });
            unknown()
        } else if falls(lost) {
            state.fates.lost += 1;
            unknown()
        } else if falls(not_stored) {
            state.fates.not_stored += 1;
            Delivery::NotStored { detail: "it never left the queue".into() }
        } else if falls(oversized) {
            state.fates.oversized += 1;
            Delivery::Oversized { detail: "what it was sent with is too large".into() }
        } else if falls(acknowledgement_lost) {
            state.fates.acknowledgement_lost += 1;
            state.store(record, Fate::Visible);
            unknown()
        } else if falls(repeated) {
            state.fates.repeated += 1;
            state.store(record.clone(), Fate::Visible);
            state.on_the_way.push_back(OnTheWay { appender, token, record, acknowledged: false });
            unknown()
        } else if falls(offset_unknown) {
            state.fates.offset_unknown += 1;
            state.store(record, Fate::Visible);
            Delivery::Stored { offset: None, timestamp: None }
        } else {
            if falls(gap) {
                state.fates.gap += 1;
                let skip = 1 + state.random.u64(..3);
                state.partitions[partition.0 as usize].high += skip;
            }
            let offset = state.store(record, Fate::Visible);
            Delivery::Stored { offset: Some(offset), timestamp }
        };
        state.report(appender, token, partition, delivery);
        state.wake_all();
        Ok(())
    }

    fn flush(&mut self) {}

    fn in_flight_max(&self) -> usize {
        2
    }

    fn has_room(&self, records: usize, _bytes: u64) -> Result<(), QueueBound> {
        let state = self.log.lock();
        let fits = state.appenders[self.slot].open + records <= state.queue_max;
        if fits { Ok(()) } else { Err(QueueBound::Records { records_max: state.queue_max as u64 }) }
    }

    fn record_bytes_max(&self) -> u64 {
        self.log.lock().record_bytes_max
    }

    fn poll(&mut self, out: &mut Vec<Report>) {
        out.extend(self.log.lock().appenders[self.slot].reports.drain(..));
    }

    fn state(&self) -> AppenderState {
        let state = self.log.lock();
        if let Some(detail) = state.appenders[self.slot].fatal.clone() {
            return AppenderState::Fatal { detail };
        }
        state.down.clone().map_or(AppenderState::Up, |detail| AppenderState::Down { detail })
    }
}
