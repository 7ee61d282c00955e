//! The log of one partition: its records, who took each, and offsets that hold none.

use bkes_core::{LeaderEpoch, Offset, Position, Record, Watermarks};
use std::hash::{Hash, Hasher};

#[derive(Clone, Default, Debug)]
pub struct Log {
    pub records: Vec<Record>,
    /// The leader that took each.
    epochs: Vec<LeaderEpoch>,
    pub high: Position,
    epoch: u32,
}

impl Log {
    /// Appends a record; says where it lies.
    pub fn store(&mut self, record: Record) -> Offset {
        let offset = self.high.offset();
        self.records.push(Record { offset, ..record });
        self.epochs.push(LeaderEpoch(self.epoch));
        self.high = offset.next();
        offset
    }

    /// The first record at a position or after it, and who took it.
    pub fn next(&self, position: Position) -> Option<(&Record, LeaderEpoch)> {
        let index = self.records.partition_point(|record| record.offset < position.offset());
        Some((self.records.get(index)?, self.epochs[index]))
    }

    /// The record at an offset.
    pub fn at(&self, offset: Offset) -> Option<&Record> {
        self.next(Position(offset.0)).map(|(record, _)| record).filter(|record| record.offset == offset)
    }

    pub fn marks(&self) -> Watermarks {
        Watermarks { low: Position::START, stable: self.high, high: self.high }
    }

    /// Loses its last records to a leader that does not have them. Gives them back.
    pub fn lose_end(&mut self, records: usize) -> Vec<Record> {
        let kept = self.records.len().saturating_sub(records);
        let lost = self.records.split_off(kept);
        self.epochs.truncate(kept);
        if let Some(first) = lost.first() {
            self.high = Position(first.offset.0);
            self.epoch += 1;
        }
        lost
    }
    pub fn digest(&self, hasher: &mut impl Hasher) {
        let Log { records, epochs, high, epoch } = self;
        records.iter().for_each(|record| digest_record(record, hasher));
        (epochs, high, epoch).hash(hasher);
    }
}

/// Of everything in it.
pub fn digest_record(record: &Record, hasher: &mut impl Hasher) {
    let Record { partition, offset, timestamp: _, key, value, headers } = record;
    (partition, offset, key, value, headers).hash(hasher);
}
