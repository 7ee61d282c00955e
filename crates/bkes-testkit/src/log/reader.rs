//! The reading half of the simulated log.

use super::state::{State, Visibility, locked};
use bkes_core::{Offset, Partition, Position};
use bkes_log::{LogReader, ReadEvent, ReadFailure};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

struct Place {
    position: Position,
    /// Whether the end at `position` was told.
    told_end: bool,
    failed: bool,
    /// Truncations that are known here: those at or above the position do not matter.
    truncations: usize,
}

pub(super) struct Reader {
    log: Arc<Mutex<State>>,
    places: BTreeMap<Partition, Place>,
    /// Where the next poll begins, so that a busy partition does not starve the others.
    first: usize,
}

impl Reader {
    pub(super) fn new(log: Arc<Mutex<State>>) -> Reader {
        Reader { log, places: BTreeMap::new(), first: 0 }
    }
}

impl LogReader for Reader {
    fn assign(&mut self, partition: Partition, from: Position) {
        let state = locked(&self.log);
        let truncations = state.partitions.get(partition.0 as usize).map_or(0, |log| log.truncations.len());
        drop(state);
        self.places.insert(partition, Place { position: from, told_end: false, failed: false, truncations });
    }

    fn poll(&mut self, records_max: usize, out: &mut Vec<ReadEvent>) {
        let state = locked(&self.log);
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
            for (offset, (record, epoch, visibility)) in unread.take_while(|(offset, _)| offset.0 < stable) {
                if out.len() >= end {
                    return;
                }
                if *visibility == Visibility::Visible {
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
