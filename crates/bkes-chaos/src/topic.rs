//! The topic as a consumer sees it that shares no code with ours, and who leads it.

use anyhow::{Context, bail};
use bkes_check::LogRecord;
use bkes_core::marker::classify;
use bkes_core::{Header, Offset, Partition, Record, RecordClass, TimestampMs};
use bytes::Bytes;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset as From, TopicPartitionList};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A leader that was lost has a successor within this time: three seconds until it counts as dead, as long again until a new
/// controller is elected where it was that too, and patience.
const SUCCESSOR_MAX: Duration = Duration::from_secs(15);

/// Reading everything may take this long.
const READ_MAX: Duration = Duration::from_secs(120);

fn consumer(brokers: &str) -> anyhow::Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "chaos").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    Ok(config.create()?)
}

/// Every committed record, partition by partition as they come.
pub fn read(brokers: &str, topic: &str, partitions: u32) -> anyhow::Result<Vec<LogRecord>> {
    let consumer = consumer(brokers)?;
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        all.add_partition_offset(topic, partition as i32, From::Beginning)?;
    }
    consumer.assign(&all)?;
    let (mut open, mut records): (BTreeSet<i32>, Vec<LogRecord>) =
        ((0..partitions as i32).collect(), Vec::new());
    let began = Instant::now();
    while !open.is_empty() {
        if began.elapsed() > READ_MAX {
            bail!("the topic could not be read within {READ_MAX:?}: partitions {open:?} have no end");
        }
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Ok(message)) => records.push(record(&message)?),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error)) => tracing::warn!("reading the topic: {error}"),
        }
    }
    Ok(records)
}

fn record(message: &BorrowedMessage<'_>) -> anyhow::Result<LogRecord> {
    let bytes = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let header = |header: rdkafka::message::Header<'_, &[u8]>| Header {
        name: Bytes::copy_from_slice(header.key.as_bytes()),
        value: bytes(header.value),
    };
    let record = Record {
        partition: Partition(u32::try_from(message.partition())?),
        offset: Offset(u64::try_from(message.offset())?),
        timestamp: message.timestamp().to_millis().map(TimestampMs),
        key: bytes(message.key()),
        value: bytes(message.payload()),
        headers: headers.map(header).collect(),
    };
    Ok(LogRecord {
        partition: record.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp.map(|timestamp| timestamp.0),
        key: record.aggregate(),
        foreign: matches!(classify(&record), RecordClass::Foreign | RecordClass::Forwarded),
        value: record.value,
    })
}

/// The number of the node that leads a partition.
pub fn leader(brokers: &str, topic: &str, partition: u32) -> anyhow::Result<usize> {
    let metadata = consumer(brokers)?.fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let found = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let leader = found.filter(|found| found.id() == partition as i32).map(|found| found.leader()).next();
    usize::try_from(leader.context("the partition is there")?).context("the partition has a leader")
}

/// The number of the node that leads a partition after another one was lost; `None` when nobody does for long.
pub fn successor(brokers: &str, topic: &str, partition: u32, lost: usize) -> Option<usize> {
    let began = Instant::now();
    while began.elapsed() < SUCCESSOR_MAX {
        // Nobody may lead for a while, and nobody may answer.
        if let Some(node) = leader(brokers, topic, partition).ok().filter(|node| *node != lost) {
            return Some(node);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    None
}
