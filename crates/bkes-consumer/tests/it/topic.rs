//! Topics as many writers leave them: batches whole and broken, copies, appends that lost, forwarded and foreign records, gaps.

use bkes_core::checksum::PayloadSum;
use bkes_core::marker::ID_HEADER;
use bkes_core::{
    AcceptRule, BatchPlace, Decision, Header, Incarnation, Marker, Offset, Order, Partition, Position,
    Record, Stamp,
};
use bkes_log::Log;
use bkes_testkit::log::SimulatedLog;
use bytes::Bytes;
use fastrand::Rng;
use std::collections::HashMap;
use std::num::NonZeroU32;

/// What is told of a writer that is in the middle of a batch.
struct Batch {
    key: Bytes,
    first: Order,
    count: u32,
    sent: u32,
}

struct Writer {
    name: u64,
    number: u64,
    batch: Option<Batch>,
}

/// Key, value and headers.
type Content = (Option<Bytes>, Option<Bytes>, Vec<Header>);

/// One partition as the writers know it.
struct Written {
    rule: AcceptRule,
    counts: HashMap<Bytes, Order>,
    written: Vec<Content>,
    writers: Vec<Writer>,
}

/// Writes a topic by chance.
pub struct Topic {
    pub log: SimulatedLog,
    random: Rng,
    partitions: Vec<Written>,
    keys: u64,
    values: u64,
}

pub fn header(name: &[u8], value: Option<&[u8]>) -> Header {
    Header { name: Bytes::copy_from_slice(name), value: value.map(Bytes::copy_from_slice) }
}

/// The headers of an append on this record.
pub fn marked(key: &[u8], value: Option<&[u8]>, marker: Marker) -> Vec<Header> {
    marker.headers(PayloadSum::of(Some(key), value)).into()
}

impl Topic {
    pub fn new(partitions: u32, keys: u64, seed: u64) -> Topic {
        let count = NonZeroU32::new(partitions).expect("some");
        let written = |partition| Written {
            rule: AcceptRule::new(Position::START),
            counts: HashMap::new(),
            written: Vec::new(),
            writers: (0..3)
                .map(|w| Writer { name: 1 + partition * 10 + w, number: 1, batch: None })
                .collect(),
        };
        Topic {
            log: SimulatedLog::new("topic", count),
            random: Rng::with_seed(seed),
            partitions: (0..u64::from(partitions)).map(written).collect(),
            keys,
            values: 0,
        }
    }

    /// Writes so many things somewhere.
    pub fn write(&mut self, count: usize) {
        for _ in 0..count {
            let partition = self.random.usize(..self.partitions.len());
            match self.random.u32(..100) {
                0..66 => self.append(partition),
                66..76 => self.foreign(partition),
                76..80 => self.forwarded(partition),
                80..90 => self.copy(partition),
                90..92 => {
                    let key = self.random.bool().then(Bytes::new);
                    self.put(partition, key, Some(Bytes::from_static(b"none")), vec![]);
                }
                92..95 => {
                    let steps = [1, 1, 2, 3, 99_998, 100_000, 1_000_000];
                    let step = steps[self.random.usize(..steps.len())];
                    self.log.skip_offsets(Partition(partition as u32), step);
                }
                95..97 => self.transaction(partition),
                _ => {
                    let writer = self.random.usize(..3);
                    let fresh = &mut self.partitions[partition].writers[writer];
                    *fresh = Writer { name: self.random.u64(..), number: 1, batch: None };
                }
            }
        }
    }

    /// Where the next record of a partition lies.
    pub fn end(&self, partition: usize) -> Position {
        self.log.watermarks(Partition(partition as u32)).expect("the log is there").high
    }

    pub fn records(&self, partition: usize) -> Vec<Record> {
        self.log.records(Partition(partition as u32))
    }

    /// A key; a few of them turn up in any partition.
    fn key(&mut self, partition: usize) -> Bytes {
        let number = self.random.u64(..self.keys);
        let home = if number % 4 == 3 { 0 } else { partition };
        Bytes::from(format!("key {home} {number}"))
    }

    fn content(&mut self) -> (Option<Bytes>, Vec<Header>) {
        self.values += 1;
        let value = match self.random.u8(..8) {
            0 => None,
            1 => Some(Bytes::new()),
            _ => Some(Bytes::from(format!("value {}", self.values))),
        };
        let names: [&[u8]; 3] = [b"trace", b"\xff", b"trace"];
        let more = names[..self.random.usize(..3)].iter();
        (value, more.map(|name| header(name, [None, Some(&b"x"[..])][self.random.usize(..2)])).collect())
    }

    /// One record of an append, mostly a right one.
    fn append(&mut self, partition: usize) {
        let chosen = self.random.usize(..3);
        let key = self.key(partition);
        let (value, headers) = self.content();
        let end = self.end(partition);
        let Topic { random, partitions, .. } = self;
        let Written { writers, counts, .. } = &mut partitions[partition];
        let writer = &mut writers[chosen];
        if writer.batch.as_ref().is_none_or(|_| random.u8(..20) == 0) {
            writer.number += random.u64(1..3);
            let next = counts.get(&key).copied().unwrap_or_default().0;
            let first = match random.u8(..10) {
                0 => next + 1,
                1 => next.saturating_sub(1),
                _ => next,
            };
            let count = [1, 1, 1, 2, 3][random.usize(..5)];
            writer.batch = Some(Batch { key, first: Order(first), count, sent: 0 });
        }
        let batch = writer.batch.as_mut().expect("it has one");
        // Now and then a member is left out.
        batch.sent += if random.u8(..30) == 0 && batch.sent + 2 <= batch.count { 2 } else { 1 };
        let place = (batch.count > 1).then_some(BatchPlace { i: batch.sent, count: batch.count });
        let stamp = Stamp { incarnation: Incarnation(writer.name), number: writer.number, place };
        let below = [0, 0, 0, 3, 999_999, 1_000_000][random.usize(..6)];
        let base = Position(end.0.saturating_sub(below));
        let marker = Marker { stamp, order: Order(batch.first.0 + u64::from(batch.sent) - 1), base };
        let key = batch.key.clone();
        if batch.sent >= batch.count {
            writer.batch = None;
        }
        let mut all = marked(&key, value.as_deref(), marker);
        if random.bool() {
            all.push(header(ID_HEADER, Some(format!("id {}", stamp.number).as_bytes())));
        }
        all.extend(headers);
        self.put(partition, Some(key), value, all);
    }

    fn foreign(&mut self, partition: usize) {
        let (key, (value, mut headers)) = (self.key(partition), self.content());
        if self.random.bool() {
            headers.push(header(b"order", Some(b"3")));
            headers.push(header(ID_HEADER, Some(b"theirs")));
        }
        self.put(partition, Some(key), value, headers);
    }

    /// A record that answers one of ours, with all of its headers.
    fn forwarded(&mut self, partition: usize) {
        let headers = self
            .earlier(partition)
            .map_or_else(|| vec![header(b"bkes", Some(b"1;something"))], |(_, _, headers)| headers);
        let key = self.key(partition);
        self.put(partition, Some(key), Some(Bytes::from_static(b"answer")), headers);
    }

    fn copy(&mut self, partition: usize) {
        if let Some((key, value, headers)) = self.earlier(partition) {
            self.put(partition, key, value, headers);
        }
    }

    fn transaction(&mut self, partition: usize) {
        let key = self.key(partition);
        let (transaction, of) = (self.log.begin(), Partition(partition as u32));
        let value = Bytes::from_static(b"transaction");
        let offset = self.log.append_in(transaction, of, key.clone(), value.clone());
        let commit = self.random.bool();
        self.log.end(transaction, commit);
        if commit {
            self.apply(partition, offset, (Some(key), Some(value), vec![]));
        }
    }

    fn earlier(&mut self, partition: usize) -> Option<Content> {
        let written = &self.partitions[partition].written;
        let back = self.random.usize(..40) + 1;
        written.get(written.len().checked_sub(back)?).cloned()
    }

    /// Writes a record as it is.
    pub fn put(
        &mut self,
        partition: usize,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: Vec<Header>,
    ) -> Offset {
        let content = (key.clone(), value.clone(), headers.clone());
        self.partitions[partition].written.push(content.clone());
        let offset = self.log.append_foreign(Partition(partition as u32), key, value, headers);
        self.apply(partition, offset, content);
        offset
    }

    /// What the writers know of it.
    fn apply(&mut self, partition: usize, offset: Offset, content: Content) {
        let (key, value, headers) = content;
        let of = Partition(partition as u32);
        let record = Record { partition: of, offset, timestamp: None, key, value, headers };
        let Written { rule, counts, .. } = &mut self.partitions[partition];
        let key = record.key.clone().unwrap_or_default();
        let applied = rule.apply(record, counts.get(&key).copied()).expect("of this format");
        let next = match applied.decision {
            Decision::Accepted { order, .. } => order.0 + 1,
            Decision::AcceptedBatch { first, records } => first.0 + records.len() as u64,
            _ => return,
        };
        counts.insert(key, Order(next));
    }
}
