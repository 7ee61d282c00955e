//! The suite of the interface on the engines that need no broker.

use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_engine::{Engine, EngineOptions};
use bkes_grpc::conformance;
use bkes_log::Log;
use bkes_log::MemoryLog;
use bkes_storage::{MemoryStore, RedbOptions, RedbStore, Store};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

async fn check(log: impl Log, store: impl Store) {
    let engine = Engine::start(Arc::new(log), Arc::new(store), EngineOptions::default());
    let engine = engine.expect("the engine starts");
    conformance::check(engine.handle()).await;
    tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(10)))
        .await
        .expect("stopping does not panic")
        .expect("it stops cleanly");
}

fn partitions() -> NonZeroU32 {
    NonZeroU32::new(3).expect("three")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interface_holds_on_the_memory_log_and_store() {
    check(MemoryLog::new("events", partitions()), MemoryStore::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interface_holds_on_the_embedded_log_and_the_redb_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let options =
        EmbeddedOptions { partitions: partitions(), ..EmbeddedOptions::new(directory.path().join("log")) };
    let log = EmbeddedLog::open(&options).expect("a new log");
    let redb = RedbOptions { directory: directory.path().join("store"), cache_bytes: 16 * 1024 * 1024 };
    check(log, RedbStore::open(&redb).expect("a new store").store).await;
}
