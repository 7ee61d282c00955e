//! A topic in memory, and a server of it.

use super::memory::{Habits, MemoryStore, key};
use bkes_api::{
    Build, Counters, Event, Header, Order, Origin, Partition, PartitionState, PartitionStatus, Position,
    Status, TopicId,
};
use bkes_log::{Log, MemoryLog, NewRecord, ReadEvent, wake_pair};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// An empty topic.
pub fn topic(partitions: u32) -> MemoryLog {
    MemoryLog::new("events", NonZeroU32::new(partitions).expect("not zero"))
}

/// Adds events that another program wrote, each a key in a partition with a value.
pub fn write(log: &MemoryLog, records: &[(&str, u32, &str)]) {
    write_with(log, records, |_| Vec::new());
}

/// The same, with the value as the order in a header.
pub fn write_in_order(log: &MemoryLog, records: &[(&str, u32, &str)]) {
    write_with(log, records, |order| {
        vec![Header { name: "order".into(), value: Some(order.to_owned().into()) }]
    });
}

fn write_with(log: &MemoryLog, records: &[(&str, u32, &str)], headers: impl Fn(&str) -> Vec<Header>) {
    let (waker, _waiter) = wake_pair();
    let mut appender = log.appender(waker).expect("memory has one");
    for (token, (key, partition, value)) in (0..).zip(records) {
        let headers = headers(value);
        let (key, value) = (Some((*key).to_owned().into()), Some((*value).to_owned().into()));
        let record = NewRecord { partition: Partition(*partition), key, value, headers };
        appender.send(record, token).expect("memory takes it");
    }
    appender.flush();
}

/// A store of what the topic holds, and says so.
pub fn served(log: &MemoryLog) -> Arc<MemoryStore> {
    let store = MemoryStore::with(Habits { status: Some(status(log)), ..Habits::default() });
    let (waker, _waiter) = wake_pair();
    let mut reader = log.reader(waker).expect("memory has one");
    let count = log.partition_count().expect("memory knows").get();
    (0..count).for_each(|number| reader.assign(Partition(number), Position::START));
    let (mut events, mut next) = (Vec::new(), BTreeMap::new());
    reader.poll(usize::MAX / 2, &mut events);
    for event in events {
        let ReadEvent::Record { record, .. } = event else { continue };
        let (key, order) = (key(record.key.expect("it has one")), Order::FIRST);
        let order = next.entry(key.clone()).and_modify(|order: &mut Order| order.0 += 1).or_insert(order);
        let (partition, offset, timestamp) = (record.partition, record.offset, record.timestamp);
        let (value, headers, origin) = (record.value, record.headers, Origin::Foreign);
        store.put(&key, Event { order: *order, partition, offset, timestamp, value, headers, origin });
    }
    store
}

/// What a server of the topic says that has applied all of it.
pub fn status(log: &MemoryLog) -> Status {
    let identity = log.identity().expect("memory knows");
    let partition = |number| {
        let end = log.watermarks(Partition(number)).expect("it is there").high;
        PartitionStatus {
            partition: Partition(number),
            state: PartitionState::Ready,
            applied: end,
            stored: end,
            target: end,
            high: end,
            lag: 0,
            counters: Counters { events: end.0, ..Counters::default() },
        }
    };
    let count = log.partition_count().expect("memory knows").get();
    Status {
        build: Build { name: "bkes-server".into(), version: env!("CARGO_PKG_VERSION").into() },
        cluster: identity.cluster,
        topic: identity.topic,
        topic_id: TopicId::new(&identity.topic_id),
        unready: None,
        partitions: (0..count).map(partition).collect(),
        keys: 0,
        store_bytes: 4_096,
        appended: 0,
        conflicts: 0,
        unknown: 0,
    }
}
