//! A consumer group that commits where it wants to.

use crate::cluster::{ANSWER, Cluster};
use crate::producer::Producer;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

impl Cluster {
    /// Has a group without members commit an offset. Returns when the coordinator has it.
    pub fn commit(&self, group: &str, topic: &str, partition: u32, offset: u64) -> Result<(), KafkaError> {
        self.consumer(group)?.commit(&place(topic, partition, offset)?, CommitMode::Sync)
    }

    /// Has a group commit an offset as a part of the transaction that a producer has begun.
    pub fn commit_in(
        &self,
        producer: &Producer,
        group: &str,
        (topic, partition, offset): (&str, u32, u64),
    ) -> Result<(), KafkaError> {
        let consumer = self.consumer(group)?;
        let metadata = consumer.group_metadata().expect("a consumer with a group has its metadata");
        producer.send_offsets(&place(topic, partition, offset)?, &metadata)
    }

    /// Deletes a group, with what it has committed.
    pub async fn delete_group(&self, group: &str) -> Result<(), KafkaError> {
        let options = rdkafka::admin::AdminOptions::new().request_timeout(Some(ANSWER));
        let results = self.admin()?.delete_groups(&[group], &options).await?;
        let refused = results.into_iter().find_map(Result::err);
        refused.map_or(Ok(()), |(_, code)| Err(KafkaError::AdminOp(code)))
    }

    fn consumer(&self, group: &str) -> Result<BaseConsumer, KafkaError> {
        let mut config = self.config();
        config.set("group.id", group).set("enable.auto.commit", "false");
        config.create()
    }
}

fn place(topic: &str, partition: u32, offset: u64) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition as i32, Offset::Offset(offset as i64))?;
    Ok(list)
}
