//! A producer that knows nothing of BKES.

use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// A record as a foreign program writes it.
#[derive(Clone, Debug, Default)]
pub struct ForeignRecord<'a> {
    /// Its key, or null.
    pub key: Option<&'a [u8]>,
    /// Its value, or null.
    pub value: Option<&'a [u8]>,
    /// Where it goes; `None` leaves it to the producer's partitioner.
    pub partition: Option<u32>,
    /// Its time of creation in milliseconds since 1970, negative before; `None` leaves it to the producer, and so does 0.
    pub timestamp_ms: Option<i64>,
    /// Its headers, in order, repeated names included.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// A producer.
pub struct Producer(ThreadedProducer<DefaultProducerContext>);

impl Producer {
    pub(crate) fn new(producer: ThreadedProducer<DefaultProducerContext>) -> Producer {
        Producer(producer)
    }

    pub(crate) fn init(&self) -> Result<(), KafkaError> {
        self.0.init_transactions(PATIENCE)
    }

    /// Queues a record, waiting for room.
    pub fn send(&self, topic: &str, record: &ForeignRecord<'_>) -> Result<(), KafkaError> {
        let mut base: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        base.key = record.key;
        base.payload = record.value;
        base.partition = record.partition.map(|partition| partition as i32);
        base.timestamp = record.timestamp_ms;
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let insert = |headers: OwnedHeaders, (key, value): &(&str, Option<&[u8]>)| {
                headers.insert(Header { key, value: *value })
            };
            base.headers = Some(record.headers.iter().fold(headers, insert));
        }
        loop {
            match self.0.send(base) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    std::thread::sleep(Duration::from_millis(1));
                    base = back;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Waits until everything queued is reported on.
    pub fn flush(&self) -> Result<(), KafkaError> {
        self.0.flush(PATIENCE)
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Result<(), KafkaError> {
        self.0.begin_transaction()
    }

    /// Has a consumer group commit these offsets as a part of it.
    pub(crate) fn send_offsets(
        &self,
        offsets: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), KafkaError> {
        self.0.send_offsets_to_transaction(offsets, group, PATIENCE)
    }

    /// Commits it.
    pub fn commit(&self) -> Result<(), KafkaError> {
        self.0.commit_transaction(PATIENCE)
    }

    /// Aborts it.
    pub fn abort(&self) -> Result<(), KafkaError> {
        self.0.abort_transaction(PATIENCE)
    }
}
