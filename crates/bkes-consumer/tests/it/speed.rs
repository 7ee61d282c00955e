//! How fast a consumer is: run with `--release --ignored --nocapture`.

use crate::topic::marked;
use bkes_consumer::{Consumer, ConsumerOptions};
use bkes_core::{Incarnation, Marker, Order, Partition, Position, Stamp};
use bkes_log::{Log, MemoryLog, NewRecord, wake_pair};
use bytes::Bytes;
use std::num::NonZeroU32;
use std::time::Instant;

#[test]
#[ignore = "a measurement, not a test: it prints"]
fn records_a_second_and_bytes_a_key() {
    let (keys, rounds) = (200_000u64, 10u64);
    let log = MemoryLog::new("topic", NonZeroU32::MIN);
    let mut appender = log.appender(wake_pair().0).expect("in memory");
    let (value, mut reports) = (Bytes::from(vec![b'x'; 200]), Vec::new());
    for number in 0..keys * rounds {
        let key = Bytes::from(format!("aggregate {:08}", number % keys));
        let stamp = Stamp { incarnation: Incarnation(1), number, place: None };
        let marker = Marker { stamp, order: Order(number / keys), base: Position(number) };
        let headers = marked(&key, Some(&value), marker);
        let record =
            NewRecord { partition: Partition(0), key: Some(key), value: Some(value.clone()), headers };
        appender.send(record, number).expect("there is room");
        appender.poll(&mut reports);
        reports.clear();
    }
    let mut consumer = Consumer::open(&log, wake_pair().0, &ConsumerOptions::default()).expect("in memory");
    let (mut items, mut told, since, cpu_since) = (Vec::new(), 0u64, Instant::now(), cpu_ns());
    while consumer.poll(2_048, &mut items) > 0 {
        told += items.len() as u64;
        items.clear();
    }
    let (seconds, cpu_seconds) = (since.elapsed().as_secs_f64(), (cpu_ns() - cpu_since) as f64 / 1e9);
    let (counted, bytes) = consumer.counted();
    println!(
        "{:.0} records/s, {:.0} in a second of CPU, {:.1} bytes a key",
        told as f64 / seconds,
        told as f64 / cpu_seconds,
        bytes as f64 / counted as f64
    );
    assert_eq!((told, counted as u64), (keys * rounds + 1, keys));
}

/// How long this thread ran, as Linux counts it: on a machine that does other things too, this is what can be compared.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("it is Linux");
    text.split(' ').next().expect("it has fields").parse().expect("a number")
}
