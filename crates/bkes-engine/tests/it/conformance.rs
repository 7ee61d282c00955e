//! The engine is an event store, on a log in memory and on the embedded one.

use async_trait::async_trait;
use bkes_api::conformance::{Groups, Subject, check};
use bkes_core::{Partition, Position};
use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_engine::{Engine, EngineHandle, EngineOptions};
use bkes_log::{Log, MemoryLog};
use bkes_storage::{MemoryStore, RedbOptions, RedbStore, Store};
use bkes_testkit::log::SimulatedLog;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

async fn engine(log: Arc<dyn Log>, store: Arc<dyn Store>) -> (Engine, EngineHandle) {
    let engine = Engine::start(log, store, EngineOptions::default()).expect("it starts");
    let handle = engine.handle();
    handle.ready().await;
    (engine, handle)
}

async fn stop(engines: impl IntoIterator<Item = Engine>) {
    for engine in engines {
        let stopped = tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(5))).await;
        stopped.expect("no panic").expect("it stops");
    }
}

const PARTITIONS: NonZeroU32 = NonZeroU32::new(3).expect("not 0");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_engines_on_one_memory_log_are_what_an_event_store_is() {
    let log = MemoryLog::new("events", PARTITIONS);
    let store = || Arc::new(MemoryStore::new());
    let (one, handle) = engine(Arc::new(log.clone()), store()).await;
    let (two, other) = engine(Arc::new(log), store()).await;
    check(Subject { store: Arc::new(handle), other: Some(Arc::new(other)), groups: None }).await;
    stop([one, two]).await;
}

struct CommitsTo(SimulatedLog);

#[async_trait]
impl Groups for CommitsTo {
    async fn commit(&self, group: &str, partition: Partition, position: Position) {
        self.0.commit(group, partition, position);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_on_a_log_with_consumer_groups_is_what_an_event_store_is() {
    let log = SimulatedLog::new("events", PARTITIONS);
    let (engine, handle) = engine(Arc::new(log.clone()), Arc::new(MemoryStore::new())).await;
    check(Subject { store: Arc::new(handle), other: None, groups: Some(Arc::new(CommitsTo(log))) }).await;
    stop([engine]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_on_files_is_what_an_event_store_is() {
    let data = tempfile::tempdir().expect("a directory");
    let log = EmbeddedOptions { partitions: PARTITIONS, ..EmbeddedOptions::new(data.path().join("log")) };
    let log = EmbeddedLog::open(&log).expect("it opens");
    let store = RedbOptions { directory: data.path().join("store"), cache_bytes: 16 * 1024 * 1024 };
    let store = RedbStore::open(&store).expect("it opens").store;
    let (engine, handle) = engine(Arc::new(log), Arc::new(store)).await;
    check(Subject { store: Arc::new(handle), other: None, groups: None }).await;
    stop([engine]).await;
}
