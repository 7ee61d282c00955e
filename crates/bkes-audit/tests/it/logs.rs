//! The memory log and the embedded log, read again and again through one reader.

use crate::topic::marked;
use bkes_audit::{Options, audit};
use bkes_consumer::{BlockingConsumer, ConsumerOptions, Decided, Item};
use bkes_core::{Incarnation, Marker, Order, Partition, Position, Stamp};
use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_log::{Log, MemoryLog, NewRecord, wake_pair};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

const KEYS: u64 = 400;
const RECORDS: u64 = 1_200;

/// Three events of each key, over two partitions, and a void record behind each.
fn write(log: &dyn Log) {
    let (waker, mut waiter) = wake_pair();
    let mut appender = log.appender(waker).expect("the log is there");
    let (mut reports, until) = (Vec::new(), Instant::now() + Duration::from_secs(60));
    for number in 0..RECORDS * 2 {
        let (order, of) = (number / 2 / KEYS, number / 2 % KEYS);
        let key = format!("key {of}");
        let stamp = Stamp { incarnation: Incarnation(1), number, place: None };
        let marker = Marker { stamp, order: Order(order), base: Position(0) };
        let headers = marked(key.as_bytes(), None, marker);
        let partition = Partition((of % 2) as u32);
        let record = NewRecord { partition, key: Some(key.into()), value: None, headers };
        appender.send(record, number).expect("there is room");
        appender.flush();
    }
    while reports.len() < RECORDS as usize * 2 {
        assert!(Instant::now() < until, "the log takes records");
        appender.poll(&mut reports);
        waiter.wait(Some(Duration::from_millis(10)));
    }
}

fn check(log: &dyn Log) {
    write(log);
    let options = Options { memory_bytes_max: 16 * 1024, ..Options::default() };
    let report = audit(log, None, &options, &mut |_| {}).expect("it can be read");
    assert!(report.passes > 2);
    for partition in &report.partitions {
        assert_eq!((partition.events, partition.void.order_taken), (RECORDS / 2, RECORDS / 2));
    }
    assert_eq!(report.aggregates, KEYS);
    let mut consumer = BlockingConsumer::open(log, &ConsumerOptions::default()).expect("the log is there");
    let (mut items, mut ends) = (Vec::new(), 0);
    while ends < 2 {
        let before = items.len();
        consumer.next(Duration::from_secs(60), &mut items);
        assert!(items.len() > before, "both come to their ends");
        ends += items[before..].iter().filter(|item| matches!(item, Item::CaughtUp { .. })).count();
    }
    let events = items.iter().filter(|item| matches!(item, Item::Decided(Decided::Events(_))));
    assert_eq!(events.count() as u64, RECORDS);
}

#[test]
fn the_memory_log_and_the_embedded_log_are_read_alike() {
    let partitions = NonZeroU32::new(2).expect("two");
    check(&MemoryLog::new("topic", partitions));
    let directory = tempfile::tempdir().expect("room for a directory");
    let options = EmbeddedOptions { partitions, ..EmbeddedOptions::new(directory.path()) };
    let log = EmbeddedLog::open(&options);
    check(&log.expect("a new log"));
}
