//! The Kafka log on a real broker: `cargo xtask integration` starts one and runs this.

use bkes_kafka::{ConnectError, KafkaLog, KafkaOptions};
use bkes_log::conformance;
use std::num::NonZeroU32;

fn brokers() -> String {
    std::env::var("BKES_KAFKA_BROKERS")
        .expect("BKES_KAFKA_BROKERS names a broker: run `cargo xtask integration`")
}

fn fresh(partitions: NonZeroU32) -> KafkaLog {
    let topic = format!("log-{:016x}", fastrand::u64(..));
    KafkaLog::connect(KafkaOptions::new(brokers(), topic), Some(partitions)).expect("the topic is made")
}

#[test]
fn the_kafka_log_conforms() {
    conformance::check(fresh);
}

#[test]
fn a_missing_topic_is_named_with_the_command_that_makes_it() {
    let refused = KafkaLog::connect(KafkaOptions::new(brokers(), "nowhere"), None).err();
    assert!(matches!(refused, Some(ConnectError::NoSuchTopic { .. })), "{refused:?}");
}

#[test]
fn a_topic_made_by_us_keeps_its_events() {
    let log = fresh(NonZeroU32::MIN);
    let findings = &log.report().findings;
    assert!(findings.iter().all(|finding| !finding.message.contains("retention")), "{findings:?}");
}
