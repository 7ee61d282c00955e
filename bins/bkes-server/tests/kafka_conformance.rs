//! The suite of the interface on a real broker: `cargo xtask integration` starts one and runs this.
//!
//! It lies here because the interface's own crate does not know Kafka; the engine runs in the test's process.

use bkes_engine::{Engine, EngineOptions};
use bkes_grpc::conformance;
use bkes_kafka::{KafkaLog, KafkaOptions};
use bkes_storage::{RedbOptions, RedbStore};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn the_interface_holds_on_kafka_and_the_redb_store() {
    let brokers = std::env::var("BKES_KAFKA_BROKERS")
        .expect("BKES_KAFKA_BROKERS names a broker: run `cargo xtask integration`");
    let topic = format!("interface-{:016x}", fastrand::u64(..));
    let directory = tempfile::tempdir().expect("a directory");
    let redb = RedbOptions { directory: directory.path().join("store"), cache_bytes: 16 * 1024 * 1024 };
    let opening = tokio::task::spawn_blocking(move || {
        let log = KafkaLog::connect(KafkaOptions::new(brokers, topic), NonZeroU32::new(3));
        let store = RedbStore::open(&redb).expect("a new store").store;
        let log = log.expect("the topic is made");
        Engine::start(Arc::new(log), Arc::new(store), EngineOptions::default()).expect("the engine starts")
    });
    let engine = opening.await.expect("no panic");
    conformance::check(engine.handle()).await;
    let stopping = tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(10)));
    stopping.await.expect("no panic").expect("the store closes");
}
