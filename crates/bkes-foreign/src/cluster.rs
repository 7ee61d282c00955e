//! A cluster as its administrator sees it.

use crate::Producer;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;

/// How long an administrator waits for an answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// The way to a cluster.
pub struct Cluster {
    brokers: String,
}

type Code = RDKafkaErrorCode;

impl Cluster {
    /// A cluster that begins at these brokers.
    pub fn new(brokers: impl Into<String>) -> Cluster {
        Cluster { brokers: brokers.into() }
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    pub(crate) fn admin(&self) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
        self.config().create()
    }

    /// Makes a topic with these settings; replication 0 means the broker's default.
    pub async fn create_topic(
        &self,
        topic: &str,
        partitions: u32,
        replication: u32,
        settings: &[(&str, &str)],
    ) -> Result<(), KafkaError> {
        let replication = if replication == 0 { -1 } else { replication as i32 };
        let mut new = NewTopic::new(topic, partitions as i32, TopicReplication::Fixed(replication));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        first(self.admin()?.create_topics([&new], &options()).await?)
    }

    /// Gives a topic these settings of its own, and no others.
    pub async fn set_topic(&self, topic: &str, settings: &[(&str, &str)]) -> Result<(), KafkaError> {
        let mut new = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let results = self.admin()?.alter_configs([&new], &options()).await?;
        let refused = results.into_iter().find_map(Result::err);
        refused.map_or(Ok(()), |(_, code)| Err(KafkaError::AdminOp(code)))
    }

    /// Deletes a topic.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), KafkaError> {
        first(self.admin()?.delete_topics(&[topic], &options()).await?)
    }

    /// Grows a topic to this many partitions.
    pub async fn grow_topic(&self, topic: &str, partitions: u32) -> Result<(), KafkaError> {
        let new = NewPartitions::new(topic, partitions as usize);
        first(self.admin()?.create_partitions([&new], &options()).await?)
    }

    /// Removes what lies below `before`.
    pub async fn delete_records(&self, topic: &str, partition: u32, before: u64) -> Result<(), KafkaError> {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition as i32, Offset::Offset(before as i64))?;
        self.admin()?.delete_records(&offsets, &options()).await.map(drop)
    }

    /// Whether a topic is there. All are asked for: a broker makes one that is asked for by name, where it is set so.
    pub fn has_topic(&self, topic: &str) -> Result<bool, KafkaError> {
        let found = self.admin()?.inner().fetch_metadata(None, ANSWER)?;
        Ok(found.topics().iter().any(|found| found.name() == topic))
    }

    /// Whether the brokers tell about a topic.
    pub fn may_describe(&self, topic: &str) -> Result<bool, KafkaError> {
        let found = self.admin()?.inner().fetch_metadata(Some(topic), ANSWER)?;
        let denied = Code::TopicAuthorizationFailed;
        Ok(found.topics().iter().all(|topic| topic.error().map(Code::from) != Some(denied)))
    }

    /// A producer with these properties.
    pub fn producer(&self, properties: &[(&str, &str)]) -> Result<Producer, KafkaError> {
        let mut config = self.config();
        config.set("queue.buffering.max.messages", "1000000").set("linger.ms", "5");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        config.create().map(Producer::new)
    }

    /// A producer that has a transactional id, initialised: one that had it before is fenced.
    pub fn transactional(&self, id: &str) -> Result<Producer, KafkaError> {
        let producer = self.producer(&[("transactional.id", id), ("transaction.timeout.ms", "600000")])?;
        producer.init()?;
        Ok(producer)
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}

fn first(results: Vec<Result<String, (String, Code)>>) -> Result<(), KafkaError> {
    let refused = results.into_iter().find_map(Result::err);
    refused.map_or(Ok(()), |(_, code)| Err(KafkaError::AdminOp(code)))
}
