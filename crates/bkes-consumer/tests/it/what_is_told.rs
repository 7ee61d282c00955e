//! What a consumer tells of each record is what the rule says it is.

use crate::model::{Is, judge};
use crate::topic::Topic;
use bkes_consumer::{
    BlockingConsumer, Checkpoint, Consumer, ConsumerOptions, Decided, Events, Item, Stop, Writer,
};
use bkes_core::marker::{classify, is_reserved};
use bkes_core::{Offset, Order, Partition, Position, Record, RecordClass, VoidReason};
use bkes_log::wake_pair;
use bkes_testkit::input::cases;
use bytes::Bytes;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// What a consumer told of one partition, checked as it comes.
#[derive(Default)]
pub struct Told {
    pub is: BTreeMap<Offset, Is>,
    pub writers: BTreeMap<Offset, Writer>,
    /// Offsets without records.
    gaps: u64,
    order: HashMap<Bytes, u64>,
}

impl Told {
    pub fn take(&mut self, decided: &Decided, records: &BTreeMap<Offset, Record>) {
        match decided {
            Decided::Events(decision) => {
                let key = decision.key.bytes();
                let mut next = self.order.get(key).copied().unwrap_or(0);
                assert_eq!(decision.is_first, next == 0);
                assert!(matches!(decision.events, Events::One(_)) || decision.events.as_slice().len() > 1);
                for event in decision.events.as_slice() {
                    assert_eq!(event.order, Order(next), "orders have no gaps");
                    let record = &records[&event.offset];
                    assert_eq!(
                        (&event.value, event.tombstone),
                        (&record.value.clone().unwrap_or_default(), record.value.is_none())
                    );
                    let theirs: Vec<_> =
                        record.headers.iter().filter(|h| event.stamp.is_none() || !is_reserved(h)).collect();
                    assert_eq!(event.headers.iter().collect::<Vec<_>>(), theirs);
                    if let (Some(stamp), RecordClass::Marked(marker)) = (event.stamp, classify(record)) {
                        assert_eq!(stamp, marker.stamp);
                    }
                    self.put(event.offset, Is::Event { key: key.clone(), order: next });
                    self.writers.insert(event.offset, decision.writer);
                    next += 1;
                }
                self.order.insert(key.clone(), next);
            }
            Decided::Void(void) => {
                let RecordClass::Marked(marker) = classify(&records[&void.offset]) else {
                    panic!("{void:?}")
                };
                assert_eq!(
                    (void.stamp, Some(void.key.bytes())),
                    (marker.stamp, records[&void.offset].key.as_ref())
                );
                self.put(
                    void.offset,
                    match void.reason {
                        VoidReason::OrderTaken { .. } => Is::Taken,
                        VoidReason::JudgedBefore => Is::Copy,
                        VoidReason::BatchBroken => Is::Broken,
                        VoidReason::BaseTooOld { .. } => Is::Late,
                    },
                );
            }
            Decided::Skipped { offset, .. } => self.put(*offset, Is::Skipped),
            Decided::Gap { from, to, .. } => {
                assert!(records.range(from.offset()..to.offset()).next().is_none(), "{from}..{to}");
                self.gaps += to.0 - from.0;
            }
            Decided::Cut { .. } => panic!("nothing was cut"),
        }
    }

    fn put(&mut self, offset: Offset, is: Is) {
        assert_eq!(self.is.insert(offset, is), None, "{offset} was told twice");
    }

    /// Everything up to `end` was told, and is what the model says.
    pub fn check(mut self, records: &BTreeMap<Offset, Record>, end: Position) {
        let all: Vec<Record> = records.values().cloned().collect();
        let expected = judge(&all);
        assert_eq!(self.gaps + records.len() as u64, end.0, "every offset is a record or in a gap");
        for (offset, is) in &expected {
            if *is == Is::Open {
                assert_eq!(self.is.insert(*offset, Is::Open), None, "{offset} is not decided");
            }
        }
        for (offset, writer) in &self.writers {
            let class = classify(&records[offset]);
            let expected = match class {
                RecordClass::Foreign => Writer::Foreign,
                RecordClass::Forwarded => Writer::Forwarded,
                _ => Writer::Bkes,
            };
            assert_eq!(*writer, expected, "{offset}");
        }
        assert_eq!(self.is, expected);
    }
}

pub fn by_offset(records: Vec<Record>) -> BTreeMap<Offset, Record> {
    records.into_iter().map(|record| (record.offset, record)).collect()
}

/// Everything that is there now.
pub fn drain(consumer: &mut Consumer, polled_max: usize) -> Vec<Item> {
    let mut items = Vec::new();
    while consumer.poll(polled_max, &mut items) > 0 {}
    items
}

fn resumed(topic: &Topic, consumer: &Consumer) -> Consumer {
    let checkpoint: Checkpoint = consumer.checkpoint();
    Consumer::resume(&topic.log, wake_pair().0, checkpoint).expect("the same log")
}

#[test]
fn every_record_is_told_once_as_what_the_model_says_it_is() {
    let mut kinds = BTreeSet::new();
    for seed in 0..cases(300) {
        let mut random = Rng::with_seed(seed);
        let mut topic = Topic::new(2, 1 + random.u64(..6), seed);
        topic.write(60);
        let options = ConsumerOptions::default();
        let mut consumer = Consumer::open(&topic.log, wake_pair().0, &options).expect("the log is there");
        let mut items = Vec::new();
        for _ in 0..4 {
            items.extend(drain(&mut consumer, 1 + random.usize(..40)));
            topic.write(random.usize(..40));
            if random.bool() {
                consumer = resumed(&topic, &consumer);
            }
        }
        items.extend(drain(&mut consumer, 64));
        let mut told = [Told::default(), Told::default()];
        let records = [by_offset(topic.records(0)), by_offset(topic.records(1))];
        let mut split = BTreeSet::new();
        for item in &items {
            match item {
                Item::Decided(decided) => {
                    let partition = partition_of(decided);
                    told[partition].take(decided, &records[partition]);
                }
                Item::Split { key, .. } => assert!(split.insert(key.clone()), "{key} is told once"),
                Item::CaughtUp { .. } => {}
                Item::Unavailable { .. } | Item::Stopped { .. } => panic!("{item:?}"),
            }
        }
        let keys = |told: &Told| told.order.keys().cloned().collect::<BTreeSet<_>>();
        let both: BTreeSet<Bytes> = keys(&told[0]).intersection(&keys(&told[1])).cloned().collect();
        assert_eq!(split.iter().map(|key| key.bytes().clone()).collect::<BTreeSet<_>>(), both);
        for (index, (told, records)) in told.into_iter().zip(&records).enumerate() {
            kinds.extend(told.is.values().map(std::mem::discriminant).map(|kind| format!("{kind:?}")));
            assert_eq!(consumer.positions().nth(index), Some((Partition(index as u32), topic.end(index))));
            told.check(records, topic.end(index));
        }
    }
    assert_eq!(kinds.len(), 6, "the topics have everything: {kinds:?}");
}

fn partition_of(decided: &Decided) -> usize {
    let partition = match decided {
        Decided::Events(decision) => decision.events.last().partition,
        Decided::Void(void) => void.partition,
        Decided::Skipped { partition, .. }
        | Decided::Gap { partition, .. }
        | Decided::Cut { partition, .. } => *partition,
    };
    partition.0 as usize
}

#[test]
fn a_blocking_consumer_waits_for_what_comes_and_no_longer_than_it_was_told() {
    let mut topic = Topic::new(1, 3, 1);
    topic.write(5);
    let mut consumer =
        BlockingConsumer::open(&topic.log, &ConsumerOptions::default()).expect("the log is there");
    let mut items = Vec::new();
    consumer.next(Duration::from_secs(60), &mut items);
    assert!(matches!(items.last(), Some(Item::CaughtUp { .. })), "{items:?}");
    items.clear();
    consumer.next(Duration::from_millis(5), &mut items);
    assert_eq!(items, []);
    let log = topic.log.clone();
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        log.append_foreign(Partition(0), Some(Bytes::from_static(b"k")), None, vec![])
    });
    consumer.next(Duration::from_secs(60), &mut items);
    let offset = writer.join().expect("it does not panic");
    let Some(Item::Decided(Decided::Events(decision))) = items.first() else { panic!("{items:?}") };
    assert_eq!(decision.events.last().offset, offset);
}

#[test]
fn at_the_bound_of_counts_reading_stops_before_the_key_that_has_no_room() {
    let topic = Topic::new(1, 1, 1);
    let write = |key: String| topic.log.append_foreign(Partition(0), Some(key.into()), None, vec![]);
    for number in 0..5_000 {
        write(format!("key {number}"));
    }
    let options = ConsumerOptions { counts_bytes_max: 64 * 1024, ..ConsumerOptions::default() };
    let mut consumer = Consumer::open(&topic.log, wake_pair().0, &options).expect("the log is there");
    let items = drain(&mut consumer, 100);
    let Some(Item::Stopped { why: Stop::TooManyKeys(full), .. }) = items.last() else { panic!("{items:?}") };
    assert_eq!((full.keys, full.bytes_max), (items.len() - 1, 64 * 1024));
    assert_eq!(consumer.positions().next(), Some((Partition(0), Position(full.keys as u64))));
    assert!(consumer.counted().1 <= 64 * 1024);
}
