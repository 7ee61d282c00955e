//! A client of a server is an event store: the suite over connections, on the logs that need no broker.

use crate::support::Server;
use async_trait::async_trait;
use bkes_api::EventStore;
use bkes_api::conformance::{Groups, Subject, check};
use bkes_client::Client;
use bkes_core::{Partition, Position};
use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_engine::{Engine, EngineOptions};
use bkes_grpc::{Drained, Gate, ServeOptions};
use bkes_log::{Log, MemoryLog};
use bkes_storage::{MemoryStore, RedbOptions, RedbStore, Store};
use bkes_testkit::log::SimulatedLog;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

const PARTITIONS: NonZeroU32 = NonZeroU32::new(3).expect("not 0");

/// An engine that is ready, and a server in front of it.
struct Served {
    engine: Engine,
    server: Server,
}

impl Served {
    async fn start(log: Arc<dyn Log>, store: Arc<dyn Store>) -> Served {
        let engine = Engine::start(log, store, EngineOptions::default()).expect("it starts");
        engine.handle().ready().await;
        let gate = Gate::new();
        gate.open(engine.handle());
        Served { engine, server: Server::start(gate, ServeOptions::default()).await }
    }

    fn client(&self) -> Arc<dyn EventStore> {
        Arc::new(Client::connect(&format!("http://{}", self.server.address)).expect("an address"))
    }

    async fn stop(self) {
        assert_eq!(self.server.stop().await.0, Drained::Whole);
        let engine = self.engine;
        let stopped = tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(5))).await;
        stopped.expect("no panic").expect("it stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_two_servers_on_one_memory_log_are_what_an_event_store_is() {
    let log = MemoryLog::new("events", PARTITIONS);
    let one = Served::start(Arc::new(log.clone()), Arc::new(MemoryStore::new())).await;
    let two = Served::start(Arc::new(log), Arc::new(MemoryStore::new())).await;
    check(Subject { store: one.client(), other: Some(two.client()), groups: None }).await;
    one.stop().await;
    two.stop().await;
}

struct CommitsTo(SimulatedLog);

#[async_trait]
impl Groups for CommitsTo {
    async fn commit(&self, group: &str, partition: Partition, position: Position) {
        self.0.commit(group, partition, position);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_waits_for_consumer_groups() {
    let log = SimulatedLog::new("events", PARTITIONS);
    let served = Served::start(Arc::new(log.clone()), Arc::new(MemoryStore::new())).await;
    check(Subject { store: served.client(), other: None, groups: Some(Arc::new(CommitsTo(log))) }).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_a_server_on_files_is_what_an_event_store_is() {
    let data = tempfile::tempdir().expect("a directory");
    let log = EmbeddedOptions { partitions: PARTITIONS, ..EmbeddedOptions::new(data.path().join("log")) };
    let redb = RedbOptions { directory: data.path().join("store"), cache_bytes: 16 * 1024 * 1024 };
    let log = EmbeddedLog::open(&log).expect("a new log");
    let store = RedbStore::open(&redb).expect("a new store").store;
    let served = Served::start(Arc::new(log), Arc::new(store)).await;
    check(Subject { store: served.client(), other: None, groups: None }).await;
    served.stop().await;
}
