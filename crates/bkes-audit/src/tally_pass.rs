//! A pass that counts, and sums up the events of each aggregate of one part of all keys.
//!
//! The part is as large as fits: it begins as all that is left, and is halved whenever the table is full. What leaves the table then is
//! taken in by a later pass. What a record is can be told without its key's count, but for whether an append had the order it names; so
//! the first pass counts all that is left of a partition, and the events come from the tables of all passes.

use crate::event_view::{EventHasher, EventView, Tally};
use crate::limits::PART_BITS_MAX;
use crate::options::{AuditError, Progress};
use crate::report::PartitionReport;
use crate::topic::Pass;
use bkes_consumer::{Decided, Decision, KeyHash, KeyHasher, KeyTable, VoidRecord, Writer};
use bkes_core::{Order, Partition, Record, VoidReason};

/// One of `1 << bits` equal parts of all keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    pub bits: u32,
    pub index: u64,
}

impl Part {
    pub const ALL: Part = Part { bits: 0, index: 0 };

    pub fn has(self, hash: KeyHash) -> bool {
        hash.is_in(self.bits, self.index)
    }

    fn halves(self) -> (Part, Part) {
        let bits = self.bits + 1;
        (Part { bits, ..self }, Part { bits, index: self.index | 1 << self.bits })
    }
}

/// What all passes share.
pub struct Shared<'a> {
    pub keys: KeyHasher,
    pub events: EventHasher,
    pub progress: &'a mut dyn FnMut(Progress),
}

/// What the first pass counts beside what is in the report.
#[derive(Clone, Copy, Default)]
pub struct ByOrder {
    /// Records whose order decided whether they are events.
    pub records: u64,
}

/// The pass.
pub struct TallyPass<'p, 'a> {
    pub shared: &'p mut Shared<'a>,
    pub table: KeyTable<Tally>,
    pub part: Part,
    /// Parts for later passes.
    pub todo: &'p mut Vec<Part>,
    pub reports: &'p mut [PartitionReport],
    pub by_order: &'p mut [ByOrder],
    /// Which pass this is, from 1.
    pub number: u32,
    pub memory_bytes_max: usize,
}

/// What stands for the next order of a key of another part: no record names it, so all that BKES wrote is void by its order, which
/// changes nothing for other records, and shows no cut.
const OF_ANOTHER_PART: Order = Order(u64::MAX);

impl TallyPass<'_, '_> {
    fn is_first(&self) -> bool {
        self.number == 1
    }

    /// Makes room for a new key, and says whether it is of this part still.
    fn make_room(&mut self, hash: KeyHash) -> Result<bool, AuditError> {
        while self.table.has_room(hash).is_err() {
            if self.part.bits >= PART_BITS_MAX {
                return Err(AuditError::TooLittleMemory { memory_bytes_max: self.memory_bytes_max });
            }
            let (part, later) = self.part.halves();
            self.part = part;
            self.todo.push(later);
            self.table.retain(|_, hash| part.has(hash));
            if !part.has(hash) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn on_events(&mut self, partition: Partition, decision: &Decision) {
        let report = &mut self.reports[partition.0 as usize];
        let events = decision.events.as_slice();
        if self.number == 1 {
            match decision.writer {
                Writer::Bkes => self.by_order[partition.0 as usize].records += events.len() as u64,
                Writer::Foreign => report.foreign += 1,
                Writer::Forwarded => {
                    report.foreign += 1;
                    report.forwarded += 1;
                }
            }
        }
        let hash = self.shared.keys.hash(decision.key.as_ref());
        if !self.part.has(hash) {
            return;
        }
        let mut tally = self.table.get(partition, hash).unwrap_or_default();
        for event in events {
            tally.add(&self.shared.events, &EventView::of_topic(event), event.order);
        }
        self.table.set(partition, hash, tally).expect("room was made before it was decided");
    }

    fn on_void(&mut self, partition: Partition, void: &VoidRecord) {
        let is_first = self.is_first();
        let report = &mut self.reports[partition.0 as usize];
        let count = match void.reason {
            VoidReason::OrderTaken { expected, next } => {
                if expected > next && self.part.has(self.shared.keys.hash(void.key.as_ref())) {
                    let first = report.above_next.map_or(void.offset, |first| first.min(void.offset));
                    report.above_next = Some(first);
                }
                &mut self.by_order[partition.0 as usize].records
            }
            VoidReason::JudgedBefore => &mut report.void.judged_before,
            VoidReason::BatchBroken => &mut report.void.batch_broken,
            VoidReason::BaseTooOld { .. } => &mut report.void.base_too_old,
        };
        *count += u64::from(is_first);
    }

    /// What the table says of the aggregates of this part: how many there are, and how many are split.
    pub fn settle(&mut self) -> (u64, u64) {
        let (mut aggregates, mut split) = (0, 0);
        for (partition, hash, tally) in self.table.iter() {
            let report = &mut self.reports[partition.0 as usize];
            report.events += tally.events();
            let lowest = self.table.of_key(hash).map(|(partition, _)| partition).min();
            let (is_lowest, is_split) = (lowest == Some(partition), self.table.is_elsewhere(partition, hash));
            report.split += u64::from(is_split);
            aggregates += u64::from(is_lowest);
            split += u64::from(is_lowest && is_split);
        }
        (aggregates, split)
    }
}

impl Pass for TallyPass<'_, '_> {
    fn next(&mut self, record: &Record) -> Result<Option<Order>, AuditError> {
        let Some(key) = record.aggregate() else { return Ok(None) };
        let hash = self.shared.keys.hash(key.as_ref());
        if !self.part.has(hash) {
            return Ok(Some(OF_ANOTHER_PART));
        }
        match self.table.get(record.partition, hash) {
            Some(tally) => Ok(Some(Order(tally.next))),
            None if self.make_room(hash)? => Ok(None),
            None => Ok(Some(OF_ANOTHER_PART)),
        }
    }

    fn decided(&mut self, partition: Partition, decided: Decided) -> Result<(), AuditError> {
        let is_first = self.is_first();
        let report = &mut self.reports[partition.0 as usize];
        match decided {
            Decided::Events(decision) => self.on_events(partition, &decision),
            Decided::Void(void) => self.on_void(partition, &void),
            Decided::Skipped { .. } => report.skipped += u64::from(is_first),
            Decided::Gap { from, to, .. } => {
                report.gaps += u64::from(is_first);
                report.gap_offsets += if is_first { to.0 - from.0 } else { 0 };
            }
            Decided::Cut { offset, .. } => {
                report.cut = Some(report.cut.map_or(offset, |first| first.min(offset)));
            }
        }
        Ok(())
    }

    fn progress(&mut self, records: u64, offsets_left: u64) {
        let (pass, left) = (self.number, self.todo.len());
        (self.shared.progress)(Progress::Reading { pass, left, records, offsets_left });
    }
}
