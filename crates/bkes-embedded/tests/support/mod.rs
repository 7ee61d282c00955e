//! Opening, appending and reading, as the tests of the embedded log do it.

use bkes_core::{Offset, Partition, Position};
use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_log::{Delivery, Log, NewRecord, ReadEvent, wake_pair};
use bytes::Bytes;
use std::path::Path;
use std::time::Duration;

pub fn open(directory: &Path) -> EmbeddedLog {
    EmbeddedLog::open(&EmbeddedOptions::new(directory)).expect("the log opens")
}

/// Appends `count` values one after the other, each acknowledged.
pub fn append(log: &EmbeddedLog, first: u64, count: u64, mut acknowledged: impl FnMut(u64)) {
    let (waker, mut waiter) = wake_pair();
    let mut appender = log.appender(waker).expect("an appender");
    for n in first..first + count {
        let value = Some(Bytes::from(n.to_string()));
        let record =
            NewRecord { partition: Partition(0), key: Some("key".into()), value, headers: Vec::new() };
        appender.send(record, n).expect("it is taken");
        appender.flush();
        let mut reports = Vec::new();
        while reports.is_empty() {
            waiter.wait(Some(Duration::from_secs(30)));
            appender.poll(&mut reports);
        }
        assert!(matches!(reports[0].delivery, Delivery::Stored { .. }), "{:?}", reports[0]);
        acknowledged(n);
    }
}

pub fn read(log: &EmbeddedLog) -> Vec<u64> {
    let (waker, _waiter) = wake_pair();
    let mut reader = log.reader(waker).expect("a reader");
    reader.assign(Partition(0), Position::START);
    let (mut values, mut events) = (Vec::new(), Vec::new());
    loop {
        reader.poll(100, &mut events);
        for event in events.drain(..) {
            match event {
                ReadEvent::Record { record, .. } => {
                    assert_eq!(record.offset, Offset(values.len() as u64));
                    let value = record.value.expect("a value");
                    values.push(String::from_utf8_lossy(&value).parse().expect("a number"));
                }
                ReadEvent::Known { offset, .. } => panic!("nothing is known, and {offset} is told so"),
                ReadEvent::End { .. } => return values,
                ReadEvent::Failed { failure, .. } => panic!("{failure}"),
            }
        }
    }
}
