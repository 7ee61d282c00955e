//! What others do to the topic: foreign writers, transactions, copies, and what befalls the topic itself.

use crate::faults::Fault;
use crate::instance::World;
use bkes_check::{Excuses, LogRecord, Truncation};
use bkes_core::limits::BASE_SPAN_OFFSETS;
use bkes_core::marker::{BKES_HEADER, ORDER_HEADER, RecordClass, classify};
use bkes_core::{Header, Key, Offset, Partition, Partitioner, Position, Record};
use bkes_log::Log;
use bkes_testkit::log::{SimulatedLog, Transaction};
use bytes::Bytes;
use fastrand::Rng;
use std::collections::BTreeSet;
use std::num::NonZeroU32;

/// Everyone who does something to the topic and is not an instance.
pub struct Foreigners {
    random: Rng,
    values: u32,
    /// Where records lie that somebody wrote who does not know BKES.
    written: BTreeSet<(Partition, Offset)>,
    open: Vec<(Transaction, u64, bool)>,
    /// The moment at which every instance knew of the last truncation.
    pub noticed_at: u64,
    /// Events that could be read as soon as they were written: the key, where, and when.
    pub plain: Vec<(Key, Partition, u64)>,
}

impl Foreigners {
    /// Nobody has done anything yet.
    pub fn new(random: Rng) -> Foreigners {
        Foreigners {
            random,
            values: 0,
            written: BTreeSet::new(),
            open: Vec::new(),
            noticed_at: 0,
            plain: Vec::new(),
        }
    }

    /// Does it, if it is a fault of the topic.
    pub fn disturb(&mut self, fault: Fault, world: &World, excuses: &mut Excuses) -> bool {
        match fault {
            Fault::Foreign | Fault::Misplaced => self.write(fault, world),
            Fault::Committed | Fault::Aborted | Fault::Stalled => self.transact(fault, world),
            Fault::Copied => self.copy(world),
            Fault::Forwarded => self.forward(world),
            Fault::Silence => {
                let partition = self.partition(world);
                world.log.skip_offsets(partition, BASE_SPAN_OFFSETS - self.random.u64(..3));
                world.recorder.fault_said(fault, || format!("in {partition}"));
            }
            Fault::BadMarker => self.write_bad_marker(world),
            Fault::Empty => self.write_empty(world),
            Fault::Control => {
                world.log.skip_offsets(self.partition(world), self.random.u64(1..4));
                world.recorder.fault(fault);
            }
            Fault::Grown => self.grow(world),
            Fault::Truncated => self.truncate(world, excuses),
            Fault::Cut => self.cut(world, excuses),
            Fault::Recreated => self.recreate(world, excuses),
            _ => return false,
        }
        true
    }

    /// Ends transactions whose time has come.
    pub fn end_stalled(&mut self, world: &World) {
        let now = world.now();
        self.open.retain(|(transaction, until, commit)| {
            if *until <= now {
                world.log.end(*transaction, *commit);
            }
            *until > now
        });
    }

    /// Ends every transaction.
    pub fn end_all(&mut self, world: &World) {
        for (transaction, _, commit) in self.open.drain(..) {
            world.log.end(transaction, commit);
        }
    }

    /// The visible records, in the checker's words.
    pub fn log_records(&self, log: &SimulatedLog) -> Vec<LogRecord> {
        let records = (0..log.partitions()).flat_map(|number| log.records(Partition(number)));
        let records = records.map(|record| LogRecord {
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp.map(|timestamp| timestamp.0),
            key: record.aggregate(),
            foreign: self.written.contains(&(record.partition, record.offset)),
            value: record.value,
        });
        records.collect()
    }

    fn partition(&mut self, world: &World) -> Partition {
        Partition(self.random.u32(..world.log.partitions()))
    }

    fn key(&mut self, world: &World) -> Key {
        world.keys[self.random.usize(..world.keys.len())].clone()
    }

    fn value(&mut self) -> Bytes {
        self.values += 1;
        format!("foreign.{}", self.values).into()
    }

    /// Where a foreign writer puts a key: with the partitioner that BKES uses too, or anywhere.
    fn place(&mut self, fault: Fault, key: &Key, world: &World) -> Partition {
        match fault {
            Fault::Misplaced => self.partition(world),
            _ => Partitioner::Murmur2.place(key.as_ref(), first_count(world)),
        }
    }

    fn write(&mut self, fault: Fault, world: &World) {
        let key = self.key(world);
        let partition = self.place(fault, &key, world);
        let value = (self.random.u32(..10) > 0).then(|| self.value());
        // An order header alone means nothing: the original wrote one too.
        let order = Header { name: Bytes::from_static(ORDER_HEADER), value: Some("7".into()) };
        let headers = if self.random.u32(..4) == 0 { vec![order] } else { Vec::new() };
        let offset = world.log.append_foreign(partition, Some(key.bytes().clone()), value.clone(), headers);
        self.written.insert((partition, offset));
        // Behind an open transaction it cannot be read yet.
        if world.log.watermarks(partition).is_ok_and(|marks| marks.stable >= offset.next()) {
            self.plain.push((key.clone(), partition, world.recorder.tick()));
        }
        world.recorder.fault_said(fault, || format!("{key} {value:?} at {partition}/{offset}"));
    }

    fn transact(&mut self, fault: Fault, world: &World) {
        let transaction = world.log.begin();
        for _ in 0..self.random.u32(1..4) {
            let (key, value) = (self.key(world), self.value());
            let partition = self.place(Fault::Foreign, &key, world);
            let offset = world.log.append_in(transaction, partition, key.bytes().clone(), value);
            self.written.insert((partition, offset));
        }
        let commit = fault == Fault::Committed || (fault == Fault::Stalled && self.random.bool());
        let until = match fault {
            Fault::Stalled => world.now() + self.random.u64(500..15_000),
            _ => world.now() + self.random.u64(0..300),
        };
        self.open.push((transaction, until, commit));
        world.recorder.fault_said(fault, || format!("a foreign transaction until {until}, commit: {commit}"));
    }

    /// A mirror that copies a record, headers and all, within its partition.
    fn copy(&mut self, world: &World) {
        let partition = self.partition(world);
        let records = world.log.records(partition);
        let marked = |record: &&Record| !self.written.contains(&(partition, record.offset));
        let marked: Vec<&Record> = records.iter().filter(marked).collect();
        let Some(record) = marked.get(self.random.usize(..marked.len().max(1))) else { return };
        let Record { key, value, headers, offset, .. } = (*record).clone();
        let copy = world.log.append_foreign(partition, key, value, headers);
        world.recorder.fault_said(Fault::Copied, || format!("{partition}/{offset} to {copy}"));
    }

    /// A processor that answers an event of ours with another one, and carries its headers along as Kafka Streams does: of the same
    /// key or another, now and then with an `order` of its own, often in the middle of a batch.
    fn forward(&mut self, world: &World) {
        let from = self.partition(world);
        let records = world.log.records(from);
        let at = if self.random.bool() {
            records.len().saturating_sub(1)
        } else {
            self.random.usize(..records.len().max(1))
        };
        let Some(Record { key, mut headers, offset: of, .. }) = records.get(at).cloned() else { return };
        let same = key.and_then(Key::new).filter(|_| self.random.bool());
        let key = match same {
            Some(key) => key,
            None => self.key(world),
        };
        let value = (self.random.u32(..10) > 0).then(|| self.value());
        if self.random.u32(..3) == 0 {
            let own = Header {
                name: Bytes::from_static(ORDER_HEADER),
                value: Some(self.random.u32(..9).to_string().into()),
            };
            headers.insert(if self.random.bool() { 0 } else { headers.len() }, own);
        }
        let partition = self.place(Fault::Foreign, &key, world);
        let offset = world.log.append_foreign(partition, Some(key.bytes().clone()), value.clone(), headers);
        self.written.insert((partition, offset));
        let said = || format!("{from}/{of} to {key} {value:?} at {partition}/{offset}");
        world.recorder.fault_said(Fault::Forwarded, said);
    }

    fn write_bad_marker(&mut self, world: &World) {
        const BAD: &[&str] = &[
            "1;",
            "1;0;1",
            "1;00000000000000aa;x",
            "1;00000000000000aa;1;1;00000000",
            "2;x",
            "2;x;00000000",
            ";;;",
        ];
        let key = self.key(world);
        let partition = self.place(Fault::Foreign, &key, world);
        let marker = BAD[self.random.usize(..BAD.len())];
        let headers = vec![Header { name: Bytes::from_static(BKES_HEADER), value: Some(marker.into()) }];
        let value = Some(self.value());
        let offset = world.log.append_foreign(partition, Some(key.bytes().clone()), value, headers);
        self.written.insert((partition, offset));
        world.recorder.fault_said(Fault::BadMarker, || format!("{key}: {marker}"));
    }

    fn write_empty(&mut self, world: &World) {
        let partition = self.partition(world);
        let key = if self.random.bool() { None } else { Some(Bytes::new()) };
        let value = if self.random.bool() { None } else { Some(self.value()) };
        world.log.append_foreign(partition, key, value, Vec::new());
        world.recorder.fault(Fault::Empty);
    }

    fn grow(&mut self, world: &World) {
        if world.log.partitions() < 5 {
            world.log.add_partitions(1);
            world.recorder.fault_said(Fault::Grown, || format!("to {}", world.log.partitions()));
        }
    }

    fn truncate(&mut self, world: &World, excuses: &mut Excuses) {
        let partition = self.partition(world);
        let Ok(marks) = world.log.watermarks(partition) else { return };
        let lost = self.random.u64(1..6).min(marks.high.0 - marks.low.0);
        if lost == 0 {
            return;
        }
        let end = Position(marks.high.0 - lost);
        let from = first_lost(&world.log.records(partition), end.offset());
        world.log.truncate(partition, end);
        self.written.retain(|(of, offset)| *of != partition || *offset < end.offset());
        let at = world.recorder.tick();
        excuses.truncations.push(Truncation { partition, from, at, until: u64::MAX });
        world.recorder.fault_said(Fault::Truncated, || format!("{partition} from {} to {end}", marks.high));
    }

    fn cut(&mut self, world: &World, excuses: &mut Excuses) {
        let partition = self.partition(world);
        let Ok(marks) = world.log.watermarks(partition) else { return };
        let low = Position(self.random.u64(marks.low.0..=marks.stable.0));
        if low == marks.low {
            return;
        }
        world.log.cut_start(partition, low);
        excuses.cuts.retain(|(of, _)| *of != partition);
        excuses.cuts.push((partition, low.offset()));
        world.recorder.fault_said(Fault::Cut, || format!("{partition} begins at {low}"));
    }

    fn recreate(&mut self, world: &World, excuses: &mut Excuses) {
        world.log.recreate();
        self.written.clear();
        self.open.clear();
        let at = world.recorder.tick();
        for number in 0..world.log.partitions() {
            let (partition, from) = (Partition(number), Offset(0));
            excuses.truncations.push(Truncation { partition, from, at, until: u64::MAX });
        }
        world.recorder.fault_said(Fault::Recreated, || "the topic".into());
    }
}

/// Foreign writers go on with the count that the topic began with, as the operating guide asks, until all are stopped.
fn first_count(world: &World) -> NonZeroU32 {
    NonZeroU32::new(world.plan.partitions).unwrap_or(NonZeroU32::MIN)
}

/// The first event that is lost when everything from `end` on is: a batch that loses its last members loses all.
fn first_lost(records: &[Record], end: Offset) -> Offset {
    let stamp = |record: &Record| match classify(record) {
        RecordClass::Marked(marker) => Some((marker.stamp.incarnation, marker.stamp.number)),
        _ => None,
    };
    let lost: Vec<_> = records.iter().filter(|record| record.offset >= end).filter_map(stamp).collect();
    let of_lost = |record: &&Record| stamp(record).is_some_and(|stamp| lost.contains(&stamp));
    records.iter().filter(of_lost).map(|record| record.offset).min().map_or(end, |first| first.min(end))
}
